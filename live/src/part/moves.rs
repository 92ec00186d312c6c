//! Sessions that move from one store of ours to another, on real servers.

use crate::{
    own_tests::OwnTests,
    suite::{Part, scenarios},
    tools::{CARGO, POSTGRES, REDIS, Tools},
};

pub(crate) static PART: Part = Part {
    name: "moves",
    about: "a thousand visits move under load from SQLite to PostgreSQL, and from one Redis to a cluster",
    needs: &[&POSTGRES, &REDIS, &CARGO],
    scenarios: scenarios![a_thousand_visits_move_and_none_loses_anything],
};

fn a_thousand_visits_move_and_none_loses_anything(tools: &Tools) {
    OwnTests::of("stores::moving_servers").run(tools);
}
