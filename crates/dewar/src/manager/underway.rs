//! Commits that go on in tasks of their own, and waiting for the last of them.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_channel::oneshot;
use tracing::Instrument;

use super::{Commit, Inner, Running, SessionManager, job::gone_with_its_runtime};
use crate::{
    error::Error,
    runtime::{Runtime, unless},
    store::StoreError,
};

/// How long [`SessionManager::drain`] waits.
const DRAINED_WITHIN: Duration = Duration::from_secs(10);

/// How many commits are under way in tasks. A clone counts the same.
#[derive(Clone, Default)]
pub(super) struct Underway(Arc<Count>);

#[derive(Default)]
struct Count {
    commits: AtomicUsize,
    /// Those who wait for none.
    waiting: Mutex<Vec<oneshot::Sender<()>>>,
}

/// One commit that is under way.
struct One(Arc<Count>);

impl Underway {
    fn one_more(&self) -> One {
        self.0.commits.fetch_add(1, Ordering::SeqCst);
        One(Arc::clone(&self.0))
    }

    fn count(&self) -> usize {
        self.0.commits.load(Ordering::SeqCst)
    }

    /// `None`: there is none.
    fn ended(&self) -> Option<oneshot::Receiver<()>> {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (tell, ended) = oneshot::channel();
        waiting.push(tell);
        // The last one looks for who waits after it has counted itself out.
        if self.count() == 0 {
            waiting.pop();
            return None;
        }
        Some(ended)
    }
}

impl Drop for One {
    fn drop(&mut self) {
        if self.0.commits.fetch_sub(1, Ordering::SeqCst) == 1 {
            let waiting = std::mem::take(&mut *self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            waiting.into_iter().for_each(|tell| tell.send(()).unwrap_or_default());
        }
    }
}

impl SessionManager {
    /// Waits until all commits that are under way have ended, 10 seconds at most: for a server that shuts down, after it has answered its last request.
    ///
    /// When a client hangs up, its commit goes on in the background. This waits for those.
    ///
    /// ```
    /// # async fn shut_down() {}
    /// # async fn serve(layer: dewar::SessionLayer, app: axum::Router) -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = layer.manager()?;
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:5000").await?;
    /// axum::serve(listener, app).with_graceful_shutdown(shut_down()).await?;
    /// manager.drain().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Where some were still under way then.
    pub async fn drain(&self) -> Result<(), Error> {
        let (Some(runtime), Some(ended)) = (&self.inner.runtime, self.inner.underway.ended()) else {
            return Ok(());
        };
        if unless(runtime.sleep(DRAINED_WITHIN), ended).await.is_some() {
            return Ok(());
        }
        let left = self.inner.underway.count();
        Err(StoreError::new(format!("{left} session(s) were still being saved after {DRAINED_WITHIN:?}")).into())
    }
}

impl Inner {
    /// Begins a commit here and now. What has to wait goes on in a task of the runtime's: whoever waits for it may go away.
    pub(super) fn run(&self, mut running: Running, context: &mut Context<'_>) -> Commit {
        match (running.as_mut().poll(context), &self.runtime) {
            (Poll::Ready(result), _) => Commit::Known(result),
            (Poll::Pending, Some(runtime)) => Commit::Waits(self.in_a_task(runtime, running)),
            (Poll::Pending, None) => Commit::Waits(running),
        }
    }

    fn in_a_task(&self, runtime: &Arc<dyn Runtime>, running: Running) -> Running {
        let one = self.underway.one_more();
        let (tell, told) = oneshot::channel();
        let task = async move {
            let result = running.await;
            drop(one);
            // Whoever waited may have gone away.
            let _ = tell.send(result);
        };
        runtime.spawn(Box::pin(task.in_current_span()));
        Box::pin(async move { told.await.unwrap_or_else(|_| Err(gone_with_its_runtime())) })
    }

    /// Sleeps between two attempts.
    pub(super) async fn sleep(&self, time: Duration) {
        if let Some(runtime) = &self.runtime {
            runtime.sleep(time).await;
        }
    }
}
