//! `once`: one full poll of every account, as text for scripts and for node_exporter's textfile collector.

use std::io;
use std::path::PathBuf;

use futures_util::future::join_all;

use super::Status;
use crate::cli::Once;
use crate::config::{ConfigError, ConfigSource};
use crate::daemon;
use crate::exposition::{self, Format, Selection};
use crate::file_system;
use crate::fleet::Fleet;
use crate::logging;
use crate::moment::Moment;
use crate::output::print;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Pollers(#[from] daemon::Error),
    #[error("cannot write {} (--output): {error}", file.display())]
    Write { file: PathBuf, error: io::Error },
    #[error(transparent)]
    Print(#[from] io::Error),
}

impl From<&Error> for Status {
    fn from(error: &Error) -> Self {
        match error {
            Error::Config(_) => Self::Configuration,
            Error::Pollers(error) => error.into(),
            Error::Write { .. } | Error::Print(_) => Self::Failure,
        }
    }
}

pub(super) async fn run(source: &ConfigSource, options: Once) -> Result<Status, Error> {
    let config = source.load().await?;
    let selection = Selection::of(&config.metrics)?;
    logging::say_warnings(config.warnings().into_iter().chain(selection.warnings()));
    let fleet = Fleet::default();
    let pollers = daemon::pollers(&config, &fleet).await?;
    let polls = join_all(pollers.into_iter().map(|(name, poller)| async move { (name, poller.once().await) })).await;
    // Without the exporter's own metrics: a textfile collector has its own with the same names.
    let text = exposition::fleet_text(&fleet, &selection, Moment::now(), Format::Classic);
    match options.output {
        Some(file) => file_system::replace(&file, text).await.map_err(|error| Error::Write { file, error })?,
        None => print(text).await?,
    }
    let mut failed = None;
    for (name, outcome) in polls {
        if let Err(error) = outcome {
            logging::say(&format!("account {name:?}: {}", error.of_list()));
            failed = failed.into_iter().chain([Status::from(&error)]).min();
        }
    }
    Ok(failed.unwrap_or(Status::Success))
}
