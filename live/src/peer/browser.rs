//! Headless Chromium, driven as the W3C's WebDriver says, over HTTP.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use dewar::Value;
use ureq::Agent;

use super::oracle::quoted;
use crate::{
    http::agent,
    process::{Process, free_port},
    tools::{CHROMEDRIVER, CHROMIUM, Tools, root},
    typed,
};

/// The name of an element's id in WebDriver's answers: W3C WebDriver, section 12.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// How long a page may take to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Without a sandbox, for whoever runs the suite may be root, and the pages are our own. The others keep Chromium
/// from asking its maker for updates, and give this machine the names of hosts below `test` (RFC 6761).
const ARGUMENTS: &str = r#""--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--lang=en-GB",
    "--host-resolver-rules=MAP *.test 127.0.0.1""#;

/// A browser with a new profile, which runs until it is dropped.
pub(crate) struct Browser {
    _driver: Process,
    agent: Agent,
    session: String,
}

impl Browser {
    /// A window of this size, in CSS pixels. Without scripts, pages cannot run any.
    pub(crate) fn start(tools: &Tools, [width, height]: [u32; 2], scripts: bool) -> Self {
        let port = free_port();
        let mut driver = Process::start("chromedriver", tools.command(&CHROMEDRIVER).arg(format!("--port={port}")));
        driver.wait_for_port(port);
        let binary = quoted(&tools.path(&CHROMIUM).to_string_lossy());
        let scripts = if scripts { 1 } else { 2 };
        let wanted = format!(
            r#"{{"capabilities": {{"alwaysMatch": {{"timeouts": {{"implicit": 3000, "pageLoad": 20000, "script": 5000}}, "goog:chromeOptions": {{
                "binary": {binary}, "args": [{ARGUMENTS}], "prefs": {{"profile.managed_default_content_settings.javascript": {scripts}}}}}}}}}}}"#
        );
        let mut browser = Self { _driver: driver, agent: agent(Duration::from_secs(30)), session: String::new() };
        let root = format!("http://127.0.0.1:{port}/session");
        let made = browser.post(&root, &wanted);
        browser.session = format!("{root}/{}", made.get("sessionId").and_then(Value::as_str).expect("a session"));
        let metrics = format!(r#"{{"width": {width}, "height": {height}, "deviceScaleFactor": 1, "mobile": false}}"#);
        let command = format!(r#"{{"cmd": "Emulation.setDeviceMetricsOverride", "params": {metrics}}}"#);
        browser.command("goog/cdp/execute", &command);
        // A telephone's scroll bars take no room.
        browser.command("goog/cdp/execute", r#"{"cmd": "Emulation.setScrollbarsHidden", "params": {"hidden": true}}"#);
        browser
    }

    pub(crate) fn open(&self, url: &str) {
        self.command("url", &format!(r#"{{"url": {}}}"#, quoted(url)));
    }

    pub(crate) fn reload(&self) {
        self.command("refresh", "{}");
    }

    pub(crate) fn back(&self) {
        self.command("back", "{}");
    }

    /// The path of the page that is open.
    pub(crate) fn path(&self) -> String {
        let url = self.ask("url");
        let url = url.as_str().expect("a page has a URL");
        format!("/{}", url.splitn(4, '/').nth(3).unwrap_or_default())
    }

    /// The text that a person sees in the first element for this selector.
    pub(crate) fn text(&self, selector: &str) -> String {
        self.about(selector, "text")
    }

    /// What a field holds.
    pub(crate) fn value(&self, selector: &str) -> String {
        self.about(selector, "property/value")
    }

    /// The classes of the page's body.
    pub(crate) fn body(&self) -> String {
        self.about("body", "attribute/class")
    }

    pub(crate) fn count(&self, selector: &str) -> usize {
        self.run(&format!("return document.querySelectorAll({}).length", quoted(selector))).as_i64().unwrap_or(0)
            as usize
    }

    /// Replaces what a field holds.
    pub(crate) fn fill(&self, selector: &str, text: &str) {
        let element = self.find(selector);
        self.command(&format!("element/{element}/clear"), "{}");
        self.command(&format!("element/{element}/value"), &format!(r#"{{"text": {}}}"#, quoted(text)));
    }

    pub(crate) fn click(&self, selector: &str) {
        let element = self.find(selector);
        self.command(&format!("element/{element}/click"), "{}");
    }

    /// Clicks what leads to another page, and waits for that page: a click alone returns when a form begins to be sent, at times.
    pub(crate) fn follow(&self, selector: &str) {
        self.run("window.isLeft = true");
        self.click(selector);
        let script = "return window.isLeft !== true && document.readyState === 'complete'";
        let asked = to_run(script);
        let url = format!("{}/execute/sync", self.session);
        let is_there = || {
            // A script that a navigation interrupts is refused.
            let answer = self.agent.post(&url).content_type("application/json").send(&asked);
            let (status, value) = read("execute/sync", answer);
            status == 200 && value == Value::Bool(true)
        };
        let started = Instant::now();
        while !is_there() {
            assert!(started.elapsed() < PATIENCE, "{selector} leads to no other page");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// How many pixels the page is wider than the window.
    pub(crate) fn sideways(&self) -> i64 {
        let root = "const root = document.documentElement";
        let wider = self
            .run(&format!("{root}; return Math.max(root.scrollWidth, document.body.scrollWidth) - root.clientWidth"));
        wider.as_i64().expect("a number of pixels")
    }

    /// Runs a script from outside the page; this works where the page itself may run none.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.command("execute/sync", &to_run(script))
    }

    /// Sends a text from the page that is open, and returns the status of the answer.
    pub(crate) fn post_text(&self, path: &str, body: &str) -> i64 {
        let script = "return fetch(PATH, {method: 'POST', body: BODY}).then(answer => answer.status)";
        let script = script.replace("PATH", &quoted(path)).replace("BODY", &quoted(body));
        self.run(&script).as_i64().expect("a status")
    }

    /// Where the cookies of the page that is open are from: a host, or with a dot before it a domain.
    pub(crate) fn cookie_domains(&self) -> Vec<String> {
        let cookies = self.ask("cookie");
        let cookies = cookies.as_list().expect("a list of cookies").iter();
        cookies.map(|cookie| cookie.get("domain").and_then(Value::as_str).expect("a domain").to_owned()).collect()
    }

    /// Saves what is to be seen under `live/screenshots`.
    pub(crate) fn photograph(&self, name: &str) {
        let folder = root().join("live/screenshots");
        let picture = self.ask("screenshot");
        let picture = STANDARD.decode(picture.as_str().expect("a picture")).expect("base64");
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(folder.join(Path::new(name).with_extension("png")), picture))
            .expect("it is saved");
    }

    fn about(&self, selector: &str, what: &str) -> String {
        let answer = self.ask(&format!("element/{}/{what}", self.find(selector)));
        answer.as_str().unwrap_or_default().to_owned()
    }

    fn find(&self, selector: &str) -> String {
        let found = self.command("element", &format!(r#"{{"using": "css selector", "value": {}}}"#, quoted(selector)));
        found.get(ELEMENT).and_then(Value::as_str).expect("an element has an id").to_owned()
    }

    fn ask(&self, what: &str) -> Value {
        let url = format!("{}/{what}", self.session);
        self.answer(what, self.agent.get(&url).call())
    }

    fn command(&self, what: &str, body: &str) -> Value {
        self.post(&format!("{}/{what}", self.session), body)
    }

    fn post(&self, url: &str, body: &str) -> Value {
        self.answer(&format!("{url} {body}"), self.agent.post(url).content_type("application/json").send(body))
    }

    fn answer(&self, what: &str, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Value {
        let (status, value) = read(what, answer);
        let message = value.get("message").and_then(Value::as_str).unwrap_or_default();
        assert_eq!(status, 200, "the browser refuses {what}: {message}");
        value
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium then removes its profile. Whatever is left of it ends with chromedriver.
        if !self.session.is_empty() {
            let _ = self.agent.delete(&self.session).call();
        }
    }
}

/// What asks for a script to be run.
fn to_run(script: &str) -> String {
    format!(r#"{{"script": {}, "args": []}}"#, quoted(script))
}

/// The status of an answer, and its value.
fn read(what: &str, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> (u16, Value) {
    let mut answer = answer.unwrap_or_else(|error| panic!("chromedriver, {what}: {error}"));
    // A screenshot is larger than what ureq reads by default.
    let text = answer.body_mut().with_config().limit(64 << 20).read_to_string();
    let text = text.unwrap_or_else(|error| panic!("chromedriver, {what}: {error}"));
    (answer.status().as_u16(), typed::json(&text).get("value").cloned().unwrap_or(Value::Null))
}
