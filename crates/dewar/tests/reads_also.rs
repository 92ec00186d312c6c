//! Sessions that move: from another framework's cookie, from another secret, from a store that is being left.

mod support;

use std::time::Duration;

use dewar::{
    Clock, Keyring, Lifetime, Secret, Session, SessionLayer, SessionManager, SessionManagerBuilder,
    dialect::{CookieSession, ExpressSession, Flask},
    store::{SessionAdmin, Timestamp, memory::MemoryStore},
    testing::Visitor,
    value::{Bytes, Tuple},
};
use http::{HeaderMap, HeaderValue, header};
use support::{faulty::Faulty, http::secret};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
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
#[derive(Clone, Default)]
struct Browser(std::collections::BTreeMap<String, String>);

impl Browser {
    fn with(visitor: &Visitor) -> Self {
        let cookie = visitor.cookie();
        let (name, value) = cookie.to_str().unwrap().split_once('=').unwrap();
        Self([(name.to_owned(), value.to_owned())].into())
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
        for cookie in &cookies {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            match value {
                "" => self.0.remove(name),
                value => self.0.insert(name.to_owned(), value.to_owned()),
            };
        }
        cookies
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
    for empties in [|session: &Session| session.clear(), |session: &Session| drop(session.remove::<String>("theme"))] {
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
