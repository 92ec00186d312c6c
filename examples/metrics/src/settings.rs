//! What can be set, by environment or flag, and the session layer that follows from it.

use std::time::Duration;

use clap::Parser;
use dewar::{AtMax, Keyring, Secret, SessionLayer, store};

/// A site whose sessions are watched by Prometheus.
///
/// Everything can be set by environment or by flag.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
pub(crate) struct Settings {
    /// Where visitors come to
    #[arg(long, env = "ADDRESS", default_value = "127.0.0.1:5002")]
    pub(crate) address: String,

    /// Where /metrics and /healthz are: an address that visitors cannot reach
    #[arg(long, env = "METRICS_ADDRESS", default_value = "127.0.0.1:9464")]
    pub(crate) metrics_address: String,

    /// What protects the sessions: at least 16 letters and digits. Without it, one is made that lasts as long as the process
    #[arg(long, env = "SECRET_KEY", hide_env_values = true)]
    secret_key: Option<String>,

    /// Where sessions are kept: memory:, sqlite:FILE or redis://HOST; "cookie" for no store
    #[arg(long, env = "SESSION_STORE", hide_env_values = true, value_name = "URL", default_value = "memory:")]
    session_store: String,

    /// How often the sessions of the store are counted, in seconds
    #[arg(long, env = "COUNT_EVERY", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    count_every: u64,
}

const EXAMPLES: &str = "\
Examples:
  SESSION_STORE=redis://localhost cargo run -p metrics-example   the store's times and errors are those of Redis
  SESSION_STORE=cookie cargo run -p metrics-example              sessions in the cookie: how large it is";

/// One more log-in is a 403, which the dashboard counts. A cookie knows of no others.
const MAX_SESSIONS_PER_USER: u32 = 5;

impl Settings {
    /// The cookie goes over plain HTTP: this is a site to be looked at on one's own machine.
    pub(crate) fn session_layer(&self) -> Result<SessionLayer, Box<dyn std::error::Error>> {
        let secret = self.secret_key.as_deref().filter(|secret| !secret.is_empty());
        let secret = secret.map_or_else(|| Ok(Secret::generate()), Secret::new)?;
        let mut layer = SessionLayer::new(Keyring::new(secret))?.dangerously_allow_http();
        if self.has_store() {
            layer = layer
                .store(store::open(&self.session_store).map_err(|error| format!("SESSION_STORE: {error}"))?)
                .max_sessions_per_user(MAX_SESSIONS_PER_USER, AtMax::RefuseLogIn);
        }
        layer.manager()?;
        Ok(layer)
    }

    pub(crate) fn has_store(&self) -> bool {
        self.session_store != "cookie"
    }

    pub(crate) fn count_every(&self) -> Duration {
        Duration::from_secs(self.count_every)
    }
}
