//! What an attacker, a bad network and a wrong clock can do to sessions while they move from one store to another.

use std::time::{Duration, SystemTime};

use crate::support::{
    faulty::{Fault, Faulty, Verb},
    site::{BEGIN, Request, after_ms, builder, log_in, manager, principal_at, visit},
    stores::{Directory, NOW, ended, key, later, lives, record},
};
use dewar::{
    AtMax, Clock, Lifetime, SessionManager, SessionManagerBuilder,
    store::{
        Create, Delete, GONE_FOR, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, Timestamp, Touch,
        Version, memory::MemoryStore, moving::Moving, sqlite::SqliteStore,
    },
    testing::Visitor,
};
use futures_util::poll;

const ONE: Version = Version::from_bits(1);
const TWO: Version = Version::from_bits(2);

fn anns(data: &'static str) -> Record {
    Record { principal: Some("ann".into()), lineage: 7, ..record(data.as_bytes()) }
}

fn hours(hours: u64) -> Timestamp {
    NOW.after(Duration::from_secs(hours * 3600))
}

// Log-outs and revocations.

#[tokio::test]
async fn a_log_out_that_was_confirmed_holds_at_the_server_beside_and_afterwards() {
    let (old, new) = (Faulty::default(), Faulty::default());
    let prepared = manager(Moving::prepare(old.clone(), new.clone()));
    let moving = manager(Moving::start(old.clone(), new.clone()));
    let mut visitor = log_in(&prepared, "ann").await;
    let late = visitor.clone();
    let request = Request::begin(&visitor, &moving).await;
    request.session.clear();
    // The old store does not answer once.
    old.fail(Verb::Delete, 1, Fault::NotDone);
    let confirmed = request.end().await;
    old.heal();
    visitor.receive(&confirmed.expect("this attack needs a log-out that is confirmed"));
    assert_eq!(principal_at(&late, &prepared).await, None, "a confirmed log-out, and the session lives");
}

/// The record of the log-in carries an epoch of hours ahead, of a server whose clock was wrong before the move.
async fn revoked_after_a_wrong_clock(
    old: impl SessionAdmin + Clone,
    new: impl SessionAdmin + Clone,
    ends_everyone: bool,
) -> bool {
    old.revoke("ann", Revoke::All, ended(1), hours(5)).await.unwrap();
    if ends_everyone {
        old.revoke_everyone(ended(1), hours(5)).await.unwrap();
    }
    let (before, moving) = (key(1), Moving::start(old.clone(), new.clone()));
    let Create::Created(written) = old.create(&before, ONE, anns("x"), None, NOW).await.unwrap() else { panic!() };
    let record = Record { epoch: Some(written.epoch), ..anns("y") };
    assert_eq!(moving.replace(&before, ONE, TWO, record, NOW).await.unwrap(), Replace::Replaced(TWO));
    assert!(lives(&new, &before, NOW).await, "it moved");
    if ends_everyone {
        moving.revoke_everyone(ended(2), NOW).await.unwrap();
    } else {
        moving.revoke("ann", Revoke::All, ended(2), NOW).await.unwrap();
    }
    lives(&moving, &before, NOW).await
}

#[tokio::test]
async fn log_out_everywhere_ends_what_moved_after_a_clock_was_hours_ahead() {
    let lives = revoked_after_a_wrong_clock(MemoryStore::new(), MemoryStore::new(), false).await;
    assert!(!lives, "revoke(All) was confirmed, and the session lives");
}

#[tokio::test]
async fn the_end_of_everybody_ends_what_moved_after_a_clock_was_hours_ahead() {
    let lives = revoked_after_a_wrong_clock(MemoryStore::new(), MemoryStore::new(), true).await;
    assert!(!lives, "revoke_everyone was confirmed, and the session lives");
}

#[tokio::test]
async fn the_end_of_everybody_ends_what_moved_to_a_file_after_a_clock_was_hours_ahead() {
    let directory = Directory::new();
    let new = SqliteStore::open(directory.file()).unwrap();
    assert!(!revoked_after_a_wrong_clock(MemoryStore::new(), new, true).await, "it lives");
}

