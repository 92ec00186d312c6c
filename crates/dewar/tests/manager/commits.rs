//! What a commit promises when it is dropped, overlaps with another, meets one, or meets a fault of the store.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
        mpsc,
    },
    task::Poll,
    time::Duration,
};

use crate::support::{
    faulty::{Fault, Faulty, Verb},
    http::secret,
    site::{self, answer, visit},
    stores::Directory,
};
use axum::{
    body::Body,
    handler::Handler,
    http::{Response, StatusCode, header},
};
use dewar::{
    Clock, Lifetime, Session, SessionLayer, SessionManager,
    dialect::Flask,
    store::{SessionAdmin, Timestamp, memory::MemoryStore, sqlite::SqliteStore},
    testing::Visitor,
};
use http::HeaderMap;

const BEGIN: Timestamp = Timestamp::from_secs(1_800_000_000);
const BRIEF: Duration = Duration::from_millis(20);
const SLOW: Fault = Fault::Slow(Duration::from_millis(80));

/// A site whose store fails when it is told to.
struct Site {
    store: Faulty,
    clock: Clock,
    layer: SessionLayer,
    manager: SessionManager,
}

impl Site {
    fn new() -> Self {
        let store = Faulty::default();
        let clock = Clock::at(BEGIN);
        let layer = SessionLayer::new(secret()).unwrap().clock(clock.clone()).store(store.clone());
        Self { store, clock, manager: layer.manager().unwrap(), layer }
    }

    fn nobody(&self) -> Visitor {
        Visitor::new(&self.manager)
    }

    async fn with(&self, name: &str) -> Visitor {
        Visitor::with(&self.manager, BTreeMap::from([(name, 1)])).await.unwrap()
    }

    async fn user(&self, user: &str) -> Visitor {
        let prepared = Visitor::prepared(&self.manager, |session| {
            session.insert("firstName", "Ada");
            session.set_principal(user);
        });
        prepared.await.unwrap()
    }

    async fn records(&self) -> u64 {
        self.store.store.count(self.clock.now()).await.unwrap()
    }

    async fn get<H: Handler<T, ()>, T: 'static>(&self, visitor: &mut Visitor, handler: H) -> Response<Body> {
        answer(&self.layer, visitor, handler).await
    }
}

fn cookies(response: &Response<Body>) -> Vec<String> {
    response.headers().get_all(header::SET_COOKIE).iter().map(|it| it.to_str().unwrap().to_owned()).collect()
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), work).await.expect("it hangs")
}

// A commit that the handler does not wait for.

#[tokio::test]
async fn a_commit_that_timed_out_and_then_fails_is_a_503_of_the_response() {
    let site = Site::new();
    let mut ada = site.with("before").await;
    site.store.always(Verb::Replace, Fault::SlowAndNotDone(Duration::from_millis(60)));
    let handler = async |session: Session| {
        session.insert("lost", 1);
        assert!(tokio::time::timeout(BRIEF, session.commit()).await.is_err());
        "all is well"
    };
    let response = site.get(&mut ada, handler).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    site.store.heal();
    assert_eq!(ada.session().await.unwrap().keys(), ["before"]);
}

#[tokio::test]
async fn a_first_commit_that_timed_out_makes_the_record_and_the_response_has_the_cookie() {
    let site = Site::new();
    site.store.fail(Verb::Create, 1, SLOW);
    let mut visitor = site.nobody();
    let handler = async |session: Session| {
        session.insert("first", 1);
        assert!(tokio::time::timeout(BRIEF, session.commit()).await.is_err());
    };
    let response = site.get(&mut visitor, handler).await;
    assert_eq!((response.status(), cookies(&response).len()), (StatusCode::OK, 1));
    assert_eq!(visitor.session().await.unwrap().keys(), ["first"]);
    assert_eq!(site.records().await, 1);
}

#[tokio::test]
async fn a_log_in_whose_commit_timed_out_ends_the_old_id_and_the_response_has_the_new_one() {
    let site = Site::new();
    let mut visitor = site.with("cart").await;
    let before = visitor.clone();
    site.store.fail(Verb::Rename, 1, SLOW);
    let handler = async |session: Session| {
        session.set_principal("ada");
        assert!(tokio::time::timeout(BRIEF, session.commit()).await.is_err());
    };
    let response = site.get(&mut visitor, handler).await;
    assert_eq!((response.status(), cookies(&response).len()), (StatusCode::OK, 1));
    assert_ne!(visitor.cookie(), before.cookie());
    assert!(before.session().await.unwrap().is_empty());
    let session = visitor.session().await.unwrap();
    assert_eq!((session.principal().as_deref(), session.keys()), (Some("ada"), vec!["cart".to_owned()]));
}

#[tokio::test]
async fn two_clones_that_commit_a_new_session_at_once_make_one_record_with_both_entries() {
    let site = Site::new();
    site.store.fail(Verb::Create, 1, SLOW);
    let mut visitor = site.nobody();
    let handler = async |session: Session| {
        let other = session.clone();
        session.insert("one", 1);
        let first = session.commit();
        let second = async {
            other.insert("two", 2);
            other.commit().await
        };
        let (first, second) = tokio::join!(first, second);
        first.and(second)
    };
    let response = site.get(&mut visitor, handler).await;
    assert_eq!((response.status(), cookies(&response).len()), (StatusCode::OK, 1));
    assert_eq!(visitor.session().await.unwrap().keys(), ["one", "two"]);
    assert_eq!(site.records().await, 1);
}

