//! The body of a response that went through a session layer.

use std::{
    borrow::Cow,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The handler's body, or what an error says in its place where the session could not be saved.
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
        OfError { text: Option<Bytes> },
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn of(body: B) -> Self {
        Self { kind: Kind::Handlers { body } }
    }

    pub(super) fn of_error(text: Cow<'static, str>) -> Self {
        let text = match text {
            Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
            Cow::Owned(text) => Bytes::from(text),
        };
        Self { kind: Kind::OfError { text: Some(text) } }
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
            Projected::OfError { text } => Poll::Ready(text.take().map(|text| Ok(Frame::data(text.into())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Handlers { body } => body.is_end_stream(),
            Kind::OfError { text } => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Handlers { body } => body.size_hint(),
            Kind::OfError { text } => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
        }
    }
}
