//! `metrics`: which metrics are exposed.

use serde::de::{Deserializer, Error};
use serde::ser::{Serialize, SerializeStruct as _, Serializer};

use super::filter::Pattern;
use crate::labels::closed_set;
use crate::settings::{ConfigError, list, value_of};

closed_set! {
    /// The metrics to start from.
    #[derive(Default)]
    pub enum Profile {
        /// All of them.
        #[default]
        Full = "full",
        /// Those that the shipped alerts and dashboards need.
        Lean = "lean",
    }
}

closed_set! {
    /// Which series of a state are exposed. A state is a family with one series for each value.
    pub enum States {
        /// Each value: 1 for the current one, 0 for the others.
        All = "all",
        /// Only the current value.
        Active = "active",
    }
}

impl Profile {
    /// The default of `metrics.states`.
    const fn states(self) -> States {
        match self {
            Self::Full => States::All,
            Self::Lean => States::Active,
        }
    }
}

/// Which metrics are exposed. The exposition checks whether the names exist.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    pub profile: Profile,
    /// Metrics to add.
    pub include: Vec<Names>,
    /// Metrics to leave out, even if `profile` or `include` adds them.
    pub exclude: Vec<Names>,
    pub states: States,
}

/// A pattern for metric names, from one setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Names {
    pattern: Pattern,
    setting: String,
    origin: String,
}

impl Names {
    pub fn contain(&self, name: &str) -> bool {
        self.pattern.matches(name)
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        self.pattern.as_str()
    }

    /// An error about this setting.
    pub fn refused(&self, why: &str) -> ConfigError {
        ConfigError { origin: self.origin.clone(), problem: format!("{}: {why}", self.setting) }
    }
}

impl Serialize for Names {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.pattern.serialize(serializer)
    }
}

/// The section as written.
#[derive(Default, serde::Deserialize)]
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

impl MetricsSection {
    /// `origin` returns the file or variable that sets the setting at a path.
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
