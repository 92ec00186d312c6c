//! What a request did, on its way to the store: created, replaced, renewed, ended or taken over.

use std::{
    future::ready,
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    Commit, Inner,
    merge::{contended, wait},
    queue::{Base, Leader, Merged},
    random,
    stored::malformed,
};
use crate::{
    dialect::SessionId,
    error::{Error, Kind},
    journal::{self, Operation},
    lifetime::Timestamp,
    session::{CookieDue, Fate, Origin, Phase, Session, State},
    store::{Answer, Create, Delete, Load, Record, Replace, StoreError, StoreKey, Touch, Version},
    telemetry,
};

/// How often a commit starts again because another process was faster, before it is an error.
pub(super) const ATTEMPTS: u32 = 24;

/// The most bytes of a session on a store: 1 MiB. Every request costs its whole size, and a visitor may be the one who makes it grow.
const LARGEST_RECORD: usize = 1 << 20;

/// What one request did to its session, on its way to the store.
pub(super) struct Job {
    pub(super) session: Session,
    pub(super) now: Timestamp,
    pub(super) fate: Fate,
    pub(super) origin: Origin,
    pub(super) operations: Vec<Operation>,
    /// The session as the request left it: right if nobody else wrote meanwhile.
    pub(super) record: Record,
    pub(super) is_empty: bool,
}

impl Job {
    /// Whether the browser needs its cookie again, although it has one.
    fn sets_cookie_again(&self) -> bool {
        let Origin::Store { reissue, empty, .. } = self.origin else { return true };
        // A session that is persistent no more needs a cookie without an end, too.
        let ends_otherwise = || self.operations.iter().any(|it| matches!(it, Operation::SetLifetime { .. }));
        reissue || empty || self.record.persistent || ends_otherwise()
    }
}

/// A replacement that the store did not answer at once, or not as one would like.
pub(super) struct Begun {
    pub(super) leader: Leader,
    pub(super) answer: Answer<'static, Replace>,
}

/// What became of it.
pub(super) struct Done {
    due: CookieDue,
    /// Where the session is now, and what it holds; `None` where there is none.
    kept: Option<(SessionId, Version, Record)>,
    gone: bool,
}

impl Done {
    fn nothing(due: CookieDue) -> Self {
        Self { due, kept: None, gone: false }
    }

    fn gone() -> Self {
        telemetry::discarded();
        Self { due: CookieDue::No, kept: None, gone: true }
    }

    /// `again`: whether the browser needs its cookie again, although it has one.
    pub(super) fn merged(merged: Merged, id: SessionId, again: bool) -> Self {
        match merged {
            Merged::Gone => Self::gone(),
            Merged::Kept { version, record, is_empty: true, .. } => Self::kept(CookieDue::Remove, id, version, record),
            Merged::Kept { version, record, revived, .. } => {
                let due = if again || revived { CookieDue::Set } else { CookieDue::No };
                Self::kept(due, id, version, record)
            }
        }
    }

    fn kept(due: CookieDue, id: SessionId, version: Version, record: Record) -> Self {
        Self { due, kept: Some((id, version, record)), gone: false }
    }
}

impl Inner {
    /// What a request did, taken out of its session. Encodes here, so that nothing is copied.
    ///
    /// # Errors
    ///
    /// Where the dialect cannot write it; nothing is taken out then.
    pub(super) fn job(&self, session: &Session, state: &mut State, now: Timestamp) -> Result<Job, Error> {
        let record = self.record(&state.contents, now)?;
        if record.data.len() > LARGEST_RECORD {
            let largest = super::largest_entries(&state.contents);
            let bytes = record.data.len();
            let why = format!(
                "the session has {bytes} bytes, and {LARGEST_RECORD} are the most; its largest entries: {largest}"
            );
            return Err(Error::new(Kind::TooLarge, why));
        }
        let fate = mem::replace(&mut state.fate, Fate::Same);
        state.changed = false;
        Ok(Job {
            session: session.clone(),
            now,
            fate,
            origin: state.origin.clone(),
            operations: mem::take(&mut state.operations),
            record,
            is_empty: state.contents.is_empty(),
        })
    }

