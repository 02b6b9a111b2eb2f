//! The account's use of credits: when to request it, what was read, and its trend. This request is independent: its
//! outcome changes nothing else that is known about the account.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use jiff::tz::Offset;

use super::{Beginning, Event, Known, ProbeState, Since, Trend};
use crate::api::{self, Error, Reason};
use crate::moment::Moment;

/// A reading is shown for at least this many intervals. `poll.stale_after` alone would withdraw it before the next one:
/// it is set for the pace of pipelines, and credits are read far less often.
const SHOWN_FOR: u32 = 3;
/// In seconds.
const DAY: u64 = 24 * 60 * 60;

#[derive(Debug, Clone)]
pub struct Usage {
    interval: Duration,
    /// When the next request is due.
    due: Instant,
    state: ProbeState,
    reading: Option<api::Usage>,
    /// The plan that was said last. Limits are those of this plan.
    plan: Option<Arc<str>>,
    plan_limit: Known<f64>,
    flex_limit: Known<f64>,
    /// A day's pace predicts the next days; an hour's does not.
    pace: Trend<{ 2 * DAY }, DAY>,
    used_up: Since<bool>,
}

impl Usage {
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            due: now,
            state: ProbeState::default(),
            reading: None,
            plan: None,
            plan_limit: Known::default(),
            flex_limit: Known::default(),
            pace: Trend::default(),
            used_up: Since::default(),
        }
    }

    /// Changes the interval; a request follows at once.
    pub(super) fn set_interval(&mut self, interval: Duration, now: Instant) {
        self.interval = interval;
        self.due = now;
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// A request is sent now, and the next one after an interval, which is `stretch` times as long if the budget is too
    /// small.
    pub(super) fn begin(&mut self, stretch: f64, now: Instant) {
        self.due = now + self.interval.mul_f64(stretch.max(1.0));
    }

    /// The request got no response that counts: it is due again at once.
    pub(super) fn again(&mut self, now: Instant) {
        self.due = now;
    }

    /// Sends no request before this instant.
    pub(super) fn wait_until(&mut self, until: Instant) {
        self.due = self.due.max(until);
    }

    /// Requests per second.
    pub(super) fn frequency(&self) -> f64 {
        self.interval.as_secs_f64().recip()
    }

    /// Returns an event if the outcome is news.
    pub(super) fn observe(&mut self, response: Result<api::Usage, Error>, at: Moment) -> Option<Event> {
        let was_tried = self.was_tried();
        let was = self.failure();
        self.state.observe(response.as_ref().err().map(Error::reason), at, None);
        let is_news = !was_tried || self.failure() != was;
        let new = match response {
            Ok(new) => new,
            Err(error) => return is_news.then_some(Event::UsageFails(error)),
        };
        let consumed = new.credits_consumed;
        // Each month begins at zero. A correction subtracts less.
        if consumed.zip(self.consumed()).is_some_and(|(consumed, before)| consumed < before / 2.0) {
            self.pace = Trend::default();
        }
        self.pace.observe(consumed, at);
        if let Some(plan) = &new.plan
            && self.plan.replace(plan.clone()).is_some_and(|before| before != *plan)
        {
            self.plan_limit = Known::default();
            self.flex_limit = Known::default();
            self.used_up.set(false, at);
        }
        self.plan_limit.observe(new.credits_limit, at);
        self.flex_limit.observe(new.flex_credits_limit, at);
        // A reading that does not say how much has been used changes nothing. Before the first limit, nothing is known.
        if let Some(consumed) = consumed.filter(|_| self.plan_limit.value().is_some()) {
            self.used_up.set(self.ceiling().is_some_and(|ceiling| consumed >= ceiling), at);
        }
        self.reading = Some(new);
        is_news.then_some(Event::UsageSucceeds)
    }

    /// The newest reading, however old.
    pub fn reading(&self) -> Option<&api::Usage> {
        self.reading.as_ref()
    }

    /// The credits used since the start of the month, by the newest reading that said it.
    pub fn consumed(&self) -> Option<f64> {
        self.pace.latest()
    }

    /// All credits that are available, by the limits that were said last. `None` for a plan without a limit.
    pub fn ceiling(&self) -> Option<f64> {
        api::Usage::ceiling_of(self.plan_limit.value(), self.flex_limit.value())
    }

    /// The newest reading, unless it is stale.
    pub fn fresh(&self, now: Moment, stale_after: Duration) -> Option<&api::Usage> {
        self.reading().filter(|_| self.state.is_fresh(now, self.shown_for(stale_after)))
    }

    /// Whether the newest request succeeded, and is not too old.
    pub fn succeeds(&self, now: Moment, stale_after: Duration) -> bool {
        self.state.success(now, self.shown_for(stale_after)) == Some(true)
    }

    /// When it was last read.
    pub fn read_at(&self) -> Option<Moment> {
        self.state.read_at()
    }

    /// Why the newest request failed, if it did.
    pub fn failure(&self) -> Option<Reason> {
        self.state.failure()
    }

    /// Whether the newest response says that this key cannot read the usage: it is not allowed to, or there is nothing
    /// that this version can read. Which keys are allowed to is not documented.
    pub fn is_not_offered(&self) -> bool {
        use Reason::{ApiError, Decode, Forbidden, NotFound, PaymentRequired, Unauthorized};
        let reason = self.failure();
        matches!(reason, Some(Unauthorized | PaymentRequired | Forbidden | NotFound | ApiError | Decode))
    }

    /// Whether any attempt got a response or failed.
    pub(super) fn was_tried(&self) -> bool {
        self.state.tried_at().is_some()
    }

    /// Since when all credits are used, if they are.
    pub fn used_up_since(&self) -> Option<Beginning> {
        self.used_up.holds_since()
    }

    /// How long after the newest reading the credits run out, at the pace of the last day or two. `None` if that is not
    /// known, or if the month ends first, since the count then begins again. Numbers that the newest reading lacks are
    /// those that were said last.
    pub fn runs_out_in(&self) -> Option<Duration> {
        let left = self.ceiling()? - self.consumed()?;
        let pace = self.pace.slope().filter(|pace| *pace > 0.0)?;
        let lasts = Duration::try_from_secs_f64(left.max(0.0) / pace).ok()?;
        let month_lasts = until_next_month(self.read_at()?.wall());
        (lasts < month_lasts).then_some(lasts)
    }

    fn shown_for(&self, stale_after: Duration) -> Duration {
        stale_after.max(self.interval.saturating_mul(SHOWN_FOR))
    }

    /// When each part was read, and the age from which it is not shown.
    pub(super) fn moments(&self, stale_after: Duration) -> impl Iterator<Item = (Moment, Duration)> {
        let shown_for = self.shown_for(stale_after);
        self.state.moments().map(move |at| (at, shown_for))
    }
}

