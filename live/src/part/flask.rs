//! A Flask application and ours in one visit: each page from the other one, with one cookie jar.

use std::time::{Duration, SystemTime};

use dewar::{
    Keyring, Secret, SessionManager, Value,
    dialect::{Attributes, Timestamp},
};

use super::LESSON;
use crate::{
    http::Visitor,
    peer::{flask::Flask, ours, ours::Ours, questions::Questions},
    suite::{Part, note, scenarios},
    tools::{PYTHON, Tools},
    typed,
};

pub(crate) static PART: Part = Part {
    name: "flask",
    about: "a real Flask application and ours answer alternate pages of one visit",
    needs: &[&PYTHON],
    scenarios: scenarios![
        a_visit_begins_at_flask_and_goes_on_page_by_page,
        a_visit_begins_at_ours_and_goes_on_page_by_page,
        what_one_flashes_the_other_shows_once,
        starting_over_at_one_is_starting_over_at_both,
        every_kind_of_value_crosses_both_ways,
        a_change_by_one_leaves_the_other_entries_alone,
        a_name_that_is_no_text_survives_a_change_by_ours,
        a_session_made_permanent_by_one_stays_so_at_the_other,
        a_session_of_3_kb_crosses_both_ways,
        a_session_emptied_by_one_is_gone_at_the_other,
        flask_changes_its_secret_and_ours_follows,
        ours_changes_its_secret_and_flask_follows,
        clearing_removes_a_cookie_that_was_refused_and_none_that_is_not_there,
        another_secret_opens_nothing,
        a_secret_changes_at_both_and_no_step_loses_the_visit,
        a_public_secret_is_left_at_once_and_what_anybody_forges_opens_nothing,
        a_short_secret_is_read_by_both_until_its_date,
        who_logs_out_at_ours_is_not_remembered_by_flask_login,
        who_is_followed_by_another_at_ours_is_not_remembered_by_flask_login,
        what_removes_flask_login_s_cookie_is_what_flask_login_sends,
    ],
};

/// An older and a newer secret; commas separate fallbacks, so there is none in them.
const OLD: &str = "the secret of last winter 1";
const NEW: &str = "the secret of this spring 2";

/// The two applications, under the secret of the lesson.
fn applications(tools: &Tools) -> (Flask, Questions) {
    (Flask::start(tools, LESSON, ""), Questions::start("flask", LESSON, ""))
}

/// The two with routes that read and write any session.
fn test_routes(tools: &Tools) -> (Flask, Ours) {
    (Flask::start(tools, LESSON, ""), Ours::start(ours::flask(LESSON)))
}

fn a_visit_begins_at_flask_and_goes_on_page_by_page(tools: &Tools) {
    let (flask, ours) = applications(tools);
    alternate(&flask.url, &ours.url);
}

fn a_visit_begins_at_ours_and_goes_on_page_by_page(tools: &Tools) {
    let (flask, ours) = applications(tools);
    alternate(&ours.url, &flask.url);
}

/// A visit that begins at one and goes on at the other, page by page.
pub(super) fn alternate(one: &str, other: &str) {
    let mut visitor = Visitor::new();
    assert!(visitor.get(one).body.contains("Three questions, kept warm."));
    assert!(visitor.jar.is_empty(), "nothing was said yet, so there is no cookie");

    let page = visitor.submit(&format!("{one}/page2"), &[("firstName", "Zoë <z>"), ("lastName", "O'Neill & Söhne")]);
    assert!(page.body.contains("Pleased to meet you, <bdi>Zoë &lt;z&gt;</bdi>."), "{}", page.body);
    let page = visitor.get(&format!("{other}/page2"));
    assert!(page.body.contains("Pleased to meet you, <bdi>Zoë &lt;z&gt;</bdi>."), "{}", page.body);

    let page = visitor.submit(&format!("{other}/page3"), &[("favoriteColor", "the grey of a wet street 🌧")]);
    assert!(page.body.contains("all three answers are remembered"), "{}", page.body);
    for url in [one, other, one] {
        let page = visitor.get(&format!("{url}/page3"));
        for answer in ["Zoë &lt;z&gt;", "Neill &amp; Söhne", "the grey of a wet street 🌧"] {
            assert!(page.body.contains(answer), "{answer} is missing: {}", page.body);
        }
        assert!(page.body.contains("level-3"), "{}", page.body);
    }

    visitor.submit(&format!("{one}/page2"), &[("firstName", "Ada"), ("lastName", "Lovelace")]);
    assert!(visitor.get(other).body.contains("Welcome back, <bdi>Ada</bdi>."));
    let page = visitor.submit(&format!("{other}/startOver"), &[]);
    assert!(page.body.contains("level-0"), "{}", page.body);
    assert!(visitor.jar.is_empty(), "the cookie is removed");
    assert!(visitor.get(&format!("{one}/page3")).body.contains("not known yet"));
}

