//! "Fe26.2*" id "*" salt "*" base64url( iv ) "*" base64url( ciphertext ) "*" expiry "*" salt2 "*" base64url( mac ) "~2"
//!
//! ```text
//! ciphertext = AES-256-CBC with PKCS#7 ( K1, iv, JSON )
//! mac        = HMAC-SHA256( K2, all before "*" salt2 )
//! K1, K2     = PBKDF2-HMAC-SHA1( password of this id, salt or salt2 as text, 1 iteration, 32 bytes )
//! expiry     = Unix milliseconds, or nothing
//! ```
//!
//! iron-session's sealed cookie, as 8.0.4 and 9.0.1 write it; all three read each other's. The salts are 64 hexadecimal digits, the JSON is
//! JavaScript's. A seal is good for 60 seconds longer than it says.
//!
//! What it cannot say: when a visit began (so there is no absolute timeout), and a lifetime of a single session. A seal is not tied to the name of
//! its cookie: two cookies under one password can be exchanged.
//!
//! Where it deviates: `~2` must stand at the end, once (8 takes a seal without it for one of releases 6 and 7, 9 does not look), base64 has one spelling,
//! and what is sealed must be an object; a good MAC around something else is an empty session (8 answers 500); `cookieOptions.maxAge` of its
//! own is not known, and neither is `chunk: true`: a session that one cookie cannot hold is refused. A lifetime of 60 seconds or less has
//! a `Max-Age` of just that, as in 9 (8 writes one below zero). A session is sealed again after a tenth of its lifetime; iron-session
//! does so where `save()` is called.

use std::{collections::BTreeSet, time::Duration};

use aes::Aes256;
use bytes::Bytes;
use cbc::{
    Decryptor, Encryptor,
    cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, block_padding::Pkcs7},
};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use std::sync::Arc;
use zeroize::Zeroizing;

use super::{
    Attribute, Attributes, Body, Contents, Data, Dialect, Ending, Jar, Keeps, Known, Lasts, Limits, Profile, Random,
    Refusal, SameSite, SetValue, Spelling, Steps, Timestamp, Token,
    option::{self, Setter},
};
use crate::{
    encoding::{Encoding, Json, base64},
    error::Error,
    explain::signed_by,
    meaning::{Entry, Meaning},
    secret::{Keyring, Secret, hex},
};

pub(super) const KNOWN: Known = Known {
    name: "iron-session",
    cookies: &["iron-session"],
    on_store: None,
    make: |keyring, options| option::made("iron-session", Iron::new(keyring), SETTERS, options),
};

const SETTERS: &[Setter<Iron>] = &[
    Setter::new("password_ids", |iron, value| {
        let ids: Result<Vec<u32>, String> = value.split(',').map(|id| option::number(id.trim())).collect();
        Ok(iron.password_ids(ids?))
    }),
    Setter::new("principal_entry", |iron, value| Ok(iron.principal_entry(value))),
    Setter::new("unlimited", |iron, value| Ok(iron.unlimited(option::flag(value)?))),
];

const JSON: Encoding = Encoding::Json(Json::JAVASCRIPT);

/// What every seal of this version begins with.
const PREFIX: &str = "Fe26.2";

/// What iron-session puts behind a seal since release 8.
const VERSION: &str = "~2";

/// How much longer a seal is good than it says, for clocks that are not quite right. The cookie lasts so much less.
const SLACK: Duration = Duration::from_secs(60);

/// The shortest password that iron-session takes, in characters.
const SHORTEST: usize = 32;

/// What iron-session's session object has of its own: an entry of such a name is lost with the next `save()`.
const RESERVED: [&str; 3] = ["destroy", "save", "updateConfig"];

