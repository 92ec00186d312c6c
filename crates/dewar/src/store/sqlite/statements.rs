//! The tables, and what each verb of the contract is in SQL.
//!
//! Moments are milliseconds since the Unix epoch. A tombstone is a row with `gone = 1` and without data.
//! `expires` is the earlier of the two expiries, or the end of the tombstone. An expired record whose guard is not over
//! answers like the tombstone that a purge puts in its place.
//!
//! A verb of several statements is one step: whoever writes runs it in a transaction, which fails as a whole.

use bytes::Bytes;
use rusqlite::{
    Connection, OptionalExtension, Result, Row, Statement, ToSql,
    TransactionBehavior::Immediate,
    params,
    types::{ToSqlOutput, Value, ValueRef},
};

use crate::store::{
    Cap, Create, Delete, GONE_FOR, Load, Record, Rename, Replace, Revoke, StoreKey, Timestamp, Tombstone, Touch,
    Version, Why, Written,
};

/// The version of the tables below. It stands in a table, too: `PRAGMA user_version` is the application's, and is neither
/// read nor set.
const SCHEMA: i64 = 2;

const VERSION: &str = "
    CREATE TABLE IF NOT EXISTS dewar_schema (version INTEGER NOT NULL) STRICT;";

/// As version 1 had it.
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

/// What version 2 added. Rows of version 1 have NULL in each.
const COLUMNS: [&str; 7] = [
    "lineage INTEGER",
    "epoch INTEGER", // without a principal: everybody's, when the session began
    "guarded_until INTEGER",
    "why INTEGER", // 0: ended; 1: begun again; 2: renewed
    "nonce INTEGER",
    "made INTEGER",
    "successor ANY",
];

const INDEX: &str = "
    CREATE INDEX IF NOT EXISTS dewar_session_guarded ON dewar_session (expires) WHERE guarded_until IS NOT NULL;";

/// Nothing is ever removed here, so that no epoch is given twice.
const EPOCHS: &str = "
    CREATE TABLE IF NOT EXISTS dewar_epoch (
        principal ANY     NOT NULL PRIMARY KEY, -- 0: everybody
        epoch     INTEGER NOT NULL,
        passes    INTEGER                       -- the lineage that passes as present
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS dewar_epoch_epoch ON dewar_epoch (epoch);";

const HAS_VERSION: &str = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'dewar_schema'";

const GET_VERSION: &str = "SELECT coalesce(max(version), 0) FROM dewar_schema";

const SET_VERSION: &str = "INSERT INTO dewar_schema (version) VALUES (?1)";

const HAS_COLUMN: &str = "SELECT 1 FROM pragma_table_xinfo('dewar_session') WHERE name = ?1";

macro_rules! record_columns {
    () => {
        "created, idle_seconds, idle_expires, absolute_expires, persistent, principal, label, data, version, key, lineage, \
         epoch, guarded_until"
    };
}

macro_rules! tombstone_columns {
    () => {
        "gone, expires, guarded_until, why, nonce, made, successor"
    };
}

/// A tombstone in the place of a record, from ?1 to ?5: what `tombstone_columns` gives.
macro_rules! put_tombstone {
    () => {
        "UPDATE dewar_session SET gone = 1, expires = max(?1, coalesce(guarded_until, 0)), guarded_until = NULL, \
         why = ?2, nonce = ?3, made = ?4, successor = ?5, principal = NULL, label = NULL, lineage = NULL, epoch = NULL, \
         data = x'' WHERE gone = 0 AND "
    };
}

const LOAD: &str = concat!(
    "SELECT ",
    record_columns!(),
    ", ",
    tombstone_columns!(),
    " FROM dewar_session WHERE key = ?1 AND (expires > ?2 OR guarded_until > ?2)"
);

const STANDING: &str = concat!(
    "SELECT ",
    tombstone_columns!(),
    ", version, epoch FROM dewar_session WHERE key = ?1 AND (expires > ?2 OR guarded_until > ?2)"
);

// CREATE and REPLACE are given the same first parameters, by `bind`.
const CREATE: &str = "
    INSERT INTO dewar_session (expires, created, idle_seconds, idle_expires, absolute_expires, persistent,
        principal, label, data, lineage, epoch, guarded_until, version, key, gone)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 0)
    ON CONFLICT (key) DO UPDATE SET
        version = excluded.version, gone = 0, expires = excluded.expires,
        created = excluded.created, idle_seconds = excluded.idle_seconds, idle_expires = excluded.idle_expires,
        absolute_expires = excluded.absolute_expires, persistent = excluded.persistent,
        principal = excluded.principal, label = excluded.label, data = excluded.data,
        lineage = excluded.lineage, epoch = excluded.epoch, guarded_until = excluded.guarded_until,
        why = NULL, nonce = NULL, made = NULL, successor = NULL
    WHERE expires <= ?15 AND coalesce(guarded_until, 0) <= ?15";

