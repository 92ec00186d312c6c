//! How one framework writes its cookies: the [`Dialect`] trait, and one file a framework.
//!
//! A dialect is pure: text and bytes in, text and bytes out, with time and randomness as
//! arguments. It knows no store, no HTTP library and no runtime. What differs from one to the next
//! and is not computed stands in its [`Profile`], as data. What its entries mean is its [`Meaning`]'s, and how a
//! record looks that its id leads to its [`Layout`]'s.

use std::{
    fmt,
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime},
};

pub use crate::{
    cookie::{Attribute, Attributes, Duplicates, Ending, Jar, SameSite, Spelling},
    data::{Contents, Data},
    error::Refusal,
    explain::{Report, Steps},
    id::SessionId,
    lifetime::{Lifetime, Timestamp},
    meaning::Holds,
};
use crate::{
    encoding::Encoding,
    error::Error,
    layout::Layout,
    meaning::{Meaning, Plain},
    secret::{Keyring, Secret},
    value::DateTime,
};

#[cfg(feature = "express")]
mod cookie_session;
#[cfg(feature = "django")]
mod django;
#[cfg(feature = "django")]
mod django_session;
#[cfg(feature = "express")]
mod express_session;
#[cfg(feature = "flask")]
mod flask;
#[cfg(feature = "flask")]
mod flask_session;
#[cfg(feature = "iron")]
mod iron;
#[cfg(feature = "laravel")]
mod laravel;
mod opaque;
mod option;
#[cfg(feature = "phoenix")]
mod phoenix;
#[cfg(feature = "php")]
mod php;
#[cfg(feature = "rails")]
mod rails;
mod sealed;
#[cfg(feature = "php")]
mod symfony;
pub mod wire;

