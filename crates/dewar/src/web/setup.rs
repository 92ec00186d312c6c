//! What every adapter's own layer is: settings, which become one manager for all its clones.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use crate::{
    error::Error,
    manager::{SessionManager, settings::Settings},
    secret::Keyring,
};

/// What all requests of one layer share.
#[derive(Debug)]
pub(super) struct Means {
    pub(super) manager: SessionManager,
    #[cfg(feature = "templates")]
    pub(super) templates: Option<crate::template::Engine>,
}

/// The settings of a layer, and what they become when it is put on a service.
#[derive(Clone)]
pub(super) struct Setup {
    settings: Arc<Settings>,
    /// Made once, and shared by all clones: a router without state asks for its layers with every request, and each of actix's workers for its own.
    means: Arc<OnceLock<Arc<Means>>>,
    #[cfg(feature = "templates")]
    templates: Option<crate::template::Engine>,
}

impl Setup {
    /// # Errors
    ///
    /// Where the secret is refused.
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
    pub(super) fn from_env() -> Result<Self, Error> {
        Self::new(Keyring::from_env("SECRET_KEY")?)
    }

    fn with(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            means: Arc::default(),
            #[cfg(feature = "templates")]
            templates: None,
        }
    }

    pub(super) fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self.means = Arc::default();
        self
    }

    #[cfg(feature = "templates")]
    pub(super) fn templates(mut self, pages: crate::template::Pages) -> Self {
        self.templates = Some(crate::template::Engine::new(pages));
        // A manager that was made already stays.
        let made = self.means.get().map(|means| Arc::new(self.means_with(means.manager.clone())));
        self.means = Arc::new(made.map_or_else(OnceLock::new, OnceLock::from));
        self
    }

    /// # Errors
    ///
    /// Where settings contradict each other.
    pub(super) fn means(&self) -> Result<&Arc<Means>, Error> {
        if let Some(means) = self.means.get() {
            return Ok(means);
        }
        let means = Arc::new(self.means_with(self.settings.build()?));
        Ok(self.means.get_or_init(|| means))
    }

    fn means_with(&self, manager: SessionManager) -> Means {
        Means {
            manager,
            #[cfg(feature = "templates")]
            templates: self.templates.clone(),
        }
    }
}

impl From<SessionManager> for Setup {
    fn from(manager: SessionManager) -> Self {
        let setup = Self::with(Arc::clone(manager.settings()));
        let means = Arc::new(setup.means_with(manager));
        Self { means: Arc::new(OnceLock::from(means)), ..setup }
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").finish_non_exhaustive()
    }
}
