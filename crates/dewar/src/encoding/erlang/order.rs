//! The order of a map's keys: number < atom < tuple < map < list < binary, and integers before floats.

use std::cmp::Ordering;

use crate::value::Value;

pub(super) fn compare(one: &Value, other: &Value) -> Ordering {
    use Value::{BigInteger, Bytes, Float, Integer, List, Map, Text, Tuple};
    match (one, other) {
        (Integer(one), Integer(other)) => one.cmp(other),
        (Integer(_) | BigInteger(_), Integer(_) | BigInteger(_)) => size(one).cmp(&size(other)),
        (Float(one), Float(other)) => one.total_cmp(other),
        (Tuple(one), Tuple(other)) => one.len().cmp(&other.len()).then_with(|| items(one, other)),
        (List(one), List(other)) => items(one, other),
        // All keys, then all values.
        (Map(one), Map(other)) => one.len().cmp(&other.len()).then_with(|| {
            let (one, other) = (sorted(one), sorted(other));
            let keys = one.iter().zip(&other).map(|(one, other)| compare(&one.0, &other.0));
            let values = one.iter().zip(&other).map(|(one, other)| compare(&one.1, &other.1));
            keys.chain(values).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        }),
        (Text(_) | Bytes(_), Text(_) | Bytes(_)) => bytes(one).cmp(bytes(other)),
        _ => match (atom(one), atom(other)) {
            (Some(one), Some(other)) => one.cmp(other),
            _ => rank(one).cmp(&rank(other)),
        },
    }
}

/// The members of a map in the order of their keys.
pub(super) fn sorted(members: &[(Value, Value)]) -> Vec<&(Value, Value)> {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_by(|one, other| compare(&one.0, &other.0));
    sorted
}

fn items(one: &[Value], other: &[Value]) -> Ordering {
    let unequal = one.iter().zip(other).map(|(one, other)| compare(one, other)).find(|order| order.is_ne());
    unequal.unwrap_or_else(|| one.len().cmp(&other.len()))
}

/// The name of an atom.
pub(super) fn atom(value: &Value) -> Option<&str> {
    match value {
        Value::Null => Some("nil"),
        Value::Bool(true) => Some("true"),
        Value::Bool(false) => Some("false"),
        Value::Atom(name) => Some(name),
        _ => None,
    }
}

fn bytes(value: &Value) -> &[u8] {
    match value {
        Value::Text(text) => text.as_bytes(),
        Value::Bytes(bytes) => bytes,
        _ => &[],
    }
}

/// An integer so that texts of digits are in its order: with its sign, its length, and of negative ones the complement.
fn size(value: &Value) -> (i64, Vec<u8>) {
    let text = match value {
        Value::Integer(integer) => integer.to_string(),
        Value::BigInteger(integer) => integer.to_string(),
        _ => String::new(),
    };
    match text.strip_prefix('-') {
        Some(digits) => (-(digits.len() as i64), digits.bytes().map(|digit| !digit).collect()),
        None => (text.len() as i64, text.into_bytes()),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Integer(_) | Value::BigInteger(_) => 0,
        Value::Float(_) => 1,
        Value::Null | Value::Bool(_) | Value::Atom(_) => 2,
        Value::Tuple(_) => 3,
        Value::Map(_) => 4,
        Value::List(_) => 5,
        _ => 6,
    }
}
