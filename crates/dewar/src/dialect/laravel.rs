//! laravel_session = percent-encode( sealed( hex( HMAC-SHA1( key, name of the cookie "v2" ) ) "|" id ) )
//!
//! `Laravel`: an encrypted cookie that carries an id, and the session in Redis or in a table, as Laravel 8.83 and 13.31 write them; each reads the other's.
//!
//! ```text
//! sealed  AES-256-CBC with HMAC-SHA256, or one of three others: `wire::laravel` has the forms to the byte
//! key     APP_KEY: `base64:` and the base64 of 32 or 16 bytes, as the cipher wants them
//! id      40 letters and digits
//! ```
//!
//! The record is [`LaravelCache`]'s, in a database [`LaravelTable`]'s, and what its entries mean is said in `meaning/laravel.rs`.
//!
//! What it cannot say: when a visit began, a lifetime of a single session, and whether its cookie outlives the browser (that is the layer's).
//!
//! Where it deviates: an id that leads to no record is never adopted, the first write makes another one (Laravel begins a session under it); base64
//! has one spelling, and what is sealed no other members; a cookie whose name is in none of the prefixes is refused; a persistent session's cookie is issued again after a tenth of its
//! lifetime (Laravel: with every response); `clear` removes the cookie (Laravel begins another session); a removal has an empty value (Laravel:
//! `deleted`); `expires` has blanks where Laravel 8 writes dashes.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use zeroize::Zeroizing;

use super::{
    Attribute, Attributes, Body, Dialect, Ending, Jar, Keeps, Known, Limits, Profile, Random, Refusal, SameSite,
    SessionId, SetValue, Spelling, Steps, Timestamp, Token,
    option::{self, Setter},
    wire::laravel::{Cipher, Encrypter},
};
use crate::{
    encoding::base64::decode_standard,
    error::Error,
    explain::signed_by,
    layout::{LaravelCache, LaravelTable, Layout, Serialization, Table},
    meaning::{self, LARAVEL_TOKEN as TOKEN, Meaning},
    secret::{Keyring, Secret, letters_and_digits},
};

pub(super) const KNOWN: Known = Known {
    name: "Laravel",
    cookies: &["laravel_session", "laravel-session"],
    on_store: None,
    make: |keyring, options| option::made("Laravel", Laravel::new(keyring), SETTERS, options),
};

const SETTERS: &[Setter<Laravel>] = &[
    Setter::new("cipher", |dialect, value| Ok(dialect.cipher(cipher(value)?))),
    Setter::new("encrypt", |dialect, value| Ok(dialect.encrypt(option::flag(value)?))),
    Setter::new("guard", |dialect, value| Ok(dialect.guard(value))),
    Setter::new("longest_request", |dialect, value| {
        Ok(dialect.longest_request(Duration::from_secs(option::number(value)?)))
    }),
    Setter::new("prefix", |dialect, value| Ok(dialect.prefix(value))),
    Setter::new("serialization", |dialect, value| Ok(dialect.serialization(serialization(value)?))),
    Setter::new("table", |dialect, value| Ok(dialect.table(value))),
];

fn cipher(value: &str) -> Result<Cipher, String> {
    let named = Cipher::ALL.into_iter().find(|cipher| cipher.name().eq_ignore_ascii_case(value));
    named.ok_or_else(|| "write AES-256-CBC, AES-256-GCM, AES-128-CBC or AES-128-GCM".into())
}

fn serialization(value: &str) -> Result<Serialization, String> {
    match value {
        "php" => Ok(Serialization::Php),
        "json" => Ok(Serialization::Json),
        _ => Err("write php or json".into()),
    }
}

