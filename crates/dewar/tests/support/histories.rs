//! Generated histories of racing clients against a model of the promises: plain maps, a clock, and no queues.
//!
//! Where several things happen at once, each order they can have is a world of its own, and a world that does not show
//! what was seen is dropped. None may be the last.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::Poll,
    time::Duration,
};

use dewar::{
    Clock, Error, Session, SessionLayer, SessionManager,
    runtime::{Runtime, Task, Tokio},
    store::{SessionAdmin, Timestamp},
};
use http::{HeaderMap, header};

use super::{http::secret, yielding::Yielding};

const IDLE: u64 = 86_400;
const ABSOLUTE: u64 = 30 * 86_400;
const GONE_FOR: u64 = 120;
const AGAIN_FOR: u64 = 10;
const FOLLOWED_FOR: u64 = 30;
const CLIENTS: usize = 3;

type Entries = BTreeMap<String, i64>;

#[derive(Clone, Debug)]
enum Act {
    Insert(String, i64),
    Remove(String),
    Add(String),
    Clear,
    Renew,
    LogIn(usize),
}

/// What may happen at the same time as others of its kind.
#[derive(Clone, Debug)]
enum Deed {
    Commit(usize),
    End(usize),
    RevokeAll(usize),
    RevokeOthers(usize),
    RevokeHandle(usize),
    RevokeEveryone,
}

#[derive(Clone, Debug)]
enum Step {
    Begin(usize),
    Do(usize, Act),
    Together(Vec<Deed>),
    /// Acts while the request's own commit is under way.
    Meanwhile(usize, Vec<Act>),
    /// The commit is dropped after so many polls, and the request ends without an answer.
    Abandon {
        client: usize,
        polls: u64,
        ends: bool,
    },
    TakeHandle(usize),
    Advance(u64),
}

/// Splitmix64: a seed repeats a history.
#[derive(Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn client(&mut self) -> usize {
        self.roll(CLIENTS as u64) as usize
    }

    fn name(&mut self) -> String {
        ["a", "b", "c"][self.roll(3) as usize].to_owned()
    }

    fn act(&mut self) -> Act {
        match self.roll(14) {
            0..=3 => Act::Insert(self.name(), self.roll(100) as i64),
            4..=6 => Act::Remove(self.name()),
            7..=9 => Act::Add(self.name()),
            10 => Act::Clear,
            11 => Act::Renew,
            _ => Act::LogIn(self.roll(2) as usize),
        }
    }

    fn deed(&mut self) -> Deed {
        match self.roll(20) {
            0..=5 => Deed::Commit(self.client()),
            6..=15 => Deed::End(self.client()),
            16 => Deed::RevokeAll(self.roll(2) as usize),
            17 => Deed::RevokeOthers(self.client()),
            18 => Deed::RevokeHandle(self.roll(4) as usize),
            _ if self.roll(3) == 0 => Deed::RevokeEveryone,
            _ => Deed::End(self.client()),
        }
    }

    fn step(&mut self, pauses: &[u64]) -> Step {
        match self.roll(32) {
            0..=9 => Step::Begin(self.client()),
            10..=18 => Step::Do(self.client(), self.act()),
            19..=23 => Step::Together(vec![self.deed()]),
            24..=26 => Step::Together((0..2 + self.roll(2)).map(|_| self.deed()).collect()),
            27 => Step::Meanwhile(self.client(), (0..1 + self.roll(2)).map(|_| self.act()).collect()),
            28 => Step::Abandon { client: self.client(), polls: self.roll(4), ends: self.roll(2) == 0 },
            29 => Step::TakeHandle(self.client()),
            _ => Step::Advance(pauses[self.roll(pauses.len() as u64) as usize]),
        }
    }

    /// All clients do something, and all of it is written at once: what waits for one write is written together.
    fn crowd(&mut self, pauses: &[u64]) -> Vec<Step> {
        let mut steps: Vec<Step> = (0..CLIENTS).map(Step::Begin).collect();
        for client in 0..CLIENTS {
            steps.extend((0..1 + self.roll(2)).map(|_| Step::Do(client, self.act())));
        }
        let orders = orders(CLIENTS);
        let order = &orders[self.roll(orders.len() as u64) as usize];
        let deed = |client: &usize| if self.roll(2) == 0 { Deed::Commit(*client) } else { Deed::End(*client) };
        steps.push(Step::Together(order.iter().map(deed).collect()));
        if self.roll(4) == 0 {
            steps.push(Step::Advance(pauses[self.roll(pauses.len() as u64) as usize]));
        }
        steps
    }
}

/// What is under one key.
#[derive(Clone, Debug, PartialEq)]
enum Slot {
    Nothing,
    Lives(Kept),
    Dead(Tomb),
}

/// A session as the model keeps it.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    view: View,
    seen: u64,
    version: u64,
    /// Until when the cookie that it was moved from could come back.
    guard: u64,
}

/// What a request sees of a session.
#[derive(Clone, Debug, Default, PartialEq)]
struct View {
    entries: Entries,
    principal: Option<usize>,
    lineage: u64,
    born: u64,
    /// How often its principal and everybody had been thrown out when it began; `None`: it begins with its commit.
    began: Option<(u64, u64)>,
}

#[derive(Clone, Debug, PartialEq)]
struct Tomb {
    why: Why,
    made: u64,
    until: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Why {
    Ended,
    BegunAgain,
    Renewed { successor: Option<usize> },
}

#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Intent {
    Keep,
    Renew,
    LogIn,
    Switch,
    End,
}

#[derive(Clone, Debug, PartialEq)]
enum Origin {
    Nobody {
        refused: bool,
    },
    Late(Tomb),
    Lost(Option<Why>),
    Held {
        slot: usize,
        named: bool,
        version: u64,
        touch: bool,
        reissue: bool,
        was_empty: bool,
    },
    /// In a sealed cookie, and not moved yet.
    Sealed {
        slot: usize,
        loaded: View,
    },
}

/// A cookie that somebody has.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cookie {
    Id(usize),
    Sealed,
}

/// What was done that a replay can do again; a log-in has its moment and its lineage.
#[derive(Clone, Debug, PartialEq)]
enum Done {
    Insert(String, i64),
    Remove(String),
    Add(String),
    LogIn { user: usize, at: u64, lineage: u64 },
}

/// A request as the model sees it.
#[derive(Clone, Debug, PartialEq)]
struct Running {
    origin: Origin,
    view: View,
    done: Vec<Done>,
    intent: Intent,
    due: Option<Due>,
}

/// What a response does to the cookie.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Due {
    Set(usize),
    Remove,
}

/// How a commit went.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Saved,
    Again,
    Closed,
    /// The store failed: it was done, or it was not.
    Unknown,
}

/// What was seen of a deed: how it went, and the `Set-Cookie` of a response: a value, or none where it is removed.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Committed(Outcome),
    Answered(Outcome, Option<Option<String>>),
    Revoked(u64),
    /// The store failed: it was done, or it was not.
    Failed,
    NotDone,
}

/// One world that may be.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    now: u64,
    slots: Vec<Slot>,
    /// The value of the cookie that leads to each slot, once it was seen.
    values: Vec<Option<String>>,
    /// The sealed cookie, if this history has one, and the key that follows from it.
    sealed: Option<(View, usize)>,
    jars: Vec<Option<Cookie>>,
    running: Vec<Option<Running>>,
    /// How often each principal was thrown out, when last, and which lineage stayed.
    raised: [(u64, Option<u64>, Option<u64>); 2],
    everyone: (u64, Option<u64>),
    lineages: u64,
    versions: u64,
    handles: Vec<Option<(usize, u64)>>,
    /// Whether whoever ends a session lost the answer: what stands there when they ask is their own tombstone, whatever was there before.
    asks_again: bool,
    /// What happens at the same time as what is done now.
    round: Round,
}

