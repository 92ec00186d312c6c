//! What holds of Phoenix's cookie beyond its vectors, and of Erlang's terms.

use std::time::Duration;

use bytes::Bytes as Buffer;
use dewar::{
    Clock, Keyring, Lifetime, Refusal, Secret, SessionLayer, SessionManager,
    dialect::{self, Body, Contents, Data, Dialect, Jar, Limits, Phoenix, Steps, Token},
    encoding::{Encoding, Erlang},
    store::Timestamp,
    testing::Visitor,
    value::{Bytes, Value},
};

const OLD: &str = "the secret_key_base of last winter, number 1, which has more than 64 bytes";
const NEW: &str = "the secret_key_base of this spring, number 2, which has more than 64 bytes";
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const TERMS: Encoding = Encoding::Erlang(Erlang::OTP_26);

fn keyring(secrets: &[&str]) -> Keyring {
    let mut secrets = secrets.iter().map(|secret| Secret::new(secret).unwrap());
    let first = Keyring::new(secrets.next().unwrap());
    secrets.fold(first, Keyring::fallback)
}

fn signed(secrets: &[&str]) -> Phoenix {
    Phoenix::new(&keyring(secrets)).signing_salt("a signing salt")
}

fn encrypted(secrets: &[&str]) -> Phoenix {
    signed(secrets).encryption_salt("an encryption salt")
}

fn every() -> [Phoenix; 3] {
    [signed(&[NEW]), encrypted(&[NEW]), encrypted(&[NEW]).plug_crypto_1(true)]
}

fn cookie(dialect: &Phoenix, name: &[u8], value: &[u8]) -> String {
    let mut contents = Contents::new(NOW, 3600, None, false);
    contents.data.insert(name, value);
    let mut next = 0u8;
    let mut random = |bytes: &mut [u8]| {
        bytes.iter_mut().for_each(|byte| {
            next = next.wrapping_add(7);
            *byte = next;
        });
    };
    dialect.write(Body::Data(&contents), "_my_app_key", NOW, &mut random).unwrap().remove(0).value
}

fn one(dialect: &Phoenix) -> String {
    cookie(dialect, b"a", &TERMS.write(&1).unwrap())
}

fn read(dialect: &Phoenix, cookie: &str) -> Result<Token, Refusal> {
    dialect.read(&Jar::of("_my_app_key", &[("", cookie)]), &Limits::new(NOW, 3600), &mut Steps::off())
}

fn is_outdated(dialect: &Phoenix, cookie: &str) -> bool {
    let Ok(Token::Data { outdated, .. }) = read(dialect, cookie) else { panic!("it opens") };
    outdated
}

fn manager() -> SessionManager {
    SessionLayer::new(NEW).unwrap().dialect(|secrets: &Keyring| salted(secrets)).manager().unwrap()
}

fn salted(secrets: &Keyring) -> Phoenix {
    Phoenix::new(secrets).signing_salt("a signing salt").principal_entry("user_id")
}

#[test]
fn no_change_of_a_cookie_goes_unseen() {
    for dialect in every() {
        let cookie = one(&dialect);
        assert!(read(&dialect, &cookie).is_ok());
        for at in 0..cookie.len() {
            let mut forged = cookie.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let refusal = read(&dialect, &String::from_utf8(forged).unwrap()).unwrap_err();
            assert!([Refusal::BadSignature, Refusal::Malformed].contains(&refusal), "{at}: {refusal}");
            assert!(read(&dialect, &cookie[..at]).is_err(), "{at}");
        }
        for odd in ["", ".", "..", "....", "SFMyNTY.", "SFMyNTY..", "XCP.", "QTEyOEdDTQ.....", "🧪.🧪"] {
            assert!(read(&dialect, odd).is_err(), "{odd}");
        }
    }
}

#[test]
fn another_salt_or_secret_opens_nothing_and_a_former_one_is_protected_again() {
    for dialect in every() {
        let cookie = one(&dialect);
        for other in [
            signed(&[OLD]),
            encrypted(&[OLD]),
            Phoenix::new(&keyring(&[NEW])).signing_salt("another").encryption_salt("another"),
            Phoenix::new(&keyring(&[NEW])).signing_salt("another"),
        ] {
            assert!(read(&other, &cookie).is_err());
        }
        assert!(!is_outdated(&dialect, &cookie));
    }
    assert!(is_outdated(&signed(&[OLD, NEW]), &one(&signed(&[NEW]))));
    assert!(is_outdated(&encrypted(&[OLD, NEW]), &one(&encrypted(&[NEW]))));
    let fresh = Phoenix::new(&keyring(&[NEW])).signing_salt("fresh").former_signing_salt("a signing salt");
    assert!(is_outdated(&fresh, &one(&signed(&[NEW]))));
    let fresh = signed(&[NEW]).encryption_salt("fresh").former_encryption_salt("an encryption salt");
    assert!(is_outdated(&fresh, &one(&encrypted(&[NEW]))));
    assert!(is_outdated(&fresh, &one(&encrypted(&[NEW]).plug_crypto_1(true))));
}

