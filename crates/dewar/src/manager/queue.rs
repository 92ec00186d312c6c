//! Commits to one session stand in one line: the first writes, and those who came meanwhile go together after it.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_channel::oneshot;
use hashbrown::HashTable;

use crate::{
    error::Error,
    journal::Operation,
    store::{Record, StoreKey, Version},
};

const SHARDS: usize = 16;

/// The lines of all sessions to which this process is writing.
#[derive(Clone, Default)]
pub(super) struct Queues {
    shards: Arc<[Mutex<Lines>; SHARDS]>,
}

type Lines = HashTable<Line>;

/// Who waits for one session. A line that is there, though empty, has a leader.
struct Line {
    key: StoreKey,
    waiting: Vec<Waiting>,
}

/// A request that waits for its turn.
pub(super) struct Waiting {
    pub(super) operations: Vec<Operation>,
    /// Where its answer goes; `None`: it is the leader's own.
    pub(super) answer: Option<oneshot::Sender<Turn>>,
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
    },
    Gone,
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
    /// It was written with others. The operations come back, for whoever tries again.
    Answered(Result<Merged, Error>, Vec<Operation>),
    /// It is to write for all these, itself among them.
    Lead(Leader, Vec<Waiting>, Option<Base>),
}

pub(super) enum Entered {
    Leading(Leader, Vec<Operation>),
    Waiting(oneshot::Receiver<Turn>),
}

/// The right to write to one session. Dropped without [`Leader::answer`], it sends everybody away.
pub(super) struct Leader {
    queues: Queues,
    key: Option<StoreKey>,
}

impl Queues {
    /// The right to write, where nobody has it.
    pub(super) fn lead(&self, key: &StoreKey) -> Option<Leader> {
        let mut lines = self.lines(key);
        let has_leader = lines.find(key.hash64(), |line| line.key == *key).is_some();
        (!has_leader).then(|| self.open(&mut lines, key))
    }

    pub(super) fn enter(&self, key: &StoreKey, operations: Vec<Operation>) -> Entered {
        let mut lines = self.lines(key);
        if let Some(line) = lines.find_mut(key.hash64(), |line| line.key == *key) {
            let (answer, turn) = oneshot::channel();
            line.waiting.push(Waiting { operations, answer: Some(answer) });
            return Entered::Waiting(turn);
        }
        Entered::Leading(self.open(&mut lines, key), operations)
    }

    fn open(&self, lines: &mut Lines, key: &StoreKey) -> Leader {
        let line = Line { key: key.clone(), waiting: Vec::new() };
        lines.insert_unique(key.hash64(), line, |line| line.key.hash64());
        Leader { queues: self.clone(), key: Some(key.clone()) }
    }

    fn lines(&self, key: &StoreKey) -> MutexGuard<'_, Lines> {
        let shard = (key.hash64() >> 32) as usize % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leader {
    /// Gives everybody the outcome, hands over to the next who came, and returns the leader's own.
    pub(super) fn answer(
        self,
        batch: Vec<Waiting>,
        outcomes: Vec<Result<Merged, Error>>,
        base: Option<Base>,
    ) -> (Result<Merged, Error>, Vec<Operation>) {
        let mut own = (Ok(Merged::Gone), Vec::new());
        for (waiting, outcome) in batch.into_iter().zip(outcomes) {
            match waiting.answer {
                // Who does not listen any more needs no answer.
                Some(answer) => drop(answer.send(Turn::Answered(outcome, waiting.operations))),
                None => own = (outcome, waiting.operations),
            }
        }
        self.hand_over(|| base);
        own
    }

    /// Hands over to the next who came, with the state of the record that is known.
    pub(super) fn hand_over(mut self, base: impl FnOnce() -> Option<Base>) {
        let Some(mut key) = self.key.take() else { return };
        let Some(mut line) = self.leave(&key) else { return };
        let mut base = base();
        loop {
            let Some(next) = line.iter_mut().find_map(|waiting| waiting.answer.take()) else {
                // All of them went away. Others may have come meanwhile.
                let Some(arrived) = self.leave(&key) else { return };
                line = arrived;
                continue;
            };
            let successor = Self { queues: self.queues.clone(), key: Some(key) };
            // A successor that went away gives the right back, with the line as it was.
            let Err(Turn::Lead(mut returned, refused, known)) = next.send(Turn::Lead(successor, line, base)) else {
                return;
            };
            let Some(again) = returned.key.take() else { return };
            (key, line, base) = (again, refused, known);
            line.retain(|waiting| waiting.answer.is_some());
        }
    }

    /// Takes everybody who waits; where nobody does, closes the line.
    fn leave(&self, key: &StoreKey) -> Option<Vec<Waiting>> {
        let mut lines = self.queues.lines(key);
        let Ok(mut line) = lines.find_entry(key.hash64(), |line| line.key == *key) else { return None };
        if line.get().waiting.is_empty() {
            line.remove();
            return None;
        }
        Some(mem::take(&mut line.get_mut().waiting))
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let mut lines = self.queues.lines(&key);
            if let Ok(line) = lines.find_entry(key.hash64(), |line| line.key == key) {
                line.remove();
            }
        }
    }
}
