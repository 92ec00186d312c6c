//! "SFMyNTY." base64url( term ) "." base64url( HMAC-SHA256( K, all before ) ), or encrypted "XCP." base64url( nonce tag ciphertext )
//!
//! ```text
//! term       = Erlang's external term format: a map with binaries as its keys
//! K          = PBKDF2-HMAC-SHA256( secret_key_base, signing_salt, 1000 iterations, 32 bytes )
//! ciphertext = XChaCha20-Poly1305 ( the same with encryption_salt, nonce of 24 bytes, associated data "A128GCM", term )
//!
//! "QTEyOEdDTQ." base64url( wrapped ) "." base64url( iv ) "." base64url( ciphertext ) "." base64url( tag )
//! ciphertext = AES-128-GCM ( a key of its own, iv of 12 bytes, associated data "A128GCM", term )
//! wrapped    = AES-256-GCM ( the key of encryption_salt, iv2, associated data K, that key ): ciphertext[16] tag[16] iv2[12]
//! ```
//!
//! The cookie of `Plug.Session`, which Phoenix has its sessions in: Plug 1.19.2 with plug_crypto 2.1.1 (`XCP`) and 1.2.5 (the older form, which both
//! read), on Erlang/OTP 25 and 27. Checked by sessions that those wrote and read, byte for byte, and not by an application that runs beside this one:
//! Plug is had from hex.pm alone.
//!
//! What it cannot say: when a session began or was written. Nothing expires on the server; `max_age` is a matter of the browser. A cookie is not tied to
//! its name.
//!
//! Where it deviates: the signature is SHA-256's (Plug lets the cookie choose SHA-384 and SHA-512, which it never writes), base64 has one
//! spelling, and there is nothing behind the term. Compressed terms, which are never written, functions, processes, references and improper lists
//! are an empty session. Names are binaries: Plug makes text of atoms before it stores them.

use std::sync::{Arc, OnceLock};

use aes_gcm::{Aes128Gcm, Aes256Gcm, KeyInit, aead::AeadInOut};
use bytes::Bytes;
use chacha20poly1305::XChaCha20Poly1305;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use super::{
    Attribute, Attributes, Body, Contents, Data, Dialect, Digest, Ending, Jar, Keeps, Known, Limits, Profile, Random,
    Refusal, SameSite, SetValue, Spelling, Steps, Timestamp, Token,
    option::{self, Setter},
};
use crate::{
    encoding::{Encoding, Erlang, base64},
    error::Error,
    explain::signed_by,
    meaning::{self, CSRF_TOKEN, FLASH, Meaning},
    secret::{Keyring, Secret},
};

pub(super) const KNOWN: Known = Known {
    name: "Phoenix",
    cookies: &["_my_app_key"],
    on_store: None,
    make: |keyring, options| option::made("Phoenix", Phoenix::new(keyring), SETTERS, options),
};

const SETTERS: &[Setter<Phoenix>] = &[
    Setter::new("encryption_salt", |phoenix, value| Ok(phoenix.encryption_salt(value))),
    Setter::new("former_encryption_salt", |phoenix, value| Ok(phoenix.former_encryption_salt(value))),
    Setter::new("former_signing_salt", |phoenix, value| Ok(phoenix.former_signing_salt(value))),
    Setter::new("key_digest", |phoenix, value| Ok(phoenix.key_digest(option::digest(value)?))),
    Setter::new("key_iterations", |phoenix, value| Ok(phoenix.key_iterations(option::number(value)?))),
    Setter::new("key_length", |phoenix, value| Ok(phoenix.key_length(option::number(value)?))),
    Setter::new("otp_25", |phoenix, value| Ok(phoenix.otp_25(option::flag(value)?))),
    Setter::new("plug_crypto_1", |phoenix, value| Ok(phoenix.plug_crypto_1(option::flag(value)?))),
    Setter::new("principal_entry", |phoenix, value| Ok(phoenix.principal_entry(value))),
    Setter::new("signing_salt", |phoenix, value| Ok(phoenix.signing_salt(value))),
];

