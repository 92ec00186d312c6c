//! What can be set, by environment or flag, and the session layer that follows from it.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use clap::Parser;
use dewar::{
    Keyring, Secret, SessionLayer,
    dialect::{Keeps, Known},
    store::{self, moving::Moving},
};

/// Asks a few questions on a few pages, remembers the answers, and starts over.
///
/// Everything can be set by environment or by flag.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
pub(crate) struct Settings {
    /// The port to listen on
    #[arg(long, env = "PORT", default_value_t = 5000)]
    pub(crate) port: u16,

    /// The address to listen on; 0.0.0.0 for every network
    #[arg(long, env = "HOST", default_value = "127.0.0.1")]
    pub(crate) host: String,

    /// What protects the sessions: at least 16 letters and digits. Without it, one is made that lasts as long as the process, where HOST is a loopback address
    #[arg(long, env = "SECRET_KEY", hide_env_values = true)]
    secret_key: Option<String>,

    /// Older secrets that are still accepted, comma separated
    #[arg(long, env = "SECRET_KEY_FALLBACKS", hide_env_values = true, value_delimiter = ',')]
    secret_key_fallbacks: Vec<String>,

    /// How sessions are written: sealed, flask, django, rails, express, iron or phoenix in the cookie, express-session, php, symfony, laravel, flask-session or django on a store
    /// [default: sealed; with
    /// a store, a random id in the cookie]
    #[arg(long, env = "SESSION_DIALECT", value_name = "NAME")]
    session_dialect: Option<String>,

    /// What the framework's application has set beside its secret, by the names of the dialect's settings: name=value,... (a comma in a value is %2C)
    #[arg(long, env = "SESSION_OPTIONS", hide_env_values = true, value_name = "OPTIONS")]
    session_options: Option<String>,

    /// The cookie's name [default: the dialect's own; that of Rails, iron-session and Phoenix is the application's]
    #[arg(long, env = "SESSION_COOKIE", value_name = "NAME")]
    session_cookie: Option<String>,

    /// Where sessions are kept: memory:, sqlite:FILE, postgres://…, mysql://…, redis://…, redis+sentinel://…, redis+cluster://… or, for PHP's sessions, files:FOLDER [default: in the cookie]
    #[arg(long, env = "SESSION_STORE", hide_env_values = true, value_name = "URL")]
    session_store: Option<String>,

    /// The store that sessions come from: each moves to SESSION_STORE with its next write
    #[arg(long, env = "SESSION_STORE_FORMER", hide_env_values = true, value_name = "URL")]
    session_store_former: Option<String>,

    /// The store that sessions are going to: what is there already is found. Start all servers with this before SESSION_STORE_FORMER
    #[arg(long, env = "SESSION_STORE_NEXT", hide_env_values = true, value_name = "URL")]
    session_store_next: Option<String>,

    /// Send the cookie over plain HTTP too. By itself where HOST is a loopback address
    #[arg(long, env = "ALLOW_HTTP", num_args = 0..=1, default_missing_value = "true", value_parser = clap::builder::BoolishValueParser::new())]
    allow_http: Option<bool>,

