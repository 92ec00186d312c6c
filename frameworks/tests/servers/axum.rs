use std::net::TcpListener;

use axum::{Router, http::StatusCode, routing::get};
use dewar::{Session, SessionLayer, SessionManager};
use frameworks::axum::pages;
use tokio::sync::oneshot;

async fn panics(session: Session) -> &'static str {
    super::write_and_panic(&session)
}

async fn lingers(session: Session) -> &'static str {
    super::write_and_linger(session).await
}

async fn refuses(session: Session) -> StatusCode {
    session.insert("firstName", "Refused");
    StatusCode::FORBIDDEN
}

pub(crate) fn serve(listener: TcpListener, sessions: Option<SessionManager>, stop: oneshot::Receiver<()>) {
    super::run_until(stop, async {
        let app: Router = pages()
            .route("/about", get(async || "About"))
            .route("/panics", get(panics))
            .route("/lingers", get(lingers))
            .route("/refuses", get(refuses));
        let app = if let Some(sessions) = sessions { app.layer(SessionLayer::from(sessions)) } else { app };
        axum::serve(super::of_tokio(listener), app).await.unwrap();
    });
}
