//! session:sid = { "_permanent": true, other entries }, as msgspec writes a dict: MessagePack or JSON
//!
//! `FlaskSession`: a record as Flask-Session 0.8.0 with msgspec 0.22.0 keeps it in Redis; each reads the other's.
//!
//! ```text
//! MessagePack  always the smallest form; integers of 64 bits, keys of any kind; a date with its zone is extension type -1
//! JSON         UTF-8, no blanks; integers of any size; bytes are base64, and a date is ISO 8601 with six digits of a fraction or none
//! both         a tuple is a list, a UUID its text, a date without a zone ISO 8601
//! TTL          PERMANENT_SESSION_LIFETIME, of every session; set with every write
//! ```
//!
//! The configured format is read first, then the other one. A record of the other one is written in the configured one with the next change.
//!
//! What it cannot say: when a visit began, and a timeout of a single session. Markup, half of a surrogate pair, in MessagePack an integer beyond
//! 64 bits and in JSON NaN and the infinities are refused by name (Flask-Session answers 500, and writes null for the last two).
//!
//! Where it deviates: a Python pickle is never read (Flask-Session still runs it); a malformed record is an empty session under a new id, and stays (Flask-Session
//! answers 500); so is one with a name of an entry that is no text, and one in the other format with a value that the configured one cannot hold; reading moves the TTL
//! after a tenth of it, not with every request.
//!
//! A record that ended here leaves a tombstone beside it: what a slow request of Flask's writes again after that is met as ended, and deleted.
//! Flask-Session itself sees no tombstone. Once it is over (two minutes, or as long as the setting says), such a record is a session again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;

use super::{Kept, Layout, Stored};
use crate::{
    cookie::Attributes,
    data::{Contents, Data},
    encoding::{Encoding, Json},
    error::{Error, Refusal},
    explain::Steps,
    lifetime::GONE_FOR,
    meaning::{FLASK_PERMANENT, Holds},
    value::Value,
};

/// How Flask-Session writes a record: `SESSION_SERIALIZATION_FORMAT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SerializationFormat {
    /// `msgpack`: the default.
    #[default]
    MsgPack,
    /// `json`. A date comes back as text, and bytes do as base64.
    Json,
}

impl SerializationFormat {
    pub(crate) const fn encoding(self) -> Encoding {
        match self {
            Self::MsgPack => Encoding::Msgspec,
            Self::Json => Encoding::Json(Json::MSGSPEC),
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::MsgPack => Self::Json,
            Self::Json => Self::MsgPack,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::MsgPack => "MessagePack",
            Self::Json => "JSON",
        }
    }
}

/// Flask-Session's records in Redis.
#[derive(Clone, Debug)]
pub struct FlaskSession {
    prefix: Box<str>,
    format: SerializationFormat,
    longest_request: Duration,
    /// Whether the log has said that there are pickles.
    has_warned: Arc<AtomicBool>,
}

impl FlaskSession {
    /// The layout with Flask-Session's own prefix and format.
    pub fn new() -> Self {
        Self {
            prefix: "session:".into(),
            format: SerializationFormat::default(),
            longest_request: GONE_FOR,
            has_warned: Arc::default(),
        }
    }

    /// What stands before the id in a record's name.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<Box<str>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How records are written.
    #[must_use]
    pub fn format(mut self, format: SerializationFormat) -> Self {
        self.format = format;
        self
    }

    /// How long a request of the Flask application may run, which would write a session again that ended here.
    #[must_use]
    pub fn longest_request(mut self, time: Duration) -> Self {
        self.longest_request = time;
        self
    }

    /// The entries of a record in the other format, in the configured one.
    fn transcoded(&self, data: &Data) -> Option<Data> {
        let (from, to) = (self.format.other().encoding(), self.format.encoding());
        data.iter().try_fold(Data::default(), |mut all, (name, value)| {
            all.insert(name, to.write(&from.read::<Value>(value).ok()?).ok()?);
            Some(all)
        })
    }
}

impl Default for FlaskSession {
    fn default() -> Self {
        Self::new()
    }
}

impl Layout for FlaskSession {
    fn encoding(&self) -> Encoding {
        self.format.encoding()
    }

    fn holds(&self) -> Holds {
        Holds::NOTHING
    }

    fn name(&self, id: &str) -> String {
        format!("{}{id}", self.prefix)
    }

    fn longest_request(&self) -> Duration {
        self.longest_request
    }

    fn read(&self, found: &Stored, steps: &mut Steps<'_>) -> Result<Kept, Refusal> {
        let found = found.body();
        if let Some(data) = Data::parse(self.encoding(), found) {
            steps.note("format", || self.format.name().into());
            return Ok(Kept::new(data));
        }
        let other = self.format.other();
        if let Some(data) = Data::parse(other.encoding(), found) {
            let data = self.transcoded(&data);
            steps.note("format", || match data {
                Some(_) => format!("{}, and {} is the one that is set", other.name(), self.format.name()),
                None => format!("{}, with a value that {} cannot hold", other.name(), self.format.name()),
            });
            return data.map(Kept::new).ok_or(Refusal::Malformed);
        }
        let is_pickle = is_pickle(found);
        steps.note("format", || if is_pickle { PICKLE.into() } else { "neither MessagePack nor JSON".into() });
        if is_pickle && !self.has_warned.swap(true, Relaxed) {
            tracing::warn!("a session of Flask-Session is refused: it is {PICKLE}");
        }
        Err(Refusal::Malformed)
    }

    fn write(&self, contents: &Contents, _cookie: &Attributes) -> Result<Stored, Error> {
        let mut out = Vec::with_capacity(512);
        contents.data.write(self.encoding(), &mut out);
        Ok(Stored::Blob(out.into()))
    }

    fn alone(&self) -> Option<&'static str> {
        Some(FLASK_PERMANENT)
    }
}

const PICKLE: &str = "a Python pickle, as releases before 0.7 wrote it, which is not read here, since reading one runs what is in it; a page of Flask-Session 0.8 \
                      reads it and writes it anew, or delete it: its visitor begins again";

/// Whether Python's `pickle.loads` would take it for a dict, by how protocols 0, 1 and 2 to 5 begin and all end.
fn is_pickle(record: &Bytes) -> bool {
    matches!(&record[..], [0x80, 2..=5, .., b'.'] | [b'(', b'd', b'p', .., b'.'] | [b'}', b'q', .., b'.'])
}