/// Makes the types public and lists them in [`all`].
macro_rules! dialects {
    ($($(#[$feature:meta])? $file:ident::$Dialect:ident;)*) => {
        $($(#[$feature])? pub use $file::$Dialect;)*

        /// Every dialect that is compiled in, ours first.
        ///
        /// ```
        /// let names: Vec<&str> = dewar::dialect::all().map(|known| known.name).collect();
        /// assert!(names.starts_with(&["Sealed", "Opaque"]));
        /// ```
        pub fn all() -> impl Iterator<Item = Known> {
            [$($(#[$feature])? $file::KNOWN,)*].into_iter()
        }
    };
}

dialects! {
    sealed::Sealed;
    opaque::Opaque;
    #[cfg(feature = "flask")] flask::Flask;
    #[cfg(feature = "flask")] flask_session::FlaskSession;
    #[cfg(feature = "django")] django::Django;
    #[cfg(feature = "django")] django_session::DjangoSession;
    #[cfg(feature = "rails")] rails::Rails;
    #[cfg(feature = "express")] cookie_session::CookieSession;
    #[cfg(feature = "express")] express_session::ExpressSession;
    #[cfg(feature = "iron")] iron::Iron;
    #[cfg(feature = "phoenix")] phoenix::Phoenix;
    #[cfg(feature = "php")] php::Php;
    #[cfg(feature = "laravel")] laravel::Laravel;
    #[cfg(feature = "php")] symfony::Symfony;
}

#[cfg(feature = "flask")]
pub use crate::layout::SerializationFormat;
#[cfg(feature = "rails")]
pub use rails::Encryption;
pub use wire::Digest;
#[cfg(feature = "laravel")]
pub use {crate::layout::Serialization, wire::laravel::Cipher};

/// A dialect that is compiled in, by its name.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Known {
    /// The name, as its framework calls it.
    pub name: &'static str,
    /// The names that its cookies usually have.
    pub cookies: &'static [&'static str],
    /// Its framework's other one, for sessions on a store.
    on_store: Option<&'static Known>,
    /// Makes one under these secrets, with these [options](Known::with).
    make: Make,
}

/// Makes a dialect under secrets, with options.
type Make = fn(&Keyring, &str) -> Result<Box<dyn Dialect>, Error>;

impl Known {
    /// One with the framework's own settings, under these secrets.
    pub fn under(&self, keyring: &Keyring) -> Box<dyn Dialect> {
        (self.make)(keyring, "").expect("without options there is nothing to refuse")
    }

    /// What it is with the framework's own settings: whether its cookie holds the session, and how that is called.
    pub fn profile(&self) -> Profile {
        self.under(&Keyring::new(Secret::generate())).profile().clone()
    }

    /// The one that the framework has for sessions on a store, where this one is for those in the cookie: of Django, whose cookie has the same name in both. Otherwise,
    /// this one.
    ///
    #[cfg_attr(feature = "django", doc = "```")]
    #[cfg_attr(not(feature = "django"), doc = "```ignore")]
    /// use dewar::dialect::{Keeps, Known};
    ///
    /// # fn main() -> Result<(), dewar::Error> {
    /// let known: Known = "django".parse()?;
    /// assert_eq!(known.profile().keeps, Keeps::Data);
    /// assert_eq!(known.on_store().profile().keeps, Keeps::Id);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn on_store(self) -> Self {
        self.on_store.copied().unwrap_or(self)
    }

    /// What makes one with settings that stand in a text, by the names of their setters: for an application that is told its dialect by its
    /// environment.
    ///
    #[cfg_attr(feature = "flask", doc = "```")]
    #[cfg_attr(not(feature = "flask"), doc = "```ignore")]
    /// use dewar::{SessionLayer, dialect};
    ///
    /// # fn main() -> Result<(), dewar::Error> {
    /// let flask = dialect::all().find(|known| known.name == "Flask").expect("the feature flask");
    /// let layer = SessionLayer::new("w98fw9ef8hwe98fhwef")?.dialect(flask.with("digest=sha256,compression=false")?);
    /// # layer.manager()?; Ok(()) }
    /// ```
    ///
    /// Each is split from its value at the first `=`; a comma in a value is `%2C`.
    ///
    /// # Errors
    ///
    /// Where a name is not known (the message lists those there are), is said twice or without a value, or the value is none of its setter's.
    pub fn with(
        &self,
        options: &str,
    ) -> Result<impl Fn(&Keyring) -> Box<dyn Dialect> + Send + Sync + 'static + use<>, Error> {
        let (make, options) = (self.make, options.to_owned());
        make(&Keyring::new(Secret::generate()), &options)?;
        Ok(move |keyring: &Keyring| make(keyring, &options).expect("these options were taken"))
    }
}

/// By its name, in capital or small letters; `express` is cookie-session, and `iron` iron-session.
///
/// ```
/// # fn main() -> Result<(), dewar::Error> {
/// let known: dewar::dialect::Known = "sealed".parse()?;
/// assert_eq!(known.name, "Sealed");
/// # Ok(()) }
/// ```
impl FromStr for Known {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let full = match name {
            "express" => "cookie-session",
            "iron" => "iron-session",
            other => other,
        };
        all().find(|known| known.name.eq_ignore_ascii_case(full)).ok_or_else(|| {
            let names: Vec<String> = all().map(|known| known.name.to_ascii_lowercase()).collect();
            Error::setting(format!("there is no dialect {name:?}; there are {}", names.join(", ")))
        })
    }
}

/// How one framework writes its cookies.
///
/// A cookie holds either the session or an id, as [`Profile::keeps`] says. A dialect implements [`read`](Dialect::read) and
/// [`write`](Dialect::write); one whose cookie holds an id of its framework's also [`new_id`](Dialect::new_id) and [`layout`](Dialect::layout).
pub trait Dialect: Send + Sync + 'static {
    /// What differs and is not computed.
    fn profile(&self) -> &Profile;

    /// Reads the cookies of a request: authenticates them first, then decodes.
    ///
    /// What it finds on the way it notes in `steps`, also of what is not authentic: [`Report::of`] is this, recorded.
    ///
    /// # Errors
    ///
    /// The reason why these cookies are no session. Whatever the bytes, never a panic.
    fn read(&self, jar: &Jar<'_>, limits: &Limits, steps: &mut Steps<'_>) -> Result<Token, Refusal>;

    /// Writes the cookies of a session. `cookie` is the name that the layer gives them.
    ///
    /// # Errors
    ///
    /// Where the format cannot hold the session; the message names the entry.
    fn write(&self, body: Body<'_>, cookie: &str, now: Timestamp, random: Random<'_>) -> Result<Vec<SetValue>, Error>;

    /// Writes what removes the cookies: one without a suffix and without a value, except where a framework has more.
    fn removal(&self, _cookie: &str) -> Vec<SetValue> {
        vec![SetValue::new("", String::new())]
    }

    /// Makes a new id. Only for a dialect that keeps one.
    fn new_id(&self, random: Random<'_>) -> SessionId {
        let mut bytes = [0; 32];
        random(&mut bytes);
        SessionId::from_random(bytes)
    }

    /// Refuses settings that can only fail, when the manager is built.
    ///
    /// # Errors
    ///
    /// Where one does; the message names it and says what to write instead.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    /// What its entries mean. The default: nothing.
    fn meaning(&self) -> Arc<dyn Meaning> {
        Arc::new(Plain)
    }

    /// How a record looks that its id leads to. `None`: as ours do.
    fn layout(&self) -> Option<Arc<dyn Layout>> {
        None
    }

    /// The same where the store is a database in which the framework has a table. `None`: it has none.
    fn row(&self) -> Option<Arc<dyn Layout>> {
        None
    }
}

impl<D: Dialect + ?Sized> Dialect for Box<D> {
    fn profile(&self) -> &Profile {
        (**self).profile()
    }

    fn read(&self, jar: &Jar<'_>, limits: &Limits, steps: &mut Steps<'_>) -> Result<Token, Refusal> {
        (**self).read(jar, limits, steps)
    }

    fn write(&self, body: Body<'_>, cookie: &str, now: Timestamp, random: Random<'_>) -> Result<Vec<SetValue>, Error> {
        (**self).write(body, cookie, now, random)
    }

    fn removal(&self, cookie: &str) -> Vec<SetValue> {
        (**self).removal(cookie)
    }

    fn new_id(&self, random: Random<'_>) -> SessionId {
        (**self).new_id(random)
    }

    fn check(&self) -> Result<(), Error> {
        (**self).check()
    }

    fn meaning(&self) -> Arc<dyn Meaning> {
        (**self).meaning()
    }

    fn layout(&self) -> Option<Arc<dyn Layout>> {
        (**self).layout()
    }

    fn row(&self) -> Option<Arc<dyn Layout>> {
        (**self).row()
    }
}

/// A cryptographic random source: fills the slice.
pub type Random<'a> = &'a mut dyn FnMut(&mut [u8]);

/// What decides whether a session is over.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
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

impl Limits {
    /// At this moment, with this idle timeout in seconds, and nothing else said.
    pub const fn new(now: Timestamp, idle: u32) -> Self {
        Self { now, idle, absolute: None, persistent: false, skew: Duration::ZERO }
    }

    /// A moment for a person to read, and how far it lies in the past or the future.
    pub(crate) fn age(&self, moment: Timestamp) -> String {
        let date = DateTime::from(SystemTime::from(moment));
        let (past, future) = (self.now.since(moment).as_secs(), moment.since(self.now).as_secs());
        match future {
            0 => format!("{date}, {past} s ago; the manager's idle timeout is {} s", self.idle),
            _ => format!("{date}, {future} s in the future; {} s are allowed", self.skew.as_secs()),
        }
    }
}

/// What the cookies of a request hold.
#[allow(clippy::large_enum_variant)] // It lives for a moment, and a box would be an allocation for every request.
pub enum Token {
    /// The session itself.
    Data {
        /// The session.
        contents: Contents,
        /// Whether it should be written again, because an older secret protects it.
        outdated: bool,
        /// Whether it is issued again from time to time, so that it does not run out.
        sliding: bool,
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

impl<'a> Body<'a> {
    /// The session, for a dialect that keeps it in its cookie, with what to do where it is on a store.
    pub(crate) fn data(self, dialect: &str, otherwise: &str) -> Result<&'a Contents, Error> {
        match self {
            Self::Data(contents) => Ok(contents),
            Self::Id(_) => {
                let why = format!("the dialect {dialect} keeps the session in the cookie; {otherwise}");
                Err(Error::setting(why))
            }
        }
    }

    /// The id, for a dialect that keeps the session on a store.
    pub(crate) fn id(self, dialect: &str) -> Result<&'a SessionId, Error> {
        match self {
            Self::Id(id) => Ok(id),
            Self::Data(_) => {
                let why = format!("the dialect {dialect} needs a store: add .store(...) to the SessionLayer");
                Err(Error::setting(why))
            }
        }
    }
}

/// A cookie of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetValue {
    /// What stands behind the layer's name of the cookie: nothing, or `.sig`.
    pub suffix: &'static str,
    /// The value.
    pub value: String,
    /// How long the browser keeps it.
    pub lasts: Lasts,
}

