//! What the API says about the ServiceKey in use: the only source of truth about it.

use std::time::{Instant, SystemTime};

use super::Beginning;
use crate::moment::Moment;

/// The key in use, and its state.
#[derive(Debug, Clone)]
pub struct Credential {
    generation: u64,
    loaded_at: SystemTime,
    state: KeyState,
    /// The newest generation whose refusal was reported: each key is reported once.
    reported: Option<u64>,
}

/// What the API says about a key. The state outlives a rotation: a new key must be accepted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// No response about the key yet.
    Untried,
    /// The API accepts it.
    Accepted {
        /// The first response that accepted it.
        since: Beginning,
    },
    /// The API responds 401: the key is missing, malformed or revoked. Only the list is requested until something is
    /// accepted.
    Refused {
        since: Beginning,
        /// When the newest refusal arrived: a response to a request that was sent before it says nothing new about the
        /// key.
        latest: Instant,
    },
    /// The API responds 403 to the list.
    NotServiceKey { since: Beginning },
}

impl KeyState {
    /// When this state began; `None` for [`Untried`](Self::Untried).
    pub fn since(self) -> Option<Beginning> {
        match self {
            Self::Untried => None,
            Self::Accepted { since } | Self::Refused { since, .. } | Self::NotServiceKey { since } => Some(since),
        }
    }
}

/// The consequences of a refusal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// No refusal of this key has been reported yet: look for a new key.
    pub(super) is_news: bool,
    /// The key was not refused before.
    pub(super) is_first: bool,
}

impl Credential {
    pub(super) fn new(loaded_at: SystemTime) -> Self {
        Self { generation: 1, loaded_at, state: KeyState::Untried, reported: None }
    }

    /// Another key is in use from now on.
    pub(super) fn replace(&mut self, loaded_at: SystemTime) {
        self.generation += 1;
        self.loaded_at = loaded_at;
    }

    /// The number of the key: a response counts for the key that was sent with the request.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn loaded_at(&self) -> SystemTime {
        self.loaded_at
    }

    pub fn state(&self) -> KeyState {
        self.state
    }

    pub(super) fn is_accepted(&self) -> bool {
        matches!(self.state, KeyState::Accepted { .. })
    }

    pub fn is_refused(&self) -> bool {
        matches!(self.state, KeyState::Refused { .. })
    }

    pub fn is_not_a_service_key(&self) -> bool {
        matches!(self.state, KeyState::NotServiceKey { .. })
    }

    /// A list was accepted. Returns whether the key was refused before.
    pub(super) fn accept_list(&mut self, sent: Instant, at: Moment) -> bool {
        self.become_state(sent, at, |since| KeyState::Accepted { since })
    }

    /// A probe was accepted; the API also accepts read-only API keys for probes. Returns whether the key was refused
    /// before.
    pub(super) fn accept_probe(&mut self, sent: Instant, at: Moment) -> bool {
        if self.is_not_a_service_key() {
            return false;
        }
        self.become_state(sent, at, |since| KeyState::Accepted { since })
    }

    /// A list got a 403.
    pub(super) fn forbid_list(&mut self, sent: Instant, at: Moment) {
        self.become_state(sent, at, |since| KeyState::NotServiceKey { since });
    }

    /// A request got a 401.
    pub(super) fn refuse(&mut self, sent: Instant, at: Moment) -> Refusal {
        let is_first = !self.is_refused();
        self.become_state(sent, at, |since| KeyState::Refused { since, latest: at.monotonic() });
        Refusal { is_news: self.reported.replace(self.generation) != Some(self.generation), is_first }
    }

    /// Returns whether the key was refused before and no longer is.
    fn become_state(&mut self, sent: Instant, at: Moment, state: impl Fn(Beginning) -> KeyState) -> bool {
        if let KeyState::Refused { latest, .. } = self.state
            && sent < latest
        {
            return false;
        }
        let was_refused = self.is_refused();
        let new = state(Beginning { at, or_earlier: self.state == KeyState::Untried });
        self.state = match self.state.since() {
            Some(since) if std::mem::discriminant(&new) == std::mem::discriminant(&self.state) => state(since),
            _ => new,
        };
        let healed = was_refused && !self.is_refused();
        if !self.is_refused() {
            self.reported = None;
        }
        healed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(start: Moment, seconds: u64) -> Moment {
        start.after(Duration::from_secs(seconds))
    }

    #[test]
    fn responses_to_what_was_sent_before_a_refusal_do_not_undo_it() {
        let start = Moment::now();
        let mut key = Credential::new(start.wall());
        assert_eq!(key.refuse(start.monotonic(), at(start, 1)), Refusal { is_news: true, is_first: true });
        assert!(!key.accept_list(start.monotonic(), at(start, 2)), "sent before");
        assert_eq!(
            key.refuse(start.monotonic(), at(start, 3)),
            Refusal { is_news: false, is_first: false },
            "the same wave"
        );
        let since = Beginning { at: at(start, 1), or_earlier: true };
        assert_eq!(key.state(), KeyState::Refused { since, latest: at(start, 1).monotonic() });
        assert!(key.clone().accept_list(at(start, 1).monotonic(), at(start, 2)), "sent when it came");
        assert!(key.accept_probe(at(start, 2).monotonic(), at(start, 4)));
        assert_eq!(key.state(), KeyState::Accepted { since: Beginning { at: at(start, 4), or_earlier: false } });
        let again = key.refuse(at(start, 5).monotonic(), at(start, 6));
        assert_eq!(again, Refusal { is_news: true, is_first: true }, "the same key is refused after all");
    }

    #[test]
    fn a_new_key_is_reported_once_more_and_has_to_be_accepted() {
        let start = Moment::now();
        let mut key = Credential::new(start.wall());
        key.refuse(start.monotonic(), start);
        key.replace(start.wall());
        assert!(key.is_refused(), "nothing is known about the new key yet");
        assert!(key.refuse(at(start, 1).monotonic(), at(start, 1)).is_news);
        assert!(!key.refuse(at(start, 2).monotonic(), at(start, 2)).is_news);
    }

    #[test]
    fn only_a_list_shows_that_a_key_is_a_service_key_after_all() {
        let start = Moment::now();
        let mut key = Credential::new(start.wall());
        key.forbid_list(start.monotonic(), start);
        key.accept_probe(at(start, 1).monotonic(), at(start, 1));
        assert!(key.is_not_a_service_key());
        assert!(!key.accept_list(at(start, 2).monotonic(), at(start, 2)), "it was not refused");
        assert!(matches!(key.state(), KeyState::Accepted { .. }));
    }
}
