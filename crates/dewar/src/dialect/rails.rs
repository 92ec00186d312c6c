//! base64( ciphertext ) "--" base64( iv ) "--" base64( tag ), percent-encoded: AES-256-GCM of
//!
//! ```text
//! {"_rails":{"message":base64( JSON ),"exp":time or null,"pur":"cookie._app_session"}}
//! ```
//!
//! The session in Rails' encrypted cookie, as Rails 6.1.7.10 and 7.2.2.2 write it; each reads the other's. The keys are PBKDF2's, of
//! `secret_key_base`: with SHA-1 until 6.1, with SHA-256 since the defaults of 7.0. The older form (AES-256-CBC with HMAC-SHA1) is
//! read as well, as in Rails, and so is a session without metadata. [`wire::rails`](super::wire::rails) has the forms to the byte.
//!
//! What it cannot say: when a session began or was written. It ends where the layer's cookies outlive the browser: `expire_after` in
//! Rails, `exp` and the cookie's `expires` then. `session_id`, `_csrf_token` and `flash` are entries of the session. Times, symbols and
//! decimals are text, as Rails reads them back.
//!
//! Where it deviates: Marshal is never read (Ruby would make objects of it), nor is Rails' MessagePack; a message that is sealed well and is no
//! session is an empty session (Rails 6.1 answers 500); metadata has the one spelling that Rails 7 takes, and a fourth part is refused (6.1
//! takes both otherwise); an entry that is `nil` is kept (Rails leaves it out where it writes); NaN and the infinities are refused by
//! name (Rails writes `null`); a cookie is as long as browsers keep it, 4096 bytes with its name and escapes (Rails counts before it escapes); a
//! session that is cleared loses its cookie (Rails sends one with a new `session_id`).

use std::{
    borrow::Cow,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{
    Attribute, Attributes, Body, Contents, Data, Dialect, Ending, Jar, Keeps, Known, Limits, Profile, Random, Refusal,
    SameSite, SetValue, Spelling, Steps, Timestamp, Token,
    option::{self, Setter},
    wire::{
        Digest,
        rails::{Encryptor, Message, OlderEncryptor, Verifier, derive_key},
    },
};
use crate::{
    error::Error,
    explain::signed_by,
    meaning::{self, Meaning, RAILS_JSON as JSON, SESSION_ID, session_id},
    secret::{Keyring, Secret},
};

pub(super) const KNOWN: Known = Known {
    name: "Rails",
    cookies: &["_session_id", "_app_session"],
    on_store: None,
    make: |keyring, options| option::made("Rails", Rails::new(keyring), SETTERS, options),
};

const SETTERS: &[Setter<Rails>] = &[
    Setter::new("digest", |rails, value| Ok(rails.digest(option::digest(value)?))),
    Setter::new("encryption", |rails, value| Ok(rails.encryption(encryption(value)?))),
    Setter::new("former_digest", |rails, value| Ok(rails.former_digest(option::digest(value)?))),
    Setter::new("metadata", |rails, value| Ok(rails.metadata(option::flag(value)?))),
    Setter::new("principal_entry", |rails, value| Ok(rails.principal_entry(value))),
    Setter::new("rack", |rails, value| Ok(rails.rack(option::number(value)?))),
    Setter::new("signed_digest", |rails, value| Ok(rails.signed_digest(option::digest(value)?))),
];

fn encryption(value: &str) -> Result<Encryption, String> {
    match value {
        "gcm" => Ok(Encryption::Gcm),
        "cbc" => Ok(Encryption::Cbc),
        "none" => Ok(Encryption::None),
        _ => Err("write gcm, cbc or none".into()),
    }
}

/// How a session is protected in its cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Encryption {
    /// AES-256-GCM: the default of Rails since 5.2. The older form is read as well, and written again in this one.
    #[default]
    Gcm,
    /// AES-256-CBC with HMAC-SHA1: Rails with `use_authenticated_cookie_encryption = false`.
    Cbc,
    /// Signed alone: the visitor can read it. As `cookies.signed` is; Rails itself keeps no session so.
    None,
}