fn what_one_flashes_the_other_shows_once(tools: &Tools) {
    let (flask, ours) = applications(tools);
    let (their_routes, our_routes) = test_routes(tools);
    for (routes, pages) in [(&their_routes.url, &ours.url), (&our_routes.url, &flask.url)] {
        let mut visitor = Visitor::new();
        visitor.post(&format!("{routes}/_test/flash"), r#"{"message": "5 < 6", "category": "error"}"#);
        visitor.post(
            &format!("{routes}/_test/flash"),
            r#"{"message": {"$t": "markup", "v": "<b>bold</b>"}, "category": "success"}"#,
        );
        let page = visitor.get(&format!("{pages}/page1"));
        assert!(page.body.contains(r#"<p class="flash error" role="alert">5 &lt; 6</p>"#), "{}", page.body);
        assert!(page.body.contains(r#"<p class="flash success" role="status"><b>bold</b></p>"#), "{}", page.body);
        assert!(!visitor.get(&format!("{pages}/page1")).body.contains("bold"), "a message is shown once");
        assert_eq!(entries(&mut visitor, routes), "{}");
    }
}

fn starting_over_at_one_is_starting_over_at_both(tools: &Tools) {
    let (flask, ours) = applications(tools);
    for (one, other) in [(&flask.url, &ours.url), (&ours.url, &flask.url)] {
        let mut visitor = Visitor::new();
        visitor.submit(&format!("{one}/page2"), &[("firstName", "Ada"), ("lastName", "Lovelace")]);
        visitor.submit(&format!("{other}/startOver"), &[]);
        assert!(visitor.get(one).body.contains("Three questions, kept warm."));
    }
}

/// One of each kind, alone and nested, with the edges where JSON's readers part.
fn every_kind() -> Value {
    typed::parse(
        r#"{
        "null": null, "yes": true, "no": false, "text": "Zoë \u0000\u001f\u007f \ud83e\uddea </script>", "empty": "",
        "int": 9007199254740991, "big": {"$t": "int", "v": "-9223372036854775809"}, "huge": {"$t": "int", "v": "123456789012345678901234567890123456789"},
        "float": {"$t": "float", "v": "1.0", "bits": "3ff0000000000000"}, "minus zero": {"$t": "float", "v": "-0.0", "bits": "8000000000000000"},
        "nan": {"$t": "float", "v": "nan", "bits": "7ff8000000000000"}, "infinity": {"$t": "float", "v": "-inf", "bits": "fff0000000000000"},
        "bytes": {"$t": "bytes", "v": "00ff10fbef"}, "markup": {"$t": "markup", "v": "<b>bold</b>"},
        "uuid": {"$t": "uuid", "v": "12345678-1234-5678-1234-567812345678"}, "date": {"$t": "datetime", "v": "2023-11-14T22:13:20Z"},
        "lone": {"$t": "utf16", "v": "0041d8000042"}, "tuple": {"$t": "tuple", "v": [1, {"$t": "tuple", "v": []}, [{"$t": "bytes", "v": ""}]]},
        "list": [[], {}, [null, {"deep": [{"deeper": {"$t": "uuid", "v": "00000000-0000-0000-0000-000000000000"}}]}]],
        "tag": {" t": "not a tuple"}, "tags": {" di": {" t__": 1}}, " b": {"$t": "map", "v": [["$t", "text"]]}
    }"#,
    )
}

fn every_kind_of_value_crosses_both_ways(tools: &Tools) {
    let (flask, ours) = test_routes(tools);
    let session = typed::text(&every_kind());
    let expected = typed::text(&typed::sorted(&every_kind()));
    for (one, other) in [(&flask.url, &ours.url), (&ours.url, &flask.url)] {
        let mut visitor = Visitor::new();
        assert_eq!(visitor.post(&format!("{one}/_test/set"), &session).status, 204);
        assert_eq!(entries(&mut visitor, other), expected);
        assert_eq!(entries(&mut visitor, one), expected);
    }
}

fn a_change_by_one_leaves_the_other_entries_alone(tools: &Tools) {
    let (flask, ours) = test_routes(tools);
    let Value::Map(mut all) = every_kind() else { unreachable!() };
    let mut visitor = Visitor::new();
    visitor.post(&format!("{}/_test/set", flask.url), &typed::text(&every_kind()));
    for (turn, url) in [&ours.url, &flask.url, &ours.url].into_iter().enumerate() {
        let added = (Value::from(format!("turn {turn}")), Value::Tuple(vec![Value::Integer(turn as i64)]));
        visitor.post(&format!("{url}/_test/add"), &typed::text(&Value::Map(vec![added.clone()])));
        all.push(added);
    }
    let expected = typed::text(&typed::sorted(&Value::Map(all)));
    assert_eq!(entries(&mut visitor, &flask.url), expected);
    assert_eq!(entries(&mut visitor, &ours.url), expected);
}

fn a_name_that_is_no_text_survives_a_change_by_ours(tools: &Tools) {
    let (flask, ours) = test_routes(tools);
    let odd = r#"{"$t":"map","v":[[{"$t":"utf16","v":"dc00"},"kept"]]}"#;
    let mut visitor = Visitor::new();
    visitor.post(&format!("{}/_test/set", flask.url), odd);
    visitor.post(&format!("{}/_test/add", ours.url), r#"{"a": 1}"#);
    assert_eq!(entries(&mut visitor, &flask.url), r#"{"$t":"map","v":[["a",1],[{"$t":"utf16","v":"dc00"},"kept"]]}"#);
}

fn a_session_made_permanent_by_one_stays_so_at_the_other(tools: &Tools) {
    let (flask, ours) = test_routes(tools);
    for (one, other) in [(&flask.url, &ours.url), (&ours.url, &flask.url)] {
        let mut visitor = Visitor::new();
        visitor.post(&format!("{one}/_test/set"), r#"{"a": 1}"#);
        let permanent = visitor.post(&format!("{one}/_test/permanent"), "");
        assert!(permanent.only_cookie().contains("; Expires="), "{:?}", permanent.set_cookie);
        let added = visitor.post(&format!("{other}/_test/add"), r#"{"b": 2}"#);
        assert!(added.only_cookie().contains("; Expires="), "{:?}", added.set_cookie);
        assert!(!added.only_cookie().contains("Max-Age"), "{:?}", added.set_cookie);
        assert_eq!(entries(&mut visitor, one), r#"{"_permanent":true,"a":1,"b":2}"#);
        let no_more = visitor.post(&format!("{other}/_test/permanent?on=0"), "");
        assert!(!no_more.only_cookie().contains("Expires"), "{:?}", no_more.set_cookie);
        assert_eq!(entries(&mut visitor, one), r#"{"_permanent":false,"a":1,"b":2}"#);
    }
}

fn a_session_of_3_kb_crosses_both_ways(tools: &Tools) {
    let (flask, ours) = test_routes(tools);
    // Hardly compressible, as ids and tokens are: 70 of 64 digits.
    let mut dice = crate::generate::Dice::new(3);
    let ids = (0..70).map(|_| Value::Text((0..4).map(|_| format!("{:016x}", dice.next())).collect()));
    let session = Value::Map(vec![("ids".into(), Value::List(ids.collect())), ("name".into(), "Ada".into())]);
    let text = typed::text(&session);
    for (one, other) in [(&flask.url, &ours.url), (&ours.url, &flask.url)] {
        let mut visitor = Visitor::new();
        assert_eq!(visitor.post(&format!("{one}/_test/set"), &text).status, 204);
        assert!(visitor.session().starts_with('.') && visitor.session().len() > 3000, "{}", visitor.session());
        note(&format!("{} bytes of JSON, {} bytes of cookie", text.len(), visitor.session().len()));
        assert_eq!(entries(&mut visitor, other), text);
        visitor.post(&format!("{other}/_test/add"), r#"{"seen": true}"#);
        assert_eq!(entries(&mut visitor, one), text.replace("\"Ada\"", "\"Ada\",\"seen\":true"));
    }
}

fn a_session_emptied_by_one_is_gone_at_the_other(tools: &Tools) {
    let (flask, ours) = test_routes(tools);
    for (one, other) in [(&flask.url, &ours.url), (&ours.url, &flask.url)] {
        let mut visitor = Visitor::new();
        visitor.post(&format!("{one}/_test/set"), r#"{"a": 1}"#);
        let cleared = visitor.post(&format!("{other}/_test/clear"), "");
        assert_eq!(
            cleared.only_cookie(),
            "session=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; HttpOnly; Path=/"
        );
        assert_eq!(entries(&mut visitor, one), "{}");
    }
}

fn flask_changes_its_secret_and_ours_follows(tools: &Tools) {
    let before = Ours::start(ours::flask(OLD));
    let flask = Flask::start(tools, NEW, OLD);
    let mut visitor = Visitor::new();
    visitor.post(&format!("{}/_test/set", before.url), r#"{"a": 1}"#);
    assert_eq!(entries(&mut visitor, &flask.url), r#"{"a":1}"#);
    visitor.post(&format!("{}/_test/add", flask.url), r#"{"b": 2}"#);
    assert_eq!(entries(&mut visitor, &before.url), "{}", "ours does not know the new secret yet");
    let after = Ours::start(ours::flask(rotated()));
    assert_eq!(entries(&mut visitor, &after.url), r#"{"a":1,"b":2}"#);
}

fn ours_changes_its_secret_and_flask_follows(tools: &Tools) {
    let before = Flask::start(tools, OLD, "");
    let ours = Ours::start(ours::flask(rotated()));
    let mut visitor = Visitor::new();
    visitor.post(&format!("{}/_test/set", before.url), r#"{"a": 1}"#);
    assert_eq!(entries(&mut visitor, &ours.url), r#"{"a":1}"#);
    // Ours has signed it anew by only reading it.
    assert_eq!(entries(&mut visitor, &before.url), "{}", "Flask does not know the new secret yet");
    let after = Flask::start(tools, NEW, OLD);
    assert_eq!(entries(&mut visitor, &after.url), r#"{"a":1}"#);
}

fn clearing_removes_a_cookie_that_was_refused_and_none_that_is_not_there(tools: &Tools) {
    // Flask is ahead in the rotation: what it signs, ours cannot open yet. A log-out there must hold nevertheless.
    let flask = Flask::start(tools, NEW, OLD);
    let ours = Ours::start(ours::flask(OLD));
    let mut visitor = Visitor::new();
    visitor.post(&format!("{}/_test/set", flask.url), r#"{"user": "ann"}"#);
    assert_eq!(entries(&mut visitor, &ours.url), "{}");
    let cleared = visitor.post(&format!("{}/_test/clear", ours.url), "");
    assert!(cleared.only_cookie().starts_with("session=; Expires=Thu, 01 Jan 1970"), "{:?}", cleared.set_cookie);
    assert!(visitor.jar.is_empty());
    assert_eq!(entries(&mut visitor, &flask.url), "{}");

    let nothing = Visitor::new().post(&format!("{}/_test/clear", ours.url), "");
    assert_eq!(nothing.set_cookie, Vec::<String>::new());
    assert_eq!(Visitor::new().post(&format!("{}/_test/clear", flask.url), "").set_cookie.len(), 1, "Flask removes it");
}

fn rotated() -> Keyring {
    let secret = |text| Secret::new(text).expect("the secret is accepted");
    Keyring::new(secret(NEW)).fallback(secret(OLD))
}

fn another_secret_opens_nothing(tools: &Tools) {
    let flask = Flask::start(tools, OLD, "");
    let ours = Ours::start(ours::flask(NEW));
    for (one, other) in [(&flask.url, &ours.url), (&ours.url, &flask.url)] {
        let mut visitor = Visitor::new();
        visitor.post(&format!("{one}/_test/set"), r#"{"a": 1}"#);
        assert_eq!(entries(&mut visitor, other), "{}");
        assert_eq!(entries(&mut visitor, one), r#"{"a":1}"#, "the cookie of the other one stays");
    }
}

/// As `docs/coming-from-flask.md` says it: accepted, then used, then alone.
fn a_secret_changes_at_both_and_no_step_loses_the_visit(tools: &Tools) {
    let keyring = |first, second: Option<&str>| {
        let secret = |text| Secret::new(text).expect("the secret is accepted");
        second.map(secret).into_iter().fold(Keyring::new(secret(first)), Keyring::fallback)
    };
    let steps = [(OLD, None), (OLD, Some(NEW)), (NEW, Some(OLD)), (NEW, None)];
    let mut visitor = Visitor::new();
    let mut turns = 0;
    for step in steps.windows(2) {
        // Flask has the next step first, then ours has it, too.
        for (theirs, ours) in [(step[0], step[0]), (step[1], step[0]), (step[1], step[1])] {
            let flask = Flask::start(tools, theirs.0, theirs.1.unwrap_or_default());
            let ours = Ours::start(ours::flask(keyring(ours.0, ours.1)));
            for url in [&flask.url, &ours.url, &flask.url] {
                visitor.post(&format!("{url}/_test/add"), &format!(r#"{{"turn {turns:02}": true}}"#));
                turns += 1;
                assert_eq!(entries(&mut visitor, url).matches("turn").count(), turns, "{theirs:?}");
            }
        }
    }
}

fn a_public_secret_is_left_at_once_and_what_anybody_forges_opens_nothing(tools: &Tools) {
    // Who has read Flask's tutorial signs this.
    let forger = Flask::start(tools, "dev", "");
    let mut eve = Visitor::new();
    eve.post(&format!("{}/_test/set", forger.url), r#"{"_user_id": "admin"}"#);

    let flask = Flask::start(tools, NEW, "");
    let ours = Ours::start(ours::flask(NEW));
    for url in [&flask.url, &ours.url] {
        assert_eq!(entries(&mut eve.clone(), url), "{}");
    }
    let mut visitor = eve;
    visitor.post(&format!("{}/_test/set", ours.url), r#"{"a": 1}"#);
    assert_eq!(entries(&mut visitor, &flask.url), r#"{"a":1}"#, "who logs in again is in, at both");
}

fn a_short_secret_is_read_by_both_until_its_date(tools: &Tools) {
    const SHORT: &str = "x7!kQz-4";
    let seconds = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let ours_until = |until: SystemTime| {
        let former = SessionManager::builder(Secret::dangerously_weak(SHORT)).expect("a secret");
        let former = former.dialect(dewar::dialect::Flask::new).build().expect("the settings fit");
        Ours::start(ours::flask(NEW).reads_also(former, Timestamp::from_secs(seconds(until))))
    };
    let before = Flask::start(tools, SHORT, "");
    let mut visitor = Visitor::new();
    visitor.post(&format!("{}/_test/set", before.url), r#"{"a": 1}"#);
    visitor.post(&format!("{}/_test/permanent", before.url), "");
    let kept = visitor.clone();

    let flask = Flask::start(tools, NEW, SHORT);
    let ours = ours_until(SystemTime::now() + Duration::from_secs(600));
    assert_eq!(entries(&mut kept.clone(), &flask.url), r#"{"_permanent":true,"a":1}"#);
    let found = typed::parse(&entries(&mut visitor, &ours.url));
    assert_eq!(typed::text(&typed::sorted(&found)), r#"{"_permanent":true,"a":1}"#);
    assert_ne!(visitor.session(), kept.session(), "ours has signed it anew by only reading it");

    let (flask, ours) = (Flask::start(tools, NEW, ""), ours_until(SystemTime::now()));
    for url in [&flask.url, &ours.url] {
        assert_eq!(entries(&mut kept.clone(), url), "{}", "it is over");
        assert_eq!(
            entries(&mut visitor.clone(), url),
            r#"{"_permanent":true,"a":1}"#,
            "who came meanwhile is still in"
        );
    }
}

/// Flask with Flask-Login, and ours.
fn with_login(tools: &Tools) -> (Flask, Ours) {
    (Flask::with_login(tools, &[("SECRET_KEY", LESSON)]), Ours::start(ours::flask(LESSON)))
}

/// Ada, logged in at Flask with "remember me", and after a while without a session.
fn remembered_ada(flask: &Flask) -> Visitor {
    let mut ada = Visitor::new();
    assert_eq!(ada.post(&format!("{}/login?user=ada&remember", flask.url), "").status, 204);
    assert!(ada.jar.contains_key("remember_token"), "{:?}", ada.jar);
    ada.jar.remove("session");
    ada
}

fn who_logs_out_at_ours_is_not_remembered_by_flask_login(tools: &Tools) {
    let (flask, ours) = with_login(tools);
    let (theirs, here) = (format!("{}/whoami", flask.url), format!("{}/_test/whoami", ours.url));
    let mut ada = remembered_ada(&flask);
    assert_eq!(ada.get(&here).body, "nobody", "ours does not read Flask-Login's cookie");
    assert_eq!(ada.get(&theirs).body, "ada");
    assert_eq!(ada.get(&here).body, "ada", "Flask has written it into the session");

    ada.post(&format!("{}/_test/clear", ours.url), "");
    assert!(ada.jar.is_empty(), "{:?}", ada.jar);
    assert_eq!(ada.get(&theirs).body, "nobody");
    assert_eq!(ada.get(&here).body, "nobody");
}

fn who_is_followed_by_another_at_ours_is_not_remembered_by_flask_login(tools: &Tools) {
    let (flask, ours) = with_login(tools);
    let theirs = format!("{}/whoami", flask.url);
    let mut browser = remembered_ada(&flask);
    assert_eq!(browser.get(&theirs).body, "ada");
    browser.post(&format!("{}/_test/add", ours.url), r#"{"_user_id": "bob"}"#);
    assert_eq!(browser.get(&theirs).body, "bob");
    browser.jar.remove("session");
    assert_eq!(browser.get(&theirs).body, "nobody", "ada is not back when bob's session has run out");
}

fn what_removes_flask_login_s_cookie_is_what_flask_login_sends(tools: &Tools) {
    let names = [
        ("REMEMBER_COOKIE_NAME", "stay"),
        ("REMEMBER_COOKIE_DOMAIN", "example.org"),
        ("REMEMBER_COOKIE_PATH", "/shop"),
        ("SECRET_KEY", LESSON),
    ];
    let flask = Flask::with_login(tools, &names);
    let ours = Ours::start(ours::flask(LESSON).dialect(|secrets: &Keyring| {
        let (domain, path) = (Some("example.org".into()), "/shop".into());
        let remember = Attributes { domain, path, ..Attributes::new("stay") };
        dewar::dialect::Flask::new(secrets).remember_cookie(remember)
    }));
    let mut ada = Visitor::new();
    ada.post(&format!("{}/login?user=ada&remember", flask.url), "");
    let [theirs, ours] = [format!("{}/logout", flask.url), format!("{}/_test/clear", ours.url)].map(|url| {
        let sent = ada.clone().post(&url, "").set_cookie;
        let sent = sent.into_iter().find(|cookie| cookie.starts_with("stay=;")).expect("it is removed");
        sent.replace("; HttpOnly", "")
    });
    assert_eq!(theirs, ours);
}

/// What a side finds in the session, as typed JSON.
fn entries(visitor: &mut Visitor, url: &str) -> String {
    let answer = visitor.get(&format!("{url}/_test/get"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    typed::text(&typed::parse(&answer.body))
}
