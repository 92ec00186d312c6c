//! The crate's own tests that need a Redis Cluster: `cargo test` leaves them out, this part runs them.

use super::redis::{run_ignored, run_on};
use crate::{
    suite::{Part, note, scenarios},
    tools::{CARGO, REDIS, Tools, cargo_test},
};

pub(crate) static PART: Part = Part {
    name: "redis-cluster",
    about: "the crate's own tests of its Redis store, each with a cluster of its own, three primaries and their replicas",
    needs: &[&REDIS, &CARGO],
    scenarios: scenarios![
        the_store_in_a_cluster_keeps_its_promises,
        slots_that_move_and_nodes_that_die_are_met,
        racing_requests_on_a_cluster_lose_nothing,
        ten_thousand_requests_at_once_on_a_cluster_lose_nothing,
    ],
};

/// What `--long` runs.
pub(crate) static KILLS: Part = Part {
    name: "redis-cluster-kills",
    about: "a primary of a Redis Cluster is killed in the middle of writes, 200 times",
    needs: &[&REDIS, &CARGO],
    scenarios: scenarios![two_hundred_primaries_are_killed, five_thousand_histories_on_a_cluster_equal_the_model],
};

fn the_store_in_a_cluster_keeps_its_promises(tools: &Tools) {
    run_ignored(tools, "redis_cluster");
}

fn slots_that_move_and_nodes_that_die_are_met(tools: &Tools) {
    run_ignored(tools, "redis_cluster_faults");
}

fn racing_requests_on_a_cluster_lose_nothing(tools: &Tools) {
    let text = cargo_test(tools, "races_redis_cluster", &[], &["--quiet", "--", "--ignored", "--skip", "histories"]);
    assert!(
        text.contains("test result: ok. 3 passed"),
        "crates/dewar/tests/races_redis_cluster.rs: three tests are expected"
    );
}

fn ten_thousand_requests_at_once_on_a_cluster_lose_nothing(tools: &Tools) {
    run_ignored(tools, "crowd_redis_cluster");
}

fn two_hundred_primaries_are_killed(tools: &Tools) {
    let arguments = ["--", "--ignored", "--nocapture", "is_killed"];
    let text = cargo_test(tools, "redis_cluster_faults", &[("ROUNDS", "200")], &arguments);
    let counted = text.lines().find_map(|line| line.split_once("200 rounds: ")).expect("it counts what was lost");
    note(counted.1);
}

fn five_thousand_histories_on_a_cluster_equal_the_model(tools: &Tools) {
    run_on(tools, "races_redis_cluster", &[("HISTORIES", "5000")]);
}
