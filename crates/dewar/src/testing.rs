//! For tests of applications: a visitor with a session ready, what a response left in it, and a clock to turn.
//!
//! A handler's test needs no browser and no log-in page:
//!
//! ```
//! use axum::{Router, body::Body, routing::get};
//! use dewar::{Clock, Secret, Session, SessionLayer, testing::Visitor};
//! use http::Request;
//! use serde_json::json;
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = Clock::at(std::time::SystemTime::now());
//! let layer = SessionLayer::new(Secret::generate())?.clock(clock.clone());
//! let app: Router = Router::new()
//!     .route("/", get(async |session: Session| {
//!         let visits = session.update("visits", |visits: &mut u32| *visits += 1)?;
//!         let name: String = session.get("firstName").unwrap_or_default();
//!         Ok::<_, dewar::Error>(format!("{name}, visit {visits}"))
//!     }))
//!     .layer(layer.clone());
//!
//! let mut ada = Visitor::with(&layer.manager()?, json!({ "firstName": "Ada", "visits": 2 })).await?;
//! let response = ada.send(app.clone(), Request::get("/").body(Body::empty())?).await?;
//! assert!(response.status().is_success());
//! assert_eq!(ada.session().await?.get("visits"), Some(3));
//!
//! ada.edit(|session| session.insert("visits", 99)).await?;
//! ada.send(app, Request::get("/").body(Body::empty())?).await?;
//! assert_eq!(ada.session().await?.get("visits"), Some(100));
//!
//! clock.advance(Duration::from_secs(2 * 86_400)); // idle for too long
//! assert!(ada.session().await?.is_empty());
//! # Ok(()) }
//! ```
//!
//! Where the application is no service of tower's (actix-web, or a server over HTTP), give [`Visitor::cookie`] to the request, and what the response
//! sets to [`Visitor::receive`] or [`Visitor::receive_cookie`].

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{HeaderMap, HeaderValue, header};
use serde::Serialize;

pub use crate::lifetime::Clock;
use crate::{
    encoding::Encoding,
    error::{Error, Kind},
    lifetime::Timestamp,
    manager::{Ended, SessionManager},
    session::{Owner, Rules, Session},
    value::Value,
};

/// A visitor's browser, as far as cookies go. A clone is another browser, with copies of them.
#[derive(Clone, Debug)]
pub struct Visitor {
    manager: SessionManager,
    jar: Jar,
}

impl Visitor {
    /// A visitor who has never been here.
    pub fn new(manager: &SessionManager) -> Self {
        Self { manager: manager.clone(), jar: Jar::default() }
    }

    /// A visitor whose session has these entries: anything that serializes to a map, such as `json!({ ... })` or a struct.
    ///
    /// # Errors
    ///
    /// Where the entries are no map, or the session cannot be written.
    pub async fn with(manager: &SessionManager, entries: impl Serialize) -> Result<Self, Error> {
        let encoding = Encoding::MessagePack;
        let unfit = |why: String| Error::new(Kind::Entry, format!("the entries of a visitor: {why}"));
        let encoded = encoding.write(&entries).map_err(|why| unfit(why.to_string()))?;
        let Value::Map(entries) = encoding.read(&encoded).map_err(|why| unfit(why.to_string()))? else {
            return Err(unfit("expected a map of names and values".into()));
        };
        Self::prepared(manager, |session| {
            for (name, value) in entries {
                if let Value::Text(name) = name {
                    session.insert(name, value);
                }
            }
        })
        .await
    }

    /// A visitor whose session was prepared as a handler would: with a principal, flashes, a lifetime.
    ///
    /// # Errors
    ///
    /// Where the session cannot be written.
    pub async fn prepared(manager: &SessionManager, prepare: impl FnOnce(&Session)) -> Result<Self, Error> {
        let mut visitor = Self::new(manager);
        visitor.edit(prepare).await?;
        Ok(visitor)
    }

    /// Changes the visitor's session as a request of theirs would, and gives them the cookie: in the middle of a test, Flask's `session_transaction`.
    ///
    /// ```
    /// # use dewar::{Secret, SessionManager, testing::Visitor};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), dewar::Error> {
    /// # let manager = SessionManager::new(Secret::generate())?;
    /// let mut ada = Visitor::new(&manager);
    /// ada.edit(|session| session.set_principal("ada")).await?;
    /// let was_there = ada.edit(|session| session.remove("draft")).await?;
    /// assert!(!was_there);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Where the session cannot be opened or written.
    #[doc(alias = "session_transaction")]
    pub async fn edit<T>(&mut self, change: impl FnOnce(&Session) -> T) -> Result<T, Error> {
        let session = self.session().await?;
        let result = change(&session);
        let mut response = HeaderMap::new();
        let saved = self.manager.commit(&session).await.apply(&mut response);
        self.receive(&response);
        saved.map(|()| result)
    }

    /// Sends a request as this visitor's browser would: with its cookies, and it takes those of the response. The application is a service of tower's,
    /// as `app.clone()` or `&mut app`: an axum `Router`, for example.
    ///
    /// Every cookie goes along with every request: unlike a browser, it does not compare a cookie's `Path` and `Domain` with the request's address.
    ///
    /// # Errors
    ///
    /// Those of the service; a `Router` has none.
    #[cfg(feature = "tower")]
    pub async fn send<S, B, R>(
        &mut self,
        mut app: S,
        mut request: http::Request<B>,
    ) -> Result<http::Response<R>, S::Error>
    where
        S: tower_service::Service<http::Request<B>, Response = http::Response<R>>,
    {
        if !self.jar.lock().is_empty() {
            request.headers_mut().append(header::COOKIE, self.cookie());
        }
        std::future::poll_fn(|context| app.poll_ready(context)).await?;
        let response = app.call(request).await?;
        self.receive(response.headers());
        Ok(response)
    }

