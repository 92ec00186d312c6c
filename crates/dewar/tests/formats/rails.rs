//! Rails: the messages and keys that its vectors have beside sessions, and what holds beyond them.

use std::time::Duration;

use dewar::{
    Clock, Keyring, Lifetime, Secret, Session, SessionLayer, SessionManager, Value,
    dialect::{
        self, Dialect, Digest, Encryption, Jar, Limits, Rails, Refusal, Report, Steps, Timestamp, Token,
        wire::rails::{Encryptor, Message, OlderEncryptor, Verifier, derive_key},
    },
    encoding::{self, Encoding},
    testing::Visitor,
};
use http::{HeaderMap, HeaderValue, header};
use serde_json::Value as Json;

use crate::support::{self, typed};

const JSON: Encoding = Encoding::Json(encoding::Json::RAILS);
const SECRET: &str = "3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f";
const OLD: &str = "a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7";
const COOKIE: &str = "_app_session";
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn keyring(secrets: &[&str]) -> Keyring {
    let mut secrets = secrets.iter().map(|secret| Secret::new(secret).unwrap());
    let first = secrets.next().unwrap();
    secrets.fold(Keyring::new(first), Keyring::fallback)
}

fn layer(secrets: &[&str], make: impl Fn(Rails) -> Rails + Send + Sync + 'static) -> SessionLayer {
    let layer = SessionLayer::new(keyring(secrets)).unwrap().dialect(move |keys: &Keyring| make(Rails::new(keys)));
    layer.cookie_name(COOKIE).clock(Clock::at(NOW))
}

fn manager(make: impl Fn(Rails) -> Rails + Send + Sync + 'static) -> SessionManager {
    layer(&[SECRET], make).manager().unwrap()
}

fn key<const N: usize>(salt: &str, digest: Digest) -> [u8; N] {
    let mut key = [0; N];
    derive_key(SECRET.as_bytes(), salt, digest, &mut key);
    key
}

