//! What is wrong with settings, in one sentence: where, which setting, what it would take.

use serde_path_to_error::Segment;

/// Why a configuration is refused. It names the file or variable and the setting, never a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {problem}")]
pub struct ConfigError {
    pub(crate) origin: String,
    pub(crate) problem: String,
}

/// What serde found wrong, in our words: of the values that its own message may repeat, none is left.
pub(crate) struct Flaw {
    /// Of the setting, as in `accounts[0].name`.
    pub path: String,
    /// The last part of the path, if there is no such setting.
    pub unknown: Option<String>,
    /// Whether a list is wanted there.
    pub wants_list: bool,
    /// The sentence.
    pub problem: String,
}

impl Flaw {
    /// Explains serde's error.
    pub fn of(error: serde_path_to_error::Error<::config::ConfigError>) -> Self {
        let path = error.path().to_string();
        let last = error.path().iter().next_back().cloned();
        let message = innermost(error.into_inner()).to_string();
        let known = message.strip_prefix("unknown field `").and_then(|rest| rest.rsplit_once("`, expected "));
        let expected = message.strip_prefix("invalid type: ").and_then(|rest| rest.rsplit_once(", expected "));
        let (mut unknown, mut wants_list) = (None, false);
        let problem = match (known, last, expected) {
            (Some((_, known)), Some(Segment::Map { key }), _) => {
                let problem = unknown_setting(&path, &key, known);
                unknown = Some(key);
                problem
            }
            (_, _, Some((_, "a sequence"))) => {
                wants_list = true;
                format!("{path}: it takes a list")
            }
            (_, _, Some((_, expected))) => format!("{path}: it takes {expected}"),
            _ => format!("{path}: {message}"),
        };
        Self { path, unknown, wants_list, problem }
    }
}

/// `known` is the end of serde's sentence, with each setting in backticks.
fn unknown_setting(path: &str, key: &str, known: &str) -> String {
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    let section = path.strip_suffix(key).unwrap_or_default().trim_end_matches('.');
    let section = if section.is_empty() { "the configuration".to_owned() } else { format!("`{section}`") };
    format!("`{path}` is not a setting; {section} takes {}", known.join(", "))
}

/// Without the config crate's own account of the path.
fn innermost(error: ::config::ConfigError) -> ::config::ConfigError {
    match error {
        ::config::ConfigError::At { error, .. } => innermost(*error),
        other => other,
    }
}
