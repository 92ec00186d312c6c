//! Racing requests on PostgreSQL.

use crate::support::{
    postgres::{open, with},
    postgres_server::Server,
    races,
};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn every_race_on_postgresql() {
    let server = Server::start(&[]);
    races::all(async || open(&server)).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_session_in_the_cookie_is_taken_over_once() {
    let server = Server::start(&[]);
    races::take_over(open(&server)).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_log_out_during_the_take_over_is_final() {
    let server = Server::start(&[]);
    races::log_out_during_take_over(open(&server)).await;
}

// On one thread: what a client does while its commit is under way is done before anything comes of that.
#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn generated_histories_of_racing_clients_equal_the_model() {
    let server = Server::start(&[]);
    let store = with(&server, "pool=4");
    crate::support::histories::run(store, 5_000, &crate::support::histories::EVERY_PAUSE, true).await;
}
