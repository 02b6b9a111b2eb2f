//! From the picture to the text that Prometheus reads: one table of families, two text formats.
//!
//! Only this module names prometheus-client, which keeps the exporter's own metrics. The fleet's families
//! are written straight from the picture: that is what keeps a forgotten series from living on.
//!
//! The fleet's part is written once for all who ask for it, and again when the picture has changed; the exporter's own
//! metrics are small and written at each scrape.

mod families;
mod negotiate;
mod own;
#[cfg(target_os = "linux")]
mod process;
mod rendering;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinError;
use tokio::time;

pub use families::{FAMILIES, Family, Subject};
pub use negotiate::choose_format;
pub use own::Own;
pub use rendering::Encoding;
pub use writer::{Format, Kind};

use crate::fleet::Fleet;
use crate::moment::Moment;
use families::{AccountView, PipelineView, Read};
use rendering::{GZIP_HEADER, Made, Packer, Rendering, gzip_end};
use writer::{Labels, Writer};

/// An exposition of more than so many bytes is written at most once in [`REST`]: for a large fleet the picture changes
/// all the time. Smaller ones cost so little that every scrape sees the newest.
const LARGE: usize = 1 << 20;
const REST: Duration = Duration::from_secs(1);

/// Everything that `/metrics` shows.
#[derive(Debug)]
pub struct Exposition {
    fleet: Fleet,
    /// The exporter's own metrics.
    pub own: Own,
    kept: Mutex<[Kept; 4]>,
    /// One scrape renders at a time; the others wait and take its result.
    renderer: Arc<tokio::sync::Mutex<Renderer>>,
}

/// The fleet's part in one format and encoding.
#[derive(Debug, Default)]
struct Kept {
    rendering: Option<Arc<Rendering>>,
    /// When it was last asked for.
    asked: Option<time::Instant>,
}

/// What is used again for each rendering.
#[derive(Debug, Default)]
struct Renderer {
    packer: Packer,
    piece: Vec<u8>,
    accounts: Labels,
    pipelines: Labels,
}

/// The body of one answer, to be sent chunk by chunk.
#[derive(Debug)]
pub struct Body {
    header: &'static [u8],
    fleet: Arc<Rendering>,
    own: Bytes,
    next: usize,
}

impl Body {
    /// How many bytes all chunks have together.
    pub fn bytes(&self) -> usize {
        self.header.len() + self.fleet.bytes + self.own.len()
    }
}

impl Iterator for Body {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let chunks = &self.fleet.chunks;
        let chunk = match self.next {
            0 => Bytes::from_static(self.header),
            next if next <= chunks.len() => chunks[next - 1].clone(),
            next if next == chunks.len() + 1 => std::mem::take(&mut self.own),
            _ => return None,
        };
        self.next += 1;
        Some(chunk)
    }
}

impl Exposition {
    /// An exposition of that fleet.
    pub fn new(fleet: Fleet) -> Self {
        Self { fleet, own: Own::new(), kept: Mutex::default(), renderer: Arc::default() }
    }

    /// Leaves out the metrics about the process and about scrapes (`--web.disable-exporter-metrics`). What alerts need
    /// stays: the build, the reload and the shard.
    #[must_use]
    pub fn without_exporter_metrics(self) -> Self {
        Self { own: self.own.without_costs(), ..self }
    }

    /// Everything as it is now. Of concurrent scrapes, one renders, on a thread that may block.
    ///
    /// # Errors
    /// If writing panicked, or the runtime is shutting down.
    pub async fn scrape(self: &Arc<Self>, format: Format, encoding: Encoding) -> Result<Body, JoinError> {
        let asked = Moment::now();
        // Read before the fleet: a scrape that shows a reload as done shows the fleet after it.
        let exposition = self.clone();
        let own = tokio::task::spawn_blocking(move || exposition.write_own(format)).await?;
        let fleet = match self.current(format, encoding, asked) {
            Some(fleet) => fleet,
            None => {
                let mut renderer = self.renderer.clone().lock_owned().await;
                let exposition = self.clone();
                // The lock goes along: a scraper that goes away does not stop what others wait for.
                tokio::task::spawn_blocking(move || exposition.render(format, encoding, &mut renderer, asked)).await?
            }
        };
        self.own.note_bytes(fleet.text_bytes + own.len());
        Ok(match encoding {
            Encoding::Identity => Body { header: &[], fleet, own: own.into(), next: 0 },
            Encoding::Gzip => Body { header: GZIP_HEADER, own: gzip_end(&fleet, &own), fleet, next: 0 },
        })
    }

