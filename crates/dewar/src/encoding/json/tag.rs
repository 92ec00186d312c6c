//! Flask's tags: an object with one member, whose name begins with a blank, stands for what JSON cannot say.
//!
//! Source: `flask/json/tag.py`, 3.1.

use crate::encoding::base64;
use crate::value::{DateTime, Value};

pub(super) const TUPLE: &str = " t";
pub(super) const BYTES: &str = " b";
pub(super) const MARKUP: &str = " m";
pub(super) const UUID: &str = " u";
pub(super) const DATE_TIME: &str = " d";
/// Around an object that looks like a tagged value itself.
pub(super) const OBJECT: &str = " di";

pub(super) fn is_tag(name: &[u8]) -> bool {
    [OBJECT, TUPLE, BYTES, MARKUP, UUID, DATE_TIME].iter().any(|tag| tag.as_bytes() == name)
}

/// What an object stands for, its members being untagged already. Nothing where Flask could not read it.
pub(super) fn untag(mut members: Vec<(Value, Value)>) -> Option<Value> {
    let tag = match &members[..] {
        [(Value::Text(name), _)] if is_tag(name.as_bytes()) => name.clone(),
        _ => return Some(Value::Map(members)),
    };
    let (_, value) = members.pop()?;
    match (tag.as_str(), value) {
        (TUPLE, Value::List(items) | Value::Tuple(items)) => Some(Value::Tuple(items)),
        (BYTES, Value::Text(text)) => base64::decode_standard(text.as_bytes()).map(Value::Bytes),
        (MARKUP, Value::Text(text) | Value::Markup(text)) => Some(Value::Markup(text)),
        // Unmarked, so that it is escaped: markup here is UTF-8.
        (MARKUP, Value::Surrogates(units)) => Some(Value::Surrogates(units)),
        (UUID, Value::Text(text)) => text.parse().ok().map(Value::Uuid),
        // Flask's reader gives None for what is not a date.
        (DATE_TIME, Value::Text(text)) => Some(DateTime::from_http(&text).map_or(Value::Null, Value::DateTime)),
        (OBJECT, Value::Map(mut inner)) if inner.len() == 1 => {
            let (name, value) = inner.pop()?;
            Some(Value::Map(vec![(Value::Text(strip(name.as_str()?).into()), value)]))
        }
        _ => None,
    }
}

/// The name without the two underscores, or whatever its last two characters are.
pub(super) fn strip(name: &str) -> &str {
    match name.char_indices().nth_back(1) {
        Some((end, _)) => &name[..end],
        None => "",
    }
}
