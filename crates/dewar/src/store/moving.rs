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
//!
//! A session is dead where neither store has it: a log-out that reached only one of them was not done, and is an error. Each store counts its own epochs. A
//! session that moves begins in the present one of the new store, and a revocation goes through both stores twice, so that it meets what moves meanwhile.

use std::fmt;

use self::steps::{ATTEMPTS, Moved, Place, Side, at, contended, is_copy, on_its_way};
use super::{
    Cap, Create, Delete, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreError, StoreKey,
    TellEnding, Timestamp, Tombstone, Touch, Version,
};
use crate::runtime::Task;

mod steps;

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
/// Four deployments, there:
///
/// | | the servers say | new sessions | a session that is written to |
/// | --- | --- | --- | --- |
/// | before | `.store(old)` | old | stays |
/// | 1 | `.store(Moving::prepare(old, new))` | old | stays where it is |
/// | 2 | `.store(Moving::start(old, new))` | new | moves |
/// | when `old.count(now)` is 0 | `.store(new)` | new | |
///
/// And back, from 2: first 1 again, where what has moved is found, and from there
///
/// | | the servers say | new sessions | a session that is written to |
/// | --- | --- | --- | --- |
/// | 3 | `.store(Moving::prepare(new, old))` | new | stays where it is |
/// | 4 | `.store(Moving::start(new, old))` | old | moves back |
/// | when `new.count(now)` is 0 | `.store(old)` | old | |
///
/// Change all servers before the next step: only neighbours run side by side, in this order or the other way round (before, 1, 2, after; 1, 3, 4, after). Between 1 and
/// 3 one thing is not kept: a cookie of before there was a store that is first used at both in the same moment may begin a session in each.
///
/// A session that has moved leaves a mark until it would have run out. While the mark of its way here stands, it does not move back, unless its id is renewed; so to go
/// there and back and there again may take two idle timeouts, and only the count tells that a store is empty.
///
/// To load a session that is in the other store, or in none, costs one round trip more; a write and a touch cost one more each. A user's sessions are listed and ended in
/// both; a [`Cap`] counts those in the store that the log-in goes to. A session whose server was killed in the middle of its move is in no list until its next
/// request, and ends with all others of its user. Where several answers were lost, a copy that nobody reaches counts in `count` and for a cap until it runs out.
///
/// Records of another framework do not move: their framework would not find them. Neither of the two stores may be a `Moving` itself: their marks look the same.
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

