//! Each kind where it must be, and the nearest harmless case where it must not.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::*;
use crate::api::{PipelineId, Reason};
use crate::fleet::{AccountHandle, Answer, Fleet, GroupFlags, ListSummary};

/// An account whose pipelines are told what to answer, at seconds since the test's start.
struct Scene {
    handle: AccountHandle,
    start: Moment,
}

impl Scene {
    fn new() -> Self {
        let handle = Fleet::default().account("prod");
        handle.lock().stale_after = Duration::from_secs(300);
        let start = Moment { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(10_000_000), ..Moment::now() };
        Self { handle, start }
    }

    fn at(&self, seconds: u64) -> Moment {
        self.start.after(Duration::from_secs(seconds))
    }

    fn lists(&self, seconds: u64, id: &str, fields: Value) {
        let mut listed = json!({"id": id, "status": "running", "execution_mode": "unbounded", "topic": "base.mainnet"});
        listed.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let listed = serde_json::from_value(listed).unwrap();
        self.handle.lock().observe_listed(&PipelineId::new(id).unwrap(), listed, self.at(seconds));
    }

    fn answers(&self, seconds: u64, id: &str, answer: Answer) {
        self.handle.lock().observe(&PipelineId::new(id).unwrap(), answer, self.at(seconds)).unwrap();
    }

    fn status(&self, seconds: u64, id: &str, phase: &str, ready: u32) {
        let status = json!({"status": phase, "replicas": 2, "ready": ready});
        self.answers(seconds, id, Answer::Status(Ok(serde_json::from_value(status).unwrap())));
    }

    fn metrics(&self, seconds: u64, id: &str, metrics: Value) {
        self.answers(seconds, id, Answer::Metrics(Ok(serde_json::from_value(metrics).unwrap())));
    }

    fn health(&self, seconds: u64, id: &str, health: Value) {
        self.answers(seconds, id, Answer::DestinationHealth(Ok(serde_json::from_value(health).unwrap())));
    }

    /// Kind and second of the beginning of each trouble of a pipeline; a beginning that may be earlier has a minus.
    fn troubles(&self, seconds: u64, id: &str) -> Vec<(&'static str, Option<i64>)> {
        let account = self.handle.lock();
        let judge = Judge::new(&account, self.at(seconds));
        let pipeline = account.pipeline(&PipelineId::new(id).unwrap()).unwrap();
        judge.pipeline(pipeline).iter().map(|trouble| self.short(trouble)).collect()
    }

    fn account(&self, seconds: u64) -> Vec<(&'static str, Option<i64>)> {
        let account = self.handle.lock();
        Judge::new(&account, self.at(seconds)).account().iter().map(|trouble| self.short(trouble)).collect()
    }

    fn short(&self, trouble: &Trouble) -> (&'static str, Option<i64>) {
        let since = trouble.since.map(|began| {
            let seconds = began.at.since(self.start).as_secs().cast_signed();
            if began.or_earlier { -seconds } else { seconds }
        });
        (trouble.kind.as_str(), since)
    }
}

#[test]
fn a_well_pipeline_has_none() {
    let scene = Scene::new();
    scene.lists(0, "a", json!({}));
    assert_eq!(scene.troubles(0, "a"), [], "nothing has been read yet");
    scene.status(10, "a", "RUNNING", 2);
    scene.metrics(10, "a", json!({"last_offset": 1, "pending_records": 5, "processing_delay_ms": 300_000}));
    scene.health(10, "a", json!({"healthy": true}));
    assert_eq!(scene.troubles(20, "a"), []);
}

#[test]
fn failed_since_it_failed_and_nothing_else_that_follows_from_it() {
    let scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.status(10, "a", "RUNNING", 2);
    scene.status(20, "a", "FAILED", 0);
    scene.status(30, "a", "FAILED", 0);
    scene.metrics(30, "a", json!({"processing_delay_ms": 9_000_000, "pending_records": 99_999}));
    assert_eq!(scene.troubles(40, "a"), [("failed", Some(20))]);
    scene.lists(40, "b", json!({}));
    scene.status(50, "b", "FAILED", 0);
    assert_eq!(scene.troubles(60, "b"), [("failed", Some(-50))], "at first sight: it may have failed before");
    scene.status(70, "b", "RUNNING", 2);
    assert_eq!(scene.troubles(80, "b"), []);
}

