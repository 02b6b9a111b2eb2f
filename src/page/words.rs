//! How times, numbers and troubles are put to people.

use std::time::Duration;

use super::report::{AccountReport, Number, PipelineReport};
use crate::fleet::trouble::{DELAY, DELAY_CRITICAL, Kind, Trouble};

/// A duration in its largest fitting unit: `5 s`, `3 min`, `2 h`, `9 d`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        172_800..63_072_000 => format!("{} d", seconds / 86_400),
        _ => format!("{} years", seconds / 31_536_000),
    }
}

/// Seconds as they are measured: short ones to a tenth, long ones as a duration.
pub(super) fn seconds(Number(seconds): Number) -> String {
    match seconds {
        ..0.05 => "0 s".to_owned(),
        0.05..10.0 => format!("{seconds:.1} s"),
        10.0..120.0 => format!("{seconds:.0} s"),
        _ => duration(Duration::try_from_secs_f64(seconds).unwrap_or_default()),
    }
}

/// A count with separators, and from a million on in millions or billions.
pub(super) fn count(Number(value): Number) -> String {
    match value.abs() {
        ..1e6 => separated(value),
        1e6..1e9 => format!("{:.2} M", value / 1e6),
        _ => format!("{:.2} G", value / 1e9),
    }
}

/// A count to the last digit, with separators; up to three digits after the point where there are any.
pub(super) fn separated(value: f64) -> String {
    let text = format!("{:.3}", value.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut shown = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{shown}{point}{fraction}")
}

/// A rate, to three digits or so.
pub(super) fn rate(Number(value): Number) -> String {
    if value.abs() < 100.0 {
        format!("{}/s", separated((value * 10.0).round() / 10.0))
    } else {
        format!("{}/s", count(Number(value.round())))
    }
}

/// An instant in UTC, as RFC 3339 writes it, to the second. Nothing for a time that no calendar knows.
pub(super) fn utc(unix: f64) -> Option<String> {
    jiff::Timestamp::from_second(unix.floor() as i64).ok().map(|time| time.to_string())
}

/// A time as [`utc`] writes it, a little easier to read.
pub(super) fn for_people(utc: &str) -> String {
    utc.replace('T', " ").replace('Z', " UTC")
}

/// A label value for people: `connection_refused` is `connection refused`.
pub(super) fn plain(label: &str) -> String {
    label.replace('_', " ")
}

/// What is wrong with an account, in one sentence or two.
pub(super) fn of_account(trouble: &Trouble, account: &AccountReport) -> String {
    let about = trouble.about.as_deref().unwrap_or_default();
    match trouble.kind {
        Kind::KeyUnauthorized => {
            "The ServiceKey is answered 401: it is revoked, or it is wrong. Nothing of this account is being watched. \
             Put a valid ServiceKey in its place."
                .to_owned()
        }
        Kind::KeyNotServiceKey => {
            "The list is answered 403: the credential is an API key, not a ServiceKey. Nothing of this account is \
             being watched. Put a ServiceKey in its place."
                .to_owned()
        }
        Kind::ListFailing => {
            let reason = account.list_failure.map(plain).unwrap_or_default();
            format!("The list of pipelines fails ({reason}).")
        }
        Kind::NoReadings => {
            "The list succeeds, but no probe of any pipeline does. Its pipelines are not being watched.".to_owned()
        }
        Kind::PipelinesOverLimit => {
            "There are more pipelines than max_pipelines: the others are not being watched.".to_owned()
        }
        Kind::ExpectedMissing => format!("The expected pipeline {about} is not listed."),
        Kind::GroupOverLimit => format!("The group {about} is over the limit of its plan."),
        Kind::GroupTrialExpired => format!("The free trial of the group {about} has expired."),
        Kind::RateLimited => {
            let wait = account.budget.paused_for.map(duration).unwrap_or_default();
            format!("The API answered 429: polling waits for another {wait}.")
        }
        Kind::BudgetTooSmall => {
            let budget = &account.budget;
            format!(
                "{} are needed, {} are allowed: all intervals are stretched.",
                rate(budget.required_requests_per_second),
                rate(budget.allowed_requests_per_second)
            )
        }
        other => plain(other.as_str()),
    }
}

/// What is wrong with a pipeline, in one sentence or two.
pub(super) fn of_pipeline(trouble: &Trouble, pipeline: &PipelineReport) -> String {
    let number = |value: Option<Number>| value.map_or_else(|| "an unknown number of".to_owned(), count);
    match trouble.kind {
        Kind::Failed => "The worker has FAILED. It does not heal by itself.".to_owned(),
        Kind::DestinationUnhealthy => {
            let destination = &pipeline.destination;
            let reason = destination.error_reason.map(plain).unwrap_or_default();
            let error = destination.error.filter(|error| !error.is_empty());
            format!("The destination is unhealthy: {reason}{}", error.map(|e| format!(" ({e})")).unwrap_or_default())
        }
        Kind::NotRunning => {
            format!("It should run, but it is {}.", pipeline.phase.unwrap_or("in no known phase"))
        }
        Kind::Stalled => match pipeline.pending_records {
            Some(Number(pending)) if pending > 0.0 => {
                format!("It has stalled: nothing moves, and {} records wait.", count(Number(pending)))
            }
            _ => "It has stalled: nothing moves, while another pipeline reads on from the same topic.".to_owned(),
        },
        Kind::DelayHigh | Kind::DelayCritical => {
            let limit = Number(if trouble.kind == Kind::DelayHigh { DELAY } else { DELAY_CRITICAL });
            let delay = pipeline.processing_delay_seconds.map(seconds).unwrap_or_default();
            format!("It lags {delay} behind its chain, which is more than {}, and does not catch up.", seconds(limit))
        }
        Kind::BacklogGrowing => {
            format!("{} records wait to be written, and they become more.", number(pipeline.pending_records))
        }
        Kind::RecordsDropped => {
            let dropped = number(pipeline.normalization_errors);
            format!("It drops records that it cannot decode: {dropped} since the worker started.")
        }
        Kind::ReplicasNotReady => {
            format!("{} of {} replicas are ready.", number(pipeline.replicas_ready), number(pipeline.replicas))
        }
        Kind::NoProgress => "Nothing moves. Its chain may be quiet.".to_owned(),
        Kind::Forbidden => "The API answers 403: it belongs to another group, and is not being watched.".to_owned(),
        Kind::DestinationCheckOld => {
            let checked = pipeline.destination.checked.map(|time| duration(time.age)).unwrap_or_default();
            format!("GoldRush last checked the destination {checked} ago: its health may be out of date.")
        }
        Kind::ReadingsStale => {
            let stale = pipeline.probes.named().into_iter().filter(|(_, probe)| probe.stale);
            let stale: Vec<String> = stale.map(|(name, probe)| with_failure(name, probe.failure)).collect();
            format!("No fresh reading of {}.", stale.join(", "))
        }
        Kind::ProbeFailing => {
            let failing = pipeline.probes.named().into_iter().filter(|(_, probe)| probe.failing);
            let failing: Vec<String> = failing.map(|(name, probe)| with_failure(name, probe.failure)).collect();
            format!("Requests fail again and again: {}.", failing.join(", "))
        }
        other => plain(other.as_str()),
    }
}

fn with_failure(probe: &str, failure: Option<&str>) -> String {
    let probe = plain(probe);
    failure.map_or_else(|| probe.clone(), |failure| format!("{probe} ({})", plain(failure)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_numbers_are_short() {
        for (seconds, shown) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7_199, "119 min"),
            (7_200, "2 h"),
            (172_799, "47 h"),
            (172_800, "2 d"),
            (94_608_000, "3 years"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), shown);
        }
        for (value, shown) in [(0.0, "0 s"), (0.849, "0.8 s"), (12.6, "13 s"), (301.0, "5 min"), (1e300, "0 s")] {
            assert_eq!(seconds(Number(value)), shown);
        }
        for (value, shown) in [
            (0.0, "0"),
            (12.5, "12.5"),
            (999.0, "999"),
            (1_000.0, "1,000"),
            (-123_456.0, "-123,456"),
            (999_999.0, "999,999"),
            (1_234_567.0, "1.23 M"),
            (38_500_000_000.0, "38.50 G"),
        ] {
            assert_eq!(count(Number(value)), shown);
        }
        for (value, shown) in [(0.0, "0/s"), (3.25, "3.3/s"), (240.4, "240/s"), (1_900.0, "1,900/s")] {
            assert_eq!(rate(Number(value)), shown);
        }
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(utc(1_700_000_000.9).as_deref(), Some("2023-11-14T22:13:20Z"));
        assert_eq!(utc(1e18), None);
    }
}
