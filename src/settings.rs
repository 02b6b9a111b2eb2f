//! Files of settings, read strictly: a tree of values from YAML or TOML, values that are what they look like, and messages
//! that name the setting and repeat nothing that may be a secret.
//!
//! Only this module and `config` name the config crate, and only for its parsers and its [`Value`](::config::Value).

mod error;
mod file;
mod tree;
mod values;

use std::path::Path;

use serde::de::DeserializeOwned;

pub use error::ConfigError;

pub(crate) use error::Problem;
pub(crate) use file::parse;
pub(crate) use tree::{Invalid, deserialize};
pub(crate) use values::{LONGEST, Section, Text, boolean, list, value_of, whole};

/// Reads the settings of a YAML file with this text.
///
/// # Errors
/// A [`ConfigError`] that names the setting; it repeats no text of the file that may be a secret.
pub(crate) fn parse_yaml<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, ConfigError> {
    let refused = |problem: String| ConfigError { origin: file.display().to_string(), problem };
    let value = parse(text, ::config::FileFormat::Yaml).map_err(refused)?;
    deserialize(value).map_err(|error| refused(Problem::of(error).to_string()))
}
