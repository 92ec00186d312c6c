//! What an application may say about its sessions, and the contradictions that are refused.

use std::{
    any::TypeId,
    num::NonZeroU32,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use super::{
    Inner, SessionManager, Watched, draw::Draw, duplicates::FormerDomain, queue::Queues, sources::Source,
    underway::Underway,
};
use crate::{
    cookie::{Attributes, SameSite},
    dialect::{Dialect, Keeps, Opaque, Profile, Sealed},
    error::Error,
    layout::{Layout, Shape},
    lifetime::{Clock, Lifetime, Reissue, Timestamp},
    meaning::Format,
    runtime::Runtime,
    secret::Keyring,
    session::Rules,
    store::{Copied, Engine, ErasedStore, Layered},
    telemetry::{self, Listeners},
};

/// What our own cookie name begins with, as long as the cookie keeps what browsers ask for behind it: it was set by this very host over
/// HTTPS, and by no script. Source: RFC 6265bis, "Cookie Name Prefixes", `__Host-` and `__Host-Http-`.
const GUARDED: &str = "__Host-Http-";

/// Makes a dialect of the application's secrets; given so that it is made once, when all settings are known.
type MakeDialect = Arc<dyn Fn(&Keyring) -> Box<dyn Dialect> + Send + Sync>;

/// What tells two managers apart whose other settings are equal: how the dialect is made, and a digest of the secrets.
#[derive(PartialEq, Eq)]
pub(super) struct Identity {
    dialect: Option<Origin>,
    pub(super) secrets: [u8; 32],
}

/// Which function makes a dialect. One that holds settings is the same only as its clone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    function: TypeId,
    settings: Option<usize>,
}

impl Origin {
    pub(crate) fn of<F: 'static>(function: &Arc<F>) -> Self {
        let settings = (size_of::<F>() > 0).then_some(Arc::as_ptr(function) as usize);
        Self { function: TypeId::of::<F>(), settings }
    }
}

/// What happens to a log-in of a user who has as many sessions as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtMax {
    /// It succeeds, and the session that began first ends.
    EndOldest,
    /// It fails with an error that [says so](Error::is_too_many_sessions), and nothing is saved.
    RefuseLogIn,
}

/// Everything that can be set. What is not set is the dialect's own.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) keyring: Keyring,
    /// Which function makes it, and that function.
    pub(crate) dialect: Option<(Origin, MakeDialect)>,
    pub(crate) store: Option<Arc<dyn ErasedStore>>,
    pub(crate) cookie_name: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) domain: Option<String>,
    /// Where the cookie was before, and until when one of there may come.
    pub(crate) former_domain: Option<(Option<String>, Timestamp)>,
    pub(crate) same_site: Option<SameSite>,
    pub(crate) secure: Option<bool>,
    pub(crate) http_only: Option<bool>,
    pub(crate) partitioned: Option<bool>,
    pub(crate) allow_http: bool,
    pub(crate) lifetime: Option<Lifetime>,
    pub(crate) reissue: Reissue,
    pub(crate) clock_skew: Option<Duration>,
    pub(crate) clock: Clock,
    /// How many sessions a user may have.
    pub(crate) max_sessions: Option<(u32, AtMax)>,
    /// Where sessions come from that this manager did not write.
    pub(crate) sources: Vec<Source>,
    /// Who is told what becomes of sessions.
    pub(crate) listeners: Listeners,
    /// `None`: nobody gave one, and tokio is not compiled in.
    pub(crate) runtime: Option<Arc<dyn Runtime>>,
}

impl Settings {
    pub(crate) fn new(keyring: Keyring) -> Self {
        Self {
            keyring,
            dialect: None,
            store: None,
            cookie_name: None,
            path: None,
            domain: None,
            former_domain: None,
            same_site: None,
            secure: None,
            http_only: None,
            partitioned: None,
            allow_http: false,
            lifetime: None,
            reissue: Reissue::AfterATenth,
            clock_skew: None,
            clock: Clock::default(),
            max_sessions: None,
            sources: Vec::new(),
            listeners: Listeners::default(),
            runtime: default_runtime(),
        }
    }

    /// Whether sessions are read under the secret of our examples.
    #[cfg(feature = "web")]
    pub(crate) fn has_example_secret(&self) -> bool {
        self.keyring.has_example() || self.sources.iter().any(|source| source.manager.settings().has_example_secret())
    }

