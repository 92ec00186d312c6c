//! What a record, a tombstone and a key are in columns.

use std::borrow::Cow;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio_postgres::{
    Error, Row,
    types::{ToSql, Type},
};

use crate::store::{Load, Record, StoreKey, Timestamp, Tombstone, Version, Why};

/// What stands before the digest of a foreign name, so that it is no key of ours.
const FOREIGN: u8 = 2;

/// A key, as long as an index takes.
pub(super) struct Key<'a> {
    bytes: [u8; 33],
    length: usize,
    pub(super) name: Option<Cow<'a, str>>,
}

impl<'a> Key<'a> {
    pub(super) fn of(key: &'a StoreKey) -> Self {
        let mut bytes = [FOREIGN; 33];
        if key.is_foreign() {
            bytes[1..].copy_from_slice(&key.digest());
            return Self { bytes, length: 33, name: Some(Cow::Owned(escaped(&key.to_string()).into_owned())) };
        }
        bytes[..32].copy_from_slice(&key.digest());
        Self { bytes, length: 32, name: None }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// What `key` and `name` hold.
pub(super) fn key(bytes: &[u8], name: Option<&str>) -> Option<StoreKey> {
    match name {
        Some(name) => Some(StoreKey::foreign(unescaped(name))),
        None => bytes.try_into().ok().map(StoreKey::from_digest),
    }
}

/// What names a principal in an index, however long it is.
pub(super) fn owner(principal: &str) -> Vec<u8> {
    Sha256::digest(principal.as_bytes()).to_vec()
}

/// A value of a statement, with its type.
pub(super) type Value<'a> = (&'a (dyn ToSql + Sync), Type);

pub(super) fn bytea(bytes: &(dyn ToSql + Sync)) -> Value<'_> {
    (bytes, Type::BYTEA)
}

pub(super) fn int8(number: &(dyn ToSql + Sync)) -> Value<'_> {
    (number, Type::INT8)
}

pub(super) fn text(text: &(dyn ToSql + Sync)) -> Value<'_> {
    (text, Type::TEXT)
}

/// What the columns of a record hold, in the order of `dewar.record_1`.
pub(super) struct Columns<'a> {
    name: Option<Cow<'a, str>>,
    expires: i64,
    created: i64,
    idle_seconds: i64,
    idle_expires: i64,
    absolute_expires: Option<i64>,
    persistent: bool,
    owner: Option<Vec<u8>>,
    principal: Option<Cow<'a, str>>,
    label: Option<Cow<'a, str>>,
    lineage: i64,
    epoch: Option<i64>,
    guarded_until: Option<i64>,
    data: &'a [u8],
}

impl<'a> Columns<'a> {
    pub(super) fn of(key: &Key<'a>, record: &'a Record) -> Self {
        Self {
            name: key.name.clone(),
            expires: millis(record.expires()),
            created: millis(record.created),
            idle_seconds: record.idle_seconds.into(),
            idle_expires: millis(record.idle_expires),
            absolute_expires: record.absolute_expires.map(millis),
            persistent: record.persistent,
            owner: record.principal.as_deref().map(owner),
            principal: record.principal.as_deref().map(escaped),
            label: record.label.as_deref().map(escaped),
            lineage: record.lineage as i64,
            epoch: record.epoch.map(signed),
            guarded_until: record.guarded_until.map(millis),
            data: &record.data,
        }
    }

    pub(super) fn values(&self) -> [Value<'_>; 14] {
        [
            text(&self.name),
            int8(&self.expires),
            int8(&self.created),
            int8(&self.idle_seconds),
            int8(&self.idle_expires),
            int8(&self.absolute_expires),
            (&self.persistent, Type::BOOL),
            bytea(&self.owner),
            text(&self.principal),
            text(&self.label),
            int8(&self.lineage),
            int8(&self.epoch),
            int8(&self.guarded_until),
            bytea(&self.data),
        ]
    }
}

/// What a tombstone is in `dewar.tombstone_1`; all of it NULL where there is none.
#[derive(Default)]
pub(super) struct TombstoneColumns {
    why: Option<i32>,
    nonce: Option<i64>,
    made: Option<i64>,
    until: Option<i64>,
    successor: Option<Vec<u8>>,
    successor_name: Option<String>,
}

impl TombstoneColumns {
    pub(super) fn of(tombstone: &Tombstone) -> Self {
        let (why, successor) = match &tombstone.why {
            Why::Ended => (0, None),
            Why::BegunAgain => (1, None),
            Why::Renewed { successor } => (2, successor.as_ref().map(Key::of)),
        };
        Self {
            why: Some(why),
            nonce: Some(tombstone.nonce as i64),
            made: Some(millis(tombstone.made)),
            until: Some(millis(tombstone.until)),
            successor: successor.as_ref().map(|key| key.bytes().to_vec()),
            successor_name: successor.and_then(|key| key.name.map(Cow::into_owned)),
        }
    }

    pub(super) fn values(&self) -> [Value<'_>; 6] {
        [
            (&self.why, Type::INT4),
            int8(&self.nonce),
            int8(&self.made),
            int8(&self.until),
            bytea(&self.successor),
            text(&self.successor_name),
        ]
    }
}

/// `ROW($n, ...)::dewar.record_1`, from this parameter.
pub(super) fn record_parameters(first: usize) -> String {
    row(first, 14, "dewar.record_1")
}