/// iron-session's sealed cookie: an application on Node with the same password and this one share each visitor's session.
///
/// ```
/// use std::time::Duration;
/// use dewar::{Keyring, Lifetime, SessionLayer, dialect::Iron};
///
/// # fn main() -> Result<(), dewar::Error> {
/// // { cookieName: 'app', password: 'w98fw9ef8hwe98fhwef-w98fw9ef8hwe98fhwef' }
/// let layer = SessionLayer::new("w98fw9ef8hwe98fhwef-w98fw9ef8hwe98fhwef")?.dialect(Iron::new).cookie_name("app");
///
/// // { cookieName: 'app', password: '…', ttl: 3600 }, and session.userId says who it is
/// let other = SessionLayer::new("w98fw9ef8hwe98fhwef-w98fw9ef8hwe98fhwef")?
///     .dialect(|passwords: &Keyring| Iron::new(passwords).principal_entry("userId"))
///     .cookie_name("app")
///     .lifetime(Lifetime::persistent().idle(Duration::from_secs(3600)));
/// # layer.manager()?; other.manager()?; Ok(()) }
/// ```
///
/// iron-session's `ttl` is the layer's idle timeout, 14 days where nothing is said; its cookie outlives the browser unless the layer's lifetime is
/// [`Lifetime::browser`](crate::Lifetime::browser). `ttl: 0` is [`unlimited`](Self::unlimited), and `cookieOptions: { maxAge: undefined }` is that with
/// `Lifetime::browser`.
///
/// Of several passwords the secret has the highest id and seals, and the last fallback has the id 1: `password: { 2: secret, 1: fallback }`. A password
/// that has become the only one keeps its id where [`password_ids`](Self::password_ids) says so.
///
/// # Security
///
/// The cookie is encrypted. A password becomes a key in a single iteration: it must be a long random one, as `openssl rand -hex 32` makes it, for one
/// that people think of is found by trying. A copy of the cookie is worth a session until it expires, also after a log-out.
#[derive(Debug)]
pub struct Iron {
    profile: Profile,
    meaning: Entry,
    secrets: Vec<Secret>,
    /// Of each secret.
    ids: Vec<u32>,
    unlimited: bool,
}

impl Iron {
    /// The dialect under these secrets: iron-session's `password`.
    pub fn new(keyring: &Keyring) -> Self {
        let secrets = keyring.secrets().to_vec();
        let ids = (1..).take(secrets.len()).collect::<Vec<_>>().into_iter().rev().collect();
        Self { profile: profile(false), meaning: Entry::default(), secrets, ids, unlimited: false }
    }

    /// The ids of the passwords, in the order of the secret and its fallbacks: the first seals. The default: as many as there are, down to 1.
    ///
    /// iron-session seals with the highest. Another order lets a server read what others will seal next.
    ///
    /// ```
    /// use dewar::{Keyring, Secret, SessionLayer, dialect::Iron};
    ///
    /// # fn main() -> Result<(), dewar::Error> {
    /// // password: { 3: '…', 2: '…' }, after the one with the id 1 was taken away
    /// let passwords = Keyring::new(Secret::generate()).fallback(Secret::generate());
    /// let layer = SessionLayer::new(passwords)?.dialect(|passwords: &Keyring| Iron::new(passwords).password_ids([3, 2]));
    /// # layer.manager()?; Ok(()) }
    /// ```
    #[must_use]
    pub fn password_ids(mut self, ids: impl IntoIterator<Item = u32>) -> Self {
        self.ids = ids.into_iter().collect();
        self
    }

    /// Whether a seal says no end: iron-session's `ttl: 0`. The default: no.
    ///
    /// # Security
    ///
    /// A copy of the cookie is then worth a session for as long as its password is on the keyring.
    #[must_use]
    pub fn unlimited(mut self, unlimited: bool) -> Self {
        self.unlimited = unlimited;
        self.profile = profile(unlimited);
        self
    }

    /// The principal is in an entry of the application's own: `session.userId = 7`. The default: no entry says whose session it is.
    #[must_use]
    pub fn principal_entry(mut self, entry: &str) -> Self {
        self.meaning.principal = Some(entry.into());
        self
    }

    /// The JSON in a seal, and which secret sealed it.
    fn unseal(&self, seal: &Seal<'_>) -> Result<(Vec<u8>, usize), Refusal> {
        let at = self.ids.iter().position(|id| id.to_string() == seal.id).ok_or(Refusal::UnknownSecret)?;
        let secret = self.secrets.get(at).ok_or(Refusal::UnknownSecret)?;
        mac(secret, seal.salt2, seal.signed).verify_slice(&seal.mac).map_err(|_| Refusal::BadSignature)?;
        let cipher = Decryptor::<Aes256>::new((&*key(secret, seal.salt)).into(), (&seal.iv).into());
        let text = cipher.decrypt_padded_vec::<Pkcs7>(&seal.ciphertext).map_err(|_| Refusal::Malformed)?;
        Ok((text, at))
    }
}

