//! The twin of the Flask application's test routes, on `dewar`; and `dewar` without a server.

use std::time::Duration;

use axum::{
    Router,
    body::Bytes,
    extract::RawQuery,
    routing::{get, post},
};
use dewar::{Clock, Error, Keyring, Lifetime, Login, Session, SessionLayer, SessionManager, Value, dialect::Timestamp};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::{net::TcpListener, runtime::Runtime};

use super::oracle::{NOW, Opened};
use crate::{http::agent, typed};

/// A server that runs until it is dropped.
pub(crate) struct Ours {
    _runtime: Runtime,
    pub(crate) url: String,
}

impl Ours {
    pub(crate) fn start(sessions: SessionLayer) -> Self {
        Self::start_within(|| sessions)
    }

    /// The same where the layer has a store that is opened within a runtime.
    pub(crate) fn start_within(sessions: impl FnOnce() -> SessionLayer) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let sessions = {
            let _within = runtime.enter();
            sessions()
        };
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        runtime.spawn(async move { axum::serve(listener, app(sessions)).await });
        Self { _runtime: runtime, url }
    }
}

/// Flask's dialect under a secret.
pub(crate) fn flask<K>(secrets: K) -> SessionLayer
where
    K: TryInto<Keyring>,
    Error: From<K::Error>,
{
    SessionLayer::new(secrets).expect("the secret is accepted").dialect(dewar::dialect::Flask::new)
}

/// Django's dialect under a secret.
pub(crate) fn django<K>(secrets: K) -> SessionLayer
where
    K: TryInto<Keyring>,
    Error: From<K::Error>,
{
    SessionLayer::new(secrets).expect("the secret is accepted").dialect(dewar::dialect::Django::new)
}

fn app(sessions: SessionLayer) -> Router {
    Router::new()
        .route("/_test/set", post(set))
        .route("/_test/add", post(add))
        .route("/_test/get", get(async |session: Session| typed::text(&typed::entries(&session))))
        .route("/_test/flash", post(flash))
        .route("/_test/flashes", get(flashes))
        .route("/_test/login", post(login))
        .route("/_test/count", post(count))
        .route("/_test/permanent", post(permanent))
        .route("/_test/lifetime", post(lifetime))
        .route("/_test/principal", post(principal))
        .route("/_test/user", post(user))
        .route("/_test/confirm", post(confirm))
        .route("/_test/whoami", get(async |session: Session| session.principal().unwrap_or("nobody".into())))
        .route("/_test/asks", post(asks))
        .route("/_test/remove", post(remove))
        .route("/_test/clear", post(async |session: Session| clear(&session)))
        .layer(sessions)
}

async fn set(session: Session, body: Bytes) -> StatusCode {
    session.clear();
    insert(&session, &body)
}

async fn add(session: Session, body: Bytes) -> StatusCode {
    insert(&session, &body)
}

/// Adds the entries under a new id, where there is one.
async fn login(session: Session, body: Bytes) -> StatusCode {
    session.renew();
    insert(&session, &body)
}

/// Counts in one entry, and inserts the entries of the body.
async fn count(session: Session, body: Bytes) -> Result<StatusCode, Error> {
    session.update("count", |count: &mut u32| *count += 1)?;
    Ok(insert(&session, &body))
}

fn insert(session: &Session, body: &[u8]) -> StatusCode {
    let Value::Map(entries) = typed::parse(&String::from_utf8_lossy(body)) else { return StatusCode::BAD_REQUEST };
    for (name, value) in entries {
        let Value::Text(name) = name else { return StatusCode::BAD_REQUEST };
        session.insert(name, value);
    }
    StatusCode::NO_CONTENT
}

async fn flash(session: Session, body: Bytes) -> StatusCode {
    let body = typed::parse(&String::from_utf8_lossy(&body));
    let category = body.get("category").and_then(Value::as_str).unwrap_or("message");
    session.flash_as(body.get("message").cloned().unwrap_or(Value::Null), category);
    StatusCode::NO_CONTENT
}

/// The messages that wait, shown: pairs of category and message.
async fn flashes(session: Session) -> String {
    let shown = session.take_flashes().into_iter();
    let pairs = shown.map(|flash| Value::List(vec![flash.category.into(), flash.message]));
    typed::text(&Value::List(pairs.collect()))
}

