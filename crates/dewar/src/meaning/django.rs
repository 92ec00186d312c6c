//! `_auth_user_id`, `_auth_user_backend` and `_auth_user_hash`, `_session_expiry` and `_csrftoken`: Django 5.2 and 6.0.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Change, Confirmed, Data, Holds, Login, Meaning, Principal, Proof, Timeouts};
use crate::{
    encoding::Encoding,
    error::Error,
    lifetime::Timestamp,
    secret::{Secret, hex, letters_and_digits},
    value::{DateTime, Value},
};

const USER: &str = "_auth_user_id";
const BACKEND: &str = "_auth_user_backend";
const HASH: &str = "_auth_user_hash";
const EXPIRY: &str = "_session_expiry";
/// The secret against forged requests, with `CSRF_USE_SESSIONS`.
const CSRF: &str = "_csrftoken";

/// The default of `AUTHENTICATION_BACKENDS`.
const MODEL_BACKEND: &str = "django.contrib.auth.backends.ModelBackend";
const HASH_SALT: &[u8] = b"django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash";

/// What Django and its `contrib.auth` keep in entries.
#[derive(Clone)]
pub(crate) struct Django {
    /// `SESSION_EXPIRE_AT_BROWSER_CLOSE`: of sessions that do not say it.
    pub(crate) expires_at_browser_close: bool,
    /// Whether a session that lives longer than the others is kept as long, which a cookie alone is not.
    pub(crate) keeps_longer: bool,
    /// What makes `_auth_user_hash`, of each secret.
    keys: Vec<Hmac<Sha256>>,
}

impl Django {
    pub(crate) fn new(secrets: &[Secret]) -> Self {
        let key = |secret: &Secret| {
            let key = Sha256::new().chain_update(HASH_SALT).chain_update(secret.reveal()).finalize();
            Hmac::new_from_slice(&key).expect("HMAC takes a key of any length")
        };
        Self { expires_at_browser_close: false, keeps_longer: false, keys: secrets.iter().map(key).collect() }
    }

    /// The same of sessions on a store.
    pub(crate) fn on_store(secrets: &[Secret]) -> Self {
        Self { keeps_longer: true, ..Self::new(secrets) }
    }

    /// How long the browser keeps the cookie from this moment on, in seconds, where the session says that of itself.
    pub(crate) fn own_age(data: &Data, encoding: Encoding, now: Timestamp) -> Option<u32> {
        let seconds = |whole: i128| u32::try_from(whole.max(0)).unwrap_or(u32::MAX);
        match encoding.read(data.get(EXPIRY.as_bytes())?).ok()? {
            Value::Integer(0) => None,
            Value::Integer(whole) => Some(seconds(whole.into())),
            Value::Float(some) if some.is_finite() && some != 0.0 => Some(seconds(some as i128)),
            Value::Text(date) => {
                let end: DateTime = date.parse().ok()?;
                let end = i128::from(end.seconds()) * 1000 + i128::from(end.nanos() / 1_000_000);
                Some(seconds((end - i128::from(now.as_millis())).div_euclid(1000)))
            }
            _ => None,
        }
    }

    /// `get_session_auth_hash` of a user with this password, by one of the secrets.
    fn hash(key: &Hmac<Sha256>, stored: &str) -> String {
        let mut mac = key.clone();
        mac.update(stored.as_bytes());
        hex(&mac.finalize().into_bytes())
    }
}

impl Meaning for Django {
    fn holds(&self) -> Holds {
        let timeouts = if self.keeps_longer { Timeouts::IdleOfPersistent } else { Timeouts::ShorterOfPersistent };
        Holds { timeouts, persistent: true, principal: true, ..Holds::NOTHING }
    }

    fn principal(&self, data: &Data, encoding: Encoding) -> Option<Principal> {
        Principal::read(encoding, data.get(USER.as_bytes())?)
    }

    fn is_principal(&self, entry: &str) -> bool {
        entry == USER
    }

    fn is_persistent(&self, data: &Data, encoding: Encoding) -> bool {
        match data.get(EXPIRY.as_bytes()).and_then(|encoded| encoding.read(encoded).ok()) {
            None | Some(Value::Null) => !self.expires_at_browser_close,
            // Whatever is zero to Python.
            Some(Value::Integer(0) | Value::Bool(false)) => false,
            Some(Value::Float(expiry)) => expiry != 0.0,
            Some(_) => true,
        }
    }

