//! Somebody who logs in, with what other frameworks want to know of it.

use crate::value;
#[cfg(any(feature = "express", feature = "rails", feature = "iron", feature = "phoenix"))]
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
}

impl Login {
    /// This user, as the framework writes it.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), is_number: false, client: None }
    }

    /// The user of this number: `passport.user = 42` in an application of Express whose ids are integers.
    ///
    /// Flask-Login keeps text alone, and gets text. [`principal`](crate::Session::principal) gives its text. What an entry says already keeps its kind.
    pub fn number(id: impl Into<i128>) -> Self {
        Self { is_number: true, ..Self::new(id.into().to_string()) }
    }

    /// The id as an entry holds it, where that keeps numbers.
    #[cfg(any(feature = "express", feature = "rails", feature = "iron", feature = "phoenix"))]
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
