//! Where a session is, and how it moves.

use std::cmp::Ordering;

use super::Moving;
use crate::store::{
    Create, Delete, Load, Record, Rename, SessionAdmin, StoreError, StoreKey, Timestamp, Tombstone, Version, Why,
};

/// How often somebody else may be faster.
pub(super) const ATTEMPTS: u32 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Old,
    New,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Old => Self::New,
            Self::New => Self::Old,
        }
    }
}

/// A call of the store on one side.
macro_rules! at {
    ($moving:expr, $side:expr, $store:ident => $call:expr) => {
        match $side {
            Side::Old => {
                let $store = &$moving.old;
                $call
            }
            Side::New => {
                let $store = &$moving.new;
                $call
            }
        }
    };
}
pub(super) use at;

/// Where a session is.
#[allow(clippy::large_enum_variant)] // One at a time, on its way.
pub(super) enum Place {
    Live(Side, Record, Version),
    /// In both.
    Dead(Option<Tombstone>),
    Malformed,
}

/// How a move ended.
pub(super) enum Moved {
    Done,
    /// Somebody wrote, moved or ended it first.
    NotDone,
    /// A tombstone stands under its key in the new store: it could not arrive there.
    Stays,
}

/// Marks the tombstone of a session that is in the other store: no manager draws this.
const MARK: u64 = 0x6d6f_7665_6400_0000;

/// The last bytes of a copy's key. What a cookie leads to ends in them once in 2^64 times.
const COPY: [u8; 8] = *b"on a way";

/// The key of a new copy.
fn copy_key() -> Result<StoreKey, StoreError> {
    let mut key = [0; 32];
    getrandom::fill(&mut key[..24])
        .map_err(|error| StoreError::new("moving: no random numbers").because(error.to_string()))?;
    key[24..].copy_from_slice(&COPY);
    Ok(StoreKey::from_digest(key))
}

/// Whether a copy on its way stands there.
pub(super) fn is_copy(key: &StoreKey) -> bool {
    !key.is_foreign() && key.digest().ends_with(&COPY)
}

fn moved_to(there: &StoreKey, record: &Record, now: Timestamp) -> Tombstone {
    let successor = Some(there.clone());
    let until = record.guarded_until.max(Some(record.expires()));
    Tombstone::new(Why::Renewed { successor }, MARK, now).until(until)
}

/// The key that the session has on its way to the other store.
pub(super) fn on_its_way(tombstone: &Tombstone) -> Option<&StoreKey> {
    match &tombstone.why {
        Why::Renewed { successor } if tombstone.nonce == MARK => successor.as_ref(),
        _ => None,
    }
}

pub(super) fn contended() -> StoreError {
    StoreError::new("moving: others kept writing to this session first")
}

impl<Old: SessionAdmin, New: SessionAdmin> Moving<Old, New> {
    pub(super) async fn load_at(&self, side: Side, key: &StoreKey, now: Timestamp) -> Result<Load, StoreError> {
        at!(self, side, store => store.load(key, now).await)
    }

    /// Finds a session. Where it has moved, but is not yet under its key, that is done.
    pub(super) async fn place(&self, key: &StoreKey, now: Timestamp) -> Result<Place, StoreError> {
        // First where most of them are.
        let first = if self.moves { Side::New } else { Side::Old };
        let mut dead = None;
        for side in [first, first.other(), first] {
            match self.load_at(side, key, now).await? {
                Load::Found(record, version) => return Ok(Place::Live(side, record, version)),
                Load::Malformed => return Ok(Place::Malformed),
                Load::Gone(tombstone) => match on_its_way(&tombstone) {
                    // What the second left may say that it moved to the first meanwhile.
                    Some(there) => {
                        let ended = self.arrive(side.other(), key, there, now).await?;
                        dead = dead.or(ended);
                        continue;
                    }
                    // An end that was done in one store only was not done.
                    None => dead = dead.or(Some(tombstone)),
                },
                Load::Missing => {}
            }
            if side != first {
                break;
            }
        }
        Ok(Place::Dead(dead))
    }

    /// The third step of a move to this side; why the session ended instead, where it did.
    async fn arrive(
        &self,
        side: Side,
        key: &StoreKey,
        there: &StoreKey,
        now: Timestamp,
    ) -> Result<Option<Tombstone>, StoreError> {
        for _ in 0..ATTEMPTS {
            let (record, version) = match self.load_at(side, there, now).await? {
                Load::Found(record, version) => (record, version),
                Load::Gone(tombstone) if on_its_way(&tombstone).is_none() => return Ok(Some(tombstone)),
                Load::Gone(_) | Load::Missing | Load::Malformed => return Ok(None),
            };
            let left = Tombstone::new(Why::Renewed { successor: Some(key.clone()) }, MARK, now);
            let renamed = at!(self, side, store => store.rename(there, Some(version), key, version, record, left, None, now).await);
            let ended = match renamed {
                Ok(Rename::Renamed(_)) => return Ok(None),
                Ok(Rename::Conflict | Rename::Gone(_)) => continue,
                // Its user's were ended: this one, too.
                Ok(Rename::Outdated | Rename::Full) => Tombstone::new(Why::Ended, version.bits(), now),
                // Something stands under its key.
                Err(error) => match self.load_at(side, key, now).await? {
                    Load::Gone(tombstone) if on_its_way(&tombstone).is_none() => tombstone,
                    Load::Found(..) => return Ok(None),
                    Load::Gone(_) | Load::Missing | Load::Malformed => return Err(error),
                },
            };
            for key in [there, key] {
                at!(self, side, store => store.delete(key, None, ended.clone(), now).await)?;
            }
            return Ok(Some(ended));
        }
        Err(contended())
    }

