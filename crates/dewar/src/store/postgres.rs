//! Sessions in PostgreSQL 13 and later: for a site that has a database.
//!
//! What was confirmed is committed: it stays where the server is killed, with the server's own settings (`fsync`, `synchronous_commit`). Every call
//! is one statement, one transaction and one round trip, also behind PgBouncer in transaction mode. Sessions, tombstones and epochs are in a schema of
//! their own, `dewar`, which the store makes when it is first asked something.
//!
//! The application servers' clocks decide what has expired, not the database's: each call says when it is.
//!
//! # Addresses
//!
//! `postgres://user:password@host:port/database?setting=value`, as libpq has them. Several hosts are `db1:5432,db2:5432`, a Unix socket is
//! `postgres:///app?host=/var/run/postgresql`. What is special in a password is written `%40`.
//!
//! | setting | |
//! | --- | --- |
//! | `pool=16` | how many connections at most |
//! | `schema=dewar` | the name of the schema: `a-z`, `0-9` and `_` |
//! | `unlogged=true` | [sessions that a crash takes](#unlogged) |
//! | `sslmode=` | `verify-full`, the default where a host is not this machine; `disable`, the default on a loopback address or a socket |
//! | `sslrootcert=FILE` | the authorities to trust instead of the system's, in PEM |
//! | `sslcert=FILE`, `sslkey=FILE` | the certificate to show, with its key |
//! | libpq's own | `application_name`, `channel_binding`, `connect_timeout`, `host`, `hostaddr`, `keepalives...`, `options`, `password`, `port`, `sslnegotiation`, `target_session_attrs`, `tcp_user_timeout`, `user`, `dbname` |
//!
//! # Security
//!
//! What is encrypted is verified: certificate, authority and name of the host. `require` and `verify-ca`, which check less elsewhere, mean `verify-full` here;
//! `allow` and `prefer`, which let whoever is between turn the encryption off, are refused. A certificate that your own authority signed needs `sslrootcert`.
//!
//! A database has SHA-256 digests of the ids that cookies carry, never the ids; what sessions hold is readable there, and so are the names of users.
//!
//! # Rights
//!
//! The owner of the schema may do everything. A user who only uses it needs no more than:
//!
//! ```sql
//! GRANT USAGE ON SCHEMA dewar TO app;
//! GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA dewar TO app;
//! -- Only where PUBLIC may not by default (ALTER DEFAULT PRIVILEGES):
//! GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA dewar TO app;
//! ```
//!
//! [`ping`](SessionStore::ping) looks whether they are there. Nothing that another user of the database may do stands in the way: the store takes locks
//! on its own tables alone, and names what it calls so that no function or operator of another schema is called instead.
//!
//! [`PostgresStore::schema_sql`] prints what the owner runs, where the application may not make a schema: the error of the first call says so. A schema that is there
//! and empty is filled. Tables that this library did not make are refused, and left alone.
//!
//! # Versions of the schema
//!
//! Two releases run side by side while a site is being deployed: a later one only adds tables, columns, and functions under new names (`create_1`), and
//! writes down which is the oldest release that may go on. Tables of an earlier version are brought up to date by the first process that may; where the
//! application may not, the owner runs what `schema_sql` prints before. One that is older than that refuses to begin. Several processes that start at once make the schema once.
//!
//! # Poolers
//!
//! Nothing is kept on a connection from one call to the next but statements. The frequent statements are prepared on each connection that leads to the server itself, because
//! planning them each time costs more than running them. A connection leads to the server itself where the process that answers is the one that the connection's own
//! cancellation key names; PgBouncer and its like give a key of their own, and get unnamed statements.
//!
//! [Endings](SessionStore::endings) are told of by `LISTEN`, on one connection of its own. PgBouncer in transaction mode delivers nothing to it: there they are not told of. A commit that notifies
//! waits for every other that does, in the whole server; so nobody notifies unless somebody listens.
//!
//! # Unlogged
//!
//! `unlogged=true` makes the table of sessions without a write-ahead log: a write takes between a tenth and two thirds of the time, measured on a busy machine (`bench/run stores`). After a crash of the server it is empty, and everybody is logged out; a replica
//! has none of it, so that a fail-over begins empty, too. Epochs are logged all the same. Tables of the one kind are refused by a process that is set to the other.
//!
//! # Faults
//!
//! | under a running application | what happens |
//! | --- | --- |
//! | the server starts again, or a connection is lost | the next call connects anew; what only reads, and what done twice is as done once, is asked again. A write of which nobody knows whether it was done is an error; the manager looks it up |
//! | it does not answer | an error after [the time limit](PostgresStore::time_limit); the server is asked to stop what it was doing, and the connection is closed |
//! | all its connections are taken | an error that says so, until one is free |
//! | a step collides with another (deadlock, serialization) | it was undone, and is begun again |
//! | the disk is full | errors for what writes; pages that only read keep their sessions |
//! | a host is gone, or only reads | the next host is asked; each has 2 seconds, unless the address says `connect_timeout` |
//! | the server became a replica (`25006`) | its connections are closed, the hosts asked anew, and the call once more |
//! | a fail-over to a synchronous replica | errors until it is promoted, then nothing is lost that was confirmed |
//! | a fail-over to an asynchronous one | **what it had not received is lost**: sessions, and log-outs, too, which live again. Where that must not be, set `synchronous_standby_names` |
//! | a former primary that was cut off goes on and takes writes | two databases; it is for the cluster's manager to stop it |
//! | the schema is dropped, or a backup is restored | an empty schema is made, or the sessions of the backup live again, and log-outs since then are forgotten: run [`revoke_everyone`](crate::SessionManager::revoke_everyone) |
//!
//! The database's isolation has to be READ COMMITTED, which it is unless somebody changed the default; another is refused by the calls that depend on it.
//!
//! Expired rows are removed every minute by one of all processes, 1,000 in a transaction, and none that somebody is writing.

