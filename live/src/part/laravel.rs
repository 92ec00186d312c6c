//! A Laravel application and ours in one visit, with one cookie jar: Laravel 8 and 13, on one Redis.

use std::fmt;

use dewar::{Keyring, Lifetime, Secret, SessionLayer, Value, layout::Serialization};

use super::browser::one_browser_visits;
use crate::{
    http::Visitor,
    peer::{
        laravel::{COOKIE, Form, Laravel, Place, Release, Row},
        ours::Ours,
    },
    races,
    routes::{post, same, whole},
    suite::{Part, note, scenarios},
    tools::{CHROMEDRIVER, CHROMIUM, MARIADB, PHP_OF_BOOKWORM, PHP_OF_SID, POSTGRES, REDIS, Tools},
    typed,
};

pub(crate) static PART: Part = Part {
    name: "laravel",
    about: "real Laravel applications, 8 and 13, and ours in one visit: an encrypted cookie, records in Redis and in databases",
    needs: &[&PHP_OF_BOOKWORM, &PHP_OF_SID, &REDIS, &POSTGRES, &MARIADB, &CHROMIUM, &CHROMEDRIVER],
    scenarios: scenarios![
        one_visit_is_answered_in_turn_with_every_cipher_and_serialization,
        every_kind_of_value_crosses_both_ways_in_its_order,
        twenty_alternating_writes_are_all_in_the_record,
        after_a_log_out_on_either_side_the_old_cookie_opens_nothing,
        a_second_visitor_stays_another,
        a_message_that_one_leaves_is_shown_once_by_the_other,
        a_message_is_kept_as_long_as_laravel_keeps_it,
        a_log_in_of_one_is_believed_by_the_other,
        the_token_of_the_forms_changes_with_the_id,
        the_key_changes_while_people_stay_logged_in,
        another_key_or_cipher_opens_nothing,
        an_id_that_leads_nowhere_is_not_adopted_by_ours,
        the_cookie_is_spelled_as_laravel_spells_it,
        a_php_object_survives_a_change_by_ours,
        a_row_says_what_laravel_would_say_of_it,
        every_form_of_a_record_is_in_the_table_too,
        twenty_races_without_a_lock_are_counted,
        one_browser_visits_laravel_and_the_questions,
    ],
};

pub(crate) static LONG: Part = Part {
    name: "laravel-long",
    about: "five hundred races of Laravel's pages and ours, which it has no lock for, in each place",
    needs: &[&PHP_OF_BOOKWORM, &PHP_OF_SID, &REDIS, &POSTGRES, &MARIADB],
    scenarios: scenarios![five_hundred_races_without_a_lock_are_counted],
};

/// The two applications on one Redis.
struct Site {
    form: Form,
    laravel: Laravel,
    ours: Ours,
    place: Place,
}

impl Site {
    fn usual(tools: &Tools, release: Release) -> Self {
        Self::start(tools, Form::usual(release), Place::redis(tools))
    }

    fn start(tools: &Tools, form: Form, place: Place) -> Self {
        let laravel = form.laravel(tools, &place, &form.key('k'), &[]);
        let ours = form.start(&place, &['k'], |layer| layer);
        Self { form, laravel, ours, place }
    }

    /// Each release on Redis, and in a file.
    fn each(tools: &Tools) -> impl Iterator<Item = Self> {
        let redis = Release::BOTH.map(|release| (release, Place::redis as fn(&Tools) -> Place));
        let files = Release::BOTH.map(|release| (release, (|_| Place::sqlite()) as fn(&Tools) -> Place));
        redis.into_iter().chain(files).map(|(release, place)| Self::start(tools, Form::usual(release), place(tools)))
    }

    /// The same, and each release on each database server.
    fn everywhere(tools: &Tools) -> impl Iterator<Item = Self> {
        let servers: [fn() -> Place; 2] = [Place::postgres, Place::mariadb];
        let servers = Release::BOTH.into_iter().flat_map(move |release| servers.map(|place| (release, place)));
        let servers = servers.map(|(release, place)| Self::start(tools, Form::usual(release), place()));
        Self::each(tools).chain(servers)
    }

