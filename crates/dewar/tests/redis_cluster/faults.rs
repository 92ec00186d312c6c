//! A Redis Cluster whose slots move, whose nodes die, and whose connections are closed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use crate::support::{
    http::secret,
    redis_cluster::{Cluster, NODE_TIMEOUT, order},
    stores::{NOW, ended, key, of, record, version},
};
use dewar::{
    Session, SessionLayer, SessionManager,
    store::{Create, Load, Replace, SessionAdmin, SessionStore, redis::RedisStore},
    testing::Visitor,
};
use tokio::{task::JoinSet, time::sleep};

fn manager(store: RedisStore) -> SessionManager {
    SessionLayer::new(secret()).unwrap().store(store).manager().unwrap()
}

/// How often a test that kills is run: a few times, or as `ROUNDS` says.
fn rounds(few: u64) -> u64 {
    std::env::var("ROUNDS").map_or(few, |rounds| rounds.parse().expect("ROUNDS is a number"))
}

/// Visitors who count their own visits, until they are told to stop.
struct Crowd {
    stop: Arc<AtomicBool>,
    errors: Arc<Mutex<Vec<String>>>,
    visits: Arc<AtomicU64>,
    tasks: JoinSet<(Visitor, u64, u64)>,
}

impl Crowd {
    async fn start(cluster: &Cluster, visitors: usize) -> Self {
        let manager = manager(cluster.open());
        let mut crowd =
            Self { stop: Arc::default(), errors: Arc::default(), visits: Arc::default(), tasks: JoinSet::new() };
        for number in 0..visitors {
            let visitor = Visitor::prepared(&manager, |session| {
                session.insert("n", 0_u64);
                if number % 2 == 0 {
                    session.set_principal(&*format!("user{}", number % 50));
                }
            });
            let (visitor, manager) = (visitor.await.unwrap(), manager.clone());
            let (stop, errors, visits) = (crowd.stop.clone(), crowd.errors.clone(), crowd.visits.clone());
            crowd.tasks.spawn(async move { visits_on(visitor, manager, number, stop, errors, visits).await });
        }
        crowd
    }

    /// Everybody stops; each counter is what was confirmed, or that and what nobody knows of.
    async fn counted(self) -> Vec<String> {
        self.stop.store(true, SeqCst);
        for (visitor, confirmed, unknown) in self.tasks.join_all().await {
            let session = visitor.session().await.expect("whoever waited is served");
            let counted: u64 = session.get("n").expect("a session that was confirmed is lost");
            assert!(
                (confirmed..=confirmed + unknown).contains(&counted),
                "{confirmed} were confirmed, of {unknown} nobody knows, {counted} are stored"
            );
        }
        self.errors.lock().unwrap().clone()
    }
}