/// Laravel's encrypted id, with the record behind it that Laravel keeps in Redis or in its table: a Laravel application with the same `APP_KEY` and this one share
/// each visitor's session.
///
/// ```
/// use dewar::{Keyring, SessionLayer, dialect::Laravel, store::memory::MemoryStore};
///
/// # fn main() -> Result<(), dewar::Error> {
/// // APP_KEY=base64:…, SESSION_DRIVER=redis, REDIS_PREFIX=shop_ and CACHE_PREFIX=cache_
/// let app_key = "base64:a2V5IG9mIDMyIGJ5dGVzLCBmb3IgYW4gZXhhbXBsZSE=";
/// let layer = SessionLayer::new(app_key)?
///     .dialect(|keys: &Keyring| Laravel::new(keys).prefix("shop_cache_"))
///     .store(MemoryStore::new());
/// # layer.manager()?; Ok(()) }
/// ```
///
/// (A store that both applications reach is one in Redis, or in the database with the table that `SESSION_DRIVER=database` has.) `APP_KEY` is the secret, with its `base64:`, and `APP_PREVIOUS_KEYS` are the keyring's
/// fallbacks. `session.lifetime` is the layer's idle timeout, two hours where neither side says anything else, and `expire_on_close` is
/// `Lifetime::browser()`. What [`flash`](crate::Session::flash) leaves, `session('message')` shows, and the other way round; a log-in with
/// [`set_principal`](crate::Session::set_principal) is one of the guard `web`.
///
/// # Security
///
/// Whoever has the `APP_KEY` and can reach Redis or the table can act as any visitor. Laravel overwrites a record without looking, so where a request of its own
/// races with one here, its write wins. A slow one of its requests writes a session again that ended here: for
/// [`longest_request`](Self::longest_request) that record counts as ended here, and goes when it is met; there it is a session until then. A cookie of
/// before a log-out is a new and empty session to Laravel, under its old id.
pub struct Laravel {
    profile: Profile,
    meaning: meaning::Laravel,
    secrets: Vec<Secret>,
    cipher: Cipher,
    prefix: Box<str>,
    table: Box<str>,
    serialization: Serialization,
    encrypt: bool,
    longest_request: Duration,
    /// Made when it is asked for, once the cipher is known; `None` where a key is none.
    encrypter: OnceLock<Option<Arc<Encrypter>>>,
}

impl Laravel {
    /// The dialect under these secrets: Laravel's `APP_KEY`, and the keys of before.
    pub fn new(keyring: &Keyring) -> Self {
        let meaning = meaning::Laravel::new("web");
        Self {
            profile: profile(&meaning),
            meaning,
            secrets: keyring.secrets().to_vec(),
            cipher: Cipher::default(),
            prefix: LaravelCache::PREFIX.into(),
            table: LaravelTable::NAME.into(),
            serialization: Serialization::default(),
            encrypt: false,
            longest_request: crate::lifetime::GONE_FOR,
            encrypter: OnceLock::new(),
        }
    }

    /// The cipher: `config('app.cipher')`. The default: AES-256-CBC. It also says how long a key is.
    ///
    /// ```
    /// use dewar::{Keyring, SessionLayer, dialect::{Cipher, Laravel}, store::memory::MemoryStore};
    ///
    /// # fn main() -> Result<(), dewar::Error> {
    /// let app_key = "base64:a2V5IG9mIDE2IGJ5dGVzIQ==";
    /// let layer = SessionLayer::new(app_key)?
    ///     .dialect(|keys: &Keyring| Laravel::new(keys).cipher(Cipher::Aes128Gcm))
    ///     .store(MemoryStore::new());
    /// # layer.manager()?; Ok(()) }
    /// ```
    #[must_use]
    pub fn cipher(mut self, cipher: Cipher) -> Self {
        self.cipher = cipher;
        self.encrypter = OnceLock::new();
        self
    }

    /// All that stands before the id in Redis: the connection's `prefix`, then the cache's, which ends with a colon of its own in Laravel 8.
    ///
    /// The default: `laravel_database_laravel_cache_`, that of an application of Laravel 11 that names none. With Laravel 8 to 10 it is
    /// `laravel_database_laravel_cache:`. `redis-cli --scan` shows it.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<Box<str>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The table that records are in, where the store is a database: `config('session.table')`; before a dot, its schema's name. The default: `sessions`.
    #[must_use]
    pub fn table(mut self, name: impl Into<Box<str>>) -> Self {
        self.table = name.into();
        self
    }

