//! How the exporter performs over hours: a fleet and scrapers as processes; reports the resource use periodically.
//!
//! Run it by hand: `cargo bench --bench endurance -- --pipelines 10000 --scrapers 4 --duration 2h`. It fails if memory,
//! descriptors or threads grow after the warm-up, if a scrape fails, or if a probe is missed although the budget had
//! room for it and the API responds. Each scenario begins once all pipelines have been read.

mod common;

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Parser, ValueEnum};
use common::{OPENMETRICS, Program, free_address};

const EXPORTER: &str = env!("CARGO_BIN_EXE_goldrush-exporter");

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Scenario {
    /// Everything works.
    Normal,
    /// The key is refused from now on.
    Unauthorized,
    /// Nothing listens at the API's address any more.
    Down,
}

#[derive(Debug, Parser)]
struct Arguments {
    /// Pipelines of the single account
    #[arg(long, default_value_t = 10_000)]
    pipelines: usize,
    /// Number of scrapers; each scrapes compressed OpenMetrics over a persistent connection
    #[arg(long, default_value_t = 4)]
    scrapers: usize,
    /// Between two scrapes of each: short, like that of probes
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    scrape_interval: Duration,
    #[arg(long, default_value = "2h", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Interval of all probes: short, to accelerate a day of ordinary polling
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    interval: Duration,
    #[arg(long, value_enum, default_value = "normal")]
    scenario: Scenario,
    /// Time between two lines
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    report: Duration,
    /// Number of first lines to ignore, while memory settles
    #[arg(long, default_value_t = 3)]
    warm_up: usize,
    /// `cargo bench` adds this
    #[arg(long, hide = true)]
    bench: bool,
}

/// What the scrapers have seen since the last line.
#[derive(Default)]
struct Seen {
    milliseconds: Vec<f64>,
    failed: usize,
    /// Compressed, as decompressing each would take the processor that the exporter needs.
    newest: Bytes,
}

async fn scrape_for_ever(address: String, first: Duration, interval: Duration, seen: Arc<Mutex<Seen>>) {
    let client = reqwest::Client::builder().gzip(false).no_proxy().build().expect("a client");
    tokio::time::sleep(first).await;
    let mut turns = tokio::time::interval(interval);
    loop {
        turns.tick().await;
        let began = Instant::now();
        let request = client.get(format!("http://{address}/metrics"));
        let response = request.header("Accept", OPENMETRICS).header("Accept-Encoding", "gzip").send().await;
        let body = match response {
            Ok(response) if response.status() == 200 => response.bytes().await.ok(),
            _ => None,
        };
        let mut seen = seen.lock().expect("no panic");
        match body {
            Some(body) => {
                seen.milliseconds.push(began.elapsed().as_secs_f64() * 1000.0);
                seen.newest = body;
            }
            None => seen.failed += 1,
        }
    }
}

fn unpack(body: &[u8]) -> String {
    let mut text = String::new();
    // Without a scrape since the last line, there is nothing to read.
    if !body.is_empty() {
        flate2::read::GzDecoder::new(body).read_to_string(&mut text).expect("a compressed exposition");
    }
    text
}

