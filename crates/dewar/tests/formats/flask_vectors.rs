//! Sessions that Flask wrote: read through the whole manager, written to the byte, refused where Flask refuses them.

use crate::support::typed::{hex, same, value};
use dewar::{
    Clock, Keyring, Lifetime, Reissue, Secret, SessionLayer, SessionManager, Value,
    dialect::{Dialect, Digest, Flask, Jar, Limits, Steps},
    store::Timestamp,
};
use http::{HeaderMap, HeaderValue, header};
use serde_json::Value as Vector;
use std::{collections::BTreeSet, time::Duration};

fn keyring(config: &Vector) -> Keyring {
    let secret = Secret::dangerously_weak(hex(config["secret_hex"].as_str().unwrap()));
    let older = config["fallbacks"].as_array().unwrap();
    older.iter().fold(Keyring::new(secret), |keyring, older| {
        keyring.fallback(Secret::dangerously_weak(older.as_str().unwrap()))
    })
}

fn flask(config: &Vector, keyring: &Keyring) -> Flask {
    let digest = if config["digest"] == "sha256" { Digest::Sha256 } else { Digest::Sha1 };
    Flask::new(keyring)
        .digest(digest)
        .sort_keys(config["json_sort_keys"].as_bool().unwrap())
        .ensure_ascii(config["json_ensure_ascii"].as_bool().unwrap())
}

fn manager(config: &Vector, now: &Vector) -> SessionManager {
    let settings = config.clone();
    let lifetime = Duration::from_secs(config["permanent_session_lifetime_seconds"].as_u64().unwrap());
    let session = &config["session_config"];
    let mut layer = SessionLayer::new(keyring(config))
        .unwrap()
        .dialect(move |keyring| flask(&settings, keyring))
        .lifetime(Lifetime::browser().idle(lifetime))
        .reissue(Reissue::EveryRequest)
        .cookie_name(config["cookie_name"].as_str().unwrap())
        .clock(Clock::at(Timestamp::from_millis((now.as_f64().unwrap() * 1000.0) as u64)));
    if let Some(path) = session["SESSION_COOKIE_PATH"].as_str() {
        layer = layer.path(path);
    }
    if let Some(domain) = session["SESSION_COOKIE_DOMAIN"].as_str() {
        layer = layer.domain(domain);
    }
    if session["SESSION_COOKIE_SECURE"] == true {
        layer = layer.secure(true);
    }
    if session["SESSION_COOKIE_HTTPONLY"] == false {
        layer = layer.dangerously_allow_scripts();
    }
    if session["SESSION_COOKIE_PARTITIONED"] == true {
        layer = layer.partitioned(true);
    }
    layer = match session["SESSION_COOKIE_SAMESITE"].as_str() {
        Some("Lax") => layer.same_site(dewar::SameSite::Lax),
        Some("Strict") => layer.same_site(dewar::SameSite::Strict),
        _ => layer,
    };
    layer.manager().unwrap()
}

fn request(cookie: &str) -> HeaderMap {
    HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(cookie).unwrap())])
}

fn entries(vector: &Value) -> &[(Value, Value)] {
    let Value::Map(entries) = vector else { panic!("a session is a map") };
    entries
}

/// The dialect's own reason, where a vector names one.
fn refusal(config: &Vector, vector: &Vector) -> String {
    let keyring = keyring(config);
    let now = Timestamp::from_millis((vector["time"]["read"].as_f64().unwrap() * 1000.0) as u64);
    let idle = config["permanent_session_lifetime_seconds"].as_u64().unwrap();
    let limits = Limits::new(now, u32::try_from(idle).unwrap());
    let values = [("", vector["cookie_value"].as_str().unwrap_or_default())];
    flask(config, &keyring).read(&Jar::of("session", &values), &limits, &mut Steps::off()).unwrap_err().to_string()
}

