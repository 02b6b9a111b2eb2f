//! What can go wrong with one request. Each variant has one `reason` label and one sentence for people.

use std::fmt;
use std::time::Duration;

use super::operation::Operation;
use crate::labels::closed_set;

closed_set! {
    /// The `reason` label of `goldrush_api_request_failures_total`.
    pub enum Reason {
        /// 401.
        Unauthorized = "unauthorized",
        /// 402: the plan's credits are used up.
        PaymentRequired = "payment_required",
        /// 403.
        Forbidden = "forbidden",
        /// 404.
        NotFound = "not_found",
        /// 429.
        RateLimited = "rate_limited",
        /// 5xx.
        ServerError = "server_error",
        /// 3xx: redirects are never followed.
        Redirect = "redirect",
        /// Any other status that is not 200.
        UnexpectedStatus = "unexpected_status",
        /// Something other than the API responded.
        ForeignResponse = "foreign_response",
        /// An envelope with `error: true`.
        ApiError = "api_error",
        /// No complete response in time.
        Timeout = "timeout",
        /// The host's name has no address.
        Dns = "dns",
        /// The TLS handshake failed.
        Tls = "tls",
        /// No connection (refused, unreachable).
        Connect = "connect",
        /// The connection broke before the response was complete.
        Disconnected = "disconnected",
        /// The response is larger than `api.max_response_bytes`.
        TooLarge = "too_large",
        /// The response is not what the API documents.
        Decode = "decode",
    }
}

/// Why a request gave no reading. No variant contains a key, a URL, or external text that is not redacted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// 401: the key was refused.
    #[error("the API returned 401: the ServiceKey is missing, malformed or revoked; replace it with a valid one{0}")]
    Unauthorized(Said),
    /// 402: the account must pay first.
    #[error("the API returned 402: the plan's credits are used up; raise the limit or the plan at GoldRush{0}")]
    PaymentRequired(Said),
    /// 403: on the list, the key is not a ServiceKey; on a pipeline, it belongs to another group.
    #[error("the API returned 403: the pipeline belongs to another group{0}")]
    Forbidden(Said),
    /// 404: the pipeline does not exist or, on the list, `api.base_url` is wrong.
    #[error("the API returned 404: the pipeline does not exist any more{0}")]
    NotFound(Said),
    /// 429, with the pause that the API asked for.
    #[error("the API returned 429: too many requests; lower poll.requests_per_second if this persists")]
    RateLimited {
        /// From `Retry-After`, if present.
        retry_after: Option<Duration>,
    },
    /// 5xx.
    #[error("the API returned {status} (server error){said}")]
    ServerError {
        status: u16,
        /// From `Retry-After`, if present.
        retry_after: Option<Duration>,
        said: Said,
    },
    /// 3xx.
    #[error("the API returned {status}, a redirect, which is never followed with a ServiceKey: check api.base_url")]
    Redirect { status: u16 },
    /// A 400 or 422 that may be about the page size. The next request for a page names no size, so it can be sent at
    /// once.
    #[error("{0}; the next list does not name a page_size")]
    PageSizeRefused(Box<Error>),
    /// Any other status.
    #[error("the API returned {status}, which it does not document for this request{said}")]
    UnexpectedStatus { status: u16, said: Said },
    /// A proxy, a firewall, an ingress or a captive portal responded, so nothing is known about the API.
    #[error("{0}")]
    ForeignResponse(Foreign),
    /// An envelope with `error: true` in a response with a success status.
    #[error("the API returned error: true (error_code {code}): {message}")]
    ApiError {
        /// `error_code`, redacted.
        code: String,
        /// `error_message`, redacted.
        message: String,
    },
    /// No complete response within a limit.
    #[error("timed out after {} ({}) {}", humantime::format_duration(*.after), .waiting.limit(), .waiting.as_str())]
    Timeout {
        /// The limit that passed.
        after: Duration,
        /// What had not arrived.
        waiting: Waiting,
    },
    /// The host name has no address.
    #[error("the host of api.base_url has no address: {0}")]
    Dns(String),
    /// The TLS handshake failed.
    #[error("the TLS handshake with the host of api.base_url failed: {0}")]
    Tls(String),
    /// No connection to any of the host's addresses.
    #[error("cannot connect to the host of api.base_url: {0}")]
    Connect(String),
    /// The connection ended too early.
    #[error("the connection broke before the response was complete: {0}")]
    Disconnected(String),
    /// The server closed the connection before it processed the request. See [`Error::is_unsent`].
    #[error("the connection was closed before the request was processed: {0}")]
    Unsent(String),
    /// The body exceeded the limit.
    #[error("the response is larger than api.max_response_bytes ({limit})")]
    TooLarge {
        /// In bytes.
        limit: u64,
    },
    /// Not JSON, not the envelope, or not the documented shape.
    #[error("the response is not what the API documents: {0}")]
    Decode(String),
}

