//! A fleet without an API: an account that got responses to everything, served like the exporter's.

use std::sync::Arc;
use std::time::Duration;

use goldrush_exporter::account::{Account, Next, Sent, Settings};
use goldrush_exporter::api::{Error, PipelineId, ProbeResponse, Request, Response};
use goldrush_exporter::config::{Config, Profile};
use goldrush_exporter::exposition::{Exposition, Selection};
use goldrush_exporter::fleet::{AccountHandle, Fleet};
use goldrush_exporter::http::{Access, Server};
use goldrush_exporter::moment::Moment;
use goldrush_exporter::routes::{self, App};
use tokio::runtime::Runtime;

use super::mix;

fn read<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
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

/// Nothing is truncated, and nothing is due while a benchmark runs: a fleet that waits for an overdue probe changes every
/// second.
const SETTINGS: [(&str, &str); 5] = [
    ("MAX_PIPELINES", "1000000"),
    ("POLL__STALE_AFTER", "3h"),
    ("POLL__STATUS", "2h"),
    ("POLL__METRICS", "2h"),
    ("POLL__DESTINATION_HEALTH", "2h"),
];

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
            Config::load(None, &SETTINGS.map(|(name, value)| (format!("GOLDRUSH_EXPORTER__{name}"), value.to_owned())))
                .unwrap();
        let mut account =
            Account::new(Settings::of(&config, &config.accounts[0]), now.wall(), fastrand::Rng::with_seed(1), now);
        let mut ids = Vec::new();
        let mut items = Vec::new();
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
        let page = serde_json::json!({"items": items, "pagination": {"has_more": false}});
        let Next::Send(Request::Page(1), sent) = account.next(now.monotonic()) else { panic!("a list comes first") };
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
        let sent = Sent { at: now.monotonic(), generation: 1 };
        self.account.change(|account| account.answered(sent, Response::Probe(id.clone(), response), now));
    }
}
