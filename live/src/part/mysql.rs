//! The crate's own tests that need a MariaDB or MySQL server: `cargo test` leaves them out, this part runs them, on both.

use crate::{
    own_tests::{HISTORIES, OwnTests},
    suite::{Part, scenarios},
    tools::{CARGO, MARIADB, MYSQL, OPENSSL, Tool, Tools},
};

pub(crate) static PART: Part = Part {
    name: "mysql",
    about: "the crate's own tests of its MySQL store, each with a server of its own: MariaDB and MySQL",
    needs: &[&MARIADB, &MYSQL, &OPENSSL, &CARGO],
    scenarios: scenarios![
        the_store_in_mariadb_keeps_its_promises,
        the_store_in_mysql_keeps_its_promises,
        a_frameworks_table_is_shared_with_it_on_both,
        whoever_is_not_the_server_learns_nothing,
        what_attackers_tried_on_mysql_changes_nothing,
        a_mariadb_that_fails_at_night_is_met,
        a_mysql_that_fails_at_night_is_met,
        racing_requests_on_mariadb_lose_nothing,
        racing_requests_on_mysql_lose_nothing,
        ten_thousand_requests_at_once_on_mariadb_lose_nothing,
        five_kills_of_mariadb_and_of_mysql_lose_nothing_that_was_confirmed,
    ],
};

/// What takes a night.
pub(crate) static LONG: Part = Part {
    name: "mysql-long",
    about: "200 kills of MariaDB and of MySQL, and 10,000 histories on each, with answers that get lost",
    needs: &[&MARIADB, &MYSQL, &CARGO],
    scenarios: scenarios![
        ten_thousand_requests_at_once_on_mysql_lose_nothing,
        two_hundred_kills_of_mariadb_and_of_mysql_lose_nothing_that_was_confirmed,
        ten_thousand_histories_equal_the_model,
    ],
};

fn the_store_in_mariadb_keeps_its_promises(tools: &Tools) {
    run(tools, &MARIADB, OwnTests::of("mysql::store"));
}

fn the_store_in_mysql_keeps_its_promises(tools: &Tools) {
    run(tools, &MYSQL, OwnTests::of("mysql::store"));
}

fn a_frameworks_table_is_shared_with_it_on_both(tools: &Tools) {
    run_on_both(tools, || OwnTests::of("mysql::tables"));
}

fn what_attackers_tried_on_mysql_changes_nothing(tools: &Tools) {
    run_on_both(tools, || OwnTests::of("mysql::attacked"));
}

fn a_mariadb_that_fails_at_night_is_met(tools: &Tools) {
    run(tools, &MARIADB, OwnTests::of("mysql::faults"));
}

fn a_mysql_that_fails_at_night_is_met(tools: &Tools) {
    run(tools, &MYSQL, OwnTests::of("mysql::faults"));
}

fn whoever_is_not_the_server_learns_nothing(tools: &Tools) {
    run_on_both(tools, || OwnTests::of("mysql::tls"));
}

fn racing_requests_on_mariadb_lose_nothing(tools: &Tools) {
    run(tools, &MARIADB, OwnTests::of("mysql::races").with("HISTORIES", HISTORIES));
}

fn racing_requests_on_mysql_lose_nothing(tools: &Tools) {
    run(tools, &MYSQL, OwnTests::of("mysql::races").with("HISTORIES", HISTORIES));
}

fn ten_thousand_requests_at_once_on_mariadb_lose_nothing(tools: &Tools) {
    run(tools, &MARIADB, OwnTests::of("crowd::mysql"));
}

fn ten_thousand_requests_at_once_on_mysql_lose_nothing(tools: &Tools) {
    run(tools, &MYSQL, OwnTests::of("crowd::mysql"));
}

fn five_kills_of_mariadb_and_of_mysql_lose_nothing_that_was_confirmed(tools: &Tools) {
    run_on_both(tools, || OwnTests::of("mysql::kills").with("KILLS", 5));
}

fn two_hundred_kills_of_mariadb_and_of_mysql_lose_nothing_that_was_confirmed(tools: &Tools) {
    run_on_both(tools, || OwnTests::of("mysql::kills").with("KILLS", 200));
}

fn ten_thousand_histories_equal_the_model(tools: &Tools) {
    run_on_both(tools, || {
        OwnTests::of("mysql::races").only("histories").with("HISTORIES", 10_000).with("LOSES", 1).in_release()
    });
}

fn run_on_both<'a>(tools: &'a Tools, tests: impl Fn() -> OwnTests<'a>) {
    for server in [&MARIADB, &MYSQL] {
        run(tools, server, tests());
    }
}

fn run(tools: &Tools, server: &Tool, tests: OwnTests<'_>) {
    tests.with("MYSQLD", tools.path(server).display()).run(tools);
}
