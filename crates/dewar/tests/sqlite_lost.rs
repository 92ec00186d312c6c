//! The file is deleted, moved or replaced while the application runs: what was confirmed is in the file that stands at the
//! path, or the answer was an error.
#![cfg(unix)]

mod support;

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use dewar::store::{
    Create, Load, SessionAdmin, SessionStore, StoreError, Tombstone, Version, Why, rusqlite0_42, sqlite::SqliteStore,
};
use rusqlite::Connection;
use support::stores::{Directory, NOW, key, record};

const V: Version = Version::from_bits(7);

async fn create(store: &SqliteStore, number: u64) -> Result<(), StoreError> {
    let created = store.create(&key(number), V, record(&number.to_le_bytes()), NOW).await?;
    assert!(matches!(created, Create::Created(_)), "{number}: {created:?}");
    Ok(())
}

async fn is_live(store: &SqliteStore, number: u64) -> bool {
    matches!(store.load(&key(number), NOW).await.unwrap(), Load::Found(..))
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    format!("{}{suffix}", file.display()).into()
}

/// The sessions in a file, as somebody sees it who opens only that file.
fn sessions_in(file: &Path) -> HashSet<u64> {
    let alone = file.with_extension("alone");
    fs::copy(file, &alone).unwrap();
    let connection = Connection::open(&alone).unwrap();
    let integrity: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok");
    let mut statement = connection.prepare("SELECT data FROM dewar_session WHERE gone = 0").unwrap();
    let data = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    data.map(|data| u64::from_le_bytes(data.unwrap().try_into().unwrap())).collect()
}

#[tokio::test]
async fn a_write_into_a_deleted_file_is_an_error_and_the_next_is_in_a_new_file() {
    let directory = Directory::new();
    let file = directory.file();
    let store = SqliteStore::open(&file).unwrap();
    create(&store, 1).await.unwrap();
    fs::remove_file(&file).unwrap();

    let error = create(&store, 2).await.unwrap_err().to_string();
    assert_eq!(error, format!("sqlite: {} was deleted, moved or replaced; it is opened anew", file.display()));
    create(&store, 3).await.unwrap();
    assert!(!is_live(&store, 1).await && !is_live(&store, 2).await && is_live(&store, 3).await);
    store.close().await;
    assert_eq!(sessions_in(&file), HashSet::from([3]));
}

#[tokio::test]
async fn a_read_of_a_deleted_file_is_an_error_and_the_next_sees_the_new_one() {
    let directory = Directory::new();
    let store = SqliteStore::open(directory.file()).unwrap();
    create(&store, 1).await.unwrap();
    fs::remove_file(directory.file()).unwrap();
    let error = store.load(&key(1), NOW).await.unwrap_err().to_string();
    assert!(error.contains("was deleted"), "{error}");
    // Whichever thread answers.
    for _ in 0..20 {
        assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Missing);
        assert_eq!(store.count(NOW).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_log_out_in_the_file_that_was_put_there_is_seen_by_the_next_read() {
    let directory = Directory::new();
    let store = SqliteStore::open(directory.file()).unwrap();
    create(&store, 1).await.unwrap();
    let other = directory.path().join("other.db");
    let elsewhere = SqliteStore::open(&other).unwrap();
    create(&elsewhere, 1).await.unwrap();
    let tombstone = Tombstone::new(Why::Ended, 1, NOW);
    elsewhere.delete(&key(1), None, tombstone.clone(), NOW).await.unwrap();
    elsewhere.close().await;

    assert!(is_live(&store, 1).await);
    fs::rename(&other, directory.file()).unwrap();
    store.load(&key(1), NOW).await.unwrap_err();
    assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Gone(tombstone));
}

#[tokio::test]
async fn a_file_that_was_moved_away_has_all_that_was_confirmed_in_it() {
    let directory = Directory::new();
    let (file, old) = (directory.file(), directory.path().join("old.db"));
    let store = SqliteStore::open(&file).unwrap();
    for number in 0..50 {
        create(&store, number).await.unwrap();
    }
    fs::rename(&file, &old).unwrap();
    create(&store, 50).await.unwrap_err();
    create(&store, 51).await.unwrap();
    assert!(sessions_in(&old).is_superset(&(0..50).collect()));
    store.close().await;
    assert_eq!(sessions_in(&file), HashSet::from([51]));
}

#[tokio::test]
async fn a_file_that_was_moved_back_goes_on() {
    let directory = Directory::new();
    let (file, old) = (directory.file(), directory.path().join("old.db"));
    let store = SqliteStore::open(&file).unwrap();
    create(&store, 1).await.unwrap();
    fs::rename(&file, &old).unwrap();
    create(&store, 2).await.unwrap_err();
    create(&store, 3).await.unwrap();
    fs::rename(&old, &file).unwrap();
    create(&store, 4).await.unwrap_err();
    create(&store, 5).await.unwrap();
    assert!(is_live(&store, 1).await && !is_live(&store, 3).await && is_live(&store, 5).await);
}

/// Eight tasks write without a pause while this is done to the file again and again. Returns what was confirmed.
async fn under_fire(store: &SqliteStore, mut strike: impl FnMut(u64)) -> HashSet<u64> {
    let (is_over, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let confirmed = Arc::new(Mutex::new(HashSet::new()));
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (store, is_over, next) = (store.clone(), Arc::clone(&is_over), Arc::clone(&next));
            let confirmed = Arc::clone(&confirmed);
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if create(&store, number).await.is_ok() {
                        confirmed.lock().unwrap().insert(number);
                    }
                    let _ = store.load(&key(number), NOW).await;
                }
            })
        })
        .collect();
    for round in 0..20 {
        let before = confirmed.lock().unwrap().len();
        while confirmed.lock().unwrap().len() < before + 50 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        strike(round);
    }
    is_over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let confirmed = confirmed.lock().unwrap().clone();
    assert!(confirmed.len() >= 1_000);
    confirmed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_confirmed_write_is_in_a_file_that_stood_at_the_path() {
    let directory = Directory::new();
    let file = directory.file();
    let store = SqliteStore::open(&file).unwrap();
    let old = |round| directory.path().join(format!("old-{round}.db"));
    let confirmed = under_fire(&store, |round| fs::rename(&file, old(round)).unwrap()).await;
    store.close().await;
    let mut found = sessions_in(&file);
    (0..20).for_each(|round| found.extend(sessions_in(&old(round))));
    let lost = confirmed.difference(&found).count();
    assert_eq!(lost, 0, "of {}", confirmed.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_deleted_again_and_again_loses_no_confirmed_write() {
    let directory = Directory::new();
    let file = directory.file();
    let store = SqliteStore::open(&file).unwrap();
    let lost = ["-wal", "-shm"];
    let confirmed = under_fire(&store, |round| drop(fs::remove_file(beside(&file, lost[round as usize % 2])))).await;
    store.close().await;
    let found = sessions_in(&file);
    let lost = confirmed.difference(&found).count();
    assert_eq!(lost, 0, "of {}", confirmed.len());
}
