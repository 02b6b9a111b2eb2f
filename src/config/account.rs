//! `accounts`: one per ServiceKey, with filters on its pipelines.

use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};

use super::filter::Filter;
use super::origins::Origins;
use super::quantities::{duration, optional_duration};
use crate::api::PipelineId;
use crate::labels::breaks_lines;
use crate::service_key::{self, KeySource, is_likely_key};
use crate::settings::{ConfigError, Section, Text, list};

/// The default: credits that run out within this time deserve a ticket.
const CREDITS_RUN_OUT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// One ServiceKey, with filters on its pipelines.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Account {
    /// The `account` label.
    pub name: String,
    /// Where the key comes from; the key itself is not read here.
    #[serde(flatten, serialize_with = "show_key_source")]
    pub key: KeySource,
    /// By project name.
    pub projects: Filter,
    /// By pipeline name.
    pub pipelines: Filter,
    /// By pipeline id.
    pub pipeline_ids: Filter,
    /// Pipelines that must exist.
    #[serde(serialize_with = "show_ids")]
    pub expect: Vec<PipelineId>,
    /// Credits that run out within this time are trouble; needs `poll.usage`.
    #[serde(with = "duration")]
    pub credits_run_out: Duration,
}

fn show_key_source<S: Serializer>(key: &KeySource, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    match key {
        KeySource::File(path) => map.serialize_entry("service_key_file", &path.to_string_lossy())?,
        KeySource::Env(variable) => map.serialize_entry("service_key_env", variable)?,
        // Only the demo has one, and no configuration can express it.
        KeySource::BuiltIn(_) => {}
    }
    map.end()
}

fn show_ids<S: Serializer>(ids: &[PipelineId], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ids.iter().map(PipelineId::as_str))
}

/// An account section as written.
#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AccountSection {
    name: Option<Text>,
    service_key_file: Option<Text>,
    service_key_env: Option<Text>,
    projects: Filter,
    pipelines: Filter,
    pipeline_ids: Filter,
    #[serde(deserialize_with = "list")]
    expect: Vec<Text>,
    #[serde(with = "optional_duration")]
    credits_run_out: Option<Duration>,
}

/// The accounts of these sections; if there are none, one with the defaults.
pub(super) fn accounts_of(
    mut sections: Vec<Section<AccountSection>>,
    origins: &Origins<'_>,
) -> Result<Vec<Account>, ConfigError> {
    if sections.is_empty() {
        sections.push(Section::default());
    }
    let alone = sections.len() == 1;
    let mut accounts: Vec<Account> = Vec::new();
    for (index, Section(section)) in sections.into_iter().enumerate() {
        let path = format!("accounts[{index}]");
        let account = section.check(alone, &path, origins)?;
        if let Some(other) = accounts.iter().position(|other| other.name == account.name) {
            let path = format!("{path}.name");
            let problem = format!(
                "{path}: duplicate account name {:?} (also accounts[{other}].name); give each account a different name",
                account.name
            );
            return Err(origins.error(&path, problem));
        }
        accounts.push(account);
    }
    Ok(accounts)
}

impl AccountSection {
    /// `alone`: whether it is the only account, which has a default name and key.
    fn check(self, alone: bool, path: &str, origins: &Origins<'_>) -> Result<Account, ConfigError> {
        let refused = |key: &str, problem: &str| {
            let path = format!("{path}{key}");
            Err(origins.error(&path, format!("{path}: {problem}")))
        };
        let name = match self.name {
            Some(name) => name.0,
            None if alone => "default".to_owned(),
            None => return refused("", "no name; with several accounts, each needs one"),
        };
        if let Err(problem) = check_label(&name) {
            return refused(".name", problem);
        }
        let key = match (self.service_key_file, self.service_key_env) {
            (Some(_), Some(_)) => {
                return refused(
                    "",
                    &format!("{name:?} has both service_key_file and service_key_env; remove one of them"),
                );
            }
            (Some(file), None) if file.is_empty() => {
                return refused(".service_key_file", "expected the path of a file");
            }
            // Key sources are shown, so a key that was put here by mistake must not become one.
            (Some(file), None) if is_likely_key(&file) => {
                let problem = "looks like a ServiceKey; expected the path of a file that holds it (./NAME for a file \
                               in the working directory)";
                return refused(".service_key_file", problem);
            }
            (Some(file), None) => KeySource::File(file.0.into()),
            (None, Some(variable)) if !is_variable_name(&variable) => {
                let problem =
                    "expected the name of an environment variable (A-Z, 0-9 and _), not the ServiceKey itself";
                return refused(".service_key_env", problem);
            }
            (None, Some(variable)) => KeySource::Env(variable.0),
            (None, None) if alone => KeySource::Env(service_key::DEFAULT_ENV.to_owned()),
            (None, None) => {
                let problem =
                    "has no ServiceKey; with several accounts, each needs service_key_file or service_key_env";
                return refused("", &format!("{name:?} {problem}"));
            }
        };
        let mut expect = Vec::new();
        for (index, id) in self.expect.iter().enumerate() {
            let key = format!(".expect[{index}]");
            match PipelineId::new(id) {
                // Each id is one series.
                Some(id) if expect.contains(&id) => {
                    return refused(&key, &format!("duplicate pipeline id {:?}", id.as_str()));
                }
                Some(id) => expect.push(id),
                None => return refused(&key, "expected a pipeline id of 1 to 256 bytes"),
            }
        }
        let Self { projects, pipelines, pipeline_ids, .. } = self;
        let credits_run_out = self.credits_run_out.unwrap_or(CREDITS_RUN_OUT);
        Ok(Account { name, key, projects, pipelines, pipeline_ids, expect, credits_run_out })
    }
}

/// Whether a text from the configuration can be a label value.
pub(super) fn check_label(text: &str) -> Result<(), &'static str> {
    if text.trim().is_empty() || text.chars().count() > 100 || text.contains(breaks_lines) {
        return Err("expected 1 to 100 characters, not only spaces and without control characters");
    }
    Ok(())
}

fn is_variable_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}
