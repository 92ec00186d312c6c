//! What holds of iron-session's cookie beyond its vectors.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use dewar::{
    Clock, Keyring, Lifetime, Refusal, Secret, SessionLayer,
    dialect::{self, Body, Contents, Dialect, Iron, Jar, Lasts, Limits, Steps, Token},
    store::Timestamp,
    testing::Visitor,
};

const OLD: &str = "the password of last winter, 1, at least 32 characters";
const NEW: &str = "the password of this spring, 2, at least 32 characters";
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const TTL: u32 = 3600;

fn keyring(passwords: &[&str]) -> Keyring {
    let mut secrets = passwords.iter().map(|password| Secret::new(password).unwrap());
    let first = Keyring::new(secrets.next().unwrap());
    secrets.fold(first, Keyring::fallback)
}

fn iron(passwords: &[&str]) -> Iron {
    Iron::new(&keyring(passwords))
}

/// Never the same twice.
fn random(bytes: &mut [u8]) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    for chunk in bytes.chunks_mut(8) {
        let next = NEXT.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).to_le_bytes();
        chunk.copy_from_slice(&next[..chunk.len()]);
    }
}

/// The cookie of a session with `a = 1`.
fn sealed(dialect: &Iron) -> String {
    let mut contents = Contents::new(NOW, TTL, None, true);
    contents.data.insert(b"a", *b"1");
    dialect.write(Body::Data(&contents), "app", NOW, &mut random).unwrap().remove(0).value
}

fn read(dialect: &Iron, cookie: &str, at: Timestamp) -> Result<Token, Refusal> {
    dialect.read(&Jar::of("app", &[("", cookie)]), &Limits::new(at, TTL), &mut Steps::off())
}

#[test]
fn a_password_of_less_than_32_characters_is_refused_with_what_makes_a_good_one() {
    let error = SessionLayer::new("31 characters are one too few .").unwrap().dialect(Iron::new).manager().unwrap_err();
    assert!(error.is_setting() && error.to_string().contains("openssl rand -hex 32"), "{error}");
    SessionLayer::new("32 characters are just enough ..").unwrap().dialect(Iron::new).manager().unwrap();
}

#[test]
fn a_seal_is_good_for_a_minute_longer_than_it_says() {
    let dialect = iron(&[NEW]);
    let cookie = sealed(&dialect);
    let end = NOW.after(Duration::from_secs(u64::from(TTL) + 60));
    let last = Timestamp::from_millis(end.as_millis() - 1);
    assert!(read(&dialect, &cookie, last).is_ok());
    assert_eq!(read(&dialect, &cookie, end).unwrap_err(), Refusal::Expired);
}

#[test]
fn the_browser_forgets_the_cookie_a_minute_before_its_seal_ends() {
    let lasts = |dialect: &Iron, idle, persistent| {
        let contents = Contents::new(NOW, idle, None, persistent);
        dialect.write(Body::Data(&contents), "app", NOW, &mut random).unwrap().remove(0).lasts
    };
    let dialect = iron(&[NEW]);
    assert_eq!(lasts(&dialect, 3600, true), Lasts::For(Duration::from_secs(3540)));
    assert_eq!(lasts(&dialect, 60, true), Lasts::WithTheSession, "a time that is no time at all is not written");
    assert_eq!(lasts(&dialect, 3600, false), Lasts::WithTheSession);
    assert_eq!(lasts(&iron(&[NEW]).unlimited(true), 3600, true), Lasts::WithTheSession);
}

#[test]
fn no_change_of_a_seal_goes_unseen() {
    let dialect = iron(&[NEW]);
    let cookie = sealed(&dialect);
    for at in 0..cookie.len() {
        let mut forged = cookie.clone().into_bytes();
        forged[at] = if forged[at] == b'0' { b'1' } else { b'0' };
        let forged = String::from_utf8(forged).unwrap();
        let refusal = read(&dialect, &forged, NOW).unwrap_err();
        let reasons = [Refusal::BadSignature, Refusal::UnknownSecret, Refusal::Malformed];
        assert!(reasons.contains(&refusal), "{at}: {refusal}");
        assert!(read(&dialect, &cookie[..at], NOW).is_err(), "{at}");
    }
    for odd in ["", "~2", "Fe26.2*******~2", "Fe26.2*1*x*y*z*99999999999999999999*a*b~2", "*******~2", "🧪~2"] {
        assert_eq!(read(&dialect, odd, NOW).unwrap_err(), Refusal::Malformed, "{odd}");
    }
}

