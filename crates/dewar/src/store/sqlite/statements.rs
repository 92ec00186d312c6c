//! The table, and what each verb of the contract is in SQL.
//!
//! Moments are milliseconds since the Unix epoch. A mark is a row with `gone = 1` and without data.
//! `expires` is the earlier of the two expiries, or the end of the mark.

use bytes::Bytes;
use rusqlite::{
    Connection, OptionalExtension, Params, Result, Row, ToSql, params,
    types::{ToSqlOutput, Value, ValueRef},
};

use crate::store::{Create, Delete, GONE_FOR, Load, Record, Replace, StoreKey, Timestamp, Touch, Version};

/// The version of the table below, in `PRAGMA user_version`.
pub(super) const SCHEMA: i64 = 1;

const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS dewar_session (
        key              ANY     NOT NULL UNIQUE, -- 32 bytes: the digest of our id; text: a foreign name
        version          INTEGER NOT NULL,
        gone             INTEGER NOT NULL,
        expires          INTEGER NOT NULL,
        created          INTEGER NOT NULL,
        idle_seconds     INTEGER NOT NULL,
        idle_expires     INTEGER NOT NULL,
        absolute_expires INTEGER,
        persistent       INTEGER NOT NULL,
        principal        TEXT,
        label            TEXT,
        data             BLOB    NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS dewar_session_expires ON dewar_session (expires, gone);
    CREATE INDEX IF NOT EXISTS dewar_session_principal ON dewar_session (principal, key)
        WHERE principal IS NOT NULL;";

const LOAD: &str = "
    SELECT created, idle_seconds, idle_expires, absolute_expires, persistent, principal, label, data, version, gone
    FROM dewar_session WHERE key = ?1 AND expires > ?2";

// CREATE and REPLACE are given the same `values`.
const CREATE: &str = "
    INSERT INTO dewar_session (expires, created, idle_seconds, idle_expires, absolute_expires, persistent,
        principal, label, data, key, version, gone)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0)
    ON CONFLICT (key) DO UPDATE SET
        version = max(version + 1, excluded.version), gone = 0, expires = excluded.expires,
        created = excluded.created, idle_seconds = excluded.idle_seconds, idle_expires = excluded.idle_expires,
        absolute_expires = excluded.absolute_expires, persistent = excluded.persistent,
        principal = excluded.principal, label = excluded.label, data = excluded.data
    WHERE expires <= ?12
    RETURNING version";

const REPLACE: &str = "
    UPDATE dewar_session SET
        version = version + 1, expires = ?1, created = ?2, idle_seconds = ?3, idle_expires = ?4,
        absolute_expires = ?5, persistent = ?6, principal = ?7, label = ?8, data = ?9
    WHERE key = ?10 AND version = ?11 AND gone = 0 AND expires > ?12";

const TOUCH: &str = "
    UPDATE dewar_session SET idle_expires = ?1, expires = min(?1, coalesce(absolute_expires, ?1))
    WHERE key = ?2 AND version = ?3 AND gone = 0 AND expires > ?4";

const DELETE: &str = "
    UPDATE dewar_session SET gone = 1, expires = ?1, principal = NULL, label = NULL, data = x''
    WHERE key = ?2 AND (?3 IS NULL OR version = ?3) AND gone = 0 AND expires > ?4";

const IS_LIVE: &str = "SELECT 1 FROM dewar_session WHERE key = ?1 AND gone = 0 AND expires > ?2";

const COUNT: &str = "SELECT count(*) FROM dewar_session WHERE gone = 0 AND expires > ?1";

const LIST: &str = "
    SELECT created, idle_seconds, idle_expires, absolute_expires, persistent, principal, label, data, version, key
    FROM dewar_session WHERE key > ?1 AND gone = 0 AND expires > ?2 ORDER BY key LIMIT ?3";

const LIST_OF: &str = "
    SELECT created, idle_seconds, idle_expires, absolute_expires, persistent, principal, label, data, version, key
    FROM dewar_session WHERE principal = ?4 AND key > ?1 AND gone = 0 AND expires > ?2 ORDER BY key LIMIT ?3";

const PURGE: &str = "
    DELETE FROM dewar_session WHERE rowid IN
        (SELECT rowid FROM dewar_session WHERE expires <= ?1 LIMIT ?2)";

/// Makes the table where it is missing.
pub(super) fn create_table(connection: &Connection) -> Result<()> {
    connection.execute_batch(TABLE)
}

pub(super) fn load(connection: &Connection, key: &StoreKey, now: Timestamp) -> Result<Load> {
    let mut statement = connection.prepare_cached(LOAD)?;
    let found = statement
        .query_row(params![Key(key), millis(now)], |row| {
            Ok(if row.get(9)? { Load::Gone } else { Load::Found(record(row)?, version(row, 8)?) })
        })
        .optional()?;
    Ok(found.unwrap_or(Load::Missing))
}

pub(super) fn create(connection: &Connection, key: &StoreKey, record: &Record, now: Timestamp) -> Result<Create> {
    // Begun from the clock, a version is never given again to a key that was purged in between.
    let first = (now.as_millis() & ((1 << 47) - 1)) << 16;
    let mut statement = connection.prepare_cached(CREATE)?;
    let created = statement.query_row(values(record, key, first, now), |row| version(row, 0));
    Ok(created.optional()?.map_or(Create::Exists, Create::Created))
}

