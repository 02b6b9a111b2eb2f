//! What is wrong with the configuration: which of its origins, and what people try with ServiceKeys.

use std::collections::BTreeMap;
use std::path::Path;

pub use crate::settings::ConfigError;
use crate::settings::Flaw;

/// Which settings come from where.
pub(super) struct Origins<'a> {
    pub file: Option<&'a Path>,
    /// The variable behind every path that the environment has set.
    pub variables: BTreeMap<String, String>,
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
        let Flaw { path, unknown, wants_list, problem } = Flaw::of(error);
        let problem = match unknown {
            Some(key) if key_like(&key) => no_service_key(&path),
            _ if wants_list => format!("{problem}, in variables one for each element: …__0, …__1"),
            _ => problem,
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
