//! One shard of the memory store: a table of slot numbers over slots that never move.
//!
//! A table of whole records would stand half empty just after it doubled; a table of `u32` costs ten
//! bytes a session at its emptiest, and growing it moves no record.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use bytes::Bytes;
use hashbrown::HashTable;

use super::principals::Principals;
use crate::store::{Create, Delete, GONE_FOR, Load, Record, Replace, StoreKey, Timestamp, Touch, Version};

/// What one session costs beyond its payload, as the bound on bytes counts it.
pub(super) const OVERHEAD: usize = 160;

/// What a principal's entry in the index costs, its text apart.
const INDEXED: usize = 80;

/// Slots are allocated this many at a time, and stay where they are.
const CHUNK: usize = 64;

/// How many records an eviction looks at.
const SAMPLE: usize = 16;

pub(super) type Digest = [u8; 32];

/// What all shards have in common.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) entries: AtomicUsize,
    pub(super) bytes: AtomicUsize,
    pub(super) evictions: AtomicU64,
    pub(super) principals: Principals,
}

#[derive(Default)]
pub(super) struct Shard {
    table: HashTable<u32>,
    chunks: Vec<Vec<Slot>>,
    free: Vec<u32>,
    writes: u64,
    clock: u32,
    random: u64,
}

#[derive(Default)]
struct Slot {
    key: Digest,
    data: Bytes,
    version: u64,
    created: Timestamp,
    idle_expires: Timestamp,
    absolute_expires: Timestamp,
    rare: Option<Box<Rare>>,
    idle_seconds: u32,
    used: u32,
    kind: Kind,
    persistent: bool,
    has_absolute: bool,
}

/// What most anonymous sessions do without.
struct Rare {
    principal: Option<Arc<str>>,
    label: Option<Box<str>>,
    foreign: Option<Box<str>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Free,
    Record,
    Mark,
}

