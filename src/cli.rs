//! Commands and flags. Flags are named like those of Prometheus's own exporters (exporter-toolkit).

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::logging::LogFormat;
use crate::routes::TARGETS_PATH;
use crate::simulator::Scenario;

/// `--version` in the format of Prometheus's exporters.
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
    /// `serve` without one.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of all commands.
    #[command(flatten)]
    pub flags: Flags,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Poll and serve (the default)
    Serve,
    /// Load the configuration, request the list of each account once, say what is wrong
    ///
    /// Exit status: 0 ok, 2 usage or configuration, 3 the API responded 401 to a key, 4 the API responded 403 to a key, 5 the
    /// API could not be reached, 6 its response could not be read. With several accounts, the lowest that is not 0.
    Check,
    /// Poll every account once, print the metrics in the classic text format, exit
    ///
    /// Only what was polled is printed, not the exporter's own metrics. Exit status as of `check`: it reports on keys and
    /// lists; probes that fail show in the metrics. Logs go to standard error.
    Once(Once),
    /// Serve a simulated Pipeline API on loopback, to try things out
    Simulate(Simulate),
    /// Simulate and serve together in one process: everything can be seen without a ServiceKey
    ///
    /// It has its own configuration: --config.file is refused.
    Demo,
    /// Check that the exporter at --web.listen-address on this machine responds
    ///
    /// For health checks of containers. Exit status: 0 healthy, 1 not. Uses TLS if the exporter does, and needs no password.
    Healthcheck,
}

/// Flags of all commands.
#[derive(Debug, Args)]
pub struct Flags {
    /// Configuration file, YAML or TOML
    #[arg(long = "config.file", value_name = "FILE", global = true)]
    pub config_file: Option<PathBuf>,
    /// Check configuration and keys without a request to the API, print the settings, exit
    #[arg(long = "config.check", global = true)]
    pub config_check: bool,
    /// Address to listen on, `:PORT` for all addresses; repeatable
    #[arg(
        long = "web.listen-address",
        value_name = "ADDR",
        default_value = ":9877",
        value_parser = listen_address,
        global = true
    )]
    pub listen_addresses: Vec<String>,
    /// Listen on the sockets that systemd passes, instead of --web.listen-address
    #[arg(long = "web.systemd-socket", global = true)]
    pub systemd_socket: bool,
    /// File with TLS and basic auth in exporter-toolkit's format; reloaded when it changes
    #[arg(long = "web.config.file", value_name = "FILE", global = true)]
    pub web_config_file: Option<PathBuf>,
    /// Maximum concurrent scrapes; further ones get 503 (0 = unlimited)
    #[arg(long = "web.max-requests", value_name = "N", default_value_t = 40, global = true)]
    pub max_requests: usize,
    /// Leave out metrics about the exporter itself: process_* and those about scrapes
    #[arg(long = "web.disable-exporter-metrics", global = true)]
    pub disable_exporter_metrics: bool,
    /// Path under which to expose metrics
    #[arg(
        long = "web.telemetry-path",
        value_name = "PATH",
        default_value = "/metrics",
        value_parser = telemetry_path,
        global = true
    )]
    pub telemetry_path: String,
    /// Maximum size of each target that /sd lists, uncompressed: a larger exposition is listed in parts
    #[arg(
        long = "web.sd-target-size",
        value_name = "SIZE",
        default_value = "8MiB",
        value_parser = size,
        global = true
    )]
    pub target_size: usize,
    /// Enable POST /-/reload
    #[arg(long = "web.enable-lifecycle", global = true)]
    pub enable_lifecycle: bool,
    /// Only log messages of this severity or above: error, warn, info, debug or trace
    #[arg(long = "log.level", value_name = "LEVEL", default_value = "info", value_parser = log_level, global = true)]
    pub log_level: LevelFilter,
    /// Format of log lines
    #[arg(long = "log.format", value_name = "FORMAT", default_value = "logfmt", global = true)]
    pub log_format: LogFormat,
}

/// Flags of `once`.
#[derive(Debug, Args)]
pub struct Once {
    /// Write to this file instead of standard output, atomically and with mode 0644
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Flags of `simulate`.
#[derive(Debug, Args)]
pub struct Simulate {
    /// Address to listen on; must be loopback
    #[arg(long = "simulator.listen-address", value_name = "ADDR", default_value = "127.0.0.1:9878")]
    pub listen_address: std::net::SocketAddr,
    /// Scenario at the start; --help lists them
    #[arg(long = "simulator.scenario", value_name = "NAME", default_value = "healthy", long_help = scenarios())]
    pub scenario: Scenario,
    /// Number of pipelines
    #[arg(long = "simulator.pipelines", value_name = "N", default_value_t = 20)]
    pub pipelines: usize,
    /// Maximum page size of the list
    #[arg(long = "simulator.page-size", value_name = "N", default_value_t = 100)]
    pub page_size: usize,
    /// Latency of each response
    #[arg(long = "simulator.latency", value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    pub latency: std::time::Duration,
    /// ServiceKey to accept
    #[arg(long = "simulator.service-key", value_name = "KEY", default_value = "sk_simulated_0000000000000000")]
    pub service_key: String,
}

fn scenarios() -> String {
    let lines = Scenario::ALL.iter().map(|scenario| format!("  {:<17} {}", scenario.as_str(), scenario.description()));
    format!("Scenario at the start:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

fn listen_address(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    if matches!(port, Some(Ok(_))) {
        Ok(text.to_owned())
    } else {
        Err("expected host:port, or :port for all addresses, such as 127.0.0.1:9877".to_owned())
    }
}

fn telemetry_path(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./~".contains(c);
    if !text.starts_with('/') || !text.chars().all(plain) {
        return Err("expected a path such as /metrics".to_owned());
    }
    if text == "/" || text == TARGETS_PATH || text.starts_with("/-/") || text.starts_with("/api/") {
        return Err("reserved (expected a path such as /metrics)".to_owned());
    }
    Ok(text.to_owned())
}

/// A smaller part would consist mostly of headings.
const SMALLEST_TARGET: usize = 64 * 1024;

fn size(text: &str) -> Result<usize, String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];
    let parse = |(unit, bytes): (&str, usize)| {
        text.strip_suffix(unit)?.parse::<u32>().ok()?.try_into().ok().map(|n: usize| n.saturating_mul(bytes))
    };
    let size = units.into_iter().find_map(parse).filter(|size| *size >= SMALLEST_TARGET);
    size.ok_or_else(|| "expected a size of at least 64KiB, such as 8MiB".to_owned())
}

fn log_level(text: &str) -> Result<LevelFilter, String> {
    match text {
        "error" | "warn" | "info" | "debug" | "trace" => text.parse().map_err(|_| String::new()),
        _ => Err("expected error, warn, info, debug or trace".to_owned()),
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
    fn sizes() {
        assert_eq!(
            ["64KiB", "65536", "8MiB", "1GiB"].map(|text| size(text).unwrap()),
            [1 << 16, 1 << 16, 8 << 20, 1 << 30]
        );
        for refused in ["", "8", "8MB", "-8MiB", "1.5MiB", "MiB", "8 MiB", "63KiB", "99999999999GiB"] {
            assert!(size(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn paths_with_another_use_are_refused() {
        for refused in ["metrics", "/", "/-/healthy", "/api/v1", "/{x}", "/a b", "/sd", ""] {
            assert!(telemetry_path(refused).is_err(), "{refused}");
        }
        assert_eq!(telemetry_path("/goldrush/metrics").as_deref(), Ok("/goldrush/metrics"));
    }
}
