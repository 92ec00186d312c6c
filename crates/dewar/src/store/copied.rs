//! [`Copied`]: an engine whose records the framework also has in a cache, as Django's `cached_db`.
//!
//! The record is the truth, and all that is read here. A copy is removed when its record has changed, which the framework's next page then reads. One is not
//! enough: a page that found no copy reads the record, and puts a copy of it where we have removed one meanwhile. So it is removed once more, some seconds
//! later, by a task; and where the cache does not answer, again until it does.

use std::{
    collections::HashSet,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{Answer, Applied, Engine, Found, Guard, StoreError, Timestamp, Tombstone, Version, Write};
use crate::{
    layout::{Copies, Stored},
    runtime::Runtime,
    telemetry,
};

/// After which time a copy is removed once more: more than a framework takes from its look at the record to its copy, which it makes at once.
const ONCE_MORE: Duration = Duration::from_secs(3);

/// Of so many copies it is known that they are to be removed once more. Each is a name.
const MOST: usize = 100_000;

/// An engine, and the cache of its records.
#[derive(Debug)]
pub(crate) struct Copied {
    records: Arc<dyn Engine>,
    cache: Arc<Cache>,
}

struct Cache {
    engine: Arc<dyn Engine>,
    prefix: Box<str>,
    runtime: Arc<dyn Runtime>,
    again: Mutex<Again>,
}

/// What is to be removed once more.
#[derive(Debug, Default)]
struct Again {
    names: HashSet<String>,
    /// A task sees to it.
    is_underway: bool,
}

impl Copied {
    /// These records, with copies there.
    ///
    /// # Errors
    ///
    /// Where the cache is none that a copy could be removed from.
    pub(crate) fn new(
        records: Arc<dyn Engine>,
        copies: &Copies,
        runtime: Arc<dyn Runtime>,
    ) -> Result<Self, StoreError> {
        let engine = match super::open(&copies.address)? {
            #[cfg(feature = "redis")]
            super::AnyStore::Redis(redis) => super::SessionStore::engine(&redis, crate::layout::Shape::Blob),
            _ => None,
        };
        let engine = engine.ok_or_else(|| StoreError::new("copies are in Redis: say redis://HOST/DATABASE"))?;
        let cache = Cache { engine, prefix: copies.prefix.clone(), runtime, again: Mutex::default() };
        Ok(Self { records, cache: Arc::new(cache) })
    }
}

impl Cache {
    /// Removes the copy of this record, now and once more.
    async fn forget(self: &Arc<Self>, name: &str) {
        let copy = format!("{}{name}", self.prefix);
        if let Err(error) = self.engine.forget(&copy).await {
            telemetry::copy_stays(&error);
        }
        let mut again = self.again();
        again.note(copy);
        if !mem::replace(&mut again.is_underway, true) {
            drop(again);
            let left = Left { cache: Arc::clone(self), names: HashSet::new() };
            self.runtime.spawn(Box::pin(see_to_it(left)));
        }
    }

    fn again(&self) -> MutexGuard<'_, Again> {
        self.again.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends when nothing is left.
async fn see_to_it(mut left: Left) {
    let cache = Arc::clone(&left.cache);
    loop {
        left.names = cache.again().begin();
        if left.names.is_empty() {
            return;
        }
        cache.runtime.sleep(ONCE_MORE).await;
        let mut failed = None;
        for name in left.names.clone() {
            match cache.engine.forget(&name).await {
                Ok(()) => drop(left.names.remove(&name)),
                Err(error) => failed = Some(error),
            }
        }
        cache.again().note_all(&mut left.names);
        if let Some(error) = failed {
            telemetry::copy_stays(&error);
        }
    }
}

/// What the task has not removed. Where its runtime ends before the application, the next write begins another.
struct Left {
    cache: Arc<Cache>,
    names: HashSet<String>,
}

impl Drop for Left {
    fn drop(&mut self) {
        let mut again = self.cache.again();
        again.note_all(&mut self.names);
        again.is_underway = false;
    }
}

impl Again {
    /// All of them. Where there are none, who notes one from now on begins another task.
    fn begin(&mut self) -> HashSet<String> {
        self.is_underway = !self.names.is_empty();
        mem::take(&mut self.names)
    }

    fn note_all(&mut self, names: &mut HashSet<String>) {
        names.drain().for_each(|name| self.note(name));
    }

    fn note(&mut self, name: String) {
        if self.names.len() < MOST {
            self.names.insert(name);
        }
    }
}

impl Copied {
    /// Whether a record may have changed, or gone, by a step that came to this.
    fn changed(applied: &Result<Applied, StoreError>) -> bool {
        // Beside a tombstone the framework may have written a record, and a copy, which goes with it. After an error nobody knows.
        !matches!(applied, Ok(Applied::Conflict | Applied::Gone(None)))
    }
}

impl Engine for Copied {
    fn load<'a>(&'a self, name: &'a str, now: Timestamp) -> Answer<'a, Found> {
        Box::pin(async move {
            let found = self.records.load(name, now).await?;
            if let Found::Gone(_) = found {
                self.cache.forget(name).await;
            }
            Ok(found)
        })
    }

    fn apply<'a>(&'a self, name: &'a str, guard: Guard, write: Write, now: Timestamp) -> Answer<'a, Applied> {
        Box::pin(async move {
            // A new record has no copy yet. A touch changes nothing that a copy says: it ends earlier, and is made again then.
            let changes_none = matches!((guard, &write), (Guard::Absent, _) | (_, Write::Touch(_)));
            let applied = self.records.apply(name, guard, write, now).await;
            if Self::changed(&applied) && !(changes_none && matches!(applied, Ok(Applied::Done))) {
                self.cache.forget(name).await;
            }
            applied
        })
    }

    fn end<'a>(&'a self, name: &'a str, guard: Guard, tombstone: Tombstone, now: Timestamp) -> Answer<'a, Applied> {
        Box::pin(async move {
            let applied = self.records.end(name, guard, tombstone, now).await;
            if !matches!(applied, Ok(Applied::Conflict)) {
                self.cache.forget(name).await;
            }
            applied
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
        Box::pin(async move {
            let applied = self.records.rename(from, guard, to, write, tombstone, now).await;
            if Self::changed(&applied) {
                self.cache.forget(from).await;
            }
            applied
        })
    }

    fn version(&self, data: &Stored, drawn: Version) -> Version {
        self.records.version(data, drawn)
    }

    fn purge(&self, limit: usize, now: Timestamp) -> Answer<'_, usize> {
        self.records.purge(limit, now)
    }

    fn needs_purging(&self) -> bool {
        self.records.needs_purging()
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("engine", &self.engine).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
