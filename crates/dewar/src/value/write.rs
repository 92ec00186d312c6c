//! Every kind to serde.

use super::exact::{ATOM, BIG_INTEGER, DATE_TIME, MARKUP, SURROGATES, TUPLE, UUID};
use super::{BigInteger, Bytes, DateTime, Markup, Tuple, Uuid, Value};
use serde::ser::{self, Serialize, SerializeMap, Serializer};
use std::fmt;

/// What a newtype of ours wraps, where that is text.
pub(crate) fn text_of<T: Serialize + ?Sized, E: ser::Error>(inner: &T) -> Result<String, E> {
    struct Inner<'a, T: ?Sized>(&'a T);
    impl<T: Serialize + ?Sized> fmt::Display for Inner<'_, T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.serialize(f)
        }
    }
    let mut text = String::new();
    fmt::write(&mut text, format_args!("{}", Inner(inner))).map_err(ser::Error::custom)?;
    Ok(text)
}

/// The units as text in which a backslash is doubled and a lone surrogate is `\udxxx`.
fn escape_surrogates(units: &[u16]) -> String {
    let mut text = String::with_capacity(units.len() + 8);
    for unit in char::decode_utf16(units.iter().copied()) {
        match unit {
            Ok('\\') => text.push_str("\\\\"),
            Ok(c) => text.push(c),
            Err(lone) => text.push_str(&format!("\\u{:04x}", lone.unpaired_surrogate())),
        }
    }
    text
}

/// Undoes [`escape_surrogates`].
pub(crate) fn unescape_surrogates(text: &str) -> Vec<u16> {
    let mut units = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        units.extend(before.encode_utf16());
        match after.strip_prefix('u').and_then(|hex| u16::from_str_radix(hex.get(..4)?, 16).ok()) {
            Some(unit) => {
                units.push(unit);
                rest = &after[5..];
            }
            None => {
                units.push(u16::from(b'\\'));
                rest = after.strip_prefix('\\').unwrap_or(after);
            }
        }
    }
    units.extend(rest.encode_utf16());
    units
}

impl<T: Serialize> Serialize for Tuple<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(TUPLE, &self.0)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl Serialize for Markup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(MARKUP, &self.0)
    }
}

impl Serialize for BigInteger {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.as_str().parse::<i64>(), self.as_str().parse::<u64>()) {
            (Ok(integer), _) => serializer.serialize_i64(integer),
            (_, Ok(integer)) => serializer.serialize_u64(integer),
            _ => serializer.serialize_newtype_struct(BIG_INTEGER, self.as_str()),
        }
    }
}

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(UUID, &self.to_string())
    }
}

impl Serialize for DateTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(DATE_TIME, &self.to_string())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(it) => serializer.serialize_bool(*it),
            Value::Integer(it) => serializer.serialize_i64(*it),
            Value::BigInteger(it) => it.serialize(serializer),
            Value::Float(it) => serializer.serialize_f64(*it),
            Value::Text(it) => serializer.serialize_str(it),
            Value::Surrogates(units) => serializer.serialize_newtype_struct(SURROGATES, &escape_surrogates(units)),
            Value::Bytes(it) => serializer.serialize_bytes(it),
            Value::List(it) => serializer.collect_seq(it),
            Value::Tuple(it) => serializer.serialize_newtype_struct(TUPLE, it),
            Value::Map(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (key, value) in members {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Value::Markup(it) => serializer.serialize_newtype_struct(MARKUP, it),
            Value::Atom(it) => serializer.serialize_newtype_struct(ATOM, it),
            Value::Uuid(it) => it.serialize(serializer),
            Value::DateTime(it) => it.serialize(serializer),
        }
    }
}