impl Shard {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: seed | 1, ..Self::default() }
    }

    pub(super) fn load(&mut self, key: &Digest, now: Timestamp) -> Load {
        let Some(at) = self.find(key) else { return Load::Missing };
        self.clock = self.clock.wrapping_add(1);
        let clock = self.clock;
        let slot = self.slot_mut(at);
        slot.used = clock;
        match slot.kind {
            _ if slot.is_expired(now) => Load::Missing,
            Kind::Mark => Load::Gone,
            _ => Load::Found(slot.record(), Version::counter(slot.version)),
        }
    }

    pub(super) fn create(&mut self, key: &StoreKey, record: Record, now: Timestamp, shared: &Shared) -> Create {
        let digest = key.digest();
        let at = match self.find(&digest) {
            Some(at) if !self.slot(at).is_expired(now) => return Create::Exists,
            Some(at) => at,
            None => self.add(digest, shared),
        };
        self.put(at, Kind::Record, record, foreign_name(key), shared);
        Create::Created(Version::counter(self.slot(at).version))
    }

    pub(super) fn replace(
        &mut self,
        key: &Digest,
        version: Version,
        record: Record,
        now: Timestamp,
        shared: &Shared,
    ) -> Replace {
        let Some(at) = self.find_live(key, now) else { return Replace::Gone };
        if !self.slot(at).is(version) {
            return Replace::Conflict;
        }
        let foreign = self.slot(at).rare.as_ref().and_then(|rare| rare.foreign.clone());
        self.put(at, Kind::Record, record, foreign, shared);
        Replace::Replaced(Version::counter(self.slot(at).version))
    }

    pub(super) fn touch(&mut self, key: &Digest, version: Version, idle_expires: Timestamp, now: Timestamp) -> Touch {
        let Some(at) = self.find_live(key, now) else { return Touch::Gone };
        let slot = self.slot_mut(at);
        if !slot.is(version) {
            return Touch::Conflict;
        }
        slot.idle_expires = idle_expires;
        Touch::Touched
    }

    pub(super) fn delete(&mut self, key: &Digest, version: Option<Version>, now: Timestamp, shared: &Shared) -> Delete {
        let Some(at) = self.find_live(key, now) else { return Delete::Gone };
        if version.is_some_and(|version| !self.slot(at).is(version)) {
            return Delete::Conflict;
        }
        self.put(at, Kind::Mark, mark(now), None, shared);
        Delete::Deleted
    }

    /// Removes one record other than `keep`: an expired one of a sample, or else the one of it that
    /// was used the longest ago. `false`: there is no other.
    pub(super) fn evict(&mut self, keep: &Digest, now: Timestamp, shared: &Shared) -> bool {
        let mut oldest = None;
        for at in self.sample() {
            let slot = self.slot(at);
            if slot.kind == Kind::Free || slot.key == *keep {
                continue;
            }
            let age = if slot.is_expired(now) { u64::MAX } else { u64::from(self.clock.wrapping_sub(slot.used)) };
            if oldest.is_none_or(|(oldest, _)| age > oldest) {
                oldest = Some((age, at));
            }
        }
        // A sample of a store that has emptied may hit free slots only.
        let victim = oldest.map(|(_, at)| at).or_else(|| {
            let mut others = self.table.iter().copied().filter(|at| self.slot(*at).key != *keep);
            others.next()
        });
        let Some(at) = victim else { return false };
        if !self.slot(at).is_expired(now) {
            shared.evictions.fetch_add(1, Relaxed);
        }
        self.remove(at, shared);
        true
    }

    /// Visits `count` slots from `start`; `None` where that is beyond the last one.
    pub(super) fn live_keys(
        &self,
        start: usize,
        count: usize,
        now: Timestamp,
        mut visit: impl FnMut(&Digest),
    ) -> Option<()> {
        for at in self.range(start, count)? {
            let slot = self.slot(at);
            if slot.kind == Kind::Record && !slot.is_expired(now) {
                visit(&slot.key);
            }
        }
        Some(())
    }

    /// Removes at most `limit` of the expired among `count` slots from `start`; how many, and where
    /// to go on. `None` where `start` is beyond the last slot.
    pub(super) fn purge(
        &mut self,
        start: usize,
        count: usize,
        limit: usize,
        now: Timestamp,
        shared: &Shared,
    ) -> Option<(usize, usize)> {
        let range = self.range(start, count)?;
        let end = range.end as usize;
        let mut removed = 0;
        for at in range {
            if removed == limit {
                return Some((removed, at as usize));
            }
            let slot = self.slot(at);
            if slot.kind != Kind::Free && slot.is_expired(now) {
                self.remove(at, shared);
                removed += 1;
            }
        }
        Some((removed, end))
    }

    /// The record of a key that a scan or the index gave, unless it has gone since.
    pub(super) fn listed(&self, key: &Digest, now: Timestamp) -> Option<(StoreKey, Record, Version)> {
        let slot = self.slot(self.find_live(key, now)?);
        Some((slot.store_key(), slot.record(), Version::counter(slot.version)))
    }

    fn find(&self, key: &Digest) -> Option<u32> {
        self.table.find(hash(key), |at| self.slot(*at).key == *key).copied()
    }

    fn find_live(&self, key: &Digest, now: Timestamp) -> Option<u32> {
        let at = self.find(key)?;
        let slot = self.slot(at);
        (slot.kind == Kind::Record && !slot.is_expired(now)).then_some(at)
    }

    fn slot(&self, at: u32) -> &Slot {
        &self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }

    fn slot_mut(&mut self, at: u32) -> &mut Slot {
        &mut self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }

    fn slots(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    fn range(&self, start: usize, count: usize) -> Option<std::ops::Range<u32>> {
        let end = self.slots().min(start.saturating_add(count));
        (start < end).then_some(start as u32..end as u32)
    }

    /// Every slot of a small shard; some of a large one.
    fn sample(&mut self) -> Vec<u32> {
        let slots = self.slots();
        if slots <= SAMPLE {
            return (0..slots as u32).collect();
        }
        let mut draw = || {
            // xorshift64: nothing depends on it but which record is looked at.
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            (self.random % slots as u64) as u32
        };
        (0..SAMPLE).map(|_| draw()).collect()
    }

    /// An empty slot under a key that has none yet.
    fn add(&mut self, key: Digest, shared: &Shared) -> u32 {
        let at = self.free.pop().unwrap_or_else(|| {
            if self.slots().is_multiple_of(CHUNK) {
                self.chunks.push(Vec::with_capacity(CHUNK));
            }
            let at = self.slots() as u32;
            if let Some(last) = self.chunks.last_mut() {
                last.push(Slot::default());
            }
            at
        });
        *self.slot_mut(at) = Slot { key, ..Slot::default() };
        let chunks = &self.chunks;
        self.table.insert_unique(hash(&key), at, |at| hash(&chunks[*at as usize / CHUNK][*at as usize % CHUNK].key));
        shared.entries.fetch_add(1, Relaxed);
        at
    }

    fn put(&mut self, at: u32, kind: Kind, record: Record, foreign: Option<Box<str>>, shared: &Shared) {
        self.writes += 1;
        self.clock = self.clock.wrapping_add(1);
        let (writes, clock) = (self.writes, self.clock);
        let slot = self.slot_mut(at);
        let before = slot.cost();
        let principal = record.principal.map(Arc::<str>::from);
        if slot.principal() != principal.as_ref() {
            shared.principals.remove(slot.principal(), &slot.key);
            shared.principals.insert(principal.as_ref(), &slot.key);
        }
        let is_rare = principal.is_some() || record.label.is_some() || foreign.is_some();
        *slot = Slot {
            key: slot.key,
            data: record.data,
            version: writes,
            created: record.created,
            idle_expires: record.idle_expires,
            absolute_expires: record.absolute_expires.unwrap_or_default(),
            rare: is_rare.then(|| Box::new(Rare { principal, label: record.label, foreign })),
            idle_seconds: record.idle_seconds,
            used: clock,
            kind,
            persistent: record.persistent,
            has_absolute: record.absolute_expires.is_some(),
        };
        let after = slot.cost();
        if after > before {
            shared.bytes.fetch_add(after - before, Relaxed);
        } else if after < before {
            shared.bytes.fetch_sub(before - after, Relaxed);
        }
    }

    fn remove(&mut self, at: u32, shared: &Shared) {
        let slot = std::mem::take(self.slot_mut(at));
        if let Ok(entry) = self.table.find_entry(hash(&slot.key), |other| *other == at) {
            entry.remove();
        }
        self.free.push(at);
        shared.principals.remove(slot.principal(), &slot.key);
        shared.bytes.fetch_sub(slot.cost(), Relaxed);
        shared.entries.fetch_sub(1, Relaxed);
    }
}

