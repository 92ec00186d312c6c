//! sess:sid = { integer-like entries, "cookie": {...}, other entries }, as JSON.stringify writes it
//!
//! `ConnectRedis`: a record as express-session 1.19.0 and connect-redis 9.0.0 write it; both read each other's.
//!
//! ```text
//! cookie  originalMaxAge (milliseconds or null), partitioned, priority, expires (ISO 8601 or null), secure, httpOnly, domain, path, sameSite
//! TTL     until expires, in whole seconds rounded up; where that is null, connect-redis's ttl: the manager's idle timeout
//! ```
//!
//! The `cookie` member is the record's lifetime: with an `originalMaxAge` the session is persistent, that is its idle timeout, and
//! `expires` moves with every write. The rest of the member keeps its bytes. express-session cannot read a record without it.
//!
//! What it cannot say: when a visit began, and an idle timeout of a session whose cookie ends with the browser.
//!
//! Where it deviates: a malformed record is an empty session under a new id (express-session answers 500); reading moves the TTL after a tenth of
//! it, not with every request; `priority` is carried in records that have it, and not set.
//!
//! A record that ended here leaves a tombstone beside it: what a slow request of Express's writes again after that is met as ended, and deleted.
//! express-session itself sees no tombstone. Once it is over (two minutes, or as long as the setting says), such a record is a session again.

use std::{iter, time::Duration};

use serde::Serialize;

use super::{Kept, Layout, Stored};
use crate::{
    cookie::{Attributes, SameSite},
    data::{Contents, Data},
    encoding::Encoding,
    error::{Error, Refusal},
    explain::Steps,
    lifetime::{GONE_FOR, Lifetime, Timestamp},
    meaning::{Holds, JSON, Reserved, Timeouts},
    value::DateTime,
};

/// The member that is express-session's own.
const COOKIE: &str = "cookie";
const MAX_AGE: &str = "originalMaxAge";
const EXPIRES: &str = "expires";

/// The members of express-session's `Session`.
pub(crate) const RESERVED: Reserved =
    Reserved(&[COOKIE, "destroy", "id", "regenerate", "reload", "req", "resetMaxAge", "save", "touch"]);

/// connect-redis's records of express-session.
#[derive(Clone, Debug)]
pub struct ConnectRedis {
    prefix: Box<str>,
    longest_request: Duration,
}

impl ConnectRedis {
    /// The layout with connect-redis's own prefix.
    pub fn new() -> Self {
        Self { prefix: "sess:".into(), longest_request: GONE_FOR }
    }

    /// What stands before the id in a record's name.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<Box<str>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How long a request of the Express application may run, which would write a session again that ended here.
    #[must_use]
    pub fn longest_request(mut self, time: Duration) -> Self {
        self.longest_request = time;
        self
    }
}

impl Default for ConnectRedis {
    fn default() -> Self {
        Self::new()
    }
}

impl Layout for ConnectRedis {
    fn encoding(&self) -> Encoding {
        JSON
    }

    fn holds(&self) -> Holds {
        Holds { timeouts: Timeouts::IdleOfPersistent, persistent: true, ..Holds::NOTHING }
    }

    fn name(&self, id: &str) -> String {
        format!("{}{id}", self.prefix)
    }

    fn longest_request(&self) -> Duration {
        self.longest_request
    }

    fn read(&self, found: &Stored, steps: &mut Steps<'_>) -> Result<Kept, Refusal> {
        let found = found.body();
        let mut data = Data::parse(JSON, found).ok_or(Refusal::Malformed)?;
        let extra = data.remove(COOKIE.as_bytes()).ok_or(Refusal::Malformed)?;
        steps.note("cookie", || String::from_utf8_lossy(&extra).into_owned());
        let lifetime = match max_age(&Data::parse(JSON, &extra).ok_or(Refusal::Malformed)?) {
            Some(max_age) => Lifetime::persistent().idle(rounded_up(max_age)),
            None => Lifetime::browser(),
        };
        RESERVED.drop_from(&mut data);
        Ok(Kept { extra, lifetime: Some(lifetime), ..Kept::new(data) })
    }

    fn write(&self, contents: &Contents, cookie: &Attributes) -> Result<Stored, Error> {
        RESERVED.check(&contents.data)?;
        let now = contents.issued;
        let member =
            if contents.extra.is_empty() { new_member(contents, cookie, now)? } else { moved_member(contents, now)? };
        let members = iter::once((COOKIE.as_bytes(), &member[..])).chain(contents.data.iter());
        let mut out = Vec::with_capacity(512);
        JSON.join(members, &mut out);
        Ok(Stored::Blob(out.into()))
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
    let mut member = Data::parse(JSON, &contents.extra)
        .ok_or_else(|| Error::entry(COOKIE.as_bytes(), "what stands beside the entries is no JSON object"))?;
    let said = max_age(&member);
    let max_age = match said {
        // What was said to the millisecond stays as it was said.
        Some(said) if contents.persistent && rounded_up(said) == idle(contents) => Some(said),
        _ => contents.persistent.then(|| idle(contents)),
    };
    if max_age.is_none() && said.is_none() {
        return Ok(contents.extra.to_vec());
    }
    if max_age != said {
        member.insert(MAX_AGE.as_bytes(), encode(&max_age.map(in_millis))?);
    }
    member.insert(EXPIRES.as_bytes(), encode(&max_age.map(|max_age| iso(now.after(max_age))))?);
    let mut out = Vec::with_capacity(contents.extra.len() + 32);
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
