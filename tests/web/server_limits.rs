//! Clients that are slow, many or hostile, and the sockets that systemd passes on.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use crate::common::{self, Api, Exporter, PATIENCE, Signal, eventually, request};

/// What the exporter answers to these bytes before it closes the connection.
fn answer_to(exporter: &Exporter, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(&exporter.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may close before it has read all.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    // An error is a connection that was closed before all had been read.
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "it stays open");
    }
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_slow_loris_of_500_connections_stops_no_scrape() {
    let api = Api::healthy(3);
    let mut exporter = Exporter::of(&api);
    exporter.until_value("goldrush_pipelines{account=\"default\"}", 3.0);
    let slow = || {
        let mut stream = TcpStream::connect(&exporter.address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
        stream
    };
    let mut attack: Vec<TcpStream> = (0..500).map(|_| slow()).collect();
    for _ in 0..5 {
        assert_eq!(exporter.get("/metrics").status, 200);
        attack.iter_mut().for_each(|stream| {
            let _ = stream.write_all(b"x");
        });
    }
    // More than there may be: whoever has waited longest goes, and never who comes last.
    attack.extend((0..100).map(|_| slow()));
    for _ in 0..20 {
        assert_eq!(exporter.get("/metrics").status, 200);
        attack.push(slow());
    }
    assert!(exporter.is_running());
    let mut first = &attack[0];
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(!matches!(first.read(&mut [0; 64]), Ok(1..)), "it has been closed without an answer");
}

#[test]
fn running_out_of_files_neither_ends_the_exporter_nor_its_scrapes() {
    let api = Api::healthy(1);
    // What it has open by itself differs from one version of its libraries to the next.
    let open =
        Exporter::of(&api).until_value("goldrush_up{account=\"default\"}", 1.0).value("process_open_fds").unwrap();
    let binary = env!("CARGO_BIN_EXE_goldrush-exporter");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &format!("ulimit -n {}; exec \"$0\" \"$@\"", open as u32 + 4), binary]);
    command.env_clear().envs(api.environment());
    let mut exporter = Exporter::spawn(command);
    exporter.until_value("goldrush_up{account=\"default\"}", 1.0);
    let many: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(&exporter.address).unwrap()).collect();
    exporter.stderr.line("a connection cannot be accepted");
    assert_eq!(exporter.get("/-/healthy").status, 200);
    assert!(exporter.is_running());
    drop(many);
    exporter.until_value("goldrush_up{account=\"default\"}", 1.0);
}

#[test]
fn requests_beyond_the_limits_are_refused() {
    let api = Api::healthy(1);
    let exporter = Exporter::start(&["--web.enable-lifecycle"], &api.environment());
    let long = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(20_000));
    assert!(answer_to(&exporter, long.as_bytes()).starts_with("HTTP/1.1 431 "));
    let many = format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-Many: x\r\n".repeat(100));
    assert!(answer_to(&exporter, many.as_bytes()).starts_with("HTTP/1.1 431 "));
    let path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(20_000));
    assert!(answer_to(&exporter, path.as_bytes()).starts_with("HTTP/1.1 4"), "too long a path");
    assert!(answer_to(&exporter, b"HELO x\r\n\r\n").starts_with("HTTP/1.1 400 "));
    assert_eq!(answer_to(&exporter, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "", "HTTP/2 is for TLS");

    assert_eq!(request(&exporter.address, "POST", "/-/reload", &[]).status, 200);
    let small = b"POST /-/reload HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
    assert!(answer_to(&exporter, small).starts_with("HTTP/1.1 413 "));
    let chunked =
        b"POST /-/reload HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n";
    assert!(answer_to(&exporter, chunked).starts_with("HTTP/1.1 413 "));
    let huge = b"POST /-/reload HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 9999999999\r\n\r\n";
    assert!(answer_to(&exporter, huge).starts_with("HTTP/1.1 413 "));
}

/// A client that has asked for this so many times, and of whose answers nothing but the first bytes has been taken.
fn stuck(exporter: &Exporter, path: &str, times: usize) -> TcpStream {
    let mut stream = TcpStream::connect(&exporter.address).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(times).as_bytes()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut begin = [0; 15];
    stream.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200 OK");
    stream
}

fn stuck_scrape(exporter: &Exporter) -> TcpStream {
    stuck(exporter, "/metrics", 1)
}