#[test]
fn only_what_is_encrypted_tells_one_visitor_from_another() {
    let unique = |dialect: &Phoenix| match read(dialect, &one(dialect)) {
        Ok(Token::Data { unique, .. }) => unique.is_some(),
        _ => panic!("it opens"),
    };
    assert_eq!(every().each_ref().map(unique), [false, true, true]);
    // Two strangers with the same entries hold the same bytes.
    assert_eq!(one(&signed(&[NEW])), one(&signed(&[NEW])));
}

#[test]
fn settings_that_plug_would_refuse_are_refused_with_what_to_write() {
    let refused = |secret: &str, set: fn(Phoenix) -> Phoenix| {
        let layer = SessionLayer::new(secret).unwrap();
        let error = layer.dialect(move |secrets: &Keyring| set(Phoenix::new(secrets))).manager().unwrap_err();
        assert!(error.is_setting(), "{error}");
        error.to_string()
    };
    let short = "63 bytes are one too few for Plug, which says so at each request";
    assert_eq!(short.len(), 64);
    assert!(refused(&short[1..], |phoenix| phoenix.signing_salt("salt")).contains("64 bytes"));
    assert!(refused(NEW, |phoenix| phoenix).contains(".signing_salt("));
    assert!(
        refused(NEW, |phoenix| phoenix.signing_salt("s").encryption_salt("e").key_length(16)).contains("key_length")
    );
    assert!(refused(NEW, |phoenix| phoenix.signing_salt("s").key_iterations(0)).contains("key_iterations"));
    assert!(refused(NEW, |phoenix| phoenix.signing_salt("s").plug_crypto_1(true)).contains("plug_crypto_1"));
    assert!(refused(NEW, |phoenix| phoenix.signing_salt("s").principal_entry("_csrf_token")).contains("name another"));
    let known = dialect::all().find(|known| known.name == "Phoenix").unwrap();
    assert!(known.with("signing_salt=a=b%2Cc,encryption_salt=e,key_digest=sha512,key_iterations=2000").is_ok());
    assert!(known.with("salt=a").err().unwrap().to_string().contains("signing_salt"));
}

#[test]
fn no_idle_timeout_is_promised_that_nothing_would_keep() {
    let layer = SessionLayer::new(NEW).unwrap().dialect(|secrets: &Keyring| salted(secrets)).clock(Clock::at(NOW));
    let error = layer.lifetime(Lifetime::browser().idle(Duration::from_secs(60))).manager().unwrap_err();
    assert!(error.to_string().contains("idle timeout"), "{error}");
}

#[tokio::test]
async fn a_renewal_takes_the_token_against_forged_requests_out() {
    let manager = manager();
    let visitor = Visitor::prepared(&manager, |session| {
        session.insert("_csrf_token", "old");
        session.insert("cart", 1);
    });
    let mut visitor = visitor.await.unwrap();
    visitor.edit(|session| session.renew()).await.unwrap();
    let session = visitor.session().await.unwrap();
    assert_eq!((session.get::<String>("_csrf_token"), session.get("cart")), (None, Some(1)));
}

#[tokio::test]
async fn messages_are_phoenixs_flash() {
    let manager = manager();
    let visitor = Visitor::prepared(&manager, |session| {
        session.flash_as("Saved!", "info");
        session.flash_as("Oh no", "error");
        session.flash_as("And more", "info");
    });
    let visitor = visitor.await.unwrap();
    let session = visitor.session().await.unwrap();
    let flash: Value = session.get("phoenix_flash").unwrap();
    assert_eq!(flash.get("error"), Some(&"Oh no".into()));
    assert_eq!(flash.get("info"), Some(&Value::List(vec!["Saved!".into(), "And more".into()])));
    let texts: Vec<_> = session.take_flashes().iter().map(|flash| flash.text().to_owned()).collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert_eq!(session.get::<Value>("phoenix_flash"), None);
}

#[tokio::test]
async fn an_atom_reads_as_its_name_and_stays_one() {
    let manager = manager();
    let role = Value::Atom("admin".into());
    let visitor = Visitor::prepared(&manager, |session| session.insert("role", &role));
    let mut visitor = visitor.await.unwrap();
    visitor.edit(|session| session.insert("other", 1)).await.unwrap();
    let session = visitor.session().await.unwrap();
    assert_eq!(session.get("role"), Some("admin".to_owned()));
    assert_eq!(session.get("role"), Some(role));
}

