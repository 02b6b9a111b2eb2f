//! A snapshot of one account for readers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Credential, Histogram, ListSummary, Listing, Pipeline, Usage};
use crate::api::{ExecutionMode, Operation, PipelineId, Probe, Reason, UnknownField};
use crate::config::Policy;
use crate::moment::Moment;

/// An account at one moment. Cheap to make for each scrape: pipelines are shared until one changes.
#[derive(Debug, Clone)]
pub struct View {
    /// Readings older than this are not shown.
    pub stale_after: Duration,
    pub credential: Credential,
    pub listing: Listing,
    pub requests: Requests,
    pub budget: BudgetView,
    /// When any probe last succeeded.
    pub read_at: Option<Moment>,
    /// Credits that run out within this time are trouble.
    pub credits_run_out: Duration,
    /// `None` if usage is not polled.
    pub usage: Option<Usage>,
    /// Owners and thresholds, in the order of the configuration.
    pub policies: Vec<Arc<Policy>>,
    /// All pipelines that are polled, by id.
    pub pipelines: BTreeMap<PipelineId, Arc<Pipeline>>,
}

/// Counters of requests and responses.
#[derive(Debug, Clone)]
pub struct Requests {
    pub durations: [Histogram; Operation::COUNT],
    /// Requests that gave no reading.
    pub failures: [[u64; Reason::COUNT]; Operation::COUNT],
    /// Values that could not be used.
    pub unknown_values: [u64; UnknownField::COUNT],
}

impl Default for Requests {
    fn default() -> Self {
        Self { durations: Default::default(), failures: Default::default(), unknown_values: [0; UnknownField::COUNT] }
    }
}

impl Requests {
    pub(super) fn count(&mut self, operation: Operation, duration: Duration, failure: Option<Reason>) {
        self.durations[operation as usize].observe(duration);
        if let Some(reason) = failure {
            self.count_failure(operation, reason);
        }
    }

    pub(super) fn count_failure(&mut self, operation: Operation, reason: Reason) {
        self.failures[operation as usize][reason as usize] += 1;
    }

    pub(super) fn count_unknown(&mut self, fields: impl Iterator<Item = UnknownField>) {
        for field in fields {
            self.unknown_values[field as usize] += 1;
        }
    }

    /// How many requests about pipelines failed for this reason.
    pub fn failed(&self, reason: Reason) -> u64 {
        let about_pipelines = Operation::ALL.iter().filter(|operation| **operation != Operation::Usage);
        about_pipelines.map(|operation| self.failures[*operation as usize][reason as usize]).sum()
    }
}

/// Whether the budget suffices.
#[derive(Debug, Clone, Copy)]
pub struct BudgetView {
    /// Requests per second that the intervals need.
    pub required: f64,
    /// Requests per second that the configuration allows.
    pub allowed: f64,
    /// When the next probe would be sent without any delay; `None` if no probe is to be sent.
    pub next_due: Option<Instant>,
    /// When the pause that the API asked for ends.
    pub paused_until: Option<Moment>,
}

impl BudgetView {
    /// How late the most overdue probe is.
    pub fn lag(&self, now: Moment) -> Duration {
        self.next_due.map(|due| now.monotonic().saturating_duration_since(due)).unwrap_or_default()
    }
}

impl View {
    pub fn is_up(&self, now: Moment) -> bool {
        self.listing.is_up(now, self.stale_after)
    }

    /// The latest list, unless it is older than `stale_after`.
    pub fn list_fresh(&self, now: Moment) -> Option<&ListSummary> {
        self.listing.latest().filter(|list| list.at.is_fresh(now, self.stale_after))
    }

    /// How many pipelines each team has on duty, among those whose status has been read. Those without a team are under
    /// "".
    pub fn on_duty_by_team(&self) -> BTreeMap<&str, usize> {
        let mut teams = BTreeMap::new();
        for pipeline in self.pipelines.values().filter(|pipeline| !pipeline.is_off_duty()) {
            if pipeline.probe(Probe::Status).read_at().is_some() {
                *teams.entry(pipeline.team().unwrap_or_default()).or_default() += 1;
            }
        }
        teams
    }

    /// How many pipelines belong to no team; `None` if no policy names a team: then no owner is missing.
    pub fn unowned(&self) -> Option<usize> {
        let has_teams = self.policies.iter().any(|policy| policy.team.is_some());
        has_teams.then(|| self.pipelines.values().filter(|pipeline| pipeline.team().is_none()).count())
    }

    /// The index of the policy that applies to a pipeline.
    pub fn policy_of(&self, pipeline: &Pipeline) -> Option<usize> {
        let applied = pipeline.policy()?;
        self.policies.iter().position(|policy| Arc::ptr_eq(policy, applied))
    }

    /// The highest block that an unbounded pipeline has processed, by chain, among fresh readings.
    pub fn highest_blocks(&self, now: Moment) -> BTreeMap<&str, f64> {
        let mut highest = BTreeMap::new();
        let unbounded = |pipeline: &&Arc<Pipeline>| pipeline.listed().execution_mode == ExecutionMode::Unbounded;
        for pipeline in self.pipelines.values().filter(unbounded) {
            let is_fresh = pipeline.probe(Probe::Metrics).is_fresh(now, self.stale_after);
            let block = pipeline.metrics().filter(|_| is_fresh).and_then(|metrics| metrics.last_block_height);
            if let (Some(chain), Some(block)) = (pipeline.listed().chain(), block) {
                let known = highest.entry(chain).or_insert(block);
                *known = block.max(*known);
            }
        }
        highest
    }

    /// How long after `now` the account will look different without a response: when something becomes older than
    /// `stale_after`, or a pause ends. The lag does not count: while a probe waits, it grows all the time.
    pub fn changes_in(&self, now: Moment) -> Option<Duration> {
        // A reading is shown up to and including `stale_after`.
        let shown_for = self.stale_after.saturating_add(Duration::from_nanos(1));
        let list = self.listing.latest().map(|list| list.at);
        let moments = list.into_iter().chain(self.pipelines.values().flat_map(|pipeline| pipeline.moments()));
        let since_list_due = now.monotonic().saturating_duration_since(self.listing.due());
        // Missing readings become trouble of the account this long after the first of them could have arrived.
        let unread = self.listing.unread_for(now);
        let ages = moments.map(|at| now.since(at)).chain([since_list_due, unread]);
        let left = ages.map(|age| shown_for.saturating_sub(age));
        let usage = self.usage.iter().flat_map(|usage| usage.moments(self.stale_after));
        let usage = usage.map(|(at, age)| age.saturating_add(Duration::from_nanos(1)).saturating_sub(now.since(at)));
        let paused = self.budget.paused_until.map(|until| until.monotonic().saturating_duration_since(now.monotonic()));
        left.chain(usage).chain(paused).filter(|left| !left.is_zero()).min()
    }
}
