//! An entry that an application has chosen itself says whose session it is: `session.userId = 7`.

use super::{Change, Data, Holds, Meaning, Principal};
use crate::{encoding::Encoding, error::Error};

/// Entries that mean nothing to the framework, but for the one that the application names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    /// Where the user is.
    pub(crate) principal: Option<Box<str>>,
}

impl Entry {
    /// # Errors
    ///
    /// Where the principal's entry has no name, or one that means something else already.
    pub(crate) fn check(&self, taken: &[&str]) -> Result<(), Error> {
        match self.principal.as_deref() {
            Some("") => {
                Err(Error::setting("principal_entry: an entry needs a name, for example principal_entry(\"userId\")"))
            }
            Some(entry) if taken.contains(&entry) => Err(Error::setting(format!(
                "principal_entry: {entry:?} is something else in this session format; name another entry"
            ))),
            _ => Ok(()),
        }
    }
}

impl Meaning for Entry {
    fn holds(&self) -> Holds {
        Holds { principal: self.principal.is_some(), ..Holds::NOTHING }
    }

    fn principal(&self, data: &Data, encoding: Encoding) -> Option<Principal> {
        Principal::read(encoding, data.get(self.principal.as_ref()?.as_bytes())?)
    }

    fn is_principal(&self, entry: &str) -> bool {
        self.principal.as_deref() == Some(entry)
    }

    fn set(&self, data: &mut Data, encoding: Encoding, change: Change<'_>) -> Result<(), Error> {
        let (Change::Principal(login), Some(entry)) = (change, &self.principal) else { return Ok(()) };
        // What reads the same keeps its bytes: a number stays one.
        if self.principal(data, encoding).is_some_and(|former| former.is(&login.id)) {
            return Ok(());
        }
        let user = encoding.write(&login.value()).map_err(|why| Error::entry(entry.as_bytes(), why))?;
        data.insert(entry.as_bytes(), user);
        Ok(())
    }
}
