//! What the entries of a session mean to a framework: the [`Meaning`] trait.
//!
//! Whose session it is, whether its cookie outlives the browser, which messages wait for the next page: our own format keeps the first two beside the
//! entries, and others keep all of it in entries of a certain name. A meaning knows neither cookies nor stores.

use std::fmt;

#[cfg(feature = "django")]
mod django;
#[cfg(any(feature = "iron", feature = "phoenix", feature = "php", feature = "rails"))]
mod entry;
#[cfg(feature = "express")]
mod express;
#[cfg(feature = "flask")]
mod flask;
#[cfg(feature = "laravel")]
mod laravel;
mod login;
#[cfg(feature = "phoenix")]
mod phoenix;
mod principal;
#[cfg(feature = "rails")]
mod rails;
#[cfg(feature = "php")]
mod symfony;

#[cfg(feature = "django")]
pub(crate) use django::Django;
#[cfg(any(feature = "iron", feature = "phoenix", feature = "php", feature = "rails"))]
pub(crate) use entry::Entry;
#[cfg(feature = "express")]
pub(crate) use express::{Express, JSON, Reserved};
#[cfg(feature = "flask")]
pub(crate) use flask::{Flask, PERMANENT as FLASK_PERMANENT, REMEMBER_TOKEN};
#[cfg(feature = "laravel")]
pub(crate) use laravel::{Laravel, TOKEN_LENGTH as LARAVEL_TOKEN};
pub use login::{Login, Proof};
#[cfg(feature = "phoenix")]
pub(crate) use phoenix::{CSRF_TOKEN, FLASH, Phoenix};
pub use principal::Principal;
#[cfg(feature = "rails")]
pub(crate) use rails::{JSON as RAILS_JSON, Rails, SESSION_ID, session_id};
#[cfg(feature = "php")]
pub(crate) use symfony::{FLASHES, Security, Symfony};

use crate::{
    data::Contents,
    encoding::{Encoding, ReadError},
    error::Error,
    flash,
    lifetime::Lifetime,
};
pub use crate::{
    data::Data,
    flash::{Flash, FlashChange},
};

/// What entries mean to one framework.
///
/// All of it has a default: entries that mean nothing, and messages as Flask keeps them.
pub trait Meaning: fmt::Debug + Send + Sync + 'static {
    /// What of the metadata stands in entries. What stands there is asked of them, and written to them.
    fn holds(&self) -> Holds {
        Holds::NOTHING
    }

    /// Whose session it is, where [`holds`](Meaning::holds) has the principal.
    fn principal(&self, _data: &Data, _encoding: Encoding) -> Option<Principal> {
        None
    }

    /// Whether this entry says whose session it is: whoever writes another user to it by hand begins another session.
    fn is_principal(&self, _entry: &str) -> bool {
        false
    }

    /// Whether the cookie outlives the browser, where [`holds`](Meaning::holds) has that.
    fn is_persistent(&self, _data: &Data, _encoding: Encoding) -> bool {
        false
    }

    /// Whether this entry says nothing but whether the cookie outlives the browser: another format keeps that elsewhere.
    fn is_persistence(&self, _entry: &[u8]) -> bool {
        false
    }

    /// Makes the entries say something else. It is done again on fresher entries where requests race.
    ///
    /// # Errors
    ///
    /// Where an entry that stands there cannot be changed so; the message names it.
    fn set(&self, _data: &mut Data, _encoding: Encoding, _change: Change<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// Whether the session is still that of the user as the application has them now, where entries say more of a log-in than the user's name.
    ///
    /// # Errors
    ///
    /// Where nothing in the entries could say so; the message says what to leave out.
    fn confirm(&self, _data: &Data, _encoding: Encoding, login: &Login) -> Result<Confirmed, Error> {
        match login.proof {
            Proof::Nothing => Ok(Confirmed::Yes),
            _ => Err(Error::setting(
                "confirm_principal: this session format keeps nothing that follows from a password; leave that out of the Login, \
                 and end the sessions of whoever changes it on a store, with revoke_all",
            )),
        }
    }

    /// Whether messages are kept in this entry.
    fn is_flash(&self, entry: &[u8]) -> bool {
        entry == flash::ENTRY.as_bytes()
    }

    /// The messages for the next page, in order. Oddities of another application are passed over.
    ///
    /// # Errors
    ///
    /// Where what stands there is nothing of the kind.
    fn flashes(&self, data: &Data, encoding: Encoding) -> Result<Vec<Flash>, ReadError> {
        flash::read(encoding, data)
    }

    /// Leaves messages and takes shown ones away, in this order; all at once, so that a thousand need not be decoded a thousand times.
    ///
    /// # Errors
    ///
    /// Where what stands there is nothing of the kind, or a message cannot be written; the message names the entry.
    fn flash(&self, data: &mut Data, encoding: Encoding, changes: &[FlashChange<'_>]) -> Result<(), Error> {
        flash::change(encoding, data, changes)
    }
}

/// Whether a session is still that of its user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Confirmed {
    /// It is.
    Yes,
    /// It is, and this entry should say so anew: it was made under a secret of before.
    Anew(&'static str, Vec<u8>),
    /// It is not: the password has changed since.
    No,
}

/// What is to be said by entries from now on.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Change<'a> {
    /// Somebody has logged in.
    Principal(&'a Login),
    /// How long this session lives.
    Lifetime {
        /// Whether the cookie outlives the browser.
        persistent: bool,
        /// The idle timeout in seconds.
        idle: u32,
    },
    /// A session gets its first id. With a source of random bytes, for a token that the framework gives it then.
    Begun(fn(&mut [u8])),
    /// The id changes: what a framework ties to it (a token against forged requests) changes, too. With a source of random bytes for it.
    Renewed(fn(&mut [u8])),
}

/// Which metadata is kept: beside the entries, or in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holds {
    /// Timeouts of a single session.
    pub timeouts: Timeouts,
    /// Whether the cookie outlives the browser.
    pub persistent: bool,
    /// Whose session it is.
    pub principal: bool,
    /// What the application calls the session in a list of devices.
    pub label: bool,
}

