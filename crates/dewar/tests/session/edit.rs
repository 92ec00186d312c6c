//! Sessions changed outside of a request.

use std::time::Duration;

use crate::support::{
    faulty::{Fault, Verb},
    site::{SLOW, Site, after_ms},
};
use dewar::{Session, SessionHandle, testing::Visitor};
use http::HeaderMap;

async fn ends(site: &Site, visitor: &mut Visitor, session: &Session) {
    let mut response = HeaderMap::new();
    site.manager.commit(session).await.apply(&mut response).unwrap();
    visitor.receive(&response);
}

async fn handle(visitor: &Visitor) -> SessionHandle {
    visitor.session().await.unwrap().handle().unwrap()
}

#[tokio::test]
async fn a_session_is_changed_when_its_request_is_over() {
    let site = Site::new();
    let mut visitor = Visitor::new(&site.manager);
    let session = visitor.session().await.unwrap();
    session.insert("job", "running");
    assert_eq!(session.handle(), None, "it is not on the store yet");
    session.commit().await.unwrap();
    let handle = session.handle().unwrap();
    ends(&site, &mut visitor, &session).await;
    assert!(site.other.edit(&handle, |session| session.insert("job", "done")).await.unwrap());
    assert_eq!(visitor.session().await.unwrap().get::<String>("job").unwrap(), "done");
    // In a queue of jobs, too.
    let read: SessionHandle = handle.to_string().parse().unwrap();
    assert_eq!(read, handle);
}

#[tokio::test]
async fn what_requests_write_meanwhile_is_kept() {
    let site = Site::new();
    let visitor = site.with("a").await;
    let handle = handle(&visitor).await;
    let request = visitor.session().await.unwrap();
    request.insert("request", 1);
    request.update("count", |count: &mut u32| *count += 1).unwrap();
    site.store.fail(Verb::Replace, 1, SLOW);
    let edits = async {
        site.other
            .edit(&handle, |session| {
                session.insert("job", 1);
                session.update("count", |count: &mut u32| *count += 10).unwrap();
            })
            .await
            .unwrap()
    };
    let commits = async {
        after_ms(20).await;
        site.manager.commit(&request).await.apply(&mut HeaderMap::new()).unwrap();
    };
    let (is_there, ()) = tokio::join!(edits, commits);
    let session = visitor.session().await.unwrap();
    assert!(is_there && session.contains("job") && session.contains("request") && session.contains("a"));
    assert_eq!(session.get("count"), Some(11));
}

#[tokio::test]
async fn a_handle_outlives_renewals_and_log_ins_and_not_a_log_out() {
    let site = Site::new();
    let mut visitor = site.user("ada").await;
    let handle = handle(&visitor).await;
    let parsed: SessionHandle = handle.to_string().parse().unwrap();
    for deed in [Session::renew, |session: &Session| session.set_principal("ada")] {
        let session = visitor.session().await.unwrap();
        deed(&session);
        ends(&site, &mut visitor, &session).await;
        for handle in [&handle, &parsed] {
            assert!(
                site.manager
                    .edit(handle, |session| session.update("n", |n: &mut u32| *n += 1).map(drop).unwrap())
                    .await
                    .unwrap()
            );
        }
    }
    let session = visitor.session().await.unwrap();
    assert_eq!(session.get("n"), Some(4));
    session.clear();
    ends(&site, &mut visitor, &session).await;
    assert!(!site.manager.edit(&handle, |session| session.insert("late", 1)).await.unwrap());
    // Another user's session, or another of hers, is not what the handle names.
    let other = site.user("ada").await;
    assert!(!site.manager.edit(&handle, |session| session.insert("late", 1)).await.unwrap());
    assert!(!other.session().await.unwrap().contains("late"));
}

