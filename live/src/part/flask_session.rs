//! A Flask application with Flask-Session and ours in one visit, with one cookie jar, on one Redis.

use std::{fmt, time::Duration};

use dewar::{
    Keyring, Lifetime, SessionLayer, Value,
    dialect::{FlaskSession, SerializationFormat},
};

use super::{LESSON, browser::one_browser_visits, flask::alternate};
use crate::{
    http::Visitor,
    peer::{flask::Flask, ours::Ours, questions::Questions, redis::Redis},
    races,
    routes::{post, same, whole},
    suite::{Part, scenarios},
    tools::{CHROMEDRIVER, CHROMIUM, PYTHON, REDIS, Tools},
    typed,
};

pub(crate) static PART: Part = Part {
    name: "flask-session",
    about: "a real Flask application with Flask-Session and Flask-Login and ours in one visit: an id, records in Redis",
    needs: &[&PYTHON, &REDIS, &CHROMIUM, &CHROMEDRIVER],
    scenarios: scenarios![
        one_visit_is_answered_in_turn_in_both_formats_signed_and_not,
        the_questions_are_answered_page_by_page_by_each_in_turn,
        every_kind_of_value_crosses_both_ways_in_its_order,
        the_record_of_ours_is_the_record_of_theirs_to_the_byte,
        what_one_refuses_to_write_the_other_does_too,
        twenty_alternating_writes_are_all_in_the_record,
        after_a_log_out_on_either_side_the_old_cookie_opens_nothing,
        a_session_emptied_by_one_is_gone_at_both,
        a_second_visitor_stays_another,
        a_message_that_one_leaves_is_shown_once_by_the_other,
        a_log_in_of_one_is_believed_by_the_other_also_where_it_is_guarded_strongly,
        an_id_that_one_regenerates_is_the_only_one_at_both,
        a_session_made_permanent_by_one_stays_so_at_the_other,
        the_cookie_is_spelled_as_flask_session_spells_it,
        an_id_that_leads_nowhere_is_adopted_by_nobody,
        what_is_no_record_is_left_alone_and_a_pickle_is_never_run_here,
        the_format_changes_and_nobody_is_logged_out,
        prefix_cookie_name_and_lifetime_may_be_any,
        reading_moves_the_ttl_after_a_tenth_and_changes_no_byte,
        twenty_races_without_a_lock_are_counted,
        one_browser_visits_flask_session_and_the_questions,
    ],
};

pub(crate) static LONG: Part = Part {
    name: "flask-session-long",
    about: "five hundred races of Flask-Session's pages and ours, which it has no lock for, in each format",
    needs: &[&PYTHON, &REDIS],
    scenarios: scenarios![five_hundred_races_without_a_lock_are_counted],
};

/// What both applications are told.
#[derive(Clone, Copy, Debug)]
struct Form {
    format: SerializationFormat,
    use_signer: bool,
    permanent: bool,
}

impl Form {
    const USUAL: Self = Self { format: SerializationFormat::MsgPack, use_signer: false, permanent: true };
    const JSON: Self = Self { format: SerializationFormat::Json, ..Self::USUAL };
    const FORMATS: [Self; 2] = [Self::USUAL, Self::JSON];
    const ALL: [Self; 4] = [
        Self::USUAL,
        Self::JSON,
        Self { use_signer: true, permanent: false, ..Self::USUAL },
        Self { use_signer: true, ..Self::JSON },
    ];

