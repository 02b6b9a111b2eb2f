//! Strict reading of settings files: a tree of values from YAML or TOML, values of exactly the expected type, and
//! messages that name the setting but repeat nothing that may be a secret.
//!
//! Only this module uses the config crate, and only its parsers and its [`Value`].

mod error;
mod file;
mod tree;
mod values;

use std::path::Path;

use serde::de::DeserializeOwned;

pub use error::ConfigError;

pub(crate) use ::config::{FileFormat, Map, Value, ValueKind};
pub(crate) use file::parse;
pub(crate) use tree::{Invalid, Problem, deserialize};
pub(crate) use values::{LONGEST, Section, Text, boolean, list, value_of, whole};

/// Reads settings from this text of a YAML file.
///
/// # Errors
/// A [`ConfigError`] that names the setting; it repeats no text from the file that may be a secret.
pub(crate) fn parse_yaml<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, ConfigError> {
    let refused = |problem| ConfigError::of_file(file, problem);
    let value = parse(text, FileFormat::Yaml).map_err(refused)?;
    deserialize(value).map_err(|problem| refused(problem.to_string()))
}
