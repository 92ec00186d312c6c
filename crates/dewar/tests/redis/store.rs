//! The Redis store keeps the promises of a store, beside another framework and through faults.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::support::{
    redis::{client, ttl},
    redis_server::Server,
    stores::{NOW, create, ended, key, later, of, record, version},
};
use bytes::Bytes;
use dewar::layout::{Shape, Stored};
use dewar::store::{
    self, Applied, Create, Delete, Found, Guard, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore,
    StoreKey, Timestamp, Tombstone, Touch, Version, Why, Write, Written, conformance, redis::RedisStore, redis1,
};
use redis::{AsyncTypedCommands, aio::MultiplexedConnection};
use tokio::task::JoinSet;

async fn indexed(client: &mut MultiplexedConnection, principal: &str) -> usize {
    client.hlen(format!("dewar-sessions:{principal}")).await.unwrap()
}

async fn lives(store: &RedisStore, number: u64) -> bool {
    matches!(store.load(&key(number), NOW).await.unwrap(), Load::Found(..))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn redis_keeps_every_promise_of_a_store() {
    let server = Server::start(&[]);
    conformance::check(|| async { RedisStore::open(&server.url()).unwrap() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn redis_keeps_them_through_a_connection_of_the_applications_own() {
    let server = Server::start(&[]);
    let client = redis::Client::open(format!("{}?protocol=resp3", server.url())).unwrap();
    let manager = client.get_connection_manager().await.unwrap();
    conformance::check(|| async { redis1::store(manager.clone()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_store_opened_by_its_url_keeps_them() {
    let server = Server::start(&["--requirepass", "s3cret"]);
    let url = server.url().replace("redis://", "redis://:s3cret@");
    conformance::check_sessions(|| async { store::open(&url).unwrap() }).await;
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn the_server_lets_records_and_tombstones_go_by_itself() {
    let server = Server::start(&[]);
    let store = RedisStore::open(&server.url()).unwrap();
    let mut client = client(&server).await;

    let absolute = Record { absolute_expires: Some(later(600)), ..record(b"x") };
    create(&store, 1, &absolute).await;
    assert!((599..=600).contains(&ttl(&mut client, key(1)).await), "the earlier of the two expiries");
    assert_eq!(store.touch(&key(1), version(1), later(60), NOW).await.unwrap(), Touch::Touched);
    assert!((59..=60).contains(&ttl(&mut client, key(1)).await), "as it was touched");
    assert_eq!(store.touch(&key(1), version(1), later(9_000), NOW).await.unwrap(), Touch::Touched);
    assert!((599..=600).contains(&ttl(&mut client, key(1)).await), "the absolute expiry holds");
    store.delete(&key(1), None, ended(1), NOW).await.unwrap();
    assert!((119..=120).contains(&ttl(&mut client, key(1)).await), "the tombstone");

    let guarded = Record { guarded_until: Some(later(8_000)), ..record(b"x") };
    create(&store, 4, &guarded).await;
    assert!((7_999..=8_000).contains(&ttl(&mut client, key(4)).await), "the guard");
    assert_eq!(store.touch(&key(4), version(4), later(60), NOW).await.unwrap(), Touch::Touched);
    assert!((7_999..=8_000).contains(&ttl(&mut client, key(4)).await), "the guard after a touch");
    store.delete(&key(4), None, ended(1), NOW).await.unwrap();
    assert!((7_999..=8_000).contains(&ttl(&mut client, key(4)).await), "the guard of what was deleted");

    let forever = Record { idle_expires: Timestamp::from_millis(u64::MAX), ..record(b"x") };
    create(&store, 2, &forever).await;
    assert!(matches!(store.load(&key(2), NOW).await.unwrap(), Load::Found(found, _) if found == forever));

    let brief = Record { idle_expires: Timestamp::from_millis(NOW.as_millis() + 300), ..record(b"x") };
    create(&store, 3, &brief).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!client.exists(key(3).to_string()).await.unwrap());
    assert_eq!(store.count(NOW).await.unwrap(), 1);
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_record_of_another_framework_is_its_bytes_and_nothing_else() {
    let server = Server::start(&[]);
    let engine = RedisStore::open(&server.url()).unwrap().engine(Shape::Blob).unwrap();
    let mut client = client(&server).await;
    let write = |data: &'static str| {
        let (data, expires) = (Bytes::from_static(data.as_bytes()), NOW.after(Duration::from_secs(3600)));
        Write::Record { version: Version::digest(&data), data: Stored::Blob(data), expires }
    };

    // The other side writes, we read and change; the other side reads.
    client.set_ex("sess:a", r#"{"n":1}"#, 100).await.unwrap();
    let Found::Record { data: Stored::Blob(data), version: at, expires } = engine.load("sess:a", NOW).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(&*data, br#"{"n":1}"#);
    assert!((99..=100).contains(&expires.since(NOW).as_millis().div_ceil(1000)), "{expires:?}");
    let applied = engine.apply("sess:a", Guard::Is(at), write(r#"{"n":2}"#), NOW).await.unwrap();
    assert!(matches!(applied, Applied::Done));
    assert_eq!(client.get("sess:a").await.unwrap().as_deref(), Some(r#"{"n":2}"#));
    assert_eq!(redis::cmd("TTL").arg("sess:a").query_async::<i64>(&mut client).await.unwrap(), 3600);

    // It writes between our load and our replace: nothing of it is lost.
    let at = Version::digest(br#"{"n":2}"#);
    client.set_ex("sess:a", r#"{"n":3}"#, 100).await.unwrap();
    let late = engine.apply("sess:a", Guard::Is(at), write("late"), NOW).await.unwrap();
    assert!(matches!(late, Applied::Conflict));
    assert!(matches!(engine.end("sess:a", Guard::Is(at), ended(1), NOW).await.unwrap(), Applied::Conflict));
    assert_eq!(client.get("sess:a").await.unwrap().as_deref(), Some(r#"{"n":3}"#));

    // It deletes: our write comes to nothing.
    assert!(matches!(engine.apply("sess:b", Guard::Absent, write("{}"), NOW).await.unwrap(), Applied::Done));
    client.del("sess:b").await.unwrap();
    let applied = engine.apply("sess:b", Guard::Is(Version::digest(b"{}")), write("{}"), NOW).await.unwrap();
    assert!(matches!(applied, Applied::Gone(None)));
    assert!(!client.exists("sess:b").await.unwrap());

    // Without a TTL it never expires.
    client.set("sess:c", "{}").await.unwrap();
    let Found::Record { expires, .. } = engine.load("sess:c", NOW).await.unwrap() else { panic!() };
    assert_eq!(expires, Timestamp::from_millis(u64::MAX));
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn what_another_framework_writes_again_after_an_end_counts_as_ended_and_goes() {
    let server = Server::start(&[]);
    let engine = RedisStore::open(&server.url()).unwrap().engine(Shape::Blob).unwrap();
    let mut client = client(&server).await;
    for name in ["sess:a", "tagged{user}:a"] {
        client.set_ex(name, "1", 100).await.unwrap();
        assert!(matches!(engine.end(name, Guard::Any, ended(1), NOW).await.unwrap(), Applied::Done));
        assert!(!client.exists(name).await.unwrap());
        // A request of the framework's that had loaded it before ends now.
        client.set_ex(name, "2", 100).await.unwrap();
        let Found::Gone(tombstone) = engine.load(name, NOW).await.unwrap() else { panic!("{name}") };
        assert_eq!(tombstone, ended(1));
        assert!(!client.exists(name).await.unwrap(), "{name}: it goes when it is met");
        client.set_ex(name, "2", 100).await.unwrap();
        let write = Write::Record {
            version: Version::digest(b"3"),
            data: Stored::Blob(Bytes::from_static(b"3")),
            expires: later(60),
        };
        for guard in [Guard::Absent, Guard::Is(Version::digest(b"2"))] {
            let applied = engine.apply(name, guard, write.clone(), NOW).await.unwrap();
            assert!(matches!(applied, Applied::Gone(Some(_))), "{name}");
        }
        assert!(!client.exists(name).await.unwrap());
        // The tombstone is not among the framework's keys, and is over some day.
        assert!(client.keys("sess:*").await.unwrap().is_empty());
        assert!(matches!(engine.load(name, ended(1).until).await.unwrap(), Found::Missing));
    }
}

/// As phpredis has one: `SET <key>_LOCK <whose> NX PX <time>`.
#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn while_the_lock_of_another_framework_stands_nothing_is_written() {
    const HELD: Duration = Duration::from_millis(300);
    let server = Server::start(&[]);
    let deaf = RedisStore::open(&server.url()).unwrap().engine(Shape::Blob).unwrap();
    let engine = deaf.heeding("_LOCK").unwrap();
    let mut client = client(&server).await;
    let write = |data: &'static str| Write::Record {
        version: Version::digest(data.as_bytes()),
        data: Stored::Blob(Bytes::from_static(data.as_bytes())),
        expires: later(60),
    };
    let is = |data: &str| Guard::Is(Version::digest(data.as_bytes()));

    for (verb, name) in [("replace", "p:a"), ("create", "p:a"), ("rename", "p:a"), ("end", "p:e")] {
        client.set_ex(name, "1", 100).await.unwrap();
        client.del(&["p:b", "p:b_LOCK"]).await.unwrap();
        for lock in ["p:a_LOCK", "p:b_LOCK", "p:e_LOCK"] {
            client.pset_ex(lock, "somebody", HELD.as_millis() as u64).await.unwrap();
        }
        let began = Instant::now();
        // Nobody waits to read, nor for long to touch: whoever has the lock does that when it ends.
        assert!(matches!(engine.load(name, NOW).await.unwrap(), Found::Record { .. }), "{verb}");
        assert!(matches!(engine.apply(name, is("1"), Write::Touch(later(1000)), NOW).await.unwrap(), Applied::Done));
        assert!(began.elapsed() < HELD, "{verb}: {:?}", began.elapsed());
        assert!(ttl(&mut client, name).await <= 100, "{verb}");
        let applied = match verb {
            "replace" => engine.apply("p:a", is("1"), write("2"), NOW).await,
            "create" => engine.apply("p:b", Guard::Absent, write("2"), NOW).await,
            "rename" => engine.rename("p:a", is("1"), "p:c", write("2"), ended(1), NOW).await,
            _ => engine.end(name, is("1"), ended(2), NOW).await,
        };
        assert!(began.elapsed() >= HELD - Duration::from_millis(5), "{verb}: {:?}", began.elapsed());
        assert!(matches!(applied.unwrap(), Applied::Done), "{verb}");
    }

    // Without a lock that it is told of, nothing is waited for.
    client.set_ex("p:d", "1", 100).await.unwrap();
    client.set("p:d_LOCK", "somebody").await.unwrap();
    assert!(matches!(deaf.apply("p:d", is("1"), write("2"), NOW).await.unwrap(), Applied::Done));
    assert_eq!(client.get("p:d_LOCK").await.unwrap().as_deref(), Some("somebody"));
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn the_end_of_one_record_of_another_framework_is_not_that_of_another_whose_name_has_braces() {
    let server = Server::start(&[]);
    let engine = RedisStore::open(&server.url()).unwrap().engine(Shape::Blob).unwrap();
    let mut client = client(&server).await;
    client.set_ex("{sess:a}", "1", 100).await.unwrap();
    client.set_ex("sess:a", "2", 100).await.unwrap();
    assert!(matches!(engine.end("sess:a", Guard::Any, ended(1), NOW).await.unwrap(), Applied::Done));
    assert!(matches!(engine.load("{sess:a}", NOW).await.unwrap(), Found::Record { .. }));
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_record_of_another_framework_is_renamed_in_one_step() {
    let server = Server::start(&[]);
    let engine = RedisStore::open(&server.url()).unwrap().engine(Shape::Blob).unwrap();
    let mut client = client(&server).await;
    client.set_ex("sess:a", "1", 100).await.unwrap();
    client.set_ex("sess:taken", "1", 100).await.unwrap();
    let rename = async |from: &'static str, guard: Guard, to: &'static str| {
        let write = Write::Record {
            version: Version::digest(b"2"),
            data: Stored::Blob(Bytes::from_static(b"2")),
            expires: later(60),
        };
        engine.rename(from, guard, to, write, ended(1), NOW).await
    };

    assert!(matches!(rename("sess:a", Guard::Is(Version::digest(b"0")), "sess:b").await.unwrap(), Applied::Conflict));
    assert!(rename("sess:a", Guard::Any, "sess:taken").await.is_err());
    assert!(matches!(rename("sess:a", Guard::Is(Version::digest(b"1")), "sess:b").await.unwrap(), Applied::Done));
    assert_eq!(client.get("sess:b").await.unwrap().as_deref(), Some("2"));
    assert!(!client.exists("sess:a").await.unwrap());
    assert!(matches!(rename("sess:a", Guard::Any, "sess:c").await.unwrap(), Applied::Gone(Some(_))));
    assert!(matches!(rename("sess:nothing", Guard::Any, "sess:c").await.unwrap(), Applied::Gone(None)));
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_tombstone_says_why_in_every_answer_and_stands_for_the_later_of_two() {
    let server = Server::start(&[]);
    let store = RedisStore::open(&server.url()).unwrap();
    create(&store, 1, &record(b"x")).await;
    let renewed = Tombstone::new(Why::Renewed { successor: Some(key(2)) }, u64::MAX >> 1, NOW);
    assert_eq!(store.delete(&key(1), Some(version(2)), renewed.clone(), NOW).await.unwrap(), Delete::Conflict);
    assert_eq!(store.delete(&key(1), Some(version(1)), renewed.clone(), NOW).await.unwrap(), Delete::Deleted);

    let gone = Some(renewed.clone());
    assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Gone(renewed.clone()));
    assert_eq!(
        store.create(&key(1), version(3), record(b"x"), None, NOW).await.unwrap(),
        Create::Gone(renewed.clone())
    );
    let replaced = store.replace(&key(1), version(1), version(3), record(b"x"), NOW).await.unwrap();
    assert_eq!(replaced, Replace::Gone(gone.clone()));
    assert_eq!(store.touch(&key(1), version(1), later(60), NOW).await.unwrap(), Touch::Gone(gone.clone()));
    let renamed = store.rename(&key(1), None, &key(3), version(3), record(b"x"), ended(1), None, NOW).await.unwrap();
    assert_eq!(renamed, Rename::Gone(gone.clone()));

    let longer = ended(5).until(Some(later(500)));
    assert_eq!(store.delete(&key(1), Some(version(1)), longer.clone(), NOW).await.unwrap(), Delete::Gone(gone));
    let stands = renewed.until(Some(later(500)));
    assert_eq!(store.delete(&key(1), None, longer, NOW).await.unwrap(), Delete::Gone(Some(stands.clone())));
    assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Gone(stands));

    // Where nothing stood, whoever comes later finds it.
    assert_eq!(store.delete(&key(4), Some(version(1)), ended(6), NOW).await.unwrap(), Delete::Gone(None));
    assert_eq!(store.load(&key(4), NOW).await.unwrap(), Load::Missing);
    assert_eq!(store.delete(&key(4), None, ended(6), NOW).await.unwrap(), Delete::Gone(None));
    assert_eq!(store.create(&key(4), version(1), record(b"x"), None, NOW).await.unwrap(), Create::Gone(ended(6)));
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_guarded_record_that_expired_answers_as_ended_until_its_guard_is_over() {
    let server = Server::start(&[]);
    let store = RedisStore::open(&server.url()).unwrap();
    create(&store, 1, &Record { guarded_until: Some(later(9_000)), ..of("ann", 7) }).await;
    let now = later(4_000);
    let guard = Tombstone { why: Why::Ended, nonce: 0, made: later(3_600), until: later(9_000) };
    assert_eq!(store.load(&key(1), now).await.unwrap(), Load::Gone(guard.clone()));
    assert_eq!(store.create(&key(1), version(2), record(b"x"), None, now).await.unwrap(), Create::Gone(guard.clone()));
    let replaced = store.replace(&key(1), version(1), version(2), record(b"x"), now).await.unwrap();
    assert_eq!(replaced, Replace::Gone(Some(guard.clone())));
    assert_eq!(store.delete(&key(1), None, ended(3), now).await.unwrap(), Delete::Gone(Some(guard.clone())));
    assert_eq!(store.load(&key(1), now).await.unwrap(), Load::Gone(guard));
    assert_eq!(store.list(Some("ann"), None, 9, now).await.unwrap(), []);
    assert!(matches!(
        store.create(&key(1), version(2), record(b"x"), None, later(9_000)).await.unwrap(),
        Create::Created(_)
    ));
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_rename_moves_the_session_its_tombstone_and_its_place_in_the_index() {
    let server = Server::start(&[]);
    let store = RedisStore::open(&server.url()).unwrap();
    let mut client = client(&server).await;
    create(&store, 1, &Record { guarded_until: Some(later(500)), ..of("ann", 7) }).await;
    create(&store, 9, &record(b"taken")).await;
    let rename = async |at: Option<Version>, to: u64, record: Record| {
        store.rename(&key(1), at, &key(to), version(22), record, ended(5), None, NOW).await
    };
    let anns = Record { epoch: Some(0), ..of("ann", 7) };

    assert_eq!(rename(Some(version(2)), 2, anns.clone()).await.unwrap(), Rename::Conflict);
    assert!(rename(None, 9, anns.clone()).await.is_err());
    assert!(lives(&store, 1).await && !lives(&store, 2).await);
    let written = Written { version: version(22), epoch: 0, ended: 0 };
    assert_eq!(rename(Some(version(1)), 2, anns.clone()).await.unwrap(), Rename::Renamed(written));
    assert_eq!(store.load(&key(2), NOW).await.unwrap(), Load::Found(anns.clone(), version(22)));
    assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Gone(ended(5).until(Some(later(500)))));
    assert_eq!(store.list(Some("ann"), None, 9, NOW).await.unwrap(), [(key(2), anns, version(22))]);
    assert_eq!(indexed(&mut client, "ann").await, 1);
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn what_began_before_a_raise_comes_back_under_no_key() {
    let server = Server::start(&[]);
    let store = RedisStore::open(&server.url()).unwrap();
    assert_eq!(create(&store, 1, &of("ann", 1)).await, 0);
    create(&store, 2, &of("ann", 2)).await;
    create(&store, 3, &of("bob", 3)).await;
    create(&store, 4, &record(b"nobody's")).await;

    assert_eq!(store.revoke("ann", Revoke::AllBut { lineage: 2, epoch: u64::MAX }, ended(1), NOW).await.unwrap(), 1);
    let raised = NOW.as_millis();
    assert_eq!(store.epoch(Some("ann")).await.unwrap(), raised);
    assert_eq!((store.epoch(Some("bob")).await.unwrap(), store.epoch(None).await.unwrap()), (0, 0));
    assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Gone(ended(1)));
    assert!(lives(&store, 2).await && lives(&store, 3).await);

    // The one that passes goes on under other keys, those that do not are refused.
    let old = |lineage| Record { epoch: Some(0), ..of("ann", lineage) };
    let renamed = store.rename(&key(2), None, &key(12), version(12), old(2), ended(1), None, NOW).await.unwrap();
    assert_eq!(renamed, Rename::Renamed(Written { version: version(12), epoch: 0, ended: 0 }));
    assert_eq!(store.create(&key(11), version(11), old(1), None, NOW).await.unwrap(), Create::Outdated);
    assert_eq!(create(&store, 13, &of("ann", 13)).await, raised);
    let Load::Found(found, _) = store.load(&key(13), NOW).await.unwrap() else { panic!() };
    assert_eq!(found.epoch, Some(raised));

    // Once more, at the same time by the clock: the epoch counts on.
    assert_eq!(store.revoke("ann", Revoke::All, ended(2), NOW).await.unwrap(), 2);
    assert_eq!(store.epoch(Some("ann")).await.unwrap(), raised + 1);
    let renamed = store.rename(&key(4), None, &key(14), version(14), old(2), ended(1), None, NOW).await.unwrap();
    assert_eq!(renamed, Rename::Outdated);
    assert!(lives(&store, 4).await);

    assert_eq!(store.revoke_everyone(ended(3), NOW).await.unwrap(), 2);
    assert_eq!(store.epoch(None).await.unwrap(), raised + 2);
    assert_eq!(store.epoch(Some("bob")).await.unwrap(), raised + 2);
    assert_eq!(store.count(NOW).await.unwrap(), 0);
    assert_eq!(create(&store, 15, &record(b"x")).await, 0);
    assert_eq!(create(&store, 16, &of("bob", 3)).await, raised + 2);
    assert_eq!(store.revoke_everyone(ended(3), NOW).await.unwrap(), 2);
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn one_lineage_ends_wherever_it_is_by_now() {
    let server = Server::start(&[]);
    let store = RedisStore::open(&server.url()).unwrap();
    let mut client = client(&server).await;
    for number in 1..=64 {
        create(&store, number, &of("ann", number)).await;
    }
    for number in 1..=64 {
        let record = Record { epoch: Some(0), ..of("ann", number) };
        let renamed =
            store.rename(&key(number), None, &key(100 + number), version(1), record, ended(1), None, NOW).await;
        assert!(matches!(renamed.unwrap(), Rename::Renamed(_)));
    }
    for number in 1..=64 {
        assert_eq!(store.revoke("bob", Revoke::Lineage(number), ended(1), NOW).await.unwrap(), 0);
        assert_eq!(store.revoke("ann", Revoke::Lineage(number), ended(1), NOW).await.unwrap(), 1);
        assert_eq!(store.load(&key(100 + number), NOW).await.unwrap(), Load::Gone(ended(1)));
    }
    assert_eq!(indexed(&mut client, "ann").await, 0);
    assert_eq!(store.epoch(Some("ann")).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn thousands_of_sessions_end_at_once_while_their_browsers_renew_them() {
    let server = Server::start(&[]);
    let store = RedisStore::open(&server.url()).unwrap();
    for (principal, first) in [("ann", 0), ("bob", 10_000)] {
        for number in first..first + 1_700 {
            create(&store, number, &of(principal, number + 1)).await;
        }
        let mut renewals = JoinSet::new();
        for task in 0..8 {
            let store = store.clone();
            renewals.spawn(async move {
                for number in (first + task..first + 1_700).step_by(8) {
                    let record = Record { epoch: Some(0), ..of(principal, number + 1) };
                    let (from, to) = (key(number), key(5_000 + number));
                    store.rename(&from, None, &to, version(1), record, ended(1), None, NOW).await.unwrap();
                }
            });
        }
        let revoked = match principal {
            "ann" => store.revoke("ann", Revoke::All, ended(2), NOW).await.unwrap(),
            _ => store.revoke_everyone(ended(2), NOW).await.unwrap(),
        };
        renewals.join_all().await;
        assert_eq!(revoked, 1_700, "{principal}");
        assert_eq!(store.count(NOW).await.unwrap(), 0);
        assert_eq!(store.list(Some(principal), None, 9, NOW).await.unwrap(), []);
    }
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_list_is_read_in_pages_and_whoever_changes_user_changes_lists() {
    let server = Server::start(&[]);
    let store = RedisStore::open(&server.url()).unwrap();
    let long = "ann".repeat(200);
    for number in 0..450 {
        create(&store, number, &of(&long, number + 1)).await;
    }
    let mut listed = Vec::new();
    loop {
        let after = listed.last().map(|(key, ..): &(StoreKey, Record, Version)| key.clone());
        let page = store.list(Some(&long), after.as_ref(), 70, NOW).await.unwrap();
        let is_last = page.len() < 70;
        listed.extend(page);
        if is_last {
            break;
        }
    }
    assert_eq!(listed.len(), 450);
    assert!(listed.is_sorted_by_key(|(key, ..)| key.digest()));

    let bobs = of("bob", 9_000);
    let replaced = store.replace(&key(0), version(0), version(1), bobs.clone(), NOW).await.unwrap();
    assert_eq!(replaced, Replace::Replaced(version(1)));
    assert_eq!(store.list(Some(&long), None, 1_000, NOW).await.unwrap().len(), 449);
    assert_eq!(store.list(Some("bob"), None, 1_000, NOW).await.unwrap().len(), 1);
    assert_eq!(store.revoke(&long, Revoke::All, ended(1), NOW).await.unwrap(), 449);
    assert!(lives(&store, 0).await);
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn the_index_of_principals_is_cleaned_when_read_and_when_purged() {
    let server = Server::start(&[]);
    let store = RedisStore::open(&server.url()).unwrap();
    let mut client = client(&server).await;
    for number in 0..10 {
        create(&store, number, &of("ann", number + 1)).await;
    }
    for number in 0..9 {
        client.del(key(number).to_string()).await.unwrap();
    }
    assert_eq!(indexed(&mut client, "ann").await, 10);
    assert_eq!(store.list(Some("ann"), None, 100, NOW).await.unwrap().len(), 1);
    assert_eq!(indexed(&mut client, "ann").await, 1);
    for number in 20..25 {
        create(&store, number, &of("ann", number)).await;
        client.del(key(number).to_string()).await.unwrap();
    }
    // They are no sessions, and none is said to have been removed.
    assert_eq!(store.purge(4, NOW).await.unwrap(), 0);
    assert_eq!(indexed(&mut client, "ann").await, 1);

    // A principal who logs in again and again, and whose list nobody reads.
    for number in 100..400 {
        let now = later(130 * number);
        let anns = Record { idle_expires: now.after(Duration::from_secs(60)), ..of("ann", number) };
        store.create(&key(number), version(number), anns, None, now).await.unwrap();
    }
    let size = indexed(&mut client, "ann").await;
    assert!(size <= 33, "the index grew to {size}");
}

/// What the release before wrote: a record of ann's, one of nobody's, and a mark, all at [`NOW`].
mod former {
    pub(super) const ANNS: &str = "\
        010601a3185c50000000000001a318933e80000001a31d82ac00000001a3185c500000000e1000000004616e6e000000\
        08612070686f6e657768617420697420686f6c6473";
    pub(super) const NOBODYS: &str = "\
        010001a3185c50000000000001a318933e80ffffffffffffffff000001a3185c500000000e1000000000000000007768\
        617420697420686f6c6473";
    pub(super) const MARK: &str = "01010000000000000000000001a3185e24c0";
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// As that release left them: the keys 1 and 2 are ann's, 3 nobody's, 4 a mark.
async fn what_the_release_before_left(client: &mut MultiplexedConnection) {
    for (number, bytes) in [(1, former::ANNS), (2, former::ANNS), (3, former::NOBODYS), (4, former::MARK)] {
        client.set_ex(key(number).to_string(), unhex(bytes), 1_000).await.unwrap();
    }
    for number in [1, 2] {
        client.zadd("dewar-principal:ann", &key(number).digest()[..], NOW.as_millis()).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn what_the_release_before_wrote_is_read_and_changed() {
    let server = Server::start(&[]);
    let store = RedisStore::open(&server.url()).unwrap();
    let mut client = client(&server).await;
    what_the_release_before_left(&mut client).await;
    let at = Version::from_bits(NOW.as_millis() << 16);
    let lineage = |number| (u64::from_le_bytes(*key(number).digest().first_chunk().unwrap()) >> 1).max(1);
    let anns = |number| Record {
        absolute_expires: Some(later(86_400)),
        persistent: true,
        label: Some("a phone".into()),
        epoch: Some(0),
        ..Record { data: Bytes::from_static(b"what it holds"), ..of("ann", lineage(number)) }
    };
    let nobodys = record(b"what it holds");

    assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Found(anns(1), at));
    assert_eq!(store.load(&key(3), NOW).await.unwrap(), Load::Found(nobodys.clone(), at));
    let mark = Tombstone { nonce: 0, ..ended(0) };
    assert_eq!(store.load(&key(4), NOW).await.unwrap(), Load::Gone(mark.clone()));
    assert_eq!(store.count(NOW).await.unwrap(), 3);

    // Every script meets them.
    for number in [1, 2, 3] {
        assert_eq!(store.create(&key(number), version(1), record(b"x"), None, NOW).await.unwrap(), Create::Exists);
        assert_eq!(store.touch(&key(number), at, later(500), NOW).await.unwrap(), Touch::Touched);
        assert!((499..=500).contains(&ttl(&mut client, key(number)).await));
        let conflict = store.replace(&key(number), version(1), version(2), record(b"x"), NOW).await.unwrap();
        assert_eq!(conflict, Replace::Conflict);
    }
    assert_eq!(store.create(&key(4), version(1), record(b"x"), None, NOW).await.unwrap(), Create::Gone(mark.clone()));
    let stands = mark.until(Some(later(500)));
    let deleted = store.delete(&key(4), None, ended(9).until(Some(later(500))), NOW).await.unwrap();
    assert_eq!(deleted, Delete::Gone(Some(stands.clone())));
    assert_eq!(store.load(&key(4), NOW).await.unwrap(), Load::Gone(stands));

    let changed = Record { guarded_until: Some(later(700)), ..anns(1) };
    let replaced = store.replace(&key(1), at, version(5), changed.clone(), NOW).await.unwrap();
    assert_eq!(replaced, Replace::Replaced(version(5)));
    assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Found(changed, version(5)));
    let renamed = store.rename(&key(2), Some(at), &key(12), version(6), anns(2), ended(1), None, NOW).await.unwrap();
    assert_eq!(renamed, Rename::Renamed(Written { version: version(6), epoch: 0, ended: 0 }));
    let listed = store.list(Some("ann"), None, 9, NOW).await.unwrap();
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert!(!client.exists("dewar-principal:ann").await.unwrap(), "each entry went to the new index with its record");
    assert_eq!(store.delete(&key(3), Some(at), ended(1), NOW).await.unwrap(), Delete::Deleted);
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn what_the_release_before_wrote_is_listed_and_revoked() {
    let server = Server::start(&[]);
    let store = RedisStore::open(&server.url()).unwrap();
    let mut client = client(&server).await;

    what_the_release_before_left(&mut client).await;
    assert_eq!(store.list(Some("ann"), None, 9, NOW).await.unwrap().len(), 2);
    assert!(client.exists("dewar-principal:ann").await.unwrap(), "its release may still run");
    assert_eq!(store.list(Some("ann"), None, 9, later(121)).await.unwrap().len(), 2);
    assert!(!client.exists("dewar-principal:ann").await.unwrap());
    let Load::Found(found, _) = store.load(&key(1), NOW).await.unwrap() else { panic!() };
    assert_eq!(
        store.revoke("ann", Revoke::AllBut { lineage: found.lineage, epoch: u64::MAX }, ended(1), NOW).await.unwrap(),
        1
    );
    assert!(lives(&store, 1).await && !lives(&store, 2).await);

    client.flushdb().await.unwrap();
    what_the_release_before_left(&mut client).await;
    assert_eq!(store.revoke("ann", Revoke::Lineage(found.lineage), ended(1), NOW).await.unwrap(), 1);
    assert!(!lives(&store, 1).await && lives(&store, 2).await);
    assert_eq!(store.revoke("ann", Revoke::All, ended(1), NOW).await.unwrap(), 1);

    client.flushdb().await.unwrap();
    what_the_release_before_left(&mut client).await;
    assert_eq!(store.revoke_everyone(ended(1), NOW).await.unwrap(), 3);
    assert_eq!(store.count(NOW).await.unwrap(), 0);
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_server_that_is_down_is_an_error_at_once_and_its_return_needs_no_hand() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let store = RedisStore::open(&server.url()).unwrap();
    create(&store, 1, &record(b"kept")).await;

    server.kill();
    for _ in 0..3 {
        let start = Instant::now();
        assert!(store.load(&key(1), NOW).await.is_err());
        assert!(store.replace(&key(1), version(1), version(2), record(b"lost"), NOW).await.is_err());
        assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    }
    server.restart();
    assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Found(record(b"kept"), version(1)));

    // Down and up again unnoticed: the first to come must not pay for it, if it only reads.
    server.kill();
    server.restart();
    assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Found(record(b"kept"), version(1)));
    // The scripts went with the server.
    let replaced = store.replace(&key(1), version(1), version(2), record(b"changed"), NOW).await.unwrap();
    assert!(matches!(replaced, Replace::Replaced(_)));
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_store_may_be_opened_before_its_server_is_there() {
    let mut server = Server::start(&[]);
    server.kill();
    let store = RedisStore::open(&server.url()).unwrap();
    let error = store.load(&key(1), NOW).await.unwrap_err().to_string();
    assert!(error.starts_with("redis: cannot load: "), "{error}");
    server.restart();
    create(&store, 1, &record(b"x")).await;
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_server_that_stands_still_meets_the_time_limit() {
    let server = Server::start(&[]);
    let store = RedisStore::open(&server.url()).unwrap().time_limit(Duration::from_millis(300));
    create(&store, 1, &record(b"x")).await;
    server.signal("STOP");
    let start = Instant::now();
    let error = store.load(&key(1), NOW).await.unwrap_err().to_string();
    let elapsed = start.elapsed();
    server.signal("CONT");
    assert_eq!(error, format!("redis: cannot load: 127.0.0.1:{}: no answer within 300ms", server.port()));
    assert!(elapsed < Duration::from_millis(600), "{elapsed:?}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(matches!(store.load(&key(1), NOW).await.unwrap(), Load::Found(..)), "it does not recover");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn what_was_confirmed_survives_kill_9_of_the_server_as_its_setting_says() {
    // `everysec` may lose the last second when the machine dies; a killed process leaves what it
    // wrote to the operating system, so here both keep all.
    for setting in ["always", "everysec"] {
        let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", setting]);
        let store = RedisStore::open(&server.url()).unwrap();
        let confirmed = Arc::new(Mutex::new(HashMap::new()));
        let mut writers = JoinSet::new();
        for task in 0..16_u64 {
            let (store, confirmed) = (store.clone(), Arc::clone(&confirmed));
            writers.spawn(async move {
                let created = store.create(&key(task), version(0), record(&[0; 8]), None, NOW).await;
                let Ok(Create::Created(_)) = created else { return };
                for count in 1_u64.. {
                    let data = record(&count.to_le_bytes());
                    let next = store.replace(&key(task), version(count - 1), version(count), data, NOW).await;
                    let Ok(Replace::Replaced(_)) = next else { return };
                    confirmed.lock().unwrap().insert(task, count);
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
        server.kill();
        writers.join_all().await;
        server.restart();
        let confirmed = confirmed.lock().unwrap().clone();
        assert_eq!(confirmed.len(), 16);
        for (task, count) in confirmed {
            let Load::Found(found, _) = store.load(&key(task), NOW).await.unwrap() else { panic!("{task} is lost") };
            let stored = u64::from_le_bytes((*found.data).try_into().unwrap());
            // The one in flight may or may not have arrived.
            assert!(stored == count || stored == count + 1, "{setting}: {count} was confirmed, {stored} is stored");
        }
    }
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_full_server_is_an_error_and_never_a_false_success() {
    let server = Server::start(&["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]);
    let store = RedisStore::open(&server.url()).unwrap();
    let mut confirmed = Vec::new();
    let mut refused = 0;
    for number in 0..100 {
        match store.create(&key(number), version(number), record(&[7; 100_000]), None, NOW).await {
            Ok(_) => confirmed.push(number),
            Err(error) => {
                assert!(error.to_string().contains("OOM"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && !confirmed.is_empty());
    for &number in &confirmed {
        assert!(lives(&store, number).await);
    }

    // A log-out is not refused for want of room, and makes some.
    assert!(store.delete(&key(2_000), None, ended(1), NOW).await.is_ok());
    let moved = Record { data: Bytes::new(), ..record(b"") };
    let from = key(confirmed[0]);
    let renamed = store.rename(&from, None, &key(2_001), version(1), moved, ended(1), None, NOW).await.unwrap();
    assert!(matches!(renamed, Rename::Renamed(_)));
    assert_eq!(store.revoke_everyone(ended(1), NOW).await.unwrap(), confirmed.len() as u64);
    create(&store, 2_002, &record(b"x")).await;
}
