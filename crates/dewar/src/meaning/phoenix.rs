//! Phoenix's `phoenix_flash` and Plug's `_csrf_token`: Phoenix 1.7, Plug 1.19.

use super::{Change, Data, Entry, Flash, FlashChange, Holds, Meaning, Principal};
use crate::{
    encoding::{Encoding, ReadError},
    error::Error,
    flash::Shown,
    value::Value,
};

/// Phoenix's messages: a map, one message a category.
pub(crate) const FLASH: &str = "phoenix_flash";
/// What forms are checked with. Without it Plug makes another one.
pub(crate) const CSRF_TOKEN: &str = "_csrf_token";

/// What Phoenix and Plug keep in entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Phoenix {
    /// Where the application keeps the user.
    pub(crate) entry: Entry,
}

impl Meaning for Phoenix {
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
        if let Change::Renewed(_) = change {
            data.remove(CSRF_TOKEN.as_bytes());
        }
        self.entry.set(data, encoding, change)
    }

    fn is_flash(&self, entry: &[u8]) -> bool {
        entry == FLASH.as_bytes()
    }

    fn flashes(&self, data: &Data, encoding: Encoding) -> Result<Vec<Flash>, ReadError> {
        let mut flashes = Vec::new();
        for (category, message) in read(data, encoding)? {
            let Some(category) = category.as_str() else { continue };
            let flash = |message| Flash { category: category.to_owned(), message };
            match message {
                Value::List(messages) => flashes.extend(messages.into_iter().map(flash)),
                message => flashes.push(flash(message)),
            }
        }
        Ok(flashes)
    }

    fn flash(&self, data: &mut Data, encoding: Encoding, changes: &[FlashChange<'_>]) -> Result<(), Error> {
        let mut categories = read(data, encoding).map_err(unfit)?;
        for change in changes {
            match change {
                FlashChange::Leave { category, message } => leave(&mut categories, category, message),
                FlashChange::Take(shown) => {
                    Shown::by_category(shown).into_iter().for_each(|shown| take(&mut categories, shown));
                }
            }
        }
        if categories.is_empty() {
            data.remove(FLASH.as_bytes());
        } else {
            data.insert(FLASH.as_bytes(), encoding.write(&Value::Map(categories)).map_err(unfit)?);
        }
        Ok(())
    }
}

/// A second message of a category makes it a list, which a template of Phoenix's shows one behind the other.
fn leave(categories: &mut Vec<(Value, Value)>, category: &str, message: &Value) {
    match categories.iter_mut().find(|(name, _)| name.as_str() == Some(category)) {
        None => categories.push((Value::Text(category.to_owned()), message.clone())),
        Some((_, Value::List(messages))) => messages.push(message.clone()),
        Some((_, waiting)) => {
            let first = std::mem::replace(waiting, Value::Null);
            *waiting = Value::List(vec![first, message.clone()]);
        }
    }
}

/// Takes the messages that were shown, each once, and their category where that is empty then.
fn take(categories: &mut Vec<(Value, Value)>, shown: Shown<'_>) {
    let Some(at) = categories.iter().position(|(name, _)| name.as_str() == Some(shown.category)) else { return };
    let mut one = Vec::new();
    let messages = match &mut categories[at].1 {
        Value::List(messages) => messages,
        message => {
            one.push(message.clone());
            &mut one
        }
    };
    shown.take_from(messages);
    if messages.is_empty() {
        categories.remove(at);
    }
}

fn read(data: &Data, encoding: Encoding) -> Result<Vec<(Value, Value)>, ReadError> {
    match data.get(FLASH.as_bytes()).map(|encoded| encoding.read(encoded)).transpose()? {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Map(categories)) => Ok(categories),
        Some(_) => Err(ReadError::new("the messages are no map")),
    }
}

fn unfit(why: impl std::fmt::Display) -> Error {
    Error::entry(FLASH.as_bytes(), why)
}
