//! What holds of PHP's sessions beyond their vectors: values, references, names, ids.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes as Buffer;
use dewar::{
    Clock, Keyring, Lifetime, SameSite, SessionManager,
    dialect::{self, Attributes, Body, Contents, Data, Dialect, Jar, Limits, Php, Refusal, Steps, Token},
    encoding::{self, Encoding},
    layout::{self, Kept, Layout, Serializer, Stored},
    store::{Timestamp, memory::MemoryStore},
    value::{Bytes, Value},
};
use http::{
    HeaderMap,
    header::{COOKIE, SET_COOKIE},
};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const VALUES: Encoding = Encoding::Php(encoding::Php::SHORTEST);
const ALL: [Serializer; 3] = [Serializer::Php, Serializer::PhpBinary, Serializer::PhpSerialize];

fn read(serializer: Serializer, record: &[u8]) -> Result<Kept, Refusal> {
    let record = Stored::Blob(Buffer::copy_from_slice(record));
    layout::Php::new().serializer(serializer).read(&record, &mut Steps::off())
}

fn write(serializer: Serializer, data: &Data, extra: &Buffer) -> Result<Vec<u8>, String> {
    let mut contents = Contents::new(NOW, 1440, None, false);
    (contents.data, contents.extra) = (data.clone(), extra.clone());
    let written = layout::Php::new().serializer(serializer).write(&contents, &Attributes::new("PHPSESSID"));
    Ok(written.map_err(|error| error.to_string())?.body().to_vec())
}

