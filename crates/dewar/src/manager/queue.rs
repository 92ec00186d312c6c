//! Commits to one session stand in one queue: the first writes, and those who came meanwhile go together after it.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_channel::oneshot;
use hashbrown::HashTable;

use crate::{
    error::Error,
    journal::Operation,
    meaning::Principal,
    state::{Doubt, Settled},
    store::{Record, StoreError, StoreKey, Tombstone, Version},
};

const SHARDS: usize = 16;

/// The queues of all sessions to which this process is writing.
#[derive(Clone, Default)]
pub(super) struct Queues {
    shards: Arc<[Mutex<Shard>; SHARDS]>,
}

type Shard = HashTable<Queue>;

/// Who waits for one session. A queue that is there, though empty, has a leader.
struct Queue {
    key: StoreKey,
    waiting: Vec<Waiting>,
}

/// A request that waits for its turn.
pub(super) struct Waiting {
    pub(super) changes: Changes,
    /// Where its answer goes; `None`: it is the leader's own.
    pub(super) answer: Option<oneshot::Sender<Turn>>,
    /// Whether it has to be alone: it renews or ends the session.
    alone: bool,
}

/// What a request wants to write, and what of it may have been written already.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) operations: Vec<Operation>,
    pub(super) doubt: Option<Doubt>,
    pub(super) settled: Settled,
    /// Whether the request follows a renewal: it knows no id that a cookie could be made of.
    pub(super) follows: bool,
    /// Whether nobody visits: it keeps no session alive.
    pub(super) is_edit: bool,
    /// Whose session it was when the request opened it, where an entry says so that another framework may change under one id.
    pub(super) whose: Option<Option<Principal>>,
}

impl Changes {
    /// Drops what an earlier attempt has done, where this state is surely the one that it wrote.
    pub(super) fn settle(&mut self, at: Version) {
        if let Some(doubt) = self.doubt.take_if(|doubt| doubt.mine == at && !at.is_digest()) {
            self.settled.revived |= doubt.revived;
            self.settled.partly |= doubt.operations > 0;
            self.operations.drain(..doubt.operations.min(self.operations.len()));
        }
    }

    /// Whether some of it is done, or may be: it must not be repeated.
    pub(super) fn may_be_done(&self) -> bool {
        self.settled.or_may_be(self.doubt.as_ref())
    }

    /// What is to be done upon this state, which was [settled](Self::settle).
    ///
    /// # Errors
    ///
    /// Where an earlier attempt may have been done, and others have written since: nobody can know whether it is in there.
    pub(super) fn to_do(&self, at: Version) -> Result<&[Operation], Failed> {
        match &self.doubt {
            // One that may still land does so upon this very state, or never.
            Some(doubt) if doubt.at != Some(at) && doubt.operations > 0 => {
                Err(Failed { error: may_have_been_done(), doubt: Some(doubt.clone()) })
            }
            _ => Ok(&self.operations),
        }
    }
}

/// What a commit to an existing session came to.
#[derive(Clone)]
pub(super) enum Merged {
    Kept {
        version: Version,
        record: Record,
        is_empty: bool,
        /// Whether the session was empty before, so that the browser may have lost its cookie.
        revived: bool,
        /// Whether it was this request that emptied it.
        emptied: bool,
        /// Whether others' writes are in it, which the request has not seen.
        is_merged: bool,
    },
    /// It is dead, and why; `None`: missing or expired.
    Gone(Option<Tombstone>),
}

/// What was written may be in the session that others have since, and nobody can know: it is neither done again nor said not to be.
pub(super) fn may_have_been_done() -> Error {
    let why =
        "an earlier write to this session may have been done, and others have written since: it is not done again";
    StoreError::new(why).into()
}

impl Merged {
    /// The same, to a request of which an earlier attempt has done some.
    pub(super) fn beside(&self, changes: &Changes, has_emptied: bool) -> Self {
        let mut merged = self.clone();
        if let Self::Kept { revived, emptied, .. } = &mut merged {
            *revived |= changes.settled.revived;
            *emptied = has_emptied;
        }
        merged
    }
}

/// Why a commit to an existing session did not succeed, and what may have been written nevertheless.
pub(super) struct Failed {
    pub(super) error: Error,
    pub(super) doubt: Option<Doubt>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, doubt: None }
    }
}

/// A state of the record that is known without asking the store.
pub(super) struct Base {
    pub(super) version: Version,
    pub(super) record: Record,
    /// Whether nothing is in it.
    pub(super) is_empty: bool,
    /// Whether `record` is what to write at `version`, instead of what stands there.
    pub(super) is_written: bool,
}

