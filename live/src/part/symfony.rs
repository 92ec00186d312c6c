//! A Symfony application and ours in one visit, in PHP's session files and in Redis, with one cookie jar: Symfony 5.4 and 7.4.

use std::{fs, sync::Barrier, thread, time::Duration};

use dewar::{
    SessionLayer, Value, dialect,
    layout::Serializer,
    store::{Timestamp, files::FilesStore},
};

use super::{
    LESSON,
    browser::one_browser_visits,
    php::{EVERY_KIND, Place, SERIALIZERS, entries, id, post},
};
use crate::{
    http::Visitor,
    peer::{
        ours::Ours,
        symfony::{Release, Symfony},
    },
    suite::{Part, note, scenarios},
    tools::{CHROMEDRIVER, CHROMIUM, PHP_OF_BOOKWORM, PHP_OF_SID, REDIS, Tools},
    typed,
};

pub(crate) static PART: Part = Part {
    name: "symfony",
    about: "real Symfony applications, 5.4 and 7.4, and ours in one visit: their bags in files and in Redis",
    needs: &[&PHP_OF_BOOKWORM, &PHP_OF_SID, &REDIS, &CHROMIUM, &CHROMEDRIVER],
    scenarios: scenarios![
        every_kind_of_value_crosses_both_ways_in_its_order,
        twenty_pages_of_each_in_turn_are_one_visit,
        a_message_that_one_leaves_is_shown_once_by_the_other,
        messages_of_an_auto_expire_flash_bag_are_shown_once_by_the_other,
        the_metadata_says_when_a_visit_began_and_was_last_written,
        a_log_in_at_one_begins_the_metadata_anew_and_ends_the_old_id,
        a_log_out_at_one_is_one_at_the_other_also_for_the_old_cookie,
        another_visitor_stays_another,
        an_id_that_is_not_there_is_not_adopted,
        objects_and_references_beside_the_bags_survive_a_change_by_ours,
        who_has_logged_in_at_symfony_is_read_and_nobody_is_logged_in_here,
        the_record_and_the_cookie_are_symfonys,
        twenty_races_lose_nothing_in_files,
        twenty_races_in_redis_lose_nothing_of_symfonys_and_ours_are_counted,
        one_browser_visits_symfony_and_the_questions,
    ],
};

pub(crate) static LONG: Part = Part {
    name: "symfony-long",
    about: "500 races of Symfony and ours for one session, in files and in Redis, where Symfony has no lock",
    needs: &[&PHP_OF_BOOKWORM, &PHP_OF_SID, &REDIS],
    scenarios: scenarios![
        five_hundred_races_lose_nothing_in_files,
        five_hundred_races_in_redis_lose_nothing_of_symfonys_and_ours_are_counted,
    ],
};

type Change = fn(dialect::Symfony) -> dialect::Symfony;

/// The two applications on one place.
struct Site {
    name: String,
    place: Place,
    symfony: Symfony,
    ours: Ours,
}

impl Site {
    fn start(tools: &Tools, release: Release, serializer: Serializer, place: Place) -> Self {
        Self::start_with(tools, release, serializer, place, |dialect| dialect)
    }

    fn start_with(tools: &Tools, release: Release, serializer: Serializer, place: Place, change: Change) -> Self {
        let (symfony, kind) = match &place {
            Place::Files(folder) => (Symfony::on_files(tools, release, serializer, folder.path()), "files"),
            Place::Redis(redis) => (Symfony::on_redis(tools, release, serializer, redis), "Redis"),
        };
        let ours = Ours::start_within(|| {
            let dialect = move |_: &dewar::Keyring| change(dialect::Symfony::new().serializer(serializer));
            let layer = SessionLayer::new(LESSON).expect("the secret is accepted").dialect(dialect);
            match &place {
                Place::Files(folder) => layer.store(FilesStore::open(folder).expect("the folder is there")),
                Place::Redis(redis) => layer.store(redis.store()),
            }
        });
        Self { name: format!("{release:?}, {kind}, {}", serializer.name()), place, symfony, ours }
    }

    /// Each release on each place.
    fn each(tools: &Tools) -> impl Iterator<Item = Self> {
        Release::BOTH.into_iter().flat_map(move |release| {
            Place::both(tools).map(|place| Self::start(tools, release, Serializer::Php, place))
        })
    }

    /// Both ways: who begins, and the other.
    fn ways(&self) -> [(&str, &str); 2] {
        [(&self.symfony.url, &self.ours.url), (&self.ours.url, &self.symfony.url)]
    }

