//! From snapshots to the text that Prometheus reads: one table of families, two text formats.
//!
//! Only this module uses prometheus-client, which holds the exporter's own metrics. The fleet's families are written
//! directly from a snapshot, so that no dropped pipeline leaves a series behind.
//!
//! The fleet's part is rendered once for all scrapers, and again when the fleet has changed; the exporter's own metrics
//! are small and are rendered for each scrape.

mod families;
mod negotiate;
mod own;
mod part;
#[cfg(target_os = "linux")]
mod process;
mod rendering;
mod selection;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinError;
use tokio::time;

pub use families::{FAMILIES, Family, Stability, Subject};
pub use negotiate::choose_format;
pub use own::Own;
pub use part::{Part, Shard};
pub use rendering::Encoding;
pub use selection::Selection;
pub use writer::{Format, Kind};

use crate::account::View;
use crate::fleet::Fleet;
use crate::moment::Moment;
use families::{AccountView, PipelineView, Read};
use part::{Grain, Owner};
use rendering::{GZIP_HEADER, Made, Packer, Rendering, gzip_end};
use writer::{Labels, Writer};

/// An exposition larger than this is rendered at most once per [`REST`]: a large fleet changes all the time. Smaller
/// ones cost so little that every scrape gets the latest.
const LARGE: usize = 1 << 20;
const REST: Duration = Duration::from_secs(1);

/// A compressed rendering that was not requested for this long is dropped.
const KEEP_PACKED: Duration = Duration::from_secs(300);

/// Sizes change slowly: those of a rendering up to this old are good enough.
const SIZES_LAST: Duration = Duration::from_secs(60);

/// Everything that `/metrics` shows.
#[derive(Debug)]
pub struct Exposition {
    fleet: Fleet,
    pub own: Own,
    selection: RwLock<Arc<Selection>>,
    kept: Mutex<[Kept; 4]>,
    cut: Mutex<Cut>,
    /// The number of shards that [`parts`](Exposition::parts) returned last.
    shards: AtomicU32,
    /// One scrape renders at a time; the others wait and use its result.
    renderer: Arc<tokio::sync::Mutex<Renderer>>,
}

/// The fleet's part in one format and encoding.
#[derive(Debug, Default)]
struct Kept {
    rendering: Option<Arc<Rendering>>,
    /// When it was last requested.
    asked: Option<time::Instant>,
}

/// How finely texts are cut, and when that was last needed.
#[derive(Debug, Default)]
struct Cut {
    grain: Grain,
    /// When a part was last requested.
    asked: Option<time::Instant>,
}

/// Buffers that are reused for each rendering.
#[derive(Debug, Default)]
struct Renderer {
    packer: Packer,
    piece: Vec<u8>,
    accounts: Labels,
    pipelines: Labels,
}

/// The body of one response, sent chunk by chunk.
#[derive(Debug)]
pub struct Body {
    header: &'static [u8],
    fleet: Arc<Rendering>,
    /// Replaces all chunks of `fleet`.
    part: Option<Vec<Bytes>>,
    /// The exporter's own metrics, or only the end of the text.
    own: Bytes,
    next: usize,
}

impl Body {
    /// Total bytes of all chunks.
    pub fn bytes(&self) -> usize {
        let fleet = match &self.part {
            Some(chunks) => chunks.iter().map(Bytes::len).sum(),
            None => self.fleet.bytes,
        };
        self.header.len() + fleet + self.own.len()
    }
}

impl Iterator for Body {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let chunks = self.part.as_ref().unwrap_or(&self.fleet.chunks);
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
    pub fn new(fleet: Fleet) -> Self {
        Self {
            fleet,
            own: Own::new(),
            selection: RwLock::new(Arc::new(Selection::full())),
            kept: Mutex::default(),
            cut: Mutex::default(),
            shards: AtomicU32::new(1),
            renderer: Arc::default(),
        }
    }

    /// Leaves out the metrics about the process and about scrapes (`--web.disable-exporter-metrics`). Keeps what alerts
    /// need: the build, the reload and the shard.
    #[must_use]
    pub fn without_exporter_metrics(self) -> Self {
        Self { own: self.own.without_costs(), ..self }
    }

    /// Exposes these families from now on.
    pub fn select(&self, selection: Selection) {
        *self.selection.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(selection);
    }

