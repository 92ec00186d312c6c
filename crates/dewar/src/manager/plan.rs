//! What a commit has to do, decided from the state of the session and the moment. Nothing is asked, and nothing is written here.

use std::time::Duration;

use crate::{
    lifetime::Timestamp,
    state::{Intent, Origin},
    store::{Tombstone, Why},
};

/// How long a request that comes late to a session which was begun again, or renewed by a log-in, is told to try again.
const AGAIN_FOR: Duration = Duration::from_secs(10);

/// How long requests that carry the id of before a plain renewal go on in its successor.
const FOLLOWED_FOR: Duration = Duration::from_secs(30);

/// Whether a request that carries the id of before a plain renewal goes on in the successor.
pub(super) fn is_followed(tombstone: &Tombstone, now: Timestamp) -> bool {
    matches!(tombstone.why, Why::Renewed { successor: Some(_) }) && now.since(tombstone.made) < FOLLOWED_FOR
}

/// What is known when a commit has its turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) origin: &'a Origin,
    pub(super) intent: Intent,
    /// Whether somebody logged in, also after a `clear`.
    pub(super) logs_in: bool,
    /// Whether anything was done at all.
    pub(super) touched: bool,
    /// Whether anything was written, beside what becomes of the id.
    pub(super) written: bool,
    /// Whether more was done than to take messages that were shown.
    pub(super) changed: bool,
    /// Whether nothing is left to keep.
    pub(super) empty: bool,
    pub(super) on_store: bool,
    pub(super) now: Timestamp,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Nothing: nothing was done, or nothing of it is to be kept.
    Nothing,
    /// The visit is over: what was done is dropped, which is no error of the response.
    Drop,
    /// An error that says that the request may be repeated.
    Again,
    /// The cookie is set, and nothing else.
    Cookie,
    /// The cookie is removed, and nothing else.
    Remove,
    /// The expiry is moved.
    Touch,
    /// A record under a new id.
    Create,
    /// A new state of the record.
    Replace,
    /// A new id for the same session; the old one is dead.
    Renew,
    /// A new session under a new id; the old one is dead.
    BeginAgain,
    /// The session ends.
    End,
    /// The session moves from its cookie to the store.
    Migrate,
}

impl Plan {
    /// Whether the session is to be under a new id.
    pub(super) fn makes_an_id(self) -> bool {
        matches!(self, Self::Create | Self::Renew | Self::BeginAgain)
    }
}

pub(super) fn plan(facts: &Facts<'_>) -> Plan {
    match facts.origin {
        Origin::Stored(_) | Origin::Former { .. } => plan_of_a_living(facts),
        Origin::Late(tombstone) => plan_of_a_late(facts, tombstone),
        Origin::Lost(why) => plan_of_a_lost(facts, why.as_ref()),
        // What is unreadable is planned as what stands, once it was cleared.
        Origin::Fresh { .. } | Origin::Unreadable(_) => match (facts.empty, facts.touched) {
            // A cookie that is garbage is something: whoever starts over is rid of it.
            (true, _) if matches!(facts.origin, Origin::Fresh { refused: true }) && facts.intent == Intent::End => {
                Plan::Remove
            }
            (true, _) | (_, false) => Plan::Nothing,
            (false, true) if facts.on_store => Plan::Create,
            (false, true) => Plan::Cookie,
        },
        Origin::Foreign { due } => match (facts.touched, facts.empty) {
            (false, false) if *due => Plan::Create,
            (false, _) => Plan::Nothing,
            (true, true) => Plan::Remove,
            (true, false) => Plan::Create,
        },
        Origin::Cookie { reissue } => match (facts.touched, facts.empty) {
            (false, _) if *reissue => Plan::Cookie,
            (false, _) => Plan::Nothing,
            (true, true) => Plan::Remove,
            (true, false) => Plan::Cookie,
        },
    }
}

fn plan_of_a_living(facts: &Facts<'_>) -> Plan {
    match (facts.intent, facts.origin) {
        (Intent::End, _) if facts.empty => Plan::End,
        (Intent::End | Intent::Switch, _) => Plan::BeginAgain,
        // Whoever follows a renewal was renewed just now.
        (Intent::Renew, Origin::Stored(at)) if at.id.is_none() && facts.written => Plan::Replace,
        (Intent::Renew, Origin::Stored(at)) if at.id.is_none() => Plan::Nothing,
        (Intent::Renew | Intent::LogIn, _) => Plan::Renew,
        (Intent::Keep, Origin::Former { .. }) => Plan::Migrate,
        (Intent::Keep, _) if facts.written => Plan::Replace,
        // What an earlier attempt wrote has to be looked at.
        (Intent::Keep, Origin::Stored(at)) if at.unseen => Plan::Replace,
        (Intent::Keep, Origin::Stored(at)) if at.touch => Plan::Touch,
        (Intent::Keep, Origin::Stored(at)) if at.reissue && at.id.is_some() => Plan::Cookie,
        (Intent::Keep, _) => Plan::Nothing,
    }
}

