//! Never another visitor's session: whatever outlives its response finds the session closed, and the next visitor finds nothing of it.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, atomic::Ordering::SeqCst},
    time::Duration,
};

use crate::support::{faulty::Faulty, http::secret, stores::Directory};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderValue, Request, Response, StatusCode, header, request::Parts},
    routing::get,
};
use dewar::{
    Error, Keyring, Session, SessionLayer,
    dialect::{CookieSession, ExpressSession, Flask, FlaskSession},
    store::{memory::MemoryStore, sqlite::SqliteStore},
    testing::Visitor,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{mpsc, oneshot},
};
use tower::{Layer, Service, ServiceExt};
use tower_http::catch_panic::CatchPanicLayer;

fn layer() -> SessionLayer {
    SessionLayer::new(secret()).unwrap()
}

/// Without the entry that a session of its begins with.
fn flask_session(secrets: &Keyring) -> FlaskSession {
    FlaskSession::new(secrets).permanent(false)
}

/// Every dialect and store there is without a server.
fn layers(directory: &Directory) -> Vec<(&'static str, SessionLayer)> {
    vec![
        ("sealed", layer()),
        ("flask", layer().dialect(Flask::new)),
        ("cookie-session", layer().dialect(CookieSession::new)),
        ("express-session", layer().dialect(ExpressSession::new).store(MemoryStore::new())),
        ("flask-session", layer().dialect(flask_session).store(MemoryStore::new())),
        ("memory", layer().store(MemoryStore::new())),
        ("sqlite", layer().store(SqliteStore::open(directory.file()).unwrap())),
    ]
}

/// What late code of a request found.
type Found = Result<Option<String>, Error>;

/// Opens the session late, as a stream or a task does that kept the request's parts, reads and writes and commits.
async fn late(parts: &Parts) -> Found {
    let session = Session::from_parts(parts).await?;
    let name = session.get("name");
    session.insert("late", true);
    session.commit().await?;
    Ok(name)
}

/// A site whose pages do late what should be done early. What they find is told to the test.
fn site(layer: &SessionLayer) -> (Router, mpsc::UnboundedReceiver<Found>) {
    let (tell, found) = mpsc::unbounded_channel();
    let spawning = tell.clone();
    let routes = Router::new()
        .route("/log-in", get(log_in))
        .route("/whoami", get(async |session: Session| session.get("name").unwrap_or_else(|| "nobody".to_owned())))
        .route(
            "/stream",
            get(async move |parts: Parts| {
                let chunks = Late { work: Some(Box::pin(async move { drop(tell.send(late(&parts).await)) })) };
                ([(header::CONTENT_TYPE, "text/event-stream")], Body::new(chunks))
            }),
        )
        .route(
            "/task",
            get(async move |parts: Parts| {
                tokio::spawn(async move {
                    tokio::task::yield_now().await;
                    drop(spawning.send(late(&parts).await));
                });
            }),
        );
    (routes.layer(layer.clone()), found)
}

async fn log_in(session: Session, query: axum::extract::RawQuery) {
    session.insert("name", query.0.unwrap_or_default());
}

