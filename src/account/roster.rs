//! Which pipelines exist, according to lists: paging, truncation, expected pipelines, and when to list again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::pipeline::Existence;
use super::walk::{Extent, Step, Walk};
use super::{Beginning, Since};
use crate::api::{Error, Group, ListPage, ListedPipeline, PipelineId, Reason};
use crate::config::LONGEST;
use crate::moment::Moment;

/// The list's part of a budget that is too small for everything. It costs one request per hundred pipelines: if it were
/// stretched like the probes' intervals, new pipelines would be found after hours, and its data would be stale most of
/// the time. Lists that are requested out of turn stay within it, too.
const LIST_SHARE: f64 = 1.0 / 20.0;

/// The results of lists, for readers.
#[derive(Debug, Clone)]
pub struct Listing {
    latest: Option<ListSummary>,
    failure: Option<Error>,
    succeeds: Since<bool>,
    unread: Unread,
    /// The concerns of the latest successful list, and since when lists report them.
    concerns: BTreeMap<Concern, Beginning>,
    /// When the next list begins, or since when the current one could continue.
    due: Instant,
}

/// For how long lists have succeeded since the last reading of a pipeline on duty. The count stops while lists fail,
/// and continues when they succeed again.
#[derive(Debug, Clone, Copy, Default)]
struct Unread {
    counted: Duration,
    /// The count continues from here; `None` while lists fail.
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

/// What a complete list says besides its pipelines.
#[derive(Debug, Clone, PartialEq)]
pub struct ListSummary {
    /// When it was complete.
    pub at: Moment,
    /// The number of its pages.
    pub pages: u32,
    /// As this list says them.
    pub groups: Groups,
    /// The expected pipelines, and whether each is missing. Those that may be in the unread part are left out.
    pub expected: Vec<(PipelineId, bool)>,
    /// There are more pipelines than `max_pipelines`; the others are not polled.
    pub truncated: bool,
}

/// Something in a list that an operator should act on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concern {
    /// An expected pipeline is missing.
    Missing(PipelineId),
    /// The group with this label is over its limit.
    OverLimit(String),
    /// The free trial of the group with this label has expired.
    TrialExpired(String),
    /// There are more pipelines than `max_pipelines`.
    Truncated,
}

/// By the group's label.
type Groups = BTreeMap<String, GroupFlags>;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupFlags {
    pub paid: Option<bool>,
    pub over_limit: Option<bool>,
    pub free_trial_expired: Option<bool>,
}

impl GroupFlags {
    fn by_label<'a>(groups: impl Iterator<Item = &'a Group>) -> Groups {
        let mut flags = Groups::new();
        groups.for_each(|group| flags.entry(group.label().to_owned()).or_default().merge(group));
        flags
    }

    /// Adds another pipeline's flags of the same group; if they differ, the worse value wins.
    pub(super) fn merge(&mut self, group: &Group) {
        let either = |a: Option<bool>, b: Option<bool>, pick: fn(bool, bool) -> bool| match (a, b) {
            (Some(a), Some(b)) => Some(pick(a, b)),
            (a, b) => a.or(b),
        };
        self.paid = either(self.paid, group.is_paid, |a, b| a && b);
        self.over_limit = either(self.over_limit, group.is_over_limit, |a, b| a || b);
        self.free_trial_expired = either(self.free_trial_expired, group.is_free_trial_expired, |a, b| a || b);
    }

    fn or(self, earlier: Self) -> Self {
        Self {
            paid: self.paid.or(earlier.paid),
            over_limit: self.over_limit.or(earlier.over_limit),
            free_trial_expired: self.free_trial_expired.or(earlier.free_trial_expired),
        }
    }
}

