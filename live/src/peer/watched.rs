//! The site that is watched: `examples/metrics`, as it was built beside this program.

use std::{path::PathBuf, time::Duration};

use crate::{
    http::agent,
    process::Process,
    tools::{plain_command, root},
};

/// Our example, which runs until it is dropped.
pub(crate) struct Watched {
    _process: Process,
    /// Where visitors come to.
    pub(crate) url: String,
    /// The host and port for Prometheus.
    pub(crate) operators: String,
}

impl Watched {
    /// On this store; `cookie` is none.
    pub(crate) fn start(store: &str) -> Self {
        let suite = std::env::current_exe().expect("this program has a path");
        let binary = suite.with_file_name(format!("metrics-example{}", std::env::consts::EXE_SUFFIX));
        assert!(binary.is_file(), "the example is not built; run the suite as cargo xtask live");
        let mut command = plain_command(&binary);
        command.env("ADDRESS", "127.0.0.1:0").env("METRICS_ADDRESS", "127.0.0.1:0").env("SESSION_STORE", store);
        command.env("COUNT_EVERY", "1");
        let mut process = Process::start("metrics-example", &mut command);
        // It says so once both are listened on.
        process.wait_until("says its addresses", |it| it.printed().contains("/metrics\n"));
        let printed = process.printed();
        let host = |line: &str| {
            let address = printed.lines().find_map(|printed| printed.strip_prefix(line)?.strip_prefix(" at http://"));
            address.and_then(|address| address.split([' ', '/']).next()).expect("an address").to_owned()
        };
        let (site, operators) = (host("Site"), host("Metrics"));
        Self { _process: process, url: format!("http://{site}"), operators }
    }

    /// What is answered on its other address.
    pub(crate) fn ask(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.operators);
        let answer = agent(Duration::from_secs(20)).get(&url).call();
        let mut answer = answer.unwrap_or_else(|error| panic!("{url}: {error}"));
        let text = answer.body_mut().read_to_string().unwrap_or_else(|error| panic!("{url}: {error}"));
        (answer.status().as_u16(), text)
    }
}

/// A file of the example's.
pub(crate) fn file(name: &str) -> PathBuf {
    root().join("examples/metrics").join(name)
}
