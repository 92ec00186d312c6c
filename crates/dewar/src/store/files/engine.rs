//! The engine: on tokio each step runs on a thread that may wait for the disk; without it, where it is called.

use std::{sync::Arc, time::Duration};

use futures_timer::Delay;

use super::{
    folder::{Folder, Place},
    record::{Done, Look},
};
use crate::{
    layout::Stored,
    store::{
        Answer, Applied, Engine, Found, Guard, StoreError, Timestamp, Tombstone, Version, Write,
        patience::{Patience, TOUCH_LIMIT},
    },
};

/// How often a record whose lock somebody has is looked at until two looks are the same, and the pauses between.
const LOOKS: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Files {
    folder: Arc<Folder>,
    lock_limit: Duration,
    /// What stands before an id in a name.
    prefix: Box<str>,
}

impl Files {
    pub(super) fn new(folder: Arc<Folder>, lock_limit: Duration) -> Self {
        Self { folder, lock_limit, prefix: Box::default() }
    }

    /// Does this as soon as nobody else has the lock. Where that takes too long, `or` is the answer.
    async fn unlocked(
        &self,
        limit: Duration,
        attempt: impl Fn(&Folder) -> Result<Done, StoreError> + Send + Sync + 'static,
        or: impl FnOnce(Patience) -> Result<Applied, StoreError>,
    ) -> Result<Applied, StoreError> {
        let (attempt, mut patience) = (Arc::new(attempt), Patience::new(limit));
        loop {
            let (folder, attempt) = (Arc::clone(&self.folder), Arc::clone(&attempt));
            if let Some(applied) = on_a_thread(move || attempt(&folder)).await? {
                return Ok(applied);
            }
            if !patience.pause().await {
                return or(patience);
            }
        }
    }

    fn place(&self, name: &str) -> Result<Place, StoreError> {
        self.find(name).ok_or_else(no_id)
    }

    fn find(&self, name: &str) -> Option<Place> {
        self.folder.place(name.strip_prefix(&*self.prefix).unwrap_or(name))
    }

    async fn look(&self, place: &Place, now: Timestamp) -> Result<Look, StoreError> {
        let (folder, place) = (Arc::clone(&self.folder), place.clone());
        on_a_thread(move || folder.look(&place, now)).await
    }
}

impl Engine for Files {
    fn load<'a>(&'a self, name: &'a str, now: Timestamp) -> Answer<'a, Found> {
        Box::pin(async move {
            let Some(place) = self.find(name) else {
                let folder = Arc::clone(&self.folder);
                return on_a_thread(move || folder.check()).await.map(|()| Found::Missing);
            };
            let mut before = None;
            for _ in 0..LOOKS {
                let (found, state) = match self.look(&place, now).await? {
                    Look::Settled(found) => return Ok(found),
                    Look::Unsettled(found, state) => (found, state),
                };
                let seen = (version(&found), state);
                // PHP empties a file before it writes a shorter record.
                if before == Some(seen) && state.1 > 0 {
                    return Ok(found);
                }
                before = Some(seen);
                Delay::new(BETWEEN).await;
            }
            match self.look(&place, now).await? {
                Look::Settled(found) => Ok(found),
                Look::Unsettled(found, state) if before == Some((version(&found), state)) => Ok(found),
                Look::Unsettled(..) => Err(StoreError::new("files: a session changes faster than it can be read")),
            }
        })
    }

    fn apply<'a>(&'a self, name: &'a str, guard: Guard, write: Write, now: Timestamp) -> Answer<'a, Applied> {
        Box::pin(async move {
            match (guard, &write) {
                (Guard::Absent, Write::Touch(_)) | (Guard::Any, _) => {
                    return Err(StoreError::new("a record is not written over whatever stands there"));
                }
                (Guard::Absent | Guard::Is(_), _) => {}
            }
            let place = self.place(name)?;
            let is_touch = matches!(write, Write::Touch(_));
            let attempt = move |folder: &Folder| folder.apply(&place, guard, &write, now);
            if is_touch {
                // The request that has the lock moves the time itself when it ends.
                return self.unlocked(TOUCH_LIMIT, attempt, |_| Ok(Applied::Done)).await;
            }
            self.unlocked(self.lock_limit, attempt, locked("write")).await
        })
    }

    fn end<'a>(&'a self, name: &'a str, guard: Guard, tombstone: Tombstone, now: Timestamp) -> Answer<'a, Applied> {
        Box::pin(async move {
            let place = self.place(name)?;
            let attempt = move |folder: &Folder| folder.end(&place, guard, &tombstone, now);
            self.unlocked(self.lock_limit, attempt, locked("end")).await
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
            let Write::Record { data, expires, .. } = write else { return Ok(Applied::Gone(None)) };
            let (from, to) = (self.place(from)?, self.place(to)?);
            let attempt =
                move |folder: &Folder| folder.rename((&from, &to), guard, (data.body(), expires), &tombstone, now);
            self.unlocked(self.lock_limit, attempt, locked("renew")).await
        })
    }

    fn lifetime(&self) -> Option<Duration> {
        self.folder.lifetime
    }

    fn living(&self, lifetime: Duration) -> Option<Arc<dyn Engine>> {
        let folder = self.folder.with(|folder| folder.lifetime = Some(lifetime));
        let (folder, prefix) = (Arc::new(folder), self.prefix.clone());
        self.folder.lifetime.is_none().then_some(Arc::new(Self { folder, prefix, lock_limit: self.lock_limit }))
    }

    fn behind(&self, prefix: &str) -> Option<Arc<dyn Engine>> {
        let (folder, lock_limit) = (Arc::clone(&self.folder), self.lock_limit);
        Some(Arc::new(Self { folder, lock_limit, prefix: prefix.into() }))
    }

    fn version(&self, data: &Stored, _drawn: Version) -> Version {
        Version::digest(data.body())
    }

    fn purge(&self, limit: usize, now: Timestamp) -> Answer<'_, usize> {
        let folder = Arc::clone(&self.folder);
        Box::pin(on_a_thread(move || folder.purge(limit, now)))
    }

    fn needs_purging(&self) -> bool {
        true
    }
}

fn version(found: &Found) -> Option<Version> {
    match found {
        Found::Record { version, .. } => Some(*version),
        Found::Gone(_) | Found::Missing => None,
    }
}

fn locked(what: &'static str) -> impl FnOnce(Patience) -> Result<Applied, StoreError> {
    move |patience| Err(patience.error("files", what))
}

fn no_id() -> StoreError {
    StoreError::new(
        "files: this is no id of PHP's (1 to 250 of A-Z, a-z, 0-9, comma and hyphen, more than the depth): nothing is written",
    )
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    #[cfg(feature = "tokio")]
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        let stopped =
            |error: tokio::task::JoinError| StoreError::new("files: stopped in the middle").because(error.to_string());
        return runtime.spawn_blocking(work).await.map_err(stopped)?;
    }
    work()
}
