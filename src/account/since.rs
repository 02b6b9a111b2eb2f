//! Since when something is so.

use crate::moment::Moment;

/// A state and the moment it began.
#[derive(Debug, Clone, Copy, Default)]
pub struct Since<T> {
    state: T,
    began: Option<Beginning>,
}

/// When something began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beginning {
    /// When it was first seen.
    pub at: Moment,
    /// It was so at first sight: it may have begun before.
    pub or_earlier: bool,
}

impl Beginning {
    /// Of two things that must both be so, the one that began last.
    pub fn later(self, other: Self) -> Self {
        if other.at.monotonic > self.at.monotonic { other } else { self }
    }
}

impl From<Moment> for Beginning {
    fn from(at: Moment) -> Self {
        Self { at, or_earlier: false }
    }
}

impl<T: PartialEq + Copy> Since<T> {
    /// The state is so now. Returns what it was.
    pub fn set(&mut self, state: T, at: Moment) -> T {
        if self.began.is_none() || self.state != state {
            self.began = Some(Beginning { at, or_earlier: self.began.is_none() });
        }
        std::mem::replace(&mut self.state, state)
    }

    /// The state.
    pub fn state(&self) -> T {
        self.state
    }

    /// When the state began; `None` if nothing has been seen yet.
    pub fn began(&self) -> Option<Beginning> {
        self.began
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

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