    /// Moves a session that was read in the old store in the state `at`, and which is to be `record` in the state `version` from then on.
    pub(super) async fn go(
        &self,
        key: &StoreKey,
        at: Version,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Result<Moved, StoreError> {
        // It lives in the old store, so it may live in the new one's present epoch. A revocation from here on raises that in the new store after it ended
        // what is in the old one: either the new store refuses it, or the old one has it no more.
        let epoch = Some(self.new.epoch(record.principal.as_deref()).await?);
        if let Load::Gone(_) = self.new.load(key, now).await? {
            return Ok(Moved::Stays);
        }
        let there = copy_key()?;
        let moved = moved_to(&there, &record, now);
        match self.new.create(&there, version, Record { epoch, ..record }, None, now).await {
            Ok(Create::Created(_)) => {}
            Ok(Create::Outdated | Create::Full) => return Ok(Moved::NotDone),
            Ok(Create::Exists | Create::Gone(_)) => return Err(StoreError::new("moving: a random key is taken")),
            Err(error) => {
                // Nobody knows whether it stands. Where this fails, too, it runs out by itself.
                let _ = self.give_up(&there, now).await;
                return Err(error);
            }
        }
        let left = match self.old.delete(key, Some(at), moved.clone(), now).await {
            Ok(left) => left,
            // Nobody knows whether it was done: the old store tells.
            Err(error) => match self.old.load(key, now).await {
                Ok(Load::Gone(stands)) => Delete::Gone(Some(stands)),
                // It may be done yet, and lead to the copy.
                Ok(Load::Found(_, stands)) if stands == at => return Err(error),
                Ok(Load::Found(..)) => Delete::Conflict,
                Ok(Load::Missing) => Delete::Gone(None),
                Ok(Load::Malformed) | Err(_) => return Err(error),
            },
        };
        match left {
            Delete::Deleted => {}
            Delete::Gone(Some(stands)) if stands.why == moved.why => {}
            Delete::Conflict | Delete::Gone(_) => {
                self.give_up(&there, now).await?;
                return Ok(Moved::NotDone);
            }
        }
        self.arrive(Side::New, key, &there, now).await?;
        Ok(Moved::Done)
    }

    /// Removes a copy that nobody reaches.
    async fn give_up(&self, there: &StoreKey, now: Timestamp) -> Result<(), StoreError> {
        self.new.delete(there, None, Tombstone::new(Why::Ended, MARK, now), now).await.map(drop)
    }

    /// The epoch of what is written to one side, as that side counts: the caller may have it from the other one. What was there keeps its own.
    pub(super) async fn epoch_at(
        &self,
        side: Side,
        record: &Record,
        was: Option<&Record>,
    ) -> Result<Option<u64>, StoreError> {
        let Some(began) = record.epoch else { return Ok(None) };
        if let Some(was) = was.filter(|was| (&was.principal, was.lineage) == (&record.principal, record.lineage)) {
            return Ok(was.epoch);
        }
        let principal = record.principal.as_deref();
        let here = at!(self, side, store => store.epoch(principal).await)?;
        let there = at!(self, side.other(), store => store.epoch(principal).await)?;
        Ok(Some(counted(began, here, there)))
    }

    /// The epoch that a lineage began in, as the old and the new store count: the caller may have it from either.
    pub(super) async fn epochs_of_lineage(
        &self,
        principal: &str,
        lineage: u64,
        began: u64,
        now: Timestamp,
    ) -> Result<(u64, u64), StoreError> {
        if began == u64::MAX {
            return Ok((began, began));
        }
        // Before it is looked for: whoever ends it after that raises both.
        let (old, new) = (self.old.epoch(Some(principal)).await?, self.new.epoch(Some(principal)).await?);
        if let Some(epoch) = epoch_in(&self.old, principal, lineage, now).await? {
            return Ok((epoch, new));
        }
        if let Some(epoch) = epoch_in(&self.new, principal, lineage, now).await? {
            return Ok((old, epoch));
        }
        // It is not written yet, or it has ended.
        Ok((counted(began, old, new), counted(began, new, old)))
    }
}

/// An epoch of the later of both stores as this one counts, which is in the epoch `here`. Every revocation raises both, so the later of both tells whether
/// there was one since: then it has passed here, too.
fn counted(began: u64, here: u64, there: u64) -> u64 {
    match began.cmp(&here.max(there)) {
        Ordering::Less => began.min(here.saturating_sub(1)),
        Ordering::Equal => here,
        Ordering::Greater => began,
    }
}

/// The epoch of a lineage that lives in this store.
async fn epoch_in(
    store: &impl SessionAdmin,
    principal: &str,
    lineage: u64,
    now: Timestamp,
) -> Result<Option<u64>, StoreError> {
    const PAGE: usize = 100;
    let mut after = None;
    loop {
        let page = store.list(Some(principal), after.as_ref(), PAGE, now).await?;
        if let Some((_, record, _)) = page.iter().find(|(_, record, _)| record.lineage == lineage) {
            return Ok(Some(record.epoch.unwrap_or_default()));
        }
        match page.last() {
            Some((last, ..)) if page.len() == PAGE => after = Some(last.clone()),
            _ => return Ok(None),
        }
    }
}
