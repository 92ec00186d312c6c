//! What racing requests on one session may rely on, whatever the store: run by the tests of each store.

use std::{sync::Arc, time::Duration};

use dewar::{Clock, Keyring, Secret, SessionLayer, SessionManager, Value, store::SessionAdmin, testing::Visitor};
use http::header;
use tokio::sync::Barrier;

use super::site::{Request, headers, visit};

/// A generated one: stretching any other takes memory, which the crowd's is measured beside.
fn secret() -> Keyring {
    Keyring::new(Secret::generate())
}

pub fn manager(store: impl SessionAdmin) -> SessionManager {
    SessionLayer::new(secret()).unwrap().store(store).manager().unwrap()
}

/// Runs every race. `make` gives a store; the same one again will do.
pub async fn all<S: SessionAdmin>(make: impl AsyncFn() -> S) {
    let manager = manager(make().await);
    different_entries_of_racing_requests_merge(&manager).await;
    the_last_entry_removed_loses_no_racing_write(&manager).await;
    a_slow_request_cannot_undo_a_log_out(&manager).await;
    a_slow_request_goes_on_in_the_renewed_session(&manager).await;
    a_slow_request_is_told_to_repeat_after_a_log_in(&manager).await;
    a_double_click_on_log_in_leaves_no_dead_cookie(&manager).await;
    a_renewal_keeps_what_raced_with_it(&manager).await;
    two_tabs_without_a_session_begin_two(&manager).await;
    a_log_in_changes_the_id_and_keeps_the_data(&manager).await;
    an_unknown_id_is_never_adopted(&manager).await;
    a_commit_in_mid_request_is_there_for_others(&manager).await;
    a_device_that_was_revoked_is_dead_at_once_and_may_log_in_again(&manager).await;
    a_user_sees_and_ends_their_own_devices_only(&manager).await;
    an_update_that_fails_in_a_crowd_harms_nobody_else(&manager).await;
}

async fn logged_in(manager: &SessionManager, user: &str) -> Visitor {
    Visitor::prepared(manager, |session| {
        session.insert("firstName", "Ada");
        session.set_principal(user);
    })
    .await
    .unwrap()
}

async fn different_entries_of_racing_requests_merge(manager: &SessionManager) {
    let visitor = logged_in(manager, "merge").await;
    let one = Request::begin(&visitor, manager).await;
    let two = Request::begin(&visitor, manager).await;
    let three = Request::begin(&visitor, manager).await;
    one.session.insert("one", 1);
    one.session.update("count", |count: &mut u32| *count += 1).unwrap();
    one.session.flash("from one");
    two.session.insert("two", 2);
    two.session.update("count", |count: &mut u32| *count += 1).unwrap();
    two.session.flash("from two");
    three.session.remove("firstName");
    for request in [one, two, three] {
        request.end_silently().await;
    }
    let session = visitor.session().await.unwrap();
    assert_eq!((session.get("one"), session.get("two"), session.get("count")), (Some(1), Some(2), Some(2)));
    assert!(!session.contains("firstName"));
    assert_eq!(session.take_flashes().len(), 2);
}

