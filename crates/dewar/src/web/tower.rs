//! [`SessionLayer`]: the manager as a layer of tower.

use std::{
    cell::Cell,
    fmt,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response, header, request::Parts};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    cookie::SameSite,
    dialect::Dialect,
    error::{Error, Kind},
    lifetime::{Clock, Lifetime, Reissue},
    manager::{Commit, SessionManager, Settings, finish_in_any_case},
    secret::Keyring,
    session::{CookieDue, Session},
    store::SessionAdmin,
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
/// same cookie name uses the outer one's session.
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
        self.set(|settings| settings.dialect = Some(Arc::new(move |keyring| Box::new(make(keyring)))))
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

    /// The cookie's `Path`. Another one than `/` gives up the `__Host-` of the default name.
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

    /// Whether the cookie goes over HTTPS only. Ours does anyway; other frameworks' cookies do not by default.
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

/// What a request carries: the means to open its session, and the session once it is open.
pub(crate) struct Visit {
    means: Arc<Means>,
    session: OnceLock<Session>,
}

thread_local! {
    /// The room of a visit that is over, for the next: a request that never opens its session should not pay for it.
    static SPARE: Cell<Option<Arc<Visit>>> = const { Cell::new(None) };
}

impl Visit {
    fn begin(means: &Arc<Means>) -> Arc<Self> {
        let mut spare = SPARE.take();
        match spare.as_mut().and_then(Arc::get_mut) {
            Some(room) if Arc::ptr_eq(&room.means, means) => {}
            Some(room) => room.means = Arc::clone(means),
            None => spare = None,
        }
        spare.unwrap_or_else(|| Arc::new(Self { means: Arc::clone(means), session: OnceLock::new() }))
    }

    /// Keeps the room for the next, and nothing that was in it: nobody's data waits for another request.
    fn end(mut self: Arc<Self>) {
        if let Some(room) = Arc::get_mut(&mut self) {
            room.session.take();
        }
        if self.session.get().is_none() {
            SPARE.set(Some(self));
        }
    }

    /// The response with what became of the session, or an error in its place.
    fn finish<R: Default>(self: Arc<Self>, due: Result<CookieDue, Error>, mut response: Response<R>) -> Response<R> {
        let finished = match self.session.get() {
            Some(session) => self.means.manager.finish(session, due, response.headers_mut()),
            None => Ok(()),
        };
        self.end();
        match finished {
            Ok(()) => response,
            // A layer further in made a response of the panic already.
            Err(error) if error.is_panic() && response.status().is_server_error() => response,
            Err(error) => error_response(&error),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Handle(pub(crate) Arc<Visit>);

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

    #[cfg(feature = "axum")]
    pub(crate) fn manager(&self) -> SessionManager {
        self.0.means.manager.clone()
    }

    /// # Errors
    ///
    /// Where the layer was given no pages.
    #[cfg(feature = "templates")]
    pub(crate) fn templates(&self) -> Result<crate::template::Engine, Error> {
        self.0.means.templates.clone().ok_or_else(|| {
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
    /// Where the store failed, and where the layer is missing.
    pub async fn from_parts(parts: &Parts) -> Result<Self, Error> {
        let visit = &Handle::of(parts)?.0;
        if let Some(session) = visit.session.get() {
            return Ok(session.clone());
        }
        let opened = visit.means.manager.open(&parts.headers).await?;
        // Where two tasks of one request open it at once, both get the one that came first.
        Ok(visit.session.get_or_init(|| opened).clone())
    }
}

impl<S, B, R> Service<Request<B>> for SessionService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let outer = request.extensions().get::<Handle>();
        let cookie_name = self.means.manager.cookie_name();
        let nested = outer.is_some_and(|outer| outer.0.means.manager.cookie_name() == cookie_name);
        let visit = (!nested).then(|| {
            let visit = Visit::begin(&self.means);
            request.extensions_mut().insert(Handle(Arc::clone(&visit)));
            visit
        });
        ResponseFuture { inner: self.inner.call(request), visit, waiting: None }
    }
}

pin_project! {
    /// The response with its session saved.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, R> {
        #[pin]
        inner: F,
        visit: Option<Arc<Visit>>,
        // Most responses wait for nothing, and their future is moved about.
        waiting: Option<Box<Waiting<R>>>,
    }
}

struct Waiting<R> {
    response: Response<R>,
    visit: Arc<Visit>,
    stored: Pin<Box<dyn Future<Output = Result<CookieDue, Error>> + Send>>,
}

impl<F, R, E> Future for ResponseFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Default,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if this.waiting.is_none() {
            let response = ready!(this.inner.poll(context))?;
            let Some(visit) = this.visit.take() else { return Poll::Ready(Ok(response)) };
            let Some(session) = visit.session.get() else {
                visit.end();
                return Poll::Ready(Ok(response));
            };
            match visit.means.manager.begin(session, context) {
                Commit::Known(due) => return Poll::Ready(Ok(visit.finish(due, response))),
                Commit::Waits(stored) => {
                    let stored = Box::pin(finish_in_any_case(stored));
                    *this.waiting = Some(Box::new(Waiting { response, visit, stored }));
                }
            }
        }
        let Some(waiting) = this.waiting else { unreachable!("the commit was begun above") };
        let due = ready!(waiting.stored.as_mut().poll(context));
        let Some(waiting) = this.waiting.take() else { unreachable!("the commit was polled above") };
        Poll::Ready(Ok(waiting.visit.finish(due, waiting.response)))
    }
}

impl<F, R> fmt::Debug for ResponseFuture<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// What a visitor is told of an error: nothing but that there was one, and whether to try again.
pub(crate) fn error_response<R: Default>(error: &Error) -> Response<R> {
    let mut response = Response::new(R::default());
    *response.status_mut() = error.status();
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    if error.is_store() {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
    }
    response
}
