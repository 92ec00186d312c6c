//! Racing requests on a Redis Cluster.

use crate::support::{races, redis_cluster::Cluster};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server; cargo xtask live"]
async fn every_race_on_a_cluster() {
    let cluster = Cluster::start();
    races::all(async || cluster.open()).await;
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_session_in_the_cookie_is_taken_over_once() {
    let cluster = Cluster::start();
    races::take_over(cluster.open()).await;
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_log_out_during_the_take_over_is_final() {
    let cluster = Cluster::start();
    races::log_out_during_take_over(cluster.open()).await;
}

/// The server's own clock decides what expires here, so these histories are short; the longer ones run on the other stores.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server; cargo xtask live"]
async fn generated_histories_of_racing_clients_equal_the_model() {
    let cluster = Cluster::start();
    crate::support::histories::run(cluster.open(), 5_000, &[1], false).await;
}
