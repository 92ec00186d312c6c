//! Where server-side sessions live: the contract of a store, to be learnt by heart.
//!
//! A store keeps a [`Record`] under a [`StoreKey`]. Whoever writes says which [`Version`] the new state has: random, never counted up.
//! It knows nothing of HTTP, cookies or dialects, and it never looks into the data.
//!
//! - `load`    finds a record, or the [`Tombstone`] of one that was deleted, or nothing.
//! - `create`  adds a record under a new key. Never overwrites one, nor a tombstone.
//! - `replace` puts a new record where one with this very version stands. Never creates one.
//! - `touch`   moves the idle expiry of a record that still has this version. Never creates one.
//! - `delete`  puts a tombstone in a record's place.
//! - `rename`  moves a session to a new key: the record there, a tombstone here, in one step.
//!
//! Missing or expired is an answer; an error means that the system failed, and that nobody knows whether the write was done: a `load`
//! tells, because versions and tombstones say whose they are. Each call is atomic. What is dead says why in every answer.
//!
//! # Epochs
//!
//! Each principal has an epoch, which [`SessionAdmin::revoke`] raises. A record of a principal carries the epoch it began in; a `create` or `rename` with
//! an older one is [`Outdated`](Create::Outdated), so that nothing that began before can come back under another key. An epoch is never
//! lower than one that was given before, and at least the time of its raise in milliseconds.
//!
//! # Guards
//!
//! A record that was moved here from a cookie is guarded until that cookie would have expired: [`Record::guarded_until`]. When it ends, expires or has to
//! give way before, its key answers as [`Ended`](Why::Ended), with the nonce zero, until then, so that the cookie does not open again. Where the store decides what is evicted, this never is.
//!
//! # Records of another framework
//!
//! A [layout](crate::layout::Layout) over an [`Engine`] is a store, too: [`Layered`]. A key that [is foreign](StoreKey::is_foreign) has the name which
//! that framework gives the record. Its version may be [a digest](Version::digest) of its bytes.

use std::{future::Future, num::NonZeroU32, pin::Pin, sync::Arc};

use bytes::Bytes;
use sha1::Digest;

use crate::{
    error::Error,
    layout::{Layout, Shape},
    runtime::Task,
};
pub use crate::{
    error::StoreError,
    id::StoreKey,
    lifetime::{GONE_FOR, Timestamp},
};

mod any;
#[cfg(feature = "conformance")]
pub mod conformance;
mod copied;
mod engine;
mod erased;
#[cfg(all(feature = "php", unix))]
pub mod files;
mod layered;
pub mod memory;
pub mod moving;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(feature = "mysql")]
pub mod mysql_async0_37;
#[cfg(any(feature = "redis", all(feature = "php", unix)))]
mod patience;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "postgres")]
pub mod postgres_deadpool0_14;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "redis")]
pub mod redis1;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod rows;
#[cfg(feature = "sqlite")]
pub mod rusqlite0_42;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(any(feature = "redis", all(feature = "php", unix)))]
mod tombstone;
mod url;

pub use any::AnyStore;
pub(crate) use copied::Copied;
pub use engine::{Applied, Engine, Found, Guard, Write, engine_of};
pub(crate) use erased::ErasedStore;
pub use layered::Layered;
pub use url::open;

/// What an engine or a store says, once it has answered.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// What a store keeps of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The entries, as the dialect wrote them. A store does not look inside.
    pub data: Bytes,
    /// When the visit began.
    pub created: Timestamp,
    /// The idle timeout in whole seconds; `idle_expires` is this much after the session was last opened. Zero: the record does not say, and it is
    /// the manager's.
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
    /// Names the session of a principal across renewals, for lists of devices. Zero: it has no principal.
    pub lineage: u64,
    /// The epoch of its principal that it began in, or everybody's where it has none. `None`: it begins in the present one, which the answer says to
    /// a principal. Without a principal a store may keep it for itself, and `load` gives `None`.
    pub epoch: Option<u64>,
    /// The cookie that it was moved here from could come back until this moment. `None`: there is none.
    pub guarded_until: Option<Timestamp>,
    /// What another framework's layout keeps beside the entries. A record of our own has nothing there, and a store need not keep it.
    pub extra: Bytes,
}

