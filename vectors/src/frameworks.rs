//! The frameworks whose vectors are run: one entry in [`ALL`] each, and a function that makes the dialect of a config.
//!
//! To add one: an entry here with the words that its vectors' `framework` begins with, its `kind`, and its function.

use std::sync::Arc;

use dewar::{
    Keyring, Secret,
    dialect::{
        Attributes, CookieSession, Dialect, Digest, Django, DjangoSession, Encryption, ExpressSession, Flask,
        FlaskSession, Iron, Laravel, Phoenix, Php, Rails, SameSite, Symfony,
        wire::{inflate::inflate, laravel::Cipher},
    },
    encoding::{self, base64},
    layout::{Layout, Serialization, SerializationFormat, Serializer},
    value::Value,
};
use serde_json::Value as Json;

use crate::{file::Vector, typed};

/// How the vectors of one framework become calls of a dialect.
pub(crate) struct Framework {
    /// What `framework` begins with, in whole words: a version may be among them.
    pub(crate) name: &'static str,
    /// The `kind` that its sessions are of.
    kind: &'static str,
    /// The dialect of a config.
    pub(crate) setting: fn(&Json) -> Result<Setting, NoSetting>,
    /// The random bytes that the framework drew for a vector, in the order in which the dialect asks for them.
    pub(crate) drawn: fn(&Json) -> Option<Vec<u8>>,
    /// Whether the id is made of them.
    pub(crate) draws_id: bool,
    /// The text in a cookie's value, where it may be compressed: another deflate gives other bytes.
    pub(crate) text: fn(&str) -> Option<Text>,
    /// Why the dialect of a config refuses to write what the framework writes, where it does so on purpose.
    pub(crate) refuses: fn(&Value, &Json) -> Option<&'static str>,
    /// Why what the application stored becomes other bytes than the framework's, where it does so on purpose: the typed JSON of it, and the config.
    pub(crate) differs: fn(&Json, &Json) -> Option<&'static str>,
}

const ALL: &[Framework] = &[
    Framework {
        name: "Flask",
        kind: "cookie",
        setting: flask,
        drawn: |_| None,
        draws_id: false,
        text: flask_text,
        refuses: |_, _| None,
        differs: |_, _| None,
    },
    Framework {
        name: "Flask-Session",
        kind: "store",
        setting: flask_session,
        drawn: |_| None,
        draws_id: false,
        text: |_| None,
        refuses: refused_by_flask_session,
        differs: dates_in_other_zones,
    },
    Framework {
        name: "cookie-session",
        kind: "cookie",
        setting: cookie_session,
        drawn: |_| None,
        draws_id: false,
        text: |_| None,
        refuses: |value, _| not_finite(value),
        differs: |_, _| None,
    },
    Framework {
        name: "express-session",
        kind: "store",
        setting: express_session,
        drawn: |vector| base64::decode_url(vector["sid"].as_str()?.as_bytes()),
        draws_id: true,
        text: |_| None,
        refuses: |value, _| not_finite(value),
        differs: |_, _| None,
    },
    Framework {
        name: "Rails",
        kind: "cookie",
        setting: rails,
        drawn: rails_drawn,
        draws_id: false,
        text: |_| None,
        refuses: |value, _| not_finite(value),
        differs: nil_at_the_top,
    },
    Framework {
        name: "iron-session",
        kind: "cookie",
        setting: iron,
        drawn: iron_drawn,
        draws_id: false,
        text: |_| None,
        refuses: |value, _| not_finite(value),
        differs: |_, _| None,
    },
    Framework {
        name: "Plug",
        kind: "cookie",
        setting: phoenix,
        // Of the older form it is not told which key was drawn.
        drawn: |vector| typed::bytes(vector["intermediate"]["nonce_hex"].as_str()?),
        draws_id: false,
        text: |_| None,
        refuses: |_, _| None,
        differs: |_, _| None,
    },
    Framework {
        name: "Laravel",
        kind: "store",
        setting: laravel,
        drawn: |vector| typed::bytes(vector["intermediate"]["iv_hex"].as_str()?),
        draws_id: false,
        text: |_| None,
        refuses: |_, _| None,
        differs: |_, _| None,
    },
    Framework {
        name: "Django",
        kind: "cookie",
        setting: django,
        drawn: |_| None,
        draws_id: false,
        text: django_text,
        refuses: |_, _| None,
        differs: |_, _| None,
    },
    Framework {
        name: "Django",
        kind: "store",
        setting: django_session,
        drawn: |_| None,
        draws_id: false,
        text: django_text,
        refuses: |_, _| None,
        differs: |_, _| None,
    },
    Framework {
        name: "PHP",
        kind: "store",
        setting: php,
        drawn: |_| None,
        draws_id: false,
        text: |_| None,
        refuses: dropped_by_php,
        differs: |_, _| None,
    },
    Framework {
        name: "Symfony",
        kind: "store",
        setting: symfony,
        drawn: |_| None,
        draws_id: false,
        text: |_| None,
        // Attributes are in an array, which holds any name.
        refuses: |_, _| None,
        differs: |_, _| None,
    },
];

