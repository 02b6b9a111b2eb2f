//! Checks a series of scrapes and reports violations.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use crate::common::{Exporter, Exposition, OPERATION};
use goldrush_exporter::simulator::Endpoint;

use crate::raw_api::Question;

/// The pipelines of every account.
pub const PIPELINES: [&str; 2] = ["victim", "bystander"];

/// The operations that concern pipelines.
pub const ABOUT_PIPELINES: [Endpoint; 4] =
    [Endpoint::List, Endpoint::Status, Endpoint::Metrics, Endpoint::DestinationHealth];

/// An exposition with fast lookup, and the moments between which it was rendered.
pub struct Scrape {
    begun: Instant,
    ended: Instant,
    /// The end by the wall clock, which the exporter uses for the times of readings.
    ended_at: f64,
    values: HashMap<String, f64>,
}

impl Scrape {
    pub fn of(exporter: &Exporter) -> Self {
        let begun = Instant::now();
        let exposition: Exposition = exporter.scrape();
        let ended = Instant::now();
        let ended_at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        let mut values = HashMap::new();
        for (sample, value) in exposition.samples() {
            assert_eq!(values.insert(sample.to_owned(), value), None, "{sample} stands there twice");
            let family = sample.split('{').next().unwrap();
            let is_time = family.ends_with("_timestamp_seconds") || family.ends_with("_start_time_seconds");
            assert!(!is_time || (0.0..4e9).contains(&value), "{sample} {value} is not a time");
        }
        Self { begun, ended, ended_at, values }
    }

    pub fn value(&self, sample: &str) -> Option<f64> {
        self.values.get(sample).copied()
    }

    pub fn of_account(&self, family: &str, account: &str) -> Option<f64> {
        self.value(&format!("{family}{{account=\"{account}\"}}"))
    }

    pub fn failures(&self, account: &str, endpoint: Endpoint, reason: &str) -> f64 {
        let labels = format!("account=\"{account}\",{OPERATION}=\"{endpoint}\",reason=\"{reason}\"");
        self.value(&format!("goldrush_api_request_failures_total{{{labels}}}")).unwrap()
    }

    /// The failures of each account, by operation and reason.
    pub fn all_failures(&self) -> HashMap<&str, Vec<(&str, f64)>> {
        let mut failures = HashMap::<_, Vec<_>>::new();
        for (sample, value) in self.values.iter().filter(|(_, value)| **value > 0.0) {
            if let Some(labels) = sample.strip_prefix("goldrush_api_request_failures_total{account=\"") {
                let (account, labels) = labels.split_once("\",").unwrap();
                failures.entry(account).or_default().push((labels, *value));
            }
        }
        failures
    }

    /// A sample that represents an endpoint's reading of a pipeline.
    pub fn reading(&self, account: &str, pipeline: &str, endpoint: Endpoint) -> Option<f64> {
        let (family, more) = match endpoint {
            Endpoint::List => ("desired_status", ",status=\"running\""),
            Endpoint::Status => ("replicas", ""),
            Endpoint::Metrics => ("records_consumed", ""),
            Endpoint::DestinationHealth => ("destination_latency_seconds", ""),
            Endpoint::Usage => return self.of_account("goldrush_usage_credits_consumed", account),
        };
        self.value(&format!("goldrush_pipeline_{family}{{{}{more}}}", labels(account, pipeline)))
    }

    /// Whether the newest attempt succeeded.
    pub fn success(&self, account: &str, pipeline: &str, endpoint: Endpoint) -> Option<bool> {
        let success = match endpoint {
            Endpoint::List => self.of_account("goldrush_up", account),
            Endpoint::Usage => self.of_account("goldrush_usage_probe_success", account),
            probe => {
                let labels = format!("{},probe=\"{probe}\"", labels(account, pipeline));
                self.value(&format!("goldrush_pipeline_probe_success{{{labels}}}"))
            }
        };
        success.map(|success| success == 1.0)
    }

