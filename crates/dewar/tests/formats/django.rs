//! Django's signed cookies through the whole manager: as Django sets them, refused where Django refuses them, and what its log-in asks for.

use std::time::Duration;

use dewar::{
    Clock, Error, Keyring, Lifetime, Login, Reissue, SameSite, Secret, Session, SessionLayer, SessionManager, Value,
    dialect::{
        Dialect, Django, Flask, Jar, Limits, Refusal, Steps, Token,
        wire::itsdangerous::{Derivation, Digest, Signer},
    },
    store::{Timestamp, memory::MemoryStore},
    testing::Visitor,
};
use http::{HeaderMap, HeaderValue, header};
use serde_json::Value as Vector;

use crate::support::typed::{hex, same, value};

const SECRET: &str = "the secret of this spring 2";
const OLD: &str = "the secret of last winter 1";
const SALT: &str = "django.contrib.sessions.backends.signed_cookies";
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const HOUR: Duration = Duration::from_secs(3600);
const TWO_WEEKS: Duration = Duration::from_secs(14 * 86_400);
/// As a row of `auth_user` has it.
const PASSWORD: &str = "pbkdf2_sha256$1000000$mainsalt0123456789abcd$1aGk0P0i1cVb1o3v9m4Yk6q2ZrXwq8nT5sLhJdFgKpE=";

fn keyring(secrets: &[&str]) -> Keyring {
    let mut secrets = secrets.iter().map(|secret| Secret::new(secret).unwrap());
    let first = Keyring::new(secrets.next().unwrap());
    secrets.fold(first, Keyring::fallback)
}

fn layer() -> SessionLayer {
    SessionLayer::new(SECRET).unwrap().dialect(Django::new).clock(Clock::at(NOW))
}

fn manager() -> SessionManager {
    layer().manager().unwrap()
}

fn request(cookie: &str) -> HeaderMap {
    HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(cookie).unwrap())])
}

/// The `Set-Cookie` headers of a request whose handler did this.
async fn respond(manager: &SessionManager, cookie: &str, handle: impl FnOnce(&Session)) -> Result<Vec<String>, Error> {
    let session = manager.open(&request(cookie)).await?;
    handle(&session);
    let mut response = HeaderMap::new();
    manager.commit(&session).await.apply(&mut response)?;
    Ok(response.get_all(header::SET_COOKIE).iter().map(|cookie| cookie.to_str().unwrap().to_owned()).collect())
}

/// A visitor's only entry, as JSON.
async fn json(visitor: &Visitor) -> serde_json::Value {
    visitor.session().await.unwrap().iter().map(|(name, value)| (name, serde_json::to_value(value).unwrap())).collect()
}

/// A cookie with this payload, truly signed.
fn signed(payload: &str, issued: &str, salt: &str) -> String {
    let signer = Signer::new(&[SECRET.as_bytes()], salt.as_bytes(), Digest::Sha256, Derivation::DjangoConcat);
    let mut token = format!("{payload}:{issued}");
    signer.unwrap().separator(b':').unwrap().sign_into(&mut token);
    token
}

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    dewar::encoding::base64::push_url(bytes, &mut text);
    text
}

fn read(cookie: &str) -> Result<Token, Refusal> {
    let django = Django::new(&keyring(&[SECRET]));
    django.read(&Jar::of("sessionid", &[("", cookie)]), &Limits::new(NOW, 1_209_600), &mut Steps::off())
}

