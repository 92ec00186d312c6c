//! The index of principals in Redis: how long it lives, and what becomes of a session that it lost.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{
    http::secret,
    redis::{client, open, order, ttl},
    redis_server::Server,
    stores::{NOW, create, ended, key, later, of, record, version},
};
use dewar::{
    Clock, SessionLayer,
    runtime::{Runtime, Task, Tokio},
    store::{
        Create, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, Timestamp, Tombstone, Touch, Why,
        redis::RedisStore,
    },
    testing::Visitor,
};
use redis::AsyncTypedCommands;
use tokio::time::sleep;

const ANNS: &str = "dewar-sessions:ann";

async fn is_listed(store: &RedisStore, number: u64) -> bool {
    store.list(Some("ann"), None, 99, NOW).await.unwrap().iter().any(|(listed, ..)| *listed == key(number))
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn an_index_lives_as_long_as_the_longest_session_in_it() {
    let server = Server::start(&[]);
    let (store, mut client) = (open(&server), client(&server).await);
    let lives = |seconds| Record { idle_expires: later(seconds), ..of("ann", seconds) };
    create(&store, 1, &lives(600)).await;
    let first = ttl(&mut client, ANNS).await;
    assert!((600..=600 + 3600).contains(&first), "{first}");
    create(&store, 2, &lives(90_000)).await;
    assert!(ttl(&mut client, ANNS).await >= 90_000);
    create(&store, 3, &lives(60)).await;
    assert!(ttl(&mut client, ANNS).await >= 89_999, "a shorter one takes nothing from a longer one");

    store.touch(&key(1), version(1), later(200_000), NOW).await.unwrap();
    assert!(ttl(&mut client, ANNS).await >= 200_000, "a touch");
    store.replace(&key(2), version(2), version(9), lives(300_000), NOW).await.unwrap();
    assert!(ttl(&mut client, ANNS).await >= 300_000, "a replace");
    let renamed = Record { epoch: Some(0), ..lives(400_000) };
    store.rename(&key(3), None, &key(4), version(4), renamed, ended(1), None, NOW).await.unwrap();
    assert!(ttl(&mut client, ANNS).await >= 400_000, "a rename");

    // For ever, as far as Redis counts.
    create(&store, 5, &Record { idle_expires: Timestamp::from_millis(u64::MAX), ..of("ann", 5) }).await;
    assert!(ttl(&mut client, ANNS).await > 99 * 365 * 86_400);

    // One without an end may list what lives longer than what is written now.
    order(&mut client, "PERSIST dewar-sessions:ann").await;
    create(&store, 6, &lives(60)).await;
    assert_eq!(ttl(&mut client, ANNS).await, -1);
    // Where it lists nothing else, it has one from then on.
    order(&mut client, "DEL dewar-sessions:ann").await;
    create(&store, 7, &lives(60)).await;
    assert!(ttl(&mut client, ANNS).await > 0);
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn an_index_goes_when_its_sessions_have_gone_and_its_epoch_stays() {
    let server = Server::start(&[]);
    let (store, mut client) = (open(&server), client(&server).await);
    create(&store, 1, &of("ann", 1)).await;
    store.revoke("ann", Revoke::All, ended(1), NOW).await.unwrap();
    let raised = store.epoch(Some("ann")).await.unwrap();
    store.revoke_everyone(ended(1), NOW).await.unwrap();
    let everyones = store.epoch(None).await.unwrap();
    create(&store, 2, &of("ann", 2)).await;
    order(&mut client, "PEXPIRE dewar-sessions:ann 1").await;
    sleep(Duration::from_millis(50)).await;
    assert!(!client.exists(ANNS).await.unwrap());

    assert_eq!(ttl(&mut client, "dewar-epochs").await, -1);
    assert_eq!(store.epoch(Some("ann")).await.unwrap(), everyones);
    for epoch in [0, raised] {
        let old = Record { epoch: Some(epoch), ..of("ann", 3) };
        assert_eq!(store.create(&key(3), version(3), old, None, NOW).await.unwrap(), Create::Outdated);
    }
    store.revoke("ann", Revoke::All, ended(1), NOW).await.unwrap();
    assert!(store.epoch(Some("ann")).await.unwrap() > everyones, "it never counts from lower again");
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn an_index_that_was_lost_is_written_again_by_whoever_writes() {
    let server = Server::start(&[]);
    let (store, mut client) = (open(&server), client(&server).await);
    let began = store.revoke("ann", Revoke::AllBut { lineage: 1, epoch: u64::MAX }, ended(1), NOW).await;
    assert_eq!(began.unwrap(), 0);
    // The one that passes has an older epoch, and is no exception.
    for (number, epoch) in [(1, Some(0)), (2, None), (3, None)] {
        create(&store, number, &Record { epoch, ..of("ann", number) }).await;
    }
    client.del(ANNS).await.unwrap();
    assert_eq!(store.touch(&key(1), version(1), later(9_000), NOW).await.unwrap(), Touch::Touched);
    assert!(is_listed(&store, 1).await && !is_listed(&store, 2).await);
    assert!(ttl(&mut client, ANNS).await >= 8_999);

    let record = Record { epoch: Some(NOW.as_millis()), ..of("ann", 2) };
    let replaced = store.replace(&key(2), version(2), version(12), record, NOW).await.unwrap();
    assert_eq!(replaced, Replace::Replaced(version(12)));
    let record = Record { epoch: Some(NOW.as_millis()), ..of("ann", 3) };
    let renamed = store.rename(&key(3), None, &key(4), version(4), record, ended(1), None, NOW).await.unwrap();
    assert!(matches!(renamed, Rename::Renamed(_)));
    assert_eq!(store.list(Some("ann"), None, 99, NOW).await.unwrap().len(), 3);
    assert_eq!(store.revoke("ann", Revoke::All, ended(1), NOW).await.unwrap(), 3);
}

/// What is done to a session that no index lists.
async fn meet(store: &RedisStore, what: &str, record: &Record) -> Option<Tombstone> {
    let record = Record { epoch: Some(0), ..record.clone() };
    match what {
        "touch" => match store.touch(&key(1), version(1), later(60), NOW).await.unwrap() {
            Touch::Gone(tombstone) => tombstone,
            other => panic!("{other:?}"),
        },
        "replace" => match store.replace(&key(1), version(1), version(2), record, NOW).await.unwrap() {
            Replace::Gone(tombstone) => tombstone,
            other => panic!("{other:?}"),
        },
        _ => match store.rename(&key(1), None, &key(2), version(2), record, ended(1), None, NOW).await.unwrap() {
            Rename::Gone(tombstone) => tombstone,
            other => panic!("{other:?}"),
        },
    }
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn what_was_revoked_while_its_index_was_lost_is_not_listed_again_and_ends() {
    let server = Server::start(&[]);
    let (store, mut client) = (open(&server), client(&server).await);
    for which in [Revoke::All, Revoke::AllBut { lineage: 9, epoch: u64::MAX }, Revoke::Lineage(7)] {
        for what in ["touch", "replace", "rename"] {
            client.flushdb().await.unwrap();
            let anns = Record { guarded_until: Some(later(5_000)), ..of("ann", 7) };
            create(&store, 1, &anns).await;
            client.del(ANNS).await.unwrap();
            assert_eq!(store.revoke("ann", which, ended(1), NOW).await.unwrap(), 0);
            // Another session of hers makes an index anew.
            create(&store, 5, &of("ann", 5)).await;

            let tombstone = meet(&store, what, &anns).await.unwrap();
            assert_eq!((&tombstone.why, tombstone.until), (&Why::Ended, later(5_000)), "{which:?}, {what}");
            assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Gone(tombstone));
            assert_eq!(store.load(&key(2), NOW).await.unwrap(), Load::Missing);
            assert!(is_listed(&store, 5).await && !is_listed(&store, 1).await);
        }
    }
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn the_end_of_everybody_needs_no_index() {
    let server = Server::start(&[]);
    let (store, mut client) = (open(&server), client(&server).await);
    create(&store, 1, &of("ann", 1)).await;
    create(&store, 2, &record(b"nobody's")).await;
    client.del(ANNS).await.unwrap();
    assert_eq!(store.revoke_everyone(ended(1), NOW).await.unwrap(), 2);
    assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Gone(ended(1)));
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn the_lineage_that_is_another_users_is_not_marked() {
    let server = Server::start(&[]);
    let (store, mut client) = (open(&server), client(&server).await);
    create(&store, 1, &of("ann", 7)).await;
    client.del(ANNS).await.unwrap();
    assert_eq!(store.revoke("bob", Revoke::Lineage(7), ended(1), NOW).await.unwrap(), 0);
    assert_eq!(store.touch(&key(1), version(1), later(60), NOW).await.unwrap(), Touch::Touched);
    assert!(is_listed(&store, 1).await);
}

/// Pauses that are over at once.
#[derive(Clone)]
struct Hasty;

impl Runtime for Hasty {
    fn spawn(&self, task: Task) {
        Tokio.spawn(task);
    }

    fn sleep(&self, _: Duration) -> Task {
        Tokio.sleep(Duration::from_millis(20))
    }
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn what_an_index_names_in_vain_is_taken_out_once_a_day_without_anybody_asking() {
    let server = Server::start(&[]);
    let (store, mut client) = (open(&server), client(&server).await);
    let clock = Clock::at(NOW);
    let manager = SessionLayer::new(secret()).unwrap().clock(clock).runtime(Hasty).store(open(&server)).manager();
    let manager = manager.unwrap();
    let day = async |first: u64, is_another: bool, left: usize| {
        let mut client = self::client(&server).await;
        for number in first..first + 20 {
            create(&store, number, &of("ann", number)).await;
        }
        for number in first + 1..first + 20 {
            client.del(key(number).to_string()).await.unwrap();
        }
        if is_another {
            client.del("dewar-purged").await.unwrap();
        }
        Visitor::new(&manager).session().await.unwrap();
        for _ in 0..500 {
            if client.hlen(ANNS).await.unwrap() == left {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        // Nothing more is taken out.
        sleep(Duration::from_millis(200)).await;
        assert_eq!(client.hlen(ANNS).await.unwrap(), left);
    };
    day(0, true, 1).await;
    // Once a day is plenty, whoever of those that share the server it is.
    day(100, false, 21).await;
    assert!((86_300..=86_400).contains(&ttl(&mut client, "dewar-purged").await));
    day(200, true, 3).await;
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn what_the_server_drops_by_itself_is_not_told_as_sessions_that_were_purged() {
    let server = Server::start(&[]);
    let (clock, told) = (Clock::at(NOW), Arc::new(Mutex::new(Vec::new())));
    let tells = Arc::clone(&told);
    let layer = SessionLayer::new(secret()).unwrap().clock(clock.clone()).store(open(&server));
    let manager = layer.on_event(move |event| tells.lock().unwrap().push(format!("{event:?}"))).manager().unwrap();
    for _ in 0..3 {
        Visitor::prepared(&manager, |session| session.set_principal("ann")).await.unwrap();
    }
    clock.advance(Duration::from_secs(40 * 86_400));
    assert_eq!(manager.purge().await.unwrap(), 0);
    assert_eq!(client(&server).await.hlen(ANNS).await.unwrap(), 0, "it did its work");
    let told = told.lock().unwrap();
    assert!(!told.is_empty() && !told.iter().any(|event| event.contains("Ended")), "{told:?}");
}
