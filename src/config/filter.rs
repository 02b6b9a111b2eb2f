//! Filters by name: regular expressions that must match a whole name.

use std::fmt;

use regex::Regex;
use regex_syntax::hir::{Hir, Look};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::settings::{Text, list};

/// Matches a text that matches one of `include` (or any text if that is empty) and none of `exclude`.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Filter {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

impl Filter {
    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(text));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }

    /// Whether there is no pattern, so that every text matches.
    pub fn is_empty(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Lists {
    #[serde(deserialize_with = "list")]
    include: Vec<Pattern>,
    #[serde(deserialize_with = "list")]
    exclude: Vec<Pattern>,
}

/// Written as `{include: […], exclude: […]}`, or as a list of what to include.
impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FilterVisitor)
    }
}

struct FilterVisitor;

impl<'de> Visitor<'de> for FilterVisitor {
    type Value = Filter;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of regular expressions, or a section with include and exclude")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Filter, A::Error> {
        let Lists { include, exclude } = Lists::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Filter { include, exclude })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, include: A) -> Result<Filter, A::Error> {
        let include = Deserialize::deserialize(SeqAccessDeserializer::new(include))?;
        Ok(Filter { include, exclude: Vec::new() })
    }

    fn visit_unit<E>(self) -> Result<Filter, E> {
        Ok(Filter::default())
    }
}

/// A regular expression, as written and as compiled.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    whole: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Pattern {
    pub fn matches(&self, text: &str) -> bool {
        self.whole.is_match(text)
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn new(text: String) -> Result<Self, String> {
        let parsed = regex_syntax::parse(&text).map_err(|error| match error {
            regex_syntax::Error::Parse(error) => error.kind().to_string(),
            regex_syntax::Error::Translate(error) => error.kind().to_string(),
            _ => "unknown error".to_owned(),
        })?;
        // Anchored as a tree: in parentheses, `a)|(b` would be valid and `(?x)a # comment` would not.
        let whole = Hir::concat(vec![Hir::look(Look::Start), parsed, Hir::look(Look::End)]);
        // Only its compiled size can still be wrong.
        let whole = Regex::new(&whole.to_string()).map_err(|_| "it is too large".to_owned())?;
        Ok(Self { text, whole })
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(text) = Text::deserialize(deserializer)?;
        let refused =
            |why| D::Error::custom(format!("{text:?} is not a regular expression such as analytics-.*: {why}"));
        Self::new(text.clone()).map_err(refused)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}