/// The manager that a config of the vectors describes.
fn configured(config: &Vector, now: &Vector) -> SessionManager {
    let older = config["fallbacks"].as_array().unwrap().iter();
    let secret = Secret::dangerously_weak(hex(config["secret_hex"].as_str().unwrap()));
    let keyring = older.fold(Keyring::new(secret), |keyring, older| {
        keyring.fallback(Secret::dangerously_weak(older.as_str().unwrap()))
    });
    let settings = &config["session_settings"];
    let closes = settings["SESSION_EXPIRE_AT_BROWSER_CLOSE"] == true;
    let age = Duration::from_secs(config["cookie_age_seconds"].as_u64().unwrap());
    let mut layer = SessionLayer::new(keyring)
        .unwrap()
        .dialect(move |keys: &Keyring| Django::new(keys).expire_at_browser_close(closes))
        .lifetime(Lifetime::browser().idle(age))
        .reissue(Reissue::OnWrite)
        .cookie_name(config["cookie_name"].as_str().unwrap())
        .clock(Clock::at(Timestamp::from_millis((now.as_f64().unwrap() * 1000.0) as u64)));
    if let Some(path) = settings["SESSION_COOKIE_PATH"].as_str() {
        layer = layer.path(path);
    }
    if let Some(domain) = settings["SESSION_COOKIE_DOMAIN"].as_str() {
        layer = layer.domain(domain);
    }
    if settings["SESSION_COOKIE_SECURE"] == true {
        layer = layer.secure(true);
    }
    if settings["SESSION_COOKIE_HTTPONLY"] == false {
        layer = layer.dangerously_allow_scripts();
    }
    layer = match settings["SESSION_COOKIE_SAMESITE"].as_str() {
        Some("Strict") => layer.same_site(SameSite::Strict),
        Some("None") => layer.same_site(SameSite::None),
        _ => layer,
    };
    layer.manager().unwrap()
}

#[tokio::test]
async fn every_cookie_of_django_opens_its_session_and_is_set_as_django_sets_it() {
    let file = crate::support::vectors("django.json");
    crate::support::assert_counted(&file, &["cookie", "set_cookie", "store", "message", "derive"]);
    let (mut read, mut refused, mut exact) = (0, 0, 0);
    for vector in file["vectors"].as_array().unwrap().iter().filter(|vector| vector["kind"] == "cookie") {
        let id = vector["id"].as_str().unwrap();
        let config = &file["configs"][vector["config"].as_str().unwrap()];
        let cookie = vector["request_cookie"].as_str().unwrap();
        let session = configured(config, &vector["time"]["read"]).open(&request(cookie)).await.unwrap();
        if vector["expect"]["outcome"] == "invalid" {
            assert!(session.is_empty(), "{id}");
            refused += 1;
            continue;
        }
        let expected = value(&vector["session"]);
        let Value::Map(entries) = &expected else { panic!("a session is a map") };
        if session.is_empty() && vector["expect"]["lenient"] == true {
            continue;
        }
        let found: Vec<_> = session.iter().map(|(name, value)| (Value::from(name), value)).collect();
        assert!(same(&Value::Map(found), &expected), "{id}");
        read += 1;
        let Some(theirs) = vector["set_cookie"][0]["raw"].as_str().filter(|raw| raw.len() < 4000) else { continue };
        if entries.is_empty() || vector["reencode"] == "none" {
            continue;
        }
        let manager = configured(config, &vector["time"]["written"]);
        let set = respond(&manager, "", |session| {
            entries.iter().for_each(|(name, value)| session.insert(name.as_str().unwrap(), value));
        });
        let ours = set.await.unwrap().remove(0);
        // Another deflate may find it shorter; `cargo xtask vectors` compares the texts.
        if vector["reencode"] == "exact" && !ours.contains("=.") {
            assert_eq!(ours, theirs, "{id}");
            exact += 1;
        }
        let attributes = |cookie: &str| cookie.split_once(';').unwrap().1.to_owned();
        assert_eq!(attributes(&ours), attributes(theirs), "{id}");
    }
    assert!(read > 0 && refused > 0 && exact > 0, "the file has cookies of each class");
}

#[tokio::test]
async fn a_log_in_says_what_django_checks() {
    let file = crate::support::vectors("django.json");
    let theirs = file["vectors"].as_array().unwrap().iter().find(|it| it["intermediate"]["auth_hash_salt"].is_string());
    let theirs = theirs.expect("the file has a log-in");
    let manager = configured(&file["configs"]["signed-cookies"], &theirs["time"]["written"]);
    let stored = theirs["intermediate"]["user_password_field"].as_str().unwrap();
    let id = theirs["session"]["_auth_user_id"].as_str().unwrap();
    let ada = Visitor::prepared(&manager, |session| session.set_principal(Login::new(id).password(stored)));
    let ada = ada.await.unwrap();
    assert_eq!(json(&ada).await, theirs["session"]);

    let session = ada.session().await.unwrap();
    assert_eq!(session.principal().as_deref(), Some(id));
    assert!(session.confirm_principal(Login::new(id).password(stored)));
    let hash = theirs["session"]["_auth_user_hash"].as_str().unwrap();
    assert!(session.confirm_principal(Login::new(id).auth_hash(hash)));
    assert!(!session.confirm_principal(Login::new(id).auth_hash(&hash[1..])));
}

