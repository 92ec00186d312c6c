//! `Django`: the session in the cookie, signed, with the salt `django.contrib.sessions.backends.signed_cookies`; `wire::django` has the bytes.
//!
//! Django's engine `signed_cookies`, as Django 5.2.19 and 6.0.10 write it; both read each other's.
//!
//! What it cannot say: when a visit began (so there is no absolute timeout), and bytes, dates, UUIDs and tuples apart from text and lists. A single
//! session's own lifetime is an entry, `_session_expiry`, and only tells the browser how long to keep the cookie: whoever reads allows every
//! session the same time, Django's `SESSION_COOKIE_AGE`. Django's log-in is in entries, too. Its messages (`_messages`, or a cookie of their own)
//! are left alone; ours are `_flashes`.
//!
//! Where it deviates: base64 has one spelling, and JSON is ASCII (Django also takes padding and noise, and reads UTF-8 as Latin-1; it writes none
//! of them); a cookie from the future is refused beyond a minute (Django takes it, and it never ends); inflating stops at a bound; a
//! removed cookie has no value and keeps its attributes (Django writes `""`, and leaves out `HttpOnly` and `Secure`); a refused cookie is left alone
//! until something is written (Django replaces it); blanks around a cookie's `=` and quotes around its value are not taken; a session is issued
//! again when it is opened after a tenth of its lifetime (Django: when it is written to, which is
//! [`Reissue::OnWrite`](crate::Reissue::OnWrite), or with every request, which is [`Reissue::EveryRequest`](crate::Reissue::EveryRequest)).

use std::{sync::Arc, time::Duration};

use super::{
    Attribute, Attributes, Body, Contents, Dialect, Duplicates, Ending, Jar, Keeps, Known, Lasts, Limits, Profile,
    Random, Refusal, SameSite, SetValue, Spelling, Steps, Timestamp, Token,
    option::{self, Setter},
    wire::{
        Digest,
        django::{JSON, Signing},
    },
};
use crate::{
    error::Error,
    meaning::{self, Meaning},
    secret::Keyring,
    telemetry,
};

pub(super) const KNOWN: Known = Known {
    name: "Django",
    cookies: &["sessionid"],
    on_store: Some(&super::django_session::KNOWN),
    make: |keyring, options| option::made("Django", Django::new(keyring), SETTERS, options),
};

const SETTERS: &[Setter<Django>] = &[
    Setter::new("compression", |django, value| Ok(django.compression(option::flag(value)?))),
    Setter::new("digest", |django, value| Ok(django.digest(option::digest(value)?))),
    Setter::new("expire_at_browser_close", |django, value| Ok(django.expire_at_browser_close(option::flag(value)?))),
    Setter::new("largest_inflated", |django, value| Ok(django.largest_inflated(option::number(value)?))),
    Setter::new("salt", |django, value| Ok(django.salt(value))),
];

/// The salt that the engine has built in.
const SALT: &str = "django.contrib.sessions.backends.signed_cookies";

/// What Django takes for no session at all: `SessionBase._validate_session_key`.
pub(super) const SHORTEST: usize = 8;

/// What an honest cookie may inflate to. The longest that a browser keeps has 3 KiB of compressed data, and text shrinks to a twentieth at best.
const LARGEST_INFLATED: usize = 64 << 10;

/// Django's `signed_cookies`: a Django site with the same secret and this application share each visitor's session.
///
/// ```
/// use std::time::Duration;
/// use dewar::{Keyring, Lifetime, SessionLayer, dialect::Django};
///
/// # fn main() -> Result<(), dewar::Error> {
/// // SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
/// let layer = SessionLayer::new("w98fw9ef8hwe98fhwef")?.dialect(Django::new);
///
/// // SESSION_COOKIE_AGE = 3600, SESSION_EXPIRE_AT_BROWSER_CLOSE = True
/// let other = SessionLayer::new("w98fw9ef8hwe98fhwef")?
///     .dialect(|secrets: &Keyring| Django::new(secrets).expire_at_browser_close(true))
///     .lifetime(Lifetime::browser().idle(Duration::from_secs(3600)));
/// # layer.manager()?; other.manager()?; Ok(()) }
/// ```
///
/// `SESSION_COOKIE_AGE` is the layer's idle timeout (two weeks where nothing is said), and `request.session.set_expiry(300)` is
/// `session.set_lifetime(Lifetime::persistent().idle(Duration::from_secs(300)))`. With it only the browser's cookie ends earlier, as in Django: a copy
/// of it opens until `SESSION_COOKIE_AGE` has gone.
///
/// A log-in that Django is to believe says the user's password as the database has it: [`Login::password`](crate::Login::password).
///
/// # Security
///
/// The cookie is signed, not encrypted: the visitor can read what is in it. A copy of it is worth a session until it expires, also after a log-out.
/// [`principal`](crate::Session::principal) trusts the cookie; Django asks its database with every request whether the password is still the one of
/// the log-in. So does [`confirm_principal`](crate::Session::confirm_principal), where it is called.
///
/// Anybody who knows the secret can sign a session for any user. One that begins with `django-insecure-` was made by `startproject`, and is in the
/// history of the repository more often than not: make another one for whatever is public.
#[derive(Debug)]
pub struct Django {
    profile: Profile,
    meaning: meaning::Django,
    signing: Signing,
}

