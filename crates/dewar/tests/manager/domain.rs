//! The domain of a cookie changes while sessions live, in a browser that takes one name at two domains for two cookies.

use std::time::Duration;

use crate::support::browser::Browser;
use dewar::{
    Clock, Secret, Session, SessionManager, SessionManagerBuilder,
    dialect::{Flask, Opaque},
    store::{Timestamp, memory::MemoryStore},
    testing::Visitor,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const UNTIL: Timestamp = Timestamp::from_secs(1_800_000_000 + 31 * 86_400);
const DOMAIN: Option<&str> = Some("example.com");
const HOST: Option<&str> = None;
/// From this host alone to the whole domain, and back.
const WAYS: [[Option<&str>; 2]; 2] = [[HOST, DOMAIN], [DOMAIN, HOST]];

/// One application, as its servers are set up one after another.
struct Site {
    clock: Clock,
    secret: Secret,
    keeps: Keeps,
    store: MemoryStore,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Keeps {
    Sealed,
    Store,
    Flask,
}

const EACH: [Keeps; 3] = [Keeps::Sealed, Keeps::Store, Keeps::Flask];

impl Site {
    fn new(keeps: Keeps) -> Self {
        Self { clock: Clock::at(NOW), secret: Secret::generate(), keeps, store: MemoryStore::new() }
    }

    fn builder(&self) -> SessionManagerBuilder {
        let builder = SessionManager::builder(self.secret.clone()).unwrap().clock(self.clock.clone());
        match self.keeps {
            Keeps::Sealed => builder,
            Keeps::Store => builder.dialect(|_| Opaque::new()).store(self.store.clone()),
            Keeps::Flask => builder.dialect(Flask::new),
        }
    }

    fn at(&self, domain: Option<&str>) -> SessionManagerBuilder {
        let named = self.builder().cookie_name("session");
        match domain {
            Some(domain) => named.domain(domain),
            None => named,
        }
    }

    fn before(&self, domain: Option<&str>) -> SessionManager {
        self.at(domain).build().unwrap()
    }

    fn moved(&self, [from, to]: [Option<&'static str>; 2]) -> SessionManager {
        self.at(to).former_domain(from, UNTIL).build().unwrap()
    }

    fn passes(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// What a request does.
#[derive(Clone, Copy)]
enum Act {
    Adds(&'static str),
    LogsIn(&'static str),
}
use Act::{Adds, LogsIn};

impl Act {
    fn to(self, session: &Session) {
        match self {
            Adds(name) => session.insert(name, 1),
            LogsIn(user) => session.set_principal(user),
        }
    }
}

#[tokio::test]
async fn a_session_goes_on_and_its_former_cookie_goes() {
    for keeps in EACH {
        for way @ [from, to] in WAYS {
            let site = Site::new(keeps);
            let mut browser = Browser::default();
            browser.visits(&site.before(from), |session| Adds("a").to(session)).await;
            let moved = site.moved(way);
            site.passes(60);
            // Written in the cookie, or a new id on a store.
            browser.visits(&moved, |session| (session.insert("b", 1), session.renew()).1).await;
            assert_eq!(browser.domains(), [to], "{keeps:?}");
            assert_eq!(browser.reads(&moved).await, ["a", "b"], "{keeps:?}");
        }
    }
}

#[tokio::test]
async fn who_only_reads_moves_after_a_tenth_of_the_idle_timeout() {
    for keeps in EACH {
        for way @ [from, to] in WAYS {
            let site = Site::new(keeps);
            let mut browser = Browser::default();
            browser.visits(&site.before(from), |session| Adds("a").to(session)).await;
            let moved = site.moved(way);
            assert_eq!(browser.reads(&moved).await, ["a"], "{keeps:?}");
            assert_eq!(browser.domains(), [from], "{keeps:?}: nothing was due");
            site.passes(if keeps == Keeps::Flask { 31 * 8640 } else { 8640 });
            assert_eq!(browser.reads(&moved).await, ["a"], "{keeps:?}");
            assert_eq!(browser.domains(), [to], "{keeps:?}");
        }
    }
}

#[tokio::test]
async fn a_log_out_removes_the_former_cookie_too() {
    for keeps in EACH {
        for way @ [from, to] in WAYS {
            let site = Site::new(keeps);
            let mut browser = Browser::default();
            browser.visits(&site.before(from), |session| LogsIn("ada").to(session)).await;
            let mut careless = browser.clone();
            browser.visits(&site.moved(way), Session::clear).await;
            assert_eq!(browser.domains(), [None; 0], "{keeps:?}");

            careless.visits(&site.before(to), Session::clear).await;
            assert_eq!(careless.domains(), [from], "{keeps:?}: why it is needed");
        }
    }
}

#[tokio::test]
async fn the_newer_of_two_cookies_of_one_visit_counts_and_the_other_goes() {
    for (keeps, begins) in
        [(Keeps::Sealed, Adds("first")), (Keeps::Sealed, LogsIn("ada")), (Keeps::Flask, LogsIn("ada"))]
    {
        for way @ [from, to] in WAYS {
            let site = Site::new(keeps);
            let (old, careless, moved) = (site.before(from), site.before(to), site.moved(way));
            let mut browser = Browser::default();
            browser.visits(&old, |session| begins.to(session)).await;
            site.passes(10);
            browser.visits(&careless, |session| Adds("newer").to(session)).await;
            assert_eq!(browser.domains(), [from, to]);
            assert!(browser.reads(&moved).await.contains(&"newer".to_owned()), "{keeps:?}");
            assert_eq!(browser.domains(), [to], "{keeps:?}: a request that only reads is enough");

            // The other way round: a server of before has written last.
            let mut browser = Browser::default();
            browser.visits(&old, |session| begins.to(session)).await;
            let mut other = browser.clone();
            other.visits(&careless, |session| Adds("older").to(session)).await;
            site.passes(10);
            browser.visits(&old, |session| Adds("newest").to(session)).await;
            browser.0.push(other.0.pop().unwrap());
            assert!(browser.reads(&moved).await.contains(&"newest".to_owned()), "{keeps:?}");
            assert_eq!(browser.domains(), [to], "{keeps:?}");
        }
    }
}

/// Without the setting a user could not log in for as long as the former cookie lives.
#[tokio::test]
async fn a_user_who_logged_in_again_meanwhile_is_in_the_newer_session() {
    for keeps in [Keeps::Sealed, Keeps::Store] {
        for way @ [from, to] in WAYS {
            let site = Site::new(keeps);
            let mut browser = Browser::default();
            browser.visits(&site.before(from), |session| LogsIn("ada").to(session)).await;
            let mut again = Browser::default();
            site.passes(10);
            again
                .visits(&site.before(to), |session| (session.set_principal("ada"), session.insert("newer", 1)).1)
                .await;
            browser.0.extend(again.0);
            assert_eq!(browser.reads(&site.before(to)).await, [""; 0], "{keeps:?}: why it is needed");

            let moved = site.moved(way);
            assert_eq!(browser.reads(&moved).await, ["newer"], "{keeps:?}");
            assert_eq!(browser.domains(), [to], "{keeps:?}");
        }
    }
}

#[tokio::test]
async fn a_session_that_a_neighbour_planted_is_never_taken_for_the_visitor_s() {
    for keeps in [Keeps::Sealed, Keeps::Store] {
        for way @ [from, to] in WAYS {
            for (own, planted) in [
                (LogsIn("ada"), LogsIn("eve")),
                (Adds("cart"), LogsIn("eve")),
                (LogsIn("ada"), Adds("planted")),
                (Adds("cart"), Adds("planted")),
            ] {
                let site = Site::new(keeps);
                let mut browser = Browser::default();
                browser.visits(&site.before(from), |session| own.to(session)).await;
                let mut eve = Browser::default();
                site.passes(10);
                eve.visits(&site.before(to), |session| planted.to(session)).await;
                browser.0.extend(eve.0);
                let moved = site.moved(way);
                for _ in 0..2 {
                    assert_eq!(browser.reads(&moved).await, [""; 0], "{keeps:?}");
                    assert_eq!(browser.domains(), [from, to], "{keeps:?}: whose is whose is not guessed");
                }
                // The next thing that is written is the visitor's.
                browser.visits(&moved, |session| Adds("anew").to(session)).await;
                assert_eq!(browser.domains(), [to], "{keeps:?}");
                assert_eq!(browser.reads(&moved).await, ["anew"], "{keeps:?}");
            }
        }
    }
}

#[tokio::test]
async fn while_servers_are_changed_one_after_another_no_visitor_loses_a_write() {
    for keeps in EACH {
        for way @ [from, to] in WAYS {
            let site = Site::new(keeps);
            // Where it was, and knows of where it will be; then the other way round.
            let (first, then) = (site.moved([to, from]), site.moved(way));
            let mut browser = Browser::default();
            for (turn, server) in [&first, &then, &first, &then, &then, &first, &then].into_iter().enumerate() {
                site.passes(10);
                let mut before = 0;
                let act = |session: &Session| {
                    before = session.get("count").unwrap_or(0);
                    session.insert("count", before + 1);
                    session.renew();
                };
                browser.visits(server, act).await;
                assert_eq!(before, turn, "{keeps:?}");
                assert_eq!(browser.0.len(), 1, "{keeps:?}");
            }
        }
    }
}

#[tokio::test]
async fn when_its_date_has_passed_nothing_of_it_is_done() {
    let site = Site::new(Keeps::Sealed);
    let moved = site.moved([HOST, DOMAIN]);
    let mut browser = Browser::default();
    assert_eq!(
        browser.visits(&moved, |session| Adds("a").to(session)).await.len(),
        1,
        "a visitor without a cookie has no former one"
    );
    assert_eq!(browser.visits(&moved, |session| Adds("b").to(session)).await.len(), 2);
    site.clock.set(UNTIL);
    let mut browser = Browser::default();
    browser.visits(&site.before(HOST), |session| LogsIn("ada").to(session)).await;
    assert_eq!(browser.visits(&moved, |session| Adds("a").to(session)).await.len(), 1);
    assert_eq!(browser.domains(), [HOST, DOMAIN]);
    assert_eq!(browser.reads(&moved).await, [""; 0]);
}

#[tokio::test]
async fn under_our_own_names_reads_also_takes_the_sessions_along() {
    for keeps in [Keeps::Sealed, Keeps::Store] {
        let site = Site::new(keeps);
        let (host, domain) = (site.builder().build().unwrap(), site.builder().domain("example.com").build().unwrap());
        for (before, after) in [(&host, site.builder().domain("example.com")), (&domain, site.builder())] {
            let after = after.reads_also(before.clone(), UNTIL).build().unwrap();
            let mut browser = Browser::default();
            browser.visits(before, |session| (session.insert("a", 1), session.set_principal("ada")).1).await;
            let read = browser.visits(&after, |session| Adds("b").to(session)).await;
            assert_eq!(browser.0.len(), 1, "{keeps:?}: {read:?}");
            assert_eq!(browser.reads(&after).await, ["a", "b"], "{keeps:?}");
            browser.visits(&after, Session::clear).await;
            assert_eq!(browser.0.len(), 0, "{keeps:?}");
        }
    }
}

#[test]
fn a_former_domain_that_is_none_is_refused_with_what_to_write_instead() {
    let site = Site::new(Keeps::Sealed);
    let refused = |builder: SessionManagerBuilder| builder.build().unwrap_err().to_string();
    let same = refused(site.at(DOMAIN).former_domain(".Example.com", UNTIL));
    assert!(same.contains("former_domain: the cookie has this domain now"), "{same}");
    let same = refused(site.at(HOST).former_domain(None, UNTIL));
    assert!(same.contains("former_domain: the cookie has this domain now"), "{same}");
    let renamed = refused(site.builder().domain("example.com").former_domain(None, UNTIL));
    assert!(renamed.contains("from __Host-Http-session to session"), "{renamed}");
    assert!(renamed.contains(".reads_also("), "{renamed}");
    let odd = refused(site.at(HOST).former_domain("https://example.com", UNTIL));
    assert!(odd.contains("former_domain: domain: \"https://example.com\" is no name of a host"), "{odd}");
}

#[tokio::test]
async fn layers_that_disagree_about_it_do_not_share_a_session() {
    let site = Site::new(Keeps::Sealed);
    let (one, other) = (site.before(DOMAIN), site.moved([HOST, DOMAIN]));
    assert!(!one.agrees_with(&other));
    assert!(other.agrees_with(&site.moved([HOST, DOMAIN])));
    assert!(Visitor::new(&one).session().await.unwrap().is_empty());
}
