//! The profile `lean` is exactly what the expressions of the shipped alerts and the dashboards need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use config::{FileFormat, Value, ValueKind};
use regex::Regex;

use super::*;

/// Panels below this row of a dashboard show families that only `full` has.
const DETAILS: &str = "Details (metrics.profile: full)";

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// All texts with this key.
fn texts_of(value: &Value, key: &str, texts: &mut Vec<String>) {
    match &value.kind {
        ValueKind::Table(table) => {
            for (name, value) in table {
                match &value.kind {
                    ValueKind::String(text) if name == key => texts.push(text.clone()),
                    _ => texts_of(value, key, texts),
                }
            }
        }
        ValueKind::Array(values) => values.iter().for_each(|value| texts_of(value, key, texts)),
        _ => {}
    }
}

fn expressions_of_dashboard(name: &str) -> Vec<String> {
    let dashboard: serde_json::Value = serde_json::from_str(&read(&format!("dashboards/{name}.json"))).unwrap();
    let mut row = String::new();
    let panels = dashboard["panels"].as_array().unwrap().iter().filter(|panel| {
        if panel["type"] == "row" {
            row = panel["title"].as_str().unwrap().to_owned();
        }
        row != DETAILS
    });
    let targets = panels.flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    let mut expressions: Vec<String> = targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    for (list, pointer) in [("annotations", "/expr"), ("templating", "/query/query")] {
        let entries = dashboard[list]["list"].as_array().unwrap().iter();
        expressions.extend(entries.filter_map(|entry| Some(entry.pointer(pointer)?.as_str()?.to_owned())));
    }
    expressions
}

/// The families that are needed, and by what.
fn needs() -> BTreeMap<&'static str, String> {
    let mut of_rules = Vec::new();
    for file in ["alerts/goldrush.rules.yml", "alerts/goldrush-slo.rules.yml"] {
        let rules = crate::settings::parse(&read(file), FileFormat::Yaml).unwrap();
        texts_of(&rules, "expr", &mut of_rules);
    }
    let of_dashboards = ["fleet", "pipeline", "exporter"].map(|name| (name, expressions_of_dashboard(name)));
    let word = Regex::new(r"\bgoldrush_[a-z_]+").unwrap();
    let mut needs = BTreeMap::new();
    for (place, expressions) in [("an alert", of_rules)].into_iter().chain(of_dashboards) {
        for expression in &expressions {
            for found in word.find_iter(expression).map(|found| found.as_str()) {
                let is_of = |family: &&Family| {
                    let suffix = found.strip_prefix(family.name);
                    suffix.is_some_and(|suffix| matches!(suffix, "" | "_bucket" | "_count" | "_sum"))
                };
                if let Some(family) = FAMILIES.iter().find(is_of) {
                    needs.entry(family.name).or_insert_with(|| format!("{place}: {expression}"));
                }
            }
        }
    }
    needs
}

fn faults(needs: &BTreeMap<&str, String>, lean: &BTreeSet<&str>) -> Vec<String> {
    let missing = needs.iter().filter(|(name, _)| !lean.contains(**name));
    let missing = missing.map(|(name, place)| format!("{name} is not in lean, but needed by {place}"));
    let idle = lean.iter().filter(|name| !needs.contains_key(**name));
    let idle = idle.map(|name| format!("{name} is in lean, but no alert and no dashboard needs it"));
    missing.chain(idle).collect()
}

#[test]
fn lean_is_what_the_alerts_and_dashboards_need() {
    let needs = needs();
    let mut lean: BTreeSet<&str> = FAMILIES.iter().filter(|family| family.in_lean).map(|family| family.name).collect();
    assert_eq!(faults(&needs, &lean), Vec::<String>::new());

    // Proves that the check itself can fail.
    lean.remove("goldrush_up");
    lean.insert("goldrush_pipeline_replicas");
    let found = faults(&needs, &lean);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("goldrush_up is not in lean, but needed by "), "{found:?}");
}

/// Samples and bytes of one healthy pipeline with complete readings.
fn per_pipeline(selection: &Selection) -> (usize, usize) {
    let at = moment();
    let mut prod = account(&[], at);
    let id = "pipe_3e8678c5fc9e48a7bf9879ca729";
    let mut listed: serde_json::Value = super::read(LISTED);
    listed["id"] = id.into();
    listed["name"] = "From Base Swap to Postgres".into();
    prod.lists(&[listed], at);
    prod.takes_all_turns(at);
    let healthy = r#"{"healthy": true, "last_checked_at": "2023-11-14T22:13:00Z", "latency_ms": 12}"#;
    let metrics = METRICS.replace(r#""last_block_height": null"#, r#""last_block_height": 23456789"#);
    let status = STATUS.replace(r#""ready": 1"#, r#""ready": 2"#);
    for (probe, data) in
        [(Probe::Status, status.as_str()), (Probe::Metrics, &metrics), (Probe::DestinationHealth, healthy)]
    {
        prod.probed(id, reading(probe, super::read(data)), at);
    }
    let fleet = Fleet::default();
    fleet.insert("prod", prod);
    let text = fleet_text(&fleet, selection, at, Format::OpenMetrics);
    assert!(!text.contains("goldrush_pipeline_trouble{"), "{text}");
    let samples: Vec<&str> = text.lines().filter(|line| line.contains("pipeline_id=\"")).collect();
    (samples.len(), samples.iter().map(|line| line.len() + 1).sum())
}

pub(super) fn of_profile(profile: Profile) -> Selection {
    of_settings(&format!("profile: {profile}"))
}

fn of_settings(metrics: &str) -> Selection {
    let text = format!("metrics: {{{metrics}}}");
    let config = Config::load(Some(&ConfigFile { path: "c.yaml".into(), text }), &[]).unwrap();
    Selection::of(&config.metrics).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_costs_so_many_samples_and_bytes() {
    for (profile, most_samples, most_bytes) in [(Profile::Lean, 18, 3_000), (Profile::Full, 35, 6_300)] {
        let (samples, bytes) = per_pipeline(&of_profile(profile));
        assert!(
            samples <= most_samples && bytes <= most_bytes,
            "{profile}: {samples} samples (at most {most_samples}), {bytes} bytes (at most {most_bytes}). If the new \
             ones are worth it, raise the limits here and the numbers in docs/metrics.md and docs/operations.md"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_documentation_says_what_a_pipeline_costs() {
    let cells = [Profile::Lean, Profile::Full].map(|profile| {
        let of = |states: &str| per_pipeline(&of_settings(&format!("profile: {profile}{states}")));
        let samples = format!("{} / {}", of(", states: active").0, of(", states: all").0);
        (samples, format!("{:.1} kB", of("").1 as f64 / 1_000.0))
    });
    let [(lean_samples, lean_bytes), (full_samples, full_bytes)] = cells;
    let page = read("docs/metrics.md");
    for row in [
        format!("| samples, with `states: active` / `all` | {lean_samples} | {full_samples} |"),
        format!("| bytes, uncompressed, at the default `states` | {lean_bytes} | {full_bytes} |"),
    ] {
        assert!(page.contains(&row), "docs/metrics.md lacks this line:\n{row}");
    }
}
