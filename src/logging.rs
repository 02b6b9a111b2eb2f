//! Structured logs on standard error, as logfmt or JSON.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

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
}
