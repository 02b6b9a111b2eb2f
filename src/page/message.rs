//! What is wrong, in one or two sentences for people: the kind's own sentence, with the known numbers.

use crate::account::{Pipeline, ProbeState, View};
use crate::api::{DestinationHealth, PipelineMetrics, Probe, Reason};
use crate::moment::Moment;
use crate::trouble::{Kind, Trouble};

use super::value::{Number, Time};
use super::words::{count, duration, plain, rate, seconds, separated};

pub(super) fn of_account(trouble: &Trouble, view: &View, now: Moment) -> String {
    let about = trouble.about.as_deref().unwrap_or_default();
    match trouble.kind {
        Kind::ListFailing | Kind::ForeignResponse | Kind::PaymentRequired => {
            let why = view.listing.failure().map(|error| error.of_list()).unwrap_or_default();
            format!("The list of pipelines fails: {why}.")
        }
        Kind::NoReadings => {
            let reason =
                commonest_failure(view).map(|reason| format!(" Most requests fail for this reason: {reason}."));
            format!("{}{}", trouble.kind.row().sentence, reason.unwrap_or_default())
        }
        Kind::ExpectedMissing => format!("The list does not show the expected pipeline {about}."),
        Kind::GroupOverLimit => format!("The group {about} is over the limit of its plan."),
        Kind::GroupTrialExpired => format!("The free trial of the group {about} has expired."),
        Kind::CreditsUsedUp | Kind::CreditsRunningOut => {
            let usage = view.usage.as_ref();
            let used = usage.and_then(|usage| usage.consumed());
            let all = usage.and_then(|usage| usage.ceiling());
            let [used, all] =
                [used, all].map(|value| value.map_or("an unknown number of".to_owned(), |value| count(Number(value))));
            let age = usage.and_then(|usage| usage.read_at()).map(|at| now.since(at)).unwrap_or_default();
            match usage.and_then(|usage| usage.runs_out_in()) {
                Some(lasts) if trouble.kind == Kind::CreditsRunningOut => {
                    let lasts = duration(lasts.saturating_sub(age));
                    format!("At the current pace, the credits run out in {lasts}: {used} of {all} are used.")
                }
                _ => format!("The credits of the account are used up: {used} of {all}."),
            }
        }
        Kind::RateLimited => {
            let wait = view.budget.paused_until.map(|until| duration(until.since(now))).unwrap_or_default();
            format!("Polling is paused for another {wait}, because a response demanded it.")
        }
        Kind::BudgetTooSmall => {
            let [required, allowed] = [view.budget.required, view.budget.allowed].map(|value| rate(Number(value)));
            format!("The intervals need {required}, and {allowed} are allowed: all intervals are stretched.")
        }
        kind => kind.row().sentence.to_owned(),
    }
}

pub(super) fn of_pipeline(trouble: &Trouble, pipeline: &Pipeline, view: &View, now: Moment) -> String {
    let number = |value: Option<f64>| value.map_or("An unknown number of".to_owned(), |value| count(Number(value)));
    let metric = |read: fn(&PipelineMetrics) -> Option<f64>| pipeline.metrics().and_then(read);
    match trouble.kind {
        Kind::DestinationUnhealthy => {
            let Some(reason) = pipeline.destination().and_then(DestinationHealth::error_reason) else {
                return "The destination was unhealthy in the newest reading, which is no longer fresh.".to_owned();
            };
            let reason = plain(reason.as_str());
            let said = pipeline.destination_error().map(|error| &*error.redacted).filter(|said| !said.is_empty());
            let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
            format!("The destination is unhealthy: {reason}{said}.")
        }
        Kind::NotRunning => {
            let phase = pipeline.known_phase().value().map_or("in no known phase", |phase| phase.as_str());
            format!("The pipeline should run, but it is {phase}.")
        }
        Kind::Stalled => match pipeline.backlog().latest().filter(|pending| *pending > 0.0) {
            Some(pending) => format!("No progress, although {} records are waiting.", count(Number(pending))),
            None => "No progress, although another pipeline has read on from the same topic.".to_owned(),
        },
        Kind::DelayHigh | Kind::DelayCritical => {
            let delay = pipeline.delay().latest().map(|delay| seconds(Number(delay)));
            format!("The pipeline lags {} behind its chain and does not catch up.", delay.unwrap_or_default())
        }
        Kind::BacklogGrowing => {
            let pending = number(pipeline.backlog().latest());
            format!("{pending} records are waiting to be written, and the backlog is growing.")
        }
        Kind::RecordsDropped => {
            let dropped = number(metric(|metrics| metrics.normalization_errors));
            format!("{dropped} records were dropped since the worker started: they cannot be normalized or decoded.")
        }
        Kind::EndedEarly => match pipeline.backfill() {
            Some(backfill) => {
                let [left, block, stop] = [backfill.blocks_left, backfill.block, backfill.stop_block].map(separated);
                format!("The backfill has ended at block {block}, {left} blocks before its stop block {stop}.")
            }
            None => trouble.kind.row().sentence.to_owned(),
        },
        Kind::ReplicasNotReady => {
            let [wanted, ready] = pipeline.replicas().unwrap_or_default().map(|count_of| count(Number(count_of)));
            format!("{ready} of {wanted} replicas are ready.")
        }
        Kind::Restarting => {
            format!("The worker restarted {} times in half an hour.", pipeline.restarts().count())
        }
        Kind::DestinationFlapping => {
            let changes = pipeline.health_changes().count();
            format!("The health of the destination changed {changes} times in half an hour.")
        }
        Kind::DestinationCheckOld => {
            let age = pipeline.checked().value().map(|at| duration(Time::of_wall(at, now).age)).unwrap_or_default();
            format!("GoldRush last checked the destination {age} ago: its health may be out of date.")
        }
        Kind::ReadingsStale => {
            let stale = |state: &ProbeState| !state.is_fresh(now, view.stale_after);
            match failing(pipeline, stale) {
                stale if stale.is_empty() => "The status names no phase of the worker.".to_owned(),
                stale => format!("There is no fresh reading of {stale}."),
            }
        }
        Kind::ProbeFailing => format!("Requests fail again and again: {}.", failing(pipeline, |_| true)),
        kind => kind.row().sentence.to_owned(),
    }
}

/// The most common reason why probes of the account fail, in words.
fn commonest_failure(view: &View) -> Option<String> {
    let probes = view.pipelines.values().flat_map(|pipeline| pipeline.probes());
    let mut counts = [0; Reason::COUNT];
    probes.filter_map(|(_, state)| state.failure()).for_each(|reason| counts[reason as usize] += 1);
    let commonest = Reason::ALL.iter().max_by_key(|reason| counts[**reason as usize])?;
    (counts[*commonest as usize] > 0).then(|| plain(commonest.as_str()))
}

/// The probes that fail while others of the account succeed, with their reasons.
fn failing(pipeline: &Pipeline, which: impl Fn(&ProbeState) -> bool) -> String {
    let failing = pipeline.probes().filter(|(_, state)| state.fails_alone_since().is_some() && which(state));
    let shown = |(probe, state): (Probe, &ProbeState)| {
        let reason = state.failure().map(Reason::as_str).unwrap_or_default();
        format!("{} ({})", plain(probe.as_str()), plain(reason))
    };
    failing.map(shown).collect::<Vec<_>>().join(", ")
}
