//! Integers of any size: little-endian bytes and decimal text.

use super::tag;
use crate::value::{BigInteger, Value};

/// The longest that is read, in bytes: as many as a cookie has.
const LONGEST: usize = 4096;

/// How many decimal digits are taken at once.
const DIGITS: usize = 9;
const UNIT: u64 = 1_000_000_000;

/// The integer of these bytes.
pub(super) fn read(is_negative: bool, bytes: &[u8]) -> Option<Value> {
    if bytes.len() > LONGEST {
        return None;
    }
    // In base 10^9, the lowest first.
    let mut parts: Vec<u64> = Vec::new();
    for byte in bytes.iter().rev() {
        let mut carry = u64::from(*byte);
        for part in &mut parts {
            carry += *part << 8;
            *part = carry % UNIT;
            carry /= UNIT;
        }
        if carry > 0 {
            parts.push(carry);
        }
    }
    let mut text = parts.pop().unwrap_or(0).to_string();
    parts.iter().rev().for_each(|part| text.push_str(&format!("{part:0DIGITS$}")));
    if is_negative && text != "0" {
        text.insert(0, '-');
    }
    match text.parse() {
        Ok(integer) => Some(Value::Integer(integer)),
        Err(_) => text.parse().ok().map(Value::BigInteger),
    }
}

/// Beyond 32 bits.
pub(super) fn write(integer: &BigInteger, out: &mut Vec<u8>) {
    let text = integer.as_str();
    let digits = text.strip_prefix('-').unwrap_or(text);
    let mut bytes: Vec<u8> = Vec::new();
    // The first digits are those that are too few.
    let (first, rest) = digits.split_at(digits.len() % DIGITS);
    let chunks = (0..rest.len()).step_by(DIGITS).map(|at| (UNIT, &rest[at..at + DIGITS]));
    for (unit, chunk) in [(1, first)].into_iter().filter(|(_, first)| !first.is_empty()).chain(chunks) {
        let mut carry: u64 = chunk.parse().unwrap_or(0);
        for byte in &mut bytes {
            carry += u64::from(*byte) * unit;
            *byte = (carry & 0xff) as u8;
            carry >>= 8;
        }
        while carry > 0 {
            bytes.push((carry & 0xff) as u8);
            carry >>= 8;
        }
    }
    match u8::try_from(bytes.len()) {
        Ok(len) => out.extend([tag::SMALL_BIG, len]),
        Err(_) => {
            out.push(tag::LARGE_BIG);
            out.extend_from_slice(&super::write::len(bytes.len()));
        }
    }
    out.push(u8::from(text.starts_with('-')));
    out.extend_from_slice(&bytes);
}
