//! What the columns hold, and what is read of them.
//!
//! Moments are milliseconds since the Unix epoch. Keys and principals are bytes: no collation makes two of them one.

use bytes::Bytes;
use mysql_async::{
    Row, Value,
    prelude::{FromValue, ToValue},
};

use super::connection::Failure;
use crate::store::{Load, Record, StoreKey, Timestamp, Tombstone, Version, Why};

/// Of a key, in bytes.
pub(super) const LONGEST_KEY: usize = 768;

/// Of a principal, in bytes: with a key, what an index of InnoDB has room for.
pub(super) const LONGEST_PRINCIPAL: usize = 1024;

const LONG_PRINCIPAL: Failure = Failure::Told("a principal has more than 1024 bytes");

/// Of a label, in bytes.
const LONGEST_LABEL: usize = 65_535;

/// The columns that say whether something stands there, in the order of [`standing`].
macro_rules! state_columns {
    () => {
        "gone, expires, guarded_until, why, nonce, made, successor, version, epoch"
    };
}
pub(super) use state_columns;

/// Those of a whole row, in the order of [`load`].
macro_rules! row_columns {
    () => {
        concat!(
            $crate::store::mysql::rows::state_columns!(),
            ", created, idle_seconds, idle_expires, absolute_expires, persistent, principal, label, data, lineage, id"
        )
    };
}
pub(super) use row_columns;

/// What keeps its key from being free.
pub(super) enum Standing {
    Live { version: Version, epoch: i64 },
    Dead(Tombstone),
}

impl Standing {
    pub(super) fn tombstone(self) -> Option<Tombstone> {
        match self {
            Self::Live { .. } => None,
            Self::Dead(tombstone) => Some(tombstone),
        }
    }
}

/// `None`: what was there has expired.
pub(super) fn standing(row: &mut Row, now: Timestamp) -> Result<Option<Standing>, Failure> {
    let expires = timestamp(take(row, 1)?);
    if take(row, 0)? {
        if expires <= now {
            return Ok(None);
        }
        let why = match take::<Option<i64>>(row, 3)? {
            Some(1) => Why::BegunAgain,
            Some(2) => {
                let successor = take::<Option<Vec<u8>>>(row, 6)?;
                Why::Renewed { successor: successor.map(key).transpose()? }
            }
            _ => Why::Ended,
        };
        let nonce: Option<i64> = take(row, 4)?;
        let made = take::<Option<i64>>(row, 5)?.map_or(expires, timestamp);
        return Ok(Some(Standing::Dead(Tombstone { why, nonce: nonce.unwrap_or(0) as u64, made, until: expires })));
    }
    if expires > now {
        let version = Version::from_bits(take::<i64>(row, 7)? as u64);
        return Ok(Some(Standing::Live { version, epoch: take(row, 8)? }));
    }
    let guard = take::<Option<i64>>(row, 2)?.map(timestamp).filter(|until| *until > now);
    Ok(guard.map(|until| Standing::Dead(Tombstone { why: Why::Ended, nonce: 0, made: expires, until })))
}

pub(super) fn load(mut row: Row, now: Timestamp) -> Result<Load, Failure> {
    Ok(match standing(&mut row, now)? {
        Some(Standing::Live { version, epoch }) => Load::Found(record(&mut row, epoch)?, version),
        Some(Standing::Dead(tombstone)) => Load::Gone(tombstone),
        None => Load::Missing,
    })
}

pub(super) fn listed(mut row: Row) -> Result<(StoreKey, Record, Version), Failure> {
    let version = Version::from_bits(take::<i64>(&mut row, 7)? as u64);
    let epoch = take(&mut row, 8)?;
    Ok((key(take(&mut row, 18)?)?, record(&mut row, epoch)?, version))
}

fn record(row: &mut Row, epoch: i64) -> Result<Record, Failure> {
    let principal = take::<Option<Vec<u8>>>(row, 14)?.map(text).transpose()?;
    Ok(Record {
        created: timestamp(take(row, 9)?),
        idle_seconds: take(row, 10)?,
        idle_expires: timestamp(take(row, 11)?),
        absolute_expires: take::<Option<i64>>(row, 12)?.map(timestamp),
        persistent: take(row, 13)?,
        label: take::<Option<Vec<u8>>>(row, 15)?.map(text).transpose()?,
        data: take::<Option<Vec<u8>>>(row, 16)?.map(Bytes::from).unwrap_or_default(),
        lineage: take::<i64>(row, 17)? as u64,
        epoch: principal.as_ref().map(|_| epoch as u64),
        guarded_until: take::<Option<i64>>(row, 2)?.map(timestamp),
        extra: Bytes::new(),
        principal,
    })
}

