//! What holds of Laravel's sessions beyond its own vectors.

use std::time::Duration;

use bytes::Bytes;
use dewar::{
    Clock, Keyring, Secret, Session, SessionLayer, SessionManager, Value,
    dialect::{
        Dialect, DjangoSession, Laravel,
        wire::laravel::{Cipher, Encrypter},
    },
    encoding::{Encoding, Json, Php},
    layout::Serialization,
    store::{Load, Record, SessionStore, StoreKey, Timestamp, Version, memory::MemoryStore},
    testing::Visitor,
};
use http::{HeaderMap, HeaderValue, header};
use proptest::prelude::*;

const KEY: &str = "base64:a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";
const ID: &str = "MainLaravelId0123456789abcdefghijABCDEFG";
const LOGIN: &str = "login_web_59ba36addc2b2f9401580f014c7f58ea4e30989d";
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn encrypter() -> Encrypter {
    Encrypter::new(Cipher::Aes256Cbc, &[[b'k'; 32]]).unwrap()
}

/// The cookie of an id, as `name=value`.
fn cookie_of(name: &str, id: &str) -> String {
    let sealed = encrypter().seal(encrypter().tie(name, id).as_bytes(), &[7; Encrypter::IV]).unwrap();
    format!("laravel_session={}", sealed.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D"))
}

fn cookie() -> String {
    cookie_of("laravel_session", ID)
}

fn layer(store: &MemoryStore, change: impl Fn(Laravel) -> Laravel + Send + Sync + 'static) -> SessionLayer {
    let dialect = move |keys: &Keyring| change(Laravel::new(keys).prefix("app:"));
    SessionLayer::new(KEY).unwrap().dialect(dialect).store(store.clone()).clock(Clock::at(NOW))
}

fn manager(store: &MemoryStore) -> SessionManager {
    layer(store, |laravel| laravel).manager().unwrap()
}

fn key() -> StoreKey {
    StoreKey::foreign(format!("app:{ID}"))
}

fn serialized(text: &str) -> String {
    format!("s:{}:\"{text}\";", text.len())
}

/// A store with a record under the id of the cookie, as Laravel's cache store has it.
async fn store_of(record: impl Into<String>) -> MemoryStore {
    let data = Bytes::from(record.into());
    let record = Record::new(data, NOW, 7200, NOW.after(Duration::from_secs(7200)));
    let store = MemoryStore::new();
    store.create(&key(), Version::from_bits(1), record, None, NOW).await.unwrap();
    store
}

async fn stored(store: &MemoryStore, key: &StoreKey) -> String {
    let Load::Found(record, _) = store.load(key, NOW).await.unwrap() else { panic!("there is no record") };
    String::from_utf8(record.data.to_vec()).unwrap()
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

/// `a:N:{...}` of these entries, each already serialized.
fn array(entries: &[(&str, &str)]) -> String {
    let members = entries.iter().map(|(name, value)| format!("{}{value}", serialized(name)));
    format!("a:{}:{{{}}}", entries.len(), members.collect::<String>())
}

const TOKEN: (&str, &str) = ("_token", "s:40:\"MainLaravelToken0123456789abcdefghijABCD\";");

#[test]
fn what_names_no_table_is_refused() {
    let keyring = Keyring::new(Secret::new(KEY).unwrap());
    for name in ["", ".", "a.", "a.b.c", "a?b", "{db}", "a`b", "a\"b", "a;b", "$1(", "a\0b"] {
        assert!(
            Laravel::new(&keyring).table(name).check().unwrap_err().to_string().contains("names no table"),
            "{name:?}"
        );
        assert!(DjangoSession::new(&keyring).table(name).check().is_err(), "{name:?}");
    }
    for name in ["sessions", "app.sessions", "my sessions", "größe_2", "a-b$c"] {
        Laravel::new(&keyring).table(name).check().unwrap();
    }
}

#[test]
fn a_key_that_is_none_of_the_cipher_is_refused_with_what_to_write() {
    let refused = |key: &str, cipher| {
        let keyring = Keyring::new(Secret::dangerously_weak(key));
        Laravel::new(&keyring).cipher(cipher).check().unwrap_err().to_string()
    };
    let why = refused(KEY, Cipher::Aes128Gcm);
    assert!(why.contains("AES-128-GCM") && why.contains("32 bytes, as AES-256-CBC"), "{why}");
    assert!(refused("base64:a2tr", Cipher::Aes256Cbc).contains("3 bytes"));
    assert!(refused("base64:no base64", Cipher::Aes256Cbc).contains("no base64"));
    assert!(!refused("base64:no base64", Cipher::Aes256Cbc).contains("no base64\""), "never the key");
    let older = Keyring::new(Secret::new(KEY).unwrap()).fallback(Secret::dangerously_weak("base64:a2tr"));
    assert!(Laravel::new(&older).check().unwrap_err().to_string().contains("fallback 1"));
    Laravel::new(&Keyring::new(Secret::new(KEY).unwrap())).check().unwrap();
    for around in [format!("\"{KEY}\""), format!("{KEY}\r")] {
        assert!(refused(&around, Cipher::Aes256Cbc).contains("around it"), "as it may stand in .env");
    }
    // As Laravel takes it, without base64.
    Laravel::new(&Keyring::new(Secret::new("0123456789abcdef0123456789abcdeX").unwrap())).check().unwrap();
}

#[test]
fn a_guard_without_a_name_is_refused() {
    let keyring = Keyring::new(Secret::new(KEY).unwrap());
    for name in ["", "a b", "a;b"] {
        assert!(Laravel::new(&keyring).guard(name).check().unwrap_err().to_string().contains("guard"), "{name:?}");
    }
    Laravel::new(&keyring).guard("admin").check().unwrap();
}

#[tokio::test]
async fn an_id_that_is_not_there_is_never_adopted() {
    let store = MemoryStore::new();
    let set = request(&manager(&store), &cookie(), |session| session.insert("a", 1)).await;
    assert!(!set.is_empty() && matches!(store.load(&key(), NOW).await.unwrap(), Load::Missing));
}

#[tokio::test]
async fn a_cookie_that_is_of_another_name_or_holds_no_id_opens_nothing() {
    let store = store_of(serialized(&array(&[TOKEN, ("a", "i:1;")]))).await;
    let manager = manager(&store);
    assert_eq!(open(&manager, &cookie()).await.get("a"), Some(1));
    let others = [
        cookie_of("other_session", ID),
        cookie_of("laravel_session", &ID[1..]),
        cookie_of("laravel_session", &ID.replace('M', "/")),
        format!("laravel_session={ID}"),
        "laravel_session=".into(),
    ];
    for other in others {
        assert!(open(&manager, &other).await.is_empty(), "{other}");
    }
}

#[test]
fn what_is_sealed_has_its_members_and_no_others() {
    use dewar::encoding::base64::{decode_standard, encode_standard};
    let sealed = encrypter().seal(b"message", &[7; Encrypter::IV]).unwrap();
    let json = String::from_utf8(decode_standard(sealed.as_bytes()).unwrap()).unwrap();
    let open = |json: &str| {
        let mut text = Vec::new();
        encode_standard(json.as_bytes(), &mut text);
        encrypter().open(std::str::from_utf8(&text).unwrap()).is_ok()
    };
    assert!(
        open(&json) && open(&json.replace(r#","tag":"""#, "")) && open(&json.replace(r#""tag":"""#, r#""tag":null"#))
    );
    // The fuzzer's: a changed name was a member that nobody asks for.
    for (name, other) in [("tag", "tbg"), ("mac", "mbc"), ("iv", "iw"), ("value", "valuf")] {
        assert!(!open(&json.replace(&format!("{name:?}:"), &format!("{other:?}:"))), "{name}");
    }
    assert!(!open(&json.replace(r#""tag":"""#, r#""tag":"AAAA""#)));
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_an_empty_session_and_stays_as_it_is() {
    let good = serialized(&array(&[TOKEN, ("a", "i:1;")]));
    let records = [
        good[..good.len() - 1].to_owned(),
        good.replacen("s:", "s:1", 1),
        array(&[TOKEN]),
        serialized("i:1;"),
        serialized("{\"a\":1}"),
        String::new(),
        "s:99999999999999999999:\"\";".into(),
        serialized(&format!("a:1:{{s:1:\"a\";{}N;{}}}", "a:1:{i:0;".repeat(500), "}".repeat(500))),
    ];
    for record in records {
        let store = store_of(record.clone()).await;
        let manager = manager(&store);
        assert!(open(&manager, &cookie()).await.is_empty(), "{record}");
        request(&manager, &cookie(), |session| session.insert("b", 1)).await;
        assert_eq!(stored(&store, &key()).await, record);
    }
}

#[tokio::test]
async fn an_encrypted_record_is_read_and_one_that_is_not_is_refused() {
    let text = array(&[TOKEN, ("a", "i:1;")]);
    let sealed = encrypter().seal(serialized(&text).as_bytes(), &[3; Encrypter::IV]).unwrap();
    let store = store_of(serialized(&sealed)).await;
    let encrypting = layer(&store, |laravel| laravel.encrypt(true)).manager().unwrap();
    assert_eq!(open(&encrypting, &cookie()).await.get("a"), Some(1));
    assert!(open(&manager(&store), &cookie()).await.is_empty());
    request(&encrypting, &cookie(), |session| session.insert("b", 2)).await;
    let written = stored(&store, &key()).await;
    assert!(!written.contains("MainLaravelToken") && written.starts_with("s:"), "{written}");
    assert_eq!(open(&encrypting, &cookie()).await.get("b"), Some(2));

    let plain = store_of(serialized(&text)).await;
    let encrypting = layer(&plain, |laravel| laravel.encrypt(true)).manager().unwrap();
    assert!(open(&encrypting, &cookie()).await.is_empty());
}

#[tokio::test]
async fn in_json_the_same_session_is_json() {
    let json =
        r#"{"_token":"MainLaravelToken0123456789abcdefghijABCD","u":"\u00e9\/","n":10,"_flash":{"old":[],"new":[]}}"#;
    let store = store_of(serialized(json)).await;
    let manager = layer(&store, |laravel| laravel.serialization(Serialization::Json)).manager().unwrap();
    let session = open(&manager, &cookie()).await;
    assert_eq!((session.get("u"), session.get("n")), (Some("é/".to_owned()), Some(10.0)));
    request(&manager, &cookie(), |session| session.insert("f", 10.0)).await;
    let expected = json.replace(r#"]}}"#, r#"]},"f":10}"#);
    assert_eq!(stored(&store, &key()).await, serialized(&expected));
    let nothing = store_of(serialized("[]")).await;
    let manager = layer(&nothing, |laravel| laravel.serialization(Serialization::Json)).manager().unwrap();
    request(&manager, &cookie(), |session| session.insert("a", 1)).await;
    assert_eq!(stored(&nothing, &key()).await, serialized(r#"{"a":1}"#));
}

/// `json_encode(json_decode($text, true))` makes lists of them.
#[tokio::test]
async fn a_map_that_laravel_has_written_again_in_json_is_still_a_map() {
    use std::collections::BTreeMap;
    let store = store_of(serialized(r#"{"none":[],"places":[7,8],"within":{"none":[]}}"#)).await;
    let manager = layer(&store, |laravel| laravel.serialization(Serialization::Json)).manager().unwrap();
    let session = open(&manager, &cookie()).await;
    assert_eq!(session.get::<BTreeMap<String, u8>>("none"), Some(BTreeMap::new()));
    assert_eq!(session.get("places"), Some(BTreeMap::from([("0".to_owned(), 7), ("1".to_owned(), 8)])));
    assert_eq!(session.get("places"), Some(vec![7, 8]));
    let within = BTreeMap::from([("none".to_owned(), BTreeMap::<String, u8>::new())]);
    assert_eq!(session.get("within"), Some(within));
}

#[tokio::test]
async fn what_json_cannot_hold_is_refused_by_name() {
    let store = MemoryStore::new();
    let manager = layer(&store, |laravel| laravel.serialization(Serialization::Json)).manager().unwrap();
    for value in [Value::Float(f64::NAN), Value::Surrogates(vec![0xd800]), Value::from(u64::MAX)] {
        let error = Visitor::prepared(&manager, |session| session.insert("odd", &value)).await.unwrap_err();
        assert!(error.is_entry() && error.to_string().contains("\"odd\""), "{error}");
    }
}

#[tokio::test]
async fn a_new_session_has_a_token_and_a_renewal_changes_it() {
    let store = MemoryStore::new();
    let manager = manager(&store);
    let token = |session: &Session| session.get::<String>("_token").unwrap();
    let visitor = Visitor::prepared(&manager, |session| session.insert("a", 1)).await.unwrap();
    let first = token(&visitor.session().await.unwrap());
    assert!(first.len() == 40 && first.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{first}");
    let cookies = visitor.cookie().to_str().unwrap().to_owned();
    request(&manager, &cookies, |session| session.insert("b", 1)).await;
    assert_eq!(token(&open(&manager, &cookies).await), first, "a write changes nothing of it");
    let set = request(&manager, &cookies, |session| session.renew()).await;
    let renewed = open(&manager, set[0].split(';').next().unwrap()).await;
    assert_ne!(token(&renewed), first);
    assert_eq!(renewed.get("b"), Some(1));
}

#[tokio::test]
async fn a_log_in_writes_what_laravels_guard_reads() {
    let store = store_of(serialized(&array(&[TOKEN, ("password_hash_web", "s:1:\"x\";")]))).await;
    let manager = manager(&store);
    let set = request(&manager, &cookie(), |session| session.set_principal(7)).await;
    let session = open(&manager, set[0].split(';').next().unwrap()).await;
    assert_eq!(session.principal().as_deref(), Some("7"));
    assert_eq!(session.get::<Value>(LOGIN), Some(Value::Integer(7)));
    assert_eq!(session.get::<Value>("password_hash_web"), None, "Laravel would end the session");
    assert!(open(&manager, &cookie()).await.is_empty(), "the id of before is worth nothing");

    let admin = layer(&store, |laravel| laravel.guard("admin")).manager().unwrap();
    let visitor = Visitor::prepared(&admin, |session| session.set_principal("ada")).await.unwrap();
    let entry = LOGIN.replace("_web_", "_admin_");
    assert_eq!(visitor.session().await.unwrap().get::<String>(&*entry).as_deref(), Some("ada"));
}

#[tokio::test]
async fn a_log_out_removes_laravels_remember_cookie_too() {
    let store = store_of(serialized(&array(&[TOKEN, (LOGIN, "i:7;")]))).await;
    let remember = LOGIN.replace("login_", "remember_");
    let cookies = format!("{}; {remember}=eyJ", cookie());
    let set = request(&manager(&store), &cookies, |session| session.clear()).await;
    let removed: Vec<_> = set.iter().map(|cookie| cookie.split('=').next().unwrap()).collect();
    assert_eq!(removed, ["laravel_session", &*remember], "{set:?}");
}

/// A record with a message as Laravel leaves it, and what its forms left.
fn with_messages() -> String {
    let flash = "a:2:{s:3:\"old\";a:4:{i:1;s:6:\"status\";i:2;s:12:\"flash.banner\";i:3;s:6:\"errors\";i:4;s:10:\"_old_input\";}s:3:\"new\";a:0:{}}";
    array(&[
        TOKEN,
        ("_flash", flash),
        ("status", "s:5:\"Saved\";"),
        ("flash", "a:1:{s:6:\"banner\";s:5:\"Hello\";}"),
        ("errors", "O:31:\"Illuminate\\Support\\ViewErrorBag\":0:{}"),
        ("_old_input", "a:1:{s:1:\"q\";s:1:\"x\";}"),
    ])
}

#[tokio::test]
async fn messages_are_shown_once_and_what_a_form_left_stays() {
    let store = store_of(serialized(&with_messages())).await;
    let manager = manager(&store);
    let taken = |session: &Session| {
        session.take_flashes().iter().map(|flash| format!("{}: {}", flash.category, flash.text())).collect::<Vec<_>>()
    };
    let mut shown = Vec::new();
    request(&manager, &cookie(), |session| shown = taken(session)).await;
    assert_eq!(shown, ["status: Saved", "flash.banner: Hello"]);
    request(&manager, &cookie(), |session| shown = taken(session)).await;
    assert!(shown.is_empty());
    let expected = with_messages()
        .replace("s:6:\"status\";s:5:\"Saved\";", "")
        .replace("a:1:{s:6:\"banner\";s:5:\"Hello\";}", "a:0:{}")
        .replace("a:4:{i:1;s:6:\"status\";i:2;s:12:\"flash.banner\";i:3;", "a:2:{i:0;")
        .replace("i:4;s:10", "i:1;s:10")
        .replacen("a:6:", "a:5:", 1);
    assert_eq!(stored(&store, &key()).await, serialized(&expected));
}

#[tokio::test]
async fn a_message_is_no_entry_after_the_session_has_moved_to_another_format() {
    let flash = "a:2:{s:3:\"old\";a:1:{i:0;s:6:\"status\";}s:3:\"new\";a:0:{}}";
    let text = array(&[TOKEN, ("_flash", flash), ("status", "s:5:\"Saved\";"), ("a", "i:1;")]);
    let source = manager(&store_of(serialized(&text)).await);
    let layer = SessionLayer::new(Secret::generate()).unwrap().store(MemoryStore::new()).clock(Clock::at(NOW));
    let ours = layer.reads_also(source, NOW.after(Duration::from_secs(600))).manager().unwrap();
    let session = open(&ours, &cookie()).await;
    assert_eq!((session.get("a"), session.get::<String>("status")), (Some(1), None));
    assert_eq!(session.take_flashes()[0].text(), "Saved");
}

#[tokio::test]
async fn a_message_never_takes_the_place_of_an_entry() {
    let store = MemoryStore::new();
    let manager = manager(&store);
    for category in ["_token", "_flash", "_previous", "errors", "_old_input", LOGIN, "cart", ""] {
        let left = |session: &Session| {
            session.insert("cart", 1);
            session.flash_as("Hello", category);
        };
        let error = Visitor::prepared(&manager, left).await.unwrap_err();
        assert!(error.is_entry() && error.to_string().contains(&format!("{category:?}")), "{error}");
    }
}

#[tokio::test]
async fn several_messages_of_one_category_are_a_list_in_its_entry() {
    let store = MemoryStore::new();
    let manager = manager(&store);
    let visitor = Visitor::prepared(&manager, |session| {
        session.flash_as("one", "status");
        session.flash_as("two", "status");
        session.flash_as(Value::List(vec![1.into()]), "list");
        session.flash_as("three", "status");
    });
    let session = visitor.await.unwrap().session().await.unwrap();
    assert_eq!(session.get("status"), Some(vec!["one".to_owned(), "two".into(), "three".into()]));
    assert_eq!(session.get("list"), Some(vec![vec![1]]));
    let names: Value = session.get("_flash").unwrap();
    assert_eq!(names.get("old"), Some(&Value::List(vec!["status".into(), "list".into()])));
    assert_eq!(session.take_flashes().len(), 4);
}

#[tokio::test]
async fn a_message_beside_one_within_an_array_stands_there_too() {
    let store = store_of(serialized(&with_messages())).await;
    let manager = manager(&store);
    request(&manager, &cookie(), |session| session.flash_as("Again", "flash.banner")).await;
    let expected = with_messages().replace("s:5:\"Hello\";", "a:2:{i:0;s:5:\"Hello\";i:1;s:5:\"Again\";}");
    assert_eq!(stored(&store, &key()).await, serialized(&expected));
    assert_eq!(open(&manager, &cookie()).await.take_flashes().len(), 3);
}

#[tokio::test]
async fn names_that_are_no_names_are_no_messages_and_are_not_overwritten() {
    for flash in ["i:1;", "a:1:{s:3:\"old\";i:1;}", "a:2:{i:0;i:1;i:1;i:2;}"] {
        let text = array(&[TOKEN, ("_flash", flash)]);
        let store = store_of(serialized(&text)).await;
        let manager = manager(&store);
        let session = open(&manager, &cookie()).await;
        assert!(session.take_flashes().is_empty());
        session.flash("Hello");
        assert!(session.commit().await.unwrap_err().to_string().contains("_flash"), "{flash}");
        assert_eq!(stored(&store, &key()).await, serialized(&text));
    }
}

#[tokio::test]
async fn an_object_and_a_reference_of_phps_survive_what_is_written_beside_them() {
    let text = array(&[
        TOKEN,
        ("object", "O:8:\"stdClass\":1:{s:1:\"x\";i:1;}"),
        ("pair", "a:2:{i:0;a:1:{i:0;i:5;}i:1;R:6;}"),
    ]);
    let store = store_of(serialized(&text)).await;
    let manager = manager(&store);
    request(&manager, &cookie(), |session| session.insert("b", 1)).await;
    let expected = text.replacen("a:3:", "a:4:", 1).replace("R:6;}}", "R:6;}s:1:\"b\";i:1;}");
    assert_eq!(stored(&store, &key()).await, serialized(&expected));
    request(&manager, &cookie(), |session| assert!(session.remove("object"))).await;
    let expected = expected
        .replacen("a:4:", "a:3:", 1)
        .replace("s:6:\"object\";O:8:\"stdClass\":1:{s:1:\"x\";i:1;}", "")
        .replace("R:6;", "R:4;");
    assert_eq!(stored(&store, &key()).await, serialized(&expected));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_sealed_opens_and_with_any_character_changed_does_not(
        message in prop::collection::vec(any::<u8>(), 0..200),
        iv: [u8; Encrypter::IV],
        which in 0..4usize,
        at: prop::sample::Index,
    ) {
        let cipher = Cipher::ALL[which];
        let keys = [vec![1; cipher.key_len()], vec![2; cipher.key_len()]];
        let older = Encrypter::new(cipher, &keys[1..]).unwrap();
        let both = Encrypter::new(cipher, &keys).unwrap();
        let sealed = older.seal(&message, &iv).unwrap();
        prop_assert_eq!(both.open(&sealed), Ok((message, 1)));
        prop_assert!(Encrypter::new(cipher, &keys[..1]).unwrap().open(&sealed).is_err());
        let mut changed = sealed.into_bytes();
        let at = at.index(changed.len());
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        prop_assert!(older.open(&String::from_utf8(changed).unwrap()).is_err());
    }

    #[test]
    fn values_that_both_serializations_hold_come_back(value in value()) {
        for encoding in [Encoding::Php(Php::SHORTEST), Encoding::Json(Json::PHP)] {
            let written = encoding.write(&value).unwrap();
            prop_assert_eq!(encoding.read::<Value>(&written).unwrap(), value.clone());
        }
    }
}

/// What PHP's arrays and its JSON say alike.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::Integer),
        any::<f64>().prop_filter("with a fraction", |it| it.is_finite() && it.fract() != 0.0).prop_map(Value::Float),
        any::<String>().prop_map(Value::Text),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let name = "[a-z/é🧪\u{7f}]{1,5}";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::btree_map(name, inner, 1..4)
                .prop_map(|map| Value::Map(map.into_iter().map(|(name, value)| (name.into(), value)).collect())),
        ]
    })
}

/// A record of 700 KiB with as many names as it holds: each message within an array is looked for in the whole array, which would take hours for all of them.
#[tokio::test]
async fn however_many_names_of_messages_there_are_a_page_does_not_take_for_ever() {
    let count = 14_000;
    let of = |each: &dyn Fn(usize) -> String| (0..count).map(each).collect::<String>();
    let message = "s:5:\"Hello\";";
    let names = |name: &str| of(&|at| format!("i:{at};{}", serialized(&format!("{name}{at:05}"))));
    let flash = |names: String| format!("a:2:{{s:3:\"old\";a:{count}:{{{names}}}s:3:\"new\";a:0:{{}}}}");
    let array_of = format!("a:{count}:{{{}}}", of(&|at| format!("{}{message}", serialized(&format!("k{at:05}")))));
    let within = array(&[TOKEN, ("_flash", &flash(names("big.k"))), ("big", &array_of)]);
    let entries: Vec<_> = (0..count).map(|at| format!("m{at:05}")).collect();
    let flat = flash(names("m"));
    let mut all = vec![TOKEN, ("_flash", &flat)];
    all.extend(entries.iter().map(|name| (&name[..], message)));
    for (text, shows) in [(within, 16), (array(&all), count)] {
        let store = store_of(serialized(&text)).await;
        let manager = manager(&store);
        let session = open(&manager, &cookie()).await;
        assert_eq!(session.take_flashes().len(), shows);
        manager.commit(&session).await.apply(&mut HeaderMap::new()).unwrap();
        assert_eq!(stored(&store, &key()).await.matches("Hello").count(), count - shows);
    }
}
