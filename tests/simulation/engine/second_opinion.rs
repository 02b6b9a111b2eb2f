//! A second opinion: a poller of few words, written from the documentation of the API and of the metrics alone. It asks
//! everything once, keeps nothing, and knows of no schedule, key or failure. What it would show of an API at rest is what the
//! exporter shows.
//!
//! Left out is what says when and how often something was asked, and what is judged.

use std::collections::{BTreeMap, BTreeSet};

use goldrush_exporter::account::Settings;
use serde_json::Value;

/// GET, by the path below the API's address: the status and the body.
pub type Get<'a> = dyn FnMut(&str) -> (u16, String) + 'a;

/// A sample's name and labels.
type Series = (String, BTreeMap<String, String>);

/// # Errors
/// The first sample on which both do not agree.
pub fn compare(text: &str, account: &str, settings: &Settings, get: &mut Get) -> Result<(), String> {
    let mut naive = Naive { account, samples: BTreeMap::new() };
    naive.poll(settings, get)?;
    let is_polled = |name: &str| settings.poll.usage.is_some() || !name.starts_with("goldrush_usage_");
    let is_naive =
        |name: &str| is_polled(name) && NAMES.iter().any(|known| name.strip_prefix("goldrush_") == Some(*known));
    let mut shown = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let ((name, labels), value) = read(line);
        if is_naive(&name) && labels.get("account").is_some_and(|of| of == account) {
            shown.insert((name, labels), value);
        }
    }
    for (series, value) in &naive.samples {
        if !is_naive(&series.0) {
            return Err(format!("{} is not compared", series.0));
        }
        if shown.get(series) != Some(value) {
            return Err(format!("{series:?} is {value}, and {:?} is shown", shown.get(series)));
        }
    }
    match shown.iter().find(|(series, _)| !naive.samples.contains_key(*series)) {
        Some((series, value)) => Err(format!("{series:?} is shown with {value}, and the API says no such thing")),
        None => Ok(()),
    }
}

/// All that follows from the bodies alone.
const NAMES: &[&str] = &[
    "up",
    "auth_unauthorized",
    "auth_forbidden",
    "pipelines",
    "pipelines_unowned",
    "chain_highest_block",
    "expected_pipeline_missing",
    "pipelines_over_limit",
    "group_paid",
    "group_over_limit",
    "group_free_trial_expired",
    "usage_credits_consumed",
    "usage_credits_limit",
    "usage_flex_credits_limit",
    "usage_premium_credits",
    "usage_free_credits",
    "usage_plan_info",
    "usage_probe_success",
    "poll_paused_until_timestamp_seconds",
    "pipeline_info",
    "pipeline_desired_status",
    "pipeline_phase",
    "pipeline_replicas",
    "pipeline_replicas_ready",
    "pipeline_start_time_seconds",
    "pipeline_created_timestamp_seconds",
    "pipeline_updated_timestamp_seconds",
    "pipeline_start_block",
    "pipeline_stop_block",
    "pipeline_records_consumed",
    "pipeline_last_offset",
    "pipeline_last_block_height",
    "pipeline_pending_records",
    "pipeline_processing_delay_seconds",
    "pipeline_records_per_second",
    "pipeline_normalization_errors",
    "pipeline_source_records_total",
    "pipeline_dropped_records_total",
    "pipeline_destination_healthy",
    "pipeline_destination_latency_seconds",
    "pipeline_destination_last_check_timestamp_seconds",
    "pipeline_destination_error",
    "pipeline_forbidden",
    "pipeline_probe_success",
];

struct Naive<'a> {
    account: &'a str,
    samples: BTreeMap<Series, f64>,
}

