//! Walks encoded values without decoding them.

use crate::value::exact;

/// A walk through encoded values.
pub(super) struct Scan<'a> {
    pub(super) rest: &'a [u8],
    /// Whether there was an extension type.
    pub(super) extensions: bool,
    /// Whether there was one that is not MessagePack's own date.
    #[cfg_attr(not(feature = "flask"), allow(dead_code))]
    pub(super) unknown: bool,
    /// Whether those are another application's, and whatever is in them is.
    is_foreign: bool,
}

/// What stands at one marker. What nests says how many values follow.
pub(super) enum Token<'a> {
    Plain,
    Text(&'a [u8]),
    List(usize),
    Map(usize),
    Extension(i8, &'a [u8]),
}

impl<'a> Scan<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Scan { rest, extensions: false, unknown: false, is_foreign: false }
    }

    /// Exactly one value, nested at most so deep, whose text is UTF-8.
    pub(super) fn whole(encoded: &'a [u8], depth: usize) -> Option<Scan<'a>> {
        Scan::new(encoded).walked(depth)
    }

    /// The same of another application's, whose extension types are not looked into.
    #[cfg(feature = "flask")]
    pub(super) fn foreign(encoded: &'a [u8], depth: usize) -> Option<Scan<'a>> {
        Scan { is_foreign: true, ..Scan::new(encoded) }.walked(depth)
    }

    fn walked(mut self, depth: usize) -> Option<Scan<'a>> {
        self.skip(depth)?;
        self.rest.is_empty().then_some(self)
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

    pub(super) fn token(&mut self) -> Option<Token<'a>> {
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
    pub(super) fn name(&mut self) -> Option<&'a [u8]> {
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
                self.unknown |= number != exact::number::DATE_TIME;
                match payload.first() {
                    _ if number != exact::number::TUPLE || self.is_foreign => Some(()),
                    // A list, which counts as one level. Another extension type would go on for ever without one.
                    Some(0x90..=0x9f | 0xdc | 0xdd) => Scan::whole(payload, depth).map(drop),
                    _ => None,
                }
            }
        }
    }

    /// Steps over one value, whatever is in it: who reads it looks into it.
    #[inline]
    pub(super) fn hop(&mut self) -> Option<()> {
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

/// Most names and texts are ASCII, and that is seen at once.
#[inline]
fn is_utf8(text: &[u8]) -> bool {
    text.is_ascii() || std::str::from_utf8(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::depth::DEPTH;
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
