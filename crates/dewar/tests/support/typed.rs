//! The typed JSON of the vectors as values.

use dewar::value::{DateTime, Uuid, Value};
use serde_json::Value as Json;

/// The value a typed JSON value stands for.
pub fn value(json: &Json) -> Value {
    parse(json).unwrap_or_else(|why| panic!("{why}"))
}

/// The same, or what of it is not known here.
pub fn parse(json: &Json) -> Result<Value, String> {
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(it) => Value::Bool(*it),
        Json::Number(it) => Value::Integer(it.as_i64().ok_or("a bare number that is no integer of 64 bits")?),
        Json::String(it) => Value::Text(it.clone()),
        Json::Array(items) => Value::List(list(items)?),
        Json::Object(members) => match members.get("$t") {
            Some(kind) => {
                let kind = kind.as_str().unwrap_or_default();
                tagged(kind, json).ok_or_else(|| format!("a value of the type {kind:?}"))??
            }
            None => {
                let members = members.iter().map(|(name, it)| Ok((Value::Text(name.clone()), parse(it)?)));
                Value::Map(members.collect::<Result<_, String>>()?)
            }
        },
    })
}

fn list(items: &[Json]) -> Result<Vec<Value>, String> {
    items.iter().map(parse).collect()
}

/// `None`: no such type, or not of its form. An error: a member of it is not.
fn tagged(kind: &str, whole: &Json) -> Option<Result<Value, String>> {
    let v = &whole["v"];
    Some(Ok(match kind {
        "int" => match v.as_str()?.parse() {
            Ok(integer) => Value::Integer(integer),
            Err(_) => Value::BigInteger(v.as_str()?.parse().ok()?),
        },
        "float" => Value::Float(f64::from_bits(u64::from_str_radix(whole["bits"].as_str()?, 16).ok()?)),
        "bytes" => Value::Bytes(bytes(v.as_str()?)?),
        "tuple" => return Some(list(v.as_array()?).map(Value::Tuple)),
        "map" => {
            let pairs = v.as_array()?.iter().map(|pair| Ok((parse(&pair[0])?, parse(&pair[1])?)));
            return Some(pairs.collect::<Result<_, String>>().map(Value::Map));
        }
        "atom" => Value::Atom(v.as_str()?.into()),
        "markup" => Value::Markup(v.as_str()?.into()),
        "uuid" => Value::Uuid(v.as_str()?.parse::<Uuid>().ok()?),
        "datetime" => Value::DateTime(v.as_str()?.parse::<DateTime>().ok()?),
        "utf16" => {
            let bytes = bytes(v.as_str()?)?;
            Value::Surrogates(bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_be_bytes(*unit)).collect())
        }
        _ => return None,
    }))
}

/// Bytes from hex digits.
pub fn hex(text: &str) -> Vec<u8> {
    bytes(text).expect("hex digits")
}

/// The same, if that is what they are.
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect();
    bytes.filter(|_| rest.is_empty())
}

/// Whether two values are the same, floats by their bits.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(&a.0, &b.0) && same(&a.1, &b.1))
        }
        _ => a == b,
    }
}
