//! The Redis store on a cluster keeps the promises of a store, whichever slots its steps are in.

mod support;

use dewar::store::conformance;
use support::redis_cluster::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_cluster_keeps_every_promise_of_a_store() {
    let cluster = Cluster::start();
    conformance::check(|| async { cluster.open() }).await;
}
