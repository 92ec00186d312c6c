//! [`SessionLayer`]: the manager as a layer of tower.

use std::{
    borrow::Cow,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Extensions, HeaderName, HeaderValue, Request, Response, header, request::Parts};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    body::ResponseBody,
    setup::{Means, Setup, layer},
    visit::{self, Cookies, Entered, Handle, Left, Underway, Visit},
};
use crate::{
    error::{Error, Kind},
    manager::{Commit, Committed},
    session::Session,
    telemetry,
};

/// Gives every request its session, and saves it when the response is ready.
///
/// The defaults are safe: the session is encrypted in a cookie `__Host-Http-session`, `Secure`, `HttpOnly`,
/// `SameSite=Lax`, that ends with the browser, after a day without a visit, or after 30 days.
///
/// ```
/// use axum::{Router, routing::get};
/// use dewar::{Secret, Session, SessionLayer};
///
/// # fn main() -> Result<(), dewar::Error> {
/// let app: Router = Router::new()
///     .route("/", get(async |session: Session| {
///         let visits = session.update("visits", |visits: &mut u32| *visits += 1)?;
///         Ok::<_, dewar::Error>(format!("Visit number {visits}"))
///     }))
///     .layer(SessionLayer::new(Secret::generate())?); // or SessionLayer::from_env()?
/// # let _ = app; Ok(()) }
/// ```
///
/// A request whose handler never names the session costs next to nothing. A layer inside another one with the
/// same cookie name uses the outer one's session, where it is a clone of it or has the same settings and no store. Two that disagree (another path,
/// store or secret) answer with a 500, and the log says what to write.
///
/// The session belongs to the request: once the response's head has gone, or will not come any more, it is closed. A streaming body or a task
/// opens and commits it before the response is returned.
///
/// # Panics
///
/// Settings that contradict each other are refused when the layer is put on a service, at start-up. The message says where the layer was made
/// and what to write instead. Ask for the manager first, and it is an error instead of a panic:
///
/// ```
/// use dewar::{Secret, SessionLayer};
///
/// let layer = SessionLayer::new(Secret::generate())?.domain("https://example.org");
/// let error = layer.manager().unwrap_err(); // layer.manager()?;
/// assert!(error.is_setting());
/// # Ok::<(), dewar::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a layer does nothing until it is given to `.layer(...)`"]
pub struct SessionLayer(Setup);

layer!(SessionLayer);

#[cfg(feature = "templates")]
impl SessionLayer {
    /// Renders pages from this folder, with the session already in them: the extractor [`Templates`](crate::Templates).
    pub fn templates(self, pages: impl Into<crate::template::Pages>) -> Self {
        Self(self.0.templates(pages.into()))
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> SessionService<S> {
        SessionService { inner, means: self.means() }
    }
}

/// A service whose requests have a session. Made by [`SessionLayer`].
#[derive(Clone, Debug)]
pub struct SessionService<S> {
    inner: S,
    means: Arc<Means>,
}

impl Handle {
    /// # Errors
    ///
    /// Where the request went past no layer.
    pub(super) fn of(extensions: &Extensions) -> Result<&Self, Error> {
        extensions.get::<Self>().ok_or_else(|| {
            Error::new(
                Kind::MissingLayer,
                "this route has no session: add `.layer(dewar::SessionLayer::from_env()?)` to the router, below the route",
            )
        })
    }
}

impl Session {
    /// The session of a request that went through a [`SessionLayer`]: for middleware and services on plain tower.
    /// With axum, take `session: Session` as an argument.
    ///
    /// # Errors
    ///
    /// Where the store failed, where the layer is missing, and where the response has gone already ([`Error::is_closed`]).
    pub async fn from_parts(parts: &Parts) -> Result<Self, Error> {
        Self::from_extensions(&parts.extensions).await
    }

