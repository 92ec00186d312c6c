//! Racing requests on SQLite.

use crate::support::{races, stores::Directory};
use dewar::store::sqlite::SqliteStore;

fn store(directory: &Directory) -> SqliteStore {
    SqliteStore::open(directory.path().join("sessions.db")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_race_on_sqlite() {
    let directory = Directory::new();
    races::all(async || store(&directory)).await;
}

#[tokio::test]
async fn a_session_in_the_cookie_is_taken_over_once() {
    let directory = Directory::new();
    races::take_over(store(&directory)).await;
}

#[tokio::test]
async fn a_log_out_during_the_take_over_is_final() {
    let directory = Directory::new();
    races::log_out_during_take_over(store(&directory)).await;
}

// On one thread: what a client does while its commit is under way is done before anything comes of that.
#[tokio::test]
async fn five_thousand_histories_of_racing_clients_equal_the_model() {
    let directory = Directory::new();
    crate::support::histories::run(store(&directory), 5_000, &crate::support::histories::EVERY_PAUSE, true).await;
}
