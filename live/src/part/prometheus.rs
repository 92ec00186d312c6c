//! What the example tells Prometheus, and what its dashboard and its alerts make of it.

use std::collections::BTreeSet;

use dewar::Value;

use crate::{
    http::Visitor,
    peer::{
        dashboard::{Dashboard, Panel},
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
    for arguments in [["check", "config", "prometheus.yml"], ["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]] {
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
    assert!(["title", "uid"].iter().all(|name| whole.get(name).and_then(Value::as_str).is_some_and(|it| !it.is_empty())));
    let variables = dashboard.variables();
    assert!(variables.iter().any(|(name, kind, query)| (&**name, &**kind, &**query) == ("datasource", "datasource", "prometheus")));
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
    for query in dashboard.queries() {
        for counter in query.split_inclusive("_total").filter(|part| part.ends_with("_total")) {
            let before = counter.rsplit_once("dewar_").map_or("", |(before, _)| before);
            assert!(before.ends_with("rate(") || before.ends_with("increase("), "a counter is shown as a rate: {query}");
        }
    }
}

/// A cookie that somebody made up, in the form of ours: an id on a store, and a sealed session.
fn forged(visitor: &Visitor) -> Visitor {
    let mut forger = visitor.clone();
    let cookie = forger.jar.get_mut("session").expect("a session");
    let end = cookie.pop();
    cookie.push(if end == Some('A') { 'Q' } else { 'A' });
    forger
}

/// People who do everything that the site offers, and one who forges.
fn visit(site: &Watched) {
    let url = |path: &str| format!("{}{path}", site.url);
    let mut stranger = Visitor::new();
    assert_eq!(stranger.get(&url("/")).status, 200);

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

    let mut guest = Visitor::new();
    guest.submit(&url("/visit"), &[]);
}