impl ListSummary {
    /// `known_groups` are the groups with what earlier lists said.
    fn concerns(&self, known_groups: &Groups) -> impl Iterator<Item = Concern> {
        let missing = self.expected.iter().filter(|(_, missing)| *missing).map(|(id, _)| Concern::Missing(id.clone()));
        let groups = known_groups.iter().flat_map(|(group, flags)| {
            let over = (flags.over_limit == Some(true)).then(|| Concern::OverLimit(group.clone()));
            // If the group has a paid plan, its trial does not matter.
            let expired = flags.free_trial_expired == Some(true) && flags.paid != Some(true);
            let expired = expired.then(|| Concern::TrialExpired(group.clone()));
            over.into_iter().chain(expired)
        });
        missing.chain(groups).chain(self.truncated.then_some(Concern::Truncated))
    }
}

impl Listing {
    fn new(due: Instant) -> Self {
        Self {
            latest: None,
            failure: None,
            succeeds: Since::default(),
            unread: Unread::default(),
            concerns: BTreeMap::new(),
            due,
        }
    }

    /// The latest successful list, however old.
    pub fn latest(&self) -> Option<&ListSummary> {
        self.latest.as_ref()
    }

    /// Why the newest list failed, if it did.
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Whether lists succeed. Unknown until the first one has finished.
    pub fn succeeds(&self) -> &Since<bool> {
        &self.succeeds
    }

    /// For how long lists have succeeded since the last reading of a pipeline on duty.
    pub fn unread_for(&self, now: Moment) -> Duration {
        self.unread.lasted(now)
    }

    /// The concerns of the latest successful list, and since when lists report them.
    pub fn concerns(&self) -> impl Iterator<Item = (&Concern, Beginning)> {
        self.concerns.iter().map(|(concern, began)| (concern, *began))
    }

    /// When the next list is due, or the next page of the current one.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Whether the newest list succeeded. False if the current one is overdue, for example because of a pause.
    pub fn is_up(&self, now: Moment, stale_after: Duration) -> bool {
        let is_overdue = now.monotonic().saturating_duration_since(self.due) > stale_after;
        self.latest.is_some() && self.failure.is_none() && !is_overdue
    }

