//! What is under way: the span of an opening or a commit, its time, and how often it asked the store.

#[cfg(feature = "metrics")]
use std::time::Instant;
use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
};

use tracing::{Span, field};

use super::metrics::{self, Operation, Outcome};
use crate::{error::Error, store::StoreError};

thread_local! {
    /// How often whatever is polled on this thread has asked the store.
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

/// A moment to measure from. Nothing without the feature `metrics`, and nothing to measure where the platform has no such clock.
#[derive(Clone, Copy)]
pub(crate) struct Moment(#[cfg(feature = "metrics")] Option<Instant>);

impl Moment {
    fn now() -> Self {
        Self(
            #[cfg(feature = "metrics")]
            (!cfg!(all(target_family = "wasm", target_os = "unknown"))).then(Instant::now),
        )
    }

    /// For what is not measured.
    fn never() -> Self {
        Self(
            #[cfg(feature = "metrics")]
            None,
        )
    }

    #[cfg(feature = "metrics")]
    pub(super) fn seconds(self) -> Option<f64> {
        self.0.map(|began| began.elapsed().as_secs_f64())
    }
}

/// One call of the store, from here until it is [answered](Self::answered).
pub(crate) struct Call {
    operation: Operation,
    began: Moment,
}

impl Call {
    pub(crate) fn of(operation: Operation) -> Self {
        CALLS.set(CALLS.get() + 1);
        Self { operation, began: Moment::now() }
    }

    pub(crate) fn answered<T>(self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        metrics::answered(self.operation, self.began, answer.is_ok());
        answer
    }
}

/// An opening or a commit under way. Where nobody listens, its span is nothing.
pub(crate) struct Watch {
    span: Span,
    began: Moment,
    calls: u32,
}

impl Watch {
    pub(crate) fn opening(dialect: &'static str) -> Self {
        let span = tracing::debug_span!("dewar::open", dialect, outcome = field::Empty, store_calls = field::Empty);
        Self { span, began: Moment::never(), calls: 0 }
    }

    pub(crate) fn commit(dialect: &'static str) -> Self {
        let span = tracing::debug_span!("dewar::commit", dialect, outcome = field::Empty, store_calls = field::Empty);
        Self { span, began: Moment::now(), calls: 0 }
    }

    /// Whether anybody listens.
    pub(crate) fn is_heard(&self) -> bool {
        !self.span.is_disabled()
    }

    /// Does some of it: within its span, and with its calls counted.
    pub(crate) fn during<T>(&mut self, work: impl FnOnce() -> T) -> T {
        /// Of whoever polls this, also where it panics.
        struct Others(u32);
        impl Drop for Others {
            fn drop(&mut self) {
                CALLS.set(self.0);
            }
        }
        let others = Others(CALLS.replace(self.calls));
        let done = self.span.in_scope(work);
        self.calls = CALLS.get();
        drop(others);
        done
    }

    /// Follows a commit to its end, wherever it is polled.
    pub(crate) async fn follow(mut self, commit: impl Future<Output = Result<Outcome, Error>>) -> Result<(), Error> {
        let mut commit = pin!(commit);
        let done = poll_fn(|context| self.during(|| commit.as_mut().poll(context))).await;
        self.committed(done)
    }

    pub(crate) fn committed(self, done: Result<Outcome, Error>) -> Result<(), Error> {
        let outcome = *done.as_ref().unwrap_or(&Outcome::Failed);
        self.say(metrics::committed(outcome, self.began, self.calls));
        done.map(drop)
    }

    /// Says on the span what came of it.
    pub(crate) fn say(&self, outcome: &'static str) {
        self.span.record("outcome", outcome).record("store_calls", self.calls);
    }
}
