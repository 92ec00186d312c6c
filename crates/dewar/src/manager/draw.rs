//! Numbers that tell one write from every other: the version of a state, the nonce of a tombstone, a lineage.

use std::{
    hash::{BuildHasher, Hash},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use foldhash::quality::FixedState;

use super::random;
use crate::{
    lifetime::Timestamp,
    store::{Record, Tombstone, Version, Why},
};

/// Makes them without a system call: they guard nothing, so a hash over a seed and a count will do.
///
/// A forked process, or a machine that was copied while it ran, has the same seed and count. What a number is drawn for goes into it, so that
/// the two never call different states by one version.
pub(super) struct Draw {
    hash: FixedState,
    seed: [u8; 16],
    count: AtomicU64,
}

impl Draw {
    pub(super) fn new() -> Self {
        let (mut key, mut seed) = ([0; 8], [0; 16]);
        random(&mut key);
        random(&mut seed);
        Self { hash: FixedState::with_seed(u64::from_ne_bytes(key)), seed, count: AtomicU64::new(0) }
    }

    fn bits(&self, now: Timestamp, drawn_for: impl Hash) -> u64 {
        self.hash.hash_one((self.seed, self.count.fetch_add(1, Relaxed), now.as_millis(), drawn_for))
    }

    /// Of the state that this record is. Only equal records can have equal ones.
    pub(super) fn version(&self, record: &Record, now: Timestamp) -> Version {
        let Record { data, principal, label, lineage, idle_seconds, absolute_expires, persistent, .. } = record;
        let end = absolute_expires.map(Timestamp::as_millis);
        Version::from_bits(self.bits(now, (data, principal, label, lineage, idle_seconds, end, persistent)))
    }

    pub(super) fn nonce(&self, now: Timestamp, drawn_for: impl Hash) -> u64 {
        self.bits(now, drawn_for) >> 1
    }

    pub(super) fn tombstone(&self, why: Why, now: Timestamp) -> Tombstone {
        Tombstone::new(why, self.nonce(now, ()), now)
    }
}
