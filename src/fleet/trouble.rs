//! What is wrong, judged from the picture: one notion for the page and the JSON form, which agrees with the alerts.
//!
//! Each kind names its alert in `alerts/goldrush.rules.yml`, and the limits are the alerts' own (a test compares them).
//! Two things differ on purpose. A trouble shows as soon as it is read, an alert fires once it has lasted. And what is
//! a rate over time (restarts, flapping, share of failing requests) is left to Prometheus, which remembers, as is a phase
//! that the answers lack: it counts once it has been missing for minutes.

use std::collections::HashSet;
use std::time::Duration;

use super::{Account, Beginning, Concern, KeyStanding, Moment, Pipeline, ProbeState, unix_seconds};
use crate::api::{DesiredStatus, Phase};
use crate::labels::closed_set;

/// A processing delay above this is trouble, in seconds.
pub const DELAY: f64 = 300.0;
/// One above this is an incident, in seconds.
pub const DELAY_CRITICAL: f64 = 1800.0;
/// A delay that changes by less than this is catching up, in seconds per second.
pub const CATCHING_UP: f64 = -0.05;
/// More pending records than this are trouble, if they become more.
pub const BACKLOG: f64 = 10_000.0;
/// No progress for longer than this is trouble, if there is something to do.
pub const STALLED: Duration = Duration::from_secs(600);
/// A pipeline that moved within this shows that its topic is not quiet.
pub const MOVING: Duration = Duration::from_secs(90);
/// No progress for longer than this is trouble in any case.
pub const NO_PROGRESS: Duration = Duration::from_secs(1800);
/// A check of the destination that was older than this when it was read is no check.
pub const CHECK_OLD: f64 = 900.0;
/// Dropping a smaller share of the records is no trouble: some contracts emit events that do not fit their own ABI.
pub const DROPPED_SHARE: f64 = 0.001;
/// A deployment takes minutes.
pub const DEPLOYMENT: Duration = Duration::from_secs(900);

closed_set! {
    /// What can be wrong; the worst first.
    pub enum Kind {
        /// The key is answered 401.
        KeyUnauthorized = "key_unauthorized",
        /// The list is answered 403.
        KeyNotServiceKey = "key_not_service_key",
        /// The list of pipelines fails.
        ListFailing = "list_failing",
        /// The list succeeds, and no probe of any pipeline does.
        NoReadings = "no_readings",
        /// An expected pipeline is not listed.
        ExpectedMissing = "expected_missing",
        /// A group is over its limit.
        GroupOverLimit = "group_over_limit",
        /// The worker has failed.
        Failed = "failed",
        /// The destination cannot be reached.
        DestinationUnhealthy = "destination_unhealthy",
        /// It should run and does not.
        NotRunning = "not_running",
        /// It runs, has something to do, and does not move.
        Stalled = "stalled",
        /// It lags far behind its chain.
        DelayCritical = "delay_critical",
        /// A group's free trial is over.
        GroupTrialExpired = "group_trial_expired",
        /// There are more pipelines than are polled.
        PipelinesOverLimit = "pipelines_over_limit",
        /// The API answered 429 and polling waits.
        RateLimited = "rate_limited",
        /// The intervals need more requests than are allowed.
        BudgetTooSmall = "budget_too_small",
        /// It lags behind its chain.
        DelayHigh = "delay_high",
        /// Ever more records wait to be written.
        BacklogGrowing = "backlog_growing",
        /// Records are dropped.
        RecordsDropped = "records_dropped",
        /// Not all replicas are ready.
        ReplicasNotReady = "replicas_not_ready",
        /// It runs and does not move; its chain may be quiet.
        NoProgress = "no_progress",
        /// The API answers 403 for it.
        Forbidden = "forbidden",
        /// The destination has not been checked for long.
        DestinationCheckOld = "destination_check_old",
        /// A reading is too old to be shown, or was never there.
        ReadingsStale = "readings_stale",
        /// A probe has failed at least twice in a row.
        ProbeFailing = "probe_failing",
    }
}

closed_set! {
    /// How bad it is, as the alerts' label `severity` says it.
    pub enum Severity {
        /// Wakes a person.
        Critical = "critical",
        /// Can wait for the morning.
        Warning = "warning",
    }
}

