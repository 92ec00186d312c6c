//! What a dialect says to cookies and records (it is asked twice, as a request asks and to explain, and must say the same), and what came of that.

use bytes::Bytes;
use dewar::{
    Refusal,
    dialect::{Contents, Jar, Limits, Report, Steps, Timestamp, Token},
    layout::{Kept, Layout, Stored},
};

use crate::frameworks::Setting;

/// What the dialect says to cookies, and whether what explains them says the same.
pub(crate) fn token(
    setting: &Setting,
    cookies: &[(&str, &str)],
    now: Timestamp,
) -> (Result<Token, Refusal>, Result<(), String>) {
    let jar = Jar::of(&setting.cookie.name, cookies);
    let mut limits = Limits::new(now, setting.idle);
    limits.persistent = setting.persistent;
    let token = setting.dialect.read(&jar, &limits, &mut Steps::off());
    let report = Report::of(&*setting.dialect, &jar, &limits);
    let is_same = match (&token, &report.verdict) {
        (Err(one), Err(other)) => one == other,
        (Ok(Token::Id { id: one, .. }), Ok(Token::Id { id: other, .. })) => one.reveal() == other.reveal(),
        (Ok(Token::Data { contents: one, .. }), Ok(Token::Data { contents: other, .. })) => {
            one.data.iter().eq(other.data.iter())
        }
        _ => false,
    };
    let explained = if is_same && !report.to_string().is_empty() {
        Ok(())
    } else {
        Err(format!("what explains it does not say what reading says: {report}"))
    };
    (token, explained)
}

/// What a record holds. Noting what is found on the way changes nothing.
pub(crate) fn kept(setting: &Setting, record: impl Into<Bytes>) -> Result<Result<Kept, Refusal>, String> {
    let layout = setting.layout.as_deref().ok_or("the dialect reads an id and has no layout of records")?;
    kept_by(layout, record)
}

/// The same of any layout.
pub(crate) fn kept_by(layout: &dyn Layout, record: impl Into<Bytes>) -> Result<Result<Kept, Refusal>, String> {
    let record = Stored::Blob(record.into());
    let kept = layout.read(&record, &mut Steps::off());
    if kept.as_ref().err() != Report::of_record(layout, &record).verdict.as_ref().err() {
        return Err("what explains the record does not say what reading says".into());
    }
    Ok(kept)
}

/// A session of these entries, as the setting has it at this moment.
pub(crate) fn contents(setting: &Setting, now: Timestamp) -> Contents {
    Contents::new(now, setting.idle, None, setting.persistent)
}

/// What came of a vector.
#[derive(Default)]
pub(crate) struct Checked {
    pub(crate) read: bool,
    pub(crate) refused: bool,
    pub(crate) explained: bool,
    pub(crate) written: bool,
    pub(crate) read_back: bool,
    /// Why it was not run.
    pub(crate) left_out: Option<String>,
    /// Why it was refused though the framework takes it, where that is allowed.
    pub(crate) strict: Option<String>,
    /// What of it was not written, or not compared, and why.
    pub(crate) unwritten: Vec<String>,
    /// What is not as it should be.
    pub(crate) mismatches: Vec<String>,
}
