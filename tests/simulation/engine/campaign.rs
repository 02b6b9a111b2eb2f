//! Many histories, one after the other.

use std::time::Instant;

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

impl Campaign {
    /// Lives through the histories of the seeds from `seed` on, until they add up to so many hours of fleets or `most`
    /// of them have failed.
    pub fn run(seed: u64, hours: f64, most: usize) -> Self {
        let mut campaign = Self::default();
        let begin = Instant::now();
        for seed in seed.. {
            if campaign.hours >= hours || campaign.failures.len() >= most {
                break;
            }
            campaign.live(History::draw(seed));
            if campaign.histories % 1_000 == 0 {
                let took = begin.elapsed().as_secs();
                eprintln!("{:.0} hours in {took} s, {} failures", campaign.hours, campaign.failures.len());
            }
        }
        campaign
    }

    pub fn summary(&self) -> String {
        let Self { hours, histories, requests, scrapes, failures, .. } = self;
        let failures = failures.len();
        format!(
            "{hours:.0} fleet-hours, {histories} histories, {requests} requests, {scrapes} scrapes, {failures} failures"
        )
    }

    pub fn live(&mut self, history: History) {
        self.histories += 1;
        self.hours += f64::from(history.setup.accounts) * history.length as f64 / 3_600.0;
        match try_history(&history) {
            Ok(outcome) => {
                self.requests += outcome.requests;
                self.scrapes += outcome.scrapes;
                self.coverage.add(&outcome.coverage);
            }
            Err(violation) => {
                eprintln!(
                    "seed {} after {} s: {}: {}",
                    history.seed, violation.at, violation.invariant, violation.what
                );
                let (history, violation) = shrink(history, violation);
                let test = as_test(&history, &violation);
                eprintln!("{test}");
                self.failures.push(test);
            }
        }
    }
}