impl Dialect for Iron {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn read(&self, jar: &Jar<'_>, limits: &Limits, steps: &mut Steps<'_>) -> Result<Token, Refusal> {
        let seal = Seal::parse(jar.value()?).ok_or(Refusal::Malformed)?;
        steps.note("password id", || if seal.id.is_empty() { "none".into() } else { seal.id.to_owned() });
        steps.note("expires", || match seal.expires {
            Some(at) => limits.age(at),
            None => "never".into(),
        });
        let unsealed = self.unseal(&seal);
        steps.note("seal", || match &unsealed {
            Ok((text, at)) => format!("{} bytes of JSON, {}", text.len(), signed_by(Some(*at), self.secrets.len())),
            Err(refusal) => refusal.to_string(),
        });
        let (text, at) = unsealed?;
        // Beyond what it says, and never later than if it were sealed just now.
        let end = seal.expires.map(|expires| expires.after(SLACK));
        if end.is_some_and(|end| end <= limits.now) {
            return Err(Refusal::Expired);
        }
        let idle = u64::from(limits.idle) * 1000;
        let issued = end.map_or(limits.now, |end| Timestamp::from_millis(end.as_millis().saturating_sub(idle)));
        let mut contents = Contents::new(issued.min(limits.now), limits.idle, None, limits.persistent);
        contents.data = Data::parse(JSON, &Bytes::from(text)).ok_or(Refusal::Malformed)?;
        for name in RESERVED {
            contents.data.remove(name.as_bytes());
        }
        let sliding = !self.unlimited || limits.persistent;
        Ok(Token::Data { contents, outdated: at != 0, sliding, unique: Some(seal.mac) })
    }

    fn write(&self, body: Body<'_>, _cookie: &str, now: Timestamp, random: Random<'_>) -> Result<Vec<SetValue>, Error> {
        let contents = body.data("Iron", "leave out the store")?;
        if let Some(name) = RESERVED.iter().find(|name| contents.data.get(name.as_bytes()).is_some()) {
            let why =
                "iron-session's session object has a member of this name and would drop the entry; use another name";
            return Err(Error::entry(name.as_bytes(), why));
        }
        let mut text = Zeroizing::new(Vec::with_capacity(512));
        contents.data.write(JSON, &mut text);
        let idle = Duration::from_secs(contents.idle.into());
        let expires = (!self.unlimited).then(|| now.after(idle));
        let value = self.seal(&text, expires, random)?;
        let lasts = match idle.checked_sub(SLACK).filter(|less| !less.is_zero()) {
            Some(less) if contents.persistent && !self.unlimited => Lasts::For(less),
            _ => Lasts::WithTheSession,
        };
        Ok(vec![SetValue::new("", value).lasting(lasts)])
    }

    fn check(&self) -> Result<(), Error> {
        let is_short = |secret: &&Secret| match std::str::from_utf8(secret.reveal()) {
            Ok(text) => text.encode_utf16().count() < SHORTEST,
            Err(_) => secret.reveal().len() < SHORTEST,
        };
        if self.secrets.iter().any(|secret| is_short(&secret)) {
            return Err(Error::setting(format!(
                "iron-session takes no password of less than {SHORTEST} characters; `openssl rand -hex 32` makes a good one"
            )));
        }
        if self.ids.len() != self.secrets.len() || self.ids.iter().collect::<BTreeSet<_>>().len() != self.ids.len() {
            return Err(Error::setting(format!(
                "password_ids: name one id for each of the {} secrets, each another one, in the secrets' order",
                self.secrets.len()
            )));
        }
        self.meaning.check(&RESERVED)
    }

    fn meaning(&self) -> Arc<dyn Meaning> {
        Arc::new(self.meaning.clone())
    }
}

