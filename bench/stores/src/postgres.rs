//! PostgreSQL beside its client alone: the store's own statements with the same values, prepared, on a pool of the same size.

use std::rc::Rc;

use deadpool_postgres::{Manager, Pool, tokio_postgres::NoTls};
use dewar::store::postgres::PostgresStore;

use crate::{NOW, TURNS, fill, key, next, of_store, report, turn, until};

const SESSIONS: u64 = 10_000;

const LOAD: &str = "
    SELECT created, idle_seconds, idle_expires, absolute_expires, persistent, principal, label, data, version, lineage, epoch,
        guarded_until, gone, expires, why, nonce, made, expires, successor, successor_name
    FROM dewar.session WHERE key = $1 AND (expires > $2 OR guarded_until > $2)";

const REPLACE: &str = "
    SELECT * FROM dewar.replace_1($1, $4, $2, ROW(NULL, $5, $6, $7, $5, NULL, false, NULL, NULL, NULL, 0, NULL, NULL, $8)::dewar.record_1, $3)";

pub(crate) async fn measure(url: &str) {
    let store = PostgresStore::open(url).expect("an address");
    let keys = fill(&store, SESSIONS).await;
    let manager = Manager::new(url.parse().expect("an address"), NoTls);
    let pool = Pool::builder(manager).max_size(PostgresStore::DEFAULT_POOL.get()).build().expect("a pool");
    let digests: Rc<Vec<_>> = Rc::new(keys.iter().map(|key| key.digest().to_vec()).collect());
    let now = NOW.as_millis() as i64;
    for in_flight in [1, 32] {
        let (mut load, mut get, mut replace, mut raw, mut touch) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..TURNS {
            load.push(of_store!(loads, store, keys, in_flight));
            get.push(
                turn(in_flight, |task, end| {
                    let (pool, digests) = (pool.clone(), Rc::clone(&digests));
                    async move {
                        until(end, async |i| {
                            let at = (i * 7_919 + task * 104_729) as usize % digests.len();
                            let client = pool.get().await.expect("a server");
                            let statement = client.prepare_cached(LOAD).await?;
                            let rows = client.query(&statement, &[&digests[at], &now]).await?;
                            assert_eq!(rows[0].get::<_, &[u8]>(7).len(), 240);
                            Ok::<_, deadpool_postgres::tokio_postgres::Error>(())
                        })
                        .await
                    }
                })
                .await,
            );
            replace.push(of_store!(replaces, store, keys, in_flight));
            raw.push(
                turn(in_flight, |task, end| {
                    let pool = pool.clone();
                    async move {
                        let digest = key(task).digest().to_vec();
                        let client = pool.get().await.expect("a server");
                        let rows = client.query(LOAD, &[&digest, &now]).await.expect("it is there");
                        drop(client);
                        let mut version: i64 = rows[0].get(8);
                        let (data, idle, expires) = (vec![7_u8; 240], 86_400_i64, now + 86_400_000);
                        until(end, async |_| {
                            let next = next().bits() as i64;
                            let client = pool.get().await.expect("a server");
                            let statement = client.prepare_cached(REPLACE).await?;
                            let values: [&(dyn deadpool_postgres::tokio_postgres::types::ToSql + Sync); 8] =
                                [&digest, &next, &now, &version, &expires, &now, &idle, &data];
                            let rows = client.query(&statement, &values).await?;
                            assert_eq!(rows[0].get::<_, i32>(0), 0);
                            version = next;
                            Ok::<_, deadpool_postgres::tokio_postgres::Error>(())
                        })
                        .await
                    }
                })
                .await,
            );
            touch.push(of_store!(touches, store, keys, in_flight));
        }
        report("postgres: load", in_flight, load);
        report("postgres client: the same statement of a load", in_flight, get);
        report("postgres: replace", in_flight, replace);
        report("postgres client: the same statement of a replace", in_flight, raw);
        report("postgres: touch", in_flight, touch);
    }
}
