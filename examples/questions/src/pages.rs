//! The pages: ask, remember, start over. Every form is answered by a redirect, so that a reload sends nothing twice.

use axum::{
    Form, Router,
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use dewar::{Error, Session, SessionLayer, Templates};
use minijinja::{Environment, ErrorKind, Value, context, value::Kwargs};
use serde::Deserialize;
use tower_http::{catch_panic::CatchPanicLayer, services::ServeDir, set_header::SetResponseHeaderLayer};

use crate::settings::Folders;

/// The longest answer, in characters: the session is a cookie, and a cookie is small.
const LONGEST: usize = 100;

type Page = Result<Html<String>, Error>;

pub(crate) fn app(sessions: SessionLayer, folders: &Folders) -> Router {
    let environment = environment(folders);
    let broken = environment.clone();
    Router::new()
        .route("/", get(main))
        .route("/page1", get(page1))
        .route("/page2", get(page2).post(keep_names))
        .route("/page3", get(page3).post(keep_color))
        .route("/startOver", get(start_over).post(start_over))
        .fallback(not_found)
        // Not even the browser keeps a page: after starting over, Back shows nothing of what was forgotten.
        .layer(always(header::CACHE_CONTROL, "no-store"))
        .layer(sessions.templates(environment))
        .nest_service("/static", ServeDir::new(&folders.assets))
        .layer(CatchPanicLayer::new())
        .layer(middleware::from_fn(move |request, next| apologize(broken.clone(), request, next)))
        .layer(always(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(always(header::REFERRER_POLICY, "same-origin"))
        .layer(always(
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ))
}

async fn main(templates: Templates) -> Page {
    templates.render("main.html", ())
}

async fn page1(templates: Templates) -> Page {
    templates.render("page1.html", ())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Names {
    #[serde(default)]
    first_name: String,
    #[serde(default)]
    last_name: String,
}

async fn keep_names(session: Session, Form(names): Form<Names>) -> Redirect {
    let first = keep(&session, "firstName", "first name", &names.first_name);
    let last = keep(&session, "lastName", "last name", &names.last_name);
    Redirect::to(if first && last { "/page2" } else { "/page1" })
}

async fn page2(templates: Templates) -> Page {
    templates.render("page2.html", ())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Color {
    #[serde(default)]
    favorite_color: String,
}

async fn keep_color(session: Session, Form(color): Form<Color>) -> Redirect {
    if !keep(&session, "favoriteColor", "favourite colour", &color.favorite_color) {
        return Redirect::to("/page2");
    }
    match session.get::<String>("firstName").filter(|_| session.contains("lastName")) {
        Some(name) => session.flash_as(format!("Thank you, {name}: all three answers are remembered."), "success"),
        None => session.flash_as("Thank you: your favourite colour is remembered.", "success"),
    }
    Redirect::to("/page3")
}

async fn page3(templates: Templates) -> Page {
    templates.render("page3.html", ())
}

async fn start_over(session: Session) -> Redirect {
    session.clear();
    Redirect::to("/")
}

async fn not_found(templates: Templates) -> Result<(StatusCode, Html<String>), Error> {
    Ok((StatusCode::NOT_FOUND, templates.render("404.html", ())?))
}

/// Keeps one answer in the session; where it will not do, says why on the next page and keeps nothing.
fn keep(session: &Session, field: &str, spoken: &str, answer: &str) -> bool {
    let answer = answer.trim();
    if answer.is_empty() {
        session.flash_as(format!("Please fill in your {spoken}."), "error");
        return false;
    }
    if answer.chars().count() > LONGEST {
        session.flash_as(format!("Please use at most {LONGEST} characters for your {spoken}."), "error");
        return false;
    }
    session.insert(field, answer);
    true
}

/// Puts a friendly page in the place of an error's bare text. Its template asks for no session, which may be what failed.
async fn apologize(environment: Environment<'static>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    if !status.is_server_error() {
        return response;
    }
    match environment
        .get_template("500.html")
        .and_then(|template| template.render(context! { status => status.as_u16() }))
    {
        Ok(page) => {
            let mut friendly = (status, Html(page)).into_response();
            for name in [header::RETRY_AFTER, header::CACHE_CONTROL] {
                if let Some(value) = response.headers().get(&name) {
                    friendly.headers_mut().insert(name, value.clone());
                }
            }
            friendly
        }
        Err(_) => response,
    }
}

/// Templates as a Flask application has them: with `url_for`.
fn environment(folders: &Folders) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_loader(minijinja::path_loader(&folders.templates));
    environment.add_function("url_for", url_for);
    environment
}

fn url_for(endpoint: &str, named: Kwargs) -> Result<Value, minijinja::Error> {
    let url = match endpoint {
        "static" => format!("/static/{}", named.get::<&str>("filename")?),
        "renderMain" => "/".into(),
        "renderPage1" => "/page1".into(),
        "renderPage2" => "/page2".into(),
        "renderPage3" => "/page3".into(),
        "startOver" => "/startOver".into(),
        _ => {
            let message = format!("url_for: there is no endpoint {endpoint:?}");
            return Err(minijinja::Error::new(ErrorKind::InvalidOperation, message));
        }
    };
    named.assert_all_used()?;
    Ok(Value::from_safe_string(url))
}

fn always(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}
