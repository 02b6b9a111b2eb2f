//! The fault matrix: every fault on every endpoint. The process survives; the right reason is counted, once per
//! request; other probes, pipelines and accounts are not affected; the old reading is withdrawn on time; the next turn
//! recovers; nothing private is shown. `faults.rs` has the faults of a response, `LINES` those of a whole connection.

mod cause;
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod judge;
mod raw_api;
mod trust;

use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::{Ended, Exporter, Exposition, OPERATION, PATIENCE, environment, request, run};
use faults::{CANARIES, Expected, FAULTS, Fault, MAX_RESPONSE_BYTES, Scene, well};
use goldrush_exporter::api::{self, BaseUrl, Client, ConnectionLimits, PipelineId, Probe, Reason, Request, Settings};
use goldrush_exporter::service_key::ServiceKey;
use goldrush_exporter::simulator::Endpoint;
use judge::{ABOUT_PIPELINES, Judge, PIPELINES, Scrape, question};
use raw_api::{BASE, Line, Question, RawApi};
use rcgen::{CertificateParams, KeyPair};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

const STALE_AFTER: Duration = Duration::from_secs(8);
/// Only tests that wait for it have a short timeout: a busy machine needs time to respond.
const SHORT: &str = "2s";
const LONG: &str = "20s";

const SETTINGS: &[(&str, &str)] = &[
    ("GOLDRUSH_EXPORTER__POLL__DISCOVERY", "2s"),
    ("GOLDRUSH_EXPORTER__POLL__STATUS", "2s"),
    ("GOLDRUSH_EXPORTER__POLL__METRICS", "2s"),
    ("GOLDRUSH_EXPORTER__POLL__DESTINATION_HEALTH", "2s"),
    ("GOLDRUSH_EXPORTER__POLL__STALE_AFTER", "8s"),
    ("GOLDRUSH_EXPORTER__POLL__REQUESTS_PER_SECOND", "1000"),
    // For the name that is never looked up.
    ("GOLDRUSH_EXPORTER__API__ALLOW_HTTP", "true"),
];

/// Only if it matters: it costs one more request per account.
const USAGE: &[(&str, &str)] = &[("GOLDRUSH_EXPORTER__POLL__USAGE", "2s")];

/// Two matrices at a time, however many threads the harness has: each has over a hundred accounts, which need the
/// processors within their timeouts.
fn turn() -> Turn {
    let waiting = FREE_TURNS.0.lock().unwrap_or_else(PoisonError::into_inner);
    let mut free = FREE_TURNS.1.wait_while(waiting, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
    *free -= 1;
    Turn
}

static FREE_TURNS: (Mutex<u32>, Condvar) = (Mutex::new(2), Condvar::new());

struct Turn;

impl Drop for Turn {
    fn drop(&mut self) {
        *FREE_TURNS.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        FREE_TURNS.1.notify_one();
    }
}

fn key(account: &str) -> String {
    format!("sk_canary-secret_{account}")
}

/// The settings to poll this API with these accounts.
fn settings(base_url: &str, accounts: &[String], timeout: &str, certificate: Option<&str>) -> Vec<(String, String)> {
    let mut all = environment(SETTINGS);
    let mut set = |name: String, value: String| all.push((name, value));
    set("GOLDRUSH_EXPORTER__API__BASE_URL".into(), base_url.into());
    set("GOLDRUSH_EXPORTER__API__TIMEOUT".into(), timeout.into());
    set("GOLDRUSH_EXPORTER__API__MAX_RESPONSE_BYTES".into(), MAX_RESPONSE_BYTES.to_string());
    for (index, account) in accounts.iter().enumerate() {
        set(format!("GOLDRUSH_EXPORTER__ACCOUNTS__{index}__NAME"), account.clone());
        set(format!("GOLDRUSH_EXPORTER__ACCOUNTS__{index}__SERVICE_KEY_ENV"), format!("KEY_{index}"));
        set(format!("KEY_{index}"), key(account));
    }
    // Nothing listens there: requests through a proxy would fail.
    for variable in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        set(variable.into(), "http://127.0.0.1:9".into());
    }
    if let Some(file) = certificate {
        set("SSL_CERT_FILE".into(), file.into());
    }
    all
}

