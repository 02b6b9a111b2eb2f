//! The generated alerts as Prometheus evaluates them, at each scrape: no page for a single failed request.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use goldrush_exporter::api::{Reason, Request};
use goldrush_exporter::trouble::kinds::{Generated, Rule, Scope};
use goldrush_exporter::trouble::{Kind, Severity};

use super::super::picture::Picture;
use super::super::prometheus::{duration, labels_of};
use super::{Invariant, Scene, Step};

/// An alert's labels, as one text.
type Labels = String;

#[derive(Debug, Clone, Copy)]
struct State {
    /// Since when Prometheus knows of it; not yet if the machine has slept since.
    since: Option<Duration>,
    /// When it was first seen, before any sleep.
    raised: Duration,
    firing: bool,
    /// When the expression was last true.
    seen: Duration,
}

#[derive(Default)]
pub struct Alerts {
    states: BTreeMap<(&'static str, Labels), State>,
    /// When requests of each account failed, lately.
    failures: BTreeMap<usize, VecDeque<Duration>>,
}

impl Invariant for Alerts {
    fn name(&self) -> &'static str {
        "alerts"
    }

    fn check(&mut self, step: &Step, scene: &mut Scene) -> Result<(), String> {
        // While the machine sleeps, nothing is requested and nothing is scraped.
        let now = scene.clock.awake;
        match step {
            // While the target is away, alerts resolve; then they wait anew. What they say was so before.
            Step::Suspended => {
                for state in self.states.values_mut() {
                    state.since = None;
                    state.firing = false;
                }
            }
            // Of what becomes of these, only a 429 concerns the others.
            Step::Delivered { request: Request::Usage, error, .. }
                if error.is_none_or(|error| error.reason() != Reason::RateLimited) => {}
            Step::Delivered { account, error: Some(error), .. } => {
                let failures = self.failures.entry(*account).or_default();
                // In a long pause nothing is read, as if many had failed.
                let is_long = error.retry_after().is_some_and(|pause| pause >= Duration::from_secs(300));
                failures.extend(std::iter::repeat_n(now, if is_long { 2 } else { 1 }));
                if failures.len() > 1_000 {
                    failures.pop_front();
                }
            }
            Step::Scraped { picture, .. } => {
                for kind in Kind::ALL {
                    if let Rule::Generated(rule) = &kind.row().rule {
                        self.evaluate(*kind, rule, picture, scene)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Alerts {
    fn evaluate(&mut self, kind: Kind, rule: &Generated, picture: &Picture, scene: &mut Scene) -> Result<(), String> {
        let now = scene.clock.awake;
        let row = kind.row();
        let kinds: Vec<&str> = [kind].iter().chain(rule.also).map(|kind| kind.row().name).collect();
        let wait = duration(rule.wait);
        let keep = rule.keep_firing_for.map(duration).unwrap_or_default();
        for labels in labels_of(picture, row.scope, &kinds, rule.per) {
            let state = self.states.entry((row.alert, labels.clone()));
            let state = state.or_insert(State { since: None, raised: now, firing: false, seen: now });
            state.seen = now;
            let since = *state.since.get_or_insert(now);
            if !state.firing && now - since >= wait {
                state.firing = true;
                let raised = state.raised;
                scene.coverage.note(format!("alert {} fired", row.alert));
                if row.severity == Severity::Critical && row.scope == Scope::Account {
                    self.is_no_blip(kind, raised, scene)?;
                }
            }
        }
        self.states.retain(|(alert, _), state| {
            *alert != row.alert || state.seen == now || (state.firing && now - state.seen < keep)
        });
        Ok(())
    }

    /// Pages about an account that say that requests fail need more than one that has failed.
    fn is_no_blip(&self, kind: Kind, raised: Duration, scene: &Scene) -> Result<(), String> {
        let by_failures = [
            Kind::KeyUnauthorized,
            Kind::KeyNotServiceKey,
            Kind::PaymentRequired,
            Kind::ListFailing,
            Kind::ForeignResponse,
            Kind::NoReadings,
        ];
        if !by_failures.contains(&kind) {
            return Ok(());
        }
        // Up to a scrape passes until a trouble is seen, and no_readings comes after the failures.
        let from = raised.saturating_sub(Duration::from_secs(2 * 300 + 60 + scene.history.setup.scrape_every));
        let most = self.failures.values().map(|times| times.iter().filter(|at| **at >= from).count()).max();
        if most.unwrap_or_default() < 2 {
            return Err(format!("{} pages after {most:?} failed requests", kind.row().alert));
        }
        Ok(())
    }
}
