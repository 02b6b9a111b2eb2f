//! Each kind in a case where it must be reported, and in the nearest harmless case.

mod backfills;
mod buffers;
mod credits;
mod edges;
mod outages;
mod unrest;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::*;
use crate::account::Account;
use crate::account::testing::{account, reading};
use crate::api::{Error, PipelineId, Probe, ProbeResponse, Response, Waiting};
use crate::moment::Moment;

/// An account that gets responses from the test, at seconds since the test's start.
struct Scene {
    account: Account,
    start: Moment,
    /// The pipelines that the list shows, by id.
    listed: BTreeMap<String, Value>,
}

impl Scene {
    fn new() -> Self {
        let start = Moment::now().with_wall(SystemTime::UNIX_EPOCH + Duration::from_secs(10_000_000));
        Self { account: account(&["pipe_1"], start), start, listed: BTreeMap::new() }
    }

    fn at(&self, seconds: u64) -> Moment {
        self.start.after(Duration::from_secs(seconds))
    }

    /// From now on, lists also show this pipeline.
    fn lists(&mut self, seconds: u64, id: &str, fields: Value) {
        let mut listed = json!({"id": id, "status": "running", "execution_mode": "unbounded", "topic": "base.mainnet"});
        listed.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.listed.insert(id.to_owned(), listed);
        self.lists_again(seconds);
    }

    fn lists_again(&mut self, seconds: u64) {
        // The expected pipeline exists and has nothing to do.
        let expected = json!({"id": "pipe_1", "status": "paused"});
        let items: Vec<Value> = self.listed.values().cloned().chain([expected]).collect();
        self.account.lists(&items, self.at(seconds));
    }

    fn list_fails(&mut self, seconds: u64, error: Error) {
        self.account.hears(Response::Page(1, Err(error)), self.at(seconds));
    }

    fn reads(&mut self, seconds: u64, id: &str, probe: Probe, data: Value) {
        self.account.probed(id, reading(probe, data), self.at(seconds));
    }

    fn fails(&mut self, seconds: u64, id: &str, probe: Probe, error: Error) {
        self.account.probed(id, ProbeResponse::failed(probe, error), self.at(seconds));
    }

    fn status(&mut self, seconds: u64, id: &str, phase: &str, ready: u32) {
        self.reads(seconds, id, Probe::Status, json!({"status": phase, "replicas": 2, "ready": ready}));
    }

    fn metrics(&mut self, seconds: u64, id: &str, metrics: Value) {
        self.reads(seconds, id, Probe::Metrics, metrics);
    }

    fn health(&mut self, seconds: u64, id: &str, health: Value) {
        self.reads(seconds, id, Probe::DestinationHealth, health);
    }

    /// Kind and start (in seconds) of each trouble of a pipeline; negative if it may have begun earlier.
    fn troubles(&mut self, seconds: u64, id: &str) -> Vec<(&'static str, Option<i64>)> {
        self.troubles_at(self.at(seconds), id)
    }

    fn troubles_at(&mut self, now: Moment, id: &str) -> Vec<(&'static str, Option<i64>)> {
        let view = self.account.view(now);
        let pipeline = &view.pipelines[&PipelineId::new(id).unwrap()];
        Judge::new(&view, now).pipeline(pipeline).iter().map(|trouble| self.short(trouble)).collect()
    }

    fn account(&mut self, seconds: u64) -> Vec<(&'static str, Option<i64>)> {
        let now = self.at(seconds);
        let view = self.account.view(now);
        Judge::new(&view, now).account().iter().map(|trouble| self.short(trouble)).collect()
    }

    fn short(&self, trouble: &Trouble) -> (&'static str, Option<i64>) {
        let since = trouble.since.map(|began| {
            let seconds = began.at.since(self.start).as_secs().cast_signed();
            if began.or_earlier { -seconds } else { seconds }
        });
        (trouble.kind.row().name, since)
    }
}

fn timeout() -> Error {
    Error::Timeout { after: Duration::from_secs(10), waiting: Waiting::Headers }
}

#[test]
fn a_well_pipeline_has_none() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    assert_eq!(scene.troubles(0, "a"), [], "nothing has been read yet");
    scene.status(10, "a", "RUNNING", 2);
    scene.metrics(10, "a", json!({"last_offset": 1, "pending_records": 5, "processing_delay_ms": 300_000}));
    scene.health(10, "a", json!({"healthy": true}));
    assert_eq!(scene.troubles(20, "a"), []);
}

