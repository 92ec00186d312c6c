//! The suite finds the store that breaks a promise, and names the promise.

use std::{
    collections::HashSet,
    num::NonZeroU32,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use dewar::store::{
    Cap, Create, Delete, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreError, StoreKey,
    Timestamp, Tombstone, Touch, Version, Why, Written, conformance, memory::MemoryStore,
};
use tokio::task::yield_now;

/// One way in which a store is wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    LeavesNoTombstone,
    ForgetsWhy,
    ForgetsTheNonce,
    ForgetsTheSuccessor,
    CutsTombstones,
    DeletesOnlyWhatIsThere,
    ProlongsNoTombstone,
    GivesItsOwnVersion,
    ReplaceGivesItsOwnVersion,
    RenamesAnyVersion,
    RenameLeavesTheOldRecord,
    RenameLeavesNoReason,
    RenameCreates,
    RenameOverwrites,
    RenameLooksThenWrites,
    ForgetsGuards,
    ForgetsGuardsOfTheDeleted,
    CreatesOverAGuard,
    PurgesGuards,
    ReplacesAnyVersion,
    ReplaceCreates,
    CreateOverwrites,
    DeletesAnyVersion,
    TouchWritesANewVersion,
    TouchRevives,
    CutsMilliseconds,
    DropsTheLabel,
    ExpiresLate,
    ReplaceLooksThenWrites,
    ListsOneTooMany,
    ListsEverybody,
    PurgesTooMuch,
    IgnoresEpochs,
    CreateIgnoresEpochs,
    CreateIgnoresNobodysEpoch,
    TakesTheFirstEpoch,
    SaysNoEpoch,
    LooksAtTheEpochBefore,
    RaisesNoEpoch,
    RaisesEverybodys,
    EpochsRunByTheClock,
    NobodyPasses,
    PassesForEver,
    TheDeadPass,
    LineageEndsAll,
    LineageRaisesTheEpoch,
    LineageLooksThenDeletes,
    RevokesAndCountsTooMany,
    EveryoneButTheNameless,
    EveryoneRaisesNoEpoch,
    KnowsNoCap,
    CapEndsOneTooMany,
    CapEndsWithoutATombstone,
    CapLooksThenWrites,
}

struct Broken {
    store: MemoryStore,
    fault: Fault,
    has_purged: AtomicBool,
    passed: Mutex<HashSet<u64>>,
}