#[tokio::test]
async fn a_log_in_without_what_django_checks_is_refused_by_name() {
    let manager = manager();
    let error = Visitor::prepared(&manager, |session| session.set_principal(7)).await.unwrap_err();
    assert!(error.is_setting() && error.to_string().contains("password(user.password)"), "{error}");

    // The same user again: what is there stays.
    let mut ada = Visitor::prepared(&manager, |session| {
        session.set_principal(Login::number(7).password(PASSWORD).backend("shop.Ldap"));
        session.insert("cart", 1);
    })
    .await
    .unwrap();
    let before = json(&ada).await;
    assert_eq!(before["_auth_user_id"], "7");
    assert_eq!(before["_auth_user_backend"], "shop.Ldap");
    ada.edit(|session| session.set_principal("7")).await.unwrap();
    assert_eq!(json(&ada).await, before);
    // Another user gets nothing of it.
    assert!(ada.edit(|session| session.set_principal("8")).await.is_err());
    ada.edit(|session| session.set_principal(Login::new("8").password(PASSWORD))).await.unwrap();
    let after = json(&ada).await;
    assert_eq!((&after["_auth_user_id"], after.get("cart")), (&"8".into(), None));
    assert_eq!(after["_auth_user_backend"], "django.contrib.auth.backends.ModelBackend");
}