pub(super) fn replace(
    connection: &Connection,
    key: &StoreKey,
    at: Version,
    record: &Record,
    now: Timestamp,
) -> Result<Replace> {
    // Its new version is known: a RETURNING clause would have SQLite make a temporary table for the answer.
    let mut statement = connection.prepare_cached(REPLACE)?;
    Ok(match statement.execute(values(record, key, at.count(), now))? {
        1 => Replace::Replaced(Version::counter(at.count() + 1)),
        _ if is_live(connection, key, now)? => Replace::Conflict,
        _ => Replace::Gone,
    })
}

pub(super) fn touch(
    connection: &Connection,
    key: &StoreKey,
    at: Version,
    idle_expires: Timestamp,
    now: Timestamp,
) -> Result<Touch> {
    let mut statement = connection.prepare_cached(TOUCH)?;
    let touched = statement.execute(params![millis(idle_expires), Key(key), at.count() as i64, millis(now)])?;
    Ok(match touched {
        1 => Touch::Touched,
        _ if is_live(connection, key, now)? => Touch::Conflict,
        _ => Touch::Gone,
    })
}

pub(super) fn delete(connection: &Connection, key: &StoreKey, at: Option<Version>, now: Timestamp) -> Result<Delete> {
    let mut statement = connection.prepare_cached(DELETE)?;
    let at = at.map(|version| version.count() as i64);
    let deleted = statement.execute(params![millis(now.after(GONE_FOR)), Key(key), at, millis(now)])?;
    Ok(match deleted {
        1 => Delete::Deleted,
        _ if is_live(connection, key, now)? => Delete::Conflict,
        _ => Delete::Gone,
    })
}

pub(super) fn count(connection: &Connection, now: Timestamp) -> Result<u64> {
    let count: i64 = connection.prepare_cached(COUNT)?.query_row([millis(now)], |row| row.get(0))?;
    Ok(count as u64)
}

pub(super) fn list(
    connection: &Connection,
    principal: Option<&str>,
    after: Option<&StoreKey>,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<(StoreKey, Record, Version)>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    // A number is less than any key, which is text or a blob.
    let after: &dyn ToSql = match after {
        Some(after) => &Key(after),
        None => &0,
    };
    let listed = |row: &Row<'_>| Ok((key(row.get_ref(9)?)?, record(row)?, version(row, 8)?));
    match principal {
        Some(principal) => {
            let mut statement = connection.prepare_cached(LIST_OF)?;
            statement.query_map(params![after, millis(now), limit, principal], listed)?.collect()
        }
        None => connection.prepare_cached(LIST)?.query_map(params![after, millis(now), limit], listed)?.collect(),
    }
}

pub(super) fn purge(connection: &Connection, limit: usize, now: Timestamp) -> Result<usize> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection.prepare_cached(PURGE)?.execute(params![millis(now), limit])
}

fn values<'a>(record: &'a Record, key: &'a StoreKey, version: u64, now: Timestamp) -> impl Params + 'a {
    (
        millis(record.expires()),
        millis(record.created),
        record.idle_seconds,
        millis(record.idle_expires),
        record.absolute_expires.map(millis),
        record.persistent,
        record.principal.as_deref(),
        record.label.as_deref(),
        &*record.data,
        Key(key),
        version as i64,
        millis(now),
    )
}

fn is_live(connection: &Connection, key: &StoreKey, now: Timestamp) -> Result<bool> {
    connection.prepare_cached(IS_LIVE)?.exists(params![Key(key), millis(now)])
}

fn record(row: &Row<'_>) -> Result<Record> {
    Ok(Record {
        created: timestamp(row.get(0)?),
        idle_seconds: row.get(1)?,
        idle_expires: timestamp(row.get(2)?),
        absolute_expires: row.get::<_, Option<i64>>(3)?.map(timestamp),
        persistent: row.get(4)?,
        principal: row.get(5)?,
        label: row.get(6)?,
        data: Bytes::copy_from_slice(row.get_ref(7)?.as_blob()?),
    })
}

fn version(row: &Row<'_>, column: usize) -> Result<Version> {
    Ok(Version::counter(row.get::<_, i64>(column)? as u64))
}

/// SQLite's numbers are signed: what lies beyond them is the end of time.
fn millis(moment: Timestamp) -> i64 {
    i64::try_from(moment.as_millis()).unwrap_or(i64::MAX)
}

fn timestamp(millis: i64) -> Timestamp {
    match millis {
        i64::MAX => Timestamp::from_millis(u64::MAX),
        millis => Timestamp::from_millis(millis.max(0) as u64),
    }
}

struct Key<'a>(&'a StoreKey);

impl ToSql for Key<'_> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        let value = match self.0.is_foreign() {
            true => Value::Text(self.0.to_string()),
            false => Value::Blob(self.0.digest().to_vec()),
        };
        Ok(ToSqlOutput::Owned(value))
    }
}

fn key(value: ValueRef<'_>) -> Result<StoreKey> {
    match value {
        ValueRef::Text(_) => Ok(StoreKey::foreign(value.as_str()?)),
        _ => {
            let digest = value.as_blob()?.try_into().map_err(|_| rusqlite::Error::InvalidQuery)?;
            Ok(StoreKey::from_digest(digest))
        }
    }
}
