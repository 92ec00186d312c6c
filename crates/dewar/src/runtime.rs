//! What runs beside requests: commits that go on after the client has hung up, pauses between two attempts, and purging.
//!
//! A manager that has a store needs a runtime. With the feature `tokio` (which the adapters and the stores of this crate imply) it has
//! one by itself. Without an async runtime, [`Blocking`] is what to give it:
//!
//! ```
//! use dewar::{Secret, SessionManager, runtime::Blocking, store::memory::MemoryStore};
//! use http::HeaderMap;
//!
//! # fn main() -> Result<(), dewar::Error> {
//! let manager = SessionManager::builder(Secret::generate())?.store(MemoryStore::new()).runtime(Blocking).build()?;
//! let session = pollster::block_on(manager.open(&HeaderMap::new()))?;
//! session.insert("firstName", "Ada");
//! let mut response = HeaderMap::new();
//! pollster::block_on(manager.commit(&session)).apply(&mut response)?;
//! # Ok(()) }
//! ```

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
    thread,
    time::Duration,
};

/// Something to be run to its end.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs tasks, and lets them wait.
///
/// Implement it for an async runtime that is not tokio.
pub trait Runtime: Send + Sync + 'static {
    /// Begins to run a task, whoever waits for it, and returns at once: purging never ends. A runtime that has ended drops its tasks.
    fn spawn(&self, task: Task);

    /// Ends after this time.
    fn sleep(&self, time: Duration) -> Task;
}

/// Tasks of the tokio runtime in which a request is answered; outside of any, as [`Blocking`].
///
/// It needs no timer of that runtime's (`enable_time`). Each task is spawned where it is needed: several runtimes in one process,
/// one after the other or at once, can share a manager.
#[cfg(feature = "tokio")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Tokio;

#[cfg(feature = "tokio")]
impl Runtime for Tokio {
    fn spawn(&self, task: Task) {
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(task)),
            Err(_) => Blocking.spawn(task),
        }
    }

    fn sleep(&self, time: Duration) -> Task {
        Box::pin(futures_timer::Delay::new(time))
    }
}

/// A thread for each task that has to wait: for programs without an async runtime. Not for WebAssembly, where there are none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Blocking;

impl Runtime for Blocking {
    fn spawn(&self, task: Task) {
        let begun = thread::Builder::new().name("dewar-task".into()).spawn(|| pollster::block_on(task));
        if let Err(error) = begun {
            crate::telemetry::no_thread(&error);
        }
    }

    fn sleep(&self, time: Duration) -> Task {
        Box::pin(futures_timer::Delay::new(time))
    }
}

/// What this comes to; `None`: `late` ended first.
pub(crate) async fn unless<T>(mut late: Task, waited_for: impl Future<Output = T>) -> Option<T> {
    let mut waited_for = pin!(waited_for);
    poll_fn(|context| match waited_for.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => late.as_mut().poll(context).map(|()| None),
    })
    .await
}

/// Lets the executor run something else before it goes on.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
