//! What is counted and timed, under the names of docs/on-call.md.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::support::{
    faulty::{Fault, Faulty, Verb},
    stores::Directory,
};
use axum::{Router, body::Body, routing::get};
use dewar::{
    Clock, Error, Lifetime, Secret, Session, SessionLayer, SessionManager,
    store::{
        Cap, Create, Delete, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreError, StoreKey,
        Timestamp, Tombstone, Touch, Version, memory::MemoryStore, sqlite::SqliteStore,
    },
    testing::Visitor,
};
use http::{HeaderMap, Request, StatusCode};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, LocalRecorderGuard, Metadata, Recorder, SharedString, Unit};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tower::ServiceExt;

/// What this thread records.
struct Recorded {
    snapshotter: Snapshotter,
    _guard: LocalRecorderGuard<'static>,
}

impl Recorded {
    fn here() -> Self {
        let recorder: &'static DebuggingRecorder = Box::leak(Box::default());
        Self { snapshotter: recorder.snapshotter(), _guard: metrics::set_default_local_recorder(recorder) }
    }

    /// What came since this was asked last: by name and labels, a count or each value.
    fn since(&self) -> BTreeMap<String, Vec<f64>> {
        let all = self.snapshotter.snapshot().into_vec().into_iter().map(|(key, _, _, value)| {
            let (_, key) = key.into_parts();
            let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            let values = match value {
                DebugValue::Counter(0) => Vec::new(),
                DebugValue::Counter(count) => vec![count as f64],
                DebugValue::Gauge(value) => vec![value.into_inner()],
                DebugValue::Histogram(values) => values.into_iter().map(|value| value.into_inner()).collect(),
            };
            (format!("{}{{{}}}", key.name(), labels.join(",")), values)
        });
        all.filter(|(_, values)| !values.is_empty()).collect()
    }

    /// The counters of this name that moved, by the value of their label.
    fn counted(&self, name: &str, label: &str) -> Vec<(String, f64)> {
        let prefix = format!("{name}{{{label}=");
        let of = |(key, values): (String, Vec<f64>)| {
            Some((key.strip_prefix(&prefix)?.trim_end_matches('}').to_owned(), values[0]))
        };
        self.since().into_iter().filter_map(of).collect()
    }
}

fn one(word: &str) -> Vec<(String, f64)> {
    vec![(word.to_owned(), 1.0)]
}

const MISSING: &[u8] = b"__Host-Http-session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[tokio::test]
async fn every_opening_is_counted_once_by_what_the_cookie_led_to() {
    let recorded = Recorded::here();
    let store = Faulty::default();
    let manager = SessionManager::builder(Secret::generate()).unwrap().store(store.clone()).build().unwrap();
    let ada = Visitor::prepared(&manager, |session| session.insert("n", 1)).await.unwrap();
    let opened = || recorded.counted("dewar_opened_total", "outcome");
    assert_eq!(opened(), one("none"));
    ada.session().await.unwrap();
    assert_eq!(opened(), one("found"));
    manager.open(&[&b"__Host-Http-session=garbage"[..]][..]).await.unwrap();
    assert_eq!(opened(), one("refused"));
    manager.open(&[MISSING][..]).await.unwrap();
    assert_eq!(opened(), one("gone"));
    store.fail(Verb::Load, 1, Fault::NotDone);
    ada.session().await.unwrap_err();
    assert_eq!(opened(), one("failed"));
    // Not at once: the answer is waited for.
    store.fail(Verb::Load, 1, Fault::Slow(Duration::from_millis(5)));
    ada.session().await.unwrap();
    assert_eq!(opened(), one("found"));
}

#[tokio::test]
async fn an_opening_at_a_source_is_counted_once() {
    let recorded = Recorded::here();
    let old = SessionManager::builder(Secret::generate()).unwrap().cookie_name("old").build().unwrap();
    let until = Timestamp::from_secs(4_000_000_000);
    let new = SessionManager::builder(Secret::generate()).unwrap().reads_also(old.clone(), until).build().unwrap();
    let ada = Visitor::prepared(&old, |session| session.insert("n", 1)).await.unwrap();
    recorded.since();
    let opened = || recorded.counted("dewar_opened_total", "outcome");
    new.open(&[ada.cookie().as_bytes()][..]).await.unwrap();
    assert_eq!(opened(), one("found"));
    new.open(&[&b"old=garbage"[..]][..]).await.unwrap();
    assert_eq!(opened(), one("refused"));
}

