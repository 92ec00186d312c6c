//! The entries that Express's session object cannot have, Passport's `passport.user`, and connect-flash's `flash`.

use bytes::Bytes;

use super::{Change, Data, Flash, FlashChange, Holds, Meaning, Principal};
use crate::{
    encoding::{Encoding, Json, ReadError},
    error::Error,
    flash::Shown,
    value::Value,
};

/// How Express writes entries: JSON as `JSON.stringify` does.
pub(crate) const JSON: Encoding = Encoding::Json(Json::JAVASCRIPT);

/// Passport 0.7: `session.passport = { user: id }`.
const PASSPORT: (&str, &str) = ("passport", "user");
/// connect-flash 0.1.1: `session.flash = { category: [message, ...] }`.
const FLASH: &str = "flash";

/// What Express's companions keep in entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Express {
    /// Where the user is.
    principal: Option<Who>,
    /// Whether two places were said.
    is_contradictory: bool,
}

/// Where an application keeps the user.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    Passport,
    /// In an entry of its own.
    Entry(Box<str>),
}

impl Who {
    fn entry(&self) -> &str {
        match self {
            Self::Passport => PASSPORT.0,
            Self::Entry(entry) => entry,
        }
    }
}

impl Express {
    pub(crate) fn passport(&mut self) {
        self.say(Who::Passport);
    }

    pub(crate) fn principal_entry(&mut self, entry: impl Into<Box<str>>) {
        self.say(Who::Entry(entry.into()));
    }

    fn say(&mut self, who: Who) {
        self.is_contradictory |= self.principal.as_ref().is_some_and(|said| *said != who);
        self.principal = Some(who);
    }

    /// # Errors
    ///
    /// Where the principal's entry is one that Express would drop, or that is something else already.
    pub(crate) fn check(&self, reserved: &Reserved) -> Result<(), Error> {
        if self.is_contradictory {
            return Err(Error::setting("passport and principal_entry: the user is in one place; say it once"));
        }
        match &self.principal {
            Some(Who::Entry(entry)) if entry.is_empty() => {
                Err(Error::setting("principal_entry: an entry needs a name, for example principal_entry(\"userId\")"))
            }
            Some(Who::Entry(entry)) if **entry == *PASSPORT.0 => Err(Error::setting(
                "principal_entry: Passport keeps an object in this entry, and the user in it; write passport()",
            )),
            Some(Who::Entry(entry)) if **entry == *FLASH => {
                Err(Error::setting("principal_entry: connect-flash keeps messages in this entry; name another one"))
            }
            Some(who) if reserved.has(who.entry().as_bytes()) => Err(Error::setting(format!(
                "principal_entry: Express's session object has a member {:?} of its own and would drop the entry; name another one",
                who.entry()
            ))),
            _ => Ok(()),
        }
    }
}

impl Meaning for Express {
    fn holds(&self) -> Holds {
        Holds { principal: self.principal.is_some(), ..Holds::NOTHING }
    }

    fn principal(&self, data: &Data, encoding: Encoding) -> Option<Principal> {
        let who = self.principal.as_ref()?;
        let encoded = data.get(who.entry().as_bytes())?;
        match who {
            Who::Entry(_) => Principal::read(encoding, encoded),
            Who::Passport => match encoding.read(encoded) {
                Ok(Value::Map(members)) => {
                    let user = members_user(&members)?;
                    Principal::of(user, &encoding.write(user).unwrap_or_else(|_| encoded.to_vec()))
                }
                _ => None,
            },
        }
    }

    fn is_principal(&self, entry: &str) -> bool {
        self.principal.as_ref().is_some_and(|who| who.entry() == entry)
    }

    fn set(&self, data: &mut Data, encoding: Encoding, change: Change<'_>) -> Result<(), Error> {
        let (Change::Principal(login), Some(who)) = (change, &self.principal) else { return Ok(()) };
        // What reads the same keeps its bytes: a number stays one.
        if self.principal(data, encoding).is_some_and(|former| former.is(&login.id)) {
            return Ok(());
        }
        let entry = who.entry().as_bytes();
        let user = login.value();
        let value = match who {
            Who::Entry(_) => user,
            Who::Passport => {
                let mut members = match data.get(entry).map(|encoded| encoding.read(encoded)) {
                    None | Some(Ok(Value::Null)) => Vec::new(),
                    Some(Ok(Value::Map(members))) => members,
                    Some(_) => return Err(Error::entry(entry, "Passport keeps an object here, and this is none")),
                };
                members.retain(|(name, _)| !is_user(name));
                members.push((Value::Text(PASSPORT.1.to_owned()), user));
                Value::Map(members)
            }
        };
        data.insert(entry, encoding.write(&value).map_err(|why| Error::entry(entry, why))?);
        Ok(())
    }

