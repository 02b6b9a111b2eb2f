//! Faults that a test injects into chosen requests.

use std::time::Duration;

use serde_json::Value;

use crate::api::Operation;

/// Which requests a fault applies to; what is `None` matches everything.
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

/// What happens to a matching request, before its key is looked at.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answered with just this.
    Answer {
        /// HTTP status; an impossible one becomes 500.
        status: u16,
        /// Headers; an impossible one is left out.
        headers: Vec<(String, String)>,
        /// The bytes of the body.
        body: Vec<u8>,
    },
    /// Never answered.
    Hang,
    /// Answered as usual, but later.
    Delay(Duration),
    /// Answered 429.
    RateLimited {
        /// The `Retry-After` header, as it is: seconds, an HTTP date or nonsense.
        retry_after: Option<String>,
    },
    /// Answered with status 200 and an envelope that says `error: true`.
    EnvelopeError {
        /// `error_code`: a number or a string.
        code: Value,
        /// `error_message`.
        message: String,
    },
    /// Something in front of the API responds with an HTML page and this status; an impossible one becomes 500.
    Foreign(u16),
    /// A page whose size is asked for meets this fault. Everything else is answered as usual.
    PageSizeRefused(Box<Fault>),
    /// The headers and the beginning of a body arrive, the rest never does.
    StalledBody,
    /// The headers and the beginning of a body arrive, then the connection breaks.
    BrokenBody,
    /// The body never ends.
    EndlessBody,
    /// Every page of the list is the first one and says that there are more. Other endpoints answer as usual.
    RepeatedPage,
    /// The list comes in another order each time: its pages repeat pipelines and skip others. Other endpoints answer as usual.
    ShuffledPages,
}

/// The faults in force.
#[derive(Default)]
pub(super) struct Faults(Vec<(FaultMatcher, Fault)>);

impl Faults {
    /// Replaces the fault of a matcher, or takes it away.
    pub(super) fn set(&mut self, matcher: FaultMatcher, fault: Option<Fault>) {
        self.0.retain(|(existing, _)| *existing != matcher);
        if let Some(fault) = fault {
            self.0.push((matcher, fault));
        }
    }

    /// The fault for a request: of several that match, the one set last.
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
