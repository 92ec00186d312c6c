//! The file is deleted, moved or replaced while the application runs: what was confirmed is in the file that stands at the
//! path, or the answer was an error.
#![cfg(unix)]

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    os::unix::{fs::MetadataExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::support::{
    http::secret,
    site::answer,
    stores::{Directory, NOW, key, record},
};
use axum::http::StatusCode;
use dewar::{
    Session, SessionLayer,
    store::{
        Create, Load, SessionAdmin, SessionStore, StoreError, Tombstone, Version, Why, rusqlite0_42,
        sqlite::SqliteStore,
    },
    testing::Visitor,
};
use rusqlite::Connection;

const V: Version = Version::from_bits(7);

async fn create(store: &SqliteStore, number: u64) -> Result<(), StoreError> {
    let created = store.create(&key(number), V, record(&number.to_le_bytes()), None, NOW).await?;
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
async fn so_it_has_where_the_application_ends_before_it_notices() {
    let directory = Directory::new();
    let (file, old) = (directory.file(), directory.path().join("old.db"));
    let store = SqliteStore::open(&file).unwrap();
    create(&store, 1).await.unwrap();
    fs::rename(&file, &old).unwrap();
    store.close().await;
    assert_eq!(sessions_in(&old), HashSet::from([1]));
    SqliteStore::open(&file).unwrap().close().await;
    assert_eq!(sessions_in(&file), HashSet::new());
}

#[tokio::test]
async fn so_it_has_where_another_store_began_anew_at_its_path() {
    let directory = Directory::new();
    let (file, old) = (directory.file(), directory.path().join("old.db"));
    let store = SqliteStore::open(&file).unwrap();
    for number in 0..50 {
        create(&store, number).await.unwrap();
    }
    fs::rename(&file, &old).unwrap();
    let next = SqliteStore::open(&file).unwrap();
    create(&next, 100).await.unwrap();
    create(&store, 50).await.unwrap_err();
    store.close().await;
    create(&next, 101).await.expect("its log is its own");
    next.close().await;
    assert!(sessions_in(&old).is_superset(&(0..50).collect()));
    assert_eq!(sessions_in(&file), HashSet::from([100, 101]));
}

#[tokio::test]
async fn a_log_that_is_deleted_before_the_first_read_loses_nothing() {
    let directory = Directory::new();
    let file = directory.file();
    let store = SqliteStore::open(&file).unwrap();
    for number in 0..50 {
        create(&store, number).await.unwrap();
    }
    fs::remove_file(beside(&file, "-wal")).unwrap();
    for number in 0..50 {
        assert!(is_live(&store, number).await, "{number}");
    }
    create(&store, 50).await.unwrap_err();
    create(&store, 51).await.unwrap();
    for number in 0..50 {
        assert!(is_live(&store, number).await, "{number}");
    }
    store.close().await;
    assert!(sessions_in(&file).is_superset(&(0..50).collect()));
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

#[tokio::test]
async fn a_backup_that_takes_its_place_is_read_and_written() {
    let directory = Directory::new();
    let (file, backup) = (directory.file(), directory.path().join("backup.db"));
    let store = SqliteStore::open(&file).unwrap();
    create(&store, 1).await.unwrap();
    let into = format!("VACUUM INTO '{}'", backup.display());
    Connection::open(&file).unwrap().execute_batch(&into).unwrap();
    create(&store, 2).await.unwrap();
    fs::rename(&backup, &file).unwrap();
    create(&store, 3).await.unwrap_err();
    create(&store, 4).await.unwrap();
    assert!(is_live(&store, 1).await && !is_live(&store, 2).await && is_live(&store, 4).await);
    store.close().await;
    assert_eq!(sessions_in(&file), HashSet::from([1, 4]));
}

#[tokio::test]
async fn a_symbolic_link_that_leads_elsewhere_is_followed() {
    let directory = Directory::new();
    let within = |name: &str| directory.path().join(name);
    let (link, blue, green) = (directory.file(), within("blue.db"), within("green.db"));
    SqliteStore::open(&green).unwrap().close().await;
    std::os::unix::fs::symlink(&blue, &link).unwrap();
    let store = SqliteStore::open(&link).unwrap();
    create(&store, 1).await.unwrap();
    std::os::unix::fs::symlink(&green, within("next")).unwrap();
    fs::rename(within("next"), &link).unwrap();
    create(&store, 2).await.unwrap_err();
    create(&store, 3).await.unwrap();
    store.close().await;
    assert_eq!((sessions_in(&blue), sessions_in(&green)), (HashSet::from([1, 2]), HashSet::from([3])));
}

#[tokio::test]
async fn without_its_directory_there_are_errors_until_it_is_there_again() {
    let directory = Directory::new();
    let within = directory.path().join("within");
    fs::create_dir(&within).unwrap();
    let store = SqliteStore::open(within.join("sessions.db")).unwrap();
    create(&store, 1).await.unwrap();
    fs::remove_dir_all(&within).unwrap();
    for number in 2..5 {
        let error = create(&store, number).await.unwrap_err().to_string();
        assert!(error.contains("cannot open") && error.contains("within/sessions.db"), "{error}");
        store.load(&key(1), NOW).await.unwrap_err();
    }
    fs::create_dir(&within).unwrap();
    assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Missing);
    create(&store, 5).await.unwrap();
    assert!(is_live(&store, 5).await);
}

#[tokio::test]
async fn a_file_that_was_emptied_begins_anew() {
    let directory = Directory::new();
    let file = directory.file();
    let store = SqliteStore::open(&file).unwrap();
    create(&store, 1).await.unwrap();
    fs::write(&file, "").unwrap();
    create(&store, 2).await.unwrap_err();
    create(&store, 3).await.unwrap();
    assert!(!is_live(&store, 1).await && is_live(&store, 3).await);
    store.close().await;
    assert_eq!(sessions_in(&file), HashSet::from([3]));
}

#[tokio::test]
async fn a_database_of_the_applications_own_is_opened_again_and_never_made() {
    let directory = Directory::new();
    let (file, old) = (directory.file(), directory.path().join("old.db"));
    Connection::open(&file).unwrap().execute_batch("CREATE TABLE question (text TEXT)").unwrap();
    let path = file.clone();
    let store = rusqlite0_42::store(move || Connection::open(&path)).unwrap();
    create(&store, 1).await.unwrap();
    fs::rename(&file, &old).unwrap();
    for number in 2..5 {
        create(&store, number).await.unwrap_err();
        store.load(&key(1), NOW).await.unwrap_err();
    }
    assert!(!file.exists(), "it would have none of the application's tables");
    fs::rename(&old, &file).unwrap();
    create(&store, 5).await.unwrap();
    assert!(is_live(&store, 1).await && is_live(&store, 5).await);
}

#[tokio::test]
async fn no_request_is_told_that_it_wrote_to_a_session_whose_file_was_lost() {
    let directory = Directory::new();
    let file = directory.file();
    let store = SqliteStore::open(&file).unwrap();
    let layer = SessionLayer::new(secret()).unwrap().store(store);
    let mut ada = Visitor::with(&layer.manager().unwrap(), BTreeMap::from([("visits", 1)])).await.unwrap();
    let lost = file.clone();
    let changes = async move |session: Session| {
        session.insert("visits", 2);
        fs::remove_file(&lost).unwrap();
    };
    assert_eq!(answer(&layer, &mut ada, changes).await.status(), StatusCode::CONFLICT);

    fs::remove_file(&file).unwrap();
    let reads = async |session: Session| session.get::<u32>("visits").map_or("nothing", |_| "something");
    assert_eq!(answer(&layer, &mut ada, reads).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer(&layer, &mut ada, reads).await.status(), StatusCode::OK);

    let begins = async move |session: Session| {
        session.insert("visits", 1);
        let _ = fs::remove_file(&file);
    };
    assert_eq!(answer(&layer, &mut ada, begins).await.status(), StatusCode::OK);
    let sees = async |session: Session| assert_eq!(session.get::<u32>("visits"), Some(1));
    assert_eq!(answer(&layer, &mut ada, sees).await.status(), StatusCode::OK);
}

/// Eight tasks write without a pause while this is done to the file again and again: it is given the round, the number of the next
/// write, and what was confirmed so far. Returns what was confirmed.
async fn under_fire(store: &SqliteStore, mut strike: impl FnMut(u64, &AtomicU64, &HashSet<u64>)) -> HashSet<u64> {
    let (is_over, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let confirmed = Arc::new(Mutex::new(HashSet::new()));
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (store, is_over, next) = (store.clone(), Arc::clone(&is_over), Arc::clone(&next));
            let confirmed = Arc::clone(&confirmed);
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::SeqCst);
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
        let so_far = confirmed.lock().unwrap().clone();
        strike(round, &next, &so_far);
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
    let confirmed = under_fire(&store, |round, _, _| fs::rename(&file, old(round)).unwrap()).await;
    store.close().await;
    // Nobody may have called since the last round.
    let mut found = if file.exists() { sessions_in(&file) } else { HashSet::new() };
    (0..20).for_each(|round| found.extend(sessions_in(&old(round))));
    let lost = confirmed.difference(&found).count();
    assert_eq!(lost, 0, "of {}", confirmed.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_began_after_the_deletion_and_was_confirmed_is_in_the_new_file() {
    let directory = Directory::new();
    let file = directory.file();
    let store = SqliteStore::open(&file).unwrap();
    let mut first = 0;
    under_fire(&store, |round, next, confirmed| {
        let connection = Connection::open(&file).unwrap();
        let mut statement = connection.prepare("SELECT data FROM dewar_session").unwrap();
        let data = statement.query_map([], |row| row.get::<_, [u8; 8]>(0)).unwrap();
        let found: HashSet<_> = data.map(|data| u64::from_le_bytes(data.unwrap())).collect();
        let began_since: HashSet<_> = confirmed.iter().copied().filter(|number| *number >= first).collect();
        let lost = began_since.difference(&found).count();
        assert_eq!(lost, 0, "of {} in round {round}", began_since.len());
        fs::remove_file(&file).unwrap();
        first = next.load(Ordering::SeqCst);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_deleted_again_and_again_loses_no_confirmed_write() {
    let directory = Directory::new();
    let file = directory.file();
    let store = SqliteStore::open(&file).unwrap();
    let lost = ["-wal", "-shm"];
    let confirmed =
        under_fire(&store, |round, _, _| drop(fs::remove_file(beside(&file, lost[round as usize % 2])))).await;
    store.close().await;
    let found = sessions_in(&file);
    let lost = confirmed.difference(&found).count();
    assert_eq!(lost, 0, "of {}", confirmed.len());
}

#[tokio::test]
async fn two_stores_on_one_file_leave_it_one_after_the_other_and_see_each_other_again() {
    let directory = Directory::new();
    let file = directory.file();
    let stores = [0, 1].map(|_| SqliteStore::open(&file).unwrap());
    let (mut next, mut confirmed) = (0, HashSet::new());
    for lost in ["", "-wal", "-shm", "-wal"] {
        fs::remove_file(beside(&file, lost)).unwrap();
        if lost.is_empty() {
            confirmed.clear();
        }
        let mut fine = 0;
        for attempt in 0.. {
            assert!(attempt < 10, "{lost}");
            next += 1;
            fine = if create(&stores[attempt % 2], next).await.is_ok() { fine + 1 } else { 0 };
            if fine > 0 {
                confirmed.insert(next);
            }
            if fine == 2 {
                break;
            }
        }
        for number in &confirmed {
            assert!(is_live(&stores[0], *number).await && is_live(&stores[1], *number).await, "{lost}: {number}");
        }
    }
    for store in &stores {
        store.close().await;
    }
    assert!(sessions_in(&file).is_superset(&confirmed));
}

const CHILD: &str = "DEWAR_TEST_SQLITE_LOST";

fn child(name: &str, file: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([&format!("sqlite_lost::{name}"), "--exact", "--nocapture"])
        .env(CHILD, file)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Not a test by itself: another process that looks into the file.
#[test]
fn a_process_that_opens_and_closes() {
    let Ok(file) = std::env::var(CHILD) else { return };
    let connection = Connection::open(file).unwrap();
    let count: i64 = connection.query_row("SELECT count(*) FROM dewar_session", [], |row| row.get(0)).unwrap();
    assert!(count > 0);
}

#[tokio::test]
async fn a_store_that_is_opened_twice_keeps_its_log_from_another_process() {
    let directory = Directory::new();
    let file = directory.file();
    let store = SqliteStore::open(&file).unwrap();
    create(&store, 1).await.unwrap();
    let twice = SqliteStore::open(&file).unwrap();
    let log = fs::metadata(beside(&file, "-wal")).unwrap();
    let looked = child("a_process_that_opens_and_closes", &file).output().unwrap();
    assert!(looked.status.success(), "{looked:?}");
    let still = fs::metadata(beside(&file, "-wal")).expect("the other process removed a log that is in use");
    assert_eq!(still.ino(), log.ino());
    create(&twice, 2).await.unwrap();
    create(&store, 3).await.unwrap();
}

/// Not a test by itself: the process that does not survive the next one.
#[tokio::test]
async fn a_process_whose_index_is_truncated() {
    let Ok(file) = std::env::var(CHILD) else { return };
    let store = SqliteStore::open(&file).unwrap();
    for number in 0.. {
        if create(&store, number).await.is_ok() {
            eprintln!("confirmed {number}");
        }
        if number == 100 {
            fs::File::options().write(true).open(beside(Path::new(&file), "-shm")).unwrap().set_len(0).unwrap();
        }
        if number == 1_000 {
            break;
        }
    }
}

#[tokio::test]
async fn an_index_that_is_truncated_ends_the_process_and_no_confirmed_write() {
    let directory = Directory::new();
    let file = directory.file();
    let ended = child("a_process_whose_index_is_truncated", &file).output().unwrap();
    let confirmed: Vec<u64> = String::from_utf8_lossy(&ended.stderr)
        .lines()
        .filter_map(|line| line.strip_prefix("confirmed ")?.parse().ok())
        .collect();
    let store = SqliteStore::open(&file).unwrap();
    for number in &confirmed {
        assert!(is_live(&store, *number).await, "{number}");
    }
    const SIGBUS: i32 = if cfg!(target_os = "linux") { 7 } else { 10 };
    assert_eq!(ended.status.signal(), Some(SIGBUS), "{} confirmed", confirmed.len());
}

/// Not a test by itself: the process that does not notice that its file was moved away.
#[tokio::test]
async fn a_process_that_moves_its_file_away_and_dies() {
    let Ok(file) = std::env::var(CHILD) else { return };
    let store = SqliteStore::open(&file).unwrap();
    for number in 0..50 {
        create(&store, number).await.unwrap();
    }
    fs::rename(&file, Path::new(&file).with_extension("old")).unwrap();
    std::process::abort();
}

#[tokio::test]
async fn a_log_whose_file_was_moved_before_the_process_was_killed_is_set_aside_and_never_deleted() {
    let directory = Directory::new();
    let file = directory.file();
    for number in 1..3 {
        let ended = child("a_process_that_moves_its_file_away_and_dies", &file).output().unwrap();
        assert!(ended.status.signal().is_some(), "{ended:?}");
        let store = SqliteStore::open(&file).unwrap();
        assert_eq!(store.count(NOW).await.unwrap(), 0);
        store.close().await;

        let (old, aside) = (file.with_extension("old"), beside(&file, &format!("-wal-lost-{number}")));
        fs::rename(aside, beside(&old, "-wal")).unwrap();
        fs::write(beside(&file, &format!("-wal-lost-{number}")), "taken").unwrap();
        SqliteStore::open(&old).unwrap().close().await;
        assert_eq!(sessions_in(&old), (0..50).collect());
        fs::remove_file(&file).unwrap();
    }
}

#[tokio::test]
async fn a_file_with_two_names_is_refused_with_what_to_do_instead() {
    let directory = Directory::new();
    let (file, other) = (directory.file(), directory.path().join("other.db"));
    let store = SqliteStore::open(&file).unwrap();
    create(&store, 1).await.unwrap();
    fs::hard_link(&file, &other).unwrap();
    let refused = SqliteStore::open(&other).unwrap_err().to_string();
    assert!(refused.contains("other.db") && refused.contains("by one name"), "{refused}");
    let own = other.clone();
    rusqlite0_42::store(move || Connection::open(&own)).unwrap_err();
    assert!(!beside(&other, "-wal").exists());

    fs::remove_file(&other).unwrap();
    std::os::unix::fs::symlink(&file, &other).unwrap();
    let second = SqliteStore::open(&other).unwrap();
    create(&second, 2).await.unwrap();
    assert!(is_live(&store, 2).await && is_live(&second, 1).await);
}