#[tokio::test]
async fn all_sessions_of_a_user_are_changed_and_nobody_elses() {
    let site = Site::new();
    let ada = [site.user("ada").await, site.user("ada").await];
    let eve = site.user("eve").await;
    assert_eq!(site.manager.edit_sessions_of("ada", |session| session.insert("role", "editor")).await.unwrap(), 2);
    for visitor in &ada {
        assert_eq!(visitor.session().await.unwrap().get::<String>("role").unwrap(), "editor");
    }
    assert!(!eve.session().await.unwrap().contains("role"));
}

#[tokio::test]
async fn an_edit_may_end_a_session_and_never_gives_it_another_id() {
    let site = Site::new();
    let visitor = site.user("ada").await;
    let handle = handle(&visitor).await;
    let needs_an_id: [fn(&Session); 4] = [
        |session| session.renew(),
        |session| session.set_principal("ada"),
        |session| session.set_principal("eve"),
        |session| {
            session.clear();
            session.insert("new", true);
        },
    ];
    for change in needs_an_id {
        let error = site.manager.edit(&handle, change).await.unwrap_err();
        assert!(error.is_setting() && error.to_string().contains("new id"), "{error}");
        assert_eq!(visitor.session().await.unwrap().principal().as_deref(), Some("ada"));
    }
    assert!(site.manager.edit(&handle, Session::clear).await.unwrap());
    assert!(visitor.session().await.unwrap().is_empty());
    assert!(!site.manager.edit(&handle, Session::clear).await.unwrap());
}

#[tokio::test]
async fn a_session_that_is_kept_from_an_edit_is_closed_and_a_store_that_fails_is_an_error() {
    let site = Site::new();
    let visitor = site.with("a").await;
    let handle = handle(&visitor).await;
    let mut kept = None;
    assert!(site.manager.edit(&handle, |session| kept = Some(session.clone())).await.unwrap());
    let kept = kept.unwrap();
    kept.insert("late", 1);
    assert!(kept.commit().await.unwrap_err().is_closed());
    site.store.always(Verb::Load, Fault::NotDone);
    assert!(site.manager.edit(&handle, |session| session.insert("b", 1)).await.unwrap_err().is_store());
    let cookies = dewar::SessionManager::new(dewar::Secret::generate()).unwrap();
    assert!(cookies.edit(&handle, Session::clear).await.unwrap_err().is_setting());
    for hostile in ["", "x", "a:b:c", "AAAAAAAAAAA:zz:dewar:x", "::", "AAAAAAAAAAA:é:x"] {
        let _: Result<SessionHandle, _> = hostile.parse();
    }
}

/// The handle of eve, taken in the request that logs her in over ada's session, used before that request has answered.
#[tokio::test]
async fn a_handle_of_somebody_who_logs_in_reaches_no_session_of_before() {
    let site = Site::new();
    let mut visitor = site.user("ada").await;
    let session = visitor.session().await.unwrap();
    session.set_principal("eve");
    let handle = session.handle();
    if let Some(handle) = handle {
        let done = site.other.edit(&handle, |s| s.insert("inbox", "eve's mails")).await;
        let ada = visitor.session().await.unwrap();
        assert!(
            !(ada.principal().as_deref() == Some("ada") && ada.contains("inbox")),
            "eve's data is in ada's session: {done:?}"
        );
        ends(&site, &mut visitor, &session).await;
        let eve = visitor.session().await.unwrap();
        assert!(!done.unwrap() || eve.contains("inbox"), "an edit that said true is lost");
    }
}

#[tokio::test]
async fn an_edit_whose_closure_commits_makes_no_id_either() {
    let site = Site::new();
    let visitor = site.user("ada").await;
    let handle = visitor.session().await.unwrap().handle().unwrap();
    let done = site
        .manager
        .edit(&handle, |s| {
            s.set_principal("ada");
            assert!(pollster::block_on(s.commit()).unwrap_err().is_setting());
        })
        .await;
    assert_eq!(
        visitor.session().await.unwrap().principal().as_deref(),
        Some("ada"),
        "the visitor's id is dead, and nobody has the new one: {done:?}"
    );
}