/// How long the browser keeps a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lasts {
    /// As long as the session.
    WithTheSession,
    /// A time of its own, from now on.
    For(Duration),
    /// Not any more: it is removed.
    NotAnyMore,
}

impl SetValue {
    /// A cookie that lasts as long as the session.
    pub fn new(suffix: &'static str, value: String) -> Self {
        Self { suffix, value, lasts: Lasts::WithTheSession }
    }

    /// The same, with a lifetime of its own.
    #[must_use]
    pub fn lasting(mut self, lasts: Lasts) -> Self {
        self.lasts = lasts;
        self
    }
}

/// What differs from one dialect to the next and is not computed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Profile {
    /// The dialect's name, as its framework calls it.
    pub name: &'static str,
    /// What the cookie holds.
    pub keeps: Keeps,
    /// How an entry's value is written.
    pub encoding: Encoding,
    /// What is kept of a session beside its entries. Of a record of another framework its layout says it.
    pub holds: Holds,
    /// The framework's own cookie name and attributes.
    pub cookie: Attributes,
    /// Other cookies of the framework's that would bring back a visitor who has logged out, as a "remember me" of its own does: they are removed
    /// when a visit ends, where the request has them.
    pub also_removed: Vec<Attributes>,
    /// How the framework spells `Set-Cookie`.
    pub spelling: Spelling,
    /// Which of several cookies of the same name counts.
    pub duplicates: Duplicates,
    /// Whether a session, or the store that keeps it, tells when it was issued. Where nothing does, no idle timeout ends it.
    pub dated: bool,
    /// Whether cookies outlive the browser where the layer sets no lifetime.
    pub persistent: bool,
    /// The idle timeout where the layer sets none.
    pub idle: Duration,
    /// The absolute timeout where the layer sets none; a format that does not say when a session began has none.
    pub absolute: Option<Duration>,
    /// How far in the future a session may have been issued, where the layer does not say.
    pub skew: Duration,
}

