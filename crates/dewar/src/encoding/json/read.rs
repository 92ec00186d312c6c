//! JSON text to [`Value`], all of it: what `serde_json` cannot take included.

use super::flavour::{Json, Numbers};
use super::number::SAFE;
use super::scan::Scan;
use super::tag;
use super::text::{Text, unescape};
use crate::encoding::depth::DEPTH;
use crate::value::Value;
use crate::value::read::last_wins;

/// Decodes one value. Nothing where it is malformed, a tag Flask could not read included.
pub(super) fn value(json: Json, encoded: &[u8]) -> Option<Value> {
    let mut scan = Scan::new(json, encoded);
    scan.blanks();
    let value = any(json, encoded, &mut scan, DEPTH)?;
    scan.end()?;
    Some(value)
}

fn any<'a>(json: Json, encoded: &'a [u8], scan: &mut Scan<'a>, depth: usize) -> Option<Value> {
    match scan.peek()? {
        b'{' => {
            let depth = depth.checked_sub(1)?;
            let mut members = Vec::new();
            scan.members(|scan, name| {
                members.push((text(&encoded[name.place])?, any(json, encoded, scan, depth)?));
                Some(())
            })?;
            last_wins(&mut members);
            if json.tags { tag::untag(members) } else { Some(Value::Map(members)) }
        }
        b'[' => {
            let depth = depth.checked_sub(1)?;
            let mut items = Vec::new();
            scan.items(|scan| {
                items.push(any(json, encoded, scan, depth)?);
                Some(())
            })?;
            Some(Value::List(items))
        }
        b'"' => text(&encoded[scan.string()?.place]),
        _ => {
            let start = scan.at;
            scan.skip(depth)?;
            match &encoded[start..scan.at] {
                b"null" => Some(Value::Null),
                b"true" => Some(Value::Bool(true)),
                b"false" => Some(Value::Bool(false)),
                digits => number(json.numbers, std::str::from_utf8(digits).ok()?),
            }
        }
    }
}

fn text(escaped: &[u8]) -> Option<Value> {
    Some(match unescape(escaped)? {
        Text::Utf8(text) => Value::Text(text.into()),
        Text::Units(units) => Value::Surrogates(units),
    })
}

fn number(numbers: Numbers, digits: &str) -> Option<Value> {
    match digits {
        "NaN" => return Some(Value::Float(f64::NAN)),
        "Infinity" => return Some(Value::Float(f64::INFINITY)),
        "-Infinity" => return Some(Value::Float(f64::NEG_INFINITY)),
        "-0" => return Some(Value::Integer(0)),
        _ => {}
    }
    if numbers == Numbers::JavaScript {
        let float: f64 = digits.parse().ok()?;
        if float.is_infinite() {
            // 1e400: JavaScript writes its Infinity as null.
            return Some(Value::Null);
        }
        let integral = float.fract() == 0.0 && float.abs() <= SAFE as f64;
        return Some(if integral { Value::Integer(float as i64) } else { Value::Float(float) });
    }
    if digits.contains(['.', 'e', 'E']) {
        return digits.parse().ok().map(Value::Float);
    }
    match digits.parse() {
        Ok(integer) => Some(Value::Integer(integer)),
        Err(_) => digits.parse().ok().map(Value::BigInteger),
    }
}
