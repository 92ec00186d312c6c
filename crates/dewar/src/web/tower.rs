//! [`SessionLayer`]: the manager as a layer of tower.

use std::{
    fmt, mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Request, Response, header, request::Parts};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::body::ResponseBody;
use crate::{
    cookie::SameSite,
    dialect::Dialect,
    error::{Error, Kind},
    lifetime::{Clock, Lifetime, Reissue},
    manager::{Commit, DialectOrigin, SessionManager, Settings},
    secret::Keyring,
    session::Session,
    store::SessionAdmin,
    telemetry,
};

/// Gives every request its session, and saves it when the response is ready.
///
/// The defaults are safe: the session is encrypted in a cookie `__Host-session`, `Secure`, `HttpOnly`,
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
/// Settings that contradict each other are refused when the layer is put on a service, at start-up, with a message that says
/// what to write instead. [`SessionLayer::manager`] returns the same as an error.
#[derive(Clone)]
#[must_use = "a layer does nothing until it is given to `.layer(...)`"]
pub struct SessionLayer {
    settings: Arc<Settings>,
    /// Made once, and shared by all clones: a router without state asks for its layers with every request.
    means: Arc<OnceLock<Arc<Means>>>,
    #[cfg(feature = "templates")]
    templates: Option<crate::template::Engine>,
}

impl SessionLayer {
    /// A layer with the secret from the environment variable `SECRET_KEY`, and older ones, comma
    /// separated, from `SECRET_KEY_FALLBACKS`.
    ///
    /// # Errors
    ///
    /// Where the variable is missing or a secret is refused. The message has a ready `export SECRET_KEY=...` line.
    pub fn from_env() -> Result<Self, Error> {
        Keyring::from_env("SECRET_KEY").map(Self::with_keyring)
    }

    /// A layer with this secret: a [`Secret`](crate::Secret), a [`Keyring`], or a text of at least 16 bytes.
    ///
    /// # Errors
    ///
    /// Where the secret is refused.
    pub fn new<K>(secret: K) -> Result<Self, Error>
    where
        K: TryInto<Keyring>,
        Error: From<K::Error>,
    {
        Ok(Self::with_keyring(secret.try_into()?))
    }

    fn with_keyring(keyring: Keyring) -> Self {
        Self {
            settings: Arc::new(Settings::new(keyring)),
            means: Arc::default(),
            #[cfg(feature = "templates")]
            templates: None,
        }
    }

    /// Reads and writes another framework's sessions: `.dialect(Flask::new)`.
    ///
    /// A dialect is made of the application's secrets; its own settings go into a closure. The cookie's name and
    /// attributes are then that framework's, where nothing else is said.
    pub fn dialect<D: Dialect>(self, make: impl Fn(&Keyring) -> D + Send + Sync + 'static) -> Self {
        let make = Arc::new(move |keyring: &Keyring| -> Box<dyn Dialect> { Box::new(make(keyring)) });
        self.set(|settings| settings.dialect = Some((DialectOrigin::of(&make), make)))
    }

    /// Keeps the sessions in a store, and only a random id in the cookie.
    ///
    /// Then different entries that racing requests write are merged, and a log-out is final. Sessions that
    /// were in cookies under the same secret are taken over: moving to a store logs nobody out.
    pub fn store(self, store: impl SessionAdmin) -> Self {
        self.set(|settings| settings.store = Some(Arc::new(store)))
    }

    /// How long a session lives, where it does not say so itself. The default: until the browser closes, at most a day
    /// without a visit, at most 30 days in all.
    pub fn lifetime(self, lifetime: Lifetime) -> Self {
        self.set(|settings| settings.lifetime = Some(lifetime))
    }

    /// When a session that was only read is issued again, so that it does not run out.
    pub fn reissue(self, reissue: Reissue) -> Self {
        self.set(|settings| settings.reissue = reissue)
    }

    /// The cookie's name.
    pub fn cookie_name(self, name: impl Into<String>) -> Self {
        self.set(|settings| settings.cookie_name = Some(name.into()))
    }