const REPLACE: &str = "
    UPDATE dewar_session SET
        version = ?13, expires = ?1, created = ?2, idle_seconds = ?3, idle_expires = ?4,
        absolute_expires = ?5, persistent = ?6, principal = ?7, label = ?8, data = ?9,
        lineage = ?10, epoch = coalesce(?11, epoch), guarded_until = ?12
    WHERE key = ?14 AND version = ?16 AND gone = 0 AND expires > ?15";

const TOUCH: &str = "
    UPDATE dewar_session SET idle_expires = ?1, expires = min(?1, coalesce(absolute_expires, ?1))
    WHERE key = ?2 AND version = ?3 AND gone = 0 AND expires > ?4";

const BURY: &str = concat!(put_tombstone!(), "key = ?6 AND expires > ?7 AND (?8 IS NULL OR version = ?8)");

const BURY_ALL_OF: &str = concat!(put_tombstone!(), "principal = ?6 AND expires > ?7 AND lineage IS NOT ?8");

const BURY_LINEAGE: &str = concat!(put_tombstone!(), "principal = ?6 AND expires > ?7 AND lineage = ?8");

const BURY_ROW: &str = concat!(put_tombstone!(), "rowid = ?6 AND expires > ?7");

const BURY_BETWEEN: &str =
    concat!(put_tombstone!(), "rowid > ?6 AND rowid <= ?7 AND expires > ?8 AND coalesce(epoch, 0) < ?9");

/// A principal's sessions but one lineage and one key, the oldest first.
const OTHERS: &str = "
    SELECT rowid FROM dewar_session
    WHERE principal = ?1 AND gone = 0 AND expires > ?2 AND lineage IS NOT ?3 AND key IS NOT ?4 ORDER BY created, key";

const BEGUN_BEFORE: &str = "
    SELECT rowid FROM dewar_session
    WHERE rowid > ?1 AND gone = 0 AND expires > ?2 AND coalesce(epoch, 0) < ?3 ORDER BY rowid LIMIT ?4";

/// A tombstone where no record lives, in the place of whatever is there.
const ERECT: &str = "
    INSERT INTO dewar_session (expires, why, nonce, made, successor, key, created, idle_expires, version, gone,
        idle_seconds, persistent, data)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?4, ?1, 0, 1, 0, 0, x'')
    ON CONFLICT (key) DO UPDATE SET
        expires = excluded.expires, why = excluded.why, nonce = excluded.nonce, made = excluded.made,
        successor = excluded.successor, gone = 1, guarded_until = NULL, principal = NULL, label = NULL,
        lineage = NULL, epoch = NULL, data = x''";

const PING: &str = "SELECT 1 FROM dewar_session LIMIT 1";

const COUNT: &str = "SELECT count(*) FROM dewar_session WHERE gone = 0 AND expires > ?1";

const LIST: &str = concat!(
    "SELECT ",
    record_columns!(),
    " FROM dewar_session WHERE key > ?1 AND gone = 0 AND expires > ?2 ORDER BY key LIMIT ?3"
);

const LIST_OF: &str = concat!(
    "SELECT ",
    record_columns!(),
    " FROM dewar_session WHERE principal = ?4 AND key > ?1 AND gone = 0 AND expires > ?2 ORDER BY key LIMIT ?3"
);

