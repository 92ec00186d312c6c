//! An application that remembers a name, in salvo.

use dewar::{Session, SessionLayer};
use salvo::prelude::*;

/// What went wrong, and what the visitor is told of it.
pub type Failure = (StatusCode, &'static str);

#[handler]
async fn greet(request: &mut Request) -> Result<String, Failure> {
    Ok(match session(request).await?.get::<String>("firstName") {
        Some(name) => format!("Hello, {name}"),
        None => "Who are you?".to_string(),
    })
}

#[handler]
async fn answer(request: &mut Request) -> Result<Redirect, Failure> {
    let first: String = request.query("first").ok_or((StatusCode::BAD_REQUEST, "There is no name."))?;
    session(request).await?.insert("firstName", first);
    Ok(Redirect::other("/"))
}

#[handler]
async fn start_over(request: &mut Request) -> Result<Redirect, Failure> {
    session(request).await?.clear();
    Ok(Redirect::other("/"))
}

#[handler]
async fn count(request: &mut Request) -> Result<String, Failure> {
    let visits = session(request).await?.update("visits", |visits: &mut u32| *visits += 1).map_err(failed)?;
    Ok(format!("Visit number {visits}"))
}

pub fn pages() -> Router {
    Router::new()
        .get(greet)
        .push(Router::with_path("name").get(answer))
        .push(Router::with_path("start-over").get(start_over))
        .push(Router::with_path("count").get(count))
}

#[tokio::main]
pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = pages().hoop(SessionLayer::from_env()?.compat());
    Server::new(TcpListener::new("127.0.0.1:5000").bind().await).serve(app).await;
    Ok(())
}

/// The session of a request.
pub async fn session(request: &Request) -> Result<Session, Failure> {
    Session::from_extensions(request.extensions()).await.map_err(failed)
}

/// The reason goes to the log, and only the status and a sentence to the visitor.
fn failed(error: dewar::Error) -> Failure {
    tracing::error!("{error}");
    (error.status(), "Something went wrong on our side.")
}