/// What a cookie's value says before compression, and whether it is compressed.
#[derive(PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_compressed: bool,
}

/// A dialect as one config wants it.
pub(crate) struct Setting {
    pub(crate) dialect: Box<dyn Dialect>,
    /// The layout of its records, where a cookie leads to one.
    pub(crate) layout: Option<Arc<dyn Layout>>,
    pub(crate) cookie: Attributes,
    /// The idle timeout in seconds.
    pub(crate) idle: u32,
    /// Whether the cookie outlives the browser.
    pub(crate) persistent: bool,
    /// What of the config a new record cannot say, on purpose. One that was read keeps it.
    pub(crate) unsaid: Option<&'static str>,
}

/// Why a config has no dialect.
pub(crate) enum NoSetting {
    /// It asks for something that the dialect has not: the vector is left out.
    Unknown(String),
    /// It is not as it should be, which is a mismatch.
    Broken(String),
}

impl<S: Into<String>> From<S> for NoSetting {
    fn from(why: S) -> Self {
        Self::Broken(why.into())
    }
}

/// The entry that runs a vector. An error: why none does.
pub(crate) fn of(vector: &Vector<'_>) -> Result<&'static Framework, String> {
    let (framework, kind) = (vector.text("framework"), vector.text("kind"));
    let why = match kind {
        "cookie" | "store" => {
            let is_it = |entry: &&Framework| entry.kind == kind && begins_with(framework, entry.name);
            return ALL.iter().find(is_it).ok_or_else(|| {
                let other = ALL.iter().find(|entry| begins_with(framework, entry.name));
                other.map_or(format!("no dialect reads {framework}"), |other| {
                    format!("of {framework} only sessions of the kind {:?} are read", other.kind)
                })
            });
        }
        "message" => "a signed or sealed message is no session",
        "value" => "one stored value is no session",
        "derive" => "a derived key is no session",
        "set_cookie" => "the attributes of a response's cookies are the manager's, not a dialect's",
        "encode-error" => "the framework wrote nothing",
        "config-error" => "the framework refused the config",
        other => return Err(format!("vectors of the kind {other:?} are not known here")),
    };
    Err(why.into())
}

/// In whole words: `Flask` is not `Flask-Session`, and `iron-session 8` is `iron-session 8.0.4`.
fn begins_with(framework: &str, name: &str) -> bool {
    framework.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '.']))
}

fn flask(config: &Json) -> Result<Setting, NoSetting> {
    for (name, own) in [("salt", "cookie-session"), ("key_derivation", "hmac")] {
        if config[name] != own {
            return Err(NoSetting::Unknown(format!("the dialect Flask has no {name} but {own:?}")));
        }
    }
    let secret = typed::bytes(text(config, "secret_hex")?).ok_or("secret_hex is not in hex digits")?;
    let keys = [secret].into_iter().chain(texts(&config["fallbacks"]).map(|key| key.as_bytes().to_vec()));
    let dialect = Flask::new(&keyring(keys))
        .digest(digest(config)?)
        .sort_keys(config["json_sort_keys"] != false)
        .ensure_ascii(config["json_ensure_ascii"] != false);
    let lifetime = &config["permanent_session_lifetime_seconds"];
    let lifetime = lifetime.as_u64().and_then(|seconds| u32::try_from(seconds).ok());
    Ok(Setting {
        cookie: Attributes::new(text(config, "cookie_name")?),
        idle: lifetime.ok_or("permanent_session_lifetime_seconds is no number of seconds")?,
        persistent: false,
        unsaid: None,
        layout: dialect.layout(),
        dialect: Box::new(dialect),
    })
}

