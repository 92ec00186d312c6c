//! Where server-side sessions live: the contract of a store, to be learnt by heart.
//!
//! A store keeps a [`Record`] under a [`StoreKey`] and gives each state of it a [`Version`].
//! It knows nothing of HTTP, cookies or dialects, and it never looks into the data.
//!
//! - `load`    finds a record, or says that it is [`Gone`](Load::Gone) or [`Missing`](Load::Missing).
//! - `create`  adds a record under a new key. Never overwrites one.
//! - `replace` puts a new record where one with this very version stands. Never creates one.
//! - `touch`   moves the idle expiry of a record that still has this version. Never creates one.
//! - `delete`  removes a record and leaves a mark in its place for [`GONE_FOR`].
//!
//! Missing or expired is an answer; an error means that the system failed. Each call is atomic.
//! A deleted session's mark makes a request that was in flight when the person logged out
//! discard its writes. An expired record is [`Missing`](Load::Missing) to `load`, [`Gone`](Replace::Gone) to the others.
//!
//! A key that [is foreign](StoreKey::is_foreign) belongs to a record which another framework reads
//! and writes too. Where the store is shared with it (Redis), the record is its data and nothing
//! else: its version is [a digest of the data](Version::digest), a delete leaves no mark that the
//! other side could see, and all else in the [`Record`] but the expiry is not kept.

use std::{fmt, future::Future, time::Duration};

use bytes::Bytes;
use sha2::{Digest, Sha256};

pub use crate::{id::StoreKey, lifetime::Timestamp};

#[cfg(feature = "conformance")]
pub mod conformance;
mod erased;
pub mod memory;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "redis")]
pub mod redis1;
#[cfg(feature = "sqlite")]
pub mod rusqlite0_42;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod url;

pub(crate) use erased::{Answer, ErasedStore};
pub use url::{AnyStore, open};

/// How long a deleted session's mark stays: 120 seconds.
///
/// Longer than a request runs; a request that outlives it finds the record missing, which
/// discards its writes just as well.
pub const GONE_FOR: Duration = Duration::from_secs(120);

/// What a store keeps of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The entries, as the dialect wrote them. A store does not look inside.
    pub data: Bytes,
    /// When the visit began.
    pub created: Timestamp,
    /// The idle timeout in whole seconds; `idle_expires` is this much after the session was last opened.
    pub idle_seconds: u32,
    /// Expired from this moment on, unless touched before.
    pub idle_expires: Timestamp,
    /// Expired from this moment on, whatever happens. `None`: no absolute timeout.
    pub absolute_expires: Option<Timestamp>,
    /// Whether the cookie outlives the browser ("remember me").
    pub persistent: bool,
    /// The user whom the session belongs to, once known.
    pub principal: Option<Box<str>>,
    /// What the application calls this session in a list of devices.
    pub label: Option<Box<str>>,
}

impl Record {
    /// The moment from which the record counts as absent: the earlier of its two expiries.
    pub fn expires(&self) -> Timestamp {
        match self.absolute_expires {
            Some(absolute) => absolute.min(self.idle_expires),
            None => self.idle_expires,
        }
    }

    /// Whether the record counts as absent.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires() <= now
    }

    /// When the session was last seen, as exactly as touching is throttled.
    pub fn last_seen(&self) -> Timestamp {
        let idle = u64::from(self.idle_seconds) * 1000;
        Timestamp::from_millis(self.idle_expires.as_millis().saturating_sub(idle))
    }
}

/// One state of a record. Opaque: only the store that gave it can say what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version(u128);

impl Version {
    /// The version of a store that counts its writes.
    pub const fn counter(count: u64) -> Self {
        Self(count as u128)
    }

    /// The count that [`Version::counter`] was given.
    pub const fn count(self) -> u64 {
        self.0 as u64
    }

    /// The version of a layout that has no room for one: the first half of the data's SHA-256.
    pub fn digest(data: &[u8]) -> Self {
        let digest = Sha256::digest(data);
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        Self(u128::from_be_bytes(half))
    }

