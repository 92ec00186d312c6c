//! payload "." timestamp "." base64url( HMAC-SHA1( K, payload "." timestamp ) )
//!
//! ```text
//! payload   = [ "." ] base64url( JSON, or with the dot zlib( JSON ) )
//! timestamp = base64url( Unix seconds, big-endian, no leading zero bytes )
//! K         = HMAC-SHA1( secret, "cookie-session" )
//! ```
//!
//! Flask's signed cookie, as Flask 3.1.3 with itsdangerous 2.2.0 writes it; both read each other's. The JSON is Python's: ASCII,
//! keys sorted, values beyond JSON as objects with one key that begins with a blank ([`value`](crate::value) has their types).
//!
//! What it cannot say: when a visit began (so there is no absolute timeout), and a timeout of a single
//! session. `_permanent` is an entry of the session, `_flashes` too, and so is Flask-Login's `_user_id`, which is the principal here; a log-in
//! also writes `_fresh`, and `_id` where it is told where the visitor comes from.
//! Anybody can read the cookie; nobody without the secret can change it.
//!
//! Where it deviates: base64 has one spelling, inside the session too (Flask also takes padding and noise); a signed payload that does
//! not decode is an empty session (Flask answers 500 for ever), and so is one with a tag around another kind of value (Flask makes a
//! tuple of a text's letters); a date in an odd zone may read as another; markup with a lone surrogate reads as text, and a name with
//! one shows as U+FFFD while its bytes stay; inflating stops at a bound; `clear` without any cookie sends nothing; blanks around a
//! cookie's `=` and quotes around its value are not taken; a permanent session is issued again after a tenth of its lifetime, not
//! with every request, unless [`Reissue::EveryRequest`](crate::Reissue::EveryRequest) is set.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    Attribute, Attributes, Body, Contents, Data, Dialect, Ending, Jar, Keeps, Known, Limits, Profile, Random, Refusal,
    SetValue, Spelling, Steps, Timestamp, Token,
    option::{self, Setter},
    wire::{
        Digest,
        inflate::Deflate,
        itsdangerous::{self, Derivation, Signer},
    },
};
use crate::{
    encoding::{Encoding, Json},
    error::Error,
    explain::signed_by,
    meaning::{self, Meaning},
    secret::{Keyring, Secret},
};

pub(super) const KNOWN: Known = Known {
    name: "Flask",
    cookies: &["session"],
    on_store: None,
    make: |keyring, options| option::made("Flask", Flask::new(keyring), SETTERS, options),
};

const SETTERS: &[Setter<Flask>] = &[
    Setter::new("compression", |flask, value| Ok(flask.compression(option::flag(value)?))),
    Setter::new("digest", |flask, value| Ok(flask.digest(option::digest(value)?))),
    Setter::new("ensure_ascii", |flask, value| Ok(flask.ensure_ascii(option::flag(value)?))),
    Setter::new("flask_login", |flask, value| Ok(flask.flask_login(option::flag(value)?))),
    Setter::new("largest_inflated", |flask, value| Ok(flask.largest_inflated(option::number(value)?))),
    Setter::new("sort_keys", |flask, value| Ok(flask.sort_keys(option::flag(value)?))),
];

/// The salt that Flask's session interface has built in.
const SALT: &[u8] = b"cookie-session";

/// What an honest cookie may inflate to. The longest that a browser keeps has 3 KiB of compressed data, and text shrinks to a twentieth at best.
const LARGEST_INFLATED: usize = 64 << 10;

/// Flask's signed cookie: a Flask application with the same secret and this one share each visitor's session.
///
/// ```
/// use dewar::{Keyring, SessionLayer, dialect::Flask};
///
/// # fn main() -> Result<(), dewar::Error> {
/// let layer = SessionLayer::new("w98fw9ef8hwe98fhwef")?.dialect(Flask::new);
/// let plain = SessionLayer::new("w98fw9ef8hwe98fhwef")?.dialect(|secrets: &Keyring| Flask::new(secrets).compression(false));
/// # let _ = (layer, plain); Ok(()) }
/// ```
///
/// `PERMANENT_SESSION_LIFETIME` is the layer's idle timeout (31 days where nothing is said), and `session.permanent = True` is
/// `session.set_lifetime(Lifetime::persistent())`.
///
/// # Security
///
/// The cookie is signed, not encrypted: the visitor can read what is in it. A copy of it is worth a session until it expires.
#[derive(Debug)]
pub struct Flask {
    profile: Profile,
    meaning: meaning::Flask,
    remember: Remember,
    secrets: Vec<Secret>,
    signer: Signer,
    json: Json,
    deflate: Deflate,
}

