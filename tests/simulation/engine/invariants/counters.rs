//! Counters never fall, but at a restart of the exporter. Those of a pipeline's worker are the API's and fall with it.

use std::collections::BTreeMap;

use super::super::daemon;
use super::super::picture::Samples;
use super::{Invariant, Scene, Step};

#[derive(Default)]
pub struct Counters {
    before: BTreeMap<String, Samples>,
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
            Step::Restarted => self.before.clear(),
            // Without poll.usage, its requests are not shown.
            Step::Reloaded { account, .. } if scene.daemon.accounts[*account].settings.poll.usage.is_none() => {
                let before = self.before.entry(daemon::name(*account)).or_default();
                before.retain(|series, _| !series.contains("operation=\"usage\""));
            }
            Step::Scraped { picture, .. } => {
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
