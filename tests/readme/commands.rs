//! Every command of README.md and docs/ is one that runs: its syntax, its flags, its files, its URLs.

use std::io::Write as _;
use std::process::{Command, Stdio};

use clap::{CommandFactory as _, Parser as _};
use goldrush_exporter::cli::Cli;

use super::links::{exists, is_made, is_path};
use super::{Page, pages};

/// The exporter, as commands call it.
const PROGRAMS: &[&str] =
    &["goldrush-exporter", "target/release/goldrush-exporter", "./goldrush-exporter", "/usr/bin/goldrush-exporter"];
/// What an exporter serves.
const SERVED: &[&str] = &["metrics", "sd", "api/v1/pipelines", "-/healthy", "-/ready", "-/reload"];

/// The commands of a block: a line that ends with a backslash goes on in the next.
fn commands(block: &str) -> Vec<String> {
    let joined = block.replace("\\\n", " ");
    let lines = joined.lines().map(|line| line.split(" #").next().unwrap().trim());
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// The words of a command, without quotation marks.
fn words(command: &str) -> Vec<String> {
    command.split_whitespace().map(|word| word.trim_matches(['"', '\'']).to_owned()).collect()
}

/// The arguments that end where another command begins.
fn arguments(words: &[String]) -> Vec<&str> {
    let ends = |word: &&String| ["|", "&&", "||", ";", ">", "&"].contains(&word.as_str()) || word.starts_with('>');
    words.iter().take_while(|word| !ends(word)).map(String::as_str).collect()
}

/// The commands in the text itself, such as `tests/run --test web`.
fn spans(page: &Page) -> Vec<String> {
    let prose = page.prose();
    let spans = prose.split('`').skip(1).step_by(2).map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "));
    let begins = ["cargo ", "tests/run ", "goldrush-exporter ", "UPDATE_EXPECTED=1 "];
    spans.filter(|span| begins.iter().any(|begin| span.starts_with(begin))).collect()
}

/// What is wrong with a command.
fn problem(command: &str) -> Option<String> {
    let words = words(command);
    let after = |at: usize| arguments(&words[at + 1..]);
    for (at, word) in words.iter().enumerate() {
        let begins = at == 0
            || words[at - 1].contains('=')
            || ["sudo", "env", "--", "|", "&&", "||", ";"].contains(&words[at - 1].as_str());
        let own = if begins && PROGRAMS.contains(&word.as_str()) {
            after(at)
        } else if word == "cargo" && words.get(at + 1).is_some_and(|verb| verb == "run") {
            after(at).into_iter().skip_while(|word| *word != "--").skip(1).collect()
        } else {
            Vec::new()
        };
        let parsed = Cli::try_parse_from(std::iter::once("goldrush-exporter").chain(own.iter().copied()));
        // `--help` and `--version` are errors that print to standard output.
        if let Some(error) = parsed.err().filter(|error| error.use_stderr()) {
            return Some(error.to_string());
        }
        for (flag, files) in [("--test", ["tests/*.rs", "tests/*/main.rs"]), ("--bench", ["benches/*.rs", "-"])] {
            if word == flag {
                let name = words.get(at + 1).map_or("", String::as_str);
                if name != "NAME" && !files.iter().any(|file| exists(&file.replace('*', name))) {
                    return Some(format!("there is no {flag} {name}"));
                }
            }
        }
        if is_path(word) && !exists(word) && !is_made(word) {
            return Some(format!("there is no {word}"));
        }
        let served = word.split_once(":9877/").map(|(_, path)| path.split('?').next().unwrap());
        if served.is_some_and(|path| !path.is_empty() && !SERVED.contains(&path)) {
            return Some(format!("the exporter does not serve {word}"));
        }
    }
    None
}

/// Whether the shell can read the block.
fn syntax(block: &str) -> Result<(), String> {
    let mut shell = Command::new("sh");
    shell.arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    shell.stdin.take().unwrap().write_all(block.as_bytes()).unwrap();
    let output = shell.wait_with_output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn every_command_is_one() {
    let mut seen = 0;
    for page in pages() {
        for command in spans(&page) {
            assert_eq!(problem(&command), None, "{}: {command}", page.name());
        }
        for block in page.blocks("sh") {
            assert_eq!(syntax(&block), Ok(()), "{}:\n{block}", page.name());
            for command in commands(&block) {
                assert_eq!(problem(&command), None, "{}: {command}", page.name());
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "{seen}");

    // The check itself can fail.
    assert!(syntax("if true; then\n").is_err());
    for wrong in [
        "goldrush-exporter chek",
        "sudo env A=b goldrush-exporter check --config=x",
        "cargo run --release -- dmo",
        "cargo bench --bench no",
        "deploy/no",
        "curl -s 'localhost:9877/api/v2/pipelines?q=1' | jq",
    ] {
        assert!(problem(wrong).is_some(), "{wrong}");
    }
}

#[test]
fn every_command_and_flag_is_documented() {
    let configuration = Page::read("docs/configuration.md").text;
    let cli = Cli::command();
    let commands = cli.get_subcommands().map(|command| format!("| `{}` |", command.get_name()));
    let flags = cli.get_arguments().filter_map(|argument| argument.get_long()).map(|flag| format!("`--{flag}"));
    let flags: Vec<String> = flags.filter(|flag| !["`--help", "`--version"].contains(&flag.as_str())).collect();
    assert!(flags.len() >= 12, "{flags:?}");
    for named in commands.chain(flags) {
        assert!(configuration.contains(&named), "docs/configuration.md: {named} is missing");
    }
    // No flag is documented that does not exist.
    let rows = configuration.lines().filter_map(|line| line.strip_prefix("| `--")?.split(['`', ' ']).next());
    for flag in rows {
        assert!(cli.get_arguments().any(|argument| argument.get_long() == Some(flag)), "there is no --{flag}");
    }
}
