//! The alerts in promtool's hands: each fires when it must, with the text it must have, and not in the nearest harmless case.

use std::path::Path;
use std::process::Command;

#[track_caller]
fn promtool(arguments: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts");
    let output = Command::new("promtool").args(arguments).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| panic!("promtool ({error}): tests/run installs it"));
    let printed = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&printed));
}

#[test]
fn the_rules_are_rules() {
    promtool(&["check", "rules", "goldrush.rules.yml"]);
}

#[test]
fn every_unit_test_of_the_rules_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts/tests");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| format!("tests/{}", entry.unwrap().file_name().to_str().unwrap()))
        .filter(|name| name.ends_with(".test.yml"))
        .collect();
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    promtool(&[&["test", "rules"], files.as_slice()].concat());
}
