//! From one store of ours to another, while the site runs: nobody is logged out, and no write is lost.
//!
//! A session lives in one of both stores at every moment. It moves with its next write or touch:
//!
//! 1. The new state is written to the new store, under a key that nobody has.
//! 2. A tombstone that names this key takes the record's place in the old store, if the record still is in the state that was read. That is the move: one
//!    step of one store, which either happened or did not.
//! 3. In the new store the record is renamed to the key that its cookie leads to. Whoever finds it not done, does it.
//!
//! Who is killed after the first step leaves a copy that nobody reaches, and that runs out; after the second, a session that the next request puts in its
//! place. [`Moving::prepare`] and [`Moving::start`] keep to the same steps, so servers with either may run side by side.

use std::fmt;

use super::{
    Cap, Create, Delete, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreError, StoreKey,
    TellEnding, Timestamp, Tombstone, Touch, Version, Why,
};
use crate::runtime::Task;

/// How often somebody else may be faster.
const ATTEMPTS: u32 = 8;

/// Two stores of our own, while sessions move from the one to the other.
///
/// ```
/// use dewar::store::{moving::Moving, memory::MemoryStore};
///
/// # let (old, new) = (MemoryStore::new(), MemoryStore::new());
/// let store = Moving::start(old, new);
/// # let _ = store;
/// ```
///
/// Four deployments, each of which may run beside the one before and be taken back:
///
/// | | the servers say | new sessions | a session that is written to |
/// | --- | --- | --- | --- |
/// | before | `.store(old)` | old | stays |
/// | 1 | `.store(Moving::prepare(old, new))` | old | stays where it is |
/// | 2 | `.store(Moving::start(old, new))` | new | moves |
/// | after the longest idle timeout | `.store(new)` | new | |
///
/// To go back from 2, deploy 1: what has moved is found. To go back to the old store alone, deploy 1 on all servers, and then move the other way:
/// `Moving::start(new, old)`. A session that moved here stays until the tombstone that it left there has run out, an idle timeout after its move, or
/// until its id is renewed.
///
/// Loading costs one round trip more for a session that is in the other store. A user's sessions are listed and ended in both;
/// a [`Cap`] counts those in the store that the log-in goes to. Records of another framework do not move: their framework would not find them.
///
/// # Security
///
/// The last deployment forgets which cookies of before there was a store had ended. Where sessions moved to the old store from a cookie, run the second until
/// the last of these cookies has run out.
#[derive(Clone)]
pub struct Moving<Old, New> {
    old: Old,
    new: New,
    moves: bool,
}

impl<Old: SessionAdmin, New: SessionAdmin> Moving<Old, New> {
    /// Finds what is in either store, and moves nothing: for the deployment before [`start`](Self::start).
    pub fn prepare(old: Old, new: New) -> Self {
        Self { old, new, moves: false }
    }

    /// Moves a session when it is written to or touched. All servers have to find what has moved: deploy [`prepare`](Self::prepare) before.
    pub fn start(old: Old, new: New) -> Self {
        Self { old, new, moves: true }
    }
}

impl<Old, New> fmt::Debug for Moving<Old, New> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moving").field("moves", &self.moves).finish_non_exhaustive()
    }
}

/// Where a session is.
#[allow(clippy::large_enum_variant)] // One at a time, on its way.
enum Place {
    Old(Record, Version),
    New(Record, Version),
    Dead(Option<Tombstone>),
    Malformed,
}

/// How a move ended.
enum Moved {
    Done,
    /// Somebody else wrote, or moved it, first.
    Conflict,
    Dead(Tombstone),
    /// Its user's sessions were ended since it began.
    Outdated,
    /// The tombstone of an earlier move, the other way, still stands under its key.
    Stays,
}

/// Marks the tombstone of a session that is in the new store: no manager draws this.
const MARK: u64 = 0x6d6f_7665_6400_0000;

fn moved_to(there: &StoreKey, record: &Record, now: Timestamp) -> Tombstone {
    let successor = Some(there.clone());
    let until = record.guarded_until.max(Some(record.expires()));
    Tombstone::new(Why::Renewed { successor }, MARK, now).until(until)
}

/// The key that the session has on its way to the new store.
fn on_its_way(tombstone: &Tombstone) -> Option<&StoreKey> {
    match &tombstone.why {
        Why::Renewed { successor } if tombstone.nonce == MARK => successor.as_ref(),
        _ => None,
    }
}

