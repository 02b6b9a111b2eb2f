//! Requests and their responses. A response contains its request's parameters, so that the two cannot disagree.

use super::error::{Error, KeyVerdict};
use super::list::ListPage;
use super::operation::{Operation, Probe};
use super::pipeline_id::PipelineId;
use super::readings::{DestinationHealth, PipelineMetrics, Status};
use super::unknown::UnknownField;
use super::usage::Usage;

/// One GET.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Request {
    /// A page of the list of pipelines; pages count from 1.
    Page(u32),
    /// A probe of one pipeline.
    Probe(PipelineId, Probe),
    /// The account's use of credits.
    Usage,
}

#[derive(Debug)]
pub enum Response {
    Page(u32, Result<ListPage, Error>),
    Probe(PipelineId, ProbeResponse),
    Usage(Result<Usage, Error>),
}

#[derive(Debug, Clone)]
pub enum ProbeResponse {
    Status(Result<Status, Error>),
    Metrics(Result<PipelineMetrics, Error>),
    DestinationHealth(Result<DestinationHealth, Error>),
}

impl Request {
    pub fn operation(&self) -> Operation {
        match self {
            Self::Page(_) => Operation::List,
            Self::Probe(_, probe) => (*probe).into(),
            Self::Usage => Operation::Usage,
        }
    }
}

impl Response {
    /// The request that this responds to.
    pub fn request(&self) -> Request {
        match self {
            Self::Page(number, _) => Request::Page(*number),
            Self::Probe(id, response) => Request::Probe(id.clone(), response.probe()),
            Self::Usage(_) => Request::Usage,
        }
    }

    /// Why there is no reading; `None` on success.
    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::Page(_, result) => result.as_ref().err(),
            Self::Probe(_, response) => response.error(),
            Self::Usage(result) => result.as_ref().err(),
        }
    }

    /// What the response proves about the key that was sent. Usage belongs to another API: whether that refuses a key
    /// says nothing about the pipelines that the key may read.
    pub fn verdict(&self) -> KeyVerdict {
        match self.error() {
            _ if matches!(self, Self::Usage(_)) => KeyVerdict::Nothing,
            None => KeyVerdict::Accepted,
            Some(error) => error.verdict(self.request().operation()),
        }
    }
}

impl ProbeResponse {
    pub fn failed(probe: Probe, error: Error) -> Self {
        match probe {
            Probe::Status => Self::Status(Err(error)),
            Probe::Metrics => Self::Metrics(Err(error)),
            Probe::DestinationHealth => Self::DestinationHealth(Err(error)),
        }
    }

    pub fn probe(&self) -> Probe {
        match self {
            Self::Status(_) => Probe::Status,
            Self::Metrics(_) => Probe::Metrics,
            Self::DestinationHealth(_) => Probe::DestinationHealth,
        }
    }

    /// Why there is no reading; `None` on success.
    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::Status(result) => result.as_ref().err(),
            Self::Metrics(result) => result.as_ref().err(),
            Self::DestinationHealth(result) => result.as_ref().err(),
        }
    }

    /// The unusable fields of the reading.
    pub fn unknown_fields(&self) -> Vec<UnknownField> {
        match self {
            Self::Status(Ok(status)) => status.unknown_fields().collect(),
            Self::Metrics(Ok(metrics)) => metrics.unknown_fields().collect(),
            Self::DestinationHealth(Ok(health)) => health.unknown_fields().collect(),
            Self::Status(Err(_)) | Self::Metrics(Err(_)) | Self::DestinationHealth(Err(_)) => Vec::new(),
        }
    }
}
