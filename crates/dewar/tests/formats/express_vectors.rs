//! Every session that Express itself wrote (`vectors/express.json`): read, written again byte for byte, or refused.
//!
//! `cookie` and `store` vectors go through the manager, as requests do; `message` vectors through the wire functions.

use std::{borrow::Cow, sync::Arc, time::Duration};

use crate::support::typed::{hex, same, value};
use bytes::Bytes;
use dewar::{
    Clock, Keyring, Lifetime, SameSite, Secret, Session, SessionLayer, SessionManager, Value,
    dialect::{
        Body, Contents, CookieSession, Dialect, Digest, ExpressSession, Jar, Limits, Profile, Random, Refusal,
        SessionId, SetValue, Steps, Token,
        wire::cookie_signature::{CookieSigner, percent_decode, percent_encode},
    },
    encoding::{Encoding, Json, base64},
    layout::{Kept, Layout, Stored},
    meaning::Meaning,
    store::{Load, Record, SessionStore, StoreKey, Timestamp, Version, memory::MemoryStore},
};
use http::{HeaderMap, HeaderValue, header};
use serde_json::Value as Vector;

const JSON: Encoding = Encoding::Json(Json::JAVASCRIPT);

/// What is to be done with a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Read it, and write it byte for byte.
    RoundTrip,
    /// Something that Express does, told by its own name.
    Scenario,
    /// Refuse it.
    Invalid,
    /// Express takes it and never writes it.
    Lenient,
}

fn file() -> Vector {
    crate::support::vectors("express.json")
}

fn class(vector: &Vector) -> Class {
    let expect = &vector["expect"];
    if expect["outcome"] == "invalid" {
        Class::Invalid
    } else if expect["lenient"] == true {
        Class::Lenient
    } else if vector["reencode"] == "none" {
        Class::Scenario
    } else {
        Class::RoundTrip
    }
}

/// The vectors of a kind and class, each with its settings. There are some: a file that has none of them proves nothing of them.
fn vectors(kind: &str, wanted: Class) -> Vec<(Vector, Vector)> {
    let file = file();
    let of_kind = |vector: &&Vector| vector["kind"] == kind && class(vector) == wanted;
    let with_config = |vector: &Vector| {
        let config = vector["config"].as_str().map_or(&vector["config_inline"], |name| &file["configs"][name]);
        (vector.clone(), config.clone())
    };
    let found: Vec<_> = file["vectors"].as_array().expect("a list").iter().filter(of_kind).map(with_config).collect();
    assert!(!found.is_empty(), "the file has no {kind} of the class {wanted:?}");
    found
}

/// What Express does with a session, beyond writing and reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    /// It is new and has no entries.
    Empty,
    /// It is destroyed.
    Destroyed,
    /// It is only read.
    OnlyRead,
    /// It is signed with an older key.
    OlderKey,
}

fn scene(vector: &Vector) -> Scene {
    if vector["request_cookie"].is_null() {
        Scene::Empty
    } else if vector["kind"] == "store" && vector["store"].is_null() {
        Scene::Destroyed
    } else if vector["set_cookie"].is_array() {
        Scene::OnlyRead
    } else {
        Scene::OlderKey
    }
}

/// The scenarios of a scene; again, there are some.
fn scenarios(kind: &str, wanted: Scene) -> Vec<(Vector, Vector)> {
    let mut found = vectors(kind, Class::Scenario);
    found.retain(|(vector, _)| scene(vector) == wanted);
    assert!(!found.is_empty(), "the file has no {kind} of the scene {wanted:?}");
    found
}

/// What Express wrote under the same settings, with entries, that has the same member.
fn written_alike(vector: &Vector, member: &str) -> Vector {
    let is_alike = |other: &Vector| {
        let has_entries = !other["session"].as_object().unwrap().is_empty();
        has_entries && other["config"] == vector["config"] && other[member] == vector[member]
    };
    let written = vectors("store", Class::RoundTrip).into_iter().map(|(other, _)| other).find(is_alike);
    written.unwrap_or_else(|| panic!("the file has no written session with the {member} of {}", vector["id"]))
}

