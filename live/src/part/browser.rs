//! A person with a real browser walks the questions.

use std::time::{Duration, SystemTime};

use dewar::SessionLayer;

use super::{LESSON, OWN};
use crate::{
    peer::{
        browser::Browser,
        flask::Flask,
        ours::{self, Ours},
        questions::Questions,
    },
    suite::{Part, scenarios},
    tools::{CHROMEDRIVER, CHROMIUM, PYTHON, Tools},
};

pub(crate) static PART: Part = Part {
    name: "browser",
    about: "headless Chromium walks the questions, wide and narrow, with and without JavaScript",
    needs: &[&PYTHON, &CHROMIUM, &CHROMEDRIVER],
    scenarios: scenarios![
        a_person_with_a_phone_walks_the_questions_sealed,
        a_person_with_a_desktop_walks_the_questions_sealed,
        a_person_with_a_phone_walks_the_questions_in_flask_s_format,
        a_person_with_a_desktop_walks_the_questions_in_flask_s_format,
        without_javascript_everything_works_sealed,
        without_javascript_everything_works_in_flask_s_format,
        the_longest_answers_fit_on_a_phone,
        on_a_phone_the_flask_comes_first_and_leaves_room,
        an_answer_that_looks_like_html_is_shown_as_it_was_typed,
        the_lesson_s_link_starts_over_at_once_and_another_site_s_asks,
        one_browser_visits_flask_and_ours_in_one_visit,
        the_domain_of_the_cookie_changes_and_the_browser_is_left_with_one,
        a_log_out_after_the_domain_has_changed_leaves_the_browser_none,
    ],
};

const PHONE: [u32; 2] = [390, 844];
const DESKTOP: [u32; 2] = [1280, 800];

fn a_person_with_a_phone_walks_the_questions_sealed(tools: &Tools) {
    walk(tools, "sealed", PHONE, true);
}

fn a_person_with_a_desktop_walks_the_questions_sealed(tools: &Tools) {
    walk(tools, "sealed", DESKTOP, true);
}

fn a_person_with_a_phone_walks_the_questions_in_flask_s_format(tools: &Tools) {
    walk(tools, "flask", PHONE, true);
}

fn a_person_with_a_desktop_walks_the_questions_in_flask_s_format(tools: &Tools) {
    walk(tools, "flask", DESKTOP, true);
}

fn without_javascript_everything_works_sealed(tools: &Tools) {
    walk(tools, "sealed", PHONE, false);
}

fn without_javascript_everything_works_in_flask_s_format(tools: &Tools) {
    walk(tools, "flask", DESKTOP, false);
}

/// A browser, the pages of one application, and a name for its pictures.
struct Person {
    browser: Browser,
    url: String,
    name: String,
}

impl Person {
    fn open(&self, path: &str) {
        self.browser.open(&format!("{}{path}", self.url));
    }

    /// Looks at the page: where it is, how much it knows, and that nothing hangs over the edge.
    fn sees(&self, path: &str, level: u8, picture: &str) {
        let (browser, name) = (&self.browser, &self.name);
        browser.photograph(&format!("{name}-{picture}"));
        assert_eq!(browser.path(), path, "{name}, {picture}");
        let body = browser.body();
        assert!(body.split(' ').any(|class| class == format!("level-{level}")), "{name}, {picture}: {body}");
        assert_eq!(browser.sideways(), 0, "{name}, {picture}: the page scrolls sideways");
    }

    fn answer_names(&self, first: &str, last: &str) {
        self.browser.fill("#firstName", first);
        self.browser.fill("#lastName", last);
        self.browser.follow(".answers button");
    }

    fn answer_color(&self, color: &str) {
        self.browser.fill("#favoriteColor", color);
        self.browser.follow(".answers button");
    }

    fn sees_results(&self, first: &str, last: &str, color: &str) {
        assert_eq!(self.browser.text("#first-name"), first);
        assert_eq!(self.browser.text("#last-name"), last);
        assert_eq!(self.browser.text("#favourite-colour"), color);
    }
}

