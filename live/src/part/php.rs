//! A PHP application and ours in one visit, in PHP's session files and in Redis, with one cookie jar.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::PathBuf,
    sync::Barrier,
    thread,
    time::{Duration, Instant, SystemTime},
};

use dewar::{
    Lifetime, SessionLayer, dialect,
    layout::{Serializer, Shape},
    store::{SessionStore, Timestamp, files::FilesStore},
};
use tempfile::TempDir;

use super::{LESSON, browser::one_browser_visits};
use crate::{
    http::{Answer, Visitor},
    peer::{ours::Ours, php::Php, redis::Redis},
    suite::{Part, note, scenarios},
    tools::{CHROMEDRIVER, CHROMIUM, PHP, REDIS, Tools},
    typed,
};

pub(crate) static PART: Part = Part {
    name: "php",
    about: "a real PHP application and ours in one visit: its session files, and Redis with its lock",
    needs: &[&PHP, &REDIS, &CHROMIUM, &CHROMEDRIVER],
    scenarios: scenarios![
        every_kind_of_value_crosses_both_ways_in_its_order,
        twenty_pages_of_each_in_turn_are_one_visit,
        a_log_out_at_one_is_one_at_the_other_also_for_the_old_cookie,
        after_a_log_in_at_one_the_old_id_is_worth_nothing_at_the_other,
        another_visitor_stays_another,
        an_id_that_is_not_there_is_not_adopted,
        a_page_of_ours_that_asks_php_for_the_session_does_not_wait_for_itself,
        a_page_of_php_that_asks_ours_for_the_session_is_answered_at_once,
        a_slow_page_of_php_loses_nothing_and_is_waited_for,
        a_lock_that_is_held_for_ever_is_an_error_and_nothing_is_lost,
        a_late_page_of_php_does_not_bring_back_what_ended_at_ours,
        files_of_ours_are_phps_and_live_as_long_as_they_say,
        the_garbage_collection_of_both_removes_what_has_expired_and_nothing_else,
        fifty_races_lose_nothing_in_files,
        fifty_races_lose_nothing_in_redis_with_its_lock,
        fifty_races_in_redis_without_its_lock_are_counted,
        one_browser_visits_php_and_the_questions,
    ],
};

pub(crate) static LONG: Part = Part {
    name: "php-long",
    about: "500 races of PHP and ours for one session, in files and in Redis with and without PHP's lock",
    needs: &[&PHP, &REDIS],
    scenarios: scenarios![
        five_hundred_races_lose_nothing_in_files,
        five_hundred_races_lose_nothing_in_redis_with_its_lock,
        five_hundred_races_in_redis_without_its_lock_are_counted,
    ],
};

pub(super) const SERIALIZERS: [Serializer; 3] = [Serializer::Php, Serializer::PhpBinary, Serializer::PhpSerialize];

/// Where both sides keep the sessions.
pub(super) enum Place {
    Files(TempDir),
    Redis(Box<Redis>),
}

/// Whether phpredis takes its lock, which it does not by itself.
#[derive(Clone, Copy)]
enum Locking {
    On,
    Off,
}

impl Place {
    pub(super) fn files() -> Self {
        Self::Files(tempfile::tempdir().expect("a folder for PHP's sessions"))
    }

    pub(super) fn redis(tools: &Tools) -> Self {
        Self::Redis(Box::new(Redis::start(tools)))
    }

    pub(super) fn both(tools: &Tools) -> [Self; 2] {
        [Self::files(), Self::redis(tools)]
    }

