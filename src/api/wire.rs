//! The answers as they come: lenient about what is null, missing or unknown, strict about types.
//!
//! Only documented fields that become a metric or a filter are read. The private ones
//! (`destination_config`, `transforms`, `abi_*`, `created_by`) are never even taken out of the body.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use super::destination_error::{DestinationError, DestinationErrorReason};
use crate::labels::closed_set;

/// The id of a pipeline, such as `pipe_3e8678c5fc9e48a7bf9879ca729`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PipelineId(Arc<str>);

impl PipelineId {
    /// Longer ids are refused: they become labels and paths.
    const LONGEST: usize = 256;

    /// `None` for a text that cannot be one segment of a path (empty, `.`, `..`, absurdly long) or a label
    /// (control characters).
    pub fn new(text: &str) -> Option<Self> {
        let usable =
            !matches!(text, "" | "." | "..") && text.len() <= Self::LONGEST && !text.contains(char::is_control);
        usable.then(|| Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for PipelineId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PipelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PipelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

closed_set! {
    /// What the worker does (`data.status` of the status endpoint).
    pub enum Phase {
        /// Being started.
        Deploying = "DEPLOYING",
        /// At work.
        Running = "RUNNING",
        /// Paused by the user.
        Paused = "PAUSED",
        /// Ended by an error that does not heal by itself.
        Failed = "FAILED",
        /// Being stopped.
        Stopping = "STOPPING",
        /// Ended; normal for a bounded pipeline.
        Stopped = "STOPPED",
        /// A phase that this version does not know.
        Unknown = "UNKNOWN",
    }
}

impl Phase {
    /// Whether it is expected to change within seconds, so that it is worth asking more often.
    pub fn is_transitional(self) -> bool {
        matches!(self, Self::Deploying | Self::Stopping)
    }
}

closed_set! {
    /// What the user wants (`status` of a pipeline object).
    pub enum DesiredStatus {
        /// It shall run.
        Running = "running",
        /// It shall rest.
        Paused = "paused",
    }
}

closed_set! {
    /// How far a pipeline reads (`execution_mode` of a pipeline object).
    #[derive(Default)]
    pub enum ExecutionMode {
        /// Ends by itself at `execution_stop_from`.
        Bounded = "bounded",
        /// Follows its chain for ever.
        #[default]
        Unbounded = "unbounded",
        /// A mode that this version does not know.
        Unknown = "unknown",
    }
}

closed_set! {
    /// Where the API said something that this version does not know: the `field` label of
    /// `goldrush_api_unknown_values_total`.
    pub enum UnknownField {
        /// A pipeline in the list without an id that could be asked for.
        Id = "id",
        /// An intent other than running and paused.
        DesiredStatus = "desired_status",
        /// An execution mode other than bounded and unbounded.
        ExecutionMode = "execution_mode",
        /// A phase that is not documented.
        Phase = "phase",
        /// A timestamp that is not RFC 3339.
        Timestamp = "timestamp",
    }
}

/// A documented string with a closed set of values: one of them, or something newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known<T> {
    /// A documented value.
    Value(T),
    /// Something that is not documented.
    Unknown,
}

impl<T: Copy> Known<T> {
    fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Unknown => None,
        }
    }
}

/// Texts are written by users and become labels: what is longer is cut, at a character.
const LONGEST_TEXT: usize = 200;
/// The one character that no scraper can read inside a label: Prometheus takes it for the end of the text.
const UNREADABLE: char = '\0';

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<str>>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.map(|mut text| {
        if let Some((end, _)) = text.char_indices().nth(LONGEST_TEXT) {
            text.truncate(end);
        }
        if text.contains(UNREADABLE) { text.replace(UNREADABLE, "\u{FFFD}").into() } else { text.into() }
    }))
}

fn destination_error<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DestinationError>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.as_deref().map(DestinationError::of))
}

fn usable_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PipelineId>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.as_deref().and_then(PipelineId::new))
}

