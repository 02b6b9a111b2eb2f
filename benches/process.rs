//! The shipped process: its size, its startup time, and its memory during scrapes.
//! `cargo bench --bench process [-- --program "$(deploy/release/build)"] [-- --seconds 60] [-- --pipelines 10000]`

mod common;

use std::time::{Duration, Instant};

use common::{OPENMETRICS, Program, get, judge, median, ms, option, simulated_api, steepest};

fn main() {
    let program = option("--program", env!("CARGO_BIN_EXE_goldrush-exporter").to_owned());
    let megabytes = std::fs::metadata(&program).unwrap().len() as f64 / f64::from(1 << 20);
    judge("the program (8 MiB is the goal of what is shipped)", "MiB", 8.0, megabytes);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let times = (0..11).map(|_| {
        let begin = Instant::now();
        let exporter = Program::exporter(&program, "127.0.0.1:9", &[]);
        get(&exporter.address, OPENMETRICS, true, false);
        ms(begin.elapsed())
    });
    judge("start of the process to /metrics answering", "ms", 50.0, median(times.collect()));
    memory(&program, &runtime, 20, Some(14.0));
    let pipelines = option("--pipelines", 10_000);
    let sizes = [pipelines / 100, pipelines / 10, pipelines, 5 * pipelines];
    let points = sizes.map(|size| (size as f64, memory(&program, &runtime, size, (size == pipelines).then_some(60.0))));
    judge("growth of memory with pipelines", "exponent", 1.1, steepest(points));
}

/// Maximum resident memory, in MiB, of an exporter that has read every pipeline, and is scraped with gzip every second
/// while it polls.
fn memory(program: &str, runtime: &tokio::runtime::Runtime, pipelines: usize, goal: Option<f64>) -> f64 {
    let api = simulated_api(runtime, pipelines);
    let exporter = Program::exporter(
        program,
        &api,
        &[("POLL__REQUESTS_PER_SECOND", "2000"), ("POLL__MAX_IN_FLIGHT", "32"), ("MAX_PIPELINES", "1000000")],
    );
    exporter.wait_for_readings(pipelines);
    let seconds = option("--seconds", 60);
    let mut sizes = Vec::new();
    let mut bytes = 0;
    for _ in 0..seconds {
        std::thread::sleep(Duration::from_secs(1));
        bytes = get(&exporter.address, OPENMETRICS, true, false).1;
        sizes.push(exporter.resident());
    }
    let third = sizes.len().div_ceil(3);
    let (early, late) = (&sizes[third..2 * third], &sizes[2 * third..]);
    let most = sizes.iter().copied().fold(0.0, f64::max);
    println!(
        "{pipelines} pipelines: {bytes} bytes gzipped, resident {:.1} MiB at first, {most:.1} MiB at most",
        sizes[0]
    );
    if let Some(goal) = goal {
        judge(&format!("{pipelines} pipelines: resident, gzip scrapes each second, most"), "MiB", goal, most);
    }
    let growth = median(late.to_vec()) / median(early.to_vec());
    judge(&format!("{pipelines} pipelines: last third of the time against the second"), "x", 1.03, growth);
    most
}
