//! The manager as a middleware of actix-web 4, and [`Session`] as an argument of its handlers.
//!
//! ```
//! use actix_web::{App, HttpServer, web};
//! use dewar::{Error, Session, web::actix::SessionMiddleware};
//!
//! async fn count(session: Session) -> Result<String, Error> {
//!     let visits = session.update("visits", |visits: &mut u32| *visits += 1)?;
//!     Ok(format!("Visit number {visits}"))
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let secret = dewar::Secret::generate();
//! let sessions = SessionMiddleware::new(secret)?; // or SessionMiddleware::from_env()?
//! let server = HttpServer::new(move || App::new().wrap(sessions.clone()).route("/", web::get().to(count)));
//! # let _ = server; Ok(()) }
//! ```

use std::{
    future::{Future, Ready, ready},
    pin::Pin,
    sync::Arc,
};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest, HttpResponse, ResponseError,
    body::{EitherBody, MessageBody},
    dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform, forward_ready},
    http::{
        StatusCode,
        header::{HeaderMap, HeaderName, HeaderValue},
    },
};

use super::{
    setup::{Means, Setup, layer},
    visit::{self, Cookies, Entered, Handle, Left, Underway, Visit},
};
use crate::{
    error::{Error, Kind},
    manager::{Committed, SessionManager},
    session::Session,
    telemetry,
};

/// Gives every request its session, and saves it when the response's head is ready.
///
/// The defaults are safe: the session is encrypted in a cookie `__Host-Http-session`, `Secure`, `HttpOnly`,
/// `SameSite=Lax`, that ends with the browser, after a day without a visit, or after 30 days.
///
/// Make it once, outside of the closure that makes an `App` for each worker, and give each a clone: they share one manager.
///
/// A request whose handler never names the session costs next to nothing. A middleware inside another one with the
/// same cookie name uses the outer one's session, where it is a clone of it or has the same settings and no store. Two that disagree (another path,
/// store or secret) answer with a 500, and the log says what to write.
///
/// The session belongs to the request: once the response's head has gone, or will not come any more, it is closed. A streaming body or a task
/// opens and commits it before the response is returned. A middleware between this one and the handler that returns an `Err` has no response to
/// carry a cookie: nothing is saved. A handler's `Err` is a response, and what it did is.
///
/// # Panics
///
/// Settings that contradict each other are refused when the middleware is put on an application, at start-up. The message says where the middleware
/// was made and what to write instead. [`SessionMiddleware::manager`] returns the same as an error: `sessions.manager()?` before the server begins.
#[derive(Clone)]
#[must_use = "a middleware does nothing until it is given to `.wrap(...)`"]
pub struct SessionMiddleware(Setup);

layer!(SessionMiddleware);

impl<S, B> Transform<S, ServiceRequest> for SessionMiddleware
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = actix_web::Error;
    type Transform = SessionService<S>;
    type InitError = ();
    type Future = Ready<Result<SessionService<S>, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(SessionService { inner, means: self.means() }))
    }
}

/// A service whose requests have a session. Made by [`SessionMiddleware`].
#[derive(Debug)]
pub struct SessionService<S> {
    inner: S,
    means: Arc<Means>,
}

impl<S, B> Service<ServiceRequest> for SessionService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = actix_web::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>>>>;

    forward_ready!(inner);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let outer = request.extensions().get::<Handle>().cloned();
        let hosts = || visit::hosts(|name| request.headers().get_all(name).map(HeaderValue::as_bytes).collect());
        let (handle, underway) = match Handle::enter(&self.means, outer.as_ref(), cookies(request.headers()), hosts) {
            Entered::Anew(handle, underway) => (handle, Some(underway)),
            Entered::Within(handle) => (handle, None),
            Entered::Refused(error) => {
                let refused = request.into_response(answer(&error));
                return Box::pin(ready(Ok(refused.map_into_right_body())));
            }
        };
        request.extensions_mut().insert(handle);
        let inner = self.inner.call(request);
        Box::pin(async move {
            // An error has no head to carry a cookie: dropping this closes the session.
            let underway = underway;
            let response = inner.await?.map_into_left_body();
            if let Some(outer) = outer {
                response.request().extensions_mut().insert(outer);
            }
            match underway.map_or(Left::Untouched, Underway::leave) {
                Left::Opened(visit, session) => Ok(finish(&visit, &session, response).await),
                Left::Untouched => Ok(final_answer(response)),
                Left::Unreached => {
                    let mut response = final_answer(response);
                    apply(Committed::unreached(), response.headers_mut());
                    Ok(response)
                }
            }
        })
    }
}

