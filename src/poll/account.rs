//! One account's poller: sends what is due, sorts what comes back, and reacts to what goes wrong. What becomes of the key is in
//! `key`, what becomes of lists in `lists`.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::future::{Fuse, FusedFuture as _, FutureExt as _};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, warn};

use super::backoff::Backoff;
use super::budget::Budget;
use super::changes::Changes;
use super::listing::Listing;
use super::pulse::Pulse;
use super::schedule::{Intervals, Pace, Probe, Schedule};
use super::suspicion::Before;
use crate::api::{self, Client, Endpoint, Error, ListPage, PipelineId, Reason};
use crate::config::{self, Config};
use crate::fleet::{AccountHandle, Answer, Moment};
use crate::service_key::{KeyHolder, KeySource, LoadedKey};

mod key;
mod lists;

/// How often the loop turns at least. Then a key file is looked at: a rotation is seen within this time even before
/// the old key dies. And a loop that waits is told from one that hangs.
const TICK: Duration = Duration::from_secs(1);

/// One request to be sent.
#[derive(Debug, Clone)]
enum Job {
    ListPage(u32),
    Probe(Probe),
}

/// What a request brought.
enum Data {
    Page(ListPage),
    Status(api::Status),
    Metrics(api::Metrics),
    DestinationHealth(api::DestinationHealth),
}

/// A request that is over.
struct Finished {
    job: Job,
    generation: u64,
    sent: Instant,
    result: Result<Data, Error>,
}

type InFlight = FuturesUnordered<Pin<Box<dyn Future<Output = Finished> + Send>>>;

/// The task of one account. It ends only by being dropped.
pub struct Poller {
    account: config::Account,
    shard: config::Shard,
    max_pipelines: usize,
    max_in_flight: usize,
    discovery: Duration,
    client: Client,
    keys: KeyHolder,
    fleet: AccountHandle,
    pulse: Pulse,
    schedule: Schedule,
    budget: Budget,
    changes: Changes,
    in_flight: InFlight,
    /// Goes before everything else: the next page of a list, a retry with a new key.
    urgent: VecDeque<Job>,
    listing: Option<Listing>,
    list_due: Instant,
    /// A pipeline was answered 404 while a list was under way, which may have shown it before: another one has to follow.
    list_again: bool,
    list_backoff: Backoff,
    /// Whether a list has ever been complete, and how many pages it had.
    listed_pages: Option<u32>,
    /// Why the newest list failed, if it did.
    list_failure: Option<Error>,
    /// Since when the key in use is dead: only the list is asked, until an answer to something younger is accepted.
    refused: Option<Instant>,
    /// The newest key of which the log says that it is refused.
    told_refused: Option<u64>,
    /// Were answered 404, and have not succeeded since: the list has the last word on their pipelines.
    not_found: HashSet<Probe>,
    /// Were missing from the newest list, and stay for now.
    missed: HashSet<PipelineId>,
    /// What has been warned of, so that it is said once.
    overloaded: bool,
    truncated: bool,
    /// Everything is asked once, and then it is over.
    once: bool,
}

impl Poller {
    /// A poller for one account, that writes into `fleet`.
    pub fn new(
        config: &Config,
        account: config::Account,
        client: Client,
        keys: KeyHolder,
        fleet: AccountHandle,
    ) -> Self {
        let now = Instant::now();
        let poll = &config.poll;
        let intervals = Intervals {
            status: poll.status,
            metrics: poll.metrics,
            destination_health: poll.destination_health,
            transitional: poll.transitional,
            discovery: poll.discovery,
        };
        let mut budget = Budget::new(poll.requests_per_second, now);
        let refused = {
            let mut state = fleet.lock();
            state.stale_after = poll.stale_after;
            state.key_loaded = Some(keys.current().loaded_at);
            state.started.get_or_insert_with(Moment::now);
            state.budget.allowed = poll.requests_per_second;
            // A pause that the API has asked for outlives a change of the configuration.
            if let Some(until) = state.budget.waits_until(Moment::now()) {
                budget.pause(Some(until.monotonic.saturating_duration_since(now)), now, now);
            }
            // Nor are probes the way to find out whether a key that was dead is alive now.
            state.unauthorized.then_some(now)
        };
        let mut poller = Self {
            account,
            shard: config.shard,
            max_pipelines: config.max_pipelines,
            max_in_flight: poll.max_in_flight,
            discovery: poll.discovery,
            client,
            keys,
            fleet,
            pulse: Pulse::new(),
            schedule: Schedule::new(intervals, now),
            budget,
            changes: Changes::default(),
            in_flight: FuturesUnordered::new(),
            urgent: VecDeque::new(),
            listing: None,
            list_due: now,
            list_again: false,
            list_backoff: Backoff::default(),
            listed_pages: None,
            list_failure: None,
            refused,
            told_refused: None,
            not_found: HashSet::new(),
            missed: HashSet::new(),
            overloaded: false,
            truncated: false,
            once: false,
        };
        poller.take_over();
        poller
    }

