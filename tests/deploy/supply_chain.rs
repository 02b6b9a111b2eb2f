//! Where the parts come from: licences, sources, the revision that a binary names.

use std::process::Command;

use serde_json::Value;

use crate::tools::{ROOT, program, run, say};

#[test]
#[ignore = "needs cargo-deny"]
fn every_crate_is_permissive_and_comes_from_the_registry() {
    let said = run(program("cargo-deny").args(["--offline", "check", "licenses", "bans", "sources"]));
    assert!(said.success, "{}{}", said.stdout, said.stderr);
    let verdict = said.stdout + &said.stderr;
    assert!(verdict.contains("bans ok, licenses ok, sources ok"), "{verdict}");
}

#[test]
#[ignore = "needs git"]
fn the_lock_file_is_part_of_the_repository() {
    assert_eq!(say("git", &["ls-files", "Cargo.lock"]), "Cargo.lock\n");
}

/// Clippy compares what is used of the standard library with `rust-version`, and ci.yml compiles with that version. This is about the
/// dependencies, without that compiler.
#[test]
#[ignore = "needs cargo"]
fn no_dependency_needs_a_newer_compiler_than_rust_version() {
    let metadata = say("cargo", &["metadata", "--locked", "--offline", "--format-version=1"]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    // 1.88 is 1.88.0.
    let number = |version: &str| -> [u32; 3] {
        let mut parts = version.split('.').map(|part| part.parse().unwrap());
        std::array::from_fn(|_| parts.next().unwrap_or(0))
    };
    let packages = metadata["packages"].as_array().unwrap().iter();
    let versions = packages.filter_map(|package| Some((package["rust_version"].as_str()?, &package["id"])));
    let (newest, package) = versions.max_by_key(|(version, _)| number(version)).unwrap();
    assert!(number(newest) <= number(env!("CARGO_PKG_RUST_VERSION")), "{package} needs Rust {newest}");
}

#[test]
#[ignore = "needs git"]
fn without_a_git_folder_the_revision_is_passed_in_or_that_of_the_package() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("build-script");
    say("rustc", &["--edition=2024", "-o", script.to_str().unwrap(), &format!("{ROOT}/build.rs")]);
    // Also below another repository, such as a packager's: its revision is not ours.
    say("git", &["init", "--quiet", folder.path().to_str().unwrap()]);
    let source = folder.path().join("goldrush-exporter");
    std::fs::create_dir(&source).unwrap();
    let revision = |passed: Option<&str>| {
        let mut command = Command::new(&script);
        command.current_dir(&source).env_remove("GOLDRUSH_REVISION");
        let said = run(command.envs(passed.map(|revision| ("GOLDRUSH_REVISION", revision))));
        let line = said.stdout.lines().find_map(|line| line.strip_prefix("cargo::rustc-env=GOLDRUSH_REVISION="));
        line.unwrap().to_owned()
    };
    assert_eq!(revision(Some("0123456789ab")), "0123456789ab");
    assert_eq!(revision(None), "unknown");
    let packaged = |info: &str| std::fs::write(source.join(".cargo_vcs_info.json"), info).unwrap();
    packaged(r#"{ "git": { "sha1": "fedcba9876543210fedcba9876543210fedcba98" }, "path_in_vcs": "" }"#);
    assert_eq!(revision(None), "fedcba987654");
    assert_eq!(revision(Some("0123456789ab")), "0123456789ab");
    // A packager's repository around the unpacked crate.
    say("git", &["init", "--quiet", source.to_str().unwrap()]);
    assert_eq!(revision(None), "fedcba987654");
    for broken in ["", r#"{"path_in_vcs": ""}"#, r#"{"git": {"sha1": "not a commit"}}"#, r#"{"git": {"sha1""#] {
        packaged(broken);
        assert_eq!(revision(None), "unknown", "{broken}");
    }
}
