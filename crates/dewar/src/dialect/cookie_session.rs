//! session = base64( JSON ); session.sig = base64url( HMAC-SHA1( key, "session=" value ) )
//!
//! `CookieSession`: the session itself, signed, in one cookie, and its signature in a second, as cookie-session 2.1.1 (with `cookies`
//! 0.9.1 and Keygrip 1.1.0) writes them; both read each other's. The base64 of the session is padded and not percent-encoded, that of
//! the signature has no padding. The cookie's name is signed with it.
//!
//! What it cannot say: when a session began or was written. Nothing expires on the server; `maxAge` is a matter of the browser.
//!
//! Where it deviates: base64 has one spelling, and the JSON must be an object (cookie-session also takes the URL-safe alphabet,
//! quotes around the value, bytes that are not UTF-8, lists and numbers, none of which it writes); a bad signature leaves the cookies
//! alone (cookie-session removes the second); after an older key both cookies are set again, not the second alone; a session whose last
//! entry was removed is removed (cookie-session keeps `{}`).

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Attribute, Attributes, Body, Contents, Data, Dialect, Ending, Jar, Keeps, Known, Limits, Profile, Random, Refusal,
    SetValue, Spelling, Steps, Timestamp, Token,
    option::{self, Setter},
    wire::{Digest, keygrip::Keygrip},
};
use crate::{
    encoding::base64,
    error::Error,
    explain::signed_by,
    meaning::{Express, JSON, Meaning, Reserved},
    secret::{Keyring, Secret},
};

pub(super) const KNOWN: Known = Known {
    name: "cookie-session",
    cookies: &["session", "session.sig"],
    on_store: None,
    make: |keyring, options| option::made("cookie-session", CookieSession::new(keyring), SETTERS, options),
};

const SETTERS: &[Setter<CookieSession>] = &[
    Setter::new("digest", |dialect, value| Ok(dialect.digest(option::digest(value)?))),
    Setter::new("passport", |dialect, value| Ok(if option::flag(value)? { dialect.passport() } else { dialect })),
    Setter::new("principal_entry", |dialect, value| Ok(dialect.principal_entry(value))),
];

/// The members of cookie-session's `Session`.
const RESERVED: Reserved = Reserved(&["_ctx", "isChanged", "isNew", "isPopulated"]);

/// What stands behind the name of the cookie with the signature.
const SIGNATURE: &str = ".sig";

/// cookie-session's two cookies: an Express application with the same keys and this one share each visitor's session.
///
/// ```
/// use std::time::Duration;
/// use dewar::{Keyring, Lifetime, SessionLayer, dialect::{CookieSession, Digest}};
///
/// # fn main() -> Result<(), dewar::Error> {
/// // cookieSession({ keys: ['w98fw9ef8hwe98fhwef'] })
/// let layer = SessionLayer::new("w98fw9ef8hwe98fhwef")?.dialect(CookieSession::new);
///
/// // cookieSession({ name: 'app', keys: new Keygrip(['w98fw9ef8hwe98fhwef'], 'sha256'), maxAge: 3600000 })
/// let other = SessionLayer::new("w98fw9ef8hwe98fhwef")?
///     .dialect(|keys: &Keyring| CookieSession::new(keys).digest(Digest::Sha256))
///     .cookie_name("app")
///     .lifetime(Lifetime::persistent().idle(Duration::from_secs(3600)));
/// # layer.manager()?; other.manager()?; Ok(()) }
/// ```
///
/// cookie-session's `keys` are the secret and its fallbacks, its `name` is the layer's cookie name (the second cookie's follows),
/// and its `maxAge` the idle timeout of a persistent lifetime. Messages are kept as connect-flash keeps them.
///
/// # Security
///
/// The cookie is signed, not encrypted: the visitor can read what is in it. It carries no time: a copy of it is worth a session
/// for as long as its key is on the keyring, whatever `maxAge` says, and also after a log-out.
#[derive(Debug)]
pub struct CookieSession {
    profile: Profile,
    meaning: Express,
    secrets: Vec<Secret>,
    /// `None`: nothing is signed.
    keys: Option<Keygrip>,
}

impl CookieSession {
    /// The dialect under these keys: cookie-session's `keys`, or its `secret`.
    pub fn new(keyring: &Keyring) -> Self {
        let secrets = keyring.secrets().to_vec();
        Self { profile: profile(), meaning: Express::default(), keys: Some(keygrip(&secrets, Digest::Sha1)), secrets }
    }

    /// The hash function of the signature, where the application gives `keys` as a Keygrip of its own. The default: SHA-1.
    #[must_use]
    pub fn digest(mut self, digest: Digest) -> Self {
        self.keys = self.keys.map(|_| keygrip(&self.secrets, digest));
        self
    }

