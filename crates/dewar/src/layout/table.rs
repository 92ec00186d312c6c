//! A table of another framework's, as that framework's migrations made it.

use std::time::Duration;

#[cfg(any(feature = "django", feature = "laravel"))]
use crate::error::Error;

/// Where rows are that are sessions, and which of their columns matter.
///
/// Columns that it does not name are left alone: a renewed session takes them along.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Table {
    /// Its name; before a dot, its schema's.
    pub name: Box<str>,
    /// The primary key, a text: the id.
    pub key: &'static str,
    /// The text of the record.
    pub body: &'static str,
    /// Until when a row stands.
    pub ends: Ends,
    /// What is written with the record, each time: texts that the database takes for the column's own type, or NULL.
    pub also: &'static [&'static str],
    /// The command that makes it, for the error where it is missing.
    pub made_by: &'static str,
}

/// How a row says until when it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ends {
    /// A column has the second of the last visit, counted from the Unix epoch; the row ends so long after.
    After(&'static str, Duration),
    /// A column has the moment itself.
    At(&'static str),
}

impl Table {
    /// A table of this name.
    pub fn new(name: impl Into<Box<str>>, key: &'static str, body: &'static str, ends: Ends) -> Self {
        Self { name: name.into(), key, body, ends, also: &[], made_by: "its migrations" }
    }

    /// Refuses what is no table's name, with its schema's before a dot: of letters, digits, `_`, `-`, `$` and blanks.
    #[cfg(any(feature = "django", feature = "laravel"))]
    pub(crate) fn check_name(name: &str) -> Result<(), Error> {
        let is_in_a_name = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '$' | ' ');
        let is_one = |part: &str| !part.is_empty() && part.chars().all(is_in_a_name);
        match name.split('.').count() <= 2 && name.split('.').all(is_one) {
            true => Ok(()),
            false => Err(Error::setting(format!(
                "table: {name:?} names no table; write its name, as sessions or app.sessions"
            ))),
        }
    }

    /// The same of sessions that end so long after their last visit. `None`: each row says by itself when it ends.
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    pub(crate) fn lasting(&self, lifetime: Duration) -> Option<Self> {
        match self.ends {
            Ends::After(column, _) => Some(Self { ends: Ends::After(column, lifetime), ..self.clone() }),
            Ends::At(_) => None,
        }
    }
}
