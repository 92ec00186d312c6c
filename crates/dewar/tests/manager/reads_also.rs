//! Sessions that move: from another framework's cookie, from another secret, from a store that is being left.

use std::time::Duration;

use crate::support::{
    faulty::{Fault, Faulty, Verb},
    http::secret,
};
use dewar::{
    Clock, Keyring, Lifetime, Secret, Session, SessionHandle, SessionLayer, SessionManager, SessionManagerBuilder,
    dialect::{CookieSession, ExpressSession, Flask, wire},
    encoding,
    store::{SessionAdmin, SessionStore, StoreKey, Timestamp, memory::MemoryStore},
    testing::Visitor,
    value::{Bytes, Tuple},
};
use http::{HeaderMap, HeaderValue, header};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const OLD: &str = "the secret of the old site 1";
const DAY: Duration = Duration::from_secs(86_400);

/// A clock for all managers of a test, and the day when the move is over.
struct Move {
    clock: Clock,
    until: Timestamp,
}

impl Move {
    fn new() -> Self {
        Self { clock: Clock::at(NOW), until: Timestamp::from_secs(NOW.as_secs() + 90 * 86_400) }
    }

    /// A manager of the time before, with a secret of its own.
    fn before(&self) -> SessionManagerBuilder {
        let old = Keyring::new(Secret::new("the secret of the old site 1").unwrap());
        SessionManager::builder(old).unwrap().clock(self.clock.clone())
    }

    fn flask(&self) -> SessionManager {
        self.before().dialect(Flask::new).build().unwrap()
    }

    fn builder(&self) -> SessionManagerBuilder {
        SessionManager::builder(secret()).unwrap().clock(self.clock.clone())
    }

    fn from(&self, source: &SessionManager, store: impl SessionAdmin) -> SessionManager {
        self.builder().store(store).reads_also(source.clone(), self.until).build().unwrap()
    }
}

/// A browser with all cookies of the site.
#[derive(Clone, Debug, Default)]
struct Browser(std::collections::BTreeMap<String, String>);

impl Browser {
    fn with(visitor: &Visitor) -> Self {
        let cookie = visitor.cookie();
        let pairs = cookie.to_str().unwrap().split("; ").filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn headers(&self) -> HeaderMap {
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::try_from(pairs.join("; ")).unwrap())])
    }

    async fn opens(&self, manager: &SessionManager) -> Session {
        manager.open(&self.headers()).await.unwrap()
    }

    /// One request whose handler does this. The `Set-Cookie` headers of its response.
    async fn visits(&mut self, manager: &SessionManager, handler: impl FnOnce(&Session)) -> Vec<String> {
        let session = self.opens(manager).await;
        handler(&session);
        let mut response = HeaderMap::new();
        manager.commit(&session).await.apply(&mut response).unwrap();
        let cookies = response.get_all(header::SET_COOKIE).iter().map(|cookie| cookie.to_str().unwrap().to_owned());
        let cookies: Vec<String> = cookies.collect();
        self.takes(&response);
        cookies
    }

    /// Keeps the cookies of a response.
    fn takes(&mut self, response: &HeaderMap) {
        for cookie in response.get_all(header::SET_COOKIE) {
            let (name, value) = cookie.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            match value {
                "" => self.0.remove(name),
                value => self.0.insert(name.to_owned(), value.to_owned()),
            };
        }
    }

    async fn try_visits(
        &mut self,
        manager: &SessionManager,
        handler: impl FnOnce(&Session),
    ) -> Result<(), dewar::Error> {
        let session = manager.open(&self.headers()).await?;
        handler(&session);
        let mut response = HeaderMap::new();
        let done = manager.commit(&session).await.apply(&mut response);
        self.takes(&response);
        done
    }
}

fn names(browser: &Browser) -> Vec<&str> {
    browser.0.keys().map(String::as_str).collect()
}

async fn person_of_flask(flask: &SessionManager) -> Browser {
    let prepared = Visitor::prepared(flask, |session| {
        session.insert("firstName", "Ada");
        session.insert("pair", Tuple((1, "two")));
        session.insert("bytes", Bytes(vec![0, 255]));
        session.set_lifetime(Lifetime::persistent());
        session.set_principal("7");
        session.flash("Welcome");
    });
    Browser::with(&prepared.await.unwrap())
}

fn is_whole(session: &Session) {
    assert_eq!(session.get::<String>("firstName").unwrap(), "Ada");
    assert_eq!(session.get::<(i32, String)>("pair"), Some((1, "two".into())));
    assert_eq!(session.get::<Bytes>("bytes"), Some(Bytes(vec![0, 255])));
    assert_eq!(session.principal().as_deref(), Some("7"));
    assert!(!session.contains("_permanent"));
}

