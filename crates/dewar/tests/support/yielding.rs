//! A store that lets others go first, a chosen number of times before and after each verb, and that loses answers where it is asked to.

use std::{
    fmt::{self, Debug},
    future::poll_fn,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Poll,
};

use dewar::store::{
    Cap, Create, Delete, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreError, StoreKey,
    Timestamp, Tombstone, Touch, Version,
};

use super::histories::Dice;

pub struct Yielding<S> {
    store: Arc<S>,
    /// The most times at once, and what decides how often.
    pub chance: Arc<Mutex<(u64, Dice)>>,
    /// Whether an answer may be lost: of a write that was done, or of one that was not.
    pub loses: Arc<AtomicBool>,
    /// Whether each verb is printed.
    pub prints: bool,
}

impl<S> Clone for Yielding<S> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), chance: self.chance.clone(), loses: self.loses.clone(), prints: self.prints }
    }
}

impl<S: SessionAdmin> Yielding<S> {
    pub fn new(store: S, prints: bool) -> Self {
        let chance = Arc::new(Mutex::new((0, Dice(0))));
        Self { store: Arc::new(store), chance, loses: Arc::default(), prints }
    }

    async fn around<T: Debug>(&self, verb: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        self.wait().await;
        let loss = if self.loses.load(Relaxed) { self.chance.lock().unwrap().1.roll(12) } else { 2 };
        if loss == 0 {
            self.print(format_args!("{}: not done, and its answer lost", std::any::type_name::<T>()));
            return Err(StoreError::new("it was not done, and the answer was lost"));
        }
        let answer = verb.await;
        self.print(format_args!("{answer:?}{}", if loss == 1 { ", and lost" } else { "" }));
        self.wait().await;
        if loss == 1 { Err(StoreError::new("it was done, and the answer was lost")) } else { answer }
    }

    fn print(&self, what: fmt::Arguments<'_>) {
        if self.prints {
            eprintln!("        {what}");
        }
    }

    async fn wait(&self) {
        let mut times = {
            let (most, dice) = &mut *self.chance.lock().unwrap();
            if *most == 0 { 0 } else { dice.roll(*most + 1) }
        };
        poll_fn(|context| {
            if times == 0 {
                return Poll::Ready(());
            }
            times -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

impl<S: SessionAdmin> SessionStore for Yielding<S> {
    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Load, StoreError> {
        self.around(self.store.load(key, now)).await
    }

    async fn create(
        &self,
        key: &StoreKey,
        version: Version,
        record: Record,
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Create, StoreError> {
        self.around(self.store.create(key, version, record, cap, now)).await
    }

    async fn replace(
        &self,
        key: &StoreKey,
        at: Version,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Result<Replace, StoreError> {
        self.around(self.store.replace(key, at, version, record, now)).await
    }

    async fn touch(&self, key: &StoreKey, at: Version, idle: Timestamp, now: Timestamp) -> Result<Touch, StoreError> {
        self.around(self.store.touch(key, at, idle, now)).await
    }

    async fn delete(
        &self,
        key: &StoreKey,
        at: Option<Version>,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<Delete, StoreError> {
        self.around(self.store.delete(key, at, tombstone, now)).await
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
        self.around(self.store.rename(from, at, to, version, record, tombstone, cap, now)).await
    }
}

impl<S: SessionAdmin> SessionAdmin for Yielding<S> {
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
        self.around(self.store.revoke(principal, which, tombstone, now)).await
    }

    async fn revoke_everyone(&self, tombstone: Tombstone, now: Timestamp) -> Result<u64, StoreError> {
        self.around(self.store.revoke_everyone(tombstone, now)).await
    }

    async fn purge(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.store.purge(limit, now).await
    }

    fn needs_purging(&self) -> bool {
        self.store.needs_purging()
    }
}
