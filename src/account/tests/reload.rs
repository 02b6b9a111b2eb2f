//! What a reload changes, and what it keeps; and which pipelines are polled at all.

use super::*;

fn only(pattern: &str) -> config::Filter {
    serde_json::from_value(json!({"include": [pattern]})).unwrap()
}

fn polled(account: &Account) -> Vec<&str> {
    account.pipelines.keys().map(PipelineId::as_str).collect()
}

#[test]
fn a_pipeline_is_polled_if_the_shard_and_every_filter_match() {
    let start = Moment::now();
    let shard = config::Shard { index: 0, total: 2 };
    let (ours, theirs): (Vec<_>, Vec<_>) = (0..20).map(|n| id(&format!("pipe_{n}"))).partition(|id| shard.owns(id));
    let listed =
        |id: &PipelineId, name: &str, project: &str| json!({"id": id.as_str(), "name": name, "project": project});
    let items = [
        listed(&ours[0], "swaps", "prod"),
        listed(&ours[1], "swaps", "prod"),
        listed(&ours[2], "other", "prod"),
        listed(&ours[3], "swaps", "other"),
        listed(&theirs[0], "swaps", "prod"),
    ];
    let mut filtered = settings(&[]);
    filtered.shard = shard;
    filtered.account.pipeline_ids = only(&format!("{}|{}|{}|{}", ours[0], ours[2], ours[3], theirs[0]));
    filtered.account.pipelines = only("swaps");
    filtered.account.projects = only("prod");

    let mut account = account(&[], start);
    account.lists(&items, start);
    assert_eq!(polled(&account).len(), 5);
    account.reconfigure(filtered, read_again(start), start);
    assert_eq!(polled(&account), [ours[0].as_str()], "those that are known");
    account.lists(&items, start);
    assert_eq!(polled(&account), [ours[0].as_str()], "those that are listed");
}

#[test]
fn a_pipeline_that_moves_to_a_project_that_is_not_polled_is_dropped() {
    let start = Moment::now();
    let mut account = account(&[], start);
    account.settings.account.projects = only("prod");
    account.lists(&[json!({"id": "a", "project": "prod"})], start);
    account.lists(&[json!({"id": "a", "project": "other"})], start);
    assert!(polled(&account).is_empty() && account.schedule.is_empty());
}

#[test]
fn a_list_that_lacks_the_names_of_a_pipeline_neither_drops_it_nor_finds_it_another_owner() {
    let start = Moment::now();
    let mut account = account(&[], start);
    account.settings.account.projects = only("prod");
    account.settings.account.pipelines = only("swaps");
    let policy = Policy { projects: only("prod"), team: Some("data".to_owned()), ..Policy::default() };
    account.settings.policies = vec![Arc::new(policy)];
    for entry in [
        json!({"id": "a", "project": "prod", "name": "swaps"}),
        json!({"id": "a", "project": null, "name": null}),
        json!({"id": "a"}),
        json!({"id": "a", "project": 7, "name": []}),
    ] {
        account.lists(std::slice::from_ref(&entry), start);
        let pipeline = &account.pipelines[&id("a")];
        let names = (pipeline.listed().project.as_deref(), pipeline.listed().name.as_deref(), pipeline.team());
        assert_eq!(names, (Some("prod"), Some("swaps"), Some("data")), "{entry}");
    }
    account.lists(&[json!({"id": "a", "project": "prod", "name": ""})], start);
    assert!(polled(&account).is_empty(), "its name was removed");
}