fn flask_session(config: &Json) -> Result<Setting, NoSetting> {
    let format = match text(config, "serialization_format")? {
        "msgpack" => SerializationFormat::MsgPack,
        "json" => SerializationFormat::Json,
        other => return Err(NoSetting::Unknown(format!("the dialect FlaskSession has no format {other:?}"))),
    };
    let own = [("salt", "flask-session"), ("key_derivation", "hmac"), ("digest", "sha1")];
    if let Some((name, own)) = own.into_iter().find(|(name, own)| {
        let signer = &config["signer"][name];
        !signer.is_null() && signer != own
    }) {
        return Err(NoSetting::Unknown(format!("the dialect FlaskSession has no {name} but {own:?}")));
    }
    let dialect = FlaskSession::new(&keyring([text(config, "secret")?.as_bytes().to_vec()].into_iter()))
        .format(format)
        .key_prefix(text(config, "key_prefix")?)
        .use_signer(config["use_signer"] == true)
        .permanent(config["permanent"] != false);
    let lifetime = config["lifetime_seconds"].as_u64().and_then(|seconds| u32::try_from(seconds).ok());
    Ok(Setting {
        cookie: Attributes::new(text(config, "cookie_name")?),
        idle: lifetime.ok_or("lifetime_seconds is no number of seconds")?,
        persistent: false,
        unsaid: None,
        layout: dialect.layout(),
        dialect: Box::new(dialect),
    })
}

/// msgspec's JSON makes NaN null without a word, and its MessagePack holds it.
fn refused_by_flask_session(session: &Value, config: &Json) -> Option<&'static str> {
    if config["serialization_format"] == "json" { not_finite(session) } else { None }
}

/// A date is a moment here. MessagePack says no more of one that has a zone, and JSON says the zone.
fn dates_in_other_zones(session: &Json, config: &Json) -> Option<&'static str> {
    let is_in = |value: &Json| dates_in_other_zones(value, config).is_some();
    let found = match session {
        Json::Array(items) => items.iter().any(is_in),
        Json::Object(members) if members.get("$t").is_some_and(|kind| kind == "datetime") => {
            let date = members.get("v").and_then(Json::as_str).unwrap_or_default();
            let (_, clock) = date.split_once('T').unwrap_or_default();
            match clock.find(['Z', '+', '-']) {
                None => true,
                Some(at) => config["serialization_format"] == "json" && !["Z", "+00:00"].contains(&&clock[at..]),
            }
        }
        Json::Object(members) => members.values().any(is_in),
        _ => false,
    };
    found.then_some("a date without a zone is written as text by the application, and one here is in UTC")
}

fn django(config: &Json) -> Result<Setting, NoSetting> {
    if config["engine"] != "signed_cookies" {
        return Err(NoSetting::Unknown(format!("the dialect Django has no engine {}", config["engine"])));
    }
    let secret = typed::bytes(text(config, "secret_hex")?).ok_or("secret_hex is not in hex digits")?;
    let keys = [secret].into_iter().chain(texts(&config["fallbacks"]).map(|key| key.as_bytes().to_vec()));
    let closes = config["session_settings"]["SESSION_EXPIRE_AT_BROWSER_CLOSE"] == true;
    let dialect =
        Django::new(&keyring(keys)).salt(text(config, "salt")?).digest(digest(config)?).expire_at_browser_close(closes);
    let age = config["cookie_age_seconds"].as_u64().and_then(|seconds| u32::try_from(seconds).ok());
    Ok(Setting {
        cookie: Attributes::new(text(config, "cookie_name")?),
        idle: age.ok_or("cookie_age_seconds is no number of seconds")?,
        persistent: !closes,
        unsaid: None,
        layout: dialect.layout(),
        dialect: Box::new(dialect),
    })
}

