//! On PostgreSQL.

use std::time::Duration;

use crate::support::{postgres::open, postgres_server::Server, races};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn ten_thousand_requests_at_once_lose_nothing_on_postgresql() {
    let server = Server::start(&[]);
    // They wait for each other at the pool, on whatever machine this runs.
    let store = open(&server).time_limit(Duration::from_secs(60));
    races::crowd(races::manager(store), 10_000).await;
}
