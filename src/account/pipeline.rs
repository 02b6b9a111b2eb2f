//! The state of one pipeline: facts, and when they began. Whether something is wrong is judged elsewhere.
//!
//! A field that is null, missing or unusable is not a reading of that field. The newest responses are kept unchanged,
//! next to the last known value of each fact that is judged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backfill::{Backfill, Height};
use super::suspicion;
use super::topics::Topics;
use super::{Beginning, Changes, Known, Level, ProbeState, Since, Trend};
use crate::api::{
    DesiredStatus, DestinationError, DestinationHealth, ListedPipeline, Phase, PipelineId, PipelineMetrics, Probe,
    ProbeResponse, Reason, Status,
};
use crate::config::Policy;
use crate::moment::Moment;
use crate::thresholds::{Threshold, Thresholds};

/// One pipeline: its entry in the list and the readings of its probes.
#[derive(Debug, Clone)]
pub struct Pipeline {
    id: PipelineId,
    listed: ListedPipeline,
    listed_at: Moment,
    /// Its owner and thresholds; `None` means no owner and the defaults.
    policy: Option<Arc<Policy>>,
    wanted: Since<bool>,
    /// It is bounded and has reached its end, wherever that is.
    ended: Since<bool>,
    probes: [ProbeState; Probe::COUNT],
    status: Option<Status>,
    phase: Since<Option<Phase>>,
    known_phase: Known<Phase>,
    running: Since<bool>,
    /// In Unix seconds.
    worker_start: Known<f64>,
    restarts: Changes,
    lacks_replicas: Since<bool>,
    /// Desired and ready.
    replicas: Known<[f64; 2]>,
    metrics: Option<PipelineMetrics>,
    /// Offset, block height and record count.
    position: [Known<f64>; 3],
    delay: Level,
    backlog: Level,
    /// Boxed, because only bounded pipelines have it, and most are not bounded.
    height: Option<Box<Height>>,
    last_progress: Option<Moment>,
    /// Whether records are buffered and not yet written.
    waits: Since<bool>,
    /// When it was first seen to stand still where its topic had been read further.
    left_behind_at: Option<Moment>,
    dropped: Trend,
    consumed: Trend,
    drops: Since<bool>,
    destination: Option<DestinationHealth>,
    healthy: Known<bool>,
    health_changes: Changes,
    checked: Known<f64>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The worker's phase changed; `was` is `None` before the first reading.
    Phase {
        was: Option<Phase>,
        is: Option<Phase>,
    },
    /// The user's intent changed.
    Desired(Option<DesiredStatus>),
    /// The destination became unhealthy; with the API's reason, redacted.
    DestinationUnhealthy(String),
    DestinationHealthy,
    /// A probe fails for another reason than before, or succeeds again.
    Probe {
        probe: Probe,
        /// The previous reason, if it failed before.
        was: Option<Reason>,
        /// The reason and its sentence; `None` if the probe succeeds.
        failure: Option<(Reason, String)>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existence {
    /// A probe succeeded, and none got a 404.
    Answers,
    /// A probe got a 404.
    NotFound,
    /// A probe got a 403, and none succeeded: it belongs to another group.
    Forbidden,
    /// All probes failed for other reasons, or none was sent.
    Unclear,
}

/// The effects of a response.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub(super) changes: Vec<Change>,
    /// The response hints at trouble: the pipeline's other probes get an extra turn.
    pub(super) hints: bool,
}

impl Pipeline {
    pub(super) fn new(id: PipelineId, listed: ListedPipeline, policy: Option<Arc<Policy>>, at: Moment) -> Self {
        let mut wanted = Since::default();
        wanted.set(listed.desired_status() != Some(DesiredStatus::Paused), at);
        let mut ended = Since::default();
        ended.set(false, at);
        Self {
            id,
            listed,
            listed_at: at,
            policy,
            wanted,
            ended,
            probes: Default::default(),
            status: None,
            phase: Since::default(),
            known_phase: Known::default(),
            running: Since::default(),
            worker_start: Known::default(),
            restarts: Changes::default(),
            lacks_replicas: Since::default(),
            replicas: Known::default(),
            metrics: None,
            position: Default::default(),
            delay: Level::default(),
            backlog: Level::default(),
            height: None,
            last_progress: None,
            waits: Since::default(),
            left_behind_at: None,
            dropped: Trend::default(),
            consumed: Trend::default(),
            drops: Since::default(),
            destination: None,
            healthy: Known::default(),
            health_changes: Changes::default(),
            checked: Known::default(),
        }
    }

