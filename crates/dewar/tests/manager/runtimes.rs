//! Managers on runtimes other than the usual one: none at all, one without timers, one after another; and shutting down.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{
    faulty::{Fault, Faulty, Verb},
    http::secret,
};
use dewar::{
    Session, SessionManager,
    runtime::{Blocking, Runtime, Task, Tokio},
    store::{SessionAdmin, Timestamp, memory::MemoryStore, sqlite::SqliteStore},
    testing::Visitor,
};
use http::HeaderMap;
use pollster::block_on;

fn manager(store: impl SessionAdmin, runtime: impl Runtime) -> SessionManager {
    SessionManager::builder(secret()).unwrap().store(store).runtime(runtime).build().unwrap()
}

/// Commits it, and gives the visitor the cookie.
fn ends(manager: &SessionManager, visitor: &mut Visitor, session: &Session) {
    let mut response = HeaderMap::new();
    block_on(manager.commit(session)).apply(&mut response).unwrap();
    visitor.receive(&response);
}

#[test]
fn a_program_without_an_async_runtime_keeps_sessions_in_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let manager = manager(SqliteStore::open(directory.path().join("sessions.db")).unwrap(), Blocking);
    let mut ada = Visitor::new(&manager);
    let session = block_on(ada.session()).unwrap();
    session.insert("firstName", "Ada");
    ends(&manager, &mut ada, &session);
    // Racing requests of threads are merged as those of tasks are.
    let counts: Vec<_> = (0..8)
        .map(|_| {
            let (manager, ada) = (manager.clone(), ada.clone());
            std::thread::spawn(move || {
                let session = block_on(ada.session()).unwrap();
                session.update("count", |count: &mut u32| *count += 1).unwrap();
                block_on(manager.commit(&session)).apply(&mut HeaderMap::new()).unwrap();
            })
        })
        .collect();
    counts.into_iter().for_each(|thread| thread.join().unwrap());
    let session = block_on(ada.session()).unwrap();
    assert_eq!(session.get::<String>("firstName").unwrap(), "Ada");
    assert_eq!(session.get("count"), Some(8));
    session.clear();
    ends(&manager, &mut ada, &session);
    assert_eq!(ada.cookie(), "");
    block_on(manager.drain()).unwrap();
}

#[test]
fn a_commit_whose_caller_goes_away_is_finished_without_an_async_runtime_too() {
    let store = Faulty::default();
    let slow = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // The store that is slow on purpose waits by tokio's clock; the manager knows nothing of it.
    let _entered = slow.enter();
    let manager = manager(store.clone(), InItsOwn(slow.handle().clone()));
    let ada = Visitor::new(&manager);
    let session = block_on(ada.session()).unwrap();
    session.insert("firstName", "Ada");
    store.fail(Verb::Create, 1, Fault::Slow(Duration::from_millis(50)));
    {
        let mut commit = std::pin::pin!(manager.commit(&session));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(commit.as_mut().poll(&mut context).is_pending());
    }
    slow.block_on(manager.drain()).unwrap();
    assert_eq!(slow.block_on(store.count(Timestamp::from_secs(1))).unwrap(), 1);
}

/// A runtime of the application's own.
struct InItsOwn(tokio::runtime::Handle);

impl Runtime for InItsOwn {
    fn spawn(&self, task: Task) {
        drop(self.0.spawn(task));
    }

    fn sleep(&self, time: Duration) -> Task {
        Box::pin(tokio::time::sleep(time))
    }
}

#[test]
fn requests_that_race_on_a_tokio_runtime_without_timers_are_merged() {
    let store = MemoryStore::new();
    let managers = [manager(store.clone(), Tokio), manager(store, Tokio)];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let ada = runtime.block_on(Visitor::prepared(&managers[0], |session| session.insert("count", 0))).unwrap();
    let tasks: Vec<_> = (0..40)
        .map(|number| {
            let (manager, cookie) = (managers[number % 2].clone(), ada.cookie());
            runtime.spawn(async move {
                let headers = HeaderMap::from_iter([(http::header::COOKIE, cookie)]);
                let session = manager.open(&headers).await.unwrap();
                tokio::task::yield_now().await;
                session.update("count", |count: &mut u32| *count += 1).unwrap();
                manager.commit(&session).await.apply(&mut HeaderMap::new()).unwrap();
            })
        })
        .collect();
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
    assert_eq!(runtime.block_on(ada.session()).unwrap().get("count"), Some(40));
}

/// Tokio, and how often it was asked to run something that never ends by itself.
#[derive(Clone, Default)]
struct Counting(Arc<Mutex<Vec<Duration>>>);

impl Runtime for Counting {
    fn spawn(&self, task: Task) {
        Tokio.spawn(task);
    }

    fn sleep(&self, time: Duration) -> Task {
        self.0.lock().unwrap().push(time);
        Box::pin(std::future::pending())
    }
}

#[test]
fn purging_begins_again_when_the_runtime_that_it_ran_on_has_ended() {
    let pauses = Counting::default();
    let manager = manager(MemoryStore::new(), pauses.clone());
    for began in 1..=3 {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for _ in 0..3 {
            runtime.block_on(async {
                manager.open(&HeaderMap::new()).await.unwrap();
                tokio::task::yield_now().await;
            });
        }
        assert_eq!(pauses.0.lock().unwrap().len(), began, "one task purges, whatever comes");
        drop(runtime);
    }
}

#[tokio::test]
async fn draining_waits_for_what_is_under_way_and_says_where_it_does_not_end() {
    let store = Faulty::default();
    let manager = manager(store.clone(), Tokio);
    manager.drain().await.unwrap();
    let sessions: Vec<Session> = futures_util::future::join_all((0..20).map(|_| async {
        let session = manager.open(&HeaderMap::new()).await.unwrap();
        session.insert("a", 1);
        session
    }))
    .await;
    store.always(Verb::Create, Fault::Slow(Duration::from_millis(50)));
    for session in &sessions {
        let begun = tokio::time::timeout(Duration::from_millis(1), manager.commit(session)).await;
        assert!(begun.is_err(), "the client goes while the store is slow");
    }
    manager.drain().await.unwrap();
    assert_eq!(store.count(Timestamp::from_secs(1)).await.unwrap(), 20);

    store.heal();
    store.always(Verb::Create, Fault::Slow(Duration::from_secs(60)));
    let session = manager.open(&HeaderMap::new()).await.unwrap();
    session.insert("a", 1);
    assert!(tokio::time::timeout(Duration::from_millis(1), manager.commit(&session)).await.is_err());
    let error = manager.drain().await.unwrap_err();
    assert!(error.is_store() && error.to_string().contains("1 session"), "{error}");
}
