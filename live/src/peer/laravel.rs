//! The test routes in Laravel: `live/laravel_app/app.php`, on Laravel 8 and 13, and what it shares with ours.

use std::cell::OnceCell;

use dewar::{
    Keyring, SessionLayer,
    dialect::{self, wire::laravel::Cipher},
    layout::Serialization,
};

use super::{
    redis::Redis,
    servers::{Server, mysql_server::PASSWORD},
};
use crate::{
    http::Visitor,
    process::{Process, free_port},
    tools::{PHP_OF_BOOKWORM, PHP_OF_SID, Tool, Tools, root},
};

/// The name of the cookie.
pub(crate) const COOKIE: &str = "laravel_session";

/// A Laravel application that runs until it is dropped.
pub(crate) struct Laravel {
    _process: Process,
    pub(crate) url: String,
}

/// A release of Laravel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    V8,
    V13,
}

impl Release {
    pub(crate) const BOTH: [Self; 2] = [Self::V8, Self::V13];

    fn tool(self) -> &'static Tool {
        match self {
            Self::V8 => &PHP_OF_BOOKWORM,
            Self::V13 => &PHP_OF_SID,
        }
    }

    /// What stands before an id in Redis.
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::V8 => "shop_cache:",
            Self::V13 => "shop_cache",
        }
    }
}

/// What both applications are told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub(crate) release: Release,
    pub(crate) cipher: Cipher,
    pub(crate) serialization: Serialization,
    pub(crate) encrypt: bool,
}

impl Form {
    /// Laravel's own settings.
    pub(crate) fn usual(release: Release) -> Self {
        Self { release, cipher: Cipher::default(), serialization: Serialization::default(), encrypt: false }
    }

    /// Each release with each cipher, serialization and encryption, where it has them.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for release in Release::BOTH {
            for (at, cipher) in Cipher::ALL.into_iter().enumerate() {
                let encrypt = at % 2 == 1;
                all.push(Self { cipher, encrypt, ..Self::usual(release) });
                if release == Release::V13 {
                    all.push(Self {
                        cipher,
                        encrypt: !encrypt,
                        serialization: Serialization::Json,
                        ..Self::usual(release)
                    });
                }
            }
            all.push(Self { encrypt: true, ..Self::usual(release) });
        }
        all
    }

    /// A key of the cipher's length, one for each letter.
    pub(crate) fn key(self, letter: char) -> String {
        let mut key = Vec::new();
        dewar::encoding::base64::encode_standard(&vec![letter as u8; self.cipher.key_len()], &mut key);
        format!("base64:{}", String::from_utf8_lossy(&key))
    }

    /// Starts Laravel with this key and, beside the form's own, these settings, which stand at the top of its file.
    pub(crate) fn laravel(self, tools: &Tools, place: &Place, key: &str, settings: &[(&str, &str)]) -> Laravel {
        let port = free_port();
        let mut command = tools.command(self.release.tool());
        command.args(["-S", &format!("127.0.0.1:{port}")]).arg(root().join("live/laravel_app/app.php"));
        command.envs([("APP_KEY", key), ("REDIS_PREFIX", "shop_"), ("CACHE_PREFIX", "cache")]);
        command.envs(place.settings());
        command.env("CIPHER", self.cipher.name()).env("ENCRYPT", if self.encrypt { "1" } else { "0" });
        command.env("SERIALIZATION", self.serialization_name()).envs(settings.iter().copied());
        // Several requests at once, as any site has them.
        let mut process = Process::start("Laravel", command.env("PHP_CLI_SERVER_WORKERS", "8"));
        process.wait_for_port(port);
        let laravel = Laravel { _process: process, url: format!("http://127.0.0.1:{port}") };
        place.is_made_by(&laravel);
        laravel
    }

    /// Our layer under this keyring. Called within a runtime.
    pub(crate) fn ours(self, place: &Place, keyring: Keyring) -> SessionLayer {
        let layer = SessionLayer::new(keyring).expect("the keys are accepted");
        let store = dewar::store::open(&place.url()).expect("the address can be read");
        layer.dialect(move |keys: &Keyring| self.dialect(keys)).store(store)
    }

    pub(crate) fn dialect(self, keys: &Keyring) -> dialect::Laravel {
        let dialect = dialect::Laravel::new(keys).cipher(self.cipher).serialization(self.serialization);
        dialect.encrypt(self.encrypt).prefix(self.release.prefix())
    }

    /// The same as options of the environment.
    pub(crate) fn options(self) -> String {
        format!(
            "cipher={},encrypt={},serialization={},prefix={}",
            self.cipher.name(),
            self.encrypt,
            self.serialization_name(),
            self.release.prefix()
        )
    }

    fn serialization_name(self) -> &'static str {
        match self.serialization {
            Serialization::Php => "php",
            Serialization::Json => "json",
        }
    }
}

