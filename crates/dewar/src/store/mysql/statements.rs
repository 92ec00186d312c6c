//! What each verb of the contract is in SQL.
//!
//! `{db}` stands for the database of the tables, which [`Lease`] knows. A tombstone is a row with `gone = 1` and without data. `expires` is the earlier of the two expiries, or the end of the
//! tombstone. A verb that is one statement commits itself; the others are in [`steps`](super::steps).

use mysql_async::{Row, Value};

use super::{
    connection::{Failure, Lease},
    rows::{
        Standing, fields, id, listed, load as loaded, millis, new_id, new_whose, row_columns, signed, standing,
        state_columns, take, tombstone, whose,
    },
    schema::SCHEMA,
    script::Script,
};
use crate::store::{Create, Delete, Load, Record, Replace, StoreKey, Timestamp, Tombstone, Touch, Version, Written};

type Result<T> = std::result::Result<T, Failure>;

/// How often something is begun again that met something else each time.
pub(super) const ATTEMPTS: usize = 5;

/// Another row has this key.
const DUPLICATE: u16 = 1062;
/// A column may not be NULL.
const IS_NULL: u16 = 1048;

pub(super) const LOAD: &str = concat!("SELECT ", row_columns!(), " FROM {db}.dewar_session WHERE id = ?");

const STANDING: &str = concat!("SELECT ", state_columns!(), " FROM {db}.dewar_session WHERE id = ?");

macro_rules! insert {
    ($epoch:literal) => {
        concat!(
            "INSERT INTO {db}.dewar_session (id, version, expires, created, idle_seconds, idle_expires, absolute_expires, \
             persistent, principal, label, data, lineage, guarded_until, epoch, gone) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ",
            $epoch,
            ", 0)"
        )
    };
}

/// With the epoch that was found under a lock.
const INSERT: &str = insert!("?");

/// With the present epoch, which the answer gives as the id of the row. The lock lasts until the row is there: whoever raises
/// an epoch finds the row, or was first.
const BEGIN: &str = insert!(
    "LAST_INSERT_ID((SELECT GREATEST(everybodys.epoch, own.epoch) FROM {db}.dewar_epoch AS everybodys \
     JOIN {db}.dewar_epoch AS own ON own.whose = ? WHERE everybodys.whose = 'everybody' LOCK IN SHARE MODE))"
);

/// With an epoch that was given before. Where it was raised since, it is NULL, which is refused.
const GO_ON: &str = insert!(
    "(SELECT CAST(? AS SIGNED) FROM {db}.dewar_epoch AS everybodys JOIN {db}.dewar_epoch AS own ON own.whose = ? \
     WHERE everybodys.whose = 'everybody' AND everybodys.epoch <= ? AND (own.epoch <= ? OR own.passes = ?) LOCK IN SHARE MODE)"
);

const REPLACE: &str = "\
    UPDATE {db}.dewar_session SET version = ?, expires = ?, created = ?, idle_seconds = ?, idle_expires = ?, \
    absolute_expires = ?, persistent = ?, principal = ?, label = ?, data = ?, lineage = ?, guarded_until = ?, \
    epoch = COALESCE(?, epoch) WHERE id = ? AND version = ? AND gone = 0 AND expires > ?";

const TOUCH: &str = "\
    UPDATE {db}.dewar_session SET idle_expires = ?, expires = LEAST(?, COALESCE(absolute_expires, ?)) \
    WHERE id = ? AND version = ? AND gone = 0 AND expires > ?";

/// A tombstone in the place of a record, from what [`tombstone`] gives. It names the index, because each row that is looked at is locked.
macro_rules! put_tombstone {
    ($index:literal: $which:literal) => {
        concat!(
            "UPDATE {db}.dewar_session FORCE INDEX (",
            $index,
            ") SET gone = 1, expires = GREATEST(?, COALESCE(guarded_until, 0)), guarded_until = NULL, \
             why = ?, nonce = ?, made = ?, successor = ?, principal = NULL, label = NULL, lineage = 0, epoch = 0, data = NULL \
             WHERE gone = 0 AND ",
            $which
        )
    };
}
pub(super) use put_tombstone;

const BURY: &str = put_tombstone!("PRIMARY": "id = ? AND expires > ?");

const BURY_AT: &str = put_tombstone!("PRIMARY": "id = ? AND expires > ? AND version = ?");

const REMOVE_EXPIRED: &str =
    "DELETE FROM {db}.dewar_session WHERE id = ? AND expires <= ? AND COALESCE(guarded_until, 0) <= ?";

