//! An account that gets responses from the test: for tests and fuzzers.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Account, Event, Sent, Settings};
use crate::api::{PipelineId, Probe, ProbeResponse, Response};
use crate::config::{self, Filter, Poll, Shard};
use crate::moment::Moment;
use crate::service_key::KeySource;

/// Settings of an account that expects these pipelines.
pub(crate) fn settings(expect: &[&str]) -> Settings {
    let account = config::Account {
        name: "prod".to_owned(),
        key: KeySource::BuiltIn("sk_1"),
        projects: Filter::default(),
        pipelines: Filter::default(),
        pipeline_ids: Filter::default(),
        expect: expect.iter().filter_map(|id| PipelineId::new(id)).collect(),
        credits_run_out: Duration::from_secs(7 * 24 * 60 * 60),
    };
    Settings { poll: Poll::default(), account, shard: Shard::default(), policies: Vec::new(), max_pipelines: 20_000 }
}

/// An account of which nothing is known yet, without jitter.
pub(crate) fn account(expect: &[&str], now: Moment) -> Account {
    Account::new(settings(expect), now.wall(), fastrand::Rng::with_seed(1), now)
}

/// A reading of a probe; the JSON is the response's `data`.
pub(crate) fn reading(probe: Probe, data: Value) -> ProbeResponse {
    match probe {
        Probe::Status => ProbeResponse::Status(Ok(read(data))),
        Probe::Metrics => ProbeResponse::Metrics(Ok(read(data))),
        Probe::DestinationHealth => ProbeResponse::DestinationHealth(Ok(read(data))),
    }
}

fn read<T: serde::de::DeserializeOwned>(data: Value) -> T {
    serde_json::from_value(data).expect("a reading")
}

impl Account {
    /// Processes a response to a request that was just sent with the key in use.
    pub(crate) fn hears(&mut self, response: Response, now: Moment) -> Vec<Event> {
        self.hears_after(Duration::ZERO, response, now)
    }

    /// Processes a response that took this long.
    pub(crate) fn hears_after(&mut self, took: Duration, response: Response, now: Moment) -> Vec<Event> {
        if matches!(response, Response::Page(1, _)) {
            self.roster.begin(self.settings.max_pipelines, now.monotonic());
        }
        let at = now.monotonic().checked_sub(took).unwrap_or(now.monotonic());
        self.answered(Sent { at, generation: self.credential.generation() }, response, now)
    }

    /// Takes every probe that is due, regardless of the budget, so that none is late.
    #[cfg(test)]
    pub(crate) fn takes_all_turns(&mut self, now: Moment) {
        while self.schedule.pop(now.monotonic()).is_some() {}
    }

    pub(crate) fn probed(&mut self, id: &str, response: ProbeResponse, now: Moment) -> Vec<Event> {
        self.hears(Response::Probe(PipelineId::new(id).expect("an id"), response), now)
    }

    /// A reading of the usage, if that is polled.
    #[cfg(test)]
    pub(crate) fn reads_usage(&mut self, aggregate: Value, now: Moment) -> Vec<Event> {
        self.hears(Response::Usage(Ok(read(json!({ "aggregate": aggregate })))), now)
    }

    /// A complete list with these pipelines.
    pub(crate) fn lists(&mut self, items: &[Value], now: Moment) -> Vec<Event> {
        let page = json!({"items": items, "pagination": {"has_more": false}});
        self.hears(Response::Page(1, Ok(read(page))), now)
    }
}
