//! A real Prometheus, started by tests.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::daemon::Daemon;
use super::{PATIENCE, request};

/// A Prometheus process. Dropping it kills it.
pub struct Prometheus(Daemon);

impl Prometheus {
    /// Scrapes one target every second.
    pub fn scraping(target: &str) -> Self {
        Self::start(&[("goldrush", target)], "groups: []")
    }

    /// Scrapes targets, each in the job with this name, and evaluates rules, both every second. Targets have the labels that the
    /// Prometheus operator adds: a label of ours with the same name would become `exported_…`.
    pub fn start(targets: &[(&str, &str)], rules: &str) -> Self {
        let mut config = "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [rules.yml]\n".to_owned();
        config.push_str("scrape_configs:\n");
        for (job, target) in targets {
            config.push_str(&format!("  - job_name: {job}\n    static_configs:\n      - targets: ['{target}']\n"));
            let operators =
                "namespace: goldrush, service: goldrush, pod: goldrush-0, container: exporter, endpoint: metrics";
            config.push_str(&format!("        labels: {{{operators}}}\n"));
        }
        Self::configured(&config, &[("rules.yml", rules)])
    }

    /// With its own configuration, and the files that this names.
    pub fn configured(config: &str, files: &[(&str, &str)]) -> Self {
        let files = [&[("prometheus.yml", config)], files].concat();
        Self(Daemon::start("prometheus", &files, |folder, address| {
            vec![
                format!("--config.file={}", folder.join("prometheus.yml").display()),
                format!("--storage.tsdb.path={}", folder.join("data").display()),
                format!("--web.listen-address={address}"),
                "--web.enable-lifecycle".to_owned(),
                // Alerts that are sent before Alertmanager is discovered are lost until then.
                "--rules.alert.resend-delay=10s".to_owned(),
            ]
        }))
    }

    pub fn address(&self) -> &str {
        &self.0.address
    }

    /// Overwrites a file and reloads.
    pub fn reload(&self, name: &str, content: &str) {
        self.0.write(name, content);
        let answer = request(&self.0.address, "POST", "/-/reload", &[]);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// The data of a response of the HTTP API; `query` is the query string.
    #[track_caller]
    pub fn api(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let answer = request(&self.0.address, "GET", &format!("/api/v1/{path}?{}", query.join("&")), &[]).text();
        let mut answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["status"], "success", "{path} {query:?}: {answer}");
        answer["data"].take()
    }

    /// The result of an instant query.
    #[track_caller]
    pub fn query(&self, query: &str) -> Vec<Value> {
        let data = self.api("query", &[("query", query)]);
        data["result"].as_array().unwrap_or_else(|| panic!("{query}: {data}")).clone()
    }

    #[track_caller]
    pub fn until(&self, query: &str) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let result = self.query(query);
            if !result.is_empty() {
                return result;
            }
            assert!(Instant::now() < deadline, "{query} stays empty; alerts: {:?}", self.query("ALERTS"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
