//! What is wrong with a settings file, in one sentence: where, which setting, what it expects.

use std::fmt;

use serde_path_to_error::Segment;

use super::tree::Invalid;

/// Why a configuration is invalid. Names the file or variable and the setting, never a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {problem}")]
pub struct ConfigError {
    pub(crate) origin: String,
    pub(crate) problem: String,
}

/// A setting, and why it cannot be deserialized. Displayed as one sentence.
pub(crate) struct Problem {
    /// The path of the setting, such as `accounts[0].name`.
    pub path: String,
    /// The last part of the path, if it is the name of a setting.
    pub key: Option<String>,
    pub why: Invalid,
}

impl Problem {
    pub fn of(error: serde_path_to_error::Error<Invalid>) -> Self {
        let key = match error.path().iter().next_back() {
            Some(Segment::Map { key }) => Some(key.clone()),
            _ => None,
        };
        Self { path: error.path().to_string(), key, why: error.into_inner() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The path of the whole file is a dot.
        let path = if self.path == "." { "the file" } else { &self.path };
        match &self.why {
            Invalid::UnknownSetting { known } => write!(f, "{path}: unknown setting (expected {})", known.join(", ")),
            Invalid::Type { expected } => write!(f, "{path}: expected {expected}"),
            Invalid::Value(problem) => write!(f, "{path}: {problem}"),
        }
    }
}
