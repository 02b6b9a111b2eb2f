//! What is known of one pipeline.

use std::time::{Duration, SystemTime};

use super::trouble::{BACKLOG, DELAY, DROPPED_SHARE};
use super::{Beginning, Level, Moment, Since, Trend};
use crate::api::{self, DesiredStatus, DestinationError, Endpoint, Phase, PipelineId, Reason};

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
    fails: Since<bool>,
}

impl<T> Default for ProbeState<T> {
    fn default() -> Self {
        Self { reading: None, attempt: None, fails: Since::default() }
    }
}

impl<T> ProbeState<T> {
    fn observe(&mut self, answer: Result<T, Reason>, at: Moment) {
        self.attempt = Some((at, answer.as_ref().err().copied()));
        self.fails.set(answer.is_err(), at);
        if let Ok(value) = answer {
            self.reading = Some(Reading { value, at });
        }
    }

    /// The newest reading, unless it is older than `stale_after`.
    pub fn fresh(&self, now: Moment, stale_after: Duration) -> Option<&T> {
        self.reading.as_ref().filter(|reading| reading.at.is_fresh(now, stale_after)).map(|reading| &reading.value)
    }

    /// Whether the newest attempt succeeded, unless that is longer ago than `stale_after`.
    pub fn success(&self, now: Moment, stale_after: Duration) -> Option<bool> {
        self.attempt.filter(|(at, _)| at.is_fresh(now, stale_after)).map(|(_, failure)| failure.is_none())
    }

    /// When the reading and the outcome came.
    fn moments(&self) -> [Option<Moment>; 2] {
        [self.read_at(), self.attempt.map(|(at, _)| at)]
    }

    fn read_at(&self) -> Option<Moment> {
        self.reading.as_ref().map(|reading| reading.at)
    }

    /// When it succeeded last. A failure never moves it.
    pub fn last_success(&self) -> Option<SystemTime> {
        self.read_at().map(|at| at.wall)
    }

    /// The newest reading, however old.
    pub fn reading(&self) -> Option<&Reading<T>> {
        self.reading.as_ref()
    }

    /// Since when every attempt has failed, if the newest one and the one before did. One failure alone is
    /// no news: the next turn comes soon.
    pub fn failing_since(&self) -> Option<Beginning> {
        let (newest, _) = self.attempt?;
        self.fails.began().filter(|began| self.fails.state() && began.at != newest)
    }

    /// Since when there is no fresh reading: the newest is too old, or there has been none and every attempt fails.
    pub fn stale_since(&self, now: Moment, stale_after: Duration) -> Option<Beginning> {
        match &self.reading {
            Some(reading) => (!reading.at.is_fresh(now, stale_after)).then(|| reading.at.into()),
            None => self.failing_since(),
        }
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
    desired: Since<Option<DesiredStatus>>,
    phase: Since<Option<Phase>>,
    running: Since<bool>,
    lacks_replicas: Since<bool>,
    healthy: Since<Option<bool>>,
    delay: Level,
    backlog: Level,
    last_progress: Option<Moment>,
    dropped: Trend,
    consumed: Trend,
    drops: Since<bool>,
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
    /// Why the probes fail, in the order of [`Endpoint::PROBES`].
    pub failures: [Option<Reason>; Endpoint::PROBES.len()],
}

impl Pipeline {
    pub(super) fn new(id: PipelineId, listed: api::Pipeline, at: Moment) -> Self {
        let mut desired = Since::default();
        desired.set(listed.desired_status(), at);
        Self {
            id,
            listed: Reading { value: listed, at },
            status: ProbeState::default(),
            metrics: ProbeState::default(),
            destination_health: ProbeState::default(),
            desired,
            phase: Since::default(),
            running: Since::default(),
            lacks_replicas: Since::default(),
            healthy: Since::default(),
            delay: Level::default(),
            backlog: Level::default(),
            last_progress: None,
            dropped: Trend::default(),
            consumed: Trend::default(),
            drops: Since::default(),
        }
    }

    pub(super) fn relist(&mut self, listed: api::Pipeline, at: Moment) {
        self.desired.set(listed.desired_status(), at);
        self.listed.at = at;
        // Mostly nothing has changed; then what is there already stays, and with it its place in memory.
        if self.listed.value != listed {
            self.listed.value = listed;
        }
    }