/// Each changes nothing, and is refused where it may not be done.
const PING: [&str; 3] = [
    "INSERT INTO {db}.dewar_session SELECT * FROM {db}.dewar_session WHERE FALSE",
    "UPDATE {db}.dewar_session SET version = version WHERE id = ''",
    "DELETE FROM {db}.dewar_session WHERE id = ''",
];

const COUNT: &str = "SELECT COUNT(*) FROM {db}.dewar_session WHERE gone = 0 AND expires > ?";

const LIST: &str = concat!(
    "SELECT ",
    row_columns!(),
    " FROM {db}.dewar_session WHERE id > ? AND gone = 0 AND expires > ? ORDER BY id LIMIT ?"
);

const LIST_OF: &str = concat!(
    "SELECT ",
    row_columns!(),
    " FROM {db}.dewar_session FORCE INDEX (dewar_session_principal) \
     WHERE principal = ? AND id > ? AND gone = 0 AND expires > ? ORDER BY id LIMIT ?"
);

const EPOCH: &str = "SELECT COALESCE(MAX(epoch), 0) FROM {db}.dewar_epoch WHERE whose IN (?, ?)";

/// The row of a principal, which is locked wherever it is somebody's session that is written.
const ADD_EPOCH: &str = "INSERT IGNORE INTO {db}.dewar_epoch (whose, epoch) VALUES (?, 0)";

/// A claim that lies in the future was made by a clock that is wrong.
const CLAIM_PURGE: &str = "UPDATE {db}.dewar_schema SET purged = ? WHERE version = ? AND (purged <= ? OR purged > ?)";

/// How long nobody else purges, in milliseconds: a little less than the time between two purges of one process.
const CLAIMED_FOR: i64 = 50_000;

/// Looks into the table: `SELECT 1` alone does not.
pub(super) async fn ping(connection: &mut Lease) -> Result<()> {
    let asks = PING.iter().fold(Script::default(), |script, statement| script.then(statement, &[]));
    asks.run(connection).await.map(drop)
}

pub(super) async fn load(connection: &mut Lease, key: &StoreKey, now: Timestamp) -> Result<Load> {
    let row = connection.first(LOAD, vec![id(key)]).await?;
    row.map_or(Ok(Load::Missing), |row| loaded(row, now))
}

