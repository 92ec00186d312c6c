//! Sessions in this process's memory: fast, bounded, and gone when the process ends.
//!
//! One process alone sees them, so it suits a site that is one process, a test, a development
//! server. The store is bounded twice, by entries and by bytes; where a bound is met, it gives up
//! expired records first, then those used the longest ago, by sampling. [`MemoryStore::stats`]
//! counts the living it had to give up: a number that should stay zero. A [guard](Record::guarded_until) is never
//! given up: where there is nothing else, the bound is exceeded.
//!
//! A record costs at most 170 bytes beyond its payload (the index of principals apart), measured
//! at a million sessions. The room of a record that was removed is kept for the next one.

mod all;
mod digest;
mod listeners;
mod principals;
mod shard;
mod slot;

use std::{
    cmp::Ordering,
    collections::BinaryHeap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
};

use bytes::Bytes;

use self::all::All;
use self::digest::Digest;
use self::shard::{Ended, Refused, Shard, Shared};
use self::slot::cost;
use super::{
    Cap, Create, Delete, Engine, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreError,
    StoreKey, TellEnding, Timestamp, Tombstone, Touch, Version, engine_of,
};
use crate::{
    layout::Shape,
    runtime::{Task, yield_now},
};

/// How many slots are looked at before the lock is let go.
const VISITS_PER_LOCK: usize = 1_000;

/// Keeps sessions in this process's memory, within bounds. A clone is the same store.
///
/// ```
/// use dewar::store::memory::MemoryStore;
///
/// let store = MemoryStore::new().max_entries(10_000).max_bytes(64 << 20);
/// assert_eq!(store.stats().evictions, 0);
/// ```
#[derive(Clone)]
pub struct MemoryStore(Arc<Inner>);

struct Inner {
    shards: Box<[Padded]>,
    max_entries: usize,
    max_bytes: usize,
    purged_to: Mutex<(usize, usize)>,
    sweeping: Mutex<()>,
    shared: Shared,
}

/// A lock on a cache line of its own, so that neighbours do not slow each other down.
#[repr(align(128))]
struct Padded(Mutex<Shard>);

/// What a [`MemoryStore`] holds, and what it had to give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryStats {
    /// Records and tombstones, expired ones that no purge has met yet included.
    pub entries: usize,
    /// Bytes, as the bound counts them: the payload and 160 bytes a record.
    pub bytes: usize,
    /// Records and tombstones given up for want of room, before they had expired.
    pub evictions: u64,
}

impl MemoryStore {
    /// The bound on entries unless [another is set](Self::max_entries): a million.
    pub const DEFAULT_MAX_ENTRIES: usize = 1_000_000;

    /// The bound on bytes unless [another is set](Self::max_bytes): 512 MiB.
    pub const DEFAULT_MAX_BYTES: usize = 512 << 20;

    /// An empty store with the default bounds.
    pub fn new() -> Self {
        Self::bounded(Self::DEFAULT_MAX_ENTRIES, Self::DEFAULT_MAX_BYTES)
    }

    /// Sets how many records and tombstones it holds at most. To be called first: the store begins anew, empty.
    #[must_use]
    pub fn max_entries(self, entries: usize) -> Self {
        Self::bounded(entries, self.0.max_bytes)
    }

    /// Sets how many bytes it holds at most. To be called first: the store begins anew, empty.
    #[must_use]
    pub fn max_bytes(self, bytes: usize) -> Self {
        Self::bounded(self.0.max_entries, bytes)
    }

    /// What the store holds now, and what it had to give up.
    pub fn stats(&self) -> MemoryStats {
        let shared = &self.0.shared;
        MemoryStats {
            entries: shared.entries.load(Relaxed),
            bytes: shared.bytes.load(Relaxed),
            evictions: shared.evictions.load(Relaxed),
        }
    }