const EPOCH: &str = "SELECT coalesce(max(epoch), 0) FROM dewar_epoch WHERE principal IN (0, ?1)";

const RAISES: &str = "SELECT principal = 0, epoch, passes FROM dewar_epoch WHERE principal IN (0, ?1)";

const NEXT_EPOCH: &str = "SELECT max(coalesce(max(epoch), 0) + 1, ?1) FROM dewar_epoch";

const RAISE: &str = "
    INSERT INTO dewar_epoch (principal, epoch, passes) VALUES (?1, ?2, ?3)
    ON CONFLICT (principal) DO UPDATE SET epoch = excluded.epoch, passes = excluded.passes";

const WITHOUT_LINEAGE: &str = "
    SELECT rowid, key FROM dewar_session WHERE principal = ?1 AND lineage IS NULL AND gone = 0";

const SET_LINEAGE: &str = "UPDATE dewar_session SET lineage = ?1 WHERE rowid = ?2";

const PURGE: &str = "
    DELETE FROM dewar_session WHERE rowid IN
        (SELECT rowid FROM dewar_session WHERE expires <= ?1 AND coalesce(guarded_until, 0) <= ?1 LIMIT ?2)";

/// Their tombstones stand where they expired, and no purge meets them again before their guard is over.
const BURY_EXPIRED: &str = "
    UPDATE dewar_session SET gone = 1, made = expires, expires = guarded_until, guarded_until = NULL, why = 0, nonce = 0,
        principal = NULL, label = NULL, lineage = NULL, epoch = NULL, data = x''
    WHERE rowid IN
        (SELECT rowid FROM dewar_session WHERE guarded_until IS NOT NULL AND expires <= ?1 AND guarded_until > ?1 LIMIT ?2)";

/// Makes the tables where they are missing, and adds what an earlier release did not know.
///
/// A process of the release before may still be writing, while a site is being deployed: so columns and tables are only added,
/// and whatever is missing in its rows is made up for where they are read.
pub(super) fn create_tables(connection: &mut Connection) -> Result<(), Box<dyn std::error::Error>> {
    if check_version(connection)? == SCHEMA {
        return Ok(());
    }
    // Of those who open the file at once, the first does it all; the others wait, and find it done.
    let transaction = connection.transaction_with_behavior(Immediate)?;
    if check_version(&transaction)? == SCHEMA {
        return Ok(());
    }
    transaction.execute_batch(TABLE)?;
    for column in COLUMNS {
        let name = column.split(' ').next();
        if !transaction.prepare(HAS_COLUMN)?.exists([name])? {
            transaction.execute_batch(&format!("ALTER TABLE dewar_session ADD COLUMN {column}"))?;
        }
    }
    transaction.execute_batch(INDEX)?;
    transaction.execute_batch(EPOCHS)?;
    transaction.execute_batch(VERSION)?;
    transaction.execute(SET_VERSION, [SCHEMA])?;
    Ok(transaction.commit()?)
}

/// The version of the tables; 0 where none is written down.
///
/// # Errors
///
/// Where a later release made them.
pub(super) fn check_version(connection: &Connection) -> Result<i64, Box<dyn std::error::Error>> {
    if !connection.prepare(HAS_VERSION)?.exists([])? {
        return Ok(0);
    }
    match connection.query_row(GET_VERSION, [], |row| row.get(0))? {
        version @ 0..=SCHEMA => Ok(version),
        later => Err(format!("its tables have the unknown version {later}: a later release made them").into()),
    }
}

/// What keeps its key from being free.
enum Standing {
    Live { version: Version, epoch: i64 },
    Dead(Tombstone),
}

impl Standing {
    fn tombstone(self) -> Option<Tombstone> {
        match self {
            Self::Live { .. } => None,
            Self::Dead(tombstone) => Some(tombstone),
        }
    }
}

/// Looks into the file: `SELECT 1` alone does not.
pub(super) fn ping(connection: &Connection) -> Result<()> {
    connection.prepare_cached(PING)?.query_row([], |_| Ok(())).optional().map(drop)
}

