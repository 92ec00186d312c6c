//! Processor time of a request, all peers interleaved in one run.
//!
//! `inprocess [rounds]` prints one line per peer, scenario and number of sessions, tab separated;
//! `inprocess run <peer> <scenario> <requests>` only runs, for a profiler or a counter of instructions.

use std::time::Duration;

use cpu_time::ThreadTime;
use inprocess::{App, SCENARIOS};
use peers::Peer;

/// Requests of one peer before the next has its turn.
const BATCH: u32 = 500;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [run, peer, scenario, requests] if run == "run" => {
            let peer = Peer::called(peer).expect("a peer");
            let mut app = App::with_sessions(peer, 1).await;
            for _ in 0..requests.parse().expect("a number of requests") {
                drop(app.request(scenario).await);
            }
        }
        _ => {
            let rounds = arguments.first().map_or(201, |rounds| rounds.parse().expect("a number of rounds"));
            println!("sessions\tscenario\tpeer\tmicroseconds beyond the layer that does nothing\tmicroseconds");
            for sessions in [1, 100_000] {
                measure(sessions, rounds).await;
            }
        }
    }
}

async fn measure(sessions: usize, rounds: usize) {
    let mut apps = Vec::new();
    for peer in Peer::ALL {
        let mut app = App::with_sessions(peer, sessions).await;
        app.check().await;
        apps.push(app);
    }
    let baseline = apps.iter().position(|app| app.peer == Peer::Nothing).expect("it is one of them");
    for scenario in SCENARIOS {
        let mut times = vec![Vec::with_capacity(rounds); apps.len()];
        for round in 0..rounds + 5 {
            for at in 0..apps.len() {
                // Each round begins with another peer, so that none always follows the same.
                let at = (at + round) % apps.len();
                let time = batch(&mut apps[at], scenario).await;
                if round >= 5 {
                    times[at].push(time.as_secs_f64() * 1e6 / f64::from(BATCH));
                }
            }
        }
        for (app, of_peer) in apps.iter().zip(&times) {
            // Compared within a round: what slows the machine down slows both down.
            let beyond = of_peer.iter().zip(&times[baseline]).map(|(with, without)| with - without).collect();
            let (beyond, whole) = (median(beyond), median(of_peer.clone()));
            println!("{sessions}\t{scenario}\t{}\t{beyond:.3}\t{whole:.3}", app.peer);
        }
    }
}

async fn batch(app: &mut App, scenario: &str) -> Duration {
    let start = ThreadTime::now();
    for _ in 0..BATCH {
        drop(app.request(scenario).await);
    }
    start.elapsed()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
