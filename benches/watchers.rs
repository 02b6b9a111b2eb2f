//! What a fleet costs its scrapers and readers: samples and bytes per pipeline, the targets that `/sd` lists,
//! Prometheus's scrape duration with the profile `lean`, and the exporter's memory while several of them and a page
//! poll it.
//! `cargo bench --bench watchers [-- --pipelines 10000] [-- --only sizes|durations|memory] [-- --scrapes 10] [--
//! --minutes 30]`
//!
//! Measures the memory of `--program`, by default the benchmark build. Other programs: `--prometheus`, `--vmagent`;
//! `tests/matrix` leaves a vmagent in `target/matrix/sid/usr/bin`.

mod common;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Folder, Picture, Program, Prometheus, free_address, http, is_given, judge, option, simulated_api};
use goldrush_exporter::config::Profile;
use goldrush_exporter::exposition::{Encoding, Exposition, Format, Part};

/// The default of `--web.sd-target-size`.
const TARGET_SIZE: usize = 8 << 20;
const MIB: f64 = (1 << 20) as f64;

fn main() {
    let pipelines = option("--pipelines", 10_000);
    let profile = |name: String| if name == "lean" { Profile::Lean } else { Profile::Full };
    if is_given("--serve") {
        let _runtime = Picture::of(pipelines).serve_profile(profile(option("--serve", "full".to_owned())));
        std::thread::park();
    }
    let only = option("--only", String::new());
    let is_wanted = |part: &str| only.is_empty() || only == part;
    if is_wanted("sizes") {
        sizes(pipelines);
    }
    if is_wanted("durations") {
        scrape_durations(pipelines, option("--scrapes", 10));
    }
    if is_wanted("memory") {
        memory(pipelines, Duration::from_secs_f64(60.0 * option("--minutes", 30.0)));
    }
}

/// For healthy pipelines: trouble adds little.
fn sizes(pipelines: usize) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let text = |exposition: &Arc<Exposition>, encoding, part: &Part| -> Vec<u8> {
        runtime.block_on(exposition.scrape(Format::OpenMetrics, encoding, part)).unwrap().flatten().collect()
    };
    for (profile, most_samples, most_bytes) in [(Profile::Full, 34.0, None), (Profile::Lean, 18.0, Some(3_000.0))] {
        let whole = |pipelines| text(&healthy(pipelines, profile), Encoding::Identity, &Part::Whole);
        let samples = |text: &[u8]| text.split(|byte| *byte == b'\n').filter(|line| is_sample(line)).count() as f64;
        // The difference between two fleets is the cost of their pipelines.
        let (few, many) = (whole(1_000), whole(2_000));
        let each = |few: f64, many: f64| (many - few) / 1_000.0;
        judge(
            &format!("{profile}: samples of a pipeline"),
            "samples",
            most_samples,
            each(samples(&few), samples(&many)),
        );
        let bytes = each(few.len() as f64, many.len() as f64);
        match most_bytes {
            Some(goal) => judge(&format!("{profile}: bytes of a pipeline"), "bytes", goal, bytes),
            None => println!("{profile}: {bytes:.0} bytes of a pipeline"),
        }
        let beside = 2.0 * samples(&few) - samples(&many);
        println!("{profile}: {beside:.0} samples of the account and the exporter");

        let exposition = healthy(pipelines, profile);
        let parts = runtime.block_on(exposition.parts(TARGET_SIZE)).unwrap();
        let sizes = parts.iter().map(|part| text(&exposition, Encoding::Identity, part).len());
        let largest = sizes.max().unwrap_or_default() as f64 / MIB;
        judge(&format!("{profile}: largest of {} targets that /sd lists", parts.len()), "MiB", 8.0, largest);
        for pipelines in [20, 1_000, pipelines] {
            let exposition = healthy(pipelines, profile);
            let [plain, packed] = [Encoding::Identity, Encoding::Gzip]
                .map(|encoding| text(&exposition, encoding, &Part::Whole).len() as f64 / 1e6);
            println!("{profile}, {pipelines} pipelines: {plain:.2} MB, {packed:.2} MB gzipped");
        }
    }
}

fn healthy(pipelines: usize, profile: Profile) -> Arc<Exposition> {
    Picture::with_trouble(pipelines, usize::MAX).exposition(profile)
}

