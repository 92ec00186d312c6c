//! What one request has of its session: between the [`Session`](crate::Session) that a handler holds and the manager that commits it.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
};

use futures_channel::oneshot;
use http::HeaderValue;

use crate::{
    data::Contents,
    error::{Error, Trouble},
    id::{SessionId, StoreKey},
    journal::Operation,
    meaning::Principal,
    session::Session,
    store::{Tombstone, Version, Why},
};

/// Everything about one session of one request.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) contents: Contents,
    /// Whether an entry, or what is known beside them, was changed since the last commit.
    pub(crate) changed: bool,
    /// Whether the lifetime was changed since.
    pub(crate) sets_lifetime: bool,
    /// What was done, where it may have to be replayed.
    pub(crate) operations: Vec<Operation>,
    pub(crate) intent: Intent,
    pub(crate) origin: Origin,
    pub(crate) phase: Phase,
    /// Whether the response depends on the session.
    pub(crate) accessed: bool,
    /// Whose session it was, until this request removed the entry that said so.
    pub(crate) removed: Option<Principal>,
    /// What could not be done: to an entry, which a later good `insert` or `remove` heals, or by another method.
    pub(crate) failures: BTreeMap<Failing, Error>,
    /// The `Set-Cookie` of what has been committed: every response carries it, an error too.
    pub(crate) due: Vec<HeaderValue>,
    /// What an earlier attempt may have done, though nobody knows.
    pub(crate) doubt: Option<Doubt>,
    pub(crate) settled: Settled,
    /// What an earlier attempt to change the id may have done, though nobody knows.
    pub(crate) made: Option<Made>,
    pub(crate) turn: Turn,
    /// Whether somebody visits, so that the session lives on. An edit from outside of a request is none.
    pub(crate) is_visit: bool,
    /// What the request brought beside the session's own cookie.
    pub(crate) brought: Option<Box<Brought>>,
    /// Why it could not be saved, since it was saved last.
    pub(crate) trouble: Option<Trouble>,
}

/// What is to become of the session that was opened; the later ones outrank the earlier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Intent {
    /// It goes on under its id.
    #[default]
    Keep,
    /// Its data goes on under a new id.
    Renew,
    /// The same, as somebody has logged in: from nobody, or again.
    LogIn,
    /// It ends; another principal's begins.
    Switch,
    /// It ends; what is here now is another session.
    End,
}

/// Where the session that was opened came from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// Nowhere: there was no cookie that leads to one.
    Fresh {
        /// Whether there was a cookie, and its form or signature was refused.
        refused: bool,
    },
    /// From a record that is no session here. It is left alone, but for a log-out.
    Unreadable(SessionId),
    /// From the cookie itself.
    Cookie {
        /// Whether the cookie is due to be issued again.
        reissue: bool,
    },
    /// From a cookie of before there was a store: it is moved to the store under this id, once.
    Former {
        id: SessionId,
        /// What was in it: a renewal moves this first.
        loaded: Box<Contents>,
    },
    /// From another format's cookie, of which two strangers may hold the same bytes: it gets an id of its own with the first write.
    Foreign {
        /// Whether it is time to move, also where the request only reads.
        due: bool,
    },
    /// From a store.
    Stored(At),
    /// It was dead when it was opened.
    Late(Tombstone),
    /// It was alive when it was opened, and dead at a commit; `None`: missing or expired.
    Lost(Option<Why>),
}

/// Where a session is on a store.
#[derive(Clone, Debug)]
pub(crate) struct At {
    pub(crate) key: StoreKey,
    /// `None`: the cookie has the id of a predecessor, whose requests may follow for a while. No cookie is set then.
    pub(crate) id: Option<SessionId>,
    pub(crate) version: Version,
    /// Whether the expiry is due to be moved.
    pub(crate) touch: bool,
    /// Whether the cookie is due to be issued again.
    pub(crate) reissue: bool,
    /// Whether nothing was in it, so that the browser may have lost its cookie.
    pub(crate) empty: bool,
    /// Whether the request has not seen this state: what it wrote is replayed on it, never put in its place.
    pub(crate) unseen: bool,
}