    /// The PHP application with this serializer.
    fn php(&self, tools: &Tools, serializer: Serializer, locking: Locking) -> Php {
        let mut settings = vec![("session.serialize_handler", serializer.name().to_owned())];
        match self {
            Self::Files(folder) => settings.push(("session.save_path", folder.path().display().to_string())),
            Self::Redis(redis) => {
                settings.push(("session.save_handler", "redis".into()));
                // An equals sign in a value needs the quotes.
                settings.push(("session.save_path", format!("\"{}\"", redis.url.replace("redis:", "tcp:"))));
                if let Locking::On = locking {
                    settings.push(("redis.session.locking_enabled", "1".into()));
                    settings.push(("redis.session.lock_retries", "-1".into()));
                    settings.push(("redis.session.lock_expire", "30".into()));
                }
            }
        }
        let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, &**value)).collect();
        Php::start(tools, &settings)
    }

    fn ours(&self, serializer: Serializer, change: impl FnOnce(SessionLayer) -> SessionLayer) -> Ours {
        Ours::start_within(|| {
            let dialect = move |_: &dewar::Keyring| dialect::Php::new().serializer(serializer);
            let layer = SessionLayer::new(LESSON).expect("the secret is accepted").dialect(dialect);
            change(match self {
                Self::Files(folder) => layer.store(FilesStore::open(folder).expect("the folder is there")),
                Self::Redis(redis) => layer.store(redis.store()),
            })
        })
    }

    /// PHP and ours, with every default but phpredis's lock.
    fn applications(&self, tools: &Tools) -> (Php, Ours) {
        (self.php(tools, Serializer::Php, Locking::On), self.ours(Serializer::Php, |layer| layer))
    }

    /// The ids of all records.
    fn ids(&self) -> BTreeSet<String> {
        self.ids_behind("PHPREDIS_SESSION:")
    }

    /// The same, where records have this prefix in Redis.
    pub(super) fn ids_behind(&self, prefix: &str) -> BTreeSet<String> {
        let of = |name: &str, prefix: &str| name.strip_prefix(prefix).map(str::to_owned);
        match self {
            Self::Files(folder) => {
                let entries = fs::read_dir(folder).expect("the folder is there");
                let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("ASCII"));
                names.filter_map(|name| of(&name, "sess_")).collect()
            }
            Self::Redis(redis) => redis.keys().iter().filter_map(|key| of(key, prefix)).collect(),
        }
    }

    fn folder(&self) -> PathBuf {
        match self {
            Self::Files(folder) => folder.path().to_owned(),
            Self::Redis(_) => panic!("Redis has no folder"),
        }
    }
}

/// One of each kind, alone and nested.
pub(super) const EVERY_KIND: &str = r#"{
    "z": null, "yes": true, "no": false, "text": "Zoë \u0000\u001f\u007f\u2028 🧪 </script>", "empty": "",
    "int": 9007199254740991, "largest": {"$t": "int", "v": "9223372036854775807"}, "smallest": {"$t": "int", "v": "-9223372036854775808"},
    "float": {"$t": "float", "v": "0.1", "bits": "3fb999999999999a"}, "minus zero": {"$t": "float", "v": "-0.0", "bits": "8000000000000000"},
    "tiny": {"$t": "float", "v": "5e-324", "bits": "0000000000000001"}, "large": {"$t": "float", "v": "1e+21", "bits": "444b1ae4d6e2ef50"},
    "infinity": {"$t": "float", "v": "-inf", "bits": "fff0000000000000"}, "bytes": {"$t": "bytes", "v": "00ff80c3"},
    "list": [[], [null, {"deep": [{"deeper": "é"}]}]], "sparse": {"$t": "map", "v": [[7, "seven"], ["07", 7], [-1, {"$t": "map", "v": [[1, 2]]}]]},
    "a;s:1:\"b": "a|i:1;}", "é 🧪": 1
}"#;

