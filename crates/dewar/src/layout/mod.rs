//! How another framework's record looks that an id leads to: the [`Layout`] trait, and one file a framework.
//!
//! A layout is pure, as a dialect is: a record's bytes to entries and back. It knows no engine, which keeps the bytes, and no cookie.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

#[cfg(feature = "express")]
mod connect_redis;
mod copies;
#[cfg(feature = "django")]
mod django;
#[cfg(feature = "flask")]
mod flask_session;
#[cfg(feature = "laravel")]
mod laravel;
#[cfg(feature = "php")]
mod php;
#[cfg(feature = "php")]
mod symfony;
mod table;

#[cfg(feature = "express")]
pub use connect_redis::ConnectRedis;
#[cfg(feature = "express")]
pub(crate) use connect_redis::RESERVED;
pub use copies::Copies;
#[cfg(feature = "django")]
pub use django::{DjangoCache, DjangoTable};
#[cfg(feature = "django")]
pub(crate) use django::{LARGEST_INFLATED as DJANGO_LARGEST, SALT as DJANGO_SALT, cache_key as django_cache_key};
#[cfg(feature = "flask")]
pub use flask_session::{FlaskSession, SerializationFormat};
#[cfg(feature = "laravel")]
pub use laravel::{LaravelCache, LaravelTable, Serialization};
#[cfg(feature = "php")]
pub use php::{Php, Serializer};
#[cfg(feature = "php")]
pub use symfony::Symfony;
pub use table::{Ends, Table};

pub use crate::{
    cookie::Attributes,
    data::{Contents, Data},
    error::Refusal,
    explain::Steps,
    lifetime::{Lifetime, Timestamp},
    meaning::{Holds, Timeouts},
};
use crate::{encoding::Encoding, error::Error, lifetime::GONE_FOR};

/// How one framework writes the record of a session.
///
/// Over an [engine](crate::store::Engine) it is a [store](crate::store::Layered).
pub trait Layout: fmt::Debug + Send + Sync + 'static {
    /// How an entry's value is written.
    fn encoding(&self) -> Encoding;

    /// What is kept of a session beside its entries.
    fn holds(&self) -> Holds;

    /// What a record is to the engine.
    fn shape(&self) -> Shape {
        Shape::Blob
    }

    /// The name of the record that an id leads to.
    fn name(&self, id: &str) -> String;

    /// What the framework adds to a record's name for the key that is its lock: it stands while one of the framework's requests has the session. `None`: there is none.
    fn lock(&self) -> Option<&'static str> {
        None
    }

    /// Where the framework keeps a copy of each record, which is removed with every write of ours. `None`: there is none.
    fn copies(&self) -> Option<&Copies> {
        None
    }

    /// How long a request of the framework may run: so long, what it writes to a session that has ended here counts as ended.
    fn longest_request(&self) -> Duration {
        GONE_FOR
    }

    /// Reads a record. What it finds on the way it notes in `steps`.
    ///
    /// # Errors
    ///
    /// Where it is no record of this layout; where it says itself that it is over, [`Refusal::Expired`]. Whatever the bytes, never a panic.
    fn read(&self, found: &Stored, steps: &mut Steps<'_>) -> Result<Kept, Refusal>;

    /// Writes a record, issued when the contents say. `cookie` is the one that leads to it, as the manager sets it.
    ///
    /// # Errors
    ///
    /// Where the format cannot hold the session; the message names the entry.
    fn write(&self, contents: &Contents, cookie: &Attributes) -> Result<Stored, Error>;

    /// Whether what stands beside the entries, [`Contents::extra`], is worth keeping alone: then a session whose last entry goes does not end.
    fn stays(&self, _extra: &Bytes) -> bool {
        false
    }

    /// How long a session of these entries lives from now on, where they say so: it is what the record's end is written by.
    fn lasts(&self, _data: &Data, _now: Timestamp) -> Option<Duration> {
        None
    }

    /// The entry that is not worth keeping alone: where no other is left, the session ends.
    fn alone(&self) -> Option<&'static str> {
        None
    }

    /// The id changes: what the record says of when its session began changes, too, in [`Contents::extra`].
    ///
    /// # Errors
    ///
    /// Where what stands there is nothing of this layout.
    fn renewed(&self, _contents: &mut Contents) -> Result<(), Error> {
        Ok(())
    }
}

/// What a record is to the engine that keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shape {
    /// Bytes, written as a whole.
    Blob,
    /// A row of this table.
    Row(Arc<Table>),
}

/// A record as an engine keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stored {
    /// Bytes, written as a whole.
    Blob(Bytes),
    /// What a layout reads and writes of a row.
    Row {
        /// The text of the record.
        body: Bytes,
        /// What is written to the other [columns](Table::also); an engine gives none of it back.
        also: Vec<Option<Box<str>>>,
    },
}

impl Stored {
    /// The bytes of the record.
    pub fn body(&self) -> &Bytes {
        match self {
            Self::Blob(bytes) | Self::Row { body: bytes, .. } => bytes,
        }
    }

    pub(crate) fn into_body(self) -> Bytes {
        match self {
            Self::Blob(bytes) | Self::Row { body: bytes, .. } => bytes,
        }
    }
}

/// What a record holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Kept {
    /// The entries.
    pub data: Data,
    /// What stands beside them, untouched: [`Contents::extra`].
    pub extra: Bytes,
    /// How long this session lives, where the record says so: a timeout that is not said is the manager's.
    pub lifetime: Option<Lifetime>,
}

impl Kept {
    /// These entries, and nothing beside them.
    pub fn new(data: Data) -> Self {
        Self { data, extra: Bytes::new(), lifetime: None }
    }
}