    fn is_persistence(&self, entry: &[u8]) -> bool {
        entry == EXPIRY.as_bytes()
    }

    fn set(&self, data: &mut Data, encoding: Encoding, change: Change<'_>) -> Result<(), Error> {
        match change {
            Change::Principal(login) => self.log_in(data, encoding, login)?,
            Change::Lifetime { persistent, idle } => {
                insert(data, encoding, EXPIRY, if persistent { &idle } else { &0 })?;
            }
            Change::Renewed(mut random) if data.get(CSRF.as_bytes()).is_some() => {
                // `_get_new_csrf_string`
                insert(data, encoding, CSRF, &letters_and_digits(32, &mut random))?;
            }
            Change::Begun(_) | Change::Renewed(_) => {}
        }
        Ok(())
    }

    fn confirm(&self, data: &Data, encoding: Encoding, login: &Login) -> Result<Confirmed, Error> {
        // Django ends a session without one, too.
        let Some(kept) = kept(data, encoding) else { return Ok(Confirmed::No) };
        let is_it = |hash: &str| bool::from(hash.as_bytes().ct_eq(kept.as_bytes()));
        match &login.proof {
            Proof::Nothing => Err(Error::setting(
                "confirm_principal: Django ties a session to the user's password; give it with Login::new(id).password(user.password)",
            )),
            Proof::Hash(hash) => Ok(if is_it(hash) { Confirmed::Yes } else { Confirmed::No }),
            Proof::Password(stored) => {
                let hashes: Vec<String> = self.keys.iter().map(|key| Self::hash(key, stored)).collect();
                Ok(match hashes.iter().position(|hash| is_it(hash)) {
                    Some(0) => Confirmed::Yes,
                    Some(_) => Confirmed::Anew(HASH, written(encoding, HASH, &hashes[0])?),
                    None => Confirmed::No,
                })
            }
        }
    }
}

impl Django {
    fn log_in(&self, data: &mut Data, encoding: Encoding, login: &Login) -> Result<(), Error> {
        let is_the_same = self.principal(data, encoding).is_some_and(|former| former.is(&login.id));
        let hash = match &login.proof {
            Proof::Password(stored) => Some(Self::hash(&self.keys[0], stored)),
            Proof::Hash(hash) if !hash.is_empty() => Some(hash.to_string()),
            Proof::Nothing if is_the_same && kept(data, encoding).is_some() => None,
            Proof::Nothing | Proof::Hash(_) => {
                return Err(Error::setting(
                    "set_principal: Django takes no session for a log-in that is not tied to the user's password; \
                     write set_principal(Login::new(id).password(user.password)), with the column of auth_user",
                ));
            }
        };
        // What reads the same keeps its bytes.
        if !is_the_same {
            insert(data, encoding, USER, &login.id)?;
        }
        match &login.backend {
            Some(path) => insert(data, encoding, BACKEND, path)?,
            None if is_the_same && data.get(BACKEND.as_bytes()).is_some() => {}
            None => insert(data, encoding, BACKEND, MODEL_BACKEND)?,
        }
        if let Some(hash) = hash {
            insert(data, encoding, HASH, &hash)?;
        }
        Ok(())
    }
}

/// What the session is tied to.
fn kept(data: &Data, encoding: Encoding) -> Option<String> {
    let hash: Option<String> = data.get(HASH.as_bytes()).and_then(|encoded| encoding.read(encoded).ok());
    hash.filter(|hash| !hash.is_empty())
}

/// Never its keys.
impl fmt::Debug for Django {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Django")
            .field("expires_at_browser_close", &self.expires_at_browser_close)
            .finish_non_exhaustive()
    }
}

fn insert<T: serde::Serialize + ?Sized>(
    data: &mut Data,
    encoding: Encoding,
    entry: &str,
    value: &T,
) -> Result<(), Error> {
    data.insert(entry.as_bytes(), written(encoding, entry, value)?);
    Ok(())
}

fn written<T: serde::Serialize + ?Sized>(encoding: Encoding, entry: &str, value: &T) -> Result<Vec<u8>, Error> {
    encoding.write(value).map_err(|why| Error::entry(entry.as_bytes(), why))
}
