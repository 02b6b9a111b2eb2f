//! The kinds of requests.

use crate::labels::closed_set;

closed_set! {
    /// The periodic requests for each pipeline: the label `probe`.
    pub enum Probe {
        /// `GET /{pipeline_id}/status/`
        Status = "status",
        /// `GET /{pipeline_id}/metrics/`
        Metrics = "metrics",
        /// `GET /{pipeline_id}/destination-health/`
        DestinationHealth = "destination_health",
    }
}

closed_set! {
    /// Every kind of request: the label `operation`.
    pub enum Operation {
        /// `GET /?page_number=…&page_size=…`
        List = "list",
        /// [`Probe::Status`]
        Status = "status",
        /// [`Probe::Metrics`]
        Metrics = "metrics",
        /// [`Probe::DestinationHealth`]
        DestinationHealth = "destination_health",
        /// `GET ../usage/?duration=1`
        Usage = "usage",
    }
}

impl From<Probe> for Operation {
    fn from(probe: Probe) -> Self {
        match probe {
            Probe::Status => Self::Status,
            Probe::Metrics => Self::Metrics,
            Probe::DestinationHealth => Self::DestinationHealth,
        }
    }
}
