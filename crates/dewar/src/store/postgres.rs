//! Sessions in PostgreSQL 13 and later: for a site that has a database.
//!
//! Every call is one statement and one round trip, also behind a pooler.

mod address;
mod connection;
mod direct;
mod endings;
mod failure;
mod rows;
mod schema;
mod servers;
mod tls;

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use tokio_postgres::Row;

use self::{
    connection::Connection,
    rows::{Columns, Grave, Key, Value, bytea, int8, millis, owner, signed, text},
};
use super::{
    Cap, Create, Delete, Engine, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreError,
    StoreKey, TellEnding, Timestamp, Tombstone, Touch, Version, Written, engine_of,
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
        let grave = Grave::of(&tombstone);
        let (bytes, at, now) = (key.bytes(), at.map(|at| at.bits() as i64), millis(now));
        let mut values: Vec<Value<'_>> = vec![bytea(&bytes), text(&key.name), int8(&at), int8(&now)];
        values.extend(grave.values());
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
        let (columns, room, grave) = (Columns::of(&to, &record), Room::of(cap), Grave::of(&tombstone));
        let (from, at, to) = (from.bytes(), at.map(|at| at.bits() as i64), to.bytes());
        let (bits, now) = (version.bits() as i64, millis(now));
        let mut values = vec![bytea(&to), int8(&bits), int8(&now)];
        values.extend(columns.values());
        values.extend(room.values());
        values.extend([bytea(&from), int8(&at)]);
        values.extend(grave.values());
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

    /// Looks into the table: `SELECT 1` alone does not.
    async fn ping(&self, _now: Timestamp) -> Result<(), StoreError> {
        self.0.ask(&self.statements().ping, &[]).await.map(drop)
    }

    fn engine(&self, shape: Shape) -> Option<Arc<dyn Engine>> {
        (shape == Shape::Blob).then(|| engine_of(self.clone()))
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
        let (owner, grave, now) = (owner(principal), Grave::of(&tombstone), millis(now));
        let mut values = vec![bytea(&owner), int8(&one), int8(&but), int8(&began), int8(&now)];
        values.extend(grave.values());
        let row = self.0.ask_one(&self.statements().revoke, &values).await?;
        number(&row, 0)
    }

    async fn revoke_everyone(&self, tombstone: Tombstone, now: Timestamp) -> Result<u64, StoreError> {
        let (grave, now) = (Grave::of(&tombstone), millis(now));
        let raise = &self.statements().raise_everybodys;
        let row = self.0.ask_one(raise, &[int8(&now)]).await?;
        let epoch: i64 = row.try_get(0).map_err(unknown)?;
        let (mut count, mut last) = (0, Vec::new());
        loop {
            let mut values = vec![int8(&epoch), bytea(&last), int8(&ENDED_AT_ONCE), int8(&now)];
            values.extend(grave.values());
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
    end: Grave,
}

impl Room {
    fn of(cap: Option<&Cap>) -> Self {
        let end = cap.and_then(|cap| cap.end_oldest.as_ref()).map(Grave::of).unwrap_or_default();
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
