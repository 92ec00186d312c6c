//! What a commit did to a visit, told once it is done.

use crate::{
    state::Intent,
    telemetry::{EndReason, Event, Listeners},
};

/// What a commit did to a visit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Happened {
    ended: Option<EndReason>,
    created: bool,
    renewed: bool,
    authenticated: bool,
    /// How many others of the user's ended to make room.
    displaced: u32,
}

impl Happened {
    /// What is saved in a new place: as a session of its own, or as one that was alive until now.
    pub(super) fn anew(intent: Intent, was_alive: bool) -> Self {
        let ended = match intent {
            Intent::Keep | Intent::Renew | Intent::LogIn => None,
            Intent::Switch => Some(EndReason::PrincipalChanged),
            Intent::End => Some(EndReason::Cleared),
        };
        Self {
            ended: ended.filter(|_| was_alive),
            created: !was_alive || ended.is_some(),
            renewed: was_alive && matches!(intent, Intent::Renew | Intent::LogIn),
            ..Self::default()
        }
    }

    pub(super) fn ended(reason: EndReason) -> Self {
        Self { ended: Some(reason), ..Self::default() }
    }

    pub(super) fn authenticated(authenticated: bool) -> Self {
        Self { authenticated, ..Self::default() }
    }

    pub(super) fn made_room(displaced: u32) -> Self {
        Self { displaced, ..Self::default() }
    }

    /// This as well.
    pub(super) fn add(&mut self, other: Self) {
        self.ended = other.ended.or(self.ended);
        self.created |= other.created;
        self.renewed |= other.renewed;
        self.authenticated |= other.authenticated;
        self.displaced += other.displaced;
    }

    /// To be called where no lock is held.
    pub(super) fn tell(self, listeners: &Listeners) {
        if let Some(reason) = self.ended {
            listeners.tell(&Event::Ended { reason, sessions: 1 });
        }
        if self.displaced > 0 {
            listeners.tell(&Event::Ended { reason: EndReason::Displaced, sessions: self.displaced.into() });
        }
        let others = [
            (self.created, Event::Created),
            (self.renewed, Event::Renewed),
            (self.authenticated, Event::Authenticated),
        ];
        others.iter().filter(|(is_so, _)| *is_so).for_each(|(_, event)| listeners.tell(event));
    }
}
