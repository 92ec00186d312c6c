//! What is under way: the span of an opening or a commit, its time, and how often it asked the store.

#[cfg(feature = "metrics")]
use std::time::Instant;
use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tracing::{Span, field, level_filters::LevelFilter};

use super::metrics::{self, Operation, Outcome};
use crate::{error::Error, store::StoreError};

thread_local! {
    /// How often whatever is polled on this thread has asked the store.
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

/// A span, where anybody listens. Asked first: a span that is switched off costs more than none.
macro_rules! span {
    ($name:literal, $dialect:expr) => {
        if LevelFilter::current() >= LevelFilter::DEBUG {
            tracing::debug_span!($name, dialect = $dialect, outcome = field::Empty, store_calls = field::Empty)
        } else {
            Span::none()
        }
    };
}

/// A moment to measure from. Nothing without the feature `metrics`, and nothing to measure where the platform has no such clock.
#[derive(Clone, Copy)]
struct Moment(#[cfg(feature = "metrics")] Option<Instant>);

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

    /// How long it is ago, where it is measured.
    fn seconds(self) -> Option<f64> {
        #[cfg(feature = "metrics")]
        return self.0.map(|began| began.elapsed().as_secs_f64());
        #[cfg(not(feature = "metrics"))]
        None
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
        metrics::answered(self.operation, self.began.seconds(), answer.is_ok());
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
        Self { span: span!("dewar::open", dialect), began: Moment::never(), calls: 0 }
    }

    pub(crate) fn commit(dialect: &'static str) -> Self {
        Self { span: span!("dewar::commit", dialect), began: Moment::now(), calls: 0 }
    }

    /// Whether anybody listens.
    pub(crate) fn is_heard(&self) -> bool {
        !self.span.is_disabled()
    }

    /// Until this is dropped: within its span, and with its calls counted.
    pub(crate) fn enter(&mut self) -> Entered<'_> {
        let others = CALLS.replace(self.calls);
        Entered { calls: &mut self.calls, others, _span: self.span.enter() }
    }

    /// Follows a commit to its end, wherever it is polled.
    pub(crate) fn follow<F: Future<Output = Result<Outcome, Error>>>(self, commit: F) -> Followed<F> {
        Followed { watch: self, commit }
    }

    pub(crate) fn committed(&self, done: Result<Outcome, Error>) -> Result<(), Error> {
        let outcome = *done.as_ref().unwrap_or(&Outcome::Failed);
        self.say(metrics::committed(outcome, self.began.seconds(), self.calls));
        done.map(drop)
    }

    /// Says on the span what came of it.
    pub(crate) fn say(&self, outcome: &'static str) {
        if self.is_heard() {
            self.span.record("outcome", outcome).record("store_calls", self.calls);
        }
    }
}

pin_project! {
    /// A commit that is followed.
    pub(crate) struct Followed<F> {
        watch: Watch,
        #[pin]
        commit: F,
    }
}

impl<F: Future<Output = Result<Outcome, Error>>> Future for Followed<F> {
    type Output = Result<(), Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let entered = this.watch.enter();
        let polled = this.commit.poll(context);
        drop(entered);
        polled.map(|done| this.watch.committed(done))
    }
}

/// Some of it is being done.
pub(crate) struct Entered<'a> {
    calls: &'a mut u32,
    /// Of whoever polls this.
    others: u32,
    _span: tracing::span::Entered<'a>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        *self.calls = CALLS.replace(self.others);
    }
}
