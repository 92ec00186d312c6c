//! What is promised on both platforms, one function each.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use dewar::{
    Clock, Secret, Session, SessionManager, SessionManagerBuilder,
    store::{SessionAdmin, Timestamp, memory::MemoryStore},
};
use http::{
    HeaderMap, HeaderValue,
    header::{COOKIE, SET_COOKIE},
};

use crate::{host, queue::Queue};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const PASSPHRASE: &str = "w98fw9ef8hwe98fhwef";
const A_DAY: Duration = Duration::from_secs(86_400);

fn builder(clock: &Clock) -> SessionManagerBuilder {
    SessionManager::builder(Secret::generate()).expect("a generated secret is accepted").clock(clock.clone())
}

fn built(builder: SessionManagerBuilder) -> SessionManager {
    builder.build().expect("the settings are accepted")
}

/// Nothing has to wait where the session is in the cookie.
fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits for something"),
    }
}

fn opened(manager: &SessionManager, cookie: &str) -> Session {
    now_or_never(manager.open(&request(cookie))).expect("a cookie is never an error")
}

fn request(cookie: &str) -> HeaderMap {
    let mut request = HeaderMap::new();
    if !cookie.is_empty() {
        request.insert(COOKIE, HeaderValue::from_str(cookie).expect("a cookie fits into a header"));
    }
    request
}

/// Commits the session, and returns the cookie that the browser would send next.
fn committed(manager: &SessionManager, session: &Session) -> String {
    let mut response = HeaderMap::new();
    now_or_never(manager.commit(session)).apply(&mut response).expect("the session is saved");
    let cookie = response.get(SET_COOKIE).expect("the response sets a cookie");
    cookie.to_str().expect("a cookie is ASCII").split(';').next().expect("it has a beginning").to_owned()
}

/// A visit in two requests: what the first writes, the second reads.
fn visit(manager: &SessionManager) -> String {
    let session = opened(manager, "");
    assert!(session.is_empty());
    session.insert("firstName", "Ada");
    session.insert("visits", 3);
    session.insert("colours", ["teal", "green"]);
    let cookie = committed(manager, &session);
    let session = opened(manager, &cookie);
    assert_eq!(session.get::<String>("firstName").as_deref(), Some("Ada"));
    assert_eq!(session.get("visits"), Some(3));
    assert_eq!(session.get("colours"), Some(vec!["teal".to_owned(), "green".to_owned()]));
    assert_eq!(session.len(), 3);
    cookie
}

pub(crate) fn a_sealed_session_comes_back() {
    let cookie = visit(&built(builder(&Clock::at(NOW))));
    assert!(cookie.starts_with("__Host-Http-session="), "{cookie}");
    assert!(!cookie.contains("Ada"), "{cookie}");
}

pub(crate) fn a_session_under_a_passphrase_comes_back() {
    let manager = || {
        let builder = SessionManager::builder(PASSPHRASE).expect("the secret is accepted");
        built(builder.clock(Clock::at(NOW)))
    };
    let cookie = visit(&manager());
    assert_eq!(opened(&manager(), &cookie).get("visits"), Some(3));
}

pub(crate) fn a_tampered_cookie_is_an_empty_session() {
    let manager = built(builder(&Clock::at(NOW)));
    let cookie = visit(&manager);
    let start = cookie.find('=').expect("a cookie has a value") + 1;
    for place in start..cookie.len() {
        let other = if cookie.as_bytes()[place] == b'A' { "B" } else { "A" };
        let mut tampered = cookie.clone();
        tampered.replace_range(place..=place, other);
        assert!(opened(&manager, &tampered).is_empty(), "{cookie} became {tampered}");
    }
    assert!(opened(&built(builder(&Clock::at(NOW))), &cookie).is_empty(), "another secret opens it");
}

pub(crate) fn an_expired_cookie_is_an_empty_session() {
    let clock = Clock::at(NOW);
    let manager = built(builder(&clock));
    let cookie = visit(&manager);
    clock.advance(A_DAY - Duration::from_secs(60));
    assert!(!opened(&manager, &cookie).is_empty());
    clock.advance(Duration::from_secs(61));
    assert!(opened(&manager, &cookie).is_empty());
}

