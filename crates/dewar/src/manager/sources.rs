//! Sessions that another format wrote, or that are in a store which is being left: opened, and with the next commit written in the new form.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use http::HeaderValue;
use sha2::{Digest, Sha256};

use super::{
    Attempt, Closed, Found, Inner, SessionManager, Waiting,
    job::{ATTEMPTS, Done, Job, contended},
    plan::Plan,
};
use crate::{
    cookie::{Candidates, RequestCookies, Until},
    data::Contents,
    dialect::{Body, Keeps, SessionId, SetValue, Token},
    error::Error,
    journal::Operation,
    lifetime::Timestamp,
    meaning::{Change, FlashChange, Login, Principal, Timeouts},
    session::Owner,
    state::{Brought, Left, Origin},
    store::{Delete, Load, StoreKey, Tombstone, Version, Why},
    telemetry::{self, Opened},
    value::Value,
};

/// Where sessions come from that this manager did not write.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) manager: SessionManager,
    pub(crate) until: Timestamp,
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.manager.inner, &other.manager.inner) && self.until == other.until
    }
}

/// A session that came from a source.
struct Arrived {
    /// What ended after it had moved is over, whatever the source says.
    found: Found,
    left: Option<Left>,
}

impl Source {
    pub(super) fn has_store(&self) -> bool {
        self.inner().store.is_some()
    }

    pub(super) fn has_sources(&self) -> bool {
        !self.inner().sources.is_empty()
    }

    pub(super) fn has_former_domain(&self) -> bool {
        self.inner().former_domain.is_some()
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.manager.inner
    }
}

