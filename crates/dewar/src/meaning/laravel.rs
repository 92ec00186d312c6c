//! `_token`, `_flash` with the messages that it names, and `login_web_...`: Laravel 8.83 and 13.31.
//!
//! ```text
//! _token                        40 letters and digits, by which the forms of the session are told
//! _flash                        {"old":[name, ...],"new":[name, ...]}: which entries are for the next page alone
//! login_web_59ba36addc2b...     the user's id, of the guard `web`: an integer or text
//! password_hash_web             what `AuthenticateSession` compares with the user's password
//! _previous, errors, _old_input the page before, and what a form says of its fields: Laravel's own
//! ```
//!
//! A message is an entry of its own, and its category the entry's name: `session()->flash('status', ...)`. Where there are several of one category, they
//! are a list; a list that the application left is as many messages here.
//!
//! Laravel ages its messages when it saves, so what waits in a record is in `old`: the next of its requests shows it, and forgets it at the end. Here it is
//! put there as well, and taken away when it is shown. So it is shown once, on whichever side the next page is; a request here that shows no messages
//! leaves them, where one of Laravel's would forget them. `errors` and `_old_input` are left to Laravel's forms.

use std::collections::HashSet;

use super::{Change, Data, Flash, FlashChange, Holds, Login, Meaning, Principal};
use crate::{
    encoding::{Encoding, ReadError},
    error::Error,
    flash::Shown,
    secret::letters_and_digits,
    value::Value,
};

/// Letters and digits of a token, and of an id.
pub(crate) const TOKEN_LENGTH: usize = 40;

const TOKEN: &str = "_token";
const FLASH: &str = "_flash";
const OLD: &str = "old";
const NEW: &str = "new";

/// What Laravel keeps in entries of such names.
const OWN: [&str; 5] = [TOKEN, FLASH, "_previous", "_old_input", "errors"];

/// SHA-1 of `Illuminate\Auth\SessionGuard`.
const GUARD: &str = "59ba36addc2b2f9401580f014c7f58ea4e30989d";

/// What Laravel keeps in entries, with one guard.
#[derive(Clone, Debug)]
pub(crate) struct Laravel {
    guard: Box<str>,
    login: Box<str>,
}

impl Laravel {
    pub(crate) fn new(guard: &str) -> Self {
        Self { guard: guard.into(), login: format!("login_{guard}_{GUARD}").into() }
    }

    /// The cookie of "remember me".
    pub(crate) fn remember_cookie(&self) -> String {
        format!("remember_{}_{GUARD}", self.guard)
    }

    pub(crate) fn guard(&self) -> &str {
        &self.guard
    }

    /// # Errors
    ///
    /// Where there can be no guard of this name.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let is_in_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if self.guard.is_empty() || !self.guard.bytes().all(is_in_a_name) {
            let guard = &self.guard;
            return Err(Error::setting(format!(
                "guard: {guard:?} names no guard; write one of config('auth.guards'), web for example"
            )));
        }
        Ok(())
    }

    fn log_in(&self, data: &mut Data, encoding: Encoding, login: &Login) -> Result<(), Error> {
        // What reads the same keeps its bytes: a number stays one.
        if self.principal(data, encoding).is_some_and(|former| former.is(&login.id)) {
            return Ok(());
        }
        let user = encoding.write(&login.value()).map_err(|why| Error::entry(self.login.as_bytes(), why))?;
        data.insert(self.login.as_bytes(), user);
        // Another user's: Laravel would end the session.
        data.remove(format!("password_hash_{}", self.guard).as_bytes());
        Ok(())
    }
}

fn put_token(data: &mut Data, encoding: Encoding, mut random: fn(&mut [u8])) -> Result<(), Error> {
    let token = encoding.write(&letters_and_digits(TOKEN_LENGTH, &mut random));
    data.insert(TOKEN.as_bytes(), token.map_err(|why| Error::entry(TOKEN.as_bytes(), why))?);
    Ok(())
}

impl Meaning for Laravel {
    fn holds(&self) -> Holds {
        Holds { principal: true, ..Holds::NOTHING }
    }

    fn principal(&self, data: &Data, encoding: Encoding) -> Option<Principal> {
        Principal::read(encoding, data.get(self.login.as_bytes())?)
    }

    fn is_principal(&self, entry: &str) -> bool {
        entry == &*self.login
    }

    fn set(&self, data: &mut Data, encoding: Encoding, change: Change<'_>) -> Result<(), Error> {
        match change {
            Change::Principal(login) => self.log_in(data, encoding, login),
            Change::Begun(random) if data.get(TOKEN.as_bytes()).is_none() => put_token(data, encoding, random),
            Change::Renewed(random) => put_token(data, encoding, random),
            Change::Begun(_) | Change::Lifetime { .. } => Ok(()),
        }
    }

    fn is_flash(&self, entry: &[u8]) -> bool {
        entry == FLASH.as_bytes()
    }