const TALKATIVE: &[&str] = &["--log.level", "trace"];

/// An exporter with the most verbose logs.
fn exporter(base_url: &str, accounts: &[String], timeout: &str, certificate: Option<&str>) -> Exporter {
    Exporter::start(TALKATIVE, &settings(base_url, accounts, timeout, certificate))
}

/// Scrapes repeatedly until `holds` returns nothing; `look` gets every scrape.
#[track_caller]
fn until(exporter: &Exporter, what: &str, look: impl FnMut(&Scrape), holds: impl Fn(&Scrape) -> Vec<String>) {
    within(PATIENCE, exporter, what, look, holds);
}

#[track_caller]
fn within(
    patience: Duration,
    exporter: &Exporter,
    what: &str,
    mut look: impl FnMut(&Scrape),
    holds: impl Fn(&Scrape) -> Vec<String>,
) {
    let deadline = Instant::now() + patience;
    loop {
        let scrape = Scrape::of(exporter);
        look(&scrape);
        let missing = holds(&scrape);
        if missing.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: not seen of {missing:#?}");
        // Reading a scrape of a hundred accounts takes a third of a second of the processor, which they all need.
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Checks everything that an exporter shows to the outside.
#[track_caller]
fn nothing_private(exporter: &Exporter) {
    let openmetrics = [("Accept", "application/openmetrics-text; version=1.0.0")];
    let shown = [
        exporter.get("/").text(),
        exporter.get("/api/v1/pipelines").text(),
        exporter.get("/metrics").text(),
        request(&exporter.address, "GET", "/metrics", &openmetrics).text(),
        exporter.get("/-/ready").text(),
        exporter.stdout.text(),
        exporter.stderr.text(),
    ];
    no_canary(&shown);
}

#[track_caller]
fn no_canary(shown: &[String]) {
    for canary in CANARIES {
        let line = shown.iter().flat_map(|text| text.lines()).find(|line| line.contains(canary));
        assert_eq!(line, None, "`{canary}`");
    }
}

/// One fault on one endpoint, with its own account.
struct Cell {
    account: String,
    fault: &'static Fault,
    endpoint: Endpoint,
}

impl Cell {
    /// The request that meets the fault.
    fn question(&self) -> Question {
        question(&key(&self.account), self.endpoint)
    }

    /// The expected effect on this endpoint.
    fn expected(&self) -> Expected {
        match self.fault.expected {
            Expected::Nothing if matches!(self.endpoint, Endpoint::List | Endpoint::Usage) => {
                Expected::Failure("decode")
            }
            // A 401 there says nothing about the key, and an outage of the usage delays nothing else.
            Expected::KeyRefused if self.endpoint == Endpoint::Usage => Expected::Failure("unauthorized"),
            Expected::Pause("server_error") if self.endpoint == Endpoint::Usage => Expected::Failure("server_error"),
            // Credits are never negative.
            Expected::Reading(Some(..0.0)) if self.endpoint == Endpoint::Usage => Expected::Reading(None),
            Expected::Nothing => Expected::Reading(None),
            expected => expected,
        }
    }

    fn reason(&self) -> Option<&'static str> {
        match self.expected() {
            Expected::Failure(reason) => Some(reason),
            Expected::KeyRefused => Some("unauthorized"),
            Expected::Pause(reason) | Expected::LongPause(reason) => Some(reason),
            Expected::Nothing | Expected::Reading(_) => None,
        }
    }

    /// Whether the fault only affects its own probe.
    fn is_confined(&self) -> bool {
        matches!(self.expected(), Expected::Failure(_) | Expected::Reading(_))
    }

    /// Which readings may be withdrawn before they are stale.
    fn is_lax(&self, pipeline: &str, endpoint: Endpoint) -> bool {
        match self.expected() {
            Expected::Reading(None) => pipeline == PIPELINES[0] && endpoint == self.endpoint,
            _ => false,
        }
    }

    /// Whether all effects of the fault have been seen.
    fn has_struck(&self, scrape: &Scrape, api: &RawApi) -> bool {
        let account = &self.account;
        let count = |least| self.reason().is_none_or(|reason| scrape.failures(account, self.endpoint, reason) >= least);
        let success = scrape.success(account, PIPELINES[0], self.endpoint);
        let reading = scrape.reading(account, PIPELINES[0], self.endpoint);
        let all_gone = || {
            PIPELINES.iter().all(|pipeline| {
                ABOUT_PIPELINES.iter().all(|endpoint| scrape.reading(account, pipeline, *endpoint).is_none())
            })
        };
        match self.expected() {
            Expected::Failure(_) => count(1.0) && success == Some(false) && reading.is_none(),
            Expected::Pause(_) => count(1.0) && success != Some(true) && reading.is_none(),
            // If the list still gets a response, the key is accepted again each time.
            Expected::KeyRefused if self.endpoint != Endpoint::List => count(2.0) && reading.is_none(),
            Expected::KeyRefused => {
                count(1.0) && scrape.of_account("goldrush_auth_unauthorized", account) == Some(1.0) && all_gone()
            }
            Expected::LongPause(_) => {
                let until = scrape.of_account("goldrush_poll_paused_until_timestamp_seconds", account);
                count(1.0) && until > Some(0.0) && all_gone()
            }
            Expected::Nothing => false,
            Expected::Reading(expected) => {
                let expected = match self.endpoint {
                    // Its number is the count of pipelines, which is not a sample.
                    Endpoint::List => Some(1.0),
                    Endpoint::DestinationHealth => expected.map(|number| number / 1000.0),
                    _ => expected,
                };
                let faulted = api.count(&self.question()).faulted;
                faulted >= 2 && success == Some(true) && reading == expected
            }
        }
    }

    /// Collects violations of what must hold at every moment of the fault.
    fn check(&self, scrape: &Scrape, wrong: &mut Vec<String>) {
        let account = &self.account;
        let name = format!("{} on {}", self.fault.name, self.endpoint);
        if !self.is_confined() {
            return;
        }
        for pipeline in PIPELINES {
            for endpoint in ABOUT_PIPELINES.iter().copied() {
                let own = endpoint == self.endpoint && (pipeline == PIPELINES[0] || endpoint == Endpoint::List);
                if !own && scrape.success(account, pipeline, endpoint) != Some(true) {
                    wrong.push(format!("{name}: {endpoint} of {pipeline} has failed"));
                }
            }
        }
        let is = |flag: &str| scrape.of_account(flag, account) == Some(1.0);
        let forbidden = self.expected() == Expected::Failure("forbidden") && self.endpoint == Endpoint::List;
        if is("goldrush_auth_unauthorized") || (is("goldrush_auth_forbidden") && !forbidden) {
            wrong.push(format!("{name} is blamed on the key"));
        }
    }
}

/// Tries these faults on these endpoints, all concurrently.
fn matrix(endpoints: &[Endpoint], timeout: &str, tried: fn(&Fault) -> bool) {
    let _turn = turn();
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let api = RawApi::start(&Line::Served(None), well);
    let rows = endpoints.iter().flat_map(|endpoint| FAULTS.iter().map(|fault| (*endpoint, fault)));
    let rows = rows.filter(|(_, fault)| tried(fault)).enumerate();
    let cells: Vec<Cell> =
        rows.map(|(index, (endpoint, fault))| Cell { account: format!("a{index}"), fault, endpoint }).collect();
    let accounts: Vec<String> = cells.iter().map(|cell| cell.account.clone()).collect();
    let mut settings = settings(&format!("http://{}{BASE}", api.address()), &accounts, timeout, None);
    if endpoints.contains(&Endpoint::Usage) {
        settings.extend(environment(USAGE));
    }
    let mut exporter = Exporter::start(TALKATIVE, &settings);
    let mut judge = Judge::new(STALE_AFTER);
    let name = |cell: &Cell| format!("{}: {} on {}", cell.account, cell.fault.name, cell.endpoint);

    let ill =
        |scrape: &Scrape| cells.iter().filter(|cell| !scrape.is_well(&cell.account)).map(name).collect::<Vec<_>>();
    until(&exporter, "all is well", |scrape| judge.look(scrape, &accounts, |_, _, _| false), ill);
    let before = Scrape::of(&exporter);
    assert_eq!(before.all_failures().len(), 0, "{:?}", before.all_failures());

    for cell in &cells {
        let scene = Scene { question: cell.question(), elsewhere: elsewhere.local_addr().unwrap() };
        api.set_fault(&scene.question, Some((cell.fault.play)(&scene)));
    }
    let lax = |account: &str, pipeline: &str, endpoint: Endpoint| {
        cells[account[1..].parse::<usize>().unwrap()].is_lax(pipeline, endpoint)
    };
    let check = |scrape: &Scrape| {
        let failures = scrape.all_failures();
        let mut wrong = Vec::new();
        for cell in &cells {
            cell.check(scrape, &mut wrong);
            let expected =
                cell.reason().map(|reason| format!("{OPERATION}=\"{}\",reason=\"{reason}\"}}", cell.endpoint));
            let counted = failures.get(cell.account.as_str()).into_iter().flatten().map(|(labels, _)| *labels);
            wrong.extend(
                counted
                    .filter(|labels| Some(*labels) != expected.as_deref())
                    .map(|labels| format!("{} on {} is counted as {labels}", cell.fault.name, cell.endpoint)),
            );
        }
        assert_eq!(wrong, Vec::<String>::new());
    };
    let look = |scrape: &Scrape| {
        judge.look(scrape, &accounts, lax);
        check(scrape);
    };
    until(&exporter, "every fault strikes", look, |scrape| {
        cells.iter().filter(|cell| !cell.has_struck(scrape, &api)).map(name).collect()
    });
    let during = Scrape::of(&exporter);
    for cell in cells.iter().filter(|cell| cell.is_confined()) {
        for endpoint in ABOUT_PIPELINES.iter().copied() {
            let last = |scrape: &Scrape| scrape.last_success(&cell.account, PIPELINES[1], endpoint);
            let own = endpoint == Endpoint::List && cell.endpoint == endpoint && cell.reason().is_some();
            assert!(own || last(&during) > last(&before), "{}: {endpoint} of the bystander goes on", cell.fault.name);
        }
    }

    cause::is_on_the_page(&exporter, &cells);

    for cell in &cells {
        api.set_fault(&cell.question(), None);
    }
    let recovering: Vec<&Cell> =
        cells.iter().filter(|cell| !matches!(cell.expected(), Expected::LongPause(_))).collect();
    let asked = |cell: &Cell| api.count(&cell.question()).asked;
    let asked_before: Vec<u64> = recovering.iter().map(|cell| asked(cell)).collect();
    let mut had_its_turn = vec![false; recovering.len()];
    let look = |scrape: &Scrape| {
        judge.look(scrape, &accounts, lax);
        for ((cell, before), had_its_turn) in recovering.iter().zip(&asked_before).zip(&mut had_its_turn) {
            let last = |scrape: &Scrape| scrape.last_success(&cell.account, PIPELINES[0], cell.endpoint);
            assert!(!*had_its_turn || last(scrape) > last(&during), "{}: the next turn recovers", cell.fault.name);
            // A second request implies that the first response was processed.
            *had_its_turn = asked(cell) >= before + 2;
        }
    };
    // A list that has failed for long is requested once a minute.
    within(Duration::from_secs(60) + PATIENCE, &exporter, "all recover", look, |scrape| {
        recovering.iter().filter(|cell| !scrape.is_well(&cell.account)).map(|cell| name(cell)).collect()
    });
    let after = Scrape::of(&exporter);
    check_counts(&cells, &api, &after);
    check_log(&cells, &exporter.stderr.text());
    assert!(exporter.is_running());
    nothing_private(&exporter);
    elsewhere.set_nonblocking(true).unwrap();
    assert_eq!(elsewhere.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "a redirect was followed");
}

/// Each request that met a fault was counted exactly once, and a key that must not be used was not used.
fn check_counts(cells: &[Cell], api: &RawApi, after: &Scrape) {
    for cell in cells {
        let asked = api.count(&cell.question());
        let counted = cell.reason().map_or(0.0, |reason| after.failures(&cell.account, cell.endpoint, reason));
        let expected = if cell.reason().is_some() { asked.faulted } else { 0 };
        assert_eq!(counted, expected as f64, "{} on {}", cell.fault.name, cell.endpoint);
        if matches!(cell.expected(), Expected::LongPause(_)) {
            let until = after.of_account("goldrush_poll_paused_until_timestamp_seconds", &cell.account);
            assert!(until > Some(0.0) && asked.faulted == 1, "{} requests in a pause", asked.faulted);
        }
    }
}

/// Each failure was logged with its reason.
fn check_log(cells: &[Cell], log: &str) {
    for cell in cells {
        let Expected::Failure(reason) = cell.expected() else { continue };
        let (account, reason) = (format!("account={}", cell.account), format!("reason={reason}"));
        let said = log.lines().any(|line| {
            let has = |field: &str| line.split(' ').any(|word| word == field);
            let about = line.contains("level=warn") || line.contains("level=error");
            about && has(&account) && (has(&reason) || line.contains("returned 403"))
        });
        assert!(said, "{} on {} is not in\n{log}", cell.fault.name, cell.endpoint);
    }
}

/// The certificates of the TLS lines.
struct Certificates {
    authority: rcgen::CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = rcgen::CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        Self { authority }
    }

    /// A server with a certificate for `host`, signed by this authority.
    fn server(&self, host: &str, change: impl FnOnce(&mut CertificateParams), alpn: &[&str]) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec![host.to_owned()]).unwrap();
        change(&mut parameters);
        let certificate = parameters.signed_by(&key, &self.authority).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth();
        let mut config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    fn well(&self) -> Arc<ServerConfig> {
        self.server("127.0.0.1", |_| {}, &["http/1.1"])
    }

    fn speaking_h2(&self) -> Arc<ServerConfig> {
        self.server("127.0.0.1", |_| {}, &["h2"])
    }
}