fn keyring(keys: &Vector) -> Keyring {
    let mut keys = keys.as_array().expect("keys").iter().map(|key| Secret::new(key.as_str().unwrap()).unwrap());
    let keyring = Keyring::new(keys.next().unwrap_or_else(|| Secret::dangerously_weak("of no use")));
    keys.fold(keyring, Keyring::fallback)
}

fn cookie_session(config: &Vector, keyring: &Keyring) -> CookieSession {
    let dialect = CookieSession::new(keyring).digest(match config["digest"].as_str().unwrap() {
        "sha1" => Digest::Sha1,
        "sha256" => Digest::Sha256,
        other => panic!("{other}"),
    });
    if config["signed"] == false { dialect.dangerously_unsigned() } else { dialect }
}

fn express_session(config: &Vector, keyring: &Keyring) -> ExpressSession {
    ExpressSession::new(keyring).prefix(config["prefix"].as_str().unwrap())
}

/// The layer's settings for a framework's.
fn with_options(mut layer: SessionLayer, config: &Vector, options: &Vector, now: Timestamp) -> SessionLayer {
    layer = layer.clock(Clock::at(now)).cookie_name(config["cookie_name"].as_str().unwrap());
    for (name, option) in options.as_object().into_iter().flatten() {
        layer = match (name.as_str(), option) {
            ("maxAge", ms) => layer.lifetime(Lifetime::persistent().idle(Duration::from_millis(ms.as_u64().unwrap()))),
            ("sameSite", option) if option == "lax" => layer.same_site(SameSite::Lax),
            ("path", path) => layer.path(path.as_str().unwrap()),
            ("domain", domain) => layer.domain(domain.as_str().unwrap()),
            ("httpOnly", Vector::Bool(false)) => layer.dangerously_allow_scripts(),
            (name, option) => panic!("{name}: {option}"),
        };
    }
    layer
}

fn cookie_manager(config: &Vector, now: Timestamp) -> SessionManager {
    let settings = config.clone();
    let layer = SessionLayer::new(keyring(&config["keys"])).unwrap();
    let layer = layer.dialect(move |keyring| cookie_session(&settings, keyring));
    with_options(layer, config, &config["options"], now).manager().unwrap()
}

fn store_manager(config: &Vector, sid: &str, store: &MemoryStore, now: Timestamp) -> SessionManager {
    let (settings, sid) = (config.clone(), sid.to_owned());
    let layer = SessionLayer::new(keyring(&config["secrets"])).unwrap().store(store.clone());
    let mut layer = layer.dialect(move |keyring| WithId(express_session(&settings, keyring), sid.clone()));
    if let Some(ttl) = config["store_ttl"].as_u64() {
        layer = layer.lifetime(Lifetime::browser().idle(Duration::from_secs(ttl)));
    }
    with_options(layer, config, &config["cookie"], now).manager().unwrap()
}

/// express-session, whose random source gives the bytes that Express drew.
struct WithId(ExpressSession, String);

impl Dialect for WithId {
    fn profile(&self) -> &Profile {
        self.0.profile()
    }
    fn read(&self, jar: &Jar<'_>, limits: &Limits, steps: &mut Steps<'_>) -> Result<Token, Refusal> {
        self.0.read(jar, limits, steps)
    }
    fn write(
        &self,
        body: Body<'_>,
        cookie: &str,
        now: Timestamp,
        random: Random<'_>,
    ) -> Result<Vec<SetValue>, dewar::Error> {
        self.0.write(body, cookie, now, random)
    }
    fn new_id(&self, _: Random<'_>) -> SessionId {
        let drawn = base64::decode_url(self.1.as_bytes()).expect("a drawn id");
        self.0.new_id(&mut |bytes| bytes.copy_from_slice(&drawn))
    }
    fn meaning(&self) -> Arc<dyn Meaning> {
        self.0.meaning()
    }
    fn layout(&self) -> Option<Arc<dyn Layout>> {
        self.0.layout()
    }
}

