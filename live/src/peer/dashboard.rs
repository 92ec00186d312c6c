//! The example's dashboard for Grafana, as the file says it.

use std::fs;

use dewar::Value;

use super::watched::file;
use crate::typed;

pub(crate) struct Dashboard {
    pub(crate) whole: Value,
    pub(crate) panels: Vec<Panel>,
}

pub(crate) struct Panel {
    pub(crate) id: i64,
    pub(crate) kind: String,
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) unit: String,
    /// x, y, width, height, in Grafana's grid of 24 columns.
    pub(crate) place: [i64; 4],
    /// By the name that the panel gives them.
    pub(crate) queries: Vec<(String, String)>,
    /// Of the panel and of each query.
    pub(crate) datasources: Vec<String>,
}

/// A variable that the person at the dashboard chooses.
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) query: String,
}

impl Dashboard {
    pub(crate) fn read() -> Self {
        let text = fs::read_to_string(file("dashboard.json")).expect("the example has a dashboard");
        let whole = typed::json(&text);
        let panels = list(&whole, "panels").iter().map(Panel::of).collect();
        Self { whole, panels }
    }

    pub(crate) fn variables(&self) -> Vec<Variable> {
        let templating = self.whole.get("templating").expect("the dashboard has variables");
        let variable = |it: &Value| {
            let query = it.get("query").and_then(|query| query.as_str().or_else(|| query.get("query")?.as_str()));
            Variable { name: text(it, "name"), kind: text(it, "type"), query: query.unwrap_or_default().to_owned() }
        };
        list(templating, "list").iter().map(variable).collect()
    }

    /// The queries of all panels, each with the panel's title.
    pub(crate) fn queries(&self) -> Vec<(&str, &str)> {
        let panels = self.panels.iter();
        panels.flat_map(|panel| panel.queries.iter().map(|(_, query)| (&*panel.title, &**query))).collect()
    }

    /// The queries of what is marked on every graph.
    pub(crate) fn annotations(&self) -> Vec<String> {
        let annotations = self.whole.get("annotations").map_or(&[][..], |annotations| list(annotations, "list"));
        annotations.iter().map(|annotation| text(annotation, "expr")).collect()
    }
}

impl Panel {
    fn of(panel: &Value) -> Self {
        let number = |value: Option<&Value>| value.and_then(Value::as_i64).unwrap_or(-1);
        let place = panel.get("gridPos");
        let place = ["x", "y", "w", "h"].map(|name| number(place.and_then(|place| place.get(name))));
        let unit = panel.get("fieldConfig").and_then(|config| config.get("defaults")).map(|it| text(it, "unit"));
        let unit_of_axis = panel.get("options").and_then(|options| options.get("yAxis")).map(|axis| text(axis, "unit"));
        let targets = list(panel, "targets");
        let datasource = |it: &Value| it.get("datasource").map_or(String::new(), |datasource| text(datasource, "uid"));
        Self {
            id: number(panel.get("id")),
            kind: text(panel, "type"),
            title: text(panel, "title"),
            description: text(panel, "description"),
            unit: unit.filter(|unit| !unit.is_empty()).or(unit_of_axis).unwrap_or_default(),
            place,
            queries: targets.iter().map(|target| (text(target, "refId"), text(target, "expr"))).collect(),
            datasources: [panel].into_iter().chain(targets).map(datasource).collect(),
        }
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let ([x, y, w, h], [other_x, other_y, other_w, other_h]) = (self.place, other.place);
        x < other_x + other_w && other_x < x + w && y < other_y + other_h && other_y < y + h
    }
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_list).unwrap_or_default()
}
