//! What the API asks for with `Retry-After` is kept, by reloads as well. Only another key ends it, and nothing waits that
//! nobody has asked to wait.

use std::time::Duration;

use goldrush_exporter::api::{Reason, Request};

use super::{Invariant, Scene, Step};

/// After `Retry-After: 0`.
const LEAST: Duration = Duration::from_millis(500);
/// After a 429 that does not say for how long.
const OWN: Duration = Duration::from_secs(60);

/// On the monotonic clock.
#[derive(Default, Clone, Copy)]
struct Account {
    /// Nothing is sent before.
    until: Duration,
    /// No pause lasts for longer.
    at_most: Duration,
    /// When the last response came that asked for a pause.
    asked: Option<Duration>,
}

pub struct Silence {
    accounts: Vec<Account>,
}

impl Silence {
    pub fn new(accounts: usize) -> Self {
        Self { accounts: vec![Account::default(); accounts] }
    }
}

impl Invariant for Silence {
    fn name(&self) -> &'static str {
        "silence"
    }

    fn check(&mut self, step: &Step, scene: &mut Scene) -> Result<(), String> {
        let now = scene.clock.awake;
        match *step {
            Step::Sent { account, request } if now < self.accounts[account].until => {
                return Err(format!("{request:?} is sent {:?} too early", self.accounts[account].until - now));
            }
            // That the usage alone is out of service keeps nothing else waiting: see `usage`.
            Step::Delivered { request: Request::Usage, error: Some(error), .. }
                if error.reason() != Reason::RateLimited => {}
            Step::Delivered { account, sent, error: Some(error), .. } => {
                let account = &mut self.accounts[account];
                // Of one wave, the first counts: what was sent after it came is newer than all of them.
                let is_of_a_wave = account.asked.is_some_and(|asked| scene.clock.since_origin(sent.at) < asked);
                let (least, most) = match error.retry_after() {
                    Some(wait) => (wait.max(LEAST), wait.max(LEAST)),
                    None if error.reason() != Reason::RateLimited => return Ok(()),
                    None if is_of_a_wave => (Duration::ZERO, OWN),
                    None => (LEAST, OWN),
                };
                account.until = account.until.max(now + least);
                account.at_most = account.at_most.max(now + most);
                if !is_of_a_wave {
                    account.asked = Some(now);
                }
            }
            Step::Rotated { account } | Step::Reloaded { account, is_another_key: true } => {
                let paused = scene.daemon.accounts[account].handle.view(scene.clock.moment()).budget.paused_until;
                if paused.is_some() {
                    return Err("the pause of the old key goes on".to_owned());
                }
                self.accounts[account] = Account { asked: self.accounts[account].asked, ..Account::default() };
            }
            Step::Restarted => self.accounts.fill(Account::default()),
            Step::Scraped { views, .. } => {
                for (view, account) in views.iter().zip(&self.accounts) {
                    let until = view.budget.paused_until.map(|until| scene.clock.since_origin(until.monotonic()));
                    if let Some(until) = until.filter(|until| *until > account.at_most + Duration::from_millis(1)) {
                        return Err(format!("is paused {:?} longer than asked for", until - account.at_most));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
