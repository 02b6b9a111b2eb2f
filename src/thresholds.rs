//! How bad a reading must be to count as trouble. `policies` in the configuration overrides the defaults.

use std::ops::Index;

use crate::labels::closed_set;

closed_set! {
    /// A threshold; its text is the name of the setting.
    pub enum Threshold {
        /// Processing delay from which a pipeline lags.
        Delay = "delay",
        /// Processing delay from which that is critical.
        DelayCritical = "delay_critical",
        /// Buffered records from which a growing backlog counts.
        Backlog = "backlog",
        /// Time without progress, although there is work.
        Stalled = "stalled",
        /// Time without progress, whether or not there is work.
        NoProgress = "no_progress",
        /// Age of the API's newest destination check.
        DestinationCheckAge = "destination_check_age",
        /// Share of the records that the pipeline drops.
        DroppedShare = "dropped_share",
        /// Share of a backfill's blocks that may be missing at its end.
        UnprocessedShare = "unprocessed_share",
        /// Time that a pipeline which should run may take until it does.
        Deployment = "deployment",
        /// Restarts of the worker within half an hour.
        Restarts = "restarts",
        /// Changes of the destination's health within half an hour.
        DestinationChanges = "destination_changes",
    }
}

/// What a threshold measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A duration, as a number of seconds.
    Seconds,
    /// A number of records.
    Records,
    /// A share from 0 to 1.
    Share,
    /// A number of changes, at most [`MOST_CHANGES`].
    Changes,
}

/// So many changes of one reading are remembered.
pub const MOST_CHANGES: usize = 50;

impl Threshold {
    /// Its unit and its default.
    const fn row(self) -> (Unit, f64) {
        match self {
            Self::Delay => (Unit::Seconds, 5.0 * 60.0),
            Self::DelayCritical | Self::NoProgress => (Unit::Seconds, 30.0 * 60.0),
            // A healthy pipeline may write one full buffer of 10,000 while the next one fills, each with up to one
            // block more.
            Self::Backlog => (Unit::Records, 25_000.0),
            Self::Stalled => (Unit::Seconds, 10.0 * 60.0),
            Self::DestinationCheckAge | Self::Deployment => (Unit::Seconds, 15.0 * 60.0),
            Self::DroppedShare | Self::UnprocessedShare => (Unit::Share, 0.001),
            // One restart, say after a change of the pipeline, is not trouble. Neither are two.
            Self::Restarts => (Unit::Changes, 3.0),
            // Down and up again three times.
            Self::DestinationChanges => (Unit::Changes, 6.0),
        }
    }

    pub const fn unit(self) -> Unit {
        self.row().0
    }
}

/// The values of all thresholds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds([f64; Threshold::COUNT]);

impl Default for Thresholds {
    fn default() -> Self {
        Self(std::array::from_fn(|index| Threshold::ALL[index].row().1))
    }
}

impl Thresholds {
    /// Overrides some of the values.
    #[must_use]
    pub fn with(mut self, overrides: impl IntoIterator<Item = (Threshold, f64)>) -> Self {
        for (threshold, value) in overrides {
            self.0[threshold as usize] = value;
        }
        self
    }
}

/// In the threshold's unit.
impl Index<Threshold> for Thresholds {
    type Output = f64;

    fn index(&self, threshold: Threshold) -> &f64 {
        &self.0[threshold as usize]
    }
}
