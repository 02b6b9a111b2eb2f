//! Answers that are no readings, in detail: who is affected, who is not, and what is sent when. Which answer is which
//! failure is in `fault_matrix`.

use std::time::{Duration, SystemTime};

use crate::common::{Api, Down, Exporter, Exposition, KEY, all_succeed, eventually, failures, of, settled};
use goldrush_exporter::simulator::{Condition, Endpoint, Fault, FaultMatcher, Options, RequestRecord, Scenario};
use serde_json::json;

const UP: &str = "goldrush_up{account=\"default\"}";
const COUNT: &str = "goldrush_pipelines{account=\"default\"}";
const PAUSED_UNTIL: &str = "goldrush_poll_paused_until_timestamp_seconds{account=\"default\"}";
const PROBE_SUCCESS: &str = "goldrush_pipeline_probe_success";

fn on(endpoint: Endpoint) -> FaultMatcher {
    FaultMatcher { endpoint: Some(endpoint), pipeline: None }
}

fn about(id: &str) -> FaultMatcher {
    FaultMatcher { endpoint: None, pipeline: Some(id.to_owned()) }
}

fn answer(status: u16, body: &str) -> Fault {
    Fault::Answer { status, headers: vec![], body: body.as_bytes().to_vec() }
}

#[test]
fn a_failed_probe_waits_for_its_next_turn() {
    let api = Api::healthy(2);
    api.simulator.set_fault(on(Endpoint::Metrics), Some(answer(500, "")));
    let exporter = Exporter::with(&api, &[("GOLDRUSH_EXPORTER__POLL__METRICS", "1h")]);
    exporter.until_value(&failures("metrics", "server_error"), 2.0);
    eventually("the other probes go on", || api.simulator.request_counts().status >= 20);
    assert_eq!(api.simulator.request_counts().metrics, 2);
}

#[test]
fn a_forbidden_pipeline_is_asked_at_the_pace_of_discovery() {
    let api = Api::healthy(3);
    let exporter = settled(&api, 3, &[("GOLDRUSH_EXPORTER__POLL__DISCOVERY", "1h")]);
    let ids = api.simulator.pipeline_ids(0);
    api.simulator.update_pipeline(&ids[0], |pipeline| pipeline.condition = Condition::Foreign);
    let forbidden = |api: &Api| api.simulator.requests().iter().filter(|request| request.status == Some(403)).count();
    eventually("each probe is refused", || forbidden(&api) >= 3);
    let before = api.simulator.request_counts().status;
    eventually("the others go on", || api.simulator.request_counts().status >= before + 30);
    assert_eq!(forbidden(&api), 3, "one refusal of each probe, and the next turn is an hour away");
    let exposition = exporter.scrape();
    assert_eq!(exposition.one("goldrush_pipeline_forbidden", &[&of(&ids[0])]), Some(1.0));
    assert_eq!(exposition.values("goldrush_pipeline_forbidden", &[]).iter().sum::<f64>(), 1.0);
    assert_eq!(exposition.value("goldrush_auth_forbidden{account=\"default\"}"), Some(0.0));
    assert_eq!(exposition.value("goldrush_auth_unauthorized{account=\"default\"}"), Some(0.0));
    assert_eq!(exposition.value(UP), Some(1.0));
    for id in &ids[1..] {
        assert_eq!(exposition.values(PROBE_SUCCESS, &[&of(id)]), [1.0; 3]);
    }
}

#[test]
fn a_404_drops_the_pipeline_and_asks_for_the_list_at_once() {
    let api = Api::healthy(3);
    let exporter = settled(&api, 3, &[("GOLDRUSH_EXPORTER__POLL__DISCOVERY", "1h")]);
    let gone = api.simulator.pipeline_ids(0)[1].clone();
    assert_eq!(api.simulator.request_counts().list, 1);
    api.simulator.remove_pipeline(&gone);
    exporter.until("its series vanish", |exposition| !exposition.0.contains(&gone));
    eventually("the list is asked again", || api.simulator.request_counts().list == 2);
    exporter.until_value(COUNT, 2.0);
}