    /// The cookie's `Path`. Another one than `/` gives up the `__Host-` of the default name and becomes part of it (`session-admin` for `/admin`), so
    /// that two parts of one application never read each other's.
    pub fn path(self, path: impl Into<String>) -> Self {
        self.set(|settings| settings.path = Some(path.into()))
    }

    /// The cookie's `Domain`, to share the session with all hosts below it. It gives up the `__Host-` of the default name.
    ///
    /// # Security
    ///
    /// Every host below the domain can then read the cookie, and set one.
    pub fn domain(self, domain: impl Into<String>) -> Self {
        self.set(|settings| settings.domain = Some(domain.into()))
    }

    /// The cookie's `SameSite`.
    ///
    /// # Security
    ///
    /// [`SameSite::None`] sends the session along with requests that other sites make: protect forms against CSRF.
    pub fn same_site(self, same_site: SameSite) -> Self {
        self.set(|settings| settings.same_site = Some(same_site))
    }

    /// Whether the cookie goes over HTTPS only. Ours does anyway, and `secure(false)` is refused for it (on plain HTTP write
    /// [`dangerously_allow_http`](Self::dangerously_allow_http)); other frameworks' cookies do not by default.
    pub fn secure(self, secure: bool) -> Self {
        self.set(|settings| settings.secure = Some(secure))
    }

    /// Whether the cookie is bound to the site in whose page it was set (`Partitioned`, CHIPS).
    pub fn partitioned(self, partitioned: bool) -> Self {
        self.set(|settings| settings.partitioned = Some(partitioned))
    }

    /// Lets scripts read the cookie.
    ///
    /// # Security
    ///
    /// One cross-site scripting hole then gives the session away.
    pub fn dangerously_allow_scripts(self) -> Self {
        self.set(|settings| settings.http_only = Some(false))
    }

    /// Sends the cookie over plain HTTP too, under the plain name `session`. For development: Safari drops
    /// `Secure` cookies on `http://localhost`, and every browser does on a LAN address.
    ///
    /// # Security
    ///
    /// Whoever listens on the network can take the session over.
    pub fn dangerously_allow_http(self) -> Self {
        self.set(|settings| settings.allow_http = true)
    }

    /// How far in the future a session may have been issued, for servers whose clocks differ. The default
    /// is 60 seconds for our own sessions, and 0 where the framework refuses the future.
    pub fn clock_skew(self, skew: Duration) -> Self {
        self.set(|settings| settings.clock_skew = Some(skew))
    }

    /// Takes the time from this clock, for tests.
    pub fn clock(self, clock: Clock) -> Self {
        self.set(|settings| settings.clock = clock)
    }

    /// Renders pages from this folder, with the session already in them: the extractor [`Templates`](crate::Templates).
    #[cfg(feature = "templates")]
    pub fn templates(mut self, pages: impl Into<crate::template::Pages>) -> Self {
        self.templates = Some(crate::template::Engine::new(pages.into()));
        // A manager that was made already stays.
        let made = self.means.get().map(|means| Arc::new(self.with_manager(means.manager.clone())));
        self.means = Arc::new(made.map_or_else(OnceLock::new, OnceLock::from));
        self
    }

    /// The manager with these settings, made once and shared by all clones of the layer.
    ///
    /// # Errors
    ///
    /// Where settings contradict each other or a browser would throw the cookie away.
    pub fn manager(&self) -> Result<SessionManager, Error> {
        Ok(self.means()?.manager.clone())
    }

    fn means(&self) -> Result<&Arc<Means>, Error> {
        if let Some(means) = self.means.get() {
            return Ok(means);
        }
        let means = Arc::new(self.with_manager(self.settings.build()?));
        Ok(self.means.get_or_init(|| means))
    }

    fn with_manager(&self, manager: SessionManager) -> Means {
        Means {
            manager,
            #[cfg(feature = "templates")]
            templates: self.templates.clone(),
        }
    }

    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self.means = Arc::default();
        self
    }
}

impl fmt::Debug for SessionLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLayer").finish_non_exhaustive()
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> SessionService<S> {
        let means = self.means().unwrap_or_else(|error| panic!("SessionLayer: {error}"));
        SessionService { inner, means: Arc::clone(means) }
    }
}

