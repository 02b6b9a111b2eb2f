//! No window of time holds more requests than the budget allows, whatever happens. Only a restart forgets what was sent.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Invariant, Scene, Step};

/// Windows in seconds.
const WINDOWS: [f64; 4] = [0.5, 1.0, 10.0, 60.0];

pub struct Budget {
    /// When requests were sent, on the monotonic clock, and the rate that was allowed then.
    sent: Vec<VecDeque<(Duration, f64)>>,
}

impl Budget {
    pub fn new(accounts: usize) -> Self {
        Self { sent: vec![VecDeque::new(); accounts] }
    }
}

impl Invariant for Budget {
    fn name(&self) -> &'static str {
        "budget"
    }

    fn check(&mut self, step: &Step, scene: &mut Scene) -> Result<(), String> {
        match step {
            Step::Restarted => self.sent.iter_mut().for_each(VecDeque::clear),
            Step::Sent { account, .. } => {
                let sent = &mut self.sent[*account];
                let now = scene.clock.awake;
                let rate = scene.daemon.accounts[*account].settings.poll.requests_per_second;
                sent.push_back((now, rate));
                while sent.front().is_some_and(|(at, _)| (now - *at).as_secs_f64() > WINDOWS[3]) {
                    sent.pop_front();
                }
                let most = sent.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
                for window in WINDOWS {
                    let first = sent.partition_point(|(at, _)| (now - *at).as_secs_f64() > window);
                    let count = sent.len() - first;
                    // As the contract of the bucket says: the rate, one more, and a twentieth of a second's requests.
                    let allowed = most * window + 1.0 + most / 20.0;
                    if count as f64 > allowed + 1e-6 {
                        return Err(format!("{count} requests in {window} s at {most} per second"));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
