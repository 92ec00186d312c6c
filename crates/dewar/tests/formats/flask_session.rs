//! What holds of Flask-Session's sessions beyond its own vectors.

use std::time::Duration;

use bytes::Bytes;
use dewar::{
    Clock, Keyring, Lifetime, Login, Secret, Session, SessionLayer, SessionManager, Value,
    dialect::{Attributes, Dialect, FlaskSession, Report, SerializationFormat},
    encoding::{Encoding, Json},
    layout::Stored,
    store::{Load, Record, SessionStore, StoreKey, Timestamp, Version, memory::MemoryStore},
    testing::Visitor,
    value::{self, BigInteger, DateTime, Markup, Tuple, Uuid},
};
use http::{HeaderMap, HeaderValue, header};
use proptest::prelude::*;

use super::wire_properties::{leaf, tree};
use crate::support::typed::same;

const SECRET: &str = "w98fw9ef8hwe98fhwef";
const SID: &str = "MainSid_0123456789-abcdefghijklmnopqrstuvwx";
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const FORMATS: [SerializationFormat; 2] = [SerializationFormat::MsgPack, SerializationFormat::Json];
const PACK: Encoding = Encoding::Msgspec;
const JSON: Encoding = Encoding::Json(Json::MSGSPEC);

fn layer(store: &MemoryStore, change: impl Fn(FlaskSession) -> FlaskSession + Send + Sync + 'static) -> SessionLayer {
    let dialect = move |secrets: &Keyring| change(FlaskSession::new(secrets));
    SessionLayer::new(SECRET).unwrap().dialect(dialect).store(store.clone()).clock(Clock::at(NOW))
}

fn manager(store: &MemoryStore) -> SessionManager {
    layer(store, |dialect| dialect).manager().unwrap()
}

fn in_json(store: &MemoryStore) -> SessionManager {
    layer(store, |dialect| dialect.format(SerializationFormat::Json)).manager().unwrap()
}

fn key() -> StoreKey {
    StoreKey::foreign(format!("session:{SID}"))
}

fn cookie() -> String {
    format!("session={SID}")
}

/// A store with a record under the id of the cookie.
async fn store_of(record: impl Into<Vec<u8>>) -> MemoryStore {
    let record = Record::new(Bytes::from(record.into()), NOW, 2_678_400, NOW.after(Duration::from_secs(2_678_400)));
    let store = MemoryStore::new();
    store.create(&key(), Version::from_bits(1), record, None, NOW).await.unwrap();
    store
}

async fn stored(store: &MemoryStore, key: &StoreKey) -> Option<Vec<u8>> {
    match store.load(key, NOW).await.unwrap() {
        Load::Found(record, _) => Some(record.data.to_vec()),
        _ => None,
    }
}

/// The record that a visitor's cookie leads to, as text.
async fn record_of(store: &MemoryStore, set_cookie: &str) -> Option<String> {
    let sid = value_of(set_cookie);
    let record = stored(store, &StoreKey::foreign(format!("session:{sid}"))).await?;
    Some(String::from_utf8(record).unwrap())
}

fn value_of(set_cookie: &str) -> &str {
    set_cookie.strip_prefix("session=").and_then(|rest| rest.split(';').next()).expect("a cookie of ours")
}

async fn open(manager: &SessionManager, cookies: &str) -> Session {
    let mut request = HeaderMap::new();
    request.insert(header::COOKIE, HeaderValue::from_str(cookies).unwrap());
    manager.open(&request).await.unwrap()
}

