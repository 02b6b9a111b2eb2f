//! What the shipped rules cost a Prometheus beside the scrape that they look at: one evaluation of all groups against
//! one scrape, in the same run, with a healthy fleet and with one pipeline in a hundred in trouble.
//!
//! By hand: `cargo bench --bench rules [-- --pipelines 10000] [-- --seconds 600] [-- --prometheus prometheus]`. With the
//! seconds of the default, the windows of half an hour hold as many samples as with scrapes every 30 s.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{OPENMETRICS, Peer, Picture, Prometheus, get, judge, option};

const RULES: &str = "alerts/goldrush.rules.yml";

fn main() {
    let pipelines = option("--pipelines", 10_000);
    if std::env::args().any(|argument| argument == "--serve") {
        let picture = Picture::with_trouble(pipelines, option("--trouble-in", usize::MAX));
        let _runtime = picture.serve();
        return picture.poll_all_every(Duration::from_secs(10));
    }
    let program = option("--prometheus", "prometheus".to_owned());
    let version = Command::new(&program).arg("--version").stderr(Stdio::null()).output().unwrap();
    println!("{}", String::from_utf8_lossy(&version.stdout).lines().next().unwrap_or_default());
    // Of this many pipelines, three are in trouble, each of another kind.
    for (fleet, trouble_in) in [("all healthy", usize::MAX), ("1 % in trouble", 300)] {
        measure(fleet, pipelines, trouble_in, &program, option("--seconds", 600));
    }
}

fn measure(fleet: &str, pipelines: usize, trouble_in: usize, program: &str, seconds: u64) {
    let [count, trouble_in] = [pipelines, trouble_in].map(|number| number.to_string());
    let exporter = Peer::this(&["--serve", "--pipelines", &count, "--trouble-in", &trouble_in]);
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join(RULES);
    let configuration = format!(
        "global: {{scrape_interval: 10s, scrape_timeout: 10s, evaluation_interval: 30s}}\n\
         rule_files: ['{}']\n\
         scrape_configs:\n  - job_name: goldrush\n    static_configs: [{{targets: ['{}']}}]\n",
        rules.display(),
        exporter.address
    );
    let prometheus = Prometheus::start(program, &configuration);
    // Prometheus tells how long its last evaluations took; the medians are of the second half, when windows are fullest.
    let mut evaluations = Vec::new();
    for second in 0..seconds {
        std::thread::sleep(Duration::from_secs(1));
        if second >= seconds / 2 {
            evaluations.push(last_evaluations(&prometheus));
        }
    }
    let groups = evaluations.last().unwrap().iter().map(|(group, _)| group);
    let medians: Vec<(&String, f64)> = groups
        .map(|name| {
            let durations =
                evaluations.iter().flatten().filter(|(group, _)| group == name).map(|(_, duration)| *duration);
            (name, common::median(durations.collect()))
        })
        .collect();
    let all: f64 = medians.iter().map(|(_, duration)| duration).sum();
    let scrape = prometheus.value(&format!("quantile_over_time(0.5, scrape_duration_seconds[{}s])", seconds / 2));
    let text = String::from_utf8(get(&exporter.address, OPENMETRICS, false, true).0).unwrap();
    let troubles = text.matches("\ngoldrush_pipeline_trouble{").count();
    println!("{pipelines} pipelines, {fleet}: {troubles} troubles shown; rules {all:.3} s, scrape {scrape:.3} s");
    medians.iter().for_each(|(group, duration)| println!("  {group}: {duration:.4} s"));
    judge(&format!("{fleet}: an evaluation of all groups against a scrape"), "x", 0.25, all / scrape);
}

/// How long each group's last evaluation took, in seconds.
fn last_evaluations(prometheus: &Prometheus) -> Vec<(String, f64)> {
    let metrics = common::http(prometheus.address(), "/metrics");
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("prometheus_rule_group_last_duration_seconds{"));
    lines
        .filter_map(|line| {
            let (labels, duration) = line.rsplit_once("} ")?;
            let (_, group) = labels.trim_end_matches('"').rsplit_once(';')?;
            Some((group.to_owned(), duration.parse().ok()?))
        })
        .collect()
}
