//! A campaign of simulated histories; `tests/simulation/engine/mod.rs` explains what it checks and how.
//!
//! `cargo bench --locked --bench simulation -- --hours 100000 --seed 1`; `--replay N` runs only the history with that
//! seed.

#[path = "../tests/simulation/engine/mod.rs"]
#[allow(dead_code)]
mod engine;

use std::process::ExitCode;
use std::time::Instant;

use engine::campaign::Campaign;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    let begin = Instant::now();
    let campaign = match number("--replay") {
        Some(seed) => Campaign::replay(seed),
        None => Campaign::run(
            number("--seed").unwrap_or(1),
            number("--hours").unwrap_or(1_000) as f64,
            number("--failures").unwrap_or(5) as usize,
        ),
    };
    println!("{}", campaign.coverage.report());
    println!("{} in {:?}", campaign.summary(), begin.elapsed());
    // A replay is a single history, which does not cover everything.
    let is_complete = number("--replay").is_some() || campaign.coverage.missing().is_empty();
    if campaign.failures.is_empty() && is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
