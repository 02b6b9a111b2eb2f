//! How soon is an unreachable destination detected, and what do extra turns and the idle pace gain? Real schedule and
//! budget, simulated time, many seeds.
//!
//! A destination goes down, and some time later the pipeline's metrics show it (the delay grows). Compares the time
//! until its destination health is requested, with plain intervals and with an extra turn for the other probes of a
//! pipeline whose reading hints at trouble, at the same number of requests. Then, for a half-paused fleet, with and
//! without the idle pace at the same budget.
//!
//! Verdict: extra turns (`src/account/suspicion.rs`) and the idle pace are kept. `docs/operations.md` says what they
//! gain.
//!
//! `cargo bench --bench detection [-- --seeds 20]`

mod common;

use std::collections::HashMap;
use std::time::Duration;

use common::run::{INTERVALS, Run, Turn, id};
use common::{judge, mix, option};
use goldrush_exporter::account::Intervals;
use goldrush_exporter::api::{PipelineId, Probe};

/// A fleet and what happens to it.
#[derive(Clone, Copy)]
struct World {
    pipelines: usize,
    /// Required requests divided by the requests that the budget allows.
    load: f64,
    /// Seconds from the failure until a reading of the metrics shows it; `None` if none ever does.
    lag: Option<f64>,
    /// A tenth of the fleet fails at the same moment; otherwise they fail one by one.
    at_once: bool,
    /// The share of healthy metrics readings that hint at trouble.
    false_hints: f64,
    /// Half of the fleet is paused and has nothing to report: `pipelines` counts both halves.
    half_rests: bool,
    seed: u64,
}

/// How the poller saves budget.
#[derive(Clone, Copy)]
struct Means {
    hints: bool,
    idle_pace: bool,
}

struct Outcome {
    /// Seconds from each failure until its detection.
    delays: Vec<f64>,
    requests: usize,
    /// The longest wait between two requests, in seconds, of any probe with an interval of 30 s.
    longest: f64,
}

fn main() {
    let seeds = option("--seeds", 20);
    let usual = World {
        pipelines: 300,
        load: 1.0,
        lag: Some(10.0),
        at_once: false,
        false_hints: 0.01,
        half_rests: false,
        seed: 0,
    };
    println!("times in destination-health intervals, as the load stretches them; hints against plain");
    let mut gains = Vec::new();
    for pipelines in [20, 300, 2_000] {
        for load in [0.5, 2.0, 12.0] {
            gains.push(compare(World { pipelines, load, ..usual }, seeds));
        }
    }
    println!("how soon the metrics show the failure");
    for lag in [Some(0.0), Some(20.0), None] {
        compare(World { lag, ..usual }, seeds);
        compare(World { lag, load: 4.0, ..usual }, seeds);
    }
    println!("a tenth of the fleet at once");
    for load in [0.5, 2.0, 12.0] {
        compare(World { load, at_once: true, ..usual }, seeds);
    }
    println!("false hints");
    for false_hints in [0.0, 0.1, 0.5] {
        compare(World { false_hints, load: 2.0, ..usual }, seeds);
    }
    let worst = gains.iter().copied().fold(0.0, f64::max);
    judge("hints against plain intervals, median detection, where it gains least", "x", 1.0, worst);
    println!("mean over fleets and loads: {:.2}", gains.iter().sum::<f64>() / gains.len() as f64);
    idle_pace(usual, seeds);
}

const PLAIN: Means = Means { hints: false, idle_pace: false };

/// The gain of each method for a half-paused fleet, at budgets from ample to far too small.
fn idle_pace(usual: World, seeds: u64) {
    println!("half of the fleet is paused; median detection and requests against plain intervals at the same budget");
    println!("pipelines  budget  false   hints        idle pace    both");
    let mut thirds = Vec::new();
    let (mut saved, mut as_soon) = (Vec::new(), Vec::new());
    for pipelines in [20, 300, 2_000, 5_000] {
        for (budget, load) in [("1", 1.0), ("1/2", 2.0), ("1/3", 3.0), ("1/10", 10.0)] {
            for false_hints in [0.01, 0.2] {
                let world = World { pipelines, load, false_hints, half_rests: true, ..usual };
                let seeds = seeds * (600 / pipelines as u64).max(1);
                let [plain, hints, idle, both] = [(false, false), (true, false), (false, true), (true, true)]
                    .map(|(hints, idle_pace)| measure(world, Means { hints, idle_pace }, seeds));
                let ratios = [hints, idle, both].map(|(delay, requests)| (delay / plain.0, requests / plain.1));
                let shown = ratios.map(|(delay, requests)| format!("{delay:.2} ({requests:.2})"));
                println!("{pipelines:>9}  {budget:<6}  {:>4.0} %  {}", false_hints * 100.0, shown.join("  "));
                if load == 3.0 {
                    thirds.push(ratios[2].0);
                }
                if load == 1.0 {
                    as_soon.push(ratios[1].0);
                    saved.push(ratios[1].1);
                }
            }
        }
    }
    let worst = |ratios: &[f64]| ratios.iter().copied().fold(0.0, f64::max);
    judge("half paused, a third of the budget: median detection, both, worst", "x", 0.55, worst(&thirds));
    judge("half paused, enough budget: requests, idle pace, worst", "x", 0.6, worst(&saved));
    // The same, but for chance.
    judge("half paused, enough budget: median detection, idle pace, worst", "x", 1.02, worst(&as_soon));
}