fn django_session(config: &Json) -> Result<Setting, NoSetting> {
    let engine = text(config, "engine")?;
    let secret = typed::bytes(text(config, "secret_hex")?).ok_or("secret_hex is not in hex digits")?;
    let keys = [secret].into_iter().chain(texts(&config["fallbacks"]).map(|key| key.as_bytes().to_vec()));
    let closes = config["session_settings"]["SESSION_EXPIRE_AT_BROWSER_CLOSE"] == true;
    let mut dialect = DjangoSession::new(&keyring(keys)).expire_at_browser_close(closes);
    if let Some(salt) = config["salt"].as_str() {
        dialect = dialect.salt(salt);
    }
    let layout = match engine {
        "db" | "cached_db" => dialect.row(),
        "cache" => dialect.layout(),
        other => return Err(NoSetting::Unknown(format!("no dialect of Django's has the engine {other:?}"))),
    };
    let age = config["cookie_age_seconds"].as_u64().and_then(|seconds| u32::try_from(seconds).ok());
    Ok(Setting {
        cookie: Attributes::new(text(config, "cookie_name")?),
        idle: age.ok_or("cookie_age_seconds is no number of seconds")?,
        persistent: !closes,
        unsaid: None,
        layout,
        dialect: Box::new(dialect),
    })
}

/// The JSON in a cookie of Flask, inflated.
fn flask_text(value: &str) -> Option<Text> {
    inflated(value.rsplitn(3, '.').nth(2)?)
}

/// The JSON in a cookie or a row of Django, inflated.
fn django_text(value: &str) -> Option<Text> {
    inflated(value.rsplitn(3, ':').nth(2)?)
}

fn inflated(payload: &str) -> Option<Text> {
    let bytes = match payload.strip_prefix('.') {
        Some(compressed) => inflate(&base64::decode_url(compressed.as_bytes())?, 1 << 20).ok()?,
        None => base64::decode_url(payload.as_bytes())?,
    };
    Some(Text { bytes, is_compressed: payload.starts_with('.') })
}

fn cookie_session(config: &Json) -> Result<Setting, NoSetting> {
    let keyring = keyring(texts(&config["keys"]).map(|key| key.as_bytes().to_vec()));
    let mut dialect = CookieSession::new(&keyring).digest(digest(config)?);
    if config["signed"] == false {
        dialect = dialect.dangerously_unsigned();
    }
    express(config, &config["options"], Box::new(dialect))
}

fn express_session(config: &Json) -> Result<Setting, NoSetting> {
    if config["digest"] != "sha256" {
        return Err(NoSetting::Unknown(format!("the dialect ExpressSession has no digest {}", config["digest"])));
    }
    let keyring = keyring(texts(&config["secrets"]).map(|key| key.as_bytes().to_vec()));
    let dialect = ExpressSession::new(&keyring).prefix(text(config, "prefix")?);
    express(config, &config["cookie"], Box::new(dialect))
}

fn rails(config: &Json) -> Result<Setting, NoSetting> {
    let kdf = text(&config["kdf"], "algorithm")?;
    if config["kdf"]["iterations"] != 1000 {
        return Err(NoSetting::Unknown("the dialect Rails derives keys with 1000 iterations, as Rails does".into()));
    }
    let salts = [
        ("authenticated_encrypted", "authenticated encrypted cookie"),
        ("signed", "signed cookie"),
        ("encrypted", "encrypted cookie"),
        ("encrypted_signed", "signed encrypted cookie"),
    ];
    if let Some((name, own)) = salts.into_iter().find(|(name, own)| config["salts"][name] != *own) {
        return Err(NoSetting::Unknown(format!("the dialect Rails has no salt {name} but {own:?}")));
    }
    // What is in Marshal is run, to be refused.
    let serializer = text(config, "serializer")?;
    if !["json", "hybrid", "marshal"].contains(&serializer) {
        return Err(NoSetting::Unknown(format!("the dialect Rails does not read what is written with {serializer:?}")));
    }
    let encryption = match text(config, "cipher")? {
        "aes-256-gcm" => Encryption::Gcm,
        cipher if cipher.starts_with("aes-256-cbc") => Encryption::Cbc,
        other => return Err(NoSetting::Unknown(format!("the dialect Rails has no cipher {other:?}"))),
    };
    let keys = [text(config, "secret_key_base")?].into_iter().chain(texts(&config["rotations"]));
    let expires = config["expire_after_seconds"].as_u64();
    let digest = named(kdf.strip_prefix("PBKDF2-HMAC-").unwrap_or(kdf))?;
    let dialect = Rails::new(&keyring(keys.map(|key| key.as_bytes().to_vec())))
        .encryption(encryption)
        .digest(digest)
        .signed_digest(named(text(config, "signed_cookie_digest")?)?)
        .metadata(config["cookies_with_metadata"] != false);
    Ok(Setting {
        cookie: Attributes::new(text(config, "cookie_name")?),
        idle: u32::try_from(expires.unwrap_or(86_400)).map_err(|_| "expire_after is too long")?,
        persistent: expires.is_some(),
        unsaid: None,
        layout: dialect.layout(),
        dialect: Box::new(dialect),
    })
}

