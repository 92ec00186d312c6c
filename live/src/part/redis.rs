//! The crate's own tests that need a redis-server: `cargo test` leaves them out, this part runs them.

use crate::{
    own_tests::{HISTORIES, OwnTests},
    suite::{Part, scenarios},
    tools::{CARGO, REDIS, Tools},
};

pub(crate) static PART: Part = Part {
    name: "redis",
    about: "the crate's own tests of its Redis store, each with a redis-server of its own",
    needs: &[&REDIS, &CARGO],
    scenarios: scenarios![
        the_store_in_redis_keeps_its_promises,
        the_index_of_users_in_redis_is_kept_and_mended,
        a_redis_that_fails_at_night_is_met,
        what_attackers_tried_on_redis_changes_nothing,
        racing_requests_on_redis_lose_nothing,
        ten_thousand_requests_at_once_on_redis_lose_nothing,
    ],
};

fn the_store_in_redis_keeps_its_promises(tools: &Tools) {
    OwnTests::of("redis::store").run(tools);
}

fn the_index_of_users_in_redis_is_kept_and_mended(tools: &Tools) {
    OwnTests::of("redis::index").run(tools);
}

fn a_redis_that_fails_at_night_is_met(tools: &Tools) {
    OwnTests::of("redis::faults").run(tools);
}

fn what_attackers_tried_on_redis_changes_nothing(tools: &Tools) {
    OwnTests::of("redis::attacked").run(tools);
}

fn racing_requests_on_redis_lose_nothing(tools: &Tools) {
    OwnTests::of("redis::races").with("HISTORIES", HISTORIES).run(tools);
}

fn ten_thousand_requests_at_once_on_redis_lose_nothing(tools: &Tools) {
    OwnTests::of("crowd::redis").run(tools);
}
