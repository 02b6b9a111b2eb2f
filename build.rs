//! Passes the revision and the compiler to the program, for `--version` and `build_info`.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=GOLDRUSH_REVISION");
    println!("cargo::rerun-if-changed=build.rs");
    if Path::new(PACKAGED).exists() {
        println!("cargo::rerun-if-changed={PACKAGED}");
    }
    // Packages and images are built without a git directory: they pass the revision in. A git directory further up is
    // not ours.
    let git = |arguments: &[&str]| Path::new(".git").exists().then(|| output("git", arguments)).flatten();
    for path in ["HEAD", "logs/HEAD"] {
        // In a work tree these are elsewhere. The log grows with each commit. A path that does not exist would rerun
        // this script every time.
        if let Some(path) = git(&["rev-parse", "--git-path", path]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let revision = std::env::var("GOLDRUSH_REVISION").ok().or_else(packaged);
    let revision = revision.or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    println!("cargo::rustc-env=GOLDRUSH_REVISION={}", revision.as_deref().unwrap_or("unknown"));
    let rustc = std::env::var("RUSTC").ok().and_then(|rustc| output(&rustc, &["--version"]));
    let version = rustc.as_deref().and_then(|text| text.split_whitespace().nth(1));
    println!("cargo::rustc-env=GOLDRUSH_RUSTC={}", version.unwrap_or("unknown"));
}

const PACKAGED: &str = ".cargo_vcs_info.json";

/// The commit that `cargo package` wrote into the crate. Before git's: around an unpacked crate, a git directory is its
/// packager's.
fn packaged() -> Option<String> {
    let text = std::fs::read_to_string(PACKAGED).ok()?;
    let (_, after) = text.split_once("\"sha1\"")?;
    let commit = after.split('"').nth(1)?;
    let is_commit = commit.len() >= 12 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_commit.then(|| commit[..12].to_owned())
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
