//! What the tests share: the exporter as a process, the simulator as its API, and waiting without fixed sleeps.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod alertmanager;
pub mod daemon;
pub mod prometheus;
pub mod tools;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use goldrush_exporter::exposition::FAMILIES;
use goldrush_exporter::simulator::{BASE_PATH, DEMO_KEY_PROD, Options, Scenario, Simulator};
pub use rustix::process::Signal;

/// How long a test waits for an event. Only a failing test waits that long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The ServiceKey that the simulator accepts by default.
pub const KEY: &str = "sk_test_canary_8c1f0d2b7a6e4935";

/// Intervals short enough for tests.
pub const FAST: &[(&str, &str)] = &[
    ("GOLDRUSH_EXPORTER__POLL__DISCOVERY", "500ms"),
    ("GOLDRUSH_EXPORTER__POLL__STATUS", "200ms"),
    ("GOLDRUSH_EXPORTER__POLL__METRICS", "200ms"),
    ("GOLDRUSH_EXPORTER__POLL__DESTINATION_HEALTH", "200ms"),
    ("GOLDRUSH_EXPORTER__POLL__TRANSITIONAL", "100ms"),
    ("GOLDRUSH_EXPORTER__POLL__REQUESTS_PER_SECOND", "1000"),
];

/// A simulator that is being served, on its own runtime. Dropping it checks that it was only read.
pub struct Api {
    pub simulator: Simulator,
    pub address: std::net::SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl Api {
    /// Serves a simulator on a free port.
    pub fn start(options: Options) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (simulator, listener) = runtime
            .block_on(async { (Simulator::new(options), tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap()) });
        let address = listener.local_addr().unwrap();
        let served = simulator.clone();
        runtime.spawn(async move { served.serve(listener, std::future::pending()).await });
        Self { simulator, address, _runtime: runtime }
    }

    /// A healthy fleet of this many pipelines in one group, with the test's key.
    pub fn healthy(pipelines: usize) -> Self {
        Self::start(Options { pipelines, groups: 1, service_key: KEY.to_owned(), ..Options::default() })
    }

    pub fn base_url(&self) -> String {
        format!("http://{}{BASE_PATH}", self.address)
    }

    /// The environment of an exporter that polls this API.
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut environment = environment(FAST);
        environment.push(("GOLDRUSH_EXPORTER__API__BASE_URL".to_owned(), self.base_url()));
        environment.push(("GOLDRUSH_SERVICE_KEY".to_owned(), KEY.to_owned()));
        environment
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.simulator.violations(), Vec::<String>::new(), "the exporter did more than read");
        }
    }
}

