//! What the shipped rules cost a Prometheus beside the scrape that they look at: one evaluation of all groups against
//! one scrape, in the same run, with a healthy fleet and with one pipeline in a hundred in trouble.
//!
//! By hand: `cargo bench --bench rules [-- --pipelines 10000] [-- --seconds 700] [-- --prometheus prometheus]`. Each fleet is
//! measured in the second half of the seconds, when its alerts are firing: pages after 200 s in all, tickets with the default.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{OPENMETRICS, Picture, Program, Prometheus, get, is_given, judge, option};

const RULES: &str = "alerts/goldrush.rules.yml";

fn main() {
    let pipelines = option("--pipelines", 10_000);
    if is_given("--serve") {
        let picture = Picture::with_trouble(pipelines, option("--trouble-in", usize::MAX));
        let _runtime = picture.serve();
        return picture.poll_all_every(Duration::from_secs(10));
    }
    let program = option("--prometheus", "prometheus".to_owned());
    let version = Command::new(&program).arg("--version").stderr(Stdio::null()).output().unwrap();
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    println!("{}", version.lines().next().unwrap_or_default());
    // Debian's 2.42 evaluates rules more slowly than newer versions.
    let goal = if version.contains("version 2.") { 0.25 } else { 0.1 };
    let measure = |fleet, trouble_in| measure(fleet, pipelines, trouble_in, &program, option("--seconds", 700));
    let healthy = measure("all healthy", usize::MAX);
    judge("all healthy: an evaluation of all groups against a scrape", "x", goal, healthy.rules / healthy.scrape);
    // Of this many pipelines, three are in trouble, each of another kind.
    let troubled = measure("1 % in trouble", 300);
    judge("1 % in trouble: against a scrape", "x", 2.0 * goal, troubled.rules / troubled.scrape);
    judge("1 % in trouble: against all healthy", "x", 2.0, troubled.rules / healthy.rules);
}

/// Medians, in seconds.
struct Cost {
    /// One evaluation of all groups.
    rules: f64,
    scrape: f64,
}

fn measure(fleet: &str, pipelines: usize, trouble_in: usize, program: &str, seconds: u64) -> Cost {
    let [count, trouble_in] = [pipelines, trouble_in].map(|number| number.to_string());
    let exporter = Program::this(&["--serve", "--pipelines", &count, "--trouble-in", &trouble_in]);
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join(RULES);
    let configuration = format!(
        "global: {{scrape_interval: 10s, scrape_timeout: 10s, evaluation_interval: 30s}}\n\
         rule_files: ['{}']\n\
         scrape_configs:\n  - job_name: goldrush\n    static_configs: [{{targets: ['{}']}}]\n",
        rules.display(),
        exporter.address
    );
    let prometheus = Prometheus::start(program, &configuration);
    // Prometheus tells how long its last evaluations took; the medians are of the second half, when alerts are firing.
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
    Cost { rules: all, scrape }
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