#[test]
fn the_newest_of_several_passwords_seals_and_the_others_open() {
    let rotated = iron(&[NEW, OLD]);
    let old = sealed(&iron(&[OLD]));
    let Ok(Token::Data { outdated, .. }) = read(&rotated, &old, NOW) else { panic!("the fallback has the id 1") };
    assert!(outdated, "it is sealed again");
    let new = sealed(&rotated);
    assert!(new.starts_with("Fe26.2*2*"), "{new}");
    let Ok(Token::Data { outdated, .. }) = read(&rotated, &new, NOW) else { panic!("it is its own") };
    assert!(!outdated);
    // The id says which password is tried: as in iron-session, the right one under another id opens nothing.
    assert_eq!(read(&iron(&[NEW]), &new, NOW).unwrap_err(), Refusal::UnknownSecret);
    assert!(read(&iron(&[NEW]).password_ids([2]), &new, NOW).is_ok());
    // A server that is to read what others seal next, and seals with the old one still.
    let early = iron(&[OLD, NEW]).password_ids([1, 2]);
    assert!(sealed(&early).starts_with("Fe26.2*1*"));
    assert!(read(&early, &old, NOW).is_ok() && read(&early, &new, NOW).is_ok());
}

#[test]
fn password_ids_that_iron_session_would_take_otherwise_are_refused() {
    for (ids, said) in [(&[1][..], "one id for each"), (&[2, 2], "each another one")] {
        let layer = SessionLayer::new(keyring(&[NEW, OLD])).unwrap();
        let error =
            layer.dialect(|keyring: &Keyring| Iron::new(keyring).password_ids(ids.to_vec())).manager().unwrap_err();
        assert!(error.is_setting() && error.to_string().contains(said), "{error}");
    }
    let known = dialect::all().find(|known| known.name == "iron-session").unwrap();
    assert!(known.with("password_ids=3%2C2,unlimited=true,principal_entry=userId").is_ok());
    assert!(known.with("password_ids=first").is_err());
}

#[test]
fn each_seal_is_another_one_whatever_is_in_it() {
    let dialect = iron(&[NEW]);
    let unique = |cookie: &str| match read(&dialect, cookie, NOW) {
        Ok(Token::Data { unique: Some(unique), .. }) => unique,
        _ => panic!("a seal has salts of its own"),
    };
    assert_ne!(unique(&sealed(&dialect)), unique(&sealed(&dialect)));
}

#[tokio::test]
async fn an_entry_that_iron_session_would_drop_is_refused_by_name() {
    let manager = SessionLayer::new(NEW).unwrap().dialect(Iron::new).manager().unwrap();
    for name in ["save", "destroy", "updateConfig"] {
        let error = Visitor::prepared(&manager, |session| session.insert(name, 1)).await.unwrap_err();
        assert!(error.is_entry() && error.to_string().contains(&format!("{name:?}")), "{error}");
    }
    Visitor::prepared(&manager, |session| session.insert("toString", 1)).await.unwrap();
}

#[tokio::test]
async fn an_entry_says_whose_session_it_is_and_a_number_stays_one() {
    let layer = SessionLayer::new(NEW).unwrap();
    let manager = layer.dialect(|secrets: &Keyring| Iron::new(secrets).principal_entry("userId")).manager().unwrap();
    let visitor = Visitor::prepared(&manager, |session| session.set_principal(42)).await.unwrap();
    let session = visitor.session().await.unwrap();
    assert_eq!((session.principal().as_deref(), session.get("userId")), (Some("42"), Some(42)));
}

#[tokio::test]
async fn a_session_lasts_as_long_as_the_layer_says_and_longer_where_it_is_used() {
    let clock = Clock::at(NOW);
    let lifetime = Lifetime::persistent().idle(Duration::from_secs(u64::from(TTL)));
    let layer = SessionLayer::new(NEW).unwrap().dialect(Iron::new).clock(clock.clone()).lifetime(lifetime);
    let manager = layer.manager().unwrap();
    let visitor = Visitor::prepared(&manager, |session| session.insert("a", 1)).await.unwrap();
    clock.advance(Duration::from_secs(u64::from(TTL) + 61));
    assert!(visitor.session().await.unwrap().is_empty());
}

#[tokio::test]
async fn deep_nesting_and_other_values_than_objects_are_an_empty_session() {
    let dialect = iron(&[NEW]);
    for text in [format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000)), "{\"a\":".repeat(500)] {
        let mut contents = Contents::new(NOW, TTL, None, true);
        // As an entry whose value ends the object and begins what it likes.
        contents.data.insert(b"a", text.into_bytes());
        let cookie = dialect.write(Body::Data(&contents), "app", NOW, &mut random).unwrap().remove(0).value;
        assert_eq!(read(&dialect, &cookie, NOW).unwrap_err(), Refusal::Malformed);
    }
}