/// The sum of a family's samples.
fn sum(exposition: &str, family: &str) -> f64 {
    let samples =
        exposition.lines().filter(|line| line.strip_prefix(family).is_some_and(|rest| rest.starts_with(['{', ' '])));
    samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

/// One line of the report.
#[derive(Clone, Copy, Debug)]
struct Line {
    resident_mib: f64,
    descriptors: f64,
    threads: f64,
    missed: f64,
    p99: f64,
    failed: usize,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    println!("{arguments:?}");
    let pipelines = arguments.pipelines.to_string();
    let api = free_address();
    let mut command = Command::new(EXPORTER);
    command.args(["simulate", "--simulator.listen-address", &api, "--simulator.pipelines", &pipelines]);
    let simulator = Program::listening(command.stdout(Stdio::null()).stderr(Stdio::null()), api.clone());
    let interval = humantime::format_duration(arguments.interval).to_string();
    let rate = (4.0 * arguments.pipelines as f64 / arguments.interval.as_secs_f64() + 10.0).to_string();
    let settings = [
        ("POLL__STATUS", interval.as_str()),
        ("POLL__METRICS", &interval),
        ("POLL__DESTINATION_HEALTH", &interval),
        ("POLL__DISCOVERY", &interval),
        ("POLL__REQUESTS_PER_SECOND", &rate),
        ("POLL__MAX_IN_FLIGHT", "64"),
    ];
    let exporter = Program::exporter(EXPORTER, &api, &settings);
    exporter.wait_for_readings(arguments.pipelines);
    let _simulator = begin(arguments.scenario, simulator).await;
    let seen = Arc::new(Mutex::new(Seen::default()));
    for scraper in 0..arguments.scrapers {
        let interval = arguments.scrape_interval;
        let first = interval.mul_f64(scraper as f64 / arguments.scrapers as f64);
        tokio::spawn(scrape_for_ever(exporter.address.clone(), first, interval, seen.clone()));
    }
    println!(
        "elapsed_s resident_MiB fds threads scrapes failed p50_ms p99_ms exposition_KiB asked_per_s required_per_s missed lag_s"
    );
    let began = Instant::now();
    let mut turns = tokio::time::interval(arguments.report);
    turns.tick().await;
    let (mut lines, mut before) = (Vec::new(), None);
    while began.elapsed() < arguments.duration {
        turns.tick().await;
        let Seen { mut milliseconds, failed, newest } = std::mem::take(&mut *seen.lock().expect("no panic"));
        let newest = unpack(&newest);
        milliseconds.sort_by(f64::total_cmp);
        let percentile = |part: f64| {
            let last = milliseconds.len().saturating_sub(1);
            milliseconds.get((last as f64 * part).ceil() as usize).copied().unwrap_or(f64::NAN)
        };
        let asked = sum(&newest, "goldrush_api_request_duration_seconds_count");
        let required = sum(&newest, "goldrush_poll_required_requests_per_second");
        let since = began.elapsed().as_secs_f64();
        let (asked_before, seconds) =
            before.replace((asked, since)).map_or((asked, 1.0), |(asked, then)| (asked, since - then));
        let rate = (asked - asked_before) / seconds;
        let lag = sum(&newest, "goldrush_poll_lag_seconds");
        // A probe is missed if a whole interval passes without it.
        let is_missed = arguments.scenario == Scenario::Normal && lag > arguments.interval.as_secs_f64();
        let missed = if is_missed { (required - rate).max(0.0) * seconds } else { 0.0 };
        let line = Line {
            resident_mib: exporter.resident(),
            descriptors: sum(&newest, "process_open_fds"),
            threads: exporter.threads(),
            missed,
            p99: percentile(0.99),
            failed,
        };
        println!(
            "{since:.0} {:.1} {} {} {} {failed} {:.1} {:.1} {} {rate:.1} {required:.1} {missed:.0} {lag:.2}",
            line.resident_mib,
            line.descriptors,
            line.threads,
            milliseconds.len(),
            percentile(0.5),
            line.p99,
            newest.len() / 1024,
        );
        lines.push(line);
    }
    judge(lines.get(arguments.warm_up..).unwrap_or_default());
}

/// What keeps the simulated API running, if the scenario does.
async fn begin(scenario: Scenario, simulator: Program) -> Option<Program> {
    match scenario {
        Scenario::Normal => Some(simulator),
        Scenario::Unauthorized => {
            let switch = format!("http://{}/simulator/scenario/revoked-key", simulator.address);
            let client = reqwest::Client::builder().no_proxy().build().expect("a client");
            let response = client.put(switch).send().await.expect("the simulator responds");
            assert!(response.status().is_success(), "{response:?}");
            Some(simulator)
        }
        Scenario::Down => None,
    }
}

/// Compares the last quarter after the warm-up with the first.
fn judge(lines: &[Line]) {
    assert!(lines.len() >= 4, "too short: nothing can be said after {} lines", lines.len());
    let quarter = lines.len() / 4;
    let most = |lines: &[Line], of: fn(&Line) -> f64| lines.iter().map(of).fold(0.0, f64::max);
    let compare = |name: &str, of: fn(&Line) -> f64, allowed: f64| {
        let (first, last) = (most(&lines[..quarter], of), most(&lines[lines.len() - quarter..], of));
        println!("{name}: {first:.1} at first, {last:.1} in the end");
        last <= first * allowed
    };
    let held = [
        compare("resident MiB", |line| line.resident_mib, 1.1),
        compare("descriptors", |line| line.descriptors, 1.2),
        compare("threads", |line| line.threads, 1.2),
    ];
    let missed: f64 = lines.iter().map(|line| line.missed).sum();
    let failed: usize = lines.iter().map(|line| line.failed).sum();
    println!("missed probes: {missed:.0}, failed scrapes: {failed}, worst p99: {:.1} ms", most(lines, |line| line.p99));
    assert!(held.iter().all(|held| *held) && missed < 1.0 && failed == 0, "it does not hold out");
}
