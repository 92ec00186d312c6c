//! Whatever is written reads back.

use crate::support::typed::same;
use bytes::Bytes;
use dewar::dialect::Data;
use dewar::encoding::{Encoding, Json};
use dewar::value::{DateTime, Uuid, Value};
use proptest::prelude::*;

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits).prop_map(|float| if float.is_nan() { f64::NAN } else { float }),
        (-1_000_000i64..1_000_000).prop_map(|float| float as f64 / 1000.0),
        Just(-0.0),
        Just(9007199254740993.0),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,12}", any::<String>(), " (di|t|b|m|u|d)(__)?", "[0-9]{1,3}", "[\\\\\"u\u{1}é😀 ]{0,8}"]
}

fn surrogates() -> impl Strategy<Value = Value> {
    (prop::collection::vec(any::<char>(), 0..3), 0xd800u16..0xe000).prop_map(|(text, lone)| {
        let mut units: Vec<u16> = text.into_iter().collect::<String>().encode_utf16().collect();
        units.push(b'\\'.into());
        units.push(lone);
        Value::Surrogates(units)
    })
}

fn plain() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        float().prop_map(Value::from),
        text().prop_map(Value::from),
        surrogates(),
        (-9007199254740991i64..=9007199254740991).prop_map(Value::from),
    ]
}

fn is_finite(value: &Value) -> bool {
    !matches!(value, Value::Float(float) if !float.is_finite())
}

pub(super) fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => plain(),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<i128>().prop_map(Value::from),
        1 => prop::collection::vec(any::<u8>(), 0..9).prop_map(Value::Bytes),
        1 => text().prop_map(Value::Markup),
        1 => any::<[u8; 16]>().prop_map(|bytes| Value::Uuid(Uuid::from_bytes(bytes))),
        1 => (-59_011_459_200i64..253_402_300_800).prop_map(|at| Value::DateTime(DateTime::from_unix(at, 0).unwrap())),
    ]
}

pub(super) fn tree(leaf: impl Strategy<Value = Value> + 'static, tuples: bool) -> impl Strategy<Value = Value> {
    let name = prop_oneof![6 => text().prop_map(Value::from), 1 => surrogates()];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        let map = prop::collection::vec((name.clone(), inner.clone()), 0..6).prop_map(|members| {
            let mut kept: Vec<(Value, Value)> = Vec::new();
            for (name, value) in members {
                if kept.iter().all(|(former, _)| *former != name) {
                    kept.push((name, value));
                }
            }
            Value::Map(kept)
        });
        let list = prop::collection::vec(inner, 0..6);
        prop_oneof![
            list.clone().prop_map(Value::List),
            list.prop_map(move |items| if tuples { Value::Tuple(items) } else { Value::List(items) }),
            map,
        ]
    })
}

/// The code points of a name.
fn points(name: &Value) -> Vec<u32> {
    match name {
        Value::Text(text) => text.chars().map(u32::from).collect(),
        Value::Surrogates(units) => char::decode_utf16(units.iter().copied())
            .map(|unit| unit.map_or_else(|lone| lone.unpaired_surrogate().into(), u32::from))
            .collect(),
        _ => panic!("a name"),
    }
}

/// What a value is after it went through a flavour that sorts, or through JavaScript.
fn settled(value: Value, sorted: bool, javascript: bool) -> Value {
    match value {
        Value::List(items) => Value::List(items.into_iter().map(|item| settled(item, sorted, javascript)).collect()),
        Value::Tuple(items) => Value::Tuple(items.into_iter().map(|item| settled(item, sorted, javascript)).collect()),
        Value::Map(members) => {
            let mut members: Vec<_> =
                members.into_iter().map(|(name, value)| (name, settled(value, sorted, javascript))).collect();
            if sorted {
                members.sort_by_key(|(name, _)| points(name));
            }
            if javascript {
                members.sort_by_key(|(name, _)| {
                    let name = name.as_str().unwrap_or("x");
                    name.parse::<u32>().ok().filter(|index| index.to_string() == name).unwrap_or(u32::MAX)
                });
            }
            Value::Map(members)
        }
        Value::Float(float) if javascript && !float.is_finite() => Value::Null,
        Value::Float(float) if javascript && float.fract() == 0.0 && float.abs() < 9007199254740992.0 => {
            Value::Integer(float as i64)
        }
        other => other,
    }
}

fn survives(encoding: Encoding, value: Value, expected: &Value) {
    let written = encoding.write(&value).unwrap();
    let read: Value = encoding.read(&written).unwrap();
    assert!(same(&read, expected), "{read:?}\n{expected:?}\n{}", String::from_utf8_lossy(&written));
    assert_eq!(encoding.write(&read).unwrap(), written);
    let mut whole = Vec::new();
    let entries = [(&b" t"[..], &written[..])];
    encoding.join(entries.into_iter(), &mut whole);
    let data = Data::parse(encoding, &Bytes::from(whole)).expect("a session");
    assert!(data.iter().eq(entries));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_value_survives_message_pack(value in tree(leaf(), true)) {
        survives(Encoding::MessagePack, value.clone(), &value);
    }

    #[test]
    fn a_value_survives_the_json_of_flask(value in tree(leaf(), true)) {
        survives(Encoding::Json(Json::FLASK), value.clone(), &settled(value.clone(), true, false));
        survives(Encoding::Json(Json::FLASK.sort_keys(false).ascii(false)), value.clone(), &value);
    }

    #[test]
    fn a_value_survives_the_json_of_python(value in tree(prop_oneof![plain(), any::<u128>().prop_map(Value::from)], false)) {
        survives(Encoding::Json(Json::PYTHON_UTF8), value.clone(), &value);
        survives(Encoding::Json(Json::PYTHON_UTF8.ascii(true)), value.clone(), &value);
    }

    #[test]
    fn a_value_survives_the_json_of_javascript(value in tree(plain().prop_filter("refused by name", is_finite), false)) {
        survives(Encoding::Json(Json::JAVASCRIPT), value.clone(), &settled(value.clone(), false, true));
    }

    #[test]
    fn plain_json_is_cut_where_serde_json_reads_it(text in "[\\[\\]{}\":,a1\\\\ue. -]{0,24}") {
        let encoding = Encoding::Json(Json::PYTHON_UTF8);
        let theirs = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text).is_ok();
        let ours = Data::parse(encoding, &Bytes::from(text.into_bytes())).is_some();
        // Lone surrogates and huge numbers are ours alone.
        assert!(ours || !theirs);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), json in "[\\[\\]{}\":,0-9a-dtIN\\\\u. -]{0,30}") {
        let flavours = [Json::FLASK, Json::PYTHON_UTF8, Json::JAVASCRIPT].map(Encoding::Json);
        for encoding in flavours.into_iter().chain([Encoding::MessagePack]) {
            for bytes in [&bytes[..], json.as_bytes()] {
                let data = Data::parse(encoding, &Bytes::copy_from_slice(bytes));
                let read = encoding.read::<Value>(bytes);
                if let Some(data) = data {
                    for (_, value) in data.iter() {
                        let _ = encoding.read::<Value>(value);
                        let _ = encoding.read::<Vec<String>>(value);
                    }
                }
                if let Ok(value) = read {
                    let _ = encoding.write(&value);
                }
            }
        }
    }
}
