//! What the exporter has been told: the readings that were delivered to it, and when. A second, naive bookkeeping of the
//! same facts, which the invariants compare the exporter's picture with.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use goldrush_exporter::account::{Event, Pace};
use goldrush_exporter::api::{Error, PipelineId, Probe, Reason, Request};
use goldrush_exporter::moment::{Moment, unix_seconds};

use super::world::{HealthFacts, Item, MetricsFacts, Said, StatusFacts, UsageFacts};

/// When something was delivered: by the world's time, and by the clocks of the exporter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct At {
    pub world: Duration,
    pub monotonic: Instant,
    pub wall: f64,
}

impl At {
    pub fn new(world: Duration, moment: Moment) -> Self {
        Self { world, monotonic: moment.monotonic(), wall: unix_seconds(moment.wall()) }
    }

    pub fn is_fresh(self, now: Duration, stale_after: Duration) -> bool {
        now.saturating_sub(self.world) <= stale_after
    }
}

#[derive(Debug, Clone)]
pub struct ProbeTold {
    /// How often it is asked since the newest attempt.
    pub pace: Pace,
    pub read: Option<At>,
    pub attempt: Option<(At, Option<Reason>)>,
    /// How many attempts the API has refused in a row.
    pub refusals: u32,
    /// The first of the attempts that have failed in a row.
    fails_since: Option<At>,
    /// Another probe of the account has succeeded between two of them: the fault is not the account's.
    pub fails_alone: bool,
}

impl Default for ProbeTold {
    fn default() -> Self {
        Self { pace: Pace::Normal, read: None, attempt: None, refusals: 0, fails_since: None, fails_alone: false }
    }
}

impl ProbeTold {
    /// `others` is when any probe of the account last succeeded.
    fn hear(&mut self, reason: Option<Reason>, at: At, others: Option<At>) {
        self.attempt = Some((at, reason));
        self.refusals = if reason.is_some_and(is_refusal) { self.refusals + 1 } else { 0 };
        if reason.is_none() {
            self.read = Some(at);
            self.fails_since = None;
            self.fails_alone = false;
            return;
        }
        let since = *self.fails_since.get_or_insert(at);
        self.fails_alone |= others.is_some_and(|others| others.world > since.world);
    }
}

fn is_refusal(reason: Reason) -> bool {
    matches!(reason, Reason::Forbidden | Reason::NotFound | Reason::PaymentRequired)
}

/// What was said of one pipeline.
#[derive(Debug, Clone)]
pub struct PipelineTold {
    pub item: Item,
    pub listed: At,
    /// Since when the list has shown the wish that it shows now.
    pub wanted_since: At,
    pub probes: [ProbeTold; Probe::COUNT],
    pub status: Option<StatusFacts>,
    pub metrics: Option<MetricsFacts>,
    pub health: Option<HealthFacts>,
    /// The last value of each field, and when a reading last held it. What a reading does not say has not changed.
    pub known: Known,
    /// When the phase was first read that was read last.
    pub phase_since: Option<At>,
    /// It is bounded, and its worker has ended or stands still at its last block with nothing left to write.
    ended: bool,
    /// When a bounded pipeline that had ended was read to go on.
    resumed: Option<At>,
    /// When the worker was first read not to run, and has not been read to run since.
    pub not_running_since: Option<At>,
    pub running_since: Option<At>,
    /// When a worker was read that had started at another time than the one before.
    pub restarts: Vec<Duration>,
    /// When the destination was read to be healthy and had not been, or the other way round.
    pub flips: Vec<Duration>,
    /// How many readings in a row were unhealthy.
    pub unhealthy: u32,
    pub progress: Option<At>,
    /// When a reading last said that more had been dropped than the one before it.
    pub dropped_more: Option<Duration>,
    /// Since when every delay that was read was above 5 minutes, and the smallest and largest since.
    pub lags: Option<(Duration, f64, f64)>,
    /// Since when every backlog that was read was above 25,000 and larger than the one before.
    pub backlog_grows: Option<Duration>,
    /// Since when every backlog that was read was above 0.
    pub waits_since: Option<At>,
    left_behind: Option<LeftBehind>,
}

/// A pipeline stands still where another one of its topic has read on.
#[derive(Debug, Clone, Copy)]
pub struct LeftBehind {
    /// When the other one was read to be further.
    pub read_on: At,
    /// When this one was first read after that.
    pub seen: At,
}

/// How far unbounded pipelines have read each topic, and when the first of them did if it was seen to.
type Reached = BTreeMap<&'static str, (f64, Option<At>)>;

