//! Whose session it is, as an entry of another framework's log-in says it.

use crate::{encoding::Encoding, secret::hex, value::Value};

/// The user of a session: whatever is there, and is not `null`, `false`, an empty text or an empty list, is somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Principal {
    /// Text, or what reads as text: Flask-Login writes an integer where the application's ids are integers.
    Known(String),
    /// A value of another kind, as it is encoded: the same as another only where the bytes are.
    Unreadable(Vec<u8>),
}

impl Principal {
    /// What an encoded value says; `None`: nobody.
    pub fn read(encoding: Encoding, encoded: &[u8]) -> Option<Self> {
        match encoding.read(encoded) {
            Ok(value) => Self::of(&value, encoded),
            Err(_) => Some(Self::Unreadable(encoded.to_vec())),
        }
    }

    /// What a value says; `encoded` stands for one that is no text.
    pub(crate) fn of(value: &Value, encoded: &[u8]) -> Option<Self> {
        Some(match value {
            // As PHP's, Python's and Ruby's applications say that nobody is logged in.
            Value::Null | Value::Bool(false) => return None,
            Value::List(none) if none.is_empty() => return None,
            // All of them would be one.
            Value::Text(text) if text.is_empty() => return None,
            Value::Text(text) => Self::Known(text.clone()),
            Value::Integer(id) => Self::Known(id.to_string()),
            Value::BigInteger(id) => Self::Known(id.to_string()),
            Value::Uuid(id) => Self::Known(id.to_string()),
            _ => Self::Unreadable(encoded.to_vec()),
        })
    }

    /// Whether this is the user of this name.
    pub fn is(&self, principal: &str) -> bool {
        matches!(self, Self::Known(text) if text == principal)
    }

    /// What a handler is shown.
    pub fn into_text(self) -> String {
        match self {
            Self::Known(text) => text,
            Self::Unreadable(encoded) => String::from_utf8(encoded).unwrap_or_else(|other| hex(other.as_bytes())),
        }
    }
}
