//! One account: its state and its decisions. No I/O, no logging, no clock: time and responses are parameters.
//!
//! A driver asks [`Account::next`] what to send, sends it, and passes the response to [`Account::answered`]. That is
//! one transaction: readers who take a [`View`] see either all effects of a response or none.
//!
//! `judge_key` decides what a 401 leads to: an event tells the driver to read the key again, and only lists are sent
//! until a response accepts a key. If the source holds another key, [`Account::key_replaced`] retries one request at
//! once. `credential` holds the only truth about the key.

mod backfill;
mod backoff;
mod budget;
mod changes;
mod credential;
mod event;
mod histogram;
mod pipeline;
mod probe;
mod roster;
mod schedule;
mod since;
mod suspicion;
#[cfg(any(test, fuzzing))]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod topics;
mod trend;
mod usage;
mod view;
mod walk;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub use backfill::{Backfill, FellBack};
pub use budget::Budget;
pub use changes::Changes;
pub use credential::{Credential, KeyState};
pub use event::{Event, PipelineName};
pub use histogram::{BOUNDS, Histogram};
pub use pipeline::{Change, Pipeline};
pub use probe::ProbeState;
pub use roster::{Concern, GroupFlags, ListSummary, Listing};
pub use schedule::{Intervals, Pace, Schedule};
pub use since::{Beginning, Known, Since};
pub use trend::Level;
pub use usage::Usage;
pub use view::{BudgetView, Requests, View};
#[cfg(any(test, fuzzing))]
pub(crate) use walk::{Step, Walk};

use crate::api::{
    self, Error, KeyVerdict, ListPage, ListedPipeline, Operation, PipelineId, Probe, ProbeResponse, Reason, Request,
    Response, UnknownField,
};
use crate::config::{self, Config, Policy};
use crate::moment::Moment;
use backoff::Backoff;
use pipeline::Observed;
use roster::{Roster, Supply, Taken};
use topics::Topics;
use trend::Trend;
use walk::Extent;

/// A pause that grows by less than this is not logged again: each response of one batch may lengthen it.
const SAME_PAUSE: Duration = Duration::from_millis(250);

/// An outage at startup keeps the exporter unready for at most this long: its own metrics show the outage.
const READY_AT_LAST: Duration = Duration::from_secs(60);

/// The part of the configuration that concerns one account.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Intervals and the request budget.
    pub poll: config::Poll,
    /// The key, and the filters on its pipelines.
    pub account: config::Account,
    /// The part of the pipelines that this exporter polls.
    pub shard: config::Shard,
    /// Owners and thresholds; the first policy that matches a pipeline applies.
    pub policies: Vec<Arc<Policy>>,
    /// A list is truncated after this many pipelines.
    pub max_pipelines: usize,
}

impl Settings {
    /// The settings for one account of a configuration.
    pub fn of(config: &Config, account: &config::Account) -> Self {
        Self {
            poll: config.poll.clone(),
            account: account.clone(),
            shard: config.shard,
            policies: config.policies.iter().cloned().map(Arc::new).collect(),
            max_pipelines: config.max_pipelines,
        }
    }

    /// Whether this exporter polls the pipeline: by its shard and the account's filters.
    fn includes(&self, id: &PipelineId, listed: &ListedPipeline) -> bool {
        self.shard.owns(id)
            && self.account.pipeline_ids.matches(id.as_str())
            && self.account.pipelines.matches(listed.name.as_deref().unwrap_or_default())
            && self.account.projects.matches(listed.project.as_deref().unwrap_or_default())
    }

    fn policy(&self, id: &PipelineId, listed: &ListedPipeline) -> Option<Arc<Policy>> {
        let project = listed.project.as_deref().unwrap_or_default();
        let pipeline = listed.name.as_deref().unwrap_or_default();
        self.policies.iter().find(|policy| policy.matches(project, pipeline, id)).cloned()
    }
}

/// The result of reading the key again.
#[derive(Debug, Clone, Copy)]
pub struct ReadAgain {
    /// When it was read.
    pub loaded_at: SystemTime,
    /// Whether it differs from the key that was in use.
    pub is_another: bool,
}

/// What the driver must do next.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// Send this request now, and pass its response to [`Account::answered`].
    Send(Request, Sent),
    /// Nothing is due before this instant.
    WaitUntil(Instant),
    /// Nothing is due until a response or a new key arrives.
    Idle,
}

/// When a request was sent, and with which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    pub at: Instant,
    /// The generation of the key.
    pub generation: u64,
}

