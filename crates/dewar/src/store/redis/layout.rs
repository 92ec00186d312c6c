//! The bytes of a record of our own, which the scripts know too.
//!
//! ```text
//!  0  1  format: 2
//!  1  1  flags: 1 a tombstone, 2 persistent, 4 has an absolute expiry
//!  2  8  version
//! 10  8  idle expiry
//! 18  8  absolute expiry, or the largest number
//! 26  8  guarded until, or zero
//! 34  8  epoch; on the way to a script the largest number: the present one
//! 42  8  lineage
//! 50  8  created
//! 58  4  idle timeout, in seconds
//! 62  4  length of the principal and one, or zero: none        then the principal
//!     4  length of the label and one, or zero: none            then the label
//!        the data
//! ```
//!
//! A tombstone is as [`crate::store::tombstone`] writes it.
//!
//! A tombstone that a session is on its way from, as only a cluster knows it ([`super::cluster`]), has the flag 8, and goes on so after its reason:
//!
//! ```text
//! 27  2  length of the key of the successor                   then the key of the successor
//!     8  when the rename began, by the clock of the server
//!     2  length of the new key                                then the new key as text
//!        the record that is to stand there
//! ```
//!
//! Numbers are big-endian, moments milliseconds since the Unix epoch.
//!
//! Format 1 is still read. Its records end their expiries at 26 and go on with what stands at 50 here: the
//! principal stands at 38. They have the epoch zero and [the lineage of their key](lineage_of). Its marks end
//! after 18 bytes, and are tombstones of sessions that ended.

use bytes::{Buf, BufMut, Bytes};

pub(super) use crate::store::tombstone::encode as encode_tombstone;
use crate::store::{
    GONE_FOR, Load, Record, StoreError, StoreKey, Timestamp, Tombstone, Version, Why,
    tombstone::{FORMAT, TOMBSTONE, why_of},
};

const FORMER: u8 = 1;
const PERSISTENT: u8 = 2;
const ABSOLUTE: u8 = 4;
const MOVING: u8 = 8;

/// Where the expiries of a record end.
pub(super) const EXPIRIES: usize = 26;

/// Where a record's principal stands, which the scripts know.
const HEAD: usize = 62;

pub(super) fn encode(record: &Record, version: Version) -> Vec<u8> {
    let texts = [&record.principal, &record.label].map(|text| text.as_deref());
    let length = HEAD + 8 + record.data.len() + texts.into_iter().flatten().map(str::len).sum::<usize>();
    let mut bytes = Vec::with_capacity(length);
    bytes.put_u8(FORMAT);
    let absolute = if record.absolute_expires.is_some() { ABSOLUTE } else { 0 };
    bytes.put_u8(absolute | if record.persistent { PERSISTENT } else { 0 });
    bytes.put_u64(version.bits());
    bytes.put_u64(record.idle_expires.as_millis());
    bytes.put_u64(record.absolute_expires.map_or(u64::MAX, Timestamp::as_millis));
    bytes.put_u64(record.guarded_until.map_or(0, Timestamp::as_millis));
    bytes.put_u64(record.epoch.unwrap_or(u64::MAX));
    bytes.put_u64(record.lineage);
    bytes.put_u64(record.created.as_millis());
    bytes.put_u32(record.idle_seconds);
    texts.into_iter().for_each(|text| put_text(&mut bytes, text));
    bytes.put_slice(&record.data);
    bytes
}

/// What the index of a principal is told of a record: when it began and when it expires.
pub(super) fn span(record: &Record) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&record.created.as_millis().to_be_bytes());
    bytes[8..].copy_from_slice(&record.expires().as_millis().to_be_bytes());
    bytes
}

/// What stands under a key of our own.
pub(super) fn decode(key: &StoreKey, bytes: Vec<u8>, now: Timestamp) -> Result<Load, StoreError> {
    Ok(match read(key, Bytes::from(bytes)).ok_or_else(unknown)? {
        Found::Record(record, version) if !record.is_expired(now) => Load::Found(record, version),
        Found::Record(record, _) => guard(&record, now).map_or(Load::Missing, Load::Gone),
        Found::Tombstone(tombstone) if tombstone.until > now => Load::Gone(tombstone),
        Found::Tombstone(_) => Load::Missing,
    })
}

