//! Every sample of a pipeline was said by the API no longer than `stale_after` ago, and what was said is shown.

use std::time::Duration;

use goldrush_exporter::api::{Probe, Reason};

use super::super::daemon;
use super::super::picture::{Map, PipelinePicture};
use super::super::told::PipelineTold;
use super::{Invariant, Scene, Step};

const PHASES: [(&str, &str); 7] = [
    ("DEPLOYING", "goldrush_pipeline_phase{phase=\"DEPLOYING\"}"),
    ("RUNNING", "goldrush_pipeline_phase{phase=\"RUNNING\"}"),
    ("PAUSED", "goldrush_pipeline_phase{phase=\"PAUSED\"}"),
    ("FAILED", "goldrush_pipeline_phase{phase=\"FAILED\"}"),
    ("STOPPING", "goldrush_pipeline_phase{phase=\"STOPPING\"}"),
    ("STOPPED", "goldrush_pipeline_phase{phase=\"STOPPED\"}"),
    ("UNKNOWN", "goldrush_pipeline_phase{phase=\"UNKNOWN\"}"),
];

/// The series that is 1 in this phase.
pub fn phase_series(phase: &str) -> &'static str {
    PHASES.iter().find(|(name, _)| *name == phase).map_or("no such phase", |(_, series)| series)
}

/// What is shown of each probe, in the order of [`Probe::ALL`]: whether it succeeds, and when it last did.
const PROBES: [[&str; 2]; Probe::COUNT] = [
    [
        "goldrush_pipeline_probe_success{probe=\"status\"}",
        "goldrush_pipeline_probe_last_success_timestamp_seconds{probe=\"status\"}",
    ],
    [
        "goldrush_pipeline_probe_success{probe=\"metrics\"}",
        "goldrush_pipeline_probe_last_success_timestamp_seconds{probe=\"metrics\"}",
    ],
    [
        "goldrush_pipeline_probe_success{probe=\"destination_health\"}",
        "goldrush_pipeline_probe_last_success_timestamp_seconds{probe=\"destination_health\"}",
    ],
];

const OFF_DUTY: &str = "goldrush_pipeline_off_duty";
/// Families that are checked elsewhere, or that say how something came to be.
const OTHERS: [&str; 3] = ["goldrush_pipeline_trouble", "goldrush_pipeline_info", OFF_DUTY];

pub struct Readings;

impl Invariant for Readings {
    fn name(&self) -> &'static str {
        "readings"
    }

    fn check(&mut self, step: &Step, scene: &mut Scene) -> Result<(), String> {
        let Step::Scraped { picture, .. } = step else { return Ok(()) };
        let now = scene.now();
        for (index, told) in scene.told.iter().enumerate() {
            let stale_after = scene.daemon.accounts[index].settings.poll.stale_after;
            let empty = Map::default();
            let shown = picture.accounts.get(daemon::name(index)).map_or(&empty, |account| &account.pipelines);
            if let Some(id) = shown.keys().find(|id| !told.pipelines.contains_key(&***id)) {
                return Err(format!("{id} is shown, and no list that was delivered showed it"));
            }
            for (id, told) in &told.pipelines {
                let Some(shown) = shown.get(id.as_str()) else {
                    return Err(format!("{id} was listed, and is not shown"));
                };
                compare(told, shown, now, stale_after).map_err(|what| format!("{id}: {what}"))?;
            }
        }
        Ok(())
    }
}

fn compare(told: &PipelineTold, shown: &PipelinePicture, now: Duration, stale_after: Duration) -> Result<(), String> {
    if *shown.project != *told.item.project || *shown.name != *told.item.name {
        return Err(format!("it is shown as {:?}, and was listed as {:?}", shown.name, told.item.name));
    }
    let expected = expected(told, now, stale_after);
    for (series, value) in &expected {
        let found = shown.samples.get(*series);
        if found != Some(value) {
            return Err(format!("{series} is {found:?}, and was said to be {value}"));
        }
    }
    let off_duty = shown.samples.contains_key(OFF_DUTY);
    if off_duty != told.is_off_duty() {
        return Err(format!("is off duty: {off_duty}, and was said to be: {}", told.is_off_duty()));
    }
    if (shown.infos > 0) != told.listed.is_fresh(now, stale_after) {
        return Err(format!("goldrush_pipeline_info is shown: {}", shown.infos));
    }
    // Troubles are checked elsewhere.
    let others = shown.kinds.len() + shown.infos + usize::from(off_duty);
    if shown.samples.len() != expected.len() + others {
        let is_said = |series: &str| expected.iter().any(|(name, _)| *name == series);
        let is_known = |series: &str| OTHERS.iter().any(|other| series.starts_with(other));
        let unsaid: Vec<_> = shown.samples.iter().filter(|(series, _)| !is_said(series) && !is_known(series)).collect();
        return Err(format!("{unsaid:?} is shown, and nothing fresh says so"));
    }
    Ok(())
}

