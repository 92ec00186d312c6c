//! Allocations of a request, and the bytes they ask for. In a program of its own, because counting takes time.

use std::alloc::System;

use inprocess::{App, SCENARIOS};
use peers::Peer;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUESTS: usize = 1_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!("scenario\tpeer\tallocations\tbytes");
    for peer in Peer::ALL {
        let mut app = App::with_sessions(peer, 1).await;
        app.check().await;
        for scenario in SCENARIOS {
            let region = Region::new(ALLOCATOR);
            for _ in 0..REQUESTS {
                drop(app.request(scenario).await);
            }
            let change = region.change();
            let count = (change.allocations + change.reallocations) as f64 / REQUESTS as f64;
            println!("{scenario}\t{peer}\t{count:.1}\t{}", change.bytes_allocated / REQUESTS);
        }
    }
}