/// A tombstone that a script found.
pub(super) fn decode_tombstone(key: &StoreKey, bytes: Vec<u8>) -> Result<Tombstone, StoreError> {
    match read(key, Bytes::from(bytes)) {
        Some(Found::Tombstone(tombstone)) => Ok(tombstone),
        _ => Err(unknown()),
    }
}

/// Whether these are the first [`EXPIRIES`] bytes of a record that has not expired.
pub(super) fn is_live(head: &[u8], now: Timestamp) -> bool {
    let Some(mut expiries) = head.get(10..EXPIRIES) else { return false };
    let is_record = [FORMER, FORMAT].contains(&head[0]) && head[1] & TOMBSTONE == 0;
    is_record && expiries.get_u64().min(expiries.get_u64()) > now.as_millis()
}

/// Whether these first bytes may be those of a session that began before an epoch, or that is on its way.
pub(super) fn may_end(head: &[u8], before: Option<u64>) -> bool {
    let [FORMAT, flags, ..] = *head else { return !head.is_empty() };
    if flags & TOMBSTONE != 0 {
        return flags & MOVING != 0;
    }
    let epoch = head.get(34..42).and_then(|epoch| epoch.try_into().ok()).map(u64::from_be_bytes);
    epoch.is_none_or(|epoch| before.is_none_or(|before| epoch < before))
}

/// The lineage of a principal's record of format 1, which had no room for one: 63 bits of its key.
fn lineage_of(key: &StoreKey) -> u64 {
    let digest = key.digest();
    let lineage = (&digest[..]).get_u64_le() >> 1;
    lineage.max(1)
}

/// What an expired record that is guarded answers as.
fn guard(record: &Record, now: Timestamp) -> Option<Tombstone> {
    let until = record.guarded_until.filter(|until| *until > now)?;
    Some(Tombstone { why: Why::Ended, nonce: 0, made: record.expires(), until })
}

enum Found {
    Record(Record, Version),
    Tombstone(Tombstone),
}

fn read(key: &StoreKey, mut bytes: Bytes) -> Option<Found> {
    let format = bytes.try_get_u8().ok()?;
    if ![FORMER, FORMAT].contains(&format) {
        return None;
    }
    let flags = bytes.try_get_u8().ok()?;
    if flags & TOMBSTONE != 0 {
        let is_moving = flags & MOVING != 0;
        return read_tombstone(format, is_moving, &mut bytes).map(Found::Tombstone);
    }
    let version = Version::from_bits(bytes.try_get_u64().ok()?);
    let idle_expires = moment(&mut bytes)?;
    let absolute = moment(&mut bytes)?;
    let (mut guarded_until, mut epoch, mut lineage) = (Timestamp::default(), 0, lineage_of(key));
    if format == FORMAT {
        guarded_until = moment(&mut bytes)?;
        epoch = bytes.try_get_u64().ok()?;
        lineage = bytes.try_get_u64().ok()?;
    }
    let created = moment(&mut bytes)?;
    let idle_seconds = bytes.try_get_u32().ok()?;
    let principal = text(&mut bytes)?;
    let label = text(&mut bytes)?;
    let record = Record {
        data: bytes,
        created,
        idle_seconds,
        idle_expires,
        absolute_expires: (flags & ABSOLUTE != 0).then_some(absolute),
        persistent: flags & PERSISTENT != 0,
        lineage: if principal.is_some() || format == FORMAT { lineage } else { 0 },
        // Without a principal it is the store's own affair.
        epoch: principal.is_some().then_some(epoch),
        principal,
        label,
        guarded_until: (guarded_until != Timestamp::default()).then_some(guarded_until),
        extra: Bytes::new(),
    };
    Some(Found::Record(record, version))
}

fn read_tombstone(format: u8, is_moving: bool, bytes: &mut Bytes) -> Option<Tombstone> {
    let nonce = bytes.try_get_u64().ok()?;
    let until = moment(bytes)?;
    if format == FORMER {
        let made = Timestamp::from_millis(until.as_millis().saturating_sub(GONE_FOR.as_millis() as u64));
        return Some(Tombstone { why: Why::Ended, nonce: 0, made, until });
    }
    let made = moment(bytes)?;
    let why = bytes.try_get_u8().ok()?;
    let successor = if is_moving { key(bytes)? } else { bytes.split_off(0) };
    let why = why_of(why, &successor)?;
    Some(Tombstone { why, nonce, made, until })
}