#[test]
fn a_paused_pipeline_and_a_bounded_one_at_its_end_are_never_trouble() {
    let scene = Scene::new();
    for (id, fields, phase) in [
        ("paused", json!({"status": "paused"}), "PAUSED"),
        ("paused-while-failing", json!({"status": "paused"}), "FAILED"),
        ("finished", json!({"execution_mode": "bounded"}), "STOPPED"),
    ] {
        scene.lists(0, id, fields);
        scene.status(10, id, phase, 0);
        scene.health(10, id, json!({"healthy": false}));
        scene.metrics(10, id, json!({"processing_delay_ms": 9_000_000}));
        scene.answers(20, id, Answer::Metrics(Err(Reason::Forbidden)));
        for seconds in [20, 10_000] {
            assert_eq!(scene.troubles(seconds, id), [], "{id} at {seconds}");
        }
    }
    scene.lists(0, "stopped", json!({}));
    scene.status(10, "stopped", "STOPPED", 0);
    assert_eq!(scene.troubles(20, "stopped"), [("not_running", Some(-10))], "an unbounded one has no end");
}

#[test]
fn wanted_running_but_not_running() {
    let scene = Scene::new();
    scene.lists(0, "a", json!({"status": "paused"}));
    scene.status(10, "a", "PAUSED", 0);
    scene.lists(60, "a", json!({"status": "running"}));
    assert_eq!(scene.troubles(61, "a"), [("not_running", Some(60))], "since it is wanted");
    scene.status(70, "a", "DEPLOYING", 0);
    assert_eq!(scene.troubles(71, "a"), [], "a deployment takes minutes");
    for seconds in (80..960).step_by(10) {
        scene.status(seconds, "a", if seconds % 20 == 0 { "STOPPING" } else { "DEPLOYING" }, 0);
    }
    assert_eq!(scene.troubles(959, "a"), []);
    assert_eq!(scene.troubles(960, "a"), [("not_running", Some(60))], "phases that alternate do not start it again");
    scene.status(970, "a", "SOMETHING_NEW", 0);
    assert_eq!(scene.troubles(971, "a"), [("not_running", Some(60))]);
    scene.status(980, "a", "RUNNING", 2);
    assert_eq!(scene.troubles(981, "a"), []);
    scene.lists(0, "b", json!({"status": "sleeping"}));
    scene.status(10, "b", "PAUSED", 0);
    assert_eq!(scene.troubles(20, "b"), [("not_running", Some(-10))], "a wish that is unknown counts as wanted");
}

#[test]
fn replicas_that_are_not_ready() {
    let scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.status(10, "a", "RUNNING", 2);
    scene.status(20, "a", "RUNNING", 1);
    assert_eq!(scene.troubles(30, "a"), [("replicas_not_ready", Some(20))]);
    scene.status(30, "a", "RUNNING", 2);
    assert_eq!(scene.troubles(30, "a"), []);
}

