//! A plan, carried out on the store.

use std::{mem, pin::Pin};

use super::{
    Inner,
    happened::Happened,
    job::{ATTEMPTS, Begun, Done, HOPS, Job, Kept, Replacing, contended, gone_with_its_runtime, guarded, malformed},
    plan::{Plan, is_followed},
    queue::{Base, Changes, Entered, Failed, Leader, Merged, Turn},
};
use crate::{
    data::Contents,
    dialect::{Body, SessionId},
    error::{Error, Kind},
    journal::Operation,
    state::{At, Doubt, Intent, Origin},
    store::{Answer, Create, Delete, Load, Rename, StoreKey, Tombstone, Touch, Version, Why},
    telemetry::{self, EndReason},
};

impl Inner {
    pub(super) async fn execute(&self, job: &mut Job, begun: Option<Begun>) -> Result<Done, Failed> {
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
        job.has_asked = true;
        if matches!(found, Err(None)) {
            return Ok(None);
        }
        job.made = None;
        job.happened.add(Happened::anew(made.intent, job.was_alive()));
        let logs_in_since = job.changes.operations.iter().skip(made.operations).any(Operation::logs_in);
        let rest = match job.intent {
            intent if intent > made.intent => intent,
            _ if logs_in_since => Intent::LogIn,
            _ => Intent::Keep,
        };
        job.changes.doubt = Some(Doubt { at: None, mine: made.mine, operations: made.operations, revived: false });
        if rest != Intent::Keep && !(rest == Intent::End && job.is_empty) {
            let fresh = self.give_another_id(job)?;
            job.nonce = self.draw.nonce(job.now, fresh.key().hash64());
        }
        let version = match found {
            Ok((_, version)) => version,
            // It was done, and ended since: nobody else knew the id. A log-in that was ended is not done again.
            Err(Some(Tombstone { why: Why::Ended, .. })) if rest == Intent::Keep => {
                return Ok(Some(self.begun(job, id, made.mine, 0)));
            }
            Err(tombstone) if rest == Intent::Keep => {
                job.logs_in = false;
                return Ok(Some(Done::Dead(tombstone.map(|tombstone| tombstone.why))));
            }
            Err(tombstone) => return self.gone(job, tombstone).await.map(Some),
        };
        let key = id.key().clone();
        job.origin = Origin::Stored(At { reissue: true, unseen: true, ..At::new(key, Some(id), version) });
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
        let version = at.is_known().then_some(at.version);
        job.changes.follows = at.id.is_none();
        let merged = self.merge(job, &at.key, version, begun).await?;
        self.merged(job, at, merged).await
    }

