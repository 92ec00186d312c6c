//! PHPSESSID = id, with "," as %2C
//!
//! `Php`: a bare id in the cookie and the session in a file or in Redis, as PHP 8.2 (with phpredis 5.3) writes it; both read each other's.
//!
//! ```text
//! id      1 to 256 of A-Z a-z 0-9 , -; a new one has sid_length characters (32) of sid_bits_per_character bits (4: hex digits)
//! record  sess_ID in PHP's save path, or PHPREDIS_SESSION:ID in Redis: the layout Php
//! ```
//!
//! Where it deviates: the cookie is `HttpOnly`, as PHP's own is with `session.cookie_httponly = 1`; an id that leads to no record is never adopted, as with
//! `session.use_strict_mode = 1`; a renewal ends the old id, as `session_regenerate_id(true)`; a persistent session's cookie is issued again after a
//! tenth of its lifetime (PHP: never); `clear` also removes the browser's cookie; a session whose last entry was removed is removed.

use std::{sync::Arc, time::Duration};

use zeroize::Zeroizing;

use super::{
    Attribute, Attributes, Body, Dialect, Ending, Jar, Keeps, Known, Limits, Profile, Random, Refusal, SessionId,
    SetValue, Spelling, Steps, Timestamp, Token,
    option::{self, Setter},
};
use crate::{
    encoding::{Encoding, Php as Precision},
    error::Error,
    layout::{self, Layout, Serializer},
    meaning::{self, Meaning},
};

pub(super) const KNOWN: Known = Known {
    name: "PHP",
    cookies: &["PHPSESSID"],
    on_store: None,
    make: |_, options| option::made("PHP", Php::new(), SETTERS, options),
};

pub(super) const SETTERS: &[Setter<Php>] = &[
    Setter::new("longest_request", |php, value| Ok(php.longest_request(Duration::from_secs(option::number(value)?)))),
    Setter::new("prefix", |php, value| Ok(php.prefix(value))),
    Setter::new("principal_entry", |php, value| Ok(php.principal_entry(value))),
    Setter::new("serialize_precision", |php, value| match value {
        "-1" => Ok(php.serialize_precision(Precision::SHORTEST)),
        "17" => Ok(php.serialize_precision(Precision::PRECISION_17)),
        _ => Err("write -1 or 17".into()),
    }),
    Setter::new("serializer", |php, value| match Serializer::named(value) {
        Some(serializer) => Ok(php.serializer(serializer)),
        None => Err("write php, php_serialize or php_binary".into()),
    }),
    Setter::new("sid_bits_per_character", |php, value| Ok(php.sid_bits_per_character(option::number(value)?))),
    Setter::new("sid_length", |php, value| Ok(php.sid_length(option::number(value)?))),
];

/// Of ids, in PHP's order: 4 bits are the first 16, 5 the first 32.
const ALPHABET: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-,";
/// The longest id.
const LONGEST: usize = 256;
/// The shortest that PHP makes.
const SHORTEST: usize = 22;

/// PHP's sessions: a PHP application on the same files or the same Redis, and this one, share each visitor's session.
///
/// ```
/// use dewar::{SessionLayer, dialect::Php, layout::Serializer, store::memory::MemoryStore};
///
/// # fn main() -> Result<(), dewar::Error> {
/// // session_start(), and nothing set in php.ini
/// let layer = SessionLayer::new("w98fw9ef8hwe98fhwef")?.dialect(|_: &dewar::Keyring| Php::new()).store(MemoryStore::new());
///
/// // session.serialize_handler = php_serialize, session.name = SID, session.sid_length = 26, session.sid_bits_per_character = 5
/// let other = SessionLayer::new("w98fw9ef8hwe98fhwef")?
///     .dialect(|_: &dewar::Keyring| {
///         Php::new().serializer(Serializer::PhpSerialize).sid_length(26).sid_bits_per_character(5)
///     })
///     .store(MemoryStore::new())
///     .cookie_name("SID");
/// # layer.manager()?; other.manager()?; Ok(()) }
/// ```
///
/// (A store that both applications reach is PHP's folder of sessions, or one in Redis.) PHP's `session.gc_maxlifetime` is the idle timeout: 1440 seconds, where neither side
/// says anything else. `session.cookie_lifetime` is a persistent lifetime. Let both sides say the same, the cookie's attributes, too.
///
/// PHP's objects and references in a session are kept as they are, and refused by name where they are asked for.
///
/// # Security
///
/// There is no secret: whoever can read the store can act as any visitor. Nothing is ever made of an object in a record.
///
/// PHP adopts an id that a browser brings along, unless `session.use_strict_mode = 1`: set it. Here such an id is never taken.
///
/// PHP writes at the end of its request without looking, unless it has a lock; what that means is said where the records are. A slow one of its
/// requests writes a session again that ended here: for [`longest_request`](Self::longest_request) that record counts as ended here, and goes when it
/// is met; there it is a session until then.
#[derive(Debug)]
pub struct Php {
    pub(super) profile: Profile,
    pub(super) meaning: meaning::Entry,
    pub(super) layout: layout::Php,
    sid_length: usize,
    sid_bits: u32,
}

