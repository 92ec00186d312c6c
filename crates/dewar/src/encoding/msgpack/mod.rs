//! Entries as MessagePack: always the shortest form, text for names.

mod write;

use super::member::{Member, Piece, last_wins};
use super::{DEPTH, ReadError, WriteError, typed};
use crate::value::{Value, exact};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) fn write<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, WriteError> {
    write::write(value)
}

pub(super) fn read<T: DeserializeOwned>(encoded: &[u8]) -> Result<T, ReadError> {
    // Bounds the depth, for extension types nest outside of what rmp-serde counts.
    let scan = Scan::whole(encoded, DEPTH).ok_or_else(ReadError::malformed)?;
    // serde's own buffers (flatten, untagged) would take an extension type for a list of number and bytes.
    if !scan.extensions {
        if let Ok(value) = T::deserialize(&mut rmp_serde::Deserializer::from_read_ref(encoded).with_human_readable()) {
            return Ok(value);
        }
        // As revisions before wrote it.
        if let Ok(value) = T::deserialize(&mut rmp_serde::Deserializer::from_read_ref(encoded)) {
            return Ok(value);
        }
    }
    // A tuple read as a list, a date as text; and errors that do not show the value.
    let read = |readable| {
        let value: Value =
            rmp_serde::from_slice(encoded).map_err(|_| ReadError::new("found an unknown extension type"))?;
        T::deserialize(typed::Reader::new(value, readable))
    };
    read(true).or_else(|error| read(false).map_err(|_| error))
}