/// Each column is taken once.
pub(super) fn take<T: FromValue>(row: &mut Row, column: usize) -> Result<T, Failure> {
    let value = row.take_opt(column).and_then(Result::ok);
    value.ok_or(Failure::Told("a column of its tables holds something else than it was given"))
}

/// What a record's columns hold, from its version to its guard, in the order of the statements that write them.
pub(super) fn fields(record: &Record, version: Version) -> Result<[Value; 12], Failure> {
    let principal = record.principal.as_deref().map(str::as_bytes);
    let label = record.label.as_deref().map(str::as_bytes);
    if principal.is_some_and(|principal| principal.len() > LONGEST_PRINCIPAL) {
        return Err(LONG_PRINCIPAL);
    }
    if label.is_some_and(|label| label.len() > LONGEST_LABEL) {
        return Err(Failure::Told("a label has more than 65535 bytes"));
    }
    Ok([
        (version.bits() as i64).into(),
        millis(record.expires()).into(),
        millis(record.created).into(),
        record.idle_seconds.into(),
        millis(record.idle_expires).into(),
        record.absolute_expires.map(millis).into(),
        record.persistent.into(),
        principal.to_value(),
        label.to_value(),
        record.data.to_vec().into(),
        (record.lineage as i64).into(),
        record.guarded_until.map(millis).into(),
    ])
}

/// What a tombstone's columns hold: until, why, nonce, made, successor.
pub(super) fn tombstone(tombstone: &Tombstone) -> Result<[Value; 5], Failure> {
    let (why, successor) = match &tombstone.why {
        Why::Ended => (0, None),
        Why::BegunAgain => (1, None),
        Why::Renewed { successor } => (2, successor.as_ref()),
    };
    let successor = successor.map(new_id).transpose()?;
    Ok([
        millis(tombstone.until).into(),
        why.into(),
        (tombstone.nonce as i64).into(),
        millis(tombstone.made).into(),
        successor.unwrap_or(Value::NULL),
    ])
}

/// The column `id` of a key that is looked for: one that is too long is not there.
pub(super) fn id(key: &StoreKey) -> Value {
    key.to_string().into_bytes().into()
}

/// The column `id` of a key that is written.
pub(super) fn new_id(key: &StoreKey) -> Result<Value, Failure> {
    if is_too_long(key) {
        return Err(Failure::Told("the name of another framework's record has more than 768 bytes"));
    }
    Ok(id(key))
}

pub(super) fn is_too_long(key: &StoreKey) -> bool {
    key.to_string().len() > LONGEST_KEY
}

fn key(id: Vec<u8>) -> Result<StoreKey, Failure> {
    Ok(StoreKey::parse(&text(id)?))
}

fn text(bytes: Vec<u8>) -> Result<Box<str>, Failure> {
    let text = String::from_utf8(bytes).map_err(|_| Failure::Told("a column of its tables holds no text"))?;
    Ok(text.into())
}

/// The row of `dewar_epoch` that is a principal's, or everybody's, where it is looked for. Everybody's comes before the others.
pub(super) fn whose(principal: Option<&str>) -> Value {
    match principal {
        Some(principal) => format!("of {principal}").into_bytes().into(),
        None => EVERYBODY.into(),
    }
}

/// The same row where it is written.
pub(super) fn new_whose(principal: Option<&str>) -> Result<Value, Failure> {
    match principal {
        Some(principal) if principal.len() > LONGEST_PRINCIPAL => Err(LONG_PRINCIPAL),
        principal => Ok(whose(principal)),
    }
}

pub(super) const EVERYBODY: &[u8] = b"everybody";

pub(super) fn signed(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX)
}

/// The columns are signed: what lies beyond them is the end of time.
pub(super) fn millis(moment: Timestamp) -> i64 {
    i64::try_from(moment.as_millis()).unwrap_or(i64::MAX)
}

fn timestamp(millis: i64) -> Timestamp {
    match millis {
        i64::MAX => Timestamp::from_millis(u64::MAX),
        millis => Timestamp::from_millis(millis.max(0) as u64),
    }
}
