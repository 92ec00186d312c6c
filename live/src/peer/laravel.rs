//! The test routes in Laravel: `live/laravel_app/app.php`, on Laravel 8 and 13, and what it shares with ours.

use dewar::{
    Keyring, SessionLayer,
    dialect::{self, wire::laravel::Cipher},
    layout::Serialization,
};

use super::redis::Redis;
use crate::{
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
    pub(crate) fn laravel(self, tools: &Tools, redis: &Redis, key: &str, settings: &[(&str, &str)]) -> Laravel {
        let port = free_port();
        let mut command = tools.command(self.release.tool());
        command.args(["-S", &format!("127.0.0.1:{port}")]).arg(root().join("live/laravel_app/app.php"));
        command.envs([("APP_KEY", key), ("REDIS_PREFIX", "shop_"), ("CACHE_PREFIX", "cache")]);
        command.env("REDIS_PORT", redis.url.rsplit(':').next().unwrap_or_default());
        command.env("CIPHER", self.cipher.name()).env("ENCRYPT", if self.encrypt { "1" } else { "0" });
        command.env("SERIALIZATION", self.serialization_name()).envs(settings.iter().copied());
        let mut process = Process::start("Laravel", &mut command);
        process.wait_for_port(port);
        Laravel { _process: process, url: format!("http://127.0.0.1:{port}") }
    }

    /// Our layer under this keyring. Called within a runtime.
    pub(crate) fn ours(self, redis: &Redis, keyring: Keyring) -> SessionLayer {
        let layer = SessionLayer::new(keyring).expect("the keys are accepted");
        layer.dialect(move |keys: &Keyring| self.dialect(keys)).store(redis.store())
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