pub(super) fn load(connection: &Connection, key: &StoreKey, now: Timestamp) -> Result<Load> {
    let mut statement = connection.prepare_cached(LOAD)?;
    let found = statement
        .query_row(params![Key(key), millis(now)], |row| {
            Ok(match tombstone(row, 13, now)? {
                Some(tombstone) => Load::Gone(tombstone),
                None => Load::Found(record(row, key)?, version(row, 8)?),
            })
        })
        .optional()?;
    Ok(found.unwrap_or(Load::Missing))
}

pub(super) fn create(
    connection: &Connection,
    key: &StoreKey,
    version: Version,
    record: &Record,
    cap: Option<&Cap>,
    now: Timestamp,
) -> Result<Create> {
    let Some(epoch) = epoch_of(connection, record)? else {
        // What stands there is answered first.
        return Ok(match standing(connection, key, now)? {
            None => Create::Outdated,
            Some(Standing::Live { .. }) => Create::Exists,
            Some(Standing::Dead(tombstone)) => Create::Gone(tombstone),
        });
    };
    let room = match cap {
        // What stands there is answered first.
        Some(cap) if standing(connection, key, now)?.is_none() => room(connection, record, None, cap, now)?,
        _ => Room::Enough,
    };
    if let Room::None = room {
        return Ok(Create::Full);
    }
    let created = insert(connection, key, version, record, epoch, now)?;
    Ok(match created {
        Create::Created(written) => Create::Created(Written { ended: room.made(connection, now)?, ..written }),
        other => other,
    })
}