impl Php {
    /// The dialect as PHP has it where nothing is set. It needs no secret.
    pub fn new() -> Self {
        Self {
            profile: profile(),
            meaning: meaning::Entry::default(),
            layout: layout::Php::new(),
            sid_length: 32,
            sid_bits: 4,
        }
    }

    /// PHP's `session.serialize_handler`. The default: `php`, as there.
    #[must_use]
    pub fn serializer(self, serializer: Serializer) -> Self {
        Self { layout: self.layout.serializer(serializer), ..self }
    }

    /// PHP's `serialize_precision`. The default: -1, as there since 7.1.
    #[must_use]
    pub fn serialize_precision(mut self, precision: Precision) -> Self {
        self.profile.encoding = Encoding::Php(precision);
        Self { layout: self.layout.precision(precision), ..self }
    }

    /// What stands before the id in a record's name in Redis: `prefix` of phpredis's save path. The default: `PHPREDIS_SESSION:`. Files have PHP's
    /// own names.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<Box<str>>) -> Self {
        Self { layout: self.layout.prefix(prefix), ..self }
    }

    /// PHP's `session.sid_length`, of new ids: 22 to 256 characters. The default: 32. All lengths are read.
    #[must_use]
    pub fn sid_length(self, characters: usize) -> Self {
        Self { sid_length: characters, ..self }
    }

    /// PHP's `session.sid_bits_per_character`, of new ids: 4, 5 or 6. The default: 4, hex digits. All are read.
    #[must_use]
    pub fn sid_bits_per_character(self, bits: u32) -> Self {
        Self { sid_bits: bits, ..self }
    }

    /// How long a request of the PHP application may run (`max_execution_time`, and longer where it waits): so long a session that ended here stays ended,
    /// also where that request writes it again. The default: two minutes.
    #[must_use]
    pub fn longest_request(self, time: Duration) -> Self {
        Self { layout: self.layout.longest_request(time), ..self }
    }

    /// The principal is in an entry of the application's own: `$_SESSION['user_id'] = 7`. The default: no entry says whose session it is.
    #[must_use]
    pub fn principal_entry(mut self, entry: &str) -> Self {
        self.meaning.principal = Some(entry.into());
        self
    }
}

impl Default for Php {
    fn default() -> Self {
        Self::new()
    }
}

impl Dialect for Php {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn read(&self, jar: &Jar<'_>, _limits: &Limits, steps: &mut Steps<'_>) -> Result<Token, Refusal> {
        // A browser returns what PHP has written, and that encodes nothing else.
        let id = jar.value()?.replace("%2C", ",").replace("%2c", ",");
        steps.note("id", || format!("{} characters", id.chars().count()));
        let is_of_an_id = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b',' | b'-');
        if !(1..=LONGEST).contains(&id.len()) || !id.bytes().all(is_of_an_id) {
            return Err(Refusal::Malformed);
        }
        Ok(Token::Id { id: SessionId::foreign(&id), outdated: false })
    }

    fn write(
        &self,
        body: Body<'_>,
        _cookie: &str,
        _now: Timestamp,
        _random: Random<'_>,
    ) -> Result<Vec<SetValue>, Error> {
        Ok(vec![SetValue::new("", body.id(self.profile.name)?.reveal().replace(',', "%2C"))])
    }

    fn new_id(&self, random: Random<'_>) -> SessionId {
        let mut bytes = Zeroizing::new(vec![0; self.sid_length]);
        random(&mut bytes);
        let letters = ALPHABET.len().min(1 << self.sid_bits.min(6));
        // A power of two: all are equally likely.
        let id: Zeroizing<String> =
            Zeroizing::new(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % letters])).collect());
        SessionId::foreign(&id)
    }

    fn check(&self) -> Result<(), Error> {
        if !(SHORTEST..=LONGEST).contains(&self.sid_length) {
            return Err(Error::setting("sid_length: PHP makes ids of 22 to 256 characters; the default is 32"));
        }
        if !(4..=6).contains(&self.sid_bits) {
            return Err(Error::setting("sid_bits_per_character: a character of an id has 4, 5 or 6 bits"));
        }
        self.meaning.check(&[])
    }

    fn meaning(&self) -> Arc<dyn Meaning> {
        Arc::new(self.meaning.clone())
    }

    fn layout(&self) -> Option<Arc<dyn Layout>> {
        Some(Arc::new(self.layout.clone()))
    }
}

fn profile() -> Profile {
    use Attribute::{Domain, Expires, HttpOnly, MaxAge, Path, SameSite, Secure};
    let spelling = Spelling {
        order: &[Expires, MaxAge, Path, Domain, Secure, HttpOnly, SameSite],
        lower_case: &[Expires, Path, Domain, Secure],
        persistent: Ending::Both,
        removal: Ending::Both,
    };
    let encoding = Encoding::Php(Precision::SHORTEST);
    Profile {
        idle: Duration::from_secs(1440),
        ..Profile::foreign(KNOWN.name, Keeps::Id, encoding, Attributes::new("PHPSESSID"), spelling)
    }
}
