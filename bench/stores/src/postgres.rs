//! PostgreSQL beside its client alone: the store's own statements with the same values, prepared, on a pool of the same size. And
//! without a write-ahead log.

use std::rc::Rc;

use deadpool_postgres::{
    Manager, Pool,
    tokio_postgres::{Error, NoTls, types::ToSql},
};
use dewar::store::postgres::PostgresStore;

use crate::{
    NOW,
    beside::{Client, Ours, Raw, SESSIONS, interleave},
    fill, key, next,
};

const LOAD: &str = "
    SELECT created, idle_seconds, idle_expires, absolute_expires, persistent, principal, label, data, version, lineage, epoch,
        guarded_until, gone, expires, why, nonce, made, expires, successor, successor_name
    FROM dewar.session WHERE key = $1 AND (expires > $2 OR guarded_until > $2)";

const REPLACE: &str = "
    SELECT * FROM dewar.replace_1($1, $4, $2, ROW(NULL, $5, $6, $7, $5, NULL, false, NULL, NULL, NULL, 0, NULL, NULL, $8)::dewar.record_1, $3)";

pub(crate) async fn measure(url: &str) {
    let store = PostgresStore::open(url).expect("an address");
    let keys = fill(&store, SESSIONS).await;
    let unlogged = store.clone().schema("dewar_unlogged").expect("a name").unlogged();
    fill(&unlogged, SESSIONS).await;
    let manager = Manager::new(url.parse().expect("an address"), NoTls);
    let pool = Pool::builder(manager).max_size(PostgresStore::DEFAULT_POOL.get()).build().expect("a pool");
    // The store's are open, too: one after the other they are colder than one alone.
    let mut open = Vec::new();
    while open.len() < pool.status().max_size {
        open.push(pool.get().await.expect("a server"));
    }
    drop(open);
    let digests = Rc::new(keys.iter().map(|key| key.digest().to_vec()).collect());
    interleave(&[
        &Ours { name: "postgres".into(), store, keys: keys.clone() },
        &Raw {
            client: Postgres { pool, digests },
            load: "postgres client: the same statement of a load".into(),
            replace: "postgres client: the same statement of a replace".into(),
        },
        &Ours { name: "postgres, unlogged".into(), store: unlogged, keys },
    ])
    .await;
}

#[derive(Clone)]
struct Postgres {
    pool: Pool,
    digests: Rc<Vec<Vec<u8>>>,
}

struct Writer {
    digest: Vec<u8>,
    version: i64,
}

impl Client for Postgres {
    type Error = Error;
    type Writer = Writer;

    async fn load(&mut self, at: usize) -> Result<(), Error> {
        let client = self.pool.get().await.expect("a server");
        let statement = client.prepare_cached(LOAD).await?;
        let rows = client.query(&statement, &[&self.digests[at], &(NOW.as_millis() as i64)]).await?;
        assert_eq!(rows[0].get::<_, &[u8]>(7).len(), 240);
        Ok(())
    }

    async fn writer(&mut self, task: u64) -> Writer {
        let digest = key(task).digest().to_vec();
        let client = self.pool.get().await.expect("a server");
        let rows = client.query(LOAD, &[&digest, &(NOW.as_millis() as i64)]).await.expect("it is there");
        Writer { digest, version: rows[0].get(8) }
    }

    async fn write(&mut self, writer: &mut Writer) -> Result<(), Error> {
        let (now, next) = (NOW.as_millis() as i64, next().bits() as i64);
        let (data, idle, expires) = (vec![7_u8; 240], 86_400_i64, now + 86_400_000);
        let client = self.pool.get().await.expect("a server");
        let statement = client.prepare_cached(REPLACE).await?;
        let values: [&(dyn ToSql + Sync); 8] =
            [&writer.digest, &next, &now, &writer.version, &expires, &now, &idle, &data];
        let rows = client.query(&statement, &values).await?;
        assert_eq!(rows[0].get::<_, i32>(0), 0);
        writer.version = next;
        Ok(())
    }
}