#[tokio::test]
async fn a_session_of_flask_moves_into_a_sealed_cookie() {
    let site = Move::new();
    let flask = site.flask();
    let mut ada = person_of_flask(&flask).await;
    let ours = site.builder().reads_also(flask, site.until).build().unwrap();
    // Also where the request only reads.
    let cookies = ada.visits(&ours, is_whole).await;
    assert_eq!(cookies.len(), 2, "{cookies:?}");
    assert!(cookies[0].contains("Max-Age="), "what was permanent outlives the browser: {cookies:?}");
    assert_eq!(names(&ada), ["__Host-Http-session"]);
    ada.visits(&ours, |session| {
        is_whole(session);
        assert_eq!(session.take_flashes()[0].text(), "Welcome");
    })
    .await;
    ada.visits(&ours, |session| assert!(session.take_flashes().is_empty())).await;
}

#[tokio::test]
async fn a_session_of_flask_moves_to_a_store_with_its_first_write() {
    let site = Move::new();
    let flask = site.flask();
    let store = MemoryStore::new();
    let ours = site.from(&flask, store.clone());
    let mut ada = person_of_flask(&flask).await;
    assert!(ada.visits(&ours, is_whole).await.is_empty(), "a request that only reads moves nothing");
    let cookies = ada.visits(&ours, |session| session.insert("seen", true)).await;
    assert_eq!(cookies.len(), 2, "{cookies:?}");
    assert_eq!(names(&ada), ["__Host-Http-session"]);
    ada.visits(&ours, is_whole).await;
    assert_eq!(ours.sessions_of("7").await.unwrap().len(), 1);
    ada.visits(&ours, Session::clear).await;
    assert!(ada.0.is_empty());
    assert_eq!(store.count(NOW).await.unwrap(), 0);
}

#[tokio::test]
async fn two_strangers_with_equal_cookies_of_flask_never_share_a_session() {
    let site = Move::new();
    for make in [
        |layer: SessionManagerBuilder| layer.dialect(Flask::new),
        |layer: SessionManagerBuilder| layer.dialect(CookieSession::new),
    ] {
        let old = make(site.before()).build().unwrap();
        let ours = site.from(&old, MemoryStore::new());
        let visitor = async || Browser::with(&Visitor::with(&old, serde_json::json!({"theme": "dark"})).await.unwrap());
        let (mut ada, mut eve) = (visitor().await, visitor().await);
        assert_eq!(ada.0, eve.0, "the same entries in the same second are the same bytes");
        ada.visits(&ours, |session| session.insert("secret", "Ada's")).await;
        eve.visits(&ours, |session| assert!(!session.contains("secret"))).await;
        eve.visits(&ours, |session| session.insert("secret", "Eve's")).await;
        ada.visits(&ours, |session| assert_eq!(session.get::<String>("secret").unwrap(), "Ada's")).await;
        // A log-out of one ends nothing of the other's, nor keeps the other from moving.
        ada.visits(&ours, Session::clear).await;
        eve.visits(&ours, |session| assert_eq!(session.get::<String>("secret").unwrap(), "Eve's")).await;
        let mut third = visitor().await;
        third.visits(&ours, |session| session.insert("secret", "of a third")).await;
        third.visits(&ours, |session| assert_eq!(session.get::<String>("secret").unwrap(), "of a third")).await;
    }
}

#[tokio::test]
async fn emptying_or_clearing_what_came_from_elsewhere_removes_the_old_cookie() {
    let site = Move::new();
    let flask = site.flask();
    let ours = site.from(&flask, MemoryStore::new());
    for empties in [|session: &Session| session.clear(), |session: &Session| _ = session.remove("theme")] {
        let old = Visitor::with(&flask, serde_json::json!({"theme": "dark"})).await.unwrap();
        let mut ada = Browser::with(&old);
        ada.visits(&ours, empties).await;
        assert!(ada.0.is_empty());
    }
}

#[tokio::test]
async fn a_session_on_the_store_of_express_moves_once_and_its_old_cookie_leads_nowhere_after_a_log_out() {
    let site = Move::new();
    let (left, store) = (MemoryStore::new(), MemoryStore::new());
    let express = site.before().dialect(ExpressSession::new).store(left.clone()).build().unwrap();
    let ours = site.from(&express, store.clone());
    let mut ada = Browser::with(&Visitor::with(&express, serde_json::json!({"n": 1})).await.unwrap());
    let copy = ada.clone();
    // Requests that left the browser together meet in one session.
    let parallel = [ada.opens(&ours).await, ada.opens(&ours).await, ada.opens(&ours).await];
    for session in &parallel {
        session.update("n", |n: &mut u32| *n += 1).unwrap();
    }
    for session in &parallel {
        ours.commit(session).await.apply(&mut HeaderMap::new()).unwrap();
    }
    let cookies = ada.visits(&ours, |session| assert_eq!(session.get("n"), Some(4))).await;
    assert_eq!(cookies.len(), 2, "{cookies:?}");
    assert_eq!((store.count(NOW).await.unwrap(), left.count(NOW).await.unwrap()), (1, 0), "it is in one place");
    assert!(copy.opens(&express).await.is_empty(), "the old site has it no more");
    // The copy is the same visitor's, as long as they are here.
    assert_eq!(copy.opens(&ours).await.get("n"), Some(4));
    ada.visits(&ours, Session::clear).await;
    assert!(ada.0.is_empty() && copy.opens(&ours).await.is_empty());
    let mut late = copy.clone();
    late.visits(&ours, |session| session.insert("n", 9)).await;
    assert_eq!(late.opens(&ours).await.get("n"), Some(9), "what comes after a log-out is a new session");
    assert!(copy.opens(&ours).await.is_empty());
}