/// A session that is on its way to another key.
pub(super) struct Moving {
    pub(super) nonce: [u8; 8],
    pub(super) to: StoreKey,
    /// What is to stand there.
    pub(super) record: Bytes,
}

/// What is on its way from the key where these bytes stand.
pub(super) fn moving(bytes: &[u8]) -> Option<Moving> {
    if bytes.get(1)? & (MOVING | TOMBSTONE) != MOVING | TOMBSTONE {
        return None;
    }
    let nonce = bytes.get(2..10)?.try_into().ok()?;
    let mut rest = Bytes::copy_from_slice(bytes.get(27..)?);
    key(&mut rest)?;
    rest.try_get_u64().ok()?;
    let to = key(&mut rest)?;
    Some(Moving { nonce, to: StoreKey::parse(std::str::from_utf8(&to).ok()?), record: rest })
}

/// Text with its length before it, in two bytes.
fn key(bytes: &mut Bytes) -> Option<Bytes> {
    let length = usize::from(bytes.try_get_u16().ok()?);
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

fn moment(bytes: &mut Bytes) -> Option<Timestamp> {
    bytes.try_get_u64().ok().map(Timestamp::from_millis)
}

fn put_text(bytes: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => {
            bytes.put_u32(text.len() as u32 + 1);
            bytes.put_slice(text.as_bytes());
        }
        None => bytes.put_u32(0),
    }
}

fn text(bytes: &mut Bytes) -> Option<Option<Box<str>>> {
    let length = bytes.try_get_u32().ok()?;
    let Some(length) = length.checked_sub(1) else { return Some(None) };
    if bytes.len() < length as usize {
        return None;
    }
    let text = bytes.split_to(length as usize);
    Some(Some(std::str::from_utf8(&text).ok()?.into()))
}

fn unknown() -> StoreError {
    StoreError::new("redis: a record has an unknown format")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1);

    fn key() -> StoreKey {
        StoreKey::from_digest([9; 32])
    }

    fn record() -> Record {
        Record {
            data: Bytes::from_static(b"data"),
            created: Timestamp::from_millis(1),
            idle_seconds: 60,
            idle_expires: Timestamp::from_millis(u64::MAX),
            absolute_expires: Some(Timestamp::from_millis(u64::MAX)),
            persistent: true,
            principal: Some("ann".into()),
            label: Some("".into()),
            lineage: 5,
            epoch: Some(6),
            guarded_until: Some(Timestamp::from_millis(7)),
            extra: Bytes::new(),
        }
    }

    #[test]
    fn a_record_cut_short_is_an_error_until_its_data_begins() {
        let version = Version::from_bits(7);
        let bytes = encode(&record(), version);
        assert_eq!(decode(&key(), bytes.clone(), NOW).unwrap(), Load::Found(record(), version));
        for length in 0..bytes.len() - record().data.len() {
            assert!(decode(&key(), bytes[..length].to_vec(), NOW).is_err(), "{length}");
        }
    }

    #[test]
    fn a_tombstone_comes_back_as_it_was_made() {
        let successor = Some(key());
        for why in [Why::Ended, Why::BegunAgain, Why::Renewed { successor: None }, Why::Renewed { successor }] {
            let tombstone = Tombstone::new(why, 8, NOW);
            let bytes = encode_tombstone(&tombstone);
            assert_eq!(decode_tombstone(&key(), bytes.clone()).unwrap(), tombstone);
            assert_eq!(decode(&key(), bytes.clone(), NOW).unwrap(), Load::Gone(tombstone.clone()));
            assert_eq!(decode(&key(), bytes.clone(), tombstone.until).unwrap(), Load::Missing);
            assert!(decode(&key(), bytes[..26].to_vec(), NOW).is_err());
        }
    }

    #[test]
    fn a_format_of_a_later_release_is_an_error_and_not_a_missing_session() {
        let mut bytes = encode(&record(), Version::from_bits(7));
        bytes[0] = 3;
        assert!(decode(&key(), bytes, NOW).is_err());
    }

    #[test]
    fn the_scripts_know_where_the_principal_stands() {
        let bytes = encode(&record(), Version::from_bits(7));
        assert_eq!(bytes[HEAD..HEAD + 7], *b"\0\0\0\x04ann");
    }
}
