//! What a developer is told of a mistake, and what a visitor is not.

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, Response, StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use dewar::{Error, Keyring, Secret, Session, SessionLayer, dialect, store::StoreError, testing::Visitor};
use std::time::{Duration, SystemTime};
use tower::ServiceExt;

/// The secret of the lesson, and of our examples.
const EXAMPLE: &str = "w98fw9ef8hwe98fhwef";

fn app(layer: &SessionLayer) -> Router {
    Router::new()
        .route("/", get(async |session: Session| session.insert("firstName", "Ada")))
        .route(
            "/hint",
            get(async |session: Session| {
                session.insert("firstName", "Ada");
                StatusCode::EARLY_HINTS
            }),
        )
        .route("/%3Cb%3E", get(async |session: Session| session.insert("<b>", f64::NAN)))
        .layer(layer.clone())
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap()
}

async fn asked(layer: &SessionLayer, host: Option<&str>) -> Response<Body> {
    let mut request = Request::get("/");
    if let Some(host) = host {
        request = request.header(header::HOST, host);
    }
    app(layer).oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn the_secret_of_the_examples_serves_on_this_machine_alone() {
    let ours = SessionLayer::new(EXAMPLE).unwrap();
    for host in
        [None, Some("localhost"), Some("LOCALHOST:5000"), Some("127.0.0.1:80"), Some("[::1]:5000"), Some("a.localhost")]
    {
        let response = asked(&ours, host).await;
        assert_eq!(response.status(), StatusCode::OK, "{host:?}");
        assert!(response.headers().contains_key(header::SET_COOKIE), "{host:?}");
    }
    for host in
        ["example.com", "192.168.1.5:5000", "localhost.example.com", "127.0.0.1.example.com", "", "a b", "[::2]"]
    {
        let response = asked(&ours, Some(host)).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{host:?}");
        assert!(!response.headers().contains_key(header::SET_COOKIE), "{host:?}");
        let text = text(response).await;
        assert_eq!(text.contains("set another SECRET_KEY"), cfg!(debug_assertions), "{text}");
        assert!(!text.contains("dewar_"), "a secret that is good is nothing for a page: {text}");
    }
    let request = Request::get("http://example.com/").body(Body::empty()).unwrap();
    assert_eq!(app(&ours).oneshot(request).await.unwrap().status(), 500, "HTTP/2 has the host in the address");
}

#[tokio::test]
async fn the_secret_of_the_examples_is_no_better_as_an_older_one_or_a_sources() {
    let fallback = Keyring::new(Secret::generate()).fallback(Secret::new(EXAMPLE).unwrap());
    let sources = SessionLayer::new(Secret::generate()).unwrap().reads_also(
        dewar::SessionManager::builder(EXAMPLE).unwrap().dialect(dialect::Flask::new).build().unwrap(),
        SystemTime::now() + Duration::from_secs(86_400),
    );
    for layer in [SessionLayer::new(fallback).unwrap(), sources] {
        assert_eq!(asked(&layer, Some("localhost")).await.status(), 200);
        assert_eq!(asked(&layer, Some("example.com")).await.status(), 500);
    }
    let generated = SessionLayer::new(Secret::generate()).unwrap();
    assert_eq!(asked(&generated, Some("example.com")).await.status(), 200);
}

#[tokio::test]
async fn an_answer_that_only_comes_before_another_is_an_error_that_says_so_and_keeps_the_session() {
    let layer = SessionLayer::new(Secret::generate()).unwrap();
    let response = app(&layer).oneshot(Request::get("/hint").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let mut visitor = Visitor::new(&layer.manager().unwrap());
    visitor.receive(response.headers());
    assert_eq!(visitor.session().await.unwrap().get("firstName"), Some("Ada".to_owned()), "a 500 commits, too");
    let text = text(response).await;
    assert_eq!(text.contains("103 Early Hints"), cfg!(debug_assertions), "{text}");
}

#[tokio::test]
async fn the_page_for_developers_names_an_entry_and_never_runs_what_stands_in_its_name() {
    let layer = SessionLayer::new(Secret::generate()).unwrap().dialect(dialect::CookieSession::new);
    let request = Request::get("/%3Cb%3E").body(Body::empty()).unwrap();
    let response = app(&layer).oneshot(request).await.unwrap();
    let (status, text) = (response.status(), text(response).await);
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!text.contains("<b>"), "{text}");
    assert_eq!(text.contains("session entry &quot;&lt;b&gt;&quot;"), cfg!(debug_assertions), "{text}");
}

#[tokio::test]
async fn a_store_that_is_down_is_nothing_for_a_page_in_any_build() {
    let error = Error::from(StoreError::new("redis: 10.0.0.7 refused"));
    let response = error.into_response();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    assert!(!text(response).await.contains("10.0.0.7"));
}
