//! Sessions without a layer, wherever requests and responses are those of the crate `http`.

use dewar::{Error, Session, SessionManager};
use http::{HeaderValue, Request, Response};

/// Answers with this page, and saves its session before the response's head is sent.
pub async fn with_session<B>(
    sessions: &SessionManager,
    request: Request<B>,
    page: impl AsyncFnOnce(Request<B>, Session) -> Result<Response<String>, Error>,
) -> Response<String> {
    let session = match sessions.open(request.headers()).await {
        Ok(session) => session,
        Err(error) => return failed(&error),
    };
    let underway = Underway(sessions, session);
    let mut response = page(request, underway.1.clone()).await.unwrap_or_else(|error| failed(&error));
    let committed = sessions.commit(&underway.1).await;
    if let Err(error) = committed.result() {
        response = failed(error);
    }
    // The error has been told above.
    let _ = committed.apply(response.headers_mut());
    response
}

/// A request on its way. If it is dropped before the response is ready, whoever still holds the session can write no more.
struct Underway<'a>(&'a SessionManager, Session);

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        self.0.abandon(&self.1);
    }
}

/// The reason goes to the log, and only the status and a sentence to the visitor.
fn failed(error: &Error) -> Response<String> {
    tracing::error!("{error}");
    let mut response = Response::new(error.body().into_owned());
    *response.status_mut() = error.status();
    for (name, value) in error.headers() {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
