//! The client of the benchmarks: one request per connection.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use goldrush_exporter::api::Probe;

pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";
pub const CLASSIC: &str = "text/plain; version=0.0.4";

/// One scrape. Returns the body, if `keep`, and its length.
pub fn get(address: &str, accept: &str, gzip: bool, keep: bool) -> (Vec<u8>, usize) {
    let encoding = if gzip { "Accept-Encoding: gzip\r\n" } else { "" };
    let request =
        format!("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: {accept}\r\n{encoding}\r\n");
    let (head, body, length) = exchange(address, &request, keep);
    assert!(is_ok(&head), "{address}: {head}");
    assert_eq!(header(&head, "content-encoding") == Some("gzip"), gzip, "{head}");
    (body, length)
}

/// The text at a path.
pub fn http(address: &str, path: &str) -> String {
    text(address, path).unwrap_or_else(|head| panic!("{address}{path}: {head}"))
}

/// Whether a server responds with 200 at a path.
pub fn is_ready(address: &str, path: &str) -> bool {
    text(address, path).is_ok()
}

/// The text at a path, or the head of a response other than 200.
fn text(address: &str, path: &str) -> Result<String, String> {
    // HTTP/1.0 has no chunks.
    let (head, body, _) = exchange(address, &format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n"), true);
    if is_ok(&head) { Ok(String::from_utf8(body).unwrap()) } else { Err(head) }
}

/// How many pipelines an exporter has complete readings of. Compressed, because a plain body of a large fleet would
/// stay in the exporter's memory for a while.
pub fn shown(exporter: &str) -> usize {
    let packed = get(exporter, OPENMETRICS, true, true).0;
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
    text.matches("\ngoldrush_pipeline_probe_last_success_timestamp_seconds{").count() / Probe::ALL.len()
}

/// Returns the head in lower case, the body, if `keep`, and its length. Panics if the response is incomplete.
fn exchange(address: &str, request: &str, keep: bool) -> (String, Vec<u8>, usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut buffer = vec![0; 1 << 18];
    let mut head = Vec::new();
    let mut body = loop {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "{address}: the response ends in its head");
        head.extend_from_slice(&buffer[..read]);
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            break head.split_off(end + 4);
        }
    };
    let mut length = body.len();
    loop {
        let read = stream.read(&mut buffer).unwrap();
        if read == 0 {
            break;
        }
        length += read;
        if keep {
            body.extend_from_slice(&buffer[..read]);
        }
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(
        header(&head, "content-length").is_none_or(|expected| expected == length.to_string()),
        "{length} of {head}"
    );
    (head, body, length)
}

fn is_ok(head: &str) -> bool {
    head.split(' ').nth(1) == Some("200")
}

/// A header's value, of a head in lower case.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}
