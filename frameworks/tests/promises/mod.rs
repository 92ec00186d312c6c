//! What holds in every framework.

use std::{collections::BTreeSet, sync::PoisonError, thread};

use crate::{
    servers,
    site::{Place, Site, wait_until},
};

pub(crate) fn a_write_sets_one_cookie_and_the_next_request_reads_it(site: &Site) {
    let mut ada = site.visitor();
    assert_eq!(ada.read("/"), "Who are you?");

    let answer = ada.get("/name?first=Ada");
    assert_eq!(answer.status, 303);
    assert_eq!(answer.headers["location"], "/");
    assert_eq!(answer.set_cookies().len(), 1);
    for attribute in ["Secure", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(answer.set_cookies()[0].contains(attribute), "{attribute}");
    }
    assert_eq!(ada.read("/"), "Hello, Ada");
}

pub(crate) fn start_over_removes_the_cookie(site: &Site) {
    let mut ada = site.visitor();
    ada.get("/name?first=Ada");
    let answer = ada.get("/start-over");
    assert_eq!(answer.status, 303);
    assert_eq!(answer.set_cookies().len(), 1);
    assert_eq!(ada.cookie, None);
    assert_eq!(ada.read("/"), "Who are you?");
}

pub(crate) fn after_start_over_the_old_cookie_opens_nothing_on_a_store(site: &Site) {
    let mut ada = site.visitor();
    ada.get("/name?first=Ada");
    let mut thief = site.visitor();
    thief.cookie.clone_from(&ada.cookie);
    ada.get("/start-over");
    let greeting = if site.place == Place::Store { "Who are you?" } else { "Hello, Ada" };
    assert_eq!(thief.read("/"), greeting);
}

pub(crate) fn a_page_that_does_not_name_the_session_has_no_cookie_and_no_vary(site: &Site) {
    let mut ada = site.visitor();
    for _ in ["without a cookie", "with one"] {
        let answer = ada.get("/about");
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "About"));
        assert!(answer.set_cookies().is_empty());
        assert!(!answer.varies());
        ada.get("/name?first=Ada");
    }
}

pub(crate) fn a_page_that_only_reads_sets_no_cookie(site: &Site) {
    let mut ada = site.visitor();
    for _ in ["without a cookie", "with one"] {
        let answer = ada.get("/");
        assert!(answer.set_cookies().is_empty());
        assert!(answer.varies());
        ada.get("/name?first=Ada");
    }
}

pub(crate) fn a_forged_cookie_is_a_stranger(site: &Site) {
    let mut mallory = site.visitor();
    mallory.get("/name?first=Mallory");
    let cookie = mallory.cookie.take().unwrap();
    let other = if cookie.starts_with('A') { "B" } else { "A" };
    mallory.cookie = Some(format!("{other}{}", &cookie[1..]));
    assert_eq!(mallory.read("/"), "Who are you?");
}

pub(crate) fn visits_are_counted(site: &Site) {
    let mut ada = site.visitor();
    for visit in 1..=5 {
        assert_eq!(ada.read("/count"), format!("Visit number {visit}"));
    }
}

pub(crate) fn racing_requests_of_one_visitor_are_counted_on_a_store(site: &Site) {
    let mut ada = site.visitor();
    ada.get("/count");
    thread::scope(|tabs| {
        for _ in 0..4 {
            let mut tab = site.visitor();
            tab.cookie.clone_from(&ada.cookie);
            tabs.spawn(move || (0..10).for_each(|_| drop(tab.read("/count"))));
        }
    });
    if site.place == Place::Store {
        assert_eq!(ada.read("/count"), "Visit number 42");
    }
}

pub(crate) fn two_visitors_at_once_never_see_each_others_name(site: &Site) {
    thread::scope(|visits| {
        for name in ["Ada", "Grace"] {
            visits.spawn(move || {
                let (mut visitor, mut cookies) = (site.visitor(), BTreeSet::new());
                for visit in 0..50 {
                    visitor.get(&format!("/name?first={name}-{visit}"));
                    assert_eq!(visitor.read("/"), format!("Hello, {name}-{visit}"));
                    cookies.extend(visitor.cookie.clone());
                }
                assert_eq!(cookies.len(), if site.place == Place::Store { 1 } else { 50 });
            });
        }
    });
}

pub(crate) fn a_handler_that_panics_stores_nothing(site: &Site) {
    let mut ada = site.visitor();
    ada.get("/name?first=Ada");
    // The connection breaks; a framework may also answer with a 500.
    if let Ok(answer) = ada.try_get("/panics") {
        assert_eq!(answer.status, 500);
        assert!(answer.set_cookies().is_empty());
    }
    assert_eq!(ada.read("/"), "Hello, Ada");
}

pub(crate) fn a_request_that_is_dropped_stores_nothing(site: &Site) {
    let mut ada = site.visitor();
    let name = format!("Ada-{}", site.address);
    ada.get(&format!("/name?first={name}"));
    ada.ask_and_leave("/lingers", || seen(&servers::WAITING, &name));
    wait_until(|| seen(&servers::GONE, &name));
    assert_eq!(ada.read("/"), format!("Hello, {name}"));
}

fn seen(list: &servers::Names, name: &str) -> bool {
    list.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|seen| seen == name)
}

pub(crate) fn a_refusal_keeps_what_its_handler_wrote(site: &Site) {
    let mut ada = site.visitor();
    let answer = ada.get("/refuses");
    assert_eq!(answer.status, 403);
    assert_eq!(answer.set_cookies().len(), 1);
    assert_eq!(ada.read("/"), "Hello, Refused");
}

pub(crate) fn a_name_that_does_not_fit_the_cookie_is_a_500_and_the_old_one_stays(site: &Site) {
    let mut ada = site.visitor();
    ada.get("/name?first=Ada");
    let long = "a".repeat(5000);
    let answer = ada.get(&format!("/name?first={long}"));
    if site.place == Place::Store {
        assert_eq!(answer.status, 303);
        assert_eq!(ada.read("/"), format!("Hello, {long}"));
    } else {
        assert_eq!(answer.status, 500);
        assert!(answer.text.contains("Something went wrong on our side."), "{}", answer.text);
        assert!(!answer.text.contains(&long), "no page shows what a session holds");
        assert_eq!(ada.read("/"), "Hello, Ada");
    }
}

pub(crate) fn a_page_that_is_not_there_is_a_404(site: &Site) {
    let answer = site.visitor().get("/nowhere");
    assert_eq!(answer.status, 404);
    assert!(answer.set_cookies().is_empty());
}

pub(crate) fn without_the_layer_a_page_is_a_500_that_tells_its_developer_alone(site: &Site) {
    let answer = site.visitor().get("/");
    assert_eq!(answer.status, 500);
    let is_told = ["SessionLayer", "SessionMiddleware"].iter().any(|hint| answer.text.contains(hint));
    let is_for_developers = cfg!(debug_assertions) && answer.text.contains("debug builds alone");
    assert!(!is_told || is_for_developers, "{}", answer.text);
}
