//! What time can do: a wall clock that steps, a process that stands still, stamps that lie. Ages are never taken from the wall
//! clock, so no step makes a reading stale or fresh.

use std::time::{Duration, Instant};

use crate::common::{
    self, Api, Exporter, Exposition, KEY, PATIENCE, Signal, all_succeed, command, eventually, failures,
};
use goldrush_exporter::simulator::{Endpoint, Fault, FaultMatcher, Options};
use serde_json::json;

/// One reading of each endpoint.
const READINGS: [&str; 4] = [
    "goldrush_pipeline_info",
    "goldrush_pipeline_replicas",
    "goldrush_pipeline_records_consumed",
    "goldrush_pipeline_destination_healthy",
];
const LAST_SUCCESS: &str = "goldrush_pipeline_probe_last_success_timestamp_seconds";

fn readings(exposition: &Exposition) -> Vec<usize> {
    READINGS.iter().map(|reading| exposition.values(reading, &[]).len()).collect()
}

/// What is a length of time, in seconds.
#[track_caller]
fn no_negative_durations(exposition: &Exposition) {
    let durations = exposition.samples().filter(|(sample, _)| {
        let family = sample.split('{').next().unwrap();
        let length = ["_seconds", "_seconds_sum", "_seconds_total"].iter().any(|end| family.ends_with(end));
        length && !family.contains("time")
    });
    let durations: Vec<(&str, f64)> = durations.collect();
    assert!(durations.len() > 5, "{durations:?}");
    assert!(durations.iter().all(|(_, value)| *value >= 0.0), "{durations:?}");
}

/// A wall clock that steps when its file is written, before the exporter and nothing else.
struct Clock(tempfile::TempDir);

impl Clock {
    fn new() -> Self {
        let clock = Self(tempfile::tempdir().unwrap());
        clock.step("+0");
        clock
    }

    fn file(&self) -> String {
        self.0.path().join("clock").to_str().unwrap().to_owned()
    }

    /// How far it is from the true one, in libfaketime's notation.
    fn step(&self, offset: &str) {
        let next = self.0.path().join("next");
        std::fs::write(&next, offset).unwrap();
        std::fs::rename(next, self.file()).unwrap();
    }

