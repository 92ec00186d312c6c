//! The threads that wait for the disk, so that no executor thread has to.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rusqlite::{Connection, TransactionBehavior::Immediate};

use super::{
    connections::{Connections, WRITER},
    queue::{Job, Queue, failed},
};
use crate::store::StoreError;

/// The most writes that one transaction takes.
const GROUP: usize = 512;

/// The longest that a group waits for more: others may want the file, and a disk that stalled once need not again.
const GRACE: Duration = Duration::from_millis(5);

/// The most reads that one thread takes at once; the rest is for the others.
const BATCH: usize = 16;

/// Closes its queue when its thread ends, even by a panic, so that nobody waits for an answer in vain.
struct Closing(Arc<Queue>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
        while let Some(jobs) = self.0.take(GROUP) {
            drop(jobs);
        }
    }
}

/// Commits what waits, together: one wait for the disk for all of them.
pub(super) fn write(connections: &Connections, queue: Arc<Queue>) {
    let closing = Closing(queue);
    let mut last = Last::default();
    while let Some(jobs) = closing.0.take(GROUP) {
        let mut jobs = in_time(jobs);
        let stragglers = last.stragglers(&closing.0);
        match connections.with(WRITER, |connection| commit(connection, &mut jobs, stragglers)) {
            Ok(Ok(disk)) => {
                last = Last { count: jobs.len(), disk };
                jobs.into_iter().for_each(Job::answer);
            }
            Ok(Err(Failure::Begin(error))) => fail(jobs, &failed("write", error)),
            Ok(Err(Failure::Commit(error))) if jobs.len() == 1 => fail(jobs, &failed("write", error)),
            // One that cannot be written must not take its neighbours along.
            Ok(Err(Failure::Commit(_))) => jobs.into_iter().for_each(|job| write_alone(connections, job)),
            Err(lost) => fail(jobs, &lost),
        }
    }
}

fn write_alone(connections: &Connections, job: Job) {
    let mut jobs = in_time(vec![job]);
    match connections.with(WRITER, |connection| commit(connection, &mut jobs, |_| Vec::new())) {
        Ok(Ok(_)) => jobs.into_iter().for_each(Job::answer),
        Ok(Err(Failure::Begin(error) | Failure::Commit(error))) => fail(jobs, &failed("write", error)),
        Err(lost) => fail(jobs, &lost),
    }
}

/// The group before this one: how many were answered, and how long the disk took.
#[derive(Default)]
struct Last {
    count: usize,
    disk: Duration,
}

impl Last {
    /// Who else may join a group of so many. Callers that were answered together come back together, one after the
    /// other: a group that is smaller than the last waits for them, for a small share of what it would cost them to
    /// wait for the disk once more.
    fn stragglers(&self, queue: &Queue) -> impl FnMut(usize) -> Vec<Job> {
        let mut grace = (self.disk / 8).min(GRACE);
        move |count| {
            let start = Instant::now();
            let wait = if count < self.count { grace } else { Duration::ZERO };
            let jobs = queue.take_within(GROUP - count, wait);
            grace = grace.saturating_sub(start.elapsed());
            in_time(jobs)
        }
    }
}

enum Failure {
    Begin(rusqlite::Error),
    Commit(rusqlite::Error),
}

/// Runs these jobs, and those that join them meanwhile. Returns how long the disk took.
fn commit(
    connection: &mut Connection,
    jobs: &mut Vec<Job>,
    mut stragglers: impl FnMut(usize) -> Vec<Job>,
) -> Result<Duration, Failure> {
    if jobs.is_empty() {
        return Ok(Duration::ZERO);
    }
    // Dropped without a commit, the transaction is rolled back.
    let transaction = connection.transaction_with_behavior(Immediate).map_err(Failure::Begin)?;
    let mut done = 0;
    while done < jobs.len() {
        for job in &mut jobs[done..] {
            job.run(&transaction).map_err(Failure::Commit)?;
        }
        done = jobs.len();
        jobs.extend(stragglers(done));
    }
    let start = Instant::now();
    transaction.commit().map_err(Failure::Commit)?;
    Ok(start.elapsed())
}

/// Answers what waits, from one snapshot a batch.
pub(super) fn read(number: usize, connections: &Connections, queue: Arc<Queue>) {
    let closing = Closing(queue);
    while let Some(jobs) = closing.0.take(BATCH) {
        let mut jobs = in_time(jobs);
        let outcomes = connections.with(number, |connection| {
            // A snapshot spares each read its own locks; without one, they are taken one by one.
            let _snapshot = if jobs.len() > 1 { connection.unchecked_transaction().ok() } else { None };
            jobs.iter_mut().map(|job| job.run(connection)).collect::<Vec<_>>()
        });
        match outcomes {
            Ok(outcomes) => jobs.into_iter().zip(outcomes).for_each(|(job, outcome)| match outcome {
                Ok(()) => job.answer(),
                Err(error) => job.fail(failed("read", error)),
            }),
            Err(lost) => fail(jobs, &lost),
        }
    }
}

/// Those whose caller has not given up: it was told that the store is too slow.
fn in_time(jobs: Vec<Job>) -> Vec<Job> {
    let now = Instant::now();
    let (in_time, late): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.deadline > now);
    for job in late {
        job.fail(StoreError::new("sqlite: the time limit was met"));
    }
    in_time
}

fn fail(jobs: Vec<Job>, error: &StoreError) {
    for job in jobs {
        job.fail(StoreError::new(error.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_secs(3600);

    fn job() -> Job {
        Job::new(Instant::now() + SLOW, |_| Ok(())).0
    }

    fn shortest_wait(mut stragglers: impl FnMut() -> Vec<Job>) -> Duration {
        let waits = (0..50).map(|_| {
            let start = Instant::now();
            assert!(stragglers().is_empty());
            start.elapsed()
        });
        waits.min().unwrap()
    }

    #[test]
    fn who_writes_alone_waits_for_nobody() {
        let (queue, last) = (Queue::default(), Last { count: 1, disk: SLOW });
        assert!(shortest_wait(|| last.stragglers(&queue)(1)) < GRACE);
    }

    #[test]
    fn a_group_that_waited_in_vain_waits_no_more() {
        let (queue, last) = (Queue::default(), Last { count: 9, disk: SLOW });
        let mut stragglers = last.stragglers(&queue);
        assert!(shortest_wait(|| stragglers(8)) < GRACE);
    }

    #[test]
    fn what_is_there_joins_until_the_group_is_full() {
        let (queue, last) = (Queue::default(), Last::default());
        (0..20).for_each(|_| queue.push(job()).unwrap());
        let mut stragglers = last.stragglers(&queue);
        assert_eq!([stragglers(GROUP - 15).len(), stragglers(GROUP).len(), stragglers(1).len()], [15, 0, 5]);
    }
}