    /// Another policy applies from now on.
    pub(super) fn set_policy(&mut self, policy: Option<Arc<Policy>>, at: Moment) {
        self.policy = policy;
        let limits = self.thresholds();
        self.delay.limit(limits[Threshold::Delay], at);
        self.backlog.limit(limits[Threshold::Backlog], at);
        self.compare_drops(limits[Threshold::DroppedShare], at);
        self.restarts.limit(limits[Threshold::Restarts], at);
        self.health_changes.limit(limits[Threshold::DestinationChanges], at);
        self.note_end(at);
    }

    /// The policy that matches it, if any.
    pub fn policy(&self) -> Option<&Arc<Policy>> {
        self.policy.as_ref()
    }

    /// The team that owns it.
    pub fn team(&self) -> Option<&str> {
        self.policy.as_ref()?.team.as_deref()
    }

    /// The limits beyond which a reading of it is trouble.
    pub fn thresholds(&self) -> Thresholds {
        self.policy.as_ref().map(|policy| policy.effective_thresholds()).unwrap_or_default()
    }

    /// Updates it with its entry in a new list.
    pub(super) fn relist(&mut self, listed: ListedPipeline, policy: Option<Arc<Policy>>, at: Moment) -> Option<Change> {
        if self.policy.as_ref().map(Arc::as_ptr) != policy.as_ref().map(Arc::as_ptr) {
            self.set_policy(policy, at);
        }
        let was = self.listed.desired_status();
        let is = listed.desired_status();
        if let Some(is) = is {
            self.wanted.set(is != DesiredStatus::Paused, at);
        }
        self.listed_at = at;
        if self.listed.topic != listed.topic {
            // Heights of two topics cannot be compared.
            let [_, height, _] = &mut self.position;
            *height = Known::default();
        }
        // Mostly nothing has changed. Then the existing texts stay, because other pipelines share them.
        if self.listed != listed {
            self.listed = listed;
        }
        self.note_end(at);
        (was != is).then_some(Change::Desired(is))
    }

    /// Processes the response to a probe. `account_read_at` is when any probe of the account last succeeded before.
    pub(super) fn observe(
        &mut self,
        response: ProbeResponse,
        at: Moment,
        account_read_at: Option<Moment>,
        topics: &Topics,
    ) -> Observed {
        let mut observed = Observed::default();
        let probe = response.probe();
        let error = response.error();
        let failure = error.map(|error| error.reason());
        let was = self.failure(probe);
        if was != failure {
            let failure = error.map(|error| (error.reason(), error.to_string()));
            observed.changes.push(Change::Probe { probe, was, failure });
        }
        match response {
            ProbeResponse::Status(Ok(new)) => self.observe_status(new, at, &mut observed),
            ProbeResponse::Metrics(Ok(new)) => self.observe_metrics(new, at, topics, &mut observed),
            ProbeResponse::DestinationHealth(Ok(new)) => self.observe_destination(new, at, &mut observed),
            ProbeResponse::Status(Err(_))
            | ProbeResponse::Metrics(Err(_))
            | ProbeResponse::DestinationHealth(Err(_)) => {}
        }
        self.probes[probe as usize].observe(failure, at, account_read_at);
        self.note_end(at);
        observed
    }

    fn observe_status(&mut self, new: Status, at: Moment, observed: &mut Observed) {
        let was = self.phase.set(new.phase, at);
        self.known_phase.observe(new.phase, at);
        if let Some(phase) = new.phase {
            self.running.set(phase == Phase::Running, at);
        }
        let start = new.start_time();
        let started_before = self.worker_start.observe(start, at);
        self.restarts.observe(started_before, start, self.thresholds()[Threshold::Restarts], at);
        let replicas = new.replicas.zip(new.ready);
        if let Some((wanted, ready)) = replicas {
            self.lacks_replicas.set(ready < wanted, at);
        }
        self.replicas.observe(replicas.map(<[f64; 2]>::from), at);
        if was != new.phase {
            observed.hints = was.is_some();
            observed.changes.push(Change::Phase { was, is: new.phase });
        }
        self.status = Some(new);
    }

