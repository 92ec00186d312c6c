//! `_symfony_flashes`, and the application's own entry for the user: Symfony 5.4 and 7.4.
//!
//! ```text
//! _symfony_flashes = a:1:{s:6:"notice";a:2:{i:0;s:5:"hello";i:1;s:5:"again";}}: the messages of each type
//! _csrf/...        = the tokens of the session's forms, each an attribute
//! ```
//!
//! A category is a type of `FlashBag`'s. A message that is an object (`TranslatableMessage`) is Symfony's alone: it stays for the next page there. `AutoExpireFlashBag`
//! keeps messages in another way, and must not be used beside this.
//!
//! Somebody who logs in gets other tokens for forms, as with Symfony's `SessionAuthenticationStrategy`.
//!
//! What it cannot say: a log-in of Symfony's, which is a serialized object in `_security_main`. It is carried through.

use bytes::Bytes;

use super::{Change, Data, Entry, Flash, FlashChange, Holds, Meaning, Principal};
use crate::{
    encoding::{Encoding, ReadError},
    error::Error,
    flash::Shown,
    value::Value,
};

/// Where the messages are.
pub(crate) const FLASHES: &str = "_symfony_flashes";
/// What the names of tokens for forms begin with.
const CSRF: &[u8] = b"_csrf/";

/// What Symfony keeps in entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Symfony {
    /// Where the application keeps the user.
    pub(crate) entry: Entry,
}

impl Symfony {
    /// # Errors
    ///
    /// Where the principal's entry is Symfony's own.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.entry.check(&[FLASHES])
    }
}

impl Meaning for Symfony {
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
        if let Change::Principal(login) = change
            && !self.principal(data, encoding).is_some_and(|former| former.is(&login.id))
        {
            let tokens = data.iter().map(|(name, _)| name).filter(|name| name.starts_with(CSRF));
            for token in tokens.map(<[u8]>::to_vec).collect::<Vec<_>>() {
                data.remove(&token);
            }
        }
        self.entry.set(data, encoding, change)
    }

    fn is_flash(&self, entry: &[u8]) -> bool {
        entry == FLASHES.as_bytes()
    }

    fn flashes(&self, data: &Data, encoding: Encoding) -> Result<Vec<Flash>, ReadError> {
        let bag = Bag::read(data, encoding).ok_or_else(|| ReadError::new(NO_BAG))?;
        let messages = bag.types.iter().flat_map(|of_a_type| {
            let category = String::from_utf8_lossy(&of_a_type.name).into_owned();
            let messages = of_a_type.messages.iter().filter_map(|(_, message)| encoding.read(message).ok());
            messages.map(move |message| Flash { category: category.clone(), message })
        });
        Ok(messages.collect())
    }

    fn flash(&self, data: &mut Data, encoding: Encoding, changes: &[FlashChange<'_>]) -> Result<(), Error> {
        let mut bag = Bag::read(data, encoding).ok_or_else(|| unfit(NO_BAG))?;
        for change in changes {
            match change {
                FlashChange::Leave { category, message } => bag.leave(encoding, category, message)?,
                FlashChange::Take(shown) => bag.take(encoding, shown),
            }
        }
        match bag.written(encoding) {
            Some(written) => data.insert(FLASHES.as_bytes(), written),
            None => drop(data.remove(FLASHES.as_bytes())),
        }
        Ok(())
    }
}

const NO_BAG: &str = "the messages are no array of a list for each type";

fn unfit(why: impl std::fmt::Display) -> Error {
    Error::entry(FLASHES.as_bytes(), why)
}

/// What stands in `_symfony_flashes`.
struct Bag {
    types: Vec<Type>,
}

/// The messages of a type, each still encoded, in the order of their keys in the list.
struct Type {
    name: Vec<u8>,
    messages: Data,
    /// The key of the next one: PHP's `[]`.
    next: i64,
}

impl Type {
    fn new(name: &[u8], messages: Data) -> Self {
        let keys = messages.iter().filter_map(|(key, _)| std::str::from_utf8(key).ok()?.parse::<i64>().ok());
        let next = keys.max().map_or(0, |largest| largest.saturating_add(1).max(0));
        Self { name: name.to_vec(), messages, next }
    }
}

impl Bag {
    fn read(data: &Data, encoding: Encoding) -> Option<Self> {
        let Some(encoded) = data.get(FLASHES.as_bytes()) else { return Some(Self { types: Vec::new() }) };
        let types = Data::parse(encoding, &Bytes::copy_from_slice(encoded))?;
        let types = types
            .iter()
            .map(|(name, messages)| Some(Type::new(name, Data::parse(encoding, &Bytes::copy_from_slice(messages))?)));
        Some(Self { types: types.collect::<Option<_>>()? })
    }

    fn leave(&mut self, encoding: Encoding, category: &str, message: &Value) -> Result<(), Error> {
        // As deep as it stands in the bag.
        encoding.write(&[[message]]).map_err(unfit)?;
        let written = encoding.write(message).map_err(unfit)?;
        let at = self.types.iter().position(|of_a_type| of_a_type.name == category.as_bytes());
        let at = at.unwrap_or_else(|| {
            self.types.push(Type::new(category.as_bytes(), Data::default()));
            self.types.len() - 1
        });
        let of_a_type = &mut self.types[at];
        of_a_type.messages.insert(of_a_type.next.to_string().as_bytes(), written);
        of_a_type.next = of_a_type.next.saturating_add(1);
        Ok(())
    }

    /// Takes the messages that were shown, each once, and each type that is empty then.
    fn take(&mut self, encoding: Encoding, shown: &[Flash]) {
        for mut shown in Shown::by_category(shown) {
            let of_this = |one: &&mut Type| one.name == shown.category.as_bytes();
            let Some(of_a_type) = self.types.iter_mut().find(of_this) else { continue };
            let mut taken = Vec::new();
            for (key, message) in of_a_type.messages.iter() {
                if encoding.read(message).is_ok_and(|message: Value| shown.takes(&message)) {
                    taken.push(key.to_vec());
                }
            }
            for key in taken {
                of_a_type.messages.remove(&key);
            }
        }
        self.types.retain(|of_a_type| !of_a_type.messages.is_empty());
    }

    /// `None`: nothing waits any more.
    fn written(self, encoding: Encoding) -> Option<Vec<u8>> {
        let mut bag = Data::default();
        for of_a_type in self.types.iter().filter(|of_a_type| !of_a_type.messages.is_empty()) {
            let mut messages = Vec::new();
            of_a_type.messages.write(encoding, &mut messages);
            bag.insert(&of_a_type.name, messages);
        }
        let mut written = Vec::new();
        bag.write(encoding, &mut written);
        (!bag.is_empty()).then_some(written)
    }
}