/// Which timeouts of a single session are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Timeouts {
    /// None: they are the manager's.
    Nothing,
    /// The idle timeout, and only of a session whose cookie outlives the browser.
    IdleOfPersistent,
    /// The same, where that is shorter than the manager's, which ends the session as well.
    ShorterOfPersistent,
    /// The idle timeout and the absolute one, with when the visit began.
    All,
}

impl Holds {
    /// Nothing at all.
    pub const NOTHING: Self = Self { timeouts: Timeouts::Nothing, persistent: false, principal: false, label: false };
    /// All of it, as our own formats do.
    pub const ALL: Self = Self { timeouts: Timeouts::All, persistent: true, principal: true, label: true };
}

/// Entries that mean nothing to the format.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain;

impl Meaning for Plain {}

/// How the sessions of one manager are written: what the session, its journal and its commit have to know of a format.
#[derive(Clone, Debug)]
pub(crate) struct Format {
    /// As the dialect is called.
    pub(crate) name: &'static str,
    pub(crate) encoding: Encoding,
    pub(crate) meaning: std::sync::Arc<dyn Meaning>,
    /// What stands beside the entries.
    pub(crate) beside: Holds,
    /// What stands in them.
    pub(crate) within: Holds,
    /// The entry that is not worth keeping alone.
    pub(crate) alone: Option<&'static str>,
}

/// The meaning is the dialect's, and whoever compares formats compares those.
impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        (self.encoding, self.beside, self.within) == (other.encoding, other.beside, other.within)
    }
}

impl Format {
    /// Why a single session cannot have this lifetime, where the layer's cookies outlive the browser or not.
    /// `idle` is the layer's idle timeout.
    pub(crate) fn fits(&self, lifetime: Lifetime, is_persistent: bool, idle: u32) -> Result<(), String> {
        let name = self.name;
        match self.timeouts() {
            _ if lifetime.persistent != is_persistent && !self.says_how_long() => Err(format!(
                "{name} does not say of a single session whether its cookie outlives the browser; set that on the layer"
            )),
            Timeouts::All => Ok(()),
            _ if lifetime.absolute.is_some() => {
                Err(format!("{name} keeps no absolute timeout of a single session; leave out .absolute(...)"))
            }
            Timeouts::Nothing if lifetime.idle.is_some() => Err(format!(
                "{name} keeps no idle timeout of a single session; set it on the layer, and leave out .idle(...) here"
            )),
            _ if lifetime.idle.is_some() && !lifetime.persistent => Err(format!(
                "{name} keeps an idle timeout of a single session only where its cookie outlives the browser; \
                 use Lifetime::persistent().idle(...)"
            )),
            Timeouts::ShorterOfPersistent if lifetime.idle.is_some_and(|own| own > idle) => Err(format!(
                "{name} ends every session after the layer's idle timeout of {idle} s; give the layer the longer one"
            )),
            _ => Ok(()),
        }
    }

    /// Which timeouts of a single session are kept, wherever.
    pub(crate) fn timeouts(&self) -> Timeouts {
        match self.within.timeouts {
            Timeouts::Nothing => self.beside.timeouts,
            within => within,
        }
    }

    /// Whose session it is.
    pub(crate) fn principal(&self, contents: &Contents) -> Option<Principal> {
        if self.within.principal {
            return self.meaning.principal(&contents.data, self.encoding);
        }
        contents.principal.as_deref().map(|text| Principal::Known(text.to_owned()))
    }

    pub(crate) fn is_persistent(&self, contents: &Contents) -> bool {
        if self.within.persistent {
            return self.meaning.is_persistent(&contents.data, self.encoding);
        }
        contents.persistent
    }

    /// Whether a session says when the visit began.
    pub(crate) fn says_when_it_began(&self) -> bool {
        self.beside.timeouts == Timeouts::All
    }

    /// Whether a session says whether its cookie outlives the browser.
    pub(crate) fn says_how_long(&self) -> bool {
        self.beside.persistent || self.within.persistent
    }

    pub(crate) fn keeps_principal(&self) -> bool {
        self.within.principal || self.beside.principal
    }

    pub(crate) fn set(&self, data: &mut Data, change: Change<'_>) -> Result<(), Error> {
        self.meaning.set(data, self.encoding, change)
    }
}