#[tokio::test]
async fn every_commit_is_timed_by_what_it_came_to_with_its_round_trips() {
    let recorded = Recorded::here();
    let store = Faulty::default();
    let manager = SessionManager::builder(Secret::generate()).unwrap().store(store.clone()).build().unwrap();
    let ada = Visitor::prepared(&manager, |session| session.insert("n", 1)).await.unwrap();
    let committed = || {
        let since = recorded.since();
        let outcome = ["written", "nothing", "failed"].into_iter().find(|outcome| {
            since.get(&format!("dewar_commit_seconds{{outcome={outcome}}}")).is_some_and(|times| times.len() == 1)
        });
        (outcome.unwrap(), since.get("dewar_commit_round_trips{}").cloned().unwrap_or_default())
    };
    assert_eq!(committed(), ("written", vec![1.0]));

    manager.commit(&ada.session().await.unwrap()).await.apply(&mut HeaderMap::new()).unwrap();
    assert_eq!(committed(), ("nothing", vec![]));

    // The answer is lost, and the store is asked what became of it.
    let session = ada.session().await.unwrap();
    session.insert("n", 2);
    store.fail(Verb::Replace, 1, Fault::Lost);
    manager.commit(&session).await.apply(&mut HeaderMap::new()).unwrap();
    assert_eq!(committed(), ("written", vec![2.0]));

    let session = ada.session().await.unwrap();
    session.insert("n", 3);
    store.fail(Verb::Replace, 1, Fault::Slow(Duration::from_millis(20)));
    manager.commit(&session).await.apply(&mut HeaderMap::new()).unwrap();
    let since = recorded.since();
    assert_eq!(since["dewar_commit_round_trips{}"], [1.0], "the task that waits counts, too");
    assert!(since["dewar_commit_seconds{outcome=written}"][0] >= 0.02);
    assert!(since["dewar_store_seconds{operation=replace,outcome=ok}"][0] >= 0.02);

    let session = ada.session().await.unwrap();
    session.insert("n", 4);
    store.always(None, Fault::NotDone);
    manager.commit(&session).await.apply(&mut HeaderMap::new()).unwrap_err();
    assert_eq!(committed(), ("failed", vec![2.0]));
}

#[tokio::test]
async fn calls_of_a_store_are_as_many_as_are_measured() {
    let recorded = Recorded::here();
    let store = Faulty::default();
    let manager = SessionManager::builder(Secret::generate()).unwrap().store(store.clone()).build().unwrap();
    let mut ada = Visitor::prepared(&manager, |session| session.set_principal("ada")).await.unwrap();
    for handler in [|session: &Session| session.insert("n", 1), Session::renew, Session::clear] {
        let session = ada.session().await.unwrap();
        handler(&session);
        let mut response = HeaderMap::new();
        manager.commit(&session).await.apply(&mut response).unwrap();
        ada.receive(&response);
    }
    manager.ping().await.unwrap();
    let since = recorded.since();
    let calls = |operation: &str| {
        since.get(&format!("dewar_store_seconds{{operation={operation},outcome=ok}}")).map_or(0, Vec::len)
    };
    let made = ["load", "create", "replace", "rename", "delete", "touch", "ping"]
        .map(|operation| (operation, calls(operation)));
    assert_eq!(
        made,
        [("load", 3), ("create", 1), ("replace", 1), ("rename", 1), ("delete", 1), ("touch", 0), ("ping", 1)]
    );
    assert_eq!(made.iter().map(|(_, calls)| calls).sum::<usize>(), store.calls() as usize);
    assert!(!since.keys().any(|key| key.contains("outcome=error") || key.starts_with("dewar_store_errors_total")));
}

/// A store that cannot be reached, and counts how often somebody tried.
#[derive(Clone, Default)]
struct Down(Arc<AtomicU32>);

macro_rules! down {
    ($($method:ident($($argument:ty),*) -> $answer:ty;)*) => {$(
        #[allow(clippy::too_many_arguments)]
        async fn $method(&self, $(_: $argument),*) -> Result<$answer, StoreError> {
            self.0.fetch_add(1, SeqCst);
            Err(StoreError::new("it is down"))
        }
    )*};
}