/// What is kept in mind while several things happen at once.
#[derive(Clone, Debug, Default, PartialEq)]
struct Round {
    /// Whether it is more than one.
    is_beside: bool,
    /// The requests as they were before.
    before: Vec<Option<Running>>,
    /// What was written, ended by others, and asked for again: whoever wrote it is told that it has ended, and it has in the end.
    ended: Vec<usize>,
    /// The session that was emptied and filled again in one write: nobody's cookie is removed, and set again.
    refilled: Option<usize>,
    /// The sessions that were empty and that one of those who write fills, and those that one must have filled.
    revived: Vec<usize>,
    to_be_revived: Vec<usize>,
    /// The session that one must empty again in the write that filled it, and the one that was: nobody is given a cookie.
    to_be_emptied: Option<usize>,
    emptied_again: Option<usize>,
}

impl View {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.principal.is_none()
    }

    fn replay(&mut self, done: &[Done]) {
        for done in done {
            match done {
                Done::Insert(name, value) => drop(self.entries.insert(name.clone(), *value)),
                Done::Remove(name) => drop(self.entries.remove(name)),
                Done::Add(name) => *self.entries.entry(name.clone()).or_default() += 1,
                Done::LogIn { user, at, lineage } => {
                    if self.principal != Some(*user) {
                        self.lineage = *lineage;
                    }
                    self.principal = Some(*user);
                    self.born = *at;
                    self.began = None;
                }
            }
        }
    }
}

impl Round {
    /// Somebody empties a session: who was said to have filled it has, and who is said to have filled it from now on comes later.
    fn empties(&mut self, slot: usize) {
        self.to_be_revived.retain(|other| !self.revived.contains(other));
        self.revived.retain(|other| *other != slot);
        if self.to_be_emptied == Some(slot) {
            self.emptied_again = self.to_be_emptied.take();
        }
    }
}

impl Kept {
    fn expires(&self) -> u64 {
        let idle = if self.view.is_empty() { GONE_FOR } else { IDLE };
        (self.seen + idle).min(self.view.born + ABSOLUTE)
    }
}

impl Running {
    fn logs_in(&self) -> bool {
        self.done.iter().any(|done| matches!(done, Done::LogIn { .. }))
    }

    fn has_changes(&self) -> bool {
        self.intent != Intent::Keep || !self.done.is_empty()
    }
}

/// What is found under a key.
enum Found {
    Lives(Kept),
    Dead(Tomb),
    Missing,
}

impl Model {
    fn find(&self, slot: usize) -> Found {
        match &self.slots[slot] {
            Slot::Lives(kept) if self.now < kept.expires() => Found::Lives(kept.clone()),
            Slot::Lives(kept) if self.now < kept.guard => {
                Found::Dead(Tomb { why: Why::Ended, made: kept.expires(), until: kept.guard })
            }
            Slot::Dead(tomb) if self.now < tomb.until => Found::Dead(tomb.clone()),
            _ => Found::Missing,
        }
    }

    /// Where the session goes on that was here: through plain renewals of a short while ago.
    fn follow(&self, slot: usize) -> (usize, Found) {
        let mut at = slot;
        let mut found = self.find(slot);
        while let Found::Dead(Tomb { why: Why::Renewed { successor: Some(successor) }, made, .. }) = &found {
            if self.now - made >= FOLLOWED_FOR {
                break;
            }
            match self.find(*successor) {
                Found::Missing => break,
                next => (at, found) = (*successor, next),
            }
        }
        (at, found)
    }

    fn open(&mut self, client: usize) {
        let new = View { born: self.now, ..View::default() };
        let (origin, view) = match self.jars[client] {
            None => (Origin::Nobody { refused: false }, new),
            Some(Cookie::Id(slot)) => self.open_slot(slot, false, new),
            Some(Cookie::Sealed) => {
                let (view, slot) = self.sealed.clone().expect("this history has one");
                if self.now >= (view.born + IDLE).min(view.born + ABSOLUTE) {
                    (Origin::Nobody { refused: true }, new)
                } else if !matches!(self.find(slot), Found::Missing) {
                    self.open_slot(slot, true, new)
                } else if self.last_raise(view.principal).is_some_and(|raise| view.born <= raise) {
                    let tomb = Tomb { why: Why::Ended, made: self.now, until: self.now + GONE_FOR };
                    (Origin::Late(tomb), new)
                } else {
                    let view = View { began: Some(self.raises(view.principal)), ..view };
                    (Origin::Sealed { slot, loaded: view.clone() }, view)
                }
            }
        };
        self.running[client] = Some(Running { origin, view, done: Vec::new(), intent: Intent::Keep, due: None });
    }

    fn open_slot(&self, slot: usize, reissue: bool, new: View) -> (Origin, View) {
        match self.follow(slot) {
            (at, Found::Lives(kept)) => {
                let was_empty = kept.view.is_empty();
                let named = at == slot;
                let touch = named && !was_empty && self.now - kept.seen >= IDLE / 10;
                let reissue = reissue && named;
                (Origin::Held { slot: at, named, version: kept.version, touch, reissue, was_empty }, kept.view)
            }
            (_, Found::Dead(tomb)) => (Origin::Late(tomb), new),
            (_, Found::Missing) => (Origin::Nobody { refused: false }, new),
        }
    }

    /// How often the principal was thrown out, and everybody.
    fn raises(&self, principal: Option<usize>) -> (u64, u64) {
        (principal.map_or(0, |user| self.raised[user].0), self.everyone.0)
    }

    fn last_raise(&self, principal: Option<usize>) -> Option<u64> {
        self.everyone.1.max(principal.and_then(|user| self.raised[user].1))
    }

    /// Does it, and says what it shows.
    fn act(&mut self, client: usize, act: &Act) -> Option<i64> {
        let now = self.now;
        self.lineages += 1;
        let lineage = self.lineages;
        let running = self.running[client].as_mut().expect("it runs");
        let mut shows = None;
        let done = match act {
            Act::Insert(name, value) => Done::Insert(name.clone(), *value),
            Act::Remove(name) => {
                shows = running.view.entries.get(name).copied();
                shows.as_ref()?;
                Done::Remove(name.clone())
            }
            Act::Add(name) => {
                shows = Some(running.view.entries.get(name).copied().unwrap_or(0) + 1);
                Done::Add(name.clone())
            }
            Act::Clear => {
                running.begin_again(now, Intent::End);
                return None;
            }
            Act::Renew => {
                running.raise(Intent::Renew);
                return None;
            }
            Act::LogIn(user) => {
                if running.view.principal.is_some_and(|former| former != *user) {
                    running.begin_again(now, Intent::Switch);
                } else {
                    running.raise(Intent::LogIn);
                }
                Done::LogIn { user: *user, at: now, lineage }
            }
        };
        running.view.replay(std::slice::from_ref(&done));
        running.done.push(done);
        shows
    }

    fn put(&mut self, mut view: View) -> usize {
        self.versions += 1;
        view.began = view.began.or(view.principal.map(|_| self.raises(view.principal)));
        self.slots.push(Slot::Lives(Kept { view, seen: self.now, version: self.versions, guard: 0 }));
        self.values.push(None);
        self.slots.len() - 1
    }

