//! Reads a type out of a [`Value`] that has been decoded already.
//!
//! Types see what a value wraps: a tuple is a list, markup is text, a UUID and a date are their texts. Only `Value`
//! and our own types see the kind.

use super::base64::decode_standard;
use super::error::ReadError;
use crate::value::exact::{self, number};
use crate::value::{BigInteger, Value};
use serde::de::value::{MapDeserializer, SeqDeserializer, StringDeserializer};
use serde::de::{self, Deserializer, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

/// A value and how the format it comes from is to be taken.
pub(super) struct Reader {
    value: Value,
    manner: Manner,
}

#[derive(Clone, Copy)]
struct Manner {
    readable: bool,
    integral_floats: bool,
    text_is_bytes: bool,
    base64_is_bytes: bool,
    lists_are_maps: bool,
}

impl Reader {
    /// `readable`: whether the format is read by humans, in serde's sense.
    pub(super) fn new(value: Value, readable: bool) -> Self {
        let manner = Manner {
            readable,
            integral_floats: false,
            text_is_bytes: false,
            base64_is_bytes: false,
            lists_are_maps: false,
        };
        Reader { value, manner }
    }

    #[cfg(feature = "json")]
    /// Whether a float without a fraction may be read as an integer.
    pub(super) fn integral_floats(mut self, may: bool) -> Self {
        self.manner.integral_floats = may;
        self
    }

    #[cfg(any(feature = "phoenix", feature = "php"))]
    /// Whether text is to be had as bytes, too: where a format has one kind for both.
    pub(super) fn text_is_bytes(mut self) -> Self {
        self.manner.text_is_bytes = true;
        self
    }

    #[cfg(feature = "json")]
    /// Whether text is to be had as the bytes of which it is the base64: where a format writes bytes so.
    pub(super) fn base64_is_bytes(mut self) -> Self {
        self.manner.base64_is_bytes = true;
        self
    }

    #[cfg(feature = "php")]
    /// Whether a list is to be had as a map of its places, and an integer key as its text, too: where a format has one kind for both.
    pub(super) fn lists_are_maps(mut self) -> Self {
        self.manner.lists_are_maps = true;
        self
    }

    fn list<'de, V: Visitor<'de>>(items: Vec<Value>, manner: Manner, visitor: V) -> Result<V::Value, ReadError> {
        let mut access = SeqDeserializer::new(items.into_iter().map(|value| Reader { value, manner }));
        let read = visitor.visit_seq(&mut access)?;
        access.end()?;
        Ok(read)
    }

    fn map<'de, V: Visitor<'de>>(
        members: Vec<(Value, Value)>,
        manner: Manner,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let members =
            members.into_iter().map(|(name, value)| (Key(Reader { value: name, manner }), Reader { value, manner }));
        let mut access = MapDeserializer::new(members);
        let read = visitor.visit_map(&mut access)?;
        access.end()?;
        Ok(read)
    }
}

impl<'de> IntoDeserializer<'de, ReadError> for Reader {
    type Deserializer = Reader;

    fn into_deserializer(self) -> Reader {
        self
    }
}

fn big<'de, V: Visitor<'de>>(integer: &BigInteger, visitor: V) -> Result<V::Value, ReadError> {
    let digits = integer.as_str();
    if let Ok(fits) = digits.parse() {
        visitor.visit_i64(fits)
    } else if let Ok(fits) = digits.parse() {
        visitor.visit_u64(fits)
    } else if let Ok(fits) = digits.parse() {
        visitor.visit_i128(fits)
    } else if let Ok(fits) = digits.parse() {
        visitor.visit_u128(fits)
    } else {
        Err(de::Error::invalid_type(Unexpected::Other("an integer beyond 64 bits"), &visitor))
    }
}

macro_rules! integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            match self.value {
                Value::Float(it) if self.manner.integral_floats && it.fract() == 0.0 => integral(it, visitor),
                _ => self.deserialize_any(visitor),
            }
        }
    )*};
}

fn integral<'de, V: Visitor<'de>>(float: f64, visitor: V) -> Result<V::Value, ReadError> {
    if float.abs() < (1u64 << 63) as f64 { visitor.visit_i64(float as i64) } else { visitor.visit_f64(float) }
}

impl<'de> Deserializer<'de> for Reader {
    type Error = ReadError;

