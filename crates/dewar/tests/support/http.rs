//! The HTTP scenarios: what every adapter promises, whatever the web framework.
//!
//! An adapter serves the application that [`Application`] describes, and runs [`all`].

use std::{future::Future, time::Duration};

use dewar::{Clock, Keyring, Secret, SessionLayer};
use http::{HeaderMap, Request, Response, StatusCode, header};

/// What the scenarios' application does, by path; the body of a response is text.
///
/// - `/untouched`: nothing with the session.
/// - `/get`: shows the entry `name`, or `nothing`.
/// - `/set?value`: sets the entry `name` to the value.
/// - `/count`: `update`s the entry `count` by one and shows it.
/// - `/remove`: removes the entry `name`. `/clear`: clears. `/renew`: renews.
/// - `/clear-and-set?value`: clears, then sets.
/// - `/set-and-fail?value`: sets, and answers 418. `/set-and-panic?value`: sets, and panics.
/// - `/set-what-cannot-be-written`: inserts a map whose keys are lists.
/// - `/set-large?bytes`: sets `large` to so many bytes, after `small`.
/// - `/get-cached`: reads, with `Cache-Control: max-age=60` and `Vary: Accept`.
/// - `/remember?seconds`: sets `name` to `remembered` and a persistent lifetime.
/// - `/login?user`: `set_principal`.
pub trait Application {
    fn send(&self, request: Request<String>) -> impl Future<Output = Response<String>>;
}

/// A browser's part in a scenario: one jar of cookies.
pub struct Browser<'a, A> {
    application: &'a A,
    pub cookie: Option<String>,
}

impl<'a, A: Application> Browser<'a, A> {
    pub fn new(application: &'a A) -> Self {
        Self { application, cookie: None }
    }

    pub async fn get(&mut self, path: &str) -> Response<String> {
        let mut request = Request::get(path);
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let response = self.application.send(request.body(String::new()).unwrap()).await;
        for set in response.headers().get_all(header::SET_COOKIE) {
            let text = set.to_str().unwrap();
            let pair = text.split(';').next().unwrap().to_owned();
            self.cookie = if text.contains("Max-Age=0") { None } else { Some(pair) };
        }
        response
    }

    pub async fn sees(&mut self, path: &str) -> String {
        self.get(path).await.into_body()
    }
}

pub fn clock() -> Clock {
    Clock::at(dewar::store::Timestamp::from_secs(1_800_000_000))
}

pub fn layer() -> SessionLayer {
    SessionLayer::new(secret()).unwrap().clock(clock())
}

pub fn secret() -> Keyring {
    Keyring::new(Secret::new("0123456789 a secret for tests").unwrap())
}

fn set_cookie(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::SET_COOKIE).map(|value| value.to_str().unwrap())
}

/// Runs every scenario. `make` serves the application behind a layer.
pub async fn all<A: Application>(make: impl Fn(SessionLayer) -> A) {
    let app = make(layer());
    a_request_that_never_names_the_session_says_nothing_of_it(&app).await;
    reading_an_empty_session_varies_and_sets_no_cookie(&app).await;
    the_first_write_sets_the_cookie_with_every_guard(&app).await;
    an_unchanged_session_sets_no_cookie(&app).await;
    removing_the_last_entry_removes_the_cookie(&app).await;
    clearing_removes_the_cookie_and_what_follows_begins_anew(&app).await;
    clearing_nothing_sets_no_cookie(&app).await;
    every_status_commits(&app).await;
    a_panic_commits_nothing(&app).await;
    a_value_that_cannot_be_written_is_a_500_and_the_old_cookie_stays(&app).await;
    a_session_too_large_is_a_500_and_the_old_cookie_stays(&app).await;
    what_the_handler_says_of_caching_is_respected(&app).await;
    remember_me_outlives_the_browser(&app).await;
    an_update_counts(&app).await;
    every_cookie_is_hostile(&app).await;
    a_session_ends_after_its_idle_timeout_and_a_visit_prolongs_it(&make).await;
    a_session_ends_after_its_absolute_timeout_however_busy(&make).await;
    an_older_secret_is_accepted_and_replaced(&make).await;
    two_different_cookies_of_one_name_are_nobodys(&make).await;
}

async fn a_request_that_never_names_the_session_says_nothing_of_it(app: &impl Application) {
    let mut browser = Browser::new(app);
    browser.get("/set?Ada").await;
    let response = browser.get("/untouched").await;
    assert!(!response.headers().contains_key(header::SET_COOKIE));
    assert!(!response.headers().contains_key(header::VARY));
    assert!(!response.headers().contains_key(header::CACHE_CONTROL));
}

async fn reading_an_empty_session_varies_and_sets_no_cookie(app: &impl Application) {
    let response = Browser::new(app).get("/get").await;
    assert_eq!(response.body(), "nothing");
    assert_eq!(response.headers()[header::VARY], "Cookie");
    assert_eq!(response.headers()[header::CACHE_CONTROL], "private");
    assert_eq!(set_cookie(response.headers()), None);
}

