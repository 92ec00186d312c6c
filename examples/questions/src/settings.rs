//! What can be set, by environment or flag, and the session layer that follows from it.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use clap::{Parser, ValueEnum};
use dewar::{Error, Keyring, Secret, SessionLayer};

/// Asks a few questions on a few pages, remembers the answers, and starts over.
///
/// Everything can be set by environment or by flag.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Settings {
    /// The port to listen on
    #[arg(long, env = "PORT", default_value_t = 5000)]
    pub(crate) port: u16,

    /// The address to listen on; 0.0.0.0 for every network
    #[arg(long, env = "HOST", default_value = "127.0.0.1")]
    pub(crate) host: String,

    /// What protects the sessions: at least 16 letters and digits. Without it, one is made that lasts as long as the process
    #[arg(long, env = "SECRET_KEY", hide_env_values = true)]
    secret_key: Option<String>,

    /// Older secrets that are still accepted, comma separated
    #[arg(long, env = "SECRET_KEY_FALLBACKS", hide_env_values = true, value_delimiter = ',')]
    secret_key_fallbacks: Vec<String>,

    /// How sessions are written
    #[arg(long, env = "SESSION_DIALECT", value_enum, default_value_t = Dialect::Sealed)]
    session_dialect: Dialect,

    /// Send the cookie over plain HTTP too. By itself where HOST is a loopback address
    #[arg(long, env = "ALLOW_HTTP", num_args = 0..=1, default_missing_value = "true", value_parser = clap::builder::BoolishValueParser::new())]
    allow_http: Option<bool>,

    /// The folder of the templates; a folder `static` beside it is served with them [default: its own]
    #[arg(long, env = "TEMPLATES_DIR")]
    templates_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Dialect {
    /// Encrypted, in the cookie
    Sealed,
    /// Flask's own cookie, shared with a Flask application of the same secret
    Flask,
}

/// Where the pages come from.
pub(crate) struct Folders {
    pub(crate) templates: PathBuf,
    pub(crate) assets: PathBuf,
}

impl Settings {
    pub(crate) fn session_layer(&self) -> Result<SessionLayer, Error> {
        let mut layer = SessionLayer::new(self.keyring()?)?;
        if let Dialect::Flask = self.session_dialect {
            layer = layer.dialect(dewar::dialect::Flask::new);
        }
        if self.allows_http() {
            tracing::info!(
                "the session cookie goes over plain HTTP too, for development: without HTTPS anybody on the way can read it"
            );
            layer = layer.dangerously_allow_http();
        }
        layer.manager()?;
        Ok(layer)
    }

    fn keyring(&self) -> Result<Keyring, Error> {
        let Some(secret) = &self.secret_key else {
            tracing::warn!(
                "SECRET_KEY is not set: a throw-away secret is used, and all sessions end with this process"
            );
            return Ok(Keyring::new(Secret::generate()));
        };
        let older = self.secret_key_fallbacks.iter().map(|secret| secret.trim()).filter(|secret| !secret.is_empty());
        older
            .map(Secret::new)
            .try_fold(Keyring::new(Secret::new(secret)?), |keyring, older| Ok(keyring.fallback(older?)))
    }

    fn allows_http(&self) -> bool {
        let loopback = self.host == "localhost" || self.host.parse().is_ok_and(|host: IpAddr| host.is_loopback());
        self.allow_http.unwrap_or(loopback)
    }

    pub(crate) fn folders(&self) -> Result<Folders, String> {
        let own = || {
            let here = Path::new("examples/questions");
            if here.is_dir() { here.to_owned() } else { PathBuf::from(env!("CARGO_MANIFEST_DIR")) }
        };
        let templates = self.templates_dir.clone().unwrap_or_else(|| own().join("templates"));
        if !templates.is_dir() {
            return Err(format!(
                "there is no folder {}: set TEMPLATES_DIR to the folder of the templates",
                templates.display()
            ));
        }
        let beside = templates.join("../static");
        let assets = if beside.is_dir() { beside } else { own().join("static") };
        Ok(Folders { templates, assets })
    }
}
