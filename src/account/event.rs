//! What is worth a log line, as a value: the core does no I/O.

use std::sync::Arc;
use std::time::Duration;

use super::Change;
use crate::api::{Error, PipelineId};

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The first 401 for the key in use: its source may hold a new one.
    KeyRefused(Error),
    /// A key was accepted after a refusal.
    KeyAcceptedAgain,
    /// The list fails, after a success or for another reason than before.
    ListFails(Error),
    /// The list succeeds, for the first time or again.
    ListSucceeds {
        /// How many are polled.
        pipelines: usize,
    },
    /// There are more pipelines than `max_pipelines`.
    Truncated {
        /// `max_pipelines`.
        most: usize,
    },
    /// The intervals need more requests per second than the configuration allows.
    Overloaded {
        required: f64,
        allowed: f64,
    },
    /// The API asked for a pause.
    Paused {
        retry_after: Option<Duration>,
        /// How long polling pauses.
        wait: Duration,
    },
    /// The usage request fails, after a success or for another reason than before.
    UsageFails(Error),
    /// The usage request succeeds, for the first time or again.
    UsageSucceeds,
    /// A pipeline was listed for the first time, but not in the first list.
    PipelineIsNew(PipelineName),
    /// A successful list no longer shows a pipeline.
    PipelineIsGone(PipelineName),
    PipelineChanged(PipelineName, Change),
}

/// A pipeline's name in a log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineName {
    pub id: PipelineId,
    /// The user's name for it.
    pub name: Option<Arc<str>>,
}