/// A body that does its work when it is asked for the first chunk, which is after the head has gone.
struct Late {
    work: Option<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl http_body::Body for Late {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Infallible>>> {
        if let Some(work) = &mut self.work {
            std::task::ready!(work.as_mut().poll(context));
            self.work = None;
            return std::task::Poll::Ready(Some(Ok(http_body::Frame::data("data: done\n\n".into()))));
        }
        std::task::Poll::Ready(None)
    }
}

async fn send(app: &Router, path: &str, cookie: &HeaderValue) -> Response<Body> {
    let mut request = Request::get(path);
    if !cookie.is_empty() {
        request = request.header(header::COOKIE, cookie);
    }
    app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap()
}

#[tokio::test(flavor = "current_thread")]
async fn ten_thousand_strangers_never_meet_whoever_streams_or_spawns_beside_them() {
    let directory = Directory::new();
    for (name, layer) in layers(&directory) {
        let (app, mut found) = site(&layer);
        let mut ada = Visitor::new(&layer.manager().unwrap());
        ada.receive(send(&app, "/log-in?Ada", &ada.cookie()).await.headers());
        let strangers = if name == "sqlite" { 1_000 } else { 10_000 };
        for stranger in 0..strangers {
            let path = if stranger % 2 == 0 { "/stream" } else { "/task" };
            let response = send(&app, path, &ada.cookie()).await;
            // The head is here. Another visitor comes before the rest is done, one after it.
            let before = send(&app, "/whoami", &HeaderValue::from_static("")).await;
            drop(text(response).await);
            let late = found.recv().await.unwrap();
            assert!(late.as_ref().is_err_and(Error::is_closed), "{name}, {path}: {late:?}");
            let after = send(&app, "/whoami", &HeaderValue::from_static("")).await;
            for response in [before, after] {
                assert!(!response.headers().contains_key(header::SET_COOKIE), "{name}");
                assert_eq!(text(response).await, "nobody", "{name}, stranger {stranger}");
            }
        }
        let session = ada.session().await.unwrap();
        assert_eq!((session.get("name"), session.contains("late")), (Some("Ada".to_owned()), false), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn over_real_http_nobody_is_given_what_a_stream_of_another_opened_late() {
    let directory = Directory::new();
    for (name, layer) in layers(&directory) {
        let (app, mut found) = site(&layer);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move { axum::serve(listener, app).await });
        let ask = async |path: &str, cookie: &str| {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let cookie = if cookie.is_empty() { String::new() } else { format!("Cookie: {cookie}\r\n") };
            let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{cookie}Connection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let answer = ask("/log-in?Ada", "").await;
        let set = answer.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
        let ada = set.map(|set| set.split(';').next().unwrap()).collect::<Vec<_>>().join("; ");
        assert!(!ada.is_empty(), "{name}");
        for round in 0..60 {
            let path = if round % 2 == 0 { "/stream" } else { "/task" };
            let (_, one, two) = tokio::join!(ask(path, &ada), ask("/whoami", ""), ask("/whoami", ""));
            for stranger in [one, two, ask("/whoami", "").await] {
                assert!(stranger.ends_with("nobody") && !stranger.contains("set-cookie"), "{name}: {stranger}");
            }
            assert!(found.recv().await.unwrap().is_err_and(|error| error.is_closed()), "{name}, {path}");
        }
        serving.abort();
    }
}

/// A session that a handler took in time, and that survives it.
async fn assert_closed(session: &Session) {
    session.insert("late", true);
    assert!(session.commit().await.unwrap_err().is_closed());
    assert!(session.update("late", |late: &mut bool| *late = true).unwrap_err().is_closed());
    session.clear();
    session.renew();
    assert!(session.commit().await.unwrap_err().is_closed());
}

/// A site whose handler gives its session away and then does not answer as it should. The visitor has been there.
async fn given_away<S>(
    layer: &SessionLayer,
    make: impl FnOnce(oneshot::Sender<Session>) -> S,
    send: impl AsyncFnOnce(S, HeaderValue),
) {
    let manager = layer.manager().unwrap();
    let visitor = Visitor::with(&manager, serde_json::json!({ "name": "Ada" })).await.unwrap();
    let (give, given) = oneshot::channel();
    send(make(give), visitor.cookie()).await;
    let session = given.await.unwrap();
    assert_closed(&session).await;
    assert_eq!(visitor.session().await.unwrap().keys(), ["name"], "nothing was stored, renewed or ended");
}

/// Says where the session is, once it has it, and does not answer.
fn held(give: oneshot::Sender<Session>) -> Router {
    let give = Arc::new(Mutex::new(Some(give)));
    let hold = async move |session: Session| {
        let give = give.lock().unwrap().take().unwrap();
        drop(give.send(session));
        std::future::pending::<()>().await;
    };
    Router::new().route("/", get(hold))
}

#[tokio::test]
async fn a_handler_that_is_cut_off_by_a_time_out_leaves_a_closed_session() {
    let directory = Directory::new();
    for (_, layer) in layers(&directory) {
        let make = |give| held(give).layer(layer.clone());
        given_away(&layer, make, async |app, cookie| {
            let sent = tokio::time::timeout(Duration::from_millis(50), send(&app, "/", &cookie));
            assert!(sent.await.is_err());
        })
        .await;
    }
}

#[tokio::test]
async fn a_time_out_inside_the_layer_leaves_a_closed_session() {
    let directory = Directory::new();
    for (_, layer) in layers(&directory) {
        let make = |give| {
            let limit = Duration::from_millis(50);
            let timeout = tower_http::timeout::TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, limit);
            held(give).layer(timeout).layer(layer.clone())
        };
        given_away(&layer, make, async |app, cookie| {
            assert_eq!(send(&app, "/", &cookie).await.status(), StatusCode::GATEWAY_TIMEOUT);
        })
        .await;
    }
}

#[tokio::test]
async fn a_service_that_fails_without_a_response_leaves_a_closed_session() {
    let directory = Directory::new();
    for (_, layer) in layers(&directory) {
        let make = |give: oneshot::Sender<Session>| {
            let mut give = Some(give);
            layer.layer(tower::service_fn(move |request: Request<Body>| {
                let give = give.take().unwrap();
                async move {
                    let session = Session::from_parts(&request.into_parts().0).await.unwrap();
                    session.insert("before", true);
                    drop(give.send(session));
                    Err::<Response<Body>, _>("no response")
                }
            }))
        };
        given_away(&layer, make, async |mut service, cookie| {
            let request = Request::get("/").header(header::COOKIE, cookie).body(Body::empty()).unwrap();
            assert_eq!(service.call(request).await.unwrap_err(), "no response");
        })
        .await;
    }
}

#[tokio::test]
async fn a_panic_caught_outside_or_inside_leaves_a_closed_session() {
    let directory = Directory::new();
    for (_, layer) in layers(&directory) {
        let panics = |give: oneshot::Sender<Session>| {
            let give = Arc::new(Mutex::new(Some(give)));
            let handler = async move |session: Session| -> &'static str {
                session.insert("before", true);
                drop(give.lock().unwrap().take().unwrap().send(session));
                panic!("as the test says");
            };
            Router::new().route("/", get(handler))
        };
        let inside = |give| panics(give).layer(CatchPanicLayer::new()).layer(layer.clone());
        let outside = |give| panics(give).layer(layer.clone()).layer(CatchPanicLayer::new());
        let is_500 = async |app, cookie| {
            assert_eq!(send(&app, "/", &cookie).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
        };
        // Caught inside, the panic is a response like any other, which commits where nobody dropped the session in it.
        let (give, given) = oneshot::channel();
        is_500(inside(give), HeaderValue::from_static("a=b")).await;
        assert_closed(&given.await.unwrap()).await;
        given_away(&layer, outside, is_500).await;
    }
}

#[tokio::test]
async fn after_an_upgrade_the_session_is_closed() {
    let directory = Directory::new();
    for (name, layer) in layers(&directory) {
        let (tell, mut told) = mpsc::unbounded_channel();
        let upgrade = async move |session: Session, mut request: Request<Body>| {
            let on = hyper::upgrade::on(&mut request);
            let kept = request.into_parts().0;
            tokio::spawn(async move {
                drop(on.await.unwrap());
                session.insert("late", true);
                drop(tell.send((session.commit().await.map(|()| None), late(&kept).await)));
            });
            (StatusCode::SWITCHING_PROTOCOLS, [(header::CONNECTION, "upgrade"), (header::UPGRADE, "test")])
        };
        let app = Router::new().route("/", get(upgrade)).layer(layer.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let serving = tokio::spawn(async move { axum::serve(listener, app).await });
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: test\r\n\r\n").await.unwrap();
        let mut answer = [0; 1024];
        let length = stream.read(&mut answer).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 101"), "{name}");
        let (kept, opened): (Found, Found) = told.recv().await.unwrap();
        assert!(kept.is_err_and(|error| error.is_closed()) && opened.is_err_and(|error| error.is_closed()), "{name}");
        serving.abort();
    }
}

#[tokio::test]
async fn a_load_that_is_in_flight_when_the_head_leaves_opens_nothing() {
    let store = Faulty::default();
    let layer = layer().store(store.clone());
    let visitor = Visitor::with(&layer.manager().unwrap(), serde_json::json!({ "name": "Ada" })).await.unwrap();
    let (tell, mut found) = mpsc::unbounded_channel();
    let loads = Arc::clone(&store.loads);
    let handler = async move |parts: Parts| {
        tokio::spawn(async move { tell.send(late(&parts).await) });
        while loads.load(SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    let app = Router::new().route("/", get(handler)).layer(layer);
    store.slow.store(true, SeqCst);
    let response = send(&app, "/", &visitor.cookie()).await;
    assert!(!response.headers().contains_key(header::SET_COOKIE));
    assert!(found.recv().await.unwrap().is_err_and(|error| error.is_closed()));
    store.slow.store(false, SeqCst);
    assert_eq!(visitor.session().await.unwrap().keys(), ["name"]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_layer_that_is_dropped_keeps_neither_its_store_nor_its_secrets() {
    let store = Faulty::default();
    let counted = Arc::clone(&store.loads);
    let layer = layer().store(store);
    let (app, found) = site(&layer);
    send(&app, "/whoami", &HeaderValue::from_static("")).await;
    send(&app, "/log-in?Ada", &HeaderValue::from_static("")).await;
    drop((app, layer, found));
    assert_eq!(Arc::strong_count(&counted), 1);
}

#[tokio::test]
async fn layers_for_two_paths_keep_their_sessions_apart() {
    let named = |layer: SessionLayer| layer.manager().unwrap().cookie_name().to_owned();
    assert_eq!(named(layer().dangerously_allow_http()), "session");
    assert_eq!(named(layer().dangerously_allow_http().path("/admin")), "session-admin");
    assert_eq!(named(layer().path("/shop/a.b")), "session-shop-a%2Eb");
    assert_eq!(named(layer().path("/admin").cookie_name("admin")), "admin");
    assert_eq!(named(layer().dialect(Flask::new).path("/admin")), "session", "Flask's name is Flask's");

    let outer = layer().dangerously_allow_http();
    let admin = layer().dangerously_allow_http().path("/admin");
    let app = Router::new().route("/log-in", get(log_in));
    let app = app.merge(Router::new().route("/admin/log-in", get(log_in)).layer(admin)).layer(outer);
    let set = |response: Response<Body>| response.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    let site = set(send(&app, "/log-in?visitor", &HeaderValue::from_static("")).await);
    let office = set(send(&app, "/admin/log-in?boss", &HeaderValue::from_static("")).await);
    assert!(site.starts_with("session=") && office.starts_with("session-admin="), "{site} {office}");
}

#[tokio::test]
async fn nested_layers_of_one_name_that_disagree_answer_500() {
    let plain = || layer().cookie_name("s");
    let other_secret = || SessionLayer::new("another secret for tests, 1234").unwrap().cookie_name("s");
    let disagreeing = [
        plain().path("/admin"),
        plain().store(MemoryStore::new()),
        plain().dialect(Flask::new),
        plain().lifetime(dewar::Lifetime::persistent()),
        other_secret(),
    ];
    for inner in disagreeing {
        let app = Router::new().route("/log-in", get(log_in)).layer(inner).layer(plain());
        let response = send(&app, "/log-in?boss", &HeaderValue::from_static("")).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!response.headers().contains_key(header::SET_COOKIE));
    }
    let stored = plain().store(MemoryStore::new());
    for (inner, outer) in [(plain(), plain()), (stored.clone(), stored)] {
        let app = Router::new().route("/log-in", get(log_in)).layer(inner).layer(outer);
        assert_eq!(send(&app, "/log-in?visitor", &HeaderValue::from_static("")).await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn whoever_logged_in_elsewhere_is_somebody_and_their_entries_are_not_the_next_users() {
    let manager = layer().dialect(Flask::new).manager().unwrap();
    let uuid = dewar::Value::from(dewar::value::Uuid::from_bytes([7; 16]));
    let [integer, text, uuid, null, list] = [
        (dewar::Value::from(7), Some("7")),
        ("ada".into(), Some("ada")),
        (uuid, Some("07070707-0707-0707-0707-070707070707")),
        (dewar::Value::Null, None),
        (vec![dewar::Value::from(1)].into(), Some("[1]")),
    ];
    for (id, expected) in [integer, text, uuid, null, list] {
        let visitor = Visitor::prepared(&manager, |session| {
            session.insert("_user_id", id.clone());
            session.insert("cart", 3);
        });
        let visitor = visitor.await.unwrap();
        let session = visitor.session().await.unwrap();
        assert_eq!(session.principal().as_deref(), expected);
        session.set_principal("eve");
        assert_eq!(session.contains("cart"), expected.is_none(), "{id:?}");
        assert_eq!(session.principal().as_deref(), Some("eve"));

        let again = visitor.session().await.unwrap();
        let same = expected.unwrap_or("eve");
        again.set_principal(same);
        // What cannot be read as text is not the user whose name looks the same.
        assert_eq!(again.contains("cart"), expected != Some("[1]"), "{id:?}");
        if expected == Some("7") {
            assert_eq!(again.get::<dewar::Value>("_user_id"), Some(id), "the entry keeps its type");
        }
    }
}