#[tokio::test]
async fn two_clones_that_commit_at_once_on_a_failing_store_both_learn_it() {
    let site = Site::new();
    site.store.always(Verb::Create, Fault::SlowAndNotDone(BRIEF));
    let mut visitor = site.nobody();
    let learnt = Arc::new(AtomicU32::new(0));
    let counts = Arc::clone(&learnt);
    let handler = async move |session: Session| {
        let other = session.clone();
        session.insert("one", 1);
        let second = async {
            other.insert("two", 2);
            other.commit().await
        };
        let (first, second) = tokio::join!(session.commit(), second);
        counts.fetch_add(u32::from(first.is_err_and(|error| error.is_store())), SeqCst);
        counts.fetch_add(u32::from(second.is_err_and(|error| error.is_store())), SeqCst);
    };
    let response = site.get(&mut visitor, handler).await;
    assert_eq!((response.status(), cookies(&response).len()), (StatusCode::SERVICE_UNAVAILABLE, 0));
    assert_eq!(learnt.load(SeqCst), 2);
    assert_eq!(site.records().await, 0);
}

#[tokio::test]
async fn a_committed_log_in_beside_a_slower_step_that_commits_keeps_its_cookie() {
    for (first, second) in [(Verb::Replace, Verb::Rename), (Verb::Rename, Verb::Replace)] {
        let site = Site::new();
        let mut visitor = site.with("cart").await;
        let before = visitor.clone();
        site.store.fail(first, 1, SLOW);
        let log_in_is_first = second == Verb::Replace;
        let handler = async move |session: Session| {
            let step = session.clone();
            let step = async move {
                step.insert("step", 1);
                step.commit().await
            };
            let log_in = async {
                session.set_principal("ada");
                session.commit().await
            };
            let done = if log_in_is_first {
                tokio::join!(log_in, step)
            } else {
                let (step, log_in) = tokio::join!(step, log_in);
                (log_in, step)
            };
            done.0.and(done.1)
        };
        let response = site.get(&mut visitor, handler).await;
        assert_eq!((response.status(), cookies(&response).len()), (StatusCode::OK, 1), "{first:?} is slow");
        assert!(before.session().await.unwrap().is_empty());
        let session = visitor.session().await.unwrap();
        assert_eq!(session.principal().as_deref(), Some("ada"));
        assert_eq!(session.keys(), ["cart", "step"]);
    }
}

// What was committed in mid-request is what any response carries.

fn layers() -> Vec<(&'static str, SessionLayer)> {
    let layer = || SessionLayer::new(secret()).unwrap().clock(Clock::at(BEGIN));
    vec![
        ("on a store", layer().store(MemoryStore::new())),
        ("sealed", layer()),
        ("Flask's", layer().dialect(Flask::new)),
    ]
}

/// A lifetime of the format's own, and how its cookie says it.
fn remembered(format: &str) -> (Lifetime, &'static str) {
    match format {
        "Flask's" => (Lifetime::persistent(), "Expires="),
        _ => (Lifetime::persistent().idle(Duration::from_secs(3_600)), "Max-Age=3600"),
    }
}

async fn commits_a_name_for_an_hour(session: &Session, format: &str) {
    session.insert("name", "Ada");
    session.set_lifetime(remembered(format).0);
    session.commit().await.unwrap();
    session.insert("later", 1);
    session.set_lifetime(Lifetime::browser());
}

struct Unwritable;

impl serde::Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it cannot be written"))
    }
}

async fn has_what_was_committed(format: &str, layer: &SessionLayer, visitor: &Visitor, response: &Response<Body>) {
    let cookies = cookies(response);
    assert_eq!(cookies.len(), 1, "{format}");
    assert!(cookies[0].contains(remembered(format).1), "{format}: {cookies:?}");
    let session = layer.manager().unwrap().open(&site::headers(visitor)).await.unwrap();
    assert_eq!(session.get::<String>("name").as_deref(), Some("Ada"), "{format}");
    assert!(!session.contains("later"), "{format}");
}

#[tokio::test]
async fn a_later_entry_that_cannot_be_written_leaves_what_was_committed() {
    for (format, layer) in layers() {
        let mut visitor = Visitor::new(&layer.manager().unwrap());
        let handler = async move |session: Session| {
            commits_a_name_for_an_hour(&session, format).await;
            session.insert("odd", Unwritable);
        };
        let response = answer(&layer, &mut visitor, handler).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{format}");
        has_what_was_committed(format, &layer, &visitor, &response).await;
    }
}

#[tokio::test]
async fn a_panic_leaves_what_was_committed() {
    for (format, layer) in layers() {
        let mut visitor = Visitor::new(&layer.manager().unwrap());
        let handler = async move |session: Session| {
            commits_a_name_for_an_hour(&session, format).await;
            if format.len() > 1 {
                panic!("the handler panics");
            }
        };
        let response = answer(&layer, &mut visitor, handler).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{format}");
        has_what_was_committed(format, &layer, &visitor, &response).await;
    }
}

