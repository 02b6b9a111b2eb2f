//! `serve`: polls and serves until a signal.

use std::sync::Arc;

use super::{Status, listeners};
use crate::cli::Flags;
use crate::config::{ConfigError, ConfigSource};
use crate::daemon;
use crate::http::{Access, ListenError};

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Daemon(#[from] daemon::Error),
}

impl From<&Error> for Status {
    fn from(error: &Error) -> Self {
        match error {
            Error::Config(_) => Self::Configuration,
            Error::Listen(_) => Self::Failure,
            Error::Daemon(error) => error.into(),
        }
    }
}

pub(super) async fn run(source: ConfigSource, flags: &Flags) -> Result<Status, Error> {
    // Report configuration errors before using the port.
    let config = source.load().await?;
    let options = daemon_options(source, flags).await?;
    let listeners = listeners::listen(flags).await?;
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
