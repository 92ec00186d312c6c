//! JSON in the frameworks' flavours.

use bytes::Bytes;
use dewar::dialect::Data;
use dewar::encoding::{Encoding, Json};
use dewar::value::{self, BigInteger, DateTime, Markup, Tuple, Uuid, Value};
use std::collections::{BTreeMap, HashMap};

const FLASK: Encoding = Encoding::Json(Json::FLASK);
const PYTHON: Encoding = Encoding::Json(Json::PYTHON_UTF8);
const JAVASCRIPT: Encoding = Encoding::Json(Json::JAVASCRIPT);

fn text<T: serde::Serialize + ?Sized>(encoding: Encoding, value: &T) -> String {
    String::from_utf8(encoding.write(value).unwrap()).unwrap()
}

fn refusal<T: serde::Serialize>(encoding: Encoding, value: T) -> String {
    encoding.write(&value).unwrap_err().to_string()
}

fn read<T: serde::de::DeserializeOwned>(encoding: Encoding, text: &str) -> T {
    encoding.read(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn cut(encoding: Encoding, whole: &str) -> Option<Data> {
    Data::parse(encoding, &Bytes::copy_from_slice(whole.as_bytes()))
}

fn joined(encoding: Encoding, entries: &[(&str, &str)]) -> String {
    let mut out = Vec::new();
    encoding.join(entries.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())), &mut out);
    String::from_utf8(out).unwrap()
}

fn moment() -> DateTime {
    DateTime::from_unix(1_700_000_000, 0).unwrap()
}

