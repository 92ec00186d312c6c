//! The SQLite store keeps the promises of a store, alone and beside others.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::support::stores::{Directory, NOW, key, record};
use dewar::store::{
    Create, Delete, GONE_FOR, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreKey, Timestamp,
    Tombstone, Touch, Version, Why, Written, conformance, rusqlite0_42, sqlite::SqliteStore,
};
use rusqlite::Connection;

/// A version where any will do.
const V: Version = Version::from_bits(7);

fn after(seconds: u64) -> Timestamp {
    Timestamp::from_secs(NOW.as_secs() + seconds)
}

fn tombstone(nonce: u64) -> Tombstone {
    Tombstone::new(Why::Ended, nonce, NOW)
}

fn adas(lineage: u64, epoch: Option<u64>) -> Record {
    Record { principal: Some("ada".into()), lineage, epoch, ..record(b"ada's") }
}

async fn is_live(store: &SqliteStore, key: &StoreKey) -> bool {
    matches!(store.load(key, NOW).await.unwrap(), Load::Found(..))
}

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
    stores[0].create(&key(1), V, record(&[0; 8]), None, NOW).await.unwrap();
    let count = Arc::new(AtomicU32::new(100));
    let tasks = (0..8_usize).map(|task| {
        let count = Arc::clone(&count);
        let store = Arc::clone(&stores[task % 2]);
        async move {
            for _ in 0..20 {
                loop {
                    let Load::Found(mut record, version) = store.load(&key(1), NOW).await.unwrap() else { panic!() };
                    let mut data = record.data.to_vec();
                    data[task] += 1;
                    record.data = data.into();
                    let next = Version::from_bits(count.fetch_add(1, Ordering::Relaxed).into());
                    let replaced = store.replace(&key(1), version, next, record, NOW).await.unwrap();
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
    let Create::Created(Written { version, .. }) = store.create(&key(1), V, record(b"kept"), None, NOW).await.unwrap()
    else {
        panic!()
    };
    store.close().await;
    let names = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["sessions.db"], "the write-ahead log was left behind");
    assert_eq!(store.load(&key(1), NOW).await.unwrap_err().to_string(), "sqlite: the store is closed");

    let again = SqliteStore::open(directory.file()).unwrap();
    let Load::Found(record, found) = again.load(&key(1), NOW).await.unwrap() else { panic!() };
    assert_eq!((&*record.data, found), (&b"kept"[..], version));
}

#[tokio::test]
async fn a_dropped_store_writes_what_it_confirmed_and_ends_its_threads() {
    let directory = Directory::new();
    let store = SqliteStore::open(directory.file()).unwrap();
    store.create(&key(1), V, record(b"kept"), None, NOW).await.unwrap();
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
    store.create(&key(1), V, record(b"private"), None, NOW).await.unwrap();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
    }
}

#[tokio::test]
async fn tables_of_a_later_release_are_refused_by_name() {
    let directory = Directory::new();
    SqliteStore::open(directory.file()).unwrap().close().await;
    Connection::open(directory.file()).unwrap().execute("UPDATE dewar_schema SET version = 99", []).unwrap();
    let file = directory.file();
    for opened in [SqliteStore::open(&file), rusqlite0_42::store(move || Connection::open(&file))] {
        let error = opened.unwrap_err().to_string();
        assert!(error.contains("unknown version 99"), "{error}");
    }
}

#[test]
fn what_is_no_file_is_refused_and_leaves_none_behind() {
    let directory = Directory::new();
    let within = |name: &str| directory.path().join(name);
    let uri = |name: &str, settings: &str| PathBuf::from(format!("file:{}{settings}", within(name).display()));
    let no_files = [
        "".into(),
        ":memory:".into(),
        ":MEMORY:".into(),
        "file::memory:".into(),
        "file::memory:?cache=shared".into(),
        "file:?cache=shared".into(),
        "file:".into(),
        within(":memory:"),
        uri("x.db", "?mode=memory"),
        uri("x.db", "?cache=shared&mode=memory"),
        uri("x.db", "?vfs=memdb"),
    ];
    for name in no_files {
        let error = SqliteStore::open(&name).unwrap_err().to_string();
        assert!(error.contains("the address is memory:"), "{name:?}: {error}");
    }
    let error = SqliteStore::open(uri("x.db", "?mode=rwc")).unwrap_err().to_string();
    assert!(error.contains("without file:") && error.contains("x.db"), "{error}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    assert!(["", ":memory:", "file::memory:"].iter().all(|name| !std::path::Path::new(name).exists()));
    for name in ["", ":memory:", "file:x?mode=memory&cache=shared"] {
        let error = rusqlite0_42::store(move || Connection::open(name)).unwrap_err().to_string();
        assert!(error.contains("a file is needed"), "{name:?}: {error}");
    }
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

fn user_version(file: &Path) -> i64 {
    Connection::open(file).unwrap().query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_database_of_the_applications_own_keeps_its_version() {
    let directory = Directory::new();
    let file = directory.file();
    let own = Connection::open(&file).unwrap();
    own.execute_batch("CREATE TABLE question (text TEXT); PRAGMA user_version = 42;").unwrap();
    let path = file.clone();
    for store in [SqliteStore::open(&file).unwrap(), rusqlite0_42::store(move || Connection::open(&path)).unwrap()] {
        store.create(&key(1), V, record(b"beside"), None, NOW).await.unwrap();
        store.close().await;
        let sessions: i64 = own.query_row("SELECT count(*) FROM dewar_session", [], |row| row.get(0)).unwrap();
        assert_eq!((user_version(&file), sessions), (42, 1));
    }
}

/// A file that an earlier release wrote at [`NOW`].
fn file_of(name: &str, directory: &Directory) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    std::fs::write(directory.file(), std::fs::read(from).unwrap()).unwrap();
    directory.file()
}

fn file_of_version_1(directory: &Directory) -> PathBuf {
    file_of("sqlite-1.db", directory)
}

fn first_bytes(key: &StoreKey) -> u64 {
    u64::from_le_bytes(*key.digest().first_chunk().unwrap()) >> 1
}

/// Everything in a file of version 1 is there.
async fn check_version_1(store: &SqliteStore) {
    let Load::Found(nobodys, version) = store.load(&key(1), NOW).await.unwrap() else { panic!() };
    assert_eq!(nobodys, record(b"nobody's"));
    let replaced = store.replace(&key(1), version, V, nobodys, NOW).await.unwrap();
    assert_eq!(replaced, Replace::Replaced(V));

    let Load::Found(laptop, version) = store.load(&key(2), NOW).await.unwrap() else { panic!() };
    let expected = Record {
        idle_seconds: 86_400,
        idle_expires: after(86_400),
        absolute_expires: Some(after(30 * 86_400)),
        persistent: true,
        label: Some("laptop".into()),
        ..adas(first_bytes(&key(2)), Some(0))
    };
    assert_eq!(laptop, expected);
    assert_eq!(store.touch(&key(2), version, after(90_000), NOW).await.unwrap(), Touch::Touched);

    let until = NOW.after(GONE_FOR);
    let mark = Tombstone { why: Why::Ended, nonce: 0, made: NOW, until };
    assert_eq!(store.load(&key(4), NOW).await.unwrap(), Load::Gone(mark));
    assert_eq!(store.load(&key(4), until).await.unwrap(), Load::Missing);

    let Load::Found(foreign, _) = store.load(&StoreKey::foreign("sess:abc"), NOW).await.unwrap() else { panic!() };
    assert_eq!(&*foreign.data, b"another's");
    assert_eq!(store.count(NOW).await.unwrap(), 4);
}

#[tokio::test]
async fn a_file_of_the_release_before_is_read_and_written() {
    let directory = Directory::new();
    let file = file_of_version_1(&directory);
    let store = SqliteStore::open(&file).unwrap();
    check_version_1(&store).await;

    let but = Revoke::AllBut { lineage: first_bytes(&key(3)), epoch: u64::MAX };
    assert_eq!(store.revoke("ada", but, tombstone(1), NOW).await.unwrap(), 1);
    assert!(!is_live(&store, &key(2)).await && is_live(&store, &key(3)).await);
    assert_eq!(store.purge(10, NOW.after(GONE_FOR)).await.unwrap(), 2);
}

/// Its tables are those of today, and their version stood in `user_version`.
#[tokio::test]
async fn a_file_that_says_its_version_as_an_application_would_is_taken_over_and_that_number_is_left_alone() {
    let directory = Directory::new();
    let file = file_of("sqlite-2.db", &directory);
    for number in [2, 0, 42] {
        Connection::open(&file).unwrap().pragma_update(None, "user_version", number).unwrap();
        let store = SqliteStore::open(&file).unwrap();
        assert!(is_live(&store, &key(1)).await && is_live(&store, &key(2)).await);
        assert_eq!(store.load(&key(3), NOW).await.unwrap(), Load::Gone(tombstone(1)));
        assert_eq!(store.epoch(Some("ada")).await.unwrap(), NOW.as_millis());
        store.close().await;
        assert_eq!(user_version(&file), number);
    }
}

#[tokio::test]
async fn many_may_open_a_file_of_the_release_before_at_once() {
    let directory = Directory::new();
    let file = file_of_version_1(&directory);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| SqliteStore::open(&file).unwrap());
        }
    });
    check_version_1(&SqliteStore::open(&file).unwrap()).await;
}

