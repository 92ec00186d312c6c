//! PHPSESSID = id, with "," as %2C
//!
//! `Symfony`: PHP's cookie and ids, and the session in Symfony's bags in a file or in Redis, as Symfony 5.4 and 7.4 write it (HttpFoundation 5.4.53 with PHP 8.2 and
//! 7.4.22 with PHP 8.4); both read each other's.
//!
//! ```text
//! Set-Cookie  PHPSESSID=ID; path=/; httponly; samesite=lax: the framework's own settings; with secure in front of httponly over HTTPS (cookie_secure: auto)
//! record      sess_ID in the save path, or sf_sID in Redis: the layout Symfony
//! ```
//!
//! A renewal is `migrate(true)`: another id, the old one ended, and `_sf2_meta` begins anew. A `clear` is `invalidate()`. Messages are `FlashBag`'s, or, where `auto_expire_flashes`
//! says so, `AutoExpireFlashBag`'s.
//!
//! Who has logged in to a firewall of Symfony's is read where `firewall` names it.
//!
//! What it cannot say: that somebody logs in to it. `set_principal` writes the attribute that `principal_entry` names, and is refused otherwise.
//!
//! Where it deviates: as `php.rs`, and the layout.

use std::{sync::Arc, time::Duration};

use super::{
    Attribute, Body, Dialect, Jar, Known, Limits, Php, Profile, Random, Refusal, SessionId, SetValue, Steps, Timestamp,
    Token,
    option::{self, Setter},
    php,
};
use crate::{
    cookie::SameSite,
    encoding::Php as Precision,
    error::Error,
    layout::{self, Layout, Serializer},
    meaning::{self, Meaning},
};

pub(super) const KNOWN: Known = Known {
    name: "Symfony",
    cookies: &["PHPSESSID"],
    on_store: None,
    make: |_, options| option::made("Symfony", Symfony::new(), SETTERS, options),
};

const SETTERS: &[Setter<Symfony>] = &[
    Setter::new("auto_expire_flashes", |symfony, value| Ok(symfony.auto_expire_flashes(option::flag(value)?))),
    Setter::new("firewall", |symfony, value| Ok(symfony.firewall(value))),
    Setter::new("longest_request", |symfony, value| symfony.with_phps("longest_request", value)),
    Setter::new("prefix", |symfony, value| symfony.with_phps("prefix", value)),
    Setter::new("principal_entry", |symfony, value| symfony.with_phps("principal_entry", value)),
    Setter::new("serialize_precision", |symfony, value| symfony.with_phps("serialize_precision", value)),
    Setter::new("serializer", |symfony, value| symfony.with_phps("serializer", value)),
    Setter::new("sid_bits_per_character", |symfony, value| symfony.with_phps("sid_bits_per_character", value)),
    Setter::new("sid_length", |symfony, value| symfony.with_phps("sid_length", value)),
    Setter::new("user_property", |symfony, value| Ok(symfony.user_property(value))),
];

/// Symfony's sessions: a Symfony application on the same files or the same Redis, and this one, share each visitor's session.
///
/// An entry is an attribute of Symfony's session: `$session->get('cart')`. A message is one of its flash bag's: `$this->addFlash('notice', ...)`.
///
/// ```
/// use dewar::{SessionLayer, dialect::Symfony, store::memory::MemoryStore};
///
/// # fn main() -> Result<(), dewar::Error> {
/// // framework.session: { handler_id: 'redis://localhost' }, and nothing else
/// let layer = SessionLayer::new("w98fw9ef8hwe98fhwef")?.dialect(|_: &dewar::Keyring| Symfony::new()).store(MemoryStore::new());
/// # layer.manager()?; Ok(()) }
/// ```
///
/// (A store that both applications reach is Symfony's folder of sessions, or one in Redis.) Symfony's `gc_maxlifetime` is the idle timeout, or the `ttl` of its handler:
/// 1440 seconds, where neither side says anything else. `cookie_lifetime` is a persistent lifetime. Let both sides say the same, the cookie's attributes, too.
///
/// Objects and references in a session are kept as they are, and refused by name where they are asked for.
///
/// # Security
///
/// There is no secret: whoever can read the store can act as any visitor. Nothing is ever made of an object in a record.
///
/// Symfony's own log-in is an object, and nobody is logged in to it here. [`firewall`](Self::firewall) reads who it is: as the session says, and not whether that user is
/// still there, or has another password since, which Symfony asks its user provider with every request. Or Symfony's side keeps the user in an attribute when somebody
/// logs in, and [`principal_entry`](Self::principal_entry) names it.
///
/// `RedisSessionHandler` has no lock, and writes at the end of its request whatever stands there: what was written here while that request ran is lost. On files PHP's own
/// lock prevents that. A slow request writes a session again that ended here: for [`longest_request`](Self::longest_request) that record counts as ended here, and goes
/// when it is met; there it is a session until then.
#[derive(Debug)]
pub struct Symfony {
    php: Php,
    auto_expire: bool,
    firewall: Option<Box<str>>,
    user_property: Box<str>,
}

