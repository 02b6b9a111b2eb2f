//! The dashboards: they are what their source gives, Grafana's types allow them, and a real Prometheus answers each query.

mod queries;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::common::prometheus::Prometheus;
use crate::common::tools::{feed, outcome, tool};
use crate::common::{self, Api, Exporter, KEY, PATIENCE};
use goldrush_exporter::simulator::{Condition, Endpoint, Fault, FaultMatcher, Options, Scenario};
use queries::{Query, Values, dashboard, offered, queries};
use regex::{Captures, Regex};
use serde_json::{Value, json};

const NAMES: [&str; 3] = ["fleet", "pipeline", "exporter"];

#[test]
#[ignore = "needs python3"]
fn the_committed_files_are_what_the_source_gives() {
    let mut generate = tool("python3");
    generate.args(["dashboards/generate.py", "--check"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(feed(generate, b""), "");
}

/// Mistakes that the type check must find: (dashboard, type of a panel or nothing, where in it, what stands there then).
fn mistakes() -> Vec<(&'static str, &'static str, &'static str, Value)> {
    vec![
        ("fleet", "timeseries", "/options/legend/displayMode", json!("tabel")),
        ("fleet", "timeseries", "/options/legend/placment", json!("bottom")),
        ("fleet", "timeseries", "/fieldConfig/defaults/custom/lineWidth", json!("1")),
        ("fleet", "timeseries", "/fieldConfig/defaults/color/mode", json!("palette")),
        ("fleet", "timeseries", "/fieldConfig/overrides/0/properties/0/id", json!("colour")),
        ("fleet", "timeseries", "/targets/0/format", json!("timeseries")),
        ("fleet", "timeseries", "/type", json!("graph")),
        ("fleet", "stat", "/options/colorMode", json!("backgroud")),
        ("fleet", "stat", "/options/legend", json!({})),
        ("fleet", "stat", "/fieldConfig/defaults/thresholds/steps/0/colour", json!("red")),
        ("fleet", "table", "/options/showHeader", json!("yes")),
        ("fleet", "table", "/fieldConfig/overrides/0/properties/0/id", json!("custom.widht")),
        ("fleet", "table", "/transformations/0/id", json!("join")),
        ("pipeline", "state-timeline", "/options/mergeValues", json!("yes")),
        ("pipeline", "state-timeline", "/gridPos/width", json!(3)),
        ("exporter", "heatmap", "/options/color/scale", json!("log")),
        ("fleet", "", "/graphTooltip", json!(7)),
        ("fleet", "", "/uid", Value::Null),
        ("fleet", "", "/templating/list/0/hide", json!(9)),
        ("fleet", "", "/annotations/list/1/titleFormatt", json!("")),
        ("fleet", "", "/links/0/targetBlank", json!("no")),
    ]
}

/// Puts a value somewhere, or a new member into what is there.
fn put(json: &mut Value, pointer: &str, value: Value) {
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    match json.pointer_mut(pointer) {
        Some(place) => *place = value,
        None => json.pointer_mut(parent).unwrap()[member] = value,
    }
}

#[test]
#[ignore = "needs tsc"]
fn they_are_of_the_types_that_grafana_publishes() {
    let npm = concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-tools/npm");
    let mut tsc = tool("tsc");
    // In there, so that the compiler finds Grafana's package beside it.
    let folder = tempfile::Builder::new().prefix("check-").tempdir_in(npm).unwrap();
    std::fs::write(folder.path().join("types.ts"), include_str!("../dashboards/types.ts")).unwrap();
    let write = |file: &str, dashboard: &Value| {
        let text = format!(
            "import type {{ Dashboard }} from './types';\nexport const dashboard: Dashboard = {dashboard:#};\n"
        );
        std::fs::write(folder.path().join(file), text).unwrap();
    };
    for name in NAMES {
        write(&format!("{name}.ts"), &dashboard(name));
    }
    for (number, (name, panel_type, pointer, value)) in mistakes().into_iter().enumerate() {
        let mut wrong = dashboard(name);
        let panels = wrong["panels"].as_array().unwrap().iter();
        // One panel of the type that has all of what is changed is enough.
        let panels = panels.filter(|panel| {
            let parent = pointer.rsplit_once('/').unwrap().0;
            !panel_type.is_empty() && panel["type"] == panel_type && panel.pointer(parent).is_some()
        });
        wrong["panels"] = panels.take(1).cloned().collect();
        let place = if panel_type.is_empty() { pointer.to_owned() } else { format!("/panels/0{pointer}") };
        put(&mut wrong, &place, value);
        write(&format!("mistake{number}.ts"), &wrong);
    }
    tsc.args("--strict --noEmit --skipLibCheck --pretty false --target es2022 --module esnext".split(' '));
    tsc.args("--moduleResolution bundler --types".split(' ')).arg("").current_dir(folder.path());
    let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let (_, printed) = outcome(
        {
            tsc.args(files);
            tsc
        },
        b"",
    );
    let of = |file: &str| printed.lines().filter(|line| line.starts_with(&format!("{file}("))).collect::<Vec<_>>();
    for name in NAMES {
        assert_eq!(of(&format!("{name}.ts")), Vec::<&str>::new());
    }
    assert!(of("types.ts").is_empty(), "{printed}");
    for (number, mistake) in mistakes().iter().enumerate() {
        assert!(!of(&format!("mistake{number}.ts")).is_empty(), "nobody minds {mistake:?}\n{printed}");
    }
}

/// What says nothing while nothing is wrong. All else says something even then.
const QUIET: &[&str] = &[
    "fleet / Objectives / C",
    "fleet / Objectives / D",
    "fleet / Error budget burn, 1 h / A",
    "fleet / Keys refused / A",
    "fleet / Not a ServiceKey / A",
    "fleet / Destinations down / A",
    "fleet / Failed / A",
    "fleet / Stalled / A",
    "fleet / Lagging / A",
    "fleet / Readings stale / A",
    "fleet / Expected, missing / A",
    "fleet / Exporters down / A",
    "fleet / API failing / A",
    "fleet / Billing trouble / A",
    "fleet / Not running / A",
    "fleet / Return 403 / A",
    "fleet / Drop records / A",
    "fleet / Troubled pipelines / A",
    "fleet / Firing alerts / A",
    "fleet / Accounts / B",
    "fleet / Groups / A",
    "fleet / Groups / B",
    "fleet / Troubled accounts / A",
    "fleet / Destinations down by reason / A",
    "fleet / Dropped records, highest 10 / A",
    "fleet / All pipelines / J",
    "fleet / annotation / Alerts",
    "pipeline / Restarts in range / A",
    "pipeline / Returns 403 / A",
    "pipeline / Firing alerts / A",
    "pipeline / Destination / B",
    "pipeline / Dropped records / A",
    "pipeline / Backfill / A",
    "pipeline / Backfill / B",
    "pipeline / annotation / Alerts",
    "exporter / Down / A",
    "exporter / Accounts with trouble / A",
    "exporter / Failed requests / A",
    "exporter / Polling paused / A",
    "exporter / Unknown values in range / A",
    "exporter / Accounts / D",
    "exporter / Failures by reason / A",
    "exporter / 401 and 403 / A",
    "exporter / Unknown values / A",
    "exporter / annotation / Alerts",
];

/// What says something or not, by the moment.
const EITHER: &[&str] = &["exporter / Lag / A", "pipeline / Blocks behind / A"];

const MACROS: &Values = &[("__rate_interval", "5s"), ("__range", "5m"), ("runbooks", "")];

/// The rules that are shipped, but what lasts for minutes there lasts for no time here: their `for`, their
/// `keep_firing_for`, and the intervals of their groups.
fn impatient_rules() -> String {
    let slo = include_str!("../../alerts/goldrush-slo.rules.yml").split_once("groups:\n").unwrap().1;
    let rules = [include_str!("../../alerts/goldrush.rules.yml"), slo].concat();
    let duration = Regex::new(r"(?m)^( *)(for|keep_firing_for|interval): \S+$").unwrap();
    duration
        .replace_all(&rules, |found: &Captures| {
            let (indentation, key) = (&found[1], &found[2]);
            format!("{indentation}{key}: {}", if key == "interval" { "1s" } else { "0s" })
        })
        .into_owned()
}

const USAGE: (&str, &str) = ("GOLDRUSH_EXPORTER__POLL__USAGE", "500ms");

/// An exporter with one account for each (name, key).
fn exporter(api: &Api, accounts: &[(&str, &str)], more: &[(&str, &str)]) -> Exporter {
    let mut settings: Vec<(String, String)> = Vec::new();
    for (index, (name, key)) in accounts.iter().enumerate() {
        settings.push((format!("GOLDRUSH_EXPORTER__ACCOUNTS__{index}__NAME"), (*name).to_owned()));
        settings.push((format!("GOLDRUSH_EXPORTER__ACCOUNTS__{index}__SERVICE_KEY_ENV"), format!("KEY_{index}")));
        settings.push((format!("KEY_{index}"), (*key).to_owned()));
    }
    let mut settings: Vec<(&str, &str)> =
        settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    settings.extend(more);
    Exporter::with(api, &settings)
}

/// A fleet in which everything is wrong that a dashboard tells, once each, beside what must not count.
struct Trouble {
    api: Api,
    exporter: Exporter,
    /// The pipelines of the account `troubled`.
    ids: Vec<String>,
    /// The only pipeline of the account `limited`.
    limited: String,
}

/// What the triage row of the fleet shows then.
const TRIAGE: &[(&str, f64)] = &[
    ("Keys refused", 1.0),
    ("Not a ServiceKey", 1.0),
    ("Destinations down", 1.0),
    ("Failed", 1.0),
    ("Stalled", 1.0),
    ("Lagging", 1.0),
    ("Readings stale", 2.0),
    ("Expected, missing", 1.0),
    ("Exporters down", 0.0),
    ("API failing", 1.0),
    ("Billing trouble", 2.0),
    ("Not running", 2.0),
    ("Return 403", 1.0),
    ("Drop records", 1.0),
    ("Pipelines", 18.0),
];

/// And what its tables say: the kinds of trouble.
const PIPELINE_TROUBLES: &[&str] = &[
    "backlog_growing",
    "delay_high",
    "destination_unhealthy",
    "failed",
    "forbidden",
    "not_running",
    "readings_stale",
    "records_dropped",
    "replicas_not_ready",
    "restarting",
    "stalled",
];
const ACCOUNT_TROUBLES: &[&str] = &[
    "expected_missing",
    "group_over_limit",
    "group_trial_expired",
    "key_not_service_key",
    "key_unauthorized",
    "no_readings",
    "rate_limited",
];

impl Trouble {
    fn start() -> Self {
        let api = Api::start(Options { pipelines: 16, groups: 3, service_key: KEY.to_owned(), ..Options::default() });
        let simulator = &api.simulator;
        simulator.add_service_key("sk_limited", 1);
        simulator.add_service_key("sk_expired", 2);
        simulator.pipeline_ids(2).iter().skip(1).for_each(|id| simulator.remove_pipeline(id));
        simulator.add_service_key("sk_revoked", 0);
        simulator.revoke_key("sk_revoked");
        simulator.add_read_only_key("key_read_only");
        simulator.update_group(0, |group| group.is_over_limit = true);
        simulator.update_group(2, |group| {
            group.is_free_trial_expired = true;
            group.is_paid = false;
        });
        let ids = simulator.pipeline_ids(0);
        let mut of_limited = simulator.pipeline_ids(1);
        let limited = of_limited.remove(0);
        of_limited.iter().for_each(|id| simulator.remove_pipeline(id));

        let is =
            |index: usize, condition| simulator.update_pipeline(&ids[index], |pipeline| pipeline.condition = condition);
        let answers = |index: usize, endpoint, field: &str, value| {
            simulator.update_pipeline(&ids[index], |pipeline| pipeline.answer_with(endpoint, field, value));
        };
        let down = Condition::DestinationDown("dial tcp 10.0.12.7:5432: connect: connection refused");
        is(0, Condition::Failed);
        answers(0, Endpoint::Metrics, "processing_delay_ms", json!(400_000)); // no matter any more
        is(1, Condition::Stalled);
        answers(1, Endpoint::Metrics, "pending_records", json!(50)); // there is something to do
        is(2, down); // of the busiest chain, so that its backlog grows fast
        answers(3, Endpoint::Metrics, "processing_delay_ms", json!(400_000));
        is(4, Condition::DroppingRecords);
        is(5, Condition::Restarting { period: Duration::from_secs(2), deploying: Duration::ZERO });
        answers(6, Endpoint::Status, "status", json!("DEPLOYING"));
        is(7, Condition::Foreign);
        answers(8, Endpoint::Status, "ready", json!(0));
        metrics_fail(&api, &ids[9]);
        answers(10, Endpoint::Status, "status", json!("MOLTING"));
        // From here on, all is well.
        simulator.update_pipeline(&ids[11], |pipeline| {
            pipeline.intent = "paused".into();
            pipeline.condition = down;
        });
        simulator.update_pipeline(&ids[12], |pipeline| {
            pipeline.execution_mode = "bounded".into();
            pipeline.condition = Condition::Finished;
        });
        is(14, Condition::NullMetrics);
        simulator.update_pipeline(&ids[15], |pipeline| {
            pipeline.execution_mode = "bounded".into();
            pipeline.execution_start_from = "1000".into();
            pipeline.execution_stop_from = "9000000".into();
            pipeline.condition = Condition::Backfilling { from: 5_000, to: 9_000_000, blocks_per_second: 100 };
        });

        let accounts = [
            ("troubled", KEY),
            ("limited", "sk_limited"),
            ("expired", "sk_expired"),
            ("revoked", "sk_revoked"),
            ("readonly", "key_read_only"),
        ];
        let settings = [
            ("GOLDRUSH_EXPORTER__ACCOUNTS__0__EXPECT__0", "pipe_000000000000000000000000000"),
            USAGE,
            // What takes minutes takes seconds here.
            ("GOLDRUSH_EXPORTER__POLL__STALE_AFTER", "5s"),
            ("GOLDRUSH_EXPORTER__POLICIES__0__STALLED", "5s"),
            ("GOLDRUSH_EXPORTER__POLICIES__0__DEPLOYMENT", "1s"),
            ("GOLDRUSH_EXPORTER__POLICIES__0__BACKLOG", "100"),
        ];
        let exporter = exporter(&api, &accounts, &settings);
        // Two that have been read for a while: one whose metrics fail from now on, one whose account is silenced.
        for id in [&ids[13], &limited] {
            exporter.until("all probes", |exposition| {
                exposition.values("goldrush_pipeline_probe_success", &[&common::of(id)]) == [1.0; 3]
            });
        }
        metrics_fail(&api, &ids[13]);
        let silence = Fault::RateLimited { retry_after: Some("3600".to_owned()) };
        let matcher = FaultMatcher { endpoint: Some(Endpoint::Metrics), pipeline: Some(limited.clone()) };
        api.simulator.set_fault(matcher, Some(silence));
        Self { api, exporter, ids, limited }
    }
}

fn metrics_fail(api: &Api, id: &str) {
    let matcher = FaultMatcher { endpoint: Some(Endpoint::Metrics), pipeline: Some(id.to_owned()) };
    let fault = Fault::Answer { status: 500, headers: Vec::new(), body: Vec::new() };
    api.simulator.set_fault(matcher, Some(fault));
}

/// The value of the tile of the fleet with that title.
fn tile(fleet: &[Query], title: &str, prometheus: &Prometheus, values: &Values) -> Option<f64> {
    let query = fleet.iter().find(|query| query.place == format!("fleet / {title} / A")).unwrap();
    query.ask(prometheus, values).first().map(|series| series["value"][1].as_str().unwrap().parse().unwrap())
}

/// Asks again and again until nothing is left to wait for; `left` says what is.
#[track_caller]
fn until_nothing_is_left(mut left: impl FnMut() -> Vec<String>) {
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        let left = left();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "still:\n{}", left.join("\n"));
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
#[ignore = "needs Prometheus"]
fn every_query_answers_on_a_real_prometheus() {
    let well = Api::healthy(8);
    // What it shows suffices for all but the details.
    let lean = [("GOLDRUSH_EXPORTER__METRICS__PROFILE", "lean"), USAGE];
    let healthy = exporter(&well, &[("healthy", KEY)], &lean);
    let trouble = Trouble::start();
    let targets = [("goldrush-healthy", healthy.address.as_str()), ("goldrush-troubled", &trouble.exporter.address)];
    let prometheus = Prometheus::start(&targets, &impatient_rules());
    let all: Vec<Query> = NAMES.into_iter().flat_map(queries).collect();
    for place in QUIET.iter().chain(EITHER) {
        assert!(all.iter().any(|query| query.place == *place), "there is no {place}");
    }
    // Each dashboard as somebody looks at it: what its variables stand for.
    let values = |dashboard: &str, job, account, pipeline_id| {
        let pipeline_id = if dashboard == "fleet" { ".*" } else { pipeline_id };
        let chosen =
            [("job", job), ("instance", ".*"), ("account", account), ("project", ".*"), ("pipeline_id", pipeline_id)];
        [MACROS, &chosen].concat()
    };

    // Nothing is wrong.
    let ids = well.simulator.pipeline_ids(0);
    let look =
        |query: &Query| query.speaks(&prometheus, &values(query.dashboard, "goldrush-healthy", "healthy", &ids[0]));
    let listed = |list: &[&str], query: &Query| list.contains(&query.place.as_str());
    let is_loud = |query: &&Query| !listed(QUIET, query) && !listed(EITHER, query) && !query.is_detail;
    let mut loud: Vec<&Query> = all.iter().filter(is_loud).collect();
    until_nothing_is_left(|| {
        loud.retain(|query| !look(query));
        loud.iter().map(|query| query.place.clone()).collect()
    });

    // Everything is wrong.
    let account = "(troubled|limited|expired|revoked|readonly)";
    let in_trouble = |dashboard: &str, id| values(dashboard, "goldrush-troubled", account, id);
    let fleet = queries("fleet");
    until_nothing_is_left(|| {
        let wrong = |(title, expected): &(&str, f64)| {
            let shown = tile(&fleet, title, &prometheus, &in_trouble("fleet", ""));
            (shown != Some(*expected)).then(|| format!("{title}: {shown:?} instead of {expected}"))
        };
        let mut left: Vec<String> = TRIAGE.iter().filter_map(wrong).collect();
        for (title, expected) in [("Troubled pipelines", PIPELINE_TROUBLES), ("Troubled accounts", ACCOUNT_TROUBLES)] {
            let table = fleet.iter().find(|query| query.place == format!("fleet / {title} / A")).unwrap();
            let rows = table.ask(&prometheus, &in_trouble("fleet", ""));
            let kinds: BTreeSet<&str> = rows.iter().map(|row| row["metric"]["kind"].as_str().unwrap()).collect();
            if !kinds.iter().eq(expected) {
                left.push(format!("{title}: {kinds:?}"));
            }
        }
        left
    });
    let mut silent: Vec<&Query> = all.iter().collect();
    let gone = ["fleet / Exporters down / A", "exporter / Down / A"];
    until_nothing_is_left(|| {
        for id in trouble.ids.iter().chain([&trouble.limited]) {
            silent.retain(|query| !query.speaks(&prometheus, &in_trouble(query.dashboard, id)));
        }
        silent.iter().map(|query| query.place.clone()).filter(|place| !gone.contains(&place.as_str())).collect()
    });

    // Still nothing is wrong with the account beside them. What the start of Prometheus looked like to the alerts is over.
    until_nothing_is_left(|| {
        let speaking = all.iter().filter(|query| listed(QUIET, query) && look(query));
        speaking.map(|query| format!("{} speaks while nothing is wrong", query.place)).collect()
    });

    let labels = prometheus.api("labels", &[]);
    let labels: Vec<&str> = labels.as_array().unwrap().iter().map(|label| label.as_str().unwrap()).collect();
    assert!(labels.contains(&"endpoint") && labels.iter().all(|label| !label.starts_with("exported_")), "{labels:?}");

    // What the variables offer, names that need care among them.
    let names =
        |list: &[&str]| list.iter().map(|name| ((*name).to_owned(), (*name).to_owned())).collect::<BTreeSet<_>>();
    let offers = |dashboard_name: &str, variable| {
        let values = values(dashboard_name, ".*", "healthy", "");
        offered(&prometheus, &dashboard(dashboard_name), variable, &values)
    };
    for name in NAMES {
        assert_eq!(
            offers(name, "account"),
            names(&["expired", "healthy", "limited", "readonly", "revoked", "troubled"])
        );
    }
    for name in ["fleet", "pipeline"] {
        assert_eq!(offers(name, "project"), names(&["analytics-prod", "trading-prod"]));
        let mut pipelines = BTreeSet::new();
        for id in &ids {
            well.simulator.update_pipeline(id, |pipeline| {
                // A line break in a name becomes a space.
                pipelines.insert((pipeline.name.replace('\n', " "), id.clone()));
            });
        }
        assert!(pipelines.iter().any(|(name, _)| name.contains('"')));
        assert_eq!(offers(name, "pipeline_id"), pipelines);
    }
    assert_eq!(offers("exporter", "job"), names(&["goldrush-healthy", "goldrush-troubled"]));
    assert_eq!(offers("exporter", "instance"), names(&[&healthy.address, &trouble.exporter.address]));

    // An exporter is gone.
    drop(healthy);
    until_nothing_is_left(|| {
        silent.retain(|query| !query.speaks(&prometheus, &values(query.dashboard, ".*", ".*", "")));
        silent.iter().map(|query| query.place.clone()).collect()
    });
    assert_eq!(trouble.api.simulator.scenario(), Scenario::Healthy, "each trouble was made by hand");
}