/// What the API's envelope said besides a status.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said(Option<Box<str>>);

impl Said {
    /// The redacted message of an envelope; may be empty.
    pub(super) fn in_envelope(redacted: &str) -> Self {
        Self(Some(redacted.into()))
    }

    /// Whether there was an envelope, so that the response is certainly the API's. An empty body has none.
    pub fn is_the_apis(&self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_deref() {
            None | Some("") => Ok(()),
            Some(message) => write!(f, " (error_message: {message})"),
        }
    }
}

/// A response that did not come from the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    pub status: u16,
    /// From `Retry-After`, if present.
    pub retry_after: Option<Duration>,
    /// The type of its body, in words.
    pub(super) content: &'static str,
    /// The product that its headers name, if it is well known.
    pub(super) product: Option<&'static str>,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, content, .. } = self;
        write!(
            f,
            "something between the exporter and GoldRush responded {status}, not the API: {content} instead of the API's JSON"
        )?;
        if let Some(product) = self.product {
            write!(f, ", from {product}")?;
        }
        f.write_str("; check proxies, firewalls and api.base_url")
    }
}

closed_set! {
    /// What a request was waiting for when it timed out.
    pub enum Waiting {
        /// Nothing could be sent yet.
        Connection = "looking up the host, connecting or negotiating TLS",
        /// The request was sent.
        Headers = "waiting for response headers",
        /// The headers came.
        Body = "reading the response body",
    }
}

impl Waiting {
    fn limit(self) -> &'static str {
        match self {
            Self::Connection => "the limit for connecting",
            Self::Headers | Self::Body => "api.timeout",
        }
    }
}

/// What a response proves about the key that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyVerdict {
    /// The API accepted the key.
    Accepted,
    /// The key is missing, malformed or revoked.
    Unauthorized,
    /// The key is valid and not a ServiceKey.
    NotServiceKey,
    /// Nothing: the API may not even have received it.
    Nothing,
}

