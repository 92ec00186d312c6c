//! The store in MySQL and MariaDB keeps the promises of a store.

mod support;

use dewar::store::conformance;
use support::mysql_server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn it_keeps_every_promise_of_a_store() {
    let server = Server::start(&[]).await;
    conformance::check(|| async { server.store() }).await;
}