/// See [`PipelineTold::known`].
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub phase: Option<&'static str>,
    pub phase_read: Option<At>,
    pub lacks_replicas: bool,
    pub metrics: MetricsFacts,
    pub position_read: Option<At>,
    /// The block that a bounded one has reached. A worker that has not begun yet says nothing of it.
    pub block: Option<f64>,
    pub checked: Option<(f64, At)>,
    pub start: Option<(f64, At)>,
    pub healthy: Option<(bool, At)>,
}

impl PipelineTold {
    fn new(item: Item, at: At) -> Self {
        Self {
            item,
            listed: at,
            wanted_since: at,
            probes: Default::default(),
            status: None,
            metrics: None,
            health: None,
            known: Known::default(),
            phase_since: None,
            ended: false,
            resumed: None,
            not_running_since: None,
            running_since: None,
            restarts: Vec::new(),
            flips: Vec::new(),
            unhealthy: 0,
            progress: None,
            dropped_more: None,
            lags: None,
            backlog_grows: None,
            waits_since: None,
            left_behind: None,
        }
    }

    pub fn phase(&self) -> Option<&'static str> {
        self.status.and_then(|status| status.phase)
    }

    pub fn is_off_duty(&self) -> bool {
        self.item.paused || self.has_ended()
    }

    pub fn on_duty_since(&self) -> At {
        let resumed = self.resumed.filter(|at| !self.ended && at.world > self.wanted_since.world);
        resumed.unwrap_or(self.wanted_since)
    }

    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether it has processed its blocks, up to a thousandth of them.
    pub fn is_complete(&self) -> Option<bool> {
        let (blocks, block) = (self.item.blocks?, self.known.block?);
        Some(blocks.stop - block <= (0.001 * (blocks.stop - blocks.start)).max(1.0))
    }

    fn note_end(&mut self, at: At) {
        let stands = self.progress != self.known.position_read;
        let waits = self.known.metrics.pending.is_some_and(|pending| pending > 0.0);
        let ended = match self.known.phase {
            Some("STOPPED" | "PAUSED") => self.item.bounded,
            Some("RUNNING") => self.is_complete() == Some(true) && stands && !waits,
            _ => false,
        };
        if self.ended && !ended {
            self.resumed = Some(at);
        }
        self.ended = ended;
    }

    pub fn changes_soon(&self) -> bool {
        matches!(self.phase(), Some("DEPLOYING" | "STOPPING"))
    }

    fn usual_pace(&self) -> Pace {
        let works = self.changes_soon() || self.phase() == Some("RUNNING");
        if self.is_off_duty() && !works { Pace::Idle } else { Pace::Normal }
    }

    /// What is refused is asked rarely, and so is what is kept from the API twice in a row.
    fn pace_after(&self, probe: Probe, failure: Option<Reason>, before: Option<Reason>) -> Pace {
        let is_kept = failure == Some(Reason::ForeignResponse) && before == failure;
        if failure.is_some_and(is_refusal) || is_kept {
            Pace::Refused
        } else if failure.is_none() && probe == Probe::Status && self.changes_soon() {
            Pace::Transitional
        } else {
            self.usual_pace()
        }
    }

    pub fn is_working(&self) -> bool {
        self.known.phase == Some("RUNNING") && !self.is_off_duty()
    }

    fn hear_status(&mut self, new: StatusFacts, at: At) {
        if let Some(phase) = new.phase {
            if self.known.phase != Some(phase) {
                self.phase_since = Some(at);
            }
            self.known.phase = Some(phase);
            self.known.phase_read = Some(at);
        }
        if let Some((ready, all)) = new.ready.zip(new.replicas) {
            self.known.lacks_replicas = ready < all;
        }
        if let Some(start) = new.start {
            if self.known.start.is_some_and(|(before, _)| before != start) {
                self.restarts.push(at.world);
            }
            self.known.start = Some((start, at));
        }
        match new.phase {
            None => {}
            Some("RUNNING") => {
                self.not_running_since = None;
                self.running_since = self.running_since.or(Some(at));
            }
            Some(_) => {
                self.running_since = None;
                self.not_running_since = self.not_running_since.or(Some(at));
            }
        }
        self.status = Some(new);
    }

    fn hear_metrics(&mut self, new: MetricsFacts, at: At, reached: &mut Reached) {
        let old = self.known.metrics;
        let pairs = [(old.offset, new.offset), (old.height, new.height), (old.consumed, new.consumed)];
        let moved = pairs.into_iter().any(|(old, new)| old.is_some() && new.is_some() && old != new);
        let first_seen = self.progress.is_none() && new.offset.is_some();
        if moved || first_seen {
            self.progress = Some(at);
        }
        if new.dropped > old.dropped && old.dropped.is_some() {
            self.dropped_more = Some(at.world);
        }
        if let Some(delay) = new.delay_ms {
            let (since, low, high) = self.lags.unwrap_or((at.world, delay, delay));
            self.lags = Some((since, low.min(delay), high.max(delay))).filter(|_| delay > 300_000.0);
        }
        if let Some(pending) = new.pending {
            let grows = pending > 25_000.0 && old.pending.is_none_or(|old| pending > old);
            self.waits_since = self.waits_since.or(Some(at)).filter(|_| pending > 0.0);
            self.backlog_grows = if grows { self.backlog_grows.or(Some(at.world)) } else { None };
        }
        if new.offset.is_some() || new.height.is_some() || new.consumed.is_some() {
            self.known.position_read = Some(at);
        }
        let first = self.item.blocks.map_or(0.0, |blocks| blocks.start);
        self.known.block = new.height.filter(|height| *height > 0.0 && *height >= first).or(self.known.block);
        self.known.metrics = MetricsFacts {
            consumed: new.consumed.or(old.consumed),
            offset: new.offset.or(old.offset),
            height: new.height.or(old.height),
            pending: new.pending.or(old.pending),
            delay_ms: new.delay_ms.or(old.delay_ms),
            rate: new.rate.or(old.rate),
            dropped: new.dropped.or(old.dropped),
        };
        self.metrics = Some(new);
        self.compare(old.height, at, reached);
    }

    /// Compares how far it is with the others of its topic; `before` is its height at the reading before.
    fn compare(&mut self, before: Option<f64>, at: At, reached: &mut Reached) {
        let height = self.known.metrics.height;
        let furthest = reached.get(self.item.topic).copied();
        let is_first = furthest.is_none_or(|(furthest, _)| height > Some(furthest));
        if let Some(height) = height.filter(|_| is_first && !self.item.bounded) {
            reached.insert(self.item.topic, (height, before.map(|_| at)));
        }
        let further = furthest.zip(height).filter(|((furthest, _), height)| furthest > height);
        let read_on = further.and_then(|((_, at), _)| at);
        let is_new = |read_on: &At| self.progress.is_some_and(|progress| read_on.world > progress.world);
        if let Some(read_on) = read_on.filter(is_new).filter(|_| self.left_behind().is_none()) {
            self.left_behind = Some(LeftBehind { read_on, seen: at });
        }
    }

    pub fn left_behind(&self) -> Option<LeftBehind> {
        self.left_behind.filter(|found| self.progress.is_some_and(|progress| found.read_on.world > progress.world))
    }

    fn hear_health(&mut self, new: HealthFacts, at: At) {
        if let Some(healthy) = new.healthy {
            self.unhealthy = if healthy { 0 } else { self.unhealthy + 1 };
            if self.known.healthy.is_some_and(|(before, _)| before != healthy) {
                self.flips.push(at.world);
            }
            self.known.healthy = Some((healthy, at));
        }
        self.known.checked = new.checked.map(|checked| (checked, at)).or(self.known.checked);
        self.health = Some(new);
    }
}

