//! What a cookie or a record consists of, without trusting it: the steps of reading it, recorded.
//!
//! There is no second parser that could drift from the first: a dialect notes what it finds while it reads, and where nobody listens a note costs a
//! comparison.

use std::fmt;

use crate::{
    cookie::Jar,
    data::Data,
    dialect::{Dialect, Limits, Token},
    error::Refusal,
    layout::{Kept, Layout, Stored},
};

/// Where a reader notes what it finds.
#[derive(Debug)]
pub struct Steps<'a>(Option<&'a mut Vec<Step>>);

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// What it is: `signature`, `issued`.
    pub what: &'static str,
    /// What it says. Never a secret, and of a session's entries their names and sizes alone.
    pub says: String,
}

impl<'a> Steps<'a> {
    /// Nobody listens.
    pub const fn off() -> Self {
        Self(None)
    }

    /// What is noted is appended.
    pub fn on(steps: &'a mut Vec<Step>) -> Self {
        Self(Some(steps))
    }

    /// Notes what was found; nothing is computed where nobody listens.
    pub fn note(&mut self, what: &'static str, says: impl FnOnce() -> String) {
        if let Some(steps) = &mut self.0 {
            push(steps, what, says);
        }
    }
}

/// Which secret of the keyring made a signature, for a step.
#[cfg(any(
    feature = "flask",
    feature = "express",
    feature = "rails",
    feature = "iron",
    feature = "laravel",
    feature = "phoenix",
    feature = "django"
))]
pub(crate) fn signed_by(secret: Option<usize>, secrets: usize) -> String {
    match secret {
        Some(at) => format!("of secret {} of {secrets}", at + 1),
        None => "of no secret of the keyring".into(),
    }
}

/// Apart, so that what is said stays out of the way of those who read a request.
#[cold]
#[inline(never)]
fn push(steps: &mut Vec<Step>, what: &'static str, says: impl FnOnce() -> String) {
    steps.push(Step { what, says: says() });
}

/// A cookie or a record, explained: what it consists of, and what is said to it.
///
/// ```
/// use dewar::{Keyring, Secret, dialect::{self, Jar, Limits, Report, Timestamp}};
///
/// let keyring = Keyring::new(Secret::generate());
/// let limits = Limits::new(Timestamp::from_secs(1_700_000_000), 86_400);
/// for known in dialect::all() {
///     let report = Report::of(&*known.under(&keyring), &Jar::of("session", &[("", "no session!")]), &limits);
///     assert!(report.verdict.is_err(), "{report}");
/// }
/// ```
#[non_exhaustive]
pub struct Report<T = Token> {
    /// Who was asked: a dialect's name, or `record`.
    pub format: &'static str,
    /// What was found, in the order of reading.
    pub steps: Vec<Step>,
    /// What reading says. An id is not looked up: the verdict is about the cookie.
    pub verdict: Result<T, Refusal>,
}

impl Report {
    /// Reads the cookies as a request would be, and says what was found on the way: the verdict is that of [`Dialect::read`].
    pub fn of(dialect: &dyn Dialect, jar: &Jar<'_>, limits: &Limits) -> Self {
        let mut steps = Vec::new();
        Steps::on(&mut steps).note("cookie", || match jar.get("") {
            Ok(Some(value)) => format!("{}, {} characters", jar.name(), value.len()),
            Ok(None) => format!("there is no cookie {}", jar.name()),
            Err(refusal) => format!("{}: {refusal}", jar.name()),
        });
        let verdict = dialect.read(jar, limits, &mut Steps::on(&mut steps));
        if let Ok(token) = &verdict {
            conclude(token, limits, &mut Steps::on(&mut steps));
        }
        Self { format: dialect.profile().name, steps, verdict }
    }
}

impl Report<Kept> {
    /// Reads a record as a store would, and says what was found on the way: the verdict is that of [`Layout::read`].
    pub fn of_record(layout: &dyn Layout, found: &Stored) -> Self {
        let mut steps = Vec::new();
        let verdict = layout.read(found, &mut Steps::on(&mut steps));
        if let Ok(kept) = &verdict {
            list(&kept.data, &mut Steps::on(&mut steps));
        }
        Self { format: "record", steps, verdict }
    }
}

/// What every session has, whatever its format.
fn conclude(token: &Token, limits: &Limits, steps: &mut Steps<'_>) {
    match token {
        Token::Id { outdated, .. } => {
            steps.note("holds", || "the id of a session in a store".into());
            steps.note("secret", || secret(*outdated));
        }
        Token::Data { contents, outdated, .. } => {
            steps.note("secret", || secret(*outdated));
            list(&contents.data, steps);
            steps.note("idle timeout", || {
                let left = contents.expires().since(limits.now).as_secs();
                format!("{} s; the session ends in {left} s if nobody comes", contents.idle)
            });
        }
    }
}

/// Names and sizes, never values.
fn list(entries: &Data, steps: &mut Steps<'_>) {
    for (name, value) in entries.iter() {
        steps.note("entry", || format!("{:?}, {} bytes", String::from_utf8_lossy(name), value.len()));
    }
}

fn secret(outdated: bool) -> String {
    if outdated { "an older one of the keyring: the cookie is written again" } else { "the first of the keyring" }
        .into()
}

/// As [`Display`](fmt::Display): a token would show what is in it.
impl<T> fmt::Debug for Report<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One step a line, and the verdict last.
impl<T> fmt::Display for Report<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Step { what, says } in &self.steps {
            writeln!(f, "{what:>14}  {says}")?;
        }
        match &self.verdict {
            Ok(_) => write!(f, "{:>14}  {}: good", "verdict", self.format),
            Err(refusal) => write!(f, "{:>14}  {}: {refusal}", "verdict", self.format),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dialect::{self, Timestamp},
        secret::{Keyring, Secret},
    };

    #[test]
    fn nothing_but_separators_is_explained_as_it_is_refused() {
        let keyring = Keyring::new(Secret::generate());
        let limits = Limits::new(Timestamp::from_secs(1_700_000_000), 86_400);
        for known in dialect::all() {
            let dialect = known.under(&keyring);
            for value in ["", ".", "..", "...", "s:", "s:.", "s%3A."] {
                let values = [("", value), (".sig", value)];
                let jar = Jar::of("session", &values);
                let refusal = dialect.read(&jar, &limits, &mut Steps::off()).unwrap_err();
                assert_eq!(Report::of(&*dialect, &jar, &limits).verdict.unwrap_err(), refusal, "{value:?}");
            }
        }
    }
}