impl Django {
    /// The dialect under these secrets: Django's `SECRET_KEY` and `SECRET_KEY_FALLBACKS`.
    pub fn new(keyring: &Keyring) -> Self {
        Self {
            profile: profile(KNOWN.name, Keeps::Data),
            meaning: meaning::Django::new(keyring.secrets()),
            signing: Signing::new(keyring.secrets(), SALT, LARGEST_INFLATED),
        }
    }

    /// Whether a session is compressed where that makes it shorter, as Django does. The default: yes. Django reads both;
    /// without it, writing costs less time, and larger sessions more bytes.
    #[must_use]
    pub fn compression(mut self, compression: bool) -> Self {
        self.signing.set_compression(compression);
        self
    }

    /// Whether a session that does not say so itself ends with the browser: `SESSION_EXPIRE_AT_BROWSER_CLOSE`. The default: no.
    #[must_use]
    pub fn expire_at_browser_close(mut self, expires: bool) -> Self {
        self.meaning.expires_at_browser_close = expires;
        self
    }

    /// The most bytes that a compressed session may inflate to; more is refused. The default: 64 KiB,
    /// twenty times what the longest cookie of a browser holds.
    #[must_use]
    pub fn largest_inflated(mut self, bytes: usize) -> Self {
        self.signing.set_largest(bytes);
        self
    }

    /// The salt of the signature, where a subclass of the engine has one of its own.
    #[must_use]
    pub fn salt(mut self, salt: impl Into<String>) -> Self {
        self.signing.set_salt(salt.into());
        self
    }

    /// The hash function of the signature, where a subclass of the engine has another one than SHA-256.
    #[must_use]
    pub fn digest(mut self, digest: Digest) -> Self {
        self.signing.set_digest(digest);
        self
    }
}

impl Dialect for Django {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn read(&self, jar: &Jar<'_>, limits: &Limits, steps: &mut Steps<'_>) -> Result<Token, Refusal> {
        let token = jar.value()?.as_bytes();
        self.signing.explain(token, Some(limits), steps);
        if token.len() < SHORTEST {
            return Err(Refusal::Malformed);
        }
        let opened = self.signing.open(token)?;
        let issued = opened.signed_at;
        if issued > limits.now.after(limits.skew) {
            return Err(Refusal::Future);
        }
        // With its fraction: the clock of whoever reads has one.
        if limits.now.since(issued) > Duration::from_secs(u64::from(limits.idle)) {
            return Err(Refusal::Expired);
        }
        let data = self.signing.entries(opened)?;
        let persistent = self.meaning.is_persistent(&data, JSON);
        // A longer one is the browser's alone.
        let idle = meaning::Django::own_age(&data, JSON, limits.now).unwrap_or(limits.idle).min(limits.idle);
        let mut contents = Contents::new(issued, idle, None, persistent);
        contents.data = data;
        Ok(Token::Data { contents, outdated: opened.secret != 0, sliding: true, unique: None })
    }

    fn write(
        &self,
        body: Body<'_>,
        _cookie: &str,
        now: Timestamp,
        _random: Random<'_>,
    ) -> Result<Vec<SetValue>, Error> {
        let contents = body.data("Django", "leave out the store")?;
        let token = self.signing.write(&contents.data, now);
        let cookie = SetValue::new("", token);
        // Also where the application wrote the entry by hand.
        Ok(vec![match meaning::Django::own_age(&contents.data, JSON, now) {
            Some(age) => cookie.lasting(Lasts::For(Duration::from_secs(u64::from(age)))),
            None => cookie,
        }])
    }

    fn check(&self) -> Result<(), Error> {
        check(&self.signing)
    }

    fn meaning(&self) -> Arc<dyn Meaning> {
        Arc::new(self.meaning.clone())
    }
}

/// What of the secrets and the salt can only be a mistake.
pub(super) fn check(signing: &Signing) -> Result<(), Error> {
    if signing.salt().is_empty() {
        return Err(Error::setting("salt: Django takes an empty one for none; leave it out, or name one"));
    }
    // A warning, as Django's own check is one (security.W009): a site is developed with it.
    if signing.secrets().iter().any(|secret| secret.reveal().starts_with(b"django-insecure-")) {
        telemetry::made_by_startproject();
    }
    Ok(())
}

/// Django's own cookie, whatever is in it.
pub(super) fn profile(name: &'static str, keeps: Keeps) -> Profile {
    use Attribute::{Domain, Expires, HttpOnly, MaxAge, Partitioned, Path, SameSite as Site, Secure};
    let spelling = Spelling {
        order: &[Domain, Expires, HttpOnly, MaxAge, Partitioned, Path, Site, Secure],
        lower_case: &[Expires],
        persistent: Ending::Both,
        removal: Ending::Both,
    };
    let cookie = Attributes { same_site: Some(SameSite::Lax), ..Attributes::new("sessionid") };
    Profile {
        duplicates: Duplicates::Last,
        idle: Duration::from_secs(14 * 86_400),
        skew: Duration::from_secs(60),
        ..Profile::foreign(name, keeps, JSON, cookie, spelling)
    }
}
