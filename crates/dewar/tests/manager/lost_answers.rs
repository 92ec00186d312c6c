//! Commits whose answers get lost, and cookies that come late, as a second attack from outside found them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::support::{
    faulty::{Fault, Verb},
    site::{self, SLOW, Site, after_ms},
};
use dewar::{Session, testing::Visitor, value::Value};
use http::header;

fn block<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn counts(session: &Session) {
    session.update("n", |n: &mut u32| *n += 1).unwrap();
}

/// A 409 says "nothing was saved, and it may be repeated".
fn is_honest(response: &Result<http::HeaderMap, dewar::Error>, n: u32) {
    if response.as_ref().is_err_and(|error| error.is_conflict()) {
        assert_eq!(n, 0, "it was saved, and the response says: {response:?}");
    }
}

#[tokio::test]
async fn a_commit_that_says_ok_has_saved() {
    for log_in in [true, false] {
        let site = Site::new();
        let visitor = site.user("ada").await;
        let request = site::Request::begin(&visitor, &site.manager).await;
        request.session.clear();
        request.session.insert("note", 1);
        if log_in {
            request.session.set_principal("ada");
        }
        site.loses(Verb::Rename, &request.session).await;
        match log_in {
            true => assert_eq!(site.other.revoke_all("ada").await.unwrap(), 1),
            false => assert_eq!(site.other.revoke_everyone().await.unwrap(), 1),
        }
        let said = request.session.commit().await;
        let note = request.session.get::<i32>("note");
        assert!(
            said.is_err() || note.is_some(),
            "log_in {log_in}: commit() said {said:?}, and the session holds {note:?}"
        );
    }
}

/// Somebody who follows a renewal of unknown outcome logs in.
#[tokio::test]
async fn a_renewal_of_unknown_outcome_in_which_somebody_logged_in_since_is_no_409() {
    let site = Site::new();
    let mut ada = site.user("ada").await;
    let request = site::Request::begin(&ada, &site.manager).await;
    counts(&request.session);
    request.session.renew();
    site.loses(Verb::Rename, &request.session).await;
    let other = site::Request::begin(&ada, &site.other).await;
    assert_eq!(other.session.get::<u32>("n"), Some(1));
    other.session.set_principal("ada");
    ada.receive(&other.end().await.unwrap());
    let response = request.end().await;
    is_honest(&response, ada.session().await.unwrap().get("n").unwrap());
}

/// The second attempt finds the first done, and meets a log-in with the rest.
async fn found_done_before_a_log_in(renews: bool) {
    let site = Site::new();
    let mut ada = site.user("ada").await;
    let request = site::Request::begin(&ada, &site.manager).await;
    counts(&request.session);
    site.loses(Verb::Replace, &request.session).await;
    let other = site::Request::begin(&ada, &site.other).await;
    if renews {
        request.session.renew();
        site.store.fail(Verb::Rename, 2, SLOW);
    } else {
        request.session.insert("more", 1);
        site.store.fail(Verb::Replace, 1, SLOW);
    }
    let ends = tokio::spawn(request.end());
    after_ms(30).await;
    other.session.set_principal("ada");
    ada.receive(&other.end().await.unwrap());
    let response = ends.await.unwrap();
    is_honest(&response, ada.session().await.unwrap().get("n").unwrap());
}

#[tokio::test]
async fn a_write_that_was_found_done_before_a_log_in_elsewhere_is_no_409() {
    found_done_before_a_log_in(false).await;
}

#[tokio::test]
async fn a_write_that_a_renewal_found_done_before_a_log_in_elsewhere_is_no_409() {
    found_done_before_a_log_in(true).await;
}

/// The second attempt could not even ask, and overwrites what is known of the first.
#[tokio::test]
async fn a_first_write_of_unknown_outcome_is_healed_though_the_second_attempt_could_not_ask() {
    let site = Site::new();
    let mut visitor = Visitor::new(&site.manager);
    let request = site::Request::begin(&visitor, &site.manager).await;
    counts(&request.session);
    site.loses(Verb::Create, &request.session).await;
    site.store.fail(Verb::Load, 1, Fault::NotDone);
    assert!(request.session.commit().await.unwrap_err().is_store());
    let response = request.end().await;
    assert!(response.is_ok(), "nobody else wrote, and the store could be asked: {response:?}");
    visitor.receive(&response.unwrap());
    assert_eq!(visitor.session().await.unwrap().get::<u32>("n"), Some(1));
}

