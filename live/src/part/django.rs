//! A Django site and ours in one visit, with one cookie jar; and generated sessions, each written by one and read by the other.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use dewar::{Keyring, Secret, Value, dialect::wire::inflate::inflate};

use super::{LESSON, browser::one_browser_visits, django_store::five_hundred_races_are_counted};
use crate::{
    generate::{self, Dice},
    http::Visitor,
    part::differential::{BATCH, fits, seed, sessions},
    peer::{
        django::{Django, RELEASES},
        oracle::{Oracle, opened, to_read, to_write, written},
        ours::{self, Direct, Ours},
    },
    suite::{Part, note, scenarios},
    tools::{CHROMEDRIVER, CHROMIUM, DJANGO_5_2, DJANGO_6_0, MARIADB, POSTGRES, REDIS, Tool, Tools},
    typed,
};

pub(crate) static PART: Part = Part {
    name: "django",
    about: "Django sites of both releases and ours in one visit, with the sessions in signed cookies",
    needs: &[&DJANGO_5_2, &DJANGO_6_0, &CHROMIUM, &CHROMEDRIVER],
    scenarios: scenarios![
        every_kind_of_value_crosses_both_ways_in_its_order,
        a_change_by_one_leaves_the_other_entries_alone,
        a_session_emptied_by_one_is_gone_at_the_other,
        django_changes_its_secret_and_ours_follows,
        ours_changes_its_secret_and_django_follows,
        another_secret_opens_nothing,
        a_log_in_at_ours_is_believed_by_django,
        a_log_in_at_django_is_our_principal,
        a_changed_password_ends_the_session_at_ours,
        a_log_in_of_an_older_secret_is_tied_anew_and_django_believes_it,
        a_lifetime_that_one_sets_is_the_other_s,
        messages_of_each_are_left_alone_by_the_other,
        a_share_of_generated_sessions_crosses_both_ways,
        one_browser_visits_django_and_the_questions,
    ],
};

/// As many as the other dialects' generated sessions.
pub(crate) static LONG: Part = Part {
    name: "django-long",
    about: "20,000 generated sessions, each release of Django beside dewar; and 500 races of Django's pages and ours in each place",
    needs: &[&DJANGO_5_2, &DJANGO_6_0, &REDIS, &POSTGRES, &MARIADB],
    scenarios: scenarios![all_generated_sessions_cross_both_ways, five_hundred_races_are_counted],
};

const OLD: &str = "the secret of last winter 1";
const NEW: &str = "the secret of this spring 2";

/// Runs it with the sites of both releases and ours, under the secret of the lesson.
fn with_both(tools: &Tools, scenario: impl Fn(&str, &str)) {
    let ours = Ours::start(ours::django(LESSON));
    for release in RELEASES {
        scenario(&Django::start(tools, release, LESSON, "").url, &ours.url);
    }
}

/// The secret of today, and that of before.
fn rotated() -> Keyring {
    let secret = |text| Secret::new(text).expect("the secret is accepted");
    Keyring::new(secret(NEW)).fallback(secret(OLD))
}

/// One of each kind, alone and nested, in no order.
pub(super) const EVERY_KIND: &str = r#"{
    "z": null, "yes": true, "no": false, "text": "Zoë \u0000\u001f\u007f\u2028 \ud83e\uddea </script>", "empty": "",
    "int": 9007199254740991, "big": {"$t": "int", "v": "-9223372036854775809"}, "huge": {"$t": "int", "v": "123456789012345678901234567890123456789"},
    "float": {"$t": "float", "v": "1.0", "bits": "3ff0000000000000"}, "minus zero": {"$t": "float", "v": "-0.0", "bits": "8000000000000000"},
    "nan": {"$t": "float", "v": "nan", "bits": "7ff8000000000000"}, "infinity": {"$t": "float", "v": "-inf", "bits": "fff0000000000000"},
    "lone": {"$t": "utf16", "v": "0041d8000042"}, "list": [[], {}, [null, {"deep": [{"deeper": "é"}]}]], "10": "ten", "9": "nine", "a": 1
}"#;

fn every_kind_of_value_crosses_both_ways_in_its_order(tools: &Tools) {
    let expected = typed::text(&typed::parse(EVERY_KIND));
    with_both(tools, |django, ours| {
        for (one, other) in [(django, ours), (ours, django)] {
            let mut visitor = Visitor::new();
            assert_eq!(visitor.post(&format!("{one}/_test/set"), EVERY_KIND).status, 204);
            assert_eq!(entries(&mut visitor, other), expected);
            assert_eq!(entries(&mut visitor, one), expected);
        }
    });
}

