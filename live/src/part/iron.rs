//! An application with iron-session and ours in one visit, with one cookie jar: releases 8 and 9.

use std::{thread, time::Duration};

use dewar::{
    Keyring, Lifetime, Secret, SessionLayer,
    dialect::{self, Dialect},
};

use super::browser::one_browser_visits;
use crate::{
    http::Visitor,
    peer::{iron::Iron, ours::Ours},
    suite::{Part, scenarios},
    tools::{CHROMEDRIVER, CHROMIUM, IRON, Tools},
    typed,
};

pub(crate) static PART: Part = Part {
    name: "iron",
    about: "a real application with iron-session and ours in one visit, in releases 8 and 9",
    needs: &[&IRON, &CHROMIUM, &CHROMEDRIVER],
    scenarios: scenarios![
        every_kind_of_value_crosses_both_ways_in_its_order,
        a_change_by_one_leaves_the_other_entries_alone,
        a_session_cleared_by_one_is_empty_at_the_other,
        the_password_changes_while_people_stay_logged_in,
        a_password_that_is_left_alone_keeps_its_id,
        another_password_opens_nothing,
        a_session_is_over_at_both_at_the_same_moment,
        both_say_the_same_of_a_cookies_lifetime,
        a_seal_without_an_end_opens_at_both,
        one_browser_visits_iron_session_and_the_questions,
    ],
};

const RELEASES: [&str; 2] = ["8", "9"];
const OLD: &str = "the password of last winter, 1, at least 32 characters";
const NEW: &str = "the password of this spring, 2, at least 32 characters";

/// One of each kind, alone and nested, as JavaScript orders them: integer-like names first.
const EVERY_KIND: &str = r#"{
    "0": "zero", "7": [1, [], {}], "42": null, "b": true, "a": false, "-1": "no index", "01": "nor this",
    "text": "Zoë \u0000\u001f\u007f\u2028 🧪 </script>", "empty": "", "toString": "a name of every object",
    "int": 9007199254740991, "negative": -9007199254740991,
    "float": {"$t": "float", "v": "0.1", "bits": "3fb999999999999a"}, "tiny": {"$t": "float", "v": "5e-324", "bits": "0000000000000001"},
    "large": {"$t": "float", "v": "1e+21", "bits": "444b1ae4d6e2ef50"}, "largest": {"$t": "float", "v": "1.7976931348623157e+308", "bits": "7fefffffffffffff"},
    "lone": {"$t": "utf16", "v": "0041d8000042"}, "🧪 name": {"2": "two", "10": "ten", "z": {"deep": [{"deeper": "é"}]}, "y": 1}
}"#;

fn layer(secrets: impl Into<Keyring>) -> SessionLayer {
    SessionLayer::new(secrets.into()).expect("the secret is accepted").dialect(dialect::Iron::new)
}

fn with_options(secrets: impl Into<Keyring>, options: &str) -> SessionLayer {
    let known = dialect::all().find(|known| known.name == "iron-session").expect("the dialect is compiled in");
    let make = known.with(options).expect("the options are known");
    let layer = SessionLayer::new(secrets.into()).expect("the secret is accepted");
    layer.dialect(move |secrets: &Keyring| -> Box<dyn Dialect> { make(secrets) })
}

fn secret(text: &str) -> Secret {
    Secret::new(text).expect("the secret is accepted")
}

fn json(password: &str) -> String {
    format!("{password:?}")
}

/// Both applications of each release, under one password.
fn pairs(tools: &Tools) -> impl Iterator<Item = (Iron, Ours)> {
    RELEASES.iter().map(|release| (Iron::start(tools, release, &json(NEW), &[]), Ours::start(layer(secret(NEW)))))
}

fn every_kind_of_value_crosses_both_ways_in_its_order(tools: &Tools) {
    let expected = typed::text(&typed::parse(EVERY_KIND));
    for (iron, ours) in pairs(tools) {
        for (one, other) in [(&iron.url, &ours.url), (&ours.url, &iron.url)] {
            let mut visitor = Visitor::new();
            let set = visitor.post(&format!("{one}/_test/set"), EVERY_KIND);
            assert_eq!((set.status, visitor.jar.len()), (204, 1), "{}", set.body);
            assert_eq!(entries(&mut visitor, other), expected);
            assert_eq!(entries(&mut visitor, one), expected);
        }
    }
}

