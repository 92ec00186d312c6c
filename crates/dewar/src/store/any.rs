//! A store of whatever kind an address names.

use std::sync::Arc;

use super::{
    Cap, Create, Delete, Engine, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreError,
    StoreKey, TellEnding, Timestamp, Tombstone, Touch, Version, memory::MemoryStore,
};
use crate::{layout::Shape, runtime::Task};

/// A store of one of the kinds that [`open`](super::open) knows.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AnyStore {
    /// `memory:`
    Memory(MemoryStore),
    /// `sqlite:FILE`
    #[cfg(feature = "sqlite")]
    Sqlite(super::sqlite::SqliteStore),
    /// `postgres://HOST/DATABASE`
    #[cfg(feature = "postgres")]
    Postgres(super::postgres::PostgresStore),
    /// `mysql://HOST/DATABASE`
    #[cfg(feature = "mysql")]
    Mysql(super::mysql::MysqlStore),
    /// `redis://HOST`
    #[cfg(feature = "redis")]
    Redis(super::redis::RedisStore),
    /// `files:FOLDER`
    #[cfg(all(feature = "php", unix))]
    Files(super::files::FilesStore),
}

impl AnyStore {
    /// The SQL that makes its tables, for whoever does not allow the application to: of PostgreSQL and MySQL. `None`: nothing has to be made.
    ///
    /// ```
    /// # fn main() -> Result<(), dewar::store::StoreError> {
    /// let store = dewar::store::open("memory:")?;
    /// assert_eq!(store.schema_sql(), None);
    /// # Ok(())
    /// # }
    /// ```
    pub fn schema_sql(&self) -> Option<String> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => Some(store.schema_sql()),
            #[cfg(feature = "mysql")]
            Self::Mysql(_) => Some(super::mysql::schema_sql().into()),
            _ => None,
        }
    }
}

/// Does the same with the store inside, whichever it is.
macro_rules! each {
    ($any:expr, $store:ident => $does:expr) => {
        match $any {
            AnyStore::Memory($store) => $does,
            #[cfg(feature = "sqlite")]
            AnyStore::Sqlite($store) => $does,
            #[cfg(feature = "postgres")]
            AnyStore::Postgres($store) => $does,
            #[cfg(feature = "mysql")]
            AnyStore::Mysql($store) => $does,
            #[cfg(feature = "redis")]
            AnyStore::Redis($store) => $does,
            #[cfg(all(feature = "php", unix))]
            AnyStore::Files($store) => $does,
        }
    };
}

impl SessionStore for AnyStore {
    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Load, StoreError> {
        each!(self, store => store.load(key, now).await)
    }

    async fn create(
        &self,
        key: &StoreKey,
        version: Version,
        record: Record,
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Create, StoreError> {
        each!(self, store => store.create(key, version, record, cap, now).await)
    }

    async fn replace(
        &self,
        key: &StoreKey,
        at: Version,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Result<Replace, StoreError> {
        each!(self, store => store.replace(key, at, version, record, now).await)
    }

    async fn touch(
        &self,
        key: &StoreKey,
        at: Version,
        idle_expires: Timestamp,
        now: Timestamp,
    ) -> Result<Touch, StoreError> {
        each!(self, store => store.touch(key, at, idle_expires, now).await)
    }

    async fn delete(
        &self,
        key: &StoreKey,
        at: Option<Version>,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<Delete, StoreError> {
        each!(self, store => store.delete(key, at, tombstone, now).await)
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
        each!(self, store => store.rename(from, at, to, version, record, tombstone, cap, now).await)
    }

    async fn ping(&self, now: Timestamp) -> Result<(), StoreError> {
        each!(self, store => store.ping(now).await)
    }

    fn endings(&self, tell: TellEnding) -> Option<Task> {
        each!(self, store => store.endings(tell))
    }

    fn keeps_own(&self) -> Result<(), StoreError> {
        each!(self, store => store.keeps_own())
    }

    fn engine(&self, shape: Shape) -> Option<Arc<dyn Engine>> {
        each!(self, store => store.engine(shape))
    }
}

impl SessionAdmin for AnyStore {
    async fn count(&self, now: Timestamp) -> Result<u64, StoreError> {
        each!(self, store => store.count(now).await)
    }

    async fn list(
        &self,
        principal: Option<&str>,
        after: Option<&StoreKey>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(StoreKey, Record, Version)>, StoreError> {
        each!(self, store => store.list(principal, after, limit, now).await)
    }

    async fn epoch(&self, principal: Option<&str>) -> Result<u64, StoreError> {
        each!(self, store => store.epoch(principal).await)
    }

    async fn revoke(
        &self,
        principal: &str,
        which: Revoke,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        each!(self, store => store.revoke(principal, which, tombstone, now).await)
    }

    async fn revoke_everyone(&self, tombstone: Tombstone, now: Timestamp) -> Result<u64, StoreError> {
        each!(self, store => store.revoke_everyone(tombstone, now).await)
    }

    async fn purge(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        each!(self, store => store.purge(limit, now).await)
    }

    async fn claim_purge(&self, now: Timestamp) -> Result<bool, StoreError> {
        each!(self, store => store.claim_purge(now).await)
    }

    fn needs_purging(&self) -> bool {
        each!(self, store => store.needs_purging())
    }
}