    fn succeeded(&mut self, list: ListSummary, known_groups: &Groups) {
        let at = list.at;
        let first = self.latest.is_none();
        let mut before = std::mem::take(&mut self.concerns);
        for concern in list.concerns(known_groups) {
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

/// The share of the budget that lists may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Supply {
    /// Between two lists, if the budget suffices.
    pub(super) discovery: Duration,
    /// Requests per second that all intervals need.
    pub(super) required: f64,
    /// Requests per second that the configuration allows.
    pub(super) allowed: f64,
}

/// The result of a page.
pub(super) struct Taken {
    /// Pipelines that no earlier page contained.
    pub(super) listed: Vec<(PipelineId, ListedPipeline)>,
    pub(super) step: Step,
}

/// The schedule and the state of the list.
#[derive(Debug)]
pub(super) struct Roster {
    listing: Listing,
    walk: Option<Walk>,
    /// When the newest walk began.
    started: Option<Instant>,
    backoff: Backoff,
    /// Pipelines that were missing from the newest list, but stay for now.
    missed: HashSet<PipelineId>,
    /// The group of each pipeline in the newest list; if that lacks it, the one that an earlier list named.
    group_of: HashMap<PipelineId, Option<Group>>,
    /// The flags of these groups, as they were said last.
    groups: Groups,
}

impl Roster {
    pub(super) fn new(backoff: Backoff, now: Instant) -> Self {
        Self {
            listing: Listing::new(now),
            walk: None,
            started: None,
            backoff,
            missed: HashSet::new(),
            group_of: HashMap::new(),
            groups: Groups::new(),
        }
    }

    /// A snapshot for readers.
    pub(super) fn listing(&self) -> Listing {
        self.listing.clone()
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
        self.listing.latest.is_some()
    }

    /// How many requests a list needs.
    pub(super) fn pages(&self) -> u32 {
        self.listing.latest.as_ref().map_or(1, |list| list.pages)
    }

    /// When the next walk begins; `None` during a walk.
    pub(super) fn due(&self) -> Option<Instant> {
        self.walk.is_none().then_some(self.listing.due)
    }

    /// Lists at once and resets the backoff: something has changed, so that earlier failures do not matter. A list
    /// under way may be of before the change, so that another one follows it.
    pub(super) fn start_over(&mut self, now: Instant) {
        self.backoff.reset();
        self.listing.due = now;
        if let Some(walk) = &mut self.walk {
            walk.again = true;
        }
    }

    /// Lists after the next step of the backoff.
    pub(super) fn back_off(&mut self, now: Instant) {
        self.listing.due = now + self.backoff.next();
    }

    /// Lists as soon as the list's share of the budget allows.
    pub(super) fn request(&mut self, supply: Supply, now: Instant) {
        if let Some(walk) = &mut self.walk {
            walk.again = true;
            return;
        }
        let spacing = seconds(f64::from(self.pages()) / (LIST_SHARE * supply.allowed)).min(supply.discovery);
        let earliest = self.started.map_or(now, |started| started + spacing);
        self.listing.due = self.listing.due.min(earliest.max(now));
    }

    /// Starts a walk; the caller requests its first page now.
    pub(super) fn begin(&mut self, most: usize, now: Instant) {
        self.walk = Some(Walk::new(most));
        self.started = Some(now);
    }

    /// Drops a walk that cannot be completed; another one begins at once.
    pub(super) fn abandon_walk(&mut self, now: Instant) {
        self.walk = None;
        self.listing.due = now;
    }

    /// Drops what is known about pipelines that are no longer expected.
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

    /// Processes a page of the current walk; `None` if there is none.
    ///
    /// # Errors
    /// What is wrong with the page.
    pub(super) fn take(&mut self, page: ListPage, now: Instant) -> Option<Result<Taken, Error>> {
        let taken = self.walk.as_mut()?.take(page);
        self.listing.due = now;
        Some(taken.map(|(listed, step)| Taken { listed, step }))
    }

    /// The walk has ended. Returns the pipelines that are gone; `known` are those that were known before.
    pub(super) fn gone(&mut self, extent: Extent, known: Vec<(&PipelineId, Existence)>) -> Vec<PipelineId> {
        let Some(walk) = &self.walk else { return Vec::new() };
        // The limit may be lower since a reload.
        let excess = known.len().saturating_sub(walk.most);
        let unseen = known.into_iter().filter(|(id, _)| !walk.seen.contains_key(*id));
        if walk.may_hide(extent) {
            // Pipelines that a list may hide are not gone, unless a probe says so or there are too many.
            let (mut gone, hidden): (Vec<_>, Vec<_>) =
                unseen.partition(|(_, existence)| *existence == Existence::NotFound);
            let excess = excess.saturating_sub(gone.len());
            gone.extend(hidden.into_iter().take(excess));
            return gone.into_iter().map(|(id, _)| id.clone()).collect();
        }
        self.missed.retain(|id| !walk.seen.contains_key(id));
        let mut gone = Vec::new();
        for (id, existence) in unseen {
            let missed_before = !self.missed.insert(id.clone());
            let is_gone = match extent {
                // Between two pages, a pipeline may be deleted and another one created: then the count fits, although
                // paging has skipped a third one. A pipeline that still responds stays, unless it is missing again.
                Extent::Whole => missed_before || existence != Existence::Answers,
                // Of an API that is partly down, neither lists nor probes say what exists. But the total may never fit.
                Extent::Partial | Extent::Truncated => {
                    missed_before && matches!(existence, Existence::NotFound | Existence::Forbidden)
                }
            };
            if is_gone {
                gone.push(id.clone());
            }
        }
        gone
    }

    /// The expected pipelines, and whether each is missing: not listed, and not among those that stay for now. If the
    /// list may hide one (truncated, or entries without an id), it is left out, unless it was missing before.
    pub(super) fn expected<'a>(
        &mut self,
        extent: Extent,
        expect: impl Iterator<Item = &'a PipelineId>,
        is_known: impl Fn(&PipelineId) -> bool,
    ) -> Vec<(PipelineId, bool)> {
        let Some(walk) = &self.walk else { return Vec::new() };
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
            if walk.seen.contains_key(id) || is_known(id) {
                expected.push((id.clone(), false));
            } else if was_missing.contains(id) {
                expected.push((id.clone(), true));
            } else if !walk.may_hide(extent) {
                let missed_before = !self.missed.insert(id.clone());
                // A count that never fits must not hide it forever.
                if extent == Extent::Whole || missed_before {
                    expected.push((id.clone(), true));
                }
            }
        }
        expected
    }