/// base64url( "HS256" ), and the dot.
const SIGNED: &str = "SFMyNTY.";
const ENCRYPTED: &str = "XCP.";
/// base64url( "A128GCM" ), and the dot.
const OLDER: &str = "QTEyOEdDTQ.";
const ASSOCIATED: &[u8] = b"A128GCM";

/// The shortest `secret_key_base` that Plug takes, in bytes.
const SHORTEST: usize = 64;
/// Of the keys that encrypt.
const KEY: usize = 32;
/// The longest key of a signature that anybody has, in bytes, and the most iterations that anybody waits for.
const LONGEST: usize = 1024;
const MOST: u32 = 10_000_000;
const NONCE: usize = 24;
const TAG: usize = 16;
const IV: usize = 12;

/// Plug's session cookie: a Phoenix application with the same `secret_key_base` and salts, and this one, share each visitor's session.
///
/// ```
/// use dewar::{Keyring, Secret, SessionLayer, dialect::Phoenix};
///
/// # fn main() -> Result<(), dewar::Error> {
/// // @session_options [store: :cookie, key: "_my_app_key", signing_salt: "kE9qhRzN", same_site: "Lax"]
/// let base = Secret::new("w98fw9ef8hwe98fhwef-".repeat(4))?;
/// let layer = SessionLayer::new(base)?
///     .dialect(|secrets: &Keyring| Phoenix::new(secrets).signing_salt("kE9qhRzN"))
///     .cookie_name("_my_app_key");
/// # layer.manager()?; Ok(()) }
/// ```
///
/// The session is encrypted where there is an [`encryption_salt`](Self::encryption_salt), as in Plug. Plug's `max_age` is
/// `Lifetime::persistent().idle(..)`, its `key` the layer's cookie name, and `rotating_options` are the secret's fallbacks and the former salts.
/// Messages are Phoenix's flash: a category with several is a list, which a template of Phoenix's shows one behind the other.
///
/// A renewal or a log-in takes `_csrf_token` out, as `delete_csrf_token` does in an application that `mix phx.gen.auth` has made: forms that were open
/// before are refused there.
///
/// # Security
///
/// Without an encryption salt the visitor can read what is in the cookie. It carries no time: a copy of it is worth a session for as long
/// as its secret is on the keyring, also after a log-out. An application that `mix phx.gen.auth` has made keeps a token in the session that its database
/// knows, and ends it there.
#[derive(Debug)]
pub struct Phoenix {
    profile: Profile,
    meaning: meaning::Phoenix,
    secrets: Vec<Secret>,
    /// The first protects.
    signing_salts: Vec<String>,
    /// The same; none of a session that is only signed.
    encryption_salts: Vec<String>,
    derivation: Derivation,
    is_older: bool,
    /// Derived when they are wanted first: it takes a thousand times longer than reading a cookie.
    keys: OnceLock<Keys>,
}

/// How keys come from a secret.
#[derive(Clone, Copy, Debug)]
struct Derivation {
    digest: Digest,
    iterations: u32,
    length: usize,
}

type Key = Zeroizing<Vec<u8>>;

/// The keys of every secret, each with the place of its secret; those that protect first.
struct Keys {
    signing: Vec<(usize, Key)>,
    encryption: Vec<(usize, Key)>,
}

impl Phoenix {
    /// The dialect under these secrets: `secret_key_base`. It wants a [`signing_salt`](Self::signing_salt).
    pub fn new(keyring: &Keyring) -> Self {
        Self {
            profile: profile(Erlang::OTP_26),
            meaning: meaning::Phoenix::default(),
            secrets: keyring.secrets().to_vec(),
            signing_salts: Vec::new(),
            encryption_salts: Vec::new(),
            derivation: Derivation { digest: Digest::Sha256, iterations: 1000, length: KEY },
            is_older: false,
            keys: OnceLock::new(),
        }
    }

