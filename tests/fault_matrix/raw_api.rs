//! A Pipeline API at the byte level: it sends exactly what a test chooses, even what no HTTP library would send, and it
//! is strict about requests. Dropping it checks that it was only read.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use goldrush_exporter::simulator::Endpoint;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// The path of the API.
pub const BASE: &str = "/raw/pipeline-api/";
const USAGE: &str = "/raw/usage/?duration=1";

/// What a request meets instead of its response. The connection ends after each of them.
#[derive(Clone)]
pub enum Play {
    /// These bytes, then the end of the connection.
    Close(Vec<u8>),
    /// These bytes, then a reset.
    Reset(Vec<u8>),
    /// These bytes, then nothing until the client gives up.
    Hang(Vec<u8>),
    /// The first bytes at once, then the second ones one by one, repeatedly.
    Drip(Vec<u8>, Vec<u8>),
    /// The first bytes, then the second ones repeatedly, as fast as they are read.
    Endless(Vec<u8>, Vec<u8>),
}

/// What a connection meets.
#[derive(Clone)]
pub enum Line {
    /// It is served; over TLS if there is a certificate.
    Served(Option<Arc<ServerConfig>>),
    /// Nothing listens.
    Refused,
    /// Nothing accepts it.
    Unanswered,
    /// It is accepted, but nothing is ever sent.
    Mute,
    /// It is accepted and reset.
    Slammed,
    /// These bytes are sent, and it is closed.
    Greeted(&'static [u8]),
    /// After the TLS handshake, nothing is ever sent.
    TlsMute(Arc<ServerConfig>),
    /// After the TLS handshake it is closed; if there are bytes, they are sent after the first request, then it is
    /// closed.
    TlsGreeted(Arc<ServerConfig>, Vec<u8>),
}

/// A request, and its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    pub key: String,
    pub endpoint: Endpoint,
    /// Empty for the list and the usage.
    pub pipeline: String,
}

/// How often a request came, and how often it met a fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub asked: u64,
    pub faulted: u64,
}

/// The body of a response without a fault.
pub type WellBody = fn(&Question) -> String;

struct Shared {
    address: SocketAddr,
    well: WellBody,
    faults: Mutex<HashMap<Question, Play>>,
    counts: Mutex<HashMap<Question, Count>>,
    connections: AtomicU64,
    violations: Mutex<Vec<String>>,
}

pub struct RawApi {
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
    /// Reserves the port while nothing listens.
    _held: TcpSocket,
    runtime: Runtime,
}

impl RawApi {
    pub fn start(line: &Line, well: WellBody) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let held = socket();
        held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let shared = Shared {
            address: held.local_addr().unwrap(),
            well,
            faults: Mutex::default(),
            counts: Mutex::default(),
            connections: AtomicU64::new(0),
            violations: Mutex::default(),
        };
        let mut api = Self { shared: Arc::new(shared), accepting: None, _held: held, runtime };
        api.set_line(line);
        api
    }

    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Closes all connections; new ones meet this. Returns the number of connections so far, none of which met it.
    pub fn set_line(&mut self, line: &Line) -> u64 {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            let _ = self.runtime.block_on(accepting);
        }
        let connections = self.shared.connections.load(Ordering::SeqCst);
        let (line, shared) = (line.clone(), self.shared.clone());
        let listener = self.runtime.block_on(async {
            let socket = socket();
            match line {
                Line::Refused => None,
                _ => {
                    socket.bind(shared.address).unwrap();
                    Some(socket.listen(if matches!(line, Line::Unanswered) { 0 } else { 1024 }).unwrap())
                }
            }
        });
        self.accepting = listener.map(|listener| self.runtime.spawn(accept(listener, line, shared)));
        connections
    }

    /// From now on, this request meets `play`, or its normal response if that is `None`.
    pub fn set_fault(&self, question: &Question, play: Option<Play>) {
        let mut faults = self.shared.faults.lock().unwrap();
        match play {
            Some(play) => faults.insert(question.clone(), play),
            None => faults.remove(question),
        };
    }

    pub fn count(&self, question: &Question) -> Count {
        self.shared.counts.lock().unwrap().get(question).copied().unwrap_or_default()
    }
}

impl Drop for RawApi {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(
                *self.shared.violations.lock().unwrap(),
                Vec::<String>::new(),
                "the exporter did more than read"
            );
        }
    }
}

/// Several sockets can be bound to one port if at most one of them listens.
fn socket() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket
}