    pub(super) fn observe(&mut self, answer: Answer, at: Moment) {
        match answer {
            Answer::Status(answer) => {
                if let Ok(new) = &answer {
                    self.phase.set(new.phase, at);
                    self.running.set(new.phase == Some(Phase::Running), at);
                    let lacks = new.replicas.zip(new.ready).is_some_and(|(wanted, ready)| ready < wanted);
                    self.lacks_replicas.set(lacks, at);
                }
                self.status.observe(answer, at);
            }
            Answer::DestinationHealth(answer) => {
                if let Ok(new) = &answer {
                    self.healthy.set(new.healthy, at);
                }
                self.destination_health.observe(answer, at);
            }
            Answer::Metrics(answer) => {
                if let Ok(new) = &answer {
                    self.note_progress(new, at);
                    self.note_drops(new, at);
                    self.delay.observe(new.processing_delay_seconds, DELAY, at);
                    self.backlog.observe(new.pending_records, BACKLOG, at);
                }
                self.metrics.observe(answer, at);
            }
        }
    }

    fn note_drops(&mut self, new: &api::Metrics, at: Moment) {
        self.dropped.observe_count(new.normalization_errors, at);
        self.consumed.observe_count(new.records_consumed, at);
        let dropped = self.dropped.slope().filter(|slope| *slope > 0.0);
        let enough = dropped
            .is_some_and(|dropped| self.consumed.slope().is_none_or(|consumed| dropped > DROPPED_SHARE * consumed));
        self.drops.set(enough, at);
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
            self.last_progress = Some(at);
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
        self.listed.at.is_fresh(now, stale_after).then_some(&self.listed.value)
    }

    /// When each of its parts came.
    pub(super) fn moments(&self) -> impl Iterator<Item = Moment> {
        let probes = [self.status.moments(), self.metrics.moments(), self.destination_health.moments()];
        probes.into_iter().flatten().flatten().chain([self.listed.at])
    }

    /// When the newest reading of any of its probes came.
    pub fn last_read(&self) -> Option<Moment> {
        let readings = [self.status.read_at(), self.metrics.read_at(), self.destination_health.read_at()];
        readings.into_iter().flatten().max_by_key(|at| at.monotonic)
    }

    /// When the offset, the height or the record count was last seen to move, or was first seen at all.
    pub fn last_progress(&self) -> Option<Moment> {
        self.last_progress
    }

    /// Whether records were dropped in the last minutes, a share above [`DROPPED_SHARE`], and since when.
    pub fn drops(&self) -> &Since<bool> {
        &self.drops
    }

    /// What the user wanted last, and since when.
    pub fn desired(&self) -> &Since<Option<DesiredStatus>> {
        &self.desired
    }

    /// What the worker did last, and since when.
    pub fn phase(&self) -> &Since<Option<Phase>> {
        &self.phase
    }

    /// Whether the worker was `RUNNING`, and since when: it lasts while other phases alternate.
    pub fn running(&self) -> &Since<bool> {
        &self.running
    }

    /// Whether fewer replicas were ready than there shall be, and since when.
    pub fn lacks_replicas(&self) -> &Since<bool> {
        &self.lacks_replicas
    }

    /// Whether the destination was healthy, and since when.
    pub fn healthy(&self) -> &Since<Option<bool>> {
        &self.healthy
    }

    /// The processing delay in seconds, against [`DELAY`].
    pub fn delay(&self) -> &Level {
        &self.delay
    }

    /// The pending records, against [`BACKLOG`].
    pub fn backlog(&self) -> &Level {
        &self.backlog
    }

    /// Why the destination was unhealthy when it was last asked for.
    pub fn last_destination_error(&self) -> Option<&DestinationError> {
        self.destination_health.reading.as_ref().and_then(|reading| reading.value.last_error.as_ref())
    }

    /// Whether the newest answer of any of its probes is a 403.
    pub fn is_forbidden(&self) -> bool {
        self.failures().contains(&Some(Reason::Forbidden))
    }

    /// Since when it is so, as far as is known: the first failure in a row of a probe that is answered 403 now.
    pub fn forbidden_since(&self) -> Option<Beginning> {
        let forbidden =
            |failure: Option<Reason>, began: Option<Beginning>| began.filter(|_| failure == Some(Reason::Forbidden));
        let probes = [
            forbidden(self.status.failure(), self.status.fails.began()),
            forbidden(self.metrics.failure(), self.metrics.fails.began()),
            forbidden(self.destination_health.failure(), self.destination_health.fails.began()),
        ];
        probes.into_iter().flatten().min_by_key(|began| began.at.monotonic)
    }

    /// Whether the newest attempt of any of its probes succeeded.
    pub fn answers(&self) -> bool {
        let asked = [self.status.attempt, self.metrics.attempt, self.destination_health.attempt];
        asked.into_iter().flatten().any(|(_, failure)| failure.is_none())
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

    fn failures(&self) -> [Option<Reason>; Endpoint::PROBES.len()] {
        Endpoint::PROBES.map(|endpoint| self.failure(endpoint))
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