    fn observe_metrics(&mut self, new: PipelineMetrics, at: Moment, topics: &Topics, observed: &mut Observed) {
        let limits = self.thresholds();
        let moved_before = self.moved_at_last_reading();
        self.note_progress(&new, at);
        self.note_work(&new, at, topics);
        if self.is_bounded() {
            self.height.get_or_insert_default().observe(new.last_block_height, &self.listed, at);
        }
        self.dropped.observe_count(new.normalization_errors, at);
        self.consumed.observe_count(new.records_consumed, at);
        self.compare_drops(limits[Threshold::DroppedShare], at);
        self.delay.observe(new.processing_delay_seconds, limits[Threshold::Delay], at);
        self.backlog.observe(new.pending_records, limits[Threshold::Backlog], at);
        let stopped = moved_before && self.last_progress != Some(at);
        observed.hints = self.metrics.as_ref().is_some_and(|old| suspicion::leapt(old, &new, stopped));
        self.metrics = Some(new);
    }

    fn observe_destination(&mut self, new: DestinationHealth, at: Moment, observed: &mut Observed) {
        let was = self.healthy.observe(new.healthy, at);
        self.health_changes.observe(was, new.healthy, self.thresholds()[Threshold::DestinationChanges], at);
        match (was, new.healthy) {
            (Some(true) | None, Some(false)) => {
                observed.hints = was.is_some();
                let detail = new.last_error.as_ref().map(|error| error.redacted.to_string()).unwrap_or_default();
                observed.changes.push(Change::DestinationUnhealthy(detail));
            }
            (Some(false), Some(true)) => observed.changes.push(Change::DestinationHealthy),
            _ => {}
        }
        self.checked.observe(new.last_checked_at(), at);
        self.destination = Some(new);
    }

    /// A bounded pipeline has ended if its worker says so. The documentation does not promise STOPPED for that, so
    /// PAUSED counts as well. It has also ended if it stands still at its end with nothing left to write.
    fn note_end(&mut self, at: Moment) {
        let ended = self.is_bounded()
            && match self.known_phase.value() {
                Some(Phase::Stopped | Phase::Paused) => true,
                Some(Phase::Running) => {
                    self.is_complete() == Some(true) && !self.moved_at_last_reading() && !self.waits.state()
                }
                _ => false,
            };
        self.ended.set(ended, at);
    }

    fn compare_drops(&mut self, share: f64, at: Moment) {
        let dropped = self.dropped.slope().filter(|slope| *slope > 0.0);
        let enough =
            dropped.is_some_and(|dropped| self.consumed.slope().is_none_or(|consumed| dropped > share * consumed));
        self.drops.set(enough, at);
    }

    /// Any change counts: a falling count means that a worker has restarted. The first reading counts, too, so that a
    /// pipeline that never moves can be told from one that was never read.
    fn note_progress(&mut self, new: &PipelineMetrics, at: Moment) {
        let mut moved = false;
        let position = [new.last_offset, new.last_block_height, new.records_consumed];
        for (new, known) in position.into_iter().zip(&mut self.position) {
            moved |= match (known.observe(new, at), new) {
                (Some(before), Some(new)) => new != before,
                (None, Some(_)) => self.last_progress.is_none(),
                (_, None) => false,
            };
        }
        if moved {
            self.last_progress = Some(at);
        }
    }

    fn note_work(&mut self, new: &PipelineMetrics, at: Moment, topics: &Topics) {
        if let Some(pending) = new.pending_records {
            self.waits.set(pending > 0.0, at);
        }
        let Some(idle_since) = self.idle_since().filter(|_| self.left_behind_since().is_none()) else { return };
        if topics.is_read_beyond(self.listed.topic.as_deref(), self.block_height().value(), idle_since) {
            self.left_behind_at = Some(at);
        }
    }

    /// Holds until it moves, whatever becomes of those that have read on.
    fn left_behind_since(&self) -> Option<Moment> {
        let idle_since = self.idle_since()?;
        self.left_behind_at.filter(|at| at.monotonic() > idle_since.monotonic())
    }

    fn moved_at_last_reading(&self) -> bool {
        self.position_read_at().is_some_and(|read_at| self.last_progress == Some(read_at))
    }

