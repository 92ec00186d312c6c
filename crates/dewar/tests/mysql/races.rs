//! Racing requests on MySQL and MariaDB.

use crate::support::{mysql_server::Server, races};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn every_race_on_mysql() {
    let server = Server::start(&[]).await;
    races::all(async || server.store()).await;
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_session_in_the_cookie_is_taken_over_once() {
    let server = Server::start(&[]).await;
    races::take_over(server.store()).await;
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_log_out_during_the_take_over_is_final() {
    let server = Server::start(&[]).await;
    races::log_out_during_take_over(server.store()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn generated_histories_of_racing_clients_equal_the_model() {
    let server = Server::start(&[]).await;
    crate::support::histories::run(server.store(), 5_000, &crate::support::histories::EVERY_PAUSE, true).await;
}
