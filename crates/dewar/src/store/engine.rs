//! Where another framework's records are: an [`Engine`] keeps bytes under names, and a layout over it is a store.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    Answer, Create, Delete, Load, Record, Rename, Replace, SessionAdmin, StoreError, StoreKey, Timestamp, Tombstone,
    Touch, Version,
};
use crate::layout::Stored;

/// Keeps the bytes of records under the names that their framework gives them. It does not look inside.
///
/// Each call is atomic. What has ended here leaves a [`Tombstone`] beside its name, which the framework does not see: whoever asks for that name is
/// told so, and bytes that the framework writes there again meanwhile are removed when they are met.
///
/// # Errors
///
/// Every method fails only where the system failed, and nobody knows then whether a write was done.
pub trait Engine: fmt::Debug + Send + Sync + 'static {
    /// Finds what stands under a name.
    fn load<'a>(&'a self, name: &'a str, now: Timestamp) -> Answer<'a, Found>;

    /// Writes, if what stands there is what the guard says. Never where there is a tombstone.
    fn apply<'a>(&'a self, name: &'a str, guard: Guard, write: Write, now: Timestamp) -> Answer<'a, Applied>;

    /// Removes what stands there, if it is what the guard says, and leaves the tombstone; under [`Guard::Any`] also where nothing stood.
    fn end<'a>(&'a self, name: &'a str, guard: Guard, tombstone: Tombstone, now: Timestamp) -> Answer<'a, Applied>;

    /// Puts a record under a new name and the tombstone in the place of the old one, both or neither. Where something stands under the new name
    /// already, it is an error.
    fn rename<'a>(
        &'a self,
        from: &'a str,
        guard: Guard,
        to: &'a str,
        write: Write,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Answer<'a, Applied>;

    /// Removes what stands under a name, whatever it is, and leaves nothing in its place: what is there is a copy.
    fn forget<'a>(&'a self, _name: &'a str) -> Answer<'a, ()> {
        Box::pin(std::future::ready(Err(StoreError::new("this engine keeps no copies of records"))))
    }

    /// The version that these bytes have once they are written: the one that was drawn for them, where there is room for it.
    fn version(&self, _data: &Stored, drawn: Version) -> Version {
        drawn
    }

    /// Removes at most `limit` records and tombstones that have expired; returns how many. Zero: nothing is left to do.
    fn purge(&self, _limit: usize, _now: Timestamp) -> Answer<'_, usize> {
        Box::pin(std::future::ready(Ok(0)))
    }

    /// The same for records whose names begin so, where it names what it keeps by the rest alone. `None`: it takes names as they are.
    fn behind(&self, _prefix: &str) -> Option<Arc<dyn Engine>> {
        None
    }

    /// The same, heeding a [lock](crate::layout::Layout::lock) of the framework's: while a key of the record's name and this ending stands, it waits with a write, up
    /// to a limit that is an error then. `None`: it knows no such keys, and has the framework's lock in its own way, or there is none.
    fn heeding(&self, _lock: &'static str) -> Option<Arc<dyn Engine>> {
        None
    }

    /// How long a record lives after its last change, where the framework goes by that and it was said: PHP's `session.gc_maxlifetime`. `None`: nobody said it, or
    /// it is said of each record.
    fn lifetime(&self) -> Option<Duration> {
        None
    }

    /// The same with such a [`lifetime`](Engine::lifetime), where nobody has said one. `None`: it has one, or knows none.
    fn living(&self, _lifetime: Duration) -> Option<Arc<dyn Engine>> {
        None
    }

    /// Whether what has expired stays until somebody [purges](Engine::purge) it.
    fn needs_purging(&self) -> bool {
        false
    }
}

/// What stands under a name.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Found {
    /// A record that has not expired.
    Record {
        /// Its bytes.
        data: Stored,
        /// Which state of them this is.
        version: Version,
        /// Until when it stands, unless it is touched.
        expires: Timestamp,
    },
    /// A session that ended here.
    Gone(Tombstone),
    /// Nothing, or something expired.
    Missing,
}

/// What has to stand under a name for something to be done to it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Guard {
    /// Nothing.
    Absent,
    /// A record in this version.
    Is(Version),
    /// A record, whatever its version.
    Any,
}

impl Guard {
    /// The version that is asked for, where one is.
    pub fn version(self) -> Option<Version> {
        match self {
            Self::Is(version) => Some(version),
            Self::Absent | Self::Any => None,
        }
    }
}

/// What is written.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Write {
    /// A whole record.
    Record {
        /// Its bytes.
        data: Stored,
        /// The version that [`Engine::version`] said.
        version: Version,
        /// Until when it stands.
        expires: Timestamp,
    },
    /// The same bytes, standing until this moment.
    Touch(Timestamp),
}

