//! Turns the free text of a destination check into one of a closed set of reasons, and into words that can be shown.

use super::redact::redact;
use crate::labels::closed_set;

closed_set! {
    /// The `reason` label of `goldrush_pipeline_destination_error`.
    pub enum DestinationErrorReason {
        /// Nothing listens on the port.
        ConnectionRefused = "connection_refused",
        /// No response in time.
        Timeout = "timeout",
        /// The host's name has no address.
        Dns = "dns",
        /// Certificates or the handshake.
        Tls = "tls",
        /// User, password, token or signature refused.
        Authentication = "authentication",
        /// Authenticated, but not allowed.
        Permission = "permission",
        /// The database, table, topic, bucket, queue or URL does not exist.
        NotFound = "not_found",
        /// Columns, types or constraints do not match.
        Schema = "schema",
        /// The destination asks for fewer requests.
        Throttled = "throttled",
        /// The destination itself fails.
        ServerError = "server_error",
        /// None of the above, or no text.
        Other = "other",
    }
}

/// Words that reveal a reason. The first matching row wins, so the more specific ones come first: "TLS handshake
/// timeout" is a timeout, "certificate … not found" is about TLS.
const SIGNS: &[(DestinationErrorReason, &[&str])] = {
    use DestinationErrorReason as R;
    &[
        (R::ConnectionRefused, &["refused"]),
        (R::Timeout, &["timeout", "timed out", "time-out", "deadline", "etimedout"]),
        (
            R::Dns,
            &[
                "no such host",
                "dns",
                "name resolution",
                "name or service not known",
                "could not translate host",
                "resolve host",
                "getaddrinfo",
                "enotfound",
                "nxdomain",
                "unknown host",
                "unknownhost",
            ],
        ),
        (R::Tls, &["tls", "ssl", "openssl", "certificate", "x509", "handshake"]),
        (
            R::Throttled,
            &["throttl", "rate limit", "rate exceeded", "too many", "429", "slow down", "slowdown", "quota"],
        ),
        (
            R::Authentication,
            &[
                "authenticat",
                "password",
                "credential",
                "unauthorized",
                "unauthorised",
                "401",
                "login",
                "sasl",
                "invalidaccesskey",
                "invalid access key",
                "access key id",
                "signature",
                "invalid token",
                "expired token",
                "expiredtoken",
            ],
        ),
        (
            R::Permission,
            &["permission", "denied", "forbidden", "403", "not authorized", "not authorised", "privilege", "read-only"],
        ),
        (
            R::Schema,
            &[
                "schema",
                "column",
                "constraint",
                "violates",
                "type mismatch",
                "data type",
                "duplicate key",
                "out of range",
                "cannot parse",
                "invalid input syntax",
            ],
        ),
        (
            R::NotFound,
            &[
                "not found",
                "does not exist",
                "doesn't exist",
                "404",
                "nosuch",
                "no such",
                "unknown database",
                "unknown table",
                "unknown topic",
                "unknown_topic",
                "nonexistent",
            ],
        ),
        (
            R::ServerError,
            &[
                "500",
                "502",
                "503",
                "504",
                "internal error",
                "internal server",
                "server error",
                "unavailable",
                "bad gateway",
                "overload",
                "shutting down",
                "starting up",
            ],
        ),
    ]
};

/// What is kept of a destination check's `last_error`. The text itself may be long and contain a connection string, so
/// it is read once, on arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationError {
    pub reason: DestinationErrorReason,
    /// The API's own words, redacted.
    pub redacted: Box<str>,
}

impl DestinationError {
    /// Drivers put the cause at the end of a long chain, so only a text too long to be an error is truncated.
    const LONGEST: usize = 10_000;

    pub(super) fn of(text: &str) -> Self {
        let end = text.char_indices().nth(Self::LONGEST).map_or(text.len(), |(end, _)| end);
        let text = &text[..end];
        Self { reason: DestinationErrorReason::classify(text), redacted: redact(text).into() }
    }
}

impl DestinationErrorReason {
    fn classify(text: &str) -> Self {
        // Connection strings and addresses contain unrelated words: "…/x?password=y" is not a password problem.
        let words = text.split_whitespace();
        let words: Vec<&str> = words.filter(|word| !word.contains("://") && !word.contains('@')).collect();
        let text = words.join(" ").to_lowercase();
        SIGNS
            .iter()
            .find(|(_, signs)| signs.iter().any(|sign| mentions(&text, sign)))
            .map_or(Self::Other, |(reason, _)| *reason)
    }
}

/// Whether `text` contains `sign`. A short sign must be a word, so that port 5030 is not a 503 and host mydns is not DNS.
fn mentions(text: &str, sign: &str) -> bool {
    let is_short = sign.len() <= 3;
    text.match_indices(sign).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + sign.len()..].chars().next());
        let ends = |c: Option<char>, joins: &str| c.is_none_or(|c| !c.is_alphanumeric() && !joins.contains(c));
        !is_short || (ends(before, ".:-_") && ends(after, ".-_"))
    })
}

#[cfg(test)]
mod tests {
    use super::DestinationErrorReason as R;

    #[test]
    fn texts_of_real_drivers_find_their_reason() {
        for (text, reason) in [
            ("dial tcp 10.0.0.5:5432: connect: connection refused", R::ConnectionRefused),
            ("connect ECONNREFUSED 10.0.0.5:5432", R::ConnectionRefused),
            ("context deadline exceeded", R::Timeout),
            ("net/http: TLS handshake timeout", R::Timeout),
            ("lookup db.internal on 10.0.0.2:53: no such host", R::Dns),
            ("could not translate host name \"db\" to address", R::Dns),
            ("x509: certificate has expired or is not yet valid", R::Tls),
            ("FATAL: password authentication failed for user \"alice\"", R::Authentication),
            ("Code: 516. DB::Exception: default: Authentication failed", R::Authentication),
            ("webhook answered 401", R::Authentication),
            ("ERROR: permission denied for table swaps", R::Permission),
            ("AccessDenied: Access Denied", R::Permission),
            ("Not authorized to access topics: [swaps]", R::Permission),
            ("NoSuchBucket: The specified bucket does not exist", R::NotFound),
            ("FATAL: database \"x\" does not exist", R::NotFound),
            ("ERROR: column \"amount\" does not exist", R::Schema),
            ("null value violates not-null constraint", R::Schema),
            ("SlowDown: Please reduce your request rate. Too many requests", R::Throttled),
            ("HTTP 503 Service Unavailable", R::ServerError),
            ("broken pipe at 10.0.0.1:5030", R::Other),
            ("broken pipe at mydns", R::Other),
            ("broken pipe at dns-1.internal", R::Other),
            ("read: openssl: wrong version number", R::Tls),
            ("dns: server failure", R::Dns),
            ("broken pipe at 10.0.0.1:503", R::Other),
            ("broken pipe at postgres://db/x?password=y", R::Other),
            ("broken pipe of timeout@db.example", R::Other),
            ("", R::Other),
        ] {
            assert_eq!(R::classify(text), reason, "{text}");
        }
    }
}