    /// How records are serialized: `config('session.serialization')`. The default: as PHP does.
    #[must_use]
    pub fn serialization(mut self, serialization: Serialization) -> Self {
        self.serialization = serialization;
        self.profile.encoding = serialization.encoding();
        self
    }

    /// Whether records are encrypted: `config('session.encrypt')`. The default: no.
    #[must_use]
    pub fn encrypt(mut self, encrypt: bool) -> Self {
        self.encrypt = encrypt;
        self
    }

    /// The guard whose log-in is the session's principal: `config('auth.defaults.guard')`. The default: `web`.
    #[must_use]
    pub fn guard(mut self, name: &str) -> Self {
        self.meaning = meaning::Laravel::new(name);
        self.profile.also_removed = vec![Attributes::new(self.meaning.remember_cookie())];
        self
    }

    /// How long a request of the Laravel application may run: so long a session that ended here stays ended, also where that request writes it again.
    /// The default: two minutes.
    #[must_use]
    pub fn longest_request(mut self, time: Duration) -> Self {
        self.longest_request = time;
        self
    }

    fn encrypter(&self) -> Option<&Arc<Encrypter>> {
        let made = self.encrypter.get_or_init(|| {
            let keys: Vec<_> = self.secrets.iter().map(key).collect::<Option<_>>()?;
            Encrypter::new(self.cipher, &keys).map(Arc::new)
        });
        made.as_ref()
    }
}

/// The bytes of a key: what `base64:` says, or without it the text itself, as in Laravel.
fn key(secret: &Secret) -> Option<Zeroizing<Vec<u8>>> {
    match secret.reveal().strip_prefix(b"base64:") {
        Some(text) => decode_standard(text).map(Zeroizing::new),
        None => Some(Zeroizing::new(secret.reveal().to_vec())),
    }
}

impl Dialect for Laravel {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn read(&self, jar: &Jar<'_>, _limits: &Limits, steps: &mut Steps<'_>) -> Result<Token, Refusal> {
        let encrypter = self.encrypter().ok_or(Refusal::UnknownSecret)?;
        let sealed =
            percent_encoding::percent_decode_str(jar.value()?).decode_utf8().map_err(|_| Refusal::Malformed)?;
        let opened = encrypter.open(&sealed);
        steps.note("encrypted", || {
            let secret = opened.as_ref().ok().map(|(_, at)| *at);
            format!("{}, {}", encrypter.cipher().name(), signed_by(secret, encrypter.keys()))
        });
        let (message, secret) = opened?;
        let message = std::str::from_utf8(&message).map_err(|_| Refusal::Malformed)?;
        let id = encrypter.untie(jar.name(), message);
        steps.note("cookie's name", || if id.is_some() { "this one" } else { "another one" }.into());
        let id = id.ok_or(Refusal::BadSignature)?;
        if id.len() != TOKEN || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Refusal::Malformed);
        }
        Ok(Token::Id { id: SessionId::foreign(id), outdated: secret != 0 })
    }

    fn write(&self, body: Body<'_>, cookie: &str, _now: Timestamp, random: Random<'_>) -> Result<Vec<SetValue>, Error> {
        let id = body.id("Laravel")?;
        let encrypter = self.encrypter().ok_or_else(|| self.no_key())?;
        let mut iv = [0; Encrypter::IV];
        random(&mut iv);
        let sealed = encrypter.seal(encrypter.tie(cookie, id.reveal()).as_bytes(), &iv);
        let sealed = sealed.ok_or_else(|| Error::setting("the id is too long to be encrypted"))?;
        // Of base64, `rawurlencode` escapes these.
        let value = sealed.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        Ok(vec![SetValue::new("", value)])
    }

    fn new_id(&self, random: Random<'_>) -> SessionId {
        SessionId::foreign(&letters_and_digits(TOKEN, random))
    }

    fn check(&self) -> Result<(), Error> {
        self.encrypter().map(drop).ok_or_else(|| self.no_key())?;
        Table::check_name(&self.table)?;
        self.meaning.check()
    }

    fn meaning(&self) -> Arc<dyn Meaning> {
        Arc::new(self.meaning.clone())
    }

    fn layout(&self) -> Option<Arc<dyn Layout>> {
        let layout = LaravelCache::new(&*self.prefix).serialization(self.serialization);
        let layout = layout.longest_request(self.longest_request);
        Some(Arc::new(match self.encrypter().filter(|_| self.encrypt) {
            Some(encrypter) => layout.encrypted(Arc::clone(encrypter)),
            None => layout,
        }))
    }

    fn row(&self) -> Option<Arc<dyn Layout>> {
        let layout = LaravelTable::new(&self.table, self.meaning.guard()).serialization(self.serialization);
        let layout = layout.longest_request(self.longest_request);
        Some(Arc::new(match self.encrypter().filter(|_| self.encrypt) {
            Some(encrypter) => layout.encrypted(Arc::clone(encrypter)),
            None => layout,
        }))
    }
}

