//! Messages for the next page: kept in the session until they are shown once.
//!
//! Where a format says nothing else, they are an entry of the session as in Flask: `_flashes`, a list of pairs (category, text).

use std::collections::{HashMap, VecDeque};

use crate::{
    data::Data,
    encoding::{Encoding, ReadError, WriteError},
    error::Error,
    value::Value,
};

/// The entry that holds the messages.
pub(crate) const ENTRY: &str = "_flashes";

/// The category of a message that was given none, Flask's word.
const PLAIN: &str = "message";

/// A message for the next page, with its category: `"message"`, `"error"`, or any word of yours.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Flash {
    /// The category, Flask's word: usually a CSS class in the template. One that another application wrote as a number is its digits.
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

    /// What tells it from other flashes. Markup is text where a format has none.
    pub(crate) fn identity(&self) -> String {
        match &self.message {
            Value::Text(text) | Value::Markup(text) => format!("{:?}{text}", self.category),
            other => format!("{:?}{other:?}", self.category),
        }
    }

    /// Whatever stands among the messages is one: what could not be taken would never go away.
    fn from_value(value: &Value) -> Self {
        let (Value::Tuple(pair) | Value::List(pair)) = value else { return Self::plain(value) };
        let [category, message] = &pair[..] else { return Self::plain(value) };
        let category = match category {
            Value::Text(category) => category.clone(),
            Value::Bool(category) => category.to_string(),
            Value::Integer(category) => category.to_string(),
            Value::BigInteger(category) => category.to_string(),
            Value::Float(category) => category.to_string(),
            Value::Uuid(category) => category.to_string(),
            Value::DateTime(category) => category.to_string(),
            _ => PLAIN.to_owned(),
        };
        Self { category, message: message.clone() }
    }

    fn plain(message: &Value) -> Self {
        Self { category: PLAIN.to_owned(), message: message.clone() }
    }
}

/// What becomes of the messages for the next page.
#[derive(Clone, Copy, Debug)]
pub enum FlashChange<'a> {
    /// One more.
    Leave {
        /// Its category.
        category: &'a str,
        /// What is shown.
        message: &'a Value,
    },
    /// These were shown, each once.
    Take(&'a [Flash]),
}

/// The messages of one category that were shown: each is taken once.
#[cfg(any(feature = "express", feature = "rails", feature = "phoenix", feature = "php"))]
pub(crate) struct Shown<'a> {
    pub(crate) category: &'a str,
    /// How often each, by its identity.
    times: HashMap<String, usize>,
}

#[cfg(any(feature = "express", feature = "rails", feature = "phoenix", feature = "php"))]
impl<'a> Shown<'a> {
    pub(crate) fn by_category(shown: &'a [Flash]) -> Vec<Self> {
        let mut categories: HashMap<&str, HashMap<String, usize>> = HashMap::new();
        for flash in shown {
            *categories.entry(&flash.category).or_default().entry(flash.identity()).or_default() += 1;
        }
        categories.into_iter().map(|(category, times)| Self { category, times }).collect()
    }

    /// Takes them from those that wait in their category.
    #[cfg(any(feature = "express", feature = "laravel", feature = "rails", feature = "phoenix"))]
    pub(crate) fn take_from(mut self, waiting: &mut Vec<Value>) {
        waiting.retain(|message| !self.takes(message));
    }

    /// Whether this one of their category was shown. It is taken then.
    pub(crate) fn takes(&mut self, message: &Value) -> bool {
        let flash = Flash { category: self.category.to_owned(), message: message.clone() };
        match self.times.get_mut(&flash.identity()) {
            Some(times @ 1..) => {
                *times -= 1;
                true
            }
            _ => false,
        }
    }
}

/// The messages in `_flashes`, in order.
pub(crate) fn read(encoding: Encoding, data: &Data) -> Result<Vec<Flash>, ReadError> {
    let values = read_values(encoding, data)?;
    Ok(values.iter().map(Flash::from_value).collect())
}

/// Leaves messages in `_flashes` and takes shown ones away, in this order.
pub(crate) fn change(encoding: Encoding, data: &mut Data, changes: &[FlashChange<'_>]) -> Result<(), Error> {
    // Open from the first message that is taken on: what is only added to is neither decoded nor copied.
    let mut waiting: Option<Waiting> = None;
    for change in changes {
        match (change, &mut waiting) {
            (FlashChange::Leave { category, message }, Some(waiting)) => waiting.append(category, message),
            (FlashChange::Leave { category, message }, None) => append(encoding, data, category, message)?,
            (FlashChange::Take(shown), Some(waiting)) => waiting.take(shown),
            (FlashChange::Take(shown), None) => {
                let mut opened = Waiting::open(read_values(encoding, data).map_err(unfit)?);
                opened.take(shown);
                waiting = Some(opened);
            }
        }
    }
    match waiting.map(|waiting| waiting.close(encoding)).transpose().map_err(unfit)? {
        None => {}
        Some(Some(rest)) => data.insert(ENTRY.as_bytes(), rest),
        Some(None) => drop(data.remove(ENTRY.as_bytes())),
    }
    Ok(())
}

/// Puts one message more behind those that wait, which are neither decoded nor copied: a thousand messages must not cost a million.
fn append(encoding: Encoding, data: &mut Data, category: &str, message: &Value) -> Result<(), Error> {
    let pair = vec![Value::Text(category.to_owned()), message.clone()];
    let pair = if encoding.has_tuples() { Value::Tuple(pair) } else { Value::List(pair) };
    // In a list of its own, which says whether it is too deep for one.
    let one = encoding.write(&[pair]).map_err(unfit)?;
    let Some(waiting) = data.grow(ENTRY.as_bytes()) else {
        data.insert(ENTRY.as_bytes(), one);
        return Ok(());
    };
    encoding.append(waiting, &one).ok_or_else(|| unfit("the messages are no list"))
}

/// The messages that wait, decoded once for all that are taken of them in one replay.
struct Waiting {
    /// `None`: taken.
    values: Vec<Option<Value>>,
    /// Where those of one identity are, in order.
    places: HashMap<String, VecDeque<usize>>,
}

impl Waiting {
    fn open(values: Vec<Value>) -> Self {
        let mut waiting = Self { values: Vec::new(), places: HashMap::new() };
        values.into_iter().for_each(|value| waiting.push(value));
        waiting
    }

    fn append(&mut self, category: &str, message: &Value) {
        self.push(Value::Tuple(vec![Value::Text(category.to_owned()), message.clone()]));
    }

    fn push(&mut self, value: Value) {
        self.places.entry(Flash::from_value(&value).identity()).or_default().push_back(self.values.len());
        self.values.push(Some(value));
    }

    /// Takes the messages that were shown, each once.
    fn take(&mut self, shown: &[Flash]) {
        for flash in shown {
            if let Some(at) = self.places.get_mut(&flash.identity()).and_then(VecDeque::pop_front) {
                self.values[at] = None;
            }
        }
    }

    /// `_flashes` as it is now; `None` where nothing is left.
    fn close(self, encoding: Encoding) -> Result<Option<Vec<u8>>, WriteError> {
        let values: Vec<Value> = self.values.into_iter().flatten().collect();
        if values.is_empty() { Ok(None) } else { write_values(encoding, &values).map(Some) }
    }
}

fn unfit(why: impl std::fmt::Display) -> Error {
    Error::entry(ENTRY.as_bytes(), why)
}

fn read_values(encoding: Encoding, data: &Data) -> Result<Vec<Value>, ReadError> {
    data.get(ENTRY.as_bytes()).map_or(Ok(Vec::new()), |encoded| encoding.read(encoded))
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
