//! `poll`: intervals and the request budget.

use std::time::Duration;

use humantime::format_duration;
use serde::{Deserialize, Serialize};

use super::quantities::{duration, optional_duration, rate};
use crate::settings::whole;

/// Intervals and the request budget. Every duration is at least 10 ms.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Poll {
    /// Between two lists of pipelines.
    #[serde(with = "duration")]
    pub discovery: Duration,
    /// Between two requests for one pipeline's status.
    #[serde(with = "duration")]
    pub status: Duration,
    /// Between two requests for one pipeline's metrics.
    #[serde(with = "duration")]
    pub metrics: Duration,
    /// Between two requests for one pipeline's destination health.
    #[serde(with = "duration")]
    pub destination_health: Duration,
    /// Instead of `status`, while a pipeline is DEPLOYING or STOPPING.
    #[serde(with = "duration")]
    pub transitional: Duration,
    /// Instead of the three intervals of a pipeline that is paused or has ended, unless an interval is longer.
    #[serde(with = "duration")]
    pub idle: Duration,
    /// Between two requests for the account's use of credits; `None` sends none.
    #[serde(with = "optional_duration")]
    pub usage: Option<Duration>,
    /// An older reading is withdrawn.
    #[serde(with = "duration")]
    pub stale_after: Duration,
    /// Per account; never exceeded.
    #[serde(with = "rate")]
    pub requests_per_second: f64,
    /// Concurrent requests per account.
    #[serde(deserialize_with = "whole::<1, _, _>")]
    pub max_in_flight: usize,
}

impl Default for Poll {
    fn default() -> Self {
        Self {
            discovery: Duration::from_secs(60),
            status: Duration::from_secs(15),
            metrics: Duration::from_secs(30),
            destination_health: Duration::from_secs(30),
            transitional: Duration::from_secs(5),
            idle: Duration::from_secs(2 * 60),
            usage: None,
            stale_after: Duration::from_secs(5 * 60),
            requests_per_second: 4.0,
            max_in_flight: 8,
        }
    }
}

impl Poll {
    /// `idle`, but at most half of `stale_after`: readings of idle pipelines must not come and go.
    pub fn idle_pace(&self) -> Duration {
        self.idle.min(self.stale_after / 2)
    }

    /// Settings that are valid but probably not intended; one sentence each.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let stale = format_duration(self.stale_after);
        for (name, interval) in [
            ("discovery", self.discovery),
            ("status", self.status),
            ("metrics", self.metrics),
            ("destination_health", self.destination_health),
        ] {
            if self.stale_after <= interval {
                let interval = format_duration(interval);
                warnings.push(format!(
                    "poll.stale_after ({stale}) is not longer than poll.{name} ({interval}): its readings will come and go"
                ));
            }
        }
        if self.transitional > self.status {
            let transitional = format_duration(self.transitional);
            let status = format_duration(self.status);
            warnings.push(format!(
                "poll.transitional ({transitional}) is longer than poll.status ({status}): \
                 a pipeline that is DEPLOYING or STOPPING will be polled less often than others"
            ));
        }
        warnings
    }
}