impl Flask {
    /// The dialect under these secrets: Flask's `SECRET_KEY` and `SECRET_KEY_FALLBACKS`.
    pub fn new(keyring: &Keyring) -> Self {
        let json = Json::FLASK;
        let secrets = keyring.secrets().to_vec();
        Self {
            profile: profile(json),
            meaning: meaning::Flask { has_login: true, begins_permanent: false },
            remember: Remember::default(),
            signer: signer(&secrets, Digest::Sha1),
            secrets,
            json,
            deflate: Deflate { enabled: true, largest: LARGEST_INFLATED },
        }
    }

    /// Whether a session is compressed where that makes it shorter, as Flask does. The default: yes. Flask reads both;
    /// without it, writing costs less time, and larger sessions more bytes.
    #[must_use]
    pub fn compression(mut self, compression: bool) -> Self {
        self.deflate.enabled = compression;
        self
    }

    /// The most bytes that a compressed session may inflate to; more is refused. The default: 64 KiB,
    /// twenty times what the longest cookie of a browser holds.
    #[must_use]
    pub fn largest_inflated(mut self, bytes: usize) -> Self {
        self.deflate.largest = bytes;
        self
    }

    /// Whether the application uses Flask-Login, so that its `_user_id` is the principal. The default: yes.
    ///
    /// Without it the session has no principal; what says whose session it is is then an entry of the application's own. Nor is there a
    /// [`remember_cookie`](Self::remember_cookie).
    #[must_use]
    pub fn flask_login(mut self, flask_login: bool) -> Self {
        self.meaning.has_login = flask_login;
        self.profile.also_removed = self.remember.also_removed(flask_login);
        self
    }

    /// Flask-Login's "remember me" cookie, where `REMEMBER_COOKIE_NAME`, `_DOMAIN` or `_PATH` is set. The default: `remember_token`, for this host
    /// and `/`.
    ///
    /// It is removed when a visit ends here (`clear`, `set_principal` of another user, the principal's entry removed), where the request has it:
    /// Flask-Login would log the visitor in again with it. It is never read, so who is remembered by it alone is nobody here until a page of
    /// Flask's has opened it.
    ///
    /// ```
    /// use dewar::{Keyring, SessionLayer, dialect::{Attributes, Flask}};
    ///
    /// # fn main() -> Result<(), dewar::Error> {
    /// let layer = SessionLayer::new("w98fw9ef8hwe98fhwef")?.dialect(|secrets: &Keyring| {
    ///     let remember = Attributes { domain: Some("example.org".into()), ..Attributes::new("remember_token") };
    ///     Flask::new(secrets).remember_cookie(remember)
    /// });
    /// # let _ = layer; Ok(()) }
    /// ```
    #[must_use]
    pub fn remember_cookie(mut self, cookie: Attributes) -> Self {
        self.remember = Remember(Some(cookie));
        self.profile.also_removed = self.remember.also_removed(self.meaning.has_login);
        self
    }

    /// The hash function, where a subclass of `SecureCookieSessionInterface` sets another `digest_method`.
    #[must_use]
    pub fn digest(mut self, digest: Digest) -> Self {
        self.signer = signer(&self.secrets, digest);
        self
    }

    /// Whether keys are sorted: `app.json.sort_keys`. The default: yes.
    #[must_use]
    pub fn sort_keys(self, sorted: bool) -> Self {
        let json = self.json.sort_keys(sorted);
        self.json(json)
    }

    /// Whether text beyond ASCII is escaped: `app.json.ensure_ascii`. The default: yes.
    #[must_use]
    pub fn ensure_ascii(self, ascii: bool) -> Self {
        let json = self.json.ascii(ascii);
        self.json(json)
    }

    fn json(mut self, json: Json) -> Self {
        self.json = json;
        self.profile.encoding = Encoding::Json(json);
        self
    }
}

impl Dialect for Flask {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn read(&self, jar: &Jar<'_>, limits: &Limits, steps: &mut Steps<'_>) -> Result<Token, Refusal> {
        let token = jar.value()?.as_bytes();
        self.explain(token, limits, steps);
        // The signer refuses the future to the second; a clock skew that was asked for is added to its present.
        let now = limits.now.after(limits.skew).as_secs();
        let signed = self.signer.unsign_at(token, now, Some(u64::MAX)).map_err(refusal)?;
        if limits.now.as_secs().saturating_sub(signed.signed_at) > u64::from(limits.idle) {
            return Err(Refusal::Expired);
        }
        let text = Bytes::from(self.deflate.read(signed.value)?);
        let data = Data::parse(self.profile.encoding, &text).ok_or(Refusal::Malformed)?;
        let permanent = self.meaning.is_persistent(&data, self.profile.encoding);
        let mut contents = Contents::new(Timestamp::from_secs(signed.signed_at), limits.idle, None, permanent);
        contents.data = data;
        Ok(Token::Data { contents, outdated: signed.secret != 0, sliding: permanent, unique: None })
    }

