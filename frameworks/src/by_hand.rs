//! Sessions without a layer, wherever requests and responses are those of the crate `http`.

use dewar::{Error, Session, SessionManager};
use http::{Request, Response};

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
    let mut response = page(request, session.clone()).await.unwrap_or_else(|error| failed(&error));
    let committed = sessions.commit(&session).await;
    if let Err(error) = committed.result() {
        response = failed(error);
    }
    // The error has been told above.
    let _ = committed.apply(response.headers_mut());
    response
}

/// The reason goes to the log, and only the status and a sentence to the visitor.
fn failed(error: &Error) -> Response<String> {
    tracing::error!("{error}");
    let mut response = Response::new("Something went wrong on our side.\n".to_string());
    *response.status_mut() = error.status();
    response
}
