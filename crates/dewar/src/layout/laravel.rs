//! `LaravelCache` and `LaravelTable`: a record as Laravel 8.83 and 13.31 keep it in Redis and in a database, with `SESSION_DRIVER=redis` and
//! `SESSION_DRIVER=database`; each reads the other's.
//!
//! ```text
//! text     a:N:{ name value ... }               PHP's serialize() of the entries
//!          {"name":value, ...}                  json_encode() of them, Laravel 9 and later with `session.serialization`
//!          sealed( s:LENGTH:"either of them"; ) with `session.encrypt`: the encrypter serializes as well
//!
//! in Redis
//! key      the connection's prefix, the cache's prefix, the id
//! value    s:LENGTH:"text";                     the cache store serializes the text that it is given
//! TTL      `session.lifetime`, set with every write
//!
//! in the table `sessions`
//! id             the id
//! payload        base64( text )
//! last_activity  the second of the last visit; a row ends `session.lifetime` after it
//! user_id        whose session it is, or NULL
//! ip_address, user_agent   of the visit that Laravel answered last: left as they are
//! ```
//!
//! What they cannot say: when a visit began, a lifetime of a single session, and whether its cookie outlives the browser.
//!
//! Where they deviate: a malformed record, one of another serialization and one that no key opens is an empty session under a new id (Laravel writes over
//! it); an entry with a PHP object keeps its bytes, and one with references is kept or refused as in `php.rs`; in JSON, NaN, the infinities
//! and half of a surrogate pair are refused (Laravel loses the session); reading moves the end of a session after a tenth of its time (Laravel: with every request).
//!
//! A record that ended here leaves a tombstone beside it: what a slow request of Laravel's writes again after that is met as ended, and deleted.
//! Laravel itself sees no tombstone. Once it is over (two minutes, or as long as the setting says), such a record is a session again.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{Ends, Kept, Layout, Serializer, Shape, Stored, Table};
use crate::{
    cookie::Attributes,
    data::{Contents, Data},
    dialect::wire::laravel::Encrypter,
    encoding::{
        Encoding, Json, Php,
        base64::{decode_standard, encode_standard},
    },
    error::{Error, Refusal},
    explain::Steps,
    lifetime::GONE_FOR,
    meaning::{self, Holds, Meaning, Principal},
};

/// How Laravel writes the entries of a record: `config('session.serialization')`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Serialization {
    /// PHP's `serialize()`: the default, and all that Laravel 8 has.
    #[default]
    Php,
    /// `json_encode()`, since Laravel 9. A float without a fraction becomes an integer.
    Json,
}

impl Serialization {
    pub(crate) const fn encoding(self) -> Encoding {
        match self {
            Self::Php => Encoding::Php(Php::SHORTEST),
            Self::Json => Encoding::Json(Json::PHP),
        }
    }

    fn read(self, text: &Bytes) -> Option<Kept> {
        match self {
            // The same as PHP's own `php_serialize`.
            Self::Php => {
                let (data, extra) = Serializer::PhpSerialize.read(text)?;
                Some(Kept { extra, ..Kept::new(data) })
            }
            // PHP's only way to say that there is nothing.
            Self::Json if text == "[]" => Some(Kept::new(Data::default())),
            Self::Json => Some(Kept::new(Data::parse(self.encoding(), text)?)),
        }
    }

    fn write(self, contents: &Contents) -> Result<Vec<u8>, Error> {
        match self {
            Self::Php => Serializer::PhpSerialize.write(&contents.data, &contents.extra),
            Self::Json => {
                let mut text = Vec::with_capacity(512);
                contents.data.write(self.encoding(), &mut text);
                Ok(text)
            }
        }
    }
}

/// The text of the entries, in whichever place it is.
#[derive(Clone, Debug, Default)]
struct Text {
    serialization: Serialization,
    encrypter: Option<Arc<Encrypter>>,
}

impl Text {
    fn read(&self, text: Bytes, steps: &mut Steps<'_>) -> Result<Kept, Refusal> {
        let text = self.unsealed(text, steps)?;
        steps.note("serialization", || {
            let looks_like = |text: &[u8]| match text {
                [b'a', b':', ..] => "PHP's serialize()",
                [b'{' | b'[', ..] => "JSON",
                [b'e', b'y', ..] => "encrypted: say encrypt",
                _ => "none of Laravel's",
            };
            looks_like(&text).to_owned()
        });
        self.serialization.read(&text).ok_or(Refusal::Malformed)
    }

    fn unsealed(&self, text: Bytes, steps: &mut Steps<'_>) -> Result<Bytes, Refusal> {
        let Some(encrypter) = &self.encrypter else { return Ok(text) };
        let opened = std::str::from_utf8(&text).map_err(|_| Refusal::Malformed).and_then(|text| encrypter.open(text));
        steps.note("encrypted", || {
            let secret = opened.as_ref().ok().map(|(_, at)| *at);
            format!("{}, {}", encrypter.cipher().name(), crate::explain::signed_by(secret, encrypter.keys()))
        });
        unserialized(&opened?.0.into())
    }

