//! Recognizes by its shape what people mistake for a ServiceKey, so that it is not sent and then looks like a revoked
//! key. The format of ServiceKeys is not documented, so only what certainly is not one is rejected.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// How regular API keys of GoldRush begin, current and older ones.
const API_KEYS: [&str; 2] = ["cqt_", "ckey_"];

/// A shorter text may be valid base64 by chance.
const SHORTEST_ENCODED: usize = 16;

/// Why a text is certainly not a ServiceKey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Empty, or only white space.
    #[error("is empty")]
    Empty,
    /// A header instead of the key.
    #[error("begins like a header: write the key alone, the exporter adds \"Bearer\"")]
    Bearer,
    /// A line from a shell script or an env file.
    #[error("has the form NAME=value: write the value alone, without the name and the equals sign")]
    Assignment,
    /// Quotes that a shell would have removed.
    #[error("begins or ends with a quotation mark: write the key without quotes")]
    Quoted,
    /// A line break in a programming language's notation.
    #[error("ends with a literal \\n (a backslash and a letter): write the key without it")]
    EscapedNewline,
    /// A variable or template that was not filled in.
    #[error("is a placeholder that has not been filled in: write the key itself")]
    Placeholder,
    /// A document that contains the key.
    #[error("is JSON: write the key alone")]
    Json,
    /// The content of a Kubernetes secret, encoded once too often.
    #[error(
        "is a key in base64: write the key itself (in a Kubernetes Secret, stringData expects the key itself, data expects it in base64 once)"
    )]
    Base64,
    /// Two keys, a sentence, or a wrapped line.
    #[error("contains white space: write the key alone, on one line")]
    InnerWhitespace,
    /// A wrong encoding, or a binary file.
    #[error("contains control or non-ASCII characters: write the key exactly as GoldRush shows it, in UTF-8")]
    Unprintable,
}

/// Why a text is probably not a ServiceKey, although it can be sent as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Suspicion {
    /// A regular API key.
    #[error("looks like a regular API key of GoldRush, which cannot read pipelines: create a ServiceKey")]
    ApiKey,
    /// Base64 of a text that is not known to be a key.
    #[error("looks like base64 of a text: if it is an encoded key, write the key itself")]
    Base64,
    /// The path of a file instead of its content.
    #[error("looks like the path of a file: if the key is in that file, use service_key_file")]
    Path,
}

/// Checks a text without surrounding white space.
pub(super) fn check(key: &str) -> Result<Option<Suspicion>, Flaw> {
    match flaw(key) {
        Some(flaw) => Err(flaw),
        None => Ok(suspicion(key)),
    }
}

/// Checks the most informative ones first.
fn flaw(key: &str) -> Option<Flaw> {
    let quotes = ['"', '\'', '`', '“', '”', '‘', '’'];
    let escaped = ["\\n", "\\r"];
    let is_between = |begin: &str, end: &str| key.starts_with(begin) && key.ends_with(end);
    if key.is_empty() {
        Some(Flaw::Empty)
    } else if is_between("{{", "}}") || is_between("<", ">") || is_between("%", "%") || is_variable(key) {
        Some(Flaw::Placeholder)
    } else if is_between("{", "}") {
        Some(Flaw::Json)
    } else if is_header(key) {
        Some(Flaw::Bearer)
    } else if is_assignment(key) {
        Some(Flaw::Assignment)
    } else if key.starts_with(quotes) || key.ends_with(quotes) {
        Some(Flaw::Quoted)
    } else if escaped.iter().any(|end| key.ends_with(end)) {
        Some(Flaw::EscapedNewline)
    } else if key.contains(char::is_whitespace) {
        Some(Flaw::InnerWhitespace)
    } else if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        Some(Flaw::Unprintable)
    } else if decoded(key).is_some_and(|text| has_known_prefix(&text)) {
        Some(Flaw::Base64)
    } else {
        None
    }
}

fn suspicion(key: &str) -> Option<Suspicion> {
    if API_KEYS.iter().any(|prefix| key.starts_with(prefix)) {
        Some(Suspicion::ApiKey)
    } else if decoded(key).is_some_and(|text| text.len() >= SHORTEST_ENCODED) {
        Some(Suspicion::Base64)
    } else if key.contains("://") || key.starts_with('/') && key.matches('/').count() > 1 && !key.contains(['+', '=']) {
        Some(Suspicion::Path)
    } else {
        None
    }
}

/// `$NAME`, `${NAME}` or `$(command)`.
fn is_variable(key: &str) -> bool {
    let is_name =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    key.strip_prefix('$').is_some_and(|rest| rest.starts_with(['{', '(']) || is_name(rest))
}

