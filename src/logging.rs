//! Structured logs on standard error, as logfmt or JSON.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

use tracing::error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::api;

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// `key=value` pairs.
    Logfmt,
    /// One JSON object per line.
    Json,
}

/// Begins to log. Libraries only log from warnings on, whatever the level: what they print at lower levels
/// is not ours to vouch for.
pub fn start(level: LevelFilter, format: LogFormat) {
    let filter = Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("goldrush_exporter", level);
    let layer = match format {
        LogFormat::Logfmt => tracing_subscriber::fmt::layer()
            .event_format(tracing_logfmt::EventsFormatter::default())
            .fmt_fields(tracing_logfmt::FieldsFormatter::default())
            .with_writer(std::io::stderr)
            .boxed(),
        LogFormat::Json => {
            tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()
        }
    };
    // Fails only if logging has been started already.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    std::panic::set_hook(Box::new(log_panic));
}

/// Of a panic's message only the words of errors: it may quote what was being read, which can hold a secret.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let message = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
    let detail = api::redact(message.unwrap_or_default());
    let place = panic.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    error!(place, detail, backtrace, "the exporter panicked: please report this bug");
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_panic_is_logged_without_what_it_quotes() {
        // A panic hook is the whole process': the panic happens in another one.
        const CHILD: &str = "GOLDRUSH_TEST_PANICS";
        if std::env::var_os(CHILD).is_some() {
            start(LevelFilter::TRACE, LogFormat::Logfmt);
            let text = black_box("é, a canary");
            let _ = black_box(&text[..black_box(1)]);
        }
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "logging::tests::a_panic_is_logged_without_what_it_quotes", "--nocapture"]);
        let output = child.env(CHILD, "1").env_remove("RUST_BACKTRACE").output().unwrap();
        let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!out.contains("canary") && !log.contains("canary"), "{out}{log}");
        let line = log.lines().find(|line| line.contains("the exporter panicked")).unwrap_or_else(|| panic!("{log}"));
        assert!(line.contains("level=error") && line.contains("place=src/logging.rs:"), "{line}");
    }
}
