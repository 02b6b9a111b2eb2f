//! File and environment in, a checked [`Config`] out, or one sentence on what is wrong.

mod display;
mod environment;
mod error;
mod file;
mod filter;
mod sections;
mod shard;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use humantime::format_duration;

use crate::api::{self, BaseUrl, PipelineId};
use crate::service_key::{self, KeySource};

pub use error::ConfigError;
pub use filter::Filter;
pub use shard::Shard;

pub(crate) use sections::LONGEST;

use error::Origins;
use sections::{AccountSection, Section, Sections};

/// Everything that can be set, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// How to talk to the API (`api`); its connections are as many as `poll.max_in_flight`.
    pub api: api::Settings,
    /// How often, and how fast (`poll`).
    pub poll: Poll,
    /// One for each ServiceKey, at least one, all of different names (`accounts`).
    pub accounts: Vec<Account>,
    /// Which part of the pipelines is polled here (`shard`).
    pub shard: Shard,
    /// More pipelines than this are not taken from a list (`max_pipelines`).
    pub max_pipelines: usize,
}

/// How often, and how fast. No duration is shorter than 10 ms.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Poll {
    /// Between two lists of pipelines.
    #[serde(deserialize_with = "sections::duration")]
    pub discovery: Duration,
    /// Between two questions for one pipeline's status.
    #[serde(deserialize_with = "sections::duration")]
    pub status: Duration,
    /// Between two questions for one pipeline's metrics.
    #[serde(deserialize_with = "sections::duration")]
    pub metrics: Duration,
    /// Between two questions for one pipeline's destination health.
    #[serde(deserialize_with = "sections::duration")]
    pub destination_health: Duration,
    /// In place of `status`, while a pipeline is DEPLOYING or STOPPING.
    #[serde(deserialize_with = "sections::duration")]
    pub transitional: Duration,
    /// A reading older than this is withdrawn.
    #[serde(deserialize_with = "sections::duration")]
    pub stale_after: Duration,
    /// Of one account, never exceeded.
    #[serde(deserialize_with = "sections::rate")]
    pub requests_per_second: f64,
    /// Requests of one account at the same time.
    #[serde(deserialize_with = "sections::whole::<1, _, _>")]
    pub max_in_flight: usize,
}

impl Default for Poll {
    fn default() -> Self {
        Self {
            discovery: Duration::from_secs(60),
            status: Duration::from_secs(15),
            metrics: Duration::from_secs(30),
            destination_health: Duration::from_secs(30),
            transitional: Duration::from_secs(5),
            stale_after: Duration::from_secs(5 * 60),
            requests_per_second: 4.0,
            max_in_flight: 8,
        }
    }
}

/// One ServiceKey, and which of its pipelines are polled.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// The `account` label.
    pub name: String,
    /// Where its key comes from; the key itself is not read here.
    pub key: KeySource,
    /// Of the names of projects.
    pub projects: Filter,
    /// Of the names of pipelines.
    pub pipelines: Filter,
    /// Of the ids of pipelines.
    pub pipeline_ids: Filter,
    /// Pipelines that must exist.
    pub expect: Vec<PipelineId>,
}

impl Config {
    /// Reads the file, if there is one, and what the environment sets over it.
    ///
    /// `env` is the whole environment; only variables that begin with `GOLDRUSH_EXPORTER__` count. No key
    /// is read. A relative `service_key_file` is relative to the working directory.
    ///
    /// # Errors
    /// A [`ConfigError`] for the first thing found wrong: a file that cannot be read or parsed, an unknown
    /// setting, an impossible value, an account that is ambiguous.
    pub fn load(file: Option<&Path>, env: &[(String, String)]) -> Result<Self, ConfigError> {
        let mut value = file.map_or_else(|| Ok(::config::Map::<String, ::config::Value>::new().into()), file::read)?;
        let variables = environment::merge(env, &mut value)?;
        let origins = Origins { file, variables };
        let sections = serde_path_to_error::deserialize(value).map_err(|error| origins.explain(error))?;
        Self::check(sections, &origins)
    }

    fn check(sections: Sections, origins: &Origins<'_>) -> Result<Self, ConfigError> {
        let Sections { api: Section(api), poll: Section(poll), accounts, shard: Section(shard), max_pipelines } =
            sections;
        let base_url = BaseUrl::parse(&api.base_url, api.allow_http)
            .map_err(|error| origins.error("api.base_url", format!("api.base_url {error}")))?;
        if shard.index >= shard.total {
            let Shard { index, total } = shard;
            let problem = format!(
                "shard.index: `{index}` is not below shard.total; with a total of {total} it takes 0 to {}",
                total - 1
            );
            return Err(origins.error("shard.index", problem));
        }
        let api = api::Settings {
            base_url,
            timeout: api.timeout,
            max_response_bytes: api.max_response_bytes,
            max_connections: poll.max_in_flight,
            connections: api::ConnectionLimits::default(),
        };
        Ok(Self { api, poll, accounts: accounts_of(accounts, origins)?, shard, max_pipelines })
    }

