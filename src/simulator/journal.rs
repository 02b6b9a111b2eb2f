//! The requests that the simulated API received, in bounded memory.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use crate::api::Operation;

/// How many requests are kept in full.
const REMEMBERED_REQUESTS: usize = 10_000;
/// How many violations are kept as text; further ones are only counted.
const REMEMBERED_VIOLATIONS: usize = 1_000;

/// One request to the API.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    /// When it arrived, since the simulator's start.
    pub at: Duration,
    pub method: String,
    /// With the query.
    pub path: String,
    /// `None` for a path that is not an endpoint.
    pub endpoint: Option<Operation>,
    /// The pipeline in the path.
    pub pipeline: Option<String>,
    /// The index of its key, in the order in which keys were added; `None` for a missing or unknown one.
    pub key: Option<usize>,
    /// The response's status; `None` before the response.
    pub status: Option<u16>,
}

/// How many requests have arrived since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RequestCounts {
    /// To [`Operation::List`].
    pub list: u64,
    /// To [`Operation::Status`].
    pub status: u64,
    /// To [`Operation::Metrics`].
    pub metrics: u64,
    /// To [`Operation::DestinationHealth`].
    pub destination_health: u64,
    /// To [`Operation::Usage`].
    pub usage: u64,
    /// To other paths of the API.
    pub other: u64,
    /// Things that an exporter must never do; see [`Simulator::violations`](super::Simulator::violations).
    pub violations: u64,
}

impl RequestCounts {
    /// All requests to paths of the API.
    pub const fn total(&self) -> u64 {
        self.list + self.status + self.metrics + self.destination_health + self.usage + self.other
    }

    fn count(&mut self, endpoint: Option<Operation>) {
        *match endpoint {
            Some(Operation::List) => &mut self.list,
            Some(Operation::Status) => &mut self.status,
            Some(Operation::Metrics) => &mut self.metrics,
            Some(Operation::DestinationHealth) => &mut self.destination_health,
            Some(Operation::Usage) => &mut self.usage,
            None => &mut self.other,
        } += 1;
    }
}

/// The requests and violations so far.
#[derive(Default)]
pub(super) struct Journal {
    /// The newest requests, without gaps.
    records: VecDeque<RequestRecord>,
    counts: RequestCounts,
    violations: Vec<String>,
}

impl Journal {
    /// Notes a request. Returns its number, from 0.
    pub(super) fn arrived(&mut self, record: RequestRecord) -> u64 {
        self.counts.count(record.endpoint);
        if self.records.len() == REMEMBERED_REQUESTS {
            self.records.pop_front();
        }
        self.records.push_back(record);
        self.counts.total() - 1
    }

    /// Notes the response's status for request `number`.
    pub(super) fn answered(&mut self, number: u64, status: u16) {
        let forgotten = self.counts.total() - self.records.len() as u64;
        let index = number.checked_sub(forgotten).and_then(|index| usize::try_from(index).ok());
        if let Some(record) = index.and_then(|index| self.records.get_mut(index)) {
            record.status = Some(status);
        }
    }

    pub(super) fn violated(&mut self, what: String) {
        self.counts.violations += 1;
        if self.violations.len() < REMEMBERED_VIOLATIONS {
            self.violations.push(what);
        }
    }

    pub(super) fn requests(&self) -> Vec<RequestRecord> {
        self.records.iter().cloned().collect()
    }

    pub(super) const fn counts(&self) -> RequestCounts {
        self.counts
    }

    pub(super) fn violations(&self) -> Vec<String> {
        self.violations.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_late_answers_find_their_request() {
        let record = RequestRecord {
            at: Duration::ZERO,
            method: "GET".to_owned(),
            path: "/".to_owned(),
            endpoint: Some(Operation::List),
            pipeline: None,
            key: None,
            status: None,
        };
        let mut journal = Journal::default();
        for _ in 0..REMEMBERED_REQUESTS + 5 {
            journal.arrived(record.clone());
        }
        journal.answered(0, 200); // forgotten: no effect
        journal.answered(5, 404);
        let requests = journal.requests();
        assert_eq!(requests.len(), REMEMBERED_REQUESTS);
        assert_eq!(requests[0].status, Some(404));
        assert_eq!(requests[1].status, None);
        assert_eq!(journal.counts().list, REMEMBERED_REQUESTS as u64 + 5);
    }
}
