//! Parses the text of a YAML or TOML file into a tree of values.
//!
//! The config crate passes on its parsers' messages, which quote the file, and so possibly a misplaced key. If it
//! rejects a text, the same parser parses it again here, with errors as types.

use ::config::{File, FileFormat, Map, Source, Value};
use yaml_rust2::{Yaml, YamlLoader};

/// The tree of a text; empty if the text has no content.
pub(crate) fn parse(text: &str, format: FileFormat) -> Result<Value, String> {
    // Bypasses config's builder, which interprets the top-level keys as path expressions.
    if let Ok(settings) = File::from_str(text, format).collect() {
        return Ok(settings.into());
    }
    match format {
        FileFormat::Toml => Err(format!("cannot be read as TOML: {}", toml_problem(text))),
        _ => match yaml_problem(text) {
            Some(problem) => Err(format!("cannot be read as YAML: {problem}")),
            None => Ok(Map::<String, Value>::new().into()),
        },
    }
}

/// Why the text is not a YAML map of settings; `None` if it is just empty.
fn yaml_problem(text: &str) -> Option<String> {
    match YamlLoader::load_from_str(text).as_deref() {
        Ok([Yaml::Null]) => None,
        Ok([Yaml::Hash(_)]) => Some("a key is not text, or a number is malformed".to_owned()),
        Ok([_]) => Some("expected sections of settings".to_owned()),
        Ok(documents) => Some(format!("expected one document, found {}", documents.len())),
        Err(error) => {
            let (line, column) = (error.marker().line(), error.marker().col() + 1);
            Some(format!("{} at line {line}, column {column}", describe(error.info())))
        }
    }
}

/// The YAML parser's words. It has no type for a duplicate key, and formats the key with Rust's `Debug`.
fn describe(info: &str) -> String {
    let duplicate = info.strip_prefix("String(").and_then(|info| info.strip_suffix("): duplicated key in mapping"));
    duplicate.map_or_else(|| info.to_owned(), |key| format!("duplicate key {key}"))
}

fn toml_problem(text: &str) -> String {
    let Err(error) = toml::de::DeTable::parse(text) else { return "a number is malformed".to_owned() };
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.lines().count().max(1) + usize::from(before.ends_with('\n'));
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{} at line {line}, column {column}", error.message().replace('\n', ", "))
}
