//! The pages: ask, remember, start over. Every form is answered by a redirect, so that a reload sends nothing twice.

mod own;

use axum::{
    Form, Router,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use dewar::{Error, Session, SessionLayer, SessionManager, Templates};
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
        .route("/", get(home))
        .route("/page1", get(page1))
        .route("/page2", get(page2).post(keep_names))
        .route("/page3", get(page3).post(keep_color))
        .route("/startOver", get(ask_to_start_over).post(start_over))
        .route("/healthz", get(healthz))
        .fallback(not_found)
        // Not even the browser keeps a page: after starting over, Back shows nothing of what was forgotten.
        .layer(always(header::CACHE_CONTROL, "no-store"))
        .layer(sessions.templates(environment))
        // Browsers ask for it where a page names no icon.
        .route("/favicon.ico", get(|| async { Redirect::permanent("/static/favicon.svg") }))
        .nest_service("/static", ServeDir::new(&folders.assets).fallback(own::assets()))
        .layer(CatchPanicLayer::new())
        .layer(middleware::from_fn(move |request, next| apologize(broken.clone(), request, next)))
        .layer(always(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(always(header::REFERRER_POLICY, "same-origin"))
        .layer(always(
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ))
}

async fn home(templates: Templates) -> Page {
    templates.render("home.html", ())
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
    forget_unshown(&session);
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
    forget_unshown(&session);
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

/// The link of the lesson: whoever follows it on this site starts over at once. Everybody else is asked.
async fn ask_to_start_over(headers: HeaderMap, templates: Templates) -> Result<Response, Error> {
    if templates.session().is_empty() {
        return Ok(Redirect::to("/").into_response());
    }
    if is_followed_here(&headers) {
        return Ok(start_over(templates.session().clone()).await.into_response());
    }
    Ok(templates.render::<Html<String>>("startOver.html", ())?.into_response())
}

/// Whether somebody follows a link of this very site. A link or an image elsewhere, a page that a browser fetches
/// before anybody wants it, and an address that was typed are all something else. No page can set these headers (W3C,
/// Fetch Metadata); a browser that sends none, as over plain HTTP, is asked. Safari has no `Sec-Fetch-User`.
fn is_followed_here(headers: &HeaderMap) -> bool {
    let says = |name: &str, expected: &str| headers.get(name).is_some_and(|value| value == expected);
    says("sec-fetch-site", "same-origin") && says("sec-fetch-dest", "document") && !headers.contains_key("sec-purpose")
}

async fn start_over(session: Session) -> Redirect {
    session.clear();
    Redirect::to("/")
}

/// Whether this process can serve, for the platform: a 503 while the store is out of reach.
async fn healthz(sessions: SessionManager) -> Result<&'static str, Error> {
    sessions.ping().await?;
    Ok("ok")
}

async fn not_found(templates: Templates) -> Result<(StatusCode, Html<String>), Error> {
    Ok((StatusCode::NOT_FOUND, templates.render("404.html", ())?))
}

/// Messages that no page has shown give way to those of this form: with templates that show none they would fill the session.
fn forget_unshown(session: &Session) {
    session.take_flashes();
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
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || is_page(&response) && (status.is_client_error() || cfg!(debug_assertions)) {
        // The only page with a 500 is the library's, which shows a developer where a template failed.
        return response;
    }
    let page = environment
        .get_template("error.html")
        .and_then(|template| template.render(context! { status => status.as_u16() }));
    match page {
        Ok(page) => {
            let (mut parts, _) = response.into_parts();
            parts.headers.remove(header::CONTENT_TYPE);
            parts.headers.remove(header::CONTENT_LENGTH);
            parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            (parts, Html(page)).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "error.html");
            response
        }
    }
}

fn is_page(response: &Response) -> bool {
    response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"))
}

/// Templates as a Flask application has them: with `url_for`. What the folder has not is this example's own.
fn environment(folders: &Folders) -> Environment<'static> {
    let mut environment = Environment::new();
    let load = minijinja::path_loader(&folders.templates);
    environment.set_loader(move |name| Ok(load(name)?.or_else(|| own::template(name))));
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