#[test]
fn new_settings_and_the_new_key_are_in_use_at_once_and_everything_is_requested_anew() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    let probes = [Probe::Status, Probe::Metrics, Probe::DestinationHealth].map(|kind| probe("pipe_1", kind));
    let sent = |account: &mut Account| -> Vec<Request> {
        sends(account, start.monotonic()).into_iter().map(|(request, _)| request).collect()
    };
    assert_eq!(sent(&mut account), probes);
    let first = json!({"items": [{"id": "pipe_1", "status": "running"}], "pagination": {"has_more": true}});
    account.hears(Response::Page(1, Ok(serde_json::from_value(first).unwrap())), start);
    assert_eq!(account.urgent, [Request::Page(2)]);
    let generation = account.credential.generation();

    let mut changed = settings(&[]);
    changed.poll.status = seconds(10);
    changed.poll.discovery = seconds(50);
    changed.poll.requests_per_second = 9.0;
    let key = ReadAgain { loaded_at: start.wall() + seconds(5), is_another: true };
    account.reconfigure(changed, key, start);
    let view = account.view(start);
    assert_eq!(view.budget.allowed, 9.0);
    assert!((view.budget.required - (1.0 / 10.0 + 2.0 / 30.0 + 1.0 / 50.0)).abs() < 1e-9, "{}", view.budget.required);
    assert_eq!(view.credential.loaded_at(), start.wall() + seconds(5));
    assert!(account.credential.generation() > generation, "responses to the old driver count no longer");
    assert_eq!(sent(&mut account), [&[Request::Page(1)], &probes[..]].concat());
}

#[test]
fn requests_that_were_refused_or_not_processed_are_forgotten() {
    let start = Moment::now();
    let mut refused = account_of_one(start);
    refused.probed("pipe_1", failed(Error::of_status(401).unwrap()), start);
    refused.reconfigure(settings(&[]), read_again(start), start);
    refused.key_replaced(start.wall(), start.monotonic());
    let sent: Vec<Request> = sends(&mut refused, start.monotonic()).into_iter().map(|(request, _)| request).collect();
    assert_eq!(sent, [Request::Page(1)]);

    let mut unsent = account_of_one(start);
    unsent.probed("pipe_1", failed(Error::Unsent("GOAWAY".to_owned())), start);
    unsent.reconfigure(settings(&[]), read_again(start), start);
    unsent.probed("pipe_1", failed(Error::Unsent("GOAWAY".to_owned())), start);
    assert_eq!(unsent.view(start).pipelines[&id("pipe_1")].failure(Probe::Status), None, "the first in a row");
}

#[test]
fn of_what_is_no_longer_expected_nothing_is_kept() {
    let start = Moment::now();
    let mut account = account(&["pipe_9"], start);
    account.lists(&[], start);
    assert_eq!(account.roster.missed().collect::<Vec<_>>(), [&id("pipe_9")]);
    account.reconfigure(settings(&[]), read_again(start), start);
    assert_eq!(account.roster.missed().next(), None);
}

#[test]
fn what_another_shard_polls_is_not_missing() {
    let start = Moment::now();
    let mut account = account(&["pipe_0", "pipe_1", "pipe_2", "pipe_3"], start);
    account.settings.shard = config::Shard { index: 1, total: 2 };
    account.lists(&[], start);
    let expected = account.settings.account.expect.iter().filter(|id| account.settings.shard.owns(id)).cloned();
    let missing: Vec<_> = expected.map(Concern::Missing).collect();
    assert!((1..4).contains(&missing.len()));
    let view = account.view(start);
    assert_eq!(view.listing.concerns().map(|(concern, _)| concern.clone()).collect::<Vec<_>>(), missing);
}

#[test]
fn an_expected_pipeline_is_missing_as_soon_as_it_is_gone() {
    let start = Moment::now();
    let mut account = account(&["pipe_1"], start);
    account.lists(&[json!({"id": "pipe_1"})], start);
    account.probed("pipe_1", failed(Error::of_status(404).unwrap()), start);
    for missing in [false, true] {
        let skips = json!({"items": [{"id": "pipe_2"}], "pagination": {"has_more": false, "total_count": 5}});
        account.hears(Response::Page(1, Ok(serde_json::from_value(skips).unwrap())), start);
        assert_eq!(account.view(start).listing.latest().unwrap().expected, [(id("pipe_1"), missing)]);
    }
}

#[test]
fn another_usage_interval_counts_at_once() {
    let start = Moment::now();
    let mut account = account_with_usage(start);
    let before = account.required();
    let mut changed = account.settings.clone();
    changed.poll.usage = Some(seconds(100));
    account.reconfigure(changed, read_again(start), start);
    assert!((account.required() - before - (0.01 - 1.0 / 3_600.0)).abs() < 1e-9);
}

