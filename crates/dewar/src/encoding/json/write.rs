//! Any `Serialize` to JSON text.

use super::compound::Compound;
use super::number::{SAFE, write_float, write_integer, write_short_float};
use super::order::Name;
use super::{Json, Numbers, tag, text};
use crate::encoding::{DEPTH, WriteError, base64};
use crate::value::write::{text_of, unescape_surrogates};
use crate::value::{DateTime, exact};
use serde::Serialize;
use serde::ser::Serializer;
use std::collections::HashSet;

/// Up to so many names are compared with each other; a set of them would cost more.
const FEW: usize = 8;

/// Encodes one value.
pub(super) fn write<T: Serialize + ?Sized>(json: Json, value: &T) -> Result<Vec<u8>, WriteError> {
    let mut writer = Writer { json, out: Vec::with_capacity(64), names: Vec::new(), spans: Vec::new(), height: 0 };
    value.serialize(&mut writer)?;
    // The session around it takes one level, or two where it looks like a tag.
    if writer.height > DEPTH - 2 {
        return Err(WriteError::deep());
    }
    Ok(writer.out)
}

/// Text being written.
pub(super) struct Writer {
    pub(super) json: Json,
    pub(super) out: Vec<u8>,
    /// The decoded names of the members of all open objects.
    names: Vec<u8>,
    spans: Vec<Span>,
    /// How deep the deepest value since the innermost opening nests.
    height: usize,
}

/// A member of an open object: where its text and its name begin.
struct Span {
    start: usize,
    name: usize,
    integer: Option<i128>,
}

/// An open object or list.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    open: usize,
    spans: usize,
    names: usize,
    height: usize,
}

impl Writer {
    pub(super) fn open(&mut self, bracket: u8) -> Frame {
        let frame = Frame {
            open: self.out.len(),
            spans: self.spans.len(),
            names: self.names.len(),
            height: std::mem::take(&mut self.height),
        };
        self.out.push(bracket);
        frame
    }

    pub(super) fn next(&mut self, frame: Frame) {
        if self.out.len() > frame.open + 1 {
            self.out.push(b',');
        }
    }

    /// A member's name, UTF-8 or WTF-8.
    pub(super) fn name(&mut self, frame: Frame, name: &[u8], integer: Option<i128>) {
        self.next(frame);
        if self.spans.capacity() == 0 {
            self.spans.reserve(8);
            self.names.reserve(64);
        }
        self.spans.push(Span { start: self.out.len(), name: self.names.len(), integer });
        self.names.extend_from_slice(name);
        text::write_name(name, self.json.ascii, &mut self.out);
        self.out.push(b':');
    }

    pub(super) fn close_list(&mut self, frame: Frame) {
        self.out.push(b']');
        self.rise(frame, 1);
    }

    /// # Errors
    ///
    /// Where two names are written alike: whoever reads it keeps one of them.
    pub(super) fn close_object(&mut self, frame: Frame) -> Result<(), WriteError> {
        let names = frame.spans..self.spans.len();
        let mut met = HashSet::new();
        for at in names.clone() {
            let name = self.name_at(at);
            let is_met = match names.len() {
                ..=FEW => (names.start..at).any(|before| self.name_at(before) == name),
                _ => !met.insert(name),
            };
            if is_met {
                let name = String::from_utf8_lossy(name);
                return Err(WriteError::new(format!("two members of a map have the name {name:?} in JSON")));
            }
        }
        if let [only] = &self.spans[frame.spans..]
            && self.json.tags
            && tag::is_tag(&self.names[only.name..])
        {
            let quote = frame.open + 2 + self.names.len() - only.name;
            self.out.splice(quote..quote, *b"__");
            self.out.splice(frame.open..frame.open, *b"{\" di\":");
            self.out.push(b'}');
            self.height += 1;
        } else if self.json.orders() {
            self.sort(frame);
        }
        self.out.push(b'}');
        self.spans.truncate(frame.spans);
        self.names.truncate(frame.names);
        self.rise(frame, 1);
        Ok(())
    }

