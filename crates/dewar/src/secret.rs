//! [`Secret`] and [`Keyring`]: what protects the cookies, how strong it must be, and its rotation.

use std::fmt;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::Error;

/// The shortest secret that is accepted, in bytes.
pub(crate) const SHORTEST: usize = 16;

const PREFIX: &str = "dewar_";

/// The secret of the lesson, and of everything here that follows it.
const EXAMPLE: &[u8] = b"w98fw9ef8hwe98fhwef";

const HOW_TO_MAKE_ONE: &str = "`openssl rand -hex 32` makes a good one";

/// One secret. Never called a key, never printed, wiped from memory when dropped.
///
/// Any string of at least 16 bytes will do; one from [`Secret::generate`] is better, because nobody can guess it.
///
/// ```
/// use dewar::Secret;
///
/// let secret = Secret::new("w98fw9ef8hwe98fhwef")?; // the lesson's: accepted, with a warning in the log
/// assert_eq!(format!("{secret:?}"), "Secret(19 bytes)");
/// assert!(Secret::new("dev").is_err());
/// # Ok::<(), dewar::Error>(())
/// ```
///
/// # Security
///
/// Whoever has the secret can write any session, for any user. Keep it out of the repository.
#[derive(Clone)]
pub struct Secret {
    bytes: Zeroizing<Vec<u8>>,
    generated: bool,
}

impl Secret {
    /// Takes a secret, if it is one.
    ///
    /// # Errors
    ///
    /// Refused are: an empty one, one shorter than 16 bytes, one that is public because it
    /// stands in documentation or templates, and a generated one that was not copied whole.
    pub fn new(secret: impl AsRef<[u8]>) -> Result<Self, Error> {
        let bytes = secret.as_ref();
        if let Some(why) = weakness(bytes) {
            return Err(Error::setting(format!("the secret is refused: {why}. {}", advice("SECRET_KEY"))));
        }
        let secret = Self::take(bytes);
        secret.warn("the session secret");
        Ok(secret)
    }

    /// Takes any secret that is not empty, however easily it is guessed. For tests and for reading the
    /// cookies of an application that has such a secret, which [`reads_also`](crate::SessionManagerBuilder::reads_also) does until a date.
    ///
    /// # Panics
    ///
    /// Where the secret is empty.
    pub fn dangerously_weak(secret: impl AsRef<[u8]>) -> Self {
        assert!(!secret.as_ref().is_empty(), "an empty secret protects nothing");
        Self::take(secret.as_ref())
    }

    /// Makes a new secret: 256 random bits with a prefix and a checksum, letters and digits only.
    ///
    /// # Panics
    ///
    /// Where the operating system has no random numbers to give.
    pub fn generate() -> Self {
        let mut random = Zeroizing::new([0; 32]);
        getrandom::fill(random.as_mut()).expect("the operating system gives random numbers");
        let body = Zeroizing::new(hex(random.as_ref()));
        let text = Zeroizing::new(format!("{PREFIX}{}{}", *body, checksum(&body)));
        Self::take(text.as_bytes())
    }