#[derive(Debug)]
pub struct Account {
    settings: Settings,
    started: Moment,
    credential: Credential,
    roster: Roster,
    requests: Requests,
    budget: Budget,
    schedule: Schedule,
    /// `None` if usage is not polled.
    usage: Option<Usage>,
    pipelines: BTreeMap<PipelineId, Arc<Pipeline>>,
    topics: Topics,
    /// When any probe last succeeded.
    read_at: Option<Moment>,
    in_flight: HashSet<Request>,
    /// Requests that go before all others: the next page of a list, a retry with a new key.
    urgent: VecDeque<Request>,
    /// The request whose 401 was reported. It is retried with the next key, unless this key is accepted before.
    refused: Option<Request>,
    /// Requests that the server did not process; each is retried once.
    unsent: HashSet<Request>,
    /// Whether the overload has been logged, so that it is logged once.
    overloaded: bool,
    /// Request everything once, and then stop.
    once: bool,
}

impl Account {
    /// An account of which nothing is known yet. `random` is only used for jitter.
    pub fn new(settings: Settings, key_loaded_at: SystemTime, mut random: fastrand::Rng, now: Moment) -> Self {
        Self {
            started: now,
            credential: Credential::new(key_loaded_at),
            roster: Roster::new(Backoff::new(random.fork()), now.monotonic()),
            requests: Requests::default(),
            budget: Budget::new(settings.poll.requests_per_second, random, now.monotonic()),
            schedule: Schedule::new(Intervals::from(&settings.poll), now.monotonic()),
            usage: settings.poll.usage.map(|interval| Usage::new(interval, now.monotonic())),
            pipelines: BTreeMap::new(),
            topics: Topics::default(),
            read_at: None,
            in_flight: HashSet::new(),
            urgent: VecDeque::new(),
            refused: None,
            unsent: HashSet::new(),
            overloaded: false,
            once: false,
            settings,
        }
    }

    /// From now on requests everything once, and is then [done](Self::is_done).
    pub fn ask_once(&mut self) {
        self.once = true;
    }

    /// Applies new settings and a key that was read again, for a new driver. Known state of pipelines that are still
    /// polled is kept; requests in flight are forgotten. A pause that the API has asked for continues unless the key
    /// `is_another`. A refusal continues in any case: probes are not the way to find out whether the key is valid now.
    pub fn reconfigure(&mut self, settings: Settings, key: ReadAgain, now: Moment) {
        if key.is_another {
            self.budget.resume();
        }
        // A key that was merely read again was loaded when it was read first: its time shows rotations.
        let loaded_at = if key.is_another { key.loaded_at } else { self.credential.loaded_at() };
        self.credential.replace(loaded_at);
        self.roster.abandon_walk(now.monotonic());
        self.roster.expect_only(&settings.account.expect);
        self.budget.set_rate(settings.poll.requests_per_second);
        self.schedule = Schedule::new(Intervals::from(&settings.poll), now.monotonic());
        self.usage = settings.poll.usage.map(|interval| {
            let mut usage = self.usage.take().unwrap_or_else(|| Usage::new(interval, now.monotonic()));
            usage.set_interval(interval, now.monotonic());
            usage
        });
        self.pipelines.retain(|id, pipeline| settings.includes(id, pipeline.listed()));
        for (id, pipeline) in &mut self.pipelines {
            let policy = settings.policy(id, pipeline.listed());
            Arc::make_mut(pipeline).set_policy(policy, now);
        }
        // Those that have waited longest go first: the next reload may come before a small budget has served all.
        let mut waiting: Vec<_> = self.pipelines.iter().map(|(id, pipeline)| (pipeline.tried_at(), id)).collect();
        waiting.sort();
        waiting.into_iter().for_each(|(_, id)| self.schedule.insert(id, now.monotonic(), |_| false));
        self.in_flight.clear();
        self.urgent.clear();
        self.refused = None;
        self.unsent.clear();
        self.settings = settings;
        self.keep_missed();
    }

    /// A snapshot for readers.
    pub fn view(&mut self, now: Moment) -> View {
        View {
            stale_after: self.settings.poll.stale_after,
            credential: self.credential.clone(),
            listing: self.roster.listing(),
            requests: self.requests.clone(),
            budget: BudgetView {
                required: self.required(),
                allowed: self.budget.rate(),
                next_due: if self.credential.is_refused() { None } else { self.schedule.oldest_due() },
                paused_until: self
                    .budget
                    .paused_until(now.monotonic())
                    .map(|until| now.after(until.saturating_duration_since(now.monotonic()))),
            },
            read_at: self.read_at,
            credits_run_out: self.settings.account.credits_run_out,
            usage: self.usage.clone(),
            policies: self.settings.policies.clone(),
            pipelines: self.pipelines.clone(),
        }
    }