fn at(vector: &Vector, when: &str) -> Timestamp {
    let time = &vector["time"];
    Timestamp::from_secs(time.get(when).unwrap_or(&time["written"]).as_u64().unwrap())
}

fn headers(vector: &Vector) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(cookie) = vector["request_cookie"].as_str() {
        headers.insert(header::COOKIE, HeaderValue::from_str(cookie).unwrap());
    }
    headers
}

/// `Set-Cookie` as the framework sent it.
fn raws(cookies: &Vector) -> Vec<&str> {
    cookies.as_array().expect("cookies").iter().map(|cookie| cookie["raw"].as_str().unwrap()).collect()
}

fn sent(response: &HeaderMap) -> Vec<&str> {
    response.get_all(header::SET_COOKIE).iter().map(|cookie| cookie.to_str().unwrap()).collect()
}

fn entries(session: &Session) -> Value {
    Value::Map(session.iter().map(|(name, value)| (Value::Text(name), value)).collect())
}

fn assert_holds(session: &Session, vector: &Vector) {
    let (found, expected) = (entries(session), value(&vector["session"]));
    assert_eq!(session.len(), session.iter().count(), "{}: every entry can be read", vector["id"]);
    assert!(same(&found, &expected), "{}:\n{found:?}\n{expected:?}", vector["id"]);
}

/// The value with `null` for what JavaScript's JSON cannot hold.
fn as_stringified(value: &Value) -> Value {
    match value {
        Value::Float(float) if !float.is_finite() => Value::Null,
        Value::List(items) => Value::List(items.iter().map(as_stringified).collect()),
        Value::Map(members) => {
            Value::Map(members.iter().map(|(name, value)| (name.clone(), as_stringified(value))).collect())
        }
        other => other.clone(),
    }
}

/// A session of these entries, committed as a new visitor's.
async fn written(manager: &SessionManager, vector: &Vector) -> HeaderMap {
    let entries = vector.get("session_written").filter(|written| !written.to_string().contains("jsdate"));
    let Value::Map(entries) = value(entries.unwrap_or(&vector["session"])) else { panic!("a map") };
    let session = manager.open(&HeaderMap::new()).await.unwrap();
    for (name, value) in entries {
        let name = name.as_str().unwrap();
        let finite = as_stringified(&value);
        if finite != value {
            // JSON.stringify makes it null without a word; we refuse it by name.
            let session = manager.open(&HeaderMap::new()).await.unwrap();
            session.insert(name, value);
            let error = manager.commit(&session).await.apply(&mut HeaderMap::new()).unwrap_err();
            assert!(error.is_entry() && error.to_string().contains(name), "{}: {error}", vector["id"]);
        }
        session.insert(name, finite);
    }
    let mut response = HeaderMap::new();
    manager.commit(&session).await.apply(&mut response).unwrap_or_else(|error| panic!("{}: {error}", vector["id"]));
    response
}

/// What the response to a request that only reads the session says.
async fn read_only(manager: &SessionManager, vector: &Vector) -> (Session, HeaderMap) {
    let session = manager.open(&headers(vector)).await.unwrap();
    let mut response = HeaderMap::new();
    manager.commit(&session).await.apply(&mut response).unwrap();
    (session, response)
}

/// What the dialect says to the request's cookies.
fn token(dialect: &dyn Dialect, vector: &Vector, config: &Vector) -> Result<Token, Refusal> {
    let (name, request) = (config["cookie_name"].as_str().unwrap(), vector["request_cookie"].as_str().unwrap());
    let values: Vec<_> = ["", ".sig"]
        .into_iter()
        .filter_map(|suffix| {
            let name = format!("{name}{suffix}=");
            Some((suffix, request.split("; ").find_map(|pair| pair.strip_prefix(name.as_str()))?))
        })
        .collect();
    let limits = Limits::new(at(vector, "read"), 86_400);
    dialect.read(&Jar::of(name, &values), &limits, &mut Steps::off())
}

fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::BadSignature => "bad_signature",
        Refusal::Malformed => "malformed",
        other => panic!("{other}"),
    }
}

