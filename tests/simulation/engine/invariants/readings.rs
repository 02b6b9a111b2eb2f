//! Every sample of a pipeline was said by the API no longer than `stale_after` ago, and what was said is shown.

use std::collections::BTreeMap;
use std::time::Duration;

use goldrush_exporter::api::{Probe, Reason};

use super::super::daemon;
use super::super::picture::{PipelinePicture, Samples};
use super::super::told::{PipelineTold, Told};
use super::{Invariant, Scene, Step};

const PHASES: [&str; 7] = ["DEPLOYING", "RUNNING", "PAUSED", "FAILED", "STOPPING", "STOPPED", "UNKNOWN"];

/// Families that are checked elsewhere, or that say how something came to be.
const OTHERS: [&str; 3] = ["goldrush_pipeline_trouble", "goldrush_pipeline_info", "goldrush_pipeline_off_duty"];

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
            let empty = BTreeMap::new();
            let shown = picture.accounts.get(&daemon::name(index)).map_or(&empty, |account| &account.pipelines);
            compare(told, shown, now, stale_after)?;
        }
        Ok(())
    }
}

fn compare(
    told: &Told,
    shown: &BTreeMap<String, PipelinePicture>,
    now: Duration,
    stale_after: Duration,
) -> Result<(), String> {
    for id in shown.keys() {
        if !told.pipelines.keys().any(|known| known.as_str() == id) {
            return Err(format!("{id} is shown, and no list that was delivered showed it"));
        }
    }
    for (id, pipeline) in &told.pipelines {
        let Some(shown) = shown.get(id.as_str()) else { return Err(format!("{id} was listed, and is not shown")) };
        if (&shown.project, &shown.name) != (&pipeline.item.project, &pipeline.item.name) {
            return Err(format!("{id} is shown as {:?}, and was listed as {:?}", shown.name, pipeline.item.name));
        }
        let expected = expected(pipeline, now, stale_after);
        for (series, value) in &expected {
            let found = shown.samples.get(series);
            if found != Some(value) {
                return Err(format!("{series} of {id} is {found:?}, and was said to be {value}"));
            }
        }
        let is_known = |series: &str| OTHERS.iter().any(|other| series.starts_with(other));
        for (series, value) in &shown.samples {
            if !expected.contains_key(series) && !is_known(series) {
                return Err(format!("{series} of {id} is {value}, and nothing fresh says so"));
            }
        }
        let off_duty = shown.samples.contains_key("goldrush_pipeline_off_duty");
        if off_duty != pipeline.is_off_duty() {
            return Err(format!("{id} is off duty: {off_duty}, and was said to be: {}", pipeline.is_off_duty()));
        }
        let info = shown.samples.keys().any(|series| series.starts_with("goldrush_pipeline_info{"));
        if info != pipeline.listed.is_fresh(now, stale_after) {
            return Err(format!("goldrush_pipeline_info of {id} is shown: {info}"));
        }
    }
    Ok(())
}

/// What has to be shown of a pipeline, and nothing else.
fn expected(pipeline: &PipelineTold, now: Duration, stale_after: Duration) -> Samples {
    let mut samples = Samples::new();
    let mut put = |name: &str, value: Option<f64>| {
        if let Some(value) = value {
            samples.insert(format!("goldrush_pipeline_{name}"), value);
        }
    };
    if pipeline.listed.is_fresh(now, stale_after) {
        let item = &pipeline.item;
        put("desired_status{status=\"running\"}", Some(f64::from(!item.paused)));
        put("desired_status{status=\"paused\"}", Some(f64::from(item.paused)));
        put("created_timestamp_seconds", Some(item.created));
        put("updated_timestamp_seconds", Some(item.updated));
    }
    let is_fresh = |probe: Probe| pipeline.probes[probe as usize].read.is_some_and(|at| at.is_fresh(now, stale_after));
    if let Some(status) = pipeline.status.filter(|_| is_fresh(Probe::Status)) {
        if let Some(current) = status.phase {
            for phase in PHASES {
                put(&format!("phase{{phase=\"{phase}\"}}"), Some(f64::from(phase == current)));
            }
        }
        put("replicas", status.replicas);
        put("replicas_ready", status.ready);
        put("start_time_seconds", status.start);
    }
    if let Some(metrics) = pipeline.metrics.filter(|_| is_fresh(Probe::Metrics)) {
        put("records_consumed", metrics.consumed);
        put("source_records_total", metrics.consumed);
        put("last_offset", metrics.offset);
        put("last_block_height", metrics.height);
        put("pending_records", metrics.pending);
        put("processing_delay_seconds", metrics.delay_ms.map(|delay| delay / 1_000.0));
        put("records_per_second", metrics.rate);
        put("normalization_errors", metrics.dropped);
        put("dropped_records_total", metrics.dropped);
        put("last_progress_timestamp_seconds", pipeline.progress.map(|at| at.wall));
    }
    if let Some(health) = pipeline.health.filter(|_| is_fresh(Probe::DestinationHealth)) {
        put("destination_healthy", health.healthy.map(f64::from));
        put("destination_latency_seconds", health.latency_ms.map(|latency| latency / 1_000.0));
        put("destination_last_check_timestamp_seconds", health.checked);
        if let Some(reason) = health.reason {
            put(&format!("destination_error{{reason=\"{reason}\"}}"), Some(1.0));
        }
    }
    let forbidden = pipeline
        .probes
        .iter()
        .any(|probe| probe.attempt.is_some_and(|(_, failure)| failure == Some(Reason::Forbidden)));
    put("forbidden", Some(f64::from(forbidden)));
    for (probe, state) in Probe::ALL.iter().zip(&pipeline.probes) {
        let attempt = state.attempt.filter(|(at, _)| at.is_fresh(now, stale_after));
        put(&format!("probe_success{{probe=\"{probe}\"}}"), attempt.map(|(_, failure)| f64::from(failure.is_none())));
        put(&format!("probe_last_success_timestamp_seconds{{probe=\"{probe}\"}}"), state.read.map(|at| at.wall));
    }
    samples
}