#[tokio::test]
async fn a_store_of_our_own_that_is_being_left_and_a_secret_that_was_changed_log_nobody_out() {
    let site = Move::new();
    let (left, store) = (MemoryStore::new(), Faulty::default());
    let old = site.builder().store(left.clone()).build().unwrap();
    let ours = site.from(&old, store.clone());
    let prepared = Visitor::prepared(&old, |session| {
        session.insert("n", 1);
        session.set_label("Firefox");
        session.set_principal("ada");
    });
    let mut ada = Browser::with(&prepared.await.unwrap());
    // Both have the same cookie: the one that is set is not removed again.
    let cookies = ada.visits(&ours, |session| assert_eq!(session.principal().as_deref(), Some("ada"))).await;
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    assert_eq!(ada.opens(&ours).await.get("n"), Some(1));
    assert_eq!(ours.sessions_of("ada").await.unwrap()[0].label.as_deref(), Some("Firefox"));
    assert_eq!(left.count(NOW).await.unwrap(), 0);

    let sealed = site.before().build().unwrap();
    let ours = site.from(&sealed, store);
    let ada = Browser::with(&Visitor::with(&sealed, serde_json::json!({"n": 1})).await.unwrap());
    let (mut one, mut two) = (ada.clone(), ada.clone());
    one.visits(&ours, |session| session.insert("one", 1)).await;
    two.visits(&ours, |session| session.insert("two", 2)).await;
    let session = one.opens(&ours).await;
    assert_eq!((session.get("one"), session.get("two")), (Some(1), Some(2)), "a cookie with a nonce is one visitor's");
    one.visits(&ours, Session::clear).await;
    assert!(ada.opens(&ours).await.is_empty() && two.opens(&ours).await.is_empty());
}

#[tokio::test]
async fn a_cookie_of_ours_counts_alone_and_a_log_out_takes_the_old_one_along() {
    let site = Move::new();
    let flask = site.flask();
    let ours = site.from(&flask, MemoryStore::new());
    let mut ada = person_of_flask(&flask).await;
    let old = ada.clone();
    ada.visits(&ours, |session| session.insert("here", true)).await;
    // The old site sets its cookie again.
    ada.0.extend(old.0);
    ada.visits(&ours, |session| assert!(session.contains("here"))).await;
    let ended = ada.clone();
    ada.visits(&ours, Session::clear).await;
    assert!(ada.0.is_empty());
    assert!(ended.opens(&ours).await.is_empty(), "a session of ours that ended is not revived by an old cookie");
}

#[tokio::test]
async fn a_source_that_is_over_or_hostile_is_nobody() {
    let site = Move::new();
    let flask = site.flask();
    let ours = site.from(&flask, MemoryStore::new());
    let ada = person_of_flask(&flask).await;
    let forged = Browser(ada.0.iter().map(|(name, value)| (name.clone(), format!("{value}x"))).collect());
    assert!(forged.opens(&ours).await.is_empty());
    assert!(!ada.opens(&ours).await.is_empty());
    site.clock.advance(DAY * 32);
    assert!(ada.opens(&ours).await.is_empty(), "a session that ran out there has run out here");
    let fresh = person_of_flask(&flask).await;
    assert!(!fresh.opens(&ours).await.is_empty());
    site.clock.advance(DAY * 58);
    let fresh = person_of_flask(&flask).await;
    assert!(fresh.opens(&ours).await.is_empty(), "the date has come");
}

#[tokio::test]
async fn whoever_was_logged_out_everywhere_does_not_come_back_from_elsewhere() {
    let site = Move::new();
    let flask = site.flask();
    let ours = site.from(&flask, MemoryStore::new());
    let (mut ada, mut copy) = (person_of_flask(&flask).await, person_of_flask(&flask).await);
    ada.visits(&ours, |session| session.insert("here", true)).await;
    let opened_before = copy.opens(&ours).await;
    site.clock.advance(Duration::from_secs(1));
    ours.revoke_all("7").await.unwrap();
    assert!(ada.opens(&ours).await.is_empty());
    copy.visits(&ours, |session| assert!(session.is_empty())).await;
    opened_before.insert("late", true);
    let _ = ours.commit(&opened_before).await.apply(&mut HeaderMap::new());
    assert!(ours.sessions_of("7").await.unwrap().is_empty());
    site.clock.advance(Duration::from_secs(1));
    let again = person_of_flask(&flask).await;
    assert_eq!(again.opens(&ours).await.principal().as_deref(), Some("7"), "a later log-in there is one");
}