/// What a request is told that waited.
pub(super) enum Turn {
    /// It was written with others. The changes come back, for whoever tries again.
    Answered(Result<Merged, Failed>, Changes),
    /// It is to write for all these, itself among them.
    Lead(Leader, Vec<Waiting>, Option<Base>),
}

pub(super) enum Entered {
    Leading(Leader, Changes),
    Waiting(oneshot::Receiver<Turn>),
}

/// The right to write to one session. Dropped, it goes to the next who waits.
pub(super) struct Leader {
    queues: Queues,
    key: Option<StoreKey>,
}

impl Queues {
    /// The right to write, where nobody has it.
    pub(super) fn lead(&self, key: &StoreKey) -> Option<Leader> {
        let mut shard = self.shard(key);
        let has_leader = shard.find(key.hash64(), |queue| queue.key == *key).is_some();
        (!has_leader).then(|| self.open(&mut shard, key))
    }

    /// Joins the queue to write these changes, with others or `alone`.
    pub(super) fn enter(&self, key: &StoreKey, changes: Changes, alone: bool) -> Entered {
        let mut shard = self.shard(key);
        if let Some(queue) = shard.find_mut(key.hash64(), |queue| queue.key == *key) {
            let (answer, turn) = oneshot::channel();
            queue.waiting.push(Waiting { changes, answer: Some(answer), alone });
            return Entered::Waiting(turn);
        }
        Entered::Leading(self.open(&mut shard, key), changes)
    }

    fn open(&self, shard: &mut Shard, key: &StoreKey) -> Leader {
        let queue = Queue { key: key.clone(), waiting: Vec::new() };
        shard.insert_unique(key.hash64(), queue, |queue| queue.key.hash64());
        Leader { queues: self.clone(), key: Some(key.clone()) }
    }

    fn shard(&self, key: &StoreKey) -> MutexGuard<'_, Shard> {
        let shard = (key.hash64() >> 32) as usize % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    pub(super) fn own(changes: Changes) -> Self {
        Self { changes, answer: None, alone: false }
    }
}

impl Leader {
    /// Gives everybody the outcome, hands over to the next who came, and returns the leader's own.
    pub(super) fn answer(
        self,
        batch: Vec<Waiting>,
        outcomes: Vec<Result<Merged, Failed>>,
        base: Option<Base>,
    ) -> (Result<Merged, Failed>, Changes) {
        let mut own = (Ok(Merged::Gone(None)), Changes::default());
        for (waiting, outcome) in batch.into_iter().zip(outcomes) {
            match waiting.answer {
                // Who does not listen any more needs no answer.
                Some(answer) => drop(answer.send(Turn::Answered(outcome, waiting.changes))),
                None => own = (outcome, waiting.changes),
            }
        }
        self.hand_over(|| base);
        own
    }

    /// Hands over to the next who came, with the state of the record that is known.
    pub(super) fn hand_over(mut self, base: impl FnOnce() -> Option<Base>) {
        let Some(mut key) = self.key.take() else { return };
        let Some(mut batch) = self.leave(&key) else { return };
        let mut base = base();
        loop {
            let Some(next) = batch.iter_mut().find_map(|waiting| waiting.answer.take()) else {
                // All of them went away. Others may wait still.
                let Some(others) = self.leave(&key) else { return };
                batch = others;
                continue;
            };
            let successor = Self { queues: self.queues.clone(), key: Some(key) };
            // A successor that went away gives the right back, with the batch as it was.
            let Err(Turn::Lead(mut returned, refused, known)) = next.send(Turn::Lead(successor, batch, base)) else {
                return;
            };
            let Some(again) = returned.key.take() else { return };
            (key, batch, base) = (again, refused, known);
            batch.retain(|waiting| waiting.answer.is_some());
        }
    }

    /// Takes those who go together: the first who waits, and all behind it until one that has to be alone. Where nobody waits, closes the queue.
    fn leave(&self, key: &StoreKey) -> Option<Vec<Waiting>> {
        let mut shard = self.queues.shard(key);
        let Ok(mut queue) = shard.find_entry(key.hash64(), |queue| queue.key == *key) else { return None };
        let waiting = &mut queue.get_mut().waiting;
        let together = match waiting.first() {
            None => {
                queue.remove();
                return None;
            }
            Some(first) if first.alone => 1,
            Some(_) => waiting.iter().position(|waiting| waiting.alone).unwrap_or(waiting.len()),
        };
        if together == waiting.len() {
            return Some(mem::take(waiting));
        }
        Some(waiting.drain(..together).collect())
    }
}

/// A leader that dies (its runtime ended) leaves what it had begun to nobody, and what waits to the next.
impl Drop for Leader {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            Self { queues: self.queues.clone(), key: Some(key) }.hand_over(|| None);
        }
    }
}
