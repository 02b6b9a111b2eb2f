//! The exporter's metrics about itself, held by prometheus-client.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::logging;
use crate::moment::unix_seconds;

/// The exporter's own metrics. prometheus-client adds the final dot of HELP texts.
#[derive(Debug)]
pub struct Own {
    registry: Registry,
    /// The exporter's own resource use; `None` with `--web.disable-exporter-metrics`.
    costs: Option<Registry>,
    render_duration: Gauge<f64, AtomicU64>,
    exposition_bytes: Gauge,
    reload_successful: Gauge,
    reload_success_time: Gauge<f64, AtomicU64>,
    shard_index: Gauge,
    total_shards: Gauge,
    log_lines_dropped: Counter,
    config_in_use: AtomicBool,
    web_config_in_use: AtomicBool,
}

impl Own {
    pub(super) fn new() -> Self {
        let mut registry = Registry::default();
        let build_info = Family::<[(&str, &str); 3], Gauge>::default();
        build_info
            .get_or_create(&[
                ("version", env!("CARGO_PKG_VERSION")),
                ("revision", env!("GOLDRUSH_REVISION")),
                ("rustc", env!("GOLDRUSH_RUSTC")),
            ])
            .set(1);
        registry.register("goldrush_exporter_build_info", "Always 1; what this exporter was built from", build_info);
        let render_duration = Gauge::default();
        let exposition_bytes = Gauge::default();
        let reload_successful = Gauge::default();
        let reload_success_time = Gauge::default();
        registry.register(
            "goldrush_exporter_config_last_reload_successful",
            "1 if the newest attempt to load the configuration succeeded, 0 otherwise",
            reload_successful.clone(),
        );
        registry.register_with_unit(
            "goldrush_exporter_config_last_reload_success_timestamp",
            "Unix time at which the configuration was last loaded",
            Unit::Seconds,
            reload_success_time.clone(),
        );
        let shard_index = Gauge::default();
        let total_shards = Gauge::default();
        registry.register(
            "goldrush_exporter_shard_index",
            "Index of the shard that this exporter polls, from 0 (shard.index)",
            shard_index.clone(),
        );
        registry.register(
            "goldrush_exporter_total_shards",
            "Number of shards that the pipelines are split into (shard.total)",
            total_shards.clone(),
        );
        let log_lines_dropped = Counter::default();
        registry.register(
            "goldrush_exporter_log_lines_dropped",
            "Log lines that were not written, because nothing reads standard error",
            log_lines_dropped.clone(),
        );
        let mut costs = Registry::default();
        costs.register_with_unit(
            "goldrush_exporter_render_duration",
            "Duration of the last rendering of the metrics of pipelines, compression included",
            Unit::Seconds,
            render_duration.clone(),
        );
        costs.register_with_unit(
            "goldrush_exporter_exposition",
            "Size of the previous exposition, uncompressed",
            Unit::Bytes,
            exposition_bytes.clone(),
        );
        #[cfg(target_os = "linux")]
        costs.register_collector(Box::new(super::process::Process::new()));
        Self {
            registry,
            costs: Some(costs),
            render_duration,
            exposition_bytes,
            reload_successful,
            reload_success_time,
            shard_index,
            total_shards,
            log_lines_dropped,
            config_in_use: AtomicBool::new(false),
            web_config_in_use: AtomicBool::new(true),
        }
    }

    /// Leaves out the exporter's own resource use.
    pub(super) fn without_costs(self) -> Self {
        Self { costs: None, ..self }
    }

    /// Notes whether a configuration was loaded.
    pub fn note_reload(&self, successful: bool) {
        self.config_in_use.store(successful, Ordering::Relaxed);
        if successful {
            self.reload_success_time.set(unix_seconds(SystemTime::now()));
        }
        self.show_reload();
    }

    /// Notes the part of the pipelines that is polled from now on: number `index`, from 0, of `total`.
    pub fn note_shard(&self, index: u32, total: u32) {
        self.shard_index.set(index.into());
        self.total_shards.set(total.into());
    }

    /// Notes whether the contents of `--web.config.file` and of the files that it names are in use.
    pub fn note_web_config(&self, in_use: bool) {
        self.web_config_in_use.store(in_use, Ordering::Relaxed);
        self.show_reload();
    }

    /// One gauge for all files: the log says which one failed.
    fn show_reload(&self) {
        let all = self.config_in_use.load(Ordering::Relaxed) && self.web_config_in_use.load(Ordering::Relaxed);
        self.reload_successful.set(all.into());
    }

    pub(super) fn note_render(&self, duration: Duration) {
        self.render_duration.set(duration.as_secs_f64());
    }

    pub(super) fn note_bytes(&self, bytes: usize) {
        self.exposition_bytes.set(bytes.try_into().unwrap_or(i64::MAX));
    }

    /// The metrics as OpenMetrics text, without the end mark.
    pub(super) fn encode(&self) -> String {
        self.log_lines_dropped.inner().fetch_max(logging::lines_dropped(), Ordering::Relaxed);
        let mut text = String::new();
        // Writing into memory fails only if a metric cannot be encoded, which the tests would show.
        for registry in [Some(&self.registry), self.costs.as_ref()].into_iter().flatten() {
            if encode_registry(&mut text, registry).is_err() {
                let _ = writeln!(text, "# the exporter's own metrics cannot be encoded");
            }
        }
        text
    }
}