    /// The secret itself, to be shown to its owner or given to another framework.
    pub fn reveal(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it came from [`Secret::generate`], so that nobody can guess it.
    pub fn is_generated(&self) -> bool {
        self.generated
    }

    /// Whether it is the one of this project's own examples, and of the lesson that they follow, once or repeated: everybody knows it.
    ///
    /// It is accepted for learning, with a warning. Where a request asks for another host than this machine (`localhost`, `127.0.0.1`, `[::1]`), the
    /// layers answer a 500 whose reason says so. An application that knows where it listens refuses it at start-up: [`Keyring::without_example`].
    pub fn is_example(&self) -> bool {
        let plain = plain(&self.bytes);
        !plain.is_empty() && plain.chunks(EXAMPLE.len()).all(|part| part == EXAMPLE)
    }

    /// Says what is weak about it. What it says is no secret: a log is read by many.
    fn warn(&self, place: &str) {
        if self.is_example() {
            tracing::warn!(
                "{place} is the one of dewar's examples, which everybody knows. It serves for learning, on this machine alone; {HOW_TO_MAKE_ONE}"
            );
        } else if !self.generated && !is_drawn(&self.bytes) {
            tracing::warn!("{place} can be guessed, if a person made it up; {HOW_TO_MAKE_ONE}");
        }
    }

    fn take(bytes: &[u8]) -> Self {
        Self { bytes: Zeroizing::new(bytes.to_vec()), generated: generated(bytes) == Some(true) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.bytes.len())
    }
}

/// The secrets of an application: the first protects, all are accepted.
///
/// To change the secret without logging anybody out, put the new one first and keep the old one
/// as a fallback until its sessions have run out. A session opened with an old secret is written again with the new one.
/// Where several servers answer the same visitors, all of them get the new one as a fallback before: a server that has not got it
/// refuses what another wrote with it.
///
/// ```
/// use dewar::{Keyring, Secret};
///
/// let old = Secret::new("the secret of last year, 1")?;
/// let keyring = Keyring::new(Secret::generate()).fallback(old);
/// assert_eq!(format!("{keyring:?}"), "Keyring(1 secret, 1 fallback)");
/// # Ok::<(), dewar::Error>(())
/// ```
#[derive(Clone)]
pub struct Keyring {
    secrets: Vec<Secret>,
}

impl Keyring {
    /// A keyring with one secret.
    pub fn new(secret: Secret) -> Self {
        Self { secrets: vec![secret] }
    }

    /// Adds a secret that is accepted and protects nothing new: an older one, or the one that comes next.
    #[must_use]
    pub fn fallback(mut self, secret: Secret) -> Self {
        self.secrets.push(secret);
        self
    }

    /// Reads the secret from an environment variable, and older ones, comma separated, from the
    /// variable of the same name with `_FALLBACKS` behind it.
    ///
    /// # Errors
    ///
    /// Where the variable is missing or a secret is refused. The message has a ready line that makes a good one.
    pub fn from_env(name: &str) -> Result<Self, Error> {
        let Some(value) = read_env(name)? else {
            return Err(Error::setting(format!("{name} is not set. {}", advice(name))));
        };
        if let Some(why) = weakness(value.as_bytes()) {
            return Err(Error::setting(format!("{name} is refused: {why}. {}", advice(name))));
        }
        let first = Secret::take(value.as_bytes());
        first.warn(name);
        let mut keyring = Self::new(first);
        let fallbacks = format!("{name}_FALLBACKS");
        let list = read_env(&fallbacks)?;
        let older = list.iter().flat_map(|list| list.split(',')).map(str::trim).filter(|older| !older.is_empty());
        for (place, older) in (1..).zip(older) {
            if let Some(why) = weakness(older.as_bytes()) {
                return Err(Error::setting(format!(
                    "{fallbacks} is refused: of secret {place} in it, {why}. Leave it out: cookies that it protects are not worth reading"
                )));
            }
            let older = Secret::take(older.as_bytes());
            if older.is_example() {
                older.warn(&fallbacks);
            }
            keyring = keyring.fallback(older);
        }
        Ok(keyring)
    }

    /// The same, unless one of its secrets is [the examples'](Secret::is_example): for an application that knows that others can reach it.
    ///
    /// # Errors
    ///
    /// Where one is. The message has a ready line that makes a good one.
    pub fn without_example(self) -> Result<Self, Error> {
        if !self.has_example() {
            return Ok(self);
        }
        Err(Error::setting(format!(
            "SECRET_KEY is refused: it is the one of dewar's examples, which everybody knows, and others can reach this program. {}",
            advice("SECRET_KEY")
        )))
    }

    /// Whether one of them is [the examples'](Secret::is_example).
    pub(crate) fn has_example(&self) -> bool {
        self.secrets.iter().any(Secret::is_example)
    }

    /// The secrets, the one that protects first.
    pub fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    /// Tells one keyring from another.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let digest = self.secrets.iter().fold(Sha256::new_with_prefix("dewar keyring\0"), |digest, secret| {
            digest.chain_update(Sha256::digest(secret.reveal()))
        });
        digest.finalize().into()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fallbacks = self.secrets.len() - 1;
        let plural = if fallbacks == 1 { "" } else { "s" };
        write!(f, "Keyring(1 secret, {fallbacks} fallback{plural})")
    }
}

