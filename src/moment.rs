//! A moment on three clocks, to measure ages and to show times.

use std::num::NonZeroU64;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

/// Ages are measured with clocks that never step; people see the wall-clock time.
///
/// A pipeline has three dozen of these, so each clock is kept in one word, with the resolution of the system's clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Never steps, but stops while the machine sleeps; tests control it.
    monotonic: Tick,
    /// Since the machine's boot, including sleep. In nanoseconds.
    boot: u64,
    /// May step. In nanoseconds since the Unix epoch: until the year 2262.
    wall: i64,
}

/// An [`Instant`] in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(
    // Nanoseconds since `ORIGIN`, shifted by `MIDDLE`.
    NonZeroU64,
);

/// The offset of an [`Instant`] is not accessible, only the difference of two.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Slewing moves the wall clock by less than this while a rendering is kept; what sets it moves it by more.
const STEP: Duration = Duration::from_millis(400);

/// Stands for [`ORIGIN`], as there are instants before it.
const MIDDLE: u64 = 1 << 62;

impl Tick {
    /// The time from `earlier` to this one; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl From<Instant> for Tick {
    fn from(instant: Instant) -> Self {
        let shifted = match instant.checked_duration_since(*ORIGIN) {
            Some(after) => MIDDLE.saturating_add(nanoseconds(after)),
            None => MIDDLE.saturating_sub(nanoseconds(ORIGIN.saturating_duration_since(instant))),
        };
        Self(NonZeroU64::new(shifted).unwrap_or(NonZeroU64::MIN))
    }
}

impl From<Tick> for Instant {
    fn from(tick: Tick) -> Self {
        match tick.0.get().checked_sub(MIDDLE) {
            Some(after) => *ORIGIN + Duration::from_nanos(after),
            None => *ORIGIN - Duration::from_nanos(MIDDLE - tick.0.get()),
        }
    }
}

impl Moment {
    pub fn new(monotonic: Instant, boot: Duration, wall: SystemTime) -> Self {
        let wall = match wall.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => nanoseconds(after).try_into().unwrap_or(i64::MAX),
            Err(before) => 0_i64.saturating_sub_unsigned(nanoseconds(before.duration())),
        };
        Self { monotonic: monotonic.into(), boot: nanoseconds(boot), wall }
    }

    /// Reads the clocks. The core has moments as parameters: only code that does I/O calls this.
    pub fn now() -> Self {
        // Tokio's clock, which tests can pause.
        let monotonic = tokio::time::Instant::now().into_std();
        Self::new(monotonic, since_boot(), wall_clock(monotonic))
    }

    /// The clock that timers use.
    pub fn monotonic(self) -> Instant {
        self.monotonic.into()
    }

    /// The same in one word.
    pub fn tick(self) -> Tick {
        self.monotonic
    }

    /// What the clock showed.
    pub fn wall(self) -> SystemTime {
        let distance = Duration::from_nanos(self.wall.unsigned_abs());
        if self.wall < 0 { SystemTime::UNIX_EPOCH - distance } else { SystemTime::UNIX_EPOCH + distance }
    }

    /// The same moment by another wall clock.
    pub fn with_wall(self, wall: SystemTime) -> Self {
        Self::new(self.monotonic(), Duration::from_nanos(self.boot), wall)
    }

    /// The moment `by` later, if no clock steps and the machine does not sleep.
    pub fn after(self, by: Duration) -> Self {
        let by = nanoseconds(by);
        Self {
            monotonic: Tick(self.monotonic.0.saturating_add(by)),
            boot: self.boot.saturating_add(by),
            wall: self.wall.saturating_add_unsigned(by),
        }
    }

    /// The moment at which the machine wakes up, if it sleeps for `by` from this one on.
    #[cfg(test)]
    pub(crate) fn after_sleep(self, by: Duration) -> Self {
        let awake = self.monotonic;
        Self { monotonic: awake, ..self.after(by) }
    }

    /// Whether an instant has another wall-clock time than at `earlier`: the wall clock was set, or the machine slept.
    pub fn wall_stepped_since(self, earlier: Self) -> bool {
        let ran = i128::from(self.wall) - i128::from(earlier.wall);
        let awake = i128::from(self.monotonic.0.get()) - i128::from(earlier.monotonic.0.get());
        ran.abs_diff(awake) >= STEP.as_nanos()
    }

    /// Whether something from this moment is not older than `stale_after`.
    pub fn is_fresh(self, now: Self, stale_after: Duration) -> bool {
        now.since(self) <= stale_after
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        let asleep_too = self.boot.saturating_sub(earlier.boot);
        self.monotonic.since(earlier.monotonic).max(Duration::from_nanos(asleep_too))
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}

