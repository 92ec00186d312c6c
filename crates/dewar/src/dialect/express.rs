//! The sessions of Express, in both of its forms: [`CookieSession`] and [`ExpressSession`].
//!
//! Both are JSON as `JSON.stringify` writes it, and in both the entries become members of a JavaScript object that has members of
//! its own. On reading Express drops an entry that has the name of one; so do we, and on writing it is an error that names the entry.

mod cookie_session;
mod express_session;

pub use cookie_session::CookieSession;
pub use express_session::ExpressSession;

use super::Data;
use crate::{
    encoding::{Encoding, Json},
    error::Error,
};

const JSON: Encoding = Encoding::Json(Json::JAVASCRIPT);

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
struct Reserved(&'static [&'static str]);

impl Reserved {
    fn has(&self, name: &[u8]) -> bool {
        self.0.iter().chain(EVERY_OBJECTS).any(|reserved| reserved.as_bytes() == name)
    }

    /// Drops such entries, as Express does.
    fn drop_from(&self, data: &mut Data) {
        let found: Vec<_> =
            data.iter().map(|(name, _)| name).filter(|name| self.has(name)).map(<[u8]>::to_vec).collect();
        for name in found {
            data.remove(&name);
        }
    }

    /// # Errors
    ///
    /// Where an entry has such a name.
    fn check(&self, data: &Data) -> Result<(), Error> {
        match data.iter().find(|(name, _)| self.has(name)) {
            Some((name, _)) => Err(Error::entry(
                name,
                "Express's session object has a member of this name and would drop the entry; use another name",
            )),
            None => Ok(()),
        }
    }
}
