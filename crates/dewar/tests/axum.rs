//! The HTTP scenarios through axum, and what only axum has.

mod support;

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::RawQuery,
    http::{HeaderName, Request, Response, StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use dewar::{Error, Lifetime, Session, SessionLayer};
use support::http::{self as scenarios, Application, Browser, layer};
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;

struct Axum(Router);

impl Application for Axum {
    async fn send(&self, request: Request<String>) -> Response<String> {
        let response = self.0.clone().oneshot(request.map(Body::from)).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        Response::from_parts(parts, String::from_utf8(bytes.to_vec()).unwrap())
    }
}

fn value(RawQuery(query): RawQuery) -> String {
    query.unwrap_or_default()
}

fn routes() -> Router {
    Router::new()
        .route("/untouched", get(async || "untouched"))
        .route("/get", get(show))
        .route("/set", get(async |session: Session, query: RawQuery| session.insert("name", value(query))))
        .route(
            "/count",
            get(async |session: Session| {
                session.update("count", |count: &mut u32| *count += 1).map(|count| count.to_string())
            }),
        )
        .route("/remove", get(async |session: Session| drop(session.remove::<String>("name"))))
        .route("/clear", get(async |session: Session| session.clear()))
        .route("/renew", get(async |session: Session| session.renew()))
        .route(
            "/clear-and-set",
            get(async |session: Session, query: RawQuery| {
                session.clear();
                session.insert("name", value(query));
            }),
        )
        .route(
            "/set-and-fail",
            get(async |session: Session, query: RawQuery| {
                session.insert("name", value(query));
                StatusCode::IM_A_TEAPOT
            }),
        )
        .route("/set-and-panic", get(set_and_panic))
        .route("/set-what-cannot-be-written", get(async |session: Session| session.insert("odd", Unwritable)))
        .route(
            "/set-large",
            get(async |session: Session, query: RawQuery| {
                session.insert("small", 1);
                session.insert("large", "x".repeat(value(query).parse().unwrap()));
            }),
        )
        .route(
            "/get-cached",
            get(async |session: Session| {
                ([(header::CACHE_CONTROL, "max-age=60"), (header::VARY, "Accept")], show(session).await)
            }),
        )
        .route(
            "/remember",
            get(async |session: Session, query: RawQuery| {
                session.insert("name", "remembered");
                let idle = std::time::Duration::from_secs(value(query).parse().unwrap());
                session.set_lifetime(Lifetime::persistent().idle(idle));
            }),
        )
        .route("/login", get(async |session: Session, query: RawQuery| session.set_principal(&value(query))))
        .layer(CatchPanicLayer::new())
}

async fn show(session: Session) -> String {
    session.get("name").unwrap_or("nothing".into())
}

async fn set_and_panic(session: Session, query: RawQuery) -> &'static str {
    session.insert("name", value(query));
    panic!("as the scenario says");
}

struct Unwritable;

impl serde::Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("never"))
    }
}

#[tokio::test]
async fn axum_passes_every_http_scenario() {
    scenarios::all(|layer| Axum(routes().layer(layer))).await;
}

#[tokio::test]
async fn a_route_without_the_layer_says_which_line_to_add() {
    let app: Router =
        Router::new().route("/", get(async |session: Result<Session, Error>| session.unwrap_err().to_string()));
    let text = Axum(app).send(Request::get("/").body(String::new()).unwrap()).await.into_body();
    assert!(text.contains("add `.layer(dewar::SessionLayer::from_env()?)`"), "{text}");

    let app: Router = Router::new().route("/", get(async |session: Session| drop(session)));
    let response = Axum(app).send(Request::get("/").body(String::new()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!response.body().contains("layer"), "the visitor is not told");
}

#[tokio::test]
async fn a_nested_layer_of_the_same_cookie_uses_the_outer_session() {
    let inner = Router::new().route("/inner", get(async |session: Session| session.insert("inner", 1))).layer(layer());
    let outer = Router::new().merge(inner).layer(layer());
    let response = Axum(outer).send(Request::get("/inner").body(String::new()).unwrap()).await;
    assert_eq!(response.headers().get_all(header::SET_COOKIE).iter().count(), 1);
}

#[tokio::test]
async fn a_nested_layer_of_another_cookie_is_a_session_of_its_own() {
    let inner = Router::new()
        .route("/inner", get(async |session: Session| session.insert("inner", 1)))
        .layer(layer().cookie_name("__Host-other"));
    let outer = Router::new().merge(inner).layer(layer());
    let response = Axum(outer).send(Request::get("/inner").body(String::new()).unwrap()).await;
    let cookies: Vec<_> = response.headers().get_all(header::SET_COOKIE).iter().collect();
    assert_eq!(cookies.len(), 1);
    assert!(cookies[0].to_str().unwrap().starts_with("__Host-other="));
}

#[tokio::test]
async fn clones_and_several_extractors_are_one_session() {
    let app = Router::new().route(
        "/",
        get(async |one: Session, two: Session| {
            one.insert("a", 1);
            two.clone().insert("b", 2);
            one.len().to_string()
        }),
    );
    assert_eq!(Browser::new(&Axum(app.layer(layer()))).sees("/").await, "2");
}

#[tokio::test]
async fn a_write_after_the_response_has_gone_is_an_error() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let sender = std::sync::Arc::new(std::sync::Mutex::new(Some(sender)));
    let app = Router::new().route(
        "/",
        get(async move |session: Session| {
            session.insert("a", 1);
            drop(sender.lock().unwrap().take().unwrap().send(session));
        }),
    );
    Browser::new(&Axum(app.layer(layer()))).get("/").await;
    let session = receiver.await.unwrap();
    assert!(session.update("a", |a: &mut u32| *a += 1).unwrap_err().is_closed());
}

