//! What the benchmarks share: fleets, timing, and the lines they print.
#![allow(dead_code, reason = "each benchmark uses a part of it")]

pub mod run;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use goldrush_exporter::account::{Account, Next, Sent, Settings};
use goldrush_exporter::api::{Error, PipelineId, ProbeResponse, Request, Response};
use goldrush_exporter::config::{Config, Profile};
use goldrush_exporter::exposition::{Exposition, Selection};
use goldrush_exporter::fleet::{AccountHandle, Fleet};
use goldrush_exporter::http::{Access, Server};
use goldrush_exporter::moment::Moment;
use goldrush_exporter::routes::{self, App};
use goldrush_exporter::simulator::{BASE_PATH, Options, Simulator};
use tokio::runtime::Runtime;

pub fn read<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// The state of a real fleet: complete readings of every pipeline.
pub struct Picture {
    pub fleet: Fleet,
    pub account: AccountHandle,
    pub ids: Vec<PipelineId>,
    /// In this many pipelines, one has failed, another has a destination that is down, and a third one's check fails.
    trouble_in: usize,
}

const CHAINS: [&str; 8] = ["base", "eth", "solana", "matic", "bsc", "arbitrum", "optimism", "hypercore"];
const FEEDS: [&str; 5] = ["swaps", "transfers", "logs", "transactions", "traces"];
const DESTINATIONS: [&str; 6] = ["postgres", "clickhouse", "kafka", "object_storage", "sqs", "webhook"];

pub fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// In the API's notation.
fn checked_at(seconds_ago: u64) -> String {
    let checked = std::time::SystemTime::now() - Duration::from_secs(seconds_ago);
    jiff::Timestamp::try_from(checked).unwrap().round(jiff::Unit::Second).unwrap().to_string()
}

impl Picture {
    pub fn of(pipelines: usize) -> Self {
        Self::with_trouble(pipelines, 100)
    }

    /// If `trouble_in` is at least `pipelines`, all are healthy.
    pub fn with_trouble(pipelines: usize, trouble_in: usize) -> Self {
        let now = Moment::now();
        let config =
            Config::load(None, &[("GOLDRUSH_EXPORTER__POLL__STALE_AFTER".to_owned(), "1h".to_owned())]).unwrap();
        let mut account =
            Account::new(Settings::of(&config, &config.accounts[0]), now.wall, fastrand::Rng::with_seed(1), now);
        let mut ids = Vec::new();
        let mut items = Vec::new();
        {
            for number in 0..pipelines {
                let digits = format!("{:016x}{:016x}", mix(number as u64), mix(mix(number as u64)));
                let id = format!("pipe_{}", &digits[..27]);
                let (chain, feed) = (CHAINS[number % 8], FEEDS[number / 8 % 5]);
                let destination = DESTINATIONS[number / 40 % 6];
                let listed = serde_json::json!({
                    "id": id, "name": format!("{chain} {feed} to {destination} {number}"),
                    "project": format!("analytics-{}", number % 10),
                    "topic": format!("{chain}.mainnet.ref.block.{feed}"), "destination_type": destination,
                    "execution_mode": "unbounded", "status": "running",
                    "group": {"id": "group_d632592ddbde4a499452d25b", "name": "Data", "is_paid": true,
                              "is_over_limit": false, "is_free_trial_expired": false},
                    "created_at": format!("2023-11-{:02}T05:31:56Z", number % 28 + 1),
                    "updated_at": format!("2024-11-{:02}T{:02}:31:56Z", number % 28 + 1, number % 24),
                });
                ids.push(PipelineId::new(&id).unwrap());
                items.push(listed);
            }
        }
        let page = serde_json::json!({"items": items, "pagination": {"has_more": false}});
        let Next::Send(Request::Page(1), sent) = account.next(now.monotonic) else { panic!("a list comes first") };
        account.answered(sent, Response::Page(1, Ok(read(page))), now);
        let fleet = Fleet::default();
        let account = fleet.insert("prod", account);
        let picture = Self { fleet, account, ids, trouble_in };
        picture.poll_all(0);
        picture
    }

