//! Any `Serialize` to MessagePack, as people would read it: an address is its text.
//!
//! serde's buffers (untagged, internally tagged and flattened types) always read as people do. What was written for machines could not be
//! read through them again.

use rmp_serde::MSGPACK_EXT_STRUCT_NAME;
use serde::Serialize;
use serde::ser::{self, Error, Serializer};

use crate::dialect::wire::{DEPTH, WriteError};
use crate::value::exact::{self, number};
use crate::value::write::{text_of, unescape_surrogates};
use crate::value::{BigInteger, DateTime, Uuid};

/// Encodes one value.
pub(super) fn write<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, WriteError> {
    let mut out = Vec::with_capacity(64);
    let mut serializer = rmp_serde::Serializer::new(&mut out).with_struct_map();
    value.serialize(Readable(&mut serializer)).map_err(|error| match error {
        rmp_serde::encode::Error::DepthLimitExceeded => WriteError::deep(),
        // Of a tuple, which is written by itself.
        rmp_serde::encode::Error::Syntax(words) if words == WriteError::deep().to_string() => WriteError::deep(),
        _ => ser::Error::custom(error),
    })?;
    // Each level takes a byte at least. One level is the session's own.
    if out.len() >= DEPTH && super::Scan::whole(&out, DEPTH - 1).is_none() {
        return Err(WriteError::deep());
    }
    Ok(out)
}

/// A serializer of MessagePack, or one of its lists and maps, that is read by people and knows our own kinds.
struct Readable<S>(S);

/// A value that goes through [`Readable`], too.
struct Inner<'a, T: ?Sized>(&'a T);

struct Raw<'a>(&'a [u8]);

impl<T: Serialize + ?Sized> Serialize for Inner<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(Readable(serializer))
    }
}

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

fn extension<S: Serializer>(serializer: S, number: i8, payload: &[u8]) -> Result<S::Ok, S::Error> {
    serializer.serialize_newtype_struct(MSGPACK_EXT_STRUCT_NAME, &(number, Raw(payload)))
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

macro_rules! plain {
    ($($method:ident($type:ty))*) => {$(
        fn $method(self, it: $type) -> Result<S::Ok, S::Error> {
            self.0.$method(it)
        }
    )*};
}

impl<S: Serializer> Serializer for Readable<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Readable<S::SerializeSeq>;
    type SerializeTuple = Readable<S::SerializeTuple>;
    type SerializeTupleStruct = Readable<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Readable<S::SerializeTupleVariant>;
    type SerializeMap = Readable<S::SerializeMap>;
    type SerializeStruct = Readable<S::SerializeStruct>;
    type SerializeStructVariant = Readable<S::SerializeStructVariant>;

    plain! {
        serialize_bool(bool)
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64)
        serialize_f32(f32) serialize_f64(f64)
        serialize_char(char) serialize_str(&str) serialize_bytes(&[u8])
    }

    fn serialize_i128(self, it: i128) -> Result<S::Ok, S::Error> {
        BigInteger::from(it).serialize(self)
    }

    fn serialize_u128(self, it: u128) -> Result<S::Ok, S::Error> {
        BigInteger::from(it).serialize(self)
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.0.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, it: &T) -> Result<S::Ok, S::Error> {
        self.0.serialize_some(&Inner(it))
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.0.serialize_unit()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<S::Ok, S::Error> {
        self.0.serialize_unit()
    }

    fn serialize_unit_variant(self, name: &'static str, at: u32, variant: &'static str) -> Result<S::Ok, S::Error> {
        self.0.serialize_unit_variant(name, at, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, it: &T) -> Result<S::Ok, S::Error> {
        match name {
            exact::TUPLE => {
                let list = write(it).map_err(S::Error::custom)?;
                match list.first() {
                    Some(0x90..=0x9f | 0xdc | 0xdd) => extension(self.0, number::TUPLE, &list),
                    _ => Err(S::Error::custom("a tuple must be a list")),
                }
            }
            exact::MARKUP => extension(self.0, number::MARKUP, text_of::<_, S::Error>(it)?.as_bytes()),
            exact::BIG_INTEGER => extension(self.0, number::BIG_INTEGER, text_of::<_, S::Error>(it)?.as_bytes()),
            exact::UUID => {
                let uuid: Uuid = text_of::<_, S::Error>(it)?.parse().map_err(S::Error::custom)?;
                extension(self.0, number::UUID, uuid.as_bytes())
            }
            exact::DATE_TIME => {
                let moment: DateTime = text_of::<_, S::Error>(it)?.parse().map_err(S::Error::custom)?;
                let (bytes, len) = timestamp(moment);
                extension(self.0, number::DATE_TIME, &bytes[..len])
            }
            exact::SURROGATES => {
                let units = unescape_surrogates(&text_of::<_, S::Error>(it)?);
                let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
                extension(self.0, number::SURROGATES, &bytes)
            }
            _ => self.0.serialize_newtype_struct(name, &Inner(it)),
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        at: u32,
        variant: &'static str,
        it: &T,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_variant(name, at, variant, &Inner(it))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        self.0.serialize_seq(len).map(Readable)
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        self.0.serialize_tuple(len).map(Readable)
    }

    fn serialize_tuple_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeTupleStruct, S::Error> {
        self.0.serialize_tuple_struct(name, len).map(Readable)
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        at: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.0.serialize_tuple_variant(name, at, variant, len).map(Readable)
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        self.0.serialize_map(len).map(Readable)
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, S::Error> {
        self.0.serialize_struct(name, len).map(Readable)
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        at: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        self.0.serialize_struct_variant(name, at, variant, len).map(Readable)
    }
}

macro_rules! compound {
    ($($trait:ident: $method:ident($($name:ident)?));* $(;)?) => {$(
        impl<C: ser::$trait> ser::$trait for Readable<C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, $($name: &'static str,)? it: &T) -> Result<(), C::Error> {
                self.0.$method($($name,)? &Inner(it))
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.0.end()
            }
        }
    )*};
}

compound! {
    SerializeSeq: serialize_element();
    SerializeTuple: serialize_element();
    SerializeTupleStruct: serialize_field();
    SerializeTupleVariant: serialize_field();
    SerializeStruct: serialize_field(name);
    SerializeStructVariant: serialize_field(name);
}

impl<C: ser::SerializeMap> ser::SerializeMap for Readable<C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        self.0.serialize_key(&Inner(key))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.0.serialize_value(&Inner(value))
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.0.end()
    }
}
