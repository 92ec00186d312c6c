//! The adapter that `docs/frameworks.md` writes by hand.

use dewar::{Error, Secret, Session, SessionManager};
use frameworks::by_hand::with_session;
use http::{Request, Response, StatusCode, header};

async fn count(_: Request<()>, session: Session) -> Result<Response<String>, Error> {
    let visits = session.update("visits", |visits: &mut u32| *visits += 1)?;
    Ok(Response::new(format!("Visit number {visits}")))
}

async fn about(_: Request<()>, _: Session) -> Result<Response<String>, Error> {
    Ok(Response::new("About".into()))
}

async fn fill(_: Request<()>, session: Session) -> Result<Response<String>, Error> {
    session.insert("large", "x".repeat(10_000));
    Ok(Response::new("done".into()))
}

fn sessions() -> SessionManager {
    SessionManager::new(Secret::generate()).unwrap()
}

/// A request with the cookie of this response.
fn after(response: &Response<String>) -> Request<()> {
    let set = response.headers()[header::SET_COOKIE].to_str().unwrap();
    Request::builder().header(header::COOKIE, set.split(';').next().unwrap()).body(()).unwrap()
}

#[tokio::test]
async fn it_counts_visits_also_in_a_task() {
    let sessions = sessions();
    let mut request = Request::new(());
    for visit in 1..=3 {
        let sessions = sessions.clone();
        let answered = tokio::spawn(async move { with_session(&sessions, request, count).await });
        let response = answered.await.unwrap();
        assert_eq!(*response.body(), format!("Visit number {visit}"));
        request = after(&response);
    }
}

#[tokio::test]
async fn a_page_that_does_not_use_its_session_says_nothing_of_it() {
    let response = with_session(&sessions(), Request::new(()), about).await;
    assert!(response.headers().is_empty(), "{:?}", response.headers());
}

#[tokio::test]
async fn what_does_not_fit_the_cookie_is_a_500() {
    let response = with_session(&sessions(), Request::new(()), fill).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!response.headers().contains_key(header::SET_COOKIE));
}

#[tokio::test]
async fn a_request_that_is_dropped_leaves_a_closed_session() {
    let (give, given) = std::sync::mpsc::channel();
    let hangs = async |_: Request<()>, session: Session| {
        session.insert("late", true);
        give.send(session).unwrap();
        std::future::pending().await
    };
    let sessions = sessions();
    let answered = with_session(&sessions, Request::new(()), hangs);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(20), answered).await.is_err());
    assert!(given.recv().unwrap().commit().await.unwrap_err().is_closed());
}
