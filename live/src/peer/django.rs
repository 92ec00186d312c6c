//! A Django site with its sessions in signed cookies: `live/django_app`, of each release that is supported.

use crate::{
    process::{Process, free_port},
    tools::{DJANGO_5_2, DJANGO_6_0, Tool, Tools, root},
};

/// The releases.
pub(crate) const RELEASES: [&Tool; 2] = [&DJANGO_5_2, &DJANGO_6_0];

/// A Django site that runs until it is dropped.
pub(crate) struct Django {
    _process: Process,
    pub(crate) url: String,
}

impl Django {
    pub(crate) fn start(tools: &Tools, release: &Tool, secret: &str, fallbacks: &str) -> Self {
        let port = free_port();
        let mut command = tools.command(release);
        command.arg(root().join("live/django_app/app.py")).env("PYTHONDONTWRITEBYTECODE", "1");
        command.envs([("SECRET_KEY", secret), ("SECRET_KEY_FALLBACKS", fallbacks)]).env("PORT", port.to_string());
        let mut process = Process::start(release.name, &mut command);
        process.wait_for_port(port);
        Self { _process: process, url: format!("http://127.0.0.1:{port}") }
    }
}
