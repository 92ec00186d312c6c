//! The cap on a user's sessions, attacked: by races, lost answers, and what came from a cookie.

use std::{num::NonZeroU32, time::Duration};

use crate::support::{
    faulty::{Fault, Faulty, Verb},
    http::secret,
    site::{Request, builder, log_in, principal_at},
    stores::{NOW, ended, key, lives, record},
};
use dewar::{
    AtMax, SessionManager,
    store::{Cap, Record, SessionAdmin, SessionStore, Timestamp, Version, memory::MemoryStore},
    testing::Visitor,
};

const ONE: Version = Version::from_bits(1);

fn anns(data: &'static str) -> Record {
    Record { principal: Some("ann".into()), lineage: 7, ..record(data.as_bytes()) }
}

fn at_most(most: u32, at_max: AtMax, store: &Faulty) -> SessionManager {
    builder(store.clone()).max_sessions_per_user(most, at_max).build().unwrap()
}

#[tokio::test]
async fn a_refused_log_in_whose_session_cannot_be_read_logs_nobody_in() {
    let store = Faulty::default();
    let manager = at_most(1, AtMax::RefuseLogIn, &store);
    log_in(&manager, "ann").await;
    let mut visitor = Visitor::prepared(&manager, |session| session.insert("cart", 3)).await.unwrap();
    let id = visitor.cookie();
    let request = Request::begin(&visitor, &manager).await;
    request.session.set_principal("ann");
    store.fail(Verb::Load, 1, Fault::NotDone);
    let refused = request.session.commit().await;
    assert!(refused.is_err());
    store.heal();
    let seen = request.session.principal();
    // The page that says so writes something.
    request.session.insert("failed", 1);
    let done = request.end().await.map(|headers| visitor.receive(&headers));
    let in_store = store.list(Some("ann"), None, 10, Timestamp::from(std::time::SystemTime::now())).await.unwrap();
    assert_eq!(in_store.len(), 1, "{refused:?}, {done:?}: the cap is broken; same id: {}", visitor.cookie() == id);
    assert_eq!(seen, None, "a refused log-in shows the user");
    assert_eq!(principal_at(&visitor, &manager).await, None, "a refused log-in is logged in");
}

#[tokio::test]
async fn a_refused_log_in_ends_no_session_that_was_in_a_cookie() {
    let store = Faulty::default();
    let in_a_cookie = SessionManager::new(secret()).unwrap();
    let manager = at_most(1, AtMax::RefuseLogIn, &store);
    log_in(&manager, "ann").await;
    let mut bob = log_in(&in_a_cookie, "bob").await;
    assert_eq!(principal_at(&bob, &manager).await.as_deref(), Some("bob"));
    let request = Request::begin(&bob, &manager).await;
    request.session.set_principal("ann");
    let refused = request.session.commit().await;
    assert!(refused.as_ref().is_err_and(|error| error.is_too_many_sessions()), "{refused:?}");
    let done = request.end().await.map(|headers| bob.receive(&headers));
    assert_eq!(principal_at(&bob, &manager).await.as_deref(), Some("bob"), "{done:?}: the refused log-in ended it");
}

#[tokio::test]
async fn a_refused_switch_leaves_a_stored_session_as_it_was() {
    let store = Faulty::default();
    let manager = at_most(1, AtMax::RefuseLogIn, &store);
    log_in(&manager, "ann").await;
    for clears in [false, true] {
        let mut bob = log_in(&manager, &format!("bob-{clears}")).await;
        let cookie = bob.cookie();
        let request = Request::begin(&bob, &manager).await;
        if clears {
            request.session.clear();
        }
        request.session.set_principal("ann");
        assert!(request.session.commit().await.unwrap_err().is_too_many_sessions());
        assert_eq!(request.session.principal(), Some(format!("bob-{clears}")));
        bob.receive(&request.end().await.unwrap());
        assert_eq!(bob.cookie(), cookie);
        assert_eq!(principal_at(&bob, &manager).await, Some(format!("bob-{clears}")));
    }
}

#[tokio::test]
async fn log_ins_of_one_browser_at_once_are_no_way_around_the_cap() {
    let store = Faulty::default();
    let manager = at_most(1, AtMax::RefuseLogIn, &store);
    let visitor = log_in(&manager, "ann").await;
    let mut requests = Vec::new();
    for _ in 0..5 {
        requests.push(Request::begin(&visitor, &manager).await);
    }
    let mut alive = 0;
    let mut jars = Vec::new();
    for request in requests {
        request.session.set_principal("ann");
        let mut jar = visitor.clone();
        if let Ok(headers) = request.end().await {
            jar.receive(&headers);
        }
        jars.push(jar);
    }
    for jar in &jars {
        alive += u32::from(principal_at(jar, &manager).await.is_some());
    }
    assert_eq!(alive, 1, "one session is allowed");
}