async fn the_last_entry_removed_loses_no_racing_write(manager: &SessionManager) {
    let mut visitor = Visitor::with(manager, std::collections::BTreeMap::from([("only", 1)])).await.unwrap();
    let adds = Request::begin(&visitor, manager).await;
    let removes = Request::begin(&visitor, manager).await;
    removes.session.remove("only");
    adds.session.insert("other", 2);
    let removed = removes.end().await.unwrap();
    assert!(removed[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    visitor.receive(&removed);
    visitor.receive(&adds.end().await.unwrap());
    assert_eq!(visitor.session().await.unwrap().get("other"), Some(2));
}

async fn a_slow_request_cannot_undo_a_log_out(manager: &SessionManager) {
    let mut visitor = logged_in(manager, "log-out").await;
    let before = visitor.clone();
    let reads = Request::begin(&visitor, manager).await;
    let writes = Request::begin(&visitor, manager).await;
    let renews = Request::begin(&visitor, manager).await;
    visit(&mut visitor, manager, |session| session.clear()).await;
    assert_eq!(visitor.cookie(), "");
    assert_eq!(
        reads.session.get::<String>("firstName").as_deref(),
        Some("Ada"),
        "it was alive when this request began"
    );
    writes.session.insert("firstName", "back again");
    renews.session.renew();
    reads.end_silently().await;
    writes.end_silently().await;
    renews.end_silently().await;
    assert!(before.session().await.unwrap().is_empty(), "the session stays dead");
    let mut late = before.clone();
    visit(&mut late, manager, |session| session.insert("firstName", "a stranger")).await;
    assert_ne!(late.cookie(), before.cookie(), "who comes late is a stranger");
    assert!(before.session().await.unwrap().is_empty());
}

async fn a_slow_request_goes_on_in_the_renewed_session(manager: &SessionManager) {
    let mut visitor = logged_in(manager, "renewal").await;
    let before = visitor.clone();
    let lost = Request::begin(&before, manager).await;
    visit(&mut visitor, manager, |session| session.renew()).await;
    assert_ne!(visitor.cookie(), before.cookie());
    let late = Request::begin(&before, manager).await;
    assert_eq!(late.session.principal().as_deref(), Some("renewal"));
    lost.session.insert("lost", true);
    late.session.insert("late", true);
    lost.end_silently().await;
    late.end_silently().await;
    assert_eq!(visitor.session().await.unwrap().keys(), ["firstName", "lost", "late"]);
    let leaves = Request::begin(&before, manager).await;
    leaves.session.clear();
    visitor.receive(&leaves.end().await.unwrap());
    assert_eq!(visitor.cookie(), "", "a log-out ends it under the new id, too");
}

async fn a_slow_request_is_told_to_repeat_after_a_log_in(manager: &SessionManager) {
    let mut visitor = Visitor::with(manager, std::collections::BTreeMap::from([("cart", 3)])).await.unwrap();
    let before = visitor.clone();
    let reads = Request::begin(&before, manager).await;
    let lost = Request::begin(&before, manager).await;
    visit(&mut visitor, manager, |session| session.set_principal("repeat")).await;
    let late = Request::begin(&before, manager).await;
    assert!(late.session.is_empty(), "the old id is worth nothing");
    for request in [lost, late] {
        request.session.insert("cart", 4);
        assert!(request.end().await.unwrap_err().is_conflict());
    }
    assert_eq!(reads.session.get("cart"), Some(3));
    reads.end_silently().await;
    assert_eq!(visitor.session().await.unwrap().get("cart"), Some(3));
}

async fn a_double_click_on_log_in_leaves_no_dead_cookie(manager: &SessionManager) {
    let visitor = Visitor::with(manager, std::collections::BTreeMap::from([("cart", 3)])).await.unwrap();
    let (one, two) = (Request::begin(&visitor, manager).await, Request::begin(&visitor, manager).await);
    for request in [one, two] {
        let mut tab = visitor.clone();
        request.session.set_principal("double");
        tab.receive(&request.end().await.unwrap());
        let session = tab.session().await.unwrap();
        assert_eq!((session.principal().as_deref(), session.get("cart")), (Some("double"), Some(3)));
    }
    assert_eq!(manager.revoke_all("double").await.unwrap(), 2);
}

async fn a_renewal_keeps_what_raced_with_it(manager: &SessionManager) {
    let mut visitor = logged_in(manager, "race").await;
    let renews = Request::begin(&visitor, manager).await;
    let writes = Request::begin(&visitor, manager).await;
    renews.session.renew();
    renews.session.insert("renewed", true);
    writes.session.insert("raced", true);
    writes.end_silently().await;
    visitor.receive(&renews.end().await.unwrap());
    assert_eq!(visitor.session().await.unwrap().keys(), ["firstName", "raced", "renewed"]);
}

async fn two_tabs_without_a_session_begin_two(manager: &SessionManager) {
    let nobody = Visitor::new(manager);
    let (one, two) = (Request::begin(&nobody, manager).await, Request::begin(&nobody, manager).await);
    one.session.insert("tab", 1);
    two.session.insert("tab", 2);
    let (mut one_tab, mut two_tab) = (nobody.clone(), nobody);
    one_tab.receive(&one.end().await.unwrap());
    two_tab.receive(&two.end().await.unwrap());
    assert_ne!(one_tab.cookie(), two_tab.cookie());
    assert_eq!(one_tab.session().await.unwrap().get("tab"), Some(1));
}

async fn a_log_in_changes_the_id_and_keeps_the_data(manager: &SessionManager) {
    let mut visitor = Visitor::with(manager, std::collections::BTreeMap::from([("cart", 3)])).await.unwrap();
    let before = visitor.clone();
    visit(&mut visitor, manager, |session| session.set_principal("ada")).await;
    assert_ne!(visitor.cookie(), before.cookie());
    assert!(before.session().await.unwrap().is_empty());
    assert_eq!(visitor.session().await.unwrap().get("cart"), Some(3));
    visit(&mut visitor, manager, |session| session.set_principal("eve")).await;
    assert!(!visitor.session().await.unwrap().contains("cart"));
    assert!(manager.sessions_of("ada").await.unwrap().is_empty());
}

async fn an_unknown_id_is_never_adopted(manager: &SessionManager) {
    let mut visitor = Visitor::new(manager);
    let mut response = http::HeaderMap::new();
    let planted = format!("{}={}", manager.cookie_name(), "A".repeat(43));
    response.insert(header::SET_COOKIE, planted.parse().unwrap());
    visitor.receive(&response);
    assert_eq!(visitor.cookie(), planted);
    visit(&mut visitor, manager, |session| session.insert("firstName", "Ada")).await;
    assert_ne!(visitor.cookie(), planted);
}

async fn a_commit_in_mid_request_is_there_for_others(manager: &SessionManager) {
    let visitor = logged_in(manager, "mid").await;
    let one = Request::begin(&visitor, manager).await;
    one.session.insert("early", 1);
    one.session.commit().await.unwrap();
    let mut other = visitor.clone();
    visit(&mut other, manager, |session| {
        assert_eq!(session.get("early"), Some(1));
        session.insert("other", 2);
    })
    .await;
    one.session.insert("late", 3);
    one.session.commit().await.unwrap();
    assert_eq!(one.session.get("other"), Some(2), "a commit brings back what others wrote");
    one.end_silently().await;
    assert_eq!(visitor.session().await.unwrap().keys(), ["firstName", "early", "other", "late"]);

    let mut nobody = Visitor::new(manager);
    let first = Request::begin(&nobody, manager).await;
    first.session.insert("a", 1);
    first.session.commit().await.unwrap();
    first.session.insert("b", 2);
    nobody.receive(&first.end().await.unwrap());
    assert_eq!(nobody.session().await.unwrap().keys(), ["a", "b"]);
}

async fn a_device_that_was_revoked_is_dead_at_once_and_may_log_in_again(manager: &SessionManager) {
    let mut phone = logged_in(manager, "device").await;
    let laptop = logged_in(manager, "device").await;
    let asking = Request::begin(&laptop, manager).await;
    let devices = manager.devices(&asking.session).await.unwrap();
    assert_eq!((devices.len(), devices[0].current, devices[1].current), (2, true, false));
    assert_eq!(manager.revoke_others(&asking.session).await.unwrap(), 1);
    asking.end_silently().await;
    assert!(phone.session().await.unwrap().is_empty());
    visit(&mut phone, manager, |session| session.set_principal("device")).await;
    assert_eq!(phone.session().await.unwrap().principal().as_deref(), Some("device"));
    assert_eq!(manager.revoke_all("device").await.unwrap(), 2);
    assert!(laptop.session().await.unwrap().is_empty() && phone.session().await.unwrap().is_empty());
}

async fn a_user_sees_and_ends_their_own_devices_only(manager: &SessionManager) {
    let ada = Visitor::prepared(manager, |session| {
        session.set_principal("own ada");
        session.set_label("Firefox on Linux");
    });
    let ada = ada.await.unwrap();
    let eve = logged_in(manager, "own eve").await;
    let devices = manager.sessions_of("own ada").await.unwrap();
    assert_eq!(devices[0].label.as_deref(), Some("Firefox on Linux"));
    assert!(!manager.revoke("own eve", &devices[0].handle).await.unwrap());
    assert!(!eve.session().await.unwrap().is_empty());
    assert!(manager.revoke("own ada", &devices[0].handle).await.unwrap());
    assert_eq!(ada.session().await.unwrap().principal(), None);
}

async fn an_update_that_fails_in_a_crowd_harms_nobody_else(manager: &SessionManager) {
    let visitor = logged_in(manager, "crowd").await;
    let fails = Request::begin(&visitor, manager).await;
    let panics = Request::begin(&visitor, manager).await;
    let mut other = visitor.clone();
    fails.session.update("count", |count: &mut u32| *count += 1).unwrap();
    let first = std::sync::atomic::AtomicBool::new(true);
    panics
        .session
        .update("boom", move |_: &mut u32| {
            assert!(first.swap(false, std::sync::atomic::Ordering::SeqCst), "run again");
        })
        .unwrap();
    visit(&mut other, manager, |session| session.insert("count", "no number any more")).await;
    assert!(fails.end().await.unwrap_err().is_entry());
    assert!(panics.end().await.unwrap_err().is_entry());
    assert_eq!(visitor.session().await.unwrap().get::<String>("count").as_deref(), Some("no number any more"));
}

/// Many requests at once on one session: each inserts its own entry and adds one to a common counter.
pub async fn crowd(manager: SessionManager, requests: u32) {
    let visitor = Arc::new(logged_in(&manager, "everybody").await);
    let all_have_begun = Arc::new(Barrier::new(requests as usize));
    let tasks: Vec<_> = (0..requests)
        .map(|number| {
            let (visitor, manager, all_have_begun) = (visitor.clone(), manager.clone(), all_have_begun.clone());
            tokio::spawn(async move {
                let session = manager.open(&headers(&visitor)).await.unwrap();
                all_have_begun.wait().await;
                session.insert(format!("entry {number}"), number);
                session.update("count", |count: &mut u32| *count += 1).unwrap();
                manager.commit(&session).await.apply(&mut http::HeaderMap::new()).unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let session = visitor.session().await.unwrap();
    assert_eq!(session.get("count"), Some(requests));
    let mut numbers: Vec<_> =
        session.iter().filter(|(name, _)| name.starts_with("entry")).map(|(_, value)| value).collect();
    numbers.sort_by_key(|number| number.as_i64());
    assert_eq!(numbers, (0..requests).map(Value::from).collect::<Vec<_>>());
    assert!(peak_memory().is_none_or(|bytes| bytes < 200 << 20), "{:?} bytes of memory", peak_memory());
}

/// The most memory that this process has held, where the system says.
fn peak_memory() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<usize>().ok()? << 10)
}

/// Sessions that were in the cookie are taken over once when a store comes, also by requests in parallel.
pub async fn take_over<S: SessionAdmin>(store: S) {
    let clock = Clock::at(std::time::SystemTime::now());
    let layer = SessionLayer::new(secret()).unwrap().clock(clock.clone());
    let before = layer.manager().unwrap();
    let after = layer.store(store).manager().unwrap();
    let sealed = logged_in(&before, "moved").await.cookie();
    let moved = || {
        let mut visitor = Visitor::new(&after);
        visitor.receive(&http::HeaderMap::from_iter([(header::SET_COOKIE, sealed.clone())]));
        visitor
    };

    let (mut one, mut two) = (moved(), moved());
    let (first, second) = (Request::begin(&one, &after).await, Request::begin(&two, &after).await);
    first.session.insert("first", 1);
    second.session.insert("second", 2);
    one.receive(&first.end().await.unwrap());
    two.receive(&second.end().await.unwrap());
    assert_eq!(one.cookie(), two.cookie(), "both are in one session");
    assert!(one.cookie().len() < sealed.len());
    assert_eq!(one.session().await.unwrap().keys(), ["firstName", "first", "second"]);
    assert_eq!(one.session().await.unwrap().principal().as_deref(), Some("moved"));

    let slow = Request::begin(&one, &after).await;
    visit(&mut one, &after, |session| session.clear()).await;
    slow.session.insert("slow", true);
    assert!(slow.session.commit().await.unwrap_err().is_closed(), "and the handler that asks is told");
    slow.end_silently().await;
    assert!(moved().session().await.unwrap().is_empty(), "the sealed cookie does not come back after the log-out");
    clock.advance(Duration::from_secs(300));
    assert!(moved().session().await.unwrap().is_empty(), "nor when the mark is gone");
}

/// A log-out while the session is being taken over ends it too, also for a slow request with the same cookie.
pub async fn log_out_during_take_over<S: SessionAdmin>(store: S) {
    let layer = SessionLayer::new(secret()).unwrap();
    let before = layer.manager().unwrap();
    let after = layer.store(store).manager().unwrap();
    let cookie = logged_in(&before, "moving").await.cookie();
    let mut visitor = Visitor::new(&after);
    visitor.receive(&http::HeaderMap::from_iter([(header::SET_COOKIE, cookie)]));
    let stolen = visitor.clone();
    let slow = Request::begin(&visitor, &after).await;
    slow.session.insert("slow", true);
    visit(&mut visitor, &after, |session| session.clear()).await;
    assert_eq!(visitor.cookie(), "");
    slow.end_silently().await;
    assert!(stolen.session().await.unwrap().is_empty());
}