/// The session in Rails' encrypted cookie: a Rails application with the same `secret_key_base` and this one share each visitor's session.
///
/// The cookie's name is the application's own (`_app_session`), and Rails ties what it encrypts to it: set it on the layer.
///
/// ```
/// use dewar::{Keyring, SessionLayer, dialect::{Digest, Rails}};
///
/// # fn main() -> Result<(), dewar::Error> {
/// # let secret_key_base = "3f".repeat(64);
/// // Rails 7.0 and later.
/// let layer = SessionLayer::new(secret_key_base.as_str())?.dialect(Rails::new).cookie_name("_app_session");
///
/// // Rails 6.1, whose user is in `session[:user_id]`.
/// let older = SessionLayer::new(secret_key_base.as_str())?
///     .dialect(|secrets: &Keyring| Rails::new(secrets).digest(Digest::Sha1).rack(2).principal_entry("user_id"))
///     .cookie_name("_app_session");
/// # layer.manager()?; older.manager()?; Ok(()) }
/// ```
///
/// `expire_after: 2.weeks` is the layer's `Lifetime::persistent().idle(...)`, and Rails' rotations are the keyring's fallbacks.
///
/// # Security
///
/// Nobody without the secret can read or change what is in the cookie. A copy of it is worth a session until it expires, and without `expire_after`
/// it never does: a log-out removes the cookie from the browser alone.
pub struct Rails {
    profile: Profile,
    meaning: meaning::Rails,
    secrets: Vec<Secret>,
    encryption: Encryption,
    digest: Digest,
    former: Option<Digest>,
    signed: Digest,
    metadata: bool,
    rack: u8,
    /// Derived once, when the manager is built or at the first use. The first writes.
    ciphers: OnceLock<Vec<Cipher>>,
    /// Whether the log has said that Rails writes Marshal.
    has_warned: AtomicBool,
}

/// One way to protect a message, with its key.
#[allow(clippy::large_enum_variant)] // There are a few in all.
enum Cipher {
    Gcm(Box<Encryptor>),
    Cbc(OlderEncryptor),
    Signed(Verifier),
}

impl Rails {
    /// The dialect under these secrets: Rails' `secret_key_base`, as the text that it is, and older ones as Rails' rotations have them.
    pub fn new(keyring: &Keyring) -> Self {
        Self {
            profile: profile(),
            meaning: meaning::Rails::default(),
            secrets: keyring.secrets().to_vec(),
            encryption: Encryption::Gcm,
            digest: Digest::Sha256,
            former: None,
            signed: Digest::Sha1,
            metadata: true,
            rack: 3,
            ciphers: OnceLock::new(),
            has_warned: AtomicBool::new(false),
        }
    }

    /// How a session is protected. The default: [`Encryption::Gcm`].
    #[must_use]
    pub fn encryption(mut self, encryption: Encryption) -> Self {
        self.encryption = encryption;
        self.again()
    }

    /// The hash function that keys are derived with: `config.active_support.key_generator_hash_digest_class`. The default: SHA-256, that of Rails
    /// since the defaults of 7.0. Rails 6.1 and applications with its defaults have SHA-1.
    #[must_use]
    pub fn digest(mut self, digest: Digest) -> Self {
        self.digest = digest;
        self.again()
    }

    /// Another one that keys were derived with: what they protect is read, and written again. For the move from the defaults of Rails 6.1 to those
    /// of 7.0: `Rails::new(secrets).former_digest(Digest::Sha1)`.
    #[must_use]
    pub fn former_digest(mut self, digest: Digest) -> Self {
        self.former = Some(digest);
        self.again()
    }

    /// The hash function of signatures, with [`Encryption::None`]: `config.action_dispatch.signed_cookie_digest`. The default: SHA-1.
    #[must_use]
    pub fn signed_digest(mut self, digest: Digest) -> Self {
        self.signed = digest;
        self.again()
    }