    /// When an endpoint last gave a reading of a pipeline.
    pub fn last_success(&self, account: &str, pipeline: &str, endpoint: Endpoint) -> Option<f64> {
        match endpoint {
            Endpoint::List => self.of_account("goldrush_discovery_last_success_timestamp_seconds", account),
            Endpoint::Usage => self.of_account("goldrush_usage_probe_last_success_timestamp_seconds", account),
            probe => {
                let labels = format!("{},probe=\"{probe}\"", labels(account, pipeline));
                self.value(&format!("goldrush_pipeline_probe_last_success_timestamp_seconds{{{labels}}}"))
            }
        }
    }

    /// Whether everything of an account succeeds and has a reading.
    pub fn is_well(&self, account: &str) -> bool {
        self.of_account("goldrush_auth_unauthorized", account) == Some(0.0)
            && self.of_account("goldrush_auth_forbidden", account) == Some(0.0)
            // Only if it is polled.
            && self.success(account, "", Endpoint::Usage)
                .is_none_or(|success| success && self.reading(account, "", Endpoint::Usage).is_some())
            && PIPELINES.iter().all(|pipeline| {
                ABOUT_PIPELINES.iter().all(|endpoint| {
                    self.success(account, pipeline, *endpoint) == Some(true)
                        && self.reading(account, pipeline, *endpoint).is_some()
                })
            })
    }
}

pub fn labels(account: &str, pipeline: &str) -> String {
    format!("account=\"{account}\",project=\"project\",pipeline_id=\"{pipeline}\",pipeline=\"name of {pipeline}\"")
}

/// When a reading arrived: after one scrape began, before another one ended.
struct Came {
    /// According to the exporter.
    stamp: f64,
    after: Instant,
    before: Instant,
}

/// Follows every reading of every account over time.
pub struct Judge {
    stale_after: Duration,
    came: HashMap<(String, &'static str, Endpoint), Came>,
    before: Option<Instant>,
}

impl Judge {
    pub fn new(stale_after: Duration) -> Self {
        Self { stale_after, came: HashMap::new(), before: None }
    }

    /// A reading is shown until it is as old as `stale_after`, and no longer. Those that `lax` names may disappear
    /// earlier. Moments are compared in the order that this process observed, so that a slow machine causes no false
    /// alarm. A reading is withdrawn too early only if both clocks say so, so that a step of the wall clock causes no
    /// false alarm either.
    pub fn look(&mut self, scrape: &Scrape, accounts: &[String], lax: impl Fn(&str, &str, Endpoint) -> bool) {
        for account in accounts {
            for pipeline in PIPELINES {
                for endpoint in ABOUT_PIPELINES.iter().copied() {
                    self.look_at(scrape, account, pipeline, endpoint, lax(account, pipeline, endpoint));
                }
            }
        }
        self.before = Some(scrape.begun);
    }

    fn look_at(&mut self, scrape: &Scrape, account: &str, pipeline: &'static str, endpoint: Endpoint, lax: bool) {
        let key = (account.to_owned(), pipeline, endpoint);
        let Some(stamp) = scrape.last_success(account, pipeline, endpoint) else {
            assert!(lax || !self.came.contains_key(&key), "{key:?}: the time of the last success is gone");
            return;
        };
        let known = self.came.get(&key).filter(|came| came.stamp == stamp);
        if known.is_none() {
            let after = self.before.unwrap_or(scrape.begun - self.stale_after);
            self.came.insert(key.clone(), Came { stamp, after, before: scrape.ended });
        }
        let came = &self.came[&key];
        match scrape.reading(account, pipeline, endpoint) {
            Some(_) => assert!(
                scrape.begun <= came.before + self.stale_after,
                "{key:?} is shown {:?} after it came",
                scrape.begun - came.before
            ),
            None => assert!(
                lax || scrape.ended >= came.after + self.stale_after
                    || scrape.ended_at >= stamp + self.stale_after.as_secs_f64(),
                "{key:?} is withdrawn {:?} after it came",
                scrape.ended - came.after
            ),
        }
    }
}

/// The requests of an account for the first pipeline; the list and the usage are not about a pipeline.
pub fn question(key: &str, endpoint: Endpoint) -> Question {
    let pipeline = if matches!(endpoint, Endpoint::List | Endpoint::Usage) { "" } else { PIPELINES[0] };
    Question { key: key.to_owned(), endpoint, pipeline: pipeline.to_owned() }
}
