//! Sessions in MySQL 8 and later, or MariaDB 10.11 and later: for a site that has such a server already.

mod address;
mod connection;
mod rows;
mod schema;
mod script;
mod statements;
mod steps;

use std::{fmt, sync::Arc, time::Duration};

use mysql_async::Pool;

use self::connection::{Connection, Request};
use super::{
    Cap, Create, Delete, Engine, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreError,
    StoreKey, Timestamp, Tombstone, Touch, Version, engine_of,
};
use crate::layout::Shape;

/// The most rows that one transaction removes.
const PURGED_AT_ONCE: u32 = 500;

/// The most sessions that one transaction ends where everybody's are to end.
const ENDED_AT_ONCE: u32 = 1_000;

/// Keeps sessions in MySQL or MariaDB. A clone is the same store, on the same connections.
///
/// ```no_run
/// use dewar::store::mysql::MysqlStore;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), dewar::store::StoreError> {
/// let store = MysqlStore::open("mysql://dewar:s3cret@127.0.0.1/site")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MysqlStore {
    connection: Connection,
}

/// Asks on one connection, and again where that is safe.
macro_rules! ask {
    ($store:expr, $what:literal, $request:ident, $connection:ident => $call:expr) => {{
        let mut attempts = $store.connection.attempts($what, Request::$request);
        loop {
            let mut lease = attempts.lease().await?;
            let outcome = {
                let $connection = &mut *lease;
                attempts.within($call).await
            };
            if let Some(answer) = attempts.settle(lease, outcome).await? {
                break Ok::<_, StoreError>(answer);
            }
        }
    }};
}

impl MysqlStore {
    /// How long a call waits for its answer unless [set](Self::time_limit): 5 seconds.
    pub const DEFAULT_TIME_LIMIT: Duration = Duration::from_secs(5);

    /// A store at this [address](self#addresses): `mysql://[user[:password]@]host[:port]/database`.
    ///
    /// It connects when it is first asked something, makes its tables then where they are missing, and connects again by itself whenever a
    /// connection was lost. To be told at the start of what is wrong there, [`ping`](SessionStore::ping) it. Call this within a tokio runtime
    /// that has timers and I/O (`enable_all`); that runtime must last as long as the store.
    ///
    /// # Errors
    ///
    /// Where the address cannot be read, a file that it names is no certificate or key, or the runtime has no timers; not where nobody
    /// answers there. A password in the address is never in the message.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let opts = address::parse(url)?;
        Ok(Self { connection: Connection::open(opts, Self::DEFAULT_TIME_LIMIT)? })
    }

    /// Sets how long a call waits for its answer before it fails.
    ///
    /// A write that failed so may have been done nevertheless.
    #[must_use]
    pub fn time_limit(self, limit: Duration) -> Self {
        Self { connection: self.connection.within(limit) }
    }

    pub(crate) fn of_pool(pool: Pool) -> Self {
        Self { connection: Connection::of_pool(pool, Self::DEFAULT_TIME_LIMIT) }
    }
}

/// The statements that make the tables, for a database in which the store's user may not make them. They may be run again.
///
/// ```
/// let sql = dewar::store::mysql::schema_sql();
/// assert!(sql.starts_with("CREATE TABLE IF NOT EXISTS dewar_session"));
/// ```
pub fn schema_sql() -> &'static str {
    schema::SQL
}

impl fmt::Debug for MysqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MysqlStore").field("limit", &self.connection.limit()).finish_non_exhaustive()
    }
}

impl SessionStore for MysqlStore {
    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Load, StoreError> {
        ask!(self, "load", Repeatable, connection => statements::load(connection, key, now))
    }

    async fn create(
        &self,
        key: &StoreKey,
        version: Version,
        record: Record,
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Create, StoreError> {
        ask!(self, "create", Once, connection => steps::create(connection, key, version, &record, cap, now))
    }

    async fn replace(
        &self,
        key: &StoreKey,
        at: Version,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Result<Replace, StoreError> {
        ask!(self, "replace", Once, connection => statements::replace(connection, key, at, version, &record, now))
    }

    async fn touch(
        &self,
        key: &StoreKey,
        at: Version,
        idle_expires: Timestamp,
        now: Timestamp,
    ) -> Result<Touch, StoreError> {
        ask!(self, "touch", Repeatable, connection => statements::touch(connection, key, at, idle_expires, now))
    }

    async fn delete(
        &self,
        key: &StoreKey,
        at: Option<Version>,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<Delete, StoreError> {
        ask!(self, "delete", Once, connection => steps::delete(connection, key, at, &tombstone, now))
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
        let renamed = ask!(self, "rename", Once, connection => {
            steps::rename(connection, from, at, to, version, &record, &tombstone, cap, now)
        })?;
        renamed.ok_or_else(|| StoreError::new("mysql: cannot rename a session: something stands under the new key"))
    }

    async fn ping(&self, _now: Timestamp) -> Result<(), StoreError> {
        ask!(self, "ping", Repeatable, connection => statements::ping(connection))
    }

    fn engine(&self, shape: Shape) -> Option<Arc<dyn Engine>> {
        (shape == Shape::Blob).then(|| engine_of(self.clone()))
    }
}

impl SessionAdmin for MysqlStore {
    async fn count(&self, now: Timestamp) -> Result<u64, StoreError> {
        ask!(self, "count", Repeatable, connection => statements::count(connection, now))
    }

    async fn list(
        &self,
        principal: Option<&str>,
        after: Option<&StoreKey>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(StoreKey, Record, Version)>, StoreError> {
        ask!(self, "list", Repeatable, connection => statements::list(connection, principal, after, limit, now))
    }

    async fn epoch(&self, principal: Option<&str>) -> Result<u64, StoreError> {
        ask!(self, "read the epoch", Repeatable, connection => statements::epoch(connection, principal))
    }

    async fn revoke(
        &self,
        principal: &str,
        which: Revoke,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        ask!(self, "revoke", Once, connection => steps::revoke(connection, principal, which, &tombstone, now))
    }

    /// Where it fails, everybody's epoch may have been raised already, with some sessions not ended yet: call it again.
    async fn revoke_everyone(&self, tombstone: Tombstone, now: Timestamp) -> Result<u64, StoreError> {
        let epoch = ask!(self, "revoke everyone", Repeatable, connection => steps::raise_everyones(connection, now))?;
        let (mut count, mut last) = (0, Vec::new());
        loop {
            let ended = ask!(self, "revoke everyone", Once, connection => {
                steps::end_begun_before(connection, epoch, &last, ENDED_AT_ONCE, &tombstone, now)
            })?;
            let Some((ended, id)) = ended else { return Ok(count) };
            count += ended;
            last = id;
        }
    }

    async fn purge(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        let mut purged = 0;
        while purged < limit {
            let most = PURGED_AT_ONCE.min(u32::try_from(limit - purged).unwrap_or(u32::MAX));
            let (met, removed) = ask!(self, "purge", Repeatable, connection => steps::purge(connection, most, now))?;
            purged += removed;
            // Those that leave a tombstone are no part of the limit: each is met once.
            if met < most {
                break;
            }
        }
        Ok(purged)
    }

    /// Once a minute, for one of all that share the database.
    async fn claim_purge(&self, now: Timestamp) -> Result<bool, StoreError> {
        ask!(self, "claim the purge", Once, connection => statements::claim_purge(connection, now))
    }
}
