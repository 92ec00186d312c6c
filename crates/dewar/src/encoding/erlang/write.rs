//! Values to terms, each in the form that `term_to_binary` chooses.

use std::cmp::Ordering;

use super::{
    Erlang, SORTED, number,
    order::{self, compare},
    tag,
};
use crate::{
    encoding::error::WriteError,
    value::{BigInteger, Value},
};

/// A term, nested at most so deep.
pub(super) fn term(erlang: Erlang, value: &Value, depth: usize, out: &mut Vec<u8>) -> Result<(), WriteError> {
    let depth = depth.checked_sub(1).ok_or_else(WriteError::deep)?;
    match value {
        Value::Null | Value::Bool(_) | Value::Atom(_) => atom(erlang, order::atom(value).unwrap_or_default(), out)?,
        Value::Integer(integer) => match (u8::try_from(*integer), i32::try_from(*integer)) {
            (Ok(small), _) => out.extend([tag::SMALL_INTEGER, small]),
            (_, Ok(integer)) => {
                out.push(tag::INTEGER);
                out.extend_from_slice(&integer.to_be_bytes());
            }
            _ => number::write(&BigInteger::from(i128::from(*integer)), out),
        },
        Value::BigInteger(integer) => number::write(integer, out),
        Value::Float(float) if float.is_finite() => {
            out.push(tag::FLOAT);
            out.extend_from_slice(&float.to_be_bytes());
        }
        Value::Float(_) => return Err(WriteError::new("Erlang has no NaN and no infinity")),
        Value::Text(text) => binary(text.as_bytes(), out),
        Value::Bytes(bytes) => binary(bytes, out),
        Value::List(items) => list(erlang, items, depth, out)?,
        Value::Tuple(items) => {
            match u8::try_from(items.len()) {
                Ok(len) => out.extend([tag::SMALL_TUPLE, len]),
                Err(_) => {
                    out.push(tag::LARGE_TUPLE);
                    out.extend_from_slice(&len(items.len()));
                }
            }
            items.iter().try_for_each(|item| term(erlang, item, depth, out))?;
        }
        Value::Map(members) => {
            let sorted = order::sorted(members);
            if sorted.windows(2).any(|pair| compare(&pair[0].0, &pair[1].0) == Ordering::Equal) {
                return Err(WriteError::new("two keys of a map are the same in Erlang"));
            }
            out.push(tag::MAP);
            out.extend_from_slice(&len(members.len()));
            let members = if members.len() <= SORTED { sorted } else { members.iter().collect() };
            for (key, value) in members {
                term(erlang, key, depth, out)?;
                term(erlang, value, depth, out)?;
            }
        }
        Value::Surrogates(_) | Value::Markup(_) | Value::Uuid(_) | Value::DateTime(_) => {
            return Err(WriteError::new(format!("Erlang's terms have no {}; write text", value.kind())));
        }
    }
    Ok(())
}

/// A list of bytes is a string.
fn list(erlang: Erlang, items: &[Value], depth: usize, out: &mut Vec<u8>) -> Result<(), WriteError> {
    let small = |item: &Value| item.as_i64().and_then(|integer| u8::try_from(integer).ok());
    match (u16::try_from(items.len()), items.iter().map(small).collect::<Option<Vec<u8>>>()) {
        (Ok(0), _) => out.push(tag::NIL),
        (Ok(len), Some(bytes)) => {
            out.push(tag::STRING);
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(&bytes);
        }
        _ => {
            out.push(tag::LIST);
            out.extend_from_slice(&len(items.len()));
            items.iter().try_for_each(|item| term(erlang, item, depth, out))?;
            out.push(tag::NIL);
        }
    }
    Ok(())
}

fn atom(erlang: Erlang, name: &str, out: &mut Vec<u8>) -> Result<(), WriteError> {
    let too_long = || WriteError::new("an atom has 255 characters at most");
    if name.chars().count() > 255 {
        return Err(too_long());
    }
    let latin1: Option<Vec<u8>> = name.chars().map(|letter| u8::try_from(u32::from(letter)).ok()).collect();
    if let (Some(latin1), true) = (latin1, erlang.older_atoms) {
        out.extend([tag::ATOM, 0, u8::try_from(latin1.len()).map_err(|_| too_long())?]);
        out.extend_from_slice(&latin1);
        return Ok(());
    }
    match u8::try_from(name.len()) {
        Ok(len) => out.extend([tag::SMALL_ATOM_UTF8, len]),
        Err(_) => {
            out.push(tag::ATOM_UTF8);
            out.extend_from_slice(&u16::try_from(name.len()).map_err(|_| too_long())?.to_be_bytes());
        }
    }
    out.extend_from_slice(name.as_bytes());
    Ok(())
}

/// With its tag.
pub(super) fn binary(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag::BINARY);
    out.extend_from_slice(&len(bytes.len()));
    out.extend_from_slice(bytes);
}

/// A length. What has more than 4 GiB is in no session.
pub(super) fn len(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes()
}