/// What was said of the credits of one account.
#[derive(Debug, Default)]
pub struct UsageTold {
    pub probe: ProbeTold,
    /// The newest reading.
    pub facts: Option<UsageFacts>,
    /// All readings of this month.
    pub spent: Vec<(Instant, f64)>,
}

impl UsageTold {
    fn hear(&mut self, new: UsageFacts, at: At) {
        if self.facts.is_some_and(|old| new.consumed < old.consumed / 2.0) {
            self.spent.clear();
        }
        self.spent.push((at.monotonic, new.consumed));
        self.facts = Some(new);
    }
}

/// What was said to one account.
#[derive(Debug, Default)]
pub struct Told {
    pub pipelines: BTreeMap<PipelineId, PipelineTold>,
    reached: Reached,
    /// Why the newest page failed, if it did.
    pub list_failure: Option<Reason>,
    pub lists_failed: u32,
    /// When any page last came.
    pub listed: Option<At>,
    /// The most pages that a list has had.
    pub pages: u32,
    /// When the first page of a list last came.
    pub list_begun: Option<At>,
    /// When any probe last succeeded.
    pub read: Option<At>,
    pub usage: UsageTold,
    /// What the list that is under way has shown: it is cut at `max_pipelines`.
    walk: BTreeSet<PipelineId>,
    /// Requests that were not processed, and are sent once more without further ado.
    unsent: Vec<Request>,
}

/// One delivery.
pub struct Delivery<'a> {
    pub request: &'a Request,
    pub error: Option<&'a Error>,
    pub said: Option<&'a Said>,
    pub events: &'a [Event],
    /// It was sent with a key that has been replaced since.
    pub is_of_old_key: bool,
    /// `max_pipelines`.
    pub most: usize,
    pub at: At,
}

impl Told {
    pub fn has_ended(&self, id: &PipelineId) -> bool {
        self.pipelines.get(id).is_some_and(PipelineTold::has_ended)
    }

