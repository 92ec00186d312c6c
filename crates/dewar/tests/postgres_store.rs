//! What the store in PostgreSQL promises.

mod support;

use dewar::store::conformance;
use support::{postgres::open, postgres_server::Server};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn the_store_keeps_every_promise_of_the_contract() {
    let server = Server::start(&[]);
    let store = open(&server);
    conformance::check(async || store.clone()).await;
}
