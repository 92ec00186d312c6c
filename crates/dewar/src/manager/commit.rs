//! A commit: planned when it has its turn, and what came of it brought back to the session.

use std::{
    future::ready,
    mem,
    num::NonZeroU32,
    sync::Arc,
    task::{Context, Poll},
};

use http::HeaderValue;

use super::{
    AtMax, Commit, Inner, Running,
    edit::needs_a_response,
    happened::Happened,
    job::{Begun, Done, Job, Kept, Replacing, conflict, gone_with_its_runtime, guarded, malformed},
    plan::{Facts, Plan, plan},
    queue::{Base, Changes, Failed},
    random,
};
use crate::{
    data::Contents,
    dialect::Body,
    error::{Error, Kind},
    journal::Operation,
    lifetime::Timestamp,
    meaning::Change,
    session::Session,
    state::{At, Failing, Intent, Made, Origin, Phase, Settled, State},
    store::{Cap, Create, Ending, ErasedStore, Replace, Version, Why},
    telemetry::{self, EndReason, Outcome, Watch},
};

/// The most bytes of a session on a store: 1 MiB. Every request costs its whole size, and a visitor may be the one who makes it grow.
const LARGEST_RECORD: usize = 1 << 20;

/// What a commit begins with.
#[allow(clippy::large_enum_variant)] // It lives for a moment, and a box would be an allocation for every write.
enum Next {
    /// With what was done, to be dropped where no lock is held: closures own what is the application's. And with what happened, to be told there.
    Known(Result<Outcome, Error>, Vec<Operation>, Happened),
    Job(Job),
}

impl Next {
    fn failed(error: Error) -> Self {
        Self::Known(Err(error), Vec::new(), Happened::default())
    }
}

