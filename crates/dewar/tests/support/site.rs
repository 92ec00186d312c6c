//! A site of one manager, and visitors whose requests can be held open between load and commit.

use std::{collections::BTreeMap, time::Duration};

use axum::{Router, body::Body, handler::Handler, routing::get};
use dewar::{
    Clock, Error, Session, SessionLayer, SessionManager, SessionManagerBuilder,
    store::{SessionAdmin, Timestamp},
    testing::Visitor,
};
use http::{HeaderMap, HeaderValue, Request as HttpRequest, Response, header};
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;

use super::{
    faulty::{Fault, Faulty, Verb},
    http::secret,
};

pub const BEGIN: Timestamp = Timestamp::from_secs(1_800_000_000);
pub const SLOW: Fault = Fault::Slow(Duration::from_millis(80));

pub async fn after_ms(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// Two processes on one store that can be made to fail.
pub struct Site {
    pub store: Faulty,
    pub layer: SessionLayer,
    pub manager: SessionManager,
    pub other: SessionManager,
    pub clock: Clock,
}

impl Site {
    pub fn new() -> Self {
        let store = Faulty::default();
        let clock = Clock::at(BEGIN);
        let make = || SessionLayer::new(secret()).unwrap().clock(clock.clone()).store(store.clone());
        let (layer, other) = (make(), make().manager().unwrap());
        Self { manager: layer.manager().unwrap(), layer, other, store, clock }
    }

    pub async fn with(&self, name: &str) -> Visitor {
        Visitor::with(&self.manager, BTreeMap::from([(name, 1)])).await.unwrap()
    }

    pub async fn user(&self, user: &str) -> Visitor {
        log_in(&self.manager, user).await
    }

    pub async fn get<H: Handler<T, ()>, T: 'static>(&self, visitor: &mut Visitor, handler: H) -> Response<Body> {
        answer(&self.layer, visitor, handler).await
    }

    /// A commit whose write is done, whose answer is lost, and after which the store cannot be asked once.
    pub async fn loses(&self, verb: Verb, session: &Session) {
        self.store.fail(verb, 1, Fault::Lost);
        self.store.fail(Verb::Load, 1, Fault::NotDone);
        assert!(session.commit().await.unwrap_err().is_store());
    }
}

pub fn builder(store: impl SessionAdmin) -> SessionManagerBuilder {
    SessionManager::builder(secret()).unwrap().store(store)
}

pub fn manager(store: impl SessionAdmin) -> SessionManager {
    builder(store).build().unwrap()
}

/// A browser in which somebody has logged in; the session has an entry.
pub async fn log_in(manager: &SessionManager, user: &str) -> Visitor {
    let prepared = Visitor::prepared(manager, |session| {
        session.insert("n", 0u32);
        session.set_principal(user);
    });
    prepared.await.unwrap()
}

pub async fn principal_at(visitor: &Visitor, manager: &SessionManager) -> Option<String> {
    Request::begin(visitor, manager).await.session.principal()
}

/// A request that has opened its session and not yet answered.
pub struct Request {
    manager: SessionManager,
    pub session: Session,
}

impl Request {
    pub async fn begin(visitor: &Visitor, manager: &SessionManager) -> Self {
        let session = manager.open(&headers(visitor)).await.unwrap();
        Self { manager: manager.clone(), session }
    }

    /// Answers: the response's headers, or why there are none.
    pub async fn end(self) -> Result<HeaderMap, Error> {
        let mut response = HeaderMap::new();
        self.manager.commit(&self.session).await.apply(&mut response)?;
        Ok(response)
    }

    /// Answers, and expects that no cookie is set.
    pub async fn end_silently(self) {
        let response = self.end().await.unwrap();
        assert!(!response.contains_key(header::SET_COOKIE), "a cookie was set: {response:?}");
    }
}

pub fn headers(visitor: &Visitor) -> HeaderMap {
    HeaderMap::from_iter(
        [(header::COOKIE, visitor.cookie())].into_iter().filter(|(_, cookie): &(_, HeaderValue)| !cookie.is_empty()),
    )
}

/// One whole request.
pub async fn visit(visitor: &mut Visitor, manager: &SessionManager, act: impl FnOnce(&Session)) {
    try_visit(visitor, manager, act).await.unwrap();
}

/// The same, or why it was not answered.
pub async fn try_visit(
    visitor: &mut Visitor,
    manager: &SessionManager,
    act: impl FnOnce(&Session),
) -> Result<(), Error> {
    let session = manager.open(&headers(visitor)).await?;
    act(&session);
    let request = Request { manager: manager.clone(), session };
    visitor.receive(&request.end().await?);
    Ok(())
}

/// One request and its response, with a panic of the handler caught inside the layer.
pub async fn answer<H: Handler<T, ()>, T: 'static>(
    layer: &SessionLayer,
    visitor: &mut Visitor,
    handler: H,
) -> Response<Body> {
    let app = Router::new().route("/", get(handler)).layer(CatchPanicLayer::new()).layer(layer.clone());
    let request = HttpRequest::get("/").header(header::COOKIE, visitor.cookie()).body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    visitor.receive(response.headers());
    response
}
