//! An Express application and ours in one visit, in both of Express's session forms, with one cookie jar.

use std::{
    thread,
    time::{Duration, Instant},
};

use dewar::{
    Error, Keyring, Lifetime, Secret, SessionLayer,
    dialect::{CookieSession, ExpressSession},
};

use super::LESSON;
use crate::{
    http::Visitor,
    peer::{express::Express, ours::Ours, redis::Redis},
    suite::{Part, note, scenarios},
    tools::{EXPRESS, REDIS, Tools},
    typed,
};

pub(crate) static PART: Part = Part {
    name: "express",
    about: "a real Express application and ours in one visit: cookie-session, and express-session on Redis",
    needs: &[&EXPRESS, &REDIS],
    scenarios: scenarios![
        every_kind_of_value_crosses_both_ways_in_its_order,
        a_change_by_one_leaves_the_other_entries_alone,
        a_name_that_is_no_text_survives_a_change_by_ours,
        a_session_cleared_by_one_is_empty_at_the_other,
        the_secret_changes_while_people_stay_logged_in,
        another_secret_opens_nothing,
        after_a_log_in_at_express_the_old_id_is_worth_nothing,
        after_a_log_in_at_ours_the_old_id_is_worth_nothing,
        a_session_that_express_made_permanent_is_prolonged_by_ours,
        a_session_that_ours_made_permanent_is_prolonged_by_express,
        a_cookie_that_outlives_the_browser_does_so_at_both,
        prefix_cookie_name_and_ttl_may_be_any,
        a_hundred_requests_at_once_are_all_in_the_record,
        reading_moves_the_ttl_after_a_tenth_and_changes_no_byte,
    ],
};

const OLD: &str = "the secret of last winter 1";
const NEW: &str = "the secret of this spring 2";

/// What both sides share: the form of their sessions, and with express-session the server that keeps them.
#[allow(clippy::large_enum_variant)] // There are two in all.
enum Shared {
    CookieSession,
    ExpressSession(Box<Redis>),
}

impl Shared {
    fn both(tools: &Tools) -> [Self; 2] {
        [Self::CookieSession, Self::on_redis(tools)]
    }

    fn on_redis(tools: &Tools) -> Self {
        Self::ExpressSession(Box::new(Redis::start(tools)))
    }

    /// The Express application, with these settings beside the form's own. The secret is the lesson's unless they say another.
    fn express(&self, tools: &Tools, settings: &[(&str, &str)]) -> Express {
        let form = match self {
            Self::CookieSession => vec![("FORM", "cookie-session")],
            Self::ExpressSession(redis) => vec![("FORM", "express-session"), ("REDIS_URL", &*redis.url)],
        };
        Express::start(tools, &[&[("SECRET_KEY", LESSON)], &form[..], settings].concat())
    }

    fn ours<K>(&self, secrets: K, change: impl FnOnce(SessionLayer) -> SessionLayer) -> Ours
    where
        K: TryInto<Keyring>,
        Error: From<K::Error>,
    {
        let layer = SessionLayer::new(secrets).expect("the secret is accepted");
        Ours::start_within(|| {
            change(match self {
                Self::CookieSession => layer.dialect(CookieSession::new),
                Self::ExpressSession(redis) => layer.dialect(ExpressSession::new).store(redis.store()),
            })
        })
    }

    /// The two applications under the secret of the lesson, with every default.
    fn applications(&self, tools: &Tools) -> (Express, Ours) {
        (self.express(tools, &[]), self.ours(LESSON, |layer| layer))
    }

    /// How many cookies hold a session.
    fn cookies(&self) -> usize {
        match self {
            Self::CookieSession => 2,
            Self::ExpressSession(_) => 1,
        }
    }
}

/// express-session's form alone: the applications with every default, and the server.
fn on_redis(tools: &Tools) -> (Express, Ours, Shared) {
    let shared = Shared::on_redis(tools);
    let (express, ours) = shared.applications(tools);
    (express, ours, shared)
}

impl Shared {
    fn redis(&self) -> &Redis {
        match self {
            Self::ExpressSession(redis) => redis,
            Self::CookieSession => panic!("cookie-session has no server"),
        }
    }

    /// The record's text.
    fn record(&self, key: &str) -> String {
        self.redis().get(key).unwrap_or_else(|| panic!("there is no {key}"))
    }
}

/// The key of the record that a visitor's cookie names.
fn key(visitor: &Visitor) -> String {
    key_of(visitor, "connect.sid", "sess:")
}

