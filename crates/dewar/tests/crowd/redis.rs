//! On Redis.

use crate::support::{races, redis::open, redis_server::Server};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server; cargo xtask live"]
async fn ten_thousand_requests_at_once_lose_nothing_on_redis() {
    let server = Server::start(&[]);
    races::crowd(races::manager(open(&server)), 10_000).await;
}
