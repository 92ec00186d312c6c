//! How each kind survives serde.
//!
//! Human-readable formats get what a value wraps, inside a newtype whose name our JSON recognises. Others get a
//! MessagePack extension type:
//!
//! | number | kind | payload |
//! | --- | --- | --- |
//! | -1 | date | MessagePack's own timestamp |
//! | 1 | tuple | a MessagePack list |
//! | 2 | markup | UTF-8 |
//! | 3 | UUID | 16 bytes |
//! | 4 | text with a lone surrogate | UTF-16, big-endian |
//! | 5 | integer beyond 64 bits | decimal text |

use super::{BigInteger, Bytes, DateTime, Markup, Tuple, Uuid, Value};
use serde::de::{self, Deserialize, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};
use serde::ser::{self, Serialize, SerializeMap, Serializer};
use std::borrow::Cow;
use std::collections::hash_map::{Entry, HashMap};
use std::fmt;
use std::marker::PhantomData;

pub(crate) const TUPLE: &str = "$dewar::tuple";
pub(crate) const MARKUP: &str = "$dewar::markup";
pub(crate) const UUID: &str = "$dewar::uuid";
pub(crate) const DATE_TIME: &str = "$dewar::datetime";
pub(crate) const BIG_INTEGER: &str = "$dewar::integer";
pub(crate) const SURROGATES: &str = "$dewar::surrogates";
pub(crate) const VALUE: &str = "$dewar::value";

/// The extension type numbers.
pub(crate) mod number {
    pub(crate) const DATE_TIME: i8 = -1;
    pub(crate) const TUPLE: i8 = 1;
    pub(crate) const MARKUP: i8 = 2;
    pub(crate) const UUID: i8 = 3;
    pub(crate) const SURROGATES: i8 = 4;
    pub(crate) const BIG_INTEGER: i8 = 5;
}

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

fn read_timestamp(bytes: &[u8]) -> Option<DateTime> {
    let (seconds, nanos) = match bytes.len() {
        4 => (u32::from_be_bytes(bytes.try_into().ok()?).into(), 0),
        8 => {
            let both = u64::from_be_bytes(bytes.try_into().ok()?);
            ((both & ((1 << 34) - 1)) as i64, (both >> 34) as u32)
        }
        12 => {
            let (nanos, seconds) = bytes.split_at(4);
            (i64::from_be_bytes(seconds.try_into().ok()?), u32::from_be_bytes(nanos.try_into().ok()?))
        }
        _ => return None,
    };
    DateTime::from_unix(seconds, nanos)
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

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(VALUE, Wrapped)
    }
}

/// The newtype whose name lets our own reader show every kind.
struct Wrapped;

impl<'de> Visitor<'de> for Wrapped {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<Value, A::Error> {
        AnyValue.visit_seq(access)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, it: bool) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_i64<E>(self, it: i64) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_u64<E>(self, it: u64) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_i128<E>(self, it: i128) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_u128<E>(self, it: u128) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_f64<E>(self, it: f64) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_str<E>(self, it: &str) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_string<E>(self, it: String) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_bytes<E>(self, it: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(it.into()))
    }

    fn visit_byte_buf<E>(self, it: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Bytes(it))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<Value, A::Error> {
        items(access).map(Value::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Vec::with_capacity(access.size_hint().unwrap_or(0).min(256));
        while let Some(member) = access.next_entry()? {
            members.push(member);
        }
        last_wins(&mut members);
        Ok(Value::Map(members))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(Numbered)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(de::Error::invalid_type(de::Unexpected::Enum, &self))
    }
}

/// Of members with one name the last one counts, at the place of the first.
pub(crate) fn last_wins(members: &mut Vec<(Value, Value)>) {
    if members.len() < 2 {
        return;
    }
    if members.len() <= 8
        && members.iter().enumerate().all(|(i, (name, _))| members[..i].iter().all(|(former, _)| former != name))
    {
        return;
    }
    let mut places: HashMap<(bool, Cow<'_, str>), usize> = HashMap::with_capacity(members.len());
    let mut last = Vec::with_capacity(members.len());
    for (at, (name, _)) in members.iter().enumerate() {
        let name = match name {
            Value::Text(text) => (true, text.as_str().into()),
            other => (false, format!("{other:?}").into()),
        };
        match places.entry(name) {
            Entry::Occupied(place) => last[*place.get()] = at,
            Entry::Vacant(place) => {
                place.insert(last.len());
                last.push(at);
            }
        }
    }
    drop(places);
    if last.len() < members.len() {
        *members = last.iter().map(|at| std::mem::replace(&mut members[*at], (Value::Null, Value::Null))).collect();
    }
}

fn items<'de, A: SeqAccess<'de>>(mut access: A) -> Result<Vec<Value>, A::Error> {
    let mut items = Vec::with_capacity(access.size_hint().unwrap_or(0).min(256));
    while let Some(item) = access.next_element()? {
        items.push(item);
    }
    Ok(items)
}

/// An extension type's number and payload.
struct Numbered;

impl<'de> Visitor<'de> for Numbered {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a known extension type")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let number: i8 = access.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
        let payload: Payload = access.next_element()?.ok_or_else(|| de::Error::invalid_length(1, &self))?;
        payload.into_value(number).ok_or_else(|| de::Error::invalid_value(de::Unexpected::Other("another"), &self))
    }
}

