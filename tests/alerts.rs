//! The alerts in the hands of promtool and amtool: each fires when it must, with the text it must have, and not in the nearest
//! harmless case; and each goes to whom it must. `alerting.rs` runs them.

mod common;
#[path = "alerts/generated.rs"]
mod generated;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::tools::tool;
use goldrush_exporter::trouble::kinds::{Kind, Rule};
use regex::Regex;

/// Alerts about what is no kind of trouble: the exporter itself, and what only Prometheus remembers.
const BY_HAND: &[&str] = &[
    "GoldRushWatchdog",
    "GoldRushExporterDown",
    "GoldRushExporterInstanceDown",
    "GoldRushExporterAbsent",
    "GoldRushExporterJobLost",
    "GoldRushExporterRestarting",
    "GoldRushShardMissing",
    "GoldRushConfigReloadFailed",
    "GoldRushPipelineCountDropped",
];

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

fn rules() -> String {
    std::fs::read_to_string(folder().join("goldrush.rules.yml")).unwrap()
}

#[test]
fn the_generated_rules_are_what_the_table_gives() {
    let marker = "the_generated_rules\n";
    let rules = rules();
    let written = &rules[..rules.find(marker).expect("the marker is in the file") + marker.len()];
    let expected = format!("{written}{}", generated::groups());
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(folder().join("goldrush.rules.yml"), expected).unwrap();
    } else {
        let write = "UPDATE_EXPECTED=1 cargo test --test alerts the_generated_rules";
        assert!(rules == expected, "goldrush.rules.yml is not what the table gives; `{write}` writes it");
    }
}

