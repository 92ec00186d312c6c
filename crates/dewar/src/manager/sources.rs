//! Sessions that another format wrote, or that are in a store which is being left: opened, and with the next commit written in the new form.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use http::HeaderValue;
use sha2::{Digest, Sha256};

use super::{Closed, Found, Inner, Opened, SessionManager};
use crate::{
    cookie::{Candidates, RequestCookies},
    data::Contents,
    dialect::{Token, wire::Encoding},
    error::Error,
    lifetime::Timestamp,
    principal::Somebody,
    session::{Owner, Session, somebody},
    state::{Brought, Origin},
    store::{Load, StoreKey, Why},
    telemetry,
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
    record: Option<(usize, StoreKey)>,
}

impl Source {
    pub(super) fn has_store(&self) -> bool {
        self.inner().store.is_some()
    }

    fn inner(&self) -> &Inner {
        &self.manager.inner
    }
}

impl Inner {
    /// Opens a request's session: the manager's own, as a rule.
    pub(super) fn open_now<'a>(
        self: &'a Arc<Self>,
        request: RequestCookies<'a>,
        context: &mut Context<'_>,
    ) -> Result<Result<Session, Error>, Opened<'a>> {
        if self.settings.sources.is_empty() {
            return self.open_own(request, context);
        }
        let now = self.clock.now();
        let sources = self.settings.sources.iter().enumerate();
        let brought: Vec<usize> = sources
            .filter(|(_, source)| now < source.until && source.inner().has_cookie(request))
            .map(|(at, _)| at)
            .collect();
        if brought.is_empty() {
            return self.open_own(request, context);
        }
        Err(Box::pin(self.open_beside(request, brought, now)))
    }

    fn has_cookie(&self, request: RequestCookies<'_>) -> bool {
        !Candidates::find(request, &self.names[0]).as_slice().is_empty()
    }

    /// Opens the session of a request with a source's cookie. A session of the manager's own counts alone, also where it is over: a log-out here is one.
    async fn open_beside(
        self: &Arc<Self>,
        request: RequestCookies<'_>,
        sources: Vec<usize>,
        now: Timestamp,
    ) -> Result<Session, Error> {
        let mut session = match poll_fn(|context| Poll::Ready(self.open_own(request, context))).await {
            Ok(opened) => opened?,
            Err(waits) => waits.await?,
        };
        let mut record = None;
        if matches!(session.lock().origin, Origin::Fresh { .. }) {
            for at in &sources {
                if let Some(arrived) = self.arrive(*at, request, now).await? {
                    session = self.session(arrived.found, now);
                    record = arrived.record;
                    break;
                }
            }
        }
        session.lock().brought = Some(Box::new(Brought { sources, record }));
        Ok(session)
    }

    /// The session that a request has at a source. A cookie that the source refuses is none.
    async fn arrive(&self, at: usize, request: RequestCookies<'_>, now: Timestamp) -> Result<Option<Arrived>, Error> {
        let source = &self.settings.sources[at].manager.inner;
        source.purge_in_background();
        let (contents, unique, record) = match source.read(request, now) {
            Ok(None) => return Ok(None),
            Ok(Some(Token::Data { contents, unique, .. })) => (contents, unique, None),
            Ok(Some(Token::Id { id, .. })) => {
                // Of the id, which the cookie alone has, and of a secret: nobody who reads a store can know where the session is.
                let unique = Sha256::new().chain_update(b"dewar source\0").chain_update(self.identity.secrets);
                let unique = unique.chain_update(id.reveal()).finalize().into();
                if let Some(found) = self.taken_over(&unique, now).await? {
                    return Ok(Some(Arrived { found, record: None }));
                }
                let Load::Found(found, _) = source.backend()?.load(id.key().clone(), now).await? else {
                    return Ok(None);
                };
                let Some(contents) = source.contents(found) else { return Ok(None) };
                (contents, Some(unique), Some((at, id.key().clone())))
            }
            Err(refusal) => {
                telemetry::refused(source.name(), refusal);
                return Ok(None);
            }
        };
        if record.is_none()
            && self.store.is_some()
            && let Some(unique) = &unique
            && let Some(found) = self.taken_over(unique, now).await?
        {
            return Ok(Some(Arrived { found, record: None }));
        }
        let until = contents.expires();
        let contents = self.transcode(source, &contents, now)?;
        if contents.absolute_expires().is_some_and(|end| end <= now) {
            return Ok(None);
        }
        let found = match (&self.store, unique) {
            (None, _) => Ok((contents, Origin::Cookie { reissue: true })),
            // It is one visitor's alone: requests in parallel meet in one session, and its end is final.
            (Some(_), Some(unique)) => self.to_be_taken_over(contents, &unique, until, now).await?,
            // Two strangers may hold the same bytes: nothing follows from them.
            (Some(_), None) => self.move_in(contents, now).await?,
        };
        Ok(Some(Arrived { found, record }))
    }

    /// A session that is to get a random id, unless all of its user's, or everybody's, were ended since it began.
    async fn move_in(&self, mut contents: Contents, now: Timestamp) -> Result<Found, Error> {
        let epoch = self.backend()?.epoch(contents.principal.as_deref()).await?;
        if epoch > 0 && contents.created.as_millis() <= epoch {
            return Ok(Err(Closed::Dead(self.draw.tombstone(Why::Ended, now))));
        }
        if let Some(principal) = contents.principal.as_deref() {
            contents.lineage = self.lineage(principal);
        }
        contents.epoch = Some(epoch);
        Ok(Ok((contents, Origin::Foreign)))
    }

    /// What was in a source's session, in this manager's encoding and by its settings.
    ///
    /// # Errors
    ///
    /// Where this manager's format cannot hold an entry: it is not dropped without a word.
    fn transcode(&self, source: &Self, contents: &Contents, now: Timestamp) -> Result<Contents, Error> {
        let (from, to) = (&source.rules, &self.rules);
        let mut ours = self.empty(now);
        ours.created = contents.created;
        for (name, encoded) in contents.data.iter() {
            if from.persistent_entry.is_some_and(|entry| entry.as_bytes() == name) {
                continue;
            }
            if from.encoding == to.encoding {
                ours.data.insert(name, encoded);
                continue;
            }
            let value: Value = from.encoding.read(encoded).map_err(|why| Error::entry(name, why))?;
            ours.data.insert(name, to.encoding.write(&value).map_err(|why| Error::entry(name, why))?);
        }
        if source.is_persistent(contents) {
            match to.persistent_entry {
                Some(entry) => insert(&mut ours, to.encoding, entry, &Value::Bool(true))?,
                None => ours.persistent = true,
            }
        }
        if from.keeps_facts && to.keeps_facts {
            ours.idle = if contents.idle == from.idle { to.idle } else { contents.idle };
            ours.label = contents.label.clone();
        }
        let principal = somebody(from, contents).map(Somebody::into_text);
        match (principal, to.principal_entry) {
            (Some(principal), Some(entry)) if from.principal_entry != Some(entry) => {
                insert(&mut ours, to.encoding, entry, &Value::Text(principal))?;
            }
            (principal, None) if to.keeps_facts => ours.principal = principal.map(Into::into),
            _ => {}
        }
        Ok(ours)
    }

    /// Ends the record that a session was opened from, once the session has moved. That it is still there does no harm: its cookie leads to the
    /// session that moved.
    pub(super) async fn end_at_its_source(&self, session: &Session, now: Timestamp) {
        let record = session.lock().brought.as_mut().and_then(|brought| brought.record.take());
        let Some((at, key)) = record else { return };
        let source = self.settings.sources[at].inner();
        let Ok(store) = source.backend() else { return };
        let tombstone = source.draw.tombstone(Why::Ended, now);
        if let Err(error) = store.delete(&key, None, tombstone, now).await {
            telemetry::not_ended_at_its_source(&error.into());
        }
    }

    /// The `Set-Cookie` values that remove the sources' cookies which a request brought.
    pub(super) fn removals(&self, brought: &Brought) -> Vec<HeaderValue> {
        let sources = brought.sources.iter().map(|at| self.settings.sources[*at].inner());
        // A cookie of the same name, path and domain is the one that was just set.
        let others = sources.filter(|source| !source.cookie.is_same_as(&self.cookie));
        others.flat_map(|source| source.removal().unwrap_or_default()).collect()
    }

    fn name(&self) -> &str {
        &self.cookie.name
    }
}

fn insert(contents: &mut Contents, encoding: Encoding, entry: &str, value: &Value) -> Result<(), Error> {
    let encoded = encoding.write(value).map_err(|why| Error::entry(entry.as_bytes(), why))?;
    contents.data.insert(entry.as_bytes(), encoded);
    Ok(())
}
