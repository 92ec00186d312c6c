//! Which sessions a principal has: kept only for records with a principal.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::shard::Digest;

type Pairs = BTreeSet<(Arc<str>, Digest)>;

pub(super) struct Principals {
    parts: [Mutex<Pairs>; 16],
    hasher: RandomState,
}

impl Default for Principals {
    fn default() -> Self {
        Self { parts: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }
}

impl Principals {
    pub(super) fn insert(&self, principal: Option<&Arc<str>>, key: &Digest) {
        if let Some(principal) = principal {
            self.part(principal).insert((Arc::clone(principal), *key));
        }
    }

    pub(super) fn remove(&self, principal: Option<&Arc<str>>, key: &Digest) {
        if let Some(principal) = principal {
            self.part(principal).remove(&(Arc::clone(principal), *key));
        }
    }

    /// At most `limit` of the principal's keys, in order, after `after`.
    pub(super) fn page(&self, principal: &str, after: Option<Digest>, limit: usize) -> Vec<Digest> {
        let principal = Arc::<str>::from(principal);
        let start = match after {
            Some(after) => Bound::Excluded((Arc::clone(&principal), after)),
            None => Bound::Included((Arc::clone(&principal), [0; 32])),
        };
        let end = Bound::Included((Arc::clone(&principal), [0xff; 32]));
        self.part(&principal).range((start, end)).take(limit).map(|(_, key)| *key).collect()
    }

    fn part(&self, principal: &str) -> MutexGuard<'_, Pairs> {
        let part = self.hasher.hash_one(principal) as usize % self.parts.len();
        self.parts[part].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