/// HTTP/2: SETTINGS, and then GOAWAY with an error code of RFC 9113, section 7, and debug data.
fn goaway(error: u8) -> Vec<u8> {
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let debug_data = b"canary-secret";
    let length = 8 + debug_data.len() as u8;
    [&settings[..], &[0, 0, length, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, error], debug_data].concat()
}

/// Faults of whole connections, and so of all endpoints: name, reason, and what happens to a connection.
type LineRow = (&'static str, &'static str, fn(&Certificates) -> Line);

const LINES: &[LineRow] = &[
    ("connection refused", "connect", |_| Line::Refused),
    ("nobody accepts", "timeout", |_| Line::Unanswered),
    ("nobody shakes hands", "timeout", |_| Line::Mute),
    ("silence after the handshake", "timeout", |certificates| Line::TlsMute(certificates.well())),
    ("silence over HTTP/2", "timeout", |certificates| Line::TlsMute(certificates.speaking_h2())),
    ("reset within the handshake", "connect", |_| Line::Slammed),
    ("no TLS", "tls", |_| Line::Greeted(b"HTTP/1.1 400 canary-secret\r\n\r\n")),
    ("untrusted certificate", "tls", |_| Line::Served(Some(Certificates::new().well()))),
    ("certificate of another host", "tls", |certificates| {
        Line::Served(Some(certificates.server("canary.private.example", |_| {}, &[])))
    }),
    ("expired certificate", "tls", |certificates| {
        let expired = |parameters: &mut CertificateParams| parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
        Line::Served(Some(certificates.server("127.0.0.1", expired, &[])))
    }),
    ("GOAWAY without an error", "disconnected", |certificates| Line::TlsGreeted(certificates.speaking_h2(), goaway(0))),
    ("GOAWAY with an error", "disconnected", |certificates| Line::TlsGreeted(certificates.speaking_h2(), goaway(2))),
    ("closed after the handshake", "disconnected", |certificates| Line::TlsGreeted(certificates.well(), vec![])),
    ("no HTTP within TLS", "decode", |certificates| {
        Line::TlsGreeted(certificates.well(), b"canary-secret\r\n\r\n".into())
    }),
];

