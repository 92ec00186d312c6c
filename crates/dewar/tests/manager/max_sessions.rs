//! `max_sessions_per_user`: a log-in too many.

use std::sync::{Arc, Mutex};

use crate::support::{
    http::secret,
    site::{Request, visit},
    stores::Directory,
};
use axum::{Router, body::Body, routing::get};
use dewar::{
    AtMax, EndReason, Error, Event, Secret, Session, SessionLayer, SessionManager, SessionManagerBuilder,
    store::{memory::MemoryStore, sqlite::SqliteStore},
    testing::Visitor,
};
use http::{Request as HttpRequest, StatusCode, header};
use http_body_util::BodyExt;
use tower::ServiceExt;

fn builder() -> SessionManagerBuilder {
    SessionManager::builder(secret()).unwrap()
}

fn at_most(most: u32, at_max: AtMax) -> SessionManager {
    builder().store(MemoryStore::new()).max_sessions_per_user(most, at_max).build().unwrap()
}

async fn log_in(manager: &SessionManager, user: &str) -> Result<Visitor, Error> {
    Visitor::prepared(manager, |session| {
        session.insert("n", 1);
        session.set_principal(user);
    })
    .await
}

async fn is_logged_in(visitor: &Visitor, manager: &SessionManager) -> bool {
    Request::begin(visitor, manager).await.session.principal().is_some()
}

#[tokio::test]
async fn a_log_in_too_many_is_refused_and_the_others_stay() {
    let manager = at_most(2, AtMax::RefuseLogIn);
    let (first, second) = (log_in(&manager, "ann").await.unwrap(), log_in(&manager, "ann").await.unwrap());
    let error = log_in(&manager, "ann").await.unwrap_err();
    assert!(error.is_too_many_sessions() && !error.is_store() && error.status() == StatusCode::FORBIDDEN, "{error}");
    assert!(is_logged_in(&first, &manager).await && is_logged_in(&second, &manager).await);
    log_in(&manager, "bob").await.unwrap();
    manager.revoke_all("ann").await.unwrap();
    log_in(&manager, "ann").await.unwrap();
}

#[tokio::test]
async fn a_log_in_too_many_ends_the_oldest() {
    let manager = at_most(2, AtMax::EndOldest);
    let mut visitors = Vec::new();
    for _ in 0..5 {
        visitors.push(log_in(&manager, "ann").await.unwrap());
        // Which is the oldest is known to the millisecond.
        crate::support::site::after_ms(2).await;
    }
    let mut alive = Vec::new();
    for visitor in &visitors {
        alive.push(is_logged_in(visitor, &manager).await);
    }
    assert_eq!(alive, [false, false, false, true, true]);
    assert_eq!(manager.sessions_of("ann").await.unwrap().len(), 2);
}

#[tokio::test]
async fn who_is_logged_in_already_may_log_in_again_and_renew() {
    let manager = at_most(1, AtMax::RefuseLogIn);
    let mut visitor = log_in(&manager, "ann").await.unwrap();
    visit(&mut visitor, &manager, Session::renew).await;
    visit(&mut visitor, &manager, |session| session.set_principal("ann")).await;
    visit(&mut visitor, &manager, |session| {
        session.clear();
        session.set_principal("ann");
    })
    .await;
    assert!(is_logged_in(&visitor, &manager).await);
    assert_eq!(manager.sessions_of("ann").await.unwrap().len(), 1);
}

#[tokio::test]
async fn after_a_refused_log_in_the_session_is_as_it_was() {
    let manager = at_most(1, AtMax::RefuseLogIn);
    let _first = log_in(&manager, "ann").await.unwrap();
    let mut visitor = Visitor::prepared(&manager, |session| session.insert("cart", 3)).await.unwrap();
    let request = Request::begin(&visitor, &manager).await;
    request.session.insert("other", true);
    request.session.set_principal("ann");
    assert!(request.session.commit().await.unwrap_err().is_too_many_sessions());
    assert_eq!(request.session.principal(), None);
    assert_eq!(request.session.get::<u32>("cart"), Some(3));
    assert!(!request.session.contains("other"));
    // A page that says so can be answered, and what it writes is kept.
    request.session.flash("Log out on another device first.");
    visitor.receive(&request.end().await.unwrap());
    let session = Request::begin(&visitor, &manager).await.session;
    assert_eq!(session.get::<u32>("cart"), Some(3));
    assert_eq!(session.take_flashes().len(), 1);
    assert_eq!(session.principal(), None);
}

#[tokio::test]
async fn the_visitor_is_told_why() {
    let layer = SessionLayer::new(secret()).unwrap().store(MemoryStore::new());
    let layer = layer.max_sessions_per_user(1, AtMax::RefuseLogIn);
    let app = Router::new().route("/", get(async |session: Session| session.set_principal("ann"))).layer(layer);
    let ask = || app.clone().oneshot(HttpRequest::get("/").body(Body::empty()).unwrap());
    assert_eq!(ask().await.unwrap().status(), StatusCode::OK);
    let refused = ask().await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(!refused.headers().contains_key(header::SET_COOKIE));
    let body = refused.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("log out in one of them"), "{body:?}");
}

#[tokio::test]
async fn what_made_room_is_told() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let manager = builder().store(MemoryStore::new()).max_sessions_per_user(1, AtMax::EndOldest);
    let manager = manager.on_event(move |event| hears.lock().unwrap().push(*event)).build().unwrap();
    for _ in 0..2 {
        log_in(&manager, "ann").await.unwrap();
    }
    let told = heard.lock().unwrap().clone();
    let displaced =
        told.iter().filter(|event| matches!(event, Event::Ended { reason: EndReason::Displaced, sessions: 1, .. }));
    assert_eq!(displaced.count(), 1, "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_log_ins_at_once_in_two_processes_on_one_file_as_many_live_as_may() {
    let directory = Directory::new();
    for at_max in [AtMax::RefuseLogIn, AtMax::EndOldest] {
        let open = || {
            let store = SqliteStore::open(directory.file()).unwrap();
            builder().store(store).max_sessions_per_user(3, at_max).build().unwrap()
        };
        let managers = [open(), open()];
        let user = format!("{at_max:?}");
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..64 {
            let (manager, user) = (managers[number % 2].clone(), user.clone());
            tasks.spawn(async move { log_in(&manager, &user).await });
        }
        let done = tasks.join_all().await;
        let succeeded = done.iter().filter(|done| done.is_ok()).count();
        assert!(done.iter().all(|done| done.as_ref().err().is_none_or(Error::is_too_many_sessions)));
        assert_eq!(succeeded, if at_max == AtMax::RefuseLogIn { 3 } else { 64 });
        assert_eq!(managers[0].sessions_of(&user).await.unwrap().len(), 3);
    }
}

#[test]
fn a_cap_that_nobody_would_keep_is_refused() {
    let refused = |builder: SessionManagerBuilder| builder.build().unwrap_err().to_string();
    let in_a_cookie = SessionManager::builder(Secret::generate()).unwrap().max_sessions_per_user(3, AtMax::EndOldest);
    assert!(refused(in_a_cookie).contains("add .store(...)"));
    let none = builder().store(MemoryStore::new()).max_sessions_per_user(0, AtMax::EndOldest);
    assert!(refused(none).contains("at least 1"));
    let express = builder().dialect(dewar::dialect::ExpressSession::new).store(MemoryStore::new());
    assert!(refused(express.max_sessions_per_user(3, AtMax::EndOldest)).contains("another framework"));
}
