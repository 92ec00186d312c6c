//! Writes whose answer may get lost. An error does not say that nothing was done: the store is asked, because versions and nonces tell.
//! Not where the store says that it was done and may be lost yet: to find it there proves nothing.

use std::sync::Arc;

use super::Inner;
use crate::{
    dialect::SessionId,
    error::Error,
    lifetime::Timestamp,
    store::{
        Answer, Cap, Create, Delete, Load, Record, Rename, Replace, StoreError, StoreKey, Tombstone, Version, Why,
        Written,
    },
};

/// How often a write is done again that was surely not done.
const AGAIN: u32 = 3;

/// A write that may have been done: neither its answer nor the store's could be had, or somebody else has written since.
pub(super) struct Unknown(pub(super) Error);

impl From<Unknown> for Error {
    fn from(unknown: Unknown) -> Self {
        unknown.0
    }
}

impl From<Unknown> for super::queue::Failed {
    fn from(unknown: Unknown) -> Self {
        unknown.0.into()
    }
}

fn unknown(error: StoreError) -> Unknown {
    Unknown(error.into())
}

/// Whether what stands in this version is surely the write that was to put it there. A digest only tells what is in it, and another may have written
/// the same.
fn is_surely(stands: Version, version: Version) -> bool {
    stands == version && !version.is_digest()
}

impl Inner {
    pub(super) async fn create_surely(
        &self,
        id: &SessionId,
        version: Version,
        record: &Record,
        cap: Option<&Cap>,
        now: Timestamp,
        mut begun: Option<Answer<'static, Create>>,
    ) -> Result<Create, Error> {
        let (store, key) = (self.backend()?, id.key());
        let mut lost = None;
        // What was renewed may have been this, and taken it along.
        let gone = |lost: Option<StoreError>, tombstone: Tombstone| match (lost, &tombstone.why) {
            (Some(error), Why::Renewed { .. }) => Err(error.into()),
            _ => Ok(Create::Gone(tombstone)),
        };
        for attempt in 0..AGAIN {
            let first = begun.take();
            let create = || Arc::clone(store).create(key.clone(), version, record.clone(), cap.cloned(), now);
            match first.unwrap_or_else(create).await {
                Ok(Create::Exists) => {}
                Ok(Create::Gone(tombstone)) => return gone(lost, tombstone),
                Ok(other) => return Ok(other),
                Err(error) if error.is_final() => return Err(error.into()),
                Err(error) => lost = Some(error),
            }
            // The first attempt of this commit may have been an earlier commit's second.
            match store.load(key.clone(), now).await {
                // Under an id that nobody else knows, also a digest tells.
                Ok(Load::Found(found, at)) if at == version => {
                    let epoch = found.epoch.unwrap_or_default();
                    return Ok(Create::Created(Written { version: at, epoch, ended: 0 }));
                }
                // An attempt before may have landed late, and others have written since.
                Ok(Load::Found(..) | Load::Malformed) => {
                    return lost.map_or(Ok(Create::Exists), |error| Err(error.into()));
                }
                Ok(Load::Gone(tombstone)) => return gone(lost, tombstone),
                Ok(Load::Missing) if attempt + 1 < AGAIN => self.wait(attempt).await,
                Ok(Load::Missing) => break,
                Err(error) => return Err(lost.unwrap_or(error).into()),
            }
        }
        Err(lost.map_or_else(super::job::contended, Error::from))
    }

    /// Replaces the record at the version `at`, and finds out what became of it.
    pub(super) async fn replace_at(
        &self,
        key: &StoreKey,
        at: Version,
        version: Version,
        record: &Record,
        now: Timestamp,
    ) -> Result<Replace, Unknown> {
        let store = self.backend().map_err(Unknown)?;
        let first = Arc::clone(store).replace(key.clone(), at, version, record.clone(), now);
        self.replace_surely(key, at, version, record, now, first).await
    }

