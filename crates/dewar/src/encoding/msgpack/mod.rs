//! Entries as MessagePack: always the shortest form, text for names. And as Python's msgspec writes it.

#[cfg(feature = "flask")]
mod plain;
mod scan;
mod write;

use super::depth::DEPTH;
use super::error::{ReadError, WriteError};
use super::member::{Member, Piece, last_wins};
use super::typed;
use crate::value::Value;
use scan::{Scan, Token};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) fn write<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, WriteError> {
    write::write(value)
}

/// The value of whatever can be written, for a format that is written from one: ours says of every type what it is.
#[cfg(any(feature = "flask", feature = "phoenix", feature = "php"))]
pub(super) fn value<T: Serialize + ?Sized>(value: &T) -> Result<Value, WriteError> {
    read(&write(value)?).map_err(|why| WriteError::new(why.to_string()))
}

/// The same without extension types of ours: what Python's msgspec writes.
#[cfg(feature = "flask")]
pub(super) fn write_plain<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, WriteError> {
    let mut out = Vec::with_capacity(64);
    // The session around it takes one level.
    plain::value(&self::value(value)?, DEPTH - 1, &mut out)?;
    Ok(out)
}

/// Reads it. What is an extension type to the application that wrote it is none of ours.
#[cfg(feature = "flask")]
pub(super) fn read_plain<T: DeserializeOwned>(encoded: &[u8]) -> Result<T, ReadError> {
    let scan = Scan::foreign(encoded, DEPTH).ok_or_else(ReadError::malformed)?;
    if scan.unknown { Err(ReadError::new("found an unknown extension type")) } else { read(encoded) }
}

/// The members of a session that nobody looks into later: all of it is checked.
#[cfg(feature = "flask")]
pub(super) fn members_plain(whole: &[u8]) -> Option<Vec<Member>> {
    Scan::foreign(whole, DEPTH)?;
    members(whole)
}

pub(super) fn read<T: DeserializeOwned>(encoded: &[u8]) -> Result<T, ReadError> {
    // Bounds the depth, for extension types nest outside of what rmp-serde counts.
    let scan = Scan::whole(encoded, DEPTH).ok_or_else(ReadError::malformed)?;
    // serde's own buffers (flatten, untagged) would take an extension type for a list of number and bytes.
    if !scan.extensions {
        if let Ok(value) = T::deserialize(&mut rmp_serde::Deserializer::from_read_ref(encoded).with_human_readable()) {
            return Ok(value);
        }
        // As revisions before wrote it.
        if let Ok(value) = T::deserialize(&mut rmp_serde::Deserializer::from_read_ref(encoded)) {
            return Ok(value);
        }
    }
    // A tuple read as a list, a date as text; and errors that do not show the value.
    let read = |readable| {
        let value: Value =
            rmp_serde::from_slice(encoded).map_err(|_| ReadError::new("found an unknown extension type"))?;
        T::deserialize(typed::Reader::new(value, readable))
    };
    read(true).or_else(|error| read(false).map_err(|_| error))
}

pub(super) fn members(whole: &[u8]) -> Option<Vec<Member>> {
    let mut scan = Scan::new(whole);
    let Token::Map(count) = scan.token()? else { return None };
    // Each takes two bytes at least: an announced count is not trusted.
    let mut members = Vec::with_capacity((count / 2).min(scan.rest.len() / 2));
    for _ in 0..count / 2 {
        let name = scan.name()?;
        let start = whole.len() - scan.rest.len();
        scan.hop()?;
        let end = whole.len() - scan.rest.len();
        members.push(Member { name: Piece::within(start - name.len()..start)?, value: Piece::within(start..end)? });
    }
    last_wins(&mut members, whole);
    scan.rest.is_empty().then_some(members)
}

pub(super) fn join<'a>(members: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone, out: &mut Vec<u8>) {
    let (count, size) = members
        .clone()
        .fold((0u32, 5), |(count, size), (name, value)| (count + 1, size + 5 + name.len() + value.len()));
    out.reserve(size);
    head(out, count, 0x80, 16, [None, Some(0xde), Some(0xdf)]);
    for (name, value) in members {
        head(out, name.len() as u32, 0xa0, 32, [Some(0xd9), Some(0xda), Some(0xdb)]);
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    }
}

pub(super) fn append(list: &mut Vec<u8>, one: &[u8]) -> Option<()> {
    let mut scan = Scan::new(one);
    let Token::List(1) = scan.token()? else { return None };
    let item = scan.rest;
    let mut scan = Scan::new(list);
    let Token::List(count) = scan.token()? else { return None };
    let old = list.len() - scan.rest.len();
    let mut new = Vec::with_capacity(5);
    head(&mut new, u32::try_from(count + 1).ok()?, 0x90, 16, [None, Some(0xdc), Some(0xdd)]);
    list.splice(..old, new);
    list.extend_from_slice(item);
    Some(())
}

/// A marker with its length, in the shortest form.
fn head(out: &mut Vec<u8>, len: u32, fixed: u8, below: u32, [one, two, four]: [Option<u8>; 3]) {
    match (len, one, two, four) {
        (len, ..) if len < below => out.push(fixed | len as u8),
        (len @ 0..=0xff, Some(marker), ..) => out.extend([marker, len as u8]),
        (len @ 0..=0xffff, _, Some(marker), _) => {
            out.push(marker);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        (len, ..) => {
            out.extend(four);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
}