#[tokio::test]
async fn tables_of_the_release_before_in_a_database_of_the_applications_own_are_found_by_their_columns() {
    let directory = Directory::new();
    let file = file_of_version_1(&directory);
    Connection::open(&file).unwrap().pragma_update(None, "user_version", 42).unwrap();
    let path = file.clone();
    check_version_1(&rusqlite0_42::store(move || Connection::open(&path)).unwrap()).await;
    assert_eq!(user_version(&file), 42);
}

#[tokio::test]
async fn a_tombstone_says_what_it_was_told() {
    let directory = Directory::new();
    let store = SqliteStore::open(directory.file()).unwrap();
    let reasons = [
        Why::Ended,
        Why::BegunAgain,
        Why::Renewed { successor: None },
        Why::Renewed { successor: Some(key(9)) },
        Why::Renewed { successor: Some(StoreKey::foreign("sess:next")) },
    ];
    for (number, why) in (0..).zip(reasons) {
        let tombstone = Tombstone::new(why, number << 40, NOW);
        store.create(&key(number), V, record(b"x"), None, NOW).await.unwrap();
        assert_eq!(store.delete(&key(number), Some(V), tombstone.clone(), NOW).await.unwrap(), Delete::Deleted);
        let gone = || Some(tombstone.clone());
        let later = || record(b"later");
        assert_eq!(store.load(&key(number), NOW).await.unwrap(), Load::Gone(tombstone.clone()));
        assert_eq!(store.create(&key(number), V, later(), None, NOW).await.unwrap(), Create::Gone(tombstone.clone()));
        assert_eq!(store.replace(&key(number), V, V, later(), NOW).await.unwrap(), Replace::Gone(gone()));
        assert_eq!(store.touch(&key(number), V, after(9), NOW).await.unwrap(), Touch::Gone(gone()));
        let another = Tombstone::new(Why::Ended, 1, NOW);
        assert_eq!(store.delete(&key(number), Some(V), another, NOW).await.unwrap(), Delete::Gone(gone()));
    }
}

