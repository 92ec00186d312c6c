//! A file of vectors, as its schema `session-interop/1` has it, and the folder that files are found in.

use std::{
    fs,
    path::{Path, PathBuf},
};

use dewar::{dialect::Timestamp, value::Value};
use serde_json::Value as Json;

use crate::typed;

const SCHEMA: &str = "session-interop/1";

/// One file, whole.
pub(crate) struct File {
    pub(crate) path: PathBuf,
    json: Json,
}

/// What a path leads to.
pub(crate) enum Found {
    Vectors(File),
    /// JSON of another kind.
    Foreign(PathBuf),
}

/// The JSON files of a folder, by name.
///
/// # Errors
///
/// Where the folder cannot be read.
pub(crate) fn in_folder(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let unreadable = |error| format!("{}: {error}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

impl File {
    /// # Errors
    ///
    /// Where it cannot be read, is no JSON, or says that it is of the schema and is not.
    pub(crate) fn open(path: &Path) -> Result<Found, String> {
        let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let text = fs::read(path).map_err(|error| failed(&error))?;
        let json: Json = serde_json::from_slice(&text).map_err(|error| failed(&error))?;
        if json["schema"] != SCHEMA {
            return Ok(Found::Foreign(path.to_owned()));
        }
        let Some(vectors) = json["vectors"].as_array() else { return Err(failed(&"it has no list of vectors")) };
        for (at, vector) in vectors.iter().enumerate() {
            for member in ["id", "kind", "framework"] {
                if !vector[member].is_string() {
                    return Err(failed(&format_args!("vector {at} has no text {member:?}")));
                }
            }
        }
        Ok(Found::Vectors(Self { path: path.to_owned(), json }))
    }

    pub(crate) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub(crate) fn format(&self) -> &str {
        self.json["format"].as_str().unwrap_or("?")
    }

    /// How many vectors of a class it says that it has.
    pub(crate) fn count(&self, class: &str) -> Option<usize> {
        self.json["counts"][class].as_u64().and_then(|count| usize::try_from(count).ok())
    }

    pub(crate) fn vectors(&self) -> impl Iterator<Item = Vector<'_>> {
        let vectors = self.json["vectors"].as_array().into_iter().flatten();
        vectors.map(|json| Vector { json, configs: &self.json["configs"] })
    }
}

/// One vector.
#[derive(Clone, Copy)]
pub(crate) struct Vector<'a> {
    pub(crate) json: &'a Json,
    configs: &'a Json,
}

/// What is to be done with a vector.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Valid,
    /// The framework takes it and never writes it: it may be refused.
    Lenient,
    Invalid,
}

impl<'a> Vector<'a> {
    pub(crate) fn text(&self, member: &str) -> &'a str {
        self.json[member].as_str().unwrap_or_default()
    }

    pub(crate) fn id(&self) -> &'a str {
        self.text("id")
    }

    /// # Errors
    ///
    /// Where the outcome is none of the schema's.
    pub(crate) fn class(&self) -> Result<Class, String> {
        let expect = &self.json["expect"];
        match expect["outcome"].as_str() {
            Some("valid") if expect["lenient"] == true => Ok(Class::Lenient),
            Some("valid") => Ok(Class::Valid),
            Some("invalid") => Ok(Class::Invalid),
            _ => Err(format!("its outcome is {}", expect["outcome"])),
        }
    }

    /// # Errors
    ///
    /// Where its file has no such config.
    pub(crate) fn config(&self) -> Result<&'a Json, String> {
        self.config_in("config")
    }

    /// The settings that wrote it, where they are others than those that read it.
    ///
    /// # Errors
    ///
    /// Where its file has no such config.
    pub(crate) fn config_of_writer(&self) -> Result<Option<&'a Json>, String> {
        let member = "minted_with_config";
        self.json[member].is_string().then(|| self.config_in(member)).transpose()
    }

    fn config_in(&self, member: &str) -> Result<&'a Json, String> {
        let config = match self.json[member].as_str() {
            Some(name) => &self.configs[name],
            None => &self.json["config_inline"],
        };
        config.is_object().then_some(config).ok_or_else(|| format!("the file has no config {}", self.json[member]))
    }

    /// When it was `written`, or is to be `read`; where only one of them is said, it is both.
    pub(crate) fn time(&self, when: &str) -> Result<Timestamp, String> {
        let time = &self.json["time"];
        // A format that knows no time is the same at any.
        if time.as_object().is_some_and(serde_json::Map::is_empty) {
            return Ok(Timestamp::from_secs(1_700_000_000));
        }
        let millis = |when: &str| {
            let millis = time[format!("{when}_ms")].as_f64().or(time[when].as_f64().map(|seconds| seconds * 1000.0));
            millis.map(|millis| Timestamp::from_millis(millis as u64))
        };
        millis(when).or_else(|| millis("read")).or_else(|| millis("written")).ok_or_else(|| "it has no time".into())
    }

    /// The session in this member; an error names what of it is not known here.
    pub(crate) fn session(&self, member: &str) -> Result<Value, String> {
        typed::parse(&self.json[member])
    }

    /// The record behind an id: its name, and its bytes.
    pub(crate) fn record(&self) -> Result<Option<(&'a str, Vec<u8>)>, String> {
        let record = &self.json["store"];
        if record.is_null() {
            return Ok(None);
        }
        let name = record["key"]
            .as_str()
            .or(record["name"].as_str())
            .or(record["session_key"].as_str())
            .ok_or("its record has no name")?;
        let bytes = match record["value_hex"].as_str() {
            Some(digits) => typed::bytes(digits).ok_or("its record is not in hex digits")?,
            None => record["session_data"].as_str().ok_or("its record has no bytes")?.into(),
        };
        Ok(Some((name, bytes)))
    }

    /// Whether its record has ended by this moment, where it says until when it stands.
    pub(crate) fn has_ended(&self, now: Timestamp) -> bool {
        let ends = self.json["store"]["expire_unix"].as_f64();
        ends.is_some_and(|ends| Timestamp::from_millis((ends * 1000.0) as u64) <= now)
    }

    /// The cookies of the response that belong to the session: what stands behind the name of the cookie, and the value.
    pub(crate) fn set_cookies(&self, cookie: &str) -> Vec<(&'a str, &'a str)> {
        let cookies = self.json["set_cookie"].as_array().into_iter().flatten();
        cookies.filter_map(|set| Some((set["name"].as_str()?.strip_prefix(cookie)?, set["value"].as_str()?))).collect()
    }

    /// The same of the request, in its order.
    pub(crate) fn request_cookies(&self, cookie: &str) -> Vec<(&'a str, &'a str)> {
        let pairs = self.text("request_cookie").split(';');
        pairs.filter_map(|pair| pair.trim().strip_prefix(cookie)?.split_once('=')).collect()
    }
}