    fn is_human_readable(&self) -> bool {
        self.manner.readable
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(it) => visitor.visit_bool(it),
            Value::Integer(it) => visitor.visit_i64(it),
            Value::BigInteger(it) => big(&it, visitor),
            Value::Float(it) => visitor.visit_f64(it),
            Value::Text(it) | Value::Markup(it) | Value::Atom(it) => visitor.visit_string(it),
            Value::Surrogates(_) => {
                Err(de::Error::invalid_type(Unexpected::Other("text with a lone surrogate"), &visitor))
            }
            Value::Bytes(it) => visitor.visit_byte_buf(it),
            Value::List(it) | Value::Tuple(it) => Reader::list(it, self.manner, visitor),
            Value::Map(it) => Reader::map(it, self.manner, visitor),
            Value::Uuid(it) => visitor.visit_string(it.to_string()),
            Value::DateTime(it) => visitor.visit_string(it.to_string()),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match name {
            exact::VALUE => visitor.visit_newtype_struct(Exact(self)),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.value {
            Value::Bytes(bytes) => visitor.visit_seq(SeqDeserializer::<_, ReadError>::new(bytes.into_iter())),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.value {
            Value::List(items) if self.manner.lists_are_maps => {
                let places = (0..).map(Value::Integer);
                Reader::map(places.zip(items).collect(), self.manner, visitor)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.value {
            Value::List(items) if items.is_empty() => self.deserialize_map(visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.value {
            Value::Uuid(uuid) => visitor.visit_bytes(uuid.as_bytes()),
            Value::Text(text) if self.manner.text_is_bytes => visitor.visit_byte_buf(text.into_bytes()),
            Value::Text(text) if self.manner.base64_is_bytes => match decode_standard(text.as_bytes()) {
                Some(bytes) => visitor.visit_byte_buf(bytes),
                None => Err(de::Error::invalid_type(Unexpected::Str(&text), &visitor)),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.value {
            Value::Text(variant) | Value::Atom(variant) => visitor.visit_enum(StringDeserializer::new(variant)),
            Value::Map(mut members) if members.len() == 1 => {
                let (name, value) = members.remove(0);
                let manner = self.manner;
                visitor.visit_enum(Variant(Reader { value: name, manner }, Reader { value, manner }))
            }
            other => Err(de::Error::invalid_type(Unexpected::Other(other.kind()), &"a variant")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_unit()
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    forward_to_deserialize_any! {
        bool f32 f64 char str string unit unit_struct identifier
    }
}

/// A member's name: text that also reads as the integer or boolean it spells, as `serde_json` does for typed maps.
struct Key(Reader);

impl<'de> IntoDeserializer<'de, ReadError> for Key {
    type Deserializer = Key;

    fn into_deserializer(self) -> Key {
        self
    }
}

macro_rules! spelled {
    ($($method:ident => $type:ty, $visit:ident);* $(;)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            match &self.0.value {
                Value::Text(text) | Value::Atom(text) => match text.parse::<$type>() {
                    Ok(it) => visitor.$visit(it),
                    Err(_) => self.0.deserialize_any(visitor),
                },
                _ => self.0.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Key {
    type Error = ReadError;

    spelled! {
        deserialize_bool => bool, visit_bool;
        deserialize_i8 => i8, visit_i8;
        deserialize_i16 => i16, visit_i16;
        deserialize_i32 => i32, visit_i32;
        deserialize_i64 => i64, visit_i64;
        deserialize_i128 => i128, visit_i128;
        deserialize_u8 => u8, visit_u8;
        deserialize_u16 => u16, visit_u16;
        deserialize_u32 => u32, visit_u32;
        deserialize_u64 => u64, visit_u64;
        deserialize_u128 => u128, visit_u128;
        deserialize_f32 => f32, visit_f32;
        deserialize_f64 => f64, visit_f64;
    }

    fn is_human_readable(&self) -> bool {
        self.0.manner.readable
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.0.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match name {
            exact::VALUE => visitor.visit_newtype_struct(Exact(self.0)),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.0.value {
            Value::Integer(it) if self.0.manner.lists_are_maps => visitor.visit_string(it.to_string()),
            _ => self.0.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    forward_to_deserialize_any! {
        char bytes byte_buf unit unit_struct seq tuple tuple_struct map struct ignored_any
    }
}

/// Shows every kind, to `Value` alone.
struct Exact(Reader);

impl<'de> Deserializer<'de> for Exact {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let (number, payload) = match self.0.value {
            Value::Tuple(items) => (number::TUPLE, Value::List(items)),
            Value::Markup(text) => (number::MARKUP, Value::Text(text)),
            Value::Uuid(uuid) => (number::UUID, Value::Text(uuid.to_string())),
            Value::DateTime(moment) => (number::DATE_TIME, Value::Text(moment.to_string())),
            Value::Atom(name) => (number::ATOM, Value::Text(name)),
            Value::BigInteger(integer) => (number::BIG_INTEGER, Value::Text(integer.to_string())),
            Value::Surrogates(units) => {
                (number::SURROGATES, Value::Bytes(units.iter().flat_map(|unit| unit.to_be_bytes()).collect()))
            }
            value => return Reader { value, ..self.0 }.deserialize_any(visitor),
        };
        let pair = Value::List(vec![Value::Integer(number.into()), payload]);
        visitor.visit_newtype_struct(Reader { value: pair, ..self.0 })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Variant(Reader, Reader);

impl<'de> de::EnumAccess<'de> for Variant {
    type Error = ReadError;
    type Variant = Content;

    fn variant_seed<S: de::DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Content), ReadError> {
        Ok((seed.deserialize(self.0)?, Content(self.1)))
    }
}

struct Content(Reader);

impl<'de> de::VariantAccess<'de> for Content {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        de::Deserialize::deserialize(self.0)
    }

    fn newtype_variant_seed<S: de::DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, ReadError> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.0.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, ReadError> {
        self.0.deserialize_any(visitor)
    }
}
