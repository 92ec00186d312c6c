//! What the log says: one error for one trouble, and spans that follow what they are about. A program of its own, because who listens to the log is
//! a matter of the whole process.

mod support;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use dewar::{Error, Secret, Session, SessionLayer, SessionManager, testing::Visitor, web::actix::SessionMiddleware};
use http::{HeaderMap, Request, StatusCode};
use support::faulty::{Fault, Faulty, Verb};
use tower::ServiceExt;
use tracing::{
    Event, Instrument, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

/// What was logged on this thread, up to a level.
#[derive(Clone)]
struct Log(Arc<Mutex<Written>>, Level);

#[derive(Default)]
struct Written {
    errors: Vec<String>,
    /// Each span that was closed: its name, the names around it, its fields.
    spans: Vec<Span>,
}

#[derive(Clone, Debug, Default)]
struct Span {
    name: &'static str,
    within: Option<&'static str>,
    fields: BTreeMap<&'static str, String>,
}

struct Fields<'a>(&'a mut BTreeMap<&'static str, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl Log {
    fn until(level: Level) -> (Self, DefaultGuard) {
        let log = Self(Arc::default(), level);
        let guard = tracing::subscriber::set_default(Registry::default().with(log.clone()));
        (log, guard)
    }

    fn errors(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().errors)
    }

    fn spans(&self) -> Vec<Span> {
        std::mem::take(&mut self.0.lock().unwrap().spans)
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= self.1
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == Level::ERROR {
            let mut fields = BTreeMap::new();
            event.record(&mut Fields(&mut fields));
            self.0.lock().unwrap().errors.push(fields.remove("message").unwrap());
        }
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        let mut new = Span { name: span.name(), within: span.parent().map(|parent| parent.name()), ..Span::default() };
        attributes.record(&mut Fields(&mut new.fields));
        span.extensions_mut().insert(new);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        values.record(&mut Fields(&mut span.extensions_mut().get_mut::<Span>().unwrap().fields));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let span = context.span(&id).unwrap().extensions_mut().remove().unwrap();
        self.0.lock().unwrap().spans.push(span);
    }
}

fn layer(store: &Faulty) -> SessionLayer {
    SessionLayer::new(Secret::generate()).unwrap().store(store.clone())
}

async fn ask(app: Router) -> StatusCode {
    app.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap().status()
}