fn plan_of_a_late(facts: &Facts<'_>, tombstone: &Tombstone) -> Plan {
    let is_recent = facts.now.since(tombstone.made) < AGAIN_FOR;
    match &tombstone.why {
        _ if !facts.changed => Plan::Nothing,
        _ if facts.logs_in => Plan::Create,
        Why::BegunAgain | Why::Renewed { .. } if is_recent => Plan::Again,
        _ if facts.empty => Plan::Nothing,
        _ => Plan::Create,
    }
}

fn plan_of_a_lost(facts: &Facts<'_>, why: Option<&Why>) -> Plan {
    match (facts.intent, why) {
        _ if !facts.changed => Plan::Nothing,
        _ if facts.logs_in => Plan::Create,
        // It has ended; that is what was asked for.
        (Intent::End, Some(Why::Ended | Why::BegunAgain) | None) if facts.empty => Plan::Nothing,
        (Intent::End, Some(Why::Ended)) => Plan::Create,
        (_, Some(Why::Ended | Why::BegunAgain)) => Plan::Drop,
        (_, Some(Why::Renewed { .. }) | None) => Plan::Again,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::{
        data::Contents,
        id::SessionId,
        state::At,
        store::{StoreKey, Version},
    };

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn origins() -> Vec<(&'static str, Origin)> {
        let id = SessionId::from_random([7; 32]);
        let at = At {
            key: id.key().clone(),
            id: Some(id.clone()),
            version: Version::from_bits(1),
            touch: false,
            reissue: false,
            empty: false,
            unseen: false,
        };
        let renewed = |successor| Why::Renewed { successor };
        let late = |why, seconds: u64| {
            let made = Timestamp::from_secs(NOW.as_secs() - seconds);
            Origin::Late(Tombstone::new(why, 1, made))
        };
        let loaded = Box::new(Contents::new(NOW, 60, None, false));
        vec![
            ("fresh", Origin::Fresh { refused: false }),
            ("refused", Origin::Fresh { refused: true }),
            ("cookie", Origin::Cookie { reissue: false }),
            ("cookie, due", Origin::Cookie { reissue: true }),
            ("former", Origin::Former { id, loaded }),
            ("foreign", Origin::Foreign { due: false }),
            ("foreign, due", Origin::Foreign { due: true }),
            ("stored", Origin::Stored(at.clone())),
            ("stored, due", Origin::Stored(At { touch: true, reissue: true, ..at.clone() })),
            ("stored, unseen", Origin::Stored(At { unseen: true, reissue: true, ..at.clone() })),
            ("followed", Origin::Stored(At { id: None, ..at })),
            ("late: ended", late(Why::Ended, 1)),
            ("late: begun again", late(Why::BegunAgain, 9)),
            ("late: begun again, 10 s", late(Why::BegunAgain, 10)),
            ("late: renewed", late(renewed(None), 9)),
            ("late: renewed, 10 s", late(renewed(None), 10)),
            ("lost: ended", Origin::Lost(Some(Why::Ended))),
            ("lost: begun again", Origin::Lost(Some(Why::BegunAgain))),
            ("lost: renewed", Origin::Lost(Some(renewed(Some(StoreKey::from_digest([1; 32])))))),
            ("lost: missing", Origin::Lost(None)),
        ]
    }

    /// Nothing done; messages taken; an entry written; and each intent, with an entry left and (`-`) without.
    fn table() -> String {
        let columns = [
            ("nothing", Intent::Keep, false, false, false),
            ("taken", Intent::Keep, true, false, false),
            ("written", Intent::Keep, true, true, false),
            ("emptied", Intent::Keep, true, true, true),
            ("renew", Intent::Renew, false, true, false),
            ("log in", Intent::LogIn, true, true, false),
            ("switch", Intent::Switch, true, true, false),
            ("clear", Intent::End, false, true, true),
            ("begin", Intent::End, true, true, false),
        ];
        let mut table = format!("{:<24}", "");
        for (name, ..) in columns {
            write!(table, "{name:<11}").unwrap();
        }
        for (name, origin) in origins() {
            write!(table, "\n{name:<24}").unwrap();
            for (_, intent, written, changed, empty) in columns {
                let on_store = !matches!(origin, Origin::Cookie { .. });
                let touched = written || intent != Intent::Keep;
                let logs_in = matches!(intent, Intent::LogIn | Intent::Switch);
                let facts =
                    Facts { origin: &origin, intent, logs_in, touched, written, changed, empty, on_store, now: NOW };
                write!(table, "{:<11}", format!("{:?}", plan(&facts))).unwrap();
            }
        }
        table.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_is_to_be_done_is_one_table() {
        let expected = include_str!("plan.txt");
        assert_eq!(table(), expected.trim_end(), "\n{}\n", table());
    }
}
