//! Arguments in, exit status out.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use goldrush_exporter::allocator;
use goldrush_exporter::cli::Cli;
use goldrush_exporter::run::{Failure, run};

fn main() -> ExitCode {
    allocator::share_one_heap();
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("goldrush-exporter: cannot start the async runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(cli));
    // A file system that hangs must not keep the process from ending.
    runtime.shutdown_timeout(Duration::from_millis(500));
    outcome.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}
