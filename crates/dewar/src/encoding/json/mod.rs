//! JSON in the flavours frameworks write.
//!
//! Plain text goes to `serde_json`. What it cannot take or would lose goes through [`Value`]: Flask's tags, NaN and
//! infinities, lone surrogates, integers beyond 64 bits, JavaScript's one kind of number.

mod buffer;
mod flavour;
mod key;
mod members;
mod number;
mod order;
mod read;
mod scan;
mod tag;
mod text;
mod write;

pub use flavour::Json;

use crate::encoding::depth::DEPTH;
use crate::encoding::error::{ReadError, WriteError};
use crate::encoding::member::Member;
use crate::encoding::typed::Reader;
use crate::value::Value;
use flavour::Numbers;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::LazyLock;

/// Whether `serde_json` shows numbers as numbers. An application that turns on its `arbitrary_precision` gets maps.
static FAITHFUL: LazyLock<bool> = LazyLock::new(|| matches!(serde_json::from_str("1"), Ok(Value::Integer(1))));

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
    pub(super) fn write<T: Serialize + ?Sized>(self, value: &T) -> Result<Vec<u8>, WriteError> {
        write::write(self, value)
    }

    pub(super) fn read<T: DeserializeOwned>(self, encoded: &[u8]) -> Result<T, ReadError> {
        let plain = scan::Scan::whole(self, encoded, DEPTH).ok_or_else(ReadError::malformed)?;
        // serde_json would show text as the bytes that it is, and not as those that it stands for.
        if plain
            && !self.unwraps()
            && *FAITHFUL
            && let Ok(value) = serde_json::from_slice(encoded)
        {
            return Ok(value);
        }
        let value = read::value(self, encoded).ok_or_else(ReadError::malformed)?;
        let reader = Reader::new(value, true).integral_floats(self.numbers == Numbers::JavaScript);
        #[cfg(feature = "php")]
        // PHP writes an empty array, and one with the keys 0, 1, 2 and so on, as a list.
        let reader = if self.numbers == Numbers::Php { reader.lists_are_maps() } else { reader };
        if self.unwraps() {
            // A type that wants bytes says so where nobody reads along.
            let value = || read::value(self, encoded).ok_or_else(ReadError::malformed);
            return T::deserialize(reader.base64_is_bytes())
                .or_else(|error| T::deserialize(Reader::new(value()?, false).base64_is_bytes()).map_err(|_| error));
        }
        T::deserialize(reader)
    }

    pub(super) fn members(self, whole: &[u8]) -> Option<Vec<Member>> {
        members::cut(self, whole)
    }

    pub(super) fn join<'a>(self, members: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone, out: &mut Vec<u8>) {
        members::join(self, members, out);
    }
}
