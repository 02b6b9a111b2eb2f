//! What lists say of the pipelines, and what follows.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{Data, Job, Poller, is_ours};
use crate::api::{self, Endpoint, Error, PipelineId, UnknownField};
use crate::config;
use crate::fleet::{ListSummary, Moment};
use crate::poll::listing::{Listing, Step};

/// The part of the budget that the list may have while the budget is too small for all. It costs a request for a hundred
/// pipelines: were it stretched like the probes' intervals, new pipelines would be found after hours, and what it says would
/// be too old to be shown most of the time.
const LIST_SHARE: f64 = 1.0 / 20.0;

impl Poller {
    pub(super) fn finish_page(&mut self, result: Result<Data, Error>, now: Moment) {
        let Some(mut listing) = self.listing.take() else { return };
        let page = match result {
            Ok(Data::Page(page)) => page,
            Ok(_) => return,
            Err(error) => return self.list_failed(&listing, error, now),
        };
        match listing.take(page) {
            Err(error) => {
                self.fleet.lock().failures[Endpoint::List as usize][error.reason() as usize] += 1;
                self.list_failed(&listing, error, now);
            }
            Ok((new, step)) => {
                for (id, pipeline) in new {
                    self.take_in(id, pipeline, now);
                }
                match step {
                    Step::NextPage(number) => {
                        self.urgent.push_back(Job::ListPage(number));
                        self.listing = Some(listing);
                    }
                    Step::End { whole, truncated } => self.list_complete(listing, whole, truncated, now),
                }
            }
        }
    }

    /// A pipeline as the list shows it: polled, if it is one of ours.
    fn take_in(&mut self, id: PipelineId, pipeline: api::Pipeline, now: Moment) {
        let ours = is_ours(&self.account, self.shard, &id, &pipeline);
        let mut state = self.fleet.lock();
        state.count_unknown(pipeline.unknown_fields());
        if !ours {
            state.forget(&id);
            self.schedule.remove(&id);
        } else if self.schedule.contains(&id) || self.schedule.len() < self.max_pipelines {
            let before = state.observe_listed(&id, pipeline, now);
            let after = state.pipeline(&id).cloned();
            drop(state);
            self.schedule.insert(&id, now.monotonic);
            match (before, after) {
                (Some(before), Some(after)) => {
                    self.changes.log(self.fleet.name(), &before, &after, None, now.monotonic);
                }
                (None, Some(new)) if self.listed_pages.is_some() => {
                    let name = new.listed().name.as_deref().unwrap_or_default();
                    info!(account = self.fleet.name(), pipeline_id = id.as_str(), pipeline = name, "pipeline is new");
                }
                _ => {}
            }
        }
    }

    fn list_complete(&mut self, listing: Listing, whole: bool, truncated: bool, now: Moment) {
        let Listing { started, pages, seen, groups, without_id, .. } = listing;
        if truncated && !self.truncated {
            warn!(
                account = self.fleet.name(),
                max_pipelines = self.max_pipelines,
                "there are more pipelines than max_pipelines: the others are not polled"
            );
        }
        self.truncated = truncated;
        if truncated {
            // What is not polled is not shown, even if it was polled before max_pipelines was lowered.
            let mut state = self.fleet.lock();
            let beyond = state.pipelines().map(|pipeline| pipeline.id()).filter(|id| !self.schedule.contains(id));
            for id in beyond.cloned().collect::<Vec<_>>() {
                state.forget(&id);
            }
        } else if without_id == 0 {
            let unseen: Vec<PipelineId> = {
                let state = self.fleet.lock();
                let ids = state.pipelines().map(|pipeline| pipeline.id());
                ids.filter(|id| !seen.contains(*id)).cloned().collect()
            };
            self.missed.retain(|id| !seen.contains(id));
            for id in unseen {
                let missed_before = !self.missed.insert(id.clone());
                // Between two pages, one may be deleted and another one made: then the count fits, and yet paging has
                // skipped a third. One that answers is still there, unless it is missing again.
                let answers = || self.fleet.lock().pipeline(&id).is_some_and(|pipeline| pipeline.answers());
                let gone = match (whole, missed_before) {
                    (true, true) => true,
                    (true, false) | (false, true) => !answers(),
                    (false, false) => false,
                };
                if gone {
                    self.drop_pipeline(&id, "it is not listed any more");
                }
            }
        }
        self.not_found.retain(|probe| seen.contains(&probe.id));
        let could_hide = truncated || without_id > 0;
        let expected = self.expected(&seen, whole, could_hide);
        let was_up = {
            let mut state = self.fleet.lock();
            state.count_unknown(std::iter::repeat_n(UnknownField::Id, without_id));
            state.list_succeeded(ListSummary { at: now, groups, expected, truncated })
        };
        if !was_up {
            info!(account = self.fleet.name(), pipelines = self.schedule.len(), "the list of pipelines succeeds");
        }
        self.list_failure = None;
        self.listed_pages = Some(pages);
        self.list_backoff.reset();
        self.warn_of_overload();
        self.list_due = self.next_list(started, now.monotonic);
        if std::mem::take(&mut self.list_again) {
            self.list_due = now.monotonic;
        }
    }

