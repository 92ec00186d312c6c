//! Somebody who logs in, with what other frameworks want to know of it.

use std::fmt;

use zeroize::Zeroizing;

use crate::value;
#[cfg(any(feature = "express", feature = "rails", feature = "iron", feature = "phoenix", feature = "php"))]
use crate::value::Value;

/// Somebody who logs in: for [`Session::set_principal`](crate::Session::set_principal), which takes a plain name, too.
///
/// ```
/// use dewar::Login;
///
/// # fn handler(session: dewar::Session) {
/// session.set_principal("ada");
/// session.set_principal(42); // as `Login::number(42)`
///
/// // Where another framework is to believe it: what that framework checks.
/// session.set_principal(Login::new("ada").client("203.0.113.5", "Mozilla/5.0"));
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Login {
    /// The user.
    pub id: String,
    /// Whether the id is a number, and is written as one where the framework keeps what it is given.
    pub is_number: bool,
    /// The address and the `User-Agent` that the framework sees of the visitor.
    pub client: Option<(String, String)>,
    /// Which of the framework's ways to log in this was.
    pub backend: Option<String>,
    /// What ends the session when it changes.
    pub proof: Proof,
}

/// What a session is tied to beside the user's name, so that it ends when that changes. It is never printed.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Proof {
    /// Nothing.
    #[default]
    Nothing,
    /// The password as the user's row has it, hashed.
    Password(Zeroizing<String>),
    /// What the framework makes of that.
    Hash(Zeroizing<String>),
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Password(_) => "Password",
            Self::Hash(_) => "Hash",
        })
    }
}

impl Login {
    /// This user, as the framework writes it.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), is_number: false, client: None, backend: None, proof: Proof::Nothing }
    }

    /// The user of this number: `passport.user = 42` in an application of Express whose ids are integers.
    ///
    /// Flask-Login keeps text alone, and gets text. [`principal`](crate::Session::principal) gives its text. What an entry says already keeps its kind.
    pub fn number(id: impl Into<i128>) -> Self {
        Self { is_number: true, ..Self::new(id.into().to_string()) }
    }

    /// The id as an entry holds it, where that keeps numbers.
    #[cfg(any(feature = "express", feature = "rails", feature = "iron", feature = "phoenix", feature = "php"))]
    pub(crate) fn value(&self) -> Value {
        match self.id.parse::<i128>() {
            Ok(number) if self.is_number => Value::from(number),
            _ => Value::Text(self.id.clone()),
        }
    }

    /// What the visitor comes from: the address as the framework sees it (behind a proxy, the first of `X-Forwarded-For`) and the `User-Agent` header.
    ///
    /// Flask-Login writes a digest of both to the session (`_id`). Without it, a log-in from here is one that it calls not fresh, and in its strong mode none.
    #[must_use]
    pub fn client(mut self, address: impl Into<String>, user_agent: impl Into<String>) -> Self {
        self.client = Some((address.into(), user_agent.into()));
        self
    }

    /// The password as the user's row has it: Django's `user.password`, which is `pbkdf2_sha256$...`. Never the password itself.
    ///
    /// Django ties a session to it (`_auth_user_hash`), so that a changed password ends the sessions of before, and takes none without it for a log-in.
    ///
    /// ```
    /// use dewar::Login;
    ///
    /// # fn handler(session: dewar::Session) {
    /// # struct User { id: u64, password: String } let user = User { id: 7, password: "pbkdf2_sha256$...".into() };
    /// session.set_principal(Login::new(user.id.to_string()).password(user.password)); // SELECT id, password FROM auth_user
    /// # }
    /// ```
    #[must_use]
    pub fn password(mut self, stored: impl Into<String>) -> Self {
        self.proof = Proof::Password(Zeroizing::new(stored.into()));
        self
    }

    /// What the framework's own code made of it, where the user's model says that otherwise: Django's `user.get_session_auth_hash()`.
    #[must_use]
    pub fn auth_hash(mut self, hash: impl Into<String>) -> Self {
        self.proof = Proof::Hash(Zeroizing::new(hash.into()));
        self
    }

    /// Which of the framework's ways to log in this was: one of Django's `AUTHENTICATION_BACKENDS`. Without it, Django's default,
    /// `django.contrib.auth.backends.ModelBackend`.
    #[must_use]
    pub fn backend(mut self, path: impl Into<String>) -> Self {
        self.backend = Some(path.into());
        self
    }
}

/// Whatever is a text.
impl<T: AsRef<str> + ?Sized> From<&T> for Login {
    fn from(id: &T) -> Self {
        Self::new(id.as_ref())
    }
}

impl From<String> for Login {
    fn from(id: String) -> Self {
        Self::new(id)
    }
}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        /// As [`Login::number`].
        impl From<$type> for Login {
            fn from(id: $type) -> Self {
                Self::number(id)
            }
        }
    )*};
}

numbers!(i8 i16 i32 i64 u8 u16 u32 u64);

/// Its text.
impl From<value::Uuid> for Login {
    fn from(id: value::Uuid) -> Self {
        Self::new(id.to_string())
    }
}
