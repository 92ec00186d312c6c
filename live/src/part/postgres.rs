//! The crate's own tests that need a PostgreSQL: `cargo test` leaves them out, this part runs them.

use crate::{
    own_tests::{HISTORIES, OwnTests},
    suite::{Part, scenarios},
    tools::{CARGO, OPENSSL, PGBOUNCER, POSTGRES, Tools},
};

pub(crate) static PART: Part = Part {
    name: "postgres",
    about: "the crate's own tests of its PostgreSQL store, each with a server of its own, replicas and PgBouncer",
    needs: &[&POSTGRES, &PGBOUNCER, &OPENSSL, &CARGO],
    scenarios: scenarios![
        the_store_in_postgresql_keeps_its_promises,
        a_frameworks_table_in_postgresql_is_shared_with_it,
        addresses_of_postgresql_are_what_they_say_and_nobody_is_between,
        what_attackers_tried_on_postgresql_changes_nothing,
        a_postgresql_that_fails_at_night_is_met,
        a_primary_that_is_killed_five_times_loses_nothing_that_was_confirmed,
        racing_requests_on_postgresql_lose_nothing,
        ten_thousand_requests_at_once_on_postgresql_lose_nothing,
    ],
};

pub(crate) static LONG: Part = Part {
    name: "postgres-kills",
    about: "a primary of PostgreSQL is killed two hundred times, and its replica takes over",
    needs: &[&POSTGRES, &PGBOUNCER, &CARGO],
    scenarios: scenarios![a_primary_that_is_killed_two_hundred_times_loses_nothing_that_was_confirmed],
};

fn the_store_in_postgresql_keeps_its_promises(tools: &Tools) {
    OwnTests::of("postgres::store").run(tools);
}

fn a_frameworks_table_in_postgresql_is_shared_with_it(tools: &Tools) {
    OwnTests::of("postgres::tables").run(tools);
}

fn addresses_of_postgresql_are_what_they_say_and_nobody_is_between(tools: &Tools) {
    OwnTests::of("postgres::address").run(tools);
}

fn what_attackers_tried_on_postgresql_changes_nothing(tools: &Tools) {
    OwnTests::of("postgres::attacked").run(tools);
}

fn a_postgresql_that_fails_at_night_is_met(tools: &Tools) {
    OwnTests::of("postgres::faults").run(tools);
}

fn a_primary_that_is_killed_five_times_loses_nothing_that_was_confirmed(tools: &Tools) {
    kills(tools, 5);
}

fn a_primary_that_is_killed_two_hundred_times_loses_nothing_that_was_confirmed(tools: &Tools) {
    kills(tools, 200);
}

fn racing_requests_on_postgresql_lose_nothing(tools: &Tools) {
    OwnTests::of("postgres::races").with("HISTORIES", HISTORIES).run(tools);
}

fn ten_thousand_requests_at_once_on_postgresql_lose_nothing(tools: &Tools) {
    OwnTests::of("crowd::postgres").run(tools);
}

/// It panics where anything was lost.
fn kills(tools: &Tools, rounds: u32) {
    let text = OwnTests::of("postgres::kills").with("ROUNDS", rounds).one_after_another().run(tools);
    assert!(text.contains(&format!("{rounds} rounds")), "postgres::kills did not say how many rounds it ran");
}
