//! A small fleet in, literal JSON out; and what the page makes of it.

use std::time::{Duration, SystemTime};

use serde_json::json;

use super::query::{Parameters, Query};
use super::report::{Report, Snapshot};
use super::*;
use crate::api::{PipelineId, Reason};
use crate::fleet::{Answer, Fleet, ListSummary};

fn read<T: serde::de::DeserializeOwned>(json: serde_json::Value) -> T {
    serde_json::from_value(json).unwrap()
}

fn id(text: &str) -> PipelineId {
    PipelineId::new(text).unwrap()
}

/// Moments at fixed wall times, some seconds after the fleet was first seen.
fn clock() -> impl Fn(u64) -> Moment {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
    let start = Moment { wall, ..Moment::now() };
    move |seconds| start.after(Duration::from_secs(seconds))
}

/// One pipeline in trouble, one that is paused; an account whose key is refused.
fn small_fleet(at: &impl Fn(u64) -> Moment) -> Fleet {
    let fleet = Fleet::default();
    let handle = fleet.account("prod");
    let mut account = handle.lock();
    account.stale_after = Duration::from_secs(300);
    account.key_loaded = Some(at(0).wall);
    (account.budget.required, account.budget.allowed) = (0.25, 4.0);
    account.accept_key(at(1));
    let group = json!({"id": "group_1", "name": "Data <b>", "is_paid": true, "is_over_limit": false});
    let listed = json!({
        "id": "pipe_1", "name": "Base \"Swap\" </script>\n🚀", "project": "analytics-prod", "status": "running",
        "topic": "base.mainnet.ref.block.swap.v3", "destination_type": "postgres", "execution_mode": "unbounded",
        "created_by": {"email": "someone@example.org"}, "destination_config": {"url": "postgres://secret"},
        "group": group, "created_at": "2023-11-07T05:31:56Z", "updated_at": "2023-11-07T07:31:56.5+02:00",
    });
    account.observe_listed(&id("pipe_1"), read(listed), at(1));
    account.observe_listed(&id("pipe_2"), read(json!({"id": "pipe_2", "name": null, "status": "paused"})), at(1));
    account.list_succeeded(ListSummary {
        at: at(1),
        groups: [("Data <b>".to_owned(), {
            let mut flags = crate::fleet::GroupFlags::default();
            flags.merge(&read(group));
            flags
        })]
        .into(),
        expected: vec![("pipe_3".to_owned(), true)],
        truncated: false,
    });
    let status = json!({"status": "RUNNING", "replicas": 2, "ready": 2, "start_time": "2023-11-07T05:31:56Z"});
    account.observe(&id("pipe_1"), Answer::Status(Ok(read(status))), at(2));
    let metrics = json!({"records_consumed": 9_007_199_254_740_993_u64, "last_offset": 0, "last_block_height": null,
        "pending_records": 12.5, "processing_delay_ms": 1_500, "records_per_second": 0.25, "normalization_errors": 3});
    account.observe(&id("pipe_1"), Answer::Metrics(Ok(read(metrics))), at(3));
    let healthy = json!({"healthy": true, "last_checked_at": "2023-11-14T22:13:20Z", "latency_ms": 12});
    account.observe(&id("pipe_1"), Answer::DestinationHealth(Ok(read(healthy))), at(4));
    let unhealthy = json!({"healthy": false, "last_checked_at": "2023-11-14T22:13:50Z", "latency_ms": null,
        "last_error": "dial tcp 10.0.0.5:5432: connection refused"});
    account.observe(&id("pipe_1"), Answer::DestinationHealth(Ok(read(unhealthy))), at(34));
    account.observe(&id("pipe_2"), Answer::Status(Err(Reason::Timeout)), at(35));
    drop(account);
    let handle = fleet.account("legacy");
    let mut account = handle.lock();
    account.stale_after = Duration::from_secs(300);
    account.refuse_key(at(2));
    account.list_failed(Reason::Unauthorized, at(2));
    drop(account);
    fleet
}

fn query(q: &str, trouble: &str) -> Query {
    let parameters = json!({"q": q, "trouble": trouble});
    Query::new(read::<Parameters>(parameters), 100, 500).unwrap()
}

