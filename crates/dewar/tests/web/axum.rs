//! The HTTP scenarios through axum, and what only axum has.

use crate::support::http::{Application, Browser, layer, secret};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderName, Request, Response, StatusCode},
    response::IntoResponse,
    routing::get,
};
use dewar::{
    Error, Lifetime, Session, SessionLayer,
    web::conformance::{self, Site},
};
use tokio::net::TcpListener;
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

fn routes(site: Site) -> Router {
    let layers: Vec<_> = site.managers().iter().rev().cloned().map(SessionLayer::from).collect();
    let page = async move |request: Request<Body>| -> Result<Response<Body>, Error> {
        let (parts, _) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let answer = site.answer(path, Session::from_parts(&parts)).await?;
        let mut response = Response::builder().status(answer.status);
        for (name, value) in &answer.headers {
            response = response.header(*name, value);
        }
        let body = futures_util::stream::unfold(answer.body, async |mut body| {
            body.next().await.map(|chunk| (Ok::<_, Error>(chunk), body))
        });
        Ok(response.body(Body::from_stream(body)).unwrap())
    };
    layers.into_iter().fold(Router::new().fallback(page).layer(CatchPanicLayer::new()), Router::layer)
}

#[tokio::test(flavor = "multi_thread")]
async fn axum_passes_every_http_scenario() {
    conformance::check(async |site| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, routes(site)).await });
        (address, conformance::on_drop(move || server.abort()))
    })
    .await;
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
    assert_eq!(response.body().contains("layer"), cfg!(debug_assertions), "the developer is told, no visitor is");
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

const LONG: std::time::Duration = std::time::Duration::from_secs(7200);

#[test]
fn a_layer_that_is_refused_says_at_which_line_of_the_application_it_was_made() {
    let (layer, line) = (SessionLayer::new(secret()).unwrap(), line!());
    let layer = layer.domain("http://x");
    let put_on = || drop(Router::<()>::new().route("/", get(async || "")).layer(layer));
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(put_on)).unwrap_err();
    let said: &String = panic.downcast_ref().unwrap();
    assert!(said.starts_with(&format!("SessionLayer, made at {}:{line}:", file!())), "{said}");
    assert!(said.contains("domain"), "{said}");
}

#[tokio::test]
async fn settings_that_contradict_each_other_are_refused_by_name() {
    let refused = |layer: SessionLayer| layer.manager().unwrap_err().to_string();
    assert!(refused(layer().cookie_name("__Host-x").domain("h.example")).starts_with("cookie_name"));
    assert!(refused(layer().dangerously_allow_http().same_site(dewar::SameSite::None)).starts_with("same_site"));
    assert!(refused(layer().path("app")).starts_with("path"));
    assert!(refused(layer().lifetime(Lifetime::browser().idle(std::time::Duration::ZERO))).starts_with("lifetime"));
    assert!(refused(layer().dialect(|_| dewar::dialect::Opaque::new())).starts_with("dialect"));
    assert!(refused(layer().lifetime(Lifetime::browser().idle(LONG).absolute(LONG / 2))).starts_with("lifetime"));
    let never = refused(layer().lifetime(Lifetime::persistent().idle(60 * 12 * LONG)));
    assert!(never.contains("add .absolute(...)"), "{never}");
    assert!(refused(layer().secure(false)).contains("dangerously_allow_http()"));
    assert!(layer().dangerously_allow_http().secure(false).manager().is_ok());
    for wrong in ["", "http://x", "x/y", "x:80", "x..y", "-x", "x y", "exämple.org"] {
        assert!(refused(layer().domain(wrong)).starts_with("domain"), "{wrong}");
    }
    let scripts = layer().dangerously_allow_scripts();
    assert_eq!(scripts.manager().unwrap().cookie_name(), "__Host-session");
    assert!(refused(scripts.cookie_name("__Http-x")).starts_with("cookie_name"));
    for right in ["h.example", ".h.example", "localhost", "xn--exmple-cua.org", "127.0.0.1"] {
        assert_eq!(layer().domain(right).manager().unwrap().cookie_name(), "session", "{right}");
    }
}

#[tokio::test]
async fn a_layer_of_a_manager_shares_it_until_a_setting_differs() {
    let manager = layer().manager().unwrap();
    let shared = SessionLayer::from(manager.clone());
    assert!(shared.manager().unwrap().agrees_with(&manager));
    let moved = shared.path("/admin").manager().unwrap();
    assert_eq!(moved.cookie_name(), "session-admin");
    assert!(!moved.agrees_with(&manager));
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
