//! The long proofs: generated histories of racing clients, as many as a night would see.

use crate::{
    own_tests::OwnTests,
    suite::{Part, scenarios},
    tools::{CARGO, POSTGRES, REDIS, Tools},
};

pub(crate) static PART: Part = Part {
    name: "histories",
    about: "a million histories of racing clients in memory, 100,000 on SQLite, 10,000 on Redis and 10,000 on PostgreSQL equal the model",
    needs: &[&CARGO, &REDIS, &POSTGRES],
    scenarios: scenarios![
        ten_thousand_histories_on_redis_equal_the_model,
        ten_thousand_histories_on_postgresql_equal_the_model,
        a_hundred_thousand_histories_on_sqlite_equal_the_model,
        a_million_histories_in_memory_equal_the_model,
    ],
};

fn ten_thousand_histories_on_redis_equal_the_model(tools: &Tools) {
    run(tools, "redis::races", 10_000);
}

fn ten_thousand_histories_on_postgresql_equal_the_model(tools: &Tools) {
    run(tools, "postgres::races", 10_000);
}

fn a_hundred_thousand_histories_on_sqlite_equal_the_model(tools: &Tools) {
    run(tools, "stores::races_sqlite", 100_000);
}

fn a_million_histories_in_memory_equal_the_model(tools: &Tools) {
    run(tools, "stores::races_memory", 1_000_000);
}

/// It panics where a history differs from the model: what was printed has its seed.
fn run(tools: &Tools, module: &str, histories: usize) {
    let tests = OwnTests::of(module).only("histories").with("HISTORIES", histories).with("LOSES", 1).in_release();
    let text = tests.run(tools);
    let equal = format!("{histories} histories equal the model");
    assert!(text.contains(&equal), "{module} did not print {equal:?}");
}
