//! What the tests of the PostgreSQL store have in common.

use std::time::{Duration, Instant};

use dewar::store::postgres::PostgresStore;
use tokio::time::sleep;
use tokio_postgres::{Client, NoTls};

use super::postgres_server::Server;

pub(crate) async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Runs SQL as the user who may do everything.
pub(crate) async fn run(server: &Server, sql: &str) {
    client(&server.url()).await.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

pub(crate) async fn number(server: &Server, sql: &str) -> i64 {
    client(&server.url()).await.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}

pub(crate) fn open(server: &Server) -> PostgresStore {
    PostgresStore::open(&server.url()).unwrap()
}

/// With these settings: `schema=a&pool=2`.
pub(crate) fn with(server: &Server, settings: &str) -> PostgresStore {
    PostgresStore::open(&format!("{}?{settings}", server.url())).unwrap()
}

/// On the one of both that is written to.
pub(crate) fn both(one: &Server, two: &Server) -> PostgresStore {
    PostgresStore::open(&format!("postgres://live@127.0.0.1:{},127.0.0.1:{}/postgres", one.port(), two.port())).unwrap()
}

pub(crate) async fn is_streaming(primary: &Server) {
    let start = Instant::now();
    while number(primary, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'").await == 0 {
        assert!(start.elapsed() < Duration::from_secs(10));
        sleep(Duration::from_millis(20)).await;
    }
}
