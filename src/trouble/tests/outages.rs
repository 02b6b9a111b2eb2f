//! Which troubles stay while they cannot be read, and which end: refused keys, outages, and pipelines whose intent
//! changes meanwhile.

use super::*;

fn revoked() -> Error {
    Error::of_status(401).unwrap()
}

fn unhealthy() -> Value {
    json!({"healthy": false})
}

impl Scene {
    /// A running pipeline whose destination was read as unhealthy twice.
    fn lists_unhealthy(&mut self, id: &str) {
        self.lists(0, id, json!({}));
        self.status(0, id, "RUNNING", 2);
        self.health(0, id, unhealthy());
        self.health(30, id, unhealthy());
    }
}

const UNHEALTHY: [(&str, Option<i64>); 1] = [("destination_unhealthy", Some(0))];

#[test]
fn a_credential_that_is_no_service_key_is_revoked_too() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.list_fails(10, Error::of_status(403).unwrap());
    scene.fails(20, "a", Probe::Status, Error::of_status(403).unwrap());
    assert_eq!((scene.account(21), scene.troubles(21, "a")), (vec![("key_not_service_key", Some(10))], vec![]));
    scene.list_fails(120, revoked());
    assert_eq!((scene.account(121), scene.troubles(121, "a")), (vec![("key_unauthorized", Some(120))], vec![]));
}

#[test]
fn a_key_is_revoked_for_an_hour_while_pages_are_out() {
    let mut scene = Scene::new();
    scene.account = account(&["pipe_1", "gone", "back"], scene.start);
    scene.lists_unhealthy("a");
    let missing = [("expected_missing", Some(0)); 2];
    assert_eq!(scene.account(30), missing);
    scene.status(590, "a", "RUNNING", 2);
    scene.fails(600, "a", Probe::Status, revoked());
    scene.fails(600, "a", Probe::DestinationHealth, revoked());
    scene.list_fails(601, revoked());
    let with_key = [[("key_unauthorized", Some(600))].as_slice(), &missing].concat();
    for seconds in [602, 4_200] {
        assert_eq!((scene.account(seconds), scene.troubles(seconds, "a")), (with_key.clone(), UNHEALTHY.to_vec()));
    }
    scene.lists(4_201, "back", json!({"status": "paused"}));
    assert_eq!((scene.account(4_201), scene.troubles(4_201, "a")), (missing[..1].to_vec(), UNHEALTHY.to_vec()));
    scene.health(4_230, "a", json!({"healthy": true}));
    assert_eq!(scene.troubles(4_231, "a"), [], "its status has its turn next");
    scene.status(4_240, "a", "RUNNING", 2);
    for seconds in [4_240, 4_500] {
        assert_eq!((scene.account(seconds), scene.troubles(seconds, "a")), (missing[..1].to_vec(), vec![]));
    }
}

#[test]
fn a_key_that_is_refused_now_and_then_ends_no_other_trouble() {
    let mut scene = Scene::new();
    scene.account.lists(&[], scene.at(0));
    for seconds in (120..1_200).step_by(120) {
        scene.list_fails(seconds, revoked());
        let refused = ("key_unauthorized", Some(seconds.cast_signed()));
        assert_eq!(scene.account(seconds), [refused, ("expected_missing", Some(0))]);
        scene.account.lists(&[], scene.at(seconds + 1));
        assert_eq!(scene.account(seconds + 1), [("expected_missing", Some(0))]);
    }
}

#[test]
fn every_trouble_of_a_pipeline_stays_through_an_outage_of_an_hour() {
    let mut scene = Scene::new();
    let delay = |seconds: u64| json!({"processing_delay_ms": seconds * 1_000});
    let still = || json!({"last_offset": 7, "pending_records": 50});
    scene.lists_unhealthy("unhealthy");
    for id in ["failed", "stopped", "stalled", "lags"] {
        scene.lists(0, id, json!({}));
        scene.status(1, id, "RUNNING", 2);
    }
    scene.status(10, "failed", "FAILED", 0);
    scene.status(10, "stopped", "STOPPED", 0);
    scene.status(1_000, "stopped", "STOPPED", 0);
    scene.metrics(10, "stalled", still());
    scene.metrics(1_000, "stalled", still());
    scene.metrics(10, "lags", delay(2_000));
    scene.metrics(1_000, "lags", delay(2_000));
    let troubles = |scene: &mut Scene, seconds| {
        ["unhealthy", "failed", "stopped", "stalled", "lags"]
            .map(|id| scene.troubles(seconds, id).first().map(|(kind, _)| *kind))
    };
    let kinds = ["destination_unhealthy", "failed", "not_running", "stalled", "delay_critical"].map(Some);
    assert_eq!(troubles(&mut scene, 1_000), kinds);
    for seconds in (1_200..4_800).step_by(60) {
        scene.list_fails(seconds, timeout());
        for id in ["unhealthy", "failed", "stopped", "stalled", "lags"] {
            Probe::ALL.iter().for_each(|probe| scene.fails(seconds, id, *probe, timeout()));
        }
        assert_eq!(troubles(&mut scene, seconds), kinds, "at {seconds}");
        assert_eq!(scene.account(seconds), [("list_failing", Some(1_200))]);
    }
    scene.lists_again(4_800);
    scene.health(4_800, "unhealthy", json!({"healthy": true}));
    scene.status(4_800, "failed", "RUNNING", 2);
    scene.status(4_800, "stopped", "RUNNING", 2);
    scene.metrics(4_800, "stalled", json!({"last_offset": 8, "pending_records": 50}));
    scene.metrics(4_800, "lags", delay(2));
    assert_eq!((troubles(&mut scene, 4_800), scene.account(4_800)), ([None; 5], vec![]));
}

