//! What one request did to its session, as operations that can be replayed on fresher data.

use std::sync::Arc;

use crate::{
    data::{Contents, Data},
    encoding::{Encoded, Encoding},
    error::Error,
    flash::Flash,
    lifetime::Timestamp,
    meaning::{Change, FlashChange, Format, Login},
};

/// An `update` as it is kept: from the encoded value of now to the encoded value of then.
pub(crate) type Updating = Box<dyn Fn(Option<&[u8]>, Encoding) -> Result<Vec<u8>, String> + Send>;

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
        change: Updating,
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
        login: Login,
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

    /// The entry that it is about, where it is about one.
    fn entry(&self) -> Option<&[u8]> {
        match self {
            Self::Insert { name, .. } | Self::Remove { name } | Self::Update { name, .. } => Some(name),
            _ => None,
        }
    }

    /// What it is to the messages for the next page.
    fn flash(&self) -> Option<FlashChange<'_>> {
        match self {
            Self::Flash { category, message } => Some(FlashChange::Leave { category, message }),
            Self::TakeFlashes { shown } => Some(FlashChange::Take(shown)),
            _ => None,
        }
    }

    /// Does it again to `contents`, which another request may have changed meanwhile.
    ///
    /// # Errors
    ///
    /// Where an entry holds a value of another type than an `update` expects, or cannot be written.
    pub(crate) fn replay(&self, contents: &mut Contents, format: &Format) -> Result<(), Error> {
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
                let value = change(data.get(name), format.encoding).map_err(|why| Error::entry(name, why))?;
                data.insert(name, value);
            }
            Self::Flash { .. } | Self::TakeFlashes { .. } => {
                let change = self.flash();
                format.meaning.flash(data, format.encoding, change.as_slice())?;
            }
            Self::SetLifetime { idle, absolute, persistent } => {
                contents.idle = *idle;
                contents.absolute = *absolute;
                contents.persistent = *persistent;
                format.set(data, Change::Lifetime { persistent: *persistent, idle: *idle })?;
            }
            Self::SetPrincipal { login, at, lineage } => {
                format.set(data, Change::Principal(login))?;
                if format.beside.principal {
                    if contents.principal.as_deref() != Some(&login.id) {
                        contents.lineage = *lineage;
                    }
                    contents.principal = Some(login.id.as_str().into());
                    // Whoever authenticates begins: the absolute timeout, and the epoch.
                    contents.created = *at;
                    contents.epoch = None;
                }
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
            Self::Flash { .. } => ("flash", "".into()),
            Self::TakeFlashes { .. } => ("take_flashes", "".into()),
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
pub(crate) fn replay(operations: &[Operation], contents: &mut Contents, format: &Format) -> Result<(), Error> {
    // Together where nothing else is done to their entry between: to decode all that wait for each message would cost the square.
    let mut messages = Vec::new();
    for operation in operations {
        match operation.flash() {
            Some(change) => messages.push(change),
            None => {
                if operation.entry().is_some_and(|entry| format.meaning.is_flash(entry)) {
                    bring(&mut messages, contents, format)?;
                }
                operation.replay(contents, format)?;
            }
        }
    }
    bring(&mut messages, contents, format)
}

fn bring(messages: &mut Vec<FlashChange<'_>>, contents: &mut Contents, format: &Format) -> Result<(), Error> {
    match std::mem::take(messages) {
        none if none.is_empty() => Ok(()),
        messages => format.meaning.flash(&mut contents.data, format.encoding, &messages),
    }
}
