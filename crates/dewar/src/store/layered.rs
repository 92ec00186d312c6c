//! [`Layered`]: another framework's layout over an engine, as a store.

use std::{fmt, sync::Arc};

use super::{
    Applied, Cap, Create, Delete, Engine, Found, Guard, Load, Record, Rename, Replace, SessionAdmin, SessionStore,
    StoreError, StoreKey, Timestamp, Tombstone, Touch, Version, Write, Written,
};
use crate::{
    cookie::Attributes,
    data::{Contents, Data},
    error::{Error, Refusal},
    explain::{Report, Steps},
    layout::{Kept, Layout, Shape, Stored},
    telemetry,
};

/// Records of another framework, which reads and writes them, too: its layout over the engine where they are.
///
/// A dialect whose ids lead to such records makes one by itself of the store that it is given. By hand it is for a layout of one's own.
///
/// What it keeps of a [`Record`] is what the layout holds. It lists no sessions: the records say nothing of principals that the engine could ask for.
#[derive(Clone)]
pub struct Layered {
    layout: Arc<dyn Layout>,
    engine: Arc<dyn Engine>,
    /// The cookie that leads to a record, which some frameworks repeat in it.
    cookie: Attributes,
}

impl Layered {
    /// This layout over this engine.
    pub fn new(layout: Arc<dyn Layout>, engine: Arc<dyn Engine>) -> Self {
        let engine = layout.lock().and_then(|lock| engine.heeding(lock)).unwrap_or(engine);
        let engine = engine.behind(&layout.name("")).unwrap_or(engine);
        Self { layout, engine, cookie: Attributes::new("session") }
    }

    pub(crate) fn cookie(self, cookie: Attributes) -> Self {
        Self { cookie, ..self }
    }

    fn read(&self, data: &Stored, expires: Timestamp, now: Timestamp) -> Result<Record, Refusal> {
        let Kept { data, extra, lifetime } = self.layout.read(data, &mut Steps::off())?;
        let own = self.layout.lasts(&data, now).map(|own| u32::try_from(own.as_secs()).unwrap_or(u32::MAX));
        // Less than a second is left, and zero would be no word of it: then the session would live by the manager's settings.
        if own == Some(0) {
            return Err(Refusal::Expired);
        }
        let mut entries = Vec::new();
        data.write(self.layout.encoding(), &mut entries);
        let idle = lifetime.and_then(|lifetime| lifetime.idle).or(own).unwrap_or(0);
        let persistent = lifetime.is_some_and(|lifetime| lifetime.persistent);
        Ok(Record { persistent, extra, ..Record::new(entries.into(), now, idle, expires) })
    }

    /// The record, and until when it stands.
    fn write(&self, record: &Record) -> Result<(Stored, Timestamp), Error> {
        let malformed = || Error::from(StoreError::new("the entries of a record are malformed"));
        let mut contents = Contents::new(record.last_seen(), record.idle_seconds, None, record.persistent);
        contents.data = Data::parse(self.layout.encoding(), &record.data).ok_or_else(malformed)?;
        contents.created = record.created;
        contents.extra = record.extra.clone();
        let own = self.layout.lasts(&contents.data, contents.issued).map(|own| contents.issued.after(own));
        Ok((self.layout.write(&contents, &self.cookie)?, own.unwrap_or_else(|| record.expires())))
    }

    /// What is to be written, and the version that it will have.
    fn writes(&self, record: &Record, drawn: Version) -> Result<(Write, Version), StoreError> {
        let (data, expires) = self.write(record).map_err(|error| StoreError::new(error.to_string()))?;
        let version = self.engine.version(&data, drawn);
        Ok((Write::Record { data, version, expires }, version))
    }

    /// One that stands as long as a request of the framework may run.
    fn standing(&self, tombstone: Tombstone, now: Timestamp) -> Tombstone {
        tombstone.until(Some(now.after(self.layout.longest_request())))
    }
}

fn guard(at: Option<Version>) -> Guard {
    at.map_or(Guard::Any, Guard::Is)
}