pub(super) fn members(whole: &[u8]) -> Option<Vec<Member>> {
    let mut scan = Scan::new(whole);
    let Token::Map(count) = scan.token()? else { return None };
    // Each takes two bytes at least: an announced count is not trusted.
    let mut members = Vec::with_capacity((count / 2).min(scan.rest.len() / 2));
    for _ in 0..count / 2 {
        let name = scan.name()?;
        let start = whole.len() - scan.rest.len();
        scan.hop()?;
        let end = whole.len() - scan.rest.len();
        members.push(Member { name: Piece::within(start - name.len()..start)?, value: Piece::within(start..end)? });
    }
    last_wins(&mut members, whole);
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

pub(super) fn append(list: &mut Vec<u8>, one: &[u8]) -> Option<()> {
    let mut scan = Scan::new(one);
    let Token::List(1) = scan.token()? else { return None };
    let item = scan.rest;
    let mut scan = Scan::new(list);
    let Token::List(count) = scan.token()? else { return None };
    let old = list.len() - scan.rest.len();
    let mut new = Vec::with_capacity(5);
    head(&mut new, u32::try_from(count + 1).ok()?, 0x90, 16, [None, Some(0xdc), Some(0xdd)]);
    list.splice(..old, new);
    list.extend_from_slice(item);
    Some(())
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

/// Most names and texts are ASCII, and that is seen at once.
#[inline]
fn is_utf8(text: &[u8]) -> bool {
    text.is_ascii() || std::str::from_utf8(text).is_ok()
}

/// Walks encoded values without decoding them.
struct Scan<'a> {
    rest: &'a [u8],
    /// Whether there was an extension type.
    extensions: bool,
}

/// What stands at one marker. What nests says how many values follow.
enum Token<'a> {
    Plain,
    Text(&'a [u8]),
    List(usize),
    Map(usize),
    Extension(i8, &'a [u8]),
}

impl<'a> Scan<'a> {
    fn new(rest: &'a [u8]) -> Self {
        Scan { rest, extensions: false }
    }

    /// Exactly one value, nested at most so deep, whose text is UTF-8.
    fn whole(encoded: &'a [u8], depth: usize) -> Option<Scan<'a>> {
        let mut scan = Scan::new(encoded);
        scan.skip(depth)?;
        scan.rest.is_empty().then_some(scan)
    }

    #[inline]
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    #[inline]
    fn len(&mut self, bytes: usize) -> Option<usize> {
        Some(self.take(bytes)?.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)))
    }

    fn token(&mut self) -> Option<Token<'a>> {
        let (marker, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(match marker {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => Token::Plain,
            0xa0..=0xbf => Token::Text(self.take(usize::from(marker & 0x1f))?),
            0x80..=0x8f => Token::Map(usize::from(marker & 0x0f).checked_mul(2)?),
            0x90..=0x9f => Token::List(usize::from(marker & 0x0f)),
            0xd9..=0xdb => {
                let len = self.len(1 << (marker - 0xd9))?;
                Token::Text(self.take(len)?)
            }
            0xdc | 0xdd => Token::List(self.len(2 << (marker - 0xdc))?),
            0xde | 0xdf => Token::Map(self.len(2 << (marker - 0xde))?.checked_mul(2)?),
            0xcc | 0xd0 => self.plain(1)?,
            0xcd | 0xd1 => self.plain(2)?,
            0xca | 0xce | 0xd2 => self.plain(4)?,
            0xcb | 0xcf | 0xd3 => self.plain(8)?,
            0xc4..=0xc6 => {
                let len = self.len(1 << (marker - 0xc4))?;
                self.plain(len)?
            }
            0xc7..=0xc9 => {
                let len = self.len(1 << (marker - 0xc7))?;
                self.extension(len)?
            }
            0xd4..=0xd8 => self.extension(1 << (marker - 0xd4))?,
            0xc1 => return None,
        })
    }

    #[inline]
    fn name(&mut self) -> Option<&'a [u8]> {
        let name = match self.rest.split_first()? {
            (marker @ 0xa0..=0xbf, rest) => {
                self.rest = rest;
                self.take(usize::from(marker & 0x1f))?
            }
            _ => match self.token()? {
                Token::Text(name) => name,
                _ => return None,
            },
        };
        is_utf8(name).then_some(name)
    }

    #[inline]
    fn plain(&mut self, len: usize) -> Option<Token<'a>> {
        self.take(len).map(|_| Token::Plain)
    }

    fn extension(&mut self, len: usize) -> Option<Token<'a>> {
        let number = self.take(1)?[0] as i8;
        Some(Token::Extension(number, self.take(len)?))
    }

    /// Steps over one value with a look into all of it.
    fn skip(&mut self, depth: usize) -> Option<()> {
        match self.token()? {
            Token::Plain => Some(()),
            Token::Text(text) => is_utf8(text).then_some(()),
            Token::List(count) | Token::Map(count) => {
                let depth = depth.checked_sub(1)?;
                (0..count).try_for_each(|_| self.skip(depth))
            }
            Token::Extension(number, payload) => {
                self.extensions = true;
                match number {
                    exact::number::TUPLE => Scan::whole(payload, depth).map(drop),
                    _ => Some(()),
                }
            }
        }
    }

    /// Steps over one value, whatever is in it: who reads it looks into it.
    #[inline]
    fn hop(&mut self) -> Option<()> {
        let mut pending = 1usize;
        while pending > 0 {
            let (length, children) = FIXED[usize::from(*self.rest.first()?)];
            pending -= 1;
            if length > 0 {
                self.rest = self.rest.get(usize::from(length)..)?;
                pending += usize::from(children);
            } else if let Token::List(count) | Token::Map(count) = self.token()? {
                pending = pending.checked_add(count)?;
            }
        }
        Some(())
    }
}

/// Of markers that say how long they are: how many bytes, their own included, and how many values follow. Of others, zero.
const FIXED: [(u8, u8); 256] = {
    let mut fixed = [(0, 0); 256];
    let mut marker = 0;
    while marker < 256 {
        fixed[marker] = match marker {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (1, 0),
            0x80..=0x8f => (1, (marker as u8 & 0x0f) * 2),
            0x90..=0x9f => (1, marker as u8 & 0x0f),
            0xa0..=0xbf => (1 + (marker as u8 & 0x1f), 0),
            0xcc | 0xd0 => (2, 0),
            0xcd | 0xd1 => (3, 0),
            0xca | 0xce | 0xd2 => (5, 0),
            0xcb | 0xcf | 0xd3 => (9, 0),
            _ => (0, 0),
        };
        marker += 1;
    }
    fixed
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn hopping_ends_where_skipping_does(
            marker in any::<u8>(),
            mut bytes in prop::collection::vec(prop_oneof![0u8..=0x0f, 0x80..=0x93u8, 0xa0..=0xa3u8, 0xc0..=0xdfu8], 0..48),
        ) {
            bytes.insert(0, marker);
            let (mut hops, mut skips) = (Scan::new(&bytes), Scan::new(&bytes));
            if skips.skip(DEPTH).is_some() {
                prop_assert_eq!(hops.hop(), Some(()));
                prop_assert_eq!(hops.rest, skips.rest);
            }
        }
    }
}