    /// What a poller before this one has left in the picture goes on being polled, if it is still ours.
    fn take_over(&mut self) {
        let mut state = self.fleet.lock();
        let known: Vec<_> = state.pipelines().cloned().collect();
        for pipeline in known {
            let id = pipeline.id();
            if is_ours(&self.account, self.shard, id, pipeline.listed()) && self.schedule.len() < self.max_pipelines {
                self.schedule.insert(id, self.list_due);
            } else {
                state.forget(id);
            }
        }
    }

    /// Shows whether the poller's loop still turns.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Polls for ever.
    pub async fn run(mut self) {
        self.poll_until(|_| false).await;
    }

    /// Polls until everything has been asked once.
    ///
    /// # Errors
    /// Why the account could not be listed, or that its key was refused.
    pub async fn once(mut self) -> Result<(), Error> {
        self.once = true;
        self.poll_until(Self::all_asked_once).await;
        if self.refused.is_some() {
            return Err(Error::Unauthorized(api::Said::default()));
        }
        self.list_failure.map_or(Ok(()), Err)
    }

    fn all_asked_once(&self) -> bool {
        let idle = self.in_flight.is_empty() && self.urgent.is_empty();
        let asked = self.listed_pages.is_some() && self.schedule.unanswered() == 0;
        // With a key that has just been replaced, another list follows at once, and has the last word.
        let failed = self.list_failure.is_some() && !(self.refused.is_some() && self.list_due <= Instant::now());
        idle && (asked || failed)
    }