#[tokio::test]
async fn a_source_that_cannot_be_reached_is_an_honest_error_and_nothing_is_removed() {
    let site = Move::new();
    let left = Faulty::default();
    let express = site.before().dialect(ExpressSession::new).store(left.clone()).build().unwrap();
    let ours = site.from(&express, MemoryStore::new());
    let mut ada = Browser::with(&Visitor::with(&express, serde_json::json!({"n": 1})).await.unwrap());
    left.down.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(ours.open(&ada.headers()).await.unwrap_err().is_store());
    left.heal();
    ada.visits(&ours, |session| assert_eq!(session.get("n"), Some(1))).await;
    assert_eq!(names(&ada), ["__Host-Http-session"]);
}

#[test]
fn contradictions_are_refused_at_start_up() {
    let site = Move::new();
    let express = site.before().dialect(ExpressSession::new).store(MemoryStore::new()).build().unwrap();
    let error = site.builder().reads_also(express, site.until).build().unwrap_err();
    assert!(error.is_setting() && error.to_string().contains("add .store(...)"), "{error}");
}

#[test]
fn layers_agree_where_they_read_the_same_sources() {
    let site = Move::new();
    let flask = site.flask();
    let layer = || SessionLayer::new(secret()).unwrap().clock(site.clock.clone());
    let one = layer().reads_also(flask.clone(), site.until).manager().unwrap();
    assert!(layer().reads_also(flask, site.until).manager().unwrap().agrees_with(&one));
    assert!(!layer().manager().unwrap().agrees_with(&one));
}

#[tokio::test]
async fn whoever_is_nobody_is_kept_out_by_the_end_of_everybodys_sessions_too() {
    let site = Move::new();
    let flask = site.flask();
    let ours = site.from(&flask, MemoryStore::new());
    let old = Browser::with(&Visitor::with(&flask, serde_json::json!({"theme": "dark"})).await.unwrap());
    assert!(!old.opens(&ours).await.is_empty());
    site.clock.advance(Duration::from_secs(1));
    ours.revoke_everyone().await.unwrap();
    assert!(old.opens(&ours).await.is_empty());
    site.clock.advance(Duration::from_secs(1));
    let new = Browser::with(&Visitor::with(&flask, serde_json::json!({"theme": "dark"})).await.unwrap());
    assert!(!new.opens(&ours).await.is_empty());
}

#[tokio::test]
async fn what_the_new_format_cannot_hold_is_an_error_by_name_and_nothing_is_removed() {
    let site = Move::new();
    let flask = site.flask();
    let ours = site.builder().dialect(CookieSession::new).reads_also(flask.clone(), site.until).build().unwrap();
    let prepared = Visitor::prepared(&flask, |session| session.insert("pair", Tuple((1, 2))));
    let ada = Browser::with(&prepared.await.unwrap());
    let error = ours.open(&ada.headers()).await.unwrap_err();
    assert!(error.is_entry() && error.to_string().contains("\"pair\""), "{error}");
}

fn flask_cookie(json: &[u8], at: u64) -> String {
    let signer = wire::itsdangerous::Signer::new(
        &[OLD.as_bytes()],
        b"cookie-session",
        dewar::dialect::Digest::Sha1,
        wire::itsdangerous::Derivation::Hmac,
    )
    .unwrap();
    let mut token = String::new();
    encoding::base64::push_url(json, &mut token);
    signer.sign_at_into(&mut token, at);
    token
}

/// sealed cookie -> store S1 (logged out there) -> a new manager that reads S1's manager.
#[tokio::test]
async fn a_log_out_at_the_source_is_final_for_a_cookie_of_before_its_store() {
    let site = Move::new();
    let sealed = site.before().build().unwrap();
    let first = site.before().store(MemoryStore::new()).build().unwrap();
    let second = site.from(&first, MemoryStore::new());
    let mut ada = Browser::with(
        &Visitor::prepared(&sealed, |s| {
            s.insert("n", 1);
            s.set_principal("ada")
        })
        .await
        .unwrap(),
    );
    let copy = ada.clone();
    ada.visits(&first, |s| assert_eq!(s.get("n"), Some(1))).await;
    ada.visits(&first, Session::clear).await;
    assert!(copy.opens(&first).await.is_empty(), "final at the first store");
    assert_eq!(copy.opens(&second).await.principal(), None, "the log-out at the source is undone");
}

/// The same, where the session lives on in the source's store with newer entries.
#[tokio::test]
async fn what_the_source_wrote_after_a_cookie_of_before_its_store_moves_along() {
    let site = Move::new();
    let sealed = site.before().build().unwrap();
    let first = site.before().store(MemoryStore::new()).build().unwrap();
    let second = site.from(&first, MemoryStore::new());
    let old = Browser::with(&Visitor::prepared(&sealed, |s| s.insert("n", 1)).await.unwrap());
    let mut one = old.clone();
    one.visits(&first, |s| s.insert("n", 2)).await;
    // A parallel request of the same page, with the old cookie.
    assert_eq!(old.opens(&first).await.get("n"), Some(2));
    assert_eq!(old.opens(&second).await.get("n"), Some(2), "stale: the source's store is not asked");
}

