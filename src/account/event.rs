//! What is worth a line in the log, as a value: the core does no I/O.

use std::sync::Arc;
use std::time::Duration;

use super::Change;
use crate::api::{Error, PipelineId};

/// Something that has happened to an account.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The key in use was answered 401 for the first time: its source may hold a new one.
    KeyRefused(Error),
    /// A key was accepted after a refusal.
    KeyAcceptedAgain,
    /// The list fails, for another reason than before or after it succeeded.
    ListFails(Error),
    /// The list succeeds, for the first time or again.
    ListSucceeds {
        /// Pipelines that are polled.
        pipelines: usize,
    },
    /// There are more pipelines than `max_pipelines`.
    Truncated {
        /// `max_pipelines`.
        most: usize,
    },
    /// The intervals need more requests per second than the configuration allows.
    Overloaded {
        /// What they need.
        required: f64,
        /// What is allowed.
        allowed: f64,
    },
    /// The API asks for silence.
    Paused {
        /// What `Retry-After` said.
        retry_after: Option<Duration>,
        /// How long polling waits.
        wait: Duration,
    },
    /// The usage fails, for another reason than before or after it succeeded.
    UsageFails(Error),
    /// The usage succeeds, for the first time or again.
    UsageSucceeds,
    /// A pipeline was listed for the first time, after the first list.
    PipelineIsNew(PipelineName),
    /// A successful list does not show it any more.
    PipelineIsGone(PipelineName),
    /// Something about a pipeline has changed.
    PipelineChanged(PipelineName, Change),
}

/// How a log line names a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineName {
    /// Its id.
    pub id: PipelineId,
    /// What its users call it.
    pub name: Option<Arc<str>>,
}