impl SessionStore for Down {
    down! {
        load(&StoreKey, Timestamp) -> Load;
        create(&StoreKey, Version, Record, Option<&Cap>, Timestamp) -> Create;
        replace(&StoreKey, Version, Version, Record, Timestamp) -> Replace;
        touch(&StoreKey, Version, Timestamp, Timestamp) -> Touch;
        delete(&StoreKey, Option<Version>, Tombstone, Timestamp) -> Delete;
        rename(&StoreKey, Option<Version>, &StoreKey, Version, Record, Tombstone, Option<&Cap>, Timestamp) -> Rename;
    }
}

impl SessionAdmin for Down {
    down! {
        count(Timestamp) -> u64;
        list(Option<&str>, Option<&StoreKey>, usize, Timestamp) -> Vec<(StoreKey, Record, Version)>;
        epoch(Option<&str>) -> u64;
        revoke(&str, Revoke, Tombstone, Timestamp) -> u64;
        revoke_everyone(Tombstone, Timestamp) -> u64;
        purge(usize, Timestamp) -> usize;
    }
}

#[tokio::test]
async fn every_failed_call_of_the_store_is_counted_once_wherever_it_was_made() {
    let recorded = Recorded::here();
    let (store, secret) = (Down::default(), Secret::generate());
    let sealed = SessionManager::new(secret.clone()).unwrap();
    let former = Visitor::prepared(&sealed, |session| session.insert("n", 1)).await.unwrap().cookie();
    let layer = SessionLayer::new(secret).unwrap().store(store.clone());
    let manager = layer.manager().unwrap();
    let app: Router = Router::new()
        .route("/session", get(async |_: Session| ()))
        .route("/option", get(async |session: Option<Session>| assert!(session.is_none())))
        .layer(layer);
    recorded.since();

    let mut seen = 0;
    let mut check = |operations: &[&str], what: &str| {
        let calls = store.0.load(SeqCst);
        let errors = recorded.counted("dewar_store_errors_total", "operation");
        let names: Vec<&str> = errors.iter().map(|(operation, _)| operation.as_str()).collect();
        assert_eq!(names, operations, "{what}");
        let errors: f64 = errors.iter().map(|(_, count)| count).sum();
        assert_eq!(errors, f64::from(calls - seen), "{what}");
        assert!(calls > seen, "{what}");
        seen = calls;
    };

    for (path, status) in [("/session", StatusCode::SERVICE_UNAVAILABLE), ("/option", StatusCode::OK)] {
        let request = Request::get(path).header("cookie", MISSING).body(Body::empty()).unwrap();
        assert_eq!(app.clone().oneshot(request).await.unwrap().status(), status);
        check(&["load"], path);
    }
    manager.open(&[former.as_bytes()][..]).await.unwrap_err();
    check(&["load"], "a cookie that is to move");
    let session = manager.open(&HeaderMap::new()).await.unwrap();
    session.insert("n", 1);
    session.commit().await.unwrap_err();
    check(&["create", "load"], "a commit in the handler");
    manager.commit(&session).await.apply(&mut HeaderMap::new()).unwrap_err();
    check(&["load"], "the response's commit, which asks what became of the first");
    let handle = format!(":{}", StoreKey::from_digest([7; 32])).parse().unwrap();
    manager.edit(&handle, |_| {}).await.unwrap_err();
    check(&["load"], "edit");
    manager.edit_sessions_of("ada", |_| {}).await.unwrap_err();
    check(&["list"], "edit_sessions_of");
    manager.sessions_of("ada").await.unwrap_err();
    check(&["list"], "sessions_of");
    manager.revoke("ada", "AAAAAAAAAAE").await.unwrap_err();
    check(&["revoke"], "revoke");
    manager.revoke_all("ada").await.unwrap_err();
    check(&["revoke"], "revoke_all");
    manager.revoke_everyone().await.unwrap_err();
    check(&["revoke"], "revoke_everyone");
    manager.count().await.unwrap_err();
    check(&["count"], "count");
    manager.purge().await.unwrap_err();
    check(&["purge"], "purge");
    manager.ping().await.unwrap_err();
    check(&["ping"], "ping");
}

