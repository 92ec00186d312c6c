//! Any `Serialize` to JSON text.

use super::buffer::{Buffer, Frame};
use super::flavour::{Json, Numbers};
use super::key::KeyWriter;
use super::number::{SAFE, write_float, write_integer, write_short_float};
use super::scan::PYTHON_DIGITS;
use super::{tag, text};
use crate::encoding::base64;
use crate::encoding::error::WriteError;
use crate::value::write::{text_of, unescape_surrogates};
use crate::value::{DateTime, exact};
use serde::Serialize;
use serde::ser::{self, Serializer};

/// Encodes one value.
pub(super) fn write<T: Serialize + ?Sized>(json: Json, value: &T) -> Result<Vec<u8>, WriteError> {
    let mut buffer = Buffer::new(json);
    value.serialize(Writer { to: &mut buffer })?;
    buffer.finish()
}

/// Writes one value to the end.
struct Writer<'a> {
    to: &'a mut Buffer,
}

impl Writer<'_> {
    fn refuse(&self, what: &str) -> WriteError {
        let whose = match self.to.json.numbers {
            Numbers::Python => "Python's JSON",
            Numbers::JavaScript => "JavaScript's JSON",
            Numbers::Ruby => "Rails' JSON",
            Numbers::Php => "PHP's JSON",
            Numbers::Msgspec => "Flask-Session's JSON",
        };
        WriteError::new(format!("{whose} cannot hold {what}"))
    }

    /// `is_safe`: up to 2^53-1; `is_long`: of 64 bits with a sign.
    fn integer<I: itoa::Integer + Copy>(self, integer: I, is_safe: bool, is_long: bool) -> Result<(), WriteError> {
        match self.to.json.numbers {
            Numbers::JavaScript if !is_safe => {
                return Err(WriteError::new("JavaScript's numbers hold integers only up to 2^53-1"));
            }
            Numbers::Php if !is_long => {
                return Err(WriteError::new("PHP's integers have 64 bits, and beyond them it would read a float"));
            }
            _ => {}
        }
        write_integer(integer, &mut self.to.out);
        Ok(())
    }

    /// `JSON.stringify` and Rails would make it `null` without a word.
    fn float(&self, is_finite: bool) -> Result<(), WriteError> {
        let fits = is_finite || self.to.json.numbers == Numbers::Python;
        if fits { Ok(()) } else { Err(self.refuse("NaN or an infinity")) }
    }

    /// Writes one of our own kinds, given what it wraps.
    fn kind<T: Serialize + ?Sized>(self, name: &'static str, inner: &T) -> Result<(), WriteError> {
        match name {
            exact::TUPLE => self.tagged(tag::TUPLE, "a tuple", |to| {
                let start = to.out.len();
                inner.serialize(Writer { to: &mut *to })?;
                if to.out.get(start) == Some(&b'[') { Ok(()) } else { Err(WriteError::new("a tuple must be a list")) }
            }),
            exact::UUID if self.to.json.unwraps() => self.serialize_str(&text_of(inner)?),
            exact::DATE_TIME if self.to.json.unwraps() => {
                let date: DateTime = text_of(inner)?.parse().map_err(|_| WriteError::new("not a date"))?;
                self.serialize_str(&date.to_python())
            }
            exact::MARKUP if self.to.json.unwraps() => Err(self.refuse("markup; write text")),
            exact::MARKUP => self.tagged(tag::MARKUP, "markup", |to| inner.serialize(Writer { to })),
            exact::UUID => {
                let dashed = text_of(inner)?;
                self.tagged(tag::UUID, "a UUID", |to| Writer { to }.serialize_str(&dashed.replace('-', "")))
            }
            exact::DATE_TIME => {
                let date: DateTime = text_of(inner)?.parse().map_err(|_| WriteError::new("not a date"))?;
                self.tagged(tag::DATE_TIME, "a date", |to| Writer { to }.serialize_str(&date.to_http()))
            }
            exact::BIG_INTEGER if matches!(self.to.json.numbers, Numbers::JavaScript | Numbers::Php) => {
                self.integer(0, false, false)
            }
            exact::BIG_INTEGER => {
                let digits = text_of(inner)?;
                if digits.trim_start_matches('-').len() > PYTHON_DIGITS {
                    return Err(self.refuse("an integer of more than 4300 digits"));
                }
                self.to.out.extend_from_slice(digits.as_bytes());
                Ok(())
            }
            exact::SURROGATES if !self.to.json.has_surrogates() => Err(self.refuse("half of a surrogate pair")),
            exact::ATOM => Err(self.refuse("an atom")),
            exact::SURROGATES => {
                let units = unescape_surrogates(&text_of(inner)?);
                text::write_units(&units, self.to.json.escapes, &mut self.to.out);
                Ok(())
            }
            _ => inner.serialize(self),
        }
    }

    fn tagged(
        self,
        tag: &str,
        kind: &str,
        inner: impl FnOnce(&mut Buffer) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        if self.to.json.unwraps() {
            return inner(self.to);
        }
        if !self.to.json.tags {
            return Err(self.refuse(kind));
        }
        let frame = self.to.open_tag(tag);
        inner(self.to)?;
        self.to.close_tag(frame);
        Ok(())
    }
}

impl<'a> Serializer for Writer<'a> {
    type Ok = ();
    type Error = WriteError;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Compound<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = Compound<'a>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Compound<'a>;
    type SerializeStructVariant = Compound<'a>;