/// In UTC, as the API counts. Has no end if the clock is beyond the calendar's range.
fn until_next_month(now: SystemTime) -> Duration {
    let next = || {
        let now = Timestamp::try_from(now).ok()?;
        let month = Offset::UTC.to_datetime(now).date().first_of_month();
        let next = month.checked_add(jiff::Span::new().months(1)).ok()?.to_datetime(jiff::civil::Time::midnight());
        Duration::try_from(Offset::UTC.to_timestamp(next).ok()?.duration_since(now)).ok()
    };
    next().unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const HOUR: u64 = 60 * 60;
    const INTERVAL: Duration = Duration::from_secs(900);
    /// 2023-11-01, 00:00 UTC.
    const NOVEMBER: u64 = 1_698_796_800;

    struct Scene {
        start: Moment,
        usage: Usage,
    }

    impl Scene {
        /// At noon on a day of November.
        fn on(day: u64) -> Self {
            let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(NOVEMBER + (day - 1) * DAY + DAY / 2);
            let start = Moment::now().with_wall(wall);
            Self { start, usage: Usage::new(INTERVAL, start.monotonic()) }
        }

        fn reads(&mut self, seconds: u64, consumed: f64) {
            let limit = json!({"limit": 200});
            self.reads_all(seconds, json!({"credits_consumed": consumed, "max_credits": 800, "flex_credits": limit}));
        }

        fn reads_all(&mut self, seconds: u64, aggregate: Value) {
            let read = serde_json::from_value(json!({ "aggregate": aggregate })).unwrap();
            self.usage.observe(Ok(read), self.start.after(Duration::from_secs(seconds)));
        }

        /// Since how many seconds after the start, if they are.
        fn used_up_since(&self) -> Option<u64> {
            self.usage.used_up_since().map(|began| began.at.since(self.start).as_secs())
        }

        /// In hours.
        fn runs_out_in(&self) -> Option<u64> {
            self.usage.runs_out_in().map(|lasts| (lasts.as_secs_f64() / HOUR as f64).round() as u64)
        }
    }

    #[test]
    fn a_day_of_readings_says_when_all_credits_are_used_and_flex_credits_count() {
        let mut scene = Scene::on(10);
        for hour in 0..=24 {
            assert_eq!(scene.runs_out_in(), None, "{hour}");
            scene.reads(hour * HOUR, 500.0 + 2.0 * hour as f64);
        }
        assert_eq!(scene.runs_out_in(), Some((1000 - 548) / 2));
        // The pace increases: the pace of the days before is forgotten.
        for hour in 25..=24 * 4 {
            scene.reads(hour * HOUR, 548.0 + 4.0 * (hour - 24) as f64);
        }
        assert_eq!(scene.runs_out_in(), Some((1000 - 836) / 4));
        assert_eq!(scene.usage.used_up_since(), None, "beyond the plan, within the flex credits");
        scene.reads(24 * 4 * HOUR + 1, 1000.0);
        let began = scene.usage.used_up_since().map(|began| began.at);
        assert_eq!(began, Some(scene.start.after(Duration::from_secs(24 * 4 * HOUR + 1))));
        let says_nothing = serde_json::from_value(json!({"aggregate": {"max_credits": 800}})).unwrap();
        scene.usage.observe(Ok(says_nothing), scene.start.after(Duration::from_secs(24 * 4 * HOUR + 2)));
        assert_eq!(scene.usage.used_up_since().map(|began| began.at), began, "what is not read has not healed");
        scene.reads(24 * 4 * HOUR + 3, 1001.0);
        assert_eq!(scene.runs_out_in(), Some(0), "beyond the limit; the pace is still known");
    }

    #[test]
    fn limits_that_a_reading_lacks_are_those_that_were_said_last() {
        let lacking = |consumed: f64, limit: Value, flex: Value| json!({"credits_consumed": consumed, "max_credits": limit, "flex_credits": flex});
        let mut scene = Scene::on(10);
        scene.reads(0, 850.0);
        for (seconds, flex) in [(1, json!(null)), (2, json!({})), (3, json!(7)), (4, json!({"limit": "many"}))] {
            scene.reads_all(seconds, lacking(900.0, json!(800), flex.clone()));
            assert_eq!(scene.used_up_since(), None, "beyond the plan, and within the flex credits of before: {flex}");
        }
        scene.reads_all(5, lacking(1_000.0, json!(null), json!(null)));
        assert_eq!(scene.used_up_since(), Some(5), "the number of used credits is known, and the limits are");
        scene.reads_all(6, lacking(1_001.0, json!(-1), json!({"limit": 200})));
        assert_eq!(scene.used_up_since(), Some(5));
        scene.reads_all(7, json!({"plan": "Professional"}));
        assert_eq!(scene.used_up_since(), Some(5));
        scene.reads_all(8, lacking(5.0, json!(null), json!(null)));
        assert_eq!(scene.used_up_since(), None, "a new month");
        scene.reads_all(9, lacking(850.0, json!(800), json!({"limit": 0})));
        assert_eq!(scene.used_up_since(), Some(9), "no flex credits any more");
        scene.reads_all(10, lacking(850.0, json!(0), json!(null)));
        assert_eq!(scene.used_up_since(), None, "no limit any more");
    }

    #[test]
    fn another_plan_has_other_limits_or_none() {
        let says = |plan: &str, limit: Value| json!({"credits_consumed": 850, "max_credits": limit, "plan": plan});
        let mut scene = Scene::on(10);
        scene.reads_all(0, says("Professional", json!(800)));
        scene.reads_all(1, says("Professional", json!(null)));
        assert_eq!(scene.used_up_since(), Some(0), "the limit that was said last");
        scene.reads_all(2, says("Contract", json!(null)));
        assert_eq!((scene.used_up_since(), scene.usage.ceiling()), (None, None));
        scene.reads_all(3, json!({"credits_consumed": 850, "max_credits": 850}));
        assert_eq!(scene.used_up_since(), Some(3), "a reading without a plan is of the last one");
    }

    #[test]
    fn without_a_limit_nothing_begins_and_flex_credits_that_were_never_said_do_not_count() {
        let mut scene = Scene::on(10);
        scene.reads_all(0, json!({"credits_consumed": 900}));
        assert_eq!(scene.used_up_since(), None);
        scene.reads_all(1, json!({"credits_consumed": 900, "max_credits": 800}));
        let began = scene.usage.used_up_since().map(|began| began.or_earlier);
        assert_eq!((scene.used_up_since(), began), (Some(1), Some(true)), "they may have been used up before");
    }

    #[test]
    fn credits_still_run_out_when_a_reading_lacks_a_number() {
        let mut scene = Scene::on(10);
        for hour in 0..=24 {
            scene.reads(hour * HOUR, 500.0 + 2.0 * hour as f64);
        }
        let lasts = scene.runs_out_in();
        assert_eq!(lasts, Some((1000 - 548) / 2));
        for (seconds, says) in [(1, json!({"max_credits": 800})), (2, json!({"credits_consumed": 548}))] {
            scene.reads_all(24 * HOUR + seconds, says.clone());
            assert_eq!(scene.runs_out_in(), lasts, "{says}");
        }
        // A month that begins with a reading that lacks the number begins all the same.
        scene.reads_all(25 * HOUR, json!({"max_credits": 800}));
        scene.reads(26 * HOUR, 5.0);
        scene.reads(27 * HOUR, 999.0);
        assert_eq!(scene.runs_out_in(), None, "it is not a day old");
    }

    #[test]
    fn credits_that_just_last_until_the_month_ends_do_not_run_out() {
        let mut scene = Scene::on(29);
        scene.reads(0, 400.0);
        scene.reads(DAY, 800.0);
        assert_eq!(scene.usage.runs_out_in(), None, "200 last for half a day, and so does the month");
        scene.reads(DAY + 60, 801.0);
        assert!(scene.usage.runs_out_in().is_some());
    }

    #[test]
    fn a_correction_to_exactly_half_is_not_a_new_month() {
        let mut scene = Scene::on(10);
        for (seconds, consumed) in [(0, 100.0), (HOUR, 800.0), (2 * HOUR, 400.0), (DAY, 700.0)] {
            scene.reads(seconds, consumed);
        }
        assert_eq!(scene.runs_out_in(), Some(12));
    }

    #[test]
    fn what_does_not_grow_does_not_run_out_and_neither_does_what_has_no_limit() {
        let mut scene = Scene::on(10);
        for hour in 0..=48 {
            scene.reads(hour * HOUR, 900.0);
        }
        assert_eq!(scene.runs_out_in(), None);
        scene.reads_all(72 * HOUR, json!({"credits_consumed": 950, "max_credits": 0}));
        assert_eq!(scene.runs_out_in(), None);
        assert_eq!(scene.usage.used_up_since(), None);
    }

    #[test]
    fn credits_that_last_until_the_month_ends_do_not_run_out() {
        let mut scene = Scene::on(27);
        scene.reads(0, 500.0);
        scene.reads(DAY, 602.0);
        assert_eq!(scene.runs_out_in(), None, "3.9 days at this pace, and the month ends in 2.5");
        scene.reads(DAY + 1, 800.0);
        assert_eq!(scene.runs_out_in(), Some(16));
    }

    #[test]
    fn the_next_month_begins_at_zero_and_needs_a_day_of_its_own() {
        let mut scene = Scene::on(29);
        scene.reads(0, 500.0);
        scene.reads(DAY, 990.0);
        assert_eq!(scene.runs_out_in(), Some(0));
        scene.reads(2 * DAY, 10.0);
        assert_eq!(scene.runs_out_in(), None);
        scene.reads(3 * DAY - 1, 400.0);
        assert_eq!(scene.runs_out_in(), None, "not a day yet");
        scene.reads(3 * DAY, 400.0);
        assert_eq!(scene.runs_out_in(), Some(37));
        // A correction is not a new month.
        scene.reads(3 * DAY + HOUR, 395.0);
        assert!(scene.runs_out_in().is_some());
    }

    #[test]
    fn the_month_before_says_nothing_about_the_pace() {
        let mut scene = Scene::on(10);
        for (seconds, consumed) in [(0, 100.0), (DAY, 200.0), (DAY + HOUR, 5.0), (DAY + 13 * HOUR, 990.0)] {
            scene.reads(seconds, consumed);
        }
        assert_eq!(scene.runs_out_in(), None, "it is not a day old");
    }

    #[test]
    fn another_interval_counts_from_a_request_at_once() {
        let Scene { start, mut usage } = Scene::on(10);
        let later = start.monotonic() + Duration::from_secs(7);
        usage.set_interval(2 * INTERVAL, later);
        assert_eq!(usage.due(), later);
        assert_eq!(usage.frequency(), 1.0 / 1_800.0);
        usage.begin(1.0, later);
        assert_eq!(usage.due(), later + 2 * INTERVAL);
    }

    #[test]
    fn a_reading_is_shown_for_three_intervals_or_stale_after_whichever_is_longer() {
        let mut scene = Scene::on(1);
        scene.reads(0, 1.0);
        let shown = |seconds: u64, stale_after: u64| {
            let now = scene.start.after(Duration::from_secs(seconds));
            scene.usage.fresh(now, Duration::from_secs(stale_after)).is_some()
        };
        assert_eq!(
            [shown(2700, 300), shown(2701, 300), shown(2701, 3000), shown(3001, 3000)],
            [true, false, true, false]
        );
    }

    #[test]
    fn months_end_in_utc() {
        let until = |unix: u64| until_next_month(SystemTime::UNIX_EPOCH + Duration::from_secs(unix)).as_secs();
        assert_eq!(until(NOVEMBER), 30 * DAY);
        assert_eq!(until(NOVEMBER - 1), 1);
        assert_eq!(until(NOVEMBER + 60 * DAY + 23 * HOUR), HOUR, "the end of December");
    }
}
