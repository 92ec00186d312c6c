//! A tombstone as bytes, for the stores that keep it beside a record.
//!
//! ```text
//!  0  1  format: 2
//!  1  1  flags: 1
//!  2  8  nonce
//! 10  8  until
//! 18  8  made
//! 26  1  why: 0 ended, 1 begun again, 2 renewed
//! 27     the key of the successor as text, or nothing
//! ```
//!
//! Numbers are big-endian, moments milliseconds since the Unix epoch.

use bytes::BufMut;

use super::{StoreKey, Tombstone, Why};

pub(super) const FORMAT: u8 = 2;
pub(super) const TOMBSTONE: u8 = 1;

const ENDED: u8 = 0;
const BEGUN_AGAIN: u8 = 1;
const RENEWED: u8 = 2;

pub(super) fn encode(tombstone: &Tombstone) -> Vec<u8> {
    let mut bytes = vec![FORMAT, TOMBSTONE];
    bytes.put_u64(tombstone.nonce);
    bytes.put_u64(tombstone.until.as_millis());
    bytes.put_u64(tombstone.made.as_millis());
    match &tombstone.why {
        Why::Ended => bytes.put_u8(ENDED),
        Why::BegunAgain => bytes.put_u8(BEGUN_AGAIN),
        Why::Renewed { successor } => {
            bytes.put_u8(RENEWED);
            bytes.put_slice(successor.as_ref().map(StoreKey::to_string).unwrap_or_default().as_bytes());
        }
    }
    bytes
}

/// What [`encode`] wrote.
#[cfg(all(feature = "php", unix))]
pub(super) fn decode(mut bytes: &[u8]) -> Option<Tombstone> {
    use bytes::Buf;

    use super::Timestamp;

    if [bytes.try_get_u8().ok()?, bytes.try_get_u8().ok()?] != [FORMAT, TOMBSTONE] {
        return None;
    }
    let nonce = bytes.try_get_u64().ok()?;
    let until = Timestamp::from_millis(bytes.try_get_u64().ok()?);
    let made = Timestamp::from_millis(bytes.try_get_u64().ok()?);
    let why = bytes.try_get_u8().ok()?;
    Some(Tombstone { why: why_of(why, bytes)?, nonce, made, until })
}

/// Why, with the text of the successor's key.
pub(super) fn why_of(why: u8, successor: &[u8]) -> Option<Why> {
    Some(match why {
        ENDED => Why::Ended,
        BEGUN_AGAIN => Why::BegunAgain,
        RENEWED if successor.is_empty() => Why::Renewed { successor: None },
        RENEWED => Why::Renewed { successor: Some(StoreKey::parse(std::str::from_utf8(successor).ok()?)) },
        _ => return None,
    })
}
