//! Sessions in a store: what a record opens to, what is written to it, and purging.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use sha2::{Digest, Sha256};

use super::{Closed, Found, Inner, job::HOPS, plan::is_followed, sources::is_outdated};
use crate::{
    data::{Contents, Data},
    dialect::{Keeps, Refusal, SessionId},
    error::Error,
    lifetime::Timestamp,
    state::{At, Origin},
    store::{ErasedStore, GONE_FOR, Load, Record, StoreKey, Tombstone, Version, Why},
    telemetry,
};

/// How often expired records are removed, where the store does not do it by itself.
const PURGED_EVERY: Duration = Duration::from_secs(60);

impl Inner {
    pub(super) fn backend(&self) -> Result<&Arc<dyn ErasedStore>, Error> {
        self.store.as_ref().ok_or_else(|| {
            let name = self.dialect.profile().name;
            Error::setting(match self.dialect.profile().keeps {
                Keeps::Data if name != "Sealed" => {
                    format!("{name} keeps sessions in the cookie, where nobody can list or end them; that needs a store, and so another dialect")
                }
                _ => "this session needs a store: add .store(...) to the SessionLayer".to_owned(),
            })
        })
    }

    /// Removes what has expired, from time to time, as long as the application runs.
    pub(super) fn purge_in_background(self: &Arc<Self>) {
        if self.is_purged.load(Ordering::Relaxed) || self.is_purged.swap(true, Ordering::Relaxed) {
            return;
        }
        let needs_purging = self.store.as_ref().is_some_and(|store| store.needs_purging());
        if let Some(runtime) = self.runtime.as_ref().filter(|_| needs_purging) {
            runtime.spawn(Box::pin(purge(Purging(Arc::downgrade(self)))));
        }
    }

    async fn purge_in_turn(&self) -> Result<(), Error> {
        let store = self.backend()?;
        if store.claim_purge(self.clock.now()).await? {
            self.purge(store.as_ref()).await?;
        }
        Ok(())
    }

    /// Opens the session of this id as the store has it.
    pub(super) fn open_found(&self, id: SessionId, found: Load, outdated: bool, now: Timestamp) -> Found {
        match found {
            Load::Found(record, version) => self.open_record(id, record, version, outdated, now),
            Load::Gone(tombstone) => Err(Closed::Dead(tombstone)),
            // Never adopted: the first write makes a new id.
            Load::Missing => Err(Refusal::Unknown.into()),
            Load::Malformed => Err(Closed::Unreadable(id)),
        }
    }

    fn open_record(&self, id: SessionId, record: Record, version: Version, outdated: bool, now: Timestamp) -> Found {
        let contents = self.contents(record).ok_or(Refusal::Malformed)?;
        let empty = contents.is_empty();
        // An empty one is not kept alive: what stands there runs out by itself.
        let touch = !empty && self.reissue.is_due(contents.issued, contents.idle, now);
        let reissue = outdated || (touch && (self.is_moving(now) || self.rules.format.is_persistent(&contents)));
        let key = id.key().clone();
        Ok((contents, Origin::Stored(At { key, id: Some(id), version, touch, reissue, empty, unseen: false })))
    }

    /// Opens what a session that was plainly renewed a short while ago goes on as: a page sends ten requests at once, and those that left
    /// before the new cookie arrived are not nobody's.
    pub(super) async fn follow(&self, mut tombstone: Tombstone, now: Timestamp) -> Result<Found, Error> {
        for _ in 0..HOPS {
            let Why::Renewed { successor: Some(key) } = &tombstone.why else { break };
            let key = key.clone();
            match self.look(&key, now).await? {
                Ok((record, version)) => {
                    let Some(contents) = self.contents(record) else { return Ok(Err(Refusal::Malformed.into())) };
                    let empty = contents.is_empty();
                    let at = At { empty, ..At::new(key, None, version) };
                    return Ok(Ok((contents, Origin::Stored(at))));
                }
                Err(Some(next)) => {
                    tombstone = next;
                    if !is_followed(&tombstone, now) {
                        break;
                    }
                }
                Err(None) => break,
            }
        }
        Ok(Err(Closed::Dead(tombstone)))
    }