    /// The manager with these settings.
    ///
    /// # Errors
    ///
    /// Where settings contradict each other or a browser would throw the cookie away. The message
    /// names the setting and says what to write instead.
    pub(crate) fn build(self: &Arc<Self>) -> Result<SessionManager, Error> {
        let dialect: Box<dyn Dialect> = match (&self.dialect, &self.store) {
            (Some((_, make)), _) => make(&self.keyring),
            (None, Some(_)) => Box::new(Opaque::new()),
            (None, None) => Box::new(Sealed::new(&self.keyring)),
        };
        dialect.check()?;
        let profile = dialect.profile();
        match (profile.keeps, &self.store) {
            (Keeps::Data, Some(_)) => {
                return Err(Error::setting(
                    "store: this dialect keeps the session in the cookie; leave out the store, or the dialect. To move its sessions to the store, leave out the dialect and add .reads_also(...)",
                ));
            }
            (Keeps::Id, None) => {
                return Err(Error::setting("dialect: this one keeps only an id in the cookie; add .store(...)"));
            }
            (_, Some(_)) if self.runtime.is_none() => {
                return Err(Error::setting(
                    "store: a store needs a runtime; add .runtime(dewar::runtime::Blocking), or one of your own where there are no threads, \
                     or turn on dewar's feature `tokio`",
                ));
            }
            _ => {}
        }
        self.clock.check().map_err(|why| Error::setting(format!("clock: {why}")))?;

        for source in &self.sources {
            if source.has_store() && self.store.is_none() {
                return Err(Error::setting(
                    "reads_also: sessions that leave a store need a store to go to; add .store(...)",
                ));
            }
            if source.has_sources() {
                return Err(Error::setting(
                    "reads_also: the sources of a source are not read; name each of them here, with .reads_also(...)",
                ));
            }
            if source.has_former_domain() {
                return Err(Error::setting(
                    "reads_also: a source's former_domain is not followed, and its cookie there would outlive a log-out; \
                     name a source for each domain, each with .reads_also(...)",
                ));
            }
            if source.until <= self.clock.now() {
                telemetry::source_is_over(source.manager.cookie_name());
            }
        }

        if self.allow_http && self.secure == Some(true) {
            return Err(Error::setting("dangerously_allow_http and secure(true) contradict each other; leave one out"));
        }
        if !self.allow_http && self.secure == Some(false) && profile.cookie.secure {
            return Err(Error::setting(
                "secure(false): this cookie goes over HTTPS only; on plain HTTP write dangerously_allow_http()",
            ));
        }
        let cookie = self.cookie(profile, self.domain.clone());
        cookie.check()?;
        if profile.also_removed.iter().any(|removed| removed.name == cookie.name) {
            return Err(Error::setting(format!(
                "remember_cookie: {} is the name of the session's own cookie; say the name of the one that remembers",
                cookie.name
            )));
        }
        let former_domain = self.former_domain(profile, &cookie)?;

        let LaidOut { store, layout, idle } = self.laid_out(&*dialect, &cookie)?;
        if layout.is_some() && !self.sources.is_empty() {
            return Err(Error::setting(
                "reads_also: sessions move to a store or a cookie, never into another framework's records, which cannot say until when \
                 the former cookie could come back; leave out the dialect",
            ));
        }
        let cap = self.cap(layout.is_some())?;
        let meaning = dialect.meaning();
        let format = Format {
            name: profile.name,
            encoding: layout.as_ref().map_or(profile.encoding, |layout| layout.encoding()),
            beside: layout.as_ref().map_or(profile.holds, |layout| layout.holds()),
            within: meaning.holds(),
            meaning,
        };

        let usual = if profile.persistent { Lifetime::persistent() } else { Lifetime::browser() };
        let lifetime = self.lifetime.unwrap_or(usual);
        let absolute = lifetime.absolute.or(profile.absolute.map(seconds));
        lifetime.check(absolute).map_err(|why| Error::setting(format!("lifetime: {why}")))?;
        if lifetime.absolute.is_some() && !format.says_when_it_began() {
            return Err(Error::setting(
                "lifetime: this session format does not say when a session began, so it can have no absolute timeout; use idle(...)",
            ));
        }
        if lifetime.persistent && format.within.persistent {
            return Err(Error::setting(
                "lifetime: in this session format each session says by itself whether it is persistent; write Lifetime::browser() here, \
                 with the same timeouts, and call session.set_lifetime(Lifetime::persistent()) where it is to be so",
            ));
        }
        if lifetime.idle.is_some() && !lifetime.persistent && !profile.dated {
            return Err(Error::setting(
                "lifetime: this session format does not say when a session was written, so no idle timeout can end it; \
                 with Lifetime::persistent().idle(...) the browser forgets its cookie after that time",
            ));
        }
        let clock_skew = self.clock_skew.unwrap_or(profile.skew);

        telemetry::describe();
        let (persistent, dated) = (lifetime.persistent, profile.dated);
        let rules = Rules { format, idle, absolute, persistent, replays: self.store.is_some(), dated };
        let former = (self.dialect.is_none() && self.store.is_some()).then(|| Sealed::new(&self.keyring));
        let manager = SessionManager {
            inner: Arc::new(Inner {
                cookie,
                former_domain,
                rules,
                former,
                reissue: self.reissue,
                skew: clock_skew,
                clock: self.clock.clone(),
                store,
                layout,
                given: self.store.clone(),
                cap,
                queues: Queues::default(),
                draw: Draw::new(),
                identity: Identity {
                    dialect: self.dialect.as_ref().map(|(origin, _)| *origin),
                    secrets: self.keyring.digest(),
                },
                runtime: self.runtime.clone(),
                is_purged: AtomicBool::new(self.store.is_none()),
                underway: Underway::default(),
                watched: Watched::default(),
                sources: self.sources.clone(),
                listeners: self.listeners.clone(),
                #[cfg(feature = "web")]
                settings: Arc::clone(self),
                dialect,
            }),
        };
        Ok(manager)
    }