    fn bury(&mut self, slot: usize, why: Why) {
        let guard = match (&self.slots[slot], &self.sealed) {
            (Slot::Lives(kept), _) => kept.guard,
            (_, Some((view, key))) if *key == slot => view.born + IDLE,
            _ => 0,
        };
        self.slots[slot] = Slot::Dead(Tomb { why, made: self.now, until: guard.max(self.now + GONE_FOR) });
    }

    /// One commit as if nobody else were there. What is done `meanwhile` was done after it began; `None` where it shows something else.
    fn commit(&mut self, client: usize, meanwhile: &[(Act, Option<i64>)], is_final: bool) -> Option<Outcome> {
        let Some(running) = self.running[client].as_mut() else { return Some(Outcome::Closed) };
        let mut job = running.clone();
        // A log-out that met a dead session stays one.
        let stays = job.intent == Intent::End && job.view.is_empty() && matches!(job.origin, Origin::Lost(_));
        running.done.clear();
        running.intent = if stays { Intent::End } else { Intent::Keep };
        for (act, shown) in meanwhile {
            if self.act(client, act) != *shown {
                return None;
            }
        }
        let outcome = self.carry_out(&mut job, is_final);
        let running = self.running[client].as_mut().expect("it runs");
        running.origin = job.origin;
        running.due = job.due;
        if running.intent >= Intent::Switch {
            return Some(outcome);
        }
        if outcome != Outcome::Again {
            running.view = job.view;
            let newer = running.done.clone();
            running.view.replay(&newer);
            return Some(outcome);
        }
        // Nothing of it was saved, so all of it is still to be done.
        running.done.splice(0..0, job.done);
        running.raise(job.intent);
        if running.origin == Origin::Lost(None) && running.intent < Intent::Switch {
            running.view = View { born: self.now, ..View::default() };
            running.view.replay(&running.done.clone());
        }
        Some(outcome)
    }

    fn carry_out(&mut self, job: &mut Running, is_final: bool) -> Outcome {
        // Whoever follows a renewal was renewed just now.
        if matches!(job.origin, Origin::Held { named: false, .. }) && job.intent == Intent::Renew {
            job.intent = Intent::Keep;
        }
        match job.origin.clone() {
            Origin::Nobody { refused } => {
                if job.view.is_empty() {
                    if refused && job.intent == Intent::End {
                        job.due = Some(Due::Remove);
                        job.origin = Origin::Nobody { refused: false };
                    }
                } else if job.has_changes() {
                    self.begin_new(job);
                }
                Outcome::Saved
            }
            Origin::Late(tomb) => {
                let is_recent = self.now - tomb.made < AGAIN_FOR;
                if !job.has_changes() {
                    return Outcome::Saved;
                }
                if job.logs_in() {
                    self.begin_new(job);
                } else if is_recent && tomb.why != Why::Ended {
                    return Outcome::Again;
                } else if !job.view.is_empty() {
                    self.begin_new(job);
                }
                Outcome::Saved
            }
            Origin::Lost(why) => self.lost(job, why, is_final),
            Origin::Held { slot, named, version, touch, reissue, was_empty } => match self.find(slot) {
                Found::Lives(kept) if !job.has_changes() => {
                    if touch && kept.version == version {
                        self.kept(slot).seen = self.now;
                    }
                    if reissue {
                        job.due = Some(Due::Set(slot));
                    }
                    job.origin = Origin::Held { slot, named, version, touch: false, reissue: false, was_empty };
                    Outcome::Saved
                }
                // Nobody asks the store whether it still lives, only for a cookie.
                _ if !job.has_changes() && !touch => {
                    if reissue {
                        job.due = Some(Due::Set(slot));
                        job.origin = Origin::Held { slot, named, version, touch, reissue: false, was_empty };
                    }
                    Outcome::Saved
                }
                Found::Lives(_) => self.write(job, slot, named, reissue || was_empty),
                _ => self.meets_its_end(job, slot, is_final),
            },
            Origin::Sealed { slot, loaded } => match self.find(slot) {
                Found::Lives(_) => self.write(job, slot, true, true),
                Found::Dead(_) => self.meets_its_end(job, slot, is_final),
                Found::Missing if job.intent < Intent::Switch && self.now >= loaded.born + IDLE => {
                    self.lost(job, None, is_final)
                }
                // Whoever ends it is not asked whether it was thrown out.
                Found::Missing if job.intent < Intent::Switch && self.is_outdated(&loaded) => {
                    self.lost(job, Some(Why::Ended), is_final)
                }
                Found::Missing => {
                    self.versions += 1;
                    let guard = loaded.born + IDLE;
                    let kept = Kept { view: loaded, seen: self.now, version: self.versions, guard };
                    self.slots[slot] = Slot::Lives(kept);
                    self.write(job, slot, true, true)
                }
            },
        }
    }

    /// Whether somebody was thrown out since this session began.
    fn is_outdated(&self, view: &View) -> bool {
        let (Some((own_then, everyone_then)), (own, everyone)) = (view.began, self.raises(view.principal)) else {
            return false;
        };
        let passes = view.principal.is_some_and(|user| self.raised[user].2 == Some(view.lineage));
        everyone != everyone_then || own != own_then && !passes
    }

    fn kept(&mut self, slot: usize) -> &mut Kept {
        match &mut self.slots[slot] {
            Slot::Lives(kept) => kept,
            other => panic!("it lives: {other:?}"),
        }
    }

    fn begin_new(&mut self, job: &mut Running) {
        let slot = self.put(job.view.clone());
        self.holds(job, slot, true);
        job.due = Some(Due::Set(slot));
    }

    fn holds(&mut self, job: &mut Running, slot: usize, named: bool) {
        let kept = self.kept(slot);
        let was_empty = kept.view.is_empty();
        job.view = kept.view.clone();
        job.origin = Origin::Held { slot, named, version: kept.version, touch: false, reissue: false, was_empty };
    }

    /// Brings what a request did to a session that lives.
    fn write(&mut self, job: &mut Running, slot: usize, named: bool, needs_cookie: bool) -> Outcome {
        let mut next = self.kept(slot).view.clone();
        match job.intent {
            Intent::Renew | Intent::LogIn if named || job.intent == Intent::LogIn => {
                next.replay(&job.done);
                let is_asked_for_again = self.asks_again && next.is_empty();
                let successor = self.put(next);
                let follows = (job.intent == Intent::Renew).then_some(successor);
                self.bury(slot, Why::Renewed { successor: follows });
                self.holds(job, successor, true);
                // Who asks again, and finds it empty, removes the cookie as whoever empties a session does.
                match (is_asked_for_again, job.done.is_empty()) {
                    (true, true) => {}
                    (true, false) => job.due = Some(Due::Remove),
                    (false, _) => job.due = Some(Due::Set(successor)),
                }
            }
            Intent::End if job.view.is_empty() => {
                self.bury(slot, Why::Ended);
                job.origin = Origin::Nobody { refused: false };
                job.due = Some(Due::Remove);
            }
            Intent::Switch | Intent::End => {
                self.bury(slot, Why::BegunAgain);
                self.begin_new(job);
            }
            _ => {
                let was_empty = next.is_empty();
                // Whoever follows a renewal has no cookie to give for a session that it would revive.
                if was_empty && !named && !job.done.is_empty() {
                    return Outcome::Again;
                }
                next.replay(&job.done);
                let is_empty = next.is_empty();
                let (now, version) = (self.now, self.versions + 1);
                let kept = self.kept(slot);
                if !job.done.is_empty() {
                    (kept.view, kept.seen, kept.version) = (next, now, version);
                    self.versions = version;
                    if named && is_empty && was_empty {
                        // Whoever empties a session removes its cookie.
                    } else if named && is_empty {
                        job.due = Some(Due::Remove);
                    } else if named && (was_empty || needs_cookie) {
                        job.due = Some(Due::Set(slot));
                    }
                    match (was_empty, is_empty) {
                        (true, false) => self.round.revived.push(slot),
                        (false, true) => self.round.empties(slot),
                        _ => {}
                    }
                } else if named {
                    job.due = if needs_cookie && !is_empty { Some(Due::Set(slot)) } else { job.due };
                }
                self.holds(job, slot, named);
            }
        }
        Outcome::Saved
    }

