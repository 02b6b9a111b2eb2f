//! Workers that restart again and again, and destinations that come and go.

use super::*;

const HALF_AN_HOUR: u64 = 1_800;

impl Scene {
    fn worker(&mut self, seconds: u64, id: &str, start: &str) {
        let status = json!({"status": "RUNNING", "replicas": 2, "ready": 2, "start_time": start});
        self.reads(seconds, id, Probe::Status, status);
    }

    /// The destination comes and goes, every 60 seconds; it is healthy at first and, after an even number of changes, at last.
    fn flaps(&mut self, from: u64, id: &str, changes: u64) {
        for change in 0..=changes {
            self.health(from + 60 * change, id, json!({"healthy": change % 2 == 0}));
        }
    }
}

fn start(number: u32) -> String {
    format!("2025-01-01T00:00:{number:02}Z")
}

#[test]
fn a_worker_that_restarts_three_times_in_half_an_hour() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    for (number, seconds) in [(0, 0), (1, 600), (2, 1_200)] {
        scene.worker(seconds, "a", &start(number));
    }
    assert_eq!(scene.troubles(1_200, "a"), [], "the first worker has not restarted, and two restarts are not trouble");
    scene.worker(1_800, "a", &start(3));
    assert_eq!(scene.troubles(1_800, "a"), [("restarting", Some(1_800))]);
    scene.worker(1_810, "a", &start(3));
    scene.reads(5_000, "a", Probe::Status, json!({"status": "RUNNING", "replicas": 2, "ready": 2}));
    assert_eq!(scene.troubles(9_000, "a"), [("restarting", Some(1_800))], "what is not read has not healed");
    scene.worker(600 + HALF_AN_HOUR, "a", &start(3));
    assert_eq!(scene.troubles(9_000, "a"), [("restarting", Some(1_800))]);
    scene.worker(601 + HALF_AN_HOUR, "a", &start(3));
    assert_eq!(scene.troubles(9_000, "a"), [], "the first restart is half an hour ago");
}

#[test]
fn restarts_count_however_slowly_they_come() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    for number in 0..10 {
        scene.worker(u64::from(number) * 901, "a", &start(number));
    }
    assert_eq!(scene.troubles(9_000, "a"), [], "two in half an hour, for hours");
}

#[test]
fn a_worker_that_restarts_until_it_has_failed_does_both() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    (0..4).for_each(|number| scene.worker(u64::from(number) * 60, "a", &start(number)));
    scene.reads(240, "a", Probe::Status, json!({"status": "FAILED", "start_time": start(3)}));
    assert_eq!(scene.troubles(240, "a"), [("failed", Some(240)), ("restarting", Some(180))]);
}

#[test]
fn a_destination_that_comes_and_goes_three_times_in_half_an_hour() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.flaps(0, "a", 4);
    assert_eq!(scene.troubles(250, "a"), []);
    scene.flaps(240, "a", 2);
    assert_eq!(scene.troubles(360, "a"), [("destination_flapping", Some(360))], "healthy now");
    scene.health(420, "a", json!({"healthy": null}));
    scene.fails(480, "a", Probe::DestinationHealth, timeout());
    assert_eq!(scene.troubles(480, "a"), [("destination_flapping", Some(360))]);
    scene.health(61 + HALF_AN_HOUR, "a", json!({"healthy": true}));
    assert_eq!(scene.troubles(61 + HALF_AN_HOUR, "a"), []);
}

#[test]
fn what_a_pipeline_did_while_it_was_paused_is_not_trouble() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({"status": "paused"}));
    scene.flaps(0, "a", 6);
    (0..4).for_each(|number| scene.worker(u64::from(number) * 60, "a", &start(number)));
    assert_eq!(scene.troubles(360, "a"), []);
}

#[test]
fn a_list_that_fails_for_long_ends_neither() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.flaps(0, "a", 6);
    (0..4).for_each(|number| scene.worker(u64::from(number) * 60, "a", &start(number)));
    scene.list_fails(400, timeout());
    let both = [("restarting", Some(180)), ("destination_flapping", Some(360))];
    assert_eq!(scene.troubles(1_000, "a"), both);
}
