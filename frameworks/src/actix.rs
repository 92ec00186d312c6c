//! An application that remembers a name, in actix-web.

use actix_web::{
    App, HttpServer, get,
    web::{Query, Redirect, ServiceConfig},
};
use dewar::{Error, Session, web::actix::SessionMiddleware};

#[derive(serde::Deserialize)]
struct Name {
    first: String,
}

#[get("/")]
async fn greet(session: Session) -> String {
    match session.get::<String>("firstName") {
        Some(name) => format!("Hello, {name}"),
        None => "Who are you?".to_string(),
    }
}

#[get("/name")]
async fn answer(session: Session, name: Query<Name>) -> Redirect {
    session.insert("firstName", &name.first);
    Redirect::to("/").see_other()
}

#[get("/start-over")]
async fn start_over(session: Session) -> Redirect {
    session.clear();
    Redirect::to("/").see_other()
}

#[get("/count")]
async fn count(session: Session) -> Result<String, Error> {
    let visits = session.update("visits", |visits: &mut u32| *visits += 1)?;
    Ok(format!("Visit number {visits}"))
}

pub fn pages(config: &mut ServiceConfig) {
    config.service((greet, answer, start_over, count));
}

#[actix_web::main]
pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sessions = SessionMiddleware::from_env()?;
    HttpServer::new(move || App::new().wrap(sessions.clone()).configure(pages)).bind("127.0.0.1:5000")?.run().await?;
    Ok(())
}