#[tokio::test]
async fn a_handler_that_answers_an_error_after_its_commit_has_the_cookie() {
    for (format, layer) in layers() {
        let mut visitor = Visitor::new(&layer.manager().unwrap());
        let handler = async move |session: Session| {
            session.insert("name", "Ada");
            session.set_lifetime(remembered(format).0);
            session.commit().await.unwrap();
            StatusCode::BAD_GATEWAY
        };
        let response = answer(&layer, &mut visitor, handler).await;
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY, "{format}");
        has_what_was_committed(format, &layer, &visitor, &response).await;
    }
}

#[tokio::test]
async fn a_later_failure_of_the_store_leaves_what_was_committed() {
    let site = Site::new();
    let mut visitor = site.nobody();
    site.store.always(Verb::Replace, Fault::NotDone);
    let handler = async |session: Session| commits_a_name_for_an_hour(&session, "on a store").await;
    let response = site.get(&mut visitor, handler).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    has_what_was_committed("on a store", &site.layer, &visitor, &response).await;
}

#[tokio::test]
async fn a_commit_after_the_response_says_closed() {
    for (format, layer) in layers() {
        let kept: Arc<Mutex<Option<Session>>> = Arc::default();
        let keeps = Arc::clone(&kept);
        let mut visitor = Visitor::new(&layer.manager().unwrap());
        answer(&layer, &mut visitor, async move |session: Session| {
            session.insert("name", "Ada");
            *keeps.lock().unwrap() = Some(session);
        })
        .await;
        let session = kept.lock().unwrap().take().unwrap();
        session.insert("late", 1);
        assert!(session.commit().await.unwrap_err().is_closed(), "{format}");
        assert_eq!(visitor.session().await.unwrap().keys(), ["name"], "{format}");
    }
}

// A caller that goes away, and its neighbours in the queue.

#[tokio::test]
async fn a_commit_whose_future_was_dropped_is_done_and_harms_no_neighbour() {
    for dropped in 0..4 {
        let site = Site::new();
        let visitor = site.with("before").await;
        site.store.fail(Verb::Replace, 1, SLOW);
        let mut requests = Vec::new();
        for number in 0..4 {
            let session = visitor.session().await.unwrap();
            session.insert(format!("from {number}"), number);
            session.update("count", |count: &mut u32| *count += 1).unwrap();
            requests.push(session);
        }
        let commits = requests.iter().enumerate().map(|(number, session)| {
            let manager = site.manager.clone();
            async move {
                let mut response = HeaderMap::new();
                let mut commit = pin!(manager.commit(session));
                if number == dropped {
                    let is_pending = poll_fn(|context| Poll::Ready(commit.as_mut().poll(context).is_pending())).await;
                    assert!(is_pending);
                    return;
                }
                commit.await.apply(&mut response).unwrap();
            }
        });
        let commits: Vec<_> = commits.collect();
        in_time(async {
            let mut commits = commits.into_iter();
            let mut next = || commits.next().unwrap();
            tokio::join!(next(), next(), next(), next());
        })
        .await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let session = visitor.session().await.unwrap();
        assert_eq!(session.get("count"), Some(4), "number {dropped} went away");
        assert_eq!(session.len(), 6);
    }
}

// Closures of the application run under no lock.

#[tokio::test]
async fn an_update_that_uses_its_session_when_it_is_run_again_does_not_hang() {
    let site = Site::new();
    let visitor = site.with("before").await;
    let session = visitor.session().await.unwrap();
    let uses = session.clone();
    session
        .update("count", move |count: &mut u32| {
            let before: u32 = uses.get("before").unwrap_or_default();
            uses.insert("seen", before);
            *count += 1;
        })
        .unwrap();
    let mut other = visitor.clone();
    visit(&mut other, &site.manager, |session| session.insert("count", 10)).await;
    in_time(session.commit()).await.unwrap();
    in_time(site.manager.commit(&session)).await.apply(&mut HeaderMap::new()).unwrap();
    let session = visitor.session().await.unwrap();
    assert_eq!((session.get("count"), session.get("seen")), (Some(11), Some(1)));
}

#[tokio::test]
async fn an_update_that_panics_when_it_is_run_again_fails_alone() {
    let site = Site::new();
    let visitor = site.with("before").await;
    let panics = visitor.session().await.unwrap();
    let first = AtomicBool::new(true);
    panics.update("boom", move |_: &mut u32| assert!(first.swap(false, SeqCst), "run again")).unwrap();
    let neighbour = visitor.session().await.unwrap();
    neighbour.insert("neighbour", 1);
    let mut other = visitor.clone();
    visit(&mut other, &site.manager, |session| session.insert("other", 1)).await;
    site.store.fail(Verb::Load, 1, SLOW);
    let (panicked, kept) = in_time(async { tokio::join!(panics.commit(), neighbour.commit()) }).await;
    assert!(panicked.unwrap_err().is_entry());
    kept.unwrap();
    assert_eq!(visitor.session().await.unwrap().keys(), ["before", "other", "neighbour"]);
    visit(&mut other, &site.manager, |session| session.insert("after", 1)).await;
    assert!(visitor.session().await.unwrap().contains("after"), "the store lives");
}

/// Looks at its session when it is dropped.
struct Looks(Session);

