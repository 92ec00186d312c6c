//! The entries of a session as values, and values as entries: through the dialect's own encoding, one entry at a time, as requests do it.

use std::iter;

use bytes::Bytes;
use dewar::{
    dialect::Data,
    encoding::{Encoding, WriteError},
    value::Value,
};

/// The entries as a map, in their order.
///
/// # Errors
///
/// Where an entry cannot be read; the message names it.
pub(crate) fn read(data: &Data, encoding: Encoding) -> Result<Value, String> {
    let mut members = Vec::with_capacity(data.len());
    for entry in data.iter() {
        // As a map of one entry: the encoding knows which names are no UTF-8.
        let mut one = Vec::new();
        encoding.join(iter::once(entry), &mut one);
        match encoding.read(&one) {
            Ok(Value::Map(map)) => members.extend(map),
            // PHP has one kind for both.
            Ok(Value::List(items)) => members.extend((0..).map(Value::Integer).zip(items)),
            Ok(_) => return Err(format!("entry {:?} is no entry", String::from_utf8_lossy(entry.0))),
            Err(why) => return Err(format!("entry {:?} cannot be read: {why}", String::from_utf8_lossy(entry.0))),
        }
    }
    Ok(Value::Map(members))
}

/// The entries of a map.
///
/// # Errors
///
/// Where the encoding cannot hold a value.
pub(crate) fn written(session: &Value, encoding: Encoding) -> Result<Data, WriteError> {
    let Value::Map(members) = session else { return Ok(Data::default()) };
    let mut data = Data::default();
    for member in members {
        let one = encoding.write(&Value::Map(vec![member.clone()]))?;
        let one = Data::parse(encoding, &Bytes::from(one)).expect("what an encoding wrote is a map");
        one.iter().for_each(|(name, value)| data.insert(name, value));
    }
    Ok(data)
}

/// What of a session is not as expected: the first entry that differs. Shortened, as a session may be long.
pub(crate) fn difference(found: &Value, expected: &Value) -> Option<String> {
    if crate::typed::same(found, expected) {
        return None;
    }
    let (Value::Map(found), Value::Map(expected)) = (found, expected) else {
        return Some(format!("it is {}, not {}", short(found), short(expected)));
    };
    for (at, (name, value)) in expected.iter().enumerate() {
        match found.get(at) {
            None => return Some(format!("entry {} is missing", short(name))),
            Some((other, _)) if !crate::typed::same(other, name) => {
                return Some(format!("entry {at} is {}, not {}", short(other), short(name)));
            }
            Some((_, other)) if !crate::typed::same(other, value) => {
                return Some(format!("entry {} is {}, not {}", short(name), short(other), short(value)));
            }
            Some(_) => {}
        }
    }
    found.get(expected.len()).map(|(name, _)| format!("entry {} is too many", short(name)))
}

pub(crate) fn short(value: &Value) -> String {
    shortened(&format!("{value:?}"))
}

/// The first hundred characters.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(100) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
