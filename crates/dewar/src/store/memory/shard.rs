//! One shard of the memory store: a table of slot numbers over slots that never move.
//!
//! A table of whole records would stand half empty just after it doubled; a table of `u32` costs ten
//! bytes a session at its emptiest, and growing it moves no record.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use hashbrown::HashTable;

use super::digest::{Digest, hash};
use super::listeners::Listeners;
use super::principals::{Entry, Principals, Raise};
use super::slot::{Kind, Rare, Slot, guard_of};
use crate::store::{
    Create, Delete, Load, Record, Rename, Replace, StoreKey, Timestamp, Tombstone, Touch, Version, Written,
};

/// Slots are allocated this many at a time, and stay where they are.
const CHUNK: usize = 64;

/// How many records an eviction looks at.
const SAMPLE: usize = 16;

/// What all shards have in common.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) entries: AtomicUsize,
    pub(super) bytes: AtomicUsize,
    pub(super) evictions: AtomicU64,
    pub(super) principals: Principals,
    pub(super) listeners: Arc<Listeners>,
}

#[derive(Default)]
pub(super) struct Shard {
    table: HashTable<u32>,
    chunks: Vec<Vec<Slot>>,
    free: Vec<u32>,
    /// How many tombstones have a guard.
    guards: usize,
    /// How many records have one.
    guarded: usize,
    clock: u32,
    random: u64,
    /// The epoch of everybody whose older records have been deleted here.
    swept: u64,
}

/// What a key leads to.
enum Standing {
    /// A record that has not expired.
    Record(u32),
    /// A tombstone, or an expired record that is guarded.
    Gone(u32, Tombstone),
    /// Nothing that counts, and its slot where there is one.
    Nothing(Option<u32>),
}

/// Why a record was not put under a new key.
pub(super) enum Refused {
    Taken,
    Gone(Tombstone),
    Outdated,
}

