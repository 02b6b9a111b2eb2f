//! Healthy pipelines buffer: object storage up to 10,000 rows or 60 s, ClickHouse up to 10,000 rows or 5 s. Their
//! backlog and delay follow a sawtooth, which the defaults must not mistake for trouble, whenever it is read.

use super::*;

/// A buffer that is written when it is full or old. Records arrive in blocks, so it may exceed its size slightly; while
/// it is written, the next one fills.
struct Buffer {
    records_per_second: f64,
    block_seconds: f64,
    rows: f64,
    age: f64,
    write_seconds: f64,
}

impl Buffer {
    /// How long it takes to fill.
    fn period(&self) -> f64 {
        let block = self.records_per_second * self.block_seconds;
        ((self.rows / block).ceil() * self.block_seconds).min(self.age)
    }

    /// Whether it is written faster than it fills, and blocks are small compared with it.
    fn is_healthy(&self) -> bool {
        self.write_seconds < self.period() && self.records_per_second * self.block_seconds <= self.rows / 4.0
    }

    /// Backlog and delay (in seconds) at this time after the start.
    fn at(&self, seconds: f64) -> (f64, f64) {
        let blocks =
            |seconds: f64| (seconds / self.block_seconds).floor() * self.records_per_second * self.block_seconds;
        let into = seconds % self.period();
        let being_written = if seconds >= self.period() && into < self.write_seconds { self.period() } else { 0.0 };
        (blocks(into) + blocks(being_written), into + being_written)
    }

    /// The troubles within two hours of a pipeline that buffers this way and is read at this interval.
    fn troubles(&self, interval: f64) -> Vec<&'static str> {
        let mut scene = Scene::new();
        scene.lists(0, "a", json!({}));
        scene.status(0, "a", "RUNNING", 2);
        let mut found = Vec::new();
        for turn in 0..(7_200.0 / interval) as u32 {
            let seconds = f64::from(turn) * interval;
            let (pending, delay) = self.at(seconds);
            let metrics = json!({"pending_records": pending, "processing_delay_ms": 1_000.0 * (delay + 2.0),
                "last_offset": self.records_per_second * seconds});
            let at = scene.start.after(Duration::from_secs_f64(seconds));
            scene.account.probed("a", reading(Probe::Metrics, metrics), at);
            found.extend(scene.troubles_at(at, "a").into_iter().map(|(kind, _)| kind));
        }
        found
    }
}

#[test]
fn a_healthy_buffer_is_no_trouble() {
    let mut tried = 0;
    for (age, write_seconds) in [(60.0, 20.0), (60.0, 0.5), (5.0, 1.0)] {
        for records_per_second in [3.0, 60.0, 166.0, 240.0, 700.0, 1_900.0, 2_500.0] {
            for block_seconds in [0.4, 2.0, 12.0_f64] {
                let buffer = Buffer { records_per_second, block_seconds, rows: 10_000.0, age, write_seconds };
                // The default interval, and drifting through the sawtooth.
                for interval in [29.7, 30.0, 30.4].into_iter().filter(|_| buffer.is_healthy()) {
                    let what =
                        format!("{records_per_second}/s, {age} s, {write_seconds} s, {block_seconds} s, {interval} s");
                    assert_eq!(buffer.troubles(interval), [""; 0], "{what}");
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 100, "{tried}");
}

/// How many readings of a delay, after the first ten minutes of two hours, raise no trouble.
fn excused(interval: f64, delay: impl Fn(f64) -> f64) -> usize {
    let mut scene = Scene::new();
    scene.lists(0, "a", json!({}));
    scene.status(0, "a", "RUNNING", 2);
    let mut excused = 0;
    for turn in 0..(7_200.0 / interval) as u32 {
        let seconds = f64::from(turn) * interval;
        let at = scene.start.after(Duration::from_secs_f64(seconds));
        let metrics = json!({"processing_delay_ms": 1_000.0 * delay(seconds), "last_offset": seconds});
        scene.account.probed("a", reading(Probe::Metrics, metrics), at);
        excused += usize::from(seconds >= 600.0 && scene.troubles_at(at, "a").is_empty());
    }
    excused
}

#[test]
fn a_constant_lag_with_a_buffer_is_never_catching_up_and_a_lag_that_falls_is() {
    for interval in [5.0, 15.0, 29.7, 30.0, 30.4, 45.0, 60.0, 60.7, 118.0] {
        let all = excused(interval, |_| 0.0);
        assert!(all > 50, "{all}");
        for age in [5.0, 60.0] {
            let buffer = |seconds: f64| seconds % age;
            assert_eq!(excused(interval, |seconds| 2_000.0 + buffer(seconds)), 0, "{interval} s, {age} s");
            assert_eq!(excused(interval, |seconds| 20_000.0 - seconds + buffer(seconds)), all, "{interval} s, {age} s");
        }
        assert_eq!(excused(interval, |seconds| 20_000.0 - 0.25 * seconds), all, "{interval} s");
    }
}