impl Kind {
    /// How bad it is.
    pub const fn severity(self) -> Severity {
        match self {
            Self::KeyUnauthorized
            | Self::KeyNotServiceKey
            | Self::ListFailing
            | Self::NoReadings
            | Self::ExpectedMissing
            | Self::GroupOverLimit
            | Self::Failed
            | Self::DestinationUnhealthy
            | Self::NotRunning
            | Self::Stalled
            | Self::DelayCritical => Severity::Critical,
            _ => Severity::Warning,
        }
    }

    /// Whether it befalls a pipeline; if not, an account.
    pub const fn is_of_pipeline(self) -> bool {
        !matches!(
            self,
            Self::KeyUnauthorized
                | Self::KeyNotServiceKey
                | Self::ListFailing
                | Self::NoReadings
                | Self::ExpectedMissing
                | Self::GroupOverLimit
                | Self::GroupTrialExpired
                | Self::PipelinesOverLimit
                | Self::RateLimited
                | Self::BudgetTooSmall
        )
    }

    /// The alert about it.
    pub const fn alert(self) -> &'static str {
        match self {
            Self::KeyUnauthorized => "GoldRushServiceKeyUnauthorized",
            Self::KeyNotServiceKey => "GoldRushCredentialNotServiceKey",
            Self::ListFailing => "GoldRushApiUnavailable",
            Self::NoReadings => "GoldRushNoReadings",
            Self::ExpectedMissing => "GoldRushExpectedPipelineMissing",
            Self::GroupOverLimit => "GoldRushGroupOverLimit",
            Self::Failed => "GoldRushPipelineFailed",
            Self::DestinationUnhealthy => "GoldRushDestinationUnhealthy",
            Self::NotRunning => "GoldRushPipelineNotRunning",
            Self::Stalled => "GoldRushPipelineStalled",
            Self::DelayCritical => "GoldRushProcessingDelayCritical",
            Self::GroupTrialExpired => "GoldRushGroupTrialExpired",
            Self::PipelinesOverLimit => "GoldRushPipelinesOverLimit",
            Self::RateLimited => "GoldRushRateLimited",
            Self::BudgetTooSmall => "GoldRushPollBudgetTooSmall",
            Self::DelayHigh => "GoldRushProcessingDelayHigh",
            Self::BacklogGrowing => "GoldRushBacklogGrowing",
            Self::RecordsDropped => "GoldRushRecordsDropped",
            Self::ReplicasNotReady => "GoldRushReplicasNotReady",
            Self::NoProgress => "GoldRushPipelineNoProgress",
            Self::Forbidden => "GoldRushPipelineForbidden",
            Self::DestinationCheckOld => "GoldRushDestinationCheckOld",
            Self::ReadingsStale => "GoldRushReadingsStale",
            Self::ProbeFailing => "GoldRushApiErrors",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What.
    pub kind: Kind,
    /// Since when, where that is known.
    pub since: Option<Beginning>,
    /// Of an account: the pipeline or group that it is about, if it is about one.
    pub about: Option<String>,
}

impl Trouble {
    fn new(kind: Kind, since: Option<Beginning>) -> Self {
        Self { kind, since, about: None }
    }
}

/// Judges one account and its pipelines at one moment.
pub struct Judge<'a> {
    account: &'a Account,
    now: Moment,
    /// No pipeline is asked while the key is refused: that is one trouble, not one per pipeline.
    refused: bool,
    /// On these topics a pipeline moves.
    moving: HashSet<&'a str>,
}

impl<'a> Judge<'a> {
    /// Looks at the whole account once: whether a topic is quiet is seen by its other pipelines.
    pub fn new(account: &'a Account, now: Moment) -> Self {
        let refused = account.unauthorized || account.forbidden;
        let mut judge = Self { account, now, refused, moving: HashSet::new() };
        judge.moving = account
            .pipelines()
            .filter(|pipeline| judge.works(pipeline) && idle(pipeline).is_some_and(|idle| idle < MOVING))
            // A bounded one moves through history, however quiet the topic is now.
            .filter(|pipeline| !is_bounded(pipeline))
            .filter_map(|pipeline| pipeline.listed().topic.as_deref().filter(|topic| !topic.is_empty()))
            .collect();
        judge
    }

