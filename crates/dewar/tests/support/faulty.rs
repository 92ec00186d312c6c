//! A store that fails, is slow, and counts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use dewar::store::{
    Create, Delete, Load, Record, Replace, SessionAdmin, SessionStore, StoreError, StoreKey, Timestamp, Touch, Version,
    memory::MemoryStore,
};

/// The store in memory, with faults to switch on, and a count of round trips.
#[derive(Clone, Default)]
pub struct Faulty {
    pub store: MemoryStore,
    pub down: Arc<AtomicBool>,
    pub slow: Arc<AtomicBool>,
    pub loads: Arc<AtomicU32>,
    pub writes: Arc<AtomicU32>,
}

impl Faulty {
    async fn fault(&self, count: &AtomicU32) -> Result<(), StoreError> {
        count.fetch_add(1, SeqCst);
        if self.slow.load(SeqCst) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if self.down.load(SeqCst) { Err(StoreError::new("the test switched the store off")) } else { Ok(()) }
    }
}

impl SessionStore for Faulty {
    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Load, StoreError> {
        self.fault(&self.loads).await?;
        self.store.load(key, now).await
    }

    async fn create(&self, key: &StoreKey, record: Record, now: Timestamp) -> Result<Create, StoreError> {
        self.fault(&self.writes).await?;
        self.store.create(key, record, now).await
    }

    async fn replace(
        &self,
        key: &StoreKey,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Result<Replace, StoreError> {
        self.fault(&self.writes).await?;
        self.store.replace(key, version, record, now).await
    }

    async fn touch(
        &self,
        key: &StoreKey,
        version: Version,
        idle: Timestamp,
        now: Timestamp,
    ) -> Result<Touch, StoreError> {
        self.fault(&self.writes).await?;
        self.store.touch(key, version, idle, now).await
    }

    async fn delete(&self, key: &StoreKey, version: Option<Version>, now: Timestamp) -> Result<Delete, StoreError> {
        self.fault(&self.writes).await?;
        self.store.delete(key, version, now).await
    }
}

impl SessionAdmin for Faulty {
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
        self.store.list(principal, after, limit, now).await
    }

    async fn purge(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.store.purge(limit, now).await
    }
}
