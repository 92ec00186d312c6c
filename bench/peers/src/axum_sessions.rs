//! axum_session, in memory.

use axum::{Router, routing::get};
use axum_session::{Session, SessionConfig, SessionLayer, SessionNullPool, SessionStore};

type InMemory = Session<SessionNullPool>;

pub(crate) async fn memory() -> Router {
    let config = SessionConfig::default().with_secure(true);
    let store = SessionStore::<SessionNullPool>::new(None, config).await.expect("a store in memory");
    Router::new()
        .route("/untouched", get(async || "Hello"))
        .route("/read", get(async |session: InMemory| session.get::<String>("firstName").unwrap_or_default()))
        .route(
            "/write",
            get(async |session: InMemory| {
                let visits = session.get::<u32>("visits").unwrap_or_default() + 1;
                session.set("visits", visits);
                visits.to_string()
            }),
        )
        .route(
            "/login",
            get(async |session: InMemory| {
                session.renew();
                session.set("user", "ada");
                session.set("firstName", "Ada");
                "Hello"
            }),
        )
        .route(
            "/seed",
            get(async |session: InMemory| {
                for (name, value) in crate::session() {
                    session.set(&name, value);
                }
                "Hello"
            }),
        )
        .layer(SessionLayer::new(store))
}
