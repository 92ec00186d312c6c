//! From one store of ours to another, on real servers.

use crate::support::{moves, postgres_server, redis_cluster::Cluster, redis_server, stores::Directory};
use dewar::store::{postgres::PostgresStore, redis::RedisStore, sqlite::SqliteStore};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs postgresql; cargo xtask live"]
async fn a_thousand_visits_move_from_sqlite_to_postgresql() {
    let (directory, server) = (Directory::new(), postgres_server::Server::start(&[]));
    let old = SqliteStore::open(directory.file()).unwrap();
    moves::a_thousand_visits(old.clone(), PostgresStore::open(&server.url()).unwrap()).await;
    old.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_thousand_visits_move_from_one_redis_to_a_cluster() {
    let (server, cluster) = (redis_server::Server::start(&[]), Cluster::start());
    moves::a_thousand_visits(RedisStore::open(&server.url()).unwrap(), cluster.open()).await;
}