#[test]
fn failed_since_it_failed_and_nothing_else_that_follows_from_it() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.status(10, "a", "RUNNING", 2);
    scene.status(20, "a", "FAILED", 0);
    scene.status(30, "a", "FAILED", 0);
    scene.metrics(30, "a", json!({"processing_delay_ms": 9_000_000, "pending_records": 99_999}));
    assert_eq!(scene.troubles(40, "a"), [("failed", Some(20))]);
    scene.status(5_000, "a", "FAILED", 0);
    assert_eq!(scene.troubles(5_000, "a"), [("failed", Some(20))], "one cause");
    scene.lists(40, "b", json!({}));
    scene.status(50, "b", "FAILED", 0);
    assert_eq!(scene.troubles(60, "b"), [("failed", Some(-50))], "at first sight: it may have failed before");
    scene.status(70, "b", "RUNNING", 2);
    assert_eq!(scene.troubles(80, "b"), []);
    scene.lists(90, "bounded", json!({"execution_mode": "bounded"}));
    scene.status(90, "bounded", "FAILED", 0);
    assert_eq!(scene.troubles(90, "bounded"), [("failed", Some(-90))], "FAILED is not its end");
}

#[test]
fn a_paused_pipeline_and_a_bounded_one_at_its_end_are_never_trouble() {
    let mut scene = Scene::new();
    for (id, fields, phase) in [
        ("paused", json!({"status": "paused"}), "PAUSED"),
        ("paused-while-failing", json!({"status": "paused"}), "FAILED"),
        ("finished", json!({"execution_mode": "bounded"}), "STOPPED"),
    ] {
        scene.lists(0, id, fields);
        scene.status(10, id, phase, 0);
        scene.health(10, id, json!({"healthy": false}));
        scene.metrics(10, id, json!({"processing_delay_ms": 9_000_000}));
        scene.fails(20, id, Probe::Metrics, Error::of_status(403).unwrap());
        for seconds in [20, 10_000] {
            assert_eq!(scene.troubles(seconds, id), [], "{id} at {seconds}");
        }
    }
    scene.lists(0, "stopped", json!({}));
    scene.status(10, "stopped", "STOPPED", 0);
    scene.status(910, "stopped", "STOPPED", 0);
    assert_eq!(scene.troubles(920, "stopped"), [("not_running", Some(-10))], "an unbounded one has no end");
}

#[test]
fn wanted_running_but_not_running_for_longer_than_a_deployment_takes() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({"status": "paused"}));
    scene.status(10, "a", "PAUSED", 0);
    scene.lists(60, "a", json!({"status": "running"}));
    for seconds in (70..960).step_by(10) {
        scene.status(seconds, "a", if seconds % 20 == 0 { "STOPPING" } else { "DEPLOYING" }, 0);
    }
    assert_eq!(scene.troubles(5_000, "a"), [], "it lasts as long as it has been read, and not until now");
    scene.status(960, "a", "FAILED", 0);
    let both = [("failed", Some(960)), ("not_running", Some(60))];
    assert_eq!(scene.troubles(960, "a"), both, "it fails in turns, so that failed alone never lasts");
    scene.status(970, "a", "DEPLOYING", 0);
    assert_eq!(scene.troubles(971, "a"), [("not_running", Some(60))], "phases that alternate do not start it again");
    scene.status(975, "a", "SOMETHING_NEW", 0);
    assert_eq!(scene.troubles(976, "a"), [("not_running", Some(60))], "a phase that this version does not know");
    scene.status(980, "a", "RUNNING", 2);
    assert_eq!(scene.troubles(981, "a"), []);
    scene.lists(0, "b", json!({"status": "sleeping"}));
    scene.status(10, "b", "PAUSED", 0);
    scene.status(910, "b", "PAUSED", 0);
    assert_eq!(scene.troubles(911, "b"), [("not_running", Some(-10))], "an unknown desired status counts as running");
}

