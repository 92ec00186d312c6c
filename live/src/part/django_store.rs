//! A Django site and ours in one visit, with one cookie jar, the sessions in its table or its cache: each release, on each database.

use std::{fmt, thread, time::Duration};

use dewar::{Keyring, Secret};
use serde_json::json;

use super::{LESSON, browser::one_browser_visits, django::EVERY_KIND};
use crate::{
    http::{Answer, Visitor},
    peer::{
        django::{Django, Place, RELEASES},
        ours::Ours,
        servers::Server,
    },
    races,
    routes::whole,
    suite::{Part, note, scenarios},
    tools::{CHROMEDRIVER, CHROMIUM, DJANGO_5_2, DJANGO_6_0, MARIADB, POSTGRES, REDIS, Tool, Tools},
    typed,
};

pub(crate) static PART: Part = Part {
    name: "django-store",
    about: "Django sites of both releases and ours in one visit, with the sessions in tables, caches and cached tables",
    needs: &[&DJANGO_5_2, &DJANGO_6_0, &REDIS, &POSTGRES, &MARIADB, &CHROMIUM, &CHROMEDRIVER],
    scenarios: scenarios![
        one_visit_is_answered_in_turn_wherever_the_sessions_are,
        twenty_alternating_writes_are_all_in_the_record,
        after_a_log_out_on_either_side_the_old_cookie_opens_nothing,
        a_second_visitor_stays_another,
        a_log_in_at_ours_is_believed_by_django_and_its_admin_until_the_password_changes,
        a_log_in_at_django_is_our_principal_until_the_password_changes,
        a_lifetime_that_one_sets_is_when_the_row_ends,
        clearsessions_and_our_purge_leave_what_lives,
        the_secret_changes_while_people_stay_logged_in,
        a_row_of_another_secret_opens_nothing_and_stays,
        an_id_that_leads_nowhere_is_adopted_by_neither,
        a_pickle_is_refused_and_stays,
        a_copy_in_the_cache_goes_with_every_write_and_once_more,
        twenty_races_are_counted,
        one_browser_visits_django_and_the_questions,
    ],
};

/// Django and ours in one place.
struct Site {
    release: &'static Tool,
    place: Place,
    django: Django,
    ours: Ours,
}

impl Site {
    fn start(tools: &Tools, release: &'static Tool, place: Place) -> Self {
        let django = Django::on(tools, release, &place, LESSON, &[]);
        let ours = Ours::start_within(|| place.ours(keyring(&[LESSON])));
        Self { release, place, django, ours }
    }

    /// Each release, in a file and in a cache, and one with copies.
    fn each(tools: &Tools) -> impl Iterator<Item = Self> {
        let files = RELEASES.map(|release| (release, (|_| Place::table(Server::sqlite())) as fn(&Tools) -> Place));
        let caches = RELEASES.map(|release| (release, Place::cache as fn(&Tools) -> Place));
        let copied = (&DJANGO_6_0, (|tools| Place::cached(Server::sqlite(), tools)) as fn(&Tools) -> Place);
        files
            .into_iter()
            .chain(caches)
            .chain([copied])
            .map(|(release, place)| Self::start(tools, release, place(tools)))
    }

    /// The same, and a release on each database server.
    fn everywhere(tools: &Tools) -> impl Iterator<Item = Self> {
        let server = |release, server: fn() -> Server| {
            std::iter::once_with(move || Self::start(tools, release, Place::table(server())))
        };
        let servers = server(&DJANGO_5_2, Server::postgres).chain(server(&DJANGO_6_0, Server::mariadb));
        Self::each(tools).chain(servers)
    }

    /// Both ways: who begins, and the other.
    fn ways(&self) -> [(&str, &str); 2] {
        [(&self.django.url, &self.ours.url), (&self.ours.url, &self.django.url)]
    }