/// The response with what became of the session, or an error in its place; either has the cookie of what was committed.
async fn finish<B: MessageBody>(
    visit: &Visit,
    session: &Session,
    mut response: ServiceResponse<EitherBody<B>>,
) -> ServiceResponse<EitherBody<B>> {
    let committed = visit.manager().commit(session).await;
    if let Err(error) = committed.result()
        && visit::replaces(error, response.status().is_server_error())
    {
        response = response.into_response(answer(error).map_into_right_body());
    }
    let mut response = final_answer(response);
    apply(committed, response.headers_mut());
    response
}

/// The response, or an error in the place of one that is none.
fn final_answer<B: MessageBody>(response: ServiceResponse<EitherBody<B>>) -> ServiceResponse<EitherBody<B>> {
    let status = http::StatusCode::from_u16(response.status().as_u16());
    match status.ok().and_then(visit::interim) {
        Some(error) => response.into_response(error.error_response().map_into_right_body()),
        None => response,
    }
}

/// actix-web has the headers of http 0.2. Those that a commit changes go through ours.
fn apply(committed: Committed, response: &mut HeaderMap) {
    let mut ours = http::HeaderMap::new();
    for name in [http::header::VARY, http::header::CACHE_CONTROL, http::header::SET_COOKIE] {
        for value in response.get_all(name.as_str()) {
            ours.extend(http::HeaderValue::from_bytes(value.as_bytes()).map(|value| (name.clone(), value)).ok());
        }
        response.remove(name.as_str());
    }
    // The visitor has been told.
    let _ = committed.apply(&mut ours);
    for (name, value) in &ours {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::from_bytes(value.as_bytes()))
        else {
            unreachable!("what is a header to http 1 is one to http 0.2");
        };
        response.append(name, value);
    }
}

fn cookies(headers: &HeaderMap) -> Cookies {
    let values = headers.get_all("cookie");
    values.filter_map(|value| http::HeaderValue::from_bytes(value.as_bytes()).ok()).collect()
}

/// The visit of a request.
///
/// # Errors
///
/// Where the request went past no middleware.
fn visit(request: &HttpRequest) -> Result<Arc<Visit>, Error> {
    request.extensions().get::<Handle>().map(|handle| Arc::clone(handle.visit())).ok_or_else(|| {
        Error::new(
            Kind::MissingLayer,
            "this route has no session: add `.wrap(sessions.clone())` to the App or scope around the route, with \
             `let sessions = dewar::web::actix::SessionMiddleware::from_env()?`",
        )
    })
}

/// A store that is down answers 503 with `Retry-After`. Take `Option<Session>` or
/// `Result<Session, dewar::Error>` in a route that can do without.
impl FromRequest for Session {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Error>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let visit = visit(request);
        Box::pin(async move { visit?.session().await })
    }
}

/// The manager of the middleware that the request went through, for lists of devices and log-outs everywhere.
impl FromRequest for SessionManager {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(visit(request).map(|visit| visit.manager().clone()))
    }
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status().as_u16()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        telemetry::answered(self);
        answer(self)
    }
}

/// What a visitor is told of an error that is in the log.
fn answer(error: &Error) -> HttpResponse {
    let mut response = HttpResponse::build(error.status_code());
    for header in error.headers() {
        response.insert_header(header);
    }
    response.body(error.body().into_owned())
}
