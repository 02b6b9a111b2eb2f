//! The exposition in the hands of those who read it: promtool, a strict OpenMetrics parser, a real Prometheus.

use std::collections::BTreeMap;
use std::io::Write as _;

use crate::common::prometheus::Prometheus;
use crate::common::tools::{feed, tool};
use crate::common::{self, Api, Exporter, demo, request};
use goldrush_exporter::exposition::FAMILIES;
use goldrush_exporter::simulator::DEMO_KEY_PROD;

const OPENMETRICS: (&str, &str) = ("Accept", "application/openmetrics-text; version=1.0.0");

#[test]
#[ignore = "needs promtool"]
fn promtool_finds_nothing_to_complain_about() {
    let (_api, exporter) = demo();
    let mut promtool = tool("promtool");
    promtool.args(["check", "metrics"]);
    assert_eq!(feed(promtool, exporter.scrape().0.as_bytes()), "");
}

/// Reads OpenMetrics strictly, the classic format leniently, and prints each sample in one canonical line.
const PARSE: &str = r#"
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as classic
families = {"openmetrics": openmetrics, "classic": classic}[sys.argv[1]](sys.stdin.read())
samples = [s for f in families for s in f.samples]
seen = set()
for s in samples:
    key = (s.name, tuple(sorted(s.labels.items())))
    assert key not in seen, key
    seen.add(key)
    volatile = s.name.startswith(("process_", "goldrush_exporter_"))
    print(s.name, sorted(s.labels.items()), "" if volatile else s.value)
"#;

#[test]
#[ignore = "needs python3 with prometheus_client"]
fn a_strict_parser_reads_openmetrics_and_finds_the_samples_of_the_classic_format() {
    let (api, exporter) = demo();
    // From now on the pipelines' numbers stand still. What counts the failing requests goes on.
    drop(api);
    let parse = |format: &str, text: &str| {
        let mut python = tool("python3");
        python.args(["-c", PARSE, format]);
        let moving = ["goldrush_api_request", "goldrush_poll_", "goldrush_up", "goldrush_pipeline_probe_success"];
        let lines = feed(python, text.as_bytes());
        let lines = lines.lines().filter(|line| !moving.iter().any(|name| line.starts_with(name)));
        lines.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let openmetrics = request(&exporter.address, "GET", "/metrics", &[OPENMETRICS]).text();
    let classic = exporter.scrape().0;
    assert!(openmetrics.ends_with("# EOF\n") && !classic.contains("# EOF"));
    let samples = parse("openmetrics", &openmetrics);
    assert!(samples.len() > 200, "{}", samples.len());
    assert_eq!(samples, parse("classic", &classic));
}

/// Passes requests on without what they accept, as an old scraper would send them.
fn classic_proxy(target: &str) -> String {
    use std::io::{BufRead as _, BufReader};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let target = target.to_owned();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let head = BufReader::new(&stream).lines().map_while(Result::ok);
            let _ = head.take_while(|line| !line.is_empty()).count();
            let answer = request(&target, "GET", "/metrics", &[]);
            let content_type = answer.header("content-type").unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(&[head.as_bytes(), &answer.body].concat());
        }
    });
    address
}

/// Waits until Prometheus has every family that the exporter shows.
#[track_caller]
fn sees_every_family(prometheus: &Prometheus, exporter: &Exporter) {
    prometheus.until("up == 1");
    let exposition = exporter.scrape();
    let types = exposition.0.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut families = 0;
    for (name, kind) in types.filter_map(|line| line.split_once(' ')) {
        let stored = if kind == "histogram" { format!("{name}_count") } else { name.to_owned() };
        prometheus.until(&stored);
        families += 1;
    }
    assert!(families > FAMILIES.len());
}

#[test]
#[ignore = "needs Prometheus"]
fn prometheus_sees_every_family_and_then_the_revoked_key() {
    let (api, exporter) = demo();
    let prometheus = Prometheus::scraping(&exporter.address);
    sees_every_family(&prometheus, &exporter);
    assert!(prometheus.query("goldrush_auth_unauthorized == 1").is_empty());
    api.simulator.revoke_key(DEMO_KEY_PROD);
    let revoked = prometheus.until("goldrush_auth_unauthorized == 1");
    assert_eq!(revoked[0]["metric"]["account"], "default");
    assert_eq!(prometheus.query("up")[0]["value"][1], "1");
}

#[test]
#[ignore = "needs Prometheus"]
fn prometheus_sees_in_the_parts_what_it_sees_in_the_whole() {
    let api = Api::healthy(30);
    let exporter = Exporter::start(&["--web.sd-target-size", "64KiB"], &api.environment());
    exporter.until("all pipelines", |exposition| exposition.values("goldrush_pipeline_phase", &[]).len() == 7 * 30);
    let address = &exporter.address;
    let configuration = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: parts\n    http_sd_configs: [{{url: 'http://{address}/sd', \
         refresh_interval: 1s}}]\n  - job_name: whole\n    static_configs: [{{targets: ['{address}']}}]\n"
    );
    let prometheus = Prometheus::configured(&configuration, &[]);
    // Service discovery may have listed the whole before there were pipelines.
    prometheus.until("count(up{job=\"parts\", part=~\"./.\"} == 1) >= 4");
    const SERIES: &str =
        "__name__, account, pipeline_id, phase, status, operation, le, reason, field, code, probe, kind";
    let families = |job: &str| -> BTreeMap<String, String> {
        let query = format!(
            "count by (__name__) (group by ({SERIES}) ({{job=\"{job}\", __name__=~\"goldrush_.+|process_.+\"}}))"
        );
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let families = prometheus.query(&query).into_iter();
        families.map(|family| (text(&family["metric"]["__name__"]), text(&family["value"][1]))).collect()
    };
    common::eventually("the same series in both", || {
        let whole = families("whole");
        whole.len() > FAMILIES.len() / 2 && whole == families("parts")
    });
    // One exporter, whatever the number of its parts; and no series is in two parts.
    assert_eq!(prometheus.query("count(group by (job, instance) (up{job=\"parts\"}))")[0]["value"][1], "1");
    let twice = format!("count by ({SERIES}) ({{job=\"parts\", part!=\"\", __name__=~\"goldrush_pipeline_.+\"}}) > 1");
    assert_eq!(prometheus.query(&twice), Vec::<serde_json::Value>::new());
}

#[test]
#[ignore = "needs Prometheus"]
fn prometheus_sees_every_family_in_the_classic_format_too() {
    let (_api, exporter) = demo();
    let prometheus = Prometheus::scraping(&classic_proxy(&exporter.address));
    sees_every_family(&prometheus, &exporter);
}
