//! The store fails, the client hangs up, clocks jump: an honest error, and nothing lost or overwritten.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use crate::support::{
    faulty::{Fault, Faulty, Verb},
    http::secret,
    site::visit,
};
use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode, header},
    routing::get,
};
use dewar::{
    Clock, Error, Keyring, Lifetime, Secret, Session, SessionLayer, SessionManager,
    store::{SessionAdmin, Timestamp, memory::MemoryStore},
    testing::Visitor,
};
use tower::ServiceExt;

struct Site {
    store: Faulty,
    clock: Clock,
    manager: SessionManager,
    app: Router,
}

impl Site {
    fn new() -> Self {
        let (store, clock) = (Faulty::default(), Clock::at(Timestamp::from_secs(1_800_000_000)));
        let layer = SessionLayer::new(secret()).unwrap().store(store.clone()).clock(clock.clone());
        let app = Router::new()
            .route("/get", get(async |session: Session| session.get::<String>("name").unwrap_or("nothing".into())))
            .route("/set", get(async |session: Session| session.insert("name", "Ada")))
            .route("/clear", get(async |session: Session| session.clear()))
            .route("/without", get(async || "no session here"))
            .route("/optional", get(async |session: Option<Session>| if session.is_some() { "some" } else { "none" }))
            .route(
                "/result",
                get(async |session: Result<Session, Error>| session.is_err_and(|error| error.is_store()).to_string()),
            );
        Self { store, clock, manager: layer.manager().unwrap(), app: app.layer(layer) }
    }

    async fn get(&self, path: &str, visitor: &mut Visitor) -> Response<Body> {
        let request = Request::get(path).header(header::COOKIE, visitor.cookie()).body(Body::empty()).unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        visitor.receive(response.headers());
        response
    }

    async fn ada(&self) -> Visitor {
        let mut visitor = Visitor::new(&self.manager);
        assert_eq!(self.get("/set", &mut visitor).await.status(), StatusCode::OK);
        visitor
    }