/// Ann's epochs in the one store and in the other are hours apart, either way.
async fn unequal() -> [(MemoryStore, MemoryStore); 2] {
    let [one, two] = [(MemoryStore::new(), MemoryStore::new()), (MemoryStore::new(), MemoryStore::new())];
    for ahead in [&one.0, &two.1] {
        let in_hours = hours(5).max(Timestamp::from(SystemTime::now()).after(Duration::from_secs(5 * 3600)));
        ahead.revoke("ann", Revoke::All, ended(1), in_hours).await.unwrap();
    }
    [one, two]
}

#[tokio::test]
async fn to_log_out_everywhere_else_spares_this_one_wherever_it_is() {
    for (old, new) in unequal().await {
        let prepared = manager(Moving::prepare(old.clone(), new.clone()));
        let moving = manager(Moving::start(old.clone(), new.clone()));
        for begins_at in [&prepared, &moving] {
            for ends_at in [&prepared, &moving] {
                let mut this = log_in(begins_at, "ann").await;
                let (other, moved) = (log_in(begins_at, "ann").await, &mut log_in(begins_at, "ann").await);
                visit(moved, &moving, |session| session.insert("n", 1u32)).await;
                let request = Request::begin(&this, ends_at).await;
                assert_eq!(ends_at.revoke_others(&request.session).await.unwrap(), 2);
                this.receive(&request.end().await.unwrap());
                for server in [&moving, &prepared, &moving] {
                    let cookie = this.cookie();
                    visit(&mut this, server, dewar::Session::renew).await;
                    assert_ne!(this.cookie(), cookie, "it is Outdated");
                    assert_eq!(principal_at(&this, server).await.as_deref(), Some("ann"));
                    assert_eq!(principal_at(&other, server).await, None);
                    assert_eq!(principal_at(moved, server).await, None);
                }
                moving.revoke_all("ann").await.unwrap();
                assert_eq!(principal_at(&this, &prepared).await, None);
            }
        }
    }
}

#[tokio::test]
async fn to_log_out_everywhere_else_spares_what_moved_in_the_same_request() {
    for (old, new) in unequal().await {
        let mut visitor = log_in(&manager(old.clone()), "ann").await;
        let moving = manager(Moving::start(old.clone(), new.clone()));
        let request = Request::begin(&visitor, &moving).await;
        request.session.insert("n", 1u32);
        request.session.commit().await.unwrap();
        assert_eq!(moving.revoke_others(&request.session).await.unwrap(), 0);
        visitor.receive(&request.end().await.unwrap());
        assert_eq!(principal_at(&visitor, &moving).await.as_deref(), Some("ann"));
    }
}