    /// Plug's `signing_salt`. There is no default.
    #[must_use]
    pub fn signing_salt(self, salt: &str) -> Self {
        self.with(|phoenix| phoenix.signing_salts.insert(0, salt.into()))
    }

    /// Plug's `encryption_salt`: the session is encrypted. The default: it is signed alone.
    #[must_use]
    pub fn encryption_salt(self, salt: &str) -> Self {
        self.with(|phoenix| phoenix.encryption_salts.insert(0, salt.into()))
    }

    /// A signing salt that was in use before, as in `rotating_options`: what it signed is read, and signed again. It can be said several times.
    #[must_use]
    pub fn former_signing_salt(self, salt: &str) -> Self {
        self.with(|phoenix| phoenix.signing_salts.push(salt.into()))
    }

    /// The same of an encryption salt.
    #[must_use]
    pub fn former_encryption_salt(self, salt: &str) -> Self {
        self.with(|phoenix| phoenix.encryption_salts.push(salt.into()))
    }

    /// Plug's `key_iterations`. The default: 1000.
    #[must_use]
    pub fn key_iterations(self, iterations: u32) -> Self {
        self.with(|phoenix| phoenix.derivation.iterations = iterations)
    }

    /// Plug's `key_length` in bytes. The default: 32, which encryption asks for.
    #[must_use]
    pub fn key_length(self, bytes: usize) -> Self {
        self.with(|phoenix| phoenix.derivation.length = bytes)
    }

    /// Plug's `key_digest`. The default: SHA-256.
    #[must_use]
    pub fn key_digest(self, digest: Digest) -> Self {
        self.with(|phoenix| phoenix.derivation.digest = digest)
    }

    /// Whether what is encrypted is written as plug_crypto 1 does, which reads nothing else. The default: no. Both are read.
    #[must_use]
    pub fn plug_crypto_1(self, is_older: bool) -> Self {
        self.with(|phoenix| phoenix.is_older = is_older)
    }

    /// Whether atoms, `nil`, `true` and `false` among them, are written as Erlang/OTP 25 and earlier do. The default: no. All read both.
    #[must_use]
    pub fn otp_25(self, is_older: bool) -> Self {
        let erlang = if is_older { Erlang::OTP_25 } else { Erlang::OTP_26 };
        self.with(|phoenix| phoenix.profile = profile(erlang))
    }

    /// The principal is in an entry of the application's own: `put_session(conn, :user_id, 7)`. The default: no entry says whose session it is.
    #[must_use]
    pub fn principal_entry(self, entry: &str) -> Self {
        self.with(|phoenix| phoenix.meaning.entry.principal = Some(entry.into()))
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self.keys = OnceLock::new();
        self
    }

    fn keys(&self) -> &Keys {
        self.keys.get_or_init(|| {
            let derive = |salts: &[String]| {
                let pairs = self.secrets.iter().enumerate().flat_map(|pair| salts.iter().map(move |salt| (pair, salt)));
                pairs.map(|((at, secret), salt)| (at, self.derivation.key(secret, salt))).collect()
            };
            Keys { signing: derive(&self.signing_salts), encryption: derive(&self.encryption_salts) }
        })
    }

    fn is_encrypted(&self) -> bool {
        !self.encryption_salts.is_empty()
    }

    /// The term in a cookie, and the place of the key that protects it among all, and of its secret.
    fn open(&self, value: &str) -> Result<Opened, Refusal> {
        if !self.is_encrypted() {
            return self.verify(value);
        }
        match value.strip_prefix(OLDER) {
            Some(parts) => self.decrypt_older(parts),
            None => self.decrypt(value.strip_prefix(ENCRYPTED).ok_or(Refusal::Malformed)?),
        }
    }

