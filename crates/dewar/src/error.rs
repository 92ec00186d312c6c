//! One opaque [`Error`] with predicates, and [`Refusal`]: why a cookie opened an empty session.

mod page;

use std::{
    borrow::Cow,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

#[cfg(feature = "templates")]
pub(crate) use page::Excerpt;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// What can go wrong with a session that is the program's or the system's doing.
///
/// A visitor's doing is never an error: a hostile or stale cookie opens an empty session.
/// The message names the place (a setting, an entry, a template) and never a secret or a value.
/// As a response it is a `503` with `Retry-After` where the store failed, a `409` where the request may be repeated, a `403` where a user has too many sessions, else a `500`.
pub struct Error {
    kind: Kind,
    message: Cow<'static, str>,
    /// What few have, in a box: an error is part of many answers.
    beside: Option<Box<Beside>>,
}

#[derive(Default)]
struct Beside {
    source: Option<Source>,
    /// Of errors that are one [`Trouble`]: whether it is in the log.
    is_logged: Option<Arc<AtomicBool>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Setting,
    Store,
    TooLarge,
    Entry,
    Closed,
    Conflict,
    Full,
    Panicked,
    #[cfg(feature = "web")]
    MissingLayer,
    #[cfg(feature = "templates")]
    Template,
}

/// What goes wrong with one session of one request: a commit in the handler that fails, the answer that says so, and the commit of the response
/// that fails again are one line in the log.
#[derive(Debug)]
pub(crate) struct Trouble {
    kind: Kind,
    is_logged: Arc<AtomicBool>,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), beside: None }
    }

    /// A setting that is refused: the message names it, and says what to write instead. For dialects and layouts.
    pub fn setting(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Setting, message)
    }

    /// An entry that a format cannot hold, by its name, and why. For dialects, meanings and layouts.
    pub fn entry(name: &[u8], why: impl fmt::Display) -> Self {
        let name = String::from_utf8_lossy(name);
        Self::new(Kind::Entry, format!("session entry {name:?}: {why}"))
    }

    #[cfg(feature = "web")]
    pub(crate) fn because(mut self, source: impl Into<Source>) -> Self {
        self.beside.get_or_insert_default().source = Some(source.into());
        self
    }

    fn cause(&self) -> Option<&Source> {
        self.beside.as_ref()?.source.as_ref()
    }

    /// The body of an answer that says so. A visitor is told that there was an error, and whether to try again: the reason is for the log.
    ///
    /// In a debug build, whose visitor is its developer, a mistake of the program's is a page with the reason, and of a template the lines around it.
    pub fn body(&self) -> Cow<'static, str> {
        if self.is_shown() { page::of(self).into() } else { self.sentence().into() }
    }

    fn is_shown(&self) -> bool {
        cfg!(debug_assertions) && self.status() == http::StatusCode::INTERNAL_SERVER_ERROR
    }

    fn sentence(&self) -> &'static str {
        if self.is_store() {
            "Your session cannot be reached just now. Please try again in a moment.\n"
        } else if self.is_conflict() {
            "Somebody logged in or out while this page was asked for. Please try again.\n"
        } else if self.is_too_many_sessions() {
            "You are logged in in as many places as may be. Please log out in one of them first.\n"
        } else {
            "Something went wrong on our side.\n"
        }
    }

    /// The headers of an answer that says so, with names in lower case: what kind of text its body is, that no cache keeps it, and where the store
    /// is down that a client may come back soon.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &'static str)> + use<> {
        let kind = if self.is_shown() { "text/html; charset=utf-8" } else { "text/plain; charset=utf-8" };
        let always = [("content-type", kind), ("cache-control", "no-store")];
        // The application's own policy would keep the page from its style.
        let policy =
            self.is_shown().then_some(("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'"));
        always.into_iter().chain(policy).chain(self.is_store().then_some(("retry-after", "5")))
    }

    /// The store failed: not reached, too slow, full. The request may be tried again.
    pub fn is_store(&self) -> bool {
        self.kind == Kind::Store
    }

    /// The session does not fit into a cookie. The message names its largest entries.
    pub fn is_too_large(&self) -> bool {
        self.kind == Kind::TooLarge
    }

    /// An entry could not be written, or holds a value of another type. The message names it.
    pub fn is_entry(&self) -> bool {
        self.kind == Kind::Entry
    }

    /// A setting or secret was refused. The message says what to write instead.
    pub fn is_setting(&self) -> bool {
        self.kind == Kind::Setting
    }

    /// The session was written to after its response had gone, or after another request had ended it.
    pub fn is_closed(&self) -> bool {
        self.kind == Kind::Closed
    }

    /// Another request renewed the session by a log-in, or it expired, while this one ran: nothing was saved, and it may be repeated.
    pub fn is_conflict(&self) -> bool {
        self.kind == Kind::Conflict
    }

    /// The user is logged in as often as [may be](crate::SessionManagerBuilder::max_sessions_per_user): the log-in was refused, and nothing of this
    /// commit was saved. The session goes on as it was before.
    pub fn is_too_many_sessions(&self) -> bool {
        self.kind == Kind::Full
    }

    /// Whoever held the session panicked, so that nothing was saved.
    #[cfg(feature = "web")]
    pub(crate) fn is_panic(&self) -> bool {
        self.kind == Kind::Panicked
    }

    /// The HTTP status that tells a client what happened: 503 for the store, 409 for a conflict, 403 for a log-in too many, 500 for all else.
    pub fn status(&self) -> http::StatusCode {
        match self.kind {
            Kind::Store => http::StatusCode::SERVICE_UNAVAILABLE,
            Kind::Conflict => http::StatusCode::CONFLICT,
            Kind::Full => http::StatusCode::FORBIDDEN,
            _ => http::StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether it is to be logged: neither it was, nor another error of the same trouble. From here on it was.
    pub(crate) fn log_once(&self) -> bool {
        let is_logged = self.beside.as_ref().and_then(|beside| beside.is_logged.as_ref());
        is_logged.is_none_or(|is_logged| !is_logged.swap(true, Ordering::Relaxed))
    }

    /// The same error, as one of this trouble where it is of the same kind, else of a new one.
    pub(crate) fn within(mut self, trouble: &mut Option<Trouble>) -> Self {
        let same = trouble.take().filter(|trouble| trouble.kind == self.kind);
        let same = same.unwrap_or_else(|| Trouble { kind: self.kind, is_logged: Arc::default() });
        self.beside.get_or_insert_default().is_logged = Some(Arc::clone(&trouble.insert(same).is_logged));
        self
    }

    /// A copy to hand to each of several callers. The source stays behind; its text does not.
    pub(crate) fn copy(&self) -> Self {
        let message = match self.cause() {
            Some(source) => format!("{}: {source}", self.message),
            None => self.message.to_string(),
        };
        Self::new(self.kind, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.cause() {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

/// As [`Display`](fmt::Display), in full: `fn main() -> Result<(), Error>` prints this to a person.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.beside.as_ref()?.source.as_deref().map(|source| source as _)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let beside = Beside { source: Some(Box::new(error)), is_logged: None };
        Self { kind: Kind::Store, message: "session store".into(), beside: Some(Box::new(beside)) }
    }
}

impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

/// The store failed: it could not be reached, was too slow, or is full.
///
/// The message names the place and never what a session holds.
pub struct StoreError {
    message: Box<str>,
    source: Option<Source>,
    is_final: bool,
}

impl StoreError {
    /// A failure with what was being done: `"sqlite: cannot open sessions.db"`.
    pub fn new(message: impl Into<Box<str>>) -> Self {
        Self { message: message.into(), source: None, is_final: false }
    }

    /// Of a write that nobody looks up or tries again: it may have been done, and must not count as done, since it may be lost yet; or it was not done,
    /// and was waited for long enough.
    #[cfg(any(feature = "redis", all(feature = "php", unix)))]
    pub(crate) fn for_good(self) -> Self {
        Self { is_final: true, ..self }
    }

    pub(crate) fn is_final(&self) -> bool {
        self.is_final
    }

    /// Adds the error behind it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{}: {source}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// As [`Display`](fmt::Display), in full: `open(...)?` in `main` prints this to a person.
impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Why a cookie opened an empty session. For the log and the metrics, never for the visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// Not authentic: forged, altered, or signed with another secret where the format cannot tell.
    BadSignature,
    /// Protected by a secret that is not on the keyring.
    UnknownSecret,
    /// Its time is over.
    Expired,
    /// Issued in the future, beyond the clock skew that is allowed.
    Future,
    /// Not of the dialect's form.
    Malformed,
    /// Longer than a browser would send.
    Oversize,
    /// Two different authentic sessions under one name.
    Ambiguous,
    /// A session that was ended a short while ago.
    Gone,
    /// An id that the store does not know, or not any more.
    Unknown,
    /// Of a form that is known and not read, as Python's pickles are: reading one can run a program.
    Unsupported,
}

impl Refusal {
    /// Those of cookies: a record that is unsupported is a cookie that is malformed.
    #[cfg(feature = "metrics")]
    pub(crate) const ALL: [Self; 9] = [
        Self::BadSignature,
        Self::UnknownSecret,
        Self::Expired,
        Self::Future,
        Self::Malformed,
        Self::Oversize,
        Self::Ambiguous,
        Self::Gone,
        Self::Unknown,
    ];

    /// One word for logs and metrics: `bad_signature`, `expired`, ...
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadSignature => "bad_signature",
            Self::UnknownSecret => "unknown_secret",
            Self::Expired => "expired",
            Self::Future => "future",
            Self::Malformed => "malformed",
            Self::Oversize => "oversize",
            Self::Ambiguous => "ambiguous",
            Self::Gone => "gone",
            Self::Unknown => "unknown",
            Self::Unsupported => "unsupported",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