#[tokio::test]
async fn a_delete_of_nothing_keeps_a_create_that_comes_later_away() {
    let directory = Directory::new();
    let store = SqliteStore::open(directory.file()).unwrap();
    assert_eq!(store.delete(&key(1), Some(V), tombstone(1), NOW).await.unwrap(), Delete::Gone(None));
    assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Missing);
    assert_eq!(store.delete(&key(1), None, tombstone(1), NOW).await.unwrap(), Delete::Gone(None));
    assert_eq!(store.create(&key(1), V, record(b"late"), None, NOW).await.unwrap(), Create::Gone(tombstone(1)));

    let longer = tombstone(1).until(Some(after(900)));
    for second in [tombstone(2).until(Some(after(900))), tombstone(3)] {
        let gone = store.delete(&key(1), None, second, NOW).await.unwrap();
        assert_eq!(gone, Delete::Gone(Some(longer.clone())));
    }
    assert_eq!(store.load(&key(1), after(899)).await.unwrap(), Load::Gone(longer));
    assert!(matches!(store.create(&key(1), V, record(b"new"), None, after(900)).await.unwrap(), Create::Created(_)));
}

#[tokio::test]
async fn a_guarded_key_stays_ended_until_its_cookie_has_expired() {
    let directory = Directory::new();
    let store = SqliteStore::open(directory.file()).unwrap();
    let guarded = || Record { guarded_until: Some(after(90_000)), ..record(b"moved here") };
    let late = after(4_000);
    let ended = Tombstone { why: Why::Ended, nonce: 0, made: after(3_600), until: after(90_000) };
    for number in 1..=2 {
        store.create(&key(number), V, guarded(), None, NOW).await.unwrap();
    }
    assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Found(guarded(), V));

    // One is logged out.
    store.delete(&key(2), None, tombstone(1), NOW).await.unwrap();
    let logged_out = tombstone(1).until(Some(after(90_000)));
    assert_eq!(store.load(&key(2), late).await.unwrap(), Load::Gone(logged_out.clone()));

    // The other expires.
    assert_eq!(store.load(&key(1), late).await.unwrap(), Load::Gone(ended.clone()));
    assert_eq!(store.create(&key(1), V, guarded(), None, late).await.unwrap(), Create::Gone(ended.clone()));
    assert_eq!(store.purge(10, late).await.unwrap(), 0);
    assert_eq!(store.count(late).await.unwrap(), 0);
    let gone = || Some(ended.clone());
    assert_eq!(store.load(&key(1), late).await.unwrap(), Load::Gone(ended.clone()));
    assert_eq!(store.create(&key(1), V, guarded(), None, late).await.unwrap(), Create::Gone(ended.clone()));
    assert_eq!(store.replace(&key(1), V, V, guarded(), late).await.unwrap(), Replace::Gone(gone()));
    assert_eq!(store.touch(&key(1), V, after(9_000), late).await.unwrap(), Touch::Gone(gone()));
    assert_eq!(store.delete(&key(1), None, tombstone(1), late).await.unwrap(), Delete::Gone(gone()));
    let renamed = store.rename(&key(1), None, &key(3), V, record(b""), tombstone(1), None, late).await.unwrap();
    assert_eq!(renamed, Rename::Gone(gone()));

    assert_eq!(store.purge(10, after(89_999)).await.unwrap(), 0);
    assert_eq!(store.load(&key(1), after(89_999)).await.unwrap(), Load::Gone(ended));
    assert_eq!(store.load(&key(2), after(89_999)).await.unwrap(), Load::Gone(logged_out));
    assert_eq!(store.purge(10, after(90_000)).await.unwrap(), 2);
}

