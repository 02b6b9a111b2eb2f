//! Turns a file and the environment into a validated [`Config`], or says in one sentence what is wrong.

mod account;
mod effective;
mod environment;
mod filter;
mod metrics;
mod origins;
mod policy;
mod poll;
mod quantities;
mod sections;
mod shard;
mod source;
#[cfg(test)]
mod tests;

use crate::api::{self, BaseUrl};
use crate::settings;

pub use crate::settings::ConfigError;
pub use account::Account;
pub use filter::Filter;
pub use metrics::{Metrics, Names, Profile, States};
pub use policy::Policy;
pub use poll::Poll;
pub use shard::Shard;
pub use source::{ConfigFile, ConfigSource};

pub(crate) use settings::LONGEST;
pub(crate) use shard::fnv1a;

use origins::Origins;
use sections::Sections;
use settings::{FileFormat, Map, Section, Value};

/// Every setting, validated.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `api`. Keeps as many connections as `poll.max_in_flight`.
    pub api: api::Settings,
    /// Whether `api.base_url` may be plain http to any host (`api.allow_http`).
    pub allow_http: bool,
    /// Intervals and the request budget (`poll`).
    pub poll: Poll,
    /// One per ServiceKey, at least one, with unique names (`accounts`).
    pub accounts: Vec<Account>,
    /// Thresholds and owners of pipelines; the first policy that matches a pipeline applies (`policies`).
    pub policies: Vec<Policy>,
    /// Which metrics are exposed (`metrics`).
    pub metrics: Metrics,
    /// The part of the pipelines that this exporter polls (`shard`).
    pub shard: Shard,
    /// A longer list of pipelines is truncated (`max_pipelines`).
    pub max_pipelines: usize,
}

impl Config {
    /// Validates the file, if any, with the settings from the environment merged over it.
    ///
    /// `env` is the whole environment; only variables that begin with `GOLDRUSH_EXPORTER__` count. No key is read. A
    /// relative `service_key_file` is relative to the working directory.
    ///
    /// # Errors
    /// A [`ConfigError`] for the first problem: a file that cannot be parsed, an unknown setting, an invalid value, an
    /// ambiguous account.
    pub fn load(file: Option<&ConfigFile>, env: &[(String, String)]) -> Result<Self, ConfigError> {
        let mut value = file.map_or_else(|| Ok(Map::<String, Value>::new().into()), parse)?;
        let variables = environment::merge(env, &mut value)?;
        let origins = Origins { file: file.map(|file| file.path.as_path()), variables };
        let sections = settings::deserialize(value).map_err(|problem| origins.explain(problem))?;
        Self::check(sections, &origins)
    }

    fn check(sections: Sections, origins: &Origins<'_>) -> Result<Self, ConfigError> {
        let Sections { accounts, policies, max_pipelines, .. } = sections;
        let (Section(api), Section(poll), Section(shard)) = (sections.api, sections.poll, sections.shard);
        let metrics = sections.metrics.0.settled(|path| origins.error(path, String::new()).origin);
        let base_url = BaseUrl::parse(&api.base_url, api.allow_http)
            .map_err(|error| origins.error("api.base_url", format!("api.base_url {error}")))?;
        if poll.usage.is_some() && !base_url.has_usage() {
            let problem = format!(
                "poll.usage: cannot derive the address of the usage from api.base_url ({base_url}): expected a path that \
                 ends in /pipeline-api/; correct the path, or remove poll.usage"
            );
            return Err(origins.error("poll.usage", problem));
        }
        if shard.index >= shard.total {
            let Shard { index, total } = shard;
            let last = total - 1;
            let problem =
                format!("shard.index: must be below shard.total ({total}): expected 0 to {last}, found {index}");
            return Err(origins.error("shard.index", problem));
        }
        if let Err((index, problem)) = policy::check(&policies) {
            let path = format!("policies[{index}]");
            return Err(origins.error(&path, format!("{path}: {problem}")));
        }
        let allow_http = api.allow_http;
        let api = api::Settings {
            base_url,
            timeout: api.timeout,
            max_response_bytes: api.max_response_bytes,
            max_connections: poll.max_in_flight,
            connections: api::ConnectionLimits::default(),
        };
        let accounts = account::accounts_of(accounts, origins)?;
        Ok(Self { api, allow_http, poll, accounts, policies, metrics, shard, max_pipelines })
    }

    /// Settings that are valid but probably not intended; one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.is_plain_http_abroad() {
            let base_url = &self.api.base_url;
            warnings.push(format!("api.base_url ({base_url}) is plain http: the network can read the ServiceKey"));
        }
        warnings.extend(self.poll.warnings());
        warnings.extend(policy::warnings(&self.policies));
        warnings
    }

    /// Whether the address is only valid because of `api.allow_http`.
    fn is_plain_http_abroad(&self) -> bool {
        BaseUrl::parse(&self.api.base_url.to_string(), false).is_err()
    }
}

/// Parses the file according to its extension.
fn parse(file: &ConfigFile) -> Result<Value, ConfigError> {
    let refused = |problem| ConfigError::of_file(&file.path, problem);
    let format = match file.path.extension().and_then(|extension| extension.to_str()) {
        Some("yaml" | "yml") => FileFormat::Yaml,
        Some("toml") => FileFormat::Toml,
        _ => return Err(refused("expected a file name that ends in .yaml, .yml or .toml".to_owned())),
    };
    settings::parse(&file.text, format).map_err(refused)
}