pub(super) fn entries(visitor: &mut Visitor, url: &str) -> String {
    let answer = visitor.get(&format!("{url}/_test/get"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    typed::text(&typed::parse(&answer.body))
}

pub(super) fn id(visitor: &Visitor) -> &str {
    visitor.jar.get("PHPSESSID").unwrap_or_else(|| panic!("there is no PHPSESSID: {:?}", visitor.jar))
}

pub(super) fn post(visitor: &mut Visitor, url: &str, route: &str, body: &str) -> Answer {
    let answer = visitor.post(&format!("{url}/_test/{route}"), body);
    assert_eq!(answer.status, 204, "{route}: {}", answer.body);
    answer
}

fn every_kind_of_value_crosses_both_ways_in_its_order(tools: &Tools) {
    let expected = typed::text(&typed::parse(EVERY_KIND));
    for place in Place::both(tools) {
        for serializer in SERIALIZERS {
            let (php, ours) = (place.php(tools, serializer, Locking::Off), place.ours(serializer, |layer| layer));
            for (one, other) in [(&php.url, &ours.url), (&ours.url, &php.url)] {
                let mut visitor = Visitor::new();
                post(&mut visitor, one, "set", EVERY_KIND);
                assert_eq!(entries(&mut visitor, other), expected, "{serializer:?}");
                post(&mut visitor, other, "add", r#"{"added": 1}"#);
                let added = format!(r#"{},"added":1}}"#, expected.strip_suffix('}').expect("an object"));
                assert_eq!(entries(&mut visitor, one), added, "{serializer:?}");
                assert_eq!(entries(&mut visitor, other), added, "{serializer:?}");
            }
        }
    }
}

fn twenty_pages_of_each_in_turn_are_one_visit(tools: &Tools) {
    for place in Place::both(tools) {
        let (php, ours) = place.applications(tools);
        let mut visitor = Visitor::new();
        let mut expected = Vec::new();
        for turn in 0..20 {
            for (url, side) in [(&php.url, "php"), (&ours.url, "ours")] {
                post(&mut visitor, url, "add", &format!(r#"{{"{side}{turn}": {turn}}}"#));
                expected.push(format!(r#""{side}{turn}":{turn}"#));
            }
        }
        let expected = format!("{{{}}}", expected.join(","));
        assert_eq!(entries(&mut visitor, &php.url), expected);
        assert_eq!(entries(&mut visitor, &ours.url), expected);
        assert_eq!(place.ids().into_iter().collect::<Vec<_>>(), [id(&visitor)]);
    }
}

fn a_log_out_at_one_is_one_at_the_other_also_for_the_old_cookie(tools: &Tools) {
    for place in Place::both(tools) {
        let (php, ours) = place.applications(tools);
        for (one, other) in [(&php.url, &ours.url), (&ours.url, &php.url)] {
            let mut visitor = Visitor::new();
            post(&mut visitor, other, "set", r#"{"user": "ann"}"#);
            assert_eq!(entries(&mut visitor, one), r#"{"user":"ann"}"#);
            let before = visitor.clone();
            post(&mut visitor, one, "clear", "");
            assert!(visitor.jar.is_empty(), "{:?}", visitor.jar);
            for url in [other, one] {
                assert_eq!(entries(&mut visitor.clone(), url), "{}");
                assert_eq!(entries(&mut before.clone(), url), "{}");
            }
        }
    }
}

fn after_a_log_in_at_one_the_old_id_is_worth_nothing_at_the_other(tools: &Tools) {
    for place in Place::both(tools) {
        let (php, ours) = place.applications(tools);
        for (one, other) in [(&php.url, &ours.url), (&ours.url, &php.url)] {
            let mut visitor = Visitor::new();
            post(&mut visitor, other, "set", r#"{"cart": [1, 2]}"#);
            let mut planted = visitor.clone();
            post(&mut visitor, one, "login", r#"{"user": "ann"}"#);
            assert_ne!(id(&visitor), id(&planted));
            assert!(!place.ids().contains(id(&planted)), "the old record is gone");
            for url in [other, one] {
                assert_eq!(entries(&mut visitor, url), r#"{"cart":[1,2],"user":"ann"}"#);
                assert_eq!(entries(&mut planted, url), "{}");
            }
        }
    }
}

fn another_visitor_stays_another(tools: &Tools) {
    for place in Place::both(tools) {
        let (php, ours) = place.applications(tools);
        let mut visitors = [Visitor::new(), Visitor::new(), Visitor::new(), Visitor::new()];
        for (number, visitor) in visitors.iter_mut().enumerate() {
            let url = if number % 2 == 0 { &php.url } else { &ours.url };
            post(visitor, url, "set", &format!(r#"{{"who": {number}}}"#));
        }
        for (number, visitor) in visitors.iter_mut().enumerate() {
            for url in [&php.url, &ours.url] {
                assert_eq!(entries(visitor, url), format!(r#"{{"who":{number}}}"#));
            }
        }
        assert_eq!(place.ids().len(), 4);
    }
}

fn an_id_that_is_not_there_is_not_adopted(tools: &Tools) {
    for place in Place::both(tools) {
        let ours = place.ours(Serializer::Php, |layer| layer);
        for planted in ["0123456789abcdefghijklmnop", "../../etc/passwd", "a"] {
            let mut visitor = Visitor::new();
            visitor.jar.insert("PHPSESSID".into(), planted.into());
            assert_eq!(entries(&mut visitor, &ours.url), "{}");
            post(&mut visitor, &ours.url, "set", r#"{"user": "ann"}"#);
            assert_ne!(id(&visitor), planted);
            assert!(place.ids().contains(id(&visitor)) && !place.ids().contains(planted), "{:?}", place.ids());
        }
    }
}

fn a_page_of_ours_that_asks_php_for_the_session_does_not_wait_for_itself(tools: &Tools) {
    for place in Place::both(tools) {
        let (php, ours) = place.applications(tools);
        let mut visitor = Visitor::new();
        post(&mut visitor, &php.url, "set", r#"{"first": 0}"#);
        let began = Instant::now();
        post(&mut visitor, &ours.url, "asks", &format!("{}/_test/add", php.url));
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        let both = r#"{"first":0,"a":1,"before":true,"after":true}"#;
        assert_eq!(entries(&mut visitor, &php.url), both);
        assert_eq!(entries(&mut visitor, &ours.url), both);
    }
}

fn a_page_of_php_that_asks_ours_for_the_session_is_answered_at_once(tools: &Tools) {
    for place in Place::both(tools) {
        let (php, ours) = place.applications(tools);
        let mut visitor = Visitor::new();
        post(&mut visitor, &php.url, "set", r#"{"first": 0}"#);
        let began = Instant::now();
        let asked = visitor.get(&format!("{}/_test/asks?url={}/_test/get", php.url, ours.url));
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        assert_eq!(asked.body, r#"{"first":0}"#);
    }
}

fn a_slow_page_of_php_loses_nothing_and_is_waited_for(tools: &Tools) {
    for place in Place::both(tools) {
        let (php, ours) = place.applications(tools);
        let mut visitor = Visitor::new();
        post(&mut visitor, &php.url, "set", r#"{"first": 0}"#);
        let slow = slow_page(&visitor, &php, 600);
        let began = Instant::now();
        assert_eq!(entries(&mut visitor, &ours.url), r#"{"first":0}"#);
        assert!(began.elapsed() < Duration::from_millis(300), "to read waits for nobody: {:?}", began.elapsed());
        post(&mut visitor, &ours.url, "add", r#"{"ours": 1}"#);
        assert!(began.elapsed() > Duration::from_millis(300), "{:?}", began.elapsed());
        slow.join().expect("the slow page ends well");
        for url in [&php.url, &ours.url] {
            assert_eq!(entries(&mut visitor, url), r#"{"first":0,"slow":1,"ours":1}"#);
        }
    }
}

/// A page of PHP's that has the session for so many milliseconds, and has begun when this returns.
fn slow_page(visitor: &Visitor, php: &Php, millis: u32) -> thread::JoinHandle<()> {
    let (mut visitor, url) = (visitor.clone(), php.url.clone());
    let slow = thread::spawn(move || {
        post(&mut visitor, &url, &format!("slow?ms={millis}"), r#"{"slow": 1}"#);
    });
    thread::sleep(Duration::from_millis(150));
    slow
}

fn a_lock_that_is_held_for_ever_is_an_error_and_nothing_is_lost(tools: &Tools) {
    for place in Place::both(tools) {
        let (php, ours) = place.applications(tools);
        let mut visitor = Visitor::new();
        post(&mut visitor, &php.url, "set", r#"{"first": 0}"#);
        let hold = match &place {
            Place::Files(folder) => {
                let file = File::open(folder.path().join(format!("sess_{}", id(&visitor)))).expect("its file");
                file.lock().expect("it can be locked");
                Some(file)
            }
            Place::Redis(redis) => {
                redis.set(&format!("PHPREDIS_SESSION:{}_LOCK", id(&visitor)), "a request that was killed");
                None
            }
        };
        let began = Instant::now();
        let refused = visitor.post(&format!("{}/_test/add", ours.url), r#"{"ours": 1}"#);
        assert!((500..600).contains(&refused.status), "{}", refused.status);
        assert!((9..15).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
        assert_eq!(entries(&mut visitor, &ours.url), r#"{"first":0}"#);
        if let Place::Redis(redis) = &place {
            redis.remove(&format!("PHPREDIS_SESSION:{}_LOCK", id(&visitor)));
        }
        drop(hold);
        post(&mut visitor, &ours.url, "add", r#"{"ours": 2}"#);
        assert_eq!(entries(&mut visitor, &php.url), r#"{"first":0,"ours":2}"#);
    }
}

/// Without its lock phpredis writes at the end of its request, whatever happened meanwhile.
fn a_late_page_of_php_does_not_bring_back_what_ended_at_ours(tools: &Tools) {
    let place = Place::redis(tools);
    let (php, ours) = (place.php(tools, Serializer::Php, Locking::Off), place.ours(Serializer::Php, |layer| layer));
    let mut visitor = Visitor::new();
    post(&mut visitor, &php.url, "set", r#"{"user": "ann"}"#);
    let before = visitor.clone();
    let slow = slow_page(&visitor, &php, 500);
    post(&mut visitor, &ours.url, "clear", "");
    slow.join().expect("the slow page ends well");
    assert!(place.ids().contains(id(&before)), "PHP has written it again");
    assert_eq!(entries(&mut before.clone(), &ours.url), "{}");
    assert!(!place.ids().contains(id(&before)), "it was removed when it was met");
    assert_eq!(entries(&mut before.clone(), &php.url), "{}");
}

fn files_of_ours_are_phps_and_live_as_long_as_they_say(tools: &Tools) {
    let place = Place::files();
    let php = place.php(tools, Serializer::Php, Locking::Off);
    let hours = |hours: u64| Lifetime::browser().idle(Duration::from_secs(3600 * hours));
    for lifetime in [None, Some(hours(2))] {
        let ours = place.ours(Serializer::Php, |layer| match lifetime {
            Some(lifetime) => layer.lifetime(lifetime),
            None => layer,
        });
        let mut visitor = Visitor::new();
        post(&mut visitor, &ours.url, "set", r#"{"a": 1}"#);
        let file = place.folder().join(format!("sess_{}", id(&visitor)));
        assert_eq!(fs::read(&file).expect("its file"), b"a|i:1;");
        let modified = fs::metadata(&file).and_then(|found| found.modified()).expect("its time");
        let from_now = Timestamp::from(modified).as_secs() as i64 - Timestamp::from(SystemTime::now()).as_secs() as i64;
        assert!((-3..=1).contains(&from_now), "{from_now}");
        assert_eq!(entries(&mut visitor, &php.url), r#"{"a":1}"#);
        // What PHP has written lives as long here.
        let mut visitor = Visitor::new();
        post(&mut visitor, &php.url, "set", r#"{"a": 1}"#);
        let file = File::options().write(true).open(place.folder().join(format!("sess_{}", id(&visitor))));
        let before = SystemTime::now() - Duration::from_secs(3600);
        file.and_then(|file| file.set_modified(before)).expect("a time can be set");
        let kept = if lifetime.is_some() { r#"{"a":1}"# } else { "{}" };
        assert_eq!(entries(&mut visitor, &ours.url), kept);
    }
}

fn the_garbage_collection_of_both_removes_what_has_expired_and_nothing_else(tools: &Tools) {
    let place = Place::files();
    let (php, ours) = place.applications(tools);
    let purge = || {
        let engine = FilesStore::open(place.folder()).expect("the folder").engine(Shape::Blob).expect("an engine");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(engine.purge(1000, Timestamp::from(SystemTime::now()))).expect("it is purged")
    };
    // One that ended here, whose tombstone PHP leaves alone.
    let mut ended = Visitor::new();
    post(&mut ended, &php.url, "set", r#"{"a": 1}"#);
    let tombstone = place.folder().join(format!("dewar-ended_{}", id(&ended)));
    post(&mut ended, &ours.url, "clear", "");
    for collect in ["php", "ours"] {
        let mut visitors: Vec<_> = [&php.url, &ours.url, &php.url, &ours.url].map(|url| (Visitor::new(), url)).into();
        for (number, (visitor, url)) in visitors.iter_mut().enumerate() {
            post(visitor, url, "set", r#"{"a": 1}"#);
            if number < 2 {
                let file = File::options().write(true).open(place.folder().join(format!("sess_{}", id(visitor))));
                let expired = SystemTime::now() - Duration::from_secs(1450);
                file.and_then(|file| file.set_modified(expired)).expect("a time can be set");
            }
        }
        match collect {
            "php" => {
                let collected = Visitor::new().get(&format!("{}/_test/gc", php.url));
                assert_eq!(collected.body.trim(), "2");
            }
            _ => assert_eq!(purge(), 2),
        }
        let ids = place.ids();
        let stands: Vec<_> = visitors.iter().map(|(visitor, _)| ids.contains(id(visitor))).collect();
        assert_eq!(stands, [false, false, true, true], "{collect}");
        assert!(tombstone.exists(), "{collect}");
    }
}

fn fifty_races_lose_nothing_in_files(tools: &Tools) {
    assert_eq!(lost(&Place::files(), tools, Locking::Off, 50), 0);
}

fn fifty_races_lose_nothing_in_redis_with_its_lock(tools: &Tools) {
    assert_eq!(lost(&Place::redis(tools), tools, Locking::On, 50), 0);
}

fn fifty_races_in_redis_without_its_lock_are_counted(tools: &Tools) {
    count_without_lock(tools, 50);
}

fn five_hundred_races_lose_nothing_in_files(tools: &Tools) {
    assert_eq!(lost(&Place::files(), tools, Locking::Off, 500), 0);
}

fn five_hundred_races_lose_nothing_in_redis_with_its_lock(tools: &Tools) {
    assert_eq!(lost(&Place::redis(tools), tools, Locking::On, 500), 0);
}

fn five_hundred_races_in_redis_without_its_lock_are_counted(tools: &Tools) {
    count_without_lock(tools, 500);
}

/// PHP writes what it has read long before, so it may lose ours, and we never lose its.
fn count_without_lock(tools: &Tools, rounds: u32) {
    let lost = lost(&Place::redis(tools), tools, Locking::Off, rounds);
    note(&format!("without PHP's lock {lost} of {} writes were lost", 4 * rounds));
}

/// Two pages of each write an entry of their own to one session, all at once, so many times. How many of these writes are not there afterwards.
fn lost(place: &Place, tools: &Tools, locking: Locking, rounds: u32) -> usize {
    let (php, ours) = (place.php(tools, Serializer::Php, locking), place.ours(Serializer::Php, |layer| layer));
    let mut visitor = Visitor::new();
    post(&mut visitor, &php.url, "set", r#"{"first": 0}"#);
    let pages = [("p1", &php.url), ("p2", &php.url), ("o1", &ours.url), ("o2", &ours.url)];
    let (began, mut lost) = (Instant::now(), 0);
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
        let seen = typed::parse(&entries(&mut visitor, &ours.url));
        assert_eq!(typed::text(&seen), entries(&mut visitor, &php.url));
        let expected = dewar::Value::Integer(round.into());
        lost += pages.iter().filter(|(name, _)| seen.get(name) != Some(&expected)).count();
    }
    note(&format!("{rounds} rounds of four pages at once in {:.1} s", began.elapsed().as_secs_f32()));
    lost
}

fn one_browser_visits_php_and_the_questions(tools: &Tools) {
    for place in Place::both(tools) {
        for serializer in SERIALIZERS {
            let php = place.php(tools, serializer, Locking::On);
            let (name, store) = match &place {
                Place::Files(folder) => ("files", format!("files:{}", folder.path().display())),
                Place::Redis(redis) => ("Redis", redis.url.clone()),
            };
            let options = format!("serializer={}", serializer.name());
            let settings = [("SESSION_DIALECT", "php"), ("SESSION_STORE", &*store), ("SESSION_OPTIONS", &*options)];
            one_browser_visits(tools, &format!("{name}, {options}"), &php.url, &settings);
        }
    }
}