/// The median time to detection, and the number of requests.
fn measure(world: World, means: Means, seeds: u64) -> (f64, f64) {
    let outcomes: Vec<Outcome> = (0..seeds).map(|seed| simulate(World { seed, ..world }, INTERVALS, means)).collect();
    let requests = outcomes.iter().map(|outcome| outcome.requests as f64).sum();
    (common::median(outcomes.into_iter().flat_map(|outcome| outcome.delays).collect()), requests)
}

/// Prints both, and returns the ratio of the medians.
fn compare(world: World, seeds: u64) -> f64 {
    let unit = 30.0 * world.load.max(1.0);
    let mut all: [Vec<f64>; 2] = Default::default();
    let (mut longest, mut cost) = ([0.0_f64; 2], Vec::new());
    // As many failures in small fleets as in large ones.
    let seeds = seeds * (600 / world.pipelines as u64).max(1);
    for seed in 0..seeds {
        let world = World { seed, ..world };
        let hinted = simulate(world, INTERVALS, Means { hints: true, idle_pace: false });
        let mut plain = simulate(world, INTERVALS, PLAIN);
        cost.push(hinted.requests as f64 / plain.requests as f64);
        if hinted.requests > plain.requests {
            // Spend the same number of requests on shorter intervals.
            let factor = plain.requests as f64 / hinted.requests as f64;
            let shorter = Intervals { normal: INTERVALS.normal.map(|interval| interval.mul_f64(factor)), ..INTERVALS };
            plain = simulate(world, shorter, PLAIN);
        }
        for (outcome, (all, longest)) in [plain, hinted].into_iter().zip(all.iter_mut().zip(&mut longest)) {
            all.extend(outcome.delays);
            *longest = longest.max(outcome.longest / unit);
        }
    }
    let [plain, hinted] = all.map(|mut delays| {
        delays.sort_by(f64::total_cmp);
        let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize] / unit;
        [at(0.5), at(0.95), at(1.0)]
    });
    let World { pipelines, load, lag, false_hints, .. } = world;
    let lag = lag.map_or("never".to_owned(), |lag| format!("{lag} s"));
    println!(
        "{pipelines:>5} pipelines, load {load:<4} lag {lag:<5} false {:>3.0} %: median {:.2} / {:.2} = {:.2}   p95 {:.2} / {:.2}   \
         worst {:.2} / {:.2}   requests x{:.3}   longest wait of all {:.2} / {:.2}",
        false_hints * 100.0,
        hinted[0],
        plain[0],
        hinted[0] / plain[0],
        hinted[1],
        plain[1],
        hinted[2],
        plain[2],
        common::median(cost),
        longest[1],
        longest[0],
    );
    hinted[0] / plain[0]
}

fn simulate(world: World, intervals: Intervals, means: Means) -> Outcome {
    let World { pipelines, load, lag, at_once, false_hints, half_rests, seed } = world;
    let stretch = load.max(1.0);
    let mut run = Run::new(pipelines, intervals, pipelines as f64 * 2.0 / 15.0 / load);
    // The first turns are over, and the second ones are spread.
    let begin = 120.0 * stretch;
    let end = begin + 300.0 * stretch;
    let random = |what: u64, number: u64| mix(mix(seed * 31 + what) ^ number) as f64 / u64::MAX as f64;
    let down: HashMap<PipelineId, f64> = (0..pipelines.div_ceil(10))
        .map(|number| {
            let moment = if at_once { 0.0 } else { random(1, number as u64) };
            (id(number * 10 + seed as usize % 10), begin + moment * 200.0 * stretch)
        })
        .filter(|(id, _)| run.contains(id))
        .collect();
    // Only the other half fails.
    let rests = |number: usize| half_rests && number % 2 != seed as usize % 2;
    if means.idle_pace {
        run.rest((0..pipelines).filter(|number| rests(*number)).map(id));
    }
    let mut hinted: HashMap<PipelineId, bool> = HashMap::new();
    let mut seen: HashMap<PipelineId, f64> = HashMap::new();
    let mut last: HashMap<Turn, f64> = HashMap::new();
    let (mut requests, mut readings, mut longest) = (0, 0, 0.0_f64);
    run.until_hinted(
        Duration::from_secs_f64(end),
        |turn, at| {
            let at = at.as_secs_f64();
            if at < begin {
                return;
            }
            requests += 1;
            if turn.1 != Probe::Status
                && let Some(before) = last.insert(turn.clone(), at)
            {
                longest = longest.max(at - before);
            }
        },
        |(id, probe), sent| {
            let sent = sent.as_secs_f64();
            let failed = down.get(id).copied().filter(|failed| sent >= *failed);
            if *probe == Probe::DestinationHealth && failed.is_some() {
                seen.entry(id.clone()).or_insert(sent);
            }
            if !means.hints || *probe != Probe::Metrics {
                return false;
            }
            readings += 1;
            match failed.zip(lag) {
                Some((failed, lag)) if sent >= failed + lag => hinted.insert(id.clone(), true).is_none(),
                Some(_) => false,
                None => random(2, readings) < false_hints,
            }
        },
    );
    assert_eq!(seen.len(), down.len(), "every failure is seen in time");
    let delays = down.iter().map(|(id, failed)| seen[id] - failed).collect();
    Outcome { delays, requests, longest }
}
