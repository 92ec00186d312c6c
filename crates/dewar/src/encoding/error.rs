//! Why a value could not be written or read. Never shows the value.

use super::depth::DEPTH;
use crate::value::KINDS;
use serde::{de, ser};
use std::fmt;

/// Why a value could not be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteError(String);

/// Why a value could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadError(String);

impl WriteError {
    #[cfg(any(feature = "json", feature = "phoenix", feature = "php"))]
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        WriteError(reason.into())
    }

    /// An option of what is written as nothing reads back as no option at all.
    pub(crate) fn nothing() -> Self {
        WriteError("`Some` of nothing (`Some(None)`, `Some(())`) would come back as `None`".into())
    }

    pub(crate) fn deep() -> Self {
        WriteError(format!("nested deeper than {DEPTH} levels"))
    }
}

impl ReadError {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        ReadError(reason.into())
    }

    pub(crate) fn malformed() -> Self {
        ReadError("malformed".into())
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WriteError {}
impl std::error::Error for ReadError {}

impl ser::Error for WriteError {
    // The application's words may hold the application's data.
    fn custom<T: fmt::Display>(_: T) -> Self {
        WriteError("refused by its own Serialize".into())
    }
}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(_: T) -> Self {
        ReadError("refused by its own Deserialize".into())
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        ReadError(format!("expected {expected}, found {}", kind(found)))
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        ReadError(format!("expected {expected}, found {} that does not fit", kind(found)))
    }

    fn invalid_length(length: usize, expected: &dyn de::Expected) -> Self {
        ReadError(format!("expected {expected}, found {length} members"))
    }

    fn unknown_variant(_: &str, _: &'static [&'static str]) -> Self {
        ReadError("found an unknown variant".into())
    }

    fn unknown_field(_: &str, _: &'static [&'static str]) -> Self {
        ReadError("found an unknown field".into())
    }

    fn missing_field(field: &'static str) -> Self {
        ReadError(format!("missing field {field:?}"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        ReadError(format!("field {field:?} twice"))
    }
}

fn kind(found: de::Unexpected<'_>) -> &'static str {
    use de::Unexpected::*;
    match found {
        Bool(_) => "a boolean",
        Unsigned(_) | Signed(_) => "an integer",
        Float(_) => "a float",
        Char(_) | Str(_) => "text",
        Bytes(_) => "bytes",
        Unit | Option => "nothing",
        Seq => "a list",
        Map => "a map",
        NewtypeStruct => "a tagged value",
        Enum | UnitVariant | NewtypeVariant | TupleVariant | StructVariant => "a variant",
        // Words of others may hold the value.
        Other(word) => KINDS.iter().find(|kind| **kind == word).unwrap_or(&"another value"),
    }
}
