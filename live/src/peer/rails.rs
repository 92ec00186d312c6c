//! The test routes in Rails: `live/rails_app/app.rb`, on Rails 6.1 and 7.2.

use dewar::{
    Keyring,
    dialect::{self, Digest},
};

use crate::{
    process::{Process, free_port},
    tools::{RAILS_6_1, RAILS_7_2, Tool, Tools, root},
};

/// The name of the cookie.
pub(crate) const COOKIE: &str = "_app_session";

/// A Rails application that runs until it is dropped.
pub(crate) struct Rails {
    _process: Process,
    pub(crate) url: String,
}

/// A release of Rails, with its own defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    V6_1,
    V7_2,
}

impl Release {
    pub(crate) const BOTH: [Self; 2] = [Self::V6_1, Self::V7_2];

    fn tool(self) -> &'static Tool {
        match self {
            Self::V6_1 => &RAILS_6_1,
            Self::V7_2 => &RAILS_7_2,
        }
    }

    /// What its keys are derived with.
    pub(crate) const fn digest(self) -> Digest {
        match self {
            Self::V6_1 => Digest::Sha1,
            Self::V7_2 => Digest::Sha256,
        }
    }

    /// Our dialect, as this release writes.
    pub(crate) fn dialect(self, keyring: &Keyring) -> dialect::Rails {
        let rails = dialect::Rails::new(keyring).digest(self.digest());
        rails.rack(if self == Self::V6_1 { 2 } else { 3 })
    }
}

impl Rails {
    /// Starts it with these settings, which stand at the top of its file.
    pub(crate) fn start(tools: &Tools, release: Release, settings: &[(&str, &str)]) -> Self {
        let port = free_port();
        let mut command = tools.command(release.tool());
        command.arg(root().join("live/rails_app/app.rb")).env("LANG", "C.UTF-8");
        command.envs(settings.iter().copied()).env("PORT", port.to_string());
        let mut process = Process::start("Rails", &mut command);
        process.wait_for_port(port);
        Self { _process: process, url: format!("http://127.0.0.1:{port}") }
    }
}