/// Tries one fault of the connection, on all endpoints concurrently.
fn line(name: &str, reason: &str, line: fn(&Certificates) -> Line) {
    let certificates = Certificates::new();
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("authority.pem");
    std::fs::write(&trusted, certificates.authority.pem()).unwrap();
    let well_line = Line::Served(Some(certificates.well()));
    let mut api = RawApi::start(&well_line, well);
    let account = "a0".to_owned();
    let accounts = [account.clone()];
    let timeout = if reason == "timeout" { SHORT } else { LONG };
    let mut exporter = exporter(&format!("https://{}{BASE}", api.address()), &accounts, timeout, trusted.to_str());
    let mut judge = Judge::new(STALE_AFTER);
    let well = |scrape: &Scrape| if scrape.is_well(&account) { vec![] } else { vec![name.to_owned()] };
    until(&exporter, "all is well", |scrape| judge.look(scrape, &accounts, |_, _, _| false), well);

    let before = api.set_line(&line(&certificates));
    let all = || PIPELINES.iter().flat_map(|pipeline| ABOUT_PIPELINES.iter().map(|endpoint| (*pipeline, *endpoint)));
    let look = |scrape: &Scrape| judge.look(scrape, &accounts, |_, _, _| false);
    until(&exporter, name, look, |scrape| {
        let struck = |(pipeline, endpoint): &(&str, Endpoint)| {
            scrape.failures(&account, *endpoint, reason) >= 1.0
                && scrape.success(&account, pipeline, *endpoint) == Some(false)
                && scrape.reading(&account, pipeline, *endpoint).is_none()
        };
        all()
            .filter(|cell| !struck(cell))
            .map(|cell| format!("{name} on {cell:?}, {:?}", scrape.all_failures()))
            .collect()
    });

    let during = Scrape::of(&exporter);
    let failures = during.all_failures().remove(account.as_str()).unwrap();
    // Requests in flight when the line changed fail once, for a reason that this test itself caused.
    let is_ours = |labels: &str| labels.ends_with(&format!("reason=\"{reason}\"}}"));
    let count =
        |ours: bool| failures.iter().filter(|(labels, _)| is_ours(labels) == ours).map(|(_, count)| count).sum();
    let (ours, others): (f64, f64) = (count(true), count(false));
    assert!(ours > others, "{name}: {failures:?}");
    cause::is_told_of_the_account(&exporter, name, &account, reason);

    // Connections that were opened for the recovery do not count.
    let connections = api.set_line(&well_line) - before;
    until(&exporter, "recovery", |scrape| judge.look(scrape, &accounts, |_, _, _| false), well);
    let counted: f64 = Scrape::of(&exporter).all_failures()[account.as_str()].iter().map(|(_, count)| count).sum();
    assert!(connections as f64 <= counted, "{name}: {connections} connections for {counted} failures");
    api.set_line(&line(&certificates));
    let base_url = format!("https://{}{BASE}", api.address());
    cause::is_said_by_check(name, reason, &settings(&base_url, &accounts, timeout, trusted.to_str()));
    assert!(exporter.is_running());
    nothing_private(&exporter);
}