    /// How many sessions there are.
    fn sessions(&self) -> usize {
        match &self.place.cache {
            Some(cache) if !self.place.has_rows() => cache.keys().len(),
            _ => self.django.rows().len(),
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let store = self.place.store();
        let place = store.split(':').next().unwrap_or_default();
        write!(f, "{}, {} ({place})", self.release.name, self.place.engine)
    }
}

fn keyring(secrets: &[&str]) -> Keyring {
    let mut secrets = secrets.iter().map(|text| Secret::new(text).expect("the secret is accepted"));
    let first = Keyring::new(secrets.next().expect("there is one"));
    secrets.fold(first, Keyring::fallback)
}

fn text(visitor: &mut Visitor, url: &str) -> String {
    typed::text(&whole(visitor, url))
}

fn post(visitor: &mut Visitor, url: &str, route: &str, body: &str) -> Answer {
    let answer = visitor.post(&format!("{url}/_test/{route}"), body);
    assert!((200..300).contains(&answer.status), "{url}, {route}: {} {}", answer.status, answer.body);
    answer
}

fn one_visit_is_answered_in_turn_wherever_the_sessions_are(tools: &Tools) {
    let expected = typed::text(&typed::parse(EVERY_KIND));
    for site in Site::everywhere(tools) {
        for (one, other) in site.ways() {
            let mut visitor = Visitor::new();
            post(&mut visitor, one, "set", EVERY_KIND);
            let id = visitor.jar["sessionid"].clone();
            assert!(
                id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()),
                "{id}"
            );
            assert_eq!(text(&mut visitor, other), expected, "{site}");
            post(&mut visitor, other, "add", r#"{"last": 1}"#);
            let added = format!(r#"{},"last":1}}"#, expected.trim_end_matches('}'));
            for url in [one, other] {
                assert_eq!(text(&mut visitor, url), added, "{site}");
            }
            assert_eq!(visitor.jar["sessionid"], id, "{site}: it is one session");
            assert_eq!(site.sessions(), 1, "{site}");
            post(&mut visitor, other, "clear", "");
            assert_eq!(site.sessions(), 0, "{site}");
        }
    }
}

fn twenty_alternating_writes_are_all_in_the_record(tools: &Tools) {
    for site in Site::everywhere(tools) {
        let mut visitor = Visitor::new();
        post(&mut visitor, &site.django.url, "set", r#"{"count": 0}"#);
        for at in 0..20 {
            let url = if at % 2 == 0 { &site.ours.url } else { &site.django.url };
            post(&mut visitor, url, "count", "{}");
            post(&mut visitor, url, "add", &format!(r#"{{"entry{at}": {at}}}"#));
        }
        for url in [&site.ours.url, &site.django.url] {
            let found = whole(&mut visitor, url);
            assert_eq!(found.get("count"), Some(&20.into()), "{site}");
            (0..20).for_each(|at| assert_eq!(found.get(&format!("entry{at}")), Some(&at.into()), "{site}"));
        }
        assert_eq!(site.sessions(), 1, "{site}");
    }
}

fn after_a_log_out_on_either_side_the_old_cookie_opens_nothing(tools: &Tools) {
    for site in Site::everywhere(tools) {
        for (one, other) in site.ways() {
            let mut visitor = Visitor::new();
            post(&mut visitor, other, "set", r#"{"cart": [1]}"#);
            // Where it is cached, it is in the cache now.
            text(&mut visitor, &site.django.url);
            let before = visitor.clone();
            post(&mut visitor, one, "clear", "");
            for url in [other, one, other] {
                assert_eq!(text(&mut before.clone(), url), "{}", "{site}");
                assert_eq!(text(&mut visitor.clone(), url), "{}", "{site}");
            }
            post(&mut visitor, other, "set", r#"{"new": 1}"#);
            assert_eq!(text(&mut visitor, one), r#"{"new":1}"#, "{site}");
            for url in [one, other] {
                assert_eq!(text(&mut before.clone(), url), "{}", "{site}");
            }
        }
    }
}

fn a_second_visitor_stays_another(tools: &Tools) {
    for site in Site::each(tools) {
        let (mut ada, mut grace) = (Visitor::new(), Visitor::new());
        post(&mut ada, &site.django.url, "set", r#"{"name": "Ada"}"#);
        post(&mut grace, &site.ours.url, "set", r#"{"name": "Grace"}"#);
        for (one, other) in site.ways() {
            post(&mut ada, one, "add", r#"{"a": 1}"#);
            post(&mut grace, one, "add", r#"{"g": 1}"#);
            assert_eq!(text(&mut ada, other), r#"{"name":"Ada","a":1}"#, "{site}");
            assert_eq!(text(&mut grace, other), r#"{"name":"Grace","g":1}"#, "{site}");
        }
        assert_eq!(site.sessions(), 2, "{site}");
    }
}

/// Makes a user at Django, or gives one another password: the row as JSON.
fn user(site: &Site, password: &str) -> String {
    post(&mut Visitor::new(), &site.django.url, "user", &json!({"user": "ada", "password": password}).to_string()).body
}

fn whoami(visitor: &mut Visitor, url: &str) -> String {
    visitor.get(&format!("{url}/_test/whoami")).body
}

fn sees_the_admin(visitor: &mut Visitor, site: &Site) -> bool {
    let page = visitor.get(&format!("{}/admin/", site.django.url));
    assert_eq!(page.status, 200, "{site}: {}", page.body);
    let (is_in, is_asked) = (page.body.contains("Site administration"), page.body.contains("id_password"));
    assert_ne!(is_in, is_asked, "{site}: {}", page.body);
    is_in
}

fn a_log_in_at_ours_is_believed_by_django_and_its_admin_until_the_password_changes(tools: &Tools) {
    for site in Site::everywhere(tools) {
        let row = user(&site, "old");
        let mut visitor = Visitor::new();
        post(&mut visitor, &site.ours.url, "set", r#"{"cart": 1}"#);
        assert_eq!(whoami(&mut visitor, &site.django.url), "nobody", "{site}");
        assert!(!sees_the_admin(&mut visitor.clone(), &site), "{site}");
        let before = visitor.clone();
        post(&mut visitor, &site.ours.url, "principal", &row);
        assert_eq!(whoami(&mut visitor, &site.django.url), "ada", "{site}");
        assert!(sees_the_admin(&mut visitor, &site), "{site}");
        assert_eq!(whole(&mut visitor, &site.django.url).get("cart"), Some(&1.into()), "{site}");
        assert_eq!(text(&mut before.clone(), &site.django.url), "{}", "{site}: the id of before is worth nothing");
        user(&site, "new");
        assert_eq!(whoami(&mut visitor, &site.django.url), "nobody", "{site}");
        assert!(!sees_the_admin(&mut visitor.clone(), &site), "{site}");
        assert_eq!(text(&mut visitor, &site.ours.url), "{}", "{site}: Django has ended it");
    }
}

fn a_log_in_at_django_is_our_principal_until_the_password_changes(tools: &Tools) {
    for site in Site::each(tools) {
        let row = user(&site, "old");
        let mut visitor = Visitor::new();
        post(&mut visitor, &site.django.url, "set", r#"{"cart": 1}"#);
        let before = visitor.clone();
        post(&mut visitor, &site.django.url, "login", r#"{"user": "ada"}"#);
        let who = whoami(&mut visitor, &site.ours.url);
        assert!(who.parse::<u32>().is_ok(), "{site}: {who}");
        assert_eq!(text(&mut before.clone(), &site.ours.url), "{}", "{site}: the id of before is worth nothing");
        assert_eq!(post(&mut visitor, &site.ours.url, "confirm", &row).body, "true", "{site}");
        let row = user(&site, "new");
        assert_eq!(whoami(&mut visitor, &site.ours.url), who, "{site}: until it is asked, the record is trusted");
        assert_eq!(post(&mut visitor, &site.ours.url, "confirm", &row).body, "false", "{site}");
        assert_eq!(whoami(&mut visitor, &site.ours.url), "nobody", "{site}");
        assert_eq!(site.sessions(), 0, "{site}");
        // Django's own log-out, of a log-in at ours.
        post(&mut visitor, &site.ours.url, "principal", &row);
        let before = visitor.clone();
        post(&mut visitor, &site.django.url, "logout", "");
        assert_eq!(whoami(&mut before.clone(), &site.ours.url), "nobody", "{site}");
    }
}

fn a_lifetime_that_one_sets_is_when_the_row_ends(tools: &Tools) {
    const AGE: f64 = 1_209_600.0;
    for site in Site::everywhere(tools) {
        let left = |id: &str| match &site.place.cache {
            Some(cache) if !site.place.has_rows() => cache.ttl(&format!("{}{id}", site.place.prefix())) as f64,
            _ => site.django.rows().into_iter().find(|row| row.id == id).expect("the row").left,
        };
        let is_near = |id: &str, seconds: f64| {
            let left = left(id);
            assert!((seconds - 20.0..=seconds + 1.0).contains(&left), "{site}: {left} s, not {seconds}");
        };
        for (one, other) in site.ways() {
            // Less than usual, more, and as long as the browser.
            for (asked, ends) in [("300", 300.0), ("2000000", 2_000_000.0), ("0", AGE)] {
                let mut visitor = Visitor::new();
                post(&mut visitor, one, "set", r#"{"a": 1}"#);
                let id = visitor.jar["sessionid"].clone();
                is_near(&id, AGE);
                for (url, route, body) in [(one, "lifetime", asked), (other, "add", r#"{"b": 2}"#)] {
                    let answer = post(&mut visitor, url, route, body);
                    is_near(&id, ends);
                    let cookies = answer.set_cookie.iter().filter(|cookie| cookie.starts_with("sessionid="));
                    for cookie in cookies {
                        let says = cookie.contains(&format!("Max-Age={asked}"));
                        assert_eq!(says, asked != "0", "{site}: {cookie}");
                        assert_eq!(cookie.contains("Max-Age"), asked != "0", "{site}: {cookie}");
                    }
                }
                let expected = format!(r#"{{"a":1,"_session_expiry":{asked},"b":2}}"#);
                assert_eq!(text(&mut visitor, one), expected, "{site}");
                assert_eq!(text(&mut visitor, other), expected, "{site}");
            }
        }
        // A moment, which Django alone writes: nothing moves it.
        let mut visitor = Visitor::new();
        post(&mut visitor, &site.django.url, "set", r#"{"a": 1}"#);
        post(&mut visitor, &site.django.url, "lifetime", r#""2099-01-01T00:00:00+00:00""#);
        let id = visitor.jar["sessionid"].clone();
        let before = left(&id);
        post(&mut visitor, &site.ours.url, "add", r#"{"b": 2}"#);
        is_near(&id, before);
    }
}

fn clearsessions_and_our_purge_leave_what_lives(tools: &Tools) {
    for site in Site::everywhere(tools).filter(|site| site.place.has_rows()) {
        let sessions: Vec<Visitor> = (0..6)
            .map(|at| {
                let mut visitor = Visitor::new();
                post(&mut visitor, if at % 2 == 0 { &site.django.url } else { &site.ours.url }, "set", r#"{"a": 1}"#);
                visitor
            })
            .collect();
        let id = |at: usize| sessions[at].jar["sessionid"].clone();
        let stand = || site.django.rows().into_iter().map(|row| row.id).collect::<Vec<_>>();
        // Two end, and Django's command removes them; two more, and ours does.
        (0..2).for_each(|at| site.django.change_row(&id(at), "left", json!(-5)));
        for ended in &sessions[..2] {
            assert_eq!(text(&mut ended.clone(), &site.ours.url), "{}", "{site}: a row that has ended is none");
        }
        post(&mut Visitor::new(), &site.django.url, "clearsessions", "");
        assert!((0..2).all(|at| !stand().contains(&id(at))), "{site}");
        // Ours leaves what may live in another time zone.
        (2..4).for_each(|at| site.django.change_row(&id(at), "left", json!(-100_000)));
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let manager = site.place.ours(keyring(&[LESSON])).manager().expect("the settings agree");
            manager.purge().await.expect("the table answers");
        });
        let mut expected = vec![id(4), id(5)];
        expected.sort();
        assert_eq!(stand(), expected, "{site}");
        for living in &sessions[4..] {
            assert_eq!(text(&mut living.clone(), &site.ours.url), r#"{"a":1}"#, "{site}");
        }
    }
}

const OLD: &str = "the secret of last winter 1";
const NEW: &str = "the secret of this spring 2";

fn the_secret_changes_while_people_stay_logged_in(tools: &Tools) {
    for release in RELEASES {
        let place = Place::table(Server::sqlite());
        let start = |secrets: &[&str]| Ours::start_within(|| place.ours(keyring(secrets)));
        let before = Django::on(tools, release, &place, OLD, &[]);
        let after = Django::on(tools, release, &place, NEW, &[("SECRET_KEY_FALLBACKS", OLD)]);
        let (ours_before, ours) = (start(&[OLD]), start(&[NEW, OLD]));
        let mut visitor = Visitor::new();
        post(&mut visitor, &before.url, "set", r#"{"a": 1}"#);
        assert_eq!(text(&mut visitor, &ours.url), r#"{"a":1}"#);
        post(&mut visitor, &ours.url, "add", r#"{"b": 2}"#);
        assert_eq!(text(&mut visitor, &after.url), r#"{"a":1,"b":2}"#);
        let mut visitor = Visitor::new();
        post(&mut visitor, &ours_before.url, "set", r#"{"a": 1}"#);
        assert_eq!(text(&mut visitor, &after.url), r#"{"a":1}"#);
        post(&mut visitor, &after.url, "add", r#"{"b": 2}"#);
        assert_eq!(text(&mut visitor, &ours.url), r#"{"a":1,"b":2}"#);
    }
}

fn a_row_of_another_secret_opens_nothing_and_stays(tools: &Tools) {
    for release in RELEASES {
        let place = Place::table(Server::sqlite());
        let django = Django::on(tools, release, &place, OLD, &[]);
        let ours = Ours::start_within(|| place.ours(keyring(&[NEW])));
        let mut visitor = Visitor::new();
        post(&mut visitor, &django.url, "set", r#"{"a": 1}"#);
        let (kept, theirs) = (visitor.clone(), visitor.jar["sessionid"].clone());
        assert_eq!(text(&mut visitor, &ours.url), "{}");
        post(&mut visitor, &ours.url, "add", r#"{"b": 2}"#);
        assert_ne!(visitor.jar["sessionid"], theirs, "another id");
        assert_eq!(text(&mut visitor, &ours.url), r#"{"b":2}"#);
        assert_eq!(text(&mut kept.clone(), &django.url), r#"{"a":1}"#, "and the row stays");
        // One that is no text of Django's at all.
        django.change_row(&theirs, "text", json!("what is this?"));
        assert_eq!(text(&mut kept.clone(), &ours.url), "{}");
        post(&mut kept.clone(), &ours.url, "add", r#"{"b": 2}"#);
        assert!(django.rows().iter().any(|row| row.id == theirs && row.text == "what is this?"));
    }
}

fn an_id_that_leads_nowhere_is_adopted_by_neither(tools: &Tools) {
    for site in Site::each(tools) {
        for url in [&site.django.url, &site.ours.url] {
            for planted in ["abcdefghijklmnopqrstuvwxyz012345", "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345", "short12"] {
                let mut visitor = Visitor::new();
                visitor.jar.insert("sessionid".into(), planted.into());
                post(&mut visitor, url, "add", r#"{"a": 1}"#);
                assert_ne!(visitor.jar["sessionid"], planted, "{site}: {url}");
            }
        }
        assert_eq!(site.sessions(), 6, "{site}");
    }
}

fn a_pickle_is_refused_and_stays(tools: &Tools) {
    for release in RELEASES {
        let place = Place::cache(tools);
        let django = Django::on(tools, release, &place, LESSON, &[("CACHE_SERIALIZER", "pickle")]);
        let ours = Ours::start_within(|| place.ours(keyring(&[LESSON])));
        let mut visitor = Visitor::new();
        post(&mut visitor, &django.url, "set", r#"{"a": 1}"#);
        let kept = visitor.clone();
        assert_eq!(text(&mut visitor, &ours.url), "{}");
        post(&mut visitor, &ours.url, "add", r#"{"b": 2}"#);
        assert_ne!(visitor.jar["sessionid"], kept.jar["sessionid"], "another id");
        assert_eq!(text(&mut kept.clone(), &django.url), r#"{"a":1}"#);
    }
}

fn a_copy_in_the_cache_goes_with_every_write_and_once_more(tools: &Tools) {
    let site = Site::start(tools, &DJANGO_6_0, Place::cached(Server::postgres(), tools));
    let cache = site.place.cache.as_ref().expect("there is a cache");
    let copy = |visitor: &Visitor| format!("{}{}", site.place.prefix(), visitor.jar["sessionid"]);
    let mut visitor = Visitor::new();
    post(&mut visitor, &site.django.url, "set", r#"{"a": 1}"#);
    assert_eq!(cache.keys(), [copy(&visitor)], "Django has cached it");
    let before = visitor.clone();
    for (route, body) in [("add", r#"{"b": 2}"#), ("login", r#"{"c": 3}"#), ("clear", "")] {
        text(&mut visitor, &site.django.url);
        assert_eq!(cache.keys().len(), 1, "{route}");
        let copy = copy(&visitor);
        post(&mut visitor, &site.ours.url, route, body);
        assert!(!cache.keys().contains(&copy), "{route}");
    }
    assert_eq!(text(&mut before.clone(), &site.django.url), "{}");
    // Without a write of ours it stays.
    post(&mut visitor, &site.django.url, "set", r#"{"a": 1}"#);
    text(&mut visitor, &site.ours.url);
    assert_eq!(cache.keys(), [copy(&visitor)]);

    // Django looks while ours writes: it may read the row of before, and put that into the cache after we have removed what was there.
    let rounds = 40;
    let (mut visitors, mut stale) = (Vec::new(), 0);
    for round in 0..rounds {
        let mut visitor = Visitor::new();
        post(&mut visitor, &site.django.url, "set", r#"{"a": 1}"#);
        cache.remove(&copy(&visitor));
        thread::scope(|scope| {
            let mut looks = visitor.clone();
            let (mut writes, django, ours) = (visitor.clone(), &site.django.url, &site.ours.url);
            scope.spawn(move || text(&mut looks, django));
            scope.spawn(move || {
                thread::sleep(Duration::from_micros(round * 250));
                post(&mut writes, ours, "add", r#"{"b": 2}"#)
            });
        });
        stale += usize::from(text(&mut visitor.clone(), &site.django.url) != r#"{"a":1,"b":2}"#);
        visitors.push(visitor);
    }
    note(&format!(
        "{site}: of {rounds} writes while a page of Django's found no copy, {stale} were not seen by its next page; after seven seconds all were"
    ));
    thread::sleep(Duration::from_secs(7));
    for visitor in &mut visitors {
        assert_eq!(text(visitor, &site.django.url), r#"{"a":1,"b":2}"#, "{site}: once more, and it is right");
    }
}

fn twenty_races_are_counted(tools: &Tools) {
    Site::each(tools).for_each(|site| count_races(&site, 20));
}

/// Of the newer release, in each place.
pub(super) fn five_hundred_races_are_counted(tools: &Tools) {
    let places: [fn(&Tools) -> Place; 5] = [
        |_| Place::table(Server::sqlite()),
        |_| Place::table(Server::postgres()),
        |_| Place::table(Server::mariadb()),
        Place::cache,
        |tools| Place::cached(Server::postgres(), tools),
    ];
    places.iter().for_each(|place| count_races(&Site::start(tools, &DJANGO_6_0, place(tools)), 500));
}

fn count_races(site: &Site, rounds: u32) {
    let second = Ours::start_within(|| site.place.ours(keyring(&[LESSON])));
    let entries = |visitor: &mut Visitor, url: &str| {
        // What a page of Django's has in the cache may be older than the row.
        if let Some(cache) = site.place.cache.as_ref().filter(|_| site.place.has_rows()) {
            cache.remove(&format!("{}{}", site.place.prefix(), visitor.jar["sessionid"]));
        }
        whole(visitor, url)
    };
    races::count(site, "Django", [&site.django.url, &site.ours.url, &second.url], rounds, entries);
}

fn one_browser_visits_django_and_the_questions(tools: &Tools) {
    let places = [
        Place::table(Server::sqlite()),
        Place::table(Server::postgres()),
        Place::table(Server::mariadb()),
        Place::cache(tools),
        Place::cached(Server::sqlite(), tools),
    ];
    for (place, release) in places.into_iter().zip(RELEASES.into_iter().cycle()) {
        let django = Django::on(tools, release, &place, LESSON, &[]);
        let settings = [
            ("SESSION_DIALECT", "django"),
            ("SESSION_STORE", &*place.store()),
            ("SESSION_OPTIONS", &place.options()),
            ("SECRET_KEY", LESSON),
        ];
        one_browser_visits(tools, &format!("{} {}", release.name, place.engine), &django.url, &settings);
    }
}
