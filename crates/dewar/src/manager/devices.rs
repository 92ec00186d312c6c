//! "My devices" and "log out everywhere": the sessions of one principal, listed and ended.

use super::{Inner, SessionManager};
use crate::{
    dialect::wire::base64,
    error::Error,
    session::{Origin, Session},
    store::{Record, StoreKey, Timestamp},
};

/// How many sessions are asked of a store at once.
const PAGE: usize = 100;

/// One session of a user, for a list of devices.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Device {
    /// Names this session in a form or a link. It is no session id: nobody can take a session over with it.
    pub handle: String,
    /// What the application called it: [`Session::set_label`].
    pub label: Option<String>,
    /// When the visit began.
    pub created: Timestamp,
    /// When it was last seen, to within a tenth of its idle timeout.
    pub last_seen: Timestamp,
    /// Whether it is the session that asks.
    pub current: bool,
}

/// For sessions on a store. A session that is ended here is dead for the very next request.
///
/// A handler of axum takes the manager as an argument:
///
/// ```
/// use dewar::{Error, Session, SessionManager};
///
/// async fn end_one(sessions: SessionManager, session: Session, handle: String) -> Result<&'static str, Error> {
///     let Some(user) = session.principal() else { return Ok("Nobody is logged in.") };
///     Ok(if sessions.revoke(&user, &handle).await? { "Ended." } else { "It had ended already." })
/// }
/// ```
impl SessionManager {
    /// The sessions of a user, the one seen last first.
    ///
    /// # Errors
    ///
    /// Where the store failed, and where there is none.
    pub async fn sessions_of(&self, principal: &str) -> Result<Vec<Device>, Error> {
        self.inner.devices(principal, None).await
    }

    /// The sessions of the user whom this one belongs to, with this one marked. Empty where nobody is logged in.
    ///
    /// # Errors
    ///
    /// Where the store failed, and where there is none.
    pub async fn devices(&self, session: &Session) -> Result<Vec<Device>, Error> {
        let Some(principal) = session.principal() else { return Ok(Vec::new()) };
        let current = current(session);
        self.inner.devices(&principal, current.as_ref()).await
    }

    /// Ends one session of a user. Returns whether there was one: a handle of somebody else's finds nothing.
    ///
    /// # Errors
    ///
    /// Where the store failed, and where there is none. The session may then still be alive.
    pub async fn revoke(&self, principal: &str, handle: &str) -> Result<bool, Error> {
        Ok(self.inner.revoke(principal, |key| self::handle(key) == handle).await? > 0)
    }

    /// Ends every other session of the user whom this one belongs to. Returns how many.
    ///
    /// # Errors
    ///
    /// Where the store failed, and where there is none. Some sessions may then still be alive.
    pub async fn revoke_others(&self, session: &Session) -> Result<usize, Error> {
        let Some(principal) = session.principal() else { return Ok(0) };
        let current = current(session);
        self.inner.revoke(&principal, |key| Some(key) != current.as_ref()).await
    }

    /// Ends every session of a user: after a change of password, or a theft. Returns how many.
    ///
    /// # Errors
    ///
    /// Where the store failed, and where there is none. Some sessions may then still be alive.
    pub async fn revoke_all(&self, principal: &str) -> Result<usize, Error> {
        self.inner.revoke(principal, |_| true).await
    }
}

impl Inner {
    async fn devices(&self, principal: &str, current: Option<&StoreKey>) -> Result<Vec<Device>, Error> {
        let sessions = self.sessions(principal).await?;
        let mut devices: Vec<Device> = sessions
            .into_iter()
            .map(|(key, record)| Device {
                handle: handle(&key),
                label: record.label.as_deref().map(str::to_owned),
                created: record.created,
                last_seen: record.last_seen(),
                current: Some(&key) == current,
            })
            .collect();
        devices.sort_by_key(|device| std::cmp::Reverse((device.current, device.last_seen)));
        Ok(devices)
    }

    async fn revoke(&self, principal: &str, wanted: impl Fn(&StoreKey) -> bool) -> Result<usize, Error> {
        let now = self.clock.now();
        let mut ended = 0;
        for (key, _) in self.sessions(principal).await?.iter().filter(|(key, _)| wanted(key)) {
            self.backend()?.delete(key, None, now).await?;
            ended += 1;
        }
        Ok(ended)
    }

    async fn sessions(&self, principal: &str) -> Result<Vec<(StoreKey, Record)>, Error> {
        let now = self.clock.now();
        let mut all: Vec<(StoreKey, Record)> = Vec::new();
        loop {
            let after = all.last().map(|(key, _)| key.clone());
            let page = self.backend()?.list(Some(principal), after.as_ref(), PAGE, now).await?;
            let last = page.len() < PAGE;
            all.extend(page.into_iter().map(|(key, record, _)| (key, record)));
            if last {
                return Ok(all);
            }
        }
    }
}

/// Half of the key's digest: enough to find it among a user's sessions, and nothing of a foreign id.
fn handle(key: &StoreKey) -> String {
    let mut text = String::new();
    base64::push_url(&key.digest()[..16], &mut text);
    text
}

/// Where the session that asks is kept, if it is.
fn current(session: &Session) -> Option<StoreKey> {
    match &session.lock().origin {
        Origin::Store { id, .. } => Some(id.key().clone()),
        _ => None,
    }
}