pub(super) fn replace(
    connection: &Connection,
    key: &StoreKey,
    at: Version,
    version: Version,
    record: &Record,
    now: Timestamp,
) -> Result<Replace> {
    let epoch = match (record.principal.as_deref(), record.epoch) {
        (None, _) => None,
        (Some(_), Some(epoch)) => Some(signed(epoch)),
        (Some(principal), None) => Some(present(connection, Some(principal))?),
    };
    // Its new version is known: a RETURNING clause would have SQLite make a temporary table for the answer.
    let mut statement = connection.prepare_cached(REPLACE)?;
    bind(&mut statement, key, version, record, epoch, now)?;
    statement.raw_bind_parameter(16, at.bits() as i64)?;
    Ok(match statement.raw_execute()? {
        1 => Replace::Replaced(version),
        _ => match standing(connection, key, now)? {
            Some(Standing::Live { .. }) => Replace::Conflict,
            dead => Replace::Gone(dead.and_then(Standing::tombstone)),
        },
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
    let touched = statement.execute(params![millis(idle_expires), Key(key), at.bits() as i64, millis(now)])?;
    Ok(match touched {
        1 => Touch::Touched,
        _ => match standing(connection, key, now)? {
            Some(Standing::Live { .. }) => Touch::Conflict,
            dead => Touch::Gone(dead.and_then(Standing::tombstone)),
        },
    })
}

pub(super) fn delete(
    connection: &Connection,
    key: &StoreKey,
    at: Option<Version>,
    tombstone: &Tombstone,
    now: Timestamp,
) -> Result<Delete> {
    if put_tombstone(connection, key, at, tombstone, now)? {
        return Ok(Delete::Deleted);
    }
    Ok(match (standing(connection, key, now)?, at) {
        (Some(Standing::Live { .. }), _) => Delete::Conflict,
        (Some(Standing::Dead(dead)), None) => {
            let dead = dead.until(Some(tombstone.until));
            erect(connection, key, &dead)?;
            Delete::Gone(Some(dead))
        }
        (None, None) => {
            erect(connection, key, tombstone)?;
            Delete::Gone(None)
        }
        (dead, Some(_)) => Delete::Gone(dead.and_then(Standing::tombstone)),
    })
}

/// `None`: something stands under the new key already, and nothing was written.
#[allow(clippy::too_many_arguments)] // Each is one fact of one step.
pub(super) fn rename(
    connection: &Connection,
    from: &StoreKey,
    at: Option<Version>,
    to: &StoreKey,
    version: Version,
    record: &Record,
    tombstone: &Tombstone,
    cap: Option<&Cap>,
    now: Timestamp,
) -> Result<Option<Rename>> {
    let begun = match standing(connection, from, now)? {
        Some(Standing::Live { version, epoch }) if at.is_none_or(|at| at == version) => epoch,
        Some(Standing::Live { .. }) => return Ok(Some(Rename::Conflict)),
        dead => return Ok(Some(Rename::Gone(dead.and_then(Standing::tombstone)))),
    };
    // What began before everybody's epoch was raised is about to be ended, also where somebody logs in to it now.
    if begun < present(connection, None)? {
        return Ok(Some(Rename::Outdated));
    }
    let Some(epoch) = epoch_of(connection, record)? else { return Ok(Some(Rename::Outdated)) };
    // A session of nobody's began when it did, whatever it is called since.
    let epoch = if record.principal.is_some() { epoch } else { begun };
    let room = cap.map_or(Ok(Room::Enough), |cap| room(connection, record, Some(from), cap, now))?;
    if let Room::None = room {
        return Ok(Some(Rename::Full));
    }
    let Create::Created(written) = insert(connection, to, version, record, epoch, now)? else { return Ok(None) };
    put_tombstone(connection, from, None, tombstone, now)?;
    Ok(Some(Rename::Renamed(Written { ended: room.made(connection, now)?, ..written })))
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
    let listed = |row: &Row<'_>| {
        let key = key(row.get_ref(9)?)?;
        let record = record(row, &key)?;
        Ok((key, record, version(row, 8)?))
    };
    match principal {
        Some(principal) => {
            let mut statement = connection.prepare_cached(LIST_OF)?;
            statement.query_map(params![after, millis(now), limit, principal], listed)?.collect()
        }
        None => connection.prepare_cached(LIST)?.query_map(params![after, millis(now), limit], listed)?.collect(),
    }
}

pub(super) fn epoch(connection: &Connection, principal: Option<&str>) -> Result<u64> {
    Ok(present(connection, principal)? as u64)
}

pub(super) fn revoke(
    connection: &Connection,
    principal: &str,
    which: Revoke,
    tombstone: &Tombstone,
    now: Timestamp,
) -> Result<u64> {
    let (end, lineage, raises) = match which {
        Revoke::All => (BURY_ALL_OF, None, true),
        Revoke::AllBut { lineage, epoch } => {
            let lives = admits(connection, Some(principal), lineage, signed(epoch))?;
            (BURY_ALL_OF, lives.then_some(lineage as i64), true)
        }
        Revoke::Lineage(lineage) => (BURY_LINEAGE, Some(lineage as i64), false),
    };
    if raises {
        raise(connection, &principal, lineage, now)?;
    }
    if lineage.is_some() {
        add_lineages(connection, principal)?;
    }
    let (until, why, nonce, made, successor) = tombstone_columns(tombstone);
    let all = params![until, why, nonce, made, successor, principal, millis(now), lineage];
    Ok(connection.prepare_cached(end)?.execute(all)? as u64)
}

/// Raises everybody's epoch: what began before has a lower one.
pub(super) fn raise_everyones(connection: &Connection, now: Timestamp) -> Result<i64> {
    raise(connection, &0, None, now)
}

/// Ends at most `limit` of the sessions that began before this epoch, beyond the row `after`. Returns how many, and the
/// last row: a tombstone stands there, so that whatever is renamed meanwhile has a later one. `None`: nothing is left.
pub(super) fn end_begun_before(
    connection: &Connection,
    epoch: i64,
    after: i64,
    limit: usize,
    tombstone: &Tombstone,
    now: Timestamp,
) -> Result<Option<(u64, i64)>> {
    let mut statement = connection.prepare_cached(BEGUN_BEFORE)?;
    let mut rows = statement.query_map(params![after, millis(now), epoch, limit as i64], |row| row.get::<_, i64>(0))?;
    let Some(last) = rows.try_fold(None, |_, row| row.map(Some))? else { return Ok(None) };
    let (until, why, nonce, made, successor) = tombstone_columns(tombstone);
    let some = params![until, why, nonce, made, successor, after, last, millis(now), epoch];
    let ended = connection.prepare_cached(BURY_BETWEEN)?.execute(some)?;
    Ok(Some((ended as u64, last)))
}

/// Puts tombstones in the place of at most `limit` expired records whose guard is not over, and removes at most `limit` of
/// all else that has expired. Returns how many of either.
pub(super) fn purge(connection: &Connection, limit: usize, now: Timestamp) -> Result<(usize, usize)> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let tombstone_columns = connection.prepare_cached(BURY_EXPIRED)?.execute(params![millis(now), limit])?;
    // It would walk over all that are to be tombstone_columns yet, each time.
    if tombstone_columns as i64 == limit {
        return Ok((tombstone_columns, 0));
    }
    let removed = connection.prepare_cached(PURGE)?.execute(params![millis(now), limit])?;
    Ok((tombstone_columns, removed))
}

