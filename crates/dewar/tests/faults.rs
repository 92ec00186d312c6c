//! The store fails, the client hangs up, clocks jump: an honest error, and nothing lost or overwritten.

mod support;

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode, header},
    routing::get,
};
use dewar::{
    Clock, Error, Session, SessionLayer, SessionManager,
    store::{SessionAdmin, Timestamp},
    testing::Visitor,
};
use support::{faulty::Faulty, http::secret, site::visit};
use tower::ServiceExt;

struct Site {
    store: Faulty,
    clock: Clock,
    manager: SessionManager,
    app: Router,
}

impl Site {
    fn new() -> Self {
        let (store, clock) = (Faulty::default(), Clock::at(Timestamp::from_secs(1_800_000_000)));
        let layer = SessionLayer::new(secret()).unwrap().store(store.clone()).clock(clock.clone());
        let app = Router::new()
            .route("/get", get(async |session: Session| session.get::<String>("name").unwrap_or("nothing".into())))
            .route("/set", get(async |session: Session| session.insert("name", "Ada")))
            .route("/clear", get(async |session: Session| session.clear()))
            .route("/without", get(async || "no session here"))
            .route("/optional", get(async |session: Option<Session>| if session.is_some() { "some" } else { "none" }))
            .route(
                "/result",
                get(async |session: Result<Session, Error>| session.is_err_and(|error| error.is_store()).to_string()),
            );
        Self { store, clock, manager: layer.manager().unwrap(), app: app.layer(layer) }
    }

    async fn get(&self, path: &str, visitor: &mut Visitor) -> Response<Body> {
        let request = Request::get(path).header(header::COOKIE, visitor.cookie()).body(Body::empty()).unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        visitor.receive(response.headers());
        response
    }

    async fn ada(&self) -> Visitor {
        let mut visitor = Visitor::new(&self.manager);
        assert_eq!(self.get("/set", &mut visitor).await.status(), StatusCode::OK);
        visitor
    }