#[test]
fn a_list_ends_the_trouble_of_a_pipeline_that_is_paused_and_a_failing_list_ends_nothing() {
    let mut scene = Scene::new();
    scene.lists_unhealthy("paused");
    scene.lists_unhealthy("running");
    scene.fails(60, "paused", Probe::DestinationHealth, timeout());
    scene.fails(60, "running", Probe::DestinationHealth, timeout());
    scene.lists(2_400, "paused", json!({"status": "paused"}));
    assert_eq!((scene.troubles(2_400, "paused"), scene.troubles(2_400, "running")), (vec![], UNHEALTHY.to_vec()));
    scene.list_fails(2_460, timeout());
    scene.health(9_000, "paused", unhealthy());
    assert_eq!(scene.troubles(9_000, "paused"), [], "the last known desired status counts");
    for unknown in [json!(null), json!("sleeping")] {
        scene.lists(9_060, "paused", json!({"status": unknown}));
        assert_eq!(scene.troubles(9_060, "paused"), [], "the last known desired status counts");
    }
    scene.lists(9_120, "paused", json!({"status": "running"}));
    assert_eq!(scene.troubles(9_120, "paused"), UNHEALTHY);
}

#[test]
fn paused_and_forbidden_pipelines_and_none_at_all_are_no_lack_of_readings() {
    let mut scene = Scene::new();
    scene.lists_again(0);
    assert_eq!(scene.account(9_000), []);
    scene.lists(9_000, "forbidden", json!({}));
    scene.fails(9_001, "forbidden", Probe::Status, Error::of_status(403).unwrap());
    assert_eq!(
        (scene.account(20_000), scene.troubles(20_000, "forbidden")),
        (vec![], vec![("forbidden", Some(-9_001))])
    );
}

#[test]
fn a_status_without_a_phase_ends_nothing_and_starts_no_clock_anew() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.status(0, "a", "RUNNING", 2);
    let still = || json!({"last_offset": 7, "pending_records": 50, "processing_delay_ms": 2_000_000});
    scene.metrics(0, "a", still());
    scene.metrics(601, "a", still());
    let both = [("stalled", Some(0)), ("delay_critical", Some(0))];
    assert_eq!(scene.troubles(601, "a"), both);
    scene.fails(620, "a", Probe::Status, timeout());
    scene.metrics(630, "a", still());
    scene.fails(640, "a", Probe::Status, timeout());
    let stale = [both.as_slice(), &[("readings_stale", Some(0))]].concat();
    assert_eq!(scene.troubles(640, "a"), stale, "the phase that was read last counts");
    scene.reads(650, "a", Probe::Status, json!({}));
    assert_eq!(scene.troubles(650, "a"), both);
    scene.reads(665, "a", Probe::Status, json!({}));
    let both_without_phase = [both.as_slice(), &[("readings_stale", Some(650))]].concat();
    assert_eq!(scene.troubles(665, "a"), both_without_phase);
    scene.status(666, "a", "RUNNING", 2);
    assert_eq!(scene.troubles(666, "a"), both);
    scene.lists(670, "a", json!({"status": "paused"}));
    assert_eq!(scene.troubles(670, "a"), []);
}