impl Iron {
    fn seal(&self, text: &[u8], expires: Option<Timestamp>, random: Random<'_>) -> Result<String, Error> {
        let (Some(id), Some(secret)) = (self.ids.first(), self.secrets.first()) else {
            return Err(Error::setting("password_ids: the secret needs an id; name one"));
        };
        let mut iv = [0; 16];
        let salt = salt(random);
        random(&mut iv);
        let salt2 = self::salt(random);
        let cipher = Encryptor::<Aes256>::new((&*key(secret, &salt)).into(), (&iv).into());
        let ciphertext = cipher.encrypt_padded_vec::<Pkcs7>(text);
        let mut seal = String::with_capacity(ciphertext.len() / 3 * 4 + 256);
        seal.push_str(&format!("{PREFIX}*{id}*{salt}*"));
        base64::push_url(&iv, &mut seal);
        seal.push('*');
        base64::push_url(&ciphertext, &mut seal);
        seal.push('*');
        if let Some(expires) = expires {
            seal.push_str(&expires.as_millis().to_string());
        }
        let mac = mac(secret, &salt2, seal.as_bytes()).finalize().into_bytes();
        seal.push_str(&format!("*{salt2}*"));
        base64::push_url(&mac, &mut seal);
        seal.push_str(VERSION);
        Ok(seal)
    }
}

/// The parts of a seal, which may be anybody's.
struct Seal<'a> {
    id: &'a str,
    salt: &'a str,
    iv: [u8; 16],
    ciphertext: Vec<u8>,
    expires: Option<Timestamp>,
    salt2: &'a str,
    mac: [u8; 32],
    /// What the MAC is of.
    signed: &'a [u8],
}

impl<'a> Seal<'a> {
    fn parse(value: &'a str) -> Option<Self> {
        let seal = value.strip_suffix(VERSION)?;
        let mut parts = seal.splitn(9, '*');
        let mut next = || parts.next();
        let (prefix, id, salt, iv, ciphertext, expires, salt2, mac) =
            (next()?, next()?, next()?, next()?, next()?, next()?, next()?, next()?);
        if prefix != PREFIX || parts.next().is_some() {
            return None;
        }
        let decode = |part: &str| base64::decode_url(part.as_bytes());
        let expires = match expires {
            "" => None,
            digits if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                Some(Timestamp::from_millis(digits.parse().ok()?))
            }
            _ => return None,
        };
        let signed = &seal.as_bytes()[..seal.len() - salt2.len() - mac.len() - 2];
        let (iv, mac) = (decode(iv)?.try_into().ok()?, decode(mac)?.try_into().ok()?);
        Some(Self { id, salt, iv, ciphertext: decode(ciphertext)?, expires, salt2, mac, signed })
    }
}

/// 32 random bytes in hexadecimal.
fn salt(random: Random<'_>) -> String {
    let mut bytes = [0; 32];
    random(&mut bytes);
    hex(&bytes)
}

fn key(secret: &Secret, salt: &str) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::pbkdf2_hmac::<Sha1>(secret.reveal(), salt.as_bytes(), 1, &mut *key);
    key
}

fn mac(secret: &Secret, salt: &str, signed: &[u8]) -> Hmac<Sha256> {
    let mac = Hmac::new_from_slice(&*key(secret, salt)).expect("HMAC takes a key of any length");
    mac.chain_update(signed)
}

fn profile(unlimited: bool) -> Profile {
    use Attribute::{Domain, Expires, HttpOnly, MaxAge, Partitioned, Path, Secure};
    /// What JavaScript's largest 32-bit integer is to a cookie: iron-session's word for ever.
    const EVER: u64 = i32::MAX as u64;
    let spelling = Spelling {
        order: &[MaxAge, Domain, Path, Expires, HttpOnly, Secure, Partitioned, Attribute::SameSite],
        lower_case: &[],
        persistent: Ending::MaxAge,
        removal: Ending::MaxAge,
    };
    let cookie = Attributes { secure: true, same_site: Some(SameSite::Lax), ..Attributes::new("iron-session") };
    Profile {
        persistent: true,
        dated: !unlimited,
        idle: Duration::from_secs(if unlimited { EVER } else { 14 * 86_400 }),
        ..Profile::foreign(KNOWN.name, Keeps::Data, JSON, cookie, spelling)
    }
}
