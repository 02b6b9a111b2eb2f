//! What a destination check's free text says, as one of a closed set of reasons and in words that can be shown.

use super::redact::redact;
use crate::labels::closed_set;

closed_set! {
    /// The `reason` label of `goldrush_pipeline_destination_error`.
    pub enum DestinationErrorReason {
        /// Nobody listens there.
        ConnectionRefused = "connection_refused",
        /// No answer in time.
        Timeout = "timeout",
        /// The host's name has no address.
        Dns = "dns",
        /// Certificates or the handshake.
        Tls = "tls",
        /// User, password, token or signature refused.
        Authentication = "authentication",
        /// Known, but not allowed.
        Permission = "permission",
        /// The database, table, topic, bucket, queue or URL does not exist.
        NotFound = "not_found",
        /// Columns, types or constraints do not fit.
        Schema = "schema",
        /// The destination asks for less.
        Throttled = "throttled",
        /// The destination has trouble of its own.
        ServerError = "server_error",
        /// None of the above, or no text at all.
        Other = "other",
    }
}

/// Words that give a reason away. The first row that matches wins, so the more telling come first:
/// "TLS handshake timeout" is about time, "certificate … not found" about TLS.
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
        (R::Tls, &["tls", "ssl", "certificate", "x509", "handshake"]),
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

/// What is kept of `last_error` of a destination check. The text itself may hold a connection string and be long, so it is
/// looked at once, when it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationError {
    /// Why the destination is unhealthy.
    pub reason: DestinationErrorReason,
    /// The API's own words, as far as they can be shown.
    pub redacted: Box<str>,
}

impl DestinationError {
    /// Drivers put the cause at the end of a long chain, so a text is only cut where it cannot be an error any more.
    const LONGEST: usize = 10_000;

    pub(super) fn of(text: &str) -> Self {
        let end = text.char_indices().nth(Self::LONGEST).map_or(text.len(), |(end, _)| end);
        let text = &text[..end];
        Self { reason: DestinationErrorReason::classify(text), redacted: redact(text).into() }
    }
}

impl DestinationErrorReason {
    fn classify(text: &str) -> Self {
        // Connection strings and addresses hold words of their own: "…/x?password=y" is no password problem.
        let words = text.split_whitespace();
        let words: Vec<&str> = words.filter(|word| !word.contains("://") && !word.contains('@')).collect();
        let text = words.join(" ").to_lowercase();
        SIGNS
            .iter()
            .find(|(_, signs)| signs.iter().any(|sign| mentions(&text, sign)))
            .map_or(Self::Other, |(reason, _)| *reason)
    }
}

/// Whether `text` holds `sign`; a sign made of digits has to stand alone, so that port 5030 is not a 503.
fn mentions(text: &str, sign: &str) -> bool {
    let digits = sign.bytes().all(|byte| byte.is_ascii_digit());
    text.match_indices(sign).any(|(at, _)| {
        let alone = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '.' && c != ':');
        let (before, after) = (text[..at].chars().next_back(), text[at + sign.len()..].chars().next());
        !digits || (alone(before) && after.is_none_or(|c| !c.is_alphanumeric() && c != '.'))
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
            ("broken pipe at 10.0.0.1:503", R::Other),
            ("", R::Other),
        ] {
            assert_eq!(R::classify(text), reason, "{text}");
        }
    }
}
