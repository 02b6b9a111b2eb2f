//! Why the API refuses a request, and the message for it.

/// A reason for a refusal (Pipeline REST API overview: error handling).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The key is missing, malformed, unknown or revoked.
    Unauthorized,
    /// The key is a regular API key, not a ServiceKey.
    ReadOnlyKey,
    /// The pipeline belongs to a group other than the key's.
    ForeignPipeline,
    /// The pipeline does not exist, or no longer.
    UnknownPipeline,
    /// No endpoint has this path.
    UnknownPath,
    /// Not a GET.
    Method,
    /// `page_number` or `page_size` is not a positive integer.
    Page,
    /// Too many requests.
    RateLimited { retry_after: u128 },
    /// The simulator is stopping.
    Stopping,
}

impl Refusal {
    pub(super) const fn status(&self) -> u16 {
        match self {
            Self::Unauthorized => 401,
            Self::ReadOnlyKey | Self::ForeignPipeline => 403,
            Self::UnknownPipeline | Self::UnknownPath => 404,
            Self::Method => 405,
            Self::Page => 400,
            Self::RateLimited { .. } => 429,
            Self::Stopping => 503,
        }
    }

    pub(super) const fn message(&self) -> &'static str {
        match self {
            Self::Unauthorized => "The service key is missing, malformed or revoked",
            Self::ReadOnlyKey => "This credential is not a ServiceKey",
            Self::ForeignPipeline => "This pipeline belongs to another group",
            Self::UnknownPipeline => "Pipeline not found",
            Self::UnknownPath => "Not found",
            Self::Method => "Method not allowed",
            Self::Page => "page_number and page_size must be positive integers",
            Self::RateLimited { .. } => "Too many requests",
            Self::Stopping => "Service unavailable",
        }
    }
}
