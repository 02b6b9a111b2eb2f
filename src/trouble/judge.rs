//! Judges an account and its pipelines: a pure function of what was read last.
//!
//! A reading counts however old it is: what cannot be read has not healed, be it a response or one field of it. No
//! trouble begins because a reading is missing, except those kinds that say so. One cause is one trouble: a refused key
//! or an outage is trouble of the account, and what follows from a failed worker is not judged.
//!
//! Prometheus judges shares over time (failing requests, the time that polling is paused), which need a longer memory.

use std::time::Duration;

use super::kinds::Kind;
use crate::account::{Beginning, Concern, KeyState, Pipeline, Since, View};
use crate::api::{Phase, Probe, Reason};
use crate::moment::{Moment, unix_seconds};
use crate::thresholds::{Threshold, Thresholds};

/// A delay that changes by this or less is catching up, in seconds per second. The delay of a healthy buffer is a
/// saw-tooth of up to a minute, and the slope compares two readings that are five minutes apart or more: it makes a
/// constant lag appear to fall by almost this much.
const CATCHING_UP: f64 = -0.2;

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
    view: &'a View,
    now: Moment,
}

impl<'a> Judge<'a> {
    pub fn new(view: &'a View, now: Moment) -> Self {
        Self { view, now }
    }

    /// What is wrong with the account itself, the worst first.
    pub fn account(&self) -> Vec<Trouble> {
        let mut found: Vec<Trouble> = self.key().into_iter().collect();
        found.extend(self.list());
        found.extend(self.no_readings());
        found.extend(self.credits());
        found.extend(self.view.listing.concerns().map(|(concern, began)| {
            let (kind, about) = match concern {
                Concern::Missing(id) => (Kind::ExpectedMissing, Some(id.to_string())),
                Concern::OverLimit(group) => (Kind::GroupOverLimit, Some(group.clone())),
                Concern::TrialExpired(group) => (Kind::GroupTrialExpired, Some(group.clone())),
                Concern::Truncated => (Kind::PipelinesOverLimit, None),
            };
            Trouble { kind, since: Some(began), about }
        }));
        if self.view.budget.paused_until.is_some() {
            found.push(Trouble::new(Kind::RateLimited, None));
        }
        if self.view.budget.required > self.view.budget.allowed {
            found.push(Trouble::new(Kind::BudgetTooSmall, None));
        }
        found.sort_by_key(|trouble| trouble.kind);
        found
    }

    fn key(&self) -> Option<Trouble> {
        match self.view.credential.state() {
            KeyState::Refused { since, .. } => Some(Trouble::new(Kind::KeyUnauthorized, Some(since))),
            KeyState::NotServiceKey { since } => Some(Trouble::new(Kind::KeyNotServiceKey, Some(since))),
            KeyState::Accepted { .. } | KeyState::Untried => None,
        }
    }

    fn list(&self) -> Option<Trouble> {
        let listing = &self.view.listing;
        let failure = listing.failure().filter(|_| self.key().is_none())?;
        let kind = match failure.reason() {
            Reason::ForeignResponse => Kind::ForeignResponse,
            Reason::PaymentRequired => Kind::PaymentRequired,
            _ => Kind::ListFailing,
        };
        Some(Trouble::new(kind, listing.succeeds().began()))
    }

    /// If the list says the same (402), it says more: the account is not being watched either.
    fn credits(&self) -> Option<Trouble> {
        let said_by_list = self.view.listing.failure().is_some_and(|error| error.reason() == Reason::PaymentRequired);
        let usage = self.view.usage.as_ref().filter(|_| !said_by_list)?;
        if let Some(since) = usage.used_up_since() {
            return Some(Trouble::new(Kind::CreditsUsedUp, Some(since)));
        }
        let is_soon = usage.runs_out_in()? <= self.view.credits_run_out;
        is_soon.then(|| Trouble::new(Kind::CreditsRunningOut, None))
    }

    /// The list succeeds, but no pipeline on duty has a fresh reading. The time counts from the newest reading, or from
    /// when the first of them went on duty if there is none, except while the key was refused or the list failed. When
    /// the list fails later, and when it succeeds again, the trouble stays.
    fn no_readings(&self) -> Option<Trouble> {
        let KeyState::Accepted { .. } = self.view.credential.state() else { return None };
        let watched = || self.view.pipelines.values().filter(|pipeline| pipeline.is_watched());
        let read = watched().filter_map(|pipeline| pipeline.read_at()).max_by_key(|at| at.monotonic());
        let wanted =
            || watched().filter_map(|pipeline| pipeline.on_duty_since()).min_by_key(|began| began.at.monotonic());
        let since = read.map(Beginning::from).or_else(wanted)?;
        let lasted = self.view.listing.unread_for(self.now).min(self.now.since(since.at));
        (lasted > self.view.stale_after).then(|| Trouble::new(Kind::NoReadings, Some(since)))
    }

