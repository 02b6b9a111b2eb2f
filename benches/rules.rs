//! What the shipped rules cost a Prometheus: one evaluation of all groups against one scrape of what they read, in the
//! same run, with a healthy fleet and with one pipeline in a hundred in trouble.
//!
//! `cargo bench --bench rules [-- --pipelines 10000] [-- --seconds 700] [-- --prometheus prometheus]`, by hand.
//! Each fleet is measured in the second half of the seconds, when its alerts are firing; with fewer than the default,
//! tickets are not.

mod common;

use std::path::Path;
use std::process::Command;
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
    let version = version(&program);
    println!("Prometheus {version}");
    // Prometheus 2 evaluates rules more slowly.
    let goal = if version.starts_with("2.") { 0.25 } else { 0.1 };
    let measure = |fleet, trouble_in| measure(fleet, pipelines, trouble_in, &program, option("--seconds", 700));
    let healthy = measure("all healthy", usize::MAX);
    // Of this many pipelines, three are in trouble, each of another kind.
    let troubled = measure("1 % in trouble", 300);
    let judge = |what: &str, goal, measured| judge(&format!("{version}, {what}"), "x", goal, measured);
    judge("healthy: an evaluation of all groups against a scrape", goal, healthy.rules / healthy.scrape);
    judge("1 % in trouble: against healthy", 2.0, troubled.rules / healthy.rules);
    // The cheaper a healthy fleet, the less that ratio says about what a bad day costs.
    judge("1 % in trouble: against a scrape", 2.0 * goal, troubled.rules / troubled.scrape);
}

/// Such as `3.5.0`.
fn version(program: &str) -> String {
    let output = Command::new(program).arg("--version").output().expect("prometheus cannot be started");
    // Some versions print it as an error.
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let word = text.split_whitespace().skip_while(|word| *word != "version").nth(1);
    word.unwrap_or_else(|| panic!("{program} --version: {text}")).to_owned()
}

/// Medians, in seconds.
struct Cost {
    /// One evaluation of all groups.
    rules: f64,
    scrape: f64,
}

fn measure(fleet: &str, pipelines: usize, trouble_in: usize, program: &str, seconds: u64) -> Cost {
    let [count, one_in] = [pipelines, trouble_in].map(|number| number.to_string());
    let exporter = Program::this(&["--serve", "--pipelines", &count, "--trouble-in", &one_in]);
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join(RULES);
    let configuration = format!(
        "global: {{scrape_interval: 10s, scrape_timeout: 10s, evaluation_interval: 30s}}\n\
         rule_files: ['{}']\n\
         scrape_configs:\n  - job_name: goldrush\n    static_configs: [{{targets: ['{}']}}]\n",
        rules.display(),
        exporter.address
    );
    let prometheus = Prometheus::start(program, &configuration);
    let mut evaluations = Vec::new();
    for second in 0..seconds {
        std::thread::sleep(Duration::from_secs(1));
        if second >= seconds / 2 {
            evaluations.push(last_evaluations(&prometheus));
        }
    }
    // Rules without samples cost nothing.
    let up = prometheus.value(&format!("min(min_over_time(up[{}s]))", seconds / 2));
    assert_eq!(up, 1.0, "a scrape has failed");
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
    assert_eq!(troubles > 0, trouble_in < pipelines, "{fleet}: {troubles} troubles");
    assert!(!medians.is_empty(), "Prometheus evaluates no rules");
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