/// Compares with a file beside this one; `UPDATE_EXPECTED=1` writes it, to be read before it is committed.
#[test]
fn the_json_form_is_as_expected_to_the_letter() {
    let at = clock();
    let snapshot = Snapshot::of(&small_fleet(&at), at(94));
    let text = serde_json::to_string_pretty(&Report::new(&snapshot, &query("", ""))).unwrap() + "\n";
    let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/page/expected/small_fleet.json");
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
        "<bdi>The expected pipeline pipe_3 is not listed.</bdi>",
        "key revoked or wrong (401)",
        "<bdi>The destination is unhealthy: connection refused (dial tcp [redacted] connection refused)</bdi> \
         <span class=\"since\">for \
         <time datetime=\"2023-11-14T22:13:54Z\" title=\"2023-11-14T22:13:54Z\">60 s</time></span>",
        "<bdi class=\"title\">Base &quot;Swap&quot; &lt;/script&gt; 🚀</bdi>",
        "<bdi>Data &lt;b&gt;</bdi>",
        // A pipeline without a name is known by its id.
        "<bdi class=\"title\">pipe_2</bdi>",
    ] {
        assert!(page.contains(text), "{text} in {page}");
    }
    for private in ["someone@example.org", "postgres://secret", "10.0.0.5"] {
        assert!(!page.contains(private), "{private}");
    }
}

#[test]
fn what_is_not_fresh_is_not_shown() {
    let at = clock();
    let snapshot = Snapshot::of(&small_fleet(&at), at(400));
    let page = page_at(&snapshot, &query("", ""));
    for text in ["RUNNING", "connection refused", "1.5 s"] {
        assert!(!page.contains(text), "{text}");
    }
    assert!(page.contains("No fresh reading of status, metrics, destination health."), "{page}");
    assert!(page.contains("for <time datetime=\"2023-11-14T22:13:22Z\" title=\"2023-11-14T22:13:22Z\">6 min</time>"));
}

#[test]
fn a_probe_that_failed_once_is_no_trouble_and_is_not_named_in_another_s() {
    let at = clock();
    let message = |answers: &[Answer]| {
        let fleet = Fleet::default();
        let handle = fleet.account("prod");
        let mut account = handle.lock();
        account.stale_after = Duration::from_secs(300);
        account.observe_listed(&id("a"), read(json!({"id": "a", "status": "running"})), at(0));
        for (answer, seconds) in answers.iter().zip(1..) {
            account.observe(&id("a"), answer.clone(), at(seconds));
        }
        drop(account);
        let report = serde_json::to_value(Report::new(&Snapshot::of(&fleet, at(10)), &query("", ""))).unwrap();
        report["pipelines"][0]["troubles"][0]["message"].clone()
    };
    let (failed, timeout) = (Answer::Status(Err(Reason::Timeout)), Answer::Metrics(Err(Reason::Timeout)));
    assert_eq!(message(&[failed.clone(), failed.clone(), timeout.clone()]), "No fresh reading of status (timeout).");
    let well = Answer::Status(Ok(read(json!({"status": "RUNNING"}))));
    assert_eq!(message(&[well, failed.clone(), failed, timeout]), "Requests fail again and again: status (timeout).");
}

#[test]
fn a_wall_clock_that_steps_back_makes_nothing_younger() {
    let at = clock();
    let now = Moment { wall: SystemTime::UNIX_EPOCH, ..at(94) };
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
    let handle = fleet.account("prod");
    assert!(page(&fleet).contains("Waiting for the first list of 1 account"));
    assert!(page(&fleet).contains("key not answered yet"));
    handle.lock().accept_key(at(1));
    handle.lock().list_succeeded(ListSummary::empty(at(1)));
    let text = page(&fleet);
    assert!(text.contains("<title>GoldRush exporter</title>"));
    assert!(text.contains("Nothing is wrong with 0 pipelines") && text.contains("There are no pipelines."));
}

#[test]
fn the_worst_come_first_and_what_has_nothing_to_do_comes_last() {
    let at = clock();
    let fleet = Fleet::default();
    let handle = fleet.account("prod");
    let mut account = handle.lock();
    account.stale_after = Duration::from_secs(300);
    for (pipeline, phase, wanted, ready) in [
        ("a-paused", "PAUSED", "paused", 0),
        ("b-well", "RUNNING", "running", 1),
        ("c-lacking", "RUNNING", "running", 0),
        ("d-failed", "FAILED", "running", 0),
        ("e-stopped", "STOPPED", "running", 0),
    ] {
        let listed = json!({"id": pipeline, "name": pipeline, "status": wanted});
        account.observe_listed(&id(pipeline), read(listed), at(0));
        let status = json!({"status": phase, "replicas": 1, "ready": ready});
        account.observe(&id(pipeline), Answer::Status(Ok(read(status))), at(0));
    }
    drop(account);
    let snapshot = Snapshot::of(&fleet, at(1));
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
