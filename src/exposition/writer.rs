//! The two text formats: OpenMetrics 1.0 and Prometheus' classic 0.0.4. Both get the same samples.

use std::io::Write as _;

use super::families::Family;
use crate::fleet::{BOUNDS, Histogram};

/// A text format of `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Classic,
}

impl Format {
    /// The `Content-Type` that names it.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The type of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows, or starts again; its name ends in `_total`.
    Counter,
    /// Counts in buckets.
    Histogram,
}

impl Kind {
    /// The word behind `# TYPE`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// Label pairs, escaped once and written many times: `a="1",b="2"`.
#[derive(Debug, Clone, Default)]
pub(super) struct Labels(String);

impl Labels {
    pub(super) fn new(pairs: &[(&str, &str)]) -> Self {
        let mut labels = Self::default();
        for (name, value) in pairs {
            labels.push(name, value);
        }
        labels
    }

    fn push(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(name);
        self.0.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                c => self.0.push(c),
            }
        }
        self.0.push('"');
    }
}

/// Writes one exposition.
pub(super) struct Writer {
    format: Format,
    out: Vec<u8>,
}

impl Writer {
    pub(super) fn new(format: Format) -> Self {
        Self { format, out: Vec::new() }
    }

    /// Begins a family. Its heading is written with its first sample: a family without samples is not shown.
    pub(super) fn family<'a>(&'a mut self, family: &'a Family) -> Samples<'a> {
        Samples { writer: self, family, subject: Labels::default(), begun: false }
    }

    fn heading(&mut self, name: &str, kind: &str, help: &str) {
        let name = match self.format {
            // OpenMetrics names a counter's family without the suffix of its samples.
            Format::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
            Format::Classic => name,
        };
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
        let unit = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(&format!("_{unit}")));
        if let (Format::OpenMetrics, Some(unit)) = (self.format, unit) {
            self.line(format_args!("# UNIT {name} {unit}"));
        }
    }

    fn line(&mut self, text: std::fmt::Arguments) {
        // Writing into memory cannot fail.
        let _ = writeln!(self.out, "{text}");
    }

    /// Adds what prometheus-client has encoded, which is always OpenMetrics, without its end mark.
    pub(super) fn append_openmetrics(&mut self, text: &str) {
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let Some(heading) = line.strip_prefix("# HELP ") else {
                self.line(format_args!("{line}"));
                continue;
            };
            let (name, help) = heading.split_once(' ').unwrap_or((heading, ""));
            let kind = lines.next_if(|line| line.starts_with("# TYPE "));
            let kind = kind.and_then(|line| line.rsplit_once(' ')).map_or("unknown", |(_, kind)| kind);
            lines.next_if(|line| line.starts_with("# UNIT "));
            let suffix = if kind == "counter" { "_total" } else { "" };
            self.heading(&format!("{name}{suffix}"), kind, help);
        }
    }

    /// The whole text.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.format == Format::OpenMetrics {
            self.out.extend_from_slice(b"# EOF\n");
        }
        self.out
    }
}

/// Takes the samples of one family, subject by subject.
pub(super) struct Samples<'a> {
    writer: &'a mut Writer,
    family: &'a Family,
    subject: Labels,
    begun: bool,
}

impl Samples<'_> {
    /// The samples that follow are about the subject with these labels.
    pub(super) fn of(&mut self, labels: &Labels) {
        self.subject.0.clone_from(&labels.0);
    }

    /// One sample, if there is a value.
    pub(super) fn value(&mut self, value: Option<f64>) {
        self.labelled(&[], value);
    }

    /// One sample of 0 or 1, if there is a value.
    pub(super) fn flag(&mut self, value: Option<bool>) {
        self.value(value.map(f64::from));
    }

    /// One sample with labels beyond the subject's.
    pub(super) fn labelled(&mut self, labels: &[(&str, &str)], value: Option<f64>) {
        self.write("", labels, value);
    }

    /// One histogram.
    pub(super) fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        let mut count = 0;
        for (bound, in_bucket) in BOUNDS.iter().chain(&[f64::INFINITY]).zip(histogram.counts) {
            count += in_bucket;
            // OpenMetrics' canonical form: 1.0, not 1.
            let bound = if bound.is_finite() { format!("{bound:?}") } else { "+Inf".to_owned() };
            let bucket = [labels, &[("le", bound.as_str())]].concat();
            self.write("_bucket", &bucket, Some(count as f64));
        }
        self.write("_sum", labels, Some(histogram.sum));
        self.write("_count", labels, Some(count as f64));
    }

    fn write(&mut self, suffix: &str, labels: &[(&str, &str)], value: Option<f64>) {
        let Some(value) = value else { return };
        let family = self.family;
        if !std::mem::replace(&mut self.begun, true) {
            self.writer.heading(family.name, family.kind.as_str(), family.help);
        }
        let subject_only = self.subject.0.len();
        for (name, value) in labels {
            self.subject.push(name, value);
        }
        self.writer.line(format_args!("{}{suffix}{{{}}} {value}", family.name, self.subject.0));
        self.subject.0.truncate(subject_only);
    }
}
