//! Racing requests on the store in memory.

use crate::support::races;
use dewar::store::memory::MemoryStore;

#[tokio::test(flavor = "multi_thread")]
async fn every_race_on_memory() {
    races::all(async || MemoryStore::new()).await;
}

#[tokio::test]
async fn a_session_in_the_cookie_is_taken_over_once() {
    races::take_over(MemoryStore::new()).await;
}

#[tokio::test]
async fn a_log_out_during_the_take_over_is_final() {
    races::log_out_during_take_over(MemoryStore::new()).await;
}

#[tokio::test]
async fn three_thousand_histories_that_lose_answers_equal_the_model() {
    crate::support::histories::run_losing(MemoryStore::new(), 3_000).await;
}

#[tokio::test]
async fn twenty_thousand_histories_of_racing_clients_equal_the_model() {
    crate::support::histories::run(MemoryStore::new(), 20_000, &crate::support::histories::EVERY_PAUSE, true).await;
}

#[tokio::test]
async fn who_fills_a_session_that_another_empties_in_the_same_write_gets_no_cookie() {
    crate::support::histories::run_one(MemoryStore::new(), 122_668_560_955_924).await;
}

#[tokio::test]
async fn fifteen_hundred_histories_of_three_who_always_write_at_once_equal_the_model() {
    crate::support::histories::run_crowded(MemoryStore::new(), 1_500).await;
}
