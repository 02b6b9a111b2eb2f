//! The exporter against a Pipeline API that somebody else wrote from the same contract: `standin/pipeline_api.py`.
//! It keeps every promise and is whimsical about everything else, so nothing here rests on how our simulator answers.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::common::{Exporter, Exposition, FAST, KEY, OPERATION, Output, PATIENCE, environment, request};
use goldrush_exporter::api::UnknownField;
use serde_json::{Value, json};

const PIPELINES: &str = "goldrush_pipelines{account=\"default\"}";
const UNAUTHORIZED: &str = "goldrush_auth_unauthorized{account=\"default\"}";
const LISTED: &str = "goldrush_discovery_last_success_timestamp_seconds{account=\"default\"}";

/// Where only the list is looked at, the probes need not keep two processes busy.
const FEW_PROBES: &[(&str, &str)] = &[
    ("GOLDRUSH_EXPORTER__POLL__STATUS", "10s"),
    ("GOLDRUSH_EXPORTER__POLL__METRICS", "10s"),
    ("GOLDRUSH_EXPORTER__POLL__DESTINATION_HEALTH", "10s"),
    ("GOLDRUSH_EXPORTER__POLL__TRANSITIONAL", "10s"),
];

/// The stand-in as a process. It ends when it is dropped, and at the latest with this process (its input closes).
struct StandIn {
    child: Child,
    _input: ChildStdin,
    stderr: Output,
    url: String,
    address: String,
}

impl StandIn {
    fn start(arguments: &[&str]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/standin/pipeline_api.py");
        let mut command = Command::new("python3");
        command.arg(script).args(["--stdin-guard", "--key", KEY]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let stdout = Output::follow(child.stdout.take().unwrap());
        let stderr = Output::follow(child.stderr.take().unwrap());
        let url = stdout.line("listening on ").split_once("listening on ").unwrap().1.to_owned();
        let address = url.split('/').nth(2).unwrap().to_owned();
        Self { child, _input: input, stderr, url, address }
    }

    fn exporter(&self, settings: &[(&str, &str)]) -> Exporter {
        let mut all = environment(FAST);
        all.extend(environment(&[("GOLDRUSH_EXPORTER__API__BASE_URL", &self.url), ("GOLDRUSH_SERVICE_KEY", KEY)]));
        all.extend(environment(settings));
        Exporter::start(&["--log.level", "debug"], &all)
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&request(&self.address, "GET", "/__control?truth=1", &[]).body).unwrap()
    }

    #[track_caller]
    fn control(&self, command: &Value) {
        let body = command.to_string();
        let mut stream = std::net::TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("POST /__control HTTP/1.1\r\nHost: {}\r\nConnection: close", self.address);
        write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{command}: {answer}");
    }

    /// The ids of the key's own pipelines, in the order of their making.
    fn ids(&self) -> Vec<String> {
        self.report()["ids"].as_array().unwrap().iter().map(|id| text(id).to_owned()).collect()
    }

