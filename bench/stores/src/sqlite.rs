//! SQLite beside rusqlite on one thread: single loads, and transactions of as many writes as are in flight.

use std::{cell::Cell, path::Path, time::Instant};

use dewar::store::{Create, Record, Replace, SessionAdmin, SessionStore, StoreKey, Timestamp, sqlite::SqliteStore};
use rusqlite::{Connection, params};

use crate::{Each, NOW, TURNS, fill, key, next, of_store, purge, record, report, turn, until};

const SESSIONS: u64 = 100_000;

const LOAD: &str = "
    SELECT created, idle_seconds, idle_expires, absolute_expires, persistent, principal, label, data, version, gone
    FROM dewar_session WHERE key = ?1 AND expires > ?2";

const REPLACE: &str = "
    UPDATE dewar_session SET
        version = version + 1, expires = ?1, created = ?2, idle_seconds = ?3,
        idle_expires = ?1, absolute_expires = ?4, persistent = ?5, principal = ?6, label = ?7, data = ?8
    WHERE key = ?9 AND gone = 0 AND expires > ?2";

pub(crate) async fn measure() {
    let directory = std::env::temp_dir().join(format!("dewar-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a temporary directory");
    let file = directory.join("sessions.db");
    let store = SqliteStore::open(&file).expect("a new file").time_limit(std::time::Duration::from_secs(60));
    let keys = fill(&store, SESSIONS).await;
    for in_flight in [1, 32] {
        let (mut load, mut raw_load, mut replace, mut raw_replace) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut touch = Vec::new();
        for _ in 0..TURNS {
            load.push(of_store!(loads, store, keys, in_flight));
            raw_load.push(raw_loads(&file, &keys).await);
            replace.push(of_store!(replaces, store, keys, in_flight));
            raw_replace.push(raw_replaces(&file, &keys, in_flight).await);
            touch.push(of_store!(touches, store, keys, in_flight));
        }
        report("sqlite: load", in_flight, load);
        report("rusqlite: load", 1, raw_load);
        report("sqlite: replace", in_flight, replace);
        report(&format!("rusqlite: replace, {in_flight} a transaction"), 1, raw_replace);
        report("sqlite: touch", in_flight, touch);
    }
    purge("sqlite, 100000 sessions", &store).await;
    write_beside_a_purge(&store).await;
    store.close().await;
    std::fs::remove_dir_all(&directory).expect("our own directory");
}

/// How long a purge keeps a write waiting.
async fn write_beside_a_purge(store: &SqliteStore) {
    fill(store, 20_000).await;
    let later = Timestamp::from_secs(NOW.as_secs() + 100_000);
    let record = || Record { idle_expires: Timestamp::from_secs(later.as_secs() + 86_400), ..record() };
    let living = key(u64::MAX);
    let Ok(Create::Created(written)) = store.create(&living, next(), record(), None, later).await else {
        panic!("exists")
    };
    let mut version = written.version;
    let (mut waits, is_purged) = (Vec::new(), Cell::new(false));
    let purging = async {
        while store.purge(1_000, later).await.expect("the store failed") > 0 {}
        is_purged.set(true);
    };
    let writing = async {
        while !is_purged.get() {
            let start = Instant::now();
            let replaced = store.replace(&living, version, next(), record(), later).await;
            let Ok(Replace::Replaced(next)) = replaced else { panic!("{replaced:?}") };
            version = next;
            waits.push(start.elapsed());
        }
    };
    tokio::join!(purging, writing);
    waits.sort();
    for (what, wait) in [("median", waits[waits.len() / 2]), ("longest", waits[waits.len() - 1])] {
        println!("sqlite: the {what} replace beside a purge of 20000\t1\t{:.0}\t-", wait.as_secs_f64() * 1e6);
    }
}

async fn raw_loads(file: &Path, keys: &[StoreKey]) -> Each {
    let connection = Connection::open(file).expect("the file is there");
    let keys: Vec<_> = keys.iter().map(StoreKey::digest).collect();
    let connection = std::rc::Rc::new((connection, keys));
    turn(1, |_, end| {
        let connection = std::rc::Rc::clone(&connection);
        async move {
            let (connection, keys) = &*connection;
            until(end, async |i| {
                let key = &keys[(i * 7_919) as usize % keys.len()];
                let mut statement = connection.prepare_cached(LOAD)?;
                let data: Vec<u8> = statement.query_row(params![key, NOW.as_millis() as i64], |row| row.get(7))?;
                assert_eq!(data.len(), 240);
                Ok::<_, rusqlite::Error>(())
            })
            .await
        }
    })
    .await
}

/// Durable like the store's: every transaction reaches the disk before it is answered.
async fn raw_replaces(file: &Path, keys: &[StoreKey], group: u64) -> Each {
    let connection = Connection::open(file).expect("the file is there");
    connection.busy_timeout(std::time::Duration::from_secs(5)).expect("a setting");
    connection.pragma_update(None, "synchronous", "FULL").expect("a setting");
    let keys: Vec<_> = keys.iter().take(group as usize).map(StoreKey::digest).collect();
    let shared = std::rc::Rc::new((connection, keys));
    turn(1, |_, end| {
        let shared = std::rc::Rc::clone(&shared);
        async move {
            let (connection, keys) = &*shared;
            let mut count = 0;
            while Instant::now() < end {
                write(connection, keys).expect("the file is there");
                count += keys.len() as u64;
            }
            count
        }
    })
    .await
}

fn write(connection: &Connection, keys: &[[u8; 32]]) -> rusqlite::Result<()> {
    let record = record();
    let nothing: Option<&str> = None;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    for key in keys {
        let mut statement = connection.prepare_cached(REPLACE)?;
        let expires = record.idle_expires.as_millis() as i64;
        let created = record.created.as_millis() as i64;
        let parameters =
            params![expires, created, record.idle_seconds, None::<i64>, false, nothing, nothing, &record.data[..], key];
        assert_eq!(statement.execute(parameters)?, 1);
    }
    connection.execute_batch("COMMIT")
}
