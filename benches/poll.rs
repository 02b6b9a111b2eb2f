//! Polling: CPU per request against a bare reqwest loop and aiohttp, a sweep's time against the ideal, the requests
//! that a server counts in a second, the time to the first complete readings, and how soon trouble shows.
//! `cargo bench --bench poll [-- --pipelines 2000] [-- --rounds 5]`

mod common;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{KEY, Program, cpu_ms, is_given, judge, median, ms, option};
use futures_util::{StreamExt as _, stream};
use goldrush_exporter::account::{Account, Settings};
use goldrush_exporter::config::Config;
use goldrush_exporter::exposition::{Encoding, Exposition, Format, Part};
use goldrush_exporter::fleet::Fleet;
use goldrush_exporter::moment::Moment;
use goldrush_exporter::poller::Poller;
use goldrush_exporter::simulator::{BASE_PATH, Condition, Options, Simulator};
use goldrush_exporter::{api, service_key};
use tokio::runtime::Runtime;

const IN_FLIGHT: usize = 32;
/// A budget that never limits.
const LIFTED: f64 = 1e6;

fn main() {
    let pipelines = option("--pipelines", 2_000);
    if is_given("--api") {
        return simulate(pipelines, option("--latency", 0));
    }
    let runtime = Runtime::new().unwrap();
    cpu_per_request(&runtime, pipelines, option("--rounds", 5));
    sweep(&runtime);
    seconds(&runtime);
    first_picture(&runtime);
    detection(&runtime);
    growth(&runtime);
}

fn cpu_per_request(runtime: &Runtime, pipelines: usize, rounds: usize) {
    // Like the daemon: on one thread.
    let polling = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let api = api(pipelines, 0);
    let ids = runtime.block_on(async { ids(&poll_once(&api.address, IN_FLIGHT, LIFTED).await) });
    let requests = 3 * pipelines + pipelines.div_ceil(100);
    let mut results: [Vec<f64>; 4] = Default::default();
    for _ in 0..rounds {
        let each = |cpu: f64| cpu * 1000.0 / requests as f64;
        let round = [
            each(cpu_ms(|| polling.block_on(poll_once(&api.address, IN_FLIGHT, LIFTED))).1),
            each(cpu_ms(|| runtime.block_on(bare_loop(&api.address, &ids, requests))).1),
            each(cpu_ms(|| polling.block_on(bare_loop(&api.address, &ids, requests))).1),
            aiohttp(&api.address, &ids, requests) * 1e6 / requests as f64,
        ];
        results.iter_mut().zip(round).for_each(|(results, cost)| results.push(cost));
    }
    let [ours, bare, single, python] = results.map(median);
    println!(
        "CPU per request: exporter {ours:.1} us, bare reqwest {bare:.1} us, on one thread {single:.1} us, aiohttp \
         {python:.1} us"
    );
    // The exporter polls on one thread, which spares it the wake-ups across threads that the peer pays for.
    println!("CPU per request against a bare reqwest loop that also runs on one thread: {:.2} x", ours / single);
    judge("CPU per request against a bare reqwest loop", "x", 1.25, ours / bare);
    judge("CPU per request against aiohttp", "x", 0.4, ours / python);
}

fn sweep(runtime: &Runtime) {
    let (pipelines, latency) = (1_000, 50);
    let api = api(pipelines, latency);
    let requests = 3 * pipelines + pipelines / 100;
    let ideal = requests as f64 / IN_FLIGHT as f64 * latency as f64;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let begin = Instant::now();
        let ids = ids(&runtime.block_on(poll_once(&api.address, IN_FLIGHT, LIFTED)));
        ours.push(ms(begin.elapsed()));
        let begin = Instant::now();
        runtime.block_on(bare_loop(&api.address, &ids, requests));
        bare.push(ms(begin.elapsed()));
    }
    let (ours, bare) = (median(ours), median(bare));
    println!("a sweep of {pipelines}: exporter {ours:.0} ms, bare reqwest {bare:.0} ms, ideal {ideal:.0} ms");
    judge("sweep against requests / concurrency * latency", "x", 1.05, ours / ideal);
}