    fn verify(&self, value: &str) -> Result<Opened, Refusal> {
        let (signed, signature) = value.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let payload = signed.strip_prefix(SIGNED).ok_or(Refusal::Malformed)?;
        let signature = decode(signature)?;
        let is_it = |key: &Key| mac(key, signed).verify_slice(&signature).is_ok();
        let at = self.keys().signing.iter().position(|(_, key)| is_it(key)).ok_or(Refusal::BadSignature)?;
        let term = decode(payload)?;
        Ok(Opened { term, is_first: at == 0, secret: self.keys().signing[at].0, unique: None })
    }

    fn decrypt(&self, sealed: &str) -> Result<Opened, Refusal> {
        let sealed = decode(sealed)?;
        let (nonce, rest) = sealed.split_first_chunk::<NONCE>().ok_or(Refusal::Malformed)?;
        let (tag, ciphertext) = rest.split_first_chunk::<TAG>().ok_or(Refusal::Malformed)?;
        for (at, (secret, key)) in self.keys().encryption.iter().enumerate() {
            let mut term = ciphertext.to_vec();
            let Ok(cipher) = XChaCha20Poly1305::new_from_slice(key) else { continue };
            let opened = cipher.decrypt_inout_detached(nonce.into(), ASSOCIATED, (&mut term[..]).into(), tag.into());
            if opened.is_ok() {
                return Ok(Opened { term, is_first: at == 0, secret: *secret, unique: Some(unique(nonce, tag)) });
            }
        }
        Err(Refusal::BadSignature)
    }

    fn decrypt_older(&self, parts: &str) -> Result<Opened, Refusal> {
        let mut parts = parts.split('.').map(decode);
        let mut next = || parts.next().ok_or(Refusal::Malformed)?;
        let (wrapped, iv, ciphertext, tag) = (next()?, next()?, next()?, next()?);
        let iv: [u8; IV] = iv.try_into().map_err(|_| Refusal::Malformed)?;
        let tag: [u8; TAG] = tag.try_into().map_err(|_| Refusal::Malformed)?;
        let wrapped: [u8; TAG + TAG + IV] = wrapped.try_into().map_err(|_| Refusal::Malformed)?;
        if parts.next().is_some() {
            return Err(Refusal::Malformed);
        }
        for (at, (secret, key)) in self.keys().encryption.iter().enumerate() {
            let signing = self.keys().signing.iter().filter(|(other, _)| other == secret);
            let Some(content) = signing.filter_map(|(_, associated)| unwrap(key, associated, &wrapped)).next() else {
                continue;
            };
            let (mut term, cipher) = (ciphertext.clone(), Aes128Gcm::new((&*content).into()));
            let opened = cipher.decrypt_inout_detached((&iv).into(), ASSOCIATED, (&mut term[..]).into(), (&tag).into());
            opened.map_err(|_| Refusal::BadSignature)?;
            return Ok(Opened { term, is_first: at == 0, secret: *secret, unique: Some(unique(&iv, &tag)) });
        }
        Err(Refusal::BadSignature)
    }

    fn seal(&self, term: Zeroizing<Vec<u8>>, random: Random<'_>) -> Option<String> {
        if !self.is_encrypted() {
            let mut signed = String::with_capacity(term.len() / 3 * 4 + 64);
            signed.push_str(SIGNED);
            base64::push_url(&term, &mut signed);
            let signature = mac(&self.keys().signing.first()?.1, &signed).finalize().into_bytes();
            signed.push('.');
            base64::push_url(&signature, &mut signed);
            return Some(signed);
        }
        let key = &self.keys().encryption.first()?.1;
        if self.is_older { self.seal_older(key, term, random) } else { seal(key, term, random) }
    }