impl Inner {
    /// Commits, as far as nothing has to be waited for; a final commit closes the session.
    pub(super) fn begin(self: &Arc<Self>, session: &Session, is_final: bool, context: &mut Context<'_>) -> Commit {
        let mut watch = Watch::commit(self.dialect.profile().name);
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
            Box::pin(watch.follow(async move {
                let Ok(mut turn) = turn.await else { return Err(gone_with_its_runtime()) };
                turn.begin();
                let next = match &mut *session.lock() {
                    State { phase: Phase::Panicked, .. } => Next::failed(panicked()),
                    // Closed while it waited: what the request did is dropped.
                    State { phase: Phase::Closed, .. } => {
                        Next::failed(Error::new(Kind::Closed, "the session was closed before it could be committed"))
                    }
                    state => inner.next(&session, state, is_final),
                };
                let result = match next {
                    Next::Known(result, done, happened) => {
                        drop(done);
                        happened.tell(&inner.listeners);
                        result
                    }
                    Next::Job(job) => inner.carry_out(job, None).await,
                };
                turn.end();
                result
            }))
        } else {
            let entered = watch.enter();
            let mut job = match self.next(session, &mut state, is_final) {
                Next::Known(result, done, happened) => {
                    drop(state);
                    drop(done);
                    happened.tell(&self.listeners);
                    drop(entered);
                    return Commit::Known(watch.committed(result));
                }
                Next::Job(job) => job,
            };
            let mut turn = state.take_turn(session);
            drop(state);
            let done = self.store_now(&mut job, context);
            drop(entered);
            match done {
                Ok(result) => {
                    if result.is_ok() {
                        job.happened.tell(&self.listeners);
                    }
                    return Commit::Known(watch.committed(result));
                }
                Err(begun) => {
                    let inner = Arc::clone(self);
                    Box::pin(watch.follow(async move {
                        turn.begin();
                        let result = inner.carry_out(job, begun).await;
                        turn.end();
                        result
                    }))
                }
            }
        };
        self.run(running, context)
    }

    /// Plans, and does at once what needs no store.
    fn next(&self, session: &Session, state: &mut State, is_final: bool) -> Next {
        if let Some((_, failure)) = state.failures.first_key_value() {
            return Next::failed(failure.copy());
        }
        let now = self.clock.now();
        state.end_what_stands();
        if let Some(brought) = &mut state.brought {
            brought.is_over |= state.intent >= Intent::Switch || state.removed.is_some();
        }
        let touched = state.changed || state.intent != Intent::Keep;
        let logs_in = self.logs_in(state.intent, &state.contents);
        let plan = plan(&Facts {
            origin: &state.origin,
            intent: state.intent,
            logs_in,
            touched,
            written: state.changed,
            changed: if self.rules.replays { state.has_changes() } else { touched },
            empty: state.contents.is_empty(),
            on_store: self.store.is_some(),
            now,
        });
        let mut dropped = Vec::new();
        let mut happened = Happened::default();
        let is_alive = !matches!(state.origin, Origin::Fresh { .. });
        let done = match plan {
            _ if !state.is_visit && plan.makes_an_id() => Err(needs_a_response()),
            Plan::Nothing => Ok(Outcome::Nothing),
            Plan::Drop => {
                telemetry::discarded();
                dropped = state.settled();
                state.contents = self.empty(now);
                if is_final { Ok(Outcome::Nothing) } else { Err(ended_meanwhile()) }
            }
            Plan::Again => Err(conflict(state.settled.or_may_be(state.doubt.as_ref()))),
            Plan::Cookie => self.freeze(state, now).map(|()| {
                happened = Happened::anew(state.intent, is_alive);
                happened.add(Happened::authenticated(logs_in));
                dropped = state.settled();
                Outcome::Written
            }),
            Plan::Remove => self.removal().map(|cookies| {
                if is_alive {
                    happened = Happened::ended(match state.intent {
                        Intent::End => EndReason::Cleared,
                        _ => EndReason::Emptied,
                    });
                }
                state.due = cookies;
                state.origin = Origin::Fresh { refused: false };
                dropped = state.settled();
                Outcome::Written
            }),
            _ => match self.job(session, state, plan, now, is_final) {
                Ok(job) => return Next::Job(job),
                Err(error) => Err(error),
            },
        };
        Next::Known(done, dropped, happened)
    }

    fn logs_in(&self, intent: Intent, contents: &Contents) -> bool {
        match intent {
            Intent::Keep | Intent::Renew => false,
            Intent::LogIn | Intent::Switch => true,
            Intent::End => self.rules.format.principal(contents).is_some(),
        }
    }

    /// The cookie as the session is now: what a response carries, whatever comes later.
    fn freeze(&self, state: &mut State, now: Timestamp) -> Result<(), Error> {
        state.contents.issued = now;
        refuse_ended_lifetime(state, now)?;
        self.renewed(state.intent, &mut state.contents)?;
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

    /// What a framework ties to the id changes with it.
    pub(super) fn renewed(&self, intent: Intent, contents: &mut Contents) -> Result<(), Error> {
        match intent {
            Intent::Renew | Intent::LogIn | Intent::Switch => {
                if let Some(layout) = self.store.as_ref().and_then(|store| store.layout()) {
                    layout.renewed(contents)?;
                }
                self.rules.format.set(&mut contents.data, Change::Renewed(random))
            }
            Intent::Keep | Intent::End => Ok(()),
        }
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
        if state.is_visit {
            state.contents.issued = now;
        }
        refuse_ended_lifetime(state, now)?;
        // Only the id that follows from a cookie is guarded.
        if plan.makes_an_id() {
            state.contents.guarded_until = None;
        }
        self.renewed(state.intent, &mut state.contents)?;
        if plan.makes_an_id() {
            self.rules.format.set(&mut state.contents.data, Change::Begun(random))?;
        }
        let mut record = self.record(&state.contents, now)?;
        if record.data.len() > LARGEST_RECORD {
            let largest = super::largest_entries(&state.contents);
            let bytes = record.data.len();
            let why = format!(
                "the session has {bytes} bytes, and {LARGEST_RECORD} are the most; its largest entries: {largest}"
            );
            return Err(Error::new(Kind::TooLarge, why));
        }
        let version = self.version(&mut record, now)?;
        // Another commit goes on from what this one writes.
        state.contents.extra = record.extra.clone();
        let earlier = state.made.as_ref().and_then(|made| made.id.clone());
        let new_id = plan.makes_an_id().then(|| earlier.unwrap_or_else(|| self.new_id()));
        let id = match (&new_id, &state.origin) {
            (Some(id), _) | (None, Origin::Former { id, .. }) => Some(id),
            (None, Origin::Stored(at)) => at.id.as_ref().filter(|_| self.sets_cookie_again(state, at)),
            _ => None,
        };
        let cookie = match id.filter(|_| plan != Plan::End) {
            Some(id) => self.cookies(Body::Id(id), &state.contents)?,
            None => Vec::new(),
        };
        let format = &self.rules.format;
        let whose =
            format.within.principal.then(|| state.removed.clone().or_else(|| format.principal(&state.contents)));
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
            cap: self.cap.filter(|_| logs_in).map(|cap| self.checked_against(cap, now)),
            origin: state.origin.clone(),
            changes: Changes {
                operations,
                doubt: state.doubt.take(),
                settled: mem::take(&mut state.settled),
                follows: false,
                is_edit: !state.is_visit,
                whose,
            },
            changed,
            is_lost: false,
            version,
            record,
            is_empty: state.contents.is_empty(),
            new_id,
            cookie,
            is_final,
            sets_lifetime: mem::take(&mut state.sets_lifetime),
            nonce: made.as_ref().map_or_else(|| self.draw.nonce(now, drawn_for), |made| made.nonce),
            made,
            has_asked: false,
            happened: Happened::authenticated(logs_in),
        })
    }

    /// Whether the browser needs its cookie again, although it has one.
    fn sets_cookie_again(&self, state: &State, at: &At) -> bool {
        // A session that is persistent no more needs a cookie without an end, too.
        let outlives_browser = || self.rules.format.is_persistent(&state.contents);
        at.reissue || at.empty || state.sets_lifetime || state.changed && outlives_browser()
    }

    /// The plain cases, and the fast ones: nobody else in this process writes to the session, and the store answers at once.
    fn store_now(&self, job: &mut Job, context: &mut Context<'_>) -> Result<Result<Outcome, Error>, Option<Begun>> {
        match (job.plan, &job.origin, &self.store) {
            (Plan::Replace, Origin::Stored(at), Some(store)) if at.is_known() && job.changes.doubt.is_none() => {
                let is_emptied = job.is_empty && !at.empty;
                let done = self.replace_now(job, at, store, context);
                if is_emptied && let Ok(Ok(_)) = done {
                    job.happened.add(Happened::ended(EndReason::Emptied));
                }
                done
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
    ) -> Result<Result<Outcome, Error>, Option<Begun>> {
        let id = job.new_id.as_ref().ok_or(None)?;
        let mut answer =
            Arc::clone(store).create(id.key().clone(), job.version, job.record.clone(), job.cap.clone(), job.now);
        let written = match answer.as_mut().poll(context) {
            Poll::Ready(Ok(Create::Created(written))) => written,
            Poll::Ready(other) => return Err(Some(Begun::Create(Box::pin(ready(other))))),
            Poll::Pending => return Err(Some(Begun::Create(answer))),
        };
        let at = At { empty: job.is_empty, ..At::new(id.key().clone(), Some(id.clone()), written.version) };
        let cookie = mem::take(&mut job.cookie);
        job.session.lock().keep(at, Some(written.epoch), cookie);
        job.happened.add(Happened::anew(job.intent, job.comes_from_elsewhere()));
        job.happened.add(Happened::made_room(written.ended));
        Ok(Ok(Outcome::Written))
    }

    fn replace_now(
        &self,
        job: &Job,
        at: &At,
        store: &Arc<dyn ErasedStore>,
        context: &mut Context<'_>,
    ) -> Result<Result<Outcome, Error>, Option<Begun>> {
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
        let was_empty = at.empty;
        let at = At { version, touch: false, reissue: false, empty: job.is_empty, ..at.clone() };
        let cookie = match job.is_empty {
            true if was_empty => Ok(Vec::new()),
            true => self.removal_of(&at),
            false => Ok(job.cookie.clone()),
        };
        Ok(cookie.map(|cookie| {
            job.session.lock().keep(at, None, cookie);
            Outcome::Written
        }))
    }

    /// Brings what a request did to the store, and what came of it back to the session.
    async fn carry_out(self: Arc<Self>, mut job: Job, begun: Option<Begun>) -> Result<Outcome, Error> {
        let done = self.execute(&mut job, begun).await;
        let done = match done {
            Ok(done @ (Done::Kept(_) | Done::Ended)) if job.session.lock().brought.is_some() => {
                Ok(Box::pin(self.leave(&mut job, done)).await)
            }
            done => done,
        };
        let happened = job.happened;
        match done {
            Ok(Done::Kept(Kept { mut at, epoch, cookie, merged })) => {
                if let Origin::Former { id, .. } = &job.origin {
                    // Whoever waits for its end may have begun before it stood there.
                    self.watched.is_stored(id.key());
                    self.watched.told(Ending::Of(id.key().clone()));
                }
                at.unseen = merged.is_some();
                job.session.lock().keep(at, epoch, cookie);
                happened.tell(&self.listeners);
                if let Some(mut merged) = merged {
                    // What was written has an epoch now: without it, the next write would count as begun after a raise.
                    merged.begin_in(epoch);
                    // What fails here fails again, and is reported, when it is committed.
                    let _ = self.refresh(&job.session, merged);
                }
                Ok(Outcome::Written)
            }
            Ok(Done::Ended) => {
                if let Ok(key) = self.key_of(&job) {
                    self.watched.told(Ending::Of(key));
                }
                happened.tell(&self.listeners);
                let cookies = self.removal()?;
                let mut state = job.session.lock();
                state.due = cookies;
                state.origin = Origin::Fresh { refused: false };
                Ok(Outcome::Written)
            }
            Ok(Done::Dead(why)) => self.session_died(job, why),
            Ok(Done::Full) => Err(Box::pin(self.log_in_refused(job)).await),
            Err(Failed { error, doubt }) => {
                job.changes.doubt = doubt.or(job.changes.doubt);
                let dropped = give_back(job);
                drop(dropped);
                Err(error)
            }
        }
    }

    /// What a log-in is checked against.
    fn checked_against(&self, (most, at_max): (NonZeroU32, AtMax), now: Timestamp) -> Cap {
        let end_oldest = match at_max {
            AtMax::EndOldest => Some(self.draw.tombstone(Why::Ended, now)),
            AtMax::RefuseLogIn => None,
        };
        Cap { most, end_oldest }
    }

    /// The user has as many sessions as may be: the request goes on in the session as it was before.
    async fn log_in_refused(&self, job: Job) -> Error {
        let now = job.now;
        let was = match &job.origin {
            Origin::Former { loaded, .. } => Ok(*loaded.clone()),
            Origin::Stored(at) => match self.look(&at.key, now).await {
                Ok(Ok((record, _))) => self.contents(record).ok_or_else(malformed),
                Ok(Err(_)) => Ok(self.empty(now)),
                Err(error) => Err(error),
            },
            _ => Ok(self.empty(now)),
        };
        let session = job.session.clone();
        drop(job);
        if let Err(error) = was.and_then(|was| self.refresh(&session, was)) {
            // What the log-in made of it must not stay.
            let mut state = session.lock();
            state.contents = self.empty(now);
            state.origin = Origin::Lost(None);
            return error;
        }
        telemetry::log_in_refused();
        Error::new(Kind::Full, "the user has as many sessions as max_sessions_per_user allows; nothing was saved")
    }

    /// The session died under this request.
    fn session_died(&self, job: Job, why: Option<Why>) -> Result<Outcome, Error> {
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
        let may_be_done = job.changes.may_be_done();
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
            Plan::Again => Err(conflict(may_be_done)),
            // What is dead cannot be begun again from here.
            Plan::Drop | Plan::Create => {
                telemetry::discarded();
                if is_final { Ok(Outcome::Nothing) } else { Err(ended_meanwhile()) }
            }
            _ => Ok(Outcome::Nothing),
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
            result = guarded(&newer, &mut contents, &self.rules.format);
            replayed.extend(newer);
            if result.is_err() {
                break;
            }
        }
        session.lock().operations.splice(0..0, replayed);
        result
    }

    fn removal_of(&self, at: &At) -> Result<Vec<HeaderValue>, Error> {
        if at.id.is_some() { self.removal() } else { Ok(Vec::new()) }
    }
}

