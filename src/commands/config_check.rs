//! `--config.check`: prints every setting in effect, and checks that the keys can be read.

use super::{Error, Status, check};
use crate::cli::Flags;
use crate::config::ConfigSource;
use crate::daemon;
use crate::output::print;
use crate::service_key::KeyHolder;

pub(super) async fn run(source: &ConfigSource, flags: &Flags) -> Result<Status, Error> {
    let config = check::load(source, flags).await?;
    print(config.to_yaml()).await?;
    for account in config.accounts {
        KeyHolder::load(account.key).await.map_err(|error| daemon::Error::Key(account.name, error))?;
    }
    Ok(Status::Success)
}