impl Laravel {
    /// Which of the secrets is no key, and what to write instead.
    fn no_key(&self) -> Error {
        let (cipher, wanted) = (self.cipher.name(), self.cipher.key_len());
        let is_key = |secret: &Secret| key(secret).is_some_and(|key| key.len() == wanted);
        let at = self.secrets.iter().position(|secret| !is_key(secret)).unwrap_or(0);
        let which = if at == 0 { "the secret".to_owned() } else { format!("fallback {at}") };
        let length = self.secrets.get(at).and_then(key).map(|key| key.len());
        let other = Cipher::ALL.into_iter().find(|other| length == Some(other.key_len()));
        let text = self.secrets.get(at).map(|secret| secret.reveal().to_vec()).unwrap_or_default();
        let is_around = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'');
        let why = match (length, other) {
            _ if text.first().is_some_and(is_around) || text.last().is_some_and(is_around) => {
                "it has a quote, a blank or a line end around it: leave that out".to_owned()
            }
            (None, _) => "what stands behind its base64: is no base64".to_owned(),
            (Some(length), Some(other)) => format!("it has {length} bytes, as {} wants them: say cipher", other.name()),
            (Some(length), None) => format!("it has {length} bytes"),
        };
        Error::setting(format!(
            "{which} is no key of {cipher}: {why}. Take Laravel's APP_KEY with its base64: (of {wanted} bytes); `php artisan key:generate --show` \
             makes one, and so does `echo base64:$(openssl rand -base64 {wanted})`"
        ))
    }
}

fn profile(meaning: &meaning::Laravel) -> Profile {
    use Attribute::{Domain, Expires, HttpOnly, MaxAge, Partitioned, Path, Secure};
    let spelling = Spelling {
        order: &[Expires, MaxAge, Path, Domain, Secure, HttpOnly, Attribute::SameSite, Partitioned],
        lower_case: &[Expires, Path, Domain, Secure, HttpOnly, Attribute::SameSite, Partitioned],
        persistent: Ending::Both,
        removal: Ending::Both,
    };
    let cookie = Attributes { same_site: Some(SameSite::Lax), ..Attributes::new("laravel_session") };
    Profile {
        also_removed: vec![Attributes::new(meaning.remember_cookie())],
        persistent: true,
        idle: Duration::from_secs(120 * 60),
        ..Profile::foreign(KNOWN.name, Keeps::Id, Serialization::default().encoding(), cookie, spelling)
    }
}

/// Never the keys.
impl fmt::Debug for Laravel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Laravel")
            .field("secrets", &self.secrets)
            .field("cipher", &self.cipher)
            .field("prefix", &self.prefix)
            .field("table", &self.table)
            .field("serialization", &self.serialization)
            .field("encrypt", &self.encrypt)
            .finish_non_exhaustive()
    }
}
