//! What the simulator promises as a whole: over HTTP, or by direct calls of the handler if the clock is paused.

use std::collections::HashSet;
use std::future;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

const KEY: &str = "sk_simulated_0000000000000000";

fn simulator(scenario: Scenario) -> Simulator {
    Simulator::new(Options { scenario, ..Options::default() })
}

/// Sends a request without a connection, so that it works with a paused clock. Returns status, headers and text.
async fn ask_raw(simulator: &Simulator, key: &str, path: &str) -> (u16, axum::http::HeaderMap, String) {
    ask_path(simulator, key, &format!("{BASE_PATH}{path}")).await
}

async fn ask_path(simulator: &Simulator, key: &str, path: &str) -> (u16, axum::http::HeaderMap, String) {
    let request =
        Request::get(path).header(header::AUTHORIZATION, format!("Bearer {key}")).body(Body::empty()).unwrap();
    let app = App { simulator: simulator.clone(), stop: future::pending().boxed().shared(), address: None };
    let response = simulator.answer(request, &app).await;
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    (parts.status.as_u16(), parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

async fn ask(simulator: &Simulator, key: &str, path: &str) -> (u16, Value) {
    let (status, _, text) = ask_raw(simulator, key, path).await;
    (status, serde_json::from_str(&text).unwrap())
}

async fn data(simulator: &Simulator, path: &str) -> Value {
    let (status, body) = ask(simulator, KEY, path).await;
    assert_eq!((status, &body["error"]), (200, &json!(false)), "{body}");
    body["data"].clone()
}

async fn usage(simulator: &Simulator, key: &str) -> (u16, Value) {
    let (status, _, text) = ask_path(simulator, key, &format!("{USAGE_PATH}?duration=1")).await;
    (status, serde_json::from_str(&text).unwrap())
}

fn first_id(simulator: &Simulator, group: usize) -> String {
    simulator.pipeline_ids(group).remove(0)
}

struct Server {
    base: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

async fn serve(simulator: &Simulator) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let simulator = simulator.clone();
    let task = tokio::spawn(async move {
        let shutdown = stopped.map(|_| ());
        simulator.serve(listener, shutdown).await
    });
    Server { base: origin, stop, task }
}

impl Server {
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

#[tokio::test]
async fn pages_are_clamped_and_cover_each_pipeline_once() {
    let simulator = Simulator::new(Options { pipelines: 25, max_page_size: 10, ..Options::default() });
    let mut seen = Vec::new();
    for page in 1..=3 {
        let data = data(&simulator, &format!("?page_number={page}&page_size=100")).await;
        assert_eq!(
            data["pagination"],
            json!({"has_more": page < 3, "page_number": page, "page_size": 10, "total_count": 25})
        );
        let items = data["items"].as_array().unwrap();
        seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
    }
    assert_eq!(seen, simulator.pipeline_ids(0));
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 25);

    let beyond = data(&simulator, &format!("?page_number={}", usize::MAX)).await;
    assert_eq!(beyond["items"], json!([]));
    assert_eq!(beyond["pagination"]["has_more"], json!(false));
    for bad in ["?page_number=0", "?page_size=0", "?page_number=x"] {
        assert_eq!(ask(&simulator, KEY, bad).await.0, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_key_opens_its_own_group_only() {
    let simulator = simulator(Scenario::Healthy);
    simulator.add_service_key("second", 1);
    simulator.add_read_only_key("reader");
    simulator.add_service_key("gone", 0);
    simulator.revoke_key("gone");
    let (own, other) = (first_id(&simulator, 0), first_id(&simulator, 1));
    for (key, list, first, second, unknown) in [
        (KEY, 200, 200, 403, 404),
        ("second", 200, 403, 200, 404),
        ("reader", 403, 403, 403, 403),
        ("gone", 401, 401, 401, 401),
        ("never-was", 401, 401, 401, 401),
        ("", 401, 401, 401, 401),
    ] {
        for (path, expected) in [
            (String::new(), list),
            (format!("{own}/status/"), first),
            (format!("{other}/metrics/"), second),
            ("pipe_0/destination-health/".to_owned(), unknown),
        ] {
            let (status, body) = ask(&simulator, key, &path).await;
            assert_eq!(status, expected, "{key} {path}");
            assert_eq!(body["error"], json!(status != 200));
        }
    }
    simulator.revoke_key(KEY);
    let codes =
        [ask(&simulator, KEY, "").await.1, ask(&simulator, KEY, "").await.1].map(|body| body["error_code"].clone());
    assert!(codes.contains(&json!(401)) && codes.contains(&json!("401")));
    assert_eq!(simulator.requests()[0].key, Some(0));
    assert_eq!(simulator.violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn numbers_advance_and_fall_back_at_a_restart() {
    let simulator = simulator(Scenario::Healthy);
    let id = first_id(&simulator, 0);
    let metrics = format!("{id}/metrics/");
    let before = data(&simulator, &metrics).await;
    tokio::time::advance(Duration::from_secs(60)).await;
    let after = data(&simulator, &metrics).await;
    for field in ["records_consumed", "last_offset", "last_block_height"] {
        assert!(after[field].as_u64() > before[field].as_u64(), "{field}: {before} {after}");
    }
    simulator.restart_worker(&id);
    let restarted = data(&simulator, &metrics).await;
    assert_eq!(restarted["records_consumed"], json!(0));
    assert_eq!(restarted["last_offset"], after["last_offset"]);

    simulator.set_scenario(Scenario::Restarting);
    let status = format!("{id}/status/");
    let deploying = data(&simulator, &status).await;
    assert_eq!((&deploying["status"], &deploying["ready"]), (&json!("DEPLOYING"), &json!(0)));
    tokio::time::advance(Duration::from_secs(10)).await;
    let running = data(&simulator, &status).await;
    assert_eq!(running["status"], json!("RUNNING"));
    assert_eq!(running["start_time"], deploying["start_time"]);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(data(&simulator, &metrics).await["records_consumed"], json!(0));
    assert_ne!(data(&simulator, &status).await["start_time"], running["start_time"]);
}

#[tokio::test(start_paused = true)]
async fn a_scenario_can_be_switched_on_and_healed() {
    let simulator = simulator(Scenario::Healthy);
    let id = first_id(&simulator, 0);
    let (status, metrics, health) =
        (format!("{id}/status/"), format!("{id}/metrics/"), format!("{id}/destination-health/"));
    simulator.set_scenario(Scenario::DestinationDown);
    tokio::time::advance(Duration::from_secs(30)).await;
    let down = data(&simulator, &health).await;
    assert_eq!(down["healthy"], json!(false));
    assert!(down["last_error"].as_str().unwrap().contains("canary-password"));
    assert!(data(&simulator, &metrics).await["processing_delay_ms"].as_f64().unwrap() > 29_000.0);
    let last = simulator.pipeline_ids(0).pop().unwrap();
    let untouched = data(&simulator, &format!("{last}/destination-health/")).await;
    assert_eq!(untouched["healthy"], json!(true));

    for (scenario, path, expected) in [
        (Scenario::RevokedKey, "", 401),
        (Scenario::ReadOnlyKey, "", 403),
        (Scenario::ForeignPipeline, &status, 403),
        (Scenario::Empty, &status, 404),
    ] {
        simulator.set_scenario(scenario);
        assert_eq!(ask(&simulator, KEY, path).await.0, expected, "{scenario}");
    }
    simulator.set_scenario(Scenario::FailedPipeline);
    assert_eq!(data(&simulator, &status).await["status"], json!("FAILED"));

    simulator.set_scenario(Scenario::Healthy);
    tokio::time::advance(Duration::from_secs(300)).await;
    assert_eq!(data(&simulator, &status).await["status"], json!("RUNNING"));
    assert_eq!(data(&simulator, &health).await["last_error"], Value::Null);
    assert!(data(&simulator, &metrics).await["processing_delay_ms"].as_f64().unwrap() < 2_000.0);
}

#[tokio::test(start_paused = true)]
async fn a_key_added_after_the_revocation_is_accepted() {
    let simulator = simulator(Scenario::RevokedKey);
    assert_eq!(ask(&simulator, KEY, "").await.0, 401);
    simulator.add_service_key("rotated", 0);
    assert_eq!(ask(&simulator, "rotated", "").await.0, 200);
    assert_eq!(ask(&simulator, KEY, "").await.0, 401);
    simulator.set_scenario(Scenario::Healthy);
    assert_eq!(ask(&simulator, KEY, "").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn gateways_misbehave_as_their_scenarios_say() {
    let simulator = simulator(Scenario::RateLimited);
    let mut answers = Vec::new();
    for _ in 0..3 {
        let (status, headers, _) = ask_raw(&simulator, KEY, "").await;
        answers.push((status, headers.contains_key(header::RETRY_AFTER)));
    }
    assert_eq!(answers, [(200, false), (200, false), (429, true)]);

    simulator.set_scenario(Scenario::Html);
    let (status, headers, text) = ask_raw(&simulator, KEY, "").await;
    assert_eq!(status, 200);
    assert!(headers[header::CONTENT_TYPE].as_bytes().starts_with(b"text/html"));
    assert!(text.starts_with("<html>"));

    simulator.set_scenario(Scenario::ServerErrors);
    let mut statuses = Vec::new();
    for _ in 0..9 {
        statuses.push(ask_raw(&simulator, KEY, "").await.0);
    }
    statuses.retain(|status| *status != 200);
    statuses.sort_unstable();
    assert_eq!(statuses, [500, 502, 503]);

    simulator.set_scenario(Scenario::Slow);
    let before = tokio::time::Instant::now();
    data(&simulator, "").await;
    assert!(before.elapsed() >= Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn backfills_end_before_their_stop_block() {
    let simulator = Simulator::new(Options { pipelines: 20, scenario: Scenario::EndedEarly, ..Options::default() });
    let mut bounded = 0;
    for item in data(&simulator, "").await["items"].as_array().unwrap() {
        let id = item["id"].as_str().unwrap();
        let phase = data(&simulator, &format!("{id}/status/")).await["status"].clone();
        if item["execution_mode"] == "bounded" {
            let metrics = data(&simulator, &format!("{id}/metrics/")).await;
            let stop: f64 = item["execution_stop_from"].as_str().unwrap().parse().unwrap();
            assert!(phase == "STOPPED" && metrics["last_block_height"].as_f64().unwrap() < stop, "{item}");
            bounded += 1;
        } else {
            assert_eq!(phase, "RUNNING");
        }
    }
    assert_eq!(bounded, 2);
}

#[tokio::test(start_paused = true)]
async fn the_demo_shows_many_troubles_at_once() {
    let simulator = simulator(Scenario::Demo);
    assert_eq!(ask(&simulator, DEMO_KEY_REVOKED, "").await.0, 401);
    let mut found = HashSet::new();
    for (key, group) in [(DEMO_KEY_PROD, 0), (DEMO_KEY_STAGING, 1)] {
        let list = ask(&simulator, key, "").await.1;
        for item in list["data"]["items"].as_array().unwrap() {
            assert_eq!(item["group"]["is_over_limit"], json!(group == 1));
            let id = item["id"].as_str().unwrap();
            let (status, answer) = ask(&simulator, key, &format!("{id}/status/")).await;
            found.insert(if status == 403 {
                "forbidden".to_owned()
            } else {
                answer["data"]["status"].as_str().unwrap().to_owned()
            });
        }
    }
    let expected = ["forbidden", "RUNNING", "FAILED", "PAUSED", "STOPPED", "DEPLOYING"];
    assert_eq!(found, expected.map(str::to_owned).into());
    let deploying = first_id(&simulator, 1);
    tokio::time::advance(Duration::from_secs(41)).await;
    let status = ask(&simulator, DEMO_KEY_STAGING, &format!("{deploying}/status/")).await;
    assert_eq!(status.1["data"]["status"], json!("RUNNING"));
}

#[tokio::test(start_paused = true)]
async fn usage_is_for_the_keys_that_it_is_offered_to_and_low_credits_are_used_up_within_seconds() {
    let simulator = simulator(Scenario::Healthy);
    let left = async |simulator: &Simulator| {
        let (status, body) = usage(simulator, KEY).await;
        let aggregate = &body["data"]["aggregate"];
        let number = |value: &Value| value.as_f64().unwrap();
        let all = number(&aggregate["max_credits"]) + number(&aggregate["flex_credits"]["limit"]);
        (status, all - number(&aggregate["credits_consumed"]))
    };
    assert_eq!(left(&simulator).await, (200, 230_000.0));
    simulator.set_scenario(Scenario::CreditsLow);
    assert_eq!(left(&simulator).await, (200, 600.0));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(left(&simulator).await, (200, 0.0));
    simulator.set_scenario(Scenario::Healthy);
    assert_eq!(left(&simulator).await, (200, 230_000.0));
    simulator.update_group(0, |group| group.offers_usage = false);
    assert_eq!(usage(&simulator, KEY).await.0, 404);
    simulator.revoke_key(KEY);
    assert_eq!(usage(&simulator, KEY).await.0, 401);
    assert_eq!((simulator.request_counts().usage, simulator.violations()), (6, vec![]));
}

#[tokio::test]
async fn private_strings_are_in_the_answers() {
    let simulator =
        Simulator::new(Options { pipelines: 100, scenario: Scenario::DestinationDown, ..Options::default() });
    let mut answers = data(&simulator, "").await.to_string();
    let mut errors = String::new();
    for id in simulator.pipeline_ids(0) {
        errors += &data(&simulator, &format!("{id}/destination-health/")).await.to_string();
    }
    answers += &errors;
    answers += &usage(&simulator, KEY).await.1.to_string();
    for private in PRIVATE_STRINGS {
        assert!(answers.contains(private), "{private}");
    }
    assert!(errors.contains("canary-password"));
}

#[tokio::test]
async fn fields_can_be_replaced_left_out_and_restored() {
    let simulator = simulator(Scenario::Healthy);
    let id = first_id(&simulator, 0);
    let path = format!("{id}/status/");
    simulator.update_pipeline(&id, |pipeline| {
        pipeline.answer_with(Endpoint::Status, "status", json!("HIBERNATING"));
        pipeline.omit(Endpoint::Status, "ready");
        pipeline.name = "renamed".to_owned();
    });
    let status = data(&simulator, &path).await;
    assert_eq!(status["status"], json!("HIBERNATING"));
    assert_eq!(status.get("ready"), None);
    assert_eq!(data(&simulator, "").await["items"][0]["name"], json!("renamed"));
    simulator.update_pipeline(&id, |pipeline| {
        pipeline.answer_as_usual();
        pipeline.intent = "paused".into();
    });
    assert_eq!(data(&simulator, &path).await["status"], json!("PAUSED"));

    simulator.remove_pipeline(&id);
    assert_eq!(ask(&simulator, KEY, &path).await.0, 404);
    simulator.add_pipeline(SimulatedPipeline::new("pipe_new", 0));
    assert_eq!(data(&simulator, "pipe_new/status/").await["status"], json!("RUNNING"));
    assert_eq!(simulator.pipeline_ids(0).len(), 20);
}

#[tokio::test]
async fn violations_are_recorded_and_refused() {
    let simulator = simulator(Scenario::Healthy);
    let id = first_id(&simulator, 0);
    let server = serve(&simulator).await;
    let client = reqwest::Client::new();
    let list = server.url(BASE_PATH);
    let auth = format!("Bearer {KEY}");

    let deleted =
        client.delete(server.url(&format!("{BASE_PATH}{id}/"))).header("authorization", &auth).send().await.unwrap();
    assert_eq!(deleted.status(), 405); // the verb and the path
    let body = client.get(&list).header("authorization", &auth).body("x").send();
    assert_eq!(body.await.unwrap().status(), 200);
    let twice = client.get(&list).header("authorization", &auth).header("authorization", &auth).send();
    assert_eq!(twice.await.unwrap().status(), 401);
    let without = client.get(&list).send().await.unwrap();
    assert_eq!(without.status(), 401);
    assert_eq!(without.headers()["content-type"], "application/json");
    let basic = client.get(&list).header("authorization", "Basic eDp5").send().await.unwrap();
    assert_eq!(basic.status(), 401);
    let curious = client.get(format!("{list}?page_number=1&expand=all")).header("authorization", &auth).send();
    assert_eq!(curious.await.unwrap().status(), 200);
    let host = client.get(&list).header("authorization", &auth).header("host", "other.example").send();
    assert_eq!(host.await.unwrap().status(), 200);
    assert_eq!(client.get(server.url("/elsewhere")).send().await.unwrap().status(), 404);

    let violations = simulator.violations();
    let wrongs: Vec<&str> = violations.iter().map(|violation| violation.split_once(": ").unwrap().1).collect();
    let expected = [
        "is not a GET",
        "is not a path that an exporter requests",
        "has a body",
        "carries more than one Authorization header",
        "carries no Authorization header",
        "carries something other than a bearer token",
        "has a query other than a page or a month",
        "is for another host",
        "is outside of the API",
    ];
    assert_eq!(wrongs, expected);
    assert_eq!(simulator.request_counts().violations, 9);
    assert_eq!(simulator.request_counts().total(), 7);
    assert!(!violations.concat().contains(KEY));
    assert_eq!(simulator.pipeline_ids(0).len(), 20);
}

#[tokio::test]
async fn faults_happen_to_matching_requests_and_a_hanging_one_does_not_stop_the_server_from_stopping() {
    let simulator = simulator(Scenario::Healthy);
    let server = serve(&simulator).await;
    let client = reqwest::Client::new();
    let get = |path: &str| {
        client.get(server.url(&format!("{BASE_PATH}{path}"))).header("authorization", format!("Bearer {KEY}")).send()
    };
    let list = FaultMatcher { endpoint: Some(Endpoint::List), pipeline: None };
    let set = |fault| simulator.set_fault(list.clone(), fault);
    let id = first_id(&simulator, 0);

    set(Some(Fault::RateLimited { retry_after: Some("7".to_owned()) }));
    let limited = get("").await.unwrap();
    assert_eq!(limited.status(), 429);
    assert_eq!(limited.headers()["retry-after"], "7");
    assert_eq!(get(&format!("{id}/status/")).await.unwrap().status(), 200);

    set(Some(Fault::EnvelopeError { code: json!("E1"), message: "no".to_owned() }));
    let envelope = get("").await.unwrap();
    assert_eq!(envelope.status(), 200);
    assert!(envelope.text().await.unwrap().contains("\"error\":true"));

    set(Some(Fault::Answer {
        status: 302,
        headers: vec![("location".to_owned(), "/simulator".to_owned()), ("not a header".to_owned(), String::new())],
        body: Vec::new(),
    }));
    assert_eq!(get("").await.unwrap().status(), 200); // this client follows

    set(Some(Fault::BrokenBody));
    assert!(get("").await.unwrap().bytes().await.is_err());

    set(Some(Fault::EndlessBody));
    let mut endless = get("").await.unwrap();
    let mut received = 0;
    while received < 1_000_000 {
        received += endless.chunk().await.unwrap().unwrap().len();
    }
    drop(endless);

    set(Some(Fault::RepeatedPage));
    let page = get("?page_number=9&page_size=5").await.unwrap();
    let page: Value = serde_json::from_str(&page.text().await.unwrap()).unwrap();
    assert_eq!(page["data"]["pagination"]["has_more"], json!(true));
    assert_eq!(page["data"]["items"][0]["id"], json!(id));

    set(None);
    assert_eq!(get("").await.unwrap().status(), 200);

    set(Some(Fault::StalledBody));
    let stalled = get("").await.unwrap();
    set(Some(Fault::Hang));
    let hanging = tokio::spawn(get(""));
    while simulator.requests().last().is_none_or(|request| request.status.is_some()) {
        tokio::task::yield_now().await;
    }
    server.stop.send(()).unwrap();
    assert_eq!(hanging.await.unwrap().unwrap().status(), 503);
    assert_eq!(stalled.text().await.unwrap(), "{\"data\": ");
    server.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn it_is_steered_over_http_without_showing_keys() {
    let simulator = simulator(Scenario::Healthy);
    let server = serve(&simulator).await;
    let client = reqwest::Client::new();
    let put = |name: &str| client.put(server.url(&format!("/simulator/scenario/{name}")));
    assert_eq!(put("stalled").send().await.unwrap().status(), 200);
    assert_eq!(simulator.scenario(), Scenario::Stalled);
    assert_eq!(put("nonsense").send().await.unwrap().status(), 404);

    let revoke = |key: &str| client.post(server.url(&format!("/simulator/keys/{key}/revoke")));
    assert_eq!(revoke("0").send().await.unwrap().status(), 200);
    assert_eq!(revoke("9").send().await.unwrap().status(), 404);
    assert_eq!(ask(&simulator, KEY, "").await.0, 401);
    let added = client.put(server.url("/simulator/keys/sk_added")).send().await.unwrap();
    assert_eq!(added.status(), 200);
    assert_eq!(ask(&simulator, "sk_added", "").await.0, 200);

    let shown = client.get(server.url("/simulator")).send().await.unwrap();
    let shown = shown.text().await.unwrap();
    assert!(!shown.contains(KEY) && !shown.contains("sk_added"));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["scenario"], json!("stalled"));
    assert_eq!(shown["keys"], json!([{"index": 0, "revoked": true}, {"index": 1, "revoked": false}]));
    assert_eq!(shown["requests"]["list"], json!(2));
}
