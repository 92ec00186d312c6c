use std::{net::TcpListener, sync::Arc, time::Duration};

use dewar::SessionManager;
use frameworks::poem::{Visit, pages, with_sessions};
use poem::{
    Endpoint, EndpointExt, Error, Request, Response, Result, Server, handler, http::StatusCode, listener::TcpAcceptor,
};
use tokio::{sync::oneshot, time::timeout};

#[handler]
fn about() -> &'static str {
    "About"
}

#[handler]
fn panics(Visit(session): Visit) -> &'static str {
    super::write_and_panic(&session)
}

#[handler]
async fn lingers(Visit(session): Visit) -> &'static str {
    super::write_and_linger(session).await
}

#[handler]
fn refuses(Visit(session): Visit) -> Result<()> {
    session.insert("firstName", "Refused");
    Err(Error::from_status(StatusCode::FORBIDDEN))
}

/// poem 3.1 runs a handler to its end when the client has gone, so what drops the request is a time-out.
async fn at_most_a_second(app: Arc<impl Endpoint<Output = Response>>, request: Request) -> Result<Response> {
    if request.uri().path() != "/lingers" {
        return app.call(request).await;
    }
    let answered = timeout(Duration::from_secs(1), app.call(request)).await;
    answered.unwrap_or_else(|_| Err(Error::from_status(StatusCode::SERVICE_UNAVAILABLE)))
}

pub(crate) fn serve(listener: TcpListener, sessions: Option<SessionManager>, stop: oneshot::Receiver<()>) {
    super::run_until(stop, async {
        let acceptor = TcpAcceptor::from_tokio(super::of_tokio(listener)).unwrap();
        let server = Server::new_with_acceptor(acceptor);
        let app = pages().at("/about", about).at("/panics", panics).at("/lingers", lingers).at("/refuses", refuses);
        match sessions {
            Some(sessions) => server.run(with_sessions(sessions.into(), app).around(at_most_a_second)).await.unwrap(),
            None => server.run(app).await.unwrap(),
        }
    });
}