/// A cookie's value as Rails makes it of this text.
fn sealed(text: &[u8]) -> String {
    let encryptor = Encryptor::new(&key("authenticated encrypted cookie", Digest::Sha256));
    encryptor.seal(text.to_vec(), [7; 12]).unwrap().replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

fn around(json: &str) -> Vec<u8> {
    Message::wrap(json.as_bytes(), None, "cookie._app_session")
}

fn read(rails: &Rails, name: &str, value: &str) -> Result<Token, Refusal> {
    let values = [("", value)];
    let jar = Jar::of(name, &values);
    let token = rails.read(&jar, &Limits::new(NOW, 86_400), &mut Steps::off());
    let explained = Report::of(rails, &jar, &Limits::new(NOW, 86_400));
    assert_eq!(token.as_ref().err(), explained.verdict.as_ref().err(), "{explained}");
    token
}

fn refusal(value: &str) -> Refusal {
    read(&Rails::new(&keyring(&[SECRET])), COOKIE, value).unwrap_err()
}

/// The JSON in a visitor's cookie.
fn json(visitor: &Visitor) -> String {
    let cookie = visitor.cookie().to_str().unwrap().to_owned();
    let value = cookie.split_once('=').unwrap().1.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
    let encryptor = Encryptor::new(&key("authenticated encrypted cookie", Digest::Sha256));
    let text = encryptor.open(&value).unwrap();
    String::from_utf8(Message::read(&text).unwrap().body.into_owned()).unwrap()
}

/// One request with this cookie: the `Set-Cookie` headers of its response.
async fn request(manager: &SessionManager, cookie: &str, handle: impl FnOnce(&Session)) -> Vec<String> {
    let mut request = HeaderMap::new();
    request.insert(header::COOKIE, HeaderValue::from_str(cookie).unwrap());
    let session = manager.open(&request).await.unwrap();
    handle(&session);
    let mut response = HeaderMap::new();
    manager.commit(&session).await.apply(&mut response).unwrap();
    response.get_all(header::SET_COOKIE).iter().map(|cookie| cookie.to_str().unwrap().to_owned()).collect()
}

async fn visit(manager: &SessionManager, visitor: &mut Visitor, handle: impl FnOnce(&Session)) {
    let cookie = visitor.cookie().to_str().unwrap().to_owned();
    for set in request(manager, &cookie, handle).await {
        visitor.receive_cookie(set.as_bytes());
    }
}

/// A visitor who has the cookie that Rails makes of this session.
fn of_rails(manager: &SessionManager, json: &str) -> Visitor {
    let mut visitor = Visitor::new(manager);
    visitor.receive_cookie(format!("{COOKIE}={}; path=/", sealed(&around(json))).as_bytes());
    visitor
}

fn digest_named(name: &str) -> Digest {
    match name {
        "SHA1" => Digest::Sha1,
        "SHA256" => Digest::Sha256,
        other => panic!("{other}"),
    }
}

#[test]
fn every_key_of_rails_is_derived_and_every_message_read_written_and_refused_as_rails_does() {
    let file = support::vectors("rails.json");
    support::assert_counted(&file, &["cookie", "message", "derive", "encode-error", "set_cookie"]);
    let (mut derived, mut read, mut refused) = (0, 0, 0);
    for vector in file["vectors"].as_array().unwrap() {
        let id = vector["id"].as_str().unwrap();
        let config = &file["configs"][vector["config"].as_str().unwrap_or_default()];
        let secret = config["secret_key_base"].as_str().unwrap_or_default();
        let kdf = digest_named(config["kdf"]["algorithm"].as_str().map_or("", |name| &name["PBKDF2-HMAC-".len()..]));
        match (vector["kind"].as_str().unwrap(), vector["intermediate"]["salt"].as_str()) {
            ("derive", Some(salt)) => {
                let expected = typed::hex(vector["intermediate"]["key_hex"].as_str().unwrap());
                let mut key = vec![0; expected.len()];
                derive_key(secret.as_bytes(), salt, kdf, &mut key);
                assert_eq!(key, expected, "{id}");
                derived += 1;
            }
            ("message", _) => {
                let outcome = message(vector, config, secret, kdf);
                match vector["expect"]["outcome"] == "valid" {
                    true => read += 1,
                    false => {
                        assert!(outcome.is_err(), "{id}");
                        refused += 1;
                        continue;
                    }
                }
                outcome.unwrap_or_else(|refusal| panic!("{id}: {refusal}"));
            }
            _ => {}
        }
    }
    assert!(derived > 0 && read > 0 && refused > 0, "{derived}, {read}, {refused}");
}

/// Reads one message, and compares what is written of it.
fn message(vector: &Json, config: &Json, secret: &str, kdf: Digest) -> Result<(), Refusal> {
    let (id, sealed) = (&vector["id"], vector["message"].as_str().unwrap());
    let now = Timestamp::from_millis((vector["time"]["read"].as_f64().unwrap() * 1000.0) as u64);
    let mut keys = ([0; 32], [0; 64]);
    derive_key(secret.as_bytes(), "authenticated encrypted cookie", kdf, &mut keys.0);
    derive_key(secret.as_bytes(), "signed cookie", kdf, &mut keys.1);
    let encryptor = Encryptor::new(&keys.0);
    let verifier = Verifier::new(&keys.1, digest_named(config["signed_cookie_digest"].as_str().unwrap()));
    let iv = vector["intermediate"]["iv_hex"].as_str().map(typed::hex);
    let text = if iv.is_some() { encryptor.open(sealed)? } else { verifier.verify(sealed)? };
    let message = Message::read(&text)?;
    message.check("cookie.pref", now)?;
    if vector["expect"]["outcome"] != "valid" {
        return Ok(());
    }
    let found: Value = JSON.read(&message.body).unwrap();
    assert!(typed::same(&found, &typed::value(&vector["session"])), "{id}");
    assert_eq!(JSON.write(&found).unwrap(), *message.body, "{id}");
    let again = Message::wrap(&message.body, message.expires, "cookie.pref");
    assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(&text), "{id}");
    let again = match iv {
        Some(iv) => encryptor.seal(again, iv.try_into().unwrap()).unwrap(),
        None => verifier.sign(&again),
    };
    assert_eq!(again, sealed, "{id}");
    Ok(())
}

