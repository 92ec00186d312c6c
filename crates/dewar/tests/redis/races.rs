//! Racing requests on Redis.

use crate::support::{races, redis_server::Server};
use dewar::store::redis::RedisStore;

fn store(server: &Server) -> RedisStore {
    RedisStore::open(&server.url()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server; cargo xtask live"]
async fn every_race_on_redis() {
    let server = Server::start(&[]);
    races::all(async || store(&server)).await;
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_session_in_the_cookie_is_taken_over_once() {
    let server = Server::start(&[]);
    races::take_over(store(&server)).await;
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_log_out_during_the_take_over_is_final() {
    let server = Server::start(&[]);
    races::log_out_during_take_over(store(&server)).await;
}

/// The server's own clock decides what expires here, so these histories are short; the longer ones run on the other stores.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server; cargo xtask live"]
async fn generated_histories_of_racing_clients_equal_the_model() {
    let server = Server::start(&[]);
    crate::support::histories::run(store(&server), 5_000, &[1], false).await;
}
