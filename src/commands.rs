//! Runs one command; its result is the exit status.

mod check;
mod config_check;
mod demo;
mod healthcheck;
mod listeners;
mod once;
mod serve;
mod simulate;
mod status;

use std::fmt::Display;

use crate::cli::{Cli, Command};
use crate::config::ConfigSource;
use crate::hardening;
use crate::logging;

pub use status::Status;

/// Runs the command, and prints errors on standard error.
pub async fn run(Cli { command, flags }: Cli) -> Status {
    // Before any key is read.
    hardening::hide_memory();
    let source = ConfigSource::FileAndEnvironment(flags.config_file.clone());
    if flags.config_check {
        return said(config_check::run(&source, &flags).await);
    }
    match command.unwrap_or(Command::Serve) {
        Command::Serve => said(serve::run(source, &flags).await),
        Command::Check => said(check::run(&source, &flags).await),
        Command::Once(options) => said(once::run(&source, options).await),
        Command::Simulate(options) => said(simulate::run(options).await),
        Command::Demo => said(demo::run(&flags).await),
        Command::Healthcheck => said(healthcheck::run(&flags).await),
    }
}

/// The status of a command; prints its error.
fn said<E: Display>(result: Result<Status, E>) -> Status
where
    for<'a> Status: From<&'a E>,
{
    result.unwrap_or_else(|error| {
        logging::say(&error.to_string());
        Status::from(&error)
    })
}