    /// The walk has ended. Returns whether the previous list failed, and how many entries had no usable id.
    pub(super) fn complete(
        &mut self,
        expected: Vec<(PipelineId, bool)>,
        extent: Extent,
        supply: Supply,
        now: Moment,
    ) -> Completed {
        let Some(walk) = self.walk.take() else { return Completed::default() };
        let (pages, again) = (walk.pages, walk.again);
        let truncated = extent == Extent::Truncated;
        let completed = Completed {
            was_failing: !self.listing.succeeds.state(),
            newly_truncated: truncated && !self.listing.latest.as_ref().is_some_and(|list| list.truncated),
            without_id: walk.without_id.len(),
        };
        let groups = GroupFlags::by_label(walk.groups());
        self.remember_groups(walk);
        self.listing.succeeded(ListSummary { at: now, pages, groups, expected, truncated }, &self.groups);
        self.backoff.reset();
        self.listing.due = self.next(supply, now.monotonic());
        if again {
            self.request(supply, now.monotonic());
        }
        completed
    }

    /// A group or a flag that the list lacks is the one that was said last.
    fn remember_groups(&mut self, mut walk: Walk) {
        for (id, group) in &mut walk.seen {
            if let Some(earlier) = self.group_of.remove(id).flatten() {
                group.get_or_insert_default().keep_label(earlier);
            }
        }
        let mut groups = GroupFlags::by_label(walk.groups());
        for (label, flags) in &mut groups {
            if let Some(earlier) = self.groups.get(label) {
                *flags = flags.or(*earlier);
            }
        }
        self.groups = groups;
        self.group_of = walk.seen;
    }

    /// The walk has failed. Returns whether that is news: the previous list succeeded or failed for another reason.
    pub(super) fn fail(&mut self, error: Error, supply: Supply, now: Moment) -> bool {
        self.walk = None;
        let reason = error.reason();
        let is_news = self.listing.failure.as_ref().map(Error::reason) != Some(reason);
        self.listing.failed(error, now);
        // Before the first successful list, and while the credential is refused, waiting for the next turn would only
        // cost time.
        let soon = !self.was_listed() || matches!(reason, Reason::Unauthorized | Reason::Forbidden);
        if soon {
            self.back_off(now.monotonic());
        } else {
            // Not stretched: one failure must not look like an outage. A list that fails late still leaves half of the
            // time.
            let soonest = now.monotonic() + supply.discovery.max(self.took(now.monotonic()));
            self.listing.due = self.next(supply, now.monotonic()).min(soonest);
        }
        is_news
    }

    /// When the next list begins. The interval is stretched like the probes' intervals, but only until the list's share
    /// of the budget suffices. After a long list follows a break of equal length, so that lists take at most half of
    /// the time. A list that was paused for hours does not delay the next one.
    fn next(&self, supply: Supply, now: Instant) -> Instant {
        let discovery = supply.discovery.as_secs_f64();
        let stretched = discovery * supply.required / supply.allowed;
        let share = f64::from(self.pages()) / (LIST_SHARE * supply.allowed);
        let interval = seconds(stretched.min(share).max(discovery));
        let took = self.took(now);
        now + interval.saturating_sub(took).max(took.min(interval))
    }

    /// The time since the newest walk began.
    fn took(&self, now: Instant) -> Duration {
        self.started.map(|started| now.saturating_duration_since(started)).unwrap_or_default()
    }
}

/// The news in a complete list, for the log.
#[derive(Debug, Default)]
pub(super) struct Completed {
    pub(super) was_failing: bool,
    pub(super) newly_truncated: bool,
    /// Entries without an id that a request can name.
    pub(super) without_id: usize,
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SMALL: Supply = Supply { discovery: Duration::from_secs(60), required: 2_700.0, allowed: 4.0 };