/// One request of the visitor who has the cookie: the `Set-Cookie` headers of its response.
async fn request(manager: &SessionManager, cookies: &str, handle: impl FnOnce(&Session)) -> Vec<String> {
    let session = open(manager, cookies).await;
    handle(&session);
    let mut response = HeaderMap::new();
    manager.commit(&session).await.apply(&mut response).unwrap();
    response.get_all(header::SET_COOKIE).iter().map(|cookie| cookie.to_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_session_begins_as_flask_session_begins_one() {
    let store = MemoryStore::new();
    let set = request(&in_json(&store), "", |session| {
        session.insert("b", 1);
        session.insert("a", 2);
    })
    .await;
    assert_eq!(value_of(&set[0]).len(), 43, "{set:?}");
    assert!(set[0].ends_with("; Expires=Fri, 15 Dec 2023 22:13:20 GMT; HttpOnly; Path=/"), "{set:?}");
    assert_eq!(record_of(&store, &set[0]).await.unwrap(), r#"{"_permanent":true,"b":1,"a":2}"#);

    let plain = layer(&store, |dialect| dialect.format(SerializationFormat::Json).permanent(false)).manager().unwrap();
    let set = request(&plain, "", |session| session.insert("b", 1)).await;
    assert!(!set[0].contains("Expires"), "{set:?}");
    assert_eq!(record_of(&store, &set[0]).await.unwrap(), r#"{"b":1}"#);
}

#[tokio::test]
async fn a_session_says_by_itself_whether_its_cookie_outlives_the_browser() {
    let store = store_of(r#"{"a":1,"_permanent":false}"#).await;
    let manager = in_json(&store);
    assert_eq!(request(&manager, &cookie(), |session| session.insert("b", 1)).await, Vec::<String>::new());
    let set = request(&manager, &cookie(), |session| session.set_lifetime(Lifetime::persistent())).await;
    assert!(set[0].contains("; Expires="), "{set:?}");
    assert_eq!(stored(&store, &key()).await.unwrap(), br#"{"a":1,"_permanent":true,"b":1}"#, "in its place");
    let refused = open(&manager, &cookie()).await;
    refused.set_lifetime(Lifetime::persistent().idle(Duration::from_secs(60)));
    assert!(manager.commit(&refused).await.apply(&mut HeaderMap::new()).is_err(), "the TTL is every session's");
}

/// Its record lives on with every write, and so must its cookie.
#[tokio::test]
async fn a_write_prolongs_the_cookie_of_a_permanent_session() {
    let store = store_of(r#"{"_permanent":true,"a":1}"#).await;
    let set = request(&in_json(&store), &cookie(), |session| session.insert("b", 1)).await;
    assert_eq!(set, [format!("{}; Expires=Fri, 15 Dec 2023 22:13:20 GMT; HttpOnly; Path=/", cookie())]);
    assert_eq!(request(&in_json(&store), &cookie(), |_| {}).await, Vec::<String>::new(), "who reads gets none yet");
}

#[tokio::test]
async fn an_id_that_is_not_there_is_never_adopted() {
    let store = MemoryStore::new();
    let set = request(&manager(&store), &cookie(), |session| session.insert("a", 1)).await;
    assert_ne!(value_of(&set[0]), SID);
    assert_eq!(stored(&store, &key()).await, None);
}

#[tokio::test]
async fn a_session_of_which_only_permanent_is_left_ends_with_its_cookie() {
    for record in [r#"{"_permanent":true,"a":1}"#, r#"{"a":1}"#] {
        let store = store_of(record).await;
        let set = request(&in_json(&store), &cookie(), |session| {
            session.remove("a");
        })
        .await;
        assert_eq!(set, ["session=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; HttpOnly; Path=/"]);
        assert!(open(&in_json(&store), &cookie()).await.get::<u8>("a").is_none());
    }
    // Nothing to keep was ever said.
    let store = MemoryStore::new();
    let nothing = |session: &Session| session.set_lifetime(Lifetime::browser());
    assert_eq!(request(&in_json(&store), "", nothing).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_signed_id_is_taken_with_its_signature_alone() {
    let store = store_of(r#"{"a":1}"#).await;
    let signing = layer(&store, |dialect| dialect.use_signer(true)).manager().unwrap();
    // By itsdangerous 2.2.0: Signer(SECRET, salt="flask-session", key_derivation="hmac").
    let signed = format!("{}.cpGxOPBV6qg-x0g5J7RFgJOwhxw", cookie());
    assert_eq!(open(&signing, &signed).await.get("a"), Some(1));
    let forged = format!("{}.A{}", cookie(), &signed.rsplit_once('.').unwrap().1[1..]);
    for other in [cookie(), forged, format!("{}.", cookie()), signed.replace("Sid_0", "Sid_1")] {
        assert!(open(&signing, &other).await.is_empty(), "{other}");
    }
    assert!(open(&manager(&store), &signed).await.is_empty(), "where no id is signed, that is none");
    let set = request(&signing, &signed, |session| session.renew()).await;
    assert_eq!(value_of(&set[0]).len(), 43 + 1 + 27, "{set:?}");
    assert_eq!(open(&signing, set[0].split(';').next().unwrap()).await.get("a"), Some(1));
}

#[tokio::test]
async fn an_id_under_an_older_secret_is_signed_again() {
    let store = store_of(r#"{"a":1,"_permanent":true}"#).await;
    let keyring = Keyring::new(Secret::generate()).fallback(Secret::new(SECRET).unwrap());
    let dialect = |secrets: &Keyring| FlaskSession::new(secrets).use_signer(true);
    let rotated = SessionLayer::new(keyring).unwrap().dialect(dialect).store(store.clone()).clock(Clock::at(NOW));
    let set = request(&rotated.manager().unwrap(), &format!("{}.cpGxOPBV6qg-x0g5J7RFgJOwhxw", cookie()), |_| {}).await;
    assert!(
        value_of(&set[0]).starts_with(SID) && !value_of(&set[0]).ends_with("cpGxOPBV6qg-x0g5J7RFgJOwhxw"),
        "{set:?}"
    );
}

#[tokio::test]
async fn what_is_no_id_is_never_looked_for() {
    let store = store_of(r#"{"a":1}"#).await;
    let long = "a".repeat(129);
    for id in ["", "a/b", "a.b", "a b", "é", "..", "a\"b", long.as_str()] {
        assert!(open(&manager(&store), &format!("session={id}")).await.is_empty(), "{id}");
    }
}

#[test]
fn extension_types_in_each_other_take_no_stack() {
    // A tuple of ours holds a list. Here each holds the next, and the last nothing.
    let count = 100_000;
    let headers = (0..count).rev().flat_map(|inner: u32| {
        let [a, b, c, d] = (inner * 6 + 1).to_be_bytes();
        [0xc9, a, b, c, d, 1]
    });
    let chain: Vec<u8> = headers.chain([0x90]).collect();
    let record = [&b"\x81\xa1a"[..], &chain].concat();
    let layout = FlaskSession::new(&Keyring::new(Secret::generate())).layout().unwrap();
    // What it means to the application is not asked; no type of ours is in there.
    assert!(Report::of_record(&*layout, &Stored::Blob(record.into())).verdict.is_ok());
    for encoding in [PACK, Encoding::MessagePack] {
        assert!(encoding.read::<Value>(&chain).is_err());
    }
}

/// `pickle.dumps({"a": 1}, protocol)`, of protocols 0, 1 and 4.
const PICKLES: [&[u8]; 3] = [
    b"(dp0\nVa\np1\nI1\ns.",
    b"}q\0X\x01\0\0\0aq\x01K\x01s.",
    b"\x80\x04\x95\x0a\0\0\0\0\0\0\0}\x94\x8c\x01a\x94K\x01s.",
];

#[tokio::test]
async fn a_record_that_cannot_be_read_is_an_empty_session_and_stays_as_it_is() {
    let deep = [&b"\x81\xa1a"[..], &[0x91; 500], b"\xc0"].concat();
    let deep_json = format!("{{\"a\":{}{}}}", "[".repeat(500), "]".repeat(500));
    let records: [&[u8]; 16] = [
        b"",
        b"\x81\xa1a",
        b"\x81\xa1a\x01\x00",
        b"\xc1",
        b"\x91\x01",
        b"\xc0",
        b"\x81\xa1a\xa2\xc3\x28",
        b"\x81\x01\x01",
        b"\xdf\xff\xff\xff\xff\xa1a\x01",
        &deep,
        deep_json.as_bytes(),
        br#"{"a":1"#,
        br#"{"a":NaN}"#,
        br#"{"a":"\ud800"}"#,
        br#"{"a":1e400}"#,
        br#"["a"]"#,
    ];
    for record in records.into_iter().chain(PICKLES) {
        for format in FORMATS {
            let store = store_of(record).await;
            let manager = layer(&store, move |dialect| dialect.format(format)).manager().unwrap();
            assert!(open(&manager, &cookie()).await.is_empty(), "{record:?}");
            let set = request(&manager, &cookie(), |session| session.insert("b", 1)).await;
            assert_ne!(value_of(&set[0]), SID);
            assert_eq!(stored(&store, &key()).await.unwrap(), record);
        }
    }
}

#[test]
fn a_pickle_is_refused_by_name_with_what_to_do() {
    let layout = FlaskSession::new(&Keyring::new(Secret::generate())).layout().unwrap();
    for pickle in PICKLES {
        let report = Report::of_record(&*layout, &Stored::Blob(Bytes::from_static(pickle))).to_string();
        assert!(report.contains("a Python pickle") && report.contains("a page of Flask-Session 0.8"), "{report}");
    }
    let other = Report::of_record(&*layout, &Stored::Blob(Bytes::from_static(b"\xc1"))).to_string();
    assert!(other.contains("neither MessagePack nor JSON"), "{other}");
}

#[tokio::test]
async fn the_other_format_is_read_and_becomes_the_configured_one_with_the_next_change() {
    let store = store_of(r#"{"_permanent":true,"n":1.5,"l":[1,null],"t":"é"}"#).await;
    let manager = manager(&store);
    assert_eq!(request(&manager, &cookie(), |session| assert_eq!(session.get("n"), Some(1.5))).await.len(), 0);
    assert!(stored(&store, &key()).await.unwrap().starts_with(b"{"), "who reads changes nothing");
    request(&manager, &cookie(), |session| session.insert("b", 2)).await;
    let packed = b"\x85\xaa_permanent\xc3\xa1n\xcb\x3f\xf8\0\0\0\0\0\0\xa1l\x92\x01\xc0\xa1t\xa2\xc3\xa9\xa1b\x02";
    assert_eq!(stored(&store, &key()).await.unwrap(), packed);

    request(&in_json(&store), &cookie(), |session| session.insert("b", 3)).await;
    let json = r#"{"_permanent":true,"n":1.5,"l":[1,null],"t":"é","b":3}"#;
    assert_eq!(stored(&store, &key()).await.unwrap(), json.as_bytes());

    // Flask-Session answers 500 from then on, or writes null.
    for (record, format) in [
        (br#"{"n":18446744073709551616}"#.to_vec(), FORMATS[0]),
        (b"\x81\xa1n\xcb\x7f\xf8\0\0\0\0\0\0".to_vec(), FORMATS[1]),
    ] {
        let store = store_of(record.clone()).await;
        let manager = layer(&store, move |dialect| dialect.format(format)).manager().unwrap();
        request(&manager, &cookie(), |session| session.insert("b", 1)).await;
        assert_eq!(stored(&store, &key()).await.unwrap(), record);
    }
}

#[tokio::test]
async fn untouched_entries_keep_their_bytes() {
    // Integers and texts longer than they need be, a float of 32 bits, an extension type of the application's own.
    let entries = b"\xa1a\xce\0\0\0\x01\xa1b\xd9\x01x\xa1c\xca\x3f\xc0\0\0\xa1d\xd4\x05x";
    let store = store_of([&b"\x84"[..], entries].concat()).await;
    let manager = manager(&store);
    request(&manager, &cookie(), |session| {
        assert_eq!(
            (session.get("a"), session.get::<String>("b"), session.get("c")),
            (Some(1), Some("x".into()), Some(1.5))
        );
        assert_eq!(session.get::<Value>("d"), None, "nobody here knows what it means");
        session.insert("e", 1);
    })
    .await;
    assert_eq!(stored(&store, &key()).await.unwrap(), [&b"\x85"[..], entries, b"\xa1e\x01"].concat());
}

#[tokio::test]
async fn every_kind_comes_back_as_the_type_that_was_written() {
    let uuid: Uuid = "12345678-1234-5678-1234-567812345678".parse().unwrap();
    let date: DateTime = "2023-11-14T22:13:20.987654Z".parse().unwrap();
    for format in FORMATS {
        let store = MemoryStore::new();
        let manager = layer(&store, move |dialect| dialect.format(format)).manager().unwrap();
        let visitor = Visitor::prepared(&manager, |session| {
            session.insert("bytes", value::Bytes(vec![0, 255]));
            session.insert("uuid", uuid);
            session.insert("date", date);
            session.insert("tuple", Tuple((1, "x".to_owned())));
            session.insert("unsigned", u64::MAX);
            session.insert("name", "AAAA");
        });
        let session = visitor.await.unwrap().session().await.unwrap();
        assert_eq!(session.get("bytes"), Some(value::Bytes(vec![0, 255])), "{format:?}");
        assert_eq!(session.get("uuid"), Some(uuid));
        assert_eq!(session.get("date"), Some(date));
        assert_eq!(session.get("tuple"), Some(Tuple((1, "x".to_owned()))));
        assert_eq!(session.get("unsigned"), Some(u64::MAX));
        assert_eq!(session.get::<String>("name").as_deref(), Some("AAAA"), "text is text first");
        assert_eq!(session.get::<Value>("name"), Some("AAAA".into()));
    }
}

#[tokio::test]
async fn what_the_format_cannot_hold_is_refused_by_name() {
    let beyond: BigInteger = "18446744073709551616".parse().unwrap();
    let nan = Value::Float(f64::NAN);
    let odd = [Value::Markup("<b>".into()), Value::Surrogates(vec![0xd800]), Value::Atom("ok".into())];
    let of_pack = odd
        .iter()
        .cloned()
        .chain([Value::BigInteger(beyond.clone()), Value::Map(vec![(Value::List(vec![]), nan.clone())])]);
    let of_json = odd.iter().cloned().chain([nan.clone()]);
    let cases = of_pack.map(|value| (FORMATS[0], value)).chain(of_json.map(|value| (FORMATS[1], value)));
    for (format, value) in cases {
        let store = MemoryStore::new();
        let manager = layer(&store, move |dialect| dialect.format(format)).manager().unwrap();
        let error = Visitor::prepared(&manager, |session| session.insert("odd", &value)).await.unwrap_err();
        assert!(error.is_entry() && error.to_string().contains("\"odd\""), "{value:?}: {error}");
    }
    let store = MemoryStore::new();
    let visitor = Visitor::prepared(&in_json(&store), |session| session.insert("big", &beyond)).await.unwrap();
    assert_eq!(visitor.session().await.unwrap().get("big"), Some(beyond));
    // Flask-Session answers 500 to flash(Markup(...)).
    let marked = Visitor::prepared(&in_json(&store), |session| session.flash(Markup("<b>".into()))).await.unwrap_err();
    assert!(marked.to_string().contains("_flashes"), "{marked}");
}

#[tokio::test]
async fn messages_are_pairs_in_a_list_as_flask_reads_them() {
    let store = store_of(r#"{"_flashes":[["message","Saved!"]]}"#).await;
    request(&in_json(&store), &cookie(), |session| session.flash_as("No.", "error")).await;
    let waiting = r#"{"_flashes":[["message","Saved!"],["error","No."]]}"#;
    assert_eq!(stored(&store, &key()).await.unwrap(), waiting.as_bytes());
    request(&in_json(&store), &cookie(), |session| {
        session.insert("a", 1);
        assert_eq!(session.take_flashes().len(), 2);
    })
    .await;
    assert_eq!(stored(&store, &key()).await.unwrap(), br#"{"a":1}"#);
}

#[tokio::test]
async fn a_log_in_is_one_that_flask_login_believes_under_a_new_id() {
    let store = store_of(r#"{"_permanent":true,"cart":[1]}"#).await;
    let manager = in_json(&store);
    let log_in = |session: &Session| session.set_principal(Login::new("7").client("127.0.0.1", "curl/8"));
    let set = request(&manager, &cookie(), log_in).await;
    assert_eq!(stored(&store, &key()).await, None, "the former id is worth nothing");
    let record = record_of(&store, &set[0]).await.unwrap();
    // As in `seams.rs`: what Flask-Login 0.6.3 made of these.
    let id = "e3b66b456272032cfccd37bff3478587d79e2c0f2719960c75c6a22aa25d6a0dc6a0b5e738c6d8b75e8533c3ae5d391ec6191d611561902ea5b09abda53a2371";
    assert_eq!(record, format!(r#"{{"_permanent":true,"cart":[1],"_user_id":"7","_fresh":true,"_id":"{id}"}}"#));
    let without = layer(&store, |dialect| dialect.flask_login(false)).manager().unwrap();
    assert_eq!(open(&without, set[0].split(';').next().unwrap()).await.principal(), None);
}

#[tokio::test]
async fn a_log_out_removes_the_remember_cookie_and_the_record_stays_ended() {
    let store = store_of(r#"{"_permanent":true,"_user_id":"7"}"#).await;
    let set = request(&in_json(&store), &format!("{}; remember_token=7|x", cookie()), |session| session.clear()).await;
    let removed: Vec<_> = set.iter().map(|cookie| cookie.split('=').next().unwrap()).collect();
    assert_eq!(removed, ["session", "remember_token"], "{set:?}");
    assert!(open(&in_json(&store), &cookie()).await.is_empty());

    let dialect =
        |secrets: &Keyring| FlaskSession::new(secrets).flask_login(false).remember_cookie(Attributes::new("remember"));
    let error = SessionLayer::new(SECRET).unwrap().dialect(dialect).store(store).manager().unwrap_err();
    assert!(error.is_setting() && error.to_string().contains("remember_cookie"), "{error}");
}

/// What is read of a value; `None` where it is refused by name.
fn after(value: &Value, is_json: bool) -> Option<Value> {
    use dewar::encoding::base64::encode_standard;
    let all = |items: &[Value]| items.iter().map(|item| after(item, is_json)).collect::<Option<Vec<_>>>();
    Some(match value {
        Value::Markup(_) | Value::Surrogates(_) => return None,
        Value::Float(it) if is_json && !it.is_finite() => return None,
        Value::BigInteger(it) if !is_json && it.as_str().parse::<u64>().is_err() => return None,
        Value::List(items) | Value::Tuple(items) => Value::List(all(items)?),
        Value::Map(members) => {
            let member = |(name, value): &(Value, Value)| Some((after(name, is_json)?, after(value, is_json)?));
            Value::Map(members.iter().map(member).collect::<Option<_>>()?)
        }
        Value::Uuid(it) => Value::Text(it.to_string()),
        Value::DateTime(it) if is_json => Value::Text(it.to_string()),
        Value::Bytes(it) if is_json => {
            let mut text = Vec::new();
            encode_standard(it, &mut text);
            Value::Text(String::from_utf8(text).unwrap())
        }
        other => other.clone(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_value_is_read_as_flask_session_reads_it_or_refused(value in tree(leaf(), true)) {
        for (encoding, is_json) in [(PACK, false), (JSON, true)] {
            let expected = after(&value, is_json);
            let Ok(written) = encoding.write(&value) else {
                prop_assert!(expected.is_none(), "{value:?} is refused");
                continue;
            };
            let read: Value = encoding.read(&written).unwrap();
            prop_assert!(same(&read, &expected.expect("what is read was not refused")), "{value:?} is {read:?}");
            prop_assert_eq!(encoding.write(&read).unwrap(), written);
        }
    }

    #[test]
    fn whatever_is_in_a_record_nothing_panics_and_what_is_read_is_written_again(
        bytes in prop::collection::vec(any::<u8>(), 0..40), json in "[\\[\\]{}\":,0-9a-dtN\\\\u. -]{0,30}",
    ) {
        for format in FORMATS {
            let layout = FlaskSession::new(&Keyring::new(Secret::dangerously_weak("s"))).format(format).layout().unwrap();
            for record in [&bytes[..], json.as_bytes()] {
                let stored = Stored::Blob(Bytes::copy_from_slice(record));
                let Ok(kept) = Report::of_record(&*layout, &stored).verdict else { continue };
                for (_, value) in kept.data.iter() {
                    let _ = layout.encoding().read::<Value>(value);
                    let _ = layout.encoding().read::<Vec<String>>(value);
                }
            }
        }
    }
}
