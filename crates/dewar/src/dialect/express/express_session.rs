//! connect.sid = percent-encode( "s:" sid "." base64( HMAC-SHA256( secret, sid ) ) ); record "sess:" sid = JSON
//!
//! `ExpressSession`: a signed id in the cookie and the session in a store, as express-session 1.19.0 (with cookie-signature 1.0.7)
//! and connect-redis 9.0.0 write them; both read each other's.
//!
//! ```text
//! sid     base64url( 24 random bytes )
//! base64  without padding; percent-encoding as encodeURIComponent's
//! record  { integer-like entries, "cookie": {...}, other entries }
//! cookie  originalMaxAge (milliseconds or null), partitioned, priority, expires (ISO 8601 or null), secure, httpOnly, domain, path, sameSite
//! TTL     until expires, in whole seconds rounded up; where that is null, connect-redis's ttl: the layer's idle timeout
//! ```
//!
//! The `cookie` member is the record's lifetime: with an `originalMaxAge` the session is persistent, that is its idle timeout, and
//! `expires` moves with every write. The rest of the member keeps its bytes. express-session cannot read a record without it.
//!
//! What it cannot say: when a visit began, and whose it is (`passport` is an entry like any other).
//!
//! Where it deviates: a malformed record is an empty session under a new id (express-session answers 500); `clear` also removes the
//! browser's cookie (`destroy` leaves it); after an older secret the cookie is signed again; a persistent session's cookie is issued
//! again after a tenth of its lifetime (express-session: with every change, or with `rolling` always); reading moves the TTL
//! after a tenth of it, not with every request; a session whose last entry was removed is removed; `priority` is carried in
//! records that have it, and not set.

use std::{iter, time::Duration};

use bytes::Bytes;
use serde::Serialize;

use super::{JSON, Reserved};
use crate::{
    cookie::SameSite,
    dialect::{
        Attribute, Attributes, Body, Contents, Cookies, Data, Dialect, Duplicates, Ending, Keeps, Limits, Policy,
        Random, RecordData, Refusal, SessionId, Spelling, Timestamp, Token,
        wire::cookie_signature::{CookieSigner, percent_decode, percent_encode},
    },
    encoding::base64,
    error::Error,
    lifetime::Lifetime,
    secret::{Keyring, Secret},
    value::DateTime,
};

/// The member that is express-session's own.
const COOKIE: &str = "cookie";
const MAX_AGE: &str = "originalMaxAge";
const EXPIRES: &str = "expires";

/// The members of express-session's `Session`.
const RESERVED: Reserved =
    Reserved(&[COOKIE, "destroy", "id", "regenerate", "reload", "req", "resetMaxAge", "save", "touch"]);

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
/// whether it is persistent: `req.session.cookie.maxAge = null` is `session.set_lifetime(Lifetime::browser())`.
///
/// # Security
///
/// The id names the record in the store: whoever can read the store can act as any visitor if they also have the secret.
/// express-session overwrites a record without looking, so where a request of its own races with one here, its write wins; a
/// slow one can bring an ended session back.
#[derive(Debug)]
pub struct ExpressSession {
    policy: Policy,
    signer: CookieSigner,
    prefix: Box<str>,
}

impl ExpressSession {
    /// The dialect under these secrets: express-session's `secret`, one or a list.
    pub fn new(keyring: &Keyring) -> Self {
        let secrets: Vec<&[u8]> = keyring.secrets().iter().map(Secret::reveal).collect();
        let signer = CookieSigner::new(&secrets).expect("a keyring has a secret");
        Self { policy: policy(), signer, prefix: "sess:".into() }
    }

    /// What stands before the id in the record's name: connect-redis's `prefix`. The default: `sess:`.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<Box<str>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    fn id(&self, sid: &str) -> SessionId {
        SessionId::foreign(sid, format!("{}{sid}", self.prefix))
    }
}

impl Dialect for ExpressSession {
    fn policy(&self) -> &Policy {
        &self.policy
    }

    fn read(&self, cookies: &Cookies<'_>, _limits: &Limits) -> Result<Token, Refusal> {
        let text = percent_decode(cookies.value()).ok_or(Refusal::Malformed)?;
        let signed = text.strip_prefix("s:").ok_or(Refusal::Malformed)?;
        let (sid, secret) = self.signer.unsign(signed).ok_or(Refusal::BadSignature)?;
        if sid.is_empty() {
            return Err(Refusal::Malformed);
        }
        Ok(Token::Id { id: self.id(sid), outdated: secret != 0 })
    }

    fn write(&self, body: Body<'_>, _cookie: &str, _now: Timestamp, _random: Random<'_>) -> Result<Vec<String>, Error> {
        match body {
            Body::Id(id) => Ok(vec![percent_encode(&format!("s:{}", self.signer.sign(id.reveal())))]),
            Body::Data(_) => {
                Err(Error::setting("the dialect ExpressSession needs a store: add .store(...) to the SessionLayer"))
            }
        }
    }

    fn new_id(&self, random: Random<'_>) -> SessionId {
        let mut bytes = [0; 24];
        random(&mut bytes);
        let mut sid = String::with_capacity(32);
        base64::push_url(&bytes, &mut sid);
        self.id(&sid)
    }

