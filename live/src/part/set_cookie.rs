//! The text of `Set-Cookie`, Flask's beside ours, at the same moment and with the same settings.

use std::time::Duration;

use dewar::{Lifetime, Reissue, SameSite, Session, SessionLayer, Value};

use super::LESSON;
use crate::{
    peer::{
        oracle::{Oracle, quoted},
        ours::{self, Direct},
    },
    suite::{Part, scenarios},
    tools::{PYTHON, Tools},
    typed,
};

pub(crate) static PART: Part = Part {
    name: "set-cookie",
    about: "the text of Set-Cookie, letter for letter, under every setting that Flask has",
    needs: &[&PYTHON],
    scenarios: scenarios![
        the_default_settings_write_the_same_text,
        every_session_cookie_setting_writes_the_same_text,
        a_lifetime_writes_the_same_expiry,
        every_request_issues_a_permanent_session_again_where_that_is_set,
    ],
};

/// What a request does to its session.
#[derive(Clone, Copy, Debug, Default)]
struct Act {
    clear: bool,
    set: &'static str,
    permanent: Option<bool>,
}

fn acts() -> [Act; 6] {
    let set = Act { set: r#"{"favoriteColor": "teal"}"#, ..Act::default() };
    [
        Act::default(),
        set,
        Act { permanent: Some(true), ..set },
        Act { permanent: Some(false), ..set },
        Act { clear: true, ..Act::default() },
        Act { clear: true, ..set },
    ]
}

/// Asks both sides, with no session before and with one that each has written itself.
fn compare(flask: &mut Oracle, settings: &str, name: &str, layer: SessionLayer, acts: &[Act]) {
    let ours = Direct::new(layer);
    for begin in [
        Act::default(),
        Act { set: r#"{"a": 1}"#, ..Act::default() },
        Act { set: r#"{"a": 1}"#, permanent: Some(true), ..Act::default() },
    ] {
        let first = theirs(flask, settings, "", begin);
        assert_eq!(first, by_ours(&ours, "", begin), "settings {settings}");
        let header = first.first().and_then(|cookie| cookie.split(';').next()).unwrap_or_default();
        assert!(header.is_empty() || header.starts_with(&format!("{name}=")), "{header}");
        for act in acts {
            let (theirs, ours) = (theirs(flask, settings, header, *act), by_ours(&ours, header, *act));
            // Flask also removes a cookie that was never there.
            let removes_nothing = header.is_empty() && theirs.iter().any(|cookie| cookie.contains("Max-Age=0"));
            assert_eq!(
                if removes_nothing { Vec::new() } else { theirs },
                ours,
                "settings {settings}, after {header:?}: {act:?}"
            );
        }
    }
}

fn theirs(flask: &mut Oracle, settings: &str, header: &str, act: Act) -> Vec<String> {
    let set = if act.set.is_empty() { "{}" } else { act.set };
    let permanent = act.permanent.map_or("null".into(), |permanent| permanent.to_string());
    let question = format!(
        r#"{{"op": "respond", "settings": {settings}, "header": {}, "clear": {}, "set": {set}, "permanent": {permanent}}}"#,
        quoted(header),
        act.clear
    );
    let answer = flask.ask(&[question]).remove(0);
    let cookies = answer.get("set_cookie").and_then(Value::as_list).expect("a list of cookies");
    cookies.iter().map(|cookie| cookie.as_str().expect("text").to_owned()).collect()
}

fn by_ours(ours: &Direct, header: &str, act: Act) -> Vec<String> {
    let handler = |session: &Session| {
        if act.clear {
            session.clear();
        }
        if let Value::Map(entries) = typed::parse(if act.set.is_empty() { "{}" } else { act.set }) {
            for (name, value) in entries {
                session.insert(name.as_str().expect("a name is text"), value);
            }
        }
        match act.permanent {
            Some(true) => session.set_lifetime(Lifetime::persistent()),
            Some(false) => session.set_lifetime(Lifetime::browser()),
            None => {}
        }
    };
    ours.respond(header, handler).expect("it fits into a cookie")
}

fn the_default_settings_write_the_same_text(tools: &Tools) {
    let mut flask = Oracle::start(tools, LESSON);
    compare(&mut flask, r#"{"SESSION_REFRESH_EACH_REQUEST": false}"#, "session", ours::flask(LESSON), &acts());
}

fn every_session_cookie_setting_writes_the_same_text(tools: &Tools) {
    let mut flask = Oracle::start(tools, LESSON);
    let layer = || ours::flask(LESSON);
    let settings: [(&str, &str, SessionLayer); 10] = [
        (r#""SESSION_COOKIE_NAME": "visit""#, "visit", layer().cookie_name("visit")),
        (r#""SESSION_COOKIE_DOMAIN": "example.org""#, "session", layer().domain("example.org")),
        (r#""SESSION_COOKIE_PATH": "/shop""#, "session", layer().path("/shop")),
        (r#""SESSION_COOKIE_HTTPONLY": false"#, "session", layer().dangerously_allow_scripts()),
        (r#""SESSION_COOKIE_SECURE": true"#, "session", layer().secure(true)),
        (r#""SESSION_COOKIE_SAMESITE": "Strict""#, "session", layer().same_site(SameSite::Strict)),
        (r#""SESSION_COOKIE_SAMESITE": "Lax""#, "session", layer().same_site(SameSite::Lax)),
        (
            r#""SESSION_COOKIE_SAMESITE": "None", "SESSION_COOKIE_SECURE": true"#,
            "session",
            layer().same_site(SameSite::None).secure(true),
        ),
        (
            r#""SESSION_COOKIE_PARTITIONED": true, "SESSION_COOKIE_SECURE": true"#,
            "session",
            layer().partitioned(true).secure(true),
        ),
        (
            r#""SESSION_COOKIE_NAME": "all", "SESSION_COOKIE_DOMAIN": "example.org", "SESSION_COOKIE_PATH": "/a", "SESSION_COOKIE_SECURE": true, "SESSION_COOKIE_SAMESITE": "None", "SESSION_COOKIE_PARTITIONED": true"#,
            "all",
            layer()
                .cookie_name("all")
                .domain("example.org")
                .path("/a")
                .secure(true)
                .same_site(SameSite::None)
                .partitioned(true),
        ),
    ];
    for (setting, name, layer) in settings {
        compare(&mut flask, &format!(r#"{{"SESSION_REFRESH_EACH_REQUEST": false, {setting}}}"#), name, layer, &acts());
    }
}

fn a_lifetime_writes_the_same_expiry(tools: &Tools) {
    let mut flask = Oracle::start(tools, LESSON);
    for seconds in [1, 59, 3600, 86_400, 31_536_000] {
        let layer = ours::flask(LESSON).lifetime(Lifetime::browser().idle(Duration::from_secs(seconds)));
        let settings = format!(r#"{{"SESSION_REFRESH_EACH_REQUEST": false, "PERMANENT_SESSION_LIFETIME": {seconds}}}"#);
        compare(&mut flask, &settings, "session", layer, &acts());
    }
}

fn every_request_issues_a_permanent_session_again_where_that_is_set(tools: &Tools) {
    let mut flask = Oracle::start(tools, LESSON);
    compare(&mut flask, "{}", "session", ours::flask(LESSON).reissue(Reissue::EveryRequest), &acts());
}