fn known_phase<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Phase>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.is_empty()).map(|text| {
        let known = Phase::ALL.iter().find(|phase| phase.as_str().eq_ignore_ascii_case(&text));
        known.copied().unwrap_or(Phase::Unknown)
    }))
}

fn known_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Known<DesiredStatus>>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.is_empty()).map(|text| {
        let known = DesiredStatus::ALL.iter().find(|status| status.as_str().eq_ignore_ascii_case(&text));
        known.map_or(Known::Unknown, |status| Known::Value(*status))
    }))
}

fn execution_mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ExecutionMode, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    if text.is_empty() {
        return Ok(ExecutionMode::default());
    }
    let known = ExecutionMode::ALL.iter().find(|mode| mode.as_str().eq_ignore_ascii_case(&text));
    Ok(known.copied().unwrap_or(ExecutionMode::Unknown))
}

/// The API's milliseconds as seconds, the unit of everything above this module.
fn seconds_of_ms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.map(|ms| ms / 1000.0))
}

/// An RFC 3339 timestamp as Unix seconds. An empty string is no timestamp, as elsewhere in this API.
fn timestamp<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Known<f64>>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.is_empty()).map(|text| {
        let parsed = text.parse::<jiff::Timestamp>();
        parsed.map_or(Known::Unknown, |time| Known::Value(time.as_duration().as_secs_f64()))
    }))
}

/// A pipeline as the list shows it. Ten thousand of these are kept, so most texts are shared: see [`share_texts`].
///
/// [`share_texts`]: Self::share_texts
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ListedPipeline {
    #[serde(default, deserialize_with = "usable_id")]
    id: Option<PipelineId>,
    /// User-written: any Unicode.
    #[serde(default, deserialize_with = "text")]
    pub name: Option<Arc<str>>,
    /// User-written.
    #[serde(default, deserialize_with = "text")]
    pub project: Option<Arc<str>>,
    /// `<chain>.<network>.<rest>`.
    #[serde(default, deserialize_with = "text")]
    pub topic: Option<Arc<str>>,
    /// `postgres` and others that are not documented to the letter.
    #[serde(default, deserialize_with = "text")]
    pub destination_type: Option<Arc<str>>,
    /// Null and empty are [`ExecutionMode::Unbounded`], the API's default.
    #[serde(default, deserialize_with = "execution_mode")]
    pub execution_mode: ExecutionMode,
    #[serde(default, deserialize_with = "known_status")]
    status: Option<Known<DesiredStatus>>,
    /// The group it belongs to.
    pub group: Option<Group>,
    #[serde(default, deserialize_with = "timestamp")]
    created_at: Option<Known<f64>>,
    #[serde(default, deserialize_with = "timestamp")]
    updated_at: Option<Known<f64>>,
}

impl ListedPipeline {
    /// The id, if it is one that can be asked for.
    pub fn id(&self) -> Option<PipelineId> {
        self.id.clone()
    }

    /// Replaces the texts that many pipelines have in common by those of `texts`, which gets the ones it lacks.
    pub fn share_texts(&mut self, texts: &mut HashSet<Arc<str>>) {
        let group = self.group.as_mut().map(|group| &mut group.label);
        let fields = [&mut self.project, &mut self.topic, &mut self.destination_type];
        for text in fields.into_iter().flatten().chain(group) {
            match texts.get(text) {
                Some(shared) => *text = shared.clone(),
                None => _ = texts.insert(text.clone()),
            }
        }
    }

    /// What the user wants, if it is one of the documented wishes.
    pub fn desired_status(&self) -> Option<DesiredStatus> {
        self.status.and_then(Known::value)
    }

    /// Creation, in Unix seconds.
    pub fn created_at(&self) -> Option<f64> {
        self.created_at.and_then(Known::value)
    }

    /// Last change, in Unix seconds.
    pub fn updated_at(&self) -> Option<f64> {
        self.updated_at.and_then(Known::value)
    }