    /// # Errors
    ///
    /// Where nobody would keep to it.
    fn cap(&self, has_layout: bool) -> Result<Option<(NonZeroU32, AtMax)>, Error> {
        let Some((most, at_max)) = self.max_sessions else { return Ok(None) };
        if self.store.is_none() {
            return Err(Error::setting(
                "max_sessions_per_user: who is logged in where is known to a store alone; add .store(...)",
            ));
        }
        if has_layout {
            return Err(Error::setting(
                "max_sessions_per_user: the records of another framework are in no list of its users; leave out this setting, or the dialect",
            ));
        }
        match NonZeroU32::new(most) {
            Some(most) => Ok(Some((most, at_max))),
            None => Err(Error::setting("max_sessions_per_user: with 0 nobody could log in; at least 1")),
        }
    }

    /// The session's cookie with this domain.
    fn cookie(&self, profile: &Profile, domain: Option<String>) -> Attributes {
        let mut cookie = profile.cookie.clone();
        if self.allow_http {
            cookie.secure = false;
        }
        cookie.path = self.path.clone().unwrap_or(cookie.path);
        cookie.domain = domain.or(cookie.domain);
        cookie.same_site = self.same_site.or(cookie.same_site);
        cookie.secure = self.secure.unwrap_or(cookie.secure);
        cookie.http_only = self.http_only.unwrap_or(cookie.http_only);
        cookie.partitioned = self.partitioned.unwrap_or(cookie.partitioned);
        cookie.name = match (&self.cookie_name, cookie.name.strip_prefix(GUARDED)) {
            (Some(name), _) => name.clone(),
            // Our own name promises more than a cookie for a domain or a path can keep.
            (None, Some(plain)) if cookie.domain.is_some() || cookie.path != "/" || !cookie.secure => {
                format!("{plain}{}", name_of_path(&cookie.path))
            }
            (None, Some(plain)) if !cookie.http_only => format!("__Host-{plain}"),
            (None, _) => cookie.name,
        };
        cookie
    }

    /// # Errors
    ///
    /// Where there is nothing to move from.
    fn former_domain(&self, profile: &Profile, cookie: &Attributes) -> Result<Option<FormerDomain>, Error> {
        let Some((domain, until)) = &self.former_domain else { return Ok(None) };
        let former = self.cookie(profile, domain.clone());
        if former.name != cookie.name {
            return Err(Error::setting(format!(
                "former_domain: with its domain the default name of the cookie changes, from {} to {}; take the sessions along with \
                 .reads_also(a manager with the settings of before, until)",
                former.name, cookie.name
            )));
        }
        if former.is_same_as(cookie) {
            return Err(Error::setting(
                "former_domain: the cookie has this domain now; say the one of before (None: it was for this host alone), or leave it out",
            ));
        }
        former.check().map_err(|why| Error::setting(format!("former_domain: {why}")))?;
        if *until <= self.clock.now() {
            telemetry::former_domain_is_over(&cookie.name);
        }
        Ok(Some(FormerDomain { cookie: former, until: *until }))
    }

