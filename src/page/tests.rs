//! A small fleet in, literal JSON out; and what the page shows of it.

use std::time::{Duration, SystemTime};

use serde_json::json;

use super::query::Query;
use super::report::{Report, Snapshot};
use super::*;
use crate::account::testing::{account, reading, settings};
use crate::api::{Error, Probe, ProbeResponse, Response, Waiting};
use crate::fleet::Fleet;

fn read<T: serde::de::DeserializeOwned>(json: serde_json::Value) -> T {
    serde_json::from_value(json).unwrap()
}

const TIMEOUT: Error = Error::Timeout { after: Duration::from_secs(10), waiting: Waiting::Headers };

/// Moments at fixed wall-clock times, some seconds after the fleet was first seen.
fn clock() -> impl Fn(u64) -> Moment {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
    let start = Moment::now().with_wall(wall);
    move |seconds| start.after(Duration::from_secs(seconds))
}

/// A pipeline in trouble and a paused one; and an account whose key is refused.
fn small_fleet(at: &impl Fn(u64) -> Moment) -> Fleet {
    let mut prod = account(&["pipe_3"], at(0));
    let group = json!({"id": "group_1", "name": "Data <b>", "is_paid": true, "is_over_limit": false});
    let listed = json!({
        "id": "pipe_1", "name": "Base \"Swap\" </script>\n🚀", "project": "analytics-prod", "status": "running",
        "topic": "base.mainnet.ref.block.swaps", "destination_type": "postgres", "execution_mode": "unbounded",
        "created_by": {"email": "someone@example.org"}, "destination_config": {"url": "postgres://secret"},
        "group": group, "created_at": "2023-11-07T05:31:56Z", "updated_at": "2023-11-07T07:31:56.5+02:00",
    });
    prod.lists(&[listed, json!({"id": "pipe_2", "name": null, "status": "paused"})], at(1));
    let status = json!({"status": "RUNNING", "replicas": 2, "ready": 2, "start_time": "2023-11-07T05:31:56Z"});
    prod.probed("pipe_1", reading(Probe::Status, status), at(2));
    let metrics = json!({"records_consumed": 9_007_199_254_740_993_u64, "last_offset": 0, "last_block_height": null,
        "pending_records": 12.5, "processing_delay_ms": 1_500, "records_per_second": 0.25, "normalization_errors": 3});
    prod.probed("pipe_1", reading(Probe::Metrics, metrics), at(3));
    let healthy = json!({"healthy": true, "last_checked_at": "2023-11-14T22:13:20Z", "latency_ms": 12});
    prod.probed("pipe_1", reading(Probe::DestinationHealth, healthy), at(4));
    let unhealthy = json!({"healthy": false, "last_checked_at": "2023-11-14T22:13:50Z", "latency_ms": null,
        "last_error": "dial tcp 10.0.0.5:5432: connection refused"});
    for seconds in [34, 64] {
        prod.probed("pipe_1", reading(Probe::DestinationHealth, unhealthy.clone()), at(seconds));
    }
    prod.probed("pipe_2", ProbeResponse::failed(Probe::Status, TIMEOUT), at(65));
    let mut legacy = account(&[], at(0));
    legacy.hears(Response::Page(1, Err(Error::of_status(401).unwrap())), at(2));
    let fleet = Fleet::default();
    fleet.insert("prod", prod);
    fleet.insert("legacy", legacy);
    fleet
}

fn query(q: &str, trouble: &str) -> Query {
    let parameters = [("q", q), ("trouble", trouble)].map(|(name, value)| (name.to_owned(), value.to_owned()));
    Query::new(&parameters, 100, 500).unwrap()
}

/// Compares with a file next to this one; `UPDATE_EXPECTED=1` writes it. Read the diff before committing it.
#[test]
fn the_json_form_is_as_expected_to_the_letter() {
    let at = clock();
    let snapshot = Snapshot::of(&small_fleet(&at), at(94));
    let text = serde_json::to_string_pretty(&Report::new(&snapshot, &query("", ""))).unwrap() + "\n";
    let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/page/expected/small_fleet.json");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    for (line, (text, expected)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(text, expected, "line {} of {}", line + 1, path.display());
    }
    assert_eq!(text.lines().count(), expected.lines().count());
}

