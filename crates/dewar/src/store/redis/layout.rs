//! The bytes of a record of our own, which the scripts know too.
//!
//! ```text
//!  0  1  format: 1
//!  1  1  flags: 1 a mark, 2 persistent, 4 has an absolute expiry
//!  2  8  version
//! 10  8  idle expiry; of a mark: its end                       a mark ends here
//! 18  8  absolute expiry, or the largest number
//! 26  8  created
//! 34  4  idle timeout, in seconds
//! 38  4  length of the principal and one, or zero: none        then the principal
//!     4  length of the label and one, or zero: none            then the label
//!        the data
//! ```
//!
//! Numbers are big-endian, moments milliseconds since the Unix epoch.

use bytes::{Buf, BufMut, Bytes};

use crate::store::{GONE_FOR, Load, Record, StoreError, Timestamp, Version};

const FORMAT: u8 = 1;
const MARK: u8 = 1;
const PERSISTENT: u8 = 2;
const ABSOLUTE: u8 = 4;

/// Where the expiries of a record end; a mark is shorter.
pub(super) const EXPIRIES: usize = 26;

/// Where a record's principal stands, which the scripts know.
const HEAD: usize = 38;

pub(super) fn encode(record: &Record, version: Version) -> Vec<u8> {
    let texts = [&record.principal, &record.label].map(|text| text.as_deref());
    let length = HEAD + 8 + record.data.len() + texts.into_iter().flatten().map(str::len).sum::<usize>();
    let mut bytes = Vec::with_capacity(length);
    bytes.put_u8(FORMAT);
    let absolute = if record.absolute_expires.is_some() { ABSOLUTE } else { 0 };
    bytes.put_u8(absolute | if record.persistent { PERSISTENT } else { 0 });
    bytes.put_u64(version.count());
    bytes.put_u64(record.idle_expires.as_millis());
    bytes.put_u64(record.absolute_expires.map_or(u64::MAX, Timestamp::as_millis));
    bytes.put_u64(record.created.as_millis());
    bytes.put_u32(record.idle_seconds);
    texts.into_iter().for_each(|text| put_text(&mut bytes, text));
    bytes.put_slice(&record.data);
    bytes
}

/// The principal as it stands in a record: its length, then the text.
pub(super) fn principal(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_text(&mut bytes, record.principal.as_deref());
    bytes
}

pub(super) fn mark(now: Timestamp) -> Vec<u8> {
    let mut bytes = vec![FORMAT, MARK];
    bytes.put_u64(0);
    bytes.put_u64(now.after(GONE_FOR).as_millis());
    bytes
}

/// What stands under a key of our own.
pub(super) fn decode(bytes: Vec<u8>, now: Timestamp) -> Result<Load, StoreError> {
    let found = read(Bytes::from(bytes)).ok_or_else(|| StoreError::new("redis: a record has an unknown format"))?;
    Ok(match found {
        Found::Mark(until) if until > now => Load::Gone,
        Found::Record(record, version) if !record.is_expired(now) => Load::Found(record, version),
        Found::Mark(_) | Found::Record(..) => Load::Missing,
    })
}

/// Whether these are the first [`EXPIRIES`] bytes of a record that has not expired.
pub(super) fn is_live(head: &[u8], now: Timestamp) -> bool {
    let Some(mut expiries) = head.get(10..EXPIRIES) else { return false };
    head[0] == FORMAT && expiries.get_u64().min(expiries.get_u64()) > now.as_millis()
}

enum Found {
    Record(Record, Version),
    Mark(Timestamp),
}

fn read(mut bytes: Bytes) -> Option<Found> {
    if bytes.try_get_u8().ok()? != FORMAT {
        return None;
    }
    let flags = bytes.try_get_u8().ok()?;
    let version = Version::counter(bytes.try_get_u64().ok()?);
    let idle_expires = Timestamp::from_millis(bytes.try_get_u64().ok()?);
    if flags & MARK != 0 {
        return Some(Found::Mark(idle_expires));
    }
    let absolute = Timestamp::from_millis(bytes.try_get_u64().ok()?);
    let created = Timestamp::from_millis(bytes.try_get_u64().ok()?);
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
        principal,
        label,
    };
    Some(Found::Record(record, version))
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

#[cfg(test)]
mod tests {
    use super::*;

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
        }
    }

    #[test]
    fn a_record_cut_short_is_an_error_until_its_data_begins() {
        let version = Version::counter(7);
        let bytes = encode(&record(), version);
        let now = Timestamp::from_secs(1);
        assert_eq!(decode(bytes.clone(), now).unwrap(), Load::Found(record(), version));
        for length in 0..bytes.len() - record().data.len() {
            assert!(decode(bytes[..length].to_vec(), now).is_err(), "{length}");
        }
    }

    #[test]
    fn a_format_of_a_later_release_is_an_error_and_not_a_missing_session() {
        let mut bytes = encode(&record(), Version::counter(7));
        bytes[0] = 2;
        assert!(decode(bytes, Timestamp::from_secs(1)).is_err());
    }

    #[test]
    fn the_scripts_know_where_the_principal_stands() {
        let bytes = encode(&record(), Version::counter(7));
        let principal = principal(&record());
        assert_eq!(bytes[HEAD..HEAD + principal.len()], principal);
    }
}