#[test]
fn a_404_counts_also_for_a_pipeline_that_was_not_found_before_and_came_back() {
    let discovery = Duration::from_secs(4);
    let api = Api::healthy(2);
    let exporter = settled(&api, 2, &[("GOLDRUSH_EXPORTER__POLL__DISCOVERY", "4s")]);
    let id = api.simulator.pipeline_ids(0)[0].clone();
    api.simulator.set_fault(about(&id), Some(answer(404, "{}")));
    exporter.until("not found", |exposition| exposition.values(PROBE_SUCCESS, &[&of(&id)]).contains(&0.0));
    api.simulator.set_fault(about(&id), None);
    exporter.until("it is back", |exposition| all_succeed(exposition, 2));
    // Just after a list, the next one by the clock is as far away as can be.
    let lists = api.simulator.request_counts().list;
    eventually("a list", || api.simulator.request_counts().list > lists);
    exporter.until("all is well after it", |exposition| all_succeed(exposition, 2));
    api.simulator.remove_pipeline(&id);
    exporter.until("its series vanish", |exposition| !exposition.0.contains(&id));
    eventually("a list after the deletion", || {
        let requests = api.simulator.requests();
        let lost = requests.iter().rposition(|request| request.status == Some(404)).unwrap();
        requests[lost..].iter().any(|request| request.endpoint == Some(Endpoint::List))
    });
    let requests = api.simulator.requests();
    let healthy_before = |index: usize| {
        requests[..index].iter().rfind(|request| request.pipeline.as_deref() == Some(&id)).unwrap().status == Some(200)
    };
    let lost = (0..requests.len()).rfind(|&index| {
        requests[index].pipeline.as_deref() == Some(&id) && requests[index].status == Some(404) && healthy_before(index)
    });
    let lost = lost.unwrap();
    let list = requests[lost..].iter().find(|request| request.endpoint == Some(Endpoint::List)).unwrap();
    let waited = list.at - requests[lost].at;
    assert!(waited < discovery / 2, "the list was asked {waited:?} after the 404");
}

/// The first 429 and the request after it, of an exporter with one request at a time.
fn first_pause(api: &Api) -> Option<(RequestRecord, RequestRecord)> {
    let requests = api.simulator.requests();
    let first = requests.iter().position(|request| request.status == Some(429))?;
    Some((requests[first].clone(), requests.get(first + 1)?.clone()))
}

const ONE_AT_A_TIME: (&str, &str) = ("GOLDRUSH_EXPORTER__POLL__MAX_IN_FLIGHT", "1");

#[track_caller]
fn waits_for_two_seconds(headers: &[(&str, &str)]) {
    let api = Api::healthy(4);
    let exporter = settled(&api, 4, &[ONE_AT_A_TIME]);
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    api.simulator.set_fault(FaultMatcher::default(), Some(Fault::Answer { status: 429, headers, body: vec![] }));
    let exposition = exporter.until("the pause shows", |exposition| exposition.value(PAUSED_UNTIL) > Some(0.0));
    api.simulator.set_fault(FaultMatcher::default(), None);
    assert!(exposition.value(PAUSED_UNTIL) > Some(began + 2.0));
    exporter.until_value(PAUSED_UNTIL, 0.0);
    eventually("polling goes on", || first_pause(&api).is_some());
    let (refused, next) = first_pause(&api).unwrap();
    assert!(next.at >= refused.at + Duration::from_secs(2), "{:?} after {:?}", next.at, refused.at);
    exporter.until("all probes succeed", |exposition| all_succeed(exposition, 4));
}

#[test]
fn retry_after_in_seconds_is_waited_for() {
    waits_for_two_seconds(&[("Retry-After", "2")]);
}

#[test]
fn retry_after_as_a_date_is_waited_for_by_the_clock_of_the_answer() {
    waits_for_two_seconds(&[
        ("Date", "Thu, 01 Jan 2026 10:00:00 GMT"),
        ("Retry-After", "Thu, 01 Jan 2026 10:00:02 GMT"),
    ]);
}

#[test]
fn without_retry_after_the_pauses_grow() {
    let api = Api::healthy(4);
    let exporter = settled(&api, 4, &[ONE_AT_A_TIME]);
    api.simulator.set_fault(FaultMatcher::default(), Some(Fault::RateLimited { retry_after: None }));
    let refused = || -> Vec<Duration> {
        let requests = api.simulator.requests();
        requests.iter().filter(|request| request.status == Some(429)).map(|request| request.at).collect()
    };
    eventually("three refusals", || refused().len() >= 3);
    api.simulator.set_fault(FaultMatcher::default(), None);
    let at = refused();
    // A jittered pause is between half of its step and all of it; the steps are a second, two, four …
    for (pause, least) in at.windows(2).zip([500, 1000]) {
        assert!(pause[1] - pause[0] >= Duration::from_millis(least), "{at:?}");
    }
    exporter.until_value(PAUSED_UNTIL, 0.0);
    exporter.until("all probes succeed", |exposition| all_succeed(exposition, 4));
}

