//! Readings just at a limit, readings that lack a field, and several troubles at once.

use super::*;
use crate::account::ReadAgain;
use crate::account::testing::settings;
use crate::api::{self, Request};

/// The troubles of a running pipeline after readings of its metrics.
fn after(readings: &[(u64, Value)]) -> Vec<(&'static str, Option<i64>)> {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.status(1, "a", "RUNNING", 2);
    let mut seconds = 0;
    for (at, metrics) in readings {
        seconds = *at;
        scene.metrics(seconds, "a", metrics.clone());
    }
    scene.troubles(seconds, "a")
}

#[test]
fn a_delay_counts_at_first_sight_above_its_limits_and_unless_it_falls_fast_enough() {
    let delay = |seconds: f64| json!({"processing_delay_ms": seconds * 1_000.0});
    assert_eq!(after(&[(10, delay(300.0))]), []);
    assert_eq!(after(&[(10, delay(1_800.0))]), [("delay_high", Some(-10))]);
    assert_eq!(after(&[(10, delay(1_800.5))]), [("delay_critical", Some(-10))]);
    assert_eq!(after(&[(10, delay(1_000.0)), (70, delay(988.0))]), [], "by 0.2 seconds per second");
    assert_eq!(after(&[(10, delay(1_000.0)), (70, delay(989.0))]), [("delay_high", Some(-10))]);
}

#[test]
fn a_backlog_counts_above_its_limit_once_it_is_seen_to_grow() {
    let pending = |records: u32| json!({"pending_records": records});
    assert_eq!(after(&[(10, pending(30_000))]), [], "it may be shrinking");
    assert_eq!(after(&[(10, pending(30_000)), (70, pending(30_000))]), []);
    assert_eq!(after(&[(10, pending(24_000)), (70, pending(25_000))]), []);
    assert_eq!(after(&[(10, pending(24_000)), (70, pending(25_001))]), [("backlog_growing", Some(70))]);
}

#[test]
fn drops_count_without_a_record_count_but_not_those_of_the_past() {
    let dropped = |records: u32| json!({"normalization_errors": records});
    assert_eq!(after(&[(0, dropped(5)), (30, dropped(5)), (60, dropped(5))]), []);
    assert_eq!(after(&[(0, dropped(5)), (30, dropped(6))]), [("records_dropped", Some(30))]);
}

#[test]
fn a_position_that_a_reading_lacks_does_not_stop_the_clock() {
    let both = json!({"last_offset": 1, "last_block_height": 1});
    let found = after(&[(10, both), (2_000, json!({"last_offset": 1}))]);
    assert_eq!(found, [("no_progress", Some(10))]);
}

/// The troubles of pipeline `c`, which was read at these times and always stood at height 1, beside another one of its topic
/// with these readings.
fn beside(others: &[(&str, u64, Value)], own: &[u64]) -> Vec<(&'static str, Option<i64>)> {
    let mut scene = Scene::new();
    for id in ["c", "d", "e"] {
        scene.lists(0, id, json!({}));
        scene.status(1, id, "RUNNING", 2);
    }
    for at in 0..=*own.last().unwrap() {
        for (id, _, metrics) in others.iter().filter(|(_, when, _)| *when == at) {
            scene.metrics(at, id, metrics.clone());
        }
        if own.contains(&at) {
            scene.metrics(at, "c", json!({"last_block_height": 1}));
        }
    }
    scene.troubles(*own.last().unwrap(), "c")
}

#[test]
fn a_pipeline_has_stalled_if_another_one_of_its_topic_was_further_for_the_threshold() {
    let height = |height: u32| json!({"last_block_height": height});
    let stalled = [("stalled", Some(10))];
    let own = [10, 20, 30, 631];
    assert_eq!(beside(&[], &own), []);
    let reads_on = |at| [("d", 5, height(1)), ("d", at, height(2))];
    assert_eq!(beside(&reads_on(25), &own), stalled);
    assert_eq!(beside(&reads_on(25), &[10, 20, 30, 630]), [], "not longer than the threshold");
    assert_eq!(beside(&reads_on(31), &own), [], "seen at its newest reading only");
    assert_eq!(beside(&reads_on(11), &own), stalled);
    assert_eq!(beside(&reads_on(10), &own), [], "it may have moved later");
    assert_eq!(beside(&[("d", 5, height(0)), ("d", 25, height(1))], &own), [], "only as far as this one");
    assert_eq!(beside(&[("d", 25, height(2)), ("d", 28, height(2))], &own), [], "not seen to read on");
    let offsets = [8_u64, 9].map(|offset| ("d", offset, json!({"last_offset": offset})));
    assert_eq!(beside(&offsets, &own), [], "without a height");
    let mut scene = Scene::new();
    for id in ["c", "d"] {
        scene.lists(0, id, json!({}));
        scene.status(1, id, "RUNNING", 2);
    }
    for seconds in [10, 20, 30, 900] {
        scene.metrics(seconds, "d", height(seconds as u32));
        scene.metrics(seconds, "c", json!({"last_offset": 1}));
    }
    assert_eq!(scene.troubles(900, "c"), [], "its own height is not known");
    let restarts = [("d", 0, height(9)), ("d", 25, height(2)), ("d", 28, height(9))];
    assert_eq!(beside(&restarts, &own), [], "its worker has restarted, and the topic may be quiet");
    let [before, after] = reads_on(25);
    assert_eq!(beside(&[before.clone(), after.clone(), ("d", 28, height(0))], &own), stalled, "restarted later");
    assert_eq!(beside(&[("e", 0, height(1)), before.clone(), after.clone()], &own), stalled);
    assert_eq!(beside(&[before, after, ("e", 0, height(1))], &own), stalled);
}