/// What a cap leaves for one more session of a principal.
enum Room<'a> {
    Enough,
    None,
    /// Once these rows have ended.
    After(Vec<i64>, &'a Tombstone),
}

fn room<'a>(
    connection: &Connection,
    record: &Record,
    from: Option<&StoreKey>,
    cap: &'a Cap,
    now: Timestamp,
) -> Result<Room<'a>> {
    let Some(principal) = record.principal.as_deref() else { return Ok(Room::Enough) };
    add_lineages(connection, principal)?;
    let mut statement = connection.prepare_cached(OTHERS)?;
    let others = params![principal, millis(now), record.lineage as i64, from.map(Key)];
    let mut others: Vec<i64> = statement.query_map(others, |row| row.get(0))?.collect::<Result<_>>()?;
    let most = cap.most.get() as usize;
    Ok(match &cap.end_oldest {
        _ if others.len() < most => Room::Enough,
        None => Room::None,
        Some(tombstone) => {
            others.truncate(others.len() + 1 - most);
            Room::After(others, tombstone)
        }
    })
}

impl Room<'_> {
    /// Ends those that give way; how many.
    fn made(self, connection: &Connection, now: Timestamp) -> Result<u32> {
        let Self::After(rows, tombstone) = self else { return Ok(0) };
        let (until, why, nonce, made, successor) = tombstone_columns(tombstone);
        let mut statement = connection.prepare_cached(BURY_ROW)?;
        let mut ended = 0;
        for row in rows {
            ended += statement.execute(params![until, why, nonce, made, successor, row, millis(now)])?;
        }
        Ok(ended as u32)
    }
}

fn insert(
    connection: &Connection,
    key: &StoreKey,
    version: Version,
    record: &Record,
    epoch: i64,
    now: Timestamp,
) -> Result<Create> {
    let mut statement = connection.prepare_cached(CREATE)?;
    bind(&mut statement, key, version, record, Some(epoch), now)?;
    if statement.raw_execute()? == 1 {
        let epoch = if record.principal.is_some() { epoch as u64 } else { 0 };
        return Ok(Create::Created(Written { version, epoch, ended: 0 }));
    }
    let dead = standing(connection, key, now)?.and_then(Standing::tombstone);
    Ok(dead.map_or(Create::Exists, Create::Gone))
}

fn bind(
    statement: &mut Statement<'_>,
    key: &StoreKey,
    version: Version,
    record: &Record,
    epoch: Option<i64>,
    now: Timestamp,
) -> Result<()> {
    let values: [&dyn ToSql; 15] = [
        &millis(record.expires()),
        &millis(record.created),
        &record.idle_seconds,
        &millis(record.idle_expires),
        &record.absolute_expires.map(millis),
        &record.persistent,
        &record.principal.as_deref(),
        &record.label.as_deref(),
        &&*record.data,
        &(record.lineage as i64),
        &epoch,
        &record.guarded_until.map(millis),
        &(version.bits() as i64),
        &Key(key),
        &millis(now),
    ];
    values.into_iter().zip(1..).try_for_each(|(value, number)| statement.raw_bind_parameter(number, value))
}

