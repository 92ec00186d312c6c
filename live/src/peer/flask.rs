//! The questions in Flask: `live/flask_app/app.py`, served by Flask itself.

use crate::{
    process::{Process, free_port},
    tools::{PYTHON, Tools, root},
};

/// A Flask application that runs until it is dropped.
pub(crate) struct Flask {
    _process: Process,
    pub(crate) url: String,
}

impl Flask {
    pub(crate) fn start(tools: &Tools, secret: &str, fallbacks: &str) -> Self {
        let port = free_port();
        let mut command = tools.command(&PYTHON);
        command.arg(root().join("live/flask_app/app.py")).env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("SECRET_KEY", secret).env("SECRET_KEY_FALLBACKS", fallbacks);
        command.env("PORT", port.to_string()).env("TEST_ROUTES", "1");
        let mut process = Process::start("Flask", &mut command);
        process.wait_for_port(port);
        Self { _process: process, url: format!("http://127.0.0.1:{port}") }
    }
}