#[test]
fn what_does_not_run_makes_no_progress_either() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.status(1, "a", "RUNNING", 2);
    scene.metrics(5, "a", json!({"last_offset": 1}));
    scene.status(10, "a", "STOPPED", 0);
    scene.status(5_000, "a", "STOPPED", 0);
    scene.metrics(5_000, "a", json!({"last_offset": 1}));
    assert_eq!(scene.troubles(5_000, "a"), [("not_running", Some(10))]);
}

#[test]
fn a_backfill_that_is_paused_after_it_was_stopping_ended_when_it_stopped_running() {
    let mut scene = Scene::new();
    let fields = json!({"execution_mode": "bounded", "execution_start_from": "1000", "execution_stop_from": "2000"});
    scene.lists(0, "a", fields);
    scene.status(1, "a", "RUNNING", 2);
    scene.metrics(10, "a", json!({"last_block_height": 1_500}));
    scene.status(100, "a", "STOPPING", 0);
    for seconds in [200, 999] {
        scene.status(seconds, "a", "PAUSED", 0);
        assert_eq!(scene.troubles(seconds, "a"), [], "{seconds}");
    }
    scene.status(1_000, "a", "PAUSED", 0);
    assert_eq!(scene.troubles(1_000, "a"), [("ended_early", Some(100))]);
}

#[test]
fn of_several_probes_the_one_that_fails_longest_counts() {
    let server_error = || Error::of_status(500).unwrap();
    let forbidden = || Error::of_status(403).unwrap();
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.status(5, "a", "RUNNING", 2);
    scene.metrics(5, "a", json!({}));
    scene.health(5, "a", json!({"healthy": true}));
    scene.fails(10, "a", Probe::Status, server_error());
    scene.fails(20, "a", Probe::Metrics, server_error());
    scene.health(30, "a", json!({"healthy": true}));
    scene.fails(40, "a", Probe::Status, server_error());
    scene.fails(50, "a", Probe::Metrics, server_error());
    assert_eq!(scene.troubles(50, "a"), [("probe_failing", Some(10))]);
    scene.metrics(60, "a", json!({}));
    scene.fails(70, "a", Probe::Metrics, forbidden());
    scene.fails(80, "a", Probe::DestinationHealth, forbidden());
    assert_eq!(scene.troubles(80, "a"), [("forbidden", Some(70))]);
}

#[test]
fn the_account_is_not_read_since_the_newest_reading_or_since_the_first_pipeline_was_on_duty() {
    let mut read = Scene::new();
    read.lists(0, "a", json!({}));
    read.lists(0, "b", json!({}));
    read.status(10, "a", "RUNNING", 2);
    read.status(200, "b", "RUNNING", 2);
    assert_eq!((read.account(500), read.account(501)), (vec![], vec![("no_readings", Some(200))]));

    let mut unread = Scene::new();
    unread.lists(10, "a", json!({}));
    unread.lists(100, "b", json!({}));
    assert_eq!((unread.account(310), unread.account(311)), (vec![], vec![("no_readings", Some(-10))]));

    let mut late = Scene::new();
    late.lists_again(0);
    late.lists(1_000, "a", json!({}));
    assert_eq!((late.account(1_300), late.account(1_301)), (vec![], vec![("no_readings", Some(-1_000))]));
}

#[test]
fn a_list_that_something_else_responds_to() {
    let mut scene = Scene::new();
    scene.lists_again(0);
    let html = api::read(Request::Page(1), 200, &[("content-type", "text/html")], b"<html>");
    let Response::Page(1, Err(foreign)) = html else { panic!("{html:?}") };
    scene.list_fails(10, foreign);
    assert_eq!(scene.account(10), [("foreign_response", Some(10))]);
}

#[test]
fn a_budget_that_just_suffices_is_no_trouble() {
    let mut scene = Scene::new();
    scene.lists_again(0);
    let now = scene.at(0);
    for (factor, expected) in [(1.0, vec![]), (0.99, vec![("budget_too_small", None)])] {
        let mut settings = settings(&[]);
        settings.poll.requests_per_second = factor * 0.15;
        let key = ReadAgain { loaded_at: now.wall(), is_another: false };
        scene.account.reconfigure(settings.clone(), key, now);
        settings.poll.requests_per_second = factor * scene.account.view(now).budget.required;
        scene.account.reconfigure(settings, key, now);
        assert_eq!(scene.account(0), expected, "{factor}");
    }
}

#[test]
fn the_worst_comes_first() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({"group": {"name": "g", "is_free_trial_expired": true}}));
    scene.lists(10, "a", json!({"group": {"name": "g", "is_over_limit": true, "is_free_trial_expired": true}}));
    scene.list_fails(20, Error::RateLimited { retry_after: Some(Duration::from_secs(60)) });
    let kinds = |found: Vec<(&'static str, Option<i64>)>| found.into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
    let all = ["list_failing", "group_over_limit", "group_trial_expired", "rate_limited"];
    assert_eq!(kinds(scene.account(20)), all);

    scene.status(30, "a", "RUNNING", 1);
    scene.metrics(30, "a", json!({"processing_delay_ms": 400_000}));
    scene.health(30, "a", json!({"healthy": false}));
    scene.health(40, "a", json!({"healthy": false}));
    assert_eq!(kinds(scene.troubles(40, "a")), ["destination_unhealthy", "delay_high", "replicas_not_ready"]);
}
