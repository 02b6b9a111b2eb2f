//! A small fleet in, literal text out, in both formats.

use std::time::{Duration, SystemTime};

use super::*;
use crate::api::{self, Endpoint, PipelineId, Reason};
use crate::fleet::{AccountHandle, Answer, GroupFlags, ListSummary};

const LISTED: &str = r#"{"id": "pipe_1", "name": "From Base \"Swap\" to C:\\pg\n🚀", "project": "analytics-prod",
    "topic": "base.mainnet.ref.block.swap.v3", "destination_type": "postgres", "execution_mode": "unbounded",
    "status": "running", "created_by": {"email": "someone@example.org"},
    "group": {"id": "group_1", "name": "Data", "is_paid": true, "is_over_limit": false, "is_free_trial_expired": null},
    "created_at": "2023-11-07T05:31:56Z", "updated_at": "2023-11-07T07:31:56.5+02:00"}"#;
const STATUS: &str =
    r#"{"uid": "x", "status": "RUNNING", "replicas": 2, "ready": 1, "start_time": "2023-11-07T05:31:56Z"}"#;
const METRICS: &str = r#"{"uid": "x", "records_consumed": 9007199254740993, "last_offset": 0, "last_block_height": null,
    "pending_records": 12.5, "processing_delay_ms": 1500, "records_per_second": 0.25, "normalization_errors": 3}"#;
const UNHEALTHY: &str = r#"{"healthy": false, "last_checked_at": "2023-11-07T05:31:56Z", "latency_ms": 12,
    "last_error": "dial tcp 10.0.0.5:5432: connection refused"}"#;

/// Now by the monotonic clock, a fixed time by the wall clock.
fn moment() -> Moment {
    Moment { wall: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250), ..Moment::now() }
}

fn read<T: serde::de::DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).unwrap()
}

fn id(text: &str) -> PipelineId {
    PipelineId::new(text).unwrap()
}

