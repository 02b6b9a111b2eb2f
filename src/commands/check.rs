//! `check`: requests the list of each account once, and the usage if it is polled, and reports what is wrong.

use futures_util::future::join_all;

use super::serve::access;
use super::{Error, Status};
use crate::api::{Client, Error as ApiError};
use crate::cli::Flags;
use crate::config::{Account, Config, ConfigError, ConfigSource};
use crate::exposition::Selection;
use crate::logging;
use crate::output::print;
use crate::service_key::KeyHolder;

/// Loads the configuration and the web configuration, and prints their warnings.
pub(super) async fn load(source: &ConfigSource, flags: &Flags) -> Result<Config, ConfigError> {
    let config = source.load().await?;
    let access = access(flags).await?;
    let selection = Selection::of(&config.metrics)?;
    logging::say_warnings(config.warnings().into_iter().chain(selection.warnings()).chain(access.warnings()));
    Ok(config)
}

pub(super) async fn run(source: &ConfigSource, flags: &Flags) -> Result<Status, Error> {
    let config = load(source, flags).await?;
    // All before the first request: reading the trusted certificates would use up the time that a request has.
    let clients = config.accounts.iter().map(|_| Client::new(config.api.clone())).collect::<Result<Vec<_>, _>>()?;
    let checks = config.accounts.iter().zip(&clients).map(|(account, client)| check(&config, account, client));
    let outcomes = join_all(checks).await;
    let mut statuses = Vec::new();
    for (account, (status, text)) in config.accounts.iter().zip(outcomes) {
        print(format!("account {:?}: {text}\n", account.name)).await?;
        statuses.push(status);
    }
    Ok(Status::of_all(statuses))
}

async fn check(config: &Config, account: &Account, client: &Client) -> (Status, String) {
    let keys = match KeyHolder::load(account.key.clone()).await {
        Ok(keys) => keys,
        Err(error) => return (Status::Configuration, error.to_string()),
    };
    let list = || client.list_page(&keys.current().key, 1);
    let page = match list().await {
        // Like the poller: the second request names no size.
        Err(ApiError::PageSizeRefused(_)) => list().await,
        page => page,
    };
    let count = page.and_then(|page| {
        let (_, total) = page.position();
        let listed = page.into_first_items()?.len() as f64;
        Ok(total.unwrap_or(listed))
    });
    match count {
        Ok(count) => {
            let usage = if config.poll.usage.is_some() { usage(client, &keys).await } else { String::new() };
            (Status::Success, format!("ok, {count} pipelines listed{usage} (key from {})", account.key))
        }
        Err(error) => {
            let base_url = &config.api.base_url;
            (Status::from(&error), format!("{} (key from {}, {base_url})", error.of_list(), account.key))
        }
    }
}

/// The outcome of the usage says nothing about the key or the pipelines, so it does not affect the exit status.
async fn usage(client: &Client, keys: &KeyHolder) -> String {
    match client.usage(&keys.current().key).await {
        Ok(usage) => {
            let number =
                |value: Option<f64>| value.map_or("an unknown number of".to_owned(), |value| value.to_string());
            format!(", {} of {} credits used", number(usage.credits_consumed), number(usage.ceiling()))
        }
        Err(error) => format!(", no usage of credits: {}", error.of_usage()),
    }
}