#[cfg(not(test))]
fn wall_clock(_: Instant) -> SystemTime {
    SystemTime::now()
}

/// When a test pauses or advances Tokio's clock, the wall clock does the same.
#[cfg(test)]
fn wall_clock(monotonic: Instant) -> SystemTime {
    let (wall, awake) = (SystemTime::now(), Instant::now());
    wall + monotonic.saturating_duration_since(awake) - awake.saturating_duration_since(monotonic)
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

/// Seconds since the Unix epoch, the format of Prometheus, and like its timestamps, to the millisecond.
pub fn unix_seconds(time: SystemTime) -> f64 {
    let seconds = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    };
    (seconds * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_includes_sleep_and_ignores_steps_of_the_wall_clock() {
        let second = Duration::from_secs(1);
        let hour = Duration::from_secs(3600);
        let earlier = Moment::now();
        let after = |awake, asleep, stepped| {
            let later = earlier.after_sleep(asleep).after(awake);
            later.with_wall(later.wall() + stepped)
        };
        assert_eq!(after(second, Duration::ZERO, Duration::ZERO).since(earlier), second);
        assert_eq!(after(second, Duration::ZERO, hour).since(earlier), second);
        assert_eq!(after(second, hour, Duration::ZERO).since(earlier), second + hour);
        assert_eq!(earlier.since(after(second, hour, hour)), Duration::ZERO);
    }

    #[test]
    fn the_wall_clock_steps_when_it_is_set_or_the_machine_sleeps_and_not_when_it_is_slewed() {
        let earlier = Moment::now().with_wall(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
        let hour = earlier.after(Duration::from_secs(3600));
        let (slewed, set) = (Duration::from_millis(399), Duration::from_millis(400));
        let steps = |later: Moment| later.wall_stepped_since(earlier);
        assert!(!steps(hour));
        assert!(!steps(hour.with_wall(hour.wall() + slewed)) && !steps(hour.with_wall(hour.wall() - slewed)));
        assert!(steps(hour.with_wall(hour.wall() + set)) && steps(hour.with_wall(hour.wall() - set)));
        assert!(steps(hour.after_sleep(set)) && !steps(hour.after_sleep(slewed)));
    }

    #[test]
    fn the_clocks_are_kept_to_the_nanosecond() {
        let now = Instant::now();
        let odd = Duration::from_nanos(1_000_000_001);
        for monotonic in [now, now + odd, now.checked_sub(odd).unwrap()] {
            for wall in [SystemTime::UNIX_EPOCH - odd, SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + odd] {
                let moment = Moment::new(monotonic, odd, wall);
                assert_eq!((moment.monotonic(), moment.wall()), (monotonic, wall));
                let later = moment.after(odd);
                assert_eq!((later.monotonic(), later.wall()), (monotonic + odd, wall + odd));
                assert_eq!((later.since(moment), moment.since(later)), (odd, Duration::ZERO));
            }
        }
    }

    #[test]
    fn a_wall_clock_that_no_word_can_hold_stops_at_the_last_second_that_it_can() {
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(u32::MAX) * 10);
        let wall = Moment::now().with_wall(far).wall();
        assert_eq!(wall, SystemTime::UNIX_EPOCH + Duration::from_nanos(i64::MAX as u64));
    }

    /// Memory: there are three dozen in each pipeline.
    #[test]
    fn a_moment_takes_three_words_and_a_tick_one_whether_they_are_known_or_not() {
        assert_eq!([size_of::<Moment>(), size_of::<Option<Moment>>()], [24, 24]);
        assert_eq!([size_of::<Tick>(), size_of::<Option<Tick>>()], [8, 8]);
    }

    #[test]
    fn times_are_shown_to_the_millisecond() {
        let at = |nanoseconds| SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds);
        let shown = |nanoseconds| unix_seconds(at(nanoseconds)).to_string();
        assert_eq!(shown(1_795_814_235_410_362_700), "1795814235.41");
        assert_eq!(shown(1_795_814_235_999_600_000), "1795814236");
        assert_eq!(unix_seconds(SystemTime::UNIX_EPOCH - Duration::from_micros(1_500_400)).to_string(), "-1.5");
    }
}
