//! Says in the log what has changed, once, instead of what is so, at every poll.

use tracing::{info, warn};

use crate::api::{Endpoint, Error, Phase, Reason};
use crate::fleet::{Pipeline, Summary};

/// Compares a pipeline with what it was before the newest answer, which was `error` if it was a failure.
pub(super) fn log(account: &str, before: &Summary, pipeline: &Pipeline, error: Option<&Error>) {
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
        let probe = probe.as_str();
        match (before, after) {
            // The account's log says it once; a line per pipeline would bury it.
            (_, Some(Reason::Unauthorized)) | (Some(Reason::Unauthorized), None) => {}
            (before, Some(reason)) if before != Some(reason) => {
                let (reason, detail) = (reason.as_str(), error.map(ToString::to_string));
                warn!(account, pipeline_id, pipeline = name, probe, reason, detail, "probe fails");
            }
            (Some(_), None) => info!(account, pipeline_id, pipeline = name, probe, "probe succeeds again"),
            _ => {}
        }
    }
}
