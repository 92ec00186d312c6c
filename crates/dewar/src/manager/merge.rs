//! Commits that meet: requests that wait for one session are replayed together into one record.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use super::{
    Inner,
    commit::{ATTEMPTS, Begun, Done, Job},
    queue::{Base, Entered, Merged, Turn, Waiting},
    stored::malformed,
};
use crate::{
    data::Contents,
    dialect::{SessionId, wire::Encoding},
    error::Error,
    journal::{self, Operation},
    lifetime::Timestamp,
    store::{Answer, Load, Record, Replace, StoreError, StoreKey, Version},
    telemetry,
};

impl Inner {
    /// Writes to an existing session, together with all others in this process that wait to.
    ///
    /// `version` is the one that the request opened; `None` where it does not know.
    pub(super) async fn merge(
        &self,
        job: &mut Job,
        id: SessionId,
        version: Option<Version>,
        again: bool,
        begun: Option<Begun>,
    ) -> Result<Done, Error> {
        let operations = mem::take(&mut job.operations);
        let key = id.key();
        let (entered, answer) = match begun {
            Some(Begun { leader, answer }) => (Entered::Leading(leader, operations), Some(answer)),
            None => (self.queues.enter(key, operations), None),
        };
        let (leader, mut batch, mut base) = match entered {
            Entered::Leading(leader, operations) => {
                let (record, is_empty) = (&job.record, job.is_empty);
                let base = version.map(|version| Base { version, record: record.clone(), is_empty, is_written: true });
                (leader, vec![Waiting { operations, answer: None }], base)
            }
            Entered::Waiting(turn) => match turn.await {
                Ok(Turn::Lead(leader, batch, base)) => (leader, batch, base),
                Ok(Turn::Answered(merged, operations)) => {
                    job.operations = operations;
                    return merged.map(|merged| Done::merged(merged, id, again));
                }
                Err(_) => return Err(StoreError::new("the commit that this one waited for was given up").into()),
            },
        };
        let outcomes = self.write(key, &mut batch, &mut base, answer, job.now).await;
        let (merged, operations) = leader.answer(batch, outcomes, base);
        job.operations = operations;
        merged.map(|merged| Done::merged(merged, id, again))
    }

    /// Replays the waiting requests, in their order, into one record, and replaces it at its version.
    async fn write(
        &self,
        key: &StoreKey,
        batch: &mut [Waiting],
        base: &mut Option<Base>,
        mut begun: Option<Answer<'static, Replace>>,
        now: Timestamp,
    ) -> Vec<Result<Merged, Error>> {
        for attempt in 0..ATTEMPTS {
            let (version, record, is_empty, revived, outcomes) = match base.take() {
                // The leader's own request, which nobody else has overtaken yet: there is nothing to replay.
                Some(base) if base.is_written => (base.version, base.record, base.is_empty, false, vec![Ok(())]),
                base => {
                    let (record, version) = match base {
                        Some(base) => (base.record, base.version),
                        None => match self.reload(key, now).await {
                            Ok(Some(found)) => found,
                            Ok(None) => return answers(batch, || Ok(Merged::Gone)),
                            Err(error) => return answers(batch, || Err(error.copy())),
                        },
                    };
                    let Some(mut contents) = self.contents(record) else {
                        return answers(batch, || Err(malformed()));
                    };
                    let revived = contents.is_empty();
                    let outcomes = self.replay(batch, &mut contents);
                    contents.issued = now;
                    match self.record(&contents, now) {
                        Ok(record) => (version, record, contents.is_empty(), revived, outcomes),
                        Err(error) => return answers(batch, || Err(error.copy())),
                    }
                }
            };
            if outcomes.iter().all(Result::is_err) {
                return outcomes.into_iter().map(|outcome| outcome.map(|()| Merged::Gone)).collect();
            }
            let replaced = match (begun.take(), self.backend()) {
                (Some(answer), _) => answer.await.map_err(Error::from),
                (None, Ok(store)) => {
                    Arc::clone(store).replace(key.clone(), version, record.clone(), now).await.map_err(Error::from)
                }
                (None, Err(error)) => Err(error),
            };
            match replaced {
                Ok(Replace::Replaced(version)) => {
                    let merged = Merged::Kept { version, record: record.clone(), is_empty, revived };
                    *base = Some(Base { version, record, is_empty, is_written: false });
                    return outcomes.into_iter().map(|outcome| outcome.map(|()| merged.clone())).collect();
                }
                Ok(Replace::Gone) => return answers(batch, || Ok(Merged::Gone)),
                Ok(Replace::Conflict) => wait(attempt).await,
                Err(error) => return answers(batch, || Err(error.copy())),
            }
        }
        answers(batch, || Err(contended()))
    }

    /// Replays the requests in their order. One that fails must not harm its neighbours, so all others begin again without it.
    fn replay(&self, batch: &[Waiting], contents: &mut Contents) -> Vec<Result<(), Error>> {
        let base = contents.clone();
        let mut outcomes: Vec<_> = batch.iter().map(|_| Ok(())).collect();
        loop {
            let good = batch.iter().zip(&mut outcomes).filter(|(_, outcome)| outcome.is_ok());
            let failed =
                good.map(|(waiting, outcome)| (outcome, guarded(&waiting.operations, contents, self.rules.encoding)));
            let Some((outcome, error)) =
                failed.filter_map(|(outcome, replayed)| Some((outcome, replayed.err()?))).next()
            else {
                return outcomes;
            };
            *outcome = Err(error);
            *contents = base.clone();
        }
    }

    async fn reload(&self, key: &StoreKey, now: Timestamp) -> Result<Option<(Record, Version)>, Error> {
        match self.backend()?.load(key.clone(), now).await? {
            Load::Found(record, version) => Ok(Some((record, version))),
            Load::Gone | Load::Missing => Ok(None),
        }
    }
}

/// A panic of the application's closure is that request's own failure.
fn guarded(operations: &[Operation], contents: &mut Contents, encoding: Encoding) -> Result<(), Error> {
    catch_unwind(AssertUnwindSafe(|| journal::replay(operations, contents, encoding)))
        .unwrap_or_else(|_| Err(Error::entry(b"?", "an update panicked when it was run again")))
}

fn answers(batch: &[Waiting], answer: impl Fn() -> Result<Merged, Error>) -> Vec<Result<Merged, Error>> {
    batch.iter().map(|_| answer()).collect()
}

/// A little longer with every attempt, and by chance, so that rivals do not meet again.
pub(super) async fn wait(attempt: u32) {
    let most = 500u64 << attempt.min(7);
    let time = Duration::from_micros(rand::RngExt::random_range(&mut rand::rng(), most / 2..=most));
    telemetry::conflicted(time);
    #[cfg(feature = "runtime")]
    if tokio::runtime::Handle::try_current().is_ok() {
        tokio::time::sleep(time).await;
    }
}

pub(super) fn contended() -> Error {
    StoreError::new("other requests kept writing to this session first").into()
}