#[test]
fn a_binary_is_text_or_bytes_as_it_is_asked_for() {
    for bytes in [&b"plain text"[..], &[0xff, 0]] {
        let written = TERMS.write(&Bytes(bytes.to_vec())).unwrap();
        assert_eq!(TERMS.read::<Bytes>(&written).unwrap().0, bytes);
    }
    assert_eq!(TERMS.read::<String>(&TERMS.write(&Bytes(b"text".to_vec())).unwrap()).unwrap(), "text");
}

#[test]
fn what_erlang_cannot_say_is_refused_by_name() {
    let pairs = vec![("a".into(), 1.into()), (Value::Bytes(b"a".to_vec()), 2.into())];
    for (value, said) in [
        (Value::Float(f64::NAN), "NaN"),
        (Value::Markup("<b>".into()), "markup"),
        (Value::Surrogates(vec![0xd800]), "surrogate"),
        (Value::Atom("a".repeat(256)), "atom"),
        (Value::Map(pairs), "keys"),
    ] {
        let error = TERMS.write(&value).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn terms_that_are_no_data_are_an_empty_session() {
    for hostile in [
        &[113, 119, 1, b'a', 119, 1, b'b', 97, 0][..],   // a function of a module
        &[103, 119, 1, b'a', 0, 0, 0, 1, 0, 0, 0, 0, 0], // a process
        &[108, 0, 0, 0, 1, 97, 1, 97, 2],                // an improper list
        &[108, 0xff, 0xff, 0xff, 0xff, 97],              // lengths of more than there is
        &[109, 0xff, 0xff, 0xff, 0xff, 97],
        &[116, 0x7f, 0xff, 0xff, 0xff, 97, 1],
        &[105, 0xff, 0xff, 0xff, 0xff, 97],
        &[111, 0xff, 0xff, 0xff, 0xff, 0, 1],
        &[80, 0, 0, 0, 1, 120, 156, 3, 0, 0, 0, 0, 1], // compressed
        &[70, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0],           // not a number
        &[77, 0, 0, 0, 1, 1, 0x80],                    // a bit
        &[97, 1, 97, 1],                               // one more
        &[],
    ] {
        for dialect in every() {
            assert_eq!(
                read(&dialect, &cookie(&dialect, b"a", hostile)).unwrap_err(),
                Refusal::Malformed,
                "{hostile:?}"
            );
        }
    }
    // Lists in lists, as deep as a cookie is long.
    let deep = [[108, 0, 0, 0, 1].repeat(700), vec![106; 701]].concat();
    assert_eq!(read(&signed(&[NEW]), &cookie(&signed(&[NEW]), b"a", &deep)).unwrap_err(), Refusal::Malformed);
}

#[test]
fn an_entry_that_nobody_touches_keeps_its_bytes() {
    // Forms that are not written here: an integer in too many bytes, an atom in Latin-1, a list of bytes that is no string.
    let odd: &[&[u8]] = &[
        &[98, 0, 0, 0, 1],
        &[100, 0, 2, b'o', b'k'],
        &[115, 1, 0xfc],
        &[118, 0, 1, b'x'],
        &[108, 0, 0, 0, 1, 97, 1, 106],
        &[110, 1, 0, 5],
        &[105, 0, 0, 0, 0],
    ];
    let mut whole = vec![131, 116, 0, 0, 0, odd.len() as u8];
    for (at, value) in odd.iter().enumerate() {
        whole.extend([109, 0, 0, 0, 1, b'a' + at as u8]);
        whole.extend_from_slice(value);
    }
    let data = Data::parse(TERMS, &Buffer::from(whole.clone())).unwrap();
    let mut again = Vec::new();
    data.write(TERMS, &mut again);
    assert_eq!(again, whole);
    let values: Vec<Value> = data.iter().map(|(_, value)| TERMS.read(value).unwrap()).collect();
    let list = Value::List(vec![1.into()]);
    let atom = |name: &str| Value::Atom(name.into());
    assert_eq!(values, [1.into(), atom("ok"), atom("ü"), atom("x"), list, 5.into(), Value::Tuple(vec![])]);
}

#[test]
fn integers_of_any_size_come_back() {
    let digits = "9".repeat(2000);
    for text in ["0", "-1", "255", "256", "-2147483648", "2147483648", "9223372036854775808", "1000000000", &digits] {
        for text in [text.to_owned(), format!("-{text}")] {
            let Ok(integer) = text.parse::<dewar::value::BigInteger>() else { continue };
            let written = TERMS.write(&integer).unwrap();
            let read: dewar::value::BigInteger = TERMS.read(&written).unwrap();
            assert_eq!(read, integer);
        }
    }
}