#[tokio::test]
async fn a_rename_moves_a_session_or_does_nothing() {
    let directory = Directory::new();
    let store = SqliteStore::open(directory.file()).unwrap();
    let rename =
        async |from, at, to| store.rename(&key(from), at, &key(to), V, record(b"moved"), tombstone(1), None, NOW).await;
    let first = Version::from_bits(1);
    store.create(&key(1), first, record(b"x"), None, NOW).await.unwrap();
    store.create(&key(2), V, record(b"in the way"), None, NOW).await.unwrap();

    assert_eq!(rename(1, Some(V), 3).await.unwrap(), Rename::Conflict);
    assert_eq!(rename(8, None, 3).await.unwrap(), Rename::Gone(None));
    let error = rename(1, None, 2).await.unwrap_err().to_string();
    assert!(error.contains("something stands under the new key"), "{error}");
    assert!(is_live(&store, &key(1)).await);
    assert_eq!(store.count(NOW).await.unwrap(), 2);

    let renamed = rename(1, Some(first), 3).await.unwrap();
    assert_eq!(renamed, Rename::Renamed(Written { version: V, epoch: 0, ended: 0 }));
    assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Gone(tombstone(1)));
    assert_eq!(rename(1, None, 4).await.unwrap(), Rename::Gone(Some(tombstone(1))));
    assert!(is_live(&store, &key(3)).await && !is_live(&store, &key(4)).await);
}

#[tokio::test]
async fn what_began_before_a_raise_is_outdated_under_every_key() {
    let directory = Directory::new();
    let store = SqliteStore::open(directory.file()).unwrap();
    let create = async |number, record| store.create(&key(number), V, record, None, NOW).await.unwrap();
    let created = |epoch| Create::Created(Written { version: V, epoch, ended: 0 });
    let raised = NOW.as_millis();
    assert_eq!(create(1, adas(1, None)).await, created(0));
    assert_eq!(
        store.revoke("ada", Revoke::AllBut { lineage: 5, epoch: u64::MAX }, tombstone(1), NOW).await.unwrap(),
        1
    );
    assert_eq!(store.epoch(Some("ada")).await.unwrap(), raised);
    assert_eq!(store.epoch(Some("bob")).await.unwrap(), 0);

    assert_eq!(create(2, adas(1, Some(0))).await, Create::Outdated);
    assert_eq!(create(2, adas(5, Some(0))).await, created(0), "its lineage passes");
    assert_eq!(create(3, adas(1, None)).await, created(raised));
    assert_eq!(create(4, record(b"nobody's")).await, created(0));
    assert_eq!(store.revoke("ada", Revoke::All, tombstone(1), NOW).await.unwrap(), 2);
    assert_eq!(store.epoch(Some("ada")).await.unwrap(), raised + 1, "the clock stood still, the epoch did not");
    assert_eq!(create(5, adas(5, Some(0))).await, Create::Outdated);

    assert_eq!(
        store.revoke("ada", Revoke::AllBut { lineage: 5, epoch: u64::MAX }, tombstone(1), NOW).await.unwrap(),
        0
    );
    assert_eq!(create(5, adas(5, Some(raised))).await, created(raised));
    assert_eq!(store.revoke_everyone(tombstone(1), NOW).await.unwrap(), 2);
    for principal in [None, Some("ada"), Some("bob")] {
        assert_eq!(store.epoch(principal).await.unwrap(), raised + 3);
    }
    assert_eq!(create(6, adas(5, Some(raised + 2))).await, Create::Outdated, "nobody passes everybody's");

    assert_eq!(create(7, adas(7, None)).await, created(raised + 3));
    store.revoke("ada", Revoke::AllBut { lineage: 8, epoch: u64::MAX }, tombstone(1), NOW).await.unwrap();
    create(8, record(b"nobody's")).await;
    let log_in =
        async |epoch| store.rename(&key(8), Some(V), &key(9), V, adas(1, epoch), tombstone(1), None, NOW).await;
    assert_eq!(log_in(Some(raised + 3)).await.unwrap(), Rename::Outdated);
    let renamed = log_in(None).await.unwrap();
    assert_eq!(renamed, Rename::Renamed(Written { version: V, epoch: raised + 4, ended: 0 }));
}

