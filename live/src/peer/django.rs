//! A Django site, `live/django_app`, of each release that is supported: with its sessions in signed cookies, in its database, or in its cache.

use dewar::{Keyring, SessionLayer, dialect::DjangoSession};

use super::{redis::Redis, servers::Server};
use crate::{
    http::Visitor,
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
    /// With its sessions in signed cookies.
    pub(crate) fn start(tools: &Tools, release: &Tool, secret: &str, fallbacks: &str) -> Self {
        Self::with(tools, release, &[("SECRET_KEY", secret), ("SECRET_KEY_FALLBACKS", fallbacks)], &[])
    }

    /// With its sessions there. Its `migrate` makes the tables.
    pub(crate) fn on(
        tools: &Tools,
        release: &Tool,
        place: &Place,
        secret: &str,
        settings: &[(&'static str, &str)],
    ) -> Self {
        let own: Vec<_> = [("SECRET_KEY", secret)].into_iter().chain(settings.iter().copied()).collect();
        Self::with(tools, release, &own, &place.settings())
    }

    fn with(tools: &Tools, release: &Tool, settings: &[(&str, &str)], place: &[(&str, String)]) -> Self {
        let port = free_port();
        let mut command = tools.command(release);
        command.arg(root().join("live/django_app/app.py")).env("PYTHONDONTWRITEBYTECODE", "1");
        command.envs(settings.iter().copied()).envs(place.iter().cloned()).env("PORT", port.to_string());
        let mut process = Process::start(release.name, &mut command);
        process.wait_for_port(port);
        Self { _process: process, url: format!("http://127.0.0.1:{port}") }
    }

    /// All rows of the table.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let answer = Visitor::new().get(&format!("{}/_test/rows", self.url));
        let rows: Vec<serde_json::Value> = serde_json::from_str(&answer.body).expect("rows");
        let text = |row: &serde_json::Value, name: &str| row[name].as_str().expect("a text").to_owned();
        let row =
            |row| Row { id: text(row, "id"), text: text(row, "text"), left: row["left"].as_f64().expect("seconds") };
        rows.iter().map(row).collect()
    }

    /// Changes a row behind everybody's back: its `text`, or how many seconds are `left`.
    pub(crate) fn change_row(&self, id: &str, column: &str, to: serde_json::Value) {
        let change = serde_json::json!({"id": id, column: to});
        let answer = Visitor::new().post(&format!("{}/_test/row", self.url), &change.to_string());
        assert_eq!(answer.status, 204, "{}", answer.body);
    }
}

/// A row of `django_session`, as Django reads it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) text: String,
    /// The seconds until it ends.
    pub(crate) left: f64,
}

/// Where the sessions are, and those of users.
pub(crate) struct Place {
    server: Server,
    /// With `cache` and `cached_db`.
    pub(crate) cache: Option<Redis>,
    /// The name of Django's engine.
    pub(crate) engine: &'static str,
}

/// `KEY_PREFIX` and `VERSION` of the cache.
const KEYS: (&str, u32) = ("shop", 2);

impl Place {
    /// Rows there, `db`.
    pub(crate) fn table(server: Server) -> Self {
        Self { server, cache: None, engine: "db" }
    }

    /// The same with copies in Redis, `cached_db`.
    pub(crate) fn cached(server: Server, tools: &Tools) -> Self {
        Self { server, cache: Some(Redis::start(tools)), engine: "cached_db" }
    }

    /// In Redis alone.
    pub(crate) fn cache(tools: &Tools) -> Self {
        Self { server: Server::sqlite(), cache: Some(Redis::start(tools)), engine: "cache" }
    }

    pub(crate) fn has_rows(&self) -> bool {
        self.engine != "cache"
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let database = match &self.server {
            Server::Sqlite(folder) => folder.file().display().to_string(),
            server => server.url(),
        };
        let mut settings = vec![("ENGINE", self.engine.to_owned()), ("DATABASE", database)];
        if let Some(cache) = &self.cache {
            let (prefix, version) = KEYS;
            settings.extend([("CACHE", cache.url.clone()), ("KEY_PREFIX", prefix.into())]);
            settings.push(("VERSION", version.to_string()));
        }
        settings
    }

    /// `SESSION_STORE`.
    pub(crate) fn store(&self) -> String {
        match &self.cache {
            Some(cache) if !self.has_rows() => cache.url.clone(),
            _ => self.server.url(),
        }
    }

    /// `SESSION_OPTIONS`.
    pub(crate) fn options(&self) -> String {
        let (prefix, version) = KEYS;
        match &self.cache {
            Some(cache) if self.has_rows() => format!("cache={},key_prefix={prefix},version={version}", cache.url),
            Some(_) => format!("key_prefix={prefix},version={version}"),
            None => String::new(),
        }
    }

    /// What stands before an id in a key of the cache.
    pub(crate) fn prefix(&self) -> String {
        let (prefix, version) = KEYS;
        format!("{prefix}:{version}:django.contrib.sessions.{}", self.engine)
    }

    /// Our layer under this keyring. Called within a runtime.
    pub(crate) fn ours(&self, keyring: Keyring) -> SessionLayer {
        let layer = SessionLayer::new(keyring).expect("the secrets are accepted");
        let store = dewar::store::open(&self.store()).expect("the address can be read");
        let (cached, (prefix, version)) = (self.cache.as_ref().filter(|_| self.has_rows()), KEYS);
        let cached = cached.map(|cache| cache.url.clone());
        let dialect = move |keys: &Keyring| {
            let dialect = DjangoSession::new(keys).key_prefix(prefix).version(version);
            match &cached {
                Some(address) => dialect.cached_db(address.clone()),
                None => dialect,
            }
        };
        layer.dialect(dialect).store(store)
    }
}
