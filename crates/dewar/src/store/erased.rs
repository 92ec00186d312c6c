//! A store behind one pointer, so that sessions, layers and handlers are not generic over it. Every call is measured here, and nowhere else.

use std::sync::Arc;

use super::{
    Answer, Cap, Create, Delete, Engine, Load, Record, Rename, Replace, Revoke, SessionAdmin, StoreError, StoreKey,
    TellEnding, Timestamp, Tombstone, Touch, Version,
};
use crate::{
    error::Error,
    layout::{Layout, Shape},
    runtime::{Task, unless},
    telemetry::{Call, Operation},
};

/// [`SessionStore`](super::SessionStore) and [`SessionAdmin`] with boxed futures.
pub(crate) trait ErasedStore: Send + Sync {
    fn load(&self, key: StoreKey, now: Timestamp) -> Answer<'_, Load>;
    /// Outlives the call, as `replace` does: a commit begins with it, and goes on where it has to wait.
    fn create(
        self: Arc<Self>,
        key: StoreKey,
        version: Version,
        record: Record,
        cap: Option<Cap>,
        now: Timestamp,
    ) -> Answer<'static, Create>;
    fn replace(
        self: Arc<Self>,
        key: StoreKey,
        at: Version,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Answer<'static, Replace>;
    fn touch<'a>(
        &'a self,
        key: &'a StoreKey,
        at: Version,
        idle_expires: Timestamp,
        now: Timestamp,
    ) -> Answer<'a, Touch>;
    fn delete<'a>(
        &'a self,
        key: &'a StoreKey,
        at: Option<Version>,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Answer<'a, Delete>;
    #[allow(clippy::too_many_arguments)]
    fn rename<'a>(
        &'a self,
        from: &'a StoreKey,
        at: Option<Version>,
        to: &'a StoreKey,
        version: Version,
        record: Record,
        tombstone: Tombstone,
        cap: Option<&'a Cap>,
        now: Timestamp,
    ) -> Answer<'a, Rename>;
    fn epoch<'a>(&'a self, principal: Option<&'a str>) -> Answer<'a, u64>;
    fn revoke<'a>(&'a self, principal: &'a str, which: Revoke, tombstone: Tombstone, now: Timestamp)
    -> Answer<'a, u64>;
    fn revoke_everyone(&self, tombstone: Tombstone, now: Timestamp) -> Answer<'_, u64>;
    fn list<'a>(
        &'a self,
        principal: Option<&'a str>,
        after: Option<&'a StoreKey>,
        limit: usize,
        now: Timestamp,
    ) -> Answer<'a, Vec<(StoreKey, Record, Version)>>;
    fn count(&self, now: Timestamp) -> Answer<'_, u64>;
    fn purge(&self, limit: usize, now: Timestamp) -> Answer<'_, usize>;
    /// Fails where `late` ends first.
    fn ping(&self, now: Timestamp, late: Task) -> Answer<'_, ()>;
    fn claim_purge(&self, now: Timestamp) -> Answer<'_, bool>;
    fn endings(&self, tell: TellEnding) -> Option<Task>;
    fn needs_purging(&self) -> bool;
    fn version(&self, record: &mut Record, drawn: Version) -> Result<Version, Error>;
    fn keeps_own(&self) -> Result<(), StoreError>;
    fn engine(&self, shape: Shape) -> Option<Arc<dyn Engine>>;
    fn layout(&self) -> Option<Arc<dyn Layout>>;
}