    fn format_name(self) -> &'static str {
        match self.format {
            SerializationFormat::MsgPack => "msgpack",
            SerializationFormat::Json => "json",
        }
    }

    fn flask(self, tools: &Tools, redis: &Redis, settings: &[(&str, &str)]) -> Flask {
        let flag = |set| if set { "1" } else { "0" };
        let port = redis.url.rsplit(':').next().unwrap_or_default();
        let own = [
            ("SECRET_KEY", LESSON),
            ("REDIS_PORT", port),
            ("FORMAT", self.format_name()),
            ("USE_SIGNER", flag(self.use_signer)),
            ("PERMANENT", flag(self.permanent)),
        ];
        Flask::server_side(tools, &[&own, settings].concat())
    }

    fn dialect(self, secrets: &Keyring) -> FlaskSession {
        FlaskSession::new(secrets).format(self.format).use_signer(self.use_signer).permanent(self.permanent)
    }

    fn ours(self, redis: &Redis, change: impl FnOnce(SessionLayer) -> SessionLayer) -> Ours {
        Ours::start_within(|| {
            let layer = SessionLayer::new(LESSON).expect("a secret");
            change(layer.dialect(move |secrets: &Keyring| self.dialect(secrets)).store(redis.store()))
        })
    }

    /// The same as settings of the environment.
    fn questions(self, redis: &Redis) -> Questions {
        Questions::start_as(&self.settings(redis).each_ref().map(|(name, value)| (*name, &**value)))
    }

    fn settings(self, redis: &Redis) -> [(&'static str, String); 4] {
        let (format, use_signer, permanent) = (self.format_name(), self.use_signer, self.permanent);
        [
            ("SESSION_DIALECT", "flask-session".into()),
            ("SESSION_STORE", redis.url.clone()),
            ("SESSION_OPTIONS", format!("format={format},use_signer={use_signer},permanent={permanent}")),
            ("SECRET_KEY", LESSON.into()),
        ]
    }
}

/// The two applications on one Redis.
struct Site {
    form: Form,
    flask: Flask,
    ours: Ours,
    redis: Redis,
}

impl Site {
    fn start(tools: &Tools, form: Form) -> Self {
        Self::with(tools, form, &[])
    }

    fn with(tools: &Tools, form: Form, settings: &[(&str, &str)]) -> Self {
        let redis = Redis::start(tools);
        Self { form, flask: form.flask(tools, &redis, settings), ours: form.ours(&redis, |layer| layer), redis }
    }

    /// Both ways: who begins, and the other.
    fn ways(&self) -> [(&str, &str); 2] {
        [(&self.flask.url, &self.ours.url), (&self.ours.url, &self.flask.url)]
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.form)
    }
}

/// What an application reads, without what is Flask's own.
fn entries(visitor: &mut Visitor, url: &str) -> Value {
    let Value::Map(mut entries) = whole(visitor, url) else { return Value::Map(Vec::new()) };
    entries.retain(|(name, _)| name.as_str() != Some("_permanent"));
    Value::Map(entries)
}

fn get(visitor: &mut Visitor, url: &str, route: &str) -> String {
    let answer = visitor.get(&format!("{url}/_test/{route}"));
    assert_eq!(answer.status, 200, "{url}, {route}: {}", answer.body);
    answer.body
}

/// The id in the visitor's cookie.
fn sid(visitor: &Visitor) -> &str {
    let sid = visitor.session().split('.').next().unwrap_or_default();
    assert_eq!(sid.len(), 43, "{sid}");
    sid
}

fn key(visitor: &Visitor) -> String {
    format!("session:{}", sid(visitor))
}

