//! A Prometheus that asks the example once a second, and is asked over its HTTP API.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use dewar::Value;
use ureq::Agent;

use super::watched::{Watched, file};
use crate::{
    http::agent,
    process::Process,
    tools::{PROMETHEUS, Tools},
    typed,
};

/// How long Prometheus may take to notice something.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server with an empty folder, which runs until it is dropped.
pub(crate) struct Prometheus {
    _process: Process,
    folder: PathBuf,
    agent: Agent,
    url: String,
}

impl Prometheus {
    /// With the example's own settings and alerts, but for who is asked, and how often.
    pub(crate) fn start(tools: &Tools, sites: &[&Watched]) -> Self {
        let folder = folder();
        let settings = fs::read_to_string(file("prometheus.yml")).expect("the example has settings for Prometheus");
        let targets: Vec<String> = sites.iter().map(|site| format!("{:?}", site.operators)).collect();
        let settings = replace(&settings, "15s", "1s");
        let settings = replace(&settings, "\"127.0.0.1:9464\"", &targets.join(", "));
        fs::copy(file("alerts.yml"), folder.join("alerts.yml"))
            .and_then(|_| fs::write(folder.join("prometheus.yml"), settings))
            .expect("its settings are written");
        let mut command = tools.command(&PROMETHEUS);
        command.arg(format!("--config.file={}", folder.join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        // Its own log says which port it got: whoever answers there is this process, and no other Prometheus of this machine.
        let mut process = Process::start("prometheus", command.arg("--web.listen-address=127.0.0.1:0"));
        process.wait_until("is ready", |it| it.printed().contains("Server is ready to receive web requests"));
        let printed = process.printed();
        let listening = printed.lines().find(|line| line.contains("msg=\"Listening on\""));
        let address = listening.and_then(|line| line.split("address=").nth(1)?.split(' ').next());
        let url = format!("http://{}/api/v1", address.expect("it says where it listens"));
        let prometheus = Self { _process: process, folder, agent: agent(Duration::from_secs(20)), url };
        prometheus.wait_for_scrapes(1);
        prometheus
    }

    /// Waits until every site has answered so many times more.
    pub(crate) fn wait_for_scrapes(&self, more: u32) {
        let scrapes = || self.ask("min(sum_over_time(up[10m]))").first().copied().unwrap_or(0.0);
        let wanted = scrapes() + f64::from(more);
        wait_until("a site does not answer prometheus", || scrapes() >= wanted);
    }

    /// Waits until what an alert is about has begun.
    pub(crate) fn wait_for_alert(&self, name: &str) {
        let has_begun = || self.alerts().iter().any(|[alert, _, state]| alert == name && state != "inactive");
        wait_until("the alert does not begin", has_begun);
    }

    /// What a query comes to, now: a number for each series.
    pub(crate) fn ask(&self, query: &str) -> Vec<f64> {
        let data = self.post("query", &[("query", query)]);
        let result = data.get("result").and_then(Value::as_list).unwrap_or_else(|| panic!("{query}: no vector"));
        let sample = |sample: &Value| {
            let value = sample.get("value").and_then(|pair| pair.as_list()?.get(1)?.as_str()?.parse().ok());
            value.unwrap_or_else(|| panic!("{query}: no number in {sample:?}"))
        };
        result.iter().map(sample).collect()
    }

    /// The only number that a query comes to.
    pub(crate) fn number(&self, query: &str) -> f64 {
        match *self.ask(query) {
            [number] => number,
            ref samples => panic!("{query}: one number is expected, not {samples:?}"),
        }
    }

    /// What the label is in those series.
    pub(crate) fn label_values(&self, series: &str, label: &str) -> Vec<Value> {
        self.post("series", &[("match[]", series)])
            .as_list()
            .into_iter()
            .flatten()
            .filter_map(|labels| labels.get(label).cloned())
            .collect()
    }

    /// The alerts: name, query, and whether it is `inactive`, `pending` or `firing`.
    pub(crate) fn alerts(&self) -> Vec<[String; 3]> {
        let url = format!("{}/rules?type=alert", self.url);
        let data = self.data(&url, self.agent.get(&url).call());
        let groups = data.get("groups").and_then(Value::as_list).unwrap_or_default();
        let rules = groups.iter().flat_map(|group| group.get("rules").and_then(Value::as_list).unwrap_or_default());
        let text = |rule: &Value, name| rule.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        rules.map(|rule| ["name", "query", "state"].map(|name| text(rule, name))).collect()
    }

    fn post(&self, what: &str, form: &[(&str, &str)]) -> Value {
        let answer = self.agent.post(format!("{}/{what}", self.url)).send_form(form.iter().copied());
        self.data(&format!("{form:?}"), answer)
    }

    fn data(&self, what: &str, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Value {
        let mut answer = answer.unwrap_or_else(|error| panic!("prometheus, {what}: {error}"));
        let text = answer.body_mut().read_to_string().unwrap_or_else(|error| panic!("prometheus, {what}: {error}"));
        let answer = typed::json(&text);
        assert_eq!(answer.get("status").and_then(Value::as_str), Some("success"), "{what}: {text}");
        answer.get("data").cloned().unwrap_or(Value::Null)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn wait_until(otherwise: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{otherwise}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// A new folder of this process's own.
fn folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("dewar-live-prometheus-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let folder = std::env::temp_dir().join(name);
    fs::create_dir_all(&folder).expect("a folder for prometheus");
    folder
}

fn replace(settings: &str, from: &str, to: &str) -> String {
    assert!(settings.contains(from), "prometheus.yml has no {from}");
    settings.replace(from, to)
}
