//! Sessions in Redis 7 or Valkey: for a site of several machines.
//!
//! One key holds a session: `dewar:` and 43 characters, a string with a TTL, so the server itself
//! lets expired sessions go. A load, a replace, a touch and a delete are one round trip each.
//! How much a crash of the server loses is the server's setting: nothing that was confirmed with
//! `appendonly yes` and `appendfsync always`, up to a second of it with `everysec`, and all since
//! the last snapshot without an append-only file; a fail-over may lose what the replica had not
//! yet received. Set `maxmemory-policy` to `noeviction` or `volatile-lru`, knowing that an evicted session is a
//! person logged out.
//!
//! A [foreign](StoreKey::is_foreign) key is a string that holds the data and nothing else, as
//! `SET key value EX seconds` leaves it; its version is [`Version::sha1`] of the data.
//!
//! `count` and `list` of everybody go through all keys of the database (`SCAN`), each page anew:
//! they are for an operator, not for a request. `list` of a principal reads an index, and costs
//! what that person has of sessions.

mod connection;
mod index;
mod layout;
mod scripts;

use std::time::Duration;

use redis::{Script, ScriptInvocation, aio::ConnectionManager, cmd, pipe};

use self::{
    connection::{Connection, Request},
    scripts::{CONFLICT, DONE, GONE, UNINDEXED},
};
use super::{
    Create, Delete, GONE_FOR, Load, Record, Replace, SessionAdmin, SessionStore, StoreError, StoreKey, Timestamp,
    Touch, Version,
};

/// The longest TTL, a hundred years, in milliseconds: Redis refuses what overflows its clock.
const FOREVER: u64 = 100 * 365 * 24 * 3600 * 1000;

/// Keeps sessions in Redis or Valkey. A clone is the same store, on the same connection.
///
/// ```no_run
/// use dewar::store::redis::RedisStore;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), dewar::store::StoreError> {
/// let store = RedisStore::open("redis://127.0.0.1/")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RedisStore(Connection);

impl RedisStore {
    /// How long a call waits for its answer unless [set](Self::time_limit): 5 seconds.
    pub const DEFAULT_TIME_LIMIT: Duration = Duration::from_secs(5);