impl Record {
    /// A record that says only when it runs out: nobody's, without an absolute timeout, ending with the browser.
    pub fn new(data: Bytes, created: Timestamp, idle_seconds: u32, idle_expires: Timestamp) -> Self {
        Self {
            data,
            created,
            idle_seconds,
            idle_expires,
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

/// Why a session is dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Logged out, cleared or revoked.
    Ended,
    /// Cleared and begun again, or another user's from then on.
    BegunAgain,
    /// It goes on under another id.
    Renewed {
        /// Where, if requests that still carry the old id may follow for a while. Never after a log-in.
        successor: Option<StoreKey>,
    },
}

/// What a deleted record leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// Why the session is dead.
    pub why: Why,
    /// Tells whoever deleted it from every other: random, 63 bits.
    pub nonce: u64,
    /// When it was made.
    pub made: Timestamp,
    /// It stands until this moment.
    pub until: Timestamp,
}

impl Tombstone {
    /// One that stands for [`GONE_FOR`].
    pub fn new(why: Why, nonce: u64, now: Timestamp) -> Self {
        Self { why, nonce, made: now, until: now.after(GONE_FOR) }
    }

    /// The same, standing at least until `moment`.
    #[must_use]
    pub fn until(mut self, moment: Option<Timestamp>) -> Self {
        self.until = moment.map_or(self.until, |moment| moment.max(self.until));
        self
    }
}

/// One state of a record: random bits of whoever wrote it, or a digest of the content. Never the same for two states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Version(u128);

impl Version {
    /// The version of these bits, of which 63 are kept.
    pub const fn from_bits(bits: u64) -> Self {
        Self((bits & (u64::MAX >> 1)) as u128)
    }

    /// What [`Version::from_bits`] was given.
    pub const fn bits(self) -> u64 {
        self.0 as u64
    }

    /// The version of bytes that have no room for one: the first 120 bits of their SHA-1, which Redis can compute, too.
    ///
    /// # Security
    ///
    /// It tells states of one record apart, and vouches for none. Whoever made two contents with one
    /// digest (2^60 trials) could make a write of their own session overwrite another of theirs.
    pub fn digest(data: &[u8]) -> Self {
        let digest = sha1::Sha1::digest(data);
        let mut bits = [0; 16];
        bits[1..].copy_from_slice(&digest[..15]);
        Self(u128::from_be_bytes(bits) | Self::IS_DIGEST)
    }

    const IS_DIGEST: u128 = 1 << 127;

    /// Whether it says only what is in the record, so that two who wrote the same cannot be told apart.
    pub const fn is_digest(self) -> bool {
        self.0 & Self::IS_DIGEST != 0
    }

    /// The digest's 30 hexadecimal digits.
    #[cfg(any(feature = "redis", all(feature = "php", unix)))]
    pub(crate) fn hex(self) -> String {
        format!("{:030x}", self.0 & !Self::IS_DIGEST)
    }
}

/// What `load` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Load {
    /// A record that has not expired, in this state.
    Found(Record, Version),
    /// A session that was deleted, and whose tombstone stands; or a guarded one that has expired.
    Gone(Tombstone),
    /// Nothing, or something expired.
    Missing,
    /// Something that is no session: only where another framework writes there, too.
    Malformed,
}

/// What stands where a record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The version that the writer gave; of a foreign record, the digest of its data.
    pub version: Version,
    /// The epoch that the record carries; zero without a principal.
    pub epoch: u64,
    /// How many sessions of its principal ended to make room for it, where there is a [`Cap`].
    pub ended: u32,
}

/// How many sessions one principal may have: what a log-in is checked against.
///
/// Counted are the records of the principal that have not expired and are of another lineage than the new one. The check and the write are one
/// step: however many log in at once, no more than `most` live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cap {
    /// So many at most, the new one included.
    pub most: NonZeroU32,
    /// What stands in the place of the oldest (by [`Record::created`]), which make room. `None`: the log-in is refused instead.
    pub end_oldest: Option<Tombstone>,
}

/// What a store tells of sessions that ended, in whatever process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// There is a tombstone now where this session was: it ended, or goes on under another key.
    Of(StoreKey),
    /// Any may have ended: everybody's did, or the store has just begun to listen.
    Any,
}

/// Who is told of endings. It is told in the middle of a store's work: it must be quick, and not ask the store.
pub type TellEnding = Arc<dyn Fn(Ending) + Send + Sync>;

/// What `create` did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Create {
    /// The record stands.
    Created(Written),
    /// A record stands under this key already; nothing was written.
    Exists,
    /// A tombstone stands under this key; nothing was written.
    Gone(Tombstone),
    /// The principal's epoch, or everybody's, was raised since the session began; nothing was written.
    Outdated,
    /// The principal has as many sessions as the [`Cap`] allows; nothing was written.
    Full,
}