impl Drop for Looks {
    fn drop(&mut self) {
        let _ = self.0.len();
    }
}

fn updates_with_one_that_looks(session: &Session) {
    let looks = Looks(session.clone());
    session
        .update("count", move |count: &mut u32| {
            let _ = &looks;
            *count += 1;
        })
        .unwrap();
}

/// Runs it on a thread of its own, so that a lock taken twice fails the test.
fn on_a_thread(work: impl Future<Output = ()> + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(work);
        done.send(()).unwrap();
        runtime.shutdown_background();
    });
    is_done.recv_timeout(Duration::from_secs(10)).expect("it hangs, or failed");
}

#[test]
fn what_an_update_owns_may_use_the_session_when_clear_drops_it() {
    on_a_thread(async {
        let site = Site::new();
        let session = site.with("before").await.session().await.unwrap();
        updates_with_one_that_looks(&session);
        session.clear();
        session.commit().await.unwrap();
    });
}

#[test]
fn what_an_update_owns_may_use_the_session_when_a_change_of_principal_drops_it() {
    on_a_thread(async {
        let site = Site::new();
        let session = site.user("ada").await.session().await.unwrap();
        updates_with_one_that_looks(&session);
        session.set_principal("eve");
        session.commit().await.unwrap();
    });
}

#[test]
fn what_an_update_owns_may_use_the_session_when_a_commit_fails_after_clear() {
    on_a_thread(async {
        let site = Site::new();
        let session = site.with("before").await.session().await.unwrap();
        site.store.always(Verb::Replace, Fault::SlowAndNotDone(BRIEF));
        updates_with_one_that_looks(&session);
        let clears = async {
            session.clear();
        };
        let (failed, ()) = tokio::join!(session.commit(), clears);
        assert!(failed.is_err());
        site.store.heal();
        session.commit().await.unwrap();
    });
}

#[test]
fn what_an_update_owns_may_use_the_session_when_a_refused_cookie_is_removed() {
    on_a_thread(async {
        let site = Site::new();
        let garbage = HeaderMap::from_iter([(header::COOKIE, "__Host-Http-session=garbage".parse().unwrap())]);
        let session = site.manager.open(&garbage).await.unwrap();
        session.clear();
        updates_with_one_that_looks(&session);
        session.remove("count");
        site.manager.commit(&session).await.apply(&mut HeaderMap::new()).unwrap();
    });
}

// What a request meets.

type Act = fn(&Session);

/// How a session dies, or ends here.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Death {
    Ended,
    BegunAgain,
    LogIn,
    Expired,
}

