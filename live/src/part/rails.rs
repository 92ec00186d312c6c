//! A Rails application and ours in one visit, with one cookie jar: Rails 6.1 and 7.2, each with its own defaults.

use std::time::Duration;

use dewar::{
    Keyring, Lifetime, Secret, SessionLayer, Value,
    dialect::{
        self, Encryption, Timestamp,
        wire::rails::{Encryptor, Message, derive_key},
    },
};

use super::{
    browser::one_browser_visits,
    differential::{seed, sessions},
};
use crate::{
    generate::{self, Dice},
    http::Visitor,
    peer::{
        ours::Ours,
        rails::{COOKIE, Rails, Release},
    },
    routes::{post, same, whole},
    suite::{Part, note, scenarios},
    tools::{CHROMEDRIVER, CHROMIUM, RAILS_6_1, RAILS_7_2, Tools},
    typed,
};

pub(crate) static PART: Part = Part {
    name: "rails",
    about: "real Rails applications, 6.1 and 7.2, and ours in one visit: encrypted cookies",
    needs: &[&RAILS_6_1, &RAILS_7_2, &CHROMIUM, &CHROMEDRIVER],
    scenarios: scenarios![
        every_kind_of_value_crosses_both_ways_in_its_order,
        a_change_by_one_leaves_the_other_entries_alone,
        a_session_cleared_by_one_is_empty_at_the_other,
        the_cookie_is_spelled_as_rails_spells_it,
        the_secret_changes_while_people_stay_logged_in,
        another_secret_opens_nothing,
        a_log_in_changes_the_session_id_and_the_token_of_the_forms,
        a_message_that_one_leaves_the_other_shows_once,
        a_cookie_that_outlives_the_browser_does_so_at_both,
        the_older_encryption_crosses_both_ways,
        a_visitor_moves_from_rails_6_1_to_7_2,
        a_session_in_marshal_is_empty_here,
        generated_sessions_cross_both_ways,
        one_browser_visits_rails_and_the_questions,
    ],
};

pub(crate) static LONG: Part = Part {
    name: "rails-long",
    about: "20000 generated sessions, Rails 6.1 and 7.2 beside dewar",
    needs: &[&RAILS_6_1, &RAILS_7_2],
    scenarios: scenarios![all_generated_sessions_cross_both_ways],
};

const SECRET: &str = "3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f";
const OLD: &str = "a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7";

/// How many sessions a run in CI generates.
const SHARE: usize = 500;
const BATCH: usize = 250;

fn ours(
    secrets: impl Into<Keyring>,
    release: Release,
    change: impl Fn(dialect::Rails) -> dialect::Rails + Send + Sync + 'static,
) -> SessionLayer {
    let layer = SessionLayer::new(secrets.into()).expect("the secret is accepted").cookie_name(COOKIE);
    layer.dialect(move |keyring: &Keyring| change(release.dialect(keyring)))
}

fn keyring(secrets: &[&str]) -> Keyring {
    let mut secrets = secrets.iter().map(|secret| Secret::new(secret).expect("the secret is accepted"));
    let first = secrets.next().expect("there is one");
    secrets.fold(Keyring::new(first), Keyring::fallback)
}

/// The two applications with one secret and every default.
fn applications(tools: &Tools, release: Release) -> (Rails, Ours) {
    let rails = Rails::start(tools, release, &[("SECRET_KEY_BASE", SECRET)]);
    (rails, Ours::start(ours(keyring(&[SECRET]), release, |rails| rails)))
}

/// What an application reads, without the session's own name.
fn entries(visitor: &mut Visitor, url: &str) -> Value {
    let Value::Map(mut entries) = whole(visitor, url) else { panic!("a session is a map") };
    entries.retain(|(name, _)| name.as_str() != Some("session_id"));
    Value::Map(entries)
}

fn text<'a>(session: &'a Value, name: &str) -> &'a str {
    session.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// One of each kind, alone and nested.
