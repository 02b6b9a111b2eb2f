//! A simulated pipeline: its configuration, and overrides by tests.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::catalogue;
use super::identity;
use super::living::Condition;
use crate::api::Operation;

/// A simulated pipeline, as its owner configured it.
#[derive(Clone, Debug)]
pub struct SimulatedPipeline {
    id: String,
    group: usize,
    /// `name`: written by a user, any Unicode.
    pub name: String,
    /// `project`
    pub project: Cow<'static, str>,
    /// `description`
    pub description: Cow<'static, str>,
    /// `topic`: `<chain>.<network>.<rest>`. When the pipeline is added, its chain determines how fast the numbers
    /// change.
    pub topic: Cow<'static, str>,
    /// `destination_type`
    pub destination_type: Cow<'static, str>,
    /// `execution_mode`: `bounded` or `unbounded`
    pub execution_mode: Cow<'static, str>,
    /// `execution_start_from`
    pub execution_start_from: Cow<'static, str>,
    /// `execution_stop_from`
    pub execution_stop_from: Cow<'static, str>,
    /// `status` of the pipeline object: `running` or `paused`, as the user wants.
    pub intent: Cow<'static, str>,
    /// `created_at`
    pub created_at: Timestamp,
    /// `updated_at`
    pub updated_at: Timestamp,
    /// Desired workers.
    pub replicas: u32,
    /// Its condition in every scenario; if it is `Well`, the scenario decides.
    pub condition: Condition,
    overrides: Vec<Override>,
}

/// A field whose value in responses differs from the model's.
#[derive(Clone, Debug)]
struct Override {
    operation: Operation,
    field: String,
    /// `None` omits the field.
    value: Option<Value>,
}

impl SimulatedPipeline {
    /// A plausible pipeline of a group, with an id of the caller's choice.
    pub fn new(id: impl Into<String>, group: usize) -> Self {
        Self::described(id.into(), group, 0)
    }

    /// A generated fleet's pipeline number `index` of a group.
    pub(super) fn generated(seed: u64, group: usize, index: usize) -> Self {
        Self::described(identity::pipeline_id(seed, group, index), group, index)
    }

    fn described(id: String, group: usize, index: usize) -> Self {
        let (topic, destination_type, name) = catalogue::outline(index);
        let bounded = index % 10 == 9;
        // From 14 November 2023 on: any past time works.
        let created_at = Timestamp::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + index as u64 % 1_000 * 3_600);
        Self {
            id,
            group,
            name,
            project: catalogue::project(group, index).into(),
            description: "Made by the simulator".into(),
            topic: topic.into(),
            destination_type: destination_type.into(),
            execution_mode: if bounded { "bounded" } else { "unbounded" }.into(),
            execution_start_from: if index.is_multiple_of(3) { "" } else { "44745000" }.into(),
            execution_stop_from: if bounded { "99999999999" } else { "" }.into(),
            intent: "running".into(),
            created_at,
            updated_at: created_at + Duration::from_secs(86_400),
            replicas: if index % 6 == 5 { 3 } else { 1 },
            condition: Condition::Well,
            overrides: Vec::new(),
        }
    }

    /// Never changes.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The index of its group. Never changes.
    pub const fn group(&self) -> usize {
        self.group
    }

    /// From now on, responses of an operation have this value in a field of this pipeline: null, a wrong type, an
    /// unknown phase …
    pub fn answer_with(&mut self, operation: Operation, field: &str, value: Value) {
        self.set_override(operation, field, Some(value));
    }

    /// From now on, responses of an operation omit a field of this pipeline.
    pub fn omit(&mut self, operation: Operation, field: &str) {
        self.set_override(operation, field, None);
    }

    /// Reverts every [`answer_with`](Self::answer_with) and [`omit`](Self::omit).
    pub fn answer_as_usual(&mut self) {
        self.overrides.clear();
    }

    fn set_override(&mut self, operation: Operation, field: &str, value: Option<Value>) {
        self.overrides.retain(|existing| existing.operation != operation || existing.field != field);
        self.overrides.push(Override { operation, field: field.to_owned(), value });
    }

    pub(super) fn apply_overrides(&self, operation: Operation, mut answer: Value) -> Value {
        let overrides = self.overrides.iter().filter(|change| change.operation == operation);
        for change in overrides {
            if let Some(object) = answer.as_object_mut() {
                match &change.value {
                    Some(value) => object.insert(change.field.clone(), value.clone()),
                    None => object.remove(&change.field),
                };
            }
        }
        answer
    }
}