#[tokio::test]
async fn a_panic_in_a_task_that_holds_the_session_is_no_silent_loss() {
    let app = Router::new().route(
        "/",
        get(async |session: Session| {
            session.insert("a", 1);
            let task = tokio::spawn(async move {
                session.insert("b", 2);
                panic!("as the test says");
            });
            assert!(task.await.is_err());
        }),
    );
    let response = Browser::new(&Axum(app.layer(layer()))).get("/").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_request_that_is_dropped_before_its_response_commits_nothing() {
    let app = routes().route(
        "/set-and-wait",
        get(async |session: Session| {
            session.insert("name", "late");
            std::future::pending::<()>().await;
        }),
    );
    let app = Axum(app.layer(layer()));
    let mut browser = Browser::new(&app);
    browser.get("/set?Ada").await;
    tokio::select! {
        biased;
        _ = browser.get("/set-and-wait") => unreachable!(),
        () = tokio::task::yield_now() => {}
    }
    assert_eq!(browser.sees("/get").await, "Ada");
}

const LONG: std::time::Duration = std::time::Duration::from_secs(7200);

#[tokio::test]
async fn settings_that_contradict_each_other_are_refused_by_name() {
    let refused = |layer: SessionLayer| layer.manager().unwrap_err().to_string();
    assert!(refused(layer().cookie_name("__Host-x").domain("h.example")).starts_with("cookie_name"));
    assert!(refused(layer().dangerously_allow_http().same_site(dewar::SameSite::None)).starts_with("same_site"));
    assert!(refused(layer().path("app")).starts_with("path"));
    assert!(refused(layer().lifetime(Lifetime::browser().idle(std::time::Duration::ZERO))).starts_with("lifetime"));
    assert!(refused(layer().dialect(|_| dewar::dialect::Opaque::new())).starts_with("dialect"));
    assert!(refused(layer().lifetime(Lifetime::browser().idle(LONG).absolute(LONG / 2))).starts_with("lifetime"));
    assert!(refused(layer().secure(false)).contains("dangerously_allow_http()"));
    assert!(layer().dangerously_allow_http().secure(false).manager().is_ok());
    for wrong in ["", "http://x", "x/y", "x:80", "x..y", "-x", "x y", "exämple.org"] {
        assert!(refused(layer().domain(wrong)).starts_with("domain"), "{wrong}");
    }
    for right in ["h.example", ".h.example", "localhost", "xn--exmple-cua.org", "127.0.0.1"] {
        assert_eq!(layer().domain(right).manager().unwrap().cookie_name(), "session", "{right}");
    }
}

#[tokio::test]
async fn a_failed_commit_mid_request_is_reported_and_leaves_the_session_open() {
    let app = Router::new().route(
        "/",
        get(async |session: Session| {
            session.insert("large", "x".repeat(5000));
            let error = session.commit().await.unwrap_err();
            assert!(error.is_too_large() && error.to_string().contains("\"large\" (5003 bytes)"), "{error}");
            session.insert("large", "small");
            session.commit().await.unwrap();
            [(HeaderName::from_static("x-ok"), "ok")].into_response()
        }),
    );
    let app = Axum(app.layer(layer()));
    let mut browser = Browser::new(&app);
    let response = browser.get("/").await;
    assert_eq!(response.headers()["x-ok"], "ok");
    assert!(browser.cookie.is_some());
}