    fn write(&self, contents: &Contents) -> Result<Vec<u8>, Error> {
        let text = self.serialization.write(contents)?;
        let Some(encrypter) = &self.encrypter else { return Ok(text) };
        let message = serialized(&text);
        // Not drawn: the same record is to be the same bytes, by which the engine knows it.
        let iv = encrypter.derive_iv(&[&contents.issued.as_millis().to_be_bytes(), &message]);
        let sealed = encrypter.seal(&message, &iv);
        Ok(sealed.ok_or_else(|| Error::setting("the session is too large to be encrypted"))?.into_bytes())
    }
}

/// What both layouts are told.
macro_rules! settings {
    () => {
        /// How the entries are written.
        #[must_use]
        pub fn serialization(mut self, serialization: Serialization) -> Self {
            self.text.serialization = serialization;
            self
        }

        /// Records are sealed with the keys of the application.
        #[must_use]
        pub fn encrypted(mut self, encrypter: Arc<Encrypter>) -> Self {
            self.text.encrypter = Some(encrypter);
            self
        }

        /// How long a request of the Laravel application may run, which would write a session again that ended here.
        #[must_use]
        pub fn longest_request(mut self, time: Duration) -> Self {
            self.longest_request = time;
            self
        }
    };
}

/// The records that Laravel's cache store keeps in Redis.
#[derive(Clone, Debug)]
pub struct LaravelCache {
    prefix: Box<str>,
    text: Text,
    longest_request: Duration,
}

impl LaravelCache {
    /// What stands before an id in an application of Laravel 11 that names no prefix.
    pub(crate) const PREFIX: &'static str = "laravel_database_laravel_cache_";

    /// The layout of records whose names are this prefix and an id, as PHP serializes them.
    pub fn new(prefix: impl Into<Box<str>>) -> Self {
        Self { prefix: prefix.into(), text: Text::default(), longest_request: GONE_FOR }
    }

    settings!();
}

impl Layout for LaravelCache {
    fn encoding(&self) -> Encoding {
        self.text.serialization.encoding()
    }

    fn holds(&self) -> Holds {
        Holds::NOTHING
    }

    fn name(&self, id: &str) -> String {
        format!("{}{id}", self.prefix)
    }

    fn longest_request(&self) -> Duration {
        self.longest_request
    }

    fn read(&self, found: &Stored, steps: &mut Steps<'_>) -> Result<Kept, Refusal> {
        self.text.read(unserialized(found.body())?, steps)
    }

    fn write(&self, contents: &Contents, _cookie: &Attributes) -> Result<Stored, Error> {
        Ok(Stored::Blob(serialized(&self.text.write(contents)?).into()))
    }
}

/// The rows that Laravel's `database` driver keeps.
#[derive(Clone, Debug)]
pub struct LaravelTable {
    table: Arc<Table>,
    meaning: meaning::Laravel,
    text: Text,
    longest_request: Duration,
}

impl LaravelTable {
    /// Laravel's own name of it.
    pub(crate) const NAME: &'static str = "sessions";

    /// The layout of the rows of this table, `config('session.table')`, as PHP serializes them. Whose a session is, the guard says of this name.
    pub fn new(table: &str, guard: &str) -> Self {
        let ends = Ends::After("last_activity", Duration::from_secs(120 * 60));
        let table = Table {
            also: &["user_id"],
            made_by: "php artisan make:session-table (session:table before Laravel 11), then php artisan migrate",
            ..Table::new(table, "id", "payload", ends)
        };
        Self {
            table: Arc::new(table),
            meaning: meaning::Laravel::new(guard),
            text: Text::default(),
            longest_request: GONE_FOR,
        }
    }

    settings!();
}

impl Layout for LaravelTable {
    fn encoding(&self) -> Encoding {
        self.text.serialization.encoding()
    }

    fn holds(&self) -> Holds {
        Holds::NOTHING
    }

    fn shape(&self) -> Shape {
        Shape::Row(Arc::clone(&self.table))
    }

    fn name(&self, id: &str) -> String {
        id.to_owned()
    }

    fn longest_request(&self) -> Duration {
        self.longest_request
    }

    fn read(&self, found: &Stored, steps: &mut Steps<'_>) -> Result<Kept, Refusal> {
        let text = decode_standard(found.body()).ok_or(Refusal::Malformed)?;
        self.text.read(text.into(), steps)
    }

    fn write(&self, contents: &Contents, _cookie: &Attributes) -> Result<Stored, Error> {
        let mut body = Vec::new();
        encode_standard(&self.text.write(contents)?, &mut body);
        let user = match self.meaning.principal(&contents.data, self.encoding()) {
            Some(Principal::Known(user)) => Some(user.into()),
            _ => None,
        };
        Ok(Stored::Row { body: body.into(), also: vec![user] })
    }
}

/// PHP's `serialize()` of a text.
fn serialized(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    out.extend_from_slice(format!("s:{}:\"", text.len()).as_bytes());
    out.extend_from_slice(text);
    out.extend_from_slice(b"\";");
    out
}

/// The text that PHP serialized.
fn unserialized(found: &Bytes) -> Result<Bytes, Refusal> {
    let text = || {
        let rest = found.strip_prefix(b"s:")?;
        let colon = rest.iter().take(11).position(|byte| *byte == b':')?;
        let digits = rest[..colon].iter().all(u8::is_ascii_digit).then_some(&rest[..colon])?;
        let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let text = rest[colon..].strip_prefix(b":\"")?.strip_suffix(b"\";")?;
        (text.len() == length).then(|| found.slice_ref(text))
    };
    text().ok_or(Refusal::Malformed)
}
