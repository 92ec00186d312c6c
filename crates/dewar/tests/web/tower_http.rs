//! The session layer composes with tower-http's, outside of them and inside, on axum's bodies and on any other.

use std::{convert::Infallible, time::Duration};

use crate::support::http::secret;
use axum::body::Body;
use bytes::Bytes;
use dewar::{Session, SessionLayer, store::memory::MemoryStore};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::CompressionLayer,
    cors::CorsLayer,
    limit::RequestBodyLimitLayer,
    map_response_body::MapResponseBodyLayer,
    set_header::SetResponseHeaderLayer,
    timeout::{ResponseBodyTimeoutLayer, TimeoutLayer},
    trace::TraceLayer,
};

fn layer() -> SessionLayer {
    SessionLayer::new(secret()).unwrap().store(MemoryStore::new())
}

async fn counts<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, _) = request.into_parts();
    let session = Session::from_parts(&parts).await.unwrap();
    let visits: u32 = session.update("visits", |visits: &mut u32| *visits += 1).unwrap();
    Ok(Response::new(Full::from(visits.to_string())))
}

/// Two visits of one person: the second one is counted, and its body is whole.
async fn counts_to_two<S, R>(mut service: S)
where
    S: Service<Request<Body>, Response = Response<R>>,
    S::Error: std::fmt::Debug,
    R: http_body::Body,
    R::Error: std::fmt::Debug,
{
    let ask = |cookie: Option<String>| {
        let request = Request::get("/").header(header::ORIGIN, "https://other.example");
        let request = cookie.into_iter().fold(request, |request, cookie| request.header(header::COOKIE, cookie));
        request.body(Body::empty()).unwrap()
    };
    let first = service.ready().await.unwrap().call(ask(None)).await.unwrap();
    let cookie = first.headers()[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let second = service.ready().await.unwrap().call(ask(Some(cookie))).await.unwrap();
    assert_eq!(second.status(), StatusCode::OK);
    assert_eq!(second.into_body().collect().await.unwrap().to_bytes(), "2");
}

macro_rules! composes {
    ($($name:ident: $layer:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            counts_to_two(ServiceBuilder::new().layer(layer()).layer($layer).service_fn(counts)).await;
            counts_to_two(ServiceBuilder::new().layer($layer).layer(layer()).service_fn(counts)).await;
        }
    )*};
}

composes! {
    with_trace: TraceLayer::new_for_http();
    with_compression: CompressionLayer::new();
    with_a_time_out: TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, Duration::from_secs(5));
    with_a_time_out_of_the_body: ResponseBodyTimeoutLayer::new(Duration::from_secs(5));
    with_cors: CorsLayer::permissive();
    with_caught_panics: CatchPanicLayer::new();
    with_mapped_responses: MapResponseBodyLayer::new(Body::new);
    with_headers_of_the_response: SetResponseHeaderLayer::overriding(header::SERVER, http::HeaderValue::from_static("x"));
    with_a_limit_of_the_request: RequestBodyLimitLayer::new(4096);
}

#[tokio::test]
async fn with_all_of_them_around_and_inside() {
    // Compression's body has no default, which layers that answer by themselves ask for: it goes around those.
    let all = || {
        ServiceBuilder::new()
            .layer(TraceLayer::new_for_http())
            .layer(CompressionLayer::new())
            .layer(CorsLayer::permissive())
            .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, Duration::from_secs(5)))
            .layer(CatchPanicLayer::new())
    };
    counts_to_two(layer().layer(all().service_fn(counts))).await;
    counts_to_two(all().layer(layer()).service_fn(counts)).await;
    let session = layer();
    counts_to_two(session.clone().layer(all().layer(session).service_fn(counts))).await;
}

/// A body that nothing is known of but that it is one.
#[derive(Debug)]
struct Opaque(Empty<Bytes>);

impl http_body::Body for Opaque {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        std::pin::Pin::new(&mut self.0).poll_frame(context)
    }
}

#[tokio::test]
async fn a_body_without_a_default_is_answered_in_its_place_where_the_session_cannot_be_saved() {
    let service = service_fn(async |request: Request<Body>| {
        let session = Session::from_parts(&request.into_parts().0).await.unwrap();
        session.insert("large", "x".repeat(2 << 20));
        Ok::<_, Infallible>(Response::new(Opaque(Empty::new())))
    });
    let response = layer().layer(service).oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let kind = if cfg!(debug_assertions) { "text/html; charset=utf-8" } else { "text/plain; charset=utf-8" };
    assert_eq!(response.headers()[header::CONTENT_TYPE], kind);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("Something went wrong on our side."));
}