/// The nonce, and where the application stored no `session_id` the bytes of that.
fn rails_drawn(vector: &Json) -> Option<Vec<u8>> {
    let mut drawn = typed::bytes(vector["intermediate"]["iv_hex"].as_str()?)?;
    drawn.extend(typed::bytes(vector["session"]["session_id"].as_str()?)?);
    Some(drawn)
}

fn nil_at_the_top(session: &Json, _: &Json) -> Option<&'static str> {
    let has_nil = session.as_object()?.values().any(Json::is_null);
    has_nil.then_some("Rails leaves out an entry that the application sets to nil; it is kept as null here")
}

/// What both say of their cookie, in milliseconds and small letters.
fn express(config: &Json, options: &Json, dialect: Box<dyn Dialect>) -> Result<Setting, NoSetting> {
    const DAY: u64 = 86_400;
    let max_age = options["maxAge"].as_u64();
    let idle = max_age.map_or(config["store_ttl"].as_u64().unwrap_or(DAY), |millis| millis.div_ceil(1000));
    let own = Attributes::new(text(config, "cookie_name")?);
    let unsaid = if !options["priority"].is_null() {
        Some("a new record says no cookie priority")
    } else {
        max_age.filter(|millis| millis % 1000 != 0).map(|_| "a new record's lifetime has whole seconds")
    };
    Ok(Setting {
        layout: dialect.layout(),
        dialect,
        idle: u32::try_from(idle).map_err(|_| "the lifetime is too long")?,
        persistent: max_age.is_some(),
        unsaid,
        cookie: Attributes {
            path: options["path"].as_str().unwrap_or("/").into(),
            domain: options["domain"].as_str().map(Into::into),
            secure: options["secure"] == true,
            http_only: options["httpOnly"] != false,
            same_site: match &options["sameSite"] {
                Json::Bool(true) => Some(SameSite::Strict),
                Json::String(site) if site == "strict" => Some(SameSite::Strict),
                Json::String(site) if site == "lax" => Some(SameSite::Lax),
                Json::String(site) if site == "none" => Some(SameSite::None),
                _ => None,
            },
            partitioned: options["partitioned"] == true,
            ..own
        },
    })
}

fn iron(config: &Json) -> Result<Setting, NoSetting> {
    if config["chunk"] == true {
        return Err(NoSetting::Unknown("the dialect Iron has no chunk: true".into()));
    }
    let mut passwords = Vec::new();
    for (id, password) in config["passwords"].as_object().ok_or("the config has no passwords")? {
        let id: u32 = id.parse().map_err(|_| format!("the password id {id:?} is no number"))?;
        passwords.push((id, password.as_str().ok_or("a password is no text")?.as_bytes().to_vec()));
    }
    passwords.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
    let keyring = keyring(passwords.iter().map(|(_, password)| password.clone()));
    let options = &config["cookie_options"];
    let ttl =
        config["ttl_seconds"].as_u64().and_then(|ttl| u32::try_from(ttl).ok()).ok_or("there is no ttl_seconds")?;
    // Options without a single one stand for `maxAge: undefined`, which JSON cannot say.
    let is_of_browser = options.as_object().is_some_and(serde_json::Map::is_empty);
    let unlimited = ttl == 0 || is_of_browser;
    let dialect = Iron::new(&keyring).password_ids(passwords.iter().map(|(id, _)| *id)).unlimited(unlimited);
    Ok(Setting {
        cookie: Attributes::new(text(config, "cookie_name")?),
        idle: if unlimited { i32::MAX.unsigned_abs() } else { ttl },
        persistent: !is_of_browser,
        unsaid: None,
        layout: dialect.layout(),
        dialect: Box::new(dialect),
    })
}

