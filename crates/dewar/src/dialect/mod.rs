//! How one framework writes a session: the [`Dialect`] trait, and one file a framework.
//!
//! A dialect is pure: text and bytes in, text and bytes out, with time and randomness as
//! arguments. It knows no store, no HTTP library and no runtime. What differs from one to the next
//! and is not computed stands in its [`Policy`], as data.

use std::{fmt, time::Duration};

use bytes::Bytes;

pub use crate::{
    cookie::{Attribute, Attributes, Ending, SameSite, Spelling},
    data::{Contents, Data},
    error::Refusal,
    id::SessionId,
    lifetime::{Lifetime, Timestamp},
};
use crate::{encoding::Encoding, error::Error};

#[cfg(feature = "express")]
mod express;
#[cfg(feature = "flask")]
mod flask;
mod opaque;
mod sealed;
pub mod wire;

#[cfg(feature = "express")]
pub use express::{CookieSession, ExpressSession};
#[cfg(feature = "flask")]
pub use flask::Flask;
pub use opaque::Opaque;
pub use sealed::Sealed;
#[cfg(any(feature = "flask", feature = "express"))]
pub use wire::Digest;

/// How one framework writes a session.
///
/// A dialect keeps either the data in the cookie or an id, as its [`Policy::keeps`] says. It implements [`read`](Dialect::read) and
/// [`write`](Dialect::write); one that keeps an id also [`new_id`](Dialect::new_id), and the two of the record where it is not ours.
pub trait Dialect: Send + Sync + 'static {
    /// What differs and is not computed.
    fn policy(&self) -> &Policy;

    /// Reads the cookies of a request: authenticates them first, then decodes.
    ///
    /// # Errors
    ///
    /// The reason why these cookies are no session. Whatever the bytes, never a panic.
    fn read(&self, cookies: &Cookies<'_>, limits: &Limits) -> Result<Token, Refusal>;

    /// Writes the values of the cookies, one for each of [`Policy::suffixes`].
    ///
    /// # Errors
    ///
    /// Where the format cannot hold the session; the message names the entry.
    fn write(&self, body: Body<'_>, cookie: &str, now: Timestamp, random: Random<'_>) -> Result<Vec<String>, Error>;

    /// Writes the values that remove the cookies: empty ones, except where a framework signs even those.
    fn removal(&self, _cookie: &str) -> Vec<String> {
        vec![String::new(); self.policy().suffixes.len()]
    }

    /// Makes a new id. Only for a dialect that keeps one.
    fn new_id(&self, random: Random<'_>) -> SessionId {
        let mut bytes = [0; 32];
        random(&mut bytes);
        SessionId::from_random(bytes)
    }

    /// Reads a record's data. `None`: malformed.
    fn read_record(&self, data: &Bytes) -> Option<RecordData> {
        Some(RecordData { data: Data::parse(self.policy().encoding, data)?, beside: Bytes::new(), lifetime: None })
    }

    /// Writes a record's data. `cookie` is the one that leads to it, as the layer sets it.
    ///
    /// # Errors
    ///
    /// Where the format cannot hold the session; the message names the entry.
    fn write_record(&self, contents: &Contents, _cookie: &Attributes, _now: Timestamp) -> Result<Bytes, Error> {
        let mut out = Vec::new();
        contents.data.write(self.policy().encoding, &mut out);
        Ok(out.into())
    }
}

/// What a record's data holds.
#[derive(Clone, Debug)]
pub struct RecordData {
    /// The entries.
    pub data: Data,
    /// What stands beside them, untouched: [`Contents::beside`].
    pub beside: Bytes,
    /// How long this session lives, where the data says so: a timeout that is not said is the layer's.
    pub lifetime: Option<Lifetime>,
}

/// A cryptographic random source: fills the slice.
pub type Random<'a> = &'a mut dyn FnMut(&mut [u8]);

/// The cookies of a request that belong to one session.
#[derive(Clone, Copy, Debug)]
pub struct Cookies<'a> {
    /// The cookie's name, without a suffix.
    pub name: &'a str,
    /// The values, one for each of [`Policy::suffixes`]; the first is there.
    pub values: &'a [Option<&'a str>],
}

impl<'a> Cookies<'a> {
    /// The value of the cookie without a suffix.
    pub fn value(&self) -> &'a str {
        self.values.first().copied().flatten().unwrap_or_default()
    }
}