    /// Adds a response to every probe of every pipeline.
    pub fn poll_all(&self, round: u64) {
        for number in 0..self.ids.len() {
            for endpoint in 0..3 {
                self.poll(number, endpoint, round);
            }
        }
    }

    /// Adds a response to every probe at each `interval`, forever.
    pub fn poll_all_every(&self, interval: Duration) {
        for round in 1_000_000.. {
            std::thread::sleep(interval);
            self.poll_all(round);
        }
    }

    /// Its exposition with a profile's families.
    pub fn exposition(&self, profile: Profile) -> Arc<Exposition> {
        let exposition = Exposition::new(self.fleet.clone());
        let name = "GOLDRUSH_EXPORTER__METRICS__PROFILE".to_owned();
        let config = Config::load(None, &[(name, profile.to_string())]).unwrap();
        exposition.select(Selection::of(&config.metrics).unwrap());
        Arc::new(exposition)
    }

    /// Serves it like the exporter, and prints the address.
    pub fn serve(&self) -> Runtime {
        self.serve_profile(Profile::Full)
    }

    pub fn serve_profile(&self, profile: Profile) -> Runtime {
        let app = App {
            exposition: self.exposition(profile),
            fleet: self.fleet.clone(),
            telemetry_path: "/metrics".to_owned(),
            target_size: usize::MAX,
            reload: None,
        };
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        println!("{}", listener.local_addr().unwrap());
        let access = Arc::new(Access::unrestricted().unwrap());
        let server = Arc::new(Server::new(routes::site(app, 40), access));
        runtime.spawn(async move {
            let (_stop, stopped) = tokio::sync::watch::channel(());
            server.serve(listener, stopped).await;
        });
        runtime
    }

    /// Adds a response to one probe (0 status, 1 metrics, 2 destination health).
    pub fn poll(&self, number: usize, endpoint: u8, round: u64) {
        let id = &self.ids[number];
        let noise = mix(number as u64 * 1_000_003 + round);
        let is_healthy = self.trouble_in >= self.ids.len();
        let troubled = |remainder| !is_healthy && number % self.trouble_in == remainder;
        let response = match endpoint {
            0 => ProbeResponse::Status(Ok(read(serde_json::json!({
                "status": if troubled(7) { "FAILED" } else { "RUNNING" }, "replicas": 1, "ready": 1,
                "start_time": format!("2025-01-{:02}T{:02}:31:56Z", number % 28 + 1, number % 24)})))),
            1 => ProbeResponse::Metrics(Ok(read(serde_json::json!({
                "records_consumed": 1_000_000 + number as u64 * 7919 + round * (2_000 + number as u64 % 1000),
                "last_offset": 5_000_000 + number as u64 * 6007 + round * (noise % 700),
                "last_block_height": 38_500_000 + round * 15 + number as u64 % 100,
                "pending_records": noise % 500, "processing_delay_ms": noise % 4000,
                "records_per_second": (noise % 24_000) as f64 / 100.0, "normalization_errors": number as u64 % 3 + round})))),
            _ if troubled(13) => ProbeResponse::DestinationHealth(Err(Error::Disconnected("x".to_owned()))),
            _ => ProbeResponse::DestinationHealth(Ok(read(serde_json::json!({
                "healthy": !troubled(42), "last_checked_at": checked_at(noise % 60),
                "latency_ms": 5 + noise % 40,
                "last_error": troubled(42).then_some("dial tcp 10.0.0.5:5432: connection refused")})))),
        };
        let now = Moment::now();
        let sent = Sent { at: now.monotonic, generation: 1 };
        self.account.change(|account| account.answered(sent, Response::Probe(id.clone(), response), now));
    }
}

/// A simulated API.
pub fn simulated_api(runtime: &Runtime, pipelines: usize) -> String {
    let simulator = Simulator::new(Options { pipelines, groups: 1, ..Options::default() });
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { simulator.serve(listener, std::future::pending()).await });
        address
    })
}

