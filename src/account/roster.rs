//! Which pipelines there are, as far as lists tell: paging, truncation, expected pipelines, and when to list again.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::pipeline::Existence;
use super::walk::{Step, Walk};
use super::{Beginning, Since};
use crate::api::{Error, Group, ListPage, ListedPipeline, PipelineId, Reason};
use crate::config::LONGEST;
use crate::moment::Moment;

/// The part of the budget that the list may have while the budget is too small for all. It costs a request for a hundred
/// pipelines: were it stretched like the probes' intervals, new pipelines would be found after hours, and what it says would
/// be too old to be shown most of the time. Lists that are requested out of turn keep to it as well.
const LIST_SHARE: f64 = 1.0 / 20.0;

/// What lists have said, for readers.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    latest: Option<ListSummary>,
    failure: Option<Error>,
    succeeds: Since<bool>,
    unread: Unread,
    /// Of the latest list that succeeded, since when lists say so.
    concerns: BTreeMap<Concern, Beginning>,
    due: Option<Instant>,
}

/// For how long lists have succeeded since the last reading of a pipeline on duty: while they fail, it stands still, and it
/// goes on when they succeed again.
#[derive(Debug, Clone, Copy, Default)]
struct Unread {
    counted: Duration,
    /// Counts on from there; `None` while lists fail.
    since: Option<Moment>,
}

impl Unread {
    fn listed(&mut self, at: Moment) {
        self.since.get_or_insert(at);
    }

    fn list_failed(&mut self, at: Moment) {
        self.counted = self.lasted(at);
        self.since = None;
    }

    fn read(&mut self, at: Moment) {
        self.counted = Duration::ZERO;
        self.since = self.since.map(|_| at);
    }

    fn lasted(&self, now: Moment) -> Duration {
        self.counted.saturating_add(self.since.map(|since| now.since(since)).unwrap_or_default())
    }
}

/// What a whole list has said beyond its pipelines.
#[derive(Debug, Clone, PartialEq)]
pub struct ListSummary {
    /// When it was complete.
    pub at: Moment,
    /// The groups' billing flags, by the group's label.
    pub groups: BTreeMap<String, GroupFlags>,
    /// The expected pipelines, and whether each is missing. One that may be in the part that was not read is not here.
    pub expected: Vec<(PipelineId, bool)>,
    /// There are more pipelines than `max_pipelines`: the others are not polled.
    pub truncated: bool,
}

/// Something that a list says of an account and that calls for a person.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concern {
    /// The expected pipeline of this id is missing.
    Missing(PipelineId),
    /// The group of this label is over its limit.
    OverLimit(String),
    /// The free trial of the group of this label is over.
    TrialExpired(String),
    /// There are more pipelines than `max_pipelines`.
    Truncated,
}

/// The billing flags of a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupFlags {
    /// On a paid plan.
    pub paid: Option<bool>,
    /// Over its plan's limit.
    pub over_limit: Option<bool>,
    /// Its trial is over.
    pub free_trial_expired: Option<bool>,
}

impl GroupFlags {
    /// Adds what another pipeline says of a group of that name; where they differ, trouble wins.
    pub(super) fn merge(&mut self, group: &Group) {
        let either = |a: Option<bool>, b: Option<bool>, pick: fn(bool, bool) -> bool| match (a, b) {
            (Some(a), Some(b)) => Some(pick(a, b)),
            (a, b) => a.or(b),
        };
        self.paid = either(self.paid, group.is_paid, |a, b| a && b);
        self.over_limit = either(self.over_limit, group.is_over_limit, |a, b| a || b);
        self.free_trial_expired = either(self.free_trial_expired, group.is_free_trial_expired, |a, b| a || b);
    }
}

impl ListSummary {
    fn concerns(&self) -> impl Iterator<Item = Concern> {
        let missing = self.expected.iter().filter(|(_, missing)| *missing).map(|(id, _)| Concern::Missing(id.clone()));
        let groups = self.groups.iter().flat_map(|(group, flags)| {
            let over = (flags.over_limit == Some(true)).then(|| Concern::OverLimit(group.clone()));
            // Of a group that has a paid plan by now, the trial is history.
            let expired = flags.free_trial_expired == Some(true) && flags.paid != Some(true);
            let expired = expired.then(|| Concern::TrialExpired(group.clone()));
            over.into_iter().chain(expired)
        });
        missing.chain(groups).chain(self.truncated.then_some(Concern::Truncated))
    }
}