fn key_of(visitor: &Visitor, cookie: &str, prefix: &str) -> String {
    let value = visitor.jar.get(cookie).unwrap_or_else(|| panic!("there is no cookie {cookie}"));
    let id = value.strip_prefix("s%3A").and_then(|signed| signed.split('.').next());
    format!("{prefix}{}", id.unwrap_or_else(|| panic!("no signed id: {value}")))
}

/// One of each kind, alone and nested, as JavaScript orders them: integer-like names first.
const EVERY_KIND: &str = r#"{
    "0": "zero", "7": [1, [], {}], "42": null, "b": true, "a": false, "-1": "no index", "01": "nor this",
    "text": "Zoë \u0000\u001f\u007f\u2028 🧪 </script>", "empty": "",
    "int": 9007199254740991, "negative": -9007199254740991,
    "float": {"$t": "float", "v": "0.1", "bits": "3fb999999999999a"}, "tiny": {"$t": "float", "v": "5e-324", "bits": "0000000000000001"},
    "large": {"$t": "float", "v": "1e+21", "bits": "444b1ae4d6e2ef50"}, "largest": {"$t": "float", "v": "1.7976931348623157e+308", "bits": "7fefffffffffffff"},
    "lone": {"$t": "utf16", "v": "0041d8000042"}, "🧪 name": {"2": "two", "10": "ten", "z": {"deep": [{"deeper": "é"}]}, "y": 1}
}"#;

fn every_kind_of_value_crosses_both_ways_in_its_order(tools: &Tools) {
    let expected = typed::text(&typed::parse(EVERY_KIND));
    for shared in Shared::both(tools) {
        let (express, ours) = shared.applications(tools);
        for (one, other) in [(&express.url, &ours.url), (&ours.url, &express.url)] {
            let mut visitor = Visitor::new();
            let set = visitor.post(&format!("{one}/_test/set"), EVERY_KIND);
            assert_eq!((set.status, visitor.jar.len()), (204, shared.cookies()));
            assert_eq!(entries(&mut visitor, other), expected);
            assert_eq!(entries(&mut visitor, one), expected);
        }
    }
}