/// An exporter as a process.
pub struct Exporter {
    pub child: Child,
    pub address: String,
}

impl Exporter {
    /// Starts a program that polls this API.
    pub fn start(program: &str, api: &str, settings: &[(&str, &str)]) -> Self {
        let address = free_address();
        let mut command = Command::new(program);
        command.args(["--web.listen-address", &address]).env_clear();
        command.env("GOLDRUSH_SERVICE_KEY", "sk_simulated_0000000000000000");
        command.env("GOLDRUSH_EXPORTER__API__BASE_URL", format!("http://{api}{BASE_PATH}"));
        for (name, value) in settings {
            command.env(format!("GOLDRUSH_EXPORTER__{name}"), value);
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while TcpStream::connect(&address).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Self { child, address }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address with a port that was free a moment ago.
pub fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// User and system CPU time of a process, of all threads that still exist.
pub fn cpu_of(process: &str) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
    Duration::from_nanos(stats.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).sum())
}

/// The CPU time of this process that `f` uses, in milliseconds.
pub fn cpu_ms<T>(f: impl FnOnce() -> T) -> (T, f64) {
    let before = cpu_of("self");
    let value = f();
    (value, ms(cpu_of("self").saturating_sub(before)))
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    if values.is_empty() { f64::NAN } else { values[values.len() / 2] }
}

pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

pub fn timed<T>(f: impl FnOnce() -> T) -> (T, f64) {
    let begin = Instant::now();
    let value = f();
    (value, ms(begin.elapsed()))
}

/// Prints one result line: the goal and the measured value.
pub fn judge(what: &str, unit: &str, goal: f64, measured: f64) {
    let verdict = if measured <= goal { "ok" } else { "missed" };
    println!("{what:<72} goal <= {goal:<8.4} measured {measured:<9.4} {unit:<10} {verdict}");
}

/// A program that is started for a benchmark, and killed when dropped.
pub struct Peer {
    pub child: Child,
    pub address: String,
}

impl Peer {
    /// Starts a program that prints its listening address as the first line.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap_or_else(|error| {
            panic!("{command:?} cannot be started ({error}): benches/README.md says what is needed")
        });
        let address = line(&mut child);
        Self { child, address }
    }

    /// Starts this program again, in another role.
    pub fn this(arguments: &[&str]) -> Self {
        Self::start(Command::new(std::env::current_exe().unwrap()).args(arguments))
    }

    /// Sends it an order and waits for its reply.
    pub fn tell(&mut self, order: &str) -> String {
        writeln!(self.child.stdin.as_mut().unwrap(), "{order}").unwrap();
        line(&mut self.child)
    }

    pub fn cpu(&self) -> Duration {
        cpu_of(&self.child.id().to_string())
    }

    /// In MiB.
    pub fn resident(&self) -> f64 {
        resident(&self.child.id().to_string())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In MiB.
pub fn resident(process: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

/// One line of its output, read byte by byte so that nothing is lost in a buffer.
fn line(child: &mut Child) -> String {
    let stdout = child.stdout.as_mut().unwrap();
    let bytes = std::io::Read::bytes(stdout).map_while(Result::ok).take_while(|byte| *byte != b'\n');
    String::from_utf8(bytes.collect()).unwrap()
}

/// A directory for a benchmark's files.
pub fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";
pub const CLASSIC: &str = "text/plain; version=0.0.4";

/// One scrape on a new connection. Returns the body, if `keep`, and its length.
pub fn get(address: &str, accept: &str, gzip: bool, keep: bool) -> (Vec<u8>, usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    let encoding = if gzip { "Accept-Encoding: gzip\r\n" } else { "" };
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: {accept}\r\n{encoding}\r\n")
        .unwrap();
    let mut buffer = vec![0; 1 << 18];
    let (mut head, mut body, mut length) = (Vec::new(), Vec::new(), 0);
    loop {
        let read = stream.read(&mut buffer).unwrap();
        if read == 0 {
            break;
        }
        let mut rest = &buffer[..read];
        if length == 0 && !head.ends_with(b"\r\n\r\n") {
            while let ([byte, after @ ..], false) = (rest, head.ends_with(b"\r\n\r\n")) {
                head.push(*byte);
                rest = after;
            }
        }
        length += rest.len();
        if keep {
            body.extend_from_slice(rest);
        }
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(head.to_ascii_lowercase().contains("content-encoding: gzip"), gzip, "{head}");
    (body, length)
}

/// The body of the response to a GET.
pub fn http(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// nginx serving these bytes, in the same two encodings.
pub fn nginx(folder: &Path, plain: &[u8], packed: &[u8]) -> Peer {
    std::fs::write(folder.join("metrics"), plain).unwrap();
    std::fs::write(folder.join("metrics.gz"), packed).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = folder.display();
    let configuration = format!(
        "daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log; events {{}}\n\
         http {{ access_log off; sendfile on; tcp_nopush on; gzip_static on; root {folder};\n\
         client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};\n\
         uwsgi_temp_path {folder}; scgi_temp_path {folder};\n\
         default_type '{OPENMETRICS}; charset=utf-8'; server {{ listen {free}; }} }}\n"
    );
    std::fs::write(format!("{folder}/nginx.conf"), configuration).unwrap();
    let mut command = Command::new("/usr/sbin/nginx");
    command.args(["-e", "stderr", "-c", &format!("{folder}/nginx.conf")]);
    let child = command.spawn().expect("nginx cannot be started: benches/README.md says what is needed");
    let peer = Peer { child, address: free.to_string() };
    while TcpStream::connect(free).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    peer
}

/// client_golang serving the same series. `benches/setup` builds it.
pub fn client_golang(folder: &Path, classic: &[u8]) -> Peer {
    let file = folder.join("classic.txt");
    std::fs::write(&file, classic).unwrap();
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers/client_golang");
    Peer::start(Command::new(program).args(["127.0.0.1:0", file.to_str().unwrap()]))
}

/// A Prometheus with this configuration; its data is deleted when dropped.
pub struct Prometheus {
    peer: Peer,
    _data: tempfile::TempDir,
}

impl Prometheus {
    pub fn start(program: &str, configuration: &str) -> Self {
        let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let folder = data.path().display();
        std::fs::write(data.path().join("prometheus.yml"), configuration).unwrap();
        let address = free_address();
        let mut command = Command::new(program);
        command.arg(format!("--config.file={folder}/prometheus.yml"));
        command.arg(format!("--storage.tsdb.path={folder}/data"));
        command.arg(format!("--web.listen-address={address}")).stderr(Stdio::null());
        let child = command.spawn().expect("prometheus cannot be started: benches/README.md says what is needed");
        let peer = Peer { child, address };
        while TcpStream::connect(&peer.address).is_err() {
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { peer, _data: data }
    }

    pub fn address(&self) -> &str {
        &self.peer.address
    }

    pub fn cpu(&self) -> Duration {
        self.peer.cpu()
    }

    /// The single value of a query.
    pub fn value(&self, query: &str) -> f64 {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = http(&self.peer.address, &format!("/api/v1/query?query={encoded}"));
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let value = answer["data"]["result"][0]["value"][1].as_str();
        value.unwrap_or_else(|| panic!("{query}: {answer}")).parse().unwrap()
    }
}

/// The number after `--name`, or the default.
pub fn option<T: std::str::FromStr>(name: &str, otherwise: T) -> T {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

/// The exponent of `y`'s growth with `x`: the slope of the regression line through the logarithms.
pub fn exponent(points: impl IntoIterator<Item = (f64, f64)>) -> f64 {
    let points: Vec<(f64, f64)> = points.into_iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0 / count, sum.1 + point.1 / count));
    let covariance: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    covariance / points.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>()
}
