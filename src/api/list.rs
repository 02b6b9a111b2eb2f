//! Reads the list of pipelines.
//!
//! Only documented fields that become a metric or a filter are read. The private ones (`destination_config`,
//! `transforms`, `abi_*`, `created_by`, `description`) are skipped unparsed.

use std::collections::HashSet;
use std::sync::Arc;

use super::error::Error;
use super::lenient::{Kind, Mismatch, Raw, Record, deserialize_record};
use super::pipeline_id::PipelineId;
use super::unknown::{UnknownField, UnknownFields};
use super::vocabulary::{DesiredStatus, ExecutionMode};

/// One page of the list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ListPage {
    /// `None` if null or missing.
    pub items: Option<Vec<ListedPipeline>>,
    pub pagination: Option<Pagination>,
    unknown: UnknownFields,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pagination {
    pub has_more: Option<bool>,
    /// The number of pipelines on all pages.
    pub total_count: Option<f64>,
    unknown: UnknownFields,
}

/// A pipeline as the list shows it. Ten thousand of these are kept, so most texts are shared: see [`share_texts`].
///
/// [`share_texts`]: Self::share_texts
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ListedPipeline {
    id: Option<PipelineId>,
    /// User-written. Empty if it has none.
    pub name: Option<Arc<str>>,
    /// User-written. Empty if it has none.
    pub project: Option<Arc<str>>,
    /// `<chain>.<network>.<rest>`.
    pub topic: Option<Arc<str>>,
    /// `postgres`, `clickhouse`, `kafka`, `object_storage`, `sqs`, `webhook`, or something newer.
    pub destination_type: Option<Arc<str>>,
    /// Null and empty mean [`ExecutionMode::Unbounded`], the API's default.
    pub execution_mode: ExecutionMode,
    /// The block that the pipeline starts at, if set (`execution_start_from`).
    pub start_block: Option<f64>,
    /// The block that a bounded pipeline stops at (`execution_stop_from`).
    pub stop_block: Option<f64>,
    desired_status: Option<DesiredStatus>,
    pub group: Option<Group>,
    created_at: Option<f64>,
    updated_at: Option<f64>,
    unknown: UnknownFields,
}

/// The group of users that owns a pipeline, with its billing flags.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Group {
    label: Arc<str>,
    labelled_by: LabelledBy,
    pub is_paid: Option<bool>,
    /// Whether the group has used up what its plan allows.
    pub is_over_limit: Option<bool>,
    pub is_free_trial_expired: Option<bool>,
}

/// Which of its names a group's label is, the best one last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum LabelledBy {
    #[default]
    Nothing,
    Id,
    Slug,
    Name,
}

/// [`Group`] before one of its names is chosen.
#[derive(Default)]
struct GroupFields {
    group: Group,
    name: Option<Arc<str>>,
    slug: Option<Arc<str>>,
    id: Option<Arc<str>>,
    unknown: UnknownFields,
}

deserialize_record!(ListPage, ListedPipeline);

impl ListPage {
    /// `has_more` and `total_count`, if known.
    pub fn position(&self) -> (Option<bool>, Option<f64>) {
        self.pagination.as_ref().map_or((None, None), |pagination| (pagination.has_more, pagination.total_count))
    }

    /// The pipelines of the first page. Some servers write an empty list as null. But null must not make a fleet
    /// disappear, so it counts as empty only if the pagination says so.
    ///
    /// # Errors
    /// [`Error::Decode`] if there must be pipelines but none are there.
    pub fn into_first_items(self) -> Result<Vec<ListedPipeline>, Error> {
        let is_empty = match self.position() {
            (has_more, None) => has_more == Some(false),
            (_, Some(total)) => total == 0.0,
        };
        match self.items {
            Some(items) => Ok(items),
            None if is_empty => Ok(Vec::new()),
            None => Err(Error::Decode("data.items: missing or null".to_owned())),
        }
    }

