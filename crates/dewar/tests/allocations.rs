//! What a session costs in allocations, beyond a tower layer that does nothing on the same route. Counts do not flicker.
#![allow(clippy::print_stdout)]

use std::{
    alloc::System,
    task::{Context, Poll},
};

use axum::{Router, body::Body, http::Request, routing::get};
use dewar::{Key, Secret, Session, SessionLayer, store::memory::MemoryStore, testing::Visitor};
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const NAME: Key<String> = Key::new("firstName");

/// A layer that wraps the future and does nothing, as the least that any layer does.
#[derive(Clone)]
struct Nothing;

#[derive(Clone)]
struct NothingService<S>(S);

impl<S> Layer<S> for Nothing {
    type Service = NothingService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        NothingService(inner)
    }
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for NothingService<S>
where
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.call(request)
    }
}

/// About 300 bytes, as a person who is logged in and shops.
fn session() -> serde_json::Value {
    json!({
        "firstName": "Ada", "lastName": "Lovelace", "favoriteColor": "moss green", "visits": 41,
        "cart": [{ "article": 4711, "amount": 2, "note": "gift wrapping" }, { "article": 815, "amount": 1, "note": "" }],
        "next": "/account/orders?page=2", "csrf": "4f1c2d5e6f708192a3b4c5d6e7f80912", "locale": "en-GB", "seen": true,
    })
}

fn routes() -> Router {
    Router::new()
        .route("/untouched", get(async || "untouched"))
        .route("/get", get(async |session: Session| drop(session.get(NAME))))
        .route("/update", get(async |session: Session| drop(session.update("visits", |visits: &mut u32| *visits += 1))))
}

/// Counts one request, once everything is warm.
async fn count(
    app: &mut (impl Service<Request<Body>, Response = axum::response::Response> + Clone),
    path: &str,
    cookie: &axum::http::HeaderValue,
) -> usize {
    let mut counted = 0;
    for _ in 0..20 {
        let request = Request::get(path).header("cookie", cookie).body(Body::empty()).unwrap();
        let region = Region::new(ALLOCATOR);
        let response = app.call(request).await.ok();
        let change = region.change();
        counted = change.allocations + change.reallocations;
        drop(response);
    }
    counted
}

async fn beyond_nothing(layer: &SessionLayer, path: &str) -> usize {
    let visitor = Visitor::with(&layer.manager().unwrap(), session()).await.unwrap();
    let cookie = visitor.cookie();
    let mut with = routes().layer(layer.clone()).with_state::<()>(()).into_service::<Body>();
    let with = count(&mut with, path, &cookie).await;
    let same = Router::new()
        .route("/untouched", get(async || "untouched"))
        .route("/get", get(async || ()))
        .route("/update", get(async || ()));
    let mut bare = same.layer(Nothing).with_state::<()>(()).into_service::<Body>();
    let bare = count(&mut bare, path, &cookie).await;
    println!("{path}: {bare} with nothing, {with} with a session");
    with - bare
}

/// The counter is the process's, so all are one test, on one thread.
#[tokio::test(flavor = "current_thread")]
async fn a_session_costs_few_allocations() {
    let sealed = SessionLayer::new(Secret::generate()).unwrap();
    let memory = SessionLayer::new(Secret::generate()).unwrap().store(MemoryStore::new());
    // One of each is axum's: it boxes every body that is not its own.
    for (layer, what, most) in [(sealed, "sealed", [4, 9, 15]), (memory, "memory", [4, 8, 16])] {
        for (path, most) in ["/untouched", "/get", "/update"].into_iter().zip(most) {
            let counted = beyond_nothing(&layer, path).await;
            assert!(counted <= most, "{what}, {path}: {counted}, at most {most}");
        }
    }
}
