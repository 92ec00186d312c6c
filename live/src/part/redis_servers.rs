//! The crate's own tests of its Redis store, on every server that it is promised for.

use crate::{
    own_tests::OwnTests,
    suite::{Part, scenarios},
    tools::{CARGO, OPENSSL, REDIS, REDIS_8_0, Tool, Tools, VALKEY_8_1, VALKEY_9_1},
};

pub(crate) static PART: Part = Part {
    name: "redis-servers",
    about: "the Redis store over TLS, on Redis 8.0, Valkey 8.1 and 9.1, and through fail-overs by sentinels",
    needs: &[&REDIS, &REDIS_8_0, &VALKEY_8_1, &VALKEY_9_1, &OPENSSL, &CARGO],
    scenarios: scenarios![
        only_a_server_that_is_trusted_is_spoken_to,
        redis_8_0_keeps_the_promises,
        valkey_8_1_keeps_the_promises,
        valkey_9_1_keeps_the_promises,
        five_fail_overs_lose_nothing_that_a_replica_confirmed,
    ],
};

/// How many fail-overs each of the tests has that count what is lost.
const FAILOVERS: u32 = 5;

/// The same for `--long`.
pub(crate) static LONG: Part = Part {
    name: "fail-overs",
    about: "fail-overs by sentinels, five and 200 of each kind, with what they lose",
    needs: &[&REDIS, &OPENSSL, &CARGO],
    scenarios: scenarios![
        a_fail_over_is_survived_and_what_it_loses_is_counted,
        two_hundred_fail_overs_lose_nothing_that_a_replica_confirmed,
    ],
};

fn only_a_server_that_is_trusted_is_spoken_to(tools: &Tools) {
    OwnTests::of("redis::tls").run(tools);
}

fn a_fail_over_is_survived_and_what_it_loses_is_counted(tools: &Tools) {
    OwnTests::of("redis::sentinel").with("FAILOVERS", FAILOVERS).run(tools);
}

fn five_fail_overs_lose_nothing_that_a_replica_confirmed(tools: &Tools) {
    let tests = OwnTests::of("redis::sentinel").only("nothing_that_a_replica_confirmed");
    tests.with("FAILOVERS", FAILOVERS).run(tools);
}

fn two_hundred_fail_overs_lose_nothing_that_a_replica_confirmed(tools: &Tools) {
    OwnTests::of("redis::sentinel").with("FAILOVERS", 200).run(tools);
}

fn redis_8_0_keeps_the_promises(tools: &Tools) {
    keeps_the_promises(tools, &REDIS_8_0);
}

fn valkey_8_1_keeps_the_promises(tools: &Tools) {
    keeps_the_promises(tools, &VALKEY_8_1);
}

fn valkey_9_1_keeps_the_promises(tools: &Tools) {
    keeps_the_promises(tools, &VALKEY_9_1);
}

fn keeps_the_promises(tools: &Tools, server: &Tool) {
    let program = tools.path(server).display();
    for module in ["redis::store", "redis::index", "redis::tls"] {
        OwnTests::of(module).with("REDIS_SERVER", &program).run(tools);
    }
}