    /// The unusable fields of the page itself.
    pub fn unknown_fields(&self) -> impl Iterator<Item = UnknownField> {
        self.unknown.iter()
    }
}

impl Record for ListPage {
    fn field(&mut self, name: &str, value: Raw<'_>) -> Result<(), Mismatch> {
        match name {
            "items" if value.kind() == Kind::Null => self.items = None,
            "items" => {
                let mut items = Vec::new();
                let read = value.each_item(|item| {
                    items.push(ListedPipeline::of(item)?);
                    Ok(())
                });
                read.map_err(|mismatch| mismatch.below("items"))?;
                self.items = Some(items);
            }
            "pagination" => match value.kind() {
                Kind::Null => self.pagination = None,
                Kind::Object => {
                    let pagination = Pagination::read(value)?;
                    self.unknown.extend(pagination.unknown);
                    self.pagination = Some(pagination);
                }
                _ => {
                    self.pagination = None;
                    self.unknown.insert(UnknownField::Pagination);
                }
            },
            _ => {}
        }
        Ok(())
    }
}

impl Record for Pagination {
    fn field(&mut self, name: &str, value: Raw<'_>) -> Result<(), Mismatch> {
        match name {
            "has_more" => self.has_more = self.unknown.note(UnknownField::Pagination, value.flag()),
            "total_count" => self.total_count = self.unknown.note(UnknownField::Pagination, value.height()),
            _ => {}
        }
        Ok(())
    }
}

impl ListedPipeline {
    /// Reads an item of the list. One that is not an object counts as one without an id.
    fn of(item: Raw<'_>) -> Result<Self, Mismatch> {
        match item.kind() {
            Kind::Object => Self::read(item),
            _ => Ok(Self::default()),
        }
    }

    /// `None` if the id cannot be part of a request.
    pub fn id(&self) -> Option<PipelineId> {
        self.id.clone()
    }

    /// Replaces texts that many pipelines have in common with those in `texts`, and adds missing ones there.
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

    /// Takes the names that it lacks from an earlier entry of the same pipeline.
    pub fn keep_names(&mut self, earlier: &Self) {
        for (name, earlier) in [(&mut self.name, &earlier.name), (&mut self.project, &earlier.project)] {
            if name.is_none() {
                name.clone_from(earlier);
            }
        }
    }

    /// `None` if it is missing or not documented.
    pub fn desired_status(&self) -> Option<DesiredStatus> {
        self.desired_status
    }

    /// The chain and network that the pipeline reads: the first two segments of its topic, such as `base.mainnet`.
    pub fn chain(&self) -> Option<&str> {
        let topic = self.topic.as_deref()?;
        let (chain, rest) = topic.split_once('.')?;
        let network = rest.split('.').next().unwrap_or_default();
        let usable = !chain.is_empty() && !network.is_empty();
        usable.then(|| &topic[..chain.len() + 1 + network.len()])
    }

    pub fn is_bounded(&self) -> bool {
        self.execution_mode == ExecutionMode::Bounded
    }

    /// In Unix seconds.
    pub fn created_at(&self) -> Option<f64> {
        self.created_at
    }

    /// In Unix seconds.
    pub fn updated_at(&self) -> Option<f64> {
        self.updated_at
    }

    /// The unusable fields. The reader of the whole list counts missing ids.
    pub fn unknown_fields(&self) -> impl Iterator<Item = UnknownField> {
        self.unknown.iter()
    }
}

