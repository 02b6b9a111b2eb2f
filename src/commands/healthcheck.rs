//! `healthcheck`: whether the exporter on this machine responds.

use std::io;

use super::Status;
use crate::cli::Flags;
use crate::http::{self, Unhealthy};
use crate::output::print;
use crate::routes::HEALTH;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Unhealthy(#[from] Unhealthy),
    #[error(transparent)]
    Print(#[from] io::Error),
}

impl From<&Error> for Status {
    fn from(_: &Error) -> Self {
        Self::Failure
    }
}

pub(super) async fn run(flags: &Flags) -> Result<Status, Error> {
    for address in &flags.listen_addresses {
        let address = http::healthcheck(address, HEALTH).await?;
        print(format!("{address}: healthy\n")).await?;
    }
    Ok(Status::Success)
}
