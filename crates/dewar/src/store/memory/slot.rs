//! What stands under a key: a record or a tombstone, small.

use std::sync::Arc;

use bytes::Bytes;

use super::digest::Digest;
use crate::store::{GONE_FOR, Record, StoreKey, Timestamp, Tombstone, Version, Why};

/// What one session costs beyond its payload, as the bound on bytes counts it.
const OVERHEAD: usize = 160;

/// What a principal's entry in the index costs, its text apart.
const INDEXED: usize = 88;

/// A record or a tombstone. Of a tombstone, the version is the nonce, `created` is when it was made, `idle_expires` is
/// until when it stands, and `absolute_expires` until when it is never given up.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) key: Digest,
    pub(super) data: Bytes,
    pub(super) version: u64,
    pub(super) created: Timestamp,
    pub(super) idle_expires: Timestamp,
    pub(super) absolute_expires: Timestamp,
    pub(super) rare: Option<Box<Rare>>,
    pub(super) idle_seconds: u32,
    pub(super) used: u32,
    pub(super) kind: Kind,
    pub(super) persistent: bool,
    pub(super) has_absolute: bool,
}

/// What most anonymous sessions do without, and most tombstones.
#[derive(Default)]
pub(super) struct Rare {
    pub(super) principal: Option<Arc<str>>,
    pub(super) label: Option<Box<str>>,
    pub(super) foreign: Option<Box<str>>,
    pub(super) lineage: u64,
    /// Counts where there is a principal.
    pub(super) epoch: u64,
    pub(super) guarded_until: Option<Timestamp>,
    pub(super) successor: Option<StoreKey>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Free,
    Record,
    Ended,
    BegunAgain,
    Renewed,
}

impl Slot {
    pub(super) fn of_record(key: Digest, version: Version, record: Record, foreign: Option<Box<str>>) -> Self {
        let is_rare = record.principal.is_some()
            || record.label.is_some()
            || foreign.is_some()
            || record.lineage != 0
            || record.guarded_until.is_some();
        let rare = is_rare.then(|| {
            Box::new(Rare {
                principal: record.principal.map(Arc::from),
                label: record.label,
                foreign,
                lineage: record.lineage,
                epoch: record.epoch.unwrap_or_default(),
                guarded_until: record.guarded_until,
                successor: None,
            })
        });
        Self {
            key,
            data: record.data,
            version: version.bits(),
            created: record.created,
            idle_expires: record.idle_expires,
            absolute_expires: record.absolute_expires.unwrap_or_default(),
            rare,
            idle_seconds: record.idle_seconds,
            used: 0,
            kind: Kind::Record,
            persistent: record.persistent,
            has_absolute: record.absolute_expires.is_some(),
        }
    }

    pub(super) fn of_tombstone(key: Digest, tombstone: Tombstone, guarded_until: Option<Timestamp>) -> Self {
        let guard = guarded_until.max(guard_of(&tombstone));
        let tombstone = tombstone.until(guarded_until);
        let (kind, successor) = match tombstone.why {
            Why::Ended => (Kind::Ended, None),
            Why::BegunAgain => (Kind::BegunAgain, None),
            Why::Renewed { successor } => (Kind::Renewed, successor),
        };
        Self {
            key,
            version: tombstone.nonce,
            created: tombstone.made,
            idle_expires: tombstone.until,
            absolute_expires: guard.unwrap_or_default(),
            rare: successor.map(|successor| Box::new(Rare { successor: Some(successor), ..Rare::default() })),
            kind,
            ..Self::default()
        }
    }