impl From<Secret> for Keyring {
    fn from(secret: Secret) -> Self {
        Self::new(secret)
    }
}

impl TryFrom<&str> for Keyring {
    type Error = Error;

    fn try_from(secret: &str) -> Result<Self, Error> {
        Secret::new(secret).map(Self::new)
    }
}

impl TryFrom<String> for Keyring {
    type Error = Error;

    fn try_from(secret: String) -> Result<Self, Error> {
        Secret::new(Zeroizing::new(secret).as_bytes()).map(Self::new)
    }
}

fn read_env(name: &str) -> Result<Option<Zeroizing<String>>, Error> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(Zeroizing::new(value))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Error::setting(format!("{name} is refused: it is not UTF-8. {}", advice(name))))
        }
    }
}

/// A line that can be pasted, with a secret made for this very reader.
fn advice(name: &str) -> String {
    let secret = Secret::generate();
    format!("A good one, made just now:\n\n    export {name}={}\n", String::from_utf8_lossy(secret.reveal()))
}

/// Why these bytes are no secret; `None` where they are.
fn weakness(bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() {
        return Some("it is empty".into());
    }
    if is_public(bytes) {
        return Some("it is public, it stands in documentation or a template that everybody can read".into());
    }
    if is_guessed_first(bytes) {
        return Some("it is made of the words that everybody tries first".into());
    }
    if bytes.len() < SHORTEST {
        return Some(format!("it has {} bytes, and {SHORTEST} is the least", bytes.len()));
    }
    if bytes.iter().all(|byte| *byte == bytes[0]) {
        return Some("it is one character repeated".into());
    }
    if generated(bytes) == Some(false) {
        return Some("it begins like a generated one, but its checksum is wrong: it was not copied whole".into());
    }
    None
}

/// Whether these bytes have the form of a generated secret, and then whether the checksum is right.
fn generated(bytes: &[u8]) -> Option<bool> {
    let rest = std::str::from_utf8(bytes).ok()?.strip_prefix(PREFIX)?;
    let whole = rest.len() == 72 && rest.is_ascii();
    Some(whole && checksum(&rest[..64]) == rest[64..])
}

fn checksum(body: &str) -> String {
    hex(&Sha256::new().chain_update(PREFIX).chain_update(body).finalize()[..4])
}

/// So many of ASCII's letters and digits, each as likely as any other.
#[cfg(any(feature = "django", feature = "laravel"))]
pub(crate) fn letters_and_digits(count: usize, random: &mut dyn FnMut(&mut [u8])) -> String {
    drawn(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", count, random)
}

/// The same without capital letters.
#[cfg(feature = "django")]
pub(crate) fn small_letters_and_digits(count: usize, random: &mut dyn FnMut(&mut [u8])) -> String {
    drawn(b"abcdefghijklmnopqrstuvwxyz0123456789", count, random)
}

/// Of an alphabet of 64 letters at most.
#[cfg(any(feature = "django", feature = "laravel"))]
fn drawn(alphabet: &[u8], count: usize, random: &mut dyn FnMut(&mut [u8])) -> String {
    let mut text = String::with_capacity(count);
    while text.len() < count {
        let mut bytes = [0; 64];
        random(&mut bytes);
        let letters = bytes.iter().filter_map(|byte| alphabet.get(usize::from(byte & 63)));
        text.extend(letters.take(count - text.len()).map(|letter| char::from(*letter)));
    }
    text
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).expect("four bits are a digit"));
        }
        text
    })
}

/// The refusal of [the examples' secret](Secret::is_example) where others can come.
#[cfg(feature = "web")]
pub(crate) fn example_refused(host: &str) -> Error {
    let what = format!("the session secret is the one of dewar's examples, and this site is asked for as {host:?}");
    let why = "everybody knows it, so others could write any session. It serves on this machine alone: set another SECRET_KEY";
    Error::setting(what).because(format!("{why}; {HOW_TO_MAKE_ONE}"))
}

