//! `name|value name|value` (php), `length name value` (php_binary), or `a:2:{s:1:"a";i:1;s:1:"b";N;}` (php_serialize), nothing between them
//!
//! `Php`: a record as PHP 8.2 writes it, in a file or by phpredis 5.3 in Redis; both read each other's. Values are what `serialize()` makes of them.
//!
//! ```text
//! php            the name ends at the first "|". Zero bytes are an empty session
//! php_binary     the length is one byte, 127 at most; its top bit is nothing. Zero bytes are an empty session
//! php_serialize  one array. What stands behind it is not looked at. `a:0:{}` is an empty session; zero bytes, too
//! ```
//!
//! The lock of phpredis (`redis.session.locking_enabled = 1`; the name of the record and `_LOCK`) is heeded on a server and with sentinels, not on a cluster: while it
//! stands nothing is written. Where PHP does not take it, it may write over ours, and we never over its.
//!
//! Nothing stands beside the entries. How long a record lives is a matter of where it is: the time of a file, the TTL of a key.
//!
//! A record of another of the three, or of igbinary or msgpack, is told by its first name and refused: a text that a visitor chose could be entries of any name in it.
//!
//! What it cannot say: with `php` and `php_binary` a name that is an integer, with `php` one with `|` in it, with `php_binary` one of more than 127 bytes.
//! PHP drops the entry then, or all of them. Here it is an error that names it.
//!
//! Objects, cases of enumerations and references are carried through, byte for byte, and never made anything of. References (`R:2;`, `r:2;`) count the values
//! before them, across all entries: where entries before them come, go or change, they are written with the numbers that say the same. What cannot be is an
//! error that names the entry: a reference to an entry that was changed or removed, a change of an entry that has references, and any change before one
//! behind an object of its own form (`C:`), in which nobody else can count.
//!
//! Where it deviates: a malformed record is an empty session under a new id, and stays (PHP destroys it). igbinary's is one.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;

use super::{Kept, Layout, Stored};
use crate::{
    cookie::Attributes,
    data::{Contents, Data},
    encoding::{
        Encoding, Member, Php as Precision, Piece, last_wins,
        php::{self, Former, Numbers},
    },
    error::{Error, Refusal},
    explain::Steps,
    lifetime::GONE_FOR,
    meaning::Holds,
};

/// PHP's `session.serialize_handler`: how a record holds its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Serializer {
    /// `php`, PHP's default.
    #[default]
    Php,
    /// `php_binary`.
    PhpBinary,
    /// `php_serialize`, the one that can hold any name.
    PhpSerialize,
}

impl Serializer {
    const ALL: [Self; 3] = [Self::Php, Self::PhpBinary, Self::PhpSerialize];

