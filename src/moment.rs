//! A moment on three clocks, to measure ages and to show times.

use std::time::{Duration, Instant, SystemTime};

/// Ages are measured with clocks that never step; people see the wall-clock time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Never steps, but stops while the machine sleeps; tests control it.
    pub monotonic: Instant,
    /// Since the machine's boot, including sleep.
    pub boot: Duration,
    /// May step.
    pub wall: SystemTime,
}

impl Moment {
    /// Reads the clocks. The core has moments as parameters: only code that does I/O calls this.
    pub fn now() -> Self {
        // Tokio's clock, which tests can pause.
        let monotonic = tokio::time::Instant::now().into_std();
        Self { monotonic, boot: since_boot(), wall: SystemTime::now() }
    }

    /// The moment `by` later, if no clock steps and the machine does not sleep.
    pub fn after(self, by: Duration) -> Self {
        Self { monotonic: self.monotonic + by, boot: self.boot + by, wall: self.wall + by }
    }

    /// Whether something from this moment is not older than `stale_after`.
    pub fn is_fresh(self, now: Self, stale_after: Duration) -> bool {
        now.since(self) <= stale_after
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        let awake = self.monotonic.saturating_duration_since(earlier.monotonic);
        awake.max(self.boot.saturating_sub(earlier.boot))
    }
}

#[cfg(target_os = "linux")]
fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(time).unwrap_or_default()
}

/// Other systems only have the monotonic clock.
#[cfg(not(target_os = "linux"))]
fn since_boot() -> Duration {
    Duration::ZERO
}

/// Seconds since the Unix epoch, the format of Prometheus.
pub fn unix_seconds(time: SystemTime) -> f64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_includes_sleep_and_ignores_steps_of_the_wall_clock() {
        let second = Duration::from_secs(1);
        let hour = Duration::from_secs(3600);
        let earlier = Moment::now();
        let after = |awake, asleep: Duration, stepped: Duration| Moment {
            monotonic: earlier.monotonic + awake,
            boot: earlier.boot + awake + asleep,
            wall: earlier.wall + awake + stepped,
        };
        assert_eq!(after(second, Duration::ZERO, Duration::ZERO).since(earlier), second);
        assert_eq!(after(second, Duration::ZERO, hour).since(earlier), second);
        assert_eq!(after(second, hour, Duration::ZERO).since(earlier), second + hour);
        assert_eq!(earlier.since(after(second, hour, hour)), Duration::ZERO);
    }
}