/// The number of requests that a server counts in its busiest second.
fn seconds(runtime: &Runtime) {
    let rate = 100.0;
    let simulator = Simulator::new(Options { pipelines: 300, groups: 1, ..Options::default() });
    let address = runtime.block_on(serve(&simulator));
    runtime.block_on(poll_once(&address, 8, rate));
    let mut times: Vec<Duration> = simulator.requests().iter().map(|request| request.at).collect();
    times.sort();
    let within = |from: &Duration| times.partition_point(|at| *at < *from + Duration::from_secs(1));
    let most = times.iter().enumerate().map(|(index, from)| within(from) - index).max().unwrap_or(0);
    judge("requests that a server counts in any second, budget 100 + burst 6", "requests", 106.0, most as f64);
}

fn first_picture(runtime: &Runtime) {
    let (pipelines, latency) = (20, 50);
    let api = api(pipelines, latency);
    for in_flight in [8, 16] {
        let times = (0..5).map(|_| {
            let begin = Instant::now();
            runtime.block_on(poll_once(&api.address, in_flight, LIFTED));
            ms(begin.elapsed()) / latency as f64
        });
        // One for the list, and one to spare.
        let goal = 1 + (3 * pipelines).div_ceil(in_flight) + 1;
        let what = format!("first picture of {pipelines} pipelines, budget lifted, {in_flight} in flight");
        judge(&what, "trips", goal as f64, median(times.collect()));
    }
}

/// The time from when a destination goes down until `/metrics` shows it.
fn detection(runtime: &Runtime) {
    const INTERVAL: f64 = 2.0;
    // Few enough for a small exposition: a large one is rendered once per second, which matters for such a short
    // interval, but not for a real one.
    let pipelines = 100;
    let simulator = Simulator::new(Options { pipelines, groups: 1, ..Options::default() });
    let ids = simulator.pipeline_ids(0);
    let mut delays = runtime.block_on(async {
        let address = serve(&simulator).await;
        let fleet = Fleet::default();
        let poller = poller(&address, 8, LIFTED, &fleet, "2s").await;
        let polling = tokio::spawn(poller.run());
        let exposition = Arc::new(Exposition::new(fleet));
        // The first turns are over, and the second ones are spread.
        tokio::time::sleep(Duration::from_secs_f64(3.0 * INTERVAL)).await;
        let mut down: Vec<(Instant, String)> = Vec::new();
        let mut delays: Vec<f64> = Vec::new();
        let mut ids = ids.into_iter();
        while delays.len() < pipelines {
            if let Some(id) = ids.next() {
                let error = "dial tcp 10.0.0.5:5432: connection refused";
                simulator.update_pipeline(&id, |pipeline| pipeline.condition = Condition::DestinationDown(error));
                down.push((Instant::now(), format!("pipeline_id=\"{id}\"")));
            }
            tokio::time::sleep(Duration::from_millis(7)).await;
            let body: Vec<u8> =
                exposition.scrape(Format::Classic, Encoding::Identity, &Part::Whole).await.unwrap().flatten().collect();
            let text = String::from_utf8(body).unwrap();
            let shown: Vec<&str> =
                text.lines().filter(|line| line.starts_with("goldrush_pipeline_destination_error{")).collect();
            down.retain(|(since, label)| {
                let is_shown = shown.iter().any(|line| line.contains(label));
                if is_shown {
                    delays.push(since.elapsed().as_secs_f64());
                }
                !is_shown
            });
        }
        polling.abort();
        delays
    });
    delays.sort_by(f64::total_cmp);
    let (middle, worst) = (delays[delays.len() / 2], delays[delays.len() - 1]);
    // A failure falls anywhere into an interval; the rest is for the request and the scrape.
    judge("a destination goes down, until /metrics shows it: median", "intervals", 0.5 + 0.05, middle / INTERVAL);
    judge("a destination goes down, until /metrics shows it: worst", "intervals", 1.0 + 0.05, worst / INTERVAL);
}

fn growth(runtime: &Runtime) {
    let sizes = [100, 1_000, 10_000, 50_000];
    let costs = sizes.map(|pipelines| {
        let api = api(pipelines, 0);
        let rounds = if pipelines > 10_000 { 1 } else { 3 };
        median((0..rounds).map(|_| cpu_ms(|| runtime.block_on(poll_once(&api.address, IN_FLIGHT, LIFTED))).1).collect())
    });
    println!("CPU of a sweep: {sizes:?} pipelines, {costs:.0?} ms");
    let points = sizes.map(|size| size as f64).into_iter().zip(costs);
    judge("growth of a sweep's CPU with pipelines", "exponent", 1.1, common::steepest(points));
}

