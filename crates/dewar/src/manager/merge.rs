//! Commits that meet: requests that wait for one session are replayed together into one record.

use std::time::Duration;

use super::{
    Inner,
    job::{ATTEMPTS, Job, Replacing, conflict, contended, gone_with_its_runtime, guarded, malformed},
    queue::{Base, Entered, Failed, Merged, Turn, Waiting},
};
use crate::{
    data::Contents,
    error::Error,
    lifetime::Timestamp,
    meaning::Principal,
    state::Doubt,
    store::{Answer, Load, Record, Replace, StoreKey, Tombstone, Version},
    telemetry,
};

/// What a batch tries to write.
struct Attempt {
    /// The version that it replaces.
    at: Version,
    version: Version,
    record: Record,
    is_empty: bool,
    /// As of [`Merged::Kept`].
    revived: bool,
    is_merged: bool,
    /// Whether it stands there already.
    is_done: bool,
}

impl Inner {
    /// Writes to an existing session, together with all others in this process that wait to.
    ///
    /// `version` is the one that the request opened; `None` where it does not know.
    pub(super) async fn merge(
        &self,
        job: &mut Job,
        key: &StoreKey,
        version: Option<Version>,
        begun: Option<Replacing>,
    ) -> Result<Merged, Failed> {
        let changes = std::mem::take(&mut job.changes);
        let in_doubt = changes.doubt.is_some();
        let (entered, answer) = match begun {
            Some(Replacing { leader, answer }) => (Entered::Leading(leader, changes), Some(answer)),
            None => (self.queues.enter(key, changes, false), None),
        };
        let (leader, mut batch, mut base) = match entered {
            Entered::Leading(leader, changes) => {
                let (record, is_empty) = (&job.record, job.is_empty);
                let base = version.filter(|_| !in_doubt);
                let base = base.map(|version| Base { version, record: record.clone(), is_empty, is_written: true });
                (leader, vec![Waiting::own(changes)], base)
            }
            Entered::Waiting(turn) => match turn.await {
                Ok(Turn::Lead(leader, batch, base)) => (leader, batch, base),
                Ok(Turn::Answered(merged, changes)) => {
                    job.changes = changes;
                    return merged;
                }
                Err(_) => {
                    job.is_lost = true;
                    return Err(gone_with_its_runtime().into());
                }
            },
        };
        let outcomes = self.write(key, &mut batch, &mut base, answer, job.version, job.now).await;
        let (merged, changes) = leader.answer(batch, outcomes, base);
        job.changes = changes;
        merged
    }

    /// Replays the waiting requests, in their order, into one record, and replaces it at its version.
    async fn write(
        &self,
        key: &StoreKey,
        batch: &mut [Waiting],
        base: &mut Option<Base>,
        mut begun: Option<Answer<'static, Replace>>,
        first: Version,
        now: Timestamp,
    ) -> Vec<Result<Merged, Failed>> {
        let all = |batch: &[Waiting], error: &Error| answers(batch, || Err(error.copy().into()));
        for attempt in 0..ATTEMPTS {
            let (next, outcomes) = match base.take() {
                // The leader's own request, which nobody else has overtaken yet: there is nothing to replay.
                Some(Base { version: at, record, is_empty, is_written: true }) => {
                    let (revived, is_merged, is_done) = (false, false, false);
                    (Attempt { at, version: first, record, is_empty, revived, is_merged, is_done }, vec![Ok(is_empty)])
                }
                base => {
                    let (record, at) = match base {
                        Some(base) => (base.record, base.version),
                        None => match self.look(key, now).await {
                            Ok(Ok(found)) => found,
                            Ok(Err(tombstone)) => return answers(batch, || Ok(Merged::Gone(tombstone.clone()))),
                            Err(error) => return all(batch, &error),
                        },
                    };
                    let Some(mut contents) = self.contents(record) else { return all(batch, &malformed()) };
                    batch.iter_mut().for_each(|waiting| waiting.changes.settle(at));
                    let is_done = batch.iter().all(|waiting| waiting.changes.operations.is_empty());
                    let revived = contents.is_empty() && !is_done;
                    let outcomes = self.replay(batch, &mut contents, at);
                    if !batch.iter().all(|waiting| waiting.changes.is_edit) {
                        contents.issued = now;
                    }
                    let written = self.record(&contents, now);
                    let written = written.and_then(|mut record| Ok((self.version(&mut record, now)?, record)));
                    let (version, record) = match written {
                        Ok(written) => written,
                        Err(error) => return all(batch, &error),
                    };
                    let is_empty = contents.is_empty();
                    (Attempt { at, version, record, is_empty, is_merged: true, is_done, revived }, outcomes)
                }
            };
            let Attempt { at, version, record, is_empty, revived, is_merged, is_done } = next;
            if outcomes.iter().all(Result::is_err) {
                return outcomes.into_iter().map(|outcome| outcome.map(|_| Merged::Gone(None))).collect();
            }
            let replaced = match begun.take() {
                _ if is_done => Ok(Replace::Replaced(at)),
                Some(answer) => self.replace_surely(key, at, version, &record, now, answer).await,
                None => self.replace_at(key, at, version, &record, now).await,
            };
            match replaced {
                Ok(Replace::Replaced(version)) => {
                    let emptied = false;
                    let merged =
                        Merged::Kept { version, record: record.clone(), is_empty, revived, emptied, is_merged };
                    *base = Some(Base { version, record, is_empty, is_written: false });
                    let answers = batch.iter().zip(outcomes);
                    return answers
                        .map(|(waiting, outcome)| outcome.map(|emptied| merged.beside(&waiting.changes, emptied)))
                        .collect();
                }
                Ok(Replace::Gone(tombstone)) => return answers(batch, || Ok(Merged::Gone(tombstone.clone()))),
                Ok(Replace::Conflict) => self.wait(attempt).await,
                Err(unknown) => {
                    let failed = |(waiting, outcome): (&Waiting, Result<bool, Failed>)| {
                        // Who was left out of it is in no doubt.
                        outcome?;
                        let operations = waiting.changes.operations.len();
                        let revived = revived || waiting.changes.settled.revived;
                        let doubt = Doubt { at: Some(at), mine: version, operations, revived };
                        Err(Failed { error: unknown.0.copy(), doubt: Some(doubt) })
                    };
                    return batch.iter().zip(outcomes).map(failed).collect();
                }
            }
        }
        answers(batch, || Err(contended().into()))
    }

