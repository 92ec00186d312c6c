//! One vector through its dialect: read, explained, written, and read back.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use bytes::Bytes;
use dewar::{
    Refusal,
    dialect::{Contents, Dialect, Duplicates, Jar, Limits, Report, SessionId, Steps, Timestamp, Token},
    layout::{Kept, Stored},
    value::Value,
};

use crate::{
    entries,
    file::{Class, Vector},
    frameworks::{self, Framework, NoSetting, Setting},
    write,
};

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

/// What the cookies of a request lead to.
pub(crate) enum Outcome {
    Session(Value),
    /// No cookie, or an id without a record.
    Missing,
    Refused(Refusal),
}

/// Runs a vector. A panic is a mismatch.
pub(crate) fn check(vector: &Vector<'_>) -> Checked {
    let mut checked = Checked::default();
    let ran = catch_unwind(AssertUnwindSafe(|| run(vector, &mut checked)));
    match ran {
        Ok(Ok(())) => {}
        Ok(Err(why)) => checked.mismatches.push(why),
        Err(panic) => checked.mismatches.push(format!("panicked: {}", said(&*panic))),
    }
    checked
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or(panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}

fn run(vector: &Vector<'_>, checked: &mut Checked) -> Result<(), String> {
    let framework = match frameworks::of(vector) {
        Ok(framework) => framework,
        Err(why) => {
            checked.left_out = Some(why);
            return Ok(());
        }
    };
    let setting = match (framework.setting)(vector.config()?) {
        Ok(setting) => setting,
        Err(NoSetting::Unknown(why)) => {
            checked.left_out = Some(why);
            return Ok(());
        }
        Err(NoSetting::Broken(why)) => return Err(why),
    };
    let mut cookies = vector.request_cookies(&setting.cookie.name);
    if setting.dialect.profile().duplicates == Duplicates::Last {
        cookies.reverse();
    }
    let now = vector.time("read")?;
    let (token, explained) = token(&setting, &cookies, now);
    match explained {
        Ok(()) => checked.explained = true,
        Err(why) => checked.mismatches.push(why),
    }
    let id = match &token {
        Ok(Token::Id { id, .. }) => Some(id.clone()),
        _ => None,
    };
    let outcome = match token {
        Err(_) if cookies.is_empty() => Outcome::Missing,
        Err(refusal) => Outcome::Refused(refusal),
        Ok(Token::Data { contents, .. }) => {
            Outcome::Session(entries::read(&contents.data, setting.dialect.profile().encoding)?)
        }
        Ok(Token::Id { id, .. }) => behind(&id, vector, &setting)?,
    };
    let longest = cookies.iter().map(|(suffix, value)| suffix.len() + value.len()).max().unwrap_or(0);
    judge(vector, framework, outcome, setting.cookie.name.len() + longest, checked)?;
    if checked.read {
        write::check(vector, framework, &setting, id, checked)?;
    }
    Ok(())
}

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

/// The name of the record that an id leads to.
fn named(setting: &Setting, id: &SessionId) -> Option<String> {
    setting.dialect.layout().map(|layout| layout.name(id.reveal()))
}

/// The record that an id leads to, if the vector has it.
fn behind(id: &SessionId, vector: &Vector<'_>, setting: &Setting) -> Result<Outcome, String> {
    if let Some(sid) = vector.json["sid"].as_str().filter(|sid| *sid != id.reveal()) {
        return Err(format!("the id that was read is not {sid:?}"));
    }
    match vector.record()? {
        Some((name, record)) if named(setting, id).as_deref() == Some(name) => match kept(&*setting.dialect, record)? {
            Ok(kept) => Ok(Outcome::Session(entries::read(&kept.data, setting.dialect.profile().encoding)?)),
            Err(refusal) => Ok(Outcome::Refused(refusal)),
        },
        _ => Ok(Outcome::Missing),
    }
}

/// What a record holds. Noting what is found on the way changes nothing.
pub(crate) fn kept(dialect: &dyn Dialect, record: impl Into<Bytes>) -> Result<Result<Kept, Refusal>, String> {
    let layout = dialect.layout().ok_or("the dialect reads an id and has no layout of records")?;
    let record = Stored::Blob(record.into());
    let (kept, mut steps) = (layout.read(&record, &mut Steps::off()), Vec::new());
    let explained = layout.read(&record, &mut Steps::on(&mut steps));
    if kept.as_ref().err() != explained.as_ref().err() {
        return Err("what explains the record does not say what reading says".into());
    }
    Ok(kept)
}

/// Whether a vector was met as it expects to be.
fn judge(
    vector: &Vector<'_>,
    framework: &Framework,
    outcome: Outcome,
    longest: usize,
    checked: &mut Checked,
) -> Result<(), String> {
    /// What browsers keep of a cookie, name and value: RFC 6265bis, section 5.6.
    const KEPT: usize = 4096;
    let class = vector.class()?;
    if class == Class::Invalid {
        let refusal = match outcome {
            Outcome::Session(session) => return Err(format!("read as {}", entries::short(&session))),
            Outcome::Missing => "missing",
            Outcome::Refused(refusal) => refusal.as_str(),
        };
        let reason = vector.json["expect"]["reason"].as_str().unwrap_or_default();
        if !fits(refusal, reason) {
            return Err(format!("refused as {refusal}, not as {reason}"));
        }
        checked.refused = true;
        return Ok(());
    }
    let feature = vector.json["feature"].as_str();
    let expected = match (vector.session("session"), feature) {
        (Err(why), Some(feature)) => {
            checked.left_out = Some(format!("needs {feature}, and {why} is not known here"));
            return Ok(());
        }
        (expected, _) => expected.map_err(|why| format!("its session has {why}, which is not known here"))?,
    };
    match outcome {
        Outcome::Session(found) => match entries::difference(&found, &expected) {
            Some(difference) => Err(format!("read wrong: {difference}")),
            None => {
                checked.read = true;
                Ok(())
            }
        },
        // Where there is nothing, the session is empty.
        Outcome::Missing if expected == Value::Map(Vec::new()) => {
            checked.read = true;
            Ok(())
        }
        Outcome::Refused(Refusal::Oversize) if longest > KEPT => {
            checked.left_out = Some(format!("{} sends a cookie that no browser keeps", framework.name));
            Ok(())
        }
        Outcome::Missing | Outcome::Refused(_) => {
            let refusal = match outcome {
                Outcome::Refused(refusal) => refusal.as_str(),
                _ => "missing",
            };
            let allowed = match feature {
                _ if class == Class::Lenient => "never written by the framework".into(),
                Some(feature) => format!("needs {feature}"),
                None => return Err(format!("refused as {refusal}, though it is valid")),
            };
            checked.refused = true;
            checked.strict = Some(format!("{allowed}: {refusal}"));
            Ok(())
        }
    }
}

/// Whether a refusal is of the class that a vector names. A signature is looked at before what it signs, and a form before a signature.
fn fits(refusal: &str, reason: &str) -> bool {
    let classes: &[&str] = match reason {
        "bad_signature" | "wrong_key" | "bad_purpose" => &["bad_signature", "unknown_secret", "malformed"],
        "malformed" | "unsupported" => &["malformed", "oversize", "bad_signature"],
        "bad_payload" => &["malformed", "oversize"],
        "expired" => &["expired"],
        "future" => &["future"],
        "missing" => &["missing", "malformed"],
        _ => return true,
    };
    classes.contains(&refusal)
}

/// A session of these entries, as the setting has it at this moment.
pub(crate) fn contents(setting: &Setting, now: Timestamp) -> Contents {
    Contents::new(now, setting.idle, None, setting.persistent)
}
