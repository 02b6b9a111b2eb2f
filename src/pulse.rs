//! Whether a poller's loop still turns: what a watchdog asks before it vouches for the process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// No turn of a healthy poller takes longer. A turn never waits for the API: requests are in flight beside the loop.
/// The longest wait within one is for a key file on a file system that hangs, two seconds.
const LONGEST_TURN: Duration = Duration::from_secs(15);

/// When a poller's loop last turned. Clones show the same loop.
///
/// It has a lock of its own, so that a poller that hangs while it holds its part of the picture is still seen to hang.
#[derive(Debug, Clone)]
pub struct Pulse(Arc<Mutex<Instant>>);

impl Default for Pulse {
    fn default() -> Self {
        Self::new()
    }
}

impl Pulse {
    /// A pulse that beats now.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// The loop turns.
    pub fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether the loop hangs. A pause after a 429, an API that is down and a key that is refused are no hanging:
    /// the loop turns meanwhile.
    pub fn is_stuck(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > LONGEST_TURN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_does_not_turn_is_stuck_until_it_turns_again() {
        let pulse = Pulse::new();
        tokio::time::advance(LONGEST_TURN).await;
        assert!(!pulse.is_stuck());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(pulse.is_stuck());
        pulse.beat();
        assert!(!pulse.is_stuck());
    }
}
