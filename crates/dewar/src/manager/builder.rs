//! [`SessionManagerBuilder`]: every setting, written once for all who have them.

use std::{fmt, sync::Arc};

use super::{SessionManager, settings::Settings};
use crate::{error::Error, secret::Keyring};

/// The settings as methods of a type that has `fn set(self, change: impl FnOnce(&mut Settings)) -> Self`: the builder, and each adapter's own.
macro_rules! settings {
    ($type:ty) => {
        impl $type {
            /// Reads and writes another framework's sessions: `.dialect(Flask::new)`.
            ///
            /// A dialect is made of the application's secrets; its own settings go into a closure. The cookie's name and
            /// attributes are then that framework's, where nothing else is said.
            pub fn dialect<D: crate::dialect::Dialect>(
                self,
                make: impl Fn(&crate::Keyring) -> D + Send + Sync + 'static,
            ) -> Self {
                let make = std::sync::Arc::new(move |keyring: &crate::Keyring| -> Box<dyn crate::dialect::Dialect> {
                    Box::new(make(keyring))
                });
                self.set(|settings| settings.dialect = Some((crate::manager::settings::Origin::of(&make), make)))
            }

            /// Keeps the sessions in a store, and only a random id in the cookie.
            ///
            /// Then different entries that racing requests write are merged, and a log-out is final. Sessions that
            /// were in cookies under the same secret are taken over: moving to a store logs nobody out.
            pub fn store(self, store: impl crate::store::SessionAdmin) -> Self {
                self.set(|settings| settings.store = Some(std::sync::Arc::new(store)))
            }

            /// Opens sessions that another format wrote, or that are in a store which is being left, and writes them in the new form with the next commit.
            ///
            /// `source` is a manager with the settings of before: its dialect, secrets, cookie, lifetime and store. What was in its session is in
            /// this one, and the old cookie is removed. `until` is when the last of them has run out: a site is as strong as its weakest reader.
            ///
            /// ```
            /// # #[cfg(feature = "flask")] fn main() -> Result<(), dewar::Error> {
            /// use dewar::{Secret, SessionManager, dialect::Flask, store::{Timestamp, memory::MemoryStore}};
            ///
            /// # let (old, new) = (Secret::generate(), Secret::generate());
            /// let flask = SessionManager::builder(old)?.dialect(Flask::new).build()?;
            /// let spring = Timestamp::from_secs(1_806_364_800); // 2027-03-30
            /// let manager = SessionManager::builder(new)?.store(MemoryStore::new()).reads_also(flask, spring).build()?;
            /// # let _ = manager; Ok(()) }
            /// # #[cfg(not(feature = "flask"))] fn main() {}
            /// ```
            ///
            /// If the request also has a valid cookie of this manager, the old cookie is ignored. A session that does not say when it began begins with the move. Our own sessions that are still in their cookie under the same secret move to a
            /// store without this.
            ///
            /// An entry that this manager's format cannot hold is an error of the request, by name: nothing is dropped without a word.
            ///
            /// # Security
            ///
            /// A cookie that is one visitor's alone (sealed, or an id on a store) leads to one session however often it comes, and after a log-out to none.
            /// A cookie that is only signed (Flask's, cookie-session's) may be the same for two strangers: each first write with it begins
            /// a session of its own, and a copy that somebody kept opens until it runs out.
            pub fn reads_also(self, source: crate::SessionManager, until: impl Into<crate::store::Timestamp>) -> Self {
                let until = until.into();
                self.set(|settings| settings.sources.push(crate::manager::sources::Source { manager: source, until }))
            }

            /// Calls this with what becomes of sessions, for an audit log: begun, logged in, renewed, ended, or a cookie refused. Several are called in
            /// their order.
            ///
            /// ```
            /// # fn main() -> Result<(), dewar::Error> {
            /// use dewar::{EndReason, Event, Secret, SessionManager};
            ///
            /// let manager = SessionManager::builder(Secret::generate())?
            ///     .on_event(|event| match event {
            ///         Event::Authenticated => println!("log-in"),
            ///         Event::Ended { reason: EndReason::Cleared, .. } => println!("log-out"),
            ///         other => println!("{other:?}"),
            ///     })
            ///     .build()?;
            /// # let _ = manager; Ok(()) }
            /// ```
            ///
            /// Each is told at most once, after it is true: the store has answered, or the cookie is made. What failed is not told. A process that is
            /// killed between the two tells it never, and neither does one that learns of no answer. No id and no user is in it: an application that needs
            /// the user in its audit log writes that line in the handler that calls [`set_principal`](crate::Session::set_principal), after
            /// [`commit`](crate::Session::commit).
            ///
            /// It is called where a request is answered, so it should be quick: a channel is. It must not wait for a commit of the session that it is told of,
            /// which waits for it. A panic in it is a line in the log, and harms no request.
            pub fn on_event(self, hear: impl Fn(&crate::Event) + Send + Sync + 'static) -> Self {
                self.set(|settings| settings.listeners.0.push(crate::telemetry::Listener::new(hear)))
            }

            /// What commits that outlive their callers, pauses and purging run on, where it is not tokio.
            pub fn runtime(self, runtime: impl crate::runtime::Runtime) -> Self {
                self.set(|settings| settings.runtime = Some(std::sync::Arc::new(runtime)))
            }

            /// How long a session lives, where it does not say so itself. The default: until the browser closes, at most a day
            /// without a visit, at most 30 days in all.
            #[doc(alias = "with_expiry")]
            #[doc(alias = "max_age")]
            #[doc(alias = "ttl")]
            pub fn lifetime(self, lifetime: crate::Lifetime) -> Self {
                self.set(|settings| settings.lifetime = Some(lifetime))
            }

            /// How many sessions a user may have at once (ASVS 7.1.2), and what happens to a log-in beyond that. On a store of our own records.
            ///
            /// ```
            /// use dewar::{AtMax, Secret, SessionManager, store::memory::MemoryStore};
            ///
            /// # fn main() -> Result<(), dewar::Error> {
            /// let manager = SessionManager::builder(Secret::generate())?
            ///     .store(MemoryStore::new())
            ///     .max_sessions_per_user(3, AtMax::EndOldest)
            ///     .build()?;
            /// # let _ = manager; Ok(()) }
            /// ```
            ///
            /// It is checked where a log-in is saved, in one step with it: however many log in at once, no more than that live. The session that logs
            /// in, and one that is only renewed, is not one more. A session that moves here from a cookie or another format is not checked.
            ///
            /// To show a page where a log-in is refused, commit in the handler:
            ///
            /// ```
            /// # use dewar::{Error, Session};
            /// # async fn log_in(session: Session) -> Result<&'static str, Error> {
            /// session.set_principal("ann");
            /// match session.commit().await {
            ///     Err(error) if error.is_too_many_sessions() => Ok("Please log out on one of your other devices first."),
            ///     done => done.map(|()| "Welcome."),
            /// }
            /// # }
            /// ```
            ///
            /// # Security
            ///
            /// With [`AtMax::EndOldest`](crate::AtMax::EndOldest) whoever knows the password can end the sessions of its owner, and with [`AtMax::RefuseLogIn`](crate::AtMax::RefuseLogIn) keep the owner out
            /// until one of theirs ends.
            #[doc(alias = "maximum_sessions")]
            pub fn max_sessions_per_user(self, most: u32, at_max: crate::AtMax) -> Self {
                self.set(|settings| settings.max_sessions = Some((most, at_max)))
            }

            /// When a session that was only read is issued again, so that it does not run out.
            #[doc(alias = "rolling")]
            pub fn reissue(self, reissue: crate::Reissue) -> Self {
                self.set(|settings| settings.reissue = reissue)
            }

            /// The cookie's name.
            #[doc(alias = "with_name")]
            pub fn cookie_name(self, name: impl Into<String>) -> Self {
                self.set(|settings| settings.cookie_name = Some(name.into()))
            }

            /// The cookie's `Path`. Another one than `/` gives up the `__Host-` of the default name and becomes part of it (`session-admin` for `/admin`), so
            /// that two parts of one application never read each other's.
            pub fn path(self, path: impl Into<String>) -> Self {
                self.set(|settings| settings.path = Some(path.into()))
            }

            /// The cookie's `Domain`, to share the session with all hosts below it. It gives up the `__Host-` of the default name.
            ///
            /// # Security
            ///
            /// Every host below the domain can then read the cookie, and set one. Where the domain changes while sessions live, say
            /// [`former_domain`](Self::former_domain) as well.
            pub fn domain(self, domain: impl Into<String>) -> Self {
                self.set(|settings| settings.domain = Some(domain.into()))
            }

            /// Where the cookie was before its `Domain` changed: another domain, or (`None`) this host alone.
            ///
            /// A browser takes the same name at another domain for another cookie, and sends both. Until the last of the former ones has run out
            /// (`until`), each response that sets or removes the session's cookie removes the former one, too. A session moves with the next cookie
            /// that it gets, at the latest after a tenth of its idle timeout ([`Reissue`](crate::Reissue)). Where a request has both cookies, the
            /// newer session counts if both are the same user's, or nobody's of one visit.
            ///
            /// ```
            /// use dewar::{SessionManager, store::Timestamp};
            ///
            /// # fn main() -> Result<(), dewar::Error> {
            /// # let secret = dewar::Secret::generate();
            /// let manager = SessionManager::builder(secret)?
            ///     .cookie_name("session")
            ///     .domain("example.com") // shared with shop.example.com from now on
            ///     .former_domain(None, Timestamp::from_secs(1_806_364_800)) // 2027-03-30
            ///     .build()?;
            /// # let _ = manager; Ok(()) }
            /// ```
            ///
            /// Where several servers are changed one after another, add it to all of them first, the other way round: `.former_domain("example.com",
            /// until)` beside the domain of before. Under our own default name a domain changes the name, too; `build()` says so, and
            /// [`reads_also`](Self::reads_also) takes those sessions along.
            ///
            /// # Security
            ///
            /// Without it a log-out removes the new cookie alone: a session that is in the former one comes back, where no store knows that it ended. Two sessions of different
            /// users are nobody's, as ever: a neighbour on the domain may have planted one.
            pub fn former_domain<'a>(
                self,
                domain: impl Into<Option<&'a str>>,
                until: impl Into<crate::store::Timestamp>,
            ) -> Self {
                let former = (domain.into().map(str::to_owned), until.into());
                self.set(|settings| settings.former_domain = Some(former))
            }

            /// The cookie's `SameSite`.
            ///
            /// # Security
            ///
            /// [`SameSite::None`](crate::SameSite::None) sends the session along with requests that other sites make: protect forms against CSRF.
            pub fn same_site(self, same_site: crate::SameSite) -> Self {
                self.set(|settings| settings.same_site = Some(same_site))
            }

            /// Whether the cookie goes over HTTPS only. Ours does anyway, and `secure(false)` is refused for it (on plain HTTP write
            /// [`dangerously_allow_http`](Self::dangerously_allow_http)); other frameworks' cookies do not by default.
            pub fn secure(self, secure: bool) -> Self {
                self.set(|settings| settings.secure = Some(secure))
            }

            /// Whether the cookie is bound to the site in whose page it was set (`Partitioned`, CHIPS).
            pub fn partitioned(self, partitioned: bool) -> Self {
                self.set(|settings| settings.partitioned = Some(partitioned))
            }

            /// Lets scripts read the cookie. It gives up the `Http-` of the default name.
            ///
            /// # Security
            ///
            /// One cross-site scripting hole then gives the session away.
            pub fn dangerously_allow_scripts(self) -> Self {
                self.set(|settings| settings.http_only = Some(false))
            }

            /// Sends the cookie over plain HTTP too, under the plain name `session`. For development: Safari drops
            /// `Secure` cookies on `http://localhost`, and every browser does on a LAN address.
            ///
            /// # Security
            ///
            /// Whoever listens on the network can take the session over.
            #[doc(alias = "with_secure")]
            pub fn dangerously_allow_http(self) -> Self {
                self.set(|settings| settings.allow_http = true)
            }

            /// How far in the future a session may have been issued, for servers whose clocks differ. The default
            /// is 60 seconds for our own sessions, and 0 where the framework refuses the future.
            pub fn clock_skew(self, skew: std::time::Duration) -> Self {
                self.set(|settings| settings.clock_skew = Some(skew))
            }

            /// Takes the time from this clock instead of the system's: in a test, and where the platform has none.
            pub fn clock(self, clock: crate::Clock) -> Self {
                self.set(|settings| settings.clock = clock)
            }
        }
    };
}

