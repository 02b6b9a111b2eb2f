//! `metrics`: which metrics are exposed.

use serde::de::{Deserializer, Error};
use serde::ser::{Serialize, SerializeStruct as _, Serializer};

use super::filter::Pattern;
use crate::labels::closed_set;
use crate::settings::{ConfigError, list, value_of};

closed_set! {
    /// The metrics to begin with.
    pub enum Profile {
        /// All of them.
        Full = "full",
        /// Those that the shipped alerts and dashboards need.
        Lean = "lean",
    }
}

closed_set! {
    /// Which series of a state are exposed: a state is a family with one series for each of its values.
    pub enum States {
        /// Each value: 1 for the one that holds, 0 for the others.
        All = "all",
        /// Only the value that holds.
        Active = "active",
    }
}

impl Profile {
    /// Unless `metrics.states` says otherwise.
    const fn states(self) -> States {
        match self {
            Self::Full => States::All,
            Self::Lean => States::Active,
        }
    }
}

/// Which metrics are exposed. Whether the names exist is known to the exposition.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// The metrics to begin with.
    pub profile: Profile,
    /// Metrics to add.
    pub include: Vec<Names>,
    /// Metrics to leave out, whatever else asks for them.
    pub exclude: Vec<Names>,
    /// Which series of states.
    pub states: States,
}

/// Names of metrics, as one setting gives them.
#[derive(Debug, Clone, PartialEq)]
pub struct Names {
    pattern: Pattern,
    setting: String,
    origin: String,
}

impl Names {
    /// Whether the name is among them.
    pub fn contain(&self, name: &str) -> bool {
        self.pattern.matches(name)
    }

    /// As they are written.
    pub fn as_str(&self) -> &str {
        self.pattern.as_str()
    }

    /// Refuses the setting.
    pub fn refused(&self, why: &str) -> ConfigError {
        ConfigError { origin: self.origin.clone(), problem: format!("{}: {why}", self.setting) }
    }
}

impl Serialize for Names {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.pattern.serialize(serializer)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self { profile: Profile::Full, include: Vec::new(), exclude: Vec::new(), states: Profile::Full.states() }
    }
}

/// The same as it is written.
#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct MetricsSection {
    #[serde(deserialize_with = "profile")]
    profile: Profile,
    #[serde(deserialize_with = "list")]
    include: Vec<Pattern>,
    #[serde(deserialize_with = "list")]
    exclude: Vec<Pattern>,
    #[serde(deserialize_with = "states")]
    states: Option<States>,
}

impl Default for MetricsSection {
    fn default() -> Self {
        Self { profile: Profile::Full, include: Vec::new(), exclude: Vec::new(), states: None }
    }
}

impl MetricsSection {
    /// `origin` says which file or variable sets the setting at a path.
    pub(super) fn settled(self, origin: impl Fn(&str) -> String) -> Metrics {
        let names = |list: &str, patterns: Vec<Pattern>| {
            let name = |(index, pattern)| {
                let setting = format!("metrics.{list}[{index}]");
                let origin = origin(&setting);
                Names { pattern, setting, origin }
            };
            patterns.into_iter().enumerate().map(name).collect()
        };
        Metrics {
            profile: self.profile,
            include: names("include", self.include),
            exclude: names("exclude", self.exclude),
            states: self.states.unwrap_or(self.profile.states()),
        }
    }
}

fn profile<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Profile, D::Error> {
    one_of(deserializer, Profile::ALL, Profile::as_str)
}

fn states<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<States>, D::Error> {
    one_of(deserializer, States::ALL, States::as_str).map(Some)
}

fn one_of<'de, T: Copy, D: Deserializer<'de>>(
    deserializer: D,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<T, D::Error> {
    let (value, shown) = value_of(deserializer)?;
    let text = value.to_string();
    let names = || all.iter().map(|value| name(*value)).collect::<Vec<_>>().join(" or ");
    let found = all.iter().find(|value| name(**value) == text.trim());
    found.copied().ok_or_else(|| D::Error::custom(format!("expected {}, found {shown}", names())))
}

impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut settings = serializer.serialize_struct("Metrics", 4)?;
        settings.serialize_field("profile", self.profile.as_str())?;
        settings.serialize_field("include", &self.include)?;
        settings.serialize_field("exclude", &self.exclude)?;
        settings.serialize_field("states", self.states.as_str())?;
        settings.end()
    }
}
