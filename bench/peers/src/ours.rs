//! dewar.

use axum::{Router, routing::get};
use dewar::{Key, Session, SessionLayer};

const FIRST_NAME: Key<String> = Key::new("firstName");
const VISITS: Key<u32> = Key::new("visits");

pub(crate) fn app(layer: SessionLayer) -> Router {
    Router::new()
        .route("/untouched", get(async || "Hello"))
        .route("/read", get(async |session: Session| session.get(FIRST_NAME).unwrap_or_default()))
        .route(
            "/write",
            get(async |session: Session| {
                let visits = session.get(VISITS).unwrap_or_default() + 1;
                session.insert(VISITS, visits);
                visits.to_string()
            }),
        )
        .route(
            "/login",
            get(async |session: Session| {
                session.renew();
                session.insert("user", "ada");
                session.insert(FIRST_NAME, "Ada".to_owned());
                "Hello"
            }),
        )
        .route(
            "/seed",
            get(async |session: Session| {
                for (name, value) in crate::session() {
                    session.insert(&*name, value);
                }
                "Hello"
            }),
        )
        .layer(layer)
}
