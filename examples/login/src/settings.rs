//! What can be set, by environment or flag, and the session layer that follows from it.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use clap::Parser;
use dewar::{
    Error, Keyring, Secret, SessionLayer,
    store::{self, moving::Moving},
};
use rand::distr::{Alphanumeric, SampleString};

/// A site with accounts: log in, see and end your devices, log out.
///
/// Everything can be set by environment or by flag.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
pub(crate) struct Settings {
    /// The port to listen on
    #[arg(long, env = "PORT", default_value_t = 5001)]
    pub(crate) port: u16,

    /// The address to listen on; 0.0.0.0 for every network
    #[arg(long, env = "HOST", default_value = "127.0.0.1")]
    pub(crate) host: String,

    /// What protected the sessions while they were in cookies: at least 16 letters and digits. On a store alone it has nothing to do
    #[arg(long, env = "SECRET_KEY", hide_env_values = true)]
    secret_key: Option<String>,

    /// Older secrets that are still accepted, comma separated
    #[arg(long, env = "SECRET_KEY_FALLBACKS", hide_env_values = true, value_delimiter = ',')]
    secret_key_fallbacks: Vec<String>,

    /// Where sessions are kept: memory:, sqlite:FILE, postgres://…, mysql://…, redis://…, redis+sentinel://… or redis+cluster://…
    #[arg(long, env = "SESSION_STORE", hide_env_values = true, value_name = "URL", default_value = "memory:")]
    session_store: String,

    /// The store that sessions come from: each moves to SESSION_STORE with its next write
    #[arg(long, env = "SESSION_STORE_FORMER", hide_env_values = true, value_name = "URL")]
    session_store_former: Option<String>,

    /// The store that sessions are going to: what is there already is found. Start all servers with this before SESSION_STORE_FORMER
    #[arg(long, env = "SESSION_STORE_NEXT", hide_env_values = true, value_name = "URL")]
    session_store_next: Option<String>,

    /// Print the SQL that makes the tables of SESSION_STORE, for a database in which the application may not, and end
    #[arg(long)]
    pub(crate) print_schema: bool,

    /// The password of the user ada. Without it, one is made and printed
    #[arg(long, env = "DEMO_PASSWORD", hide_env_values = true)]
    demo_password: Option<String>,

    /// Send the cookie over plain HTTP too. By itself where HOST is a loopback address
    #[arg(long, env = "ALLOW_HTTP", num_args = 0..=1, default_missing_value = "true", value_parser = clap::builder::BoolishValueParser::new())]
    allow_http: Option<bool>,
}

const EXAMPLES: &str = "\
Examples:
  PORT=5002 cargo run -p login                           another port
  SESSION_STORE=sqlite:sessions.db cargo run -p login    people stay logged in when the program starts again
  SESSION_STORE=redis://localhost cargo run -p login     sessions in Redis or Valkey";

impl Settings {
    /// The SQL that makes the tables of the store.
    pub(crate) fn schema(&self) -> Result<String, Box<dyn std::error::Error>> {
        let schema = store::open(self.url()).map_err(|error| format!("SESSION_STORE: {error}"))?.schema_sql();
        Ok(schema.ok_or("SESSION_STORE: only PostgreSQL and MySQL have tables that somebody else could make")?)
    }

    fn url(&self) -> &str {
        if self.session_store.is_empty() { "memory:" } else { &self.session_store }
    }

    pub(crate) fn session_layer(&self) -> Result<SessionLayer, Box<dyn std::error::Error>> {
        let mut layer = self.on_store(SessionLayer::new(self.keyring()?)?, self.url())?;
        if self.allow_http.unwrap_or(self.is_for_this_machine()) {
            tracing::info!(
                "the session cookie goes over plain HTTP too, for development: without HTTPS anybody on the way can read it"
            );
            // Cookies know no ports: another program on this machine has one of the usual name.
            layer = layer.dangerously_allow_http().cookie_name("login");
        } else if self.allow_http.is_none() {
            tracing::warn!(
                "browsers send the session cookie back over HTTPS only. Where nothing in front of this program speaks HTTPS, every visitor is forgotten \
                 from page to page: set ALLOW_HTTP=true to try it in your own network; where something does, ALLOW_HTTP=false ends this warning"
            );
        }
        layer.manager()?;
        Ok(layer)
    }

    /// Keeps sessions at this address, also while they move from one store to another.
    fn on_store(&self, layer: SessionLayer, url: &str) -> Result<SessionLayer, String> {
        let open = |name: &str, url: &str| store::open(url).map_err(|error| format!("{name}: {error}"));
        let given = |url: &Option<String>| url.clone().filter(|url| !url.is_empty());
        let store = open("SESSION_STORE", url)?;
        match (given(&self.session_store_former), given(&self.session_store_next)) {
            (None, None) => Ok(layer.store(store)),
            (Some(former), None) => Ok(layer.store(Moving::start(open("SESSION_STORE_FORMER", &former)?, store))),
            (None, Some(next)) => Ok(layer.store(Moving::prepare(store, open("SESSION_STORE_NEXT", &next)?))),
            (Some(_), Some(_)) => Err("SESSION_STORE_FORMER and SESSION_STORE_NEXT are two steps of one move: first all servers \
                 get SESSION_STORE_NEXT, then the next store is SESSION_STORE, and the one of before SESSION_STORE_FORMER"
                .into()),
        }
    }

    /// The demo user's password, and whether it was made just now.
    pub(crate) fn demo_password(&self) -> (String, bool) {
        match self.demo_password.as_deref().filter(|password| !password.is_empty()) {
            Some(password) => (password.to_owned(), false),
            None => (Alphanumeric.sample_string(&mut rand::rng(), 20), true),
        }
    }

    fn keyring(&self) -> Result<Keyring, Error> {
        let Some(secret) = &self.secret_key else { return Ok(Keyring::new(Secret::generate())) };
        let mut keyring = Keyring::new(Secret::new(secret)?);
        for older in self.secret_key_fallbacks.iter().map(|secret| secret.trim()).filter(|secret| !secret.is_empty()) {
            keyring = keyring.fallback(Secret::new(older)?);
        }
        if self.is_for_this_machine() { Ok(keyring) } else { keyring.without_example() }
    }

    /// Whether nobody else can reach it.
    fn is_for_this_machine(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|host: IpAddr| host.is_loopback())
    }

    /// The folder of `templates` and `static`.
    pub(crate) fn folder(&self) -> PathBuf {
        let here = Path::new("examples/login");
        if here.is_dir() { here.to_owned() } else { PathBuf::from(env!("CARGO_MANIFEST_DIR")) }
    }
}
