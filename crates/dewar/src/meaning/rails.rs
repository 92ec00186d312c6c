//! Rails' `session_id`, `_csrf_token` and `flash`, and the application's own entry for the user: Rails 6.1 and 7.2.
//!
//! ```text
//! session_id  = 32 hexadecimal digits, of 16 random bytes
//! _csrf_token = the token of the session's forms, which Rails makes where a form asks for one
//! flash       = {"discard":[name, ...],"flashes":{name: message, ...}}
//! ```
//!
//! Rails has one message a name. Where there are several of one name, they are a list; a list that the application left
//! (`flash[:errors] = [...]`) is as many messages here. Names in `discard` were shown, and are shown no more.

use bytes::Bytes;

use super::{Change, Data, Entry, Flash, FlashChange, Holds, Meaning, Principal};
use crate::{
    encoding::{Encoding, Json, ReadError},
    error::Error,
    flash::Shown,
    secret::hex,
    value::Value,
};

/// How Rails writes entries.
pub(crate) const JSON: Encoding = Encoding::Json(Json::RAILS);

/// What Rails calls the session in its log and its stores.
pub(crate) const SESSION_ID: &str = "session_id";
/// What the forms of this session are told by.
const CSRF_TOKEN: &str = "_csrf_token";
const FLASH: &str = "flash";
const FLASHES: &[u8] = b"flashes";
const DISCARD: &[u8] = b"discard";

/// What Rails keeps in entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rails {
    /// Where the application keeps the user.
    pub(crate) entry: Entry,
}

impl Rails {
    /// # Errors
    ///
    /// Where the principal's entry is one of Rails' own.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.entry.check(&[SESSION_ID, CSRF_TOKEN, FLASH])
    }
}

/// A `session_id` of Rails', from 16 random bytes.
pub(crate) fn session_id(random: &mut dyn FnMut(&mut [u8])) -> Vec<u8> {
    let mut bytes = [0; 16];
    random(&mut bytes);
    format!("\"{}\"", hex(&bytes)).into_bytes()
}

impl Meaning for Rails {
    fn holds(&self) -> Holds {
        self.entry.holds()
    }

    fn principal(&self, data: &Data, encoding: Encoding) -> Option<Principal> {
        self.entry.principal(data, encoding)
    }

    fn is_principal(&self, entry: &str) -> bool {
        self.entry.is_principal(entry)
    }

    fn set(&self, data: &mut Data, encoding: Encoding, change: Change<'_>) -> Result<(), Error> {
        // As `reset_session` does. The next form asks for a token, and Rails makes one.
        if let Change::Renewed(mut random) = change {
            if data.get(SESSION_ID.as_bytes()).is_some() {
                data.insert(SESSION_ID.as_bytes(), session_id(&mut random));
            }
            data.remove(CSRF_TOKEN.as_bytes());
        }
        self.entry.set(data, encoding, change)
    }

    fn is_flash(&self, entry: &[u8]) -> bool {
        entry == FLASH.as_bytes()
    }

    fn flashes(&self, data: &Data, encoding: Encoding) -> Result<Vec<Flash>, ReadError> {
        let Some(encoded) = data.get(FLASH.as_bytes()).filter(|encoded| *encoded != b"null") else {
            return Ok(Vec::new());
        };
        let bag = Bag::read(encoding, encoded).ok_or_else(|| ReadError::new(NO_BAG))?;
        let mut shown = Vec::new();
        for (name, message) in bag.waiting() {
            let category = String::from_utf8_lossy(name).into_owned();
            let messages = several(encoding.read(message)?);
            shown.extend(messages.into_iter().map(|message| Flash { category: category.clone(), message }));
        }
        Ok(shown)
    }

