//! The memory store keeps the promises of a store, within its bounds.

use std::time::Duration;

use bytes::Bytes;
use dewar::{
    dialect::SessionId,
    store::{
        Create, Load, Record, Rename, SessionAdmin, SessionStore, StoreKey, Timestamp, Tombstone, Version, Why,
        conformance, memory::MemoryStore,
    },
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn key(number: u64) -> StoreKey {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    SessionId::from_random(bytes).key().clone()
}

fn record(data: &[u8], seconds: u64) -> Record {
    Record {
        data: Bytes::copy_from_slice(data),
        created: NOW,
        idle_seconds: seconds as u32,
        idle_expires: Timestamp::from_secs(NOW.as_secs() + seconds),
        absolute_expires: None,
        persistent: false,
        principal: None,
        label: None,
        lineage: 0,
        epoch: None,
        guarded_until: None,
        extra: Bytes::new(),
    }
}

const FIRST: Version = Version::from_bits(1);

const SECOND: Version = Version::from_bits(2);

fn ended() -> Tombstone {
    Tombstone::new(Why::Ended, 7, NOW)
}

fn in_seconds(seconds: u64) -> Timestamp {
    Timestamp::from_secs(NOW.as_secs() + seconds)
}

async fn is_found(store: &MemoryStore, number: u64) -> bool {
    matches!(store.load(&key(number), NOW).await, Ok(Load::Found(..)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_keeps_every_promise_of_a_store() {
    conformance::check(|| async { MemoryStore::new() }).await;
}

#[tokio::test]
async fn a_store_of_one_shard_keeps_every_promise_too() {
    conformance::check(|| async { MemoryStore::new().max_entries(100) }).await;
}

#[tokio::test]
async fn the_bound_on_entries_gives_up_the_least_recently_used() {
    let store = MemoryStore::new().max_entries(10);
    for number in 0..10 {
        store.create(&key(number), FIRST, record(b"x", 60), None, NOW).await.unwrap();
    }
    assert!(is_found(&store, 0).await);
    store.create(&key(10), FIRST, record(b"x", 60), None, NOW).await.unwrap();
    assert!(is_found(&store, 0).await, "the one just used was given up");
    assert!(!is_found(&store, 1).await, "the one used the longest ago was kept");
    assert!(is_found(&store, 10).await, "the new one was given up");
    assert_eq!((store.stats().entries, store.stats().evictions), (10, 1));
}

#[tokio::test]
async fn expired_records_are_given_up_before_living_ones_and_are_no_evictions() {
    let store = MemoryStore::new().max_entries(10);
    for number in 0..10 {
        let seconds = if number == 7 { 0 } else { 60 };
        store.create(&key(number), FIRST, record(b"x", seconds), None, NOW).await.unwrap();
    }
    store.create(&key(10), FIRST, record(b"x", 60), None, NOW).await.unwrap();
    for number in (0..=10).filter(|number| *number != 7) {
        assert!(is_found(&store, number).await, "{number}");
    }
    assert_eq!(store.stats().evictions, 0);
}

#[tokio::test]
async fn the_bound_on_bytes_holds_and_the_newest_record_stays() {
    let store = MemoryStore::new().max_bytes(100_000);
    for number in 0..1_000 {
        store.create(&key(number), FIRST, record(&[7; 1_000], 60), None, NOW).await.unwrap();
        assert!(store.stats().bytes <= 100_000);
        assert!(is_found(&store, number).await, "{number}");
    }
    assert!(store.stats().entries > 80, "{:?}", store.stats());
    store.create(&key(5_000), FIRST, record(&[7; 99_000], 60), None, NOW).await.unwrap();
    assert!(is_found(&store, 5_000).await);
    let error = store.create(&key(5_001), FIRST, record(&[7; 100_001], 60), None, NOW).await.unwrap_err();
    assert!(error.to_string().contains("larger than the whole store"), "{error}");
}

#[tokio::test]
async fn the_counted_bytes_return_to_zero() {
    let store = MemoryStore::new();
    for number in 0..100 {
        let rich = Record { principal: Some("ann".into()), label: Some("a phone".into()), ..record(b"data", 60) };
        store.create(&key(number), FIRST, rich, None, NOW).await.unwrap();
        store.replace(&key(number), FIRST, SECOND, record(&[1; 500], 60), NOW).await.unwrap();
        store.delete(&key(number), None, ended(), NOW).await.unwrap();
        let foreign = StoreKey::foreign(format!("sess:{number}"));
        store.create(&foreign, FIRST, record(b"data", 60), None, NOW).await.unwrap();
        store.replace(&foreign, FIRST, SECOND, record(b"more data", 60), NOW).await.unwrap();
    }
    let later = Timestamp::from_secs(NOW.as_secs() + 1_000);
    let mut removed = 0;
    loop {
        match store.purge(7, later).await.unwrap() {
            0 => break,
            count => removed += count,
        }
    }
    assert_eq!(removed, 200);
    assert_eq!((store.stats().entries, store.stats().bytes), (0, 0));
}

#[tokio::test]
async fn a_foreign_record_is_listed_under_its_own_name() {
    let store = MemoryStore::new();
    let foreign = StoreKey::foreign("sess:abc");
    store.create(&foreign, FIRST, record(b"{}", 60), None, NOW).await.unwrap();
    let listed = store.list(None, None, 10, NOW).await.unwrap();
    assert_eq!(listed.into_iter().map(|(key, ..)| key).collect::<Vec<_>>(), [foreign]);
}

#[tokio::test]
async fn a_guard_is_never_given_up_also_where_the_bound_is_exceeded() {
    let store = MemoryStore::new().max_entries(10).max_bytes(4_000);
    for number in 0..20 {
        let guarded = Record { guarded_until: Some(in_seconds(600)), ..record(&[7; 500], 60) };
        store.create(&key(number), FIRST, guarded, None, NOW).await.unwrap();
        assert!(is_found(&store, number).await, "{number}");
    }
    for number in 0..19 {
        let Load::Gone(guard) = store.load(&key(number), in_seconds(61)).await.unwrap() else { panic!("{number}") };
        assert_eq!((guard.why, guard.nonce, guard.until), (Why::Ended, 0, in_seconds(600)));
        let created = store.create(&key(number), FIRST, record(b"back", 600), None, in_seconds(61)).await.unwrap();
        assert!(matches!(created, Create::Gone(_)), "{number}: {created:?}");
    }
    for number in 20..30 {
        store.delete(&key(number), None, ended().until(Some(in_seconds(600))), NOW).await.unwrap();
    }
    store.create(&key(30), FIRST, record(b"x", 60), None, NOW).await.unwrap();
    assert_eq!(store.stats().entries, 31);
    while store.purge(7, in_seconds(601)).await.unwrap() > 0 {}
    assert_eq!((store.stats().entries, store.stats().bytes), (0, 0));
}

#[tokio::test]
async fn an_ordinary_tombstone_gives_way() {
    let store = MemoryStore::new().max_entries(10);
    for number in 0..20 {
        store.delete(&key(number), None, ended(), NOW).await.unwrap();
    }
    assert_eq!(store.stats().entries, 10);
}

#[tokio::test]
async fn a_purge_leaves_the_guard_of_a_record() {
    let store = MemoryStore::new();
    let guarded =
        Record { principal: Some("ann".into()), guarded_until: Some(in_seconds(600)), ..record(&[7; 500], 60) };
    store.create(&key(1), FIRST, guarded, None, NOW).await.unwrap();
    let before = store.stats().bytes;
    while store.purge(7, in_seconds(61)).await.unwrap() > 0 {}
    assert!(store.stats().bytes < before - 500);
    let expected = Tombstone { why: Why::Ended, nonce: 0, made: in_seconds(60), until: in_seconds(600) };
    assert_eq!(store.load(&key(1), in_seconds(61)).await.unwrap(), Load::Gone(expected));
    while store.purge(7, in_seconds(600)).await.unwrap() > 0 {}
    assert_eq!((store.stats().entries, store.stats().bytes), (0, 0));
}

#[test]
fn a_nameless_session_that_is_renamed_cannot_outrun_the_revocation_of_everyone() {
    let store = MemoryStore::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for round in 0..50 {
        let (mut number, handle) = (round * 1_000_000, runtime.handle().clone());
        handle.block_on(store.create(&key(number), FIRST, record(b"x", 60), None, NOW)).unwrap();
        std::thread::scope(|scope| {
            let runner = scope.spawn(|| {
                loop {
                    let (from, to) = (key(number), key(number + 1));
                    let renamed = store.rename(&from, None, &to, FIRST, record(b"x", 60), ended(), None, NOW);
                    if !matches!(handle.block_on(renamed).unwrap(), Rename::Renamed(_)) {
                        break;
                    }
                    number += 1;
                }
            });
            std::thread::sleep(Duration::from_micros(round * 20));
            handle.block_on(store.revoke_everyone(ended(), NOW)).unwrap();
            runner.join().unwrap();
        });
        assert_eq!(handle.block_on(store.count(NOW)).unwrap(), 0, "round {round}");
    }
}

#[test]
fn threads_that_fill_a_bounded_store_leave_it_within_its_bounds() {
    let store = MemoryStore::new().max_entries(5_000).max_bytes(4_000_000);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..32_u64 {
            let (store, handle) = (store.clone(), runtime.handle().clone());
            scope.spawn(move || {
                for number in 0..1_000 {
                    let key = key(thread * 1_000 + number);
                    handle.block_on(store.create(&key, FIRST, record(&[1; 700], 60), None, NOW)).unwrap();
                    handle.block_on(store.load(&key, NOW)).unwrap();
                }
            });
        }
    });
    let stats = store.stats();
    assert!(stats.entries <= 5_000 && stats.bytes <= 4_000_000, "{stats:?}");
    assert_eq!(stats.entries as u64 + stats.evictions, 32_000);
    let counted = runtime.block_on(store.count(NOW)).unwrap();
    assert_eq!(counted as usize, stats.entries);
}