impl Listing {
    /// The latest list that succeeded, however old.
    pub fn latest(&self) -> Option<&ListSummary> {
        self.latest.as_ref()
    }

    /// Why the newest list failed, if it did.
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Whether lists succeed, and since when; nothing is known of it before the first one is over.
    pub fn succeeds(&self) -> &Since<bool> {
        &self.succeeds
    }

    /// For how long lists have succeeded since the last reading of a pipeline on duty.
    pub fn unread_for(&self, now: Moment) -> Duration {
        self.unread.lasted(now)
    }

    /// What the latest list that succeeded says and since when lists say so.
    pub fn concerns(&self) -> impl Iterator<Item = (&Concern, Beginning)> {
        self.concerns.iter().map(|(concern, began)| (concern, *began))
    }

    /// When the next list was to begin, or the one under way to go on.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether the newest list succeeded. One that should have gone on long ago, but for a pause, is not known to.
    pub fn is_up(&self, now: Moment, stale_after: Duration) -> bool {
        let is_overdue = self.due.is_some_and(|due| now.monotonic.saturating_duration_since(due) > stale_after);
        self.latest.is_some() && self.failure.is_none() && !is_overdue
    }

    fn succeeded(&mut self, list: ListSummary) {
        let at = list.at;
        let first = self.latest.is_none();
        let mut before = std::mem::take(&mut self.concerns);
        for concern in list.concerns() {
            let began = before.remove(&concern).unwrap_or(Beginning { at, or_earlier: first });
            self.concerns.insert(concern, began);
        }
        self.failure = None;
        self.succeeds.set(true, at);
        self.unread.listed(at);
        self.latest = Some(list);
    }

    fn failed(&mut self, error: Error, at: Moment) {
        self.failure = Some(error);
        self.succeeds.set(false, at);
        self.unread.list_failed(at);
    }
}

/// What the budget leaves for lists.
#[derive(Debug, Clone, Copy)]
pub(super) struct Supply {
    /// Between two lists, if the budget suffices.
    pub(super) discovery: Duration,
    /// Requests per second that all intervals ask for.
    pub(super) required: f64,
    /// Requests per second that the configuration allows.
    pub(super) allowed: f64,
}

/// What a page leads to.
pub(super) struct Taken {
    /// Pipelines that are new on this page.
    pub(super) listed: Vec<(PipelineId, ListedPipeline)>,
    pub(super) step: Step,
}

/// The list's turns.
#[derive(Debug)]
pub(super) struct Roster {
    listing: Listing,
    walk: Option<Walk>,
    /// When the next walk begins, or since when the one under way could go on.
    due: Instant,
    /// When the newest walk began.
    started: Option<Instant>,
    /// A list was requested while one was under way, which may be past what it is requested for.
    again: bool,
    backoff: Backoff,
    /// Of the latest list that succeeded.
    pages: Option<u32>,
    /// Were missing from the newest list, and stay for now.
    missed: HashSet<PipelineId>,
}

impl Roster {
    pub(super) fn new(backoff: Backoff, now: Instant) -> Self {
        Self {
            listing: Listing::default(),
            walk: None,
            due: now,
            started: None,
            again: false,
            backoff,
            pages: None,
            missed: HashSet::new(),
        }
    }

    /// What readers see.
    pub(super) fn listing(&self) -> Listing {
        Listing { due: Some(self.due), ..self.listing.clone() }
    }

    /// A pipeline on duty has been read.
    pub(super) fn note_reading(&mut self, at: Moment) {
        self.listing.unread.read(at);
    }

    /// Why the newest list failed, if it did.
    pub(super) fn failure(&self) -> Option<&Error> {
        self.listing.failure()
    }

    /// Whether a list has ever succeeded.
    pub(super) fn was_listed(&self) -> bool {
        self.pages.is_some()
    }

    /// How many requests a list takes.
    pub(super) fn pages(&self) -> u32 {
        self.pages.unwrap_or(1)
    }

    /// When the next walk begins; `None` while one is under way.
    pub(super) fn due(&self) -> Option<Instant> {
        self.walk.is_none().then_some(self.due)
    }

    /// A list at once, without a backoff from before: something has changed that earlier failures say nothing about.
    pub(super) fn start_over(&mut self, now: Instant) {
        self.backoff.reset();
        self.due = now;
    }

