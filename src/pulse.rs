//! Whether a poller's loop still turns: the watchdog checks this before it vouches for the process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Longer than any turn of a healthy poller. A turn never waits for the API: requests are in flight beside the loop.
/// The longest wait in a turn is for a key file on a file system that hangs, two seconds.
const LONGEST_TURN: Duration = Duration::from_secs(15);

/// When a poller's loop last turned. Clones observe the same loop.
///
/// It has its own lock, so that a poller that hangs while it holds its account's lock is still detected.
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

    /// Notes that the loop turns.
    pub fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether the loop hangs. A loop that waits because of a 429, an API that is down or a refused key still turns.
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