/// What `replace` did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replace {
    /// The new record stands, in this state.
    Replaced(Version),
    /// The record has another version; nothing was written.
    Conflict,
    /// There is no such record (any more), and why; `None`: missing or expired. Nothing was written.
    Gone(Option<Tombstone>),
}

/// What `touch` did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touch {
    /// The idle expiry was moved. The version stays.
    Touched,
    /// The record has another version; nothing was written.
    Conflict,
    /// There is no such record (any more), and why; `None`: missing or expired. Nothing was written.
    Gone(Option<Tombstone>),
}

/// What `delete` did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delete {
    /// The record was removed, and its tombstone stands.
    Deleted,
    /// The record has another version than the one given; nothing was removed.
    Conflict,
    /// There was no such record (any more), and why; `None`: missing or expired.
    Gone(Option<Tombstone>),
}

/// What `rename` did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rename {
    /// The record stands under its new key, and the tombstone under the old one.
    Renamed(Written),
    /// The old record has another version than the one given; nothing was written.
    Conflict,
    /// There is no such old record (any more), and why; `None`: missing or expired. Nothing was written.
    Gone(Option<Tombstone>),
    /// The principal's epoch, or everybody's, was raised since the session began; nothing was written.
    Outdated,
    /// The principal has as many sessions as the [`Cap`] allows; nothing was written.
    Full,
}

/// Which sessions of a principal are to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoke {
    /// All that began before.
    All,
    /// All that began before but this lineage, which goes on as if it had begun after. Where it has ended itself, it ends, too.
    AllBut {
        /// Of the session that stays.
        lineage: u64,
        /// The epoch that this session began in; `u64::MAX`: it begins now. Where that has passed, none stays.
        epoch: u64,
    },
    /// This lineage alone. The epoch stays.
    Lineage(u64),
}

