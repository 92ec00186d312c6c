//! Every kind from serde: from our own readers exactly, from others as far as they tell.

use super::exact::{VALUE, number};
use super::{BigInteger, DateTime, Uuid, Value};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::collections::hash_map::{Entry, HashMap};
use std::fmt;

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

    /// With the digits of 32 bits, as JSON has them: 0.1 stays 0.1.
    fn visit_f32<E>(self, it: f32) -> Result<Value, E> {
        let short = it.to_string().parse().ok().filter(|short: &f64| *short as f32 == it);
        Ok(short.unwrap_or(it.into()).into())
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
            (number::ATOM, payload) => Value::Atom(payload.into_text()?),
            (number::MARKUP, payload) => Value::Markup(payload.into_text()?),
            (number::UUID, Payload::Encoded(bytes)) => Value::Uuid(Uuid::from_bytes(bytes.try_into().ok()?)),
            (number::UUID, payload) => Value::Uuid(payload.into_text()?.parse().ok()?),
            (number::DATE_TIME, Payload::Encoded(bytes)) => Value::DateTime(read_timestamp(&bytes)?),
            (number::DATE_TIME, payload) => Value::DateTime(payload.into_text()?.parse().ok()?),
            (number::SURROGATES, Payload::Encoded(bytes)) if bytes.len() % 2 == 0 => {
                Value::Surrogates(bytes.chunks(2).map(|unit| u16::from_be_bytes([unit[0], unit[1]])).collect())
            }
            (number::BIG_INTEGER, payload) => {
                let integer: BigInteger = payload.into_text()?.parse().ok()?;
                // Others may write a small one so; it is the same number, and we would write it back as such.
                integer.as_str().parse().map_or(Value::BigInteger(integer), Value::Integer)
            }
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