/// Whether the other store has to be asked, where this one has nothing but what a move left.
fn is_elsewhere(stands: Option<&Tombstone>) -> bool {
    stands.is_none_or(|stands| on_its_way(stands).is_some())
}

fn fresh_key() -> Result<StoreKey, StoreError> {
    let mut key = [0; 32];
    getrandom::fill(&mut key)
        .map_err(|error| StoreError::new("moving: no random numbers").because(error.to_string()))?;
    Ok(StoreKey::from_digest(key))
}

fn contended() -> StoreError {
    StoreError::new("moving: others kept writing to this session first")
}

impl<Old: SessionAdmin, New: SessionAdmin> Moving<Old, New> {
    /// Finds a session. Where it has moved, but is not yet under its key, that is done.
    async fn place(&self, key: &StoreKey, now: Timestamp) -> Result<Place, StoreError> {
        if self.moves {
            // Where most of them are; one that stands there has moved, or began there.
            match self.new.load(key, now).await? {
                Load::Found(record, version) => return Ok(Place::New(record, version)),
                // It moved the other way before.
                Load::Gone(tombstone) if on_its_way(&tombstone).is_some() => {}
                Load::Gone(tombstone) => return Ok(Place::Dead(Some(tombstone))),
                Load::Malformed => return Ok(Place::Malformed),
                Load::Missing => {}
            }
        }
        let tombstone = match self.old.load(key, now).await? {
            Load::Found(record, version) => return Ok(Place::Old(record, version)),
            Load::Malformed => return Ok(Place::Malformed),
            Load::Missing if self.moves => return Ok(Place::Dead(None)),
            Load::Missing => None,
            Load::Gone(tombstone) => Some(tombstone),
        };
        match tombstone.as_ref().map(on_its_way) {
            Some(Some(there)) => self.arrive(key, there, now).await?,
            Some(None) => return Ok(Place::Dead(tombstone)),
            None => {}
        }
        Ok(match self.new.load(key, now).await? {
            Load::Found(record, version) => Place::New(record, version),
            Load::Gone(tombstone) if on_its_way(&tombstone).is_some() => Place::Dead(None),
            Load::Gone(tombstone) => Place::Dead(Some(tombstone)),
            Load::Missing => Place::Dead(None),
            Load::Malformed => Place::Malformed,
        })
    }

    /// The third step of a move.
    async fn arrive(&self, key: &StoreKey, there: &StoreKey, now: Timestamp) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let Load::Found(record, version) = self.new.load(there, now).await? else { return Ok(()) };
            let tombstone = Tombstone::new(Why::Renewed { successor: Some(key.clone()) }, MARK, now);
            let renamed = self.new.rename(there, Some(version), key, version, record, tombstone, None, now).await;
            match renamed {
                Ok(Rename::Renamed(_) | Rename::Gone(_)) => return Ok(()),
                Ok(Rename::Conflict) => {}
                // Its user's were ended: this one, too.
                Ok(Rename::Outdated | Rename::Full) => {
                    let ended = Tombstone::new(Why::Ended, version.bits(), now);
                    self.new.delete(there, None, ended.clone(), now).await?;
                    self.new.delete(key, None, ended, now).await?;
                    return Ok(());
                }
                // Something stands under its key.
                Err(error) => match self.new.load(key, now).await? {
                    Load::Gone(tombstone) => {
                        self.new.delete(there, None, tombstone, now).await?;
                        return Ok(());
                    }
                    Load::Found(..) => return Ok(()),
                    Load::Missing | Load::Malformed => return Err(error),
                },
            }
        }
        Err(contended())
    }

    /// Moves a session that was read in the state `at`, and which is to be `record` in the state `version` from then on.
    async fn go(
        &self,
        key: &StoreKey,
        at: Version,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Result<Moved, StoreError> {
        match self.new.load(key, now).await? {
            Load::Gone(tombstone) if on_its_way(&tombstone).is_some() => return Ok(Moved::Stays),
            _ => {}
        }
        let there = fresh_key()?;
        let moved = moved_to(&there, &record, now);
        // A session of nobody's does not say in which epoch it began: in none that is later than everybody's.
        let epoch = match record.principal {
            Some(_) => record.epoch,
            None => Some(self.old.epoch(None).await?),
        };
        let record = Record { epoch, ..record };
        match self.new.create(&there, version, record, None, now).await? {
            Create::Created(_) => {}
            Create::Outdated | Create::Full => return Ok(Moved::Outdated),
            Create::Exists | Create::Gone(_) => return Err(StoreError::new("moving: a random key is taken")),
        }
        let left = match self.old.delete(key, Some(at), moved.clone(), now).await {
            Ok(left) => left,
            // Nobody knows whether it was done: the old store tells.
            Err(error) => match self.old.load(key, now).await {
                Ok(Load::Gone(stands)) => Delete::Gone(Some(stands)),
                Ok(Load::Found(_, stands)) if stands == at => {
                    self.give_up(&there, now).await?;
                    return Err(error);
                }
                Ok(Load::Found(..)) => Delete::Conflict,
                Ok(Load::Missing) => Delete::Gone(None),
                Ok(Load::Malformed) | Err(_) => return Err(error),
            },
        };
        match left {
            Delete::Deleted => {}
            Delete::Gone(Some(stands)) if stands.why == moved.why => {}
            Delete::Gone(Some(stands)) if on_its_way(&stands).is_none() => {
                self.give_up(&there, now).await?;
                return Ok(Moved::Dead(stands));
            }
            Delete::Conflict | Delete::Gone(_) => {
                self.give_up(&there, now).await?;
                return Ok(Moved::Conflict);
            }
        }
        self.arrive(key, &there, now).await?;
        Ok(Moved::Done)
    }

    /// Removes a copy that nobody reaches.
    async fn give_up(&self, there: &StoreKey, now: Timestamp) -> Result<(), StoreError> {
        self.new.delete(there, None, Tombstone::new(Why::Ended, MARK, now), now).await.map(drop)
    }
}

