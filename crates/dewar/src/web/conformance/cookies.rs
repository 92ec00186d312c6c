//! Cookies in and out, and what caches are told.

use std::{net::SocketAddr, time::Duration};

use http::header;

use super::{Browser, Serve, Server, builder, clock, made, secret};
use crate::{Keyring, Secret, SessionManager, store::Timestamp};

/// Runs each scenario on the server.
macro_rules! scenarios {
    ($server:expr; $($scenario:ident)*) => {$(
        let promise = $crate::web::conformance::Promise::new(stringify!($scenario));
        $scenario($server).await;
        drop(promise);
    )*};
}

pub(super) use scenarios;

pub(super) async fn check<G>(server: &Server<G>) {
    scenarios! { server;
        a_request_that_never_names_the_session_says_nothing_of_it
        reading_an_empty_session_varies_and_sets_no_cookie
        the_first_write_sets_the_cookie_with_every_guard
        an_unchanged_session_sets_no_cookie
        removing_the_last_entry_removes_the_cookie
        clearing_removes_the_cookie_and_what_follows_begins_anew
        clearing_nothing_sets_no_cookie
        what_the_handler_says_of_caching_is_respected
        remember_me_outlives_the_browser
        an_update_counts
        a_cookie_is_found_in_any_cookie_header
        every_cookie_is_hostile
    }
}

pub(super) async fn check_settings<F, G>(serve: &Serve<F>)
where
    F: AsyncFn(super::Site) -> (SocketAddr, G),
{
    scenarios! { serve;
        a_session_ends_after_its_idle_timeout_and_a_visit_prolongs_it
        a_session_ends_after_its_absolute_timeout_however_busy
        an_older_secret_is_accepted_and_replaced
        two_different_cookies_of_one_name_are_nobodys
    }
}

async fn a_request_that_never_names_the_session_says_nothing_of_it<G>(server: &Server<G>) {
    let mut browser = server.browser();
    browser.get("/set?Ada").await;
    let page = browser.get("/untouched").await;
    for name in [header::SET_COOKIE, header::VARY, header::CACHE_CONTROL] {
        assert!(!page.headers.contains_key(&name), "{name}");
    }
}

async fn reading_an_empty_session_varies_and_sets_no_cookie<G>(server: &Server<G>) {
    let page = server.browser().get("/get").await;
    assert_eq!(page.text, "nothing");
    assert_eq!(page.headers[header::VARY], "Cookie");
    assert_eq!(page.headers[header::CACHE_CONTROL], "private");
    assert_eq!(page.set_cookie(), None);
}

