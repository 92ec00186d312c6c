//! The crate's own tests that need a server: `cargo test` leaves them out, these parts run them.

use std::process::Command;

use crate::{
    process::Process,
    suite::note,
    tools::{CARGO, Tools, root},
};

/// How many generated histories run on each server, of the thousands that `--long` runs.
pub(crate) const HISTORIES: u32 = 1_000;

/// The tests of one module of one of the crate's test programs, `redis::store` for `crates/dewar/tests/redis/store.rs`.
pub(crate) struct OwnTests<'a> {
    module: &'a str,
    settings: Vec<(&'a str, String)>,
    only: &'a str,
    in_release: bool,
    one_after_another: bool,
}

impl<'a> OwnTests<'a> {
    pub(crate) fn of(module: &'a str) -> Self {
        OwnTests { module, settings: Vec::new(), only: "", in_release: false, one_after_another: false }
    }

    /// With this variable in the environment.
    pub(crate) fn with(mut self, name: &'a str, value: impl ToString) -> Self {
        self.settings.push((name, value.to_string()));
        self
    }

    /// Only those with this word in their names.
    pub(crate) fn only(self, word: &'a str) -> Self {
        OwnTests { only: word, ..self }
    }

    /// One at a time, where each fills the machine.
    pub(crate) fn one_after_another(self) -> Self {
        OwnTests { one_after_another: true, ..self }
    }

    pub(crate) fn in_release(self) -> Self {
        OwnTests { in_release: true, ..self }
    }

    /// Runs them, shows what they counted, and returns all that was printed. It panics where one fails or none is there.
    pub(crate) fn run(&self, tools: &Tools) -> String {
        let (program, module) = self.module.split_once("::").expect("a program and a module of it");
        let mut cargo = Command::new(tools.path(&CARGO));
        // Cargo's own settings stay in the environment, so that it builds where it has built before.
        cargo.current_dir(root()).envs(self.settings.iter().map(|(name, value)| (*name, value.as_str())));
        // With all packages, as `cargo test` does, since Cargo unites the features of those that it is asked for.
        cargo.args(["test", "--workspace", "--test", program, "--quiet"]);
        cargo.args(self.in_release.then_some("--release"));
        cargo.args(["--", "--include-ignored", "--nocapture"]);
        cargo.args(if self.one_after_another { &["--test-threads", "1"][..] } else { &[] });
        cargo.arg(format!("{module}::{}", self.only));
        let (status, text) = Process::start("cargo test", &mut cargo).finish();
        assert!(status.success(), "{}: cargo test ended with {status}", self.module);
        let counted = |line: &&str| COUNTED.iter().any(|word| line.contains(word));
        text.lines().filter(counted).for_each(note);
        let passed = passed(&text);
        assert!(passed > 0, "{}: no test was run", self.module);
        note(&format!("{passed} tests of {} passed", self.module));
        text
    }
}

/// What is in a line that a test prints to be read.
const COUNTED: &[&str] = &["fail-overs", "rounds: ", "confirmed", "histories equal"];

/// `test result: ok. 4 passed; 0 failed; ...`; that of a process which a test started comes before.
fn passed(text: &str) -> usize {
    let line = text.lines().rev().find_map(|line| line.strip_prefix("test result: ok. "));
    line.and_then(|line| line.split(' ').next()?.parse().ok()).unwrap_or(0)
}