#[test]
fn no_progress_is_a_stall_when_there_is_something_to_do() {
    let scene = Scene::new();
    let still = |pending: u32| json!({"last_offset": 7, "pending_records": pending});
    for id in ["waits", "quiet", "other"] {
        scene.lists(0, id, json!({"topic": if id == "other" { "eth.mainnet" } else { "base.mainnet" }}));
        scene.status(1_900, id, "RUNNING", 2);
        scene.metrics(0, id, still(0));
    }
    scene.metrics(600, "waits", still(3));
    assert_eq!(scene.troubles(600, "waits"), []);
    scene.metrics(601, "waits", still(3));
    assert_eq!(scene.troubles(700, "waits"), [("stalled", Some(0))]);
    scene.metrics(1_800, "quiet", still(0));
    assert_eq!(scene.troubles(1_900, "quiet"), []);
    scene.metrics(1_801, "quiet", still(0));
    assert_eq!(scene.troubles(1_900, "quiet"), [("no_progress", Some(0))]);
    // Another pipeline reads on, from another topic and then from the same one.
    scene.metrics(1_801, "other", json!({"last_offset": 8}));
    assert_eq!(scene.troubles(1_900, "quiet"), [("no_progress", Some(0))]);
    scene.lists(1_802, "other", json!({}));
    assert_eq!(scene.troubles(1_900, "quiet"), [("stalled", Some(0))]);
    assert_eq!(scene.troubles(1_900, "other"), []);
    scene.lists(1_803, "other", json!({"execution_mode": "bounded"}));
    assert_eq!(scene.troubles(1_900, "quiet"), [("no_progress", Some(0))], "a bounded one moves through history");
}

#[test]
fn a_delay_above_the_limit_that_does_not_shrink() {
    let scene = Scene::new();
    let delay = |seconds: u64| json!({"processing_delay_ms": seconds * 1_000});
    scene.lists(0, "a", json!({}));
    scene.status(0, "a", "RUNNING", 2);
    for (at, seconds) in [(0, 299), (30, 300), (60, 301), (90, 400)] {
        scene.metrics(at, "a", delay(seconds));
    }
    assert_eq!(scene.troubles(90, "a"), [("delay_high", Some(60))]);
    scene.metrics(120, "a", delay(1_801));
    assert_eq!(scene.troubles(120, "a"), [("delay_critical", Some(60))]);
    // A minute of catching up is not yet seen in the slope; five are.
    for at in (150..900).step_by(30) {
        scene.metrics(at, "a", delay(1_900 - at));
        scene.status(at, "a", "RUNNING", 2);
    }
    assert_eq!(scene.troubles(900, "a"), []);
    scene.lists(0, "stopped", json!({}));
    scene.status(0, "stopped", "STOPPED", 0);
    scene.metrics(0, "stopped", delay(2_000));
    assert_eq!(scene.troubles(10, "stopped"), [("not_running", Some(0))], "one cause");
    scene.lists(0, "history", json!({"execution_mode": "Bounded"}));
    scene.status(0, "history", "RUNNING", 2);
    scene.metrics(0, "history", delay(90_000));
    assert_eq!(scene.troubles(10, "history"), [], "a bounded pipeline reads history");
}

#[test]
fn a_backlog_that_grows() {
    let scene = Scene::new();
    let pending = |records: u64| json!({"pending_records": records, "records_consumed": records});
    scene.lists(0, "a", json!({}));
    scene.metrics(0, "a", pending(10_000));
    scene.metrics(30, "a", pending(10_001));
    assert_eq!(scene.troubles(30, "a"), [("backlog_growing", Some(30))]);
    scene.metrics(60, "a", pending(10_000));
    assert_eq!(scene.troubles(60, "a"), []);
    scene.lists(0, "shrinks", json!({}));
    scene.metrics(0, "shrinks", pending(90_000));
    scene.metrics(30, "shrinks", pending(80_000));
    assert_eq!(scene.troubles(30, "shrinks"), []);
}

#[test]
fn dropped_records() {
    let scene = Scene::new();
    let metrics = |consumed: u64, dropped: u64| {
        let consumed = 1_000_000 + consumed;
        json!({"records_consumed": consumed, "normalization_errors": dropped})
    };
    scene.lists(0, "a", json!({}));
    scene.metrics(0, "a", metrics(0, 5));
    scene.metrics(30, "a", metrics(3_000, 5));
    assert_eq!(scene.troubles(30, "a"), [], "nobody knows when those were dropped");
    scene.metrics(60, "a", metrics(6_000, 11));
    assert_eq!(scene.troubles(60, "a"), [], "one in a thousand");
    scene.metrics(90, "a", metrics(9_000, 15));
    assert_eq!(scene.troubles(90, "a"), [("records_dropped", Some(90))]);
    for seconds in (120..=900).step_by(30) {
        scene.metrics(seconds, "a", metrics(seconds * 100, 15));
    }
    assert_eq!(scene.troubles(900, "a"), [], "it has stopped");
}