    fn is_flash(&self, entry: &[u8]) -> bool {
        entry == FLASH.as_bytes()
    }

    fn flashes(&self, data: &Data, encoding: Encoding) -> Result<Vec<Flash>, ReadError> {
        let mut flashes = Vec::new();
        for (category, messages) in read(data, encoding)? {
            let (Value::Text(category), Value::List(messages)) = (category, messages) else { continue };
            flashes.extend(messages.into_iter().map(|message| Flash { category: category.clone(), message }));
        }
        Ok(flashes)
    }

    fn flash(&self, data: &mut Data, encoding: Encoding, changes: &[FlashChange<'_>]) -> Result<(), Error> {
        let entry = data.get(FLASH.as_bytes()).map(Bytes::copy_from_slice);
        let categories = entry.map_or(Some(Data::default()), |entry| Data::parse(encoding, &entry));
        let mut categories = categories.ok_or_else(|| unfit("the messages are no object of lists"))?;
        for change in changes {
            match change {
                FlashChange::Leave { category, message } => {
                    let one = encoding.write(&[message]).map_err(unfit)?;
                    // What waits already is neither decoded nor copied.
                    match categories.grow(category.as_bytes()) {
                        Some(list) => {
                            encoding.append(list, &one).ok_or_else(|| unfit(format!("{category:?} is no list")))?;
                        }
                        None => categories.insert(category.as_bytes(), one),
                    }
                }
                FlashChange::Take(shown) => {
                    take(&mut categories, encoding, shown).map_err(unfit)?;
                }
            }
        }
        if categories.is_empty() {
            data.remove(FLASH.as_bytes());
        } else {
            let mut written = Vec::new();
            categories.write(encoding, &mut written);
            data.insert(FLASH.as_bytes(), written);
        }
        Ok(())
    }
}

fn members_user(members: &[(Value, Value)]) -> Option<&Value> {
    members.iter().find(|(name, _)| is_user(name)).map(|(_, user)| user)
}

fn is_user(name: &Value) -> bool {
    name.as_str() == Some(PASSPORT.1)
}

fn unfit(why: impl std::fmt::Display) -> Error {
    Error::entry(FLASH.as_bytes(), why)
}

/// The categories with their messages.
fn read(data: &Data, encoding: Encoding) -> Result<Vec<(Value, Value)>, ReadError> {
    match data.get(FLASH.as_bytes()).map(|encoded| encoding.read(encoded)).transpose()? {
        None => Ok(Vec::new()),
        Some(Value::Map(categories)) => Ok(categories),
        Some(_) => Err(ReadError::new("the messages are no object of lists")),
    }
}

/// Takes the messages that were shown, each once, and each category that is empty then.
fn take(categories: &mut Data, encoding: Encoding, shown: &[Flash]) -> Result<(), Box<dyn std::error::Error>> {
    for shown in Shown::by_category(shown) {
        let category = shown.category;
        let Some(list) = categories.get(category.as_bytes()) else { continue };
        let Ok(Value::List(mut messages)) = encoding.read(list) else { continue };
        shown.take_from(&mut messages);
        if messages.is_empty() {
            categories.remove(category.as_bytes());
        } else {
            categories.insert(category.as_bytes(), encoding.write(&messages)?);
        }
    }
    Ok(())
}

/// What every JavaScript object has: ECMA-262, 20.1.3 and B.2.2.
const EVERY_OBJECTS: &[&str] = &[
    "__defineGetter__",
    "__defineSetter__",
    "__lookupGetter__",
    "__lookupSetter__",
    "__proto__",
    "constructor",
    "hasOwnProperty",
    "isPrototypeOf",
    "propertyIsEnumerable",
    "toLocaleString",
    "toString",
    "valueOf",
];

/// The names that entries cannot have: every object's, and those of the form's own session object.
///
/// On reading Express drops an entry that has the name of one; so do we, and on writing it is an error that names the entry.
pub(crate) struct Reserved(pub(crate) &'static [&'static str]);

impl Reserved {
    fn has(&self, name: &[u8]) -> bool {
        self.0.iter().chain(EVERY_OBJECTS).any(|reserved| reserved.as_bytes() == name)
    }

    /// Drops such entries, as Express does.
    pub(crate) fn drop_from(&self, data: &mut Data) {
        let found: Vec<_> =
            data.iter().map(|(name, _)| name).filter(|name| self.has(name)).map(<[u8]>::to_vec).collect();
        for name in found {
            data.remove(&name);
        }
    }

    /// # Errors
    ///
    /// Where an entry has such a name.
    pub(crate) fn check(&self, data: &Data) -> Result<(), Error> {
        match data.iter().find(|(name, _)| self.has(name)) {
            Some((name, _)) => Err(Error::entry(
                name,
                "Express's session object has a member of this name and would drop the entry; use another name",
            )),
            None => Ok(()),
        }
    }
}