/// 256 bits or more in hexadecimal, as `openssl rand -hex 32` and Python's `secrets.token_hex()` draw them, or 128 in base64, as Laravel's `artisan key:generate`
/// does: nobody makes that up.
fn is_drawn(bytes: &[u8]) -> bool {
    if let Some(key) = bytes.strip_prefix(b"base64:") {
        let has = |is_it: fn(&u8) -> bool| key.iter().any(is_it);
        let is_base64 = key.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte));
        return key.len() >= 24 && is_base64 && has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
    }
    bytes.len() >= 64 && bytes.iter().all(u8::is_ascii_hexdigit)
}

/// Letters and digits, in lower case. What only decorates does not count.
fn plain(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase).collect()
}

/// The same of what a person typed, where the rest is decoration. Of random bytes it is most.
fn typed(bytes: &[u8]) -> Option<Vec<u8>> {
    let plain = plain(bytes);
    let is_typed = bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) && plain.len() * 2 >= bytes.len();
    is_typed.then_some(plain)
}

/// The most letters that a person types.
const LONGEST_TYPED: usize = 1000;

/// Whether it is such words alone, one after another, with a few digits for decoration: `ChangeMe-changeme_123`.
fn is_guessed_first(bytes: &[u8]) -> bool {
    let Some(plain) = typed(bytes) else { return false };
    let letters: Vec<u8> = plain.iter().copied().filter(u8::is_ascii_alphabetic).collect();
    if letters.is_empty() || letters.len() > LONGEST_TYPED || plain.len() - letters.len() > 6 {
        return false;
    }
    // At which places a word can begin.
    let mut reached = vec![false; letters.len() + 1];
    reached[0] = true;
    for at in 0..letters.len() {
        if reached[at] {
            for word in WORDS.iter().chain(PUBLIC).filter(|word| letters[at..].starts_with(word.as_bytes())) {
                reached[at + word.len()] = true;
            }
        }
    }
    reached[letters.len()]
}

/// Whether everybody knows this secret.
fn is_public(bytes: &[u8]) -> bool {
    bytes.starts_with(b"django-insecure-")
        || PUBLIC_EXACTLY.contains(&bytes)
        || typed(bytes).is_some_and(|plain| PUBLIC.iter().any(|public| public.as_bytes() == plain))
}

/// From the documentation of Flask, byte for byte.
const PUBLIC_EXACTLY: &[&[u8]] = &[
    b"_5#y2L\"F4Q8z\n\xec]/",
    b"_5#y2L\"F4Q8z\\n\\xec]/",
    b"A0Zr98j/3yX R~XHH!jmN]LWX/,?RT",
    b"\\xf0?a\\x9a\\\\\\xff\\xd4;\\x0c\\xcbHi",
];

/// What people write where a secret is asked for, and what lists of passwords begin with.
const WORDS: &[&str] = &[
    "abc",
    "admin",
    "app",
    "asdf",
    "bar",
    "baz",
    "change",
    "cookie",
    "correcthorsebatterystaple",
    "default",
    "demo",
    "django",
    "dragon",
    "example",
    "express",
    "flask",
    "foo",
    "hello",
    "here",
    "iloveyou",
    "insert",
    "key",
    "letmein",
    "local",
    "login",
    "master",
    "monkey",
    "my",
    "not",
    "password",
    "passwort",
    "please",
    "prod",
    "production",
    "qwerty",
    "qwertyuiop",
    "random",
    "really",
    "root",
    "safe",
    "session",
    "string",
    "super",
    "the",
    "this",
    "token",
    "top",
    "user",
    "very",
    "web",
    "welcome",
    "world",
    "your",
];

