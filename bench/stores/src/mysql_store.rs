//! MySQL or MariaDB beside its client alone: the store's own statements, on as many connections.

use std::rc::Rc;

use dewar::store::mysql::MysqlStore;
use mysql_async::{Opts, OptsBuilder, Pool, PoolConstraints, PoolOpts, Row, Value, prelude::Queryable};

use crate::{NOW, TURNS, fill, key, next, of_store, record, report, turn, until};

const SESSIONS: u64 = 10_000;

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
    let names: Rc<Vec<_>> = Rc::new(keys.iter().map(ToString::to_string).collect());
    for in_flight in [1, 32] {
        let (mut load, mut raw_load, mut replace, mut raw_replace, mut touch) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..TURNS {
            load.push(of_store!(loads, store, keys, in_flight));
            raw_load.push(
                turn(in_flight, |task, end| {
                    let (pool, names) = (pool.clone(), Rc::clone(&names));
                    async move {
                        until(end, async |i| {
                            let at = (i * 7_919 + task * 104_729) as usize % names.len();
                            let mut connection = pool.get_conn().await?;
                            let found: Option<Row> = connection.exec_first(LOAD, (&names[at],)).await?;
                            let data: Vec<u8> = found.and_then(|mut row| row.take("data")).expect("it is there");
                            assert_eq!(data.len(), 240);
                            Ok::<_, mysql_async::Error>(())
                        })
                        .await
                    }
                })
                .await,
            );
            replace.push(of_store!(replaces, store, keys, in_flight));
            raw_replace.push(
                turn(in_flight, |task, end| {
                    let pool = pool.clone();
                    async move {
                        let name = key(task).to_string();
                        until(end, async |_| {
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
                            let mut connection = pool.get_conn().await?;
                            connection.exec_drop(REPLACE, values).await?;
                            assert_eq!(connection.affected_rows(), 1);
                            Ok::<_, mysql_async::Error>(())
                        })
                        .await
                    }
                })
                .await,
            );
            touch.push(of_store!(touches, store, keys, in_flight));
        }
        report("mysql: load", in_flight, load);
        report("mysql_async: the same SELECT", in_flight, raw_load);
        report("mysql: replace", in_flight, replace);
        report("mysql_async: the same UPDATE", in_flight, raw_replace);
        report("mysql: touch", in_flight, touch);
    }
    crate::purge("mysql, 10000 sessions", &store).await;
}
