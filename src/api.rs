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
mod request;
mod retry_after;
mod wire;

pub use base_url::{BaseUrl, BaseUrlError};
pub use client::{Client, ClientError, Settings};
pub use destination_error::{DestinationError, DestinationErrorReason};
pub use error::{Error, Reason};
pub use redact::redact;
pub use request::{Operation, Probe, ProbeResponse, Request, Response};
pub use wire::{
    DesiredStatus, DestinationHealth, ExecutionMode, Group, ListPage, ListedPipeline, Phase, PipelineId,
    PipelineMetrics, Status, UnknownField,
};

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