fn a_change_by_one_leaves_the_other_entries_alone(tools: &Tools) {
    with_both(tools, |django, ours| {
        let Value::Map(mut all) = typed::parse(EVERY_KIND) else { unreachable!() };
        let mut visitor = Visitor::new();
        visitor.post(&format!("{django}/_test/set"), EVERY_KIND);
        for (turn, url) in [ours, django, ours].into_iter().enumerate() {
            let added = (Value::from(format!("turn {turn}")), Value::Integer(turn as i64));
            let set = visitor.post(&format!("{url}/_test/add"), &typed::text(&Value::Map(vec![added.clone()])));
            assert!(
                set.only_cookie().ends_with("; HttpOnly; Max-Age=1209600; Path=/; SameSite=Lax"),
                "{:?}",
                set.set_cookie
            );
            all.push(added);
        }
        let expected = typed::text(&Value::Map(all));
        assert_eq!(entries(&mut visitor, django), expected);
        assert_eq!(entries(&mut visitor, ours), expected);
    });
}

fn a_session_emptied_by_one_is_gone_at_the_other(tools: &Tools) {
    with_both(tools, |django, ours| {
        for (one, other) in [(django, ours), (ours, django)] {
            let mut visitor = Visitor::new();
            visitor.post(&format!("{one}/_test/set"), r#"{"a": 1}"#);
            let cleared = visitor.post(&format!("{other}/_test/clear"), "{}");
            assert!(
                cleared.only_cookie().contains("; expires=Thu, 01 Jan 1970 00:00:00 GMT"),
                "{:?}",
                cleared.set_cookie
            );
            assert!(visitor.jar.is_empty());
            assert_eq!(entries(&mut visitor, one), "{}");
        }
    });
}

fn django_changes_its_secret_and_ours_follows(tools: &Tools) {
    let (before, after) = (Ours::start(ours::django(OLD)), Ours::start(ours::django(rotated())));
    for release in RELEASES {
        let django = Django::start(tools, release, NEW, OLD);
        let mut visitor = Visitor::new();
        visitor.post(&format!("{}/_test/set", before.url), r#"{"a": 1}"#);
        assert_eq!(entries(&mut visitor, &django.url), r#"{"a":1}"#);
        visitor.post(&format!("{}/_test/add", django.url), r#"{"b": 2}"#);
        assert_eq!(entries(&mut visitor, &after.url), r#"{"a":1,"b":2}"#);
        assert_eq!(entries(&mut visitor, &before.url), "{}", "who does not know the new secret opens nothing");
    }
}

fn ours_changes_its_secret_and_django_follows(tools: &Tools) {
    let ours = Ours::start(ours::django(rotated()));
    for release in RELEASES {
        let before = Django::start(tools, release, OLD, "");
        let mut visitor = Visitor::new();
        visitor.post(&format!("{}/_test/set", before.url), r#"{"a": 1}"#);
        assert_eq!(entries(&mut visitor, &ours.url), r#"{"a":1}"#);
        // Ours has signed it anew by only reading it.
        let after = Django::start(tools, release, NEW, "");
        assert_eq!(entries(&mut visitor, &after.url), r#"{"a":1}"#);
    }
}

fn another_secret_opens_nothing(tools: &Tools) {
    let ours = Ours::start(ours::django(NEW));
    for release in RELEASES {
        let django = Django::start(tools, release, OLD, "");
        for (one, other) in [(&django.url, &ours.url), (&ours.url, &django.url)] {
            let mut visitor = Visitor::new();
            visitor.post(&format!("{one}/_test/set"), r#"{"a": 1}"#);
            let kept = visitor.clone();
            assert_eq!(entries(&mut visitor, other), "{}");
            assert_eq!(entries(&mut kept.clone(), one), r#"{"a":1}"#);
        }
    }
}

/// Makes a user at Django, or gives one another password: the row as JSON.
fn user(django: &str, name: &str, password: &str) -> String {
    Visitor::new()
        .post(&format!("{django}/_test/user"), &format!(r#"{{"user": "{name}", "password": "{password}"}}"#))
        .body
}

fn whoami(visitor: &mut Visitor, url: &str) -> String {
    visitor.get(&format!("{url}/_test/whoami")).body
}

fn a_log_in_at_ours_is_believed_by_django(tools: &Tools) {
    with_both(tools, |django, ours| {
        let row = user(django, "ada", "old");
        let mut visitor = Visitor::new();
        visitor.post(&format!("{ours}/_test/set"), r#"{"cart": 1}"#);
        assert_eq!(whoami(&mut visitor, django), "nobody");
        assert_eq!(visitor.post(&format!("{ours}/_test/principal"), &row).status, 204);
        assert_eq!(whoami(&mut visitor, django), "ada");
        assert!(entries(&mut visitor, django).starts_with(r#"{"cart":1,"_auth_user_id":"1""#));
        // Django has its own way to end it.
        user(django, "ada", "new");
        assert_eq!(whoami(&mut visitor, django), "nobody");
        // And none who is not told the row is believed.
        assert_ne!(Visitor::new().post(&format!("{ours}/_test/principal"), r#"{"id": "1"}"#).status, 204);
    });
}

fn a_log_in_at_django_is_our_principal(tools: &Tools) {
    with_both(tools, |django, ours| {
        let row = user(django, "ada", "old");
        let mut visitor = Visitor::new();
        visitor.post(&format!("{django}/_test/login"), r#"{"user": "ada"}"#);
        assert_eq!(whoami(&mut visitor, ours), "1");
        assert_eq!(visitor.post(&format!("{ours}/_test/confirm"), &row).body, "true");
        let before = visitor.jar.clone();
        // The same log-in by ours says the same.
        let theirs = entries(&mut visitor, django);
        visitor.post(&format!("{ours}/_test/principal"), &row);
        assert_eq!(entries(&mut visitor, django), theirs);
        assert_eq!(before.len(), visitor.jar.len());
    });
}

fn a_changed_password_ends_the_session_at_ours(tools: &Tools) {
    with_both(tools, |django, ours| {
        user(django, "ada", "old");
        let mut visitor = Visitor::new();
        visitor.post(&format!("{django}/_test/login"), r#"{"user": "ada"}"#);
        let row = user(django, "ada", "new");
        assert_eq!(whoami(&mut visitor, ours), "1", "until it is asked, the cookie is trusted");
        assert_eq!(visitor.post(&format!("{ours}/_test/confirm"), &row).body, "false");
        assert_eq!(whoami(&mut visitor, ours), "nobody");
        assert!(visitor.jar.is_empty());
    });
}

fn a_log_in_of_an_older_secret_is_tied_anew_and_django_believes_it(tools: &Tools) {
    let ours = Ours::start(ours::django(rotated()));
    for release in RELEASES {
        let after = Django::start(tools, release, NEW, "");
        let mut visitor = Visitor::new();
        let row = user(&after.url, "ada", "old");
        let log_in = Ours::start(ours::django(OLD));
        visitor.post(&format!("{}/_test/principal", log_in.url), &row);
        assert_eq!(whoami(&mut visitor, &ours.url), "1");
        let untied = visitor.clone();
        assert_eq!(visitor.post(&format!("{}/_test/confirm", ours.url), &row).body, "true");
        assert_eq!(whoami(&mut visitor, &after.url), "ada");
        assert_eq!(
            whoami(&mut untied.clone(), &after.url),
            "nobody",
            "what is tied by the old secret alone is not believed"
        );
    }
}

fn a_lifetime_that_one_sets_is_the_other_s(tools: &Tools) {
    with_both(tools, |django, ours| {
        for (one, other) in [(django, ours), (ours, django)] {
            for (asked, attribute) in [("300", Some("Max-Age=300")), ("0", None)] {
                let mut visitor = Visitor::new();
                visitor.post(&format!("{one}/_test/set"), r#"{"a": 1}"#);
                let answers = [
                    visitor.post(&format!("{one}/_test/lifetime"), asked),
                    visitor.post(&format!("{other}/_test/add"), r#"{"b": 2}"#),
                ];
                for answer in &answers {
                    let cookie = answer.only_cookie();
                    match attribute {
                        Some(attribute) => assert!(cookie.contains(attribute), "{cookie}"),
                        None => assert!(!cookie.contains("Max-Age") && !cookie.contains("expires"), "{cookie}"),
                    }
                }
                let expected = format!(r#"{{"a":1,"_session_expiry":{asked},"b":2}}"#);
                assert_eq!(entries(&mut visitor, django), expected);
                assert_eq!(entries(&mut visitor, ours), expected);
            }
        }
        // A date, which Django alone writes.
        let mut visitor = Visitor::new();
        visitor.post(&format!("{django}/_test/set"), r#"{"a": 1}"#);
        let theirs = visitor.post(&format!("{django}/_test/lifetime"), r#""2099-01-01T00:00:00+00:00""#);
        let ours = visitor.post(&format!("{ours}/_test/add"), r#"{"b": 2}"#);
        for cookie in [theirs.only_cookie(), ours.only_cookie()] {
            assert!(
                cookie.contains("; expires=Thu, 01 Jan 2099 00:00:0") || cookie.contains("31 Dec 2098 23:59:5"),
                "{cookie}"
            );
        }
    });
}

fn messages_of_each_are_left_alone_by_the_other(tools: &Tools) {
    with_both(tools, |django, ours| {
        let mut visitor = Visitor::new();
        visitor.post(&format!("{django}/_test/message"), r#""Saved.""#);
        visitor.post(&format!("{ours}/_test/flash"), r#"{"message": "That is no colour.", "category": "error"}"#);
        assert_eq!(visitor.get(&format!("{django}/_test/messages")).body, r#"["Saved."]"#);
        assert_eq!(entries(&mut visitor, ours), r#"{"_flashes":[["error","That is no colour."]]}"#);
    });
}

fn a_share_of_generated_sessions_crosses_both_ways(tools: &Tools) {
    RELEASES.iter().for_each(|release| generated(tools, release, 500));
}

fn all_generated_sessions_cross_both_ways(tools: &Tools) {
    RELEASES.iter().for_each(|release| generated(tools, release, sessions()));
}

fn generated(tools: &Tools, release: &Tool, count: usize) {
    let mut django = Oracle::django(tools, release, LESSON);
    let (ours, mut dice) = (Direct::new(ours::django(LESSON)), Dice::new(seed()));
    let (mut compressed, mut otherwise, mut too_large) = (0, 0, 0);
    for batch in 0..count.div_ceil(BATCH) {
        let sessions: Vec<Value> =
            (batch * BATCH..count.min((batch + 1) * BATCH)).map(|_| plain(generate::session(&mut dice))).collect();
        let cookies: Vec<Option<String>> = sessions.iter().map(|session| fits(ours.write(session))).collect();
        let questions = sessions.iter().zip(&cookies).flat_map(|(session, cookie)| {
            [to_write(&typed::text(session)), to_read(&header(cookie.as_deref().unwrap_or_default()))]
        });
        let answers = django.ask(&questions.collect::<Vec<_>>());
        let theirs: Vec<_> = answers.iter().step_by(2).map(written).collect();
        let back = django.ask(&theirs.iter().map(|theirs| to_read(&header(&theirs.cookie))).collect::<Vec<_>>());
        for (at, session) in sessions.iter().enumerate() {
            let (theirs, expected) = (&theirs[at], opened(&back[at]));
            let which = || format!("session {} of seed {}: {}", batch * BATCH + at, seed(), typed::text(session));
            if "sessionid".len() + theirs.cookie.len() <= 4096 {
                assert_eq!(ours.read(&header(&theirs.cookie)), expected, "we read Django's otherwise, {}", which());
            }
            let Some(cookie) = &cookies[at] else {
                too_large += 1;
                continue;
            };
            assert_eq!(opened(&answers[at * 2 + 1]), expected, "Django reads ours otherwise, {}", which());
            assert_eq!(ours.read(&header(cookie)), expected, "we read ours otherwise, {}", which());
            assert_eq!(text(cookie), theirs.text, "the JSON differs, {}", which());
            match (cookie.starts_with('.'), theirs.cookie.starts_with('.')) {
                (false, false) => assert_eq!(*cookie, theirs.cookie, "the cookie differs, {}", which()),
                (true, true) => compressed += 1,
                _ => otherwise += 1,
            }
        }
    }
    note(&format!("{}: {count} sessions both ways, none different; seed {}", release.name, seed()));
    note(&format!(
        "compressed by both {compressed}, by one of them only {otherwise}; too large for a browser {too_large}"
    ));
}

/// What JSON can say of it: Django's sessions hold nothing else.
fn plain(value: Value) -> Value {
    match value {
        Value::Tuple(items) | Value::List(items) => Value::List(items.into_iter().map(plain).collect()),
        Value::Map(members) => Value::Map(members.into_iter().map(|(name, value)| (name, plain(value))).collect()),
        Value::Bytes(bytes) => Value::Text(typed::hex(bytes)),
        Value::Markup(text) => Value::Text(text),
        Value::Uuid(uuid) => Value::Text(uuid.to_string()),
        Value::DateTime(date) => Value::Text(date.to_string()),
        other => other,
    }
}

fn header(cookie: &str) -> String {
    format!("sessionid={cookie}")
}

/// The JSON in a cookie.
fn text(cookie: &str) -> String {
    let payload = cookie.rsplitn(3, ':').nth(2).expect("three fields");
    let (payload, compressed) = payload.strip_prefix('.').map_or((payload, false), |payload| (payload, true));
    let data = URL_SAFE_NO_PAD.decode(payload).expect("base64");
    let text = if compressed { inflate(&data, 1 << 20).expect("a zlib stream") } else { data };
    String::from_utf8(text).expect("ASCII")
}

fn entries(visitor: &mut Visitor, url: &str) -> String {
    let answer = visitor.get(&format!("{url}/_test/get"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    typed::text(&typed::parse(&answer.body))
}

fn one_browser_visits_django_and_the_questions(tools: &Tools) {
    for release in RELEASES {
        let django = Django::start(tools, release, LESSON, "");
        one_browser_visits(tools, release.name, &django.url, &[("SESSION_DIALECT", "django"), ("SECRET_KEY", LESSON)]);
    }
}
