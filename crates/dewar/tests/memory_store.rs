//! The memory store keeps the promises of a store, within its bounds.

use bytes::Bytes;
use dewar::{
    dialect::SessionId,
    store::{Create, Load, Record, SessionAdmin, SessionStore, StoreKey, Timestamp, conformance, memory::MemoryStore},
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
    }
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
        store.create(&key(number), record(b"x", 60), NOW).await.unwrap();
    }
    assert!(is_found(&store, 0).await);
    store.create(&key(10), record(b"x", 60), NOW).await.unwrap();
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
        store.create(&key(number), record(b"x", seconds), NOW).await.unwrap();
    }
    store.create(&key(10), record(b"x", 60), NOW).await.unwrap();
    for number in (0..=10).filter(|number| *number != 7) {
        assert!(is_found(&store, number).await, "{number}");
    }
    assert_eq!(store.stats().evictions, 0);
}

#[tokio::test]
async fn the_bound_on_bytes_holds_and_the_newest_record_stays() {
    let store = MemoryStore::new().max_bytes(100_000);
    for number in 0..1_000 {
        store.create(&key(number), record(&[7; 1_000], 60), NOW).await.unwrap();
        assert!(store.stats().bytes <= 100_000);
        assert!(is_found(&store, number).await, "{number}");
    }
    assert!(store.stats().entries > 80, "{:?}", store.stats());
    store.create(&key(5_000), record(&[7; 99_000], 60), NOW).await.unwrap();
    assert!(is_found(&store, 5_000).await);
    let error = store.create(&key(5_001), record(&[7; 100_001], 60), NOW).await.unwrap_err();
    assert!(error.to_string().contains("larger than the whole store"), "{error}");
}

#[tokio::test]
async fn the_counted_bytes_return_to_zero() {
    let store = MemoryStore::new();
    for number in 0..100 {
        let rich = Record { principal: Some("ann".into()), label: Some("a phone".into()), ..record(b"data", 60) };
        let Create::Created(version) = store.create(&key(number), rich, NOW).await.unwrap() else { panic!() };
        store.replace(&key(number), version, record(&[1; 500], 60), NOW).await.unwrap();
        store.delete(&key(number), None, NOW).await.unwrap();
        let foreign = StoreKey::foreign(format!("sess:{number}"));
        let Create::Created(version) = store.create(&foreign, record(b"data", 60), NOW).await.unwrap() else {
            panic!()
        };
        store.replace(&foreign, version, record(b"more data", 60), NOW).await.unwrap();
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
    store.create(&foreign, record(b"{}", 60), NOW).await.unwrap();
    let listed = store.list(None, None, 10, NOW).await.unwrap();
    assert_eq!(listed.into_iter().map(|(key, ..)| key).collect::<Vec<_>>(), [foreign]);
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
                    handle.block_on(store.create(&key, record(&[1; 700], 60), NOW)).unwrap();
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