#[test]
fn a_tuple_of_flask_reads_as_a_tuple_or_a_list() {
    let tuple = r#"{" t":[1,2]}"#;
    assert_eq!(read::<Tuple<(i32, i32)>>(FLASK, tuple), Tuple((1, 2)));
    assert_eq!(read::<(i32, i32)>(FLASK, tuple), (1, 2));
    assert_eq!(read::<Vec<i32>>(FLASK, tuple), [1, 2]);
    assert_eq!(read::<Value>(FLASK, tuple), Value::Tuple(vec![1.into(), 2.into()]));
    assert_eq!(read::<Vec<(String, String)>>(FLASK, r#"[{" t":["message","Saved!"]}]"#)[0].1, "Saved!");
}

#[test]
fn every_kind_of_flask_survives_nested_in_a_struct() {
    #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    struct All {
        uuid: Vec<Uuid>,
        any: Value,
        bytes: Option<value::Bytes>,
        date: DateTime,
        integer: BigInteger,
        markup: Option<Markup>,
        tuple: Tuple<(i32, Tuple<Vec<String>>)>,
    }
    let all = All {
        uuid: vec![Uuid::from_bytes([7; 16])],
        any: Value::Tuple(vec![Value::Surrogates(vec![0xd800]), Value::Map(vec![(" t".into(), 1.into())])]),
        bytes: Some(value::Bytes(vec![0, 255])),
        date: moment(),
        integer: "1180591620717411303424".parse().unwrap(),
        markup: Some(Markup("<b>".into())),
        tuple: Tuple((1, Tuple(vec!["a".into()]))),
    };
    let written = text(FLASK, &all);
    assert_eq!(
        written,
        concat!(
            r#"{"any":{" t":["\ud800",{" di":{" t__":1}}]},"bytes":{" b":"AP8="},"#,
            r#""date":{" d":"Tue, 14 Nov 2023 22:13:20 GMT"},"integer":1180591620717411303424,"markup":{" m":"<b>"},"#,
            r#""tuple":{" t":[1,{" t":["a"]}]},"uuid":[{" u":"07070707070707070707070707070707"}]}"#
        )
    );
    assert_eq!(read::<All>(FLASK, &written), all);
}

#[test]
fn dates_uuids_and_markup_also_read_as_text() {
    assert_eq!(read::<String>(FLASK, r#"{" d":"Tue, 14 Nov 2023 22:13:20 GMT"}"#), "2023-11-14T22:13:20Z");
    assert_eq!(
        read::<String>(FLASK, r#"{" u":"12345678123456781234567812345678"}"#),
        "12345678-1234-5678-1234-567812345678"
    );
    assert_eq!(read::<String>(FLASK, r#"{" m":"<b>"}"#), "<b>");
    assert_eq!(read::<[u8; 2]>(FLASK, r#"{" b":"AP8="}"#), [0, 255]);
    assert_eq!(read::<Vec<u8>>(FLASK, r#"{" b":"AP8="}"#), [0, 255]);
}

#[test]
fn a_kind_the_format_would_lose_is_refused_by_name() {
    assert_eq!(refusal(JAVASCRIPT, value::Bytes(vec![])), "JavaScript's JSON cannot hold bytes");
    assert_eq!(refusal(JAVASCRIPT, Value::Tuple(vec![])), "JavaScript's JSON cannot hold a tuple");
    assert_eq!(refusal(PYTHON, Markup(String::new())), "Python's JSON cannot hold markup");
    assert_eq!(refusal(PYTHON, vec![Uuid::from_bytes([0; 16])]), "Python's JSON cannot hold a UUID");
    assert_eq!(refusal(PYTHON, Some(moment())), "Python's JSON cannot hold a date");
    assert_eq!(refusal(JAVASCRIPT, 1u64 << 53), "JavaScript's numbers hold integers only up to 2^53-1");
    assert_eq!(refusal(JAVASCRIPT, Value::from(i128::MIN)), "JavaScript's numbers hold integers only up to 2^53-1");
    assert_eq!(refusal(FLASK, HashMap::from([((1, 2), 3)])), "a name must be text or a number");
    assert_eq!(refusal(FLASK, Tuple("text")), "a tuple must be a list");
}

#[test]
fn a_foreign_format_sees_what_is_wrapped() {
    let all =
        (Tuple((1, 2)), Markup("<b>".into()), Uuid::from_bytes([1; 16]), moment(), Value::Surrogates(vec![0xdc00]));
    let foreign = serde_json::to_string(&all).unwrap();
    assert_eq!(foreign, r#"[[1,2],"<b>","01010101-0101-0101-0101-010101010101","2023-11-14T22:13:20Z","\\udc00"]"#);
    let back: (Tuple<(i32, i32)>, Markup, Uuid, DateTime, String) = serde_json::from_str(&foreign).unwrap();
    assert_eq!((back.0, back.1, back.2, back.3), (all.0, all.1, all.2, all.3));
}

#[test]
fn a_session_that_looks_like_a_tag_is_wrapped_and_unwrapped() {
    for tag in [" di", " t", " b", " m", " u", " d"] {
        let whole = joined(FLASK, &[(tag, "\"v\"")]);
        assert_eq!(whole, format!(r#"{{" di":{{"{tag}__":"v"}}}}"#));
        assert!(cut(FLASK, &whole).unwrap().iter().eq([(tag.as_bytes(), &b"\"v\""[..])]));
    }
    assert_eq!(joined(FLASK, &[(" t__", "1")]), r#"{" t__":1}"#);
    assert_eq!(joined(FLASK, &[(" t", "1"), ("a", "2")]), r#"{" t":1,"a":2}"#);
    assert_eq!(joined(PYTHON, &[(" t", "1")]), r#"{" t":1}"#);
}

#[test]
fn what_flask_could_not_decode_is_no_session() {
    for whole in [
        r#"{" t":[1]}"#,
        r#"{" di":1}"#,
        r#"{" di":{}}"#,
        r#"{" di":{" t":[1]}}"#,
        r#"{"a":{" u":"z"}}"#,
        r#"{"a":[{" b":"YQ"}]}"#,
        r#"{"a":{"b":{" t":5}}}"#,
        r#"{"a":{"\u0020t":5}}"#,
        r#"{"a":{" m":5}}"#,
        r#"{"a":{" di":{}}}"#,
    ] {
        assert!(cut(FLASK, whole).is_none(), "{whole}");
        assert!(whole == r#"{" t":[1]}"# || FLASK.read::<Value>(whole.as_bytes()).is_err(), "{whole}");
    }
    assert!(cut(FLASK, r#"{"a":{" x":5}," t":1}"#).is_some());
    assert_eq!(read::<Value>(FLASK, r#"{" x":5}"#), Value::Map(vec![(" x".into(), 5.into())]));
    assert_eq!(read::<Option<DateTime>>(FLASK, r#"{" d":"nonsense"}"#), None);
    assert_eq!(read::<Value>(FLASK, r#"{" m":"\ud800"}"#), Value::Surrogates(vec![0xd800]));
}

#[test]
fn what_is_not_json_is_no_session() {
    for whole in [
        "",
        "[]",
        "1",
        "{",
        "{}x",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":+1}",
        "{\"a\":1e}",
        "{\"a\":-}",
        "{\"a\":\"\u{1}\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":tru}",
        "{\"a\":\"}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":1 \"b\":2}",
        "\u{feff}{}",
        "{\"a\":[1,]}",
        "{\"a\":nan}",
    ] {
        for encoding in [FLASK, PYTHON, JAVASCRIPT] {
            assert!(cut(encoding, whole).is_none(), "{whole}");
        }
    }
    assert!(Data::parse(FLASK, &Bytes::from_static(b"{\"a\":\"\xff\"}")).is_none());
    assert!(cut(JAVASCRIPT, "{\"a\":NaN}").is_none());
    assert!(cut(PYTHON, " { \"a\" : [ NaN , -Infinity ] } ").is_some());
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    assert!(cut(PYTHON, &nested(128)).is_some());
    assert!(cut(PYTHON, &nested(129)).is_none());
    assert!(cut(PYTHON, &nested(1_000_000)).is_none());
    assert!(PYTHON.read::<Value>("[".repeat(1_000_000).as_bytes()).is_err());
    let mut deep = Value::List(vec![]);
    for _ in 0..62 {
        deep = Value::Tuple(vec![deep]);
    }
    assert!(cut(FLASK, &format!("{{\"a\":{}}}", text(FLASK, &deep))).is_some());
    assert_eq!(read::<Value>(FLASK, &text(FLASK, &deep)), deep);
    assert_eq!(refusal(FLASK, Value::Tuple(vec![deep])), "nested deeper than 128 levels");
}

#[test]
fn names_are_decoded_and_share_the_text_where_they_need_not_be() {
    let whole = Bytes::from_static(br#"{"plain":1,"\u00e9\n":2,"\ud83d\ude00":3,"\ud800x":4}"#);
    let data = Data::parse(FLASK, &whole).unwrap();
    assert_eq!(data.iter().next().unwrap().0.as_ptr(), whole[2..].as_ptr());
    let names: Vec<_> = data.iter().map(|(name, _)| name.to_vec()).collect();
    assert_eq!(names[1..], ["é\n".as_bytes().to_vec(), "😀".into(), b"\xed\xa0\x80x".to_vec()]);
    let mut out = Vec::new();
    data.write(FLASK.sort_keys(false), &mut out);
    assert_eq!(out, whole);
}

trait SortKeys {
    fn sort_keys(self, sorted: bool) -> Encoding;
}

impl SortKeys for Encoding {
    fn sort_keys(self, sorted: bool) -> Encoding {
        let Encoding::Json(json) = self else { panic!("JSON") };
        Encoding::Json(json.sort_keys(sorted))
    }
}

#[test]
fn of_members_with_one_name_the_last_counts() {
    let data = cut(PYTHON, r#"{"a":1,"b":2,"\u0061":3}"#).unwrap();
    let shown: Vec<_> = data.iter().collect();
    assert_eq!(shown, [(&b"a"[..], &b"3"[..]), (b"b", b"2")]);
    let nested = Value::Map(vec![("a".into(), 3.into()), ("b".into(), 2.into())]);
    assert_eq!(read::<Value>(PYTHON, r#"{"a":1,"b":2,"a":3}"#), nested);
    #[derive(serde::Deserialize)]
    struct One {
        a: i32,
    }
    assert_eq!(read::<One>(PYTHON, r#"{"a":1,"a":3}"#).a, 3);
    assert_eq!(read::<Value>(FLASK, r#"{" t":[1]," t":[2]}"#), Value::Tuple(vec![2.into()]));
    let many: String = (0..40).map(|i| format!("\"k{}\":{i},", i % 20)).collect();
    let Value::Map(kept) = read::<Value>(PYTHON, &format!("{{{}}}", many.trim_end_matches(','))) else { panic!() };
    assert_eq!((kept.len(), kept[0].1.as_i64()), (20, Some(20)));
}

#[test]
fn python_sorts_by_code_point_and_integers_as_integers() {
    let map = BTreeMap::from([(10, "b"), (9, "a"), (-1, "c")]);
    assert_eq!(text(FLASK, &map), r#"{"-1":"c","9":"a","10":"b"}"#);
    let map = Value::Map(["\u{ffff}", "\u{10000}", "a", "B", ""].map(|name| (name.into(), Value::Null)).into());
    assert_eq!(text(FLASK, &map), r#"{"":null,"B":null,"a":null,"\uffff":null,"\ud800\udc00":null}"#);
    assert_eq!(joined(FLASK, &[("é", "1"), ("b", "2"), ("a", "3")]), r#"{"a":3,"b":2,"\u00e9":1}"#);
}

#[test]
fn javascript_puts_array_indices_first() {
    let names = ["b", "4294967295", "10", "01", "9", "-1", "4294967294", "a", "0"];
    let map = Value::Map(names.map(|name| (name.into(), Value::Null)).into());
    let order =
        r#"{"0":null,"9":null,"10":null,"4294967294":null,"b":null,"4294967295":null,"01":null,"-1":null,"a":null}"#;
    assert_eq!(text(JAVASCRIPT, &map), order);
    assert_eq!(joined(JAVASCRIPT, &names.map(|name| (name, "null"))), order);
}

#[test]
fn an_enum_is_written_as_serde_json_does() {
    #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    enum Shape {
        Empty,
        Circle(f64),
        Line(i32, Tuple<(i32,)>),
        Box { w: i32, h: i32 },
    }
    let shapes = vec![Shape::Empty, Shape::Circle(1.5), Shape::Line(1, Tuple((2,))), Shape::Box { w: 1, h: 2 }];
    let written = text(FLASK, &shapes);
    assert_eq!(written, r#"["Empty",{"Circle":1.5},{"Line":[1,{" t":[2]}]},{"Box":{"h":2,"w":1}}]"#);
    assert_eq!(read::<Vec<Shape>>(FLASK, &written), shapes);
}

#[test]
fn numbers_read_as_their_framework_reads_them() {
    assert_eq!(read::<Value>(PYTHON, "-0"), Value::Integer(0));
    assert_eq!(read::<i32>(PYTHON, "-0"), 0);
    assert!(read::<f64>(PYTHON, "-0").is_sign_positive());
    assert!(read::<f64>(PYTHON, "-0.0").is_sign_negative());
    assert!(read::<f64>(PYTHON, "NaN").is_nan());
    assert_eq!(read::<f64>(PYTHON, "1e400"), f64::INFINITY);
    assert_eq!(read::<u64>(PYTHON, "18446744073709551615"), u64::MAX);
    assert_eq!(read::<i128>(PYTHON, "-170141183460469231731687303715884105728"), i128::MIN);
    assert_eq!(read::<u128>(PYTHON, "340282366920938463463374607431768211455"), u128::MAX);
    assert_eq!(read::<Value>(PYTHON, "1.0"), Value::Float(1.0));
    assert_eq!(read::<Value>(JAVASCRIPT, "1.0"), Value::Integer(1));
    assert_eq!(read::<Value>(JAVASCRIPT, "1.5e3"), Value::Integer(1500));
    assert_eq!(read::<Value>(JAVASCRIPT, "9007199254740993"), Value::Float(9007199254740992.0));
    assert_eq!(read::<u64>(JAVASCRIPT, "9007199254740992"), 1 << 53);
    assert!(PYTHON.read::<Value>("1".repeat(4301).as_bytes()).is_err());
    assert!(PYTHON.write(&Value::BigInteger("1".repeat(4301).parse().unwrap())).is_err());
}

#[test]
fn floats_print_as_their_framework_prints_them() {
    for (float, python, javascript) in [
        (0.0, "0.0", "0"),
        (-0.0, "-0.0", "0"),
        (1.0, "1.0", "1"),
        (1234.5, "1234.5", "1234.5"),
        (0.5, "0.5", "0.5"),
        (0.0001, "0.0001", "0.0001"),
        (0.000015, "1.5e-05", "0.000015"),
        (1.5e-7, "1.5e-07", "1.5e-7"),
        (1e-7, "1e-07", "1e-7"),
        (1e15, "1000000000000000.0", "1000000000000000"),
        (1e16, "1e+16", "10000000000000000"),
        (1.2345e20, "1.2345e+20", "123450000000000000000"),
        (1e21, "1e+21", "1e+21"),
        (f64::MAX, "1.7976931348623157e+308", "1.7976931348623157e+308"),
        (5e-324, "5e-324", "5e-324"),
    ] {
        assert_eq!(text(PYTHON, &float), python);
        assert_eq!(text(JAVASCRIPT, &float), javascript);
    }
    assert_eq!(text(PYTHON, &0.1f32), "0.1");
    for (float, python) in [(f64::NAN, "NaN"), (f64::NEG_INFINITY, "-Infinity")] {
        assert_eq!(text(PYTHON, &float), python);
        assert_eq!(refusal(JAVASCRIPT, float), "JavaScript's JSON cannot hold NaN or an infinity");
    }
}

#[test]
fn text_is_escaped_as_its_framework_escapes_it() {
    let all = "\"\\/\u{8}\u{c}\n\r\t\u{1}\u{1f}\u{7f}é\u{2028}😀<";
    let control = r#"\"\\/\b\f\n\r\t\u0001\u001f"#;
    assert_eq!(text(FLASK, all), format!("\"{control}{}\"", r"\u007f\u00e9\u2028\ud83d\ude00<"));
    assert_eq!(text(PYTHON, all), format!("\"{control}\u{7f}é\u{2028}😀<\""));
    assert_eq!(text(JAVASCRIPT, &Value::Surrogates(vec![0xd83d, 0xde00, 0xdfff])), "\"😀\\udfff\"");
    assert_eq!(read::<Value>(PYTHON, r#""\\\ud800\n""#), Value::Surrogates(vec![0x5c, 0xd800, 0x0a]));
    assert_eq!(read::<String>(PYTHON, r#""\uD83D\uDE00""#), "😀");
    assert!(PYTHON.read::<String>(br#""\ud800""#).is_err());
}

#[test]
fn an_error_says_the_kinds_and_never_the_value() {
    let shown = |text: &str| PYTHON.read::<BTreeMap<String, u8>>(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(shown("\"swordfish\""), "expected a map, found text");
    assert_eq!(shown("{\"a\":\"swordfish\"}"), "expected u8, found text");
    assert_eq!(shown("{\"a\":4711}"), "expected u8, found an integer that does not fit");
    assert_eq!(shown("{\"a\":swordfish}"), "malformed");
    #[derive(serde::Deserialize, Debug)]
    #[allow(dead_code)]
    struct Strict {
        name: String,
    }
    assert_eq!(PYTHON.read::<Strict>(b"{}").unwrap_err().to_string(), "missing field \"name\"");
    assert_eq!(FLASK.read::<DateTime>(br#""swordfish""#).unwrap_err().to_string(), "expected a date, found text");
}
