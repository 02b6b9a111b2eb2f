//! The configuration as it is written: which settings there are, and what each kind of value takes.
//!
//! The config crate turns `2.7` into 3 and `on` into 1 where a whole number is asked for, and serde's own
//! messages repeat what they found. So every value is taken as it stands and looked at here.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, RangeInclusive};
use std::time::Duration;

use ::config::{Value, ValueKind};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::{Filter, Poll, Shard};

/// More would overflow clocks.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Nothing that is polled changes faster, and no interval is so short that stretching the others for it overflows clocks.
pub(super) const SHORTEST: Duration = Duration::from_millis(10);
/// In requests per second. The least makes no clock overflow, the most no pause vanish.
pub(super) const RATES: RangeInclusive<f64> = 0.01..=1_000_000.0;

#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Sections {
    pub api: Section<ApiSection>,
    pub poll: Section<Poll>,
    #[serde(deserialize_with = "list")]
    pub accounts: Vec<Section<AccountSection>>,
    pub shard: Section<Shard>,
    #[serde(deserialize_with = "whole::<1, _, _>")]
    pub max_pipelines: usize,
}

impl Default for Sections {
    fn default() -> Self {
        Self {
            api: Section::default(),
            poll: Section::default(),
            accounts: Vec::new(),
            shard: Section::default(),
            max_pipelines: 20_000,
        }
    }
}

#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ApiSection {
    pub base_url: Text,
    #[serde(deserialize_with = "boolean")]
    pub allow_http: bool,
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    #[serde(deserialize_with = "whole::<1024, _, _>")]
    pub max_response_bytes: u64,
}

impl Default for ApiSection {
    fn default() -> Self {
        Self {
            base_url: Text("https://api.covalenthq.com/platform/pipeline-api/".to_owned()),
            allow_http: false,
            timeout: Duration::from_secs(10),
            max_response_bytes: 8 * 1024 * 1024,
        }
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AccountSection {
    pub name: Option<Text>,
    pub service_key_file: Option<Text>,
    pub service_key_env: Option<Text>,
    pub projects: Section<Filter>,
    pub pipelines: Section<Filter>,
    pub pipeline_ids: Section<Filter>,
    #[serde(deserialize_with = "list")]
    pub expect: Vec<Text>,
}

/// A map of settings. One without any, as YAML gives it when all are commented out, leaves the defaults;
/// a list is refused, which serde would take for the settings in order.
#[derive(Default)]
pub(crate) struct Section<T>(pub T);

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Section<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SectionVisitor(PhantomData))
    }
}

struct SectionVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for SectionVisitor<T> {
    type Value = Section<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a section of settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Section<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Section)
    }

    fn visit_unit<E>(self) -> Result<Section<T>, E> {
        Ok(Section::default())
    }
}

/// A text that was written as one: `1.10` without quotes is a number and would lose its zero.
pub(crate) struct Text(pub String);

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)?.kind {
            ValueKind::String(text) => Ok(Self(text)),
            _ => Err(D::Error::custom("it takes a text, in quotes if it looks like a number")),
        }
    }
}

/// A list; one without any elements may be left empty.
pub(super) fn list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Option::<Vec<T>>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A duration in humantime's notation.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    const TAKES: &str = "it takes one such as 15s or 5m";
    let (value, shown) = value_of(deserializer)?;
    let refused = |why: &str| Err(D::Error::custom(format!("{shown} {why}; {TAKES}")));
    let text = match value {
        ValueKind::String(text) => text,
        ValueKind::I64(_) | ValueKind::Float(_) => return refused("is a duration without a unit"),
        _ => return refused("is not a duration"),
    };
    match humantime::parse_duration(&text) {
        Ok(Duration::ZERO) => refused("is no time at all"),
        Ok(duration) if duration < SHORTEST => refused("is shorter than 10ms"),
        Ok(duration) if duration > LONGEST => refused("is longer than 365 days"),
        Ok(duration) => Ok(duration),
        Err(_) if text.trim().parse::<f64>().is_ok() => refused("is a duration without a unit"),
        Err(_) => refused("is not a duration"),
    }
}

/// A whole number; what is counted here never needs more than 32 bits.
pub(crate) fn whole<'de, const LEAST: u32, N: TryFrom<u32>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<N, D::Error> {
    let (value, shown) = value_of(deserializer)?;
    let number = match value {
        ValueKind::I64(number) => u32::try_from(number).ok(),
        ValueKind::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let number = number.filter(|number| *number >= LEAST).and_then(|number| N::try_from(number).ok());
    number.ok_or_else(|| D::Error::custom(format!("{shown} is not a whole number from {LEAST} to {}", u32::MAX)))
}

/// A number of requests per second.
pub(super) fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let (value, shown) = value_of(deserializer)?;
    let number = match value {
        ValueKind::Float(number) => Some(number),
        ValueKind::I64(number) => Some(number as f64),
        ValueKind::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let number = number.filter(|number| RATES.contains(number));
    let (least, most) = (RATES.start(), RATES.end());
    number.ok_or_else(|| D::Error::custom(format!("{shown} is not a number from {least} to {most}")))
}

pub(crate) fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let (value, shown) = value_of(deserializer)?;
    let boolean = match value {
        ValueKind::Boolean(boolean) => Some(boolean),
        ValueKind::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    boolean.ok_or_else(|| D::Error::custom(format!("{shown} is neither true nor false")))
}

/// A value, and how a message shows it.
fn value_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(ValueKind, String), D::Error> {
    let value = Value::deserialize(deserializer)?.kind;
    let shown = match &value {
        ValueKind::Nil => "nothing".to_owned(),
        ValueKind::Table(_) => "a section".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        scalar => format!("`{scalar}`"),
    };
    Ok((value, shown))
}