/// One pipeline in trouble, one of which only the list is known, one expected pipeline that is missing.
fn small_fleet(at: Moment) -> (Fleet, AccountHandle) {
    let fleet = Fleet::default();
    let handle = fleet.account("prod");
    let mut account = handle.lock();
    account.stale_after = Duration::from_secs(300);
    account.up = true;
    account.key_loaded = Some(at.wall);
    account.budget.allowed = 4.0;
    account.budget.required = 0.25;
    let listed: api::Pipeline = read(LISTED);
    let group = listed.group.clone().unwrap();
    let mut flags = GroupFlags::default();
    flags.merge(&group);
    account.observe_listed(&id("pipe_1"), listed, at);
    account.observe_listed(&id("pipe_2"), read(r#"{"id": "pipe_2", "name": null, "status": "paused"}"#), at);
    account.observe(&id("pipe_1"), Answer::Status(Ok(read(STATUS))), at);
    account.observe(&id("pipe_1"), Answer::Metrics(Ok(read(METRICS))), at);
    account.observe(&id("pipe_1"), Answer::DestinationHealth(Ok(read(UNHEALTHY))), at);
    account.observe(&id("pipe_2"), Answer::Status(Err(Reason::Forbidden)), at);
    account.forbidden_answers = 1;
    account.count_request(Endpoint::List, Duration::from_millis(30), None);
    account.count_request(Endpoint::Status, Duration::from_secs(11), Some(Reason::Forbidden));
    account.list = Some(ListSummary {
        at,
        groups: [(group.label().to_owned(), flags)].into(),
        expected: vec![("pipe_1".to_owned(), false), ("pipe_3".to_owned(), true)],
    });
    drop(account);
    (fleet, handle)
}

fn render(fleet: &Fleet, now: Moment, format: Format) -> String {
    let mut writer = Writer::new(format);
    render_fleet(&mut writer, fleet, now);
    String::from_utf8(writer.finish()).unwrap()
}

/// Compares with a file beside this one; `UPDATE_EXPECTED=1` writes it, to be read before it is committed.
fn assert_expected(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/exposition/expected").join(name);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    for (line, (text, expected)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(text, expected, "line {} of {}", line + 1, path.display());
    }
    assert_eq!(text.lines().count(), expected.lines().count(), "lines of {}", path.display());
}

#[tokio::test(start_paused = true)]
async fn both_formats_are_as_expected_to_the_letter() {
    let at = moment();
    let (fleet, _) = small_fleet(at);
    assert_expected("small_fleet.classic.txt", &render(&fleet, at, Format::Classic));
    assert_expected("small_fleet.openmetrics.txt", &render(&fleet, at, Format::OpenMetrics));
}

#[tokio::test(start_paused = true)]
async fn both_formats_hold_the_same_samples() {
    let (fleet, _) = small_fleet(moment());
    let exposition = Exposition::new(fleet);
    let samples = |format| {
        let text = String::from_utf8(exposition.render(format)).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(samples(Format::Classic), samples(Format::OpenMetrics));
}

#[tokio::test(start_paused = true)]
async fn a_stale_reading_is_withdrawn_when_it_is_older_than_stale_after_and_not_before() {
    let at = moment();
    let (fleet, handle) = small_fleet(at);
    let later = |seconds| Moment {
        monotonic: at.monotonic + Duration::from_secs(seconds),
        // A wall clock that steps back makes nothing fresh.
        wall: SystemTime::UNIX_EPOCH,
        ..at
    };
    // The status alone is asked again.
    handle.lock().observe(&id("pipe_1"), Answer::Status(Ok(read(STATUS))), later(200));
    let has = |text: &str, family: &str| text.lines().any(|line| line.starts_with(&format!("{family}{{")));
    let readings = [
        "goldrush_pipeline_info",
        "goldrush_pipelines",
        "goldrush_expected_pipeline_missing",
        "goldrush_group_paid",
        "goldrush_pipeline_pending_records",
        "goldrush_pipeline_last_progress_timestamp_seconds",
        "goldrush_pipeline_destination_healthy",
        "goldrush_pipeline_destination_error",
    ];
    let text = render(&fleet, later(300), Format::Classic);
    assert!(readings.iter().all(|family| has(&text, family)), "{text}");
    let text = render(&fleet, later(301), Format::Classic);
    assert!(!readings.iter().any(|family| has(&text, family)), "{text}");
    assert!(has(&text, "goldrush_pipeline_phase"), "{text}");
    assert!(has(&text, "goldrush_pipeline_probe_last_success_timestamp_seconds"), "{text}");
    assert!(!has(&render(&fleet, later(501), Format::Classic), "goldrush_pipeline_phase"));
}

#[tokio::test(start_paused = true)]
async fn progress_is_any_move_and_the_first_sight() {
    let at = moment();
    let (fleet, handle) = small_fleet(at);
    let progress = || {
        let text = render(&fleet, at, Format::Classic);
        let line = text.lines().find(|line| line.starts_with("goldrush_pipeline_last_progress")).unwrap();
        line.rsplit_once(' ').unwrap().1.to_owned()
    };
    let observe = |seconds, json| {
        let wall = at.wall + Duration::from_secs(seconds);
        handle.lock().observe(&id("pipe_1"), Answer::Metrics(Ok(read(json))), Moment { wall, ..at });
    };
    assert_eq!(progress(), "1700000000.25");
    observe(10, METRICS);
    assert_eq!(progress(), "1700000000.25", "nothing moved");
    observe(20, r#"{"last_offset": 1}"#);
    assert_eq!(progress(), "1700000020.25", "the offset moved");
    observe(30, r#"{"last_offset": 1, "records_consumed": 5}"#);
    observe(40, r#"{"last_offset": 1, "records_consumed": 0}"#);
    assert_eq!(progress(), "1700000040.25", "the worker started again");
}

#[test]
fn the_table_keeps_to_the_conventions() {
    let mut names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), FAMILIES.len(), "every name once");
    for family in FAMILIES {
        assert!(!family.help.contains(['\n', '\\', '"']), "{}: HELP is not escaped", family.name);
        assert!(family.help.ends_with('.'), "{}", family.name);
        assert_eq!(family.name.ends_with("_total"), family.kind == Kind::Counter, "{}", family.name);
    }
}