    fn flash(&self, data: &mut Data, encoding: Encoding, changes: &[FlashChange<'_>]) -> Result<(), Error> {
        let found = data.get(FLASH.as_bytes()).filter(|encoded| *encoded != b"null");
        let bag = found.map_or(Some(Bag::default()), |encoded| Bag::read(encoding, encoded));
        let mut bag = bag.ok_or_else(|| unfit(NO_BAG))?;
        for change in changes {
            match change {
                FlashChange::Leave { category, message } => bag.leave(encoding, category, message)?,
                FlashChange::Take(shown) => bag.take(encoding, shown).map_err(unfit)?,
            }
        }
        match bag.written(encoding).map_err(unfit)? {
            Some(written) => data.insert(FLASH.as_bytes(), written),
            None => {
                data.remove(FLASH.as_bytes());
            }
        }
        Ok(())
    }
}

const NO_BAG: &str = "the messages are no object of `discard` and `flashes`";

fn unfit(why: impl std::fmt::Display) -> Error {
    Error::entry(FLASH.as_bytes(), why)
}

/// The messages of one name.
fn several(message: Value) -> Vec<Value> {
    match message {
        Value::List(messages) => messages,
        message => vec![message],
    }
}

/// What stands in `flash`.
#[derive(Default)]
struct Bag {
    /// All that is there beside the messages.
    whole: Data,
    /// The messages by their names, each still encoded.
    messages: Data,
    discard: Vec<Value>,
}

impl Bag {
    fn read(encoding: Encoding, encoded: &[u8]) -> Option<Self> {
        let whole = Data::parse(encoding, &Bytes::copy_from_slice(encoded))?;
        let messages = match whole.get(FLASHES).filter(|encoded| *encoded != b"null") {
            Some(messages) => Data::parse(encoding, &Bytes::copy_from_slice(messages))?,
            None => Data::default(),
        };
        let discard: Option<_> = whole.get(DISCARD).map_or(Ok(None), |names| encoding.read(names)).ok()?;
        Some(Self { messages, discard: discard.unwrap_or_default(), whole })
    }

    fn is_shown(&self, name: &[u8]) -> bool {
        self.discard.iter().any(|other| other.as_str().is_some_and(|other| other.as_bytes() == name))
    }

    fn waiting(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.messages.iter().filter(|(name, _)| !self.is_shown(name))
    }

    fn leave(&mut self, encoding: Encoding, category: &str, message: &Value) -> Result<(), Error> {
        let name = category.as_bytes();
        if self.is_shown(name) {
            self.messages.remove(name);
            self.discard.retain(|other| other.as_str() != Some(category));
        }
        // As deep as it stands in the bag, where there are others of its name.
        encoding.write(&[[[message]]]).map_err(unfit)?;
        let one = encoding.write(&[message]).map_err(unfit)?;
        let Some(waiting) = self.messages.grow(name) else {
            // A list would be taken for several messages.
            let value = if matches!(message, Value::List(_)) { one } else { encoding.write(message).map_err(unfit)? };
            self.messages.insert(name, value);
            return Ok(());
        };
        // What waits already is neither decoded nor copied.
        if !waiting.trim_ascii_start().starts_with(b"[") {
            waiting.insert(0, b'[');
            waiting.push(b']');
        }
        encoding.append(waiting, &one).ok_or_else(|| unfit(format!("{category:?} is no list")))
    }

    /// Takes the messages that were shown, each once, and each name that is empty then.
    fn take(&mut self, encoding: Encoding, shown: &[Flash]) -> Result<(), Box<dyn std::error::Error>> {
        for shown in Shown::by_category(shown) {
            let category = shown.category;
            let Some(waiting) = self.messages.get(category.as_bytes()) else { continue };
            let mut messages = several(encoding.read(waiting)?);
            shown.take_from(&mut messages);
            match &messages[..] {
                [] => {
                    self.messages.remove(category.as_bytes());
                }
                [only] if !matches!(only, Value::List(_)) => {
                    self.messages.insert(category.as_bytes(), encoding.write(only)?);
                }
                several => self.messages.insert(category.as_bytes(), encoding.write(several)?),
            }
        }
        Ok(())
    }

    /// `None`: nothing waits any more.
    fn written(mut self, encoding: Encoding) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error>> {
        if self.waiting().next().is_none() {
            return Ok(None);
        }
        let mut messages = Vec::new();
        self.messages.write(encoding, &mut messages);
        // Rails writes them in this order.
        self.whole.insert(DISCARD, encoding.write(&self.discard)?);
        self.whole.insert(FLASHES, messages);
        let mut written = Vec::new();
        self.whole.write(encoding, &mut written);
        Ok(Some(written))
    }
}