    /// One cookie without a signature: cookie-session's `signed: false`.
    ///
    /// # Security
    ///
    /// Anybody can then write any session. Only for what may as well be a cookie of the visitor's own.
    #[must_use]
    pub fn dangerously_unsigned(mut self) -> Self {
        self.keys = None;
        self
    }

    /// The principal is Passport's user: `session.passport.user`. The default: no entry says whose session it is.
    #[must_use]
    pub fn passport(mut self) -> Self {
        self.meaning.passport();
        self
    }

    /// The principal is in an entry of the application's own: `session.userId = 7`.
    #[must_use]
    pub fn principal_entry(mut self, entry: &str) -> Self {
        self.meaning.principal_entry(entry);
        self
    }

    /// The value, and its signature where there is one.
    fn signed(&self, cookie: &str, value: String) -> Vec<SetValue> {
        match &self.keys {
            Some(keys) => {
                let signature = keys.sign(signed_text(cookie, &value).as_bytes());
                vec![SetValue::new("", value), SetValue::new(SIGNATURE, signature)]
            }
            None => vec![SetValue::new("", value)],
        }
    }
}

impl Dialect for CookieSession {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn read(&self, jar: &Jar<'_>, limits: &Limits, steps: &mut Steps<'_>) -> Result<Token, Refusal> {
        let value = jar.value()?;
        steps.note("payload", || match base64::decode_standard(value.as_bytes()) {
            Some(text) => format!("{} bytes of JSON", text.len()),
            None => "no base64".into(),
        });
        let key = match &self.keys {
            Some(keys) => {
                let signature = jar.get(SIGNATURE)?;
                let signed = signed_text(jar.name(), value);
                let key = signature.and_then(|signature| keys.index(signed.as_bytes(), signature));
                steps.note("signature", || match signature {
                    Some(_) => signed_by(key, self.secrets.len()),
                    None => format!("missing: there is no cookie {}{SIGNATURE}", jar.name()),
                });
                key.ok_or(Refusal::BadSignature)?
            }
            None => 0,
        };
        let text = base64::decode_standard(value.as_bytes()).map(Bytes::from).ok_or(Refusal::Malformed)?;
        // Nobody knows when it was written: now is as good a guess as any, and never an end.
        let mut contents = Contents::new(limits.now, limits.idle, None, limits.persistent);
        contents.data = Data::parse(JSON, &text).ok_or(Refusal::Malformed)?;
        RESERVED.drop_from(&mut contents.data);
        Ok(Token::Data { contents, outdated: key != 0, sliding: limits.persistent, unique: None })
    }

    fn write(
        &self,
        body: Body<'_>,
        cookie: &str,
        _now: Timestamp,
        _random: Random<'_>,
    ) -> Result<Vec<SetValue>, Error> {
        let contents = body.data("CookieSession", "on a store use ExpressSession")?;
        RESERVED.check(&contents.data)?;
        let mut text = Vec::with_capacity(512);
        contents.data.write(JSON, &mut text);
        let mut value = Vec::with_capacity(text.len().div_ceil(3) * 4);
        base64::encode_standard(&text, &mut value);
        Ok(self.signed(cookie, String::from_utf8(value).expect("base64 is ASCII")))
    }

    /// The second cookie still carries a signature, of a first one without a value.
    fn removal(&self, cookie: &str) -> Vec<SetValue> {
        self.signed(cookie, String::new())
    }

    fn check(&self) -> Result<(), Error> {
        self.meaning.check(&RESERVED)
    }

    fn meaning(&self) -> Arc<dyn Meaning> {
        Arc::new(self.meaning.clone())
    }
}

fn signed_text(cookie: &str, value: &str) -> String {
    format!("{cookie}={value}")
}

fn keygrip(secrets: &[Secret], digest: Digest) -> Keygrip {
    let keys: Vec<&[u8]> = secrets.iter().map(Secret::reveal).collect();
    Keygrip::new(&keys, digest).expect("a keyring has a secret")
}

fn profile() -> Profile {
    use Attribute::{Domain, Expires, HttpOnly, Partitioned, Path, SameSite, Secure};
    const EVERY_ATTRIBUTE: &[Attribute] = &[Path, Expires, Domain, SameSite, Secure, HttpOnly, Partitioned];
    let spelling = Spelling {
        order: EVERY_ATTRIBUTE,
        lower_case: EVERY_ATTRIBUTE,
        persistent: Ending::Expires,
        removal: Ending::Expires,
    };
    Profile { dated: false, ..Profile::foreign(KNOWN.name, Keeps::Data, JSON, Attributes::new("session"), spelling) }
}
