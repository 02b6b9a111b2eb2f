//! What is known of one account: its key's standing, its list, its requests, its pipelines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::pipeline::{Answer, Pipeline, Summary};
use super::{Beginning, Histogram, Moment, Since};
use crate::api::{self, Endpoint, Group, PipelineId, Reason, UnknownField};

/// An outage at the start shall not keep the exporter out of service for longer than this: its own
/// metrics tell of the outage.
const READY_AT_LAST: Duration = Duration::from_secs(60);

/// One account. Cloning is cheap enough for each scrape: pipelines are shared until one changes.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// Readings older than this are not shown.
    pub stale_after: Duration,
    /// When polling began.
    pub started: Option<Moment>,
    /// Whether the newest list succeeded.
    pub up: bool,
    /// Whether the key in use is answered 401.
    pub unauthorized: bool,
    /// Whether the list is answered 403.
    pub forbidden: bool,
    /// Answers of 401.
    pub unauthorized_answers: u64,
    /// Answers of 403.
    pub forbidden_answers: u64,
    /// When the key in use was read.
    pub key_loaded: Option<SystemTime>,
    /// The newest list that succeeded.
    pub list: Option<ListSummary>,
    /// Why the newest list failed, if it did.
    pub list_failure: Option<Reason>,
    /// How long requests took, by endpoint.
    pub durations: [Histogram; Endpoint::COUNT],
    /// How often requests failed, by endpoint and reason.
    pub failures: [[u64; Reason::COUNT]; Endpoint::COUNT],
    /// How often the API said something unknown, by field.
    pub unknown_values: [u64; UnknownField::COUNT],
    /// What the budget allows and what the pipelines need.
    pub budget: Budget,
    key: Since<KeyStanding>,
    listed: Since<bool>,
    /// Of the newest list that succeeded, since when lists say so.
    concerns: BTreeMap<Concern, Beginning>,
    pipelines: BTreeMap<PipelineId, Arc<Pipeline>>,
}

/// What the API makes of the key in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyStanding {
    /// It has not said yet.
    #[default]
    Unknown,
    /// It takes it.
    Accepted,
    /// It answers 401: missing, malformed or revoked.
    Unauthorized,
    /// It answers 403 to the list: not a ServiceKey.
    NotServiceKey,
}

/// Something that a list says of an account and that calls for a person.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concern {
    /// The expected pipeline of this id is missing.
    Missing(String),
    /// The group of this label is over its limit.
    OverLimit(String),
    /// The free trial of the group of this label is over.
    TrialExpired(String),
    /// There are more pipelines than `max_pipelines`.
    NotAllPolled,
}

/// What a whole list has said beyond its pipelines.
#[derive(Debug, Clone)]
pub struct ListSummary {
    /// When it was complete.
    pub at: Moment,
    /// The groups' billing flags, by the group's label.
    pub groups: BTreeMap<String, GroupFlags>,
    /// The expected pipelines, and whether each is missing. One that may be in the part that was not read is not here.
    pub expected: Vec<(String, bool)>,
    /// There are more pipelines than `max_pipelines`: the others are not polled.
    pub truncated: bool,
}

impl ListSummary {
    /// Of a list without a pipeline.
    pub fn empty(at: Moment) -> Self {
        Self { at, groups: BTreeMap::new(), expected: Vec::new(), truncated: false }
    }

    fn concerns(&self) -> impl Iterator<Item = Concern> {
        let missing = self.expected.iter().filter(|(_, missing)| *missing).map(|(id, _)| Concern::Missing(id.clone()));
        let groups = self.groups.iter().flat_map(|(group, flags)| {
            let over = (flags.over_limit == Some(true)).then(|| Concern::OverLimit(group.clone()));
            // Of a group that has a paid plan by now, the trial is history.
            let expired = flags.free_trial_expired == Some(true) && flags.paid != Some(true);
            let expired = expired.then(|| Concern::TrialExpired(group.clone()));
            over.into_iter().chain(expired)
        });
        missing.chain(groups).chain(self.truncated.then_some(Concern::NotAllPolled))
    }
}