    /// What must hold after everything: it was only read from, as agreed, and nothing private came out anywhere.
    #[track_caller]
    fn judge(&self, exporter: &Exporter) {
        let openmetrics = [("Accept", "application/openmetrics-text; version=1.0.0")];
        let shown = [
            ("/metrics", exporter.get("/metrics").text()),
            ("/metrics in OpenMetrics", request(&exporter.address, "GET", "/metrics", &openmetrics).text()),
            ("/", exporter.get("/").text()),
            ("stdout", exporter.stdout.text()),
            ("stderr", exporter.stderr.text()),
        ];
        let report = self.report();
        assert_eq!(report["violations"], json!([]));
        assert!(!report["requests"].as_array().unwrap().is_empty());
        let canaries = report["canaries"].as_object().unwrap();
        assert!(canaries.len() > 10, "{canaries:?}");
        for (place, shown) in &shown {
            for (private, origin) in canaries {
                assert!(!shown.contains(private), "{private} ({origin}) in {place}:\n{shown}");
            }
            assert!(!shown.contains(KEY), "the key in {place}:\n{shown}");
            assert!(!shown.contains('\0'), "a NUL in {place}:\n{shown:?}");
        }
        assert_eq!(self.stderr.text(), "", "the stand-in itself is in trouble");
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// A label pair as the exposition writes it: nothing in it breaks a line.
fn label(name: &str, value: &str) -> String {
    let value = value.replace(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'), " ");
    format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

fn of(id: &str) -> String {
    label("pipeline_id", id)
}

/// The pipelines that are shown.
fn shown(exposition: &Exposition) -> BTreeSet<String> {
    let infos = exposition.samples().filter(|(sample, _)| sample.starts_with("goldrush_pipeline_info{"));
    infos
        .map(|(sample, _)| sample.split_once("pipeline_id=\"").unwrap().1.split('"').next().unwrap().to_owned())
        .collect()
}

/// Waits until a list that began after this call is through: the first one to end may have begun before.
fn two_more_lists(exporter: &Exporter) -> Exposition {
    let mut exposition = exporter.scrape();
    for _ in 0..2 {
        let before = exposition.value(LISTED);
        exposition = exporter.until("another list", |exposition| exposition.value(LISTED) > before);
    }
    exposition
}

fn lists_exactly(mode: &str) {
    // Twelve on pages of five at most: one page more than whole ones, and the end has to be found.
    let api = StandIn::start(&["--list-mode", mode, "--pipelines", "12", "--max-page-size", "5"]);
    let exporter = api.exporter(FEW_PROBES);
    let ids: BTreeSet<String> = api.ids().into_iter().collect();
    assert_eq!(ids.len(), 12);
    exporter.until(&format!("{mode}: the stand-in's ids"), |exposition| shown(exposition) == ids);
    let exposition = two_more_lists(&exporter);
    assert_eq!(shown(&exposition), ids, "{mode}: after another list");
    assert_eq!(exposition.values("goldrush_pipeline_info", &[]).len(), 12, "{mode}: a pipeline counts once");
    assert_eq!(exposition.value(PIPELINES), Some(12.0), "{mode}");
    assert_eq!(exposition.value("goldrush_up{account=\"default\"}"), Some(1.0), "{mode}");
    let failures = exposition.values("goldrush_api_request_failures_total", &[&label(OPERATION, "list")]);
    assert!(!failures.is_empty() && failures.iter().all(|count| *count == 0.0), "{mode}: {failures:?}");
    api.judge(&exporter);
}

/// One test per way of paging, so that each is named where it fails and all run side by side.
macro_rules! lists_exactly {
    ($($name:ident: $mode:literal,)+) => {
        mod lists_exactly {
            $(#[test]
            #[ignore = "needs python3"]
            fn $name() {
                super::lists_exactly($mode);
            })+
        }
    };
}

lists_exactly! {
    normal: "normal",
    clamped: "clamped",
    without_a_total: "no-total",
    without_has_more: "no-has-more",
    without_pagination: "bare",
    with_the_last_page_repeated: "repeat-last",
    while_the_pages_shift: "shifting",
    with_null_for_an_empty_page: "null-items-when-empty",
}

#[test]
#[ignore = "needs python3"]
fn an_endless_list_ends_at_max_pipelines() {
    let api = StandIn::start(&["--list-mode", "endless", "--max-page-size", "7"]);
    let exporter = api.exporter(&[FEW_PROBES, &[("GOLDRUSH_EXPORTER__MAX_PIPELINES", "30")]].concat());
    exporter.until_value(PIPELINES, 30.0);
    let exposition = two_more_lists(&exporter);
    assert_eq!(exposition.value(PIPELINES), Some(30.0));
    let pipelines = shown(&exposition);
    assert_eq!(pipelines.len(), 30);
    assert!(api.ids().iter().all(|id| pipelines.contains(id)), "the first ones are among them");
    // 30 of them are on five pages of seven: no other page is worth asking for.
    let report = api.report();
    let lists = report["requests"].as_array().unwrap().iter().filter(|request| request["endpoint"] == "list");
    let pages = lists.map(|request| {
        let query = text(&request["query"]);
        let page = query.split('&').find_map(|pair| pair.strip_prefix("page_number=")).unwrap();
        page.parse::<u32>().unwrap()
    });
    assert_eq!(pages.collect::<BTreeSet<_>>(), BTreeSet::from([1, 2, 3, 4, 5]));
    api.judge(&exporter);
}

/// Unix seconds of an RFC 3339 timestamp.
fn seconds(value: &Value) -> Option<f64> {
    value.as_str().map(|text| text.parse::<jiff::Timestamp>().unwrap().as_duration().as_secs_f64())
}

#[test]
#[ignore = "needs python3"]
fn values_are_one_to_one() {
    let api = StandIn::start(&["--frozen", "--pipelines", "9"]);
    let exporter = api.exporter(&[]);
    let exposition = exporter.until("every probe's outcome", |exposition| {
        exposition.values("goldrush_pipeline_probe_success", &[]).len() == 27
    });
    let (ids, report) = (api.ids(), api.report());
    assert_eq!(shown(&exposition), ids.iter().cloned().collect());

    // Every field of every pipeline: what the API says is there, and nothing else.
    for id in &ids {
        let (truth, id) = (&report["truth"][id], of(id));
        let (pipe, status, metrics, health) =
            (&truth["pipeline"], &truth["status"], &truth["metrics"], &truth["health"]);
        let thousandth = |value: &Value| value.as_f64().map(|value| value / 1000.0);
        let expected = [
            ("created_timestamp_seconds", seconds(&pipe["created_at"])),
            ("updated_timestamp_seconds", seconds(&pipe["updated_at"])),
            ("replicas", status["replicas"].as_f64()),
            ("replicas_ready", status["ready"].as_f64()),
            ("start_time_seconds", seconds(&status["start_time"])),
            ("records_consumed", metrics["records_consumed"].as_f64()),
            ("source_records_total", metrics["records_consumed"].as_f64()),
            ("last_offset", metrics["last_offset"].as_f64()),
            ("last_block_height", metrics["last_block_height"].as_f64()),
            ("pending_records", metrics["pending_records"].as_f64()),
            ("processing_delay_seconds", thousandth(&metrics["processing_delay_ms"])),
            ("records_per_second", metrics["records_per_second"].as_f64()),
            ("normalization_errors", metrics["normalization_errors"].as_f64()),
            ("dropped_records_total", metrics["normalization_errors"].as_f64()),
            ("destination_healthy", health["healthy"].as_bool().map(f64::from)),
            ("destination_latency_seconds", thousandth(&health["latency_ms"])),
            ("destination_last_check_timestamp_seconds", seconds(&health["last_checked_at"])),
            ("forbidden", Some(0.0)),
        ];
        for (family, value) in expected {
            assert_eq!(exposition.one(&format!("goldrush_pipeline_{family}"), &[&id]), value, "{family} of {truth:#}");
        }
        for phase in ["DEPLOYING", "RUNNING", "PAUSED", "FAILED", "STOPPING", "STOPPED", "UNKNOWN"] {
            let said = match text(&status["status"]) {
                "CRASH_LOOP" => "UNKNOWN",
                known => known,
            };
            let value = exposition.one("goldrush_pipeline_phase", &[&id, &label("phase", phase)]);
            assert_eq!(value, Some(f64::from(phase == said)), "{phase} of {truth:#}");
        }
        for desired in ["running", "paused"] {
            let value = exposition.one("goldrush_pipeline_desired_status", &[&id, &label("status", desired)]);
            let said = pipe["status"].as_str().map(|said| f64::from(said == desired));
            assert_eq!(value, said, "{desired} of {truth:#}");
        }
        let described = [("project", ""), ("topic", ""), ("destination_type", ""), ("execution_mode", "unbounded")]
            .map(|(name, default)| label(name, pipe[name].as_str().unwrap_or(default)));
        let group = label("group", pipe["group"]["name"].as_str().unwrap_or_default());
        let mut segments = pipe["topic"].as_str().unwrap_or_default().split('.');
        let chain = match (segments.next(), segments.next()) {
            (Some(chain), Some(network)) => label("chain", &format!("{chain}.{network}")),
            _ => label("chain", ""),
        };
        let info: Vec<&str> = described.iter().chain([&id, &group, &chain]).map(String::as_str).collect();
        assert_eq!(exposition.one("goldrush_pipeline_info", &info), Some(1.0), "{truth:#}");
    }

    // The odd ones once more by hand, so that nothing rests on reading the truth the same wrong way.
    let of: Vec<String> = ids.iter().map(|id| of(id)).collect();
    let value = |family: &str, n: usize| exposition.one(&format!("goldrush_pipeline_{family}"), &[&of[n]]);
    assert_eq!(value("created_timestamp_seconds", 0), Some(1_709_243_999.123_456));
    assert_eq!(value("start_time_seconds", 0), Some(1_709_251_200.123_456_7));
    assert_eq!(value("records_consumed", 0), Some(1000.5));
    assert_eq!(value("processing_delay_seconds", 0), Some(0.000_25));
    assert_eq!(value("records_per_second", 0), Some(99.75));
    assert_eq!(value("records_consumed", 1), Some(9_007_199_254_740_992.0));
    assert_eq!(value("destination_latency_seconds", 1), Some(0.0125));
    for family in ["records_consumed", "last_offset", "pending_records", "processing_delay_seconds", "replicas"] {
        assert_eq!(value(family, 2), Some(0.0), "{family}: a zero is a sample");
    }
    assert_eq!(value("start_time_seconds", 2), None);
    assert_eq!(value("updated_timestamp_seconds", 2), None);
    assert_eq!(value("destination_last_check_timestamp_seconds", 2), None);
    for family in ["records_consumed", "last_offset", "records_per_second", "destination_healthy"] {
        assert_eq!(value(family, 3), None, "{family}: null or missing is no sample");
    }
    assert_eq!(value("last_offset", 4), None);
    assert_eq!(value("pending_records", 4), Some(54321.0));
    assert_eq!(value("destination_healthy", 4), Some(0.0));
    assert_eq!(value("destination_latency_seconds", 4), None);
    assert_eq!(value("destination_healthy", 5), None);
    assert_eq!(value("created_timestamp_seconds", 6), None);
    assert_eq!(value("replicas", 6), None);
    assert_eq!(value("replicas_ready", 6), Some(1.0));
    assert_eq!(value("records_consumed", 6), Some(1.25e16));
    assert_eq!(value("processing_delay_seconds", 6), Some(1e-7 / 1000.0));
    assert_eq!(value("destination_last_check_timestamp_seconds", 6), Some(1_714_912_505.5));

    // A phase that nobody has heard of.
    assert_eq!(exposition.one("goldrush_pipeline_phase", &[&of[1], "phase=\"UNKNOWN\""]), Some(1.0));
    let unknown = exposition.value("goldrush_api_unknown_values_total{account=\"default\",field=\"phase\"}");
    assert!(unknown >= Some(1.0), "{unknown:?}");
    for known in UnknownField::ALL.iter().filter(|field| **field != UnknownField::Phase) {
        let unknown = format!("goldrush_api_unknown_values_total{{account=\"default\",field=\"{known}\"}}");
        assert_eq!(exposition.value(&unknown), Some(0.0), "{known}");
    }

    // Why a destination is unhealthy: only of the one that is.
    assert_eq!(exposition.values("goldrush_pipeline_destination_error", &[]), [1.0]);
    assert_eq!(exposition.one("goldrush_pipeline_destination_error", &[&of[4], "reason=\"timeout\""]), Some(1.0));

    // Names are what their users wrote, on one line.
    let odd = "pipeline=\"He said \\\"hi\\\" \\\\ C:\\\\new line two 🚀 {a=\\\"b\\\"} </script> \u{202e} %s\"";
    let long: String = text(&report["truth"][&ids[3]]["pipeline"]["name"]).chars().take(200).collect();
    assert_eq!(report["truth"][&ids[3]]["pipeline"]["name"].as_str().unwrap().chars().count(), 10_000);
    for (n, name) in [
        (0, "pipeline=\"From Base Swap to Postgres\""),
        (1, odd),
        (2, "pipeline=\"\""),
        (3, &*label("pipeline", &long)),
        (4, "pipeline=\"数据 → очередь\""),
        (5, "pipeline=\"\""),
        (7, "pipeline=\"From Base Swap to Postgres\""),
    ] {
        assert_eq!(exposition.one("goldrush_pipeline_info", &[&of[n], name]), Some(1.0), "{name}\n{}", exposition.0);
    }
    let nul = exposition.samples().find(|(sample, _)| sample.contains(&of[6])).unwrap().0;
    assert!(nul.contains("pipeline=\"nul inside\""), "{nul:?}");

    let group = label("group", "Stand-in \"group\"");
    for (family, value) in [("paid", 1.0), ("over_limit", 0.0), ("free_trial_expired", 0.0)] {
        let family = format!("goldrush_group_{family}");
        assert_eq!(exposition.one(&family, &[&group]), Some(value), "{family}");
    }
    api.judge(&exporter);
}

#[test]
#[ignore = "needs python3"]
fn usage_is_read_and_its_api_keys_are_not() {
    let api = StandIn::start(&["--base-path", "/v2/platform/pipeline-api/"]);
    let exporter = api.exporter(&[("GOLDRUSH_EXPORTER__POLL__USAGE", "200ms")]);
    let of_usage = |name: &str| format!("goldrush_usage_{name}{{account=\"default\"}}");
    let exposition = exporter.until_value(&of_usage("credits_consumed"), 1234.5);
    for (name, value) in [
        ("credits_limit", 300_000.0),
        ("flex_credits_limit", 7.0),
        ("premium_credits", 1000.0),
        ("free_credits", 234.5),
        ("probe_success", 1.0),
    ] {
        assert_eq!(exposition.value(&of_usage(name)), Some(value), "{name}");
    }
    let plan = label("plan", "Vibe \"Coding\"\n");
    assert_eq!(exposition.one("goldrush_usage_plan_info", &[&plan]), Some(1.0), "{}", exposition.0);
    // Everything can be missing or another thing; and then there is none for this key.
    for (data, value) in [
        (
            json!({"aggregate": {"credits_consumed": 2, "max_credits": null, "flex_credits": null, "plan": []}}),
            Some(2.0),
        ),
        (json!({"aggregate": {"max_credits": 5}, "by_api_key": null, "by_day": 7}), None),
    ] {
        api.control(&json!({ "usage": data }));
        let what = format!("{value:?}");
        exporter.until(&what, |exposition| exposition.value(&of_usage("credits_consumed")) == value);
    }
    for data in [json!(null), json!({}), json!([]), json!({"aggregate": {}}), json!("__missing__")] {
        api.control(&json!({"usage": {"aggregate": {"credits_consumed": 2}}}));
        exporter.until("a reading", |exposition| {
            let [success, consumed] =
                ["probe_success", "credits_consumed"].map(|name| exposition.value(&of_usage(name)));
            (success, consumed) == (Some(1.0), Some(2.0))
        });
        api.control(&json!({ "usage": data }));
        let exposition = exporter.until_value(&of_usage("probe_success"), 0.0);
        assert_eq!(exposition.value("goldrush_up{account=\"default\"}"), Some(1.0), "{data}");
        assert_eq!(exposition.value(UNAUTHORIZED), Some(0.0), "{data}");
        assert_eq!(exposition.value(&of_usage("credits_consumed")), Some(2.0), "what was read is not stale yet");
        let page = exporter.get("/api/v1/pipelines").text();
        assert!(page.contains("\"offered\":false"), "{page}");
    }
    api.judge(&exporter);
}

#[test]
#[ignore = "needs python3"]
fn standings_and_comings_and_goings_show() {
    let api = StandIn::start(&["--pipelines", "10"]);
    let exporter = api.exporter(&[]);
    let ids = api.ids();
    // The plain ones at the end, whose every probe has something to say.
    let (foreign, deleted, witness) = (of(&ids[8]), of(&ids[9]), of(&ids[0]));
    let status = "probe=\"status\"";
    let last = "goldrush_pipeline_probe_last_success_timestamp_seconds";
    let exposition = exporter.until("every probe's outcome", |exposition| {
        exposition.values("goldrush_pipeline_probe_success", &[]).len() == 30
    });
    assert_eq!(exposition.value(UNAUTHORIZED), Some(0.0));

    api.control(&json!({ "revoke": KEY }));
    let exposition = exporter.until_value(UNAUTHORIZED, 1.0);
    let refused = exposition.one("goldrush_auth_failures_total", &["code=\"401\""]);
    assert!(refused >= Some(1.0), "{refused:?}");
    let before = exposition.one(last, &[&witness, status]);
    assert!(before.is_some());
    api.control(&json!({ "accept": KEY }));
    exporter.until_value(UNAUTHORIZED, 0.0);
    exporter.until("probing resumes", |exposition| {
        exposition.one(last, &[&witness, status]) > before
            && exposition.value("goldrush_up{account=\"default\"}") == Some(1.0)
    });

    let forbidden = "goldrush_pipeline_forbidden";
    api.control(&json!({ "foreign": { "id": ids[8], "listed": true } }));
    let exposition = exporter.until("403 for one", |exposition| exposition.one(forbidden, &[&foreign]) == Some(1.0));
    assert_eq!(exposition.values(forbidden, &[]).iter().sum::<f64>(), 1.0, "of that one only");
    for account in ["goldrush_auth_forbidden", "goldrush_auth_unauthorized"] {
        assert_eq!(exposition.one(account, &[]), Some(0.0), "{account}: the key itself is fine");
    }
    api.control(&json!({ "foreign": { "id": ids[8], "foreign": false } }));
    exporter.until("its own again", |exposition| {
        exposition.one(forbidden, &[&foreign]) == Some(0.0)
            && exposition.one("goldrush_pipeline_probe_success", &[&foreign, status]) == Some(1.0)
    });

    assert!(exporter.scrape().0.contains(&deleted));
    api.control(&json!({ "delete": ids[9] }));
    let exposition = exporter.until("its series vanish", |exposition| !exposition.0.contains(&deleted));
    assert!(exposition.0.contains(&witness));
    exporter.until_value(PIPELINES, 9.0);
    assert!(!two_more_lists(&exporter).0.contains(&deleted), "it stays away");

    api.control(&json!({ "add": { "id": "pipe_added", "name": "added" } }));
    exporter.until("a new one", |exposition| {
        exposition.one("goldrush_pipeline_destination_healthy", &[&of("pipe_added")]) == Some(1.0)
    });
    // Never listed, so never asked for.
    let stranger = api.report()["foreign_ids"][0].as_str().unwrap().to_owned();
    assert!(!exporter.scrape().0.contains(&stranger));
    api.judge(&exporter);
}