    fn seal_older(&self, key: &Key, mut term: Zeroizing<Vec<u8>>, random: Random<'_>) -> Option<String> {
        let (mut content, mut iv, mut iv2) = (Zeroizing::new([0; TAG]), [0; IV], [0; IV]);
        random(&mut *content);
        random(&mut iv);
        random(&mut iv2);
        let cipher = Aes128Gcm::new((&*content).into());
        let tag = cipher.encrypt_inout_detached((&iv).into(), ASSOCIATED, (&mut term[..]).into()).ok()?;
        let wrap = Aes256Gcm::new_from_slice(key).ok()?;
        let associated = &self.keys().signing.first()?.1;
        let mut wrapped = content.to_vec();
        let wrapped_tag = wrap.encrypt_inout_detached((&iv2).into(), associated, (&mut wrapped[..]).into()).ok()?;
        wrapped.extend_from_slice(&wrapped_tag);
        wrapped.extend_from_slice(&iv2);
        let mut sealed = String::with_capacity(term.len() / 3 * 4 + 128);
        sealed.push_str(OLDER);
        for (part, end) in [(&wrapped[..], "."), (&iv, "."), (&term, "."), (&tag, "")] {
            base64::push_url(part, &mut sealed);
            sealed.push_str(end);
        }
        Some(sealed)
    }
}

/// What a cookie was found to hold.
struct Opened {
    term: Vec<u8>,
    /// Whether the key is the one that protects now.
    is_first: bool,
    /// The place of the secret.
    secret: usize,
    unique: Option<[u8; 32]>,
}

impl Dialect for Phoenix {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn read(&self, jar: &Jar<'_>, limits: &Limits, steps: &mut Steps<'_>) -> Result<Token, Refusal> {
        let opened = self.open(jar.value()?);
        steps.note(if self.is_encrypted() { "encryption" } else { "signature" }, || match &opened {
            Ok(opened) => {
                format!("{} bytes of a term, {}", opened.term.len(), signed_by(Some(opened.secret), self.secrets.len()))
            }
            Err(Refusal::BadSignature) => signed_by(None, self.secrets.len()),
            Err(refusal) => refusal.to_string(),
        });
        let Opened { term, is_first, unique, .. } = opened?;
        // Nobody knows when it was written: now is as good a guess as any, and never an end.
        let mut contents = Contents::new(limits.now, limits.idle, None, limits.persistent);
        let is_versioned = term.first() == Some(&Erlang::VERSION);
        let data = Data::parse(self.profile.encoding, &Bytes::from(term)).filter(|_| is_versioned);
        contents.data = data.ok_or(Refusal::Malformed)?;
        Ok(Token::Data { contents, outdated: !is_first, sliding: limits.persistent, unique })
    }

    fn write(
        &self,
        body: Body<'_>,
        _cookie: &str,
        _now: Timestamp,
        random: Random<'_>,
    ) -> Result<Vec<SetValue>, Error> {
        let contents = body.data("Phoenix", "leave out the store")?;
        let mut term = Zeroizing::new(Vec::with_capacity(512));
        contents.data.write(self.profile.encoding, &mut term);
        let value = self.seal(term, random).ok_or_else(|| Error::setting("the session cannot be protected"))?;
        Ok(vec![SetValue::new("", value)])
    }

    fn check(&self) -> Result<(), Error> {
        if self.signing_salts.iter().any(String::is_empty) || self.encryption_salts.iter().any(String::is_empty) {
            return Err(Error::setting("a salt is empty, so that every application has it; name the endpoint's"));
        }
        if self.signing_salts.is_empty() {
            return Err(Error::setting(
                "signing_salt: Plug has none of its own; write Phoenix::new(secrets).signing_salt(\"...\") as in the endpoint",
            ));
        }
        if self.secrets.iter().any(|secret| secret.reveal().len() < SHORTEST) {
            return Err(Error::setting(format!(
                "Plug takes no secret_key_base of less than {SHORTEST} bytes; `mix phx.gen.secret` or `openssl rand -hex 32` makes a good one"
            )));
        }
        let Derivation { length, iterations, .. } = self.derivation;
        if self.is_encrypted() && length != KEY {
            return Err(Error::setting(format!("key_length: what encrypts has {KEY} bytes; leave it out")));
        }
        if !(1..=LONGEST).contains(&length) || !(1..=MOST).contains(&iterations) {
            return Err(Error::setting(format!(
                "key_length is from 1 to {LONGEST}, key_iterations from 1 to {MOST}; leave them out for Plug's own"
            )));
        }
        if self.is_older && !self.is_encrypted() {
            return Err(Error::setting("plug_crypto_1: only what is encrypted has an older form; leave it out"));
        }
        self.meaning.entry.check(&[FLASH, CSRF_TOKEN])
    }