#[tokio::test]
async fn one_that_was_taken_over_ends_with_everybody() {
    for (old, new) in unequal().await {
        for moving in [Moving::prepare(old.clone(), new.clone()), Moving::start(old.clone(), new.clone())] {
            let (epoch, id) = (moving.epoch(Some("ann")).await.unwrap(), key(1));
            let taken_over = Record { epoch: Some(epoch), guarded_until: Some(later(60)), ..anns("x") };
            let created = moving.create(&id, ONE, taken_over, None, NOW).await.unwrap();
            assert!(matches!(created, Create::Created(_)), "{created:?}");
            assert_eq!(moving.revoke_everyone(ended(1), NOW).await.unwrap(), 1);
            old.purge(100, hours(2)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_revocation_meets_what_moves_meanwhile_at_whatever_server_it_is_made() {
    for (which, everyones) in [(Revoke::All, false), (Revoke::Lineage(7), false), (Revoke::All, true)] {
        for is_turned in [false, true] {
            let (old, new) = (Faulty::default(), Faulty::default());
            old.create(&key(1), ONE, anns("x"), None, NOW).await.unwrap();
            let moving = Moving::start(old.clone(), new.clone());
            let (first, second) = if is_turned { (&new, &old) } else { (&old, &new) };
            let revoking = Moving::prepare(first.clone(), second.clone());
            second.fail(Verb::Revoke, 1, Fault::Slow(Duration::from_millis(30)));
            let mut revocation = Box::pin(async {
                match everyones {
                    true => revoking.revoke_everyone(ended(1), NOW).await,
                    false => revoking.revoke("ann", which, ended(1), NOW).await,
                }
            });
            assert!(poll!(&mut revocation).is_pending());
            moving.replace(&key(1), ONE, TWO, anns("y"), NOW).await.unwrap();
            revocation.await.unwrap();
            assert!(!lives(&moving, &key(1), NOW).await, "{which:?}, {everyones}, {is_turned}");
        }
    }
}

#[tokio::test]
async fn a_log_out_meets_what_moves_meanwhile() {
    let (old, new) = (Faulty::default(), Faulty::default());
    old.create(&key(1), ONE, anns("x"), None, NOW).await.unwrap();
    let (prepared, id) = (Moving::prepare(old.clone(), new.clone()), key(1));
    new.fail(Verb::Delete, 1, Fault::Slow(Duration::from_millis(30)));
    let mut log_out = Box::pin(prepared.delete(&id, None, ended(1), NOW));
    assert!(poll!(&mut log_out).is_pending());
    let moving = Moving::start(old.clone(), new.clone());
    // And who moves it is killed before it is under its key.
    new.fail(Verb::Rename, 1, Fault::NotDone);
    moving.replace(&id, ONE, TWO, anns("y"), NOW).await.unwrap_err();
    assert_eq!(log_out.await.unwrap(), Delete::Deleted);
    assert!(!lives(&moving, &id, NOW.after(GONE_FOR + Duration::from_secs(1))).await, "it comes back");
}

#[tokio::test]
async fn to_log_out_everywhere_else_spares_one_that_is_not_written_yet() {
    for (old, new) in unequal().await {
        for moving in [Moving::prepare(old.clone(), new.clone()), Moving::start(old.clone(), new.clone())] {
            let epoch = moving.epoch(Some("ann")).await.unwrap();
            // It was in a cookie, and is taken over in this request.
            let taken_over = Record { epoch: Some(epoch), guarded_until: Some(hours(1)), ..anns("x") };
            for _ in 0..2 {
                moving.revoke("ann", Revoke::AllBut { lineage: 7, epoch }, ended(1), NOW).await.unwrap();
            }
            let id = key(1);
            let stranger = Record { lineage: 8, ..taken_over.clone() };
            assert_eq!(moving.create(&id, ONE, stranger, None, NOW).await.unwrap(), Create::Outdated);
            let created = moving.create(&id, ONE, taken_over, None, NOW).await.unwrap();
            assert!(matches!(created, Create::Created(_)), "{created:?}");
            assert_eq!(moving.revoke("ann", Revoke::All, ended(2), NOW).await.unwrap(), 1);
            old.purge(100, hours(2)).await.unwrap();
            new.purge(100, hours(2)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn who_was_logged_out_spares_nothing_and_comes_back_nowhere() {
    for (old, new) in unequal().await {
        let prepared = Moving::prepare(old.clone(), new.clone());
        let moving = Moving::start(old.clone(), new.clone());
        for (number, begins_at) in [&prepared, &moving].into_iter().enumerate() {
            let (this, newer) = (key(10 * number as u64), key(10 * number as u64 + 1));
            let Create::Created(written) = begins_at.create(&this, ONE, anns("x"), None, NOW).await.unwrap() else {
                panic!()
            };
            prepared.revoke("ann", Revoke::All, ended(2), NOW).await.unwrap();
            let log_in = Record { lineage: 8, ..anns("y") };
            moving.create(&newer, ONE, log_in, None, NOW).await.unwrap();
            let but = Revoke::AllBut { lineage: 7, epoch: written.epoch };
            assert_eq!(moving.revoke("ann", but, ended(3), NOW).await.unwrap(), 1);
            for store in [&prepared, &moving] {
                let again = key(10 * number as u64 + 2);
                let came_back = Record { epoch: Some(written.epoch), ..anns("z") };
                let created = store.create(&again, ONE, came_back, None, NOW).await.unwrap();
                assert_eq!(created, Create::Outdated);
            }
        }
    }
}

#[tokio::test]
async fn a_write_after_the_move_in_one_request_keeps_the_session() {
    for (old, new) in unequal().await {
        let mut visitor = log_in(&manager(old.clone()), "ann").await;
        let moving = manager(Moving::start(old.clone(), new.clone()));
        let request = Request::begin(&visitor, &moving).await;
        for number in 1..=2u32 {
            request.session.insert("n", number);
            request.session.commit().await.unwrap();
        }
        visitor.receive(&request.end().await.unwrap());
        let cookie = visitor.cookie();
        visit(&mut visitor, &moving, dewar::Session::renew).await;
        assert_ne!(visitor.cookie(), cookie, "it is Outdated");
        assert_eq!(principal_at(&visitor, &manager(new)).await.as_deref(), Some("ann"));
        moving.revoke_everyone().await.unwrap();
        assert_eq!(principal_at(&visitor, &moving).await, None);
    }
}

// Nobody is logged out.

#[tokio::test]
async fn a_delete_that_lands_late_loses_no_session() {
    let (old, new) = (Faulty::default(), Faulty::default());
    old.create(&key(1), ONE, anns("before"), None, NOW).await.unwrap();
    let moving = Moving::start(old.clone(), new.clone());
    old.fail(Verb::Delete, 1, Fault::Late(Duration::from_millis(30)));
    let done = moving.replace(&key(1), ONE, TWO, anns("after"), NOW).await;
    old.landed().await;
    assert!(lives(&moving, &key(1), NOW).await, "{done:?}, and the session is gone");
}

#[tokio::test]
async fn a_log_out_that_was_not_done_loses_no_session_at_its_next_write() {
    let (old, new) = (Faulty::default(), MemoryStore::new());
    old.create(&key(1), ONE, anns("before"), None, NOW).await.unwrap();
    let moving = Moving::start(old.clone(), new.clone());
    old.fail(Verb::Delete, 1, Fault::NotDone);
    moving.delete(&key(1), None, ended(1), NOW).await.unwrap_err();
    for (at, next, now) in [(ONE, TWO, NOW), (TWO, ONE, NOW.after(GONE_FOR + Duration::from_secs(1)))] {
        let replaced = moving.replace(&key(1), at, next, anns("after"), now).await.unwrap();
        assert_eq!(replaced, Replace::Replaced(next));
        for server in [Moving::prepare(old.clone(), new.clone()), moving.clone()] {
            assert!(lives(&server, &key(1), now).await, "at {now}");
        }
    }
    assert_eq!(old.count(NOW).await.unwrap(), 0, "it does not move when the tombstone has run out");
}

#[tokio::test]
async fn who_logged_in_while_sessions_moved_stays_logged_in_on_the_way_back() {
    let (old, new) = (MemoryStore::new(), MemoryStore::new());
    // Long before, she logged out everywhere.
    log_in(&manager(old.clone()), "ann").await;
    manager(old.clone()).revoke_all("ann").await.unwrap();
    let moving = manager(Moving::start(old.clone(), new.clone()));
    let mut visitor = log_in(&moving, "ann").await;
    let prepared = manager(Moving::prepare(old.clone(), new.clone()));
    let prepared_back = manager(Moving::prepare(new.clone(), old.clone()));
    for server in [&prepared, &prepared_back] {
        visit(&mut visitor, server, |session| session.insert("n", 1u32)).await;
    }
    let back = manager(Moving::start(new.clone(), old.clone()));
    let (cookie, request) = (visitor.cookie(), Request::begin(&visitor, &back).await);
    request.session.renew();
    let done = request.end().await.map(|headers| visitor.receive(&headers));
    assert_eq!(principal_at(&visitor, &back).await.as_deref(), Some("ann"), "renewed: {done:?}, and logged out");
    assert_ne!(visitor.cookie(), cookie, "{done:?}, and its id is the same");
    visit(&mut visitor, &back, |session| session.insert("n", 2u32)).await;
    assert_eq!(principal_at(&visitor, &manager(old)).await.as_deref(), Some("ann"), "it never moves back");
}

#[tokio::test]
async fn who_began_while_sessions_moved_keeps_the_cart_at_a_log_in_on_the_way_back() {
    let (old, new) = (MemoryStore::new(), MemoryStore::new());
    manager(old.clone()).revoke_everyone().await.unwrap();
    let moving = manager(Moving::start(old.clone(), new.clone()));
    let mut visitor = Visitor::prepared(&moving, |session| session.insert("cart", 3u32)).await.unwrap();
    let back = manager(Moving::start(new, old));
    let request = Request::begin(&visitor, &back).await;
    request.session.set_principal("ann");
    let done = request.end().await.map(|headers| visitor.receive(&headers));
    let session = Request::begin(&visitor, &back).await.session;
    assert_eq!(session.get::<u32>("cart"), Some(3), "{done:?}");
}

/// A move back whose process is killed between its second step and its third.
async fn killed_on_the_way_back(old: &Faulty, new: &Faulty) {
    new.create(&key(1), ONE, anns("x"), None, NOW).await.unwrap();
    old.fail(Verb::Rename, 1, Fault::NotDone);
    let back = Moving::start(new.clone(), old.clone());
    back.replace(&key(1), ONE, TWO, anns("y"), NOW).await.unwrap_err();
    old.heal();
}

#[tokio::test]
async fn a_killed_move_back_logs_nobody_out_at_the_servers_beside() {
    let (old, new) = (Faulty::default(), Faulty::default());
    killed_on_the_way_back(&old, &new).await;
    let prepared = Moving::prepare(new.clone(), old.clone());
    assert!(lives(&prepared, &key(1), NOW).await, "the deployment before does not find it");
}

#[tokio::test]
async fn a_log_out_at_a_server_beside_the_way_back_holds() {
    let (old, new) = (Faulty::default(), Faulty::default());
    killed_on_the_way_back(&old, &new).await;
    let prepared = Moving::prepare(new.clone(), old.clone());
    prepared.delete(&key(1), None, ended(1), NOW).await.unwrap();
    let back = Moving::start(new.clone(), old.clone());
    let after = NOW.after(GONE_FOR + Duration::from_secs(1));
    assert!(!lives(&back, &key(1), after).await, "it comes back when the tombstone has run out");
}

#[tokio::test]
async fn a_reader_beside_the_way_back_finds_what_moves_meanwhile() {
    let (old, new) = (Faulty::default(), Faulty::default());
    new.create(&key(1), ONE, anns("x"), None, NOW).await.unwrap();
    let prepared = Moving::prepare(new.clone(), old.clone());
    let id = key(1);
    // It asks the new store first, which moves them away.
    new.fail(Verb::Load, 1, Fault::Slow(Duration::from_millis(100)));
    let mut reading = Box::pin(prepared.load(&id, NOW));
    assert!(poll!(&mut reading).is_pending());
    Moving::start(new.clone(), old).replace(&id, ONE, TWO, anns("y"), NOW).await.unwrap();
    let found = reading.await.unwrap();
    assert!(matches!(found, Load::Found(..)), "no fault at all, and a living session is {found:?}");
}

#[tokio::test]
async fn there_and_back_and_there_again_nobody_is_logged_out_and_the_old_store_empties() {
    let (old, new) = (MemoryStore::new(), MemoryStore::new());
    let (there, back) = (Moving::start(old.clone(), new.clone()), Moving::start(new.clone(), old.clone()));
    let mut at = ONE;
    old.create(&key(1), at, anns("x"), None, NOW).await.unwrap();
    // There; back, an idle timeout (an hour) and more later; there again from 3701 on.
    for (number, second) in [0, 3000, 3700, 3701, 7250, 7301].into_iter().enumerate() {
        let moving = if second == 3700 { &back } else { &there };
        let next = Version::from_bits(number as u64 + 2);
        let record = Record { idle_expires: later(second + 3600), ..anns("y") };
        // It stays until the mark of its way back has run out.
        assert_eq!(old.count(later(second)).await.unwrap(), u64::from(![3000, 3700].contains(&second)), "{second}");
        assert_eq!(moving.replace(&key(1), at, next, record, later(second)).await.unwrap(), Replace::Replaced(next));
        assert!(lives(&there, &key(1), later(second)).await && lives(&back, &key(1), later(second)).await);
        at = next;
    }
    assert_eq!(old.count(later(7302)).await.unwrap(), 0);
    assert!(lives(&new, &key(1), later(7302)).await);
}

#[tokio::test]
async fn a_revocation_that_is_killed_halfway_strands_no_later_log_in() {
    let (old, new) = (Faulty::default(), Faulty::default());
    let prepared = manager(Moving::prepare(old.clone(), new.clone()));
    let moving = manager(Moving::start(old.clone(), new.clone()));
    old.fail(Verb::Revoke, 1, Fault::NotDone);
    prepared.revoke_all("ann").await.unwrap_err();
    let mut visitor = log_in(&prepared, "ann").await;
    let cookie = visitor.cookie();
    visit(&mut visitor, &moving, dewar::Session::renew).await;
    assert_ne!(visitor.cookie(), cookie, "a renewal was answered as done, and the id is the same");
    visit(&mut visitor, &moving, |session| session.insert("n", 2u32)).await;
    assert_eq!(principal_at(&visitor, &manager(new)).await.as_deref(), Some("ann"), "it never moves");
}

#[tokio::test]
async fn between_both_preparations_nobody_is_logged_out_and_a_log_out_holds() {
    let (old, new) = (Faulty::default(), Faulty::default());
    let moving = Moving::start(old.clone(), new.clone());
    let (one, other) = (Moving::prepare(old.clone(), new.clone()), Moving::prepare(new.clone(), old.clone()));
    old.create(&key(1), ONE, anns("stayed"), None, NOW).await.unwrap();
    moving.create(&key(2), ONE, anns("began there"), None, NOW).await.unwrap();
    for number in [3, 4] {
        old.create(&key(number), ONE, anns("moved"), None, NOW).await.unwrap();
    }
    moving.replace(&key(3), ONE, ONE, anns("moved"), NOW).await.unwrap();
    new.fail(Verb::Rename, 1, Fault::NotDone);
    moving.replace(&key(4), ONE, ONE, anns("killed"), NOW).await.unwrap_err();
    new.heal();
    for number in 1..=4 {
        for (server, beside) in [(&other, &one), (&one, &other)] {
            let id = key(number);
            assert!(lives(server, &id, NOW).await, "{number}");
            let Load::Found(record, at) = beside.load(&id, NOW).await.unwrap() else { panic!("{number}") };
            assert_eq!(server.replace(&id, at, TWO, record, NOW).await.unwrap(), Replace::Replaced(TWO));
        }
    }
    for (number, server, beside) in [(1, &other, &one), (2, &one, &other), (3, &other, &one), (4, &one, &other)] {
        server.delete(&key(number), None, ended(1), NOW).await.unwrap();
        for at in [NOW, NOW.after(GONE_FOR + Duration::from_secs(1))] {
            assert!(!lives(beside, &key(number), at).await && !lives(server, &key(number), at).await, "{number}");
        }
    }
}

#[tokio::test]
async fn one_cookie_makes_one_session_on_the_way_back() {
    let (old, new) = (Faulty::default(), Faulty::default());
    let prepared = Moving::prepare(new.clone(), old.clone());
    let back = Moving::start(new.clone(), old.clone());
    let guarded = Record { guarded_until: Some(hours(1)), ..anns("from a cookie") };
    // Two requests of one page: the one is slow where it writes.
    for nth in [1, 2] {
        new.fail(Verb::Create, nth, Fault::Slow(Duration::from_millis(30)));
    }
    let id = key(1);
    let (one, two) =
        tokio::join!(prepared.create(&id, ONE, guarded.clone(), None, NOW), back.create(&id, TWO, guarded, None, NOW));
    let created = [one.unwrap(), two.unwrap()];
    back.delete(&key(1), None, ended(1), NOW).await.unwrap();
    let stands = [lives(&old, &key(1), NOW).await, lives(&new, &key(1), NOW).await];
    assert_eq!(stands, [false; 2], "{created:?}: after the log-out one of two sessions under one id lives");
}

// Copies on their way.

/// One answer of the new store is lost while ann's session moves; the write is done again, and confirmed.
async fn moved_with_a_lost_answer(visitor: &mut Visitor, moving: &SessionManager, new: &Faulty) {
    new.fail(Verb::Create, 1, Fault::Lost);
    visit(visitor, moving, |session| session.insert("n", 1u32)).await;
    new.heal();
}

/// The same, and the copy stays: to remove it fails, too.
async fn moved_and_left_a_copy(visitor: &mut Visitor, moving: &SessionManager, new: &Faulty) {
    new.fail(Verb::Create, 1, Fault::Lost);
    new.fail(Verb::Delete, 1, Fault::NotDone);
    visit(visitor, moving, |session| session.insert("n", 1u32)).await;
    new.heal();
}

#[tokio::test]
async fn a_lost_answer_lists_no_session_twice() {
    let (old, new) = (Faulty::default(), Faulty::default());
    let mut visitor = log_in(&manager(old.clone()), "ann").await;
    let moving = manager(Moving::start(old, new.clone()));
    moved_and_left_a_copy(&mut visitor, &moving, &new).await;
    assert_eq!(new.list(Some("ann"), None, 10, Timestamp::from(SystemTime::now())).await.unwrap().len(), 2);
    assert_eq!(moving.sessions_of("ann").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_lost_answer_counts_no_session_twice_for_the_cap() {
    let (old, new) = (Faulty::default(), Faulty::default());
    let mut visitor = log_in(&manager(old.clone()), "ann").await;
    let moving = builder(Moving::start(old, new.clone())).max_sessions_per_user(2, AtMax::RefuseLogIn).build().unwrap();
    moved_with_a_lost_answer(&mut visitor, &moving, &new).await;
    let second = Visitor::prepared(&moving, |session| session.set_principal("ann")).await;
    assert!(second.is_ok(), "she has one session, two are allowed: {:?}", second.err());
}

#[tokio::test]
async fn a_change_from_outside_never_goes_to_a_copy_that_nobody_has() {
    for _ in 0..24 {
        let (old, new) = (Faulty::default(), Faulty::default());
        let before = manager(old.clone());
        let mut visitor = log_in(&before, "ann").await;
        let handle = Request::begin(&visitor, &before).await.session.handle().unwrap();
        visit(&mut visitor, &before, |session| session.set_principal("ann")).await;
        let moving = manager(Moving::start(old, new.clone()));
        moved_and_left_a_copy(&mut visitor, &moving, &new).await;
        if moving.edit(&handle, |session| session.insert("job", "done")).await.unwrap() {
            let session = Request::begin(&visitor, &moving).await.session;
            assert_eq!(session.get::<String>("job").as_deref(), Some("done"), "a confirmed edit is lost");
        }
    }
}

#[tokio::test]
async fn what_waits_for_the_end_does_not_follow_a_copy_that_nobody_has() {
    for _ in 0..24 {
        let (old, new) = (Faulty::default(), Faulty::default());
        let clock = Clock::at(BEGIN);
        let make = |builder: SessionManagerBuilder| {
            let lifetime = Lifetime::browser().idle(Duration::from_secs(3600));
            builder.clock(clock.clone()).lifetime(lifetime).build().unwrap()
        };
        let before = make(builder(old.clone()));
        let moving = make(builder(Moving::start(old.clone(), new.clone())));
        let mut visitor = log_in(&before, "ann").await;
        let opened = Request::begin(&visitor, &moving).await.session;
        visit(&mut visitor, &before, |session| session.set_principal("ann")).await;
        moved_and_left_a_copy(&mut visitor, &moving, &new).await;
        let first = new.list(Some("ann"), None, 1, BEGIN).await.unwrap().remove(0).0;
        let mut waits = opened.ended();
        after_ms(100).await;
        clock.advance(Duration::from_secs(1800));
        visit(&mut visitor, &moving, |session| session.insert("n", 2u32)).await;
        clock.advance(Duration::from_secs(1900));
        assert_eq!(principal_at(&visitor, &moving).await.as_deref(), Some("ann"));
        // Only where the copy stands first.
        if !lives(&new, &first, BEGIN.after(Duration::from_secs(3700))).await {
            let waited = tokio::time::timeout(Duration::from_secs(11), &mut waits).await;
            assert!(waited.is_err(), "it counts as ended, and lives");
            return;
        }
    }
    panic!("the copy never stands first");
}

#[tokio::test]
async fn a_page_is_full_though_copies_stand_in_between() {
    let (old, new) = (MemoryStore::new(), Faulty::default());
    let moving = Moving::start(old.clone(), new.clone());
    for number in 0..20 {
        old.create(&key(number), ONE, anns("x"), None, NOW).await.unwrap();
        new.fail(Verb::Create, 1, Fault::Lost);
        new.fail(Verb::Delete, 1, Fault::NotDone);
        moving.replace(&key(number), ONE, TWO, anns("y"), NOW).await.unwrap_err();
        new.heal();
        moving.replace(&key(number), ONE, TWO, anns("y"), NOW).await.unwrap();
    }
    assert_eq!(new.count(NOW).await.unwrap(), 40, "this test needs copies");
    let (mut after, mut found) = (None, 0);
    loop {
        let page = moving.list(Some("ann"), after.as_ref(), 3, NOW).await.unwrap();
        found += page.len();
        if page.len() < 3 {
            break;
        }
        after = page.last().map(|(key, ..)| key.clone());
    }
    assert_eq!(found, 20);
}

#[tokio::test]
async fn a_listing_misses_no_session_that_moves_meanwhile() {
    let directory = Directory::new();
    let (old, new) = (MemoryStore::new(), SqliteStore::open(directory.file()).unwrap());
    old.create(&key(1), ONE, anns("x"), None, NOW).await.unwrap();
    let moving = Moving::start(old.clone(), new.clone());
    let mut listing = Box::pin(moving.list(Some("ann"), None, 10, NOW));
    assert!(poll!(&mut listing).is_pending());
    // Time for the one store that is asked first.
    after_ms(200).await;
    Moving::start(old, new).replace(&key(1), ONE, TWO, anns("y"), NOW).await.unwrap();
    assert_eq!(listing.await.unwrap().len(), 1, "a session that lives all the time is in no page");
}

// Whoever is stopped in the middle.

/// A future that is dropped after so many polls; whether it had ended.
async fn dropped_after<T>(polls: usize, future: impl Future<Output = T>) -> bool {
    let mut future = Box::pin(future);
    for _ in 0..polls {
        if poll!(&mut future).is_ready() {
            return true;
        }
        after_ms(3).await;
    }
    false
}

#[tokio::test]
async fn a_write_that_is_dropped_anywhere_loses_and_brings_back_nothing() {
    for polls in 1..20 {
        let (old, new) = (Faulty::default(), Faulty::default());
        old.create(&key(1), ONE, anns("before"), None, NOW).await.unwrap();
        let moving = Moving::start(old.clone(), new.clone());
        for store in [&old, &new] {
            store.always(None, Fault::Slow(Duration::from_millis(2)));
        }
        let done = dropped_after(polls, moving.replace(&key(1), ONE, TWO, anns("after"), NOW)).await;
        old.heal();
        new.heal();
        let prepared = Moving::prepare(old.clone(), new.clone());
        let Load::Found(found, _) = prepared.load(&key(1), NOW).await.unwrap() else { panic!("{polls}: lost") };
        assert!(!done || &*found.data == b"after");
        prepared.revoke("ann", Revoke::All, ended(1), NOW).await.unwrap();
        for at in [NOW, later(200), later(3000)] {
            assert!(!lives(&moving, &key(1), at).await && !lives(&prepared, &key(1), at).await, "{polls}");
        }
    }
}

#[tokio::test]
async fn a_log_out_that_is_dropped_and_done_again_holds() {
    for polls in 1..12 {
        for in_new in [false, true] {
            let (old, new) = (Faulty::default(), Faulty::default());
            let moving = Moving::start(old.clone(), new.clone());
            old.create(&key(1), ONE, anns("x"), None, NOW).await.unwrap();
            if in_new {
                moving.replace(&key(1), ONE, TWO, anns("y"), NOW).await.unwrap();
            }
            for store in [&old, &new] {
                store.always(None, Fault::Slow(Duration::from_millis(2)));
            }
            dropped_after(polls, moving.delete(&key(1), None, ended(1), NOW)).await;
            old.heal();
            new.heal();
            moving.delete(&key(1), None, ended(2), NOW).await.unwrap();
            let prepared = Moving::prepare(old.clone(), new.clone());
            for at in [NOW, later(119), later(121), later(3000)] {
                assert!(!lives(&moving, &key(1), at).await && !lives(&prepared, &key(1), at).await, "{polls} {at}");
            }
        }
    }
}

#[tokio::test]
async fn nothing_creates_what_is_not_there() {
    let (old, new) = (MemoryStore::new(), MemoryStore::new());
    for moving in [Moving::prepare(old.clone(), new.clone()), Moving::start(old.clone(), new.clone())] {
        assert_eq!(moving.touch(&key(1), ONE, hours(2), NOW).await.unwrap(), Touch::Gone(None));
        assert_eq!(moving.replace(&key(1), ONE, TWO, anns("x"), NOW).await.unwrap(), Replace::Gone(None));
        let renamed = moving.rename(&key(1), None, &key(2), TWO, anns("x"), ended(1), None, NOW).await.unwrap();
        assert_eq!(renamed, Rename::Gone(None));
        assert_eq!((old.count(NOW).await.unwrap(), new.count(NOW).await.unwrap()), (0, 0));
    }
}
