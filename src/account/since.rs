//! Since when a state holds, and what was last known.

use crate::moment::Moment;

/// A state and the moment it began.
#[derive(Debug, Clone, Copy, Default)]
pub struct Since<T> {
    state: T,
    /// See [`Beginning`], which would take a word more.
    began: Option<Moment>,
    or_earlier: bool,
}

/// When something began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beginning {
    /// When it was first seen.
    pub at: Moment,
    /// The state was already there at first sight, so it may have begun earlier.
    pub or_earlier: bool,
}

impl Beginning {
    /// Of two conditions that must both hold, the one that began last.
    pub fn later(self, other: Self) -> Self {
        if other.at.monotonic() > self.at.monotonic() { other } else { self }
    }
}

impl From<Moment> for Beginning {
    fn from(at: Moment) -> Self {
        Self { at, or_earlier: false }
    }
}

impl<T: PartialEq + Copy> Since<T> {
    /// Sets the state. Returns the previous one.
    pub fn set(&mut self, state: T, at: Moment) -> T {
        if self.began.is_none() || self.state != state {
            self.or_earlier = self.began.is_none();
            self.began = Some(at);
        }
        std::mem::replace(&mut self.state, state)
    }

    pub fn state(&self) -> T {
        self.state
    }

    /// When the state began; `None` if nothing has been read yet.
    pub fn began(&self) -> Option<Beginning> {
        self.began.map(|at| Beginning { at, or_earlier: self.or_earlier })
    }
}

impl Since<bool> {
    /// Since when it holds, if it does.
    pub fn holds_since(&self) -> Option<Beginning> {
        self.began().filter(|_| self.state)
    }
}

/// The last known value of a field, since when, and when it was read. A reading without the field changes nothing.
#[derive(Debug, Clone, Copy)]
pub struct Known<T> {
    value: Since<Option<T>>,
    read_at: Option<Moment>,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self { value: Since::default(), read_at: None }
    }
}

impl<T: PartialEq + Copy> Known<T> {
    /// Adds a reading. Returns what was known before.
    pub(super) fn observe(&mut self, value: Option<T>, at: Moment) -> Option<T> {
        if value.is_none() {
            return self.value.state();
        }
        self.read_at = Some(at);
        self.value.set(value, at)
    }

    /// `None` if none has ever been read.
    pub fn value(&self) -> Option<T> {
        self.value.state()
    }

    /// Since when the value is the same.
    pub fn began(&self) -> Option<Beginning> {
        self.value.began()
    }

    /// When a value was last read.
    pub fn read_at(&self) -> Option<Moment> {
        self.read_at
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn of_two_beginnings_the_later_one_counts_and_of_two_at_once_the_first() {
        let start = Moment::now();
        let early = Beginning { at: start, or_earlier: true };
        let late = Beginning::from(start.after(Duration::from_secs(1)));
        assert_eq!([early.later(late), late.later(early), early.later(start.into())], [late, late, early]);
    }

    #[test]
    fn a_known_value_stays_while_readings_lack_it() {
        let start = Moment::now();
        let at = |seconds| start.after(Duration::from_secs(seconds));
        let mut healthy = Known::default();
        assert_eq!((healthy.observe(None, at(1)), healthy.value(), healthy.read_at()), (None, None, None));
        assert_eq!(healthy.observe(Some(false), at(2)), None);
        assert_eq!(healthy.observe(None, at(3)), Some(false));
        assert_eq!((healthy.value(), healthy.read_at()), (Some(false), Some(at(2))));
        assert_eq!(healthy.observe(Some(false), at(4)), Some(false));
        assert_eq!(healthy.began(), Some(Beginning { at: at(2), or_earlier: true }));
        assert_eq!(healthy.read_at(), Some(at(4)));
    }

    #[test]
    fn a_state_begins_when_it_changes_and_not_when_it_is_seen_again() {
        let start = Moment::now();
        let at = |seconds| start.after(Duration::from_secs(seconds));
        let mut state = Since::<Option<bool>>::default();
        assert_eq!(state.began(), None);
        state.set(None, at(1));
        assert_eq!(state.began(), Some(Beginning { at: at(1), or_earlier: true }), "first sight");
        state.set(Some(true), at(2));
        assert_eq!(state.set(Some(true), at(3)), Some(true));
        assert_eq!(state.began(), Some(Beginning { at: at(2), or_earlier: false }));
    }
}
