//! Messages for the next page: kept in the session until they are shown once.
//!
//! They are an entry of the session, as in Flask: `_flashes`, a list of pairs (category, text).

use std::collections::{HashMap, VecDeque};

use crate::{
    data::Data,
    encoding::{Encoding, ReadError, WriteError},
    value::Value,
};

/// The entry that holds the messages.
pub(crate) const ENTRY: &str = "_flashes";

/// A message for the next page, with its category: `"message"`, `"error"`, or any word of yours.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Flash {
    /// The category, Flask's word: usually a CSS class in the template.
    pub category: String,
    /// What to show: a text, or [markup](crate::value::Markup) that a template does not escape.
    pub message: Value,
}

impl Flash {
    /// The message as plain text.
    pub fn text(&self) -> &str {
        match &self.message {
            Value::Text(text) | Value::Markup(text) => text,
            _ => "",
        }
    }

    /// What tells it from other flashes.
    fn identity(&self) -> String {
        format!("{self:?}")
    }

    fn from_value(value: &Value) -> Option<Self> {
        let (Value::Tuple(pair) | Value::List(pair)) = value else { return None };
        let [Value::Text(category), message] = &pair[..] else { return None };
        Some(Self { category: category.clone(), message: message.clone() })
    }
}

/// The messages in an encoded `_flashes`, in order. Another application's oddities are passed over.
pub(crate) fn read(encoding: Encoding, entry: Option<&[u8]>) -> Result<Vec<Flash>, ReadError> {
    let values = read_values(encoding, entry)?;
    Ok(values.iter().filter_map(Flash::from_value).collect())
}

/// Puts one message more into `_flashes`.
pub(crate) fn append(
    encoding: Encoding,
    data: &mut Data,
    category: &str,
    message: &Value,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let pair = vec![Value::Text(category.to_owned()), message.clone()];
    let pair = if encoding.has_tuples() { Value::Tuple(pair) } else { Value::List(pair) };
    // In a list of its own, which says whether it is too deep for one.
    let one = encoding.write(&[pair])?;
    // What waits already is neither decoded nor copied: a thousand messages must not cost a million.
    let Some(waiting) = data.grow(ENTRY.as_bytes()) else {
        data.insert(ENTRY.as_bytes(), one);
        return Ok(());
    };
    encoding.append(waiting, &one).ok_or_else(|| ReadError::new("the messages are no list").into())
}

/// The messages that wait, decoded once for all that are taken of them in one replay.
pub(crate) struct Waiting {
    encoding: Encoding,
    /// `None`: taken.
    values: Vec<Option<Value>>,
    /// Where those of one identity are, in order.
    places: HashMap<String, VecDeque<usize>>,
}

impl Waiting {
    /// # Errors
    ///
    /// Where the entry is no list.
    pub(crate) fn open(encoding: Encoding, entry: Option<&[u8]>) -> Result<Self, ReadError> {
        let mut waiting = Self { encoding, values: Vec::new(), places: HashMap::new() };
        read_values(encoding, entry)?.into_iter().for_each(|value| waiting.push(value));
        Ok(waiting)
    }

    pub(crate) fn append(&mut self, category: &str, message: &Value) {
        self.push(Value::Tuple(vec![Value::Text(category.to_owned()), message.clone()]));
    }

    fn push(&mut self, value: Value) {
        if let Some(flash) = Flash::from_value(&value) {
            self.places.entry(flash.identity()).or_default().push_back(self.values.len());
        }
        self.values.push(Some(value));
    }

    /// Takes the messages that were shown, each once.
    pub(crate) fn take(&mut self, shown: &[Flash]) {
        for flash in shown {
            if let Some(at) = self.places.get_mut(&flash.identity()).and_then(VecDeque::pop_front) {
                self.values[at] = None;
            }
        }
    }

    /// `_flashes` as it is now; `None` where nothing is left.
    ///
    /// # Errors
    ///
    /// Where a message cannot be written.
    pub(crate) fn close(self) -> Result<Option<Vec<u8>>, WriteError> {
        let values: Vec<Value> = self.values.into_iter().flatten().collect();
        if values.is_empty() { Ok(None) } else { write_values(self.encoding, &values).map(Some) }
    }
}

fn read_values(encoding: Encoding, entry: Option<&[u8]>) -> Result<Vec<Value>, ReadError> {
    entry.map_or(Ok(Vec::new()), |encoded| encoding.read(encoded))
}

/// Pairs are tuples where the format knows them, as Flask writes them, and lists elsewhere.
fn write_values(encoding: Encoding, values: &[Value]) -> Result<Vec<u8>, WriteError> {
    if encoding.has_tuples() {
        return encoding.write(values);
    }
    let pairs: Vec<Value> = values
        .iter()
        .map(|value| match value {
            Value::Tuple(pair) => Value::List(pair.clone()),
            other => other.clone(),
        })
        .collect();
    encoding.write(&pairs)
}