#[tokio::test]
async fn a_log_in_of_unknown_outcome_does_not_lose_the_cart_though_the_second_attempt_could_not_ask() {
    let site = Site::new();
    let mut visitor = site.with("cart").await;
    let request = site::Request::begin(&visitor, &site.manager).await;
    request.session.set_principal("ada");
    site.loses(Verb::Rename, &request.session).await;
    site.store.fail(Verb::Load, 1, Fault::NotDone);
    assert!(request.session.commit().await.unwrap_err().is_store());
    let response = request.end().await;
    if let Ok(response) = &response {
        visitor.receive(response);
    }
    assert!(visitor.session().await.unwrap().contains("cart"), "{response:?}");
}

/// With `asks` it holds: the log-in begins a session.
#[tokio::test]
async fn a_log_in_after_a_renewal_that_was_revoked_is_not_dropped_silently() {
    for asks in [true, false] {
        let site = Site::new();
        let mut ada = site.user("ada").await;
        let request = site::Request::begin(&ada, &site.manager).await;
        request.session.renew();
        site.loses(Verb::Rename, &request.session).await;
        assert_eq!(site.manager.revoke_all("ada").await.unwrap(), 1);
        request.session.set_principal("ada");
        if !asks {
            site.store.fail(Verb::Load, 1, Fault::NotDone);
            assert!(request.session.commit().await.unwrap_err().is_store());
        }
        let Ok(response) = request.end().await else { continue };
        ada.receive(&response);
        assert_eq!(
            ada.session().await.unwrap().principal().as_deref(),
            Some("ada"),
            "asks {asks}: answered Ok with {response:?}"
        );
    }
}

/// "A log-in always answers with a cookie, whatever it met."
async fn logs_in_and_is_revoked(again: bool) {
    let site = Site::new();
    let visitor = site.with("cart").await;
    let request = site::Request::begin(&visitor, &site.manager).await;
    request.session.set_principal("ada");
    site.loses(Verb::Rename, &request.session).await;
    assert_eq!(site.manager.revoke_all("ada").await.unwrap(), 1);
    if again {
        request.session.set_principal("ada");
    }
    let response = request.end().await;
    assert!(response.is_err() || response.as_ref().unwrap().contains_key(header::SET_COOKIE), "{response:?}");
}

#[tokio::test]
async fn a_log_in_of_unknown_outcome_that_was_revoked_answers_with_a_cookie_or_an_error() {
    logs_in_and_is_revoked(false).await;
}

#[tokio::test]
async fn a_second_log_in_after_the_revocation_answers_with_a_cookie_or_an_error() {
    logs_in_and_is_revoked(true).await;
}

/// That it revived the session is forgotten between two attempts. With `asks` it holds.
#[tokio::test]
async fn who_revived_a_session_has_its_cookie_whatever_answers_were_lost() {
    for asks in [true, false] {
        let site = Site::new();
        let mut visitor = site.with("a").await;
        let before = visitor.clone();
        let request = site::Request::begin(&before, &site.manager).await;
        let late = site::Request::begin(&before, &site.other).await;
        site::visit(&mut visitor, &site.other, |session| {
            session.remove("a");
        })
        .await;
        assert_eq!(visitor.cookie(), "");
        request.session.insert("b", 1);
        // It meets the empty session and revives it: the answer is lost.
        site.store.fail(Verb::Replace, 2, Fault::Lost);
        site.store.fail(Verb::Load, 2, Fault::NotDone);
        assert!(request.session.commit().await.unwrap_err().is_store());
        // The second attempt finds that done; another process is faster with the rest, and the store cannot be asked.
        request.session.insert("c", 1);
        if !asks {
            site.store.fail(Verb::Replace, 1, SLOW);
            site.store.fail(Verb::Load, 3, Fault::NotDone);
            let other = async {
                after_ms(30).await;
                late.session.insert("d", 1);
                late.end().await
            };
            let (second, other) = tokio::join!(request.session.commit(), other);
            assert!(second.unwrap_err().is_store());
            visitor.receive(&other.unwrap());
        }
        let response = request.end().await.unwrap();
        visitor.receive(&response);
        assert!(visitor.session().await.unwrap().contains("b"), "asks {asks}: it was answered {response:?}");
    }
}

#[tokio::test]
async fn a_log_out_after_two_lost_answers_removes_the_cookie() {
    let site = Site::new();
    let mut ada = site.user("ada").await;
    let request = site::Request::begin(&ada, &site.manager).await;
    request.session.renew();
    site.loses(Verb::Rename, &request.session).await;
    request.session.clear();
    site.store.fail(Verb::Delete, 1, Fault::Lost);
    site.store.fail(Verb::Load, 2, Fault::NotDone);
    assert!(request.session.commit().await.unwrap_err().is_store());
    let response = request.end().await.unwrap();
    ada.receive(&response);
    assert_eq!(ada.cookie(), "", "{response:?}");
}