#[tokio::test]
async fn a_new_session_has_an_id_of_rails_before_all_else() {
    let visitor = Visitor::prepared(&manager(|rails| rails), |session| session.insert("a", 1)).await.unwrap();
    let json = json(&visitor);
    let id = json.strip_prefix("{\"session_id\":\"").and_then(|rest| rest.strip_suffix("\",\"a\":1}")).unwrap();
    assert!(id.len() == 32 && id.bytes().all(|digit| b"0123456789abcdef".contains(&digit)), "{id}");
}

#[tokio::test]
async fn what_rails_keeps_survives_byte_for_byte() {
    let manager = manager(|rails| rails);
    let kept = r#""session_id":"0f","_csrf_token":"YUdo7HuwseU=","flash":{"discard":[],"flashes":{"notice":"\u003cb\u003e"}},"n":null,"f":1.50e2"#;
    let mut visitor = of_rails(&manager, &format!("{{{kept}}}"));
    visit(&manager, &mut visitor, |session| session.insert("a<", "<&>\u{2028}é")).await;
    assert_eq!(json(&visitor), format!(r#"{{{kept},"a\u003c":"\u003c\u0026\u003e\u2028é"}}"#));
}

#[tokio::test]
async fn a_renewal_changes_the_session_id_and_removes_the_token_as_reset_session_does() {
    let manager = manager(|rails| rails.principal_entry("user_id"));
    let acts: [fn(&Session); 2] = [Session::renew, |session| session.set_principal(42)];
    for act in acts {
        let mut visitor = of_rails(&manager, r#"{"session_id":"0f","_csrf_token":"abc","cart":[1]}"#);
        visit(&manager, &mut visitor, act).await;
        let session = visitor.session().await.unwrap();
        let id: String = session.get("session_id").unwrap();
        assert!(id.len() == 32, "{id}");
        assert!(!session.contains("_csrf_token"));
        assert_eq!(session.get("cart"), Some(vec![1]));
    }
}

#[tokio::test]
async fn the_user_is_in_an_entry_of_the_application_s_own() {
    let manager = manager(|rails| rails.principal_entry("user_id"));
    let mut visitor = of_rails(&manager, r#"{"session_id":"0f","user_id":42}"#);
    assert_eq!(visitor.session().await.unwrap().principal().as_deref(), Some("42"));
    // The number stays one.
    visit(&manager, &mut visitor, |session| session.set_principal("42")).await;
    assert!(json(&visitor).contains(r#""user_id":42"#), "{}", json(&visitor));
    for entry in ["", "session_id", "_csrf_token", "flash"] {
        let error = layer(&[SECRET], move |rails| rails.principal_entry(entry)).manager().unwrap_err();
        assert!(error.is_setting() && error.to_string().contains("principal_entry"), "{error}");
    }
}

#[tokio::test]
async fn messages_are_rails_flash() {
    let manager = manager(|rails| rails);
    let flash = r#"{"discard":["old"],"flashes":{"old":"shown","notice":"a","errors":["b","c"]}}"#;
    let mut visitor = of_rails(&manager, &format!(r#"{{"session_id":"0f","flash":{flash}}}"#));
    visit(&manager, &mut visitor, |session| session.flash_as("d", "notice")).await;
    let expected = r#""flash":{"discard":["old"],"flashes":{"old":"shown","notice":["a","d"],"errors":["b","c"]}}"#;
    assert!(json(&visitor).contains(expected), "{}", json(&visitor));
    visit(&manager, &mut visitor, |session| session.flash_as("again", "old")).await;
    let mut shown = Vec::new();
    visit(&manager, &mut visitor, |session| {
        shown = session.take_flashes().iter().map(|flash| format!("{} {}", flash.category, flash.text())).collect();
    })
    .await;
    assert_eq!(shown, ["notice a", "notice d", "errors b", "errors c", "old again"]);
    assert_eq!(json(&visitor), r#"{"session_id":"0f"}"#);
    visit(&manager, &mut visitor, |session| session.flash_as("e", "alert")).await;
    assert!(json(&visitor).contains(r#""flash":{"discard":[],"flashes":{"alert":"e"}}"#), "{}", json(&visitor));
}

#[tokio::test]
async fn messages_of_another_form_are_an_error_that_names_the_entry() {
    let manager = manager(|rails| rails);
    let mut visitor = of_rails(&manager, r#"{"session_id":"0f","flash":[1]}"#);
    let session = visitor.session().await.unwrap();
    session.flash_as("a", "notice");
    let error = session.commit().await.unwrap_err();
    assert!(error.is_entry() && error.to_string().contains("flash"), "{error}");
    visit(&manager, &mut visitor, |session| session.insert("a", 1)).await;
    assert!(json(&visitor).contains(r#""flash":[1]"#), "{}", json(&visitor));
}

#[test]
fn a_cookie_of_another_purpose_is_an_empty_session() {
    let rails = Rails::new(&keyring(&[SECRET]));
    let value = sealed(&around(r#"{"a":1}"#));
    assert!(read(&rails, COOKIE, &value).is_ok());
    assert_eq!(read(&rails, "_other_session", &value).unwrap_err(), Refusal::BadSignature);
    // Without a purpose it serves every one, as in Rails.
    assert!(read(&rails, "_other_session", &sealed(br#"{"a":1}"#)).is_ok());
}

#[test]
fn forged_cut_and_foreign_cookies_are_refused_and_never_a_panic() {
    let value = sealed(&around(r#"{"a":1}"#));
    let rails = Rails::new(&keyring(&[SECRET]));
    for at in 0..value.len() {
        assert!(read(&rails, COOKIE, &value[..at]).is_err(), "{at}");
        let mut other = value.clone().into_bytes();
        other[at] ^= 1;
        let Ok(other) = String::from_utf8(other) else { continue };
        assert!(read(&rails, COOKIE, &other).is_err(), "{other}");
    }
    for value in ["", "--", "----", "%", "%ff", "%2D%2D", "a--b--c", "é", "+", "==--==--=="] {
        assert!(matches!(refusal(value), Refusal::Malformed | Refusal::BadSignature), "{value}");
    }
    assert!(read(&Rails::new(&keyring(&[OLD])), COOKIE, &sealed(b"{}")).is_err());
    assert!(read(&Rails::new(&keyring(&[SECRET])).digest(Digest::Sha1), COOKIE, &value).is_err());
}

#[test]
fn what_is_sealed_well_and_is_no_session_is_refused() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
    for json in ["", "1", "[]", "\"a\"", "null", "{", "{\"a\":}", "{\"a\":NaN}", "{\"a\":1}x", &deep] {
        assert_eq!(refusal(&sealed(&around(json))), Refusal::Malformed, "{json:.40}");
    }
    for text in [
        &br#"{"_rails":{"message":"!","exp":null,"pur":null}}"#[..],
        br#"{"_rails":{"message":"e30=","exp":1,"pur":null}}"#,
        br#"{"_rails":{"message":"e30=","exp":"soon","pur":null}}"#,
        br#"{"_rails":{"message":"e30=","message":"e30="}}"#,
        br#"{"_rails":{"exp":null,"message":"e30="}}"#,
        br#"{ "_rails":{"message":"e30="}}"#,
        br#"{"_rails":{"data":"e30="}}"#,
    ] {
        assert_eq!(refusal(&sealed(text)), Refusal::Malformed, "{}", String::from_utf8_lossy(text));
    }
    let over = br#"{"_rails":{"message":"e30=","exp":"2023-11-14T22:13:20.000Z","pur":null}}"#;
    assert_eq!(refusal(&sealed(over)), Refusal::Expired);
}

#[test]
fn marshal_is_refused_with_what_to_set_in_rails() {
    let rails = Rails::new(&keyring(&[SECRET]));
    for (text, name) in [(&b"\x04\x08{\x06I\"\x06a\x06:\x06ETi\x06"[..], "Marshal"), (b"\xcc\x80\x81", "MessagePack")] {
        let value = sealed(&Message::wrap(text, None, "cookie._app_session"));
        let values = [("", &*value)];
        let report = Report::of(&rails, &Jar::of(COOKIE, &values), &Limits::new(NOW, 86_400));
        assert_eq!(report.verdict.as_ref().unwrap_err(), &Refusal::Malformed);
        let said = report.to_string();
        assert!(
            said.contains(name) && said.contains("cookies_serializer = :json") && said.contains(":hybrid"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn what_an_older_secret_digest_or_cipher_protects_is_read_and_written_again() {
    type Make = fn(Rails) -> Rails;
    let cases: [(&[&str], Make, &[&str], Make); 4] = [
        (&[OLD], |rails| rails, &[SECRET, OLD], |rails| rails),
        (&[SECRET], |rails| rails.digest(Digest::Sha1), &[SECRET], |rails| rails.former_digest(Digest::Sha1)),
        (&[SECRET], |rails| rails.encryption(Encryption::Cbc), &[SECRET], |rails| rails),
        (
            &[OLD],
            |rails| rails.digest(Digest::Sha1).encryption(Encryption::Cbc),
            &[SECRET, OLD],
            |rails| rails.former_digest(Digest::Sha1),
        ),
    ];
    for (secrets, make, then, now) in cases {
        let before = layer(secrets, make).manager().unwrap();
        let visitor = Visitor::prepared(&before, |session| session.insert("a", 1)).await.unwrap();
        let cookie = visitor.cookie().to_str().unwrap().to_owned();
        let after = layer(then, now).manager().unwrap();
        let set = request(&after, &cookie, |session| assert_eq!(session.get("a"), Some(1))).await;
        assert_eq!(set.len(), 1, "it is written again");
        let again = set[0].split(';').next().unwrap();
        let current = layer(&[SECRET], |rails| rails).manager().unwrap();
        let set = request(&current, again, |session| assert_eq!(session.get("a"), Some(1))).await;
        assert!(set.is_empty(), "{set:?}");
    }
}

#[tokio::test]
async fn a_signed_session_is_read_and_written_and_can_be_told_from_no_other() {
    let signed = |rails: Rails| rails.encryption(Encryption::None);
    let visitor = Visitor::prepared(&manager(signed), |session| session.insert("a", 1)).await.unwrap();
    assert_eq!(visitor.session().await.unwrap().get("a"), Some(1));
    let cookie = visitor.cookie().to_str().unwrap().to_owned();
    let value = cookie.split_once('=').unwrap().1;
    let unique = |rails: &Rails, value: &str| match read(rails, COOKIE, value) {
        Ok(Token::Data { unique, .. }) => unique,
        other => panic!("{other:?}"),
    };
    assert_eq!(unique(&signed(Rails::new(&keyring(&[SECRET]))), value), None);
    let rails = Rails::new(&keyring(&[SECRET]));
    let encrypted = unique(&rails, &sealed(&around("{}")));
    assert!(encrypted.is_some());
    let older =
        OlderEncryptor::new(&key("encrypted cookie", Digest::Sha256), &key("signed encrypted cookie", Digest::Sha256));
    let one = older.seal(&around("{}"), [1; 16]).replace('=', "%3D");
    let two = older.seal(&around("{}"), [2; 16]).replace('=', "%3D");
    assert_ne!(unique(&rails, &one), unique(&rails, &two));
    // Neither is taken for the other.
    assert!(read(&rails, COOKIE, value).is_err());
}

#[tokio::test]
async fn a_persistent_session_says_when_it_ends_and_ends_then() {
    let clock = Clock::at(NOW);
    let lifetime = Lifetime::persistent().idle(HOUR);
    for (rack, attributes) in [
        (2, "; path=/; expires=Tue, 14 Nov 2023 23:13:20 GMT; HttpOnly; SameSite=Lax"),
        (3, "; path=/; expires=Tue, 14 Nov 2023 23:13:20 GMT; httponly; samesite=lax"),
    ] {
        let manager = layer(&[SECRET], move |rails| rails.rack(rack)).lifetime(lifetime).clock(clock.clone());
        let manager = manager.manager().unwrap();
        let set = request(&manager, "a=b", |session| session.insert("a", 1)).await;
        assert!(set[0].ends_with(attributes), "{set:?}");
        let cookie = set[0].split(';').next().unwrap();
        // It is issued again while the visitor keeps coming.
        assert!(request(&manager, cookie, |_| ()).await.is_empty());
        clock.advance(HOUR / 2);
        assert_eq!(request(&manager, cookie, |_| ()).await.len(), 1);
        clock.advance(HOUR / 2);
        request(&manager, cookie, |session| assert!(session.is_empty())).await;
        clock.set(NOW);
    }
}

#[tokio::test]
async fn a_removal_is_spelled_as_rails_spells_it() {
    let manager = manager(|rails| rails);
    let visitor = of_rails(&manager, r#"{"a":1}"#);
    let set = request(&manager, visitor.cookie().to_str().unwrap(), Session::clear).await;
    assert_eq!(
        set,
        [format!("{COOKIE}=; path=/; max-age=0; expires=Thu, 01 Jan 1970 00:00:00 GMT; httponly; samesite=lax")]
    );
}

#[tokio::test]
async fn what_rails_cannot_say_is_refused_by_name() {
    let manager = manager(|rails| rails);
    let values: [fn(&Session); 3] = [
        |session| session.insert("odd", f64::NAN),
        |session| session.insert("odd", dewar::Value::Bytes(vec![1])),
        |session| session.insert("odd", dewar::Value::Surrogates(vec![0xd800])),
    ];
    for insert in values {
        let error = Visitor::prepared(&manager, insert).await.unwrap_err();
        assert!(error.is_entry() && error.to_string().contains("\"odd\""), "{error}");
    }
    let bare = layer(&[SECRET], |rails| rails.metadata(false)).manager().unwrap();
    let error = Visitor::prepared(&bare, |session| session.insert("_rails", 1)).await.unwrap_err();
    assert!(error.is_entry() && error.to_string().contains("_rails"), "{error}");
    let error = layer(&[SECRET], |rails| rails.rack(4)).manager().unwrap_err();
    assert!(error.is_setting() && error.to_string().contains("rack"), "{error}");
    let error = layer(&[SECRET], |rails| rails).lifetime(Lifetime::browser().idle(HOUR)).manager().unwrap_err();
    assert!(error.is_setting(), "{error}");
}

#[tokio::test]
async fn of_several_cookies_the_first_counts() {
    let manager = manager(|rails| rails);
    let [one, two] = [r#"{"a":1}"#, r#"{"a":2}"#].map(|json| sealed(&around(json)));
    let header = format!("{COOKIE}={one}; {COOKIE}={two}");
    request(&manager, &header, |session| assert_eq!(session.get("a"), Some(1))).await;
}

#[test]
fn every_setter_is_reached_by_its_name() {
    let rails = dialect::all().find(|known| known.name == "Rails").unwrap();
    let all = "encryption=cbc,digest=sha1,former_digest=sha256,metadata=false,rack=2,principal_entry=user_id,signed_digest=sha256";
    assert!(rails.with(all).is_ok());
    for wrong in ["encryption=rot13", "rack=two", "salt=a"] {
        assert!(rails.with(wrong).err().unwrap().is_setting(), "{wrong}");
    }
    let printed = format!("{:?}", Rails::new(&keyring(&[SECRET])));
    assert!(!printed.contains("3f3f"), "{printed}");
}
