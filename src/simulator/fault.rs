//! Faults that a test injects into chosen requests.

use std::time::Duration;

use serde_json::Value;

use crate::api::Operation;

/// Which requests a fault applies to; `None` matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultMatcher {
    /// Only requests to this endpoint.
    pub endpoint: Option<Operation>,
    /// Only requests about the pipeline with this id.
    pub pipeline: Option<String>,
}

impl FaultMatcher {
    fn matches(&self, endpoint: Option<Operation>, pipeline: Option<&str>) -> bool {
        (self.endpoint.is_none() || self.endpoint == endpoint)
            && (self.pipeline.is_none() || self.pipeline.as_deref() == pipeline)
    }
}

/// What happens to a matching request, before its key is checked.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Gets exactly this response.
    Answer {
        /// An invalid status becomes 500.
        status: u16,
        /// Invalid headers are left out.
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// Never gets a response.
    Hang,
    /// Gets its usual response, but later.
    Delay(Duration),
    /// Gets 429.
    RateLimited {
        /// The `Retry-After` header, unchanged: seconds, an HTTP date or nonsense.
        retry_after: Option<String>,
    },
    /// Gets status 200 and an envelope with `error: true`.
    EnvelopeError {
        /// `error_code`: a number or a string.
        code: Value,
        /// `error_message`.
        message: String,
    },
    /// Something in front of the API responds with an HTML page and this status; an invalid one becomes 500.
    Foreign(u16),
    /// A page request with `page_size` gets this fault. Other requests are not affected.
    PageSizeRefused(Box<Fault>),
    /// The headers and the beginning of the body arrive, the rest never does.
    StalledBody,
    /// The headers and the beginning of the body arrive, then the connection breaks.
    BrokenBody,
    /// The body never ends.
    EndlessBody,
    /// Every page of the list is the first one and says that there are more. Other endpoints are not affected.
    RepeatedPage,
    /// The list comes in a different order each time: its pages repeat pipelines and skip others. Other endpoints are
    /// not affected.
    ShuffledPages,
}

/// The active faults.
#[derive(Default)]
pub(super) struct Faults(Vec<(FaultMatcher, Fault)>);

impl Faults {
    /// Sets or removes the fault for a matcher.
    pub(super) fn set(&mut self, matcher: FaultMatcher, fault: Option<Fault>) {
        self.0.retain(|(existing, _)| *existing != matcher);
        if let Some(fault) = fault {
            self.0.push((matcher, fault));
        }
    }

    /// The fault for a request: if several match, the last one set.
    pub(super) fn find(&self, endpoint: Option<Operation>, pipeline: Option<&str>) -> Option<Fault> {
        self.0.iter().rev().find(|(matcher, _)| matcher.matches(endpoint, pipeline)).map(|(_, fault)| fault.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fault_set_last_wins_and_can_be_taken_away() {
        let metrics = FaultMatcher { endpoint: Some(Operation::Metrics), pipeline: None };
        let mut faults = Faults::default();
        faults.set(FaultMatcher::default(), Some(Fault::Hang));
        faults.set(metrics.clone(), Some(Fault::BrokenBody));
        let find = |faults: &Faults, endpoint| faults.find(Some(endpoint), Some("pipe_1"));
        assert!(matches!(find(&faults, Operation::Metrics), Some(Fault::BrokenBody)));
        assert!(matches!(find(&faults, Operation::Status), Some(Fault::Hang)));
        faults.set(metrics, None);
        faults.set(FaultMatcher::default(), None);
        assert!(find(&faults, Operation::Metrics).is_none());
    }
}