    fn read_record(&self, data: &Bytes) -> Option<RecordData> {
        let mut data = Data::parse(JSON, data)?;
        let beside = data.remove(COOKIE.as_bytes())?;
        let lifetime = match max_age(&Data::parse(JSON, &beside)?) {
            Some(max_age) => Lifetime::persistent().idle(rounded_up(max_age)),
            None => Lifetime::browser(),
        };
        RESERVED.drop_from(&mut data);
        Some(RecordData { data, beside, lifetime: Some(lifetime) })
    }

    fn write_record(&self, contents: &Contents, cookie: &Attributes, now: Timestamp) -> Result<Bytes, Error> {
        RESERVED.check(&contents.data)?;
        let member =
            if contents.beside.is_empty() { new_member(contents, cookie, now)? } else { moved_member(contents, now)? };
        let members = iter::once((COOKIE.as_bytes(), &member[..])).chain(contents.data.iter());
        let mut out = Vec::with_capacity(512);
        JSON.join(members, &mut out);
        Ok(out.into())
    }
}

/// The `cookie` member as express-session writes it, members that are undefined there left out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CookieMember<'a> {
    original_max_age: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitioned: Option<bool>,
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secure: Option<bool>,
    http_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a str>,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    same_site: Option<&'static str>,
}

/// The member of a session that is new: the layer's cookie, which Express sets again by it.
fn new_member(contents: &Contents, cookie: &Attributes, now: Timestamp) -> Result<Vec<u8>, Error> {
    let max_age = contents.persistent.then(|| idle(contents));
    encode(&CookieMember {
        original_max_age: max_age.map(in_millis),
        partitioned: cookie.partitioned.then_some(true),
        expires: max_age.map(|max_age| iso(now.after(max_age))),
        secure: cookie.secure.then_some(true),
        http_only: cookie.http_only,
        domain: cookie.domain.as_deref(),
        path: &cookie.path,
        same_site: cookie.same_site.map(|same_site| match same_site {
            SameSite::Strict => "strict",
            SameSite::Lax => "lax",
            SameSite::None => "none",
        }),
    })
}

/// The member that is there, with its two times as the session now has them.
fn moved_member(contents: &Contents, now: Timestamp) -> Result<Vec<u8>, Error> {
    let mut member = Data::parse(JSON, &contents.beside).unwrap_or_default();
    let said = max_age(&member);
    let max_age = match said {
        // What was said to the millisecond stays as it was said.
        Some(said) if contents.persistent && rounded_up(said) == idle(contents) => Some(said),
        _ => contents.persistent.then(|| idle(contents)),
    };
    if max_age.is_none() && said.is_none() {
        return Ok(contents.beside.to_vec());
    }
    if max_age != said {
        member.insert(MAX_AGE.as_bytes(), encode(&max_age.map(in_millis))?);
    }
    member.insert(EXPIRES.as_bytes(), encode(&max_age.map(|max_age| iso(now.after(max_age))))?);
    let mut out = Vec::with_capacity(contents.beside.len() + 32);
    member.write(JSON, &mut out);
    Ok(out)
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    JSON.write(value).map_err(|why| Error::entry(COOKIE.as_bytes(), why))
}

/// The member's `originalMaxAge`, where it says one that a session could live for.
fn max_age(member: &Data) -> Option<Duration> {
    let millis: f64 = JSON.read(member.get(MAX_AGE.as_bytes())?).ok()?;
    // Beyond it lies the end of JavaScript's time (ECMA-262, 21.4.1.1).
    (1.0..=8.64e15).contains(&millis).then(|| Duration::from_millis(millis as u64))
}

fn idle(contents: &Contents) -> Duration {
    Duration::from_secs(contents.idle.into())
}

/// Whole seconds, as Redis and a session count them.
fn rounded_up(time: Duration) -> Duration {
    Duration::from_secs(time.as_millis().div_ceil(1000).min(u32::MAX.into()) as u64)
}

fn in_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// `2023-11-14T22:13:20.000Z`: JavaScript's `toISOString`. The year 9999 is the last.
fn iso(moment: Timestamp) -> String {
    let seconds = i64::try_from(moment.as_secs()).ok();
    match seconds.and_then(|seconds| DateTime::from_unix(seconds, 0)) {
        Some(second) => format!("{}.{:03}Z", second.to_string().trim_end_matches('Z'), moment.as_millis() % 1000),
        None => "9999-12-31T23:59:59.999Z".to_owned(),
    }
}

fn policy() -> Policy {
    use Attribute::{Domain, Expires, HttpOnly, Partitioned, Path, SameSite, Secure};
    Policy {
        keeps: Keeps::Id,
        encoding: JSON,
        cookie: Attributes::new("connect.sid"),
        suffixes: &[""],
        spelling: Spelling {
            order: &[Domain, Path, Expires, HttpOnly, Secure, Partitioned, SameSite],
            lower_case: false,
            persistent: Ending::Expires,
            removal: Ending::Expires,
        },
        duplicates: Duplicates::First,
        keeps_facts: false,
        dated: true,
        idle: Duration::from_secs(86_400),
        absolute: None,
        persistent: false,
        skew: Duration::ZERO,
        persistent_entry: None,
        principal_entry: None,
    }
}
