//! No probe starves: while nothing is in the way, each has its turn within its interval, stretched as the budget asks. Once all
//! turns are regular, extra turns of others delay it by no more than a tenth. And one that the API refuses has it no sooner than
//! the list.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use goldrush_exporter::account::{KeyState, View};
use goldrush_exporter::api::{Error, PipelineId, Probe, Reason, Request};
use goldrush_exporter::config::Poll;

use super::super::told::{At, PipelineTold, ProbeTold};
use super::{Invariant, Scene, Step};

/// Pipelines that have nothing to do may be asked this rarely.
const OFF_DUTY: Duration = Duration::from_secs(120);
/// A list, an extra turn, and the way there and back.
const SLACK: Duration = Duration::from_secs(15);
/// A response takes so long at most, when nothing delays it.
const ROUND_TRIP: f64 = 0.3;
/// Requests of a small budget that go to lists, to extra turns that were given while no other waited, or that stay unused between
/// two turns.
const LUMP: f64 = 10.0;
/// Requests that extra turns of a few unsteady pipelines take between two turns of another one, with a budget of less than a
/// request per second: those that are given while no other probe waits use what the next turns would have used.
const IDLE_GAPS: f64 = 30.0;

/// The turns of one account while nothing but its pipelines' readings changes.
#[derive(Debug, Clone, Copy, Default)]
struct Steady {
    /// On the monotonic clock.
    since: Duration,
    /// The most requests per second that were needed since, against those that were allowed.
    stretch: f64,
    /// Of everything that gives a probe another pace, or a turn at once.
    fingerprint: u64,
}

/// The lists of one account, on the monotonic clock.
#[derive(Debug, Clone, Copy, Default)]
struct Lists {
    /// When the newest one began.
    begun: Duration,
    /// How long it has taken until now, or the last one until its last page came.
    took: Duration,
    /// When its newest page came, more requests per second were needed than are allowed: the next list may wait.
    stretched: bool,
}

pub struct FairShare {
    sent: Vec<BTreeMap<PipelineId, [Duration; Probe::COUNT]>>,
    /// When anything was last in the way, on the monotonic clock.
    hindered: Vec<Duration>,
    /// When the key was last refused, until something that was sent after that is accepted.
    refused: Vec<Option<Instant>>,
    /// The most requests per second that were needed since, against those that were allowed.
    stretch: Vec<f64>,
    steady: Vec<Steady>,
    lists: Vec<Lists>,
    /// When each request was sent that has no response yet.
    in_flight: Vec<Vec<Instant>>,
}

impl FairShare {
    pub fn new(accounts: usize) -> Self {
        Self {
            sent: vec![BTreeMap::new(); accounts],
            hindered: vec![Duration::ZERO; accounts],
            refused: vec![None; accounts],
            stretch: vec![1.0; accounts],
            steady: vec![Steady::default(); accounts],
            lists: vec![Lists::default(); accounts],
            in_flight: vec![Vec::new(); accounts],
        }
    }
}

