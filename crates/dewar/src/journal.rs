//! What one request did to its session, as operations that can be replayed on fresher data.

use std::sync::Arc;

use crate::{
    data::{Contents, Data},
    encoding::{Encoded, Encoding},
    error::Error,
    flash::{self, Flash},
    lifetime::Timestamp,
};

/// An `update` as it is kept: from the encoded value of now to the encoded value of then.
pub(crate) type Change = Box<dyn Fn(Option<&[u8]>, Encoding) -> Result<Vec<u8>, String> + Send>;

/// One thing a request did.
pub(crate) enum Operation {
    /// `seen` is the value that the request had read before, where it had.
    Insert {
        name: Arc<[u8]>,
        value: Arc<[u8]>,
        seen: Option<Encoded>,
    },
    Remove {
        name: Arc<[u8]>,
    },
    Update {
        name: Arc<[u8]>,
        change: Change,
    },
    Flash {
        category: String,
        message: crate::value::Value,
    },
    TakeFlashes {
        shown: Vec<Flash>,
    },
    SetLifetime {
        idle: u32,
        absolute: Option<u32>,
        persistent: bool,
    },
    /// `lineage` names the session across renewals, where it has no name yet.
    SetPrincipal {
        principal: Box<str>,
        at: Timestamp,
        lineage: u64,
    },
    SetLabel {
        label: Box<str>,
    },
}

impl Operation {
    pub(crate) fn logs_in(&self) -> bool {
        matches!(self, Self::SetPrincipal { .. })
    }

    /// Whether it is about the entry of this name.
    fn names(&self, entry: &[u8]) -> bool {
        match self {
            Self::Insert { name, .. } | Self::Remove { name } | Self::Update { name, .. } => &**name == entry,
            _ => false,
        }
    }

    /// Does it again to `contents`, which another request may have changed meanwhile.
    ///
    /// # Errors
    ///
    /// Where an entry holds a value of another type than an `update` expects, or cannot be written.
    pub(crate) fn replay(&self, contents: &mut Contents, encoding: Encoding) -> Result<(), Error> {
        let data = &mut contents.data;
        match self {
            Self::Insert { name, value, seen } => {
                warn_of_lost_value(data, name, value, seen.as_deref());
                data.insert(name, value.clone());
            }
            Self::Remove { name } => {
                data.remove(name);
            }
            Self::Update { name, change } => {
                let value = change(data.get(name), encoding).map_err(|why| Error::entry(name, why))?;
                data.insert(name, value);
            }
            Self::Flash { category, message } => {
                flash::append(encoding, data, category, message)
                    .map_err(|why| Error::entry(flash::ENTRY.as_bytes(), why))?;
            }
            Self::TakeFlashes { .. } => replay(std::slice::from_ref(self), contents, encoding)?,
            Self::SetLifetime { idle, absolute, persistent } => {
                contents.idle = *idle;
                contents.absolute = *absolute;
                contents.persistent = *persistent;
            }
            Self::SetPrincipal { principal, at, lineage } => {
                if contents.principal.as_deref() != Some(principal) {
                    contents.lineage = *lineage;
                }
                contents.principal = Some(principal.clone());
                // Whoever authenticates begins: the absolute timeout, and the epoch.
                contents.created = *at;
                contents.epoch = None;
            }
            Self::SetLabel { label } => contents.label = Some(label.clone()),
        }
        Ok(())
    }
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (verb, name) = match self {
            Self::Insert { name, .. } => ("insert", String::from_utf8_lossy(name)),
            Self::Remove { name } => ("remove", String::from_utf8_lossy(name)),
            Self::Update { name, .. } => ("update", String::from_utf8_lossy(name)),
            Self::Flash { .. } => ("flash", flash::ENTRY.into()),
            Self::TakeFlashes { .. } => ("take_flashes", flash::ENTRY.into()),
            Self::SetLifetime { .. } => ("set_lifetime", "".into()),
            Self::SetPrincipal { .. } => ("set_principal", "".into()),
            Self::SetLabel { .. } => ("set_label", "".into()),
        };
        write!(f, "{verb}({name:?})")
    }
}

fn warn_of_lost_value(data: &Data, name: &[u8], value: &[u8], seen: Option<&[u8]>) {
    let Some(seen) = seen else { return };
    if data.get(name).is_some_and(|stored| stored != seen && stored != value) {
        crate::telemetry::overwritten(name);
    }
}

/// Replays a whole request.
///
/// # Errors
///
/// The first operation's that fails; `contents` is then half changed, so work on a copy.
pub(crate) fn replay(operations: &[Operation], contents: &mut Contents, encoding: Encoding) -> Result<(), Error> {
    // Open from the first message that is taken on: to decode all that wait for each would cost the square.
    let mut messages: Option<flash::Waiting> = None;
    for operation in operations {
        match (operation, &mut messages) {
            (Operation::TakeFlashes { shown }, Some(messages)) => messages.take(shown),
            (Operation::TakeFlashes { shown }, None) => {
                let entry = contents.data.get(flash::ENTRY.as_bytes());
                let mut waiting = flash::Waiting::open(encoding, entry).map_err(unfit)?;
                waiting.take(shown);
                messages = Some(waiting);
            }
            (Operation::Flash { category, message }, Some(messages)) => messages.append(category, message),
            (other, _) => {
                if other.names(flash::ENTRY.as_bytes()) {
                    put_back(&mut messages, &mut contents.data)?;
                }
                other.replay(contents, encoding)?;
            }
        }
    }
    put_back(&mut messages, &mut contents.data)
}

fn put_back(messages: &mut Option<flash::Waiting>, data: &mut Data) -> Result<(), Error> {
    let Some(messages) = messages.take() else { return Ok(()) };
    match messages.close().map_err(unfit)? {
        Some(rest) => data.insert(flash::ENTRY.as_bytes(), rest),
        None => drop(data.remove(flash::ENTRY.as_bytes())),
    }
    Ok(())
}

fn unfit(why: impl std::fmt::Display) -> Error {
    Error::entry(flash::ENTRY.as_bytes(), why)
}