/// What is under the vector's key in the store.
fn stored(vector: &Vector) -> (StoreKey, Bytes) {
    let record = &vector["store"];
    (StoreKey::foreign(record["key"].as_str().unwrap()), hex(record["value_hex"].as_str().unwrap()).into())
}

fn record(data: Bytes, now: Timestamp, left: Duration) -> Record {
    Record {
        data,
        created: now,
        idle_seconds: 86_400,
        idle_expires: now.after(left),
        absolute_expires: None,
        persistent: false,
        principal: None,
        label: None,
        lineage: 0,
        epoch: None,
        guarded_until: None,
        extra: Bytes::new(),
    }
}

/// A store with the vector's record in it, if it has one.
async fn store_of(vector: &Vector, left: Duration) -> MemoryStore {
    let store = MemoryStore::new();
    if !vector["store"].is_null() {
        let (key, data) = stored(vector);
        let now = at(vector, "read");
        store.create(&key, dewar::store::Version::from_bits(1), record(data, now, left), None, now).await.unwrap();
    }
    store
}

async fn found(store: &MemoryStore, key: &StoreKey, now: Timestamp) -> (Record, Version) {
    match store.load(key, now).await.unwrap() {
        Load::Found(record, version) => (record, version),
        other => panic!("{key}: {other:?}"),
    }
}

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn no_vector_is_left_out() {
    use Class::{Invalid, Lenient, RoundTrip, Scenario};
    let file = file();
    crate::support::assert_counted(&file, &["cookie", "set_cookie", "store", "message"]);
    let run: usize = [
        ("cookie", &[RoundTrip, Scenario, Invalid, Lenient][..]),
        ("store", &[RoundTrip, Scenario, Invalid, Lenient]),
        ("set_cookie", &[Scenario]),
        ("message", &[RoundTrip, Invalid]),
    ]
    .into_iter()
    .flat_map(|(kind, classes)| classes.iter().map(move |class| vectors(kind, *class).len()))
    .sum();
    assert_eq!(file["vectors"].as_array().unwrap().len(), run);
    let cookies: usize = [Scene::Empty, Scene::OlderKey].into_iter().map(|it| scenarios("cookie", it).len()).sum();
    let stored = [Scene::Empty, Scene::Destroyed, Scene::OnlyRead, Scene::OlderKey];
    let stored: usize = stored.into_iter().map(|it| scenarios("store", it).len()).sum();
    assert_eq!(vectors("cookie", Scenario).len(), cookies);
    assert_eq!(vectors("store", Scenario).len(), stored);
}

#[tokio::test]
async fn what_cookie_session_writes_is_read_and_written_byte_for_byte() {
    for (vector, config) in vectors("cookie", Class::RoundTrip) {
        let (session, response) = read_only(&cookie_manager(&config, at(&vector, "read")), &vector).await;
        assert_holds(&session, &vector);
        assert!(sent(&response).is_empty(), "{}: reading sets no cookie", vector["id"]);
        let response = written(&cookie_manager(&config, at(&vector, "written")), &vector).await;
        assert_eq!(sent(&response), raws(&vector["set_cookie"]), "{}", vector["id"]);
    }
}

#[tokio::test]
async fn a_new_session_without_entries_writes_nothing() {
    for (vector, config) in scenarios("cookie", Scene::Empty) {
        let response = written(&cookie_manager(&config, at(&vector, "written")), &vector).await;
        assert!(sent(&response).is_empty());
    }
    for (vector, config) in scenarios("store", Scene::Empty) {
        let store = MemoryStore::new();
        let response = written(&store_manager(&config, "unused", &store, at(&vector, "written")), &vector).await;
        assert!(sent(&response).is_empty());
        assert_eq!(store.stats().entries, 0);
    }
}

#[tokio::test]
async fn a_cookie_session_signed_with_the_previous_key_is_signed_again() {
    for (vector, config) in scenarios("cookie", Scene::OlderKey) {
        let (session, response) = read_only(&cookie_manager(&config, at(&vector, "read")), &vector).await;
        assert_holds(&session, &vector);
        // Express sets the second cookie alone; here both are set, the first as it was.
        let [first, second] = sent(&response)[..] else { panic!("two cookies") };
        let was = vector["request_cookie"].as_str().unwrap().split(';').next().unwrap();
        assert_eq!(first, format!("{was}; path=/; httponly"));
        assert_eq!([second], raws(&vector["set_cookie_on_read"])[..]);
    }
}