    /// The `Cookie` header of the visitor's next request; empty where there is no cookie.
    ///
    /// # Panics
    ///
    /// Where a cookie cannot stand in a header, which none that came in one does.
    pub fn cookie(&self) -> HeaderValue {
        let pairs: Vec<String> =
            self.jar.lock().iter().map(|(place, value)| format!("{}={value}", place.name)).collect();
        HeaderValue::try_from(pairs.join("; ")).expect("a cookie that came in a header fits into one")
    }

    /// Takes the cookies of a response, and drops those that it removes.
    pub fn receive(&mut self, response: &HeaderMap) {
        self.jar.receive(response.get_all(header::SET_COOKIE).iter().map(HeaderValue::as_bytes));
    }

    /// Takes one cookie, as the value of a `Set-Cookie` header: for HTTP libraries with header types of their own.
    ///
    /// In actix-web:
    ///
    /// ```
    /// use actix_web::{App, test, web};
    /// use dewar::{Secret, Session, testing::Visitor, web::actix::SessionMiddleware};
    ///
    /// # #[actix_web::main] async fn main() -> Result<(), dewar::Error> {
    /// let sessions = SessionMiddleware::new(Secret::generate())?;
    /// let app = test::init_service(App::new().wrap(sessions.clone()).route("/", web::get().to(
    ///     async |session: Session| { session.insert("firstName", "Ada"); "" },
    /// ))).await;
    ///
    /// let mut ada = Visitor::new(&sessions.manager()?);
    /// let request = test::TestRequest::get().insert_header(("cookie", ada.cookie().as_bytes())).to_request();
    /// let response = test::call_service(&app, request).await;
    /// for cookie in response.headers().get_all("set-cookie") {
    ///     ada.receive_cookie(cookie.as_bytes());
    /// }
    /// assert!(ada.session().await?.contains("firstName"));
    /// # Ok(()) }
    /// ```
    pub fn receive_cookie(&mut self, set_cookie: &[u8]) {
        self.jar.receive([set_cookie]);
    }

    /// The session as the visitor's next request would open it: to look at what there is.
    ///
    /// What is written to it is saved by [`commit`](Session::commit), and the visitor has the cookie then. [`edit`](Visitor::edit) does both.
    ///
    /// # Errors
    ///
    /// Only where the store failed.
    pub async fn session(&self) -> Result<Session, Error> {
        let mut request = HeaderMap::new();
        if !self.jar.lock().is_empty() {
            request.insert(header::COOKIE, self.cookie());
        }
        let session = self.manager.open(&request).await?;
        let (manager, jar) = (self.manager.clone(), self.jar.same());
        Ok(session.owned_by(|owner| Arc::new(Browsing { owner, manager, jar })))
    }
}

/// The cookies of one browser, which its open sessions reach, too: for one host, and all of its paths.
#[derive(Debug, Default)]
struct Jar(Arc<Mutex<BTreeMap<Place, String>>>);

/// What tells one cookie from another (RFC 6265, section 5.3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    name: String,
    domain: String,
    path: String,
}

impl Jar {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same jar, not a copy.
    fn same(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    fn receive<'a>(&self, cookies: impl IntoIterator<Item = &'a [u8]>) {
        let mut jar = self.lock();
        for cookie in cookies {
            let text = String::from_utf8_lossy(cookie);
            let mut parts = text.split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { continue };
            let attributes: BTreeMap<String, String> = parts
                .map(|attribute| attribute.split_once('=').unwrap_or((attribute, "")))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_ascii_lowercase()))
                .collect();
            let attribute = |name: &str| attributes.get(name).map_or("", String::as_str);
            let is_over = attribute("max-age") == "0" || attribute("expires") == "thu, 01 jan 1970 00:00:00 gmt";
            let domain = attribute("domain").trim_start_matches('.').to_owned();
            let path = Some(attribute("path")).filter(|path| path.starts_with('/')).unwrap_or("/").to_owned();
            let place = Place { name: name.trim().to_owned(), domain, path };
            if is_over {
                jar.remove(&place);
            } else {
                jar.insert(place, value.trim().to_owned());
            }
        }
    }
}

/// Another jar with the same cookies: who copies a browser has two.
impl Clone for Jar {
    fn clone(&self) -> Self {
        Self(Arc::new(Mutex::new(self.lock().clone())))
    }
}

/// The owner of a session without a response: what is committed goes to the browser at once.
struct Browsing {
    owner: Arc<dyn Owner>,
    manager: SessionManager,
    jar: Jar,
}

impl Owner for Browsing {
    fn rules(&self) -> &Rules {
        self.owner.rules()
    }

    fn now(&self) -> Timestamp {
        self.owner.now()
    }

    fn lineage(&self, principal: &str) -> u64 {
        self.owner.lineage(principal)
    }

    fn ended(self: Arc<Self>, session: &Session) -> Ended {
        Arc::clone(&self.owner).ended(session)
    }

    fn settle(self: Arc<Self>, session: Session) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> {
        Box::pin(async move {
            let done = Arc::clone(&self.owner).settle(session.clone()).await;
            self.jar.receive(self.manager.due(&session).iter().map(HeaderValue::as_bytes));
            done
        })
    }
}
