//! Slow disks, full disks, killed processes: the SQLite store says so, or nobody notices.
#![allow(clippy::print_stdout)]

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use crate::support::stores::{Directory, NOW, key, record};
use dewar::store::{
    Create, Delete, Load, Rename, SessionAdmin, SessionStore, Tombstone, Version, Why, Written, rusqlite0_42,
    sqlite::SqliteStore,
};
use rusqlite::Connection;
use tokio::task::JoinSet;

/// The version of every record here.
const V: Version = Version::from_bits(7);

fn tombstone() -> Tombstone {
    Tombstone::new(Why::Ended, 1, NOW)
}

/// A store whose every commit takes this long, and the count of its commits.
fn slow(directory: &Directory, delay: Duration) -> (SqliteStore, Arc<AtomicU32>) {
    let commits = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&commits);
    let on_commit = move || {
        count.fetch_add(1, Ordering::Relaxed);
        sleep(delay);
        true
    };
    (faulty(directory, 1_000_000, on_commit), commits)
}

/// A store on a disk that has room for so many pages, and whose commits do this first; where it is
/// `false`, they fail. Not while it opens, though.
fn faulty(directory: &Directory, pages: u32, on_commit: impl FnMut() -> bool + Send + Clone + 'static) -> SqliteStore {
    let is_open = Arc::new(AtomicBool::new(false));
    let (file, opened) = (directory.file(), Arc::clone(&is_open));
    let store = rusqlite0_42::store(move || {
        let mut connection = Connection::open(&file)?;
        connection.execute_batch(&format!("PRAGMA max_page_count = {pages}"))?;
        let (is_open, mut on_commit) = (Arc::clone(&opened), on_commit.clone());
        connection.commit_hook(Some(move || is_open.load(Ordering::Relaxed) && !on_commit()))?;
        Ok(connection)
    });
    is_open.store(true, Ordering::Relaxed);
    store.unwrap()
}

#[tokio::test]
async fn a_slow_disk_is_noticed_by_those_who_write_alone() {
    let directory = Directory::new();
    let (store, _) = slow(&directory, Duration::from_millis(200));
    store.create(&key(0), V, record(b"first"), None, NOW).await.unwrap();

    // One executor thread for all of this: had it waited for the disk once, the rest would stand still.
    let writing = store.clone();
    let writes = tokio::spawn(async move {
        for number in 1..6 {
            writing.create(&key(number), V, record(b"x"), None, NOW).await.unwrap();
        }
    });
    let mut longest = Duration::ZERO;
    let mut loads = 0;
    while !writes.is_finished() {
        let start = Instant::now();
        assert!(matches!(store.load(&key(0), NOW).await.unwrap(), Load::Found(..)));
        tokio::time::sleep(Duration::from_millis(1)).await;
        longest = longest.max(start.elapsed());
        loads += 1;
    }
    writes.await.unwrap();
    assert!(longest < Duration::from_millis(150), "another task waited {longest:?}");
    assert!(loads > 100, "{loads} loads in a second of writing");
}

#[tokio::test]
async fn writes_that_wait_share_one_commit() {
    let directory = Directory::new();
    let (store, commits) = slow(&directory, Duration::from_millis(100));
    let tasks = (0..1_000).map(|number| {
        let store = store.clone();
        async move { store.create(&key(number), V, record(b"x"), None, NOW).await.unwrap() }
    });
    let created = tasks.collect::<JoinSet<Create>>().join_all().await;
    assert!(created.iter().all(|created| matches!(created, Create::Created(_))));
    let commits = commits.load(Ordering::Relaxed);
    assert!(commits <= 4, "{commits} commits for 1,000 writes");
    assert_eq!(store.count(NOW).await.unwrap(), 1_000);
}