impl Naive<'_> {
    fn put(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let account = [("account", self.account)];
        let labels =
            labels.iter().chain(&account).map(|(label, text)| ((*label).to_owned(), (*text).to_owned())).collect();
        self.samples.insert((format!("goldrush_{name}"), labels), value);
    }

    fn poll(&mut self, settings: &Settings, get: &mut Get) -> Result<(), String> {
        let (mut items, mut page) = (Vec::new(), 1);
        loop {
            let data = data(get, &format!("?page_number={page}&page_size=100"))?;
            items.extend(data["items"].as_array().cloned().unwrap_or_default());
            if data["pagination"]["has_more"] != true {
                break;
            }
            page += 1;
        }
        let listed: BTreeSet<&str> = items.iter().map(|item| text(&item["id"])).collect();
        for id in &settings.account.expect {
            let missing = !listed.contains(id.as_str());
            self.put("expected_pipeline_missing", &[("pipeline_id", id.as_str())], f64::from(missing));
        }
        for item in &items {
            let group = [("group", text(&item["group"]["name"]))];
            self.flag("group_paid", &group, &item["group"]["is_paid"]);
            self.flag("group_over_limit", &group, &item["group"]["is_over_limit"]);
            self.flag("group_free_trial_expired", &group, &item["group"]["is_free_trial_expired"]);
        }
        items.retain(|item| settings.account.projects.matches(text(&item["project"])));
        self.put("up", &[], 1.0);
        self.put("auth_unauthorized", &[], 0.0);
        self.put("auth_forbidden", &[], 0.0);
        self.put("pipelines_over_limit", &[], 0.0);
        self.put("poll_paused_until_timestamp_seconds", &[], 0.0);
        self.put("pipelines", &[], items.len() as f64);
        let unowned = items.iter().filter(|item| team(item).is_empty()).count();
        self.put("pipelines_unowned", &[], unowned as f64);
        let mut highest: BTreeMap<String, f64> = BTreeMap::new();
        for item in &items {
            let height = self.pipeline(item, get)?;
            if let (Some(height), true) = (height, item["execution_mode"] != "bounded") {
                let known = highest.entry(chain(item)).or_insert(height);
                *known = known.max(height);
            }
        }
        for (chain, height) in highest {
            self.put("chain_highest_block", &[("chain", &chain)], height);
        }
        if settings.poll.usage.is_some() {
            let data = data(get, "../usage/?duration=1")?;
            let usage = &data["aggregate"];
            self.number("usage_credits_consumed", &[], &usage["credits_consumed"], 1.0);
            self.number("usage_credits_limit", &[], &usage["max_credits"], 1.0);
            self.number("usage_flex_credits_limit", &[], &usage["flex_credits"]["limit"], 1.0);
            self.number("usage_premium_credits", &[], &usage["premium_credits"], 1.0);
            self.number("usage_free_credits", &[], &usage["free_credits"], 1.0);
            self.put("usage_plan_info", &[("plan", text(&usage["plan"]))], 1.0);
            self.put("usage_probe_success", &[], 1.0);
        }
        Ok(())
    }

    /// Returns the block height.
    fn pipeline(&mut self, item: &Value, get: &mut Get) -> Result<Option<f64>, String> {
        let id = text(&item["id"]);
        let subject = [("project", text(&item["project"])), ("pipeline_id", id), ("pipeline", text(&item["name"]))];
        let with = |more: &[(&'static str, &'static str)]| [&subject[..], more].concat();
        let chain = chain(item);
        let info = [
            ("topic", text(&item["topic"])),
            ("chain", &chain),
            ("destination_type", text(&item["destination_type"])),
            ("execution_mode", text(&item["execution_mode"])),
            ("group", text(&item["group"]["name"])),
            ("team", team(item)),
        ];
        self.put("pipeline_info", &[&subject[..], &info].concat(), 1.0);
        for status in ["running", "paused"] {
            self.put("pipeline_desired_status", &with(&[("status", status)]), f64::from(item["status"] == status));
        }
        self.time("pipeline_created_timestamp_seconds", &subject, &item["created_at"]);
        self.time("pipeline_updated_timestamp_seconds", &subject, &item["updated_at"]);
        let blocks = [("start_block", &item["execution_start_from"]), ("stop_block", &item["execution_stop_from"])];
        for (name, block) in blocks.into_iter().filter(|_| item["execution_mode"] == "bounded") {
            if let Ok(block) = text(block).parse() {
                self.put(&format!("pipeline_{name}"), &subject, block);
            }
        }
        self.put("pipeline_forbidden", &subject, 0.0);
        for probe in ["status", "metrics", "destination_health"] {
            self.put("pipeline_probe_success", &with(&[("probe", probe)]), 1.0);
        }

        let status = data(get, &format!("{id}/status/"))?;
        if let Some(phase) = status["status"].as_str() {
            let known = ["DEPLOYING", "RUNNING", "PAUSED", "FAILED", "STOPPING", "STOPPED"];
            let phase = if known.contains(&phase) { phase } else { "UNKNOWN" };
            for known in known.into_iter().chain(["UNKNOWN"]) {
                self.put("pipeline_phase", &with(&[("phase", known)]), f64::from(known == phase));
            }
        }
        self.number("pipeline_replicas", &subject, &status["replicas"], 1.0);
        self.number("pipeline_replicas_ready", &subject, &status["ready"], 1.0);
        self.time("pipeline_start_time_seconds", &subject, &status["start_time"]);

        let metrics = data(get, &format!("{id}/metrics/"))?;
        self.number("pipeline_records_consumed", &subject, &metrics["records_consumed"], 1.0);
        self.number("pipeline_source_records_total", &subject, &metrics["records_consumed"], 1.0);
        self.number("pipeline_last_offset", &subject, &metrics["last_offset"], 1.0);
        self.number("pipeline_last_block_height", &subject, &metrics["last_block_height"], 1.0);
        self.number("pipeline_pending_records", &subject, &metrics["pending_records"], 1.0);
        self.number("pipeline_processing_delay_seconds", &subject, &metrics["processing_delay_ms"], 1_000.0);
        self.number("pipeline_records_per_second", &subject, &metrics["records_per_second"], 1.0);
        self.number("pipeline_normalization_errors", &subject, &metrics["normalization_errors"], 1.0);
        self.number("pipeline_dropped_records_total", &subject, &metrics["normalization_errors"], 1.0);

        let health = data(get, &format!("{id}/destination-health/"))?;
        self.flag("pipeline_destination_healthy", &subject, &health["healthy"]);
        self.number("pipeline_destination_latency_seconds", &subject, &health["latency_ms"], 1_000.0);
        self.time("pipeline_destination_last_check_timestamp_seconds", &subject, &health["last_checked_at"]);
        if health["healthy"] == false {
            let is_refused = health["last_error"].as_str().is_some_and(|error| error.contains("connection refused"));
            let reason = if is_refused { "connection_refused" } else { "other" };
            self.put("pipeline_destination_error", &with(&[("reason", reason)]), 1.0);
        }
        Ok(metrics["last_block_height"].as_f64())
    }

    fn number(&mut self, name: &str, labels: &[(&str, &str)], value: &Value, per_unit: f64) {
        if let Some(value) = value.as_f64() {
            self.put(name, labels, value / per_unit);
        }
    }

    fn flag(&mut self, name: &str, labels: &[(&str, &str)], value: &Value) {
        if let Some(flag) = value.as_bool() {
            self.put(name, labels, f64::from(flag));
        }
    }

    fn time(&mut self, name: &str, labels: &[(&str, &str)], value: &Value) {
        if let Some(time) = value.as_str() {
            let time: jiff::Timestamp = time.parse().expect("a time");
            self.put(name, labels, time.as_second() as f64);
        }
    }
}

