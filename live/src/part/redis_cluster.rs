//! The crate's own tests that need a Redis Cluster: `cargo test` leaves them out, this part runs them.

use crate::{
    own_tests::{HISTORIES, OwnTests},
    suite::{Part, scenarios},
    tools::{CARGO, REDIS, Tools},
};

pub(crate) static PART: Part = Part {
    name: "redis-cluster",
    about: "the crate's own tests of its Redis store, each with a cluster of its own, three primaries and their replicas",
    needs: &[&REDIS, &CARGO],
    scenarios: scenarios![
        the_store_in_a_cluster_keeps_its_promises,
        slots_that_move_and_nodes_that_die_are_met,
        what_attackers_tried_on_a_cluster_changes_nothing,
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
    OwnTests::of("redis_cluster::store").run(tools);
}

fn slots_that_move_and_nodes_that_die_are_met(tools: &Tools) {
    OwnTests::of("redis_cluster::faults").run(tools);
}

fn what_attackers_tried_on_a_cluster_changes_nothing(tools: &Tools) {
    OwnTests::of("redis_cluster::attacked").run(tools);
}

fn racing_requests_on_a_cluster_lose_nothing(tools: &Tools) {
    OwnTests::of("redis_cluster::races").with("HISTORIES", HISTORIES).run(tools);
}

fn ten_thousand_requests_at_once_on_a_cluster_lose_nothing(tools: &Tools) {
    OwnTests::of("crowd::redis_cluster").run(tools);
}

fn two_hundred_primaries_are_killed(tools: &Tools) {
    let text = OwnTests::of("redis_cluster::faults").only("is_killed").with("ROUNDS", 200).run(tools);
    assert!(text.contains("200 rounds: "), "redis_cluster::faults did not say how many rounds it ran");
}

fn five_thousand_histories_on_a_cluster_equal_the_model(tools: &Tools) {
    OwnTests::of("redis_cluster::races").only("histories").with("HISTORIES", 5000).run(tools);
}