#[tokio::test]
async fn callers_that_come_back_together_share_each_commit() {
    let directory = Directory::new();
    let (store, commits) = slow(&directory, Duration::from_millis(20));
    let tasks = (0..32).map(|task| {
        let store = store.clone();
        async move {
            for number in 0..20 {
                store.create(&key(task * 20 + number), V, record(b"x"), None, NOW).await.unwrap();
            }
        }
    });
    tasks.collect::<JoinSet<()>>().join_all().await;
    // Without a moment's patience there would be two groups in turn, and 40 commits.
    let commits = commits.load(Ordering::Relaxed);
    assert!(commits <= 30, "{commits} commits for 20 writes of each caller");
    assert_eq!(store.count(NOW).await.unwrap(), 640);
}

#[tokio::test]
async fn a_purge_lets_others_write_in_between() {
    let directory = Directory::new();
    let (store, commits) = slow(&directory, Duration::from_millis(1));
    let tasks = (0..1_000).map(|number| {
        let store = store.clone();
        async move { store.create(&key(number), V, record(b"x"), None, NOW).await.unwrap() }
    });
    tasks.collect::<JoinSet<Create>>().join_all().await;
    let later = record(b"x").expires();
    let before = commits.load(Ordering::Relaxed);
    assert_eq!(store.purge(999, later).await.unwrap(), 999);
    let commits = commits.load(Ordering::Relaxed) - before;
    assert!(commits >= 10, "{commits} commits for a purge of 1,000");
    assert_eq!(store.purge(999, later).await.unwrap(), 1);
    assert_eq!(store.purge(999, later).await.unwrap(), 0);
}

#[tokio::test]
async fn a_disk_that_is_too_slow_is_an_error_in_time() {
    let directory = Directory::new();
    let (store, _) = slow(&directory, Duration::from_secs(2));
    let store = store.time_limit(Duration::from_millis(200));
    let start = Instant::now();
    let error = store.create(&key(1), V, record(b"x"), None, NOW).await.unwrap_err();
    assert_eq!(error.to_string(), "sqlite: no answer within 200ms");
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(store.load(&key(2), NOW).await.unwrap(), Load::Missing);
}

