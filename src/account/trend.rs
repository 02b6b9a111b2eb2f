//! The trend of a number, and since when it is above its limit.

use std::time::Duration;

use super::{Beginning, Since};
use crate::moment::{Moment, Tick};

#[derive(Debug, Clone, Copy)]
struct Sample {
    value: f64,
    at: Tick,
}

/// The trend of a number, by default over the last minutes. A reading without it changes nothing.
///
/// The slope covers between half of the `WINDOW` and all of it; readings closer together than `SHORTEST` say nothing
/// about the trend. Both are in seconds.
#[derive(Debug, Clone, Default)]
pub struct Trend<const WINDOW: u64 = 600, const SHORTEST: u64 = 25> {
    older: Option<Sample>,
    newer: Option<Sample>,
    newest: Option<Sample>,
}

impl<const WINDOW: u64, const SHORTEST: u64> Trend<WINDOW, SHORTEST> {
    /// Adds a reading.
    pub(super) fn observe(&mut self, value: Option<f64>, at: Moment) {
        let Some(value) = value else { return };
        let sample = Sample { value, at: at.tick() };
        self.newest = Some(sample);
        let half = Duration::from_secs(WINDOW / 2);
        if self.newer.is_none_or(|newer| at.tick().since(newer.at) >= half) {
            self.older = self.newer.replace(sample);
        }
    }

    /// Adds a reading of a count that only falls at a restart; older readings are dropped then.
    pub(super) fn observe_count(&mut self, value: Option<f64>, at: Moment) {
        if value.zip(self.newest).is_some_and(|(value, newest)| value < newest.value) {
            *self = Self::default();
        }
        self.observe(value, at);
    }

    pub fn latest(&self) -> Option<f64> {
        self.newest.map(|sample| sample.value)
    }

    /// The change per second; `None` if there is too little data.
    pub fn slope(&self) -> Option<f64> {
        let (newest, base) = (self.newest?, self.older.or(self.newer)?);
        let span = newest.at.since(base.at);
        (span >= Duration::from_secs(SHORTEST)).then(|| (newest.value - base.value) / span.as_secs_f64())
    }
}

/// A number that should stay low.
#[derive(Debug, Clone, Default)]
pub struct Level {
    above: Since<bool>,
    trend: Trend,
}

impl Level {
    pub(super) fn observe(&mut self, value: Option<f64>, limit: f64, at: Moment) {
        if let Some(value) = value {
            self.above.set(value > limit, at);
        }
        self.trend.observe(value, at);
    }

    /// Changes the limit.
    pub(super) fn limit(&mut self, limit: f64, at: Moment) {
        if let Some(newest) = self.trend.newest {
            self.above.set(newest.value > limit, at);
        }
    }

    /// Since when it is above its limit, if it is.
    pub fn above_since(&self) -> Option<Beginning> {
        self.above.holds_since()
    }

    pub fn latest(&self) -> Option<f64> {
        self.trend.latest()
    }

    /// The change per second; `None` if there is too little data.
    pub fn slope(&self) -> Option<f64> {
        self.trend.slope()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> impl Fn(u64) -> Moment {
        let start = Moment::now();
        move |seconds| start.after(Duration::from_secs(seconds))
    }

    #[test]
    fn a_level_remembers_since_when_it_is_above_and_where_it_is_going() {
        let at = clock();
        let mut level = Level::default();
        let mut observe = |seconds, value| {
            level.observe(value, 300.0, at(seconds));
            (level.above_since().map(|began| began.at), level.slope())
        };
        assert_eq!(observe(0, Some(100.0)), (None, None));
        assert_eq!(observe(20, Some(301.0)), (Some(at(20)), None), "too soon for a slope");
        assert_eq!(observe(40, Some(400.0)), (Some(at(20)), Some(7.5)));
        assert_eq!(observe(50, None), (Some(at(20)), Some(7.5)));
        // For hours it falls by one per second: the first minute is forgotten.
        let mut slope = None;
        for seconds in (60..7_200).step_by(30) {
            slope = observe(seconds, Some(10_000.0 - seconds as f64)).1;
        }
        assert_eq!(slope, Some(-1.0));
        assert_eq!(observe(7_200, Some(300.0)).0, None, "at the limit is not above it");
    }

    #[test]
    fn a_count_that_starts_again_has_no_past() {
        let at = clock();
        let mut trend = <Trend>::default();
        let mut observe = |seconds, value| {
            trend.observe_count(Some(value), at(seconds));
            trend.slope()
        };
        assert_eq!((observe(0, 1_000.0), observe(30, 1_060.0)), (None, Some(2.0)));
        assert_eq!((observe(60, 30.0), observe(90, 60.0)), (None, Some(1.0)));
    }

    #[test]
    fn a_count_that_is_not_read_has_not_started_again() {
        let at = clock();
        let mut trend = <Trend>::default();
        for (seconds, value) in [(0, Some(1_000.0)), (20, None), (30, Some(1_060.0))] {
            trend.observe_count(value, at(seconds));
        }
        assert_eq!(trend.slope(), Some(2.0));
    }

    #[test]
    fn a_slope_covers_at_most_its_window() {
        let at = clock();
        let mut trend = <Trend>::default();
        for (seconds, value) in [(0, 0.0), (300, 600.0), (600, 300.0)] {
            trend.observe(Some(value), at(seconds));
        }
        assert_eq!(trend.slope(), Some(-1.0));
    }

    #[test]
    fn another_limit_counts_at_once() {
        let at = clock();
        let mut level = Level::default();
        level.observe(Some(200.0), 300.0, at(0));
        for (seconds, limit, above) in [(1, 200.0, false), (2, 199.0, true), (3, 200.0, false)] {
            level.limit(limit, at(seconds));
            assert_eq!(level.above_since(), above.then(|| at(seconds).into()), "{limit}");
        }
    }
}
