//! What the example tells Prometheus, and what its dashboard and its alerts make of it.

use std::collections::BTreeSet;

use dewar::Value;

use crate::{
    http::Visitor,
    peer::{
        dashboard::{Dashboard, Panel, Variable},
        prometheus::Prometheus,
        redis::Redis,
        watched::{Watched, file},
    },
    process::Process,
    suite::{Part, note, scenarios},
    tools::{PROMETHEUS, REDIS, Tools, plain_command},
};

pub(crate) static PART: Part = Part {
    name: "prometheus",
    about: "a Prometheus watches the example: its numbers, its alerts, and every query of the dashboard",
    needs: &[&PROMETHEUS, &REDIS],
    scenarios: scenarios![
        the_alerts_pass_their_tests,
        the_dashboard_is_one_that_grafana_can_import,
        what_visitors_did_is_what_prometheus_counted,
        every_query_of_the_dashboard_and_of_the_alerts_has_an_answer,
    ],
};

fn the_alerts_pass_their_tests(tools: &Tools) {
    let promtool = tools.path(&PROMETHEUS).with_file_name("promtool");
    for arguments in
        [["check", "config", "prometheus.yml"], ["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]]
    {
        let mut command = plain_command(&promtool);
        let (status, printed) = Process::start("promtool", command.args(arguments).current_dir(file(""))).finish();
        assert!(status.success() && printed.contains("SUCCESS"), "promtool {arguments:?}: {status}\n{printed}");
    }
}

/// Grafana's names of the units that these numbers have.
const UNITS: [&str; 7] = ["short", "s", "bytes", "percentunit", "reqps", "ops", "cps"];

fn the_dashboard_is_one_that_grafana_can_import(_: &Tools) {
    let dashboard = Dashboard::read();
    let whole = &dashboard.whole;
    assert_eq!(whole.get("id"), Some(&Value::Null), "Grafana gives the number");
    assert!(whole.get("schemaVersion").and_then(Value::as_i64).is_some_and(|version| version >= 36));
    assert!(
        ["title", "uid"].iter().all(|name| whole.get(name).and_then(Value::as_str).is_some_and(|it| !it.is_empty()))
    );
    let is_chosen = |it: &Variable| [&*it.name, &*it.kind, &*it.query] == ["datasource", "datasource", "prometheus"];
    assert!(dashboard.variables().iter().any(is_chosen), "who imports it chooses the Prometheus");
    let mut ids = BTreeSet::new();
    for panel in &dashboard.panels {
        let Panel { title, id, kind, .. } = panel;
        assert!(ids.insert(*id), "{title}: another panel has the number {id}");
        assert!(["row", "stat", "timeseries", "heatmap"].contains(&&**kind), "{title}: {kind}");
        let [x, y, width, height] = panel.place;
        assert!(x >= 0 && y >= 0 && width > 0 && height > 0 && x + width <= 24, "{title}: {:?}", panel.place);
        for other in dashboard.panels.iter().filter(|other| other.id > *id) {
            assert!(!panel.overlaps(other), "{title} and {} overlap", other.title);
        }
        if kind == "row" {
            continue;
        }
        assert!(!title.is_empty() && panel.description.len() > 40, "{title}: what is it, and what is to be done?");
        assert!(UNITS.contains(&&*panel.unit), "{title}: the unit {:?}", panel.unit);
        assert!(!panel.queries.is_empty(), "{title}: nothing is asked");
        assert!(panel.datasources.iter().all(|name| name == "${datasource}"), "{title}: {:?}", panel.datasources);
        let names: BTreeSet<_> = panel.queries.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), panel.queries.len(), "{title}: two queries have one refId");
    }
    for (_, query) in dashboard.queries() {
        for counter in query.split_inclusive("_total").filter(|part| part.ends_with("_total")) {
            let before = counter.rsplit_once("dewar_").map_or("", |(before, _)| before);
            assert!(
                before.ends_with("rate(") || before.ends_with("increase("),
                "a counter is shown as a rate: {query}"
            );
        }
    }
}

/// The series that nothing here lets rise: two requests at once, and mistakes of an application.
const QUIET: [&str; 7] =
    ["late_writes", "late_commits", "late_opens", "overwritten", "conflicts", "discarded", "repeatable"];

/// How often people come. A rate needs the numbers of before, of between and of after.
const VISITS: i32 = 2;

