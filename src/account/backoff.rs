//! Growing, jittered pauses between retries.

use std::time::Duration;

/// Doubles from one second to a minute. The jitter keeps many exporters from retrying at the same moment.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Backoff {
    failures: u32,
    random: fastrand::Rng,
}

impl Backoff {
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(60);

    pub(super) fn new(random: fastrand::Rng) -> Self {
        Self { failures: 0, random }
    }

    /// The pause after one more failure: between half of the step and the whole step.
    pub(super) fn next(&mut self) -> Duration {
        let step = Self::FIRST.saturating_mul(2_u32.saturating_pow(self.failures)).min(Self::LONGEST);
        self.failures = self.failures.saturating_add(1);
        step.mul_f64(0.5 + self.random.f64() / 2.0)
    }

    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_a_minute_and_starts_again() {
        let mut backoff = Backoff::new(fastrand::Rng::with_seed(1));
        for step in [1, 2, 4, 8, 16, 32, 60, 60] {
            let (pause, step) = (backoff.next(), Duration::from_secs(step));
            assert!(pause >= step / 2 && pause <= step, "{pause:?} after a step of {step:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= Backoff::FIRST);
    }
}