/// Both salts with the vector between them.
fn iron_drawn(vector: &Json) -> Option<Vec<u8>> {
    let part = |name: &str| typed::bytes(vector["intermediate"][name].as_str()?);
    Some([part("encryption_salt")?, part("iv_hex")?, part("hmac_salt")?].concat())
}

fn phoenix(config: &Json) -> Result<Setting, NoSetting> {
    if config["serializer"] != "external_term_format" {
        return Err(NoSetting::Unknown(format!("the dialect Phoenix has no serializer {}", config["serializer"])));
    }
    let number = |name: &str| config[name].as_u64().ok_or_else(|| format!("the config has no number {name:?}"));
    let secret = text(config, "secret_key_base")?.as_bytes().to_vec();
    let mut dialect = Phoenix::new(&keyring([secret].into_iter()))
        .signing_salt(text(config, "signing_salt")?)
        .key_digest(named(text(config, "key_digest")?)?)
        .key_iterations(u32::try_from(number("key_iterations")?).map_err(|_| "there are too many key_iterations")?)
        .key_length(usize::try_from(number("key_length")?).map_err(|_| "the key is too long")?);
    if let Some(salt) = config["encryption_salt"].as_str() {
        dialect = dialect.encryption_salt(salt);
    }
    for salt in texts(&config["rotating_signing_salts"]) {
        dialect = dialect.former_signing_salt(salt);
    }
    for salt in texts(&config["rotating_encryption_salts"]) {
        dialect = dialect.former_encryption_salt(salt);
    }
    let release = text(config, "framework")?;
    let is_before = |what: &str, first: u32| {
        let version = release.split(what).nth(1).and_then(|rest| rest.split(['.', ' ']).find(|part| !part.is_empty()));
        version.and_then(|version| version.parse().ok()).is_some_and(|version: u32| version < first)
    };
    let is_older = config["mode"] == "encrypted" && is_before("plug_crypto", 2);
    Ok(Setting {
        cookie: Attributes::new(text(config, "cookie_name")?),
        idle: 86_400,
        persistent: false,
        unsaid: None,
        layout: dialect.layout(),
        dialect: Box::new(dialect.plug_crypto_1(is_older).otp_25(is_before("OTP", 26))),
    })
}

fn php(config: &Json) -> Result<Setting, NoSetting> {
    let number = |name: &str| config[name].as_u64().and_then(|number| u32::try_from(number).ok());
    // What is written by igbinary is run, to be refused.
    let serializer = match text(config, "session.serialize_handler")? {
        "igbinary" => Serializer::PhpBinary,
        name => Serializer::named(name)
            .ok_or_else(|| NoSetting::Unknown(format!("the dialect Php has no serialize_handler {name:?}")))?,
    };
    let prefix = match text(config, "session.save_handler")? {
        "files" => "sess_",
        _ => text(config, "key_prefix")?,
    };
    let mut dialect = Php::new().serializer(serializer).prefix(prefix);
    match &config["serialize_precision"] {
        Json::Null => {}
        precision if *precision == -1 => {}
        precision if *precision == 17 => dialect = dialect.serialize_precision(encoding::Php::PRECISION_17),
        other => return Err(NoSetting::Unknown(format!("the dialect Php has no serialize_precision {other}"))),
    }
    if let Some(length) = number("session.sid_length") {
        dialect = dialect.sid_length(length as usize);
    }
    if let Some(bits) = number("session.sid_bits_per_character") {
        dialect = dialect.sid_bits_per_character(bits);
    }
    Ok(Setting {
        cookie: Attributes::new(config["session.name"].as_str().unwrap_or("PHPSESSID")),
        idle: number("session.gc_maxlifetime").unwrap_or(1440),
        persistent: number("session.cookie_lifetime").is_some_and(|seconds| seconds > 0),
        unsaid: None,
        layout: dialect.layout(),
        dialect: Box::new(dialect),
    })
}

