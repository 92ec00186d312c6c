//! What an attack from outside found, as the right answer.

use crate::support::{
    faulty::{Fault, Faulty, Verb},
    http::secret,
    site::{self, BEGIN, SLOW, Site, after_ms},
};
use axum::http::{StatusCode, header};
use dewar::{
    Clock, Session, SessionLayer, SessionManager,
    dialect::Flask,
    store::{SessionAdmin, memory::MemoryStore},
    testing::Visitor,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

#[tokio::test]
async fn a_log_in_whose_create_was_lost_and_revoked_answers_with_a_cookie_or_an_error() {
    let site = Site::new();
    let request = site::Request::begin(&Visitor::new(&site.manager), &site.manager).await;
    request.session.set_principal("ada");
    site.store.fail(Verb::Create, 1, Fault::Lost);
    site.store.fail(Verb::Load, 1, SLOW);
    let ends = tokio::spawn(request.end());
    after_ms(30).await;
    assert_eq!(site.manager.revoke_all("ada").await.unwrap(), 1);
    let response = ends.await.unwrap();
    assert!(response.is_err() || response.as_ref().unwrap().contains_key(header::SET_COOKIE), "{response:?}");
}

#[tokio::test]
async fn a_log_in_whose_rename_was_lost_and_revoked_answers_with_a_cookie_or_an_error() {
    let site = Site::new();
    let visitor = site.with("cart").await;
    let request = site::Request::begin(&visitor, &site.manager).await;
    request.session.set_principal("ada");
    site.store.fail(Verb::Rename, 1, Fault::Lost);
    site.store.fail(Verb::Load, 2, SLOW);
    let ends = tokio::spawn(request.end());
    after_ms(30).await;
    assert_eq!(site.manager.revoke_all("ada").await.unwrap(), 1);
    let response = ends.await.unwrap();
    assert!(response.is_err() || response.as_ref().unwrap().contains_key(header::SET_COOKIE), "{response:?}");
}

#[tokio::test]
async fn the_response_of_a_panic_waits_for_a_commit_that_has_begun() {
    let site = Site::new();
    let mut visitor = site.with("cart").await;
    site.store.fail(Verb::Rename, 1, SLOW);
    let handler = async |session: Session| {
        session.set_principal("ada");
        let _ = tokio::time::timeout(Duration::from_millis(20), session.commit()).await;
        if true {
            panic!("later")
        }
    };
    let response = site.get(&mut visitor, handler).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    after_ms(200).await;
    let session = visitor.session().await.unwrap();
    assert_eq!(
        session.keys(),
        ["cart"],
        "the visitor lost everything; devices: {:?}",
        site.manager.sessions_of("ada").await.unwrap().len()
    );
}

fn before_and_after(store: impl SessionAdmin) -> (SessionManager, SessionManager, Clock) {
    let clock = Clock::at(BEGIN);
    let layer = SessionLayer::new(secret()).unwrap().clock(clock.clone());
    (layer.clone().manager().unwrap(), layer.store(store).manager().unwrap(), clock)
}
fn moved(visitor: &Visitor, manager: &SessionManager) -> Visitor {
    let mut it = Visitor::new(manager);
    let h = http::HeaderMap::from_iter([(header::SET_COOKIE, visitor.cookie())]);
    it.receive(&h);
    it
}
async fn former_outruns(store: impl SessionAdmin) {
    let (before, after, clock) = before_and_after(store);
    let ada = Visitor::prepared(&before, |s| s.set_principal("ada")).await.unwrap();
    clock.advance(Duration::from_secs(10));
    let mut thief = moved(&ada, &after);
    let request = site::Request::begin(&thief, &after).await;
    assert_eq!(request.session.principal().as_deref(), Some("ada"));
    after.revoke_all("ada").await.unwrap();
    after.revoke_others(&request.session).await.unwrap();
    if let Ok(response) = request.end().await {
        thief.receive(&response);
    }
    assert_eq!(thief.session().await.unwrap().principal(), None, "lives after revoke_all");
    assert_eq!(after.sessions_of("ada").await.unwrap().len(), 0);
}
#[tokio::test]
async fn a_cookie_of_before_that_calls_revoke_others_does_not_outlive_revoke_all() {
    former_outruns(MemoryStore::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_revokes_others_and_renews_in_a_loop_does_not_outrun_revoke_all() {
    let mut survived = 0;
    for _ in 0..300 {
        let manager = SessionLayer::new(secret()).unwrap().store(MemoryStore::new()).manager().unwrap();
        let mut thief = Visitor::prepared(&manager, |s| s.set_principal("ada")).await.unwrap();
        for _ in 0..200 {
            Visitor::prepared(&manager, |s| s.set_principal("ada")).await.unwrap();
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (m, st) = (manager.clone(), Arc::clone(&stop));
        let started = Arc::new(AtomicBool::new(false));
        let sd = Arc::clone(&started);
        let task = tokio::spawn(async move {
            while !st.load(SeqCst) {
                let request = site::Request::begin(&thief, &m).await;
                sd.store(true, SeqCst);
                if request.session.principal().is_none() {
                    break;
                }
                m.revoke_others(&request.session).await.unwrap();
                request.session.renew();
                if let Ok(r) = request.end().await {
                    thief.receive(&r);
                }
                tokio::task::yield_now().await;
            }
            thief
        });
        while !started.load(SeqCst) {
            tokio::task::yield_now().await
        }
        for _ in 0..200 {
            Visitor::prepared(&manager, |s| s.set_principal("ada")).await.unwrap();
        }
        manager.revoke_all("ada").await.unwrap();
        stop.store(true, SeqCst);
        let thief = task.await.unwrap();
        if thief.session().await.unwrap().principal().is_some() {
            survived += 1
        }
    }
    assert_eq!(survived, 0);
}

#[tokio::test]
async fn a_good_flash_does_not_heal_an_entry_called_flash() {
    let site = Site::new();
    let request = site::Request::begin(&Visitor::new(&site.manager), &site.manager).await;
    request.session.insert("flash", Unwritable);
    request.session.flash("hello");
    assert!(request.end().await.is_err());
}

#[tokio::test]
async fn an_update_does_not_heal_a_failed_insert() {
    let site = Site::new();
    let request = site::Request::begin(&Visitor::new(&site.manager), &site.manager).await;
    request.session.insert("n", Unwritable);
    request.session.update("n", |n: &mut u32| *n += 1).unwrap();
    assert!(request.end().await.is_err());
}

#[tokio::test]
async fn an_update_of_flasks_user_is_a_change_of_principal() {
    let manager = SessionLayer::new(secret()).unwrap().dialect(Flask::new).manager().unwrap();
    let visitor = Visitor::prepared(&manager, |s| {
        s.set_principal("ada");
        s.insert("diary", 1);
    })
    .await
    .unwrap();
    let session = visitor.session().await.unwrap();
    assert_eq!(session.principal().as_deref(), Some("ada"));
    session.update("_user_id", |id: &mut String| *id = "bob".into()).unwrap();
    assert_eq!(session.principal().as_deref(), Some("bob"));
    assert!(!session.contains("diary"));
}

async fn doubled(log_in: bool) {
    let site = Site::new();
    let mut ada = site.user("ada").await;
    let request = site::Request::begin(&ada, &site.manager).await;
    let other = site::Request::begin(&ada, &site.other).await;
    request.session.update("n", |n: &mut u32| *n += 1).unwrap();
    site.store.fail(Verb::Replace, 1, Fault::Lost);
    site.store.fail(Verb::Load, 1, SLOW);
    let ends = tokio::spawn(request.end());
    after_ms(30).await;
    if log_in {
        other.session.set_principal("ada")
    } else {
        other.session.renew()
    }
    ada.receive(&other.end().await.unwrap());
    let response = ends.await.unwrap();
    let n = ada.session().await.unwrap().get::<u32>("n").unwrap();
    let (conflict, ok) = (response.as_ref().is_err_and(|e| e.is_conflict()), response.is_ok());
    if conflict {
        assert_eq!(n, 0, "409 says that nothing was saved")
    }
    if ok {
        assert_eq!(n, 1)
    }
    assert!(n < 2);
}
#[tokio::test]
async fn a_write_whose_answer_was_lost_before_a_renewal_elsewhere_is_not_done_twice() {
    doubled(false).await
}
#[tokio::test]
async fn a_write_whose_answer_was_lost_before_a_log_in_elsewhere_is_no_409() {
    doubled(true).await
}

#[tokio::test]
async fn a_migration_whose_answer_was_lost_before_a_renewal_elsewhere_is_not_done_twice() {
    let store = Faulty::default();
    let (before, after, _clock) = before_and_after(store.clone());
    let visitor = Visitor::prepared(&before, |s| s.insert("n", 0u32)).await.unwrap();
    let mut ada = moved(&visitor, &after);
    let request = site::Request::begin(&ada, &after).await;
    request.session.update("n", |n: &mut u32| *n += 1).unwrap();
    store.fail(Verb::Create, 1, Fault::Lost);
    store.fail(Verb::Load, 1, SLOW);
    let ends = tokio::spawn(request.end());
    after_ms(30).await;
    let other = site::Request::begin(&ada, &after).await;
    assert_eq!(other.session.get::<u32>("n"), Some(1));
    other.session.renew();
    ada.receive(&other.end().await.unwrap());
    let response = ends.await.unwrap();
    let n = ada.session().await.unwrap().get::<u32>("n").unwrap();
    assert_eq!(n, 1, "{response:?}");
}

#[tokio::test]
async fn a_log_in_of_unknown_outcome_that_is_cleared_leaves_no_session() {
    let site = Site::new();
    let request = site::Request::begin(&Visitor::new(&site.manager), &site.manager).await;
    request.session.set_principal("ada");
    site.store.fail(Verb::Create, 1, Fault::Lost);
    site.store.fail(Verb::Load, 1, Fault::NotDone);
    assert!(request.session.commit().await.is_err());
    request.session.clear();
    assert!(request.session.commit().await.is_ok());
    let _ = request.end().await;
    assert_eq!(site.manager.sessions_of("ada").await.unwrap().len(), 0);
}

struct Unwritable;
impl serde::Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no"))
    }
}
#[tokio::test]
async fn sqlite_a_cookie_of_before_that_calls_revoke_others_does_not_outlive_revoke_all() {
    let directory = crate::support::stores::Directory::new();
    former_outruns(dewar::store::sqlite::SqliteStore::open(directory.file()).unwrap()).await;
}
#[tokio::test]
async fn a_renewal_whose_answer_was_lost_before_a_log_in_that_follows_is_no_409() {
    let site = Site::new();
    let mut ada = site.user("ada").await;
    let request = site::Request::begin(&ada, &site.manager).await;
    let other = site::Request::begin(&ada, &site.other).await;
    request.session.update("n", |n: &mut u32| *n += 1).unwrap();
    request.session.renew();
    site.store.fail(Verb::Rename, 1, Fault::Lost);
    site.store.fail(Verb::Load, 2, SLOW);
    let ends = tokio::spawn(request.end());
    after_ms(30).await;
    other.session.set_principal("ada");
    ada.receive(&other.end().await.unwrap());
    let response = ends.await.unwrap();
    let n = ada.session().await.unwrap().get::<u32>("n").unwrap();
    if response.as_ref().is_err_and(|e| e.is_conflict()) {
        assert_eq!(n, 0, "409 says that nothing was saved")
    }
}