/// "No request removes a cookie unless it ended or emptied the session itself, so a late answer never takes the cookie of a new log-in."
#[tokio::test]
async fn a_late_answer_never_takes_the_cookie_of_a_new_log_in() {
    let site = Site::new();
    let mut visitor = site.with("a").await;
    let mut requests = Vec::new();
    for _ in 0..4 {
        requests.push(site::Request::begin(&visitor, &site.manager).await);
    }
    let [first, writes, removes, logs_in] = requests.try_into().unwrap_or_else(|_| unreachable!());
    first.session.insert("a", 2);
    writes.session.insert("a", 3);
    removes.session.remove("a");
    logs_in.session.set_principal("ada");
    // While the first is written, two come together.
    site.store.fail(Verb::Replace, 1, SLOW);
    let first = tokio::spawn(first.end());
    after_ms(10).await;
    let writes = tokio::spawn(writes.end());
    after_ms(10).await;
    let removes = tokio::spawn(removes.end());
    visitor.receive(&first.await.unwrap().unwrap());
    visitor.receive(&removes.await.unwrap().unwrap());
    visitor.receive(&logs_in.end().await.unwrap());
    assert_eq!(visitor.session().await.unwrap().principal().as_deref(), Some("ada"));
    // The answer of the request that neither ended nor emptied the session comes last.
    let writes = writes.await.unwrap().unwrap();
    visitor.receive(&writes);
    assert_eq!(visitor.session().await.unwrap().principal().as_deref(), Some("ada"), "{writes:?}");
}

/// An emptied session is kept, "so that a request which adds an entry at the same time does not add it to nothing".
#[tokio::test]
async fn what_a_follower_of_a_renewal_was_told_is_saved_can_be_found() {
    let site = Site::new();
    let mut visitor = site.with("a").await;
    let before = visitor.clone();
    site::visit(&mut visitor, &site.manager, |session| session.renew()).await;
    let late = site::Request::begin(&before, &site.manager).await;
    site::visit(&mut visitor, &site.manager, |session| {
        session.remove("a");
    })
    .await;
    late.session.insert("b", 2);
    let Ok(response) = late.end().await else { return };
    visitor.receive(&response);
    assert_eq!(
        visitor.session().await.unwrap().get::<i32>("b"),
        Some(2),
        "answered {response:?}, the jar: {:?}",
        visitor.cookie()
    );
}

/// A message that is too deep for the list is its own request's error.
#[tokio::test]
async fn who_takes_messages_is_not_failed_by_anothers_message() {
    let site = Site::new();
    let visitor = Visitor::prepared(&site.manager, |session| session.flash("first")).await.unwrap();
    let takes = site::Request::begin(&visitor, &site.manager).await;
    let leaves = site::Request::begin(&visitor, &site.manager).await;
    assert_eq!(takes.session.take_flashes().len(), 1);
    leaves.session.flash((0..126).fold(Value::Null, |deep, _| Value::List(vec![deep])));
    assert!(leaves.end().await.unwrap_err().to_string().contains("_flashes"), "deeper than what can be read again");
    let answer = takes.end().await;
    assert!(answer.is_ok(), "{answer:?}");
}

/// Closures are counted.
fn runs(n: usize) -> u64 {
    block(async {
        let site = Site::new();
        let visitor = site.with("a").await;
        let runs = Arc::new(AtomicU64::new(0));
        let leader = site::Request::begin(&visitor, &site.manager).await;
        leader.session.insert("a", 2);
        let mut requests = Vec::new();
        for at in 0..=2 * n {
            let request = site::Request::begin(&visitor, &site.manager).await;
            let runs = Arc::clone(&runs);
            match at {
                _ if at < n => drop(request.session.update("good", move |good: &mut u32| {
                    runs.fetch_add(1, SeqCst);
                    *good += 1;
                })),
                _ if at == n => request.session.insert("bad", "text"),
                _ => drop(request.session.update("bad", |bad: &mut u32| *bad += 1)),
            }
            requests.push(request);
        }
        site.store.fail(Verb::Replace, 1, Fault::Slow(Duration::from_millis(200)));
        let leader = tokio::spawn(leader.end());
        after_ms(10).await;
        let mut ends = Vec::new();
        for request in requests {
            ends.push(tokio::spawn(request.end()));
            tokio::task::yield_now().await;
        }
        leader.await.unwrap().unwrap();
        for end in ends {
            let _ = end.await.unwrap();
        }
        assert_eq!(visitor.session().await.unwrap().get::<u32>("good"), Some(n as u32));
        runs.load(SeqCst)
    })
}

#[test]
fn racing_requests_that_fail_when_they_are_replayed_cost_as_many_runs_as_there_are() {
    let (one, four) = (runs(25), runs(100));
    assert!(four <= 6 * one, "closures run: {one} for 25 good and 25 failing requests, {four} for 100 and 100");
}