#[tokio::test]
async fn what_was_revoked_at_the_source_does_not_come_back_with_a_cookie_of_before_its_store() {
    let site = Move::new();
    let sealed = site.before().build().unwrap();
    let first = site.before().store(MemoryStore::new()).build().unwrap();
    let second = site.from(&first, MemoryStore::new());
    let thief = Browser::with(&Visitor::prepared(&sealed, |s| s.set_principal("ada")).await.unwrap());
    site.clock.advance(Duration::from_secs(1));
    first.revoke_all("ada").await.unwrap();
    assert_eq!(thief.opens(&first).await.principal(), None);
    assert_eq!(thief.opens(&second).await.principal(), None, "what was revoked is back");
}

#[tokio::test]
async fn the_end_of_everybodys_sessions_keeps_out_a_format_without_dates() {
    let site = Move::new();
    let old = site.before().dialect(CookieSession::new).build().unwrap();
    let ours = site.from(&old, MemoryStore::new());
    let ada = Browser::with(&Visitor::with(&old, serde_json::json!({"passport": {"user": "ada"}})).await.unwrap());
    site.clock.advance(Duration::from_secs(5));
    ours.revoke_everyone().await.unwrap();
    assert!(ada.opens(&ours).await.is_empty());
}

/// The visitor logs out at the old site while a slow request of theirs runs at the new one.
#[tokio::test]
async fn a_slow_request_here_undoes_no_log_out_at_the_old_site() {
    let site = Move::new();
    for express in [true, false] {
        let left = MemoryStore::new();
        let old = if express {
            site.before().dialect(ExpressSession::new).store(left).build().unwrap()
        } else {
            site.before().store(left).build().unwrap()
        };
        let ours = site.from(&old, MemoryStore::new());
        let mut ada = Browser::with(&Visitor::with(&old, serde_json::json!({"user": "ada"})).await.unwrap());
        let copy = ada.clone();
        let slow = ada.opens(&ours).await;
        assert_eq!(slow.get::<String>("user").as_deref(), Some("ada"));
        ada.visits(&old, Session::clear).await;
        assert!(copy.opens(&old).await.is_empty() && copy.opens(&ours).await.is_empty(), "logged out everywhere");
        slow.insert("late", 1);
        let mut response = HeaderMap::new();
        let _ = ours.commit(&slow).await.apply(&mut response);
        ada.takes(&response);
        assert!(copy.opens(&ours).await.is_empty(), "express {express}: a copy of the cookie is logged in again");
        assert!(ada.opens(&ours).await.is_empty(), "express {express}: the browser is logged in again");
    }
}

/// A request at the old site writes between the load and the move here.
#[tokio::test]
async fn what_the_old_site_answered_meanwhile_moves_along() {
    let site = Move::new();
    let old = site.before().store(MemoryStore::new()).build().unwrap();
    let ours = site.from(&old, MemoryStore::new());
    let mut ada = Browser::with(&Visitor::with(&old, serde_json::json!({"n": 1})).await.unwrap());
    let mut tab = ada.clone();
    let here = ada.opens(&ours).await;
    tab.visits(&old, |s| s.insert("order", "answered with 200")).await;
    here.insert("here", 1);
    let mut response = HeaderMap::new();
    ours.commit(&here).await.apply(&mut response).unwrap();
    ada.takes(&response);
    let session = ada.opens(&ours).await;
    assert!(session.contains("here"));
    assert!(session.contains("order"), "the old site's answered write is lost");
}

/// A renewal/log-in at the old site between load and move.
#[tokio::test]
async fn a_log_in_at_the_old_site_meanwhile_leaves_nobody_with_the_id_of_before() {
    let site = Move::new();
    let old = site.before().store(MemoryStore::new()).build().unwrap();
    let ours = site.from(&old, MemoryStore::new());
    let mut ada = Browser::with(&Visitor::with(&old, serde_json::json!({"n": 1})).await.unwrap());
    let thief = ada.clone();
    let here = thief.opens(&ours).await;
    ada.visits(&old, |s| s.set_principal("ada")).await;
    here.insert("here", 1);
    let mut response = HeaderMap::new();
    let done = ours.commit(&here).await.apply(&mut response);
    eprintln!("{done:?} {response:?}");
    // Ada's own new cookie still works.
    assert_eq!(ada.opens(&ours).await.principal().as_deref(), Some("ada"));
    assert!(response.get(header::SET_COOKIE).is_none(), "an own session out of one that was renewed");
}

