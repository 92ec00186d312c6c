//! The threads that wait for the disk, so that no executor thread has to.

use std::{sync::Arc, time::Instant};

use rusqlite::{Connection, TransactionBehavior::Immediate};

use super::queue::{Job, Queue, failed};
use crate::store::StoreError;

/// The most writes that one transaction takes.
const GROUP: usize = 512;

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
pub(super) fn write(mut connection: Connection, queue: Arc<Queue>) {
    let closing = Closing(queue);
    while let Some(jobs) = closing.0.take(GROUP) {
        let mut jobs = in_time(jobs);
        match commit(&mut connection, &mut jobs) {
            Ok(()) => jobs.into_iter().for_each(Job::answer),
            Err(Failure::Begin(error)) => fail(jobs, &error),
            Err(Failure::Commit(error)) if jobs.len() == 1 => fail(jobs, &error),
            // One that cannot be written must not take its neighbours along.
            Err(Failure::Commit(_)) => jobs.into_iter().for_each(|job| write_alone(&mut connection, job)),
        }
    }
}

fn write_alone(connection: &mut Connection, job: Job) {
    let mut jobs = in_time(vec![job]);
    match commit(connection, &mut jobs) {
        Ok(()) => jobs.into_iter().for_each(Job::answer),
        Err(Failure::Begin(error) | Failure::Commit(error)) => fail(jobs, &error),
    }
}

enum Failure {
    Begin(rusqlite::Error),
    Commit(rusqlite::Error),
}

fn commit(connection: &mut Connection, jobs: &mut [Job]) -> Result<(), Failure> {
    if jobs.is_empty() {
        return Ok(());
    }
    // Dropped without a commit, the transaction is rolled back.
    let transaction = connection.transaction_with_behavior(Immediate).map_err(Failure::Begin)?;
    for job in jobs {
        job.run(&transaction).map_err(Failure::Commit)?;
    }
    transaction.commit().map_err(Failure::Commit)
}

/// Answers what waits, from one snapshot a batch.
pub(super) fn read(connection: Connection, queue: Arc<Queue>) {
    let closing = Closing(queue);
    while let Some(jobs) = closing.0.take(BATCH) {
        let jobs = in_time(jobs);
        // A snapshot spares each read its own locks; without one, they are taken one by one.
        let snapshot = if jobs.len() > 1 { connection.unchecked_transaction().ok() } else { None };
        for mut job in jobs {
            match job.run(&connection) {
                Ok(()) => job.answer(),
                Err(error) => job.fail(failed("read", error)),
            }
        }
        drop(snapshot);
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

fn fail(jobs: Vec<Job>, error: &rusqlite::Error) {
    for job in jobs {
        job.fail(failed("write", error));
    }
}
