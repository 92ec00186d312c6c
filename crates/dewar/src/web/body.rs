//! The body of a response that went through a session layer.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The handler's body, or a sentence for the visitor in its place where the session could not be saved.
    ///
    /// It asks nothing of the body that it wraps, so the layer goes around any other.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = Projected]
    #[derive(Debug)]
    enum Kind<B> {
        Handlers { #[pin] body: B },
        Sentence { text: Option<Bytes> },
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn of(body: B) -> Self {
        Self { kind: Kind::Handlers { body } }
    }

    pub(super) fn sentence(text: &'static str) -> Self {
        Self { kind: Kind::Sentence { text: Some(Bytes::from_static(text.as_bytes())) } }
    }
}

/// An empty one, for layers that answer in the handler's place.
impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::of(B::default())
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().kind.project() {
            Projected::Handlers { body } => body.poll_frame(context),
            Projected::Sentence { text } => Poll::Ready(text.take().map(|text| Ok(Frame::data(text.into())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Handlers { body } => body.is_end_stream(),
            Kind::Sentence { text } => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Handlers { body } => body.size_hint(),
            Kind::Sentence { text } => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
        }
    }
}