pub fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A command of the exporter, without this machine's environment.
pub fn command(arguments: &[&str], environment: &[(String, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_goldrush-exporter"));
    command.args(arguments).env_clear().envs(environment.iter().cloned()).env("RUST_BACKTRACE", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The result of a command that has exited.
pub struct Ended {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

pub fn run(arguments: &[&str], environment: &[(String, String)]) -> Ended {
    let output = command(arguments, environment).output().unwrap();
    Ended {
        status: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Lines that a process writes, collected as they arrive.
#[derive(Clone, Default)]
pub struct Output(Arc<(Mutex<(String, bool)>, Condvar)>);

impl Output {
    pub fn follow(stream: impl std::io::Read + Send + 'static) -> Self {
        let output = Self::default();
        let shared = output.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let (lock, news) = &*shared.0;
                lock.lock().unwrap().0.push_str(&String::from_utf8_lossy(&line));
                news.notify_all();
                line.clear();
            }
            let (lock, news) = &*shared.0;
            lock.lock().unwrap().1 = true;
            news.notify_all();
        });
        output
    }

    pub fn text(&self) -> String {
        self.0.0.lock().unwrap().0.clone()
    }

    /// Waits for a line that contains `needle`, and returns it.
    #[track_caller]
    pub fn line(&self, needle: &str) -> String {
        self.line_or_end(needle).unwrap_or_else(|| panic!("no line with `{needle}` in:\n{}", self.text()))
    }

    /// The same; `None` if the stream ends without such a line.
    #[track_caller]
    pub fn line_or_end(&self, needle: &str) -> Option<String> {
        let (lock, news) = &*self.0;
        let deadline = Instant::now() + PATIENCE;
        let mut state = lock.lock().unwrap();
        loop {
            if let Some(line) = state.0.lines().find(|line| line.contains(needle)) {
                return Some(line.to_owned());
            }
            if state.1 {
                return None;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no line with `{needle}` in:\n{}", state.0);
            state = news.wait_timeout(state, left).unwrap().0;
        }
    }
}

/// An exporter that serves. Dropping it kills it.
pub struct Exporter {
    child: Child,
    pub stdout: Output,
    pub stderr: Output,
    /// `127.0.0.1:port`
    pub address: String,
}

impl Exporter {
    pub fn start(arguments: &[&str], environment: &[(String, String)]) -> Self {
        Self::spawn(command(arguments, environment))
    }

    /// Starts this command, which must run an exporter, on a free port.
    pub fn spawn(mut command: Command) -> Self {
        command.args(["--web.listen-address", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = Output::follow(child.stdout.take().unwrap());
        let stderr = Output::follow(child.stderr.take().unwrap());
        let line = stderr.line("listening");
        let address = line.split("127.0.0.1:").nth(1).unwrap();
        let port: String = address.chars().take_while(char::is_ascii_digit).collect();
        Self { child, stdout, stderr, address: format!("127.0.0.1:{port}") }
    }

    /// Polls this API with the fast intervals and the key in the environment.
    pub fn of(api: &Api) -> Self {
        Self::start(&[], &api.environment())
    }

    /// Polls this API with additional settings.
    pub fn with(api: &Api, settings: &[(&str, &str)]) -> Self {
        let mut all = api.environment();
        all.extend(environment(settings));
        Self::start(&[], &all)
    }

    pub fn get(&self, path: &str) -> Answer {
        request(&self.address, "GET", path, &[])
    }

    /// The classic exposition.
    pub fn scrape(&self) -> Exposition {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.text());
        Exposition(answer.text())
    }

    /// Scrapes until the condition holds.
    #[track_caller]
    pub fn until(&self, what: &str, holds: impl Fn(&Exposition) -> bool) -> Exposition {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let exposition = self.scrape();
            if holds(&exposition) {
                return exposition;
            }
            assert!(Instant::now() < deadline, "{what}: not seen in\n{}\n{}", exposition.0, self.stderr.text());
            // The interval between scrapes, not a guess at how long something takes.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a sample has this value.
    #[track_caller]
    pub fn until_value(&self, sample: &str, value: f64) -> Exposition {
        self.until(&format!("{sample} {value}"), |exposition| exposition.value(sample) == Some(value))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        send_signal(&self.child, signal);
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until the process exits by itself.
    pub fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the process goes on:\n{}", self.stderr.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn send_signal(child: &Child, signal: Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

/// Makes a named pipe: opening it waits for the other end.
pub fn make_pipe(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

/// Sends one HTTP request on a new connection, as raw bytes, without a client library.
pub fn request(address: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    send(address, method, path, headers, b"")
}

/// Sends one HTTP request with a body.
pub fn send(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    use std::io::Write as _;
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}{length}\r\n")
        .unwrap();
    stream.write_all(body).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut body = bytes[end + 4..].to_vec();
    if headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked") {
        body = unchunk(&body);
    }
    Answer { status, headers, body }
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        body.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 4 + size..];
    }
    body
}

/// A classic exposition.
pub struct Exposition(pub String);

impl Exposition {
    /// The samples: everything before the value, and the value.
    pub fn samples(&self) -> impl Iterator<Item = (&str, f64)> {
        let lines = self.0.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit_once(' ').unwrap()).map(|(name, value)| (name, value.parse().unwrap()))
    }

    /// The value of the sample with exactly this name and these labels.
    pub fn value(&self, sample: &str) -> Option<f64> {
        self.samples().find(|(name, _)| *name == sample).map(|(_, value)| value)
    }

    /// The values of all samples of `family` with all of these label pairs, such as `pipeline_id="pipe_1"`.
    pub fn values(&self, family: &str, labels: &[&str]) -> Vec<f64> {
        let begin = format!("{family}{{");
        let fitting = self
            .samples()
            .filter(|(name, _)| name.starts_with(&begin) && labels.iter().all(|label| name.contains(label)));
        fitting.map(|(_, value)| value).collect()
    }

    /// The single value of `family` with these label pairs, if there is one.
    #[track_caller]
    pub fn one(&self, family: &str, labels: &[&str]) -> Option<f64> {
        let values = self.values(family, labels);
        assert!(values.len() <= 1, "{family} {labels:?}: {values:?}");
        values.first().copied()
    }
}

/// The demo's production fleet, in which every family has a sample.
pub fn demo() -> (Api, Exporter) {
    let api = Api::start(Options { scenario: Scenario::Demo, ..Options::default() });
    let expected = "pipe_000000000000000000000000000";
    let settings = [
        ("GOLDRUSH_SERVICE_KEY", DEMO_KEY_PROD),
        ("GOLDRUSH_EXPORTER__ACCOUNTS__0__EXPECT__0", expected),
        ("GOLDRUSH_EXPORTER__POLICIES__0__TEAM", "data"),
        ("GOLDRUSH_EXPORTER__POLICIES__0__PROJECTS__INCLUDE__0", "analytics-.*"),
        ("GOLDRUSH_EXPORTER__POLL__USAGE", "500ms"),
    ];
    let exporter = Exporter::with(&api, &settings);
    exporter.until("every family, and every reading of the eight pipelines that can be read", |exposition| {
        FAMILIES.iter().all(|family| exposition.0.contains(&format!("# TYPE {} ", family.name)))
            && exposition.values("goldrush_pipeline_probe_success", &[]).iter().sum::<f64>() == 24.0
    });
    (api, exporter)
}

/// Waits until the condition holds: for what no scrape shows, such as the requests that the API received.
#[track_caller]
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not seen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The label pair of the pipeline with this id.
pub fn of(id: &str) -> String {
    format!("pipeline_id=\"{id}\"")
}

/// The label for the kind of request.
pub const OPERATION: &str = "operation";

/// The sample of the default account that counts an operation's failures for a reason.
pub fn failures(operation: &str, reason: &str) -> String {
    format!(
        "goldrush_api_request_failures_total{{account=\"default\",{OPERATION}=\"{operation}\",reason=\"{reason}\"}}"
    )
}

/// Whether each of this many pipelines has all three probes, and the newest attempt of each succeeded.
pub fn all_succeed(exposition: &Exposition, pipelines: usize) -> bool {
    let successes = exposition.values("goldrush_pipeline_probe_success", &[]);
    successes.len() == 3 * pipelines && successes.iter().all(|success| *success == 1.0)
}

/// An exporter that has every reading of this many pipelines.
pub fn settled(api: &Api, pipelines: usize, settings: &[(&str, &str)]) -> Exporter {
    let exporter = Exporter::with(api, settings);
    exporter.until("all probes succeed", |exposition| all_succeed(exposition, pipelines));
    exporter
}

/// An API that is down: nothing listens at its address, which is reserved so that nothing else can.
pub struct Down {
    socket: tokio::net::TcpSocket,
    pub address: std::net::SocketAddr,
}

impl Down {
    pub fn new() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        Self { socket, address }
    }

    /// The environment of an exporter that polls this API.
    pub fn environment(&self) -> Vec<(String, String)> {
        let base_url = format!("http://{}{BASE_PATH}", self.address);
        let mut all = environment(FAST);
        all.extend(environment(&[("GOLDRUSH_EXPORTER__API__BASE_URL", &base_url), ("GOLDRUSH_SERVICE_KEY", KEY)]));
        all
    }

    /// Starts serving the API.
    pub fn serve(self, options: Options) -> Api {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let simulator = Simulator::new(options);
        let listener = runtime.block_on(async { self.socket.listen(128).unwrap() });
        let served = simulator.clone();
        runtime.spawn(async move { served.serve(listener, std::future::pending()).await });
        Api { simulator, address: self.address, _runtime: runtime }
    }
}
