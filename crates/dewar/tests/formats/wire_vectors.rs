//! Flask's and Express's own sessions, read and written byte for byte.

use crate::support::typed::{hex, same, value};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use dewar::dialect::Data;
use dewar::dialect::wire::inflate::{deflate_if_shorter, inflate};
use dewar::dialect::wire::itsdangerous::{Derivation, Digest, Refusal, Signer};
use dewar::encoding::{Encoding, Json};
use dewar::value::Value;
use serde_json::Value as Vector;

fn digest(name: &str) -> Digest {
    match name {
        "sha1" => Digest::Sha1,
        "sha256" => Digest::Sha256,
        "sha384" => Digest::Sha384,
        "sha512" => Digest::Sha512,
        other => panic!("{other}"),
    }
}

fn derivation(name: &str) -> Derivation {
    match name {
        "hmac" => Derivation::Hmac,
        "concat" => Derivation::Concat,
        "django-concat" => Derivation::DjangoConcat,
        "none" => Derivation::None,
        other => panic!("{other}"),
    }
}

fn text<'a>(vector: &'a Vector, name: &str) -> &'a str {
    vector[name].as_str().unwrap_or_else(|| panic!("{name} of {}", vector["id"]))
}

/// Reads a whole session into one map, entry by entry.
fn session(encoding: Encoding, whole: &[u8]) -> Option<Value> {
    let data = Data::parse(encoding, &Bytes::copy_from_slice(whole))?;
    let members = data.iter().map(|(name, value)| {
        let name = Value::Text(String::from_utf8(name.to_vec()).ok()?);
        Some((name, encoding.read(value).ok()?))
    });
    members.collect::<Option<Vec<_>>>().map(Value::Map)
}

/// Writes a session entry by entry.
fn written(encoding: Encoding, session: &Value) -> Vec<u8> {
    let Value::Map(members) = session else { panic!("a map") };
    let members: Vec<_> = members
        .iter()
        .map(|(name, value)| (name.as_str().unwrap().as_bytes(), encoding.write(value).unwrap()))
        .collect();
    let mut out = Vec::new();
    encoding.join(members.iter().map(|(name, value)| (*name, &value[..])), &mut out);
    out
}

#[test]
fn every_message_of_itsdangerous_is_read_and_written_alike() {
    let file = crate::support::vectors("flask.json");
    let mut count = 0;
    for vector in file["vectors"].as_array().unwrap().iter().filter(|vector| vector["kind"] == "message") {
        let config = &vector["config_inline"];
        let signer = Signer::new(
            &[&hex(text(config, "secret_hex"))],
            text(config, "salt").as_bytes(),
            digest(text(config, "digest")),
            derivation(text(config, "key_derivation")),
        )
        .unwrap()
        .separator(text(config, "sep").as_bytes()[0])
        .unwrap();
        // Messages are bytes, shown as Latin-1.
        let message: Vec<u8> = text(vector, "message").chars().map(|c| c as u8).collect();
        let class = text(config, "class");
        let id = text(vector, "id");
        let payload = if class.contains("Timed") || class.contains("Timestamp") {
            let now = vector["time"]["written"].as_u64().unwrap();
            let timed = signer.unsign_at(&message, now, Some(0)).unwrap_or_else(|error| panic!("{id}: {error}"));
            assert_eq!(timed.signed_at, now, "{id}");
            assert_eq!(signer.unsign_at(&message, now + 1, Some(0)), Err(Refusal::Expired), "{id}");
            if now > 0 {
                assert_eq!(signer.unsign_at(&message, now - 1, Some(9)), Err(Refusal::Future), "{id}");
            }
            let mut token = String::from_utf8(timed.value.to_vec()).unwrap();
            signer.sign_at_into(&mut token, now);
            assert_eq!(token.as_bytes(), message, "{id}");
            timed.value
        } else {
            let signed = signer.unsign(&message).unwrap_or_else(|error| panic!("{id}: {error}"));
            let mut signature = Vec::new();
            signer.signature_into(signed.value, &mut signature);
            assert!(message.ends_with(&signature), "{id}");
            signed.value
        };
        if class.starts_with("URLSafe") {
            let json = Encoding::Json(Json::PYTHON_UTF8);
            let expected = value(&vector["session"]);
            let plaintext = decompressed(payload).unwrap();
            assert!(same(&json.read::<Value>(&plaintext).unwrap(), &expected), "{id}");
            assert_eq!(json.write(&expected).unwrap(), plaintext, "{id}");
        } else if class.contains("Serializer") {
            let json = Encoding::Json(Json::PYTHON_UTF8);
            assert!(same(&json.read::<Value>(payload).unwrap(), &value(&vector["session"])), "{id}");
        } else {
            assert_eq!(payload, hex(text(vector, "plaintext_hex")), "{id}");
        }
        count += 1;
    }
    assert_ne!(count, 0, "the file has no message");
}

fn decompressed(payload: &[u8]) -> Option<Vec<u8>> {
    match payload.strip_prefix(b".") {
        Some(compressed) => inflate(&URL_SAFE_NO_PAD.decode(compressed).ok()?, 1 << 20).ok(),
        None => URL_SAFE_NO_PAD.decode(payload).ok(),
    }
}