    fn roster(now: Instant) -> Roster {
        Roster::new(Backoff::new(fastrand::Rng::with_seed(1)), now)
    }

    const EMPTY: &str = r#"{"items":[],"pagination":{"has_more":false}}"#;

    fn list(roster: &mut Roster, json: &str, expect: &[PipelineId], now: Moment) -> Vec<(PipelineId, bool)> {
        roster.begin(100, now.monotonic());
        let page = serde_json::from_str(json).unwrap();
        let Taken { step, .. } = roster.take(page, now.monotonic()).unwrap().unwrap();
        let Step::End(extent) = step else { panic!("{step:?}") };
        let expected = roster.expected(extent, expect.iter(), |_| false);
        roster.complete(expected.clone(), extent, SMALL, now);
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
        let mut roster = roster(now.monotonic());
        list(&mut roster, EMPTY, &[], now);
        roster.listing.latest.as_mut().unwrap().pages = 201;
        let wait = roster.next(SMALL, now.monotonic()) - now.monotonic();
        assert_eq!(wait, Duration::from_secs(1_005), "201 pages are a twentieth of 4 requests per second");
        roster.begin(20_000, now.monotonic());
        assert!(roster.fail(Error::of_status(502).unwrap(), SMALL, now));
        assert_eq!(roster.listing.due - now.monotonic(), SMALL.discovery);
        let late = now.after(Duration::from_secs(500));
        roster.begin(20_000, now.monotonic());
        assert!(!roster.fail(Error::of_status(502).unwrap(), SMALL, late), "no news");
        assert_eq!(roster.listing.due - late.monotonic(), Duration::from_secs(500), "half of the time");
    }

    #[test]
    fn an_overload_stretches_the_time_between_lists_until_their_share_suffices() {
        let moment = Moment::now();
        let now = moment.monotonic();
        let mut roster = roster(now);
        list(&mut roster, EMPTY, &[], moment);
        roster.listing.latest.as_mut().unwrap().pages = 201;
        let wait = |roster: &Roster, required| roster.next(Supply { required, ..SMALL }, now) - now;
        assert_eq!(wait(&roster, 8.0), Duration::from_secs(120));
        assert_eq!(wait(&roster, 2.0), SMALL.discovery, "never less than the interval");
        roster.started = Some(now);
        roster.listing.due = now + Duration::from_secs(500);
        roster.request(SMALL, now);
        assert_eq!(roster.listing.due - now, SMALL.discovery, "one that is requested waits no longer than that");
        assert_eq!(seconds(1e15), LONGEST);
    }

    #[test]
    fn before_the_first_list_and_while_the_credential_is_refused_a_failure_is_tried_again_soon() {
        let now = Moment::now();
        for (is_listed, status, soon) in [(false, 500, true), (true, 500, false), (true, 401, true), (true, 403, true)]
        {
            let mut roster = roster(now.monotonic());
            if is_listed {
                list(&mut roster, EMPTY, &[], now);
            }
            roster.begin(100, now.monotonic());
            roster.fail(Error::of_status(status).unwrap(), SMALL, now);
            assert_eq!(roster.listing.due - now.monotonic() <= Duration::from_secs(1), soon, "{is_listed} {status}");
        }
    }

    #[test]
    fn starting_over_forgets_earlier_failures_and_a_failed_list_the_request_for_another() {
        let now = Moment::now();
        let mut roster = roster(now.monotonic());
        (0..5).for_each(|_| roster.back_off(now.monotonic()));
        roster.start_over(now.monotonic());
        assert_eq!(roster.due(), Some(now.monotonic()));
        roster.back_off(now.monotonic());
        assert!(roster.listing.due - now.monotonic() <= Duration::from_secs(1));

        roster.begin(100, now.monotonic());
        roster.request(SMALL, now.monotonic());
        roster.fail(Error::of_status(500).unwrap(), SMALL, now);
        list(&mut roster, EMPTY, &[], now);
        assert_eq!(roster.listing.due - now.monotonic(), SMALL.discovery);
        roster.abandon_walk(now.monotonic());
        assert_eq!(roster.due(), Some(now.monotonic()));
    }