#[test]
fn connections() {
    let _turn = turn();
    std::thread::scope(|scope| {
        let rows = LINES.iter().map(|(name, reason, play)| scope.spawn(|| line(name, reason, *play)));
        let rows: Vec<_> = rows.collect();
        for row in rows {
            row.join().unwrap();
        }
    });
}

/// A name that cannot be looked up, so no name server is queried: a label of a host name has at most 63 characters.
#[tokio::test]
async fn names() {
    let base_url = format!("http://{}.invalid{BASE}", "x".repeat(64));
    let exporter = exporter(&base_url, &["a0".to_owned()], LONG, None);
    until(
        &exporter,
        "the failed look-up",
        |_| {},
        |scrape| {
            let counted = scrape.all_failures().remove("a0").unwrap_or_default();
            let expected = format!("{OPERATION}=\"list\",reason=\"dns\"}}");
            let seen = counted.iter().any(|(labels, _)| *labels == expected);
            if seen { vec![] } else { vec![format!("{counted:?}")] }
        },
    );
    cause::is_told_of_the_account(&exporter, "a name without an address", "a0", "dns");
    cause::is_said_by_check("a name without an address", "dns", &settings(&base_url, &["a0".to_owned()], LONG, None));
    nothing_private(&exporter);
    // Without a list, the daemon sends no other requests, but its client can.
    let client = Client::new(Settings {
        base_url: BaseUrl::parse(&base_url, true).unwrap(),
        timeout: PATIENCE,
        max_response_bytes: 1024,
        max_connections: 1,
        connections: ConnectionLimits::default(),
    });
    let (client, key) = (client.unwrap(), ServiceKey::new(&key("a0")).unwrap());
    let id = PipelineId::new(PIPELINES[0]).unwrap();
    let probes = Probe::ALL.iter().map(|probe| Request::Probe(id.clone(), *probe));
    for request in [Request::Page(1)].into_iter().chain(probes) {
        let response = client.send(&key, request.clone()).await;
        assert_eq!(response.request(), request);
        assert_eq!(response.error().map(api::Error::reason), Some(Reason::Dns), "{request:?}");
    }
}