    /// Whether the account has been listed once, was refused, or has waited for a list long enough.
    pub fn is_ready(&self, now: Moment) -> bool {
        self.roster.was_listed()
            || self.credential.is_refused()
            || self.credential.is_not_a_service_key()
            || now.since(self.started) >= READY_AT_LAST
    }

    /// What to do now. Each [`Next::Send`] is charged to the budget.
    pub fn next(&mut self, now: Instant) -> Next {
        if self.in_flight.len() >= self.settings.poll.max_in_flight {
            return Next::Idle;
        }
        let in_flight = &self.in_flight;
        self.urgent.retain(|request| !in_flight.contains(request));
        loop {
            let Some(due) = self.next_due(now) else { return Next::Idle };
            if due > now {
                return Next::WaitUntil(due);
            }
            if let Err(later) = self.budget.take(now) {
                return Next::WaitUntil(later);
            }
            if let Some(request) = self.next_request(now) {
                self.in_flight.insert(request.clone());
                return Next::Send(request, Sent { at: now, generation: self.credential.generation() });
            }
        }
    }

    fn next_due(&mut self, now: Instant) -> Option<Instant> {
        if !self.urgent.is_empty() {
            return Some(now);
        }
        let list = self.roster.due().filter(|_| !self.has_listed_enough());
        let probe = if self.credential.is_refused() { None } else { self.schedule.next_due(now) };
        [list, self.usage_due(), probe].into_iter().flatten().min()
    }

    /// When to request the usage. Only a key that the API has accepted for the pipelines is used for that.
    fn usage_due(&self) -> Option<Instant> {
        let usage = self.usage.as_ref()?;
        let is_wanted = self.credential.is_accepted() && !(self.once && usage.was_tried());
        (is_wanted && !self.in_flight.contains(&Request::Usage)).then(|| usage.due())
    }

    fn next_request(&mut self, now: Instant) -> Option<Request> {
        if let Some(request) = self.urgent.pop_front() {
            return Some(request);
        }
        if self.roster.due().is_some_and(|due| due <= now) && !self.has_listed_enough() {
            self.roster.begin(self.settings.max_pipelines, now);
            return Some(Request::Page(1));
        }
        if self.usage_due().is_some_and(|due| due <= now) {
            let stretch = self.required() / self.budget.rate();
            self.usage.iter_mut().for_each(|usage| usage.begin(stretch, now));
            return Some(Request::Usage);
        }
        loop {
            let (id, probe) = self.schedule.pop(now)?;
            // In once mode, do not request a probe again that is due again while another one is pending: that could go
            // on forever.
            let was_asked = self.once && self.schedule.is_answered(&id, probe);
            let request = Request::Probe(id, probe);
            // A request in flight out of turn counts as this turn.
            if !was_asked && !self.in_flight.contains(&request) {
                return Some(request);
            }
        }
    }

    fn has_listed_enough(&self) -> bool {
        self.once && self.roster.was_listed() && !self.credential.is_refused()
    }

    /// Whether everything has been requested [once](Self::ask_once).
    pub fn is_done(&self, now: Instant) -> bool {
        let idle = self.in_flight.is_empty() && self.urgent.is_empty();
        let asked = self.roster.was_listed() && self.schedule.unanswered() == 0 && self.usage_due().is_none();
        // After a new key or a refused page size, another list follows at once, and its result counts.
        let lists_again = self.roster.due().is_some_and(|due| due <= now);
        idle && (asked || (self.roster.failure().is_some() && !lists_again))
    }

    /// Why the newest list failed, or that the key is refused.
    pub fn failure(&self) -> Option<Error> {
        if self.credential.is_refused() { Error::of_status(401) } else { self.roster.failure().cloned() }
    }

