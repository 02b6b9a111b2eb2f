//! `once`: one full poll of every account, as text for scripts and for node_exporter's textfile collector.

use futures_util::future::join_all;

use super::{Error, Status};
use crate::cli::Once;
use crate::config::ConfigSource;
use crate::daemon;
use crate::exposition::{self, Format, Selection};
use crate::file_system;
use crate::fleet::Fleet;
use crate::logging;
use crate::moment::Moment;
use crate::output::print;

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
    let statuses = polls.into_iter().map(|(name, outcome)| match outcome {
        Ok(()) => Status::Success,
        Err(error) => {
            logging::say(&format!("account {name:?}: {}", error.of_list()));
            Status::from(&error)
        }
    });
    Ok(Status::of_all(statuses))
}
