//! One account: what it knows, and what it decides. No I/O, no logging, no clock: time and responses are parameters.
//!
//! A driver asks [`Account::next`] what to send, sends it, and hands the response to [`Account::answered`]. That is one
//! transaction: readers who take a [`View`] see all of a response or nothing of it. What a 401 leads to stands in
//! `judge_key`; where the truth about the key is kept, in `credential`.

mod backfill;
mod backoff;
mod budget;
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
mod trend;
mod usage;
mod view;
mod walk;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub use backfill::{Backfill, FellBack};
pub use budget::Budget;
pub use credential::{Credential, KeyState};
pub use event::{Event, PipelineName};
pub use histogram::{BOUNDS, Histogram};
pub use pipeline::{Change, Pipeline};
pub use probe::ProbeState;
pub use roster::{Concern, GroupFlags, ListSummary, Listing};
pub use schedule::{Intervals, Pace, Schedule};
pub use since::{Beginning, Known, Since};
pub use trend::{Level, Trend};
pub use usage::Usage;
pub use view::{BudgetView, Requests, View};
#[cfg(any(test, fuzzing))]
pub(crate) use walk::{Step, Walk};

use crate::api::{
    self, Error, KeyVerdict, ListPage, ListedPipeline, Operation, PipelineId, ProbeResponse, Reason, Request, Response,
    UnknownField,
};
use crate::config::{self, Config, Policy};
use crate::moment::Moment;
use backoff::Backoff;
use pipeline::Observed;
use roster::{Roster, Supply, Taken};

/// A pause that grows by less than this is not worth another line in the log: each response of one wave may lengthen it.
const SAME_PAUSE: Duration = Duration::from_millis(250);

/// An outage at the start keeps the exporter unready for no longer than this: its own metrics show the outage.
const READY_AT_LAST: Duration = Duration::from_secs(60);

/// What an account works with.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How often, and how fast.
    pub poll: config::Poll,
    /// Whose pipelines, and which of them.
    pub account: config::Account,
    /// Which part of the pipelines is polled here.
    pub shard: config::Shard,
    /// Owners and thresholds; the first that matches a pipeline applies.
    pub policies: Vec<Arc<Policy>>,
    /// More pipelines than this are not taken from a list.
    pub max_pipelines: usize,
}

impl Settings {
    /// Those of one account of a configuration.
    pub fn of(config: &Config, account: &config::Account) -> Self {
        Self {
            poll: config.poll.clone(),
            account: account.clone(),
            shard: config.shard,
            policies: config.policies.iter().cloned().map(Arc::new).collect(),
            max_pipelines: config.max_pipelines,
        }
    }

    /// Whether the pipeline is polled here: by its shard and the account's filters.
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

/// A key that was read again.
#[derive(Debug, Clone, Copy)]
pub struct ReadAgain {
    /// When.
    pub loaded_at: SystemTime,
    /// It is not the key that was in use.
    pub is_another: bool,
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// Send this request now, and hand its response to [`Account::answered`].
    Send(Request, Sent),
    /// Nothing is due before.
    WaitUntil(Instant),
    /// Nothing is due at all: a response or a new key comes first.
    Idle,
}

/// When a request was sent, and with which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// When.
    pub at: Instant,
    /// Of the key.
    pub generation: u64,
}

/// One account.
#[derive(Debug)]
pub struct Account {
    settings: Settings,
    started: Moment,
    credential: Credential,
    roster: Roster,
    requests: Requests,
    budget: Budget,
    schedule: Schedule,
    /// If it is polled.
    usage: Option<Usage>,
    pipelines: BTreeMap<PipelineId, Arc<Pipeline>>,
    /// When any probe last succeeded.
    read_at: Option<Moment>,
    /// Sent, and not answered yet.
    in_flight: HashSet<Request>,
    /// Goes before everything else: the next page of a list, a retry with a new key.
    urgent: VecDeque<Request>,
    /// Was refused, and is sent again with the next key, unless this one is accepted before.
    refused: Option<Request>,
    /// Were not processed by the server, and are sent once more.
    lost: HashSet<Request>,
    /// So that it is said once.
    overloaded: bool,
    /// Everything is asked once, and then it is over.
    once: bool,
}