#[test]
fn the_destination() {
    let scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.health(0, "a", json!({"healthy": true}));
    scene.health(30, "a", json!({"healthy": false, "last_error": "connection refused"}));
    assert_eq!(scene.troubles(30, "a"), [("destination_unhealthy", Some(30))]);
    scene.answers(60, "a", Answer::DestinationHealth(Err(Reason::Timeout)));
    assert_eq!(scene.troubles(60, "a"), [("destination_unhealthy", Some(30))], "the last answer stays");
    scene.health(90, "a", json!({"healthy": true}));
    assert_eq!(scene.troubles(90, "a"), []);
    // The test's wall clock starts at 26 April 1970, 17:46:40.
    let checked = |at| json!({"healthy": true, "last_checked_at": at});
    scene.status(100, "a", "RUNNING", 2);
    scene.health(100, "a", checked("1970-04-26T17:33:20Z"));
    assert_eq!(scene.troubles(100, "a"), [], "900 s before it was read");
    scene.health(100, "a", checked("1970-04-26T17:33:19Z"));
    assert_eq!(scene.troubles(100, "a"), [("destination_check_old", None)]);
}

#[test]
fn failing_probes_and_stale_readings() {
    let scene = Scene::new();
    let fails = |at, reason| scene.answers(at, "a", Answer::Status(Err(reason)));
    scene.lists(0, "a", json!({}));
    scene.status(0, "a", "RUNNING", 2);
    fails(15, Reason::Timeout);
    assert_eq!(scene.troubles(20, "a"), [], "one failed probe is no trouble");
    fails(30, Reason::ServerError);
    assert_eq!(scene.troubles(30, "a"), [("probe_failing", Some(15))]);
    assert_eq!(scene.troubles(300, "a"), [("probe_failing", Some(15))]);
    assert_eq!(scene.troubles(301, "a"), [("readings_stale", Some(0))]);
    fails(310, Reason::Forbidden);
    assert_eq!(scene.troubles(310, "a"), [("forbidden", Some(15))]);
    scene.status(320, "a", "RUNNING", 2);
    assert_eq!(scene.troubles(320, "a"), []);
    scene.answers(320, "a", Answer::Metrics(Err(Reason::Timeout)));
    scene.answers(350, "a", Answer::Metrics(Err(Reason::Timeout)));
    assert_eq!(scene.troubles(350, "a"), [("readings_stale", Some(-320))], "never read");
}

#[test]
fn a_refused_key_is_one_trouble_and_not_one_per_pipeline() {
    let scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.status(0, "a", "RUNNING", 2);
    assert_eq!(scene.account(0), []);
    scene.handle.lock().accept_key(scene.at(1));
    scene.handle.lock().refuse_key(scene.at(2));
    scene.handle.lock().list_failed(Reason::Unauthorized, scene.at(3));
    scene.handle.lock().refuse_key(scene.at(3));
    assert_eq!(scene.account(1_000), [("key_unauthorized", Some(2))]);
    assert_eq!(scene.troubles(1_000, "a"), []);
    scene.handle.lock().accept_key(scene.at(1_001));
    scene.handle.lock().list_failed(Reason::Forbidden, scene.at(1_001));
    assert_eq!(scene.account(1_002), [("key_not_service_key", Some(1_001))]);
    assert_eq!(scene.troubles(1_002, "a"), []);
    scene.handle.lock().accept_key(scene.at(1_003));
    scene.handle.lock().list_failed(Reason::ServerError, scene.at(1_003));
    assert_eq!(scene.account(1_004), [("key_not_service_key", Some(1_001))], "a 500 says nothing about the key");
}

