//! No probe starves: while nothing is in the way, each has its turn within its interval, stretched as the budget asks. And one
//! that the API refuses has it no sooner than the list.

use std::collections::BTreeMap;
use std::time::Duration;

use goldrush_exporter::api::{Error, PipelineId, Probe, Reason, Request};

use super::super::told::{At, PipelineTold};
use super::{Invariant, Scene, Step};

/// Pipelines that have nothing to do may be asked this rarely.
const OFF_DUTY: Duration = Duration::from_secs(120);
/// A list, an extra turn, and the way there and back.
const SLACK: Duration = Duration::from_secs(15);

pub struct FairShare {
    sent: Vec<BTreeMap<PipelineId, [Duration; Probe::COUNT]>>,
    /// When anything was last in the way, on the monotonic clock.
    hindered: Vec<Duration>,
    /// The newest response said so.
    refused: Vec<bool>,
    /// The most requests per second that were needed since, against those that were allowed.
    stretch: Vec<f64>,
}

impl FairShare {
    pub fn new(accounts: usize) -> Self {
        Self {
            sent: vec![BTreeMap::new(); accounts],
            hindered: vec![Duration::ZERO; accounts],
            refused: vec![false; accounts],
            stretch: vec![1.0; accounts],
        }
    }
}

impl Invariant for FairShare {
    fn name(&self) -> &'static str {
        "fair share"
    }

    fn check(&mut self, step: &Step, scene: &mut Scene) -> Result<(), String> {
        let now = scene.clock.awake;
        match *step {
            Step::Restarted => *self = Self::new(self.sent.len()),
            Step::Sent { account, request: Request::Probe(id, probe) } => {
                let sent = self.sent[account].entry(id.clone()).or_insert([now; Probe::COUNT]);
                let before = std::mem::replace(&mut sent[*probe as usize], now);
                if let Some(told) = scene.told[account].pipelines.get(id)
                    && before > self.hindered[account]
                    && is_refused(told, *probe, before, scene)
                    && now - before < scene.daemon.accounts[account].settings.poll.discovery.mul_f64(0.45)
                {
                    return Err(format!("{probe} of {id} is refused, and is sent again after {:?}", now - before));
                }
            }
            Step::Delivered { request: Request::Usage, error, .. }
                if error.is_none_or(|error| error.reason() != Reason::RateLimited) => {}
            Step::Delivered { account, sent, error, .. } => {
                let took = scene.clock.moment().monotonic() - sent.at;
                // Every pause keeps all probes waiting, even the shortest: with one in each wave, most of the budget is lost. And
                // a backoff of our own may be over before it is seen in a scrape; `silence` limits it.
                let pauses =
                    error.is_some_and(|error| error.reason() == Reason::RateLimited || error.retry_after().is_some());
                let paused = || scene.daemon.accounts[account].handle.view(scene.clock.moment()).budget.paused_until;
                let until = pauses.then(paused).flatten().map(|until| scene.clock.since_origin(until.monotonic()));
                let is_hard = |error: &Error| error.is_unsent() || error.reason() == Reason::Unauthorized;
                // With a refused key, only lists are sent, and the next one may be a minute away.
                let was_refused = self.refused[account];
                self.refused[account] = error.is_some_and(|error| error.reason() == Reason::Unauthorized)
                    || (was_refused && error.is_some());
                if was_refused || error.is_some_and(is_hard) || pauses || took > Duration::from_secs(1) {
                    self.hindered[account] = self.hindered[account].max(until.unwrap_or(now));
                }
            }
            Step::Rotated { account } | Step::Reloaded { account, .. } => {
                self.hindered[account] = self.hindered[account].max(now);
            }
            Step::Scraped { views, .. } => {
                for (account, view) in views.iter().enumerate() {
                    let told = &scene.told[account].pipelines;
                    self.sent[account].retain(|id, _| told.contains_key(id));
                    for id in told.keys() {
                        self.sent[account].entry(id.clone()).or_insert([now; Probe::COUNT]);
                    }
                    if view.budget.paused_until.is_some()
                        || view.credential.is_refused()
                        || !view.is_up(scene.clock.moment())
                    {
                        self.hindered[account] = self.hindered[account].max(now);
                    }
                    let stretch = (view.budget.required / view.budget.allowed).max(1.0);
                    if scene.calm_for() < Duration::from_secs(600) {
                        self.stretch[account] = self.stretch[account].max(stretch);
                    } else {
                        self.stretch[account] = stretch;
                    }
                    self.check_account(account, now, scene)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether the API refuses a probe, and no reading of the pipeline since it was sent asks for another turn. The first refusal
/// may have come in an extra turn, which moves no other.
fn is_refused(told: &PipelineTold, probe: Probe, sent: Duration, scene: &Scene) -> bool {
    let is_since = |at: At| scene.clock.since_origin(at.monotonic) >= sent;
    let state = &told.probes[probe as usize];
    let is_answered = state.attempt.is_some_and(|(at, _)| is_since(at));
    let is_read = told.probes.iter().filter_map(|probe| probe.read).any(is_since);
    is_answered && state.refusals > 1 && !is_read
}

impl FairShare {
    fn check_account(&self, account: usize, now: Duration, scene: &Scene) -> Result<(), String> {
        let poll = &scene.daemon.accounts[account].settings.poll;
        // All that is new is asked at once, and others wait for it.
        let round = (Probe::COUNT * self.sent[account].len()) as f64 / poll.requests_per_second;
        for (id, sent) in &self.sent[account] {
            let Some(told) = scene.told[account].pipelines.get(id) else { continue };
            for (probe, sent) in Probe::ALL.iter().zip(sent) {
                let interval = match probe {
                    Probe::Status => poll.status,
                    Probe::Metrics => poll.metrics,
                    Probe::DestinationHealth => poll.destination_health,
                };
                let interval = if told.is_off_duty() { interval.max(OFF_DUTY) } else { interval };
                // After a refusal, at the pace of the list.
                let failed = told.probes[*probe as usize].attempt.is_some_and(|(_, failure)| failure.is_some());
                let interval = if failed { interval.max(poll.discovery) } else { interval };
                let share =
                    interval.mul_f64(1.6 * self.stretch[account]) + Duration::from_secs_f64(1.2 * round) + SLACK;
                // What goes on duty has been asked at the idle pace until then.
                let on_duty = scene.clock.since_origin(told.on_duty_since().monotonic);
                let since = (*sent).max(self.hindered[account]).max(on_duty);
                if now.saturating_sub(since) > share {
                    return Err(format!(
                        "{probe} of {id} has not been sent for {:?}, and its share is {share:?}: {} pipelines at {} \
                         requests per second, stretched by {}",
                        now - *sent,
                        self.sent[account].len(),
                        poll.requests_per_second,
                        self.stretch[account]
                    ));
                }
            }
        }
        Ok(())
    }
}