    /// What is wrong with the account itself, the worst first.
    pub fn account(&self) -> Vec<Trouble> {
        let account = self.account;
        let key = account.key();
        let mut found: Vec<Trouble> = match key.state() {
            KeyStanding::Unauthorized => vec![Trouble::new(Kind::KeyUnauthorized, key.began())],
            KeyStanding::NotServiceKey => vec![Trouble::new(Kind::KeyNotServiceKey, key.began())],
            KeyStanding::Accepted | KeyStanding::Unknown => Vec::new(),
        };
        if account.list_failure.is_some() && !self.refused {
            found.push(Trouble::new(Kind::ListFailing, account.listed().began()));
        }
        found.extend(self.no_readings());
        let concerns = account.concerns().filter(|_| account.list_fresh(self.now).is_some());
        found.extend(concerns.filter_map(|(concern, began)| {
            let (kind, about) = match concern {
                // Nobody can tell while the key is refused.
                Concern::Missing(_) if self.refused => return None,
                Concern::Missing(id) => (Kind::ExpectedMissing, Some(id)),
                Concern::OverLimit(group) => (Kind::GroupOverLimit, Some(group)),
                Concern::TrialExpired(group) => (Kind::GroupTrialExpired, Some(group)),
                Concern::NotAllPolled => (Kind::PipelinesOverLimit, None),
            };
            Some(Trouble { kind, since: Some(began), about: about.cloned() })
        }));
        if account.budget.waits_until(self.now).is_some() {
            found.push(Trouble::new(Kind::RateLimited, None));
        }
        if account.budget.required > account.budget.allowed {
            found.push(Trouble::new(Kind::BudgetTooSmall, None));
        }
        found.sort_by_key(|trouble| trouble.kind);
        found
    }

    /// The list succeeds, but of all pipelines on duty there is no fresh reading. While there has been none at all, it counts
    /// from when the first of them went on duty.
    fn no_readings(&self) -> Option<Trouble> {
        if self.refused || self.account.list_failure.is_some() {
            return None;
        }
        let watched = || self.account.pipelines().filter(|pipeline| !is_off_duty(pipeline) && !pipeline.is_forbidden());
        let read = watched().filter_map(|pipeline| pipeline.last_read()).max_by_key(|at| at.monotonic);
        let wanted = || watched().filter_map(|pipeline| pipeline.desired().began()).map(|began| began.at);
        let since = read.or_else(|| wanted().min_by_key(|at| at.monotonic))?;
        (self.now.since(since) > self.account.stale_after).then(|| Trouble::new(Kind::NoReadings, Some(since.into())))
    }

    /// What is wrong with a pipeline, the worst first. Nothing ever is with one that is paused, or that is bounded and
    /// has ended.
    pub fn pipeline(&self, pipeline: &Pipeline) -> Vec<Trouble> {
        let mut found = Vec::new();
        if is_off_duty(pipeline) {
            return found;
        }
        let failed = self.fresh_phase(pipeline) == Some(Phase::Failed);
        if failed {
            found.push(Trouble::new(Kind::Failed, pipeline.phase().began()));
        } else {
            // What a failed pipeline lags behind or has not written is no news.
            found.extend(self.phase(pipeline));
            found.extend(self.replicas(pipeline));
            found.extend(self.progress(pipeline));
            found.extend(self.lag(pipeline));
            found.extend(self.backlog(pipeline));
            found.extend(self.drops(pipeline));
        }
        found.extend(self.destination(pipeline));
        found.extend(self.readings(pipeline));
        found.sort_by_key(|trouble| trouble.kind);
        found
    }

