//! From one store of ours to another, while the site runs.

use std::time::Duration;

use crate::support::{
    endings::{self, Servers},
    faulty::{Fault, Faulty},
    http::secret,
    moves::SideBySide,
    races,
    site::{Request, after_ms, visit},
    stores::{Directory, NOW, key, record},
};
use dewar::{
    SessionManager,
    store::{
        Create, Delete, Load, Revoke, SessionAdmin, SessionStore, Timestamp, Tombstone, Version, Why, conformance,
        memory::MemoryStore, moving::Moving, sqlite::SqliteStore,
    },
    testing::Visitor,
};
use tokio::task::JoinSet;

type Both = Moving<MemoryStore, MemoryStore>;

fn stores() -> (MemoryStore, MemoryStore) {
    (MemoryStore::new(), MemoryStore::new())
}

fn manager(store: impl SessionAdmin) -> SessionManager {
    SessionManager::builder(secret()).unwrap().store(store).build().unwrap()
}

async fn log_in(manager: &SessionManager, user: &str) -> Visitor {
    Visitor::prepared(manager, |session| {
        session.insert("n", 0u32);
        session.set_principal(user);
    })
    .await
    .unwrap()
}

/// The same visitor at another server, which has the same secret.
async fn session_at(visitor: &Visitor, manager: &SessionManager) -> dewar::Session {
    Request::begin(visitor, manager).await.session
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stores_are_a_store_before_and_while_sessions_move() {
    let (old, new) = stores();
    conformance::check(|| async { Moving::prepare(old.clone(), new.clone()) }).await;
    let (old, new) = stores();
    conformance::check(|| async { Moving::start(old.clone(), new.clone()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_race_where_sessions_move() {
    let (old, new) = stores();
    races::all(async || Moving::start(old.clone(), new.clone())).await;
    races::all(async || Moving::prepare(old.clone(), new.clone())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_histories_of_racing_clients_equal_the_model() {
    let (old, new) = stores();
    crate::support::histories::run(Moving::start(old, new), 2_000, &[1], false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn histories_on_servers_side_by_side_equal_the_model_though_the_stores_count_apart() {
    crate::support::histories::run(SideBySide::new(), 2_000, &[1], false).await;
    crate::support::histories::run_losing(SideBySide::new(), 500).await;
}

#[tokio::test]
async fn a_session_moves_with_its_next_write_and_a_reader_with_its_next_touch() {
    let (old, new) = stores();
    let before = manager(old.clone());
    let (mut writes, reads) = (log_in(&before, "ann").await, log_in(&before, "bob").await);
    let moving = manager(Moving::start(old.clone(), new.clone()));
    visit(&mut writes, &moving, |session| session.insert("n", 1u32)).await;
    let now = Timestamp::from(std::time::SystemTime::now());
    assert_eq!((old.count(now).await.unwrap(), new.count(now).await.unwrap()), (1, 1));

    let listed = old.list(Some("bob"), None, 1, now).await.unwrap();
    let (key, _, at) = &listed[0];
    let later = now.after(Duration::from_secs(86_400));
    Moving::start(old.clone(), new.clone()).touch(key, *at, later, now).await.unwrap();
    assert_eq!((old.count(now).await.unwrap(), new.count(now).await.unwrap()), (0, 2));

    let after = manager(new);
    assert_eq!(session_at(&writes, &after).await.get::<u32>("n"), Some(1));
    assert_eq!(session_at(&reads, &after).await.principal().as_deref(), Some("bob"));
}

#[tokio::test]
async fn servers_before_and_after_share_every_session() {
    let (old, new) = stores();
    let prepared = manager(Moving::prepare(old.clone(), new.clone()));
    let moving = manager(Moving::start(old.clone(), new.clone()));
    let mut visitor = log_in(&prepared, "ann").await;
    for number in 1..=20u32 {
        let at = if number % 2 == 0 { &prepared } else { &moving };
        visit(&mut visitor, at, |session| {
            session.update("n", |n: &mut u32| *n += 1).unwrap();
        })
        .await;
        assert_eq!(session_at(&visitor, &prepared).await.get::<u32>("n"), Some(number));
    }
    let late = visitor.clone();
    visit(&mut visitor, &prepared, dewar::Session::clear).await;
    for server in [&prepared, &moving] {
        assert_eq!(session_at(&late, server).await.principal(), None);
    }
}

#[tokio::test]
async fn taken_back_nobody_is_logged_out() {
    let (old, new) = stores();
    let mut visitors = Vec::new();
    let prepared = manager(Moving::prepare(old.clone(), new.clone()));
    let moving = manager(Moving::start(old.clone(), new.clone()));
    for number in 0..10u32 {
        let mut visitor = log_in(&prepared, "ann").await;
        if number % 2 == 0 {
            visit(&mut visitor, &moving, |session| session.insert("n", number)).await;
        }
        visitors.push(visitor);
    }
    visitors.push(log_in(&moving, "ann").await);
    // Back to the one before, and then to the old store alone, where those that moved arrive once their id is renewed.
    let back = manager(Moving::start(new.clone(), old.clone()));
    for visitor in &mut visitors {
        assert_eq!(session_at(visitor, &prepared).await.principal().as_deref(), Some("ann"));
        visit(visitor, &back, |session| session.insert("back", true)).await;
        assert_eq!(session_at(visitor, &prepared).await.get("back"), Some(true));
        visit(visitor, &back, dewar::Session::renew).await;
        visit(visitor, &back, |session| session.insert("again", true)).await;
    }
    let alone = manager(old);
    for visitor in &visitors {
        assert_eq!(session_at(visitor, &alone).await.get("back"), Some(true));
    }
}

/// On a real file, with readers and writers at work on servers of both kinds.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_visits_move_under_load_and_none_loses_anything() {
    let directory = Directory::new();
    let old = SqliteStore::open(directory.file()).unwrap();
    crate::support::moves::a_thousand_visits(old.clone(), MemoryStore::new()).await;
    old.close().await;
}

#[tokio::test]
async fn whoever_is_killed_in_the_middle_loses_and_brings_back_nothing() {
    // The answers of the new store and of the old one, lost one after another: the process is gone there.
    for (store, nth) in [("new", 1), ("new", 2), ("new", 3), ("new", 4), ("new", 5), ("old", 1), ("old", 2), ("old", 3)]
    {
        for fault in [Fault::Lost, Fault::NotDone] {
            let (old, new) = (Faulty::default(), Faulty::default());
            let (from, at) = (key(1), Version::from_bits(1));
            let mut anns = record(b"before");
            (anns.principal, anns.lineage) = (Some("ann".into()), 7);
            old.create(&from, at, anns.clone(), None, NOW).await.unwrap();
            let moving = Moving::start(old.clone(), new.clone());
            let failing = if store == "new" { &new } else { &old };
            failing.fail(None, nth, fault);
            let written = dewar::store::Record { data: "after".into(), ..anns };
            let done = moving.replace(&from, at, Version::from_bits(2), written, NOW).await;
            failing.heal();
            for looks in [Moving::start(old.clone(), new.clone()), Moving::prepare(old.clone(), new.clone())] {
                let Load::Found(found, version) = looks.load(&from, NOW).await.unwrap() else {
                    panic!("{store} {nth} {fault:?}: lost")
                };
                let is_done = version == Version::from_bits(2);
                assert_eq!(&*found.data, if is_done { &b"after"[..] } else { b"before" });
                assert!(done.is_err() || is_done, "{store} {nth} {fault:?}: {done:?}, and it was not done");
            }
            let ended = Tombstone::new(Why::Ended, 9, NOW);
            let ends = Moving::prepare(old.clone(), new.clone());
            assert_eq!(ends.delete(&from, None, ended.clone(), NOW).await.unwrap(), Delete::Deleted);
            for looks in [Moving::start(old.clone(), new.clone()), Moving::prepare(old.clone(), new.clone())] {
                assert!(matches!(looks.load(&from, NOW).await.unwrap(), Load::Gone(_)), "{store} {nth} {fault:?}");
            }
            ends.revoke("ann", Revoke::All, ended, NOW).await.unwrap();
            assert_eq!(ends.list(Some("ann"), None, 10, NOW).await.unwrap().len(), 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_session_moves_out_of_reach_of_a_revocation() {
    let (old, new) = stores();
    for round in 0..200u64 {
        let user = format!("user-{round}");
        let mut keys = Vec::new();
        for number in 0..8 {
            let key = key(round * 100 + number);
            let mut theirs = record(b"x");
            (theirs.principal, theirs.lineage) = (Some(user.as_str().into()), number + 1);
            if number >= 4 {
                (theirs.principal, theirs.lineage) = (None, 0);
            }
            old.create(&key, Version::from_bits(1), theirs.clone(), None, NOW).await.unwrap();
            keys.push((key, theirs));
        }
        let mut tasks = JoinSet::new();
        for (key, theirs) in keys.clone() {
            let moving: Both = Moving::start(old.clone(), new.clone());
            tasks.spawn(async move {
                moving.replace(&key, Version::from_bits(1), Version::from_bits(2), theirs, NOW).await.unwrap();
            });
        }
        let revoking: Both = Moving::start(old.clone(), new.clone());
        let tombstone = Tombstone::new(Why::Ended, round + 1, NOW);
        let ends_everyone = round % 2 == 0;
        match round % 4 {
            0 | 2 => revoking.revoke_everyone(tombstone, NOW).await.unwrap(),
            1 => revoking.revoke(&user, Revoke::All, tombstone, NOW).await.unwrap(),
            _ => {
                let mut ended = 0;
                for lineage in 1..=4 {
                    ended += revoking.revoke(&user, Revoke::Lineage(lineage), tombstone.clone(), NOW).await.unwrap();
                }
                ended
            }
        };
        tasks.join_all().await;
        for (number, (key, _)) in keys.iter().enumerate() {
            let lives = matches!(revoking.load(key, NOW).await.unwrap(), Load::Found(..));
            assert!(!lives || (number >= 4 && !ends_everyone), "round {round}: session {number} lives");
        }
    }
}

#[tokio::test]
async fn a_log_in_after_a_revocation_moves_and_lives() {
    let (old, new) = stores();
    let moving: Both = Moving::start(old.clone(), new.clone());
    let prepared: Both = Moving::prepare(old.clone(), new.clone());
    for number in 0..5 {
        // Raised several times in one millisecond, in one store more often than in the other.
        new.revoke("ann", Revoke::All, Tombstone::new(Why::Ended, 1, NOW), NOW).await.unwrap();
        prepared.revoke("ann", Revoke::All, Tombstone::new(Why::Ended, 2, NOW), NOW).await.unwrap();
        let mut anns = record(b"x");
        (anns.principal, anns.lineage) = (Some("ann".into()), 7);
        let key = key(number);
        let created = prepared.create(&key, Version::from_bits(1), anns.clone(), None, NOW).await.unwrap();
        let Create::Created(written) = created else { panic!("{created:?}") };
        anns.epoch = Some(written.epoch);
        moving.replace(&key, Version::from_bits(1), Version::from_bits(2), anns, NOW).await.unwrap();
        assert!(matches!(new.load(&key, NOW).await.unwrap(), Load::Found(..)), "it did not move");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_the_end_of_a_session_is_not_told_of_its_move() {
    let (old, new) = stores();
    let (prepared, moving) =
        (manager(Moving::prepare(old.clone(), new.clone())), Moving::start(old.clone(), new.clone()));
    let mut visitor = log_in(&prepared, "ann").await;
    let mut ended = session_at(&visitor, &prepared).await.ended();
    visit(&mut visitor, &manager(moving.clone()), |session| session.insert("n", 5u32)).await;
    after_ms(100).await;
    assert!(futures_util::poll!(&mut ended).is_pending());
    endings::all(Servers::on(Moving::prepare(old, new), moving), "moving").await;
}

#[tokio::test]
async fn a_store_that_is_down_is_an_error_of_both() {
    let (old, new) = (Faulty::default(), Faulty::default());
    let moving = Moving::start(old.clone(), new.clone());
    moving.ping(NOW).await.unwrap();
    for down in [&old, &new] {
        down.always(None, Fault::NotDone);
        assert!(moving.ping(NOW).await.is_err());
        assert!(moving.load(&key(1), NOW).await.is_err());
        down.heal();
    }
}
