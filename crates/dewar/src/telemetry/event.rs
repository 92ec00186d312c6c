//! What became of sessions, told to the application: for an audit log.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::metrics;
use crate::{error::Refusal, manager::settings::Origin};

/// What became of a session: [`SessionManagerBuilder::on_event`](crate::SessionManagerBuilder::on_event). No id, no user and no value is in it.
///
/// The metrics of the feature `metrics` count the same, in the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// One begun: its first entry is saved.
    Created,
    /// A log-in is saved: [`set_principal`](crate::Session::set_principal), or the entry by which another framework knows its user.
    Authenticated,
    /// One goes on under a new id: by [`renew`](crate::Session::renew), or by a log-in.
    Renewed,
    /// Sessions ended.
    #[non_exhaustive]
    Ended {
        /// Why.
        reason: EndReason,
        /// How many: more than one only where many are ended at once.
        sessions: u64,
    },
    /// A cookie opened an empty session.
    #[non_exhaustive]
    Refused {
        /// Why.
        reason: Refusal,
    },
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// The request cleared it, as a log-out does.
    Cleared,
    /// Its last entry was removed. A request that runs at the same time may fill it again: then it goes on.
    Emptied,
    /// Somebody else logged in.
    PrincipalChanged,
    /// It was ended from elsewhere: [`revoke`](crate::SessionManager::revoke) and the like.
    Revoked,
    /// Its user logged in elsewhere, and has as many sessions as [may be](crate::SessionManagerBuilder::max_sessions_per_user).
    Displaced,
    /// It had expired, and was removed. What is counted are records, with those that ended sessions leave behind for a while.
    Purged,
}

impl EndReason {
    #[cfg(feature = "metrics")]
    pub(crate) const ALL: [Self; 6] =
        [Self::Cleared, Self::Emptied, Self::PrincipalChanged, Self::Revoked, Self::Displaced, Self::Purged];

    /// One word for logs and metrics: `cleared`, `principal_changed`, ...
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cleared => "cleared",
            Self::Emptied => "emptied",
            Self::PrincipalChanged => "principal_changed",
            Self::Revoked => "revoked",
            Self::Displaced => "displaced",
            Self::Purged => "purged",
        }
    }
}

/// Who of the application is told.
#[derive(Clone)]
pub(crate) struct Listener {
    /// Tells one from another, where layers are compared.
    identity: Origin,
    hear: Arc<dyn Fn(&Event) + Send + Sync>,
}

impl Listener {
    pub(crate) fn new(hear: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        let hear = Arc::new(hear);
        Self { identity: Origin::of(&hear), hear }
    }
}

impl PartialEq for Listener {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

/// All who are told, in their order.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Listeners(pub(crate) Vec<Listener>);

impl Listeners {
    /// Counts it, and tells it. To be called where no lock is held.
    pub(crate) fn tell(&self, event: &Event) {
        metrics::happened(event);
        for listener in &self.0 {
            // What is saved is saved: nobody's request fails for it.
            if catch_unwind(AssertUnwindSafe(|| (listener.hear)(event))).is_err() {
                tracing::error!(?event, "what on_event was given panicked");
            }
        }
    }
}