fn page_at(snapshot: &Snapshot, query: &Query) -> String {
    html::page(&Report::new(snapshot, query), query, "/metrics")
}

#[test]
fn the_page_says_what_is_wrong_and_since_when() {
    let at = clock();
    let page = page_at(&Snapshot::of(&small_fleet(&at), at(94)), &query("", ""));
    for text in [
        "<title>(3) GoldRush exporter</title>",
        "1 of 2 pipelines in trouble, 1 critical</a> · 2 of 2 accounts in trouble",
        "key accepted <span class=\"since\">for \
         <time datetime=\"2023-11-14T22:13:21Z\" title=\"2023-11-14T22:13:21Z\">93 s</time> or longer</span>",
        "<bdi>The list does not show the expected pipeline pipe_3.</bdi>",
        "key revoked or wrong (401)",
        "<bdi>The destination is unhealthy: connection refused (dial tcp [redacted] connection refused).</bdi> \
         <span class=\"since\">for \
         <time datetime=\"2023-11-14T22:13:54Z\" title=\"2023-11-14T22:13:54Z\">60 s</time></span>",
        "<bdi class=\"title\">Base &quot;Swap&quot; &lt;/script&gt; 🚀</bdi>",
        "<bdi>Data &lt;b&gt;</bdi>",
        // A pipeline without a name is shown by its id.
        "<bdi class=\"title\">pipe_2</bdi>",
    ] {
        assert!(page.contains(text), "{text} in {page}");
    }
    for private in ["someone@example.org", "postgres://secret", "10.0.0.5"] {
        assert!(!page.contains(private), "{private}");
    }
}

#[test]
fn stale_values_are_not_shown_but_troubles_stay() {
    let at = clock();
    let snapshot = Snapshot::of(&small_fleet(&at), at(400));
    let page = page_at(&snapshot, &query("", ""));
    for text in ["RUNNING", "1.5 s"] {
        assert!(!page.contains(text), "{text}");
    }
    assert!(page.contains("The destination is unhealthy: connection refused"), "{page}");
    assert!(page.contains("for <time datetime=\"2023-11-14T22:13:54Z\" title=\"2023-11-14T22:13:54Z\">6 min</time>"));
}

#[test]
fn a_probe_that_failed_once_is_not_trouble_and_is_not_named_in_another_s() {
    let at = clock();
    let message = |responses: &[ProbeResponse]| {
        let mut prod = account(&[], at(0));
        prod.lists(&[json!({"id": "a", "status": "running"}), json!({"id": "b", "status": "running"})], at(0));
        for (response, seconds) in responses.iter().zip((1..).step_by(2)) {
            prod.probed("a", response.clone(), at(seconds));
            prod.probed("b", reading(Probe::Metrics, json!({})), at(seconds + 1));
        }
        let fleet = Fleet::default();
        fleet.insert("prod", prod);
        let report = serde_json::to_value(Report::new(&Snapshot::of(&fleet, at(10)), &query("", ""))).unwrap();
        report["pipelines"][0]["troubles"][0]["message"].clone()
    };
    let [failed, timeout] = [Probe::Status, Probe::Metrics].map(|probe| ProbeResponse::failed(probe, TIMEOUT));
    let stale = "There is no fresh reading of status (timeout).";
    assert_eq!(message(&[failed.clone(), failed.clone(), timeout.clone()]), stale);
    let well = reading(Probe::Status, json!({"status": "RUNNING"}));
    assert_eq!(message(&[well, failed.clone(), failed, timeout]), "Requests fail again and again: status (timeout).");
}