    /// A list at the next step of the backoff.
    pub(super) fn back_off(&mut self, now: Instant) {
        self.due = now + self.backoff.next();
    }

    /// A list as soon as the list's share of the budget allows.
    pub(super) fn request(&mut self, supply: Supply, now: Instant) {
        if self.walk.is_some() {
            self.again = true;
            return;
        }
        let spacing = seconds(f64::from(self.pages()) / (LIST_SHARE * supply.allowed)).min(supply.discovery);
        let earliest = self.started.map_or(now, |started| started + spacing);
        self.due = self.due.min(earliest.max(now));
    }

    /// A walk begins, whose first page is asked for now.
    pub(super) fn begin(&mut self, most: usize, now: Instant) {
        self.walk = Some(Walk::new(most, now));
        self.started = Some(now);
    }

    /// A walk that was under way cannot be completed: another one begins at once.
    pub(super) fn abandon_walk(&mut self, now: Instant) {
        self.walk = None;
        self.due = now;
    }

    /// Nothing else is expected from now on.
    pub(super) fn expect_only(&mut self, expect: &[PipelineId]) {
        if let Some(list) = &mut self.listing.latest {
            list.expected.retain(|(id, _)| expect.contains(id));
        }
        self.listing.concerns.retain(|concern, _| !matches!(concern, Concern::Missing(id) if !expect.contains(id)));
    }

    /// Forgets which others were missing.
    pub(super) fn keep_missed(&mut self, is_wanted: impl Fn(&PipelineId) -> bool) {
        self.missed.retain(is_wanted);
    }

    #[cfg(test)]
    pub(super) fn missed(&self) -> impl Iterator<Item = &PipelineId> {
        self.missed.iter()
    }

    /// Takes a page of the walk that is under way; `None` if none is.
    ///
    /// # Errors
    /// What is wrong with the page.
    pub(super) fn take(&mut self, page: ListPage, now: Instant) -> Option<Result<Taken, Error>> {
        let taken = self.walk.as_mut()?.take(page);
        self.due = now;
        Some(taken.map(|(listed, step)| Taken { listed, step }))
    }

    /// The walk has come to its end. Returns the pipelines that are gone; `known` are those that were known before.
    pub(super) fn gone<'a>(
        &mut self,
        whole: bool,
        truncated: bool,
        known: impl Iterator<Item = (&'a PipelineId, Existence)>,
    ) -> Vec<PipelineId> {
        let Some(walk) = &self.walk else { return Vec::new() };
        let unseen = known.filter(|(id, _)| !walk.seen.contains(*id));
        if truncated || walk.without_id > 0 {
            // What a list hides is not gone, unless the probes say so as well.
            let gone = unseen.filter(|(_, existence)| *existence == Existence::NotFound);
            return gone.map(|(id, _)| id.clone()).collect();
        }
        self.missed.retain(|id| !walk.seen.contains(id));
        let mut gone = Vec::new();
        for (id, existence) in unseen {
            let missed_before = !self.missed.insert(id.clone());
            // Between two pages, one may be deleted and another one made: then the count fits, and yet paging has
            // skipped a third. One that answers is still there, unless it is missing again.
            let is_gone = match (whole, missed_before) {
                (true, true) => true,
                (true, false) | (false, true) => existence != Existence::Answers,
                (false, false) => false,
            };
            if is_gone {
                self.missed.remove(id);
                gone.push(id.clone());
            }
        }
        gone
    }