/// The commands that poll once also report every fault, and nothing else.
fn command(name: &str, endpoint: Endpoint, timeout: &str, status: i32, tried: fn(&Fault) -> bool) -> Ended {
    let _turn = turn();
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let api = RawApi::start(&Line::Served(None), well);
    let rows: Vec<&Fault> = FAULTS.iter().filter(|fault| tried(fault)).collect();
    let accounts: Vec<String> = (0..rows.len()).map(|index| format!("a{index}")).collect();
    for (account, fault) in accounts.iter().zip(rows) {
        let scene = Scene { question: question(&key(account), endpoint), elsewhere: elsewhere.local_addr().unwrap() };
        api.set_fault(&scene.question, Some((fault.play)(&scene)));
    }
    let settings = settings(&format!("http://{}{BASE}", api.address()), &accounts, timeout, None);
    let ended = run(&["--log.level", "trace", name], &settings);
    assert_eq!(ended.status, Some(status), "{}", ended.stderr);
    no_canary(&[ended.stdout.clone(), ended.stderr.clone()]);
    ended
}

#[test]
fn check() {
    let ended = command("check", Endpoint::List, SHORT, 3, |_| true);
    let lines: Vec<&str> = ended.stdout.lines().filter(|line| line.starts_with("account \"a")).collect();
    assert_eq!(lines.len(), FAULTS.len());
    for (index, (fault, line)) in FAULTS.iter().zip(lines).enumerate() {
        let cell = Cell { account: format!("a{index}"), fault, endpoint: Endpoint::List };
        assert!(line.starts_with(&format!("account \"{}\": ", cell.account)), "{line}");
        let is_told = cell.reason().map_or(line.contains("ok, "), |reason| cause::is_told(line, reason));
        assert!(is_told, "{}: {line}", fault.name);
    }
}