    /// A reload forgets which requests were not processed, and asks everything at its usual pace first.
    pub fn start_again(&mut self) {
        self.unsent.clear();
        for pipeline in self.pipelines.values_mut() {
            pipeline.probes.iter_mut().for_each(|probe| probe.pace = Pace::Normal);
        }
    }

    /// `includes` is whether the configuration takes the item.
    pub fn hear(&mut self, delivery: &Delivery, includes: impl Fn(&Item) -> bool) {
        let Delivery { request, error, said, at, .. } = *delivery;
        let reason = error.map(Error::reason);
        if delivery.is_of_old_key && matches!(reason, Some(Reason::Unauthorized | Reason::Forbidden)) {
            return;
        }
        let was_unsent = self.unsent.iter().position(|unsent| unsent == request);
        if let Some(index) = was_unsent {
            self.unsent.remove(index);
        } else if error.is_some_and(Error::is_unsent) && self.is_of_known(request) {
            return self.unsent.push(request.clone());
        }
        match request {
            Request::Page(number) => {
                // A size of the pages that is refused is not a failure yet.
                self.list_failure = reason.filter(|_| !matches!(error, Some(Error::PageSizeRefused(_))));
                self.lists_failed += u32::from(reason.is_some() || said.is_none());
                if error.is_none() {
                    self.listed = Some(at);
                    self.pages = self.pages.max(*number);
                }
                let Some(Said::Page(items)) = said.filter(|_| error.is_none()) else { return };
                if matches!(request, Request::Page(1)) {
                    self.list_begun = Some(at);
                    self.walk.clear();
                }
                for item in items {
                    // What a page repeats is old.
                    if self.walk.contains(&item.id) {
                        continue;
                    }
                    if self.walk.len() >= delivery.most {
                        break;
                    }
                    self.walk.insert(item.id.clone());
                    self.hear_item(item, at, includes(item));
                }
            }
            Request::Probe(id, probe) => {
                let Some(pipeline) = self.pipelines.get_mut(id) else { return };
                let state = &mut pipeline.probes[*probe as usize];
                let before = state.attempt.and_then(|(_, failure)| failure);
                state.hear(reason, at, self.read);
                if reason.is_none() {
                    self.read = Some(at);
                    match said {
                        Some(Said::Status(facts)) => pipeline.hear_status(*facts, at),
                        Some(Said::Metrics(facts)) => pipeline.hear_metrics(*facts, at, &mut self.reached),
                        Some(Said::Health(facts)) => pipeline.hear_health(*facts, at),
                        // The picture's check will find a reading that no response gave.
                        Some(Said::Page(_) | Said::Usage(_)) | None => {}
                    }
                    pipeline.note_end(at);
                }
                pipeline.probes[*probe as usize].pace = pipeline.pace_after(*probe, reason, before);
            }
            Request::Usage => {
                self.usage.probe.attempt = Some((at, reason));
                if let (None, Some(Said::Usage(facts))) = (reason, said) {
                    self.usage.probe.read = Some(at);
                    self.usage.hear(*facts, at);
                }
            }
        }
    }

    fn hear_item(&mut self, item: &Item, at: At, included: bool) {
        match self.pipelines.get_mut(&item.id) {
            _ if !included => _ = self.pipelines.remove(&item.id),
            Some(pipeline) => {
                if pipeline.item.paused != item.paused {
                    pipeline.wanted_since = at;
                }
                pipeline.item = item.clone();
                pipeline.listed = at;
            }
            None => _ = self.pipelines.insert(item.id.clone(), PipelineTold::new(item.clone(), at)),
        }
    }

    /// Forgets the pipelines that the exporter has forgotten, and returns those whose probes all succeeded last.
    pub fn keep(&mut self, is_known: impl Fn(&PipelineId) -> bool) -> Vec<PipelineId> {
        let succeeds = |probe: &ProbeTold| probe.attempt.is_some_and(|(_, failure)| failure.is_none());
        let mut answered = Vec::new();
        self.pipelines.retain(|id, told| {
            let stays = is_known(id);
            if !stays && told.probes.iter().all(succeeds) {
                answered.push(id.clone());
            }
            stays
        });
        let unsent = std::mem::take(&mut self.unsent);
        self.unsent = unsent.into_iter().filter(|request| self.is_of_known(request)).collect();
        answered
    }

    fn is_of_known(&self, request: &Request) -> bool {
        !matches!(request, Request::Probe(id, _) if !self.pipelines.contains_key(id))
    }

    /// A list is complete: topics that none of its pipelines has are forgotten.
    pub fn keep_topics(&mut self) {
        let Self { reached, pipelines, .. } = self;
        reached.retain(|topic, _| pipelines.values().any(|told| told.item.topic == *topic));
    }
}