fn a_change_by_one_leaves_the_other_entries_alone(tools: &Tools) {
    for (iron, ours) in pairs(tools) {
        for (one, other) in [(&iron.url, &ours.url), (&ours.url, &iron.url)] {
            let mut visitor = Visitor::new();
            visitor.post(&format!("{one}/_test/set"), EVERY_KIND);
            let added = visitor.post(&format!("{other}/_test/add"), r#"{"text": "changed", "new": 1}"#);
            assert_eq!(added.status, 204, "{}", added.body);
            let expected = typed::text(&typed::parse(EVERY_KIND))
                .replace(&typed::text(&"Zoë \0\u{1f}\u{7f}\u{2028} 🧪 </script>".into()), "\"changed\"")
                .replace(r#","y":1}}"#, r#","y":1},"new":1}"#);
            assert_eq!(entries(&mut visitor, one), expected);
            assert_eq!(entries(&mut visitor, other), expected);
        }
    }
}

fn a_session_cleared_by_one_is_empty_at_the_other(tools: &Tools) {
    for (iron, ours) in pairs(tools) {
        for (one, other) in [(&iron.url, &ours.url), (&ours.url, &iron.url)] {
            let mut visitor = Visitor::new();
            visitor.post(&format!("{other}/_test/set"), r#"{"a": 1}"#);
            assert_eq!(entries(&mut visitor, one), r#"{"a":1}"#);
            visitor.post(&format!("{one}/_test/clear"), "");
            assert!(visitor.jar.is_empty(), "{:?}", visitor.jar);
            assert_eq!(entries(&mut visitor, other), "{}");
            visitor.post(&format!("{other}/_test/set"), r#"{"b": 2}"#);
            assert_eq!(entries(&mut visitor, one), r#"{"b":2}"#);
        }
    }
}

fn the_password_changes_while_people_stay_logged_in(tools: &Tools) {
    let both = format!(r#"{{"1": {OLD:?}, "2": {NEW:?}}}"#);
    let rotated = || Keyring::new(secret(NEW)).fallback(secret(OLD));
    for release in RELEASES {
        let before = Iron::start(tools, release, &json(OLD), &[]);
        let after = Iron::start(tools, release, &both, &[]);
        let ours = Ours::start(layer(rotated()));
        let mut visitor = Visitor::new();
        visitor.post(&format!("{}/_test/set", before.url), r#"{"a": 1}"#);
        let opened = visitor.get(&format!("{}/_test/get", ours.url));
        assert_eq!(opened.body, r#"{"a":1}"#);
        assert!(opened.only_cookie().contains("Fe26.2*2*"), "it is sealed again: {:?}", opened.set_cookie);
        assert_eq!(visitor.get(&format!("{}/_test/get", ours.url)).set_cookie, Vec::<String>::new(), "once");
        assert_eq!(entries(&mut visitor, &after.url), r#"{"a":1}"#);

        // And iron-session first: ours still has the old password when iron-session reads both.
        let behind = Ours::start(layer(secret(OLD)));
        let mut visitor = Visitor::new();
        visitor.post(&format!("{}/_test/set", behind.url), r#"{"a": 1}"#);
        assert_eq!(entries(&mut visitor, &after.url), r#"{"a":1}"#);
        visitor.post(&format!("{}/_test/add", after.url), r#"{"b": 2}"#);
        assert_eq!(entries(&mut visitor, &ours.url), r#"{"a":1,"b":2}"#);
    }
}

fn a_password_that_is_left_alone_keeps_its_id(tools: &Tools) {
    for release in RELEASES {
        let iron = Iron::start(tools, release, &format!(r#"{{"7": {NEW:?}}}"#), &[]);
        let ours = Ours::start(with_options(secret(NEW), "password_ids=7"));
        for (one, other) in [(&iron.url, &ours.url), (&ours.url, &iron.url)] {
            let mut visitor = Visitor::new();
            let set = visitor.post(&format!("{one}/_test/set"), r#"{"a": 1}"#);
            assert!(set.only_cookie().contains("Fe26.2*7*"), "{:?}", set.set_cookie);
            assert_eq!(entries(&mut visitor, other), r#"{"a":1}"#);
        }
    }
}

fn another_password_opens_nothing(tools: &Tools) {
    for release in RELEASES {
        let (iron, ours) = (Iron::start(tools, release, &json(OLD), &[]), Ours::start(layer(secret(NEW))));
        for (one, other) in [(&iron.url, &ours.url), (&ours.url, &iron.url)] {
            let mut visitor = Visitor::new();
            visitor.post(&format!("{one}/_test/set"), r#"{"a": 1}"#);
            assert_eq!(entries(&mut visitor.clone(), other), "{}");
            assert_eq!(entries(&mut visitor, one), r#"{"a":1}"#);
        }
    }
}

/// Both seal the same end; the 60 seconds that a seal is good for beyond it are not waited for.
fn a_session_is_over_at_both_at_the_same_moment(tools: &Tools) {
    for release in RELEASES {
        let iron = Iron::start(tools, release, &json(NEW), &[("TTL", "1")]);
        let lifetime = Lifetime::persistent().idle(Duration::from_secs(1));
        let ours = Ours::start(layer(secret(NEW)).lifetime(lifetime));
        let mut seals = Vec::new();
        for url in [&iron.url, &ours.url] {
            let mut visitor = Visitor::new();
            visitor.post(&format!("{url}/_test/set"), r#"{"a": 1}"#);
            seals.push(visitor.jar.get("iron-session").expect("there is a session").to_owned());
        }
        let end = |seal: &str| seal.split('*').nth(5).and_then(|end| end.parse::<i64>().ok()).expect("it has an end");
        let apart = (end(&seals[0]) - end(&seals[1])).abs();
        assert!(apart < 2000, "{apart} ms");
        thread::sleep(Duration::from_secs(2));
        // Within the 60 seconds both still read both.
        for seal in &seals {
            for url in [&iron.url, &ours.url] {
                let mut visitor = Visitor::new();
                visitor.jar.insert("iron-session".into(), seal.clone());
                assert_eq!(entries(&mut visitor, url), r#"{"a":1}"#);
            }
        }
    }
}

fn both_say_the_same_of_a_cookies_lifetime(tools: &Tools) {
    for release in RELEASES {
        for (ttl, lifetime) in [("", None), ("3600", Some(3600))] {
            let settings = [("TTL", ttl)];
            let iron = Iron::start(tools, release, &json(NEW), if ttl.is_empty() { &[] } else { &settings });
            let layer = layer(secret(NEW));
            let ours = Ours::start(match lifetime {
                Some(seconds) => layer.lifetime(Lifetime::persistent().idle(Duration::from_secs(seconds))),
                None => layer,
            });
            let attributes = |url: &str| {
                let set = Visitor::new().post(&format!("{url}/_test/set"), r#"{"a": 1}"#);
                set.only_cookie().split_once("; ").expect("it has attributes").1.to_owned()
            };
            assert_eq!(attributes(&ours.url), attributes(&iron.url));
        }
    }
}

fn a_seal_without_an_end_opens_at_both(tools: &Tools) {
    for release in RELEASES {
        let iron = Iron::start(tools, release, &json(NEW), &[("TTL", "0")]);
        let ours = Ours::start(with_options(secret(NEW), "unlimited=true"));
        let mut said = Vec::new();
        for (one, other) in [(&iron.url, &ours.url), (&ours.url, &iron.url)] {
            let mut visitor = Visitor::new();
            let set = visitor.post(&format!("{one}/_test/set"), r#"{"a": 1}"#);
            said.push(set.only_cookie().split_once("; ").expect("it has attributes").1.to_owned());
            assert_eq!(entries(&mut visitor, other), r#"{"a":1}"#);
        }
        assert_eq!(said[0], said[1]);
    }
}

/// What a side finds in the session, as typed JSON in the session's own order.
fn entries(visitor: &mut Visitor, url: &str) -> String {
    let answer = visitor.get(&format!("{url}/_test/get"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    typed::text(&typed::parse(&answer.body))
}

fn one_browser_visits_iron_session_and_the_questions(tools: &Tools) {
    for release in RELEASES {
        let iron = Iron::start(tools, release, &json(NEW), &[]);
        let settings = [("SESSION_DIALECT", "iron"), ("SESSION_COOKIE", "iron-session"), ("SECRET_KEY", NEW)];
        one_browser_visits(tools, &format!("iron-session-{release}"), &iron.url, &settings);
    }
}