fn standing(connection: &Connection, key: &StoreKey, now: Timestamp) -> Result<Option<Standing>> {
    let mut statement = connection.prepare_cached(STANDING)?;
    let found = statement.query_row(params![Key(key), millis(now)], |row| {
        Ok(match tombstone(row, 0, now)? {
            Some(tombstone) => Standing::Dead(tombstone),
            None => Standing::Live { version: version(row, 7)?, epoch: row.get::<_, Option<_>>(8)?.unwrap_or(0) },
        })
    });
    found.optional()
}

/// Puts the tombstone in the place of a live record; `false`: there is none of this version.
fn put_tombstone(
    connection: &Connection,
    key: &StoreKey,
    at: Option<Version>,
    tombstone: &Tombstone,
    now: Timestamp,
) -> Result<bool> {
    let (until, why, nonce, made, successor) = tombstone_columns(tombstone);
    let at = at.map(|version| version.bits() as i64);
    let one = params![until, why, nonce, made, successor, Key(key), millis(now), at];
    Ok(connection.prepare_cached(BURY)?.execute(one)? == 1)
}

pub(super) fn erect(connection: &Connection, key: &StoreKey, tombstone: &Tombstone) -> Result<()> {
    let (until, why, nonce, made, successor) = tombstone_columns(tombstone);
    let one = params![until, why, nonce, made, successor, Key(key)];
    connection.prepare_cached(ERECT)?.execute(one).map(drop)
}

/// The epoch that a new record carries. `None`: it was raised since the one that the record began in.
fn epoch_of(connection: &Connection, record: &Record) -> Result<Option<i64>> {
    let principal = record.principal.as_deref();
    let Some(began) = record.epoch else { return present(connection, principal).map(Some) };
    let began = signed(began);
    Ok(admits(connection, principal, record.lineage, began)?.then_some(began))
}

/// Whether a session of this lineage that began in this epoch may live.
fn admits(connection: &Connection, principal: Option<&str>, lineage: u64, began: i64) -> Result<bool> {
    let mut statement = connection.prepare_cached(RAISES)?;
    let mut raises = statement.query([principal])?;
    while let Some(raise) = raises.next()? {
        let (is_everybodys, epoch, passes): (bool, i64, Option<i64>) = (raise.get(0)?, raise.get(1)?, raise.get(2)?);
        let passes = !is_everybodys && passes == Some(lineage as i64);
        if began < epoch && !passes {
            return Ok(false);
        }
    }
    Ok(true)
}

fn present(connection: &Connection, principal: Option<&str>) -> Result<i64> {
    connection.prepare_cached(EPOCH)?.query_row([principal], |row| row.get(0))
}

fn raise(connection: &Connection, whose: &dyn ToSql, passes: Option<i64>, now: Timestamp) -> Result<i64> {
    let epoch = connection.prepare_cached(NEXT_EPOCH)?.query_row([millis(now)], |row| row.get(0))?;
    connection.prepare_cached(RAISE)?.execute(params![whose, epoch, passes])?;
    Ok(epoch)
}

/// Writes down the lineages that rows of version 1 have by their keys.
fn add_lineages(connection: &Connection, principal: &str) -> Result<()> {
    let mut statement = connection.prepare_cached(WITHOUT_LINEAGE)?;
    let rows = statement.query_map([principal], |row| Ok((row.get::<_, i64>(0)?, key(row.get_ref(1)?)?)))?;
    let rows: Vec<_> = rows.collect::<Result<_>>()?;
    for (row, key) in rows {
        connection.prepare_cached(SET_LINEAGE)?.execute([derived_lineage(&key) as i64, row])?;
    }
    Ok(())
}

fn derived_lineage(key: &StoreKey) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = key.digest();
    (u64::from_le_bytes([a, b, c, d, e, f, g, h]) >> 1).max(1)
}

