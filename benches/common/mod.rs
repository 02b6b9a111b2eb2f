//! What the benchmarks share: options, numbers, and the lines they print.
#![allow(dead_code, unused_imports, reason = "each benchmark uses a part of it")]

mod cleanup;
mod http;
mod picture;
mod program;
pub mod run;

use std::collections::HashMap;
use std::time::Duration;

pub use cleanup::{Folder, Process};
pub use http::{CLASSIC, OPENMETRICS, get, http, is_ready, shown};
pub use picture::Picture;
pub use program::{KEY, Program, Prometheus, client_golang, free_address, nginx, simulated_api};

pub fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Whether the command line has this flag.
pub fn is_given(flag: &str) -> bool {
    std::env::args().any(|argument| argument == flag)
}

/// The value after `--name`, or the default.
pub fn option<T: std::str::FromStr>(name: &str, otherwise: T) -> T {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    if arguments.next().is_none() {
        return otherwise;
    }
    let value = arguments.next().unwrap_or_default();
    value.parse().unwrap_or_else(|_| panic!("{name}: {value:?} is not such a value"))
}

/// CPU time of a process, by thread.
pub struct Cpu(HashMap<String, Duration>);

impl Cpu {
    pub fn of(process: &str) -> Self {
        let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten();
        let time = |thread: &std::fs::DirEntry| {
            let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
        };
        Self(threads.filter_map(|thread| Some((thread.file_name().into_string().ok()?, time(&thread)?))).collect())
    }

    /// The CPU time since then. A thread that has ended, as idle ones of a pool do, counts as one that did nothing.
    pub fn since(&self, before: &Self) -> Duration {
        let used =
            self.0.iter().map(|(thread, time)| time.saturating_sub(before.0.get(thread).copied().unwrap_or_default()));
        used.sum()
    }
}

/// The CPU time of this process that `f` uses, in milliseconds.
pub fn cpu_ms<T>(f: impl FnOnce() -> T) -> (T, f64) {
    let before = Cpu::of("self");
    let value = f();
    (value, ms(Cpu::of("self").since(&before)))
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    if values.is_empty() { f64::NAN } else { values[values.len() / 2] }
}

pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Prints one result line: the goal and the measured value.
pub fn judge(what: &str, unit: &str, goal: f64, measured: f64) {
    let verdict = if measured <= goal { "ok" } else { "missed" };
    println!("{what:<72} goal <= {goal:<8.4} measured {measured:<9.4} {unit:<10} {verdict}");
}

/// The exponent of `y`'s growth with `x`: the slope of the regression line through the logarithms.
pub fn exponent(points: impl IntoIterator<Item = (f64, f64)>) -> f64 {
    let points: Vec<(f64, f64)> = points.into_iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0 / count, sum.1 + point.1 / count));
    let covariance: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    covariance / points.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>()
}

/// That exponent between the two neighbouring points where it is largest. A regression through all points would hide
/// growth at the large end behind what is constant at the small end.
pub fn steepest(points: impl IntoIterator<Item = (f64, f64)>) -> f64 {
    let points: Vec<(f64, f64)> = points.into_iter().collect();
    points.windows(2).map(|pair| exponent(pair.iter().copied())).fold(f64::NEG_INFINITY, f64::max)
}
