//! Sessions in a store: what a record opens to, what is written to it, and purging.

use std::sync::Arc;
#[cfg(feature = "runtime")]
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Inner;
#[cfg(feature = "runtime")]
use crate::telemetry;
use crate::{
    data::Contents,
    dialect::{RecordData, Refusal, SessionId},
    error::Error,
    lifetime::Timestamp,
    session::Origin,
    store::{ErasedStore, GONE_FOR, Load, Record, StoreError, StoreKey, Version},
};

/// How often expired records are removed, where the store does not do it by itself.
#[cfg(feature = "runtime")]
const PURGED_EVERY: Duration = Duration::from_secs(60);

/// How many are removed before others have their turn.
#[cfg(feature = "runtime")]
const PURGED_AT_ONCE: usize = 1000;

/// How a session came out of the store, or why it did not.
type Opened = Result<Result<(Contents, Origin), Refusal>, Error>;

impl Inner {
    pub(super) fn backend(&self) -> Result<&Arc<dyn ErasedStore>, Error> {
        self.store
            .as_ref()
            .ok_or_else(|| Error::setting("this session needs a store: add .store(...) to the SessionLayer"))
    }

    /// Removes what has expired, from time to time, as long as the application runs.
    #[cfg(feature = "runtime")]
    pub(super) fn purge_in_background(self: &Arc<Self>) {
        let Some(store) = self.store.as_ref().filter(|_| !self.purge.is_completed()) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        self.purge.call_once(|| {
            if store.needs_purging() {
                runtime.spawn(purge(Arc::downgrade(self)));
            }
        });
    }

    /// Opens the session of this id as the store has it.
    pub(super) fn open_found(
        &self,
        id: SessionId,
        found: Load,
        outdated: bool,
        now: Timestamp,
    ) -> Result<(Contents, Origin), Refusal> {
        match found {
            Load::Found(record, version) => self.open_record(id, record, version, outdated, now),
            Load::Gone => Err(Refusal::Gone),
            // Never adopted: the first write makes a new id.
            Load::Missing => Err(Refusal::Unknown),
        }
    }

    fn open_record(
        &self,
        id: SessionId,
        record: Record,
        version: Version,
        outdated: bool,
        now: Timestamp,
    ) -> Result<(Contents, Origin), Refusal> {
        let contents = self.contents(record).ok_or(Refusal::Malformed)?;
        let empty = contents.is_empty();
        // An empty one is not kept alive: what stands there runs out by itself.
        let touch = !empty && self.reissue.is_due(contents.issued, contents.idle, now);
        let reissue = outdated || (touch && self.is_persistent(&contents));
        Ok((contents, Origin::Store { id, version, touch, reissue, empty }))
    }

    /// Opens a session that was in the cookie before there was a store, once.
    ///
    /// Its id follows from the cookie, so that requests in parallel meet in one session; a marker that lives as long
    /// as the cookie would have keeps a cookie that was taken over from coming back after the log-out.
    pub(super) async fn take_over(&self, contents: Contents, fingerprint: &[u8; 32], now: Timestamp) -> Opened {
        let derive = |label: &str| Sha256::new().chain_update(label).chain_update(fingerprint).finalize().into();
        let id = SessionId::from_random(derive("dewar taken over\0"));
        let marker = StoreKey::from_digest(derive("dewar taken over, marker\0"));
        let store = self.backend()?;
        match store.load(id.key().clone(), now).await? {
            Load::Found(record, version) => return Ok(self.open_record(id, record, version, true, now)),
            Load::Gone => return Ok(Err(Refusal::Gone)),
            Load::Missing => {}
        }
        if store.load(marker.clone(), now).await? != Load::Missing {
            return Ok(Err(Refusal::Gone));
        }
        let expires = contents.expires();
        Ok(Ok((contents, Origin::Former { id, marker, expires })))
    }

    pub(super) fn record(&self, contents: &Contents, now: Timestamp) -> Result<Record, Error> {
        // The last entry was removed: nothing is left to keep, but a request that is in flight may add one.
        let idle_expires = if contents.is_empty() { now.after(GONE_FOR) } else { contents.idle_expires() };
        Ok(Record {
            data: self.dialect.write_record(contents, &self.cookie, now)?,
            created: contents.created,
            idle_seconds: contents.idle,
            idle_expires,
            absolute_expires: contents.absolute_expires(),
            persistent: contents.persistent,
            principal: contents.principal.clone(),
            label: contents.label.clone(),
        })
    }

    pub(super) fn contents(&self, record: Record) -> Option<Contents> {
        let RecordData { data, beside, lifetime } = self.dialect.read_record(&record.data)?;
        let (idle, persistent) = match lifetime {
            Some(lifetime) => (lifetime.idle.unwrap_or(self.rules.idle), lifetime.persistent),
            None if self.rules.keeps_facts => (record.idle_seconds, record.persistent),
            None => (self.rules.idle, self.rules.persistent),
        };
        let issued = record.idle_expires.as_millis().saturating_sub(u64::from(idle) * 1000);
        let absolute = record.absolute_expires.map(|end| end.since(record.created).as_secs());
        Some(Contents {
            data,
            created: record.created,
            issued: Timestamp::from_millis(issued),
            idle,
            absolute: absolute.and_then(|seconds| u32::try_from(seconds).ok()),
            persistent,
            principal: record.principal,
            label: record.label,
            beside,
        })
    }
}

/// Ends with the application; a store that is down for a while is asked again.
#[cfg(feature = "runtime")]
async fn purge(inner: std::sync::Weak<Inner>) {
    loop {
        tokio::time::sleep(PURGED_EVERY).await;
        let Some(inner) = inner.upgrade() else { return };
        let Some(store) = &inner.store else { return };
        loop {
            match store.purge(PURGED_AT_ONCE, inner.clock.now()).await {
                Ok(0) => break,
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => {
                    telemetry::not_purged(&error.into());
                    break;
                }
            }
        }
    }
}

pub(super) fn malformed() -> Error {
    StoreError::new("the record is malformed").into()
}
