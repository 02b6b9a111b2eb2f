//! The configuration's file, in the format that its name says.

use std::path::Path;

use ::config::{FileFormat, Value};

use super::error::ConfigError;
use crate::file_system;
use crate::settings::parse;

/// No configuration is larger.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;

/// Reads the file in the format that its extension says.
pub(super) fn read(path: &Path) -> Result<Value, ConfigError> {
    let refused = |problem: String| ConfigError { origin: path.display().to_string(), problem };
    let (format, name) = match path.extension().and_then(|extension| extension.to_str()) {
        Some("yaml" | "yml") => (FileFormat::Yaml, "YAML"),
        Some("toml") => (FileFormat::Toml, "TOML"),
        _ => return Err(refused("a configuration file takes a name that ends in .yaml, .yml or .toml".to_owned())),
    };
    let bytes = file_system::read(path, LARGEST_FILE);
    let bytes = bytes.map_err(|error| refused(format!("cannot be read: {error}")))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| refused("cannot be read: it is not UTF-8".to_owned()))?;
    parse(text, format).map_err(|problem| refused(format!("cannot be read as {name}: {problem}")))
}
