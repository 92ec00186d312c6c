//! The test routes with iron-session: `live/iron_app/app.js`, in either release.

use crate::{
    process::{Process, free_port},
    tools::{IRON, Tools, root},
};

/// An application with iron-session that runs until it is dropped.
pub(crate) struct Iron {
    _process: Process,
    pub(crate) url: String,
}

impl Iron {
    /// Starts it with these passwords, as JSON, and these settings, which stand at the top of its file.
    pub(crate) fn start(tools: &Tools, release: &str, passwords: &str, settings: &[(&str, &str)]) -> Self {
        let port = free_port();
        let mut command = tools.command(&IRON);
        command.arg(root().join("live/iron_app/app.js")).env("NODE_ENV", "production");
        command.envs(settings.iter().copied());
        command.env("RELEASE", release).env("PASSWORDS", passwords).env("PORT", port.to_string());
        let mut process = Process::start("iron-session", &mut command);
        process.wait_for_port(port);
        Self { _process: process, url: format!("http://127.0.0.1:{port}") }
    }
}