#[tokio::test]
async fn clearing_removes_both_cookies_as_setting_null_does() {
    for (vector, config) in vectors("set_cookie", Class::Scenario) {
        let manager = cookie_manager(&config, at(&vector, "written"));
        let session = manager.open(&headers(&vector)).await.unwrap();
        assert!(!session.is_empty());
        session.clear();
        let mut response = HeaderMap::new();
        manager.commit(&session).await.apply(&mut response).unwrap();
        assert_eq!(sent(&response), raws(&vector["set_cookie"]));
    }
}

#[tokio::test]
async fn what_cookie_session_refuses_is_refused() {
    for (vector, config) in vectors("cookie", Class::Invalid) {
        let refusal = token(&cookie_session(&config, &keyring(&config["keys"])), &vector, &config).unwrap_err();
        let expected = match vector["expect"]["reason"].as_str().unwrap() {
            "bad_payload" => "malformed",
            reason => reason,
        };
        assert_eq!(reason(refusal), expected, "{}", vector["id"]);
        let (session, response) = read_only(&cookie_manager(&config, at(&vector, "read")), &vector).await;
        assert!(session.is_empty());
        assert!(sent(&response).is_empty(), "{}: garbage sets no cookie", vector["id"]);
    }
}

#[tokio::test]
async fn what_cookie_session_never_writes_is_refused_or_read_as_it_reads_it() {
    for (vector, config) in vectors("cookie", Class::Lenient) {
        let id = &vector["id"];
        let name = format!("{}=", config["cookie_name"].as_str().unwrap());
        let mut pairs = vector["request_cookie"].as_str().unwrap().split("; ");
        let refused = refused(pairs.find_map(|pair| pair.strip_prefix(name.as_str())).unwrap());
        let token = token(&cookie_session(&config, &keyring(&config["keys"])), &vector, &config);
        assert_eq!(token.err().map(reason), refused, "{id}");
        if refused.is_none() {
            let (session, _) = read_only(&cookie_manager(&config, at(&vector, "read")), &vector).await;
            assert_holds(&session, &vector);
        }
    }
}

/// Why we refuse a cookie that cookie-session takes.
fn refused(value: &str) -> Option<&'static str> {
    // Quotes are a part of the value here, and of what is signed.
    if value.starts_with('"') {
        return Some("bad_signature");
    }
    let json = base64::decode_standard(value.as_bytes());
    let is_object = |json: Vec<u8>| String::from_utf8(json).is_ok_and(|json| json.trim_start().starts_with('{'));
    if json.is_some_and(is_object) { None } else { Some("malformed") }
}

