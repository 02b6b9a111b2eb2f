//! A limit on how often something may happen. It has no clock: time is a parameter.

use std::time::{Duration, Instant};

/// Longest wait, so that clocks do not overflow.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// A token bucket that is full at first and fills at a steady rate: in any window of `t` seconds, at most `rate * t +
/// burst` tokens are taken.
///
/// It counts time instead of tokens: each token that is taken moves the moment at which the bucket is full again by one
/// token's time (the generic cell rate algorithm).
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Seconds per token.
    token: f64,
    /// Seconds to fill the bucket, minus those of one token.
    reserve: f64,
    /// When the bucket will be full if no more tokens are taken, in seconds after `epoch`.
    full_at: f64,
    epoch: Instant,
}

impl Bucket {
    /// `rate` tokens per second, and `burst` at once. A burst below 1 still allows one at a time.
    pub fn new(rate: f64, burst: f64, now: Instant) -> Self {
        let mut bucket = Self { token: 0.0, reserve: 0.0, full_at: 0.0, epoch: now };
        bucket.set(rate, burst);
        bucket
    }

    /// Changes rate and burst. Tokens taken before still count.
    pub fn set(&mut self, rate: f64, burst: f64) {
        self.token = 1.0 / rate.max(f64::MIN_POSITIVE);
        self.reserve = (burst - 1.0).max(0.0) * self.token;
    }

    /// Takes a token.
    ///
    /// # Errors
    /// When to try again, if there is none.
    pub fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let at = now.saturating_duration_since(self.epoch).as_secs_f64();
        let wait = self.full_at - self.reserve - at;
        if wait > 0.0 {
            // Slightly later than computed, so that rounding never makes it too early.
            let wait = Duration::try_from_secs_f64(wait).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT);
            return Err(now + wait + Duration::from_micros(1));
        }
        self.full_at = self.full_at.max(at) + self.token;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    proptest! {
        /// Whatever the pauses between tries, no window exceeds the rate and the burst.
        #[test]
        fn no_window_holds_more_than_rate_and_burst(
            rate in 0.01_f64..1000.0,
            burst in 1.0_f64..20.0,
            pauses in prop::collection::vec(0.0_f64..3.0, 1..200),
        ) {
            let start = Instant::now();
            let mut bucket = Bucket::new(rate, burst, start);
            let (mut now, mut taken) = (start, Vec::new());
            for pause in pauses {
                now += seconds(pause / rate);
                if bucket.take(now).is_ok() {
                    taken.push(now);
                }
            }
            for (index, from) in taken.iter().enumerate() {
                for (count, to) in taken[index..].iter().enumerate() {
                    let allowed = rate * (*to - *from).as_secs_f64() + burst;
                    prop_assert!(count as f64 + 1.0 <= allowed + 1e-3, "{} in {:?}", count + 1, *to - *from);
                }
            }
        }

        /// The token is available at the returned moment, and not much earlier; the total wait follows from the rate.
        #[test]
        fn a_refusal_names_the_moment(rate in 0.01_f64..100_000.0, burst in 0.0_f64..20.0) {
            let start = Instant::now();
            let mut bucket = Bucket::new(rate, burst, start);
            let mut now = start;
            for _ in 0..100 {
                while let Err(at) = bucket.take(now) {
                    prop_assert!(at > now);
                    let early = at - seconds(0.01 / rate).max(Duration::from_micros(2));
                    if at - now < LONGEST_WAIT && early > now {
                        prop_assert!(bucket.clone().take(early).is_err());
                    }
                    now = at;
                }
            }
            let least = (99.0 - burst.max(1.0)) / rate;
            let took = (now - start).as_secs_f64();
            prop_assert!(took >= least - 1e-3 && took <= 99.0 / rate + 1e-3, "{took} at {rate}");
        }
    }

    #[test]
    fn it_is_full_at_first_and_no_idle_time_overfills_it() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1.0, 3.0, start);
        let mut take = |at: Duration| (0..10).filter(|_| bucket.take(start + at).is_ok()).count();
        assert_eq!(take(Duration::ZERO), 3);
        assert_eq!(take(Duration::from_millis(999)), 0);
        assert_eq!(take(Duration::from_millis(1000)), 1);
        assert_eq!(take(Duration::from_secs(3600)), 3);
        assert_eq!(take(Duration::from_secs(365 * 24 * 3600)), 3);
    }

    #[test]
    fn without_a_burst_there_is_one_at_a_time() {
        let start = Instant::now();
        let mut bucket = Bucket::new(0.5, 0.0, start);
        assert_eq!(bucket.take(start), Ok(()));
        let again = bucket.take(start).unwrap_err();
        assert!((Duration::from_secs(2)..Duration::from_millis(2001)).contains(&(again - start)));
        assert_eq!(bucket.take(again), Ok(()));
    }

    #[test]
    fn another_rate_and_burst_count_from_now_on_and_what_was_taken_still_counts() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1.0, 1.0, start);
        let take = |bucket: &mut Bucket, at: u64| {
            (0..10).filter(|_| bucket.take(start + Duration::from_secs(at)).is_ok()).count()
        };
        assert_eq!(take(&mut bucket, 0), 1);
        bucket.set(2.0, 4.0);
        assert_eq!(take(&mut bucket, 0), 2, "the one that was taken had the time of two");
        assert_eq!(take(&mut bucket, 60), 4);
        bucket.set(1.0, 1.0);
        assert_eq!(take(&mut bucket, 61), 0);
        assert_eq!(take(&mut bucket, 62), 1);
    }

    #[test]
    fn impossible_rates_overflow_no_clock() {
        let start = Instant::now();
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let mut bucket = Bucket::new(rate, 1.0, start);
            let _ = bucket.take(start);
            let _ = bucket.take(start);
        }
    }
}
