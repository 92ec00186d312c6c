//! Names of members: text, and what Python and JavaScript turn into text.

use super::buffer::{Buffer, Frame};
use super::number::write_float;
use super::text;
use crate::encoding::error::WriteError;
use crate::value::exact;
use crate::value::write::{text_of, unescape_surrogates};
use serde::Serialize;
use serde::ser::{Impossible, Serializer};

/// Writes one name of an open object.
pub(super) struct KeyWriter<'a> {
    pub(super) to: &'a mut Buffer,
    pub(super) frame: Frame,
}

fn refused<T>() -> Result<T, WriteError> {
    Err(WriteError::new("a name must be text or a number"))
}

macro_rules! integers {
    ($($method:ident($type:ty))*) => {$(
        fn $method(self, it: $type) -> Result<(), WriteError> {
            self.to.name(self.frame, itoa::Buffer::new().format(it).as_bytes(), i128::try_from(it).ok());
            Ok(())
        }
    )*};
}

impl Serializer for KeyWriter<'_> {
    type Ok = ();
    type Error = WriteError;
    type SerializeSeq = Impossible<(), WriteError>;
    type SerializeTuple = Impossible<(), WriteError>;
    type SerializeTupleStruct = Impossible<(), WriteError>;
    type SerializeTupleVariant = Impossible<(), WriteError>;
    type SerializeMap = Impossible<(), WriteError>;
    type SerializeStruct = Impossible<(), WriteError>;
    type SerializeStructVariant = Impossible<(), WriteError>;

    integers! {
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64) serialize_i128(i128)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64) serialize_u128(u128)
    }

    fn serialize_bool(self, it: bool) -> Result<(), WriteError> {
        self.serialize_str(if it { "true" } else { "false" })
    }

    fn serialize_f32(self, it: f32) -> Result<(), WriteError> {
        self.serialize_f64(it.into())
    }

    fn serialize_f64(self, it: f64) -> Result<(), WriteError> {
        let mut name = Vec::new();
        write_float(it, self.to.json.numbers, &mut name);
        self.to.name(self.frame, &name, None);
        Ok(())
    }

    fn serialize_char(self, it: char) -> Result<(), WriteError> {
        self.serialize_str(it.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, it: &str) -> Result<(), WriteError> {
        self.to.name(self.frame, it.as_bytes(), None);
        Ok(())
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), WriteError> {
        refused()
    }

    fn serialize_none(self) -> Result<(), WriteError> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, it: &T) -> Result<(), WriteError> {
        it.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), WriteError> {
        refused()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), WriteError> {
        refused()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), WriteError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, it: &T) -> Result<(), WriteError> {
        match name {
            exact::SURROGATES if !self.to.json.has_surrogates() => refused(),
            exact::SURROGATES => {
                let units = unescape_surrogates(&text_of(it)?);
                self.to.name(self.frame, &text::to_wtf8(&units), None);
                Ok(())
            }
            exact::TUPLE | exact::UUID | exact::DATE_TIME => refused(),
            _ => it.serialize(self),
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), WriteError> {
        refused()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, WriteError> {
        refused()
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, WriteError> {
        refused()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, WriteError> {
        refused()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, WriteError> {
        refused()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, WriteError> {
        refused()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, WriteError> {
        refused()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, WriteError> {
        refused()
    }
}