    /// Whether a session is written with metadata, which ties it to the name of its cookie: `use_cookies_with_metadata`. The default: yes, as in Rails
    /// since 5.2. What has none is read either way, as in Rails.
    #[must_use]
    pub fn metadata(mut self, metadata: bool) -> Self {
        self.metadata = metadata;
        self
    }

    /// Whose spelling of cookies: Rack 2 writes `HttpOnly` (Rails 6.1), Rack 3 `httponly` (Rails 7.2 as Debian has it). The default: 3.
    #[must_use]
    pub fn rack(mut self, major: u8) -> Self {
        self.rack = major;
        self.profile.spelling = spelling(major);
        self
    }

    /// The entry that says whose session it is, where the application keeps that in one of its own: `user_id` for `session[:user_id] = user.id`.
    ///
    /// `session.principal()` is then what stands there, and `session.set_principal(42)` writes it.
    ///
    /// ```
    /// use dewar::{Keyring, SessionLayer, dialect::Rails, testing::Visitor};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), dewar::Error> {
    /// # let secret_key_base = "3f".repeat(64);
    /// let layer = SessionLayer::new(secret_key_base.as_str())?
    ///     .dialect(|secrets: &Keyring| Rails::new(secrets).principal_entry("user_id"))
    ///     .cookie_name("_app_session");
    /// let ada = Visitor::prepared(&layer.manager()?, |session| session.set_principal(42)).await?;
    /// assert_eq!(ada.session().await?.get("user_id"), Some(42));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn principal_entry(mut self, entry: impl Into<Box<str>>) -> Self {
        self.meaning.entry.principal = Some(entry.into());
        self
    }

    /// What was derived is of other settings.
    fn again(mut self) -> Self {
        self.ciphers = OnceLock::new();
        self
    }

    fn ciphers(&self) -> &[Cipher] {
        self.ciphers.get_or_init(|| {
            let digests = self.digests();
            let all: Vec<_> =
                self.secrets.iter().flat_map(|secret| digests.iter().map(move |digest| (secret, *digest))).collect();
            let mut ciphers: Vec<_> = match self.encryption {
                Encryption::Gcm => all.iter().map(|(secret, digest)| gcm(secret, *digest)).collect(),
                Encryption::Cbc => Vec::new(),
                Encryption::None => all.iter().map(|(secret, digest)| signed(secret, *digest, self.signed)).collect(),
            };
            if self.encryption != Encryption::None {
                ciphers.extend(all.iter().map(|(secret, digest)| cbc(secret, *digest)));
            }
            ciphers
        })
    }

    /// The hash functions that keys are derived with, the one that writes first.
    fn digests(&self) -> Vec<Digest> {
        [self.digest].into_iter().chain(self.former.filter(|former| *former != self.digest)).collect()
    }

    /// Which secret a cipher is of.
    fn secret(&self, cipher: usize) -> usize {
        cipher / self.digests().len() % self.secrets.len()
    }

    /// The message, and which of the ciphers opened it.
    fn open(&self, sealed: &str) -> Result<(Vec<u8>, usize), Refusal> {
        let mut refusal = Refusal::Malformed;
        for (at, cipher) in self.ciphers().iter().enumerate() {
            match cipher.open(sealed) {
                Ok(message) => return Ok((message, at)),
                Err(Refusal::BadSignature) => refusal = Refusal::BadSignature,
                Err(_) => {}
            }
        }
        Err(refusal)
    }

    /// The entries of a session, once it is known to be authentic.
    fn decode(&self, text: Bytes, has_metadata: bool, steps: &mut Steps<'_>) -> Result<Data, Refusal> {
        let foreign = match &text[..] {
            [4, 8, ..] => Some("Ruby's Marshal"),
            [0xcc, 0x80, ..] => Some("Rails' MessagePack"),
            _ => None,
        };
        steps.note("serializer", || foreign.map_or("JSON".into(), unread));
        if let Some(serializer) = foreign {
            if !self.has_warned.swap(true, Relaxed) {
                tracing::warn!("a session of Rails is refused: {}", unread(serializer));
            }
            return Err(Refusal::Malformed);
        }
        let data = Data::parse(JSON, &text).ok_or(Refusal::Malformed)?;
        // Metadata in another spelling than Rails' own.
        if !has_metadata && data.get(METADATA).is_some() {
            return Err(Refusal::Malformed);
        }
        Ok(data)
    }
}