/// What decides whether a session is over.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The moment it is.
    pub now: Timestamp,
    /// The layer's idle timeout in seconds, for a format that keeps none of its own.
    pub idle: u32,
    /// The layer's absolute timeout in seconds.
    pub absolute: Option<u32>,
    /// Whether the layer's cookies outlive the browser, for a format that does not say so itself.
    pub persistent: bool,
    /// How far in the future a session may have been issued.
    pub skew: Duration,
}

/// What the cookies of a request hold.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // It lives for a moment, and a box would be an allocation for every request.
pub enum Token {
    /// The session itself.
    Data {
        /// The session.
        contents: Contents,
        /// Whether it should be written again, because an older secret protects it.
        outdated: bool,
        /// Whether it is issued again from time to time, so that it does not run out.
        slides: bool,
        /// 32 bytes that tell this very cookie from every other, where the format makes each cookie another one (by a nonce): an id may be derived from
        /// them. `None` where two strangers with the same entries in the same second hold the same bytes, as with every format that is only signed.
        unique: Option<[u8; 32]>,
    },
    /// The id of a session that is in a store.
    Id {
        /// The id.
        id: SessionId,
        /// Whether the cookie should be written again, because an older secret protects it.
        outdated: bool,
    },
}

/// What the cookies of a response are to hold.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// The session itself.
    Data(&'a Contents),
    /// The id of a session that is in a store.
    Id(&'a SessionId),
}

/// What differs from one dialect to the next and is not computed.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What the cookie holds.
    pub keeps: Keeps,
    /// How an entry's value is written.
    pub encoding: Encoding,
    /// The framework's own cookie name and attributes.
    pub cookie: Attributes,
    /// What stands behind the name, for each of the cookies: `&[""]` for one cookie.
    pub suffixes: &'static [&'static str],
    /// How the framework spells `Set-Cookie`.
    pub spelling: Spelling,
    /// Which of several cookies of the same name counts.
    pub duplicates: Duplicates,
    /// Whether timeouts, principal and label of a session are kept. Only a format of ours keeps them.
    pub keeps_facts: bool,
    /// Whether a session, or the store that keeps it, tells when it was issued. Where nothing does, no idle timeout ends it.
    pub dated: bool,
    /// The idle timeout where the layer sets none.
    pub idle: Duration,
    /// The absolute timeout where the layer sets none; a dialect that keeps no facts has none.
    pub absolute: Option<Duration>,
    /// Whether the cookie outlives the browser where nothing else is said.
    pub persistent: bool,
    /// How far in the future a session may have been issued, where the layer does not say.
    pub skew: Duration,
    /// Where the format keeps "remember me" as an entry: its name.
    pub persistent_entry: Option<&'static str>,
    /// Where the framework's own log-in keeps the user as an entry: its name.
    pub principal_entry: Option<&'static str>,
}

/// Whether the data is in the cookie or in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// The cookie holds the session.
    Data,
    /// The cookie holds an id, and a store the session.
    Id,
}

/// Which of several cookies of the same name counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicates {
    /// None, if they are different authentic sessions (or the name begins with `__Host-`, which a browser sends once).
    Refused,
    /// The first in the header.
    First,
    /// The last in the header.
    Last,
}

impl Policy {
    /// Ours, for a cookie that holds the session or an id.
    ///
    /// A day without a visit ends the session, and so do 30 days in all: OWASP asks for both, and
    /// an application that guards something should set shorter ones.
    pub(crate) fn own(keeps: Keeps) -> Self {
        Self {
            keeps,
            encoding: Encoding::MessagePack,
            cookie: Attributes {
                secure: true,
                same_site: Some(SameSite::Lax),
                ..Attributes::new("__Host-Http-session")
            },
            suffixes: &[""],
            spelling: Spelling::OWN,
            duplicates: Duplicates::Refused,
            keeps_facts: true,
            dated: true,
            idle: Duration::from_secs(86_400),
            absolute: Some(Duration::from_secs(30 * 86_400)),
            persistent: false,
            skew: Duration::from_secs(60),
            persistent_entry: None,
            principal_entry: None,
        }
    }
}

impl fmt::Debug for dyn Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialect").field("policy", self.policy()).finish()
    }
}
