//! Where a setting comes from, and what to say about misplaced ServiceKeys.

use std::collections::BTreeMap;
use std::path::Path;

use crate::service_key::is_likely_key;
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
    pub fn explain(&self, problem: Problem) -> ConfigError {
        let path = problem.path.clone();
        let (parent, name) = path.rsplit_once('.').unwrap_or((".", &path));
        let text = match problem.why {
            Invalid::UnknownSetting { .. } if name.to_ascii_lowercase().ends_with("key") => format!(
                "{path}: a ServiceKey does not belong in the configuration; set service_key_file to the path of a file \
                 that holds it, or service_key_env to the name of an environment variable"
            ),
            // A key in the place of a name.
            Invalid::UnknownSetting { .. } if is_likely_key(name) => {
                Problem { path: parent.to_owned(), ..problem }.to_string()
            }
            _ => problem.to_string(),
        };
        self.error(&path, text)
    }
}