/// The simulator in a separate process, so that its CPU time is not counted.
fn api(pipelines: usize, latency: u64) -> Program {
    Program::this(&["--api", "--pipelines", &pipelines.to_string(), "--latency", &latency.to_string()])
}

fn simulate(pipelines: usize, latency: u64) {
    let latency = Duration::from_millis(latency);
    let simulator = Simulator::new(Options { pipelines, groups: 1, latency, ..Options::default() });
    let runtime = Runtime::new().unwrap();
    println!("{}", runtime.block_on(serve(&simulator)));
    runtime.block_on(std::future::pending::<()>());
}

async fn serve(simulator: &Simulator) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let simulator = simulator.clone();
    tokio::spawn(async move { simulator.serve(listener, std::future::pending()).await });
    address
}

async fn poller(address: &str, in_flight: usize, rate: f64, fleet: &Fleet, interval: &str) -> Poller {
    let settings = [
        ("API__BASE_URL", format!("http://{address}{BASE_PATH}")),
        ("MAX_PIPELINES", "1000000".to_owned()),
        ("POLL__MAX_IN_FLIGHT", in_flight.to_string()),
        ("POLL__REQUESTS_PER_SECOND", rate.to_string()),
        ("POLL__STATUS", interval.to_owned()),
        ("POLL__METRICS", interval.to_owned()),
        ("POLL__DESTINATION_HEALTH", interval.to_owned()),
        ("POLL__DISCOVERY", "1h".to_owned()),
    ];
    let environment: Vec<(String, String)> =
        settings.into_iter().map(|(name, value)| (format!("GOLDRUSH_EXPORTER__{name}"), value)).collect();
    let mut config = Config::load(None, &environment).unwrap();
    config.accounts[0].key = service_key::KeySource::BuiltIn(KEY);
    let settings = Settings::of(&config, &config.accounts[0]);
    let keys = service_key::KeyHolder::load(settings.account.key.clone()).await.unwrap();
    let client = api::Client::new(config.api.clone()).unwrap();
    let now = Moment::now();
    let account = Account::new(settings, now.wall(), fastrand::Rng::new(), now);
    Poller::new(client, keys, fleet.insert("default", account).hand_over(|_| {}))
}

/// Everything once: the list, and the three probes of each pipeline.
async fn poll_once(address: &str, in_flight: usize, rate: f64) -> Fleet {
    let fleet = Fleet::default();
    poller(address, in_flight, rate, &fleet, "1h").await.once().await.unwrap();
    fleet
}

fn ids(fleet: &Fleet) -> Vec<String> {
    let view = fleet.account("default").unwrap().view(Moment::now());
    view.pipelines.keys().map(ToString::to_string).collect()
}

/// The same number of requests, doing nothing but reading the bodies.
async fn bare_loop(address: &str, ids: &[String], requests: usize) {
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(IN_FLIGHT).build().unwrap();
    let urls = (0..requests).map(|number| {
        let endpoint = ["status", "metrics", "destination-health"][number % 3];
        format!("http://{address}{BASE_PATH}{}/{endpoint}/", ids[number / 3 % ids.len()])
    });
    let answers = stream::iter(urls).map(|url| {
        let request = client.get(url).header("Authorization", format!("Bearer {KEY}"));
        async move { request.send().await.unwrap().bytes().await.unwrap().len() }
    });
    let length = answers.buffer_unordered(IN_FLIGHT).fold(0, async |sum, length| sum + length).await;
    assert!(length > 0);
}

/// CPU seconds of the Python peer.
fn aiohttp(address: &str, ids: &[String], requests: usize) -> f64 {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/aiohttp_loop.py");
    let mut python = Command::new("/usr/bin/python3");
    python.args([script, &format!("http://{address}{BASE_PATH}"), KEY, &IN_FLIGHT.to_string(), &requests.to_string()]);
    let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(ids.join("\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "benches/README.md says what is needed");
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().parse().unwrap()
}
