//! session = sid, or with SESSION_USE_SIGNER sid "." base64url( HMAC-SHA1( K, sid ) )
//!
//! ```text
//! sid = base64url( 32 random bytes ): 43 characters
//! K   = HMAC-SHA1( secret, "flask-session" )
//! ```
//!
//! `FlaskSession`: an id in the cookie and the session in Redis, as Flask-Session 0.8.0 with Flask 3.1.3 and msgspec 0.22.0 keeps it; each reads the
//! other's. The record is [`layout::FlaskSession`]'s.
//!
//! What it cannot say: when a visit began (so there is no absolute timeout), and a timeout of a single session. `_permanent` is an entry of the session,
//! `_flashes` too, and so is Flask-Login's `_user_id`, which is the principal here; a log-in also writes `_fresh`, and `_id` where it is told where the visitor comes from.
//!
//! Where it deviates: an id is base64url, of any length up to 128 (Flask-Session looks for whatever it is given); a signature has one spelling; after an older secret the
//! cookie is signed again (Flask-Session knows one secret); a permanent session's cookie is issued again after a tenth of its lifetime, not with every request; a removal
//! repeats `HttpOnly`; a session of which only `_permanent` is left loses its cookie at once and its record after two minutes; `clear` without any cookie sends nothing; a plain renewal leaves the former id its successor for half a minute.

use std::{sync::Arc, time::Duration};

use super::{
    Attributes, Body, Dialect, Jar, Keeps, Known, Limits, Profile, Random, Refusal, SessionId, SetValue, Steps,
    Timestamp, Token,
    flask::{LIFETIME, Remember, SPELLING},
    option::{self, Setter},
    wire::{
        Digest,
        itsdangerous::{Derivation, Signer},
    },
};
use crate::{
    encoding::base64,
    error::Error,
    explain::signed_by,
    layout::{self, Layout, SerializationFormat},
    meaning::{self, Meaning},
    secret::{Keyring, Secret},
};

pub(super) const KNOWN: Known = Known {
    name: "Flask-Session",
    cookies: &["session"],
    on_store: None,
    make: |keyring, options| option::made("Flask-Session", FlaskSession::new(keyring), SETTERS, options),
};

const SETTERS: &[Setter<FlaskSession>] = &[
    Setter::new("flask_login", |dialect, value| Ok(dialect.flask_login(option::flag(value)?))),
    Setter::new("format", |dialect, value| Ok(dialect.format(format(value)?))),
    Setter::new("key_prefix", |dialect, value| Ok(dialect.key_prefix(value))),
    Setter::new("longest_request", |dialect, value| {
        Ok(dialect.longest_request(Duration::from_secs(option::number(value)?)))
    }),
    Setter::new("permanent", |dialect, value| Ok(dialect.permanent(option::flag(value)?))),
    Setter::new("use_signer", |dialect, value| Ok(dialect.use_signer(option::flag(value)?))),
];

fn format(value: &str) -> Result<SerializationFormat, String> {
    match value {
        "msgpack" => Ok(SerializationFormat::MsgPack),
        "json" => Ok(SerializationFormat::Json),
        _ => Err("write msgpack or json".into()),
    }
}

/// The salt that Flask-Session has built in.
const SALT: &[u8] = b"flask-session";

/// The longest id that is looked for: three times Flask-Session's own.
const LONGEST: usize = 128;

/// Flask-Session's id, with the record behind it in Redis: a Flask application with the same Redis and this one share each visitor's session.
///
/// ```
/// use dewar::{Keyring, SessionLayer, dialect::{FlaskSession, SerializationFormat}, store::memory::MemoryStore};
///
/// # fn main() -> Result<(), dewar::Error> {
/// // SESSION_TYPE = "redis"
/// let layer = SessionLayer::new("w98fw9ef8hwe98fhwef")?.dialect(FlaskSession::new).store(MemoryStore::new());
///
/// // SESSION_KEY_PREFIX = "shop:", SESSION_USE_SIGNER = True, SESSION_SERIALIZATION_FORMAT = "json"
/// let other = SessionLayer::new("w98fw9ef8hwe98fhwef")?
///     .dialect(|secrets: &Keyring| {
///         FlaskSession::new(secrets).key_prefix("shop:").use_signer(true).format(SerializationFormat::Json)
///     })
///     .store(MemoryStore::new());
/// # layer.manager()?; other.manager()?; Ok(()) }
/// ```
///
/// (A store that both applications reach is one in Redis.) `SECRET_KEY` is the secret; it is used where ids are signed. `PERMANENT_SESSION_LIFETIME` is the layer's
/// idle timeout (31 days where nothing is said), and `session.permanent = False` is `session.set_lifetime(Lifetime::browser())`.
///
/// # Security
///
/// The id names the record: whoever can read Redis can act as any visitor. Flask-Session overwrites a record without looking, and with every request, also one that
/// only reads: where a request of its own races with one here, its write wins. A slow one of its requests writes a session again that ended here: for
/// [`longest_request`](Self::longest_request) that record counts as ended here, and goes when it is met; there it is a session until then. Flask-Session runs what is in a
/// record that it can read neither as MessagePack nor as JSON: let nobody else write to that Redis.
#[derive(Debug)]
pub struct FlaskSession {
    profile: Profile,
    meaning: meaning::Flask,
    remember: Remember,
    layout: layout::FlaskSession,
    signer: Signer,
    use_signer: bool,
    secrets: usize,
}

