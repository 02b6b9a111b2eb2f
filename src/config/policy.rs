//! `policies`: thresholds and owners of pipelines. The first policy that matches a pipeline applies.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::account::check_label;
use super::filter::Filter;
use super::quantities::{Shown, parse_duration, parse_number};
use crate::api::PipelineId;
use crate::settings::{Text, value_of};
use crate::thresholds::{MOST_CHANGES, Threshold, Thresholds, Unit};

/// The owner and the thresholds of the pipelines that it matches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    /// The label `team` of every trouble of these pipelines.
    pub team: Option<String>,
    /// By project name.
    pub projects: Filter,
    /// By pipeline name.
    pub pipelines: Filter,
    /// By pipeline id.
    pub pipeline_ids: Filter,
    /// Thresholds that differ from the defaults, in their units.
    pub thresholds: BTreeMap<Threshold, f64>,
}

impl Policy {
    /// Whether it applies to this pipeline, unless an earlier policy does.
    pub fn matches(&self, project: &str, pipeline: &str, id: &PipelineId) -> bool {
        self.projects.matches(project) && self.pipelines.matches(pipeline) && self.pipeline_ids.matches(id.as_str())
    }

    /// All thresholds of the pipelines that it applies to.
    pub fn effective_thresholds(&self) -> Thresholds {
        Thresholds::default().with(self.thresholds.iter().map(|(threshold, value)| (*threshold, *value)))
    }

    /// Whether it has no matcher, and so matches every pipeline.
    pub(super) fn is_default(&self) -> bool {
        [&self.projects, &self.pipelines, &self.pipeline_ids].into_iter().all(Filter::is_empty)
    }
}

enum Key {
    Team,
    Projects,
    Pipelines,
    PipelineIds,
    Threshold(Threshold),
}

const MATCHERS_AND_TEAM: [(&str, Key); 4] = [
    ("team", Key::Team),
    ("projects", Key::Projects),
    ("pipelines", Key::Pipelines),
    ("pipeline_ids", Key::PipelineIds),
];

const KEYS: &[&str] = &{
    let mut keys = [""; MATCHERS_AND_TEAM.len() + Threshold::COUNT];
    let mut index = 0;
    while index < keys.len() {
        keys[index] = match index.checked_sub(MATCHERS_AND_TEAM.len()) {
            Some(threshold) => Threshold::ALL[threshold].as_str(),
            None => MATCHERS_AND_TEAM[index].0,
        };
        index += 1;
    }
    keys
};

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = String::deserialize(deserializer)?;
        let threshold = Threshold::ALL.iter().find(|threshold| threshold.as_str() == key);
        let other = || MATCHERS_AND_TEAM.into_iter().find(|(name, _)| *name == key).map(|(_, other)| other);
        let found = threshold.map(|threshold| Self::Threshold(*threshold)).or_else(other);
        found.ok_or_else(|| D::Error::unknown_field(&key, KEYS))
    }
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PolicyVisitor)
    }
}

struct PolicyVisitor;

impl<'de> Visitor<'de> for PolicyVisitor {
    type Value = Policy;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a section of settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Policy, A::Error> {
        let mut policy = Policy::default();
        while let Some(key) = map.next_key()? {
            match key {
                Key::Team => policy.team = Some(map.next_value::<Team>()?.0),
                Key::Projects => policy.projects = map.next_value()?,
                Key::Pipelines => policy.pipelines = map.next_value()?,
                Key::PipelineIds => policy.pipeline_ids = map.next_value()?,
                Key::Threshold(threshold) => {
                    let value = map.next_value_seed(ValueOf(threshold))?;
                    policy.thresholds.insert(threshold, value);
                }
            }
        }
        Ok(policy)
    }

    fn visit_unit<E>(self) -> Result<Policy, E> {
        Ok(Policy::default())
    }
}

struct Team(String);

impl<'de> Deserialize<'de> for Team {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(team) = Text::deserialize(deserializer)?;
        match check_label(&team) {
            Ok(()) => Ok(Self(team)),
            Err(problem) => Err(D::Error::custom(problem)),
        }
    }
}

struct ValueOf(Threshold);

impl<'de> DeserializeSeed<'de> for ValueOf {
    type Value = f64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<f64, D::Error> {
        let (value, shown) = value_of(deserializer)?;
        let value = match self.0.unit() {
            Unit::Seconds => parse_duration(value, &shown).map(|duration| duration.as_secs_f64()),
            Unit::Records => parse_number(value, &shown, 0.0..=1e15),
            Unit::Share => parse_number(value, &shown, 0.0..=1.0),
            Unit::Changes => parse_number(value, &shown, 1.0..=MOST_CHANGES as f64),
        };
        value.map_err(D::Error::custom)
    }
}

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(team) = &self.team {
            map.serialize_entry("team", team)?;
        }
        for (name, filter) in
            [("projects", &self.projects), ("pipelines", &self.pipelines), ("pipeline_ids", &self.pipeline_ids)]
        {
            if !filter.is_empty() {
                map.serialize_entry(name, filter)?;
            }
        }
        for (threshold, value) in &self.thresholds {
            let name = threshold.as_str();
            match threshold.unit() {
                Unit::Seconds => map.serialize_entry(name, &Shown::Seconds(*value))?,
                Unit::Records | Unit::Share | Unit::Changes => map.serialize_entry(name, &Shown::Number(*value))?,
            }
        }
        map.end()
    }
}

/// Checks a list of policies that are each valid.
pub(super) fn check(policies: &[Policy]) -> Result<(), (usize, String)> {
    match policies.iter().position(Policy::is_default) {
        Some(default) if default + 1 < policies.len() => {
            let problem = format!(
                "unreachable: policies[{default}] has no matcher and applies to every pipeline; move it to the end"
            );
            Err((default + 1, problem))
        }
        _ => Ok(()),
    }
}

/// Settings that are valid but probably not intended; one sentence each.
pub(super) fn warnings(policies: &[Policy]) -> Vec<String> {
    let critical_first = |(index, policy): (usize, &Policy)| {
        let thresholds = policy.effective_thresholds();
        let (delay, critical) = (thresholds[Threshold::Delay], thresholds[Threshold::DelayCritical]);
        (critical < delay).then(|| {
            format!("policies[{index}]: delay_critical ({critical}s) is shorter than delay ({delay}s): a pipeline that lags is critical at once")
        })
    };
    policies.iter().enumerate().filter_map(critical_first).collect()
}