/// One case of promtool's: the text from its name to the next one.
fn cases() -> Vec<String> {
    let files = std::fs::read_dir(folder().join("tests")).unwrap().map(|entry| entry.unwrap().path());
    let texts = files.map(|path| std::fs::read_to_string(path).unwrap());
    texts.flat_map(|text| text.split("  - name: ").skip(1).map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// What is missing for the kinds of the table, given the rules and promtool's cases.
fn missing(rules: &str, cases: &[String]) -> Vec<String> {
    let mut missing = Vec::new();
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).map(|rule| rule.lines().next().unwrap()).collect();
    for kind in Kind::ALL {
        let row = kind.row();
        if !alerts.contains(&row.alert) {
            missing.push(format!("{kind}: there is no alert {} in goldrush.rules.yml", row.alert));
        }
        if !folder().join(format!("runbooks/{}.md", row.alert)).exists() {
            missing.push(format!("{kind}: there is no runbooks/{}.md", row.alert));
        }
        if !row.sentence.ends_with('.') {
            missing.push(format!("{kind}: its sentence does not end with a period"));
        }
        let trouble = format!("{}{{", row.scope.gauge());
        let shows = |case: &&String| {
            let of_kind = format!("kind=\"{kind}\"");
            let shown = case.lines().any(|line| line.contains(&trouble) && line.contains(&of_kind));
            let expected = format!("alertname: {}\n        exp_alerts:\n", row.alert);
            (shown || matches!(row.rule, Rule::Written)) && case.contains(&expected)
        };
        if !cases.iter().any(|case| shows(&case)) {
            missing.push(format!("{kind}: no case in alerts/tests shows {} fire because of it", row.alert));
        }
    }
    for alert in alerts {
        if !BY_HAND.contains(&alert) && !Kind::ALL.iter().any(|kind| kind.row().alert == alert) {
            missing.push(format!(
                "{alert}: it is in goldrush.rules.yml, but neither in the table of kinds nor in BY_HAND"
            ));
        }
    }
    missing
}

#[test]
fn every_kind_has_its_alert_runbook_sentence_and_promtool_case() {
    let (rules, cases) = (rules(), cases());
    assert_eq!(missing(&rules, &cases), Vec::<String>::new());

    // The check itself can fail.
    let none: &[String] = &[];
    assert_eq!(missing(&rules, none).len(), Kind::ALL.len());
    let renamed = rules.replace("- alert: GoldRushPipelineFailed\n", "- alert: GoldRushPipelineBroken\n");
    let found = missing(&renamed, &cases);
    assert_eq!(
        found,
        [
            "failed: there is no alert GoldRushPipelineFailed in goldrush.rules.yml",
            "GoldRushPipelineBroken: it is in goldrush.rules.yml, but neither in the table of kinds nor in BY_HAND",
        ]
    );
}

/// Each firing alert asks these queries at each evaluation: none may read the series of all pipelines. Troubles are few.
#[test]
fn the_queries_of_texts_are_about_one_pipeline() {
    let selector = Regex::new(r"\b(goldrush_pipeline_[a-z_]+)(\{[^}]*\})?").unwrap();
    let is_cheap =
        |metric: &str, matchers: &str| metric == "goldrush_pipeline_trouble" || matchers.contains("pipeline_id=%");
    let mut seen = 0;
    for kind in Kind::ALL {
        let Rule::Generated(alert) = &kind.row().rule else { continue };
        for found in selector.captures_iter(alert.description) {
            let matchers = found.get(2).map_or("", |matchers| matchers.as_str());
            assert!(is_cheap(&found[1], matchers), "{kind}: {} is read for all pipelines", &found[1]);
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
#[ignore = "needs promtool"]
fn the_rules_are_rules() {
    run(tool("promtool").args(["check", "rules", "goldrush.rules.yml", "goldrush-slo.rules.yml"]));
}

#[test]
#[ignore = "needs promtool"]
fn every_unit_test_of_the_rules_passes() {
    let files = std::fs::read_dir(folder().join("tests")).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = files.filter(|path| path.to_string_lossy().ends_with(".test.yml")).collect();
    assert!(files.len() >= 4, "{files:?}");
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
#[ignore = "needs promtool"]
fn prometheus_takes_the_example() {
    let printed = run(tool("promtool").args(["check", "config", "prometheus.yml"]));
    assert!(printed.contains("1 rule files found"), "{printed}");
}

#[test]
#[ignore = "needs promtool"]
fn prometheus_takes_the_scrape_configurations_of_the_documentation() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = ["README.md", "docs/http-api.md", "docs/operations.md"];
    let texts = pages.map(|page| std::fs::read_to_string(root.join(page)).unwrap());
    let blocks =
        texts.iter().flat_map(|text| text.split("```yaml\n").skip(1)).map(|rest| rest.split("```").next().unwrap());
    let blocks: Vec<&str> = blocks.filter(|block| block.contains("scrape_configs:")).collect();
    assert_eq!(blocks.len(), 3);
    for block in blocks {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("goldrush.rules.yml"), rules()).unwrap();
        std::fs::write(folder.path().join("prometheus.yml"), block).unwrap();
        run(tool("promtool").args(["check", "config"]).arg(folder.path().join("prometheus.yml")));
    }
}

#[test]
#[ignore = "needs amtool"]
fn alertmanager_takes_the_example_before_its_secrets_exist() {
    // amtool does not look for the files that hold the secrets. That they are read is shown in `alerting.rs`.
    let printed = run(tool("amtool").args(["check-config", "alertmanager.yml"]));
    assert!(printed.contains("6 receivers"), "{printed}");
}

#[test]
#[ignore = "needs amtool"]
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
        // The owner's, or the on-call's if the owner has no route.
        ("webhook,data-pager,data-chat", "alertname=GoldRushPipelineFailed severity=critical account=prod team=data"),
        ("webhook,data-chat", "alertname=GoldRushRecordsDropped severity=warning account=prod team=data"),
        ("webhook,data-chat", "alertname=GoldRushReadingsStale severity=warning account=prod team=data"),
        ("webhook,pager,chat", "alertname=GoldRushPipelineFailed severity=critical account=prod team=platform"),
        ("webhook,chat", "alertname=GoldRushRecordsDropped severity=warning account=prod team="),
        ("dead-mans-switch", "alertname=GoldRushWatchdog severity=none"),
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