impl<S: SessionAdmin> ErasedStore for S {
    fn load(&self, key: StoreKey, now: Timestamp) -> Answer<'_, Load> {
        Box::pin(async move { Call::of(Operation::Load).answered(S::load(self, &key, now).await) })
    }

    fn create(
        self: Arc<Self>,
        key: StoreKey,
        version: Version,
        record: Record,
        cap: Option<Cap>,
        now: Timestamp,
    ) -> Answer<'static, Create> {
        Box::pin(async move {
            Call::of(Operation::Create).answered(S::create(&self, &key, version, record, cap.as_ref(), now).await)
        })
    }

    fn replace(
        self: Arc<Self>,
        key: StoreKey,
        at: Version,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Answer<'static, Replace> {
        Box::pin(async move {
            Call::of(Operation::Replace).answered(S::replace(&self, &key, at, version, record, now).await)
        })
    }

    fn touch<'a>(
        &'a self,
        key: &'a StoreKey,
        at: Version,
        idle_expires: Timestamp,
        now: Timestamp,
    ) -> Answer<'a, Touch> {
        Box::pin(async move { Call::of(Operation::Touch).answered(S::touch(self, key, at, idle_expires, now).await) })
    }

    fn delete<'a>(
        &'a self,
        key: &'a StoreKey,
        at: Option<Version>,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Answer<'a, Delete> {
        Box::pin(async move { Call::of(Operation::Delete).answered(S::delete(self, key, at, tombstone, now).await) })
    }

    fn rename<'a>(
        &'a self,
        from: &'a StoreKey,
        at: Option<Version>,
        to: &'a StoreKey,
        version: Version,
        record: Record,
        tombstone: Tombstone,
        cap: Option<&'a Cap>,
        now: Timestamp,
    ) -> Answer<'a, Rename> {
        Box::pin(async move {
            Call::of(Operation::Rename)
                .answered(S::rename(self, from, at, to, version, record, tombstone, cap, now).await)
        })
    }

    fn epoch<'a>(&'a self, principal: Option<&'a str>) -> Answer<'a, u64> {
        Box::pin(async move { Call::of(Operation::Load).answered(S::epoch(self, principal).await) })
    }

    fn revoke<'a>(
        &'a self,
        principal: &'a str,
        which: Revoke,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Answer<'a, u64> {
        Box::pin(async move {
            Call::of(Operation::Revoke).answered(S::revoke(self, principal, which, tombstone, now).await)
        })
    }

    fn revoke_everyone(&self, tombstone: Tombstone, now: Timestamp) -> Answer<'_, u64> {
        Box::pin(async move { Call::of(Operation::Revoke).answered(S::revoke_everyone(self, tombstone, now).await) })
    }

    fn list<'a>(
        &'a self,
        principal: Option<&'a str>,
        after: Option<&'a StoreKey>,
        limit: usize,
        now: Timestamp,
    ) -> Answer<'a, Vec<(StoreKey, Record, Version)>> {
        Box::pin(async move { Call::of(Operation::List).answered(S::list(self, principal, after, limit, now).await) })
    }

    fn count(&self, now: Timestamp) -> Answer<'_, u64> {
        Box::pin(async move { Call::of(Operation::Count).answered(S::count(self, now).await) })
    }

    fn purge(&self, limit: usize, now: Timestamp) -> Answer<'_, usize> {
        Box::pin(async move { Call::of(Operation::Purge).answered(S::purge(self, limit, now).await) })
    }

    fn ping(&self, now: Timestamp, late: Task) -> Answer<'_, ()> {
        Box::pin(async move {
            let call = Call::of(Operation::Ping);
            let answer = unless(late, S::ping(self, now)).await;
            call.answered(answer.unwrap_or_else(|| Err(StoreError::new("it did not answer a ping in time"))))
        })
    }

    fn claim_purge(&self, now: Timestamp) -> Answer<'_, bool> {
        Box::pin(async move { Call::of(Operation::Purge).answered(S::claim_purge(self, now).await) })
    }

    fn endings(&self, tell: TellEnding) -> Option<Task> {
        S::endings(self, tell)
    }

    fn needs_purging(&self) -> bool {
        S::needs_purging(self)
    }

    fn version(&self, record: &mut Record, drawn: Version) -> Result<Version, Error> {
        S::version(self, record, drawn)
    }

    fn keeps_own(&self) -> Result<(), StoreError> {
        S::keeps_own(self)
    }

    fn engine(&self, shape: Shape) -> Option<Arc<dyn Engine>> {
        S::engine(self, shape)
    }

    fn layout(&self) -> Option<Arc<dyn Layout>> {
        S::layout(self)
    }
}