    fn selection(&self) -> Arc<Selection> {
        self.selection.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The current content of a part. Of concurrent scrapes, one renders, on a thread that may block; all parts come
    /// from the same rendering.
    ///
    /// # Errors
    /// If rendering panicked, or the runtime is shutting down.
    pub async fn scrape(self: &Arc<Self>, format: Format, encoding: Encoding, part: &Part) -> Result<Body, JoinError> {
        let asked = Moment::now();
        // Before the fleet: a scrape that shows a reload as done must show the fleet after it.
        let own = match part {
            Part::Whole | Part::Exporter => self.own_text(format).await?,
            Part::Subjects { .. } => format.end().to_vec(),
        };
        self.note_part(part);
        let fleet = self.fleet_as_of(format, encoding, part.grain(), asked).await?;
        if !matches!(part, Part::Subjects { .. }) {
            self.own.note_bytes(fleet.text_bytes + own.len());
        }
        let selected = fleet.part(part);
        let crc = selected.as_ref().map_or(&fleet.crc, |selected| &selected.crc);
        let (header, own): (&[u8], Bytes) = match encoding {
            Encoding::Identity => (&[], own.into()),
            Encoding::Gzip => (GZIP_HEADER, gzip_end(crc, &own)),
        };
        Ok(Body { header, fleet, part: selected.map(|selected| selected.chunks), own, next: 0 })
    }

    /// The parts to scrape so that none exceeds this many uncompressed bytes: the whole, if it is small enough.
    ///
    /// Their number grows at once but shrinks late, because series change their target with it.
    ///
    /// # Errors
    /// As for [`scrape`](Self::scrape).
    pub async fn parts(self: &Arc<Self>, most_bytes: usize) -> Result<Vec<Part>, JoinError> {
        let own = self.own_text(Format::OpenMetrics).await?.len();
        let fleet = match self.newest() {
            Some(newest) => newest,
            None => self.fleet_as_of(Format::OpenMetrics, Encoding::Gzip, Grain::default(), Moment::now()).await?,
        };
        let before = self.shards.load(Ordering::Relaxed);
        let shards = part::division(before, most_bytes, fleet.text_bytes + own, &fleet.made.sizes.buckets);
        self.shards.store(shards, Ordering::Relaxed);
        Ok(Part::all(shards))
    }

    async fn own_text(self: &Arc<Self>, format: Format) -> Result<Vec<u8>, JoinError> {
        let exposition = self.clone();
        tokio::task::spawn_blocking(move || exposition.write_own(format)).await
    }

    async fn fleet_as_of(
        self: &Arc<Self>,
        format: Format,
        encoding: Encoding,
        grain: Grain,
        asked: Moment,
    ) -> Result<Arc<Rendering>, JoinError> {
        if let Some(fleet) = self.current(format, encoding, grain, asked) {
            return Ok(fleet);
        }
        let mut renderer = self.renderer.clone().lock_owned().await;
        let exposition = self.clone();
        // The lock moves along: a scraper that disconnects does not stop what others wait for.
        tokio::task::spawn_blocking(move || exposition.render(format, encoding, grain, &mut renderer, asked)).await
    }

    /// A rendering whose sizes are approximately current.
    fn newest(&self) -> Option<Arc<Rendering>> {
        let selection = self.selection();
        let now = Moment::now();
        let kept = self.kept();
        let usable = |rendering: &&Arc<Rendering>| {
            Arc::ptr_eq(&rendering.made.selection, &selection) && now.since(rendering.made.at) < SIZES_LAST
        };
        let newest = kept.iter().filter_map(|kept| kept.rendering.as_ref()).filter(usable);
        newest.max_by_key(|rendering| rendering.made.at.monotonic()).cloned()
    }

    /// From now on, cuts texts finely enough for this part.
    fn note_part(&self, part: &Part) {
        if *part != Part::Whole {
            let mut cut = self.cut();
            cut.grain = cut.grain.and(part.grain());
            cut.asked = Some(time::Instant::now());
        }
    }

    fn cut(&self) -> MutexGuard<'_, Cut> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops renderings that no scraper requests any more. Call it every few seconds.
    pub fn forget_unused(&self) {
        let now = time::Instant::now();
        let mut cut = self.cut();
        if cut.asked.is_some_and(|asked| now.saturating_duration_since(asked) > KEEP_PACKED) {
            *cut = Cut::default();
        }
        drop(cut);
        for encoding in [Encoding::Identity, Encoding::Gzip] {
            // An uncompressed body is large, and quick to render again.
            let keep = if encoding == Encoding::Gzip { KEEP_PACKED } else { Duration::from_secs(10) };
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

    /// A rendering that is fresh enough for a scrape that arrived at `asked`, if there is one.
    fn current(&self, format: Format, encoding: Encoding, grain: Grain, asked: Moment) -> Option<Arc<Rendering>> {
        let version = self.fleet.version();
        let selection = self.selection();
        let now = Moment::now();
        let mut kept = self.kept();
        let kept = &mut kept[index(format, encoding)];
        kept.asked = Some(now.monotonic().into());
        let rendering = kept.rendering.as_ref().filter(|rendering| rendering.made.serves(&selection, grain))?;
        let Made { at, good_for, .. } = rendering.made;
        let age = now.since(at);
        let is_recent = rendering.text_bytes > LARGE && age < REST;
        let is_so_still = good_for.is_none_or(|good_for| age < good_for)
            && !now.wall_stepped_since(at)
            && (rendering.made.version == version || is_recent);
        // A rendering that started after this request arrived is fresh enough. Otherwise, every scrape that is queued
        // behind a slow rendering would render again.
        let holds = is_so_still || at.monotonic() > asked.monotonic();
        holds.then(|| rendering.clone())
    }

    /// Renders the fleet's part, unless another scrape has just done so.
    fn render(
        &self,
        format: Format,
        encoding: Encoding,
        grain: Grain,
        renderer: &mut Renderer,
        asked: Moment,
    ) -> Arc<Rendering> {
        if let Some(current) = self.current(format, encoding, grain, asked) {
            return current;
        }
        let begin = Instant::now();
        // Removed, because no other scrape would use it: its memory is released while the new one grows.
        let old = self.kept()[index(format, encoding)].rendering.take();
        let other = self.kept()[index(format.other(), encoding)].rendering.clone();
        let Renderer { packer, piece, accounts, pipelines } = renderer;
        let rendering = packer.pack(encoding, old.into_iter().chain(other), |take| {
            // Before the fleet: a change during rendering then counts as new.
            let version = self.fleet.version();
            let selection = self.selection();
            let now = Moment::now();
            let grain = self.cut().grain.and(grain);
            let mut writer = Writer::new(format, std::mem::take(piece), take);
            writer.cut(grain);
            let snapshot = self.fleet.snapshot(now);
            let good_for = write_fleet(&mut writer, [accounts, pipelines], &snapshot, &selection, now);
            let (buffer, sizes) = writer.finish();
            *piece = buffer;
            let accounts = snapshot.into_iter().map(|(name, _)| name).collect();
            Made { at: now, version, selection, grain, accounts, sizes, good_for }
        });
        let rendering = Arc::new(rendering);
        self.kept()[index(format, encoding)].rendering = Some(rendering.clone());
        self.own.note_render(begin.elapsed());
        rendering
    }

    /// The exporter's own metrics, which come last.
    fn write_own(&self, format: Format) -> Vec<u8> {
        let mut text = Vec::new();
        let mut take = |_: Owner, piece: &[u8]| text.extend_from_slice(piece);
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

/// Writes the families of the table. Returns how long they stay the same without a response.
fn write_fleet(
    writer: &mut Writer,
    [account_labels, pipeline_labels]: [&mut Labels; 2],
    snapshot: &[(String, View)],
    selection: &Selection,
    now: Moment,
) -> Option<Duration> {
    writer.show_states(selection.states);
    let accounts = snapshot.iter().enumerate();
    let mut accounts: Vec<AccountView> =
        accounts.map(|(number, (name, view))| AccountView::new(number, name, view, now)).collect();
    let grain = writer.grain();
    accounts.sort_by_key(|view| grain.owner(view.place));
    let pipelines =
        accounts.iter().flat_map(|account| account.view.pipelines.values().map(|p| PipelineView::new(account, p)));
    let mut pipelines: Vec<PipelineView> = pipelines.collect();
    pipelines.sort_by_key(|view| grain.owner(view.place));
    account_labels.clear();
    accounts.iter().for_each(|view| view.push_labels(account_labels));
    pipeline_labels.clear();
    pipelines.iter().for_each(|view| view.push_labels(pipeline_labels));
    for family in selection.families() {
        let mut samples = writer.family(family.name, family.kind, family.help);
        match family.read {
            Read::Exporter(read) => {
                samples.of_exporter();
                read(&mut samples);
            }
            Read::Account(read) => {
                for (view, labels) in accounts.iter().zip(account_labels.iter()) {
                    samples.of(labels, view.place);
                    read(view, &mut samples);
                }
            }
            Read::Pipeline(read) => {
                for (view, labels) in pipelines.iter().zip(pipeline_labels.iter()) {
                    samples.of(labels, view.place);
                    read(view, &mut samples);
                }
            }
        }
    }
    let changes = accounts.iter().filter_map(|view| view.view.changes_in(now));
    // Once a probe is overdue, the lag grows all the time; a resolution of one second is enough for it.
    let due = accounts.iter().filter_map(|view| view.view.budget.next_due);
    let lags = due.map(|due| due.saturating_duration_since(now.monotonic()).max(REST));
    changes.chain(lags).min()
}

/// The fleet's part at one moment, not cached: for fuzzers and simulations.
pub fn fleet_text(fleet: &Fleet, selection: &Selection, now: Moment, format: Format) -> String {
    lasting_fleet_text(fleet, selection, now, format).0
}

/// The same, and how long it is good for while [`Fleet::version`] stays what it is and the wall clock does not step.
pub fn lasting_fleet_text(
    fleet: &Fleet,
    selection: &Selection,
    now: Moment,
    format: Format,
) -> (String, Option<Duration>) {
    let mut text = Vec::new();
    let mut take = |_: Owner, piece: &[u8]| text.extend_from_slice(piece);
    let mut writer = Writer::new(format, Vec::new(), &mut take);
    let labels = [&mut Labels::default(), &mut Labels::default()];
    let good_for = write_fleet(&mut writer, labels, &fleet.snapshot(now), selection, now);
    writer.end();
    writer.finish();
    (String::from_utf8(text).unwrap_or_default(), good_for)
}
