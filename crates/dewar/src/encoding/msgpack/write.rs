//! Any `Serialize` to MessagePack, as people would read it: an address is its text.
//!
//! serde's buffers (untagged, internally tagged and flattened types) always read as people do. What was written for machines could not be
//! read through them again.

use rmp_serde::MSGPACK_EXT_STRUCT_NAME;
use serde::Serialize;
use serde::ser::{self, Error, Serializer};

use super::scan::Scan;
use crate::encoding::depth::DEPTH;
use crate::encoding::error::WriteError;
use crate::value::exact::{self, number};
use crate::value::write::{text_of, unescape_surrogates};
use crate::value::{BigInteger, DateTime, Uuid};

/// Encodes one value.
pub(super) fn write<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, WriteError> {
    let mut out = Vec::with_capacity(64);
    let mut serializer = rmp_serde::Serializer::new(&mut out).with_struct_map();
    value.serialize(Readable::new(&mut serializer)).map_err(|error| match error {
        rmp_serde::encode::Error::DepthLimitExceeded => WriteError::deep(),
        rmp_serde::encode::Error::Syntax(words) => {
            // Of all words here only our own may be shown.
            let ours = [WriteError::deep(), WriteError::nothing()];
            ours.into_iter().find(|ours| ours.to_string() == words).unwrap_or_else(|| ser::Error::custom(words))
        }
        _ => ser::Error::custom(error),
    })?;
    // Each level takes a byte at least. One level is the session's own.
    if out.len() >= DEPTH && Scan::whole(&out, DEPTH - 1).is_none() {
        return Err(WriteError::deep());
    }
    Ok(out)
}

/// A serializer of MessagePack, or one of its lists and maps, that is read by people and knows our own kinds.
struct Readable<S> {
    to: S,
    /// Whether this is what an option holds.
    in_option: bool,
}

/// A value that goes through [`Readable`], too.
struct Inner<'a, T: ?Sized> {
    value: &'a T,
    in_option: bool,
}

struct Raw<'a>(&'a [u8]);

impl<S> Readable<S> {
    fn new(to: S) -> Self {
        Self { to, in_option: false }
    }

    fn inner<'a, T: ?Sized>(&self, value: &'a T) -> Inner<'a, T> {
        Inner { value, in_option: self.in_option }
    }
}

impl<'a, T: ?Sized> Inner<'a, T> {
    fn new(value: &'a T) -> Self {
        Self { value, in_option: false }
    }
}

impl<T: Serialize + ?Sized> Serialize for Inner<'_, T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Readable { to, in_option: self.in_option })
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
pub(super) fn timestamp(moment: DateTime) -> ([u8; 12], usize) {
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
            self.to.$method(it)
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
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, it: &T) -> Result<S::Ok, S::Error> {
        self.to.serialize_some(&Inner { value: it, in_option: true })
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        if self.in_option { Err(S::Error::custom(WriteError::nothing())) } else { self.to.serialize_unit() }
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<S::Ok, S::Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, name: &'static str, at: u32, variant: &'static str) -> Result<S::Ok, S::Error> {
        self.to.serialize_unit_variant(name, at, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, it: &T) -> Result<S::Ok, S::Error> {
        match name {
            exact::TUPLE => {
                let list = write(it).map_err(S::Error::custom)?;
                match list.first() {
                    Some(0x90..=0x9f | 0xdc | 0xdd) => extension(self.to, number::TUPLE, &list),
                    _ => Err(S::Error::custom("a tuple must be a list")),
                }
            }
            exact::ATOM => extension(self.to, number::ATOM, text_of::<_, S::Error>(it)?.as_bytes()),
            exact::MARKUP => extension(self.to, number::MARKUP, text_of::<_, S::Error>(it)?.as_bytes()),
            exact::BIG_INTEGER => extension(self.to, number::BIG_INTEGER, text_of::<_, S::Error>(it)?.as_bytes()),
            exact::UUID => {
                let uuid: Uuid = text_of::<_, S::Error>(it)?.parse().map_err(S::Error::custom)?;
                extension(self.to, number::UUID, uuid.as_bytes())
            }
            exact::DATE_TIME => {
                let moment: DateTime = text_of::<_, S::Error>(it)?.parse().map_err(S::Error::custom)?;
                let (bytes, len) = timestamp(moment);
                extension(self.to, number::DATE_TIME, &bytes[..len])
            }
            exact::SURROGATES => {
                let units = unescape_surrogates(&text_of::<_, S::Error>(it)?);
                let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
                extension(self.to, number::SURROGATES, &bytes)
            }
            _ => {
                let inner = self.inner(it);
                self.to.serialize_newtype_struct(name, &inner)
            }
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        at: u32,
        variant: &'static str,
        it: &T,
    ) -> Result<S::Ok, S::Error> {
        self.to.serialize_newtype_variant(name, at, variant, &Inner::new(it))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        self.to.serialize_seq(len).map(Readable::new)
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        self.to.serialize_tuple(len).map(Readable::new)
    }

    fn serialize_tuple_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeTupleStruct, S::Error> {
        self.to.serialize_tuple_struct(name, len).map(Readable::new)
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        at: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.to.serialize_tuple_variant(name, at, variant, len).map(Readable::new)
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        self.to.serialize_map(len).map(Readable::new)
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, S::Error> {
        self.to.serialize_struct(name, len).map(Readable::new)
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        at: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        self.to.serialize_struct_variant(name, at, variant, len).map(Readable::new)
    }
}

macro_rules! compound {
    ($($trait:ident: $method:ident($($name:ident)?));* $(;)?) => {$(
        impl<C: ser::$trait> ser::$trait for Readable<C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, $($name: &'static str,)? it: &T) -> Result<(), C::Error> {
                self.to.$method($($name,)? &Inner::new(it))
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.to.end()
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
        self.to.serialize_key(&Inner::new(key))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.to.serialize_value(&Inner::new(value))
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.to.end()
    }
}
