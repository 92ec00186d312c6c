//! Walks JSON text without decoding it: is it well-formed, and is it plain enough for `serde_json`?

use super::flavour::{Json, Numbers};
use std::ops::Range;

/// More digits than this and Python refuses to read or print an integer (`sys.int_info.default_max_str_digits`).
pub(super) const PYTHON_DIGITS: usize = 4300;

/// A walk through JSON text. Strings are not checked to be UTF-8.
pub(super) struct Scan<'a> {
    json: Json,
    text: &'a [u8],
    pub(super) at: usize,
    /// Nothing so far that `serde_json` would refuse or lose.
    pub(super) plain: bool,
    /// Some name began with a blank, as Flask's tags do.
    pub(super) blank: bool,
    /// How many escapes there were.
    escapes: usize,
}

/// The place of a string between its quotes.
pub(super) struct Quoted {
    pub(super) place: Range<usize>,
    pub(super) is_escaped: bool,
}

impl<'a> Scan<'a> {
    pub(super) fn new(json: Json, text: &'a [u8]) -> Self {
        Scan { json, text, at: 0, plain: true, blank: false, escapes: 0 }
    }

    /// Exactly one value, nested at most so deep: whether it is plain.
    pub(super) fn whole(json: Json, text: &'a [u8], depth: usize) -> Option<bool> {
        let mut scan = Scan::new(json, text);
        scan.blanks();
        scan.skip(depth)?;
        scan.end()?;
        Some(scan.plain && !(scan.blank && json.tags))
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    pub(super) fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    pub(super) fn end(&mut self) -> Option<()> {
        self.blanks();
        (self.at == self.text.len()).then_some(())
    }

    pub(super) fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.text[self.at..].starts_with(word.as_bytes()).then(|| self.at += word.len())
    }

    /// Steps over one value.
    pub(super) fn skip(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'{' => {
                let depth = depth.checked_sub(1)?;
                self.members(|scan, _| scan.skip(depth))
            }
            b'[' => {
                let depth = depth.checked_sub(1)?;
                self.items(|scan| scan.skip(depth))
            }
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            b'N' => self.special("NaN"),
            b'I' => self.special("Infinity"),
            b'-' if self.text.get(self.at + 1) == Some(&b'I') => self.special("-Infinity"),
            _ => self.number(),
        }
    }

    /// Steps over an object; for each member, stands before its value with the name, as written.
    pub(super) fn members(&mut self, mut each: impl FnMut(&mut Self, Quoted) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        self.blanks();
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            let name = self.string()?;
            let written = &self.text[name.place.clone()];
            self.blank |= written.starts_with(b" ") || written.starts_with(br"\u0020");
            self.blanks();
            self.take(b':')?;
            self.blanks();
            each(self, name)?;
            self.blanks();
            if self.take(b',').is_none() {
                return self.take(b'}');
            }
            self.blanks();
        }
    }

    /// Steps over an array; for each item, stands before it.
    pub(super) fn items(&mut self, mut each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(b'[')?;
        self.blanks();
        if self.take(b']').is_some() {
            return Some(());
        }
        loop {
            each(self)?;
            self.blanks();
            if self.take(b',').is_none() {
                return self.take(b']');
            }
            self.blanks();
        }
    }

    fn special(&mut self, word: &str) -> Option<()> {
        self.plain = false;
        match self.json.numbers {
            Numbers::Python => self.word(word),
            _ => None,
        }
    }

    /// Steps over a string.
    pub(super) fn string(&mut self) -> Option<Quoted> {
        self.take(b'"')?;
        let (start, escapes) = (self.at, self.escapes);
        loop {
            self.at += ordinary(&self.text[self.at..]);
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(Quoted { place: start..self.at - 1, is_escaped: self.escapes > escapes });
                }
                b'\\' => self.escape()?,
                0..=0x1f => return None,
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        self.escapes += 1;
        match self.text.get(self.at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 2,
            b'u' => {
                let unit = self.unit()?;
                match unit {
                    0xd800..=0xdbff if matches!(self.unit_ahead(), Some(0xdc00..=0xdfff)) => self.at += 6,
                    0xd800..=0xdfff if self.json.numbers == Numbers::Msgspec => return None,
                    0xd800..=0xdfff => self.plain = false,
                    _ => {}
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// Steps over `\uxxxx`.
    fn unit(&mut self) -> Option<u16> {
        let unit = self.unit_ahead()?;
        self.at += 6;
        Some(unit)
    }

    fn unit_ahead(&self) -> Option<u16> {
        unit(self.text.get(self.at..self.at + 6)?)
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        let negative = self.take(b'-').is_some();
        let zero = self.peek() == Some(b'0');
        let digits = self.digits()?;
        if zero && digits > 1 {
            return None;
        }
        let fraction = match self.take(b'.') {
            Some(()) => Some(self.digits()?),
            None => None,
        };
        let exponent = match self.peek() {
            Some(b'e' | b'E') => {
                self.at += 1;
                if self.take(b'+').is_none() {
                    let _ = self.take(b'-');
                }
                Some(self.digits()?)
            }
            _ => None,
        };
        let integer = fraction.is_none() && exponent.is_none();
        self.plain &= match self.json.numbers {
            // There 1e3, 1000.0 and 1000.00000000000000001 are integers, and 2^53 is none: with 15 digits, each is another float.
            Numbers::JavaScript => {
                digits + fraction.unwrap_or(0) <= 15
                    && (integer || exponent.is_none() && !self.text[start..self.at].ends_with(b"0"))
            }
            _ if integer && digits > PYTHON_DIGITS => return None,
            // 1e400 is "out of range" there.
            Numbers::Msgspec if !integer && !is_finite(&self.text[start..self.at]) => return None,
            _ => digits <= 18 && exponent.is_none_or(|digits| digits < 3),
        };
        self.plain &= !(integer && negative && zero);
        Some(())
    }

    fn digits(&mut self) -> Option<usize> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then(|| self.at - start)
    }
}

/// Whether a number is one of 64 bits.
fn is_finite(number: &[u8]) -> bool {
    let text = std::str::from_utf8(number).ok();
    text.and_then(|text| text.parse().ok()).is_some_and(f64::is_finite)
}

/// The code unit of `\uxxxx`.
pub(super) fn unit(escape: &[u8]) -> Option<u16> {
    let hex = escape.strip_prefix(b"\\u")?;
    hex.iter().take(4).try_fold(0, |unit, b| Some(unit << 4 | (*b as char).to_digit(16)? as u16))
}

/// How many bytes at the start are neither quote, backslash nor control character.
pub(super) fn ordinary(text: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    // Eight at a time: a byte's high bit is set where the byte is zero, or below n.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let mut at = 0;
    for chunk in text.chunks_exact(8) {
        let word = u64::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3], chunk[4], chunk[5], chunk[6], chunk[7]]);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let found = zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\'))) | control;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + text[at..].iter().take_while(|b| !matches!(b, b'"' | b'\\' | 0..=0x1f)).count()
}
