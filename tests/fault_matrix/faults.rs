//! THE table: each row is one fault, tried on all endpoints. A new fault is a new row.

use std::io::Write as _;
use std::net::SocketAddr;

use flate2::Compression;
use flate2::write::GzEncoder;
use goldrush_exporter::simulator::Endpoint;

use crate::raw_api::{Play, Question};

/// `api.max_response_bytes` in the exporter's configuration: larger bodies are too large.
pub const MAX_RESPONSE_BYTES: usize = 256 * 1024;

/// Texts that must never appear in the exporter's output. They are in every private field of the responses, and in the
/// faults' texts.
pub const CANARIES: [&str; 4] = ["canary-secret", "canary@private.example", "canary.private.example", "Canary Person"];

/// The expected effect of a fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Expected {
    /// Counted with this reason; the reading becomes stale; nothing else is affected.
    Failure(&'static str),
    /// The key is refused: only the account's list is requested until a response accepts the key.
    KeyRefused,
    /// Counted with this reason, and the account sends no request until the pause is over.
    Pause(&'static str),
    /// Like `Pause`, but longer than any test.
    LongPause(&'static str),
    /// For a probe, a reading without samples; for the list, a failure.
    Nothing,
    /// Not a fault: a reading, whose number (see `number`) has this value, if it is shown.
    Reading(Option<f64>),
}

use Expected::{Failure, KeyRefused, LongPause, Nothing, Pause, Reading};

const LIMITED: Expected = Pause("rate_limited");
const BUSY: Expected = Pause("server_error");
const FOREIGN: Expected = Failure("foreign_response");

pub struct Fault {
    pub name: &'static str,
    pub expected: Expected,
    pub play: fn(&Scene) -> Play,
}

/// Where a fault is tried.
pub struct Scene {
    pub question: Question,
    /// No request may ever arrive here.
    pub elsewhere: SocketAddr,
}

const fn row(name: &'static str, expected: Expected, play: fn(&Scene) -> Play) -> Fault {
    Fault { name, expected, play }
}

pub const FAULTS: &[Fault] = &[
    // The connection.
    row("closed before the headers", Failure("disconnected"), |_| Play::Close(vec![])),
    row("reset before the headers", Failure("disconnected"), |_| Play::Reset(vec![])),
    row("reset within the headers", Failure("disconnected"), |_| Play::Reset(b"HTTP/1.1 200 OK\r\nContent-Le".into())),
    row("reset after the headers", Failure("disconnected"), |_| Play::Reset(head(200, &["Content-Length: 100"]))),
    row("black hole", Failure("timeout"), |_| Play::Hang(vec![])),
    row("black hole after the headers", Failure("timeout"), |_| Play::Hang(head(200, &["Content-Length: 100"]))),
    row("slow drip of headers", Failure("timeout"), |_| Play::Drip(b"HTTP/1.1 200 OK\r\nX: ".into(), b"x".into())),
    row("slow drip of a body", Failure("timeout"), |_| Play::Drip(head(200, &["Content-Length: 99999"]), b" ".into())),
    row("truncated body", Failure("disconnected"), |scene| {
        let body = well(&scene.question);
        Play::Close([head(200, &[&length(&body)]), body.as_bytes()[..body.len() / 2].into()].concat())
    }),
    row("Content-Length too large", Failure("disconnected"), |scene| {
        Play::Close([head(200, &["Content-Length: 100000"]), well(&scene.question).into()].concat())
    }),
    row("Content-Length too small", Failure("decode"), |scene| {
        Play::Close([head(200, &["Content-Length: 9"]), well(&scene.question).into()].concat())
    }),
    row("Content-Length that is none", Failure("decode"), |scene| {
        Play::Close([head(200, &["Content-Length: some"]), well(&scene.question).into()].concat())
    }),
    row("two Content-Lengths", Failure("decode"), |scene| {
        Play::Close([head(200, &["Content-Length: 9", "Content-Length: 10"]), well(&scene.question).into()].concat())
    }),
    row("endless body", Failure("too_large"), |_| Play::Endless(head(200, &[]), vec![b' '; 4096])),
    row("endless chunked body", Failure("too_large"), |_| {
        Play::Endless(head(200, &["Transfer-Encoding: chunked"]), [b"1000\r\n", &*vec![b' '; 4096], b"\r\n"].concat())
    }),
    row("broken chunks", Failure("disconnected"), |_| {
        Play::Close([head(200, &["Transfer-Encoding: chunked"]), b"canary-secret\r\n".into()].concat())
    }),
    row("endless headers", Failure("decode"), |_| {
        Play::Endless(b"HTTP/1.1 200 OK\r\n".into(), b"X-Canary: canary-secret\r\n".repeat(100))
    }),
    row("no HTTP at all", Failure("decode"), |_| Play::Close(b"SSH-2.0-canary-secret\r\n\r\n".into())),
    // The encoding.
    row("gzip", Reading(Some(7.0)), |scene| gzipped(&gzip(well(&scene.question).as_bytes()))),
    row("gzip bomb", Failure("too_large"), |_| gzipped(&gzip(&vec![b' '; 64 * 1024 * 1024]))),
    row("invalid gzip", Failure("decode"), |_| gzipped(b"canary-secret")),
    row("truncated gzip", Failure("decode"), |scene| {
        let packed = gzip(well(&scene.question).as_bytes());
        gzipped(&packed[..packed.len() / 2])
    }),
    // The text.
    row("HTML 200", FOREIGN, |_| body("<!doctype html><p>canary-secret Sign in</p>")),
    row("empty 200", Failure("decode"), |_| body("")),
    row("JSON that ends too early", Failure("decode"), |scene| {
        body(&well(&scene.question)[..well(&scene.question).len() - 9])
    }),
    row("JSON and more", Failure("decode"), |scene| body(&format!("{} canary-secret", well(&scene.question)))),
    row("a secret before what is no JSON", Failure("decode"), |_| body(r#"{"data":{"canary-secret":n}}"#)),
    row("text 200", FOREIGN, |_| body("canary-secret: all is well")),
    row("a JSON text 200", FOREIGN, |_| body(r#""canary-secret""#)),
    row("other JSON 200", Failure("decode"), |_| body(r#"{"message":"canary-secret"}"#)),
    row("invalid UTF-8 where nobody looks", Reading(Some(7.0)), |scene| {
        raw(&well(&scene.question), "canary-secret", b"canary-secret\xff")
    }),
    row("invalid UTF-8 in a text", Reading(Some(7.0)), |scene| raw(&described(scene), "TEXT", b"caf\xe9")),
    row("half an emoji", Reading(Some(7.0)), |scene| raw(&described(scene), "TEXT", br"x \ud83d")),
    row("half an emoji where nobody looks", Reading(Some(7.0)), |scene| {
        raw(&well(&scene.question), "canary-secret", br"canary-secret \ud83d")
    }),
    row("line separators", Reading(Some(7.0)), |scene| {
        raw(&described(scene), "TEXT", "a\\r\\nb\\u2028c\u{2028}d\u{85}e\\u000bf".as_bytes())
    }),
    row("control characters", Reading(Some(7.0)), |scene| raw(&described(scene), "TEXT", b"a\x01\x1b\tb\r\nc\0")),
    row("escapes that do not exist", Reading(Some(7.0)), |scene| raw(&described(scene), "TEXT", br"\x41 \u12 \q")),
    row("a byte order mark", Reading(Some(7.0)), |scene| body(&format!("\u{FEFF}{}", well(&scene.question)))),
    row("a field that repeats", Reading(Some(7.0)), |scene| {
        body(&well(&scene.question).replace("\"uid\"", "\"uid\":null,\"uid\":[],\"uid\""))
    }),
    row("fields of other types", Reading(Some(7.0)), |scene| body(&of_other_types(scene))),
    row("Go's zero time", Reading(Some(7.0)), |scene| body(&times(scene, "0001-01-01T00:00:00Z"))),
    row("the Unix epoch", Reading(Some(7.0)), |scene| body(&times(scene, "1970-01-01T00:00:00Z"))),
    row("a time that is empty", Reading(Some(7.0)), |scene| body(&times(scene, ""))),
    row("a time that is none", Reading(Some(7.0)), |scene| body(&times(scene, "canary-secret"))),
    row("a time beyond all clocks", Reading(Some(7.0)), |scene| body(&times(scene, "9999-12-31T23:59:59Z"))),
    row("deep nesting", Failure("decode"), |_| {
        body(&format!(r#"{{"data":{}{},"error":false}}"#, "[".repeat(50_000), "]".repeat(50_000)))
    }),
    row("deep nesting where nobody looks", Reading(Some(7.0)), |scene| {
        let deep = format!("\"new\":{}{},", "[".repeat(50_000), "]".repeat(50_000));
        body(&well(&scene.question).replace("\"uid\"", &format!("{deep}\"uid\"")))
    }),
    row("10 MB names", Failure("too_large"), |scene| {
        body(&well(&scene.question).replacen("canary-secret", &"x".repeat(10_000_000), 1))
    }),
    row("100 kB texts where nobody looks", Reading(Some(7.0)), |scene| {
        body(&well(&scene.question).replacen("canary-secret", &"x".repeat(100_000), 1))
    }),
    row("another type", Failure("decode"), |_| body(r#"{"data":["canary-secret"],"error":false}"#)),
    row("no data", Failure("decode"), |_| body(r#"{"error":false}"#)),
    row("error: true", Failure("api_error"), |_| refusal(r#""E_CANARY""#)),
    row("error: true with a number", Failure("api_error"), |_| refusal("500")),
    // The numbers.
    row("NaN", Reading(None), |scene| number(scene, "NaN")),
    row("Infinity", Reading(None), |scene| number(scene, "-Infinity")),
    row("1e400", Reading(None), |scene| number(scene, "1e400")),
    row("true", Reading(None), |scene| number(scene, "true")),
    row("an object", Reading(None), |scene| number(scene, r#"{"canary-secret":[7]}"#)),
    row("another text", Reading(None), |scene| number(scene, "\"canary-secret\"")),
    row("number as a string", Reading(Some(7.0)), |scene| number(scene, "\"7\"")),
    row("negative number", Reading(Some(-7.0)), |scene| number(scene, "-7")),
    row("2^63", Reading(Some(9_223_372_036_854_775_808.0)), |scene| number(scene, "9223372036854775808")),
    row("2^64", Reading(Some(18_446_744_073_709_551_616.0)), |scene| number(scene, "18446744073709551616")),
    row("null", Reading(None), |scene| number(scene, "null")),
    row("null data", Nothing, |_| body(r#"{"data":null,"error":false}"#)),
    row("nulls everywhere", Nothing, |_| {
        let fields = "uid items pagination status replicas ready start_time records_consumed last_offset \
            last_block_height pending_records processing_delay_ms records_per_second normalization_errors healthy \
            last_checked_at latency_ms last_error";
        let fields: Vec<String> = fields.split_whitespace().map(|field| format!("\"{field}\":null")).collect();
        body(&format!(r#"{{"data":{{{}}},"error":null,"error_message":null,"error_code":null}}"#, fields.join(",")))
    }),
    // The status.
    row("103 before the answer", Reading(Some(7.0)), |scene| {
        let Play::Close(answer) = body(&well(&scene.question)) else { unreachable!() };
        Play::Close([b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".into(), answer].concat())
    }),
    row("204", Failure("unexpected_status"), |_| Play::Close(head(204, &[]))),
    row("206", Failure("unexpected_status"), |scene| with_status(206, &well(&scene.question))),
    row("301 to another host", Failure("redirect"), |scene| moved(301, scene)),
    row("302 to another host", Failure("redirect"), |scene| moved(302, scene)),
    row("307 to another host", Failure("redirect"), |scene| moved(307, scene)),
    row("302 with HTML", Failure("redirect"), |_| with_status(302, "<html>canary-secret</html>")),
    row("400", Failure("unexpected_status"), |_| status(400)),
    row("400 without a body", Failure("unexpected_status"), |_| with_status(400, "")),
    row("400 with HTML", FOREIGN, |_| html(400)),
    row("401", KeyRefused, |_| status(401)),
    row("401 without a body", KeyRefused, |_| with_status(401, "")),
    row("401 without data", KeyRefused, |_| with_status(401, r#"{"error":true,"error_message":"canary-secret"}"#)),
    row("401 inside a 200", KeyRefused, |_| refusal("401")),
    row("401 inside a 200, as a text", KeyRefused, |_| refusal(r#""401""#)),
    row("401 inside a 400", KeyRefused, |_| with_status(400, &refused("401"))),
    row("401 inside a 500", KeyRefused, |_| with_status(500, &refused(r#""401""#))),
    row("401 with HTML", FOREIGN, |_| html(401)),
    row("401 with a text", FOREIGN, |_| with_status(401, "canary-secret: unauthorized")),
    row("401 with other JSON", FOREIGN, |_| with_status(401, r#"{"message":"canary-secret"}"#)),
    row("402", Failure("payment_required"), |_| status(402)),
    row("402 inside a 200", Failure("payment_required"), |_| refusal(r#""402""#)),
    row("402 with HTML", FOREIGN, |_| html(402)),
    row("403", Failure("forbidden"), |_| status(403)),
    row("403 inside a 200", Failure("forbidden"), |_| refusal("403")),
    row("403 with HTML", FOREIGN, |_| html(403)),
    row("403 with other JSON", FOREIGN, |_| with_status(403, r#"{"message":"Forbidden canary-secret"}"#)),
    row("403 with an error that is a text", FOREIGN, |_| with_status(403, r#"{"error":"canary-secret"}"#)),
    row("403 with a body that hangs", FOREIGN, |_| Play::Hang(head(403, &["Content-Length: 100"]))),
    row("404", Failure("not_found"), |_| status(404)),
    row("404 without a body", Failure("not_found"), |_| with_status(404, "")),
    row("404 inside a 200", Failure("not_found"), |_| refusal("404")),
    row("404 of an ingress", FOREIGN, |_| with_status(404, "default backend - 404 canary-secret")),
    row("404 with HTML", FOREIGN, |_| html(404)),
    row("408", Failure("unexpected_status"), |_| status(408)),
    row("410", Failure("unexpected_status"), |_| status(410)),
    row("410 with HTML", FOREIGN, |_| html(410)),
    row("418", Failure("unexpected_status"), |_| status(418)),
    row("422", Failure("unexpected_status"), |_| status(422)),
    row("429", LIMITED, |_| status(429)),
    row("429 for a second", LIMITED, |_| limited(429, "Retry-After: 1")),
    row("429 for no time", LIMITED, |_| limited(429, "Retry-After: 0")),
    row("429 until a date", LIMITED, |_| limited(429, "Retry-After: Thu, 01 Jan 2026 10:00:01 GMT")),
    row("429 until yesterday", LIMITED, |_| limited(429, "Retry-After: Thu, 01 Jan 1970 10:00:00 GMT")),
    row("429 for less than no time", LIMITED, |_| limited(429, "Retry-After: -5")),
    row("429 for a canary", LIMITED, |_| limited(429, "Retry-After: canary-secret")),
    row("429 for 10^20 seconds", LongPause("rate_limited"), |_| limited(429, "Retry-After: 100000000000000000000")),
    row("429 inside a 200 for 10^20 seconds", LongPause("rate_limited"), |_| {
        let refusal = r#"{"data":null,"error":true,"error_message":"canary-secret","error_code":429}"#;
        let headers = [&*length(refusal), "Retry-After: 100000000000000000000"];
        Play::Close([head(200, &headers), refusal.into()].concat())
    }),
    row("429 with HTML", FOREIGN, |_| html(429)),
    row("500", Failure("server_error"), |_| status(500)),
    row("502", Failure("server_error"), |_| with_status(502, "<html>canary-secret Bad Gateway</html>")),
    row("503", Failure("server_error"), |_| status(503)),
    row("503 for a second", BUSY, |_| limited(503, "Retry-After: 1")),
    row("503 until a date", BUSY, |_| limited(503, "Retry-After: Thu, 01 Jan 2026 10:00:01 GMT")),
    row("503 for 10^20 seconds", LongPause("server_error"), |_| limited(503, "Retry-After: 100000000000000000000")),
    row("503 for a canary", Failure("server_error"), |_| limited(503, "Retry-After: canary-secret")),
    row("504", Failure("server_error"), |_| status(504)),
    row("599", Failure("server_error"), |_| status(599)),
    row("500 with an endless body", Failure("server_error"), |_| Play::Endless(head(500, &[]), vec![b' '; 4096])),
    row("500 with a body that hangs", Failure("server_error"), |_| Play::Hang(head(500, &["Content-Length: 100"]))),
];

/// The API's normal response. Its number is 7; all private values are canaries.
pub fn well(question: &Question) -> String {
    let private = r#""uid":"canary-secret""#;
    let data = match question.endpoint {
        Endpoint::List => {
            let item = |id: &str| {
                format!(
                    r#"{{{private},"id":"{id}","name":"name of {id}","project":"project","status":"running",
                    "description":"canary.private.example","topic":"base.mainnet.ref.block.logs",
                    "destination_type":"postgres","destination_config":{{"url":"postgres://canary.private.example",
                    "user":"Canary Person","password":"canary-secret"}},"transforms":{{"a":"SELECT canary-secret"}},
                    "abi_file":{{"canary-secret":1}},"abi_contract_addresses":["canary-secret"],
                    "abi_unmatched":"canary-secret","execution_mode":"unbounded","created_by":
                    {{"id":"canary-secret","email":"canary@private.example","display_name":"Canary Person"}},
                    "group":{{"id":"group","name":"group","slug":"group","is_paid":true}}}}"#
                )
            };
            let pagination = r#"{"has_more":false,"page_number":1,"page_size":100,"total_count":2}"#;
            format!(r#"{{"items":[{},{}],"pagination":{pagination}}}"#, item("victim"), item("bystander"))
        }
        Endpoint::Status => format!(r#"{{{private},"status":"RUNNING","replicas":7,"ready":1,"start_time":null}}"#),
        Endpoint::Metrics => format!(r#"{{{private},"records_consumed":7,"last_offset":1}}"#),
        Endpoint::DestinationHealth => format!(
            r#"{{{private},"healthy":true,"last_checked_at":null,"latency_ms":7,
            "last_error":"postgres://Canary Person:canary-secret@canary.private.example"}}"#
        ),
        Endpoint::Usage => format!(
            r#"{{{private},"aggregate":{{"credits_consumed":7,"max_credits":1000,"plan":null,"flex_credits":{{}}}},
            "by_day":[],"by_api_key":[{{"apikey":"canary-secret","credits":1}}]}}"#
        ),
    };
    format!(r#"{{"data":{data},"error":false,"error_message":null,"error_code":null}}"#)
}

/// A well-formed response with another number.
fn number(scene: &Scene, literal: &str) -> Play {
    let well = well(&scene.question);
    body(
        &well
            .replace("\"total_count\":2", &format!("\"total_count\":{literal}"))
            .replace(":7,", &format!(":{literal},")),
    )
}

fn head(status: u16, headers: &[&str]) -> Vec<u8> {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let always = "Connection: close\r\nX-Canary: canary-secret\r\n";
    format!("HTTP/1.1 {status} canary-secret\r\n{always}{headers}\r\n").into()
}

fn length(body: &str) -> String {
    format!("Content-Length: {}", body.len())
}

fn with_status(status: u16, body: &str) -> Play {
    Play::Close([head(status, &[&length(body)]), body.into()].concat())
}

fn body(text: &str) -> Play {
    with_status(200, text)
}

fn status(status: u16) -> Play {
    with_status(status, r#"{"data":null,"error":true,"error_message":"canary-secret","error_code":"canary-secret"}"#)
}

fn refused(code: &str) -> String {
    format!(
        r#"{{"data":"canary-secret","error":true,"error_message":"Canary Person at canary.private.example","error_code":{code}}}"#
    )
}

fn refusal(code: &str) -> Play {
    body(&refused(code))
}

/// The response of a firewall or a portal.
fn html(status: u16) -> Play {
    let page = "<html>Attention Required! canary-secret</html>";
    let headers =
        ["Content-Type: text/html", "Server: canary-secret", "Via: 1.1 canary.private.example", &length(page)];
    Play::Close([head(status, &headers), page.into()].concat())
}

/// A response with these bytes instead of a text.
fn raw(body: &str, text: &str, bytes: &[u8]) -> Play {
    let parts: Vec<&[u8]> = body.split(text).map(str::as_bytes).collect();
    let body = parts.join(bytes);
    Play::Close([head(200, &[&format!("Content-Length: {}", body.len())]), body].concat())
}

/// A well-formed response with `TEXT` in values that are read, but that no label in the tests depends on.
fn described(scene: &Scene) -> String {
    well(&scene.question)
        .replace("base.mainnet.ref.block.logs", "TEXT")
        .replace("\"start_time\":null", "\"start_time\":\"TEXT\"")
        .replace("\"last_offset\":1", "\"last_offset\":\"TEXT\"")
        .replace("\"last_error\":\"", "\"last_error\":\"TEXT ")
        .replace("\"plan\":null", "\"plan\":\"TEXT\"")
}

/// A well-formed response with other types, except where labels in the tests depend on them.
fn of_other_types(scene: &Scene) -> String {
    let mut body = well(&scene.question);
    for (field, value) in [
        ("\"topic\":\"base.mainnet.ref.block.logs\"", "\"topic\":7"),
        ("\"destination_type\":\"postgres\"", "\"destination_type\":{}"),
        ("\"execution_mode\":\"unbounded\"", "\"execution_mode\":[[]]"),
        ("\"is_paid\":true", "\"is_paid\":\"canary-secret\""),
        ("\"has_more\":false", "\"has_more\":\"false\""),
        ("\"start_time\":null", "\"start_time\":7"),
        ("\"ready\":1", "\"ready\":[1]"),
        ("\"last_offset\":1", "\"last_offset\":true"),
        ("\"last_checked_at\":null", "\"last_checked_at\":{}"),
        ("\"flex_credits\":{}", "\"flex_credits\":true"),
        ("\"plan\":null", "\"plan\":[\"canary-secret\"]"),
    ] {
        body = body.replace(field, value);
    }
    body
}

fn times(scene: &Scene, time: &str) -> String {
    let created = format!("\"project\":\"project\",\"created_at\":\"{time}\",\"updated_at\":\"{time}\"");
    well(&scene.question)
        .replace("\"project\":\"project\"", &created)
        .replace("\"start_time\":null", &format!("\"start_time\":\"{time}\""))
        .replace("\"last_checked_at\":null", &format!("\"last_checked_at\":\"{time}\""))
}

fn limited(status: u16, retry_after: &str) -> Play {
    Play::Close(head(status, &["Content-Length: 0", "Date: Thu, 01 Jan 2026 10:00:00 GMT", retry_after]))
}

fn moved(status: u16, scene: &Scene) -> Play {
    Play::Close(head(status, &["Content-Length: 0", &format!("Location: http://{}/canary-secret", scene.elsewhere)]))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gzipped(packed: &[u8]) -> Play {
    Play::Close(
        [head(200, &["Content-Encoding: gzip", &format!("Content-Length: {}", packed.len())]), packed.into()].concat(),
    )
}