#[tokio::test]
async fn what_express_session_writes_is_read_and_written_byte_for_byte() {
    for (vector, config) in vectors("store", Class::RoundTrip) {
        let id = &vector["id"];
        let (key, data) = stored(&vector);
        let dialect = express_session(&config, &keyring(&config["secrets"]));
        let now = at(&vector, "written");

        // Through the dialect: an id is its cookie, and a record that nobody changes keeps every byte.
        let Ok(Token::Id { id: read, outdated: false }) = token(&dialect, &vector, &config) else { panic!("{id}") };
        let name = dialect.layout().unwrap().name(read.reveal());
        assert_eq!((read.reveal(), StoreKey::foreign(name)), (vector["sid"].as_str().unwrap(), key.clone()), "{id}");
        let cookie = dialect.write(Body::Id(&read), "", now, &mut |_| ()).unwrap();
        assert_eq!(cookie, [SetValue::new("", vector["set_cookie"][0]["value"].as_str().unwrap().into())], "{id}");
        let layout = dialect.layout().unwrap();
        let record = Stored::Blob(data.clone());
        let Kept { data: entries, extra, lifetime, .. } = layout.read(&record, &mut Steps::off()).unwrap();
        let idle = Duration::from_secs(vector["store"]["ttl_seconds"].as_u64().unwrap());
        let persistent = config["cookie"]["maxAge"].is_u64();
        let expected = if persistent { Lifetime::persistent().idle(idle) } else { Lifetime::browser() };
        assert_eq!(lifetime, Some(expected), "{id}: the TTL that Redis had");
        let mut contents = Contents::new(now, idle.as_secs() as u32, None, persistent);
        (contents.data, contents.extra) = (entries, extra);
        assert_eq!(layout.write(&contents, &dialect.profile().cookie).unwrap(), record, "{id}");

        // Through the manager, but for attributes that browsers throw away (Partitioned without Secure) or that it has not (Priority).
        if !config["cookie"]["priority"].is_null() {
            continue;
        }
        let manager = store_manager(&config, read.reveal(), &store_of(&vector, DAY).await, at(&vector, "read"));
        assert_holds(&read_only(&manager, &vector).await.0, &vector);
        if vector["session"].as_object().unwrap().is_empty() {
            continue; // Only saveUninitialized stores a session without entries.
        }
        let store = MemoryStore::new();
        let response = written(&store_manager(&config, read.reveal(), &store, now), &vector).await;
        assert_eq!(sent(&response), raws(&vector["set_cookie"]), "{id}");
        let (record, _) = found(&store, &key, now).await;
        assert_eq!(record.data, data, "{id}");
        assert_eq!(record.expires().since(now), idle, "{id}");
    }
}

#[tokio::test]
async fn reading_moves_the_expiry_and_changes_no_byte() {
    for (vector, config) in scenarios("store", Scene::OnlyRead) {
        let store = store_of(&vector, Duration::from_secs(50)).await;
        let (key, data) = stored(&vector);
        let now = at(&vector, "read");
        let before = found(&store, &key, now).await.1;
        let (session, response) = read_only(&store_manager(&config, "unused", &store, now), &vector).await;
        assert_holds(&session, &vector);
        assert_eq!(sent(&response), raws(&vector["set_cookie"]));
        let (record, after) = found(&store, &key, now).await;
        assert_eq!((record.data.clone(), after), (data, before));
        assert_eq!(record.expires().since(now).as_secs(), vector["store"]["ttl_seconds"].as_u64().unwrap());
    }
}

#[tokio::test]
async fn clearing_deletes_the_record_and_removes_the_cookie_that_destroy_leaves() {
    for (vector, config) in scenarios("store", Scene::Destroyed) {
        let login = written_alike(&vector, "request_cookie");
        let now = at(&vector, "read");
        let store = store_of(&login, DAY).await;
        let manager = store_manager(&config, "unused", &store, now);
        let session = manager.open(&headers(&vector)).await.unwrap();
        assert!(!session.is_empty());
        session.clear();
        let mut response = HeaderMap::new();
        manager.commit(&session).await.apply(&mut response).unwrap();
        assert!(matches!(store.load(&stored(&login).0, now).await.unwrap(), Load::Gone(_)));
        let name = config["cookie_name"].as_str().unwrap();
        let removal = format!("{name}=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly");
        assert_eq!(sent(&response), [removal]);
    }
}

#[tokio::test]
async fn an_id_signed_with_the_second_secret_is_accepted_and_signed_again() {
    for (vector, config) in scenarios("store", Scene::OlderKey) {
        let store = store_of(&vector, DAY).await;
        let (session, response) =
            read_only(&store_manager(&config, "unused", &store, at(&vector, "read")), &vector).await;
        assert_holds(&session, &vector);
        let first = written_alike(&vector, "store");
        assert_eq!(sent(&response), raws(&first["set_cookie"]));
    }
}