#[tokio::test]
async fn a_record_that_finds_no_room_fails_alone() {
    let directory = Directory::new();
    let store = faulty(&directory, 100, || {
        sleep(Duration::from_millis(50));
        true
    });
    let large = record(&vec![7; 1 << 20]);
    let tasks = (0..20).map(|number| {
        let (store, large) = (store.clone(), large.clone());
        async move {
            let record = if number % 5 == 3 { large } else { record(b"small") };
            (number, store.create(&key(number), V, record, None, NOW).await)
        }
    });
    for (number, created) in tasks.collect::<JoinSet<_>>().join_all().await {
        if number % 5 == 3 {
            let error = created.unwrap_err().to_string();
            assert!(error.contains("full"), "{error}");
            assert_eq!(store.load(&key(number), NOW).await.unwrap(), Load::Missing);
        } else {
            assert!(matches!(created, Ok(Create::Created(_))), "{number}: {created:?}");
        }
    }
    assert_eq!(store.count(NOW).await.unwrap(), 16);
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_never_a_false_success() {
    let directory = Directory::new();
    let store = faulty(&directory, 60, || true);
    let mut confirmed = Vec::new();
    let mut refused = 0;
    for number in 0..400 {
        match store.create(&key(number), V, record(&[7; 2_000]), None, NOW).await {
            Ok(created) => {
                assert!(matches!(created, Create::Created(_)));
                confirmed.push(number);
            }
            Err(error) => {
                assert!(error.to_string().contains("full"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && !confirmed.is_empty(), "{refused} refused, {} confirmed", confirmed.len());
    store.close().await;

    let store = SqliteStore::open(directory.file()).unwrap();
    assert_eq!(store.count(NOW).await.unwrap(), confirmed.len() as u64);
    for number in &confirmed {
        assert!(matches!(store.load(&key(*number), NOW).await.unwrap(), Load::Found(..)), "{number}");
    }
    assert_eq!(store.delete(&key(confirmed[0]), None, tombstone(), NOW).await.unwrap(), Delete::Deleted);
    assert!(matches!(
        store.create(&key(1_000), V, record(b"room again"), None, NOW).await.unwrap(),
        Create::Created(_)
    ));
}

#[tokio::test]
async fn a_log_out_that_could_not_be_stored_says_so() {
    let directory = Directory::new();
    let is_broken = Arc::new(AtomicBool::new(false));
    let broken = Arc::clone(&is_broken);
    let store = faulty(&directory, 1_000_000, move || !broken.load(Ordering::Relaxed));
    let Create::Created(Written { version, .. }) = store.create(&key(1), V, record(b"x"), None, NOW).await.unwrap()
    else {
        panic!()
    };
    is_broken.store(true, Ordering::Relaxed);
    let error = store.delete(&key(1), None, tombstone(), NOW).await.unwrap_err().to_string();
    assert!(error.starts_with("sqlite: cannot write: "), "{error}");
    assert!(matches!(store.load(&key(1), NOW).await.unwrap(), Load::Found(_, found) if found == version));
    is_broken.store(false, Ordering::Relaxed);
    assert_eq!(store.delete(&key(1), None, tombstone(), NOW).await.unwrap(), Delete::Deleted);
    assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Gone(tombstone()));
}

#[tokio::test]
async fn a_rename_that_could_not_be_stored_left_everything_where_it_was() {
    let directory = Directory::new();
    let is_broken = Arc::new(AtomicBool::new(false));
    let broken = Arc::clone(&is_broken);
    let store = faulty(&directory, 1_000_000, move || !broken.load(Ordering::Relaxed));
    store.create(&key(1), V, record(b"x"), None, NOW).await.unwrap();
    is_broken.store(true, Ordering::Relaxed);
    let rename = async || store.rename(&key(1), Some(V), &key(2), V, record(b"x"), tombstone(), None, NOW).await;
    let error = rename().await.unwrap_err().to_string();
    assert!(error.starts_with("sqlite: cannot write: "), "{error}");
    assert!(matches!(store.load(&key(1), NOW).await.unwrap(), Load::Found(..)));
    assert_eq!(store.load(&key(2), NOW).await.unwrap(), Load::Missing);
    is_broken.store(false, Ordering::Relaxed);
    assert!(matches!(rename().await.unwrap(), Rename::Renamed(_)));
    assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Gone(tombstone()));
    assert!(matches!(store.load(&key(2), NOW).await.unwrap(), Load::Found(..)));
}

const CHILD: &str = "DEWAR_TEST_SQLITE_CHILD";

/// Not a test by itself: the process that the next one kills.
#[tokio::test]
async fn a_process_that_writes_until_it_is_killed() {
    let Ok(file) = std::env::var(CHILD) else { return };
    let store = SqliteStore::open(file).unwrap();
    let tasks = (0..8_u64).map(|task| {
        let store = store.clone();
        async move {
            for number in (task..).step_by(8) {
                store.create(&key(number), V, record(&number.to_le_bytes()), None, NOW).await.unwrap();
                eprintln!("confirmed {number}");
            }
        }
    });
    tasks.collect::<JoinSet<()>>().join_all().await;
}

#[tokio::test]
async fn what_was_confirmed_survives_kill_9() {
    let directory = Directory::new();
    for round in 0..3 {
        let file = directory.path().join(format!("{round}.db"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["sqlite_faults::a_process_that_writes_until_it_is_killed", "--exact", "--nocapture"])
            .env(CHILD, &file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut confirmed: Vec<u64> = Vec::new();
        for line in lines.map_while(Result::ok) {
            confirmed.extend(line.strip_prefix("confirmed ").and_then(|number| number.parse::<u64>().ok()));
            if confirmed.len() == 300 + 57 * round {
                // Whatever it confirms before the signal arrives is read to the end, too.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(confirmed.len() >= 300, "the child wrote {} only", confirmed.len());

        let store = SqliteStore::open(&file).unwrap();
        for number in confirmed {
            match store.load(&key(number), NOW).await.unwrap() {
                Load::Found(record, _) => assert_eq!(&*record.data, number.to_le_bytes()),
                other => panic!("{number} was confirmed, and is {other:?}"),
            }
        }
        let integrity: String =
            Connection::open(&file).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(integrity, "ok");
    }
}
