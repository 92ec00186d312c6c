//! How long a session lives: idle and absolute timeouts, and when a cookie is issued again.
//!
//! The words are OWASP's (Session Management Cheat Sheet, "Session Expiration").

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::value::DateTime;

/// A moment, in milliseconds since the Unix epoch. Shown as RFC 3339 writes it, and made from and into a [`SystemTime`].
///
/// ```
/// use dewar::store::Timestamp;
/// use std::time::SystemTime;
///
/// let moment = Timestamp::from_millis(1_700_000_000_500);
/// assert_eq!(moment.to_string(), "2023-11-14T22:13:20.5Z");
/// assert_eq!(Timestamp::from(SystemTime::from(moment)), moment);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment this many milliseconds after the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// The moment this many seconds after the Unix epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch; the fraction is cut.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This moment and `duration` more; the end of time where that overflows.
    pub const fn after(self, duration: Duration) -> Self {
        let millis = duration.as_millis();
        if millis > u64::MAX as u128 {
            return Self(u64::MAX);
        }
        Self(self.0.saturating_add(millis as u64))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = (self.0 % 1000) as u32 * 1_000_000;
        match i64::try_from(self.as_secs()).ok().and_then(|seconds| DateTime::from_unix(seconds, nanos)) {
            Some(date) => date.fmt(f),
            None => write!(f, "{} ms after 1970", self.0),
        }
    }
}

/// As [`Display`](fmt::Display).
impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(moment: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_millis(moment.0)
    }
}

/// How long one session lives, and whether its cookie outlives the browser.
///
/// ```
/// use std::time::Duration;
/// use dewar::Lifetime;
///
/// // "Remember me": the cookie stays for 30 days after the last visit, but never over a year.
/// let remembered = Lifetime::persistent()
///     .idle(Duration::from_secs(30 * 86_400))
///     .absolute(Duration::from_secs(365 * 86_400));
/// # let _ = remembered;
/// ```
///
/// Both timeouts are kept with the session, and the shorter one ends it. What is not given is the layer's, and there what the format does by
/// default: in our own an idle timeout of a day and an absolute one of 30 days. Whole seconds count, at most about 136 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    pub(crate) idle: Option<u32>,
    pub(crate) absolute: Option<u32>,
    pub(crate) persistent: bool,
}

impl Lifetime {
    /// The cookie ends with the browser.
    pub const fn browser() -> Self {
        Self { idle: None, absolute: None, persistent: false }
    }

    /// The cookie stays when the browser closes.
    pub const fn persistent() -> Self {
        Self { idle: None, absolute: None, persistent: true }
    }

    /// Ends the session this long after it was last opened.
    #[must_use]
    pub const fn idle(mut self, timeout: Duration) -> Self {
        self.idle = Some(whole_seconds(timeout));
        self
    }

    /// Ends the session this long after it began, however busy it is.
    #[must_use]
    pub const fn absolute(mut self, timeout: Duration) -> Self {
        self.absolute = Some(whole_seconds(timeout));
        self
    }

    /// Why it would end every session at once, or never by its idle timeout, where an absolute one that is not given is this.
    pub(crate) fn check(self, default_absolute: Option<u32>) -> Result<(), &'static str> {
        match (self.idle, self.absolute) {
            (Some(0), _) | (_, Some(0)) => {
                Err("a timeout of less than a second ends the session at once; give it a second at least")
            }
            (Some(idle), Some(absolute)) if idle > absolute => Err(
                "the idle timeout is longer than the absolute one, so it would never end a session; make it shorter, or leave it out",
            ),
            (Some(idle), None) if default_absolute.is_some_and(|absolute| idle > absolute) => Err(
                "the idle timeout is longer than a session lives in all where nothing is said (30 days by default), so it would never end one; add .absolute(...), longer than it",
            ),
            _ => Ok(()),
        }
    }
}

const fn whole_seconds(timeout: Duration) -> u32 {
    if timeout.as_secs() > u32::MAX as u64 { u32::MAX } else { timeout.as_secs() as u32 }
}

/// How long a deleted session's tombstone stays, where nothing asks for longer: 120 seconds.
///
/// Longer than a request runs; a request that outlives it finds the record missing, and nothing of it is brought back.
pub const GONE_FOR: Duration = Duration::from_secs(120);