#[test]
fn every_cookie_of_flask_is_read_and_written_alike() {
    let file = crate::support::vectors("flask.json");
    let mut count = 0;
    for vector in file["vectors"].as_array().unwrap().iter().filter(|vector| vector["kind"] == "cookie") {
        let id = text(vector, "id");
        let config = &file["configs"][text(vector, "config")];
        let mut secrets = vec![hex(text(config, "secret_hex"))];
        secrets
            .extend(config["fallbacks"].as_array().unwrap().iter().map(|it| it.as_str().unwrap().as_bytes().to_vec()));
        let secrets: Vec<&[u8]> = secrets.iter().map(Vec::as_slice).collect();
        let signer = Signer::new(
            &secrets,
            text(config, "salt").as_bytes(),
            digest(text(config, "digest")),
            derivation(text(config, "key_derivation")),
        )
        .unwrap();
        let json = Json::FLASK
            .sort_keys(config["json_sort_keys"].as_bool().unwrap())
            .ascii(config["json_ensure_ascii"].as_bool().unwrap());
        let json = Encoding::Json(json);
        let now = vector["time"]["read"].as_f64().unwrap() as u64;
        let lifetime = config["permanent_session_lifetime_seconds"].as_u64();
        let read = signer.unsign_at(text(vector, "cookie_value").as_bytes(), now, lifetime);
        let read = read.ok().and_then(|timed| decompressed(timed.value)).and_then(|plaintext| {
            if let Some(expected) = vector["plaintext"].as_str() {
                assert_eq!(plaintext, expected.as_bytes(), "{id}");
            }
            session(json, &plaintext)
        });
        if vector["expect"]["outcome"] == "invalid" || crate::support::is_spelled_otherwise(vector) {
            assert_eq!(read, None, "{id}");
        } else {
            let read = read.unwrap_or_else(|| panic!("{id}"));
            assert!(same(&read, &value(&vector["session"])), "{id}: {read:?}");
        }
        let from = match vector["reencode"].as_str().unwrap() {
            "exact" | "exact_zlib" => &vector["session"],
            "exact_from_written" => &vector["session_written"],
            _ => continue,
        };
        let plaintext = written(json, &value(from));
        assert_eq!(String::from_utf8_lossy(&plaintext), text(vector, "plaintext"), "{id}");
        let compressed = deflate_if_shorter(&plaintext);
        if vector["compressed"] == true {
            // Our deflate is not zlib's: near the line it may decide otherwise.
            if let Some(compressed) = compressed {
                assert_eq!(inflate(&compressed, 1 << 20).unwrap(), plaintext, "{id}");
            }
        } else {
            assert_eq!(compressed, None, "{id}");
            let mut token = URL_SAFE_NO_PAD.encode(&plaintext);
            signer.sign_at_into(&mut token, vector["time"]["written"].as_f64().unwrap() as u64);
            assert_eq!(token, text(vector, "cookie_value"), "{id}");
        }
        count += 1;
    }
    assert_ne!(count, 0, "the file has no cookie to write");
}

#[test]
fn every_session_of_express_is_read_and_written_alike() {
    let file = crate::support::vectors("express.json");
    let json = Encoding::Json(Json::JAVASCRIPT);
    let mut count = 0;
    for vector in file["vectors"].as_array().unwrap() {
        let id = text(vector, "id");
        let Some(plaintext) = vector["plaintext"].as_str() else { continue };
        let read = session(json, plaintext.as_bytes()).unwrap_or_else(|| panic!("{id}"));
        let mut expected = value(&vector["session"]);
        if vector["kind"] == "store" {
            let (Value::Map(expected), Value::Map(read)) = (&mut expected, &read) else { panic!("{id}") };
            let (at, cookie) = read
                .iter()
                .enumerate()
                .find(|(_, (name, _))| name.as_str() == Some("cookie"))
                .expect("a cookie member");
            expected.insert(at, cookie.clone());
        }
        assert!(same(&read, &expected), "{id}: {read:?}");
        assert_eq!(String::from_utf8_lossy(&written(json, &expected)), plaintext, "{id}");
        if vector["kind"] == "cookie" && vector["cookie_value"].is_string() {
            assert_eq!(STANDARD.encode(plaintext), text(vector, "cookie_value"), "{id}");
        }
        count += 1;
    }
    assert_ne!(count, 0, "the file has no session in plain text");
}

#[test]
fn what_express_takes_but_never_writes_is_read_alike_or_refused() {
    let file = crate::support::vectors("express.json");
    let mut count = 0;
    for vector in file["vectors"].as_array().unwrap() {
        let id = text(vector, "id");
        if vector["kind"] != "cookie" || vector["expect"]["lenient"] != true {
            continue;
        }
        let name = format!("{}=", text(&file["configs"][text(vector, "config")], "cookie_name"));
        let cookies = text(vector, "request_cookie");
        let payload = cookies.split("; ").find_map(|cookie| cookie.strip_prefix(name.as_str())).unwrap();
        // Quotes and other alphabets of the cookie are the dialect's to refuse.
        let Ok(payload) = STANDARD.decode(payload) else { continue };
        let is_object = std::str::from_utf8(&payload).is_ok_and(|json| json.trim_start().starts_with('{'));
        let read = session(Encoding::Json(Json::JAVASCRIPT), &payload);
        assert_eq!(read.is_some(), is_object, "{id}");
        if let Some(Value::Map(mut read)) = read {
            // Which names a session cannot have is the dialect's to know.
            let expected = value(&vector["session"]);
            read.retain(|(name, _)| name.as_str().is_none_or(|name| expected.get(name).is_some()));
            assert!(same(&Value::Map(read.clone()), &expected), "{id}: {read:?}");
        }
        count += 1;
    }
    assert_ne!(count, 0, "the file has no lenient cookie");
}