impl Slot {
    fn is(&self, version: Version) -> bool {
        Version::counter(self.version) == version
    }

    fn is_expired(&self, now: Timestamp) -> bool {
        self.idle_expires <= now || (self.has_absolute && self.absolute_expires <= now)
    }

    fn principal(&self) -> Option<&Arc<str>> {
        self.rare.as_ref()?.principal.as_ref()
    }

    fn store_key(&self) -> StoreKey {
        match self.rare.as_ref().and_then(|rare| rare.foreign.clone()) {
            Some(name) => StoreKey::foreign(name),
            None => StoreKey::from_digest(self.key),
        }
    }

    fn record(&self) -> Record {
        let rare = self.rare.as_deref();
        Record {
            data: self.data.clone(),
            created: self.created,
            idle_seconds: self.idle_seconds,
            idle_expires: self.idle_expires,
            absolute_expires: self.has_absolute.then_some(self.absolute_expires),
            persistent: self.persistent,
            principal: rare.and_then(|rare| rare.principal.as_deref()).map(Box::from),
            label: rare.and_then(|rare| rare.label.clone()),
        }
    }

    fn cost(&self) -> usize {
        let rare = self.rare.as_deref().map_or(0, |rare| {
            let texts = [rare.label.as_deref(), rare.foreign.as_deref()];
            let texts: usize = texts.into_iter().flatten().map(str::len).sum();
            let indexed = rare.principal.as_deref().map_or(0, |principal| principal.len() + INDEXED);
            size_of::<Rare>() + texts + indexed
        });
        match self.kind {
            Kind::Free => 0,
            Kind::Record | Kind::Mark => OVERHEAD + self.data.len() + rare,
        }
    }
}

/// What a record would add to the bytes that are counted.
pub(super) fn cost(record: &Record) -> usize {
    let texts = [record.principal.as_deref(), record.label.as_deref()];
    OVERHEAD + record.data.len() + texts.into_iter().flatten().map(str::len).sum::<usize>()
}

fn mark(now: Timestamp) -> Record {
    Record {
        data: Bytes::new(),
        created: now,
        idle_seconds: 0,
        idle_expires: now.after(GONE_FOR),
        absolute_expires: None,
        persistent: false,
        principal: None,
        label: None,
    }
}

fn foreign_name(key: &StoreKey) -> Option<Box<str>> {
    key.is_foreign().then(|| key.to_string().into())
}

/// A key is a digest already: any of its bits are a good hash. The first ones choose the shard.
fn hash(key: &Digest) -> u64 {
    u64::from_le_bytes([key[8], key[9], key[10], key[11], key[12], key[13], key[14], key[15]])
}
