//! `demo`: the simulator and the daemon in one process, with a fleet in which something is wrong.

use tokio::net::TcpListener;

use super::{Failure, daemon_options, listeners, local_address, print};
use crate::cli::Flags;
use crate::config::Config;
use crate::daemon::{self, ConfigSource};
use crate::http;
use crate::service_key::KeySource;
use crate::simulator::{self, DEMO_KEY_PROD, DEMO_KEY_REVOKED, DEMO_KEY_STAGING, Scenario, Simulator};

/// The accounts of the demo and their keys. One key has been revoked, to show what that looks like.
const ACCOUNTS: [(&str, &str); 3] =
    [("prod", DEMO_KEY_PROD), ("staging", DEMO_KEY_STAGING), ("legacy", DEMO_KEY_REVOKED)];

/// Livelier than the defaults, so that there is something to see within seconds.
const SETTINGS: &[(&str, &str)] = &[
    ("POLL__DISCOVERY", "15s"),
    ("POLL__STATUS", "5s"),
    ("POLL__METRICS", "5s"),
    ("POLL__DESTINATION_HEALTH", "5s"),
    ("POLL__TRANSITIONAL", "2s"),
    ("POLL__REQUESTS_PER_SECOND", "50"),
    // Expected, but not there.
    ("ACCOUNTS__0__EXPECT__0", "pipe_000000000000000000000000000"),
];

pub(super) async fn run(flags: &Flags) -> Result<(), Failure> {
    if flags.config_file.is_some() {
        let message = "`demo` brings its own configuration: leave --config.file out, or `serve` with it".to_owned();
        return Err(Failure { status: 2, message: Some(message) });
    }
    let listeners = listeners(flags).await?;
    let api = http::listen("127.0.0.1:0").await.map_err(daemon::Error::from)?;
    let options = daemon_options(ConfigSource::Fixed(Box::new(configuration(&api)?)), flags).await?;
    introduce(&listeners, &options, &api)?;
    let simulator = Simulator::new(simulator::Options { scenario: Scenario::Demo, ..simulator::Options::default() });
    tokio::spawn(async move { simulator.serve(api, std::future::pending()).await });
    Ok(daemon::run(options, listeners).await?)
}

fn configuration(api: &TcpListener) -> Result<Config, Failure> {
    let base_url = format!("http://{}{}", local_address(api)?, simulator::BASE_PATH);
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

fn introduce(listeners: &[TcpListener], options: &daemon::Options, api: &TcpListener) -> Result<(), Failure> {
    let telemetry_path = &options.telemetry_path;
    let scheme = if options.access.is_tls() { "https" } else { "http" };
    for listener in listeners {
        let address = local_address(listener)?;
        let host = if address.ip().is_unspecified() { "localhost".to_owned() } else { address.ip().to_string() };
        let host = if address.is_ipv6() && host != "localhost" { format!("[{host}]") } else { host };
        let port = address.port();
        print(&format!(
            "A small fleet is being simulated, and something is wrong with it.\n\
             \n  Look:     {scheme}://{host}:{port}/\n  Metrics:  {scheme}://{host}:{port}{telemetry_path}\n\
             \n  Scrape it with Prometheus:\n\n\
             scrape_configs:\n  - job_name: goldrush\n    scheme: {scheme}\n    metrics_path: {telemetry_path}\n    static_configs:\n      \
             - targets: ['{host}:{port}']\n\n"
        ));
    }
    print(&format!(
        "  Change what goes on:  curl -X PUT http://{}/simulator/scenario/destination-down\n\n",
        local_address(api)?
    ));
    Ok(())
}
