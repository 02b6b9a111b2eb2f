//! Makes free text from the API safe to show: keeps the vocabulary of errors, hides all other words.
//!
//! A deny-list of secrets is never complete: a `last_error` can contain a connection string, a host, a user, a person's
//! name or a query. What remains is enough to tell "password authentication failed" from "connection refused".

use std::collections::HashSet;
use std::sync::LazyLock;

const HIDDEN: &str = "[redacted]";
/// Longer texts are truncated: a log line is not the place for a stack trace.
const LONGEST: usize = 200;

/// The words that are shown, in any case. None is a name or a secret; a new word must not be one either.
const VOCABULARY: &str = "
    a access account action active after again all already an and another answer answered any api argument as at
    attempt auth authenticate authentication authorization authorized auto bad bandwidth be because been before
    being belongs body bound broken broker brokers bucket buffer busy but by call can can't cancel canceled cancelled
    cannot capacity certificate change check client close closed closing cluster code column columns command commit
    committed conflict connect connected connecting connection connections constraint content context could couldn't
    create credential credentials credits data database dead deadline decode delete denied deny destination dial did
    didn't disabled disconnected disk dns do does doesn't down driver dropped due duplicate during empty end ended
    endpoint enough eof error errors exceed exceeded exceeds exception execute exist exists expected expired fail
    failed failing failure fatal fetch field file for forbidden foreign format found from full function gateway get
    given gone group gzip handshake has have header healthy host hostname http https identifier if in incompatible
    incorrect insert insufficient internal invalid io is isn't issuer it its kafka key large last leader length
    level limit limited line login long lookup lost malformed many match maximum memory message method mismatch
    missing mode name network new no node none not null object of offline offset on only open operation or order os out
    over overload overloaded packet parse partition password payload payment peer permission permitted pipe pipeline plan
    please policy pool port postgres privilege privileges protocol provided query queue quota range rate reach
    reached read reading ready reason receive received record records recovery reduce refused region reject rejected
    relation remaining remote replica request requests required reset resolution resolve resource response retries
    retry returned revoked role root row rows running sasl schema secret self-signed send sendrequest sent server service
    servicekey session shard shutdown shutting signature signed size slow socket space ssl start starting state
    status stopped storage stream string subscription such syntax system table tables task tcp temporarily temporary
    terminated than that the there this throttled throttling time timed timeout timestamp tls to token too topic
    topics transaction trial trusted try trying type types unable unauthorized unavailable unexpected unique unknown
    unreachable until upgrade upstream url usage use user using valid value values verify version violates violation
    wait waiting warning was webhook when while with within without write writing wrong x509 yet you your
";

static WORDS: LazyLock<HashSet<&str>> = LazyLock::new(|| VOCABULARY.split_ascii_whitespace().collect());

/// Keeps the words of `text` that say what is wrong and replaces everything else with `[redacted]`.
pub fn redact(text: &str) -> String {
    let mut shown = String::new();
    for token in tokens(text) {
        let next = if is_plain(token) { token } else { HIDDEN };
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

/// Splits at white space, but keeps a quoted span whole (and so hidden), even one that never ends.
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

/// A known word or an HTTP status, with punctuation around it.
fn is_plain(token: &str) -> bool {
    let word = token.trim_matches(|c| ".,;:!?()[]".contains(c));
    let status = word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit());
    let known = |part: &str| WORDS.contains(&*part.to_ascii_lowercase());
    status || known(word) || (word.contains('-') && word.split('-').all(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_vocabulary_of_errors_is_shown() {
        for (text, shown) in [
            ("connection refused", "connection refused"),
            ("dial tcp 10.0.0.5:5432: connect: connection refused", "dial tcp [redacted] connect: connection refused"),
            (
                "FATAL: password authentication failed for user \"alice\" (SQLSTATE 28P01)",
                "FATAL: password authentication failed for user [redacted]",
            ),
            ("cannot reach postgres://u:p@db.example:5432/x?sslmode=require yet", "cannot reach [redacted] yet"),
            ("webhook answered 503 (see https://hooks.example/T0/B0)", "webhook answered 503 [redacted]"),
            ("password swordfish rejected", "password [redacted] rejected"),
            ("password=swordfish host=db rejected", "[redacted] rejected"),
            ("role alice can't write", "role [redacted] can't write"),
            ("violates not-null constraint", "violates not-null constraint"),
            ("unable to reach db-prod", "unable to reach [redacted]"),
            ("unknown 'topic with words", "unknown [redacted]"),
            ("user \"alice at home\" failed", "user [redacted] failed"),
            ("alice-failed yet", "[redacted] yet"),
            ("Carol Jones sent it", "[redacted] sent it"),
            ("time out\nline two\u{7}", "time out line [redacted]"),
            ("", ""),
        ] {
            assert_eq!(redact(text), shown, "{text}");
        }
    }

    #[test]
    fn a_long_text_is_truncated() {
        let shown = redact(&"timeout ".repeat(1000));
        assert!(shown.chars().count() <= LONGEST + 1 && shown.ends_with('…'));
        let just_fits = redact(&format!("a {}", "timeout ".repeat(25)));
        assert!(just_fits.ends_with("timeout"), "{just_fits}");
    }
}
