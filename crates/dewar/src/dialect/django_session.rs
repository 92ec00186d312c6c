//! sessionid = an id
//!
//! `DjangoSession`: a bare id in the cookie and the session in a database or a cache, as Django 5.2.19 and 6.0.10 keep it with `SESSION_ENGINE` `db`, `cache` and
//! `cached_db`; each reads the other's.
//!
//! ```text
//! id  32 characters of a-z and 0-9; 8 to 40 are taken
//! ```
//!
//! The record is [`DjangoTable`]'s in a database and [`DjangoCache`]'s in Redis, and what its entries mean is said in `meaning/django.rs`, as of the
//! [signed cookie](super::Django).
//!
//! Where it deviates: an id that leads to nothing is not adopted, as in Django, and neither is one whose row cannot be read (Django keeps it, and writes over the
//! row); an id of other characters is refused (Django asks for any that has eight); a removed cookie has no value and keeps its attributes; blanks around a cookie's `=` and
//! quotes around its value are not taken; a persistent session's cookie is issued again after a tenth of its lifetime (Django: with every write).

use std::{sync::Arc, time::Duration};

use super::{
    Body, Dialect, Jar, Keeps, Known, Limits, Profile, Random, Refusal, SessionId, SetValue, Steps, Timestamp, Token,
    django::{SHORTEST, check, profile},
    option::{self, Setter},
    wire::django::Signing,
};
use crate::{
    error::Error,
    layout::{Copies, DJANGO_LARGEST, DJANGO_SALT, DjangoCache, DjangoTable, Layout, Table, django_cache_key},
    lifetime::GONE_FOR,
    meaning::{self, Meaning},
    secret::{Keyring, small_letters_and_digits},
};

pub(super) const KNOWN: Known = Known {
    name: "Django-session",
    cookies: &["sessionid"],
    on_store: None,
    make: |keyring, options| option::made("Django on a store", DjangoSession::new(keyring), SETTERS, options),
};

const SETTERS: &[Setter<DjangoSession>] = &[
    Setter::new("cache", |dialect, value| Ok(dialect.cached_db(value))),
    Setter::new("compression", |dialect, value| Ok(dialect.compression(option::flag(value)?))),
    Setter::new("expire_at_browser_close", |dialect, value| Ok(dialect.expire_at_browser_close(option::flag(value)?))),
    Setter::new("key_prefix", |dialect, value| Ok(dialect.key_prefix(value))),
    Setter::new("largest_inflated", |dialect, value| Ok(dialect.largest_inflated(option::number(value)?))),
    Setter::new("longest_request", |dialect, value| {
        Ok(dialect.longest_request(Duration::from_secs(option::number(value)?)))
    }),
    Setter::new("salt", |dialect, value| Ok(dialect.salt(value))),
    Setter::new("table", |dialect, value| Ok(dialect.table(value))),
    Setter::new("version", |dialect, value| Ok(dialect.version(option::number(value)?))),
];

/// `VALID_KEY_CHARS`, and 32 of them.
const LENGTH: usize = 32;

/// The column's width.
const LONGEST: usize = 40;

/// Django's sessions in its database or its cache: a Django site with the same secret and store and this application share each visitor's session.
///
/// ```
/// use dewar::{Keyring, SessionLayer, dialect::DjangoSession, store::memory::MemoryStore};
///
/// # fn main() -> Result<(), dewar::Error> {
/// // SESSION_ENGINE = "django.contrib.sessions.backends.db", Django's default
/// let layer = SessionLayer::new("w98fw9ef8hwe98fhwef")?.dialect(DjangoSession::new).store(MemoryStore::new());
///
/// // SESSION_ENGINE = "django.contrib.sessions.backends.cache", CACHES = {"default": {..., "KEY_PREFIX": "shop", "VERSION": 2}}
/// let other = SessionLayer::new("w98fw9ef8hwe98fhwef")?
///     .dialect(|secrets: &Keyring| DjangoSession::new(secrets).key_prefix("shop").version(2))
///     .store(MemoryStore::new());
/// # layer.manager()?; other.manager()?; Ok(()) }
/// ```
///
/// (A store that both applications reach is the site's own database, with the table that its `migrate` has made, or its Redis.) `SECRET_KEY` is the secret, and
/// `SECRET_KEY_FALLBACKS` are the keyring's fallbacks. `SESSION_COOKIE_AGE` is the layer's idle timeout, two weeks where nothing is said, and
/// `request.session.set_expiry(300)` is `session.set_lifetime(Lifetime::persistent().idle(Duration::from_secs(300)))`: here it also says until when the
/// row stands.
///
/// A log-in that Django is to believe says the user's password as the database has it: [`Login::password`](crate::Login::password).
///
/// In Redis, Django's own serializer writes pickles, which are never read here, since reading one can run a program: give the cache one of JSON.
///
/// # Security
///
/// Whoever can read the table or the cache can act as any visitor: ids stand in it as they are. Rows are signed by the secret; values of a cache are not, and
/// whoever can write to it can be anybody.
/// Django saves a session as a whole, so where a request of its own races with one here, its write wins. A slow one of its requests writes a session
/// again that ended here: for [`longest_request`](Self::longest_request) that record counts as ended here, and goes when it is met; there it is a session
/// until then.
/// [`principal`](crate::Session::principal) trusts the record; Django asks its database with every request whether the password is still the one of
/// the log-in. So does [`confirm_principal`](crate::Session::confirm_principal), where it is called.
#[derive(Debug)]
pub struct DjangoSession {
    profile: Profile,
    meaning: meaning::Django,
    signing: Signing,
    table: Box<str>,
    key_prefix: Box<str>,
    version: u32,
    /// The address of the cache of `cached_db`.
    cache: Option<Box<str>>,
    longest_request: Duration,
}