    /// Forgets what has been written for scrapers that do not come any more. To be called every few seconds.
    pub fn forget_unused(&self) {
        let now = time::Instant::now();
        for encoding in [Encoding::Identity, Encoding::Gzip] {
            // A plain body is large, and quickly written again.
            let keep = Duration::from_secs(if encoding == Encoding::Gzip { 300 } else { 10 });
            for format in [Format::OpenMetrics, Format::Classic] {
                let kept = &mut self.kept()[index(format, encoding)];
                if kept.asked.is_some_and(|asked| now.saturating_duration_since(asked) > keep) {
                    *kept = Kept::default();
                }
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, [Kept; 4]> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rendering that is fresh enough for a scrape that arrived then, if there is one.
    fn current(&self, format: Format, encoding: Encoding, asked: Moment) -> Option<Arc<Rendering>> {
        let version = self.fleet.version();
        let now = Moment::now();
        let mut kept = self.kept();
        let kept = &mut kept[index(format, encoding)];
        kept.asked = Some(now.monotonic.into());
        let rendering = kept.rendering.as_ref()?;
        let Made { at, good_for, .. } = rendering.made;
        let age = now.since(at);
        let is_recent = rendering.text_bytes > LARGE && age < REST;
        let is_so_still =
            good_for.is_none_or(|good_for| age < good_for) && (rendering.made.version == version || is_recent);
        // A rendering that started after this request arrived is fresh enough. Otherwise, every scrape that is queued behind
        // a slow rendering would render again.
        let holds = is_so_still || at.monotonic > asked.monotonic;
        holds.then(|| rendering.clone())
    }

    /// Renders the fleet's part, unless another scrape has just done so.
    fn render(&self, format: Format, encoding: Encoding, renderer: &mut Renderer, asked: Moment) -> Arc<Rendering> {
        if let Some(current) = self.current(format, encoding, asked) {
            return current;
        }
        let begin = Instant::now();
        let old = self.kept()[index(format, encoding)].rendering.clone();
        let Renderer { packer, piece, accounts, pipelines } = renderer;
        let rendering = packer.pack(encoding, old.as_deref(), |take| {
            // Read before the fleet: what is written meanwhile is news.
            let version = self.fleet.version();
            let now = Moment::now();
            let mut writer = Writer::new(format, std::mem::take(piece), take);
            let good_for = write_fleet(&mut writer, [accounts, pipelines], &self.fleet, now);
            *piece = writer.finish();
            Made { at: now, version, good_for }
        });
        let rendering = Arc::new(rendering);
        self.kept()[index(format, encoding)].rendering = Some(rendering.clone());
        self.own.note_render(begin.elapsed());
        rendering
    }

    /// The exporter's own metrics, which come last.
    fn write_own(&self, format: Format) -> Vec<u8> {
        let mut text = Vec::new();
        let mut take = |piece: &[u8]| text.extend_from_slice(piece);
        let mut writer = Writer::new(format, Vec::new(), &mut take);
        writer.append_openmetrics(&self.own.encode());
        writer.end();
        writer.finish();
        text
    }
}

fn index(format: Format, encoding: Encoding) -> usize {
    format as usize * 2 + encoding as usize
}

/// Writes the families of the table. Returns how long they stay the same while no response comes.
fn write_fleet(
    writer: &mut Writer,
    [account_labels, pipeline_labels]: [&mut Labels; 2],
    fleet: &Fleet,
    now: Moment,
) -> Option<Duration> {
    let accounts = fleet.snapshot(now);
    let accounts: Vec<AccountView> = accounts.iter().map(|(name, view)| AccountView::new(name, view, now)).collect();
    let pipelines: Vec<PipelineView> = accounts
        .iter()
        .flat_map(|account| account.view.pipelines.values().map(move |pipeline| PipelineView { account, pipeline }))
        .collect();
    account_labels.clear();
    accounts.iter().for_each(|view| view.push_labels(account_labels));
    pipeline_labels.clear();
    pipelines.iter().for_each(|view| view.push_labels(pipeline_labels));
    for family in FAMILIES {
        let mut samples = writer.family(family.name, family.kind, family.help);
        match family.read {
            Read::Exporter(read) => read(&mut samples),
            Read::Account(read) => {
                for (view, labels) in accounts.iter().zip(account_labels.iter()) {
                    samples.of(labels);
                    read(view, &mut samples);
                }
            }
            Read::Pipeline(read) => {
                for (view, labels) in pipelines.iter().zip(pipeline_labels.iter()) {
                    samples.of(labels);
                    read(view, &mut samples);
                }
            }
        }
    }
    let changes = accounts.iter().filter_map(|view| view.view.changes_in(now));
    // From when a probe is overdue, the lag grows all the time: a second's resolution is enough for it.
    let due = accounts.iter().filter_map(|view| view.view.budget.next_due);
    let lags = due.map(|due| due.saturating_duration_since(now.monotonic).max(REST));
    changes.chain(lags).min()
}

/// The fleet's part alone as it is at that moment, written once and not kept: for fuzzers and simulations.
pub fn fleet_text(fleet: &Fleet, now: Moment, format: Format) -> String {
    let mut text = Vec::new();
    let mut take = |piece: &[u8]| text.extend_from_slice(piece);
    let mut writer = Writer::new(format, Vec::new(), &mut take);
    write_fleet(&mut writer, [&mut Labels::default(), &mut Labels::default()], fleet, now);
    writer.end();
    writer.finish();
    String::from_utf8(text).unwrap_or_default()
}
