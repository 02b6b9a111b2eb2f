//! The closed sets of values that the API documents.

use super::lenient::Raw;
use super::unknown::Unusable;
use crate::labels::closed_set;

closed_set! {
    /// What the worker does (`data.status` of the status endpoint).
    pub enum Phase {
        /// Being started.
        Deploying = "DEPLOYING",
        Running = "RUNNING",
        /// Paused by the user.
        Paused = "PAUSED",
        /// Stopped by an error that does not heal by itself.
        Failed = "FAILED",
        /// Being stopped.
        Stopping = "STOPPING",
        /// Ended; normal for a bounded pipeline.
        Stopped = "STOPPED",
        /// A phase that this version does not know.
        Unknown = "UNKNOWN",
    }
}

impl Phase {
    /// Whether the phase is expected to change within seconds, so that it is polled more often.
    pub fn is_transitional(self) -> bool {
        matches!(self, Self::Deploying | Self::Stopping)
    }

    /// An undocumented text is [`Phase::Unknown`].
    pub(super) fn of(text: &str) -> Self {
        find(Self::ALL, Self::as_str, text).unwrap_or(Self::Unknown)
    }
}

closed_set! {
    /// What the user wants (`status` of a pipeline object).
    pub enum DesiredStatus {
        Running = "running",
        Paused = "paused",
    }
}

closed_set! {
    /// Whether a pipeline ends (`execution_mode` of a pipeline object).
    #[derive(Default)]
    pub enum ExecutionMode {
        /// Ends by itself at `execution_stop_from`.
        Bounded = "bounded",
        /// Follows its chain forever.
        #[default]
        Unbounded = "unbounded",
        /// A mode that this version does not know.
        Unknown = "unknown",
    }
}

impl ExecutionMode {
    pub(super) fn of(text: &str) -> Self {
        find(Self::ALL, Self::as_str, text).unwrap_or(Self::Unknown)
    }
}

impl DesiredStatus {
    pub(super) fn read(value: Raw<'_>) -> Result<Option<Self>, Unusable> {
        let Some(text) = value.text()? else { return Ok(None) };
        find(Self::ALL, Self::as_str, &text).map(Some).ok_or(Unusable)
    }
}

/// Ignores case and surrounding white space.
fn find<T: Copy>(all: &[T], name: fn(T) -> &'static str, text: &str) -> Option<T> {
    all.iter().copied().find(|value| name(*value).eq_ignore_ascii_case(text.trim()))
}