async fn the_first_write_sets_the_cookie_with_every_guard<G>(server: &Server<G>) {
    let mut browser = server.browser();
    let page = browser.get("/set?Ada").await;
    let cookie = page.set_cookie().expect("the first write sets the cookie");
    assert!(cookie.starts_with("__Host-Http-session="), "{cookie}");
    assert!(cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax"), "{cookie}");
    assert_eq!(page.headers.get_all(header::SET_COOKIE).iter().count(), 1);
    assert_eq!(page.headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(browser.sees("/get").await, "Ada");
}

async fn an_unchanged_session_sets_no_cookie<G>(server: &Server<G>) {
    let mut browser = server.browser();
    browser.get("/set?Ada").await;
    assert_eq!(browser.get("/get").await.set_cookie(), None);
}

async fn removing_the_last_entry_removes_the_cookie<G>(server: &Server<G>) {
    let mut browser = server.browser();
    browser.get("/set?Ada").await;
    let page = browser.get("/remove").await;
    let cookie = page.set_cookie().expect("the cookie is removed");
    let removal = "__Host-Http-session=; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Secure";
    assert!(cookie.starts_with(removal), "{cookie}");
    assert_eq!(browser.sees("/get").await, "nothing");
}

async fn clearing_removes_the_cookie_and_what_follows_begins_anew<G>(server: &Server<G>) {
    let mut browser = server.browser();
    browser.get("/set?Ada").await;
    browser.get("/count").await;
    browser.get("/clear-and-set?Eve").await;
    assert_eq!(browser.sees("/get").await, "Eve");
    assert_eq!(browser.sees("/count").await, "1");
    browser.get("/clear").await;
    assert_eq!(browser.cookie, None);
    assert_eq!(browser.sees("/get").await, "nothing");
}

async fn clearing_nothing_sets_no_cookie<G>(server: &Server<G>) {
    assert_eq!(server.browser().get("/clear").await.set_cookie(), None);
    // A cookie that was refused is something: starting over removes it.
    let page = server.browser().with("__Host-Http-session=garbage", "/clear").await;
    assert!(page.set_cookie().is_some_and(|cookie| cookie.contains("Max-Age=0")));
}

async fn what_the_handler_says_of_caching_is_respected<G>(server: &Server<G>) {
    let page = server.browser().get("/get-cached").await;
    assert_eq!(page.headers[header::CACHE_CONTROL], "max-age=60");
    let said = page.headers.get_all(header::VARY).iter().map(|value| value.to_str().unwrap_or_default());
    let vary = said.collect::<Vec<_>>().join(", ").to_ascii_lowercase();
    assert!(["accept", "cookie"].iter().all(|name| vary.split(", ").any(|said| said == *name)), "Vary: {vary}");
}

async fn remember_me_outlives_the_browser<G>(server: &Server<G>) {
    let page = server.browser().get("/remember?604800").await;
    let cookie = page.set_cookie().expect("a first write");
    assert!(cookie.contains("; Max-Age=604800;"), "{cookie}");
}

async fn an_update_counts<G>(server: &Server<G>) {
    let mut browser = server.browser();
    for expected in ["1", "2", "3"] {
        assert_eq!(browser.sees("/count").await, expected);
    }
}

async fn a_cookie_is_found_in_any_cookie_header<G>(server: &Server<G>) {
    let mut browser = server.browser();
    browser.get("/set?Ada").await;
    let cookie = browser.cookie.clone().unwrap_or_default();
    for header in [format!("theme=dark\r\nCookie: {cookie}"), format!("{cookie}\r\nCookie: theme=dark")] {
        assert_eq!(browser.with(header, "/get").await.text, "Ada");
    }
}

/// Truncated, flipped, extended, of another dialect, not UTF-8, huge: an empty session, no cookie, no panic.
async fn every_cookie_is_hostile<G>(server: &Server<G>) {
    let mut browser = server.browser();
    browser.get("/set?Ada").await;
    let good = browser.cookie.clone().expect("a first write");
    let (name, value) = good.split_once('=').expect("a cookie is a pair");
    let mut hostile: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"eyJ1c2VyIjoiYWxpY2UifQ.ZVPxAA.IaTVk_E-vRC2zZaVX_obcbcGAus".to_vec(),
        b"s%3Aabcdefghijklmnopqrstuvwxyz.abcdef".to_vec(),
        b"\xff\xfe\x80".to_vec(),
        vec![b'A'; 20 * 1024],
        vec![b'['; 4000],
        value.repeat(2).into_bytes(),
        format!("\"{value}\"").into_bytes(),
        format!("{value}=").into_bytes(),
    ];
    hostile.extend((0..value.len()).step_by(7).map(|length| value.as_bytes()[..length].to_vec()));
    hostile.extend((0..value.len()).map(|at| {
        let mut flipped = value.as_bytes().to_vec();
        flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
        flipped
    }));
    for value in hostile {
        let page = browser.with([name.as_bytes(), b"=", &value].concat(), "/get").await;
        assert_eq!(page.text, "nothing", "{:?}", String::from_utf8_lossy(&value));
        assert_eq!(page.set_cookie(), None);
    }
    for name in ["__host-http-session", "%5F%5FHost-Http-session", " __Host-Http-session2", "__Host-Http-sessio"] {
        assert_eq!(browser.with(format!("{name}={value}"), "/get").await.text, "nothing", "{name}");
    }
}

async fn a_session_ends_after_its_idle_timeout_and_a_visit_prolongs_it<F, G>(serve: &Serve<F>)
where
    F: AsyncFn(super::Site) -> (SocketAddr, G),
{
    let clock = clock();
    let server = serve.one(made(builder().clock(clock.clone()))).await;
    let mut browser = server.browser();
    browser.get("/set?Ada").await;
    for _ in 0..3 {
        clock.advance(Duration::from_secs(80_000));
        assert_eq!(browser.sees("/get").await, "Ada");
    }
    clock.advance(Duration::from_secs(86_400));
    assert_eq!(browser.sees("/get").await, "nothing");
    // From the future, beyond the skew: the clock was set back by an hour.
    browser.get("/set?Ada").await;
    clock.set(Timestamp::from_secs(clock.now().as_secs() - 59));
    assert_eq!(browser.sees("/get").await, "Ada");
    clock.set(Timestamp::from_secs(clock.now().as_secs() - 3600));
    assert_eq!(browser.sees("/get").await, "nothing");
}

async fn a_session_ends_after_its_absolute_timeout_however_busy<F, G>(serve: &Serve<F>)
where
    F: AsyncFn(super::Site) -> (SocketAddr, G),
{
    let clock = clock();
    let server = serve.one(made(builder().clock(clock.clone()))).await;
    let mut browser = server.browser();
    browser.get("/set?Ada").await;
    for _ in 0..35 {
        assert_eq!(browser.sees("/get").await, "Ada");
        clock.advance(Duration::from_secs(20 * 3600));
    }
    clock.advance(Duration::from_secs(20 * 3600));
    assert_eq!(browser.sees("/get").await, "nothing");
}

async fn an_older_secret_is_accepted_and_replaced<F, G>(serve: &Serve<F>)
where
    F: AsyncFn(super::Site) -> (SocketAddr, G),
{
    let [old, new] = ["the secret of last year 1", "the secret of this year 2"]
        .map(|text| Secret::new(text).expect("a secret of 25 bytes"));
    let manager = |keyring: Keyring| SessionManager::new(keyring).expect("the defaults fit together");
    let before = serve.one(manager(Keyring::new(old.clone()))).await;
    let during = serve.one(manager(Keyring::new(new.clone()).fallback(old))).await;
    let after = serve.one(manager(Keyring::new(new))).await;

    let mut browser = before.browser();
    browser.get("/set?Ada").await;
    let mut browser = Browser { cookie: browser.cookie, ..after.browser() };
    assert_eq!(browser.sees("/get").await, "nothing");
    let mut browser = Browser { cookie: browser.cookie, ..during.browser() };
    let page = browser.get("/get").await;
    assert_eq!(page.text, "Ada");
    assert!(page.set_cookie().is_some(), "it is written again with the new secret");
    let mut browser = Browser { cookie: browser.cookie, ..after.browser() };
    assert_eq!(browser.sees("/get").await, "Ada");
}

async fn two_different_cookies_of_one_name_are_nobodys<F, G>(serve: &Serve<F>)
where
    F: AsyncFn(super::Site) -> (SocketAddr, G),
{
    let keyring = secret();
    let plain = SessionManager::builder(keyring).expect("a keyring is a keyring").clock(clock());
    let plain = serve.one(made(plain.dangerously_allow_http())).await;
    let guarded = serve.one(made(builder())).await;
    for (server, is_guarded) in [(&guarded, true), (&plain, false)] {
        let (mut ada, mut eve) = (server.browser(), server.browser());
        ada.get("/set?Ada").await;
        eve.get("/set?Eve").await;
        let (ada, eve) = (ada.cookie.unwrap_or_default(), eve.cookie.unwrap_or_default());
        let browser = server.browser();
        let both = async |first: &str, second: &str| browser.with(format!("{first}; {second}"), "/get").await.text;
        assert_eq!(both(&ada, &eve).await, "nothing");
        // A browser sends a __Host- cookie once; under a plain name another site may have set one that is not authentic.
        let garbage = format!("{}=garbage", ada.split('=').next().unwrap_or_default());
        let expected = if is_guarded { "nothing" } else { "Ada" };
        assert_eq!(both(&garbage, &ada).await, expected);
        assert_eq!(both(&ada, &ada).await, expected);
    }
}
