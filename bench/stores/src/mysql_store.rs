//! MySQL or MariaDB beside its client alone: the store's own statements, on as many connections.

use std::rc::Rc;

use dewar::store::mysql::MysqlStore;
use mysql_async::{Error, Opts, OptsBuilder, Pool, PoolConstraints, PoolOpts, Row, Value, prelude::Queryable};

use crate::{
    NOW,
    beside::{Client, Ours, Raw, SESSIONS, interleave},
    fill, key, next, record,
};

const CONNECTIONS: usize = 10;

const LOAD: &str = "
    SELECT gone, expires, guarded_until, why, nonce, made, successor, version, epoch, created, idle_seconds, idle_expires,
        absolute_expires, persistent, principal, label, data, lineage, id FROM dewar_session WHERE id = ?";

/// Without the version that the record has to have: the raw writer has nobody beside it.
const REPLACE: &str = "
    UPDATE dewar_session SET version = ?, expires = ?, created = ?, idle_seconds = ?, idle_expires = ?, absolute_expires = ?,
        persistent = ?, principal = ?, label = ?, data = ?, lineage = ?, guarded_until = ?, epoch = COALESCE(?, epoch)
    WHERE id = ? AND gone = 0 AND expires > ?";

pub(crate) async fn measure(url: &str) {
    let store = MysqlStore::open(url).expect("an address").time_limit(std::time::Duration::from_secs(60));
    let keys = fill(&store, SESSIONS).await;
    let pool = PoolOpts::new()
        .with_constraints(PoolConstraints::new(CONNECTIONS, CONNECTIONS).expect("a number"))
        .with_reset_connection(false);
    let opts = OptsBuilder::from_opts(Opts::from_url(url).expect("an address")).prefer_socket(false).pool_opts(pool);
    let pool = Pool::new(opts);
    // The store's are open, too: one after the other they are colder than one alone.
    let mut open = Vec::new();
    while open.len() < CONNECTIONS {
        open.push(pool.get_conn().await.expect("a server"));
    }
    drop(open);
    let names = Rc::new(keys.iter().map(ToString::to_string).collect());
    interleave(&[
        &Ours { name: "mysql".into(), store: store.clone(), keys },
        &Raw {
            client: Mysql { pool, names },
            load: "mysql_async: the same SELECT".into(),
            replace: "mysql_async: the same UPDATE".into(),
        },
    ])
    .await;
    crate::purge("mysql, 10000 sessions", &store).await;
}

#[derive(Clone)]
struct Mysql {
    pool: Pool,
    names: Rc<Vec<String>>,
}

impl Client for Mysql {
    type Error = Error;
    type Writer = String;

    async fn load(&mut self, at: usize) -> Result<(), Error> {
        let mut connection = self.pool.get_conn().await?;
        let found: Option<Row> = connection.exec_first(LOAD, (&self.names[at],)).await?;
        let data: Vec<u8> = found.and_then(|mut row| row.take("data")).expect("it is there");
        assert_eq!(data.len(), 240);
        Ok(())
    }

    async fn writer(&mut self, task: u64) -> String {
        key(task).to_string()
    }

    async fn write(&mut self, name: &mut String) -> Result<(), Error> {
        let record = record();
        let expires = record.idle_expires.as_millis();
        let values: Vec<Value> = vec![
            next().bits().into(),
            expires.into(),
            record.created.as_millis().into(),
            record.idle_seconds.into(),
            expires.into(),
            Value::NULL,
            false.into(),
            Value::NULL,
            Value::NULL,
            record.data.to_vec().into(),
            0.into(),
            Value::NULL,
            Value::NULL,
            name.as_str().into(),
            NOW.as_millis().into(),
        ];
        let mut connection = self.pool.get_conn().await?;
        connection.exec_drop(REPLACE, values).await?;
        assert_eq!(connection.affected_rows(), 1);
        Ok(())
    }
}