    fn fresh<'p, T>(&self, probe: &'p ProbeState<T>) -> Option<&'p T> {
        probe.fresh(self.now, self.account.stale_after)
    }

    fn fresh_phase(&self, pipeline: &Pipeline) -> Option<Phase> {
        self.fresh(&pipeline.status).and_then(|status| status.phase)
    }

    /// `RUNNING`, and meant to.
    fn works(&self, pipeline: &Pipeline) -> bool {
        self.fresh_phase(pipeline) == Some(Phase::Running) && !is_off_duty(pipeline)
    }

    fn phase(&self, pipeline: &Pipeline) -> Option<Trouble> {
        let phase = self.fresh_phase(pipeline)?;
        if phase == Phase::Running {
            return None;
        }
        // A wish that is unknown counts as wanted: what is paused has been left out before.
        let running = pipeline.running().began()?;
        let since = pipeline.desired().began().map_or(running, |wanted| running.later(wanted));
        let deploys = phase.is_transitional() && self.now.since(since.at) < DEPLOYMENT;
        (!deploys).then(|| Trouble::new(Kind::NotRunning, Some(since)))
    }

    fn replicas(&self, pipeline: &Pipeline) -> Option<Trouble> {
        let lacks = pipeline.lacks_replicas();
        (lacks.state() && self.works(pipeline)).then(|| Trouble::new(Kind::ReplicasNotReady, lacks.began()))
    }

    fn progress(&self, pipeline: &Pipeline) -> Option<Trouble> {
        let metrics = self.fresh(&pipeline.metrics).filter(|_| self.works(pipeline))?;
        let idle = idle(pipeline)?;
        let waits = metrics.pending_records.is_some_and(|pending| pending > 0.0);
        let topic_moves = pipeline.listed().topic.as_deref().is_some_and(|topic| self.moving.contains(topic));
        let kind = if idle > STALLED && (waits || topic_moves) {
            Kind::Stalled
        } else if idle > NO_PROGRESS {
            Kind::NoProgress
        } else {
            return None;
        };
        Some(Trouble::new(kind, pipeline.last_progress().map(Beginning::from)))
    }

    fn lag(&self, pipeline: &Pipeline) -> Option<Trouble> {
        // The delay of a pipeline that does not run follows from that.
        let delay = self.fresh(&pipeline.metrics).filter(|_| self.works(pipeline))?.processing_delay_seconds?;
        let level = pipeline.delay();
        // A bounded pipeline reads history: its delay is large by nature.
        if delay <= DELAY || is_bounded(pipeline) || level.slope().is_some_and(|slope| slope <= CATCHING_UP) {
            return None;
        }
        let kind = if delay > DELAY_CRITICAL { Kind::DelayCritical } else { Kind::DelayHigh };
        Some(Trouble::new(kind, level.above_since()))
    }

    fn backlog(&self, pipeline: &Pipeline) -> Option<Trouble> {
        let pending = self.fresh(&pipeline.metrics)?.pending_records?;
        let level = pipeline.backlog();
        let grows = level.slope().is_some_and(|slope| slope > 0.0);
        (pending > BACKLOG && grows).then(|| Trouble::new(Kind::BacklogGrowing, level.above_since()))
    }

    fn drops(&self, pipeline: &Pipeline) -> Option<Trouble> {
        self.fresh(&pipeline.metrics)?;
        let drops = pipeline.drops();
        drops.state().then(|| Trouble::new(Kind::RecordsDropped, drops.began()))
    }

    fn destination(&self, pipeline: &Pipeline) -> Option<Trouble> {
        let probe = &pipeline.destination_health;
        let health = self.fresh(probe)?;
        if health.healthy == Some(false) {
            return Some(Trouble::new(Kind::DestinationUnhealthy, pipeline.healthy().began()));
        }
        let age = unix_seconds(probe.last_success()?) - health.last_checked_at()?;
        (age > CHECK_OLD && self.works(pipeline)).then(|| Trouble::new(Kind::DestinationCheckOld, None))
    }

    fn readings(&self, pipeline: &Pipeline) -> Option<Trouble> {
        if self.refused {
            return None;
        }
        let probes = [
            self.reading(&pipeline.status),
            self.reading(&pipeline.metrics),
            self.reading(&pipeline.destination_health),
        ];
        if pipeline.is_forbidden() {
            return Some(Trouble::new(Kind::Forbidden, pipeline.forbidden_since()));
        }
        let worst = probes.into_iter().flatten().min_by_key(|(kind, began)| (*kind, began.at.monotonic));
        worst.map(|(kind, since)| Trouble::new(kind, Some(since)))
    }

    fn reading<T>(&self, probe: &ProbeState<T>) -> Option<(Kind, Beginning)> {
        let stale = probe.stale_since(self.now, self.account.stale_after).map(|since| (Kind::ReadingsStale, since));
        stale.or_else(|| probe.failing_since().map(|since| (Kind::ProbeFailing, since)))
    }
}

/// Paused, or bounded and at its end, as far as is known last: never trouble.
pub fn is_off_duty(pipeline: &Pipeline) -> bool {
    let paused = pipeline.desired().state() == Some(DesiredStatus::Paused);
    paused || (is_bounded(pipeline) && pipeline.phase().state() == Some(Phase::Stopped))
}

fn is_bounded(pipeline: &Pipeline) -> bool {
    pipeline.listed().execution_mode == crate::api::ExecutionMode::Bounded
}

/// How long nothing had moved when the metrics were last read.
fn idle(pipeline: &Pipeline) -> Option<Duration> {
    Some(pipeline.metrics.reading()?.at.since(pipeline.last_progress()?))
}

#[cfg(test)]
mod tests;