/// What stands under a listed key of a lineage.
pub(super) enum Ended {
    Deleted,
    Expired,
    /// Another record, or none: this one has moved, if it lives.
    Moved,
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
        if slot.kind == Kind::Record && !slot.is_expired(now) {
            return Load::Found(slot.record(), Version::from_bits(slot.version));
        }
        slot.tombstone(now).map_or(Load::Missing, Load::Gone)
    }

    pub(super) fn create(
        &mut self,
        key: &StoreKey,
        version: Version,
        record: Record,
        now: Timestamp,
        shared: &Shared,
    ) -> Create {
        match self.put_new(key, version, record, now, shared) {
            Ok(written) => Create::Created(written),
            Err(Refused::Taken) => Create::Exists,
            Err(Refused::Gone(tombstone)) => Create::Gone(tombstone),
            Err(Refused::Outdated) => Create::Outdated,
        }
    }

    /// Puts a record under a key where nothing stands, unless its epoch has passed.
    pub(super) fn put_new(
        &mut self,
        key: &StoreKey,
        version: Version,
        record: Record,
        now: Timestamp,
        shared: &Shared,
    ) -> Result<Written, Refused> {
        let digest = key.digest();
        let at = self.free(&digest, now)?;
        let began = record.epoch;
        if record.principal.is_none() && began.is_some_and(|began| began < shared.principals.epoch(None)) {
            return Err(Refused::Outdated);
        }
        let mut slot = Slot::of_record(digest, version, record, foreign_name(key));
        let mut epoch = 0;
        if let Some(rare) = &mut slot.rare
            && let Some(principal) = &rare.principal
        {
            let entry = Entry { principal, key: &digest, lineage: rare.lineage, epoch: began };
            epoch = shared.principals.enter(&entry).ok_or(Refused::Outdated)?;
            rare.epoch = epoch;
        }
        let at = at.unwrap_or_else(|| self.add(digest, shared));
        self.put(at, slot, shared);
        Ok(Written { version: Version::from_bits(version.bits()), epoch, ended: 0 })
    }

    /// The slot of a key where nothing stands, where it has one.
    pub(super) fn free(&self, key: &Digest, now: Timestamp) -> Result<Option<u32>, Refused> {
        match self.standing(key, now) {
            Standing::Record(_) => Err(Refused::Taken),
            Standing::Gone(_, tombstone) => Err(Refused::Gone(tombstone)),
            Standing::Nothing(at) => Ok(at),
        }
    }

    pub(super) fn replace(
        &mut self,
        key: &Digest,
        at: Version,
        version: Version,
        record: Record,
        now: Timestamp,
        shared: &Shared,
    ) -> Replace {
        let at = match self.at_version(key, Some(at), now, Replace::Conflict, Replace::Gone) {
            Ok(at) => at,
            Err(answer) => return answer,
        };
        let before = self.slot(at).rare.as_deref();
        let foreign = before.and_then(|rare| rare.foreign.clone());
        let began = record.epoch;
        let mut slot = Slot::of_record(*key, version, record, foreign);
        if let Some(rare) = &mut slot.rare
            && let Some(principal) = &rare.principal
        {
            let listed = before.map(|before| (before.principal.as_ref(), before.lineage));
            let entry = Entry { principal, key, lineage: rare.lineage, epoch: began };
            rare.epoch = match began {
                Some(epoch) if listed == Some((Some(principal), rare.lineage)) => epoch,
                _ => shared.principals.set(&entry),
            };
        }
        self.put(at, slot, shared);
        Replace::Replaced(Version::from_bits(version.bits()))
    }

    pub(super) fn touch(&mut self, key: &Digest, at: Version, idle_expires: Timestamp, now: Timestamp) -> Touch {
        match self.at_version(key, Some(at), now, Touch::Conflict, Touch::Gone) {
            Ok(at) => {
                self.slot_mut(at).idle_expires = idle_expires;
                Touch::Touched
            }
            Err(answer) => answer,
        }
    }

    pub(super) fn delete(
        &mut self,
        key: &Digest,
        at: Option<Version>,
        tombstone: Tombstone,
        now: Timestamp,
        shared: &Shared,
    ) -> Delete {
        let answer = match self.at_version(key, at, now, Delete::Conflict, Delete::Gone) {
            Ok(at) => {
                self.put_tombstone(at, tombstone, shared);
                return Delete::Deleted;
            }
            Err(answer) => answer,
        };
        if at.is_some() {
            return answer;
        }
        match self.standing(key, now) {
            Standing::Gone(at, standing) => Delete::Gone(Some(self.prolong(at, standing, &tombstone, shared))),
            Standing::Nothing(at) => {
                let at = at.unwrap_or_else(|| self.add(*key, shared));
                self.put(at, Slot::of_tombstone(*key, tombstone, None), shared);
                Delete::Gone(None)
            }
            Standing::Record(_) => answer,
        }
    }

    /// The record that a rename takes away, to be given [a tombstone](Self::put_tombstone).
    pub(super) fn renamed(
        &self,
        key: &Digest,
        at: Option<Version>,
        now: Timestamp,
        shared: &Shared,
    ) -> Result<u32, Rename> {
        let at = self.at_version(key, at, now, Rename::Conflict, Rename::Gone)?;
        // A record without a principal has no epoch that says so, but is about to be deleted too.
        if self.slot(at).principal().is_none() && self.swept < shared.principals.epoch(None) {
            return Err(Rename::Outdated);
        }
        Ok(at)
    }

    /// Puts the tombstone in a record's place.
    pub(super) fn put_tombstone(&mut self, at: u32, tombstone: Tombstone, shared: &Shared) {
        let slot = self.slot(at);
        let store_key = slot.store_key();
        let tombstone = Slot::of_tombstone(slot.key, tombstone, slot.guarded_until());
        self.put(at, tombstone, shared);
        shared.listeners.ended(|| store_key);
    }

    /// Lets the tombstone that stands stay for as long as the later of both.
    fn prolong(&mut self, at: u32, standing: Tombstone, other: &Tombstone, shared: &Shared) -> Tombstone {
        let standing = standing.until(Some(other.until));
        let guard = self.slot(at).guarded_until().max(guard_of(other));
        let slot = Slot {
            absolute_expires: guard.unwrap_or_default(),
            ..Slot::of_tombstone(self.slot(at).key, standing.clone(), None)
        };
        self.put(at, slot, shared);
        standing
    }

    /// Deletes a principal's record that a revocation does not let pass; whether there was one.
    pub(super) fn end(
        &mut self,
        key: &Digest,
        principal: &str,
        raise: &Raise,
        tombstone: &Tombstone,
        now: Timestamp,
        shared: &Shared,
    ) -> bool {
        let Standing::Record(at) = self.standing(key, now) else { return false };
        let ends = self.slot(at).rare.as_ref().is_some_and(|rare| {
            rare.principal.as_deref() == Some(principal)
                && rare.epoch < raise.epoch
                && raise.passes != Some(rare.lineage)
        });
        if ends {
            self.put_tombstone(at, tombstone.clone(), shared);
        }
        ends
    }

    /// Deletes the principal's record of this lineage, if it is here.
    pub(super) fn end_lineage(
        &mut self,
        key: &Digest,
        principal: &str,
        lineage: u64,
        tombstone: &Tombstone,
        now: Timestamp,
        shared: &Shared,
    ) -> Ended {
        let Some(at) = self.find(key) else { return Ended::Moved };
        let slot = self.slot(at);
        let is_it = |rare: &Rare| rare.principal.as_deref() == Some(principal) && rare.lineage == lineage;
        if !slot.rare.as_deref().is_some_and(is_it) {
            return Ended::Moved;
        }
        if slot.is_expired(now) {
            return Ended::Expired;
        }
        self.put_tombstone(at, tombstone.clone(), shared);
        Ended::Deleted
    }

    /// When the principal's session under this key began, if it lives and is of another lineage.
    pub(super) fn created_of_another(
        &self,
        key: &Digest,
        principal: &str,
        lineage: u64,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let Standing::Record(at) = self.standing(key, now) else { return None };
        let slot = self.slot(at);
        let rare = slot.rare.as_ref()?;
        (rare.principal.as_deref() == Some(principal) && rare.lineage != lineage).then_some(slot.created)
    }

    /// Deletes every record that began before this epoch of everybody; how many.
    pub(super) fn sweep(&mut self, epoch: u64, tombstone: &Tombstone, now: Timestamp, shared: &Shared) -> u64 {
        let mut deleted = 0;
        for at in 0..self.slots() as u32 {
            let slot = self.slot(at);
            let began_after = slot.rare.as_ref().is_some_and(|rare| rare.principal.is_some() && rare.epoch >= epoch);
            if slot.kind == Kind::Record && !slot.is_expired(now) && !began_after {
                self.put_tombstone(at, tombstone.clone(), shared);
                deleted += 1;
            }
        }
        self.swept = epoch;
        deleted
    }

    /// Removes one record other than `keep`: an expired one of a sample, or else the one of it that
    /// was used the longest ago. A guarded record leaves its guard, which only `frees_bytes`. `false`: there is no other.
    pub(super) fn evict(&mut self, keep: &Digest, frees_bytes: bool, now: Timestamp, shared: &Shared) -> bool {
        let mut oldest = None;
        for at in self.sample() {
            let slot = self.slot(at);
            if slot.key == *keep || !slot.may_go(frees_bytes, now) {
                continue;
            }
            let age = if slot.is_expired(now) { u64::MAX } else { u64::from(self.clock.wrapping_sub(slot.used)) };
            if oldest.is_none_or(|(oldest, _)| age > oldest) {
                oldest = Some((age, at));
            }
        }
        // A sample of a store that has emptied may hit free slots only, and one of many guards nothing else.
        let victim = oldest.map(|(_, at)| at).or_else(|| {
            let fixed = if frees_bytes { self.guards } else { self.guards + self.guarded };
            if fixed >= self.table.len() {
                return None;
            }
            let mut others = self.table.iter().copied().filter(|at| self.slot(*at).key != *keep);
            others.find(|at| self.slot(*at).may_go(frees_bytes, now))
        });
        let Some(at) = victim else { return false };
        if !self.slot(at).is_expired(now) {
            shared.evictions.fetch_add(1, Relaxed);
        }
        self.give_up(at, now, shared);
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
                self.give_up(at, now, shared);
                removed += 1;
            }
        }
        Some((removed, end))
    }

    /// The record of a key that a scan or the index gave, unless it has gone since.
    pub(super) fn listed(&self, key: &Digest, now: Timestamp) -> Option<(StoreKey, Record, Version)> {
        let Standing::Record(at) = self.standing(key, now) else { return None };
        let slot = self.slot(at);
        Some((slot.store_key(), slot.record(), Version::from_bits(slot.version)))
    }

    fn find(&self, key: &Digest) -> Option<u32> {
        self.table.find(hash(key), |at| self.slot(*at).key == *key).copied()
    }

    fn standing(&self, key: &Digest, now: Timestamp) -> Standing {
        let Some(at) = self.find(key) else { return Standing::Nothing(None) };
        let slot = self.slot(at);
        if slot.kind == Kind::Record && !slot.is_expired(now) {
            return Standing::Record(at);
        }
        match slot.tombstone(now) {
            Some(tombstone) => Standing::Gone(at, tombstone),
            None => Standing::Nothing(Some(at)),
        }
    }

    /// The record of this version, or whatever the verb answers where there is none.
    fn at_version<T>(
        &self,
        key: &Digest,
        at: Option<Version>,
        now: Timestamp,
        conflict: T,
        gone: impl Fn(Option<Tombstone>) -> T,
    ) -> Result<u32, T> {
        match self.standing(key, now) {
            Standing::Record(slot) if at.is_none_or(|at| self.slot(slot).is(at)) => Ok(slot),
            Standing::Record(_) => Err(conflict),
            Standing::Gone(_, tombstone) => Err(gone(Some(tombstone))),
            Standing::Nothing(_) => Err(gone(None)),
        }
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
            self.chunks
                .last_mut()
                .expect("there is room in the last chunk, or there is a new one")
                .push(Slot::default());
            at
        });
        *self.slot_mut(at) = Slot { key, ..Slot::default() };
        let chunks = &self.chunks;
        self.table.insert_unique(hash(&key), at, |at| hash(&chunks[*at as usize / CHUNK][*at as usize % CHUNK].key));
        shared.entries.fetch_add(1, Relaxed);
        at
    }

    /// Puts a slot in place of another under the same key. A principal in it is in the index already.
    fn put(&mut self, at: u32, slot: Slot, shared: &Shared) {
        self.clock = self.clock.wrapping_add(1);
        let slot = Slot { used: self.clock, ..slot };
        self.count_guard(&slot, 1);
        let after = slot.cost();
        let before = std::mem::replace(self.slot_mut(at), slot);
        self.count_guard(&before, -1);
        if let Some(principal) = before.principal()
            && self.slot(at).principal() != Some(principal)
        {
            shared.principals.remove(principal, &before.key);
        }
        let before = before.cost();
        if after > before {
            shared.bytes.fetch_add(after - before, Relaxed);
        } else if after < before {
            shared.bytes.fetch_sub(before - after, Relaxed);
        }
    }

    /// Removes what stands here, but for its guard.
    fn give_up(&mut self, at: u32, now: Timestamp, shared: &Shared) {
        match self.slot(at).guard(now) {
            Some(guard) => self.put_tombstone(at, guard, shared),
            None => self.remove(at, shared),
        }
    }

    fn remove(&mut self, at: u32, shared: &Shared) {
        let slot = std::mem::take(self.slot_mut(at));
        if let Ok(entry) = self.table.find_entry(hash(&slot.key), |other| *other == at) {
            entry.remove();
        }
        self.free.push(at);
        self.count_guard(&slot, -1);
        if let Some(principal) = slot.principal() {
            shared.principals.remove(principal, &slot.key);
        }
        shared.bytes.fetch_sub(slot.cost(), Relaxed);
        shared.entries.fetch_sub(1, Relaxed);
    }

    fn count_guard(&mut self, slot: &Slot, change: isize) {
        if slot.guarded_until().is_some() {
            let count = if slot.kind == Kind::Record { &mut self.guarded } else { &mut self.guards };
            *count = count.saturating_add_signed(change);
        }
    }
}

fn foreign_name(key: &StoreKey) -> Option<Box<str>> {
    key.is_foreign().then(|| key.to_string().into())
}