impl Inner {
    /// Opens a request's session: the manager's own, as a rule.
    pub(super) fn open_now<'a>(
        self: &'a Arc<Self>,
        request: RequestCookies<'a>,
        context: &mut Context<'_>,
    ) -> Result<Attempt, Waiting<'a>> {
        if self.sources.is_empty() {
            return self.open_own(request, context);
        }
        let now = self.clock.now();
        let sources = self.sources.iter().enumerate();
        let brought: Vec<usize> = sources
            .filter(|(_, source)| now < source.until && source.inner().has_cookie(request))
            .map(|(at, _)| at)
            .collect();
        if brought.is_empty() {
            return self.open_own(request, context);
        }
        Err(Box::pin(self.open_beside(request, brought, now)))
    }

    pub(super) fn has_cookie(&self, request: RequestCookies<'_>) -> bool {
        !Candidates::find(request, &self.cookie.name).as_slice().is_empty()
    }

    /// Opens the session of a request with a source's cookie. A session of the manager's own counts alone, also where it is over: a log-out here is one.
    async fn open_beside(
        self: &Arc<Self>,
        request: RequestCookies<'_>,
        sources: Vec<usize>,
        now: Timestamp,
    ) -> Attempt {
        let (mut session, mut outcome) = match poll_fn(|context| Poll::Ready(self.open_own(request, context))).await {
            Ok(opened) => opened?,
            Err(waits) => waits.await?,
        };
        let mut left = None;
        if matches!(session.lock().origin, Origin::Fresh { .. }) {
            for at in &sources {
                if let Some(arrived) = self.arrive(*at, request, now, &mut outcome).await? {
                    (session, outcome) = self.session(arrived.found, now);
                    left = arrived.left;
                    break;
                }
            }
        }
        session.lock().brought = Some(Box::new(Brought { sources, left, ..Brought::default() }));
        Ok((session, outcome))
    }

    /// The session that a request has at a source. A cookie that the source refuses is none, and `outcome` says so.
    async fn arrive(
        &self,
        at: usize,
        request: RequestCookies<'_>,
        now: Timestamp,
        outcome: &mut Opened,
    ) -> Result<Option<Arrived>, Error> {
        let Source { manager, until } = &self.sources[at];
        let source = &manager.inner;
        source.purge_in_background();
        let over = |found| Ok(Some(Arrived { found, left: None }));
        match source.read(request, now) {
            Ok(None) => Ok(None),
            Ok(Some(Token::Id { id, .. })) => {
                let id = source.named(id);
                let unique = source.unique_of(&id, now)?;
                if let Some(found) = self.taken_over(&unique, now).await? {
                    return over(found);
                }
                match source.backend()?.load(id.key().clone(), now).await? {
                    Load::Found(record, version) => match source.contents(record) {
                        Some(theirs) => self.leave_with(at, id.key().clone(), &theirs, version, &unique, now).await,
                        None => Ok(None),
                    },
                    Load::Gone(_) | Load::Missing | Load::Malformed => {
                        *outcome = Opened::Gone;
                        Ok(None)
                    }
                }
            }
            Ok(Some(Token::Data { contents, unique, .. })) => {
                if let Some(unique) = unique.filter(|_| self.store.is_some()) {
                    if let Some(found) = self.taken_over(&unique, now).await? {
                        return over(found);
                    }
                    let contents = match source.store {
                        None => contents,
                        // A cookie of before the source had a store: it may have moved there, or ended.
                        Some(_) => match source.take_over(contents, &unique, *until, now).await? {
                            Ok((theirs, Origin::Stored(moved))) => {
                                return self.leave_with(at, moved.key, &theirs, moved.version, &unique, now).await;
                            }
                            Ok((contents, _)) => contents,
                            Err(closed) => return over(Err(closed)),
                        },
                    };
                    return over(self.move_once(at, &contents, &unique, now).await?);
                }
                over(match &self.store {
                    None => Ok((self.transcode(source, &contents, now)?, Origin::Cookie { reissue: true })),
                    // Two strangers may hold the same bytes: nothing follows from them.
                    Some(_) => self.move_in(source, &contents, now).await?,
                })
            }
            Err(refusal) => {
                *outcome = self.refused(source.name(), refusal);
                Ok(None)
            }
        }
    }

    /// A session on a source's store, which is one visitor's alone: requests in parallel meet in one session, and its end is final.
    async fn leave_with(
        &self,
        source: usize,
        key: StoreKey,
        theirs: &Contents,
        version: Version,
        unique: &[u8; 32],
        now: Timestamp,
    ) -> Result<Option<Arrived>, Error> {
        let Source { manager, until } = &self.sources[source];
        let contents = self.transcode(&manager.inner, theirs, now)?;
        let (loaded, nonce) = (contents.clone(), nonce_of(unique));
        // Its record there can live longer than it would have when it was loaded.
        let found = self.to_be_taken_over(contents, unique, *until, manager.inner.began(theirs), now).await?;
        let left = found.is_ok().then(|| Left { source, key, version, nonce, loaded });
        Ok(Some(Arrived { found, left }))
    }

    /// What follows from an id, and from nothing that a store knows: another framework's ids are the names of its records, and the signature beside
    /// them is not.
    fn unique_of(&self, id: &SessionId, now: Timestamp) -> Result<[u8; 32], Error> {
        let cookies = self.dialect.write(Body::Id(id), &self.cookie.name, now, &mut super::random)?;
        let mut unique = Sha256::new().chain_update("dewar source\0");
        for part in std::iter::once(self.cookie.name.as_str()).chain(cookies.iter().map(|cookie| cookie.value.as_str()))
        {
            unique.update((part.len() as u64).to_be_bytes());
            unique.update(part);
        }
        Ok(unique.finalize().into())
    }

    /// When a session began, for all that its format says; `None`: it may be older than any log-out.
    fn began(&self, contents: &Contents) -> Option<Timestamp> {
        let profile = self.dialect.profile();
        let is_dated = self.rules.format.says_when_it_began() || profile.dated && profile.keeps == Keeps::Data;
        is_dated.then_some(contents.created)
    }

    /// A session in a source's cookie, which is one visitor's alone.
    async fn move_once(
        &self,
        source: usize,
        theirs: &Contents,
        unique: &[u8; 32],
        now: Timestamp,
    ) -> Result<Found, Error> {
        let Source { manager, until } = &self.sources[source];
        let source = &manager.inner;
        let contents = self.transcode(source, theirs, now)?;
        // A cookie that does not say when it was written opens for as long as its source is read.
        let opens_until = if source.rules.dated { theirs.expires() } else { *until };
        self.to_be_taken_over(contents, unique, opens_until, source.began(theirs), now).await
    }

    /// A session that is to get a random id, unless all of its user's, or everybody's, were ended since it began.
    async fn move_in(&self, source: &Self, theirs: &Contents, now: Timestamp) -> Result<Found, Error> {
        let mut contents = self.transcode(source, theirs, now)?;
        let epoch = self.backend()?.epoch(contents.principal.as_deref()).await?;
        if is_outdated(source.began(theirs), epoch) {
            return Ok(Err(Closed::Dead(self.draw.tombstone(Why::Ended, now))));
        }
        if let Some(principal) = contents.principal.as_deref() {
            contents.lineage = self.lineage(principal);
        }
        contents.epoch = Some(epoch);
        // Who only reads would run out in the middle of a visit.
        let due = source.reissue.is_due(theirs.issued, theirs.idle, now);
        Ok(Ok((contents, Origin::Foreign { due })))
    }

    /// What was in a source's session, in this manager's encoding and by its settings.
    ///
    /// # Errors
    ///
    /// Where this manager's format cannot hold an entry: it is not dropped without a word.
    fn transcode(&self, source: &Self, contents: &Contents, now: Timestamp) -> Result<Contents, Error> {
        let (from, to) = (&source.rules.format, &self.rules.format);
        let is_same = from.name == to.name && from.encoding == to.encoding;
        let mut ours = self.empty(now);
        // What does not say when it began begins with the move.
        if from.says_when_it_began() {
            ours.created = contents.created;
            ours.lineage = contents.lineage;
        }
        // Messages that stand elsewhere here, or otherwise.
        let is_alike = |name: &[u8]| to.meaning.is_flash(name) && from.encoding == to.encoding;
        let is_elsewhere = |name: &[u8]| from.meaning.is_flash(name) && !is_alike(name);
        let messages = match contents.data.iter().any(|(name, _)| is_elsewhere(name)) {
            true => from.meaning.flashes(&contents.data, from.encoding).unwrap_or_default(),
            false => Vec::new(),
        };
        // Where each is an entry of its own, it is none here.
        let mut theirs = contents.data.clone();
        if !messages.is_empty() {
            from.meaning.flash(&mut theirs, from.encoding, &[FlashChange::Take(&messages)])?;
        }
        for (name, encoded) in theirs.iter().filter(|(name, _)| is_same || !from.meaning.is_persistence(name)) {
            if !messages.is_empty() && is_elsewhere(name) {
                continue;
            }
            if from.encoding == to.encoding {
                ours.data.insert(name, encoded);
                continue;
            }
            if std::str::from_utf8(name).is_err() {
                return Err(Error::entry(name, "a name with a lone surrogate cannot be written in another format"));
            }
            let value: Value = from.encoding.read(encoded).map_err(|why| Error::entry(name, why))?;
            ours.data.insert(name, to.encoding.write(&value).map_err(|why| Error::entry(name, why))?);
        }
        if !messages.is_empty() {
            let left = messages.iter();
            let left = left.map(|flash| FlashChange::Leave { category: &flash.category, message: &flash.message });
            let changes: Vec<_> = left.collect();
            to.meaning.flash(&mut ours.data, to.encoding, &changes)?;
        }
        let cannot = |what: &str| {
            Err(Error::setting(format!("reads_also: a session has {what}, which the new session format does not keep")))
        };
        if from.says_how_long() {
            let is_persistent = from.is_persistent(contents);
            match to.says_how_long() {
                true if to.is_persistent(&ours) != is_persistent => {
                    ours.persistent = is_persistent;
                    to.set(&mut ours.data, Change::Lifetime { persistent: is_persistent, idle: self.rules.idle })?;
                }
                false if is_persistent != self.rules.persistent => return cannot("a cookie of another persistence"),
                _ => {}
            }
        }
        if is_same && from.within.timeouts != Timeouts::Nothing {
            // The entry that says so has moved.
            ours.idle = contents.idle;
        } else if contents.idle != source.rules.idle || contents.absolute != source.rules.absolute {
            let is_persistent = to.is_persistent(&ours);
            let is_kept = match to.timeouts() {
                Timeouts::All => true,
                Timeouts::IdleOfPersistent => is_persistent && contents.absolute == source.rules.absolute,
                Timeouts::ShorterOfPersistent => {
                    is_persistent && contents.absolute == source.rules.absolute && contents.idle <= self.rules.idle
                }
                Timeouts::Nothing => false,
            };
            if !is_kept {
                return cannot("a lifetime of its own");
            }
            ours.idle = contents.idle;
            to.set(&mut ours.data, Change::Lifetime { persistent: is_persistent, idle: ours.idle })?;
            if from.says_when_it_began() && to.says_when_it_began() {
                ours.absolute = contents.absolute;
            }
        }
        match &contents.label {
            Some(_) if !to.beside.label => return cannot("a label"),
            label => ours.label = label.clone(),
        }
        let (theirs, here) = (from.principal(contents), to.principal(&ours));
        if theirs.is_none() && here.is_some() && !is_same {
            return cannot("nobody's entries, one of which would say whose it is");
        }
        let principal = match theirs {
            // What was an entry there is an entry here, and may say it already.
            theirs if theirs == here => return Ok(ours),
            // Two users may look the same as text.
            Some(Principal::Unreadable(_)) if to.keeps_principal() => return cannot("a user whose name is no text"),
            theirs => theirs.map(Principal::into_text).filter(|principal| !principal.is_empty()),
        };
        match principal {
            Some(principal) if here.is_some_and(|here| here.is(&principal)) => {}
            Some(principal) if to.within.principal => {
                to.set(&mut ours.data, Change::Principal(&Login::new(principal)))?;
            }
            Some(principal) if to.beside.principal => ours.principal = Some(principal.into()),
            Some(_) if !from.within.principal => return cannot("a principal"),
            _ => {}
        }
        Ok(ours)
    }

    /// Ends the record that a session was opened from, now that the session has moved. What the source wrote meanwhile moves along; where the session
    /// ended there meanwhile, it ends here.
    ///
    /// What was written here is stored by now, so what fails at the source is no error of the request: its cookie leads to the session that has moved,
    /// until the source is over.
    pub(super) async fn leave(self: &Arc<Self>, job: &mut Job, done: Done) -> Done {
        let left = job.session.lock().brought.as_mut().and_then(|brought| brought.left.take());
        let Some(left) = left else { return done };
        let goes_on = matches!(job.plan, Plan::Migrate | Plan::Renew);
        let here = match &done {
            Done::Kept(kept) if goes_on => Some(kept.at.key.clone()),
            _ => None,
        };
        let until = self.sources[left.source].until;
        match (self.end_at_its_source(left, here.as_ref(), job.now).await, here) {
            (Ok(None), _) | (Ok(Some(_)), None) => done,
            (Ok(Some(why)), Some(here)) => {
                let tombstone = Tombstone::new(Why::Ended, job.nonce, job.now).until(Some(until));
                if let Err(error) = self.delete_surely(&here, tombstone, job.now).await {
                    telemetry::not_ended_at_its_source(&error);
                }
                Done::Dead(why)
            }
            (Err(error), _) => {
                telemetry::not_ended_at_its_source(&error);
                done
            }
        }
    }

    /// Why the session is not there any more, where it was not to be ended by this move; `Some(None)`: missing or expired. Where it does not go on
    /// `here`, nothing of the source is needed any more.
    async fn end_at_its_source(
        self: &Arc<Self>,
        mut left: Left,
        here: Option<&StoreKey>,
        now: Timestamp,
    ) -> Result<Option<Option<Why>>, Error> {
        let source = self.sources[left.source].inner();
        let store = source.backend()?;
        for _ in 0..ATTEMPTS {
            let tombstone = Tombstone::new(Why::Ended, left.nonce, now).until(Some(left.loaded.expires()));
            match (store.delete(&left.key, here.map(|_| left.version), tombstone, now).await?, here) {
                (Delete::Deleted, _) => return Ok(None),
                // A request in parallel moved it.
                (Delete::Gone(Some(tombstone)), _) if tombstone.nonce == left.nonce => return Ok(None),
                (Delete::Gone(tombstone), _) => return Ok(Some(tombstone.map(|tombstone| tombstone.why))),
                (Delete::Conflict, None) => {}
                (Delete::Conflict, Some(here)) => {
                    if let Load::Found(record, version) = store.load(left.key.clone(), now).await?
                        && let Some(theirs) = source.contents(record)
                    {
                        let fresh = self.transcode(source, &theirs, now)?;
                        let format = &self.rules.format;
                        if format.principal(&fresh) != format.principal(&left.loaded) {
                            // Logged out there, or another has logged in.
                            return Ok(Some(Some(Why::Ended)));
                        }
                        self.carry_over(here, &left.loaded, &fresh, now).await?;
                        (left.loaded, left.version) = (fresh, version);
                    }
                }
            }
        }
        Err(contended())
    }

    /// Brings what the source wrote between two of its states to the session that has moved.
    async fn carry_over(
        self: &Arc<Self>,
        here: &StoreKey,
        before: &Contents,
        after: &Contents,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(session) = self.find(here, now).await? else { return Ok(()) };
        for (name, value) in after.data.iter().filter(|(name, value)| before.data.get(name) != Some(value)) {
            session.carry(Operation::Insert { name: name.into(), value: value.into(), seen: None });
        }
        for (name, _) in before.data.iter().filter(|(name, _)| after.data.get(name).is_none()) {
            session.carry(Operation::Remove { name: name.into() });
        }
        let lifetime = |contents: &Contents| (contents.idle, contents.absolute, contents.persistent);
        if lifetime(before) != lifetime(after) {
            let (idle, absolute, persistent) = lifetime(after);
            session.carry(Operation::SetLifetime { idle, absolute, persistent });
        }
        if let Some(label) = after.label.as_ref().filter(|label| before.label.as_ref() != Some(label)) {
            session.carry(Operation::SetLabel { label: label.clone() });
        }
        let done = session.commit().await;
        session.close();
        done
    }

    /// The `Set-Cookie` values that remove the sources' cookies which a request brought.
    pub(super) fn removals_at_sources(&self, brought: &Brought) -> Vec<HeaderValue> {
        let sources = brought.sources.iter().map(|at| self.sources[*at].inner());
        let mine = &self.dialect.removal(&self.cookie.name);
        let gone = sources.flat_map(|source| {
            // A cookie of the same name, path and domain is the one that was just set.
            let is_same = source.cookie.is_same_as(&self.cookie);
            let is_here = move |cookie: &SetValue| is_same && mine.iter().any(|mine| mine.suffix == cookie.suffix);
            let theirs = source.dialect.removal(&source.cookie.name).into_iter();
            theirs.filter(move |cookie| !is_here(cookie)).filter_map(|cookie| source.set(&cookie, Until::Now).ok())
        });
        gone.collect()
    }

    fn name(&self) -> &str {
        &self.cookie.name
    }
}

/// What tells a tombstone that a move left from that of a log-out.
fn nonce_of(unique: &[u8; 32]) -> u64 {
    let digest: [u8; 32] = Sha256::new().chain_update("dewar source, moved\0").chain_update(unique).finalize().into();
    u64::from_le_bytes(*digest.first_chunk().expect("a digest has 32 bytes"))
}

/// Whether a session that began then, as far as one knows, was ended with all others of its user.
pub(super) fn is_outdated(began: Option<Timestamp>, epoch: u64) -> bool {
    epoch > 0 && began.is_none_or(|began| began.as_millis() <= epoch)
}
