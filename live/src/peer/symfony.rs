//! The test routes on Symfony's session: `live/symfony_app/app.php`, on Symfony 5.4 and 7.4.

use std::path::Path;

use dewar::layout::Serializer;

use super::redis::Redis;
use crate::{
    process::{Process, free_port},
    tools::{PHP_OF_BOOKWORM, PHP_OF_SID, Tool, Tools, root},
};

/// So many of its requests run at once.
const WORKERS: &str = "8";

/// A release of Symfony.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    V5,
    V7,
}

impl Release {
    pub(crate) const BOTH: [Self; 2] = [Self::V5, Self::V7];

    fn tool(self) -> &'static Tool {
        match self {
            Self::V5 => &PHP_OF_BOOKWORM,
            Self::V7 => &PHP_OF_SID,
        }
    }
}

/// A Symfony application that runs until it is dropped.
pub(crate) struct Symfony {
    _process: Process,
    pub(crate) url: String,
}

impl Symfony {
    /// Starts it with its sessions in this folder.
    pub(crate) fn on_files(tools: &Tools, release: Release, serializer: Serializer, folder: &Path) -> Self {
        Self::start(tools, release, serializer, &[("SAVE", &folder.display().to_string())])
    }

    /// Starts it with its sessions in this Redis.
    pub(crate) fn on_redis(tools: &Tools, release: Release, serializer: Serializer, redis: &Redis) -> Self {
        Self::start(tools, release, serializer, &[("REDIS_PORT", redis.url.rsplit(':').next().unwrap_or_default())])
    }

    /// The same with an `AutoExpireFlashBag`.
    pub(crate) fn with_messages_that_expire(tools: &Tools, release: Release, folder: &Path) -> Self {
        let place = [("SAVE", &*folder.display().to_string()), ("FLASHES", "auto")];
        Self::start(tools, release, Serializer::Php, &place)
    }

    fn start(tools: &Tools, release: Release, serializer: Serializer, told: &[(&str, &str)]) -> Self {
        let port = free_port();
        let mut command = tools.command(release.tool());
        command.args(["-S", &format!("127.0.0.1:{port}")]).arg(root().join("live/symfony_app/app.php"));
        command.env("PHP_CLI_SERVER_WORKERS", WORKERS).env("SERIALIZER", serializer.name()).envs(told.iter().copied());
        let mut process = Process::start("Symfony", &mut command);
        process.wait_for_port(port);
        Self { _process: process, url: format!("http://127.0.0.1:{port}") }
    }
}
