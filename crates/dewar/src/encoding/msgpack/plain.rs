//! MessagePack as Python's msgspec writes it for Flask-Session: without extension types but the date.
//!
//! A tuple is a list and a UUID its text. A date has microseconds, as Python's have. Keys of a map may be of any kind that Python can hash.

use super::{head, write::timestamp};
use crate::{
    encoding::error::WriteError,
    value::{BigInteger, DateTime, Value},
};

/// A value, nested at most so deep.
pub(super) fn value(it: &Value, depth: usize, out: &mut Vec<u8>) -> Result<(), WriteError> {
    let depth = depth.checked_sub(1).ok_or_else(WriteError::deep)?;
    match it {
        Value::Null => out.push(0xc0),
        Value::Bool(it) => out.push(if *it { 0xc3 } else { 0xc2 }),
        Value::Integer(it) => integer(*it, out),
        Value::BigInteger(it) => beyond_64_bits(it, out)?,
        Value::Float(it) => {
            out.push(0xcb);
            out.extend_from_slice(&it.to_be_bytes());
        }
        Value::Text(it) => text(it, out)?,
        Value::Uuid(it) => text(&it.to_string(), out)?,
        Value::Bytes(it) => {
            head(out, length(it.len())?, 0, 0, [Some(0xc4), Some(0xc5), Some(0xc6)]);
            out.extend_from_slice(it);
        }
        Value::List(items) | Value::Tuple(items) => {
            head(out, length(items.len())?, 0x90, 16, [None, Some(0xdc), Some(0xdd)]);
            items.iter().try_for_each(|item| value(item, depth, out))?;
        }
        Value::Map(members) => {
            head(out, length(members.len())?, 0x80, 16, [None, Some(0xde), Some(0xdf)]);
            for (name, member) in members {
                if let Value::List(_) | Value::Tuple(_) | Value::Map(_) = name {
                    let kind = name.kind();
                    return Err(WriteError::new(format!("a key of a dict is text or a number, not {kind}")));
                }
                value(name, depth, out)?;
                value(member, depth, out)?;
            }
        }
        Value::DateTime(it) => date(*it, out),
        Value::Markup(_) => return Err(WriteError::new("Flask-Session cannot hold markup; write text")),
        Value::Surrogates(_) | Value::Atom(_) => {
            return Err(WriteError::new(format!("Flask-Session cannot hold {}", it.kind())));
        }
    }
    Ok(())
}

fn integer(it: i64, out: &mut Vec<u8>) {
    match it {
        -32..=0x7f => out.push(it as u8),
        0x80..=0xff => out.extend([0xcc, it as u8]),
        0x100..=0xffff => with(0xcd, &(it as u16).to_be_bytes(), out),
        0x1_0000..=0xffff_ffff => with(0xce, &(it as u32).to_be_bytes(), out),
        0x1_0000_0000.. => with(0xcf, &it.to_be_bytes(), out),
        -0x80..=-33 => out.extend([0xd0, it as u8]),
        -0x8000..=-0x81 => with(0xd1, &(it as i16).to_be_bytes(), out),
        -0x8000_0000..=-0x8001 => with(0xd2, &(it as i32).to_be_bytes(), out),
        _ => with(0xd3, &it.to_be_bytes(), out),
    }
}

fn beyond_64_bits(it: &BigInteger, out: &mut Vec<u8>) -> Result<(), WriteError> {
    if let Ok(signed) = it.as_str().parse() {
        integer(signed, out);
    } else if let Ok(unsigned) = it.as_str().parse::<u64>() {
        with(0xcf, &unsigned.to_be_bytes(), out);
    } else {
        return Err(WriteError::new("an integer in MessagePack has 64 bits; write text"));
    }
    Ok(())
}

fn text(it: &str, out: &mut Vec<u8>) -> Result<(), WriteError> {
    head(out, length(it.len())?, 0xa0, 32, [Some(0xd9), Some(0xda), Some(0xdb)]);
    out.extend_from_slice(it.as_bytes());
    Ok(())
}

fn date(it: DateTime, out: &mut Vec<u8>) {
    let in_micros = DateTime::from_unix(it.seconds(), it.nanos() / 1000 * 1000).unwrap_or(it);
    let (bytes, len) = timestamp(in_micros);
    match len {
        4 => out.extend([0xd6, 0xff]),
        8 => out.extend([0xd7, 0xff]),
        _ => out.extend([0xc7, 12, 0xff]),
    }
    out.extend_from_slice(&bytes[..len]);
}

fn with(marker: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(marker);
    out.extend_from_slice(bytes);
}

fn length(len: usize) -> Result<u32, WriteError> {
    u32::try_from(len).map_err(|_| WriteError::new("MessagePack's lengths have 32 bits"))
}
