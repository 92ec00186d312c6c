//! The memory store, from a thousand sessions to a million.

use dewar::store::memory::MemoryStore;

use crate::{TURNS, fill, of_store, purge, report};

pub(crate) async fn measure() {
    for sessions in [1_000, 10_000, 100_000, 1_000_000] {
        let store = MemoryStore::new().max_entries(2_000_000).max_bytes(4 << 30);
        let before = resident();
        let keys = fill(&store, sessions).await;
        let each = resident().saturating_sub(before) as f64 / sessions as f64;
        if sessions >= 100_000 {
            println!("memory, {sessions} sessions: bytes each with its key here\t-\t{each:.0}\t-");
        }
        let (mut load, mut replace) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            load.push(of_store!(loads, store, keys, 1));
            replace.push(of_store!(replaces, store, keys, 1));
        }
        report(&format!("memory, {sessions} sessions: load"), 1, load);
        report(&format!("memory, {sessions} sessions: replace"), 1, replace);
        if sessions == 1_000_000 {
            purge("memory, 1000000 sessions", &store).await;
        }
    }
}

fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0) * 4096_usize
}
