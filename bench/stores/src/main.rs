//! `stores`: the memory store and SQLite; MySQL, PostgreSQL and Redis where `MYSQL_URL`, `POSTGRES_URL` and `REDIS_URL` are set; Redis Cluster beside one server where `REDIS_CLUSTER` is; TCP, TLS and `WAIT` where `REDIS_WAYS` is. One line a measurement, tab separated:
//! what, in flight, microseconds of wall time and of this process's CPU per operation. Names select some: `stores sqlite`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cpu_time::ProcessTime;
use dewar::{
    dialect::SessionId,
    store::{Load, Record, Replace, SessionAdmin, SessionStore, StoreKey, Timestamp, Version},
};
use tokio::task::LocalSet;

mod beside;
mod memory;
mod mysql_store;
mod postgres;
mod redis_store;
mod sqlite;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// How long one side runs before the other has its turn, and how many turns.
const TURN: Duration = Duration::from_millis(200);
const TURNS: usize = 9;

fn key(number: u64) -> StoreKey {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    SessionId::from_random(bytes).key().clone()
}

fn record() -> Record {
    Record {
        data: vec![7; 240].into(),
        created: NOW,
        idle_seconds: 86_400,
        idle_expires: Timestamp::from_secs(NOW.as_secs() + 86_400),
        absolute_expires: None,
        persistent: false,
        principal: None,
        label: None,
        lineage: 0,
        epoch: None,
        guarded_until: None,
        extra: Default::default(),
    }
}

/// The next version of a writer.
fn next() -> Version {
    Version::from_bits(rand::random())
}

#[derive(Clone, Copy)]
struct Each {
    wall: f64,
    cpu: f64,
}

/// Runs `task` so many times at once for a turn. A task returns how many operations it did until the moment it is given.
async fn turn<F: Future<Output = u64> + 'static>(in_flight: u64, task: impl Fn(u64, Instant) -> F) -> Each {
    let local = LocalSet::new();
    let (start, cpu) = (Instant::now(), ProcessTime::now());
    let tasks: Vec<_> = (0..in_flight).map(|number| local.spawn_local(task(number, start + TURN))).collect();
    local.await;
    let mut count = 0;
    for task in tasks {
        count += task.await.expect("a benchmark panicked");
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    Each { wall: each(start.elapsed()), cpu: each(cpu.elapsed()) }
}

fn report(what: &str, in_flight: u64, mut turns: Vec<Each>) {
    turns.sort_by(|a, b| a.wall.total_cmp(&b.wall));
    let wall = turns[turns.len() / 2].wall;
    turns.sort_by(|a, b| a.cpu.total_cmp(&b.cpu));
    let cpu = turns[turns.len() / 2].cpu;
    println!("{what}\t{in_flight}\t{wall:.3}\t{cpu:.3}");
}

async fn until<E: std::fmt::Debug>(end: Instant, mut once: impl AsyncFnMut(u64) -> Result<(), E>) -> u64 {
    let mut count = 0;
    while Instant::now() < end {
        once(count).await.expect("the store failed");
        count += 1;
    }
    count
}

/// In an order that no cache likes.
fn spread(i: u64, task: u64, of: u64) -> usize {
    ((i * 7_919 + task * 104_729) % of) as usize
}

/// Loads of any of these sessions.
async fn loads(store: &impl SessionStore, keys: &[StoreKey], task: u64, end: Instant) -> u64 {
    until(end, async |i| {
        let at = spread(i, task, keys.len() as u64);
        store.load(&keys[at], NOW).await.map(|found| assert!(matches!(found, Load::Found(..))))
    })
    .await
}

/// Each task writes to a session of its own.
async fn replaces(store: &impl SessionStore, keys: &[StoreKey], task: u64, end: Instant) -> u64 {
    let key = &keys[task as usize];
    let Ok(Load::Found(_, mut version)) = store.load(key, NOW).await else { panic!("missing") };
    until(end, async |_| {
        let replaced = store.replace(key, version, next(), record(), NOW).await;
        replaced.map(|replaced| match replaced {
            Replace::Replaced(next) => version = next,
            other => panic!("{other:?}"),
        })
    })
    .await
}