    /// What a replacement came to.
    async fn merged(&self, job: &mut Job, mut at: At, mut merged: Merged) -> Result<Done, Failed> {
        for _ in 0..HOPS {
            match merged {
                Merged::Kept { version, record, is_empty, revived, emptied, is_merged } => {
                    let emptied = emptied && (is_merged || !at.empty);
                    if is_empty && emptied && job.changed {
                        job.happened.add(Happened::ended(EndReason::Emptied));
                    }
                    at = At { version, touch: false, reissue: false, empty: is_empty, ..at };
                    let contents = if is_merged { Some(self.contents(record).ok_or_else(malformed)?) } else { None };
                    let cookie = match (&at.id, &contents) {
                        (None, _) => Vec::new(),
                        (Some(_), _) if is_empty && emptied && job.changed => self.removal()?,
                        // Another emptied it, and may have logged in since: only whoever empties a session removes its cookie.
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
                    job.changes.follows = true;
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
            Load::Found(..) | Load::Missing | Load::Malformed => Ok(None),
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
        match store.touch(&at.key, at.version, job.record.idle_expires, job.now).await {
            // On a conflict somebody wrote meanwhile, which moved the expiry too.
            Ok(Touch::Touched | Touch::Conflict) => {
                let at = At { touch: false, reissue: false, ..at };
                Ok(Done::Kept(Kept { at, epoch: None, cookie: mem::take(&mut job.cookie), merged: None }))
            }
            Ok(Touch::Gone(tombstone)) => self.merged(job, at, Merged::Gone(tombstone)).await,
            // Nothing of the visitor's is lost. The next request touches it, and sets the cookie, which must not outlive the record.
            Err(error) => {
                telemetry::not_touched(&error.into());
                Ok(Done::Kept(Kept { at, epoch: None, cookie: Vec::new(), merged: None }))
            }
        }
    }

    async fn create(&self, job: &mut Job, mut begun: Option<Answer<'static, Create>>) -> Result<Done, Failed> {
        for _ in 0..ATTEMPTS {
            let id = job.new_id.clone().ok_or_else(malformed)?;
            match self.create_surely(&id, job.version, &job.record, job.cap.as_ref(), job.now, begun.take()).await? {
                Create::Created(written) => {
                    job.happened.add(Happened::anew(job.intent, job.comes_from_elsewhere()));
                    job.happened.add(Happened::made_room(written.ended));
                    return Ok(self.begun(job, id, written.version, written.epoch));
                }
                // The earlier attempt landed late.
                Create::Exists if job.has_made(&id) => return self.again(job).await,
                Create::Exists => drop(self.give_another_id(job)?),
                // It was created, and ended since: nobody else knew the id.
                Create::Gone(_) => {
                    job.happened.add(Happened::anew(job.intent, job.comes_from_elsewhere()));
                    return Ok(self.begun(job, id, job.version, 0));
                }
                Create::Outdated => return Ok(Done::Dead(Some(Why::Ended))),
                Create::Full => return Ok(Done::Full),
            }
        }
        Err(contended().into())
    }

    /// Another new id than the one that was drawn first, with its cookie.
    fn give_another_id(&self, job: &mut Job) -> Result<SessionId, Error> {
        let id = self.new_id();
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
        let successor = (job.intent == Intent::Renew && self.rules.format.beside.principal).then(|| id.key().clone());
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
                match self.create_surely(id, at, &record, None, job.now, None).await? {
                    Create::Created(written) => at = written.version,
                    Create::Exists => match self.look(key, job.now).await? {
                        Ok(found) => fresher = Some(found),
                        Err(tombstone) => return self.gone(job, tombstone).await,
                    },
                    Create::Gone(tombstone) => return self.gone(job, Some(tombstone)).await,
                    Create::Outdated => return self.outdated(job).await,
                    Create::Full => return Ok(Done::Full),
                }
            }
            _ => return Err(malformed().into()),
        }
        for attempt in 0..ATTEMPTS {
            if let Some((record, version)) = fresher.take() {
                let mut contents = self.contents(record).ok_or_else(malformed)?;
                let mine = self.contents(job.record.clone()).and_then(|mine| self.rules.format.principal(&mine));
                if self.rules.format.principal(&contents).is_some_and(|stands| Some(stands) != mine) {
                    return self.gone(job, Some(self.draw.tombstone(Why::BegunAgain, job.now))).await;
                }
                job.changes.settle(version);
                guarded(job.changes.to_do(version)?, &mut contents, &self.rules.format)?;
                contents.issued = job.now;
                self.renewed(job.intent, &mut contents)?;
                contents.guarded_until = None;
                self.put_in(job, &contents, &id)?;
                at = version;
                merged = Some(contents);
            }
            job.version = self.version(&mut job.record, job.now)?;
            let tombstone = Tombstone::new(Why::Renewed { successor: successor.clone() }, job.nonce, job.now);
            match self
                .rename_surely(key, Some(at), &id, job.version, &job.record, tombstone, job.cap.as_ref(), job.now)
                .await?
            {
                Rename::Renamed(_) if self.is_an_earlier_one(job, &id).await? => return self.again(job).await,
                Rename::Renamed(written) => {
                    job.happened.add(Happened::anew(job.intent, job.was_alive()));
                    job.happened.add(Happened::made_room(written.ended));
                    let mut done = self.begun(job, id, written.version, written.epoch);
                    if let Done::Kept(kept) = &mut done {
                        kept.merged = merged;
                    }
                    return Ok(done);
                }
                Rename::Gone(tombstone) => return self.gone(job, tombstone).await,
                Rename::Outdated => return self.outdated(job).await,
                Rename::Full => return Ok(Done::Full),
                Rename::Conflict => self.wait(attempt).await,
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
            job.changes.follows = true;
            let merged = self.merge(job, &successor, None, None).await?;
            return self.merged(job, at, merged).await;
        }
        let why = tombstone.map(|tombstone| tombstone.why);
        let keeps_what_it_loaded = matches!(why, Some(Why::Renewed { .. })) && job.intent == Intent::LogIn;
        // What came after a `clear` needs nothing of what has ended.
        let begins_again = job.intent == Intent::End && !job.is_empty && why == Some(Why::Ended);
        if keeps_what_it_loaded || begins_again {
            if keeps_what_it_loaded && let Some(principal) = job.record.principal.as_deref() {
                // It is one session more beside the one that the other request goes on in.
                job.record.lineage = self.draw.nonce(job.now, principal).max(1);
                job.session.lock().contents.lineage = job.record.lineage;
            }
            return self.create(job, None).await;
        }
        if !job.logs_in {
            return Ok(Done::Dead(why));
        }
        let mut contents = self.empty(job.now);
        guarded(&job.changes.operations, &mut contents, &self.rules.format)?;
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
        if let Origin::Former { loaded, id } = &job.origin
            && id.key() == key
            && job.cap.is_some()
        {
            // The log-in may be refused, and the former session must not have ended then: first the move.
            let mut record = self.record(loaded, job.now)?;
            let version = self.version(&mut record, job.now)?;
            match self.create_surely(id, version, &record, None, job.now, None).await? {
                Create::Created(_) | Create::Exists | Create::Full => {}
                Create::Gone(tombstone) => return Ok(Err(Some(tombstone))),
                Create::Outdated => return self.outdated(job).await.map(Ok),
            }
        } else if let Origin::Former { loaded, id, .. } = &job.origin
            && id.key() == key
        {
            let tombstone = tombstone.until(loaded.guarded_until);
            return match self.delete_surely(key, tombstone, job.now).await? {
                Delete::Gone(Some(tombstone)) => Ok(Err(Some(tombstone))),
                _ => self.begin_after_the_end(job).await.map(Ok),
            };
        }
        match self.rename_surely(key, None, &id, job.version, &job.record, tombstone, job.cap.as_ref(), job.now).await?
        {
            Rename::Renamed(_) if self.is_an_earlier_one(job, &id).await? => self.again(job).await.map(Ok),
            Rename::Renamed(written) => {
                job.happened.add(Happened::anew(job.intent, job.was_alive()));
                job.happened.add(Happened::made_room(written.ended));
                Ok(Ok(self.begun(job, id, written.version, written.epoch)))
            }
            // The earlier attempt ended it, and went no further.
            Rename::Gone(Some(tombstone)) if tombstone.nonce == job.nonce => {
                self.begin_after_the_end(job).await.map(Ok)
            }
            Rename::Gone(tombstone) => Ok(Err(tombstone)),
            Rename::Outdated => self.outdated(job).await.map(Ok),
            Rename::Full => Ok(Ok(Done::Full)),
            Rename::Conflict => Err(contended().into()),
        }
    }

    /// The one has ended, by this commit.
    async fn begin_after_the_end(&self, job: &mut Job) -> Result<Done, Failed> {
        job.happened.add(Happened::anew(job.intent, job.was_alive()));
        self.create(job, None).await
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
                Delete::Deleted => return Ok(self.cleared(job)),
                Delete::Gone(None) if guard.is_some() => return Ok(self.cleared(job)),
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

    fn cleared(&self, job: &mut Job) -> Done {
        // One that had been emptied was over.
        if job.was_alive() {
            job.happened.add(Happened::ended(EndReason::Cleared));
        }
        Done::Ended
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
        let created = self.create_surely(&id, job.version, &job.record, None, job.now, None).await.map_err(|error| {
            let operations = job.changes.operations.len();
            Failed { error, doubt: Some(Doubt { at: None, mine: job.version, operations, revived: false }) }
        });
        match created? {
            Create::Created(written) => {
                if job.is_empty {
                    job.cookie = self.removal()?;
                    job.happened.add(Happened::ended(EndReason::Emptied));
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
            Create::Full => Ok(Done::Full),
        }
    }

    pub(super) fn key_of(&self, job: &Job) -> Result<StoreKey, Error> {
        match &job.origin {
            Origin::Stored(at) => Ok(at.key.clone()),
            Origin::Former { id, .. } => Ok(id.key().clone()),
            _ => Err(malformed()),
        }
    }
}