/// Whether the data is in the cookie or in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// The cookie holds the session.
    Data,
    /// The cookie holds an id, and a store the session.
    Id,
}

/// A day, in seconds.
const DAY: u64 = 86_400;

impl Profile {
    /// Ours, for a cookie that holds the session or an id.
    ///
    /// A day without a visit ends the session, and so do 30 days in all: OWASP asks for both, and
    /// an application that guards something should set shorter ones.
    pub(crate) fn own(name: &'static str, keeps: Keeps) -> Self {
        Self {
            name,
            keeps,
            encoding: Encoding::MessagePack,
            holds: Holds::ALL,
            cookie: Attributes {
                secure: true,
                same_site: Some(SameSite::Lax),
                ..Attributes::new("__Host-Http-session")
            },
            also_removed: Vec::new(),
            spelling: Spelling::OWN,
            duplicates: Duplicates::Refused,
            dated: true,
            persistent: false,
            idle: Duration::from_secs(DAY),
            absolute: Some(Duration::from_secs(30 * DAY)),
            skew: Duration::from_secs(60),
        }
    }

    /// Another framework's, whose cookie is dated, lasts a day and holds nothing beside the entries; the first of several cookies counts. What is
    /// different is set after it.
    pub fn foreign(
        name: &'static str,
        keeps: Keeps,
        encoding: Encoding,
        cookie: Attributes,
        spelling: Spelling,
    ) -> Self {
        Self {
            name,
            keeps,
            encoding,
            holds: Holds::NOTHING,
            cookie,
            also_removed: Vec::new(),
            spelling,
            duplicates: Duplicates::First,
            dated: true,
            persistent: false,
            idle: Duration::from_secs(DAY),
            absolute: None,
            skew: Duration::ZERO,
        }
    }
}

/// Nothing that is in it, and nothing that follows from it.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data { contents, .. } => write!(f, "Token({} entries)", contents.data.len()),
            Self::Id { .. } => f.write_str("Token(an id)"),
        }
    }
}

impl fmt::Debug for dyn Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialect").field("profile", self.profile()).finish()
    }
}