    fn write(
        &self,
        body: Body<'_>,
        _cookie: &str,
        now: Timestamp,
        _random: Random<'_>,
    ) -> Result<Vec<SetValue>, Error> {
        let contents = body.data("Flask", "leave out the store")?;
        let mut text = Vec::with_capacity(512);
        contents.data.write(self.profile.encoding, &mut text);
        let mut token = String::with_capacity(text.len() / 3 * 4 + 48);
        self.deflate.push(&text, &mut token);
        self.signer.sign_at_into(&mut token, now.as_secs());
        Ok(vec![SetValue::new("", token)])
    }

    fn check(&self) -> Result<(), Error> {
        self.remember.check(self.meaning.has_login)
    }

    fn meaning(&self) -> Arc<dyn Meaning> {
        Arc::new(self.meaning)
    }
}

impl Flask {
    /// What stands in a token, whether it is authentic or not.
    fn explain(&self, token: &[u8], limits: &Limits, steps: &mut Steps<'_>) {
        let mut parts = token.rsplitn(3, |byte| *byte == b'.');
        let (Some(signature), Some(issued), Some(payload)) = (parts.next(), parts.next(), parts.next()) else { return };
        steps.note("payload", || Deflate::describe(payload, self.deflate.read(payload)));
        steps.note("issued", || {
            itsdangerous::moment(issued).map_or("no time".into(), |at| limits.age(Timestamp::from_secs(at)))
        });
        steps.note("signature", || {
            let secret = self.signer.unsign(token).ok().map(|signed| signed.secret);
            format!("{} characters, {}", signature.len(), signed_by(secret, self.secrets.len()))
        });
    }
}

/// Flask-Login's "remember me" cookie, where it is another than usual.
#[derive(Debug, Default)]
pub(super) struct Remember(pub(super) Option<Attributes>);

impl Remember {
    pub(super) fn also_removed(&self, has_login: bool) -> Vec<Attributes> {
        let usual = || has_login.then(|| Attributes::new(meaning::REMEMBER_TOKEN));
        self.0.clone().or_else(usual).into_iter().collect()
    }

    /// # Errors
    ///
    /// Where a browser would not take it, or nobody would remember with it.
    pub(super) fn check(&self, has_login: bool) -> Result<(), Error> {
        let Some(remember) = &self.0 else { return Ok(()) };
        if !has_login {
            return Err(Error::setting("remember_cookie and flask_login(false) contradict each other; leave one out"));
        }
        remember.check().map_err(|why| Error::setting(format!("remember_cookie: {why}")))
    }
}

/// As Werkzeug spells a cookie.
pub(super) const SPELLING: Spelling = Spelling {
    order: &[
        Attribute::Domain,
        Attribute::Expires,
        Attribute::MaxAge,
        Attribute::Secure,
        Attribute::HttpOnly,
        Attribute::Path,
        Attribute::SameSite,
        Attribute::Partitioned,
    ],
    lower_case: &[],
    persistent: Ending::Expires,
    removal: Ending::Both,
};

/// Flask's `PERMANENT_SESSION_LIFETIME`.
pub(super) const LIFETIME: Duration = Duration::from_secs(31 * 86_400);

fn profile(json: Json) -> Profile {
    let (encoding, cookie) = (Encoding::Json(json), Attributes::new("session"));
    Profile {
        also_removed: Remember::default().also_removed(true),
        idle: LIFETIME,
        ..Profile::foreign(KNOWN.name, Keeps::Data, encoding, cookie, SPELLING)
    }
}

fn signer(secrets: &[Secret], digest: Digest) -> Signer {
    let secrets: Vec<&[u8]> = secrets.iter().map(Secret::reveal).collect();
    Signer::new(&secrets, SALT, digest, Derivation::Hmac).expect("a keyring has a secret, and HMAC takes any")
}

fn refusal(refusal: itsdangerous::Refusal) -> Refusal {
    match refusal {
        itsdangerous::Refusal::BadSignature => Refusal::BadSignature,
        itsdangerous::Refusal::Expired => Refusal::Expired,
        itsdangerous::Refusal::Future => Refusal::Future,
        itsdangerous::Refusal::Malformed => Refusal::Malformed,
    }
}
