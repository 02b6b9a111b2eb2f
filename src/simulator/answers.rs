//! The model as JSON (Pipeline REST API reference). Each response has some undocumented fields, because clients must
//! tolerate them.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::catalogue;
use super::group::SimulatedGroup;
use super::living::{Condition, Life};
use super::pipeline::SimulatedPipeline;
use crate::api::Phase;

/// How often the platform checks a destination, in seconds.
const CHECK_INTERVAL: i64 = 5;

const PLAN_CREDITS: f64 = 300_000.0;
const FLEX_CREDITS: f64 = 50_000.0;
/// What an account may use before GoldRush stops serving it.
pub(super) const ALL_CREDITS: f64 = PLAN_CREDITS + FLEX_CREDITS;

/// The requested page of the list.
#[derive(Clone, Copy)]
pub(super) struct Page {
    pub(super) number: usize,
    pub(super) size: usize,
    /// Whether the order changes with each request.
    pub(super) shuffled: bool,
}

/// The envelope around `data`.
pub(super) fn success(data: Value) -> Value {
    json!({
        "data": data,
        "error": false,
        "error_message": null,
        "error_code": null,
        "api_version": "simulated",
    })
}

/// The envelope of a failure.
pub(super) fn failure(code: Value, message: &str) -> Value {
    json!({
        "data": null,
        "error": true,
        "error_message": message,
        "error_code": code,
    })
}

/// `data` of the list.
pub(super) fn page(items: Vec<Value>, page: Page, total: usize, has_more: bool) -> Value {
    json!({
        "items": items,
        "pagination": {
            "has_more": has_more,
            "page_number": page.number,
            "page_size": page.size,
            "total_count": total,
        },
    })
}

/// `data` of the usage, if the account has used this many credits this month.
pub(super) fn usage(group: &SimulatedGroup, consumed: f64, now: i64) -> Value {
    let free = (consumed / 5.0).floor();
    json!({
        "period": {"from": rfc3339(now - now % 86_400), "to": rfc3339(now)},
        "aggregate": {
            "credits_consumed": consumed,
            "max_credits": PLAN_CREDITS,
            "premium_credits": consumed - free,
            "free_credits": free,
            "plan": if group.is_paid { "Professional" } else { "Free Trial" },
            "flex_credits": {"limit": FLEX_CREDITS, "consumed": (consumed - PLAN_CREDITS).max(0.0)},
        },
        "by_day": [{"date": rfc3339(now - now % 86_400), "premium_credits": consumed - free, "free_credits": free}],
        "by_api_key": [
            {"apikey": catalogue::API_KEY, "credits": consumed},
            {catalogue::API_KEY: {"apikey": [catalogue::API_KEY]}},
        ],
    })
}

/// A pipeline object.
pub(super) fn pipeline(pipeline: &SimulatedPipeline, group: &SimulatedGroup, over_limit: bool) -> Value {
    json!({
        "id": pipeline.id(),
        "name": pipeline.name,
        "project": pipeline.project,
        "description": pipeline.description,
        "topic": pipeline.topic,
        "destination_type": pipeline.destination_type,
        "destination_config": {
            "type": pipeline.destination_type,
            "url": catalogue::url(&pipeline.destination_type),
            "user": "canary_db_user",
            "password": "******",
            "batch_size": 1_000,
        },
        "transforms": {
            "swaps": "SELECT block_height, canary_transform_column AS amount FROM source WHERE amount > 0",
        },
        "execution_mode": pipeline.execution_mode,
        "execution_start_from": pipeline.execution_start_from,
        "execution_stop_from": pipeline.execution_stop_from,
        "abi_file": {"abi": [{"type": "event", "name": "canary_abi_event", "inputs": []}]},
        "abi_contract_addresses": ["0x833589fcd6edb6e08f4c7c32d4f71b54bda02913"],
        "abi_unmatched": "",
        "status": pipeline.intent,
        "created_by": {
            "id": "user_5f2d1c7b9a",
            "email": "canary-user@private.example",
            "display_name": "Canary Person",
            "full_name": "Canary Person",
        },
        "group": {
            "id": group.id,
            "name": group.name,
            "slug": group.slug,
            "is_paid": group.is_paid,
            "is_over_limit": group.is_over_limit || over_limit,
            "is_free_trial_expired": group.is_free_trial_expired,
        },
        "created_at": pipeline.created_at.to_string(),
        "updated_at": pipeline.updated_at.to_string(),
        "revision": 3,
        "labels": {"tier": "simulated"},
    })
}

/// `data` of a pipeline's status.
pub(super) fn status(pipeline: &SimulatedPipeline, life: &Life, epoch: i64) -> Value {
    let phase = life.phase();
    let (replicas, ready) = match phase {
        Phase::Running => (pipeline.replicas, pipeline.replicas),
        Phase::Deploying | Phase::Failed => (pipeline.replicas, 0),
        Phase::Paused | Phase::Stopping | Phase::Stopped | Phase::Unknown => (0, 0),
    };
    json!({
        "uid": uid(pipeline),
        "status": phase.as_str(),
        "replicas": replicas,
        "ready": ready,
        "start_time": rfc3339(epoch + life.worker_started().floor() as i64),
        "image": "pipeline-worker:simulated",
    })
}

/// `data` of a pipeline's metrics.
pub(super) fn metrics(pipeline: &SimulatedPipeline, life: &Life) -> Value {
    let uid = uid(pipeline);
    if life.condition() == Condition::NullMetrics {
        return json!({
            "uid": uid,
            "records_consumed": null,
            "last_offset": null,
            "last_block_height": null,
            "pending_records": null,
            "processing_delay_ms": null,
            "records_per_second": null,
            "normalization_errors": null,
        });
    }
    let reading = life.reading();
    json!({
        "uid": uid,
        "records_consumed": reading.records_consumed,
        "last_offset": reading.last_offset,
        "last_block_height": reading.last_block_height,
        "pending_records": reading.pending_records,
        "processing_delay_ms": reading.processing_delay_ms,
        "records_per_second": reading.records_per_second,
        "normalization_errors": reading.normalization_errors,
        "window_seconds": 60,
    })
}

/// `data` of a pipeline's destination check.
pub(super) fn destination_health(condition: Condition, now: Duration, epoch: i64) -> Value {
    let seconds = now.as_secs() as i64;
    let (latency, last_error) = match condition {
        Condition::DestinationDown(error) => (None, Some(error)),
        _ => (Some(8 + seconds / CHECK_INTERVAL * 7 % 13), None),
    };
    json!({
        "healthy": last_error.is_none(),
        "last_checked_at": rfc3339(epoch + seconds / CHECK_INTERVAL * CHECK_INTERVAL),
        "latency_ms": latency,
        "last_error": last_error,
        "attempts": 1,
    })
}

fn uid(pipeline: &SimulatedPipeline) -> String {
    format!("covalent-{}-{}", pipeline.destination_type, pipeline.id().replace('_', "-"))
}

/// `None` (`null`) for a time that cannot be formatted.
fn rfc3339(seconds: i64) -> Option<String> {
    Timestamp::from_second(seconds).ok().map(|time| time.to_string())
}