    /// Brings what a request did to the store, and what came of it back to the session. What the store does not
    /// answer at once is returned, in a box.
    pub(super) fn store(self: &Arc<Self>, job: Job, context: &mut Context<'_>) -> Commit {
        let begun = match self.replace_now(&job, context) {
            Ok(due) => return Commit::Known(Ok(due)),
            Err(begun) => begun,
        };
        let mut rest = Box::pin(Arc::clone(self).store_slowly(job, begun));
        match rest.as_mut().poll(context) {
            Poll::Ready(due) => Commit::Known(due),
            Poll::Pending => Commit::Waits(rest),
        }
    }

    /// The plain case, and the fast one: nobody else in this process writes to the session, and the store answers at once.
    fn replace_now(&self, job: &Job, context: &mut Context<'_>) -> Result<CookieDue, Option<Begun>> {
        let (Fate::Same, Origin::Store { id, version, .. }, Some(store), false) =
            (job.fate, &job.origin, &self.store, job.operations.is_empty())
        else {
            return Err(None);
        };
        let leader = self.queues.lead(id.key()).ok_or(None)?;
        let (record, is_empty) = (&job.record, job.is_empty);
        let mut answer = Arc::clone(store).replace(id.key().clone(), *version, record.clone(), job.now);
        let version = match answer.as_mut().poll(context) {
            Poll::Ready(Ok(Replace::Replaced(version))) => version,
            Poll::Ready(other) => return Err(Some(Begun { leader, answer: Box::pin(ready(other)) })),
            Poll::Pending => return Err(Some(Begun { leader, answer })),
        };
        leader.hand_over(|| Some(Base { version, record: record.clone(), is_empty, is_written: false }));
        let merged = Merged::Kept { version, record: record.clone(), is_empty, revived: false };
        let done = Done::merged(merged, id.clone(), job.sets_cookie_again());
        Ok(self.bring_back(&mut job.session.lock(), done))
    }

    async fn store_slowly(self: Arc<Self>, mut job: Job, begun: Option<Begun>) -> Result<CookieDue, Error> {
        let done = self.run(&mut job, begun).await;
        let mut state = job.session.lock();
        match done {
            Ok(done) => Ok(self.bring_back(&mut state, done)),
            Err(error) => {
                // All of it is still to be done; what came meanwhile goes behind it.
                state.changed |= !job.operations.is_empty();
                let later = mem::replace(&mut state.operations, job.operations);
                state.operations.extend(later);
                if state.fate == Fate::Same {
                    state.fate = job.fate;
                }
                Err(error)
            }
        }
    }

    /// Returns whether the cookie is to be set; one that an earlier commit of this request left due still is.
    fn bring_back(&self, state: &mut State, done: Done) -> CookieDue {
        let due = if done.due == CookieDue::No && !done.gone { state.cookie_due } else { done.due };
        match done.kept {
            Some((id, version, record)) => {
                let empty = done.due == CookieDue::Remove;
                state.origin = Origin::Store { id, version, touch: false, reissue: false, empty };
                if state.phase == Phase::Open
                    && state.fate != Fate::Ended
                    && let Some(mut merged) = self.contents(record)
                {
                    // What fails here fails again, and is reported, when it is committed.
                    let _ = journal::replay(&state.operations, &mut merged, self.rules.encoding);
                    state.contents = merged;
                }
            }
            None if done.gone => state.origin = Origin::Gone,
            None => state.origin = Origin::New { refused: false },
        }
        due
    }

    async fn run(&self, job: &mut Job, begun: Option<Begun>) -> Result<Done, Error> {
        let store = self.backend()?;
        match (job.fate, job.origin.clone()) {
            (fate, Origin::Former { id, marker, expires }) => {
                Box::pin(self.begin_on_store(job, fate, id, &marker, expires)).await
            }
            (Fate::Ended, Origin::New { refused: true }) if job.is_empty => Ok(Done::nothing(CookieDue::Remove)),
            (_, Origin::New { .. } | Origin::Gone | Origin::Cookie { .. }) if job.is_empty => {
                Ok(Done::nothing(CookieDue::No))
            }
            (_, Origin::New { .. } | Origin::Gone | Origin::Cookie { .. }) => {
                let id = self.dialect.new_id(&mut random);
                self.create(job, id).await
            }
            (Fate::Ended, Origin::Store { id, .. }) => {
                // First the end, then the beginning: a log-out that failed says so.
                store.delete(id.key(), None, job.now).await?;
                if job.is_empty {
                    return Ok(Done::nothing(CookieDue::Remove));
                }
                let id = self.dialect.new_id(&mut random);
                self.create(job, id).await
            }
            (Fate::Renewed, Origin::Store { id, version, .. }) => {
                // In a box, as all that is rare: the future of a plain write stays small.
                Box::pin(self.renew(job, &id, version)).await
            }
            (Fate::Same, Origin::Store { id, version, reissue, .. }) if job.operations.is_empty() => {
                let due = if reissue { CookieDue::Set } else { CookieDue::No };
                match store.touch(id.key(), version, job.record.idle_expires, job.now).await? {
                    // On a conflict somebody wrote meanwhile, which moved the expiry too.
                    Touch::Touched | Touch::Conflict => Ok(Done::kept(due, id, version, job.record.clone())),
                    Touch::Gone => Ok(Done::gone()),
                }
            }
            (Fate::Same, Origin::Store { id, version, .. }) => {
                let again = job.sets_cookie_again();
                self.merge(job, id, Some(version), again, begun).await
            }
        }
    }

