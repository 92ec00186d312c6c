//! `DjangoTable` and `DjangoCache`: a record as Django 5.2.19 and 6.0.10 keep it in a database and in Redis, with `SESSION_ENGINE` `db` and `cache`; each reads
//! the other's. Of `cached_db` the row is read and written, and the copy in the cache removed.
//!
//! ```text
//! in the table `django_session`
//! session_key   the id
//! session_data  payload ":" time ":" signature, with the salt django.contrib.sessions.SessionStore: `wire::django` has the bytes
//! expire_date   until when the row stands
//!
//! in Redis
//! key    KEY_PREFIX ":" VERSION ":django.contrib.sessions.cache" id
//! value  JSON, where the cache has a serializer of JSON
//! TTL    until it ends, in seconds
//!
//! the copy, with `cached_db`
//! key    KEY_PREFIX ":" VERSION ":django.contrib.sessions.cached_db" id
//! ```
//!
//! How long a session lives it says itself, in its entry `_session_expiry`: seconds from each save on, a moment (then nothing moves its end), or 0, which is
//! the layer's time in a cookie that ends with the browser.
//!
//! On SQLite and MySQL `expire_date` names no zone: it is UTC, as Django writes it with `USE_TZ = True` and no `TIME_ZONE` in `DATABASES`.
//!
//! What they cannot say: when a visit began, so there is no absolute timeout, and what `wire::django` names.
//!
//! Where they deviate: a row that is malformed or signed by another key is an empty session under a new id, and stays (Django keeps the id, and writes over
//! it); the value of Django's own serializer, a pickle, is never read, since reading one can run a program; a session that is opened after a tenth of its lifetime
//! lives on (Django: when it is written to, or with every request).
//!
//! A record that ended here leaves a tombstone beside it: what a slow request of Django's writes again after that is met as ended, and deleted.
//! Django itself sees no tombstone. Once it is over (two minutes, or as long as the setting says), such a record is a session again.

use std::{sync::Arc, time::Duration};

use super::{Copies, Ends, Kept, Layout, Shape, Stored, Table};
use crate::{
    cookie::Attributes,
    data::{Contents, Data},
    dialect::wire::django::{JSON, Signing},
    encoding::Encoding,
    error::{Error, Refusal},
    explain::Steps,
    lifetime::{GONE_FOR, Timestamp},
    meaning::{self, Holds},
    secret::Keyring,
};

/// The salt of rows: `django.contrib.sessions.`, and the name of the engine's class.
pub(crate) const SALT: &str = "django.contrib.sessions.SessionStore";

/// What a compressed row may inflate to.
pub(crate) const LARGEST_INFLATED: usize = 4 << 20;

/// The rows of Django's engines `db` and `cached_db`.
#[derive(Clone, Debug)]
pub struct DjangoTable {
    table: Arc<Table>,
    signing: Signing,
    copies: Option<Copies>,
    longest_request: Duration,
}

impl DjangoTable {
    /// Django's own name of it.
    pub(crate) const NAME: &'static str = "django_session";

    /// The layout of the rows of this table, signed under these secrets.
    pub fn new(table: &str, keyring: &Keyring) -> Self {
        Self::signed(table, Signing::new(keyring.secrets(), SALT, LARGEST_INFLATED))
    }

    pub(crate) fn signed(table: &str, signing: Signing) -> Self {
        let ends = Ends::At("expire_date");
        let table = Table {
            made_by: "python manage.py migrate, with django.contrib.sessions among INSTALLED_APPS",
            ..Table::new(table, "session_key", "session_data", ends)
        };
        Self { table: Arc::new(table), signing, copies: None, longest_request: GONE_FOR }
    }

    /// Where `cached_db` has its copies.
    #[must_use]
    pub fn copies(mut self, copies: Option<Copies>) -> Self {
        self.copies = copies;
        self
    }

    /// How long a request of the Django application may run, which would write a session again that ended here.
    #[must_use]
    pub fn longest_request(mut self, time: Duration) -> Self {
        self.longest_request = time;
        self
    }
}

impl Layout for DjangoTable {
    fn encoding(&self) -> Encoding {
        JSON
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

    fn copies(&self) -> Option<&Copies> {
        self.copies.as_ref()
    }

    fn read(&self, found: &Stored, steps: &mut Steps<'_>) -> Result<Kept, Refusal> {
        self.signing.explain(found.body(), None, steps);
        let opened = self.signing.open(found.body())?;
        Ok(Kept::new(self.signing.entries(opened)?))
    }

    fn write(&self, contents: &Contents, _cookie: &Attributes) -> Result<Stored, Error> {
        let body = self.signing.write(&contents.data, contents.issued);
        Ok(Stored::Row { body: body.into(), also: Vec::new() })
    }

    fn lasts(&self, data: &Data, now: Timestamp) -> Option<Duration> {
        lasts(data, now)
    }
}

/// The values that Django's engine `cache` keeps in Redis.
#[derive(Clone, Debug)]
pub struct DjangoCache {
    prefix: Box<str>,
    longest_request: Duration,
}

impl DjangoCache {
    /// The layout of the values of a cache with this `KEY_PREFIX` and `VERSION`.
    pub fn new(key_prefix: &str, version: u32) -> Self {
        let prefix = cache_key(key_prefix, version, "cache").into();
        Self { prefix, longest_request: GONE_FOR }
    }

    /// How long a request of the Django application may run, which would write a session again that ended here.
    #[must_use]
    pub fn longest_request(mut self, time: Duration) -> Self {
        self.longest_request = time;
        self
    }
}

impl Layout for DjangoCache {
    fn encoding(&self) -> Encoding {
        JSON
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
        let value = found.body();
        steps.note("value", || format!("{} bytes of {}", value.len(), looks_like(value)));
        if is_pickle(value) {
            return Err(Refusal::Unsupported);
        }
        Ok(Kept::new(Data::parse(JSON, value).ok_or(Refusal::Malformed)?))
    }

    fn write(&self, contents: &Contents, _cookie: &Attributes) -> Result<Stored, Error> {
        let mut value = Vec::with_capacity(512);
        contents.data.write(JSON, &mut value);
        Ok(Stored::Blob(value.into()))
    }

    fn lasts(&self, data: &Data, now: Timestamp) -> Option<Duration> {
        lasts(data, now)
    }
}

/// All that stands before an id in a key of the cache: `KEY_PREFIX:VERSION:`, and what the engine's module is called.
pub(crate) fn cache_key(key_prefix: &str, version: u32, engine: &str) -> String {
    format!("{key_prefix}:{version}:django.contrib.sessions.{engine}")
}

/// `get_expiry_age`, where the session says it.
fn lasts(data: &Data, now: Timestamp) -> Option<Duration> {
    meaning::Django::own_age(data, JSON, now).map(|seconds| Duration::from_secs(seconds.into()))
}

/// Python's `pickle` from its second protocol on: the opcode that says so, and its number.
fn is_pickle(value: &[u8]) -> bool {
    matches!(value, [0x80, 2..=5, ..])
}

fn looks_like(value: &[u8]) -> &'static str {
    match value {
        _ if is_pickle(value) => {
            "a Python pickle, which is never read here: give the cache a serializer of JSON, as \"OPTIONS\": {\"serializer\": ...} in CACHES, \
             or use the engine db or cached_db"
        }
        [b'{', ..] => "JSON",
        _ => "neither JSON nor a pickle",
    }
}