impl At {
    /// Whether what the request wrote may be written as it is: upon what it has seen, and with a cookie for the browser where it needs one.
    pub(crate) fn is_known(&self) -> bool {
        !self.unseen && (self.id.is_some() || !self.empty)
    }

    /// In this state, with nothing due.
    pub(crate) fn new(key: StoreKey, id: Option<SessionId>, version: Version) -> Self {
        Self { key, id, version, touch: false, reissue: false, empty: false, unseen: false }
    }
}

/// What could not be done.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failing {
    /// To write the entry of this name.
    Entry(Box<str>),
    /// What this method does.
    Method(&'static str),
}

/// A write that may have been done: its answer was lost, and the store could not be asked.
#[derive(Clone, Debug)]
pub(crate) struct Doubt {
    /// The state that it was written upon; `None`: it was the first.
    pub(crate) at: Option<Version>,
    /// The state that it wrote.
    pub(crate) mine: Version,
    /// How many of the operations it held.
    pub(crate) operations: usize,
    /// Whether it revived a session that was empty.
    pub(crate) revived: bool,
}

/// What is known to be done of a commit that has not succeeded yet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settled {
    /// Whether an earlier attempt has done some of it.
    pub(crate) partly: bool,
    /// Whether that revived a session that was empty.
    pub(crate) revived: bool,
}

impl Settled {
    /// Whether some of the commit is done, or may be: it must not be repeated.
    pub(crate) fn or_may_be(self, doubt: Option<&Doubt>) -> bool {
        self.partly || doubt.is_some_and(|doubt| doubt.operations > 0)
    }
}

/// A change of the id that may have been done: the answer was lost, and the store could not be asked.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// Where the session may be now. Nobody was given it yet. `None`: it was to end.
    pub(crate) id: Option<SessionId>,
    /// The state that was written there.
    pub(crate) mine: Version,
    /// Of the tombstone under the id of before.
    pub(crate) nonce: u64,
    /// How many of the operations it held.
    pub(crate) operations: usize,
    /// What had been asked for.
    pub(crate) intent: Intent,
}

impl Made {
    /// The same, where all that it held was dropped since.
    pub(crate) fn outdated(self) -> Self {
        Self { operations: 0, intent: Intent::Keep, ..self }
    }
}

/// What a request brought beside the session's own cookie.
#[derive(Debug, Default)]
pub(crate) struct Brought {
    /// The [sources](crate::SessionManagerBuilder::reads_also) whose cookie is in the request, by their place among the manager's.
    pub(crate) sources: Vec<usize>,
    /// The record that the session was opened from. It ends when the session has moved.
    pub(crate) left: Option<Left>,
    /// Whether there is a cookie that may be one of the [former domain](crate::SessionManagerBuilder::former_domain).
    pub(crate) may_be_former: bool,
    /// The cookies that go when the visit ends, by their place among those of the dialect and its sources.
    pub(crate) also_removed: Vec<usize>,
    /// Whether this request has ended the visit.
    pub(crate) is_over: bool,
}

/// A record at a source, as it was when a session was opened from it.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) source: usize,
    pub(crate) key: StoreKey,
    pub(crate) version: Version,
    /// Of the tombstone that the move leaves there.
    pub(crate) nonce: u64,
    /// What was in it, in the manager's own encoding.
    pub(crate) loaded: Contents,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    Committing,
    Closed,
    /// Whoever held it panicked: nothing of it is to be saved.
    Panicked,
}

/// Whose turn it is to commit this session: one at a time, in order.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    taken: bool,
    waiting: VecDeque<oneshot::Sender<Held>>,
}

