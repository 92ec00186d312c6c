//! Which sessions a principal has, and from which epoch on they count: kept only for records with a principal.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use super::digest::Digest;
use crate::store::Timestamp;

pub(super) struct Principals {
    parts: [Mutex<Part>; 16],
    hasher: RandomState,
    /// The epoch of everybody.
    everyone: AtomicU64,
    /// The last epoch that was given to anybody: none is given twice.
    last: AtomicU64,
}

#[derive(Default)]
struct Part {
    /// Each key of each principal, with the lineage of its record.
    lineages: BTreeMap<(Arc<str>, Digest), u64>,
    /// Those whose epoch was raised. They stay for ever: an epoch never counts from lower again.
    raised: HashMap<Arc<str>, Raised>,
}

#[derive(Clone, Copy, Default)]
struct Raised {
    epoch: u64,
    /// The lineage that counts as begun after.
    passes: Option<u64>,
}

/// A session of a principal, as it enters the index.
pub(super) struct Entry<'a> {
    pub(super) principal: &'a Arc<str>,
    pub(super) key: &'a Digest,
    pub(super) lineage: u64,
    /// `None`: the present one.
    pub(super) epoch: Option<u64>,
}

impl Default for Principals {
    fn default() -> Self {
        Self {
            parts: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            everyone: AtomicU64::new(0),
            last: AtomicU64::new(0),
        }
    }
}

impl Principals {
    /// Adds a session unless its epoch has passed; the epoch that its record carries. To be called under the
    /// lock of its shard: a revocation that lists the key waits there for the record.
    pub(super) fn enter(&self, entry: &Entry<'_>) -> Option<u64> {
        let mut part = self.part(entry.principal);
        let everyone = self.everyone.load(SeqCst);
        let raised = part.raised.get(entry.principal).copied().unwrap_or_default();
        let epoch = entry.epoch.unwrap_or(raised.epoch.max(everyone));
        if !raised.admits(everyone, entry.lineage, epoch) {
            return None;
        }
        part.lineages.insert((Arc::clone(entry.principal), *entry.key), entry.lineage);
        Some(epoch)
    }

    /// Whether a new session would [enter](Self::enter).
    pub(super) fn admits(&self, principal: &str, lineage: u64, epoch: Option<u64>) -> bool {
        let part = self.part(principal);
        let raised = part.raised.get(principal).copied().unwrap_or_default();
        epoch.is_none_or(|epoch| raised.admits(self.everyone.load(SeqCst), lineage, epoch))
    }

    /// Adds a session that lives already, whatever its epoch; the epoch that its record carries.
    pub(super) fn set(&self, entry: &Entry<'_>) -> u64 {
        let mut part = self.part(entry.principal);
        part.lineages.insert((Arc::clone(entry.principal), *entry.key), entry.lineage);
        let present = || self.present(&part, entry.principal);
        entry.epoch.unwrap_or_else(present)
    }

    pub(super) fn remove(&self, principal: &Arc<str>, key: &Digest) {
        self.part(principal).lineages.remove(&(Arc::clone(principal), *key));
    }

    /// At most `limit` of the principal's keys, in order, after `after`.
    pub(super) fn page(&self, principal: &str, after: Option<Digest>, limit: usize) -> Vec<Digest> {
        self.part(principal).of(principal, after).take(limit).map(|(key, _)| key).collect()
    }

    /// The keys of one lineage, which from now on is no older than its epoch says.
    pub(super) fn keys_of_lineage(&self, principal: &str, lineage: u64) -> Vec<Digest> {
        let mut part = self.part(principal);
        if let Some(raised) = part.raised.get_mut(principal)
            && raised.passes == Some(lineage)
        {
            raised.passes = None;
        }
        part.of(principal, None).filter(|(_, other)| *other == lineage).map(|(key, _)| key).collect()
    }

    /// The epoch of a principal, or of everybody.
    pub(super) fn epoch(&self, principal: Option<&str>) -> u64 {
        match principal {
            Some(principal) => self.present(&self.part(principal), principal),
            None => self.everyone.load(SeqCst),
        }
    }

    /// Raises the epoch of a principal and takes the list of their keys, in one step. `but`: the lineage that is to stay, and
    /// the epoch that it began in.
    pub(super) fn raise(&self, principal: &str, but: Option<(u64, u64)>, now: Timestamp) -> Raise {
        let mut part = self.part(principal);
        let raised = part.raised.get(principal).copied().unwrap_or_default();
        let everyone = self.everyone.load(SeqCst);
        let lives = |(lineage, began): &(u64, u64)| raised.admits(everyone, *lineage, *began);
        let passes = but.filter(lives).map(|(lineage, _)| lineage);
        let epoch = self.next(now);
        part.raised.insert(principal.into(), Raised { epoch, passes });
        Raise { epoch, passes, keys: part.of(principal, None).map(|(key, _)| key).collect() }
    }

    /// Raises the epoch of everybody.
    pub(super) fn raise_everyone(&self, now: Timestamp) -> u64 {
        let epoch = self.next(now);
        self.everyone.fetch_max(epoch, SeqCst);
        epoch
    }

    fn next(&self, now: Timestamp) -> u64 {
        let next = |last: u64| last.saturating_add(1).max(now.as_millis());
        let last = self.last.fetch_update(SeqCst, SeqCst, |last| Some(next(last)));
        next(last.unwrap_or_else(|last| last))
    }

    fn present(&self, part: &Part, principal: &str) -> u64 {
        let own = part.raised.get(principal).map_or(0, |raised| raised.epoch);
        own.max(self.everyone.load(SeqCst))
    }

    fn part(&self, principal: &str) -> MutexGuard<'_, Part> {
        let part = self.hasher.hash_one(principal) as usize % self.parts.len();
        self.parts[part].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a revocation has to end.
pub(super) struct Raise {
    pub(super) epoch: u64,
    /// The lineage that stays.
    pub(super) passes: Option<u64>,
    pub(super) keys: Vec<Digest>,
}

impl Raised {
    /// Whether a session of this lineage that began in this epoch may live.
    fn admits(&self, everyone: u64, lineage: u64, began: u64) -> bool {
        began >= everyone && (began >= self.epoch || self.passes == Some(lineage))
    }
}

impl Part {
    fn of(&self, principal: &str, after: Option<Digest>) -> impl Iterator<Item = (Digest, u64)> {
        let principal = Arc::<str>::from(principal);
        let start = match after {
            Some(after) => Bound::Excluded((Arc::clone(&principal), after)),
            None => Bound::Included((Arc::clone(&principal), [0; 32])),
        };
        let end = Bound::Included((principal, [0xff; 32]));
        self.lineages.range((start, end)).map(|((_, key), lineage)| (*key, *lineage))
    }
}
