//! The test routes in PHP: `live/php_app/app.php`, under PHP's own server.

use crate::{
    process::{Process, free_port},
    tools::{PHP, Tools, root},
};

/// So many of its requests run at once.
const WORKERS: &str = "8";

/// A PHP application that runs until it is dropped.
pub(crate) struct Php {
    _process: Process,
    pub(crate) url: String,
}

impl Php {
    /// Starts it with these settings of `php.ini`.
    pub(crate) fn start(tools: &Tools, settings: &[(&str, &str)]) -> Self {
        let port = free_port();
        let mut command = tools.command(&PHP);
        for (name, value) in settings {
            command.arg("-d").arg(format!("{name}={value}"));
        }
        command.args(["-S", &format!("127.0.0.1:{port}")]).arg(root().join("live/php_app/app.php"));
        let mut process = Process::start("PHP", command.env("PHP_CLI_SERVER_WORKERS", WORKERS));
        process.wait_for_port(port);
        Self { _process: process, url: format!("http://127.0.0.1:{port}") }
    }
}