    async fn poll_until(&mut self, over: impl Fn(&Self) -> bool) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let key_can_change = matches!(self.keys.source(), KeySource::File(_));
        // At the key's file, which may be on a file system that hangs: nothing else waits for it.
        let mut look = pin!(Fuse::terminated());
        while !over(self) {
            self.pulse.beat();
            let wake = self.send_what_is_due(Instant::now());
            self.publish_budget();
            tokio::select! {
                Some(finished) = self.in_flight.next() => self.finish(finished).await,
                () = sleep_until(wake) => {}
                _ = tick.tick() => if key_can_change && look.is_terminated() { look.set(self.keys.look().fuse()); },
                found = &mut look => { self.take_key(found); }
            }
        }
    }

    /// Sends as much as budget and places allow. Answers when to look again.
    fn send_what_is_due(&mut self, now: Instant) -> Option<Instant> {
        while self.in_flight.len() < self.max_in_flight {
            // Nothing at all to do: wait for an answer or a new key.
            let due = self.next_due(now)?;
            if due > now {
                return Some(due);
            }
            if let Err(later) = self.budget.take(now) {
                return Some(later);
            }
            let job = self.next_job(now)?;
            self.send(job);
        }
        None
    }

    /// When there is something to send.
    fn next_due(&mut self, now: Instant) -> Option<Instant> {
        if !self.urgent.is_empty() {
            return Some(now);
        }
        let list = (self.listing.is_none() && !self.has_listed_enough()).then_some(self.list_due);
        let probe = if self.refused.is_some() { None } else { self.schedule.next_due(now) };
        [list, probe].into_iter().flatten().min()
    }

    fn has_listed_enough(&self) -> bool {
        self.once && self.listed_pages.is_some() && self.refused.is_none()
    }

    fn next_job(&mut self, now: Instant) -> Option<Job> {
        if let Some(job) = self.urgent.pop_front() {
            return Some(job);
        }
        if self.listing.is_none() && self.list_due <= now && !self.has_listed_enough() {
            self.listing = Some(Listing::new(self.max_pipelines, now));
            return Some(Job::ListPage(1));
        }
        if self.refused.is_some() { None } else { self.schedule.pop(now).map(Job::Probe) }
    }

    fn send(&mut self, job: Job) {
        let client = self.client.clone();
        let LoadedKey { key, generation, .. } = self.keys.current().clone();
        self.in_flight.push(Box::pin(async move {
            let sent = Instant::now();
            let request = match &job {
                Job::ListPage(number) => api::Request::Page(*number),
                Job::Probe(Probe { id, endpoint }) => api::Request::Probe(
                    id.clone(),
                    match endpoint {
                        Endpoint::Status => api::Probe::Status,
                        Endpoint::Metrics => api::Probe::Metrics,
                        Endpoint::DestinationHealth | Endpoint::List => api::Probe::DestinationHealth,
                    },
                ),
            };
            let result = match client.send(&key, request).await {
                api::Response::Page(_, page) => page.map(Data::Page),
                api::Response::Probe(_, api::ProbeResponse::Status(status)) => status.map(Data::Status),
                api::Response::Probe(_, api::ProbeResponse::Metrics(metrics)) => metrics.map(Data::Metrics),
                api::Response::Probe(_, api::ProbeResponse::DestinationHealth(health)) => {
                    health.map(Data::DestinationHealth)
                }
            };
            Finished { job, generation, sent, result }
        }));
    }

    async fn finish(&mut self, finished: Finished) {
        let Finished { job, generation, sent, result } = finished;
        let now = Moment::now();
        let of_current_key = generation == self.keys.current().generation;
        let failure = result.as_ref().err().map(Error::reason);
        if failure == Some(Reason::Unauthorized) && !of_current_key {
            // The old key was still on its way when it was replaced: nothing is known about the new one.
            return self.ask_again(job);
        }
        let endpoint = match &job {
            Job::ListPage(_) => Endpoint::List,
            Job::Probe(probe) => probe.endpoint,
        };
        debug!(
            account = self.fleet.name(),
            endpoint = endpoint.as_str(),
            failure = failure.map(Reason::as_str),
            detail = result.as_ref().err().map(ToString::to_string),
            "answer"
        );
        self.fleet.lock().count_request(endpoint, now.monotonic.saturating_duration_since(sent), failure);
        match &result {
            Err(Error::RateLimited { retry_after }) => self.pause(*retry_after, sent, now),
            _ => self.budget.calm(now.monotonic),
        }
        let accepted = match failure {
            None | Some(Reason::Forbidden) => true,
            // A list that is not found is no list of this API's.
            Some(Reason::NotFound) => endpoint != Endpoint::List,
            Some(_) => false,
        };
        // What was sent before the key was refused says nothing about it now.
        if accepted && of_current_key && self.refused.is_none_or(|at| sent >= at) {
            self.accept_key(now);
        }
        if failure == Some(Reason::Forbidden) {
            self.fleet.lock().forbidden_answers += 1;
        }
        let retry = job.clone();
        match job {
            Job::ListPage(_) => self.finish_page(result, now),
            Job::Probe(probe) => self.finish_probe(probe, result, sent, now),
        }
        if failure == Some(Reason::Unauthorized) {
            self.refuse_key(retry, sent, now).await;
        }
    }

    /// Sends a request once more, with the key that is in use now.
    fn ask_again(&mut self, job: Job) {
        match job {
            Job::ListPage(number) => self.urgent.push_back(Job::ListPage(number)),
            Job::Probe(probe) => self.schedule.again(&probe, Instant::now()),
        }
    }

    fn pause(&mut self, retry_after: Option<Duration>, sent: Instant, now: Moment) {
        let before = self.budget.paused_until(now.monotonic).unwrap_or(now.monotonic);
        let until = self.budget.pause(retry_after, sent, now.monotonic);
        let wait = until.saturating_duration_since(now.monotonic);
        self.fleet.lock().budget.paused_until = Some(now.after(wait));
        // Each answer of one wave may lengthen the pause by a little.
        if until > before + Duration::from_millis(250) {
            let asked = retry_after.map(|wait| humantime::format_duration(wait).to_string());
            warn!(
                account = self.fleet.name(),
                retry_after = asked.as_deref().unwrap_or("none"),
                seconds = wait.as_secs_f64(),
                "the API answered 429: polling waits"
            );
        }
    }

    /// Requests per second that all intervals ask for, the list's included.
    fn required(&self) -> f64 {
        self.schedule.required() + f64::from(self.listed_pages.unwrap_or(1)) / self.discovery.as_secs_f64()
    }

    fn warn_of_overload(&mut self) {
        let (required, allowed) = (self.required(), self.fleet.lock().budget.allowed);
        if required > allowed && !self.overloaded {
            warn!(
                account = self.fleet.name(),
                required,
                allowed,
                "the intervals need more requests per second than poll.requests_per_second allows: they are stretched"
            );
        }
        self.overloaded = required > allowed;
    }

    fn finish_probe(&mut self, probe: Probe, result: Result<Data, Error>, sent: Instant, now: Moment) {
        let id = &probe.id;
        if result.is_ok() {
            self.not_found.remove(&probe);
        } else if matches!(result, Err(Error::NotFound(_)))
            && !self.not_found.contains(&probe)
            && self.schedule.contains(id)
        {
            // Its other probes will be answered alike, and one new list is enough.
            self.not_found.extend(Endpoint::PROBES.map(|endpoint| Probe { id: id.clone(), endpoint }));
            self.drop_pipeline(id, "the API answered 404");
            self.list_due = Instant::now();
            self.list_again = self.listing.is_some();
            return;
        }
        let error = result.as_ref().err().cloned();
        let mut state = self.fleet.lock();
        let answer = match result {
            Ok(Data::Status(status)) => {
                state.count_unknown(status.unknown_fields());
                Answer::Status(Ok(status))
            }
            Ok(Data::Metrics(metrics)) => Answer::Metrics(Ok(metrics)),
            Ok(Data::DestinationHealth(health)) => {
                state.count_unknown(health.unknown_fields());
                Answer::DestinationHealth(Ok(health))
            }
            Ok(Data::Page(_)) => return,
            Err(error) => {
                let failure = error.reason();
                match probe.endpoint {
                    Endpoint::Status => Answer::Status(Err(failure)),
                    Endpoint::Metrics => Answer::Metrics(Err(failure)),
                    Endpoint::DestinationHealth | Endpoint::List => Answer::DestinationHealth(Err(failure)),
                }
            }
        };
        let Some(known) = state.pipeline(id).map(|pipeline| Before::of(pipeline)) else { return };
        let Some(before) = state.observe(id, answer, now) else { return };
        let Some(pipeline) = state.pipeline(id).cloned() else { return };
        drop(state);
        self.changes.log(self.fleet.name(), &before, &pipeline, error.as_ref(), now.monotonic);
        let pace = match (pipeline.failure(probe.endpoint), pipeline.summary().phase) {
            (Some(Reason::Forbidden | Reason::NotFound), _) => Pace::Refused,
            (None, Some(phase)) if probe.endpoint == Endpoint::Status && phase.is_transitional() => Pace::Transitional,
            _ => Pace::Normal,
        };
        self.schedule.done(&probe, pace, sent, now.monotonic);
        if known.hints(&before, &pipeline) {
            self.schedule.hasten_others(&probe, now.monotonic);
        }
    }

    fn publish_budget(&mut self) {
        let now = Instant::now();
        let required = self.required();
        let oldest_due = if self.refused.is_some() { None } else { self.schedule.oldest_due(now) };
        let mut state = self.fleet.lock();
        // Written only if it is news: whoever writes makes `/metrics` write everything again.
        if (state.budget.required, state.budget.oldest_due) != (required, oldest_due) {
            (state.budget.required, state.budget.oldest_due) = (required, oldest_due);
        }
    }
}

/// Whether this exporter is to poll the pipeline: by its shard and the account's filters.
fn is_ours(account: &config::Account, shard: config::Shard, id: &PipelineId, pipeline: &api::Pipeline) -> bool {
    shard.owns(id)
        && account.pipeline_ids.matches(id.as_str())
        && account.pipelines.matches(pipeline.name.as_deref().unwrap_or_default())
        && account.projects.matches(pipeline.project.as_deref().unwrap_or_default())
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