    /// A request had loaded the session, and finds it dead.
    fn meets_its_end(&mut self, job: &mut Running, slot: usize, is_final: bool) -> Outcome {
        let ends = job.intent == Intent::End && job.view.is_empty();
        let (last, found) = self.follow(slot);
        if ends && self.asks_again && matches!(found, Found::Missing) {
            self.bury(last, Why::Ended);
            job.origin = Origin::Nobody { refused: false };
            job.due = Some(Due::Remove);
            return Outcome::Saved;
        }
        let outcome = self.goes_on_or_is_lost(job, slot, is_final);
        // Whoever ends it makes sure that it is dead.
        match (found, &mut self.slots[last]) {
            (Found::Dead(_), Slot::Dead(tomb)) if ends => tomb.until = tomb.until.max(self.now + GONE_FOR),
            (Found::Missing, _) if ends => self.bury(last, Why::Ended),
            _ => {}
        }
        outcome
    }

    fn goes_on_or_is_lost(&mut self, job: &mut Running, slot: usize, is_final: bool) -> Outcome {
        let why = match self.find(slot) {
            Found::Dead(tomb) => Some(tomb.why),
            _ => None,
        };
        match self.follow(slot) {
            (at, Found::Lives(kept)) if job.intent == Intent::End || job.logs_in() || self.is_same(job, &kept) => {
                if job.has_changes() {
                    return self.write(job, at, false, false);
                } else {
                    self.versions += 1;
                    let (now, version) = (self.now, self.versions);
                    let kept = self.kept(at);
                    (kept.seen, kept.version) = (now, version);
                    self.holds(job, at, false);
                }
                return Outcome::Saved;
            }
            (_, Found::Dead(tomb)) => return self.lost(job, Some(tomb.why), is_final),
            _ => {}
        }
        self.lost(job, why, is_final)
    }

    fn is_same(&self, job: &Running, kept: &Kept) -> bool {
        job.view.principal == kept.view.principal
    }

    fn lost(&mut self, job: &mut Running, why: Option<Why>, is_final: bool) -> Outcome {
        job.origin = Origin::Lost(why);
        let was_renewed = matches!(why, Some(Why::Renewed { .. }));
        let has_changes = job.has_changes();
        if !was_renewed && job.intent < Intent::Switch {
            job.view = View { born: self.now, ..View::default() };
            job.view.replay(&job.done);
        }
        if !has_changes {
            return Outcome::Saved;
        }
        if job.logs_in() {
            if was_renewed && job.intent == Intent::LogIn {
                // It is one session more beside the one that the other request goes on in.
                self.lineages += 1;
                job.view.lineage = self.lineages;
            }
            self.begin_new(job);
            return Outcome::Saved;
        }
        match why {
            // It has ended, which is what was asked for.
            Some(Why::Ended | Why::BegunAgain) | None if job.intent == Intent::End && job.view.is_empty() => {
                Outcome::Saved
            }
            // What came after a clear needs nothing of what has ended.
            Some(Why::Ended) if job.intent == Intent::End => {
                self.begin_new(job);
                Outcome::Saved
            }
            Some(Why::Ended | Why::BegunAgain) => {
                job.view = View { born: self.now, ..View::default() };
                if is_final { Outcome::Saved } else { Outcome::Closed }
            }
            _ => Outcome::Again,
        }
    }

    /// The same, where a request that has nothing to save sees its session as it is now.
    fn refreshed(&self, client: usize) -> Option<Self> {
        let mut world = self.clone();
        let mut running = world.running[client].clone().filter(|running| !running.has_changes())?;
        let Origin::Held { slot, named, .. } = running.origin else { return None };
        let Found::Lives(_) = world.find(slot) else { return None };
        world.holds(&mut running, slot, named);
        world.running[client] = Some(running);
        Some(world)
    }

    /// The same, where a request that had everything saved asks again, and knows that its session is dead since: with the cookie that it was
    /// answered with before, or without.
    fn found_dead(&self, client: usize) -> Vec<Self> {
        let (Some(running), Some(before)) = (&self.running[client], &self.round.before[client]) else {
            return Vec::new();
        };
        let Origin::Held { slot, .. } = running.origin else { return Vec::new() };
        let (Found::Dead(tomb), false) = (self.find(slot), running.has_changes()) else { return Vec::new() };
        let view = match tomb.why {
            Why::Renewed { .. } => before.view.clone(),
            Why::Ended | Why::BegunAgain => View { born: self.now, ..View::default() },
        };
        // What was done and ended before it could be asked for is taken as done, as the request saw it.
        let taken = (tomb.why == Why::Ended).then(|| Running { view: before.view.clone(), ..running.clone() });
        let running = Running { origin: Origin::Lost(Some(tomb.why)), view, ..running.clone() };
        let silent = Running { due: before.due, ..running.clone() };
        let world = |running| {
            let mut world = self.clone();
            world.running[client] = Some(running);
            world
        };
        taken.into_iter().chain([running, silent]).map(world).collect()
    }

    fn end_where(&mut self, mut ends: impl FnMut(&View) -> bool) -> u64 {
        let mut count = 0;
        for slot in 0..self.slots.len() {
            if let Found::Lives(kept) = self.find(slot)
                && ends(&kept.view)
            {
                self.bury(slot, Why::Ended);
                count += 1;
            }
        }
        count
    }

    fn throw_out(&mut self, user: usize, but: Option<u64>) -> u64 {
        self.raised[user] = (self.raised[user].0 + 1, Some(self.now), but);
        self.end_where(|view| view.principal == Some(user) && Some(view.lineage) != but)
    }

    /// The worlds that this one becomes by a deed of which this was seen.
    fn perform(&self, deed: &Deed, seen: &Seen, loses: bool) -> Vec<Self> {
        let asking = |asks_again| Self { asks_again, ..self.clone() };
        let mut worlds = asking(false).worlds_after(deed, seen);
        if loses {
            let others = asking(true).worlds_after(deed, seen).into_iter();
            worlds.extend(others.map(|world| Self { asks_again: false, ..world }));
        }
        worlds
    }

