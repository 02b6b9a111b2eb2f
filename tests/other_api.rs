//! Against a Pipeline API that is not the project's own simulator and has its own whims (`standin/pipeline_api.py`).

mod common;

use std::process::{Child, Command, Stdio};

use common::{Exporter, FAST, Output, environment, request};
use serde_json::{Value, json};

const KEY: &str = "standin-key-A";

/// The stand-in as a process. It ends when its standard input closes.
struct StandIn {
    child: Child,
    base_url: String,
    address: String,
}

impl StandIn {
    fn start(arguments: &[&str]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/standin/pipeline_api.py");
        let mut child = Command::new("python3")
            .args([script, "--stdin-guard", "--key", KEY])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let line = Output::follow(child.stdout.take().unwrap()).line("listening on ");
        let base_url = line.split("listening on ").nth(1).unwrap().trim().to_owned();
        let address = base_url.split('/').nth(2).unwrap().to_owned();
        Self { child, base_url, address }
    }

    fn exporter(&self, settings: &[(&str, &str)]) -> Exporter {
        let mut all = environment(FAST);
        all.extend(environment(&[("GOLDRUSH_EXPORTER__API__BASE_URL", &self.base_url), ("GOLDRUSH_SERVICE_KEY", KEY)]));
        all.extend(environment(settings));
        Exporter::start(&[], &all)
    }

    fn state(&self) -> Value {
        serde_json::from_str(&request(&self.address, "GET", "/__control", &[]).text()).unwrap()
    }

    fn ids(&self) -> Vec<String> {
        self.state()["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
    }

    fn tell(&self, command: &Value) {
        use std::io::{Read as _, Write as _};
        let body = command.to_string();
        let mut stream = std::net::TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "POST /__control HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// Nothing but reading was done to it, and nothing private of it got out.
    #[track_caller]
    fn is_content_with(&self, exporter: &Exporter) {
        let state = self.state();
        assert_eq!(state["violations"], json!([]));
        let seen =
            [exporter.get("/").text(), exporter.get("/metrics").text(), exporter.stdout.text(), exporter.stderr.text()];
        for canary in state["canaries"].as_object().unwrap().keys().map(String::as_str).chain([KEY]) {
            assert!(!seen.iter().any(|text| text.contains(canary)), "`{canary}` got out");
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const COUNT: &str = "goldrush_pipelines{account=\"default\"}";

#[test]
fn however_it_pages_every_pipeline_is_found_once() {
    for mode in
        ["normal", "clamped", "no-total", "no-has-more", "bare", "repeat-last", "shifting", "null-items-when-empty"]
    {
        let api = StandIn::start(&["--list-mode", mode, "--max-page-size", "3"]);
        let exporter = api.exporter(&[]);
        let ids = api.ids();
        // Where items move between pages, one list alone may miss some; the next ones find them.
        let exposition = exporter.until(mode, |exposition| exposition.value(COUNT) == Some(ids.len() as f64));
        for id in &ids {
            let infos = exposition.values("goldrush_pipeline_info", &[&format!("pipeline_id=\"{id}\"")]);
            assert_eq!(infos, [1.0], "{id} in {mode}");
        }
        api.is_content_with(&exporter);
    }
}

#[test]
fn a_list_without_end_is_read_up_to_max_pipelines() {
    let api = StandIn::start(&["--list-mode", "endless"]);
    let exporter = api.exporter(&[("GOLDRUSH_EXPORTER__MAX_PIPELINES", "30")]);
    exporter.until_value(COUNT, 30.0);
    assert_eq!(api.state()["violations"], json!([]));
}

#[test]
fn values_are_repeated_one_to_one() {
    let api = StandIn::start(&["--frozen"]);
    let exporter = api.exporter(&[]);
    let exposition = exporter.until("all probes", |exposition| {
        let successes = exposition.values("goldrush_pipeline_probe_success", &[]);
        successes.len() == 21 && successes.iter().all(|success| *success == 1.0)
    });
    let ids = api.ids();
    let value = |family: &str, index: usize| exposition.one(family, &[&format!("pipeline_id=\"{}\"", ids[index])]);
    assert_eq!(
        exposition.values("goldrush_pipeline_phase", &[&ids[1], "phase=\"UNKNOWN\""]),
        [1.0],
        "a phase that is not documented"
    );
    assert!(exposition.values("goldrush_api_unknown_values_total", &["field=\"phase\""])[0] >= 1.0);
    assert_eq!(value("goldrush_pipeline_records_consumed", 2), Some(0.0), "a zero is a sample");
    assert_eq!(value("goldrush_pipeline_records_consumed", 3), None, "null gives none");
    assert_eq!(value("goldrush_pipeline_updated_timestamp_seconds", 2), None, "missing gives none");
    assert!(value("goldrush_pipeline_created_timestamp_seconds", 0).unwrap().fract() > 0.12, "a fraction of a second");
    assert_eq!(value("goldrush_pipeline_destination_healthy", 5), None);
    assert_eq!(value("goldrush_pipeline_destination_healthy", 4), Some(0.0));
    assert_eq!(exposition.values("goldrush_pipeline_destination_error", &[&ids[4]]), [1.0]);
    assert_eq!(exposition.values("goldrush_pipeline_phase", &[&ids[3], "phase=\"STOPPED\""]), [1.0]);
    assert!(!exposition.0.contains('\0'), "no scraper can read that");
    let longest = exposition.0.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(longest < 2000, "a name of 10,000 characters is cut");
    assert!(exposition.0.contains("\\n") && exposition.0.contains("🚀"));
    api.is_content_with(&exporter);
}

#[test]
fn keys_groups_and_deletions_are_noticed() {
    let api = StandIn::start(&[]);
    let exporter = api.exporter(&[]);
    exporter.until_value(COUNT, 7.0);
    let ids = api.ids();
    api.tell(&json!({"delete": ids[0]}));
    let exposition = exporter.until_value(COUNT, 6.0);
    assert!(!exposition.0.contains(&ids[0]));
    api.tell(&json!({"foreign": {"id": ids[1], "listed": true}}));
    exporter
        .until("another group's", |exposition| exposition.values("goldrush_pipeline_forbidden", &[&ids[1]]) == [1.0]);
    let unauthorized = "goldrush_auth_unauthorized{account=\"default\"}";
    api.tell(&json!({"revoke": KEY}));
    exporter.until_value(unauthorized, 1.0);
    api.tell(&json!({"accept": KEY}));
    exporter.until_value(unauthorized, 0.0);
    api.tell(&json!({"read_only": KEY}));
    exporter.until_value("goldrush_auth_forbidden{account=\"default\"}", 1.0);
    api.is_content_with(&exporter);
}
