//! The schedule alone, in simulated time: the cost of a dispatched probe, fairness, and what the budget allows.
//! `cargo bench --bench schedule [-- --pipelines 100000]`

mod common;

use std::collections::HashMap;
use std::time::Duration;

use common::run::{INTERVALS, Run};
use common::{cpu_ms, judge, median, option};
use goldrush_exporter::api::Probe;

fn main() {
    let pipelines = option("--pipelines", 100_000);
    let cost = median((0..3).map(|_| cost_per_probe(pipelines)).collect());
    judge(&format!("{pipelines} pipelines: CPU per dispatched probe"), "us", 2.0, cost);
    fairness();
    budget();
    let sizes = [100, 1_000, 10_000, 50_000];
    let costs = sizes.map(|pipelines| median((0..3).map(|_| cost_per_probe(pipelines)).collect()));
    for (pipelines, cost) in sizes.iter().zip(costs) {
        println!("{pipelines} pipelines: {cost:.3} us per dispatched probe");
    }
    let points = sizes.map(|size| size as f64).into_iter().zip(costs);
    judge("growth of a second's CPU with pipelines", "exponent", 1.25, 1.0 + common::exponent(points));
}

/// Microseconds per probe, from its due time to its response, including the budget.
fn cost_per_probe(pipelines: usize) -> f64 {
    let required = pipelines as f64 * 2.0 / 15.0;
    let mut run = Run::new(pipelines, INTERVALS, 1.2 * required);
    // The first turns are over, and the second ones are spread.
    run.until(Duration::from_secs(60), |_, _| {});
    let mut probes = 0_u32;
    let seconds = (6_000_000 / pipelines as u64).clamp(60, 6_000);
    let ((), cpu) = cpu_ms(|| run.until(Duration::from_secs(60 + seconds), |_, _| probes += 1));
    cpu * 1000.0 / f64::from(probes)
}

/// The longest wait of any probe, relative to its fair share, at loads from idle to hopeless.
fn fairness() {
    let mut worst = Vec::new();
    for load in [0.5, 0.9, 0.99, 1.01, 1.5, 3.0, 10.0, 50.0] {
        let pipelines = 400;
        let required = pipelines as f64 * 2.0 / 15.0;
        let stretch = f64::max(1.0, load);
        let mut run = Run::new(pipelines, INTERVALS, required / load);
        let mut sent: HashMap<common::run::Turn, Vec<Duration>> = HashMap::new();
        let end = Duration::from_secs_f64(60.0 + 30.0 * stretch * 8.0);
        run.until(end, |probe, at| sent.entry(probe.clone()).or_default().push(at));
        let ages = sent.iter().map(|(probe, times)| {
            let interval = if probe.1 == Probe::Status { 15.0 } else { 30.0 };
            // The first two turns are spread on purpose. The wait that has not ended counts, too.
            let until_end: Vec<Duration> = times.iter().copied().chain([end]).collect();
            let gaps = until_end.windows(2).skip(2).map(|pair| (pair[1] - pair[0]).as_secs_f64());
            gaps.fold(0.0, f64::max) / (interval * stretch)
        });
        let worst_here = ages.fold(0.0, f64::max);
        println!("load {load}: the longest wait is {worst_here:.3} of the fair share ({} probes)", sent.len());
        assert_eq!(sent.len(), pipelines * 3, "a probe starved");
        worst.push(worst_here);
    }
    judge("no wait over the fair share, at any load", "x", 1.1, worst.into_iter().fold(0.0, f64::max));
}

/// The maximum number of requests in any window of a second, against the budget and its burst.
fn budget() {
    let mut most = 0.0_f64;
    for rate in [1.0, 4.0, 50.0, 1000.0] {
        let mut run = Run::new((rate * 30.0) as usize, INTERVALS, rate);
        let mut sent: Vec<Duration> = Vec::new();
        run.until(Duration::from_secs(120), |_, at| sent.push(at));
        let mut begin = 0;
        for (end, at) in sent.iter().enumerate() {
            while sent[begin] + Duration::from_secs(1) <= *at {
                begin += 1;
            }
            most = most.max((end + 1 - begin) as f64 / (rate + 1.0 + 0.05 * rate));
        }
    }
    judge("requests in any second, against the budget and its burst", "x", 1.0, most);
}