mod address;
mod connection;
mod direct;
mod endings;
mod failure;
mod rows;
mod schema;
mod servers;
mod table;
mod tls;

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use tokio_postgres::Row;

use self::{
    connection::Connection,
    rows::{Columns, Key, TombstoneColumns, Value, bytea, int8, millis, owner, signed, text},
};
use super::{
    Cap, Create, Delete, Engine, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreError,
    StoreKey, TellEnding, Timestamp, Tombstone, Touch, Version, Written, engine_of, rows::Rows,
};
use crate::{layout::Shape, runtime::Task};

/// The most rows that one transaction removes.
const PURGED_AT_ONCE: usize = 1_000;

/// The most sessions that one transaction ends where everybody's are to end: log-ins wait meanwhile.
const ENDED_AT_ONCE: i64 = 1_000;

/// Of several processes, one purges so often, in milliseconds. Each asks every minute.
const PURGED_EVERY: i64 = 45_000;

/// Keeps sessions in PostgreSQL. A clone is the same store, on the same connections.
///
/// ```no_run
/// use dewar::store::postgres::PostgresStore;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), dewar::store::StoreError> {
/// let store = PostgresStore::open("postgres://app:PASSWORD@db1,db2/app")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PostgresStore(Connection);

impl PostgresStore {
    /// How long a call waits for its answer unless [set](Self::time_limit): 5 seconds.
    pub const DEFAULT_TIME_LIMIT: Duration = Duration::from_secs(5);

    /// How many connections there are at most unless the address says `pool=N`: 16.
    ///
    /// A call holds one for a millisecond or less, and so a few serve thousands of requests a second. The server has 100 for everybody as a rule.
    pub const DEFAULT_POOL: NonZeroUsize = NonZeroUsize::new(16).unwrap();