#[test]
fn lists_and_what_they_say() {
    let scene = Scene::new();
    let list = |at, missing, over_limit| ListSummary {
        at: scene.at(at),
        groups: [("Data".to_owned(), GroupFlags { over_limit: Some(over_limit), ..Default::default() })].into(),
        expected: vec![("pipe_1".to_owned(), missing)],
        truncated: false,
    };
    scene.handle.lock().list_failed(Reason::Timeout, scene.at(5));
    assert_eq!(scene.account(6), [("list_failing", Some(-5))]);
    scene.handle.lock().list_succeeded(list(10, true, false));
    assert_eq!(scene.account(10), [("expected_missing", Some(-10))]);
    scene.handle.lock().list_succeeded(list(20, true, true));
    assert_eq!(scene.account(20), [("expected_missing", Some(-10)), ("group_over_limit", Some(20))]);
    scene.handle.lock().list_succeeded(list(30, false, true));
    scene.handle.lock().list_failed(Reason::ServerError, scene.at(40));
    scene.handle.lock().list_failed(Reason::Timeout, scene.at(50));
    assert_eq!(scene.account(60), [("list_failing", Some(40)), ("group_over_limit", Some(20))]);
    assert_eq!(scene.account(331), [("list_failing", Some(40))], "an old list says nothing");

    let trial = |at, paid| ListSummary {
        groups: [(
            "Data".to_owned(),
            GroupFlags { free_trial_expired: Some(true), paid: Some(paid), ..GroupFlags::default() },
        )]
        .into(),
        ..list(at, false, false)
    };
    scene.handle.lock().list_succeeded(trial(340, false));
    assert_eq!(scene.account(340), [("group_trial_expired", Some(340))]);
    scene.handle.lock().list_succeeded(trial(350, true));
    assert_eq!(scene.account(350), [], "it has a paid plan by now");

    let cut = |at| ListSummary { truncated: true, ..ListSummary::empty(scene.at(at)) };
    scene.handle.lock().list_succeeded(cut(360));
    scene.handle.lock().list_succeeded(cut(370));
    assert_eq!(scene.account(370), [("pipelines_over_limit", Some(360))]);
}

#[test]
fn an_account_of_whose_pipelines_nothing_is_read() {
    let scene = Scene::new();
    scene.lists(0, "a", json!({}));
    assert_eq!(scene.account(300), []);
    assert_eq!(scene.account(301), [("no_readings", Some(0))], "nothing has ever been read");
    scene.status(310, "a", "RUNNING", 2);
    scene.metrics(320, "a", json!({}));
    assert_eq!(scene.account(620), [], "one reading is still fresh");
    assert_eq!(scene.account(621), [("no_readings", Some(320))]);
    scene.lists(621, "paused", json!({"status": "paused"}));
    scene.status(630, "paused", "PAUSED", 0);
    assert_eq!(scene.account(640), [("no_readings", Some(320))], "whoever is paused is no witness");
    scene.handle.lock().list_failed(Reason::Timeout, scene.at(640));
    assert_eq!(scene.account(641), [("list_failing", Some(-640))], "then that is the news");
    scene.handle.lock().list_succeeded(ListSummary::empty(scene.at(650)));
    scene.lists(650, "b", json!({}));
    scene.status(660, "b", "RUNNING", 2);
    assert_eq!(scene.account(660), []);
    scene.handle.lock().refuse_key(scene.at(700));
    assert_eq!(scene.account(1_000), [("key_unauthorized", Some(700))]);
}

#[test]
fn the_budget() {
    let scene = Scene::new();
    let mut account = scene.handle.lock();
    (account.budget.required, account.budget.allowed) = (4.0, 4.0);
    account.budget.paused_until = Some(scene.at(30));
    drop(account);
    assert_eq!(scene.account(29), [("rate_limited", None)]);
    assert_eq!(scene.account(30), []);
    scene.handle.lock().budget.required = 4.1;
    assert_eq!(scene.account(30), [("budget_too_small", None)]);
}