    /// Writes a session that was in the cookie to the store for the first time.
    async fn begin_on_store(
        &self,
        job: &mut Job,
        fate: Fate,
        id: SessionId,
        marker: &StoreKey,
        expires: Timestamp,
    ) -> Result<Done, Error> {
        let store = self.backend()?;
        let mut mark = self.record(&self.empty(job.now), job.now)?;
        mark.idle_expires = expires;
        if fate == Fate::Same {
            let Create::Created(version) = store.create(id.key(), job.record.clone(), job.now).await? else {
                // A request in parallel took the same cookie over first: this is its session too, if it has not ended.
                return self.merge(job, id, None, true, None).await;
            };
            if store.create(marker, mark, job.now).await? == Create::Exists {
                // It was taken over before, and has ended since.
                store.delete(id.key(), None, job.now).await?;
                return Ok(Done::gone());
            }
            return Ok(Done::kept(CookieDue::Set, id, version, job.record.clone()));
        }
        // It ends here, also for requests in parallel that carry the same cookie.
        store.create(marker, mark.clone(), job.now).await?;
        store.create(id.key(), mark, job.now).await?;
        store.delete(id.key(), None, job.now).await?;
        if job.is_empty {
            return Ok(Done::nothing(CookieDue::Remove));
        }
        let id = self.dialect.new_id(&mut random);
        self.create(job, id).await
    }

    async fn create(&self, job: &mut Job, mut id: SessionId) -> Result<Done, Error> {
        let store = self.backend()?;
        for _ in 0..ATTEMPTS {
            match store.create(id.key(), job.record.clone(), job.now).await? {
                Create::Created(version) => return Ok(Done::kept(CookieDue::Set, id, version, job.record.clone())),
                Create::Exists => id = self.dialect.new_id(&mut random),
            }
        }
        Err(StoreError::new("no free session id was found").into())
    }

    /// Creates the new session, ends the old one at its version, and only then answers. A crash between the two
    /// leaves an old session without the new rights, and a new one nobody has the id of.
    async fn renew(&self, job: &mut Job, old: &SessionId, mut version: Version) -> Result<Done, Error> {
        let store = self.backend()?;
        let id = self.dialect.new_id(&mut random);
        let Done { kept: Some((id, mut new_version, mut record)), .. } = self.create(job, id).await? else {
            return Ok(Done::gone());
        };
        for attempt in 0..ATTEMPTS {
            match store.delete(old.key(), Some(version), job.now).await {
                Ok(Delete::Deleted) => return Ok(Done::kept(CookieDue::Set, id, new_version, record)),
                Ok(Delete::Conflict) => {}
                Ok(Delete::Gone) => {
                    store.delete(id.key(), None, job.now).await?;
                    return Ok(Done::gone());
                }
                Err(error) => {
                    // Nobody has this id; the old session is as it was.
                    let _ = store.delete(id.key(), None, job.now).await;
                    return Err(error.into());
                }
            }
            wait(attempt).await;
            let Load::Found(fresher, now_at) = store.load(old.key().clone(), job.now).await? else { continue };
            version = now_at;
            let mut contents = self.contents(fresher).ok_or_else(malformed)?;
            journal::replay(&job.operations, &mut contents, self.rules.encoding)?;
            contents.issued = job.now;
            record = self.record(&contents, job.now)?;
            match Arc::clone(store).replace(id.key().clone(), new_version, record.clone(), job.now).await? {
                Replace::Replaced(version) => new_version = version,
                Replace::Conflict | Replace::Gone => return Ok(Done::gone()),
            }
        }
        let _ = store.delete(id.key(), None, job.now).await;
        Err(contended())
    }
}