#[tokio::test]
async fn a_log_in_done_again_in_its_request_is_not_refused_for_its_first_attempt() {
    for stored in [false, true] {
        for fault in [Fault::Lost, Fault::NotDone, Fault::Late(Duration::from_millis(30))] {
            let store = Faulty::default();
            let manager = at_most(1, AtMax::RefuseLogIn, &store);
            let visitor = match stored {
                true => Visitor::prepared(&manager, |session| session.insert("cart", 3)).await.unwrap(),
                false => Visitor::new(&manager),
            };
            let request = Request::begin(&visitor, &manager).await;
            request.session.set_principal("ann");
            store.fail(if stored { Verb::Rename } else { Verb::Create }, 1, fault);
            store.fail(Verb::Load, 1, Fault::NotDone);
            request.session.commit().await.unwrap_err();
            store.landed().await;
            let done = request.end().await;
            assert!(done.is_ok(), "{stored} {fault:?}: {done:?}");
            let now = Timestamp::from(std::time::SystemTime::now());
            assert_eq!(store.list(Some("ann"), None, 10, now).await.unwrap().len(), 1, "{stored} {fault:?}");
        }
    }
}

#[tokio::test]
async fn a_cap_of_one_never_ends_what_logs_in_nor_another_users() {
    let store = MemoryStore::new();
    let cap = Cap { most: NonZeroU32::MIN, end_oldest: Some(ended(1)) };
    let bobs = Record { principal: Some("bob".into()), lineage: 9, ..record(b"bob") };
    store.create(&key(9), ONE, bobs, None, NOW).await.unwrap();
    // Begun long ago, by a server whose clock is behind.
    let old = Record { created: Timestamp::from_secs(1), ..anns("old") };
    for number in 1..5 {
        let lineage = number + 10;
        let record = Record { lineage, ..if number == 4 { old.clone() } else { anns("x") } };
        store.create(&key(number), ONE, record, Some(&cap), NOW).await.unwrap();
        assert!(lives(&store, &key(number), NOW).await, "{number}");
        assert_eq!(store.list(Some("ann"), None, 10, NOW).await.unwrap().len(), 1);
    }
    assert!(lives(&store, &key(9), NOW).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn however_log_ins_race_and_answers_are_lost_no_more_live_than_may() {
    for round in 0..30u32 {
        let at_max = if round % 2 == 0 { AtMax::RefuseLogIn } else { AtMax::EndOldest };
        let store = Faulty::default();
        let managers = [at_most(3, at_max, &store), at_most(3, at_max, &store)];
        let mut visitors = Vec::new();
        for number in 0..12usize {
            visitors.push(match number % 4 {
                0 => Visitor::new(&managers[0]),
                1 => Visitor::prepared(&managers[0], |session| session.insert("cart", 3)).await.unwrap(),
                _ => log_in(&managers[0], &format!("user-{number}")).await,
            });
        }
        for nth in 1..6 {
            let fault = if (nth + round) % 3 == 0 { Fault::NotDone } else { Fault::Lost };
            store.fail(if nth % 2 == 0 { Verb::Create } else { Verb::Rename }, nth * 2, fault);
        }
        let mut tasks = tokio::task::JoinSet::new();
        for (number, mut visitor) in visitors.into_iter().enumerate() {
            let manager = managers[number % 2].clone();
            tasks.spawn(async move {
                let request = Request::begin(&visitor, &manager).await;
                if number % 3 == 0 {
                    request.session.clear();
                }
                request.session.set_principal("ann");
                let done = request.end().await.map(|headers| visitor.receive(&headers));
                (number, visitor, done)
            });
        }
        let done = tasks.join_all().await;
        store.heal();
        let mut alive = 0;
        for (number, visitor, done) in &done {
            let is_anns = principal_at(visitor, &managers[0]).await.as_deref() == Some("ann");
            alive += usize::from(is_anns);
            let refused = done.as_ref().is_err_and(|error| error.is_too_many_sessions());
            assert!(!refused || !is_anns, "{round} {number}: refused, and logged in");
            if refused && *number % 4 > 1 {
                let still = principal_at(visitor, &managers[0]).await;
                assert_eq!(still, Some(format!("user-{number}")), "{round}: refused, and logged out");
            }
        }
        let now = Timestamp::from(std::time::SystemTime::now());
        let stored = store.list(Some("ann"), None, 100, now).await.unwrap().len();
        assert!(alive <= 3 && stored <= 3, "{round} {at_max:?}: {alive} alive, {stored} stored");
        assert_eq!(stored, 3, "{round} {at_max:?}: {:?}", done.iter().map(|(_, _, done)| done).collect::<Vec<_>>());
    }
}