impl<Old: SessionAdmin, New: SessionAdmin> SessionStore for Moving<Old, New> {
    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Load, StoreError> {
        Ok(match self.place(key, now).await? {
            Place::Old(record, version) | Place::New(record, version) => Load::Found(record, version),
            Place::Dead(Some(tombstone)) => Load::Gone(tombstone),
            Place::Dead(None) => Load::Missing,
            Place::Malformed => Load::Malformed,
        })
    }

    async fn create(
        &self,
        key: &StoreKey,
        version: Version,
        record: Record,
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Create, StoreError> {
        // What came from a cookie may be created by two servers at once: both do it in the same store.
        if self.moves && record.guarded_until.is_none() {
            return match self.old.load(key, now).await? {
                Load::Found(..) => Ok(Create::Exists),
                Load::Gone(tombstone) if on_its_way(&tombstone).is_none() => Ok(Create::Gone(tombstone)),
                _ => self.new.create(key, version, record, cap, now).await,
            };
        }
        match self.place(key, now).await? {
            Place::New(..) => return Ok(Create::Exists),
            Place::Dead(Some(tombstone)) => return Ok(Create::Gone(tombstone)),
            _ => {}
        }
        Ok(match self.old.create(key, version, record, cap, now).await? {
            Create::Gone(tombstone) if on_its_way(&tombstone).is_some() => Create::Exists,
            other => other,
        })
    }

    async fn replace(
        &self,
        key: &StoreKey,
        at: Version,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Result<Replace, StoreError> {
        for _ in 0..ATTEMPTS {
            if self.moves {
                match self.new.replace(key, at, version, record.clone(), now).await? {
                    Replace::Gone(stands) if is_elsewhere(stands.as_ref()) => {}
                    other => return Ok(other),
                }
            } else {
                match self.old.replace(key, at, version, record.clone(), now).await? {
                    Replace::Gone(stands) if is_elsewhere(stands.as_ref()) => {}
                    other => return Ok(other),
                }
            }
            match self.place(key, now).await? {
                Place::Dead(tombstone) => return Ok(Replace::Gone(tombstone)),
                Place::Malformed => return Ok(Replace::Conflict),
                Place::New(_, stands) if stands != at => return Ok(Replace::Conflict),
                Place::New(..) => match self.new.replace(key, at, version, record.clone(), now).await? {
                    Replace::Gone(None) => {}
                    other => return Ok(other),
                },
                Place::Old(_, stands) if stands != at => return Ok(Replace::Conflict),
                Place::Old(..) if !self.moves => {}
                Place::Old(was, _) => {
                    // Where it stays, its epoch is its own; where it goes, it is the one that it began in.
                    let record = Record { epoch: record.epoch.or(was.epoch), ..record.clone() };
                    match self.go(key, at, version, record.clone(), now).await? {
                        Moved::Done => return Ok(Replace::Replaced(version)),
                        Moved::Conflict => return Ok(Replace::Conflict),
                        Moved::Dead(tombstone) => return Ok(Replace::Gone(Some(tombstone))),
                        // Or it is about to be ended where it is.
                        Moved::Stays | Moved::Outdated => return self.old.replace(key, at, version, record, now).await,
                    }
                }
            }
        }
        Err(contended())
    }

    async fn touch(
        &self,
        key: &StoreKey,
        at: Version,
        idle_expires: Timestamp,
        now: Timestamp,
    ) -> Result<Touch, StoreError> {
        for _ in 0..ATTEMPTS {
            if self.moves {
                match self.new.touch(key, at, idle_expires, now).await? {
                    Touch::Gone(stands) if is_elsewhere(stands.as_ref()) => {}
                    other => return Ok(other),
                }
            } else {
                match self.old.touch(key, at, idle_expires, now).await? {
                    Touch::Gone(stands) if is_elsewhere(stands.as_ref()) => {}
                    other => return Ok(other),
                }
            }
            match self.place(key, now).await? {
                Place::Dead(tombstone) => return Ok(Touch::Gone(tombstone)),
                Place::Malformed => return Ok(Touch::Conflict),
                Place::New(_, stands) if stands != at => return Ok(Touch::Conflict),
                Place::New(..) => match self.new.touch(key, at, idle_expires, now).await? {
                    Touch::Gone(None) => {}
                    other => return Ok(other),
                },
                Place::Old(_, stands) if stands != at => return Ok(Touch::Conflict),
                Place::Old(..) if !self.moves => {}
                Place::Old(was, _) => match self.go(key, at, at, Record { idle_expires, ..was }, now).await? {
                    Moved::Done => return Ok(Touch::Touched),
                    Moved::Conflict => {}
                    Moved::Dead(tombstone) => return Ok(Touch::Gone(Some(tombstone))),
                    Moved::Stays | Moved::Outdated => return self.old.touch(key, at, idle_expires, now).await,
                },
            }
        }
        Err(contended())
    }

    async fn delete(
        &self,
        key: &StoreKey,
        at: Option<Version>,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<Delete, StoreError> {
        let nonce = tombstone.nonce;
        for _ in 0..ATTEMPTS {
            // Whatever its version, this leaves the tombstone where a move would arrive: the one that stands, where one does.
            let left = match self.old.load(key, now).await? {
                Load::Gone(stands) if on_its_way(&stands).is_none() => stands.until(Some(tombstone.until)),
                _ => tombstone.clone(),
            };
            let in_new = match self.new.delete(key, at, left, now).await? {
                Delete::Gone(stands) => stands.filter(|stands| on_its_way(stands).is_none()),
                other => return Ok(other),
            };
            if in_new.is_some() && at.is_some() {
                return Ok(Delete::Gone(in_new));
            }
            let left = in_new.clone().unwrap_or_else(|| tombstone.clone());
            let in_old = match self.old.delete(key, at, left, now).await? {
                Delete::Gone(stands) => stands,
                other => return Ok(other),
            };
            let Some(there) = in_old.as_ref().and_then(on_its_way) else {
                return Ok(Delete::Gone(if self.moves { in_new.or(in_old) } else { in_old.or(in_new) }));
            };
            if at.is_none() {
                // It cannot arrive any more.
                return Ok(match self.new.delete(there, None, tombstone, now).await? {
                    Delete::Deleted => Delete::Deleted,
                    Delete::Gone(Some(found)) if found.nonce == nonce => Delete::Deleted,
                    _ => Delete::Gone(in_new),
                });
            }
            self.arrive(key, there, now).await?;
            if let Delete::Gone(None) = self.new.delete(key, at, tombstone.clone(), now).await? {
                return Ok(Delete::Gone(None));
            }
        }
        Err(contended())
    }

    async fn rename(
        &self,
        from: &StoreKey,
        at: Option<Version>,
        to: &StoreKey,
        version: Version,
        record: Record,
        tombstone: Tombstone,
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Rename, StoreError> {
        for _ in 0..ATTEMPTS {
            match self.place(from, now).await? {
                Place::Dead(dead) => return Ok(Rename::Gone(dead)),
                Place::Malformed => return Ok(Rename::Conflict),
                Place::New(..) => {
                    return self.new.rename(from, at, to, version, record, tombstone, cap, now).await;
                }
                Place::Old(_, stands) if at.is_some_and(|at| at != stands) => return Ok(Rename::Conflict),
                Place::Old(..) if !self.moves => {
                    let renamed = self.old.rename(from, at, to, version, record.clone(), tombstone.clone(), cap, now);
                    match renamed.await? {
                        Rename::Gone(Some(dead)) if on_its_way(&dead).is_some() => {}
                        other => return Ok(other),
                    }
                }
                // First the move, as the session is: then it is one step of one store.
                Place::Old(was, stands) => match self.go(from, stands, stands, was, now).await? {
                    Moved::Done | Moved::Conflict => {}
                    Moved::Dead(dead) => return Ok(Rename::Gone(Some(dead))),
                    Moved::Outdated => return Ok(Rename::Outdated),
                    Moved::Stays => {
                        return self.old.rename(from, at, to, version, record, tombstone, cap, now).await;
                    }
                },
            }
        }
        Err(contended())
    }

    async fn ping(&self, now: Timestamp) -> Result<(), StoreError> {
        self.new.ping(now).await?;
        self.old.ping(now).await
    }

    fn endings(&self, tell: TellEnding) -> Option<Task> {
        let (mut old, mut new) = (self.old.endings(tell.clone())?, self.new.endings(tell)?);
        Some(Box::pin(std::future::poll_fn(move |context| {
            // Where one of them ends, both begin again.
            if old.as_mut().poll(context).is_ready() || new.as_mut().poll(context).is_ready() {
                return std::task::Poll::Ready(());
            }
            std::task::Poll::Pending
        })))
    }
}

impl<Old: SessionAdmin, New: SessionAdmin> SessionAdmin for Moving<Old, New> {
    async fn count(&self, now: Timestamp) -> Result<u64, StoreError> {
        Ok(self.old.count(now).await? + self.new.count(now).await?)
    }

    /// In the order of their keys, in which both stores have to list.
    async fn list(
        &self,
        principal: Option<&str>,
        after: Option<&StoreKey>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(StoreKey, Record, Version)>, StoreError> {
        let mut all = self.new.list(principal, after, limit, now).await?;
        all.extend(self.old.list(principal, after, limit, now).await?);
        all.sort_by_key(|(key, ..)| key.digest());
        all.dedup_by(|(one, ..), (other, ..)| one == other);
        all.truncate(limit);
        Ok(all)
    }

    async fn epoch(&self, principal: Option<&str>) -> Result<u64, StoreError> {
        Ok(self.new.epoch(principal).await?.max(self.old.epoch(principal).await?))
    }

    async fn revoke(
        &self,
        principal: &str,
        which: Revoke,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut ended = self.new.revoke(principal, which, tombstone.clone(), now).await?;
        ended += self.old.revoke(principal, which, tombstone.clone(), now).await?;
        if let Revoke::Lineage(_) = which {
            // It may have moved in between, from which no epoch keeps it.
            return Ok(ended + self.new.revoke(principal, which, tombstone, now).await?);
        }
        // What begins in the one from here on has to be admitted by the other.
        let (in_new, in_old) = (self.new.epoch(Some(principal)).await?, self.old.epoch(Some(principal)).await?);
        let raised = Timestamp::from_millis(in_new.max(in_old));
        if in_old < in_new {
            ended += self.old.revoke(principal, which, tombstone, raised).await?;
        } else if in_new < in_old {
            ended += self.new.revoke(principal, which, tombstone, raised).await?;
        }
        Ok(ended)
    }

    async fn revoke_everyone(&self, tombstone: Tombstone, now: Timestamp) -> Result<u64, StoreError> {
        let mut ended = 0;
        // Twice: what moves while the old store is gone through is met where it went.
        for _ in 0..2 {
            ended += self.new.revoke_everyone(tombstone.clone(), now).await?;
            ended += self.old.revoke_everyone(tombstone.clone(), now).await?;
        }
        let (in_new, in_old) = (self.new.epoch(None).await?, self.old.epoch(None).await?);
        let raised = Timestamp::from_millis(in_new.max(in_old));
        if in_old < in_new {
            ended += self.old.revoke_everyone(tombstone, raised).await?;
        } else if in_new < in_old {
            ended += self.new.revoke_everyone(tombstone, raised).await?;
        }
        Ok(ended)
    }

    async fn purge(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        let in_old = self.old.purge(limit, now).await?;
        let rest = limit.saturating_sub(in_old);
        Ok(if rest == 0 { in_old } else { in_old + self.new.purge(rest, now).await? })
    }

    async fn claim_purge(&self, now: Timestamp) -> Result<bool, StoreError> {
        let (old, new) = (self.old.claim_purge(now).await?, self.new.claim_purge(now).await?);
        Ok(old || new)
    }

    fn needs_purging(&self) -> bool {
        self.old.needs_purging() || self.new.needs_purging()
    }
}
