//! Sessions in MySQL 8 and later, or MariaDB 10.11 and later: for a site that has such a server already.
//!
//! What was confirmed is in the server's transaction log. A row of `dewar_session` is a session, found by its key; each verb is one
//! transaction. A call holds one connection of a pool from its question to its answer.
//!
//! | call | round trips |
//! | --- | --- |
//! | `load`, `replace`, `touch`, `delete`, `create`, `list`, `count`, `epoch` | 1 |
//! | `revoke`, each 500 rows of `purge` | 2 |
//! | `rename`; `create` under a [`Cap`]; `replace` that gives a record to a principal | 3 |
//! | `revoke_everyone` | 3, and 4 for each 1000 sessions |
//!
//! That is where nothing unusual is met: a verb that was in vain asks once more, to say why; the first call on a connection prepares its
//! statement; the first session of a principal adds the principal's row to `dewar_epoch`.
//!
//! # Addresses
//!
//! `mysql://[user[:password]@]host[:port]/database`, or `mariadb://` with the same meaning. What a URL has no room for is written as `%2F` and so on. Behind a
//! question mark, joined by `&`:
//!
//! | setting | |
//! | --- | --- |
//! | `connections=10` | the most connections of this process. Ten is the default: with ten processes they fit into the 151 that a server gives unless it is told otherwise (`max_connections`) |
//! | `ssl-mode=verify-identity` | TLS, and the certificate must be for the host in the address, signed by an authority that Mozilla trusts or by that of `ssl-ca`. The default, unless the host is `localhost` or another loopback address |
//! | `ssl-mode=disabled` | no TLS: where nobody else can listen. The default for loopback. The password is not sent in the clear, but whoever is between can pose as the server |
//! | `ssl-name=NAME` | the certificate must be for this name instead: behind a tunnel, for example |
//! | `ssl-ca=FILE` | the only authorities that are trusted, in PEM |
//! | `ssl-cert=FILE&ssl-key=FILE` | our own certificate and its key, in PEM, for `REQUIRE X509` |
//!
//! # Tables and rights
//!
//! The store makes `dewar_session`, `dewar_epoch` and `dewar_schema` when it is first asked, in the database of the address; of several processes one does it. A user without the
//! right to is refused, unless somebody ran what [`schema_sql`] returns. Beyond that the user needs:
//!
//! ```text
//! GRANT SELECT, INSERT, UPDATE, DELETE ON site.* TO dewar@'%'
//! ```
//!
//! Tables of somebody else's with these names, of a later release, or of an engine other than InnoDB are refused with what to do. A release adds columns and
//! tables and changes none, so that the one before goes on beside it while a site is deployed.
//!
//! The server's defaults for a session do not matter (`sql_mode`, time zone, isolation, `completion_type` and the like): each connection is set up once. `binlog_format` has to be `ROW` or `MIXED`, as it is unless it was changed. A session
//! has to fit into `max_allowed_packet` (16 MB on MariaDB, 64 MB on MySQL, unless changed). A name of another framework's has at most 768 bytes, a principal 1024: nothing is written under a longer one, and it has no sessions.
//!
//! # Clocks
//!
//! The clocks of the application's machines decide what has expired; the server's is never asked. Where several machines share the sessions, keep
//! their clocks together (NTP): a session expires on one of them as much earlier as its clock is ahead.
//!
//! # What can be lost
//!
//! With `innodb_flush_log_at_trx_commit=1` and, where there is a binary log, `sync_binlog=1`, nothing that was confirmed is lost in a crash of the server or its machine. Both are
//! MySQL's defaults; MariaDB's `sync_binlog` is 0. With 2 or 0 in the former a crash may lose about the last second.
//!
//! A fail-over to an asynchronous replica loses what the replica had not received: a log-out of that moment may be undone, and so may a revocation. Reads go to the
//! server at the address alone, never to replicas. One server is written to at a time: in a Galera or group cluster with several writers, the locks
//! that make a revocation and a cap exact hold on each member alone.
//!
//! # Faults
//!
//! | the server | what happens |
//! | --- | --- |
//! | closed idle connections (`wait_timeout`), or was restarted while nobody asked | nothing: each connection is looked at before it is used, and replaced |
//! | closes a connection in the middle of a call | what only reads, and what done twice is as done once, is asked again on another; of a write nobody knows whether it was done: an error, and the manager looks |
//! | is down | an error at once; the next call after its return works |
//! | does not answer (`SIGSTOP`, a network that swallows) | an error after the [time limit](MysqlStore::time_limit) |
//! | has no connection left (`max_connections`) | an error that says so; where all of ours are in use, a call waits for one as long as the time limit says |
//! | reports a deadlock, or that a lock was waited for too long (2 seconds) | the call begins again, at most eight times within the time limit |
//! | became read-only (fail-over) | its connections are dropped, and the write is asked once more at the same address, once a second at most; until a write was refused, reads are answered with what it has |
//! | is asked for more than `max_allowed_packet` | an error that says so; nothing was written |
//! | lost its tables | an error; the next call makes them |
//!
//! A call whose future is dropped leaves nothing behind for the next: its connection is closed or reset before anybody else has it, and its transaction is
//! rolled back. A write that was sent may be done nevertheless.

mod address;
mod connection;
mod rows;
mod schema;
mod script;
mod statements;
mod steps;
mod table;

use std::{fmt, sync::Arc, time::Duration};

use mysql_async::Pool;

use self::connection::{Connection, Request};
use super::{
    Cap, Create, Delete, Engine, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreError,
    StoreKey, Timestamp, Tombstone, Touch, Version, engine_of, rows::Rows,
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
    ($store:expr, $what:expr, $request:ident, $connection:ident => $call:expr) => {{
        let mut attempts = $store.connection.attempts($what, Request::$request);
        loop {
            let mut lease = attempts.lease().await?;
            let outcome = {
                let $connection = &mut lease;
                attempts.within($call).await
            };
            if let Some(answer) = attempts.settle(lease, outcome).await? {
                break Ok::<_, StoreError>(answer);
            }
        }
    }};
}
use ask;

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
    &schema::SQL
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
        ask!(self, "replace", Once, connection => steps::replace(connection, key, at, version, &record, now))
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
        Some(match shape {
            Shape::Blob => engine_of(self.clone()),
            Shape::Row(table) => Arc::new(Rows::new(self.clone(), table)),
        })
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