fn data(get: &mut Get, path: &str) -> Result<Value, String> {
    let (status, body) = get(path);
    let mut envelope: Value = serde_json::from_str(&body).map_err(|error| format!("{path}: {error}: {body}"))?;
    if status == 200 && envelope["error"] == false {
        Ok(envelope["data"].take())
    } else {
        Err(format!("nothing is wrong with the API any more, and {path} gets {status}: {body}"))
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The first two segments of the topic.
fn chain(item: &Value) -> String {
    text(&item["topic"]).split('.').take(2).collect::<Vec<_>>().join(".")
}

/// As the policies of the simulated configuration have it.
fn team(item: &Value) -> &'static str {
    if item["project"] == "analytics" { "data" } else { "" }
}

/// A line of the exposition, character by character.
fn read(line: &str) -> (Series, f64) {
    let (series, value) = line.rsplit_once(' ').expect("a value");
    let value = value.parse().expect("a number");
    let Some((name, labels)) = series.split_once('{') else { return ((series.to_owned(), BTreeMap::new()), value) };
    let (mut found, mut label, mut text, mut is_quoted) = (BTreeMap::new(), String::new(), String::new(), false);
    let mut characters = labels.chars();
    while let Some(character) = characters.next() {
        match (is_quoted, character) {
            (true, '\\') => match characters.next() {
                Some('n') => text.push('\n'),
                other => text.extend(other),
            },
            (true, '"') => {
                found.insert(std::mem::take(&mut label), std::mem::take(&mut text));
                is_quoted = false;
            }
            (true, _) => text.push(character),
            (false, '"') => is_quoted = true,
            (false, ',' | '=' | '}') => {}
            (false, _) => label.push(character),
        }
    }
    ((name.to_owned(), found), value)
}
