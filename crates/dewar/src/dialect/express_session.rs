//! connect.sid = percent-encode( "s:" sid "." base64( HMAC-SHA256( secret, sid ) ) )
//!
//! `ExpressSession`: a signed id in the cookie and the session in a store, as express-session 1.19.0 (with cookie-signature 1.0.7) writes it; both
//! read each other's.
//!
//! ```text
//! sid     base64url( 24 random bytes )
//! base64  without padding; percent-encoding as encodeURIComponent's
//! ```
//!
//! Where it deviates: `clear` also removes the browser's cookie (`destroy` leaves it); after an older secret the cookie is signed again; a
//! persistent session's cookie is issued again after a tenth of its lifetime (express-session: with every change, or with `rolling` always);
//! a session whose last entry was removed is removed.

use std::{sync::Arc, time::Duration};

use super::{
    Attribute, Attributes, Body, Dialect, Ending, Jar, Keeps, Known, Limits, Profile, Random, Refusal, SessionId,
    SetValue, Spelling, Steps, Timestamp, Token,
    option::{self, Setter},
    wire::cookie_signature::{CookieSigner, percent_decode, percent_encode},
};
use crate::{
    encoding::base64,
    error::Error,
    explain::signed_by,
    layout::{self, ConnectRedis, Layout},
    meaning::{Express, JSON, Meaning},
    secret::{Keyring, Secret},
};

pub(super) const KNOWN: Known = Known {
    name: "express-session",
    cookies: &["connect.sid"],
    on_store: None,
    make: |keyring, options| option::made("express-session", ExpressSession::new(keyring), SETTERS, options),
};

const SETTERS: &[Setter<ExpressSession>] = &[
    Setter::new("longest_request", |dialect, value| {
        Ok(dialect.longest_request(Duration::from_secs(option::number(value)?)))
    }),
    Setter::new("passport", |dialect, value| Ok(if option::flag(value)? { dialect.passport() } else { dialect })),
    Setter::new("prefix", |dialect, value| Ok(dialect.prefix(value))),
    Setter::new("principal_entry", |dialect, value| Ok(dialect.principal_entry(value))),
];

/// express-session's signed id, with connect-redis's record behind it: an Express application with the same secret and store and this
/// one share each visitor's session.
///
/// ```
/// use std::time::Duration;
/// use dewar::{Keyring, Lifetime, SessionLayer, dialect::ExpressSession, store::memory::MemoryStore};
///
/// # fn main() -> Result<(), dewar::Error> {
/// // session({ secret: 'w98fw9ef8hwe98fhwef', store: new RedisStore({ client }) })
/// let layer = SessionLayer::new("w98fw9ef8hwe98fhwef")?.dialect(ExpressSession::new).store(MemoryStore::new());
///
/// // session({ secret, name: 'sid', cookie: { maxAge: 3600000 }, store: new RedisStore({ client, prefix: 'app:' }) })
/// let other = SessionLayer::new("w98fw9ef8hwe98fhwef")?
///     .dialect(|secrets: &Keyring| ExpressSession::new(secrets).prefix("app:"))
///     .store(MemoryStore::new())
///     .cookie_name("sid")
///     .lifetime(Lifetime::persistent().idle(Duration::from_secs(3600)));
/// # layer.manager()?; other.manager()?; Ok(()) }
/// ```
///
/// (A store that both applications reach is one in Redis.) `cookie.maxAge` is the idle timeout of a persistent lifetime, connect-redis's
/// `ttl` that of any other: a day, where neither side says anything else. Let both sides say the same. A session says by itself
/// whether it is persistent, and for how long: `req.session.cookie.maxAge = 3600000` is
/// `session.set_lifetime(Lifetime::persistent().idle(Duration::from_secs(3600)))`, and `null` is `session.set_lifetime(Lifetime::browser())`. Messages
/// are kept as connect-flash keeps them.
///
/// # Security
///
/// The id names the record in the store: whoever can read the store can act as any visitor if they also have the secret.
/// express-session overwrites a record without looking, so where a request of its own races with one here, its write wins. A slow one of its
/// requests writes a session again that ended here: for [`longest_request`](Self::longest_request) that record counts as ended here, and goes when it
/// is met; there it is a session until then.
#[derive(Debug)]
pub struct ExpressSession {
    profile: Profile,
    meaning: Express,
    layout: ConnectRedis,
    signer: CookieSigner,
    secrets: usize,
}

impl ExpressSession {
    /// The dialect under these secrets: express-session's `secret`, one or a list.
    pub fn new(keyring: &Keyring) -> Self {
        let secrets: Vec<&[u8]> = keyring.secrets().iter().map(Secret::reveal).collect();
        let signer = CookieSigner::new(&secrets).expect("a keyring has a secret");
        Self {
            profile: profile(),
            meaning: Express::default(),
            layout: ConnectRedis::new(),
            signer,
            secrets: secrets.len(),
        }
    }

    /// What stands before the id in the record's name: connect-redis's `prefix`. The default: `sess:`.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<Box<str>>) -> Self {
        self.layout = self.layout.prefix(prefix);
        self
    }

    /// How long a request of the Express application may run: so long a session that ended here stays ended, also where that request writes it again.
    /// The default: two minutes.
    #[must_use]
    pub fn longest_request(mut self, time: Duration) -> Self {
        self.layout = self.layout.longest_request(time);
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
}

impl Dialect for ExpressSession {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn read(&self, jar: &Jar<'_>, _limits: &Limits, steps: &mut Steps<'_>) -> Result<Token, Refusal> {
        let text = percent_decode(jar.value()?).ok_or(Refusal::Malformed)?;
        let signed = text.strip_prefix("s:").ok_or(Refusal::Malformed)?;
        let unsigned = self.signer.unsign(signed);
        steps.note("signature", || signed_by(unsigned.map(|(_, secret)| secret), self.secrets));
        let (sid, secret) = unsigned.ok_or(Refusal::BadSignature)?;
        if sid.is_empty() {
            return Err(Refusal::Malformed);
        }
        Ok(Token::Id { id: SessionId::foreign(sid), outdated: secret != 0 })
    }

    fn write(
        &self,
        body: Body<'_>,
        _cookie: &str,
        _now: Timestamp,
        _random: Random<'_>,
    ) -> Result<Vec<SetValue>, Error> {
        let signed = self.signer.sign(body.id("ExpressSession")?.reveal());
        Ok(vec![SetValue::new("", percent_encode(&format!("s:{signed}")))])
    }

    fn new_id(&self, random: Random<'_>) -> SessionId {
        let mut bytes = [0; 24];
        random(&mut bytes);
        let mut sid = String::with_capacity(32);
        base64::push_url(&bytes, &mut sid);
        SessionId::foreign(&sid)
    }

    fn check(&self) -> Result<(), Error> {
        self.meaning.check(&layout::RESERVED)
    }

    fn meaning(&self) -> Arc<dyn Meaning> {
        Arc::new(self.meaning.clone())
    }

    fn layout(&self) -> Option<Arc<dyn Layout>> {
        Some(Arc::new(self.layout.clone()))
    }
}

fn profile() -> Profile {
    use Attribute::{Domain, Expires, HttpOnly, Partitioned, Path, SameSite, Secure};
    let spelling = Spelling {
        order: &[Domain, Path, Expires, HttpOnly, Secure, Partitioned, SameSite],
        lower_case: &[],
        persistent: Ending::Expires,
        removal: Ending::Expires,
    };
    Profile::foreign(KNOWN.name, Keeps::Id, JSON, Attributes::new("connect.sid"), spelling)
}
