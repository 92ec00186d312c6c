//! Objects and lists while they are written.

use super::key::KeyWriter;
use super::write::{Frame, Writer};
use crate::encoding::WriteError;
use serde::Serialize;
use serde::ser;

/// An open object or list, and the object around it that names an enum's variant.
pub(super) struct Compound<'a> {
    writer: &'a mut Writer,
    variant: Option<Frame>,
    frame: Frame,
    list: bool,
}

impl<'a> Compound<'a> {
    pub(super) fn open(writer: &'a mut Writer, variant: Option<&'static str>, bracket: u8) -> Self {
        let variant = match variant {
            Some(name) => {
                let frame = writer.open(b'{');
                writer.name(frame, name.as_bytes(), None);
                Some(frame)
            }
            None => None,
        };
        let frame = writer.open(bracket);
        Compound { writer, variant, frame, list: bracket == b'[' }
    }

    fn item<T: Serialize + ?Sized>(&mut self, it: &T) -> Result<(), WriteError> {
        self.writer.next(self.frame);
        it.serialize(&mut *self.writer)
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, it: &T) -> Result<(), WriteError> {
        self.writer.name(self.frame, name.as_bytes(), None);
        it.serialize(&mut *self.writer)
    }

    fn close(self) -> Result<(), WriteError> {
        match self.list {
            true => self.writer.close_list(self.frame),
            false => self.writer.close_object(self.frame)?,
        }
        self.variant.map_or(Ok(()), |variant| self.writer.close_object(variant))
    }
}

macro_rules! compound {
    ($($ser:ident: $method:ident($($name:ident)?) as $inner:ident);* $(;)?) => {$(
        impl ser::$ser for Compound<'_> {
            type Ok = ();
            type Error = WriteError;

            fn $method<T: Serialize + ?Sized>(&mut self, $($name: &'static str,)? it: &T) -> Result<(), WriteError> {
                self.$inner($($name,)? it)
            }

            fn end(self) -> Result<(), WriteError> {
                self.close()
            }
        }
    )*};
}

compound! {
    SerializeSeq: serialize_element() as item;
    SerializeTuple: serialize_element() as item;
    SerializeTupleStruct: serialize_field() as item;
    SerializeTupleVariant: serialize_field() as item;
    SerializeStruct: serialize_field(name) as field;
    SerializeStructVariant: serialize_field(name) as field;
}

impl ser::SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = WriteError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), WriteError> {
        key.serialize(KeyWriter { writer: self.writer, frame: self.frame })
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), WriteError> {
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), WriteError> {
        self.close()
    }
}