    /// Opens a session that was in the cookie before there was a store, once.
    ///
    /// Its id follows from the cookie, so that requests in parallel meet in one session; that key is dead until the cookie
    /// expires (`until`) once the session has ended, so that a log-out is final.
    pub(super) async fn take_over(
        &self,
        contents: Contents,
        unique: &[u8; 32],
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Found, Error> {
        match self.taken_over(unique, now).await? {
            Some(found) => Ok(found),
            None => {
                let began = Some(contents.created);
                self.to_be_taken_over(contents, unique, until, began, now).await
            }
        }
    }

    /// What became of a session that was taken over; `None`: none was.
    pub(super) async fn taken_over(&self, unique: &[u8; 32], now: Timestamp) -> Result<Option<Found>, Error> {
        let id = SessionId::from_random(derived("dewar taken over\0", unique));
        Ok(match self.backend()?.load(id.key().clone(), now).await? {
            Load::Found(record, version) => Some(self.open_record(id, record, version, true, now)),
            Load::Gone(tombstone) if is_followed(&tombstone, now) => Some(self.follow(tombstone, now).await?),
            Load::Gone(tombstone) => Some(Err(Closed::Dead(tombstone))),
            Load::Missing => None,
            Load::Malformed => Some(Err(Refusal::Malformed.into())),
        })
    }

    /// A session that was not taken over yet, with the id that it will have. One of which nobody knows when it `began` may be older than any
    /// log-out.
    pub(super) async fn to_be_taken_over(
        &self,
        mut contents: Contents,
        unique: &[u8; 32],
        until: Timestamp,
        began: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Found, Error> {
        let id = SessionId::from_random(derived("dewar taken over\0", unique));
        let store = self.backend()?;
        // Revisions before tombstones could stand that long kept a record of its own beside it.
        let marker = StoreKey::from_digest(derived("dewar taken over, marker\0", unique));
        if store.load(marker, now).await? != Load::Missing {
            return Ok(Err(Closed::Dead(self.draw.tombstone(Why::Ended, now))));
        }
        // The one place where clocks meet: a cookie is as old as its visit, an epoch is at least the time of its raise.
        let epoch = store.epoch(contents.principal.as_deref()).await?;
        if is_outdated(began, epoch) {
            return Ok(Err(Closed::Dead(self.draw.tombstone(Why::Ended, now))));
        }
        if contents.absolute_expires().is_some_and(|end| end <= now) {
            return Ok(Err(Refusal::Expired.into()));
        }
        contents.guarded_until = Some(until);
        contents.epoch = Some(epoch);
        if contents.principal.is_some() && contents.lineage == 0 {
            contents.lineage = lineage(id.key());
        }
        let loaded = Box::new(contents.clone());
        Ok(Ok((contents, Origin::Former { id, loaded })))
    }

    pub(super) fn record(&self, contents: &Contents, now: Timestamp) -> Result<Record, Error> {
        // The last entry was removed: nothing is left to keep, but a request that is in flight may add one.
        let idle_expires = if contents.is_empty() { now.after(GONE_FOR) } else { contents.idle_expires() };
        let mut data = Vec::new();
        contents.data.write(self.rules.format.encoding, &mut data);
        Ok(Record {
            data: data.into(),
            created: contents.created,
            idle_seconds: contents.idle,
            idle_expires,
            absolute_expires: contents.absolute_expires(),
            persistent: contents.persistent,
            principal: contents.principal.clone(),
            label: contents.label.clone(),
            lineage: contents.lineage,
            epoch: contents.epoch,
            guarded_until: contents.guarded_until,
            extra: contents.extra.clone(),
        })
    }

    /// The version that a record is written in.
    ///
    /// # Errors
    ///
    /// Where the record cannot be written.
    pub(super) fn version(&self, record: &mut Record, now: Timestamp) -> Result<Version, Error> {
        let drawn = self.draw.version(record, now);
        match &self.store {
            Some(store) => store.version(record, drawn),
            None => Ok(drawn),
        }
    }

    pub(super) fn contents(&self, record: Record) -> Option<Contents> {
        let idle = if record.idle_seconds == 0 { self.rules.idle } else { record.idle_seconds };
        let issued = record.idle_expires.as_millis().saturating_sub(u64::from(idle) * 1000);
        let absolute = record.absolute_expires.map(|end| end.since(record.created).as_secs());
        Some(Contents {
            data: Data::parse(self.rules.format.encoding, &record.data)?,
            created: record.created,
            issued: Timestamp::from_millis(issued),
            idle,
            absolute: absolute.and_then(|seconds| u32::try_from(seconds).ok()),
            persistent: if self.rules.format.says_how_long() { record.persistent } else { self.rules.persistent },
            principal: record.principal,
            label: record.label,
            alone: self.rules.format.alone,
            stays: self.layout.as_ref().is_some_and(|layout| layout.stays(&record.extra)),
            extra: record.extra,
            lineage: record.lineage,
            epoch: record.epoch,
            guarded_until: record.guarded_until,
        })
    }
}

/// The task that removes what has expired. Where its runtime ends before the application, the next request begins another.
struct Purging(Weak<Inner>);

impl Drop for Purging {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            inner.is_purged.store(false, Ordering::Relaxed);
        }
    }
}

/// Ends with the application; a store that is down for a while is asked again.
async fn purge(purging: Purging) {
    while let Some(pause) = purging.0.upgrade().and_then(|inner| Some(inner.runtime.as_ref()?.sleep(PURGED_EVERY))) {
        pause.await;
        let Some(inner) = purging.0.upgrade() else { return };
        if let Err(error) = inner.purge_in_turn().await {
            telemetry::not_purged(&error);
        }
    }
}

fn derived(label: &str, unique: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update(label).chain_update(unique).finalize().into()
}

/// The lineage of a session that is moved from a cookie, the same for all requests that carry it.
fn lineage(key: &StoreKey) -> u64 {
    let digest = key.digest();
    let bytes = digest.first_chunk().expect("a digest has 32 bytes");
    (u64::from_le_bytes(*bytes) >> 1).max(1)
}
