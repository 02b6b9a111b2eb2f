//! Which names are wanted: regular expressions that have to match the whole of a name.

use regex::Regex;
use serde::de::{Deserialize, Deserializer, Error};

use super::sections::{Text, list};

/// Takes a text if it matches one of `include`, or there are none, and none of `exclude`.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    #[serde(deserialize_with = "list")]
    pub(super) include: Vec<Pattern>,
    #[serde(deserialize_with = "list")]
    pub(super) exclude: Vec<Pattern>,
}

impl Filter {
    /// Whether the text is wanted.
    pub fn matches(&self, text: &str) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.whole.is_match(text));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

/// A regular expression, as it was written and as it is used.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    pub text: String,
    whole: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Pattern {
    fn new(text: String) -> Result<Self, regex::Error> {
        // `a)|(b` is none by itself, but would be one between the brackets.
        Regex::new(&text)?;
        let whole = Regex::new(&format!("^(?:{text})$"))?;
        Ok(Self { text, whole })
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(text) = Text::deserialize(deserializer)?;
        Self::new(text.clone()).map_err(|error| {
            // The crate's message draws the pattern, with an arrow below it; its last line says what is wrong.
            let error = error.to_string();
            let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            D::Error::custom(format!("`{text}` is not a regular expression ({why}); it takes one such as analytics-.*"))
        })
    }
}