/// `ROW($n, ...)::dewar.tombstone_1`, from this parameter.
pub(super) fn tombstone_parameters(first: usize) -> String {
    row(first, 6, "dewar.tombstone_1")
}

fn row(first: usize, count: usize, kind: &str) -> String {
    let parameters: Vec<_> = (first..first + count).map(|number| format!("${number}")).collect();
    format!("ROW({})::{kind}", parameters.join(", "))
}

/// The columns of a record, as they are read from [`RECORD`].
pub(super) const RECORD: &str = "created, idle_seconds, idle_expires, absolute_expires, persistent, principal, label, data, \
                                 version, lineage, epoch, guarded_until";

pub(super) fn record(row: &Row) -> Result<(Record, Version), Error> {
    let principal: Option<&str> = row.try_get(5)?;
    let (lineage, epoch): (Option<i64>, Option<i64>) = (row.try_get(9)?, row.try_get(10)?);
    let idle: i64 = row.try_get(1)?;
    let record = Record {
        created: timestamp(row.try_get(0)?),
        idle_seconds: u32::try_from(idle).unwrap_or(u32::MAX),
        idle_expires: timestamp(row.try_get(2)?),
        absolute_expires: row.try_get::<_, Option<i64>>(3)?.map(timestamp),
        persistent: row.try_get(4)?,
        epoch: principal.map(|_| epoch.unwrap_or(0) as u64),
        principal: principal.map(unescaped),
        label: row.try_get::<_, Option<&str>>(6)?.map(unescaped),
        data: Bytes::copy_from_slice(row.try_get(7)?),
        lineage: lineage.unwrap_or(0) as u64,
        guarded_until: row.try_get::<_, Option<i64>>(11)?.map(timestamp),
        extra: Bytes::new(),
    };
    Ok((record, version(row.try_get(8)?)))
}

/// What stands before the tombstone's columns where one was loaded.
pub(super) const LOADED: &str = "gone, expires, why, nonce, made, expires, successor, successor_name";

/// What stands under a key: [`RECORD`], then [`LOADED`].
pub(super) fn load(row: &Row, now: Timestamp) -> Result<Load, Error> {
    let expires = timestamp(row.try_get(13)?);
    if row.try_get(12)? {
        let dead = tombstone(row, 14)?;
        return Ok(dead.map_or(Load::Missing, Load::Gone));
    }
    let (record, version) = record(row)?;
    Ok(match record.guarded_until {
        Some(until) if expires <= now => Load::Gone(Tombstone { why: Why::Ended, nonce: 0, made: expires, until }),
        _ => Load::Found(record, version),
    })
}

/// The tombstone in the columns from `first`. `None`: there is none.
pub(super) fn tombstone(row: &Row, first: usize) -> Result<Option<Tombstone>, Error> {
    let Some(why) = row.try_get::<_, Option<i32>>(first)? else { return Ok(None) };
    let number = |column: usize| row.try_get::<_, Option<i64>>(first + column).map(Option::unwrap_or_default);
    let why = match why {
        1 => Why::BegunAgain,
        2 => {
            let bytes: Option<&[u8]> = row.try_get(first + 4)?;
            let name: Option<&str> = row.try_get(first + 5)?;
            Why::Renewed { successor: bytes.and_then(|bytes| key(bytes, name)) }
        }
        _ => Why::Ended,
    };
    let (nonce, made, until) = (number(1)? as u64, timestamp(number(2)?), timestamp(number(3)?));
    Ok(Some(Tombstone { why, nonce, made, until }))
}

pub(super) fn version(bits: i64) -> Version {
    Version::from_bits(bits as u64)
}

pub(super) fn signed(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX)
}

/// The server's numbers are signed: what lies beyond them is the end of time.
pub(super) fn millis(moment: Timestamp) -> i64 {
    i64::try_from(moment.as_millis()).unwrap_or(i64::MAX)
}

fn timestamp(millis: i64) -> Timestamp {
    match millis {
        i64::MAX => Timestamp::from_millis(u64::MAX),
        millis => Timestamp::from_millis(millis.max(0) as u64),
    }
}

/// PostgreSQL's text has no NUL: it is written `\0`, and a backslash twice.
fn escaped(text: &str) -> Cow<'_, str> {
    match text.contains(['\\', '\0']) {
        true => Cow::Owned(text.replace('\\', "\\\\").replace('\0', "\\0")),
        false => Cow::Borrowed(text),
    }
}

pub(super) fn unescaped(text: &str) -> Box<str> {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    while let Some(part) = parts.next() {
        match part.strip_prefix('0') {
            Some(rest) => {
                plain.push('\0');
                plain.push_str(rest);
            }
            // Between two backslashes there is nothing.
            None => {
                plain.push('\\');
                plain.push_str(parts.next().unwrap_or_default());
            }
        }
    }
    plain.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_comes_back_from_text_without_nul() {
        for name in
            ["", "ada", "CORP\\ada", "a\0b", "\0", "\\", "\\\\", "\\0", "\0\\", "\\\0", "a\\\\0\0\\0", "\0\0\\\\"]
        {
            let text = escaped(name);
            assert!(!text.contains('\0'));
            assert_eq!(&*unescaped(&text), name, "{text}");
        }
    }
}