fn walk(tools: &Tools, dialect: &str, size: [u32; 2], scripts: bool) {
    let questions = Questions::start(dialect, LESSON, "");
    let browser = Browser::start(tools, size, scripts);
    let name = format!("{dialect}-{}{}", size[0], if scripts { "" } else { "-without-javascript" });
    let person = Person { browser, url: questions.url.clone(), name };
    let browser = &person.browser;
    browser.open("data:text/html,<title>off</title><script>document.title = 'on'</script>");
    assert_eq!(browser.run("return document.title").as_str(), Some(if scripts { "on" } else { "off" }));

    person.open("/");
    person.sees("/", 0, "01-welcome");
    assert_eq!(browser.text("h1"), "Three questions, kept warm.");
    browser.follow("main .button");
    person.sees("/page1", 0, "02-name");
    browser.click(".answers button");
    assert_eq!(browser.path(), "/page1", "the browser does not send an empty answer");
    person.answer_names("Ada", "Lovelace");
    person.sees("/page2", 2, "03-colour");
    assert_eq!(browser.text(".lead"), "Pleased to meet you, Ada. One more question.");
    browser.reload();
    person.sees("/page2", 2, "04-colour-reloaded");

    person.answer_color("teal");
    person.sees("/page3", 3, "05-together");
    assert_eq!(browser.text(".flash.success"), "Thank you, Ada: all three answers are remembered.");
    person.sees_results("Ada", "Lovelace", "teal");
    browser.reload();
    person.sees("/page3", 3, "06-together-reloaded");
    assert_eq!(browser.count(".flash"), 0, "a message is shown once");
    person.sees_results("Ada", "Lovelace", "teal");

    browser.back();
    // The browser keeps no page: this one is fetched anew, and shows what is known by now.
    person.sees("/page2", 3, "07-back");
    assert_eq!(browser.value("#favoriteColor"), "teal");
    person.answer_color("moss");
    person.sees("/page3", 3, "08-changed");
    person.sees_results("Ada", "Lovelace", "moss");

    browser.follow(".over button");
    person.sees("/", 0, "09-started-over");
    assert!(browser.text(".kept").contains("Nothing yet."));
    browser.back();
    assert!(!browser.text("body").contains("Ada"), "what was forgotten is not shown by going back");
    person.open("/page3");
    person.sees("/page3", 0, "10-nothing-known");
    assert_eq!(browser.count(".missing"), 3);
    person.open("/nothing-here");
    person.sees("/nothing-here", 0, "11-not-found");
}

fn the_longest_answers_fit_on_a_phone(tools: &Tools) {
    let questions = Questions::start("sealed", LESSON, "");
    let person =
        Person { browser: Browser::start(tools, PHONE, true), url: questions.url.clone(), name: "longest".into() };
    let long = "W".repeat(100);
    person.open("/page1");
    person.answer_names(&long, &long);
    person.sees("/page2", 2, "1-colour");
    person.answer_color(&long);
    person.sees("/page3", 3, "2-together");
    person.sees_results(&long, &long, &long);
    person.open("/");
    person.sees("/", 3, "3-welcome");
}

fn on_a_phone_the_flask_comes_first_and_leaves_room(tools: &Tools) {
    let questions = Questions::start("sealed", LESSON, "");
    let person =
        Person { browser: Browser::start(tools, PHONE, true), url: questions.url.clone(), name: "flask".into() };
    let browser = &person.browser;
    person.open("/page1");
    person.answer_names("Ada", "Lovelace");
    person.answer_color("teal");
    for path in ["/page3", "/", "/startOver"] {
        person.open(path);
        let edge = |selector: &str, edge: &str| {
            let script =
                format!("return Math.round(document.querySelector('{selector}').getBoundingClientRect().{edge})");
            browser.run(&script).as_i64().expect("a number of pixels")
        };
        assert!(edge(".figure", "bottom") <= edge("main", "top"), "{path}: the flask stands between two texts");
        assert!(edge(".kept", "top") <= i64::from(PHONE[1]), "{path}: what is kept begins below the first screen");
    }
}