#[test]
fn the_41st_scrape_and_the_5th_report_at_the_same_time_are_answered_503() {
    // So many pipelines, and so long an account's name, that no answer fits into the buffers between exporter and client.
    let api = Api::healthy(3000);
    let (account, reads) = ("a".repeat(100), "GOLDRUSH_SERVICE_KEY");
    let settings = [
        ("GOLDRUSH_EXPORTER__ACCOUNTS__0__NAME", account.as_str()),
        ("GOLDRUSH_EXPORTER__ACCOUNTS__0__SERVICE_KEY_ENV", reads),
        ("GOLDRUSH_EXPORTER__POLL__REQUESTS_PER_SECOND", "20"),
    ];
    let settings = [api.environment(), common::environment(&settings)].concat();
    let exporter = Exporter::start(&[], &settings);
    let listed = format!("goldrush_pipelines{{account=\"{account}\"}}");
    exporter.until_value(&listed, 3000.0);
    let mut scrapes: Vec<TcpStream> = (0..40).map(|_| stuck_scrape(&exporter)).collect();
    let refused = exporter.get("/metrics");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(refused.text(), "Too many concurrent scrapes (--web.max-requests).\n");
    assert_eq!(exporter.get("/").status, 200, "only scrapes count");

    // One report would fit into the buffers.
    let mut reports: Vec<TcpStream> = (0..4).map(|_| stuck(&exporter, "/api/v1/pipelines", 20)).collect();
    let refused = std::cell::OnceCell::new();
    eventually("the buffers are full, and one more is refused", || {
        let answer = exporter.get("/api/v1/pipelines");
        answer.status == 503 && refused.set(answer).is_ok()
    });
    let refused = refused.into_inner().unwrap();
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.text(), "Too many concurrent requests for the page and its JSON form.\n");
    drop(scrapes.pop());
    eventually("a scrape beside them", || exporter.get("/metrics").status == 200);
    scrapes.push(stuck_scrape(&exporter));
    assert_eq!((exporter.get("/-/healthy").status, exporter.get("/-/ready").status), (200, 200));
    drop(reports.pop());
    eventually("room for one report", || exporter.get("/api/v1/pipelines").status == 200);

    // One that goes away, or has read its answer, makes room for another.
    drop(scrapes.pop());
    eventually("room for one", || exporter.get("/metrics").status == 200);
    scrapes.push(stuck_scrape(&exporter));
    assert_eq!(exporter.get("/metrics").status, 503);

    drop((exporter, scrapes));
    let mut unlimited = Exporter::start(&["--web.max-requests", "0"], &settings);
    unlimited.until_value(&listed, 3000.0);
    let _some = [stuck_scrape(&unlimited), stuck_scrape(&unlimited)];
    assert_eq!(unlimited.get("/metrics").status, 200);
    unlimited.signal(Signal::TERM);
    assert_eq!(unlimited.ended().code(), Some(0), "stuck scrapes are cut");
}

/// The exporter as systemd starts it: with sockets from descriptor 3 on.
fn with_passed_socket(listener: OwnedFd, flags: &str, api: &Api) -> std::process::Command {
    let mut command = std::process::Command::new("sh");
    let script = format!("exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" {flags}");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_goldrush-exporter")]);
    command.env_clear().envs(api.environment());
    command.stdin(listener);
    command
}

#[test]
fn sockets_of_systemd_are_served_instead_of_addresses() {
    let api = Api::healthy(1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // Taken: it would not start if it tried to listen there.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let flags = format!("--web.systemd-socket --web.listen-address {}", taken.local_addr().unwrap());
    let exporter = Exporter::spawn(with_passed_socket(listener.into(), &flags, &api));
    assert_eq!(exporter.address, address);
    exporter.until_value("goldrush_up{account=\"default\"}", 1.0);

    let ended = common::run(&["--web.systemd-socket"], &api.environment());
    assert_eq!(ended.status, Some(1));
    assert!(ended.stderr.contains("there is no socket of systemd (--web.systemd-socket)"), "{}", ended.stderr);

    let folder = tempfile::tempdir().unwrap();
    let unix = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    let output = with_passed_socket(unix.into(), "--web.systemd-socket", &api).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("socket 0 of systemd (--web.systemd-socket) cannot be served"), "{said}");
}