/// Without a principal: the epoch is nobody's.
fn written(version: Version) -> Written {
    Written { version, epoch: 0, ended: 0 }
}

impl SessionStore for Layered {
    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Load, StoreError> {
        Ok(match self.engine.load(&key.to_string(), now).await? {
            Found::Record { data, version, expires } => match self.read(&data, expires, now) {
                Ok(record) => Load::Found(record, version),
                Err(Refusal::Expired | Refusal::Unknown) => Load::Missing,
                Err(refusal) => {
                    telemetry::record_refused(refusal, || Report::of_record(&*self.layout, &data));
                    Load::Malformed
                }
            },
            Found::Gone(tombstone) => Load::Gone(tombstone),
            Found::Missing => {
                telemetry::no_record(&*self.layout);
                Load::Missing
            }
        })
    }

    async fn create(
        &self,
        key: &StoreKey,
        version: Version,
        record: Record,
        _cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Create, StoreError> {
        let (write, version) = self.writes(&record, version)?;
        Ok(match self.engine.apply(&key.to_string(), Guard::Absent, write, now).await? {
            Applied::Done => Create::Created(written(version)),
            Applied::Gone(Some(tombstone)) => Create::Gone(tombstone),
            Applied::Conflict | Applied::Gone(None) => Create::Exists,
        })
    }

    async fn replace(
        &self,
        key: &StoreKey,
        at: Version,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Result<Replace, StoreError> {
        let (write, version) = self.writes(&record, version)?;
        Ok(match self.engine.apply(&key.to_string(), Guard::Is(at), write, now).await? {
            Applied::Done => Replace::Replaced(version),
            Applied::Conflict => Replace::Conflict,
            Applied::Gone(tombstone) => Replace::Gone(tombstone),
        })
    }

    async fn touch(
        &self,
        key: &StoreKey,
        at: Version,
        idle_expires: Timestamp,
        now: Timestamp,
    ) -> Result<Touch, StoreError> {
        Ok(match self.engine.apply(&key.to_string(), Guard::Is(at), Write::Touch(idle_expires), now).await? {
            Applied::Done => Touch::Touched,
            Applied::Conflict => Touch::Conflict,
            Applied::Gone(tombstone) => Touch::Gone(tombstone),
        })
    }

    async fn delete(
        &self,
        key: &StoreKey,
        at: Option<Version>,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<Delete, StoreError> {
        Ok(match self.engine.end(&key.to_string(), guard(at), self.standing(tombstone, now), now).await? {
            Applied::Done => Delete::Deleted,
            Applied::Conflict => Delete::Conflict,
            Applied::Gone(tombstone) => Delete::Gone(tombstone),
        })
    }

    async fn rename(
        &self,
        from: &StoreKey,
        at: Option<Version>,
        to: &StoreKey,
        version: Version,
        record: Record,
        tombstone: Tombstone,
        _cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Rename, StoreError> {
        let (write, version) = self.writes(&record, version)?;
        let (old, new, tombstone) = (from.to_string(), to.to_string(), self.standing(tombstone, now));
        Ok(match self.engine.rename(&old, guard(at), &new, write, tombstone, now).await? {
            Applied::Done => Rename::Renamed(written(version)),
            Applied::Conflict => Rename::Conflict,
            Applied::Gone(tombstone) => Rename::Gone(tombstone),
        })
    }

    fn version(&self, record: &mut Record, drawn: Version) -> Result<Version, Error> {
        Ok(self.engine.version(&self.write(record)?.0, drawn))
    }

    fn engine(&self, shape: Shape) -> Option<Arc<dyn Engine>> {
        (shape == self.layout.shape()).then(|| Arc::clone(&self.engine))
    }

    fn layout(&self) -> Option<Arc<dyn Layout>> {
        Some(Arc::clone(&self.layout))
    }
}

impl SessionAdmin for Layered {
    async fn purge(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.engine.purge(limit, now).await
    }

    fn needs_purging(&self) -> bool {
        self.engine.needs_purging()
    }
}

impl fmt::Debug for Layered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layered").field("layout", &self.layout).field("engine", &self.engine).finish_non_exhaustive()
    }
}