    #[test]
    fn it_is_up_while_the_newest_list_succeeded() {
        let now = Moment::now();
        let mut roster = roster(now.monotonic());
        let is_up = |roster: &Roster| roster.listing().is_up(now, Duration::from_secs(300));
        assert!(!is_up(&roster), "nothing has been listed");
        list(&mut roster, EMPTY, &[], now);
        assert!(is_up(&roster));
        roster.fail(Error::of_status(500).unwrap(), SMALL, now);
        assert!(!is_up(&roster));
    }

    #[test]
    fn of_the_flags_of_a_group_the_worse_one_wins() {
        let group = |paid: Option<bool>, limit: Option<bool>, expired: Option<bool>| -> Group {
            let group = serde_json::json!({"is_paid": paid, "is_over_limit": limit, "is_free_trial_expired": expired});
            let listed: ListedPipeline =
                serde_json::from_value(serde_json::json!({"id": "a", "group": group})).unwrap();
            listed.group.unwrap()
        };
        let [yes, no] = [Some(true), Some(false)];
        for groups in [
            [group(yes, no, no), group(no, yes, yes), group(None, None, None)],
            [group(no, yes, yes), group(yes, no, no), group(None, None, None)],
        ] {
            let mut flags = GroupFlags::default();
            groups.iter().for_each(|group| flags.merge(group));
            assert_eq!(flags, GroupFlags { paid: no, over_limit: yes, free_trial_expired: yes });
        }
    }

    /// Lists these items, and returns the concerns with the second at which each began.
    fn concerns(roster: &mut Roster, start: Moment, seconds: u64, items: &Value) -> Vec<(Concern, u64)> {
        let json = json!({"items": items, "pagination": {"has_more": false}}).to_string();
        list(roster, &json, &[], start.after(Duration::from_secs(seconds)));
        let concerns = roster.listing.concerns();
        concerns.map(|(concern, began)| (concern.clone(), began.at.since(start).as_secs())).collect()
    }

    #[test]
    fn what_a_list_lacks_about_a_group_is_what_was_said_last() {
        let start = Moment::now();
        let mut roster = roster(start.monotonic());
        let mut concerns = |seconds, items: Value| concerns(&mut roster, start, seconds, &items);
        let full = json!({"name": "Data", "slug": "data-slug", "id": "group_1", "is_paid": false, "is_over_limit": true,
            "is_free_trial_expired": true});
        let both = [(Concern::OverLimit("Data".to_owned()), 1), (Concern::TrialExpired("Data".to_owned()), 1)];
        assert_eq!(concerns(1, json!([{"id": "a", "group": full}, {"id": "b"}])), both);
        for (seconds, group) in [
            (2, json!(null)),
            (3, json!(7)),
            (4, json!({"name": "Data", "is_paid": null, "is_over_limit": "maybe"})),
            (5, json!({"name": null, "slug": "data-slug", "is_over_limit": true, "is_free_trial_expired": true})),
            (6, json!({"id": "group_1"})),
            (7, json!({})),
        ] {
            assert_eq!(concerns(seconds, json!([{"id": "a", "group": group}])), both, "{group}");
        }
        let paid = json!({"slug": "data-slug", "is_paid": true});
        assert_eq!(concerns(8, json!([{"id": "a", "group": paid}])), both[..1], "what is said counts");
        assert_eq!(concerns(9, json!([{"id": "a", "group": null}])), both[..1]);
        let healed = json!({"name": "Data", "is_over_limit": false});
        assert_eq!(concerns(10, json!([{"id": "a", "group": healed}])), []);
        assert_eq!(
            concerns(11, json!([{"id": "a", "group": full}])),
            [(both[0].0.clone(), 11), (both[1].0.clone(), 11)]
        );
        assert_eq!(concerns(12, json!([{"id": "b", "group": null}])), [], "none of its pipelines is listed any more");
        assert_eq!(concerns(13, json!([{"id": "a", "group": null}])), [], "what was forgotten does not return");
    }

