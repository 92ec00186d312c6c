//! What the application is told of its sessions, and what the metrics count with it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock},
};

use crate::support::faulty::{Fault, Faulty, Verb};
use dewar::{
    Event, Secret, Session, SessionManager, SessionManagerBuilder,
    store::{SessionAdmin, memory::MemoryStore},
    testing::Visitor,
};
use http::HeaderMap;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};

/// What was told, each in a few words.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn hears(&self, builder: SessionManagerBuilder) -> SessionManager {
        let heard = self.clone();
        builder.on_event(move |event| heard.0.lock().unwrap().push(words(event))).build().unwrap()
    }

    /// What came since this was asked last.
    fn since(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn words(event: &Event) -> String {
    match event {
        Event::Created => "created".into(),
        Event::Authenticated => "authenticated".into(),
        Event::Renewed => "renewed".into(),
        Event::Ended { reason, sessions: 1, .. } => format!("ended: {}", reason.as_str()),
        Event::Ended { reason, sessions, .. } => format!("{sessions} ended: {}", reason.as_str()),
        Event::Refused { reason, .. } => format!("refused: {reason}"),
        other => format!("{other:?}"),
    }
}

fn in_a_cookie() -> SessionManagerBuilder {
    SessionManager::builder(Secret::generate()).unwrap()
}

fn on(store: impl SessionAdmin) -> SessionManagerBuilder {
    in_a_cookie().store(store)
}

fn look(session: &Session) {
    let _: Option<u32> = session.get("n");
}

fn remove(session: &Session) {
    session.remove("n");
}

/// A request of this visitor's.
async fn visit(manager: &SessionManager, visitor: &mut Visitor, handler: impl FnOnce(&Session)) {
    let session = visitor.session().await.unwrap();
    handler(&session);
    let mut response = HeaderMap::new();
    manager.commit(&session).await.apply(&mut response).unwrap();
    visitor.receive(&response);
}

#[tokio::test]
async fn what_becomes_of_a_session_is_told_where_it_is_in_a_cookie_and_on_a_store() {
    for builder in [in_a_cookie(), on(MemoryStore::new())] {
        let heard = Heard::default();
        let manager = heard.hears(builder);
        let mut ada = Visitor::new(&manager);
        type Handler = fn(&Session);
        let requests: [(Handler, &[&str]); 11] = [
            (look, &[]),
            (|session| session.insert("n", 1), &["created"]),
            (|session| session.insert("n", 2), &[]),
            (|session| session.set_principal("ada"), &["renewed", "authenticated"]),
            (Session::renew, &["renewed"]),
            (|session| session.set_principal("eve"), &["ended: principal_changed", "created", "authenticated"]),
            (Session::clear, &["ended: cleared"]),
            (|session| session.set_principal("ada"), &["created", "authenticated"]),
            (
                |session| {
                    session.clear();
                    session.insert("n", 1);
                },
                &["ended: cleared", "created"],
            ),
            (remove, &["ended: emptied"]),
            (remove, &[]),
        ];
        for (handler, told) in requests {
            visit(&manager, &mut ada, handler).await;
            assert_eq!(heard.since(), told);
        }
    }
}

#[tokio::test]
async fn a_session_that_an_earlier_commit_of_the_request_began_is_told_once() {
    for builder in [in_a_cookie(), on(MemoryStore::new())] {
        let heard = Heard::default();
        let manager = heard.hears(builder);
        let session = Visitor::new(&manager).session().await.unwrap();
        session.insert("n", 1);
        session.set_principal("ada");
        session.commit().await.unwrap();
        session.insert("n", 2);
        manager.commit(&session).await.apply(&mut HeaderMap::new()).unwrap();
        assert_eq!(heard.since(), ["created", "authenticated"]);
    }
}

#[tokio::test]
async fn sessions_that_are_ended_from_elsewhere_are_told_in_one() {
    let heard = Heard::default();
    let manager = heard.hears(on(MemoryStore::new()));
    for _ in 0..3 {
        Visitor::prepared(&manager, |session| session.set_principal("ada")).await.unwrap();
    }
    heard.since();
    let one = manager.sessions_of("ada").await.unwrap().remove(0).handle;
    assert!(manager.revoke("ada", &one).await.unwrap());
    assert!(!manager.revoke("ada", &one).await.unwrap());
    assert_eq!(manager.revoke_all("ada").await.unwrap(), 2);
    assert_eq!(manager.revoke_everyone().await.unwrap(), 0);
    assert_eq!(heard.since(), ["ended: revoked", "2 ended: revoked"]);
}

#[tokio::test]
async fn a_refused_cookie_is_told_with_its_reason() {
    let heard = Heard::default();
    let manager = heard.hears(on(MemoryStore::new()));
    let cookies: [&[u8]; 2] =
        [b"__Host-Http-session=garbage", b"__Host-Http-session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"];
    for cookie in cookies {
        manager.open(&[cookie][..]).await.unwrap();
    }
    assert_eq!(heard.since(), ["refused: malformed", "refused: unknown"]);
}

#[tokio::test]
async fn what_failed_is_not_told_and_what_is_found_to_be_done_is_told_then() {
    let (heard, store) = (Heard::default(), Faulty::default());
    let manager = heard.hears(on(store.clone()));
    let session = Visitor::new(&manager).session().await.unwrap();
    session.set_principal("ada");
    // It is done, and nobody can know: the answer is lost, and the store cannot be asked.
    store.fail(Verb::Create, 1, Fault::Lost);
    store.fail(Verb::Load, 1, Fault::NotDone);
    session.commit().await.unwrap_err();
    assert_eq!(heard.since(), [""; 0]);
    session.commit().await.unwrap();
    assert_eq!(heard.since(), ["created", "authenticated"]);
    store.always(Verb::Delete, Fault::NotDone);
    session.clear();
    manager.commit(&session).await.apply(&mut HeaderMap::new()).unwrap_err();
    assert_eq!(heard.since(), [""; 0]);
}

#[tokio::test]
async fn who_meets_a_log_out_is_told_of_nothing() {
    let heard = Heard::default();
    let manager = heard.hears(on(MemoryStore::new()));
    let ada = Visitor::prepared(&manager, |session| session.set_principal("ada")).await.unwrap();
    let slow = ada.session().await.unwrap();
    slow.insert("n", 1);
    slow.renew();
    manager.revoke_all("ada").await.unwrap();
    heard.since();
    manager.commit(&slow).await.apply(&mut HeaderMap::new()).unwrap();
    assert_eq!(heard.since(), [""; 0]);
}

#[tokio::test]
async fn a_log_in_that_meets_a_log_out_begins_a_session() {
    let heard = Heard::default();
    let manager = heard.hears(on(MemoryStore::new()));
    let ada = Visitor::prepared(&manager, |session| session.set_principal("ada")).await.unwrap();
    let slow = ada.session().await.unwrap();
    slow.set_principal("ada");
    manager.revoke_all("ada").await.unwrap();
    heard.since();
    manager.commit(&slow).await.apply(&mut HeaderMap::new()).unwrap();
    assert_eq!(heard.since(), ["created", "authenticated"]);
}

#[tokio::test]
async fn a_cookie_that_moves_to_a_store_begins_no_session() {
    let secret = Secret::generate();
    let before = SessionManager::new(secret.clone()).unwrap();
    let mut ada = Visitor::prepared(&before, |session| session.insert("n", 1)).await.unwrap();
    let heard = Heard::default();
    let manager = heard.hears(SessionManager::builder(secret).unwrap().store(MemoryStore::new()));
    let session = manager.open(&HeaderMap::from_iter([(http::header::COOKIE, ada.cookie())])).await.unwrap();
    session.insert("n", 2);
    let mut response = HeaderMap::new();
    manager.commit(&session).await.apply(&mut response).unwrap();
    ada.receive(&response);
    assert_eq!(heard.since(), [""; 0]);
}

#[tokio::test]
async fn a_panic_in_the_callback_harms_no_request() {
    for builder in [in_a_cookie(), on(MemoryStore::new())] {
        let heard = Heard::default();
        let manager = heard.hears(builder.on_event(|_| panic!("in the application's callback")));
        let ada = Visitor::prepared(&manager, |session| session.insert("n", 1)).await.unwrap();
        assert_eq!(ada.session().await.unwrap().get("n"), Some(1));
        assert_eq!(heard.since(), ["created"], "the next callback is called all the same");
    }
}

#[tokio::test]
async fn the_callback_may_use_the_session() {
    for builder in [in_a_cookie(), on(MemoryStore::new())] {
        let (held, seen) = (Arc::new(OnceLock::<Session>::new()), Arc::new(OnceLock::new()));
        let (inside, sees) = (Arc::clone(&held), Arc::clone(&seen));
        let builder = builder.on_event(move |_| {
            let _ = sees.set(inside.get().and_then(|session| session.get::<u32>("n")));
        });
        let manager = builder.build().unwrap();
        let session = Visitor::new(&manager).session().await.unwrap();
        session.insert("n", 1);
        held.set(session.clone()).unwrap();
        manager.commit(&session).await.apply(&mut HeaderMap::new()).unwrap();
        assert_eq!(seen.get(), Some(&Some(1)));
    }
}

#[tokio::test]
async fn layers_that_tell_others_disagree() {
    let secret = Secret::generate();
    let manager = |heard: &Heard| heard.hears(SessionManager::builder(secret.clone()).unwrap());
    let heard = Heard::default();
    assert!(!manager(&heard).agrees_with(&manager(&Heard::default())));
    let of_one_function = || SessionManager::builder(secret.clone()).unwrap().on_event(|_| {}).build().unwrap();
    assert!(of_one_function().agrees_with(&of_one_function()));
}

/// What an event counts for, as docs/on-call.md has it.
fn counter(event: &Event) -> (String, u64) {
    match event {
        Event::Ended { reason, sessions, .. } => (format!("dewar_ended_total {}", reason.as_str()), *sessions),
        Event::Refused { reason, .. } => (format!("dewar_refused_total {reason}"), 1),
        other => (format!("dewar_{}_total", words(other)), 1),
    }
}

#[tokio::test]
async fn counters_and_events_say_the_same() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let told = Arc::new(Mutex::new(BTreeMap::<String, u64>::new()));
    let tells = Arc::clone(&told);
    let manager = on(MemoryStore::new()).on_event(move |event| {
        let (name, count) = counter(event);
        *tells.lock().unwrap().entry(name).or_default() += count;
    });
    let manager = manager.build().unwrap();
    for user in ["ada", "eve"] {
        let mut visitor = Visitor::prepared(&manager, |session| session.set_principal(user)).await.unwrap();
        visit(&manager, &mut visitor, Session::renew).await;
        let stale = visitor.clone();
        visit(&manager, &mut visitor, Session::clear).await;
        visit(&manager, &mut visitor, |session| session.set_principal(user)).await;
        stale.session().await.unwrap();
    }
    manager.revoke_everyone().await.unwrap();
    let names = ["created", "authenticated", "renewed", "ended", "refused"].map(|it| format!("dewar_{it}_total"));
    let counted = snapshotter.snapshot().into_vec().into_iter().filter_map(|(key, _, _, value)| {
        let (_, key) = key.into_parts();
        let DebugValue::Counter(count) = value else { return None };
        let label = key.labels().next().map(|label| format!(" {}", label.value())).unwrap_or_default();
        names.iter().any(|name| name == key.name()).then(|| (format!("{}{label}", key.name()), count))
    });
    // Each begins at 0.
    let counted: BTreeMap<String, u64> = counted.filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, *told.lock().unwrap());
    assert_eq!(counted["dewar_ended_total revoked"], 2);
}
