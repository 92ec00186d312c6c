//! Ten thousand requests at once on one session. A file of its own, because the memory of its process is measured.

mod support;

use dewar::store::{memory::MemoryStore, redis::RedisStore, sqlite::SqliteStore};
use support::{races, redis_server::Server, stores::Directory};

const REQUESTS: u32 = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_requests_at_once_lose_nothing_in_memory_and_on_sqlite() {
    races::crowd(races::manager(MemoryStore::new()), REQUESTS).await;
    let directory = Directory::new();
    let store = SqliteStore::open(directory.path().join("sessions.db")).unwrap();
    races::crowd(races::manager(store), REQUESTS).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server; cargo xtask live"]
async fn ten_thousand_requests_at_once_lose_nothing_on_redis() {
    let server = Server::start(&[]);
    let store = RedisStore::open(&server.url()).unwrap();
    races::crowd(races::manager(store), REQUESTS).await;
}