async fn touches(store: &impl SessionStore, keys: &[StoreKey], task: u64, end: Instant) -> u64 {
    let key = &keys[task as usize];
    let Ok(Load::Found(_, version)) = store.load(key, NOW).await else { panic!("missing") };
    let expires = record().idle_expires;
    until(end, async |_| store.touch(key, version, expires, NOW).await.map(drop)).await
}

async fn fill(store: &(impl SessionStore + Clone), sessions: u64) -> Arc<Vec<StoreKey>> {
    let keys: Arc<Vec<_>> = Arc::new((0..sessions).map(key).collect());
    // Many at once, for a store that groups its writes.
    let local = LocalSet::new();
    for task in 0..100 {
        let (store, keys) = (store.clone(), Arc::clone(&keys));
        local.spawn_local(async move {
            for key in keys.iter().skip(task).step_by(100) {
                store.create(key, next(), record(), None, NOW).await.expect("the store failed");
            }
        });
    }
    local.await;
    keys
}

/// The three of a store, `in_flight` at once, beside raw ones that the caller interleaves.
macro_rules! of_store {
    ($verb:ident, $store:expr, $keys:expr, $in_flight:expr) => {
        $crate::turn($in_flight, |task, end| {
            let (store, keys) = ($store.clone(), std::sync::Arc::clone(&$keys));
            async move { $crate::$verb(&store, &keys, task, end).await }
        })
        .await
    };
}
pub(crate) use of_store;

async fn purge(what: &str, store: &impl SessionAdmin) {
    let later = Timestamp::from_secs(NOW.as_secs() + 100_000);
    let (mut removed, mut longest) = (0, Duration::ZERO);
    let start = Instant::now();
    loop {
        let once = Instant::now();
        let count = store.purge(1_000, later).await.expect("the store failed");
        longest = longest.max(once.elapsed());
        removed += count;
        if count == 0 {
            break;
        }
    }
    let each = start.elapsed().as_secs_f64() * 1e6 / removed as f64;
    println!("{what}: purge of {removed}, each\t1\t{each:.3}\t-");
    println!("{what}: the longest purge of 1000\t1\t{:.0}\t-", longest.as_secs_f64() * 1e6);
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let names: Vec<_> = std::env::args().skip(1).collect();
    let wants = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    println!("what\tin flight\twall microseconds\tCPU microseconds");
    if wants("memory") {
        memory::measure().await;
    }
    if wants("sqlite") {
        sqlite::measure().await;
    }
    match std::env::var("POSTGRES_URL") {
        _ if !wants("postgres") => {}
        Ok(url) => postgres::measure(&url).await,
        Err(_) => eprintln!("postgres: not measured, POSTGRES_URL is not set"),
    }
    match std::env::var("REDIS_URL") {
        _ if !wants("redis") => {}
        Ok(url) => redis_store::measure(&url).await,
        Err(_) => eprintln!("redis: not measured, REDIS_URL is not set"),
    }
    match std::env::var("MYSQL_URL") {
        _ if !wants("mysql") => {}
        Ok(url) => mysql_store::measure(&url).await,
        Err(_) => eprintln!("mysql: not measured, MYSQL_URL is not set"),
    }
    match std::env::var("REDIS_WAYS") {
        _ if !wants("ways") => {}
        Ok(ways) => redis_store::measure_ways(&ways).await,
        Err(_) => eprintln!("ways to redis: not measured, REDIS_WAYS is not set"),
    }
    match std::env::var("REDIS_CLUSTER") {
        _ if !wants("cluster") => {}
        Ok(servers) => redis_store::measure_clusters(&servers).await,
        Err(_) => eprintln!("redis cluster: not measured, REDIS_CLUSTER is not set"),
    }
}
