//! The suite finds the store that breaks a promise, and names the promise.

use std::time::Duration;

use dewar::store::{
    Create, Delete, Load, Record, Replace, SessionAdmin, SessionStore, StoreError, StoreKey, Timestamp, Touch, Version,
    conformance, memory::MemoryStore,
};

/// One way in which a store is wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    LeavesNoMark,
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
}

struct Broken(MemoryStore, Fault);

impl Broken {
    fn has(&self, fault: Fault) -> bool {
        self.1 == fault
    }

    fn spoilt(&self, mut record: Record) -> Record {
        if self.has(Fault::CutsMilliseconds) {
            record.created = Timestamp::from_secs(record.created.as_secs());
        }
        if self.has(Fault::DropsTheLabel) {
            record.label = None;
        }
        record
    }
}

impl SessionStore for Broken {
    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Load, StoreError> {
        let late = if self.has(Fault::ExpiresLate) { 1 } else { 0 };
        match self.0.load(key, Timestamp::from_millis(now.as_millis() - late)).await {
            Ok(Load::Gone) if self.has(Fault::LeavesNoMark) => Ok(Load::Missing),
            found => found,
        }
    }

    async fn create(&self, key: &StoreKey, record: Record, now: Timestamp) -> Result<Create, StoreError> {
        let record = self.spoilt(record);
        match (self.0.create(key, record.clone(), now).await?, self.0.load(key, now).await?) {
            (Create::Exists, Load::Found(_, version)) if self.has(Fault::CreateOverwrites) => {
                match self.0.replace(key, version, record, now).await? {
                    Replace::Replaced(version) => Ok(Create::Created(version)),
                    _ => Ok(Create::Exists),
                }
            }
            (created, _) => Ok(created),
        }
    }

    async fn replace(
        &self,
        key: &StoreKey,
        mut version: Version,
        record: Record,
        now: Timestamp,
    ) -> Result<Replace, StoreError> {
        let record = self.spoilt(record);
        match self.0.load(key, now).await? {
            Load::Found(_, current) if self.has(Fault::ReplacesAnyVersion) => version = current,
            Load::Found(_, current) if self.has(Fault::ReplaceLooksThenWrites) && current == version => {
                tokio::task::yield_now().await;
                if let Load::Found(_, current) = self.0.load(key, now).await? {
                    version = current;
                }
            }
            Load::Missing if self.has(Fault::ReplaceCreates) => {
                if let Create::Created(version) = self.0.create(key, record.clone(), now).await? {
                    return Ok(Replace::Replaced(version));
                }
            }
            _ => {}
        }
        self.0.replace(key, version, record, now).await
    }

    async fn touch(
        &self,
        key: &StoreKey,
        version: Version,
        idle_expires: Timestamp,
        now: Timestamp,
    ) -> Result<Touch, StoreError> {
        if self.has(Fault::TouchRevives) {
            let before = Timestamp::from_millis(now.as_millis() - 60_000);
            return self.0.touch(key, version, idle_expires, before).await;
        }
        let touched = self.0.touch(key, version, idle_expires, now).await?;
        if self.has(Fault::TouchWritesANewVersion)
            && let Load::Found(record, version) = self.0.load(key, now).await?
        {
            self.0.replace(key, version, record, now).await?;
        }
        Ok(touched)
    }

    async fn delete(&self, key: &StoreKey, version: Option<Version>, now: Timestamp) -> Result<Delete, StoreError> {
        let version = version.filter(|_| !self.has(Fault::DeletesAnyVersion));
        self.0.delete(key, version, now).await
    }
}

impl SessionAdmin for Broken {
    async fn count(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.0.count(now).await
    }

    async fn list(
        &self,
        principal: Option<&str>,
        after: Option<&StoreKey>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(StoreKey, Record, Version)>, StoreError> {
        let limit = if self.has(Fault::ListsOneTooMany) { limit + 1 } else { limit };
        self.0.list(principal.filter(|_| !self.has(Fault::ListsEverybody)), after, limit, now).await
    }

    async fn purge(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        let ahead = if self.has(Fault::PurgesTooMuch) { Duration::from_secs(3600) } else { Duration::ZERO };
        self.0.purge(limit, now.after(ahead)).await
    }
}

async fn broken_promise(fault: Fault) -> String {
    let checked = tokio::spawn(conformance::check(move || async move { Broken(MemoryStore::new(), fault) })).await;
    let panic = checked.expect_err(&format!("{fault:?} was not noticed")).into_panic();
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| panic!("{fault:?}: a panic without a message"))
}

#[tokio::test]
async fn each_fault_is_found_and_its_promise_named() {
    let faults = [
        (Fault::LeavesNoMark, "Gone"),
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
        (Fault::PurgesTooMuch, "no mark before its time"),
    ];
    for (fault, expected) in faults {
        let message = broken_promise(fault).await;
        assert!(message.starts_with("broken promise: "), "{fault:?}: {message}");
        assert!(message.contains(expected), "{fault:?}: {message}");
    }
}