    /// The version of a layout that has no room for one, on a server which can compute it too: the
    /// first 128 bits of the data's SHA-1.
    ///
    /// # Security
    ///
    /// It tells states of one record apart, and vouches for none. Whoever made two contents with one
    /// digest (2^64 trials) could make a write of their own session overwrite another of theirs.
    #[cfg(feature = "redis")]
    pub fn sha1(data: &[u8]) -> Self {
        let digest = sha1::Sha1::digest(data);
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        Self(u128::from_be_bytes(half))
    }

    /// The digest that [`Version::digest`] or [`Version::sha1`] gave.
    #[cfg(feature = "redis")]
    pub(crate) const fn bits(self) -> u128 {
        self.0
    }
}

/// What `load` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Load {
    /// A record that has not expired, in this state.
    Found(Record, Version),
    /// A session that was deleted within the last [`GONE_FOR`].
    Gone,
    /// Nothing, or something expired.
    Missing,
}

/// What `create` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// The record stands, in this state.
    Created(Version),
    /// A record or a mark stands under this key already; nothing was written.
    Exists,
}

/// What `replace` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// The new record stands, in this state.
    Replaced(Version),
    /// The record has another version; nothing was written.
    Conflict,
    /// There is no such record (any more); nothing was written.
    Gone,
}

/// What `touch` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// The idle expiry was moved. The version stays.
    Touched,
    /// The record has another version; nothing was written.
    Conflict,
    /// There is no such record (any more); nothing was written.
    Gone,
}

/// What `delete` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delete {
    /// The record was removed, and its mark stands.
    Deleted,
    /// The record has another version than the one given; nothing was removed.
    Conflict,
    /// There was no such record (any more).
    Gone,
}

/// Where server-side sessions live. The [module page](self) is the contract; `conformance` checks it.
///
/// Time is an argument, so that a store needs no clock and a test needs no waiting.
///
/// # Errors
///
/// Every method fails only where the system failed: no connection, a full disk, a time limit.
pub trait SessionStore: Send + Sync + 'static {
    /// Finds the record under `key`, with its version.
    fn load(&self, key: &StoreKey, now: Timestamp) -> impl Future<Output = Result<Load, StoreError>> + Send;

    /// Adds a record under a new key. Never overwrites one, nor a mark; an expired one is overwritten.
    fn create(
        &self,
        key: &StoreKey,
        record: Record,
        now: Timestamp,
    ) -> impl Future<Output = Result<Create, StoreError>> + Send;

    /// Replaces the record if it still has this version. Never creates one.
    fn replace(
        &self,
        key: &StoreKey,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> impl Future<Output = Result<Replace, StoreError>> + Send;

    /// Moves the idle expiry if the record still has this version. Changes nothing else, never creates one.
    fn touch(
        &self,
        key: &StoreKey,
        version: Version,
        idle_expires: Timestamp,
        now: Timestamp,
    ) -> impl Future<Output = Result<Touch, StoreError>> + Send;

    /// Removes the record, whatever its version or (with `Some`) only in this one, and leaves its mark.
    fn delete(
        &self,
        key: &StoreKey,
        version: Option<Version>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Delete, StoreError>> + Send;
}

/// What operators and a list of devices need of a store, beyond what a request needs.
///
/// # Errors
///
/// Every method fails only where the system failed.
pub trait SessionAdmin: SessionStore {
    /// How many sessions there are that have not expired.
    fn count(&self, now: Timestamp) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// One page of the sessions that have not expired: those of `principal`, or everybody's, after
    /// the key `after` in the store's own stable order. A page shorter than `limit` is the last.
    fn list(
        &self,
        principal: Option<&str>,
        after: Option<&StoreKey>,
        limit: usize,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<(StoreKey, Record, Version)>, StoreError>> + Send;

    /// Removes at most `limit` expired records and marks; returns how many. Zero: nothing is left to do.
    fn purge(&self, limit: usize, now: Timestamp) -> impl Future<Output = Result<usize, StoreError>> + Send;

    /// Whether expired records stay until somebody [purges](SessionAdmin::purge) them. `false` where the server drops them by itself.
    fn needs_purging(&self) -> bool {
        true
    }
}

/// The store failed: it could not be reached, was too slow, or is full.
///
/// The message names the place and never what a session holds.
pub struct StoreError {
    message: Box<str>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// A failure with what was being done: `"sqlite: cannot open sessions.db"`.
    pub fn new(message: impl Into<Box<str>>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// Adds the error behind it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{}: {source}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreError({self})")
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
