//! "My devices" and "log out everywhere": the sessions of one principal, listed and ended.

use super::{Inner, SessionManager};
use crate::{
    encoding::base64,
    error::Error,
    session::Session,
    store::{Ending, Record, Revoke, StoreKey, Timestamp, Why},
    telemetry::{EndReason, Event},
};

/// How many sessions are asked of a store at once.
pub(super) const PAGE: usize = 1_000;

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

    /// The sessions of the user whom this one belongs to, with this one marked. Empty where nobody is logged in. A log-in is listed once it
    /// is stored: in its own request after [`commit`](Session::commit).
    ///
    /// # Errors
    ///
    /// Where the store failed, and where there is none.
    pub async fn devices(&self, session: &Session) -> Result<Vec<Device>, Error> {
        self.inner.backend()?;
        let Some(principal) = session.principal() else { return Ok(Vec::new()) };
        let current = session.lock().contents.lineage;
        self.inner.devices(&principal, Some(current)).await
    }

    /// Ends one session of a user, also if it was renewed since the list was made. Returns whether it was alive: a handle of
    /// somebody else's finds nothing.
    ///
    /// # Errors
    ///
    /// Where the store failed, and where there is none. The session may then still be alive.
    pub async fn revoke(&self, principal: &str, handle: &str) -> Result<bool, Error> {
        let Some(lineage) = lineage(handle) else { return Ok(false) };
        Ok(self.inner.revoke(principal, Revoke::Lineage(lineage)).await? > 0)
    }

    /// Ends every other session of the user whom this one belongs to. Returns how many. This one lives on, also where it begins with this
    /// request.
    ///
    /// When it returns, none of them that began before lives, under whatever id. A session that was ended while its request runs is no
    /// exception: it ends with the others.
    ///
    /// # Errors
    ///
    /// Where the store failed, and where there is none. Some sessions may then still be alive.
    pub async fn revoke_others(&self, session: &Session) -> Result<u64, Error> {
        self.inner.backend()?;
        let Some(principal) = session.principal() else { return Ok(0) };
        let (lineage, epoch) = {
            let state = session.lock();
            (state.contents.lineage, state.contents.epoch.unwrap_or(u64::MAX))
        };
        self.inner.revoke(&principal, Revoke::AllBut { lineage, epoch }).await
    }

    /// Ends every session of a user: after a change of password, or a theft. Returns how many.
    ///
    /// When it returns, no session of theirs that began before lives, under whatever id, nor does a cookie of before there was a store.
    ///
    /// In Redis one is found later where the server lost the list of this user's sessions (evicted, or deleted by hand): a session that only reads ends at
    /// its next write or touch then.
    ///
    /// A request that ends its own session this way [clears](Session::clear) it as well, and what it writes after that is in a new one:
    ///
    /// ```
    /// # use dewar::{Error, Session, SessionManager};
    /// async fn log_out_everywhere(sessions: SessionManager, session: Session) -> Result<&'static str, Error> {
    ///     if let Some(user) = session.principal() {
    ///         sessions.revoke_all(&user).await?;
    ///     }
    ///     session.clear();
    ///     session.flash("You are logged out everywhere.");
    ///     Ok("Good-bye.")
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Where the store failed, and where there is none. Some sessions may then still be alive.
    pub async fn revoke_all(&self, principal: &str) -> Result<u64, Error> {
        self.inner.revoke(principal, Revoke::All).await
    }

    /// Ends every session of everybody: after a breach (ASVS 7.4.5). Returns how many.
    ///
    /// When it returns, no session that began before lives, nor does a cookie of before there was a store.
    ///
    /// # Errors
    ///
    /// Where the store failed, and where there is none. Some sessions may then still be alive.
    pub async fn revoke_everyone(&self) -> Result<u64, Error> {
        let now = self.inner.clock.now();
        let tombstone = self.inner.draw.tombstone(Why::Ended, now);
        let ended = self.inner.backend()?.revoke_everyone(tombstone, now).await?;
        self.inner.watched.told(Ending::Any);
        Ok(self.inner.ended(EndReason::Revoked, ended))
    }
}

impl Inner {
    async fn devices(&self, principal: &str, current: Option<u64>) -> Result<Vec<Device>, Error> {
        let sessions = self.sessions(principal).await?;
        let mut devices: Vec<Device> = sessions
            .into_iter()
            .map(|(_, record)| Device {
                handle: handle(record.lineage),
                label: record.label.as_deref().map(str::to_owned),
                created: record.created,
                last_seen: record.last_seen(),
                current: Some(record.lineage) == current,
            })
            .collect();
        devices.sort_by_key(|device| std::cmp::Reverse((device.current, device.last_seen)));
        Ok(devices)
    }

    async fn revoke(&self, principal: &str, which: Revoke) -> Result<u64, Error> {
        let now = self.clock.now();
        let ended = self.backend()?.revoke(principal, which, self.draw.tombstone(Why::Ended, now), now).await?;
        // Nobody in this process has to wait for the store to say so.
        self.watched.told_of(principal);
        Ok(self.ended(EndReason::Revoked, ended))
    }

    /// So many sessions were ended from outside of their requests.
    pub(super) fn ended(&self, reason: EndReason, sessions: u64) -> u64 {
        if sessions > 0 {
            self.listeners.tell(&Event::Ended { reason, sessions });
        }
        sessions
    }

    pub(super) async fn sessions(&self, principal: &str) -> Result<Vec<(StoreKey, Record)>, Error> {
        let now = self.clock.now();
        let mut all: Vec<(StoreKey, Record)> = Vec::new();
        loop {
            let after = all.last().map(|(key, _)| key.clone());
            // As many as there were before: a store that keeps its index in no order reads all of it for each page.
            let most = PAGE.max(all.len());
            let page = self.backend()?.list(Some(principal), after.as_ref(), most, now).await?;
            let last = page.len() < most;
            all.extend(page.into_iter().map(|(key, record, _)| (key, record)));
            if last {
                return Ok(all);
            }
        }
    }
}

/// A session's lineage, in a form for links. It names a session among a user's, and is nothing that a cookie could be made of.
pub(super) fn handle(lineage: u64) -> String {
    let mut text = String::new();
    base64::push_url(&lineage.to_be_bytes(), &mut text);
    text
}

pub(super) fn lineage(handle: &str) -> Option<u64> {
    let bytes = base64::decode_url(handle.as_bytes())?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}