#[test]
fn a_desired_status_that_is_unknown_for_a_while_does_not_restart_the_time_of_a_deployment() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.status(10, "a", "STOPPED", 0);
    scene.status(1_000, "a", "STOPPED", 0);
    for desired in ["sleeping", "running"] {
        scene.lists(1_010, "a", json!({"status": desired}));
        scene.status(1_020, "a", "STOPPED", 0);
        assert_eq!(scene.troubles(1_020, "a"), [("not_running", Some(-10))], "{desired}");
    }
}

#[test]
fn replicas_that_are_not_ready() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.status(10, "a", "RUNNING", 2);
    scene.status(20, "a", "RUNNING", 1);
    assert_eq!(scene.troubles(30, "a"), [("replicas_not_ready", Some(20))]);
    scene.status(30, "a", "RUNNING", 2);
    assert_eq!(scene.troubles(30, "a"), []);
}

#[test]
fn no_progress_is_a_stall_if_records_waited_all_that_time() {
    let mut scene = Scene::new();
    let still = |pending: u32| json!({"last_offset": 7, "pending_records": pending});
    scene.lists(0, "a", json!({}));
    scene.status(0, "a", "RUNNING", 2);
    scene.metrics(0, "a", still(3));
    scene.metrics(600, "a", still(3));
    assert_eq!(scene.troubles(600, "a"), []);
    scene.metrics(601, "a", still(3));
    assert_eq!(scene.troubles(700, "a"), [("stalled", Some(0))]);
    scene.metrics(1_801, "a", still(3));
    assert_eq!(scene.troubles(1_801, "a"), [("stalled", Some(0))], "and not without progress as well");
    scene.metrics(1_802, "a", still(0));
    assert_eq!(scene.troubles(1_802, "a"), [("no_progress", Some(0))]);
    // The topic wakes up: the first records wait until the buffer is full or old enough.
    scene.metrics(1_810, "a", still(1));
    scene.metrics(2_410, "a", still(2));
    assert_eq!(scene.troubles(2_410, "a"), [("no_progress", Some(0))]);
    scene.metrics(2_411, "a", json!({"last_offset": 7}));
    assert_eq!(scene.troubles(2_411, "a"), [("stalled", Some(0))], "they still wait as far as is known");
}

/// A running pipeline of the topic of all others here, read at these times at these heights.
fn reads_on(scene: &mut Scene, id: &str, readings: &[(u64, u32)]) {
    scene.lists(0, id, json!({}));
    scene.status(0, id, "RUNNING", 2);
    for (at, height) in readings {
        scene.metrics(*at, id, json!({"last_block_height": height, "pending_records": 0}));
    }
}

#[test]
fn no_progress_is_a_stall_if_another_one_read_on_from_the_topic_all_that_time() {
    let mut scene = Scene::new();
    reads_on(&mut scene, "other", &[(0, 10)]);
    reads_on(&mut scene, "a", &[(0, 10), (1_801, 10)]);
    assert_eq!(scene.troubles(1_801, "a"), [("no_progress", Some(0))], "the chain may be quiet");
    reads_on(&mut scene, "other", &[(1_802, 11)]);
    assert_eq!(scene.troubles(1_802, "a"), [("no_progress", Some(0))], "it may have done the same since");
    for at in [1_830, 2_430] {
        reads_on(&mut scene, "a", &[(at, 10)]);
        assert_eq!(scene.troubles(at, "a"), [("no_progress", Some(0))], "{at}");
    }
    assert_eq!(scene.troubles(90_000, "a"), [("no_progress", Some(0))], "no trouble begins while nothing is read");
    reads_on(&mut scene, "a", &[(2_431, 10)]);
    assert_eq!(scene.troubles(2_431, "a"), [("stalled", Some(0))]);
    assert_eq!(scene.troubles(2_431, "other"), []);
}

#[test]
fn work_counts_from_the_first_sign_of_it() {
    let mut scene = Scene::new();
    reads_on(&mut scene, "other", &[(0, 10)]);
    reads_on(&mut scene, "a", &[(0, 10)]);
    reads_on(&mut scene, "other", &[(20, 11)]);
    reads_on(&mut scene, "a", &[(30, 10)]);
    for (at, expected) in [(600, &[][..]), (631, &[("stalled", Some(0))])] {
        scene.metrics(at, "a", json!({"last_block_height": 10, "pending_records": 1}));
        assert_eq!(scene.troubles(at, "a"), expected);
    }
}

