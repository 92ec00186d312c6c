//! A store by its address: the one line that a configuration holds.

use std::sync::Arc;

use super::{
    Cap, Create, Delete, Engine, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreError,
    StoreKey, TellEnding, Timestamp, Tombstone, Touch, Version, memory::MemoryStore,
};
use crate::{layout::Shape, runtime::Task};

/// Opens the store at this address.
///
/// | address | store |
/// | --- | --- |
/// | `memory:` | this process's memory; `memory:?max_entries=10000&max_bytes=67108864` bounds it |
/// | `sqlite:FILE` | an SQLite file, made where it is missing: `sqlite:sessions.db`, `sqlite:///var/lib/site/sessions.db` |
/// | `redis://HOST`, also `rediss:`, `redis+unix:`, `valkey:`, … | Redis or Valkey; connected to when first asked |
///
/// `sqlite::memory:` is refused, and so is whatever else is no file to SQLite: it is `memory:`.
///
/// Call it when the application starts, within its runtime: SQLite waits for the disk here.
///
/// # Errors
///
/// Where the address cannot be read, the feature it needs is not enabled, or the file cannot be
/// opened. A password in the address is never in the message.
///
/// ```
/// use dewar::store;
///
/// let store = store::open("memory:?max_entries=10000")?;
/// # Ok::<(), store::StoreError>(())
/// ```
pub fn open(url: &str) -> Result<AnyStore, StoreError> {
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(StoreError::new("a store's URL begins with memory:, sqlite: or redis:"));
    };
    match scheme {
        "memory" => memory(rest).map(AnyStore::Memory),
        "sqlite" => sqlite(rest),
        "redis" | "rediss" | "redis+unix" | "unix" | "valkey" | "valkeys" | "valkey+unix" => redis(url),
        _ => Err(StoreError::new("a store's URL begins with memory:, sqlite: or redis:, not with another scheme")),
    }
}

/// A store of one of the kinds that [`open`] knows.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AnyStore {
    /// `memory:`
    Memory(MemoryStore),
    /// `sqlite:FILE`
    #[cfg(feature = "sqlite")]
    Sqlite(super::sqlite::SqliteStore),
    /// `redis://HOST`
    #[cfg(feature = "redis")]
    Redis(super::redis::RedisStore),
}

fn memory(rest: &str) -> Result<MemoryStore, StoreError> {
    let mut store = MemoryStore::new();
    let Some(settings) = rest.strip_prefix('?') else {
        return if rest.is_empty() { Ok(store) } else { Err(StoreError::new("memory: has no path, only settings")) };
    };
    for setting in settings.split('&') {
        let parsed = setting.split_once('=').and_then(|(name, value)| Some((name, value.parse::<usize>().ok()?)));
        store = match parsed {
            Some(("max_entries", count)) if count > 0 => store.max_entries(count),
            Some(("max_bytes", bytes)) if bytes > 0 => store.max_bytes(bytes),
            _ => {
                let message = format!("memory: cannot read {setting:?}: expected max_entries=N or max_bytes=N");
                return Err(StoreError::new(message));
            }
        };
    }
    Ok(store)
}

#[cfg(feature = "sqlite")]
fn sqlite(rest: &str) -> Result<AnyStore, StoreError> {
    let file = rest.strip_prefix("//").unwrap_or(rest);
    super::sqlite::check_name(file.as_ref())?;
    if file.contains('?') {
        return Err(StoreError::new("sqlite: the URL is sqlite: and a file, without settings: sqlite:sessions.db"));
    }
    super::sqlite::SqliteStore::open(file).map(AnyStore::Sqlite)
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(_rest: &str) -> Result<AnyStore, StoreError> {
    Err(StoreError::new("the feature `sqlite` is not enabled: cargo add dewar --features sqlite"))
}

#[cfg(feature = "redis")]
fn redis(url: &str) -> Result<AnyStore, StoreError> {
    super::redis::RedisStore::open(url).map(AnyStore::Redis)
}

#[cfg(not(feature = "redis"))]
fn redis(_url: &str) -> Result<AnyStore, StoreError> {
    Err(StoreError::new("the feature `redis` is not enabled: cargo add dewar --features redis"))
}

/// Does the same with the store inside, whichever it is.
macro_rules! each {
    ($any:expr, $store:ident => $call:expr) => {
        match $any {
            AnyStore::Memory($store) => $call.await,
            #[cfg(feature = "sqlite")]
            AnyStore::Sqlite($store) => $call.await,
            #[cfg(feature = "redis")]
            AnyStore::Redis($store) => $call.await,
        }
    };
}

impl SessionStore for AnyStore {
    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Load, StoreError> {
        each!(self, store => store.load(key, now))
    }

    async fn create(
        &self,
        key: &StoreKey,
        version: Version,
        record: Record,
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Create, StoreError> {
        each!(self, store => store.create(key, version, record, cap, now))
    }

    async fn replace(
        &self,
        key: &StoreKey,
        at: Version,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Result<Replace, StoreError> {
        each!(self, store => store.replace(key, at, version, record, now))
    }

    async fn touch(
        &self,
        key: &StoreKey,
        at: Version,
        idle_expires: Timestamp,
        now: Timestamp,
    ) -> Result<Touch, StoreError> {
        each!(self, store => store.touch(key, at, idle_expires, now))
    }

    async fn delete(
        &self,
        key: &StoreKey,
        at: Option<Version>,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<Delete, StoreError> {
        each!(self, store => store.delete(key, at, tombstone, now))
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
        each!(self, store => store.rename(from, at, to, version, record, tombstone, cap, now))
    }

    async fn ping(&self, now: Timestamp) -> Result<(), StoreError> {
        each!(self, store => store.ping(now))
    }

    fn endings(&self, tell: TellEnding) -> Option<Task> {
        match self {
            Self::Memory(store) => store.endings(tell),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => store.endings(tell),
            #[cfg(feature = "redis")]
            Self::Redis(store) => store.endings(tell),
        }
    }

    fn engine(&self, shape: Shape) -> Option<Arc<dyn Engine>> {
        match self {
            Self::Memory(store) => store.engine(shape),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => store.engine(shape),
            #[cfg(feature = "redis")]
            Self::Redis(store) => store.engine(shape),
        }
    }
}

impl SessionAdmin for AnyStore {
    async fn count(&self, now: Timestamp) -> Result<u64, StoreError> {
        each!(self, store => store.count(now))
    }

    async fn list(
        &self,
        principal: Option<&str>,
        after: Option<&StoreKey>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(StoreKey, Record, Version)>, StoreError> {
        each!(self, store => store.list(principal, after, limit, now))
    }

    async fn epoch(&self, principal: Option<&str>) -> Result<u64, StoreError> {
        each!(self, store => store.epoch(principal))
    }

    async fn revoke(
        &self,
        principal: &str,
        which: Revoke,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        each!(self, store => store.revoke(principal, which, tombstone, now))
    }

    async fn revoke_everyone(&self, tombstone: Tombstone, now: Timestamp) -> Result<u64, StoreError> {
        each!(self, store => store.revoke_everyone(tombstone, now))
    }

    async fn purge(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        each!(self, store => store.purge(limit, now))
    }

    async fn claim_purge(&self, now: Timestamp) -> Result<bool, StoreError> {
        each!(self, store => store.claim_purge(now))
    }

    fn needs_purging(&self) -> bool {
        match self {
            Self::Memory(store) => store.needs_purging(),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => store.needs_purging(),
            #[cfg(feature = "redis")]
            Self::Redis(store) => store.needs_purging(),
        }
    }
}