const EVERY_KIND: &str = r#"{
    "text": "Zoë \u0000\u001f\u007f\u2028\u2029 🧪 </script> & more", "empty": "", "t": true, "f": false,
    "int": 9007199254740991, "negative": -1, "big": {"$t": "int", "v": "-123456789012345678901234567890"},
    "i64": {"$t": "int", "v": "9223372036854775807"}, "u64": {"$t": "int", "v": "18446744073709551615"},
    "one": {"$t": "float", "v": "1.0", "bits": "3ff0000000000000"}, "minus": {"$t": "float", "v": "-0.0", "bits": "8000000000000000"},
    "tiny": {"$t": "float", "v": "5e-324", "bits": "0000000000000001"}, "large": {"$t": "float", "v": "1e16", "bits": "4341c37937e08000"},
    "<name> 🧪": {"2": "two", "10": "ten", "z": {"deep": [{"deeper": null}]}, "": []}, "0": "zero", "a.b": 1
}"#;

fn every_kind_of_value_crosses_both_ways_in_its_order(tools: &Tools) {
    for release in Release::BOTH {
        let (rails, ours) = applications(tools, release);
        for (one, other) in [(&rails.url, &ours.url), (&ours.url, &rails.url)] {
            let mut visitor = Visitor::new();
            post(&mut visitor, one, "set", EVERY_KIND);
            same(&entries(&mut visitor, other), EVERY_KIND);
            same(&entries(&mut visitor, one), EVERY_KIND);
        }
    }
}