#[tokio::test]
async fn one_lineage_ends_without_a_raise() {
    let directory = Directory::new();
    let store = SqliteStore::open(directory.file()).unwrap();
    for lineage in 1..=3 {
        store.create(&key(lineage), V, adas(lineage, None), None, NOW).await.unwrap();
    }
    assert_eq!(store.revoke("bob", Revoke::Lineage(2), tombstone(1), NOW).await.unwrap(), 0);
    assert_eq!(store.revoke("ada", Revoke::Lineage(2), tombstone(1), NOW).await.unwrap(), 1);
    assert_eq!(store.load(&key(2), NOW).await.unwrap(), Load::Gone(tombstone(1)));
    assert_eq!(store.list(Some("ada"), None, 10, NOW).await.unwrap().len(), 2);
    assert_eq!(store.epoch(Some("ada")).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_everybody_waits_for_no_one_and_spares_who_came_after() {
    let directory = Directory::new();
    let store = SqliteStore::open(directory.file()).unwrap();
    let tasks = (0..2_500).map(|number| {
        let (store, record) = (store.clone(), if number % 2 == 0 { record(b"x") } else { adas(number, None) });
        async move { store.create(&key(number), V, record, None, NOW).await.unwrap() }
    });
    tasks.collect::<tokio::task::JoinSet<Create>>().join_all().await;
    // A session that moves about while the others end.
    let moving = store.clone();
    let moves = tokio::spawn(async move {
        let mut at = 0;
        loop {
            let to = if at == 0 { 10_000 } else { at + 1 };
            match moving.rename(&key(at), None, &key(to), V, record(b"x"), tombstone(2), None, NOW).await.unwrap() {
                Rename::Renamed(_) => at = to,
                other => return (at, other),
            }
        }
    });
    assert_eq!(store.revoke_everyone(tombstone(1), NOW).await.unwrap(), 2_500);
    assert_eq!(store.count(NOW).await.unwrap(), 0);
    let (at, last) = moves.await.unwrap();
    assert!([Rename::Gone(Some(tombstone(1))), Rename::Outdated].contains(&last), "{at}: {last:?}");
    store.create(&key(5_000), V, record(b"after"), None, NOW).await.unwrap();
    assert!(is_live(&store, &key(5_000)).await);
}

#[tokio::test]
async fn guarded_keys_do_not_stand_in_a_purges_way() {
    let directory = Directory::new();
    let store = SqliteStore::open(directory.file()).unwrap();
    for number in 0..300 {
        let guarded_until = (number < 250).then_some(after(90_000));
        store.create(&key(number), V, Record { guarded_until, ..record(b"a secret") }, None, NOW).await.unwrap();
    }
    assert_eq!(store.purge(20, after(4_000)).await.unwrap(), 20);
    assert_eq!(store.purge(1_000, after(4_000)).await.unwrap(), 30);
    assert_eq!(store.purge(1_000, after(4_000)).await.unwrap(), 0);
    let kept = "SELECT count(*) FROM dewar_session WHERE data <> x''";
    let kept: i64 = Connection::open(directory.file()).unwrap().query_row(kept, [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 0, "what expired is not kept, but for its key");
    assert_eq!(store.purge(1_000, after(90_000)).await.unwrap(), 250);
}