    /// A store at this [address](self#addresses).
    ///
    /// It connects when it is first asked something, and again by itself whenever a connection was lost. Call it within a tokio runtime that
    /// has timers (`enable_time`).
    ///
    /// # Errors
    ///
    /// Where the address cannot be read, a certificate cannot be used, or the runtime has no timers; not where nobody answers there.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        Connection::open(url, Self::DEFAULT_POOL, Self::DEFAULT_TIME_LIMIT).map(Self)
    }

    /// Sets how long a call waits for its answer before it fails.
    ///
    /// A write that failed so may have been done nevertheless.
    #[must_use]
    pub fn time_limit(self, limit: Duration) -> Self {
        Self(self.0.within(limit))
    }

    /// Keeps the sessions in this schema instead of `dewar`. As `schema=NAME` in the address.
    ///
    /// # Errors
    ///
    /// Where it is no plain name: of `a-z`, `0-9` and `_`, 48 at most.
    pub fn schema(self, name: &str) -> Result<Self, StoreError> {
        self.0.with(|schema| schema.named(name)).map(Self)
    }

    /// Makes the table of sessions [unlogged](self#unlogged). As `unlogged=true` in the address.
    #[must_use]
    pub fn unlogged(self) -> Self {
        Self(self.0.with(|schema| Ok(schema.unlogged(true))).expect("this is no setting that can be refused"))
    }

    /// The SQL that makes the schema, for whoever does not allow the application to: `psql -1 -f`. It may be run again.
    pub fn schema_sql(&self) -> String {
        self.0.schema.sql()
    }

    pub(crate) fn with_pool(pool: deadpool_postgres::Pool) -> Self {
        Self(Connection::new(pool, Self::DEFAULT_TIME_LIMIT))
    }

    fn statements(&self) -> &schema::Statements {
        &self.0.schema.statements
    }
}

impl SessionStore for PostgresStore {
    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Load, StoreError> {
        let key = Key::of(key);
        let (bytes, moment) = (key.bytes(), millis(now));
        let found = self.0.ask(&self.statements().load, &[bytea(&bytes), int8(&moment)]).await?;
        match found.first() {
            Some(row) => rows::load(row, now).map_err(unknown),
            None => Ok(Load::Missing),
        }
    }

