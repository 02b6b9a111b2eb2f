//! The text of a YAML or TOML file as a tree of values.
//!
//! The parsers' messages quote the file, and so perhaps a key that should not stand there. Only what is
//! known to quote nothing is passed on.

use ::config::{File, FileFormat, Map, Source, Value};

/// The tree of a text; of one that holds nothing, an empty one.
pub(crate) fn parse(text: &str, format: FileFormat) -> Result<Value, String> {
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
