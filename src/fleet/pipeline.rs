//! What is known of one pipeline.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::Moment;
use crate::api::{self, DesiredStatus, Endpoint, Phase, PipelineId, Reason};

/// An answer and the moment it came.
#[derive(Debug, Clone)]
pub struct Reading<T> {
    /// What the API said.
    pub value: T,
    /// When.
    pub at: Moment,
}

/// How one of a pipeline's probes fares.
#[derive(Debug, Clone)]
pub struct ProbeState<T> {
    reading: Option<Reading<T>>,
    /// The newest attempt: when, and why it failed if it did.
    attempt: Option<(Moment, Option<Reason>)>,
}

impl<T> Default for ProbeState<T> {
    fn default() -> Self {
        Self { reading: None, attempt: None }
    }
}

impl<T> ProbeState<T> {
    fn observe(&mut self, answer: Result<T, Reason>, at: Moment) {
        self.attempt = Some((at, answer.as_ref().err().copied()));
        if let Ok(value) = answer {
            self.reading = Some(Reading { value, at });
        }
    }

    /// The newest reading, unless it is older than `stale_after`.
    pub fn fresh(&self, now: Moment, stale_after: Duration) -> Option<&T> {
        self.reading.as_ref().filter(|reading| now.since(reading.at) <= stale_after).map(|reading| &reading.value)
    }

    /// Whether the newest attempt succeeded, unless that is longer ago than `stale_after`.
    pub fn success(&self, now: Moment, stale_after: Duration) -> Option<bool> {
        self.attempt.filter(|(at, _)| now.since(*at) <= stale_after).map(|(_, failure)| failure.is_none())
    }

    /// Until when the reading and the outcome are shown.
    fn fresh_until(&self, stale_after: Duration) -> [Option<Instant>; 2] {
        let moments = [self.reading.as_ref().map(|reading| reading.at), self.attempt.map(|(at, _)| at)];
        moments.map(|at| at.map(|at| at.fresh_until(stale_after)))
    }

    /// When it succeeded last. A failure never moves it.
    pub fn last_success(&self) -> Option<SystemTime> {
        self.reading.as_ref().map(|reading| reading.at.wall)
    }

    fn failure(&self) -> Option<Reason> {
        self.attempt.and_then(|(_, failure)| failure)
    }
}

/// One pipeline: what the list says of it, and its three probes.
#[derive(Debug, Clone)]
pub struct Pipeline {
    id: PipelineId,
    listed: Reading<api::Pipeline>,
    /// The status endpoint.
    pub status: ProbeState<api::Status>,
    /// The metrics endpoint.
    pub metrics: ProbeState<api::Metrics>,
    /// The destination-health endpoint.
    pub destination_health: ProbeState<api::DestinationHealth>,
    last_progress: Option<SystemTime>,
}

/// A probe's answer, on its way into the picture.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Of the status endpoint.
    Status(Result<api::Status, Reason>),
    /// Of the metrics endpoint.
    Metrics(Result<api::Metrics, Reason>),
    /// Of the destination-health endpoint.
    DestinationHealth(Result<api::DestinationHealth, Reason>),
}

/// What is worth a line in the log when it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The worker's phase.
    pub phase: Option<Phase>,
    /// The user's wish.
    pub desired: Option<DesiredStatus>,
    /// The destination's health.
    pub healthy: Option<bool>,
    /// Why the probes fail, in the order status, metrics, destination health.
    pub failures: [Option<Reason>; 3],
}

impl Pipeline {
    pub(super) fn new(id: PipelineId, listed: api::Pipeline, at: Moment) -> Self {
        Self {
            id,
            listed: Reading { value: listed, at },
            status: ProbeState::default(),
            metrics: ProbeState::default(),
            destination_health: ProbeState::default(),
            last_progress: None,
        }
    }

