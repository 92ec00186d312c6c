//! What whoever runs the application asks of its sessions: whether the store answers, how many there are, and to remove what has expired.

use std::time::Duration;

use super::{Inner, SessionManager};
use crate::{
    error::Error,
    runtime::yield_now,
    store::ErasedStore,
    telemetry::{self, EndReason},
};

/// How long a ping waits: as long as a request of a store of ours.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// How many expired records are removed before others have their turn.
const PURGED_AT_ONCE: usize = 1000;

/// For whoever runs the application.
impl SessionManager {
    /// Whether the store answers: for a health check, and for a start that should fail where there is no store. Where sessions are in the cookie,
    /// it is `Ok`.
    ///
    /// It waits for 5 seconds at most, as a request does. A check that should give up sooner has a time-out of its own around it.
    ///
    /// ```
    /// use axum::http::StatusCode;
    /// use dewar::SessionManager;
    ///
    /// /// The route `/healthz`.
    /// async fn health(sessions: SessionManager) -> StatusCode {
    ///     match sessions.ping().await {
    ///         Ok(()) => StatusCode::NO_CONTENT,
    ///         Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    ///     }
    /// }
    /// # let _: axum::Router = axum::Router::new().route("/healthz", axum::routing::get(health));
    /// ```
    ///
    /// # Errors
    ///
    /// Where the store failed, or did not answer in time.
    pub async fn ping(&self) -> Result<(), Error> {
        let Inner { store: Some(store), runtime: Some(runtime), clock, .. } = &*self.inner else { return Ok(()) };
        Ok(store.ping(clock.now(), runtime.sleep(ANSWERED_WITHIN)).await?)
    }

    /// How many sessions there are that have not expired. SQLite counts them in an index, Redis and the memory store go through all.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), dewar::Error> {
    /// # use dewar::{Secret, SessionManager, store::memory::MemoryStore, testing::Visitor};
    /// # let manager = SessionManager::builder(Secret::generate())?.store(MemoryStore::new()).build()?;
    /// Visitor::prepared(&manager, |session| session.insert("firstName", "Ada")).await?;
    /// assert_eq!(manager.count().await?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Where the store failed or does not list its sessions, and where there is none.
    pub async fn count(&self) -> Result<u64, Error> {
        let now = self.inner.clock.now();
        let count = self.inner.backend()?.count(now).await?;
        telemetry::active(count);
        Ok(count)
    }

    /// Removes all that has expired, and returns how many records and tombstones that were. A manager does so by itself once a minute, where its
    /// store needs it: this is for a store that is not served just now, and for Redis, where it tidies the lists of users' sessions (once a day is
    /// plenty), and returns zero.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), dewar::Error> {
    /// # use dewar::{Secret, SessionManager, store::memory::MemoryStore};
    /// # let manager = SessionManager::builder(Secret::generate())?.store(MemoryStore::new()).build()?;
    /// println!("{} removed", manager.purge().await?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Where the store failed, and where there is none. What was removed before stays so.
    pub async fn purge(&self) -> Result<u64, Error> {
        self.inner.purge(self.inner.backend()?.as_ref()).await
    }
}

impl Inner {
    /// Removes all that has expired. Others have their turn meanwhile.
    pub(super) async fn purge(&self, store: &dyn ErasedStore) -> Result<u64, Error> {
        let mut all = 0;
        let done = loop {
            match store.purge(PURGED_AT_ONCE, self.clock.now()).await {
                Ok(0) => break Ok(()),
                Ok(some) => all += some as u64,
                Err(error) => break Err(error.into()),
            }
            yield_now().await;
        };
        self.ended(EndReason::Purged, all);
        done.map(|()| all)
    }
}