    /// Processes the response to a request that [`next`](Self::next) returned.
    pub fn answered(&mut self, sent: Sent, response: Response, now: Moment) -> Vec<Event> {
        let mut events = Vec::new();
        let request = response.request();
        self.in_flight.remove(&request);
        let failure = response.error().map(Error::reason);
        self.requests.count(request.operation(), now.monotonic().saturating_duration_since(sent.at), failure);
        self.pause_if_asked(&response, sent, now, &mut events);
        let is_of_current_key = sent.generation == self.credential.generation();
        // The old key was still in flight when it was replaced: its refusal says nothing about the new key.
        let is_late = !is_of_current_key && matches!(failure, Some(Reason::Unauthorized | Reason::Forbidden));
        if is_late || self.note_unsent(&request, response.error()) {
            self.retry(request, now.monotonic());
            return events;
        }
        if is_of_current_key {
            self.judge_key(&response, sent, now, &mut events);
        }
        match response {
            Response::Page(_, page) => self.take_page(page, now, &mut events),
            Response::Probe(id, response) => self.take_probe(&id, response, sent, now, &mut events),
            Response::Usage(response) => self.take_usage(response, now, &mut events),
        }
        events
    }

    /// Updates the state of the key from a response's verdict, and reacts to it.
    fn judge_key(&mut self, response: &Response, sent: Sent, now: Moment, events: &mut Vec<Event>) {
        let is_list = matches!(response, Response::Page(..));
        let is_accepted_again = match response.verdict() {
            KeyVerdict::Accepted if is_list => self.credential.accept_list(sent.at, now),
            KeyVerdict::Accepted => self.credential.accept_probe(sent.at, now),
            KeyVerdict::NotServiceKey => {
                self.credential.forbid_list(sent.at, now);
                false
            }
            KeyVerdict::Unauthorized => {
                let refusal = self.credential.refuse(sent.at, now);
                if refusal.is_news {
                    events.extend(response.error().cloned().map(Event::KeyRefused));
                    self.refused = Some(response.request());
                }
                if refusal.is_first && !is_list {
                    // A list that is refused schedules its own retry.
                    self.roster.back_off(now.monotonic());
                }
                false
            }
            KeyVerdict::Nothing => false,
        };
        if !self.credential.is_refused() {
            self.refused = None;
        }
        if is_accepted_again {
            events.push(Event::KeyAcceptedAgain);
            if !is_list {
                // The key may belong to another group: list what it shows.
                self.roster.start_over(now.monotonic());
            }
        }
    }

    /// The source of the key holds another key, which is in use from now on. Ends the pause and the backoff of the old
    /// one.
    pub fn key_replaced(&mut self, loaded_at: SystemTime, now: Instant) {
        let is_refused = self.credential.is_refused();
        self.credential.replace(loaded_at);
        self.budget.resume();
        if is_refused || self.credential.is_not_a_service_key() {
            self.roster.start_over(now);
        }
        // Retries one request at once; the others follow when the new key is accepted. A list starts over in any case.
        if let Some(request @ Request::Probe(..)) = self.refused.take() {
            self.urgent.push_back(request);
        }
    }

    /// Retries a request with the key that is in use now.
    fn retry(&mut self, request: Request, now: Instant) {
        match request {
            // The list begins anew, so that its age and its share of the budget count from here.
            Request::Page(1) => self.roster.abandon_walk(now),
            Request::Page(_) => self.urgent.push_back(request),
            Request::Probe(id, probe) => self.schedule.again(&id, probe, now),
            Request::Usage => self.usage.iter_mut().for_each(|usage| usage.again(now)),
        }
    }

    /// Returns whether to retry the request because the server did not process it. A second time in a row counts as a
    /// failure. Nothing more is sent for a pipeline that is gone.
    fn note_unsent(&mut self, request: &Request, error: Option<&Error>) -> bool {
        let was_unsent = self.unsent.remove(request);
        let is_gone = matches!(request, Request::Probe(id, _) if !self.pipelines.contains_key(id));
        let retries = !was_unsent && !is_gone && error.is_some_and(Error::is_unsent);
        if retries {
            self.unsent.insert(request.clone());
        }
        retries
    }

    /// Pauses all requests after a 429, and after other failures that say how long to wait (503 with `Retry-After`).
    ///
    /// A 429 to a usage request counts, too: the limit may be per key or per address (not documented), and then each
    /// further request makes it worse. Other failures of usage requests pause only those.
    fn pause_if_asked(&mut self, response: &Response, sent: Sent, now: Moment, events: &mut Vec<Event>) {
        let error = response.error();
        let retry_after = error.and_then(Error::retry_after);
        let is_limit = error.is_some_and(|error| error.reason() == Reason::RateLimited);
        if matches!(response, Response::Usage(_)) && !is_limit {
            if let (Some(usage), Some(wait)) = (&mut self.usage, retry_after) {
                usage.wait_until(now.monotonic() + wait);
            }
            return;
        }
        if !is_limit && retry_after.is_none() {
            // A timeout says nothing about the limit.
            if error.is_none_or(Error::answered) {
                self.budget.calm(now.monotonic());
            }
            return;
        }
        let before = self.budget.paused_until(now.monotonic()).unwrap_or(now.monotonic());
        let until = self.budget.pause(retry_after, sent.at, now.monotonic());
        if until > before + SAME_PAUSE {
            events.push(Event::Paused { retry_after, wait: until.saturating_duration_since(now.monotonic()) });
        }
    }

