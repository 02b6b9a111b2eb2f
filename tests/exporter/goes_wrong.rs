//! What the exporter does when things go wrong: the rows of the table in docs/operations.md, through the front door. Which answer is
//! which failure is in `fault_matrix`.

use std::time::Duration;

use crate::common::{Api, Exporter, KEY, Signal, all_succeed, eventually, failures, of, settled};
use goldrush_exporter::simulator::{Condition, Endpoint, Fault, FaultMatcher, Options, Scenario};

const UNAUTHORIZED: &str = "goldrush_auth_unauthorized{account=\"default\"}";
const UP: &str = "goldrush_up{account=\"default\"}";
const COUNT: &str = "goldrush_pipelines{account=\"default\"}";

fn everywhere(endpoint: Endpoint) -> FaultMatcher {
    FaultMatcher { endpoint: Some(endpoint), pipeline: None }
}

fn answer(status: u16, body: &str) -> Fault {
    Fault::Answer { status, headers: vec![], body: body.as_bytes().to_vec() }
}

#[test]
fn a_revoked_key_shows_at_once_and_then_only_the_list_is_asked_until_it_is_accepted_again() {
    let api = Api::healthy(6);
    let exporter = settled(&api, 6, &[]);
    api.simulator.revoke_key(KEY);
    exporter.until_value(UNAUTHORIZED, 1.0);
    // Probes that were in flight are over once the list has been asked again.
    let seen = api_lists(&api);
    eventually("another list", || api_lists(&api) > seen);
    let before = api.simulator.request_counts();
    let seen = api_lists(&api);
    eventually("two more lists", || api_lists(&api) >= seen + 2);
    let after = api.simulator.request_counts();
    assert_eq!((before.status, before.metrics), (after.status, after.metrics), "a dead key is not used for probes");
    assert_eq!(exporter.scrape().value(UP), Some(0.0));
    assert!(exporter.scrape().values("goldrush_pipeline_records_consumed", &[]).len() == 6, "not stale yet");
    api.simulator.add_service_key(KEY, 0);
    exporter.until_value(UNAUTHORIZED, 0.0);
    eventually("probing resumes", || api.simulator.request_counts().status > after.status);
    assert_eq!(exporter.stderr.text().matches("the API returned 401").count(), 1, "said once");
}

fn api_lists(api: &Api) -> u64 {
    api.simulator.request_counts().list
}

#[test]
fn usage_is_asked_for_only_if_that_is_configured_and_used_up_credits_show_until_there_are_more() {
    let api = Api::healthy(1);
    let silent = settled(&api, 1, &[]);
    assert_eq!(api.simulator.request_counts().usage, 0);
    assert!(!silent.scrape().samples().any(|(sample, _)| sample.contains("usage")), "{}", silent.scrape().0);
    drop(silent);

    let exporter = settled(&api, 1, &[("GOLDRUSH_EXPORTER__POLL__USAGE", "100ms")]);
    let consumed = "goldrush_usage_credits_consumed{account=\"default\"}";
    let exposition = exporter.until("usage", |exposition| exposition.value(consumed).is_some());
    assert_eq!(exposition.value("goldrush_usage_credits_limit{account=\"default\"}"), Some(300_000.0));
    assert_eq!(exposition.one("goldrush_usage_plan_info", &["plan=\"Professional\""]), Some(1.0));
    let used_up =
        "goldrush_account_trouble{account=\"default\",kind=\"credits_used_up\",severity=\"critical\",about=\"\"}";
    assert_eq!(exposition.value(used_up), None);
    api.simulator.set_scenario(Scenario::CreditsLow);
    exporter.until_value(used_up, 1.0);
    // A key that may not read it any more: what cannot be read has not healed, and nothing else is concerned.
    api.simulator.update_group(0, |group| group.offers_usage = false);
    let exposition = exporter.until_value("goldrush_usage_probe_success{account=\"default\"}", 0.0);
    let now = [used_up, UP, UNAUTHORIZED, COUNT].map(|sample| exposition.value(sample));
    assert_eq!(now, [Some(1.0), Some(1.0), Some(0.0), Some(1.0)]);
    assert!(exporter.get("/").text().contains("now fails"));
    api.simulator.set_scenario(Scenario::Healthy);
    api.simulator.update_group(0, |group| group.offers_usage = true);
    exporter.until("more credits", |exposition| exposition.value(used_up).is_none());
}

