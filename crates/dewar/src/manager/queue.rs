//! Commits to one session stand in one line: the first writes, and those who came meanwhile go together after it.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_channel::oneshot;

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
    hasher: RandomState,
}

/// Who waits, by session. A line that is there, though empty, has a leader.
type Lines = HashMap<StoreKey, Vec<Waiting>>;

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
    pub(super) fn enter(&self, key: &StoreKey, operations: Vec<Operation>) -> Entered {
        let mut lines = self.lines(key);
        match lines.get_mut(key) {
            Some(line) => {
                let (answer, turn) = oneshot::channel();
                line.push(Waiting { operations, answer: Some(answer) });
                Entered::Waiting(turn)
            }
            None => {
                lines.insert(key.clone(), Vec::new());
                Entered::Leading(Leader { queues: self.clone(), key: Some(key.clone()) }, operations)
            }
        }
    }

    fn lines(&self, key: &StoreKey) -> MutexGuard<'_, Lines> {
        let shard = self.hasher.hash_one(key) as usize % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leader {
    /// Gives everybody the outcome, hands over to the next who came, and returns the leader's own.
    pub(super) fn answer(
        mut self,
        batch: Vec<Waiting>,
        outcomes: Vec<Result<Merged, Error>>,
        mut base: Option<Base>,
    ) -> (Result<Merged, Error>, Vec<Operation>) {
        let mut own = (Ok(Merged::Gone), Vec::new());
        for (waiting, outcome) in batch.into_iter().zip(outcomes) {
            match waiting.answer {
                // Who does not listen any more needs no answer.
                Some(answer) => drop(answer.send(Turn::Answered(outcome, waiting.operations))),
                None => own = (outcome, waiting.operations),
            }
        }
        while let Some(key) = self.key.take() {
            let Some(mut line) = self.leave(&key) else { break };
            let next = line.iter_mut().find_map(|waiting| waiting.answer.take());
            let Some(next) = next else { break };
            let successor = Self { queues: self.queues.clone(), key: Some(key) };
            // A successor that went away gives the right back, with the line as it was.
            let Err(Turn::Lead(mut returned, mut line, known)) = next.send(Turn::Lead(successor, line, base)) else {
                break;
            };
            line.retain(|waiting| waiting.answer.is_some());
            base = known;
            self.key = returned.key.take();
            if let Some(key) = &self.key {
                let mut lines = self.queues.lines(key);
                let arrived = lines.insert(key.clone(), line).unwrap_or_default();
                lines.entry(key.clone()).or_default().extend(arrived);
            }
        }
        own
    }

    /// Takes everybody who waits; where nobody does, closes the line.
    fn leave(&self, key: &StoreKey) -> Option<Vec<Waiting>> {
        let mut lines = self.queues.lines(key);
        let line = lines.get_mut(key).map(mem::take).filter(|line| !line.is_empty());
        if line.is_none() {
            lines.remove(key);
        }
        line
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.queues.lines(&key).remove(&key);
        }
    }
}