impl FlaskSession {
    /// The dialect under these secrets: Flask's `SECRET_KEY`, and those of before.
    pub fn new(keyring: &Keyring) -> Self {
        let secrets: Vec<&[u8]> = keyring.secrets().iter().map(Secret::reveal).collect();
        let signer = Signer::new(&secrets, SALT, Digest::Sha1, Derivation::Hmac);
        Self {
            profile: profile(),
            meaning: meaning::Flask { has_login: true, begins_permanent: true },
            remember: Remember::default(),
            layout: layout::FlaskSession::new(),
            signer: signer.expect("a keyring has a secret, and HMAC takes any"),
            use_signer: false,
            secrets: secrets.len(),
        }
    }

    /// How records are written: `SESSION_SERIALIZATION_FORMAT`. The default: MessagePack. Both are read.
    #[must_use]
    pub fn format(mut self, format: SerializationFormat) -> Self {
        self.layout = self.layout.format(format);
        self.profile.encoding = format.encoding();
        self
    }

    /// What stands before the id in the record's name: `SESSION_KEY_PREFIX`. The default: `session:`.
    #[must_use]
    pub fn key_prefix(mut self, prefix: impl Into<Box<str>>) -> Self {
        self.layout = self.layout.prefix(prefix);
        self
    }

    /// Whether the id is signed: `SESSION_USE_SIGNER`. The default: no.
    #[must_use]
    pub fn use_signer(mut self, use_signer: bool) -> Self {
        self.use_signer = use_signer;
        self
    }

    /// Whether a session begins with a cookie that outlives the browser: `SESSION_PERMANENT`. The default: yes.
    #[must_use]
    pub fn permanent(mut self, permanent: bool) -> Self {
        self.meaning.begins_permanent = permanent;
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

    /// Flask-Login's "remember me" cookie, as in [`Flask::remember_cookie`](super::Flask::remember_cookie).
    #[must_use]
    pub fn remember_cookie(mut self, cookie: Attributes) -> Self {
        self.remember = Remember(Some(cookie));
        self.profile.also_removed = self.remember.also_removed(self.meaning.has_login);
        self
    }

    /// How long a request of the Flask application may run: so long a session that ended here stays ended, also where that request writes it again.
    /// The default: two minutes.
    #[must_use]
    pub fn longest_request(mut self, time: Duration) -> Self {
        self.layout = self.layout.longest_request(time);
        self
    }
}

impl Dialect for FlaskSession {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn read(&self, jar: &Jar<'_>, _limits: &Limits, steps: &mut Steps<'_>) -> Result<Token, Refusal> {
        let token = jar.value()?;
        let (id, secret) = if self.use_signer {
            let signed = self.signer.unsign(token.as_bytes());
            steps.note("signature", || signed_by(signed.ok().map(|signed| signed.secret), self.secrets));
            let signed = signed.map_err(|_| Refusal::BadSignature)?;
            (std::str::from_utf8(signed.value).map_err(|_| Refusal::Malformed)?, signed.secret)
        } else {
            (token, 0)
        };
        steps.note("id", || format!("{} characters", id.chars().count()));
        let is_of_an_id = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !(1..=LONGEST).contains(&id.len()) || !id.bytes().all(is_of_an_id) {
            return Err(Refusal::Malformed);
        }
        Ok(Token::Id { id: SessionId::foreign(id), outdated: secret != 0 })
    }

    fn write(
        &self,
        body: Body<'_>,
        _cookie: &str,
        _now: Timestamp,
        _random: Random<'_>,
    ) -> Result<Vec<SetValue>, Error> {
        let mut value = body.id(KNOWN.name)?.reveal().to_owned();
        if self.use_signer {
            self.signer.sign_into(&mut value);
        }
        Ok(vec![SetValue::new("", value)])
    }

    fn new_id(&self, random: Random<'_>) -> SessionId {
        let mut bytes = [0; 32];
        random(&mut bytes);
        let mut sid = String::with_capacity(43);
        base64::push_url(&bytes, &mut sid);
        SessionId::foreign(&sid)
    }

    fn check(&self) -> Result<(), Error> {
        self.remember.check(self.meaning.has_login)
    }

    fn meaning(&self) -> Arc<dyn Meaning> {
        Arc::new(self.meaning)
    }

    fn layout(&self) -> Option<Arc<dyn Layout>> {
        Some(Arc::new(self.layout.clone()))
    }
}

fn profile() -> Profile {
    let (encoding, cookie) = (SerializationFormat::default().encoding(), Attributes::new("session"));
    Profile {
        also_removed: Remember::default().also_removed(true),
        idle: LIFETIME,
        ..Profile::foreign(KNOWN.name, Keeps::Id, encoding, cookie, SPELLING)
    }
}
