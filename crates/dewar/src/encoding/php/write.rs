//! Values to bytes.

use std::collections::HashSet;

use super::{Php, integer_key};
use crate::{encoding::error::WriteError, value::Value};

/// A value, nested at most so deep.
pub(super) fn value(php: Php, it: &Value, depth: usize, out: &mut Vec<u8>) -> Result<(), WriteError> {
    let depth = depth.checked_sub(1).ok_or_else(WriteError::deep)?;
    match it {
        Value::Null => out.extend_from_slice(b"N;"),
        Value::Bool(it) => out.extend_from_slice(if *it { b"b:1;" } else { b"b:0;" }),
        Value::Integer(it) => integer(*it, out),
        Value::Float(it) => float(php, *it, out),
        Value::Text(it) => text(it.as_bytes(), out),
        Value::Bytes(it) => text(it, out),
        Value::List(items) => {
            out.extend_from_slice(format!("a:{}:{{", items.len()).as_bytes());
            for (at, item) in items.iter().enumerate() {
                out.extend_from_slice(format!("i:{at};").as_bytes());
                value(php, item, depth, out)?;
            }
            out.push(b'}');
        }
        Value::Map(members) => {
            all_differ(members)?;
            out.extend_from_slice(format!("a:{}:{{", members.len()).as_bytes());
            for (name, member) in members {
                match name {
                    Value::Integer(name) => integer(*name, out),
                    Value::Text(name) => key(name.as_bytes(), out),
                    Value::Bytes(name) => key(name, out),
                    other => {
                        let kind = other.kind();
                        return Err(WriteError::new(format!("a key of a PHP array is an integer or text, not {kind}")));
                    }
                }
                value(php, member, depth, out)?;
            }
            out.push(b'}');
        }
        Value::BigInteger(_) => {
            return Err(WriteError::new("an integer of PHP's has 64 bits at most and a sign; write text"));
        }
        Value::Tuple(_) => return Err(WriteError::new("PHP has no tuple; write a list")),
        Value::Surrogates(_) | Value::Markup(_) | Value::Uuid(_) | Value::DateTime(_) | Value::Atom(_) => {
            return Err(WriteError::new(format!("PHP's arrays hold no {}; write text", it.kind())));
        }
    }
    Ok(())
}

/// The key of this name: an integer where it spells one.
pub(super) fn key(name: &[u8], out: &mut Vec<u8>) {
    match integer_key(name) {
        Some(name) => integer(name, out),
        None => text(name, out),
    }
}

fn integer(it: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("i:{it};").as_bytes());
}

fn text(it: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("s:{}:\"", it.len()).as_bytes());
    out.extend_from_slice(it);
    out.extend_from_slice(b"\";");
}

/// `10` and `"10"` are one key.
fn all_differ(members: &[(Value, Value)]) -> Result<(), WriteError> {
    let as_bytes = |name: &Value| match name {
        Value::Text(name) => Some(name.as_bytes().to_vec()),
        Value::Bytes(name) => Some(name.clone()),
        Value::Integer(name) => Some(name.to_string().into_bytes()),
        _ => None,
    };
    let mut names = HashSet::with_capacity(members.len());
    if members.iter().filter_map(|(name, _)| as_bytes(name)).all(|name| names.insert(name)) {
        return Ok(());
    }
    Err(WriteError::new("two keys of an array are the same in PHP"))
}

fn float(php: Php, it: f64, out: &mut Vec<u8>) {
    /// As many digits are written without an exponent.
    const FIXED: i32 = 17;
    if !it.is_finite() {
        let word = if it.is_nan() {
            "NAN"
        } else if it > 0.0 {
            "INF"
        } else {
            "-INF"
        };
        out.extend_from_slice(format!("d:{word};").as_bytes());
        return;
    }
    let text = if php.has_17_digits { format!("{it:.16e}") } else { shortest(it) };
    let (mantissa, exponent) = text.split_once('e').expect("Rust writes an exponent");
    let exponent: i32 = exponent.parse().expect("it is a number");
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |mantissa| ("-", mantissa));
    let mut digits = mantissa.replace('.', "");
    digits.truncate(digits.trim_end_matches('0').len().max(1));
    let number = if !(-4..FIXED).contains(&exponent) {
        let fraction = if digits.len() > 1 { &digits[1..] } else { "0" };
        format!("{}.{fraction}E{exponent:+}", &digits[..1])
    } else if exponent < 0 {
        format!("0.{:0>1$}", digits, digits.len() + (-exponent - 1) as usize)
    } else {
        let whole = exponent as usize + 1;
        if digits.len() <= whole {
            format!("{digits:0<whole$}")
        } else {
            format!("{}.{}", &digits[..whole], &digits[whole..])
        }
    };
    out.extend_from_slice(format!("d:{sign}{number};").as_bytes());
}

/// The fewest digits that read back. Where two numbers of so many are as near, PHP's `zend_dtoa` takes the one that ends with an even digit, and Rust the greater.
fn shortest(it: f64) -> String {
    let text = format!("{it:e}");
    let digits = text.bytes().take_while(|byte| *byte != b'e').filter(u8::is_ascii_digit).count();
    let nearest = format!("{it:.*e}", digits - 1);
    if nearest.parse() == Ok(it) { nearest } else { text }
}
