//! JSON in the flavours frameworks write.
//!
//! Plain text goes to `serde_json`. What it cannot take or would lose goes through [`Value`]: Flask's tags, NaN and
//! infinities, lone surrogates, integers beyond 64 bits, JavaScript's one kind of number.

mod compound;
mod key;
mod members;
mod number;
mod order;
mod read;
mod scan;
mod tag;
mod text;
mod write;

use crate::encoding::member::Member;
use crate::encoding::typed::Reader;
use crate::encoding::{DEPTH, ReadError, WriteError};
use crate::value::Value;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::LazyLock;

/// Whether `serde_json` shows numbers as numbers. An application that turns on its `arbitrary_precision` gets maps.
static FAITHFUL: LazyLock<bool> = LazyLock::new(|| matches!(serde_json::from_str("1"), Ok(Value::Integer(1))));

/// A flavour of JSON: how text is escaped, numbers are printed, members are ordered, and whether Flask's tags are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Json {
    numbers: Numbers,
    tags: bool,
    sorted: bool,
    ascii: bool,
}

/// Whose numbers: how they are printed, and whether integers and floats differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbers {
    Python,
    JavaScript,
}

pub(super) fn append(list: &mut Vec<u8>, one: &[u8]) -> Option<()> {
    let item = one.strip_prefix(b"[")?.strip_suffix(b"]")?;
    let before = list.trim_ascii_end().strip_suffix(b"]")?.trim_ascii_end();
    let is_empty = before.trim_ascii_start() == b"[";
    if !before.trim_ascii_start().starts_with(b"[") {
        return None;
    }
    list.truncate(before.len());
    if !is_empty {
        list.push(b',');
    }
    list.extend_from_slice(item);
    list.push(b']');
    Some(())
}

impl Json {
    /// What Flask puts into its session cookie: tags, sorted names, ASCII.
    pub const FLASK: Json = Json { numbers: Numbers::Python, tags: true, sorted: true, ascii: true };
    /// Python's `json` with `ensure_ascii` off and no blanks.
    pub const PYTHON_UTF8: Json = Json { numbers: Numbers::Python, tags: false, sorted: false, ascii: false };
    /// What `JSON.stringify` writes.
    pub const JAVASCRIPT: Json = Json { numbers: Numbers::JavaScript, tags: false, sorted: false, ascii: false };

    /// Whether members are sorted by name, by code point, at every level.
    #[must_use]
    pub const fn sort_keys(self, sorted: bool) -> Json {
        Json { sorted, ..self }
    }

    /// Whether text beyond ASCII is escaped.
    #[must_use]
    pub const fn ascii(self, ascii: bool) -> Json {
        Json { ascii, ..self }
    }

    pub(super) const fn has_tags(self) -> bool {
        self.tags
    }

    pub(super) fn write<T: Serialize + ?Sized>(self, value: &T) -> Result<Vec<u8>, WriteError> {
        write::write(self, value)
    }

    pub(super) fn read<T: DeserializeOwned>(self, encoded: &[u8]) -> Result<T, ReadError> {
        let plain = scan::Scan::whole(self, encoded, DEPTH).ok_or_else(ReadError::malformed)?;
        if plain
            && *FAITHFUL
            && let Ok(value) = serde_json::from_slice(encoded)
        {
            return Ok(value);
        }
        let value = read::value(self, encoded).ok_or_else(ReadError::malformed)?;
        T::deserialize(Reader::new(value, true).integral_floats(self.numbers == Numbers::JavaScript))
    }

    pub(super) fn members(self, whole: &[u8]) -> Option<Vec<Member>> {
        members::cut(self, whole)
    }

    pub(super) fn join<'a>(self, members: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone, out: &mut Vec<u8>) {
        members::join(self, members, out);
    }
}
