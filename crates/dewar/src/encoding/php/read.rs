//! Bytes to values.

use std::borrow::Cow;

use super::token::{Key, Token, expect, key, token};
use crate::{
    encoding::error::ReadError,
    value::{Value, read::last_wins},
};

/// The next value, nested at most so deep.
pub(super) fn value(rest: &mut &[u8], depth: usize) -> Result<Value, ReadError> {
    let depth = depth.checked_sub(1).ok_or_else(ReadError::malformed)?;
    let only_phps = |what: &str| Err(ReadError::new(format!("{what}, which only PHP can read")));
    Ok(match token(rest).ok_or_else(ReadError::malformed)? {
        Token::Null => Value::Null,
        Token::Bool(it) => Value::Bool(it),
        Token::Integer(it) => Value::Integer(it),
        Token::Float(it) => Value::Float(it),
        Token::Text(it) => text(it),
        Token::Array(count) => array(rest, count, depth)?,
        Token::Object(_) | Token::Custom => return only_phps("a PHP object"),
        Token::Case => return only_phps("a case of a PHP enumeration"),
        Token::Reference(_) | Token::Same(_) => return only_phps("a PHP reference"),
    })
}

fn array(rest: &mut &[u8], count: usize, depth: usize) -> Result<Value, ReadError> {
    let mut members = Vec::with_capacity(count);
    for _ in 0..count {
        let key = match key(rest).ok_or_else(ReadError::malformed)? {
            Key::Integer(integer) => Value::Integer(integer),
            Key::Text(it) => text(it),
        };
        members.push((key, value(rest, depth)?));
    }
    expect(rest, b"}").ok_or_else(ReadError::malformed)?;
    let is_list = |members: &[(Value, Value)]| (0..).zip(members).all(|(at, (key, _))| key.as_i64() == Some(at));
    if !is_list(&members) {
        last_wins(&mut members);
    }
    Ok(match is_list(&members) {
        true => Value::List(members.into_iter().map(|(_, value)| value).collect()),
        false => Value::Map(members),
    })
}

fn text(bytes: Cow<'_, [u8]>) -> Value {
    match String::from_utf8(bytes.into_owned()) {
        Ok(text) => Value::Text(text),
        Err(other) => Value::Bytes(other.into_bytes()),
    }
}
