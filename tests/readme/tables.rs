//! The tables that are written from the code.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use goldrush_exporter::exposition::{FAMILIES, Subject};
use goldrush_exporter::thresholds::{Thresholds, Unit};
use goldrush_exporter::trouble::kinds::{Kind, Rule, Scope, Setting};
use yaml_rust2::{Yaml, YamlLoader};

use super::{Page, ROOT};

/// Holds the part of a page between two marks to the code; UPDATE_EXPECTED=1 writes it.
fn generated(path: &str, name: &str, table: &str) {
    let page = Page::read(path);
    let begin = format!("<!-- begin {name}: UPDATE_EXPECTED=1 cargo test --test readme the_tables -->\n");
    let end = format!("<!-- end {name} -->");
    let begin = page.text.find(&begin).expect("the begin is marked") + begin.len();
    let end = page.text.find(&end).expect("the end is marked");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        let text = format!("{}{table}{}", &page.text[..begin], &page.text[end..]);
        std::fs::write(Path::new(ROOT).join(path), text).unwrap();
    } else {
        let write = "UPDATE_EXPECTED=1 cargo test --test readme the_tables";
        assert!(page.text[begin..end] == *table, "{path} is not what the code gives; `{write}` writes it");
    }
}

#[test]
fn the_tables_are_those_of_the_code() {
    // One after the other: two of them are in one file.
    generated("docs/metrics.md", "metrics", &metrics());
    generated("docs/alerts.md", "alerts", &alerts());
    generated("docs/alerts.md", "kinds", &kinds());
}

fn metrics() -> String {
    let mut table =
        "| metric | type | labels | in lean | stability | meaning |\n| --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
    for family in FAMILIES {
        let labels = match family.subject() {
            Subject::Account => [family.subject().labels(), family.labels].concat().join(", "),
            Subject::Exporter | Subject::Pipeline => family.labels.join(", "),
        };
        let (name, kind, help) = (family.name, family.kind.as_str(), family.help);
        let lean = if family.in_lean { "yes" } else { "" };
        let stability = family.stability.as_str();
        table.push_str(&format!("| `{name}` | {kind} | {labels} | {lean} | {stability} | {help} |\n"));
    }
    table
}

fn kinds() -> String {
    let mut table =
        "| kind | about | severity | threshold | meaning | alert |\n| --- | --- | --- | --- | --- | --- |\n".to_owned();
    for row in Kind::ALL.iter().map(|kind| kind.row()) {
        let about = match row.scope {
            Scope::Account => "account",
            Scope::Pipeline => "pipeline",
        };
        let (name, severity, sentence, alert) = (row.name, row.severity, row.sentence, row.alert);
        let threshold = row.threshold.map(|setting| format!("`{}`{}", setting.name(), default_of(setting)));
        let threshold = threshold.unwrap_or_default();
        table.push_str(&format!("| `{name}` | {about} | {severity} | {threshold} | {sentence} | `{alert}` |\n"));
    }
    table
}

/// The default of a threshold, after its name.
fn default_of(setting: Setting) -> String {
    // Those of accounts are in the example of the settings.
    let Setting::Policy(threshold) = setting else { return String::new() };
    let default = Thresholds::default()[threshold];
    match threshold.unit() {
        Unit::Seconds => format!(" ({})", humantime::format_duration(Duration::from_secs_f64(default))),
        Unit::Records | Unit::Share | Unit::Changes => format!(" ({default})"),
    }
}

/// What the table says about a rule.
struct Alert {
    name: String,
    severity: String,
    when: String,
    wait: String,
    to: &'static str,
}

/// Every alert of both files of rules.
fn every_alert() -> Vec<Alert> {
    let files = ["alerts/goldrush.rules.yml", "alerts/goldrush-slo.rules.yml"];
    let documents = files.map(|file| YamlLoader::load_from_str(&Page::read(file).text).unwrap());
    let groups = documents.iter().flat_map(|file| file[0]["groups"].as_vec().unwrap());
    let rules = groups.flat_map(|group| group["rules"].as_vec().unwrap());
    rules.filter(|rule| !rule["alert"].is_badvalue()).map(alert).collect()
}

fn alert(rule: &Yaml) -> Alert {
    let text = |yaml: &Yaml| yaml.as_str().unwrap().to_owned();
    let name = text(&rule["alert"]);
    let severity = text(&rule["labels"]["severity"]);
    let texts = text(&rule["expr"]) + &text(&rule["annotations"]["summary"]);
    let is_the_teams = texts.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "team");
    let to = match severity.as_str() {
        "none" => "dead man's switch",
        _ if is_the_teams => "owner",
        _ => "on-call",
    };
    let generated = Kind::ALL.iter().map(|kind| kind.row()).filter(|row| row.alert == name);
    let sentences = generated.filter(|row| matches!(row.rule, Rule::Generated(_))).map(|row| match row.threshold {
        Some(setting) => format!("{} Threshold: `{}`{}.", row.sentence, setting.name(), default_of(setting)),
        None => row.sentence.to_owned(),
    });
    let mut when = sentences.collect::<Vec<_>>().join(" ");
    if when.is_empty() {
        when = plain(&text(&rule["annotations"]["summary"])) + ".";
    }
    let wait = rule["for"].as_str().unwrap_or_default().to_owned();
    Alert { name, severity, when, wait, to }
}

/// A template without what it looks up: labels in capitals.
fn plain(template: &str) -> String {
    let mut plain = String::new();
    let mut depth = 0;
    for (number, piece) in template.split("{{").enumerate() {
        let (action, text) = if number == 0 { ("", piece) } else { piece.split_once("}}").unwrap() };
        let action = action.trim();
        depth += i32::from(action.starts_with("with ") || action.starts_with("if "));
        depth -= i32::from(action == "end");
        if depth == 0 {
            plain += &action.strip_prefix("$labels.").unwrap_or_default().to_uppercase();
            plain += text;
        }
    }
    plain
}

fn alerts() -> String {
    let mut table =
        "| alert and runbook | severity | fires when | wait | goes to |\n| --- | --- | --- | --- | --- |\n".to_owned();
    let alerts = every_alert();
    for severity in ["critical", "warning", "none"] {
        for Alert { name, when, wait, to, .. } in alerts.iter().filter(|alert| alert.severity == severity) {
            let runbook = format!("[`{name}`](../alerts/runbooks/{name}.md)");
            table.push_str(&format!("| {runbook} | {severity} | {when} | {wait} | {to} |\n"));
        }
    }
    table
}

#[test]
fn operations_says_what_to_do_first_for_every_page() {
    let pages = every_alert().into_iter().filter(|alert| alert.severity == "critical").map(|alert| alert.name);
    let operations = Page::read("docs/operations.md").text;
    let rows = operations.split("| page | first |").nth(1).unwrap().split("\n\n").next().unwrap().lines();
    let first_cells = rows.filter_map(|row| row.strip_prefix("| ")?.split(" | ").next());
    let named = first_cells.flat_map(|cell| cell.split('`')).filter(|word| word.starts_with("GoldRush"));
    assert_eq!(named.map(str::to_owned).collect::<BTreeSet<String>>(), pages.collect());
}
