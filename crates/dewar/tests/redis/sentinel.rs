//! Redis with sentinels: the primary is found, and found again after a fail-over. What a fail-over loses is counted.
#![allow(clippy::print_stdout)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use crate::support::{
    certificates::Authority,
    http::secret,
    redis::{client, order},
    redis_group::{Group, role},
    redis_proxy::Lag,
    redis_server::{Server, free_port},
    site::Request,
    stores::{NOW, create, ended, key, record, version},
};
use dewar::{
    SessionLayer,
    store::{Load, SessionStore, StoreKey, conformance, redis::RedisStore},
    testing::Visitor,
};
use tokio::time::sleep;

async fn group() -> Group {
    let group = Group::start().await;
    group.is_whole("").await;
    group
}

async fn refused(url: &str) -> String {
    let store = RedisStore::open(url).unwrap().time_limit(Duration::from_millis(1_500));
    let error = store.ping(NOW).await.unwrap_err().to_string();
    assert!(!error.contains("hunter2") && !format!("{store:?}").contains("hunter2"), "{error}");
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_store_that_sentinels_lead_to_keeps_every_promise() {
    let group = group().await;
    conformance::check(|| async { RedisStore::open(&group.url()).unwrap() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_store_that_waits_for_a_replica_keeps_every_promise() {
    let group = group().await;
    let url = format!("{}?wait=1", group.servers[0].url());
    conformance::check(|| async { RedisStore::open(&url).unwrap() }).await;
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn the_sentinels_and_the_servers_have_passwords_of_their_own() {
    let servers = ["--requirepass", "s3cret", "--masterauth", "s3cret"];
    let lines = "sentinel auth-pass live s3cret\nrequirepass hunter2\nsentinel sentinel-pass hunter2\n";
    let group = Group::with(&servers, &[], lines).await;
    group.is_whole(":hunter2@").await;
    let url = |login: &str, more: &str| group.url().replace("://", &format!("://{login}")) + more;
    let store = RedisStore::open(&url(":s3cret@", "/2?sentinel_password=hunter2")).unwrap();
    create(&store, 1, &record(b"x")).await;
    let error = refused(&url(":s3cret@", "")).await;
    assert!(error.contains("?sentinel_password=PASSWORD"), "{error}");
    let error = refused(&url(":s3cret@", "?sentinel_password=wrong")).await;
    assert!(error.contains("?sentinel_password=PASSWORD"), "{error}");
    let error = refused(&url(":hunter2@", "?sentinel_password=hunter2")).await;
    assert!(error.contains("the password is wrong"), "{error}");
    let error = refused(&url("", "?sentinel_password=hunter2")).await;
    assert!(error.contains("wants a password"), "{error}");
}

#[tokio::test]
#[ignore = "needs redis-server and openssl; cargo xtask live"]
async fn sentinels_and_servers_are_reached_over_tls() {
    let authority = Authority::new("ours");
    authority.signs("server", "DNS:localhost,IP:127.0.0.1");
    let (cert, key, ca) = (authority.file("server.pem"), authority.file("server.key"), authority.file("ca.pem"));
    let port = free_port().to_string();
    let own = ["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &ca, "--tls-auth-clients", "no"];
    let with_port: Vec<&str> = ["--tls-port", &port].into_iter().chain(own).collect();
    let primary = Server::start(&with_port);
    let sentinel_port = free_port().to_string();
    let with_port: Vec<&str> =
        ["--tls-port", &sentinel_port, "--tls-replication", "yes"].into_iter().chain(own).collect();
    let _sentinel = Server::sentinel(&with_port, &format!("sentinel monitor live 127.0.0.1 {port} 1\n"));
    let store = RedisStore::open(&format!("rediss+sentinel://localhost:{sentinel_port}/live?ca={ca}")).unwrap();
    create(&store, 1, &record(b"x")).await;
    assert!(matches!(
        crate::support::redis::open(&primary).load(&crate::support::stores::key(1), NOW).await,
        Ok(Load::Found(..))
    ));
    let error = refused(&format!("rediss+sentinel://localhost:{sentinel_port}/live")).await;
    assert!(error.contains("?ca=FILE"), "{error}");
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn sentinels_that_are_none_know_no_such_service_or_do_not_answer_are_named() {
    let group = group().await;
    let error = refused(&group.url().replace("/live", "/lively")).await;
    assert!(error.contains("know no service \"lively\""), "{error}");
    let error = refused(&format!("redis+sentinel://127.0.0.1:{}/live", group.servers[0].port())).await;
    assert!(error.contains("is no sentinel"), "{error}");
    let error = refused(&format!("redis+sentinel://127.0.0.1:{}/live", free_port())).await;
    assert!(error.contains("no answer within") && error.contains("no sentinel answers"), "{error}");
    // One that answers is enough.
    let url = group.url().replace("redis+sentinel://", &format!("redis+sentinel://127.0.0.1:{},", free_port()));
    RedisStore::open(&url).unwrap().ping(NOW).await.unwrap();
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_primary_that_is_not_there_or_is_a_replica_is_named() {
    let (gone, primary) = (free_port(), Server::start(&[]));
    let replica = Server::start(&["--replicaof", &primary.host_and_port()]);
    for (port, says) in [(gone, "does not answer"), (replica.port(), "that is a replica")] {
        let sentinel = Server::sentinel(&[], &format!("sentinel monitor live 127.0.0.1 {port} 1\n"));
        let error = refused(&format!("redis+sentinel://127.0.0.1:{}/live", sentinel.port())).await;
        assert!(error.contains(&format!("127.0.0.1:{port} as the primary")) && error.contains(says), "{error}");
    }
}

// Fail-overs.

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_visit_goes_on_through_a_fail_over_without_an_error() {
    let mut group = group().await;
    let store = RedisStore::open(&group.url()).unwrap().time_limit(Duration::from_secs(20));
    let manager = SessionLayer::new(secret()).unwrap().store(store).manager().unwrap();
    let mut ada = Visitor::with(&manager, BTreeMap::from([("n", 1)])).await.unwrap();
    sleep(Duration::from_millis(300)).await;
    let request = Request::begin(&ada, &manager).await;
    request.session.insert("n", 2);
    group.servers[0].kill();
    // It waits until there is another primary.
    ada.receive(&request.end().await.unwrap());
    assert_eq!(ada.session().await.unwrap().get("n"), Some(2));
    group.primary(&[1, 2]).await;
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_primary_that_hangs_costs_the_time_limit_and_is_left_for_the_next_one() {
    let group = group().await;
    let store = RedisStore::open(&group.url()).unwrap().time_limit(Duration::from_secs(1));
    create(&store, 1, &record(b"x")).await;
    sleep(Duration::from_millis(300)).await;
    group.servers[0].signal("STOP");
    let start = Instant::now();
    let error = store.load(&key(1), NOW).await.unwrap_err();
    assert!(error.to_string().contains("no answer within 1s"), "{error}");
    assert!(start.elapsed() < Duration::from_millis(1_500));
    while store.load(&key(1), NOW).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(15), "no other primary was found");
    }
    // What was the primary comes back as one, for a moment: nobody asks it.
    group.servers[0].signal("CONT");
    assert!(matches!(store.load(&key(1), NOW).await.unwrap(), Load::Found(..)));
    create(&store, 2, &record(b"x")).await;
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_primary_that_became_a_replica_is_left_within_the_same_call() {
    let group = group().await;
    let store = RedisStore::open(&group.url()).unwrap();
    create(&store, 1, &record(b"x")).await;
    let mut sentinel = client(&group.sentinels[0]).await;
    order(&mut sentinel, "SENTINEL FAILOVER live").await;
    let start = Instant::now();
    while role(&group.servers[0]).await != "slave" {
        assert!(start.elapsed() < Duration::from_secs(20), "no fail-over");
        // A write that is under way when its connection is closed is an error.
        let _ = store.create(&key(100 + start.elapsed().as_micros() as u64), version(1), record(b"x"), None, NOW).await;
        store.load(&key(1), NOW).await.unwrap();
    }
    create(&store, 2, &record(b"x")).await;
    assert!(matches!(store.load(&key(1), NOW).await.unwrap(), Load::Found(..)));
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_sentinel_that_missed_the_fail_over_leads_nobody_to_the_former_primary() {
    let mut group = group().await;
    let store = RedisStore::open(&group.url()).unwrap().time_limit(Duration::from_secs(15));
    create(&store, 1, &record(b"x")).await;
    sleep(Duration::from_millis(300)).await;
    group.sentinels[0].signal("STOP");
    group.servers[0].kill();
    store.load(&key(1), NOW).await.unwrap();
    create(&store, 2, &record(b"x")).await;
    for sentinel in &group.sentinels[1..] {
        sentinel.signal("STOP");
    }
    // It is a primary again, without anything, and the first sentinel still says so.
    group.servers[0].restart();
    group.sentinels[0].signal("CONT");
    sleep(Duration::from_millis(1_200)).await;
    assert!(matches!(store.load(&key(2), NOW).await.unwrap(), Load::Found(..)), "who knows of the fail-over");
    // Who does not know is told by the others.
    for sentinel in &group.sentinels[1..] {
        sentinel.signal("CONT");
    }
    let store = RedisStore::open(&group.url()).unwrap().time_limit(Duration::from_secs(15));
    for number in [1, 2] {
        assert!(matches!(store.load(&key(number), NOW).await.unwrap(), Load::Found(..)), "{number}");
    }
}

// Writes that replicas confirm.

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_write_that_no_replica_confirmed_is_an_error_that_says_where_it_stands_and_nobody_looks_it_up() {
    let primary = Server::start(&[]);
    let replica = Server::start(&["--replicaof", &primary.host_and_port()]);
    let store = RedisStore::open(&format!("{}?wait=1&wait_timeout=200", primary.url())).unwrap();
    let manager = SessionLayer::new(secret()).unwrap().store(store.clone()).manager().unwrap();
    while store.create(&key(9), version(9), record(b"x"), None, NOW).await.is_err() {
        sleep(Duration::from_millis(50)).await;
    }
    let mut ada = Visitor::with(&manager, BTreeMap::from([("n", 1)])).await.unwrap();
    let bob = Visitor::with(&manager, BTreeMap::from([("n", 1)])).await.unwrap();
    create(&store, 1, &record(b"x")).await;
    replica.signal("STOP");
    let error = store.delete(&key(1), None, ended(1), NOW).await.unwrap_err().to_string();
    assert!(error.contains("on the primary only") && error.contains("0 of 1 replicas confirmed"), "{error}");
    // To find it ended is no more sure, also for another connection.
    for _ in 0..8 {
        let error = store.delete(&key(1), None, ended(2), NOW).await.unwrap_err().to_string();
        assert!(error.contains("on the primary only"), "{error}");
    }
    let request = Request::begin(&ada, &manager).await;
    request.session.clear();
    assert!(request.end().await.unwrap_err().is_store(), "the log-out of a visitor");
    let request = Request::begin(&bob, &manager).await;
    request.session.insert("n", 2);
    assert!(request.end().await.unwrap_err().is_store(), "a change");
    // Who only reads waits for nobody.
    let start = Instant::now();
    assert_eq!(bob.session().await.unwrap().get("n"), Some(2));
    assert!(start.elapsed() < Duration::from_millis(150));
    replica.signal("CONT");
    let request = Request::begin(&ada, &manager).await;
    request.session.clear();
    ada.receive(&request.end().await.unwrap());
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_server_that_asks_for_replicas_itself_refuses_writes_and_says_so() {
    let primary = Server::start(&["--min-replicas-to-write", "1"]);
    let store = RedisStore::open(&primary.url()).unwrap();
    let error = store.create(&key(1), version(1), record(b"x"), None, NOW).await.unwrap_err().to_string();
    assert!(error.contains("nothing was written") && error.contains("min-replicas-to-write"), "{error}");
    assert!(matches!(store.load(&key(1), NOW).await.unwrap(), Load::Missing));
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_server_that_is_still_loading_says_so_and_answers_when_it_has() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "no", "--key-load-delay", "100"]);
    let store = RedisStore::open(&server.url()).unwrap();
    for first in (0..10_000).step_by(500) {
        let record = record(b"x");
        let creates = (first..first + 500).map(|number| create(&store, number, &record));
        futures_util::future::join_all(creates).await;
    }
    server.kill();
    server.begin_again();
    let start = Instant::now();
    let mut says = String::new();
    while let Err(error) = store.load(&key(1), NOW).await {
        let error = error.to_string();
        if error.contains("loading") {
            says.clone_from(&error);
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{error}");
        sleep(Duration::from_millis(20)).await;
    }
    assert!(says.contains("still loading its data"), "{says}");
    assert!(matches!(store.load(&key(9_999), NOW).await.unwrap(), Load::Found(..)));
}

// What is lost.

/// What became of what was confirmed before, in and after a fail-over.
#[derive(Default, Debug)]
struct Count {
    log_ins: usize,
    log_outs: usize,
    errors: usize,
    lost_log_ins: usize,
    log_outs_that_came_back: usize,
    longest_pause: Duration,
}

#[derive(Debug)]
enum How {
    /// `kill -9`
    Killed,
    /// The same, and its replicas are 20 milliseconds away.
    KilledFarAway,
    /// It hangs, and goes on when another is the primary.
    Hangs,
}

/// What each of the writers logs out: sessions that were there before.
const STANDING: u64 = 3_000;

/// What one of the writers was told.
#[derive(Default)]
struct Told {
    log_ins: Vec<StoreKey>,
    log_outs: Vec<StoreKey>,
    errors: usize,
    longest_pause: Duration,
}

/// Logs somebody in and another out, again and again.
async fn writer(store: RedisStore, first: u64, stop: Arc<AtomicBool>) -> Told {
    let (mut told, mut last) = (Told::default(), Instant::now());
    for number in first..first + STANDING {
        if stop.load(SeqCst) {
            break;
        }
        let own = key(STANDING * 1_000 + number);
        match store.create(&own, version(number), record(b"x"), None, NOW).await {
            Ok(_) => {
                told.log_ins.push(own);
                told.longest_pause = told.longest_pause.max(last.elapsed());
                last = Instant::now();
            }
            Err(_) => told.errors += 1,
        }
        match store.delete(&key(number), None, ended(number), NOW).await {
            Ok(_) => told.log_outs.push(key(number)),
            Err(_) => told.errors += 1,
        }
        sleep(Duration::from_millis(2)).await;
    }
    told
}

/// Writers log in and out while the primary goes; then everything is looked up.
async fn fail_over(how: &How, settings: &str, of_servers: &[&str], sum: &mut Count) {
    let mut group = Group::with(of_servers, &[], "").await;
    group.is_whole("").await;
    let store = RedisStore::open(&(group.url() + settings)).unwrap().time_limit(Duration::from_secs(10));
    let plain = crate::support::redis::open(&group.servers[0]);
    for first in (0..8 * STANDING).step_by(1_000) {
        let record = record(b"x");
        let creates = (first..first + 1_000).map(|number| create(&plain, number, &record));
        futures_util::future::join_all(creates).await;
    }
    sleep(Duration::from_millis(1_000)).await;
    let mut ways = Vec::new();
    if let How::KilledFarAway = how {
        for replica in &group.servers[1..] {
            let way = Lag::before(&group.servers[0], Duration::from_millis(20)).await;
            order(&mut client(replica).await, &format!("REPLICAOF 127.0.0.1 {}", way.port)).await;
            ways.push(way);
        }
        sleep(Duration::from_millis(1_500)).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let start = |first: u64| tokio::spawn(writer(store.clone(), first * STANDING, Arc::clone(&stop)));
    let writers: Vec<_> = (0..8).map(start).collect();
    sleep(Duration::from_millis(300 + rand::random::<u64>() % 400)).await;
    match how {
        How::Killed | How::KilledFarAway => {
            group.servers[0].kill();
            group.primary(&[1, 2]).await;
        }
        How::Hangs => {
            group.servers[0].signal("STOP");
            group.primary(&[1, 2]).await;
            sleep(Duration::from_millis(500)).await;
            group.servers[0].signal("CONT");
        }
    }
    sleep(Duration::from_millis(3_000)).await;
    stop.store(true, SeqCst);
    let next = group.primary(&[1, 2]).await;
    let next = crate::support::redis::open(&group.servers[next]);
    for writer in writers {
        let told = writer.await.unwrap();
        for key in &told.log_ins {
            sum.lost_log_ins += usize::from(matches!(next.load(key, NOW).await.unwrap(), Load::Missing));
        }
        for key in &told.log_outs {
            let found = next.load(key, NOW).await.unwrap();
            sum.log_outs_that_came_back += usize::from(matches!(found, Load::Found(..)));
        }
        sum.log_ins += told.log_ins.len();
        sum.log_outs += told.log_outs.len();
        sum.errors += told.errors;
        sum.longest_pause = sum.longest_pause.max(told.longest_pause);
    }
}

async fn fail_overs(how: How, settings: &str, of_servers: &[&str]) -> Count {
    let rounds = std::env::var("FAILOVERS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut sum = Count::default();
    for _ in 0..rounds {
        fail_over(&how, settings, of_servers, &mut sum).await;
    }
    println!("{rounds} fail-overs, {how:?} {settings:?} {of_servers:?}: {sum:?}");
    assert!(sum.longest_pause < Duration::from_secs(30), "{sum:?}");
    sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn after_the_primary_was_killed_the_next_one_is_found_and_what_is_lost_is_counted() {
    let _ = fail_overs(How::Killed, "", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn nothing_that_a_replica_confirmed_is_lost_when_the_primary_is_killed() {
    let sum = fail_overs(How::Killed, "?wait=1&wait_timeout=500", &[]).await;
    assert_eq!((sum.lost_log_ins, sum.log_outs_that_came_back), (0, 0), "{sum:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn what_had_not_reached_the_replicas_is_lost_and_counted() {
    let sum = fail_overs(How::KilledFarAway, "", &[]).await;
    assert!(sum.lost_log_ins + sum.log_outs_that_came_back > 0, "nothing was under way: {sum:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn nothing_that_a_replica_far_away_confirmed_is_lost_when_the_primary_is_killed() {
    let sum = fail_overs(How::KilledFarAway, "?wait=2&wait_timeout=500", &[]).await;
    assert_eq!((sum.lost_log_ins, sum.log_outs_that_came_back), (0, 0), "{sum:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn after_the_primary_hung_and_came_back_the_next_one_is_found_and_what_is_lost_is_counted() {
    let _ = fail_overs(How::Hangs, "", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn what_one_of_two_replicas_confirmed_may_be_lost_when_the_primary_hung_and_came_back_and_is_counted() {
    let _ = fail_overs(How::Hangs, "?wait=1&wait_timeout=500", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn nothing_that_every_replica_confirmed_is_lost_when_the_primary_hung_and_came_back() {
    let sum = fail_overs(How::Hangs, "?wait=2&wait_timeout=500", &[]).await;
    assert_eq!((sum.lost_log_ins, sum.log_outs_that_came_back), (0, 0), "{sum:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_primary_that_asks_for_replicas_itself_loses_less_when_it_hung_and_came_back() {
    let _ = fail_overs(How::Hangs, "", &["--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"]).await;
}
