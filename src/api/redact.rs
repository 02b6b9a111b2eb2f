//! Makes free text of the API fit to be shown: keeps plain words, hides all that could be private.
//!
//! An allow-list, since a deny-list of secrets is never complete: a `last_error` can hold a connection
//! string, a host, a user, a query. What is left is enough to tell "password authentication failed"
//! from "connection refused".

const HIDDEN: &str = "[redacted]";
/// Longer texts are cut: a log line is no place for a stack trace.
const LONGEST: usize = 200;
/// No English word of an error message is longer; an unbroken run of letters that is may be a token.
const LONGEST_WORD: usize = 20;

/// Names come behind these words: `for user alice`, `relation swaps`.
const NAME_FOLLOWS: &[&str] = &[
    "user",
    "username",
    "role",
    "database",
    "db",
    "table",
    "relation",
    "column",
    "schema",
    "topic",
    "topics",
    "bucket",
    "queue",
    "host",
    "hostname",
    "server",
    "principal",
    "account",
    "group",
    "index",
    "view",
    "field",
];
/// Secrets come behind these: `password swordfish`, `token is abc`.
const SECRET_FOLLOWS: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "secret",
    "token",
    "key",
    "credential",
    "credentials",
    "bearer",
    "basic",
    "authorization",
    "signature",
    "cookie",
    "apikey",
];

/// The words of `text` that tell what is wrong, with everything that may be private replaced by `[redacted]`.
pub fn redact(text: &str) -> String {
    let mut shown = String::new();
    let mut hide_next = 0;
    for token in tokens(text) {
        let word = token.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let keep = hide_next == 0 && is_plain(token, word);
        hide_next = if SECRET_FOLLOWS.contains(&word.to_ascii_lowercase().as_str()) {
            2
        } else if NAME_FOLLOWS.contains(&word.to_ascii_lowercase().as_str()) {
            1
        } else {
            usize::saturating_sub(hide_next, 1)
        };
        let next = if keep { token } else { HIDDEN };
        if next == HIDDEN && shown.ends_with(HIDDEN) {
            continue;
        }
        if shown.chars().count() + next.len() > LONGEST {
            shown.push('…');
            break;
        }
        if !shown.is_empty() {
            shown.push(' ');
        }
        shown.push_str(next);
    }
    shown
}

/// Splits at white space, but leaves a quoted span whole (and so hidden), also one that never ends.
fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let mut quote = None;
        let mut before = ' ';
        let end = rest
            .char_indices()
            .find(|&(_, c)| {
                match quote {
                    Some(open) if c == open => quote = None,
                    None if matches!(c, '"' | '\'' | '`') && !before.is_alphanumeric() => quote = Some(c),
                    _ => {}
                }
                before = c;
                quote.is_none() && c.is_whitespace()
            })
            .map_or(rest.len(), |(at, _)| at);
        let (token, tail) = rest.split_at(end);
        rest = tail;
        (!token.is_empty()).then_some(token)
    })
}

/// A plain word with the punctuation of a sentence around it, or an HTTP status.
fn is_plain(token: &str, word: &str) -> bool {
    let sentence = |c: char| c.is_ascii_alphanumeric() || ".,;:!?()[]-'".contains(c);
    let letters = word.len() <= LONGEST_WORD && word.chars().all(|c| c.is_ascii_alphabetic() || c == '\'' || c == '-');
    let status = word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit());
    token.chars().all(sentence) && (letters || status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_and_everything_else_goes() {
        for (text, shown) in [
            ("connection refused", "connection refused"),
            ("dial tcp 10.0.0.5:5432: connect: connection refused", "dial tcp [redacted] connect: connection refused"),
            (
                "FATAL: password authentication failed for user \"alice\" (SQLSTATE 28P01)",
                "FATAL: password [redacted] for user [redacted] (SQLSTATE [redacted]",
            ),
            ("cannot reach postgres://u:p@db.example:5432/x?sslmode=require now", "cannot reach [redacted] now"),
            ("webhook answered 503 (see https://hooks.example/T0/B0)", "webhook answered 503 (see [redacted]"),
            ("password swordfish rejected", "password [redacted]"),
            ("password=swordfish host=db rejected", "[redacted] rejected"),
            ("the secret is swordfish, sorry", "the secret [redacted] sorry"),
            ("role alice can't write", "role [redacted] can't write"),
            ("unclosed 'quote with words", "unclosed [redacted]"),
            ("mail alice@example.org about it", "mail [redacted] about it"),
            ("AKIAABCDEFGHIJKLMNOPQRST expired", "[redacted] expired"),
            ("line one\nline two\u{7}", "line one line [redacted]"),
            ("", ""),
        ] {
            assert_eq!(redact(text), shown, "{text}");
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        let shown = redact(&"word ".repeat(1000));
        assert!(shown.chars().count() <= LONGEST + 1 && shown.ends_with('…'));
    }
}