async fn accept(listener: TcpListener, line: Line, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    if matches!(line, Line::Unanswered) {
        // A full queue: the kernel drops further connections.
        let mut waiting = Vec::new();
        while let Ok(Ok(stream)) =
            tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(shared.address)).await
        {
            waiting.push(stream);
        }
        let _ = std::future::pending::<(Vec<TcpStream>, TcpListener)>().await;
    }
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let _ = stream.set_nodelay(true);
        connections.spawn(meet(stream, line.clone(), shared.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// A client that disconnects early is not a failure of the server.
async fn meet(mut stream: TcpStream, line: Line, shared: Arc<Shared>) {
    match line {
        Line::Served(None) => {
            if let Ok(true) = answer(&mut stream, &shared).await {
                reset(&stream);
            }
        }
        Line::Served(Some(tls)) => {
            if let Ok(mut stream) = TlsAcceptor::from(tls).accept(stream).await
                && let Ok(true) = answer(&mut stream, &shared).await
            {
                reset(stream.get_ref().0);
            }
        }
        Line::Refused | Line::Unanswered => {}
        Line::Mute => wait_for_the_end(&mut stream).await,
        Line::TlsMute(tls) => {
            if let Ok(mut stream) = TlsAcceptor::from(tls).accept(stream).await {
                wait_for_the_end(&mut stream).await;
            }
        }
        Line::Slammed => reset(&stream),
        Line::Greeted(bytes) => {
            let _ = stream.write_all(bytes).await;
            wait_for_the_end(&mut stream).await;
        }
        Line::TlsGreeted(tls, bytes) => {
            if let Ok(mut stream) = TlsAcceptor::from(tls).accept(stream).await {
                if !bytes.is_empty() {
                    // Sent earlier, the bytes would not be a response.
                    let _ = stream.read(&mut [0; 1024]).await;
                }
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                wait_for_the_end(&mut stream).await;
            }
        }
    }
}

fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

async fn wait_for_the_end(stream: &mut (impl AsyncRead + Unpin)) {
    let mut sink = [0; 1024];
    while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
}

/// Serves one connection. Returns whether it must end with a reset.
async fn answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), shared: &Shared) -> std::io::Result<bool> {
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(false);
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        bytes.drain(..end + 4);
        let question = match read_question(&head, shared.address) {
            Ok(question) => question,
            Err(violation) => {
                shared.violations.lock().unwrap().push(violation);
                return Ok(false);
            }
        };
        let play = shared.faults.lock().unwrap().get(&question).cloned();
        {
            let mut counts = shared.counts.lock().unwrap();
            let count = counts.entry(question.clone()).or_default();
            count.asked += 1;
            count.faulted += u64::from(play.is_some());
        }
        match play {
            None => stream.write_all(&well(&(shared.well)(&question))).await?,
            Some(Play::Close(bytes)) => {
                stream.write_all(&bytes).await?;
                stream.shutdown().await?;
                // Closing with unread bytes would reset the connection.
                wait_for_the_end(stream).await;
                return Ok(false);
            }
            Some(Play::Reset(bytes)) => {
                stream.write_all(&bytes).await?;
                return Ok(true);
            }
            Some(Play::Hang(bytes)) => {
                stream.write_all(&bytes).await?;
                wait_for_the_end(stream).await;
                return Ok(false);
            }
            Some(Play::Drip(beginning, drops)) => {
                stream.write_all(&beginning).await?;
                for drop in drops.iter().cycle() {
                    stream.write_all(&[*drop]).await?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                return Ok(false);
            }
            Some(Play::Endless(beginning, more)) => {
                stream.write_all(&beginning).await?;
                loop {
                    stream.write_all(&more).await?;
                }
            }
        }
    }
}

/// A well-formed response with this body.
fn well(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into()
}

/// The requests that an exporter may send; anything else is a violation.
fn read_question(head: &str, address: SocketAddr) -> Result<Question, String> {
    let violation = |what: &str| Err(format!("{what}:\n{head}"));
    let mut lines = head.split("\r\n");
    let Some(path) = lines.next().and_then(|line| line.strip_prefix("GET ")?.strip_suffix(" HTTP/1.1")) else {
        return violation("not a GET");
    };
    let mut headers: Vec<(String, &str)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    headers.sort();
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    if names != ["accept", "accept-encoding", "authorization", "host", "user-agent"] {
        return violation("other headers than those five, each once");
    }
    if headers[3].1 != address.to_string() {
        return violation("another host");
    }
    let Some(key) = headers[2].1.strip_prefix("Bearer ") else { return violation("no bearer") };
    let question = |endpoint, pipeline: &str| Question { key: key.to_owned(), endpoint, pipeline: pipeline.to_owned() };
    if path == USAGE {
        return Ok(question(Endpoint::Usage, ""));
    }
    let Some(path) = path.strip_prefix(BASE) else { return violation("outside of the API") };
    let page = path.strip_prefix("?page_number=");
    // The size is omitted after it was refused.
    let page = page.map(|page| page.strip_suffix("&page_size=100").unwrap_or(page));
    match path.split('/').collect::<Vec<_>>()[..] {
        [_] if page.is_some_and(|page| page.parse::<u32>().is_ok()) => Ok(question(Endpoint::List, "")),
        [id, "status", ""] => Ok(question(Endpoint::Status, id)),
        [id, "metrics", ""] => Ok(question(Endpoint::Metrics, id)),
        [id, "destination-health", ""] => Ok(question(Endpoint::DestinationHealth, id)),
        _ => violation("none of the paths"),
    }
}