    async fn create(
        &self,
        key: &StoreKey,
        version: Version,
        record: Record,
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Create, StoreError> {
        let key = Key::of(key);
        let (columns, room) = (Columns::of(&key, &record), Room::of(cap));
        let (bytes, bits, now) = (key.bytes(), version.bits() as i64, millis(now));
        let mut values = vec![bytea(&bytes), int8(&bits), int8(&now)];
        values.extend(columns.values());
        values.extend(room.values());
        let row = self.0.ask_one(&self.statements().create, &values).await?;
        match answer(&row)? {
            DONE => Ok(Create::Created(written(&row, &record, version)?)),
            CONFLICT => Ok(Create::Exists),
            GONE => match rows::tombstone(&row, 3).map_err(unknown)? {
                Some(tombstone) => Ok(Create::Gone(tombstone)),
                None => Err(no_such_answer()),
            },
            OUTDATED => Ok(Create::Outdated),
            FULL => Ok(Create::Full),
            _ => Err(no_such_answer()),
        }
    }

    async fn replace(
        &self,
        key: &StoreKey,
        at: Version,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Result<Replace, StoreError> {
        let key = Key::of(key);
        let columns = Columns::of(&key, &record);
        let (bytes, at, bits, now) = (key.bytes(), at.bits() as i64, version.bits() as i64, millis(now));
        let mut values: Vec<Value<'_>> = Vec::with_capacity(18);
        values.extend([bytea(&bytes), int8(&bits), int8(&now)]);
        values.extend(columns.values());
        values.push(int8(&at));
        let row = self.0.ask_one(&self.statements().replace, &values).await?;
        match answer(&row)? {
            DONE => Ok(Replace::Replaced(version)),
            CONFLICT => Ok(Replace::Conflict),
            GONE => rows::tombstone(&row, 1).map(Replace::Gone).map_err(unknown),
            _ => Err(no_such_answer()),
        }
    }

    async fn touch(
        &self,
        key: &StoreKey,
        at: Version,
        idle_expires: Timestamp,
        now: Timestamp,
    ) -> Result<Touch, StoreError> {
        let key = Key::of(key);
        let (bytes, at, idle_expires, now) = (key.bytes(), at.bits() as i64, millis(idle_expires), millis(now));
        let values = [bytea(&bytes), int8(&at), int8(&idle_expires), int8(&now)];
        let row = self.0.ask_one(&self.statements().touch, &values).await?;
        match answer(&row)? {
            DONE => Ok(Touch::Touched),
            CONFLICT => Ok(Touch::Conflict),
            GONE => rows::tombstone(&row, 1).map(Touch::Gone).map_err(unknown),
            _ => Err(no_such_answer()),
        }
    }

    async fn delete(
        &self,
        key: &StoreKey,
        at: Option<Version>,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<Delete, StoreError> {
        let key = Key::of(key);
        let tombstone = TombstoneColumns::of(&tombstone);
        let (bytes, at, now) = (key.bytes(), at.map(|at| at.bits() as i64), millis(now));
        let mut values: Vec<Value<'_>> = vec![bytea(&bytes), text(&key.name), int8(&at), int8(&now)];
        values.extend(tombstone.values());
        let row = self.0.ask_one(&self.statements().delete, &values).await?;
        match answer(&row)? {
            DONE => Ok(Delete::Deleted),
            CONFLICT => Ok(Delete::Conflict),
            GONE => rows::tombstone(&row, 1).map(Delete::Gone).map_err(unknown),
            _ => Err(no_such_answer()),
        }
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
        let (from, to) = (Key::of(from), Key::of(to));
        let (columns, room, tombstone) = (Columns::of(&to, &record), Room::of(cap), TombstoneColumns::of(&tombstone));
        let (from, at, to) = (from.bytes(), at.map(|at| at.bits() as i64), to.bytes());
        let (bits, now) = (version.bits() as i64, millis(now));
        let mut values = vec![bytea(&to), int8(&bits), int8(&now)];
        values.extend(columns.values());
        values.extend(room.values());
        values.extend([bytea(&from), int8(&at)]);
        values.extend(tombstone.values());
        let row = self.0.ask_one(&self.statements().rename, &values).await?;
        match answer(&row)? {
            DONE => Ok(Rename::Renamed(written(&row, &record, version)?)),
            CONFLICT => Ok(Rename::Conflict),
            GONE => rows::tombstone(&row, 3).map(Rename::Gone).map_err(unknown),
            OUTDATED => Ok(Rename::Outdated),
            FULL => Ok(Rename::Full),
            _ => Err(no_such_answer()),
        }
    }

    fn endings(&self, tell: TellEnding) -> Option<Task> {
        endings::task(&self.0, tell)
    }

    /// Looks into the table, `SELECT 1` alone does not, and whether there is every right that any call needs.
    async fn ping(&self, _now: Timestamp) -> Result<(), StoreError> {
        let row = self.0.ask_one(&self.statements().ping, &[]).await?;
        match row.try_get(1).map_err(unknown)? {
            true => Ok(()),
            false => Err(self.0.schema.lacks_rights("this user lacks a right").while_trying_to("ping")),
        }
    }

    fn engine(&self, shape: Shape) -> Option<Arc<dyn Engine>> {
        Some(match shape {
            Shape::Blob => engine_of(self.clone()),
            Shape::Row(table) => Arc::new(Rows::new(self.clone(), table)),
        })
    }
}

impl SessionAdmin for PostgresStore {
    async fn count(&self, now: Timestamp) -> Result<u64, StoreError> {
        let row = self.0.ask_one(&self.statements().count, &[int8(&millis(now))]).await?;
        number(&row, 0)
    }

    async fn list(
        &self,
        principal: Option<&str>,
        after: Option<&StoreKey>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(StoreKey, Record, Version)>, StoreError> {
        let (after, owner) = (after.map(Key::of), principal.map(owner));
        // No key is shorter.
        let (after, now) = (after.as_ref().map_or(&[][..], Key::bytes), millis(now));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut values = vec![bytea(&after), int8(&now), int8(&limit)];
        let statement = match &owner {
            Some(owner) => {
                values.push(bytea(owner));
                &self.statements().list_of
            }
            None => &self.statements().list,
        };
        let rows = self.0.ask(statement, &values).await?;
        let listed = rows.iter().map(|row| {
            let (record, version) = rows::record(row).map_err(unknown)?;
            let (bytes, name) = (row.try_get(12).map_err(unknown)?, row.try_get(13).map_err(unknown)?);
            Ok((rows::key(bytes, name).ok_or_else(no_such_answer)?, record, version))
        });
        listed.collect()
    }

    async fn epoch(&self, principal: Option<&str>) -> Result<u64, StoreError> {
        let owner = principal.map(owner);
        let row = self.0.ask_one(&self.statements().epoch, &[bytea(&owner)]).await?;
        number(&row, 0)
    }

    async fn revoke(
        &self,
        principal: &str,
        which: Revoke,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let (one, but, began) = match which {
            Revoke::All => (None, None, 0),
            Revoke::AllBut { lineage, epoch } => (None, Some(lineage as i64), signed(epoch)),
            Revoke::Lineage(lineage) => (Some(lineage as i64), None, 0),
        };
        let (owner, tombstone, now) = (owner(principal), TombstoneColumns::of(&tombstone), millis(now));
        let mut values = vec![bytea(&owner), int8(&one), int8(&but), int8(&began), int8(&now)];
        values.extend(tombstone.values());
        let row = self.0.ask_one(&self.statements().revoke, &values).await?;
        number(&row, 0)
    }

    async fn revoke_everyone(&self, tombstone: Tombstone, now: Timestamp) -> Result<u64, StoreError> {
        let (tombstone, now) = (TombstoneColumns::of(&tombstone), millis(now));
        let raise = &self.statements().raise_everybodys;
        let row = self.0.ask_one(raise, &[int8(&now)]).await?;
        let epoch: i64 = row.try_get(0).map_err(unknown)?;
        let (mut count, mut last) = (0, Vec::new());
        loop {
            let mut values = vec![int8(&epoch), bytea(&last), int8(&ENDED_AT_ONCE), int8(&now)];
            values.extend(tombstone.values());
            let row = self.0.ask_one(&self.statements().end_begun_before, &values).await?;
            count += number(&row, 0)?;
            match row.try_get::<_, Option<Vec<u8>>>(1).map_err(unknown)? {
                Some(key) => last = key,
                None => return Ok(count),
            }
        }
    }

    async fn purge(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        let now = millis(now);
        let mut purged = 0;
        while purged < limit {
            let most = PURGED_AT_ONCE.min(limit - purged);
            let limit = most as i64;
            let row = self.0.ask_one(&self.statements().purge, &[int8(&limit), int8(&now)]).await?;
            let (ended, removed) = (number(&row, 0)? as usize, number(&row, 1)? as usize);
            purged += removed;
            // Those that leave a tombstone are no part of the limit: each is met once.
            if ended < most && removed < most {
                break;
            }
        }
        Ok(purged)
    }

    /// Every minute, for one of all that share the schema.
    async fn claim_purge(&self, now: Timestamp) -> Result<bool, StoreError> {
        let now = millis(now);
        let values = [int8(&PURGED_EVERY), int8(&now)];
        let row = self.0.ask_one(&self.statements().claim_purge, &values).await?;
        row.try_get(0).map_err(unknown)
    }
}

/// A cap in columns.
struct Room {
    most: Option<i64>,
    end: TombstoneColumns,
}

impl Room {
    fn of(cap: Option<&Cap>) -> Self {
        let end = cap.and_then(|cap| cap.end_oldest.as_ref()).map(TombstoneColumns::of).unwrap_or_default();
        Self { most: cap.map(|cap| cap.most.get().into()), end }
    }

    fn values(&self) -> impl Iterator<Item = Value<'_>> {
        std::iter::once(int8(&self.most)).chain(self.end.values())
    }
}

// What the functions answer.
const DONE: i32 = 0;
const CONFLICT: i32 = 1;
const GONE: i32 = 2;
const OUTDATED: i32 = 3;
const FULL: i32 = 4;

fn answer(row: &Row) -> Result<i32, StoreError> {
    row.try_get(0).map_err(unknown)
}

fn number(row: &Row, column: usize) -> Result<u64, StoreError> {
    row.try_get::<_, i64>(column).map(|number| number.max(0) as u64).map_err(unknown)
}

/// Without a principal, the epoch that a record carries is the store's own affair.
fn written(row: &Row, record: &Record, version: Version) -> Result<Written, StoreError> {
    let epoch = if record.principal.is_some() { number(row, 1)? } else { 0 };
    Ok(Written { version, epoch, ended: u32::try_from(number(row, 2)?).unwrap_or(u32::MAX) })
}

fn unknown(error: tokio_postgres::Error) -> StoreError {
    StoreError::new("postgres: an unknown answer").because(error)
}

fn no_such_answer() -> StoreError {
    StoreError::new("postgres: an unknown answer")
}