    fn worlds_after(&self, deed: &Deed, seen: &Seen) -> Vec<Self> {
        let after = |change: &dyn Fn(&mut Self) -> bool| {
            let mut world = self.clone();
            change(&mut world).then_some(world)
        };
        let mut others = Vec::new();
        let worlds = match (deed, seen) {
            (_, Seen::NotDone) => [after(&|_| true), None],
            (Deed::Commit(client), Seen::Committed(Outcome::Unknown)) => {
                let ends = |world: &mut Self| world.running[*client] = None;
                [
                    after(&|world| {
                        ends(world);
                        true
                    }),
                    after(&|world| {
                        world.commit(*client, &[], true);
                        ends(world);
                        true
                    }),
                ]
            }
            (Deed::End(client), Seen::Answered(Outcome::Unknown, cookie)) => [
                after(&|world| world.receive(*client, cookie.as_ref())),
                after(&|world| {
                    let before = world.running[*client].as_ref().expect("it runs").due;
                    world.commit(*client, &[], true);
                    world.running[*client].as_mut().expect("it runs").due = before;
                    world.receive(*client, cookie.as_ref())
                }),
            ],
            (Deed::Commit(client), Seen::Committed(outcome)) => {
                if *outcome == Outcome::Saved {
                    others.extend(self.touched_in_vain(*client));
                }
                [
                    after(&|world| world.commit(*client, &[], false) == Some(*outcome)),
                    // The first attempt did it, it was ended, and the second one says so, without a cookie.
                    after(&|world| {
                        let asks_again = world.asks_again && *outcome == Outcome::Closed;
                        let before = world.running[*client].as_ref().and_then(|running| running.due);
                        let is_saved = asks_again && world.commit(*client, &[], false) == Some(Outcome::Saved);
                        world.running[*client].iter_mut().for_each(|running| running.due = before);
                        is_saved
                    }),
                ]
            }
            (Deed::End(client), Seen::Answered(outcome, cookie)) => {
                let mut answered = self.clone();
                if answered.commit(*client, &[], true) == Some(*outcome) {
                    let possible = answered.beside(*client).into_iter();
                    others.extend(
                        possible.filter_map(|mut world| world.receive(*client, cookie.as_ref()).then_some(world)),
                    );
                }
                if *outcome == Outcome::Saved {
                    let possible = self.touched_in_vain(*client).into_iter();
                    others.extend(
                        possible.filter_map(|mut world| world.receive(*client, cookie.as_ref()).then_some(world)),
                    );
                }
                // The same of a response.
                let ended = |world: &mut Self| {
                    let is_possible = world.asks_again && (*outcome, cookie) == (Outcome::Saved, &None);
                    let is_saved = is_possible && world.commit(*client, &[], true) == Some(Outcome::Saved);
                    let running = world.running[*client].take();
                    match running.map(|running| running.origin) {
                        Some(Origin::Held { slot, .. }) if is_saved => world.round.ended.push(slot),
                        _ => return false,
                    }
                    true
                };
                [after(&ended), None]
            }
            (revocation, Seen::Failed) => [
                after(&|_| true),
                after(&|world| {
                    world.revoke(revocation);
                    true
                }),
            ],
            (Deed::RevokeEveryone, Seen::Revoked(_)) => [
                after(&|world| {
                    world.revoke(deed);
                    true
                }),
                None,
            ],
            (revocation, Seen::Revoked(count)) => [after(&|world| world.revoke(revocation) == *count), None],
            other => panic!("{other:?}"),
        };
        others.extend(worlds.into_iter().flatten());
        others
    }

    /// Where an answer may be lost: a request that only reads is answered whatever became of its touch, without a cookie.
    fn touched_in_vain(&self, client: usize) -> Vec<Self> {
        let Some(running) = self.running[client].as_ref().filter(|running| self.asks_again && !running.has_changes())
        else {
            return Vec::new();
        };
        let Origin::Held { slot, version, touch: true, .. } = running.origin else { return Vec::new() };
        let mut worlds = vec![self.clone()];
        if matches!(self.find(slot), Found::Lives(kept) if kept.version == version) {
            let mut touched = self.clone();
            touched.kept(slot).seen = self.now;
            worlds.push(touched);
        }
        worlds
    }

    /// How many devices it ends.
    fn revoke(&mut self, revocation: &Deed) -> u64 {
        match revocation {
            Deed::RevokeAll(user) => self.throw_out(*user, None),
            Deed::RevokeOthers(client) => {
                let view = self.running[*client].as_ref().expect("it runs").view.clone();
                let passes = Some(view.lineage).filter(|_| !self.is_outdated(&view));
                view.principal.map_or(0, |user| self.throw_out(user, passes))
            }
            Deed::RevokeHandle(at) => {
                let Some((user, lineage)) = self.handles[*at] else { return 0 };
                if self.raised[user].2 == Some(lineage) {
                    self.raised[user].2 = None;
                }
                self.end_where(|view| view.principal == Some(user) && view.lineage == lineage).min(1)
            }
            Deed::RevokeEveryone => {
                self.everyone = (self.everyone.0 + 1, Some(self.now));
                self.raised.iter_mut().for_each(|raised| raised.2 = None);
                self.end_where(|_| true)
            }
            other => panic!("{other:?}"),
        }
    }

    /// The end of a request: whether the cookie is the one that was seen.
    fn receive(&mut self, client: usize, seen: Option<&Option<String>>) -> bool {
        let running = self.running[client].take().expect("it runs");
        match (running.due, seen) {
            (None, None) => true,
            (Some(Due::Remove), Some(None)) => {
                self.jars[client] = None;
                true
            }
            (Some(Due::Set(slot)), Some(Some(value))) => {
                self.jars[client] = Some(Cookie::Id(slot));
                self.learn(slot, value)
            }
            _ => false,
        }
    }

    /// The worlds that this one may be where this client wrote in one write with others: the cookie is due that what they left asks for.
    fn beside(self, client: usize) -> Vec<Self> {
        let origin = self.running[client].as_ref().map(|running| (&running.origin, running.due));
        let Some((Origin::Held { slot, named: true, .. }, due)) = origin.filter(|_| self.round.is_beside) else {
            return vec![self];
        };
        let slot = *slot;
        let before = self.round.before[client].as_ref();
        // What is renewed or begins is written alone.
        let was_there = before.is_some_and(|before| match before.origin {
            Origin::Held { slot: former, .. } | Origin::Sealed { slot: former, .. } => former == slot,
            _ => false,
        });
        let before = before.and_then(|before| before.due);
        let with = |due, note: &dyn Fn(&mut Round)| {
            let mut world = self.clone();
            world.running[client].iter_mut().for_each(|running| running.due = due);
            note(&mut world.round);
            world
        };
        let set = Some(Due::Set(slot));
        let mut worlds = match due {
            None => vec![with(set, &|round| round.to_be_revived.push(slot))],
            Some(Due::Remove) if self.round.emptied_again == Some(slot) => Vec::new(),
            Some(Due::Remove) => vec![
                with(set, &|round| round.to_be_revived.push(slot)),
                with(before, &|round| round.refilled = Some(slot)),
            ],
            Some(Due::Set(_)) if self.round.refilled == Some(slot) => vec![with(before, &|_| ())],
            Some(Due::Set(_)) if was_there => vec![with(before, &|round| round.to_be_emptied = Some(slot))],
            Some(Due::Set(_)) => Vec::new(),
        };
        worlds.push(self);
        worlds
    }

    /// Whether what was said to be filled or emptied again was, and what was said to have ended has.
    fn is_as_said(&self) -> bool {
        let has_ended = |slot: &usize| matches!(self.find(*slot), Found::Dead(Tomb { why: Why::Ended, .. }));
        let is_filled = self
            .round
            .refilled
            .is_none_or(|slot| !matches!(&self.slots[slot], Slot::Lives(kept) if kept.view.is_empty()));
        is_filled
            && self.round.to_be_emptied.is_none()
            && self.round.ended.iter().all(has_ended)
            && self.round.to_be_revived.iter().all(|slot| self.round.revived.contains(slot))
    }

    fn learn(&mut self, slot: usize, value: &str) -> bool {
        match &self.values[slot] {
            Some(known) => known == value,
            None if self.values.iter().flatten().any(|known| known == value) => false,
            None => {
                self.values[slot] = Some(value.to_owned());
                true
            }
        }
    }

    fn shows(&self, client: usize, entries: &Entries, principal: Option<usize>) -> bool {
        let view = &self.running[client].as_ref().expect("it runs").view;
        (&view.entries, view.principal) == (entries, principal)
    }
}

impl Running {
    fn raise(&mut self, intent: Intent) {
        if self.intent < intent {
            self.intent = intent;
        }
    }

