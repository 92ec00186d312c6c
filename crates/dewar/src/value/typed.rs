//! Each of our own types from serde.

use super::{BigInteger, Bytes, DateTime, Markup, Tuple, Uuid, Value};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

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