/// The billing flags of a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupFlags {
    /// On a paid plan.
    pub paid: Option<bool>,
    /// Over its plan's limit.
    pub over_limit: Option<bool>,
    /// Its trial is over.
    pub free_trial_expired: Option<bool>,
}

impl GroupFlags {
    /// Adds what another pipeline says of a group of that name; where they differ, trouble wins.
    pub fn merge(&mut self, group: &Group) {
        let either = |a: Option<bool>, b: Option<bool>, pick: fn(bool, bool) -> bool| match (a, b) {
            (Some(a), Some(b)) => Some(pick(a, b)),
            (a, b) => a.or(b),
        };
        self.paid = either(self.paid, group.is_paid, |a, b| a && b);
        self.over_limit = either(self.over_limit, group.is_over_limit, |a, b| a || b);
        self.free_trial_expired = either(self.free_trial_expired, group.is_free_trial_expired, |a, b| a || b);
    }
}

/// Whether the budget suffices.
#[derive(Debug, Clone, Copy, Default)]
pub struct Budget {
    /// Requests per second that the intervals ask for.
    pub required: f64,
    /// Requests per second that the configuration allows.
    pub allowed: f64,
    /// When the most overdue probe should have been sent; `None` while no probe waits.
    pub oldest_due: Option<Instant>,
    /// Until when a 429 keeps the account silent.
    pub paused_until: Option<Moment>,
}

impl Budget {
    /// Until when polling waits because of a 429, if it does.
    pub fn waits_until(&self, now: Moment) -> Option<Moment> {
        self.paused_until.filter(|until| until.monotonic > now.monotonic)
    }

    /// How late the most overdue probe is.
    pub fn lag(&self, now: Moment) -> Duration {
        self.oldest_due.map(|due| now.monotonic.saturating_duration_since(due)).unwrap_or_default()
    }
}

impl Account {
    /// Whether it has been listed once, or has been refused, or has waited for it long enough.
    pub fn is_ready(&self) -> bool {
        let waited = self.started.is_some_and(|started| Moment::now().since(started) >= READY_AT_LAST);
        self.list.is_some() || self.unauthorized || self.forbidden || waited
    }

    /// The newest list, unless it is older than a reading may be.
    pub fn list_fresh(&self, now: Moment) -> Option<&ListSummary> {
        self.list.as_ref().filter(|list| list.at.is_fresh(now, self.stale_after))
    }

    /// How long after `now` the account will look different without anybody writing to it: when the first of its
    /// readings gets too old, or a pause ends. [`Budget::lag`] is not meant: while a probe waits, it grows all the time.
    pub fn changes_in(&self, now: Moment) -> Option<Duration> {
        // A reading is shown up to and including `stale_after`.
        let shown_for = self.stale_after.saturating_add(Duration::from_nanos(1));
        let list = self.list.iter().map(|list| list.at);
        let readings = list.chain(self.pipelines().flat_map(|pipeline| pipeline.moments()));
        let left = readings.map(|at| shown_for.saturating_sub(now.since(at)));
        let paused = self.budget.paused_until.map(|until| until.monotonic.saturating_duration_since(now.monotonic));
        left.chain(paused).filter(|left| !left.is_zero()).min()
    }

    /// The API has taken the key in use. Answers whether it refused it before.
    pub fn accept_key(&mut self, at: Moment) -> bool {
        let was_refused = std::mem::take(&mut self.unauthorized);
        self.key.set(if self.forbidden { KeyStanding::NotServiceKey } else { KeyStanding::Accepted }, at);
        was_refused
    }

    /// The API has answered 401 to the key in use.
    pub fn refuse_key(&mut self, at: Moment) {
        self.unauthorized_answers += 1;
        self.unauthorized = true;
        self.key.set(KeyStanding::Unauthorized, at);
    }

