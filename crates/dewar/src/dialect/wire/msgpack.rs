//! Entries as MessagePack: always the shortest form, text for names.

use super::{DEPTH, Member, ReadError, WriteError, last_wins, typed};
use crate::value::{Value, exact};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) fn write<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, WriteError> {
    let mut out = Vec::with_capacity(64);
    value.serialize(&mut rmp_serde::Serializer::new(&mut out).with_struct_map()).map_err(|error| match error {
        rmp_serde::encode::Error::DepthLimitExceeded => WriteError::deep(),
        _ => serde::ser::Error::custom(error),
    })?;
    // Each level takes a byte at least. One level is the session's own.
    if out.len() >= DEPTH && Scan::whole(&out, DEPTH - 1).is_none() {
        return Err(WriteError::deep());
    }
    Ok(out)
}

pub(super) fn read<T: DeserializeOwned>(encoded: &[u8]) -> Result<T, ReadError> {
    // Bounds the depth, for extension types nest outside of what rmp-serde counts.
    let scan = Scan::whole(encoded, DEPTH).ok_or_else(ReadError::malformed)?;
    // serde's own buffers (flatten, untagged) would take an extension type for a list of number and bytes.
    if !scan.extensions
        && let Ok(value) = T::deserialize(&mut rmp_serde::Deserializer::from_read_ref(encoded))
    {
        return Ok(value);
    }
    // A tuple read as a list, a date as text; and errors that do not show the value.
    let value: Value = rmp_serde::from_slice(encoded).map_err(|_| ReadError::new("found an unknown extension type"))?;
    T::deserialize(typed::Reader::new(value, false))
}

pub(super) fn members(whole: &Bytes) -> Option<Vec<Member>> {
    let mut scan = Scan::new(whole);
    let count = scan.map_len()?;
    // Each entry takes two bytes at least: an announced count is not trusted.
    let mut members = Vec::with_capacity(count.min(scan.rest.len() / 2));
    for _ in 0..count {
        let name = scan.text()?;
        let before = scan.rest;
        scan.skip(DEPTH - 1)?;
        let value = &before[..before.len() - scan.rest.len()];
        members.push(Member { name: whole.slice_ref(name), value: whole.slice_ref(value) });
    }
    last_wins(&mut members);
    scan.rest.is_empty().then_some(members)
}

pub(super) fn join<'a>(members: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone, out: &mut Vec<u8>) {
    let (count, size) = members
        .clone()
        .fold((0u32, 5), |(count, size), (name, value)| (count + 1, size + 5 + name.len() + value.len()));
    out.reserve(size);
    head(out, count, 0x80, 16, [None, Some(0xde), Some(0xdf)]);
    for (name, value) in members {
        head(out, name.len() as u32, 0xa0, 32, [Some(0xd9), Some(0xda), Some(0xdb)]);
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    }
}

/// A marker with its length, in the shortest form.
fn head(out: &mut Vec<u8>, len: u32, fixed: u8, below: u32, [one, two, four]: [Option<u8>; 3]) {
    match (len, one, two, four) {
        (len, ..) if len < below => out.push(fixed | len as u8),
        (len @ 0..=0xff, Some(marker), ..) => out.extend([marker, len as u8]),
        (len @ 0..=0xffff, _, Some(marker), _) => {
            out.push(marker);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        (len, ..) => {
            out.extend(four);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
}

/// Walks encoded values without decoding them. Text must be UTF-8.
struct Scan<'a> {
    rest: &'a [u8],
    /// Whether there was an extension type.
    extensions: bool,
}

impl<'a> Scan<'a> {
    fn new(rest: &'a [u8]) -> Self {
        Scan { rest, extensions: false }
    }

    /// Exactly one value, nested at most so deep.
    fn whole(encoded: &'a [u8], depth: usize) -> Option<Scan<'a>> {
        let mut scan = Scan::new(encoded);
        scan.skip(depth)?;
        scan.rest.is_empty().then_some(scan)
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|taken| taken[0])
    }

    fn len(&mut self, bytes: usize) -> Option<usize> {
        Some(self.take(bytes)?.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)))
    }

    fn map_len(&mut self) -> Option<usize> {
        match self.byte()? {
            marker @ 0x80..=0x8f => Some(usize::from(marker & 0x0f)),
            0xde => self.len(2),
            0xdf => self.len(4),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let len = match self.byte()? {
            marker @ 0xa0..=0xbf => usize::from(marker & 0x1f),
            marker @ 0xd9..=0xdb => self.len(1 << (marker - 0xd9))?,
            _ => return None,
        };
        let text = self.take(len)?;
        std::str::from_utf8(text).ok().map(str::as_bytes)
    }

    fn skip(&mut self, depth: usize) -> Option<()> {
        let marker = *self.rest.first()?;
        match marker {
            0xa0..=0xbf | 0xd9..=0xdb => return self.text().map(drop),
            0x80..=0x8f | 0xde | 0xdf => {
                let count = self.map_len()?;
                return self.skip_many(count.checked_mul(2)?, depth);
            }
            _ => self.byte()?,
        };
        match marker {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => Some(()),
            0x90..=0x9f => self.skip_many(usize::from(marker & 0x0f), depth),
            0xdc => self.len(2).and_then(|count| self.skip_many(count, depth)),
            0xdd => self.len(4).and_then(|count| self.skip_many(count, depth)),
            0xc4..=0xc6 => {
                let len = self.len(1 << (marker - 0xc4))?;
                self.take(len).map(drop)
            }
            0xc7..=0xc9 => {
                let len = self.len(1 << (marker - 0xc7))?;
                self.extension(len, depth)
            }
            0xca | 0xce | 0xd2 => self.take(4).map(drop),
            0xcb | 0xcf | 0xd3 => self.take(8).map(drop),
            0xcc | 0xd0 => self.take(1).map(drop),
            0xcd | 0xd1 => self.take(2).map(drop),
            0xd4..=0xd8 => self.extension(1 << (marker - 0xd4), depth),
            _ => None,
        }
    }

    fn skip_many(&mut self, count: usize, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        (0..count).try_for_each(|_| self.skip(depth))
    }

    fn extension(&mut self, len: usize, depth: usize) -> Option<()> {
        self.extensions = true;
        let number = self.byte()? as i8;
        let payload = self.take(len)?;
        match number {
            exact::number::TUPLE => Scan::whole(payload, depth).map(drop),
            _ => Some(()),
        }
    }
}
