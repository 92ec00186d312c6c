//! What becomes of a request: whatever it answers, panics, streams, hangs, nested layers, a store that is down.

use std::net::SocketAddr;

use http::{StatusCode, header};

use super::{Serve, Server, Site, builder, cookies::scenarios, down::Down, made};

pub(super) async fn check<G>(server: &Server<G>) {
    scenarios! { server;
        every_status_commits
        a_panic_commits_nothing
        a_value_that_cannot_be_written_is_a_500_and_the_old_cookie_stays
        a_session_too_large_for_its_cookie_is_a_500_and_the_old_cookie_stays
        a_body_that_streams_cannot_write_and_what_came_before_it_is_kept
        a_client_that_hangs_up_leaves_nothing_and_a_closed_session
    }
}

async fn every_status_commits<G>(server: &Server<G>) {
    let mut browser = server.browser();
    assert_eq!(browser.get("/set-and-fail?Ada").await.status, StatusCode::IM_A_TEAPOT);
    assert_eq!(browser.sees("/get").await, "Ada");
}

async fn a_panic_commits_nothing<G>(server: &Server<G>) {
    let mut browser = server.browser();
    browser.get("/set?Ada").await;
    if let Some(page) = browser.try_get("/set-and-panic?Eve").await {
        assert_eq!(page.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(page.set_cookie(), None);
    }
    assert_eq!(browser.sees("/get").await, "Ada");
}

async fn a_value_that_cannot_be_written_is_a_500_and_the_old_cookie_stays<G>(server: &Server<G>) {
    let mut browser = server.browser();
    browser.get("/set?Ada").await;
    let page = browser.get("/set-what-cannot-be-written").await;
    assert_eq!(page.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(page.headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(page.set_cookie(), None);
    assert_eq!(browser.sees("/get").await, "Ada");
}

async fn a_session_too_large_for_its_cookie_is_a_500_and_the_old_cookie_stays<G>(server: &Server<G>) {
    let mut browser = server.browser();
    browser.get("/set?Ada").await;
    let page = browser.get("/set-large?4000").await;
    // A store has room for it.
    if page.status != StatusCode::OK {
        assert_eq!(page.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(page.set_cookie(), None);
    }
    assert_eq!(browser.get("/set-large?1000").await.status, StatusCode::OK);
    assert_eq!(browser.sees("/get").await, "Ada");
}

async fn a_body_that_streams_cannot_write_and_what_came_before_it_is_kept<G>(server: &Server<G>) {
    let mut browser = server.browser();
    let page = browser.get("/set-and-stream?Ada").await;
    assert!(page.set_cookie().is_some());
    assert_eq!(page.text, "streamed, closed");
    assert_eq!(browser.sees("/get").await, "Ada");
}

async fn a_client_that_hangs_up_leaves_nothing_and_a_closed_session<G>(server: &Server<G>) {
    let mut browser = server.browser();
    browser.get("/set?Ada").await;
    if let Some(session) = browser.hang_up("Eve").await {
        let error = session.commit().await.expect_err("what survives a request must not write");
        assert!(error.is_closed(), "{error}");
    }
    assert_eq!(browser.sees("/get").await, "Ada");
}

/// A layer within another: one session where they agree, two where their cookies differ, an error where they cannot agree.
pub(super) async fn check_nested<F, G>(serve: &Serve<F>)
where
    F: AsyncFn(Site) -> (SocketAddr, G),
{
    let manager = made(builder());
    let server = serve.behind(vec![manager.clone(), manager.clone()]).await;
    let mut browser = server.browser();
    let page = browser.get("/set?Ada").await;
    assert_eq!(page.headers.get_all(header::SET_COOKIE).iter().count(), 1, "two layers that agree set one cookie");
    assert_eq!(browser.sees("/get").await, "Ada");

    let other = made(builder().cookie_name("__Host-other"));
    let server = serve.behind(vec![manager.clone(), other]).await;
    let mut browser = server.browser();
    let page = browser.get("/set?Ada").await;
    assert!(
        page.set_cookie().is_some_and(|cookie| cookie.starts_with("__Host-other=")),
        "the handler has the inner one's session"
    );
    assert_eq!(browser.sees("/get").await, "Ada");

    let disagrees = made(builder().partitioned(true));
    let server = serve.behind(vec![manager, disagrees]).await;
    let page = server.browser().get("/set?Ada").await;
    assert_eq!(page.status, StatusCode::INTERNAL_SERVER_ERROR, "two layers of one name that disagree are an error");
    assert_eq!(page.set_cookie(), None);
}

/// A store that is down is a 503 with a hint when to come back, and a page that needs no session is there.
pub(super) async fn check_broken_store<F, G>(serve: &Serve<F>)
where
    F: AsyncFn(Site) -> (SocketAddr, G),
{
    let server = serve.one(made(builder().store(Down))).await;
    assert_eq!(server.browser().get("/untouched").await.status, StatusCode::OK);
    for path in ["/set?Ada", "/count"] {
        let page = server.browser().get(path).await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(page.headers[header::RETRY_AFTER], "5");
        assert_eq!(page.set_cookie(), None);
    }
}