    fn begin_again(&mut self, now: u64, intent: Intent) {
        self.view = View { born: now, ..View::default() };
        self.done.clear();
        self.raise(intent);
    }
}

/// Seconds between steps: enough for each promise that has an end, for sessions to be touched, and to expire.
pub const EVERY_PAUSE: [u64; 8] = [1, 1, 9, 25, 60, 130, 9_000, 90_000];

/// Runs so many histories on one store (or `HISTORIES` of them), with pauses of these lengths; a failing one prints its seed, and
/// `HISTORY_SEED` repeats it alone.
///
/// `revokes_at_once`: whether the store raises an epoch and ends what began before in one step. Where it takes two, what a request does between
/// them is right and not in the model; there a revocation is done alone.
///
/// With `LOSES=1` answers get lost in half of them.
pub async fn run(store: impl SessionAdmin, histories: u64, pauses: &[u64], revokes_at_once: bool) {
    let histories = number("HISTORIES").unwrap_or(histories);
    let first = u64::from(std::process::id()) << 32;
    run_from(first, store, histories, pauses, revokes_at_once, number("LOSES").is_some(), false).await;
}

/// One history alone, which found something once.
pub async fn run_one(store: impl SessionAdmin, seed: u64) {
    run_from(seed, store, 1, &EVERY_PAUSE, true, false, false).await;
}

/// Histories in which all clients always write at once.
pub async fn run_crowded(store: impl SessionAdmin, histories: u64) {
    let histories = number("HISTORIES").unwrap_or(histories);
    let first = u64::from(std::process::id()) << 32;
    run_from(first, store, histories, &EVERY_PAUSE, true, false, true).await;
}

/// The same histories each time, on a store that answers at once: in half of them answers get lost.
pub async fn run_losing(store: impl SessionAdmin, histories: u64) {
    run_from(1, store, histories, &EVERY_PAUSE, true, true, false).await;
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse::<u64>().expect("it is a number"))
}

async fn run_from(
    first: u64,
    store: impl SessionAdmin,
    histories: u64,
    pauses: &[u64],
    revokes_at_once: bool,
    loses: bool,
    crowded: bool,
) {
    let only = number("HISTORY_SEED");
    let first = only.unwrap_or(first);
    let store = Yielding::new(store, only.is_some());
    let site = Site::new(store.clone(), revokes_at_once).await;
    let mut failed = Vec::new();
    for seed in first..first + if only.is_some() { 1 } else { histories } {
        let mut dice = Dice(seed);
        *store.chance.lock().unwrap() = (dice.roll(2) * 3, Dice(seed));
        let sealed = dice.roll(6);
        let steps: Vec<Step> = match crowded {
            false => (0..10 + dice.roll(30)).map(|_| dice.step(pauses)).collect(),
            true => (0..1 + dice.roll(3)).flat_map(|_| dice.crowd(pauses)).collect(),
        };
        let said = Arc::new(Mutex::new(Vec::new()));
        let ran = async {
            let mut history = History::begin(&site, seed, sealed, said.clone()).await;
            history.loses &= loses;
            history.run(&steps).await;
        };
        if caught(ran).await.is_err() {
            eprintln!("the history of HISTORY_SEED={seed} failed, which began with {sealed}: {steps:?}");
            if only.is_none() {
                eprintln!("{}", said.lock().unwrap().join("\n"));
            }
            failed.push(seed);
            store.loses.store(false, Relaxed);
        }
        // Whoever was thrown out in this one is not in the next.
        let pause = if pauses.iter().any(|pause| *pause > IDLE) { ABSOLUTE + 1 } else { 1 };
        site.clock.advance(Duration::from_secs(pause));
        if seed % 64 == 0 {
            store.purge(100_000, site.clock.now()).await.unwrap();
        }
    }
    assert!(
        failed.is_empty(),
        "of {histories} histories these differ from the model, by their HISTORY_SEED: {failed:?}"
    );
    eprintln!("{histories} histories equal the model");
}

/// `catch_unwind` of a future, poll by poll.
async fn caught<F: Future>(future: F) -> std::thread::Result<F::Output> {
    let mut future = Box::pin(future);
    poll_fn(move |context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// The real thing.
struct Site {
    revokes_at_once: bool,
    /// Whether each step is printed as it is done.
    prints: bool,
    clock: Clock,
    /// As it was before there was a store.
    before: SessionManager,
    manager: SessionManager,
    tasks: Tasks,
    /// Those that are always there.
    at_rest: usize,
    /// Whether the store loses answers now.
    loses: Arc<AtomicBool>,
}

impl Site {
    async fn new(store: Yielding<impl SessionAdmin>, revokes_at_once: bool) -> Self {
        let (loses, prints) = (store.loses.clone(), store.prints);
        let clock = Clock::at(Timestamp::from_secs(1_800_000_000));
        let tasks = Tasks::default();
        let layer = SessionLayer::new(secret()).unwrap().clock(clock.clone()).runtime(tasks.clone());
        let before = layer.manager().unwrap();
        let manager = layer.store(store).manager().unwrap();
        manager.open(&HeaderMap::new()).await.unwrap();
        let at_rest = tasks.alive();
        Self { clock, before, manager, tasks, at_rest, loses, revokes_at_once, prints }
    }

    /// Waits until no commit is under way.
    async fn settle(&self) {
        while self.tasks.alive() > self.at_rest {
            tokio::task::yield_now().await;
        }
    }
}

/// The managers' own tasks, counted: those of a store's connections come and go beside them.
#[derive(Clone, Default)]
struct Tasks(Arc<AtomicUsize>);

impl Tasks {
    fn alive(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Runtime for Tasks {
    fn spawn(&self, task: Task) {
        self.0.fetch_add(1, SeqCst);
        let alive = Alive(self.clone());
        Tokio.spawn(Box::pin(async move {
            let _alive = alive;
            task.await;
        }));
    }

    fn sleep(&self, time: Duration) -> Task {
        Tokio.sleep(time)
    }
}

struct Alive(Tasks);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, SeqCst);
    }
}

/// One history: what really runs, and every world that it may be in.
struct History<'a> {
    site: &'a Site,
    seed: u64,
    /// Whether answers get lost in it.
    loses: bool,
    worlds: Vec<Model>,
    sessions: Vec<Option<Session>>,
    jars: Vec<Option<String>>,
    handles: Vec<(usize, String)>,
    said: Arc<Mutex<Vec<String>>>,
}

impl<'a> History<'a> {
    /// Three clients with one cookie: an id, or sealed and of before there was a store, of nobody or of somebody.
    async fn begin(site: &'a Site, seed: u64, kind: u64, said: Arc<Mutex<Vec<String>>>) -> Self {
        let manager = if kind < 2 { &site.before } else { &site.manager };
        let user = (kind % 2 == 1).then_some(0);
        let mut history = Self {
            site,
            seed,
            loses: Dice(!seed).roll(2) == 0,
            worlds: Vec::new(),
            sessions: vec![None; CLIENTS],
            jars: vec![None; CLIENTS],
            handles: Vec::new(),
            said,
        };
        let session = manager.open(&HeaderMap::new()).await.unwrap();
        session.insert("a", 1);
        if let Some(user) = user {
            session.set_principal(history.name(user));
        }
        let mut response = HeaderMap::new();
        manager.commit(&session).await.apply(&mut response).unwrap();
        let cookie = cookie(&response).flatten().expect("it sets a cookie");
        let now = site.clock.now().as_secs();
        let began = user.map(|_| (0, 0));
        let entries = Entries::from([("a".into(), 1)]);
        let view = View { entries, principal: user, lineage: 1, born: now, began };
        let kept = Kept { view: view.clone(), seen: now, version: 0, guard: 0 };
        let sealed = kind < 2;
        history.worlds.push(Model {
            now,
            slots: vec![if sealed { Slot::Nothing } else { Slot::Lives(kept) }],
            values: vec![if sealed { None } else { Some(cookie.clone()) }],
            sealed: sealed.then_some((view, 0)),
            jars: vec![Some(if sealed { Cookie::Sealed } else { Cookie::Id(0) }); CLIENTS],
            running: vec![None; CLIENTS],
            raised: [(0, None, None); 2],
            everyone: (0, None),
            lineages: 1,
            versions: 1,
            handles: Vec::new(),
            asks_again: false,
            round: Round::default(),
        });
        history.jars = vec![Some(cookie); CLIENTS];
        history
    }

