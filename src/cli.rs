//! Commands and flags. The flags are named as those of Prometheus' own exporters (exporter-toolkit).

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::logging::LogFormat;
use crate::simulator::Scenario;

/// `--version` in the words of Prometheus' exporters.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (revision: ",
    env!("GOLDRUSH_REVISION"),
    ", rustc: ",
    env!("GOLDRUSH_RUSTC"),
    ")"
);

/// Prometheus exporter for GoldRush pipelines.
///
/// With nothing but GOLDRUSH_SERVICE_KEY in the environment, it polls every pipeline of that key's group.
#[derive(Debug, Parser)]
#[command(name = "goldrush-exporter", version = VERSION, max_term_width = 100)]
pub struct Cli {
    /// What to do; `serve` if nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of all commands.
    #[command(flatten)]
    pub flags: Flags,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Poll and serve (the default)
    Serve,
    /// Read the configuration, ask each account's API once, say what is wrong
    ///
    /// Exit status: 0 fine, 2 usage or configuration, 3 a key was answered 401, 4 a key was answered 403, 5 the API
    /// could not be reached, 6 it answered something unreadable. Of several accounts, the lowest that is not 0.
    Check,
    /// One full poll of every account, print the exposition in the classic text format, exit
    ///
    /// Exit statuses as of `check`: they speak of keys and lists; probes that fail show in the exposition. Logs go to
    /// standard error.
    Once,
    /// Serve a simulated Pipeline API on loopback, to try things out
    Simulate(Simulate),
    /// Simulate and serve together in one process: everything can be seen without a ServiceKey
    ///
    /// It brings its own configuration: --config.file is refused.
    Demo,
    /// Ask the exporter at --web.listen-address on this machine whether it lives
    ///
    /// For health checks of containers. Exit status: 0 it lives, 1 it does not. It speaks TLS where the exporter does,
    /// and needs no password.
    Healthcheck,
}

/// Flags of all commands.
#[derive(Debug, Args)]
pub struct Flags {
    /// Configuration file, YAML or TOML
    #[arg(long = "config.file", value_name = "FILE", global = true)]
    pub config_file: Option<PathBuf>,
    /// Check configuration and keys without asking the API, print the settings, exit
    #[arg(long = "config.check", global = true)]
    pub config_check: bool,
    /// Address to serve on, `:port` for all addresses; can be given several times
    #[arg(
        long = "web.listen-address",
        value_name = "ADDR",
        default_value = ":9877",
        value_parser = listen_address,
        global = true
    )]
    pub listen_addresses: Vec<String>,
    /// Serve on the sockets that systemd passes on, not on --web.listen-address
    #[arg(long = "web.systemd-socket", global = true)]
    pub systemd_socket: bool,
    /// TLS and basic auth, in exporter-toolkit's format; read again when it changes
    #[arg(long = "web.config.file", value_name = "FILE", global = true)]
    pub web_config_file: Option<PathBuf>,
    /// Maximum concurrent scrapes; further ones get 503 (0 = unlimited)
    #[arg(long = "web.max-requests", value_name = "N", default_value_t = 40, global = true)]
    pub max_requests: usize,
    /// Leave out metrics about the exporter itself: process_* and those about scrapes
    #[arg(long = "web.disable-exporter-metrics", global = true)]
    pub disable_exporter_metrics: bool,
    /// Path of the metrics
    #[arg(
        long = "web.telemetry-path",
        value_name = "PATH",
        default_value = "/metrics",
        value_parser = telemetry_path,
        global = true
    )]
    pub telemetry_path: String,
    /// Allow POST /-/reload
    #[arg(long = "web.enable-lifecycle", global = true)]
    pub enable_lifecycle: bool,
    /// Least severe level to log: error, warn, info, debug or trace
    #[arg(long = "log.level", value_name = "LEVEL", default_value = "info", value_parser = log_level, global = true)]
    pub log_level: LevelFilter,
    /// Shape of the log lines
    #[arg(long = "log.format", value_name = "FORMAT", default_value = "logfmt", global = true)]
    pub log_format: LogFormat,
}

/// Flags of `simulate`.
#[derive(Debug, Args)]
pub struct Simulate {
    /// Address to simulate on; only loopback is allowed
    #[arg(long = "simulator.listen-address", value_name = "ADDR", default_value = "127.0.0.1:9878")]
    pub listen_address: std::net::SocketAddr,
    /// What goes on at first; see the list below
    #[arg(long = "simulator.scenario", value_name = "NAME", default_value = "healthy", long_help = scenarios())]
    pub scenario: Scenario,
    /// How many pipelines there are
    #[arg(long = "simulator.pipelines", value_name = "N", default_value_t = 20)]
    pub pipelines: usize,
    /// Greatest page size of the list
    #[arg(long = "simulator.page-size", value_name = "N", default_value_t = 100)]
    pub page_size: usize,
    /// How long each answer takes
    #[arg(long = "simulator.latency", value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    pub latency: std::time::Duration,
    /// ServiceKey that the simulation accepts
    #[arg(long = "simulator.service-key", value_name = "KEY", default_value = "sk_simulated_0000000000000000")]
    pub service_key: String,
}

fn scenarios() -> String {
    let lines = Scenario::ALL.iter().map(|scenario| format!("  {:<17} {}", scenario.name(), scenario.description()));
    format!("What goes on at first:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

fn listen_address(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    if matches!(port, Some(Ok(_))) {
        Ok(text.to_owned())
    } else {
        Err("it takes host:port, or :port for all addresses, such as 127.0.0.1:9877".to_owned())
    }
}

fn telemetry_path(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./~".contains(c);
    if !text.starts_with('/') || !text.chars().all(plain) {
        return Err("it takes a path such as /metrics".to_owned());
    }
    if text == "/" || text.starts_with("/-/") || text.starts_with("/api/") {
        return Err("that path has another use; it takes one such as /metrics".to_owned());
    }
    Ok(text.to_owned())
}

fn log_level(text: &str) -> Result<LevelFilter, String> {
    match text {
        "error" | "warn" | "info" | "debug" | "trace" => text.parse().map_err(|_| String::new()),
        _ => Err("it takes error, warn, info, debug or trace".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn paths_with_another_use_are_refused() {
        for refused in ["metrics", "/", "/-/healthy", "/api/v1", "/{x}", "/a b", ""] {
            assert!(telemetry_path(refused).is_err(), "{refused}");
        }
        assert_eq!(telemetry_path("/goldrush/metrics").as_deref(), Ok("/goldrush/metrics"));
    }
}
