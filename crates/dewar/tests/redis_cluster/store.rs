//! The Redis store on a cluster keeps the promises of a store, whichever slots its steps are in, and whoever dies between two of them.

use std::{
    future::{Future, poll_fn},
    num::NonZeroU32,
    pin::pin,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use crate::support::{
    redis_cluster::{Cluster, ask, order},
    stores::{NOW, create, ended, key, later, of, record, version},
};
use bytes::Bytes;
use dewar::{
    layout::{Shape, Stored},
    store::{
        Applied, Cap, Create, Delete, Ending, Found, Guard, Load, Record, Rename, Replace, Revoke, SessionAdmin,
        SessionStore, Touch, Version, Why, Write, conformance, redis::RedisStore, redis1,
    },
};
use tokio::time::sleep;

async fn lives(store: &RedisStore, number: u64) -> bool {
    matches!(store.load(&key(number), NOW).await.unwrap(), Load::Found(..))
}

async fn listed(store: &RedisStore, principal: &str) -> usize {
    store.list(Some(principal), None, 1_000, NOW).await.unwrap().len()
}

/// With the epoch that it began in.
fn began(record: Record) -> Record {
    Record { epoch: Some(0), ..record }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_cluster_keeps_every_promise_of_a_store() {
    let cluster = Cluster::start();
    conformance::check(|| async { cluster.open() }).await;
}

/// The line of the documentation.
fn rights() -> Vec<&'static str> {
    let page = include_str!("../../src/store/redis.rs");
    let line =
        page.lines().find_map(|line| line.strip_prefix("//! ACL SETUSER dewar ")).expect("the line with the rights");
    line.split(' ').collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_user_with_the_rights_that_are_listed_can_do_everything() {
    let cluster = Cluster::start();
    for node in &cluster.nodes {
        redis::cmd("ACL").arg("SETUSER").arg("dewar").arg(rights()).exec(&mut node.connect()).unwrap();
    }
    let url = cluster.url().replace("://", "://dewar:PASSWORD@");
    let store = RedisStore::open(&url).unwrap();
    let told = listens(&store);
    conformance::check(|| async { RedisStore::open(&url).unwrap() }).await;
    let slot = cluster.slot(&key(1).to_string());
    create(&store, 1, &of("ann", 1)).await;
    store.purge(9, NOW).await.unwrap();
    assert!(store.claim_purge(NOW).await.unwrap() && !store.claim_purge(NOW).await.unwrap());
    // With the key at its new node already, and the slot not.
    halfway(&cluster, slot);
    assert!(lives(&store, 1).await);
    assert!(told.lock().unwrap().len() > 1, "it hears of endings");
    for node in &cluster.nodes {
        let refused: Vec<redis::Value> = ask(&mut node.connect(), "ACL LOG");
        let refused: Vec<String> = refused.iter().map(|entry| format!("{entry:?}")).collect();
        assert!(refused.iter().all(|entry| entry.contains("client|setinfo")), "{refused:?}");
    }
}

/// A slot on its way from one primary to another, with all of its keys there already.
fn halfway(cluster: &Cluster, slot: u16) -> [u16; 2] {
    let primaries = cluster.primaries();
    let from = primaries.iter().find(|(first, last, _)| (*first..=*last).contains(&slot)).unwrap().2;
    let to = primaries.iter().find(|(.., port)| *port != from).unwrap().2;
    let (mut source, mut target) = (cluster.node_at(from).connect(), cluster.node_at(to).connect());
    let ids: [String; 2] = [ask(&mut source, "CLUSTER MYID"), ask(&mut target, "CLUSTER MYID")];
    order(&mut target, &format!("CLUSTER SETSLOT {slot} IMPORTING {}", ids[0]));
    order(&mut source, &format!("CLUSTER SETSLOT {slot} MIGRATING {}", ids[1]));
    let keys: Vec<String> = ask(&mut source, &format!("CLUSTER GETKEYSINSLOT {slot} 1000"));
    let mut migrate = redis::cmd("MIGRATE");
    migrate.arg("127.0.0.1").arg(to).arg("").arg(0).arg(5_000).arg("KEYS").arg(keys);
    migrate.exec(&mut source).unwrap();
    [from, to]
}

// Which address it is.

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_plain_address_of_a_node_is_refused_and_says_what_to_write() {
    let cluster = Cluster::start();
    let url = cluster.nodes[0].url();
    let manager = redis::Client::open(&*url).unwrap().get_connection_manager().await.unwrap();
    for store in [RedisStore::open(&url).unwrap(), redis1::store(manager)] {
        for _ in 0..2 {
            let error = store.load(&key(1), NOW).await.unwrap_err().to_string();
            assert!(error.contains("redis+cluster://"), "{error}");
        }
        assert!(store.create(&key(1), version(1), record(b"x"), None, NOW).await.is_err());
        assert!(store.ping(NOW).await.is_err());
    }
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn an_address_of_a_cluster_where_there_is_none_says_what_to_write() {
    let server = crate::support::redis_server::Server::start(&[]);
    let url = server.url().replace("redis://", "redis+cluster://");
    let error = RedisStore::open(&url).unwrap().load(&key(1), NOW).await.unwrap_err().to_string();
    assert!(error.contains("redis:// in the place of redis+cluster://"), "{error}");
    for url in ["redis+cluster://", "redis+cluster://:s3cret@", "redis+cluster://a,,b", "redis+cluster://:s3cret@a:1/7"]
    {
        let error = RedisStore::open(url).unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn one_address_of_many_is_enough() {
    let mut cluster = Cluster::start();
    let url = cluster.nodes[1].url().replace("redis://", "redis+cluster://127.0.0.1:1,").replace(",127.0.0.1:", ",");
    let url = url.replace("127.0.0.1:1,", "127.0.0.1:1,127.0.0.1:");
    let store = RedisStore::open(&url).unwrap();
    for number in 0..50 {
        create(&store, number, &record(b"x")).await;
    }
    // And none at all, once it knows the others.
    let known = cluster.nodes[1].port();
    cluster.kill(known);
    let mut served = 0;
    for number in 0..50 {
        served += u32::from(store.load(&key(number), NOW).await.is_ok());
    }
    assert!(served > 25, "{served}");
}

// Round trips.

/// How often each of these commands was called, at all primaries.
fn calls(cluster: &Cluster, names: &[&str]) -> Vec<u64> {
    let mut counts = vec![0; names.len()];
    for node in &cluster.nodes[..3] {
        let stats: String = ask(&mut node.connect(), "INFO commandstats");
        for (count, name) in counts.iter_mut().zip(names) {
            let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
            *count += line.map_or(0, |line| line.split(',').next().unwrap().parse::<u64>().unwrap());
        }
    }
    counts
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_load_and_a_replace_are_one_round_trip() {
    let cluster = Cluster::start();
    let store = cluster.open();
    // All that is no part of a script: a script's own GET, HGET and so on are not counted here.
    let all = async |first: u64| {
        let (anns, mut counts) = (began(of("ann", 1)), Vec::new());
        let mut before = calls(&cluster, &["evalsha", "get"]);
        let mut count = |what: &'static str, cluster: &Cluster| {
            let now = calls(cluster, &["evalsha", "get"]);
            counts.push((what, now[0] - before[0]));
            before = now;
        };
        create(&store, first, &anns).await;
        count("create", &cluster);
        store.load(&key(first), NOW).await.unwrap();
        count("load", &cluster);
        store.replace(&key(first), version(first), version(7), anns.clone(), NOW).await.unwrap();
        count("replace", &cluster);
        store.touch(&key(first), version(7), later(500), NOW).await.unwrap();
        count("touch", &cluster);
        store.rename(&key(first), None, &key(first + 1), version(8), anns, ended(1), None, NOW).await.unwrap();
        count("rename", &cluster);
        store.delete(&key(first + 1), None, ended(1), NOW).await.unwrap();
        count("delete", &cluster);
        counts
    };
    for first in (0..60).step_by(3) {
        // The nodes learn the scripts.
        all(first).await;
    }
    let counts = all(100).await;
    let page = [("create", 3), ("load", 0), ("replace", 1), ("touch", 2), ("rename", 6), ("delete", 2)];
    assert_eq!(counts, page, "the scripts of each verb");
    let gets = calls(&cluster, &["get"]);
    let evals = calls(&cluster, &["evalsha"]);
    store.load(&key(500), NOW).await.unwrap();
    assert_eq!((calls(&cluster, &["get"])[0] - gets[0], calls(&cluster, &["evalsha"])[0] - evals[0]), (1, 0));
}

// Whoever dies between two steps.

/// Polls so often, each time that an answer arrives, and then never again: as a client that is killed then.
async fn dies_after<T>(polls: usize, task: impl Future<Output = T>) -> Option<T> {
    let mut task = pin!(task);
    let mut polled = 0;
    let outcome = poll_fn(|context| {
        if polled == polls {
            return Poll::Ready(None);
        }
        polled += 1;
        task.as_mut().poll(context).map(Some)
    });
    outcome.await
}

/// Runs it with a client that dies at each of its steps, until one lives. What is on its way by then may arrive.
async fn at_each_step(mut run: impl AsyncFnMut(usize) -> bool) {
    for step in 1..200 {
        if run(step).await {
            assert!(step > 2, "no step was met");
            return;
        }
    }
    panic!("it never ends");
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_rename_whose_client_dies_is_done_or_not_done() {
    let cluster = Cluster::start();
    let other = cluster.open();
    let mut number = 0;
    for (log_in, meets) in [(false, "load"), (false, "list"), (false, "revoke"), (true, "load"), (true, "revoke")] {
        let warm = cluster.open();
        at_each_step(async |step| {
            number += 10;
            let (from, to, ann) = (number, number + 1, format!("ann{number}"));
            let before = if log_in { record(b"before") } else { of(&ann, 7) };
            create(&other, from, &before).await;
            let after = if log_in { of(&ann, 7) } else { began(of(&ann, 7)) };
            let (old, new) = (key(from), key(to));
            let renames = warm.rename(&old, None, &new, version(to), after.clone(), ended(9), None, NOW);
            let renamed = dies_after(step, renames).await;
            sleep(Duration::from_millis(15)).await;
            let is_meant = format!("{meets}, log-in {log_in}, step {step}");
            match meets {
                "revoke" => {
                    let ended = other.revoke(&ann, Revoke::All, ended(5), NOW).await.unwrap();
                    let found = [other.load(&old, NOW).await.unwrap(), other.load(&new, NOW).await.unwrap()];
                    let [was, is] = found.each_ref().map(|found| matches!(found, Load::Found(..)));
                    assert!(!is, "{is_meant}: it is back: {found:?}");
                    // Who was nobody is not ended where it was not yet moved.
                    assert!(!was || log_in, "{is_meant}: {found:?}");
                    assert!(log_in || ended == 1, "{is_meant}: {ended} ended");
                    assert_eq!(listed(&other, &ann).await, 0, "{is_meant}");
                }
                _ => {
                    if meets == "list" {
                        assert_eq!(listed(&other, &ann).await, 1, "{is_meant}");
                    }
                    match other.load(&old, NOW).await.unwrap() {
                        Load::Found(found, _) => {
                            assert_eq!((found.data, renamed.is_some()), (before.data, false), "{is_meant}");
                            assert_eq!(other.load(&new, NOW).await.unwrap(), Load::Missing, "{is_meant}");
                        }
                        Load::Gone(tombstone) => {
                            assert_eq!(tombstone.nonce, 9, "{is_meant}");
                            let Load::Found(found, at) = other.load(&new, NOW).await.unwrap() else {
                                panic!("{is_meant}: it is lost")
                            };
                            assert_eq!((found.data, at), (after.data, version(to)), "{is_meant}");
                            assert_eq!(listed(&other, &ann).await, 1, "{is_meant}");
                        }
                        other => panic!("{is_meant}: {other:?}"),
                    }
                    // It goes on as if nothing had been.
                    other.revoke(&ann, Revoke::All, ended(5), NOW).await.unwrap();
                    assert!(!lives(&other, to).await, "{is_meant}");
                }
            }
            renamed.is_some()
        })
        .await;
    }
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn what_is_on_its_way_ends_with_everybody_and_after_a_minute() {
    let cluster = Cluster::start();
    let other = cluster.open();
    let mut number = 0;
    for end in ["everybody", "a minute"] {
        let mut was_moving = 0;
        at_each_step(async |step| {
            number += 10;
            let (old, new) = (key(number), key(number + 1));
            create(&other, number, &record(b"before")).await;
            let store = cluster.open();
            store.ping(NOW).await.unwrap();
            let after = record(b"after");
            let renames = store.rename(&old, None, &new, version(number + 1), after, ended(9), None, NOW);
            let renamed = dies_after(step, renames).await;
            sleep(Duration::from_millis(15)).await;
            if end == "everybody" {
                assert_eq!(other.revoke_everyone(ended(5), NOW).await.unwrap(), 1, "step {step}");
            } else {
                let mut node = cluster.connection_of(&old.to_string());
                let name = old.to_string();
                let flags: Vec<u8> = redis::cmd("GETRANGE").arg(&name).arg(1).arg(1).query(&mut node).unwrap();
                if flags != [9] {
                    return renamed.is_some();
                }
                was_moving += 1;
                let has_arrived: bool = {
                    let mut node = cluster.connection_of(&new.to_string());
                    redis::cmd("EXISTS").arg(new.to_string()).query(&mut node).unwrap()
                };
                if has_arrived {
                    return renamed.is_some();
                }
                // The rename began in 1970, by the clock of its node.
                redis::cmd("SETRANGE").arg(&name).arg(29).arg(&[0_u8; 8]).exec(&mut node).unwrap();
            }
            assert!(matches!(other.load(&old, NOW).await.unwrap(), Load::Gone(_)), "{end}, step {step}");
            assert!(!matches!(other.load(&new, NOW).await.unwrap(), Load::Found(..)), "{end}, step {step}");
            renamed.is_some()
        })
        .await;
        assert!(end == "everybody" || was_moving > 0, "none was met on its way");
    }
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_log_in_whose_client_dies_is_done_or_not_done_and_revoked_in_either_case() {
    let cluster = Cluster::start();
    let other = cluster.open();
    let warm = cluster.open();
    let mut number = 0;
    for revokes_first in [false, true] {
        at_each_step(async |step| {
            number += 10;
            let ann = format!("ann{number}");
            let at = key(number);
            let created = warm.create(&at, version(number), of(&ann, 7), None, NOW);
            let created = dies_after(step, created).await;
            if !revokes_first {
                sleep(Duration::from_millis(15)).await;
                let stands = lives(&other, number).await;
                assert!(stands || created.is_none(), "step {step}");
                assert_eq!(listed(&other, &ann).await, usize::from(stands), "step {step}");
            }
            other.revoke(&ann, Revoke::All, ended(5), NOW).await.unwrap();
            sleep(Duration::from_millis(15)).await;
            assert_eq!(listed(&other, &ann).await, 0, "step {step}");
            let found = other.load(&at, NOW).await.unwrap();
            assert!(!matches!(found, Load::Found(..)), "step {step}: it is back: {found:?}");
            created.is_some()
        })
        .await;
    }
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_revocation_whose_client_dies_is_finished_by_the_next_one() {
    let cluster = Cluster::start();
    let (other, warm) = (cluster.open(), cluster.open());
    let mut number = 0;
    for which in [Revoke::All, Revoke::AllBut { lineage: 3, epoch: u64::MAX }, Revoke::Lineage(2)] {
        at_each_step(async |step| {
            number += 10;
            let ann = format!("ann{number}");
            for lineage in 1..=3 {
                create(&other, number + lineage, &of(&ann, lineage)).await;
            }
            let revoked = dies_after(step, warm.revoke(&ann, which, ended(5), NOW)).await;
            sleep(Duration::from_millis(15)).await;
            other.revoke(&ann, which, ended(6), NOW).await.unwrap();
            let left: Vec<u64> = match which {
                Revoke::All => vec![],
                Revoke::AllBut { .. } => vec![3],
                Revoke::Lineage(_) => vec![1, 3],
            };
            for lineage in 1..=3 {
                let stays = left.contains(&lineage);
                assert_eq!(lives(&other, number + lineage).await, stays, "{which:?}, step {step}, {lineage}");
            }
            revoked.is_some()
        })
        .await;
    }
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_log_out_whose_client_dies_is_done_or_not_done() {
    let cluster = Cluster::start();
    let (other, warm) = (cluster.open(), cluster.open());
    let mut number = 0;
    at_each_step(async |step| {
        number += 10;
        let (ann, at) = (format!("ann{number}"), key(number));
        create(&other, number, &of(&ann, 7)).await;
        let deleted = dies_after(step, warm.delete(&at, None, ended(9), NOW)).await;
        sleep(Duration::from_millis(15)).await;
        let stands = lives(&other, number).await;
        assert!(!stands || deleted.is_none(), "step {step}");
        assert_eq!(listed(&other, &ann).await, usize::from(stands), "step {step}");
        deleted.is_some()
    })
    .await;
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_log_in_over_the_cap_whose_client_dies_leaves_no_more_than_may_live() {
    let cluster = Cluster::start();
    let (other, warm) = (cluster.open(), cluster.open());
    let mut number = 0;
    let cap = Cap { most: NonZeroU32::new(2).unwrap(), end_oldest: Some(ended(4)) };
    for renames in [false, true] {
        at_each_step(async |step| {
            number += 10;
            let ann = format!("ann{number}");
            for lineage in 1..=2 {
                create(&other, number + lineage, &of(&ann, lineage)).await;
            }
            create(&other, number + 3, &record(b"nobody")).await;
            let (new, from) = (key(number + 4), key(number + 3));
            let log_in = async {
                let record = of(&ann, 5);
                match renames {
                    false => warm.create(&new, version(5), record, Some(&cap), NOW).await.map(drop),
                    true => {
                        warm.rename(&from, None, &new, version(5), record, ended(9), Some(&cap), NOW).await.map(drop)
                    }
                }
            };
            let done = dies_after(step, log_in).await;
            sleep(Duration::from_millis(15)).await;
            other.load(&from, NOW).await.unwrap();
            let living = listed(&other, &ann).await;
            assert!(living <= 2, "renames {renames}, step {step}: {living} live");
            let another = other.create(&key(number + 6), version(6), of(&ann, 6), Some(&cap), NOW).await.unwrap();
            assert!(matches!(another, Create::Created(_)), "{another:?}");
            let living = listed(&other, &ann).await;
            assert!(living <= 2 && living > 0, "renames {renames}, step {step}: {living} live after another");
            done.is_some()
        })
        .await;
    }
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_rename_of_another_frameworks_record_whose_client_dies_is_done_or_not_done() {
    let cluster = Cluster::start();
    let engine = cluster.open().engine(Shape::Blob).unwrap();
    let write = |data: &'static str| {
        let data = Bytes::from_static(data.as_bytes());
        Write::Record { version: Version::digest(&data), data: Stored::Blob(data), expires: later(3600) }
    };
    let mut number = 0;
    for tag in ["", "}{}", "{tag}"] {
        at_each_step(async |step| {
            number += 1;
            let (from, to) = (format!("sess:{tag}{number}"), format!("sess:{tag}{number}-new"));
            assert!(matches!(engine.apply(&from, Guard::Absent, write("old"), NOW).await.unwrap(), Applied::Done));
            let renames = engine.rename(&from, Guard::Any, &to, write("new"), ended(9), NOW);
            let renamed = dies_after(step, renames).await;
            sleep(Duration::from_millis(15)).await;
            match engine.load(&from, NOW).await.unwrap() {
                Found::Record { .. } => {
                    assert!(renamed.is_none());
                    assert!(matches!(engine.load(&to, NOW).await.unwrap(), Found::Missing), "step {step}");
                }
                Found::Gone(tombstone) => {
                    assert_eq!(tombstone.nonce, 9);
                    let found = engine.load(&to, NOW).await.unwrap();
                    assert!(matches!(found, Found::Record { .. }), "step {step}: it is lost: {found:?}");
                }
                other => panic!("step {step}: {other:?}"),
            }
            renamed.is_some()
        })
        .await;
    }
}

// The index.

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn an_index_that_was_lost_is_written_again_and_not_of_what_was_to_end() {
    let cluster = Cluster::start();
    let store = cluster.open();
    let loses = || {
        let index = "dewar-index:ann";
        redis::cmd("DEL").arg(index).exec(&mut cluster.connection_of(index)).unwrap();
    };
    create(&store, 1, &of("ann", 1)).await;
    create(&store, 2, &of("ann", 2)).await;
    loses();
    assert_eq!(listed(&store, "ann").await, 0);
    assert_eq!(store.touch(&key(1), version(1), later(9_000), NOW).await.unwrap(), Touch::Touched);
    assert_eq!(listed(&store, "ann").await, 1, "a touch");
    let longer = Record { idle_expires: later(9_000), ..began(of("ann", 2)) };
    let replaced = store.replace(&key(2), version(2), version(12), longer, NOW).await.unwrap();
    assert_eq!(replaced, Replace::Replaced(version(12)));
    assert_eq!(listed(&store, "ann").await, 2, "a replace that moves the expiry");

    for (number, which) in [(10, Revoke::All), (20, Revoke::Lineage(7))] {
        for what in ["touch", "rename"] {
            let number = number + u64::from(what == "touch");
            create(&store, number, &of("ann", 7)).await;
            loses();
            store.revoke("ann", which, ended(1), NOW).await.unwrap();
            let began = Record { epoch: Some(0), ..of("ann", 7) };
            let gone = match what {
                "touch" => {
                    !matches!(store.touch(&key(number), version(number), later(60), NOW).await.unwrap(), Touch::Touched)
                }
                _ => !matches!(
                    store
                        .rename(&key(number), None, &key(number + 500), version(1), began, ended(2), None, NOW)
                        .await
                        .unwrap(),
                    Rename::Renamed(_)
                ),
            };
            assert!(gone, "{which:?}, {what}");
            assert!(!lives(&store, number + 500).await, "{which:?}, {what}");
            assert!(what == "rename" || !lives(&store, number).await, "{which:?}, {what}: it has ended");
            loses();
            redis::cmd("DEL")
                .arg(key(number).to_string())
                .exec(&mut cluster.connection_of(&key(number).to_string()))
                .unwrap();
        }
    }
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn what_expired_is_taken_out_of_the_indexes_by_a_purge() {
    let cluster = Cluster::start();
    let store = cluster.open();
    for number in 1..=60 {
        create(&store, number, &of(&format!("user{}", number % 6), number)).await;
    }
    let size = || {
        let size = |user| {
            let index = format!("dewar-index:user{user}");
            redis::cmd("HLEN").arg(&index).query::<usize>(&mut cluster.connection_of(&index)).unwrap()
        };
        (0..6).map(size).sum::<usize>()
    };
    assert_eq!(size(), 60);
    for number in 1..=30 {
        store.delete(&key(number), None, ended(1), NOW).await.unwrap();
    }
    assert_eq!(size(), 30, "what is deleted is taken out at once");
    for number in 31..=40 {
        let name = key(number).to_string();
        redis::cmd("DEL").arg(&name).exec(&mut cluster.connection_of(&name)).unwrap();
    }
    // What is not there may be on its way, for five minutes.
    store.purge(9, NOW).await.unwrap();
    assert_eq!(size(), 30);
    store.purge(9, later(4_000)).await.unwrap();
    assert_eq!((size(), store.count(NOW).await.unwrap()), (30, 20));
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn lists_and_counts_and_ends_of_everybody_reach_every_node() {
    let cluster = Cluster::start();
    let store = cluster.open();
    for number in 0..300 {
        create(&store, number, &if number % 3 == 0 { record(b"x") } else { of("ann", number) }).await;
    }
    assert_eq!(store.count(NOW).await.unwrap(), 300);
    for limit in [7, 100, 1_000] {
        let mut listed: Vec<dewar::store::StoreKey> = Vec::new();
        loop {
            let page = store.list(None, listed.last(), limit, NOW).await.unwrap();
            listed.extend(page.iter().map(|(key, ..)| key.clone()));
            if page.len() < limit {
                break;
            }
        }
        assert_eq!(listed.len(), 300);
        assert!(listed.is_sorted_by_key(|key| key.digest()));
    }
    assert_eq!(store.revoke_everyone(ended(1), NOW).await.unwrap(), 300);
    assert_eq!((store.count(NOW).await.unwrap(), listed(&store, "ann").await), (0, 0));
    assert_eq!(store.delete(&key(1), Some(version(1)), ended(2), NOW).await.unwrap(), Delete::Gone(Some(ended(1))));
}

// Endings.

fn listens(store: &RedisStore) -> Arc<Mutex<Vec<Ending>>> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tells = Arc::clone(&told);
    let task = store.endings(Arc::new(move |ending| tells.lock().unwrap().push(ending))).unwrap();
    tokio::spawn(task);
    told
}

/// Until this has been told; what was told before it.
async fn is_told(told: &Mutex<Vec<Ending>>, wanted: &Ending) -> Vec<Ending> {
    for _ in 0..500 {
        let take = || {
            let mut told = told.lock().unwrap();
            let at = told.iter().position(|ending| ending == wanted)?;
            Some(told.drain(..=at).collect())
        };
        if let Some(before) = take() {
            return before;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody told of {wanted:?}");
}

async fn tells_of_endings(store: &RedisStore, told: &Mutex<Vec<Ending>>) {
    is_told(told, &Ending::Any).await;
    let of = |number: u64| Ending::Of(key(number));
    for number in 1..=20 {
        create(store, number, &crate::support::stores::of("ann", number)).await;
    }
    store.delete(&key(1), None, ended(1), NOW).await.unwrap();
    assert_eq!(is_told(told, &of(1)).await.len(), 1, "and of nothing else");
    store.delete(&key(1), None, ended(1), NOW).await.unwrap();
    store.delete(&key(77), None, ended(1), NOW).await.unwrap();
    let renamed = began(crate::support::stores::of("ann", 2));
    store.rename(&key(2), None, &key(22), version(1), renamed, ended(1), None, NOW).await.unwrap();
    assert_eq!(is_told(told, &of(2)).await.len(), 1, "no tombstone of nothing is told of");
    store.revoke("ann", Revoke::Lineage(3), ended(1), NOW).await.unwrap();
    is_told(told, &of(3)).await;
    let cap = Cap { most: NonZeroU32::new(18).unwrap(), end_oldest: Some(ended(1)) };
    store.create(&key(30), version(1), crate::support::stores::of("ann", 30), Some(&cap), NOW).await.unwrap();
    let ended_by_cap = {
        sleep(Duration::from_millis(200)).await;
        std::mem::take(&mut *told.lock().unwrap())
    };
    assert_eq!(ended_by_cap.len(), 1, "{ended_by_cap:?}");
    store.revoke("ann", Revoke::All, ended(1), NOW).await.unwrap();
    is_told(told, &of(22)).await;
    let engine = store.engine(Shape::Blob).unwrap();
    let data = Bytes::from_static(b"x");
    let write = Write::Record { version: Version::digest(&data), data: Stored::Blob(data), expires: later(60) };
    engine.apply("sess:a", Guard::Absent, write, NOW).await.unwrap();
    engine.end("sess:a", Guard::Any, ended(1), NOW).await.unwrap();
    is_told(told, &Ending::Of(dewar::store::StoreKey::foreign("sess:a"))).await;
    told.lock().unwrap().clear();
    store.revoke_everyone(ended(1), NOW).await.unwrap();
    is_told(told, &Ending::Any).await;
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn whoever_listens_hears_of_every_ending_of_the_whole_cluster() {
    let mut cluster = Cluster::start();
    let store = cluster.open();
    let told = listens(&cluster.open());
    tells_of_endings(&store, &told).await;
    told.lock().unwrap().clear();
    for node in &cluster.nodes {
        order(&mut node.connect(), "CLIENT KILL TYPE pubsub");
    }
    is_told(&told, &Ending::Any).await;
    // The node that is listened to may be any.
    for number in [0, 1, 2] {
        let port = cluster.nodes[number].port();
        cluster.kill(port);
        cluster.until("another one is in service", || {
            let primaries = cluster.primaries();
            primaries.iter().all(|(.., primary)| *primary != port)
        });
        cluster.nodes[number].restart();
        cluster.is_whole();
        create(&store, 100 + number as u64, &record(b"x")).await;
        sleep(Duration::from_millis(500)).await;
        store.delete(&key(100 + number as u64), None, ended(1), NOW).await.unwrap();
        is_told(&told, &Ending::Of(key(100 + number as u64))).await;
    }
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn whoever_listens_to_one_server_hears_of_every_ending_and_of_each_new_beginning() {
    let mut server = crate::support::redis_server::Server::start(&[]);
    let store = RedisStore::open(&server.url()).unwrap();
    let told = listens(&store);
    tells_of_endings(&store, &told).await;
    server.kill();
    told.lock().unwrap().clear();
    server.restart();
    is_told(&told, &Ending::Any).await;
    create(&store, 200, &record(b"x")).await;
    store.delete(&key(200), None, ended(1), NOW).await.unwrap();
    is_told(&told, &Ending::Of(key(200))).await;
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_user_who_may_not_publish_logs_out_all_the_same() {
    let server = crate::support::redis_server::Server::start(&[]);
    let mut client = crate::support::redis::client(&server).await;
    let mut user = redis::cmd("ACL");
    user.arg("SETUSER").arg("mute").arg("on").arg(">x").arg("~*").arg("+@all").arg("-publish").arg("resetchannels");
    user.exec_async(&mut client).await.unwrap();
    let store = RedisStore::open(&server.url().replace("://", "://mute:x@")).unwrap();
    create(&store, 1, &of("ann", 1)).await;
    create(&store, 2, &of("ann", 2)).await;
    assert_eq!(store.delete(&key(1), None, ended(1), NOW).await.unwrap(), Delete::Deleted);
    assert_eq!(store.revoke("ann", Revoke::All, ended(1), NOW).await.unwrap(), 1);
    assert!(matches!(store.load(&key(2), NOW).await.unwrap(), Load::Gone(it) if it.why == Why::Ended));
}