/// Where server-side sessions live. The [module page](self) is the contract; `conformance` checks it.
///
/// Time is an argument, so that a store needs no clock and a test needs no waiting.
///
/// # Errors
///
/// Every method fails only where the system failed: no connection, a full disk, a time limit.
pub trait SessionStore: Send + Sync + 'static {
    /// Finds the record under `key`, with its version; or its tombstone.
    fn load(&self, key: &StoreKey, now: Timestamp) -> impl Future<Output = Result<Load, StoreError>> + Send;

    /// Adds a record under a new key, in this version. Never overwrites one, nor a tombstone; an expired one is overwritten, unless it is guarded.
    /// Where something stands there and the epoch is old, too, what stands there is the answer.
    ///
    /// With a cap, a record of a principal is written only where there is room for it, or room is made. Everything else is answered first.
    fn create(
        &self,
        key: &StoreKey,
        version: Version,
        record: Record,
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Create, StoreError>> + Send;

    /// Replaces the record if it still has the version `at`; the new one has `version`. Never creates one.
    fn replace(
        &self,
        key: &StoreKey,
        at: Version,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> impl Future<Output = Result<Replace, StoreError>> + Send;

    /// Moves the idle expiry if the record still has the version `at`. Changes nothing else, never creates one.
    fn touch(
        &self,
        key: &StoreKey,
        at: Version,
        idle_expires: Timestamp,
        now: Timestamp,
    ) -> impl Future<Output = Result<Touch, StoreError>> + Send;

    /// Removes the record, whatever its version or (with `Some`) only in this one, and leaves the tombstone, which stands at least as long
    /// as the record was [guarded](Record::guarded_until).
    ///
    /// Whatever its version, the tombstone stands afterwards also where there was nothing: a `create` that comes later finds it. A
    /// tombstone that was there stays, for as long as the later of both.
    fn delete(
        &self,
        key: &StoreKey,
        at: Option<Version>,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> impl Future<Output = Result<Delete, StoreError>> + Send;

    /// Puts `record`, in this version, under the new key `to`, and the tombstone (as `delete` does) in the place of the record under `from`,
    /// whatever its version or (with `Some`) only in this one. Both or neither. Where something stands under `to` already, it is an error, and
    /// nothing was written. With a cap, as `create` does; the record under `from` is not counted.
    #[allow(clippy::too_many_arguments)] // Each is one fact of one step.
    fn rename(
        &self,
        from: &StoreKey,
        at: Option<Version>,
        to: &StoreKey,
        version: Version,
        record: Record,
        tombstone: Tombstone,
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Rename, StoreError>> + Send;

    /// Tells of every tombstone that is put in a record's place, as soon as it stands, for as long as the task is polled. `None`: this store
    /// cannot tell, and is asked instead, again and again.
    ///
    /// What is told is a hint, and may be missing: whoever is told loads the record. The task holds one connection at most for each server,
    /// connects again by itself, and tells [`Ending::Any`] whenever it has begun to listen.
    fn endings(&self, _tell: TellEnding) -> Option<Task> {
        None
    }

    /// Whether the store answers: what a health check asks. A call that goes all the way to where the sessions are, and costs little.
    ///
    /// The default is a `load` under a random key.
    fn ping(&self, now: Timestamp) -> impl Future<Output = Result<(), StoreError>> + Send {
        async move {
            let mut key = [0; 32];
            let drawn = getrandom::fill(&mut key);
            drawn.map_err(|error| StoreError::new("ping: no random numbers").because(error.to_string()))?;
            self.load(&StoreKey::from_digest(key), now).await.map(drop)
        }
    }

    /// The version that this record has once it is written: the one that was drawn for it, where there is room for it.
    ///
    /// It may note in [`Record::extra`] what will stand beside the entries then: whoever goes on from the record as it was written begins with that.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written at all; the message names the entry.
    fn version(&self, _record: &mut Record, drawn: Version) -> Result<Version, Error> {
        Ok(drawn)
    }

    /// Whether it keeps records of our own.
    ///
    /// # Errors
    ///
    /// Where it keeps those of other frameworks alone; the message says what to use instead.
    fn keeps_own(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// The engine below, for another framework's records of this shape. `None`: it keeps none.
    fn engine(&self, _shape: Shape) -> Option<Arc<dyn Engine>> {
        None
    }

    /// The layout of its records, where they are another framework's.
    fn layout(&self) -> Option<Arc<dyn Layout>> {
        None
    }
}

/// What operators and a list of devices need of a store, beyond what a request needs. A store that cannot list its sessions leaves all of it out.
///
/// # Errors
///
/// Every method fails where the system failed, and where it was left out.
pub trait SessionAdmin: SessionStore {
    /// How many sessions there are that have not expired.
    fn count(&self, _now: Timestamp) -> impl Future<Output = Result<u64, StoreError>> + Send {
        async { Err(left_out()) }
    }

    /// One page of the sessions that have not expired: those of `principal`, or everybody's, after
    /// the key `after` in the store's own stable order. A page shorter than `limit` is the last.
    fn list(
        &self,
        _principal: Option<&str>,
        _after: Option<&StoreKey>,
        _limit: usize,
        _now: Timestamp,
    ) -> impl Future<Output = Result<Vec<(StoreKey, Record, Version)>, StoreError>> + Send {
        async { Err(left_out()) }
    }

    /// The epoch of a principal, or with `None` of everybody: the later of its own and everybody's. Zero: it was never raised.
    fn epoch(&self, _principal: Option<&str>) -> impl Future<Output = Result<u64, StoreError>> + Send {
        async { Ok(0) }
    }

    /// Ends sessions of a principal: their tombstones stand, as `delete` leaves them. Returns how many were deleted.
    ///
    /// When it returns, none of those that began before lives under any key: the epoch is raised and the list taken in one step (but for
    /// one lineage alone, which is found and deleted in one step).
    fn revoke(
        &self,
        _principal: &str,
        _which: Revoke,
        _tombstone: Tombstone,
        _now: Timestamp,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send {
        async { Err(left_out()) }
    }

    /// Ends every session of everybody that began before: the epoch of all is raised. Returns how many were deleted.
    fn revoke_everyone(
        &self,
        _tombstone: Tombstone,
        _now: Timestamp,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send {
        async { Err(left_out()) }
    }

    /// Removes at most `limit` expired records and tombstones, none before its [guard](Record::guarded_until) is over; returns how many. Zero: nothing is left to do.
    fn purge(&self, _limit: usize, _now: Timestamp) -> impl Future<Output = Result<usize, StoreError>> + Send {
        async { Ok(0) }
    }

    /// Whether this process is to [purge](SessionAdmin::purge) now. It is asked from time to time; of several that share a server, one is told so.
    fn claim_purge(&self, _now: Timestamp) -> impl Future<Output = Result<bool, StoreError>> + Send {
        async { Ok(true) }
    }

    /// Whether expired records stay until somebody [purges](SessionAdmin::purge) them. `false` where the server drops them by itself.
    fn needs_purging(&self) -> bool {
        true
    }
}

fn left_out() -> StoreError {
    StoreError::new("this store does not list its sessions, so it cannot find those of a user or of everybody")
}
