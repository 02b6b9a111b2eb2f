//! Connections that lie, with default settings: the time from the fault to the first good reading, and to the first one
//! of each probe. New connections always work, so the exporter has to replace the old ones. Each fault happens once,
//! just after the first readings, when the connections are young and furthest from their maximum age.
//!
//! Linux only: each fault has its own namespaces for processes, network and mounts, which needs root or user namespaces.
//! All faults run concurrently and take at most four minutes.
//!
//! `cargo bench --bench recovery`, or with `--profile dev` to avoid the optimized build.

mod common;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use axum::http::Response;
use common::{Folder, Process, Program, get, judge};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

const EXPORTER: &str = env!("CARGO_BIN_EXE_goldrush-exporter");
const HOST: &str = "api.example";
const GOAL: f64 = 60.0;
const PATIENCE: Duration = Duration::from_secs(120);
/// Tells this program that it runs alone in its namespaces.
const INSIDE: &str = "--inside";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Every packet is acknowledged, and nothing is ever sent back.
    Silent,
    /// The peer stops reading: its window closes.
    Stuck,
    /// HTTP/2 works and pings are acknowledged, but no request gets a response.
    NeverResponds,
    /// Packets of the connections are dropped in both directions.
    Dropped,
    /// The peer silently forgets its connections.
    HalfOpen,
    /// The name has another address. The old one still accepts connections, but is no longer the API.
    AddressChange,
    /// The connections break, and new ones present a certificate of another authority, which is trusted from then on.
    /// There is no signal.
    NewAuthority,
}

use Fault::{AddressChange, Dropped, HalfOpen, NeverResponds, NewAuthority, Silent, Stuck};

const FAULTS: [Fault; 7] = [Silent, Stuck, NeverResponds, Dropped, HalfOpen, AddressChange, NewAuthority];

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != INSIDE).skip(1);
    if let Some(name) = arguments.next() {
        let fault = FAULTS.into_iter().find(|fault| format!("{fault:?}") == name).expect("a fault");
        return tokio::runtime::Runtime::new().unwrap().block_on(measure(fault));
    }
    let program = std::env::current_exe().unwrap();
    let folder = Folder::new();
    let runs = FAULTS.map(|fault| {
        let mut command = Command::new("unshare");
        if !rustix::process::getuid().is_root() {
            command.arg("--map-root-user");
        }
        // If one of them is killed, all of its processes end, and its files are in our folder.
        command.args(["--fork", "--kill-child", "--pid", "--mount-proc", "--net", "--mount", "--"]);
        command.arg(&program).args([INSIDE, &format!("{fault:?}")]).env("TMPDIR", folder.path());
        (fault, Process::new(command.stdout(Stdio::piped()).spawn().unwrap()))
    });
    for (fault, mut run) in runs {
        let mut said = String::new();
        run.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        let seconds: Vec<f64> = said.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let [first, all] = seconds[..] else { panic!("{fault:?} has measured nothing: {said}") };
        judge(&format!("{fault:?}: to the first good reading"), "s", GOAL, first);
        judge(&format!("{fault:?}: to a good reading of each probe"), "s", PATIENCE.as_secs_f64(), all);
    }
}

/// Prints the seconds to the first good reading, and to one of each probe; `inf` if patience ends before.
async fn measure(fault: Fault) {
    run("ip", &["link", "set", "lo", "up"]);
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    std::fs::write(&hosts, format!("127.0.0.1 {HOST}\n")).unwrap();
    run("mount", &["--bind", hosts.to_str().unwrap(), "/etc/hosts"]);
    let authority = Authority::new();
    let trusted = folder.path().join("trusted.pem");
    std::fs::write(&trusted, authority.0.pem()).unwrap();
    let server = Server::start("127.0.0.1:0", authority.server()).await;
    let exporter = start(server.port, &trusted);
    assert!(until(&exporter, Instant::now(), |readings| readings.len() == 3).await.is_finite(), "no first readings");

    let other = Authority::new();
    let began = Instant::now();
    let began_at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let _moved = match fault {
        Silent | Stuck | NeverResponds => {
            server.old_ones(fault);
            None
        }
        Dropped => {
            server.drop_packets("-A");
            None
        }
        HalfOpen => {
            server.drop_packets("-A");
            server.forget();
            tokio::time::sleep(Duration::from_millis(100)).await;
            server.drop_packets("-D");
            None
        }
        AddressChange => {
            let moved = Server::start(&format!("127.0.0.2:{}", server.port), authority.server()).await;
            std::fs::write(&hosts, format!("127.0.0.2 {HOST}\n")).unwrap();
            server.old_ones(fault);
            server.new_ones(fault);
            Some(moved)
        }
        NewAuthority => {
            *server.tls.lock().unwrap() = other.server();
            server.forget();
            std::fs::write(&trusted, authority.0.pem() + &other.0.pem()).unwrap();
            None
        }
    };
    let first = until(&exporter, began, |readings| readings.values().any(|at| *at > began_at)).await;
    let all = until(&exporter, began, |readings| readings.values().all(|at| *at > began_at)).await;
    println!("{first} {all}");
}

fn run(program: &str, arguments: &[&str]) {
    assert!(Command::new(program).args(arguments).status().unwrap().success(), "{program} {arguments:?}");
}

