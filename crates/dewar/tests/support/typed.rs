//! The typed JSON of the vectors as values.

use dewar::value::{DateTime, Uuid, Value};
use serde_json::Value as Json;

/// The value a typed JSON value stands for.
pub fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(it) => Value::Bool(*it),
        Json::Number(it) => Value::Integer(it.as_i64().expect("a bare number is an integer")),
        Json::String(it) => Value::Text(it.clone()),
        Json::Array(items) => Value::List(items.iter().map(value).collect()),
        Json::Object(members) => match members.get("$t").and_then(Json::as_str) {
            Some(kind) => tagged(kind, members),
            None => Value::Map(members.iter().map(|(name, it)| (Value::Text(name.clone()), value(it))).collect()),
        },
    }
}

fn tagged(kind: &str, members: &serde_json::Map<String, Json>) -> Value {
    let v = &members["v"];
    let text = || v.as_str().expect("text");
    match kind {
        "int" => text().parse().map_or_else(|_| Value::BigInteger(text().parse().unwrap()), Value::Integer),
        "float" => {
            let bits = members["bits"].as_str().expect("bits");
            Value::Float(f64::from_bits(u64::from_str_radix(bits, 16).unwrap()))
        }
        "bytes" => Value::Bytes(hex(text())),
        "tuple" => Value::Tuple(v.as_array().expect("a list").iter().map(value).collect()),
        "map" => Value::Map(v.as_array().unwrap().iter().map(|pair| (value(&pair[0]), value(&pair[1]))).collect()),
        "markup" => Value::Markup(text().into()),
        "uuid" => Value::Uuid(text().parse::<Uuid>().unwrap()),
        "datetime" => Value::DateTime(text().parse::<DateTime>().unwrap()),
        "utf16" => {
            Value::Surrogates(hex(text()).chunks(2).map(|unit| u16::from_be_bytes([unit[0], unit[1]])).collect())
        }
        other => panic!("{other} is not among the typed values known here"),
    }
}

/// Bytes from hex digits.
pub fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
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