#[test]
fn a_bounded_one_has_nothing_to_read_where_another_one_only_got_as_far() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({"execution_mode": "bounded"}));
    scene.status(0, "a", "RUNNING", 2);
    reads_on(&mut scene, "other", &[(0, 9)]);
    for at in [0, 30, 700] {
        scene.metrics(at, "a", json!({"last_block_height": 10}));
        reads_on(&mut scene, "other", &[(at + 20, 10)]);
    }
    assert_eq!(scene.troubles(700, "a"), []);
}

#[test]
fn one_that_is_still_behind_does_not_show_that_there_is_something_to_read() {
    let mut scene = Scene::new();
    reads_on(&mut scene, "a", &[(0, 10)]);
    for (at, height) in [(30, 5), (60, 6), (90, 9), (120, 10)] {
        reads_on(&mut scene, "resumed", &[(at, height)]);
        reads_on(&mut scene, "a", &[(at, 10)]);
    }
    reads_on(&mut scene, "a", &[(1_700, 10)]);
    assert_eq!(scene.troubles(1_700, "a"), []);
}

#[test]
fn neither_does_a_bounded_one_nor_one_of_another_topic() {
    let mut scene = Scene::new();
    let others = [("bounded", json!({"execution_mode": "bounded"})), ("elsewhere", json!({"topic": "eth.mainnet"}))];
    for (id, fields) in others {
        scene.lists(0, id, fields);
        scene.status(0, id, "RUNNING", 2);
        for at in [0, 30, 60] {
            scene.metrics(at, id, json!({"last_block_height": 1_000 + at}));
        }
    }
    reads_on(&mut scene, "a", &[(0, 10), (60, 10), (1_700, 10)]);
    assert_eq!(scene.troubles(1_700, "a"), []);
}

#[test]
fn one_that_moves_to_the_topic_has_to_be_seen_to_read_on_from_it() {
    let mut scene = Scene::new();
    scene.lists(0, "moves", json!({"topic": "eth.mainnet"}));
    scene.status(0, "moves", "RUNNING", 2);
    scene.metrics(0, "moves", json!({"last_block_height": 1_000}));
    reads_on(&mut scene, "a", &[(0, 10)]);
    scene.metrics(20, "moves", json!({"last_block_height": 1_001}));
    reads_on(&mut scene, "moves", &[(30, 12)]);
    reads_on(&mut scene, "a", &[(60, 10), (700, 10)]);
    assert_eq!(scene.troubles(700, "a"), []);
    reads_on(&mut scene, "moves", &[(710, 13)]);
    reads_on(&mut scene, "a", &[(730, 10), (1_331, 10)]);
    assert_eq!(scene.troubles(1_331, "a"), [("stalled", Some(0))]);
}

#[test]
fn what_a_pipeline_read_of_its_new_topic_before_a_list_showed_that_hides_no_stall() {
    let mut scene = Scene::new();
    for id in ["moves", "a", "b"] {
        scene.lists(0, id, json!({"topic": "eth.mainnet"}));
        scene.status(0, id, "RUNNING", 2);
        scene.metrics(10, id, json!({"last_block_height": 100}));
    }
    scene.metrics(20, "moves", json!({"last_block_height": 9_000}));
    scene.lists(30, "moves", json!({"topic": "base.mainnet"}));
    scene.metrics(40, "a", json!({"last_block_height": 101}));
    scene.metrics(60, "b", json!({"last_block_height": 102}));
    for seconds in [70, 671] {
        scene.metrics(seconds, "a", json!({"last_block_height": 101}));
    }
    assert_eq!(scene.troubles(671, "a"), [("stalled", Some(40))]);
}

#[test]
fn a_pipeline_that_has_stalled_has_not_healed_when_the_others_stop_or_go() {
    let mut scene = Scene::new();
    reads_on(&mut scene, "a", &[(0, 10)]);
    reads_on(&mut scene, "other", &[(0, 10), (20, 11)]);
    reads_on(&mut scene, "a", &[(30, 10), (631, 10)]);
    let stalled = [("stalled", Some(0))];
    assert_eq!(scene.troubles(631, "a"), stalled);
    assert_eq!(scene.troubles(90_000, "a"), stalled, "neither can be read");
    for at in [900, 1_700, 5_000] {
        reads_on(&mut scene, "other", &[(at, 11)]);
        reads_on(&mut scene, "a", &[(at, 10)]);
        assert_eq!(scene.troubles(at, "a"), stalled, "{at}");
    }
    scene.status(5_001, "other", "FAILED", 0);
    scene.lists(5_002, "other", json!({"topic": "eth.mainnet"}));
    reads_on(&mut scene, "a", &[(5_030, 10)]);
    assert_eq!(scene.troubles(5_030, "a"), stalled);
    reads_on(&mut scene, "a", &[(5_060, 11)]);
    assert_eq!(scene.troubles(5_060, "a"), []);
}