    /// The name in `php.ini`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Php => "php",
            Self::PhpBinary => "php_binary",
            Self::PhpSerialize => "php_serialize",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|serializer| serializer.name() == name)
    }

    /// The entries of a record, and what [`write`](Self::write) wants to be given again, where there are references.
    pub(crate) fn read(self, record: &Bytes) -> Option<(Data, Bytes)> {
        let mut numbers = Numbers::default();
        let mut members = self.cut(record, &mut numbers)?;
        last_wins(&mut members, record);
        let extra = if numbers.has_references() { record.clone() } else { Bytes::new() };
        Some((Data::of(record, members), extra))
    }

    /// A record of these entries. `former`: what [`read`](Self::read) gave beside them.
    ///
    /// # Errors
    ///
    /// Where it cannot hold an entry, or a reference would not say the same any more; the message names the entry.
    pub(crate) fn write(self, data: &Data, former: &Bytes) -> Result<Vec<u8>, Error> {
        let members = self.cut(former, &mut Numbers::default()).unwrap_or_default();
        let entries = members.iter().map(|member| (member.name.of(former), member.value.of(former)));
        let former = Former::of(entries, self.around()).ok_or_else(no_record)?;
        self.join(&former.renumbered(data.iter())?)
    }

    /// How many values are around an entry's.
    pub(super) fn around(self) -> usize {
        usize::from(self == Self::PhpSerialize)
    }

    /// A record of these entries.
    ///
    /// # Errors
    ///
    /// Where it cannot hold one; the message names it.
    pub(super) fn join(self, entries: &[(&[u8], Cow<'_, [u8]>)]) -> Result<Vec<u8>, Error> {
        let mut record = Vec::with_capacity(512);
        if self == Self::PhpSerialize {
            php::join(entries.iter().map(|(name, value)| (*name, &**value)), &mut record);
            return Ok(record);
        }
        for (name, value) in entries {
            self.begin(name, &mut record)?;
            record.extend_from_slice(value);
        }
        match entries.first() {
            Some((name, _)) if Self::of(&record) != Some(self) => {
                self.cannot(name, "a first entry of this name, with which the record looks like another handler's")
            }
            _ => Ok(record),
        }
    }

    /// All entries, also of one name.
    pub(super) fn cut(self, record: &[u8], numbers: &mut Numbers) -> Option<Vec<Member>> {
        let mut rest = record;
        if rest.is_empty() {
            return Some(Vec::new());
        }
        if Self::of(record) != Some(self) {
            return None;
        }
        if self == Self::PhpSerialize {
            return php::array(&mut rest, record, numbers);
        }
        let mut members = Vec::new();
        while !rest.is_empty() {
            let len = match self {
                Self::PhpBinary => usize::from(php::take(&mut rest, 1)?[0] & 0x7f),
                _ => rest.iter().position(|byte| *byte == b'|')?,
            };
            let start = record.len() - rest.len();
            php::take(&mut rest, len)?;
            if self == Self::Php {
                php::take(&mut rest, 1)?;
            }
            let name = Piece::within(start..start + len)?;
            members.push(Member { name, value: php::value(&mut rest, record, numbers)? });
        }
        Some(members)
    }

    /// The one that a record was written with, by how it begins. `None`: none of these, or there is nothing in it.
    ///
    /// Read with another, a text that a visitor chose could be entries of any name. So a record that might be of two is of the one whose first name is whole:
    /// the other's has that name in it, and what stands behind it. Names are the application's.
    fn of(record: &[u8]) -> Option<Self> {
        if is_foreign(record) {
            return None;
        }
        if is_an_array(record) {
            return Some(Self::PhpSerialize);
        }
        let binary = usize::from(record.first()? & 0x7f);
        let is_binary = record.get(1 + binary..).is_some_and(php::begins);
        let name = record.iter().position(|byte| *byte == b'|').filter(|at| php::begins(&record[at + 1..]));
        match name {
            Some(name) if !is_binary || name <= binary => Some(Self::Php),
            _ => is_binary.then_some(Self::PhpBinary),
        }
    }

    /// Writes what stands before a value.
    fn begin(self, name: &[u8], record: &mut Vec<u8>) -> Result<(), Error> {
        let cannot = |what| self.cannot(name, what);
        if php::integer_key(name).is_some() {
            return cannot("an entry whose name is an integer");
        }
        match (self, u8::try_from(name.len())) {
            (Self::PhpBinary, Ok(len @ ..=127)) => {
                record.push(len);
                record.extend_from_slice(name);
            }
            (Self::PhpBinary, _) => return cannot("an entry whose name has more than 127 bytes"),
            _ if name.contains(&b'|') => return cannot("an entry with \"|\" in its name"),
            _ => {
                record.extend_from_slice(name);
                record.push(b'|');
            }
        }
        Ok(())
    }

    fn cannot<T>(self, name: &[u8], what: &str) -> Result<T, Error> {
        let why = format!(
            "with serialize_handler = {} PHP cannot hold {what}; name it otherwise, or set php_serialize on both sides",
            self.name()
        );
        Err(Error::entry(name, why))
    }
}

/// Whether it begins as a record of php_serialize.
fn is_an_array(record: &[u8]) -> bool {
    let rest = record.strip_prefix(b"a:").unwrap_or_default();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0 && rest[digits..].starts_with(b":{")
}

pub(super) fn no_record() -> Error {
    Error::setting("what stands beside the entries is no record")
}

/// What igbinary's records begin with.
const IGBINARY: [&[u8]; 2] = [&[0, 0, 0, 1], &[0, 0, 0, 2]];

fn is_igbinary(record: &[u8]) -> bool {
    IGBINARY.iter().any(|mark| record.starts_with(mark))
}

/// Whether a record is of a handler that is not PHP's own: igbinary, or msgpack, which begins with how many entries there are.
fn is_foreign(record: &[u8]) -> bool {
    is_igbinary(record) || matches!(record, [0x80..=0x8f, ..] | [0xde | 0xdf, 0, ..])
}

/// PHP's records, in files and in Redis.
#[derive(Clone, Debug)]
pub struct Php {
    pub(super) serializer: Serializer,
    precision: Precision,
    prefix: Box<str>,
    longest_request: Duration,
}

impl Php {
    /// The layout as PHP has it where nothing is set, with phpredis's own prefix.
    pub fn new() -> Self {
        Self {
            serializer: Serializer::Php,
            precision: Precision::SHORTEST,
            prefix: "PHPREDIS_SESSION:".into(),
            longest_request: GONE_FOR,
        }
    }

    /// PHP's `session.serialize_handler`. The default: `php`.
    #[must_use]
    pub fn serializer(self, serializer: Serializer) -> Self {
        Self { serializer, ..self }
    }

    /// PHP's `serialize_precision`, by which floats are written. The default: -1.
    #[must_use]
    pub fn precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// What stands before the id in a record's name in Redis: `prefix` of phpredis's save path. PHP's files have a name of their own, `sess_` and the id.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<Box<str>>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// How long a request of the PHP application may run, which would write a session again that ended here.
    #[must_use]
    pub fn longest_request(self, time: Duration) -> Self {
        Self { longest_request: time, ..self }
    }
}

impl Default for Php {
    fn default() -> Self {
        Self::new()
    }
}

impl Layout for Php {
    fn encoding(&self) -> Encoding {
        Encoding::Php(self.precision)
    }

    fn holds(&self) -> Holds {
        Holds::NOTHING
    }

    fn name(&self, id: &str) -> String {
        format!("{}{id}", self.prefix)
    }

    fn lock(&self) -> Option<&'static str> {
        // phpredis, where redis.session.locking_enabled = 1
        Some("_LOCK")
    }

    fn longest_request(&self) -> Duration {
        self.longest_request
    }

    fn read(&self, found: &Stored, steps: &mut Steps<'_>) -> Result<Kept, Refusal> {
        let record = found.body();
        let read = self.serializer.read(record);
        steps.note("serialize_handler", || self.found(record));
        let (data, extra) = read.ok_or(Refusal::Malformed)?;
        if !extra.is_empty() {
            steps.note("references", || "there are some; they are kept right".into());
        }
        Ok(Kept { extra, ..Kept::new(data) })
    }

    fn write(&self, contents: &Contents, _cookie: &Attributes) -> Result<Stored, Error> {
        Ok(Stored::Blob(self.serializer.write(&contents.data, &contents.extra)?.into()))
    }
}

impl Php {
    /// Whose record it is.
    pub(super) fn found(&self, record: &Bytes) -> String {
        let own = self.serializer.name();
        if is_igbinary(record) {
            return format!("igbinary, which is not read; set {own} in php.ini");
        }
        if self.serializer.read(record).is_some() {
            return own.into();
        }
        match Serializer::ALL.iter().find(|other| other.read(record).is_some()) {
            Some(other) => format!("{}, and not {own}; set the same on both sides", other.name()),
            None => format!("not {own}, nor another of PHP's own"),
        }
    }
}
