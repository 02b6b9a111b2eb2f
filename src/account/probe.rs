//! The state of one probe of a pipeline: its newest attempt, its newest success, and since when it fails.

use std::time::Duration;

use super::Beginning;
use crate::api::Reason;
use crate::moment::Moment;

/// The outcomes of one probe. The pipeline holds the readings.
#[derive(Debug, Clone, Default)]
pub struct ProbeState {
    read_at: Option<Moment>,
    /// If the newest attempt failed. Boxed, because most succeed.
    failing: Option<Box<Failing>>,
}

/// A series of failures.
#[derive(Debug, Clone)]
struct Failing {
    since: Beginning,
    /// When the newest attempt failed.
    at: Moment,
    /// Of the newest attempt.
    reason: Reason,
    /// Another probe of the account succeeded meanwhile: the fault is not the account's.
    alone: bool,
}

impl ProbeState {
    /// `account_read_at` is when any probe of the account last succeeded.
    pub(super) fn observe(&mut self, failure: Option<Reason>, at: Moment, account_read_at: Option<Moment>) {
        let Some(reason) = failure else {
            *self = Self { read_at: Some(at), failing: None };
            return;
        };
        let first = Beginning { at, or_earlier: self.tried_at().is_none() };
        let since = self.fails_since().unwrap_or(first);
        let others_succeed = account_read_at.is_some_and(|read| read.monotonic() > since.at.monotonic());
        let alone = others_succeed || self.fails_alone_since().is_some();
        self.failing = Some(Box::new(Failing { since, at, reason, alone }));
    }

    /// When the probe last succeeded. A failure never changes it.
    pub fn read_at(&self) -> Option<Moment> {
        self.read_at
    }

    /// Whether the newest reading exists and is not older than `stale_after`.
    pub fn is_fresh(&self, now: Moment, stale_after: Duration) -> bool {
        self.read_at.is_some_and(|at| at.is_fresh(now, stale_after))
    }

    /// Whether the newest attempt succeeded; `None` if that is older than `stale_after`.
    pub fn success(&self, now: Moment, stale_after: Duration) -> Option<bool> {
        let is_fresh = self.tried_at()?.is_fresh(now, stale_after);
        is_fresh.then_some(self.failing.is_none())
    }

    /// Why the newest attempt failed, if it did.
    pub fn failure(&self) -> Option<Reason> {
        self.failing.as_ref().map(|failing| failing.reason)
    }

    /// When the newest attempt got a response or failed.
    pub(super) fn tried_at(&self) -> Option<Moment> {
        self.failing.as_ref().map(|failing| failing.at).or(self.read_at)
    }

    /// When the current series of failures began, if the newest attempt failed.
    pub fn fails_since(&self) -> Option<Beginning> {
        self.failing.as_ref().map(|failing| failing.since)
    }

    /// The same, if there were at least two failures while other probes of the account succeeded. One failure is not
    /// trouble, since the next attempt comes soon; and an outage is a single trouble of the account.
    pub fn fails_alone_since(&self) -> Option<Beginning> {
        self.failing.as_ref().filter(|failing| failing.alone).map(|failing| failing.since)
    }

    /// The times from which `stale_after` counts for the reading and for the newest attempt.
    pub(super) fn moments(&self) -> impl Iterator<Item = Moment> {
        self.read_at.into_iter().chain(self.tried_at())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_success_a_probe_has_to_fail_twice_again_before_it_fails_alone() {
        let start = Moment::now();
        let at = |seconds| start.after(Duration::from_secs(seconds));
        let failure = Some(Reason::Decode);
        let mut probe = ProbeState::default();
        probe.observe(failure, at(1), None);
        assert_eq!(probe.fails_alone_since(), None);
        probe.observe(failure, at(2), Some(at(1)));
        assert_eq!(probe.fails_alone_since(), None, "the other one succeeded before");
        probe.observe(failure, at(3), Some(at(2)));
        assert_eq!(probe.fails_alone_since(), Some(Beginning { at: at(1), or_earlier: true }));
        probe.observe(None, at(4), Some(at(2)));
        assert_eq!(probe.fails_since(), None);
        probe.observe(failure, at(6), Some(at(5)));
        assert_eq!(probe.fails_alone_since(), None);
        probe.observe(failure, at(8), Some(at(7)));
        assert_eq!(probe.fails_alone_since(), Some(Beginning::from(at(6))));
    }

    #[test]
    fn an_attempt_says_nothing_once_it_is_stale() {
        let start = Moment::now();
        let minute = Duration::from_secs(60);
        let mut probe = ProbeState::default();
        for failure in [None, Some(Reason::Decode)] {
            probe.observe(failure, start, None);
            assert_eq!(probe.success(start.after(minute), minute), Some(failure.is_none()));
            assert_eq!(probe.success(start.after(minute + Duration::from_nanos(1)), minute), None);
        }
    }
}