    /// What is wrong with a pipeline, the worst first. Nothing is wrong with a paused pipeline, and a bounded pipeline
    /// that has ended can only have ended early.
    pub fn pipeline(&self, pipeline: &Pipeline) -> Vec<Trouble> {
        let thresholds = pipeline.thresholds();
        if pipeline.is_off_duty() {
            return ended_early(pipeline, &thresholds).into_iter().collect();
        }
        let mut found = Vec::new();
        if pipeline.known_phase().value() == Some(Phase::Failed) {
            // That a failed pipeline lags and has records to write follows from the failure.
            found.push(Trouble::new(Kind::Failed, pipeline.known_phase().began()));
            found.extend(not_running(pipeline, &thresholds).filter(|_| fails_in_turns(pipeline)));
        } else {
            found.extend(not_running(pipeline, &thresholds));
            found.extend(lasting(Kind::ReplicasNotReady, pipeline.lacks_replicas()).filter(|_| pipeline.is_working()));
            found.extend(progress(pipeline, &thresholds));
            found.extend(lag(pipeline, &thresholds));
            found.extend(backlog(pipeline, &thresholds));
            found.extend(lasting(Kind::RecordsDropped, pipeline.drops()));
        }
        found.extend(destination(pipeline, &thresholds));
        found.extend(lasting(Kind::Restarting, pipeline.restarts().often()));
        found.extend(lasting(Kind::DestinationFlapping, pipeline.health_changes().often()));
        found.extend(self.readings(pipeline));
        found.sort_by_key(|trouble| trouble.kind);
        found
    }

    fn readings(&self, pipeline: &Pipeline) -> Option<Trouble> {
        if pipeline.is_forbidden() && !self.blames_credential(pipeline) {
            return Some(Trouble::new(Kind::Forbidden, pipeline.forbidden_since()));
        }
        let probes = pipeline.probes().filter_map(|(_, probe)| {
            let fails_since = probe.fails_alone_since()?;
            Some(if probe.is_fresh(self.now, self.view.stale_after) {
                (Kind::ProbeFailing, fails_since)
            } else {
                (Kind::ReadingsStale, probe.read_at().map_or(fails_since, Beginning::from))
            })
        });
        let worst = probes.chain(without_phase(pipeline)).min_by_key(|(kind, began)| (*kind, began.at.monotonic()));
        worst.map(|(kind, since)| Trouble::new(kind, Some(since)))
    }

    /// A credential that is not a ServiceKey, or was not one until it was refused, gets a 403 for every pipeline. Only
    /// a list that has succeeded since then shows that the pipeline is to blame.
    fn blames_credential(&self, pipeline: &Pipeline) -> bool {
        let credential = &self.view.credential;
        let listed = self.view.listing.latest().map(|list| list.at.monotonic());
        let listed_since = pipeline.forbidden_since().is_some_and(|began| listed >= Some(began.at.monotonic()));
        (credential.is_refused() || credential.is_not_a_service_key()) && !listed_since
    }
}

/// Trouble of this kind while the state holds.
fn lasting(kind: Kind, state: &Since<bool>) -> Option<Trouble> {
    state.holds_since().map(|since| Trouble::new(kind, Some(since)))
}

/// The status is read, and has said nothing about the worker twice in a row.
fn without_phase(pipeline: &Pipeline) -> Option<(Kind, Beginning)> {
    let began = pipeline.phase().began().filter(|_| pipeline.phase().state().is_none())?;
    (pipeline.probe(Probe::Status).read_at()? != began.at).then_some((Kind::ReadingsStale, began))
}

/// Not `RUNNING` for longer than a deployment takes.
fn not_running(pipeline: &Pipeline, thresholds: &Thresholds) -> Option<Trouble> {
    let phase = pipeline.known_phase();
    if phase.value()? == Phase::Running {
        return None;
    }
    let stopped = pipeline.running().began()?;
    let since = pipeline.on_duty_since().map_or(stopped, |on_duty| stopped.later(on_duty));
    let lasted = phase.read_at()?.since(since.at);
    (lasted.as_secs_f64() >= thresholds[Threshold::Deployment]).then(|| Trouble::new(Kind::NotRunning, Some(since)))
}

