//! `healthcheck`: whether the exporter on this machine responds.

use super::{Error, Status};
use crate::cli::Flags;
use crate::http;
use crate::output::print;
use crate::routes::HEALTH;

pub(super) async fn run(flags: &Flags) -> Result<Status, Error> {
    for address in &flags.listen_addresses {
        let address = http::healthcheck(address, HEALTH).await?;
        print(format!("{address}: healthy\n")).await?;
    }
    Ok(Status::Success)
}