    /// Both ways: who begins, and the other.
    fn ways(&self) -> [(&str, &str); 2] {
        [(&self.laravel.url, &self.ours.url), (&self.ours.url, &self.laravel.url)]
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {}", self.form.release, self.place.url())
    }
}

impl Form {
    /// Ours under the keys of these letters.
    fn start(self, place: &Place, letters: &[char], change: impl FnOnce(SessionLayer) -> SessionLayer) -> Ours {
        let mut keys = letters.iter().map(|letter| Secret::new(self.key(*letter)).expect("a key"));
        let first = Keyring::new(keys.next().expect("there is a key"));
        let keyring = keys.fold(first, Keyring::fallback);
        Ours::start_within(|| change(self.ours(place, keyring)))
    }
}

/// What an application reads, without what is Laravel's own.
fn entries(visitor: &mut Visitor, url: &str) -> Value {
    let Value::Map(mut entries) = whole(visitor, url) else { return Value::Map(Vec::new()) };
    entries.retain(|(name, _)| !matches!(name.as_str(), Some("_token" | "_flash" | "_previous")));
    Value::Map(entries)
}

fn token(visitor: &mut Visitor, url: &str) -> String {
    let whole = whole(visitor, url);
    let token = whole.get("_token").and_then(Value::as_str).unwrap_or_default().to_owned();
    assert!(token.len() == 40 && token.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{url}: {token:?}");
    token
}

fn one_visit_is_answered_in_turn_with_every_cipher_and_serialization(tools: &Tools) {
    for form in Form::all() {
        let site = Site::start(tools, form, Place::redis(tools));
        for (one, other) in site.ways() {
            let mut visitor = Visitor::new();
            post(&mut visitor, one, "set", r#"{"name": "Zoë/\u2028", "n": {"deep": [1, true, null]}}"#);
            let (jar, token) = (visitor.jar.clone(), token(&mut visitor, one));
            post(&mut visitor, other, "add", r#"{"n": 2}"#);
            post(&mut visitor, one, "add", r#"{"last": []}"#);
            for url in [one, other] {
                same(&entries(&mut visitor, url), r#"{"name": "Zoë/\u2028", "n": 2, "last": []}"#);
                assert_eq!(self::token(&mut visitor, url), token, "{form:?}: it is the same session");
            }
            assert_eq!(jar.len(), 1, "{form:?}");
            assert_eq!(site.place.records().len(), 1, "{form:?}: {:?}", site.place.records());
            post(&mut visitor, &site.ours.url, "clear", "");
            assert_eq!(site.place.records(), Vec::<String>::new(), "{form:?}");
        }
    }
}

/// One of each kind, alone and nested.
const EVERY_KIND: &str = r#"{
    "text": "Zoë \u0000\u001f\u007f\u2028 🧪 </script> & / more", "empty": "", "t": true, "f": false, "none": null,
    "int": 9007199254740991, "negative": -1, "long": {"$t": "int", "v": "-9223372036854775808"},
    "half": {"$t": "float", "v": "0.5", "bits": "3fe0000000000000"}, "tiny": {"$t": "float", "v": "5e-324", "bits": "0000000000000001"},
    "third": {"$t": "float", "v": "0.333", "bits": "3fd5555555555555"}, "large": {"$t": "float", "v": "1e25", "bits": "45208b2a2c280291"},
    "<name> 🧪/": {"two": "2", "z": {"deep": [{"deeper": null}]}, "": []}, "list": [1, [2, []], "x"]
}"#;

/// What JSON loses and PHP's own form keeps.
const OF_PHP: &str = r#"{
    "one": {"$t": "float", "v": "1.0", "bits": "3ff0000000000000"}, "minus": {"$t": "float", "v": "-0.0", "bits": "8000000000000000"},
    "infinite": {"$t": "float", "v": "inf", "bits": "7ff0000000000000"}, "array": {"$t": "map", "v": [[5, "five"], ["x", 1], [-1, []]]}
}"#;

fn every_kind_of_value_crosses_both_ways_in_its_order(tools: &Tools) {
    for form in [
        Form::usual(Release::V8),
        Form::usual(Release::V13),
        Form { serialization: Serialization::Json, ..Form::usual(Release::V13) },
    ] {
        let site = Site::start(tools, form, Place::redis(tools));
        for (one, other) in site.ways() {
            let php = (form.serialization == Serialization::Php).then_some(OF_PHP);
            for kinds in [EVERY_KIND].into_iter().chain(php) {
                let mut visitor = Visitor::new();
                post(&mut visitor, one, "set", kinds);
                same(&entries(&mut visitor, other), kinds);
                // Whoever writes it again changes nothing of it.
                post(&mut visitor, other, "add", r#"{"t": true}"#);
                let added = entries(&mut visitor, one);
                assert_eq!(added.get("text"), typed::parse(kinds).get("text"), "{form:?}");
                same(&entries(&mut visitor, other), &typed::text(&added));
            }
        }
    }
}

fn twenty_alternating_writes_are_all_in_the_record(tools: &Tools) {
    for site in Site::each(tools) {
        let mut visitor = Visitor::new();
        post(&mut visitor, &site.laravel.url, "set", r#"{"count": 0}"#);
        for at in 0..20 {
            let url = if at % 2 == 0 { &site.ours.url } else { &site.laravel.url };
            post(&mut visitor, url, "count", "{}");
            post(&mut visitor, url, "add", &format!(r#"{{"entry{at}": {at}}}"#));
        }
        for url in [&site.ours.url, &site.laravel.url] {
            let found = entries(&mut visitor, url);
            assert_eq!(found.get("count"), Some(&20.into()), "{site}");
            (0..20).for_each(|at| assert_eq!(found.get(&format!("entry{at}")), Some(&at.into()), "{site}"));
        }
        assert_eq!(site.place.records().len(), 1);
    }
}

fn after_a_log_out_on_either_side_the_old_cookie_opens_nothing(tools: &Tools) {
    for site in Site::everywhere(tools) {
        for (one, other) in site.ways() {
            let mut visitor = Visitor::new();
            post(&mut visitor, other, "set", r#"{"cart": [1]}"#);
            let before = visitor.clone();
            let route = if one == site.ours.url { "clear" } else { "logout" };
            post(&mut visitor, one, route, "");
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

fn a_second_visitor_stays_another(tools: &Tools) {
    for site in Site::each(tools) {
        let (mut ada, mut grace) = (Visitor::new(), Visitor::new());
        post(&mut ada, &site.laravel.url, "set", r#"{"name": "Ada"}"#);
        post(&mut grace, &site.ours.url, "set", r#"{"name": "Grace"}"#);
        for (one, other) in site.ways() {
            post(&mut ada, one, "add", r#"{"a": 1}"#);
            post(&mut grace, one, "add", r#"{"g": 1}"#);
            same(&entries(&mut ada, other), r#"{"name": "Ada", "a": 1}"#);
            same(&entries(&mut grace, other), r#"{"name": "Grace", "g": 1}"#);
        }
        assert_eq!(site.place.records().len(), 2);
    }
}

fn shown(visitor: &mut Visitor, site: &Site, by_ours: bool, name: &str) -> String {
    let answer = match by_ours {
        true => visitor.get(&format!("{}/_test/flashes", site.ours.url)),
        false => visitor.get(&format!("{}/_test/shown?name={name}", site.laravel.url)),
    };
    assert_eq!(answer.status, 200, "{}", answer.body);
    typed::text(&typed::parse(&answer.body))
}

fn a_message_that_one_leaves_is_shown_once_by_the_other(tools: &Tools) {
    for form in [
        Form::usual(Release::V8),
        Form::usual(Release::V13),
        Form { serialization: Serialization::Json, ..Form::usual(Release::V13) },
    ] {
        let site = Site::start(tools, form, Place::redis(tools));
        for leaves in [&site.laravel.url, &site.ours.url] {
            for by_ours in [true, false] {
                let mut visitor = Visitor::new();
                post(&mut visitor, &site.laravel.url, "set", r#"{"a": 1}"#);
                post(&mut visitor, leaves, "flash", r#"{"category": "status", "message": "Saved <ok> é"}"#);
                let expected = if by_ours { r#"[["status","Saved <ok> é"]]"# } else { r#""Saved <ok> é""# };
                assert_eq!(shown(&mut visitor, &site, by_ours, "status"), expected, "{form:?}");
                // Neither side shows it again.
                assert_eq!(shown(&mut visitor.clone(), &site, true, "status"), "[]", "{form:?}");
                assert_eq!(shown(&mut visitor, &site, false, "status"), "null", "{form:?}");
                same(&entries(&mut visitor, &site.laravel.url), r#"{"a": 1}"#);
            }
        }
        let mut visitor = Visitor::new();
        post(&mut visitor, &site.ours.url, "flash", r#"{"category": "errors2", "message": "one"}"#);
        post(&mut visitor, &site.ours.url, "flash", r#"{"category": "errors2", "message": "two"}"#);
        assert_eq!(shown(&mut visitor, &site, false, "errors2"), r#"["one","two"]"#, "{form:?}");
        // Laravel's way to say where in an array a message stands.
        post(&mut visitor, &site.laravel.url, "flash", r#"{"category": "flash.banner", "message": "Hello"}"#);
        assert_eq!(shown(&mut visitor, &site, true, ""), r#"[["flash.banner","Hello"]]"#, "{form:?}");
        assert_eq!(shown(&mut visitor, &site, false, "flash.banner"), "null", "{form:?}");
    }
}

fn a_message_is_kept_as_long_as_laravel_keeps_it(tools: &Tools) {
    for release in Release::BOTH {
        let site = Site::usual(tools, release);
        let leave = |visitor: &mut Visitor, url: &str| {
            post(visitor, url, "flash", r#"{"category": "status", "message": "Saved"}"#);
        };
        for url in [&site.laravel.url, &site.ours.url] {
            let mut visitor = Visitor::new();
            leave(&mut visitor, url);
            post(&mut visitor, &site.laravel.url, "keep", r#"{"names": ["status"]}"#);
            post(&mut visitor, &site.laravel.url, "reflash", "");
            assert_eq!(shown(&mut visitor, &site, true, ""), r#"[["status","Saved"]]"#);
            assert_eq!(shown(&mut visitor, &site, false, "status"), "null");
            // A request of Laravel's that shows nothing forgets it, and one of ours leaves it.
            leave(&mut visitor, url);
            same(&entries(&mut visitor, &site.ours.url), r#"{"status": "Saved"}"#);
            token(&mut visitor, &site.laravel.url);
            assert_eq!(shown(&mut visitor, &site, true, ""), "[]");
        }
    }
}

fn a_log_in_of_one_is_believed_by_the_other(tools: &Tools) {
    for site in Site::everywhere(tools) {
        let who = |visitor: &mut Visitor| {
            let ours = visitor.get(&format!("{}/_test/whoami", site.ours.url)).body;
            (visitor.get(&format!("{}/_test/check", site.laravel.url)).body, ours)
        };
        let is = |name: &str| (name.to_owned(), name.trim_matches('"').to_owned());
        let mut visitor = Visitor::new();
        post(&mut visitor, &site.laravel.url, "set", r#"{"cart": [1]}"#);
        assert_eq!(who(&mut visitor), is("nobody"));
        let before = visitor.clone();
        post(&mut visitor, &site.laravel.url, "login", r#"{"id": 7}"#);
        assert_eq!(who(&mut visitor), is("7"));
        assert_eq!(who(&mut before.clone()), is("nobody"));
        post(&mut visitor, &site.ours.url, "add", r#"{"a": 1}"#);
        assert_eq!(who(&mut visitor), is("7"), "a number stays one");

        let mut visitor = Visitor::new();
        post(&mut visitor, &site.laravel.url, "set", r#"{"cart": [1]}"#);
        let before = visitor.clone();
        // A column of numbers takes no name.
        let (login, name) = match &site.place {
            Place::Redis(_) => (r#"{"id": "ada"}"#, "\"ada\""),
            Place::Database(_) => (r#"{"id": "12"}"#, "\"12\""),
        };
        post(&mut visitor, &site.ours.url, "principal", login);
        assert_eq!(who(&mut visitor), is(name));
        if let Place::Database(database) = &site.place {
            let mut users: Vec<_> = database.rows().iter().filter_map(|row| row.text("user_id")).collect();
            users.sort();
            assert_eq!(users, ["12", "7"], "{site}: each row says whose it is");
        }
        assert_eq!(entries(&mut visitor, &site.laravel.url).get("cart"), Some(&Value::List(vec![1.into()])));
        assert_eq!(who(&mut before.clone()), is("nobody"), "the id of before is worth nothing");
        post(&mut visitor, &site.laravel.url, "logout", "");
        assert_eq!(who(&mut visitor), is("nobody"));
    }
}

fn the_token_of_the_forms_changes_with_the_id(tools: &Tools) {
    for site in Site::each(tools) {
        for (one, other) in site.ways() {
            let mut visitor = Visitor::new();
            post(&mut visitor, one, "set", r#"{"a": 1}"#);
            let (before, planted) = (token(&mut visitor, one), visitor.clone());
            assert_eq!(token(&mut visitor, other), before, "{site}");
            let route = if one == site.ours.url { "login" } else { "renew" };
            post(&mut visitor, one, route, r#"{"b": 2}"#);
            let after = token(&mut visitor, one);
            assert_ne!(after, before, "{site}");
            assert_eq!(token(&mut visitor, other), after, "{site}");
            same(&entries(&mut visitor, other), r#"{"a": 1, "b": 2}"#);
            same(&entries(&mut planted.clone(), other), "{}");
        }
    }
}

fn the_key_changes_while_people_stay_logged_in(tools: &Tools) {
    for cipher in [dewar::dialect::wire::laravel::Cipher::Aes256Cbc, dewar::dialect::wire::laravel::Cipher::Aes256Gcm] {
        for encrypt in [false, true] {
            let place = Place::redis(tools);
            let form = Form { cipher, encrypt, ..Form::usual(Release::V13) };
            let before = form.laravel(tools, &place, &form.key('o'), &[]);
            let ours = form.start(&place, &['n', 'o'], |layer| layer);
            let mut visitor = Visitor::new();
            post(&mut visitor, &before.url, "set", r#"{"a": 1}"#);
            let opened = visitor.get(&format!("{}/_test/get", ours.url));
            assert_eq!(opened.set_cookie.len(), 1, "it is sealed again: {:?}", opened.set_cookie);
            assert!(visitor.get(&format!("{}/_test/get", ours.url)).set_cookie.is_empty(), "once");
            post(&mut visitor, &ours.url, "add", r#"{"b": 2}"#);
            let after = form.laravel(tools, &place, &form.key('n'), &[]);
            same(&entries(&mut visitor, &after.url), r#"{"a": 1, "b": 2}"#);

            // And Laravel first: ours still has the old key when Laravel reads both.
            let both = form.laravel(tools, &place, &form.key('n'), &[("OLD_KEYS", &form.key('o'))]);
            let behind = form.start(&place, &['o'], |layer| layer);
            let mut visitor = Visitor::new();
            post(&mut visitor, &behind.url, "set", r#"{"a": 1}"#);
            same(&entries(&mut visitor, &both.url), r#"{"a": 1}"#);
            same(&entries(&mut visitor, &ours.url), r#"{"a": 1}"#);
        }
    }
}

fn another_key_or_cipher_opens_nothing(tools: &Tools) {
    for release in Release::BOTH {
        let site = Site::usual(tools, release);
        let gcm = Form { cipher: dewar::dialect::wire::laravel::Cipher::Aes256Gcm, ..site.form };
        let strangers =
            [site.form.start(&site.place, &['x'], |layer| layer), gcm.start(&site.place, &['k'], |layer| layer)];
        for stranger in strangers {
            for (one, other) in [(&site.laravel.url, &stranger.url), (&stranger.url, &site.laravel.url)] {
                let mut visitor = Visitor::new();
                post(&mut visitor, one, "set", r#"{"a": 1}"#);
                same(&entries(&mut visitor.clone(), other), "{}");
                same(&entries(&mut visitor, one), r#"{"a": 1}"#);
            }
        }
    }
}

fn an_id_that_leads_nowhere_is_not_adopted_by_ours(tools: &Tools) {
    for site in Site::each(tools) {
        let mut visitor = Visitor::new();
        post(&mut visitor, &site.laravel.url, "set", r#"{"a": 1}"#);
        let keys = site.place.records();
        let planted = visitor.clone();
        site.place.forget(&keys[0]);
        post(&mut visitor, &site.ours.url, "add", r#"{"victim": 1}"#);
        assert_ne!(site.place.records(), keys, "{site}");
        for (one, other) in site.ways() {
            same(&entries(&mut planted.clone(), one), "{}");
            same(&entries(&mut visitor.clone(), other), r#"{"victim": 1}"#);
        }
    }
}

fn the_cookie_is_spelled_as_laravel_spells_it(tools: &Tools) {
    for release in Release::BOTH {
        for on_close in [false, true] {
            let place = Place::redis(tools);
            let form = Form::usual(release);
            let laravel =
                form.laravel(tools, &place, &form.key('k'), &[("ON_CLOSE", if on_close { "1" } else { "0" })]);
            let lifetime = |layer: SessionLayer| if on_close { layer.lifetime(Lifetime::browser()) } else { layer };
            let ours = form.start(&place, &['k'], lifetime);
            let spelled = |url: &str| {
                let set = post(&mut Visitor::new(), url, "set", r#"{"a": 1}"#);
                assert_eq!(set.len(), 1, "{set:?}");
                let (pair, attributes) = set[0].split_once(';').expect("there are attributes");
                let (name, value) = pair.split_once('=').expect("a value");
                assert_eq!(name, COOKIE);
                // When it ends is a second or two apart, and Laravel 8 writes dashes in its date.
                let dated = attributes.split("; ").map(|one| if one.contains("expires=") { "expires" } else { one });
                (dated.map(str::to_owned).collect::<Vec<_>>(), value.len())
            };
            let (theirs, length) = spelled(&laravel.url);
            assert_eq!(spelled(&ours.url), (theirs.clone(), length));
            note(&format!("{release:?}: {}, a value of {length} characters", theirs.join("; ")));
        }
    }
}

/// A `stdClass` as Laravel's application stores it.
const OBJECT: &str = r#"{"$t": "object", "v": "Tzo4OiJzdGRDbGFzcyI6MTp7czoxOiJ4IjtpOjE7fQ=="}"#;

fn a_php_object_survives_a_change_by_ours(tools: &Tools) {
    for site in Site::each(tools) {
        let mut visitor = Visitor::new();
        post(&mut visitor, &site.laravel.url, "set", &format!(r#"{{"before": 1, "object": {OBJECT}, "after": 2}}"#));
        post(&mut visitor, &site.ours.url, "add", r#"{"before": "longer than it was", "b": 2}"#);
        let found = visitor.get(&format!("{}/_test/get", site.laravel.url)).body;
        assert!(found.contains("Tzo4OiJzdGRDbGFzcyI6MTp7czoxOiJ4IjtpOjE7fQ==") && found.contains("longer"), "{found}");
    }
}

fn every_form_of_a_record_is_in_the_table_too(tools: &Tools) {
    for form in Form::all() {
        let site = Site::start(tools, form, Place::sqlite());
        for (one, other) in site.ways() {
            let mut visitor = Visitor::new();
            post(&mut visitor, one, "set", r#"{"name": "Zoë/\u2028", "n": {"deep": [1, true, null]}}"#);
            post(&mut visitor, other, "add", r#"{"n": 2}"#);
            for url in [one, other] {
                same(&entries(&mut visitor, url), r#"{"name": "Zoë/\u2028", "n": 2}"#);
            }
            assert_eq!(site.place.records().len(), 1, "{site}");
            post(&mut visitor, &site.ours.url, "clear", "");
            assert_eq!(site.place.records(), Vec::<String>::new(), "{site}");
        }
    }
}

fn a_row_says_what_laravel_would_say_of_it(tools: &Tools) {
    let seconds = |row: &Row| row.text("last_activity").and_then(|text| text.parse::<i64>().ok()).expect("a number");
    for site in Site::everywhere(tools) {
        let Place::Database(database) = &site.place else { continue };
        let one = || {
            let mut rows = database.rows();
            assert_eq!(rows.len(), 1, "{site}: one session: {rows:?}");
            rows.remove(0)
        };
        let mut visitor = Visitor::new();
        post(&mut visitor, &site.ours.url, "set", r#"{"a": 1}"#);
        let ours = seconds(&one());
        post(&mut visitor, &site.laravel.url, "login", r#"{"id": 7}"#);
        let theirs = one();
        assert!((0..=60).contains(&(seconds(&theirs) - ours)), "{site}: the same clock and meaning");
        assert_eq!(theirs.text("user_id").as_deref(), Some("7"), "{site}");
        assert_eq!(theirs.text("ip_address").as_deref(), Some("127.0.0.1"), "{site}");
        // A write of ours leaves the address, and so does a new id.
        post(&mut visitor, &site.ours.url, "login", r#"{"b": 2}"#);
        let renewed = one();
        assert_ne!(renewed.id(), theirs.id(), "{site}");
        assert_eq!(renewed.text("ip_address").as_deref(), Some("127.0.0.1"), "{site}");
        assert_eq!(renewed.text("user_id").as_deref(), Some("7"), "{site}");
    }
}

fn twenty_races_without_a_lock_are_counted(tools: &Tools) {
    Site::each(tools).for_each(|site| count_races(&site, 20));
}

fn five_hundred_races_without_a_lock_are_counted(tools: &Tools) {
    let newer = Site::everywhere(tools).filter(|site| site.form.release == Release::V13);
    newer.for_each(|site| count_races(&site, 500));
}

fn count_races(site: &Site, rounds: u32) {
    let second = site.form.start(&site.place, &['k'], |layer| layer);
    races::count(site, "Laravel", [&site.laravel.url, &site.ours.url, &second.url], rounds, entries);
}

fn one_browser_visits_laravel_and_the_questions(tools: &Tools) {
    let places = [Place::redis(tools), Place::redis(tools), Place::sqlite(), Place::postgres(), Place::mariadb()];
    for (place, release) in places.into_iter().zip(Release::BOTH.into_iter().cycle()) {
        let form = Form { encrypt: release == Release::V13, ..Form::usual(release) };
        let key = form.key('k');
        let laravel = form.laravel(tools, &place, &key, &[]);
        let settings = [
            ("SESSION_DIALECT", "laravel"),
            ("SESSION_STORE", &*place.url()),
            ("SESSION_OPTIONS", &form.options()),
            ("SECRET_KEY", &key),
        ];
        one_browser_visits(tools, &format!("Laravel {release:?}"), &laravel.url, &settings);
    }
}