fn one_visit_is_answered_in_turn_in_both_formats_signed_and_not(tools: &Tools) {
    for form in Form::ALL {
        let site = Site::start(tools, form);
        for (one, other) in site.ways() {
            let mut visitor = Visitor::new();
            post(&mut visitor, one, "set", r#"{"name": "Zoë", "n": {"deep": [1, true, null]}}"#);
            let id = sid(&visitor).to_owned();
            assert_eq!(visitor.session().len(), if form.use_signer { 71 } else { 43 }, "{site}");
            post(&mut visitor, other, "add", r#"{"n": 2}"#);
            post(&mut visitor, one, "add", r#"{"last": []}"#);
            for url in [one, other, one] {
                same(&entries(&mut visitor, url), r#"{"name": "Zoë", "n": 2, "last": []}"#);
                // `session.clear()` of Flask-Session says `False` where nothing was said.
                let is_permanent = whole(&mut visitor, url).get("_permanent") == Some(&Value::Bool(true));
                assert_eq!(is_permanent, form.permanent, "{site}");
                assert_eq!(sid(&visitor), id, "{site}: it is the same session");
            }
            assert_eq!(site.redis.keys(), [key(&visitor)], "{site}");
            let ttl = site.redis.ttl(&key(&visitor));
            assert!((2_678_300..=2_678_400).contains(&ttl), "{site}: {ttl}");
            post(&mut visitor, other, "clear", "");
            assert!(visitor.jar.is_empty() && site.redis.keys().is_empty(), "{site}: {:?}", site.redis.keys());
        }
    }
}

fn the_questions_are_answered_page_by_page_by_each_in_turn(tools: &Tools) {
    for form in Form::ALL {
        let redis = Redis::start(tools);
        let (flask, ours) = (form.flask(tools, &redis, &[]), form.questions(&redis));
        alternate(&flask.url, &ours.url);
        alternate(&ours.url, &flask.url);
        assert_eq!(redis.keys(), Vec::<String>::new(), "{form:?}");
    }
}

/// One of each kind that both formats hold, alone and nested.
const EVERY_KIND: &str = r#"{
    "text": "Zoë \u0000\u001f\u007f\u2028 🧪 </script> & / more", "empty": "", "t": true, "f": false, "none": null,
    "int": 9007199254740991, "negative": -1, "long": {"$t": "int", "v": "-9223372036854775808"}, "unsigned": {"$t": "int", "v": "18446744073709551615"},
    "half": {"$t": "float", "v": "0.5", "bits": "3fe0000000000000"}, "tiny": {"$t": "float", "v": "5e-324", "bits": "0000000000000001"},
    "one": {"$t": "float", "v": "1.0", "bits": "3ff0000000000000"}, "large": {"$t": "float", "v": "1e25", "bits": "45208b2a2c280291"},
    "minus": {"$t": "float", "v": "-0.0", "bits": "8000000000000000"},
    "<name> 🧪/": {"two": "2", "z": {"deep": [{"deeper": null}]}, "": []}, "list": [1, [2, []], "x"], "10": "ten", "a": 1
}"#;

/// What MessagePack holds and JSON does not.
const OF_MSGPACK: &str = r#"{
    "bytes": {"$t": "bytes", "v": "00ff10"}, "keys": {"$t": "map", "v": [[5, "five"], ["x", 1], [-1, []]]},
    "infinite": {"$t": "float", "v": "inf", "bits": "7ff0000000000000"}, "nan": {"$t": "float", "v": "nan", "bits": "7ff8000000000000"},
    "second": {"$t": "datetime", "v": "2023-11-14T22:13:20+00:00"}, "micro": {"$t": "datetime", "v": "1960-01-02T03:04:05.250001+00:00"}
}"#;

/// What JSON holds and MessagePack does not.
const OF_JSON: &str = r#"{"huge": {"$t": "int", "v": "123456789012345678901234567890123456789"}}"#;

/// What comes back as something else, and as what: in MessagePack, and in JSON.
const CHANGED: [(&str, &str, &str); 4] = [
    (r#"{"$t": "tuple", "v": [1, {"$t": "tuple", "v": []}]}"#, "[1, []]", "[1, []]"),
    (
        r#"{"$t": "uuid", "v": "12345678-1234-5678-1234-567812345678"}"#,
        r#""12345678-1234-5678-1234-567812345678""#,
        r#""12345678-1234-5678-1234-567812345678""#,
    ),
    (r#"{"$t": "bytes", "v": "0001feff"}"#, r#"{"$t": "bytes", "v": "0001feff"}"#, r#""AAH+/w==""#),
    (
        r#"{"$t": "datetime", "v": "2023-11-14T22:13:20.987654+00:00"}"#,
        r#"{"$t": "datetime", "v": "2023-11-14T22:13:20.987654+00:00"}"#,
        r#""2023-11-14T22:13:20.987654Z""#,
    ),
];

/// All that the format holds, as it is said and as it comes back.
fn kinds(form: Form) -> Vec<(String, String)> {
    let is_json = form.format == SerializationFormat::Json;
    let same =
        [EVERY_KIND, if is_json { OF_JSON } else { OF_MSGPACK }].map(|kinds| (kinds.to_owned(), kinds.to_owned()));
    let changed = CHANGED.map(|(said, packed, json)| {
        let entry = |value: &str| format!(r#"{{"v": {value}, "l": [{value}]}}"#);
        (entry(said), entry(if is_json { json } else { packed }))
    });
    same.into_iter().chain(changed).collect()
}

fn every_kind_of_value_crosses_both_ways_in_its_order(tools: &Tools) {
    for form in Form::FORMATS {
        let site = Site::start(tools, form);
        for (one, other) in site.ways() {
            for (said, expected) in kinds(form) {
                let mut visitor = Visitor::new();
                post(&mut visitor, one, "set", &said);
                same(&entries(&mut visitor, other), &expected);
                // Whoever writes it again changes nothing of it.
                post(&mut visitor, other, "add", r#"{"added": 1}"#);
                let added = entries(&mut visitor, one);
                assert!(typed::text(&added).contains(r#""added":1"#));
                same(&entries(&mut visitor, other), &typed::text(&added));
                assert_eq!(typed::text(&added).replace(r#","added":1"#, ""), typed::text(&typed::parse(&expected)));
            }
        }
    }
}

fn the_record_of_ours_is_the_record_of_theirs_to_the_byte(tools: &Tools) {
    for form in Form::FORMATS {
        let site = Site::start(tools, form);
        for (said, _) in kinds(form) {
            let [theirs, ours] = [&site.flask.url, &site.ours.url].map(|url| {
                let mut visitor = Visitor::new();
                post(&mut visitor, url, "set", &said);
                site.redis.bytes(&key(&visitor)).expect("a record")
            });
            assert_eq!(String::from_utf8_lossy(&theirs), String::from_utf8_lossy(&ours), "{said}");
            assert_eq!(theirs, ours, "{said}");
        }
    }
}

fn what_one_refuses_to_write_the_other_does_too(tools: &Tools) {
    for form in Form::FORMATS {
        let site = Site::start(tools, form);
        let mut odd = vec![r#"{"$t": "markup", "v": "<b>"}"#, r#"{"$t": "utf16", "v": "d800"}"#];
        if form.format == SerializationFormat::MsgPack {
            odd.push(r#"{"$t": "int", "v": "18446744073709551616"}"#);
        }
        for value in odd {
            for url in [&site.flask.url, &site.ours.url] {
                let mut visitor = Visitor::new();
                post(&mut visitor, url, "set", r#"{"a": 1}"#);
                let answer = visitor.post(&format!("{url}/_test/add"), &format!(r#"{{"odd": {value}}}"#));
                assert_eq!(answer.status, 500, "{site}, {url}: {value}");
                same(&entries(&mut visitor, url), r#"{"a": 1}"#);
            }
        }
    }
}

fn twenty_alternating_writes_are_all_in_the_record(tools: &Tools) {
    for form in Form::FORMATS {
        let site = Site::start(tools, form);
        let mut visitor = Visitor::new();
        post(&mut visitor, &site.flask.url, "set", r#"{"count": 0}"#);
        for at in 0..20 {
            let url = if at % 2 == 0 { &site.ours.url } else { &site.flask.url };
            post(&mut visitor, url, "count", "{}");
            post(&mut visitor, url, "add", &format!(r#"{{"entry{at}": {at}}}"#));
        }
        for url in [&site.ours.url, &site.flask.url] {
            let found = entries(&mut visitor, url);
            assert_eq!(found.get("count"), Some(&20.into()), "{site}");
            (0..20).for_each(|at| assert_eq!(found.get(&format!("entry{at}")), Some(&at.into()), "{site}"));
        }
        assert_eq!(site.redis.keys().len(), 1, "{site}");
    }
}

fn after_a_log_out_on_either_side_the_old_cookie_opens_nothing(tools: &Tools) {
    for form in Form::ALL {
        let site = Site::start(tools, form);
        for (one, other) in site.ways() {
            let mut visitor = Visitor::new();
            post(&mut visitor, other, "set", r#"{"cart": [1]}"#);
            let before = visitor.clone();
            let cleared = post(&mut visitor, one, "clear", "");
            assert!(
                cleared[0].starts_with("session=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0"),
                "{cleared:?}"
            );
            assert_eq!(site.redis.bytes(&key(&before)), None, "{site}");
            for url in [other, one, other] {
                same(&entries(&mut before.clone(), url), "{}");
                same(&entries(&mut visitor.clone(), url), "{}");
            }
            post(&mut visitor, other, "set", r#"{"new": 1}"#);
            same(&entries(&mut visitor, one), r#"{"new": 1}"#);
            for url in [one, other] {
                same(&entries(&mut before.clone(), url), "{}");
            }
        }
    }
}

fn a_session_emptied_by_one_is_gone_at_both(tools: &Tools) {
    for form in Form::FORMATS {
        let site = Site::start(tools, form);
        for (one, other) in site.ways() {
            let mut visitor = Visitor::new();
            post(&mut visitor, one, "set", r#"{"a": 1}"#);
            let before = visitor.clone();
            let emptied = post(&mut visitor, other, "remove", "a");
            assert!(
                emptied[0].starts_with("session=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0"),
                "{emptied:?}"
            );
            for url in [one, other, one] {
                same(&entries(&mut before.clone(), url), "{}");
            }
            // Ours leaves nothing but `_permanent` for two minutes, for a write that races with the removal.
            let ttl = site.redis.ttl(&key(&before));
            assert!(ttl <= if other == site.ours.url { 120 } else { -2 }, "{site}: {ttl}");
        }
    }
}

fn a_second_visitor_stays_another(tools: &Tools) {
    for form in Form::ALL {
        let site = Site::start(tools, form);
        let (mut ada, mut grace) = (Visitor::new(), Visitor::new());
        post(&mut ada, &site.flask.url, "set", r#"{"name": "Ada"}"#);
        post(&mut grace, &site.ours.url, "set", r#"{"name": "Grace"}"#);
        for (one, other) in site.ways() {
            post(&mut ada, one, "add", r#"{"a": 1}"#);
            post(&mut grace, one, "add", r#"{"g": 1}"#);
            same(&entries(&mut ada, other), r#"{"name": "Ada", "a": 1}"#);
            same(&entries(&mut grace, other), r#"{"name": "Grace", "g": 1}"#);
        }
        assert_eq!(site.redis.keys().len(), 2, "{site}");
    }
}

fn a_message_that_one_leaves_is_shown_once_by_the_other(tools: &Tools) {
    for form in Form::FORMATS {
        let site = Site::start(tools, form);
        for (one, other) in site.ways() {
            let mut visitor = Visitor::new();
            post(&mut visitor, one, "set", r#"{"a": 1}"#);
            post(&mut visitor, one, "flash", r#"{"category": "error", "message": "5 < 6 é"}"#);
            post(&mut visitor, other, "flash", r#"{"category": "message", "message": "two"}"#);
            assert_eq!(get(&mut visitor, other, "flashes"), r#"[["error","5 < 6 é"],["message","two"]]"#, "{site}");
            for url in [one, other] {
                assert_eq!(get(&mut visitor, url, "flashes"), "[]", "{site}: it is shown once");
            }
            same(&entries(&mut visitor, one), r#"{"a": 1}"#);
        }
    }
}

fn a_log_in_of_one_is_believed_by_the_other_also_where_it_is_guarded_strongly(tools: &Tools) {
    // Flask-Login takes a permanent session for guarded basically, whatever is set.
    let strongly = Form { permanent: false, ..Form::USUAL };
    for (form, protection) in [(Form::USUAL, "basic"), (Form::JSON, "basic"), (strongly, "strong")] {
        let site = Site::with(tools, form, &[("PROTECTION", protection)]);
        let (flask, ours) = (&site.flask.url, &site.ours.url);
        let who = |visitor: &mut Visitor| [flask, ours].map(|url| get(visitor, url, "whoami"));
        for (one, route) in [(flask, "login"), (ours, "user")] {
            let mut visitor = Visitor::new();
            post(&mut visitor, flask, "set", r#"{"cart": [1]}"#);
            assert_eq!(who(&mut visitor), ["nobody", "nobody"], "{site}");
            let before = visitor.clone();
            post(&mut visitor, one, route, "7");
            assert_eq!(who(&mut visitor), ["7", "7"], "{site}, {one}");
            assert_eq!(get(&mut visitor, flask, "fresh"), "fresh", "{site}, {one}");
            assert_eq!(who(&mut before.clone()), ["nobody", "nobody"], "{site}: the id of before is worth nothing");
            assert_eq!(entries(&mut visitor, ours).get("cart"), Some(&Value::List(vec![1.into()])), "{site}");
            post(&mut visitor, ours, "add", r#"{"a": 1}"#);
            post(&mut visitor, flask, "add", r#"{"b": 1}"#);
            assert_eq!(who(&mut visitor), ["7", "7"], "{site}, {one}");
            // At Flask the cart stays, at ours all goes.
            let mut at_flask = visitor.clone();
            post(&mut at_flask, flask, "logout", "");
            assert_eq!(who(&mut at_flask), ["nobody", "nobody"], "{site}");
            let kept = visitor.clone();
            post(&mut visitor, ours, "clear", "");
            for mut visitor in [visitor, kept] {
                assert_eq!(who(&mut visitor), ["nobody", "nobody"], "{site}");
            }
        }
        // Another user drops what was the former's.
        let mut visitor = Visitor::new();
        post(&mut visitor, flask, "login", "7");
        post(&mut visitor, flask, "add", r#"{"secret": "of 7"}"#);
        post(&mut visitor, ours, "user", "8");
        assert_eq!(who(&mut visitor), ["8", "8"], "{site}");
        assert_eq!(entries(&mut visitor, flask).get("secret"), None, "{site}");
    }
    // Who is told nothing of the visitor logs in somebody whom a strong guard throws out.
    let site = Site::with(tools, strongly, &[("PROTECTION", "strong")]);
    let mut visitor = Visitor::new();
    post(&mut visitor, &site.ours.url, "principal", r#"{"id": "7"}"#);
    assert_eq!(get(&mut visitor, &site.flask.url, "whoami"), "nobody");
}

fn an_id_that_one_regenerates_is_the_only_one_at_both(tools: &Tools) {
    for form in Form::ALL {
        let site = Site::start(tools, form);
        for (one, other) in site.ways() {
            let mut visitor = Visitor::new();
            post(&mut visitor, other, "set", r#"{"cart": [1]}"#);
            let before = visitor.clone();
            if one == site.flask.url {
                post(&mut visitor, one, "regenerate", "");
            } else {
                post(&mut visitor, one, "user", "7");
            }
            assert_ne!(sid(&visitor), sid(&before), "{site}");
            assert_eq!(site.redis.keys(), [key(&visitor)], "{site}");
            for url in [other, one] {
                same(&entries(&mut before.clone(), url), "{}");
                assert_eq!(entries(&mut visitor, url).get("cart"), Some(&Value::List(vec![1.into()])), "{site}");
            }
            post(&mut visitor, &site.ours.url, "clear", "");
        }
    }
}

fn a_session_made_permanent_by_one_stays_so_at_the_other(tools: &Tools) {
    for form in Form::FORMATS.map(|form| Form { permanent: false, ..form }) {
        let site = Site::start(tools, form);
        for (one, other) in site.ways() {
            let mut visitor = Visitor::new();
            let set = post(&mut visitor, one, "set", r#"{"a": 1}"#);
            assert!(!set[0].contains("Expires"), "{set:?}");
            let permanent = post(&mut visitor, one, "permanent", "");
            assert!(permanent[0].contains("; Expires="), "{permanent:?}");
            assert_eq!(whole(&mut visitor, other).get("_permanent"), Some(&Value::Bool(true)), "{site}");
            let no_more = post(&mut visitor, other, "permanent?on=0", "");
            assert!(!no_more[0].contains("Expires"), "{no_more:?}");
            assert_eq!(whole(&mut visitor, one).get("_permanent"), Some(&Value::Bool(false)), "{site}");
        }
    }
}

fn the_cookie_is_spelled_as_flask_session_spells_it(tools: &Tools) {
    for form in Form::ALL {
        let site = Site::start(tools, form);
        let [theirs, ours] = [&site.flask.url, &site.ours.url].map(|url| {
            let set = post(&mut Visitor::new(), url, "set", r#"{"a": 1}"#);
            let (_, attributes) = set[0].split_once(';').expect("attributes");
            // Without the day and the time, which go on.
            attributes.split("; ").map(|one| one.split(',').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
        });
        assert_eq!(theirs, ours, "{site}");
    }
}

fn an_id_that_leads_nowhere_is_adopted_by_nobody(tools: &Tools) {
    let site = Site::start(tools, Form::USUAL);
    for url in [&site.flask.url, &site.ours.url] {
        let mut visitor = Visitor::new();
        let planted = "A".repeat(43);
        visitor.jar.insert("session".into(), planted.clone());
        post(&mut visitor, url, "add", r#"{"a": 1}"#);
        assert_ne!(sid(&visitor), planted);
        assert_eq!(site.redis.bytes(&format!("session:{planted}")), None);
    }
}

/// `pickle.dumps({"a": 1})`, and one that makes a folder where it is run.
const PICKLE: &[u8] = b"\x80\x04\x95\x0a\0\0\0\0\0\0\0}\x94\x8c\x01a\x94K\x01s.";

fn what_is_no_record_is_left_alone_and_a_pickle_is_never_run_here(tools: &Tools) {
    let folder = std::env::temp_dir().join(format!("dewar-live-pickled-{}", std::process::id()));
    let running = format!("cos\nmkdir\n(V{}\ntR.", folder.display());
    for form in Form::FORMATS {
        let site = Site::start(tools, form);
        for record in [&b"\xc1\xc1\xc1"[..], b"\x81\xa1a", b"{\"a\":1", b"[1]", running.as_bytes(), PICKLE] {
            let mut visitor = Visitor::new();
            post(&mut visitor, &site.ours.url, "set", r#"{"a": 1}"#);
            let (key, planted) = (key(&visitor), visitor.clone());
            site.redis.set(&key, record);
            same(&entries(&mut visitor, &site.ours.url), "{}");
            post(&mut visitor, &site.ours.url, "add", r#"{"b": 1}"#);
            assert_ne!(self::key(&visitor), key, "{site}: a new id");
            assert_eq!(site.redis.bytes(&key).as_deref(), Some(record), "{site}: it stays");
            assert!(!folder.exists());
            if record == PICKLE {
                // What the page says to do: a page of Flask-Session reads it, and writes it anew.
                same(&entries(&mut planted.clone(), &site.flask.url), r#"{"a": 1}"#);
                same(&entries(&mut planted.clone(), &site.ours.url), r#"{"a": 1}"#);
            }
        }
    }
}

fn the_format_changes_and_nobody_is_logged_out(tools: &Tools) {
    for (form, next) in [(Form::USUAL, Form::JSON), (Form::JSON, Form::USUAL)] {
        let redis = Redis::start(tools);
        let (flask, ours) = (form.flask(tools, &redis, &[]), next.ours(&redis, |layer| layer));
        let mut visitor = Visitor::new();
        post(&mut visitor, &flask.url, "set", r#"{"l": [1, "é", null], "m": {"k": true}}"#);
        for url in [&ours.url, &flask.url, &ours.url] {
            post(&mut visitor, url, "count", "{}");
        }
        for url in [&ours.url, &flask.url] {
            same(&entries(&mut visitor, url), r#"{"l": [1, "é", null], "m": {"k": true}, "count": 3}"#);
        }
    }
}

fn prefix_cookie_name_and_lifetime_may_be_any(tools: &Tools) {
    let (form, redis) = (Form::USUAL, Redis::start(tools));
    let settings = [("KEY_PREFIX", "shop:{1}:"), ("COOKIE_NAME", "sid"), ("LIFETIME", "600")];
    let flask = form.flask(tools, &redis, &settings);
    let ours = form.ours(&redis, |layer| {
        layer
            .dialect(|secrets: &Keyring| FlaskSession::new(secrets).key_prefix("shop:{1}:"))
            .cookie_name("sid")
            .lifetime(Lifetime::browser().idle(Duration::from_secs(600)))
    });
    for (one, other) in [(&flask.url, &ours.url), (&ours.url, &flask.url)] {
        let mut visitor = Visitor::new();
        post(&mut visitor, one, "set", r#"{"a": 1}"#);
        let key = format!("shop:{{1}}:{}", visitor.jar["sid"]);
        assert_eq!(redis.keys(), [&*key]);
        redis.expire(&key, 60);
        post(&mut visitor, other, "add", r#"{"b": 2}"#);
        let ttl = redis.ttl(&key);
        assert!((599..=600).contains(&ttl), "{ttl}");
        same(&entries(&mut visitor, one), r#"{"a": 1, "b": 2}"#);
        post(&mut visitor, other, "clear", "");
    }
}

fn reading_moves_the_ttl_after_a_tenth_and_changes_no_byte(tools: &Tools) {
    for form in Form::FORMATS {
        let redis = Redis::start(tools);
        let flask = form.flask(tools, &redis, &[("LIFETIME", "1000")]);
        let ours = form.ours(&redis, |layer| layer.lifetime(Lifetime::browser().idle(Duration::from_secs(1000))));
        let mut visitor = Visitor::new();
        post(&mut visitor, &flask.url, "set", EVERY_KIND);
        let (key, record) = (key(&visitor), redis.bytes(&key(&visitor)));
        for (left, expected) in [(1000, 990..=1000), (950, 940..=950), (850, 990..=1000)] {
            redis.expire(&key, left);
            assert!(get(&mut visitor, &ours.url, "get").contains("18446744073709551615"));
            let ttl = redis.ttl(&key);
            assert!(expected.contains(&ttl), "{left} were left, {ttl} are");
            assert_eq!(redis.bytes(&key), record);
        }
    }
}

fn twenty_races_without_a_lock_are_counted(tools: &Tools) {
    count_races(&Site::start(tools, Form::USUAL), 20);
}

fn five_hundred_races_without_a_lock_are_counted(tools: &Tools) {
    Form::FORMATS.into_iter().for_each(|form| count_races(&Site::start(tools, form), 500));
}

fn count_races(site: &Site, rounds: u32) {
    let second = site.form.ours(&site.redis, |layer| layer);
    let format = site.form.format_name();
    races::count(format, "Flask-Session", [&site.flask.url, &site.ours.url, &second.url], rounds, entries);
}

fn one_browser_visits_flask_session_and_the_questions(tools: &Tools) {
    for form in Form::ALL {
        let redis = Redis::start(tools);
        let flask = form.flask(tools, &redis, &[]);
        let settings = form.settings(&redis);
        let settings = settings.each_ref().map(|(name, value)| (*name, &**value));
        let name = format!("Flask-Session in {}, signed {}", form.format_name(), form.use_signer);
        one_browser_visits(tools, &name, &flask.url, &settings);
    }
}