/// Letters and digits of secrets that stand in documentation, tutorials and templates.
const PUBLIC: &[&str] = &[
    "secret",
    "secretkey",
    "mysecret",
    "mysecretkey",
    "mysecretkey123",
    "asecretkey",
    "thesecretkey",
    "thisisasecret",
    "thisisasecretkey",
    "thisismysecretkey",
    "thisisverysecret",
    "thisshouldbesecret",
    "supersecret",
    "supersecretkey",
    "mysupersecretkey",
    "averysecretkey",
    "verysecretkey",
    "topsecret",
    "topsecretkey",
    "somesecretkey",
    "randomsecretkey",
    "yoursecret",
    "yoursecretkey",
    "yoursecretkeyhere",
    "yourverysecretkey",
    "yoursupersecretkey",
    "yoursessionsecret",
    "sessionsecret",
    "sessionsecretkey",
    "sessionsecretkeyhere",
    "flasksecretkey",
    "appsecretkey",
    "jwtsecret",
    "changeme",
    "changemeplease",
    "changethis",
    "changethissecret",
    "changethissecretkey",
    "changethiskey",
    "pleasechangeme",
    "changemeinproduction",
    "changethisinproduction",
    "replaceme",
    "replacethissecret",
    "replacewithasecretkey",
    "dev",
    "devkey",
    "devsecret",
    "devsecretkey",
    "development",
    "developmentkey",
    "developmentsecret",
    "developmentsecretkey",
    "devsecretchangeinproduction",
    "test",
    "testing",
    "testsecret",
    "testsecretkey",
    "testkey",
    "insecure",
    "insecuresecret",
    "notsosecret",
    "notasecret",
    "keepitsecret",
    "keepitsecretkeepitsafe",
    "donttellanyone",
    "keyboardcat",
    "hardtoguessstring",
    "youwillneverguess",
    "youwillneverknow",
    "shhhhh",
    "shhhhhhhhh",
    "shhhitsasecret",
    "complexpasswordatleast32characterslong",
    "supersecretkeyyoushouldnotcommittogithub",
    "passwordpasswordpassword",
    "ssshhhhhh",
    "thisisthesecretkey",
    "secretkeyhere",
    "secretkeybase",
    "abcdefghijklmnopqrstuvwxyz",
    "0123456789abcdef",
    "1234567890123456",
    "12345678901234567890",
    "0123456789abcdef0123456789abcdef",
    "00112233445566778899aabbccddeeff",
    "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_secret_is_accepted_and_a_damaged_copy_is_not() {
        let secret = String::from_utf8(Secret::generate().reveal().to_vec()).unwrap();
        assert!(Secret::new(&secret).unwrap().is_generated());
        let error = Secret::new(&secret[..secret.len() - 1]).unwrap_err();
        assert!(error.to_string().contains("not copied whole"), "{error}");
    }

    #[test]
    fn the_lessons_secret_is_accepted_but_is_not_a_generated_one() {
        assert!(!Secret::new("w98fw9ef8hwe98fhwef").unwrap().is_generated());
    }

    #[test]
    fn public_short_empty_and_repeated_secrets_are_refused_with_a_line_that_makes_a_good_one() {
        for bad in [
            "",
            "dev",
            "short",
            "Super-Secret-Key",
            "django-insecure-abcdefghijklmnop",
            "aaaaaaaaaaaaaaaaaaaa",
            "correcthorsebatterystaple",
            "Correct Horse Battery Staple 1",
            "changemechangeme123",
            "MyFlaskSecretKey2024",
        ] {
            let error = Secret::new(bad).unwrap_err();
            assert!(error.is_setting());
            assert!(error.to_string().contains("export SECRET_KEY=dewar_"), "{bad}: {error}");
        }
    }

    #[test]
    fn words_among_others_and_digits_that_are_many_are_no_reason_to_refuse() {
        for good in ["secret-98127394871239847", "a password of the harbour", "change-me-quietly-otter"] {
            assert!(Secret::new(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_a_machine_drew_is_told_from_what_a_person_made_up() {
        assert!(is_drawn(hex(&[0xa7; 32]).as_bytes()));
        assert!(!is_drawn(hex(&[0xa7; 31]).as_bytes()) && !is_drawn(b"w98fw9ef8hwe98fhwef"));
        // Of Laravel's `artisan key:generate`.
        assert!(is_drawn(b"base64:p4D1rhSWVGTF6Iqwk4bbGfnDBYTKNrOhQGwQg9AUY6A="));
        assert!(!is_drawn(b"base64:aaaaaaaaaaaaaaaaaaaaaaaa") && !is_drawn(b"base64:Ab1="));
    }

    #[test]
    fn no_secret_ever_prints() {
        let secret = Secret::new("w98fw9ef8hwe98fhwef").unwrap();
        let keyring = Keyring::new(secret.clone());
        assert_eq!(format!("{secret:?} {keyring:?}"), "Secret(19 bytes) Keyring(1 secret, 0 fallbacks)");
    }
}