#[test]
fn what_others_read_before_a_pipeline_was_resumed_was_not_its_work() {
    let mut scene = Scene::new();
    reads_on(&mut scene, "a", &[(0, 10)]);
    scene.status(10, "a", "PAUSED", 0);
    scene.lists(0, "other", json!({}));
    scene.status(0, "other", "RUNNING", 2);
    let height = |height: u32| json!({"last_block_height": height});
    scene.metrics(1_000, "other", height(20));
    scene.status(1_100, "a", "RUNNING", 2);
    for at in [1_130, 1_801] {
        scene.metrics(at, "a", height(10));
        assert_eq!(scene.troubles(at, "a"), []);
    }
    scene.metrics(1_810, "other", height(21));
    for (at, expected) in [(1_831, &[][..]), (2_432, &[("stalled", Some(0))])] {
        scene.metrics(at, "a", height(10));
        assert_eq!(scene.troubles(at, "a"), expected);
    }
}

#[test]
fn a_delay_above_the_limit_that_does_not_shrink() {
    let mut scene = Scene::new();
    let delay = |seconds: u64| json!({"processing_delay_ms": seconds * 1_000});
    scene.lists(0, "a", json!({}));
    scene.status(0, "a", "RUNNING", 2);
    for (at, seconds) in [(0, 299), (30, 300), (60, 301), (90, 400)] {
        scene.metrics(at, "a", delay(seconds));
    }
    assert_eq!(scene.troubles(90, "a"), [("delay_high", Some(60))]);
    scene.metrics(120, "a", delay(1_801));
    assert_eq!(scene.troubles(120, "a"), [("delay_critical", Some(60))]);
    // The slope does not yet show a minute of catching up; it shows five.
    for at in (150..900).step_by(30) {
        scene.metrics(at, "a", delay(1_900 - at));
        scene.status(at, "a", "RUNNING", 2);
    }
    assert_eq!(scene.troubles(900, "a"), []);
    scene.lists(0, "stopped", json!({}));
    scene.status(0, "stopped", "STOPPED", 0);
    scene.metrics(0, "stopped", delay(2_000));
    assert_eq!(scene.troubles(10, "stopped"), [], "the delay of a pipeline that does not run follows from that");
    scene.lists(0, "history", json!({"execution_mode": "Bounded"}));
    scene.status(0, "history", "RUNNING", 2);
    scene.metrics(0, "history", delay(90_000));
    assert_eq!(scene.troubles(10, "history"), [], "a bounded pipeline reads history");
}

#[test]
fn a_pipeline_that_restarts_every_few_minutes_lags_all_the_time() {
    let mut scene = Scene::new();
    let delay = |seconds: u64| json!({"processing_delay_ms": seconds * 1_000});
    scene.lists(0, "a", json!({}));
    scene.status(0, "a", "RUNNING", 2);
    scene.metrics(30, "a", delay(2_000));
    for minutes in (0..60).step_by(6) {
        let seconds = minutes * 60 + 60;
        scene.metrics(seconds, "a", delay(2_000 + seconds));
        assert_eq!(scene.troubles(seconds, "a"), [("delay_critical", Some(-30))], "RUNNING at {seconds}");
        scene.status(seconds + 240, "a", "DEPLOYING", 0);
        scene.metrics(seconds + 270, "a", delay(2_270 + seconds));
        assert_eq!(scene.troubles(seconds + 270, "a"), [("delay_critical", Some(-30))], "DEPLOYING after {seconds}");
        scene.status(seconds + 300, "a", "RUNNING", 2);
    }
}

