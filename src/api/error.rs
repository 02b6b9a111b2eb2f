//! What can go wrong with one request: one variant, one `reason` label, one sentence for people.

use std::time::Duration;

use crate::labels::closed_set;

closed_set! {
    /// The `reason` label of `goldrush_api_request_failures_total`: one per variant of [`Error`].
    pub enum Reason {
        /// 401.
        Unauthorized = "unauthorized",
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
        /// An envelope with `error: true`.
        ApiError = "api_error",
        /// No whole answer in time.
        Timeout = "timeout",
        /// The host's name has no address.
        Dns = "dns",
        /// The TLS handshake failed.
        Tls = "tls",
        /// No connection (refused, unreachable).
        Connect = "connect",
        /// The connection broke before the answer was whole.
        Disconnected = "disconnected",
        /// The answer is larger than `api.max_response_bytes`.
        TooLarge = "too_large",
        /// The answer is not what the API documents.
        Decode = "decode",
    }
}

/// Why a request gave no reading. No variant holds a key, a URL or text of the API that has not been redacted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// 401: the key was refused.
    #[error("the API answered 401: the ServiceKey is missing, malformed or revoked; put a valid one in its place")]
    Unauthorized,
    /// 403: on the list, not a ServiceKey; on a pipeline, another group's.
    #[error("the API answered 403: the pipeline belongs to another group")]
    Forbidden,
    /// 404: no such pipeline, or (on the list) a wrong `api.base_url`.
    #[error("the API answered 404: the pipeline does not exist any more")]
    NotFound,
    /// 429, with the pause that the API asked for.
    #[error("the API answered 429: too many requests; lower poll.requests_per_second if this goes on")]
    RateLimited {
        /// What `Retry-After` asked for, if it did.
        retry_after: Option<Duration>,
    },
    /// 5xx.
    #[error("the API answered {status}: it has trouble of its own")]
    ServerError {
        /// The HTTP status.
        status: u16,
    },
    /// 3xx.
    #[error("the API answered {status}, a redirect, which is never followed with a ServiceKey: check api.base_url")]
    Redirect {
        /// The HTTP status.
        status: u16,
    },
    /// Any other status.
    #[error("the API answered {status}, which it does not document for this request")]
    UnexpectedStatus {
        /// The HTTP status.
        status: u16,
    },
    /// An envelope with `error: true` in an answer that HTTP calls a success.
    #[error("the API answered error: true (error_code {code}): {message}")]
    ApiError {
        /// `error_code`, redacted.
        code: String,
        /// `error_message`, redacted.
        message: String,
    },
    /// No whole answer within `api.timeout`, or no connection within the part of it that connecting may take.
    #[error("no {missing} ({}): {doing}", humantime::format_duration(*.timeout))]
    Timeout {
        /// What did not come, and the name of the limit.
        missing: &'static str,
        /// The limit that passed.
        timeout: Duration,
        /// What was being waited for.
        doing: &'static str,
    },
    /// The name of the host has no address.
    #[error("the host of api.base_url has no address: {0}")]
    Dns(String),
    /// TLS could not be agreed on.
    #[error("no TLS with the host of api.base_url: {0}")]
    Tls(String),
    /// Nobody answers at that address.
    #[error("no connection to the host of api.base_url: {0}")]
    Connect(String),
    /// The connection ended too early.
    #[error("the connection broke before the answer was whole: {0}")]
    Disconnected(String),
    /// The body grew past the limit.
    #[error("the answer is larger than api.max_response_bytes ({limit})")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// Not JSON, not the envelope, or a field of a wrong type.
    #[error("the answer is not what the API documents: {0}")]
    Decode(String),
}

impl Error {
    /// The label value that counts this failure.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Unauthorized => Reason::Unauthorized,
            Self::Forbidden => Reason::Forbidden,
            Self::NotFound => Reason::NotFound,
            Self::RateLimited { .. } => Reason::RateLimited,
            Self::ServerError { .. } => Reason::ServerError,
            Self::Redirect { .. } => Reason::Redirect,
            Self::UnexpectedStatus { .. } => Reason::UnexpectedStatus,
            Self::ApiError { .. } => Reason::ApiError,
            Self::Timeout { .. } => Reason::Timeout,
            Self::Dns(_) => Reason::Dns,
            Self::Tls(_) => Reason::Tls,
            Self::Connect(_) => Reason::Connect,
            Self::Disconnected(_) => Reason::Disconnected,
            Self::TooLarge { .. } => Reason::TooLarge,
            Self::Decode(_) => Reason::Decode,
        }
    }

    /// What an HTTP status says by itself; `None` for 200.
    pub(super) fn from_status(status: u16, retry_after: Option<Duration>) -> Option<Self> {
        Some(match status {
            200 => return None,
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            429 => Self::RateLimited { retry_after },
            300..=399 => Self::Redirect { status },
            500..=599 => Self::ServerError { status },
            _ => Self::UnexpectedStatus { status },
        })
    }

    /// What it means where the list of pipelines was asked for: a status can mean another thing there.
    pub fn of_list(&self) -> String {
        match self {
            Self::Forbidden => "the API answered 403: the credential is an API key instead of a ServiceKey; \
                                put a ServiceKey in its place"
                .to_owned(),
            Self::NotFound => {
                "the API answered 404: there is no list of pipelines at that address; check api.base_url".to_owned()
            }
            other => other.to_string(),
        }
    }

    /// Whether an HTTP answer arrived at all, however bad: the exit statuses of `check` ask for that.
    pub fn answered(&self) -> bool {
        !matches!(self, Self::Timeout { .. } | Self::Dns(_) | Self::Tls(_) | Self::Connect(_) | Self::Disconnected(_))
    }
}