/// What has to be shown of a pipeline, and nothing else.
fn expected(pipeline: &PipelineTold, now: Duration, stale_after: Duration) -> Vec<(&'static str, f64)> {
    let mut samples = Vec::with_capacity(48);
    let mut put = |name: &'static str, value: Option<f64>| samples.extend(value.map(|value| (name, value)));
    if pipeline.listed.is_fresh(now, stale_after) {
        let item = &pipeline.item;
        put("goldrush_pipeline_desired_status{status=\"running\"}", Some(f64::from(!item.paused)));
        put("goldrush_pipeline_desired_status{status=\"paused\"}", Some(f64::from(item.paused)));
        put("goldrush_pipeline_created_timestamp_seconds", Some(item.created));
        put("goldrush_pipeline_updated_timestamp_seconds", Some(item.updated));
        put("goldrush_pipeline_start_block", item.blocks.map(|blocks| blocks.start));
        put("goldrush_pipeline_stop_block", item.blocks.map(|blocks| blocks.stop));
    }
    let is_fresh = |probe: Probe| pipeline.probes[probe as usize].read.is_some_and(|at| at.is_fresh(now, stale_after));
    if let Some(status) = pipeline.status.filter(|_| is_fresh(Probe::Status)) {
        if let Some(current) = status.phase {
            for (phase, series) in PHASES {
                put(series, Some(f64::from(phase == current)));
            }
        }
        put("goldrush_pipeline_replicas", status.replicas);
        put("goldrush_pipeline_replicas_ready", status.ready);
        put("goldrush_pipeline_start_time_seconds", status.start);
    }
    if let Some(metrics) = pipeline.metrics.filter(|_| is_fresh(Probe::Metrics)) {
        put("goldrush_pipeline_records_consumed", metrics.consumed);
        put("goldrush_pipeline_source_records_total", metrics.consumed);
        put("goldrush_pipeline_last_offset", metrics.offset);
        put("goldrush_pipeline_last_block_height", metrics.height);
        put("goldrush_pipeline_pending_records", metrics.pending);
        put("goldrush_pipeline_processing_delay_seconds", metrics.delay_ms.map(|delay| delay / 1_000.0));
        put("goldrush_pipeline_records_per_second", metrics.rate);
        put("goldrush_pipeline_normalization_errors", metrics.dropped);
        put("goldrush_pipeline_dropped_records_total", metrics.dropped);
        put("goldrush_pipeline_last_progress_timestamp_seconds", pipeline.progress.map(|at| at.wall));
    }
    if let Some(health) = pipeline.health.filter(|_| is_fresh(Probe::DestinationHealth)) {
        put("goldrush_pipeline_destination_healthy", health.healthy.map(f64::from));
        put("goldrush_pipeline_destination_latency_seconds", health.latency_ms.map(|latency| latency / 1_000.0));
        put("goldrush_pipeline_destination_last_check_timestamp_seconds", health.checked);
        put(
            "goldrush_pipeline_destination_error{reason=\"connection_refused\"}",
            (health.healthy == Some(false)).then_some(1.0),
        );
    }
    let forbidden = pipeline
        .probes
        .iter()
        .any(|probe| probe.attempt.is_some_and(|(_, failure)| failure == Some(Reason::Forbidden)));
    put("goldrush_pipeline_forbidden", Some(f64::from(forbidden)));
    for ([success, last_success], state) in PROBES.iter().zip(&pipeline.probes) {
        let attempt = state.attempt.filter(|(at, _)| at.is_fresh(now, stale_after));
        put(success, attempt.map(|(_, failure)| f64::from(failure.is_none())));
        put(last_success, state.read.map(|at| at.wall));
    }
    samples
}