    /// The folder of the templates; a folder `static` beside it is served with them [default: its own]
    #[arg(long, env = "TEMPLATES_DIR")]
    templates_dir: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  PORT=5001 cargo run                            another port
  SESSION_STORE=sqlite:sessions.db cargo run     sessions in a file: a log-out is final, racing requests merge
  SESSION_STORE=redis://localhost cargo run      sessions in Redis or Valkey
  SESSION_DIALECT=flask cargo run                sessions shared with a Flask application of the same SECRET_KEY
  SESSION_DIALECT=express cargo run              the same with an Express application (cookie-session)
  SESSION_DIALECT=rails SESSION_COOKIE=_shop_session cargo run                          with a Rails application
  SESSION_DIALECT=phoenix SESSION_COOKIE=_shop_key SESSION_OPTIONS=signing_salt=Xd7s cargo run   with a Phoenix application";

/// Where the pages come from.
pub(crate) struct Folders {
    pub(crate) templates: PathBuf,
    pub(crate) assets: PathBuf,
}

impl Settings {
    pub(crate) fn session_layer(&self) -> Result<SessionLayer, Box<dyn std::error::Error>> {
        let mut known: Option<Known> = given(&self.session_dialect).map(str::parse).transpose()?;
        if given(&self.session_store).is_some() {
            known = known.map(Known::on_store);
        }
        let store = self.store(known)?;
        // A random id on a store needs no secret.
        let needs_secret = known.map_or(store.is_none(), |known| !["PHP", "Symfony"].contains(&known.name));
        if known.is_some_and(|known| known.name == "Laravel") && given(&self.secret_key).is_none() {
            return Err("SECRET_KEY is not set: it is Laravel's APP_KEY, with its base64:".into());
        }
        let mut layer = SessionLayer::new(self.keyring(needs_secret)?)?;
        let options = given(&self.session_options);
        layer = match (known, options) {
            (None, None) => layer,
            (None, Some(_)) => return Err("SESSION_OPTIONS belong to a dialect: set SESSION_DIALECT, too".into()),
            (Some(known), options) => layer
                .dialect(known.with(options.unwrap_or_default()).map_err(|error| format!("SESSION_OPTIONS: {error}"))?),
        };
        if let Some(name) = given(&self.session_cookie) {
            layer = layer.cookie_name(name);
        } else if let Some(known) = known {
            let name = known.profile().cookie.name;
            tracing::info!(
                "the session cookie is {name}; where the application of the framework has another, set SESSION_COOKIE"
            );
        }
        if let Some(url) = store {
            layer = self.on_store(layer, url)?;
        }
        if self.allow_http.unwrap_or(self.is_for_this_machine()) {
            tracing::info!(
                "the session cookie goes over plain HTTP too, for development: without HTTPS anybody on the way can read it"
            );
            layer = layer.dangerously_allow_http();
        } else if self.allow_http.is_none() {
            tracing::warn!(
                "browsers send the session cookie back over HTTPS only. Where nothing in front of this program speaks HTTPS, every visitor is forgotten \
                 from page to page: set ALLOW_HTTP=true to try it in your own network; where something does, ALLOW_HTTP=false ends this warning"
            );
        }
        layer.manager().map_err(|error| match known {
            Some(known) => format!(
                "SESSION_DIALECT={}: {error} (here its settings are SESSION_OPTIONS=name=value,...)",
                known.name.to_ascii_lowercase()
            ),
            None => error.to_string(),
        })?;
        Ok(layer)
    }

    /// Keeps sessions at this address, also while they move from one store to another.
    fn on_store(&self, layer: SessionLayer, url: &str) -> Result<SessionLayer, String> {
        let open = |name: &str, url: &str| store::open(url).map_err(|error| format!("{name}: {error}"));
        let store = open("SESSION_STORE", url)?;
        match (given(&self.session_store_former), given(&self.session_store_next)) {
            (None, None) => Ok(layer.store(store)),
            (Some(former), None) => Ok(layer.store(Moving::start(open("SESSION_STORE_FORMER", former)?, store))),
            (None, Some(next)) => Ok(layer.store(Moving::prepare(store, open("SESSION_STORE_NEXT", next)?))),
            (Some(_), Some(_)) => Err("SESSION_STORE_FORMER and SESSION_STORE_NEXT are two steps of one move: first all servers \
                 get SESSION_STORE_NEXT, then the next store is SESSION_STORE, and the one of before SESSION_STORE_FORMER"
                .into()),
        }
    }

