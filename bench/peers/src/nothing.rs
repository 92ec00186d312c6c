//! A layer that does nothing: the least that any layer costs.

use std::task::{Context, Poll};

use tower::{Layer, Service};

#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl<S> Layer<S> for Nothing {
    type Service = NothingService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        NothingService(inner)
    }
}

#[derive(Clone, Debug)]
pub struct NothingService<S>(S);

impl<S: Service<R>, R> Service<R> for NothingService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.0.call(request)
    }
}