    /// The expected pipelines, and whether each is missing: not listed, and not among those that stay for now. Of one that
    /// could hide in what a list does not tell, nothing is said, unless it was missing before.
    fn expected(&mut self, seen: &HashSet<PipelineId>, whole: bool, could_hide: bool) -> Vec<(String, bool)> {
        let state = self.fleet.lock();
        let mut expected = Vec::new();
        for id in self.account.expect.iter().filter(|id| self.shard.owns(id)) {
            let is_there = seen.contains(id) || state.pipeline(id).is_some();
            let was_missing =
                state.list.iter().flat_map(|list| &list.expected).any(|(of, was)| *was && of == id.as_str());
            // A count that never fits must not hide it for ever.
            let mut shows = || !could_hide && (!self.missed.insert(id.clone()) || whole);
            let missing = !is_there && (was_missing || shows());
            if is_there || missing {
                expected.push((id.to_string(), missing));
            }
        }
        expected
    }

    pub(super) fn list_failed(&mut self, listing: &Listing, error: Error, now: Moment) {
        let was_forbidden = self.fleet.lock().list_failed(error.reason(), now);
        let account = self.fleet.name();
        // Of a refused key, `refuse_key` tells.
        if self.list_failure.as_ref().map(Error::reason) != Some(error.reason())
            && !matches!(error, Error::Unauthorized(_))
        {
            if matches!(error, Error::Forbidden(_)) && !was_forbidden {
                error!(account, source = %self.keys.source(), "the list of pipelines fails: {}", error.of_list());
            } else {
                let reason = error.reason().as_str();
                warn!(account, reason, "the list of pipelines fails: {}", error.of_list());
            }
        }
        // As long as nothing has been listed, and while the credential is refused, waiting for the next turn
        // would only cost time.
        let soon = self.listed_pages.is_none() || matches!(error, Error::Unauthorized(_) | Error::Forbidden(_));
        self.list_due = if soon {
            now.monotonic + self.list_backoff.next()
        } else {
            // Not stretched: one failure must not stand for an outage. A list that fails late still leaves half of the time.
            let took = now.monotonic.saturating_duration_since(listing.started);
            self.next_list(listing.started, now.monotonic).min(now.monotonic + self.discovery.max(took))
        };
        self.list_failure = Some(error);
    }

    /// When the next list begins: stretched like the probes' intervals, but no further than its share of the budget asks
    /// for, and never for more than half of the time.
    pub(super) fn next_list(&self, started: Instant, now: Instant) -> Instant {
        let allowed = self.fleet.lock().budget.allowed;
        let pages = f64::from(self.listed_pages.unwrap_or(1));
        let discovery = self.discovery.as_secs_f64();
        let stretched = discovery * (self.required() / allowed).max(1.0);
        let seconds = stretched.min(pages / (LIST_SHARE * allowed)).max(discovery);
        let interval = Duration::try_from_secs_f64(seconds).unwrap_or(config::LONGEST).min(config::LONGEST);
        let took = now.saturating_duration_since(started);
        (started + interval).max(now + took)
    }

    pub(super) fn drop_pipeline(&mut self, id: &PipelineId, why: &str) {
        let mut state = self.fleet.lock();
        let name = state.pipeline(id).and_then(|pipeline| pipeline.listed().name.clone()).unwrap_or_default();
        state.forget(id);
        drop(state);
        self.schedule.remove(id);
        self.missed.remove(id);
        info!(account = self.fleet.name(), pipeline_id = id.as_str(), pipeline = &*name, "pipeline is gone: {why}");
    }
}