    /// The fields that said something unknown, one entry each time.
    pub fn unknown_fields(&self) -> impl Iterator<Item = UnknownField> {
        [
            (self.status == Some(Known::Unknown), UnknownField::DesiredStatus),
            (self.execution_mode == ExecutionMode::Unknown, UnknownField::ExecutionMode),
            (self.created_at == Some(Known::Unknown), UnknownField::Timestamp),
            (self.updated_at == Some(Known::Unknown), UnknownField::Timestamp),
        ]
        .into_iter()
        .filter_map(|(unknown, field)| unknown.then_some(field))
    }
}

/// The group of users that owns a pipeline, with its billing flags.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "WireGroup")]
pub struct Group {
    label: Arc<str>,
    /// Whether the group is on a paid plan.
    pub is_paid: Option<bool>,
    /// Whether it used up what its plan allows.
    pub is_over_limit: Option<bool>,
    /// Whether its trial is over.
    pub is_free_trial_expired: Option<bool>,
}

#[derive(Deserialize)]
struct WireGroup {
    #[serde(default, deserialize_with = "text")]
    id: Option<Arc<str>>,
    #[serde(default, deserialize_with = "text")]
    name: Option<Arc<str>>,
    #[serde(default, deserialize_with = "text")]
    slug: Option<Arc<str>>,
    is_paid: Option<bool>,
    is_over_limit: Option<bool>,
    is_free_trial_expired: Option<bool>,
}

impl From<WireGroup> for Group {
    fn from(group: WireGroup) -> Self {
        let WireGroup { id, name, slug, is_paid, is_over_limit, is_free_trial_expired } = group;
        let label = [name, slug, id].into_iter().flatten().find(|text| !text.is_empty()).unwrap_or_default();
        Self { label, is_paid, is_over_limit, is_free_trial_expired }
    }
}

impl Group {
    /// The name that people know it by: `name`, else `slug`, else `id`.
    pub fn label(&self) -> &str {
        &self.label
    }
}

/// The worker's state (status endpoint).
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Status {
    /// The phase; [`Phase::Unknown`] for one that is not documented.
    #[serde(default, rename = "status", deserialize_with = "known_phase")]
    pub phase: Option<Phase>,
    /// Replicas that there shall be.
    pub replicas: Option<f64>,
    /// Replicas that are ready.
    pub ready: Option<f64>,
    #[serde(default, deserialize_with = "timestamp")]
    start_time: Option<Known<f64>>,
}

impl Status {
    /// Start of the worker, in Unix seconds.
    pub fn start_time(&self) -> Option<f64> {
        self.start_time.and_then(Known::value)
    }

    /// The fields that said something unknown.
    pub fn unknown_fields(&self) -> impl Iterator<Item = UnknownField> {
        let phase = (self.phase == Some(Phase::Unknown)).then_some(UnknownField::Phase);
        let time = (self.start_time == Some(Known::Unknown)).then_some(UnknownField::Timestamp);
        phase.into_iter().chain(time)
    }
}

/// Throughput and lag at the moment of the answer (metrics endpoint).
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct PipelineMetrics {
    /// Source records read since the worker started.
    pub records_consumed: Option<f64>,
    /// Last source offset that was committed.
    pub last_offset: Option<f64>,
    /// Newest block processed.
    pub last_block_height: Option<f64>,
    /// Buffered records, not yet written.
    pub pending_records: Option<f64>,
    /// End-to-end delay, from source to destination.
    #[serde(default, rename = "processing_delay_ms", deserialize_with = "seconds_of_ms")]
    pub processing_delay_seconds: Option<f64>,
    /// Rolling throughput.
    pub records_per_second: Option<f64>,
    /// Records dropped because they could not be normalized or decoded.
    pub normalization_errors: Option<f64>,
}