impl Death {
    async fn comes(self, site: &Site, visitor: &Visitor) {
        let mut visitor = visitor.clone();
        match self {
            Self::Ended => visit(&mut visitor, &site.manager, Session::clear).await,
            Self::BegunAgain => {
                visit(&mut visitor, &site.manager, |session| {
                    session.clear();
                    session.insert("other", 1);
                })
                .await;
            }
            Self::LogIn => visit(&mut visitor, &site.manager, |session| session.set_principal("ada")).await,
            Self::Expired => site.clock.advance(Duration::from_secs(86_401)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    /// 200, no cookie, and nothing was written.
    Nothing,
    /// 409, no cookie, and nothing was written.
    Again,
    /// 200, and a new session with these entries.
    Begins(&'static [&'static str]),
}

fn writes(session: &Session) {
    session.insert("new", 1);
}

fn reads(session: &Session) {
    let _: Option<u32> = session.get("old");
}

fn logs_in(session: &Session) {
    session.insert("new", 1);
    session.set_principal("ada");
}

async fn is_told(what: &str, site: &Site, visitor: &Visitor, response: &Response<Body>, before: u64, told: Told) {
    let status = if told == Told::Again { StatusCode::CONFLICT } else { StatusCode::OK };
    assert_eq!(response.status(), status, "{what}");
    let Told::Begins(entries) = told else {
        assert_eq!(cookies(response), [""; 0], "{what}");
        assert_eq!(site.records().await, before, "{what}");
        return;
    };
    assert_eq!(cookies(response).len(), 1, "{what}");
    assert_eq!(visitor.session().await.unwrap().keys(), entries, "{what}");
}

#[tokio::test]
async fn a_request_whose_session_dies_under_it_is_told_as_the_table_says() {
    let rows: [(Death, Act, Told); 12] = [
        (Death::Ended, writes, Told::Nothing),
        (Death::BegunAgain, writes, Told::Nothing),
        (Death::LogIn, writes, Told::Again),
        (Death::Expired, writes, Told::Again),
        (Death::Ended, reads, Told::Nothing),
        (Death::BegunAgain, reads, Told::Nothing),
        (Death::LogIn, reads, Told::Nothing),
        (Death::Expired, reads, Told::Nothing),
        (Death::Ended, logs_in, Told::Begins(&["new"])),
        (Death::BegunAgain, logs_in, Told::Begins(&["new"])),
        (Death::LogIn, logs_in, Told::Begins(&["old", "new"])),
        (Death::Expired, logs_in, Told::Begins(&["new"])),
    ];
    for (death, act, told) in rows {
        let site = Arc::new(Site::new());
        let mut visitor = site.with("old").await;
        let records = Arc::new(AtomicU32::new(0));
        let (inside, other, counts) = (Arc::clone(&site), visitor.clone(), Arc::clone(&records));
        let handler = async move |session: Session| {
            death.comes(&inside, &other).await;
            counts.store(inside.records().await as u32, SeqCst);
            act(&session);
        };
        let response = site.get(&mut visitor, handler).await;
        let what = format!("lost, {death:?}, {told:?}");
        is_told(&what, &site, &visitor, &response, records.load(SeqCst).into(), told).await;
    }
}

#[tokio::test]
async fn a_request_that_comes_late_is_told_as_the_table_says() {
    let rows: [(Death, u64, Act, Told); 17] = [
        (Death::Ended, 0, writes, Told::Begins(&["new"])),
        (Death::Ended, 11, writes, Told::Begins(&["new"])),
        (Death::BegunAgain, 0, writes, Told::Again),
        (Death::BegunAgain, 9, writes, Told::Again),
        (Death::BegunAgain, 11, writes, Told::Begins(&["new"])),
        (Death::LogIn, 0, writes, Told::Again),
        (Death::LogIn, 11, writes, Told::Begins(&["new"])),
        (Death::Expired, 0, writes, Told::Begins(&["new"])),
        (Death::Ended, 0, reads, Told::Nothing),
        (Death::BegunAgain, 0, reads, Told::Nothing),
        (Death::LogIn, 0, reads, Told::Nothing),
        (Death::Expired, 0, reads, Told::Nothing),
        (Death::Ended, 0, logs_in, Told::Begins(&["new"])),
        (Death::BegunAgain, 0, logs_in, Told::Begins(&["new"])),
        (Death::LogIn, 0, logs_in, Told::Begins(&["new"])),
        (Death::Expired, 0, logs_in, Told::Begins(&["new"])),
        (Death::Ended, 130, writes, Told::Begins(&["new"])),
    ];
    for (death, after, act, told) in rows {
        let site = Site::new();
        let mut visitor = site.with("old").await;
        death.comes(&site, &visitor).await;
        site.clock.advance(Duration::from_secs(after));
        let before = site.records().await;
        let response = site.get(&mut visitor, async move |session: Session| act(&session)).await;
        is_told(&format!("late by {after} s, {death:?}, {told:?}"), &site, &visitor, &response, before, told).await;
    }
}

#[tokio::test]
async fn a_commit_in_mid_request_says_what_became_of_the_session() {
    let site = Site::new();
    for (death, closed) in
        [(Death::Ended, true), (Death::BegunAgain, true), (Death::LogIn, false), (Death::Expired, false)]
    {
        let visitor = site.with("old").await;
        let session = visitor.session().await.unwrap();
        death.comes(&site, &visitor).await;
        session.insert("new", 1);
        let error = session.commit().await.unwrap_err();
        assert_eq!((error.is_closed(), error.is_conflict()), (closed, !closed), "{death:?}");
    }
}

#[tokio::test]
async fn late_requests_of_a_plain_renewal_go_on_in_it_for_half_a_minute_without_a_cookie() {
    let site = Site::new();
    let mut visitor = site.user("ada").await;
    let mut before = visitor.clone();
    let lost = before.session().await.unwrap();
    visit(&mut visitor, &site.manager, Session::renew).await;
    lost.insert("lost", 1);
    let mut response = HeaderMap::new();
    site.manager.commit(&lost).await.apply(&mut response).unwrap();
    assert!(!response.contains_key(header::SET_COOKIE));
    site.clock.advance(Duration::from_secs(29));
    let response = site.get(&mut before, async |session: Session| session.insert("late", 1)).await;
    assert_eq!((response.status(), cookies(&response)), (StatusCode::OK, vec![]));
    assert_eq!(visitor.session().await.unwrap().keys(), ["firstName", "lost", "late"]);
    site.clock.advance(Duration::from_secs(2));
    assert!(before.session().await.unwrap().is_empty());
    let response = site.get(&mut before, async |session: Session| session.insert("stranger", 1)).await;
    assert_eq!((response.status(), cookies(&response).len()), (StatusCode::OK, 1));
    assert_eq!(before.session().await.unwrap().keys(), ["stranger"]);
    assert_eq!(before.session().await.unwrap().principal(), None);
}

#[tokio::test]
async fn whoever_was_ended_may_write_again_under_a_new_cookie() {
    let site = Site::new();
    for way in 0..4 {
        let mut visitor = site.user("ada").await;
        let before = visitor.cookie();
        match way {
            0 => {
                let handle = site.manager.sessions_of("ada").await.unwrap().remove(0).handle;
                assert!(site.manager.revoke("ada", &handle).await.unwrap());
            }
            1 => assert_eq!(site.manager.revoke_all("ada").await.unwrap(), 1),
            2 => visit(&mut visitor.clone(), &site.manager, Session::clear).await,
            _ => assert!(site.manager.revoke_everyone().await.unwrap() > 0),
        }
        let response = site.get(&mut visitor, async |session: Session| session.insert("csrf", 1)).await;
        assert_eq!((response.status(), cookies(&response).len()), (StatusCode::OK, 1), "way {way}");
        assert_ne!(visitor.cookie(), before);
        let session = visitor.session().await.unwrap();
        assert_eq!((session.keys(), session.principal()), (vec!["csrf".to_owned()], None), "way {way}");
        assert_eq!(site.manager.revoke_all("ada").await.unwrap(), 0, "way {way}");
    }
}

#[tokio::test]
async fn whoever_logs_out_everywhere_may_leave_a_message_in_any_order() {
    let site = Site::new();
    for way in 0..4 {
        let mut visitor = site.user("ada").await;
        let (before, manager) = (visitor.cookie(), site.manager.clone());
        let response = site.get(&mut visitor, async move |session: Session| {
            if way % 2 == 0 {
                session.clear();
            }
            manager.revoke_all("ada").await.unwrap();
            if way == 3 {
                assert!(session.commit().await.is_ok(), "it has nothing to save");
            }
            if way % 2 == 1 {
                session.clear();
            }
            session.flash("good-bye");
            if way == 2 {
                session.commit().await.unwrap();
            }
        });
        let response = response.await;
        assert_eq!((response.status(), cookies(&response).len()), (StatusCode::OK, 1), "way {way}");
        assert_ne!(visitor.cookie(), before);
        let session = visitor.session().await.unwrap();
        assert_eq!((session.take_flashes().len(), session.principal()), (1, None), "way {way}");
        assert!(site.manager.sessions_of("ada").await.unwrap().is_empty(), "way {way}");
    }
}

#[tokio::test]
async fn a_user_without_a_name_is_refused_and_nobody_is_logged_in() {
    let site = Site::new();
    let mut visitor = Visitor::new(&site.manager);
    let response = site.get(&mut visitor, async |session: Session| session.set_principal("")).await;
    assert_eq!((response.status(), cookies(&response).len()), (StatusCode::INTERNAL_SERVER_ERROR, 0));
    assert_eq!(visitor.session().await.unwrap().principal(), None);
}

#[tokio::test]
async fn devices_without_a_store_are_an_error_before_anybody_logs_in() {
    let manager = SessionLayer::new(secret()).unwrap().manager().unwrap();
    let session = manager.open(&HeaderMap::new()).await.unwrap();
    assert!(manager.devices(&session).await.unwrap_err().is_setting());
    assert!(manager.revoke_others(&session).await.unwrap_err().is_setting());
}

#[tokio::test]
async fn a_log_in_whose_session_runs_out_meanwhile_is_done_with_what_it_wrote() {
    let site = Site::new();
    let mut visitor = site.with("old").await;
    let clock = site.clock.clone();
    let handler = async move |session: Session| {
        session.insert("before", 1);
        clock.advance(Duration::from_secs(86_401));
        session.set_principal("ada");
        session.insert("after", 1);
    };
    let response = site.get(&mut visitor, handler).await;
    assert_eq!((response.status(), cookies(&response).len()), (StatusCode::OK, 1));
    let session = visitor.session().await.unwrap();
    assert_eq!(session.principal().as_deref(), Some("ada"));
    assert_eq!(session.keys(), ["before", "after"]);
}

// Whose session it is.

#[tokio::test]
async fn the_same_principal_again_has_a_new_id_and_the_same_data_and_handle() {
    let site = Site::new();
    let mut visitor = site.user("ada").await;
    let before = visitor.clone();
    let devices = site.manager.sessions_of("ada").await.unwrap();
    visit(&mut visitor, &site.manager, |session| session.set_principal("ada")).await;
    assert_ne!(visitor.cookie(), before.cookie());
    assert!(before.session().await.unwrap().is_empty());
    assert_eq!(visitor.session().await.unwrap().keys(), ["firstName"]);
    let again = site.manager.sessions_of("ada").await.unwrap();
    assert_eq!((again.len(), &again[0].handle), (1, &devices[0].handle));
}

#[tokio::test]
async fn the_absolute_timeout_begins_anew_at_a_log_in() {
    let hour = Duration::from_secs(3_600);
    for on_store in [true, false] {
        let clock = Clock::at(BEGIN);
        let layer = SessionLayer::new(secret()).unwrap().clock(clock.clone());
        let layer = layer.lifetime(Lifetime::browser().idle(hour).absolute(hour));
        let layer = if on_store { layer.store(MemoryStore::new()) } else { layer };
        let manager = layer.manager().unwrap();
        let mut visitor = Visitor::with(&manager, BTreeMap::from([("cart", 1)])).await.unwrap();
        for _ in 0..3 {
            clock.advance(Duration::from_secs(3_000));
            visit(&mut visitor, &manager, |session| session.set_principal("ada")).await;
            assert_eq!(visitor.session().await.unwrap().keys(), ["cart"]);
        }
        clock.advance(Duration::from_secs(3_000));
        visit(&mut visitor, &manager, |session| session.insert("busy", 1)).await;
        clock.advance(Duration::from_secs(601));
        assert!(visitor.session().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_lifetime_that_would_end_the_session_at_once_is_refused_by_name() {
    for (format, layer) in layers() {
        let manager = layer.manager().unwrap();
        if format == "Flask's" {
            continue;
        }
        for lifetime in [
            Lifetime::browser().idle(Duration::from_millis(900)),
            Lifetime::browser().absolute(Duration::from_millis(900)),
        ] {
            let session = manager.open(&HeaderMap::new()).await.unwrap();
            session.insert("name", "Ada");
            session.set_lifetime(lifetime);
            let error = session.commit().await.unwrap_err();
            assert!(error.is_setting() && error.to_string().contains("set_lifetime"), "{format}: {error}");
            session.set_lifetime(Lifetime::persistent());
            session.commit().await.unwrap();
        }
    }
    let site = Site::new();
    let visitor = site.with("old").await;
    site.clock.advance(Duration::from_secs(600));
    let session = visitor.session().await.unwrap();
    session.set_lifetime(Lifetime::browser().absolute(Duration::from_secs(300)));
    let error = session.commit().await.unwrap_err();
    assert!(error.is_setting() && error.to_string().contains("set_lifetime"), "{error}");
    let error = site.manager.commit(&session).await.apply(&mut HeaderMap::new()).unwrap_err();
    assert!(error.is_setting(), "{error}");
    assert_eq!(visitor.session().await.unwrap().keys(), ["old"]);
}

#[tokio::test]
async fn a_failed_entry_is_healed_by_a_good_insert_or_remove_of_its_name_alone() {
    for (format, layer) in layers() {
        let session = layer.manager().unwrap().open(&HeaderMap::new()).await.unwrap();
        session.insert("name", Unwritable);
        session.insert("other", 1);
        assert!(session.commit().await.unwrap_err().is_entry(), "{format}");
        session.insert("name", "Ada");
        session.commit().await.unwrap();
        session.insert("name", Unwritable);
        assert!(session.commit().await.unwrap_err().to_string().contains("name"), "{format}");
        session.remove("name");
        session.commit().await.unwrap();
        assert_eq!(session.keys(), ["other"], "{format}");
    }
}

#[tokio::test]
async fn a_label_in_flasks_format_is_an_error_by_name() {
    let manager = SessionLayer::new(secret()).unwrap().dialect(Flask::new).manager().unwrap();
    let session = manager.open(&HeaderMap::new()).await.unwrap();
    session.insert("name", "Ada");
    session.set_label("Firefox on Linux");
    let error = session.commit().await.unwrap_err();
    assert!(error.is_setting() && error.to_string().contains("set_label"), "{error}");
}

#[test]
fn an_idle_timeout_above_the_absolute_one_is_refused_at_build() {
    let hour = Duration::from_secs(3_600);
    let lifetime = Lifetime::browser().idle(2 * hour).absolute(hour);
    let error = SessionLayer::new(secret()).unwrap().lifetime(lifetime).manager().unwrap_err();
    assert!(error.is_setting() && error.to_string().contains("idle"), "{error}");
    let fits = Lifetime::browser().idle(hour).absolute(hour);
    SessionLayer::new(secret()).unwrap().lifetime(fits).manager().unwrap();
}

// The states of a record.

#[tokio::test]
async fn the_same_writes_in_two_stores_have_different_versions() {
    let mut seen = Vec::new();
    for _ in 0..2 {
        let site = Site::new();
        let mut visitor = site.with("number").await;
        for number in 0..5 {
            visit(&mut visitor, &site.manager, |session| session.insert("number", number)).await;
            let page = site.store.store.list(None, None, 10, site.clock.now()).await.unwrap();
            seen.push(page[0].2.bits());
        }
    }
    let mut all = seen.clone();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 10, "{seen:?}");
    assert!(all.windows(2).all(|pair| pair[1] - pair[0] > 1), "none is counted up: {seen:?}");
}

// Log out everywhere cannot be outrun.

/// Renews as fast as it can, until it is ended.
fn thief(manager: &SessionManager, visitor: &Visitor, stops: &Arc<AtomicBool>) -> tokio::task::JoinHandle<Visitor> {
    let (manager, mut visitor, stops) = (manager.clone(), visitor.clone(), Arc::clone(stops));
    tokio::spawn(async move {
        while !stops.load(SeqCst) {
            let session = manager.open(&site::headers(&visitor)).await.unwrap();
            session.renew();
            let mut response = HeaderMap::new();
            // Over an ended session it is told so.
            let _ = manager.commit(&session).await.apply(&mut response);
            visitor.receive(&response);
            tokio::task::yield_now().await;
        }
        visitor
    })
}

async fn nobody_outruns(manager: SessionManager, rounds: u32) {
    let ada = async || Visitor::prepared(&manager, |session| session.set_principal("ada")).await.unwrap();
    for round in 0..rounds {
        let stolen = ada().await;
        let asks = if round % 4 == 1 { Some(ada().await) } else { None };
        let handle = manager.sessions_of("ada").await.unwrap().remove(0).handle;
        let stops = Arc::new(AtomicBool::new(false));
        let runs = thief(&manager, &stolen, &stops);
        tokio::time::sleep(Duration::from_micros(u64::from(round % 7) * 150)).await;
        let ended = match (round % 4, &asks) {
            (0, _) => manager.revoke_all("ada").await.unwrap(),
            (1, Some(asks)) => manager.revoke_others(&asks.session().await.unwrap()).await.unwrap(),
            (2, _) => manager.revoke("ada", &handle).await.unwrap().into(),
            _ => manager.revoke_everyone().await.unwrap(),
        };
        let after = ada().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        stops.store(true, SeqCst);
        let thief = runs.await.unwrap();
        assert_eq!(thief.session().await.unwrap().principal(), None, "round {round}: the thief lives");
        assert_eq!(ended, 1, "round {round}");
        assert_eq!(
            after.session().await.unwrap().principal().as_deref(),
            Some("ada"),
            "round {round}: a log-in after it"
        );
        let living = 1 + u64::from(asks.is_some());
        assert_eq!(manager.sessions_of("ada").await.unwrap().len() as u64, living, "round {round}");
        if let Some(asks) = asks {
            assert_eq!(asks.session().await.unwrap().principal().as_deref(), Some("ada"), "round {round}: who asked");
        }
        assert_eq!(manager.revoke_all("ada").await.unwrap(), living, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_outruns_a_revocation_in_memory() {
    let layer = SessionLayer::new(secret()).unwrap().store(MemoryStore::new());
    nobody_outruns(layer.manager().unwrap(), 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_outruns_a_revocation_on_sqlite() {
    let directory = Directory::new();
    let layer = SessionLayer::new(secret()).unwrap().store(SqliteStore::open(directory.file()).unwrap());
    nobody_outruns(layer.manager().unwrap(), 200).await;
}

#[tokio::test]
async fn a_handle_names_the_session_after_a_renewal_and_a_revocation_counts_what_it_deleted() {
    let site = Site::new();
    let mut visitor = site.user("ada").await;
    let handle = site.manager.sessions_of("ada").await.unwrap().remove(0).handle;
    visit(&mut visitor, &site.manager, Session::renew).await;
    assert_eq!(site.manager.sessions_of("ada").await.unwrap()[0].handle, handle);
    assert!(site.manager.revoke("ada", &handle).await.unwrap());
    assert!(!site.manager.revoke("ada", &handle).await.unwrap());
    assert!(visitor.session().await.unwrap().is_empty());
    site.user("ada").await;
    site.clock.advance(Duration::from_secs(86_401));
    site.user("ada").await;
    assert_eq!(site.manager.revoke_all("ada").await.unwrap(), 1, "one had run out");
    assert_eq!(site.manager.revoke_all("ada").await.unwrap(), 0);
}

/// A manager of before there was a store, one of after, and their clock.
fn before_and_after(store: impl SessionAdmin) -> (SessionManager, SessionManager, Clock) {
    let clock = Clock::at(BEGIN);
    let layer = SessionLayer::new(secret()).unwrap().clock(clock.clone());
    (layer.manager().unwrap(), layer.store(store).manager().unwrap(), clock)
}

/// The same cookies in a browser of another manager.
fn moved(visitor: &Visitor, manager: &SessionManager) -> Visitor {
    let mut moved = Visitor::new(manager);
    moved.receive(&HeaderMap::from_iter([(header::SET_COOKIE, visitor.cookie())]));
    moved
}

#[tokio::test]
async fn a_sealed_cookie_of_before_the_store_opens_nothing_after_a_revocation() {
    for everyone in [false, true] {
        let (before, after, clock) = before_and_after(MemoryStore::new());
        let sealed = Visitor::prepared(&before, |session| session.set_principal("ada")).await.unwrap();
        let other = Visitor::prepared(&before, |session| session.set_principal("eve")).await.unwrap();
        let reads = moved(&sealed, &after);
        clock.advance(Duration::from_secs(5));
        assert_eq!(reads.session().await.unwrap().principal().as_deref(), Some("ada"));
        let opened = reads.session().await.unwrap();
        let ended = if everyone { after.revoke_everyone().await } else { after.revoke_all("ada").await };
        assert_eq!(ended.unwrap(), 0, "it was in no store");
        assert_eq!(reads.session().await.unwrap().principal(), None, "also for a request that only reads");
        opened.insert("moves", 1);
        let mut moves = reads.clone();
        let mut response = HeaderMap::new();
        after.commit(&opened).await.apply(&mut response).unwrap();
        moves.receive(&response);
        assert_eq!(moves.session().await.unwrap().principal(), None, "nor by a request that had opened it");
        let eve = moved(&other, &after).session().await.unwrap().principal();
        assert_eq!(eve.is_some(), !everyone);
        let again = Visitor::prepared(&after, |session| session.set_principal("ada")).await.unwrap();
        assert_eq!(again.session().await.unwrap().principal().as_deref(), Some("ada"));
    }
}

#[tokio::test]
async fn messages_that_are_taken_one_by_one_beside_many_are_each_gone_once() {
    let site = Site::new();
    let visitor = Visitor::prepared(&site.manager, |session| session.insert("a", 1)).await.unwrap();
    let (one, other) = (visitor.session().await.unwrap(), visitor.session().await.unwrap());
    for at in 0..200 {
        other.flash(format!("of the other {at}"));
        one.flash(format!("mine {at}"));
        assert_eq!(one.take_flashes().len(), 1);
    }
    site.manager.commit(&other).await.apply(&mut HeaderMap::new()).unwrap();
    site.manager.commit(&one).await.apply(&mut HeaderMap::new()).unwrap();
    let session = visitor.session().await.unwrap();
    let shown: Vec<String> = session.take_flashes().iter().map(|flash| flash.text().to_owned()).collect();
    assert_eq!(shown, (0..200).map(|at| format!("of the other {at}")).collect::<Vec<_>>());
}
