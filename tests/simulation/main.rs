//! A handful of simulated histories; `benches/simulation.rs` lives through as many as there is time for. How it works, and
//! how to add a fault or an invariant, stands in `engine/mod.rs`.

#[allow(dead_code)]
mod engine;

use engine::campaign::Campaign;
use engine::history::History;

#[test]
fn a_handful_of_histories() {
    let seed = std::env::var("SIMULATION_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let hours = std::env::var("SIMULATION_HOURS").ok().and_then(|hours| hours.parse().ok()).unwrap_or(60.0);
    let begin = std::time::Instant::now();
    let campaign = Campaign::run(seed, hours, 1);
    println!("{}", campaign.coverage.report());
    println!(
        "{} hours, {} histories, {} requests, {} scrapes in {:?}",
        campaign.hours,
        campaign.histories,
        campaign.requests,
        campaign.scrapes,
        begin.elapsed()
    );
    assert!(campaign.failures.is_empty(), "{}", campaign.failures.join("\n"));
}

#[test]
fn a_seed_is_one_history() {
    let history = History::draw(7);
    assert_eq!(engine::run(&history), engine::run(&history));
}
