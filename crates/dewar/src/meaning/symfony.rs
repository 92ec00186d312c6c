//! `_symfony_flashes`, and the application's own entry for the user: Symfony 5.4 and 7.4.
//!
//! ```text
//! _symfony_flashes = a:1:{s:6:"notice";a:2:{i:0;s:5:"hello";i:1;s:5:"again";}}: the messages of each type
//! _csrf/...        = the tokens of the session's forms, each an attribute
//! ```
//!
//! A category is a type of `FlashBag`'s. A message that is an object (`TranslatableMessage`) is Symfony's alone: it stays for the next page there.
//!
//! `AutoExpireFlashBag` keeps two of such arrays, where the dialect is told of it:
//!
//! ```text
//! a:2:{s:7:"display";a:0:{}s:3:"new";a:1:{s:6:"notice";a:1:{i:0;s:5:"hello";}}}
//! new      left for the next page, which Symfony forgets with that page, whether it shows them or not; here with a page that shows them
//! display  what the last page was to show: nobody reads it again
//! ```
//!
//! Somebody who logs in gets other tokens for forms, as with Symfony's `SessionAuthenticationStrategy`.
//!
//! A log-in of Symfony's is a serialized object in an attribute, which is read and never made anything of:
//!
//! ```text
//! _security_main = token, in a text
//! token          = UsernamePasswordToken [credentials, firewall, state], RememberMeToken [secret, firewall, state] or PostAuthenticationToken [firewall, state]
//! state          = [user, whether it is authenticated, null, attributes, roles]
//! user           = an object with a property that identifies it: `username` of InMemoryUser, `email` perhaps of the application's own
//! ```
//!
//! Whatever has another form says that nobody is logged in: tokens of other classes, such as one of somebody who has yet to give a second factor.
//!
//! What it cannot say: that somebody logs in to Symfony's security. It is carried through.

use std::collections::HashMap;

use bytes::Bytes;

use super::{Change, Data, Entry, Flash, FlashChange, Holds, Meaning, Principal};
use crate::{
    encoding::{Encoding, Member, ReadError, php},
    error::Error,
    flash::Shown,
    value::{self, Value},
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
    /// Whether messages are those of `AutoExpireFlashBag`.
    pub(crate) auto_expire: bool,
    pub(crate) security: Option<Security>,
}

/// Where Symfony's security keeps a log-in, and what identifies a user.
#[derive(Clone, Debug)]
pub(crate) struct Security {
    attribute: Box<str>,
    property: Box<str>,
}

impl Security {
    pub(crate) fn of(firewall: &str, property: &str) -> Self {
        Self { attribute: format!("_security_{firewall}").into(), property: property.into() }
    }

    fn user(&self, data: &Data, encoding: Encoding) -> Option<Principal> {
        let token: value::Bytes = encoding.read(data.get(self.attribute.as_bytes())?).ok()?;
        let (class, members) = php::object(&token.0)?;
        let (_, state) = TOKENS.iter().find(|(known, _)| known.as_bytes() == class)?;
        let state = value_of(&members, *state, &token.0)?;
        let state = Data::parse(encoding, &Bytes::copy_from_slice(state))?;
        let is_authenticated: bool = encoding.read(state.get(b"1")?).ok()?;
        let user = state.get(b"0").filter(|_| is_authenticated)?;
        let (_, properties) = php::object(user)?;
        // Before the name stands who sees it: `*`, or a class, between zero bytes.
        let is_it = |name: &[u8]| name.rsplit(|byte| *byte == 0).next() == Some(self.property.as_bytes());
        let property = properties.iter().find(|property| is_it(property.name.of(user)))?;
        match Principal::read(encoding, property.value.of(user))? {
            known @ Principal::Known(_) => Some(known),
            Principal::Unreadable(_) => None,
        }
    }
}

/// The classes of tokens, and where the state is that all have.
const TOKENS: [(&str, usize); 3] = [
    (r"Symfony\Component\Security\Core\Authentication\Token\UsernamePasswordToken", 2),
    (r"Symfony\Component\Security\Core\Authentication\Token\RememberMeToken", 2),
    (r"Symfony\Component\Security\Http\Authenticator\Token\PostAuthenticationToken", 1),
];

fn value_of<'a>(members: &'a [Member], number: usize, whole: &'a [u8]) -> Option<&'a [u8]> {
    let number = number.to_string();
    let member = members.iter().find(|member| member.name.of(whole) == number.as_bytes())?;
    Some(member.value.of(whole))
}

impl Symfony {
    /// # Errors
    ///
    /// Where the principal's entry is Symfony's own, or the user is in two places.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &self.security {
            Some(_) if self.entry.principal.is_some() => {
                Err(Error::setting("firewall and principal_entry both say where the user is: leave one of them out"))
            }
            Some(security) if security.property.is_empty() => {
                Err(Error::setting("user_property: a property needs a name, for example user_property(\"email\")"))
            }
            _ => self.entry.check(&[FLASHES]),
        }
    }
}