fn is_sample(line: &[u8]) -> bool {
    !line.is_empty() && !line.starts_with(b"#")
}

/// How long a Prometheus takes to scrape a fleet that does not change, with the one profile and with the other.
fn scrape_durations(pipelines: usize, scrapes: u32) {
    let program = option("--prometheus", "prometheus".to_owned());
    let [full, lean] = ["full", "lean"].map(|profile| {
        let exporter = Program::this(&["--serve", profile, "--pipelines", &pipelines.to_string()]);
        let (duration, cpu) = Prometheus::scrape(&program, &exporter.address, scrapes);
        println!("{profile}: {:.2} s of Prometheus' CPU for each scrape", cpu.as_secs_f64());
        duration
    });
    println!("scrape_duration_seconds of {pipelines} pipelines: full {full:.3}, lean {lean:.3}");
    judge("scrape_duration_seconds, lean against full", "x", 0.5, lean / full);
}

/// For Prometheus and vmagent.
fn configuration(discovery: &str) -> String {
    format!(
        "global: {{scrape_interval: 30s, scrape_timeout: 30s}}\nscrape_configs:\n  - job_name: goldrush\n    {discovery}\n"
    )
}

/// Two Prometheus servers, a vmagent and an open page, while everything is polled at the default intervals.
fn memory(pipelines: usize, time: Duration) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let api = simulated_api(&runtime, pipelines);
    let program = option("--program", env!("CARGO_BIN_EXE_goldrush-exporter").to_owned());
    let budget = [("POLL__REQUESTS_PER_SECOND", "2000"), ("POLL__MAX_IN_FLIGHT", "32")];
    let exporter = Program::exporter(&program, &api, &budget);
    exporter.wait_for_readings(pipelines);
    let targets = format!("static_configs: [{{targets: ['{}']}}]", exporter.address);
    let program = option("--prometheus", "prometheus".to_owned());
    let servers = [0; 2].map(|_| Prometheus::start(&program, &configuration(&targets)));
    // vmagent drops targets larger than 16 MiB.
    let (vmagent, _data) =
        vmagent(&configuration(&format!("http_sd_configs: [{{url: 'http://{}/sd'}}]", exporter.address)));
    let begin = Instant::now();
    let mut sizes = Vec::new();
    while begin.elapsed() < time {
        // As often as the page's script does.
        http(&exporter.address, "/");
        for _ in 0..5 {
            std::thread::sleep(Duration::from_secs(1));
            sizes.push(exporter.resident());
        }
    }
    // What does not scrape costs no memory.
    for server in &servers {
        assert_eq!(server.value("min(min_over_time(up[1d]))"), 1.0, "a scrape by Prometheus has failed");
    }
    let targets: serde_json::Value = serde_json::from_str(&http(&vmagent.address, "/api/v1/targets")).unwrap();
    let targets = targets["data"]["activeTargets"].as_array().unwrap();
    assert!(!targets.is_empty() && targets.iter().all(|target| target["health"] == "up"), "vmagent: {targets:?}");
    let third = sizes.len().div_ceil(3);
    let most = |sizes: &[f64]| sizes.iter().copied().fold(0.0, f64::max);
    let minutes = time.as_secs_f64() / 60.0;
    judge(
        &format!("resident, two Prometheus, a vmagent and a page, {minutes:.0} min, most"),
        "MiB",
        64.0,
        most(&sizes),
    );
    let growth = most(&sizes[2 * third..]) / most(&sizes[third..2 * third]);
    judge("the last third of that time against the second", "x", 1.03, growth);
}

/// A vmagent without a receiver for its samples.
fn vmagent(configuration: &str) -> (Program, Folder) {
    let data = Folder::new();
    let file = data.path().join("vmagent.yml");
    std::fs::write(&file, configuration).unwrap();
    let address = free_address();
    let mut command = Command::new(option("--vmagent", "vmagent".to_owned()));
    command.arg(format!("-httpListenAddr={address}"));
    command.arg(format!("-promscrape.config={}", file.display()));
    command.arg("-remoteWrite.url=http://127.0.0.1:9/");
    command
        .arg(format!("-remoteWrite.tmpDataPath={}", data.path().display()))
        .arg("-remoteWrite.maxDiskUsagePerURL=500MB");
    (Program::listening(command.stdout(Stdio::null()).stderr(Stdio::null()), address), data)
}
