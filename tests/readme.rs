//! The README says what is so: its table of metrics is the table in the code, its settings are the settings.

mod common;

use std::collections::BTreeSet;

use common::{Api, Exporter};
use goldrush_exporter::exposition::{FAMILIES, Subject};

const README: &str = include_str!("../README.md");

/// The README's table of metrics, written from the code.
fn table() -> String {
    let mut table = "| metric | type | labels | in lean | meaning |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for family in FAMILIES {
        let labels = match family.subject() {
            Subject::Account => [family.subject().labels(), family.labels].concat().join(", "),
            Subject::Exporter | Subject::Pipeline => family.labels.join(", "),
        };
        let (name, kind, help) = (family.name, family.kind.as_str(), family.help);
        let lean = if family.in_lean { "yes" } else { "" };
        table.push_str(&format!("| `{name}` | {kind} | {labels} | {lean} | {help} |\n"));
    }
    table
}

#[test]
fn the_table_of_metrics_is_the_table_in_the_code() {
    let table = table();
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        let begin = README.find("| metric | type |").expect("the table is there");
        let end = begin + README[begin..].find("\n\n").expect("the table ends") + 1;
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        std::fs::write(path, format!("{}{table}{}", &README[..begin], &README[end..])).unwrap();
        return;
    }
    assert!(README.contains(&table), "README.md is not what the table gives; UPDATE_EXPECTED=1 writes it");
}

#[test]
fn every_metric_is_in_the_readme_and_every_metric_in_the_readme_exists() {
    let api = Api::healthy(1);
    let exposition =
        Exporter::of(&api).until("a pipeline", |exposition| exposition.0.contains("goldrush_pipeline_phase"));
    let shown = exposition.0.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let known: BTreeSet<&str> = shown.chain(FAMILIES.iter().map(|family| family.name)).collect();
    for name in known.iter().filter(|name| !name.starts_with("process_")) {
        assert!(README.contains(&format!("`{name}`")), "{name} is missing");
    }
    let words = README.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    for word in words.filter(|word| word.starts_with("goldrush_") && !word.ends_with('_')) {
        let name = word.strip_suffix("_bucket").or(word.strip_suffix("_count")).unwrap_or(word);
        assert!(known.contains(name), "README names {word}, which is no metric");
    }
}

#[test]
fn the_example_configuration_is_accepted() {
    let yaml = README.split("```yaml\n").find(|block| block.starts_with("api:")).unwrap();
    let yaml = yaml.split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "sk_of_prod").unwrap();
    let yaml = yaml.replace("/run/secrets/goldrush-prod", key.to_str().unwrap());
    let file = folder.path().join("goldrush.yml");
    std::fs::write(&file, yaml).unwrap();
    let staging = common::environment(&[("GOLDRUSH_STAGING_SERVICE_KEY", "sk_of_staging")]);
    let ended = common::run(&["--config.check", "--config.file", file.to_str().unwrap()], &staging);
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
    for setting in ended.stdout.lines().filter_map(|line| line.trim_start_matches([' ', '-']).split(':').next()) {
        assert!(README.contains(&format!("{setting}:")), "the setting {setting} is missing");
    }
}
