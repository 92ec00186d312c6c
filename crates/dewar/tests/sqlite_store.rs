//! The SQLite store keeps the promises of a store, alone and beside others.

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use dewar::store::{Create, Load, Replace, SessionAdmin, SessionStore, conformance, rusqlite0_42, sqlite::SqliteStore};
use rusqlite::Connection;
use support::stores::{Directory, NOW, key, record};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_keeps_every_promise_of_a_store() {
    let directory = Directory::new();
    let count = AtomicU32::new(0);
    conformance::check(|| async {
        let file = directory.path().join(format!("{}.db", count.fetch_add(1, Ordering::Relaxed)));
        SqliteStore::open(file).unwrap()
    })
    .await;
}

#[tokio::test]
async fn one_file_that_all_share_keeps_every_promise_too() {
    let directory = Directory::new();
    let store = SqliteStore::open(directory.file()).unwrap();
    conformance::check(|| async { store.clone() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_stores_on_one_file_lose_no_write() {
    let directory = Directory::new();
    let stores = [0, 1].map(|_| Arc::new(SqliteStore::open(directory.file()).unwrap()));
    stores[0].create(&key(1), record(&[0; 8]), NOW).await.unwrap();
    let tasks = (0..8_usize).map(|task| {
        let store = Arc::clone(&stores[task % 2]);
        async move {
            for _ in 0..20 {
                loop {
                    let Load::Found(mut record, version) = store.load(&key(1), NOW).await.unwrap() else { panic!() };
                    let mut data = record.data.to_vec();
                    data[task] += 1;
                    record.data = data.into();
                    let replaced = store.replace(&key(1), version, record, NOW).await.unwrap();
                    if matches!(replaced, Replace::Replaced(_)) {
                        break;
                    }
                }
            }
        }
    });
    tasks.collect::<tokio::task::JoinSet<()>>().join_all().await;
    let Load::Found(record, _) = stores[1].load(&key(1), NOW).await.unwrap() else { panic!() };
    assert_eq!(&*record.data, [20; 8]);
}

#[test]
fn many_may_open_one_new_file_at_once() {
    let directory = Directory::new();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| SqliteStore::open(directory.file()).unwrap());
        }
    });
}

#[tokio::test]
async fn a_closed_store_has_written_everything_and_refuses_more() {
    let directory = Directory::new();
    let store = SqliteStore::open(directory.file()).unwrap();
    let Create::Created(version) = store.create(&key(1), record(b"kept"), NOW).await.unwrap() else { panic!() };
    store.close().await;
    let names = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["sessions.db"], "the write-ahead log was left behind");
    assert_eq!(store.load(&key(1), NOW).await.unwrap_err().to_string(), "sqlite: the store is closed");

    let again = SqliteStore::open(directory.file()).unwrap();
    assert_eq!(again.load(&key(1), NOW).await.unwrap(), Load::Found(record(b"kept"), version));
}

#[tokio::test]
async fn a_dropped_store_writes_what_it_confirmed_and_ends_its_threads() {
    let directory = Directory::new();
    let store = SqliteStore::open(directory.file()).unwrap();
    store.create(&key(1), record(b"kept"), NOW).await.unwrap();
    drop(store);
    let log = directory.path().join("sessions.db-wal");
    for _ in 0..500 {
        if !log.exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(!log.exists(), "a thread still holds the file");
    let again = SqliteStore::open(directory.file()).unwrap();
    assert_eq!(again.count(NOW).await.unwrap(), 1);
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let directory = Directory::new();
    let store = SqliteStore::open(directory.file()).unwrap();
    store.create(&key(1), record(b"private"), NOW).await.unwrap();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
    }
}

#[test]
fn tables_of_a_later_release_are_refused_by_name() {
    let directory = Directory::new();
    let connection = Connection::open(directory.file()).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    let error = SqliteStore::open(directory.file()).unwrap_err().to_string();
    assert!(error.contains("unknown version 99"), "{error}");
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let directory = Directory::new();
    let error = SqliteStore::open(directory.path().join("missing/sessions.db")).unwrap_err().to_string();
    assert!(error.starts_with("sqlite: cannot open ") && error.contains("missing/sessions.db"), "{error}");
    std::fs::write(directory.file(), [b'x'; 8192]).unwrap();
    let error = SqliteStore::open(directory.file()).unwrap_err().to_string();
    assert!(error.contains("not a database"), "{error}");
}

#[tokio::test]
async fn a_database_of_the_applications_own_keeps_its_version() {
    let directory = Directory::new();
    let own = Connection::open(directory.file()).unwrap();
    own.execute_batch("CREATE TABLE question (text TEXT); PRAGMA user_version = 42;").unwrap();
    let store = rusqlite0_42::store(|| Connection::open(directory.file())).unwrap();
    store.create(&key(1), record(b"beside"), NOW).await.unwrap();
    let (version, sessions): (i64, i64) = own
        .query_row("SELECT (SELECT user_version FROM pragma_user_version), count(*) FROM dewar_session", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!((version, sessions), (42, 1));
    let error = rusqlite0_42::store(Connection::open_in_memory).unwrap_err().to_string();
    assert!(error.contains("a file is needed"), "{error}");
}