    #[test]
    fn what_one_pipeline_says_about_a_group_counts_more_than_what_another_one_said() {
        let start = Moment::now();
        let mut roster = roster(start.monotonic());
        let mut concerns = |seconds, of_a: Option<bool>, of_b: Option<bool>| {
            let item =
                |id: &str, over: Option<bool>| json!({"id": id, "group": {"name": "Data", "is_over_limit": over}});
            concerns(&mut roster, start, seconds, &json!([item("a", of_a), item("b", of_b)])).len()
        };
        assert_eq!(concerns(1, Some(true), Some(true)), 1);
        assert_eq!(concerns(2, Some(false), None), 0);
        assert_eq!(concerns(3, None, None), 0);
        assert_eq!(concerns(4, None, Some(true)), 1);
    }

    #[test]
    fn a_pipeline_of_another_group_brings_no_flags_with_it() {
        let start = Moment::now();
        let mut roster = roster(start.monotonic());
        let mut concerns =
            |seconds, group: Value| concerns(&mut roster, start, seconds, &json!([{"id": "a", "group": group}]));
        let over = |name: &str| Concern::OverLimit(name.to_owned());
        assert_eq!(concerns(1, json!({"slug": "data", "is_over_limit": true})), [(over("data"), 1)]);
        assert_eq!(concerns(2, json!({"name": "Data", "is_over_limit": true})), [(over("Data"), 2)], "a better name");
        assert_eq!(concerns(3, json!({"name": "Others"})), []);
    }

    #[test]
    fn the_flags_of_a_group_are_shown_as_the_newest_list_says_them() {
        let now = Moment::now();
        let mut roster = roster(now.monotonic());
        let over = json!({"name": "Data", "is_over_limit": true});
        concerns(
            &mut roster,
            now,
            0,
            &json!([{"id": "a", "group": over}, {"id": null, "group": {"name": "Others", "is_over_limit": true}}]),
        );
        let shown = |roster: &Roster| {
            let groups = &roster.listing.latest.as_ref().unwrap().groups;
            groups.iter().map(|(label, flags)| (label.clone(), flags.over_limit)).collect::<Vec<_>>()
        };
        assert_eq!(shown(&roster), [("Data".to_owned(), Some(true)), ("Others".to_owned(), Some(true))]);
        let lacks = json!([{"id": "a", "group": {"name": "Data"}}, {"id": null, "group": {"name": "Others", "is_over_limit": true}}]);
        let both = ["Data", "Others"].map(|name| (Concern::OverLimit(name.to_owned()), 0));
        assert_eq!(concerns(&mut roster, now, 1, &lacks), both);
        assert_eq!(shown(&roster), [("Data".to_owned(), None), ("Others".to_owned(), Some(true))]);
    }

