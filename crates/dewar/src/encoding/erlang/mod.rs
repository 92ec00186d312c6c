//! Entries as Erlang's external terms: what `term_to_binary` writes and `binary_to_term` reads.
//!
//! An entry is a term without the version byte that a whole session begins with. Text and bytes are both binaries; a binary that is UTF-8 reads as
//! text, and as [`Bytes`](crate::value::Bytes) where that is asked for. Functions, processes, references, ports, improper lists and bits that
//! are no bytes are no data, and malformed here; compressed terms, too.
//!
//! Source: Erlang/OTP, "External Term Format".

mod number;
mod order;
mod read;
mod write;

use serde::{Serialize, de::DeserializeOwned};

use super::{
    depth::DEPTH,
    error::{ReadError, WriteError},
    member::{Member, Piece, last_wins},
    msgpack, typed,
};
use crate::value::Value;

/// The bytes that terms begin with.
mod tag {
    pub(super) const FLOAT: u8 = 70;
    pub(super) const SMALL_INTEGER: u8 = 97;
    pub(super) const INTEGER: u8 = 98;
    pub(super) const ATOM: u8 = 100;
    pub(super) const SMALL_TUPLE: u8 = 104;
    pub(super) const LARGE_TUPLE: u8 = 105;
    pub(super) const NIL: u8 = 106;
    pub(super) const STRING: u8 = 107;
    pub(super) const LIST: u8 = 108;
    pub(super) const BINARY: u8 = 109;
    pub(super) const SMALL_BIG: u8 = 110;
    pub(super) const LARGE_BIG: u8 = 111;
    pub(super) const SMALL_ATOM: u8 = 115;
    pub(super) const MAP: u8 = 116;
    pub(super) const ATOM_UTF8: u8 = 118;
    pub(super) const SMALL_ATOM_UTF8: u8 = 119;
}

/// The most members of a map that are in the order of their keys; those of a larger one are in that of their hashes.
const SORTED: usize = 32;

/// Erlang's terms, as a release writes them. All read each other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Erlang {
    older_atoms: bool,
}

impl Erlang {
    /// As Erlang/OTP 26 and later.
    pub const OTP_26: Self = Self { older_atoms: false };
    /// As Erlang/OTP 25 and earlier, which write atoms in Latin-1 where they can.
    pub const OTP_25: Self = Self { older_atoms: true };

    /// What a whole session begins with.
    pub(crate) const VERSION: u8 = 131;

    pub(super) fn write<T: Serialize + ?Sized>(self, value: &T) -> Result<Vec<u8>, WriteError> {
        let value = msgpack::value(value)?;
        let mut out = Vec::with_capacity(64);
        // The session around it takes one level.
        write::term(self, &value, DEPTH - 1, &mut out)?;
        Ok(out)
    }

    pub(super) fn join<'a>(self, members: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone, out: &mut Vec<u8>) {
        let mut members: Vec<_> = members.collect();
        if members.len() <= SORTED {
            members.sort_by_key(|(name, _)| *name);
        }
        out.extend([Self::VERSION, tag::MAP]);
        out.extend_from_slice(&write::len(members.len()));
        for (name, value) in members {
            write::binary(name, out);
            out.extend_from_slice(value);
        }
    }
}

pub(super) fn read<T: DeserializeOwned>(encoded: &[u8]) -> Result<T, ReadError> {
    let value = || {
        let mut rest = encoded.strip_prefix(&[Erlang::VERSION]).unwrap_or(encoded);
        let value = read::term(&mut rest, DEPTH).filter(|_| rest.is_empty());
        value.ok_or_else(ReadError::malformed)
    };
    // A type that wants bytes says so where nobody reads along.
    let read = |readable| Ok(T::deserialize(typed::Reader::new(value()?, readable).text_is_bytes()));
    read(true)?.or_else(|error| read(false)?.map_err(|_| error))
}

pub(super) fn members(whole: &[u8]) -> Option<Vec<Member>> {
    let mut rest = whole.strip_prefix(&[Erlang::VERSION]).unwrap_or(whole);
    rest = rest.strip_prefix(&[tag::MAP])?;
    let count = read::count(&mut rest, 2)?;
    let at = |rest: &[u8]| whole.len() - rest.len();
    let mut members = Vec::with_capacity(count);
    for _ in 0..count {
        // Plug's names are text alone.
        rest = rest.strip_prefix(&[tag::BINARY])?;
        let name = read::binary(&mut rest)?;
        let start = at(rest);
        read::term(&mut rest, DEPTH - 1)?;
        let value = Piece::within(start..at(rest))?;
        members.push(Member { name: Piece::within(start - name.len()..start)?, value });
    }
    last_wins(&mut members, whole);
    rest.is_empty().then_some(members)
}

pub(super) fn append(list: &mut Vec<u8>, one: &[u8]) -> Option<()> {
    match (*list.first()?, *one.first()?) {
        (tag::NIL, _) => *list = one.to_vec(),
        (tag::LIST, tag::LIST) => {
            let count = u32::from_be_bytes(list.get(1..5)?.try_into().ok()?).checked_add(1)?;
            list[1..5].copy_from_slice(&count.to_be_bytes());
            // What ends it ends the other one, too.
            list.pop();
            list.extend_from_slice(one.get(5..)?);
        }
        // Of small numbers, which are written in another way.
        _ => {
            let (Value::List(mut items), Value::List(item)) = (read(list).ok()?, read(one).ok()?) else { return None };
            items.extend(item);
            list.clear();
            write::term(Erlang::OTP_26, &Value::List(items), DEPTH - 1, list).ok()?;
        }
    }
    Some(())
}