    fn name(&self, user: usize) -> String {
        format!("{} {}", ["ada", "eve"][user], self.seed)
    }

    async fn run(&mut self, steps: &[Step]) {
        for step in steps {
            self.step(step).await;
            self.look();
        }
        for client in 0..CLIENTS {
            self.together(&[Deed::End(client)]).await;
            self.open(client).await;
            self.look();
        }
    }

    async fn step(&mut self, step: &Step) {
        self.say(format!("{step:?}"));
        match step {
            Step::Advance(seconds) => {
                self.site.clock.advance(Duration::from_secs(*seconds));
                self.worlds.iter_mut().for_each(|world| world.now += seconds);
            }
            Step::Begin(client) => self.open(*client).await,
            Step::Do(client, act) => {
                if let Some(session) = &self.sessions[*client] {
                    let shown = self.act(session, act);
                    self.keep(|world| world.act(*client, act) == shown);
                }
            }
            Step::Together(deeds) => self.together(deeds).await,
            Step::Meanwhile(client, acts) => self.meanwhile(*client, acts).await,
            Step::Abandon { client, polls, ends } => self.abandon(*client, *polls, *ends).await,
            Step::TakeHandle(client) => self.take_handle(*client).await,
        }
    }

    async fn open(&mut self, client: usize) {
        if self.sessions[client].is_some() {
            return;
        }
        let cookie: HeaderMap =
            self.jars[client].iter().map(|cookie| (header::COOKIE, cookie.parse().unwrap())).collect();
        let session = self.site.manager.open(&cookie).await.unwrap();
        self.sessions[client] = Some(session);
        self.worlds.iter_mut().for_each(|world| world.open(client));
    }

    /// Does it, and returns what it shows.
    fn act(&self, session: &Session, act: &Act) -> Option<i64> {
        match act {
            Act::Insert(name, value) => session.insert(name, *value),
            Act::Remove(name) => return session.take(name),
            Act::Add(name) => return Some(session.update(name, |sum: &mut i64| *sum += 1).unwrap()),
            Act::Clear => session.clear(),
            Act::Renew => session.renew(),
            Act::LogIn(user) => session.set_principal(self.name(*user)),
        }
        None
    }

