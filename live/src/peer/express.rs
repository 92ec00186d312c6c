//! The test routes in Express: `live/express_app/app.js`, in both of Express's session forms.

use crate::{
    process::{Process, free_port},
    tools::{EXPRESS, Tools, root},
};

/// An Express application that runs until it is dropped.
pub(crate) struct Express {
    _process: Process,
    pub(crate) url: String,
}

impl Express {
    /// Starts it with these settings, which stand at the top of its file.
    pub(crate) fn start(tools: &Tools, settings: &[(&str, &str)]) -> Self {
        let port = free_port();
        let mut command = tools.command(&EXPRESS);
        command.arg(root().join("live/express_app/app.js")).env("NODE_ENV", "production");
        command.envs(settings.iter().copied()).env("PORT", port.to_string());
        let mut process = Process::start("Express", &mut command);
        process.wait_for_port(port);
        Self { _process: process, url: format!("http://127.0.0.1:{port}") }
    }
}