impl Invariant for FairShare {
    fn name(&self) -> &'static str {
        "fair share"
    }

    fn check(&mut self, step: &Step, scene: &mut Scene) -> Result<(), String> {
        let now = scene.clock.awake;
        if let Step::Sent { account, .. } = *step {
            self.in_flight[account].push(scene.clock.moment().monotonic());
        }
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
            Step::Sent { account, request: Request::Page(1) } => self.lists[account].begun = now,
            Step::Delivered { account, sent, error, request } => {
                let in_flight = &mut self.in_flight[account];
                in_flight.swap_remove(in_flight.iter().position(|at| *at == sent.at).ok_or("was never sent")?);
                let took = scene.clock.moment().monotonic() - sent.at;
                if took.as_secs_f64() > ROUND_TRIP {
                    self.hindered[account] = self.hindered[account].max(now);
                }
                let is_limit = error.is_some_and(|error| error.reason() == Reason::RateLimited);
                if matches!(request, Request::Usage) && !is_limit {
                    return Ok(());
                }
                if matches!(request, Request::Page(_)) {
                    let budget = scene.daemon.accounts[account].handle.view(scene.clock.moment()).budget;
                    let lists = &mut self.lists[account];
                    lists.took = now - lists.begun;
                    lists.stretched = budget.required > budget.allowed;
                }
                // Every pause keeps all probes waiting, even the shortest: with one in each wave, most of the budget is lost. And
                // a backoff of our own may be over before it is seen in a scrape; `silence` limits it.
                let pauses = is_limit || error.is_some_and(|error| error.retry_after().is_some());
                let paused = || scene.daemon.accounts[account].handle.view(scene.clock.moment()).budget.paused_until;
                let until = pauses.then(paused).flatten().map(|until| scene.clock.since_origin(until.monotonic()));
                let is_hard = |error: &Error| error.is_unsent() || error.reason() == Reason::Unauthorized;
                // With a refused key, only lists are sent, and the next one may be a minute away.
                let was_refused = self.refused[account].is_some();
                match error {
                    Some(error) if error.reason() == Reason::Unauthorized => {
                        self.refused[account] = Some(scene.clock.moment().monotonic());
                    }
                    None if self.refused[account].is_some_and(|at| sent.at >= at) => self.refused[account] = None,
                    _ => {}
                }
                if was_refused || error.is_some_and(is_hard) || pauses {
                    self.hindered[account] = self.hindered[account].max(until.unwrap_or(now));
                }
            }
            Step::Rotated { account } => self.hindered[account] = self.hindered[account].max(now),
            Step::Reloaded { account, .. } => {
                self.hindered[account] = self.hindered[account].max(now);
                self.in_flight[account].clear();
            }
            Step::Scraped { views, .. } => {
                for (account, view) in views.iter().enumerate() {
                    let told = &scene.told[account].pipelines;
                    self.sent[account].retain(|id, _| told.contains_key(id));
                    for id in told.keys() {
                        self.sent[account].entry(id.clone()).or_insert([now; Probe::COUNT]);
                    }
                    let moment = scene.clock.moment().monotonic();
                    let is_late = |at: &Instant| (moment - *at).as_secs_f64() > ROUND_TRIP;
                    if self.in_flight[account].iter().any(is_late)
                        || view.budget.paused_until.is_some()
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
                    self.check_list(account, view, now, scene)?;
                    self.check_steady(account, view, now, scene)?;
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

/// The interval at which a probe of a pipeline on duty is sent.
pub(super) fn interval(probe: Probe, poll: &Poll) -> Duration {
    match probe {
        Probe::Status => poll.status,
        Probe::Metrics => poll.metrics,
        Probe::DestinationHealth => poll.destination_health,
    }
}

/// The part of it that says at which pace each probe is sent.
fn fingerprint(account: usize, scene: &Scene) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (id, told) in &scene.told[account].pipelines {
        let fails = |probe: &ProbeTold| probe.attempt.is_some_and(|(_, failure)| failure.is_some());
        // It may have been paused and resumed since it was last looked at.
        let duty = (told.is_off_duty(), told.on_duty_since().world);
        (id, duty, told.changes_soon(), told.probes.each_ref().map(fails)).hash(&mut hasher);
    }
    hasher.finish()
}

impl FairShare {
    /// Extra turns, which a reading that hints at trouble gives the other probes of its pipeline, are a twentieth of all, and
    /// those of a round may come at once.
    fn check_steady(&mut self, account: usize, view: &View, now: Duration, scene: &mut Scene) -> Result<(), String> {
        let settings = &scene.daemon.accounts[account].settings;
        let poll = &settings.poll;
        let fingerprint = fingerprint(account, scene);
        let steady = &mut self.steady[account];
        if steady.fingerprint != fingerprint || steady.since < self.hindered[account] {
            *steady = Steady { since: now, stretch: 1.0, fingerprint };
        }
        let (required, allowed) = (view.budget.required, view.budget.allowed);
        steady.stretch = steady.stretch.max(required / allowed);
        let Steady { since, stretch, .. } = *steady;
        // Where responses are waited for, the budget is not what delays the turns.
        if required.min(allowed) * ROUND_TRIP * 1.5 > poll.max_in_flight as f64 {
            return Ok(());
        }
        let known = &scene.told[account].pipelines;
        let round = (Probe::COUNT * known.len()) as f64 / allowed;
        let list = (known.len() as f64 / f64::from(scene.history.setup.page)).ceil() / allowed;
        // All that is new is asked at once, and the turns after that are spread over half an interval more.
        let settled = since + Duration::from_secs_f64(2.0 * round) + 3 * poll.metrics.mul_f64(stretch);
        let mut is_checked = false;
        for (id, sent) in &self.sent[account] {
            let Some(told) = known.get(id).filter(|told| !told.is_off_duty()) else { continue };
            for (probe, sent) in Probe::ALL.iter().zip(sent) {
                let fails = told.probes[*probe as usize].attempt.is_none_or(|(_, failure)| failure.is_some());
                if *sent < settled || fails {
                    continue;
                }
                is_checked = true;
                let regular = interval(*probe, poll).as_secs_f64() * stretch;
                let share = 1.1 * regular + 0.1 * round + 2.0 * (list + stretch) + LUMP / allowed + 3.0;
                if (now - *sent).as_secs_f64() > share {
                    return Err(format!(
                        "{probe} of {id} has not been sent for {:?}, and its turn comes every {regular} s: extra turns have \
                         delayed it by more than a tenth; {share} s at most, {} pipelines at {allowed} requests per second",
                        now - *sent,
                        known.len(),
                    ));
                }
            }
        }
        if is_checked && stretch > 1.0 {
            scene.coverage.note("regular turns were compared with their share of a small budget");
        }
        Ok(())
    }

    /// While the budget suffices and nothing is in the way, a list begins at each interval.
    fn check_list(&self, account: usize, view: &View, now: Duration, scene: &mut Scene) -> Result<(), String> {
        let Lists { begun, took, stretched } = self.lists[account];
        let is_accepted = matches!(view.credential.state(), KeyState::Accepted { .. });
        if !is_accepted || stretched || self.stretch[account] > 1.0 {
            return Ok(());
        }
        let discovery = scene.daemon.accounts[account].settings.poll.discovery;
        // After a long list follows a break of equal length.
        let share = discovery.mul_f64(1.1).max(2 * took) + SLACK;
        let waits = now.saturating_sub(begun.max(self.hindered[account]));
        if waits > share {
            return Err(format!("no list has begun for {waits:?}, {share:?} at most"));
        }
        if now > self.hindered[account] + discovery {
            scene.coverage.note("lists came in time");
        }
        Ok(())
    }

    fn check_account(&self, account: usize, now: Duration, scene: &Scene) -> Result<(), String> {
        let poll = &scene.daemon.accounts[account].settings.poll;
        // All that is new is asked at once, and others wait for it.
        let round = (Probe::COUNT * self.sent[account].len()) as f64 / poll.requests_per_second;
        for (id, sent) in &self.sent[account] {
            let Some(told) = scene.told[account].pipelines.get(id) else { continue };
            for (probe, sent) in Probe::ALL.iter().zip(sent) {
                let interval = interval(*probe, poll);
                let interval = if told.is_off_duty() { interval.max(OFF_DUTY) } else { interval };
                // After a refusal, at the pace of the list.
                let failed = told.probes[*probe as usize].attempt.is_some_and(|(_, failure)| failure.is_some());
                let interval = if failed { interval.max(poll.discovery) } else { interval };
                let slack = SLACK.max(Duration::from_secs_f64(IDLE_GAPS / poll.requests_per_second));
                let share =
                    interval.mul_f64(1.6 * self.stretch[account]) + Duration::from_secs_f64(1.2 * round) + slack;
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