/// What came of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Applied {
    /// It was done.
    Done,
    /// Something else stands there; nothing was done.
    Conflict,
    /// Nothing stands there, and why; `None`: missing or expired. Nothing was written, but for the tombstone of an end.
    Gone(Option<Tombstone>),
}

/// An engine made of a store: for a site that keeps another framework's records where only this side reads them.
///
/// A store of one's own says so in one line, and takes every dialect then: `fn engine(&self, _: Shape) -> Option<Arc<dyn Engine>> { Some(engine_of(self.clone())) }`.
pub fn engine_of(store: impl SessionAdmin) -> Arc<dyn Engine> {
    Arc::new(Own(store))
}

struct Own<S>(S);

impl<S> fmt::Debug for Own<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Own(a store)")
    }
}

fn record(data: Stored, expires: Timestamp, now: Timestamp) -> Record {
    let left = u32::try_from(expires.since(now).as_secs()).unwrap_or(u32::MAX);
    Record::new(data.into_body(), now, left, expires)
}

impl<S: SessionAdmin> Engine for Own<S> {
    fn load<'a>(&'a self, name: &'a str, now: Timestamp) -> Answer<'a, Found> {
        Box::pin(async move {
            Ok(match self.0.load(&StoreKey::foreign(name), now).await? {
                Load::Found(record, version) => {
                    let expires = record.expires();
                    Found::Record { data: Stored::Blob(record.data), version, expires }
                }
                Load::Gone(tombstone) => Found::Gone(tombstone),
                Load::Missing | Load::Malformed => Found::Missing,
            })
        })
    }

    fn apply<'a>(&'a self, name: &'a str, guard: Guard, write: Write, now: Timestamp) -> Answer<'a, Applied> {
        let key = StoreKey::foreign(name);
        Box::pin(async move {
            Ok(match (guard, write) {
                (Guard::Absent, Write::Record { data, version, expires }) => {
                    match self.0.create(&key, version, record(data, expires, now), None, now).await? {
                        Create::Created(_) => Applied::Done,
                        Create::Exists => Applied::Conflict,
                        Create::Gone(tombstone) => Applied::Gone(Some(tombstone)),
                        Create::Outdated | Create::Full => Applied::Gone(None),
                    }
                }
                (Guard::Is(at), Write::Record { data, version, expires }) => {
                    match self.0.replace(&key, at, version, record(data, expires, now), now).await? {
                        Replace::Replaced(_) => Applied::Done,
                        Replace::Conflict => Applied::Conflict,
                        Replace::Gone(tombstone) => Applied::Gone(tombstone),
                    }
                }
                (Guard::Is(at), Write::Touch(expires)) => match self.0.touch(&key, at, expires, now).await? {
                    Touch::Touched => Applied::Done,
                    Touch::Conflict => Applied::Conflict,
                    Touch::Gone(tombstone) => Applied::Gone(tombstone),
                },
                (Guard::Absent | Guard::Any, _) => {
                    return Err(StoreError::new("a record is not written over whatever stands there"));
                }
            })
        })
    }

    fn end<'a>(&'a self, name: &'a str, guard: Guard, tombstone: Tombstone, now: Timestamp) -> Answer<'a, Applied> {
        let key = StoreKey::foreign(name);
        Box::pin(async move {
            Ok(match self.0.delete(&key, guard.version(), tombstone, now).await? {
                Delete::Deleted => Applied::Done,
                Delete::Conflict => Applied::Conflict,
                Delete::Gone(tombstone) => Applied::Gone(tombstone),
            })
        })
    }

    fn rename<'a>(
        &'a self,
        from: &'a str,
        guard: Guard,
        to: &'a str,
        write: Write,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Answer<'a, Applied> {
        let (from, to) = (StoreKey::foreign(from), StoreKey::foreign(to));
        Box::pin(async move {
            let Write::Record { data, version, expires } = write else { return Ok(Applied::Gone(None)) };
            Ok(
                match self
                    .0
                    .rename(&from, guard.version(), &to, version, record(data, expires, now), tombstone, None, now)
                    .await?
                {
                    Rename::Renamed(_) => Applied::Done,
                    Rename::Conflict => Applied::Conflict,
                    Rename::Gone(tombstone) => Applied::Gone(tombstone),
                    Rename::Outdated | Rename::Full => Applied::Gone(None),
                },
            )
        })
    }

    fn purge(&self, limit: usize, now: Timestamp) -> Answer<'_, usize> {
        Box::pin(self.0.purge(limit, now))
    }

    fn needs_purging(&self) -> bool {
        self.0.needs_purging()
    }
}