impl Symfony {
    /// The dialect as Symfony's framework has it where nothing is set. It needs no secret.
    pub fn new() -> Self {
        let mut php = Php::new().prefix("sf_s");
        php.profile.name = KNOWN.name;
        php.profile.cookie.same_site = Some(SameSite::Lax);
        // `Cookie::__toString()`.
        php.profile.spelling.lower_case = &[
            Attribute::Expires,
            Attribute::Path,
            Attribute::Domain,
            Attribute::Secure,
            Attribute::HttpOnly,
            Attribute::SameSite,
        ];
        Self { php, auto_expire: false, firewall: None, user_property: "username".into() }
    }

    /// PHP's `session.serialize_handler`. The default: `php`, as there.
    #[must_use]
    pub fn serializer(self, serializer: Serializer) -> Self {
        Self { php: self.php.serializer(serializer), ..self }
    }

    /// PHP's `serialize_precision`. The default: -1, as there.
    #[must_use]
    pub fn serialize_precision(self, precision: Precision) -> Self {
        Self { php: self.php.serialize_precision(precision), ..self }
    }

    /// What stands before the id in a record's name in Redis: `prefix` of Symfony's handler. The default: `sf_s`. Files have PHP's own names.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<Box<str>>) -> Self {
        Self { php: self.php.prefix(prefix), ..self }
    }

    /// Symfony's `sid_length`, of new ids: 22 to 256 characters. The default: 32. All lengths are read.
    #[must_use]
    pub fn sid_length(self, characters: usize) -> Self {
        Self { php: self.php.sid_length(characters), ..self }
    }

    /// Symfony's `sid_bits_per_character`, of new ids: 4, 5 or 6. The default: 4, hex digits. All are read.
    #[must_use]
    pub fn sid_bits_per_character(self, bits: u32) -> Self {
        Self { php: self.php.sid_bits_per_character(bits), ..self }
    }

    /// How long a request of the Symfony application may run (`max_execution_time`, and longer where it waits): so long a session that ended here stays ended,
    /// also where that request writes it again. The default: two minutes.
    #[must_use]
    pub fn longest_request(self, time: Duration) -> Self {
        Self { php: self.php.longest_request(time), ..self }
    }

    /// Whether Symfony's messages are in an `AutoExpireFlashBag`, which forgets them with the next page. The default: no, they are in its own `FlashBag`.
    #[must_use]
    pub fn auto_expire_flashes(self, yes: bool) -> Self {
        Self { auto_expire: yes, ..self }
    }

    /// The principal is in an attribute of the application's own: `$session->set('user_id', 7)`. The default: no attribute says whose session it is.
    #[must_use]
    pub fn principal_entry(self, entry: &str) -> Self {
        Self { php: self.php.principal_entry(entry), ..self }
    }

    /// The principal is who has logged in to Symfony's firewall of this name, or of this `context`: `main`, for example. Nobody can be logged in to it here. The
    /// default: a log-in of Symfony's is not looked at.
    #[must_use]
    pub fn firewall(self, name: &str) -> Self {
        Self { firewall: Some(name.into()), ..self }
    }

    /// The property that identifies a user of [`firewall`](Self::firewall): what `getUserIdentifier()` returns. The default: `username`, of Symfony's `InMemoryUser`.
    #[must_use]
    pub fn user_property(self, name: &str) -> Self {
        Self { user_property: name.into(), ..self }
    }

    /// A setting that is PHP's, too.
    fn with_phps(self, name: &str, value: &str) -> Result<Self, String> {
        let setter = php::SETTERS.iter().find(|setter| setter.name == name).ok_or("PHP has no such setting")?;
        Ok(Self { php: (setter.set)(self.php, value)?, ..self })
    }

    fn own_meaning(&self) -> meaning::Symfony {
        let security = self.firewall.as_deref().map(|firewall| meaning::Security::of(firewall, &self.user_property));
        meaning::Symfony { entry: self.php.meaning.clone(), auto_expire: self.auto_expire, security }
    }
}

impl Default for Symfony {
    fn default() -> Self {
        Self::new()
    }
}

impl Dialect for Symfony {
    fn profile(&self) -> &Profile {
        self.php.profile()
    }

    fn read(&self, jar: &Jar<'_>, limits: &Limits, steps: &mut Steps<'_>) -> Result<Token, Refusal> {
        self.php.read(jar, limits, steps)
    }

    fn write(&self, body: Body<'_>, cookie: &str, now: Timestamp, random: Random<'_>) -> Result<Vec<SetValue>, Error> {
        self.php.write(body, cookie, now, random)
    }

    fn new_id(&self, random: Random<'_>) -> SessionId {
        self.php.new_id(random)
    }

    fn check(&self) -> Result<(), Error> {
        self.php.check()?;
        self.own_meaning().check()
    }

    fn meaning(&self) -> Arc<dyn Meaning> {
        Arc::new(self.own_meaning())
    }

    fn layout(&self) -> Option<Arc<dyn Layout>> {
        Some(Arc::new(layout::Symfony::over(self.php.layout.clone())))
    }
}