    /// A store at this address: `redis://[[user]:password@]host[:port][/database]`.
    ///
    /// It connects when it is first asked something, and again by itself whenever the connection
    /// was lost. Call it within a tokio runtime.
    ///
    /// # Errors
    ///
    /// Where the address cannot be read; not where nobody answers there.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        Connection::open(url, Self::DEFAULT_TIME_LIMIT).map(Self)
    }

    /// Sets how long a call waits for its answer before it fails.
    ///
    /// A write that failed so may have been done nevertheless.
    #[must_use]
    pub fn time_limit(self, limit: Duration) -> Self {
        Self(self.0.within(limit))
    }

    pub(crate) fn with_manager(manager: ConnectionManager) -> Self {
        Self(Connection::new(manager, Self::DEFAULT_TIME_LIMIT))
    }

    async fn run(&self, what: &str, script: &ScriptInvocation<'_>) -> Result<i64, StoreError> {
        self.0.ask(what, Request::Script(script)).await
    }

    async fn load_foreign(&self, key: &StoreKey, now: Timestamp) -> Result<Load, StoreError> {
        let name = key.to_string();
        let mut reads = pipe();
        reads.cmd("GET").arg(&name).cmd("PTTL").arg(&name);
        let (data, ttl): (Option<Vec<u8>>, i64) = self.0.ask("load", Request::Reads(&reads)).await?;
        let Some(data) = data else { return Ok(Load::Missing) };
        // Without a TTL it never expires; one that expired between the two commands has a TTL of -2.
        let ttl = match ttl {
            -1 => Duration::MAX,
            ttl => Duration::from_millis(u64::try_from(ttl).unwrap_or(0)),
        };
        let version = Version::sha1(&data);
        let record = Record {
            data: data.into(),
            created: now,
            idle_seconds: u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX),
            idle_expires: now.after(ttl),
            absolute_expires: None,
            persistent: false,
            principal: None,
            label: None,
        };
        Ok(if record.is_expired(now) { Load::Missing } else { Load::Found(record, version) })
    }

    async fn create_foreign(&self, key: &StoreKey, record: Record, now: Timestamp) -> Result<Create, StoreError> {
        let ttl = seconds(record.expires(), now);
        let set = cmd("SET").arg(key.to_string()).arg(&*record.data).arg("NX").arg("EX").arg(ttl).take();
        let is_created: bool = self.0.ask("create", Request::Write(&set)).await?;
        Ok(if is_created { Create::Created(Version::sha1(&record.data)) } else { Create::Exists })
    }

    async fn replace_own(
        &self,
        key: &StoreKey,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Result<Replace, StoreError> {
        let next = Version::counter(version.count().wrapping_add(1));
        let bytes = layout::encode(&record, next);
        let replace = |principal: &[u8]| {
            let mut script = at(&scripts::REPLACE, key, now, Some(version));
            script.arg(&bytes).arg(millis(record.expires(), now)).arg(principal);
            script
        };
        let principal = record.principal.as_deref();
        let known = if principal.is_some() { layout::principal(&record) } else { Vec::new() };
        let mut done = self.run("replace", &replace(&known)).await?;
        if let (UNINDEXED, Some(principal)) = (done, principal) {
            self.0.index(principal, key, now).await?;
            done = self.run("replace", &replace(b"")).await?;
        }
        replaced(done, next)
    }

    async fn replace_foreign(
        &self,
        key: &StoreKey,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Result<Replace, StoreError> {
        let mut script = of(&scripts::REPLACE_FOREIGN, key, Some(version));
        script.arg(&*record.data).arg(seconds(record.expires(), now));
        replaced(self.run("replace", &script).await?, Version::sha1(&record.data))
    }
}

impl SessionStore for RedisStore {
    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Load, StoreError> {
        if key.is_foreign() {
            return self.load_foreign(key, now).await;
        }
        let bytes: Option<Vec<u8>> = self.0.ask("load", Request::Read(cmd("GET").arg(key.to_string()))).await?;
        bytes.map_or(Ok(Load::Missing), |bytes| layout::decode(bytes, now))
    }

    async fn create(&self, key: &StoreKey, record: Record, now: Timestamp) -> Result<Create, StoreError> {
        if key.is_foreign() {
            return self.create_foreign(key, record, now).await;
        }
        if let Some(principal) = record.principal.as_deref() {
            self.0.index(principal, key, now).await?;
        }
        // Begun from the clock, a version is never given again to a key whose record expired.
        let version = Version::counter(now.as_millis() << 16);
        let mut script = scripts::CREATE.key(key.to_string());
        script.arg(now.as_millis()).arg(layout::encode(&record, version)).arg(millis(record.expires(), now));
        match self.run("create", &script).await? {
            DONE => Ok(Create::Created(version)),
            _ => Ok(Create::Exists),
        }
    }

    async fn replace(
        &self,
        key: &StoreKey,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Result<Replace, StoreError> {
        match key.is_foreign() {
            true => self.replace_foreign(key, version, record, now).await,
            false => self.replace_own(key, version, record, now).await,
        }
    }

    async fn touch(
        &self,
        key: &StoreKey,
        version: Version,
        idle_expires: Timestamp,
        now: Timestamp,
    ) -> Result<Touch, StoreError> {
        let mut script;
        if key.is_foreign() {
            script = of(&scripts::TOUCH_FOREIGN, key, Some(version));
            script.arg(seconds(idle_expires, now));
        } else {
            script = at(&scripts::TOUCH, key, now, Some(version));
            script.arg(idle_expires.as_millis()).arg(&idle_expires.as_millis().to_be_bytes()[..]).arg(FOREVER);
        }
        match self.run("touch", &script).await? {
            GONE => Ok(Touch::Gone),
            CONFLICT => Ok(Touch::Conflict),
            DONE => Ok(Touch::Touched),
            other => Err(unknown(other)),
        }
    }

    async fn delete(&self, key: &StoreKey, version: Option<Version>, now: Timestamp) -> Result<Delete, StoreError> {
        let mut script;
        if key.is_foreign() {
            script = of(&scripts::DELETE_FOREIGN, key, version);
        } else {
            script = at(&scripts::DELETE, key, now, version);
            script.arg(layout::mark(now)).arg(GONE_FOR.as_millis() as u64);
        }
        match self.run("delete", &script).await? {
            GONE => Ok(Delete::Gone),
            CONFLICT => Ok(Delete::Conflict),
            DONE => Ok(Delete::Deleted),
            other => Err(unknown(other)),
        }
    }
}

impl SessionAdmin for RedisStore {
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
        let after = after.map(StoreKey::digest);
        match principal {
            Some(principal) => self.0.list_of(principal, after, limit, now).await,
            None => self.0.list_all(after, limit, now).await,
        }
    }

    /// Records and marks go away by themselves; what is removed is what the index of principals
    /// still names of them. It goes through all keys: once a day is plenty.
    async fn purge(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.0.purge(limit, now).await
    }

    /// The server drops what has expired; [`purge`](SessionAdmin::purge) walks all keys to tidy the index, for whoever asks for it.
    fn needs_purging(&self) -> bool {
        false
    }
}

/// A script on a record of our own, at a version or any.
fn at<'a>(script: &'a Script, key: &StoreKey, now: Timestamp, version: Option<Version>) -> ScriptInvocation<'a> {
    let mut script = script.key(key.to_string());
    let version = version.map(|version| version.count().to_be_bytes());
    script.arg(now.as_millis()).arg(version.as_ref().map_or(&[][..], |version| &version[..]));
    script
}

/// A script on a foreign record, of a digest or any.
fn of<'a>(script: &'a Script, key: &StoreKey, version: Option<Version>) -> ScriptInvocation<'a> {
    let mut script = script.key(key.to_string());
    script.arg(version.map(|version| format!("{:032x}", version.bits())).unwrap_or_default());
    script
}

fn replaced(done: i64, version: Version) -> Result<Replace, StoreError> {
    match done {
        GONE => Ok(Replace::Gone),
        CONFLICT => Ok(Replace::Conflict),
        DONE => Ok(Replace::Replaced(version)),
        other => Err(unknown(other)),
    }
}

fn unknown(answer: i64) -> StoreError {
    StoreError::new(format!("redis: a script gave the unknown answer {answer}"))
}

/// A TTL counts from the caller's now, so that a server's clock that goes wrong does no harm. One
/// of zero would be refused, and the record says itself that it has expired.
fn millis(expires: Timestamp, now: Timestamp) -> u64 {
    (expires.as_millis().saturating_sub(now.as_millis())).clamp(1, FOREVER)
}

fn seconds(expires: Timestamp, now: Timestamp) -> u64 {
    millis(expires, now).div_ceil(1000)
}
