//! An application that remembers a name, in axum.

use axum::{Router, extract::Query, response::Redirect, routing::get};
use dewar::{Error, Session, SessionLayer};

#[derive(serde::Deserialize)]
struct Name {
    first: String,
}

async fn greet(session: Session) -> String {
    match session.get::<String>("firstName") {
        Some(name) => format!("Hello, {name}"),
        None => "Who are you?".to_string(),
    }
}

async fn answer(session: Session, Query(name): Query<Name>) -> Redirect {
    session.insert("firstName", name.first);
    Redirect::to("/")
}

async fn start_over(session: Session) -> Redirect {
    session.clear();
    Redirect::to("/")
}

async fn count(session: Session) -> Result<String, Error> {
    let visits = session.update("visits", |visits: &mut u32| *visits += 1)?;
    Ok(format!("Visit number {visits}"))
}

pub fn pages() -> Router {
    Router::new()
        .route("/", get(greet))
        .route("/name", get(answer))
        .route("/start-over", get(start_over))
        .route("/count", get(count))
}

#[tokio::main]
pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = pages().layer(SessionLayer::from_env()?);
    axum::serve(tokio::net::TcpListener::bind("127.0.0.1:5000").await?, app).await?;
    Ok(())
}
