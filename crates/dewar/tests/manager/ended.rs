//! `session.ended()`: what waits for the end of a session learns of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use crate::support::{
    endings::{self, Servers},
    faulty::{Fault, Verb},
    http::secret,
    site::{BEGIN, Request, Site, after_ms, visit},
    stores::Directory,
};
use dewar::{
    Clock, Lifetime, SessionManager,
    store::{memory::MemoryStore, sqlite::SqliteStore},
    testing::Visitor,
};
use futures_util::poll;
use http::HeaderMap;

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_session_is_known_at_once_in_memory() {
    let store = MemoryStore::new();
    endings::all(Servers::on(store.clone(), store), "memory").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_session_is_known_soon_where_two_processes_share_a_sqlite_file() {
    let directory = Directory::new();
    let open = || SqliteStore::open(directory.file()).unwrap();
    endings::all(Servers::on(open(), open()), "sqlite").await;
}

#[tokio::test]
async fn what_is_not_stored_never_ends_and_what_has_ended_is_over() {
    let site = Site::new();
    let fresh = site.manager.open(&HeaderMap::new()).await.unwrap();
    assert_eq!(poll!(&mut fresh.ended()), Poll::Pending);
    let in_a_cookie = SessionManager::new(secret()).unwrap();
    let visitor = Visitor::prepared(&in_a_cookie, |session| session.insert("n", 1)).await.unwrap();
    let session = Request::begin(&visitor, &in_a_cookie).await.session;
    assert_eq!(poll!(&mut session.ended()), Poll::Pending);

    let mut visitor = site.user("ann").await;
    let late = visitor.clone();
    visit(&mut visitor, &site.manager, |session| session.clear()).await;
    let session = Request::begin(&late, &site.manager).await.session;
    assert_eq!(poll!(&mut session.ended()), Poll::Ready(()));
}

#[tokio::test]
async fn a_session_that_begins_with_the_request_has_an_end_once_it_is_committed() {
    let site = Site::new();
    let session = site.manager.open(&HeaderMap::new()).await.unwrap();
    session.set_principal("ann");
    session.commit().await.unwrap();
    let ended = session.ended();
    site.other.revoke_all("ann").await.unwrap();
    tokio::time::timeout(Duration::from_secs(1), ended).await.unwrap();
}

#[tokio::test]
async fn a_session_that_runs_out_has_ended() {
    let clock = Clock::at(BEGIN);
    let manager = SessionManager::builder(secret()).unwrap().clock(clock.clone()).store(MemoryStore::new());
    let manager = manager.lifetime(Lifetime::browser().idle(Duration::from_secs(60))).build().unwrap();
    let visitor = Visitor::prepared(&manager, |session| session.insert("n", 1)).await.unwrap();
    let ended = Request::begin(&visitor, &manager).await.session.ended();
    clock.advance(Duration::from_secs(61));
    // Nobody tells of it: the store is asked every ten seconds.
    tokio::time::timeout(Duration::from_secs(12), ended).await.unwrap();
}

#[tokio::test]
async fn a_session_counts_as_alive_while_its_store_is_down() {
    let site = Site::new();
    let visitor = site.user("ann").await;
    let mut ended = Request::begin(&visitor, &site.manager).await.session.ended();
    site.store.fail(Verb::Load, 1_000, Fault::NotDone);
    after_ms(700).await;
    assert_eq!(poll!(&mut ended), Poll::Pending);
}

#[tokio::test]
async fn ten_thousand_who_wait_are_told_and_nothing_is_left_of_them() {
    let site = Site::new();
    let told = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for user in 0..100 {
        let visitor = site.user(&format!("user-{user}")).await;
        for _ in 0..100 {
            let ended = Request::begin(&visitor, &site.manager).await.session.ended();
            let told = Arc::clone(&told);
            tasks.spawn(async move {
                ended.await;
                told.fetch_add(1, SeqCst);
            });
        }
    }
    site.store.calls();
    site.other.revoke_everyone().await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), tasks.join_all()).await.unwrap();
    assert_eq!(told.load(SeqCst), 10_000);
    // Each session is looked at, not each of those who wait for it.
    let calls = site.store.calls();
    assert!(calls <= 300, "{calls}");
}

#[tokio::test]
async fn whoever_waits_does_not_keep_the_manager() {
    let site = Site::new();
    let visitor = site.user("ann").await;
    let ended = Request::begin(&visitor, &site.manager).await.session.ended();
    drop((site, visitor));
    // The server stops, and its connections with it.
    tokio::time::timeout(Duration::from_secs(1), ended).await.unwrap();
}