    async fn says(&self, path: &str, visitor: &mut Visitor) -> String {
        let body = self.get(path, visitor).await.into_body();
        String::from_utf8(axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap()
    }
}

#[tokio::test]
async fn a_store_that_is_down_answers_503_with_retry_after_and_nothing_is_overwritten() {
    let site = Site::new();
    let mut ada = site.ada().await;
    let before = ada.cookie();
    site.store.down.store(true, SeqCst);
    for path in ["/get", "/set", "/clear"] {
        let response = site.get(path, &mut ada).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(response.headers().contains_key(header::RETRY_AFTER));
        assert!(!response.headers().contains_key(header::SET_COOKIE));
    }
    let mut nobody = Visitor::new(&site.manager);
    assert_eq!(site.get("/set", &mut nobody).await.status(), StatusCode::SERVICE_UNAVAILABLE, "at the commit");
    assert_eq!(nobody.cookie(), "");
    assert_eq!(site.says("/without", &mut ada).await, "no session here");
    assert_eq!(site.says("/optional", &mut ada).await, "none");
    assert_eq!(site.says("/result", &mut ada).await, "true");
    site.store.down.store(false, SeqCst);
    assert_eq!(ada.cookie(), before);
    assert_eq!(site.says("/get", &mut ada).await, "Ada");
}

#[tokio::test]
async fn a_log_out_that_could_not_be_stored_says_so() {
    let site = Site::new();
    let mut ada = site.ada().await;
    let session = ada.session().await.unwrap();
    session.clear();
    site.store.down.store(true, SeqCst);
    assert!(session.commit().await.unwrap_err().is_store());
    site.store.down.store(false, SeqCst);
    session.commit().await.unwrap();
    assert_eq!(site.says("/get", &mut ada).await, "nothing", "and succeeds when it is tried again");
}

#[tokio::test]
async fn a_renewal_that_failed_half_way_leaves_the_old_session() {
    let site = Site::new();
    let mut ada = site.ada().await;
    let session = ada.session().await.unwrap();
    session.set_principal("ada");
    site.store.down.store(true, SeqCst);
    assert!(session.commit().await.unwrap_err().is_store());
    site.store.down.store(false, SeqCst);
    assert_eq!(site.says("/get", &mut ada).await, "Ada");
    assert!(site.manager.sessions_of("ada").await.unwrap().is_empty());
    session.commit().await.unwrap();
    assert_eq!(site.manager.sessions_of("ada").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_client_that_hangs_up_during_the_commit_does_not_stop_it() {
    let site = Site::new();
    let ada = site.ada().await;
    site.store.slow.store(true, SeqCst);
    let request = Request::get("/clear").header(header::COOKIE, ada.cookie()).body(Body::empty()).unwrap();
    let response = tokio::spawn(site.app.clone().oneshot(request));
    while site.store.writes.load(SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    response.abort();
    assert!(response.await.is_err(), "the client is gone");
    tokio::time::sleep(Duration::from_millis(200)).await;
    site.store.slow.store(false, SeqCst);
    assert!(ada.session().await.unwrap().is_empty(), "the log-out is done");
}

#[tokio::test]
async fn one_round_trip_loads_one_commits_and_reading_costs_no_other() {
    let site = Site::new();
    let mut ada = site.ada().await;
    let count = || (site.store.loads.swap(0, SeqCst), site.store.writes.swap(0, SeqCst));
    assert_eq!(count(), (0, 1), "a new session");
    site.get("/without", &mut ada).await;
    assert_eq!(count(), (0, 0), "a route without a session");
    site.get("/get", &mut ada).await;
    assert_eq!(count(), (1, 0), "reading");
    site.get("/set", &mut ada).await;
    assert_eq!(count(), (1, 1), "writing");
    site.clock.advance(Duration::from_secs(8_639));
    site.get("/get", &mut ada).await;
    assert_eq!(count(), (1, 0), "reading within a tenth of the idle timeout");
    site.clock.advance(Duration::from_secs(1));
    site.get("/get", &mut ada).await;
    assert_eq!(count(), (1, 1), "and after it");
    site.get("/clear", &mut ada).await;
    assert_eq!(count(), (1, 1), "a log-out");
}

#[tokio::test]
async fn a_clock_that_jumps_back_and_forth_ends_no_session() {
    let site = Site::new();
    let mut ada = site.ada().await;
    for second in [1_799_990_000, 1_800_010_000, 1_799_980_000, 1_800_050_000] {
        site.clock.set(Timestamp::from_secs(second));
        assert_eq!(site.says("/get", &mut ada).await, "Ada", "at {second}");
        visit(&mut ada, &site.manager, |session| session.insert("second", second)).await;
    }
    site.clock.set(Timestamp::from_secs(1_800_200_000));
    assert_eq!(site.says("/get", &mut ada).await, "nothing");
}

#[tokio::test]
async fn a_hundred_thousand_anonymous_visits_create_no_record_and_set_no_cookie() {
    let site = Site::new();
    for _ in 0..100_000 {
        let session = site.manager.open(&http::HeaderMap::new()).await.unwrap();
        assert_eq!(session.get::<String>("name"), None);
        let mut response = http::HeaderMap::new();
        site.manager.commit(&session, &mut response).await.unwrap();
        assert!(!response.contains_key(header::SET_COOKIE));
    }
    assert_eq!(site.store.count(site.clock.now()).await.unwrap(), 0);
    assert_eq!(site.store.writes.load(SeqCst) + site.store.loads.load(SeqCst), 0);
}

#[tokio::test]
async fn no_handler_waits_for_another_requests_handler() {
    let site = Site::new();
    let ada = site.ada().await;
    let open = ada.session().await.unwrap();
    open.insert("held", true);
    let mut other = ada.clone();
    tokio::time::timeout(
        Duration::from_secs(5),
        visit(&mut other, &site.manager, |session| session.insert("free", true)),
    )
    .await
    .expect("the session is not locked while a handler holds it");
}

#[tokio::test]
async fn a_session_does_not_grow_beyond_a_mebibyte_and_can_still_be_emptied() {
    let site = Site::new();
    let mut ada = site.ada().await;
    let session = ada.session().await.unwrap();
    session.insert("large", "x".repeat(1 << 20));
    let error = session.commit().await.unwrap_err();
    assert!(error.is_too_large() && error.to_string().contains("\"large\""), "{error}");
    session.clear();
    session.commit().await.unwrap();
    assert_eq!(site.says("/get", &mut ada).await, "nothing");
}
