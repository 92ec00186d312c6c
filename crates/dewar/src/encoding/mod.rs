//! How the entries of a session are written: MessagePack, JSON in the flavours of frameworks, Erlang's terms, PHP's serialize(). What dialects and layouts share.
//!
//! Each entry of a session stays encoded until it is asked for. [`Data::parse`](crate::dialect::Data::parse) cuts a whole session into entries
//! and checks all of it; [`Encoding::join`] puts entries together again, byte for byte.

pub mod base64;
mod depth;
#[cfg(feature = "phoenix")]
mod erlang;
mod error;
#[cfg(feature = "json")]
mod json;
mod member;
mod msgpack;
#[cfg(feature = "php")]
pub(crate) mod php;
mod typed;

#[cfg(feature = "phoenix")]
pub use erlang::Erlang;
pub use error::{ReadError, WriteError};
#[cfg(feature = "json")]
pub use json::Json;
#[cfg(feature = "php")]
pub(crate) use member::last_wins;
pub(crate) use member::{Encoded, Member, Piece};
#[cfg(feature = "php")]
pub use php::Php;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How one entry's value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// MessagePack, structs as maps with the names of their fields.
    MessagePack,
    /// MessagePack as Python's msgspec writes it: a tuple is a list, and a UUID its text.
    #[cfg(feature = "flask")]
    Msgspec,
    /// JSON in a framework's flavour.
    #[cfg(feature = "json")]
    Json(Json),
    /// Erlang's external terms.
    #[cfg(feature = "phoenix")]
    Erlang(Erlang),
    /// PHP's `serialize()`.
    #[cfg(feature = "php")]
    Php(Php),
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
            #[cfg(feature = "flask")]
            Encoding::Msgspec => msgpack::write_plain(value),
            #[cfg(feature = "json")]
            Encoding::Json(json) => json.write(value),
            #[cfg(feature = "phoenix")]
            Encoding::Erlang(erlang) => erlang.write(value),
            #[cfg(feature = "php")]
            Encoding::Php(php) => php.write(value),
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
            #[cfg(feature = "flask")]
            Encoding::Msgspec => msgpack::read_plain(encoded),
            #[cfg(feature = "json")]
            Encoding::Json(json) => json.read(encoded),
            #[cfg(feature = "phoenix")]
            Encoding::Erlang(_) => erlang::read(encoded),
            #[cfg(feature = "php")]
            Encoding::Php(_) => php::read(encoded),
        }
    }

    /// Cuts the map that is a whole session into its entries. Nothing where any part of it is malformed.
    ///
    /// Of entries with one name the last one counts, at the place of the first.
    pub(crate) fn members(self, whole: &[u8]) -> Option<Vec<Member>> {
        match self {
            Encoding::MessagePack => msgpack::members(whole),
            #[cfg(feature = "flask")]
            Encoding::Msgspec => msgpack::members_plain(whole),
            #[cfg(feature = "json")]
            Encoding::Json(json) => json.members(whole),
            #[cfg(feature = "phoenix")]
            Encoding::Erlang(_) => erlang::members(whole),
            #[cfg(feature = "php")]
            Encoding::Php(_) => php::members(whole),
        }
    }

    /// Whether a tuple stays a tuple, or becomes a list.
    pub(crate) fn has_tuples(self) -> bool {
        match self {
            Encoding::MessagePack => true,
            #[cfg(feature = "flask")]
            Encoding::Msgspec => false,
            #[cfg(feature = "json")]
            Encoding::Json(json) => json.has_tags(),
            #[cfg(feature = "phoenix")]
            Encoding::Erlang(_) => true,
            #[cfg(feature = "php")]
            Encoding::Php(_) => false,
        }
    }

    /// Puts the item of an encoded list of one at the end of another, whose items stay where they are. `None`: it is no list.
    pub(crate) fn append(self, list: &mut Vec<u8>, one: &[u8]) -> Option<()> {
        match self {
            Encoding::MessagePack => msgpack::append(list, one),
            #[cfg(feature = "flask")]
            Encoding::Msgspec => msgpack::append(list, one),
            #[cfg(feature = "json")]
            Encoding::Json(_) => json::append(list, one),
            #[cfg(feature = "phoenix")]
            Encoding::Erlang(_) => erlang::append(list, one),
            #[cfg(feature = "php")]
            Encoding::Php(_) => php::append(list, one),
        }
    }

    /// Appends the map of these entries, names decoded, values copied as they are.
    pub fn join<'a>(self, members: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone, out: &mut Vec<u8>) {
        match self {
            Encoding::MessagePack => msgpack::join(members, out),
            #[cfg(feature = "flask")]
            Encoding::Msgspec => msgpack::join(members, out),
            #[cfg(feature = "json")]
            Encoding::Json(json) => json.join(members, out),
            #[cfg(feature = "phoenix")]
            Encoding::Erlang(erlang) => erlang.join(members, out),
            #[cfg(feature = "php")]
            Encoding::Php(_) => php::join(members, out),
        }
    }
}