    /// The same, where the first attempt was begun.
    pub(super) async fn replace_surely(
        &self,
        key: &StoreKey,
        at: Version,
        version: Version,
        record: &Record,
        now: Timestamp,
        first: Answer<'static, Replace>,
    ) -> Result<Replace, Unknown> {
        let store = self.backend().map_err(Unknown)?;
        // What was renewed since may have taken along what the first attempt wrote, or not.
        let gone = |error: StoreError, tombstone: Option<Tombstone>| match tombstone.as_ref().map(|it| &it.why) {
            Some(Why::Renewed { .. }) => Err(unknown(error)),
            // Another framework leaves nothing that would say so.
            None if version.is_digest() => Err(unknown(error)),
            _ => Ok(Replace::Gone(tombstone)),
        };
        let mut answer = first.await;
        let mut lost: Option<StoreError> = None;
        for attempt in 0..AGAIN {
            let error = match (answer, lost.take()) {
                (Ok(Replace::Gone(tombstone)), Some(lost)) => return gone(lost, tombstone),
                (Ok(answer), _) => return Ok(answer),
                (Err(error), _) if error.is_final() => return Err(unknown(error)),
                (Err(error), _) => error,
            };
            match store.load(key.clone(), now).await {
                Ok(Load::Found(_, stands)) if is_surely(stands, version) => return Ok(Replace::Replaced(stands)),
                Ok(Load::Found(_, stands)) if is_surely(stands, at) && attempt + 1 < AGAIN => {}
                Ok(Load::Found(..) | Load::Malformed) | Err(_) => return Err(unknown(error)),
                Ok(Load::Gone(tombstone)) => return gone(error, Some(tombstone)),
                Ok(Load::Missing) => return gone(error, None),
            }
            self.wait(attempt).await;
            answer = Arc::clone(store).replace(key.clone(), at, version, record.clone(), now).await;
            if let Ok(Replace::Conflict) = answer {
                return match store.load(key.clone(), now).await {
                    Ok(Load::Found(_, stands)) if stands == version => Ok(Replace::Replaced(version)),
                    Ok(Load::Gone(tombstone)) => gone(error, Some(tombstone)),
                    Ok(Load::Missing) => gone(error, None),
                    // The first one may have landed late, and others have written since.
                    Ok(Load::Found(..) | Load::Malformed) | Err(_) => Err(unknown(error)),
                };
            }
            lost = Some(error);
        }
        answer.map_err(unknown)
    }

    pub(super) async fn delete_surely(
        &self,
        key: &StoreKey,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<Delete, Error> {
        let store = self.backend()?;
        for attempt in 0..AGAIN {
            let error = match store.delete(key, None, tombstone.clone(), now).await {
                // An attempt before this one.
                Ok(Delete::Gone(Some(found))) if found.nonce == tombstone.nonce => return Ok(Delete::Deleted),
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_final() => return Err(error.into()),
                Err(error) => error,
            };
            match store.load(key.clone(), now).await {
                Ok(Load::Gone(found)) if found.nonce == tombstone.nonce => return Ok(Delete::Deleted),
                Ok(Load::Gone(found)) => return Ok(Delete::Gone(Some(found))),
                Ok(_) if attempt + 1 < AGAIN => self.wait(attempt).await,
                _ => return Err(error.into()),
            }
        }
        Err(super::job::contended())
    }

    #[allow(clippy::too_many_arguments)] // As the store's.
    pub(super) async fn rename_surely(
        &self,
        from: &StoreKey,
        at: Option<Version>,
        to: &SessionId,
        version: Version,
        record: &Record,
        tombstone: Tombstone,
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Rename, Error> {
        let store = self.backend()?;
        for attempt in 0..AGAIN {
            let answer = store.rename(from, at, to.key(), version, record.clone(), tombstone.clone(), cap, now).await;
            let error = match answer {
                // An attempt before this one, which landed late.
                Ok(Rename::Gone(Some(found))) if found.nonce == tombstone.nonce => {
                    return self.renamed(to, version, &found, now).await;
                }
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_final() => return Err(error.into()),
                Err(error) => error,
            };
            match store.load(from.clone(), now).await {
                Ok(Load::Gone(found)) if found.nonce == tombstone.nonce => {
                    return self.renamed(to, version, &found, now).await;
                }
                Ok(Load::Gone(found)) => return Ok(Rename::Gone(Some(found))),
                Ok(Load::Missing) => return Ok(Rename::Gone(None)),
                // Both or neither: it was not done, and somebody else wrote meanwhile.
                Ok(Load::Found(_, stands)) if at.is_some_and(|at| at != stands) => return Ok(Rename::Conflict),
                Ok(Load::Found(..)) if attempt + 1 < AGAIN => self.wait(attempt).await,
                _ => return Err(error.into()),
            }
        }
        Err(super::job::contended())
    }

    /// A rename that was done though its answer was lost. What became of the session since is the business of whoever asks next.
    async fn renamed(
        &self,
        to: &SessionId,
        version: Version,
        tombstone: &Tombstone,
        now: Timestamp,
    ) -> Result<Rename, Error> {
        let done = |version, epoch| Rename::Renamed(Written { version, epoch, ended: 0 });
        Ok(match self.backend()?.load(to.key().clone(), now).await? {
            Load::Found(record, _) => done(version, record.epoch.unwrap_or_default()),
            Load::Gone(_) | Load::Malformed => done(version, 0),
            Load::Missing if matches!(tombstone.why, Why::Renewed { .. }) => Rename::Gone(None),
            Load::Missing => Rename::Gone(Some(tombstone.clone())),
        })
    }
}