    /// The expected pipelines, and whether each is missing: not listed, and not among those that stay for now. If the list
    /// may hide one (truncated, or entries without an id), nothing is said of it, unless it was missing before.
    pub(super) fn expected<'a>(
        &mut self,
        whole: bool,
        truncated: bool,
        expect: impl Iterator<Item = &'a PipelineId>,
        is_known: impl Fn(&PipelineId) -> bool,
    ) -> Vec<(PipelineId, bool)> {
        let Some(walk) = &self.walk else { return Vec::new() };
        let may_hide = truncated || walk.without_id > 0;
        let was_missing: HashSet<PipelineId> = self
            .listing
            .latest
            .iter()
            .flat_map(|list| &list.expected)
            .filter(|(_, was)| *was)
            .map(|(id, _)| id.clone())
            .collect();
        let mut expected = Vec::new();
        for id in expect {
            if walk.seen.contains(id) || is_known(id) {
                expected.push((id.clone(), false));
            } else if was_missing.contains(id) {
                expected.push((id.clone(), true));
            } else if !may_hide {
                let missed_before = !self.missed.insert(id.clone());
                // A count that never fits must not hide it for ever.
                if whole || missed_before {
                    expected.push((id.clone(), true));
                }
            }
        }
        expected
    }

    /// The walk has come to its end. Returns whether the list before it failed, and how many entries had no usable id.
    pub(super) fn complete(
        &mut self,
        expected: Vec<(PipelineId, bool)>,
        truncated: bool,
        supply: Supply,
        now: Moment,
    ) -> Completed {
        let Some(walk) = self.walk.take() else { return Completed::default() };
        let completed = Completed {
            was_failing: !self.listing.succeeds.state(),
            newly_truncated: truncated && !self.listing.latest.as_ref().is_some_and(|list| list.truncated),
            without_id: walk.without_id,
        };
        self.listing.succeeded(ListSummary { at: now, groups: walk.groups, expected, truncated });
        self.pages = Some(walk.pages);
        self.backoff.reset();
        self.due = self.next(walk.started, supply, now.monotonic);
        if std::mem::take(&mut self.again) {
            self.request(supply, now.monotonic);
        }
        completed
    }

    /// The walk has failed. Returns whether that is news: the list before it succeeded, or failed for another reason.
    pub(super) fn fail(&mut self, error: Error, supply: Supply, now: Moment) -> bool {
        let started = self.walk.take().map_or(now.monotonic, |walk| walk.started);
        let reason = error.reason();
        let is_news = self.listing.failure.as_ref().map(Error::reason) != Some(reason);
        self.listing.failed(error, now);
        self.again = false;
        // As long as nothing has been listed, and while the credential is refused, waiting for the next turn
        // would only cost time.
        let soon = !self.was_listed() || matches!(reason, Reason::Unauthorized | Reason::Forbidden);
        if soon {
            self.back_off(now.monotonic);
        } else {
            // Not stretched: one failure must not stand for an outage. A list that fails late still leaves half of the time.
            let took = now.monotonic.saturating_duration_since(started);
            let soonest = now.monotonic + supply.discovery.max(took);
            self.due = self.next(started, supply, now.monotonic).min(soonest);
        }
        is_news
    }

    /// When the next list begins: stretched like the probes' intervals, but no further than its share of the budget asks
    /// for, and after one that took long, as long again: lists take half of the time at most. One that a pause held up
    /// for hours does not hold up the next.
    fn next(&self, started: Instant, supply: Supply, now: Instant) -> Instant {
        let discovery = supply.discovery.as_secs_f64();
        let stretched = discovery * (supply.required / supply.allowed).max(1.0);
        let share = f64::from(self.pages()) / (LIST_SHARE * supply.allowed);
        let interval = seconds(stretched.min(share).max(discovery));
        let took = now.saturating_duration_since(started);
        (started + interval).max(now + took.min(interval))
    }
}

/// What a completed list means for the log.
#[derive(Debug, Default)]
pub(super) struct Completed {
    pub(super) was_failing: bool,
    pub(super) newly_truncated: bool,
    /// Entries without an id that could be asked for.
    pub(super) without_id: usize,
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Supply = Supply { discovery: Duration::from_secs(60), required: 2_700.0, allowed: 4.0 };

    fn roster(now: Instant) -> Roster {
        Roster::new(Backoff::new(fastrand::Rng::with_seed(1)), now)
    }

    fn list(roster: &mut Roster, json: &str, expect: &[PipelineId], now: Moment) -> Vec<(PipelineId, bool)> {
        roster.begin(100, now.monotonic);
        let page = serde_json::from_str(json).unwrap();
        let Taken { step, .. } = roster.take(page, now.monotonic).unwrap().unwrap();
        let Step::End { whole, truncated } = step else { panic!("{step:?}") };
        let expected = roster.expected(whole, truncated, expect.iter(), |_| false);
        roster.complete(expected.clone(), truncated, SMALL, now);
        expected
    }

