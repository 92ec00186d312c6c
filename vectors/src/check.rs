//! One vector through its dialect: read, explained, written, and read back.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use dewar::{
    Refusal,
    dialect::{Duplicates, SessionId, Timestamp, Token},
    value::Value,
};
use serde_json::Value as Json;

use crate::{
    ask::{Checked, kept, kept_by, token},
    entries,
    file::{Class, Vector},
    frameworks::{self, Framework, NoSetting, Setting},
    write,
};

/// What the cookies of a request lead to.
pub(crate) enum Outcome {
    Session(Value),
    /// No cookie, or an id without a record.
    Missing,
    Refused(Refusal),
    /// An entry is carried through, and is no value here.
    Unreadable(String),
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
    let Some(setting) = setting_of(framework, vector, vector.config()?, checked)? else { return Ok(()) };
    // Behind a renewal stands the record of the cookie that came back.
    let is_renewal = vector.json.get("old_store").is_some();
    let mut cookies = match is_renewal {
        true => vector.set_cookies(&setting.cookie.name),
        false => vector.request_cookies(&setting.cookie.name),
    };
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
    if vector.json["expect"]["reason"] == "unencodable" {
        write::refuses(vector, framework, &setting, id)?;
        checked.refused = true;
        return Ok(());
    }
    let outcome = match token {
        Err(_) if cookies.is_empty() => Outcome::Missing,
        Err(refusal) => Outcome::Refused(refusal),
        Ok(Token::Data { contents, .. }) => {
            Outcome::Session(entries::read(&contents.data, setting.dialect.profile().encoding)?)
        }
        Ok(Token::Id { .. }) if vector.json["store_db"].is_object() => beside(vector, &setting)?,
        Ok(Token::Id { id, .. }) => behind(&id, vector, &setting, now)?,
    };
    let longest = cookies.iter().map(|(suffix, value)| suffix.len() + value.len()).max().unwrap_or(0);
    if let Outcome::Unreadable(_) = outcome {
        write::keeps(vector, framework, &setting)?;
    }
    judge(vector, framework, outcome, setting.cookie.name.len() + longest, checked)?;
    if checked.read {
        let writer = match vector.config_of_writer()? {
            Some(config) => setting_of(framework, vector, config, checked)?,
            None => Some(setting),
        };
        if let Some(writer) = writer {
            write::check(vector, framework, &writer, id, checked)?;
        }
    }
    Ok(())
}

/// The dialect of a config. `None`: it has none, and the vector is left out.
fn setting_of(
    framework: &Framework,
    vector: &Vector<'_>,
    config: &Json,
    checked: &mut Checked,
) -> Result<Option<Setting>, String> {
    // One config may be of several releases, which write in different ways.
    let mut config = config.clone();
    config["framework"] = vector.text("framework").into();
    match (framework.setting)(&config) {
        Ok(setting) => Ok(Some(setting)),
        Err(NoSetting::Unknown(why)) => {
            checked.left_out = Some(why);
            Ok(None)
        }
        Err(NoSetting::Broken(why)) => Err(why),
    }
}

/// The name of the record that an id leads to.
fn named(setting: &Setting, id: &SessionId) -> Option<String> {
    setting.layout.as_ref().map(|layout| layout.name(id.reveal()))
}

/// The record that an id leads to, if the vector has it.
fn behind(id: &SessionId, vector: &Vector<'_>, setting: &Setting, now: Timestamp) -> Result<Outcome, String> {
    if let Some(sid) = vector.json["sid"].as_str().filter(|sid| *sid != id.reveal()) {
        return Err(format!("the id that was read is not {sid:?}"));
    }
    match vector.record()? {
        Some((name, _)) if named(setting, id).as_deref() == Some(name) && vector.has_ended(now) => {
            Ok(Outcome::Refused(Refusal::Expired))
        }
        Some((name, record)) if named(setting, id).as_deref() == Some(name) => match kept(setting, record)? {
            Ok(kept) => Ok(entries::read(&kept.data, setting.dialect.profile().encoding)
                .map_or_else(Outcome::Unreadable, Outcome::Session)),
            Err(refusal) => Ok(Outcome::Refused(refusal)),
        },
        _ => Ok(Outcome::Missing),
    }
}

/// A copy in a cache, which is refused, beside the row that is read instead.
fn beside(vector: &Vector<'_>, setting: &Setting) -> Result<Outcome, String> {
    let row = vector.json["store_db"]["session_data"].as_str().ok_or("its row has no text")?;
    let kept = kept(setting, row.to_owned())?.map_err(|refusal| format!("its row is refused as {refusal}"))?;
    let found = entries::read(&kept.data, setting.dialect.profile().encoding)?;
    if let Some(difference) = entries::difference(&found, &vector.session("session")?) {
        return Err(format!("its row is read wrong: {difference}"));
    }
    let (_, copy) = vector.record()?.ok_or("it has no copy")?;
    let layout = setting.dialect.layout().ok_or("the dialect has no layout of records")?;
    Ok(match kept_by(&*layout, copy)? {
        Ok(kept) => Outcome::Session(entries::read(&kept.data, setting.dialect.profile().encoding)?),
        Err(refusal) => Outcome::Refused(refusal),
    })
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
            Outcome::Unreadable(why) => return Err(why),
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
    if let Outcome::Unreadable(why) = outcome {
        let allowed = match feature {
            _ if class == Class::Lenient => "never written by the framework".into(),
            Some(feature) => format!("needs {feature}"),
            None => return Err(why),
        };
        checked.refused = true;
        checked.strict = Some(format!("{allowed}, and is carried through: {}", why.split(": ").last().unwrap_or(&why)));
        return Ok(());
    }
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
        Outcome::Missing | Outcome::Refused(_) | Outcome::Unreadable(_) => {
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
        "malformed" => &["malformed", "oversize", "bad_signature"],
        "unsupported" => &["unsupported", "malformed", "oversize", "bad_signature"],
        "bad_payload" => &["malformed", "oversize"],
        "expired" => &["expired"],
        "future" => &["future"],
        "missing" => &["missing", "malformed"],
        _ => return true,
    };
    classes.contains(&refusal)
}