/// Without pauses, which it would wait for, and without keys that are refused for only one operation: there, the last
/// response decides whether the key counts as refused.
#[test]
fn once() {
    let tried =
        |fault: &Fault| !matches!(fault.expected, Expected::Pause(_) | Expected::LongPause(_) | Expected::KeyRefused);
    let ended = command("once", Endpoint::Metrics, "5s", 0, tried);
    let tried = FAULTS.iter().filter(|fault| tried(fault)).count();
    assert_eq!(Exposition(ended.stdout).values("goldrush_up", &[]), vec![1.0; tried]);
}

fn is_answered(fault: &Fault) -> bool {
    fault.expected != Expected::Failure("timeout")
}

#[test]
fn timeouts() {
    matrix(Endpoint::ALL, SHORT, |fault| !is_answered(fault));
}

#[test]
fn list() {
    matrix(&[Endpoint::List], LONG, is_answered);
}

#[test]
fn status() {
    matrix(&[Endpoint::Status], LONG, is_answered);
}

#[test]
fn metrics() {
    matrix(&[Endpoint::Metrics], LONG, is_answered);
}

/// The other tests cover what the client does with connections and bodies. A pause that never ends is tried for the
/// usage alone: there is no recovery to wait for.
#[test]
fn usage() {
    matrix(&[Endpoint::Usage], LONG, |fault| match fault.expected {
        Expected::Failure(reason) => {
            matches!(reason, "payment_required" | "forbidden" | "not_found" | "server_error" | "api_error")
        }
        Expected::LongPause(reason) => reason == "rate_limited",
        Expected::KeyRefused | Expected::Pause(_) | Expected::Nothing | Expected::Reading(_) => true,
    });
}

#[test]
fn destination_health() {
    matrix(&[Endpoint::DestinationHealth], LONG, is_answered);
}