    fn position_read_at(&self) -> Option<Moment> {
        self.position.iter().filter_map(Known::read_at).max_by_key(|at| at.monotonic())
    }

    pub fn id(&self) -> &PipelineId {
        &self.id
    }

    /// Its entry in the newest list that showed it, however old: it contains the names.
    pub fn listed(&self) -> &ListedPipeline {
        &self.listed
    }

    /// Its entry in the list, unless that is older than `stale_after`.
    pub fn listed_fresh(&self, now: Moment, stale_after: Duration) -> Option<&ListedPipeline> {
        self.listed_at.is_fresh(now, stale_after).then_some(&self.listed)
    }

    pub fn probe(&self, probe: Probe) -> &ProbeState {
        &self.probes[probe as usize]
    }

    pub fn probes(&self) -> impl Iterator<Item = (Probe, &ProbeState)> {
        Probe::ALL.iter().copied().zip(&self.probes)
    }

    /// The newest status, however old.
    pub fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    /// The newest metrics, however old.
    pub fn metrics(&self) -> Option<&PipelineMetrics> {
        self.metrics.as_ref()
    }

    /// The newest destination health, however old.
    pub fn destination(&self) -> Option<&DestinationHealth> {
        self.destination.as_ref()
    }

    /// When each part of its state was read, and when it went on duty.
    pub(super) fn moments(&self) -> impl Iterator<Item = Moment> {
        let on_duty = self.on_duty_since().map(|began| began.at);
        self.probes.iter().flat_map(ProbeState::moments).chain([self.listed_at]).chain(on_duty)
    }

    /// When any of its probes last succeeded.
    pub fn read_at(&self) -> Option<Moment> {
        self.probes.iter().filter_map(ProbeState::read_at).max_by_key(|at| at.monotonic())
    }

    /// The oldest of its probes' newest attempts; `None` if one has never been tried.
    pub(super) fn tried_at(&self) -> Option<Instant> {
        self.probes.iter().map(|probe| probe.tried_at().map(|at| at.monotonic())).min().flatten()
    }

    /// When the offset, the height or the record count was last seen to move, or was first read.
    pub fn last_progress(&self) -> Option<Moment> {
        self.last_progress
    }

    pub(super) fn block_height(&self) -> &Known<f64> {
        let [_, height, _] = &self.position;
        height
    }

    /// Since when nothing has moved, counting only the time on duty and `RUNNING`.
    pub fn idle_since(&self) -> Option<Moment> {
        let began =
            [self.on_duty_since(), self.running.began()].into_iter().flatten().filter(|began| !began.or_earlier);
        let since = began.map(|began| began.at).chain(self.last_progress).max_by_key(|at| at.monotonic());
        self.last_progress.and(since)
    }

    /// How long nothing had moved when its position was last read.
    pub fn idle(&self) -> Option<Duration> {
        Some(self.position_read_at()?.since(self.idle_since()?))
    }

    /// How long nothing had moved although there was work: records to write, or to read, as others of its topic did.
    pub fn idle_at_work(&self) -> Option<Duration> {
        let waits_since = self.waits.holds_since().map(|began| began.at);
        let work_since =
            [waits_since, self.left_behind_since()].into_iter().flatten().min_by_key(|at| at.monotonic())?;
        Some(self.idle()?.min(self.position_read_at()?.since(work_since)))
    }

    /// Whether records were dropped in the last minutes, at a share above the threshold.
    pub fn drops(&self) -> &Since<bool> {
        &self.drops
    }

    /// Whether the user wants it to run, as last known. If that was never known, it counts as yes.
    pub fn wanted(&self) -> &Since<bool> {
        &self.wanted
    }

    /// When the user started to want it to run, or when an ended backfill continued, whichever is later.
    pub fn on_duty_since(&self) -> Option<Beginning> {
        let began = [self.wanted.began(), self.ended.began().filter(|_| !self.ended.state())];
        began.into_iter().flatten().reduce(Beginning::later)
    }

    /// Its progress, if it is bounded and that is known.
    pub fn backfill(&self) -> Option<Backfill> {
        let mut backfill = self.height.as_ref()?.of(&self.listed)?;
        backfill.blocks_per_second = backfill.blocks_per_second.filter(|_| self.is_working());
        Some(backfill)
    }