#[cfg(feature = "web")]
pub(crate) use settings;

/// Makes a [`SessionManager`]: [`SessionManager::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `.build()`"]
pub struct SessionManagerBuilder {
    settings: Settings,
}

settings!(SessionManagerBuilder);

impl SessionManagerBuilder {
    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// The manager with these settings.
    ///
    /// # Errors
    ///
    /// Where settings contradict each other, a browser would throw the cookie away, or a store has no runtime. The message names the setting and says
    /// what to write instead.
    pub fn build(self) -> Result<SessionManager, Error> {
        Arc::new(self.settings).build()
    }
}

impl fmt::Debug for SessionManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionManagerBuilder").finish_non_exhaustive()
    }
}

impl SessionManager {
    /// Begins a manager with this secret: a [`Secret`](crate::Secret), a [`Keyring`], or a text of at least 16 bytes.
    ///
    /// ```
    /// use dewar::{Keyring, Lifetime, SessionManager, store::memory::MemoryStore};
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), dewar::Error> {
    /// # let keyring = Keyring::new(dewar::Secret::generate()); // Keyring::from_env("SECRET_KEY")?
    /// let manager = SessionManager::builder(keyring)?
    ///     .store(MemoryStore::new())
    ///     .lifetime(Lifetime::browser().idle(Duration::from_secs(3600)))
    ///     .build()?;
    /// # let _ = manager; Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Where the secret is refused.
    pub fn builder<K>(secret: K) -> Result<SessionManagerBuilder, Error>
    where
        K: TryInto<Keyring>,
        Error: From<K::Error>,
    {
        Ok(SessionManagerBuilder { settings: Settings::new(secret.try_into()?) })
    }

    /// A manager with every default: the session encrypted in a cookie `__Host-Http-session`.
    ///
    /// # Errors
    ///
    /// Where the secret is refused.
    pub fn new<K>(secret: K) -> Result<Self, Error>
    where
        K: TryInto<Keyring>,
        Error: From<K::Error>,
    {
        Self::builder(secret)?.build()
    }
}