#[test]
fn a_pipeline_that_deploys_lags_only_if_it_did_while_it_ran() {
    let delay = json!({"processing_delay_ms": 2_000_000});
    // At first sight, after a pause, and after it ran without a delay until the worker stopped.
    let mut scene = Scene::new();
    scene.lists(0, "first", json!({}));
    scene.metrics(1, "first", delay.clone());
    scene.status(2, "first", "DEPLOYING", 0);
    for id in ["resumed", "late", "at once"] {
        scene.lists(0, id, json!({}));
        scene.status(1, id, "RUNNING", 2);
    }
    scene.metrics(2, "resumed", delay.clone());
    scene.lists(3, "resumed", json!({"status": "paused"}));
    scene.lists(4, "resumed", json!({"status": "running"}));
    for (id, at) in [("resumed", 6), ("late", 6), ("at once", 5)] {
        scene.status(5, id, "DEPLOYING", 0);
        scene.metrics(at, id, delay.clone());
    }
    for id in ["first", "resumed", "late", "at once"] {
        assert_eq!(scene.troubles(7, id), [], "{id}");
        scene.status(8, id, "RUNNING", 2);
    }
    for (id, since) in [("first", -1), ("resumed", -2), ("late", -6), ("at once", -5)] {
        assert_eq!(scene.troubles(9, id), [("delay_critical", Some(since))], "{id}");
    }
}

#[test]
fn a_backlog_that_grows() {
    let mut scene = Scene::new();
    let pending = |records: u64| json!({"pending_records": records, "records_consumed": records});
    scene.lists(0, "a", json!({}));
    scene.metrics(0, "a", pending(25_000));
    scene.metrics(30, "a", pending(25_001));
    assert_eq!(scene.troubles(30, "a"), [("backlog_growing", Some(30))]);
    scene.metrics(60, "a", pending(25_000));
    assert_eq!(scene.troubles(60, "a"), []);
    scene.lists(0, "shrinks", json!({}));
    scene.metrics(0, "shrinks", pending(90_000));
    scene.metrics(30, "shrinks", pending(80_000));
    assert_eq!(scene.troubles(30, "shrinks"), []);
}

#[test]
fn dropped_records() {
    let mut scene = Scene::new();
    let metrics = |consumed: u64, dropped: u64| {
        let consumed = 1_000_000 + consumed;
        json!({"records_consumed": consumed, "normalization_errors": dropped})
    };
    scene.lists(0, "a", json!({}));
    scene.metrics(0, "a", metrics(0, 5));
    scene.metrics(30, "a", metrics(3_000, 5));
    assert_eq!(scene.troubles(30, "a"), [], "it is not known when those were dropped");
    scene.metrics(60, "a", metrics(6_000, 11));
    assert_eq!(scene.troubles(60, "a"), [], "one in a thousand");
    scene.metrics(90, "a", metrics(9_000, 15));
    assert_eq!(scene.troubles(90, "a"), [("records_dropped", Some(90))]);
    for seconds in (120..=900).step_by(30) {
        scene.metrics(seconds, "a", metrics(seconds * 100, 15));
    }
    assert_eq!(scene.troubles(900, "a"), [], "it has stopped");
    scene.metrics(930, "a", json!({"records_consumed": 10, "normalization_errors": 0}));
    scene.metrics(960, "a", json!({"records_consumed": 4_000, "normalization_errors": 1}));
    assert_eq!(scene.troubles(960, "a"), [], "the worker has started again");
    for (seconds, dropped) in [(0, 5), (30, 15)] {
        scene.lists(0, "b", json!({}));
        scene.metrics(seconds, "b", json!({"normalization_errors": dropped}));
    }
    assert_eq!(scene.troubles(30, "b"), [("records_dropped", Some(30))], "of how many is not known");
}