async fn visits_on(
    mut visitor: Visitor,
    manager: SessionManager,
    number: usize,
    stop: Arc<AtomicBool>,
    errors: Arc<Mutex<Vec<String>>>,
    visits: Arc<AtomicU64>,
) -> (Visitor, u64, u64) {
    let (mut confirmed, mut unknown) = (0, 0);
    for round in 0_usize.. {
        if stop.load(SeqCst) {
            break;
        }
        let session = match manager.open(&crate::support::site::headers(&visitor)).await {
            Ok(session) => session,
            Err(error) => {
                errors.lock().unwrap().push(format!("{error}: {:?}", std::error::Error::source(&error)));
                sleep(Duration::from_millis(5)).await;
                continue;
            }
        };
        session.update("n", |n: &mut u64| *n += 1).unwrap();
        // A renewal now and then.
        if (round + number) % 16 == 15 {
            session.renew();
        }
        let mut response = http::HeaderMap::new();
        match manager.commit(&session).await.apply(&mut response) {
            Ok(()) => {
                confirmed += 1;
                visitor.receive(&response);
            }
            Err(error) => {
                assert!(error.is_store(), "{error}");
                unknown += 1;
                errors.lock().unwrap().push(error.to_string());
            }
        }
        visits.fetch_add(1, SeqCst);
        sleep(Duration::from_millis(5)).await;
    }
    (visitor, confirmed, unknown)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn slots_move_while_two_hundred_visitors_read_and_write_and_nobody_notices() {
    let cluster = Arc::new(Cluster::start());
    let crowd = Crowd::start(&cluster, 200).await;
    let [a, b] = [cluster.primaries()[0].2, cluster.primaries()[1].2];
    let moves = Arc::clone(&cluster);
    tokio::task::spawn_blocking(move || {
        let slots: Vec<u16> = (0..400).map(|at| at * 13).collect();
        for (from, to) in [(a, b), (b, a)] {
            for slot in &slots {
                // One key at a time: each slot is in two places for a while.
                moves.migrate(*slot, from, to, 1);
            }
        }
    })
    .await
    .unwrap();
    let visits = crowd.visits.load(SeqCst);
    assert!(visits > 1_000, "{visits} visits");
    assert_eq!(crowd.counted().await, [""; 0], "{visits} visits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn everybody_ends_while_slots_move() {
    let cluster = Arc::new(Cluster::start());
    let store = cluster.open();
    for number in 0..1_000 {
        let created = store.create(&key(number), version(1), of("ann", number + 1), None, NOW).await.unwrap();
        assert!(matches!(created, Create::Created(_)));
    }
    let [a, b] = [cluster.primaries()[0].2, cluster.primaries()[1].2];
    let (moves, stop) = (Arc::clone(&cluster), Arc::new(AtomicBool::new(false)));
    let stops = Arc::clone(&stop);
    let moving = tokio::task::spawn_blocking(move || {
        for slot in (0..5_000).step_by(7) {
            if stops.load(SeqCst) {
                return;
            }
            moves.migrate(slot, a, b, 100);
        }
    });
    sleep(Duration::from_millis(50)).await;
    let ended = store.revoke_everyone(ended(1), NOW).await;
    stop.store(true, SeqCst);
    moving.await.unwrap();
    match ended {
        Ok(ended) => assert_eq!(ended, 1_000),
        Err(error) => assert!(error.to_string().contains("moved again"), "{error}"),
    }
    assert_eq!(store.revoke_everyone(crate::support::stores::ended(2), NOW).await.unwrap(), 0, "none was passed over");
    assert_eq!(store.count(NOW).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_fail_over_by_command_loses_nothing_and_is_noticed_by_nobody() {
    let cluster = Cluster::start();
    let crowd = Crowd::start(&cluster, 100).await;
    for round in 0..3 {
        // Nodes vote about one primary once in two node timeouts; until then it holds its clients back in vain.
        sleep(Duration::from_millis(2 * NODE_TIMEOUT + 200)).await;
        let replicas = if round % 2 == 0 { 3..6 } else { 0..3 };
        for replica in &cluster.nodes[replicas] {
            let port = replica.port();
            let mut asked: Option<Instant> = None;
            cluster.until("it is a primary", || {
                let is_primary = cluster.primaries().iter().any(|(.., primary)| *primary == port);
                // A busy machine may let it pass.
                if !is_primary && asked.is_none_or(|at| at.elapsed() > Duration::from_secs(6)) {
                    order(&mut replica.connect(), "CLUSTER FAILOVER");
                    asked = Some(Instant::now());
                }
                is_primary
            });
        }
        cluster.is_whole();
    }
    assert_eq!(crowd.counted().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn connections_that_are_closed_lose_nothing_and_count_nothing_twice() {
    let cluster = Cluster::start();
    let crowd = Crowd::start(&cluster, 50).await;
    for _ in 0..40 {
        for node in &cluster.nodes {
            order(&mut node.connect(), "CLIENT KILL TYPE normal SKIPME yes");
        }
        sleep(Duration::from_millis(30)).await;
    }
    crowd.counted().await;
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_shard_without_nodes_is_an_honest_error_and_the_others_go_on() {
    let mut cluster = Cluster::start();
    let store = cluster.open();
    let mut shards: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
    for number in 0..60 {
        store.create(&key(number), version(number), record(b"x"), None, NOW).await.unwrap();
        shards.entry(cluster.primary_of(&key(number).to_string())).or_default().push(number);
    }
    let dead = cluster.nodes[2].port();
    let replica = cluster.nodes[5].port();
    cluster.kill(replica);
    cluster.kill(dead);
    for (port, numbers) in &shards {
        let start = Instant::now();
        let loaded = store.load(&key(numbers[0]), NOW).await;
        let replaced = store.replace(&key(numbers[0]), version(numbers[0]), version(99), record(b"y"), NOW).await;
        if *port == dead {
            assert!(loaded.is_err() && replaced.is_err());
            assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        } else {
            assert!(matches!(loaded.unwrap(), Load::Found(..)));
            assert_eq!(replaced.unwrap(), Replace::Replaced(version(99)));
        }
    }
    assert!(store.count(NOW).await.is_err() && store.list(None, None, 9, NOW).await.is_err());
    assert!(store.revoke_everyone(ended(1), NOW).await.is_err());
}

/// Log-ins, writes and every other time a log-out, until it is told to stop: who is logged in by then, and who has logged out.
async fn logs_in_and_out(manager: SessionManager, stop: Arc<AtomicBool>) -> [Vec<Visitor>; 2] {
    let [mut confirmed, mut ended] = [Vec::new(), Vec::new()];
    while !stop.load(SeqCst) {
        let begun = Visitor::prepared(&manager, |session| session.set_principal("ann")).await;
        let Ok(mut visitor) = begun else { continue };
        if commits(&mut visitor, &manager, |session| session.insert("n", 1)).await.is_none() {
            continue;
        }
        if confirmed.len() <= ended.len() {
            confirmed.push(visitor);
        } else if let Some(before) = commits(&mut visitor, &manager, |session| session.clear()).await {
            ended.push(before);
        }
    }
    [confirmed, ended]
}

/// One request; the visitor as it was before, where it was confirmed.
async fn commits(visitor: &mut Visitor, manager: &SessionManager, act: impl FnOnce(&Session)) -> Option<Visitor> {
    let before = visitor.clone();
    let session = manager.open(&crate::support::site::headers(visitor)).await.ok()?;
    act(&session);
    let mut response = http::HeaderMap::new();
    manager.commit(&session).await.apply(&mut response).ok()?;
    visitor.receive(&response);
    Some(before)
}

/// Copies are made after the answer, so a fail-over may lose what was confirmed last. It is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_primary_is_killed_and_writes_are_back_within_the_fail_over() {
    let mut cluster = Cluster::start();
    let [mut writes, mut lost, mut log_outs, mut back] = [0; 4];
    let mut slowest = Duration::ZERO;
    let rounds = rounds(5);
    for round in 0..rounds {
        let manager = manager(cluster.open());
        let stop = Arc::new(AtomicBool::new(false));
        let tasks: JoinSet<_> = (0..32).map(|_| logs_in_and_out(manager.clone(), Arc::clone(&stop))).collect();
        sleep(Duration::from_millis(300)).await;
        let port = cluster.primaries()[round as usize % 3].2;
        let mut numbers = 1_000_000 * (round + 1)..;
        let probe = key(numbers.find(|number| cluster.primary_of(&key(*number).to_string()) == port).unwrap());
        let killed = Instant::now();
        cluster.kill(port);
        let store = cluster.open();
        while store.create(&probe, version(1), record(b"x"), None, NOW).await.is_err() {
            assert!(killed.elapsed() < Duration::from_secs(30), "writes are not back");
        }
        slowest = slowest.max(killed.elapsed());
        sleep(Duration::from_millis(300)).await;
        stop.store(true, SeqCst);
        for [confirmed, ended] in tasks.join_all().await {
            for visitor in confirmed {
                writes += 1;
                lost += u64::from(visitor.session().await.unwrap().get("n") != Some(1));
            }
            for visitor in ended {
                log_outs += 1;
                back += u64::from(!visitor.session().await.unwrap().is_empty());
            }
        }
        cluster.nodes.iter_mut().find(|node| node.port() == port).unwrap().restart();
        cluster.is_whole();
        manager.revoke_everyone().await.unwrap();
    }
    #[allow(clippy::print_stdout)]
    {
        println!(
            "{rounds} rounds: of {writes} confirmed writes {lost} are lost, of {log_outs} confirmed log-outs {back} are undone; \
         writes are back within {slowest:?}, with a node timeout of {NODE_TIMEOUT} ms"
        );
    }
    assert!(writes > 0 && log_outs > 0);
    assert!(slowest < Duration::from_secs(15), "{slowest:?}");
}