    /// The decoded name of the member `at`, of all that are open.
    fn name_at(&self, at: usize) -> &[u8] {
        let end = self.spans.get(at + 1).map_or(self.names.len(), |next| next.name);
        &self.names[self.spans[at].name..end]
    }

    fn rise(&mut self, frame: Frame, levels: usize) {
        self.height = frame.height.max(self.height + levels);
    }

    fn sort(&mut self, frame: Frame) {
        let spans = &self.spans[frame.spans..];
        let name = |i: usize| Name { text: self.name_at(frame.spans + i), integer: spans[i].integer };
        if (1..spans.len()).all(|i| self.json.order(name(i - 1), name(i)).is_le()) {
            return;
        }
        let mut order: Vec<usize> = (0..spans.len()).collect();
        order.sort_by(|a, b| self.json.order(name(*a), name(*b)));
        let members = self.out.split_off(frame.open + 1);
        let place = |i: usize| spans.get(i).map_or(members.len() + 1, |span| span.start - frame.open - 1);
        for (at, i) in order.into_iter().enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            self.out.extend_from_slice(&members[place(i)..place(i + 1) - 1]);
        }
    }

    fn refuse(&self, what: &str) -> WriteError {
        let whose = match self.json.numbers {
            Numbers::Python => "Python's JSON",
            Numbers::JavaScript => "JavaScript's JSON",
        };
        WriteError::new(format!("{whose} cannot hold {what}"))
    }

    fn integer<I: itoa::Integer + Copy>(&mut self, integer: I, fits: bool) -> Result<(), WriteError> {
        if self.json.numbers == Numbers::JavaScript && !fits {
            return Err(WriteError::new("JavaScript's numbers hold integers only up to 2^53-1"));
        }
        write_integer(integer, &mut self.out);
        Ok(())
    }

    /// `JSON.stringify` would make it `null` without a word.
    fn float(&self, is_finite: bool) -> Result<(), WriteError> {
        let fits = is_finite || self.json.numbers == Numbers::Python;
        if fits { Ok(()) } else { Err(self.refuse("NaN or an infinity")) }
    }

    /// Writes one of our own kinds, given what it wraps.
    fn kind<T: Serialize + ?Sized>(&mut self, name: &'static str, inner: &T) -> Result<(), WriteError> {
        match name {
            exact::TUPLE => self.tagged(tag::TUPLE, "a tuple", |writer| {
                let start = writer.out.len();
                inner.serialize(&mut *writer)?;
                if writer.out.get(start) == Some(&b'[') {
                    Ok(())
                } else {
                    Err(WriteError::new("a tuple must be a list"))
                }
            }),
            exact::MARKUP => self.tagged(tag::MARKUP, "markup", |writer| inner.serialize(writer)),
            exact::UUID => {
                let dashed = text_of(inner)?;
                self.tagged(tag::UUID, "a UUID", |writer| writer.serialize_str(&dashed.replace('-', "")))
            }
            exact::DATE_TIME => {
                let date: DateTime = text_of(inner)?.parse().map_err(|_| WriteError::new("not a date"))?;
                self.tagged(tag::DATE_TIME, "a date", |writer| writer.serialize_str(&date.to_http()))
            }
            exact::BIG_INTEGER if self.json.numbers == Numbers::JavaScript => self.integer(0, false),
            exact::BIG_INTEGER => {
                let digits = text_of(inner)?;
                if digits.trim_start_matches('-').len() > super::scan::PYTHON_DIGITS {
                    return Err(self.refuse("an integer of more than 4300 digits"));
                }
                self.out.extend_from_slice(digits.as_bytes());
                Ok(())
            }
            exact::SURROGATES => {
                let units = unescape_surrogates(&text_of(inner)?);
                text::write_units(&units, self.json.ascii, &mut self.out);
                Ok(())
            }
            _ => inner.serialize(self),
        }
    }

    fn tagged(
        &mut self,
        tag: &str,
        kind: &str,
        inner: impl FnOnce(&mut Self) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        if !self.json.tags {
            return Err(self.refuse(kind));
        }
        let frame = self.open(b'{');
        text::write(tag, true, &mut self.out);
        self.out.push(b':');
        inner(self)?;
        self.out.push(b'}');
        self.rise(frame, 1);
        Ok(())
    }
}

