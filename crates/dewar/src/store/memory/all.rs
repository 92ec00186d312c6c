//! All shards at once, under their locks: log-ins that are checked against a cap.

use std::sync::MutexGuard;

use super::{
    digest::Digest,
    shard::{Refused, Shard, Shared},
    shard_of, taken,
};
use crate::store::{Cap, Create, Record, Rename, StoreError, StoreKey, Timestamp, Tombstone, Version, Written};

pub(super) struct All<'a> {
    shards: Vec<MutexGuard<'a, Shard>>,
    shared: &'a Shared,
}

impl<'a> All<'a> {
    /// They are locked in their order.
    pub(super) fn new(shards: Vec<MutexGuard<'a, Shard>>, shared: &'a Shared) -> Self {
        Self { shards, shared }
    }

    pub(super) fn create(
        &mut self,
        key: &StoreKey,
        version: Version,
        record: Record,
        cap: &Cap,
        now: Timestamp,
    ) -> Create {
        let shared = self.shared;
        let digest = key.digest();
        match self.of(&digest).free(&digest, now) {
            Err(Refused::Taken) => return Create::Exists,
            Err(Refused::Gone(tombstone)) => return Create::Gone(tombstone),
            Ok(_) | Err(Refused::Outdated) => {}
        }
        let Some(oldest) = self.room_for(&record, None, cap, now) else { return Create::Full };
        match self.of(&digest).create(key, version, record, now, shared) {
            Create::Created(written) => Create::Created(Written { ended: self.end(&oldest, cap, now), ..written }),
            other => other,
        }
    }

    #[allow(clippy::too_many_arguments)] // As the verb itself.
    pub(super) fn rename(
        &mut self,
        from: &Digest,
        at: Option<Version>,
        to: &StoreKey,
        version: Version,
        record: Record,
        tombstone: Tombstone,
        cap: &Cap,
        now: Timestamp,
    ) -> Result<Rename, StoreError> {
        let shared = self.shared;
        let at = match self.of(from).renamed(from, at, now, shared) {
            Ok(at) => at,
            Err(answer) => return Ok(answer),
        };
        let Some(oldest) = self.room_for(&record, Some(from), cap, now) else { return Ok(Rename::Full) };
        match self.of(&to.digest()).put_new(to, version, record, now, shared) {
            Ok(written) => {
                self.of(from).put_tombstone(at, tombstone, shared);
                Ok(Rename::Renamed(Written { ended: self.end(&oldest, cap, now), ..written }))
            }
            Err(Refused::Outdated) => Ok(Rename::Outdated),
            Err(Refused::Taken | Refused::Gone(_)) => Err(taken()),
        }
    }

    /// The keys of those that have to give way. `None`: there is no room, and none is made.
    fn room_for(&mut self, record: &Record, from: Option<&Digest>, cap: &Cap, now: Timestamp) -> Option<Vec<Digest>> {
        let principal = record.principal.as_deref().unwrap_or_default();
        // It will be refused for its epoch.
        if !self.shared.principals.admits(principal, record.lineage, record.epoch) {
            return Some(Vec::new());
        }
        let keys = self.shared.principals.page(principal, None, usize::MAX);
        let others = keys.into_iter().filter(|key| Some(key) != from);
        let mut others: Vec<_> = others
            .filter_map(|key| Some((self.of(&key).created_of_another(&key, principal, record.lineage, now)?, key)))
            .collect();
        let most = cap.most.get() as usize;
        if others.len() < most {
            return Some(Vec::new());
        }
        cap.end_oldest.as_ref()?;
        others.sort_unstable();
        others.truncate(others.len() + 1 - most);
        Some(others.into_iter().map(|(_, key)| key).collect())
    }

    fn end(&mut self, keys: &[Digest], cap: &Cap, now: Timestamp) -> u32 {
        let shared = self.shared;
        if let Some(tombstone) = &cap.end_oldest {
            for key in keys {
                self.of(key).delete(key, None, tombstone.clone(), now, shared);
            }
        }
        keys.len() as u32
    }

    fn of(&mut self, key: &Digest) -> &mut Shard {
        let shard = shard_of(key, self.shards.len());
        &mut self.shards[shard]
    }
}
