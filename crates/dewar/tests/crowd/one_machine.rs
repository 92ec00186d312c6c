//! In the memory of the process, and in a file beside it.

use crate::support::{races, stores::Directory};
use dewar::store::{memory::MemoryStore, sqlite::SqliteStore};

const REQUESTS: u32 = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_requests_at_once_lose_nothing_in_memory_and_on_sqlite() {
    races::crowd(races::manager(MemoryStore::new()), REQUESTS).await;
    let directory = Directory::new();
    let store = SqliteStore::open(directory.path().join("sessions.db")).unwrap();
    races::crowd(races::manager(store), REQUESTS).await;
}
