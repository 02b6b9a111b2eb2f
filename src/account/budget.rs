//! The request budget of an account: requests per second, and pauses after a 429 or a 503 that asks for one.

#[cfg(test)]
mod enumeration;

use std::time::{Duration, Instant};

use super::backoff::Backoff;
use crate::rate::Bucket;

/// How much of a second's requests may be sent at once. Small, so that even short windows stay within the budget; not
/// zero, because timers have millisecond resolution.
const BURST: f64 = 0.05;

fn burst(rate: f64) -> f64 {
    1.0 + BURST * rate
}

/// A rate limit that can be paused.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct Budget {
    rate: f64,
    bucket: Bucket,
    paused_until: Option<Instant>,
    /// When the pause began, or was last lengthened by our own backoff.
    paused_at: Option<Instant>,
    backoff: Backoff,
}

impl Budget {
    pub fn new(rate: f64, random: fastrand::Rng, now: Instant) -> Self {
        let bucket = Bucket::new(rate, burst(rate), now);
        Self { rate, bucket, paused_until: None, paused_at: None, backoff: Backoff::new(random) }
    }

    /// Takes a permit to send one request.
    ///
    /// # Errors
    /// When to try again, if no request may be sent now.
    pub fn take(&mut self, now: Instant) -> Result<(), Instant> {
        match self.paused_until(now) {
            Some(until) => Err(until),
            None => self.bucket.take(now),
        }
    }

    /// Pauses after a 429 to a request that was sent at `sent`: for as long as the API asks, or for our own growing
    /// backoff. A pause is never shortened.
    pub fn pause(&mut self, retry_after: Option<Duration>, sent: Instant, now: Instant) -> Instant {
        // Requests that were in flight when the pause began get a 429 as well, which is not a reason for a longer
        // pause.
        let known = self.paused_at.is_some_and(|at| sent < at);
        let own = if known {
            Duration::ZERO
        } else {
            self.paused_at = Some(now);
            self.backoff.next()
        };
        // Even after `Retry-After: 0`, an immediate retry would only get another 429.
        let until = now + retry_after.map_or(own, |asked| asked.max(Duration::from_millis(500)));
        let until = self.paused_until.map_or(until, |earlier| earlier.max(until));
        self.paused_until = Some(until);
        until
    }

    /// Changes the rate; a pause that the API has asked for continues.
    pub(super) fn set_rate(&mut self, rate: f64) {
        self.rate = rate;
        self.bucket.set(rate, burst(rate));
    }

    /// Ends a pause that was for the old key.
    pub(super) fn resume(&mut self) {
        self.paused_until = None;
        self.backoff.reset();
    }

    /// Requests per second.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// When the pause ends; `None` if there is none.
    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|until| *until > now)
    }

    /// A request ended without asking for a pause: the next pause starts small again.
    pub fn calm(&mut self, now: Instant) {
        if self.paused_until(now).is_none() {
            self.backoff.reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(rate: f64, now: Instant) -> Budget {
        Budget::new(rate, fastrand::Rng::with_seed(1), now)
    }

    #[test]
    fn no_window_of_a_second_holds_more_than_the_budget_and_its_burst() {
        for rate in [0.5, 1.0, 4.0, 50.0, 1000.0] {
            let mut now = Instant::now();
            let end = now + Duration::from_secs(20);
            let mut budget = budget(rate, now);
            let mut sent = Vec::new();
            while now < end {
                match budget.take(now) {
                    Ok(()) => sent.push(now),
                    Err(at) => now = at,
                }
                // Idle time must not accumulate permits.
                if sent.len() == 5 {
                    now += Duration::from_secs(5);
                }
            }
            let until = |from: &Instant| sent.partition_point(|at| *at < *from + Duration::from_secs(1));
            let most = sent.iter().enumerate().map(|(index, from)| until(from) - index).max();
            assert!(most <= Some((rate + 1.0 + BURST * rate) as usize), "{most:?} at {rate}");
            assert!(sent.len() as f64 > 14.0 * rate, "{} at {rate}", sent.len());
        }
    }

    #[test]
    fn a_pause_is_kept_and_never_shortened() {
        let now = Instant::now();
        let mut budget = budget(4.0, now);
        let until = budget.pause(Some(Duration::from_secs(30)), now, now);
        assert_eq!(until, now + Duration::from_secs(30));
        assert_eq!(budget.pause(Some(Duration::from_secs(3)), now, now), until);
        assert_eq!(budget.pause(None, now, now), until);
        assert_eq!(budget.take(now), Err(until));
        assert_eq!(budget.take(until), Ok(()));
    }

    #[test]
    fn a_429_to_a_request_sent_before_the_pause_does_not_lengthen_it() {
        let sent = Instant::now();
        let mut budget = budget(4.0, sent);
        let answered = sent + Duration::from_secs(2);
        let until = (0..8).map(|_| budget.pause(None, sent, answered)).max().unwrap();
        assert!(until <= answered + Duration::from_secs(1), "{:?}", until - answered);
        // A response of that batch arrives after the pause is over.
        let late = until + Duration::from_secs(1);
        budget.pause(None, sent, late);
        assert_eq!(budget.paused_until(late), None);
        let next = budget.pause(None, late, late) - late;
        assert!((Duration::from_secs(1)..=Duration::from_secs(2)).contains(&next), "the second step: {next:?}");
        let asked = budget.pause(Some(Duration::from_secs(60)), sent, late);
        assert_eq!(asked, late + Duration::from_secs(60), "what the API asks for counts in any case");
    }

    #[test]
    fn a_late_429_does_not_excuse_those_to_requests_that_were_sent_after_the_pause() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut budget = budget(4.0, start);
        budget.pause(None, start, after(2));
        budget.pause(None, start, after(10));
        let next = budget.pause(None, after(5), after(11)) - after(11);
        assert!(next >= Duration::from_secs(1), "the second step: {next:?}");
    }

    #[test]
    fn a_pause_is_never_shorter_than_half_a_second_and_another_key_begins_with_a_short_one() {
        let now = Instant::now();
        let mut budget = budget(4.0, now);
        assert_eq!(budget.pause(Some(Duration::ZERO), now, now), now + Duration::from_millis(500));
        let grown = (0..5).map(|_| budget.pause(None, now, now)).max().unwrap();
        assert!(grown >= now + Duration::from_secs(8), "{:?}", grown - now);
        budget.resume();
        assert!(budget.pause(None, now, now) <= now + Duration::from_secs(1));
    }
}