    fn supply(&self) -> Supply {
        Supply { discovery: self.settings.poll.discovery, required: self.required(), allowed: self.budget.rate() }
    }

    /// Requests per second that all intervals need, including the list's and the usage's.
    fn required(&self) -> f64 {
        let list = f64::from(self.roster.pages()) / self.settings.poll.discovery.as_secs_f64();
        self.schedule.required() + list + self.usage.as_ref().map_or(0.0, Usage::frequency)
    }

    /// Affects neither the key nor the list nor the pipelines.
    fn take_usage(&mut self, response: Result<api::Usage, Error>, now: Moment, events: &mut Vec<Event>) {
        if let Ok(usage) = &response {
            self.requests.count_unknown(usage.unknown_fields());
        }
        // Polling of usage may have been switched off meanwhile.
        events.extend(self.usage.as_mut().and_then(|usage| usage.observe(response, now)));
    }

    fn take_page(&mut self, page: Result<ListPage, Error>, now: Moment, events: &mut Vec<Event>) {
        let page = match page {
            Ok(page) => page,
            // Not a failure yet: the next request names no size. With another page size, the list must start over.
            Err(Error::PageSizeRefused(_)) => return self.roster.abandon_walk(now.monotonic()),
            Err(error) => return self.list_failed(error, now, events),
        };
        self.requests.count_unknown(page.unknown_fields());
        match self.roster.take(page, now.monotonic()) {
            None => {}
            Some(Err(error)) => {
                self.requests.count_failure(Operation::List, error.reason());
                self.list_failed(error, now, events);
            }
            Some(Ok(Taken { listed, step })) => {
                for (id, pipeline) in listed {
                    self.take_listed(id, pipeline, now, events);
                }
                match step {
                    walk::Step::NextPage(number) => self.urgent.push_back(Request::Page(number)),
                    walk::Step::End(extent) => self.list_complete(extent, now, events),
                }
            }
        }
    }

    /// Adds or updates a listed pipeline if this exporter polls it.
    fn take_listed(&mut self, id: PipelineId, mut listed: ListedPipeline, now: Moment, events: &mut Vec<Event>) {
        self.requests.count_unknown(listed.unknown_fields());
        if let Some(known) = self.pipelines.get(&id) {
            // A list without its project must neither drop it nor find it another owner.
            listed.keep_names(known.listed());
        }
        if !self.settings.includes(&id, &listed) {
            self.forget(&id);
            return;
        }
        let policy = self.settings.policy(&id, &listed);
        if let Some(pipeline) = self.pipelines.get_mut(&id) {
            let rested = pipeline.rests();
            let updated_at = pipeline.listed().updated_at();
            let topic = pipeline.listed().topic.clone();
            let change = Arc::make_mut(pipeline).relist(listed, policy, now);
            if let Some(topic) = topic.filter(|topic| pipeline.listed().topic.as_ref() != Some(topic)) {
                self.topics.forget(&topic, &id);
            }
            if rested && (!pipeline.rests() || pipeline.listed().updated_at() != updated_at) {
                self.schedule.wake(&id, now.monotonic());
            }
            let name = || PipelineName { id: id.clone(), name: pipeline.name() };
            events.extend(change.map(|change| Event::PipelineChanged(name(), change)));
        } else if self.pipelines.len() < self.settings.max_pipelines {
            if self.roster.was_listed() {
                events.push(Event::PipelineIsNew(PipelineName { id: id.clone(), name: listed.name.clone() }));
            }
            // It may have been dropped and listed again while a probe of it was in flight.
            let in_flight = |probe| self.in_flight.contains(&Request::Probe(id.clone(), probe));
            self.schedule.insert(&id, now.monotonic(), in_flight);
            self.pipelines.insert(id.clone(), Arc::new(Pipeline::new(id, listed, policy, now)));
        }
    }

    fn forget(&mut self, id: &PipelineId) -> Option<Arc<Pipeline>> {
        self.schedule.remove(id);
        self.unsent.retain(|request| !matches!(request, Request::Probe(of, _) if of == id));
        self.pipelines.remove(id)
    }

