//! What the targets share: secrets and a clock that never change, and when two values are the same.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use dewar::{
    Keyring, Secret, Value,
    dialect::{Data, Limits, Timestamp},
    encoding::Encoding,
};

pub mod foreign;
pub mod tokens;

/// Generated once for this, so that what a target finds can be run again.
const SECRET: &str = "dewar_efdbe6a2ee4adc6e0e8af8ad305e39192c5e2566f9a8c214e979406fb664755aaddd4470";
const FALLBACK: &str = "dewar_68b9f6a36fe2f37fc34e39cfb032eef75edee2b48b8cb0afae7726d9b776565e470d9f10";

/// The moment it always is: when most of Flask's vectors were written.
pub const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

/// One secret and one fallback.
pub fn keyring() -> Keyring {
    former_keyring(SECRET).fallback(Secret::new(FALLBACK).expect("a generated secret"))
}

/// The fallback as the only secret: what wrote tokens before the rotation.
pub fn old_keyring() -> Keyring {
    former_keyring(FALLBACK)
}

fn former_keyring(secret: &str) -> Keyring {
    Keyring::new(Secret::new(secret).expect("a generated secret"))
}

/// What both dialects say by default, at [`NOW`].
pub fn limits() -> Limits {
    Limits::new(NOW, 86_400)
}

/// Runs what never waits. Without a store the manager does not.
pub fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(it) => it,
        Poll::Pending => panic!("without a store there is nothing to wait for"),
    }
}

/// "Random" bytes that are the same in every run.
pub fn random(seed: u64) -> impl FnMut(&mut [u8]) {
    let mut state = seed;
    move |bytes| {
        for byte in bytes {
            // Knuth's MMIX generator.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 56) as u8;
        }
    }
}

/// Whether two values are the same: floats by their bits, maps in their order.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(&a.0, &b.0) && same(&a.1, &b.1))
        }
        _ => a == b,
    }
}

/// The value with the members of all its maps in one order, for flavours that have an order of their own.
pub fn sorted(value: Value) -> Value {
    match value {
        Value::List(items) => Value::List(items.into_iter().map(sorted).collect()),
        Value::Tuple(items) => Value::Tuple(items.into_iter().map(sorted).collect()),
        Value::Map(members) => {
            let mut members: Vec<_> = members.into_iter().map(|(name, value)| (sorted(name), sorted(value))).collect();
            members.sort_by_cached_key(|(name, _)| format!("{name:?}"));
            Value::Map(members)
        }
        other => other,
    }
}

fn has_early_date(value: &Value) -> bool {
    match value {
        Value::DateTime(moment) => moment.seconds() < -59_011_459_200,
        Value::List(items) | Value::Tuple(items) => items.iter().any(has_early_date),
        Value::Map(members) => members.iter().any(|(_, value)| has_early_date(value)),
        _ => false,
    }
}

/// Writing what was read and reading that gives the same, and from then on the same bytes.
///
/// # Panics
///
/// Where it does not. A value that the format refuses to write is none of that.
pub fn survives(encoding: Encoding, value: &Value) {
    let Ok(written) = encoding.write(value) else { return };
    // Flask writes the year 99 as it is and reads it as 1999; its vectors say so, and so do we.
    if encoding != Encoding::MessagePack && has_early_date(value) {
        return;
    }
    let again: Value = encoding.read(&written).expect("what was written reads");
    assert!(same(&sorted(again.clone()), &sorted(value.clone())), "{value:?} became {again:?}");
    assert_eq!(encoding.write(&again).expect("what was read is written"), written, "{value:?}");
}

/// The entries by name, for comparison where a format has an order of its own.
pub fn by_name(data: &Data) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut entries: Vec<_> = data.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    entries.sort();
    entries
}

/// The bytes of the secret that protects: what a target that seals by itself makes its keys of.
pub fn secret() -> &'static [u8] {
    SECRET.as_bytes()
}
