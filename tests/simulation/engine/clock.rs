//! One simulated clock for everything. Nothing reads the real one, but for the origin of [`Instant`].

use std::time::{Duration, Instant, SystemTime};

use goldrush_exporter::moment::Moment;

/// 2026-01-01, in Unix seconds: when every history begins.
pub const EPOCH: u64 = 1_767_225_600;

/// How long the exporter's machine has run then, in seconds: longer than any real one, see [`super::served::Served`].
const BOOTED: u64 = 1 << 30;

/// The clocks of the exporter's machine, and the world's time.
pub struct Clock {
    origin: Instant,
    /// The monotonic clock, since the beginning of the history.
    pub awake: Duration,
    /// How long the machine has slept.
    pub asleep: Duration,
    /// By how many seconds its wall clock is wrong.
    pub stepped: i64,
}

impl Clock {
    pub fn new() -> Self {
        Self { origin: Instant::now(), awake: Duration::ZERO, asleep: Duration::ZERO, stepped: 0 }
    }

    /// The time of the world, for which no sleep stands still and no clock steps.
    pub fn world(&self) -> Duration {
        self.awake + self.asleep
    }

    pub fn moment(&self) -> Moment {
        let true_wall = SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH) + self.world();
        let step = Duration::from_secs(self.stepped.unsigned_abs());
        let wall = if self.stepped < 0 { true_wall - step } else { true_wall + step };
        Moment::new(self.origin + self.awake, Duration::from_secs(BOOTED) + self.world(), wall)
    }

    /// An instant as time since the beginning.
    pub fn since_origin(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.origin)
    }
}