/// Where the records are.
pub(crate) enum Place {
    Redis(Redis),
    Database(Database),
}

/// A database with Laravel's table.
pub(crate) struct Database {
    server: Server,
    /// Its address, once Laravel has made the table.
    laravel: OnceCell<String>,
}

/// A row, as Laravel's query builder reads it.
#[derive(Debug)]
pub(crate) struct Row(serde_json::Value);

impl Place {
    pub(crate) fn redis(tools: &Tools) -> Self {
        Self::Redis(Redis::start(tools))
    }

    pub(crate) fn sqlite() -> Self {
        Self::of(Server::sqlite())
    }

    pub(crate) fn postgres() -> Self {
        Self::of(Server::postgres())
    }

    pub(crate) fn mariadb() -> Self {
        Self::of(Server::mariadb())
    }

    fn of(server: Server) -> Self {
        Self::Database(Database { server, laravel: OnceCell::new() })
    }

    /// `SESSION_STORE`.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Redis(redis) => redis.url.clone(),
            Self::Database(Database { server, .. }) => server.url(),
        }
    }

    /// The same as Laravel's application is told.
    fn settings(&self) -> Vec<(&'static str, String)> {
        let server = match self {
            Self::Redis(redis) => {
                return vec![("REDIS_PORT", redis.url.rsplit(':').next().unwrap_or_default().to_owned())];
            }
            Self::Database(Database { server, .. }) => server,
        };
        let mut settings = vec![("DRIVER", "database".to_owned())];
        settings.extend(match server {
            Server::Sqlite(folder) => {
                let file = folder.file();
                // Laravel makes none.
                std::fs::File::options().append(true).create(true).open(&file).expect("a file");
                vec![("DB_CONNECTION", "sqlite".into()), ("DB_DATABASE", file.display().to_string())]
            }
            Server::Postgres(server) => vec![
                ("DB_CONNECTION", "pgsql".into()),
                ("DB_PORT", server.port().to_string()),
                ("DB_DATABASE", "postgres".into()),
                ("DB_USERNAME", "live".into()),
            ],
            Server::MariaDb(server) => vec![
                ("DB_CONNECTION", "mysql".into()),
                ("DB_CHARSET", "utf8mb4".into()),
                ("DB_PORT", server.port().to_string()),
                ("DB_DATABASE", "site".into()),
                ("DB_USERNAME", "dewar".into()),
                ("DB_PASSWORD", PASSWORD.into()),
            ],
        });
        settings
    }

    /// The first of Laravel's applications makes its table.
    fn is_made_by(&self, laravel: &Laravel) {
        let Self::Database(database) = self else { return };
        database.laravel.get_or_init(|| {
            let answer = Visitor::new().post(&format!("{}/_test/migrate", laravel.url), "");
            assert_eq!(answer.status, 204, "{}", answer.body);
            laravel.url.clone()
        });
    }

    /// The names of all records, without our tombstones.
    pub(crate) fn records(&self) -> Vec<String> {
        match self {
            Self::Redis(redis) => redis.keys(),
            Self::Database(database) => database.rows().iter().map(Row::id).collect(),
        }
    }

    /// Removes a record behind everybody's back.
    pub(crate) fn forget(&self, name: &str) {
        match self {
            Self::Redis(redis) => redis.remove(name),
            Self::Database(database) => {
                let answer = Visitor::new().post(&format!("{}/_test/forget?id={name}", database.laravel()), "");
                assert_eq!(answer.status, 204, "{}", answer.body);
            }
        }
    }
}

impl Database {
    fn laravel(&self) -> &str {
        self.laravel.get().expect("Laravel was started before")
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        let answer = Visitor::new().get(&format!("{}/_test/rows", self.laravel()));
        let rows: Vec<serde_json::Value> = serde_json::from_str(&answer.body).expect("rows");
        rows.into_iter().map(Row).collect()
    }
}

impl Row {
    pub(crate) fn id(&self) -> String {
        self.text("id").expect("a row has an id")
    }

    /// A column, as text.
    pub(crate) fn text(&self, column: &str) -> Option<String> {
        match self.0.get(column)? {
            serde_json::Value::Null => None,
            serde_json::Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }
}