async fn the_first_write_sets_the_cookie_with_every_guard(app: &impl Application) {
    let mut browser = Browser::new(app);
    let response = browser.get("/set?Ada").await;
    let cookie = set_cookie(response.headers()).unwrap();
    assert!(cookie.starts_with("__Host-Http-session="), "{cookie}");
    assert!(cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax"), "{cookie}");
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    assert_eq!(browser.sees("/get").await, "Ada");
}

async fn an_unchanged_session_sets_no_cookie(app: &impl Application) {
    let mut browser = Browser::new(app);
    browser.get("/set?Ada").await;
    assert_eq!(set_cookie(browser.get("/get").await.headers()), None);
}

async fn removing_the_last_entry_removes_the_cookie(app: &impl Application) {
    let mut browser = Browser::new(app);
    browser.get("/set?Ada").await;
    let response = browser.get("/remove").await;
    let cookie = set_cookie(response.headers()).unwrap();
    assert!(
        cookie.starts_with("__Host-Http-session=; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Secure")
    );
    assert_eq!(browser.cookie, None);
}

async fn clearing_removes_the_cookie_and_what_follows_begins_anew(app: &impl Application) {
    let mut browser = Browser::new(app);
    browser.get("/set?Ada").await;
    browser.get("/count").await;
    browser.get("/clear-and-set?Eve").await;
    assert_eq!(browser.sees("/get").await, "Eve");
    assert_eq!(browser.sees("/count").await, "1");
    browser.get("/clear").await;
    assert_eq!(browser.cookie, None);
    assert_eq!(browser.sees("/get").await, "nothing");
}

async fn clearing_nothing_sets_no_cookie(app: &impl Application) {
    assert_eq!(set_cookie(Browser::new(app).get("/clear").await.headers()), None);
    // A cookie that was refused is something: starting over removes it.
    let mut browser = Browser { application: app, cookie: Some("__Host-Http-session=garbage".into()) };
    assert!(set_cookie(browser.get("/clear").await.headers()).unwrap().contains("Max-Age=0"));
}

async fn every_status_commits(app: &impl Application) {
    let mut browser = Browser::new(app);
    let response = browser.get("/set-and-fail?Ada").await;
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(browser.sees("/get").await, "Ada");
}

async fn a_panic_commits_nothing(app: &impl Application) {
    let mut browser = Browser::new(app);
    browser.get("/set?Ada").await;
    let response = browser.get("/set-and-panic?Eve").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(set_cookie(response.headers()), None);
    assert_eq!(browser.sees("/get").await, "Ada");
}

async fn a_value_that_cannot_be_written_is_a_500_and_the_old_cookie_stays(app: &impl Application) {
    let mut browser = Browser::new(app);
    browser.get("/set?Ada").await;
    let response = browser.get("/set-what-cannot-be-written").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(set_cookie(response.headers()), None);
    assert_eq!(browser.sees("/get").await, "Ada");
}

async fn a_session_too_large_is_a_500_and_the_old_cookie_stays(app: &impl Application) {
    let mut browser = Browser::new(app);
    browser.get("/set?Ada").await;
    let response = browser.get("/set-large?4000").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(set_cookie(response.headers()), None);
    assert_eq!(browser.get("/set-large?1000").await.status(), StatusCode::OK);
    assert_eq!(browser.sees("/get").await, "Ada");
}

async fn what_the_handler_says_of_caching_is_respected(app: &impl Application) {
    let response = Browser::new(app).get("/get-cached").await;
    assert_eq!(response.headers()[header::CACHE_CONTROL], "max-age=60");
    let vary: Vec<_> = response.headers().get_all(header::VARY).iter().collect();
    assert_eq!(vary, ["Accept", "Cookie"]);
}

async fn remember_me_outlives_the_browser(app: &impl Application) {
    let mut browser = Browser::new(app);
    let response = browser.get("/remember?604800").await;
    let cookie = set_cookie(response.headers()).unwrap();
    assert!(cookie.contains("; Max-Age=604800;"), "{cookie}");
}

async fn an_update_counts(app: &impl Application) {
    let mut browser = Browser::new(app);
    for expected in ["1", "2", "3"] {
        assert_eq!(browser.sees("/count").await, expected);
    }
}

/// Truncated, flipped, extended, of another dialect, not UTF-8, huge: an empty session, no cookie, no panic.
async fn every_cookie_is_hostile(app: &impl Application) {
    let mut browser = Browser::new(app);
    browser.get("/set?Ada").await;
    let good = browser.cookie.clone().unwrap();
    let (name, value) = good.split_once('=').unwrap();
    let mut hostile: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"eyJ1c2VyIjoiYWxpY2UifQ.ZVPxAA.IaTVk_E-vRC2zZaVX_obcbcGAus".to_vec(),
        b"s%3Aabcdefghijklmnopqrstuvwxyz.abcdef".to_vec(),
        b"\xff\xfe\x80".to_vec(),
        vec![b'A'; 64 * 1024],
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
        let cookie = [name.as_bytes(), b"=", &value].concat();
        let request = Request::get("/get").header(header::COOKIE, cookie).body(String::new()).unwrap();
        let response = app.send(request).await;
        assert_eq!(response.body(), "nothing", "{:?}", String::from_utf8_lossy(&value));
        assert_eq!(set_cookie(response.headers()), None);
    }
    for name in ["__host-http-session", "%5F%5FHost-Http-session", " __Host-Http-session2", "__Host-Http-sessio"] {
        let request = Request::get("/get").header(header::COOKIE, format!("{name}={value}"));
        assert_eq!(app.send(request.body(String::new()).unwrap()).await.body(), "nothing", "{name}");
    }
}