/// The source could not be told; then the secret of the new site is rotated.
#[tokio::test]
async fn a_secret_that_is_changed_here_undoes_no_log_out() {
    let site = Move::new();
    let (left, store) = (Faulty::default(), MemoryStore::new());
    let old = site.before().dialect(ExpressSession::new).store(left.clone()).build().unwrap();
    let ours = site.from(&old, store.clone());
    let mut ada = Browser::with(&Visitor::with(&old, serde_json::json!({"user": "ada"})).await.unwrap());
    let copy = ada.clone();
    left.always(Verb::Delete, Fault::NotDone);
    ada.visits(&ours, |s| s.insert("x", 1)).await;
    left.heal();
    ada.visits(&ours, Session::clear).await;
    assert!(copy.opens(&ours).await.is_empty());
    let rotated = Keyring::new(Secret::new("the secret of the next year 2").unwrap())
        .fallback(Secret::new("0123456789 a secret for tests").unwrap());
    let after = SessionManager::builder(rotated)
        .unwrap()
        .clock(site.clock.clone())
        .store(store)
        .reads_also(old, site.until)
        .build()
        .unwrap();
    assert!(copy.opens(&after).await.is_empty(), "logged out, and back after a rotation");
}

/// Rolling deploy of a rotation: one cookie, two sessions.
#[tokio::test]
async fn servers_with_and_without_the_new_secret_meet_in_one_session() {
    let site = Move::new();
    let store = MemoryStore::new();
    let old = site.before().dialect(ExpressSession::new).store(MemoryStore::new()).build().unwrap();
    let one = site.from(&old, store.clone());
    let [known, next] = ["0123456789 a secret for tests", "the secret of the next year 2"];
    let rotated = Keyring::new(Secret::new(known).unwrap()).fallback(Secret::new(next).unwrap());
    let two = SessionManager::builder(rotated)
        .unwrap()
        .clock(site.clock.clone())
        .store(store)
        .reads_also(old.clone(), site.until)
        .build()
        .unwrap();
    let ada = Browser::with(&Visitor::with(&old, serde_json::json!({"n": 1})).await.unwrap());
    let (a, b) = (ada.opens(&one).await, ada.opens(&two).await);
    a.insert("a", 1);
    b.insert("b", 1);
    let (mut x, mut y) = (ada.clone(), ada.clone());
    let mut response = HeaderMap::new();
    one.commit(&a).await.apply(&mut response).unwrap();
    x.takes(&response);
    let mut response = HeaderMap::new();
    two.commit(&b).await.apply(&mut response).unwrap();
    y.takes(&response);
    let s = y.opens(&one).await;
    assert!(s.contains("a") && s.contains("b"), "two sessions of one cookie");
}

/// Two sources; the ids of one (unsigned) are the names of records at the other.
#[tokio::test]
async fn who_reads_the_names_in_one_old_store_gets_nowhere_through_another_source() {
    let site = Move::new();
    let left = MemoryStore::new();
    let express = site.before().dialect(ExpressSession::new).store(left.clone()).build().unwrap();
    let opaque = site.before().cookie_name("__Host-older").store(MemoryStore::new()).build().unwrap();
    let ours = site
        .builder()
        .store(MemoryStore::new())
        .reads_also(express.clone(), site.until)
        .reads_also(opaque, site.until)
        .build()
        .unwrap();
    // express-session with genid: () => crypto.randomBytes(32).toString('base64url')
    let mut sid = String::new();
    encoding::base64::push_url(&[7u8; 32], &mut sid);
    let template = Browser::with(&Visitor::with(&express, serde_json::json!({"user": "ada"})).await.unwrap());
    let page = left.list(None, None, 10, NOW).await.unwrap();
    let (_, record, version) = page[0].clone();
    left.create(&StoreKey::foreign(format!("sess:{sid}")), version, record, None, NOW).await.unwrap();
    drop(template);
    let signer = wire::cookie_signature::CookieSigner::new(&[OLD.as_bytes()]).unwrap();
    let value = format!("s%3A{}", signer.sign(&sid).replace('+', "%2B").replace('/', "%2F"));
    let mut ada = Browser([("connect.sid".to_owned(), value)].into());
    assert_eq!(ada.opens(&ours).await.get::<String>("user").as_deref(), Some("ada"));
    ada.visits(&ours, |s| s.insert("secret", "Ada's")).await;
    let thief = Browser([("__Host-older".to_owned(), sid)].into());
    assert!(thief.opens(&ours).await.is_empty(), "who read the names in the old store is Ada");
}

/// Express saves its session at the end of a slow request, as it does: without looking. The log-out here holds a day, and then a copy is logged in.
#[tokio::test]
async fn a_log_out_is_final_for_as_long_as_the_source_is_read() {
    let site = Move::new();
    let left = MemoryStore::new();
    let old = site.before().dialect(ExpressSession::new).store(left.clone()).build().unwrap();
    let ours = site.from(&old, MemoryStore::new());
    let mut ada = Browser::with(&Visitor::with(&old, serde_json::json!({"user": "ada"})).await.unwrap());
    let copy = ada.clone();
    let (key, mut record, version) = left.list(None, None, 10, NOW).await.unwrap().remove(0);
    ada.visits(&ours, |s| s.insert("x", 1)).await;
    site.clock.advance(Duration::from_secs(200)); // the tombstone at the source is over, too
    record.idle_expires = record.idle_expires.after(Duration::from_secs(3600));
    left.create(&key, version, record, None, site.clock.now()).await.unwrap();
    ada.visits(&ours, Session::clear).await;
    assert!(copy.opens(&ours).await.is_empty());
    site.clock.advance(DAY - Duration::from_secs(100));
    assert!(copy.opens(&ours).await.is_empty(), "a copy of the old cookie is logged in again");
}

