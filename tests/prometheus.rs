//! The exposition in the hands of those who read it: promtool, a strict OpenMetrics parser, a real Prometheus.

mod common;

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use common::{Api, Exporter, PATIENCE, request};
use goldrush_exporter::exposition::FAMILIES;
use goldrush_exporter::simulator::{DEMO_KEY_PROD, Options, Scenario};

/// A program that `tests/run` installs.
#[track_caller]
fn tool(name: &str) -> Command {
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-tools/python/bin/python3");
    let path = if name == "python3" { python } else { name };
    let found = Command::new(path).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    assert!(found, "{path} is not there: tests/run installs it");
    Command::new(path)
}

/// Runs a command on a text; answers what it printed, both streams.
#[track_caller]
fn feed(mut command: Command, input: &[u8]) -> String {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8(printed).unwrap();
    assert!(output.status.success(), "{printed}");
    printed
}

/// The demo's production fleet, in which every family has a sample.
fn demo() -> (Api, Exporter) {
    let api = Api::start(Options { scenario: Scenario::Demo, ..Options::default() });
    let expected = "pipe_000000000000000000000000000";
    let settings = [("GOLDRUSH_SERVICE_KEY", DEMO_KEY_PROD), ("GOLDRUSH_EXPORTER__ACCOUNTS__0__EXPECT__0", expected)];
    let exporter = Exporter::with(&api, &settings);
    exporter.until("every family, and every pipeline asked", |exposition| {
        let asked = exposition.values("goldrush_pipeline_probe_success", &[]).len() as f64;
        exposition.one("goldrush_pipelines", &[]).is_some_and(|pipelines| asked == 3.0 * pipelines)
            && FAMILIES.iter().all(|family| exposition.0.contains(&format!("# TYPE {} ", family.name)))
    });
    (api, exporter)
}

const OPENMETRICS: (&str, &str) = ("Accept", "application/openmetrics-text; version=1.0.0");

#[test]
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

/// A Prometheus of its own, that scrapes one target each second. Dropping it kills it.
struct Prometheus {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn scraping(target: &str) -> Self {
        let job = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: goldrush\n    static_configs:\n      \
             - targets: ['{target}']\n"
        );
        // Prometheus does not tell which port it got, so it is given one that was free a moment ago.
        let mut started = (0..10).map(|_| {
            let folder = tempfile::tempdir().unwrap();
            let config = folder.path().join("prometheus.yml");
            std::fs::write(&config, &job).unwrap();
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let child = tool("prometheus")
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
                .arg(format!("--web.listen-address={free}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            Self { child, address: free.to_string(), _folder: folder }
        });
        started.find_map(|mut prometheus| prometheus.is_ready().then_some(prometheus)).unwrap()
    }

    fn is_ready(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && self.child.try_wait().unwrap().is_none() {
            if std::net::TcpStream::connect(&self.address).is_ok()
                && request(&self.address, "GET", "/-/ready", &[]).status == 200
            {
                return true;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        false
    }

    /// The result of an instant query.
    fn query(&self, query: &str) -> Vec<serde_json::Value> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = request(&self.address, "GET", &format!("/api/v1/query?query={encoded}"), &[]).text();
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{query}: {answer}")).clone()
    }

    #[track_caller]
    fn until(&self, query: &str) -> Vec<serde_json::Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let result = self.query(query);
            if !result.is_empty() {
                return result;
            }
            assert!(Instant::now() < deadline, "{query} stays empty");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
fn prometheus_sees_every_family_in_the_classic_format_too() {
    let (_api, exporter) = demo();
    let prometheus = Prometheus::scraping(&classic_proxy(&exporter.address));
    sees_every_family(&prometheus, &exporter);
}