/// Encoded in MessagePack, plain from our own reader.
enum Payload {
    Encoded(Vec<u8>),
    Text(String),
    Items(Vec<Value>),
}

impl Payload {
    fn into_value(self, number: i8) -> Option<Value> {
        Some(match (number, self) {
            (number::TUPLE, Payload::Items(items)) => Value::Tuple(items),
            (number::TUPLE, Payload::Encoded(list)) => Value::Tuple(rmp_serde::from_slice(&list).ok()?),
            (number::MARKUP, payload) => Value::Markup(payload.into_text()?),
            (number::UUID, Payload::Encoded(bytes)) => Value::Uuid(Uuid::from_bytes(bytes.try_into().ok()?)),
            (number::UUID, payload) => Value::Uuid(payload.into_text()?.parse().ok()?),
            (number::DATE_TIME, Payload::Encoded(bytes)) => Value::DateTime(read_timestamp(&bytes)?),
            (number::DATE_TIME, payload) => Value::DateTime(payload.into_text()?.parse().ok()?),
            (number::SURROGATES, Payload::Encoded(bytes)) if bytes.len() % 2 == 0 => {
                Value::Surrogates(bytes.chunks(2).map(|unit| u16::from_be_bytes([unit[0], unit[1]])).collect())
            }
            (number::BIG_INTEGER, payload) => Value::BigInteger(payload.into_text()?.parse().ok()?),
            _ => return None,
        })
    }

    fn into_text(self) -> Option<String> {
        match self {
            Payload::Encoded(bytes) => String::from_utf8(bytes).ok(),
            Payload::Text(text) => Some(text),
            Payload::Items(_) => None,
        }
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PayloadVisitor)
    }
}

struct PayloadVisitor;

impl<'de> Visitor<'de> for PayloadVisitor {
    type Value = Payload;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the payload of an extension type")
    }

    fn visit_bytes<E>(self, it: &[u8]) -> Result<Payload, E> {
        Ok(Payload::Encoded(it.into()))
    }

    fn visit_str<E>(self, it: &str) -> Result<Payload, E> {
        Ok(Payload::Text(it.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<Payload, A::Error> {
        items(access).map(Payload::Items)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Tuple<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Any<T> {
            type Value = T;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a tuple")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<T, A::Error> {
                T::deserialize(de::value::SeqAccessDeserializer::new(access))
            }
        }
        deserializer.deserialize_seq(Any(PhantomData)).map(Tuple)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, it: &[u8]) -> Result<Vec<u8>, E> {
                Ok(it.into())
            }
            fn visit_byte_buf<E>(self, it: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(it)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Vec<u8>, A::Error> {
                let mut bytes = Vec::with_capacity(access.size_hint().unwrap_or(0).min(4096));
                while let Some(byte) = access.next_element()? {
                    bytes.push(byte);
                }
                Ok(bytes)
            }
        }
        // serde_json would show text as bytes if asked for bytes.
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(Any).map(Bytes)
        } else {
            deserializer.deserialize_byte_buf(Any).map(Bytes)
        }
    }
}

/// Reads any value, then keeps the one kind that fits.
fn one_kind<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &'static str,
    fits: impl FnOnce(Value) -> Option<T>,
) -> Result<T, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let found = value.kind();
    fits(value).ok_or_else(|| de::Error::invalid_type(de::Unexpected::Other(found), &expected))
}

impl<'de> Deserialize<'de> for Markup {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        one_kind(deserializer, "markup", |value| match value {
            Value::Markup(text) | Value::Text(text) => Some(Markup(text)),
            _ => None,
        })
    }
}

impl<'de> Deserialize<'de> for BigInteger {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        one_kind(deserializer, "an integer", |value| match value {
            Value::Integer(integer) => Some(BigInteger(integer.to_string())),
            Value::BigInteger(integer) => Some(integer),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        })
    }
}

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        one_kind(deserializer, "a UUID", |value| match value {
            Value::Uuid(uuid) => Some(uuid),
            Value::Text(text) => text.parse().ok(),
            Value::Bytes(bytes) => bytes.try_into().map(Uuid::from_bytes).ok(),
            _ => None,
        })
    }
}

impl<'de> Deserialize<'de> for DateTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        one_kind(deserializer, "a date", |value| match value {
            Value::DateTime(moment) => Some(moment),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        })
    }
}
