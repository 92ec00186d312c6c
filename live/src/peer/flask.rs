//! The questions in Flask, the same with Flask-Session, and an application with Flask-Login: `live/flask_app`, served by Flask itself.

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
        let settings = [("SECRET_KEY", secret), ("SECRET_KEY_FALLBACKS", fallbacks), ("TEST_ROUTES", "1")];
        Self::serve(tools, "app.py", &settings)
    }

    /// The application with Flask-Login: `live/flask_app/login.py`.
    pub(crate) fn with_login(tools: &Tools, settings: &[(&str, &str)]) -> Self {
        Self::serve(tools, "login.py", settings)
    }

    /// The questions with Flask-Session on a Redis, and with Flask-Login: `live/flask_app/server_side.py`.
    pub(crate) fn server_side(tools: &Tools, settings: &[(&str, &str)]) -> Self {
        Self::serve(tools, "server_side.py", &[settings, &[("TEST_ROUTES", "1")]].concat())
    }

    fn serve(tools: &Tools, program: &str, settings: &[(&str, &str)]) -> Self {
        let port = free_port();
        let mut command = tools.command(&PYTHON);
        command.arg(root().join("live/flask_app").join(program)).env("PYTHONDONTWRITEBYTECODE", "1");
        command.envs(settings.iter().copied()).env("PORT", port.to_string());
        let mut process = Process::start("Flask", &mut command);
        process.wait_for_port(port);
        Self { _process: process, url: format!("http://127.0.0.1:{port}") }
    }
}