    /// A whole list has succeeded. Answers whether the one before did.
    pub fn list_succeeded(&mut self, list: ListSummary) -> bool {
        let at = list.at;
        self.forbidden = false;
        self.list_failure = None;
        if !self.unauthorized {
            self.key.set(KeyStanding::Accepted, at);
        }
        self.listed.set(true, at);
        let first = self.list.is_none();
        let mut before = std::mem::take(&mut self.concerns);
        for concern in list.concerns() {
            let began = before.remove(&concern).unwrap_or(Beginning { at, or_earlier: first });
            self.concerns.insert(concern, began);
        }
        self.list = Some(list);
        std::mem::replace(&mut self.up, true)
    }

    /// A list has failed. Answers whether the one before was answered 403.
    pub fn list_failed(&mut self, reason: Reason, at: Moment) -> bool {
        self.up = false;
        self.list_failure = Some(reason);
        self.listed.set(false, at);
        let was_forbidden = self.forbidden;
        match reason {
            Reason::Forbidden => self.forbidden = true,
            Reason::Unauthorized => self.forbidden = false,
            // Says nothing about the credential.
            _ => {}
        }
        if self.forbidden && !self.unauthorized {
            self.key.set(KeyStanding::NotServiceKey, at);
        }
        was_forbidden
    }

    /// What the API makes of the key in use, and since when.
    pub fn key(&self) -> &Since<KeyStanding> {
        &self.key
    }

    /// Whether lists succeed, and since when; nothing is known of it before the first one is over.
    pub fn listed(&self) -> &Since<bool> {
        &self.listed
    }

    /// What the newest list that succeeded says and since when lists say so.
    pub fn concerns(&self) -> impl Iterator<Item = (&Concern, Beginning)> {
        self.concerns.iter().map(|(concern, began)| (concern, *began))
    }

    /// Counts one request and its failure, if it was one.
    pub fn count_request(&mut self, endpoint: Endpoint, duration: Duration, failure: Option<Reason>) {
        self.durations[endpoint as usize].observe(duration);
        if let Some(reason) = failure {
            self.failures[endpoint as usize][reason as usize] += 1;
        }
    }

    /// Counts what the API said that is not known.
    pub fn count_unknown(&mut self, fields: impl Iterator<Item = UnknownField>) {
        for field in fields {
            self.unknown_values[field as usize] += 1;
        }
    }

    /// Takes in a pipeline as a list shows it; what is known of it beyond that stays. Answers what was
    /// known before, for the log.
    pub fn observe_listed(&mut self, id: &PipelineId, listed: api::Pipeline, at: Moment) -> Option<Summary> {
        if let Some(pipeline) = self.pipelines.get_mut(id) {
            let before = pipeline.summary();
            Arc::make_mut(pipeline).relist(listed, at);
            return Some(before);
        }
        self.pipelines.insert(id.clone(), Arc::new(Pipeline::new(id.clone(), listed, at)));
        None
    }

    /// Takes in the answer of a probe. Answers what was known before, for the log; `None` if the pipeline
    /// is not known (any more).
    pub fn observe(&mut self, id: &PipelineId, answer: Answer, at: Moment) -> Option<Summary> {
        let pipeline = self.pipelines.get_mut(id)?;
        let before = pipeline.summary();
        Arc::make_mut(pipeline).observe(answer, at);
        Some(before)
    }

    /// Withdraws a pipeline that is gone.
    pub fn forget(&mut self, id: &PipelineId) {
        self.pipelines.remove(id);
    }

    /// One pipeline.
    pub fn pipeline(&self, id: &PipelineId) -> Option<&Arc<Pipeline>> {
        self.pipelines.get(id)
    }

    /// All pipelines, by id.
    pub fn pipelines(&self) -> impl ExactSizeIterator<Item = &Arc<Pipeline>> {
        self.pipelines.values()
    }
}