#[test]
fn an_api_that_is_down_at_the_start_is_said_with_what_to_look_at() {
    let down = Down::new();
    let exporter = Exporter::start(&[], &down.environment());
    exporter.until("a refused connection", |exposition| exposition.value(&failures("list", "connect")) > Some(0.0));
    assert_eq!(exporter.scrape().value(UP), Some(0.0));
    assert_eq!(exporter.get("/-/ready").status, 503);
    let line = exporter.stderr.line("the list of pipelines fails");
    assert!(line.contains("api.base_url") && line.contains("refused"), "{line}");
    let api = down.serve(Options { pipelines: 2, groups: 1, service_key: KEY.to_owned(), ..Options::default() });
    exporter.until("the API is there", |exposition| exposition.value(UP) == Some(1.0) && all_succeed(exposition, 2));
    assert_eq!(exporter.get("/-/ready").status, 200);
    drop(api);
}

#[test]
fn a_failed_pipeline_is_failed_and_nothing_else_until_it_is_revived() {
    let api = Api::healthy(3);
    let exporter = settled(&api, 3, &[]);
    let id = of(&api.simulator.pipeline_ids(0)[0]);
    let phase = |exposition: &Exposition, phase: &str| {
        exposition.one("goldrush_pipeline_phase", &[&id, &format!("phase=\"{phase}\"")])
    };
    api.simulator.set_scenario(Scenario::FailedPipeline);
    let exposition = exporter.until("it fails", |exposition| phase(exposition, "FAILED") == Some(1.0));
    assert_eq!(phase(&exposition, "RUNNING"), Some(0.0));
    assert_eq!(exposition.values("goldrush_pipeline_phase", &[&id]).iter().sum::<f64>(), 1.0);
    assert_eq!(exposition.values("goldrush_pipeline_phase", &["phase=\"FAILED\""]).iter().sum::<f64>(), 1.0);
    exporter.stderr.line("pipeline has failed");
    api.simulator.set_scenario(Scenario::Healthy);
    let exposition = exporter.until("it runs again", |exposition| phase(exposition, "RUNNING") == Some(1.0));
    assert_eq!(phase(&exposition, "FAILED"), Some(0.0));
}

#[test]
fn a_worker_that_restarts_lets_its_counters_fall_and_its_start_time_rise() {
    let api = Api::healthy(2);
    let exporter = settled(&api, 2, &[]);
    let ids = api.simulator.pipeline_ids(0);
    let (restarted, other) = (of(&ids[0]), of(&ids[1]));
    let records =
        |exposition: &Exposition, id: &str| exposition.one("goldrush_pipeline_source_records_total", &[id]).unwrap();
    let started =
        |exposition: &Exposition, id: &str| exposition.one("goldrush_pipeline_start_time_seconds", &[id]).unwrap();
    let before = exporter.scrape();
    api.simulator.restart_worker(&ids[0]);
    let after = exporter.until("the restart", |exposition| {
        records(exposition, &restarted) < records(&before, &restarted)
            && started(exposition, &restarted) > started(&before, &restarted)
    });
    let gauge = after.one("goldrush_pipeline_records_consumed", &[&restarted]);
    assert_eq!(gauge, Some(records(&after, &restarted)), "both are one reading");
    assert!(records(&after, &other) >= records(&before, &other));
    assert_eq!(started(&after, &other), started(&before, &other));
}

#[test]
fn a_field_that_turns_null_or_zero_is_withdrawn_or_zero_and_never_the_old_value() {
    let api = Api::healthy(1);
    let exporter = settled(&api, 1, &[]);
    let id = api.simulator.pipeline_ids(0)[0].clone();
    let rows = [
        ("last_offset", Some(json!(null)), "last_offset", None),
        ("last_block_height", None, "last_block_height", None),
        ("records_consumed", Some(json!(0)), "source_records_total", Some(0.0)),
        ("pending_records", Some(json!(0)), "pending_records", Some(0.0)),
        ("processing_delay_ms", Some(json!(0.0)), "processing_delay_seconds", Some(0.0)),
        ("normalization_errors", Some(json!(null)), "dropped_records_total", None),
    ];
    for (field, value, _, _) in &rows {
        api.simulator.update_pipeline(&id, |pipeline| match value {
            Some(value) => pipeline.answer_with(Endpoint::Metrics, field, value.clone()),
            None => pipeline.omit(Endpoint::Metrics, field),
        });
    }
    let exposition = exporter.until("the last change", |exposition| {
        exposition.values("goldrush_pipeline_dropped_records_total", &[]).is_empty()
    });
    for (field, _, family, expected) in &rows {
        assert_eq!(exposition.one(&format!("goldrush_pipeline_{family}"), &[]), *expected, "{field}");
    }
    assert!(all_succeed(&exposition, 1), "null is an answer");
}