    async fn together(&mut self, deeds: &[Deed]) {
        let mut possible: Vec<Deed> = Vec::new();
        for deed in deeds {
            let client = deed.client();
            let is_alone = possible.iter().all(|other| other.client() != client || matches!(other, Deed::Commit(_)));
            let is_possible = match (deed, client) {
                (Deed::RevokeOthers(_), Some(client)) => {
                    self.sessions[client].is_some() && possible.iter().all(|other| other.client() != Some(client))
                }
                (_, Some(client)) => self.sessions[client].is_some() && is_alone,
                (Deed::RevokeHandle(at), None) => *at < self.handles.len(),
                _ => true,
            };
            if is_possible {
                possible.push(deed.clone());
            }
        }
        // A renewal by a cookie that has not moved is two steps, and the model knows one: nobody is thrown out between them here.
        let moves_first = |client: usize| {
            self.worlds.iter().filter_map(|world| world.running[client].as_ref()).any(|running| {
                let only_ends = running.intent == Intent::End && running.view.is_empty();
                matches!(running.origin, Origin::Sealed { .. }) && running.intent != Intent::Keep && !only_ends
            })
        };
        let is_whole = self.site.revokes_at_once && !possible.iter().filter_map(Deed::client).any(moves_first);
        // To end everybody is more than one step: in its middle, who asks to stay is already told that they have ended.
        if possible.iter().any(|deed| matches!(deed, Deed::RevokeEveryone)) {
            possible.retain(|deed| !matches!(deed, Deed::RevokeOthers(_)));
        }
        if possible.len() > 1 && !is_whole {
            possible.retain(|deed| matches!(deed, Deed::Commit(_) | Deed::End(_)));
        }
        // What a request knows of its own lost answer is not in the model, and neither is half a move.
        let clients: Vec<usize> = possible.iter().filter_map(Deed::client).collect();
        let is_twice = |client: &usize| clients.iter().filter(|other| *other == client).count() > 1;
        let loses = self.loses && !clients.iter().any(|client| is_twice(client) || moves_first(*client));
        self.site.loses.store(loses, Relaxed);
        let mut running: Vec<_> = possible.iter().map(|deed| Box::pin(self.perform(deed))).collect();
        let mut seen = vec![None; running.len()];
        poll_fn(|context| {
            for (future, seen) in running.iter_mut().zip(&mut seen) {
                if seen.is_none()
                    && let Poll::Ready(saw) = future.as_mut().poll(context)
                {
                    *seen = Some(saw);
                }
            }
            if seen.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        drop(running);
        self.site.loses.store(false, Relaxed);
        let seen: Vec<(Deed, Seen)> = possible.into_iter().zip(seen.into_iter().flatten()).collect();
        self.say(format!("    {seen:?}"));
        for (deed, seen) in &seen {
            if let (Deed::End(client), Seen::Answered(_, cookie)) = (deed, seen) {
                self.sessions[*client] = None;
                if let Some(cookie) = cookie {
                    self.jars[*client] = cookie.clone();
                }
            }
            // Whoever does not know what became of it goes away.
            if let (Deed::Commit(client), Seen::Committed(Outcome::Unknown)) = (deed, seen) {
                self.sessions[*client] = None;
            }
        }
        let mut after: Vec<Model> = Vec::new();
        for order in orders(seen.len()) {
            let is_beside = seen.len() > 1;
            let beside = |world: &Model| {
                let round = Round { is_beside, before: world.running.clone(), ..Round::default() };
                Model { round, ..world.clone() }
            };
            let mut worlds: Vec<Model> = self.worlds.iter().map(beside).collect();
            for (done, at) in order.iter().enumerate() {
                let (deed, saw) = &seen[*at];
                let after = |world: &Model| -> Vec<Model> {
                    let worlds = world.perform(deed, saw, loses).into_iter();
                    match deed.commits() {
                        Some(client) => worlds.flat_map(|world| world.beside(client)).collect(),
                        None => worlds.collect(),
                    }
                };
                worlds = worlds.iter().flat_map(after).collect();
                // Commits that were written together show what all of them wrote, and whoever asks again what became of a write may
                // find that the session was ended since.
                for client in order[..=done].iter().filter_map(|at| seen[*at].0.commits()).filter(|_| is_beside) {
                    let shown = worlds.iter().filter_map(|world| world.refreshed(client));
                    let dead = worlds.iter().flat_map(|world| world.found_dead(client)).filter(|_| loses);
                    let others: Vec<Model> = shown.chain(dead).collect();
                    for other in others {
                        if !worlds.contains(&other) {
                            worlds.push(other);
                        }
                    }
                }
            }
            let possible = worlds.into_iter().filter(Model::is_as_said);
            for world in possible.map(|world| Model { round: Round::default(), ..world }) {
                if !after.contains(&world) {
                    after.push(world);
                }
            }
        }
        self.become_one_of(after);
    }

    async fn perform(&self, deed: &Deed) -> Seen {
        let manager = &self.site.manager;
        let revoked = |done: Result<u64, Error>| done.map_or(Seen::Failed, Seen::Revoked);
        let session = deed.client().and_then(|client| self.sessions[client].clone());
        match (deed, session) {
            (Deed::Commit(_), Some(session)) => {
                let mut done = outcome(session.commit().await);
                for _ in 0..2 {
                    if done == Outcome::Unknown {
                        done = outcome(session.commit().await);
                    }
                }
                Seen::Committed(done)
            }
            (Deed::End(_), Some(session)) => {
                let mut response = HeaderMap::new();
                let done = outcome(manager.commit(&session).await.apply(&mut response));
                Seen::Answered(done, cookie(&response))
            }
            (Deed::RevokeAll(user), _) => revoked(manager.revoke_all(&self.name(*user)).await),
            (Deed::RevokeOthers(_), Some(session)) => revoked(manager.revoke_others(&session).await),
            (Deed::RevokeHandle(at), _) => {
                let (user, handle) = &self.handles[*at];
                revoked(manager.revoke(&self.name(*user), handle).await.map(u64::from))
            }
            (Deed::RevokeEveryone, _) => revoked(manager.revoke_everyone().await),
            other => panic!("{other:?}"),
        }
    }

    async fn meanwhile(&mut self, client: usize, acts: &[Act]) {
        let Some(session) = self.sessions[client].clone() else { return };
        let mut commit = Box::pin(session.commit());
        let first = poll_fn(|context| Poll::Ready(commit.as_mut().poll(context))).await;
        let acts: Vec<_> = acts.iter().map(|act| (act.clone(), self.act(&session, act))).collect();
        match first {
            Poll::Ready(done) => {
                let done = Some(outcome(done));
                self.say(format!("    at once {done:?}, then {acts:?}"));
                self.keep(|world| {
                    world.commit(client, &[], false) == done
                        && acts.iter().all(|(act, shown)| world.act(client, act) == *shown)
                });
            }
            Poll::Pending => {
                let done = Some(outcome(commit.await));
                self.say(format!("    {done:?}, meanwhile {acts:?}"));
                self.keep(|world| world.commit(client, &acts, false) == done);
            }
        }
    }

    async fn abandon(&mut self, client: usize, polls: u64, ends: bool) {
        let Some(session) = self.sessions[client].clone() else { return };
        let mut response = HeaderMap::new();
        let manager = &self.site.manager;
        let mut commit: Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> = if ends {
            Box::pin(async { manager.commit(&session).await.apply(&mut response) })
        } else {
            Box::pin(session.commit())
        };
        let mut is_done = false;
        for _ in 0..polls {
            is_done |= !is_done && poll_fn(|context| Poll::Ready(commit.as_mut().poll(context).is_ready())).await;
            tokio::task::yield_now().await;
        }
        drop(commit);
        if ends {
            self.sessions[client] = None;
            drop(session);
            self.site.settle().await;
        }
        let again = if ends { None } else { Some(outcome(session_commit(&self.sessions[client]).await)) };
        self.say(format!("    done: {is_done}, again: {again:?}"));
        self.keep(|world| {
            if polls > 0 {
                world.commit(client, &[], ends);
            }
            if ends {
                world.running[client] = None;
                return true;
            }
            world.commit(client, &[], false) == again
        });
    }

    async fn take_handle(&mut self, client: usize) {
        let Some(session) = &self.sessions[client] else { return };
        let devices = self.site.manager.devices(session).await.unwrap();
        let current = devices.iter().find(|device| device.current);
        self.keep(|world| {
            let view = &world.running[client].as_ref().expect("it runs").view;
            let Some(user) = view.principal else { return devices.is_empty() };
            let lives = (0..world.slots.len()).filter_map(|slot| match world.find(slot) {
                Found::Lives(kept) if kept.view.principal == Some(user) => Some(kept.view.lineage),
                _ => None,
            });
            let lives: Vec<_> = lives.collect();
            let is_right = devices.len() == lives.len() && current.is_some() == lives.contains(&view.lineage);
            if current.is_some() {
                world.handles.push(Some((user, view.lineage)));
            }
            is_right
        });
        if let Some(current) = current {
            let user = self.worlds[0].handles.last().unwrap().unwrap().0;
            self.handles.push((user, current.handle.clone()));
        }
    }

    /// What the requests see now.
    fn look(&mut self) {
        for client in 0..CLIENTS {
            let Some(session) = &self.sessions[client] else { continue };
            let names = session.keys().into_iter();
            let entries: Entries = names.map(|name| (name.clone(), session.get(&name).unwrap())).collect();
            let name = session.principal();
            let principal = name.as_ref().map(|name| (0..2).find(|user| self.name(*user) == *name).unwrap());
            self.say(format!("    client {client} sees {entries:?} {principal:?}"));
            self.keep(|world| world.shows(client, &entries, principal));
        }
    }

    fn say(&self, line: String) {
        if self.site.prints {
            eprintln!("{line}");
        }
        self.said.lock().unwrap().push(line);
    }

    fn keep(&mut self, mut shows: impl FnMut(&mut Model) -> bool) {
        let mut after: Vec<Model> = Vec::new();
        for world in &self.worlds {
            let mut world = world.clone();
            if shows(&mut world) && !after.contains(&world) {
                after.push(world);
            }
        }
        self.become_one_of(after);
    }

    fn become_one_of(&mut self, after: Vec<Model>) {
        assert!(!after.is_empty(), "this is in no world, and these were: {:#?}", self.worlds);
        assert!(after.len() < 500, "too many worlds");
        self.worlds = after;
    }
}

impl Deed {
    /// Who commits, and goes on.
    fn commits(&self) -> Option<usize> {
        if let Self::Commit(client) = self { Some(*client) } else { None }
    }

    fn client(&self) -> Option<usize> {
        match self {
            Self::Commit(client) | Self::End(client) | Self::RevokeOthers(client) => Some(*client),
            Self::RevokeAll(_) | Self::RevokeHandle(_) | Self::RevokeEveryone => None,
        }
    }
}

async fn session_commit(session: &Option<Session>) -> Result<(), Error> {
    session.as_ref().expect("it runs").commit().await
}

fn outcome(result: Result<(), Error>) -> Outcome {
    match result {
        Ok(()) => Outcome::Saved,
        Err(error) if error.is_conflict() => Outcome::Again,
        Err(error) if error.is_closed() => Outcome::Closed,
        Err(error) if error.is_store() => Outcome::Unknown,
        Err(error) => panic!("{error}"),
    }
}

/// What a response does to the cookie: the pair that it sets, or `Some(None)` where it removes it.
fn cookie(response: &HeaderMap) -> Option<Option<String>> {
    let text = response.get(header::SET_COOKIE)?.to_str().unwrap();
    let pair = text.split(';').next().unwrap().to_owned();
    Some(if text.contains("Max-Age=0") { None } else { Some(pair) })
}

/// Every order of so many.
fn orders(many: usize) -> Vec<Vec<usize>> {
    if many == 0 {
        return vec![Vec::new()];
    }
    let shorter = orders(many - 1);
    let longer = shorter.iter().flat_map(|order| {
        (0..many).map(|at| {
            let mut order = order.clone();
            order.insert(at, many - 1);
            order
        })
    });
    longer.collect()
}