#[test]
fn a_rotation_under_load_blames_nothing_on_the_new_key() {
    let api = Api::start(Options {
        pipelines: 60,
        groups: 1,
        latency: Duration::from_millis(20),
        service_key: KEY.to_owned(),
        ..Options::default()
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    let exporter = settled(&api, 60, &[("GOLDRUSH_EXPORTER__ACCOUNTS__0__SERVICE_KEY_FILE", file.to_str().unwrap())]);
    api.simulator.add_service_key("sk_second_key", 0);
    std::fs::write(&file, "sk_second_key\n").unwrap();
    api.simulator.revoke_key(KEY);
    // The old key was key 0 and the new one is key 1.
    let by_new_key = || api.simulator.requests().into_iter().filter(|request| request.key == Some(1)).count();
    eventually("the new key is at work", || by_new_key() > 200);
    exporter.until("all probes succeed", |exposition| {
        let successes = exposition.values("goldrush_pipeline_probe_success", &[]);
        successes.len() == 180 && successes.iter().all(|success| *success == 1.0)
    });
    assert_eq!(exporter.scrape().value(UNAUTHORIZED), Some(0.0));
    let requests = api.simulator.requests();
    let refused: Vec<_> = requests.iter().filter(|request| request.status == Some(401)).collect();
    assert!(refused.iter().all(|request| request.key != Some(1)), "the new key was never refused");
    let counted: f64 = exporter.scrape().values("goldrush_auth_failures_total", &["code=\"401\""]).iter().sum();
    assert_eq!(counted, refused.len() as f64, "each counts, whichever key was in use");
}

#[test]
fn a_key_file_that_changes_is_noticed_before_the_old_key_dies() {
    let api = Api::healthy(2);
    let folder = tempfile::tempdir().unwrap();
    for (version, key) in [("v1", KEY), ("v2", "sk_second_key")] {
        std::fs::create_dir(folder.path().join(version)).unwrap();
        std::fs::write(folder.path().join(version).join("key"), key).unwrap();
    }
    let link = |version: &str| {
        std::os::unix::fs::symlink(version, folder.path().join("next")).unwrap();
        std::fs::rename(folder.path().join("next"), folder.path().join("data")).unwrap();
    };
    link("v1");
    let file = folder.path().join("data/key");
    api.simulator.add_service_key("sk_second_key", 0);
    let exporter = settled(&api, 2, &[("GOLDRUSH_EXPORTER__ACCOUNTS__0__SERVICE_KEY_FILE", file.to_str().unwrap())]);
    let loaded = exporter.scrape().values("goldrush_service_key_loaded_timestamp_seconds", &[]);
    link("v2");
    exporter.until("the rotation shows as a step", |exposition| {
        exposition.values("goldrush_service_key_loaded_timestamp_seconds", &[]) > loaded
    });
    eventually("the new key is used", || api.simulator.requests().iter().any(|request| request.key == Some(1)));
    assert_eq!(exporter.scrape().value(&failures("status", "unauthorized")), Some(0.0));
}

#[test]
fn a_read_only_key_is_forbidden_and_not_unauthorized() {
    let api = Api::healthy(2);
    api.simulator.add_read_only_key("read_only_key");
    let exporter = Exporter::with(&api, &[("GOLDRUSH_SERVICE_KEY", "read_only_key")]);
    let exposition = exporter.until_value("goldrush_auth_forbidden{account=\"default\"}", 1.0);
    assert_eq!((exposition.value(UNAUTHORIZED), exposition.value(UP)), (Some(0.0), Some(0.0)));
    assert_eq!(exporter.get("/-/ready").status, 200, "refused is an answer");
}

#[test]
fn a_pipeline_of_another_group_is_forbidden_alone() {
    let api = Api::healthy(3);
    let exporter = settled(&api, 3, &[]);
    let foreign = api.simulator.pipeline_ids(0)[1].clone();
    api.simulator.update_pipeline(&foreign, |pipeline| pipeline.condition = Condition::Foreign);
    let exposition = exporter
        .until("forbidden", |exposition| exposition.one("goldrush_pipeline_forbidden", &[&of(&foreign)]) == Some(1.0));
    assert_eq!(exposition.values("goldrush_pipeline_forbidden", &[]).iter().sum::<f64>(), 1.0);
    assert_eq!(exposition.value("goldrush_auth_forbidden{account=\"default\"}"), Some(0.0));
    api.simulator.update_pipeline(&foreign, |pipeline| pipeline.condition = Condition::Well);
    exporter.until("allowed again", |exposition| {
        exposition.one("goldrush_pipeline_forbidden", &[&of(&foreign)]) == Some(0.0)
    });
}

#[test]
fn a_deleted_pipeline_vanishes_with_all_its_series() {
    let api = Api::healthy(3);
    let exporter = settled(&api, 3, &[]);
    let gone = api.simulator.pipeline_ids(0)[0].clone();
    api.simulator.remove_pipeline(&gone);
    let exposition = exporter.until_value(COUNT, 2.0);
    assert!(!exposition.0.contains(&gone));
    assert_eq!(exposition.values("goldrush_pipeline_destination_healthy", &[]).len(), 2);
}

#[test]
fn a_renamed_pipeline_leaves_no_series_of_its_old_name() {
    let api = Api::healthy(1);
    let exporter = settled(&api, 1, &[]);
    let id = api.simulator.pipeline_ids(0)[0].clone();
    api.simulator.update_pipeline(&id, |pipeline| pipeline.name = "after \"all\"".to_owned());
    let new_name = "pipeline=\"after \\\"all\\\"\"";
    let exposition = exporter.until("the new name", |exposition| exposition.0.contains(new_name));
    let of_it = exposition.samples().filter(|(name, _)| name.starts_with("goldrush_pipeline_")).count();
    assert_eq!(of_it, exposition.samples().filter(|(name, _)| name.contains(new_name)).count());
}

#[test]
fn a_404_for_what_the_list_still_shows_is_no_endless_loop() {
    let api = Api::healthy(1);
    let exporter = settled(&api, 1, &[("GOLDRUSH_EXPORTER__POLL__DISCOVERY", "20s")]);
    api.simulator.set_fault(everywhere(Endpoint::Metrics), Some(answer(404, "{}")));
    exporter.until("the failing probe", |exposition| {
        exposition.one("goldrush_pipeline_probe_success", &["probe=\"metrics\""]) == Some(0.0)
    });
    let statuses = api.simulator.request_counts().status;
    eventually("many more probes", || api.simulator.request_counts().status > statuses + 20);
    assert!(api_lists(&api) <= 3, "{} lists", api_lists(&api));
    assert_eq!(exporter.scrape().value(COUNT), Some(1.0));
}

#[test]
fn after_a_429_nothing_is_sent_before_retry_after_has_passed() {
    let api = Api::healthy(10);
    let exporter = settled(&api, 10, &[]);
    let limited = Fault::RateLimited { retry_after: Some("2".to_owned()) };
    api.simulator.set_fault(everywhere(Endpoint::Status), Some(limited));
    exporter.until("the pause", |exposition| {
        exposition.values("goldrush_poll_paused_until_timestamp_seconds", &[])[0] > 0.0
    });
    api.simulator.set_fault(everywhere(Endpoint::Status), None);
    exporter.until("the end of the pause", |exposition| {
        exposition.values("goldrush_poll_paused_until_timestamp_seconds", &[])[0] == 0.0
    });
    let requests = api.simulator.requests();
    let last = requests.iter().rfind(|request| request.status == Some(429)).unwrap();
    // What was under way with it may have arrived after it.
    let next = requests.iter().find(|request| request.at > last.at + Duration::from_millis(200));
    eventually("polling goes on", || api.simulator.requests().len() > requests.len());
    if let Some(next) = next {
        assert!(next.at >= last.at + Duration::from_millis(1900), "{:?} after {:?}", next.at, last.at);
    }
}

#[test]
fn the_list_is_read_page_by_page_and_never_further_than_max_pipelines() {
    let options =
        || Options { pipelines: 25, groups: 1, max_page_size: 3, service_key: KEY.to_owned(), ..Options::default() };
    let api = Api::start(options());
    let whole = Exporter::of(&api).until_value(COUNT, 25.0);
    assert_eq!(whole.value("goldrush_pipelines_over_limit{account=\"default\"}"), Some(0.0));
    let ids = api.simulator.pipeline_ids(0);
    let settings = [
        ("GOLDRUSH_EXPORTER__MAX_PIPELINES", "5"),
        ("GOLDRUSH_EXPORTER__ACCOUNTS__0__EXPECT__0", ids[0].as_str()),
        ("GOLDRUSH_EXPORTER__ACCOUNTS__0__EXPECT__1", ids[24].as_str()),
    ];
    let exporter = Exporter::with(&api, &settings);
    let exposition = exporter.until_value(COUNT, 5.0);
    assert_eq!(exposition.value("goldrush_pipelines_over_limit{account=\"default\"}"), Some(1.0));
    let missing = |id| exposition.values("goldrush_expected_pipeline_missing", &[&format!("\"{id}\"")]);
    assert_eq!((missing(&ids[0]), missing(&ids[24])), (vec![0.0], vec![]), "of one beyond the cut nothing is known");
    exporter.stderr.line("the list is truncated");
    let seen = api_lists(&api);
    eventually("more lists", || api_lists(&api) > seen + 10);
    assert_eq!(exporter.stderr.text().matches("the list is truncated").count(), 1, "said once");
    let api = Api::start(options());
    api.simulator.set_fault(everywhere(Endpoint::List), Some(Fault::RepeatedPage));
    Exporter::of(&api).until("a list that ends", |exposition| exposition.value(UP) == Some(1.0));
}

#[test]
fn filters_choose_and_expected_pipelines_are_missed() {
    let api = Api::healthy(6);
    let ids = api.simulator.pipeline_ids(0);
    let settings = [
        ("GOLDRUSH_EXPORTER__ACCOUNTS__0__PIPELINE_IDS__INCLUDE__0", ids[0].as_str()),
        ("GOLDRUSH_EXPORTER__ACCOUNTS__0__PIPELINE_IDS__INCLUDE__1", ids[1].as_str()),
        ("GOLDRUSH_EXPORTER__ACCOUNTS__0__PIPELINE_IDS__EXCLUDE__0", ids[1].as_str()),
        ("GOLDRUSH_EXPORTER__ACCOUNTS__0__EXPECT__0", ids[5].as_str()),
        ("GOLDRUSH_EXPORTER__ACCOUNTS__0__EXPECT__1", "pipe_missing"),
    ];
    let exposition = Exporter::with(&api, &settings).until_value(COUNT, 1.0);
    assert!(exposition.0.contains(&of(&ids[0])) && !exposition.0.contains(&of(&ids[1])));
    let missing = |id: &str| exposition.one("goldrush_expected_pipeline_missing", &[&of(id)]);
    assert_eq!(
        (missing(&ids[5]), missing("pipe_missing")),
        (Some(0.0), Some(1.0)),
        "a filter does not make it missing"
    );
}

#[test]
fn more_pipelines_than_the_budget_covers_stretch_the_intervals_and_keep_the_budget() {
    let api = Api::healthy(60);
    let settings = [("GOLDRUSH_EXPORTER__POLL__REQUESTS_PER_SECOND", "40")];
    let exporter = Exporter::with(&api, &settings);
    let exposition = exporter.until("everyone was asked", |exposition| {
        exposition.values("goldrush_pipeline_probe_success", &[]).len() == 180
    });
    let rate = |name: &str| exposition.values(name, &[])[0];
    assert!(rate("goldrush_poll_required_requests_per_second") > rate("goldrush_poll_allowed_requests_per_second"));
    let at: Vec<Duration> = api.simulator.requests().iter().map(|request| request.at).collect();
    let (first, last) = (at.iter().min().unwrap(), at.iter().max().unwrap());
    // 40 each second and a burst of 3; a busy machine may be late with the first. What each second holds is shown with the
    // clock in the tests' hands, in `budget.rs`.
    let most = 40.0 * ((*last - *first).as_secs_f64() + 0.5) + 3.0;
    assert!(at.len() as f64 <= most, "{} requests, {most} are allowed", at.len());
    assert_eq!(exporter.stderr.text().matches("they are stretched").count(), 1);
}

#[test]
fn a_destination_that_is_down_says_why_until_it_is_healed() {
    let api = Api::healthy(6);
    let exporter = settled(&api, 6, &[]);
    api.simulator.set_scenario(Scenario::DestinationDown);
    let exposition = exporter.until("a destination error", |exposition| {
        !exposition.values("goldrush_pipeline_destination_error", &[]).is_empty()
    });
    assert!(exposition.values("goldrush_pipeline_destination_healthy", &[]).contains(&0.0));
    exporter.stderr.line("destination is unhealthy");
    api.simulator.set_scenario(Scenario::Healthy);
    exporter.until("healed", |exposition| {
        exposition.values("goldrush_pipeline_destination_error", &[]).is_empty()
            && exposition.values("goldrush_pipeline_destination_healthy", &[]) == [1.0; 6]
    });
}

#[test]
fn a_pause_survives_a_change_of_the_configuration() {
    let api = Api::start(Options { pipelines: 3, groups: 2, service_key: KEY.to_owned(), ..Options::default() });
    let file = tempfile::Builder::new().suffix(".yml").tempfile().unwrap();
    let configure = |rate: u32, more: &str| {
        let one = "{name: one, service_key_env: GOLDRUSH_SERVICE_KEY}";
        let text = format!("poll: {{discovery: 1h, requests_per_second: {rate}}}\naccounts: [{one}{more}]\n");
        std::fs::write(file.path(), text).unwrap();
    };
    configure(50, "");
    let mut environment = api.environment();
    environment.retain(|(name, _)| !name.contains("REQUESTS_PER_SECOND") && !name.contains("DISCOVERY"));
    let exporter = Exporter::start(&["--config.file", file.path().to_str().unwrap()], &environment);
    exporter.until("all probes succeed", |exposition| all_succeed(exposition, 3));
    let limited = Fault::RateLimited { retry_after: Some("3600".to_owned()) };
    api.simulator.set_fault(FaultMatcher::default(), Some(limited));
    let paused = "goldrush_poll_paused_until_timestamp_seconds{account=\"one\"}";
    let until = exporter.until("the pause", |exposition| exposition.value(paused) > Some(0.0)).value(paused);
    // What was under way is over when nothing is in flight any more: each of them has been answered 429.
    api.simulator.set_fault(FaultMatcher::default(), None);
    let asked = || api.simulator.requests().iter().filter(|request| request.key == Some(0)).count();
    let before = asked();

    // The less patient configuration, and another account whose polling shows that it is in effect.
    api.simulator.add_service_key("sk_of_the_second_group", 1);
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "sk_of_the_second_group").unwrap();
    configure(20, &format!(", {{name: two, service_key_file: {}}}", key.path().display()));
    exporter.signal(Signal::HUP);
    let exposition = exporter.until("the other account polls", |exposition| {
        exposition.values("goldrush_pipeline_probe_success", &["account=\"two\""]).len() == 9
    });
    assert_eq!(exposition.value("goldrush_poll_allowed_requests_per_second{account=\"one\"}"), Some(20.0));
    assert_eq!(asked(), before, "nothing is retried sooner");
    let still = exposition.value(paused).unwrap();
    assert!((still - until.unwrap()).abs() < 1.0, "{still} and {until:?}");
}