/// `Bearer …` or `Authorization: …`.
fn is_header(key: &str) -> bool {
    let name = key.split(|c: char| c.is_whitespace() || c == ':').next().unwrap_or_default();
    name.len() < key.len() && ["bearer", "authorization"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// `NAME=value` or `export NAME=value`, but not base64, which ends in equals signs.
fn is_assignment(key: &str) -> bool {
    let key = key.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])).map_or(key, str::trim_start);
    let Some((name, value)) = key.split_once('=') else { return false };
    let name = name.trim_end();
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !value.trim_matches('=').is_empty()
}

/// The decoded text, if this is base64 of something that could be a key.
fn decoded(key: &str) -> Option<Zeroizing<String>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes =
        [STANDARD, URL_SAFE].into_iter().find_map(|alphabet| GeneralPurpose::new(&alphabet, config).decode(key).ok());
    let text = Zeroizing::new(String::from_utf8(bytes?).ok()?);
    let could_be_a_key = !text.trim().is_empty() && text.trim().bytes().all(|byte| byte.is_ascii_graphic());
    could_be_a_key.then_some(text)
}

fn has_known_prefix(text: &str) -> bool {
    API_KEYS.into_iter().chain(["sk_"]).any(|prefix| text.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_certainly_not_keys_are_rejected() {
        for (text, flaw) in [
            ("", Flaw::Empty),
            ("\"sk_prod\"", Flaw::Quoted),
            ("'sk_prod'", Flaw::Quoted),
            ("`sk_prod`", Flaw::Quoted),
            ("“sk_prod”", Flaw::Quoted),
            ("\"sk_prod", Flaw::Quoted),
            ("sk_prod'", Flaw::Quoted),
            ("GOLDRUSH_SERVICE_KEY=sk_prod", Flaw::Assignment),
            ("export GOLDRUSH_SERVICE_KEY=sk_prod", Flaw::Assignment),
            ("export\tKEY=sk_prod", Flaw::Assignment),
            ("service_key=\"sk_prod\"", Flaw::Assignment),
            ("KEY = sk_prod", Flaw::Assignment),
            ("sk_prod\\n", Flaw::EscapedNewline),
            ("sk_prod\\r\\n", Flaw::EscapedNewline),
            ("Bearer sk_prod", Flaw::Bearer),
            ("bearer\tsk_prod", Flaw::Bearer),
            ("Bearer: sk_prod", Flaw::Bearer),
            ("Authorization: Bearer sk_prod", Flaw::Bearer),
            ("%GOLDRUSH_SERVICE_KEY%", Flaw::Placeholder),
            ("${GOLDRUSH_SERVICE_KEY}", Flaw::Placeholder),
            ("$GOLDRUSH_SERVICE_KEY", Flaw::Placeholder),
            ("$(cat /run/secrets/key)", Flaw::Placeholder),
            ("<your-service-key>", Flaw::Placeholder),
            ("{{ .Values.serviceKey }}", Flaw::Placeholder),
            ("{\"key\": \"sk_prod\"}", Flaw::Json),
            // sk_prod, also with a line break, without padding, and in the URL-safe alphabet.
            ("c2tfcHJvZA==", Flaw::Base64),
            ("c2tfcHJvZA", Flaw::Base64),
            ("c2tfcHJvZAo=", Flaw::Base64),
            ("c2tfPz8_Pz8_", Flaw::Base64),
            ("Y3F0X3Byb2Q=", Flaw::Base64),
            ("sk_1 sk_2", Flaw::InnerWhitespace),
            ("sk_1\nsk_2", Flaw::InnerWhitespace),
            ("sk\u{a0}1", Flaw::InnerWhitespace),
            ("sk\u{7}1", Flaw::Unprintable),
            ("sk\u{0}1", Flaw::Unprintable),
            ("ské", Flaw::Unprintable),
        ] {
            assert_eq!(check(text), Err(flaw), "{text:?}");
        }
    }

    #[test]
    fn texts_that_may_be_keys_are_accepted() {
        for (text, suspicion) in [
            ("sk_test_canary_8c1f0d2b7a6e4935", None),
            ("k", None),
            ("bearer_of_keys", None),
            ("$k9Q", None),
            ("export", None),
            ("3e8678c5fc9e48a7bf9879ca7293e867", None),
            // Random bytes in base64.
            ("tP8x0uB5Wq6m2nIh/0a+7w==", None),
            ("AbC=", None),
            ("a.b-c~d+e/f", None),
            ("cqt_rQ8xyz", Some(Suspicion::ApiKey)),
            ("ckey_0123", Some(Suspicion::ApiKey)),
            ("YW5vdGhlci1raW5kLW9mLWtleQ==", Some(Suspicion::Base64)),
            ("/run/secrets/goldrush", Some(Suspicion::Path)),
            ("vault://goldrush/key", Some(Suspicion::Path)),
        ] {
            assert_eq!(check(text), Ok(suspicion), "{text:?}");
        }
    }
}
