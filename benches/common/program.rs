//! Programs that a benchmark starts: the exporter, what it is compared with, and what scrapes it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use goldrush_exporter::simulator::{BASE_PATH, Options, Simulator};
use tokio::runtime::Runtime;

use super::cleanup::{Folder, Process};
use super::{Cpu, OPENMETRICS, http, is_ready, shown};

/// Accepted by the simulated API.
pub const KEY: &str = "sk_simulated_0000000000000000";

/// A program that listens. It is killed when dropped.
pub struct Program {
    process: Process,
    pub address: String,
}

impl Program {
    /// Starts a program that prints the address it listens at as its first line.
    pub fn announced(command: &mut Command) -> Self {
        let mut process = start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let address = line(&mut process.0);
        assert!(!address.is_empty(), "{command:?} has ended");
        Self { process, address }
    }

    /// Starts a program that listens at this address.
    pub fn listening(command: &mut Command, address: String) -> Self {
        let mut process = start(command);
        while TcpStream::connect(&address).is_err() {
            let ended = process.0.try_wait().unwrap();
            assert!(ended.is_none(), "{command:?} has ended: {ended:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
        Self { process, address }
    }

    /// Starts this program again, in another role.
    pub fn this(arguments: &[&str]) -> Self {
        Self::announced(Command::new(std::env::current_exe().unwrap()).args(arguments))
    }

    /// Starts an exporter that polls this API.
    pub fn exporter(program: &str, api: &str, settings: &[(&str, &str)]) -> Self {
        let address = free_address();
        let mut command = Command::new(program);
        command.args(["--web.listen-address", &address]).env_clear();
        command.env("GOLDRUSH_SERVICE_KEY", KEY);
        command.env("GOLDRUSH_EXPORTER__API__BASE_URL", format!("http://{api}{BASE_PATH}"));
        for (name, value) in settings {
            command.env(format!("GOLDRUSH_EXPORTER__{name}"), value);
        }
        Self::listening(command.stdout(Stdio::null()).stderr(Stdio::null()), address)
    }

    /// Waits until an exporter has complete readings of this number of pipelines.
    pub fn wait_for_readings(&self, pipelines: usize) {
        while shown(&self.address) < pipelines {
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    /// Sends it an order and waits for its reply.
    pub fn tell(&mut self, order: &str) -> String {
        writeln!(self.process.0.stdin.as_mut().unwrap(), "{order}").unwrap();
        line(&mut self.process.0)
    }

    pub fn cpu(&self) -> Cpu {
        Cpu::of(&self.process.0.id().to_string())
    }

    /// Resident memory, in MiB.
    pub fn resident(&self) -> f64 {
        self.status("VmRSS") / 1024.0
    }

    pub fn threads(&self) -> f64 {
        self.status("Threads")
    }

    /// A number in `/proc/PID/status`; sizes are in KiB.
    fn status(&self, field: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.0.id())).unwrap();
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.and_then(|value| value.split_whitespace().next()?.parse().ok()).expect("the program has not ended")
    }
}

fn start(command: &mut Command) -> Process {
    let child = command.spawn().unwrap_or_else(|error| {
        panic!("{command:?} cannot be started ({error}): benches/README.md says what is needed")
    });
    Process::new(child)
}

/// One line of its output.
#[expect(clippy::unbuffered_bytes, reason = "a buffer could take more than the line")]
fn line(child: &mut Child) -> String {
    let stdout = child.stdout.as_mut().unwrap();
    let bytes = stdout.bytes().map_while(Result::ok).take_while(|byte| *byte != b'\n');
    String::from_utf8(bytes.collect()).unwrap()
}

/// An address with a port that was free a moment ago.
pub fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
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

/// nginx serving these bytes, in the same two encodings.
pub fn nginx(folder: &Path, plain: &[u8], packed: &[u8]) -> Program {
    std::fs::write(folder.join("metrics"), plain).unwrap();
    std::fs::write(folder.join("metrics.gz"), packed).unwrap();
    let free = free_address();
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
    Program::listening(&mut command, free)
}

/// client_golang serving the same series. `benches/setup` builds it.
pub fn client_golang(folder: &Path, classic: &[u8]) -> Program {
    let file = folder.join("classic.txt");
    std::fs::write(&file, classic).unwrap();
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers/client_golang");
    Program::announced(Command::new(program).args(["127.0.0.1:0", file.to_str().unwrap()]))
}

/// Seconds between two scrapes: longer than any peer needs for one.
const SCRAPE_INTERVAL: u32 = 15;

/// A Prometheus; its data is deleted when dropped.
pub struct Prometheus {
    program: Program,
    _data: Folder,
}

impl Prometheus {
    /// Starts the program with this configuration.
    pub fn start(program: &str, configuration: &str) -> Self {
        let data = Folder::new();
        let folder = data.path().display();
        std::fs::write(data.path().join("prometheus.yml"), configuration).unwrap();
        let address = free_address();
        let mut command = Command::new(program);
        command.arg(format!("--config.file={folder}/prometheus.yml"));
        command.arg(format!("--storage.tsdb.path={folder}/data"));
        command.arg(format!("--web.listen-address={address}")).stderr(Stdio::null());
        let program = Program::listening(&mut command, address);
        while !is_ready(&program.address, "/-/ready") {
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { program, _data: data }
    }

    /// Its own median of the duration of this number of scrapes of one target, in seconds, and its CPU time for each. Measure
    /// targets one after another, because scrapes that overlap slow each other down.
    pub fn scrape(program: &str, target: &str, scrapes: u32) -> (f64, Duration) {
        let prometheus = Self::start(
            program,
            &format!(
                "global: {{scrape_interval: {SCRAPE_INTERVAL}s, scrape_timeout: {SCRAPE_INTERVAL}s}}\n\
                 scrape_configs:\n  - job_name: one\n    static_configs: [{{targets: ['{target}']}}]\n"
            ),
        );
        // The first scrape creates all series.
        prometheus.wait_for_scrapes(1);
        let before = prometheus.program.cpu();
        prometheus.wait_for_scrapes(1 + scrapes);
        let cpu = prometheus.program.cpu().since(&before) / scrapes;
        (prometheus.value("quantile_over_time(0.5, scrape_duration_seconds[1d])"), cpu)
    }

    fn wait_for_scrapes(&self, scrapes: u32) {
        let deadline = Instant::now() + Duration::from_secs(u64::from((scrapes + 2) * SCRAPE_INTERVAL));
        while self.value("sum(count_over_time(up[1d])) or vector(0)") < f64::from(scrapes) {
            assert!(Instant::now() < deadline, "Prometheus does not scrape");
            std::thread::sleep(Duration::from_millis(500));
        }
        assert_eq!(self.value("min(min_over_time(up[1d]))"), 1.0, "a scrape has failed");
    }

    pub fn address(&self) -> &str {
        &self.program.address
    }

    /// The single value of a query.
    pub fn value(&self, query: &str) -> f64 {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = http(self.address(), &format!("/api/v1/query?query={encoded}"));
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let value = answer["data"]["result"][0]["value"][1].as_str();
        value.unwrap_or_else(|| panic!("{query}: {answer}")).parse().unwrap()
    }
}