fn a_change_by_one_leaves_the_other_entries_alone(tools: &Tools) {
    for release in Release::BOTH {
        let (rails, ours) = applications(tools, release);
        for (one, other) in [(&rails.url, &ours.url), (&ours.url, &rails.url)] {
            let mut visitor = Visitor::new();
            post(&mut visitor, one, "set", r#"{"a": {"b": [1]}, "c": 2}"#);
            let id = text(&whole(&mut visitor, one), "session_id").to_owned();
            assert_eq!(id.len(), 32, "{id}");
            assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
            post(&mut visitor, other, "add", r#"{"c": 3, "d": 4}"#);
            same(&entries(&mut visitor, one), r#"{"a": {"b": [1]}, "c": 3, "d": 4}"#);
            assert_eq!(text(&whole(&mut visitor, other), "session_id"), id, "it is the same session");
        }
    }
}

fn a_session_cleared_by_one_is_empty_at_the_other(tools: &Tools) {
    for release in Release::BOTH {
        let (rails, ours) = applications(tools, release);
        for (one, other) in [(&rails.url, &ours.url), (&ours.url, &rails.url)] {
            let mut visitor = Visitor::new();
            post(&mut visitor, other, "set", r#"{"a": 1}"#);
            let before = text(&whole(&mut visitor, one), "session_id").to_owned();
            post(&mut visitor, one, "clear", "");
            same(&entries(&mut visitor, other), "{}");
            post(&mut visitor, other, "set", r#"{"b": 2}"#);
            same(&entries(&mut visitor, one), r#"{"b": 2}"#);
            assert_ne!(text(&whole(&mut visitor, one), "session_id"), before, "another session has another name");
        }
    }
}

fn the_cookie_is_spelled_as_rails_spells_it(tools: &Tools) {
    for release in Release::BOTH {
        let (rails, ours) = applications(tools, release);
        let attributes = |url: &str| {
            let set = post(&mut Visitor::new(), url, "set", r#"{"a": 1}"#);
            assert_eq!(set.len(), 1, "{set:?}");
            set[0].split_once(';').map(|(_, attributes)| attributes.to_owned())
        };
        assert_eq!(attributes(&ours.url), attributes(&rails.url));
    }
}

fn the_secret_changes_while_people_stay_logged_in(tools: &Tools) {
    for release in Release::BOTH {
        let before = Rails::start(tools, release, &[("SECRET_KEY_BASE", OLD)]);
        let both = Ours::start(ours(keyring(&[SECRET, OLD]), release, |rails| rails));
        let mut visitor = Visitor::new();
        post(&mut visitor, &before.url, "set", r#"{"a": 1}"#);
        let opened = visitor.get(&format!("{}/_test/get", both.url));
        assert_eq!(opened.set_cookie.len(), 1, "it is written again: {:?}", opened.set_cookie);
        assert!(visitor.get(&format!("{}/_test/get", both.url)).set_cookie.is_empty(), "once");
        let after = Rails::start(tools, release, &[("SECRET_KEY_BASE", SECRET)]);
        same(&entries(&mut visitor, &after.url), r#"{"a": 1}"#);

        // And Rails first: ours still has the old secret when Rails reads both.
        let rotated = Rails::start(tools, release, &[("SECRET_KEY_BASE", SECRET), ("OLD_SECRETS", OLD)]);
        let behind = Ours::start(ours(keyring(&[OLD]), release, |rails| rails));
        let mut visitor = Visitor::new();
        post(&mut visitor, &behind.url, "set", r#"{"a": 1}"#);
        same(&entries(&mut visitor, &rotated.url), r#"{"a": 1}"#);
        same(&entries(&mut visitor, &both.url), r#"{"a": 1}"#);
    }
}

fn another_secret_opens_nothing(tools: &Tools) {
    for release in Release::BOTH {
        let rails = Rails::start(tools, release, &[("SECRET_KEY_BASE", OLD)]);
        let ours = Ours::start(ours(keyring(&[SECRET]), release, |rails| rails));
        for (one, other) in [(&rails.url, &ours.url), (&ours.url, &rails.url)] {
            let mut visitor = Visitor::new();
            post(&mut visitor, one, "set", r#"{"a": 1}"#);
            same(&entries(&mut visitor.clone(), other), "{}");
            same(&entries(&mut visitor, one), r#"{"a": 1}"#);
        }
    }
}

fn a_log_in_changes_the_session_id_and_the_token_of_the_forms(tools: &Tools) {
    for release in Release::BOTH {
        let (rails, ours) = applications(tools, release);
        for one in [&ours.url, &rails.url] {
            let mut visitor = Visitor::new();
            post(&mut visitor, &rails.url, "set", r#"{"cart": [1, 2]}"#);
            visitor.get(&format!("{}/_test/token", rails.url));
            let before = whole(&mut visitor, &ours.url);
            assert_ne!(text(&before, "_csrf_token"), "");
            post(&mut visitor, one, "login", r#"{"user_id": 7}"#);
            for url in [&rails.url, &ours.url] {
                let after = whole(&mut visitor, url);
                assert_eq!(text(&after, "session_id").len(), 32);
                assert_ne!(text(&after, "session_id"), text(&before, "session_id"));
                same(&entries(&mut visitor, url), r#"{"cart": [1, 2], "user_id": 7}"#);
            }
            visitor.get(&format!("{}/_test/token", rails.url));
            let after = whole(&mut visitor, &ours.url);
            assert_ne!(text(&after, "_csrf_token"), text(&before, "_csrf_token"), "Rails makes another");
            assert_ne!(text(&after, "_csrf_token"), "");
        }
    }
}

fn a_message_that_one_leaves_the_other_shows_once(tools: &Tools) {
    for release in Release::BOTH {
        let (rails, ours) = applications(tools, release);
        let (shown_by_rails, shown_by_ours) =
            (format!("{}/_test/take", rails.url), format!("{}/_test/flashes", ours.url));
        let mut visitor = Visitor::new();
        post(&mut visitor, &rails.url, "leave", r#"{"category": "notice", "message": "Saved <ok> é"}"#);
        same(&typed::parse(&visitor.get(&shown_by_ours).body), r#"[["notice", "Saved <ok> é"]]"#);
        same(&typed::parse(&visitor.get(&shown_by_ours).body), "[]");
        same(&typed::parse(&visitor.get(&shown_by_rails).body), "{}");

        post(&mut visitor, &ours.url, "flash", r#"{"category": "notice", "message": "Saved <ok> é"}"#);
        post(&mut visitor, &ours.url, "flash", r#"{"category": "alert", "message": "one"}"#);
        post(&mut visitor, &ours.url, "flash", r#"{"category": "alert", "message": "two"}"#);
        let expected = r#"{"notice": "Saved <ok> é", "alert": ["one", "two"]}"#;
        same(&typed::parse(&visitor.get(&shown_by_rails).body), expected);
        same(&typed::parse(&visitor.get(&shown_by_rails).body), "{}");
        same(&typed::parse(&visitor.get(&shown_by_ours).body), "[]");
    }
}

fn a_cookie_that_outlives_the_browser_does_so_at_both(tools: &Tools) {
    for release in Release::BOTH {
        let rails = Rails::start(tools, release, &[("SECRET_KEY_BASE", SECRET), ("EXPIRE_AFTER", "3600")]);
        let lifetime = Lifetime::persistent().idle(Duration::from_secs(3600));
        let ours = Ours::start(ours(keyring(&[SECRET]), release, |rails| rails).lifetime(lifetime));
        for (one, other) in [(&rails.url, &ours.url), (&ours.url, &rails.url)] {
            let mut visitor = Visitor::new();
            let set = post(&mut visitor, one, "set", r#"{"a": 1}"#);
            assert!(set[0].contains("; expires="), "{set:?}");
            let message = opened(release, visitor.jar.get(COOKIE).map_or("", String::as_str));
            let expires = Message::read(&message).expect("a message").expires.expect("it says when it ends");
            let left = expires.since(Timestamp::from(std::time::SystemTime::now())).as_secs();
            assert!((3500..=3600).contains(&left), "{left}");
            same(&entries(&mut visitor, other), r#"{"a": 1}"#);
        }
    }
}

fn the_older_encryption_crosses_both_ways(tools: &Tools) {
    for release in Release::BOTH {
        let rails = Rails::start(tools, release, &[("SECRET_KEY_BASE", SECRET), ("ENCRYPTION", "cbc")]);
        let older = Ours::start(ours(keyring(&[SECRET]), release, |rails| rails.encryption(Encryption::Cbc)));
        for (one, other) in [(&rails.url, &older.url), (&older.url, &rails.url)] {
            let mut visitor = Visitor::new();
            post(&mut visitor, one, "set", EVERY_KIND);
            same(&entries(&mut visitor, other), EVERY_KIND);
        }
        // Whoever encrypts as Rails does today reads it, too, and writes it again.
        let (today, ours) = applications(tools, release);
        let mut visitor = Visitor::new();
        post(&mut visitor, &rails.url, "set", r#"{"a": 1}"#);
        same(&entries(&mut visitor.clone(), &today.url), r#"{"a": 1}"#);
        let answer = visitor.get(&format!("{}/_test/get", ours.url));
        assert_eq!(answer.set_cookie.len(), 1);
        assert!(!opened(release, &visitor.jar[COOKIE]).is_empty());
    }
}

fn a_visitor_moves_from_rails_6_1_to_7_2(tools: &Tools) {
    let former = Rails::start(tools, Release::V6_1, &[("SECRET_KEY_BASE", SECRET)]);
    let settings = [("SECRET_KEY_BASE", SECRET), ("DIGEST", "SHA256"), ("OLD_DIGEST", "SHA1")];
    let rotating = Rails::start(tools, Release::V7_2, &settings);
    let plain = Rails::start(tools, Release::V7_2, &[("SECRET_KEY_BASE", SECRET)]);
    let ours =
        Ours::start(ours(keyring(&[SECRET]), Release::V7_2, |rails| rails.former_digest(Release::V6_1.digest())));
    let mut visitor = Visitor::new();
    post(&mut visitor, &former.url, "set", EVERY_KIND);
    same(&entries(&mut visitor.clone(), &plain.url), "{}");
    same(&entries(&mut visitor.clone(), &rotating.url), EVERY_KIND);
    let answer = visitor.get(&format!("{}/_test/get", ours.url));
    assert_eq!(answer.set_cookie.len(), 1, "it is written again: {:?}", answer.set_cookie);
    same(&entries(&mut visitor, &plain.url), EVERY_KIND);
    same(&entries(&mut visitor, &rotating.url), EVERY_KIND);
}

fn a_session_in_marshal_is_empty_here(tools: &Tools) {
    for release in Release::BOTH {
        let marshal = Rails::start(tools, release, &[("SECRET_KEY_BASE", SECRET), ("SERIALIZER", "marshal")]);
        let hybrid = Rails::start(tools, release, &[("SECRET_KEY_BASE", SECRET), ("SERIALIZER", "hybrid")]);
        let ours = Ours::start(ours(keyring(&[SECRET]), release, |rails| rails));
        let mut visitor = Visitor::new();
        post(&mut visitor, &marshal.url, "set", r#"{"a": 1}"#);
        same(&entries(&mut visitor.clone(), &ours.url), "{}");
        // With what the log says to set, it crosses once Rails has written it.
        post(&mut visitor, &hybrid.url, "add", r#"{"b": 2}"#);
        same(&entries(&mut visitor, &ours.url), r#"{"a": 1, "b": 2}"#);
    }
}

fn generated_sessions_cross_both_ways(tools: &Tools) {
    generated(tools, SHARE);
}

fn all_generated_sessions_cross_both_ways(tools: &Tools) {
    generated(tools, sessions());
}

/// What Rails writes we read, what we write Rails reads, and both write the same text.
fn generated(tools: &Tools, count: usize) {
    for release in Release::BOTH {
        let rails = Rails::start(tools, release, &[("SECRET_KEY_BASE", SECRET)]);
        let ours = Here::new(release);
        let (mut dice, mut written, mut visitor) = (Dice::new(seed()), 0, Visitor::new());
        for batch in 0..count.div_ceil(BATCH) {
            let sessions: Vec<Value> =
                (batch * BATCH..count.min((batch + 1) * BATCH)).map(|_| session(&mut dice)).collect();
            let mut ask = |route: &str, body: String| {
                let answer = visitor.post(&format!("{}/_test/{route}", rails.url), &body);
                assert_eq!(answer.status, 200, "seed {}, {route}: {}", seed(), answer.body);
                match typed::json(&answer.body) {
                    Value::List(answers) => answers,
                    other => panic!("not a list: {other:?}"),
                }
            };
            let theirs = ask("write", typed::text(&Value::List(sessions.clone())));
            let cookies: Vec<Option<String>> = sessions.iter().map(|session| ours.write(session)).collect();
            let sent = cookies.iter().map(|cookie| Value::from(cookie.as_deref().unwrap_or_default()));
            let back = ask("read", typed::text(&Value::List(sent.collect())));
            for (at, session) in sessions.iter().enumerate() {
                let which = || format!("session {} of seed {}: {}", batch * BATCH + at, seed(), typed::text(session));
                let their_cookie = theirs[at].as_str().expect("a cookie is text");
                let read = ours.read(their_cookie);
                assert!(
                    read.as_ref().is_none_or(|read| typed::text(read) == typed::text(session)),
                    "we read what Rails wrote otherwise: {read:?}, {}",
                    which()
                );
                let Some(cookie) = &cookies[at] else { continue };
                written += 1;
                let found = typed::from_typed(&back[at]);
                assert_eq!(
                    typed::text(&found),
                    typed::text(session),
                    "Rails reads what we wrote otherwise, {}",
                    which()
                );
                assert!(read.is_some(), "what we write fits, so what Rails writes does, {}", which());
                assert_eq!(
                    String::from_utf8_lossy(&opened(release, cookie)),
                    String::from_utf8_lossy(&opened(release, their_cookie)),
                    "the text differs, {}",
                    which()
                );
            }
        }
        note(&format!(
            "{release:?}: {count} sessions both ways, {written} of a cookie's size; none different; seed {}",
            seed()
        ));
    }
}

/// A generated session of what Rails' JSON can say.
fn session(dice: &mut Dice) -> Value {
    let Some(Value::Map(mut entries)) = sayable(&generate::session(dice)) else { panic!("a session is a map") };
    // Rails writes no nil at the top, and its own name of the session first.
    entries.retain(|(_, value)| *value != Value::Null);
    let id = format!("{:016x}{:016x}", dice.next(), dice.next());
    entries.insert(0, ("session_id".into(), id.into()));
    Value::Map(entries)
}

fn sayable(value: &Value) -> Option<Value> {
    let all = |items: &[Value]| Value::List(items.iter().filter_map(sayable).collect());
    Some(match value {
        Value::Float(float) if !float.is_finite() => return None,
        Value::Bytes(_) | Value::Uuid(_) | Value::DateTime(_) | Value::Surrogates(_) => return None,
        Value::Markup(text) => Value::Text(text.clone()),
        Value::List(items) | Value::Tuple(items) => all(items),
        Value::Map(members) => {
            let text = members.iter().filter(|(name, _)| matches!(name, Value::Text(_)));
            Value::Map(text.filter_map(|(name, value)| Some((name.clone(), sayable(value)?))).collect())
        }
        other => other.clone(),
    })
}

/// `dewar` as an application's requests see it, without a server.
struct Here {
    manager: dewar::SessionManager,
    runtime: tokio::runtime::Runtime,
}

impl Here {
    fn new(release: Release) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let layer = ours(keyring(&[SECRET]), release, |rails| rails);
        Self { manager: layer.manager().expect("the settings fit"), runtime }
    }

    /// The cookie's value, unless browsers would not keep it.
    fn write(&self, session: &Value) -> Option<String> {
        let Value::Map(entries) = session else { panic!("a session is a map") };
        let ours = self.open("");
        for (name, value) in entries {
            ours.insert(name.as_str().expect("an entry's name is text"), value);
        }
        let mut response = http::HeaderMap::new();
        match self.runtime.block_on(self.manager.commit(&ours)).apply(&mut response) {
            Ok(_) => {}
            Err(error) if error.is_too_large() => return None,
            Err(error) => panic!("seed {}: {error}", seed()),
        }
        let set = response.get(http::header::SET_COOKIE).expect("it is written").to_str().expect("ASCII");
        set.split(';').next()?.split_once('=').map(|(_, value)| value.to_owned())
    }

    /// What a cookie holds, unless browsers would not keep it.
    fn read(&self, cookie: &str) -> Option<Value> {
        if COOKIE.len() + cookie.len() > 4096 {
            return None;
        }
        Some(typed::entries(&self.open(&format!("{COOKIE}={cookie}"))))
    }

    fn open(&self, header: &str) -> dewar::Session {
        let mut request = http::HeaderMap::new();
        if !header.is_empty() {
            request.insert(http::header::COOKIE, http::HeaderValue::from_str(header).expect("a header"));
        }
        self.runtime.block_on(self.manager.open(&request)).expect("no store, no failure")
    }
}

/// The text in a cookie, with its metadata.
fn opened(release: Release, cookie: &str) -> Vec<u8> {
    let mut key = [0; 32];
    derive_key(SECRET.as_bytes(), "authenticated encrypted cookie", release.digest(), &mut key);
    let sealed = cookie.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
    Encryptor::new(&key).open(&sealed).expect("Rails' own form")
}

fn one_browser_visits_rails_and_the_questions(tools: &Tools) {
    for (release, options) in [(Release::V6_1, "digest=sha1,rack=2"), (Release::V7_2, "encryption=gcm,digest=sha256")] {
        let rails = Rails::start(tools, release, &[("SECRET_KEY_BASE", SECRET)]);
        let settings = [
            ("SESSION_DIALECT", "rails"),
            ("SESSION_COOKIE", COOKIE),
            ("SESSION_OPTIONS", options),
            ("SECRET_KEY", SECRET),
        ];
        one_browser_visits(tools, &format!("{release:?}"), &rails.url, &settings);
    }
}
