//! What a health check is told.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{
    faulty::{Fault, Faulty, Verb},
    redis_server::Server,
    stores::Directory,
};
use dewar::{
    Secret, SessionManager,
    runtime::{Runtime, Task},
    store::{SessionAdmin, memory::MemoryStore, redis::RedisStore, sqlite::SqliteStore},
};

fn manager(store: impl SessionAdmin) -> SessionManager {
    SessionManager::builder(Secret::generate()).unwrap().store(store).build().unwrap()
}

#[tokio::test]
async fn sessions_in_a_cookie_and_in_memory_are_always_there() {
    SessionManager::new(Secret::generate()).unwrap().ping().await.unwrap();
    manager(MemoryStore::new()).ping().await.unwrap();
}

#[tokio::test]
async fn a_file_answers_until_it_is_closed() {
    let directory = Directory::new();
    let store = SqliteStore::open(directory.path().join("sessions.db")).unwrap();
    let manager = manager(store.clone());
    manager.ping().await.unwrap();
    store.close().await;
    assert!(manager.ping().await.unwrap_err().is_store());
}

#[tokio::test]
async fn a_server_answers_until_it_is_gone_and_when_it_is_there_again() {
    let mut server = Server::start(&[]);
    let manager = manager(RedisStore::open(&server.url()).unwrap());
    manager.ping().await.unwrap();
    server.kill();
    assert!(manager.ping().await.unwrap_err().is_store());
    server.restart();
    manager.ping().await.unwrap();
}

#[tokio::test]
async fn a_store_that_says_nothing_of_pings_is_asked_for_a_session() {
    let store = Faulty::default();
    let manager = manager(store.clone());
    manager.ping().await.unwrap();
    assert_eq!(store.calls(), 1);
    store.always(Verb::Load, Fault::NotDone);
    assert!(manager.ping().await.unwrap_err().is_store());
}

/// Sleeps for a moment, and notes for how long it was to be.
#[derive(Clone, Default)]
struct Impatient(Arc<Mutex<Vec<Duration>>>);

impl Runtime for Impatient {
    fn spawn(&self, task: Task) {
        drop(tokio::spawn(task));
    }

    fn sleep(&self, time: Duration) -> Task {
        self.0.lock().unwrap().push(time);
        Box::pin(tokio::time::sleep(Duration::from_millis(10)))
    }
}

#[tokio::test]
async fn a_store_that_never_answers_is_given_up_after_five_seconds() {
    let (store, runtime) = (Faulty::default(), Impatient::default());
    store.always(Verb::Load, Fault::Slow(Duration::from_secs(3600)));
    let builder = SessionManager::builder(Secret::generate()).unwrap().store(store).runtime(runtime.clone());
    assert!(builder.build().unwrap().ping().await.unwrap_err().is_store());
    assert_eq!(*runtime.0.lock().unwrap(), [Duration::from_secs(5)]);
}
