//! Processor time of a server for each request, and requests a second: all peers interleaved in one run.
//!
//! `http [rounds] [milliseconds of a turn] [peers...]` prints one line per peer, scenario and number of sessions, tab
//! separated. It starts the servers itself, on free ports of the loopback, and stops them. Redis is at REDIS_URL,
//! PostgreSQL at POSTGRES_URL, a Python with Flask, Django and gunicorn at PYTHON; what is missing is said and left out.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use tokio::signal::unix::{SignalKind, signal};

mod client;
mod load;
mod peer;
mod server;

use load::{Cookies, Each};
use peer::{ALL, BARE, Peer};
use server::{Cpu, Server};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |at: usize, otherwise: u64| arguments.get(at).map_or(otherwise, |text| text.parse().expect("a number"));
    let (rounds, length) = (number(0, 7) as usize, Duration::from_millis(number(1, 300)));
    let only = arguments.get(2..).unwrap_or_default();
    let chosen = ALL
        .into_iter()
        .filter(|peer| only.is_empty() || peer.name == BARE || only.iter().any(|name| name == peer.name));
    let mut terminate = signal(SignalKind::terminate()).expect("a handler of SIGTERM");
    // Whatever ends first, the servers are dropped, and stopped by that.
    tokio::select! {
        () = run(chosen.collect(), rounds, length) => ExitCode::SUCCESS,
        _ = tokio::signal::ctrl_c() => ExitCode::from(130),
        _ = terminate.recv() => ExitCode::from(143),
    }
}

async fn run(peers: Vec<Peer>, rounds: usize, length: Duration) {
    let scratch = Scratch::new();
    let redis = redis_server();
    println!(
        "sessions\tscenario\tpeer\tmicroseconds beyond bare axum\tmicroseconds\trequests a second\t\
         microseconds of the Redis server\tsessions there are"
    );
    let mut missing = BTreeSet::new();
    for (sessions, scenarios) in [(1, &["untouched", "read", "write", "login"][..]), (100_000, &["read", "write"])] {
        // New servers: those before hold the sessions that logging in began.
        let mut seeded = Vec::new();
        for peer in &peers {
            match Server::start(*peer, &scratch.0).await {
                Ok(server) => {
                    load::check(&server).await;
                    let start = Instant::now();
                    let cookies = load::seed(&server, sessions).await;
                    if sessions > 1 {
                        let (count, seconds) = (cookies.len(), start.elapsed().as_secs_f64());
                        eprintln!("{}: {count} sessions in {seconds:.1} s", peer.name);
                    }
                    seeded.push((server, cookies));
                }
                Err(what) => drop(missing.insert(format!("{}: not measured, {what}", peer.name))),
            }
        }
        for scenario in scenarios {
            let turns = interleave(&seeded, scenario, &redis, rounds, length).await;
            report(&seeded, scenario, sessions, &turns);
        }
    }
    missing.iter().for_each(|line| eprintln!("{line}"));
}

async fn interleave(
    seeded: &[(Server, Cookies)],
    scenario: &str,
    redis: &Cpu,
    rounds: usize,
    length: Duration,
) -> Vec<Vec<Each>> {
    let path = match scenario {
        "untouched" => "/untouched",
        "read" => "/read",
        "write" => "/write",
        _ => "/login",
    };
    let mut turns = vec![Vec::with_capacity(rounds); seeded.len()];
    // The first round only warms up; JavaScript is compiled while it runs.
    for round in 0..=rounds {
        for at in 0..seeded.len() {
            // Each round begins with another peer, so that none always follows the same.
            let at = (at + round) % seeded.len();
            let (server, cookies) = &seeded[at];
            let length = if round == 0 { length.max(server.peer.warm_up()) } else { length };
            let each = load::turn(server, path, cookies, redis, length).await;
            if round > 0 {
                turns[at].push(each);
            }
        }
    }
    turns
}

fn report(seeded: &[(Server, Cookies)], scenario: &str, sessions: usize, turns: &[Vec<Each>]) {
    let bare = seeded.iter().position(|(server, _)| server.peer.name == BARE).expect("it is always measured");
    for ((server, cookies), of_peer) in seeded.iter().zip(turns) {
        // Compared within a round: what slows the machine down slows both down.
        let beyond = median(of_peer.iter().zip(&turns[bare]).map(|(with, without)| with.cpu - without.cpu));
        let cpu = median(of_peer.iter().map(|each| each.cpu));
        let a_second = median(of_peer.iter().map(|each| each.a_second));
        let redis = median(of_peer.iter().map(|each| each.redis));
        let redis = if server.peer.on_redis() { format!("{redis:.2}") } else { "-".into() };
        let (peer, there) = (server.peer.name, cookies.len());
        println!("{sessions}\t{scenario}\t{peer}\t{beyond:.2}\t{cpu:.2}\t{a_second:.0}\t{redis}\t{there}");
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The Redis server, where it is a process of this machine.
fn redis_server() -> Cpu {
    let ask = |url: String| -> redis::RedisResult<String> {
        redis::cmd("INFO").arg("server").query(&mut redis::Client::open(url)?.get_connection()?)
    };
    let info = std::env::var("REDIS_URL").ok().and_then(|url| ask(url).ok()).unwrap_or_default();
    let process = info.lines().find_map(|line| line.strip_prefix("process_id:")?.trim().parse().ok());
    process.filter(|id| Path::new(&format!("/proc/{id}")).is_dir()).map_or_else(Cpu::default, Cpu::of)
}

/// A directory for the SQLite files and what the servers print; gone at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("dewar-bench-http-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
