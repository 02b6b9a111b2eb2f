//! Which pipelines a request selects: the page and the JSON form have the same query parameters.

use crate::trouble::{Kind, Severity, Trouble};

/// A validated query.
#[derive(Debug, Default)]
pub(super) struct Query {
    /// The text of the search field.
    pub(super) text: String,
    words: Vec<String>,
    pub(super) trouble: TroubleFilter,
    /// The only account to show; empty for all.
    pub(super) account: String,
    /// Maximum number of pipelines.
    pub(super) limit: usize,
    /// How many matching pipelines to skip.
    pub(super) offset: usize,
}

/// The condition on the troubles of a pipeline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum TroubleFilter {
    /// No condition.
    #[default]
    All,
    /// It has at least one.
    Any,
    /// It has at least one of this severity.
    Severity(Severity),
    /// It has one of this kind.
    Kind(Kind),
}

impl TroubleFilter {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::All => "",
            Self::Any => "any",
            Self::Severity(severity) => severity.as_str(),
            Self::Kind(kind) => kind.row().name,
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let severities = Severity::ALL.iter().map(|severity| Self::Severity(*severity));
        let kinds = Kind::ALL.iter().map(|kind| Self::Kind(*kind));
        let mut all = [Self::All, Self::Any].into_iter().chain(severities).chain(kinds);
        all.find(|filter| filter.as_str() == text).ok_or_else(|| {
            let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.row().name).collect();
            format!("The parameter trouble expects any, critical, warning or one of {}.\n", kinds.join(", "))
        })
    }

    /// Whether a pipeline with these troubles matches.
    pub(super) fn matches(self, troubles: &[Trouble]) -> bool {
        match self {
            Self::All => true,
            Self::Any => !troubles.is_empty(),
            Self::Severity(severity) => troubles.iter().any(|trouble| trouble.kind.row().severity == severity),
            Self::Kind(kind) => troubles.iter().any(|trouble| trouble.kind == kind),
        }
    }
}

impl Query {
    /// Reads the parameters. The default limit is `limit`, the highest is `most`. An empty parameter counts as absent,
    /// because HTML forms send empty ones.
    ///
    /// # Errors
    /// One line that names the parameter and what it expects.
    pub(super) fn new(parameters: &[(String, String)], limit: usize, most: usize) -> Result<Self, String> {
        let text = |name: &str| {
            let mut values = parameters.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
            match (values.next(), values.next()) {
                (value, None) => Ok(value.unwrap_or_default()),
                (_, Some(_)) => Err(format!("The parameter {name} expects one value.\n")),
            }
        };
        let number = |name: &str| match text(name)? {
            "" => Ok(None),
            text => {
                text.parse().map(Some).map_err(|_| format!("The parameter {name} expects a whole number, 0 or more.\n"))
            }
        };
        Ok(Self {
            words: text("q")?.to_lowercase().split_whitespace().map(str::to_owned).collect(),
            text: text("q")?.to_owned(),
            trouble: TroubleFilter::parse(text("trouble")?)?,
            account: text("account")?.to_owned(),
            limit: number("limit")?.unwrap_or(limit).min(most),
            offset: number("offset")?.unwrap_or(0),
        })
    }

    /// Whether it has any condition.
    pub(super) fn is_filter(&self) -> bool {
        !self.words.is_empty() || self.trouble != TroubleFilter::All || !self.account.is_empty()
    }

    /// Whether each word of the search is in one of the texts, ignoring case.
    pub(super) fn finds(&self, texts: &[&str]) -> bool {
        if self.words.is_empty() {
            return true;
        }
        let texts: Vec<String> = texts.iter().map(|text| text.to_lowercase()).collect();
        self.words.iter().all(|word| texts.iter().any(|text| text.contains(word)))
    }

    /// The query string of the same query from another offset.
    pub(super) fn from(&self, offset: usize, limit: usize) -> String {
        let (offset, limit) = (offset.to_string(), limit.to_string());
        let parameters = [
            ("q", self.text.as_str()),
            ("trouble", self.trouble.as_str()),
            ("account", &self.account),
            ("limit", &limit),
            ("offset", if offset == "0" { "" } else { &offset }),
        ];
        let given = parameters.iter().filter(|(_, value)| !value.is_empty());
        given.map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&")
    }
}

/// Percent-encodes all but the unreserved characters (RFC 3986, section 2.3).
fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(q: &str, trouble: &str) -> Result<Query, String> {
        Query::new(&[("q".to_owned(), q.to_owned()), ("trouble".to_owned(), trouble.to_owned())], 100, 500)
    }

    #[test]
    fn every_word_has_to_be_found_in_any_case() {
        let finds = |q, texts| query(q, "").unwrap().finds(texts);
        assert!(finds("  BASE pg ", &["From Base Swap", "pipe_1", "to PG"]));
        assert!(!finds("base kafka", &["From Base Swap", "to PG"]));
        assert!(finds("zürich", &["ZÜRICH"]));
        assert!(finds(" ", &[]));
    }

    #[test]
    fn only_existing_troubles_are_accepted() {
        for known in ["", "any", "critical", "warning", "destination_unhealthy"] {
            assert_eq!(query("", known).unwrap().trouble.as_str(), known);
        }
        assert!(query("", "nonsense").unwrap_err().contains("critical, warning or one of key_unauthorized, "));
    }

    #[test]
    fn a_parameter_has_one_value() {
        let twice = ["a", "a"].map(|value| ("q".to_owned(), value.to_owned()));
        assert_eq!(Query::new(&twice, 100, 500).unwrap_err(), "The parameter q expects one value.\n");
    }

    #[test]
    fn links_ask_for_the_same() {
        let link = query("a&b=\"ü\"", "any").unwrap().from(200, 100);
        assert_eq!(link, "q=a%26b%3D%22%C3%BC%22&trouble=any&limit=100&offset=200");
        assert_eq!(query("", "").unwrap().from(0, 100), "limit=100");
    }
}
