//! What is asked, and what came of it. A response carries what was asked, so that no pair of them can disagree.

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
    /// The account's usage of credits.
    Usage,
}

/// What came of a [`Request`].
#[derive(Debug)]
pub enum Response {
    /// Of [`Request::Page`].
    Page(u32, Result<ListPage, Error>),
    /// Of [`Request::Probe`].
    Probe(PipelineId, ProbeResponse),
    /// Of [`Request::Usage`].
    Usage(Result<Usage, Error>),
}

/// What came of a probe.
#[derive(Debug, Clone)]
pub enum ProbeResponse {
    /// Of [`Probe::Status`].
    Status(Result<Status, Error>),
    /// Of [`Probe::Metrics`].
    Metrics(Result<PipelineMetrics, Error>),
    /// Of [`Probe::DestinationHealth`].
    DestinationHealth(Result<DestinationHealth, Error>),
}

impl Request {
    /// The kind of request.
    pub fn operation(&self) -> Operation {
        match self {
            Self::Page(_) => Operation::List,
            Self::Probe(_, probe) => (*probe).into(),
            Self::Usage => Operation::Usage,
        }
    }
}

impl Response {
    /// What was asked.
    pub fn request(&self) -> Request {
        match self {
            Self::Page(number, _) => Request::Page(*number),
            Self::Probe(id, response) => Request::Probe(id.clone(), response.probe()),
            Self::Usage(_) => Request::Usage,
        }
    }

    /// Why there is no reading, if there is none.
    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::Page(_, result) => result.as_ref().err(),
            Self::Probe(_, response) => response.error(),
            Self::Usage(result) => result.as_ref().err(),
        }
    }

    /// What it proves about the key that the request was sent with. Usage belongs to another API: that it is refused, or
    /// not, says nothing about the pipelines that the key may read.
    pub fn verdict(&self) -> KeyVerdict {
        match self.error() {
            _ if matches!(self, Self::Usage(_)) => KeyVerdict::Nothing,
            None => KeyVerdict::Accepted,
            Some(error) => error.verdict(self.request().operation()),
        }
    }
}

impl ProbeResponse {
    /// A probe that failed.
    pub fn failed(probe: Probe, error: Error) -> Self {
        match probe {
            Probe::Status => Self::Status(Err(error)),
            Probe::Metrics => Self::Metrics(Err(error)),
            Probe::DestinationHealth => Self::DestinationHealth(Err(error)),
        }
    }

    /// What was asked.
    pub fn probe(&self) -> Probe {
        match self {
            Self::Status(_) => Probe::Status,
            Self::Metrics(_) => Probe::Metrics,
            Self::DestinationHealth(_) => Probe::DestinationHealth,
        }
    }

    /// Why there is no reading, if there is none.
    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::Status(result) => result.as_ref().err(),
            Self::Metrics(result) => result.as_ref().err(),
            Self::DestinationHealth(result) => result.as_ref().err(),
        }
    }

    /// The fields of the reading that could not be used.
    pub fn unknown_fields(&self) -> Vec<UnknownField> {
        match self {
            Self::Status(Ok(status)) => status.unknown_fields().collect(),
            Self::Metrics(Ok(metrics)) => metrics.unknown_fields().collect(),
            Self::DestinationHealth(Ok(health)) => health.unknown_fields().collect(),
            Self::Status(Err(_)) | Self::Metrics(Err(_)) | Self::DestinationHealth(Err(_)) => Vec::new(),
        }
    }
}