    /// What is possible but hardly meant; a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let poll = &self.poll;
        let mut warnings = Vec::new();
        if self.is_plain_http_abroad() {
            warnings.push(format!(
                "api.base_url ({}) is plain http: the network can read the ServiceKey",
                self.api.base_url
            ));
        }
        let stale = format_duration(poll.stale_after);
        for (name, interval) in [
            ("discovery", poll.discovery),
            ("status", poll.status),
            ("metrics", poll.metrics),
            ("destination_health", poll.destination_health),
        ] {
            if poll.stale_after <= interval {
                let interval = format_duration(interval);
                warnings.push(format!(
                    "poll.stale_after ({stale}) is not longer than poll.{name} ({interval}): its readings will come and go"
                ));
            }
        }
        if poll.transitional > poll.status {
            let (transitional, status) = (format_duration(poll.transitional), format_duration(poll.status));
            warnings.push(format!(
                "poll.transitional ({transitional}) is longer than poll.status ({status}): \
                 a pipeline that is DEPLOYING or STOPPING will be asked less often than others"
            ));
        }
        warnings
    }

    /// Whether the address was only taken because of `api.allow_http`.
    fn is_plain_http_abroad(&self) -> bool {
        BaseUrl::parse(&self.api.base_url.to_string(), false).is_err()
    }
}

fn accounts_of(mut sections: Vec<Section<AccountSection>>, origins: &Origins<'_>) -> Result<Vec<Account>, ConfigError> {
    if sections.is_empty() {
        sections.push(Section::default());
    }
    let alone = sections.len() == 1;
    let mut accounts: Vec<Account> = Vec::new();
    for (index, Section(section)) in sections.into_iter().enumerate() {
        let path = format!("accounts[{index}]");
        let account = account_of(section, alone, &path, origins)?;
        if accounts.iter().any(|other| other.name == account.name) {
            let problem = format!("two accounts are named `{}`; each takes a name of its own", account.name);
            return Err(origins.error(&format!("{path}.name"), problem));
        }
        accounts.push(account);
    }
    Ok(accounts)
}

fn account_of(section: AccountSection, alone: bool, path: &str, origins: &Origins<'_>) -> Result<Account, ConfigError> {
    let refused =
        |key: &str, problem: String| Err(origins.error(&format!("{path}{key}"), format!("{path}{key}{problem}")));
    let name = match section.name {
        Some(name) => name.0,
        None if alone => "default".to_owned(),
        None => return refused("", " has no name; with several accounts each takes one of its own".to_owned()),
    };
    if name.trim().is_empty() || name.chars().count() > 100 || name.contains(char::is_control) {
        return refused(
            ".name",
            ": it takes 1 to 100 characters, not all of them spaces, none a control character".to_owned(),
        );
    }
    let key = match (section.service_key_file, section.service_key_env) {
        (Some(_), Some(_)) => {
            return refused(
                "",
                format!(" (`{name}`) has both service_key_file and service_key_env; it takes one of them"),
            );
        }
        (Some(file), None) if file.is_empty() => {
            return refused(".service_key_file", ": it takes the path of a file".to_owned());
        }
        (Some(file), None) => KeySource::File(file.0.into()),
        // Sources of keys are shown, so a key that was put here by mistake has to be kept out.
        (None, Some(variable)) if !is_variable_name(&variable) => {
            let problem =
                ": it takes the name of an environment variable, of A-Z, 0-9 and _, not the ServiceKey itself";
            return refused(".service_key_env", problem.to_owned());
        }
        (None, Some(variable)) => KeySource::Env(variable.0),
        (None, None) if alone => KeySource::Env(service_key::DEFAULT_ENV.to_owned()),
        (None, None) => {
            let problem = format!(
                " (`{name}`) has no ServiceKey; with several accounts each takes service_key_file or service_key_env"
            );
            return refused("", problem);
        }
    };
    let mut expect = Vec::new();
    for (index, id) in section.expect.iter().enumerate() {
        match PipelineId::new(id) {
            // Each is one series.
            Some(id) if expect.contains(&id) => {
                return refused(
                    &format!(".expect[{index}]"),
                    format!(": `{id}` stands there before; each pipeline is expected once"),
                );
            }
            Some(id) => expect.push(id),
            None => {
                return refused(
                    &format!(".expect[{index}]"),
                    ": it takes the id of a pipeline, of 1 to 256 bytes".to_owned(),
                );
            }
        }
    }
    let (Section(projects), Section(pipelines), Section(pipeline_ids)) =
        (section.projects, section.pipelines, section.pipeline_ids);
    Ok(Account { name, key, projects, pipelines, pipeline_ids, expect })
}

fn is_variable_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}
