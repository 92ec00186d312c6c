//! The crate's own tests that need a redis-server: `cargo test` leaves them out, this part runs them.

use crate::{
    suite::{Part, note, scenarios},
    tools::{CARGO, REDIS, Tools, cargo_test},
};

pub(crate) static PART: Part = Part {
    name: "redis",
    about: "the crate's own tests of its Redis store, each with a redis-server of its own",
    needs: &[&REDIS, &CARGO],
    scenarios: scenarios![
        the_store_in_redis_keeps_its_promises,
        the_index_of_users_in_redis_is_kept_and_mended,
        a_redis_that_fails_at_night_is_met,
        racing_requests_on_redis_lose_nothing,
        ten_thousand_requests_at_once_on_redis_lose_nothing,
    ],
};

fn the_store_in_redis_keeps_its_promises(tools: &Tools) {
    run_ignored(tools, "redis_store");
}

fn the_index_of_users_in_redis_is_kept_and_mended(tools: &Tools) {
    run_ignored(tools, "redis_index");
}

fn a_redis_that_fails_at_night_is_met(tools: &Tools) {
    run_ignored(tools, "redis_faults");
}

fn racing_requests_on_redis_lose_nothing(tools: &Tools) {
    run_ignored(tools, "races_redis");
}

fn ten_thousand_requests_at_once_on_redis_lose_nothing(tools: &Tools) {
    run_ignored(tools, "crowd");
}

/// Runs the ignored tests of one file. It panics where one fails or none was there; what Cargo printed is shown then.
pub(super) fn run_ignored(tools: &Tools, file: &str) {
    let text = cargo_test(tools, file, &[], &["--quiet", "--", "--ignored"]);
    let passed = passed(&text);
    assert!(passed > 0, "crates/dewar/tests/{file}.rs: no test was run");
    note(&format!("{passed} tests of crates/dewar/tests/{file}.rs passed"));
}

/// `test result: ok. 4 passed; 0 failed; ...`
fn passed(text: &str) -> usize {
    let line = text.lines().find_map(|line| line.strip_prefix("test result: ok. "));
    line.and_then(|line| line.split(' ').next()?.parse().ok()).unwrap_or(0)
}