fn a_change_by_one_leaves_the_other_entries_alone(tools: &Tools) {
    for shared in Shared::both(tools) {
        let (express, ours) = shared.applications(tools);
        for (one, other) in [(&express.url, &ours.url), (&ours.url, &express.url)] {
            let mut visitor = Visitor::new();
            visitor.post(&format!("{one}/_test/set"), EVERY_KIND);
            let added = visitor.post(
                &format!("{}/_test/add", ours.url),
                r#"{"text": "changed", "new 🌧": {"$t": "utf16", "v": "dc00"}, "9": "nine", "half": {"$t": "float", "v": "0.5", "bits": "3fe0000000000000"}}"#,
            );
            assert_eq!(added.status, 204);
            let before = typed::text(&typed::parse(EVERY_KIND));
            let expected = before
                .replace(r#""42":"#, r#""9":"nine","42":"#)
                .replace(&typed::text(&"Zoë \0\u{1f}\u{7f}\u{2028} 🧪 </script>".into()), "\"changed\"")
                .replace(
                    r#","y":1}}"#,
                    r#","y":1},"new 🌧":{"$t":"utf16","v":"dc00"},"half":{"$t":"float","v":"0.5","bits":"3fe0000000000000"}}"#,
                );
            assert_eq!(entries(&mut visitor, other), expected);
            assert_eq!(entries(&mut visitor, one), expected);
        }
    }
}

fn a_name_that_is_no_text_survives_a_change_by_ours(tools: &Tools) {
    for shared in Shared::both(tools) {
        let (express, ours) = shared.applications(tools);
        let mut visitor = Visitor::new();
        let odd = r#"{"$t":"map","v":[[{"$t":"utf16","v":"dc00"},"kept"]]}"#;
        assert_eq!(visitor.post(&format!("{}/_test/set", express.url), odd).status, 204);
        visitor.post(&format!("{}/_test/add", ours.url), r#"{"a": 1}"#);
        let expected = r#"{"$t":"map","v":[[{"$t":"utf16","v":"dc00"},"kept"],["a",1]]}"#;
        assert_eq!(entries(&mut visitor, &express.url), expected);
    }
}

fn a_session_cleared_by_one_is_empty_at_the_other(tools: &Tools) {
    for shared in Shared::both(tools) {
        let (express, ours) = shared.applications(tools);
        for (one, other) in [(&express.url, &ours.url), (&ours.url, &express.url)] {
            let mut visitor = Visitor::new();
            visitor.post(&format!("{other}/_test/set"), r#"{"a": 1}"#);
            assert_eq!(entries(&mut visitor, one), r#"{"a":1}"#);
            let before = visitor.clone();
            visitor.post(&format!("{one}/_test/clear"), "");
            assert_eq!(entries(&mut visitor, other), "{}");
            match &shared {
                Shared::CookieSession => assert!(visitor.jar.is_empty(), "{:?}", visitor.jar),
                Shared::ExpressSession(redis) => {
                    // Also for whoever kept the cookie.
                    assert_eq!(entries(&mut before.clone(), other), "{}");
                    assert_eq!(redis.keys(), Vec::<String>::new());
                    visitor = before;
                }
            }
            visitor.post(&format!("{other}/_test/set"), r#"{"b": 2}"#);
            assert_eq!(entries(&mut visitor, one), r#"{"b":2}"#);
            visitor.post(&format!("{other}/_test/clear"), "");
        }
    }
}

fn the_secret_changes_while_people_stay_logged_in(tools: &Tools) {
    for shared in Shared::both(tools) {
        let before = shared.express(tools, &[("SECRET_KEY", OLD)]);
        let ours = shared.ours(rotated(), |layer| layer);
        let mut visitor = Visitor::new();
        visitor.post(&format!("{}/_test/set", before.url), r#"{"a": 1}"#);
        let opened = visitor.get(&format!("{}/_test/get", ours.url));
        assert_eq!(opened.body, r#"{"a":1}"#);
        assert_eq!(opened.set_cookie.len(), shared.cookies(), "it is signed again: {:?}", opened.set_cookie);
        assert_eq!(visitor.get(&format!("{}/_test/get", ours.url)).set_cookie, Vec::<String>::new(), "once");
        let after = shared.express(tools, &[("SECRET_KEY", NEW)]);
        assert_eq!(entries(&mut visitor, &after.url), r#"{"a":1}"#);

        // And Express first: ours still has the old secret when Express reads both.
        let both = shared.express(tools, &[("SECRET_KEY", NEW), ("SECRET_KEY_FALLBACKS", OLD)]);
        let behind = shared.ours(OLD, |layer| layer);
        let mut visitor = Visitor::new();
        visitor.post(&format!("{}/_test/set", behind.url), r#"{"a": 1}"#);
        assert_eq!(entries(&mut visitor, &both.url), r#"{"a":1}"#);
        assert_eq!(entries(&mut visitor, &ours.url), r#"{"a":1}"#);
    }
}

fn rotated() -> Keyring {
    let secret = |text| Secret::new(text).expect("the secret is accepted");
    Keyring::new(secret(NEW)).fallback(secret(OLD))
}

fn another_secret_opens_nothing(tools: &Tools) {
    for shared in Shared::both(tools) {
        let (express, ours) = (shared.express(tools, &[("SECRET_KEY", OLD)]), shared.ours(NEW, |layer| layer));
        for (one, other) in [(&express.url, &ours.url), (&ours.url, &express.url)] {
            let mut visitor = Visitor::new();
            visitor.post(&format!("{one}/_test/set"), r#"{"a": 1}"#);
            assert_eq!(entries(&mut visitor.clone(), other), "{}");
            assert_eq!(entries(&mut visitor, one), r#"{"a":1}"#);
        }
    }
}

fn after_a_log_in_at_express_the_old_id_is_worth_nothing(tools: &Tools) {
    let (express, ours, shared) = on_redis(tools);
    log_in(&express.url, &ours.url, shared.redis());
}

fn after_a_log_in_at_ours_the_old_id_is_worth_nothing(tools: &Tools) {
    let (express, ours, shared) = on_redis(tools);
    log_in(&ours.url, &express.url, shared.redis());
}

fn log_in(one: &str, other: &str, redis: &Redis) {
    let mut visitor = Visitor::new();
    visitor.post(&format!("{other}/_test/set"), r#"{"cart": [1, 2]}"#);
    let mut planted = visitor.clone();
    visitor.post(&format!("{one}/_test/login"), r#"{"user": "ann"}"#);
    assert_ne!(key(&visitor), key(&planted));
    assert_eq!(redis.keys(), [key(&visitor)], "the old record is gone");
    for url in [other, one] {
        assert_eq!(entries(&mut planted, url), "{}");
        assert_eq!(entries(&mut visitor, url), r#"{"cart":[1,2],"user":"ann"}"#);
    }
}

fn a_session_that_express_made_permanent_is_prolonged_by_ours(tools: &Tools) {
    let (express, ours, shared) = on_redis(tools);
    let mut visitor = Visitor::new();
    visitor.post(&format!("{}/_test/set", express.url), r#"{"a": 1}"#);
    let permanent = visitor.post(&format!("{}/_test/permanent", express.url), "");
    assert!(permanent.only_cookie().contains("; Expires="), "{:?}", permanent.set_cookie);
    let (key, before) = (key(&visitor), expires(&shared.record(&key(&visitor))));
    thread::sleep(Duration::from_millis(20));
    shared.redis().expire(&key, 3000);
    let added = visitor.post(&format!("{}/_test/add", ours.url), r#"{"b": 2}"#);
    assert!(added.only_cookie().contains("; Expires="), "{:?}", added.set_cookie);
    let record = shared.record(&key);
    assert!(record.contains(r#""originalMaxAge":3600000"#), "{record}");
    assert!(expires(&record) > before, "{record}: not later than {before}");
    let ttl = shared.redis().ttl(&key);
    assert!((3599..=3600).contains(&ttl), "{ttl}");
    assert_eq!(entries(&mut visitor, &express.url), r#"{"a":1,"permanent":true,"b":2}"#);

    let no_more = visitor.post(&format!("{}/_test/permanent?on=0", ours.url), "");
    assert!(!no_more.only_cookie().contains("Expires"), "{:?}", no_more.set_cookie);
    assert!(shared.record(&key).contains(r#""originalMaxAge":null"#), "{}", shared.record(&key));
    assert_eq!(shared.redis().ttl(&key), 86_400);
}

fn a_session_that_ours_made_permanent_is_prolonged_by_express(tools: &Tools) {
    let shared = Shared::on_redis(tools);
    let express = shared.express(tools, &[]);
    let ours = shared.ours(LESSON, |layer| layer.lifetime(Lifetime::browser().idle(Duration::from_secs(3600))));
    let mut visitor = Visitor::new();
    visitor.post(&format!("{}/_test/set", ours.url), r#"{"a": 1}"#);
    let permanent = visitor.post(&format!("{}/_test/permanent", ours.url), "");
    assert!(permanent.only_cookie().contains("; Expires="), "{:?}", permanent.set_cookie);
    let (key, before) = (key(&visitor), expires(&shared.record(&key(&visitor))));
    thread::sleep(Duration::from_millis(20));
    let login = visitor.post(&format!("{}/_test/set", express.url), r#"{"a": 1, "b": 2}"#);
    assert!(login.only_cookie().contains("; Expires="), "{:?}", login.set_cookie);
    let record = shared.record(&key);
    assert!(record.contains(r#""originalMaxAge":3600000"#), "{record}");
    assert!(expires(&record) > before, "{record}: not later than {before}");
    assert!((3599..=3600).contains(&shared.redis().ttl(&key)));
    assert_eq!(entries(&mut visitor, &ours.url), r#"{"a":1,"b":2}"#);
}

/// What the record says of its end, as ISO 8601, which sorts as text.
fn expires(record: &str) -> String {
    let end = record.split(r#""expires":""#).nth(1).and_then(|rest| rest.split('"').next());
    end.unwrap_or_else(|| panic!("no end: {record}")).to_owned()
}

fn a_cookie_that_outlives_the_browser_does_so_at_both(tools: &Tools) {
    for shared in Shared::both(tools) {
        let express = shared.express(tools, &[("MAX_AGE", "3600000")]);
        let hour = Lifetime::persistent().idle(Duration::from_secs(3600));
        let ours = shared.ours(LESSON, |layer| layer.lifetime(hour));
        for (one, other) in [(&express.url, &ours.url), (&ours.url, &express.url)] {
            let mut visitor = Visitor::new();
            visitor.post(&format!("{one}/_test/set"), r#"{"a": 1}"#);
            let changed = visitor.post(&format!("{other}/_test/login"), r#"{"b": 2}"#);
            assert_eq!(changed.set_cookie.len(), shared.cookies());
            assert!(changed.set_cookie.iter().all(|cookie| cookie.to_ascii_lowercase().contains("; expires=")));
            assert_eq!(entries(&mut visitor, one), r#"{"a":1,"b":2}"#);
        }
    }
}

fn prefix_cookie_name_and_ttl_may_be_any(tools: &Tools) {
    let named = Shared::CookieSession;
    let (express, ours) =
        (named.express(tools, &[("COOKIE_NAME", "app.1")]), named.ours(LESSON, |layer| layer.cookie_name("app.1")));
    for (one, other) in [(&express.url, &ours.url), (&ours.url, &express.url)] {
        let mut visitor = Visitor::new();
        visitor.post(&format!("{one}/_test/set"), r#"{"a": 1}"#);
        assert_eq!(visitor.jar.keys().collect::<Vec<_>>(), ["app.1", "app.1.sig"]);
        assert_eq!(entries(&mut visitor, other), r#"{"a":1}"#);
    }

    let shared = Shared::on_redis(tools);
    let express = shared.express(tools, &[("COOKIE_NAME", "sid"), ("PREFIX", "shop:{1}:"), ("TTL", "600")]);
    let ours = shared.ours(LESSON, |layer| {
        layer
            .dialect(|secrets: &Keyring| ExpressSession::new(secrets).prefix("shop:{1}:"))
            .cookie_name("sid")
            .lifetime(Lifetime::browser().idle(Duration::from_secs(600)))
    });
    for (one, other) in [(&express.url, &ours.url), (&ours.url, &express.url)] {
        let mut visitor = Visitor::new();
        visitor.post(&format!("{one}/_test/set"), r#"{"a": 1}"#);
        let key = key_of(&visitor, "sid", "shop:{1}:");
        for (url, expected) in [(other, r#"{"a":1,"b":2}"#), (one, r#"{"a":1,"b":2,"c":3}"#)] {
            shared.redis().expire(&key, 60);
            let added = if url == other { r#"{"b": 2}"# } else { r#"{"c": 3}"# };
            add(&mut visitor, url, &express, added);
            let ttl = shared.redis().ttl(&key);
            assert!((599..=600).contains(&ttl), "{ttl}");
            assert_eq!(entries(&mut visitor, &express.url), expected);
            assert_eq!(entries(&mut visitor, &ours.url), expected);
        }
    }
}

/// Adds an entry. Express's route for that changes the id; here it is to stay, so all entries are set.
fn add(visitor: &mut Visitor, url: &str, express: &Express, entry: &str) {
    if url != express.url {
        visitor.post(&format!("{url}/_test/add"), entry);
        return;
    }
    let before = entries(visitor, url);
    let all = format!("{},{}", before.trim_end_matches('}'), entry.trim_start_matches('{'));
    visitor.post(&format!("{url}/_test/set"), &all);
}

fn a_hundred_requests_at_once_are_all_in_the_record(tools: &Tools) {
    const CROWD: u32 = 100;
    let (express, ours, shared) = on_redis(tools);
    let mut visitor = Visitor::new();
    visitor.post(&format!("{}/_test/set", express.url), r#"{"name": "Ada"}"#);
    let began = Instant::now();
    thread::scope(|scope| {
        for number in 0..CROWD {
            let (mut visitor, url) = (visitor.clone(), format!("{}/_test/count", ours.url));
            scope.spawn(move || {
                let counted = visitor.post(&url, &format!(r#"{{"entry {number}": {number}}}"#));
                assert_eq!(counted.status, 204, "{}", counted.body);
            });
        }
    });
    note(&format!("{CROWD} requests in {} ms", began.elapsed().as_millis()));
    let found = typed::parse(&entries(&mut visitor, &express.url));
    assert_eq!(found.get("count"), Some(&CROWD.into()));
    assert_eq!(found.get("name"), Some(&"Ada".into()));
    for number in 0..CROWD {
        assert_eq!(found.get(&format!("entry {number}")), Some(&number.into()));
    }
    assert_eq!(shared.redis().keys(), [key(&visitor)]);
}

fn reading_moves_the_ttl_after_a_tenth_and_changes_no_byte(tools: &Tools) {
    for settings in [&[("TTL", "1000")], &[("MAX_AGE", "1000000")]] {
        let shared = Shared::on_redis(tools);
        let express = shared.express(tools, settings);
        let ours = shared.ours(LESSON, |layer| layer.lifetime(Lifetime::browser().idle(Duration::from_secs(1000))));
        let mut visitor = Visitor::new();
        visitor.post(&format!("{}/_test/set", express.url), EVERY_KIND);
        let (key, record) = (key(&visitor), shared.record(&key(&visitor)));
        for (left, expected) in [(1000, 990..=1000), (950, 940..=950), (850, 990..=1000)] {
            shared.redis().expire(&key, left);
            assert!(visitor.get(&format!("{}/_test/get", ours.url)).body.contains("no index"));
            let ttl = shared.redis().ttl(&key);
            assert!(expected.contains(&ttl), "{left} were left, {ttl} are: {settings:?}");
            assert_eq!(shared.record(&key), record, "{settings:?}");
        }
        assert_eq!(shared.redis().keys(), [key]);
    }
}

/// What a side finds in the session, as typed JSON in the session's own order.
fn entries(visitor: &mut Visitor, url: &str) -> String {
    let answer = visitor.get(&format!("{url}/_test/get"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    typed::text(&typed::parse(&answer.body))
}