    /// The idle timeout in seconds: what the layer says, or the framework's records live by.
    ///
    /// # Errors
    ///
    /// Where the two contradict each other.
    fn idle(&self, profile: &Profile, of_records: Option<Duration>) -> Result<u32, Error> {
        match (self.lifetime.and_then(|lifetime| lifetime.idle), of_records.map(seconds)) {
            (Some(said), Some(other)) if said != other => Err(Error::setting(format!(
                "lifetime: the layer says an idle timeout of {said} seconds, and the store that records live for {other}, by which the framework removes them: \
                 say the same in both and in the framework, or say it to the layer alone (leave out gc_maxlifetime)"
            ))),
            (said, other) => Ok(said.or(other).unwrap_or_else(|| seconds(profile.idle))),
        }
    }

    /// The store as the dialect's records need it, and their layout where they are not ours.
    ///
    /// # Errors
    ///
    /// Where the store keeps other records than the dialect's ids lead to.
    fn laid_out(&self, dialect: &dyn Dialect, cookie: &Attributes) -> Result<LaidOut, Error> {
        let profile = dialect.profile();
        let own = |store| Ok(LaidOut { store, layout: None, idle: self.idle(profile, None)? });
        let Some(store) = &self.store else { return own(None) };
        let layouts = match (dialect.layout(), store.layout()) {
            (None, None) => {
                store.keeps_own().map_err(|why| Error::setting(format!("store: {why}")))?;
                return own(Some(Arc::clone(store)));
            }
            (Some(_), Some(given)) => [Some(given), None],
            // In a database it is the framework's table.
            (own, None) => [dialect.row(), own],
            (None, Some(_)) => {
                return Err(Error::setting(
                    "store: this one keeps another framework's records, so add the .dialect(...) whose cookies lead to them",
                ));
            }
        };
        for layout in layouts.into_iter().flatten() {
            if let Some(engine) = store.engine(layout.shape()) {
                let idle = self.idle(profile, engine.lifetime())?;
                let engine = engine.living(Duration::from_secs(idle.into())).unwrap_or(engine);
                let engine = self.with_copies(engine, &*layout)?;
                let layered = Layered::new(Arc::clone(&layout), engine).cookie(cookie.clone());
                return Ok(LaidOut { store: Some(Arc::new(layered)), layout: Some(layout), idle });
            }
        }
        Err(Error::setting(match dialect.layout().map(|layout| layout.shape()) {
            Some(Shape::Row(table)) => format!(
                "store: {} leads to rows of the table {}; use the database that has it, as PostgresStore is",
                profile.name, table.name
            ),
            _ => format!(
                "store: this one keeps records of our own alone, and {} leads to another framework's; \
                 use one with an engine, as RedisStore is",
                profile.name
            ),
        }))
    }

    /// The engine, with the cache of its records where the framework has one.
    ///
    /// # Errors
    ///
    /// Where nothing can be removed from that.
    fn with_copies(&self, engine: Arc<dyn Engine>, layout: &dyn Layout) -> Result<Arc<dyn Engine>, Error> {
        let (Some(copies), Some(runtime)) = (layout.copies(), &self.runtime) else { return Ok(engine) };
        let copied = Copied::new(engine, copies, Arc::clone(runtime));
        Ok(Arc::new(copied.map_err(|why| Error::setting(format!("cache: {why}")))?))
    }
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

/// Where sessions are, how their records look, and the idle timeout in seconds.
struct LaidOut {
    store: Option<Arc<dyn ErasedStore>>,
    layout: Option<Arc<dyn Layout>>,
    idle: u32,
}

#[cfg(feature = "tokio")]
fn default_runtime() -> Option<Arc<dyn Runtime>> {
    Some(Arc::new(crate::runtime::Tokio))
}

#[cfg(not(feature = "tokio"))]
fn default_runtime() -> Option<Arc<dyn Runtime>> {
    None
}

/// What a path adds to our own cookie name, so that two parts of an application have one each: `-admin` for `/admin`.
fn name_of_path(path: &str) -> String {
    let mut name = String::new();
    for byte in path.bytes().filter(|_| path != "/") {
        match byte {
            b'/' => name.push('-'),
            b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => name.push(char::from(byte)),
            other => name.push_str(&format!("%{other:02X}")),
        }
    }
    name
}
