//! A million sessions in memory cost at most 170 bytes each beyond their payload.
#![allow(clippy::print_stdout)]

use std::{
    alloc::System,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use dewar::{
    dialect::SessionId,
    store::{Load, Record, SessionStore, StoreKey, Timestamp, Version, memory::MemoryStore},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SESSIONS: u64 = 1_000_000;
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const PAYLOAD: usize = 100;

struct Noop;

impl Wake for Noop {
    fn wake(self: Arc<Self>) {}
}

/// The memory store answers at once: no runtime is needed.
fn now<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Noop));
    match std::pin::pin!(future).poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the memory store waited"),
    }
}

fn key(number: u64) -> StoreKey {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    SessionId::from_random(bytes).key().clone()
}

fn held() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

#[test]
fn a_million_sessions_cost_at_most_170_bytes_each_beyond_their_payload() {
    let before = held();
    let store = MemoryStore::new();
    for number in 0..SESSIONS {
        let record = Record {
            data: vec![7; PAYLOAD].into(),
            created: NOW,
            idle_seconds: 60,
            idle_expires: Timestamp::from_secs(NOW.as_secs() + 60),
            absolute_expires: Some(Timestamp::from_secs(NOW.as_secs() + 600)),
            persistent: false,
            principal: None,
            label: None,
            lineage: 0,
            epoch: None,
            guarded_until: None,
            extra: Default::default(),
        };
        now(store.create(&key(number), Version::from_bits(number), record, None, NOW)).unwrap();
    }
    // A first load shares the data, which costs a count of its readers.
    for number in 0..SESSIONS {
        assert!(matches!(now(store.load(&key(number), NOW)), Ok(Load::Found(..))));
    }
    let each = (held() - before) as f64 / SESSIONS as f64 - PAYLOAD as f64;
    println!("{each:.1} bytes beyond the payload per session, at {SESSIONS} sessions of {PAYLOAD} bytes");
    assert!(each <= 170.0, "{each:.1} bytes");
    assert_eq!(store.stats().evictions, 0);
}