    /// Replays the requests in their order, and says of each whether it emptied the session. One that fails must not harm its neighbours.
    fn replay(&self, batch: &[Waiting], contents: &mut Contents, at: Version) -> Vec<Result<bool, Failed>> {
        let base = contents.clone();
        let mut outcomes = Vec::with_capacity(batch.len());
        // As a rule none does. Where one did, all begin again, and each goes on from a copy of what was before it.
        for is_careful in [false, true] {
            for waiting in batch {
                let before = is_careful.then(|| contents.clone());
                let was_empty = contents.is_empty();
                let replayed = (waiting.changes.to_do(at)).and_then(|operations| {
                    let is_another = |whose: &Option<Principal>| *whose != self.rules.format.principal(contents);
                    if waiting.changes.whose.as_ref().is_some_and(is_another) {
                        return Err(conflict(waiting.changes.may_be_done()).into());
                    }
                    // It would revive a session whose cookie the browser may have lost, and has none to give.
                    if was_empty && waiting.changes.follows && !operations.is_empty() {
                        return Err(conflict(waiting.changes.may_be_done()).into());
                    }
                    Ok(guarded(operations, contents, &self.rules.format)?)
                });
                match (replayed, before) {
                    (Ok(()), _) => {
                        let is_done = waiting.changes.settled.partly && waiting.changes.operations.is_empty();
                        outcomes.push(Ok(contents.is_empty() && (is_done || !was_empty)));
                    }
                    (Err(error), Some(before)) => {
                        *contents = before;
                        outcomes.push(Err(error));
                    }
                    (Err(_), None) => break,
                }
            }
            if outcomes.len() == batch.len() {
                break;
            }
            outcomes.clear();
            *contents = base.clone();
        }
        outcomes
    }

    /// A little longer with every attempt, and by chance, so that rivals do not meet again.
    pub(super) async fn wait(&self, attempt: u32) {
        let most = 500u64 << attempt.min(7);
        let time = Duration::from_micros(rand::RngExt::random_range(&mut rand::rng(), most / 2..=most));
        telemetry::conflicted(time);
        self.sleep(time).await;
    }

    /// What stands under a key, or why nothing does.
    pub(super) async fn look(
        &self,
        key: &StoreKey,
        now: Timestamp,
    ) -> Result<Result<(Record, Version), Option<Tombstone>>, Error> {
        Ok(match self.backend()?.load(key.clone(), now).await? {
            Load::Found(record, version) => Ok((record, version)),
            Load::Gone(tombstone) => Err(Some(tombstone)),
            Load::Missing => Err(None),
            Load::Malformed => return Err(malformed()),
        })
    }
}

fn answers(batch: &[Waiting], answer: impl Fn() -> Result<Merged, Failed>) -> Vec<Result<Merged, Failed>> {
    batch.iter().map(|_| answer()).collect()
}