/// Two instances of the site, on Redis and in cookies, and the Prometheus that asks them.
struct World {
    prometheus: Prometheus,
    redis: Redis,
    stored: Watched,
    sealed: Watched,
}

impl World {
    fn start(tools: &Tools) -> Self {
        let redis = Redis::start(tools);
        let (stored, sealed) = (Watched::start(&redis.url), Watched::start("cookie"));
        let prometheus = Prometheus::start(tools, &[&stored, &sealed]);
        Self { prometheus, redis, stored, sealed }
    }

    /// Lets people visit both, and Prometheus see it.
    fn visit(&self) {
        for site in [&self.stored, &self.sealed] {
            visit(site);
        }
        self.prometheus.wait_for_scrapes(2);
    }
}

/// People who do everything that the site offers, and one who makes a cookie up.
fn visit(site: &Watched) {
    let url = |path: &str| format!("{}{path}", site.url);
    Visitor::new().get(&url("/"));

    let mut ada = Visitor::new();
    ada.submit(&url("/visit"), &[]);
    assert_eq!(forged(&ada).get(&url("/")).status, 200, "a forged cookie is an empty session");
    ada.submit(&url("/login"), &[("name", "ada")]);
    ada.submit(&url("/renew"), &[]);
    assert!(ada.submit(&url("/visit"), &[]).body.contains("Visits: 2."));
    ada.submit(&url("/login"), &[("name", "eve")]);
    let mut copy = ada.clone();
    ada.submit(&url("/logout"), &[]);
    copy.get(&url("/"));

    let mut writer = Visitor::new();
    writer.submit(&url("/note"), &[("note", "something")]);
    writer.submit(&url("/note"), &[("note", "")]);

    Visitor::new().submit(&url("/visit"), &[]);
}

/// One log-in more than a user may have, and the answer to the last.
fn log_in_too_often(site: &Watched, name: &str) -> u16 {
    let log_in = || Visitor::new().submit(&format!("{}/login", site.url), &[("name", name)]).status;
    (0..5).for_each(|_| assert_eq!(log_in(), 200));
    log_in()
}

/// Somebody who changed the cookie, in the middle.
fn forged(visitor: &Visitor) -> Visitor {
    let mut forger = visitor.clone();
    let cookie = forger.jar.get_mut("session").expect("a session");
    let middle = cookie.len() / 2;
    let other = if &cookie[middle..=middle] == "A" { "B" } else { "A" };
    cookie.replace_range(middle..=middle, other);
    forger
}

fn what_visitors_did_is_what_prometheus_counted(tools: &Tools) {
    let world = World::start(tools);
    for _ in 0..VISITS {
        world.visit();
    }
    // For each visit, on both sites, unless it says on which.
    let both = [
        ("opened_total{outcome='none'}", 6),
        // ada's, eve's after her, the writer's and the last visitor's.
        ("created_total", 4),
        ("authenticated_total", 2),
        // With ada's log-in and by the button; eve's log-in began another.
        ("renewed_total", 2),
        ("ended_total{reason='principal_changed'}", 1),
        ("ended_total{reason='cleared'}", 1),
        ("ended_total{reason='emptied'}", 1),
        ("failed_commits_total", 0),
    ];
    let on_store = [
        ("refused_total{reason='unknown'}", 1),
        // The copy of a cookie, after the log-out.
        ("refused_total{reason='gone'}", 1),
        ("opened_total{outcome='gone'}", 2),
        ("opened_total{outcome='found'}", 13),
        ("store_seconds_count{operation='load'}", 15),
    ];
    let in_cookie = [
        ("refused_total{reason='bad_signature'}", 1),
        ("opened_total{outcome='refused'}", 1),
        // The copy, too: a cookie cannot be taken back.
        ("opened_total{outcome='found'}", 14),
        ("cookie_bytes_count", 7),
    ];
    for (site, expected) in [(&world.stored, &on_store[..]), (&world.sealed, &in_cookie)] {
        for (series, times) in both.iter().chain(expected) {
            let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap_or((series, ""));
            let query = format!("sum(dewar_{name}{{instance='{}',{labels}}})", site.operators);
            assert_eq!(world.prometheus.number(&query), f64::from(times * VISITS), "{query}");
        }
    }
}

