use std::net::TcpListener;

use dewar::{SessionLayer, SessionManager};
use frameworks::salvo::{Failure, pages, session};
use salvo::{conn::tcp::TcpAcceptor, prelude::*};
use tokio::sync::oneshot;

#[handler]
async fn about() -> &'static str {
    "About"
}

#[handler]
async fn panics(request: &mut Request) -> Result<&'static str, Failure> {
    Ok(super::write_and_panic(&session(request).await?))
}

#[handler]
async fn lingers(request: &mut Request) -> Result<&'static str, Failure> {
    Ok(super::write_and_linger(session(request).await?).await)
}

#[handler]
async fn refuses(request: &mut Request) -> Result<(), StatusError> {
    session(request).await.unwrap().insert("firstName", "Refused");
    Err(StatusError::forbidden())
}

pub(crate) fn serve(listener: TcpListener, sessions: Option<SessionManager>, stop: oneshot::Receiver<()>) {
    super::run_until(stop, async {
        let app = pages()
            .push(Router::with_path("about").get(about))
            .push(Router::with_path("panics").get(panics))
            .push(Router::with_path("lingers").get(lingers))
            .push(Router::with_path("refuses").get(refuses));
        let app = if let Some(sessions) = sessions { app.hoop(SessionLayer::from(sessions).compat()) } else { app };
        Server::new(TcpAcceptor::try_from(super::of_tokio(listener)).unwrap()).serve(app).await;
    });
}
