//! Arguments in, exit status out.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use goldrush_exporter::allocator;
use goldrush_exporter::cli::Cli;
use goldrush_exporter::{commands, logging};

fn main() -> ExitCode {
    allocator::share_one_heap();
    let cli = Cli::parse();
    let _last_lines = logging::start(cli.flags.log_level, cli.flags.log_format);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            logging::say(&format!("cannot start the async runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let status = runtime.block_on(commands::run(cli));
    // A file system that hangs must not keep the process from exiting.
    runtime.shutdown_timeout(Duration::from_millis(500));
    status.into()
}