    fn records(&self) -> usize {
        self.place.ids_behind("sf_s").len()
    }

    fn record(&self, visitor: &Visitor) -> String {
        match &self.place {
            Place::Files(folder) => {
                fs::read_to_string(folder.path().join(format!("sess_{}", id(visitor)))).expect("its file")
            }
            Place::Redis(redis) => redis.get(&format!("sf_s{}", id(visitor))).expect("its record"),
        }
    }
}

fn every_kind_of_value_crosses_both_ways_in_its_order(tools: &Tools) {
    let expected = typed::text(&typed::parse(EVERY_KIND));
    for release in Release::BOTH {
        for serializer in SERIALIZERS {
            for place in Place::both(tools) {
                let site = Site::start(tools, release, serializer, place);
                for (one, other) in site.ways() {
                    let mut visitor = Visitor::new();
                    post(&mut visitor, one, "set", EVERY_KIND);
                    assert_eq!(entries(&mut visitor, other), expected, "{}", site.name);
                    post(&mut visitor, other, "add", r#"{"added": 1}"#);
                    let added = format!(r#"{},"added":1}}"#, expected.strip_suffix('}').expect("an object"));
                    assert_eq!(entries(&mut visitor, one), added, "{}", site.name);
                    assert_eq!(entries(&mut visitor, other), added, "{}", site.name);
                }
            }
        }
    }
}

fn twenty_pages_of_each_in_turn_are_one_visit(tools: &Tools) {
    for site in Site::each(tools) {
        let mut visitor = Visitor::new();
        let mut expected = Vec::new();
        for turn in 0..20 {
            for (url, side) in [(&site.symfony.url, "symfony"), (&site.ours.url, "ours")] {
                post(&mut visitor, url, "add", &format!(r#"{{"{side}{turn}": {turn}}}"#));
                expected.push(format!(r#""{side}{turn}":{turn}"#));
            }
        }
        let expected = format!("{{{}}}", expected.join(","));
        for (url, _) in site.ways() {
            assert_eq!(entries(&mut visitor, url), expected, "{}", site.name);
        }
        assert_eq!(site.records(), 1, "{}", site.name);
    }
}

fn flashes(visitor: &mut Visitor, url: &str) -> String {
    let answer = visitor.get(&format!("{url}/_test/flashes"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    typed::text(&typed::parse(&answer.body))
}

fn a_message_that_one_leaves_is_shown_once_by_the_other(tools: &Tools) {
    for site in Site::each(tools) {
        for (one, other) in site.ways() {
            let mut visitor = Visitor::new();
            post(&mut visitor, one, "add", r#"{"a": 1}"#);
            for (url, message) in [(one, "first"), (other, "second <b>"), (one, "third")] {
                post(&mut visitor, url, "flash", &format!(r#"{{"category": "notice", "message": "{message}"}}"#));
            }
            post(&mut visitor, other, "flash", r#"{"category": "error", "message": ["a", "list"]}"#);
            let expected = r#"[["notice","first"],["notice","second <b>"],["notice","third"],["error",["a","list"]]]"#;
            assert_eq!(flashes(&mut visitor, other), expected, "{}", site.name);
            assert_eq!(flashes(&mut visitor, one), "[]", "{}", site.name);
            assert_eq!(flashes(&mut visitor, other), "[]", "{}", site.name);
            assert!(!site.record(&visitor).contains("_symfony_flashes"), "{}: {}", site.name, site.record(&visitor));
            assert_eq!(entries(&mut visitor, one), r#"{"a":1}"#, "{}", site.name);
            // Nothing but a message.
            let mut visitor = Visitor::new();
            post(&mut visitor, one, "flash", r#"{"category": "5", "message": "alone"}"#);
            assert_eq!(flashes(&mut visitor, other), r#"[["5","alone"]]"#, "{}", site.name);
            assert_eq!(flashes(&mut visitor, one), "[]", "{}", site.name);
        }
    }
}

fn messages_of_an_auto_expire_flash_bag_are_shown_once_by_the_other(tools: &Tools) {
    for release in Release::BOTH {
        let place = Place::files();
        let Place::Files(folder) = &place else { unreachable!("they are files") };
        let symfony = Symfony::with_messages_that_expire(tools, release, folder.path());
        let ours = Ours::start_within(|| {
            let dialect = |_: &dewar::Keyring| dialect::Symfony::new().auto_expire_flashes(true);
            let layer = SessionLayer::new(LESSON).expect("the secret is accepted").dialect(dialect);
            layer.store(FilesStore::open(folder).expect("the folder is there"))
        });
        for (one, other) in [(&symfony.url, &ours.url), (&ours.url, &symfony.url)] {
            let mut visitor = Visitor::new();
            post(&mut visitor, one, "set", r#"{"a": 1}"#);
            post(&mut visitor, one, "flash", r#"{"category": "notice", "message": "first"}"#);
            assert_eq!(flashes(&mut visitor, other), r#"[["notice","first"]]"#, "{release:?}");
            for url in [one, other] {
                assert_eq!(flashes(&mut visitor, url), "[]", "{release:?}");
            }
            post(&mut visitor, one, "flash", r#"{"category": "error", "message": ["a", "list"]}"#);
            post(&mut visitor, &ours.url, "flash", r#"{"category": "notice", "message": "second"}"#);
            let both = r#"[["error",["a","list"]],["notice","second"]]"#;
            assert_eq!(flashes(&mut visitor, &symfony.url), both, "{release:?}");
            assert_eq!(flashes(&mut visitor, &ours.url), "[]", "{release:?}");
        }
    }
}

/// What Symfony's `MetadataBag` says: created, last used, lifetime.
fn metadata(visitor: &mut Visitor, site: &Site) -> [u64; 3] {
    let answer = visitor.get(&format!("{}/_test/meta", site.symfony.url));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let found = typed::parse(&answer.body);
    ["created", "used", "lifetime"].map(|name| match found.get(name) {
        Some(Value::Integer(number)) => u64::try_from(*number).expect("a time"),
        other => panic!("{name}: {other:?}"),
    })
}

fn now() -> u64 {
    Timestamp::from(std::time::SystemTime::now()).as_secs()
}

fn the_metadata_says_when_a_visit_began_and_was_last_written(tools: &Tools) {
    for site in Site::each(tools) {
        for (one, _) in site.ways() {
            let mut visitor = Visitor::new();
            let before = now();
            post(&mut visitor, one, "set", r#"{"a": 1}"#);
            let after = now();
            thread::sleep(Duration::from_millis(1100));
            let written = now();
            post(&mut visitor, &site.ours.url, "add", r#"{"b": 2}"#);
            let [created, used, lifetime] = metadata(&mut visitor, &site);
            assert!((before..=after).contains(&created), "{}: {created}, and {before} to {after}", site.name);
            assert!((written..=now()).contains(&used), "{}: {used}, and from {written}", site.name);
            assert_eq!(lifetime, 0, "{}", site.name);
        }
    }
}

fn a_log_in_at_one_begins_the_metadata_anew_and_ends_the_old_id(tools: &Tools) {
    for site in Site::each(tools) {
        for (one, other) in site.ways() {
            let mut visitor = Visitor::new();
            post(&mut visitor, other, "set", r#"{"cart": [1, 2]}"#);
            let mut planted = visitor.clone();
            thread::sleep(Duration::from_millis(1100));
            let renewed = now();
            post(&mut visitor, one, "login", r#"{"user": "ann"}"#);
            assert_ne!(id(&visitor), id(&planted), "{}", site.name);
            let [created, ..] = metadata(&mut visitor, &site);
            assert!((renewed..=now()).contains(&created), "{}: {created}, and from {renewed}", site.name);
            for url in [other, one] {
                assert_eq!(entries(&mut visitor, url), r#"{"cart":[1,2],"user":"ann"}"#, "{}", site.name);
                assert_eq!(entries(&mut planted.clone(), url), "{}", "{}", site.name);
            }
            assert_eq!(entries(&mut planted, one), "{}", "{}", site.name);
        }
    }
}

fn a_log_out_at_one_is_one_at_the_other_also_for_the_old_cookie(tools: &Tools) {
    for site in Site::each(tools) {
        for (one, other) in site.ways() {
            let mut visitor = Visitor::new();
            post(&mut visitor, other, "set", r#"{"user": "ann"}"#);
            assert_eq!(entries(&mut visitor, one), r#"{"user":"ann"}"#, "{}", site.name);
            let before = visitor.clone();
            post(&mut visitor, one, "clear", "");
            for url in [other, one] {
                assert_eq!(entries(&mut visitor.clone(), url), "{}", "{}", site.name);
                assert_eq!(entries(&mut before.clone(), url), "{}", "{}", site.name);
            }
        }
    }
}

fn another_visitor_stays_another(tools: &Tools) {
    for site in Site::each(tools) {
        let mut visitors = [Visitor::new(), Visitor::new(), Visitor::new(), Visitor::new()];
        for (number, visitor) in visitors.iter_mut().enumerate() {
            let url = if number % 2 == 0 { &site.symfony.url } else { &site.ours.url };
            post(visitor, url, "set", &format!(r#"{{"who": {number}}}"#));
        }
        for (number, visitor) in visitors.iter_mut().enumerate() {
            for (url, _) in site.ways() {
                assert_eq!(entries(visitor, url), format!(r#"{{"who":{number}}}"#), "{}", site.name);
            }
        }
        assert_eq!(site.records(), 4, "{}", site.name);
    }
}

fn an_id_that_is_not_there_is_not_adopted(tools: &Tools) {
    for site in Site::each(tools) {
        for (one, other) in site.ways() {
            let planted = "0123456789abcdefghijklmnopqrstuv";
            let mut visitor = Visitor::new();
            visitor.jar.insert("PHPSESSID".into(), planted.into());
            post(&mut visitor, one, "set", r#"{"user": "ann"}"#);
            assert_ne!(id(&visitor), planted, "{}", site.name);
            assert_eq!(entries(&mut visitor, other), r#"{"user":"ann"}"#, "{}", site.name);
        }
    }
}

fn objects_and_references_beside_the_bags_survive_a_change_by_ours(tools: &Tools) {
    for site in Site::each(tools) {
        let mut visitor = Visitor::new();
        post(&mut visitor, &site.symfony.url, "set", r#"{"first": 1}"#);
        post(&mut visitor, &site.symfony.url, "php", "");
        // Both stand before what is referred to.
        post(&mut visitor, &site.ours.url, "add", r#"{"first": {"longer": [1, 2, 3]}, "new": [4, 5]}"#);
        post(&mut visitor, &site.ours.url, "flash", r#"{"message": "hello"}"#);
        let found = visitor.get(&format!("{}/_test/php_get", site.symfony.url));
        let expected = r#"{"text":"plain PHP","same":true,"list":3}"#;
        assert_eq!(found.body.trim(), expected, "{}: {}", site.name, site.record(&visitor));
        assert_eq!(flashes(&mut visitor, &site.symfony.url), r#"[["message","hello"]]"#, "{}", site.name);
        let all = r#"{"first":{"longer":[1,2,3]},"kept":{"list":[1,2]},"new":[4,5]}"#;
        assert_eq!(entries(&mut visitor, &site.ours.url), all, "{}", site.name);
    }
}

fn who_has_logged_in_at_symfony_is_read_and_nobody_is_logged_in_here(tools: &Tools) {
    let whoami = |visitor: &mut Visitor, url: &str| visitor.get(&format!("{url}/_test/whoami")).body;
    let settings: [(Change, &str); 2] = [
        (|dialect| dialect.firewall("main"), "ann"),
        (|dialect| dialect.firewall("main").user_property("email"), "ann@example.org"),
    ];
    for release in Release::BOTH {
        for (change, user) in settings {
            let site = Site::start_with(tools, release, Serializer::Php, Place::redis(tools), change);
            let (symfony, ours) = (&site.symfony.url, &site.ours.url);
            for (token, seen) in [
                ("UsernamePasswordToken", user),
                ("RememberMeToken", user),
                ("PostAuthenticationToken", user),
                // One that is in somebody else's place is of a class that is not read.
                ("SwitchUserToken", "nobody"),
            ] {
                let mut visitor = Visitor::new();
                post(&mut visitor, ours, "set", r#"{"cart": 1}"#);
                post(&mut visitor, symfony, "security", &format!(r#"{{"token": "{token}", "user": "{user}"}}"#));
                assert_eq!(whoami(&mut visitor, ours), seen, "{}, {token}", site.name);
                post(&mut visitor, ours, "add", r#"{"cart": 2}"#);
                assert_eq!(whoami(&mut visitor, symfony), user, "{}, {token}", site.name);
                let refused = visitor.post(&format!("{ours}/_test/principal"), r#"{"id": "eve"}"#);
                assert_eq!(refused.status, 500, "{}, {token}: {}", site.name, refused.body);
                assert_eq!(whoami(&mut visitor, ours), seen, "{}, {token}", site.name);
                let before = visitor.clone();
                post(&mut visitor, ours, "clear", "");
                for mut visitor in [before, visitor] {
                    for url in [symfony, ours] {
                        assert_eq!(whoami(&mut visitor.clone(), url), "nobody", "{}, {token}", site.name);
                    }
                    assert_eq!(entries(&mut visitor, ours), "{}", "{}, {token}", site.name);
                }
            }
        }
    }
}

fn the_record_and_the_cookie_are_symfonys(tools: &Tools) {
    for site in Site::each(tools) {
        let made = |url: &str| {
            let mut visitor = Visitor::new();
            let began = now();
            let set = post(&mut visitor, url, "set", r#"{"a": 1, "5": "five"}"#).set_cookie;
            post(&mut visitor, url, "flash", r#"{"category": "notice", "message": "hello"}"#);
            let record = site.record(&visitor);
            // The times are the same but for the seconds between.
            let times = (began..=now()).fold(record, |record, second| record.replace(&second.to_string(), "NOW"));
            let cookie = set.join("\n").replace(id(&visitor), "ID");
            let seconds = match &site.place {
                Place::Files(_) => 1440,
                Place::Redis(redis) => redis.ttl(&format!("sf_s{}", id(&visitor))),
            };
            assert!((1438..=1440).contains(&seconds), "{}: {seconds} s", site.name);
            (times, cookie)
        };
        let (symfony, ours) = (made(&site.symfony.url), made(&site.ours.url));
        assert_eq!(ours, symfony, "{}", site.name);
        note(&format!("{}: {}; {}", site.name, symfony.0, symfony.1));
    }
}

fn twenty_races_lose_nothing_in_files(tools: &Tools) {
    races_in_files(tools, 20);
}

fn twenty_races_in_redis_lose_nothing_of_symfonys_and_ours_are_counted(tools: &Tools) {
    races_in_redis(tools, 20);
}

fn five_hundred_races_lose_nothing_in_files(tools: &Tools) {
    races_in_files(tools, 500);
}

fn five_hundred_races_in_redis_lose_nothing_of_symfonys_and_ours_are_counted(tools: &Tools) {
    races_in_redis(tools, 500);
}

/// Symfony's handler of files is PHP's own, which has its lock.
fn races_in_files(tools: &Tools, rounds: u32) {
    for release in Release::BOTH {
        let site = Site::start(tools, release, Serializer::Php, Place::files());
        assert_eq!(lost(&site, rounds), [0, 0], "{}", site.name);
    }
}

/// Symfony writes what it has read long before, so it may lose ours, and we never lose its.
fn races_in_redis(tools: &Tools, rounds: u32) {
    for release in Release::BOTH {
        let site = Site::start(tools, release, Serializer::Php, Place::redis(tools));
        let [symfonys, ours] = lost(&site, rounds);
        note(&format!("{}: Symfony has overwritten {ours} of {rounds} writes of ours", site.name));
        assert_eq!(symfonys, 0, "{}", site.name);
    }
}

/// A page of each writes an entry of its own to one session, both at once, so many times. How many of Symfony's writes and of ours are not there afterwards.
fn lost(site: &Site, rounds: u32) -> [usize; 2] {
    let mut visitor = Visitor::new();
    post(&mut visitor, &site.symfony.url, "set", r#"{"first": 0}"#);
    let pages = [("symfony", &site.symfony.url), ("ours", &site.ours.url)];
    let mut lost = [0, 0];
    for round in 1..=rounds {
        let start = Barrier::new(pages.len());
        thread::scope(|scope| {
            for (name, url) in pages {
                let (mut visitor, start) = (visitor.clone(), &start);
                scope.spawn(move || {
                    start.wait();
                    post(&mut visitor, url, "add", &format!(r#"{{"{name}": {round}}}"#));
                });
            }
        });
        let seen = typed::parse(&entries(&mut visitor, &site.ours.url));
        assert_eq!(seen.get("first"), Some(&Value::Integer(0)), "{}", site.name);
        for (lost, (name, _)) in lost.iter_mut().zip(pages) {
            *lost += usize::from(seen.get(name) != Some(&Value::Integer(round.into())));
        }
    }
    lost
}

fn one_browser_visits_symfony_and_the_questions(tools: &Tools) {
    for site in Site::each(tools) {
        let store = match &site.place {
            Place::Files(folder) => format!("files:{}", folder.path().display()),
            Place::Redis(redis) => redis.url.clone(),
        };
        let settings = [("SESSION_DIALECT", "symfony"), ("SESSION_STORE", &*store)];
        one_browser_visits(tools, &format!("Symfony {}", site.name), &site.symfony.url, &settings);
    }
}