#[test]
fn a_share_of_unprocessed_blocks_that_is_changed_ends_a_backfill_at_the_reload() {
    let start = Moment::now();
    let mut account = account(&[], start);
    let backfill = json!({"id": "a", "execution_mode": "bounded", "execution_start_from": "1000",
        "execution_stop_from": "2000"});
    account.lists(&[backfill], start);
    account.probed("a", status("RUNNING"), start);
    for after in [1, 2] {
        account.probed("a", reading(Probe::Metrics, json!({"last_block_height": 1_900})), start.after(seconds(after)));
    }
    let has_ended = |account: &mut Account| account.view(start).pipelines[&id("a")].is_off_duty();
    assert!(!has_ended(&mut account));
    let thresholds = BTreeMap::from([(Threshold::UnprocessedShare, 0.2)]);
    let policies = vec![Arc::new(Policy { thresholds, ..Policy::default() })];
    account.reconfigure(Settings { policies, ..settings(&[]) }, read_again(start), start.after(seconds(3)));
    assert!(has_ended(&mut account));
}

/// The troubles of pipeline `a`, and since when, in seconds after `start`.
fn troubles(account: &mut Account, start: Moment, now: Moment) -> Vec<(&'static str, Option<u64>)> {
    let view = account.view(now);
    let found = Judge::new(&view, now).pipeline(&view.pipelines[&id("a")]);
    let since = |trouble: &Trouble| trouble.since.map(|began| began.at.since(start).as_secs());
    found.iter().map(|trouble| (trouble.kind.row().name, since(trouble))).collect()
}

fn policies(thresholds: &[(Threshold, f64)]) -> Settings {
    let thresholds = thresholds.iter().copied().collect();
    Settings { policies: vec![Arc::new(Policy { thresholds, ..Policy::default() })], ..settings(&[]) }
}

#[test]
fn what_has_changed_often_and_what_waits_is_measured_against_the_new_limits() {
    let start = Moment::now();
    let mut account = account(&[], start);
    account.lists(&[json!({"id": "a", "status": "running"})], start);
    for (after, healthy, pending) in [(0, true, 500), (30, false, 600), (60, true, 700)] {
        let at = start.after(seconds(after));
        let started = format!("2025-01-01T00:00:{after:02}Z");
        let worker = json!({"status": "RUNNING", "start_time": started.replace(":60Z", ":59Z")});
        account.probed("a", reading(Probe::Status, worker), at);
        account.probed("a", reading(Probe::DestinationHealth, json!({"healthy": healthy})), at);
        account.probed("a", reading(Probe::Metrics, json!({"pending_records": pending})), at);
    }
    let later = start.after(seconds(70));
    assert_eq!(troubles(&mut account, start, later), []);
    let lower = [(Threshold::Backlog, 650.0), (Threshold::Restarts, 2.0), (Threshold::DestinationChanges, 2.0)];
    account.reconfigure(policies(&lower), read_again(later), later);
    let all = ["backlog_growing", "restarting", "destination_flapping"].map(|kind| (kind, Some(70)));
    assert_eq!(troubles(&mut account, start, later), all);
}

#[test]
fn a_pipeline_that_moves_to_a_project_with_other_thresholds_is_measured_against_them() {
    let start = Moment::now();
    let mut account = account(&[], start);
    let strict = Policy {
        projects: only("strict"),
        thresholds: BTreeMap::from([(Threshold::Delay, 60.0)]),
        ..Policy::default()
    };
    account.settings.policies = vec![Arc::new(strict), Arc::new(Policy::default())];
    let listed = |project: &str| [json!({"id": "a", "status": "running", "project": project})];
    account.lists(&listed("other"), start);
    account.probed("a", status("RUNNING"), start);
    account.probed("a", reading(Probe::Metrics, json!({"processing_delay_ms": 100_000})), start);
    account.lists(&listed("strict"), start.after(seconds(10)));
    assert_eq!(troubles(&mut account, start, start.after(seconds(10))), [("delay_high", Some(10))]);
    account.lists(&listed("other"), start.after(seconds(20)));
    assert_eq!(troubles(&mut account, start, start.after(seconds(20))), []);
}
