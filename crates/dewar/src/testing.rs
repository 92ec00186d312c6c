//! For tests of applications: a visitor with a session ready, what a response left in it, and a clock to turn.
//!
//! A handler's test needs no browser and no log-in page:
//!
//! ```
//! use axum::{Router, body::Body, routing::get};
//! use dewar::{Clock, Secret, Session, SessionLayer, testing::Visitor};
//! use http::{Request, header::COOKIE};
//! use serde_json::json;
//! use std::time::Duration;
//! use tower::ServiceExt;
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
//! let request = Request::get("/").header(COOKIE, ada.cookie()).body(Body::empty())?;
//! let response = app.oneshot(request).await?;
//! ada.receive(response.headers());
//! assert_eq!(ada.session().await?.get("visits"), Some(3));
//!
//! clock.advance(Duration::from_secs(2 * 86_400)); // idle for too long
//! assert!(ada.session().await?.is_empty());
//! # Ok(()) }
//! ```

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue, header};
use serde::Serialize;

pub use crate::lifetime::Clock;
use crate::{
    encoding::Encoding,
    error::{Error, Kind},
    manager::SessionManager,
    session::Session,
    value::Value,
};

/// A visitor's browser, as far as cookies go.
#[derive(Clone, Debug)]
pub struct Visitor {
    manager: SessionManager,
    jar: BTreeMap<String, String>,
}

impl Visitor {
    /// A visitor who has never been here.
    pub fn new(manager: &SessionManager) -> Self {
        Self { manager: manager.clone(), jar: BTreeMap::new() }
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
        let session = visitor.session().await?;
        prepare(&session);
        let mut response = HeaderMap::new();
        manager.commit(&session).await.apply(&mut response)?;
        visitor.receive(&response);
        Ok(visitor)
    }

    /// The `Cookie` header of the visitor's next request; empty where there is no cookie.
    ///
    /// # Panics
    ///
    /// Where a cookie cannot stand in a header, which none that came in one does.
    pub fn cookie(&self) -> HeaderValue {
        let pairs: Vec<String> = self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        HeaderValue::try_from(pairs.join("; ")).expect("a cookie that came in a header fits into one")
    }

    /// Takes the cookies of a response, and drops those that it removes.
    pub fn receive(&mut self, response: &HeaderMap) {
        for cookie in response.get_all(header::SET_COOKIE) {
            let text = String::from_utf8_lossy(cookie.as_bytes()).into_owned();
            let mut parts = text.split(';');
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { continue };
            let over = parts.any(|attribute| {
                let attribute = attribute.trim();
                attribute.eq_ignore_ascii_case("max-age=0")
                    || attribute.eq_ignore_ascii_case("expires=thu, 01 jan 1970 00:00:00 gmt")
            });
            if over {
                self.jar.remove(name.trim());
            } else {
                self.jar.insert(name.trim().to_owned(), value.trim().to_owned());
            }
        }
    }

    /// The session as the visitor's next request would open it.
    ///
    /// # Errors
    ///
    /// Only where the store failed.
    pub async fn session(&self) -> Result<Session, Error> {
        let mut request = HeaderMap::new();
        if !self.jar.is_empty() {
            request.insert(header::COOKIE, self.cookie());
        }
        self.manager.open(&request).await
    }
}
