//! What dialects share: how entries are encoded, how frameworks sign, base64, bounded inflate.
//!
//! Each entry of a session stays encoded until it is asked for. [`Encoding::members`] cuts a whole session into entries and
//! checks all of it; [`Encoding::join`] puts entries together again, byte for byte.

pub mod base64;
#[cfg(feature = "express")]
pub mod cookie_signature;
mod error;
#[cfg(feature = "flask")]
pub mod inflate;
#[cfg(feature = "flask")]
pub mod itsdangerous;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "express")]
pub mod keygrip;
#[cfg(any(feature = "flask", feature = "express"))]
mod mac;
mod msgpack;
mod typed;

pub use error::{ReadError, WriteError};
#[cfg(feature = "json")]
pub use json::Json;
#[cfg(any(feature = "flask", feature = "express"))]
pub use mac::Digest;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use std::collections::hash_map::{Entry, HashMap};

/// How deep a session may nest, itself included. Python stops near 1000, serde_json at 128.
const DEPTH: usize = 128;

/// How one entry's value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// MessagePack, structs as maps with the names of their fields.
    MessagePack,
    /// JSON in a framework's flavour.
    #[cfg(feature = "json")]
    Json(Json),
}

/// One entry of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its decoded name: UTF-8, or WTF-8 where it holds a lone surrogate.
    pub name: Bytes,
    /// Its value, still encoded.
    pub value: Bytes,
}

impl Encoding {
    /// Encodes one value.
    ///
    /// # Errors
    ///
    /// Where the format cannot hold the value; the message names the kind.
    pub fn write<T: Serialize + ?Sized>(self, value: &T) -> Result<Vec<u8>, WriteError> {
        match self {
            Encoding::MessagePack => msgpack::write(value),
            #[cfg(feature = "json")]
            Encoding::Json(json) => json.write(value),
        }
    }

    /// Decodes one value. Bytes after it are refused.
    ///
    /// # Errors
    ///
    /// Where the value is malformed or of another type.
    pub fn read<T: DeserializeOwned>(self, encoded: &[u8]) -> Result<T, ReadError> {
        match self {
            Encoding::MessagePack => msgpack::read(encoded),
            #[cfg(feature = "json")]
            Encoding::Json(json) => json.read(encoded),
        }
    }

    /// Cuts the map that is a whole session into its entries. Nothing where any part of it is malformed.
    ///
    /// Of entries with one name the last one counts, at the place of the first.
    pub fn members(self, whole: &Bytes) -> Option<Vec<Member>> {
        match self {
            Encoding::MessagePack => msgpack::members(whole),
            #[cfg(feature = "json")]
            Encoding::Json(json) => json.members(whole),
        }
    }

    /// Whether a tuple stays a tuple, or becomes a list.
    pub(crate) fn has_tuples(self) -> bool {
        match self {
            Encoding::MessagePack => true,
            #[cfg(feature = "json")]
            Encoding::Json(json) => json.has_tags(),
        }
    }

    /// Appends the map of these entries, names decoded, values copied as they are.
    pub fn join<'a>(self, members: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone, out: &mut Vec<u8>) {
        match self {
            Encoding::MessagePack => msgpack::join(members, out),
            #[cfg(feature = "json")]
            Encoding::Json(json) => json.join(members, out),
        }
    }
}

fn last_wins(members: &mut Vec<Member>) {
    // Sorted formats show it at once; of the others, few sessions have many names.
    if members.is_sorted_by(|a, b| a.name < b.name) {
        return;
    }
    let duplicate = if members.len() <= 16 {
        members.iter().enumerate().any(|(i, member)| members[..i].iter().any(|former| former.name == member.name))
    } else {
        let names: HashSet<_> = members.iter().map(|member| &member.name).collect();
        names.len() < members.len()
    };
    if duplicate {
        let mut places: HashMap<Bytes, usize> = HashMap::new();
        let mut kept: Vec<Member> = Vec::with_capacity(members.len());
        for member in members.drain(..) {
            match places.entry(member.name.clone()) {
                Entry::Occupied(place) => kept[*place.get()].value = member.value,
                Entry::Vacant(place) => {
                    place.insert(kept.len());
                    kept.push(member);
                }
            }
        }
        *members = kept;
    }
}