impl Broken {
    fn new(fault: Fault) -> Self {
        Self { store: MemoryStore::new(), fault, has_purged: AtomicBool::default(), passed: Mutex::default() }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// The record as the store gets it.
    async fn spoilt(&self, mut record: Record) -> Result<Record, StoreError> {
        match self.fault {
            Fault::CutsMilliseconds => record.created = Timestamp::from_secs(record.created.as_secs()),
            Fault::DropsTheLabel => record.label = None,
            Fault::IgnoresEpochs if self.is_older(&record).await? => record.epoch = None,
            Fault::TakesTheFirstEpoch if record.principal.is_some() => record.epoch = Some(record.epoch.unwrap_or(0)),
            // The store does not look again in the step itself.
            Fault::LooksAtTheEpochBefore if self.is_present(&record).await? => {
                record.epoch = None;
                yield_now().await;
            }
            Fault::PassesForEver if self.passed.lock().unwrap().contains(&record.lineage) => record.epoch = None,
            _ => {}
        }
        Ok(record)
    }

    async fn is_present(&self, record: &Record) -> Result<bool, StoreError> {
        let present = self.store.epoch(record.principal.as_deref()).await?;
        Ok(record.epoch == Some(present))
    }

    async fn is_older(&self, record: &Record) -> Result<bool, StoreError> {
        let present = self.store.epoch(record.principal.as_deref()).await?;
        Ok(record.epoch.is_some_and(|epoch| epoch < present))
    }

    fn buried(&self, mut tombstone: Tombstone) -> Tombstone {
        match (self.fault, &mut tombstone.why) {
            (Fault::ForgetsWhy, why) => *why = Why::Ended,
            (Fault::ForgetsTheNonce, _) => tombstone.nonce = 0,
            (Fault::ForgetsTheSuccessor, Why::Renewed { successor }) => *successor = None,
            (Fault::CutsTombstones, _) => {
                return Tombstone::new(tombstone.why, tombstone.nonce, tombstone.made);
            }
            _ => {}
        }
        tombstone
    }

    fn forgets(&self, dead: &Tombstone, now: Timestamp) -> bool {
        match self.fault {
            Fault::LeavesNoTombstone => true,
            Fault::ForgetsGuards => dead.nonce == 0,
            Fault::ForgetsGuardsOfTheDeleted => {
                dead.nonce != 0 && now.since(dead.made) >= Duration::from_secs(4 * 3600 + 1) && dead.why == Why::Ended
            }
            Fault::PurgesGuards => dead.nonce == 0 && self.has_purged.load(SeqCst),
            _ => false,
        }
    }

    /// The cap as the store gets it.
    async fn cap(&self, cap: Option<&Cap>, record: &Record, now: Timestamp) -> Result<Option<Cap>, StoreError> {
        let Some(mut cap) = cap.cloned() else { return Ok(None) };
        let principal = record.principal.as_deref().unwrap_or_default();
        match self.fault {
            Fault::KnowsNoCap => return Ok(None),
            Fault::CapEndsOneTooMany if cap.most.get() > 1 && cap.end_oldest.is_some() => {
                cap.most = NonZeroU32::new(cap.most.get() - 1).unwrap();
            }
            Fault::CapEndsWithoutATombstone => {
                cap.end_oldest = cap.end_oldest.map(|tombstone| Tombstone { until: now, ..tombstone });
            }
            // The store does not look again in the step itself.
            Fault::CapLooksThenWrites => {
                let others = self.store.list(Some(principal), None, usize::MAX, now).await?;
                if others.len() < cap.most.get() as usize {
                    yield_now().await;
                    return Ok(None);
                }
            }
            _ => {}
        }
        Ok(Some(cap))
    }

    async fn version_of(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Version>, StoreError> {
        Ok(match self.store.load(key, now).await? {
            Load::Found(_, version) => Some(version),
            _ => None,
        })
    }
}

fn own_version(version: Version) -> Version {
    Version::from_bits(version.bits() ^ 1)
}

impl SessionStore for Broken {
    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Load, StoreError> {
        let late = if self.has(Fault::ExpiresLate) { 1 } else { 0 };
        match self.store.load(key, Timestamp::from_millis(now.as_millis() - late)).await {
            Ok(Load::Gone(dead)) if self.forgets(&dead, now) => Ok(Load::Missing),
            found => found,
        }
    }

    async fn create(
        &self,
        key: &StoreKey,
        mut version: Version,
        record: Record,
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Create, StoreError> {
        let mut record = self.spoilt(record).await?;
        match self.fault {
            Fault::GivesItsOwnVersion => version = own_version(version),
            Fault::CreateIgnoresEpochs if self.is_older(&record).await? => record.epoch = None,
            Fault::CreateIgnoresNobodysEpoch if record.principal.is_none() => record.epoch = None,
            _ => {}
        }
        let cap = self.cap(cap, &record, now).await?;
        match self.store.create(key, version, record.clone(), cap.as_ref(), now).await? {
            Create::Exists if self.has(Fault::CreateOverwrites) => {
                let at = self.version_of(key, now).await?.unwrap_or(version);
                self.store.replace(key, at, version, record, now).await?;
                Ok(Create::Created(Written { version, epoch: 0, ended: 0 }))
            }
            Create::Gone(dead) if dead.nonce == 0 && self.has(Fault::CreatesOverAGuard) => {
                Ok(Create::Created(Written { version, epoch: 0, ended: 0 }))
            }
            Create::Created(written) if self.has(Fault::SaysNoEpoch) => {
                Ok(Create::Created(Written { epoch: 0, ..written }))
            }
            created => Ok(created),
        }
    }

    async fn replace(
        &self,
        key: &StoreKey,
        mut at: Version,
        mut version: Version,
        record: Record,
        now: Timestamp,
    ) -> Result<Replace, StoreError> {
        let record = self.spoilt(record).await?;
        match self.store.load(key, now).await? {
            Load::Found(_, current) if self.has(Fault::ReplacesAnyVersion) => at = current,
            Load::Found(_, current) if self.has(Fault::ReplaceLooksThenWrites) && current == at => {
                yield_now().await;
                at = self.version_of(key, now).await?.unwrap_or(at);
            }
            Load::Missing if self.has(Fault::ReplaceCreates) => {
                self.store.create(key, version, record, None, now).await?;
                return Ok(Replace::Replaced(version));
            }
            _ if self.has(Fault::ReplaceGivesItsOwnVersion) => version = own_version(version),
            _ => {}
        }
        self.store.replace(key, at, version, record, now).await
    }

    async fn touch(
        &self,
        key: &StoreKey,
        at: Version,
        idle_expires: Timestamp,
        now: Timestamp,
    ) -> Result<Touch, StoreError> {
        if self.has(Fault::TouchRevives) {
            let before = Timestamp::from_millis(now.as_millis() - 60_000);
            return self.store.touch(key, at, idle_expires, before).await;
        }
        let touched = self.store.touch(key, at, idle_expires, now).await?;
        if self.has(Fault::TouchWritesANewVersion)
            && let Load::Found(record, version) = self.store.load(key, now).await?
        {
            self.store.replace(key, version, own_version(version), record, now).await?;
        }
        Ok(touched)
    }

    async fn delete(
        &self,
        key: &StoreKey,
        at: Option<Version>,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<Delete, StoreError> {
        let mut at = at;
        match (self.fault, self.store.load(key, now).await?) {
            (Fault::DeletesAnyVersion, Load::Found(..)) => at = None,
            (Fault::DeletesOnlyWhatIsThere, Load::Missing) => return Ok(Delete::Gone(None)),
            (Fault::ProlongsNoTombstone, Load::Gone(dead)) => return Ok(Delete::Gone(Some(dead))),
            _ => {}
        }
        self.store.delete(key, at, self.buried(tombstone), now).await
    }

    async fn rename(
        &self,
        from: &StoreKey,
        mut at: Option<Version>,
        to: &StoreKey,
        version: Version,
        record: Record,
        tombstone: Tombstone,
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Rename, StoreError> {
        let record = self.spoilt(record).await?;
        let mut tombstone = self.buried(tombstone);
        let found = self.store.load(from, now).await?;
        match self.fault {
            Fault::RenamesAnyVersion => at = None,
            Fault::RenameLeavesNoReason => tombstone.why = Why::Ended,
            Fault::RenameCreates if found == Load::Missing => {
                self.store.create(to, version, record, None, now).await?;
                return Ok(Rename::Gone(None));
            }
            Fault::RenameOverwrites => {
                if let Some(standing) = self.version_of(to, now).await? {
                    self.store.replace(to, standing, version, record, now).await?;
                    self.store.delete(from, at, tombstone, now).await?;
                    return Ok(Rename::Renamed(Written { version, epoch: 0, ended: 0 }));
                }
            }
            Fault::RenameLeavesTheOldRecord | Fault::RenameLooksThenWrites => {
                let Load::Found(_, current) = found else {
                    return self.store.rename(from, at, to, version, record, tombstone, cap, now).await;
                };
                if at.is_some_and(|at| at != current) {
                    return Ok(Rename::Conflict);
                }
                yield_now().await;
                let written = match self.store.create(to, version, record, cap, now).await? {
                    Create::Created(written) => written,
                    Create::Outdated => return Ok(Rename::Outdated),
                    Create::Full => return Ok(Rename::Full),
                    Create::Exists | Create::Gone(_) => return Err(StoreError::new("the new key is not new")),
                };
                if self.has(Fault::RenameLooksThenWrites) {
                    self.store.delete(from, None, tombstone, now).await?;
                }
                return Ok(Rename::Renamed(written));
            }
            _ => {}
        }
        let cap = self.cap(cap, &record, now).await?;
        self.store.rename(from, at, to, version, record, tombstone, cap.as_ref(), now).await
    }
}

impl SessionAdmin for Broken {
    async fn count(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.store.count(now).await
    }

    async fn list(
        &self,
        principal: Option<&str>,
        after: Option<&StoreKey>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(StoreKey, Record, Version)>, StoreError> {
        let limit = if self.has(Fault::ListsOneTooMany) { limit + 1 } else { limit };
        self.store.list(principal.filter(|_| !self.has(Fault::ListsEverybody)), after, limit, now).await
    }

    async fn epoch(&self, principal: Option<&str>) -> Result<u64, StoreError> {
        let epoch = self.store.epoch(principal).await?;
        // Whole minutes: two raises in one give the same.
        Ok(if self.has(Fault::EpochsRunByTheClock) { epoch / 60_000 * 60_000 } else { epoch })
    }

    async fn revoke(
        &self,
        principal: &str,
        mut which: Revoke,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let tombstone = self.buried(tombstone);
        match (self.fault, which) {
            (Fault::NobodyPasses, Revoke::AllBut { .. }) => which = Revoke::All,
            (Fault::TheDeadPass, Revoke::AllBut { lineage, .. }) => which = Revoke::AllBut { lineage, epoch: u64::MAX },
            (Fault::PassesForEver, Revoke::AllBut { lineage, .. }) => {
                self.passed.lock().unwrap().insert(lineage);
            }
            (Fault::LineageEndsAll, Revoke::Lineage(_)) => which = Revoke::All,
            (Fault::LineageRaisesTheEpoch, Revoke::Lineage(lineage)) => {
                let deleted = self.store.revoke(principal, which, tombstone.clone(), now).await?;
                let others = self.store.list(Some(principal), None, 2, now).await?;
                let other = others.first().map_or(lineage, |(_, record, _)| record.lineage);
                self.store
                    .revoke(principal, Revoke::AllBut { lineage: other, epoch: u64::MAX }, tombstone, now)
                    .await?;
                return Ok(deleted);
            }
            (Fault::RaisesNoEpoch, Revoke::All) | (Fault::LineageLooksThenDeletes, Revoke::Lineage(_)) => {
                let mut deleted = 0;
                let listed = self.store.list(Some(principal), None, 1_000, now).await?;
                yield_now().await;
                for (key, record, _) in listed {
                    let is_it = match which {
                        Revoke::Lineage(lineage) => record.lineage == lineage,
                        Revoke::All | Revoke::AllBut { .. } => true,
                    };
                    if is_it && self.store.delete(&key, None, tombstone.clone(), now).await? == Delete::Deleted {
                        deleted += 1;
                    }
                }
                return Ok(deleted);
            }
            (Fault::RaisesEverybodys, Revoke::All) => return self.store.revoke_everyone(tombstone, now).await,
            _ => {}
        }
        let too_many = u64::from(self.has(Fault::RevokesAndCountsTooMany));
        Ok(self.store.revoke(principal, which, tombstone, now).await? + too_many)
    }

    async fn revoke_everyone(&self, tombstone: Tombstone, now: Timestamp) -> Result<u64, StoreError> {
        let ends = |record: &Record| match self.fault {
            Fault::EveryoneButTheNameless => record.principal.is_some(),
            _ => true,
        };
        if !matches!(self.fault, Fault::EveryoneButTheNameless | Fault::EveryoneRaisesNoEpoch) {
            return self.store.revoke_everyone(self.buried(tombstone), now).await;
        }
        let mut deleted = 0;
        for (key, record, _) in self.store.list(None, None, usize::MAX, now).await? {
            if ends(&record) {
                self.store.delete(&key, None, tombstone.clone(), now).await?;
            }
            deleted += 1;
        }
        Ok(deleted)
    }

    async fn purge(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.has_purged.store(true, SeqCst);
        let ahead = if self.has(Fault::PurgesTooMuch) { Duration::from_secs(3600) } else { Duration::ZERO };
        self.store.purge(limit, now.after(ahead)).await
    }
}

async fn broken_promise(fault: Fault) -> String {
    let checked = tokio::spawn(conformance::check(move || async move { Broken::new(fault) })).await;
    let panic = checked.expect_err(&format!("{fault:?} was not noticed")).into_panic();
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| panic!("{fault:?}: a panic without a message"))
}

#[tokio::test]
async fn each_fault_is_found_and_its_promise_named() {
    let faults = [
        (Fault::LeavesNoTombstone, "Gone"),
        (Fault::ForgetsWhy, "every verb says why a record is dead"),
        (Fault::ForgetsTheNonce, "Gone"),
        (Fault::ForgetsTheSuccessor, "every verb says why a record is dead"),
        (Fault::CutsTombstones, "a tombstone stands until the moment that it names"),
        (Fault::DeletesOnlyWhatIsThere, "leaves a tombstone also where nothing was"),
        (Fault::ProlongsNoTombstone, "it stays, for as long as the later of both"),
        (Fault::GivesItsOwnVersion, "the version that its writer gave"),
        (Fault::ReplaceGivesItsOwnVersion, "the version that its writer gave"),
        (Fault::RenamesAnyVersion, "rename refuses a version that has passed"),
        (Fault::RenameLeavesTheOldRecord, "rename leaves the tombstone"),
        (Fault::RenameLeavesNoReason, "rename leaves the tombstone, with its reason"),
        (Fault::RenameCreates, "rename creates nothing where no record was"),
        (Fault::RenameOverwrites, "a rename to a key where something stands is an error"),
        (Fault::RenameLooksThenWrites, "of renames that race for one record, one wins"),
        (Fault::ForgetsGuards, "is Ended until its guard is over"),
        (Fault::ForgetsGuardsOfTheDeleted, "until"),
        (Fault::CreatesOverAGuard, "is Ended until its guard is over"),
        (Fault::PurgesGuards, "purge removes no guard before it is over"),
        (Fault::ReplacesAnyVersion, "replace refuses a version that has passed"),
        (Fault::ReplaceCreates, "replace never creates a record"),
        (Fault::CreateOverwrites, "create never overwrites a record"),
        (Fault::DeletesAnyVersion, "delete refuses a version that has passed"),
        (Fault::TouchWritesANewVersion, "touch moves the idle expiry, and neither the version nor anything else"),
        (Fault::TouchRevives, "an expired record cannot be touched"),
        (Fault::CutsMilliseconds, "every field to the millisecond"),
        (Fault::DropsTheLabel, "a record is found as it was created"),
        (Fault::ExpiresLate, "Missing"),
        (Fault::ReplaceLooksThenWrites, "no write that replace confirmed is lost"),
        (Fault::ListsOneTooMany, "at most `limit` sessions"),
        (Fault::ListsEverybody, "a principal"),
        (Fault::PurgesTooMuch, "no tombstone before its time"),
        (Fault::IgnoresEpochs, "Outdated"),
        (Fault::CreateIgnoresEpochs, "create refuses a record of an older epoch"),
        (Fault::TheDeadPass, "a lineage that has ended does not pass"),
        (Fault::CreateIgnoresNobodysEpoch, "nothing that began before everybody's epoch was raised is written"),
        (Fault::TakesTheFirstEpoch, "it said Outdated"),
        (Fault::SaysNoEpoch, "the answer says it"),
        (Fault::LooksAtTheEpochBefore, "no session of an older epoch is created while or after a revocation runs"),
        (Fault::RaisesNoEpoch, "epoch"),
        (Fault::RaisesEverybodys, "a principal's epoch is not everybody's"),
        (Fault::EpochsRunByTheClock, "epoch"),
        (Fault::NobodyPasses, "but the lineage that it names"),
        (Fault::PassesForEver, "the lineage that passed ends with the next raise"),
        (Fault::LineageEndsAll, "to end one lineage"),
        (Fault::LineageRaisesTheEpoch, "to end one lineage leaves the epoch"),
        (Fault::LineageLooksThenDeletes, "outruns the revocation of its lineage"),
        (Fault::RevokesAndCountsTooMany, "the next revocation ends it"),
        (Fault::EveryoneButTheNameless, "revoke_everyone ends every session"),
        (Fault::EveryoneRaisesNoEpoch, "revoke_everyone raises the epoch of everybody"),
        (Fault::KnowsNoCap, "a log-in beyond the cap is refused"),
        (Fault::CapEndsOneTooMany, "the answer says how many ended"),
        (Fault::CapEndsWithoutATombstone, "the oldest ends, and leaves the tombstone"),
        (Fault::CapLooksThenWrites, "of many log-ins at once, as many succeed as may"),
    ];
    for (fault, expected) in faults {
        let message = broken_promise(fault).await;
        assert!(message.starts_with("broken promise: "), "{fault:?}: {message}");
        assert!(message.contains(expected), "{fault:?}: {message}");
    }
}