/// The record after a change, or why it cannot be.
fn changed(record: &str, change: impl FnOnce(&mut Data)) -> Result<String, String> {
    let Kept { mut data, extra, .. } = read(Serializer::Php, record.as_bytes()).unwrap();
    change(&mut data);
    write(Serializer::Php, &data, &extra).map(|record| String::from_utf8(record).unwrap())
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Integer),
        any::<f64>().prop_filter("NaN is another one", |float| !float.is_nan()).prop_map(Value::Float),
        ".{0,8}".prop_map(Value::Text),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let name = prop_oneof!["[a-z|:;{}\"]{0,4}", "-?[0-9]{1,20}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            // As PHP has them: none is empty, and none is a list.
            prop::collection::btree_map(name, inner, 1..6).prop_map(|members| {
                let members = members.into_iter().map(|(name, value)| (Value::Text(format!("k{name}")), value));
                Value::Map(members.collect())
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_is_written_reads_the_same_in_every_handler(
        entries in prop::collection::btree_map("[a-z][a-zé:;\"{}]{0,9}", values(), 0..6),
    ) {
        let mut data = Data::default();
        for (name, value) in &entries {
            let encoded = VALUES.write(value).unwrap();
            prop_assert_eq!(&VALUES.read::<Value>(&encoded).unwrap(), value);
            data.insert(name.as_bytes(), encoded);
        }
        for serializer in ALL {
            let record = write(serializer, &data, &Buffer::new()).unwrap();
            let kept = read(serializer, &record).unwrap();
            prop_assert!(kept.data.iter().eq(data.iter()), "{:?}", serializer);
            prop_assert_eq!(write(serializer, &kept.data, &kept.extra).unwrap(), record);
        }
    }

    #[test]
    fn no_bytes_are_too_much_for_a_reader(
        record in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            "[abisdNOCERr:;{}\"|0-9.+-]{0,48}".prop_map(String::into_bytes),
        ],
    ) {
        for serializer in ALL {
            let Ok(kept) = read(serializer, &record) else { continue };
            for (_, value) in kept.data.iter() {
                let _ = VALUES.read::<Value>(value);
            }
            if let Ok(written) = write(serializer, &kept.data, &kept.extra) {
                let again = read(serializer, &written).unwrap();
                prop_assert_eq!(write(serializer, &again.data, &again.extra).unwrap(), written);
            }
        }
    }
}

#[test]
fn types_come_back_as_what_they_were() {
    fn comes_back<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(
        it: T,
        as_php: &str,
    ) {
        let encoded = VALUES.write(&it).unwrap();
        assert_eq!(String::from_utf8_lossy(&encoded), as_php);
        assert_eq!(VALUES.read::<T>(&encoded).unwrap(), it, "{as_php}");
    }
    comes_back(BTreeMap::<String, u8>::new(), "a:0:{}");
    comes_back(Vec::<u8>::new(), "a:0:{}");
    comes_back(BTreeMap::from([("0".to_owned(), 1), ("1".to_owned(), 2)]), "a:2:{i:0;i:1;i:1;i:2;}");
    comes_back(BTreeMap::from([(0u8, 1), (1, 2)]), "a:2:{i:0;i:1;i:1;i:2;}");
    comes_back(BTreeMap::from([("010".to_owned(), 1)]), "a:1:{s:3:\"010\";i:1;}");
    comes_back(BTreeMap::from([("-5".to_owned(), 1)]), "a:1:{i:-5;i:1;}");
    comes_back(Bytes(b"\xff\"".to_vec()), "s:2:\"\u{fffd}\"\";");
    comes_back(Bytes(b"text".to_vec()), "s:4:\"text\";");
    comes_back((1, "é".to_owned(), Some(0.1)), "a:3:{i:0;i:1;i:1;s:2:\"é\";i:2;d:0.1;}");
    comes_back(f64::MIN_POSITIVE, "d:2.2250738585072014E-308;");
    // As near to 3 as to 2 at the end.
    comes_back(f64::from_bits(0x4300_f2f8_f34d_5dc2), "d:596343834389432.2;");
    comes_back(f64::from_bits(0xc2a6_4baa_dde0_63a0), "d:-12257122512945.812;");
}

#[test]
fn an_array_whose_keys_count_once_the_last_of_each_is_taken_is_a_list() {
    let read = |text: &[u8]| VALUES.read::<Value>(text).unwrap();
    assert_eq!(read(b"a:3:{i:0;i:3;i:1;i:1;i:1;i:2;}"), Value::List(vec![3.into(), 2.into()]));
}

#[test]
fn what_php_cannot_hold_is_refused_by_name() {
    for (value, why) in [
        (Value::from(u64::MAX), "64 bits"),
        (Value::Tuple(vec![]), "tuple"),
        (Value::Markup("<b>".into()), "markup"),
        (Value::Map(vec![(Value::Null, Value::Null)]), "nothing"),
        (Value::Map(vec![(Value::from(10), Value::Null), (Value::from("10"), Value::Null)]), "same"),
    ] {
        let error = VALUES.write(&value).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let one = |name: &str| {
        let mut data = Data::default();
        data.insert(name.as_bytes(), &b"i:1;"[..]);
        ALL.map(|serializer| write(serializer, &data, &Buffer::new()).map_err(|why| why.contains(name)))
    };
    let long = "n".repeat(128);
    assert!(matches!(one("a|b"), [Err(true), Ok(_), Ok(_)]));
    assert!(matches!(one("10"), [Err(true), Err(true), Ok(_)]));
    assert!(matches!(one(&long), [Ok(_), Err(_), Ok(_)]));
    assert!(matches!(one(&long[1..]), [Ok(_), Ok(_), Ok(_)]));
}

#[test]
fn objects_and_references_are_refused_by_name_and_keep_every_byte() {
    for (value, name) in [
        ("O:8:\"stdClass\":1:{s:1:\"n\";i:1;}", "object"),
        ("C:3:\"Foo\":2:{|;}", "object"),
        ("E:15:\"Vec\\Suit:Hearts\";", "enumeration"),
        ("a:2:{i:0;i:1;i:1;R:2;}", "reference"),
    ] {
        let error = VALUES.read::<Value>(value.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        let after =
            changed(&format!("a|i:1;o|{}", value.replace("R:2", "R:3")), |data| data.insert(b"a", &b"i:7;"[..]));
        assert_eq!(after.unwrap(), format!("a|i:7;o|{}", value.replace("R:2", "R:3")));
    }
}

#[test]
fn a_reference_says_the_same_whatever_changes_before_it() {
    // As PHP wrote it: b is the variable a, o2 the object o, and l2 the last of l.
    let record = "n|i:1;a|a:2:{i:0;i:1;i:1;i:2;}b|R:2;o|O:8:\"stdClass\":1:{s:1:\"p\";i:1;}o2|r:5;l|a:3:{i:0;r:5;i:1;r:5;i:2;i:3;}l2|R:11;";
    assert_eq!(changed(record, |_| ()).unwrap(), record);
    let longer = changed(record, |data| data.insert(b"n", &b"a:2:{i:0;N;i:1;N;}"[..])).unwrap();
    assert_eq!(
        longer,
        "n|a:2:{i:0;N;i:1;N;}a|a:2:{i:0;i:1;i:1;i:2;}b|R:4;o|O:8:\"stdClass\":1:{s:1:\"p\";i:1;}o2|r:7;l|a:3:{i:0;r:7;i:1;r:7;i:2;i:3;}l2|R:13;"
    );
    let shorter = changed(record, |data| drop(data.remove(b"n"))).unwrap();
    assert!(shorter.contains("b|R:1;") && shorter.contains("o2|r:4;") && shorter.ends_with("l2|R:10;"), "{shorter}");
    let without = changed(record, |data| drop((data.remove(b"a"), data.remove(b"b")))).unwrap();
    assert!(without.contains("o2|r:2;") && without.ends_with("l2|R:8;"), "{without}");
    // What it refers to is another one.
    let error = changed(record, |data| data.insert(b"a", &b"i:9;"[..])).unwrap_err();
    assert!(error.contains("\"b\"") && error.contains("\"a\""), "{error}");
    let error = changed(record, |data| drop(data.remove(b"o"))).unwrap_err();
    assert!(error.contains("\"o2\"") && error.contains("\"o\""), "{error}");
    // Behind it now.
    let error = changed(record, |data| {
        let a = data.remove(b"a").unwrap();
        data.insert(b"a", &a[..]);
    });
    assert!(error.unwrap_err().contains("\"b\""));
    // Moved into a session of which nothing is known.
    let Kept { data, .. } = read(Serializer::Php, record.as_bytes()).unwrap();
    assert!(write(Serializer::Php, &data, &Buffer::new()).unwrap_err().contains("\"b\""));
}

#[test]
fn behind_an_object_of_its_own_form_nothing_is_renumbered() {
    let record = "a|i:1;c|C:3:\"Foo\":4:{i:1;}l|a:2:{i:0;i:1;i:1;R:9;}z|i:1;";
    assert_eq!(changed(record, |data| data.insert(b"z", &b"N;"[..])).unwrap(), record.replace("z|i:1;", "z|N;"));
    assert!(changed(record, |data| data.insert(b"a", &b"i:2;"[..])).unwrap_err().contains("C:"));
}

#[test]
fn in_php_serialize_the_array_around_all_is_the_first() {
    let record = b"a:2:{s:1:\"a\";i:1;s:1:\"b\";R:2;}";
    let Kept { mut data, extra, .. } = read(Serializer::PhpSerialize, record).unwrap();
    data.insert(b"c", &b"N;"[..]);
    let written = write(Serializer::PhpSerialize, &data, &extra).unwrap();
    assert_eq!(String::from_utf8(written).unwrap(), "a:3:{s:1:\"a\";i:1;s:1:\"b\";R:2;s:1:\"c\";N;}");
    // In `php` the same number is of no value.
    assert!(read(Serializer::Php, b"b|R:1;").is_err());
}

#[test]
fn an_empty_session_is_zero_bytes_or_an_empty_array() {
    for (serializer, empty) in ALL.into_iter().zip(["", "", "a:0:{}"]) {
        assert_eq!(write(serializer, &Data::default(), &Buffer::new()).unwrap(), empty.as_bytes());
        assert!(read(serializer, b"").unwrap().data.is_empty());
    }
    assert!(read(Serializer::PhpSerialize, b"a:0:{}").unwrap().data.is_empty());
}

#[test]
fn nesting_and_announced_counts_have_an_end() {
    let deep = |levels: usize| format!("a|{}N;{}", "a:1:{i:0;".repeat(levels), "}".repeat(levels));
    assert!(read(Serializer::Php, deep(100).as_bytes()).is_ok());
    assert!(read(Serializer::Php, deep(100_000).as_bytes()).is_err());
    for record in
        ["a|a:4000000000:{}", "a|s:99999999999999999999:\"\";", "a|S:4000000000:\"\";", "a|O:1:\"A\":4000000000:{}"]
    {
        assert!(read(Serializer::Php, record.as_bytes()).is_err(), "{record}");
    }
}

/// What a visitor might send, so that it is entries where another handler reads it.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"|i:1;".to_vec()),
        Just(b"i:1;".to_vec()),
        Just(b"user_id|i:1;".to_vec()),
        Just(b"\x07user_idi:1;".to_vec()),
        Just(b"s:7:\"user_id\";i:1;".to_vec()),
        Just(b"z|C:1:\"A\":2:{".to_vec()),
        Just(b"\x01zC:1:\"A\":2:{".to_vec()),
        Just(b"z|s:0:\"".to_vec()),
        Just(b"\x01zs:0:\"".to_vec()),
        (0usize..140).prop_map(|len| vec![b'x'; len]),
        any::<u8>().prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(piece, 0..7).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// As when the handlers of the two sides differ.
    #[test]
    fn a_visitors_text_is_never_an_entry_with_another_handler_than_it_was_written_with(
        names in prop::collection::btree_set("[a-zA-Z_é][a-zA-Z0-9_./ é-]{0,40}", 1..4),
        texts in prop::collection::vec(hostile(), 4),
    ) {
        let mut data = Data::default();
        for (name, text) in names.iter().zip(&texts) {
            data.insert(name.as_bytes(), VALUES.write(&Bytes(text.clone())).unwrap());
        }
        for writer in ALL {
            let record = write(writer, &data, &Buffer::new()).unwrap();
            for reader in ALL {
                let kept = read(reader, &record);
                if reader == writer {
                    prop_assert!(kept.unwrap().data.iter().eq(data.iter()), "{:?}", writer);
                } else {
                    prop_assert!(kept.is_err(), "{:?} read as {:?}", String::from_utf8_lossy(&record), reader);
                }
            }
        }
    }
}
/// Each was one, before records were told apart by how they begin.
#[test]
fn a_text_that_is_aimed_at_another_handler_is_refused_with_its_record() {
    let text = |start: &str, text: &str, end: &str| format!("{start}s:{}:\"{text}\";{end}", text.len()).into_bytes();
    // What php_binary takes for the first name has as many bytes as its first byte says.
    let padded = |start: &str, rest: &str| {
        let pad = usize::from(start.as_bytes()[0]) + 1 - start.len() - "s:000:\"".len();
        format!("{}{rest}", "x".repeat(pad))
    };
    let in_binary = "i:1;\x07user_idi:1;\x01z";
    let in_php = "x|i:1;user_id|i:1;";
    let (of_php, of_serialize) = ("name|", "a:1:{s:4:\"name\";");
    let filler = "y".repeat(60);
    let mut fooled = Vec::new();
    let igbinary =
        [b"\0\0\0\x02\x14\x01\x11\x04name\x11".as_slice(), &[in_php.len() as u8], in_php.as_bytes()].concat();
    let msgpack = [b"\x81\xa4name".as_slice(), &[0xa0 + in_php.len() as u8], in_php.as_bytes()].concat();
    for (writer, reader, record) in [
        (
            Some(Serializer::PhpSerialize),
            Serializer::Php,
            text(of_serialize, &format!("{in_php}z|C:1:\"A\":2:{{"), "}"),
        ),
        (
            Some(Serializer::PhpSerialize),
            Serializer::PhpBinary,
            text(of_serialize, &padded(of_serialize, &format!("{in_binary}C:62:\"A{filler}A\":2:{{")), "}"),
        ),
        (
            Some(Serializer::Php),
            Serializer::PhpBinary,
            text(of_php, &padded(of_php, &format!("{in_binary}s:0:\"")), ""),
        ),
        (Some(Serializer::PhpBinary), Serializer::Php, text("\x04name", &format!("{in_php}z|s:0:\""), "")),
        (None, Serializer::Php, igbinary),
        (None, Serializer::Php, msgpack),
    ] {
        let shown = String::from_utf8_lossy(&record).into_owned();
        if let Some(writer) = writer {
            assert!(read(writer, &record).is_ok(), "{shown:?}");
        }
        if read(reader, &record).is_ok() {
            fooled.push(format!("{shown:?} as {reader:?}"));
        }
    }
    assert!(fooled.is_empty(), "{}", fooled.join("\n"));
}

#[test]
fn a_first_name_that_makes_a_record_look_like_another_handlers_is_refused_by_name() {
    let one = |serializer, name: &str| {
        let mut data = Data::default();
        data.insert(name.as_bytes(), b"N;".to_vec());
        write(serializer, &data, &Buffer::new())
            .map_err(|why| assert!(why.contains("another handler"), "{why}"))
            .is_ok()
    };
    let of_array = format!(":1:{{{}", "n".repeat(93));
    let of_binary = "\x01ni:5;";
    assert_eq!(ALL.map(|serializer| one(serializer, "a:1:{")), [false, true, true]);
    assert_eq!(ALL.map(|serializer| one(serializer, &of_array)), [true, false, true]);
    assert_eq!(ALL.map(|serializer| one(serializer, of_binary)), [false, true, true]);
    assert!(!one(Serializer::PhpBinary, "a|i:1;b"));
    assert!(one(Serializer::PhpBinary, "a|b"));
}

fn id_of(cookie: &str) -> Result<String, Refusal> {
    let jar = [("", cookie)];
    match Php::new().read(&Jar::of("PHPSESSID", &jar), &Limits::new(NOW, 1440), &mut Steps::off())? {
        Token::Id { id, .. } => Ok(id.reveal().to_owned()),
        Token::Data { .. } => panic!("an id"),
    }
}

#[test]
fn ids_have_phps_alphabet_and_lengths() {
    assert_eq!(id_of("a%2Cb-C9").unwrap(), "a,b-C9");
    for good in ["a".to_owned(), "Z".repeat(256)] {
        assert_eq!(id_of(&good).unwrap(), good);
    }
    for bad in ["", "a.b", "..%2Fetc", "a b", "a%00", "é", &"a".repeat(257)] {
        assert_eq!(id_of(bad).unwrap_err(), Refusal::Malformed, "{bad:?}");
    }
    let mut next = 0u8;
    let mut random = |bytes: &mut [u8]| {
        bytes.iter_mut().for_each(|byte| {
            next = next.wrapping_add(11);
            *byte = next;
        });
    };
    let id = Php::new().new_id(&mut random);
    assert!(id.reveal().len() == 32 && id.reveal().bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
    let long = Php::new().sid_length(256).sid_bits_per_character(6);
    let id = long.new_id(&mut random);
    let cookie = long.write(Body::Id(&id), "PHPSESSID", NOW, &mut random).unwrap().remove(0).value;
    assert!(id.reveal().contains(',') && cookie.contains("%2C") && !cookie.contains(','));
    assert_eq!(id_of(&cookie).unwrap(), id.reveal());
}

fn manager(php: fn() -> Php) -> SessionManager {
    let layer = SessionManager::builder("w98fw9ef8hwe98fhwef").unwrap();
    layer.dialect(move |_: &Keyring| php()).store(MemoryStore::new()).clock(Clock::at(NOW)).build().unwrap()
}

#[test]
fn settings_are_had_by_name_and_refused_by_name() {
    let known = dialect::all().find(|known| known.name == "PHP").unwrap();
    let with = |options: &str| known.with(options).map(drop).map_err(|error| error.to_string());
    assert!(with("serializer=php_serialize,prefix=app:,sid_length=26,sid_bits_per_character=5").is_ok());
    assert!(with("longest_request=30,principal_entry=user_id,serialize_precision=17").is_ok());
    assert!(with("serializer=igbinary").unwrap_err().contains("php_binary"));
    for php in [Php::new().sid_length(21), Php::new().sid_bits_per_character(7), Php::new().principal_entry("")] {
        assert!(php.check().is_err());
    }
}

/// One request of the browser that has this cookie, which writes: the `Set-Cookie` headers of its response.
async fn writes(manager: &SessionManager, cookie: &str) -> Vec<String> {
    let mut request = HeaderMap::new();
    request.insert(COOKIE, cookie.parse().unwrap());
    let session = manager.open(&request).await.unwrap();
    assert_eq!(session.get::<i64>("a"), None);
    session.insert("a", 1);
    let mut response = HeaderMap::new();
    manager.commit(&session).await.apply(&mut response).unwrap();
    response.get_all(SET_COOKIE).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_id_that_is_not_there_is_never_adopted_and_a_new_one_is_spelled_as_phps() {
    let unknown = "0123456789abcdef0123456789abcdef";
    let set = writes(&manager(Php::new), &format!("PHPSESSID={unknown}")).await.remove(0);
    assert!(!set.contains(unknown), "{set}");
    let (cookie, attributes) = set.split_once("; ").unwrap();
    assert_eq!(attributes, "path=/; HttpOnly");
    assert_eq!(id_of(cookie.strip_prefix("PHPSESSID=").unwrap()).unwrap().len(), 32);
}

#[tokio::test]
async fn the_cookie_of_a_persistent_session_has_phps_attributes_in_phps_order() {
    let layer = SessionManager::builder("w98fw9ef8hwe98fhwef").unwrap().dialect(|_: &Keyring| Php::new());
    let layer = layer.store(MemoryStore::new()).clock(Clock::at(NOW)).cookie_name("APPSESS");
    let layer = layer.path("/app").domain("h.example").secure(true).same_site(SameSite::Lax);
    let manager = layer.lifetime(Lifetime::persistent().idle(Duration::from_secs(3600))).build().unwrap();
    let set = writes(&manager, "a=b").await.remove(0);
    assert_eq!(
        set.split_once("; ").unwrap().1,
        "expires=Tue, 14 Nov 2023 23:13:20 GMT; Max-Age=3600; path=/app; domain=h.example; secure; HttpOnly; SameSite=Lax"
    );
}