    fn meaning(&self) -> Arc<dyn Meaning> {
        Arc::new(self.meaning.clone())
    }
}

impl Derivation {
    fn key(self, secret: &Secret, salt: &str) -> Key {
        let mut key = Zeroizing::new(vec![0; self.length]);
        let (secret, salt, rounds) = (secret.reveal(), salt.as_bytes(), self.iterations);
        match self.digest {
            Digest::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>(secret, salt, rounds, &mut key),
            Digest::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(secret, salt, rounds, &mut key),
            Digest::Sha384 => pbkdf2::pbkdf2_hmac::<Sha384>(secret, salt, rounds, &mut key),
            Digest::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>(secret, salt, rounds, &mut key),
        }
        key
    }
}

fn seal(key: &Key, mut term: Zeroizing<Vec<u8>>, random: Random<'_>) -> Option<String> {
    let mut nonce = [0; NONCE];
    random(&mut nonce);
    let cipher = XChaCha20Poly1305::new_from_slice(key).ok()?;
    let tag = cipher.encrypt_inout_detached((&nonce).into(), ASSOCIATED, (&mut term[..]).into()).ok()?;
    let mut sealed = String::with_capacity((NONCE + TAG + term.len()) / 3 * 4 + 8);
    sealed.push_str(ENCRYPTED);
    base64::push_url(&[&nonce, &tag[..], &term[..]].concat(), &mut sealed);
    Some(sealed)
}

/// The key that was wrapped, where these are the keys that did it.
fn unwrap(key: &Key, associated: &Key, wrapped: &[u8; TAG + TAG + IV]) -> Option<Zeroizing<[u8; 16]>> {
    let (content, rest) = wrapped.split_first_chunk::<16>()?;
    let (tag, iv) = rest.split_first_chunk::<TAG>()?;
    let (mut content, iv) = (Zeroizing::new(*content), <&[u8; IV]>::try_from(iv).ok()?);
    let cipher = Aes256Gcm::new_from_slice(key).ok()?;
    cipher.decrypt_inout_detached(iv.into(), associated, (&mut content[..]).into(), tag.into()).ok()?;
    Some(content)
}

/// The random bytes of a cookie and its tag, as much of both as there is room for.
fn unique(nonce: &[u8], tag: &[u8; TAG]) -> [u8; 32] {
    let mut unique = [0; 32];
    unique.iter_mut().zip(nonce.iter().chain(tag)).for_each(|(to, from)| *to = *from);
    unique
}

fn mac(key: &Key, signed: &str) -> Hmac<Sha256> {
    let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.chain_update(signed)
}

fn decode(part: &str) -> Result<Vec<u8>, Refusal> {
    base64::decode_url(part.as_bytes()).ok_or(Refusal::Malformed)
}

fn profile(erlang: Erlang) -> Profile {
    use Attribute::{Domain, Expires, HttpOnly, MaxAge, Partitioned, Path, Secure};
    let spelling = Spelling {
        order: &[Path, Domain, Expires, MaxAge, Secure, HttpOnly, Attribute::SameSite, Partitioned],
        lower_case: &[Path, Domain, Expires, MaxAge, Secure],
        persistent: Ending::Both,
        removal: Ending::Both,
    };
    let cookie = Attributes { same_site: Some(SameSite::Lax), ..Attributes::new("_my_app_key") };
    let encoding = Encoding::Erlang(erlang);
    Profile { dated: false, ..Profile::foreign(KNOWN.name, Keeps::Data, encoding, cookie, spelling) }
}

/// How many, and none of them.
impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({} signing, {} encryption)", self.signing.len(), self.encryption.len())
    }
}