const METADATA: &[u8] = b"_rails";

/// Why a session is refused, and what to set in Rails.
fn unread(serializer: &str) -> String {
    format!(
        "it is written with {serializer}, which is not read here; set config.action_dispatch.cookies_serializer = :json in Rails, \
         or :hybrid for as long as there are sessions in Marshal: Rails then reads both and writes JSON"
    )
}

fn gcm(secret: &Secret, digest: Digest) -> Cipher {
    Cipher::Gcm(Box::new(Encryptor::new(&key(secret, "authenticated encrypted cookie", digest))))
}

fn cbc(secret: &Secret, digest: Digest) -> Cipher {
    let (key, sign_key) = (key(secret, "encrypted cookie", digest), key(secret, "signed encrypted cookie", digest));
    Cipher::Cbc(OlderEncryptor::new(&key, &sign_key))
}

fn signed(secret: &Secret, digest: Digest, signed: Digest) -> Cipher {
    Cipher::Signed(Verifier::new(&key(secret, "signed cookie", digest), signed))
}

fn key<const N: usize>(secret: &Secret, salt: &str, digest: Digest) -> Zeroizing<[u8; N]> {
    let mut key = Zeroizing::new([0; N]);
    derive_key(secret.reveal(), salt, digest, key.as_mut());
    key
}

impl Cipher {
    const fn name(&self) -> &'static str {
        match self {
            Self::Gcm(_) => "AES-256-GCM",
            Self::Cbc(_) => "AES-256-CBC with HMAC-SHA1",
            Self::Signed(_) => "signed",
        }
    }

    fn open(&self, sealed: &str) -> Result<Vec<u8>, Refusal> {
        match self {
            Self::Gcm(encryptor) => encryptor.open(sealed),
            Self::Cbc(encryptor) => encryptor.open(sealed),
            Self::Signed(verifier) => verifier.verify(sealed),
        }
    }
}

impl Dialect for Rails {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn read(&self, jar: &Jar<'_>, limits: &Limits, steps: &mut Steps<'_>) -> Result<Token, Refusal> {
        let sealed = unescape(jar.value()?).ok_or(Refusal::Malformed)?;
        let opened = self.open(&sealed);
        steps.note("protected", || match &opened {
            Ok((_, at)) => {
                format!("{}, {}", self.ciphers()[*at].name(), signed_by(Some(self.secret(*at)), self.secrets.len()))
            }
            Err(_) => signed_by(None, self.secrets.len()),
        });
        let (text, cipher) = opened?;
        let message = Message::read(&text)?;
        steps.note("purpose", || message.purpose.clone().unwrap_or_else(|| "none, so it serves every one".into()));
        message.check(&purpose(jar.name()), limits.now)?;
        let (expires, has_metadata) = (message.expires, message.has_metadata);
        let data = self.decode(message.body.into_owned().into(), has_metadata, steps)?;

        let mut contents = Contents::new(limits.now, limits.idle, None, limits.persistent);
        if let Some(expires) = expires {
            let issued = expires.since(Timestamp::from_secs(u64::from(limits.idle)));
            contents.issued = Timestamp::from_millis(issued.as_millis() as u64).min(limits.now);
        }
        contents.data = data;
        let unique = match self.ciphers()[cipher] {
            Cipher::Signed(_) => None,
            Cipher::Gcm(_) | Cipher::Cbc(_) => Some(Sha256::digest(sealed.as_bytes()).into()),
        };
        Ok(Token::Data { contents, outdated: cipher != 0, sliding: limits.persistent, unique })
    }

