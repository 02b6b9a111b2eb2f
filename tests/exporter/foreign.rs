//! Something between the exporter and GoldRush responds: a proxy, a firewall, an ingress without a backend, a portal. It
//! accuses no key, drops no pipeline and ends no page, and everything that tells of it tells the same. What is whose response
//! is in `fault_matrix`.

use crate::common::{Api, Exporter, Exposition, KEY, all_succeed, eventually, of, run, settled};
use goldrush_exporter::simulator::{Condition, Endpoint, Fault, FaultMatcher, Options};
use serde_json::Value;

const COUNT: &str = "goldrush_pipelines{account=\"default\"}";
const FOREIGN: &str = "goldrush_account_trouble";
const SAID: &str = "something between the exporter and GoldRush responded";

/// What such things say; with the status, for messages.
fn responses() -> Vec<(u16, Fault)> {
    let answer =
        |status: u16, body: &str| (status, Fault::Answer { status, headers: vec![], body: body.as_bytes().to_vec() });
    let mut all: Vec<(u16, Fault)> =
        [200, 400, 401, 402, 403, 404, 410, 429].map(|status| (status, Fault::Foreign(status))).into();
    all.push(answer(404, "default backend - 404"));
    all.push(answer(403, "RBAC: access denied"));
    all.push(answer(401, r#"{"message": "Unauthorized"}"#));
    all.push(answer(403, r#"{"error": "forbidden", "error_code": 403}"#));
    all
}

fn on(endpoint: Endpoint) -> FaultMatcher {
    FaultMatcher { endpoint: Some(endpoint), pipeline: None }
}

/// Three pipelines, the first of which has failed.
fn fleet(settings: &[(&str, &str)]) -> (Api, Exporter, String) {
    let api = Api::start(Options { pipelines: 3, groups: 1, service_key: KEY.to_owned(), ..Options::default() });
    let failed = api.simulator.pipeline_ids(0)[0].clone();
    api.simulator.update_pipeline(&failed, |pipeline| pipeline.condition = Condition::Failed);
    let exporter = settled(&api, 3, settings);
    let failed = of(&failed);
    exporter.until("it has failed", |exposition| has_failed(exposition, &failed));
    (api, exporter, failed)
}

fn has_failed(exposition: &Exposition, id: &str) -> bool {
    exposition.one("goldrush_pipeline_trouble", &[id, "kind=\"failed\""]) == Some(1.0)
}

fn is_foreign(exposition: &Exposition) -> bool {
    exposition.one(FOREIGN, &["kind=\"foreign_response\""]) == Some(1.0)
}

#[track_caller]
fn nothing_is_lost_and_no_key_accused(exposition: &Exposition, failed: &str, status: u16) {
    assert_eq!(exposition.value(COUNT), Some(3.0), "{status} drops a pipeline");
    assert!(has_failed(exposition, failed), "{status} ends a page");
    for family in ["goldrush_auth_unauthorized", "goldrush_auth_forbidden", "goldrush_pipeline_forbidden"] {
        assert!(exposition.values(family, &[]).iter().all(|flag| *flag == 0.0), "{status}: {family}");
    }
    for kind in ["key_unauthorized", "key_not_service_key", "payment_required", "rate_limited", "forbidden"] {
        let kind = format!("kind=\"{kind}\"");
        let accused = ["goldrush_account_trouble", "goldrush_pipeline_trouble"]
            .iter()
            .any(|family| exposition.values(family, &[&kind]).contains(&1.0));
        assert!(!accused, "{status}: {kind}");
    }
}

fn account(exporter: &Exporter) -> Value {
    let report: Value = serde_json::from_slice(&exporter.get("/api/v1/pipelines").body).unwrap();
    report["accounts"][0].clone()
}

/// The metrics say that it is foreign; so do the page, its JSON form, and `check`.
#[track_caller]
fn the_same_is_said_everywhere(api: &Api, exporter: &Exporter, status: u16) {
    let account = account(exporter);
    assert_eq!(account["list_failure"], "foreign_response", "{status}");
    let trouble = &account["troubles"][0];
    assert_eq!(trouble["kind"], "foreign_response", "{status}: {account:#}");
    let sentence = format!("{SAID} {status}, not the API");
    assert!(trouble["message"].as_str().unwrap().contains(&sentence), "{trouble:#}");
    assert!(exporter.get("/").text().contains(&sentence), "{status} on the page");
    let ended = run(&["check"], &api.environment());
    assert_eq!(ended.status, Some(6), "{status}: {}", ended.stdout);
    assert!(ended.stdout.contains(&sentence), "{}", ended.stdout);
}

#[test]
fn on_every_path_it_is_a_trouble_of_its_own_and_nothing_else() {
    let (api, exporter, failed) = fleet(&[]);
    for (status, response) in responses() {
        api.simulator.set_fault(FaultMatcher::default(), Some(response));
        exporter.until("a foreign response", is_foreign);
        let lists = || api.simulator.request_counts().list;
        let (first, before) = (lists(), api.simulator.request_counts());
        eventually("three more lists", || lists() >= first + 3);
        let after = api.simulator.request_counts();
        let probes = after.total() - before.total() - (after.list - before.list);
        // At the pace of the list. Without backing off there would be more than twice as many.
        assert!(
            probes <= 9 * (after.list - before.list + 3),
            "{status}: {probes} probes, {:?}",
            after.list - before.list
        );
        nothing_is_lost_and_no_key_accused(&exporter.scrape(), &failed, status);
        the_same_is_said_everywhere(&api, &exporter, status);
        api.simulator.set_fault(FaultMatcher::default(), None);
        exporter.until("all probes succeed", |exposition| all_succeed(exposition, 3) && !is_foreign(exposition));
    }
}

#[test]
fn on_the_list_alone_the_probes_go_on() {
    let (api, exporter, failed) = fleet(&[]);
    for (status, response) in responses() {
        api.simulator.set_fault(on(Endpoint::List), Some(response));
        exporter.until("a foreign response", is_foreign);
        let before = api.simulator.request_counts().metrics;
        eventually("the probes go on", || api.simulator.request_counts().metrics >= before + 6);
        let exposition = exporter.scrape();
        assert!(all_succeed(&exposition, 3), "{status}");
        nothing_is_lost_and_no_key_accused(&exposition, &failed, status);
        the_same_is_said_everywhere(&api, &exporter, status);
        api.simulator.set_fault(on(Endpoint::List), None);
        exporter.until("the list succeeds", |exposition| !is_foreign(exposition));
    }
}

#[test]
fn on_one_probe_alone_it_is_the_trouble_of_that_probe() {
    let (api, exporter, failed) = fleet(&[]);
    let probe = "probe=\"destination_health\"";
    for (status, response) in responses() {
        api.simulator.set_fault(on(Endpoint::DestinationHealth), Some(response));
        let exposition = exporter.until("a trouble of each pipeline", |exposition| {
            exposition.values("goldrush_pipeline_trouble", &["kind=\"probe_failing\""]) == [1.0; 3]
        });
        assert_eq!(exposition.values("goldrush_pipeline_probe_success", &[probe]), [0.0; 3], "{status}");
        assert!(!is_foreign(&exposition), "{status}: the list is well");
        nothing_is_lost_and_no_key_accused(&exposition, &failed, status);
        let report: Value = serde_json::from_slice(&exporter.get("/api/v1/pipelines").body).unwrap();
        let told = report["pipelines"].to_string();
        assert_eq!(told.matches("destination health (foreign response)").count(), 3, "{status}: {told}");
        api.simulator.set_fault(on(Endpoint::DestinationHealth), None);
        exporter.until("all probes succeed", |exposition| all_succeed(exposition, 3));
    }
}

#[test]
fn on_all_probes_the_trouble_of_the_account_names_the_reason() {
    let (api, exporter, failed) = fleet(&[("GOLDRUSH_EXPORTER__POLL__STALE_AFTER", "3s")]);
    for probe in [Endpoint::Status, Endpoint::Metrics, Endpoint::DestinationHealth] {
        api.simulator.set_fault(on(probe), Some(Fault::Foreign(403)));
    }
    let exposition = exporter.until("no readings", |exposition| {
        exposition.one("goldrush_account_trouble", &["kind=\"no_readings\""]) == Some(1.0)
    });
    nothing_is_lost_and_no_key_accused(&exposition, &failed, 403);
    let trouble = account(&exporter)["troubles"][0].clone();
    assert_eq!(trouble["kind"], "no_readings");
    assert!(trouble["message"].as_str().unwrap().contains("foreign response"), "{trouble:#}");
}