    /// Whether all blocks of a backfill have been processed, as far as the threshold requires; `None` if that cannot be
    /// known.
    pub fn is_complete(&self) -> Option<bool> {
        let share = || self.thresholds()[Threshold::UnprocessedShare];
        self.backfill().map(|backfill| backfill.is_complete(share()))
    }

    /// The phase in the newest status; `None` if that has none.
    pub fn phase(&self) -> &Since<Option<Phase>> {
        &self.phase
    }

    /// The last known phase.
    pub fn known_phase(&self) -> &Known<Phase> {
        &self.known_phase
    }

    /// Whether the worker is `RUNNING`. Stays false while other phases alternate.
    pub fn running(&self) -> &Since<bool> {
        &self.running
    }

    /// When another worker was seen lately in place of the one before.
    pub fn restarts(&self) -> &Changes {
        &self.restarts
    }

    /// Whether fewer replicas are ready than desired.
    pub fn lacks_replicas(&self) -> &Since<bool> {
        &self.lacks_replicas
    }

    /// Desired and ready replicas.
    pub fn replicas(&self) -> Option<[f64; 2]> {
        self.replicas.value()
    }

    pub fn healthy(&self) -> &Known<bool> {
        &self.healthy
    }

    /// When its health changed lately.
    pub fn health_changes(&self) -> &Changes {
        &self.health_changes
    }

    /// The time of GoldRush's newest check of the destination, in Unix seconds.
    pub fn checked(&self) -> &Known<f64> {
        &self.checked
    }

    /// In seconds, against its threshold.
    pub fn delay(&self) -> &Level {
        &self.delay
    }

    /// Pending records, against their threshold.
    pub fn backlog(&self) -> &Level {
        &self.backlog
    }

    /// Why the destination was unhealthy when it was last read.
    pub fn destination_error(&self) -> Option<&DestinationError> {
        self.destination.as_ref().and_then(|health| health.last_error.as_ref())
    }

    pub fn is_bounded(&self) -> bool {
        self.listed.is_bounded()
    }

    /// Whether it has nothing to do, as last known: it is paused, or bounded and at its end.
    pub fn is_off_duty(&self) -> bool {
        !self.wanted.state() || self.ended.state()
    }

    /// Whether its readings are expected.
    pub fn is_watched(&self) -> bool {
        !self.is_off_duty() && !self.is_forbidden()
    }

    /// Whether it has nothing to do and its worker is not running, so that nothing changes until someone changes it.
    pub(super) fn rests(&self) -> bool {
        let works = self.phase.state().is_some_and(|phase| phase == Phase::Running || phase.is_transitional());
        self.is_off_duty() && !works
    }

    /// Whether it should run and is `RUNNING`, as last known.
    pub fn is_working(&self) -> bool {
        self.known_phase.value() == Some(Phase::Running) && !self.is_off_duty()
    }

    /// Whether the newest attempt of any of its probes got a 403.
    pub fn is_forbidden(&self) -> bool {
        self.probes.iter().any(|probe| probe.failure() == Some(Reason::Forbidden))
    }

    /// The first 403 in a row, as far as is known, of those probes that get a 403 now.
    pub fn forbidden_since(&self) -> Option<Beginning> {
        let forbidden = self.probes.iter().filter(|probe| probe.failure() == Some(Reason::Forbidden));
        forbidden.filter_map(ProbeState::fails_since).min_by_key(|began| began.at.monotonic())
    }

    /// Whether the API still knows it, according to the newest attempts of its probes.
    pub(super) fn existence(&self) -> Existence {
        if self.probes.iter().any(|probe| probe.failure() == Some(Reason::NotFound)) {
            return Existence::NotFound;
        }
        let answers = self.probes.iter().any(|probe| probe.tried_at().is_some() && probe.failure().is_none());
        if answers {
            Existence::Answers
        } else if self.is_forbidden() {
            Existence::Forbidden
        } else {
            Existence::Unclear
        }
    }

    /// Why the newest attempt of a probe failed, if it did.
    pub fn failure(&self, probe: Probe) -> Option<Reason> {
        self.probe(probe).failure()
    }

    pub(super) fn name(&self) -> Option<Arc<str>> {
        self.listed.name.clone()
    }
}