    fn write(&self, body: Body<'_>, cookie: &str, now: Timestamp, random: Random<'_>) -> Result<Vec<SetValue>, Error> {
        let contents = body.data("Rails", "leave out the store")?;
        let data = &contents.data;
        if !self.metadata && data.get(METADATA).is_some() {
            return Err(Error::entry(
                METADATA,
                "Rails would take it for metadata; use another name, or metadata(true)",
            ));
        }
        let cipher = &self.ciphers()[0];
        let mut iv = [0; OlderEncryptor::IV];
        match cipher {
            Cipher::Gcm(_) => random(&mut iv[..Encryptor::IV]),
            Cipher::Cbc(_) => random(&mut iv),
            Cipher::Signed(_) => {}
        }
        let mut text = Vec::with_capacity(512);
        if data.get(SESSION_ID.as_bytes()).is_some() {
            data.write(JSON, &mut text);
        } else {
            let id = session_id(random);
            JSON.join(std::iter::once((SESSION_ID.as_bytes(), &id[..])).chain(data.iter()), &mut text);
        }
        if self.metadata {
            let expires = contents.persistent.then(|| now.after(Duration::from_secs(u64::from(contents.idle))));
            text = Message::wrap(&text, expires, &purpose(cookie));
        }
        let sealed = match cipher {
            Cipher::Gcm(encryptor) => {
                let [iv @ .., _, _, _, _] = iv;
                encryptor.seal(text, iv).ok_or_else(|| Error::setting("the session is too large to be encrypted"))?
            }
            Cipher::Cbc(encryptor) => encryptor.seal(&text, iv),
            Cipher::Signed(verifier) => verifier.sign(&text),
        };
        Ok(vec![SetValue::new("", utf8_percent_encode(&sealed, ESCAPED).to_string())])
    }

    fn check(&self) -> Result<(), Error> {
        if !matches!(self.rack, 2 | 3) {
            return Err(Error::setting(format!("rack: there is no spelling of Rack {}; write 2 or 3", self.rack)));
        }
        // Now, so that no request waits for it.
        self.ciphers();
        self.meaning.check()
    }

    fn meaning(&self) -> Arc<dyn Meaning> {
        Arc::new(self.meaning.clone())
    }
}

fn purpose(cookie: &str) -> String {
    format!("cookie.{cookie}")
}

/// What `URI.encode_www_form_component` escapes.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');

/// Undoes it, as Rack does: a plus sign is a blank.
fn unescape(value: &str) -> Option<Cow<'_, str>> {
    match value.contains('+') {
        true => percent_decode_str(&value.replace('+', " ")).decode_utf8().ok().map(|text| text.into_owned().into()),
        false => percent_decode_str(value).decode_utf8().ok(),
    }
}

fn profile() -> Profile {
    let cookie = Attributes { same_site: Some(SameSite::Lax), ..Attributes::new("_session_id") };
    Profile { dated: false, ..Profile::foreign(KNOWN.name, Keeps::Data, JSON, cookie, spelling(3)) }
}

fn spelling(rack: u8) -> Spelling {
    use Attribute::{Domain, Expires, HttpOnly, MaxAge, Partitioned, Path, SameSite, Secure};
    const EVERY_ATTRIBUTE: &[Attribute] = &[Domain, Path, MaxAge, Expires, Secure, HttpOnly, SameSite, Partitioned];
    Spelling {
        order: EVERY_ATTRIBUTE,
        lower_case: if rack == 2 { &[Domain, Path, MaxAge, Expires, Secure] } else { EVERY_ATTRIBUTE },
        persistent: Ending::Expires,
        removal: Ending::Both,
    }
}

/// Never the keys.
impl fmt::Debug for Rails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rails")
            .field("secrets", &self.secrets)
            .field("encryption", &self.encryption)
            .field("digest", &self.digest)
            .field("former_digest", &self.former)
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}