impl Account {
    /// An account of which nothing is known yet. `random` is for jitter alone.
    pub fn new(settings: Settings, key_loaded_at: SystemTime, mut random: fastrand::Rng, now: Moment) -> Self {
        Self {
            started: now,
            credential: Credential::new(key_loaded_at),
            roster: Roster::new(Backoff::new(random.fork()), now.monotonic),
            requests: Requests::default(),
            budget: Budget::new(settings.poll.requests_per_second, random, now.monotonic),
            schedule: Schedule::new(Intervals::from(&settings.poll), now.monotonic),
            usage: settings.poll.usage.map(|interval| Usage::new(interval, now.monotonic)),
            pipelines: BTreeMap::new(),
            read_at: None,
            in_flight: HashSet::new(),
            urgent: VecDeque::new(),
            refused: None,
            lost: HashSet::new(),
            overloaded: false,
            once: false,
            settings,
        }
    }

    /// Asks everything once from now on, and is then [done](Self::is_done).
    pub fn ask_once(&mut self) {
        self.once = true;
    }

    /// Other settings and a key that was read anew, for another driver: what is known stays, as far as it is still polled,
    /// and requests in flight are forgotten. A pause that the API has asked for goes on unless the key `is_another`, and so
    /// does a refusal: probes are not the way to find out whether the key is good now.
    pub fn reconfigure(&mut self, settings: Settings, key: ReadAgain, now: Moment) {
        if key.is_another {
            self.budget.resume();
        }
        self.credential.replace(key.loaded_at);
        self.roster.abandon_walk(now.monotonic);
        self.roster.expect_only(&settings.account.expect);
        self.budget.set_rate(settings.poll.requests_per_second);
        self.schedule = Schedule::new(Intervals::from(&settings.poll), now.monotonic);
        self.usage = settings.poll.usage.map(|interval| {
            let mut usage = self.usage.take().unwrap_or_else(|| Usage::new(interval, now.monotonic));
            usage.set_interval(interval, now.monotonic);
            usage
        });
        self.pipelines.retain(|id, pipeline| settings.includes(id, pipeline.listed()));
        while self.pipelines.len() > settings.max_pipelines {
            self.pipelines.pop_last();
        }
        for (id, pipeline) in &mut self.pipelines {
            let policy = settings.policy(id, pipeline.listed());
            Arc::make_mut(pipeline).set_policy(policy, now);
            self.schedule.insert(id, now.monotonic, |_| false);
        }
        self.in_flight.clear();
        self.urgent.clear();
        self.refused = None;
        self.lost.clear();
        self.settings = settings;
        self.keep_missed();
    }

    /// What readers see.
    pub fn view(&mut self, now: Moment) -> View {
        View {
            stale_after: self.settings.poll.stale_after,
            started: self.started,
            credential: self.credential.clone(),
            listing: self.roster.listing(),
            requests: self.requests.clone(),
            budget: BudgetView {
                required: self.required(),
                allowed: self.budget.rate(),
                next_due: if self.credential.is_refused() { None } else { self.schedule.oldest_due() },
                paused_until: self
                    .budget
                    .paused_until(now.monotonic)
                    .map(|until| now.after(until.saturating_duration_since(now.monotonic))),
            },
            read_at: self.read_at,
            credits_run_out: self.settings.account.credits_run_out,
            usage: self.usage.clone(),
            policies: self.settings.policies.clone(),
            pipelines: self.pipelines.clone(),
        }
    }

    /// Whether it has been listed once, or has been refused, or has waited for it long enough.
    pub fn is_ready(&self, now: Moment) -> bool {
        self.roster.was_listed()
            || self.credential.is_refused()
            || self.credential.is_not_a_service_key()
            || now.since(self.started) >= READY_AT_LAST
    }

    /// What to do now. Each [`Next::Send`] takes from the budget.
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

