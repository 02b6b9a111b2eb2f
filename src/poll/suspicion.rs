//! Which answers hint at trouble, so that the pipeline's other probes are worth an extra turn (see
//! [`Schedule::hasten_others`](super::Schedule::hasten_others)).
//!
//! Only what is news hints: a phase that has changed, a destination that has become unhealthy, a delay or a backlog that
//! has leapt, progress that has stopped. What stays bad is asked for at its usual pace, and a quiet fleet costs nothing.

use crate::api::Metrics;
use crate::fleet::{Pipeline, Summary};

/// A delay has leapt when it has more than doubled and grown by more than this, in seconds.
const DELAY_LEAP: f64 = 5.0;
/// The same of pending records.
const BACKLOG_LEAP: f64 = 1_000.0;

/// What the next answer is held against.
#[derive(Debug)]
pub(super) struct Before {
    metrics: Option<Metrics>,
    /// Whether the newest reading of the metrics showed progress.
    moved: bool,
}

impl Before {
    /// What is known of the pipeline now.
    pub(super) fn of(pipeline: &Pipeline) -> Self {
        let reading = pipeline.metrics.reading();
        Self { metrics: reading.map(|reading| reading.value.clone()), moved: moved(pipeline) }
    }

    /// Whether what has been learned since hints at trouble; `summary` is the one before.
    pub(super) fn hints(&self, summary: &Summary, pipeline: &Pipeline) -> bool {
        let now = pipeline.summary();
        if (summary.phase.is_some() && now.phase != summary.phase)
            || (summary.healthy == Some(true) && now.healthy == Some(false))
        {
            return true;
        }
        let (Some(before), Some(new)) = (&self.metrics, pipeline.metrics.reading()) else { return false };
        let new = &new.value;
        let waiting = new.pending_records.is_some_and(|pending| pending > 0.0);
        leapt(before.processing_delay_seconds, new.processing_delay_seconds, DELAY_LEAP)
            || leapt(before.pending_records, new.pending_records, BACKLOG_LEAP)
            || (waiting && self.moved && !moved(pipeline))
    }
}

fn moved(pipeline: &Pipeline) -> bool {
    let at = pipeline.metrics.reading().map(|reading| reading.at);
    at.is_some() && pipeline.last_progress() == at
}

fn leapt(before: Option<f64>, after: Option<f64>, leap: f64) -> bool {
    before.zip(after).is_some_and(|(before, after)| after > 2.0 * before && after - before > leap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{DestinationHealth, PipelineId, Status};
    use crate::fleet::{Answer, Fleet, Moment};

    /// Whether each of these answers hints at trouble.
    fn hints(answers: impl IntoIterator<Item = Answer>) -> Vec<bool> {
        let fleet = Fleet::default();
        let handle = fleet.account("default");
        let id = PipelineId::new("pipe_1").unwrap();
        let mut state = handle.lock();
        let at = Moment::now();
        state.observe_listed(&id, serde_json::from_str(r#"{"id": "pipe_1"}"#).unwrap(), at);
        let answers = answers.into_iter().zip(1..);
        let judged = answers.map(|(answer, seconds)| {
            let before = Before::of(state.pipeline(&id).unwrap());
            let at = at.after(std::time::Duration::from_secs(seconds));
            let summary = state.observe(&id, answer, at).unwrap();
            before.hints(&summary, state.pipeline(&id).unwrap())
        });
        judged.collect()
    }

    fn metrics(offset: f64, pending: f64, delay: f64) -> Answer {
        Answer::Metrics(Ok(Metrics {
            last_offset: Some(offset),
            pending_records: Some(pending),
            processing_delay_seconds: Some(delay / 1000.0),
            ..Metrics::default()
        }))
    }

    #[test]
    fn metrics_hint_when_they_leap_or_progress_stops_and_only_once() {
        assert_eq!(hints([metrics(1.0, 90.0, 900.0), metrics(2.0, 900.0, 4_900.0)]), [false, false], "noise");
        assert_eq!(
            hints([metrics(1.0, 0.0, 900.0), metrics(2.0, 0.0, 5_901.0), metrics(3.0, 0.0, 9_000.0)]),
            [false, true, false]
        );
        assert_eq!(hints([metrics(1.0, 90.0, 0.0), metrics(2.0, 1_091.0, 0.0)]), [false, true]);
        assert_eq!(hints([metrics(1.0, 9_000.0, 0.0), metrics(2.0, 12_000.0, 0.0)]), [false, false], "no leap");
        let stopped = || metrics(2.0, 5.0, 0.0);
        assert_eq!(hints([metrics(1.0, 5.0, 0.0), stopped(), stopped(), stopped()]), [false, false, true, false]);
        let idle = || metrics(2.0, 0.0, 0.0);
        assert_eq!(hints([metrics(1.0, 0.0, 0.0), idle(), idle()]), [false, false, false], "nothing to do");
    }

    #[test]
    fn a_phase_that_changes_and_a_destination_that_goes_down_hint() {
        let status = |phase: &str| {
            Answer::Status(Ok(serde_json::from_str::<Status>(&format!(r#"{{"status": "{phase}"}}"#)).unwrap()))
        };
        let phases = ["RUNNING", "RUNNING", "FAILED", "FAILED"];
        assert_eq!(hints(phases.map(status)), [false, false, true, false]);
        let health = |healthy: bool| {
            let text = format!(r#"{{"healthy": {healthy}}}"#);
            Answer::DestinationHealth(Ok(serde_json::from_str::<DestinationHealth>(&text).unwrap()))
        };
        assert_eq!(hints([true, false, false, true].map(health)), [false, true, false, false]);
    }
}