#[test]
fn the_usage_of_credits_is_one_line_of_its_account() {
    let at = clock();
    let mut settings = settings(&[]);
    settings.poll.usage = Some(Duration::from_secs(900));
    let prod = crate::account::Account::new(settings, at(0).wall(), fastrand::Rng::with_seed(1), at(0));
    let fleet = Fleet::default();
    let handle = fleet.insert("prod", prod);
    let shown = |seconds| {
        let snapshot = Snapshot::of(&fleet, at(seconds));
        let report = Report::new(&snapshot, &query("", ""));
        let json = serde_json::to_value(&report).unwrap()["accounts"][0].clone();
        // Without tags.
        let html = html::page(&report, &query("", ""), "/metrics");
        let text: String = html.split('<').map(|part| part.split_once('>').map_or("", |(_, text)| text)).collect();
        (text, json)
    };
    let has = |(text, _): (String, serde_json::Value), line: &str| assert!(text.contains(line), "{line} in {text}");
    handle.change(|prod| prod.lists(&[], at(0)));
    has(shown(0), "usage of credits not read yet");
    handle.change(|prod| prod.hears(Response::Usage(Err(Error::of_status(404).unwrap())), at(1)));
    has(shown(1), "usage of credits is not offered to this key (not found)");
    assert_eq!(shown(1).1["usage"]["offered"], json!(false));
    handle.change(|prod| prod.hears(Response::Usage(Err(TIMEOUT)), at(2)));
    has(shown(2), "no fresh reading of the usage of credits (timeout)");
    let mut aggregate = json!({"credits_consumed": 120_500, "max_credits": 300_000, "premium_credits": 100_000,
        "free_credits": 20_500, "plan": "Pro <b>", "flex_credits": {"limit": 50_000}});
    handle.change(|prod| prod.reads_usage(aggregate.clone(), at(3)));
    has(shown(63), "120,500 of 350,000 credits used this month (Pro &lt;b&gt;), read 60 s ago");
    let day = 24 * 60 * 60;
    assert_eq!(
        shown(63).1["usage"],
        json!({"offered": true, "failure": null, "last_success_timestamp_seconds": 1_700_000_003.25,
            "credits_consumed": 120_500, "credits_limit": 300_000, "flex_credits_limit": 50_000,
            "premium_credits": 100_000, "free_credits": 20_500, "plan": "Pro <b>", "credits_run_out_in_seconds": null})
    );
    aggregate["credits_consumed"] = json!(220_500);
    handle.change(|prod| prod.reads_usage(aggregate.clone(), at(3 + day)));
    has(shown(3 + day), "220,500 of 350,000 credits used this month (Pro &lt;b&gt;), they last for 31 h, read 0 s ago");
    has(shown(3 + day), "At the current pace, the credits run out in 31 h: 220,500 of 350,000 are used.");
    aggregate["credits_consumed"] = json!(350_000);
    handle.change(|prod| prod.reads_usage(aggregate, at(4 + day)));
    has(shown(4 + day), "The credits of the account are used up: 350,000 of 350,000.");
    handle.change(|prod| prod.reads_usage(json!({"credits_consumed": 350_001}), at(4 + day)));
    has(shown(4 + day), "The credits of the account are used up: 350,001 of 350,000.");
    has(shown(4 + day), "350,001 of 350,000 credits used this month");
    assert_eq!(shown(4 + day).1["usage"]["credits_limit"], json!(null), "it was not said");
    handle.change(|prod| prod.hears(Response::Usage(Err(Error::of_status(403).unwrap())), at(5 + day)));
    has(shown(5 + day), "read 1 s ago, now fails (forbidden)");
    has(shown(2 * day), "usage of credits is not offered to this key (forbidden)");
    let key = shown(5 + day).1["key"]["state"].clone();
    assert_eq!(key, json!("accepted"));
}

#[test]
fn a_wall_clock_that_steps_back_makes_nothing_younger() {
    let at = clock();
    let now = at(94).with_wall(SystemTime::UNIX_EPOCH);
    let page = page_at(&Snapshot::of(&small_fleet(&at), now), &query("", ""));
    assert!(page.contains("title=\"2023-11-14T22:13:54Z\">60 s</time>"), "by the monotonic clock");
    assert!(
        page.contains(
            "key loaded <time datetime=\"2023-11-14T22:13:20Z\" title=\"2023-11-14T22:13:20Z\">0 s</time> ago"
        )
    );
    assert!(!page.contains(">-"), "no negative age");
}

