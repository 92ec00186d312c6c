//! What every adapter's own layer is: settings, which become one manager for all its clones.

use std::{
    fmt,
    panic::Location,
    sync::{Arc, OnceLock},
};

use crate::{
    error::Error,
    manager::{SessionManager, settings::Settings},
    secret::Keyring,
};

/// What every adapter's own layer has: it is a [`Setup`] under a name that its framework's users know.
macro_rules! layer {
    ($type:ident) => {
        crate::manager::builder::settings!($type);

        impl $type {
            /// With the secret from the environment variable `SECRET_KEY`, and older ones, comma
            /// separated, from `SECRET_KEY_FALLBACKS`.
            ///
            /// # Errors
            ///
            /// Where the variable is missing or a secret is refused. The message has a ready `export SECRET_KEY=...` line.
            #[track_caller]
            pub fn from_env() -> Result<Self, crate::Error> {
                Setup::from_env().map(Self)
            }

            /// With this secret: a [`Secret`](crate::Secret), a [`Keyring`](crate::Keyring), or a text of at least 16 bytes.
            ///
            /// # Errors
            ///
            /// Where the secret is refused.
            #[track_caller]
            pub fn new<K>(secret: K) -> Result<Self, crate::Error>
            where
                K: TryInto<crate::Keyring>,
                crate::Error: From<K::Error>,
            {
                Setup::new(secret).map(Self)
            }

            /// The manager with these settings, made once and shared by all clones. Ask for it after the last setting: one that follows makes another
            /// manager.
            ///
            /// # Errors
            ///
            /// Where settings contradict each other, a browser would throw the cookie away, or the folder of templates is not there.
            pub fn manager(&self) -> Result<crate::SessionManager, crate::Error> {
                Ok(self.0.means()?.manager.clone())
            }

            fn set(self, change: impl FnOnce(&mut crate::manager::settings::Settings)) -> Self {
                Self(self.0.set(change))
            }

            /// What all requests share, at start-up.
            fn means(&self) -> std::sync::Arc<Means> {
                let refused = |error| panic!("{}, made at {}: {error}", stringify!($type), self.0.made_at);
                std::sync::Arc::clone(self.0.means().unwrap_or_else(refused))
            }
        }

        /// With a manager that was made already.
        impl From<crate::SessionManager> for $type {
            #[track_caller]
            fn from(manager: crate::SessionManager) -> Self {
                Self(Setup::from(manager))
            }
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($type)).finish_non_exhaustive()
            }
        }
    };
}

pub(super) use layer;

/// What all requests of one layer share.
#[derive(Debug)]
pub(super) struct Means {
    pub(super) manager: SessionManager,
    /// Whether one of its secrets is the one of our examples, which serves on this machine alone.
    pub(super) has_example_secret: bool,
    #[cfg(feature = "templates")]
    pub(super) templates: Option<crate::template::Engine>,
}

/// The settings of a layer, and what they become when it is put on a service.
#[derive(Clone)]
pub(super) struct Setup {
    settings: Arc<Settings>,
    /// One that was made already: by its owner, or before the pages were named.
    made: Option<SessionManager>,
    /// Where the application made it: a framework puts it on a service far from there.
    pub(super) made_at: &'static Location<'static>,
    /// Made once, and shared by all clones: a router without state asks for its layers with every request, and each of actix's workers for its own.
    means: Arc<OnceLock<Arc<Means>>>,
    #[cfg(feature = "templates")]
    templates: Option<crate::template::Engine>,
}

impl Setup {
    /// # Errors
    ///
    /// Where the secret is refused.
    #[track_caller]
    pub(super) fn new<K>(secret: K) -> Result<Self, Error>
    where
        K: TryInto<Keyring>,
        Error: From<K::Error>,
    {
        Ok(Self::with(Arc::new(Settings::new(secret.try_into()?))))
    }

    /// # Errors
    ///
    /// Where the variable is missing or a secret is refused.
    #[track_caller]
    pub(super) fn from_env() -> Result<Self, Error> {
        Self::new(Keyring::from_env("SECRET_KEY")?)
    }

    #[track_caller]
    fn with(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            made: None,
            made_at: Location::caller(),
            means: Arc::default(),
            #[cfg(feature = "templates")]
            templates: None,
        }
    }

    pub(super) fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self.made = None;
        self.means = Arc::default();
        self
    }

    #[cfg(feature = "templates")]
    pub(super) fn templates(mut self, pages: crate::template::Pages) -> Self {
        self.templates = Some(crate::template::Engine::new(pages));
        self.made = self.made.or_else(|| self.means.get().map(|means| means.manager.clone()));
        self.means = Arc::default();
        self
    }

    /// # Errors
    ///
    /// Where settings contradict each other, and where there is no folder of templates.
    pub(super) fn means(&self) -> Result<&Arc<Means>, Error> {
        if let Some(means) = self.means.get() {
            return Ok(means);
        }
        let manager = self.made.clone().map_or_else(|| self.settings.build(), Ok)?;
        #[cfg(feature = "templates")]
        self.templates.as_ref().map_or(Ok(()), crate::template::Engine::check)?;
        let means = Means {
            has_example_secret: self.settings.has_example_secret(),
            manager,
            #[cfg(feature = "templates")]
            templates: self.templates.clone(),
        };
        Ok(self.means.get_or_init(|| Arc::new(means)))
    }
}

impl From<SessionManager> for Setup {
    #[track_caller]
    fn from(manager: SessionManager) -> Self {
        Self { made: Some(manager.clone()), ..Self::with(Arc::clone(manager.settings())) }
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").finish_non_exhaustive()
    }
}