/// A service whose requests have a session. Made by [`SessionLayer`].
#[derive(Clone, Debug)]
pub struct SessionService<S> {
    inner: S,
    means: Arc<Means>,
}

/// What all requests of one layer share.
#[derive(Debug)]
struct Means {
    manager: SessionManager,
    #[cfg(feature = "templates")]
    templates: Option<crate::template::Engine>,
}

/// What a request has of its session: its cookies, and the session while it is open.
pub(crate) struct Visit {
    means: Arc<Means>,
    /// The cookies it came with. Its extensions may have been copied to a request of another visitor.
    cookies: Cookies,
    /// The visit of a layer further out, of another cookie.
    outer: Option<Handle>,
    stage: Mutex<Stage>,
}

/// The `Cookie` headers of a request. There is one, as a rule.
#[derive(PartialEq, Eq)]
struct Cookies {
    first: Option<HeaderValue>,
    others: Vec<HeaderValue>,
}

impl Cookies {
    fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(header::COOKIE).iter().cloned();
        Self { first: values.next(), others: values.collect() }
    }

    fn are_of(&self, headers: &HeaderMap) -> bool {
        headers.get_all(header::COOKIE).iter().eq(self.first.iter().chain(&self.others))
    }

    fn headers(&self) -> HeaderMap {
        self.first.iter().chain(&self.others).map(|value| (header::COOKIE, value.clone())).collect()
    }
}

/// How far a request has come. One lock decides between a session that is being opened and a head that leaves.
enum Stage {
    Unopened,
    Open(Session),
    /// The head has gone, or will never come: nothing is opened any more.
    Over,
}

impl Visit {
    fn begin(means: &Arc<Means>, headers: &HeaderMap, outer: Option<Handle>) -> Arc<Self> {
        let cookies = Cookies::of(headers);
        Arc::new(Self { means: Arc::clone(means), cookies, outer, stage: Mutex::new(Stage::Unopened) })
    }

    /// # Errors
    ///
    /// Where the store failed, and where the response's head has gone, also while the store was asked.
    async fn session(&self, headers: &HeaderMap) -> Result<Session, Error> {
        match &*self.stage() {
            Stage::Open(session) => return Ok(session.clone()),
            Stage::Over => return Err(opened_too_late()),
            Stage::Unopened => {}
        }
        let opened = if self.cookies.are_of(headers) {
            self.means.manager.open(headers).await?
        } else {
            self.means.manager.open(&self.cookies.headers()).await?
        };
        let mut stage = self.stage();
        match &*stage {
            // Where two tasks of one request open it at once, both get the one that came first.
            Stage::Open(session) => Ok(session.clone()),
            Stage::Over => Err(opened_too_late()),
            Stage::Unopened => {
                *stage = Stage::Open(opened.clone());
                Ok(opened)
            }
        }
    }