fn an_answer_that_looks_like_html_is_shown_as_it_was_typed(tools: &Tools) {
    let questions = Questions::start("flask", LESSON, "");
    let person =
        Person { browser: Browser::start(tools, DESKTOP, true), url: questions.url.clone(), name: "html".into() };
    let (first, last, color) = ("<b>Ada</b>", "O'Neill & \"Söhne\"", "<script>document.title='taken over'</script>");
    person.open("/page1");
    person.answer_names(first, last);
    person.answer_color(color);
    person.sees("/page3", 3, "together");
    person.sees_results(first, last, color);
    assert_eq!(person.browser.text(".flash"), "Thank you, <b>Ada</b>: all three answers are remembered.");
    person.open("/page1");
    assert_eq!((person.browser.value("#firstName"), person.browser.value("#lastName")), (first.into(), last.into()));
    assert!(!person.browser.run("return document.title").as_str().unwrap_or_default().contains("taken over"));
}

fn the_lesson_s_link_starts_over_at_once_and_another_site_s_asks(tools: &Tools) {
    let questions = Questions::start("sealed", LESSON, "");
    let person =
        Person { browser: Browser::start(tools, DESKTOP, true), url: questions.url.clone(), name: "link".into() };
    let browser = &person.browser;
    person.open("/page1");
    person.answer_names("Ada", "Lovelace");

    browser.open(&format!("data:text/html,<a href='{}/startOver'>a prize</a>", questions.url));
    browser.follow("a");
    person.sees("/startOver", 2, "1-another-site-s");
    assert_eq!(browser.text("h1"), "Start over?");
    browser.reload();
    person.sees("/startOver", 2, "2-reloaded");
    browser.follow("main .back");
    person.sees("/", 2, "3-kept");

    browser.run("document.querySelector('main').innerHTML = '<a href=/startOver>Start over</a>'");
    browser.follow("main a");
    person.sees("/", 0, "4-the-lesson-s");

    person.open("/page1");
    person.answer_names("Ada", "Lovelace");
    person.open("/startOver");
    assert_eq!(browser.text("h1"), "Start over?", "an address that was typed");
    browser.follow("main .button");
    person.sees("/", 0, "5-confirmed");
}

/// Cookies belong to a host, whatever its port.
fn one_browser_visits_flask_and_ours_in_one_visit(tools: &Tools) {
    let (flask, ours) = (Flask::start(tools, LESSON, ""), Questions::start("flask", LESSON, ""));
    let mut person =
        Person { browser: Browser::start(tools, DESKTOP, true), url: flask.url.clone(), name: "shared".into() };
    person.open("/page1");
    person.answer_names("Ada", "Lovelace");
    person.sees("/page2", 2, "1-flask");
    person.url.clone_from(&ours.url);
    person.open("/page2");
    assert_eq!(person.browser.text(".lead"), "Pleased to meet you, Ada. One more question.");
    person.answer_color("teal");
    person.sees("/page3", 3, "2-ours");
    person.url.clone_from(&flask.url);
    person.open("/page3");
    person.sees("/page3", 3, "3-flask");
    person.sees_results("Ada", "Lovelace", "teal");
    person.browser.follow(".over button");
    person.url.clone_from(&ours.url);
    person.open("/");
    person.sees("/", 0, "4-ours");
}

