//! The pages: everything that a session can go through, one button each.
//!
//! A log-in asks for no password here; `examples/login` is a site with accounts.

use axum::{
    Form, Router,
    response::{Html, Redirect},
    routing::{get, post},
};
use dewar::{Error, Session, SessionLayer, SessionManager, Templates};
use minijinja::{Environment, context};
use serde::Deserialize;

type Done = Result<Redirect, Error>;

pub(crate) fn app(sessions: SessionLayer) -> Router {
    let mut environment = Environment::new();
    environment.set_loader(|name| Ok((name == "page.html").then(|| include_str!("page.html").to_owned())));
    Router::new()
        .route("/", get(page))
        .route("/visit", post(visit))
        .route("/note", post(note))
        .route("/login", post(log_in))
        .route("/renew", post(renew))
        .route("/logout", post(log_out))
        .route("/logout-everywhere", post(log_out_everywhere))
        .layer(sessions.templates(environment))
}

async fn page(templates: Templates) -> Result<Html<String>, Error> {
    templates.render("page.html", context! { name => templates.session().principal() })
}

async fn visit(session: Session) -> Done {
    session.update("visits", |visits: &mut u64| *visits += 1)?;
    Ok(Redirect::to("/"))
}

#[derive(Deserialize)]
struct Note {
    note: String,
}

/// In a cookie there is room for about 2900 bytes. What does not fit is a 500, and a failed commit. An empty note is none.
async fn note(session: Session, Form(form): Form<Note>) -> Redirect {
    if form.note.is_empty() {
        session.remove("note");
    } else {
        session.insert("note", form.note);
    }
    Redirect::to("/")
}

#[derive(Deserialize)]
struct LogIn {
    name: String,
}

async fn log_in(session: Session, Form(form): Form<LogIn>) -> Redirect {
    session.set_principal(form.name);
    Redirect::to("/")
}

async fn renew(session: Session) -> Redirect {
    session.renew();
    Redirect::to("/")
}

async fn log_out(session: Session) -> Redirect {
    session.clear();
    Redirect::to("/")
}

/// Only on a store: a cookie cannot be taken back.
async fn log_out_everywhere(session: Session, sessions: SessionManager) -> Done {
    if let Some(name) = session.principal() {
        sessions.revoke_all(&name).await?;
    }
    session.clear();
    Ok(Redirect::to("/"))
}