    pub(super) fn relist(&mut self, listed: api::Pipeline, at: Moment) {
        self.listed.at = at;
        // Mostly nothing has changed; then what is there already stays, and with it its place in memory.
        if self.listed.value != listed {
            self.listed.value = listed;
        }
    }

    pub(super) fn observe(&mut self, answer: Answer, at: Moment) {
        match answer {
            Answer::Status(answer) => self.status.observe(answer, at),
            Answer::DestinationHealth(answer) => self.destination_health.observe(answer, at),
            Answer::Metrics(answer) => {
                if let Ok(new) = &answer {
                    self.note_progress(new, at);
                }
                self.metrics.observe(answer, at);
            }
        }
    }

    /// Any move counts: a count that falls is a worker that has started again. The first sight counts too,
    /// so that a pipeline which never moves can be told from one that was never seen.
    fn note_progress(&mut self, new: &api::Metrics, at: Moment) {
        let position =
            |metrics: &api::Metrics| [metrics.last_offset, metrics.last_block_height, metrics.records_consumed];
        let before = self.metrics.reading.as_ref().map(|reading| position(&reading.value)).unwrap_or_default();
        let moved = position(new).into_iter().zip(before).any(|(new, before)| match (new, before) {
            (Some(new), Some(before)) => new != before,
            (Some(_), None) => self.last_progress.is_none(),
            (None, _) => false,
        });
        if moved {
            self.last_progress = Some(at.wall);
        }
    }

    /// Its id.
    pub fn id(&self) -> &PipelineId {
        &self.id
    }

    /// What the list said last, however long ago: it holds the names.
    pub fn listed(&self) -> &api::Pipeline {
        &self.listed.value
    }

    /// What the list said, unless that is longer ago than `stale_after`.
    pub fn listed_fresh(&self, now: Moment, stale_after: Duration) -> Option<&api::Pipeline> {
        (now.since(self.listed.at) <= stale_after).then_some(&self.listed.value)
    }

    /// Until when each of its parts is shown.
    pub(super) fn fresh_until(&self, stale_after: Duration) -> impl Iterator<Item = Instant> {
        let probes = [
            self.status.fresh_until(stale_after),
            self.metrics.fresh_until(stale_after),
            self.destination_health.fresh_until(stale_after),
        ];
        let listed = self.listed.at.fresh_until(stale_after);
        probes.into_iter().flatten().flatten().chain([listed])
    }

    /// When the offset, the height or the record count was last seen to move, or was first seen at all.
    pub fn last_progress(&self) -> Option<SystemTime> {
        self.last_progress
    }

    /// Why the destination was unhealthy when it was last asked for: free text, to be redacted.
    pub fn last_destination_error(&self) -> Option<&str> {
        self.destination_health.reading.as_ref().and_then(|reading| reading.value.last_error.as_deref())
    }

    /// Whether the newest answer of any of its probes is a 403.
    pub fn is_forbidden(&self) -> bool {
        self.failures().contains(&Some(Reason::Forbidden))
    }

    /// Why the newest attempt of a probe failed, if it did.
    pub fn failure(&self, endpoint: Endpoint) -> Option<Reason> {
        match endpoint {
            Endpoint::List => None,
            Endpoint::Status => self.status.failure(),
            Endpoint::Metrics => self.metrics.failure(),
            Endpoint::DestinationHealth => self.destination_health.failure(),
        }
    }

    fn failures(&self) -> [Option<Reason>; 3] {
        [Endpoint::Status, Endpoint::Metrics, Endpoint::DestinationHealth].map(|endpoint| self.failure(endpoint))
    }

    /// What a log line would be about.
    pub fn summary(&self) -> Summary {
        Summary {
            phase: self.status.reading.as_ref().and_then(|reading| reading.value.phase),
            desired: self.listed.value.desired_status(),
            healthy: self.destination_health.reading.as_ref().and_then(|reading| reading.value.healthy),
            failures: self.failures(),
        }
    }
}