    /// The same, for frameworks that hand out the extensions of a request alone.
    ///
    /// # Errors
    ///
    /// As [`from_parts`](Self::from_parts).
    pub async fn from_extensions(extensions: &Extensions) -> Result<Self, Error> {
        Handle::of(extensions)?.visit().session().await
    }
}

impl<S, B, R> Service<Request<B>> for SessionService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let cookies: Cookies = request.headers().get_all(header::COOKIE).iter().cloned().collect();
        let (handle, underway) =
            match Handle::enter(&self.means, request.extensions().get(), cookies, || hosts(&request)) {
                Entered::Anew(handle, underway) => (handle, Some(underway)),
                Entered::Within(handle) => (handle, None),
                Entered::Refused(error) => {
                    let refused = Some(Box::new(error));
                    return ResponseFuture { underway: None, inner: None, waiting: None, refused };
                }
            };
        request.extensions_mut().insert(handle);
        ResponseFuture { underway, inner: Some(self.inner.call(request)), waiting: None, refused: None }
    }
}

pin_project! {
    /// The response with its session saved.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, R> {
        // Dropped first: nothing that the handler drops may still write.
        underway: Option<Underway>,
        // None: the request was refused.
        #[pin]
        inner: Option<F>,
        // Most responses wait for nothing, and their future is moved about.
        waiting: Option<Box<Waiting<R>>>,
        refused: Option<Box<Error>>,
    }
}

struct Waiting<R> {
    response: Response<ResponseBody<R>>,
    visit: Arc<Visit>,
    session: Session,
    stored: Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>,
}

impl<F, R, E> Future for ResponseFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if this.waiting.is_none() {
            if let Some(error) = this.refused.take() {
                return Poll::Ready(Ok(error_response(&error, ResponseBody::of_error)));
            }
            let Some(inner) = this.inner.as_pin_mut() else { unreachable!("it was refused, and answered") };
            let answered = ready!(inner.poll(context));
            // An error of the inner service has no head to carry a cookie: dropping this closes the session.
            let underway = this.underway.take();
            let response = answered?.map(ResponseBody::of);
            let (visit, session) = match underway.map_or(Left::Untouched, Underway::leave) {
                Left::Opened(visit, session) => (visit, session),
                Left::Untouched => return Poll::Ready(Ok(final_answer(response))),
                Left::Unreached => {
                    let mut response = final_answer(response);
                    // There is nothing that could have failed.
                    let _ = Committed::unreached().apply(response.headers_mut());
                    return Poll::Ready(Ok(response));
                }
            };
            match visit.manager().begin(&session, context) {
                Commit::Known(done) => return Poll::Ready(Ok(finish(&visit, &session, done, response))),
                Commit::Waits(stored) => {
                    *this.waiting = Some(Box::new(Waiting { response, visit, session, stored }));
                }
            }
        }
        let Some(waiting) = this.waiting else { unreachable!("the commit was begun above") };
        let done = ready!(waiting.stored.as_mut().poll(context));
        let Some(waiting) = this.waiting.take() else { unreachable!("the commit was polled above") };
        Poll::Ready(Ok(finish(&waiting.visit, &waiting.session, done, waiting.response)))
    }
}

/// The response with what became of the session, or an error in its place; either has the cookie of what was committed.
fn finish<R>(
    visit: &Visit,
    session: &Session,
    done: Result<(), Error>,
    mut response: Response<ResponseBody<R>>,
) -> Response<ResponseBody<R>> {
    let committed = visit.manager().finish(session, done);
    if let Err(error) = committed.result()
        && visit::replaces(error, response.status().is_server_error())
    {
        response = error_response(error, ResponseBody::of_error);
    }
    let mut response = final_answer(response);
    // The visitor has been told.
    let _ = committed.apply(response.headers_mut());
    response
}

/// The response, or an error in the place of one that is none.
fn final_answer<R>(response: Response<ResponseBody<R>>) -> Response<ResponseBody<R>> {
    let Some(error) = visit::interim(response.status()) else { return response };
    telemetry::answered(&error);
    error_response(&error, ResponseBody::of_error)
}

/// The hosts that a request names: in HTTP/2 its address has one.
fn hosts<B>(request: &Request<B>) -> Vec<String> {
    let mut hosts = visit::hosts(|name| request.headers().get_all(name).iter().map(HeaderValue::as_bytes).collect());
    hosts.extend(request.uri().authority().map(ToString::to_string));
    hosts
}

impl<F, R> fmt::Debug for ResponseFuture<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

pub(super) fn error_response<R>(error: &Error, body: impl FnOnce(Cow<'static, str>) -> R) -> Response<R> {
    let mut response = Response::new(body(error.body()));
    *response.status_mut() = error.status();
    for (name, value) in error.headers() {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}