#[test]
fn an_empty_fleet_waits_and_a_well_one_says_so() {
    let at = clock();
    let fleet = Fleet::default();
    let page = |fleet: &Fleet| page_at(&Snapshot::of(fleet, at(2)), &query("", ""));
    assert!(page(&fleet).contains("No account is configured."));
    let handle = fleet.insert("prod", account(&[], at(0)));
    assert!(page(&fleet).contains("Waiting for the first list of 1 account"));
    assert!(page(&fleet).contains("key not tried yet"));
    handle.change(|prod| prod.lists(&[], at(1)));
    let text = page(&fleet);
    assert!(text.contains("<title>GoldRush exporter</title>"));
    assert!(text.contains("Nothing is wrong with 0 pipelines") && text.contains("There are no pipelines."));
}

#[test]
fn the_worst_come_first_and_pipelines_off_duty_last() {
    let at = clock();
    let fleet = Fleet::default();
    let pipelines = [
        ("a-paused", "PAUSED", "paused", 0),
        ("b-well", "RUNNING", "running", 1),
        ("c-lacking", "RUNNING", "running", 0),
        ("d-failed", "FAILED", "running", 0),
        ("e-stopped", "STOPPED", "running", 0),
    ];
    let mut prod = account(&[], at(0));
    prod.lists(&pipelines.map(|(id, _, wanted, _)| json!({"id": id, "name": id, "status": wanted})), at(0));
    for seconds in [0, 900] {
        for (id, phase, _, ready) in pipelines {
            let status = json!({"status": phase, "replicas": 1, "ready": ready});
            prod.probed(id, reading(Probe::Status, status), at(seconds));
        }
    }
    fleet.insert("prod", prod);
    let snapshot = Snapshot::of(&fleet, at(901));
    let shown = |q: &str, trouble: &str| -> Vec<String> {
        let report = Report::new(&snapshot, &query(q, trouble));
        report.pipelines.iter().map(|pipeline| pipeline.pipeline_id.to_owned()).collect()
    };
    assert_eq!(shown("", ""), ["d-failed", "e-stopped", "c-lacking", "b-well", "a-paused"]);
    assert_eq!(shown("", "any"), ["d-failed", "e-stopped", "c-lacking"]);
    assert_eq!(shown("", "critical"), ["d-failed", "e-stopped"]);
    assert_eq!(shown("", "replicas_not_ready"), ["c-lacking"]);
    assert_eq!(shown("running lack", ""), ["c-lacking"]);
    assert_eq!(shown("running PAUSED", ""), Vec::<String>::new());
}

/// A fleet of backfills; each runs from start to end in this many seconds, with its own readings of blocks.
fn backfills(at: &impl Fn(u64) -> Moment) -> Fleet {
    let mut settings = crate::account::testing::settings(&[]);
    let team = |team: &str, pipeline: &str| crate::config::Policy {
        team: Some(team.to_owned()),
        pipelines: read(json!([pipeline])),
        ..crate::config::Policy::default()
    };
    settings.policies = vec![team("data", "b-.*").into(), team("trading", "c-.*").into()];
    let mut prod = crate::account::Account::new(settings, at(0).wall(), fastrand::Rng::with_seed(1), at(0));
    let listed = |name: &str, start: &str, stop: &str| {
        json!({"id": name, "name": name, "status": "running", "execution_mode": "bounded",
        "topic": "base.mainnet.ref.block.logs", "execution_start_from": start, "execution_stop_from": stop})
    };
    prod.lists(
        &[
            listed("a-moves", "1000000", "2000000"),
            listed("b-no-start", "", "2000000"),
            listed("c-stands-still", "1000000", "2000000"),
            listed("d-fell-back", "1000000", "2000000"),
            listed("e-ended-early", "1000000", "2000000"),
            listed("f-no-end", "1000000", ""),
        ],
        at(0),
    );
    for (id, blocks) in [
        ("a-moves", [1_499_000, 1_499_999]),
        ("b-no-start", [1_499_000, 1_499_999]),
        ("c-stands-still", [1_500_000, 1_500_000]),
        ("d-fell-back", [1_999_000, 1_001_000]),
        ("e-ended-early", [1_499_000, 1_500_000]),
        ("f-no-end", [1_499_000, 1_500_000]),
    ] {
        for (seconds, block) in [(0, blocks[0]), (100, blocks[1])] {
            let phase = if seconds == 100 && id == "e-ended-early" { "STOPPED" } else { "RUNNING" };
            prod.probed(id, reading(Probe::Status, json!({"status": phase})), at(seconds));
            prod.probed(id, reading(Probe::Metrics, json!({"last_block_height": block})), at(seconds));
        }
    }
    let fleet = Fleet::default();
    fleet.insert("prod", prod);
    fleet
}