/// An exporter with default settings.
fn start(port: u16, trusted: &Path) -> Program {
    // Nothing else listens in this namespace.
    let address = "127.0.0.1:9877".to_owned();
    let mut command = Command::new(EXPORTER);
    command
        .env_clear()
        .env("GOLDRUSH_SERVICE_KEY", "sk_1")
        .env("GOLDRUSH_EXPORTER__API__BASE_URL", format!("https://{HOST}:{port}/"))
        .env("SSL_CERT_FILE", trusted)
        .args(["--web.listen-address", &address])
        .stderr(Stdio::null());
    Program::listening(&mut command, address)
}

/// The seconds since `began` when `holds` accepts the times at which each probe last succeeded; infinity if patience
/// ends before.
async fn until(exporter: &Program, began: Instant, holds: impl Fn(&BTreeMap<String, f64>) -> bool) -> f64 {
    while began.elapsed() < PATIENCE {
        let address = exporter.address.clone();
        let scrape = tokio::task::spawn_blocking(move || get(&address, "text/plain", false, true).0).await.unwrap();
        let text = String::from_utf8(scrape).unwrap();
        let family = "goldrush_pipeline_probe_last_success_timestamp_seconds{";
        let samples = text.lines().filter_map(|line| line.strip_prefix(family)?.rsplit_once(' '));
        let readings = samples.map(|(labels, at)| (labels.to_owned(), at.parse().unwrap())).collect();
        if holds(&readings) {
            return began.elapsed().as_secs_f64();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    f64::INFINITY
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    fn server(&self) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth();
        let mut config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }
}

type Lie = Option<Fault>;

/// A Pipeline API with one pipeline, over HTTP/2.
struct Server {
    port: u16,
    /// For open connections and for new ones.
    lies: Arc<Mutex<watch::Sender<Lie>>>,
    tls: Arc<Mutex<Arc<ServerConfig>>>,
    /// The clients' ports, and the connections' tasks.
    connections: Arc<Mutex<Vec<(u16, AbortHandle)>>>,
}

impl Server {
    async fn start(address: &str, tls: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            lies: Arc::new(Mutex::new(watch::Sender::new(None))),
            tls: Arc::new(Mutex::new(tls)),
            connections: Arc::default(),
        };
        let (lies, tls, connections) = (server.lies.clone(), server.tls.clone(), server.connections.clone());
        tokio::spawn(async move {
            while let Ok((stream, client)) = listener.accept().await {
                let lie = lies.lock().unwrap().subscribe();
                let tls = tls.lock().unwrap().clone();
                let (near, far) = tokio::io::duplex(64 * 1024);
                tokio::spawn(serve(far, tls, lie.clone()));
                let task = tokio::spawn(relay(stream, near, lie));
                connections.lock().unwrap().push((client.port(), task.abort_handle()));
            }
        });
        server
    }

    /// Open connections lie from now on; new ones are honest.
    fn old_ones(&self, fault: Fault) {
        let old = std::mem::replace(&mut *self.lies.lock().unwrap(), watch::Sender::new(None));
        old.send_replace(Some(fault));
        // Receivers of a lie keep the last one.
        std::mem::forget(old);
    }

    /// New connections lie from the start.
    fn new_ones(&self, fault: Fault) {
        *self.lies.lock().unwrap() = watch::Sender::new(Some(fault));
    }

    /// Ends the open connections on this side.
    fn forget(&self) {
        self.connections.lock().unwrap().drain(..).for_each(|(_, task)| task.abort());
    }

    /// Starts (`-A`) or stops (`-D`) dropping the packets of all connections so far.
    fn drop_packets(&self, how: &str) {
        static PORTS: Mutex<Vec<u16>> = Mutex::new(Vec::new());
        let mut ports = PORTS.lock().unwrap();
        if how == "-A" {
            *ports = self.connections.lock().unwrap().iter().map(|(port, _)| *port).collect();
        }
        for port in ports.iter().map(ToString::to_string) {
            for side in ["--sport", "--dport"] {
                run("iptables", &[how, "INPUT", "-p", "tcp", side, &port, "-j", "DROP"]);
            }
        }
    }
}

async fn relay(mut client: TcpStream, mut server: DuplexStream, mut lie: watch::Receiver<Lie>) {
    let struck = tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
        Ok(lie) = lie.wait_for(|lie| matches!(lie, Some(Silent | Stuck))) => *lie,
    };
    if struck == Some(Stuck) {
        std::future::pending::<()>().await;
    }
    let mut sink = [0; 4096];
    while client.read(&mut sink).await.is_ok_and(|read| read > 0) {}
}

async fn serve(stream: DuplexStream, tls: Arc<ServerConfig>, lie: watch::Receiver<Lie>) {
    let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut unanswered = Vec::new();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let lie = *lie.borrow();
        if lie == Some(NeverResponds) {
            unanswered.push((request, respond));
            continue;
        }
        let data = match request.uri().path().trim_matches('/').rsplit('/').next().unwrap_or_default() {
            "status" => r#"{"status":"RUNNING","replicas":1,"ready":1}"#,
            "metrics" => r#"{"records_consumed":1,"pending_records":0}"#,
            "destination-health" => r#"{"healthy":true}"#,
            _ => r#"{"items":[{"id":"pipe_1","name":"one"}],"pagination":{"has_more":false,"total_count":1}}"#,
        };
        let (status, body) = match lie {
            Some(AddressChange) => (404, "default backend - 404".to_owned()),
            _ => (200, format!(r#"{{"data":{data},"error":false}}"#)),
        };
        let head = Response::builder().status(status).body(()).unwrap();
        let _ = respond.send_response(head, false).and_then(|mut stream| stream.send_data(body.into(), true));
    }
}
