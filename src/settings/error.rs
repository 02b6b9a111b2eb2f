//! Why settings cannot be used, in one sentence: where, which setting, what it expects.

use std::path::Path;

/// Why a configuration is invalid. Names the file or variable and the setting, never a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {problem}")]
pub struct ConfigError {
    pub(crate) origin: String,
    pub(crate) problem: String,
}

impl ConfigError {
    pub(crate) fn of_file(file: &Path, problem: String) -> Self {
        Self { origin: file.display().to_string(), problem }
    }
}