    fn flashes(&self, data: &Data, encoding: Encoding) -> Result<Vec<Flash>, ReadError> {
        let names = Names::read(data, encoding).ok_or_else(|| ReadError::new(NO_NAMES))?;
        let mut shown = Vec::new();
        let mut within = 0;
        for name in names.waiting() {
            // Each decodes the whole entry that it is within.
            if data.get(name.as_bytes()).is_none() {
                within += 1;
                if within > MOST_WITHIN {
                    continue;
                }
            }
            // What is no longer there, or is an object, is nothing to be shown.
            let messages = find(data, encoding, name).map(several).into_iter().flatten();
            shown.extend(messages.map(|message| Flash { category: name.to_owned(), message }));
        }
        Ok(shown)
    }

    fn flash(&self, data: &mut Data, encoding: Encoding, changes: &[FlashChange<'_>]) -> Result<(), Error> {
        let mut names = Names::read(data, encoding).ok_or_else(|| unfit(NO_NAMES))?;
        for change in changes {
            match change {
                FlashChange::Leave { category, message } => {
                    self.leave(data, encoding, &mut names, category, message)?;
                }
                FlashChange::Take(shown) => {
                    let there: HashSet<String> = names.waiting().map(str::to_owned).collect();
                    let mut taken = HashSet::new();
                    for shown in Shown::by_category(shown).into_iter().filter(|it| there.contains(it.category)) {
                        let name = shown.category.to_owned();
                        if take(data, encoding, shown)? {
                            taken.insert(name);
                        }
                    }
                    names.remove_all(&taken);
                }
            }
        }
        names.write(data, encoding)
    }
}

impl Laravel {
    fn leave(
        &self,
        data: &mut Data,
        encoding: Encoding,
        names: &mut Names,
        category: &str,
        message: &Value,
    ) -> Result<(), Error> {
        let unfit = |why: &dyn std::fmt::Display| Error::entry(category.as_bytes(), why);
        if category.is_empty() || OWN.contains(&category) || *category == *self.login {
            return Err(unfit(&"a message stands in the entry that its category names, and this one is Laravel's own"));
        }
        // Within arrays, where Laravel puts one whose name has dots.
        let is_within = names.has(category) && data.get(category.as_bytes()).is_none();
        if let Some(waiting) = is_within.then(|| find(data, encoding, category)).flatten() {
            let messages = several(waiting).into_iter().chain([message.clone()]).collect();
            return put(data, encoding, category, Some(Value::List(messages))).map_err(|why| unfit(&why));
        }
        let one = encoding.write(&[message]).map_err(|why| unfit(&why))?;
        let waiting = names.has(category).then(|| data.grow(category.as_bytes())).flatten();
        let Some(waiting) = waiting else {
            if data.get(category.as_bytes()).is_some() {
                return Err(unfit(
                    &"a message stands in the entry that its category names, and there is another entry of this name",
                ));
            }
            // A list would be taken for several messages.
            let is_list = matches!(message, Value::List(_));
            let value = if is_list { one } else { encoding.write(message).map_err(|why| unfit(&why))? };
            data.insert(category.as_bytes(), value);
            names.add(category);
            return Ok(());
        };
        // What waits already is neither decoded nor copied where it is a list.
        if encoding.append(waiting, &one).is_none() {
            let several = [encoding.read::<Value>(waiting).map_err(|why| unfit(&why))?, message.clone()];
            *waiting = encoding.write(&several).map_err(|why| unfit(&why))?;
        }
        Ok(())
    }
}

/// Takes the messages of one category that were shown. Returns whether none is left.
fn take(data: &mut Data, encoding: Encoding, shown: Shown<'_>) -> Result<bool, Error> {
    let name = shown.category.to_owned();
    let Some(waiting) = find(data, encoding, &name) else { return Ok(false) };
    let mut messages = several(waiting);
    shown.take_from(&mut messages);
    let left = match &messages[..] {
        [] => None,
        [only] if !matches!(only, Value::List(_)) => Some(only.clone()),
        _ => Some(Value::List(messages)),
    };
    let is_last = left.is_none();
    put(data, encoding, &name, left).map_err(|why| Error::entry(name.as_bytes(), why))?;
    Ok(is_last)
}

/// So many messages within arrays are shown at most, and taken; others are left to Laravel.
const MOST_WITHIN: usize = 16;

const NO_NAMES: &str = "the names of the messages are no array of `old` and `new`";

fn unfit(why: impl std::fmt::Display) -> Error {
    Error::entry(FLASH.as_bytes(), why)
}

/// The messages of one name.
fn several(message: Value) -> Vec<Value> {
    match message {
        Value::Null => Vec::new(),
        Value::List(messages) => messages,
        message => vec![message],
    }
}

/// What stands under a name: as it is, or with a dot for each array around it, as Laravel's `flash('a.b', ...)` puts it there.
fn find(data: &Data, encoding: Encoding, name: &str) -> Option<Value> {
    if let Some(encoded) = data.get(name.as_bytes()) {
        return encoding.read(encoded).ok();
    }
    let (entry, path) = name.split_once('.')?;
    let entry: Value = encoding.read(data.get(entry.as_bytes())?).ok()?;
    path.split('.').try_fold(&entry, |array, step| array.get(step)).cloned()
}

/// Puts something else there; `None`: nothing. The arrays around it stay, as they do in Laravel.
fn put(
    data: &mut Data,
    encoding: Encoding,
    name: &str,
    value: Option<Value>,
) -> Result<(), Box<dyn std::error::Error>> {
    if data.get(name.as_bytes()).is_some() {
        match value {
            Some(value) => data.insert(name.as_bytes(), encoding.write(&value)?),
            None => drop(data.remove(name.as_bytes())),
        }
        return Ok(());
    }
    let Some((entry, path)) = name.split_once('.') else { return Ok(()) };
    let Some(encoded) = data.get(entry.as_bytes()) else { return Ok(()) };
    let mut whole: Value = encoding.read(encoded)?;
    let (around, last) = path.rsplit_once('.').map_or((None, path), |(around, last)| (Some(around), last));
    let steps = around.into_iter().flat_map(|around| around.split('.'));
    let array = steps.into_iter().try_fold(&mut whole, |array, step| member(array, step));
    if let Some(Value::Map(members)) = array {
        match (value, members.iter().position(|(name, _)| name.as_str() == Some(last))) {
            (Some(value), Some(at)) => members[at].1 = value,
            (None, Some(at)) => drop(members.remove(at)),
            (_, None) => {}
        }
        data.insert(entry.as_bytes(), encoding.write(&whole)?);
    }
    Ok(())
}

fn member<'a>(array: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    let Value::Map(members) = array else { return None };
    members.iter_mut().find(|(other, _)| other.as_str() == Some(name)).map(|(_, value)| value)
}

