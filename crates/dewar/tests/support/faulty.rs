//! A store that fails, is slow, and counts.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use dewar::layout::Shape;
use dewar::runtime::Task;
use dewar::store::{
    Cap, Create, Delete, Engine, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreError,
    StoreKey, TellEnding, Timestamp, Tombstone, Touch, Version, engine_of, memory::MemoryStore,
};

/// What a store is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Load,
    Create,
    Replace,
    Touch,
    Delete,
    Rename,
    Revoke,
}

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is done, and its answer is lost.
    Lost,
    /// It is never done, and its answer is lost.
    NotDone,
    /// Its answer is lost, and it is done after this time.
    Late(Duration),
    /// It takes this time.
    Slow(Duration),
    /// It takes this time, and is never done.
    SlowAndNotDone(Duration),
}

/// One fault to come.
struct Coming {
    /// `None`: whatever is called.
    verb: Option<Verb>,
    /// How many calls go well before; `None`: from now on, always.
    after: Option<u32>,
    fault: Fault,
}

/// The store in memory, with faults to switch on, and a count of round trips.
#[derive(Clone, Default)]
pub struct Faulty {
    pub store: MemoryStore,
    pub down: Arc<AtomicBool>,
    pub slow: Arc<AtomicBool>,
    pub loads: Arc<AtomicU32>,
    pub writes: Arc<AtomicU32>,
    coming: Arc<Mutex<Vec<Coming>>>,
    landing: Arc<AtomicU32>,
}

impl Faulty {
    /// The n-th call of this verb from now on, counted from 1, has this fault.
    pub fn fail(&self, verb: impl Into<Option<Verb>>, nth: u32, fault: Fault) {
        self.coming.lock().unwrap().push(Coming { verb: verb.into(), after: Some(nth - 1), fault });
    }

    /// Every call of this verb has this fault.
    pub fn always(&self, verb: impl Into<Option<Verb>>, fault: Fault) {
        self.coming.lock().unwrap().push(Coming { verb: verb.into(), after: None, fault });
    }

    /// No fault comes any more.
    pub fn heal(&self) {
        self.coming.lock().unwrap().clear();
        self.down.store(false, SeqCst);
        self.slow.store(false, SeqCst);
    }

    /// Waits for what lands late.
    pub async fn landed(&self) {
        while self.landing.load(SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// How often the store was asked, since the last time this was asked.
    pub fn calls(&self) -> u32 {
        self.loads.swap(0, SeqCst) + self.writes.swap(0, SeqCst)
    }

    fn next(&self, verb: Verb) -> Option<Fault> {
        let mut coming = self.coming.lock().unwrap();
        let mut found = None;
        coming.retain_mut(|coming| {
            if coming.verb.is_some_and(|of| of != verb) {
                return true;
            }
            match &mut coming.after {
                Some(0) if found.is_none() => {
                    found = Some(coming.fault);
                    false
                }
                Some(after) => {
                    *after = after.saturating_sub(1);
                    true
                }
                None => {
                    found = found.or(Some(coming.fault));
                    true
                }
            }
        });
        found
    }

    async fn call<T: Send + 'static>(
        &self,
        verb: Verb,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let count = if verb == Verb::Load { &self.loads } else { &self.writes };
        count.fetch_add(1, SeqCst);
        if self.slow.load(SeqCst) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if self.down.load(SeqCst) {
            return Err(StoreError::new("the test switched the store off"));
        }
        let lost = || StoreError::new("the test lost the answer");
        match self.next(verb) {
            None => work.await,
            Some(Fault::Lost) => {
                work.await?;
                Err(lost())
            }
            Some(Fault::NotDone) => Err(lost()),
            Some(Fault::Late(after)) => {
                let landing = Arc::clone(&self.landing);
                landing.fetch_add(1, SeqCst);
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    let _ = work.await;
                    landing.fetch_sub(1, SeqCst);
                });
                Err(lost())
            }
            Some(Fault::Slow(time)) => {
                tokio::time::sleep(time).await;
                work.await
            }
            Some(Fault::SlowAndNotDone(time)) => {
                tokio::time::sleep(time).await;
                Err(lost())
            }
        }
    }
}

impl SessionStore for Faulty {
    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Load, StoreError> {
        let (store, key) = (self.store.clone(), key.clone());
        self.call(Verb::Load, async move { store.load(&key, now).await }).await
    }

    async fn create(
        &self,
        key: &StoreKey,
        version: Version,
        record: Record,
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Create, StoreError> {
        let (store, key, cap) = (self.store.clone(), key.clone(), cap.cloned());
        self.call(Verb::Create, async move { store.create(&key, version, record, cap.as_ref(), now).await }).await
    }

    async fn replace(
        &self,
        key: &StoreKey,
        at: Version,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Result<Replace, StoreError> {
        let (store, key) = (self.store.clone(), key.clone());
        self.call(Verb::Replace, async move { store.replace(&key, at, version, record, now).await }).await
    }

    async fn touch(&self, key: &StoreKey, at: Version, idle: Timestamp, now: Timestamp) -> Result<Touch, StoreError> {
        let (store, key) = (self.store.clone(), key.clone());
        self.call(Verb::Touch, async move { store.touch(&key, at, idle, now).await }).await
    }

    async fn delete(
        &self,
        key: &StoreKey,
        at: Option<Version>,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<Delete, StoreError> {
        let (store, key) = (self.store.clone(), key.clone());
        self.call(Verb::Delete, async move { store.delete(&key, at, tombstone, now).await }).await
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
        let (store, from, to, cap) = (self.store.clone(), from.clone(), to.clone(), cap.cloned());
        self.call(Verb::Rename, async move {
            store.rename(&from, at, &to, version, record, tombstone, cap.as_ref(), now).await
        })
        .await
    }

    fn endings(&self, tell: TellEnding) -> Option<Task> {
        self.store.endings(tell)
    }

    fn engine(&self, _: Shape) -> Option<Arc<dyn Engine>> {
        Some(engine_of(self.clone()))
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

    async fn epoch(&self, principal: Option<&str>) -> Result<u64, StoreError> {
        self.store.epoch(principal).await
    }

    async fn revoke(
        &self,
        principal: &str,
        which: Revoke,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let (store, principal) = (self.store.clone(), principal.to_owned());
        self.call(Verb::Revoke, async move { store.revoke(&principal, which, tombstone, now).await }).await
    }

    async fn revoke_everyone(&self, tombstone: Tombstone, now: Timestamp) -> Result<u64, StoreError> {
        let store = self.store.clone();
        self.call(Verb::Revoke, async move { store.revoke_everyone(tombstone, now).await }).await
    }

    async fn purge(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.store.purge(limit, now).await
    }
}
