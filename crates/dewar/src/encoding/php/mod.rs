//! Entries as PHP's `serialize()` writes them: `N; b:1; i:-5; d:0.1; s:5:"alice"; a:2:{i:0;b:1;s:1:"k";N;}`.
//!
//! PHP has one kind of array. One with the keys 0, 1, 2 and so on is a list here, an empty one is an empty list, and any other is a map; a type that wants
//! a map has it of a list, too. A text that spells an integer of 64 bits (`10`, `-5`; not `010`) is that integer where it is a key. Text and bytes are both
//! strings: one that is UTF-8 reads as text, and as [`Bytes`](crate::value::Bytes) where that is asked for.
//!
//! Objects, cases of enumerations and references are PHP's own. An entry with one of them keeps its bytes, and is refused by name where it is read:
//! nothing is ever made of an object. `numbers.rs` has what references count.
//!
//! Read though PHP never writes them: `i:+5;`, `i:007;`, `d:.5;`, `d:1e3;`, escaped strings (`S:1:"\41";`), keys that are there twice (the last one counts).
//!
//! Source: PHP 8.2, `ext/standard/var.c` and `var_unserializer.re`; checked by PHP 8.2.36.

mod numbers;
mod read;
mod token;
mod write;

use std::borrow::Cow;

use serde::{Serialize, de::DeserializeOwned};

pub(crate) use self::{
    numbers::{Former, Numbers},
    token::{integer_key, take},
};

use self::token::{Key, Token, expect, key, token};
use super::{
    depth::DEPTH,
    error::{ReadError, WriteError},
    member::{Member, Piece, last_wins},
    msgpack, typed,
};

/// PHP's `serialize()`, with a `serialize_precision`. All read each other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Php {
    has_17_digits: bool,
}

impl Php {
    /// Floats with the fewest digits that read back: `serialize_precision = -1`, the default since PHP 7.1.
    pub const SHORTEST: Self = Self { has_17_digits: false };
    /// Floats with 17 digits: `serialize_precision = 17`, the default before.
    pub const PRECISION_17: Self = Self { has_17_digits: true };

    pub(super) fn write<T: Serialize + ?Sized>(self, value: &T) -> Result<Vec<u8>, WriteError> {
        let value = msgpack::value(value)?;
        let mut out = Vec::with_capacity(64);
        // The session around it takes one level.
        write::value(self, &value, DEPTH - 1, &mut out)?;
        Ok(out)
    }
}

pub(super) fn read<T: DeserializeOwned>(encoded: &[u8]) -> Result<T, ReadError> {
    let value = || {
        let mut rest = encoded;
        let value = read::value(&mut rest, DEPTH)?;
        if rest.is_empty() { Ok(value) } else { Err(ReadError::malformed()) }
    };
    // A type that wants bytes says so where nobody reads along.
    let read = |readable| Ok(T::deserialize(typed::Reader::new(value()?, readable).text_is_bytes().lists_are_maps()));
    read(true)?.or_else(|error| read(false)?.map_err(|_| error))
}

pub(super) fn members(whole: &[u8]) -> Option<Vec<Member>> {
    let mut rest = whole;
    let mut members = array(&mut rest, whole, &mut Numbers::of_a_part())?;
    last_wins(&mut members, whole);
    rest.is_empty().then_some(members)
}

/// The entries of the array that stands here in the whole: all of them, also of one name.
pub(crate) fn array(rest: &mut &[u8], whole: &[u8], numbers: &mut Numbers) -> Option<Vec<Member>> {
    let Token::Array(count) = token(rest)? else { return None };
    numbers.value();
    pairs(count, rest, whole, numbers)
}

/// The class of an object and its properties, each under its name and who sees it. Nothing is made of it.
pub(crate) fn object(whole: &[u8]) -> Option<(&[u8], Vec<Member>)> {
    let mut rest = whole;
    let (class, count) = token::object(&mut rest)?;
    let members = pairs(count, &mut rest, whole, &mut Numbers::of_a_part())?;
    rest.is_empty().then_some((class, members))
}

fn pairs(count: usize, rest: &mut &[u8], whole: &[u8], numbers: &mut Numbers) -> Option<Vec<Member>> {
    let mut members = Vec::with_capacity(count);
    for _ in 0..count {
        let name = name(rest, whole)?;
        members.push(Member { name, value: value(rest, whole, numbers)? });
    }
    expect(rest, b"}")?;
    Some(members)
}

/// The value that stands here in the whole, checked and counted.
pub(crate) fn value(rest: &mut &[u8], whole: &[u8], numbers: &mut Numbers) -> Option<Piece> {
    let start = whole.len() - rest.len();
    numbers.walk(rest, whole, DEPTH - 1)?;
    Piece::within(start..whole.len() - rest.len())
}

/// Whether a value seems to begin here. How it goes on is not looked at.
pub(crate) fn begins(rest: &[u8]) -> bool {
    token(&mut &*rest).is_some()
}

/// Whether a value may stand in so many arrays.
pub(crate) fn fits(value: &[u8], around: usize) -> bool {
    let mut rest = value;
    Numbers::of_a_part().walk(&mut rest, value, DEPTH - around).is_some() && rest.is_empty()
}

/// The name of an entry: its key as text.
fn name(rest: &mut &[u8], whole: &[u8]) -> Option<Piece> {
    let own = |name: &[u8]| Some(Piece::Own(name.into()));
    match key(rest)? {
        Key::Integer(integer) => own(integer.to_string().as_bytes()),
        Key::Text(Cow::Owned(unescaped)) => own(&unescaped),
        Key::Text(Cow::Borrowed(name)) => {
            // Behind it stand a quotation mark and a semicolon.
            let end = whole.len() - rest.len() - 2;
            Piece::within(end - name.len()..end)
        }
    }
}

pub(super) fn append(list: &mut Vec<u8>, one: &[u8]) -> Option<()> {
    let item = one.strip_prefix(b"a:1:{i:0;")?.strip_suffix(b"}")?;
    let mut rest = &list[..];
    let Token::Array(count) = token(&mut rest)? else { return None };
    let start = list.len() - rest.len();
    let mut numbers = Numbers::of_a_part();
    for at in 0..count {
        (key(&mut rest)? == Key::Integer(i64::try_from(at).ok()?)).then_some(())?;
        numbers.walk(&mut rest, list, DEPTH)?;
    }
    (rest == b"}").then_some(())?;
    list.pop();
    list.extend_from_slice(format!("i:{count};").as_bytes());
    list.extend_from_slice(item);
    list.push(b'}');
    list.splice(..start, format!("a:{}:{{", count + 1).into_bytes());
    Some(())
}

pub(crate) fn join<'a>(members: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("a:{}:{{", members.clone().count()).as_bytes());
    for (name, value) in members {
        write::key(name, out);
        out.extend_from_slice(value);
    }
    out.push(b'}');
}
