//! Commits on a store: those to one session queue up, are merged by replaying, and retried on conflict.

use std::{
    future::ready,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use sha2::{Digest, Sha256};

use super::{
    Commit, Inner,
    queue::{Base, Entered, Leader, Merged, Turn, Waiting},
    random,
};
use crate::{
    data::Contents,
    dialect::{RecordData, Refusal, SessionId, wire::Encoding},
    error::{Error, Kind},
    journal::{self, Operation},
    lifetime::Timestamp,
    session::{CookieDue, Fate, Origin, Phase, Session, State},
    store::{
        Answer, Create, Delete, ErasedStore, GONE_FOR, Load, Record, Replace, StoreError, StoreKey, Touch, Version,
    },
    telemetry,
};

/// How often a commit starts again because another process was faster, before it is an error.
const ATTEMPTS: u32 = 24;

/// The most bytes of a session on a store: 1 MiB. Every request costs its whole size, and a visitor may be the one who makes it grow.
const LARGEST_RECORD: usize = 1 << 20;

/// How often expired records are removed, where the store does not do it by itself.
#[cfg(feature = "runtime")]
const PURGED_EVERY: Duration = Duration::from_secs(60);

/// How many are removed before others have their turn.
#[cfg(feature = "runtime")]
const PURGED_AT_ONCE: usize = 1000;

/// What one request did to its session, on its way to the store.
pub(super) struct Job {
    session: Session,
    now: Timestamp,
    fate: Fate,
    origin: Origin,
    operations: Vec<Operation>,
    /// The session as the request left it: right if nobody else wrote meanwhile.
    record: Record,
    is_empty: bool,
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
struct Begun {
    leader: Leader,
    answer: Answer<'static, Replace>,
}

/// What became of it.
struct Done {
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

    fn kept(due: CookieDue, id: SessionId, version: Version, record: Record) -> Self {
        Self { due, kept: Some((id, version, record)), gone: false }
    }
}

/// How a session came out of the store, or why it did not.
type Opened = Result<Result<(Contents, Origin), Refusal>, Error>;

impl Inner {
    pub(super) fn backend(&self) -> Result<&Arc<dyn ErasedStore>, Error> {
        self.store
            .as_ref()
            .ok_or_else(|| Error::setting("this session needs a store: add .store(...) to the SessionLayer"))
    }

    /// Removes what has expired, from time to time, as long as the application runs.
    #[cfg(feature = "runtime")]
    pub(super) fn purge_in_background(self: &Arc<Self>) {
        let Some(store) = self.store.as_ref().filter(|_| !self.purge.is_completed()) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        self.purge.call_once(|| {
            if store.needs_purging() {
                runtime.spawn(purge(Arc::downgrade(self)));
            }
        });
    }

    /// Opens the session of this id as the store has it.
    pub(super) fn open_found(
        &self,
        id: SessionId,
        found: Load,
        outdated: bool,
        now: Timestamp,
    ) -> Result<(Contents, Origin), Refusal> {
        match found {
            Load::Found(record, version) => self.open_record(id, record, version, outdated, now),
            Load::Gone => Err(Refusal::Gone),
            // Never adopted: the first write makes a new id.
            Load::Missing => Err(Refusal::Unknown),
        }
    }

    fn open_record(
        &self,
        id: SessionId,
        record: Record,
        version: Version,
        outdated: bool,
        now: Timestamp,
    ) -> Result<(Contents, Origin), Refusal> {
        let contents = self.contents(record).ok_or(Refusal::Malformed)?;
        let empty = contents.is_empty();
        // An empty one is not kept alive: what stands there runs out by itself.
        let touch = !empty && self.reissue.is_due(contents.issued, contents.idle, now);
        let reissue = outdated || (touch && self.is_persistent(&contents));
        Ok((contents, Origin::Store { id, version, touch, reissue, empty }))
    }

    /// Opens a session that was in the cookie before there was a store, once.
    ///
    /// Its id follows from the cookie, so that requests in parallel meet in one session; a marker that lives as long
    /// as the cookie would have keeps a cookie that was taken over from coming back after the log-out.
    pub(super) async fn take_over(&self, contents: Contents, fingerprint: &[u8; 32], now: Timestamp) -> Opened {
        let derive = |label: &str| Sha256::new().chain_update(label).chain_update(fingerprint).finalize().into();
        let id = SessionId::from_random(derive("dewar taken over\0"));
        let marker = StoreKey::from_digest(derive("dewar taken over, marker\0"));
        let store = self.backend()?;
        match store.load(id.key().clone(), now).await? {
            Load::Found(record, version) => return Ok(self.open_record(id, record, version, true, now)),
            Load::Gone => return Ok(Err(Refusal::Gone)),
            Load::Missing => {}
        }
        if store.load(marker.clone(), now).await? != Load::Missing {
            return Ok(Err(Refusal::Gone));
        }
        let expires = contents.expires();
        Ok(Ok((contents, Origin::Former { id, marker, expires })))
    }

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
    pub(super) fn store(self: Arc<Self>, job: Job, context: &mut Context<'_>) -> Commit {
        let (job, begun) = match self.replace_now(job, context) {
            Ok(due) => return Commit::Known(Ok(due)),
            Err(rest) => rest,
        };
        let mut rest = Box::pin(self.store_slowly(job, begun));
        match rest.as_mut().poll(context) {
            Poll::Ready(due) => Commit::Known(due),
            Poll::Pending => Commit::Waits(rest),
        }
    }

    /// The plain case, and the fast one: nobody else in this process writes to the session, and the store answers at once.
    fn replace_now(&self, mut job: Job, context: &mut Context<'_>) -> Result<CookieDue, (Job, Option<Begun>)> {
        let (Fate::Same, Origin::Store { id, version, .. }, Some(store), false) =
            (job.fate, &job.origin, &self.store, job.operations.is_empty())
        else {
            return Err((job, None));
        };
        let Some(leader) = self.queues.lead(id.key()) else { return Err((job, None)) };
        let mut answer = Arc::clone(store).replace(id.key().clone(), *version, job.record.clone(), job.now);
        let version = match answer.as_mut().poll(context) {
            Poll::Ready(Ok(Replace::Replaced(version))) => version,
            Poll::Ready(other) => return Err((job, Some(Begun { leader, answer: Box::pin(ready(other)) }))),
            Poll::Pending => return Err((job, Some(Begun { leader, answer }))),
        };
        let again = job.sets_cookie_again();
        leader.hand_over(|| {
            Some(Base { version, record: job.record.clone(), is_empty: job.is_empty, is_written: false })
        });
        let due = if job.is_empty {
            CookieDue::Remove
        } else if again {
            CookieDue::Set
        } else {
            CookieDue::No
        };
        let Origin::Store { id, .. } = mem::replace(&mut job.origin, Origin::Gone) else {
            unreachable!("it was seen above")
        };
        let mut state = job.session.lock();
        Ok(self.bring_back(&mut state, Done::kept(due, id, version, job.record)))
    }

    async fn store_slowly(self: Arc<Self>, mut job: Job, begun: Option<Begun>) -> Result<CookieDue, Error> {
        let done = self.run(&mut job, begun).await;
        let mut state = job.session.lock();
        match done {
            Ok(done) => Ok(self.bring_back(&mut state, done)),
            Err(error) => {
                // All of it is still to be done; what came meanwhile goes behind it.
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

    /// Writes to an existing session, together with all others in this process that wait to.
    ///
    /// `version` is the one that the request opened; `None` where it does not know.
    async fn merge(
        &self,
        job: &mut Job,
        id: SessionId,
        version: Option<Version>,
        again: bool,
        begun: Option<Begun>,
    ) -> Result<Done, Error> {
        let operations = mem::take(&mut job.operations);
        let key = id.key();
        let (entered, answer) = match begun {
            Some(Begun { leader, answer }) => (Entered::Leading(leader, operations), Some(answer)),
            None => (self.queues.enter(key, operations), None),
        };
        let (leader, mut batch, mut base) = match entered {
            Entered::Leading(leader, operations) => {
                let (record, is_empty) = (&job.record, job.is_empty);
                let base = version.map(|version| Base { version, record: record.clone(), is_empty, is_written: true });
                (leader, vec![Waiting { operations, answer: None }], base)
            }
            Entered::Waiting(turn) => match turn.await {
                Ok(Turn::Lead(leader, batch, base)) => (leader, batch, base),
                Ok(Turn::Answered(merged, operations)) => {
                    job.operations = operations;
                    return merged.map(|merged| done(merged, id, again));
                }
                Err(_) => return Err(StoreError::new("the commit that this one waited for was given up").into()),
            },
        };
        let outcomes = self.write(key, &mut batch, &mut base, answer, job.now).await;
        let (merged, operations) = leader.answer(batch, outcomes, base);
        job.operations = operations;
        merged.map(|merged| done(merged, id, again))
    }

    /// Replays the waiting requests, in their order, into one record, and replaces it at its version.
    async fn write(
        &self,
        key: &StoreKey,
        batch: &mut [Waiting],
        base: &mut Option<Base>,
        mut begun: Option<Answer<'static, Replace>>,
        now: Timestamp,
    ) -> Vec<Result<Merged, Error>> {
        for attempt in 0..ATTEMPTS {
            let (version, record, is_empty, revived, outcomes) = match base.take() {
                // The leader's own request, which nobody else has overtaken yet: there is nothing to replay.
                Some(base) if base.is_written => (base.version, base.record, base.is_empty, false, vec![Ok(())]),
                base => {
                    let (record, version) = match base {
                        Some(base) => (base.record, base.version),
                        None => match self.reload(key, now).await {
                            Ok(Some(found)) => found,
                            Ok(None) => return answers(batch, || Ok(Merged::Gone)),
                            Err(error) => return answers(batch, || Err(error.copy())),
                        },
                    };
                    let Some(mut contents) = self.contents(record) else {
                        return answers(batch, || Err(malformed()));
                    };
                    let revived = contents.is_empty();
                    let outcomes = self.replay(batch, &mut contents);
                    contents.issued = now;
                    match self.record(&contents, now) {
                        Ok(record) => (version, record, contents.is_empty(), revived, outcomes),
                        Err(error) => return answers(batch, || Err(error.copy())),
                    }
                }
            };
            if outcomes.iter().all(Result::is_err) {
                return outcomes.into_iter().map(|outcome| outcome.map(|()| Merged::Gone)).collect();
            }
            let replaced = match (begun.take(), self.backend()) {
                (Some(answer), _) => answer.await.map_err(Error::from),
                (None, Ok(store)) => {
                    Arc::clone(store).replace(key.clone(), version, record.clone(), now).await.map_err(Error::from)
                }
                (None, Err(error)) => Err(error),
            };
            match replaced {
                Ok(Replace::Replaced(version)) => {
                    let merged = Merged::Kept { version, record: record.clone(), is_empty, revived };
                    *base = Some(Base { version, record, is_empty, is_written: false });
                    return outcomes.into_iter().map(|outcome| outcome.map(|()| merged.clone())).collect();
                }
                Ok(Replace::Gone) => return answers(batch, || Ok(Merged::Gone)),
                Ok(Replace::Conflict) => wait(attempt).await,
                Err(error) => return answers(batch, || Err(error.copy())),
            }
        }
        answers(batch, || Err(contended()))
    }

    /// Replays the requests in their order. One that fails must not harm its neighbours, so all others begin again without it.
    fn replay(&self, batch: &[Waiting], contents: &mut Contents) -> Vec<Result<(), Error>> {
        let base = contents.clone();
        let mut outcomes: Vec<_> = batch.iter().map(|_| Ok(())).collect();
        loop {
            let good = batch.iter().zip(&mut outcomes).filter(|(_, outcome)| outcome.is_ok());
            let failed =
                good.map(|(waiting, outcome)| (outcome, guarded(&waiting.operations, contents, self.rules.encoding)));
            let Some((outcome, error)) =
                failed.filter_map(|(outcome, replayed)| Some((outcome, replayed.err()?))).next()
            else {
                return outcomes;
            };
            *outcome = Err(error);
            *contents = base.clone();
        }
    }

    async fn reload(&self, key: &StoreKey, now: Timestamp) -> Result<Option<(Record, Version)>, Error> {
        match self.backend()?.load(key.clone(), now).await? {
            Load::Found(record, version) => Ok(Some((record, version))),
            Load::Gone | Load::Missing => Ok(None),
        }
    }

    fn record(&self, contents: &Contents, now: Timestamp) -> Result<Record, Error> {
        // The last entry was removed: nothing is left to keep, but a request that is in flight may add one.
        let idle_expires = if contents.is_empty() { now.after(GONE_FOR) } else { contents.idle_expires() };
        Ok(Record {
            data: self.dialect.write_record(contents, &self.cookie, now)?,
            created: contents.created,
            idle_seconds: contents.idle,
            idle_expires,
            absolute_expires: contents.absolute_expires(),
            persistent: contents.persistent,
            principal: contents.principal.clone(),
            label: contents.label.clone(),
        })
    }

    fn contents(&self, record: Record) -> Option<Contents> {
        let RecordData { data, beside, lifetime } = self.dialect.read_record(&record.data)?;
        let (idle, persistent) = match lifetime {
            Some(lifetime) => (lifetime.idle.unwrap_or(self.rules.idle), lifetime.persistent),
            None if self.rules.keeps_facts => (record.idle_seconds, record.persistent),
            None => (self.rules.idle, self.rules.persistent),
        };
        let issued = record.idle_expires.as_millis().saturating_sub(u64::from(idle) * 1000);
        let absolute = record.absolute_expires.map(|end| end.since(record.created).as_secs());
        Some(Contents {
            data,
            created: record.created,
            issued: Timestamp::from_millis(issued),
            idle,
            absolute: absolute.and_then(|seconds| u32::try_from(seconds).ok()),
            persistent,
            principal: record.principal,
            label: record.label,
            beside,
        })
    }
}

/// Ends with the application; a store that is down for a while is asked again.
#[cfg(feature = "runtime")]
async fn purge(inner: std::sync::Weak<Inner>) {
    loop {
        tokio::time::sleep(PURGED_EVERY).await;
        let Some(inner) = inner.upgrade() else { return };
        let Some(store) = &inner.store else { return };
        loop {
            match store.purge(PURGED_AT_ONCE, inner.clock.now()).await {
                Ok(0) => break,
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => {
                    telemetry::not_purged(&error.into());
                    break;
                }
            }
        }
    }
}

/// A panic of the application's closure is that request's own failure.
fn guarded(operations: &[Operation], contents: &mut Contents, encoding: Encoding) -> Result<(), Error> {
    catch_unwind(AssertUnwindSafe(|| journal::replay(operations, contents, encoding)))
        .unwrap_or_else(|_| Err(Error::entry(b"?", "an update panicked when it was run again")))
}

fn done(merged: Merged, id: SessionId, again: bool) -> Done {
    match merged {
        Merged::Gone => Done::gone(),
        Merged::Kept { version, record, is_empty: true, .. } => Done::kept(CookieDue::Remove, id, version, record),
        Merged::Kept { version, record, revived, .. } => {
            let due = if again || revived { CookieDue::Set } else { CookieDue::No };
            Done::kept(due, id, version, record)
        }
    }
}

fn answers(batch: &[Waiting], answer: impl Fn() -> Result<Merged, Error>) -> Vec<Result<Merged, Error>> {
    batch.iter().map(|_| answer()).collect()
}

/// A little longer with every attempt, and by chance, so that rivals do not meet again.
async fn wait(attempt: u32) {
    let most = 500u64 << attempt.min(7);
    let time = Duration::from_micros(rand::RngExt::random_range(&mut rand::rng(), most / 2..=most));
    telemetry::conflicted(time);
    #[cfg(feature = "runtime")]
    if tokio::runtime::Handle::try_current().is_ok() {
        tokio::time::sleep(time).await;
    }
}

fn contended() -> Error {
    StoreError::new("other requests kept writing to this session first").into()
}

fn malformed() -> Error {
    StoreError::new("the record is malformed").into()
}