impl State {
    /// What was cleared and stands somewhere all the same has to be ended: a session that may have been stored, of which nobody knows, and a record
    /// that nobody here can read.
    fn end_what_stands(&mut self) {
        if self.intent != Intent::End {
            return;
        }
        let stands = match &self.origin {
            Origin::Unreadable(id) => Some((id.clone(), Version::default())),
            Origin::Stored(_) | Origin::Former { .. } => None,
            _ if !self.contents.is_empty() => None,
            _ => self.made.take_if(|made| made.id.is_some()).and_then(|made| Some((made.id?, made.mine))),
        };
        if let Some((id, version)) = stands {
            self.origin = Origin::Stored(At { unseen: true, ..At::new(id.key().clone(), Some(id), version) });
        }
    }

    /// All of it is saved. What was done is returned, to be dropped where no lock is held.
    #[must_use]
    fn settled(&mut self) -> Vec<Operation> {
        self.changed = false;
        self.sets_lifetime = false;
        self.intent = Intent::Keep;
        self.doubt = None;
        self.settled = Settled::default();
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
    // What could not be asked for stays as it was. What was not even begun is not found, and begun as this.
    let is_unasked = job.made.is_some() && !job.has_asked;
    let made = (!is_unasked && (job.plan.makes_an_id() || job.plan == Plan::End)).then(|| Made {
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
        state.settled = job.changes.settled;
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

fn panicked() -> Error {
    Error::new(Kind::Panicked, "a handler or task panicked; nothing was saved")
}

fn ended_meanwhile() -> Error {
    Error::new(Kind::Closed, "the session ended while this request ran; its changes are discarded")
}