impl DjangoSession {
    /// The dialect under these secrets: Django's `SECRET_KEY` and `SECRET_KEY_FALLBACKS`.
    pub fn new(keyring: &Keyring) -> Self {
        Self {
            profile: profile(KNOWN.name, Keeps::Id),
            meaning: meaning::Django::on_store(keyring.secrets()),
            signing: Signing::new(keyring.secrets(), DJANGO_SALT, DJANGO_LARGEST),
            table: DjangoTable::NAME.into(),
            key_prefix: "".into(),
            version: 1,
            cache: None,
            longest_request: GONE_FOR,
        }
    }

    /// Whether a row is compressed where that makes it shorter, as Django does. The default: yes. Django reads both;
    /// without it, writing costs less time, and larger sessions more bytes.
    #[must_use]
    pub fn compression(mut self, compression: bool) -> Self {
        self.signing.set_compression(compression);
        self
    }

    /// Whether a session that does not say so itself ends with the browser: `SESSION_EXPIRE_AT_BROWSER_CLOSE`. The default: no.
    #[must_use]
    pub fn expire_at_browser_close(mut self, expires: bool) -> Self {
        self.meaning.expires_at_browser_close = expires;
        self
    }

    /// The most bytes that a compressed row may inflate to; more is refused. The default: 4 MiB.
    #[must_use]
    pub fn largest_inflated(mut self, bytes: usize) -> Self {
        self.signing.set_largest(bytes);
        self
    }

    /// The salt of rows, where the engine's class is not called `SessionStore`: `django.contrib.sessions.` and its name.
    #[must_use]
    pub fn salt(mut self, salt: impl Into<String>) -> Self {
        self.signing.set_salt(salt.into());
        self
    }

    /// The table that rows are in, where the model is the site's own; before a dot, its schema's name. The default: `django_session`.
    #[must_use]
    pub fn table(mut self, name: impl Into<Box<str>>) -> Self {
        self.table = name.into();
        self
    }

    /// The cache's `KEY_PREFIX`. The default: none.
    #[must_use]
    pub fn key_prefix(mut self, prefix: impl Into<Box<str>>) -> Self {
        self.key_prefix = prefix.into();
        self
    }

    /// The cache's `VERSION`. The default: 1.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// The engine is `cached_db`, and this the address of its cache in Redis: `redis://cache.internal/1`.
    ///
    /// Rows alone are read and written here. What Django has of them in the cache is removed after each write, and once more some seconds later: Django may have
    /// found nothing there, read the row of before, and put that into the cache after the first time. Until then its pages may show the session of
    /// before, also one that has been logged out of.
    ///
    /// ```no_run
    /// use dewar::{Keyring, SessionLayer, dialect::DjangoSession, store};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = SessionLayer::new("w98fw9ef8hwe98fhwef")?
    ///     .dialect(|secrets: &Keyring| DjangoSession::new(secrets).cached_db("redis://cache.internal/1"))
    ///     .store(store::open("postgres://db.internal/site")?);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn cached_db(mut self, cache: impl Into<Box<str>>) -> Self {
        self.cache = Some(cache.into());
        self
    }

    /// How long a request of the Django application may run: so long a session that ended here stays ended, also where that request writes it again.
    /// The default: two minutes.
    #[must_use]
    pub fn longest_request(mut self, time: Duration) -> Self {
        self.longest_request = time;
        self
    }
}

impl Dialect for DjangoSession {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn read(&self, jar: &Jar<'_>, _limits: &Limits, steps: &mut Steps<'_>) -> Result<Token, Refusal> {
        let id = jar.value()?;
        let (fits, is_of_a_key) = ((SHORTEST..=LONGEST).contains(&id.len()), id.bytes().all(is_of_a_key));
        steps.note("id", || {
            let of = if is_of_a_key { "a key's" } else { "others than a key's" };
            format!("{} characters, {of}", id.len())
        });
        if !fits || !is_of_a_key {
            return Err(Refusal::Malformed);
        }
        Ok(Token::Id { id: SessionId::foreign(id), outdated: false })
    }

    fn write(
        &self,
        body: Body<'_>,
        _cookie: &str,
        _now: Timestamp,
        _random: Random<'_>,
    ) -> Result<Vec<SetValue>, Error> {
        Ok(vec![SetValue::new("", body.id("DjangoSession")?.reveal().to_owned())])
    }

    fn new_id(&self, random: Random<'_>) -> SessionId {
        SessionId::foreign(&small_letters_and_digits(LENGTH, random))
    }

    fn check(&self) -> Result<(), Error> {
        Table::check_name(&self.table)?;
        check(&self.signing)
    }

    fn meaning(&self) -> Arc<dyn Meaning> {
        Arc::new(self.meaning.clone())
    }

    fn layout(&self) -> Option<Arc<dyn Layout>> {
        // What has copies is a table's.
        if self.cache.is_some() {
            return self.row();
        }
        Some(Arc::new(DjangoCache::new(&self.key_prefix, self.version).longest_request(self.longest_request)))
    }

    fn row(&self) -> Option<Arc<dyn Layout>> {
        let prefix = || django_cache_key(&self.key_prefix, self.version, "cached_db");
        let copies = self.cache.as_ref().map(|address| Copies::new(address.clone(), prefix()));
        let layout = DjangoTable::signed(&self.table, self.signing.clone()).copies(copies);
        Some(Arc::new(layout.longest_request(self.longest_request)))
    }
}

fn is_of_a_key(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}
