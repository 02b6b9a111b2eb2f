//! Third-party programs that `tests/run` installs.

use std::io::Write as _;
use std::process::{Command, Stdio};

#[track_caller]
pub fn tool(name: &str) -> Command {
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-tools/python/bin/python3");
    let tsc = concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-tools/npm/node_modules/.bin/tsc");
    let path = match name {
        "python3" => python,
        "tsc" => tsc,
        other => other,
    };
    let found = Command::new(path).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    assert!(found, "{path} is not there: tests/run installs it");
    Command::new(path)
}

/// Runs a command with a text as its input. Returns whether it succeeded, and its output, both streams.
pub fn outcome(mut command: Command, input: &[u8]) -> (bool, String) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that does not read its input may have exited already.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// Runs a command that must succeed with a text as its input. Returns its output, both streams.
#[track_caller]
pub fn feed(command: Command, input: &[u8]) -> String {
    let (succeeded, printed) = outcome(command, input);
    assert!(succeeded, "{printed}");
    printed
}
