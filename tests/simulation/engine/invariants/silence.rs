//! What the API asks for with `Retry-After` is kept, by reloads as well. Only another key ends it.

use std::time::Duration;

use goldrush_exporter::api::{Reason, Request};

use super::{Invariant, Scene, Step};

/// After `Retry-After: 0`.
const LEAST: Duration = Duration::from_millis(500);

pub struct Silence {
    until: Vec<Duration>,
}

impl Silence {
    pub fn new(accounts: usize) -> Self {
        Self { until: vec![Duration::ZERO; accounts] }
    }
}

impl Invariant for Silence {
    fn name(&self) -> &'static str {
        "silence"
    }

    fn check(&mut self, step: &Step, scene: &mut Scene) -> Result<(), String> {
        let now = scene.clock.awake;
        match *step {
            Step::Sent { account, request } if now < self.until[account] => {
                return Err(format!("{request:?} is sent {:?} too early", self.until[account] - now));
            }
            // That the usage alone is out of service keeps nothing else waiting: see `usage`.
            Step::Delivered { request: Request::Usage, error: Some(error), .. }
                if error.reason() != Reason::RateLimited => {}
            Step::Delivered { account, error: Some(error), .. } => {
                if let Some(wait) = error.retry_after() {
                    self.until[account] = self.until[account].max(now + wait.max(LEAST));
                }
            }
            Step::Rotated { account } | Step::Reloaded { account, is_another_key: true } => {
                self.until[account] = Duration::ZERO;
            }
            Step::Restarted => self.until.fill(Duration::ZERO),
            _ => {}
        }
        Ok(())
    }
}