/// A backfill whose worker has ended before its stop block. A worker may also be PAUSED there until it is resumed.
fn ended_early(pipeline: &Pipeline, thresholds: &Thresholds) -> Option<Trouble> {
    let is_short = pipeline.wanted().state() && pipeline.is_complete() == Some(false);
    let since = match pipeline.known_phase().value().filter(|_| is_short)? {
        Phase::Paused => not_running(pipeline, thresholds)?.since,
        _ => pipeline.known_phase().began(),
    };
    Some(Trouble::new(Kind::EndedEarly, since))
}

/// Whether it did not run before it failed: a worker that deploys and fails in turns never stays FAILED.
fn fails_in_turns(pipeline: &Pipeline) -> bool {
    pipeline.known_phase().began() != pipeline.running().began()
}

fn progress(pipeline: &Pipeline, thresholds: &Thresholds) -> Option<Trouble> {
    if !pipeline.is_working() {
        return None;
    }
    let exceeds =
        |lasted: Option<Duration>, limit| lasted.is_some_and(|lasted| lasted.as_secs_f64() > thresholds[limit]);
    let kind = if exceeds(pipeline.idle_at_work(), Threshold::Stalled) {
        Kind::Stalled
    } else if exceeds(pipeline.idle(), Threshold::NoProgress) {
        Kind::NoProgress
    } else {
        return None;
    };
    Some(Trouble::new(kind, pipeline.last_progress().map(Beginning::from)))
}

fn lag(pipeline: &Pipeline, thresholds: &Thresholds) -> Option<Trouble> {
    // The delay of a pipeline that does not run follows from that, unless it lagged while it ran.
    let level = Some(pipeline.delay()).filter(|_| pipeline.is_working() || restarts_behind(pipeline))?;
    let delay = level.latest()?;
    let is_catching_up = level.slope().is_some_and(|slope| slope <= CATCHING_UP);
    // A bounded pipeline reads history: its delay is large by nature.
    if delay <= thresholds[Threshold::Delay] || pipeline.is_bounded() || is_catching_up {
        return None;
    }
    let is_critical = delay > thresholds[Threshold::DelayCritical];
    let kind = if is_critical { Kind::DelayCritical } else { Kind::DelayHigh };
    Some(Trouble::new(kind, level.above_since()))
}

/// Whether it lagged while it ran, and deploys or stops now. A worker that restarts every few minutes and never catches
/// up is neither stopped nor stalled for long, and its delay must not count anew after each restart.
fn restarts_behind(pipeline: &Pipeline) -> bool {
    let deploys = pipeline.known_phase().value().is_some_and(Phase::is_transitional);
    let stopped = pipeline.running().began().filter(|began| deploys && !began.or_earlier);
    let lags = pipeline.delay().above_since().map(|began| began.at.monotonic());
    let on_duty = pipeline.on_duty_since().map(|began| began.at.monotonic());
    stopped.zip(lags).is_some_and(|(stopped, lags)| lags < stopped.at.monotonic() && Some(lags) >= on_duty)
}

fn backlog(pipeline: &Pipeline, thresholds: &Thresholds) -> Option<Trouble> {
    let level = pipeline.backlog();
    let pending = level.latest()?;
    let grows = level.slope().is_some_and(|slope| slope > 0.0);
    (pending > thresholds[Threshold::Backlog] && grows).then(|| Trouble::new(Kind::BacklogGrowing, level.above_since()))
}

fn destination(pipeline: &Pipeline, thresholds: &Thresholds) -> Option<Trouble> {
    let healthy = pipeline.healthy();
    if healthy.value() == Some(false) {
        let began = healthy.began()?;
        // One bad check may be a blip. Two in a row are not.
        let is_blip = healthy.read_at() == Some(began.at);
        return (!is_blip).then(|| Trouble::new(Kind::DestinationUnhealthy, Some(began)));
    }
    let checked = pipeline.checked();
    let age = unix_seconds(checked.read_at()?.wall()) - checked.value()?;
    let is_old = age > thresholds[Threshold::DestinationCheckAge];
    (is_old && pipeline.is_working()).then(|| Trouble::new(Kind::DestinationCheckOld, None))
}
