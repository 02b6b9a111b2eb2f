//! Structured logs on standard error, as logfmt or JSON. Logging never blocks the program.

mod queue;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::time::Duration;

use tracing::error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::api;
use queue::{Line, Queue};

static QUEUE: Queue = Queue::new();

/// How long the process waits at its end for a reader of standard error.
const LAST_LINES: Duration = Duration::from_millis(400);

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// `key=value` pairs.
    Logfmt,
    /// One JSON object per line.
    Json,
}

/// Starts logging. Libraries only log warnings and errors, at any level: nothing guarantees that their lower levels
/// contain no secrets.
pub fn start(level: LevelFilter, format: LogFormat) -> LastLines {
    let filter = Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("goldrush_exporter", level);
    let writer = || Line(&QUEUE);
    let layer = match format {
        LogFormat::Logfmt => tracing_subscriber::fmt::layer()
            .event_format(tracing_logfmt::EventsFormatter::default())
            .fmt_fields(tracing_logfmt::FieldsFormatter::default())
            .with_writer(writer)
            .boxed(),
        LogFormat::Json => tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(writer).boxed(),
    };
    // Fails only if logging was already started.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    // Without this thread, lines are dropped and counted.
    let _ = std::thread::Builder::new().name("log".to_owned()).spawn(|| QUEUE.drain(std::io::stderr()));
    std::panic::set_hook(Box::new(log_panic));
    LastLines
}

/// Writes queued lines when dropped. Keep it until the end of `main`.
#[must_use]
#[derive(Debug)]
pub struct LastLines;

impl Drop for LastLines {
    fn drop(&mut self) {
        QUEUE.flush(LAST_LINES);
    }
}

/// Prints a message for the user on standard error, in order with the log lines.
pub fn say(message: &str) {
    QUEUE.push(format!("goldrush-exporter: {message}\n").as_bytes());
}

/// [`say`] for settings that are valid but probably not intended.
pub fn say_warnings(warnings: impl IntoIterator<Item = String>) {
    for warning in warnings {
        say(&format!("warning: {warning}"));
    }
}

/// How many lines were not written because nothing reads standard error.
pub fn lines_dropped() -> u64 {
    QUEUE.dropped()
}

/// Logs a panic. Redacts its message, which may quote data that contains a secret.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let message = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
    let detail = api::redact(message.unwrap_or_default());
    let location = panic.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    error!(location, detail, backtrace, "the exporter panicked: please report this bug");
    // The process may not reach the end of `main`.
    QUEUE.flush(LAST_LINES);
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_panic_is_logged_without_what_it_quotes() {
        // A panic hook affects the whole process: so another process panics.
        const CHILD: &str = "GOLDRUSH_TEST_PANICS";
        if std::env::var_os(CHILD).is_some() {
            let _last_lines = start(LevelFilter::TRACE, LogFormat::Logfmt);
            let text = black_box("é, a canary");
            let _ = black_box(&text[..black_box(1)]);
        }
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "logging::tests::a_panic_is_logged_without_what_it_quotes", "--nocapture"]);
        let output = child.env(CHILD, "1").env_remove("RUST_BACKTRACE").output().unwrap();
        let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!out.contains("canary") && !log.contains("canary"), "{out}{log}");
        let line = log.lines().find(|line| line.contains("the exporter panicked")).unwrap_or_else(|| panic!("{log}"));
        assert!(line.contains("level=error") && line.contains("location=src/logging.rs:"), "{line}");
    }
}