#[test]
fn the_destination() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.health(0, "a", json!({"healthy": true}));
    let unhealthy = || json!({"healthy": false, "last_error": "connection refused"});
    scene.health(30, "a", unhealthy());
    scene.fails(40, "a", Probe::DestinationHealth, timeout());
    assert_eq!(scene.troubles(4_000, "a"), [], "one bad check may be a blip, however long it is the newest");
    scene.health(60, "a", unhealthy());
    assert_eq!(scene.troubles(60, "a"), [("destination_unhealthy", Some(30))]);
    scene.fails(70, "a", Probe::DestinationHealth, timeout());
    assert_eq!(scene.troubles(4_000, "a"), [("destination_unhealthy", Some(30))], "what cannot be read has not healed");
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
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.lists(0, "well", json!({}));
    scene.status(0, "a", "RUNNING", 2);
    scene.fails(15, "a", Probe::Status, timeout());
    scene.status(20, "well", "RUNNING", 2);
    assert_eq!(scene.troubles(20, "a"), [], "one failed probe is not trouble");
    scene.fails(30, "a", Probe::Status, Error::of_status(502).unwrap());
    assert_eq!(scene.troubles(30, "a"), [("probe_failing", Some(15))]);
    assert_eq!(scene.troubles(300, "a"), [("probe_failing", Some(15))]);
    assert_eq!(scene.troubles(301, "a"), [("readings_stale", Some(0))]);
    scene.fails(310, "a", Probe::Status, Error::of_status(403).unwrap());
    assert_eq!(scene.troubles(310, "a"), [("forbidden", Some(15))]);
    scene.status(320, "a", "RUNNING", 2);
    assert_eq!(scene.troubles(320, "a"), []);
    scene.fails(320, "a", Probe::Metrics, timeout());
    scene.status(330, "well", "RUNNING", 2);
    scene.fails(350, "a", Probe::Metrics, timeout());
    assert_eq!(scene.troubles(350, "a"), [("readings_stale", Some(-320))], "never read");
}

#[test]
fn an_outage_is_not_trouble_of_each_pipeline() {
    let mut scene = Scene::new();
    for id in ["a", "b"] {
        scene.lists(0, id, json!({}));
        scene.status(0, id, "RUNNING", 2);
    }
    for seconds in (15..600).step_by(15) {
        scene.fails(seconds, "a", Probe::Status, timeout());
        scene.fails(seconds + 1, "b", Probe::Status, timeout());
        assert_eq!((scene.troubles(seconds + 1, "a"), scene.troubles(seconds + 1, "b")), (vec![], vec![]));
    }
    scene.status(600, "a", "RUNNING", 2);
    assert_eq!(scene.troubles(601, "b"), [], "its turn has not come yet");
    scene.fails(610, "b", Probe::Status, timeout());
    assert_eq!(scene.troubles(610, "b"), [("readings_stale", Some(0))], "it fails although the outage is over");
}

#[test]
fn a_status_that_says_nothing_about_the_worker_twice() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.reads(0, "a", Probe::Status, json!({}));
    assert_eq!(scene.troubles(9_000, "a"), []);
    scene.reads(15, "a", Probe::Status, json!({}));
    scene.fails(30, "a", Probe::Status, timeout());
    assert_eq!(scene.troubles(9_000, "a"), [("readings_stale", Some(0))]);
}

#[test]
fn a_pipeline_that_is_resumed_has_time_to_move() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.status(0, "a", "RUNNING", 2);
    let still = || json!({"last_offset": 7, "pending_records": 50});
    scene.metrics(0, "a", still());
    scene.lists(30, "a", json!({"status": "paused"}));
    scene.status(30, "a", "PAUSED", 0);
    scene.lists(3_000, "a", json!({}));
    scene.status(3_060, "a", "RUNNING", 2);
    scene.metrics(3_600, "a", still());
    assert_eq!(scene.troubles(3_600, "a"), []);
    scene.metrics(3_661, "a", still());
    assert_eq!(scene.troubles(3_661, "a"), [("stalled", Some(0))]);
}

#[test]
fn a_refused_key_is_one_trouble_and_not_one_per_pipeline() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.status(1, "a", "RUNNING", 2);
    assert_eq!(scene.account(1), []);
    scene.fails(2, "a", Probe::Status, Error::of_status(401).unwrap());
    scene.list_fails(3, Error::of_status(401).unwrap());
    assert_eq!(scene.account(1_000), [("key_unauthorized", Some(2))]);
    assert_eq!(scene.troubles(1_000, "a"), []);
    scene.list_fails(1_001, Error::of_status(403).unwrap());
    assert_eq!(scene.account(1_002), [("key_not_service_key", Some(1_001))]);
    scene.list_fails(1_003, Error::of_status(500).unwrap());
    assert_eq!(scene.account(1_004), [("key_not_service_key", Some(1_001))], "a 500 says nothing about the key");
    scene.fails(1_005, "a", Probe::Status, Error::of_status(403).unwrap());
    assert_eq!(scene.troubles(1_005, "a"), [], "the credential is to blame");
    scene.lists_again(1_010);
    assert_eq!(scene.account(1_011), [], "nothing could be read while the key was refused");
}

