//! The list of pipelines: its pages, what vanishes and what does not, filters, and more pipelines than the budget covers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::common::{Api, Exporter, Exposition, KEY, Signal, all_succeed, eventually, failures, of, run};
use goldrush_exporter::simulator::{Condition, Endpoint, Fault, FaultMatcher, Options};
use serde_json::json;

const UP: &str = "goldrush_up{account=\"default\"}";
const LISTED: &str = "goldrush_discovery_last_success_timestamp_seconds{account=\"default\"}";

/// Where only the list matters, the probes are asked once.
const NO_PROBES: &[(&str, &str)] = &[
    ("GOLDRUSH_EXPORTER__POLL__STATUS", "1h"),
    ("GOLDRUSH_EXPORTER__POLL__METRICS", "1h"),
    ("GOLDRUSH_EXPORTER__POLL__DESTINATION_HEALTH", "1h"),
    ("GOLDRUSH_EXPORTER__POLL__TRANSITIONAL", "1h"),
];

fn paged(pipelines: usize, max_page_size: usize) -> Api {
    Api::start(Options { pipelines, groups: 1, max_page_size, service_key: KEY.to_owned(), ..Options::default() })
}

/// The ids of the pipelines shown, in order; one that is shown twice is there twice.
fn shown(exposition: &Exposition) -> Vec<String> {
    let infos = exposition.samples().filter(|(sample, _)| sample.starts_with("goldrush_pipeline_info{"));
    let mut ids: Vec<String> = infos
        .map(|(sample, _)| sample.split_once("pipeline_id=\"").unwrap().1.split('"').next().unwrap().to_owned())
        .collect();
    ids.sort();
    ids
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

fn list() -> FaultMatcher {
    FaultMatcher { endpoint: Some(Endpoint::List), pipeline: None }
}

#[test]
fn each_pipeline_is_shown_once_whatever_the_size_of_the_pages() {
    for (pipelines, page_size, pages) in [(20, 7, 3), (21, 7, 3), (1, 1, 1), (230, 100, 3)] {
        let api = paged(pipelines, page_size);
        let exposition = Exporter::with(&api, NO_PROBES).until_value(UP, 1.0);
        assert_eq!(shown(&exposition), sorted(api.simulator.pipeline_ids(0)), "{pipelines} by {page_size}");
        let requests = api.simulator.requests();
        let first_walk = requests.iter().filter(|request| request.endpoint == Some(Endpoint::List)).take(pages);
        let numbers: Vec<String> = first_walk
            .map(|request| request.path.split(['?', '&']).find_map(|pair| pair.strip_prefix("page_number=")))
            .map(|number| number.unwrap().to_owned())
            .collect();
        assert_eq!(numbers, (1..=pages).map(|page| page.to_string()).collect::<Vec<_>>());
    }
}

#[test]
fn a_page_that_repeats_for_ever_ends_the_list_at_its_first_repetition() {
    let api = paged(5, 2);
    api.simulator.set_fault(list(), Some(Fault::RepeatedPage));
    let exporter = Exporter::with(&api, &[NO_PROBES, &[("GOLDRUSH_EXPORTER__POLL__DISCOVERY", "1h")]].concat());
    let exposition = exporter.until_value(UP, 1.0);
    assert_eq!(shown(&exposition), sorted(api.simulator.pipeline_ids(0)[..2].to_vec()));
    eventually("the probes", || api.simulator.request_counts().total() >= 2 + 6);
    assert_eq!(api.simulator.request_counts().list, 2);
}

/// How a page_size is refused: by the API, by its framework, or by a gateway in front of it.
fn refusals_of_a_page_size() -> [Fault; 4] {
    let answer = |status: u16, body: &str| Fault::Answer { status, headers: vec![], body: body.as_bytes().to_vec() };
    [
        answer(400, r#"{"data": null, "error": true, "error_message": "Invalid limit", "error_code": null}"#),
        answer(422, r#"{"detail": [{"loc": ["query", "page_size"], "msg": "too large"}]}"#),
        Fault::Foreign(400),
        Fault::EnvelopeError { code: json!("422"), message: "Invalid limit".to_owned() },
    ]
}

#[test]
fn a_page_size_that_is_refused_is_left_out_at_once_and_from_then_on() {
    for refusal in refusals_of_a_page_size() {
        let api = paged(5, 2);
        api.simulator.set_fault(list(), Some(Fault::PageSizeRefused(Box::new(refusal.clone()))));
        let exporter = Exporter::with(&api, &[NO_PROBES, &[("GOLDRUSH_EXPORTER__POLL__DISCOVERY", "1h")]].concat());
        let exposition = exporter.until_value(UP, 1.0);
        assert_eq!(shown(&exposition), sorted(api.simulator.pipeline_ids(0)));
        let requests = api.simulator.requests();
        let lists = requests.iter().filter(|request| request.endpoint == Some(Endpoint::List));
        let sizes: Vec<bool> = lists.map(|request| request.path.contains("page_size=")).collect();
        assert_eq!(sizes, [true, false, false, false], "{refusal:?}");
        for command in ["check", "once"] {
            let ended = run(&[command], &api.environment());
            assert_eq!(ended.status, Some(0), "{command} and {refusal:?}: {}{}", ended.stdout, ended.stderr);
        }
    }
}

#[test]
fn a_list_that_is_refused_with_and_without_a_page_size_is_retried_in_growing_steps() {
    let api = paged(5, 2);
    api.simulator.set_fault(list(), refusals_of_a_page_size().into_iter().next());
    let _exporter = Exporter::with(&api, NO_PROBES);
    let lists = || api.simulator.requests().iter().map(|request| request.at).collect::<Vec<_>>();
    eventually("four lists, each with two requests", || lists().len() >= 8);
    // The steps are a second, two, four; each with a jitter of up to half.
    let at = lists();
    assert!(at[7] - at[0] >= Duration::from_millis(3_500), "{at:?}");
    for command in ["check", "once"] {
        let ended = run(&[command], &api.environment());
        assert_eq!(ended.status, Some(6), "{command}");
        assert!(
            format!("{}{}", ended.stdout, ended.stderr).contains("the API returned 400, which"),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn a_list_that_fails_halfway_takes_no_pipeline_away() {
    let api = paged(6, 2);
    let exporter = Exporter::of(&api);
    exporter.until("all probes succeed", |exposition| all_succeed(exposition, 6));
    let ids = api.simulator.pipeline_ids(0);
    // The fourth is another group's now and not listed any more, and the page after its own is broken.
    api.simulator.update_pipeline(&ids[3], |pipeline| {
        pipeline.condition = Condition::Foreign;
        pipeline.answer_with(Endpoint::List, "id", json!(ids[0]));
    });
    api.simulator.update_pipeline(&ids[4], |pipeline| pipeline.answer_with(Endpoint::List, "id", json!(5)));
    exporter.until("several broken lists", |exposition| {
        exposition.value(&failures("list", "decode")).unwrap() >= 3.0 && exposition.value(UP) == Some(0.0)
    });
    assert_eq!(shown(&exporter.scrape()), sorted(ids.clone()));
    api.simulator.update_pipeline(&ids[4], |pipeline| pipeline.answer_as_usual());
    let without = |gone: &str| sorted(ids.iter().filter(|id| *id != gone).cloned().collect());
    let exposition = exporter.until("a whole list", |exposition| shown(exposition) == without(&ids[3]));
    assert!(!exposition.0.contains(&ids[3]), "all its series are gone");
}

#[test]
fn a_list_that_skipped_pipelines_once_takes_none_away() {
    let api = Api::healthy(3);
    let ids = sorted(api.simulator.pipeline_ids(0));
    let settings =
        [("GOLDRUSH_EXPORTER__POLL__DISCOVERY", "3s"), ("GOLDRUSH_EXPORTER__ACCOUNTS__0__EXPECT__0", ids[2].as_str())];
    let exporter = Exporter::with(&api, &settings);
    exporter.until("all probes succeed", |exposition| all_succeed(exposition, 3));
    // As when pipelines before this one were deleted between two pages: the count tells that some were skipped.
    let skipping = json!({"data": {"items": [{"id": ids[0], "name": "one", "project": "p"}],
        "pagination": {"has_more": false, "page_number": 1, "page_size": 100, "total_count": 3}}, "error": false});
    let fault = Fault::Answer { status: 200, headers: vec![], body: skipping.to_string().into_bytes() };
    let before = exporter.scrape().value(LISTED);
    api.simulator.set_fault(list(), Some(fault));
    let exposition = exporter.until("the list with gaps", |exposition| exposition.value(LISTED) > before);
    api.simulator.set_fault(list(), None);
    assert_eq!(shown(&exposition), ids);
    let missing = exposition.one("goldrush_expected_pipeline_missing", &[&of(&ids[2])]);
    assert_eq!(missing, Some(0.0), "it answers: it is there");
    let before = exposition.value(LISTED);
    let exposition = exporter.until("a whole list", |exposition| exposition.value(LISTED) > before);
    assert_eq!(shown(&exposition), ids);
}

#[test]
fn a_list_whose_pipelines_cannot_be_told_apart_takes_none_away() {
    let api = Api::healthy(3);
    let exporter = Exporter::of(&api);
    exporter.until("all probes succeed", |exposition| all_succeed(exposition, 3));
    let ids = sorted(api.simulator.pipeline_ids(0));
    for id in &ids {
        api.simulator.update_pipeline(id, |pipeline| pipeline.answer_with(Endpoint::List, "id", json!(null)));
    }
    let unknown = "goldrush_api_unknown_values_total{account=\"default\",field=\"id\"}";
    let exposition = exporter.until("several lists", |exposition| exposition.value(unknown) >= Some(12.0));
    assert_eq!(shown(&exposition), ids);
    assert!(all_succeed(&exposition, 3), "their probes go on");
}

#[test]
fn filters_match_whole_names_of_projects_and_pipelines() {
    let api = Api::healthy(24);
    let mut named = BTreeMap::new();
    for id in api.simulator.pipeline_ids(0) {
        api.simulator.update_pipeline(&id, |pipeline| {
            named.insert(id.clone(), (pipeline.project.to_string(), pipeline.name.clone()));
        });
    }
    type Wanted = fn(project: &str, name: &str) -> bool;
    let rows: [(&[(&str, &str)], Wanted); 5] = [
        (&[("PROJECTS__INCLUDE__0", "analytics-.*")], |project, _| project.starts_with("analytics-")),
        (&[("PROJECTS__INCLUDE__0", "analytics")], |_, _| false),
        (&[("PROJECTS__INCLUDE__0", "trading-prod"), ("PROJECTS__INCLUDE__1", "wallets-prod")], |project, _| {
            project != "analytics-prod"
        }),
        (&[("PROJECTS__EXCLUDE__0", "trading-.*")], |project, _| !project.starts_with("trading-")),
        (&[("PROJECTS__INCLUDE__0", "trading-.*"), ("PIPELINES__EXCLUDE__0", "From Base .*")], |project, name| {
            project.starts_with("trading-") && !name.starts_with("From Base ")
        }),
    ];
    for (filters, wanted) in rows {
        let settings: Vec<(String, &str)> =
            filters.iter().map(|(key, value)| (format!("GOLDRUSH_EXPORTER__ACCOUNTS__0__{key}"), *value)).collect();
        let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        let exposition = Exporter::with(&api, &[NO_PROBES, &settings].concat()).until_value(UP, 1.0);
        let expected: Vec<String> =
            named.iter().filter(|(_, (project, name))| wanted(project, name)).map(|(id, _)| id.clone()).collect();
        assert_eq!(shown(&exposition), expected, "{filters:?}");
        assert_eq!(exposition.value("goldrush_pipelines{account=\"default\"}"), Some(expected.len() as f64));
    }
}

#[test]
fn a_pipeline_that_a_rename_moves_out_of_the_filter_vanishes_and_comes_back() {
    let api = Api::healthy(2);
    let exporter = Exporter::with(&api, &[("GOLDRUSH_EXPORTER__ACCOUNTS__0__PIPELINES__EXCLUDE__0", "tmp .*")]);
    exporter.until("all probes succeed", |exposition| all_succeed(exposition, 2));
    let id = api.simulator.pipeline_ids(0)[0].clone();
    api.simulator.update_pipeline(&id, |pipeline| pipeline.name = "tmp one".to_owned());
    exporter.until("out", |exposition| !exposition.0.contains(&id));
    api.simulator.update_pipeline(&id, |pipeline| pipeline.name = "for good".to_owned());
    exporter.until("in", |exposition| all_succeed(exposition, 2));
}

#[test]
fn an_expected_pipeline_is_missing_from_its_deletion_on() {
    let api = Api::healthy(2);
    let id = api.simulator.pipeline_ids(0)[1].clone();
    let exporter = Exporter::with(&api, &[("GOLDRUSH_EXPORTER__ACCOUNTS__0__EXPECT__0", &id)]);
    let missing = format!("goldrush_expected_pipeline_missing{{account=\"default\",{}}}", of(&id));
    exporter.until_value(&missing, 0.0);
    api.simulator.remove_pipeline(&id);
    let exposition = exporter.until_value(&missing, 1.0);
    assert_eq!(exposition.0.matches(&of(&id)).count(), 1, "nothing else is left of it");
}

#[test]
fn more_pipelines_than_the_budget_covers_all_get_their_turn_and_are_warned_of_once() {
    let api = Api::healthy(100);
    // 300 probes in 10 s and a list each second are 31 requests per second.
    let settings = [
        ("GOLDRUSH_EXPORTER__POLL__REQUESTS_PER_SECOND", "20"),
        ("GOLDRUSH_EXPORTER__POLL__DISCOVERY", "1s"),
        ("GOLDRUSH_EXPORTER__POLL__STATUS", "10s"),
        ("GOLDRUSH_EXPORTER__POLL__METRICS", "10s"),
        ("GOLDRUSH_EXPORTER__POLL__DESTINATION_HEALTH", "10s"),
        ("GOLDRUSH_EXPORTER__POLL__TRANSITIONAL", "10s"),
    ];
    let exporter = Exporter::with(&api, &settings);
    let exposition = exporter.until("everyone has been asked", |exposition| all_succeed(exposition, 100));
    let of_account = |name: &str| exposition.one(&format!("goldrush_poll_{name}_requests_per_second"), &[]).unwrap();
    assert_eq!(of_account("allowed"), 20.0);
    assert!((of_account("required") - 31.0).abs() < 0.01, "{}", of_account("required"));

    let requests = api.simulator.requests();
    // How many a second holds is shown with the clock in the tests' hands, in `budget.rs`.
    let mut turns = BTreeMap::new();
    for request in requests.iter().filter(|request| request.pipeline.is_some()) {
        *turns.entry((request.pipeline.clone(), request.path.clone())).or_insert(0) += 1;
    }
    let counts: BTreeSet<i32> = turns.into_values().collect();
    assert!(counts.iter().all(|count| (1..=2).contains(count)), "{counts:?}: nobody overtakes another twice");

    assert!(api.simulator.request_counts().list >= 3, "the list does not starve either");
    assert_eq!(exporter.stderr.text().matches("poll.requests_per_second").count(), 1, "{}", exporter.stderr.text());
}

#[test]
fn a_pipeline_that_is_deleted_around_a_reload_goes_even_if_no_list_is_ever_whole() {
    let api = Api::healthy(3);
    let file = tempfile::Builder::new().suffix(".yml").tempfile().unwrap();
    let settings = |stale_after: &str| {
        let poll = format!("poll: {{stale_after: {stale_after}, status: 1h, metrics: 1h, destination_health: 1h}}\n");
        std::fs::write(file.path(), poll).unwrap();
    };
    settings("5h");
    let mut environment = api.environment();
    environment.retain(|(name, _)| !name.starts_with("GOLDRUSH_EXPORTER__POLL__") || name.ends_with("DISCOVERY"));
    let exporter = Exporter::start(&["--config.file", file.path().to_str().unwrap()], &environment);
    exporter.until("all probes succeed", |exposition| all_succeed(exposition, 3));
    let ids = sorted(api.simulator.pipeline_ids(0));
    let items = [json!({"id": ids[0], "name": "one"}), json!({"id": ids[1], "name": "two"})];
    let gappy = json!({"data": {"items": items, "pagination": {"has_more": false, "page_number": 1, "page_size": 100,
        "total_count": 3}}, "error": false});
    let fault = Fault::Answer { status: 200, headers: vec![], body: gappy.to_string().into_bytes() };
    api.simulator.set_fault(list(), Some(fault));
    api.simulator.remove_pipeline(&ids[2]);
    settings("6h");
    exporter.signal(Signal::HUP);
    let exposition = exporter.until("it is asked again and gone", |exposition| shown(exposition).len() == 2);
    assert_eq!(shown(&exposition), ids[..2]);
}

#[test]
fn with_a_lower_max_pipelines_those_beyond_it_go() {
    const COUNT: &str = "goldrush_pipelines{account=\"default\"}";
    let api = Api::healthy(5);
    let file = tempfile::Builder::new().suffix(".yml").tempfile().unwrap();
    std::fs::write(file.path(), "max_pipelines: 5\n").unwrap();
    let exporter = Exporter::start(&["--config.file", file.path().to_str().unwrap()], &api.environment());
    exporter.until_value(COUNT, 5.0);
    std::fs::write(file.path(), "max_pipelines: 3\n").unwrap();
    exporter.signal(Signal::HUP);
    let exposition = exporter.until_value(COUNT, 3.0);
    assert_eq!(exposition.values("goldrush_pipeline_forbidden", &[]).len(), 3);
}
