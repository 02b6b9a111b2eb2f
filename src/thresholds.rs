//! From where on something is trouble: the numbers that the judgement compares readings with.

use std::time::Duration;

/// One set of thresholds.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds {
    /// Processing delay of an unbounded pipeline that does not catch up.
    pub delay: Duration,
    /// The same, as an incident.
    pub delay_critical: Duration,
    /// Pending records, while they grow.
    pub backlog: f64,
    /// Time without progress although there is something to do.
    pub stalled: Duration,
    /// Time without progress in any case.
    pub no_progress: Duration,
    /// Age of the destination check when it is read.
    pub destination_check_age: Duration,
    /// Time that a pipeline may take to run: a deployment takes minutes.
    pub deployment: Duration,
    /// Dropped records in all that were read. Some contracts emit events that do not fit their own ABI.
    pub dropped_share: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            delay: Duration::from_secs(5 * 60),
            delay_critical: Duration::from_secs(30 * 60),
            backlog: 10_000.0,
            stalled: Duration::from_secs(10 * 60),
            no_progress: Duration::from_secs(30 * 60),
            destination_check_age: Duration::from_secs(15 * 60),
            deployment: Duration::from_secs(15 * 60),
            dropped_share: 0.001,
        }
    }
}
