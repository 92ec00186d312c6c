//! The pages: log in, see your devices, log out. Every form that did something is answered by a redirect.
//!
//! Not here, and needed before this faces the world: a limit on how often somebody may try to log in, by account and
//! by address (OWASP, Authentication Cheat Sheet, "Protect Against Automated Attacks"), and a way back for who has forgotten the password.

use std::{convert::Infallible, path::Path, time::Duration};

use axum::{
    Extension, Form, Router,
    extract::{DefaultBodyLimit, FromRef, FromRequestParts, Query, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::{
        Html, IntoResponse, Redirect, Response,
        sse::{self, Sse},
    },
    routing::{get, post},
};
use dewar::{Error, Lifetime, Session, SessionLayer, SessionManager, Templates, store::Timestamp};
use futures_util::{StreamExt, future, stream};
use minijinja::{Environment, Value, context};
use serde::Deserialize;
use tokio::sync::watch;
use tower_http::{
    catch_panic::CatchPanicLayer, csrf::CsrfLayer, services::ServeDir, set_header::SetResponseHeaderLayer,
};

use crate::{
    device,
    users::{LONGEST_NAME, PASSWORD, User, Users},
};

const DAY: Duration = Duration::from_secs(86_400);

/// "Keep me logged in": ten days after the last visit, and 90 in all.
const REMEMBERED: Lifetime = Lifetime::persistent().idle(DAY.saturating_mul(10)).absolute(DAY.saturating_mul(90));

/// The most bytes of a form.
const LARGEST_FORM: usize = 16 * 1024;

/// Where a log-in leads that says nothing else.
const HOME: &str = "/account";

/// `stopping` ends when the program is asked to stop.
pub(crate) fn app(sessions: SessionLayer, users: Users, folder: &Path, stopping: watch::Receiver<()>) -> Router {
    let mut environment = Environment::new();
    environment.set_loader(minijinja::path_loader(folder.join("templates")));
    let broken = environment.clone();
    // What is added to this router is for who is logged in, and for nobody else.
    let members = Router::new()
        .route("/account", get(account))
        .route("/devices", get(devices))
        .route("/devices/end", post(end_one))
        .route("/devices/end-others", post(end_others))
        .route_layer(middleware::from_fn_with_state(users.clone(), members_only));
    Router::new()
        .route("/", get(home))
        .route("/login", get(ask_to_log_in).post(log_in))
        .route("/register", get(ask_to_register).post(register))
        .route("/logout", post(log_out))
        .route("/goodbye", get(goodbye))
        .route("/events", get(move |session| events(session, stopping)))
        .route("/healthz", get(healthz))
        .merge(members)
        .with_state(users)
        .layer(DefaultBodyLimit::max(LARGEST_FORM))
        // Every page says who is logged in: none of them comes back out of a cache after the log-out.
        .layer(SetResponseHeaderLayer::overriding(header::CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .layer(sessions.templates(environment))
        // Browsers ask for it where a page names no icon.
        .route("/favicon.ico", get(|| async { Redirect::permanent("/static/favicon.svg") }))
        .nest_service("/static", ServeDir::new(folder.join("static")))
        // Behind a proxy: it must pass on `Host` and `Origin` as they came.
        .layer(CsrfLayer::new())
        .layer(CatchPanicLayer::new())
        .layer(middleware::from_fn(move |request, next| apologize(broken.clone(), request, next)))
        .layer(always(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(always(header::REFERRER_POLICY, "same-origin"))
        .layer(always(
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ))
}

/// Renders pages that know who is looking.
struct Page {
    templates: Templates,
    user: Option<User>,
}

impl Page {
    fn render(&self, name: &str, data: Value) -> Result<Html<String>, Error> {
        let user = self.user.as_ref().map(|user| &*user.name);
        self.templates.render(name, context! { user, ..data })
    }

    fn session(&self) -> &Session {
        self.templates.session()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Page
where
    Users: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let templates = Templates::from_request_parts(parts, state).await?;
        let user = logged_in(templates.session(), &Users::from_ref(state));
        Ok(Self { templates, user })
    }
}

/// Who is logged in. Nobody where the account has gone since.
fn logged_in(session: &Session, users: &Users) -> Option<User> {
    users.of(&session.principal()?)
}

/// Lets those pass who are logged in. Others log in first, and are brought back.
async fn members_only(State(users): State<Users>, session: Session, mut request: Request, next: Next) -> Response {
    let Some(user) = logged_in(&session, &users) else {
        let asked_for = request.uri().path_and_query().filter(|_| request.method() == Method::GET);
        let login = match asked_for {
            Some(page) => {
                format!("/login?next={}", form_urlencoded::byte_serialize(page.as_str().as_bytes()).collect::<String>())
            }
            None => "/login".to_owned(),
        };
        return Redirect::to(&login).into_response();
    };
    request.extensions_mut().insert(user);
    next.run(request).await
}

async fn home(page: Page) -> Result<Html<String>, Error> {
    page.render("home.html", context! {})
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    next: String,
}

async fn ask_to_log_in(page: Page, Query(asked): Query<Asked>) -> Result<Response, Error> {
    if page.user.is_some() {
        return Ok(Redirect::to(local(&asked.next)).into_response());
    }
    Ok(page.render("login.html", context! { next => asked.next })?.into_response())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LogIn {
    name: String,
    password: String,
    remember: Option<String>,
    next: String,
}

async fn log_in(
    page: Page,
    State(users): State<Users>,
    headers: HeaderMap,
    Form(form): Form<LogIn>,
) -> Result<Response, Error> {
    let remember = form.remember.is_some();
    let Some(user) = users.check(form.name.trim(), form.password).await else {
        // The same words for a wrong name and a wrong password: which of the two, is for nobody to learn.
        let error = "That name and that password do not belong together.";
        let again = page.render("login.html", context! { name => form.name, next => form.next, remember, error })?;
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, again).into_response());
    };
    begin(page.session(), &user, &headers, if remember { REMEMBERED } else { Lifetime::browser() });
    Ok(Redirect::to(local(&form.next)).into_response())
}

async fn ask_to_register(page: Page) -> Result<Response, Error> {
    if page.user.is_some() {
        return Ok(Redirect::to(HOME).into_response());
    }
    Ok(page.render("register.html", context! { shortest => PASSWORD.start() })?.into_response())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Register {
    name: String,
    password: String,
}

/// Says where a name is taken. It has to, where people choose names that others see. Where they register with an
/// e-mail address, say the same in both cases, and let a mail say the rest.
async fn register(
    page: Page,
    State(users): State<Users>,
    headers: HeaderMap,
    Form(form): Form<Register>,
) -> Result<Response, Error> {
    let name = form.name.trim();
    let refused = |field: &str, error: String| {
        let data = context! { name, field, error, shortest => PASSWORD.start() };
        let again = page.render("register.html", data)?;
        Ok((StatusCode::UNPROCESSABLE_ENTITY, again).into_response())
    };
    if !is_a_name(name) {
        let rule =
            format!("Please choose a name of at most {LONGEST_NAME} letters and digits, without accents or spaces.");
        return refused("name", rule);
    }
    let length = form.password.chars().count();
    if length < *PASSWORD.start() {
        return refused("password", format!("Please choose a password of at least {} characters.", PASSWORD.start()));
    }
    if length > *PASSWORD.end() {
        return refused("password", format!("Please choose a password of at most {} characters.", PASSWORD.end()));
    }
    match users.add(name, form.password).await {
        Ok(Some(user)) => {
            begin(page.session(), &user, &headers, Lifetime::browser());
            page.session().flash_as("Your account is made, and you are logged in.", "success");
            Ok(Redirect::to(HOME).into_response())
        }
        Ok(None) => refused("name", "This name is taken. Please choose another.".to_owned()),
        Err(error) => {
            tracing::error!(%error, "a password could not be hashed");
            Ok(StatusCode::INTERNAL_SERVER_ERROR.into_response())
        }
    }
}

/// From here on the session is this user's.
fn begin(session: &Session, user: &User, headers: &HeaderMap, lifetime: Lifetime) {
    session.set_principal(&user.id);
    // It does so by itself, but not for somebody who was logged in already: an id that was stolen ends here too.
    session.renew();
    let user_agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    session.set_label(&device::name(user_agent.unwrap_or_default()));
    session.set_lifetime(lifetime);
}

/// A POST, so that no link or image anywhere logs anybody out.
async fn log_out(session: Session) -> Redirect {
    session.clear();
    Redirect::to("/goodbye")
}

async fn goodbye(page: Page) -> Result<Response, Error> {
    if page.user.is_some() {
        return Ok(Redirect::to(HOME).into_response());
    }
    Ok(page.render("goodbye.html", context! {})?.into_response())
}

/// Server-sent events of a page that is open: one, when its session has ended, and the connection with it.
async fn events(session: Session, mut stopping: watch::Receiver<()>) -> Response {
    if session.principal().is_none() {
        // The browser does not ask again.
        return StatusCode::NO_CONTENT.into_response();
    }
    let ended = session.ended();
    let until = async move {
        tokio::select! {
            () = ended => Some(Ok::<_, Infallible>(sse::Event::default().event("ended").data("log in again"))),
            _ = stopping.changed() => None,
        }
    };
    let events = stream::once(until).filter_map(future::ready);
    Sse::new(events).keep_alive(sse::KeepAlive::default()).into_response()
}

/// Whether this process can serve, for the platform: a 503 while the store is out of reach.
async fn healthz(sessions: SessionManager) -> Result<&'static str, Error> {
    sessions.ping().await?;
    Ok("ok")
}

async fn account(page: Page, sessions: SessionManager) -> Result<Html<String>, Error> {
    let devices = sessions.devices(page.session()).await?;
    let this = devices.iter().find(|device| device.current);
    let began = this.map(|device| device::ago(now().since(device.created)));
    let label = this.and_then(|device| device.label.as_deref());
    page.render("account.html", context! { devices => devices.len(), began, label })
}

async fn devices(page: Page, sessions: SessionManager) -> Result<Html<String>, Error> {
    let devices = sessions.devices(page.session()).await?;
    let now = now();
    let devices: Vec<Value> = devices
        .into_iter()
        .map(|device| {
            context! {
                handle => device.handle,
                label => device.label,
                current => device.current,
                began => device::ago(now.since(device.created)),
                // To the day: a store notes a visit only now and then, so that reading costs no writing.
                days => now.since(device.last_seen).as_secs() / DAY.as_secs(),
            }
        })
        .collect();
    page.render("devices.html", context! { devices })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Which {
    handle: String,
}

async fn end_one(
    Extension(user): Extension<User>,
    session: Session,
    sessions: SessionManager,
    Form(which): Form<Which>,
) -> Result<Redirect, Error> {
    if sessions.revoke(&user.id, &which.handle).await? {
        session.flash_as("That device is logged out.", "success");
    } else {
        session.flash("That device had logged out already.");
    }
    Ok(Redirect::to("/devices"))
}

async fn end_others(session: Session, sessions: SessionManager) -> Result<Redirect, Error> {
    match sessions.revoke_others(&session).await? {
        0 => session.flash("There was no other device."),
        1 => session.flash_as("The other device is logged out.", "success"),
        count => session.flash_as(format!("The other {count} devices are logged out."), "success"),
    }
    Ok(Redirect::to("/devices"))
}

/// Puts a friendly page in the place of an error's bare text. Its template asks for no session, which may be what failed.
async fn apologize(environment: Environment<'static>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let is_page =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || is_page && (status.is_client_error() || cfg!(debug_assertions)) {
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

/// A page of this site. Everything else is the start: nobody's link leads through our log-in to somewhere else.
fn local(next: &str) -> &str {
    // Browsers read `//host`, `/\host` and, leaving out the tab, `/\t/host` as another site.
    let is_plain = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if next.starts_with('/') && !next.starts_with("//") && is_plain { next } else { HOME }
}

fn is_a_name(name: &str) -> bool {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    !name.is_empty() && name.len() <= LONGEST_NAME && is_plain
}

fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}

fn always(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_in_leads_to_no_other_site() {
        for page in ["/", "/devices", "/account?tab=2&x=%2F%2Fevil.example", "/a//b"] {
            assert_eq!(local(page), page);
        }
        for elsewhere in [
            "",
            "devices",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            " /devices",
            "https://evil.example/",
            "https:/evil.example",
            "javascript:alert(1)",
            "/dévices",
        ] {
            assert_eq!(local(elsewhere), HOME, "{elsewhere:?}");
        }
    }
}
