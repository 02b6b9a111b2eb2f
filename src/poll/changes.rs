//! Says in the log what has changed, once, instead of what is so, at every poll.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::api::{Endpoint, Error, Phase, Reason};
use crate::fleet::{Pipeline, Summary};

/// In one [`WINDOW`], so many lines say that probes of an account fail for one reason, and as many that they succeed again.
/// An outage changes every probe of every pipeline, and polling waits for each line to be written.
const LINES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);

/// What has changed in one account.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// When the newest window began.
    began: Option<Instant>,
    /// How many probes have begun in it to fail for a reason, or to succeed.
    counts: HashMap<Option<Reason>, u32>,
}

impl Changes {
    /// Compares a pipeline with what it was before the newest answer, which was `error` if it was a failure.
    pub(super) fn log(
        &mut self,
        account: &str,
        before: &Summary,
        pipeline: &Pipeline,
        error: Option<&Error>,
        now: Instant,
    ) {
        let after = pipeline.summary();
        if *before == after {
            return;
        }
        let pipeline_id = pipeline.id().as_str();
        let name = pipeline.listed().name.as_deref().unwrap_or_default();
        if before.phase != after.phase {
            let phase = after.phase.map_or("none", Phase::as_str);
            let was = before.phase.map_or("none", Phase::as_str);
            match (before.phase, after.phase) {
                (_, Some(Phase::Failed)) => warn!(account, pipeline_id, pipeline = name, was, "pipeline has failed"),
                // The first sight is no change: at the start there would be a line for each pipeline.
                (None, _) => {}
                _ => info!(account, pipeline_id, pipeline = name, phase, was, "phase has changed"),
            }
        }
        if before.desired != after.desired {
            let status = after.desired.map_or("none", |status| status.as_str());
            info!(account, pipeline_id, pipeline = name, status, "desired status has changed");
        }
        match (before.healthy, after.healthy) {
            (Some(true) | None, Some(false)) => {
                let detail = pipeline.last_destination_error().map_or("", |error| &error.redacted);
                warn!(account, pipeline_id, pipeline = name, detail, "destination is unhealthy");
            }
            (Some(false), Some(true)) => info!(account, pipeline_id, pipeline = name, "destination is healthy again"),
            _ => {}
        }
        for ((probe, before), after) in Endpoint::PROBES.into_iter().zip(before.failures).zip(after.failures) {
            // Of a refused key the account's log tells once.
            let of_the_key = after.or(before) == Some(Reason::Unauthorized);
            if before == after || of_the_key {
                continue;
            }
            let (probe, reason) = (probe.as_str(), after.map(Reason::as_str));
            let detail = error.map(ToString::to_string);
            debug!(account, pipeline_id, pipeline = name, probe, reason, detail, "a probe's outcome has changed");
            match (reason, self.count(after, now).cmp(&(LINES + 1))) {
                (Some(reason), Ordering::Less) => {
                    warn!(account, pipeline_id, pipeline = name, probe, reason, detail, "probe fails");
                }
                (None, Ordering::Less) => info!(account, pipeline_id, pipeline = name, probe, "probe succeeds again"),
                (Some(reason), Ordering::Equal) => {
                    warn!(account, reason, "more probes fail: for a minute, only the debug log tells of each");
                }
                (None, Ordering::Equal) => {
                    info!(account, "more probes succeed again: for a minute, only the debug log tells of each");
                }
                (_, Ordering::Greater) => {}
            }
        }
    }

    /// How many probes have begun to fail for this reason, or to succeed, in this window.
    fn count(&mut self, outcome: Option<Reason>, now: Instant) -> u32 {
        if self.began.is_none_or(|began| now.saturating_duration_since(began) >= WINDOW) {
            (self.began, self.counts) = (Some(now), HashMap::new());
        }
        let count = self.counts.entry(outcome).or_default();
        *count = count.saturating_add(1);
        *count
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::api::PipelineId;
    use crate::fleet::{Answer, Fleet, Moment};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_outage_is_told_in_a_few_lines_and_another_failure_beside_it_is_told_as_well() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO);
        let _log = tracing::subscriber::set_default(subscriber.with_writer(move || writer.clone()).finish());
        let handle = Fleet::default().account("prod");
        let mut state = handle.lock();
        let start = Moment::now();
        let mut changes = Changes::default();
        // How often the log says each thing of a status probe's answer to so many pipelines.
        let mut told = |pipelines: std::ops::Range<usize>, failure: Option<Reason>, seconds| {
            lines.0.lock().unwrap().clear();
            let at = start.after(Duration::from_secs(seconds));
            for number in pipelines {
                let id = PipelineId::new(&format!("pipe_{number}")).unwrap();
                if state.pipeline(&id).is_none() {
                    state.observe_listed(&id, serde_json::from_str("{}").unwrap(), at);
                }
                let answer = failure.map_or_else(|| Ok(serde_json::from_str("{}").unwrap()), Err);
                let before = state.observe(&id, Answer::Status(answer), at).unwrap();
                let pipeline = state.pipeline(&id).unwrap();
                changes.log("prod", &before, pipeline, None, at.monotonic);
            }
            let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            ["probe fails", "probe succeeds again", "only the debug log tells"].map(|what| text.matches(what).count())
        };
        assert_eq!(told(0..1, Some(Reason::Timeout), 0), [1, 0, 0]);
        assert_eq!(told(0..1, None, 1), [0, 1, 0]);
        assert_eq!(told(0..100, Some(Reason::Timeout), 2), [9, 0, 1], "an outage");
        assert_eq!(told(100..101, Some(Reason::NotFound), 3), [1, 0, 0], "something else");
        assert_eq!(told(0..100, None, 59), [0, 9, 1]);
        assert_eq!(told(0..100, Some(Reason::Timeout), 60), [10, 0, 1], "the next minute");
        assert_eq!(told(0..100, Some(Reason::Timeout), 61), [0, 0, 0], "no news");
    }
}