    async fn says(&self, path: &str, visitor: &mut Visitor) -> String {
        let body = self.get(path, visitor).await.into_body();
        String::from_utf8(axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap()
    }
}

#[tokio::test]
async fn a_store_that_is_down_answers_503_with_retry_after_and_nothing_is_overwritten() {
    let site = Site::new();
    let mut ada = site.ada().await;
    let before = ada.cookie();
    site.store.down.store(true, SeqCst);
    for path in ["/get", "/set", "/clear"] {
        let response = site.get(path, &mut ada).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(response.headers().contains_key(header::RETRY_AFTER));
        assert!(!response.headers().contains_key(header::SET_COOKIE));
    }
    let mut nobody = Visitor::new(&site.manager);
    assert_eq!(site.get("/set", &mut nobody).await.status(), StatusCode::SERVICE_UNAVAILABLE, "at the commit");
    assert_eq!(nobody.cookie(), "");
    assert_eq!(site.says("/without", &mut ada).await, "no session here");
    assert_eq!(site.says("/optional", &mut ada).await, "none");
    assert_eq!(site.says("/result", &mut ada).await, "true");
    site.store.down.store(false, SeqCst);
    assert_eq!(ada.cookie(), before);
    assert_eq!(site.says("/get", &mut ada).await, "Ada");
}

#[tokio::test]
async fn a_log_out_that_could_not_be_stored_says_so() {
    let site = Site::new();
    let mut ada = site.ada().await;
    let session = ada.session().await.unwrap();
    session.clear();
    site.store.down.store(true, SeqCst);
    assert!(session.commit().await.unwrap_err().is_store());
    site.store.down.store(false, SeqCst);
    session.commit().await.unwrap();
    assert_eq!(site.says("/get", &mut ada).await, "nothing", "and succeeds when it is tried again");
}

#[tokio::test]
async fn a_renewal_that_failed_half_way_leaves_the_old_session() {
    let site = Site::new();
    let mut ada = site.ada().await;
    let session = ada.session().await.unwrap();
    session.set_principal("ada");
    site.store.down.store(true, SeqCst);
    assert!(session.commit().await.unwrap_err().is_store());
    site.store.down.store(false, SeqCst);
    assert_eq!(site.says("/get", &mut ada).await, "Ada");
    assert!(site.manager.sessions_of("ada").await.unwrap().is_empty());
    session.commit().await.unwrap();
    assert_eq!(site.manager.sessions_of("ada").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_client_that_hangs_up_during_the_commit_does_not_stop_it() {
    let site = Site::new();
    let ada = site.ada().await;
    site.store.slow.store(true, SeqCst);
    let request = Request::get("/clear").header(header::COOKIE, ada.cookie()).body(Body::empty()).unwrap();
    let response = tokio::spawn(site.app.clone().oneshot(request));
    while site.store.writes.load(SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    response.abort();
    assert!(response.await.is_err(), "the client is gone");
    tokio::time::sleep(Duration::from_millis(200)).await;
    site.store.slow.store(false, SeqCst);
    assert!(ada.session().await.unwrap().is_empty(), "the log-out is done");
}

#[tokio::test]
async fn one_round_trip_loads_one_commits_and_reading_costs_no_other() {
    let site = Site::new();
    let mut ada = site.ada().await;
    let count = || (site.store.loads.swap(0, SeqCst), site.store.writes.swap(0, SeqCst));
    assert_eq!(count(), (0, 1), "a new session");
    site.get("/without", &mut ada).await;
    assert_eq!(count(), (0, 0), "a route without a session");
    site.get("/get", &mut ada).await;
    assert_eq!(count(), (1, 0), "reading");
    site.get("/set", &mut ada).await;
    assert_eq!(count(), (1, 1), "writing");
    site.clock.advance(Duration::from_secs(8_639));
    site.get("/get", &mut ada).await;
    assert_eq!(count(), (1, 0), "reading within a tenth of the idle timeout");
    site.clock.advance(Duration::from_secs(1));
    site.get("/get", &mut ada).await;
    assert_eq!(count(), (1, 1), "and after it");
    site.get("/clear", &mut ada).await;
    assert_eq!(count(), (1, 1), "a log-out");
}

#[tokio::test]
async fn a_clock_that_jumps_back_and_forth_ends_no_session() {
    let site = Site::new();
    let mut ada = site.ada().await;
    for second in [1_799_990_000, 1_800_010_000, 1_799_980_000, 1_800_050_000] {
        site.clock.set(Timestamp::from_secs(second));
        assert_eq!(site.says("/get", &mut ada).await, "Ada", "at {second}");
        visit(&mut ada, &site.manager, |session| session.insert("second", second)).await;
    }
    site.clock.set(Timestamp::from_secs(1_800_200_000));
    assert_eq!(site.says("/get", &mut ada).await, "nothing");
}

#[tokio::test]
async fn a_hundred_thousand_anonymous_visits_create_no_record_and_set_no_cookie() {
    let site = Site::new();
    for _ in 0..100_000 {
        let session = site.manager.open(&http::HeaderMap::new()).await.unwrap();
        assert_eq!(session.get::<String>("name"), None);
        let mut response = http::HeaderMap::new();
        site.manager.commit(&session).await.apply(&mut response).unwrap();
        assert!(!response.contains_key(header::SET_COOKIE));
    }
    assert_eq!(site.store.count(site.clock.now()).await.unwrap(), 0);
    assert_eq!(site.store.writes.load(SeqCst) + site.store.loads.load(SeqCst), 0);
}

#[tokio::test]
async fn no_handler_waits_for_another_requests_handler() {
    let site = Site::new();
    let ada = site.ada().await;
    let open = ada.session().await.unwrap();
    open.insert("held", true);
    let mut other = ada.clone();
    tokio::time::timeout(
        Duration::from_secs(5),
        visit(&mut other, &site.manager, |session| session.insert("free", true)),
    )
    .await
    .expect("the session is not locked while a handler holds it");
}

#[tokio::test]
async fn a_session_does_not_grow_beyond_a_mebibyte_and_can_still_be_emptied() {
    let site = Site::new();
    let mut ada = site.ada().await;
    let session = ada.session().await.unwrap();
    session.insert("large", "x".repeat(1 << 20));
    let error = session.commit().await.unwrap_err();
    assert!(error.is_too_large() && error.to_string().contains("\"large\""), "{error}");
    session.clear();
    session.commit().await.unwrap();
    assert_eq!(site.says("/get", &mut ada).await, "nothing");
}

// Every call of the store, with every fault.

/// What a request does in the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Begin,
    Write,
    Renew,
    LogIn,
    Again,
    Switch,
    Clear,
    ClearAndBegin,
}

impl Deed {
    fn act(self, session: &Session) {
        match self {
            Self::Begin | Self::Write => {}
            Self::Renew => session.renew(),
            Self::LogIn => session.set_principal("ada"),
            Self::Again => session.set_principal("nobody else"),
            Self::Switch => session.set_principal("eve"),
            Self::Clear => return session.clear(),
            Self::ClearAndBegin => session.clear(),
        }
        session.update("count", |count: &mut u32| *count += 1).unwrap();
    }

    fn principal_before(self) -> Option<&'static str> {
        matches!(self, Self::Again | Self::Switch).then_some("nobody else")
    }

    /// What the session holds when it was done: the counter, and whose it is.
    fn does(self, (count, principal): Holds) -> Holds {
        let more = count.map_or(Some(1), |count| Some(count + 1));
        let logs_in = |user| {
            let is_another = principal.is_some_and(|principal| principal != user);
            (if is_another { Some(1) } else { more }, Some(user))
        };
        match self {
            Self::Begin | Self::Write | Self::Renew => (more, principal),
            Self::LogIn => logs_in("ada"),
            Self::Again => logs_in("nobody else"),
            Self::Switch => logs_in("eve"),
            Self::Clear => (None, None),
            Self::ClearAndBegin => (Some(1), None),
        }
    }
}

type Holds = (Option<u32>, Option<&'static str>);

const DEEDS: [Deed; 8] =
    [Deed::Begin, Deed::Write, Deed::Renew, Deed::LogIn, Deed::Again, Deed::Switch, Deed::Clear, Deed::ClearAndBegin];

/// One run of a deed: where the session comes from, and what goes wrong.
#[derive(Clone, Copy, Debug)]
struct Walk {
    deed: Deed,
    /// Whether the session is in a cookie of before there was a store.
    moves: bool,
    /// What the handler does after a commit in mid-request, whatever came of it, before it writes on.
    then: Option<Deed>,
    /// Which call has the fault; 0: none.
    nth: u32,
    fault: Fault,
    /// How many calls after it are never done, either: nobody can tell.
    blind: u32,
}

impl Walk {
    /// Returns how often the store was asked.
    async fn run(self) -> u32 {
        let Self { deed, moves, then, .. } = self;
        let (store, clock) = (Faulty::default(), Clock::at(Timestamp::from_secs(1_800_000_000)));
        let sealed = SessionLayer::new(Keyring::new(Secret::generate())).unwrap().clock(clock.clone());
        let layer = sealed.clone().store(store.clone());
        let manager = layer.manager().unwrap();
        let mut before = Visitor::new(&manager);
        if deed != Deed::Begin {
            let from = if moves { sealed.manager().unwrap() } else { manager.clone() };
            let prepared = Visitor::prepared(&from, |session| {
                session.insert("count", 5);
                if let Some(principal) = deed.principal_before() {
                    session.set_principal(principal);
                }
            });
            let cookie = prepared.await.unwrap().cookie();
            before.receive(&http::HeaderMap::from_iter([(header::SET_COOKIE, cookie)]));
        }
        store.calls();
        if self.nth > 0 {
            store.fail(None, self.nth, self.fault);
        }
        for more in 1..=self.blind {
            store.fail(None, self.nth + more, Fault::NotDone);
        }
        let handler = async move |session: Session| {
            deed.act(&session);
            if let Some(then) = then {
                let _ = session.commit().await;
                if then != Deed::Begin {
                    then.act(&session);
                }
                session.insert("more", 1);
            }
        };
        let app = Router::new().route("/", get(handler)).layer(layer);
        let request = Request::get("/").header(header::COOKIE, before.cookie()).body(Body::empty()).unwrap();
        let response = app.oneshot(request).await.unwrap();
        let calls = store.calls();
        store.landed().await;
        store.heal();
        let mut after = before.clone();
        after.receive(response.headers());
        self.holds(&store, &clock, &before, &after, response.status()).await;
        calls
    }

    async fn holds(&self, store: &Faulty, clock: &Clock, before: &Visitor, after: &Visitor, status: StatusCode) {
        let deed = self.deed;
        let records = store.store.count(clock.now()).await.unwrap();
        assert!(records <= 1, "{self:?}: {status}, {records} sessions live");
        let old = before.session().await.unwrap();
        let new = after.session().await.unwrap();
        if before.cookie() != after.cookie() && after.cookie() != "" && !self.moves {
            let follows = match self.then {
                None | Some(Deed::Begin | Deed::Write) => deed == Deed::Renew,
                Some(then) => then == Deed::Renew || (deed == Deed::Renew && !status.is_success()),
            };
            assert!(old.is_empty() || follows, "{self:?}: {status}, the old id lives");
        }
        let was = ((deed != Deed::Begin).then_some(5), deed.principal_before());
        let first = deed.does(was);
        let last = match self.then {
            None | Some(Deed::Begin) => first,
            Some(then) => then.does(first),
        };
        if status.is_success() {
            assert_eq!(new.get::<u32>("count"), last.0, "{self:?}: {status}");
            assert_eq!(new.contains("more"), self.then.is_some(), "{self:?}: {status}");
            assert_eq!(new.principal().as_deref(), last.1, "{self:?}: {status}");
            if deed == Deed::Clear && self.then.is_none() {
                assert_eq!(after.cookie(), "", "{self:?}");
                assert!(old.is_empty(), "{self:?}: the log-out was confirmed");
            }
            // A plain renewal's late requests go on for half a minute, no longer.
            clock.advance(Duration::from_secs(31));
            assert_eq!(after.session().await.unwrap().get::<u32>("count"), last.0, "{self:?}: half a minute later");
        } else {
            assert!(matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::CONFLICT), "{self:?}: {status}");
            for session in [old, new] {
                let count = session.get::<u32>("count");
                let may_be = [None, was.0, first.0, last.0];
                assert!(may_be.contains(&count), "{self:?}: {status}, counted {count:?}");
            }
        }
    }
}

async fn walk(thens: &[Option<Deed>], blinds: &[u32]) {
    let faults = [
        Fault::Lost,
        Fault::NotDone,
        Fault::Late(Duration::from_micros(500)),
        Fault::Late(Duration::from_millis(3)),
        Fault::Late(Duration::from_millis(30)),
    ];
    let mut walks = tokio::task::JoinSet::new();
    for deed in DEEDS {
        for (moves, then) in [false, true].into_iter().flat_map(|moves| thens.iter().map(move |then| (moves, *then))) {
            if moves && deed == Deed::Begin {
                continue;
            }
            let whole = Walk { deed, moves, then, nth: 0, fault: Fault::Lost, blind: 0 };
            let calls = whole.run().await;
            for nth in 1..=calls {
                for fault in faults {
                    for blind in blinds.iter().copied() {
                        walks.spawn(Walk { nth, fault, blind, ..whole }.run());
                    }
                }
            }
        }
    }
    while let Some(walk) = walks.join_next().await {
        if let Err(failed) = walk {
            std::panic::resume_unwind(failed.into_panic());
        }
    }
}

#[tokio::test]
async fn a_fault_at_any_call_is_an_error_or_healed() {
    walk(&[None], &[0, 1, 2, 5, 9]).await;
}

#[tokio::test]
async fn a_commit_in_mid_request_that_fails_is_healed_by_the_response_and_never_done_twice() {
    walk(&[Some(Deed::Begin)], &[0, 1, 2, 3, 4, 5, 6, 9]).await;
}

#[tokio::test]
async fn whatever_follows_a_commit_that_failed_is_done_once_and_leaves_one_session() {
    walk(&DEEDS[1..].iter().copied().map(Some).collect::<Vec<_>>(), &[0, 1, 3, 7]).await;
}

// From a cookie to a store.

struct Move {
    store: Faulty,
    clock: Clock,
    manager: SessionManager,
    sealed: http::HeaderMap,
}

impl Move {
    async fn new() -> Self {
        Self::with(Faulty::default()).await
    }

    async fn with(store: Faulty) -> Self {
        let clock = Clock::at(Timestamp::from_secs(1_800_000_000));
        let layer = SessionLayer::new(secret()).unwrap().clock(clock.clone());
        let former = layer.manager().unwrap();
        let before = Visitor::prepared(&former, |session| {
            session.insert("firstName", "Ada");
            session.set_principal("ada");
        });
        let sealed = http::HeaderMap::from_iter([(header::SET_COOKIE, before.await.unwrap().cookie())]);
        let manager = layer.store(store.clone()).manager().unwrap();
        Self { store, clock, manager, sealed }
    }

    /// A browser that has the sealed cookie still.
    fn browser(&self) -> Visitor {
        let mut visitor = Visitor::new(&self.manager);
        visitor.receive(&self.sealed);
        visitor
    }

    async fn opens_nothing(&self, when: &str) {
        let session = self.browser().session().await.unwrap();
        assert!(session.is_empty() && session.principal().is_none(), "{when}");
    }
}

#[tokio::test]
async fn a_log_out_after_a_repeated_migration_is_final_until_the_cookie_expires() {
    let site = Move::new().await;
    let mut ada = site.browser();
    site.store.always(Verb::Create, Fault::NotDone);
    let session = ada.session().await.unwrap();
    session.insert("moved", 1);
    assert!(site.manager.commit(&session).await.apply(&mut http::HeaderMap::new()).unwrap_err().is_store());
    site.store.heal();
    visit(&mut ada, &site.manager, |session| session.insert("moved", 1)).await;
    assert_eq!(ada.session().await.unwrap().keys(), ["firstName", "moved"]);
    visit(&mut ada, &site.manager, Session::clear).await;
    site.opens_nothing("at once").await;
    site.clock.advance(Duration::from_secs(300));
    while site.store.purge(100, site.clock.now()).await.unwrap() > 0 {}
    site.opens_nothing("after five minutes").await;
    site.clock.advance(Duration::from_secs(86_099));
    while site.store.purge(100, site.clock.now()).await.unwrap() > 0 {}
    site.opens_nothing("a second before the cookie expires").await;
    site.clock.advance(Duration::from_secs(1));
    site.opens_nothing("when it has expired").await;
}

#[tokio::test]
async fn what_ended_a_moved_session_ends_its_cookie_for_as_long_as_that_lives() {
    for way in 0..6 {
        let site = Move::new().await;
        let mut ada = site.browser();
        if way != 5 {
            visit(&mut ada, &site.manager, |session| session.insert("moved", 1)).await;
        }
        match way {
            0 => visit(&mut ada, &site.manager, Session::renew).await,
            1 => visit(&mut ada, &site.manager, |session| session.set_principal("ada")).await,
            2 => assert_eq!(site.manager.revoke_all("ada").await.unwrap(), 1),
            3 => {
                visit(&mut ada, &site.manager, |session| {
                    session.clear();
                    session.insert("new", 1);
                })
                .await;
            }
            4 => {
                visit(&mut ada, &site.manager, |session| {
                    session.set_lifetime(Lifetime::browser().idle(Duration::from_secs(60)))
                })
                .await
            }
            _ => visit(&mut ada, &site.manager, |session| session.set_principal("ada")).await,
        }
        for seconds in [61, 300, 80_000] {
            site.clock.advance(Duration::from_secs(seconds));
            while site.store.purge(100, site.clock.now()).await.unwrap() > 0 {}
            site.opens_nothing(&format!("way {way}")).await;
        }
    }
}

#[tokio::test]
async fn sixty_thousand_strangers_do_not_push_a_log_out_of_the_store() {
    let mut store = Faulty::default();
    store.store = MemoryStore::new().max_entries(10_000);
    let site = Move::with(store).await;
    let mut ada = site.browser();
    visit(&mut ada, &site.manager, |session| session.insert("moved", 1)).await;
    visit(&mut ada, &site.manager, Session::clear).await;
    for _ in 0..60_000 {
        let session = site.manager.open(&http::HeaderMap::new()).await.unwrap();
        session.insert("stranger", 1);
        site.manager.commit(&session).await.apply(&mut http::HeaderMap::new()).unwrap();
    }
    assert!(site.store.store.stats().evictions > 0);
    site.opens_nothing("after the strangers").await;
}

#[tokio::test]
async fn a_renewal_by_a_cookie_that_is_being_moved_keeps_what_was_confirmed() {
    for deed in [Session::renew, |session: &Session| session.set_principal("ada")] {
        let site = Move::new().await;
        let (mut one, mut two) = (site.browser(), site.browser());
        let second = two.session().await.unwrap();
        visit(&mut one, &site.manager, |session| session.insert("confirmed", 1)).await;
        deed(&second);
        second.insert("own", 1);
        let mut response = http::HeaderMap::new();
        site.manager.commit(&second).await.apply(&mut response).unwrap();
        two.receive(&response);
        assert_eq!(two.session().await.unwrap().keys(), ["firstName", "confirmed", "own"]);
        assert_eq!(two.session().await.unwrap().principal().as_deref(), Some("ada"));
        assert_eq!(site.store.count(site.clock.now()).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_log_out_beside_a_renewal_by_the_same_moved_cookie_is_final() {
    for (moves_first, logs_in) in [(false, false), (false, true), (true, false), (true, true)] {
        let site = Move::new().await;
        let (mut one, mut two) = (site.browser(), site.browser());
        let second = two.session().await.unwrap();
        if moves_first {
            visit(&mut one, &site.manager, |session| session.insert("confirmed", 1)).await;
        }
        visit(&mut one, &site.manager, Session::clear).await;
        second.insert("own", 1);
        if logs_in {
            second.set_principal("ada");
        } else {
            second.renew();
        }
        let mut response = http::HeaderMap::new();
        site.manager.commit(&second).await.apply(&mut response).unwrap();
        two.receive(&response);
        let session = two.session().await.unwrap();
        let (keys, principal): (&[&str], _) = if logs_in { (&["own"], Some("ada")) } else { (&[], None) };
        assert_eq!(session.keys(), keys, "moved first: {moves_first}, logs in: {logs_in}");
        assert_eq!(session.principal().as_deref(), principal);
        site.opens_nothing("afterwards").await;
    }
}

/// Commits a session until it is saved, where nobody can tell what became of the first two attempts: of the first all was done, of the
/// second nothing.
async fn commit_at_the_third_attempt(store: &Faulty, session: &Session, first: Verb, between: impl FnOnce()) {
    store.fail(first, 1, Fault::Lost);
    store.fail(Verb::Load, 1, Fault::NotDone);
    assert!(session.commit().await.unwrap_err().is_store());
    store.heal();
    between();
    store.always(Verb::Replace, Fault::NotDone);
    store.fail(Verb::Load, if first == Verb::Replace { 2 } else { 3 }, Fault::NotDone);
    assert!(session.commit().await.unwrap_err().is_store());
    store.heal();
    session.commit().await.unwrap();
}

#[tokio::test]
async fn what_the_first_attempt_has_done_is_not_done_by_the_third() {
    let site = Site::new();
    let ada = site.ada().await;
    let session = ada.session().await.unwrap();
    let count = || assert!(session.update("count", |count: &mut u32| *count += 1).unwrap() > 0);
    count();
    commit_at_the_third_attempt(&site.store, &session, Verb::Replace, count).await;
    assert_eq!(ada.session().await.unwrap().get("count"), Some(2));
}

#[tokio::test]
async fn a_log_in_that_the_first_attempt_has_done_is_one_session_after_the_third() {
    let site = Site::new();
    let mut ada = site.ada().await;
    let session = ada.session().await.unwrap();
    session.set_principal("ada");
    let count = || assert!(session.update("count", |count: &mut u32| *count += 1).unwrap() > 0);
    count();
    commit_at_the_third_attempt(&site.store, &session, Verb::Rename, count).await;
    let mut response = http::HeaderMap::new();
    site.manager.commit(&session).await.apply(&mut response).unwrap();
    ada.receive(&response);
    assert_eq!(ada.session().await.unwrap().get("count"), Some(2));
    assert_eq!(site.manager.sessions_of("ada").await.unwrap().len(), 1);
}

// Other processes on the same store.

#[tokio::test]
async fn a_write_that_landed_late_and_was_overtaken_is_an_error_and_not_done_again() {
    let site = Site::new();
    let other = SessionLayer::new(secret()).unwrap().store(site.store.store.clone()).clock(site.clock.clone());
    let other = other.manager().unwrap();
    let ada = site.ada().await;
    let session = ada.session().await.unwrap();
    session.update("count", |count: &mut u32| *count += 1).unwrap();
    site.store.fail(Verb::Replace, 1, Fault::Late(Duration::from_millis(10)));
    site.store.fail(Verb::Replace, 2, Fault::Slow(Duration::from_millis(60)));
    let overtakes = async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        let mut visitor = Visitor::new(&other);
        visitor.receive(&http::HeaderMap::from_iter([(header::SET_COOKIE, ada.cookie())]));
        visit(&mut visitor, &other, |session| {
            assert_eq!(session.update("count", |count: &mut u32| *count += 1).unwrap(), 2, "the first has landed");
        })
        .await;
    };
    let (committed, ()) = tokio::join!(session.commit(), overtakes);
    assert!(committed.unwrap_err().is_store());
    assert!(site.manager.commit(&session).await.apply(&mut http::HeaderMap::new()).is_err(), "nor by the response");
    assert_eq!(ada.session().await.unwrap().get("count"), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn among_many_faults_and_two_processes_no_confirmed_write_is_lost_and_none_is_done_twice() {
    for round in 0..8 {
        let (store, clock) = (Faulty::default(), Clock::at(Timestamp::from_secs(1_800_000_000)));
        let keyring = Keyring::new(Secret::generate());
        let process = || {
            let layer = SessionLayer::new(keyring.clone()).unwrap().store(store.clone()).clock(clock.clone());
            layer.manager().unwrap()
        };
        let processes = [process(), process()];
        let ada = Visitor::with(&processes[0], std::collections::BTreeMap::from([("name", "Ada")])).await.unwrap();
        let faults = [
            Fault::Lost,
            Fault::Late(Duration::from_micros(700)),
            Fault::NotDone,
            Fault::Late(Duration::from_millis(4)),
            Fault::Slow(Duration::from_millis(2)),
        ];
        for (number, nth) in (1..4_000).step_by(3 + round).enumerate() {
            store.fail(None, nth, faults[number % faults.len()]);
        }
        let mut requests = tokio::task::JoinSet::new();
        for number in 0..60u32 {
            let manager = processes[number as usize % 2].clone();
            let cookies = http::HeaderMap::from_iter([(header::COOKIE, ada.cookie())]);
            requests.spawn(async move {
                tokio::time::sleep(Duration::from_micros(u64::from(number) * 200)).await;
                let Ok(session) = manager.open(&cookies).await else { return None };
                session.update("log", move |log: &mut Vec<u32>| log.push(number)).unwrap();
                let early = session.commit().await;
                if number % 3 == 0 {
                    session.insert(format!("late {number}"), true);
                }
                let done = manager.commit(&session).await.apply(&mut http::HeaderMap::new());
                (early.is_ok() || done.is_ok()).then_some(number)
            });
        }
        let confirmed: Vec<u32> = requests.join_all().await.into_iter().flatten().collect();
        store.landed().await;
        store.heal();
        let mut log: Vec<u32> = ada.session().await.unwrap().get("log").unwrap_or_default();
        let written = log.len();
        log.sort_unstable();
        log.dedup();
        assert_eq!(log.len(), written, "round {round}: one was done twice");
        for number in &confirmed {
            assert!(log.contains(number), "round {round}: {number} was confirmed and is not there");
        }
        assert!(confirmed.len() > 10, "round {round}: {} of 60", confirmed.len());
    }
}

#[tokio::test]
async fn a_log_in_by_a_moved_cookie_that_was_revoked_meanwhile_begins_a_session() {
    let site = Move::new().await;
    let mut ada = site.browser();
    let session = ada.session().await.unwrap();
    site.clock.advance(Duration::from_secs(1));
    site.manager.revoke_all("ada").await.unwrap();
    session.insert("own", 1);
    session.set_principal("ada");
    let mut response = http::HeaderMap::new();
    site.manager.commit(&session).await.apply(&mut response).unwrap();
    ada.receive(&response);
    let session = ada.session().await.unwrap();
    assert_eq!((session.keys(), session.principal().as_deref()), (vec!["own".to_owned()], Some("ada")));
    site.opens_nothing("the old cookie").await;
}

#[tokio::test]
async fn a_lifetime_that_could_not_be_stored_at_once_is_in_the_cookie_of_the_response() {
    let site = Site::new();
    let visitor = Visitor::prepared(&site.manager, |session| {
        session.insert("name", "Ada");
        session.set_lifetime(Lifetime::persistent());
    });
    let visitor = visitor.await.unwrap();
    let session = visitor.session().await.unwrap();
    session.set_lifetime(Lifetime::browser());
    site.store.down.store(true, SeqCst);
    assert!(session.commit().await.unwrap_err().is_store());
    site.store.heal();
    let mut response = http::HeaderMap::new();
    site.manager.commit(&session).await.apply(&mut response).unwrap();
    let cookie = response[header::SET_COOKIE].to_str().unwrap();
    assert!(!cookie.contains("Max-Age"), "{cookie}");
}

#[tokio::test]
async fn a_migration_that_landed_late_and_was_overtaken_is_an_error_and_not_done_again() {
    let site = Move::new().await;
    let other = SessionLayer::new(secret()).unwrap().store(site.store.store.clone()).clock(site.clock.clone());
    let other = other.manager().unwrap();
    let session = site.browser().session().await.unwrap();
    session.update("count", |count: &mut u32| *count += 1).unwrap();
    site.store.fail(Verb::Create, 1, Fault::Late(Duration::from_millis(10)));
    site.store.fail(Verb::Create, 2, Fault::Slow(Duration::from_millis(60)));
    let overtakes = async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        let mut visitor = Visitor::new(&other);
        visitor.receive(&site.sealed);
        visit(&mut visitor, &other, |session| {
            assert_eq!(session.update("count", |count: &mut u32| *count += 1).unwrap(), 2, "the first has landed");
        })
        .await;
    };
    let (committed, ()) = tokio::join!(session.commit(), overtakes);
    assert!(committed.unwrap_err().is_store());
    assert!(site.manager.commit(&session).await.apply(&mut http::HeaderMap::new()).is_err(), "nor by the response");
    assert_eq!(site.browser().session().await.unwrap().get("count"), Some(2));
}

#[tokio::test]
async fn a_write_beside_a_renewal_or_a_log_in_is_kept_or_an_error_whatever_fails() {
    let faults = [
        Fault::Lost,
        Fault::NotDone,
        Fault::Late(Duration::from_micros(700)),
        Fault::Late(Duration::from_millis(20)),
        Fault::Slow(Duration::from_millis(5)),
    ];
    let deeds: [fn(&Session); 2] = [Session::renew, |session| session.set_principal("ada")];
    for (deed, renews_first) in deeds.into_iter().flat_map(|deed| [(deed, true), (deed, false)]) {
        for (fault, nth, blind) in
            faults.iter().flat_map(|fault| (1..7).flat_map(move |nth| [(*fault, nth, 0), (*fault, nth, 2)]))
        {
            let what = format!("{fault:?} at call {nth}, {blind} more, renews first: {renews_first}");
            let site = Site::new();
            let mut visitor =
                Visitor::with(&site.manager, std::collections::BTreeMap::from([("count", 5)])).await.unwrap();
            let (renews, writes) = (visitor.session().await.unwrap(), visitor.session().await.unwrap());
            deed(&renews);
            writes.update("count", |count: &mut u32| *count += 1).unwrap();
            site.store.fail(None, nth, fault);
            for more in 1..=blind {
                site.store.fail(None, nth + more, Fault::NotDone);
            }
            let (mut new, mut none) = (http::HeaderMap::new(), http::HeaderMap::new());
            let (renewed, written) = if renews_first {
                tokio::join!(site.manager.commit(&renews), site.manager.commit(&writes))
            } else {
                let (written, renewed) = tokio::join!(site.manager.commit(&writes), site.manager.commit(&renews));
                (renewed, written)
            };
            let (renewed, written) = (renewed.apply(&mut new), written.apply(&mut none));
            site.store.landed().await;
            site.store.heal();
            assert!(site.store.count(site.clock.now()).await.unwrap() <= 1, "{what}: two live");
            assert!(!none.contains_key(header::SET_COOKIE), "{what}: the writer has no cookie to set");
            for error in [renewed.as_ref().err(), written.as_ref().err()].into_iter().flatten() {
                assert!(error.is_store() || error.is_conflict(), "{what}: {error}");
            }
            visitor.receive(&new);
            if renewed.is_ok() {
                let count = visitor.session().await.unwrap().get::<u32>("count");
                assert!(count == Some(6) || (written.is_err() && count == Some(5)), "{what}: {count:?}, {written:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_renewal_that_lands_while_it_is_repeated_holds_what_was_written_since() {
    let site = Site::new();
    let mut ada = site.ada().await;
    let session = ada.session().await.unwrap();
    site.store.fail(Verb::Rename, 1, Fault::Late(Duration::from_millis(15)));
    site.store.fail(Verb::Load, 1, Fault::NotDone);
    site.store.fail(Verb::Rename, 2, Fault::Slow(Duration::from_millis(50)));
    session.renew();
    session.update("count", |count: &mut u32| *count += 1).unwrap();
    assert!(session.commit().await.unwrap_err().is_store());
    session.insert("more", 1);
    let mut response = http::HeaderMap::new();
    site.manager.commit(&session).await.apply(&mut response).unwrap();
    ada.receive(&response);
    let session = ada.session().await.unwrap();
    assert_eq!((session.keys().len(), session.get("count"), session.get("more")), (3, Some(1), Some(1)));
}
