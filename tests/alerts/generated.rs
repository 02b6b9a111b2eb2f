//! The part of `alerts/goldrush.rules.yml` that is written from the table of kinds.

use goldrush_exporter::trouble::kinds::{Generated, Kind, Row, Rule, Scope};

const RUNBOOKS: &str = "https://github.com/covalenthq/goldrush-exporter/blob/main/alerts/runbooks";
const WIDTH: usize = 120;

/// Both groups, from the first line after the marker to the end of the file.
pub fn groups() -> String {
    let account = "
  - name: goldrush-accounts
    interval: 30s
    rules:
";
    let pipeline = "
  - name: goldrush-pipelines
    # The promise that a dead destination pages within 3 minutes: two polls 60 s + scrape 30 s + this interval 30 s +
    # `for` 30 s + Alertmanager's group_wait 10 s = 2 min 40 s at worst, from the moment when GoldRush's own check sees it.
    interval: 30s
    rules:
";
    let of = |scope| {
        let rows = Kind::ALL.iter().map(|kind| kind.row()).filter(|row| row.scope == scope);
        let rules: Vec<String> = rows.filter_map(rule).collect();
        rules.join("\n")
    };
    [account, &of(Scope::Account), pipeline, &of(Scope::Pipeline)].concat()
}

fn rule(row: &Row) -> Option<String> {
    let Rule::Generated(alert) = &row.rule else { return None };
    let keep = alert.keep_firing_for.map(|keep| format!("        keep_firing_for: {keep}\n")).unwrap_or_default();
    Some(format!(
        "      - alert: {name}
        expr: {expr}
{why}        for: {wait}
{keep}        labels:
          severity: {severity}
        annotations:
          summary: '{summary}'
          description: >-
{description}          runbook_url: {RUNBOOKS}/{name}.md
          dashboard_url: '{dashboard}'
",
        name = row.alert,
        expr = expression(row, alert),
        why = wrapped("        # ", alert.why),
        wait = alert.wait,
        severity = row.severity,
        summary = alert.summary.replace('\'', "''"),
        description = wrapped("            ", alert.description),
        dashboard = dashboard(alert),
    ))
}

fn expression(row: &Row, alert: &Generated) -> String {
    let mut kinds = row.name.to_owned();
    alert.also.iter().for_each(|kind| kinds += &format!("|{kind}"));
    let matches = if alert.also.is_empty() { "=" } else { "=~" };
    format!("max by ({}) ({}{{kind{matches}\"{kinds}\"}})", alert.per.join(", "), row.scope.gauge())
}

fn dashboard(alert: &Generated) -> String {
    let mut url = format!("/d/{}?var-account={{{{ $labels.account | urlquery }}}}", alert.dashboard);
    if alert.per.contains(&"pipeline_id") {
        url += "&var-pipeline_id={{ $labels.pipeline_id | urlquery }}";
    }
    url
}

/// Lines that begin with `indentation`. A line break never falls into a template.
fn wrapped(indentation: &str, text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for word in words(text) {
        if !line.is_empty() && indentation.len() + line.len() + 1 + word.len() > WIDTH {
            lines += &format!("{indentation}{line}\n");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += &word;
    }
    lines + &format!("{indentation}{line}\n")
}

/// The text's words; a template belongs to the word that it touches.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut depth = 0;
    for part in text.split_whitespace() {
        let word = words.last_mut().unwrap();
        if depth > 0 {
            word.push(' ');
            word.push_str(part);
        } else if word.is_empty() {
            word.push_str(part);
        } else {
            words.push(part.to_owned());
        }
        depth = depth + part.matches("{{").count() - part.matches("}}").count();
    }
    words
}
