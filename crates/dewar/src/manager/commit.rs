//! A commit: planned when it has its turn, carried out on the store, and what came of it brought back to the session.

use std::{
    future::ready,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::HeaderValue;

use super::{
    Commit, Inner, Running,
    merge::{contended, guarded, wait},
    plan::{Facts, Plan, is_followed, plan},
    queue::{Base, Changes, Entered, Failed, Leader, Merged, Turn, may_have_been_done},
    random,
    stored::malformed,
};
use crate::{
    data::Contents,
    dialect::{Body, SessionId},
    error::{Error, Kind},
    journal::Operation,
    lifetime::Timestamp,
    session::{Session, somebody},
    state::{At, Doubt, Failing, Intent, Made, Origin, Phase, State},
    store::{
        Answer, Create, Delete, ErasedStore, Load, Record, Rename, Replace, StoreKey, Tombstone, Touch, Version, Why,
    },
    telemetry,
};

/// How often a commit starts again because another process was faster, before it is an error.
pub(super) const ATTEMPTS: u32 = 24;

/// The most bytes of a session on a store: 1 MiB. Every request costs its whole size, and a visitor may be the one who makes it grow.
const LARGEST_RECORD: usize = 1 << 20;

/// How many successors of a renewed session are followed.
pub(super) const HOPS: u32 = 4;

/// What one request did to its session, on its way to the store.
pub(super) struct Job {
    pub(super) session: Session,
    pub(super) now: Timestamp,
    plan: Plan,
    intent: Intent,
    /// Whether somebody logged in, also after a `clear`.
    logs_in: bool,
    origin: Origin,
    pub(super) changes: Changes,
    /// Whether more was done than to take messages that were shown.
    changed: bool,
    /// Whether the leader that the changes went with has died with them.
    pub(super) is_lost: bool,
    /// The session as the request left it: right if nobody else wrote meanwhile.
    pub(super) record: Record,
    pub(super) is_empty: bool,
    /// The state that this commit writes, and the id where it needs a new one.
    pub(super) version: Version,
    new_id: Option<SessionId>,
    /// The cookie of that id, which fits.
    cookie: Vec<HeaderValue>,
    is_final: bool,
    /// Whether the lifetime was changed, so that the browser needs its cookie again.
    sets_lifetime: bool,
    /// An earlier attempt under a new id, of which nobody knows whether it was done.
    made: Option<Made>,
    /// Of the tombstone that this commit leaves.
    nonce: u64,
}

/// A write that the store did not answer at once, or not as one would like.
enum Begun {
    Create(Answer<'static, Create>),
    Replace(Replacing),
}

pub(super) struct Replacing {
    pub(super) leader: Leader,
    pub(super) answer: Answer<'static, Replace>,
}

/// What came of a job.
#[allow(clippy::large_enum_variant)] // As below.
enum Done {
    /// The session is here now.
    Kept(Kept),
    /// It ended, by this request.
    Ended,
    /// It is dead; `None`: missing or expired.
    Dead(Option<Why>),
}

struct Kept {
    at: At,
    epoch: Option<u64>,
    cookie: Vec<HeaderValue>,
    /// What the session holds, where that is more than the request knows.
    merged: Option<Contents>,
}

/// What a commit begins with.
#[allow(clippy::large_enum_variant)] // It lives for a moment, and a box would be an allocation for every write.
enum Next {
    /// With what was done, to be dropped where no lock is held: closures own what is the application's.
    Known(Result<(), Error>, Vec<Operation>),
    Job(Job),
}

impl Inner {
    /// Commits, as far as nothing has to be waited for; a final commit closes the session.
    pub(super) fn begin(self: &Arc<Self>, session: &Session, is_final: bool, context: &mut Context<'_>) -> Commit {
        let mut state = session.lock();
        match state.phase {
            Phase::Open if is_final => state.phase = Phase::Committing,
            Phase::Open => {}
            Phase::Committing | Phase::Closed => {
                drop(state);
                telemetry::committed_too_late();
                let why = "the session was committed after its response had gone; nothing was saved";
                return Commit::Known(Err(Error::new(Kind::Closed, why)));
            }
            // What began before the panic is finished, so that the response has its cookie.
            Phase::Panicked if state.turn.is_taken() => {}
            Phase::Panicked => return Commit::Known(Err(panicked())),
        }
        let running: Running = if state.turn.is_taken() {
            let turn = state.wait_for_turn();
            drop(state);
            let (inner, session) = (Arc::clone(self), session.clone());
            Box::pin(async move {
                let Ok(mut turn) = turn.await else { return Err(gone_with_its_runtime()) };
                turn.begin();
                let next = match &mut *session.lock() {
                    State { phase: Phase::Panicked, .. } => Next::Known(Err(panicked()), Vec::new()),
                    // Closed while it waited: what the request did is dropped.
                    State { phase: Phase::Closed, .. } => Next::Known(
                        Err(Error::new(Kind::Closed, "the session was closed before it could be committed")),
                        Vec::new(),
                    ),
                    state => inner.next(&session, state, is_final),
                };
                let result = match next {
                    Next::Known(result, done) => {
                        drop(done);
                        result
                    }
                    Next::Job(job) => inner.carry_out(job, None).await,
                };
                turn.end();
                result
            })
        } else {
            let next = self.next(session, &mut state, is_final);
            let mut job = match next {
                Next::Known(result, done) => {
                    drop(state);
                    drop(done);
                    return Commit::Known(result);
                }
                Next::Job(job) => job,
            };
            let mut turn = state.take_turn(session);
            drop(state);
            match self.store_now(&mut job, context) {
                Ok(result) => return Commit::Known(result),
                Err(begun) => {
                    let inner = Arc::clone(self);
                    Box::pin(async move {
                        turn.begin();
                        let result = inner.carry_out(job, begun).await;
                        turn.end();
                        result
                    })
                }
            }
        };
        Commit::run(running, context)
    }

    /// Plans, and does at once what needs no store.
    fn next(&self, session: &Session, state: &mut State, is_final: bool) -> Next {
        if let Some((_, failure)) = state.failures.first() {
            return Next::Known(Err(failure.copy()), Vec::new());
        }
        let now = self.clock.now();
        state.end_what_was_made();
        let touched = state.changed || state.intent != Intent::Keep;
        let plan = plan(&Facts {
            origin: &state.origin,
            intent: state.intent,
            logs_in: self.logs_in(state.intent, &state.contents),
            touched,
            written: state.changed,
            changed: if self.rules.replays { state.has_changes() } else { touched },
            empty: state.contents.is_empty(),
            on_store: self.store.is_some(),
            now,
        });
        let mut dropped = Vec::new();
        let done = match plan {
            Plan::Nothing => Ok(()),
            Plan::Drop => {
                telemetry::discarded();
                dropped = state.settled();
                state.contents = self.empty(now);
                if is_final { Ok(()) } else { Err(ended_meanwhile()) }
            }
            Plan::Again => Err(conflict(state.doubt.as_ref())),
            Plan::Cookie => self.freeze(state, now).map(|()| dropped = state.settled()),
            Plan::Remove => self.removal().map(|cookies| {
                state.due = cookies;
                state.origin = Origin::Fresh { refused: false };
                dropped = state.settled();
            }),
            _ => match self.job(session, state, plan, now, is_final) {
                Ok(job) => return Next::Job(job),
                Err(error) => Err(error),
            },
        };
        Next::Known(done, dropped)
    }

    fn logs_in(&self, intent: Intent, contents: &Contents) -> bool {
        match intent {
            Intent::Keep | Intent::Renew => false,
            Intent::LogIn | Intent::Switch => true,
            Intent::End => somebody(&self.rules, contents).is_some(),
        }
    }

    /// The cookie as the session is now: what a response carries, whatever comes later.
    fn freeze(&self, state: &mut State, now: Timestamp) -> Result<(), Error> {
        state.contents.issued = now;
        refuse_ended_lifetime(state, now)?;
        match &mut state.origin {
            Origin::Stored(at) => {
                let Some(id) = &at.id else { return Ok(()) };
                state.due = self.cookies(Body::Id(id), &state.contents)?;
                at.reissue = false;
            }
            origin => {
                state.due = self.cookies(Body::Data(&state.contents), &state.contents)?;
                *origin = Origin::Cookie { reissue: false };
            }
        }
        Ok(())
    }

    /// What a request did, taken out of its session. Encodes here, so that nothing is copied.
    ///
    /// # Errors
    ///
    /// Where the dialect cannot write it; nothing is taken out then.
    fn job(
        &self,
        session: &Session,
        state: &mut State,
        plan: Plan,
        now: Timestamp,
        is_final: bool,
    ) -> Result<Job, Error> {
        state.contents.issued = now;
        refuse_ended_lifetime(state, now)?;
        // Only the id that follows from a cookie is guarded.
        if plan.makes_an_id() {
            state.contents.guarded_until = None;
        }
        let record = self.record(&state.contents, now)?;
        if record.data.len() > LARGEST_RECORD {
            let largest = super::largest_entries(&state.contents);
            let bytes = record.data.len();
            let why = format!(
                "the session has {bytes} bytes, and {LARGEST_RECORD} are the most; its largest entries: {largest}"
            );
            return Err(Error::new(Kind::TooLarge, why));
        }
        let earlier = state.made.as_ref().and_then(|made| made.id.clone());
        let new_id = plan.makes_an_id().then(|| earlier.unwrap_or_else(|| self.dialect.new_id(&mut random)));
        let id = match (&new_id, &state.origin) {
            (Some(id), _) | (None, Origin::Former { id, .. }) => Some(id),
            (None, Origin::Stored(at)) => at.id.as_ref().filter(|_| self.sets_cookie_again(state, at)),
            _ => None,
        };
        let cookie = match id.filter(|_| plan != Plan::End) {
            Some(id) => self.cookies(Body::Id(id), &state.contents)?,
            None => Vec::new(),
        };
        let changed = state.has_changes();
        let logs_in = self.logs_in(state.intent, &state.contents);
        let operations = mem::take(&mut state.operations);
        state.changed = false;
        let made = state.made.take();
        let drawn_for = new_id.as_ref().map(|id| id.key().hash64());
        Ok(Job {
            session: session.clone(),
            now,
            plan,
            intent: mem::take(&mut state.intent),
            logs_in,
            origin: state.origin.clone(),
            changes: Changes { operations, doubt: state.doubt.take(), ..Changes::default() },
            changed,
            is_lost: false,
            version: self.draw.version(&record, now),
            record,
            is_empty: state.contents.is_empty(),
            new_id,
            cookie,
            is_final,
            sets_lifetime: mem::take(&mut state.sets_lifetime),
            nonce: made.as_ref().map_or_else(|| self.draw.nonce(now, drawn_for), |made| made.nonce),
            made,
        })
    }

    /// Whether the browser needs its cookie again, although it has one.
    fn sets_cookie_again(&self, state: &State, at: &At) -> bool {
        // A session that is persistent no more needs a cookie without an end, too.
        at.reissue || at.empty || state.contents.persistent && state.changed || state.sets_lifetime
    }

    /// The plain cases, and the fast ones: nobody else in this process writes to the session, and the store answers at once.
    fn store_now(&self, job: &mut Job, context: &mut Context<'_>) -> Result<Result<(), Error>, Option<Begun>> {
        match (job.plan, &job.origin, &self.store) {
            (Plan::Replace, Origin::Stored(at), Some(store)) if !at.unseen && job.changes.doubt.is_none() => {
                self.replace_now(job, at, store, context)
            }
            (Plan::Create, _, Some(store)) if job.made.is_none() => self.create_now(job, store, context),
            _ => Err(None),
        }
    }

    fn create_now(
        &self,
        job: &mut Job,
        store: &Arc<dyn ErasedStore>,
        context: &mut Context<'_>,
    ) -> Result<Result<(), Error>, Option<Begun>> {
        let id = job.new_id.as_ref().ok_or(None)?;
        let mut answer = Arc::clone(store).create(id.key().clone(), job.version, job.record.clone(), job.now);
        let written = match answer.as_mut().poll(context) {
            Poll::Ready(Ok(Create::Created(written))) => written,
            Poll::Ready(other) => return Err(Some(Begun::Create(Box::pin(ready(other))))),
            Poll::Pending => return Err(Some(Begun::Create(answer))),
        };
        let at = At { empty: job.is_empty, ..At::new(id.key().clone(), Some(id.clone()), written.version) };
        let cookie = mem::take(&mut job.cookie);
        job.session.lock().keep(at, Some(written.epoch), cookie);
        Ok(Ok(()))
    }

    fn replace_now(
        &self,
        job: &Job,
        at: &At,
        store: &Arc<dyn ErasedStore>,
        context: &mut Context<'_>,
    ) -> Result<Result<(), Error>, Option<Begun>> {
        let leader = self.queues.lead(&at.key).ok_or(None)?;
        let mut answer =
            Arc::clone(store).replace(at.key.clone(), at.version, job.version, job.record.clone(), job.now);
        let version = match answer.as_mut().poll(context) {
            Poll::Ready(Ok(Replace::Replaced(version))) => version,
            Poll::Ready(other) => {
                return Err(Some(Begun::Replace(Replacing { leader, answer: Box::pin(ready(other)) })));
            }
            Poll::Pending => return Err(Some(Begun::Replace(Replacing { leader, answer }))),
        };
        leader.hand_over(|| {
            Some(Base { version, record: job.record.clone(), is_empty: job.is_empty, is_written: false })
        });
        let at = At { version, touch: false, reissue: false, empty: job.is_empty, ..at.clone() };
        let cookie = if job.is_empty { self.removal_of(&at) } else { Ok(job.cookie.clone()) };
        Ok(cookie.map(|cookie| job.session.lock().keep(at, None, cookie)))
    }

    /// Brings what a request did to the store, and what came of it back to the session.
    async fn carry_out(self: Arc<Self>, mut job: Job, begun: Option<Begun>) -> Result<(), Error> {
        let done = self.execute(&mut job, begun).await;
        match done {
            Ok(Done::Kept(Kept { mut at, epoch, cookie, merged })) => {
                at.unseen = merged.is_some();
                job.session.lock().keep(at, epoch, cookie);
                if let Some(mut merged) = merged {
                    // What was written has an epoch now: without it, the next write would count as begun after a raise.
                    merged.begin_in(epoch);
                    // What fails here fails again, and is reported, when it is committed.
                    let _ = self.refresh(&job.session, merged);
                }
                Ok(())
            }
            Ok(Done::Ended) => {
                let cookies = self.removal()?;
                let mut state = job.session.lock();
                state.due = cookies;
                state.origin = Origin::Fresh { refused: false };
                Ok(())
            }
            Ok(Done::Dead(why)) => self.bury(job, why),
            Err(Failed { error, doubt }) => {
                job.changes.doubt = doubt.or(job.changes.doubt);
                let dropped = give_back(job);
                drop(dropped);
                Err(error)
            }
        }
    }

    /// The session died under this request.
    fn bury(&self, job: Job, why: Option<Why>) -> Result<(), Error> {
        let now = job.now;
        let told = plan(&Facts {
            origin: &Origin::Lost(why.clone()),
            intent: job.intent,
            logs_in: job.logs_in,
            touched: true,
            written: !job.changes.operations.is_empty(),
            changed: job.changed,
            empty: job.is_empty,
            on_store: true,
            now: job.now,
        });
        let keeps_what_it_loaded = matches!(why, Some(Why::Renewed { .. }));
        let (session, is_final) = (job.session.clone(), job.is_final);
        let doubt = job.changes.doubt.clone();
        session.lock().origin = Origin::Lost(why);
        // What was not saved is an error of the response, too.
        let dropped = if told == Plan::Again {
            give_back(Job { plan: Plan::Replace, made: None, ..job })
        } else {
            job.changes.operations
        };
        drop(dropped);
        if !keeps_what_it_loaded && let Err(error) = self.refresh(&session, self.empty(now)) {
            let mut state = session.lock();
            state.contents = self.empty(now);
            state.fail(Failing::Method("update"), error);
        }
        match told {
            Plan::Again => Err(conflict(doubt.as_ref())),
            Plan::Drop => {
                telemetry::discarded();
                if is_final { Ok(()) } else { Err(ended_meanwhile()) }
            }
            _ => Ok(()),
        }
    }

    /// Shows the session as it is known now, with what the request wrote since. Closures run outside the lock, and may use the session.
    ///
    /// # Errors
    ///
    /// Where that cannot be replayed. The request sees what it saw, and its next commit finds the same.
    fn refresh(&self, session: &Session, mut contents: Contents) -> Result<(), Error> {
        let mut replayed = Vec::new();
        let mut result = Ok(());
        for _ in 0..100 {
            let mut state = session.lock();
            if state.intent >= Intent::Switch {
                break;
            }
            if state.operations.is_empty() {
                state.operations = replayed;
                state.contents = contents;
                if let Origin::Stored(at) = &mut state.origin {
                    at.unseen = false;
                }
                return Ok(());
            }
            let newer = mem::take(&mut state.operations);
            drop(state);
            result = guarded(&newer, &mut contents, self.rules.encoding);
            replayed.extend(newer);
            if result.is_err() {
                break;
            }
        }
        session.lock().operations.splice(0..0, replayed);
        result
    }

    async fn execute(&self, job: &mut Job, begun: Option<Begun>) -> Result<Done, Failed> {
        if job.made.is_some()
            && let Some(done) = Box::pin(self.resume(job)).await?
        {
            return Ok(done);
        }
        let (creating, replacing) = match begun {
            Some(Begun::Create(answer)) => (Some(answer), None),
            Some(Begun::Replace(replacing)) => (None, Some(replacing)),
            None => (None, None),
        };
        match (job.plan, job.origin.clone()) {
            (Plan::Replace, Origin::Stored(at)) => self.replace(job, at, replacing).await,
            (Plan::Touch, Origin::Stored(at)) => self.touch(job, at).await,
            (Plan::Create, _) => self.create(job, creating).await,
            // In boxes, as all that is rare: the future of a plain write stays small.
            (Plan::Renew, _) => Box::pin(self.renew(job)).await,
            (Plan::BeginAgain, _) => Box::pin(self.begin_again(job)).await,
            (Plan::End, _) => Box::pin(self.end(job)).await,
            (Plan::Migrate, Origin::Former { id, .. }) => Box::pin(self.migrate(job, id)).await,
            _ => Err(Error::new(Kind::Setting, "a session that is on no store was planned to be").into()),
        }
    }

    /// The same, from within.
    fn again<'a>(&'a self, job: &'a mut Job) -> Pin<Box<dyn Future<Output = Result<Done, Failed>> + Send + 'a>> {
        Box::pin(self.execute(job, None))
    }

    /// Asks what became of an earlier attempt under a new id. Where it was done, this commit goes on from there; where it was not, it is done
    /// again under the same id.
    async fn resume(&self, job: &mut Job) -> Result<Option<Done>, Failed> {
        let Some(made) = job.made.clone() else { return Ok(None) };
        let Some(id) = made.id else { return Ok(None) };
        let found = self.look(id.key(), job.now).await?;
        if matches!(found, Err(None)) {
            return Ok(None);
        }
        job.made = None;
        let rest = if job.intent > made.intent { job.intent } else { Intent::Keep };
        if rest != Intent::Keep {
            let fresh = self.give_another_id(job)?;
            job.nonce = self.draw.nonce(job.now, fresh.key().hash64());
        }
        let version = match found {
            Ok((_, version)) => version,
            // It was ended since, and a log-in that was ended is not done again.
            Err(tombstone) if rest == Intent::Keep => {
                job.logs_in = false;
                return Ok(Some(Done::Dead(tombstone.map(|tombstone| tombstone.why))));
            }
            Err(tombstone) => return self.gone(job, tombstone).await.map(Some),
        };
        let key = id.key().clone();
        job.origin = Origin::Stored(At { reissue: true, unseen: true, ..At::new(key, Some(id), version) });
        job.changes.doubt = Some(Doubt { at: None, mine: made.mine, operations: made.operations, revived: false });
        // Also where what is still to be done fails: the way there is not gone twice.
        job.session.lock().origin = job.origin.clone();
        job.intent = rest;
        if rest == Intent::Keep {
            job.logs_in = false;
            job.changed = !job.changes.operations.is_empty();
        }
        job.plan = match rest {
            Intent::Keep => Plan::Replace,
            Intent::Renew | Intent::LogIn => Plan::Renew,
            Intent::End if job.is_empty => Plan::End,
            Intent::End | Intent::Switch => Plan::BeginAgain,
        };
        Ok(None)
    }

    async fn replace(&self, job: &mut Job, at: At, begun: Option<Replacing>) -> Result<Done, Failed> {
        let version = (!at.unseen).then_some(at.version);
        let merged = self.merge(job, &at.key, version, begun).await?;
        self.merged(job, at, merged).await
    }

    /// What a replacement came to.
    async fn merged(&self, job: &mut Job, mut at: At, mut merged: Merged) -> Result<Done, Failed> {
        for _ in 0..HOPS {
            match merged {
                Merged::Kept { version, record, is_empty, revived, is_merged } => {
                    let needs_cookie = at.reissue;
                    at = At { version, touch: false, reissue: false, empty: is_empty, ..at };
                    let contents = if is_merged { Some(self.contents(record).ok_or_else(malformed)?) } else { None };
                    let cookie = match (&at.id, &contents) {
                        (None, _) => Vec::new(),
                        (Some(_), _) if is_empty && (job.changed || needs_cookie) => self.removal()?,
                        // Another emptied it.
                        (Some(_), _) if is_empty => Vec::new(),
                        // Another may have changed how long it lives.
                        (Some(id), Some(contents)) if revived || !job.cookie.is_empty() => {
                            self.cookies(Body::Id(id), contents)?
                        }
                        (Some(_), _) => mem::take(&mut job.cookie),
                    };
                    return Ok(Done::Kept(Kept { at, epoch: None, cookie, merged: contents }));
                }
                Merged::Gone(tombstone) => {
                    let Some(successor) = self.successor(job, tombstone.as_ref()).await? else {
                        return Ok(Done::Dead(tombstone.map(|tombstone| tombstone.why)));
                    };
                    merged = self.merge(job, &successor, None, None).await?;
                    at = At { key: successor, id: None, ..at };
                }
            }
        }
        Ok(Done::Dead(Some(Why::Renewed { successor: None })))
    }

    /// Where a session goes on that was plainly renewed a short while ago, if it is still the same principal's.
    async fn successor(&self, job: &mut Job, tombstone: Option<&Tombstone>) -> Result<Option<StoreKey>, Error> {
        let Some(tombstone) = tombstone.filter(|tombstone| is_followed(tombstone, job.now)) else { return Ok(None) };
        let Why::Renewed { successor: Some(successor) } = &tombstone.why else { return Ok(None) };
        if matches!(job.intent, Intent::LogIn | Intent::Switch) {
            return Ok(None);
        }
        match self.backend()?.load(successor.clone(), job.now).await? {
            // One that was ended while it was renewed was this principal's.
            Load::Gone(_) => Ok(Some(successor.clone())),
            Load::Found(record, _) if job.intent == Intent::End || record.principal == job.record.principal => {
                Ok(Some(successor.clone()))
            }
            Load::Found(..) | Load::Missing => Ok(None),
        }
    }

    /// Where a session goes on that was plainly renewed and that somebody logs in to now; or why it does not, at its last id.
    async fn renewed_to(
        &self,
        job: &mut Job,
        mut tombstone: Option<Tombstone>,
    ) -> Result<Result<(StoreKey, Version), Option<Tombstone>>, Error> {
        for _ in 0..HOPS {
            let followed = tombstone.as_ref().filter(|tombstone| is_followed(tombstone, job.now));
            let Some(Tombstone { why: Why::Renewed { successor: Some(key) }, .. }) = followed else { break };
            match self.look(key, job.now).await? {
                Ok((_, version)) => return Ok(Ok((key.clone(), version))),
                Err(None) => break,
                Err(next) => tombstone = next,
            }
        }
        Ok(Err(tombstone))
    }

    async fn touch(&self, job: &mut Job, at: At) -> Result<Done, Failed> {
        let store = self.backend()?;
        match store.touch(&at.key, at.version, job.record.idle_expires, job.now).await.map_err(Error::from)? {
            // On a conflict somebody wrote meanwhile, which moved the expiry too.
            Touch::Touched | Touch::Conflict => {
                let at = At { touch: false, reissue: false, ..at };
                Ok(Done::Kept(Kept { at, epoch: None, cookie: mem::take(&mut job.cookie), merged: None }))
            }
            Touch::Gone(tombstone) => self.merged(job, at, Merged::Gone(tombstone)).await,
        }
    }

    async fn create(&self, job: &mut Job, mut begun: Option<Answer<'static, Create>>) -> Result<Done, Failed> {
        for _ in 0..ATTEMPTS {
            let id = job.new_id.clone().ok_or_else(malformed)?;
            match self.create_surely(&id, job.version, &job.record, job.now, begun.take()).await? {
                Create::Created(written) => return Ok(self.begun(job, id, written.version, written.epoch)),
                // The earlier attempt landed late.
                Create::Exists if job.has_made(&id) => return self.again(job).await,
                Create::Exists => drop(self.give_another_id(job)?),
                // It was created, and ended since: nobody else knew the id.
                Create::Gone(_) => return Ok(self.begun(job, id, job.version, 0)),
                Create::Outdated => return Ok(Done::Dead(Some(Why::Ended))),
            }
        }
        Err(contended().into())
    }

    /// Another new id than the one that was drawn first, with its cookie.
    fn give_another_id(&self, job: &mut Job) -> Result<SessionId, Error> {
        let id = self.dialect.new_id(&mut random);
        let contents = self.contents(job.record.clone()).ok_or_else(malformed)?;
        job.cookie = self.cookies(Body::Id(&id), &contents)?;
        job.new_id = Some(id.clone());
        Ok(id)
    }

    /// What is to be written under a new id, where that is not what the request left.
    fn put_in(&self, job: &mut Job, contents: &Contents, id: &SessionId) -> Result<(), Error> {
        job.record = self.record(contents, job.now)?;
        job.is_empty = contents.is_empty();
        job.cookie = self.cookies(Body::Id(id), contents)?;
        Ok(())
    }

    /// A session under a new id, whose cookie is to be set.
    fn begun(&self, job: &mut Job, id: SessionId, version: Version, epoch: u64) -> Done {
        let at = At { empty: job.is_empty, ..At::new(id.key().clone(), Some(id), version) };
        Done::Kept(Kept { at, epoch: Some(epoch), cookie: mem::take(&mut job.cookie), merged: None })
    }

    /// The right to write to a session alone, for what changes its id.
    async fn alone(&self, key: &StoreKey) -> Result<(Leader, Option<Base>), Error> {
        match self.queues.enter(key, Changes::default(), true) {
            Entered::Leading(leader, _) => Ok((leader, None)),
            Entered::Waiting(turn) => match turn.await {
                Ok(Turn::Lead(leader, _, base)) => Ok((leader, base)),
                _ => Err(gone_with_its_runtime()),
            },
        }
    }

    /// The new id, and the old one's tombstone, in one step; what others wrote meanwhile comes along.
    async fn renew(&self, job: &mut Job) -> Result<Done, Failed> {
        let key = self.key_of(job)?;
        let (leader, base) = self.alone(&key).await?;
        let done = self.renew_alone(job, &key, base).await;
        leader.hand_over(|| None);
        done
    }

    async fn renew_alone(&self, job: &mut Job, key: &StoreKey, base: Option<Base>) -> Result<Done, Failed> {
        let id = job.new_id.clone().ok_or_else(malformed)?;
        // Whoever has an id that is renewed without a principal may log in by an entry of their own: nobody follows.
        let successor = (job.intent == Intent::Renew && self.rules.keeps_facts).then(|| id.key().clone());
        let mut merged = None;
        // What stands there, where that is more than the request knows.
        let mut fresher = None;
        let mut at = job.version;
        match &job.origin {
            Origin::Stored(opened) => {
                at = opened.version;
                fresher = base.filter(|base| base.version != at).map(|base| (base.record, base.version));
                if opened.unseen && fresher.is_none() {
                    match self.look(key, job.now).await? {
                        Ok(found) => fresher = Some(found),
                        Err(tombstone) => return self.gone(job, tombstone).await,
                    }
                }
            }
            // It ran out while the request ran; another may have moved it before.
            Origin::Former { loaded, .. } if loaded.expires() <= job.now => match self.look(key, job.now).await? {
                Ok(found) => fresher = Some(found),
                Err(tombstone) => return self.gone(job, tombstone).await,
            },
            Origin::Former { id, loaded } => {
                // First the move, as the session was: its log-in must not be where the old cookie leads.
                let record = self.record(loaded, job.now)?;
                match self.create_surely(id, at, &record, job.now, None).await? {
                    Create::Created(written) => at = written.version,
                    Create::Exists => match self.look(key, job.now).await? {
                        Ok(found) => fresher = Some(found),
                        Err(tombstone) => return self.gone(job, tombstone).await,
                    },
                    Create::Gone(tombstone) => return self.gone(job, Some(tombstone)).await,
                    Create::Outdated => return self.outdated(job).await,
                }
            }
            _ => return Err(malformed().into()),
        }
        for attempt in 0..ATTEMPTS {
            if let Some((record, version)) = fresher.take() {
                let mut contents = self.contents(record).ok_or_else(malformed)?;
                if contents.principal.is_some() && contents.principal != job.record.principal {
                    return self.gone(job, Some(self.draw.tombstone(Why::BegunAgain, job.now))).await;
                }
                job.changes.settle(version);
                guarded(job.changes.to_do(version)?, &mut contents, self.rules.encoding)?;
                contents.issued = job.now;
                contents.guarded_until = None;
                self.put_in(job, &contents, &id)?;
                at = version;
                merged = Some(contents);
            }
            job.version = self.draw.version(&job.record, job.now);
            let tombstone = Tombstone::new(Why::Renewed { successor: successor.clone() }, job.nonce, job.now);
            match self.rename_surely(key, Some(at), &id, job.version, &job.record, tombstone, job.now).await? {
                Rename::Renamed(_) if self.is_an_earlier_one(job, &id).await? => return self.again(job).await,
                Rename::Renamed(written) => {
                    let mut done = self.begun(job, id, written.version, written.epoch);
                    if let Done::Kept(kept) = &mut done {
                        kept.merged = merged;
                    }
                    return Ok(done);
                }
                Rename::Gone(tombstone) => return self.gone(job, tombstone).await,
                Rename::Outdated => return self.outdated(job).await,
                Rename::Conflict => wait(attempt).await,
            }
            match self.look(key, job.now).await? {
                Ok(found) => fresher = Some(found),
                Err(tombstone) => return self.gone(job, tombstone).await,
            }
        }
        Err(contended().into())
    }

    /// Whether what stands under the new id is of an earlier attempt, which landed late.
    async fn is_an_earlier_one(&self, job: &mut Job, id: &SessionId) -> Result<bool, Error> {
        Ok(job.has_made(id) && self.look(id.key(), job.now).await?.is_ok_and(|(_, version)| version != job.version))
    }

    /// The session began before its principal's epoch was raised: it has ended.
    async fn outdated(&self, job: &mut Job) -> Result<Done, Failed> {
        self.gone(job, Some(self.draw.tombstone(Why::Ended, job.now))).await
    }

    /// A renewal, a log-in or a new beginning met a session that had died.
    async fn gone(&self, job: &mut Job, tombstone: Option<Tombstone>) -> Result<Done, Failed> {
        let tombstone = match job.logs_in {
            false => tombstone,
            true => match self.renewed_to(job, tombstone).await? {
                Err(tombstone) => tombstone,
                // Its new id must be dead after a log-in, too.
                Ok((key, version)) => {
                    job.origin = Origin::Stored(At { unseen: true, ..At::new(key, None, version) });
                    return self.again(job).await;
                }
            },
        };
        if job.intent == Intent::Renew
            && let Some(successor) = self.successor(job, tombstone.as_ref()).await?
        {
            // Renewed already: what was asked for is done, and what was written goes there.
            let at = At::new(successor.clone(), None, job.version);
            let merged = self.merge(job, &successor, None, None).await?;
            return self.merged(job, at, merged).await;
        }
        let why = tombstone.map(|tombstone| tombstone.why);
        let keeps_what_it_loaded = matches!(why, Some(Why::Renewed { .. })) && job.intent == Intent::LogIn;
        // What came after a `clear` needs nothing of what has ended.
        let begins_again = job.intent == Intent::End && !job.is_empty && why == Some(Why::Ended);
        if keeps_what_it_loaded || begins_again {
            return self.create(job, None).await;
        }
        if !job.logs_in {
            return Ok(Done::Dead(why));
        }
        let mut contents = self.empty(job.now);
        guarded(&job.changes.operations, &mut contents, self.rules.encoding)?;
        let id = job.new_id.clone().ok_or_else(malformed)?;
        self.put_in(job, &contents, &id)?;
        let mut done = self.create(job, None).await?;
        if let Done::Kept(kept) = &mut done {
            kept.merged = Some(contents);
        }
        Ok(done)
    }

    /// The end of one session and the beginning of another.
    async fn begin_again(&self, job: &mut Job) -> Result<Done, Failed> {
        let mut key = self.key_of(job)?;
        for _ in 0..HOPS {
            let (leader, _) = self.alone(&key).await?;
            let done = self.begin_again_alone(job, &key).await;
            leader.hand_over(|| None);
            let tombstone = match done? {
                Ok(done) => return Ok(done),
                Err(tombstone) => tombstone,
            };
            // What was cleared ends under its new id, too.
            match self.successor(job, tombstone.as_ref()).await? {
                Some(successor) if job.intent == Intent::End => key = successor,
                _ => return self.gone(job, tombstone).await,
            }
        }
        Err(contended().into())
    }

    /// Or why it is dead already.
    async fn begin_again_alone(
        &self,
        job: &mut Job,
        key: &StoreKey,
    ) -> Result<Result<Done, Option<Tombstone>>, Failed> {
        let id = job.new_id.clone().ok_or_else(malformed)?;
        let tombstone = Tombstone::new(Why::BegunAgain, job.nonce, job.now);
        if let Origin::Former { loaded, id, .. } = &job.origin
            && id.key() == key
        {
            let tombstone = tombstone.until(loaded.guarded_until);
            return match self.delete_surely(key, tombstone, job.now).await? {
                Delete::Gone(Some(tombstone)) => Ok(Err(Some(tombstone))),
                _ => self.create(job, None).await.map(Ok),
            };
        }
        match self.rename_surely(key, None, &id, job.version, &job.record, tombstone, job.now).await? {
            Rename::Renamed(_) if self.is_an_earlier_one(job, &id).await? => self.again(job).await.map(Ok),
            Rename::Renamed(written) => Ok(Ok(self.begun(job, id, written.version, written.epoch))),
            // The earlier attempt ended it, and went no further.
            Rename::Gone(Some(tombstone)) if tombstone.nonce == job.nonce => self.create(job, None).await.map(Ok),
            Rename::Gone(tombstone) => Ok(Err(tombstone)),
            Rename::Outdated => self.outdated(job).await.map(Ok),
            Rename::Conflict => Err(contended().into()),
        }
    }

    async fn end(&self, job: &mut Job) -> Result<Done, Failed> {
        let mut key = self.key_of(job)?;
        // Only the key that follows from the cookie: nobody has a way back to the others.
        let mut guard = match &job.origin {
            Origin::Former { loaded, .. } => loaded.guarded_until,
            _ => None,
        };
        let moved = job.made.clone().and_then(|made| Some((made.id?, made.nonce)));
        // One that tells a rename which lands late from this.
        let nonce = if moved.is_some() { self.draw.nonce(job.now, key.hash64()) } else { job.nonce };
        for _ in 0..HOPS {
            let (leader, _) = self.alone(&key).await?;
            let tombstone = Tombstone::new(Why::Ended, nonce, job.now).until(guard);
            let ended = self.delete_surely(&key, tombstone, job.now).await;
            leader.hand_over(|| None);
            match ended? {
                Delete::Deleted => return Ok(Done::Ended),
                Delete::Gone(None) if guard.is_some() => return Ok(Done::Ended),
                Delete::Gone(tombstone) => match (&moved, &tombstone) {
                    // The earlier attempt landed late: the session is there.
                    (Some((id, nonce)), Some(tombstone)) if tombstone.nonce == *nonce => key = id.key().clone(),
                    _ => match self.successor(job, tombstone.as_ref()).await? {
                        Some(successor) => (key, guard) = (successor, None),
                        None => return Ok(Done::Dead(tombstone.map(|tombstone| tombstone.why))),
                    },
                },
                Delete::Conflict => return Err(contended().into()),
            }
        }
        Err(contended().into())
    }

    /// Writes a session that was in the cookie to the store for the first time.
    async fn migrate(&self, job: &mut Job, id: SessionId) -> Result<Done, Failed> {
        let at = At { reissue: true, ..At::new(id.key().clone(), Some(id.clone()), job.version) };
        // It ran out while the request ran.
        if matches!(&job.origin, Origin::Former { loaded, .. } if loaded.expires() <= job.now) {
            let merged = match self.look(id.key(), job.now).await? {
                Ok(_) => self.merge(job, id.key(), None, None).await?,
                Err(tombstone) => Merged::Gone(tombstone),
            };
            return self.merged(job, at, merged).await;
        }
        let created = self.create_surely(&id, job.version, &job.record, job.now, None).await.map_err(|error| {
            let operations = job.changes.operations.len();
            Failed { error, doubt: Some(Doubt { at: None, mine: job.version, operations, revived: false }) }
        });
        match created? {
            Create::Created(written) => {
                if job.is_empty {
                    job.cookie = self.removal()?;
                }
                Ok(self.begun(job, id, written.version, written.epoch))
            }
            // A request in parallel moved the same cookie first: this is its session too, if it has not ended.
            Create::Exists => {
                let merged = self.merge(job, id.key(), None, None).await?;
                self.merged(job, at, merged).await
            }
            Create::Gone(tombstone) => self.merged(job, at, Merged::Gone(Some(tombstone))).await,
            Create::Outdated => Ok(Done::Dead(Some(Why::Ended))),
        }
    }

    fn key_of(&self, job: &Job) -> Result<StoreKey, Error> {
        match &job.origin {
            Origin::Stored(at) => Ok(at.key.clone()),
            Origin::Former { id, .. } => Ok(id.key().clone()),
            _ => Err(malformed()),
        }
    }

    fn removal_of(&self, at: &At) -> Result<Vec<HeaderValue>, Error> {
        if at.id.is_some() { self.removal() } else { Ok(Vec::new()) }
    }
}

impl Job {
    /// Whether an earlier attempt may have put the session under this id.
    fn has_made(&self, id: &SessionId) -> bool {
        self.made.as_ref().and_then(|made| made.id.as_ref()).is_some_and(|made| made.key() == id.key())
    }
}

impl State {
    /// A session that may have been stored, of which nobody knows, and that was cleared: it has to be ended.
    fn end_what_was_made(&mut self) {
        let ends = self.intent == Intent::End && self.contents.is_empty();
        let is_elsewhere = matches!(self.origin, Origin::Stored(_) | Origin::Former { .. });
        if ends
            && !is_elsewhere
            && let Some(Made { id: Some(id), mine, .. }) = self.made.take_if(|made| made.id.is_some())
        {
            self.origin = Origin::Stored(At { unseen: true, ..At::new(id.key().clone(), Some(id), mine) });
        }
    }

    /// All of it is saved. What was done is returned, to be dropped where no lock is held.
    #[must_use]
    fn settled(&mut self) -> Vec<Operation> {
        self.changed = false;
        self.sets_lifetime = false;
        self.intent = Intent::Keep;
        self.doubt = None;
        self.made = None;
        mem::take(&mut self.operations)
    }

    /// The session is here now; a cookie that an earlier commit of this request left due still is.
    fn keep(&mut self, at: At, epoch: Option<u64>, cookie: Vec<HeaderValue>) {
        self.origin = Origin::Stored(at);
        if self.intent < Intent::LogIn {
            self.contents.begin_in(epoch);
        }
        if !cookie.is_empty() {
            self.due = cookie;
        }
    }
}

/// All of it is still to be done; what came meanwhile goes behind it. What is not to be done any more is returned, to be dropped where no lock
/// is held.
#[must_use]
fn give_back(job: Job) -> Vec<Operation> {
    let mut operations = job.changes.operations;
    // What was not even begun is not found, and begun as this.
    let made = (job.plan.makes_an_id() || job.plan == Plan::End).then(|| Made {
        id: job.new_id.or(job.made.as_ref().and_then(|made| made.id.clone())),
        mine: job.version,
        nonce: job.nonce,
        operations: operations.len(),
        intent: job.intent,
    });
    let made = made.or(job.made);
    let mut state = job.session.lock();
    // A closed session keeps nothing: a closure may own it.
    if state.phase == Phase::Closed {
        return operations;
    }
    if job.is_lost {
        state.phase = Phase::Panicked;
        return operations;
    }
    if state.intent < Intent::Switch {
        state.changed |= !operations.is_empty();
        state.sets_lifetime |= job.sets_lifetime;
        operations.append(&mut state.operations);
        mem::swap(&mut state.operations, &mut operations);
        state.doubt = job.changes.doubt;
        state.made = made;
    } else {
        state.made = made.map(Made::outdated);
    }
    state.intent = state.intent.max(job.intent);
    operations
}

/// A `set_lifetime` that is over as it begins is refused; a session that runs out while its request runs is another matter.
fn refuse_ended_lifetime(state: &State, now: Timestamp) -> Result<(), Error> {
    if state.sets_lifetime && state.contents.expires() <= now {
        let why = "set_lifetime: this session began longer ago than its new absolute timeout, which would end it at once; \
                   call set_principal or clear first, or give it a longer one";
        return Err(Error::setting(why));
    }
    Ok(())
}

/// The session went on elsewhere: what was done may be repeated, unless it may be in there.
fn conflict(doubt: Option<&Doubt>) -> Error {
    if doubt.is_some_and(|doubt| doubt.operations > 0) {
        return may_have_been_done();
    }
    telemetry::met_another();
    Error::new(
        Kind::Conflict,
        "another request logged in with this session, or it expired, while this one ran; nothing was saved, and it may be repeated",
    )
}

fn panicked() -> Error {
    Error::new(Kind::Panicked, "a handler or task panicked; nothing was saved")
}

fn ended_meanwhile() -> Error {
    Error::new(Kind::Closed, "the session ended while this request ran; its changes are discarded")
}

pub(super) fn gone_with_its_runtime() -> Error {
    crate::store::StoreError::new("the task that saved the session ended early").into()
}
