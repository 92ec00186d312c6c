//! On a Redis Cluster.

use std::time::Duration;

use crate::support::{races, redis_cluster::Cluster};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server; cargo xtask live"]
async fn ten_thousand_requests_at_once_lose_nothing_on_a_cluster() {
    let cluster = Cluster::start();
    // Six servers and ten thousand callers, on whatever machine this runs.
    let store = cluster.open().time_limit(Duration::from_secs(60));
    races::crowd(races::manager(store), 10_000).await;
}
