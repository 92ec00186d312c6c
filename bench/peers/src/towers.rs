//! tower-sessions.

use axum::{Router, routing::get};
use tower_sessions::{MemoryStore, Session, SessionManagerLayer, SessionStore};

pub(crate) fn memory() -> Router {
    app(MemoryStore::default())
}

pub(crate) fn app(store: impl SessionStore + Clone) -> Router {
    Router::new()
        .route("/untouched", get(async || "Hello"))
        .route(
            "/read",
            get(async |session: Session| session.get::<String>("firstName").await.unwrap().unwrap_or_default()),
        )
        .route(
            "/write",
            get(async |session: Session| {
                let visits = session.get::<u32>("visits").await.unwrap().unwrap_or_default() + 1;
                session.insert("visits", visits).await.unwrap();
                visits.to_string()
            }),
        )
        .route(
            "/login",
            get(async |session: Session| {
                session.cycle_id().await.unwrap();
                session.insert("user", "ada").await.unwrap();
                session.insert("firstName", "Ada").await.unwrap();
                "Hello"
            }),
        )
        .route(
            "/seed",
            get(async |session: Session| {
                for (name, value) in crate::session() {
                    session.insert_value(&name, value).await.unwrap();
                }
                "Hello"
            }),
        )
        .layer(SessionManagerLayer::new(store))
}