impl Error {
    /// The label value that counts this failure.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Unauthorized(_) => Reason::Unauthorized,
            Self::PaymentRequired(_) => Reason::PaymentRequired,
            Self::Forbidden(_) => Reason::Forbidden,
            Self::NotFound(_) => Reason::NotFound,
            Self::RateLimited { .. } => Reason::RateLimited,
            Self::ServerError { .. } => Reason::ServerError,
            Self::Redirect { .. } => Reason::Redirect,
            Self::PageSizeRefused(refusal) => refusal.reason(),
            Self::UnexpectedStatus { .. } => Reason::UnexpectedStatus,
            Self::ForeignResponse(_) => Reason::ForeignResponse,
            Self::ApiError { .. } => Reason::ApiError,
            Self::Timeout { .. } => Reason::Timeout,
            Self::Dns(_) => Reason::Dns,
            Self::Tls(_) => Reason::Tls,
            Self::Connect(_) => Reason::Connect,
            Self::Disconnected(_) | Self::Unsent(_) => Reason::Disconnected,
            Self::TooLarge { .. } => Reason::TooLarge,
            Self::Decode(_) => Reason::Decode,
        }
    }

    /// The error that a status of the API means without a body; `None` for 200.
    pub fn of_status(status: u16) -> Option<Self> {
        Self::from_status(status, None, Said::default())
    }

    pub(super) fn from_status(status: u16, retry_after: Option<Duration>, said: Said) -> Option<Self> {
        Some(match status {
            200 => return None,
            401 => Self::Unauthorized(said),
            402 => Self::PaymentRequired(said),
            403 => Self::Forbidden(said),
            404 => Self::NotFound(said),
            429 => Self::RateLimited { retry_after },
            300..=399 => Self::Redirect { status },
            500..=599 => Self::ServerError { status, retry_after, said },
            _ => Self::UnexpectedStatus { status, said },
        })
    }

    /// The message for a request for the list, where some statuses mean something else.
    pub fn of_list(&self) -> String {
        match self {
            Self::Forbidden(said) => format!(
                "the API returned 403: the credential is an API key, not a ServiceKey; replace it with a ServiceKey{said}"
            ),
            Self::NotFound(said) => {
                format!("the API returned 404: there is no list of pipelines at that address; check api.base_url{said}")
            }
            other => other.to_string(),
        }
    }

    /// The message for a request for the usage. Which keys may read it is not documented.
    pub fn of_usage(&self) -> String {
        match self {
            Self::Unauthorized(said) => format!("the API returned 401: usage is not offered to this key{said}"),
            Self::Forbidden(said) => format!("the API returned 403: usage is not offered to this key{said}"),
            Self::NotFound(said) => format!("the API returned 404: usage is not offered to this key{said}"),
            other => other.to_string(),
        }
    }

    /// What the failure of a request of this kind proves about its key.
    pub fn verdict(&self, operation: Operation) -> KeyVerdict {
        match self {
            Self::Unauthorized(_) => KeyVerdict::Unauthorized,
            Self::Forbidden(_) if operation == Operation::List => KeyVerdict::NotServiceKey,
            Self::Forbidden(_) => KeyVerdict::Accepted,
            // An ingress without a backend also returns 404, possibly without a body.
            Self::NotFound(said) if operation != Operation::List && said.is_the_apis() => KeyVerdict::Accepted,
            _ => KeyVerdict::Nothing,
        }
    }

    /// How long the response asks to wait before the next request (429, 503, and others with `Retry-After`).
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } | Self::ServerError { retry_after, .. } => *retry_after,
            Self::ForeignResponse(foreign) => foreign.retry_after,
            Self::PageSizeRefused(refusal) => refusal.retry_after(),
            _ => None,
        }
    }

    /// Whether the request may have been refused because of a parameter: 400 or 422. Frameworks and gateways check
    /// parameters before the API's own code runs, so the response need not be in the API's envelope.
    pub(super) fn may_be_about_a_parameter(&self) -> bool {
        match self {
            Self::UnexpectedStatus { status, .. } => matches!(status, 400 | 422),
            Self::ForeignResponse(foreign) => matches!(foreign.status, 400 | 422),
            Self::ApiError { code, .. } => matches!(code.as_str(), "400" | "422"),
            _ => false,
        }
    }

    /// Whether any HTTP response arrived, however bad. The exit statuses of `check` depend on it.
    pub fn answered(&self) -> bool {
        !matches!(
            self,
            Self::Timeout { .. }
                | Self::Dns(_)
                | Self::Tls(_)
                | Self::Connect(_)
                | Self::Disconnected(_)
                | Self::Unsent(_)
        )
    }

    /// Whether the server has not processed the request (HTTP/2: GOAWAY without an error, or REFUSED_STREAM). Sending
    /// it once more, as a new request, is safe.
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::Unsent(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failure_proves_about_the_key() {
        use KeyVerdict::{Accepted, NotServiceKey, Nothing, Unauthorized};
        let said = || Said::in_envelope("no");
        let foreign = Foreign { status: 403, retry_after: None, content: "HTML", product: None };
        for (error, list, probe) in [
            (Error::Unauthorized(Said::default()), Unauthorized, Unauthorized),
            (Error::Forbidden(said()), NotServiceKey, Accepted),
            (Error::NotFound(said()), Nothing, Accepted),
            (Error::NotFound(Said::default()), Nothing, Nothing),
            (Error::PaymentRequired(said()), Nothing, Nothing),
            (Error::Decode(String::new()), Nothing, Nothing),
            (Error::of_status(503).unwrap(), Nothing, Nothing),
            (Error::ForeignResponse(foreign), Nothing, Nothing),
        ] {
            assert_eq!(error.verdict(Operation::List), list, "{error}");
            assert_eq!(error.verdict(Operation::Metrics), probe, "{error}");
        }
    }

    #[test]
    fn some_statuses_mean_something_else_for_the_list_and_for_the_usage() {
        let said = |status| Error::from_status(status, None, Said::in_envelope("no")).unwrap();
        for (error, sentence) in [
            (
                said(403).of_list(),
                "the API returned 403: the credential is an API key, not a ServiceKey; replace it with a ServiceKey (error_message: no)",
            ),
            (
                said(404).of_list(),
                "the API returned 404: there is no list of pipelines at that address; check api.base_url (error_message: no)",
            ),
            (said(500).of_list(), "the API returned 500 (server error) (error_message: no)"),
            (said(401).of_usage(), "the API returned 401: usage is not offered to this key (error_message: no)"),
            (said(403).of_usage(), "the API returned 403: usage is not offered to this key (error_message: no)"),
            (said(404).of_usage(), "the API returned 404: usage is not offered to this key (error_message: no)"),
            (said(500).of_usage(), "the API returned 500 (server error) (error_message: no)"),
        ] {
            assert_eq!(error, sentence);
        }
    }

    #[test]
    fn a_parameter_may_be_the_reason_for_a_400_or_a_422_from_any_server() {
        let foreign = |status| {
            let retry_after = Some(Duration::from_secs(7));
            Error::ForeignResponse(Foreign { status, retry_after, content: "HTML", product: None })
        };
        let in_envelope = |code: &str| Error::ApiError { code: code.to_owned(), message: String::new() };
        for (error, may_be) in [
            (foreign(400), true),
            (foreign(422), true),
            (foreign(418), false),
            (in_envelope("400"), true),
            (in_envelope("422"), true),
            (in_envelope("500"), false),
            (Error::of_status(422).unwrap(), true),
            (Error::of_status(404).unwrap(), false),
        ] {
            assert_eq!(error.may_be_about_a_parameter(), may_be, "{error}");
        }
        let refused = Error::PageSizeRefused(Box::new(foreign(400)));
        assert_eq!(refused.retry_after(), Some(Duration::from_secs(7)));
    }

    #[test]
    fn sentences() {
        let foreign = Foreign { status: 403, retry_after: None, content: "HTML", product: Some("cloudflare") };
        for (error, sentence) in [
            (
                Error::ForeignResponse(foreign),
                "something between the exporter and GoldRush responded 403, not the API: HTML instead of the API's JSON, \
                 from cloudflare; check proxies, firewalls and api.base_url",
            ),
            (
                Error::Timeout { after: Duration::from_secs(10), waiting: Waiting::Headers },
                "timed out after 10s (api.timeout) waiting for response headers",
            ),
            (
                Error::UnexpectedStatus { status: 410, said: Said::in_envelope("pipeline deleted") },
                "the API returned 410, which it does not document for this request (error_message: pipeline deleted)",
            ),
            (Error::of_status(502).unwrap(), "the API returned 502 (server error)"),
        ] {
            assert_eq!(error.to_string(), sentence);
        }
    }
}