impl<'a> Serializer for &'a mut Writer {
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
        self.out.extend_from_slice(if it { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_i8(self, it: i8) -> Result<(), WriteError> {
        self.integer(it, true)
    }

    fn serialize_i16(self, it: i16) -> Result<(), WriteError> {
        self.integer(it, true)
    }

    fn serialize_i32(self, it: i32) -> Result<(), WriteError> {
        self.integer(it, true)
    }

    fn serialize_i64(self, it: i64) -> Result<(), WriteError> {
        self.integer(it, it.unsigned_abs() <= SAFE)
    }

    fn serialize_i128(self, it: i128) -> Result<(), WriteError> {
        self.integer(it, it.unsigned_abs() <= SAFE.into())
    }

    fn serialize_u8(self, it: u8) -> Result<(), WriteError> {
        self.integer(it, true)
    }

    fn serialize_u16(self, it: u16) -> Result<(), WriteError> {
        self.integer(it, true)
    }

    fn serialize_u32(self, it: u32) -> Result<(), WriteError> {
        self.integer(it, true)
    }

    fn serialize_u64(self, it: u64) -> Result<(), WriteError> {
        self.integer(it, it <= SAFE)
    }

    fn serialize_u128(self, it: u128) -> Result<(), WriteError> {
        self.integer(it, it <= SAFE.into())
    }

    fn serialize_f32(self, it: f32) -> Result<(), WriteError> {
        self.float(it.is_finite())?;
        write_short_float(it, self.json.numbers, &mut self.out);
        Ok(())
    }

    fn serialize_f64(self, it: f64) -> Result<(), WriteError> {
        self.float(it.is_finite())?;
        write_float(it, self.json.numbers, &mut self.out);
        Ok(())
    }

    fn serialize_char(self, it: char) -> Result<(), WriteError> {
        self.serialize_str(it.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, it: &str) -> Result<(), WriteError> {
        text::write(it, self.json.ascii, &mut self.out);
        Ok(())
    }

    fn serialize_bytes(self, it: &[u8]) -> Result<(), WriteError> {
        self.tagged(tag::BYTES, "bytes", |writer| {
            writer.out.push(b'"');
            base64::encode_standard(it, &mut writer.out);
            writer.out.push(b'"');
            Ok(())
        })
    }

    fn serialize_none(self) -> Result<(), WriteError> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, it: &T) -> Result<(), WriteError> {
        let start = self.out.len();
        it.serialize(&mut *self)?;
        if self.out[start..] == *b"null" { Err(WriteError::nothing()) } else { Ok(()) }
    }

    fn serialize_unit(self) -> Result<(), WriteError> {
        self.out.extend_from_slice(b"null");
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
        let frame = self.open(b'{');
        self.name(frame, variant.as_bytes(), None);
        it.serialize(&mut *self)?;
        self.close_object(frame)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Compound<'a>, WriteError> {
        Ok(Compound::open(self, None, b'['))
    }

    fn serialize_tuple(self, _: usize) -> Result<Compound<'a>, WriteError> {
        Ok(Compound::open(self, None, b'['))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Compound<'a>, WriteError> {
        Ok(Compound::open(self, None, b'['))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'a>, WriteError> {
        Ok(Compound::open(self, Some(variant), b'['))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Compound<'a>, WriteError> {
        Ok(Compound::open(self, None, b'{'))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Compound<'a>, WriteError> {
        Ok(Compound::open(self, None, b'{'))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'a>, WriteError> {
        Ok(Compound::open(self, Some(variant), b'{'))
    }
}
