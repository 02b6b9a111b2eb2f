//! What the dashboards ask Prometheus, with their variables and Grafana's macros filled in.

use std::collections::BTreeSet;
use std::path::Path;

use regex::{Captures, Regex};
use serde_json::Value;

use crate::common::prometheus::Prometheus;

/// The dashboards by the stem of their file.
pub fn dashboard(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("dashboards/{name}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// One query of a panel or an annotation.
pub struct Query {
    /// `fleet / All pipelines / C`
    pub place: String,
    pub dashboard: &'static str,
    expression: String,
    over_time: bool,
    /// Whether its panel may need more metrics than the profile `lean` has.
    pub is_detail: bool,
}

/// What a query's variables and macros stand for.
pub type Values<'a> = [(&'a str, &'a str)];

/// Every query of a dashboard's panels and annotations.
pub fn queries(name: &'static str) -> Vec<Query> {
    let dashboard = dashboard(name);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut queries = Vec::new();
    let mut is_detail = false;
    for panel in list(&dashboard["panels"]) {
        if panel["type"] == "row" {
            is_detail = text(&panel["title"]).contains("metrics.profile: full");
        }
        for target in list(&panel["targets"]) {
            queries.push(Query {
                place: format!("{name} / {} / {}", text(&panel["title"]), text(&target["refId"])),
                dashboard: name,
                expression: text(&target["expr"]),
                over_time: target["range"] == true,
                is_detail,
            });
        }
    }
    for annotation in list(&dashboard["annotations"]["list"]) {
        if let Some(expression) = annotation["expr"].as_str() {
            queries.push(Query {
                place: format!("{name} / annotation / {}", text(&annotation["name"])),
                dashboard: name,
                expression: expression.to_owned(),
                over_time: true,
                is_detail: false,
            });
        }
    }
    queries
}

impl Query {
    /// The series of the answer, an instant query's or that of the last seconds.
    #[track_caller]
    pub fn ask(&self, prometheus: &Prometheus, values: &Values) -> Vec<Value> {
        let expression = fill(&self.expression, values);
        let data = if self.over_time {
            let now = prometheus.query("time()")[0].as_f64().unwrap();
            let (start, end) = ((now - 10.0).to_string(), now.to_string());
            prometheus.api("query_range", &[("query", &expression), ("start", &start), ("end", &end), ("step", "1")])
        } else {
            prometheus.api("query", &[("query", &expression)])
        };
        data["result"].as_array().unwrap_or_else(|| panic!("{}: {data}", self.place)).clone()
    }

    /// Whether the answer says anything: a sample that is neither 0 nor NaN.
    #[track_caller]
    pub fn speaks(&self, prometheus: &Prometheus, values: &Values) -> bool {
        self.ask(prometheus, values).iter().flat_map(samples).any(|sample| sample != 0.0 && !sample.is_nan())
    }
}

/// The values of a series, of whichever kind of query.
fn samples(series: &Value) -> Vec<f64> {
    let points = series["values"].as_array().cloned().unwrap_or_else(|| vec![series["value"].clone()]);
    points.iter().map(|point| point[1].as_str().unwrap().parse().unwrap()).collect()
}

/// Fills in `$name` and `${name}`; what begins with a digit belongs to label_replace.
#[track_caller]
fn fill(text: &str, values: &Values) -> String {
    let variable = Regex::new(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))").unwrap();
    let value = |captures: &Captures| {
        let name = captures.get(1).or(captures.get(2)).unwrap().as_str();
        let known = values.iter().find(|(known, _)| *known == name);
        known.unwrap_or_else(|| panic!("no value for {name}, which is in {text}")).1.to_owned()
    };
    variable.replace_all(text, value).into_owned()
}

/// What a variable of a dashboard offers: texts and values, as Grafana gets them.
#[track_caller]
pub fn offered(prometheus: &Prometheus, dashboard: &Value, name: &str, values: &Values) -> BTreeSet<(String, String)> {
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variable = variables.iter().find(|variable| variable["name"] == name).unwrap();
    let query = fill(variable["query"]["query"].as_str().unwrap(), values);
    let (function, arguments) = query.strip_suffix(')').and_then(|query| query.split_once('(')).unwrap();
    let texts: Vec<String> = match function {
        "label_values" => {
            let (selector, label) = arguments.rsplit_once(", ").unwrap();
            let labels = prometheus.api(&format!("label/{label}/values"), &[("match[]", selector)]);
            labels.as_array().unwrap().iter().map(|label| label.as_str().unwrap().to_owned()).collect()
        }
        "query_result" => prometheus.query(arguments).iter().map(as_text).collect(),
        other => panic!("{other} is no function of variables that is used here"),
    };
    let Some(regex) = variable["regex"].as_str().filter(|regex| !regex.is_empty()) else {
        return texts.into_iter().map(|text| (text.clone(), text)).collect();
    };
    let regex = Regex::new(regex.strip_prefix('/').unwrap().strip_suffix('/').unwrap()).unwrap();
    let option = |captures: Captures| {
        let value = captures.name("value").unwrap().as_str().to_owned();
        (captures.name("text").map_or(value.clone(), |text| text.as_str().to_owned()), value)
    };
    texts.iter().map(|text| option(regex.captures(text).unwrap_or_else(|| panic!("{text} does not fit")))).collect()
}

/// A series as Grafana writes it for a variable of `query_result`: nothing is escaped.
fn as_text(series: &Value) -> String {
    let labels = series["metric"].as_object().unwrap().iter();
    let labels: Vec<String> = labels.map(|(name, value)| format!("{name}=\"{}\"", value.as_str().unwrap())).collect();
    format!("{{{}}} {} {}", labels.join(","), series["value"][1].as_str().unwrap(), series["value"][0])
}