/// When a cookie (or the expiry in a store) that was not changed is issued again, so that a busy
/// session does not run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reissue {
    /// Only when something was written: the session ends its idle timeout after the last write.
    OnWrite,
    /// When the session is opened after a tenth of its idle timeout has gone. The default.
    AfterATenth,
    /// Whenever the session is opened: Flask's `SESSION_REFRESH_EACH_REQUEST`.
    EveryRequest,
}

impl Reissue {
    /// Whether a session issued at `issued` with this idle timeout is due now.
    pub(crate) fn is_due(self, issued: Timestamp, idle: u32, now: Timestamp) -> bool {
        match self {
            Self::OnWrite => false,
            Self::AfterATenth => now.since(issued) >= Duration::from_secs(u64::from(idle)) / 10,
            Self::EveryRequest => true,
        }
    }
}

/// The moment it is: by the system's clock, by one of the application's own, or by one that a test turns.
///
/// ```
/// use std::time::Duration;
/// use dewar::{Clock, store::Timestamp};
///
/// let clock = Clock::at(Timestamp::from_secs(1_800_000_000));
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now(), Timestamp::from_secs(1_800_000_060));
/// ```
#[derive(Clone, Default)]
pub struct Clock(Source);

#[derive(Clone, Default)]
enum Source {
    #[default]
    System,
    Turned(Arc<AtomicU64>),
    Own(Arc<dyn Fn() -> Timestamp + Send + Sync>),
}

/// wasm32-unknown-unknown has no clock: there `SystemTime::now` panics.
const HAS_SYSTEM: bool = !cfg!(all(target_family = "wasm", target_os = "unknown"));

impl Clock {
    /// A clock that stands at `moment` until a test turns it.
    pub fn at(moment: impl Into<Timestamp>) -> Self {
        Self(Source::Turned(Arc::new(AtomicU64::new(moment.into().as_millis()))))
    }

    /// A clock of the application's own: the function says what time it is. It is called several times in a request.
    ///
    /// For a platform that has no clock, as wasm32-unknown-unknown, or for a time that comes from elsewhere.
    ///
    /// ```
    /// use dewar::{Clock, SessionManager, Secret, store::Timestamp};
    ///
    /// # mod host { pub fn milliseconds() -> f64 { 1.8e12 } }
    /// # fn main() -> Result<(), dewar::Error> {
    /// let clock = Clock::from_fn(|| Timestamp::from_millis(host::milliseconds() as u64));
    /// let manager = SessionManager::builder(Secret::generate())?.clock(clock).build()?;
    /// # let _ = manager;
    /// # Ok(()) }
    /// ```
    ///
    /// # Security
    ///
    /// Sessions end by this clock. One that stands still ends none of them.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Source::Own(Arc::new(now)))
    }

    /// Turns a test's clock forward. No other clock can be turned.
    pub fn advance(&self, by: Duration) {
        if let Source::Turned(_) = self.0 {
            self.set(self.now().after(by));
        }
    }

    /// Sets a test's clock, backwards too. No other clock can be set.
    pub fn set(&self, moment: impl Into<Timestamp>) {
        if let Source::Turned(millis) = &self.0 {
            millis.store(moment.into().as_millis(), Ordering::SeqCst);
        }
    }

    /// The moment it is.
    ///
    /// # Panics
    ///
    /// Where it is the system's clock and the platform has none. `build()` refuses a manager with that clock.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => SystemTime::now().into(),
            Source::Turned(millis) => Timestamp::from_millis(millis.load(Ordering::SeqCst)),
            Source::Own(now) => now(),
        }
    }

    /// Why it cannot say what time it is.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        match self.0 {
            Source::System if !HAS_SYSTEM => {
                Err("this platform has no clock; give one with .clock(dewar::Clock::from_fn(...))")
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::System => f.write_str("Clock(the system's)"),
            Source::Turned(_) => write!(f, "Clock(at {})", self.now()),
            Source::Own(_) => f.write_str("Clock(the application's own)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_of_one_s_own_is_asked_each_time() {
        let calls = AtomicU64::new(0);
        let clock = Clock::from_fn(move || Timestamp::from_secs(calls.fetch_add(1, Ordering::SeqCst)));
        assert_eq!([clock.now(), clock.clone().now()], [Timestamp::from_secs(0), Timestamp::from_secs(1)]);
    }

    #[test]
    fn only_a_test_s_clock_can_be_turned() {
        let moment = Timestamp::from_secs(1_800_000_000);
        let own = Clock::from_fn(move || moment);
        own.advance(Duration::from_secs(60));
        own.set(Timestamp::from_secs(0));
        assert_eq!(own.now(), moment);
    }
}