impl<Old: SessionAdmin, New: SessionAdmin> SessionStore for Moving<Old, New> {
    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Load, StoreError> {
        Ok(match self.place(key, now).await? {
            Place::Live(_, record, version) => Load::Found(record, version),
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
        let side = if self.moves && record.guarded_until.is_none() { Side::New } else { Side::Old };
        if self.load_at(side.other(), key, now).await? != Load::Missing {
            match self.place(key, now).await? {
                Place::Live(..) | Place::Malformed => return Ok(Create::Exists),
                Place::Dead(Some(tombstone)) => return Ok(Create::Gone(tombstone)),
                Place::Dead(None) => {}
            }
        }
        let record = Record { epoch: self.epoch_at(side, &record, None).await?, ..record };
        Ok(match at!(self, side, store => store.create(key, version, record, cap, now).await)? {
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
            let (side, was, stands) = match self.place(key, now).await? {
                Place::Live(side, was, stands) => (side, was, stands),
                Place::Dead(tombstone) => return Ok(Replace::Gone(tombstone)),
                Place::Malformed => return Ok(Replace::Conflict),
            };
            if stands != at {
                return Ok(Replace::Conflict);
            }
            if self.moves && side == Side::Old {
                match self.go(key, at, version, record.clone(), now).await? {
                    Moved::Done => return Ok(Replace::Replaced(version)),
                    Moved::NotDone => continue,
                    Moved::Stays => {}
                }
            }
            let record = Record { epoch: self.epoch_at(side, &record, Some(&was)).await?, ..record.clone() };
            match at!(self, side, store => store.replace(key, at, version, record, now).await)? {
                Replace::Gone(_) => {}
                other => return Ok(other),
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
            let (side, was, stands) = match self.place(key, now).await? {
                Place::Live(side, was, stands) => (side, was, stands),
                Place::Dead(tombstone) => return Ok(Touch::Gone(tombstone)),
                Place::Malformed => return Ok(Touch::Conflict),
            };
            if stands != at {
                return Ok(Touch::Conflict);
            }
            if self.moves && side == Side::Old {
                match self.go(key, at, at, Record { idle_expires, ..was }, now).await? {
                    Moved::Done => return Ok(Touch::Touched),
                    Moved::NotDone => continue,
                    Moved::Stays => {}
                }
            }
            match at!(self, side, store => store.touch(key, at, idle_expires, now).await)? {
                Touch::Gone(_) => {}
                other => return Ok(other),
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
        let Some(at) = at else { return self.delete_whatever(key, tombstone, now).await };
        for _ in 0..ATTEMPTS {
            let side = match self.place(key, now).await? {
                Place::Live(side, _, stands) if stands == at => side,
                Place::Live(..) | Place::Malformed => return Ok(Delete::Conflict),
                Place::Dead(dead) => return Ok(Delete::Gone(dead)),
            };
            match at!(self, side, store => store.delete(key, Some(at), tombstone.clone(), now).await)? {
                Delete::Gone(_) => {}
                other => return Ok(other),
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
            let (side, was, stands) = match self.place(from, now).await? {
                Place::Live(side, was, stands) => (side, was, stands),
                Place::Dead(dead) => return Ok(Rename::Gone(dead)),
                Place::Malformed => return Ok(Rename::Conflict),
            };
            if at.is_some_and(|at| at != stands) {
                return Ok(Rename::Conflict);
            }
            // First the move, as the session is: then it is one step of one store.
            if self.moves && side == Side::Old {
                match self.go(from, stands, stands, was.clone(), now).await? {
                    Moved::Done | Moved::NotDone => continue,
                    Moved::Stays => {}
                }
            }
            let record = Record { epoch: self.epoch_at(side, &record, Some(&was)).await?, ..record.clone() };
            let left = tombstone.clone();
            match at!(self, side, store => store.rename(from, at, to, version, record, left, cap, now).await)? {
                Rename::Gone(_) => {}
                other => return Ok(other),
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

    fn keeps_own(&self) -> Result<(), StoreError> {
        self.old.keeps_own().and_then(|()| self.new.keeps_own())
    }
}

impl<Old: SessionAdmin, New: SessionAdmin> Moving<Old, New> {
    /// Whatever its version, and wherever it is by now.
    async fn delete_whatever(
        &self,
        key: &StoreKey,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<Delete, StoreError> {
        let nonce = tombstone.nonce;
        // One tombstone for both: the one that stands, where one does.
        let left = match self.place(key, now).await? {
            Place::Dead(Some(stands)) => stands.until(Some(tombstone.until)),
            _ => tombstone,
        };
        // The new store first: what moves from here on cannot arrive there.
        let in_new = self.new.delete(key, None, left.clone(), now).await?;
        let in_old = self.old.delete(key, None, left.clone(), now).await?;
        let mut answers = if self.moves { vec![in_new, in_old] } else { vec![in_old, in_new] };
        let first = if self.moves { Side::New } else { Side::Old };
        // Nor can what has left one of them, and is on its way to the other.
        for (number, side) in [first, first.other()].into_iter().enumerate() {
            if let Delete::Gone(Some(stands)) = &answers[number]
                && let Some(there) = on_its_way(stands)
            {
                let there = there.clone();
                let ended = at!(self, side.other(), store => store.delete(&there, None, left.clone(), now).await)?;
                answers.push(match ended {
                    // Whoever brought it there met the tombstone above.
                    Delete::Gone(Some(found)) if found.nonce == nonce => Delete::Deleted,
                    other => other,
                });
            }
        }
        let mut dead = None;
        for answer in answers {
            match answer {
                Delete::Gone(stands) => dead = dead.or(stands.filter(|stands| on_its_way(stands).is_none())),
                done => return Ok(done),
            }
        }
        Ok(Delete::Gone(dead))
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
        // In the direction in which they move, so that none is missed.
        let in_old = page(&self.old, principal, after, limit, now).await?;
        let mut all = page(&self.new, principal, after, limit, now).await?;
        all.extend(in_old);
        all.sort_by_key(|(key, ..)| key.digest());
        all.dedup_by(|(one, ..), (other, ..)| one == other);
        all.truncate(limit);
        Ok(all)
    }

    /// The later of both: it rises with every revocation, which raises both.
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
        let (in_old, in_new) = match which {
            // Each store counts epochs by itself, so each is told its own.
            Revoke::AllBut { lineage, epoch } => {
                let (old, new) = self.epochs_of_lineage(principal, lineage, epoch, now).await?;
                (Revoke::AllBut { lineage, epoch: old }, Revoke::AllBut { lineage, epoch: new })
            }
            _ => (which, which),
        };
        let mut ended = 0;
        // Twice: what moves while one store is gone through is met where it went, or came from.
        for _ in 0..2 {
            ended += self.old.revoke(principal, in_old, tombstone.clone(), now).await?;
            ended += self.new.revoke(principal, in_new, tombstone.clone(), now).await?;
        }
        Ok(ended)
    }

    async fn revoke_everyone(&self, tombstone: Tombstone, now: Timestamp) -> Result<u64, StoreError> {
        let mut ended = 0;
        for _ in 0..2 {
            ended += self.old.revoke_everyone(tombstone.clone(), now).await?;
            ended += self.new.revoke_everyone(tombstone.clone(), now).await?;
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

/// One page of a store without the copies on their way; as long as it can be.
async fn page(
    store: &impl SessionAdmin,
    principal: Option<&str>,
    after: Option<&StoreKey>,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<(StoreKey, Record, Version)>, StoreError> {
    let (mut page, mut after) = (Vec::new(), after.cloned());
    loop {
        let found = store.list(principal, after.as_ref(), limit, now).await?;
        let is_last = found.len() < limit;
        after = found.last().map(|(key, ..)| key.clone());
        page.extend(found.into_iter().filter(|(key, ..)| !is_copy(key)));
        if is_last || page.len() >= limit {
            return Ok(page);
        }
    }
}
