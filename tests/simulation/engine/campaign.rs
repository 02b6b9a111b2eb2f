//! Many histories: each on one thread, as many at once as there are cores.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use super::Outcome;
use super::coverage::Coverage;
use super::history::History;
use super::shrink::{as_test, shrink, try_history};

/// What a campaign came to.
#[derive(Default)]
pub struct Campaign {
    pub hours: f64,
    pub histories: u64,
    pub requests: u64,
    pub scrapes: u64,
    pub coverage: Coverage,
    /// Tests that replay what went wrong.
    pub failures: Vec<String>,
}

/// The histories of consecutive seeds, until they add up to this number of fleet-hours. Which ones these are does not depend on
/// how fast they are lived through.
struct Seeds {
    next: u64,
    hours: f64,
}

impl Iterator for Seeds {
    type Item = History;

    fn next(&mut self) -> Option<History> {
        let history = (self.hours > 0.0).then(|| History::draw(self.next))?;
        self.next += 1;
        self.hours -= history.hours();
        Some(history)
    }
}

impl Campaign {
    /// Lives through the histories of the seeds from `seed` on, until they add up to this number of hours or `most` of them have
    /// failed.
    pub fn run(seed: u64, hours: f64, most: usize) -> Self {
        let seeds = Mutex::new(Seeds { next: seed, hours });
        let campaign = Mutex::new(Self::default());
        let begin = Instant::now();
        let work = || {
            while lock(&campaign).failures.len() < most {
                let Some(history) = lock(&seeds).next() else { break };
                let lived = live(&history);
                let mut campaign = lock(&campaign);
                campaign.add(&history, lived);
                if campaign.histories.is_multiple_of(1_000) {
                    let (hours, failures) = (campaign.hours, campaign.failures.len());
                    eprintln!("{hours:.0} hours in {} s, {failures} failures", begin.elapsed().as_secs());
                }
            }
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| (0..cores).for_each(|_| _ = scope.spawn(work)));
        campaign.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// A single history.
    pub fn replay(seed: u64) -> Self {
        let history = History::draw(seed);
        let mut campaign = Self::default();
        campaign.add(&history, live(&history));
        campaign
    }

    pub fn summary(&self) -> String {
        let Self { hours, histories, requests, scrapes, failures, .. } = self;
        let failures = failures.len();
        format!(
            "{hours:.0} fleet-hours, {histories} histories, {requests} requests, {scrapes} scrapes, {failures} failures"
        )
    }

    fn add(&mut self, history: &History, lived: Result<Outcome, String>) {
        self.histories += 1;
        self.hours += history.hours();
        match lived {
            Ok(outcome) => {
                self.requests += outcome.requests;
                self.scrapes += outcome.scrapes;
                self.coverage.add(&outcome.coverage);
            }
            Err(test) => self.failures.push(test),
        }
    }
}

/// Lives through a history.
///
/// # Errors
/// A test that replays what went wrong, in the shortest history that was found for it.
fn live(history: &History) -> Result<Outcome, String> {
    try_history(history).map_err(|violation| {
        let (seed, at) = (history.seed, violation.at);
        eprintln!("seed {seed} after {at} s: {}: {}", violation.invariant, violation.what);
        let (shortest, violation) = shrink(history.clone(), violation);
        let test = as_test(&shortest, &violation);
        eprintln!("{test}");
        test
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