    fn serialize_bool(self, it: bool) -> Result<(), WriteError> {
        self.to.out.extend_from_slice(if it { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_i8(self, it: i8) -> Result<(), WriteError> {
        self.integer(it, true, true)
    }

    fn serialize_i16(self, it: i16) -> Result<(), WriteError> {
        self.integer(it, true, true)
    }

    fn serialize_i32(self, it: i32) -> Result<(), WriteError> {
        self.integer(it, true, true)
    }

    fn serialize_i64(self, it: i64) -> Result<(), WriteError> {
        self.integer(it, it.unsigned_abs() <= SAFE, true)
    }

    fn serialize_i128(self, it: i128) -> Result<(), WriteError> {
        self.integer(it, it.unsigned_abs() <= SAFE.into(), i64::try_from(it).is_ok())
    }

    fn serialize_u8(self, it: u8) -> Result<(), WriteError> {
        self.integer(it, true, true)
    }

    fn serialize_u16(self, it: u16) -> Result<(), WriteError> {
        self.integer(it, true, true)
    }

    fn serialize_u32(self, it: u32) -> Result<(), WriteError> {
        self.integer(it, true, true)
    }

    fn serialize_u64(self, it: u64) -> Result<(), WriteError> {
        self.integer(it, it <= SAFE, i64::try_from(it).is_ok())
    }

    fn serialize_u128(self, it: u128) -> Result<(), WriteError> {
        self.integer(it, it <= SAFE.into(), i64::try_from(it).is_ok())
    }

    fn serialize_f32(self, it: f32) -> Result<(), WriteError> {
        self.float(it.is_finite())?;
        write_short_float(it, self.to.json.numbers, &mut self.to.out);
        Ok(())
    }

    fn serialize_f64(self, it: f64) -> Result<(), WriteError> {
        self.float(it.is_finite())?;
        write_float(it, self.to.json.numbers, &mut self.to.out);
        Ok(())
    }

    fn serialize_char(self, it: char) -> Result<(), WriteError> {
        self.serialize_str(it.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, it: &str) -> Result<(), WriteError> {
        text::write(it, self.to.json.escapes, &mut self.to.out);
        Ok(())
    }

    fn serialize_bytes(self, it: &[u8]) -> Result<(), WriteError> {
        self.tagged(tag::BYTES, "bytes", |to| {
            to.out.push(b'"');
            base64::encode_standard(it, &mut to.out);
            to.out.push(b'"');
            Ok(())
        })
    }

    fn serialize_none(self) -> Result<(), WriteError> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, it: &T) -> Result<(), WriteError> {
        let start = self.to.out.len();
        it.serialize(Writer { to: &mut *self.to })?;
        if self.to.out[start..] == *b"null" { Err(WriteError::nothing()) } else { Ok(()) }
    }

    fn serialize_unit(self) -> Result<(), WriteError> {
        self.to.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), WriteError> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), WriteError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, it: &T) -> Result<(), WriteError> {
        self.kind(name, it)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        it: &T,
    ) -> Result<(), WriteError> {
        let frame = self.to.open(b'{');
        self.to.name(frame, variant.as_bytes(), None);
        it.serialize(Writer { to: &mut *self.to })?;
        self.to.close_object(frame)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Compound<'a>, WriteError> {
        Ok(Compound::open(self.to, None, b'['))
    }

    fn serialize_tuple(self, _: usize) -> Result<Compound<'a>, WriteError> {
        Ok(Compound::open(self.to, None, b'['))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Compound<'a>, WriteError> {
        Ok(Compound::open(self.to, None, b'['))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'a>, WriteError> {
        Ok(Compound::open(self.to, Some(variant), b'['))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Compound<'a>, WriteError> {
        Ok(Compound::open(self.to, None, b'{'))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Compound<'a>, WriteError> {
        Ok(Compound::open(self.to, None, b'{'))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'a>, WriteError> {
        Ok(Compound::open(self.to, Some(variant), b'{'))
    }
}

/// An open object or list, and the object around it that names an enum's variant.
struct Compound<'a> {
    to: &'a mut Buffer,
    variant: Option<Frame>,
    frame: Frame,
    list: bool,
}

impl<'a> Compound<'a> {
    fn open(to: &'a mut Buffer, variant: Option<&'static str>, bracket: u8) -> Self {
        let variant = match variant {
            Some(name) => {
                let frame = to.open(b'{');
                to.name(frame, name.as_bytes(), None);
                Some(frame)
            }
            None => None,
        };
        let frame = to.open(bracket);
        Compound { to, variant, frame, list: bracket == b'[' }
    }

    fn item<T: Serialize + ?Sized>(&mut self, it: &T) -> Result<(), WriteError> {
        self.to.next(self.frame);
        it.serialize(Writer { to: &mut *self.to })
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, it: &T) -> Result<(), WriteError> {
        self.to.name(self.frame, name.as_bytes(), None);
        it.serialize(Writer { to: &mut *self.to })
    }

    fn close(self) -> Result<(), WriteError> {
        match self.list {
            true => self.to.close_list(self.frame),
            false => self.to.close_object(self.frame)?,
        }
        self.variant.map_or(Ok(()), |variant| self.to.close_object(variant))
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
        key.serialize(KeyWriter { to: self.to, frame: self.frame })
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), WriteError> {
        value.serialize(Writer { to: &mut *self.to })
    }

    fn end(self) -> Result<(), WriteError> {
        self.close()
    }
}