    fn list_complete(&mut self, extent: Extent, now: Moment, events: &mut Vec<Event>) {
        let known = self.pipelines.iter().map(|(id, pipeline)| (id, pipeline.existence())).collect();
        for id in self.roster.gone(extent, known) {
            let name = self.forget(&id).and_then(|pipeline| pipeline.name());
            events.push(Event::PipelineIsGone(PipelineName { id, name }));
        }
        self.topics.keep(self.pipelines.values().map(Arc::as_ref));
        let settings = &self.settings;
        let expect = settings.account.expect.iter().filter(|id| settings.shard.owns(id));
        let expected = self.roster.expected(extent, expect, |id| self.pipelines.contains_key(id));
        self.keep_missed();
        let completed = self.roster.complete(expected, extent, self.supply(), now);
        if self.credential.is_refused() {
            // The pages were sent before the refusal: the next list shows whether the key is accepted again.
            self.roster.back_off(now.monotonic());
        }
        self.requests.count_unknown(std::iter::repeat_n(UnknownField::Id, completed.without_id));
        if completed.was_failing {
            events.push(Event::ListSucceeds { pipelines: self.pipelines.len() });
        }
        if completed.newly_truncated {
            events.push(Event::Truncated { most: self.settings.max_pipelines });
        }
        let (required, allowed) = (self.required(), self.budget.rate());
        if required > allowed && !self.overloaded {
            events.push(Event::Overloaded { required, allowed });
        }
        self.overloaded = required > allowed;
    }

    /// Of pipelines that are neither known nor expected, nothing is kept.
    fn keep_missed(&mut self) {
        let (pipelines, expect) = (&self.pipelines, &self.settings.account.expect);
        self.roster.keep_missed(|id| pipelines.contains_key(id) || expect.contains(id));
    }

    fn list_failed(&mut self, error: Error, now: Moment, events: &mut Vec<Event>) {
        let is_news = self.roster.fail(error.clone(), self.supply(), now);
        // `KeyRefused` already reports a refused key.
        if is_news && error.reason() != Reason::Unauthorized {
            events.push(Event::ListFails(error));
        }
    }

    fn take_probe(
        &mut self,
        id: &PipelineId,
        response: ProbeResponse,
        sent: Sent,
        now: Moment,
        events: &mut Vec<Event>,
    ) {
        // The pipeline may have been dropped meanwhile.
        let Some(pipeline) = self.pipelines.get_mut(id) else { return };
        self.requests.count_unknown(response.unknown_fields().into_iter());
        let probe = response.probe();
        let failure = response.error().map(Error::reason);
        let was_foreign = pipeline.probe(probe).failure() == Some(Reason::ForeignResponse);
        let was_found = pipeline.probes().all(|(_, state)| state.failure() != Some(Reason::NotFound));
        let rested = pipeline.rests();
        let Observed { changes, hints } = Arc::make_mut(pipeline).observe(response, now, self.read_at, &self.topics);
        if probe == Probe::Metrics && failure.is_none() {
            self.topics.observe(pipeline);
        }
        let is_transitional = pipeline.phase().state().is_some_and(|phase| phase.is_transitional());
        let pace = match failure {
            // Frequent requests would change nothing, and would annoy the server.
            Some(Reason::Forbidden | Reason::NotFound | Reason::PaymentRequired) => Pace::Refused,
            // A single foreign response may be due to a deployment of the proxy, or to an old address.
            Some(Reason::ForeignResponse) if was_foreign => Pace::Refused,
            None if probe == Probe::Status && is_transitional => Pace::Transitional,
            _ if pipeline.rests() => Pace::Idle,
            _ => Pace::Normal,
        };
        let wakes = rested && !pipeline.rests();
        let name = || PipelineName { id: id.clone(), name: pipeline.name() };
        events.extend(changes.into_iter().map(|change| Event::PipelineChanged(name(), change)));
        if failure.is_none() {
            self.read_at = Some(now);
            if pipeline.is_watched() {
                self.roster.note_reading(now);
            }
        }
        if failure == Some(Reason::NotFound) && was_found {
            // Only a list can say whether the pipeline is gone.
            self.roster.request(self.supply(), now.monotonic());
        }
        self.schedule.done(id, probe, pace, sent.at, now.monotonic());
        if wakes {
            self.schedule.wake(id, now.monotonic());
        }
        if hints {
            self.schedule.hasten_others(id, probe, now.monotonic());
        }
    }
}
