//! The Pipeline REST API as the exporter sees it: four GET requests, their wire types, their failures.
//!
//! Only this module names reqwest. Facts about the API are from GoldRush's public documentation
//! (Service Keys, Pipeline REST API overview and endpoint reference, Error Handling).

mod base_url;
mod client;
mod destination_error;
mod envelope;
mod error;
mod lookup;
mod redact;
mod retry_after;
mod wire;

pub use base_url::{BaseUrl, BaseUrlError};
pub use client::{Client, ClientError, Settings};
pub use destination_error::{DestinationError, DestinationErrorReason};
pub use error::{Error, Reason};
pub use redact::redact;
pub use wire::{
    DesiredStatus, DestinationHealth, Group, ListPage, Metrics, Phase, Pipeline, PipelineId, Status, UnknownField,
};

use crate::labels::closed_set;

closed_set! {
    /// The four endpoints that are asked, as the `endpoint` label names them.
    pub enum Endpoint {
        /// `GET /?page_number=…&page_size=…`
        List = "list",
        /// `GET /{pipeline_id}/status/`
        Status = "status",
        /// `GET /{pipeline_id}/metrics/`
        Metrics = "metrics",
        /// `GET /{pipeline_id}/destination-health/`
        DestinationHealth = "destination_health",
    }
}

impl Endpoint {
    /// Those that are asked for each pipeline.
    pub const PROBES: [Self; 3] = [Self::Status, Self::Metrics, Self::DestinationHealth];
}

/// The parts that only fuzzers and their seeds ask directly.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing {
    use std::time::{Duration, SystemTime};

    use serde::de::DeserializeOwned;

    pub(crate) fn open<T: DeserializeOwned>(body: &[u8]) -> Result<Option<T>, super::Error> {
        super::envelope::open(body, None)
    }

    pub(crate) fn retry_after(text: &str, date: Option<&str>, now: SystemTime) -> Option<Duration> {
        super::retry_after::parse(text, date, now)
    }
}
