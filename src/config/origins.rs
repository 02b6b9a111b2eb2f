//! Where a setting comes from, and what to say about misplaced ServiceKeys.

use std::collections::BTreeMap;
use std::path::Path;

use crate::settings::{ConfigError, Invalid, Problem};

/// The file and the variables that settings come from.
pub(super) struct Origins<'a> {
    pub file: Option<&'a Path>,
    /// The variable behind every path that the environment sets.
    pub variables: BTreeMap<String, String>,
}

impl Origins<'_> {
    /// An error about the setting at `path`.
    pub fn error(&self, path: &str, problem: String) -> ConfigError {
        let covers =
            |above: &str| path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        // The deepest path that covers this one sorts last.
        let variable = self.variables.iter().rev().find(|(above, _)| covers(above));
        let origin = match (variable, self.file) {
            (Some((_, variable)), _) => variable.clone(),
            (None, Some(file)) => file.display().to_string(),
            (None, None) => "the configuration".to_owned(),
        };
        ConfigError { origin, problem }
    }

    /// An error about a setting that cannot be deserialized.
    pub fn explain(&self, problem: &Problem) -> ConfigError {
        let Problem { path, why } = problem;
        let text = match why {
            Invalid::UnknownSetting { .. } if path.to_ascii_lowercase().ends_with("key") => format!(
                "{path}: a ServiceKey does not belong in the configuration; set service_key_file to the path of a file \
                 that holds it, or service_key_env to the name of an environment variable"
            ),
            _ => problem.to_string(),
        };
        self.error(path, text)
    }
}