impl Symfony {
    /// The messages. An error: why there are none that are read.
    fn bag(&self, data: &Data, encoding: Encoding) -> Result<Bag, &'static str> {
        let whole = data.get(FLASHES.as_bytes()).map(Bytes::copy_from_slice);
        let Some(whole) = whole.map(|whole| Data::parse(encoding, &whole).ok_or(NO_BAG)).transpose()? else {
            return Ok(Bag { types: Vec::new(), expired: self.auto_expire.then(|| EMPTY.to_vec()) });
        };
        let has = |name| whole.get(name).is_some();
        if !self.auto_expire {
            return match whole.len() == 2 && has(DISPLAY) && has(NEW) {
                true => Err(AUTO_EXPIRE),
                false => Ok(Bag { types: Bag::types(&whole, encoding).ok_or(NO_BAG)?, expired: None }),
            };
        }
        if whole.len() > usize::from(has(DISPLAY)) + usize::from(has(NEW)) {
            return Err(NO_AUTO_EXPIRE);
        }
        let part = |name| whole.get(name).unwrap_or(EMPTY).to_vec();
        let new = Data::parse(encoding, &part(NEW).into()).ok_or(NO_BAG)?;
        Ok(Bag { types: Bag::types(&new, encoding).ok_or(NO_BAG)?, expired: Some(part(DISPLAY)) })
    }
}

impl Meaning for Symfony {
    fn holds(&self) -> Holds {
        Holds { principal: self.security.is_some() || self.entry.principal.is_some(), ..Holds::NOTHING }
    }

    fn principal(&self, data: &Data, encoding: Encoding) -> Option<Principal> {
        match &self.security {
            Some(security) => security.user(data, encoding),
            None => self.entry.principal(data, encoding),
        }
    }

    fn is_principal(&self, entry: &str) -> bool {
        match &self.security {
            Some(security) => entry == &*security.attribute,
            None => self.entry.is_principal(entry),
        }
    }

    fn set(&self, data: &mut Data, encoding: Encoding, change: Change<'_>) -> Result<(), Error> {
        let Change::Principal(login) = change else { return self.entry.set(data, encoding, change) };
        if self.principal(data, encoding).is_some_and(|former| former.is(&login.id)) {
            return Ok(());
        }
        if let Some(security) = &self.security {
            return Err(Error::entry(
                security.attribute.as_bytes(),
                "a log-in of Symfony's is an object that it alone makes: send the visitor to its log-in form, or let both sides keep the user in \
                 an attribute, and name that with principal_entry",
            ));
        }
        let tokens = data.iter().map(|(name, _)| name).filter(|name| name.starts_with(CSRF));
        for token in tokens.map(<[u8]>::to_vec).collect::<Vec<_>>() {
            data.remove(&token);
        }
        self.entry.set(data, encoding, change)
    }

    fn is_flash(&self, entry: &[u8]) -> bool {
        entry == FLASHES.as_bytes()
    }

    fn flashes(&self, data: &Data, encoding: Encoding) -> Result<Vec<Flash>, ReadError> {
        let bag = self.bag(data, encoding).map_err(ReadError::new)?;
        let messages = bag.types.iter().flat_map(|of_a_type| {
            let category = String::from_utf8_lossy(&of_a_type.name).into_owned();
            let messages = of_a_type.messages.iter().filter_map(|(_, message)| encoding.read(message).ok());
            messages.map(move |message| Flash { category: category.clone(), message })
        });
        Ok(messages.collect())
    }

    fn flash(&self, data: &mut Data, encoding: Encoding, changes: &[FlashChange<'_>]) -> Result<(), Error> {
        let mut bag = self.bag(data, encoding).map_err(unfit)?;
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
const AUTO_EXPIRE: &str = "the messages are those of AutoExpireFlashBag: write auto_expire_flashes(true)";
const NO_AUTO_EXPIRE: &str = "the messages are not those of AutoExpireFlashBag: leave out auto_expire_flashes(true)";

const DISPLAY: &[u8] = b"display";
const NEW: &[u8] = b"new";
const EMPTY: &[u8] = b"a:0:{}";

fn unfit(why: impl std::fmt::Display) -> Error {
    Error::entry(FLASHES.as_bytes(), why)
}

/// What stands in `_symfony_flashes`.
struct Bag {
    types: Vec<Type>,
    /// `display` of `AutoExpireFlashBag`, still encoded; `None`: it is a `FlashBag`.
    expired: Option<Vec<u8>>,
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
    fn types(bag: &Data, encoding: Encoding) -> Option<Vec<Type>> {
        let messages = |encoded| Data::parse(encoding, &Bytes::copy_from_slice(encoded));
        bag.iter().map(|(name, encoded)| Some(Type::new(name, messages(encoded)?))).collect()
    }

    fn leave(&mut self, encoding: Encoding, category: &str, message: &Value) -> Result<(), Error> {
        // As deep as it stands in the bag.
        match self.expired {
            Some(_) => encoding.write(&[[[message]]]),
            None => encoding.write(&[[message]]),
        }
        .map_err(unfit)?;
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
        let places: HashMap<_, _> = self.types.iter().enumerate().map(|(at, one)| (one.name.clone(), at)).collect();
        for mut shown in Shown::by_category(shown) {
            let Some(at) = places.get(shown.category.as_bytes()) else { continue };
            let of_a_type = &mut self.types[*at];
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
        let is_empty = bag.is_empty();
        if let Some(expired) = self.expired {
            let mut new = Vec::new();
            bag.write(encoding, &mut new);
            bag = Data::default();
            bag.insert(DISPLAY, expired);
            bag.insert(NEW, new);
        }
        let mut written = Vec::new();
        bag.write(encoding, &mut written);
        (!is_empty).then_some(written)
    }
}
