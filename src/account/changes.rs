//! Whether a reading changes again and again.

use std::collections::VecDeque;
use std::time::Duration;

use super::Since;
use crate::moment::Moment;
use crate::thresholds::MOST_CHANGES;

/// How far back changes count, from the newest reading.
const WINDOW: Duration = Duration::from_secs(30 * 60);

/// When a value changed, lately. A reading without the value changes nothing.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// The oldest first. Most values never change: their list needs no memory.
    times: VecDeque<Moment>,
    often: Since<bool>,
}

impl Changes {
    /// Adds a reading, with what was known before it. From `limit` on, changes are frequent.
    pub(super) fn observe<T: PartialEq>(&mut self, was: Option<T>, is: Option<T>, limit: f64, at: Moment) {
        let Some(is) = is else { return };
        if was.is_some_and(|was| was != is) {
            self.times.push_back(at);
        }
        let is_old = |time: &Moment| at.since(*time) > WINDOW;
        while self.times.len() > MOST_CHANGES || self.times.front().is_some_and(is_old) {
            self.times.pop_front();
        }
        self.limit(limit, at);
    }

    /// Changes the limit.
    pub(super) fn limit(&mut self, limit: f64, at: Moment) {
        self.often.set(self.times.len() as f64 >= limit, at);
    }

    /// Whether changes were frequent when the value was last read.
    pub fn often(&self) -> &Since<bool> {
        &self.often
    }

    /// How many changes there were.
    pub fn count(&self) -> usize {
        self.times.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_changes_with_every_reading_forever_needs_little_memory() {
        let start = Moment::now();
        let mut changes = Changes::default();
        for second in 0..3_600 {
            changes.observe(Some(second), Some(second + 1), 3.0, start.after(Duration::from_secs(second)));
        }
        assert_eq!((changes.count(), changes.often().state()), (MOST_CHANGES, true));
        changes.observe(Some(1), Some(1), 3.0, start.after(Duration::from_secs(3_600) + WINDOW));
        assert_eq!((changes.count(), changes.often().state()), (0, false));
    }

    #[test]
    fn while_the_machine_sleeps_changes_grow_old() {
        let start = Moment::now();
        let mut changes = Changes::default();
        for second in 0..3 {
            changes.observe(Some(second), Some(second + 1), 3.0, start.after(Duration::from_secs(second)));
        }
        assert!(changes.often().state());
        let slept = start.after(Duration::from_secs(10)).after_sleep(2 * WINDOW);
        changes.observe(Some(3), Some(3), 3.0, slept);
        assert!(!changes.often().state());
    }
}