fn record(row: &Row<'_>, key: &StoreKey) -> Result<Record> {
    let principal: Option<Box<str>> = row.get(5)?;
    let (lineage, epoch): (Option<i64>, Option<i64>) = (row.get(10)?, row.get(11)?);
    let lineage = match lineage {
        Some(lineage) => lineage as u64,
        None if principal.is_some() => derived_lineage(key),
        None => 0,
    };
    let epoch = principal.as_ref().map(|_| epoch.unwrap_or(0) as u64);
    Ok(Record {
        created: timestamp(row.get(0)?),
        idle_seconds: row.get(1)?,
        idle_expires: timestamp(row.get(2)?),
        absolute_expires: row.get::<_, Option<i64>>(3)?.map(timestamp),
        persistent: row.get(4)?,
        label: row.get(6)?,
        data: Bytes::copy_from_slice(row.get_ref(7)?.as_blob()?),
        lineage,
        epoch,
        guarded_until: row.get::<_, Option<i64>>(12)?.map(timestamp),
        extra: Bytes::new(),
        principal,
    })
}

/// The tombstone in the columns from `first`. `None`: a live record.
fn tombstone(row: &Row<'_>, first: usize, now: Timestamp) -> Result<Option<Tombstone>> {
    let moment = |column| row.get::<_, Option<i64>>(first + column).map(|moment| moment.map(timestamp));
    let expires = timestamp(row.get(first + 1)?);
    if !row.get::<_, bool>(first)? {
        let guard = moment(2)?.filter(|_| expires <= now);
        return Ok(guard.map(|until| Tombstone { why: Why::Ended, nonce: 0, made: expires, until }));
    }
    let why = match row.get(first + 3)? {
        Some(1) => Why::BegunAgain,
        Some(2) => Why::Renewed {
            successor: match row.get_ref(first + 6)? {
                ValueRef::Null => None,
                name => Some(key(name)?),
            },
        },
        _ => Why::Ended,
    };
    // Version 1 knew but one kind of tombstone.
    let made = moment(5)?
        .unwrap_or_else(|| Timestamp::from_millis(expires.as_millis().saturating_sub(GONE_FOR.as_millis() as u64)));
    let nonce: Option<i64> = row.get(first + 4)?;
    Ok(Some(Tombstone { why, nonce: nonce.unwrap_or(0) as u64, made, until: expires }))
}

/// What the columns of a tombstone hold.
fn tombstone_columns(tombstone: &Tombstone) -> (i64, i64, i64, i64, Option<Key<'_>>) {
    let (why, successor) = match &tombstone.why {
        Why::Ended => (0, None),
        Why::BegunAgain => (1, None),
        Why::Renewed { successor } => (2, successor.as_ref().map(Key)),
    };
    (millis(tombstone.until), why, tombstone.nonce as i64, millis(tombstone.made), successor)
}

fn version(row: &Row<'_>, column: usize) -> Result<Version> {
    Ok(Version::from_bits(row.get::<_, i64>(column)? as u64))
}

fn signed(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(statement: &str) -> String {
        let mut connection = Connection::open_in_memory().unwrap();
        create_tables(&mut connection).unwrap();
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        let steps = statement.raw_query().mapped(|row| row.get::<_, String>(3)).collect::<Result<Vec<_>>>();
        steps.unwrap().join("; ")
    }

    #[test]
    fn only_the_end_of_everybodys_sessions_looks_at_every_row() {
        for statement in
            [LOAD, STANDING, REPLACE, TOUCH, BURY, BURY_ALL_OF, BURY_LINEAGE, LIST_OF, OTHERS, EPOCH, RAISES, PURGE]
        {
            assert!(!plan(statement).contains("SCAN"), "{statement}: {}", plan(statement));
        }
        assert!(plan(COUNT).contains("COVERING INDEX dewar_session_expires"), "{}", plan(COUNT));
        assert!(plan(BURY_EXPIRED).contains("INDEX dewar_session_guarded (expires<?)"), "{}", plan(BURY_EXPIRED));
    }

    #[test]
    fn the_next_epoch_is_found_without_a_search() {
        assert!(plan(NEXT_EPOCH).contains("COVERING INDEX dewar_epoch_epoch"), "{}", plan(NEXT_EPOCH));
    }
}