#[tokio::test]
async fn an_absolute_timeout_of_a_sessions_own_moves() {
    let site = Move::new();
    for on_store in [false, true] {
        let sealed = site.before().build().unwrap();
        let ours = site.builder().reads_also(sealed.clone(), site.until);
        let ours = if on_store { ours.store(MemoryStore::new()) } else { ours }.build().unwrap();
        let mut ada = Browser::with(
            &Visitor::prepared(&sealed, |s| {
                s.insert("n", 1);
                s.set_lifetime(Lifetime::browser().absolute(Duration::from_secs(3600)))
            })
            .await
            .unwrap(),
        );
        ada.visits(&ours, |s| s.insert("m", 1)).await;
        site.clock.advance(Duration::from_secs(3601));
        assert!(ada.opens(&ours).await.is_empty(), "on a store: {on_store}; an hour in all became 30 days");
    }
}

#[tokio::test]
async fn a_lifetime_of_one_session_of_express_moves() {
    let site = Move::new();
    let old = site.before().dialect(ExpressSession::new).store(MemoryStore::new()).build().unwrap();
    let left = MemoryStore::new();
    let old = {
        drop(old);
        site.before().dialect(ExpressSession::new).store(left.clone()).build().unwrap()
    };
    let ours = site.from(&old, MemoryStore::new());
    let ada = Browser::with(&Visitor::with(&old, serde_json::json!({"n": 1})).await.unwrap());
    let (key, mut record, version) = left.list(None, None, 10, NOW).await.unwrap().remove(0);
    // req.session.cookie.maxAge = 600000
    record.data = br#"{"cookie":{"originalMaxAge":600000,"expires":"2027-01-15T08:10:00.000Z","httpOnly":true,"path":"/"},"n":1}"#[..].into();
    left.replace(&key, version, version, record, NOW).await.unwrap();
    let mut ada2 = ada.clone();
    ada2.visits(&ours, |s| assert_eq!(s.get("n"), Some(1))).await;
    site.clock.advance(Duration::from_secs(3600));
    assert!(ada2.opens(&ours).await.is_empty(), "ten minutes became a day");
}

