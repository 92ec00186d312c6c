use std::net::TcpListener;

use actix_web::{App, HttpServer, Result, error::ErrorForbidden, get, middleware::Condition, rt::System};
use dewar::{Secret, Session, SessionManager, web::actix::SessionMiddleware};
use frameworks::actix::pages;
use tokio::sync::oneshot;

#[get("/about")]
async fn about() -> &'static str {
    "About"
}

#[get("/panics")]
async fn panics(session: Session) -> &'static str {
    super::write_and_panic(&session)
}

#[get("/lingers")]
async fn lingers(session: Session) -> &'static str {
    super::write_and_linger(session).await
}

#[get("/refuses")]
async fn refuses(session: Session) -> Result<String> {
    session.insert("firstName", "Refused");
    Err(ErrorForbidden("no"))
}

pub(crate) fn serve(listener: TcpListener, sessions: Option<SessionManager>, stop: oneshot::Receiver<()>) {
    let has_sessions = sessions.is_some();
    let sessions = sessions.unwrap_or_else(|| SessionManager::new(Secret::generate()).unwrap());
    let sessions = SessionMiddleware::from(sessions);
    let app = move || {
        let app = App::new().wrap(Condition::new(has_sessions, sessions.clone()));
        app.configure(pages).service((about, panics, lingers, refuses))
    };
    // actix-web 4 runs a handler to its end when the client has gone, unless it is told this.
    let server = HttpServer::new(app).h1_allow_half_closed(false).workers(2).disable_signals();
    System::new().block_on(async {
        let server = server.listen(listener).unwrap().run();
        let handle = server.handle();
        tokio::spawn(async move {
            let _ = stop.await;
            handle.stop(false).await;
        });
        server.await.unwrap();
    });
}
