//! The Pipeline REST API from the exporter's side: sends GET requests and reads their responses.
//!
//! Units, closed vocabularies and lenient reading end here: what leaves this module is clean. Only this module uses
//! reqwest. Facts about the API come from GoldRush's public documentation (Service Keys, Pipeline REST API overview and
//! endpoint reference, Error Handling).

mod base_url;
mod client;
mod connections;
#[cfg(any(test, fuzzing))]
mod damage;
mod destination_error;
mod envelope;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod head;
mod lenient;
mod list;
mod lookup;
mod operation;
mod pipeline_id;
mod read;
mod readings;
mod redact;
mod repair;
mod request;
mod retry_after;
mod settings;
mod text;
mod transport;
mod trust;
mod unknown;
mod usage;
mod vocabulary;

pub use base_url::{BaseUrl, BaseUrlError};
pub use client::Client;
pub use connections::ClientError;
pub use destination_error::{DestinationError, DestinationErrorReason};
pub use error::{Error, Foreign, KeyVerdict, Reason, Said, Waiting};
pub use list::{Group, ListPage, ListedPipeline, Pagination};
pub use operation::{Operation, Probe};
pub use pipeline_id::PipelineId;
pub use read::read;
pub use readings::{DestinationHealth, PipelineMetrics, Status};
pub use redact::redact;
pub use request::{ProbeResponse, Request, Response};
pub use settings::{ConnectionLimits, Settings};
pub use unknown::UnknownField;
pub use usage::Usage;
pub use vocabulary::{DesiredStatus, ExecutionMode, Phase};
