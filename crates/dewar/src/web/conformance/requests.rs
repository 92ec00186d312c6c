//! What becomes of a request: whatever it answers, panics, streams, hangs, nested layers, a store that is down.

use std::net::SocketAddr;

use http::{HeaderValue, StatusCode, header};

use super::{Browser, Serve, Server, Site, builder, cookies::scenarios, down::Down, made};
use crate::store::memory::MemoryStore;

pub(super) async fn check<G>(server: &Server<G>) {
    scenarios! { server;
        every_status_commits
        what_was_committed_before_a_failure_has_its_cookie
        the_handlers_own_cookies_are_kept
        a_conflict_is_a_409
        a_panic_commits_nothing
        a_value_that_cannot_be_written_is_a_500_and_the_old_cookie_stays
        a_session_too_large_for_its_cookie_is_a_500_and_the_old_cookie_stays
        a_body_that_streams_cannot_write_and_what_came_before_it_is_kept
        a_client_that_hangs_up_leaves_nothing_and_a_closed_session
    }
}

async fn every_status_commits<G>(server: &Server<G>) {
    for status in ["418", "500", "303"] {
        let mut browser = server.browser();
        let page = browser.get(&format!("/set-and-answer?{status}")).await;
        assert_eq!(page.status.as_str(), status);
        assert_eq!(page.headers[header::VARY], "Cookie", "{status}");
        assert_eq!(browser.sees("/get").await, status);
    }
}

async fn what_was_committed_before_a_failure_has_its_cookie<G>(server: &Server<G>) {
    let mut browser = server.browser();
    let page = browser.get("/commit-and-fail?Ada").await;
    assert_eq!(page.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(page.set_cookie().is_some(), "a commit that was said to be done has its cookie, on an error page too");
    assert_eq!(browser.sees("/get").await, "Ada");
}

async fn the_handlers_own_cookies_are_kept<G>(server: &Server<G>) {
    let mut browser = server.browser();
    let page = browser.get("/set-beside?Ada").await;
    let cookies = page.headers.get_all(header::SET_COOKIE).iter();
    assert_eq!(cookies.filter(|cookie| cookie.as_bytes().starts_with(b"theme=dark")).count(), 1);
    assert_eq!(browser.sees("/get").await, "Ada");
}

/// A slow request in a session that got another id by a log-in meanwhile, on a store.
async fn a_conflict_is_a_409<G>(server: &Server<G>) {
    let mut browser = server.browser();
    browser.get("/count").await;
    let slow = Browser { cookie: browser.cookie.clone(), ..server.browser() };
    let logs_in_meanwhile = async {
        server.site.until(|site| site.hangs("Ada")).await;
        browser.get("/log-in?ada").await;
        server.site.release("Ada");
    };
    let cookie = slow.cookie.clone().unwrap_or_default();
    let (page, ()) = tokio::join!(slow.with(cookie, "/set-and-wait?Ada"), logs_in_meanwhile);
    // A cookie alone knows nothing of what others do.
    if server.site.managers()[0].has_store() {
        assert_eq!(page.status, StatusCode::CONFLICT);
        assert_eq!(page.headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(page.set_cookie(), None);
    }
    assert_eq!(browser.sees("/get").await, "nothing");
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
    assert_eq!(page.headers[header::VARY], "Cookie");
    assert!(!page.text.trim().is_empty(), "a visitor is told that it failed: the body of `Error::body`");
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
        assert!(!page.text.trim().is_empty(), "a visitor is told that it failed: the body of `Error::body`");
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

pub(super) async fn check_rest<F, G>(serve: &Serve<F>)
where
    F: AsyncFn(Site) -> (SocketAddr, G),
{
    scenarios! { serve;
        a_layer_within_another_uses_its_session_or_has_its_own_or_is_an_error
        a_store_that_is_down_is_a_503_and_pages_without_a_session_are_there
    }
}

/// A layer within another: one session where they agree, two where their cookies differ, an error where they cannot agree.
async fn a_layer_within_another_uses_its_session_or_has_its_own_or_is_an_error<F, G>(serve: &Serve<F>)
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
async fn a_store_that_is_down_is_a_503_and_pages_without_a_session_are_there<F, G>(serve: &Serve<F>)
where
    F: AsyncFn(Site) -> (SocketAddr, G),
{
    let good = serve.one(made(builder().store(MemoryStore::new()))).await;
    let mut browser = good.browser();
    browser.get("/set?Ada").await;
    let down = Down::default();
    let server = serve.one(made(builder().store(down.clone()))).await;
    let cookie = browser.cookie.unwrap_or_default();
    let page = server.browser().with(&cookie, "/untouched").await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(down.asked(), 0, "a page that does not ask for the session costs no question to the store");
    assert_eq!(server.browser().with(&cookie, "/get").await.status, StatusCode::SERVICE_UNAVAILABLE);
    for path in ["/set?Ada", "/count"] {
        let page = server.browser().get(path).await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(page.headers.contains_key(header::RETRY_AFTER), "{path}: a 503 says when to come back: Retry-After");
        assert!(!page.text.trim().is_empty(), "{path}: a visitor is told that it failed: the body of `Error::body`");
        assert_eq!(page.set_cookie(), None);
    }
    let page = server.browser().with(&cookie, "/do-without").await;
    if page.status == StatusCode::OK {
        let shows_it = "a page that had to do without its session shows that: `Committed::unreached`";
        assert_eq!(page.headers.get(header::VARY).map(HeaderValue::as_bytes), Some(&b"Cookie"[..]), "{shows_it}");
        assert_eq!(
            page.headers.get(header::CACHE_CONTROL).map(HeaderValue::as_bytes),
            Some(&b"private"[..]),
            "{shows_it}"
        );
    }
}
