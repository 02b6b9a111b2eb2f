//! Writes the manual pages and the shells' completions of the command line, for packages.
//!   cargo run --example documentation -- FOLDER

use std::path::PathBuf;

use clap::CommandFactory as _;
use clap_complete::Shell;
use goldrush_exporter::cli::Cli;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).expect("a folder to write to"));
    std::fs::create_dir_all(&folder)?;
    clap_mangen::generate_to(Cli::command(), &folder)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), "goldrush-exporter", &folder)?;
    }
    Ok(())
}
