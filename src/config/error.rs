//! What is wrong with a configuration, in one sentence: where, which setting, what it would take.

use std::collections::BTreeMap;
use std::path::Path;

use serde_path_to_error::Segment;

/// Why a configuration is refused. It names the file or variable and the setting, never a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {problem}")]
pub struct ConfigError {
    pub(crate) origin: String,
    pub(crate) problem: String,
}

/// Which settings come from where.
pub(super) struct Origins<'a> {
    pub file: Option<&'a Path>,
    /// The variable behind every path that the environment has set.
    pub variables: BTreeMap<String, String>,
    /// Whether somebody may try to set a ServiceKey there, and is told how to do that.
    pub about_service_keys: bool,
}

impl Origins<'_> {
    /// The refusal of what stands at `path`.
    pub fn error(&self, path: &str, problem: String) -> ConfigError {
        let covers =
            |above: &str| path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        // The deepest of the paths that cover this one sorts last.
        let variable = self.variables.iter().rev().find(|(above, _)| covers(above));
        let origin = match (variable, self.file) {
            (Some((_, variable)), _) => variable.clone(),
            (None, Some(file)) => file.display().to_string(),
            (None, None) => "the configuration".to_owned(),
        };
        ConfigError { origin, problem }
    }

    /// Serde's error in our words; of the values that its text may repeat, none is left.
    pub fn explain(&self, error: serde_path_to_error::Error<::config::ConfigError>) -> ConfigError {
        let path = error.path().to_string();
        let last = error.path().iter().next_back().cloned();
        let message = innermost(error.into_inner()).to_string();
        let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.rsplit_once("`, expected "));
        let problem = match (unknown, last) {
            (Some(_), Some(Segment::Map { key })) if self.about_service_keys && key_like(&key) => no_service_key(&path),
            (Some((_, known)), Some(Segment::Map { key })) => unknown_setting(&path, &key, known),
            _ => match message.strip_prefix("invalid type: ").and_then(|rest| rest.rsplit_once(", expected ")) {
                Some((_, "a sequence")) => {
                    format!("{path}: it takes a list, in variables one for each element: …__0, …__1")
                }
                Some((_, expected)) => format!("{path}: it takes {expected}"),
                None => format!("{path}: {message}"),
            },
        };
        self.error(&path, problem)
    }
}

fn key_like(key: &str) -> bool {
    key.to_ascii_lowercase().ends_with("key")
}

fn no_service_key(path: &str) -> String {
    format!(
        "`{path}` is not a setting, as no ServiceKey belongs into a configuration; \
         service_key_file takes the path of a file that holds it, service_key_env the name of a variable"
    )
}

/// `known` is the end of serde's sentence, with each setting in backticks.
fn unknown_setting(path: &str, key: &str, known: &str) -> String {
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    let section = path.strip_suffix(key).unwrap_or_default().trim_end_matches('.');
    let section = if section.is_empty() { "the configuration".to_owned() } else { format!("`{section}`") };
    format!("`{path}` is not a setting; {section} takes {}", known.join(", "))
}

/// Without the config crate's own account of the path.
fn innermost(error: ::config::ConfigError) -> ::config::ConfigError {
    match error {
        ::config::ConfigError::At { error, .. } => innermost(*error),
        other => other,
    }
}
