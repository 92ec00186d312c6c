//! The jars of the crate `cookie`, with the session as one JSON object in one cookie.

use axum::{Router, routing::get};
use axum_extra::extract::{
    PrivateCookieJar, SignedCookieJar,
    cookie::{Cookie, Key, SameSite},
};
use serde_json::{Map, Value, json};

type Session = Map<String, Value>;

const NAME: &str = "__Host-Http-session";

fn cookie(session: &Session) -> Cookie<'static> {
    Cookie::build((NAME, serde_json::to_string(session).unwrap()))
        .path("/")
        .secure(true)
        .http_only(true)
        .same_site(SameSite::Lax)
        .build()
}

fn parse(cookie: Option<Cookie<'static>>) -> Session {
    cookie.and_then(|cookie| serde_json::from_str(cookie.value()).ok()).unwrap_or_default()
}

fn first_name(session: &Session) -> String {
    session.get("firstName").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn visit(session: &mut Session) -> String {
    let visits = session.get("visits").and_then(Value::as_u64).unwrap_or_default() + 1;
    session.insert("visits".into(), visits.into());
    visits.to_string()
}

fn login() -> Session {
    Session::from_iter([("user".into(), json!("ada")), ("firstName".into(), json!("Ada"))])
}

pub(crate) fn private() -> Router {
    type Jar = PrivateCookieJar<Key>;
    Router::new()
        .route("/untouched", get(async || "Hello"))
        .route("/read", get(async |jar: Jar| first_name(&parse(jar.get(NAME)))))
        .route(
            "/write",
            get(async |jar: Jar| {
                let mut session = parse(jar.get(NAME));
                let body = visit(&mut session);
                (jar.add(cookie(&session)), body)
            }),
        )
        .route("/login", get(async |jar: Jar| (jar.add(cookie(&login())), "Hello")))
        .route("/seed", get(async |jar: Jar| (jar.add(cookie(&crate::session())), "Hello")))
        .with_state(Key::generate())
}

pub(crate) fn signed() -> Router {
    type Jar = SignedCookieJar<Key>;
    Router::new()
        .route("/untouched", get(async || "Hello"))
        .route("/read", get(async |jar: Jar| first_name(&parse(jar.get(NAME)))))
        .route(
            "/write",
            get(async |jar: Jar| {
                let mut session = parse(jar.get(NAME));
                let body = visit(&mut session);
                (jar.add(cookie(&session)), body)
            }),
        )
        .route("/login", get(async |jar: Jar| (jar.add(cookie(&login())), "Hello")))
        .route("/seed", get(async |jar: Jar| (jar.add(cookie(&crate::session())), "Hello")))
        .with_state(Key::generate())
}
