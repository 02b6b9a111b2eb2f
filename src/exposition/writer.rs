//! The two text formats: OpenMetrics 1.0 and Prometheus's classic 0.0.4. Both get the same samples.

use std::io::Write as _;

use crate::account::{BOUNDS, Histogram};
use crate::config::States;

use super::part::{BUCKETS, Bucket, Grain, Owner, Place};

/// A text format of `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus's text format 0.0.4.
    Classic,
}

impl Format {
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    pub(super) const fn other(self) -> Self {
        match self {
            Self::OpenMetrics => Self::Classic,
            Self::Classic => Self::OpenMetrics,
        }
    }

    /// The end of a text.
    pub(super) const fn end(self) -> &'static [u8] {
        match self {
            Self::OpenMetrics => b"# EOF\n",
            Self::Classic => b"",
        }
    }
}

/// The type of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows, or restarts; its name ends in `_total`.
    Counter,
    Histogram,
}

impl Kind {
    /// The word after `# TYPE`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// Label pairs of many subjects, each escaped once and written many times: `a="1",b="2"`.
#[derive(Debug, Default)]
pub(super) struct Labels {
    /// One allocation for all texts.
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Labels {
    /// Drops all subjects but keeps the memory.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    /// Adds the next subject.
    pub(super) fn push(&mut self, pairs: &[(&str, &str)]) {
        for (index, (name, value)) in pairs.iter().enumerate() {
            if index > 0 {
                self.text.push(b',');
            }
            write_pair(&mut self.text, name, value);
        }
        self.ends.push(self.text.len());
    }

    /// The subjects' pairs, in insertion order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(start, end)| &self.text[*start..*end])
    }
}

fn write_pair(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    let special = |byte: &u8| matches!(byte, b'\\' | b'"' | b'\n');
    let mut rest = value.as_bytes();
    while let Some(at) = rest.iter().position(special) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(match rest[at] {
            b'\n' => b"\\n",
            b'"' => b"\\\"",
            _ => b"\\\\",
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Rust's notation, which Prometheus reads: whole numbers without a fraction, no exponent.
fn write_number(out: &mut Vec<u8>, value: f64) {
    let whole = value as i64;
    // A fast path, because most numbers are whole. A negative zero keeps its sign.
    if whole as f64 == value && whole.unsigned_abs() < 1 << 53 && (whole != 0 || value.is_sign_positive()) {
        out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    } else {
        // Writing into memory cannot fail.
        let _ = write!(out, "{value}");
    }
}

/// A text is handed on in pieces of about this many lines, never split within a subject. Small enough to stay in the
/// processor's cache, to change rarely and to need no large buffer; large enough to compress well.
const LINES_PER_PIECE: usize = 256;

/// Writes one exposition and hands it on piece by piece.
pub(super) struct Writer<'w> {
    format: Format,
    piece: Vec<u8>,
    lines: usize,
    /// Whether the current family has filled a piece.
    filled: bool,
    states: States,
    grain: Grain,
    /// Of the current piece.
    owner: Owner,
    /// Bytes of the pieces that were handed on.
    handed_on: usize,
    sizes: Sizes,
    take: &'w mut dyn FnMut(Owner, &[u8]),
}

/// How many bytes are about which subjects, without headings.
#[derive(Debug, Clone)]
pub(super) struct Sizes {
    /// Accounts and pipelines, by bucket.
    pub(super) buckets: Box<[usize; BUCKETS]>,
    /// The start of the current count, and its bucket.
    since: (usize, Option<Bucket>),
}

impl<'w> Writer<'w> {
    /// `buffer` is used for the pieces; [`finish`](Self::finish) returns it.
    pub(super) fn new(format: Format, mut buffer: Vec<u8>, take: &'w mut dyn FnMut(Owner, &[u8])) -> Self {
        buffer.clear();
        Self {
            format,
            piece: buffer,
            lines: 0,
            filled: false,
            states: States::All,
            grain: Grain::default(),
            owner: Owner::Any,
            handed_on: 0,
            sizes: Sizes { buckets: Box::new([0; BUCKETS]), since: (0, None) },
            take,
        }
    }

    /// Sets how finely the text is cut.
    pub(super) fn cut(&mut self, grain: Grain) {
        self.grain = grain;
    }

    pub(super) fn grain(&self) -> Grain {
        self.grain
    }

    /// Counts the bytes since the last call for that call's bucket; the following bytes count for this one.
    fn measure(&mut self, bucket: Option<Bucket>) {
        let written = self.handed_on + self.piece.len();
        let (since, before) = std::mem::replace(&mut self.sizes.since, (written, bucket));
        if let Some(before) = before {
            self.sizes.buckets[before.index()] += written - since;
        }
    }

    /// Sets which series of states are written.
    pub(super) fn show_states(&mut self, states: States) {
        self.states = states;
    }

    /// Begins a family. Its heading is written with its first sample: a family without samples is not shown.
    pub(super) fn family<'a>(&'a mut self, name: &'a str, kind: Kind, help: &'a str) -> Samples<'a, 'w> {
        // A family that filled a piece also ends one, so that its changes do not affect the pieces of the next family.
        if std::mem::take(&mut self.filled) || self.grain.is_cut {
            self.hand_on();
        }
        self.measure(None);
        Samples { writer: self, name, kind, help, subject: &[], begun: false }
    }

    fn hand_on(&mut self) {
        if !self.piece.is_empty() {
            (self.take)(self.owner, &self.piece);
            self.handed_on += self.piece.len();
            self.piece.clear();
            self.lines = 0;
        }
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
        if self.grain.is_cut {
            let owner = std::mem::replace(&mut self.owner, Owner::Heading);
            self.hand_on();
            self.owner = owner;
        }
    }

    fn line(&mut self, text: std::fmt::Arguments) {
        // Writing into memory cannot fail.
        let _ = writeln!(self.piece, "{text}");
    }

    /// Adds text from prometheus-client, which is always OpenMetrics, without its end mark.
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

    pub(super) fn end(&mut self) {
        self.piece.extend_from_slice(self.format.end());
    }

    /// Hands on the last piece and returns the buffer.
    pub(super) fn finish(mut self) -> (Vec<u8>, Sizes) {
        self.hand_on();
        self.measure(None);
        (self.piece, self.sizes)
    }
}

/// Writes the samples of one family, subject by subject.
pub(super) struct Samples<'a, 'w> {
    writer: &'a mut Writer<'w>,
    name: &'a str,
    kind: Kind,
    help: &'a str,
    /// Its label pairs; empty for the exporter itself.
    subject: &'a [u8],
    begun: bool,
}

impl<'a> Samples<'a, '_> {
    /// The following samples are about the exporter.
    pub(super) fn of_exporter(&mut self) {
        if self.writer.grain.is_cut {
            self.writer.owner = Owner::Exporter;
        }
    }

    /// The following samples are about the subject with these [`Labels`].
    pub(super) fn of(&mut self, subject: &'a [u8], place: Place) {
        self.subject = subject;
        self.writer.measure(Some(place.bucket));
        let is_full = self.writer.lines >= LINES_PER_PIECE;
        let owner = self.writer.grain.owner(place);
        if is_full || owner != self.writer.owner {
            self.writer.hand_on();
            self.writer.filled |= is_full;
            self.writer.owner = owner;
        }
    }

    /// One sample, if there is a value.
    pub(super) fn value(&mut self, value: Option<f64>) {
        self.labelled(&[], value);
    }

    /// One sample of 0 or 1, if there is a value.
    pub(super) fn flag(&mut self, value: Option<bool>) {
        self.value(value.map(f64::from));
    }

    /// A state: one sample for each value, 1 for the current one.
    pub(super) fn state<'v>(&mut self, label: &str, values: impl Iterator<Item = (&'v str, bool)>) {
        let shown = self.writer.states;
        for (value, holds) in values.filter(|(_, holds)| *holds || shown == States::All) {
            self.labelled(&[(label, value)], Some(f64::from(holds)));
        }
    }

    /// One sample with additional labels.
    pub(super) fn labelled(&mut self, labels: &[(&str, &str)], value: Option<f64>) {
        self.write("", labels, value);
    }

    pub(super) fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        let mut count = 0;
        for (bound, in_bucket) in BOUNDS.iter().chain(&[f64::INFINITY]).zip(histogram.counts) {
            count += in_bucket;
            // OpenMetrics's canonical form: 1.0, not 1.
            let bound = if bound.is_finite() { format!("{bound:?}") } else { "+Inf".to_owned() };
            let bucket = [labels, &[("le", bound.as_str())]].concat();
            self.write("_bucket", &bucket, Some(count as f64));
        }
        self.write("_sum", labels, Some(histogram.sum));
        self.write("_count", labels, Some(count as f64));
    }

    fn write(&mut self, suffix: &str, labels: &[(&str, &str)], value: Option<f64>) {
        let Some(value) = value else { return };
        if !std::mem::replace(&mut self.begun, true) {
            self.writer.heading(self.name, self.kind.as_str(), self.help);
        }
        let out = &mut self.writer.piece;
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(suffix.as_bytes());
        out.push(b'{');
        out.extend_from_slice(self.subject);
        for (index, (name, value)) in labels.iter().enumerate() {
            if index > 0 || !self.subject.is_empty() {
                out.push(b',');
            }
            write_pair(out, name, value);
        }
        out.extend_from_slice(b"} ");
        write_number(out, value);
        out.push(b'\n');
        self.writer.lines += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces that are handed on, and the sizes.
    fn pieces(format: Format, write: impl FnOnce(&mut Writer)) -> (Vec<String>, Sizes) {
        let mut pieces = Vec::new();
        let mut take = |_: Owner, piece: &[u8]| pieces.push(String::from_utf8(piece.to_vec()).unwrap());
        let mut writer = Writer::new(format, b"of the last time".to_vec(), &mut take);
        write(&mut writer);
        let (_, sizes) = writer.finish();
        (pieces, sizes)
    }

    #[test]
    fn numbers_are_written_as_they_are() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (-7.0, "-7"),
            (0.25, "0.25"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (9_223_372_036_854_775_808.0, "9223372036854776000"),
        ] {
            let mut out = Vec::new();
            write_number(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn labels_that_are_cleared_are_gone() {
        let mut labels = Labels::default();
        labels.push(&[("a", "1"), ("b", "\"2\"")]);
        labels.clear();
        labels.push(&[("c", "3")]);
        labels.push(&[("d", "4"), ("e", "5")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [&b"c=\"3\""[..], b"d=\"4\",e=\"5\""]);
    }

    #[test]
    fn text_from_the_client_library_is_translated() {
        let text = "# HELP a_seconds Some of a.\n# TYPE a_seconds gauge\n# UNIT a_seconds seconds\na_seconds 1\n\
            # HELP b All of b.\n# TYPE b counter\nb_total 2\n# HELP c Typeless.\nc 3\n";
        let translated = |format| pieces(format, |writer| writer.append_openmetrics(text)).0.concat();
        assert_eq!(
            translated(Format::OpenMetrics),
            text.replace("# HELP c Typeless.\n", "# HELP c Typeless.\n# TYPE c unknown\n")
        );
        assert_eq!(
            translated(Format::Classic),
            "# HELP a_seconds Some of a.\n# TYPE a_seconds gauge\na_seconds 1\n# HELP b_total All of b.\n\
             # TYPE b_total counter\nb_total 2\n# HELP c Typeless.\n# TYPE c unknown\nc 3\n"
        );
    }

    /// A family with one sample for each of this number of subjects.
    fn family(writer: &mut Writer, name: &'static str, subjects: usize) {
        let mut samples = writer.family(name, Kind::Gauge, "Help.");
        for number in 0..subjects {
            let bucket = Bucket::of(if number == 0 { "first" } else { "other" });
            samples.of(b"a=\"1\"", Place { account: 0, bucket });
            samples.value(Some(7.0));
        }
    }

    #[test]
    fn a_piece_ends_when_it_is_full_and_with_a_family_that_has_filled_one() {
        let (text, sizes) = pieces(Format::Classic, |writer| {
            for (name, subjects) in [("x", 300), ("y", 2), ("z", 3)] {
                family(writer, name, subjects);
            }
        });
        let lines: Vec<usize> = text.iter().map(|piece| piece.lines().count()).collect();
        let headings = 2;
        assert_eq!(lines, [headings + 256, 44, 2 * headings + 5]);
        assert!(text[0].starts_with("# HELP x Help.\n# TYPE x gauge\nx{a=\"1\"} 7\n"), "{}", &text[0][..60]);
        let line = "x{a=\"1\"} 7\n".len();
        assert_eq!(sizes.buckets[Bucket::of("other").index()], (299 + 1 + 2) * line);
    }

    #[test]
    fn a_text_that_is_cut_has_a_piece_for_each_heading_and_owner() {
        let (text, _) = pieces(Format::Classic, |writer| {
            writer.cut(Grain { is_cut: true, shards: 256, ..Grain::default() });
            family(writer, "x", 3);
            family(writer, "y", 1);
        });
        let lines: Vec<usize> = text.iter().map(|piece| piece.lines().count()).collect();
        assert_eq!(lines, [2, 1, 2, 2, 1]);
    }
}