/// The turn. Dropped, it goes to the next who waits.
#[derive(Debug)]
pub(crate) struct Held {
    session: Option<Session>,
    /// Whether a commit is under way: cut off in its middle (its runtime ended, a store panicked), it has taken with it what the request did.
    running: bool,
}

impl Held {
    pub(crate) fn begin(&mut self) {
        self.running = true;
    }

    pub(crate) fn end(mut self) {
        self.running = false;
    }
}

impl State {
    pub(crate) fn new(contents: Contents, origin: Origin) -> Self {
        Self {
            contents,
            changed: false,
            sets_lifetime: false,
            operations: Vec::new(),
            intent: Intent::Keep,
            origin,
            phase: Phase::Open,
            accessed: false,
            removed: None,
            failures: BTreeMap::new(),
            due: Vec::new(),
            doubt: None,
            settled: Settled::default(),
            made: None,
            turn: Turn::default(),
            is_visit: true,
            brought: None,
            trouble: None,
        }
    }

    pub(crate) fn fail(&mut self, what: Failing, error: Error) {
        self.failures.insert(what, error);
    }

    pub(crate) fn forget_failure(&mut self, entry: &str) {
        if !self.failures.is_empty() {
            self.failures.remove(&Failing::Entry(entry.into()));
        }
    }

    /// What a commit came to. Errors that follow one another are one trouble.
    pub(crate) fn committed(&mut self, result: Result<(), Error>) -> Result<(), Error> {
        if result.is_ok() {
            self.trouble = None;
        }
        result.map_err(|error| error.within(&mut self.trouble))
    }

    /// The later good call of this method counts.
    pub(crate) fn forget_failure_of(&mut self, method: &'static str) {
        self.failures.remove(&Failing::Method(method));
    }

    /// Empties it: what comes from here on belongs to another session. What was done is returned, to be dropped where no lock is held: closures
    /// own what is the application's.
    #[must_use]
    pub(crate) fn begin_again(&mut self, contents: Contents, intent: Intent) -> Vec<Operation> {
        self.contents = contents;
        self.removed = None;
        self.failures.clear();
        self.sets_lifetime = false;
        self.intent = self.intent.max(intent);
        self.doubt = None;
        self.settled = Settled::default();
        self.made = self.made.take().map(Made::outdated);
        mem::take(&mut self.operations)
    }

    /// Whether more was done than to look, and to take messages that were shown.
    pub(crate) fn has_changes(&self) -> bool {
        self.intent != Intent::Keep || self.operations.iter().any(|it| !matches!(it, Operation::TakeFlashes { .. }))
    }

    /// Whether the commit of this request counts as a visit, from which the idle timeout is counted.
    pub(crate) fn begins_idling_anew(&self) -> bool {
        let is_due = match &self.origin {
            Origin::Cookie { reissue: due } | Origin::Foreign { due } | Origin::Stored(At { touch: due, .. }) => *due,
            _ => false,
        };
        self.is_visit && (self.changed || self.intent != Intent::Keep || is_due)
    }

    /// Takes the turn, which is free.
    pub(crate) fn take_turn(&mut self, session: &Session) -> Held {
        self.turn.taken = true;
        Held { session: Some(session.clone()), running: false }
    }

    /// The turn, once those before have had theirs.
    pub(crate) fn wait_for_turn(&mut self) -> oneshot::Receiver<Held> {
        let (give, given) = oneshot::channel();
        self.turn.waiting.push_back(give);
        given
    }
}

impl Turn {
    pub(crate) fn is_taken(&self) -> bool {
        self.taken
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        if self.running {
            session.lock().phase = Phase::Panicked;
        }
        loop {
            let mut state = session.lock();
            let Some(next) = state.turn.waiting.pop_front() else {
                state.turn.taken = false;
                return;
            };
            drop(state);
            match next.send(Self { session: Some(session.clone()), running: false }) {
                Ok(()) => return,
                // Who does not wait any more gives it back, without giving it on.
                Err(mut returned) => drop(returned.session.take()),
            }
        }
    }
}
