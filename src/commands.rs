//! Runs one command; its result is the exit status.

mod check;
mod config_check;
mod demo;
mod error;
mod healthcheck;
mod listeners;
mod once;
mod serve;
mod simulate;
mod status;

use crate::cli::{Cli, Command};
use crate::config::ConfigSource;
use crate::hardening;
use crate::logging;
use error::Error;

pub use status::Status;

/// Runs the command, and prints errors on standard error.
pub async fn run(cli: Cli) -> Status {
    // Before any key is read.
    hardening::hide_memory();
    dispatch(cli).await.unwrap_or_else(|error| {
        logging::say(&error.to_string());
        error.status()
    })
}

async fn dispatch(Cli { command, flags }: Cli) -> Result<Status, Error> {
    let source = ConfigSource::FileAndEnvironment(flags.config_file.clone());
    if flags.config_check {
        return config_check::run(&source, &flags).await;
    }
    match command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(source, &flags).await,
        Command::Check => check::run(&source, &flags).await,
        Command::Once(options) => once::run(&source, options).await,
        Command::Simulate(options) => simulate::run(options).await,
        Command::Demo => demo::run(&flags).await,
        Command::Healthcheck => healthcheck::run(&flags).await,
    }
}
