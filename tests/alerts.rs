//! The alerts in the hands of promtool and amtool: each fires when it must, with the text it must have, and not in the nearest
//! harmless case; and each goes to whom it must. `alerting.rs` runs them.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::tools::tool;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts")
}

/// Runs a tool in the folder of the alerts; answers what it prints.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.current_dir(folder()).output().unwrap();
    let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{command:?}: {printed}");
    printed
}

#[test]
fn the_rules_are_rules() {
    run(tool("promtool").args(["check", "rules", "goldrush.rules.yml"]));
}

#[test]
fn every_unit_test_of_the_rules_passes() {
    let files = std::fs::read_dir(folder().join("tests")).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = files.filter(|path| path.to_string_lossy().ends_with(".test.yml")).collect();
    assert!(files.len() >= 6, "{files:?}");
    std::thread::scope(|scope| {
        let tests: Vec<_> = files
            .iter()
            .map(|file| scope.spawn(move || run(tool("promtool").args(["test", "rules"]).arg(file))))
            .collect();
        // Each has failed by itself, with what promtool said.
        assert!(!tests.into_iter().map(|test| test.join()).any(|test| test.is_err()));
    });
}

#[test]
fn prometheus_takes_the_example() {
    let printed = run(tool("promtool").args(["check", "config", "prometheus.yml"]));
    assert!(printed.contains("1 rule files found"), "{printed}");
}

#[test]
fn alertmanager_takes_the_example_before_its_secrets_exist() {
    // amtool does not look for the files that hold the secrets. That they are read is shown in `alerting.rs`.
    let printed = run(tool("amtool").args(["check-config", "alertmanager.yml"]));
    assert!(printed.contains("3 receivers"), "{printed}");
}

#[test]
fn pages_go_to_the_pager_and_tickets_do_not() {
    for (receivers, labels) in [
        (
            "webhook,pager,chat",
            "alertname=GoldRushDestinationUnhealthy severity=critical account=prod pipeline_id=pipe_1",
        ),
        ("webhook,pager,chat", "alertname=GoldRushServiceKeyUnauthorized severity=critical account=prod"),
        ("webhook,pager,chat", "alertname=GoldRushApiUnavailable severity=critical account=prod job=goldrush"),
        ("webhook,pager,chat", "alertname=GoldRushExporterAbsent severity=critical"),
        ("webhook,pager,chat", "alertname=GoldRushShardMissing severity=critical job=goldrush"),
        ("webhook,chat", "alertname=GoldRushRecordsDropped severity=warning account=prod pipeline_id=pipe_1"),
        ("webhook,chat", "alertname=GoldRushConfigReloadFailed severity=warning instance=a:9877"),
        // Of somebody else's rules.
        ("pager,chat", "alertname=NodeDown severity=critical"),
        ("chat", "alertname=NodeSlow severity=warning"),
        ("chat", "alertname=Watchdog"),
    ] {
        let mut amtool = tool("amtool");
        amtool.args(["config", "routes", "test", "--config.file=alertmanager.yml", "--verify.receivers", receivers]);
        run(amtool.args(labels.split(' ')));
    }
}

#[test]
fn the_readme_says_what_to_do_first_for_every_page() {
    let rules = std::fs::read_to_string(folder().join("goldrush.rules.yml")).unwrap();
    let alerts = rules.split("- alert: ").skip(1);
    let pages = alerts.filter(|alert| alert.contains("severity: critical")).map(|alert| alert.lines().next().unwrap());
    let pages: BTreeSet<&str> = pages.collect();
    let readme = include_str!("../README.md");
    let rows = readme.split("| page | first |").nth(1).unwrap().split("\n\n").next().unwrap().lines();
    let first_cells = rows.filter_map(|row| row.strip_prefix("| ")?.split(" | ").next());
    let named = first_cells.flat_map(|cell| cell.split('`')).filter(|word| word.starts_with("GoldRush"));
    assert_eq!(named.collect::<BTreeSet<&str>>(), pages);
}