/// One browser, a framework's application with the test routes, and the questions under these settings.
pub(super) fn one_browser_visits(tools: &Tools, name: &str, peer: &str, settings: &[(&str, &str)]) {
    let ours = Questions::start_as(settings);
    let person = Person { browser: Browser::start(tools, DESKTOP, true), url: ours.url.clone(), name: name.into() };
    let sees = || {
        person.browser.open(&format!("{peer}/_test/get"));
        person.browser.text("body")
    };
    sees();
    assert_eq!(
        person.browser.post_text("/_test/add", r#"{"firstName": "Ada", "lastName": "Lövelace"}"#),
        204,
        "{name}"
    );
    person.open("/page2");
    person.sees("/page2", 2, "1-ours");
    assert_eq!(person.browser.text(".lead"), "Pleased to meet you, Ada. One more question.");
    person.answer_color("teal");
    person.sees("/page3", 3, "2-ours");
    person.sees_results("Ada", "Lövelace", "teal");
    let seen = sees();
    assert!(seen.contains("teal") && seen.contains("Ada"), "{name}, what was answered at ours: {seen}");
    person.open("/page3");
    person.browser.follow(".over button");
    assert!(!sees().contains("teal"), "{name}, started over at ours: {}", sees());
    assert_eq!(
        person.browser.post_text("/_test/add", r#"{"firstName": "Grace", "lastName": "Hopper"}"#),
        204,
        "{name}"
    );
    person.open("/page2");
    assert_eq!(person.browser.text(".lead"), "Pleased to meet you, Grace. One more question.");
    sees();
    assert_eq!(person.browser.post_text("/_test/clear", ""), 204, "{name}");
    person.open("/");
    person.sees("/", 0, "3-cleared-there");
}

/// Ours at `www.shop.test`, three times: as it was, where the domain of its cookie has changed, and where it says what it was.
struct Moving {
    browser: Browser,
    before: Ours,
    careless: Ours,
    after: Ours,
    /// Where the cookie is from, before and after.
    domains: [&'static str; 2],
}

impl Moving {
    /// In our own format and in Flask's, from the host to the domain and back.
    fn each(tools: &Tools) -> impl Iterator<Item = Self> {
        let sealed = || SessionLayer::new(OWN).expect("a secret").dangerously_allow_http();
        let layers: [fn() -> SessionLayer; 2] = [sealed, || ours::flask(OWN)];
        let (host, domain) = ((None, "www.shop.test"), (Some("shop.test"), ".shop.test"));
        let ways = [[host, domain], [domain, host]];
        layers.into_iter().flat_map(move |layer| ways.map(|way| (layer, way))).map(|(layer, [from, to])| {
            let at = move |domain| match domain {
                Some(domain) => layer().domain(domain),
                None => layer(),
            };
            let until = SystemTime::now() + Duration::from_secs(600);
            Self {
                browser: Browser::start(tools, DESKTOP, true),
                before: Ours::start(at(from.0)),
                careless: Ours::start(at(to.0)),
                after: Ours::start(at(to.0).former_domain(from.0, until)),
                domains: [from.1, to.1],
            }
        })
    }

    /// Opens what this server finds in the session. A cookie belongs to a host, whatever its port.
    fn opens(&self, server: &Ours) -> String {
        self.browser.open(&format!("{}/_test/get", server.url.replace("127.0.0.1", "www.shop.test")));
        self.browser.text("body")
    }

    fn adds(&self, server: &Ours, entries: &str) {
        self.opens(server);
        assert_eq!(self.browser.post_text("/_test/add", entries), 204);
    }
}

fn the_domain_of_the_cookie_changes_and_the_browser_is_left_with_one(tools: &Tools) {
    for moving in Moving::each(tools) {
        let [from, to] = moving.domains;
        moving.adds(&moving.before, r#"{"_user_id": "ada"}"#);
        assert_eq!(moving.browser.cookie_domains(), [from]);
        // Flask's cookie says when it was written in whole seconds.
        std::thread::sleep(Duration::from_millis(1100));
        moving.adds(&moving.careless, r#"{"b": 1}"#);
        assert_eq!(moving.browser.cookie_domains().len(), 2, "why it is needed");

        let found = moving.opens(&moving.after);
        assert!(found.contains(r#""b":1"#) && found.contains(r#""ada""#), "{found}");
        assert_eq!(moving.browser.cookie_domains(), [to], "reading was enough");
        assert_eq!(moving.opens(&moving.after), found);
    }
}

fn a_log_out_after_the_domain_has_changed_leaves_the_browser_none(tools: &Tools) {
    for moving in Moving::each(tools) {
        moving.adds(&moving.before, r#"{"a": 1}"#);
        moving.opens(&moving.after);
        assert_eq!(moving.browser.post_text("/_test/clear", ""), 204);
        assert_eq!(moving.browser.cookie_domains(), [""; 0]);
        assert_eq!(moving.opens(&moving.before), "{}");
    }
}