    #[test]
    fn a_list_that_is_requested_comes_at_once_and_keeps_to_its_share() {
        let now = Moment::now();
        let mut roster = roster(now.monotonic());
        list(&mut roster, EMPTY, &[], now);
        let later = now.monotonic() + Duration::from_secs(30);
        roster.request(SMALL, later);
        assert_eq!(roster.due(), Some(later));
        roster.begin(100, later);
        roster.request(SMALL, later);
        assert_eq!(roster.due(), None, "one is under way, and another one follows");
        roster.take(serde_json::from_str(r#"{"items":[]}"#).unwrap(), later).unwrap().unwrap();
        roster.complete(Vec::new(), Extent::Whole, SMALL, now.after(Duration::from_secs(30)));
        assert_eq!(
            roster.due(),
            Some(later + Duration::from_secs(5)),
            "one page in 5 s is a twentieth of 4 per second"
        );
    }

    #[test]
    fn an_expected_pipeline_that_is_missing_stays_so_while_a_list_hides_something() {
        let now = Moment::now();
        let mut roster = roster(now.monotonic());
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
        assert_eq!(expected(r#"{"id":"pipe_1"},{"id":"pipe_9"}"#), [there.clone(), (nine, false)]);
        assert_eq!(expected(hides), [there], "it was there before");
    }

    #[test]
    fn a_count_that_never_fits_does_not_hide_that_an_expected_pipeline_is_missing() {
        let now = Moment::now();
        let mut roster = roster(now.monotonic());
        let nine = PipelineId::new("pipe_9").unwrap();
        let skips = r#"{"items":[{"id":"pipe_1"}],"pagination":{"has_more":false,"total_count":5}}"#;
        for missing in [vec![], vec![(nine.clone(), true)]] {
            assert_eq!(list(&mut roster, skips, std::slice::from_ref(&nine), now), missing);
        }
    }

    #[test]
    fn a_pipeline_vanishes_when_a_whole_list_lacks_it_and_its_probes_do_not_contradict() {
        let now = Moment::now();
        let id = PipelineId::new("pipe_1").unwrap();
        let empty = EMPTY;
        // How many of one pipeline are gone after each of these lists, which do not show it.
        let gone = |extents: &[Extent], existence| {
            let mut roster = roster(now.monotonic());
            let after = extents.iter().map(|extent| {
                roster.begin(100, now.monotonic());
                roster.take(serde_json::from_str(empty).unwrap(), now.monotonic()).unwrap().unwrap();
                let gone = roster.gone(*extent, vec![(&id, existence)]);
                roster.complete(Vec::new(), *extent, SMALL, now);
                gone.len()
            });
            after.collect::<Vec<_>>()
        };
        use Extent::{Partial, Whole};
        assert_eq!(gone(&[Whole], Existence::NotFound), [1]);
        assert_eq!(gone(&[Whole], Existence::Unclear), [1]);
        assert_eq!(gone(&[Whole, Whole], Existence::Answers), [0, 1], "paging may skip it once");
        assert_eq!(gone(&[Whole], Existence::Forbidden), [1]);
        assert_eq!(gone(&[Partial, Partial], Existence::NotFound), [0, 1], "a total may never fit");
        assert_eq!(gone(&[Partial, Partial], Existence::Forbidden), [0, 1], "it belongs to another group");
        assert_eq!(gone(&[Partial, Partial, Whole], Existence::Unclear), [0, 0, 1], "an outage of lists and probes");
        assert_eq!(gone(&[Partial, Partial, Whole], Existence::Answers), [0, 0, 1]);
    }

    /// How many of these known pipelines are gone after a list with these items.
    fn lost(roster: &mut Roster, most: usize, items: &str, extent: Extent, known: &[(&str, Existence)]) -> Vec<String> {
        let now = Instant::now();
        roster.begin(most, now);
        roster.take(serde_json::from_str(&format!(r#"{{"items":[{items}]}}"#)).unwrap(), now).unwrap().unwrap();
        let known: Vec<_> = known.iter().map(|(id, state)| (PipelineId::new(id).unwrap(), *state)).collect();
        let gone = roster.gone(extent, known.iter().map(|(id, state)| (id, *state)).collect());
        gone.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_list_that_is_not_whole_drops_a_pipeline_only_the_second_time_in_a_row() {
        let mut roster = roster(Instant::now());
        let mut lost =
            |items: &str, existence| lost(&mut roster, 100, items, Extent::Partial, &[("a", existence)]).len();
        assert_eq!(lost("", Existence::NotFound), 0);
        assert_eq!(lost("", Existence::Answers), 0);
        assert_eq!(lost("", Existence::NotFound), 1);
        assert_eq!(lost(r#"{"id":"a"}"#, Existence::NotFound), 0);
        assert_eq!(lost("", Existence::NotFound), 0, "it was listed in between");
    }

    #[test]
    fn a_truncated_list_drops_no_more_pipelines_than_there_are_too_many() {
        let mut roster = roster(Instant::now());
        let known = [("a", Existence::NotFound), ("b", Existence::Answers), ("c", Existence::Answers)];
        assert_eq!(lost(&mut roster, 2, r#"{"id":"c"},{"id":"d"}"#, Extent::Truncated, &known), ["a"]);
        assert_eq!(lost(&mut roster, 1, r#"{"id":"c"},{"id":"d"}"#, Extent::Truncated, &known), ["a", "b"]);
    }
}