/// A clone that leaves the closure, and is written to by a task while the edit commits.
#[tokio::test]
async fn a_session_that_leaks_out_of_an_edit_keeps_its_id() {
    let site = Site::new();
    let visitor = site.user("ada").await;
    let handle = visitor.session().await.unwrap().handle().unwrap();
    site.store.fail(Verb::Replace, 1, SLOW);
    let done = site
        .manager
        .edit(&handle, |s| {
            s.insert("x", 1);
            let leaked = s.clone();
            tokio::spawn(async move {
                after_ms(10).await;
                leaked.set_principal("mallory");
                eprintln!("{:?}", leaked.commit().await);
            });
        })
        .await;
    after_ms(300).await;
    assert_eq!(visitor.session().await.unwrap().principal().as_deref(), Some("ada"), "{done:?}");
}

#[tokio::test]
async fn edits_that_race_with_log_outs_and_log_ins_are_done_or_said_not_to_be() {
    for round in 0..40 {
        let site = Site::new();
        let mut visitor = site.user("ada").await;
        let handle = visitor.session().await.unwrap().handle().unwrap();
        let request = visitor.session().await.unwrap();
        match round % 3 {
            0 => request.clear(),
            1 => request.set_principal("eve"),
            _ => request.set_principal("ada"),
        }
        let copy = visitor.clone();
        if round % 2 == 0 {
            site.store.fail(None, 1 + round % 4, SLOW)
        } else {
            site.store.fail(None, 1 + round % 4, Fault::Lost)
        }
        let edit = site.other.edit(&handle, |s| s.insert("edited", 1));
        let commit = async {
            let mut r = HeaderMap::new();
            let d = site.manager.commit(&request).await.apply(&mut r);
            (d, r)
        };
        let (edited, (done, response)) = tokio::join!(edit, commit);
        site.store.heal();
        if done.is_err() {
            continue;
        }
        visitor.receive(&response);
        assert!(
            copy.session().await.unwrap().is_empty() && copy.session().await.unwrap().principal().is_none(),
            "round {round}"
        );
        let now = visitor.session().await.unwrap();
        match round % 3 {
            0 => assert!(now.is_empty()),
            1 => {
                assert_eq!(now.principal().as_deref(), Some("eve"));
                assert!(!now.contains("edited"), "round {round}")
            }
            _ => {
                assert_eq!(now.principal().as_deref(), Some("ada"));
                if matches!(edited, Ok(true)) {
                    assert!(now.contains("edited"), "round {round}")
                }
            }
        }
    }
}

#[tokio::test]
async fn panics_and_edits_within_edits_harm_nobody() {
    let site = Site::new();
    let visitor = site.user("ada").await;
    let handle = visitor.session().await.unwrap().handle().unwrap();
    let (manager, h) = (site.manager.clone(), handle.clone());
    let task = tokio::spawn(async move {
        manager
            .edit(&h, |s| {
                s.insert("x", 1);
                panic!("as it should")
            })
            .await
    });
    assert!(task.await.is_err());
    assert!(!visitor.session().await.unwrap().contains("x"));
    let (manager, h) = (site.manager.clone(), handle.clone());
    let inner = manager.clone();
    let h2 = h.clone();
    assert!(
        manager
            .edit(&h, |s| {
                s.update("n", |n: &mut u32| *n += 1).unwrap();
                assert!(
                    pollster::block_on(inner.edit(&h2, |s| {
                        s.update("n", |n: &mut u32| *n += 10).unwrap();
                    }))
                    .unwrap()
                );
            })
            .await
            .unwrap()
    );
    assert_eq!(visitor.session().await.unwrap().get("n"), Some(11));
}

#[tokio::test]
async fn an_edit_is_no_visit() {
    let site = Site::new();
    let visitor = site.user("ada").await;
    for day in 0..5 {
        site.clock.advance(Duration::from_secs(86_340));
        let there = u64::from(day == 0);
        assert_eq!(site.manager.edit_sessions_of("ada", |session| session.insert("news", day)).await.unwrap(), there);
    }
    assert!(visitor.session().await.unwrap().is_empty());
}
