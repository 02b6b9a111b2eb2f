//! `serve`: polls and serves until a signal.

use std::sync::Arc;

use super::{Error, Status, listeners};
use crate::cli::Flags;
use crate::config::{ConfigError, ConfigSource};
use crate::daemon;
use crate::http::Access;

pub(super) async fn run(source: ConfigSource, flags: &Flags) -> Result<Status, Error> {
    // Report configuration errors before using the port.
    let config = source.load().await?;
    let options = daemon_options(source, flags).await?;
    let listeners = listeners::all(flags).await?;
    daemon::run(options, config, listeners).await?;
    Ok(Status::Success)
}

pub(super) async fn daemon_options(config: ConfigSource, flags: &Flags) -> Result<daemon::Options, ConfigError> {
    Ok(daemon::Options {
        config,
        telemetry_path: flags.telemetry_path.clone(),
        target_size: flags.target_size,
        enable_lifecycle: flags.enable_lifecycle,
        access: Arc::new(access(flags).await?),
        max_requests: flags.max_requests,
        disable_exporter_metrics: flags.disable_exporter_metrics,
    })
}

/// The rules of `--web.config.file`.
pub(super) async fn access(flags: &Flags) -> Result<Access, ConfigError> {
    match &flags.web_config_file {
        Some(file) => Access::load(file).await,
        None => Access::unrestricted(),
    }
}