fn every_query_of_the_dashboard_and_of_the_alerts_has_an_answer(tools: &Tools) {
    let world = World::start(tools);
    let long = "x".repeat(2600);
    for round in 0..VISITS {
        world.visit();
        let mut writer = Visitor::new();
        writer.submit(&format!("{}/note", world.sealed.url), &[("note", &long)]);
        let refused = writer.submit(&format!("{}/note", world.sealed.url), &[("note", &long.repeat(2))]);
        assert_eq!(refused.status, 500, "a cookie has no room for it");
        let mut member = Visitor::new();
        member.submit(&format!("{}/login", world.stored.url), &[("name", "ada")]);
        member.submit(&format!("{}/logout-everywhere", world.stored.url), &[]);
        assert_eq!(log_in_too_often(&world.stored, &format!("mallory {round}")), 403, "a user has five sessions");
    }
    let mut guest = Visitor::new();
    guest.submit(&format!("{}/visit", world.stored.url), &[]);
    assert_eq!(world.stored.ask("/healthz").0, 200);
    let World { prometheus, redis, stored, sealed } = world;
    drop(redis);
    assert_eq!(stored.ask("/healthz").0, 503, "the store is gone");
    assert_eq!(sealed.ask("/healthz").0, 200, "this one has none");
    assert_eq!(guest.get(&format!("{}/", stored.url)).status, 503);
    prometheus.wait_for_scrapes(2);

    let dashboard = Dashboard::read();
    ask_all(&prometheus, &dashboard);
    ask_for_alerts(&prometheus);
    for metric in metrics(&stored) {
        let is_shown = dashboard.queries().iter().any(|(_, query)| query.contains(&metric));
        assert!(is_shown, "the dashboard does not show {metric}");
    }
}

/// Every panel has numbers, and where people did something, other numbers than 0.
fn ask_all(prometheus: &Prometheus, dashboard: &Dashboard) {
    let queries = dashboard.queries();
    for (title, query) in &queries {
        let query = chosen(query);
        let numbers = prometheus.ask(&query);
        let finite = || numbers.iter().filter(|number| number.is_finite());
        assert!(finite().count() > 0, "{title}: no data: {query}: {numbers:?}");
        let is_quiet = QUIET.iter().any(|name| query.contains(name));
        assert!(is_quiet || finite().sum::<f64>() > 0.0, "{title}: this did happen: {query}: {numbers:?}");
    }
    for Variable { name, query, .. } in dashboard.variables().iter().filter(|variable| variable.kind == "query") {
        let series = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')?.rsplit_once(", "));
        let (series, label) = series.unwrap_or_else(|| panic!("${name}: {query}"));
        assert!(!prometheus.label_values(&chosen(series), label).is_empty(), "${name} has nothing to choose from");
    }
    for query in dashboard.annotations() {
        prometheus.ask(&chosen(&query));
    }
    note(&format!("{} queries of the dashboard were answered", queries.len()));
}

/// Every alert has something to compare, and that of the store has seen the outage.
fn ask_for_alerts(prometheus: &Prometheus) {
    prometheus.wait_for_alert("SessionStoreFails");
    let alerts = prometheus.alerts();
    for [name, query, _] in &alerts {
        prometheus.ask(query);
        let compared = without_thresholds(query);
        let numbers = prometheus.ask(&compared);
        assert!(numbers.iter().any(|number| number.is_finite()), "{name}: no data: {compared}: {numbers:?}");
    }
    let is_quiet = |[name, _, state]: &[String; 3]| name == "SessionChangesAreLost" && state == "inactive";
    assert!(alerts.iter().any(is_quiet), "no change was lost: {alerts:?}");
}

/// A query as Grafana would send it, with what a person has chosen.
fn chosen(query: &str) -> String {
    let query = query.replace("$__rate_interval", "1m").replace("$job", "site").replace("$instance", ".+");
    assert!(!query.contains('$'), "a variable that is not known: {query}");
    query
}

/// What an alert compares: `a > 0.01` is `a`.
fn without_thresholds(query: &str) -> String {
    let mut words = query.split_whitespace();
    let mut left = Vec::new();
    while let Some(word) = words.next() {
        if word == ">" {
            words.next();
        } else {
            left.push(word);
        }
    }
    left.join(" ")
}

/// The names of what the example counts and measures.
fn metrics(site: &Watched) -> Vec<String> {
    let (_, text) = site.ask("/metrics");
    let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let names: Vec<String> = names.map(str::to_owned).collect();
    assert!(names.len() > 10 && names.iter().all(|name| name.starts_with("dewar_")), "{names:?}");
    names
}