async fn permanent(session: Session, RawQuery(query): RawQuery) -> StatusCode {
    let off = query.is_some_and(|query| query == "on=0");
    session.set_lifetime(if off { Lifetime::browser() } else { Lifetime::persistent() });
    StatusCode::NO_CONTENT
}

/// So many seconds; zero is until the browser closes.
async fn lifetime(session: Session, body: String) -> StatusCode {
    session.set_lifetime(match body.trim().parse() {
        Ok(0) => Lifetime::browser(),
        Ok(seconds) => Lifetime::persistent().idle(Duration::from_secs(seconds)),
        Err(_) => return StatusCode::BAD_REQUEST,
    });
    StatusCode::NO_CONTENT
}

/// Logs in whom a row of Django's says.
async fn principal(session: Session, body: String) -> Result<StatusCode, Error> {
    session.set_principal(row(&body));
    session.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Logs in whom the body names, who comes from this machine.
async fn user(session: Session, headers: HeaderMap, id: String) -> Result<StatusCode, Error> {
    let user_agent = headers.get(header::USER_AGENT).and_then(|name| name.to_str().ok()).unwrap_or_default();
    session.set_principal(Login::new(id).client("127.0.0.1", user_agent));
    session.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether the session is still that of whom the row says.
async fn confirm(session: Session, body: String) -> String {
    session.confirm_principal(row(&body)).to_string()
}

fn row(body: &str) -> Login {
    let row = typed::json(body);
    let text = |name| row.get(name).and_then(Value::as_str);
    let user = Login::new(text("id").unwrap_or_default());
    text("password").map_or(user.clone(), |password| user.password(password))
}

/// Sends `{"a": 1}` to the URL of the body for the same visitor, with this session open and changed.
async fn asks(session: Session, headers: HeaderMap, url: String) -> Result<StatusCode, Error> {
    session.insert("before", true);
    let cookie = headers.get(header::COOKIE).and_then(|cookie| cookie.to_str().ok()).unwrap_or_default().to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let request = agent(Duration::from_secs(20)).post(&url).header("cookie", cookie);
        request.send(r#"{"a": 1}"#).map(|answer| answer.status().as_u16())
    });
    let status = asked.await.expect("no panic").unwrap_or(502);
    session.insert("after", true);
    Ok(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY))
}

async fn remove(session: Session, name: String) -> StatusCode {
    session.remove(name);
    StatusCode::NO_CONTENT
}

fn clear(session: &Session) -> StatusCode {
    session.clear();
    StatusCode::NO_CONTENT
}

/// `dewar` as an application's requests see it, without a server, its clock standing where Flask's stands.
pub(crate) struct Direct {
    manager: SessionManager,
    runtime: Runtime,
}

impl Direct {
    pub(crate) fn new(sessions: SessionLayer) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let manager = sessions.clock(Clock::at(Timestamp::from_secs(NOW))).manager().expect("the settings fit");
        Self { manager, runtime }
    }

    /// The `Set-Cookie` headers of a response whose handler did this to the session of a `Cookie` header.
    pub(crate) fn respond(&self, header: &str, handler: impl FnOnce(&Session)) -> Result<Vec<String>, Error> {
        let session = self.open(header);
        handler(&session);
        let mut response = HeaderMap::new();
        self.runtime.block_on(self.manager.commit(&session)).apply(&mut response)?;
        let cookies = response.get_all(header::SET_COOKIE).iter();
        Ok(cookies.map(|cookie| cookie.to_str().expect("Set-Cookie is ASCII").to_owned()).collect())
    }

    /// The value of the cookie that holds this session.
    pub(crate) fn write(&self, session: &Value) -> Result<String, Error> {
        let Value::Map(entries) = session else { panic!("a session is a map") };
        let cookies = self.respond("", |session| {
            for (name, value) in entries {
                session.insert(name.as_str().expect("an entry's name is text"), value);
            }
        })?;
        let value = cookies.first().and_then(|cookie| Some(cookie.split(';').next()?.split_once('=')?.1));
        Ok(value.expect("a session that is not empty is written").to_owned())
    }

    pub(crate) fn read(&self, header: &str) -> Opened {
        Opened::Session(typed::text(&typed::entries(&self.open(header))))
    }

    fn open(&self, header: &str) -> Session {
        let mut request = HeaderMap::new();
        if !header.is_empty() {
            request.insert(header::COOKIE, HeaderValue::from_bytes(header.as_bytes()).expect("a header"));
        }
        self.runtime.block_on(self.manager.open(&request)).expect("no store, no failure")
    }
}
