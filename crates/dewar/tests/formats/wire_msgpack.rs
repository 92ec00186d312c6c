//! MessagePack keeps every kind.

use dewar::dialect::Data;
use dewar::encoding::Encoding;
use dewar::value::{BigInteger, DateTime, Markup, Tuple, Uuid, Value};

const MESSAGE_PACK: Encoding = Encoding::MessagePack;

#[test]
fn every_kind_survives_nested_in_a_struct() {
    #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    struct All {
        tuple: Tuple<(i32, Tuple<Vec<String>>)>,
        bytes: dewar::value::Bytes,
        markup: Option<Markup>,
        uuid: Vec<Uuid>,
        date: DateTime,
        integer: BigInteger,
        any: Value,
    }
    let all = All {
        tuple: Tuple((1, Tuple(vec!["a".into()]))),
        bytes: dewar::value::Bytes(vec![0, 255]),
        markup: Some(Markup("<b>".into())),
        uuid: vec![Uuid::from_bytes([7; 16])],
        date: DateTime::from_unix(-1, 5).unwrap(),
        integer: "1180591620717411303424".parse().unwrap(),
        any: Value::Tuple(vec![Value::Surrogates(vec![0xd800]), Value::Map(vec![(1.into(), Value::Null)])]),
    };
    let encoded = MESSAGE_PACK.write(&all).unwrap();
    assert_eq!(MESSAGE_PACK.read::<All>(&encoded).unwrap(), all);
}

#[test]
fn a_tuple_reads_as_a_list_and_a_date_as_text() {
    let encoded = MESSAGE_PACK.write(&Tuple((1, 2))).unwrap();
    assert_eq!(MESSAGE_PACK.read::<(i32, i32)>(&encoded).unwrap(), (1, 2));
    assert_eq!(MESSAGE_PACK.read::<Vec<i32>>(&encoded).unwrap(), [1, 2]);
    assert_eq!(MESSAGE_PACK.read::<Tuple<Value>>(&encoded).unwrap().0, Value::List(vec![1.into(), 2.into()]));
    let encoded = MESSAGE_PACK.write(&DateTime::from_unix(1_700_000_000, 0).unwrap()).unwrap();
    assert_eq!(encoded, [0xd6, 0xff, 0x65, 0x53, 0xf1, 0x00]);
    assert_eq!(MESSAGE_PACK.read::<String>(&encoded).unwrap(), "2023-11-14T22:13:20Z");
}

#[test]
fn flattened_entries_see_what_is_wrapped() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Flat {
        #[serde(flatten)]
        rest: std::collections::BTreeMap<String, Value>,
    }
    let date = Value::DateTime(DateTime::from_unix(0, 0).unwrap());
    let flat = Flat { rest: [("date".into(), date), ("pair".into(), Value::Tuple(vec![1.into()]))].into() };
    let read: Flat = MESSAGE_PACK.read(&MESSAGE_PACK.write(&flat).unwrap()).unwrap();
    assert_eq!(read.rest["date"], "1970-01-01T00:00:00Z".into());
    assert_eq!(read.rest["pair"], vec![1.into()].into());
}

#[test]
fn a_tuple_that_is_not_a_list_is_refused() {
    assert!(MESSAGE_PACK.write(&Tuple(5)).is_err());
}

#[test]
fn an_error_never_shows_the_value() {
    let encoded = MESSAGE_PACK.write("swordfish").unwrap();
    let error = MESSAGE_PACK.read::<std::collections::BTreeMap<String, i32>>(&encoded).unwrap_err();
    assert_eq!(error.to_string(), "expected a map, found text");
}

#[test]
fn entries_are_cut_and_joined_byte_for_byte() {
    let whole =
        MESSAGE_PACK.write(&Value::Map(vec![("a".into(), 1.into()), ("b".into(), vec!["x".into()].into())])).unwrap();
    let whole = bytes::Bytes::from(whole);
    let data = Data::parse(MESSAGE_PACK, &whole).unwrap();
    let mut out = Vec::new();
    data.write(MESSAGE_PACK, &mut out);
    assert_eq!(out, whole);
}

#[test]
fn of_two_entries_with_one_name_the_last_counts() {
    let whole = bytes::Bytes::from_static(b"\x83\xa1a\x01\xa1b\x02\xa1a\x03");
    let data = Data::parse(MESSAGE_PACK, &whole).unwrap();
    let shown: Vec<_> = data.iter().collect();
    assert_eq!(shown, [(&b"a"[..], &b"\x03"[..]), (b"b", b"\x02")]);
}

#[test]
fn what_is_malformed_or_too_deep_is_no_session() {
    for whole in [
        &b"\x81\xa1a"[..],
        b"\x81\x01\x01",
        b"\x81\xa1\xff\x01",
        b"\x80\x00",
        b"\x91\x01",
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa1a\xc1",
    ] {
        assert!(Data::parse(MESSAGE_PACK, &bytes::Bytes::from_static(whole)).is_none(), "{whole:x?}");
    }
    let mut deep = Value::Tuple(vec![]);
    for _ in 0..125 {
        deep = Value::Tuple(vec![deep]);
    }
    assert!(MESSAGE_PACK.write(&deep).is_ok());
    for _ in 0..3 {
        deep = Value::Tuple(vec![deep]);
    }
    assert_eq!(MESSAGE_PACK.write(&deep).unwrap_err().to_string(), "nested deeper than 128 levels");
}