    /// When the usage is due. It is asked for with a key that the API has accepted for the pipelines, and with no other.
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
        if self.credential.is_refused() {
            return None;
        }
        if self.usage_due().is_some_and(|due| due <= now) {
            let stretch = self.required() / self.budget.rate();
            self.usage.iter_mut().for_each(|usage| usage.begin(stretch, now));
            return Some(Request::Usage);
        }
        loop {
            let (id, probe) = self.schedule.pop(now)?;
            // Once is enough: what is due again while another probe is waited for could go on for ever.
            let was_asked = self.once && self.schedule.is_answered(&id, probe);
            let request = Request::Probe(id, probe);
            // One that is in flight out of turn is this turn as well.
            if !was_asked && !self.in_flight.contains(&request) {
                return Some(request);
            }
        }
    }

    fn has_listed_enough(&self) -> bool {
        self.once && self.roster.was_listed() && !self.credential.is_refused()
    }

    /// Whether everything has been asked [once](Self::ask_once).
    pub fn is_done(&self, now: Instant) -> bool {
        let idle = self.in_flight.is_empty() && self.urgent.is_empty();
        let asked = self.roster.was_listed() && self.schedule.unanswered() == 0 && self.usage_due().is_none();
        // With a new key, or without a page size that was refused, another list follows at once, and has the last word.
        let lists_again = self.roster.due().is_some_and(|due| due <= now);
        idle && (asked || (self.roster.failure().is_some() && !lists_again))
    }

    /// Why the account could not be listed, if the newest list failed or the key is refused.
    pub fn failure(&self) -> Option<Error> {
        if self.credential.is_refused() { Error::of_status(401) } else { self.roster.failure().cloned() }
    }

    /// Takes in the response to a request that [`next`](Self::next) has handed out.
    pub fn answered(&mut self, sent: Sent, response: Response, now: Moment) -> Vec<Event> {
        let mut events = Vec::new();
        let request = response.request();
        self.in_flight.remove(&request);
        let failure = response.error().map(Error::reason);
        self.requests.count(request.operation(), now.monotonic.saturating_duration_since(sent.at), failure);
        self.keep_silent(request.operation(), response.error(), sent, now, &mut events);
        let verdict = response.verdict();
        let is_of_current_key = sent.generation == self.credential.generation();
        // The old key was still on its way when it was replaced: what it may not see says nothing about the new one.
        let is_late = !is_of_current_key && matches!(failure, Some(Reason::Unauthorized | Reason::Forbidden));
        if is_late || self.is_lost(&request, response.error()) {
            self.ask_again(request, now.monotonic);
            return events;
        }
        if is_of_current_key {
            self.judge_key(request, verdict, response.error(), sent, now, &mut events);
        }
        match response {
            Response::Page(_, page) => self.take_page(page, now, &mut events),
            Response::Probe(id, response) => self.take_probe(&id, response, sent, now, &mut events),
            Response::Usage(response) => self.take_usage(response, now, &mut events),
        }
        events
    }

    /// What a response proves about the key, and what follows.
    fn judge_key(
        &mut self,
        request: Request,
        verdict: KeyVerdict,
        error: Option<&Error>,
        sent: Sent,
        now: Moment,
        events: &mut Vec<Event>,
    ) {
        let is_list = request.operation() == Operation::List;
        let was_refused = match verdict {
            KeyVerdict::Accepted if is_list => self.credential.accept_list(sent.at, now),
            KeyVerdict::Accepted => self.credential.accept_probe(sent.at, now),
            KeyVerdict::NotServiceKey => {
                self.credential.is_of_another_kind(sent.at, now);
                false
            }
            KeyVerdict::Unauthorized => {
                let refusal = self.credential.refuse(sent.at, now);
                if refusal.is_news {
                    events.extend(error.cloned().map(Event::KeyRefused));
                    self.refused = Some(request);
                }
                if refusal.is_first && !is_list {
                    // A list that is refused itself sets its next turn.
                    self.roster.back_off(now.monotonic);
                }
                false
            }
            KeyVerdict::Nothing => false,
        };
        if !self.credential.is_refused() {
            self.refused = None;
        }
        if was_refused {
            events.push(Event::KeyAcceptedAgain);
            // The key may be another group's: see what it shows.
            self.roster.start_over(now.monotonic);
        }
    }

    /// The key's source holds another key, which is in use from now on. It ends the pause and the backoff of the old one.
    pub fn key_replaced(&mut self, loaded_at: SystemTime, now: Instant) {
        let is_refused = self.credential.is_refused();
        self.credential.replace(loaded_at);
        self.budget.resume();
        if is_refused || self.credential.is_not_a_service_key() {
            self.roster.start_over(now);
        }
        // One retry at once; the others follow when the new key is accepted. A list starts over in any case.
        if let Some(request @ Request::Probe(..)) = self.refused.take() {
            self.urgent.push_back(request);
        }
    }

    /// Sends a request once more, with the key that is in use now.
    fn ask_again(&mut self, request: Request, now: Instant) {
        match request {
            Request::Page(_) => self.urgent.push_back(request),
            Request::Probe(id, probe) => self.schedule.again(&id, probe, now),
            Request::Usage => self.usage.iter_mut().for_each(|usage| usage.again(now)),
        }
    }

    /// Whether the server has not processed the request, which is then worth sending once more, within the budget. Twice in
    /// a row is a failure. Of a pipeline that is gone, nothing is sent any more.
    fn is_lost(&mut self, request: &Request, error: Option<&Error>) -> bool {
        let was_lost = self.lost.remove(request);
        let is_gone = matches!(request, Request::Probe(id, _) if !self.pipelines.contains_key(id));
        let is_lost = !was_lost && !is_gone && error.is_some_and(Error::is_unsent);
        if is_lost {
            self.lost.insert(request.clone());
        }
        is_lost
    }

    /// After a 429, and after other failures that say how long to wait (503 Retry-After), everything waits.
    ///
    /// A 429 to the usage counts as well: the limit may well be the key's or the address's, for all that is documented, and
    /// then each request makes it worse. That the usage alone is out of service keeps nothing else waiting.
    fn keep_silent(
        &mut self,
        operation: Operation,
        error: Option<&Error>,
        sent: Sent,
        now: Moment,
        events: &mut Vec<Event>,
    ) {
        let retry_after = error.and_then(Error::retry_after);
        let is_limit = error.is_some_and(|error| error.reason() == Reason::RateLimited);
        if operation == Operation::Usage && !is_limit {
            if let (Some(usage), Some(wait)) = (&mut self.usage, retry_after) {
                usage.wait_until(now.monotonic + wait);
            }
            return;
        }
        if !is_limit && retry_after.is_none() {
            return self.budget.calm(now.monotonic);
        }
        let before = self.budget.paused_until(now.monotonic).unwrap_or(now.monotonic);
        let until = self.budget.pause(retry_after, sent.at, now.monotonic);
        if until > before + SAME_PAUSE {
            events.push(Event::Paused { retry_after, wait: until.saturating_duration_since(now.monotonic) });
        }
    }

    fn supply(&self) -> Supply {
        Supply { discovery: self.settings.poll.discovery, required: self.required(), allowed: self.budget.rate() }
    }

    /// Requests per second that all intervals ask for, the list's and the usage's included.
    fn required(&self) -> f64 {
        let list = f64::from(self.roster.pages()) / self.settings.poll.discovery.as_secs_f64();
        self.schedule.required() + list + self.usage.as_ref().map_or(0.0, Usage::frequency)
    }

    /// Nothing follows from it for the key, the list or the pipelines.
    fn take_usage(&mut self, response: Result<api::Usage, Error>, now: Moment, events: &mut Vec<Event>) {
        if let Ok(usage) = &response {
            self.requests.count_unknown(usage.unknown_fields());
        }
        // It may have been switched off meanwhile.
        events.extend(self.usage.as_mut().and_then(|usage| usage.observe(response, now)));
    }

    fn take_page(&mut self, page: Result<ListPage, Error>, now: Moment, events: &mut Vec<Event>) {
        let page = match page {
            Ok(page) => page,
            // Not a failure yet: the next request does not name a size. Pages of another size make another list.
            Err(Error::PageSizeRefused(_)) => return self.roster.abandon_walk(now.monotonic),
            Err(error) => return self.list_failed(error, now, events),
        };
        self.requests.count_unknown(page.unknown_fields());
        match self.roster.take(page, now.monotonic) {
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
                    walk::Step::End { whole, truncated } => self.list_complete(whole, truncated, now, events),
                }
            }
        }
    }

    /// A pipeline as the list shows it: polled, if it is one of ours.
    fn take_listed(&mut self, id: PipelineId, listed: ListedPipeline, now: Moment, events: &mut Vec<Event>) {
        self.requests.count_unknown(listed.unknown_fields());
        if !self.settings.includes(&id, &listed) {
            self.forget(&id);
            return;
        }
        let policy = self.settings.policy(&id, &listed);
        if let Some(pipeline) = self.pipelines.get_mut(&id) {
            let rested = pipeline.rests();
            let updated_at = pipeline.listed().updated_at();
            let change = Arc::make_mut(pipeline).relist(listed, policy, now);
            if rested && (!pipeline.rests() || pipeline.listed().updated_at() != updated_at) {
                self.schedule.wake(&id, now.monotonic);
            }
            let name = || PipelineName { id: id.clone(), name: pipeline.name() };
            events.extend(change.map(|change| Event::PipelineChanged(name(), change)));
        } else if self.pipelines.len() < self.settings.max_pipelines {
            if self.roster.was_listed() {
                events.push(Event::PipelineIsNew(PipelineName { id: id.clone(), name: listed.name.clone() }));
            }
            // It may have been dropped and come back while a probe of it was in flight.
            let in_flight = |probe| self.in_flight.contains(&Request::Probe(id.clone(), probe));
            self.schedule.insert(&id, now.monotonic, in_flight);
            self.pipelines.insert(id.clone(), Arc::new(Pipeline::new(id, listed, policy, now)));
        }
    }

    fn forget(&mut self, id: &PipelineId) -> Option<Arc<Pipeline>> {
        self.schedule.remove(id);
        self.lost.retain(|request| !matches!(request, Request::Probe(lost, _) if lost == id));
        self.pipelines.remove(id)
    }

    fn list_complete(&mut self, whole: bool, truncated: bool, now: Moment, events: &mut Vec<Event>) {
        let known = self.pipelines.iter().map(|(id, pipeline)| (id, pipeline.existence()));
        for id in self.roster.gone(whole, truncated, known) {
            let name = self.forget(&id).and_then(|pipeline| pipeline.name());
            events.push(Event::PipelineIsGone(PipelineName { id, name }));
        }
        let settings = &self.settings;
        let expect = settings.account.expect.iter().filter(|id| settings.shard.owns(id));
        let expected = self.roster.expected(whole, truncated, expect, |id| self.pipelines.contains_key(id));
        self.keep_missed();
        let completed = self.roster.complete(expected, truncated, self.supply(), now);
        if self.credential.is_refused() {
            // Its pages were sent before the refusal: the next list shows whether the key is accepted again.
            self.roster.back_off(now.monotonic);
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
        // Of a refused key, `KeyRefused` tells.
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
        // It may have been dropped meanwhile.
        let Some(pipeline) = self.pipelines.get_mut(id) else { return };
        self.requests.count_unknown(response.unknown_fields().into_iter());
        let probe = response.probe();
        let failure = response.error().map(Error::reason);
        let was_foreign = pipeline.probe(probe).failure() == Some(Reason::ForeignResponse);
        let was_found = pipeline.probes().all(|(_, state)| state.failure() != Some(Reason::NotFound));
        let rested = pipeline.rests();
        let Observed { changes, hints } = Arc::make_mut(pipeline).observe(response, now, self.read_at);
        let is_transitional = pipeline.phase().state().is_some_and(|phase| phase.is_transitional());
        let pace = match failure {
            // Asking often changes nothing, and annoys whatever responds.
            Some(Reason::Forbidden | Reason::NotFound | Reason::PaymentRequired) => Pace::Refused,
            // Once may be a deployment of what is in between, or an old address.
            Some(Reason::ForeignResponse) if was_foreign => Pace::Refused,
            None if probe == crate::api::Probe::Status && is_transitional => Pace::Transitional,
            _ if pipeline.rests() => Pace::Idle,
            _ => Pace::Normal,
        };
        let wakes = rested && !pipeline.rests();
        if !changes.is_empty() {
            let name = PipelineName { id: id.clone(), name: pipeline.name() };
            events.extend(changes.into_iter().map(|change| Event::PipelineChanged(name.clone(), change)));
        }
        if failure.is_none() {
            self.read_at = Some(now);
            if pipeline.is_watched() {
                self.roster.note_reading(now);
            }
        }
        if failure == Some(Reason::NotFound) && was_found {
            // Only a list says whether it is gone.
            self.roster.request(self.supply(), now.monotonic);
        }
        self.schedule.done(id, probe, pace, sent.at, now.monotonic);
        if wakes {
            self.schedule.wake(id, now.monotonic);
        }
        if hints {
            self.schedule.hasten_others(id, probe, now.monotonic);
        }
    }
}
