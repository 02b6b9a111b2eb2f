//! Which metrics hint at trouble, so that the pipeline's other probes get an extra turn (see
//! [`Schedule::hasten_others`](super::Schedule::hasten_others)).
//!
//! Only changes hint: a delay or a backlog that jumped, progress that stopped. What stays bad is polled at its usual
//! pace, and a quiet fleet costs nothing.

use crate::api::PipelineMetrics;

/// A delay has jumped if it more than doubled and grew by more than this, in seconds.
const DELAY_LEAP: f64 = 5.0;
/// The same for pending records.
const BACKLOG_LEAP: f64 = 1_000.0;

/// Whether `new` hints at trouble; `stopped` says that progress ended with this reading.
pub(super) fn leapt(old: &PipelineMetrics, new: &PipelineMetrics, stopped: bool) -> bool {
    let waiting = new.pending_records.is_some_and(|pending| pending > 0.0);
    has_leapt(old.processing_delay_seconds, new.processing_delay_seconds, DELAY_LEAP)
        || has_leapt(old.pending_records, new.pending_records, BACKLOG_LEAP)
        || (waiting && stopped)
}

fn has_leapt(before: Option<f64>, after: Option<f64>, leap: f64) -> bool {
    before.zip(after).is_some_and(|(before, after)| after > 2.0 * before && after - before > leap)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Pipeline;
    use super::super::topics::Topics;
    use crate::api::{DestinationHealth, PipelineId, PipelineMetrics, ProbeResponse, Status};
    use crate::moment::Moment;

    fn hints(responses: impl IntoIterator<Item = ProbeResponse>) -> Vec<bool> {
        let at = Moment::now();
        let id = PipelineId::new("pipe_1").unwrap();
        let mut pipeline = Pipeline::new(id, serde_json::from_str(r#"{"id": "pipe_1"}"#).unwrap(), None, at);
        let responses = responses.into_iter().zip(1..);
        let judged = responses.map(|(response, seconds)| {
            let at = at.after(Duration::from_secs(seconds));
            pipeline.observe(response, at, None, &Topics::default()).hints
        });
        judged.collect()
    }

    fn metrics(offset: f64, pending: f64, delay: f64) -> ProbeResponse {
        ProbeResponse::Metrics(Ok(PipelineMetrics {
            last_offset: Some(offset),
            pending_records: Some(pending),
            processing_delay_seconds: Some(delay),
            ..PipelineMetrics::default()
        }))
    }

    #[test]
    fn metrics_hint_when_they_leap_or_progress_stops_and_only_once() {
        assert_eq!(hints([metrics(1.0, 90.0, 0.9), metrics(2.0, 900.0, 4.9)]), [false, false], "noise");
        assert_eq!(
            hints([metrics(1.0, 0.0, 0.9), metrics(2.0, 0.0, 5.901), metrics(3.0, 0.0, 9.0)]),
            [false, true, false]
        );
        assert_eq!(hints([metrics(1.0, 90.0, 0.0), metrics(2.0, 1_091.0, 0.0)]), [false, true]);
        assert_eq!(hints([metrics(1.0, 9_000.0, 0.0), metrics(2.0, 12_000.0, 0.0)]), [false, false], "no leap");
        let stopped = || metrics(2.0, 5.0, 0.0);
        assert_eq!(hints([metrics(1.0, 5.0, 0.0), stopped(), stopped(), stopped()]), [false, false, true, false]);
        let idle = || metrics(2.0, 0.0, 0.0);
        assert_eq!(hints([metrics(1.0, 0.0, 0.0), idle(), idle()]), [false, false, false], "nothing to do");
        assert_eq!(hints([metrics(1.0, 0.0, 10.0), metrics(2.0, 0.0, 20.0)]), [false, false], "just doubled");
        assert_eq!(hints([metrics(1.0, 0.0, 1.0), metrics(2.0, 0.0, 6.0)]), [false, false], "by just 5 s");
    }

    #[test]
    fn what_is_not_read_neither_leaps_nor_waits_nor_stops() {
        let only = |metrics: PipelineMetrics| ProbeResponse::Metrics(Ok(metrics));
        let offset = |offset| only(PipelineMetrics { last_offset: Some(offset), ..PipelineMetrics::default() });
        assert_eq!(hints([offset(1.0), offset(2.0), offset(2.0)]), [false, false, false]);
        let pending = || only(PipelineMetrics { pending_records: Some(5.0), ..PipelineMetrics::default() });
        assert_eq!(hints([pending(), pending()]), [false, false]);
    }

    #[test]
    fn a_phase_that_changes_and_a_destination_that_goes_down_hint() {
        let status = |phase: &str| {
            let text = format!(r#"{{"status": "{phase}"}}"#);
            ProbeResponse::Status(Ok(serde_json::from_str::<Status>(&text).unwrap()))
        };
        let phases = ["RUNNING", "RUNNING", "FAILED", "FAILED"];
        assert_eq!(hints(phases.map(status)), [false, false, true, false]);
        assert_eq!(hints(["", "RUNNING"].map(status)), [false, false], "it is read for the first time");
        let health = |healthy: bool| {
            let text = format!(r#"{{"healthy": {healthy}}}"#);
            ProbeResponse::DestinationHealth(Ok(serde_json::from_str::<DestinationHealth>(&text).unwrap()))
        };
        assert_eq!(hints([true, false, false, true].map(health)), [false, true, false, false]);
    }
}
