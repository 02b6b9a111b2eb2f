//! `demo`: the simulator and the daemon in one process, with a fleet that has troubles.

use std::io;

use tokio::net::TcpListener;

use super::serve::daemon_options;
use super::{Error, Status, listeners};
use crate::cli::Flags;
use crate::config::{Config, ConfigSource};
use crate::daemon;
use crate::http;
use crate::output::print;
use crate::service_key::KeySource;
use crate::simulator::{self, DEMO_KEY_PROD, DEMO_KEY_REVOKED, DEMO_KEY_STAGING, Scenario, Simulator};

/// The demo's accounts and keys. One key is revoked, to show what that looks like.
const ACCOUNTS: [(&str, &str); 3] =
    [("prod", DEMO_KEY_PROD), ("staging", DEMO_KEY_STAGING), ("legacy", DEMO_KEY_REVOKED)];

/// Faster than the defaults, so that something happens within seconds.
const SETTINGS: &[(&str, &str)] = &[
    ("POLL__DISCOVERY", "15s"),
    ("POLL__STATUS", "5s"),
    ("POLL__METRICS", "5s"),
    ("POLL__DESTINATION_HEALTH", "5s"),
    ("POLL__TRANSITIONAL", "2s"),
    ("POLL__USAGE", "15s"),
    ("POLL__REQUESTS_PER_SECOND", "50"),
    // Two teams, and pipelines that belong to neither.
    ("POLICIES__0__TEAM", "data"),
    ("POLICIES__0__PROJECTS__INCLUDE__0", "analytics-.*"),
    ("POLICIES__1__TEAM", "trading"),
    ("POLICIES__1__PROJECTS__INCLUDE__0", "trading-.*"),
    // Expected, but does not exist.
    ("ACCOUNTS__0__EXPECT__0", "pipe_000000000000000000000000000"),
];

pub(super) async fn run(flags: &Flags) -> Result<Status, Error> {
    if flags.config_file.is_some() {
        return Err(Error::ConfigFileOfDemo);
    }
    let listeners = listeners::all(flags).await?;
    let api = http::listen("127.0.0.1:0").await.map_err(Error::Simulation)?;
    let config = configuration(&api)?;
    let options = daemon_options(ConfigSource::Fixed(Box::new(config.clone())), flags).await?;
    print(introduction(&listeners, &options, &api)?).await?;
    let simulator = Simulator::new(simulator::Options { scenario: Scenario::Demo, ..simulator::Options::default() });
    tokio::spawn(async move { simulator.serve(api, std::future::pending()).await });
    daemon::run(options, config, listeners).await?;
    Ok(Status::Success)
}

fn configuration(api: &TcpListener) -> Result<Config, Error> {
    let base_url = format!("http://{}{}", api.local_addr()?, simulator::BASE_PATH);
    let mut settings = vec![("API__BASE_URL".to_owned(), base_url)];
    settings.extend(SETTINGS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    for (index, (name, _)) in ACCOUNTS.iter().enumerate() {
        settings.push((format!("ACCOUNTS__{index}__NAME"), (*name).to_owned()));
        settings.push((format!("ACCOUNTS__{index}__SERVICE_KEY_ENV"), "GOLDRUSH_DEMO".to_owned()));
    }
    let environment: Vec<(String, String)> =
        settings.into_iter().map(|(key, value)| (format!("GOLDRUSH_EXPORTER__{key}"), value)).collect();
    let mut config = Config::load(None, &environment)?;
    for (account, (_, key)) in config.accounts.iter_mut().zip(ACCOUNTS) {
        account.key = KeySource::BuiltIn(key);
    }
    Ok(config)
}

fn introduction(listeners: &[TcpListener], options: &daemon::Options, api: &TcpListener) -> io::Result<String> {
    let telemetry_path = &options.telemetry_path;
    let scheme = if options.access.is_tls() { "https" } else { "http" };
    let mut text = String::new();
    for listener in listeners {
        let address = listener.local_addr()?;
        let host = match address.ip() {
            ip if ip.is_unspecified() => "localhost".to_owned(),
            ip if ip.is_ipv6() => format!("[{ip}]"),
            ip => ip.to_string(),
        };
        let port = address.port();
        text.push_str(&format!(
            "A small fleet is being simulated, and something is wrong with it.\n\
             \n  Look:     {scheme}://{host}:{port}/\n  Metrics:  {scheme}://{host}:{port}{telemetry_path}\n\
             \n  Scrape it with Prometheus:\n\n\
             scrape_configs:\n  - job_name: goldrush\n    scrape_interval: 15s\n    scheme: {scheme}\n    metrics_path: {telemetry_path}\n    static_configs:\n      \
             - targets: ['{host}:{port}']\n\n"
        ));
    }
    let api = api.local_addr()?;
    text.push_str(&format!("  Change the scenario:  curl -X PUT http://{api}/simulator/scenario/destination-down\n\n"));
    Ok(text)
}
