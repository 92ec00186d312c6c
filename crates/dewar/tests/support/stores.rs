//! What the tests of stores have in common.

use std::time::Duration;

use bytes::Bytes;
use dewar::{
    dialect::SessionId,
    store::{Create, Load, Record, SessionStore, StoreKey, Timestamp, Tombstone, Version, Why},
};

pub(crate) use super::directory::Directory;

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

pub(crate) fn key(number: u64) -> StoreKey {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    SessionId::from_random(bytes).key().clone()
}

/// An hour to live from [`NOW`].
pub(crate) fn record(data: &[u8]) -> Record {
    Record {
        data: Bytes::copy_from_slice(data),
        created: NOW,
        idle_seconds: 3600,
        idle_expires: Timestamp::from_secs(NOW.as_secs() + 3600),
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

pub(crate) fn version(bits: u64) -> Version {
    Version::from_bits(bits)
}

pub(crate) fn ended(nonce: u64) -> Tombstone {
    Tombstone::new(Why::Ended, nonce, NOW)
}

pub(crate) fn later(seconds: u64) -> Timestamp {
    NOW.after(Duration::from_secs(seconds))
}

pub(crate) fn of(principal: &str, lineage: u64) -> Record {
    Record { principal: Some(principal.into()), lineage, ..record(b"x") }
}

/// Stands in the version of its number; the epoch it carries.
pub(crate) async fn create(store: &impl SessionStore, number: u64, record: &Record) -> u64 {
    match store.create(&key(number), version(number), record.clone(), None, NOW).await.unwrap() {
        Create::Created(written) => written.epoch,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn lives(store: &impl SessionStore, key: &StoreKey, now: Timestamp) -> bool {
    matches!(store.load(key, now).await.unwrap(), Load::Found(..))
}