/// The platform's last connectivity check of the destination (destination-health endpoint).
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct DestinationHealth {
    /// Whether the destination could be reached.
    pub healthy: Option<bool>,
    #[serde(default, deserialize_with = "timestamp")]
    last_checked_at: Option<Known<f64>>,
    /// Duration of the check.
    #[serde(default, rename = "latency_ms", deserialize_with = "seconds_of_ms")]
    pub latency_seconds: Option<f64>,
    /// Why it is unhealthy, as far as that may be kept.
    #[serde(default, deserialize_with = "destination_error")]
    pub last_error: Option<DestinationError>,
}

impl DestinationHealth {
    /// Time of the check, in Unix seconds.
    pub fn last_checked_at(&self) -> Option<f64> {
        self.last_checked_at.and_then(Known::value)
    }

    /// Why the destination is unhealthy, if it is.
    pub fn error_reason(&self) -> Option<DestinationErrorReason> {
        let reason = self.last_error.as_ref().map_or(DestinationErrorReason::Other, |error| error.reason);
        (self.healthy == Some(false)).then_some(reason)
    }

    /// The fields that said something unknown.
    pub fn unknown_fields(&self) -> impl Iterator<Item = UnknownField> {
        (self.last_checked_at == Some(Known::Unknown)).then_some(UnknownField::Timestamp).into_iter()
    }
}

/// One page of the list.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ListPage {
    /// `None` where the API said null or nothing.
    pub items: Option<Vec<ListedPipeline>>,
    /// Where this page stands among the others.
    pub pagination: Option<Pagination>,
}

/// The position of a page.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Pagination {
    /// Whether another page follows.
    pub has_more: Option<bool>,
    /// How many pipelines there are in all.
    pub total_count: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_a_character_and_hold_nothing_that_ends_an_exposition() {
        let name = |text: &str| {
            let json = serde_json::json!({ "name": text });
            serde_json::from_value::<ListedPipeline>(json).unwrap().name.unwrap()
        };
        assert_eq!(*name(&"🚀".repeat(10_000)), "🚀".repeat(LONGEST_TEXT));
        assert_eq!(&*name("a\0b\"\n"), "a\u{FFFD}b\"\n");
    }

    #[test]
    fn nothing_private_of_an_error_is_kept() {
        let text = format!("{}postgres://alice:secret@db.example/x: connection refused", "word ".repeat(100));
        let json = serde_json::json!({ "healthy": false, "last_error": text });
        let kept = format!("{:?}", serde_json::from_value::<DestinationHealth>(json).unwrap());
        assert!(!["word", "alice", "secret", "db.example"].iter().any(|private| kept.contains(private)), "{kept}");
        assert!(kept.contains("connection refused"), "{kept}");
    }

    #[test]
    fn the_cause_at_the_end_of_a_long_error_is_kept() {
        let json = serde_json::json!({ "last_error": format!("{}: connection refused", "word ".repeat(100)) });
        let health = serde_json::from_value::<DestinationHealth>(json).unwrap();
        assert_eq!(health.last_error.unwrap().reason, DestinationErrorReason::ConnectionRefused);
    }

    #[test]
    fn only_an_unhealthy_destination_has_a_reason_and_one_without_a_text_has_another() {
        let reason = |json| serde_json::from_value::<DestinationHealth>(json).unwrap().error_reason();
        let refused = "connection refused";
        for (healthy, expected) in
            [(Some(false), Some(DestinationErrorReason::ConnectionRefused)), (Some(true), None), (None, None)]
        {
            assert_eq!(reason(serde_json::json!({ "healthy": healthy, "last_error": refused })), expected);
        }
        let other = Some(DestinationErrorReason::Other);
        assert_eq!(reason(serde_json::json!({ "healthy": false })), other);
        assert_eq!(reason(serde_json::json!({ "healthy": false, "last_error": "" })), other);
    }

    #[test]
    fn an_id_can_be_a_path_and_a_label() {
        for refused in ["", ".", "..", "a\0", "a\nb", &"x".repeat(257)] {
            assert_eq!(PipelineId::new(refused), None, "{refused:?}");
        }
        assert!(PipelineId::new("pipe_3e8678c5fc9e48a7bf9879ca729").is_some());
    }
}