    /// The address of the store, where there is to be one.
    fn store(&self, known: Option<Known>) -> Result<Option<&str>, String> {
        let store = given(&self.session_store);
        if store.is_none() && (given(&self.session_store_former).is_some() || given(&self.session_store_next).is_some())
        {
            return Err("SESSION_STORE_FORMER and SESSION_STORE_NEXT belong to a move between two stores: set SESSION_STORE, too".into());
        }
        let Some(known) = known else { return Ok(store) };
        let name = known.name.to_ascii_lowercase();
        match (known.profile().keeps, store) {
            (Keeps::Data, Some(_)) => Err(format!(
                "SESSION_DIALECT={name} keeps the session in the cookie, and SESSION_STORE somewhere else: \
                 leave out SESSION_DIALECT to use the store, or SESSION_STORE to use the cookie"
            )),
            (Keeps::Id, None) => Err(format!(
                "SESSION_DIALECT={name} keeps only an id in the cookie: set SESSION_STORE too; where an application of the framework is to \
                 share the sessions, it is one of {}",
                places(known).join(" ")
            )),
            (Keeps::Id, Some(url)) => {
                is_shared(known, url)?;
                Ok(store)
            }
            (_, store) => Ok(store),
        }
    }

    /// The secrets. On a machine of one's own there may be none; where others can come, one that nobody knows.
    fn keyring(&self, is_needed: bool) -> Result<Keyring, Box<dyn std::error::Error>> {
        let Some(secret) = &self.secret_key else {
            if is_needed && !self.is_for_this_machine() {
                return Ok(Keyring::from_env("SECRET_KEY")?);
            }
            if is_needed {
                tracing::warn!(
                    "SECRET_KEY is not set: a throw-away secret is used, and all sessions end with this process. (With HOST=0.0.0.0 it does not start without one, and prints one.)"
                );
            }
            return Ok(Keyring::new(Secret::generate()));
        };
        let mut keyring = Keyring::new(Secret::new(secret)?);
        for older in self.secret_key_fallbacks.iter().map(|secret| secret.trim()).filter(|secret| !secret.is_empty()) {
            let older = Secret::new(older).map_err(|error| format!("SECRET_KEY_FALLBACKS, one of them: {error}"))?;
            keyring = keyring.fallback(older);
        }
        if self.is_for_this_machine() { Ok(keyring) } else { Ok(keyring.without_example()?) }
    }

    /// Whether nobody else can reach it.
    fn is_for_this_machine(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|host: IpAddr| host.is_loopback())
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

/// Set to nothing is the same as not set.
fn given(setting: &Option<String>) -> Option<&str> {
    setting.as_deref().filter(|text| !text.is_empty())
}

/// Where the applications of a framework keep sessions that are read here.
fn places(known: Known) -> &'static [&'static str] {
    match known.name {
        "PHP" | "Symfony" => &["files:FOLDER", "redis://..."],
        "Laravel" | "Django-session" => &["redis://...", "sqlite:FILE", "postgres://...", "mysql://..."],
        _ => &["redis://..."],
    }
}

/// Says where a store is none that an application of the framework reads.
fn is_shared(known: Known, url: &str) -> Result<(), String> {
    let kind = |address: &str| -> String { address.chars().take_while(char::is_ascii_alphabetic).collect() };
    let kind_of_url = match &*kind(url) {
        "rediss" | "valkey" | "valkeys" | "unix" => "redis".to_owned(),
        "postgresql" => "postgres".to_owned(),
        "mariadb" => "mysql".to_owned(),
        other => other.to_owned(),
    };
    let (name, places) = (known.name, places(known));
    if !places.iter().any(|place| kind(place) == kind_of_url) {
        let is_told = format!("{name} keeps its sessions in one of {}, and not in {kind_of_url}:", places.join(" "));
        if kind_of_url == "files" {
            return Err(format!("SESSION_STORE: {is_told}"));
        }
        tracing::warn!("SESSION_STORE: {is_told}; what is written there is this program's alone");
        return Ok(());
    }
    // SQLite would make it: an empty one is not the application's.
    let file = url.strip_prefix("sqlite:").map(|file| Path::new(file.strip_prefix("//").unwrap_or(file)));
    match file.filter(|file| !file.exists()) {
        Some(file) => {
            let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
            Err(format!("SESSION_STORE: there is no file {}: name the database of the application", file.display()))
        }
        None => Ok(()),
    }
}
