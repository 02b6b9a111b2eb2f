//! Repairs a body that is almost JSON, so that one bad byte in a value does not cost all other values.
//!
//! Called only for a body that could not be parsed.

use crate::labels::breaks_lines;

/// Replaces what no JSON parser accepts; `None` if there was nothing to replace. Inside texts, control characters
/// become spaces and broken escapes become U+FFFD. Outside, numbers that JSON lacks (`NaN`, `-Infinity`, `+7`, `.5`)
/// become texts, which the reader of numbers then accepts or rejects.
pub(super) fn repair(body: &str) -> Option<String> {
    let body_without_mark = body.strip_prefix('\u{FEFF}').unwrap_or(body);
    let mut repaired = String::with_capacity(body.len() + 16);
    let mut rest = body_without_mark;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '"' => text(&rest[1..], &mut repaired),
            _ if first.is_ascii_whitespace() || ",:{}[]".contains(first) => {
                repaired.push(first);
                &rest[first.len_utf8()..]
            }
            _ => word(rest, &mut repaired),
        };
    }
    (repaired != body).then_some(repaired)
}

/// Copies the text after an opening quote, up to and including the closing one.
fn text<'a>(inside: &'a str, repaired: &mut String) -> &'a str {
    repaired.push('"');
    let mut rest = inside;
    while let Some(first) = rest.chars().next() {
        let copied = match first {
            '"' => {
                repaired.push('"');
                return &rest[1..];
            }
            '\\' => match valid_escape(rest) {
                Some(escape) => {
                    repaired.push_str(escape);
                    escape.len()
                }
                None => {
                    repaired.push(char::REPLACEMENT_CHARACTER);
                    1
                }
            },
            _ => {
                repaired.push(if breaks_lines(first) { ' ' } else { first });
                first.len_utf8()
            }
        };
        rest = &rest[copied..];
    }
    rest
}

fn valid_escape(text: &str) -> Option<&str> {
    match text.as_bytes().get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(&text[..2]),
        b'u' => text.get(..6).filter(|escape| escape[2..].bytes().all(|byte| byte.is_ascii_hexdigit())),
        _ => None,
    }
}

/// Copies a word outside any text, and quotes it if it is meant as a number but is not a JSON number.
fn word<'a>(rest: &'a str, repaired: &mut String) -> &'a str {
    let end = rest.find(|c: char| c.is_ascii_whitespace() || ",:{}[]\"".contains(c)).unwrap_or(rest.len());
    let (word, rest) = rest.split_at(end);
    let digits = word.trim_start_matches(['+', '-']);
    let meant = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || ["nan", "inf", "infinity"].iter().any(|name| digits.eq_ignore_ascii_case(name));
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if meant && plain && serde_json::from_str::<serde::de::IgnoredAny>(word).is_err() {
        repaired.push('"');
        repaired.push_str(word);
        repaired.push('"');
    } else {
        repaired.push_str(word);
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_parser_accepts_is_replaced() {
        for (body, repaired) in [
            (
                "{\"a\": NaN, \"b\": [-Infinity,+7,.5,01]}",
                "{\"a\": \"NaN\", \"b\": [\"-Infinity\",\"+7\",\".5\",\"01\"]}",
            ),
            ("{\"a\": \"tab\there\u{1}\"}", "{\"a\": \"tab here \"}"),
            (r#"{"a": "\x \u12 \q\" NaN"}"#, "{\"a\": \"\u{FFFD}x \u{FFFD}u12 \u{FFFD}q\\\" NaN\"}"),
            ("{\"a\": 5x}", "{\"a\": \"5x\"}"),
            ("\u{FEFF}{}", "{}"),
        ] {
            assert_eq!(repair(body).as_deref(), Some(repaired), "{body}");
        }
        for fine in [
            "{\"a\": [1.5e3, true, null, \"NaN\", \"\\u00e9\\\\\"]}",
            "<html>NaN of it</html>",
            "{\"a\": n}",
            "{\"a\": x5}",
            "{\"a\": 5<}",
            "",
        ] {
            assert_eq!(repair(fine).filter(|_| !fine.starts_with('<')), None, "{fine}");
        }
    }
}