fn symfony(config: &Json) -> Result<Setting, NoSetting> {
    let number = |name: &str| config[name].as_u64().and_then(|number| u32::try_from(number).ok());
    let serializer = Serializer::named(text(config, "session.serialize_handler")?).ok_or("there is no such handler")?;
    // The cookie's lifetime is what the metadata says.
    let lifetime = number("session.cookie_lifetime").filter(|seconds| *seconds > 0);
    let dialect = Symfony::new().serializer(serializer).prefix(text(config, "key_prefix")?);
    Ok(Setting {
        cookie: Attributes::new("PHPSESSID"),
        idle: lifetime.or(number("session.gc_maxlifetime")).ok_or("session.gc_maxlifetime is no number of seconds")?,
        persistent: lifetime.is_some(),
        unsaid: None,
        layout: dialect.layout(),
        dialect: Box::new(dialect),
    })
}

fn laravel(config: &Json) -> Result<Setting, NoSetting> {
    let keys = [text(config, "app_key")?].into_iter().chain(texts(&config["previous_keys"]));
    let cipher = text(config, "cipher")?;
    let cipher = Cipher::ALL.into_iter().find(|known| known.name() == cipher).ok_or("there is no such cipher")?;
    let serialization = match text(config, "serialization")? {
        "php" => Serialization::Php,
        "json" => Serialization::Json,
        other => return Err(NoSetting::Unknown(format!("the dialect Laravel has no serialization {other:?}"))),
    };
    let minutes = config["lifetime_minutes"].as_u64().and_then(|minutes| u32::try_from(minutes).ok());
    let dialect = Laravel::new(&keyring(keys.map(|key| key.as_bytes().to_vec())))
        .cipher(cipher)
        .serialization(serialization)
        .encrypt(config["encrypt"] == true)
        .prefix(text(config, "prefix")?);
    Ok(Setting {
        cookie: Attributes::new(text(config, "cookie_name")?),
        idle: minutes.ok_or("lifetime_minutes is no number of minutes")? * 60,
        persistent: true,
        unsaid: None,
        layout: dialect.layout(),
        dialect: Box::new(dialect),
    })
}

/// With these names PHP leaves an entry out, and with `|` all of them.
fn dropped_by_php(session: &Value, config: &Json) -> Option<&'static str> {
    let Value::Map(members) = session else { return None };
    let is_dropped = |name: &Value| match (config["session.serialize_handler"].as_str()?, name) {
        ("php" | "php_binary", Value::Integer(_)) => Some(true),
        ("php" | "php_binary", Value::Text(name)) if name.parse::<i64>().is_ok_and(|it| it.to_string() == *name) => {
            Some(true)
        }
        ("php", Value::Text(name)) => Some(name.contains('|')),
        ("php_binary", Value::Text(name)) => Some(name.len() > 127),
        _ => None,
    };
    let why = "an entry whose name PHP drops is refused by name";
    members.iter().any(|(name, _)| is_dropped(name) == Some(true)).then_some(why)
}

/// `JSON.stringify` and Rails make them null without a word.
fn not_finite(value: &Value) -> Option<&'static str> {
    let is_in = |value: &Value| not_finite(value).is_some();
    let found = match value {
        Value::Float(float) => !float.is_finite(),
        Value::List(items) | Value::Tuple(items) => items.iter().any(is_in),
        Value::Map(members) => members.iter().any(|(_, value)| is_in(value)),
        _ => false,
    };
    found.then_some("NaN and the infinities are refused by name in a JSON that would write null")
}

fn digest(config: &Json) -> Result<Digest, NoSetting> {
    named(text(config, "digest")?)
}

fn named(digest: &str) -> Result<Digest, NoSetting> {
    match digest {
        "sha1" | "SHA1" => Ok(Digest::Sha1),
        "sha256" | "SHA256" => Ok(Digest::Sha256),
        "sha384" | "SHA384" => Ok(Digest::Sha384),
        "sha512" | "SHA512" => Ok(Digest::Sha512),
        other => Err(NoSetting::Unknown(format!("no dialect has the digest {other:?}"))),
    }
}

/// Without a key there is nothing signed, and the one that stands in for it is of no use.
fn keyring(keys: impl Iterator<Item = Vec<u8>>) -> Keyring {
    let mut keys = keys.map(Secret::dangerously_weak);
    let first = keys.next().unwrap_or_else(|| Secret::dangerously_weak("of no use"));
    keys.fold(Keyring::new(first), Keyring::fallback)
}

fn texts(list: &Json) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Json::as_str)
}

fn text<'a>(config: &'a Json, name: &str) -> Result<&'a str, String> {
    config[name].as_str().ok_or_else(|| format!("the config has no text {name:?}"))
}