    fn exporter(&self, api: &Api, settings: &[(&str, &str)]) -> Exporter {
        let libraries = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
        let mut libraries = libraries.map(|folder| folder.join("faketime/libfaketime.so.1"));
        let library = libraries.find(|library| library.exists()).expect("libfaketime (tests/run installs it)");
        let mut all = api.environment();
        all.extend(common::environment(settings));
        all.extend(common::environment(&[
            ("LD_PRELOAD", library.to_str().unwrap()),
            ("FAKETIME_TIMESTAMP_FILE", &self.file()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ]));
        Exporter::spawn(command(&[], &all))
    }
}

#[test]
#[ignore = "needs faketime"]
fn steps_of_the_wall_clock_make_no_reading_stale_and_none_fresh() {
    const DAY: f64 = 86_400.0;
    let api = Api::healthy(2);
    let clock = Clock::new();
    let exporter = clock.exporter(&api, &[("GOLDRUSH_EXPORTER__POLL__STALE_AFTER", "3s")]);
    let mut before = exporter.until("all probes succeed", |exposition| all_succeed(exposition, 2));
    for (offset, days) in [("+2d", 2.0), ("-2d", -4.0), ("+0", 2.0)] {
        clock.step(offset);
        let deadline = Instant::now() + PATIENCE;
        // Every scrape on the way shows every reading.
        let after = loop {
            let exposition = exporter.scrape();
            assert_eq!(readings(&exposition), [2; 4], "after the step to {offset}");
            assert!(all_succeed(&exposition, 2), "after the step to {offset}");
            no_negative_durations(&exposition);
            let stamps = |exposition: &Exposition| exposition.values(LAST_SUCCESS, &[]);
            let moved = stamps(&exposition).into_iter().zip(stamps(&before)).map(|(now, then)| now - then);
            if moved.into_iter().all(|moved| (moved - days * DAY).abs() < DAY / 2.0) {
                break exposition;
            }
            assert!(Instant::now() < deadline, "no stamp of the new time in\n{}", exposition.0);
        };
        before = after;
    }
    // Backwards by the age of a reading and more: it is stale all the same.
    api.simulator
        .set_fault(FaultMatcher::default(), Some(Fault::Answer { status: 500, headers: vec![], body: vec![] }));
    exporter.until("failures", |exposition| exposition.value(&failures("list", "server_error")) > Some(0.0));
    clock.step("-1d");
    let exposition = exporter.until("all is withdrawn", |exposition| readings(exposition) == [0; 4]);
    no_negative_durations(&exposition);
    api.simulator.set_fault(FaultMatcher::default(), None);
    exporter.until("all recover", |exposition| readings(exposition) == [2; 4] && all_succeed(exposition, 2));
}

#[test]
fn what_waited_for_a_process_that_stood_still_is_no_fresh_reading() {
    let stale_after = Duration::from_secs(2);
    let api = Api::start(Options { pipelines: 2, groups: 1, service_key: KEY.to_owned(), ..Options::default() });
    let settings = [("GOLDRUSH_EXPORTER__POLL__STALE_AFTER", "2s"), ("GOLDRUSH_EXPORTER__API__TIMEOUT", "1s")];
    let mut exporter = Exporter::with(&api, &settings);
    exporter.until("all probes succeed", |exposition| all_succeed(exposition, 2));
    // Slow answers, so that some are on their way when the process stops.
    api.simulator.set_fault(FaultMatcher::default(), Some(Fault::Delay(Duration::from_millis(400))));
    let waiting = || api.simulator.requests().iter().filter(|request| request.status.is_none()).count();
    eventually("requests that wait for their answers", || waiting() >= 6);
    exporter.signal(Signal::STOP);
    let stopped = Instant::now();
    eventually("their answers", || waiting() == 0);
    // New requests get none.
    api.simulator.set_fault(FaultMatcher::default(), Some(Fault::Hang));
    eventually("the readings' end", || stopped.elapsed() > stale_after);
    exporter.signal(Signal::CONT);
    for _ in 0..20 {
        let exposition = exporter.scrape();
        assert_eq!(readings(&exposition), [0; 4], "all that is known is older than stale_after");
        assert!(!exposition.values("goldrush_pipeline_probe_success", &[]).contains(&1.0), "{}", exposition.0);
        no_negative_durations(&exposition);
    }
    exporter.until("what waited is counted", |exposition| {
        ["list", "status", "metrics", "destination_health"]
            .iter()
            .any(|endpoint| exposition.value(&failures(endpoint, "timeout")) > Some(0.0))
    });
    api.simulator.set_fault(FaultMatcher::default(), None);
    exporter.until("all recover", |exposition| readings(exposition) == [2; 4] && all_succeed(exposition, 2));
    assert!(exporter.is_running());
}

#[test]
fn possible_stamps_of_the_api_are_repeated_as_they_are_and_others_cost_only_themselves() {
    let api = Api::healthy(1);
    let exporter = Exporter::of(&api);
    exporter.until("all probes succeed", |exposition| all_succeed(exposition, 1));
    let id = api.simulator.pipeline_ids(0)[0].clone();
    const GOOD: (&str, Option<f64>) = ("2099-12-31T23:59:59Z", Some(4_102_444_799.0));
    // Before 1970 there is no time, and after 2100 there is a mistake.
    let none = [
        "2100-12-31T23:59:59Z",
        "9999-12-30T22:00:00Z",
        "1970-01-01T00:00:00Z",
        "1969-12-31T23:59:59.5Z",
        "0001-01-01T00:00:00Z",
        "99999-01-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "tomorrow",
    ];
    let rows = none.into_iter().flat_map(|stamp| [GOOD, (stamp, None)]);
    for (stamp, seconds) in rows {
        for (endpoint, field) in [
            (Endpoint::Status, "start_time"),
            (Endpoint::DestinationHealth, "last_checked_at"),
            (Endpoint::List, "created_at"),
        ] {
            api.simulator.update_pipeline(&id, |pipeline| pipeline.answer_with(endpoint, field, json!(stamp)));
        }
        let exposition = exporter.until(stamp, |exposition| {
            ["start_time_seconds", "destination_last_check_timestamp_seconds", "created_timestamp_seconds"]
                .iter()
                .all(|family| exposition.one(&format!("goldrush_pipeline_{family}"), &[]) == seconds)
        });
        assert!(all_succeed(&exposition, 1), "{stamp} is an answer");
        no_negative_durations(&exposition);
    }
}
