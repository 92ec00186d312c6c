//! What a commit is on its way to the store: one request's job, what has begun of it, and what came of it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use http::HeaderValue;

use super::{
    happened::Happened,
    plan::Plan,
    queue::{Changes, Leader, may_have_been_done},
};
use crate::{
    data::Contents,
    dialect::SessionId,
    error::{Error, Kind},
    journal::{self, Operation},
    lifetime::Timestamp,
    meaning::Format,
    session::Session,
    state::{At, Intent, Made, Origin},
    store::{Answer, Cap, Create, Record, Replace, StoreError, Version, Why},
    telemetry,
};

/// How often a commit starts again because another process was faster, before it is an error.
pub(super) const ATTEMPTS: u32 = 24;

/// How many successors of a renewed session are followed.
pub(super) const HOPS: u32 = 4;

/// What one request did to its session, on its way to the store.
pub(super) struct Job {
    pub(super) session: Session,
    pub(super) now: Timestamp,
    pub(super) plan: Plan,
    pub(super) intent: Intent,
    /// Whether somebody logged in, also after a `clear`.
    pub(super) logs_in: bool,
    /// What the log-in is checked against.
    pub(super) cap: Option<Cap>,
    pub(super) origin: Origin,
    pub(super) changes: Changes,
    /// Whether more was done than to take messages that were shown.
    pub(super) changed: bool,
    /// Whether the leader that the changes went with has died with them.
    pub(super) is_lost: bool,
    /// The session as the request left it: right if nobody else wrote meanwhile.
    pub(super) record: Record,
    pub(super) is_empty: bool,
    /// The state that this commit writes, and the id where it needs a new one.
    pub(super) version: Version,
    pub(super) new_id: Option<SessionId>,
    /// The cookie of that id, which fits.
    pub(super) cookie: Vec<HeaderValue>,
    pub(super) is_final: bool,
    /// Whether the lifetime was changed, so that the browser needs its cookie again.
    pub(super) sets_lifetime: bool,
    /// An earlier attempt under a new id, of which nobody knows whether it was done.
    pub(super) made: Option<Made>,
    /// Whether the store said what became of that.
    pub(super) has_asked: bool,
    /// What it has done to the visit so far; told where it succeeds.
    pub(super) happened: Happened,
    /// Of the tombstone that this commit leaves.
    pub(super) nonce: u64,
}

impl Job {
    /// Whether the session is one of another format's, which moves here.
    pub(super) fn comes_from_elsewhere(&self) -> bool {
        matches!(self.origin, Origin::Foreign { .. })
    }

    /// Whether the request came with a session that was alive.
    pub(super) fn was_alive(&self) -> bool {
        match &self.origin {
            Origin::Stored(at) => !at.empty,
            Origin::Former { .. } | Origin::Foreign { .. } => true,
            _ => false,
        }
    }

    /// Whether an earlier attempt may have put the session under this id.
    pub(super) fn has_made(&self, id: &SessionId) -> bool {
        self.made.as_ref().and_then(|made| made.id.as_ref()).is_some_and(|made| made.key() == id.key())
    }
}

/// A write that the store did not answer at once, or not as one would like.
pub(super) enum Begun {
    Create(Answer<'static, Create>),
    Replace(Replacing),
}

pub(super) struct Replacing {
    pub(super) leader: Leader,
    pub(super) answer: Answer<'static, Replace>,
}

/// What came of a job.
#[allow(clippy::large_enum_variant)] // As below.
pub(super) enum Done {
    /// The session is here now.
    Kept(Kept),
    /// It ended, by this request.
    Ended,
    /// It is dead; `None`: missing or expired.
    Dead(Option<Why>),
    /// It was to be a log-in, and the user has as many sessions as may be; nothing was written.
    Full,
}

pub(super) struct Kept {
    pub(super) at: At,
    pub(super) epoch: Option<u64>,
    pub(super) cookie: Vec<HeaderValue>,
    /// What the session holds, where that is more than the request knows.
    pub(super) merged: Option<Contents>,
}

/// A panic of the application's closure is that request's own failure.
pub(super) fn guarded(operations: &[Operation], contents: &mut Contents, format: &Format) -> Result<(), Error> {
    catch_unwind(AssertUnwindSafe(|| journal::replay(operations, contents, format)))
        .unwrap_or_else(|_| Err(Error::entry(b"?", "an update panicked when it was run again")))
}

/// The session went on elsewhere: what was done may be repeated, unless it may be in there.
pub(super) fn conflict(may_be_done: bool) -> Error {
    if may_be_done {
        return may_have_been_done();
    }
    telemetry::met_another();
    Error::new(
        Kind::Conflict,
        "another request logged in with this session, or it expired, while this one ran; nothing was saved, and it may be repeated",
    )
}

pub(super) fn contended() -> Error {
    StoreError::new("other requests kept writing to this session first").into()
}

pub(super) fn malformed() -> Error {
    StoreError::new("the record is malformed").into()
}

pub(super) fn gone_with_its_runtime() -> Error {
    StoreError::new("the task that saved the session ended early").into()
}