#[test]
fn backfills_show_how_far_they_have_come_as_far_as_that_is_known() {
    let at = clock();
    let snapshot = Snapshot::of(&backfills(&at), at(110));
    let query = query("", "");
    let report = serde_json::to_value(Report::new(&snapshot, &query)).unwrap();
    let pipeline = |id: &str| report["pipelines"].as_array().unwrap().iter().find(|p| p["pipeline_id"] == id).unwrap();
    let none = json!(null);
    let backfill = |id: &str| {
        let backfill = &pipeline(id)["backfill"];
        ["ratio", "blocks_left", "estimated_end_timestamp_seconds"]
            .map(|field| backfill.get(field).cloned().unwrap_or(json!("-")))
    };
    // 500,001 blocks at 9.99 per second, from the reading at 1,700,000,100.25 on.
    assert_eq!(backfill("a-moves"), [json!(0.5), json!(500_001), json!(1_700_050_150.4)]);
    assert_eq!(backfill("b-no-start"), [none.clone(), json!(500_001), json!(1_700_050_150.4)]);
    assert_eq!(backfill("c-stands-still"), [json!(0.5), json!(500_000), none.clone()]);
    assert_eq!(backfill("d-fell-back"), [json!(0.001), json!(999_000), none.clone()]);
    let fell_back = &pipeline("d-fell-back")["backfill"];
    assert_eq!(
        (&fell_back["fell_back_timestamp_seconds"], &fell_back["fell_back_from_block"]),
        (&json!(1_700_000_100.25), &json!(1_999_000))
    );
    assert_eq!(backfill("e-ended-early"), [json!(0.5), json!(500_000), none.clone()]);
    assert_eq!(pipeline("f-no-end")["backfill"], none);
    assert_eq!(pipeline("a-moves")["policy"], none);
    assert_eq!(
        (&pipeline("c-stands-still")["policy"], &pipeline("c-stands-still")["team"]),
        (&json!(1), &json!("trading"))
    );
    assert_eq!(report["accounts"][0]["pipelines_unowned"], 4);

    let page = page_at(&snapshot, &query);
    for text in [
        "<span class=\"wanted\">49.9 %, 13 h left</span>",
        "49.9 % done, 500,001 blocks left, 10/s, ends in about 13 h<span class=\"at\">2023-11-15 12:09:10 UTC</span>",
        "start unknown, 500,001 blocks left",
        "50 % done, 500,000 blocks left, end unknown",
        "It began again <time datetime=\"2023-11-14T22:15:00Z\" title=\"2023-11-14T22:15:00Z\">10 s</time> ago, after block 1,999,000",
        "<span class=\"wanted\">ended, 50 %</span>",
        "The backfill has ended at block 1,500,000, 500,000 blocks before its stop block 2,000,000.",
        "<code>policies[1]</code>",
        "none matches: the defaults",
    ] {
        assert!(page.contains(text), "{text} in {page}");
    }
    let stale = serde_json::to_value(Report::new(&Snapshot::of(&backfills(&at), at(500)), &query)).unwrap();
    assert!(stale["pipelines"].as_array().unwrap().iter().all(|pipeline| pipeline["backfill"].is_null()));
}
