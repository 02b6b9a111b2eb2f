//! A real Prometheus, as the tests start it.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::tools::tool;
use super::{PATIENCE, request};

/// A Prometheus of its own, that scrapes and evaluates each second. Dropping it kills it.
pub struct Prometheus {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes one target.
    pub fn scraping(target: &str) -> Self {
        Self::start(&[("goldrush", target)], "groups: []")
    }

    /// Scrapes targets, each in the job of that name, and evaluates rules.
    pub fn start(targets: &[(&str, &str)], rules: &str) -> Self {
        let mut config = "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [rules.yml]\n".to_owned();
        config.push_str("scrape_configs:\n");
        for (job, target) in targets {
            config.push_str(&format!("  - job_name: {job}\n    static_configs:\n      - targets: ['{target}']\n"));
        }
        // Prometheus does not tell which port it got, so it is given one that was free a moment ago.
        let mut started = (0..10).map(|_| {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("prometheus.yml");
            std::fs::write(&file, &config).unwrap();
            std::fs::write(folder.path().join("rules.yml"), rules).unwrap();
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let child = tool("prometheus")
                .arg(format!("--config.file={}", file.display()))
                .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
                .arg(format!("--web.listen-address={free}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            Self { child, address: free.to_string(), _folder: folder }
        });
        started.find_map(|mut prometheus| prometheus.is_ready().then_some(prometheus)).unwrap()
    }

    fn is_ready(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && self.child.try_wait().unwrap().is_none() {
            if std::net::TcpStream::connect(&self.address).is_ok()
                && request(&self.address, "GET", "/-/ready", &[]).status == 200
            {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    /// The data of an answer of the HTTP API; `query` is what follows the question mark.
    #[track_caller]
    pub fn api(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let answer = request(&self.address, "GET", &format!("/api/v1/{path}?{}", query.join("&")), &[]).text();
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
            assert!(Instant::now() < deadline, "{query} stays empty");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The rules that are shipped, but what lasts for minutes there lasts for no time here: their `for`, their
/// `keep_firing_for`, and the intervals of their groups.
pub fn impatient_rules() -> String {
    let rules = include_str!("../../alerts/goldrush.rules.yml");
    let duration = regex::Regex::new(r"(?m)^( *)(for|keep_firing_for|interval): \S+$").unwrap();
    duration
        .replace_all(rules, |found: &regex::Captures| {
            let (indentation, key) = (&found[1], &found[2]);
            format!("{indentation}{key}: {}", if key == "interval" { "1s" } else { "0s" })
        })
        .into_owned()
}
