//! The crate's own tests that need a MariaDB or MySQL server: `cargo test` leaves them out, this part runs them, on both.

use std::path::Path;

use crate::{
    suite::{Part, note, scenarios},
    tools::{CARGO, MARIADB, MYSQL, OPENSSL, Tool, Tools, cargo_test},
};

pub(crate) static PART: Part = Part {
    name: "mysql",
    about: "the crate's own tests of its MySQL store, each with a server of its own: MariaDB and MySQL",
    needs: &[&MARIADB, &MYSQL, &OPENSSL, &CARGO],
    scenarios: scenarios![
        the_store_in_mariadb_keeps_its_promises,
        the_store_in_mysql_keeps_its_promises,
        whoever_is_not_the_server_learns_nothing,
    ],
};

/// What takes long: faults, races, the histories and kills of a night.
pub(crate) static LONG: Part = Part {
    name: "mysql-long",
    about: "200 kills of MariaDB and of MySQL, and 10,000 histories on each, with answers that get lost",
    needs: &[&MARIADB, &MYSQL, &CARGO],
    scenarios: scenarios![
        a_mariadb_that_fails_at_night_is_met,
        a_mysql_that_fails_at_night_is_met,
        racing_requests_on_mariadb_lose_nothing,
        racing_requests_on_mysql_lose_nothing,
        ten_thousand_requests_at_once_on_mariadb_and_mysql_lose_nothing,
        what_was_confirmed_survives_a_kill_of_mariadb_and_of_mysql,
        two_hundred_kills_lose_nothing,
        ten_thousand_histories_equal_the_model,
    ],
};

fn the_store_in_mariadb_keeps_its_promises(tools: &Tools) {
    run(tools, &MARIADB, "mysql_store", &[], "");
}

fn the_store_in_mysql_keeps_its_promises(tools: &Tools) {
    run(tools, &MYSQL, "mysql_store", &[], "");
}

fn a_mariadb_that_fails_at_night_is_met(tools: &Tools) {
    run(tools, &MARIADB, "mysql_faults", &[], "");
}

fn a_mysql_that_fails_at_night_is_met(tools: &Tools) {
    run(tools, &MYSQL, "mysql_faults", &[], "");
}

fn whoever_is_not_the_server_learns_nothing(tools: &Tools) {
    run_on_both(tools, "mysql_tls", &[], "");
}

fn racing_requests_on_mariadb_lose_nothing(tools: &Tools) {
    run(tools, &MARIADB, "races_mysql", &[], "");
}

fn racing_requests_on_mysql_lose_nothing(tools: &Tools) {
    run(tools, &MYSQL, "races_mysql", &[], "");
}

fn ten_thousand_requests_at_once_on_mariadb_and_mysql_lose_nothing(tools: &Tools) {
    run_on_both(tools, "crowd_mysql", &[], "");
}

fn what_was_confirmed_survives_a_kill_of_mariadb_and_of_mysql(tools: &Tools) {
    run_on_both(tools, "mysql_kill", &[("KILLS", "5")], "");
}

fn two_hundred_kills_lose_nothing(tools: &Tools) {
    run_on_both(tools, "mysql_kill", &[("KILLS", "200")], "");
}

fn ten_thousand_histories_equal_the_model(tools: &Tools) {
    run_on_both(tools, "races_mysql", &[("HISTORIES", "10000"), ("LOSES", "1")], "histories");
}

fn run_on_both(tools: &Tools, file: &str, settings: &[(&str, &str)], only: &str) {
    for server in [&MARIADB, &MYSQL] {
        run(tools, server, file, settings, only);
    }
}

/// Runs the ignored tests of one file on this server, or only those of this name. It panics where one fails or none was there.
fn run(tools: &Tools, server: &Tool, file: &str, settings: &[(&str, &str)], only: &str) {
    let program = tools.path(server);
    let mut settings = settings.to_vec();
    settings.push(("MYSQLD", program.to_str().expect("the path is text")));
    let text = cargo_test(tools, file, &settings, &["--quiet", "--", "--ignored", only]);
    let passed = passed(&text);
    assert!(passed > 0, "crates/dewar/tests/{file}.rs: no test was run");
    let name = program.file_name().map(Path::new).unwrap_or(program).display();
    note(&format!("{passed} tests of crates/dewar/tests/{file}.rs passed on {name}"));
}

/// `test result: ok. 4 passed; 0 failed; ...`; that of a process which a test started comes before.
fn passed(text: &str) -> usize {
    let line = text.lines().rev().find_map(|line| line.strip_prefix("test result: ok. "));
    line.and_then(|line| line.split(' ').next()?.parse().ok()).unwrap_or(0)
}
