//! A store behind one pointer, so that sessions, layers and handlers are not generic over it.

use std::{pin::Pin, sync::Arc};

use super::{Create, Delete, Load, Record, Replace, SessionAdmin, StoreError, StoreKey, Timestamp, Touch, Version};

pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// [`SessionStore`](super::SessionStore) and [`SessionAdmin`] with boxed futures.
pub(crate) trait ErasedStore: Send + Sync {
    fn load(&self, key: StoreKey, now: Timestamp) -> Answer<'_, Load>;
    fn create<'a>(&'a self, key: &'a StoreKey, record: Record, now: Timestamp) -> Answer<'a, Create>;
    /// Outlives the call: a commit begins with it, and goes on where it has to wait.
    fn replace(
        self: Arc<Self>,
        key: StoreKey,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Answer<'static, Replace>;
    fn touch<'a>(
        &'a self,
        key: &'a StoreKey,
        version: Version,
        idle_expires: Timestamp,
        now: Timestamp,
    ) -> Answer<'a, Touch>;
    fn delete<'a>(&'a self, key: &'a StoreKey, version: Option<Version>, now: Timestamp) -> Answer<'a, Delete>;
    fn list<'a>(
        &'a self,
        principal: Option<&'a str>,
        after: Option<&'a StoreKey>,
        limit: usize,
        now: Timestamp,
    ) -> Answer<'a, Vec<(StoreKey, Record, Version)>>;
    #[cfg(feature = "runtime")]
    fn purge(&self, limit: usize, now: Timestamp) -> Answer<'_, usize>;
    #[cfg(feature = "runtime")]
    fn needs_purging(&self) -> bool;
}

impl<S: SessionAdmin> ErasedStore for S {
    fn load(&self, key: StoreKey, now: Timestamp) -> Answer<'_, Load> {
        Box::pin(async move { S::load(self, &key, now).await })
    }

    fn create<'a>(&'a self, key: &'a StoreKey, record: Record, now: Timestamp) -> Answer<'a, Create> {
        Box::pin(S::create(self, key, record, now))
    }

    fn replace(
        self: Arc<Self>,
        key: StoreKey,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Answer<'static, Replace> {
        Box::pin(async move { S::replace(&self, &key, version, record, now).await })
    }

    fn touch<'a>(
        &'a self,
        key: &'a StoreKey,
        version: Version,
        idle_expires: Timestamp,
        now: Timestamp,
    ) -> Answer<'a, Touch> {
        Box::pin(S::touch(self, key, version, idle_expires, now))
    }

    fn delete<'a>(&'a self, key: &'a StoreKey, version: Option<Version>, now: Timestamp) -> Answer<'a, Delete> {
        Box::pin(S::delete(self, key, version, now))
    }

    fn list<'a>(
        &'a self,
        principal: Option<&'a str>,
        after: Option<&'a StoreKey>,
        limit: usize,
        now: Timestamp,
    ) -> Answer<'a, Vec<(StoreKey, Record, Version)>> {
        Box::pin(S::list(self, principal, after, limit, now))
    }

    #[cfg(feature = "runtime")]
    fn purge(&self, limit: usize, now: Timestamp) -> Answer<'_, usize> {
        Box::pin(S::purge(self, limit, now))
    }

    #[cfg(feature = "runtime")]
    fn needs_purging(&self) -> bool {
        S::needs_purging(self)
    }
}