#[tokio::test]
async fn every_cookie_of_flask_opens_the_same_session_and_every_refused_one_an_empty_one() {
    let file = crate::support::vectors("flask.json");
    crate::support::assert_counted(&file, &["cookie", "set_cookie", "message"]);
    let (mut cookies, mut read, mut refused, mut written, mut exact) = (0, 0, 0, 0, 0);
    let (mut strict, mut otherwise) = (BTreeSet::new(), BTreeSet::new());
    for vector in file["vectors"].as_array().unwrap().iter().filter(|vector| vector["kind"] == "cookie") {
        cookies += 1;
        let id = vector["id"].as_str().unwrap();
        if crate::support::is_spelled_otherwise(vector) {
            otherwise.insert(id);
        }
        let config = &file["configs"][vector["config"].as_str().unwrap()];
        let Some(cookie) = vector["request_cookie"].as_str() else { panic!("{id} has no request cookie") };
        let manager = manager(config, &vector["time"]["read"]);
        let session = manager.open(&request(cookie)).await.unwrap();
        if vector["expect"]["outcome"] == "invalid" {
            assert!(session.is_empty(), "{id}");
            let found = refusal(config, vector);
            let expected = vector["expect"]["reason"].as_str().unwrap_or(&found);
            let classes: &[&str] = match expected {
                "bad_signature" | "wrong_key" => &["bad_signature", "malformed"],
                "bad_payload" | "malformed" | "unsupported" => &["malformed", "oversize", "bad_signature"],
                "expired" => &["expired"],
                "future" => &["future"],
                other => panic!("{id}: {other}"),
            };
            assert!(classes.contains(&found.as_str()), "{id}: {found}, not {expected}");
            refused += 1;
            continue;
        }
        let expected = value(&vector["session"]);
        if session.is_empty() && !entries(&expected).is_empty() && vector["expect"]["lenient"] == true {
            strict.insert(id);
            continue;
        }
        let found: Vec<_> = session.iter().map(|(name, value)| (Value::from(name), value)).collect();
        let names: BTreeSet<_> = session.keys().into_iter().collect();
        assert_eq!(names.len(), entries(&expected).len(), "{id}");
        read += 1;
        // A name with a lone surrogate has no text of its own; the wire vectors compare those.
        if entries(&expected).iter().all(|(name, _)| matches!(name, Value::Text(_))) {
            assert!(same(&Value::Map(found), &expected), "{id}");
            exact += usize::from(vector["reencode"] == "exact" && is_kept(&vector["set_cookie"][0]));
            written += usize::from(write_back(&manager, config, vector, &expected).await);
        }
    }
    assert_eq!(strict, otherwise);
    assert_eq!((read + refused + strict.len(), written), (cookies, exact));
    assert!(read > 0 && refused > 0 && written > 0, "the file has cookies of each class");
}

/// Whether Flask set this cookie, and a browser keeps it.
fn is_kept(cookie: &Vector) -> bool {
    let length = |member: &str| cookie[member].as_str().map_or(0, str::len);
    cookie.is_object() && length("name") + length("value") <= 4096
}

/// Writes the session as the application did, and compares with the bytes that Flask wrote.
async fn write_back(_: &SessionManager, config: &Vector, vector: &Vector, session: &Value) -> bool {
    let id = &vector["id"];
    let Some(theirs) = vector["set_cookie"].get(0).and_then(|cookie| cookie["raw"].as_str()) else { return false };
    let exact = match vector["reencode"].as_str() {
        Some("exact") => true,
        Some("exact_zlib") => false,
        _ => return false,
    };
    let manager = manager(config, &vector["time"]["written"]);
    let ours = manager.open(&HeaderMap::new()).await.unwrap();
    for (name, value) in entries(session) {
        ours.insert(name.as_str().unwrap(), value.clone());
    }
    let mut response = HeaderMap::new();
    if let Err(error) = manager.commit(&ours).await.apply(&mut response) {
        // Flask sends what browsers drop.
        assert!(error.is_too_large() && theirs.len() > 4000, "{id}: {error}");
        return false;
    }
    let ours = response[header::SET_COOKIE].to_str().unwrap();
    if exact {
        assert_eq!(ours, theirs, "{id}");
        return true;
    }
    let attributes = |cookie: &str| cookie.split_once(';').unwrap().1.to_owned();
    assert_eq!(attributes(ours), attributes(theirs), "{id}");
    let cookie = ours.split(';').next().unwrap();
    let again = manager.open(&request(cookie)).await.unwrap();
    let found: Vec<_> = again.iter().map(|(name, value)| (Value::from(name), value)).collect();
    assert!(same(&Value::Map(found), session), "{id}");
    false
}

#[tokio::test]
async fn a_permanent_session_is_issued_again_with_expires_and_an_emptied_one_is_deleted_as_flask_does() {
    let file = crate::support::vectors("flask.json");
    let vectors = file["vectors"].as_array().unwrap().iter().filter(|vector| vector["kind"] == "set_cookie");
    let mut checked = 0;
    for vector in vectors {
        let (id, theirs) = (&vector["id"], vector["set_cookie"][0]["raw"].as_str().unwrap());
        let config = &file["configs"][vector["config"].as_str().unwrap()];
        let manager = manager(config, &vector["time"]["written"]);
        let session = manager.open(&request(vector["request_cookie"].as_str().unwrap())).await.unwrap();
        assert!(!session.is_empty(), "{id}");
        if entries(&value(&vector["session"])).is_empty() {
            session.clear();
        }
        let mut response = HeaderMap::new();
        manager.commit(&session).await.apply(&mut response).unwrap();
        let ours = response[header::SET_COOKIE].to_str().unwrap();
        // Another deflate writes other bytes, which say the same.
        let (pair, attributes) = ours.split_once(';').unwrap();
        let name = pair.split_once('=').unwrap().0;
        assert!(theirs.starts_with(name) && theirs.ends_with(attributes), "{id}: {ours}");
        let (again, theirs) = (request(ours.split(';').next().unwrap()), request(theirs.split(';').next().unwrap()));
        let all = |session: dewar::Session| session.iter().collect::<Vec<_>>();
        assert_eq!(all(manager.open(&again).await.unwrap()), all(manager.open(&theirs).await.unwrap()), "{id}");
        checked += 1;
    }
    assert_ne!(checked, 0, "the file has no response of Flask's alone");
}
