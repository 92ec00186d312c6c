//! Terms to values. Lengths are compared with what is there before anything is allocated.

use super::{number, tag};
use crate::value::{Value, read::last_wins};

/// The next term, nested at most so deep.
pub(super) fn term(rest: &mut &[u8], depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    Some(match byte(rest)? {
        tag::SMALL_INTEGER => Value::Integer(byte(rest)?.into()),
        tag::INTEGER => Value::Integer(i32::from_be_bytes(array(rest)?).into()),
        tag::FLOAT => Value::Float(Some(f64::from_be_bytes(array(rest)?)).filter(|float| float.is_finite())?),
        tag::SMALL_BIG => {
            let len = byte(rest)?.into();
            big(rest, len)?
        }
        tag::LARGE_BIG => {
            let len = length(rest)?;
            big(rest, len)?
        }
        tag::ATOM => {
            let len = u16::from_be_bytes(array(rest)?).into();
            atom(latin1(take(rest, len)?))?
        }
        tag::SMALL_ATOM => {
            let len = byte(rest)?.into();
            atom(latin1(take(rest, len)?))?
        }
        tag::ATOM_UTF8 => {
            let len = u16::from_be_bytes(array(rest)?).into();
            atom(std::str::from_utf8(take(rest, len)?).ok()?.to_owned())?
        }
        tag::SMALL_ATOM_UTF8 => {
            let len = byte(rest)?.into();
            atom(std::str::from_utf8(take(rest, len)?).ok()?.to_owned())?
        }
        tag::BINARY => {
            let bytes = binary(rest)?;
            match std::str::from_utf8(bytes) {
                Ok(text) => Value::Text(text.to_owned()),
                Err(_) => Value::Bytes(bytes.to_vec()),
            }
        }
        tag::STRING => {
            let len = u16::from_be_bytes(array(rest)?).into();
            Value::List(take(rest, len)?.iter().map(|byte| Value::Integer((*byte).into())).collect())
        }
        tag::NIL => Value::List(Vec::new()),
        tag::LIST => {
            let count = count(rest, 1)?;
            let items = items(rest, count, depth)?;
            // Another end makes it an improper list.
            (byte(rest)? == tag::NIL).then_some(Value::List(items))?
        }
        tag::SMALL_TUPLE => {
            let count = byte(rest)?.into();
            Value::Tuple(items(rest, count, depth)?)
        }
        tag::LARGE_TUPLE => {
            let count = count(rest, 1)?;
            Value::Tuple(items(rest, count, depth)?)
        }
        tag::MAP => {
            let count = count(rest, 2)?;
            let mut members = Vec::with_capacity(count);
            for _ in 0..count {
                members.push((term(rest, depth)?, term(rest, depth)?));
            }
            last_wins(&mut members);
            Value::Map(members)
        }
        _ => return None,
    })
}

/// How many members follow, of so many terms each: a term has a byte at least.
pub(super) fn count(rest: &mut &[u8], terms: usize) -> Option<usize> {
    let count = length(rest)?;
    (count.checked_mul(terms)? <= rest.len()).then_some(count)
}

/// The bytes of a binary, whose tag was taken off.
pub(super) fn binary<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = length(rest)?;
    take(rest, len)
}

fn items(rest: &mut &[u8], count: usize, depth: usize) -> Option<Vec<Value>> {
    let mut items = Vec::with_capacity(count.min(rest.len()));
    for _ in 0..count {
        items.push(term(rest, depth)?);
    }
    Some(items)
}

fn big(rest: &mut &[u8], len: usize) -> Option<Value> {
    let sign = byte(rest)?;
    number::read(sign != 0, take(rest, len)?)
}

fn atom(name: String) -> Option<Value> {
    /// The most characters that Erlang takes.
    const LONGEST: usize = 255;
    Some(match name.as_str() {
        "nil" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ if name.chars().count() > LONGEST => return None,
        _ => Value::Atom(name),
    })
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    Some(take(rest, 1)?[0])
}

fn length(rest: &mut &[u8]) -> Option<usize> {
    usize::try_from(u32::from_be_bytes(array(rest)?)).ok()
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    take(rest, N)?.try_into().ok()
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}
