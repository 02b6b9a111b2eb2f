//! Counters count what was delivered, and never fall but at a restart of the exporter. Those of a pipeline's worker are the
//! API's and fall with it.

use std::collections::BTreeMap;
use std::rc::Rc;

use goldrush_exporter::api::{Operation, Reason};

use super::super::daemon;
use super::super::picture::{Picture, Samples};
use super::{Invariant, Scene, Step};

#[derive(Default)]
pub struct Counters {
    before: BTreeMap<Rc<str>, Samples>,
    /// Responses by account.
    delivered: BTreeMap<(usize, Operation), u64>,
    failed: BTreeMap<(usize, Operation, Reason), u64>,
}

fn is_counter(series: &str) -> bool {
    let name = series.split('{').next().unwrap_or_default();
    ["_total", "_count", "_sum", "_bucket"].iter().any(|end| name.ends_with(end))
}

impl Invariant for Counters {
    fn name(&self) -> &'static str {
        "counters"
    }

    fn check(&mut self, step: &Step, scene: &mut Scene) -> Result<(), String> {
        match step {
            Step::Restarted => *self = Self::default(),
            Step::Delivered { account, request, error, .. } => {
                let operation = request.operation();
                *self.delivered.entry((*account, operation)).or_default() += 1;
                if let Some(error) = error {
                    *self.failed.entry((*account, operation, error.reason())).or_default() += 1;
                }
            }
            // Without poll.usage, its requests are not shown.
            Step::Reloaded { account, .. } if scene.daemon.accounts[*account].settings.poll.usage.is_none() => {
                let before = self.before.entry(daemon::name(*account).into()).or_default();
                before.retain(|series, _| !series.contains("operation=\"usage\""));
            }
            Step::Scraped { picture, .. } => {
                self.counts_what_was_delivered(picture, scene)?;
                for (account, shown) in &picture.accounts {
                    let before = self.before.entry(account.clone()).or_default();
                    for (series, old) in before.iter() {
                        match shown.samples.get(series) {
                            None => return Err(format!("{series} has vanished")),
                            Some(new) if new < old => return Err(format!("{series} fell from {old} to {new}")),
                            Some(_) => {}
                        }
                    }
                    let counters = shown.samples.iter().filter(|(series, _)| is_counter(series));
                    *before = counters.map(|(series, value)| (series.clone(), *value)).collect();
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Counters {
    fn counts_what_was_delivered(&self, picture: &Picture, scene: &Scene) -> Result<(), String> {
        let shown = |account: usize, series: &str| {
            let shown = picture.accounts.get(daemon::name(account));
            shown.and_then(|shown| shown.samples.get(series)).copied().unwrap_or_default()
        };
        // Without poll.usage, its requests are not shown.
        let is_shown = |account: usize, operation: Operation| {
            operation != Operation::Usage || scene.daemon.accounts[account].settings.poll.usage.is_some()
        };
        for ((account, operation), count) in &self.delivered {
            let series = format!("goldrush_api_request_duration_seconds_count{{operation=\"{operation}\"}}");
            let found = shown(*account, &series);
            if is_shown(*account, *operation) && found != *count as f64 {
                return Err(format!("{series} is {found}, and {count} were delivered"));
            }
        }
        for ((account, operation, reason), count) in &self.failed {
            let series =
                format!("goldrush_api_request_failures_total{{operation=\"{operation}\",reason=\"{reason}\"}}");
            let found = shown(*account, &series);
            // A list can also fail because of what its pages say together.
            let is_wrong = if *operation == Operation::List { found < *count as f64 } else { found != *count as f64 };
            if is_shown(*account, *operation) && is_wrong {
                return Err(format!("{series} is {found}, and {count} were delivered"));
            }
        }
        for account in 0..scene.daemon.accounts.len() {
            for (reason, code) in [(Reason::Unauthorized, 401), (Reason::Forbidden, 403)] {
                let is_meant =
                    |of: &(usize, Operation, Reason)| of.0 == account && of.1 != Operation::Usage && of.2 == reason;
                let count: u64 = self.failed.iter().filter(|(of, _)| is_meant(of)).map(|(_, count)| *count).sum();
                let found = shown(account, &format!("goldrush_auth_failures_total{{code=\"{code}\"}}"));
                if found != count as f64 {
                    return Err(format!("{found} responses with {code} are shown, and {count} were delivered"));
                }
            }
        }
        Ok(())
    }
}
