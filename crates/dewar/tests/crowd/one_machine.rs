//! In the memory of the process, in a file beside it, and in one Redis.

use crate::support::{races, redis_server::Server, stores::Directory};
use dewar::store::{memory::MemoryStore, redis::RedisStore, sqlite::SqliteStore};

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
