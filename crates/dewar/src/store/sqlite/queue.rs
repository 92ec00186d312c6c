//! What waits for a thread: jobs with a deadline, taken in batches.

use std::{
    collections::VecDeque,
    fmt::Display,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::store::StoreError;

/// More than this many waiting jobs are refused: the disk is not coming back soon.
const LIMIT: usize = 100_000;

/// Something to do on a connection, and somebody who waits for its answer.
pub(super) struct Job {
    pub(super) deadline: Instant,
    work: Box<dyn Work>,
}

/// Jobs on their way to the threads that share this queue.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// How many threads wait. Where none does, none has to be woken, which is a call to the system.
    idle: usize,
    is_closed: bool,
}

impl Job {
    /// A job and where its answer will arrive. `run` is run again where its group was rolled back.
    pub(super) fn new<T: Send + 'static>(
        deadline: Instant,
        run: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> (Self, oneshot::Receiver<Result<T, StoreError>>) {
        let (reply, answer) = oneshot::channel();
        let work = Box::new(Typed { run, outcome: None, reply });
        (Self { deadline, work }, answer)
    }

    pub(super) fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.work.run(connection)
    }

    /// Gives what `run` found.
    pub(super) fn answer(self) {
        self.work.answer();
    }

    /// Gives an error instead.
    pub(super) fn fail(self, error: StoreError) {
        self.work.fail(error);
    }
}

trait Work: Send {
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    fn answer(self: Box<Self>);
    fn fail(self: Box<Self>, error: StoreError);
}

struct Typed<T, F> {
    run: F,
    outcome: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, F: FnMut(&Connection) -> rusqlite::Result<T> + Send> Work for Typed<T, F> {
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.outcome = Some((self.run)(connection)?);
        Ok(())
    }

    // Nobody may be waiting any more, which is no concern of ours.
    fn answer(self: Box<Self>) {
        if let Some(outcome) = self.outcome {
            let _ = self.reply.send(Ok(outcome));
        }
    }

    fn fail(self: Box<Self>, error: StoreError) {
        let _ = self.reply.send(Err(error));
    }
}

impl State {
    fn take(&mut self, limit: usize) -> Vec<Job> {
        let count = self.jobs.len().min(limit);
        self.jobs.drain(..count).collect()
    }
}

impl Queue {
    pub(super) fn push(&self, job: Job) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(closed());
        }
        if state.jobs.len() >= LIMIT {
            return Err(StoreError::new("sqlite: too much is waiting for the disk"));
        }
        state.jobs.push_back(job);
        let is_awaited = state.idle > 0;
        drop(state);
        if is_awaited {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Waits for jobs, and takes at most `limit` of them. `None`: closed, and nothing is left.
    pub(super) fn take(&self, limit: usize) -> Option<Vec<Job>> {
        let mut state = self.lock();
        while state.jobs.is_empty() && !state.is_closed {
            state.idle += 1;
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
        let jobs = state.take(limit);
        (!jobs.is_empty()).then_some(jobs)
    }

    /// Takes at most `limit` of the jobs that are there; where there is none, those that come within this time.
    pub(super) fn take_within(&self, limit: usize, time: Duration) -> Vec<Job> {
        let mut state = self.lock();
        if state.jobs.is_empty() && !state.is_closed && !time.is_zero() {
            state.idle += 1;
            state = self.arrived.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0;
            state.idle -= 1;
        }
        state.take(limit)
    }

    /// Refuses what is new; what waits is still done.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.arrived.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn closed() -> StoreError {
    StoreError::new("sqlite: the store is closed")
}

pub(super) fn failed(what: &str, error: impl Display) -> StoreError {
    StoreError::new(format!("sqlite: cannot {what}")).because(error.to_string())
}