impl Record for ListedPipeline {
    fn field(&mut self, name: &str, value: Raw<'_>) -> Result<(), Mismatch> {
        use UnknownField as F;
        let unknown = &mut self.unknown;
        match name {
            // Strict: a list whose entries have no id must not look like a list without those pipelines.
            "id" => {
                let text = value.text().map_err(|_| value.mismatch(Kind::Text).below("id"))?;
                self.id = text.and_then(|text| PipelineId::new(&text));
            }
            "name" => self.name = unknown.note(F::Name, value.name()),
            "project" => self.project = unknown.note(F::Project, value.name()),
            "topic" => self.topic = unknown.note(F::Topic, value.label()),
            "destination_type" => self.destination_type = unknown.note(F::DestinationType, value.label()),
            "execution_mode" => {
                self.execution_mode = match value.text() {
                    Ok(None) => ExecutionMode::default(),
                    Ok(Some(text)) => ExecutionMode::of(&text),
                    Err(_) => ExecutionMode::Unknown,
                };
                if self.execution_mode == ExecutionMode::Unknown {
                    unknown.insert(F::ExecutionMode);
                }
            }
            "execution_start_from" => self.start_block = unknown.note(F::ExecutionStartFrom, value.height()),
            "execution_stop_from" => self.stop_block = unknown.note(F::ExecutionStopFrom, value.height()),
            "status" => self.desired_status = unknown.note(F::DesiredStatus, DesiredStatus::read(value)),
            "group" => match value.kind() {
                Kind::Null => self.group = None,
                Kind::Object => {
                    let fields = GroupFields::read(value)?;
                    unknown.extend(fields.unknown);
                    self.group = Some(fields.named());
                }
                _ => {
                    self.group = None;
                    unknown.insert(F::Group);
                }
            },
            "created_at" => self.created_at = unknown.note(F::CreatedAt, value.time()),
            "updated_at" => self.updated_at = unknown.note(F::UpdatedAt, value.time()),
            _ => {}
        }
        Ok(())
    }
}

impl Group {
    /// The group's name for people: `name`, else `slug`, else `id`.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Keeps the label of an earlier entry of the same pipeline if that had a better name.
    pub fn keep_label(&mut self, earlier: Self) {
        if earlier.labelled_by > self.labelled_by {
            self.label = earlier.label;
            self.labelled_by = earlier.labelled_by;
        }
    }
}

impl GroupFields {
    fn named(self) -> Group {
        use LabelledBy as By;
        let names = [(self.name, By::Name), (self.slug, By::Slug), (self.id, By::Id)];
        let (label, labelled_by) = names.into_iter().find_map(|(name, by)| Some((name?, by))).unwrap_or_default();
        Group { label, labelled_by, ..self.group }
    }
}

