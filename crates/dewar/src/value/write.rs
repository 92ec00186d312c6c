//! Every kind to serde.

use super::exact::{BIG_INTEGER, DATE_TIME, MARKUP, SURROGATES, TUPLE, UUID, number};
use super::{BigInteger, Bytes, DateTime, Markup, Tuple, Uuid, Value};
use serde::ser::{self, Serialize, SerializeMap, Serializer};
#[cfg(feature = "json")]
use std::fmt;

struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

fn extension<S: Serializer>(serializer: S, number: i8, payload: &[u8]) -> Result<S::Ok, S::Error> {
    serializer.serialize_newtype_struct(rmp_serde::MSGPACK_EXT_STRUCT_NAME, &(number, Raw(payload)))
}

fn tuple<S: Serializer, T: Serialize + ?Sized>(serializer: S, inner: &T) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        return serializer.serialize_newtype_struct(TUPLE, inner);
    }
    let payload = rmp_serde::to_vec_named(inner).map_err(ser::Error::custom)?;
    match payload.first() {
        Some(0x90..=0x9f | 0xdc | 0xdd) => extension(serializer, number::TUPLE, &payload),
        _ => Err(ser::Error::custom("a tuple must be a list")),
    }
}

fn text<S: Serializer>(serializer: S, name: &'static str, number: i8, text: &str) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        serializer.serialize_newtype_struct(name, text)
    } else {
        extension(serializer, number, text.as_bytes())
    }
}

/// What a newtype of ours wraps, where that is text.
#[cfg(feature = "json")]
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
#[cfg(feature = "json")]
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

/// Source: MessagePack specification, "Timestamp extension type": the shortest of its three forms.
fn timestamp(moment: DateTime) -> ([u8; 12], usize) {
    let mut bytes = [0; 12];
    let (seconds, nanos) = (moment.seconds(), moment.nanos());
    match u64::try_from(seconds) {
        Ok(short) if nanos == 0 && short <= u32::MAX.into() => {
            bytes[..4].copy_from_slice(&(short as u32).to_be_bytes());
            (bytes, 4)
        }
        Ok(medium) if medium < 1 << 34 => {
            bytes[..8].copy_from_slice(&(u64::from(nanos) << 34 | medium).to_be_bytes());
            (bytes, 8)
        }
        _ => {
            bytes[..4].copy_from_slice(&nanos.to_be_bytes());
            bytes[4..].copy_from_slice(&seconds.to_be_bytes());
            (bytes, 12)
        }
    }
}

impl<T: Serialize> Serialize for Tuple<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        tuple(serializer, &self.0)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl Serialize for Markup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        text(serializer, MARKUP, number::MARKUP, &self.0)
    }
}

impl Serialize for BigInteger {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.as_str().parse::<i64>(), self.as_str().parse::<u64>()) {
            (Ok(integer), _) => serializer.serialize_i64(integer),
            (_, Ok(integer)) => serializer.serialize_u64(integer),
            _ => text(serializer, BIG_INTEGER, number::BIG_INTEGER, self.as_str()),
        }
    }
}

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_newtype_struct(UUID, &self.to_string())
        } else {
            extension(serializer, number::UUID, self.as_bytes())
        }
    }
}

impl Serialize for DateTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_newtype_struct(DATE_TIME, &self.to_string());
        }
        let (bytes, len) = timestamp(*self);
        extension(serializer, number::DATE_TIME, &bytes[..len])
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
            Value::Surrogates(units) if serializer.is_human_readable() => {
                serializer.serialize_newtype_struct(SURROGATES, &escape_surrogates(units))
            }
            Value::Surrogates(units) => {
                let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
                extension(serializer, number::SURROGATES, &bytes)
            }
            Value::Bytes(it) => serializer.serialize_bytes(it),
            Value::List(it) => serializer.collect_seq(it),
            Value::Tuple(it) => tuple(serializer, it),
            Value::Map(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (key, value) in members {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Value::Markup(it) => text(serializer, MARKUP, number::MARKUP, it),
            Value::Uuid(it) => it.serialize(serializer),
            Value::DateTime(it) => it.serialize(serializer),
        }
    }
}