    fn bounded(max_entries: usize, max_bytes: usize) -> Self {
        // A small store is one shard, so that its bound evicts from all of it.
        let shards = (max_entries / 4096).next_power_of_two().clamp(1, 256);
        let shards = (1..=shards as u64).map(|seed| Padded(Mutex::new(Shard::new(seed.wrapping_mul(0x9e37_79b9)))));
        Self(Arc::new(Inner {
            shards: shards.collect(),
            max_entries: max_entries.max(1),
            max_bytes,
            purged_to: Mutex::default(),
            sweeping: Mutex::default(),
            shared: Shared::default(),
        }))
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryStore").field(&self.stats()).finish()
    }
}

impl SessionStore for MemoryStore {
    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Load, StoreError> {
        let key = key.digest();
        Ok(self.0.shard(&key).load(&key, now))
    }

    async fn create(
        &self,
        key: &StoreKey,
        version: Version,
        record: Record,
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Create, StoreError> {
        let record = self.0.admit(record)?;
        let digest = key.digest();
        let created = match (cap, record.principal.is_some()) {
            (Some(cap), true) => self.0.all().create(key, version, record, cap, now),
            _ => self.0.shard(&digest).create(key, version, record, now, &self.0.shared),
        };
        self.0.make_room(&digest, now);
        Ok(created)
    }

    async fn replace(
        &self,
        key: &StoreKey,
        at: Version,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Result<Replace, StoreError> {
        let record = self.0.admit(record)?;
        let key = key.digest();
        let replaced = self.0.shard(&key).replace(&key, at, version, record, now, &self.0.shared);
        self.0.make_room(&key, now);
        Ok(replaced)
    }

    async fn touch(
        &self,
        key: &StoreKey,
        at: Version,
        idle_expires: Timestamp,
        now: Timestamp,
    ) -> Result<Touch, StoreError> {
        let key = key.digest();
        Ok(self.0.shard(&key).touch(&key, at, idle_expires, now))
    }

    async fn delete(
        &self,
        key: &StoreKey,
        at: Option<Version>,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<Delete, StoreError> {
        let key = key.digest();
        let deleted = self.0.shard(&key).delete(&key, at, tombstone, now, &self.0.shared);
        self.0.make_room(&key, now);
        Ok(deleted)
    }

    async fn rename(
        &self,
        from: &StoreKey,
        at: Option<Version>,
        to: &StoreKey,
        version: Version,
        record: Record,
        tombstone: Tombstone,
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Rename, StoreError> {
        let record = self.0.admit(record)?;
        let from = from.digest();
        let renamed = match (cap, record.principal.is_some()) {
            (Some(cap), true) => self.0.all().rename(&from, at, to, version, record, tombstone, cap, now)?,
            _ => self.0.rename(&from, at, to, version, record, tombstone, now)?,
        };
        self.0.make_room(&to.digest(), now);
        Ok(renamed)
    }

    async fn ping(&self, _now: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    fn endings(&self, tell: TellEnding) -> Option<Task> {
        Some(self.0.shared.listeners.listen(tell))
    }

    fn engine(&self, shape: Shape) -> Option<Arc<dyn Engine>> {
        (shape == Shape::Blob).then(|| engine_of(self.clone()))
    }
}

impl SessionAdmin for MemoryStore {
    async fn count(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut count = 0;
        for shard in 0..self.0.shards.len() {
            self.0.scan(shard, now, |_| count += 1).await;
        }
        Ok(count)
    }

    async fn list(
        &self,
        principal: Option<&str>,
        after: Option<&StoreKey>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(StoreKey, Record, Version)>, StoreError> {
        let after = after.map(StoreKey::digest);
        Ok(match principal {
            Some(principal) => self.0.list_of(principal, after, limit, now),
            None => self.0.list_all(after, limit, now).await,
        })
    }

    async fn epoch(&self, principal: Option<&str>) -> Result<u64, StoreError> {
        Ok(self.0.shared.principals.epoch(principal))
    }

    async fn revoke(
        &self,
        principal: &str,
        which: Revoke,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        Ok(match which {
            Revoke::All => self.0.revoke(principal, None, &tombstone, now),
            Revoke::AllBut { lineage, epoch } => self.0.revoke(principal, Some((lineage, epoch)), &tombstone, now),
            Revoke::Lineage(lineage) => self.0.revoke_lineage(principal, lineage, &tombstone, now),
        })
    }

    async fn revoke_everyone(&self, tombstone: Tombstone, now: Timestamp) -> Result<u64, StoreError> {
        Ok(self.0.revoke_everyone(&tombstone, now))
    }

    async fn purge(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        Ok(self.0.purge(limit, now).await)
    }
}

impl Inner {
    /// The shard of a key. Shards are in the order of their keys, which is the order of `list`.
    fn shard(&self, key: &Digest) -> MutexGuard<'_, Shard> {
        self.lock(self.shard_number(key))
    }

    fn shard_number(&self, key: &Digest) -> usize {
        shard_of(key, self.shards.len())
    }

    fn lock(&self, shard: usize) -> MutexGuard<'_, Shard> {
        self.shards[shard].0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every shard, in their order: for what must be one step over all sessions of a principal.
    fn all(&self) -> All<'_> {
        All::new((0..self.shards.len()).map(|shard| self.lock(shard)).collect(), &self.shared)
    }

    /// The record with its data in an allocation of its own: a slice would keep all of the buffer
    /// that it was cut from.
    fn admit(&self, record: Record) -> Result<Record, StoreError> {
        if cost(&record) > self.max_bytes {
            let message = format!("memory: a record of {} bytes is larger than the whole store", record.data.len());
            return Err(StoreError::new(message));
        }
        Ok(Record { data: Bytes::copy_from_slice(&record.data), ..record })
    }

    /// Both locks, in the order of the shards; one where both keys are in one shard.
    fn shards(&self, one: &Digest, other: &Digest) -> (MutexGuard<'_, Shard>, Option<MutexGuard<'_, Shard>>) {
        let (one, other) = (self.shard_number(one), self.shard_number(other));
        match one.cmp(&other) {
            Ordering::Less => {
                let one = self.lock(one);
                (one, Some(self.lock(other)))
            }
            Ordering::Equal => (self.lock(one), None),
            Ordering::Greater => {
                let other = self.lock(other);
                (self.lock(one), Some(other))
            }
        }
    }

    #[allow(clippy::too_many_arguments)] // As the verb itself.
    fn rename(
        &self,
        from: &Digest,
        at: Option<Version>,
        to: &StoreKey,
        version: Version,
        record: Record,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<Rename, StoreError> {
        let (mut source, mut target) = self.shards(from, &to.digest());
        let at = match source.renamed(from, at, now, &self.shared) {
            Ok(at) => at,
            Err(answer) => return Ok(answer),
        };
        let put = target.as_deref_mut().unwrap_or(&mut source).put_new(to, version, record, now, &self.shared);
        match put {
            Ok(written) => {
                source.put_tombstone(at, tombstone, &self.shared);
                Ok(Rename::Renamed(written))
            }
            Err(Refused::Outdated) => Ok(Rename::Outdated),
            Err(Refused::Taken | Refused::Gone(_)) => Err(taken()),
        }
    }

    fn revoke(&self, principal: &str, but: Option<(u64, u64)>, tombstone: &Tombstone, now: Timestamp) -> u64 {
        let raise = self.shared.principals.raise(principal, but, now);
        let end = |key: &Digest| self.shard(key).end(key, principal, &raise, tombstone, now, &self.shared);
        raise.keys.iter().filter(|key| end(key)).count() as u64
    }

    /// Looks again where the record has moved meanwhile: the index leads to it at every moment.
    fn revoke_lineage(&self, principal: &str, lineage: u64, tombstone: &Tombstone, now: Timestamp) -> u64 {
        let mut deleted = 0;
        loop {
            let mut has_moved = false;
            for key in self.shared.principals.keys_of_lineage(principal, lineage) {
                match self.shard(&key).end_lineage(&key, principal, lineage, tombstone, now, &self.shared) {
                    Ended::Deleted => deleted += 1,
                    Ended::Expired => {}
                    Ended::Moved => has_moved = true,
                }
            }
            if !has_moved {
                return deleted;
            }
        }
    }

    /// In one go, so that no cancelled caller leaves half of it undone.
    fn revoke_everyone(&self, tombstone: &Tombstone, now: Timestamp) -> u64 {
        let _turn = self.sweeping.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = self.shared.principals.raise_everyone(now);
        (0..self.shards.len()).map(|shard| self.lock(shard).sweep(epoch, tombstone, now, &self.shared)).sum()
    }

    fn is_over(&self) -> bool {
        self.shared.entries.load(Relaxed) > self.max_entries || self.is_over_bytes()
    }

    fn is_over_bytes(&self) -> bool {
        self.shared.bytes.load(Relaxed) > self.max_bytes
    }

    /// Evicts, beginning in the shard of the record just written and never that record itself. What is guarded stays,
    /// also where the bound is exceeded.
    fn make_room(&self, written: &Digest, now: Timestamp) {
        let mut shard = self.shard_number(written);
        let mut empty = 0;
        while self.is_over() && empty < self.shards.len() {
            let evicted = self.lock(shard).evict(written, self.is_over_bytes(), now, &self.shared);
            empty = if evicted { 0 } else { empty + 1 };
            shard = (shard + 1) % self.shards.len();
        }
    }

    async fn scan(&self, shard: usize, now: Timestamp, mut visit: impl FnMut(&Digest)) {
        let mut start = 0;
        while self.lock(shard).live_keys(start, VISITS_PER_LOCK, now, &mut visit).is_some() {
            start += VISITS_PER_LOCK;
            yield_now().await;
        }
    }

    fn list_of(
        &self,
        principal: &str,
        mut after: Option<Digest>,
        limit: usize,
        now: Timestamp,
    ) -> Vec<(StoreKey, Record, Version)> {
        let mut page = Vec::new();
        while page.len() < limit {
            let keys = self.shared.principals.page(principal, after, limit - page.len());
            let Some(last) = keys.last() else { break };
            after = Some(*last);
            let listed = keys.iter().filter_map(|key| self.shard(key).listed(key, now));
            page.extend(listed.filter(|(_, record, _)| record.principal.as_deref() == Some(principal)));
        }
        page
    }

    async fn list_all(&self, after: Option<Digest>, limit: usize, now: Timestamp) -> Vec<(StoreKey, Record, Version)> {
        let mut page = Vec::new();
        let mut shard = after.map_or(0, |after| self.shard_number(&after));
        let mut after = after;
        while page.len() < limit && shard < self.shards.len() {
            let room = limit - page.len();
            let mut smallest = BinaryHeap::new();
            self.scan(shard, now, |key| {
                if after.is_none_or(|after| *key > after) {
                    smallest.push(*key);
                    if smallest.len() > room {
                        smallest.pop();
                    }
                }
            })
            .await;
            if smallest.len() < room {
                shard += 1;
            }
            let keys = smallest.into_sorted_vec();
            after = keys.last().copied().or(after);
            page.extend(keys.iter().filter_map(|key| self.shard(key).listed(key, now)));
        }
        page
    }

    /// One round through all slots at most, from where the last purge stopped.
    async fn purge(&self, limit: usize, now: Timestamp) -> usize {
        let (first, start) = *self.purged_to.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut shard, mut at) = (first, start);
        let mut removed = 0;
        let mut turns = 0;
        while removed < limit && turns <= self.shards.len() {
            let step = self.lock(shard).purge(at, VISITS_PER_LOCK, limit - removed, now, &self.shared);
            match step {
                Some((count, next)) => {
                    removed += count;
                    at = next;
                    yield_now().await;
                }
                None => {
                    shard = (shard + 1) % self.shards.len();
                    at = 0;
                    turns += 1;
                }
            }
        }
        *self.purged_to.lock().unwrap_or_else(PoisonError::into_inner) = (shard, at);
        removed
    }
}

/// Shards are in the order of their keys.
fn shard_of(key: &Digest, shards: usize) -> usize {
    usize::from(key[0]) * shards / 256
}

fn taken() -> StoreError {
    StoreError::new("memory: the new key is not new")
}