/// What stands in `_flash`.
#[derive(Default)]
struct Names {
    /// All that is there, in its order.
    whole: Vec<(Value, Value)>,
    old: Vec<Value>,
    new: Vec<Value>,
    /// Whether anything is to be written.
    is_changed: bool,
}

impl Names {
    fn read(data: &Data, encoding: Encoding) -> Option<Self> {
        let whole = match data.get(FLASH.as_bytes()).map(|encoded| encoding.read(encoded)) {
            None | Some(Ok(Value::Null)) => Vec::new(),
            Some(Ok(Value::Map(whole))) => whole,
            // PHP's empty array.
            Some(Ok(Value::List(none))) if none.is_empty() => Vec::new(),
            Some(_) => return None,
        };
        let names = |which: &str| match whole.iter().find(|(name, _)| name.as_str() == Some(which)) {
            None | Some((_, Value::Null)) => Some(Vec::new()),
            Some((_, Value::List(names))) => Some(names.clone()),
            // One was taken out, and PHP keeps the numbers of the others.
            Some((_, Value::Map(names))) => Some(names.iter().map(|(_, name)| name.clone()).collect()),
            Some(_) => None,
        };
        Some(Self { old: names(OLD)?, new: names(NEW)?, whole, is_changed: false })
    }

    /// The names of messages for the next page, each once.
    fn waiting(&self) -> impl Iterator<Item = &str> {
        let mut seen = HashSet::new();
        let names = self.old.iter().chain(&self.new).filter_map(Value::as_str);
        names.filter(move |name| !OWN.contains(name) && seen.insert(*name))
    }

    fn has(&self, name: &str) -> bool {
        self.old.iter().chain(&self.new).any(|other| other.as_str() == Some(name))
    }

    fn add(&mut self, name: &str) {
        self.remove(name);
        self.old.push(name.into());
    }

    fn remove(&mut self, name: &str) {
        self.is_changed = true;
        self.old.retain(|other| other.as_str() != Some(name));
        self.new.retain(|other| other.as_str() != Some(name));
    }

    fn remove_all(&mut self, gone: &HashSet<String>) {
        if gone.is_empty() {
            return;
        }
        self.is_changed = true;
        for names in [&mut self.old, &mut self.new] {
            names.retain(|name| !name.as_str().is_some_and(|name| gone.contains(name)));
        }
    }

    fn write(mut self, data: &mut Data, encoding: Encoding) -> Result<(), Error> {
        if !self.is_changed {
            return Ok(());
        }
        for (which, names) in [(OLD, self.old), (NEW, self.new)] {
            match self.whole.iter_mut().find(|(name, _)| name.as_str() == Some(which)) {
                Some((_, former)) => *former = Value::List(names),
                None => self.whole.push((which.into(), Value::List(names))),
            }
        }
        data.insert(FLASH.as_bytes(), encoding.write(&Value::Map(self.whole)).map_err(unfit)?);
        Ok(())
    }
}
