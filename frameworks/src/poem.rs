//! An application that remembers a name, in poem.

use std::{mem, sync::Arc};

use dewar::{Session, SessionLayer};
use poem::{
    Body, Endpoint, FromRequest, Request, RequestBody, RequestParts, Response, Result, Route, Server, endpoint,
    handler, http,
    listener::TcpListener,
    web::{Query, Redirect},
};
use tower::{Layer, ServiceExt, service_fn};

#[derive(serde::Deserialize)]
struct Name {
    first: String,
}

#[handler]
fn greet(Visit(session): Visit) -> String {
    match session.get::<String>("firstName") {
        Some(name) => format!("Hello, {name}"),
        None => "Who are you?".to_string(),
    }
}

#[handler]
fn answer(Visit(session): Visit, Query(name): Query<Name>) -> Redirect {
    session.insert("firstName", name.first);
    Redirect::see_other("/")
}

#[handler]
fn start_over(Visit(session): Visit) -> Redirect {
    session.clear();
    Redirect::see_other("/")
}

#[handler]
fn count(Visit(session): Visit) -> Result<String> {
    let visits = session.update("visits", |visits: &mut u32| *visits += 1).map_err(failed)?;
    Ok(format!("Visit number {visits}"))
}

pub fn pages() -> Route {
    Route::new().at("/", greet).at("/name", answer).at("/start-over", start_over).at("/count", count)
}

#[tokio::main]
pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = with_sessions(SessionLayer::from_env()?, pages());
    Server::new(TcpListener::bind("127.0.0.1:5000")).run(app).await?;
    Ok(())
}

/// The session, as an argument of a handler.
#[derive(Debug)]
pub struct Visit(pub Session);

impl<'a> FromRequest<'a> for Visit {
    async fn from_request(request: &'a Request, _body: &mut RequestBody) -> Result<Self> {
        Session::from_extensions(request.extensions()).await.map(Visit).map_err(failed)
    }
}

/// The reason goes to the log, and only the status to the visitor.
fn failed(error: dewar::Error) -> poem::Error {
    tracing::error!("{error}");
    poem::Error::from_status(error.status())
}

/// Puts the layer around an endpoint. The layer sees a request of the crate `http`, whose body is what else poem knows.
pub fn with_sessions(layer: SessionLayer, pages: impl Endpoint + 'static) -> impl Endpoint<Output = Response> {
    let pages = Arc::new(pages);
    let service = layer.layer(service_fn(move |request: http::Request<(RequestParts, Body)>| {
        let (head, (mut parts, body)) = request.into_parts();
        (parts.headers, parts.extensions) = (head.headers, head.extensions);
        let pages = Arc::clone(&pages);
        async move { Ok::<_, poem::Error>(pages.get_response(Request::from_parts(parts, body)).await.into()) }
    }));
    endpoint::make(move |request: Request| {
        let (mut parts, body) = request.into_parts();
        let (headers, extensions) = (mem::take(&mut parts.headers), mem::take(&mut parts.extensions));
        let mut request = http::Request::new((parts, body));
        (*request.headers_mut(), *request.extensions_mut()) = (headers, extensions);
        let answered = service.clone().oneshot(request);
        async move { answered.await.map(Response::from) }
    })
}
