//! No window of time holds more requests than the budget allows, whatever happens. Only a restart forgets what was sent. And
//! no more requests wait for their responses than is configured.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

use goldrush_exporter::account::Pace;
use goldrush_exporter::api::Probe;
use goldrush_exporter::config::Poll;

use super::super::told::{ProbeTold, Told};
use super::fair_share::interval;
use super::{Invariant, Scene, Step};

/// Windows, the longest last.
const WINDOWS: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(10), Duration::from_secs(60)];

/// What one account has sent in the longest window.
#[derive(Default, Clone)]
struct Account {
    /// On the monotonic clock.
    sent: VecDeque<Duration>,
    /// How many of them have left each window.
    left: [usize; WINDOWS.len()],
    /// The rates that were allowed, each with the last request that was sent at it.
    rates: Vec<(f64, Duration)>,
    /// How many of its driver's requests have no response yet.
    in_flight: usize,
}

pub struct Budget {
    accounts: Vec<Account>,
}

impl Budget {
    pub fn new(accounts: usize) -> Self {
        Self { accounts: vec![Account::default(); accounts] }
    }
}

impl Invariant for Budget {
    fn name(&self) -> &'static str {
        "budget"
    }

    fn check(&mut self, step: &Step, scene: &mut Scene) -> Result<(), String> {
        match step {
            Step::Restarted => self.accounts.fill(Account::default()),
            Step::Sent { account, .. } => {
                let poll = &scene.daemon.accounts[*account].settings.poll;
                let known = &mut self.accounts[*account];
                known.in_flight += 1;
                if known.in_flight > poll.max_in_flight {
                    return Err(format!("{} requests at once, {} at most", known.in_flight, poll.max_in_flight));
                }
                return known.send(poll.requests_per_second, scene.clock.awake);
            }
            Step::Delivered { account, .. } => self.accounts[*account].in_flight -= 1,
            // Its new driver knows nothing of them.
            Step::Reloaded { account, .. } => self.accounts[*account].in_flight = 0,
            // Other invariants allow for as much time as the budget needs for that.
            Step::Scraped { views, .. } => {
                for ((view, told), driver) in views.iter().zip(&scene.told).zip(&scene.daemon.accounts) {
                    let (found, needed) = (view.budget.required, required(told, &driver.settings.poll));
                    if found < needed.start() - 1e-6 || found > needed.end() + 1e-6 {
                        return Err(format!("{found} requests per second are said to be needed, and {needed:?} are"));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The least and the most requests per second that all intervals need for what was told, by how many pages a list has.
fn required(told: &Told, poll: &Poll) -> RangeInclusive<f64> {
    let per_second = |interval: Duration| interval.as_secs_f64().recip();
    let of_probe = |(probe, told): (&Probe, &ProbeTold)| {
        let usual = interval(*probe, poll);
        per_second(match told.pace {
            Pace::Normal => usual,
            Pace::Transitional => poll.transitional,
            // What is read that rarely has to stay fresh.
            Pace::Idle => usual.max(poll.idle.min(poll.stale_after / 2)),
            Pace::Refused => usual.max(poll.discovery),
        })
    };
    let probes = told.pipelines.values().flat_map(|pipeline| Probe::ALL.iter().zip(&pipeline.probes));
    let others = probes.map(of_probe).sum::<f64>() + poll.usage.map_or(0.0, per_second);
    let page = per_second(poll.discovery);
    others + page..=others + page * f64::from(told.pages.max(1))
}

impl Account {
    fn send(&mut self, rate: f64, now: Duration) -> Result<(), String> {
        self.rates.retain(|(known, last)| *known != rate && now - *last <= WINDOWS[WINDOWS.len() - 1]);
        self.rates.push((rate, now));
        let most = self.rates.iter().map(|(rate, _)| *rate).fold(0.0, f64::max);
        self.sent.push_back(now);
        for (window, left) in WINDOWS.iter().zip(&mut self.left) {
            while self.sent.get(*left).is_some_and(|at| now - *at > *window) {
                *left += 1;
            }
            let count = self.sent.len() - *left;
            // As the contract of the bucket says: the rate, one more, and a twentieth of a second's requests.
            let allowed = most * window.as_secs_f64() + 1.0 + most / 20.0;
            if count as f64 > allowed + 1e-6 {
                return Err(format!("{count} requests in {window:?} at {most} per second"));
            }
        }
        let gone = self.left[WINDOWS.len() - 1];
        self.sent.drain(..gone);
        self.left.iter_mut().for_each(|left| *left -= gone);
        Ok(())
    }
}