async fn a_session_ends_after_its_idle_timeout_and_a_visit_prolongs_it<A: Application>(
    make: &impl Fn(SessionLayer) -> A,
) {
    let clock = clock();
    let app = make(layer().clock(clock.clone()));
    let mut browser = Browser::new(&app);
    browser.get("/set?Ada").await;
    for _ in 0..3 {
        clock.advance(Duration::from_secs(80_000));
        assert_eq!(browser.sees("/get").await, "Ada");
    }
    clock.advance(Duration::from_secs(86_400));
    assert_eq!(browser.sees("/get").await, "nothing");
    // From the future, beyond the skew: the clock was set back by an hour.
    browser.get("/set?Ada").await;
    clock.set(dewar::store::Timestamp::from_secs(clock.now().as_secs() - 59));
    assert_eq!(browser.sees("/get").await, "Ada");
    clock.set(dewar::store::Timestamp::from_secs(clock.now().as_secs() - 3600));
    assert_eq!(browser.sees("/get").await, "nothing");
}

async fn a_session_ends_after_its_absolute_timeout_however_busy<A: Application>(make: &impl Fn(SessionLayer) -> A) {
    let clock = clock();
    let app = make(layer().clock(clock.clone()));
    let mut browser = Browser::new(&app);
    browser.get("/set?Ada").await;
    for _ in 0..35 {
        assert_eq!(browser.sees("/get").await, "Ada");
        clock.advance(Duration::from_secs(20 * 3600));
    }
    clock.advance(Duration::from_secs(20 * 3600));
    assert_eq!(browser.sees("/get").await, "nothing");
}

async fn an_older_secret_is_accepted_and_replaced<A: Application>(make: &impl Fn(SessionLayer) -> A) {
    let [old, new] = ["the secret of last year 1", "the secret of this year 2"].map(|text| Secret::new(text).unwrap());
    let before = make(SessionLayer::new(old.clone()).unwrap());
    let during = make(SessionLayer::new(Keyring::new(new.clone()).fallback(old)).unwrap());
    let after = make(SessionLayer::new(new).unwrap());

    let mut browser = Browser::new(&before);
    browser.get("/set?Ada").await;
    let mut browser = Browser { application: &after, cookie: browser.cookie };
    assert_eq!(browser.sees("/get").await, "nothing");
    let mut browser = Browser { application: &during, cookie: browser.cookie };
    let response = browser.get("/get").await;
    assert_eq!(response.body(), "Ada");
    assert!(set_cookie(response.headers()).is_some(), "it is written again with the new secret");
    let mut browser = Browser { application: &after, cookie: browser.cookie };
    assert_eq!(browser.sees("/get").await, "Ada");
}

async fn two_different_cookies_of_one_name_are_nobodys<A: Application>(make: &impl Fn(SessionLayer) -> A) {
    let guarded = make(layer());
    let plain = make(layer().dangerously_allow_http());
    for (app, prefix) in [(&guarded, true), (&plain, false)] {
        let mut ada = Browser::new(app);
        let mut eve = Browser::new(app);
        ada.get("/set?Ada").await;
        eve.get("/set?Eve").await;
        let (ada, eve) = (ada.cookie.unwrap(), eve.cookie.unwrap());
        let both = async |first: &str, second: &str| {
            Browser { application: app, cookie: Some(format!("{first}; {second}")) }.sees("/get").await
        };
        assert_eq!(both(&ada, &eve).await, "nothing");
        // A browser sends a __Host- cookie once; under a plain name another site may have set one that is not authentic.
        let garbage = format!("{}=garbage", ada.split_once('=').unwrap().0);
        let expected = if prefix { "nothing" } else { "Ada" };
        assert_eq!(both(&garbage, &ada).await, expected);
        assert_eq!(both(&ada, &ada).await, expected);
    }
}
