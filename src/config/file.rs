//! A YAML or TOML file as a tree of values.
//!
//! The parsers' messages quote the file, and so perhaps a key that should not stand there. Only what is
//! known to quote nothing is passed on.

use std::path::Path;

use ::config::{File, FileFormat, Map, Source, Value};

use super::error::ConfigError;
use crate::file_system;

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

/// The tree of a text; of one that holds nothing, an empty one.
pub(super) fn parse(text: &str, format: FileFormat) -> Result<Value, String> {
    // Not through config's builder, which takes the outermost keys for path expressions.
    match File::from_str(text, format).collect() {
        Ok(settings) => Ok(settings.into()),
        Err(error) => match problem(&error) {
            Some(problem) => Err(problem),
            None => Ok(Map::<String, Value>::new().into()),
        },
    }
}

/// What is wrong; `None` if all that is wrong is that there is nothing.
fn problem(error: &::config::ConfigError) -> Option<String> {
    use ::config::ConfigError;
    let ConfigError::FileParse { cause, .. } = error else { return Some(error.to_string()) };
    // A box in a box: YAML whose outermost value is no map.
    match cause.downcast_ref().map(Box::as_ref) {
        // `---` and nothing more; the type of `unexpected` has no public name.
        Some(ConfigError::Type { unexpected, .. }) if unexpected.to_string() == "unit value" => return None,
        Some(_) => return Some("it takes sections of settings".to_owned()),
        None => {}
    }
    let text = cause.to_string();
    if let [place, .., what] = text.lines().collect::<Vec<_>>().as_slice() {
        // TOML's: where, three lines that quote the file, what.
        return Some(format!("{what}{}", place.trim_start_matches("TOML parse error")));
    }
    if let Some((key, place)) = text.split_once(": duplicated key in mapping") {
        // YAML's, with the key as Rust writes it.
        let key = key.strip_prefix("String(\"").and_then(|key| key.strip_suffix("\")"));
        let key = key.map_or_else(|| "a key".to_owned(), |key| format!("`{key}`"));
        return Some(format!("{key} stands twice in one section{place}"));
    }
    if text.contains("unsupported hash key") {
        return Some("a key in it is not a text".to_owned());
    }
    Some(text)
}
