//! The promises of a store as one call: run it against your own.
//!
//! ```
//! use dewar::store::{conformance, memory::MemoryStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! conformance::check(|| async { MemoryStore::new() }).await;
//! # }
//! ```
//!
//! In a test of your own, put your store in its place; `#[tokio::test(flavor = "multi_thread")]`
//! lets the racing tasks run side by side:
//!
//! ```no_run
//! # use dewar::store::{conformance, memory::MemoryStore};
//! # async fn connect() -> MemoryStore { MemoryStore::new() }
//! #[tokio::test(flavor = "multi_thread")]
//! async fn my_store_keeps_its_promises() {
//!     conformance::check(|| async { connect().await }).await;
//! }
//! ```
//!
//! The suite is one long future: without optimization it wants threads of 8 MiB (`RUST_MIN_STACK=8388608`).
//!
//! Keys are drawn anew for each promise, so a store that is shared or not empty will do, as long as
//! nobody else changes it meanwhile. Time is passed in, mostly: two minutes take no waiting. [`check`] ends every
//! session in the store, and whatever begins there within the next two minutes: so long a shared store waits for the next run.

mod administration;
mod caps;
mod epochs;
mod foreign;
mod guards;
mod races;
mod records;
mod renames;
mod tombstones;

use std::{
    fmt::Debug,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;

use super::{
    Cap, Create, Delete, Engine, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreError,
    StoreKey, Timestamp, Tombstone, Touch, Version, Why, Written,
};
use crate::id::SessionId;

/// Checks every promise of [`SessionStore`] and of [`SessionAdmin`].
///
/// `make_store` gives a store for each promise: a fresh one, or the same one again.
///
/// # Panics
///
/// Where a promise is broken, with the sentence that names it. Also outside of a tokio runtime.
pub async fn check<S, F, Fut>(make_store: F)
where
    S: SessionAdmin,
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
{
    check_sessions(&make_store).await;
    administration::check(&make_store).await;
    guards::check_purge(&make_store).await;
    epochs::check(&make_store).await;
    caps::check(&make_store).await;
}

/// Checks every promise of [`SessionStore`] alone, for a store that is no [`SessionAdmin`].
///
/// # Panics
///
/// As [`check`] does.
pub async fn check_sessions<S, F, Fut>(make_store: F)
where
    S: SessionStore,
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
{
    records::check(&make_store).await;
    tombstones::check(&make_store).await;
    renames::check(&make_store).await;
    guards::check(&make_store).await;
    foreign::check(&make_store).await;
    races::check(&make_store).await;
}

/// Checks every promise of an [`Engine`] alone, for a store that keeps the records of other frameworks and none of ours.
///
/// `named` makes of a text, 32 hexadecimal digits, what a framework would name the record of this id.
///
/// # Panics
///
/// As [`check`] does.
pub async fn check_engine<F, Fut>(make_engine: F, named: fn(&str) -> String)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Engine>>,
{
    foreign::check_engine(&make_engine, named, foreign::Verbatim::Bytes).await;
}

/// The same of an [`Engine`] over a table, whose records are texts.
///
/// # Panics
///
/// As [`check`] does.
pub async fn check_rows<F, Fut>(make_engine: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Engine>>,
{
    foreign::check_engine(&make_engine, foreign::odd, foreign::Verbatim::Text).await;
}

/// A store, a key that was never used, and a moment to start from.
struct Case<S> {
    store: Arc<S>,
    key: StoreKey,
    now: Timestamp,
    /// The name of another framework's record, of a text that was drawn for it.
    named: fn(&str) -> String,
}

impl<S> Clone for Case<S> {
    fn clone(&self) -> Self {
        Self { store: Arc::clone(&self.store), key: self.key.clone(), now: self.now, named: self.named }
    }
}

impl<S: SessionStore> Case<S> {
    async fn new<Fut: Future<Output = S>>(make_store: impl Fn() -> Fut) -> Self {
        let store = Arc::new(make_store().await);
        Self { store, key: fresh_key(), now: Timestamp::from(SystemTime::now()), named: foreign::odd }
    }

    /// The same store, another key.
    fn another(&self) -> Self {
        Self { key: fresh_key(), ..self.clone() }
    }

    /// The same store and key, so much later.
    fn later(&self, by: Duration) -> Self {
        Self { now: self.now.after(by), ..self.clone() }
    }

    /// The same store and key, at that moment.
    fn at(&self, now: Timestamp) -> Self {
        Self { now, ..self.clone() }
    }

    /// An hour to live, nothing else.
    fn record(&self, data: &'static [u8]) -> Record {
        Record {
            data: Bytes::from_static(data),
            created: self.now,
            idle_seconds: 3600,
            idle_expires: self.now.after(HOUR),
            absolute_expires: None,
            persistent: false,
            principal: None,
            label: None,
            lineage: 0,
            epoch: None,
            guarded_until: None,
            extra: Bytes::new(),
        }
    }

    /// The same of a principal, that begins now.
    fn record_of(&self, principal: &str) -> Record {
        Record { principal: Some(principal.into()), lineage: fresh_version().bits(), ..self.record(b"x") }
    }

    async fn load(&self) -> Load {
        works("load", self.store.load(&self.key, self.now).await)
    }

    async fn found(&self, promise: &str) -> (Record, Version) {
        match self.load().await {
            Load::Found(record, version) => (record, version),
            other => panic!("broken promise: {promise}\n     it should be found, but load said {other:?}"),
        }
    }

    async fn create(&self, record: Record) -> Create {
        self.create_as(fresh_version(), record).await
    }

    async fn create_as(&self, version: Version, record: Record) -> Create {
        works("create", self.store.create(&self.key, version, record, None, self.now).await)
    }

    async fn created(&self, record: Record) -> Version {
        self.written(record).await.version
    }

    async fn written(&self, record: Record) -> Written {
        let version = fresh_version();
        match self.create_as(version, record).await {
            Create::Created(written) => {
                self.is_of_the_writer(version, written.version);
                written
            }
            other => panic!("broken promise: create adds a record under a key that has none\n     it said {other:?}"),
        }
    }

    async fn replace(&self, at: Version, record: Record) -> Replace {
        self.replace_as(at, fresh_version(), record).await
    }

    async fn replace_as(&self, at: Version, version: Version, record: Record) -> Replace {
        works("replace", self.store.replace(&self.key, at, version, record, self.now).await)
    }

    async fn replaced(&self, at: Version, record: Record) -> Version {
        let version = fresh_version();
        match self.replace_as(at, version, record).await {
            Replace::Replaced(replaced) => {
                self.is_of_the_writer(version, replaced);
                replaced
            }
            other => panic!("broken promise: replace replaces a record of this very version\n     it said {other:?}"),
        }
    }

    fn is_of_the_writer(&self, given: Version, answered: Version) {
        if !self.key.is_foreign() {
            promise("a record has the version that its writer gave", answered, given);
        }
    }

    async fn touch(&self, at: Version, idle_expires: Timestamp) -> Touch {
        works("touch", self.store.touch(&self.key, at, idle_expires, self.now).await)
    }

    async fn delete(&self, at: Option<Version>) -> Delete {
        self.delete_as(at, self.ended()).await
    }

    async fn delete_as(&self, at: Option<Version>, tombstone: Tombstone) -> Delete {
        works("delete", self.store.delete(&self.key, at, tombstone, self.now).await)
    }

    /// What [`Case::delete`] leaves: always the same at this moment.
    fn ended(&self) -> Tombstone {
        Tombstone::new(Why::Ended, Version::from_bits(self.key.hash64()).bits(), self.now)
    }

    /// To the key of `to`, with [`Case::ended`] as the tombstone.
    async fn rename(&self, at: Option<Version>, to: &Self, record: Record) -> Rename {
        self.rename_as(at, to, fresh_version(), record, self.ended()).await
    }

    async fn rename_as(
        &self,
        at: Option<Version>,
        to: &Self,
        version: Version,
        record: Record,
        tombstone: Tombstone,
    ) -> Rename {
        let renamed = self.store.rename(&self.key, at, &to.key, version, record, tombstone, None, self.now);
        works("rename", renamed.await)
    }

    async fn renamed(&self, at: Option<Version>, to: &Self, record: Record) -> Written {
        let version = fresh_version();
        match self.rename_as(at, to, version, record, self.ended()).await {
            Rename::Renamed(written) => {
                self.is_of_the_writer(version, written.version);
                written
            }
            other => panic!("broken promise: rename moves a record to a new key\n     it said {other:?}"),
        }
    }

    /// Every verb answers that the record is dead, and says why.
    async fn is_gone(&self, promised: &str, dead: &Tombstone) {
        let gone = || Some(dead.clone());
        let (version, fresh) = (fresh_version(), self.another());
        promise(promised, self.load().await, Load::Gone(dead.clone()));
        promise(promised, self.create(self.record(b"back")).await, Create::Gone(dead.clone()));
        promise(promised, self.replace(version, self.record(b"back")).await, Replace::Gone(gone()));
        promise(promised, self.touch(version, self.now.after(HOUR)).await, Touch::Gone(gone()));
        promise(promised, self.delete(Some(version)).await, Delete::Gone(gone()));
        promise(promised, self.rename(Some(version), &fresh, self.record(b"back")).await, Rename::Gone(gone()));
        promise(promised, self.rename(None, &fresh, self.record(b"back")).await, Rename::Gone(gone()));
        promise("a rename that was refused wrote nothing", fresh.load().await, Load::Missing);
        promise("what was refused leaves the tombstone as it was", self.load().await, Load::Gone(dead.clone()));
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

#[track_caller]
fn promise<T: PartialEq + Debug>(sentence: &str, actual: T, expected: T) {
    assert!(actual == expected, "broken promise: {sentence}\n  expected: {expected:?}\n    actual: {actual:?}");
}

#[track_caller]
fn works<T>(verb: &str, result: Result<T, StoreError>) -> T {
    result.unwrap_or_else(|error| {
        panic!("broken promise: {verb} fails only where the system failed\n     error: {error}")
    })
}

/// A key that no other process and no other promise has drawn.
fn fresh_key() -> StoreKey {
    let mut bytes = [0; 32];
    for part in bytes.chunks_mut(8) {
        part.copy_from_slice(&RandomState::new().hash_one("a fresh key").to_le_bytes());
    }
    SessionId::from_random(bytes).key().clone()
}

/// A state that nobody else has written.
fn fresh_version() -> Version {
    Version::from_bits(RandomState::new().hash_one("a fresh version"))
}
