//! Request durations, in buckets.

use std::time::Duration;

/// Upper bounds in seconds: the defaults of Prometheus's client libraries, which reach from loopback to `api.timeout`.
pub const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Counts per bucket, not yet cumulative.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    /// One count per bound, and one for everything above.
    pub counts: [u64; BOUNDS.len() + 1],
    /// The sum of all durations, in seconds.
    pub sum: f64,
}

impl Histogram {
    pub fn observe(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        self.counts[BOUNDS.partition_point(|bound| *bound < seconds)] += 1;
        self.sum += seconds;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        for (millis, bucket) in [(0, 0), (5, 0), (6, 1), (10_000, 10), (10_001, 11)] {
            let mut histogram = Histogram::default();
            histogram.observe(Duration::from_millis(millis));
            assert_eq!(histogram.counts.iter().position(|count| *count == 1), Some(bucket), "{millis} ms");
        }
    }
}
