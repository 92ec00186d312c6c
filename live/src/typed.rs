//! Typed JSON: plain JSON is itself, everything else is `{"$t": type, "v": value}`. Both sides of a comparison are written in it.

use dewar::{
    Session, Value,
    value::{BigInteger, DateTime},
};

/// Integers beyond this are written as text: JSON's readers disagree about them.
const EXACT: u64 = (1 << 53) - 1;

/// The value that a typed JSON text says.
pub(crate) fn parse(text: &str) -> Value {
    from_typed(&json(text))
}

/// Any JSON text, members in their order.
pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON: {error}: {text}"))
}

/// The value as typed JSON text. Equal values, and only they, have equal texts.
pub(crate) fn text(value: &Value) -> String {
    serde_json::to_string(&to_typed(value)).expect("typed JSON is JSON")
}

/// What a session holds, as a map in its own order.
pub(crate) fn entries(session: &Session) -> Value {
    Value::Map(session.iter().map(|(name, value)| (Value::Text(name), value)).collect())
}

/// The same with the members of every map sorted by name, as Flask writes them.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::List(items) => Value::List(items.iter().map(sorted).collect()),
        Value::Tuple(items) => Value::Tuple(items.iter().map(sorted).collect()),
        Value::Map(members) => {
            let mut members: Vec<_> = members.iter().map(|(name, value)| (name.clone(), sorted(value))).collect();
            members.sort_by_key(|(name, _)| code_points(name));
            Value::Map(members)
        }
        other => other.clone(),
    }
}

fn code_points(name: &Value) -> Vec<u32> {
    match name {
        Value::Surrogates(units) => char::decode_utf16(units.iter().copied())
            .map(|unit| unit.map_or_else(|lone| u32::from(lone.unpaired_surrogate()), u32::from))
            .collect(),
        name => name.as_str().unwrap_or_default().chars().map(u32::from).collect(),
    }
}

/// The typed JSON of a value, as a value that plain JSON can hold.
pub(crate) fn to_typed(value: &Value) -> Value {
    let of = |kind: &str, v: Value| Value::Map(vec![("$t".into(), kind.into()), ("v".into(), v)]);
    match value {
        Value::Integer(it) if it.unsigned_abs() > EXACT => of("int", it.to_string().into()),
        Value::BigInteger(it) => of("int", it.as_str().into()),
        Value::Float(it) => Value::Map(
            [("$t", "float".to_owned()), ("v", format!("{it:?}")), ("bits", format!("{:016x}", it.to_bits()))]
                .into_iter()
                .map(|(name, text)| (name.into(), text.into()))
                .collect(),
        ),
        Value::Surrogates(units) => of("utf16", hex(units.iter().flat_map(|unit| unit.to_be_bytes())).into()),
        Value::Bytes(bytes) => of("bytes", hex(bytes.iter().copied()).into()),
        Value::List(items) => Value::List(items.iter().map(to_typed).collect()),
        Value::Tuple(items) => of("tuple", Value::List(items.iter().map(to_typed).collect())),
        Value::Map(members) if members.iter().all(|(name, _)| is_plain(name)) => {
            Value::Map(members.iter().map(|(name, value)| (name.clone(), to_typed(value))).collect())
        }
        Value::Map(members) => {
            let pair = |(name, value): &(Value, Value)| Value::List(vec![to_typed(name), to_typed(value)]);
            of("map", Value::List(members.iter().map(pair).collect()))
        }
        Value::Atom(it) => of("atom", it.as_str().into()),
        Value::Markup(it) => of("markup", it.as_str().into()),
        Value::Uuid(it) => of("uuid", it.to_string().into()),
        Value::DateTime(it) => of("datetime", it.to_string().into()),
        plain => plain.clone(),
    }
}

fn is_plain(name: &Value) -> bool {
    matches!(name, Value::Text(text) if !text.starts_with('$'))
}

/// The value that a typed JSON stands for.
pub(crate) fn from_typed(value: &Value) -> Value {
    match value {
        Value::List(items) => Value::List(items.iter().map(from_typed).collect()),
        Value::Map(members) => match value.get("$t").and_then(Value::as_str) {
            Some(kind) => special(kind, value),
            None => Value::Map(members.iter().map(|(name, value)| (name.clone(), from_typed(value))).collect()),
        },
        plain => plain.clone(),
    }
}

fn special(kind: &str, whole: &Value) -> Value {
    let v = whole.get("v").unwrap_or(&Value::Null);
    let text = v.as_str().unwrap_or_default();
    let items = || v.as_list().unwrap_or_default();
    let read = match kind {
        "int" => text.parse::<BigInteger>().ok().map(|big| text.parse().map_or(Value::BigInteger(big), Value::Integer)),
        "float" => {
            let bits = whole.get("bits").and_then(Value::as_str).unwrap_or_default();
            u64::from_str_radix(bits, 16).ok().map(|bits| Value::Float(f64::from_bits(bits)))
        }
        "bytes" => unhex(text).map(Value::Bytes),
        "tuple" => Some(Value::Tuple(items().iter().map(from_typed).collect())),
        "map" => items()
            .iter()
            .map(|pair| match pair.as_list() {
                Some([name, value]) => Some((from_typed(name), from_typed(value))),
                _ => None,
            })
            .collect::<Option<_>>()
            .map(Value::Map),
        // There is no markup with a lone surrogate in Rust; it reads as text, which a template escapes.
        "markup" if v.as_str().is_none() => Some(from_typed(v)),
        "atom" => Some(Value::Atom(text.into())),
        "markup" => Some(Value::Markup(text.into())),
        "uuid" => text.parse().ok().map(Value::Uuid),
        "datetime" => text.parse::<DateTime>().ok().map(Value::DateTime),
        "utf16" => unhex(text).map(|bytes| {
            Value::Surrogates(
                bytes.chunks(2).map(|pair| pair.iter().fold(0, |unit, byte| unit << 8 | u16::from(*byte))).collect(),
            )
        }),
        _ => None,
    };
    read.unwrap_or_else(|| panic!("no typed JSON: {whole:?}"))
}

pub(crate) fn hex(bytes: impl IntoIterator<Item = u8>) -> String {
    bytes.into_iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    digits.collect()
}