#[tokio::test]
async fn what_express_session_refuses_is_refused() {
    for (vector, config) in vectors("store", Class::Invalid) {
        let id = &vector["id"];
        let dialect = express_session(&config, &keyring(&config["secrets"]));
        let read = token(&dialect, &vector, &config);
        let found = match read {
            Err(refusal) => reason(refusal),
            Ok(Token::Data { .. }) => panic!("{id}"),
            Ok(Token::Id { .. }) if vector["store"].is_null() => "missing",
            Ok(Token::Id { id, .. })
                if StoreKey::foreign(dialect.layout().unwrap().name(id.reveal())) != stored(&vector).0 =>
            {
                "missing"
            }
            Ok(Token::Id { .. }) => {
                let layout = dialect.layout().unwrap();
                layout.read(&Stored::Blob(stored(&vector).1), &mut Steps::off()).map_or("bad_payload", |_| "read")
            }
        };
        assert_eq!(found, vector["expect"]["reason"], "{id}");

        let store = store_of(&vector, DAY).await;
        let before = store.stats();
        let drawn = "VRWmhu34wobe-Pjkill4H0qUqO9GQcgm";
        let manager = store_manager(&config, drawn, &store, at(&vector, "read"));
        let (session, response) = read_only(&manager, &vector).await;
        assert!(session.is_empty() && sent(&response).is_empty(), "{id}");
        assert_eq!(store.stats(), before, "{id}: the record is left alone");

        // The first write begins a session of its own: the offered id is not adopted.
        let session = manager.open(&headers(&vector)).await.unwrap();
        session.insert("a", 1);
        let mut response = HeaderMap::new();
        manager.commit(&session).await.apply(&mut response).unwrap();
        let name = config["cookie_name"].as_str().unwrap();
        assert!(sent(&response)[0].starts_with(&format!("{name}=s%3A{drawn}.")), "{id}");
    }
}

#[tokio::test]
async fn what_express_session_reads_and_never_writes_is_read() {
    for (vector, config) in vectors("store", Class::Lenient) {
        let store = store_of(&vector, DAY).await;
        let (session, response) =
            read_only(&store_manager(&config, "unused", &store, at(&vector, "read")), &vector).await;
        assert_holds(&session, &vector);
        assert!(sent(&response).is_empty(), "{}", vector["id"]);
    }
}

#[test]
fn signed_messages_are_read_and_written_byte_for_byte() {
    for (vector, config) in vectors("message", Class::RoundTrip) {
        let id = &vector["id"];
        let signer = signer(&config);
        let message = vector["message"].as_str().unwrap();
        let Some(plaintext) = vector["plaintext_hex"].as_str() else {
            // cookie-parser: text, or JSON behind "j:"; signed behind "s:"; percent-encoded.
            let text = match &vector["session"] {
                Vector::String(text) => text.clone(),
                json => format!("j:{}", String::from_utf8(JSON.write(&value(json)).unwrap()).unwrap()),
            };
            let cookie = vector["set_cookie"][0]["value"].as_str().unwrap();
            let written = if message.starts_with("s:") { format!("s:{}", signer.sign(&text)) } else { text.clone() };
            assert_eq!(written, message, "{id}");
            assert_eq!(percent_encode(message), cookie, "{id}");
            assert_eq!(percent_decode(cookie), Some(Cow::Borrowed(message)), "{id}");
            if let Some(signed) = message.strip_prefix("s:") {
                assert_eq!(signer.unsign(signed), Some((text.as_str(), 0)), "{id}");
            }
            continue;
        };
        let plaintext = String::from_utf8(hex(plaintext)).unwrap();
        assert_eq!(signer.sign(&plaintext), message, "{id}");
        assert_eq!(signer.unsign(message), Some((plaintext.as_str(), 0)), "{id}");
    }
}

#[test]
fn a_message_with_a_bad_signature_is_refused() {
    for (vector, config) in vectors("message", Class::Invalid) {
        let signed = vector["message"].as_str().unwrap().strip_prefix("s:").unwrap();
        assert_eq!(signer(&config).unsign(signed), None);
    }
}

fn signer(config: &Vector) -> CookieSigner {
    let secrets = match config["secret"].as_str() {
        Some(secret) => vec![secret.as_bytes()],
        None => {
            config["secrets"].as_array().unwrap().iter().map(|secret| secret.as_str().unwrap().as_bytes()).collect()
        }
    };
    CookieSigner::new(&secrets).unwrap()
}
