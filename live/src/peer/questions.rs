//! The questions in Rust: `examples/questions`, as it was built beside this program.

use std::path::PathBuf;

use crate::{
    process::{Process, free_port},
    tools::plain_command,
};

/// Our example, which runs until it is dropped.
pub(crate) struct Questions {
    _process: Process,
    pub(crate) url: String,
}

impl Questions {
    pub(crate) fn start(dialect: &str, secret: &str, fallbacks: &str) -> Self {
        Self::start_as(&[("SESSION_DIALECT", dialect), ("SECRET_KEY", secret), ("SECRET_KEY_FALLBACKS", fallbacks)])
    }

    /// With these settings in its environment.
    pub(crate) fn start_as(settings: &[(&str, &str)]) -> Self {
        let port = free_port();
        let mut command = plain_command(&binary());
        command.env("PORT", port.to_string()).envs(settings.iter().copied());
        let mut process = Process::start("questions", &mut command);
        process.wait_for_port(port);
        Self { _process: process, url: format!("http://127.0.0.1:{port}") }
    }
}

/// The program: Cargo puts it beside this one.
pub(crate) fn binary() -> PathBuf {
    let suite = std::env::current_exe().expect("this program has a path");
    let binary = suite.with_file_name(format!("questions{}", std::env::consts::EXE_SUFFIX));
    assert!(binary.is_file(), "the example is not built; run the suite as cargo xtask live");
    binary
}