#[test]
fn a_response_without_the_field_ends_no_trouble_and_begins_none() {
    let checked = |healthy: Value| json!({"healthy": healthy, "last_checked_at": "1970-04-26T17:46:40Z"});
    let waiting = || json!({"last_offset": 7, "pending_records": 50});
    let late = || json!({"last_offset": 1, "processing_delay_ms": 2_000_000, "pending_records": 0});
    let without =
        |fields: &[&str]| Value::Object(fields.iter().map(|field| ((*field).to_owned(), json!(null))).collect());
    let no_metrics = without(&["last_offset", "pending_records", "processing_delay_ms"]);
    let status = |phase: &str, ready: u32| json!({"status": phase, "replicas": 2, "ready": ready});
    let (unknown_health, unknown_worker) = (without(&["healthy", "last_checked_at"]), json!({"status": null}));
    let unknown_replicas = json!({"status": "RUNNING", "replicas": null});
    let backlog = |records: u64| json!({"last_offset": records, "pending_records": records});
    // Two readings, the second of which is trouble or not yet; an hour later, a response without the field.
    for (probe, first, second, silent, kind) in [
        (
            Probe::DestinationHealth,
            json!({"healthy": false}),
            json!({"healthy": false}),
            &unknown_health,
            "destination_unhealthy",
        ),
        (Probe::DestinationHealth, json!({"healthy": true}), json!({"healthy": false}), &unknown_health, ""),
        (
            Probe::DestinationHealth,
            checked(json!(true)),
            checked(json!(true)),
            &unknown_health,
            "destination_check_old",
        ),
        (Probe::Metrics, late(), late(), &no_metrics, "delay_critical"),
        (Probe::Metrics, waiting(), waiting(), &no_metrics, "stalled"),
        (Probe::Metrics, backlog(20_000), backlog(90_000), &no_metrics, "backlog_growing"),
        (Probe::Metrics, json!({"last_offset": 6, "pending_records": 50}), waiting(), &no_metrics, ""),
        (Probe::Status, status("RUNNING", 2), status("FAILED", 0), &unknown_worker, "failed"),
        (Probe::Status, status("STOPPED", 0), status("STOPPED", 0), &unknown_worker, "not_running"),
        (Probe::Status, status("RUNNING", 2), status("STOPPED", 0), &unknown_worker, ""),
        (Probe::Status, status("RUNNING", 1), status("RUNNING", 1), &unknown_replicas, "replicas_not_ready"),
    ] {
        let mut scene = Scene::new();
        scene.lists(0, "a", json!({}));
        scene.status(0, "a", "RUNNING", 2);
        scene.reads(0, "a", probe, first);
        scene.reads(1_000, "a", probe, second.clone());
        let kinds = |scene: &mut Scene, seconds| {
            let troubles = scene.troubles(seconds, "a");
            troubles.into_iter().filter(|(kind, _)| *kind != "readings_stale").collect::<Vec<_>>()
        };
        let before = kinds(&mut scene, 1_000);
        assert_eq!(before.first().map_or("", |(kind, _)| *kind), kind, "after {second}");
        for seconds in [4_600, 4_630] {
            scene.reads(seconds, "a", probe, silent.clone());
            assert_eq!(kinds(&mut scene, seconds), before, "{silent} after {second}");
        }
    }
}

#[test]
fn a_bounded_pipeline_that_has_ended_has_nothing_to_do_when_its_worker_is_gone() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({"execution_mode": "bounded"}));
    scene.status(0, "a", "RUNNING", 2);
    scene.status(60, "a", "STOPPED", 0);
    for seconds in [75, 90] {
        scene.reads(seconds, "a", Probe::Status, json!({}));
    }
    assert_eq!(scene.troubles(9_000, "a"), []);
}

#[test]
fn a_position_that_is_missing_now_and_then_moves_all_the_same() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.status(0, "a", "RUNNING", 2);
    for reading in 0..60_u64 {
        let offset = if reading % 2 == 0 { json!(reading) } else { json!(null) };
        scene.metrics(reading * 60, "a", json!({"last_offset": offset, "pending_records": 50}));
        assert_eq!(scene.troubles(reading * 60, "a"), []);
    }
}

#[test]
fn a_list_that_fails_now_and_then_does_not_end_a_lack_of_readings() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.status(20, "a", "RUNNING", 2);
    scene.fails(30, "a", Probe::Status, timeout());
    let lacks = ("no_readings", Some(20));
    assert_eq!((scene.account(320), scene.account(321)), (vec![], vec![lacks]));
    for seconds in (400..2_000).step_by(100) {
        scene.list_fails(seconds, timeout());
        let failing = ("list_failing", Some(seconds.cast_signed()));
        assert_eq!((scene.account(seconds), scene.account(seconds + 59)), (vec![failing, lacks], vec![failing, lacks]));
        scene.lists_again(seconds + 60);
        assert_eq!((scene.account(seconds + 60), scene.account(seconds + 99)), (vec![lacks], vec![lacks]));
    }
    scene.status(2_000, "a", "RUNNING", 2);
    assert_eq!((scene.account(2_000), scene.account(2_300)), (vec![], vec![]));
    assert_eq!(scene.account(2_301), [("no_readings", Some(2_000))]);
}

#[test]
fn an_outage_of_everything_is_no_lack_of_readings_when_it_is_over() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.status(0, "a", "RUNNING", 2);
    for seconds in (60..3_600).step_by(60) {
        scene.list_fails(seconds, timeout());
        scene.fails(seconds, "a", Probe::Status, timeout());
    }
    scene.lists_again(3_600);
    assert_eq!((scene.account(3_600), scene.account(3_840)), (vec![], vec![]), "60 s before it, and 240 s since");
    assert_eq!(scene.account(3_841), [("no_readings", Some(0))]);
}

#[test]
fn nothing_grows_worse_while_it_is_not_read() {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.status(0, "a", "RUNNING", 2);
    for seconds in [0, 540] {
        scene.metrics(seconds, "a", json!({"last_offset": 7, "pending_records": 50}));
        // The test's wall clock starts at 26 April 1970, 17:46:40.
        scene.health(seconds, "a", json!({"healthy": true, "last_checked_at": "1970-04-26T17:46:40Z"}));
    }
    scene.list_fails(560, timeout());
    assert_eq!(scene.troubles(90_000, "a"), []);
}