#[tokio::test]
async fn a_commit_that_fails_behind_a_question_mark_is_one_error() {
    let (log, _guard) = Log::until(Level::INFO);
    let store = Faulty::default();
    store.always(None, Fault::NotDone);
    let handler = async |session: Session| {
        session.insert("n", 1);
        session.commit().await
    };
    assert_eq!(ask(Router::new().route("/", get(handler)).layer(layer(&store))).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(log.errors(), ["a request failed"]);
}

#[tokio::test]
async fn a_commit_of_the_response_that_fails_is_one_error_in_axum_and_in_actix() {
    let (log, _guard) = Log::until(Level::INFO);
    let store = Faulty::default();
    store.always(None, Fault::NotDone);
    let app = Router::new().route("/", get(async |session: Session| session.insert("n", 1))).layer(layer(&store));
    assert_eq!(ask(app).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(log.errors(), ["the session could not be saved"]);

    let middleware = SessionMiddleware::new(Secret::generate()).unwrap().store(store.clone());
    tokio::task::LocalSet::new()
        .run_until(async {
            use actix_web::{App, HttpResponse, test, web};
            let handler = async |session: Session| {
                session.insert("n", 1);
                HttpResponse::Ok().finish()
            };
            let app = test::init_service(App::new().wrap(middleware).route("/", web::get().to(handler))).await;
            let response = test::call_service(&app, test::TestRequest::get().to_request()).await;
            assert_eq!(response.status().as_u16(), 503);
        })
        .await;
    assert_eq!(log.errors(), ["the session could not be saved"]);
}

#[tokio::test]
async fn a_session_that_cannot_be_opened_is_one_error() {
    let (log, _guard) = Log::until(Level::INFO);
    let store = Faulty::default();
    let layer = layer(&store);
    let ada = Visitor::prepared(&layer.manager().unwrap(), |session| session.insert("n", 1)).await.unwrap();
    store.always(None, Fault::NotDone);
    let app = Router::new()
        .route("/session", get(async |_: Session| ()))
        .route("/option", get(async |_: Option<Session>| ()))
        .layer(layer);
    for (path, line) in [("/session", "a request failed"), ("/option", "no session: the store failed")] {
        let request = Request::get(path).header("cookie", ada.cookie()).body(Body::empty()).unwrap();
        app.clone().oneshot(request).await.unwrap();
        assert_eq!(log.errors(), [line]);
    }
}

#[tokio::test]
async fn another_trouble_of_the_same_request_is_another_error() {
    let (log, _guard) = Log::until(Level::INFO);
    let store = Faulty::default();
    let heals = store.clone();
    let handler = async move |session: Session| {
        heals.always(None, Fault::NotDone);
        session.insert("n", 1);
        let failed = session.commit().await;
        heals.heal();
        // More than a record may hold.
        session.insert("text", "x".repeat(2 << 20));
        failed
    };
    let layer = SessionLayer::new(Secret::generate()).unwrap().store(store.clone());
    ask(Router::new().route("/", get(handler)).layer(layer)).await;
    assert_eq!(log.errors().len(), 2, "the store's, and the session's that is too large");
}

#[tokio::test]
async fn the_same_trouble_in_the_next_request_is_an_error_again() {
    let (log, _guard) = Log::until(Level::INFO);
    let store = Faulty::default();
    store.always(None, Fault::NotDone);
    let app = Router::new().route("/", get(async |session: Session| session.insert("n", 1))).layer(layer(&store));
    ask(app.clone()).await;
    ask(app).await;
    assert_eq!(log.errors().len(), 2);
}

#[tokio::test]
async fn a_span_says_what_was_opened_and_committed_wherever_that_ended() {
    let (log, _guard) = Log::until(Level::DEBUG);
    let store = Faulty::default();
    let manager = SessionManager::builder(Secret::generate()).unwrap().store(store.clone()).build().unwrap();
    let ada = Visitor::prepared(&manager, |session| session.insert("n", 1)).await.unwrap();
    log.spans();
    // Neither is answered at once, so that the commit goes on in a task.
    store.fail(Verb::Load, 1, Fault::Slow(Duration::from_millis(5)));
    store.fail(Verb::Replace, 1, Fault::Slow(Duration::from_millis(5)));
    async {
        let session = ada.session().await.unwrap();
        session.insert("n", 2);
        manager.commit(&session).await.apply(&mut HeaderMap::new()).unwrap();
    }
    .instrument(tracing::info_span!("request"))
    .await;
    manager.drain().await.unwrap();
    let spans = log.spans();
    for (name, outcome) in [("dewar::open", "found"), ("dewar::commit", "written")] {
        let span = spans.iter().find(|span| span.name == name).unwrap();
        assert_eq!(span.within, Some("request"));
        let fields = BTreeMap::from([("dialect", "Opaque"), ("outcome", outcome), ("store_calls", "1")]);
        let said: BTreeMap<&str, &str> = span.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(said, fields, "{name}");
    }
}

#[tokio::test]
async fn a_log_without_debug_has_no_spans() {
    let (log, _guard) = Log::until(Level::INFO);
    let manager = SessionManager::new(Secret::generate()).unwrap();
    Visitor::prepared(&manager, |session| session.insert("n", 1)).await.unwrap();
    assert!(log.spans().is_empty());
}

#[test]
fn an_error_outside_of_a_session_is_logged_whenever_it_is_answered() {
    let (log, _guard) = Log::until(Level::INFO);
    for _ in 0..2 {
        drop(axum::response::IntoResponse::into_response(Error::setting("as an example")));
    }
    assert_eq!(log.errors().len(), 2);
}