#[tokio::test]
async fn a_store_that_waits_for_a_thread_is_measured_as_another() {
    let recorded = Recorded::here();
    let directory = Directory::new();
    let store = SqliteStore::open(directory.path().join("sessions.db")).unwrap();
    let manager = SessionManager::builder(Secret::generate()).unwrap().store(store).build().unwrap();
    let ada = Visitor::prepared(&manager, |session| session.insert("n", 1)).await.unwrap();
    ada.session().await.unwrap();
    let since = recorded.since();
    for measured in [
        "dewar_store_seconds{operation=create,outcome=ok}",
        "dewar_store_seconds{operation=load,outcome=ok}",
        "dewar_commit_seconds{outcome=written}",
    ] {
        assert_eq!(since[measured].len(), 1, "{measured}");
    }
}

#[tokio::test]
async fn the_size_of_each_cookie_that_is_set_is_noted_and_none_of_one_that_is_removed() {
    let recorded = Recorded::here();
    let manager = SessionManager::new(Secret::generate()).unwrap();
    let mut ada = Visitor::prepared(&manager, |session| session.insert("n", "x".repeat(100))).await.unwrap();
    let bytes = ada.cookie().len() - 1;
    assert_eq!(recorded.since()["dewar_cookie_bytes{}"], [bytes as f64]);
    let session = ada.session().await.unwrap();
    session.clear();
    let mut response = HeaderMap::new();
    manager.commit(&session).await.apply(&mut response).unwrap();
    ada.receive(&response);
    assert!(ada.cookie().is_empty());
    assert!(!recorded.since().contains_key("dewar_cookie_bytes{}"));
}

#[tokio::test]
async fn sessions_that_were_counted_are_a_gauge_and_those_that_were_purged_a_counter() {
    let recorded = Recorded::here();
    let clock = Clock::at(Timestamp::from_secs(1_800_000_000));
    let lifetime = Lifetime::browser().idle(Duration::from_secs(60));
    let builder = SessionManager::builder(Secret::generate()).unwrap().store(MemoryStore::new());
    let manager = builder.lifetime(lifetime).clock(clock.clone()).build().unwrap();
    for _ in 0..3 {
        Visitor::prepared(&manager, |session| session.insert("n", 1)).await.unwrap();
    }
    assert_eq!(manager.count().await.unwrap(), 3);
    assert_eq!(recorded.since()["dewar_active_sessions{}"], [3.0]);
    clock.advance(Duration::from_secs(61));
    assert_eq!(manager.purge().await.unwrap(), 3);
    assert_eq!(recorded.since()["dewar_ended_total{reason=purged}"], [3.0]);
    assert_eq!(manager.count().await.unwrap(), 0);
}

/// The names that are described, and their units.
#[derive(Default)]
struct Described(Mutex<BTreeMap<String, &'static str>>);

impl Recorder for Described {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.0.lock().unwrap().insert(key.as_str().to_owned(), unit.unwrap().as_str());
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe_counter(key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe_counter(key, unit, description);
    }

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn the_page_for_the_person_on_call_lists_what_there_is() {
    let described = Described::default();
    metrics::with_local_recorder(&described, || SessionManager::new(Secret::generate()).unwrap());
    let described: BTreeSet<String> = described.0.into_inner().unwrap().into_keys().collect();
    let page = include_str!("../../../../docs/on-call.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `dewar_"));
    let listed: BTreeSet<String> = rows.map(|row| format!("dewar_{}", row.split(['`', '{']).next().unwrap())).collect();
    assert_eq!(listed, described);
}

#[tokio::test]
async fn times_are_in_seconds_and_sizes_in_bytes() -> Result<(), Error> {
    let described = Described::default();
    metrics::with_local_recorder(&described, || SessionManager::new(Secret::generate()))?;
    let described = described.0.into_inner().unwrap();
    assert_eq!(described["dewar_store_seconds"], "seconds");
    assert_eq!(described["dewar_commit_seconds"], "seconds");
    assert_eq!(described["dewar_cookie_bytes"], "bytes");
    assert_eq!(described["dewar_commit_round_trips"], "count");
    Ok(())
}
