//! The programs that the tests of deploy/ use, and the one release that they share.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// The top of the repository.
pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Where tests/run has installed what the tests need.
pub const TOOLS: &str = "target/test-tools";

/// What the release is built for here.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The profile of Cargo.toml with which the release is built. The tests are about what is done with the program; those that are about
/// its bytes need `shipped`, which takes minutes longer: .github/workflows/nightly.yml and release.yml run them.
pub fn profile() -> String {
    std::env::var("RELEASE_PROFILE").unwrap_or_else(|_| "rehearsal".to_owned())
}

/// What a program has said.
pub struct Said {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

/// A program in the repository's folder, with the tools that tests/run has installed at hand.
pub fn program(name: &str) -> Command {
    let tools =
        ["target/test-tools/deploy/bin", "target/test-tools/cargo/bin"].map(|folder| format!("{ROOT}/{folder}"));
    let mut command = Command::new("env");
    // `env` looks the program up in the PATH that it is given.
    command.arg(format!("PATH={}:{}", tools.join(":"), std::env::var("PATH").unwrap())).arg(name);
    command.current_dir(ROOT).stdin(Stdio::null());
    // cargo hands it to tests; a build that inherits it is another one than that of the tests, and each would undo the other.
    command.env_remove("GOLDRUSH_REVISION");
    command
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    let (stdout, stderr) =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).into();
    assert_ne!(output.status.code(), Some(127), "{command:?}: {stderr}(tests/run installs it)");
    Said { success: output.status.success(), stdout, stderr }
}

/// What a program that must succeed says on standard output.
#[track_caller]
pub fn say(name: &str, arguments: &[&str]) -> String {
    let said = run(program(name).args(arguments));
    assert!(said.success, "{name} {arguments:?}: {}{}", said.stdout, said.stderr);
    said.stdout
}

/// The folder of a release of this tree, made by the release script, once.
pub fn release() -> &'static Path {
    static RELEASE: LazyLock<PathBuf> = LazyLock::new(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let mut script = program("deploy/release/release");
        script.arg(TARGET).env("CARGO_TARGET_DIR", target).env("UNCOMMITTED", "1").env("RELEASE_PROFILE", profile());
        let said = run(&mut script);
        assert!(said.success, "deploy/release/release: {}{}", said.stdout, said.stderr);
        target.join("dist")
    });
    &RELEASE
}

/// The file of the release whose name ends like this.
#[track_caller]
pub fn released(end: &str) -> PathBuf {
    let files = std::fs::read_dir(release()).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = files.filter(|path| path.to_str().unwrap().ends_with(end)).collect();
    let [file] = files.as_slice() else { panic!("one file *{end}: {files:?}") };
    file.clone()
}

/// The links of a README that lead nowhere, where it lies below that folder.
pub fn dead_links(folder: &Path, readme: &str) -> Vec<String> {
    let readme = folder.join(readme);
    let text = std::fs::read_to_string(&readme).unwrap_or_else(|error| panic!("{}: {error}", readme.display()));
    let links = text.split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap());
    let dead = links.filter(|link| !link.starts_with("http") && !readme.parent().unwrap().join(link).exists());
    dead.map(str::to_owned).collect()
}

/// The pages of documentation that the README links to.
pub fn pages() -> Vec<String> {
    let files = std::fs::read_dir(Path::new(ROOT).join("docs")).unwrap();
    let names = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let pages: Vec<String> = names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")).collect();
    assert!(!pages.is_empty());
    pages
}

/// The documents of a YAML file, as JSON.
#[track_caller]
pub fn yaml(text: &str) -> Vec<serde_json::Value> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let script = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    serde_json::from_str(&say("python3", &["-c", script, file.path().to_str().unwrap()])).unwrap()
}

/// A file of the repository.
#[track_caller]
pub fn file(path: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
