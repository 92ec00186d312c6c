//! A Redis server that closes connections, starts again, is full or becomes a replica; and one that allows the least.

use std::{collections::BTreeMap, time::Duration};

use crate::support::{
    http::secret,
    redis::{client, open, order},
    redis_proxy::Proxy,
    redis_server::Server,
    site::{Request, visit},
    stores::{NOW, create, ended, key, later, of, record, version},
};
use dewar::{
    Clock, Keyring, SessionLayer, SessionManager,
    dialect::ExpressSession,
    store::{Record, Revoke, SessionAdmin, SessionStore, StoreError, conformance, redis::RedisStore, redis1},
    testing::Visitor,
};
use redis::{AsyncTypedCommands, aio::MultiplexedConnection};
use tokio::time::sleep;

const HOUR: Duration = Duration::from_secs(3600);

fn manager(store: RedisStore) -> SessionManager {
    SessionLayer::new(secret()).unwrap().store(store).manager().unwrap()
}

// Connections.

/// Closes every connection but this one, and lets the news arrive, or not.
async fn hang_up(client: &mut MultiplexedConnection, news: Duration) {
    order(client, "CLIENT KILL TYPE normal SKIPME yes").await;
    sleep(news).await;
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn whatever_comes_first_after_a_connection_was_closed_is_done_once() {
    let server = Server::start(&[]);
    let mut client = client(&server).await;
    let clock = Clock::at(NOW);
    let layer = || SessionLayer::new(secret()).unwrap().clock(clock.clone()).store(open(&server));
    let managers = [layer().manager().unwrap(), layer().dialect(ExpressSession::new).manager().unwrap()];
    let [manager, express] = &managers;
    for news in [Duration::ZERO, Duration::from_millis(50)] {
        for manager in &managers {
            let mut ada = Visitor::new(manager);
            let request = Request::begin(&ada, manager).await;
            request.session.insert("n", 1);
            hang_up(&mut client, news).await;
            ada.receive(&request.end().await.expect("the first write"));
            hang_up(&mut client, news).await;
            assert_eq!(ada.session().await.expect("a read").get("n"), Some(1));

            let before = Request::begin(&ada, manager).await;
            clock.advance(5 * HOUR);
            let touches = Request::begin(&ada, manager).await;
            hang_up(&mut client, news).await;
            touches.end().await.expect("a touch");
            drop(before);

            let request = Request::begin(&ada, manager).await;
            request.session.renew();
            hang_up(&mut client, news).await;
            ada.receive(&request.end().await.expect("a renewal"));
            let request = Request::begin(&ada, manager).await;
            request.session.clear();
            hang_up(&mut client, news).await;
            ada.receive(&request.end().await.expect("a log-out"));
            assert!(ada.session().await.unwrap().is_empty());
        }
        let mut ada = Visitor::with(manager, BTreeMap::from([("n", 0)])).await.unwrap();
        for n in 1..=5 {
            let request = Request::begin(&ada, manager).await;
            request.session.update("n", |n: &mut u32| *n += 1).unwrap();
            hang_up(&mut client, news).await;
            request.end().await.expect("a change");
            assert_eq!(ada.session().await.unwrap().get("n"), Some(n));
        }
        visit(&mut ada, manager, |session| session.set_principal("ada")).await;
        hang_up(&mut client, news).await;
        assert_eq!(manager.sessions_of("ada").await.expect("a list").len(), 1);
        let handle = manager.sessions_of("ada").await.unwrap()[0].handle.clone();
        hang_up(&mut client, news).await;
        assert!(manager.revoke("ada", &handle).await.expect("the end of one"));
        hang_up(&mut client, news).await;
        assert_eq!(manager.revoke_all("ada").await.expect("the end of all"), 0);
        hang_up(&mut client, news).await;
        manager.revoke_everyone().await.expect("the end of everybody");
    }
    // A change of a record of Express's, whose version does not say who wrote it: where it was known in time that nobody listens.
    let bob = Visitor::with(express, BTreeMap::from([("n", 1)])).await.unwrap();
    let request = Request::begin(&bob, express).await;
    request.session.insert("n", 2);
    hang_up(&mut client, Duration::from_millis(50)).await;
    request.end().await.unwrap();
    assert_eq!(bob.session().await.unwrap().get("n"), Some(2));
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_server_that_closes_idle_connections_is_met_by_the_next_write_without_an_error() {
    let server = Server::start(&["--timeout", "1"]);
    let own = redis::Client::open(server.url()).unwrap().get_connection_manager().await.unwrap();
    for manager in [manager(open(&server)), manager(redis1::store(own))] {
        let mut ada = Visitor::with(&manager, BTreeMap::from([("n", 1)])).await.unwrap();
        let request = Request::begin(&ada, &manager).await;
        request.session.insert("n", 2);
        let new = Request::begin(&Visitor::new(&manager), &manager).await;
        new.session.insert("n", 3);
        sleep(Duration::from_secs(3)).await;
        ada.receive(&request.end().await.unwrap());
        sleep(Duration::from_secs(3)).await;
        let mut bob = Visitor::new(&manager);
        bob.receive(&new.end().await.unwrap());
        assert_eq!(ada.session().await.unwrap().get("n"), Some(2));
        assert_eq!(bob.session().await.unwrap().get("n"), Some(3));
    }
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_server_that_started_again_is_met_by_the_next_write_without_an_error() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let manager = manager(open(&server));
    let mut ada = Visitor::with(&manager, BTreeMap::from([("n", 0)])).await.unwrap();
    for n in 1..=2 {
        let request = Request::begin(&ada, &manager).await;
        request.session.update("n", |n: &mut u32| *n += 1).unwrap();
        server.kill();
        server.restart();
        request.end().await.unwrap();
        assert_eq!(ada.session().await.unwrap().get("n"), Some(n));
    }
    let request = Request::begin(&Visitor::new(&manager), &manager).await;
    request.session.insert("n", 7);
    server.kill();
    // Somebody asks in vain meanwhile.
    assert!(ada.session().await.is_err());
    server.restart();
    let mut bob = Visitor::new(&manager);
    bob.receive(&request.end().await.unwrap());
    assert_eq!(bob.session().await.unwrap().get("n"), Some(7));
    let request = Request::begin(&ada, &manager).await;
    request.session.clear();
    server.kill();
    server.restart();
    ada.receive(&request.end().await.unwrap());
    assert!(ada.session().await.unwrap().is_empty());
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn every_verb_is_one_round_trip() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(&server).await;
    let store = RedisStore::open(&proxy.url()).unwrap();
    let all = async |first: u64| {
        let mut counts = Vec::new();
        let mut count = |what: &'static str| counts.push((what, proxy.round_trips()));
        let anns = |lineage| Record { epoch: Some(0), ..of("ann", lineage) };
        proxy.round_trips();
        create(&store, first, &anns(1)).await;
        count("create");
        store.load(&key(first), NOW).await.unwrap();
        count("load");
        store.touch(&key(first), version(first), later(500), NOW).await.unwrap();
        count("touch");
        store.replace(&key(first), version(first), version(7), anns(1), NOW).await.unwrap();
        count("replace");
        store.rename(&key(first), None, &key(first + 1), version(8), anns(1), ended(1), None, NOW).await.unwrap();
        count("rename");
        store.delete(&key(first + 1), None, ended(1), NOW).await.unwrap();
        count("delete");
        counts
    };
    // The first time the server learns the scripts.
    all(1).await;
    for (what, count) in all(11).await {
        assert_eq!(count, 1, "{what}");
    }
}

// A full server.

/// A site with its server, and some of ada's sessions.
async fn a_site_of_adas(clock: &Clock, sessions: usize) -> (Server, SessionManager, Vec<Visitor>) {
    let server = Server::start(&["--maxmemory-policy", "noeviction"]);
    let layer = SessionLayer::new(secret()).unwrap().clock(clock.clone()).store(open(&server));
    let manager = layer.manager().unwrap();
    let mut visitors = Vec::new();
    for _ in 0..sessions {
        let prepared = Visitor::prepared(&manager, |session| {
            session.insert("n", 1);
            session.set_principal("ada");
        });
        visitors.push(prepared.await.unwrap());
    }
    (server, manager, visitors)
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn on_a_full_server_a_page_that_only_reads_keeps_its_session() {
    let clock = Clock::at(NOW);
    let (server, manager, visitors) = a_site_of_adas(&clock, 2).await;
    order(&mut client(&server).await, "CONFIG SET maxmemory 1").await;
    clock.advance(20 * HOUR);
    Request::begin(&visitors[0], &manager).await.end().await.unwrap();
    clock.advance(5 * HOUR);
    let session = visitors[0].session().await.unwrap();
    assert_eq!(session.get("n"), Some(1), "its expiry was moved");
    assert!(visitors[1].session().await.unwrap().is_empty(), "nobody came");
    session.insert("more", "of it");
    assert!(session.commit().await.unwrap_err().is_store(), "a change that takes room is an error all the same");
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn on_a_full_server_every_end_is_an_end() {
    let (server, manager, mut visitors) = a_site_of_adas(&Clock::at(NOW), 8).await;
    // No end makes room enough for the next.
    order(&mut client(&server).await, "CONFIG SET maxmemory 1").await;
    let mut leaves = visitors.pop().unwrap();
    visit(&mut leaves, &manager, |session| session.clear()).await;
    let stays = visitors[0].session().await.unwrap();
    assert_eq!(manager.revoke_others(&stays).await.expect("the end of the others"), 6);
    assert_eq!(visitors[0].session().await.unwrap().get("n"), Some(1));
    assert_eq!(manager.revoke_all("ada").await.expect("the end of all"), 1);
    for visitor in &visitors {
        assert!(visitor.session().await.unwrap().is_empty());
    }
    manager.revoke_everyone().await.expect("the end of everybody");
    assert!(Visitor::with(&manager, BTreeMap::from([("n", 1)])).await.unwrap_err().is_store(), "it is full");
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn on_a_full_server_a_log_out_that_removes_entries_is_a_log_out() {
    let server = Server::start(&[]);
    let mut client = client(&server).await;
    let layer = || SessionLayer::new(secret()).unwrap().store(open(&server));
    let managers = [
        layer().manager().unwrap(),
        layer().dialect(|secrets: &Keyring| ExpressSession::new(secrets).passport()).manager().unwrap(),
    ];
    for manager in managers {
        for names in [&["user"][..], &["user", "theme"]] {
            order(&mut client, "CONFIG SET maxmemory 0").await;
            let entries = names.iter().map(|name| (*name, 1)).collect::<BTreeMap<_, _>>();
            let mut ada = Visitor::with(&manager, entries).await.unwrap();
            let mut eve = Visitor::with(&manager, BTreeMap::from([("n", 1)])).await.unwrap();
            visit(&mut eve, &manager, |session| session.set_principal("eve")).await;
            order(&mut client, "CONFIG SET maxmemory 1").await;
            visit(&mut ada, &manager, |session| assert!(session.remove("user"))).await;
            assert_eq!(ada.session().await.unwrap().get::<u32>("user"), None);
            let before = eve.session().await.unwrap();
            assert_eq!(before.principal().as_deref(), Some("eve"));
            // Express's way: the entry of Passport's.
            let is_express = before.contains("passport");
            visit(&mut eve, &manager, |session| assert_eq!(session.remove("passport"), is_express)).await;
            assert!(!is_express || eve.session().await.unwrap().principal().is_none());
        }
    }
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_full_server_takes_nothing_that_makes_a_session_longer() {
    let server = Server::start(&[]);
    let mut client = client(&server).await;
    let layer = || SessionLayer::new(secret()).unwrap().store(open(&server));
    let managers = [layer().manager().unwrap(), layer().dialect(ExpressSession::new).manager().unwrap()];
    for manager in managers {
        order(&mut client, "CONFIG SET maxmemory 0").await;
        let mut ada = Visitor::with(&manager, BTreeMap::from([("n", 1)])).await.unwrap();
        order(&mut client, "CONFIG SET maxmemory 1").await;
        visit(&mut ada, &manager, |session| session.renew()).await;
        for renews in [false, true] {
            let request = Request::begin(&ada, &manager).await;
            request.session.insert("n", "x".repeat(1_000));
            if renews {
                request.session.renew();
            }
            assert!(request.end().await.unwrap_err().is_store(), "renews: {renews}");
        }
        assert_eq!(ada.session().await.unwrap().get("n"), Some(1), "what was refused was not done");
    }
    order(&mut client, "CONFIG SET maxmemory 0").await;
    let store = open(&server);
    // Where something expired stands, and where the index is to be kept longer.
    let brief = Record { idle_expires: later(1), ..of("ann", 1) };
    create(&store, 1, &brief).await;
    order(&mut client, "CONFIG SET maxmemory 1").await;
    let long = Record { data: vec![7; 500].into(), epoch: Some(0), ..of("ann", 1) };
    assert!(store.replace(&key(1), version(1), version(2), long.clone(), NOW).await.is_err());
    assert!(store.create(&key(1), version(2), long, None, later(2)).await.is_err());
}

// A primary that became a replica.

/// That a store on this server can write again, or that it cannot.
async fn counts(ada: &Visitor, manager: &SessionManager) -> Result<(), dewar::Error> {
    let request = Request::begin(ada, manager).await;
    request.session.update("n", |n: &mut u32| *n += 1).unwrap();
    request.end().await.map(drop)
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_primary_that_became_a_replica_is_an_error_until_it_is_one_again() {
    let (server, other) = (Server::start(&[]), Server::start(&[]));
    let (mut client, mut others) = (client(&server).await, client(&other).await);
    let clock = Clock::at(NOW);
    let manager = SessionLayer::new(secret()).unwrap().clock(clock.clone()).store(open(&server)).manager().unwrap();
    let ada = Visitor::with(&manager, BTreeMap::from([("n", 0)])).await.unwrap();
    counts(&ada, &manager).await.unwrap();

    // First it is the other's primary, so that both hold the same.
    order(&mut others, &format!("REPLICAOF 127.0.0.1 {}", server.port())).await;
    is_in_step(&mut others).await;
    order(&mut others, "REPLICAOF NO ONE").await;
    order(&mut client, &format!("REPLICAOF 127.0.0.1 {}", other.port())).await;
    is_in_step(&mut client).await;
    let error = counts(&ada, &manager).await.unwrap_err();
    assert!(error.is_store() && error.to_string().contains("read only"), "{error}");
    clock.advance(5 * HOUR);
    Request::begin(&ada, &manager).await.end().await.expect("a page that only reads");

    order(&mut client, "REPLICAOF NO ONE").await;
    counts(&ada, &manager).await.unwrap();
    assert_eq!(ada.session().await.unwrap().get("n"), Some(2), "what was refused was not done");
}

/// Waits until a replica has what its primary has.
async fn is_in_step(client: &mut MultiplexedConnection) {
    for _ in 0..500 {
        let info: String = redis::cmd("INFO").arg("replication").query_async(client).await.unwrap();
        if info.contains("master_link_status:up") {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("the replica does not follow");
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_fail_over_behind_one_address_is_met_by_the_next_write_without_an_error() {
    let (server, other) = (Server::start(&[]), Server::start(&[]));
    let (mut client, mut others) = (client(&server).await, client(&other).await);
    let proxy = Proxy::start(&server).await;
    let manager = manager(RedisStore::open(&proxy.url()).unwrap());
    let ada = Visitor::with(&manager, BTreeMap::from([("n", 0)])).await.unwrap();
    order(&mut others, &format!("REPLICAOF 127.0.0.1 {}", server.port())).await;
    is_in_step(&mut others).await;
    let request = Request::begin(&ada, &manager).await;

    order(&mut others, "REPLICAOF NO ONE").await;
    order(&mut client, &format!("REPLICAOF 127.0.0.1 {}", other.port())).await;
    proxy.puts_in_service(&other);
    request.session.update("n", |n: &mut u32| *n += 1).unwrap();
    request.end().await.unwrap();
    for _ in 0..3 {
        counts(&ada, &manager).await.unwrap();
    }
    assert_eq!(ada.session().await.unwrap().get("n"), Some(4));

    // And back, while many ask.
    is_in_step(&mut client).await;
    order(&mut client, "REPLICAOF NO ONE").await;
    order(&mut others, &format!("REPLICAOF 127.0.0.1 {}", server.port())).await;
    proxy.puts_in_service(&server);
    sleep(Duration::from_millis(1_100)).await;
    let visitors = (0..30).map(|_| Visitor::with(&manager, BTreeMap::from([("n", 1)])));
    for visitor in futures_util::future::join_all(visitors).await {
        assert_eq!(visitor.unwrap().session().await.unwrap().get("n"), Some(1));
    }
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_replica_that_lost_its_primary_is_left_for_the_server_in_service() {
    let (server, other) = (Server::start(&["--replica-serve-stale-data", "no"]), Server::start(&[]));
    let mut client = client(&server).await;
    let proxy = Proxy::start(&server).await;
    let manager = manager(RedisStore::open(&proxy.url()).unwrap());
    Visitor::with(&manager, BTreeMap::from([("n", 0)])).await.unwrap();
    order(&mut client, "REPLICAOF 127.0.0.1 1").await;
    // Reads are refused, too.
    proxy.puts_in_service(&other);
    assert_eq!(manager.sessions_of("ada").await.unwrap().len(), 0);
    Visitor::with(&manager, BTreeMap::from([("n", 0)])).await.unwrap();
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_server_that_refuses_is_not_connected_to_anew_by_every_request() {
    let server = Server::start(&["--replica-serve-stale-data", "no"]);
    let mut client = client(&server).await;
    let store = open(&server);
    create(&store, 1, &record(b"x")).await;
    order(&mut client, "REPLICAOF 127.0.0.1 1").await;
    let connections = async |client: &mut MultiplexedConnection| {
        order(client, "REPLICAOF NO ONE").await;
        let info: String = redis::cmd("INFO").arg("stats").query_async(client).await.unwrap();
        order(client, "REPLICAOF 127.0.0.1 1").await;
        let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:")).unwrap();
        line.parse::<u64>().unwrap()
    };
    let before = connections(&mut client).await;
    for _ in 0..100 {
        assert!(store.load(&key(1), NOW).await.is_err());
    }
    let made = connections(&mut client).await - before;
    assert!(made <= 3, "{made} connections");
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn the_end_of_everybody_passes_over_nobody_when_the_server_is_exchanged_meanwhile() {
    let (server, other) = (Server::start(&[]), Server::start(&[]));
    let (mut client, mut others) = (client(&server).await, client(&other).await);
    let proxy = Proxy::start(&server).await;
    let store = RedisStore::open(&proxy.url()).unwrap();
    for first in (0..20_000).step_by(500) {
        let record = record(b"x");
        let creates = (first..first + 500).map(|number| create(&store, number, &record));
        futures_util::future::join_all(creates).await;
    }
    order(&mut others, &format!("REPLICAOF 127.0.0.1 {}", server.port())).await;
    is_in_step(&mut others).await;

    let ending = tokio::spawn(async move { (store.revoke_everyone(ended(1), NOW).await, store) });
    while !client.exists("dewar-epochs").await.unwrap() {}
    sleep(Duration::from_millis(50)).await;
    order(&mut others, "REPLICAOF NO ONE").await;
    proxy.puts_in_service(&other);
    order(&mut client, "CLIENT KILL TYPE normal SKIPME yes").await;
    let (ended_then, store) = ending.await.unwrap();
    let left = store.count(NOW).await.unwrap();
    assert!(ended_then.is_err() || left == 0, "{ended_then:?}, and {left} are left");
    store.revoke_everyone(ended(2), NOW).await.unwrap();
    assert_eq!(store.count(NOW).await.unwrap(), 0);
}

/// 6000 of ann's sessions on two servers, of which the first is left in the middle of an end; what that said, and who lives then on the second.
/// Meanwhile one session of ann's moves there from key to key.
async fn an_end_that_meets_another_server(everyone: bool) -> (Result<u64, StoreError>, usize) {
    let (server, other) = (Server::start(&[]), Server::start(&[]));
    let (mut client, mut others) = (client(&server).await, client(&other).await);
    let proxy = Proxy::start(&server).await;
    let (store, on_other) = (RedisStore::open(&proxy.url()).unwrap(), open(&other));
    for first in (0..6_000).step_by(500) {
        let anns = (first..first + 500).map(|number| (number, of("ann", 1 + number)));
        let store = &store;
        let creates = anns.map(|(number, record)| async move { create(store, number, &record).await });
        futures_util::future::join_all(creates).await;
    }
    order(&mut others, &format!("REPLICAOF 127.0.0.1 {}", server.port())).await;
    is_in_step(&mut others).await;
    // It hears of nothing that follows.
    order(&mut others, "REPLICAOF NO ONE").await;

    let ending = tokio::spawn(async move {
        match everyone {
            true => store.revoke_everyone(ended(1), NOW).await,
            false => store.revoke("ann", Revoke::All, ended(1), NOW).await,
        }
    });
    while !client.exists("dewar-epochs").await.unwrap() {}
    proxy.puts_in_service(&other);
    order(&mut client, &format!("REPLICAOF 127.0.0.1 {}", other.port())).await;
    for number in 0.. {
        if ending.is_finished() {
            break;
        }
        let anns = Record { epoch: Some(0), ..of("ann", 1) };
        let (from, to) = (if number == 0 { 0 } else { 10_000 + number }, 10_001 + number);
        on_other.rename(&key(from), None, &key(to), version(to), anns, ended(3), None, NOW).await.unwrap();
    }
    (ending.await.unwrap(), on_other.count(NOW).await.unwrap() as usize)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn an_end_of_all_is_one_on_the_server_that_came_into_service_meanwhile() {
    for everyone in [false, true] {
        let (said, left) = an_end_that_meets_another_server(everyone).await;
        assert!(said.is_err() || left == 0, "{said:?}, and {left} are left; everyone: {everyone}");
        assert!(everyone || said.is_ok(), "{said:?}");
    }
}

// Names, and a runtime.

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_key_whose_name_is_no_text_stops_nobody() {
    let server = Server::start(&[]);
    let (store, mut client) = (open(&server), client(&server).await);
    create(&store, 1, &of("ann", 1)).await;
    for name in [&b"dewar:\xff\xfe"[..], b"dewar-sessions:\xff", b"dewar-principal:\xff"] {
        client.set(name, "x").await.unwrap();
    }
    assert_eq!(store.count(NOW).await.unwrap(), 1);
    assert_eq!(store.list(None, None, 9, NOW).await.unwrap().len(), 1);
    assert_eq!(store.purge(9, NOW).await.unwrap(), 0);
    assert_eq!(store.revoke_everyone(ended(1), NOW).await.unwrap(), 1);
}

#[test]
fn a_runtime_without_timers_is_refused_at_the_start() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let error = runtime.block_on(async { RedisStore::open("redis://127.0.0.1/") }).unwrap_err();
    assert!(error.to_string().contains("enable_time()"), "{error}");
}

// Rights.

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
    let server = Server::start(&[]);
    let mut client = client(&server).await;
    let mut user = redis::cmd("ACL");
    user.arg("SETUSER").arg("dewar").arg(rights());
    user.query_async::<()>(&mut client).await.unwrap();
    let url = server.url().replace("redis://", "redis://dewar:PASSWORD@");
    conformance::check(|| async { RedisStore::open(&url).unwrap() }).await;

    let store = RedisStore::open(&url).unwrap();
    create(&store, 1, &of("ann", 1)).await;
    client.del("dewar-sessions:ann").await.unwrap();
    client.zadd("dewar-principal:ann", &key(2).digest()[..], NOW.as_millis()).await.unwrap();
    store.touch(&key(1), version(1), later(60), NOW).await.unwrap();
    store.list(Some("ann"), None, 9, later(200)).await.unwrap();
    store.revoke("ann", Revoke::Lineage(1), ended(1), NOW).await.unwrap();
    assert!(store.claim_purge(NOW).await.unwrap());
    store.purge(9, NOW).await.unwrap();
    let express = SessionLayer::new(secret()).unwrap().dialect(ExpressSession::new).store(store).manager().unwrap();
    let mut bob = Visitor::with(&express, BTreeMap::from([("n", 1)])).await.unwrap();
    visit(&mut bob, &express, |session| session.insert("n", 2)).await;
    visit(&mut bob, &express, |session| session.renew()).await;
    visit(&mut bob, &express, |session| session.clear()).await;
    let refused: Vec<String> = redis::cmd("ACL")
        .arg("LOG")
        .query_async::<Vec<redis::Value>>(&mut client)
        .await
        .unwrap()
        .iter()
        .map(|entry| format!("{entry:?}"))
        .collect();
    assert!(refused.iter().all(|entry| entry.contains("client|setinfo")), "{refused:?}");
}