#[tokio::test]
async fn a_changed_password_ends_the_session() {
    let manager = manager();
    let mut ada = Visitor::prepared(&manager, |session| {
        session.set_principal(Login::new("7").password(PASSWORD));
        session.insert("cart", 1);
    })
    .await
    .unwrap();
    assert!(ada.edit(|session| session.confirm_principal(Login::new("7").password(PASSWORD))).await.unwrap());
    assert_eq!(ada.session().await.unwrap().get("cart"), Some(1));
    // Until it is asked, the cookie is trusted.
    assert_eq!(ada.session().await.unwrap().principal().as_deref(), Some("7"));
    let changed = |session: &Session| session.confirm_principal(Login::new("7").password("pbkdf2_sha256$1$new$hash"));
    assert!(!ada.edit(changed).await.unwrap());
    assert!(ada.session().await.unwrap().is_empty());
    assert_eq!(ada.cookie(), "");
    // Of nobody the answer is no.
    assert!(!ada.edit(|session| session.confirm_principal(Login::new("7").password(PASSWORD))).await.unwrap());

    for change in [
        // Another user's row.
        (|session: &Session| session.confirm_principal(Login::new("8").password(PASSWORD))) as fn(&Session) -> bool,
        // Django ends a session without a hash, too.
        |session| {
            session.remove("_auth_user_hash");
            session.confirm_principal(Login::new("7").password(PASSWORD))
        },
        |session| {
            session.insert("_auth_user_hash", "");
            session.confirm_principal(Login::new("7").auth_hash(""))
        },
    ] {
        let mut ada = Visitor::prepared(&manager, |session| session.set_principal(Login::new("7").password(PASSWORD)))
            .await
            .unwrap();
        assert!(!ada.edit(change).await.unwrap());
        assert!(ada.session().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_log_in_that_an_older_secret_tied_is_tied_anew() {
    let before = SessionLayer::new(OLD).unwrap().dialect(Django::new).clock(Clock::at(NOW)).manager().unwrap();
    let ada =
        Visitor::prepared(&before, |session| session.set_principal(Login::new("7").password(PASSWORD))).await.unwrap();
    let old = json(&ada).await;
    let cookie = ada.cookie().to_str().unwrap().to_owned();

    let layer = SessionLayer::new(keyring(&[SECRET, OLD])).unwrap().dialect(Django::new).clock(Clock::at(NOW));
    let after = layer.manager().unwrap();
    let set = respond(&after, &cookie, |_| ()).await.unwrap();
    assert_eq!(set.len(), 1, "reading alone signs it anew");
    let pair = set[0].split(';').next().unwrap().to_owned();
    let set = respond(&after, &pair, |session| {
        assert!(session.confirm_principal(Login::new("7").password(PASSWORD)));
        assert_ne!(session.get::<String>("_auth_user_hash").as_deref(), old["_auth_user_hash"].as_str());
    });
    let pair = set.await.unwrap()[0].split(';').next().unwrap().to_owned();
    // From here on the old secret is not needed.
    let session = manager().open(&request(&pair)).await.unwrap();
    assert!(session.confirm_principal(Login::new("7").password(PASSWORD)));
}

#[tokio::test]
async fn a_format_that_keeps_nothing_of_a_password_does_not_confirm_it() {
    for layer in [SessionLayer::new(SECRET).unwrap(), SessionLayer::new(SECRET).unwrap().dialect(Flask::new)] {
        let manager = layer.manager().unwrap();
        let mut ada = Visitor::prepared(&manager, |session| session.set_principal("7")).await.unwrap();
        assert!(ada.edit(|session| session.confirm_principal("7")).await.unwrap());
        let mut confirmed = None;
        let asked = ada.edit(|session| {
            confirmed = Some(session.confirm_principal(Login::new("7").password(PASSWORD)));
        });
        let error = asked.await.unwrap_err();
        assert!(error.is_setting() && error.to_string().contains("confirm_principal"), "{error}");
        assert_eq!(confirmed, Some(false));
        assert!(!ada.edit(|session| session.confirm_principal("8")).await.unwrap());
    }
    let ada = Visitor::prepared(&manager(), |session| session.set_principal(Login::new("7").password(PASSWORD))).await;
    let error = ada.unwrap().edit(|session| session.confirm_principal("7")).await.unwrap_err();
    assert!(error.to_string().contains("password(user.password)"), "{error}");
    assert_eq!(format!("{:?}", Login::new("7").password(PASSWORD).proof), "Password");
}

#[tokio::test]
async fn a_single_sessions_lifetime_is_django_s_set_expiry() {
    let manager = manager();
    let cases: [(Lifetime, i64, &str); 3] = [
        (
            Lifetime::persistent().idle(Duration::from_secs(300)),
            300,
            "; expires=Tue, 14 Nov 2023 22:18:20 GMT; HttpOnly; Max-Age=300; Path=/; SameSite=Lax",
        ),
        (Lifetime::browser(), 0, "; HttpOnly; Path=/; SameSite=Lax"),
        (
            Lifetime::persistent(),
            1_209_600,
            "; expires=Tue, 28 Nov 2023 22:13:20 GMT; HttpOnly; Max-Age=1209600; Path=/; SameSite=Lax",
        ),
    ];
    for (lifetime, expiry, attributes) in cases {
        let set = respond(&manager, "", |session| {
            session.insert("a", 1);
            session.set_lifetime(lifetime);
        });
        let set = set.await.unwrap().remove(0);
        assert!(set.ends_with(attributes), "{set}");
        let pair = set.split(';').next().unwrap();
        assert_eq!(manager.open(&request(pair)).await.unwrap().get("_session_expiry"), Some(expiry));
        let later = respond(&manager, pair, |session| session.insert("b", 2)).await.unwrap().remove(0);
        assert!(later.ends_with(attributes), "it stays with the session: {later}");
    }
    for (lifetime, what) in [
        (Lifetime::persistent().idle(TWO_WEEKS + HOUR), "give the layer the longer one"),
        (Lifetime::browser().idle(HOUR), "Lifetime::persistent().idle"),
        (Lifetime::persistent().absolute(HOUR), "absolute timeout"),
    ] {
        let refused = Visitor::prepared(&manager, |session| {
            session.insert("a", 1);
            session.set_lifetime(lifetime);
        });
        let error = refused.await.unwrap_err();
        assert!(error.is_setting() && error.to_string().contains(what), "{error}");
    }
}

#[tokio::test]
async fn whether_a_cookie_outlives_the_browser_is_django_s_setting_unless_the_session_says_it() {
    let closes = layer().dialect(|keys: &Keyring| Django::new(keys).expire_at_browser_close(true)).manager().unwrap();
    let set = respond(&closes, "", |session| session.insert("a", 1)).await.unwrap().remove(0);
    assert!(!set.contains("Max-Age") && !set.contains("expires"), "{set}");
    let set = respond(&closes, set.split(';').next().unwrap(), |session| session.set_lifetime(Lifetime::persistent()));
    assert!(set.await.unwrap()[0].contains("Max-Age=1209600"));
    // What the application writes by hand counts as well.
    for (expiry, attribute) in [
        (serde_json::json!(60), Some("Max-Age=60")),
        (serde_json::json!(0), None),
        (serde_json::json!("2023-11-14T22:15:00.750000+00:00"), Some("Max-Age=100")),
        (serde_json::json!("2023-11-14T22:15:00"), Some("Max-Age=100")),
        (serde_json::json!("1999-11-14T22:15:00"), Some("Max-Age=0")),
        (serde_json::json!("no date"), Some("Max-Age=1209600")),
        (serde_json::json!(-5), Some("Max-Age=0")),
        (serde_json::json!(90.5), Some("Max-Age=90;")),
        (serde_json::Value::Null, Some("Max-Age=1209600")),
    ] {
        let set =
            respond(&manager(), "", |session| session.insert("_session_expiry", &expiry)).await.unwrap().remove(0);
        match attribute {
            Some(attribute) => assert!(set.contains(attribute), "{expiry}: {set}"),
            None => assert!(!set.contains("Max-Age"), "{expiry}: {set}"),
        }
    }
}

#[tokio::test]
async fn a_renewal_changes_the_token_against_forged_requests_where_there_is_one() {
    let manager = manager();
    let mut ada = Visitor::prepared(&manager, |session| session.insert("_csrftoken", "a".repeat(32))).await.unwrap();
    let mut tokens = vec!["a".repeat(32)];
    let log_in = |session: &Session| session.set_principal(Login::new("7").password(PASSWORD));
    for change in [Session::renew as fn(&Session), log_in] {
        ada.edit(change).await.unwrap();
        let token: String = ada.session().await.unwrap().get("_csrftoken").unwrap();
        assert!(token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{token}");
        tokens.push(token);
    }
    tokens.dedup();
    assert_eq!(tokens.len(), 3);
    let mut bob = Visitor::prepared(&manager, |session| session.insert("a", 1)).await.unwrap();
    bob.edit(Session::renew).await.unwrap();
    assert!(!bob.session().await.unwrap().contains("_csrftoken"));
}

#[tokio::test]
async fn django_s_messages_are_left_alone_and_ours_are_an_entry_of_their_own() {
    let messages = r#"[[\"__json_message\",0,25,\"Saved.\",\"\"]]"#;
    let text = format!(r#"{{ "_messages":"{messages}", "a" : 1.50 }}"#);
    let cookie = format!("sessionid={}", signed(&base64(text.as_bytes()), "1r31eq", SALT));
    let manager = layer().dialect(|keys: &Keyring| Django::new(keys).compression(false)).manager().unwrap();
    let set = respond(&manager, &cookie, |session| session.flash_as("That is no colour.", "error")).await.unwrap();
    let pair = set[0].split(';').next().unwrap().to_owned();
    let payload = pair.strip_prefix("sessionid=").unwrap().split(':').next().unwrap();
    let text = String::from_utf8(dewar::encoding::base64::decode_url(payload.as_bytes()).unwrap()).unwrap();
    assert_eq!(
        text,
        format!(r#"{{"_messages":"{messages}","a":1.50,"_flashes":[["error","That is no colour."]]}}"#),
        "untouched entries keep their bytes"
    );
    let set = respond(&manager, &pair, |session| {
        let flashes = session.take_flashes();
        assert_eq!((flashes[0].category.as_str(), flashes[0].text()), ("error", "That is no colour."));
    });
    let pair = set.await.unwrap()[0].split(';').next().unwrap().to_owned();
    let session = manager.open(&request(&pair)).await.unwrap();
    assert!(session.take_flashes().is_empty() && session.contains("_messages"));
}

#[tokio::test]
async fn what_django_s_json_cannot_say_is_refused_by_name() {
    let manager = manager();
    let values = [
        Value::Bytes(vec![0, 255]),
        Value::Tuple(vec![Value::Integer(1)]),
        Value::Uuid(dewar::value::Uuid::from_bytes([7; 16])),
        Value::DateTime(dewar::value::DateTime::from_unix(0, 0).unwrap()),
        Value::Markup("<b>".into()),
    ];
    for value in values {
        let error = Visitor::prepared(&manager, |session| session.insert("raw", &value)).await.unwrap_err();
        assert!(error.is_entry() && error.to_string().contains("\"raw\""), "{error}");
    }
}

#[test]
fn a_forged_or_foreign_cookie_is_an_empty_session() {
    let good = signed(&base64(b"{\"a\":1}"), "1r31eq", SALT);
    assert!(read(&good).is_ok());
    for cut in 0..good.len() {
        let refusal = read(&good[..cut]).unwrap_err();
        assert!(matches!(refusal, Refusal::BadSignature | Refusal::Malformed), "{cut}: {refusal:?}");
    }
    for at in 0..good.len() {
        let mut forged = good.clone().into_bytes();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        assert_eq!(read(std::str::from_utf8(&forged).unwrap()).unwrap_err(), Refusal::BadSignature, "{at}");
    }
    let payload = base64(b"{\"a\":1}");
    let cases = [
        (signed(&payload, "1r31eq", "django.contrib.sessions.SessionStore"), Refusal::BadSignature),
        (signed(&payload, "1r31eq", "django.core.signing"), Refusal::BadSignature),
        (format!("{good}="), Refusal::BadSignature),
        (signed(&payload, "1r31er", SALT) + ":", Refusal::BadSignature),
        (signed(&payload, "1r31fq", SALT), Refusal::Future), // 62 seconds ahead
        (signed(&payload, "zzzzzzzz", SALT), Refusal::Future),
        (signed(&payload, "1lyWAo", SALT), Refusal::Expired),
        (signed(&payload, "", SALT), Refusal::Malformed),
        (signed(&payload, "-1", SALT), Refusal::Malformed),
        (signed("", "1r31eq", SALT), Refusal::Malformed),
        (signed(".", "1r31eq", SALT), Refusal::Malformed),
        (signed(&base64(b"[1]"), "1r31eq", SALT), Refusal::Malformed),
        (signed(&base64("{\"a\":\"é\"}".as_bytes()), "1r31eq", SALT), Refusal::Malformed),
        (signed(&(payload.clone() + "="), "1r31eq", SALT), Refusal::Malformed),
        (signed(&base64(b"{\"a\":1}garbage"), "1r31eq", SALT), Refusal::Malformed),
        ("ABCDEFG".into(), Refusal::Malformed),
        (":::".into(), Refusal::Malformed),
        ("::::::::".into(), Refusal::BadSignature),
    ];
    for (cookie, refusal) in cases {
        assert_eq!(read(&cookie).unwrap_err(), refusal, "{cookie}");
    }
}

#[test]
fn what_is_deep_or_grows_without_bound_is_an_empty_session() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
    assert_eq!(read(&signed(&base64(deep.as_bytes()), "1r31eq", SALT)).unwrap_err(), Refusal::Malformed);
    let bomb = dewar::dialect::wire::inflate::deflate_if_shorter(&vec![b' '; 1 << 20]).unwrap();
    assert_eq!(read(&signed(&format!(".{}", base64(&bomb)), "1r31eq", SALT)).unwrap_err(), Refusal::Oversize);
}

#[tokio::test]
async fn two_weeks_after_it_was_issued_a_session_is_over_to_the_fraction_of_a_second() {
    let clock = Clock::at(NOW);
    let manager = layer().clock(clock.clone()).manager().unwrap();
    let ada = Visitor::prepared(&manager, |session| session.insert("a", 1)).await.unwrap();
    clock.advance(TWO_WEEKS);
    assert_eq!(ada.session().await.unwrap().get("a"), Some(1));
    clock.advance(Duration::from_millis(500));
    assert!(ada.session().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_session_that_is_only_read_is_issued_again_after_a_tenth_unless_django_s_own_rule_is_asked_for() {
    let clock = Clock::at(NOW);
    let layer = layer().clock(clock.clone());
    let managers = [layer.clone(), layer.reissue(Reissue::OnWrite)].map(|layer| layer.manager().unwrap());
    let ada = Visitor::prepared(&managers[0], |session| session.insert("a", 1)).await.unwrap();
    let cookie = ada.cookie().to_str().unwrap().to_owned();
    assert!(respond(&managers[0], &cookie, |_| ()).await.unwrap().is_empty());
    clock.advance(TWO_WEEKS / 10);
    assert_eq!(respond(&managers[0], &cookie, |_| ()).await.unwrap().len(), 1);
    assert!(respond(&managers[1], &cookie, |_| ()).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_last_of_several_cookies_counts() {
    let manager = manager();
    let [one, two] = ["{\"a\":1}", "{\"a\":2}"].map(|text| signed(&base64(text.as_bytes()), "1r31eq", SALT));
    for (header, expected) in [
        (format!("sessionid={one}; sessionid={two}"), Some(2)),
        (format!("sessionid={two}; a=b; sessionid={one}"), Some(1)),
        (format!("sessionid={one}; sessionid=forged"), None),
        (format!("sessionid=forged; sessionid={one}"), Some(1)),
    ] {
        assert_eq!(manager.open(&request(&header)).await.unwrap().get::<i32>("a"), expected, "{header}");
    }
}

#[tokio::test]
async fn two_strangers_with_equal_cookies_stay_two_when_they_move_to_a_store() {
    let django = SessionManager::builder(SECRET).unwrap().dialect(Django::new).clock(Clock::at(NOW)).build().unwrap();
    let ada = Visitor::prepared(&django, |session| session.insert("a", 1)).await.unwrap();
    let bob = Visitor::prepared(&django, |session| session.insert("a", 1)).await.unwrap();
    assert_eq!(ada.cookie(), bob.cookie());
    let token = ada.cookie().to_str().unwrap().strip_prefix("sessionid=").unwrap().to_owned();
    assert!(matches!(read(&token), Ok(Token::Data { unique: None, .. })));

    let layer = SessionLayer::new(SECRET).unwrap().store(MemoryStore::new()).clock(Clock::at(NOW));
    let ours = layer.reads_also(django, NOW.after(TWO_WEEKS)).manager().unwrap();
    let cookie = ada.cookie().to_str().unwrap().to_owned();
    let mut moved = Vec::new();
    for name in ["ada", "bob"] {
        let set = respond(&ours, &cookie, |session| session.insert("name", name)).await.unwrap();
        moved.push(set.into_iter().find(|set| set.starts_with("__Host-Http-session=")).unwrap());
    }
    let pairs: Vec<_> = moved.iter().map(|set| set.split(';').next().unwrap().to_owned()).collect();
    assert_ne!(pairs[0], pairs[1]);
    for (pair, name) in pairs.iter().zip(["ada", "bob"]) {
        let session = ours.open(&request(pair)).await.unwrap();
        assert_eq!(session.get::<String>("name").as_deref(), Some(name));
        assert_eq!(session.get("a"), Some(1));
    }
}

#[tokio::test]
async fn who_leaves_django_keeps_the_log_in_and_how_long_the_browser_keeps_the_cookie() {
    let django = SessionManager::builder(SECRET).unwrap().dialect(Django::new).clock(Clock::at(NOW)).build().unwrap();
    let ada = Visitor::prepared(&django, |session| {
        session.set_principal(Login::new("7").password(PASSWORD));
        session.set_lifetime(Lifetime::persistent().idle(2 * HOUR));
    });
    let cookie = ada.await.unwrap().cookie().to_str().unwrap().to_owned();
    let ours = SessionLayer::new(SECRET).unwrap().clock(Clock::at(NOW)).reads_also(django, NOW.after(TWO_WEEKS));
    let ours = ours.manager().unwrap();
    let set = respond(&ours, &cookie, |session| {
        assert_eq!(session.principal().as_deref(), Some("7"));
        assert!(!session.contains("_session_expiry"));
        session.insert("a", 1);
    });
    let set = set.await.unwrap();
    assert!(set.iter().any(|set| set.starts_with("__Host-Http-session=") && set.contains("Max-Age=7200")), "{set:?}");

    // And into Django's.
    let sealed = SessionManager::builder(SECRET).unwrap().clock(Clock::at(NOW)).build().unwrap();
    let bob = Visitor::prepared(&sealed, |session| {
        session.insert("a", 1);
        session.set_lifetime(Lifetime::persistent().idle(2 * HOUR).absolute(30 * 24 * HOUR));
    });
    let cookie = bob.await.unwrap().cookie().to_str().unwrap().to_owned();
    let into = layer().reads_also(sealed, NOW.after(TWO_WEEKS)).manager().unwrap();
    let set = respond(&into, &cookie, |session| {
        assert_eq!(session.get("_session_expiry"), Some(7200));
        session.insert("b", 2);
    });
    assert!(set.await.unwrap().iter().any(|set| set.starts_with("sessionid=") && set.contains("Max-Age=7200")));
}