    pub(super) fn is(&self, version: Version) -> bool {
        Version::from_bits(self.version) == version
    }

    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        self.idle_expires <= now || (self.has_absolute && self.absolute_expires <= now)
    }

    /// Whether room can be made here: a guard stays, and a guarded record goes for its bytes alone.
    pub(super) fn may_go(&self, frees_bytes: bool, now: Timestamp) -> bool {
        let is_guarded = self.guarded_until().is_some_and(|until| until > now);
        self.kind != Kind::Free && (!is_guarded || (self.kind == Kind::Record && frees_bytes))
    }

    /// Until when what stands here must not be forgotten.
    pub(super) fn guarded_until(&self) -> Option<Timestamp> {
        match self.kind {
            Kind::Free => None,
            Kind::Record => self.rare.as_ref()?.guarded_until,
            Kind::Ended | Kind::BegunAgain | Kind::Renewed => {
                (self.absolute_expires > Timestamp::default()).then_some(self.absolute_expires)
            }
        }
    }

    /// What stands in place of a guarded record when it is no more.
    pub(super) fn guard(&self, now: Timestamp) -> Option<Tombstone> {
        let until = self.guarded_until().filter(|until| self.kind == Kind::Record && *until > now)?;
        let expiry = if self.has_absolute { self.idle_expires.min(self.absolute_expires) } else { self.idle_expires };
        Some(Tombstone { why: Why::Ended, nonce: 0, made: expiry.min(now), until })
    }

    /// The tombstone that stands here, or that of an expired record with a guard.
    pub(super) fn tombstone(&self, now: Timestamp) -> Option<Tombstone> {
        let why = match self.kind {
            Kind::Free => return None,
            Kind::Record => return self.guard(now),
            Kind::Ended => Why::Ended,
            Kind::BegunAgain => Why::BegunAgain,
            Kind::Renewed => Why::Renewed { successor: self.rare.as_ref().and_then(|rare| rare.successor.clone()) },
        };
        let tombstone = Tombstone { why, nonce: self.version, made: self.created, until: self.idle_expires };
        (!self.is_expired(now)).then_some(tombstone)
    }

    pub(super) fn principal(&self) -> Option<&Arc<str>> {
        self.rare.as_ref()?.principal.as_ref()
    }

    pub(super) fn store_key(&self) -> StoreKey {
        match self.rare.as_ref().and_then(|rare| rare.foreign.clone()) {
            Some(name) => StoreKey::foreign(name),
            None => StoreKey::from_digest(self.key),
        }
    }

    pub(super) fn record(&self) -> Record {
        let rare = self.rare.as_deref();
        Record {
            data: self.data.clone(),
            created: self.created,
            idle_seconds: self.idle_seconds,
            idle_expires: self.idle_expires,
            absolute_expires: self.has_absolute.then_some(self.absolute_expires),
            persistent: self.persistent,
            principal: rare.and_then(|rare| rare.principal.as_deref()).map(Box::from),
            label: rare.and_then(|rare| rare.label.clone()),
            lineage: rare.map_or(0, |rare| rare.lineage),
            epoch: rare.filter(|rare| rare.principal.is_some()).map(|rare| rare.epoch),
            guarded_until: rare.and_then(|rare| rare.guarded_until),
            extra: Bytes::new(),
        }
    }

    pub(super) fn cost(&self) -> usize {
        let rare = self.rare.as_deref().map_or(0, Rare::cost);
        match self.kind {
            Kind::Free => 0,
            _ => OVERHEAD + self.data.len() + rare,
        }
    }
}

impl Rare {
    fn cost(&self) -> usize {
        let texts = [self.label.as_deref(), self.foreign.as_deref()];
        let texts: usize = texts.into_iter().flatten().map(str::len).sum();
        let indexed = self.principal.as_deref().map_or(0, |principal| principal.len() + INDEXED);
        size_of::<Self>() + texts + indexed
    }
}

/// What a record would add to the bytes that are counted.
pub(super) fn cost(record: &Record) -> usize {
    let texts = [record.principal.as_deref(), record.label.as_deref()];
    OVERHEAD + record.data.len() + texts.into_iter().flatten().map(str::len).sum::<usize>()
}

/// Until when a tombstone guards a cookie: where it stands longer than the requests run that it is for.
pub(super) fn guard_of(tombstone: &Tombstone) -> Option<Timestamp> {
    (tombstone.until > tombstone.made.after(GONE_FOR)).then_some(tombstone.until)
}