impl Record for GroupFields {
    fn field(&mut self, name: &str, value: Raw<'_>) -> Result<(), Mismatch> {
        use UnknownField as F;
        let (group, unknown) = (&mut self.group, &mut self.unknown);
        match name {
            "name" => self.name = unknown.note(F::Group, value.label()),
            "slug" => self.slug = unknown.note(F::Group, value.label()),
            "id" => self.id = unknown.note(F::Group, value.label()),
            "is_paid" => group.is_paid = unknown.note(F::IsPaid, value.flag()),
            "is_over_limit" => group.is_over_limit = unknown.note(F::IsOverLimit, value.flag()),
            "is_free_trial_expired" => group.is_free_trial_expired = unknown.note(F::IsFreeTrialExpired, value.flag()),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pipeline(json: Value) -> ListedPipeline {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn blocks_are_numbers_in_texts_and_empty_means_none() {
        let blocks = |start: Value, stop: Value| {
            let pipeline = pipeline(json!({"execution_start_from": start, "execution_stop_from": stop}));
            (pipeline.start_block, pipeline.stop_block, pipeline.unknown_fields().collect::<Vec<_>>())
        };
        assert_eq!(blocks(json!("44745000"), json!("")), (Some(44_745_000.0), None, vec![]));
        assert_eq!(blocks(json!(null), json!(18_908_894)), (None, Some(18_908_894.0), vec![]));
        let unknown = vec![UnknownField::ExecutionStartFrom, UnknownField::ExecutionStopFrom];
        assert_eq!(blocks(json!("latest"), json!(-1)), (None, None, unknown));
    }

    #[test]
    fn the_chain_is_the_first_two_segments_of_the_topic() {
        let chain = |topic: &str| pipeline(json!({ "topic": topic })).chain().map(str::to_owned);
        assert_eq!(chain("base.mainnet.ref.block.logs").as_deref(), Some("base.mainnet"));
        assert_eq!(chain("base.mainnet").as_deref(), Some("base.mainnet"));
        for none in ["", "base", ".mainnet.x", "base..x"] {
            assert_eq!(chain(none), None, "{none}");
        }
    }

    #[test]
    fn a_negative_number_of_pipelines_is_none() {
        let page: ListPage = serde_json::from_value(json!({"items": [], "pagination": {"total_count": -5}})).unwrap();
        assert_eq!((page.position(), page.unknown_fields().count()), ((None, None), 1));
    }

    #[test]
    fn a_field_of_another_type_costs_that_field_only() {
        let pipeline =
            pipeline(json!({"id": "a", "project": 7, "name": "n", "status": [], "group": {"name": {}, "slug": "s",
            "is_paid": "maybe", "is_over_limit": 1}, "created_at": "0001-01-01T00:00:00Z"}));
        assert_eq!((pipeline.id().unwrap().as_str(), pipeline.name.as_deref()), ("a", Some("n")));
        assert_eq!((pipeline.project.as_deref(), pipeline.desired_status(), pipeline.created_at()), (None, None, None));
        let group = pipeline.group.as_ref().unwrap();
        assert_eq!((group.label(), group.is_paid, group.is_over_limit), ("s", None, Some(true)));
        let unknown: Vec<&str> = pipeline.unknown_fields().map(UnknownField::as_str).collect();
        assert_eq!(unknown, ["project", "desired_status", "group", "is_paid"]);
    }

    #[test]
    fn what_is_null_is_not_unknown_and_of_a_repeated_field_the_last_one_counts() {
        let page = |json: &str| {
            let page: ListPage = serde_json::from_str(json).unwrap();
            (page.position(), page.unknown_fields().collect::<Vec<_>>())
        };
        assert_eq!(page(r#"{"pagination":{"has_more":true},"pagination":null}"#), ((None, None), vec![]));
        let unknown = || vec![UnknownField::Pagination];
        assert_eq!(page(r#"{"pagination":{"has_more":true},"pagination":7}"#), ((None, None), unknown()));
        assert_eq!(page(r#"{"pagination":{"has_more":"maybe"}}"#), ((None, None), unknown()));
        let group = |json: &str| {
            let pipeline: ListedPipeline = serde_json::from_str(json).unwrap();
            let label = pipeline.group.as_ref().map(|group| group.label().to_owned());
            (label, pipeline.unknown_fields().collect::<Vec<_>>())
        };
        assert_eq!(group(r#"{"group":{"id":"g1"}}"#), (Some("g1".to_owned()), vec![]));
        assert_eq!(group(r#"{"group":{"id":"g1"},"group":null}"#), (None, vec![]));
        assert_eq!(group(r#"{"group":{"id":"g1"},"group":7}"#), (None, vec![UnknownField::Group]));
        assert_eq!(group(r#"{"execution_mode":"sometimes"}"#), (None, vec![UnknownField::ExecutionMode]));
    }

    #[test]
    fn an_item_may_lack_an_id_but_an_id_of_another_type_fails_the_list() {
        let page: ListPage =
            serde_json::from_value(json!({"items": [null, 7, {"id": ""}, {"id": null}], "pagination": "x"})).unwrap();
        assert!(page.items.as_ref().unwrap().iter().all(|item| item.id().is_none()));
        assert_eq!(page.items.as_ref().unwrap().len(), 4);
        assert_eq!(page.unknown_fields().collect::<Vec<_>>(), [UnknownField::Pagination]);
        let refused = serde_json::from_value::<ListPage>(json!({"items": [{"id": "a"}, {"id": 7}]}));
        assert_eq!(refused.unwrap_err().to_string(), "items[1].id: found number, expected text");
    }
}