#[test]
fn an_outage_of_the_list_as_well_is_no_lack_of_readings() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.status(10, "a", "RUNNING", 2);
    scene.list_fails(60, timeout());
    assert_eq!(scene.account(9_000), [("list_failing", Some(60))]);
}

#[test]
fn a_trouble_stays_while_it_cannot_be_read() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({"group": {"name": "Data", "is_over_limit": true}}));
    scene.status(0, "a", "FAILED", 0);
    for seconds in [10, 9_000] {
        scene.list_fails(seconds, timeout());
        scene.fails(seconds, "a", Probe::Status, timeout());
        assert_eq!(scene.troubles(seconds, "a"), [("failed", Some(0))]);
        assert_eq!(scene.account(seconds), [("list_failing", Some(10)), ("group_over_limit", Some(0))]);
    }
    scene.listed.clear();
    scene.account.lists(&[json!({"id": "pipe_1", "status": "paused"})], scene.at(9_010));
    assert_eq!(scene.account.view(scene.at(9_010)).pipelines.len(), 1, "a list does not show the pipeline any more");
}

#[test]
fn lists_and_what_they_say() {
    let mut scene = Scene::new();
    let group = |over: bool, trial: bool, paid: bool| json!({"group": {"name": "Data", "is_over_limit": over, "is_free_trial_expired": trial, "is_paid": paid}});
    scene.list_fails(5, timeout());
    assert_eq!(scene.account(6), [("list_failing", Some(-5))]);
    scene.account.lists(&[], scene.at(10));
    assert_eq!(scene.account(10), [("expected_missing", Some(-10))]);
    scene.lists(20, "a", group(true, false, true));
    assert_eq!(scene.account(20), [("group_over_limit", Some(20))]);
    scene.list_fails(40, Error::of_status(502).unwrap());
    scene.list_fails(50, timeout());
    assert_eq!(scene.account(60), [("list_failing", Some(40)), ("group_over_limit", Some(20))]);
    scene.lists(340, "a", group(false, true, false));
    assert_eq!(scene.account(340), [("group_trial_expired", Some(340))]);
    scene.lists(350, "a", group(false, true, true));
    assert_eq!(scene.account(350), [], "it has a paid plan by now");
}

#[test]
fn an_account_of_whose_pipelines_nothing_is_read() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    assert_eq!(scene.account(300), []);
    assert_eq!(scene.account(301), [("no_readings", Some(0))], "nothing has ever been read");
    scene.status(310, "a", "RUNNING", 2);
    scene.metrics(320, "a", json!({}));
    assert_eq!(scene.account(620), [], "one reading is still fresh");
    assert_eq!(scene.account(621), [("no_readings", Some(320))]);
    scene.lists(621, "paused", json!({"status": "paused"}));
    scene.status(630, "paused", "PAUSED", 0);
    assert_eq!(scene.account(640), [("no_readings", Some(320))], "a paused pipeline is not a witness");
    scene.list_fails(640, timeout());
    let both = [("list_failing", Some(640)), ("no_readings", Some(320))];
    assert_eq!(scene.account(641), both, "what cannot be read has not healed");
    scene.lists_again(650);
    assert_eq!(scene.account(650), [("no_readings", Some(320))], "a list is not a reading");
    scene.status(660, "a", "RUNNING", 2);
    assert_eq!(scene.account(960), []);
}

#[test]
fn the_budget() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    assert_eq!(scene.account(0), []);
    scene.fails(1, "a", Probe::Status, Error::RateLimited { retry_after: Some(Duration::from_secs(30)) });
    assert_eq!(scene.account(30), [("rate_limited", None)]);
    assert_eq!(scene.account(31), []);
    for number in 0..30 {
        scene.listed.insert(format!("b{number}"), json!({"id": format!("b{number}"), "status": "running"}));
    }
    scene.lists_again(40);
    assert_eq!(scene.account(40), [("budget_too_small", None)], "32 pipelines need 4.3 requests per second");
}