#[tokio::test]
async fn a_name_with_a_lone_surrogate_moves_or_is_an_error_by_name() {
    let site = Move::new();
    let flask = site.flask();
    for on_store in [false, true] {
        let ours = site.builder().reads_also(flask.clone(), site.until);
        let ours = if on_store { ours.store(MemoryStore::new()) } else { ours }.build().unwrap();
        let mut ada =
            Browser([("session".to_owned(), flask_cookie(br#"{"user":"ada","q\ud800":1}"#, NOW.as_secs()))].into());
        assert_eq!(ada.opens(&flask).await.get::<String>("user").as_deref(), Some("ada"));
        let Ok(()) = ada.try_visits(&ours, |s| s.insert("m", 1)).await else {
            eprintln!("refused by name: fine");
            continue;
        };
        let session = ada.opens(&ours).await;
        assert_eq!(
            session.get::<String>("user").as_deref(),
            Some("ada"),
            "store {on_store}: all of it is gone: {:?}",
            session.keys()
        );
    }
}

#[tokio::test]
async fn a_session_that_ends_with_the_browser_stays_one() {
    let site = Move::new();
    // Both sides remember by default; this visitor did not want to be.
    let old = site.before().lifetime(Lifetime::persistent()).build().unwrap();
    let ours = site.builder().lifetime(Lifetime::persistent()).reads_also(old.clone(), site.until).build().unwrap();
    let ada = Browser::with(
        &Visitor::prepared(&old, |s| {
            s.insert("n", 1);
            s.set_lifetime(Lifetime::browser())
        })
        .await
        .unwrap(),
    );
    let session = ada.opens(&ours).await;
    let mut response = HeaderMap::new();
    ours.commit(&session).await.apply(&mut response).unwrap();
    let cookie = response[header::SET_COOKIE].to_str().unwrap();
    assert!(!cookie.contains("Max-Age"), "a session of the browser became one of 30 days: {cookie}");
}

#[tokio::test]
async fn a_partitioned_cookie_is_another_cookie() {
    let site = Move::new();
    let old = site.before().partitioned(true).build().unwrap();
    let ours = site.builder().reads_also(old.clone(), site.until).build().unwrap();
    let ada = Browser::with(&Visitor::with(&old, serde_json::json!({"n": 1})).await.unwrap());
    let session = ada.opens(&ours).await;
    let mut response = HeaderMap::new();
    ours.commit(&session).await.apply(&mut response).unwrap();
    let cookies: Vec<_> = response.get_all(header::SET_COOKIE).iter().map(|c| c.to_str().unwrap().to_owned()).collect();
    assert!(
        cookies.iter().any(|c| c.contains("Partitioned") && c.contains("Max-Age=0")),
        "the partitioned one stays: {cookies:?}"
    );
}

/// A handle from before the move.
#[tokio::test]
async fn a_handle_of_the_old_store_names_the_session_that_moved() {
    let site = Move::new();
    let old = site.before().store(MemoryStore::new()).build().unwrap();
    let ours = site.from(&old, MemoryStore::new());
    let mut ada = Browser::with(&Visitor::prepared(&old, |s| s.set_principal("ada")).await.unwrap());
    let handle: SessionHandle = ada.opens(&old).await.handle().unwrap().to_string().parse().unwrap();
    ada.visits(&ours, |s| s.insert("here", 1)).await;
    assert!(
        ours.edit(&handle, |s| s.insert("job", "done")).await.unwrap(),
        "the session is alive, and its handle is not"
    );
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Random faults on either side; one visitor, requests at once, and at the end a log-out.
#[tokio::test]
async fn faults_on_either_side_lose_no_answer_and_revive_nothing() {
    for seed in 0..80u64 {
        let mut dice = Dice(seed * 7919 + 1);
        for _ in 0..5 {
            dice.roll(2);
        }
        let site = Move::new();
        let (left, store) = (Faulty::default(), Faulty::default());
        let kind = seed % 3;
        let old = match kind {
            0 => site.before().dialect(ExpressSession::new).store(left.clone()).build().unwrap(),
            1 => site.before().store(left.clone()).build().unwrap(),
            _ => site.before().build().unwrap(),
        };
        let managers = [site.from(&old, store.clone()), site.from(&old, store.clone())];
        let first = Browser::with(&Visitor::with(&old, serde_json::json!({"first": 1})).await.unwrap());
        let copy = first.clone();
        let mut ada = first.clone();
        let mut answered: Vec<String> = vec!["first".into()];
        let mut counted = 0u32;
        let mut unsure = 0u32;
        for step in 0..6 {
            for s in [&left, &store] {
                for _ in 0..dice.roll(3) {
                    let fault = match dice.roll(4) {
                        0 => Fault::Lost,
                        1 => Fault::NotDone,
                        2 => Fault::Late(Duration::from_millis(3)),
                        _ => Fault::Slow(Duration::from_millis(2)),
                    };
                    s.fail(None, 1 + dice.roll(5) as u32, fault);
                }
            }
            let count = 1 + dice.roll(3) as usize;
            let mut running = Vec::new();
            for at in 0..count {
                let manager = managers[dice.roll(2) as usize].clone();
                let name = format!("e{step}_{at}");
                let renews = dice.roll(6) == 0;
                let with = if dice.roll(3) == 0 { copy.clone() } else { ada.clone() };
                running.push(tokio::spawn(async move {
                    let Ok(session) = manager.open(&with.headers()).await else { return None };
                    if session.is_empty() {
                        return Some((name, false, HeaderMap::new(), true));
                    }
                    session.insert(&name[..], 1);
                    session.update("count", |c: &mut u32| *c += 1).unwrap();
                    if renews {
                        session.renew()
                    }
                    let mut response = HeaderMap::new();
                    let done = manager.commit(&session).await.apply(&mut response).is_ok();
                    Some((name, done, response, false))
                }));
            }
            for task in running {
                let Some((name, done, response, empty)) = task.await.unwrap() else { continue };
                if empty {
                    continue;
                }
                if done {
                    answered.push(name);
                    counted += 1;
                } else {
                    unsure += 1;
                }
                if done {
                    ada.takes(&response);
                }
            }
            left.landed().await;
            store.landed().await;
        }
        left.heal();
        store.heal();
        let session = ada.opens(&managers[0]).await;
        if session.is_empty() {
            eprintln!("seed {seed} kind {kind}: nobody any more (a renewal whose answer was lost?) {:?}", ada.0.keys());
            continue;
        }
        for name in &answered {
            assert!(
                session.contains(name),
                "seed {seed} kind {kind}: {name} was answered and is lost: {:?}",
                session.keys()
            );
        }
        let count: u32 = session.get("count").unwrap_or(0);
        assert!(
            count >= counted && count <= counted + unsure,
            "seed {seed} kind {kind}: {counted} answered, {unsure} unsure, {count} counted"
        );
        let last = ada.clone();
        ada.visits(&managers[1], Session::clear).await;
        for b in [&copy, &last, &ada] {
            assert!(b.opens(&managers[0]).await.is_empty(), "seed {seed} kind {kind}: revived");
        }
        site.clock.advance(Duration::from_secs(300));
        for m in &managers {
            let _ = store.purge(1000, site.clock.now()).await;
            assert!(copy.opens(m).await.is_empty(), "seed {seed} kind {kind}: revived after its tombstone");
        }
    }
}
