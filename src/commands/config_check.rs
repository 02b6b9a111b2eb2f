//! `--config.check`: prints every setting in effect, and checks that the keys can be read.

use std::io;

use super::{Status, check};
use crate::cli::Flags;
use crate::config::{ConfigError, ConfigSource};
use crate::output::print;
use crate::service_key::{KeyError, KeyHolder};

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("account {0:?}: {1}")]
    Key(String, KeyError),
    #[error(transparent)]
    Print(#[from] io::Error),
}

impl From<&Error> for Status {
    fn from(error: &Error) -> Self {
        match error {
            Error::Config(_) | Error::Key(..) => Self::Configuration,
            Error::Print(_) => Self::Failure,
        }
    }
}

pub(super) async fn run(source: &ConfigSource, flags: &Flags) -> Result<Status, Error> {
    let config = check::load(source, flags).await?;
    print(config.to_yaml()).await?;
    for account in config.accounts {
        KeyHolder::load(account.key).await.map_err(|error| Error::Key(account.name, error))?;
    }
    Ok(Status::Success)
}