/// Without a cap, or for nobody.
pub(super) async fn create(
    connection: &mut Lease,
    key: &StoreKey,
    version: Version,
    record: &Record,
    now: Timestamp,
) -> Result<Create> {
    let principal = record.principal.as_deref();
    let mut has_epoch = false;
    for _ in 0..ATTEMPTS {
        let mut values = vec![new_id(key)?];
        values.extend(fields(record, version)?);
        let inserted = match record.epoch.map(signed) {
            None => {
                values.push(whose(principal));
                connection.change(BEGIN, values).await
            }
            Some(began) => {
                let began = Value::from(began);
                values.extend([began.clone(), whose(principal), began.clone(), began, (record.lineage as i64).into()]);
                connection.change(GO_ON, values).await
            }
        };
        match inserted {
            Ok(_) => {
                let present = || connection.last_insert_id().unwrap_or(0);
                let epoch = principal.map_or(0, |_| record.epoch.unwrap_or_else(present));
                return Ok(Create::Created(Written { version, epoch, ended: 0 }));
            }
            Err(failure) if failure.code() == Some(DUPLICATE) => {
                if remove_expired(connection, key, now).await? {
                    continue;
                }
                match stands(connection, key, now).await? {
                    Some(standing) => return Ok(standing.tombstone().map_or(Create::Exists, Create::Gone)),
                    None => continue,
                }
            }
            Err(failure) if failure.code() == Some(IS_NULL) => {
                // What stands there is answered first.
                if let Some(standing) = stands(connection, key, now).await? {
                    return Ok(standing.tombstone().map_or(Create::Exists, Create::Gone));
                }
                if has_epoch && record.epoch.is_some() {
                    return Ok(Create::Outdated);
                }
                add_epoch(connection, principal).await?;
                has_epoch = true;
            }
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::Told("what stands under the key changes all the time, or everybody's row of dewar_epoch is missing"))
}

/// In a transaction; `false`: another row has this key.
pub(super) async fn insert(
    connection: &mut Lease,
    key: &StoreKey,
    version: Version,
    record: &Record,
    epoch: i64,
) -> Result<bool> {
    let mut values = vec![new_id(key)?];
    values.extend(fields(record, version)?);
    values.push(epoch.into());
    match connection.change(INSERT, values).await {
        Ok(_) => Ok(true),
        Err(failure) if failure.code() == Some(DUPLICATE) => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// With `None`, the epoch of what stands there stays.
pub(super) async fn replace(
    connection: &mut Lease,
    key: &StoreKey,
    at: Version,
    version: Version,
    record: &Record,
    epoch: Option<i64>,
    now: Timestamp,
) -> Result<Replace> {
    let mut values = fields(record, version)?.to_vec();
    values.extend([epoch.into(), id(key), (at.bits() as i64).into(), millis(now).into()]);
    if connection.change(REPLACE, values).await? == 1 {
        return Ok(Replace::Replaced(version));
    }
    Ok(match stands(connection, key, now).await? {
        Some(Standing::Live { .. }) => Replace::Conflict,
        dead => Replace::Gone(dead.and_then(Standing::tombstone)),
    })
}

pub(super) async fn touch(
    connection: &mut Lease,
    key: &StoreKey,
    at: Version,
    idle_expires: Timestamp,
    now: Timestamp,
) -> Result<Touch> {
    let moment = Value::from(millis(idle_expires));
    let values = vec![moment.clone(), moment.clone(), moment, id(key), (at.bits() as i64).into(), millis(now).into()];
    if connection.change(TOUCH, values).await? == 1 {
        return Ok(Touch::Touched);
    }
    Ok(match stands(connection, key, now).await? {
        // It expires then already: to the server, nothing was changed.
        Some(Standing::Live { version, .. }) if version == at => Touch::Touched,
        Some(Standing::Live { .. }) => Touch::Conflict,
        dead => Touch::Gone(dead.and_then(Standing::tombstone)),
    })
}

/// Puts the tombstone in the place of a live record; `false`: there is none of this version.
pub(super) async fn bury(
    connection: &mut Lease,
    key: &StoreKey,
    at: Option<Version>,
    dead: &Tombstone,
    now: Timestamp,
) -> Result<bool> {
    let mut values = tombstone(dead)?.to_vec();
    values.extend([id(key), millis(now).into()]);
    let changed = match at {
        None => connection.change(BURY, values).await?,
        Some(at) => {
            values.push((at.bits() as i64).into());
            connection.change(BURY_AT, values).await?
        }
    };
    Ok(changed == 1)
}

/// Where nothing of this version was buried.
pub(super) async fn not_deleted(connection: &mut Lease, key: &StoreKey, now: Timestamp) -> Result<Delete> {
    Ok(match stands(connection, key, now).await? {
        Some(Standing::Live { .. }) => Delete::Conflict,
        dead => Delete::Gone(dead.and_then(Standing::tombstone)),
    })
}

pub(super) async fn count(connection: &mut Lease, now: Timestamp) -> Result<u64> {
    number(connection, COUNT, vec![millis(now).into()]).await
}

pub(super) async fn list(
    connection: &mut Lease,
    principal: Option<&str>,
    after: Option<&StoreKey>,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<(StoreKey, Record, Version)>> {
    let after = after.map_or_else(|| Value::Bytes(Vec::new()), id);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows: Vec<Row> = match principal {
        Some(principal) => {
            let values = vec![principal.as_bytes().into(), after, millis(now).into(), limit.into()];
            connection.all(LIST_OF, values).await?
        }
        None => connection.all(LIST, vec![after, millis(now).into(), limit.into()]).await?,
    };
    rows.into_iter().map(listed).collect()
}

pub(super) async fn epoch(connection: &mut Lease, principal: Option<&str>) -> Result<u64> {
    number(connection, EPOCH, vec![whose(None), whose(principal)]).await
}

pub(super) async fn claim_purge(connection: &mut Lease, now: Timestamp) -> Result<bool> {
    let now = millis(now);
    let values = vec![now.into(), SCHEMA.into(), (now - CLAIMED_FOR).into(), now.into()];
    Ok(connection.change(CLAIM_PURGE, values).await? == 1)
}

/// Makes way for a new row; `false`: nothing expired is there.
pub(super) async fn remove_expired(connection: &mut Lease, key: &StoreKey, now: Timestamp) -> Result<bool> {
    let values = vec![id(key), millis(now).into(), millis(now).into()];
    Ok(connection.change(REMOVE_EXPIRED, values).await? == 1)
}

/// Adds the row that a session of this principal needs, where it is missing.
pub(super) async fn add_epoch(connection: &mut Lease, principal: Option<&str>) -> Result<()> {
    connection.change(ADD_EPOCH, vec![new_whose(principal)?]).await.map(drop)
}

async fn stands(connection: &mut Lease, key: &StoreKey, now: Timestamp) -> Result<Option<Standing>> {
    let row = connection.first(STANDING, vec![id(key)]).await?;
    row.map_or(Ok(None), |mut row| standing(&mut row, now))
}

async fn number(connection: &mut Lease, statement: &str, values: Vec<Value>) -> Result<u64> {
    let row = connection.first(statement, values).await?;
    row.map_or(Ok(0), |mut row| take(&mut row, 0))
}