    /// The head leaves: from here on nothing is opened. The session, where one was.
    fn leave(&self) -> Option<Session> {
        match mem::replace(&mut *self.stage(), Stage::Over) {
            Stage::Open(session) => Some(session),
            Stage::Unopened | Stage::Over => None,
        }
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        // Nothing that can panic runs while the lock is held, so a poisoned stage is a whole one.
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn opened_too_late() -> Error {
    telemetry::opened_too_late();
    Error::new(
        Kind::Closed,
        "the session was opened after its response had gone: take it before the response is returned, and commit what a stream or task writes",
    )
}

/// A request on its way. Dropped before its head has left (a time-out, a client that hung up, a panic), it closes the session:
/// whatever survives must not write on.
struct Underway(Arc<Visit>);

impl Drop for Underway {
    fn drop(&mut self) {
        if let Some(session) = self.0.leave() {
            session.close();
        }
    }
}

/// What a request carries in its extensions.
#[derive(Clone)]
pub(crate) struct Handle {
    visit: Arc<Visit>,
    /// Of the innermost layer, whose pages count.
    #[cfg(feature = "templates")]
    means: Arc<Means>,
}

impl Handle {
    /// # Errors
    ///
    /// Where the request went past no layer.
    pub(crate) fn of(parts: &Parts) -> Result<&Self, Error> {
        parts.extensions.get::<Self>().ok_or_else(|| {
            Error::new(
                Kind::MissingLayer,
                "this route has no session: add `.layer(dewar::SessionLayer::from_env()?)` to the router, below the route",
            )
        })
    }

    /// The visit of the layer around this one that has this cookie.
    fn find(&self, cookie_name: &str) -> Option<&Arc<Visit>> {
        let mut handle = Some(self);
        while let Some(found) = handle {
            if found.visit.means.manager.cookie_name() == cookie_name {
                return Some(&found.visit);
            }
            handle = found.visit.outer.as_ref();
        }
        None
    }

    #[cfg(feature = "axum")]
    pub(crate) fn manager(&self) -> SessionManager {
        self.visit.means.manager.clone()
    }

    /// # Errors
    ///
    /// Where the layer was given no pages.
    #[cfg(feature = "templates")]
    pub(crate) fn templates(&self) -> Result<crate::template::Engine, Error> {
        self.means.templates.clone().ok_or_else(|| {
            let line = "there are no templates: add `.templates(\"templates\")` to the SessionLayer";
            Error::new(Kind::MissingLayer, line)
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
        Handle::of(parts)?.visit.session(&parts.headers).await
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
        let manager = &self.means.manager;
        let outer = request.extensions().get::<Handle>();
        let same = outer.and_then(|outer| outer.find(manager.cookie_name()));
        // Extensions that were copied to a request with other cookies are another visitor's.
        let (visit, underway) = match same.filter(|visit| visit.cookies.are_of(request.headers())) {
            Some(visit) if !visit.means.manager.agrees_with(manager) => {
                telemetry::layers_disagree(manager.cookie_name());
                return ResponseFuture { underway: None, inner: None, waiting: None };
            }
            Some(visit) => (Arc::clone(visit), None),
            None => {
                let visit = Visit::begin(&self.means, request.headers(), outer.cloned());
                (Arc::clone(&visit), Some(Underway(visit)))
            }
        };
        request.extensions_mut().insert(Handle {
            visit,
            #[cfg(feature = "templates")]
            means: Arc::clone(&self.means),
        });
        ResponseFuture { underway, inner: Some(self.inner.call(request)), waiting: None }
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
            let Some(inner) = this.inner.as_pin_mut() else { return Poll::Ready(Ok(refused())) };
            let answered = ready!(inner.poll(context));
            // An error of the inner service has no head to carry a cookie: dropping this closes the session.
            let underway = this.underway.take();
            let response = answered?.map(ResponseBody::of);
            let Some(underway) = underway else { return Poll::Ready(Ok(response)) };
            let visit = Arc::clone(&underway.0);
            let Some(session) = visit.leave() else { return Poll::Ready(Ok(response)) };
            match visit.means.manager.begin(&session, context) {
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
    if let Err(error) = done.inspect_err(telemetry::failed) {
        // A layer further in made a response of the panic already.
        if !(error.is_panic() && response.status().is_server_error()) {
            response = error_response(&error, ResponseBody::sentence);
        }
    }
    visit.means.manager.finish(session, response.headers_mut());
    response
}

/// The answer to a request that went through two layers which disagree.
fn refused<R>() -> Response<ResponseBody<R>> {
    error_response(&Error::setting("two layers of one cookie name disagree"), ResponseBody::sentence)
}

impl<F, R> fmt::Debug for ResponseFuture<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// What a visitor is told of an error: nothing but that there was one, and whether to try again.
pub(crate) fn error_response<R>(error: &Error, body: impl FnOnce(&'static str) -> R) -> Response<R> {
    let mut response = Response::new(body(if error.is_store() {
        "Your session cannot be reached just now. Please try again in a moment.\n"
    } else if error.is_conflict() {
        "Somebody logged in or out while this page was asked for. Please try again.\n"
    } else {
        "Something went wrong on our side.\n"
    }));
    *response.status_mut() = error.status();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if error.is_store() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}