#[cfg(feature = "formats")]
pub(crate) fn flask_s_and_express_s_cookies_come_back() {
    use dewar::dialect::{CookieSession, Flask};

    let flask = built(builder(&Clock::at(NOW)).dialect(Flask::new));
    let cookie = visit(&flask);
    assert!(cookie.starts_with("session=eyJ"), "{cookie}");
    let express = built(builder(&Clock::at(NOW)).dialect(CookieSession::new));
    let session = opened(&express, "");
    session.insert("firstName", "Ada");
    let mut response = HeaderMap::new();
    now_or_never(express.commit(&session)).apply(&mut response).expect("the session is saved");
    // Express signs in a second cookie.
    let pairs: Vec<&str> = response
        .get_all(SET_COOKIE)
        .iter()
        .map(|cookie| cookie.to_str().expect("a cookie is ASCII").split(';').next().expect("it has a beginning"))
        .collect();
    assert_eq!(pairs.len(), 2, "{pairs:?}");
    assert_eq!(opened(&express, &pairs.join("; ")).get::<String>("firstName").as_deref(), Some("Ada"));
    assert!(opened(&express, pairs[0]).is_empty(), "it is opened without its signature");
}

pub(crate) fn a_manager_goes_by_the_clock_that_it_was_given() {
    let secret = Secret::generate();
    let manager = |clock| built(SessionManager::builder(secret.clone()).expect("it is accepted").clock(clock));
    let (today, in_two_days) =
        (manager(Clock::from_fn(host::now)), manager(Clock::from_fn(|| host::now().after(2 * A_DAY))));
    assert!(host::now() > Timestamp::from_secs(1_700_000_000));
    let cookie = visit(&today);
    assert!(!opened(&today, &cookie).is_empty());
    assert!(opened(&in_two_days, &cookie).is_empty());
}

pub(crate) fn a_platform_without_a_clock_is_refused_by_name() {
    let without = SessionManager::builder(Secret::generate()).expect("a generated secret is accepted").build();
    if cfg!(target_os = "unknown") {
        let why = without.expect_err("it is refused");
        assert!(why.is_setting());
        let text = why.to_string();
        assert!(text.contains("clock: this platform has no clock; give one with .clock("), "{text}");
    } else {
        visit(&without.expect("WASI has a clock"));
    }
}

pub(crate) fn a_store_without_a_runtime_is_refused_by_name() {
    let why = builder(&Clock::at(NOW)).store(MemoryStore::new()).build().expect_err("it is refused");
    assert!(why.is_setting());
    let text = why.to_string();
    assert!(text.contains("store: a store needs a runtime; add .runtime("), "{text}");
}

pub(crate) fn a_memory_store_keeps_sessions_with_a_runtime_of_one_s_own() {
    let (clock, store) = (Clock::at(NOW), MemoryStore::new());
    let queue = Queue::new(clock.clone());
    let manager = built(builder(&clock).store(store.clone()).runtime(queue.clone()));
    let cookie = visit(&manager);

    // Two requests at once: both count.
    let (one, other) = (opened(&manager, &cookie), opened(&manager, &cookie));
    for session in [&one, &other] {
        session.update("visits", |visits: &mut u32| *visits += 1).expect("it is a number");
        queue.block_on(manager.commit(session)).apply(&mut HeaderMap::new()).expect("the session is saved");
    }
    assert_eq!(opened(&manager, &cookie).get("visits"), Some(5));

    // A log-out is final.
    let session = opened(&manager, &cookie);
    session.clear();
    queue.block_on(manager.commit(&session)).apply(&mut HeaderMap::new()).expect("the log-out is saved");
    assert!(opened(&manager, &cookie).is_empty());

    // What has expired is removed by a task of the runtime's, which lets others have their turn.
    visit(&manager);
    assert_eq!(queue.block_on(store.count(clock.now())).expect("memory answers"), 1);
    clock.advance(2 * A_DAY);
    (0..1000).for_each(|_| queue.turn(&mut Context::from_waker(Waker::noop())));
    assert_eq!(queue.block_on(store.purge(10, clock.now())).expect("memory answers"), 0, "something was left to purge");
    queue.block_on(manager.drain()).expect("nothing is under way");
}

pub(crate) fn random_numbers_come_from_the_host() {
    #[cfg(target_os = "unknown")]
    let before = host::random::CALLS.load(std::sync::atomic::Ordering::Relaxed);
    let (one, other) = (Secret::generate(), Secret::generate());
    assert_ne!(one.reveal(), other.reveal());
    #[cfg(target_os = "unknown")]
    assert_eq!(host::random::CALLS.load(std::sync::atomic::Ordering::Relaxed) - before, 2);
}