    #[test]
    fn a_reading_while_lists_fail_counts_as_one() {
        let start = Moment::now();
        let at = |seconds| start.after(Duration::from_secs(seconds));
        let mut unread = Unread::default();
        unread.listed(at(0));
        unread.list_failed(at(100));
        assert_eq!(unread.lasted(at(150)), Duration::from_secs(100), "it stands still");
        unread.read(at(150));
        assert_eq!(unread.lasted(at(160)), Duration::ZERO);
        unread.listed(at(200));
        assert_eq!(unread.lasted(at(210)), Duration::from_secs(10));
    }

    #[test]
    fn a_list_that_failed_once_follows_after_one_interval_however_small_the_budget() {
        let now = Moment::now();
        let mut roster = roster(now.monotonic);
        roster.pages = Some(201);
        let wait = roster.next(now.monotonic, SMALL, now.monotonic) - now.monotonic;
        assert_eq!(wait, Duration::from_secs(1_005), "201 pages are a twentieth of 4 requests per second");
        roster.begin(20_000, now.monotonic);
        assert!(roster.fail(Error::of_status(502).unwrap(), SMALL, now));
        assert_eq!(roster.due - now.monotonic, SMALL.discovery);
        let late = now.after(Duration::from_secs(500));
        roster.begin(20_000, now.monotonic);
        assert!(!roster.fail(Error::of_status(502).unwrap(), SMALL, late), "no news");
        assert_eq!(roster.due - late.monotonic, Duration::from_secs(500), "half of the time");
    }

    #[test]
    fn a_list_that_is_requested_comes_at_once_and_keeps_to_its_share() {
        let now = Moment::now();
        let mut roster = roster(now.monotonic);
        list(&mut roster, r#"{"items":[],"pagination":{"has_more":false}}"#, &[], now);
        let later = now.monotonic + Duration::from_secs(30);
        roster.request(SMALL, later);
        assert_eq!(roster.due(), Some(later));
        roster.begin(100, later);
        roster.request(SMALL, later);
        assert_eq!(roster.due(), None, "one is under way, and another one follows");
        roster.take(serde_json::from_str(r#"{"items":[]}"#).unwrap(), later).unwrap().unwrap();
        roster.complete(Vec::new(), false, SMALL, now.after(Duration::from_secs(30)));
        assert_eq!(
            roster.due(),
            Some(later + Duration::from_secs(5)),
            "one page in 5 s is a twentieth of 4 per second"
        );
    }

    #[test]
    fn an_expected_pipeline_that_is_missing_stays_so_while_a_list_hides_something() {
        let now = Moment::now();
        let mut roster = roster(now.monotonic);
        let [one, nine] = ["pipe_1", "pipe_9"].map(|id| PipelineId::new(id).unwrap());
        let expect = [one.clone(), nine.clone()];
        let mut expected = |items: &str| {
            list(&mut roster, &format!(r#"{{"items":[{items}],"pagination":{{"has_more":false}}}}"#), &expect, now)
        };
        let (there, gone) = ((one, false), (nine.clone(), true));
        let hides = r#"{"id":"pipe_1"},{"id":null}"#;
        assert_eq!(expected(hides), std::slice::from_ref(&there), "it may be the one without an id");
        assert_eq!(expected(r#"{"id":"pipe_1"}"#), [there.clone(), gone.clone()]);
        assert_eq!(expected(hides), [there.clone(), gone]);
        assert_eq!(expected(r#"{"id":"pipe_1"},{"id":"pipe_9"}"#), [there, (nine, false)]);
    }

    #[test]
    fn a_pipeline_vanishes_when_a_whole_list_lacks_it_and_its_probes_do_not_contradict() {
        let now = Moment::now();
        let id = PipelineId::new("pipe_1").unwrap();
        let empty = r#"{"items":[],"pagination":{"has_more":false}}"#;
        let gone = |roster: &mut Roster, existence| {
            roster.begin(100, now.monotonic);
            roster.take(serde_json::from_str(empty).unwrap(), now.monotonic).unwrap().unwrap();
            let gone = roster.gone(true, false, [(&id, existence)].into_iter());
            roster.complete(Vec::new(), false, SMALL, now);
            gone.len()
        };
        assert_eq!(gone(&mut roster(now.monotonic), Existence::NotFound), 1);
        assert_eq!(gone(&mut roster(now.monotonic), Existence::Unclear), 1);
        let mut roster = roster(now.monotonic);
        assert_eq!(gone(&mut roster, Existence::Answers), 0, "paging may have skipped it");
        assert_eq!(gone(&mut roster, Existence::Answers), 1, "twice is enough");
    }
}
