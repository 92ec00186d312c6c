//! Sessions changed outside of a request: by a WebSocket, a job, a support page.

use std::{fmt, str::FromStr, sync::Arc};

use super::{Inner, SessionManager, devices};
use crate::{
    error::Error,
    lifetime::Timestamp,
    session::Session,
    state::{At, Intent, Origin},
    store::{StoreKey, Tombstone, Why},
};

/// How many renewals are followed: more than a request meets, since a job may have waited through them.
const HOPS: usize = 16;

/// Names a session on a store to [`SessionManager::edit`]: [`Session::handle`].
///
/// It is no session id: nobody can take the session over with it. As text ([`Display`](fmt::Display) and [`FromStr`]) it can wait in a queue of jobs;
/// the text has the name of the user in it, in hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionHandle {
    key: StoreKey,
    /// Whose session it is, and which of theirs: a log-in changes the key, and this stays.
    member: Option<(Box<str>, u64)>,
}

impl fmt::Display for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((principal, lineage)) = &self.member {
            let principal: String = principal.bytes().map(|byte| format!("{byte:02x}")).collect();
            write!(f, "{}:{principal}", devices::handle(*lineage))?;
        }
        write!(f, ":{}", self.key)
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionHandle({self})")
    }
}

impl FromStr for SessionHandle {
    type Err = Error;

    /// # Errors
    ///
    /// Where it is not what [`Display`](fmt::Display) wrote.
    fn from_str(text: &str) -> Result<Self, Error> {
        let read = || {
            if let Some(key) = text.strip_prefix(':') {
                return Some(Self { key: StoreKey::parse(key), member: None });
            }
            let mut parts = text.splitn(3, ':');
            let lineage = devices::lineage(parts.next()?)?;
            let digits = parts.next().filter(|digits| digits.len() % 2 == 0 && digits.is_ascii())?;
            let bytes = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok());
            let principal = String::from_utf8(bytes.collect::<Option<_>>()?).ok()?;
            Some(Self { key: StoreKey::parse(parts.next()?), member: Some((principal.into(), lineage)) })
        };
        read().ok_or_else(|| Error::setting("this is no handle of a session"))
    }
}

impl Session {
    /// Names this session, to change it when its request is over: [`SessionManager::edit`]. `None` where it is not on a store, or not yet: a new
    /// session, or one that somebody logs in to, is there after [`commit`](Self::commit).
    pub fn handle(&self) -> Option<SessionHandle> {
        let state = self.lock();
        let Origin::Stored(at) = &state.origin else { return None };
        // Somebody else's session begins with the commit.
        if state.intent > Intent::Renew {
            return None;
        }
        let lineage = state.contents.lineage;
        let principal = self.rules().format.principal(&state.contents).filter(|_| lineage > 0);
        Some(SessionHandle {
            key: at.key.clone(),
            member: principal.map(|principal| (principal.into_text().into(), lineage)),
        })
    }
}

/// Sessions changed outside of a request.
impl SessionManager {
    /// Changes one session when its request is over, and returns whether it was there.
    ///
    /// What requests write meanwhile is kept, as between two requests: different entries are merged, and [`update`](Session::update) is done upon
    /// what is there by then. [`clear`](Session::clear) ends the session. An edit is no visit: it does not keep the session alive.
    ///
    /// ```
    /// use dewar::{Error, Session, SessionManager};
    ///
    /// /// A page that starts a long job, and leaves word of it to the visitor.
    /// async fn start(sessions: SessionManager, session: Session) -> Result<&'static str, Error> {
    ///     session.insert("job", "running");
    ///     session.commit().await?; // now it is on the store
    ///     let Some(visitor) = session.handle() else { unreachable!("committed, and on a store") };
    ///     tokio::spawn(async move {
    ///         // ... minutes later
    ///         if let Err(error) = sessions.edit(&visitor, |session| session.insert("job", "done")).await {
    ///             eprintln!("{error}");
    ///         }
    ///     });
    ///     Ok("It has begun.")
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Where the store failed, and where there is none. Where the change needs a new id (`set_principal`, `renew`, writing after `clear`): only a
    /// response can give it to the browser. What else `commit` refuses.
    pub async fn edit(&self, handle: &SessionHandle, change: impl FnOnce(&Session)) -> Result<bool, Error> {
        let now = self.inner.clock.now();
        let mut found = self.inner.find(&handle.key, now).await?;
        if let (Some(session), Some((principal, lineage))) = (&found, &handle.member)
            && (session.lock().contents.lineage != *lineage || session.principal().as_deref() != Some(principal))
        {
            found = None;
        }
        if found.is_none()
            && let Some((principal, lineage)) = &handle.member
        {
            let sessions = self.inner.sessions(principal).await?;
            if let Some((key, _)) = sessions.into_iter().find(|(_, record)| record.lineage == *lineage) {
                found = self.inner.find(&key, now).await?;
            }
        }
        match found {
            Some(session) => self.change(session, change).await,
            None => Ok(false),
        }
    }

    /// Changes every session of a user, one after the other, and returns how many.
    ///
    /// # Errors
    ///
    /// As [`edit`](Self::edit). Some sessions may then be changed already.
    pub async fn edit_sessions_of(&self, principal: &str, mut change: impl FnMut(&Session)) -> Result<u64, Error> {
        let mut changed = 0;
        for (key, _) in self.inner.sessions(principal).await? {
            if let Some(session) = self.inner.find(&key, self.inner.clock.now()).await? {
                changed += u64::from(self.change(session, &mut change).await?);
            }
        }
        Ok(changed)
    }

    async fn change(&self, session: Session, change: impl FnOnce(&Session)) -> Result<bool, Error> {
        change(&session);
        let needs_an_id = match &*session.lock() {
            state if state.intent == Intent::End => !state.contents.is_empty(),
            state => state.intent != Intent::Keep,
        };
        if needs_an_id {
            session.close();
            return Err(needs_a_response());
        }
        let done = session.commit().await;
        session.close();
        match done {
            Ok(()) => Ok(true),
            Err(error) if error.is_closed() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Why an edit cannot be committed.
pub(super) fn needs_a_response() -> Error {
    Error::setting(
        "edit: this needs a new id, which only a response can give to the browser; do set_principal, renew, or writing after clear in a request",
    )
}

impl Inner {
    /// The session under this key, or what it goes on as. It is given no cookie.
    pub(super) async fn find(self: &Arc<Self>, key: &StoreKey, now: Timestamp) -> Result<Option<Session>, Error> {
        let mut key = key.clone();
        for _ in 0..HOPS {
            match self.look(&key, now).await? {
                Ok((record, version)) => {
                    let Some(contents) = self.contents(record) else { return Ok(None) };
                    let at = At { empty: contents.is_empty(), ..At::new(key, None, version) };
                    let (session, _) = self.session(Ok((contents, Origin::Stored(at))), now);
                    session.lock().is_visit = false;
                    return Ok(Some(session));
                }
                Err(Some(Tombstone { why: Why::Renewed { successor: Some(successor) }, .. })) => key = successor,
                Err(_) => return Ok(None),
            }
        }
        Ok(None)
    }
}
